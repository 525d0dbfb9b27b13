//! What server and predictor child say to each other through the child's pipes.
//!
//! A question is a length, then the model's folder and up to [`MAX_IMAGES`] images, as bytes or as paths of files. The
//! child says with which image it begins, so that one that kills it is known, and answers each once. Numbers are
//! little-endian. It must not know processes or models.

use crate::domain::prediction::Image;
use std::ffi::OsStr;
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// The most images of one question.
pub const MAX_IMAGES: usize = 16;

/// The longest question, in bytes: larger images come as paths.
const MAX_QUESTION: u32 = 4 << 20;

/// The longest answer, in bytes: a thousand long labels with their probabilities.
const MAX_ANSWER: u32 = 4 << 20;

const BYTES: u8 = 0;
const FILE: u8 = 1;

const DECODING: u8 = 0;
const COMPUTING: u8 = 1;
const ANSWER: u8 = 2;
const REFUSAL: u8 = 3;

/// Images for one model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// The folder that the model lies in.
    pub folder: PathBuf,
    /// At most [`MAX_IMAGES`].
    pub images: Vec<Image>,
}

/// What the child says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// It begins with the image of this number.
    Decoding(u8),
    /// All images are decoded; what happens now concerns all of them.
    Computing,
    /// The answer for an image: what `trainyard test` prints, or why there is none.
    Answer(u8, Result<String, String>),
}

fn broken(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

/// The bytes of a question about `images`.
pub fn question<'a>(folder: &Path, images: impl Iterator<Item = &'a Image>) -> Vec<u8> {
    let mut bytes = vec![0; 4];
    let mut put = |part: &[u8]| {
        bytes.extend_from_slice(&(part.len() as u32).to_le_bytes());
        bytes.extend_from_slice(part);
    };
    put(folder.as_os_str().as_bytes());
    for image in images.take(MAX_IMAGES) {
        match image {
            Image::Bytes(image) => {
                put(&[BYTES]);
                put(image);
            }
            Image::File(path) => {
                put(&[FILE]);
                put(path.as_os_str().as_bytes());
            }
        }
    }
    let length = bytes.len() as u32 - 4;
    bytes[..4].copy_from_slice(&length.to_le_bytes());
    bytes
}

/// Waits for the next question; none where the server has closed the pipe.
///
/// # Errors
/// If the pipe breaks in the midst of one, or holds something else.
pub fn read_question(from: &mut impl Read) -> io::Result<Option<Question>> {
    let mut length = [0; 4];
    // A pipe that ends before a question is closed, and broken after its first byte.
    if from.read(&mut length[..1])? == 0 {
        return Ok(None);
    }
    from.read_exact(&mut length[1..])?;
    let length = u32::from_le_bytes(length);
    if length > MAX_QUESTION {
        return Err(broken("a question is too long"));
    }
    let mut bytes = vec![0; length as usize];
    from.read_exact(&mut bytes)?;
    parse(&bytes).map(Some).ok_or_else(|| broken("a question cannot be understood"))
}

fn parse(bytes: &[u8]) -> Option<Question> {
    let mut rest = bytes;
    let mut part = || {
        let (length, behind) = rest.split_first_chunk()?;
        let (part, behind) = behind.split_at_checked(u32::from_le_bytes(*length) as usize)?;
        rest = behind;
        Some(part)
    };
    let path = |bytes: &[u8]| PathBuf::from(OsStr::from_bytes(bytes));
    let folder = path(part()?);
    let mut images = Vec::new();
    while let Some(kind) = part() {
        let content = part()?;
        images.push(match kind {
            [BYTES] => Image::Bytes(content.to_vec()),
            [FILE] => Image::File(path(content)),
            _ => return None,
        });
        if images.len() > MAX_IMAGES {
            return None;
        }
    }
    rest.is_empty().then_some(Question { folder, images })
}

