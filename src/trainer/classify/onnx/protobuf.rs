//! The wire format of Protocol Buffers, as far as ONNX files need it: fields are written one after the other, and read
//! one after the other without copies, so that no file can make a reader allocate.
//!
//! Source: <https://protobuf.dev/programming-guides/encoding/>. It must not know what the fields mean.

const VARINT: u64 = 0;
const FIXED64: u64 = 1;
const BYTES: u64 = 2;
const FIXED32: u64 = 5;

/// A message that is being written.
#[derive(Debug, Default)]
pub struct Writer {
    bytes: Vec<u8>,
}

impl Writer {
    /// An integer of any of the kinds `int32`, `int64` and enumeration. Negative ones are not needed.
    pub fn integer(&mut self, field: u32, value: u64) {
        self.tag(field, VARINT);
        self.varint(value);
    }

    /// A string, bytes, or a message that is complete.
    pub fn bytes(&mut self, field: u32, bytes: &[u8]) {
        self.tag(field, BYTES);
        self.varint(bytes.len() as u64);
        self.bytes.extend_from_slice(bytes);
    }

    /// A message inside this one.
    pub fn message(&mut self, field: u32, write: impl FnOnce(&mut Writer)) {
        let mut inner = Writer::default();
        write(&mut inner);
        self.bytes(field, &inner.bytes);
    }

    /// All fields of another message, behind this one's.
    pub fn append(&mut self, fields: Writer) {
        self.bytes.extend_from_slice(&fields.bytes);
    }

    /// What was written.
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    fn tag(&mut self, field: u32, kind: u64) {
        self.varint(u64::from(field) << 3 | kind);
    }

    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.bytes.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.bytes.push(value as u8);
    }
}

/// What a field holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Value<'a> {
    /// An integer.
    Integer(u64),
    /// A string, bytes or a message.
    Bytes(&'a [u8]),
    /// Four or eight bytes, which no message that we read has.
    Fixed,
}

/// The message ends in the midst of a field, or has a field of no known kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it is cut off or no protobuf message")]
pub struct Malformed;

/// The fields of a message in the order of the file. The first fault ends them.
#[derive(Debug, Clone)]
pub struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    /// Reads `message`.
    pub fn of(message: &'a [u8]) -> Fields<'a> {
        Fields { rest: message }
    }

    fn take(&mut self, length: u64) -> Result<&'a [u8], Malformed> {
        let (taken, rest) =
            usize::try_from(length).ok().and_then(|length| self.rest.split_at_checked(length)).ok_or(Malformed)?;
        self.rest = rest;
        Ok(taken)
    }

    fn varint(&mut self) -> Result<u64, Malformed> {
        let mut value = 0;
        for shift in (0..u64::BITS).step_by(7) {
            let byte = self.take(1)?[0];
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(Malformed)
    }

    fn field(&mut self) -> Result<(u32, Value<'a>), Malformed> {
        let tag = self.varint()?;
        let field = u32::try_from(tag >> 3).map_err(|_| Malformed)?;
        let value = match tag & 7 {
            VARINT => Value::Integer(self.varint()?),
            BYTES => {
                let length = self.varint()?;
                Value::Bytes(self.take(length)?)
            }
            FIXED32 => self.take(4).map(|_| Value::Fixed)?,
            FIXED64 => self.take(8).map(|_| Value::Fixed)?,
            _ => return Err(Malformed),
        };
        Ok((field, value))
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u32, Value<'a>), Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let field = self.field();
        if field.is_err() {
            self.rest = &[];
        }
        Some(field)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_examples_of_the_specification() {
        let mut message = Writer::default();
        message.integer(1, 150);
        message.bytes(2, b"testing");
        message.message(3, |inner| inner.integer(1, 150));
        let bytes = message.into_bytes();
        assert_eq!(bytes, b"\x08\x96\x01\x12\x07testing\x1a\x03\x08\x96\x01");
        let fields: Result<Vec<_>, _> = Fields::of(&bytes).collect();
        let inner: &[u8] = b"\x08\x96\x01";
        assert_eq!(
            fields.unwrap(),
            [(1, Value::Integer(150)), (2, Value::Bytes(b"testing")), (3, Value::Bytes(inner))]
        );
    }

    #[test]
    fn lengths_beyond_the_end_and_endless_numbers_are_faults() {
        for bytes in
            [&b"\x0a\x05abc"[..], b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", b"\x08", &[0xff; 30], b"\x0b"]
        {
            assert_eq!(Fields::of(bytes).last(), Some(Err(Malformed)), "{bytes:?}");
        }
    }

    proptest! {
        #[test]
        fn what_was_written_is_read(fields in prop::collection::vec((1u32..1000, any::<u64>(), any::<Vec<u8>>()), 0..9)) {
            let mut message = Writer::default();
            for (field, number, bytes) in &fields {
                message.integer(*field, *number);
                message.bytes(*field, bytes);
            }
            let bytes = message.into_bytes();
            let expected: Vec<_> = fields
                .iter()
                .flat_map(|(field, number, bytes)| {
                    [(*field, Value::Integer(*number)), (*field, Value::Bytes(bytes))]
                })
                .collect();
            prop_assert_eq!(Fields::of(&bytes).collect::<Result<Vec<_>, _>>().unwrap(), expected);
        }

        #[test]
        fn any_bytes_end(bytes: Vec<u8>) {
            // Every field takes at least two bytes, but for a fault at the end.
            prop_assert!(Fields::of(&bytes).count() <= bytes.len() / 2 + 1);
        }
    }
}
