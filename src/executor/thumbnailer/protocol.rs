//! What server and thumbnailer child say to each other through the child's pipes.
//!
//! A question is a length and the path of an image's file; an answer is a kind, a length, and a small picture or why there
//! is none. Numbers are little-endian. It must not know processes or pictures.

use crate::domain::thumbnail::Thumbnail;
use std::ffi::OsStr;
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// The longest path, in bytes.
const MAX_PATH: u32 = 64 << 10;

/// The longest answer, in bytes; 208 x 208 pixels are 130,000 at their worst.
const MAX_ANSWER: u32 = 512 << 10;

/// What stands before an answer's content: the kind and the length.
const HEAD: usize = 5;
const PICTURE: u8 = 0;
const UNDECODABLE: u8 = 1;

fn broken(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

/// The bytes of a question.
pub fn question(image: &Path) -> Vec<u8> {
    let path = image.as_os_str().as_bytes();
    [&(path.len() as u32).to_le_bytes(), path].concat()
}

/// Waits for the next question; none where the server has closed the pipe.
///
/// # Errors
/// If the pipe breaks in the midst of one, or holds something else.
pub fn read_question(from: &mut impl Read) -> io::Result<Option<PathBuf>> {
    let mut length = [0; 4];
    // A pipe that ends before a question is closed, and broken after its first byte.
    if from.read(&mut length[..1])? == 0 {
        return Ok(None);
    }
    from.read_exact(&mut length[1..])?;
    let length = u32::from_le_bytes(length);
    if length > MAX_PATH {
        return Err(broken("a path is too long"));
    }
    let mut path = vec![0; length as usize];
    from.read_exact(&mut path)?;
    Ok(Some(PathBuf::from(OsStr::from_bytes(&path))))
}

/// Answers.
///
/// # Errors
/// If the server is gone.
pub fn write_answer(to: &mut impl Write, answer: &Thumbnail) -> io::Result<()> {
    let (kind, content) = match answer {
        Thumbnail::Picture(bytes) => (PICTURE, &bytes[..]),
        Thumbnail::Undecodable(why) => (UNDECODABLE, why.as_bytes()),
    };
    to.write_all(&[kind])?;
    to.write_all(&(content.len() as u32).to_le_bytes())?;
    to.write_all(content)?;
    to.flush()
}

/// What has come of an answer.
#[derive(Debug, Default)]
pub struct Inbox {
    bytes: Vec<u8>,
}

impl Inbox {
    /// Takes what was read. True once the answer is whole.
    ///
    /// # Errors
    /// If it is none that a child gives.
    pub fn feed(&mut self, bytes: &[u8]) -> io::Result<bool> {
        self.bytes.extend_from_slice(bytes);
        let Some((head, content)) = self.bytes.split_first_chunk::<HEAD>() else { return Ok(false) };
        let [kind, length @ ..] = *head;
        let length = u32::from_le_bytes(length);
        if kind > UNDECODABLE || length > MAX_ANSWER || content.len() > length as usize {
            return Err(broken("an answer cannot be understood"));
        }
        Ok(content.len() == length as usize)
    }

    /// The answer.
    ///
    /// # Errors
    /// If it is not whole, or no text where it should be one.
    pub fn answer(mut self) -> io::Result<Thumbnail> {
        if !self.feed(&[])? {
            return Err(broken("an answer is not whole"));
        }
        let content = self.bytes.split_off(HEAD);
        match self.bytes[0] {
            PICTURE => Ok(Thumbnail::Picture(content)),
            _ => String::from_utf8(content).map(Thumbnail::Undecodable).map_err(|_| broken("a reason is no text")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn questions_arrive(path in "[a-z/]{0,40}", cut in 1usize..50) {
            let bytes = question(Path::new(&path));
            let mut pipe = &bytes[..];
            prop_assert_eq!(read_question(&mut pipe).unwrap(), Some(PathBuf::from(path)));
            prop_assert_eq!(read_question(&mut pipe).unwrap(), None);
            let cut = cut.min(bytes.len() - 1);
            prop_assert!(read_question(&mut &bytes[..bytes.len() - cut]).is_err());
        }

        #[test]
        fn answers_arrive_however_they_are_cut(picture: Vec<u8>, why: String, size in 1usize..9, is_picture: bool) {
            let answer = if is_picture { Thumbnail::Picture(picture) } else { Thumbnail::Undecodable(why) };
            let mut bytes = Vec::new();
            write_answer(&mut bytes, &answer).unwrap();
            let (mut inbox, mut pieces) = (Inbox::default(), bytes.chunks(size).peekable());
            while let Some(piece) = pieces.next() {
                prop_assert_eq!(inbox.feed(piece).unwrap(), pieces.peek().is_none());
            }
            prop_assert_eq!(inbox.answer().unwrap(), answer);
        }

        #[test]
        fn any_bytes_end(bytes: Vec<u8>) {
            let mut pipe = &bytes[..];
            while let Ok(Some(_)) = read_question(&mut pipe) {}
            let mut inbox = Inbox::default();
            let is_whole = inbox.feed(&bytes);
            prop_assert!(is_whole.is_ok_and(|is_whole| is_whole) || inbox.answer().is_err());
        }
    }

    #[test]
    fn what_is_too_long_is_refused_before_room_is_made() {
        assert!(read_question(&mut &[0xff; 4][..]).is_err());
        assert!(Inbox::default().feed(&[PICTURE, 0xff, 0xff, 0xff, 0xff]).is_err());
    }
}
