//! The headers of a zip file that is sent while it is written: entries are stored as they are, since pictures are packed
//! already, and what is known of one goes before its bytes, so that every reader can follow.

/// The largest number that the ordinary headers hold; a larger one stands behind them.
const MOST: u64 = u32::MAX as u64;

/// What a reader has to know: version 2.0 for folders, 4.5 for large numbers.
const PLAIN: u16 = 20;
const LARGE: u16 = 45;

/// Made on Unix, by the same version.
const MADE_BY: u16 = 3 << 8 | LARGE;

/// Names and remarks are UTF-8.
const UTF8: u16 = 0x800;

/// The first of January 1980: the same pictures make the same archive.
const DAY: u16 = 1 << 5 | 1;

/// An ordinary file that anybody may read.
const ATTRIBUTES: u32 = 0o100_644 << 16;

/// An archive as far as it was written.
#[derive(Debug, Default)]
pub struct Writer {
    at: u64,
    entries: u64,
    directory: u64,
}

/// The bytes that say what an entry is.
#[derive(Debug)]
pub struct Headers {
    /// What goes before its content, now.
    pub local: Vec<u8>,
    /// What goes into the directory, once all contents are written.
    pub listed: Vec<u8>,
}

impl Writer {
    /// Begins the next entry, whose content of `size` bytes follows. Path and remark may have up to 64 KiB.
    pub fn entry(&mut self, path: &str, remark: &str, size: u64, checksum: u32) -> Headers {
        let mut own = Vec::new();
        if size >= MOST {
            own = extra(&[size, size]);
        }
        let mut local = b"PK\x03\x04".to_vec();
        put(&mut local, &[if size >= MOST { LARGE } else { PLAIN }]);
        shared(&mut local, size, checksum, (path, &own));
        local.extend_from_slice(path.as_bytes());
        local.extend_from_slice(&own);

        let numbers: Vec<u64> = if size >= MOST { vec![size, size] } else { Vec::new() };
        let numbers: Vec<u64> = numbers.into_iter().chain((self.at >= MOST).then_some(self.at)).collect();
        let behind = if numbers.is_empty() { Vec::new() } else { extra(&numbers) };
        let mut listed = b"PK\x01\x02".to_vec();
        put(&mut listed, &[MADE_BY, if numbers.is_empty() { PLAIN } else { LARGE }]);
        shared(&mut listed, size, checksum, (path, &behind));
        put(&mut listed, &[remark.len() as u16, 0, 0]);
        listed.extend_from_slice(&ATTRIBUTES.to_le_bytes());
        listed.extend_from_slice(&short(self.at));
        listed.extend_from_slice(path.as_bytes());
        listed.extend_from_slice(&behind);
        listed.extend_from_slice(remark.as_bytes());

        self.at += local.len() as u64 + size;
        self.entries += 1;
        self.directory += listed.len() as u64;
        Headers { local, listed }
    }

    /// What goes behind the directory.
    pub fn end(&self) -> Vec<u8> {
        let mut end = Vec::new();
        if self.entries >= u64::from(u16::MAX) || self.directory >= MOST || self.at >= MOST {
            end.extend_from_slice(b"PK\x06\x06");
            end.extend_from_slice(&44u64.to_le_bytes());
            put(&mut end, &[MADE_BY, LARGE]);
            end.extend_from_slice(&[0; 8]);
            for number in [self.entries, self.entries, self.directory, self.at] {
                end.extend_from_slice(&number.to_le_bytes());
            }
            end.extend_from_slice(b"PK\x06\x07\0\0\0\0");
            end.extend_from_slice(&(self.at + self.directory).to_le_bytes());
            end.extend_from_slice(&1u32.to_le_bytes());
        }
        let entries = u16::try_from(self.entries).unwrap_or(u16::MAX);
        end.extend_from_slice(b"PK\x05\x06");
        put(&mut end, &[0, 0, entries, entries]);
        end.extend_from_slice(&short(self.directory));
        end.extend_from_slice(&short(self.at));
        put(&mut end, &[0]);
        end
    }
}

fn put(bytes: &mut Vec<u8>, numbers: &[u16]) {
    numbers.iter().for_each(|number| bytes.extend_from_slice(&number.to_le_bytes()));
}

/// A number where there is room for four bytes; all ones say that it stands elsewhere.
fn short(number: u64) -> [u8; 4] {
    u32::try_from(number).unwrap_or(u32::MAX).to_le_bytes()
}

/// What both headers say: flags, method, time, checksum, sizes, and the lengths of what follows.
fn shared(bytes: &mut Vec<u8>, size: u64, checksum: u32, (path, behind): (&str, &[u8])) {
    put(bytes, &[UTF8, 0, 0, DAY]);
    bytes.extend_from_slice(&checksum.to_le_bytes());
    bytes.extend_from_slice(&short(size));
    bytes.extend_from_slice(&short(size));
    put(bytes, &[path.len() as u16, behind.len() as u16]);
}

/// Large numbers, behind a header.
fn extra(numbers: &[u64]) -> Vec<u8> {
    let mut bytes = Vec::new();
    put(&mut bytes, &[1, (numbers.len() * 8) as u16]);
    numbers.iter().for_each(|number| bytes.extend_from_slice(&number.to_le_bytes()));
    bytes
}