/// Says something to the server.
///
/// # Errors
/// If the server is gone.
pub fn write_message(to: &mut impl Write, message: &Message) -> io::Result<()> {
    match message {
        Message::Decoding(number) => to.write_all(&[DECODING, *number]),
        Message::Computing => to.write_all(&[COMPUTING, 0]),
        Message::Answer(number, answer) => {
            let (kind, text) = match answer {
                Ok(text) => (ANSWER, text),
                Err(text) => (REFUSAL, text),
            };
            to.write_all(&[kind, *number])?;
            to.write_all(&(text.len() as u32).to_le_bytes())?;
            to.write_all(text.as_bytes())
        }
    }
}

/// What has come from the child and is not a whole message yet.
#[derive(Debug, Default)]
pub struct Inbox {
    bytes: Vec<u8>,
}

impl Inbox {
    /// Takes what was read.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// The next whole message.
    ///
    /// # Errors
    /// If it is none that a child says.
    pub fn next_message(&mut self) -> io::Result<Option<Message>> {
        let [kind, number, rest @ ..] = &self.bytes[..] else { return Ok(None) };
        let (message, length) = match *kind {
            DECODING => (Message::Decoding(*number), 2),
            COMPUTING => (Message::Computing, 2),
            ANSWER | REFUSAL => {
                let Some((length, rest)) = rest.split_first_chunk() else { return Ok(None) };
                let length = u32::from_le_bytes(*length);
                if length > MAX_ANSWER {
                    return Err(broken("an answer is too long"));
                }
                let Some(text) = rest.get(..length as usize) else { return Ok(None) };
                let text = String::from_utf8_lossy(text).into_owned();
                let answer = if *kind == ANSWER { Ok(text) } else { Err(text) };
                (Message::Answer(*number, answer), 6 + length as usize)
            }
            _ => return Err(broken("a message is of no known kind")),
        };
        self.bytes.drain(..length);
        Ok(Some(message))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn images() -> impl Strategy<Value = Vec<Image>> {
        let image = prop_oneof![
            any::<Vec<u8>>().prop_map(Image::Bytes),
            "[a-z/]{0,20}".prop_map(|path| Image::File(PathBuf::from(path)))
        ];
        prop::collection::vec(image, 0..=MAX_IMAGES)
    }

    fn message() -> impl Strategy<Value = Message> {
        prop_oneof![
            any::<u8>().prop_map(Message::Decoding),
            Just(Message::Computing),
            (any::<u8>(), any::<Result<String, String>>()).prop_map(|(number, answer)| Message::Answer(number, answer)),
        ]
    }

    proptest! {
        #[test]
        fn questions_arrive(folder in "[a-z/]{1,20}", images in images(), cut in 1usize..50) {
            let folder = PathBuf::from(folder);
            let bytes = question(&folder, images.iter());
            let mut pipe = &bytes[..];
            let read = read_question(&mut pipe).unwrap().unwrap();
            prop_assert_eq!(read, Question { folder, images });
            prop_assert!(read_question(&mut pipe).unwrap().is_none());
            let cut = cut.min(bytes.len() - 1);
            prop_assert!(read_question(&mut &bytes[..bytes.len() - cut]).is_err());
        }

        #[test]
        fn any_bytes_end(bytes: Vec<u8>) {
            let mut pipe = &bytes[..];
            while let Ok(Some(_)) = read_question(&mut pipe) {}
            let mut inbox = Inbox::default();
            inbox.feed(&bytes);
            while let Ok(Some(_)) = inbox.next_message() {}
        }

        #[test]
        fn messages_arrive_however_they_are_cut(messages in prop::collection::vec(message(), 0..20), size in 1usize..9) {
            let mut bytes = Vec::new();
            messages.iter().for_each(|message| write_message(&mut bytes, message).unwrap());
            let (mut inbox, mut read) = (Inbox::default(), Vec::new());
            for piece in bytes.chunks(size) {
                inbox.feed(piece);
                while let Some(message) = inbox.next_message().unwrap() {
                    read.push(message);
                }
            }
            prop_assert_eq!(read, messages);
        }
    }

    #[test]
    fn what_is_too_long_is_refused_before_room_is_made() {
        assert!(read_question(&mut &[0xff; 4][..]).is_err());
        let mut inbox = Inbox::default();
        inbox.feed(&[ANSWER, 0, 0xff, 0xff, 0xff, 0xff]);
        assert!(inbox.next_message().is_err());
    }
}
