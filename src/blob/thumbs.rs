//! Small pictures as files: `thumbs/ab/<hash of the image>`, made anew where one is missing or not whole.
//!
//! Nothing depends on them, so they are not synced: a checksum tells one that a power cut left half written. They must not
//! know how pictures are made.

use super::Inventory;
use super::local::inventory_of;
use crate::domain::blob::ContentHash;
use crate::domain::thumbnail::Thumbnail;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

/// The largest file that is read, in bytes; what is larger is none of these.
const LARGEST: u64 = 1 << 20;

/// What stands before the content: the kind, and a checksum.
const HEAD: usize = 5;
const PICTURE: u8 = b'P';
const UNDECODABLE: u8 = b'U';

/// Small pictures in a folder.
#[derive(Debug)]
pub struct Thumbs {
    folder: PathBuf,
    tmp: PathBuf,
    next: AtomicU64,
}

impl Thumbs {
    /// Small pictures under `folder`, with unfinished ones under `tmp` on the same file system. Nothing is made yet.
    pub fn at(folder: PathBuf, tmp: PathBuf) -> Self {
        Self { folder, tmp, next: AtomicU64::new(0) }
    }

    /// Where the small picture of an image lies.
    pub fn place(&self, hash: ContentHash) -> PathBuf {
        let name = hash.to_string();
        self.folder.join(&name[..2]).join(name)
    }

    /// What was made of an image; nothing where nothing was, or where it is not whole.
    ///
    /// # Errors
    /// What the file system says.
    pub fn read(&self, hash: ContentHash) -> io::Result<Option<Thumbnail>> {
        let file = match File::open(self.place(hash)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            opened => opened?,
        };
        let mut bytes = Vec::with_capacity(8 << 10);
        file.take(LARGEST).read_to_end(&mut bytes)?;
        Ok(decode(bytes))
    }

    /// Keeps what was made of an image.
    ///
    /// # Errors
    /// What the file system says.
    pub fn keep(&self, hash: ContentHash, made: &Thumbnail) -> io::Result<()> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let (draft, place) = (self.tmp.join(format!("thumb-{number}")), self.place(hash));
        let kept = fs::write(&draft, encode(made)).and_then(|()| {
            place.parent().map_or(Ok(()), fs::create_dir_all)?;
            fs::rename(&draft, &place)
        });
        if kept.is_err() {
            // The failure itself says more than that its remains cannot be removed either.
            let _ = fs::remove_file(&draft);
        }
        kept
    }

    /// Removes what was made of an image. Doing so twice does no harm.
    ///
    /// # Errors
    /// What the file system says.
    pub fn remove(&self, hash: ContentHash) -> io::Result<()> {
        match fs::remove_file(self.place(hash)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// The small pictures of the images whose names begin with this byte.
    ///
    /// # Errors
    /// Where the folder cannot be read; one that is not there holds nothing.
    pub fn inventory(&self, first: u8) -> io::Result<Inventory> {
        inventory_of(&self.folder, first)
    }
}

fn encode(made: &Thumbnail) -> Vec<u8> {
    let (kind, content) = match made {
        Thumbnail::Picture(bytes) => (PICTURE, &bytes[..]),
        Thumbnail::Undecodable(why) => (UNDECODABLE, why.as_bytes()),
    };
    let mut bytes = Vec::with_capacity(HEAD + content.len());
    bytes.push(kind);
    bytes.extend_from_slice(&crc32fast::hash(content).to_le_bytes());
    bytes.extend_from_slice(content);
    bytes
}

fn decode(mut bytes: Vec<u8>) -> Option<Thumbnail> {
    let (head, content) = bytes.split_first_chunk::<HEAD>()?;
    let [kind, checksum @ ..] = *head;
    if crc32fast::hash(content) != u32::from_le_bytes(checksum) {
        return None;
    }
    bytes.drain(..HEAD);
    match kind {
        PICTURE => Some(Thumbnail::Picture(bytes)),
        UNDECODABLE => String::from_utf8(bytes).ok().map(Thumbnail::Undecodable),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_is_kept_is_read_until_it_is_removed_or_damaged() {
        let root = tempfile::tempdir().unwrap();
        let thumbs = Thumbs::at(root.path().join("thumbs"), root.path().to_owned());
        let (one, other) = (ContentHash([1; 32]), ContentHash([2; 32]));
        assert_eq!(thumbs.read(one).unwrap(), None);
        for made in [Thumbnail::Picture(vec![1, 2, 3]), Thumbnail::Undecodable("it is torn".to_owned())] {
            thumbs.keep(one, &made).unwrap();
            assert_eq!(thumbs.read(one).unwrap(), Some(made));
        }
        thumbs.keep(other, &Thumbnail::Picture(vec![9; 100])).unwrap();
        assert_eq!(thumbs.inventory(2).unwrap().stored, [other]);
        for damaged in [&b""[..], b"P", &[0; 105]] {
            fs::write(thumbs.place(other), damaged).unwrap();
            assert_eq!(thumbs.read(other).unwrap(), None);
        }
        thumbs.remove(one).unwrap();
        thumbs.remove(one).unwrap();
        assert_eq!(thumbs.read(one).unwrap(), None);
    }

    proptest! {
        #[test]
        fn a_file_that_was_cut_or_changed_is_none(content: Vec<u8>, at: prop::sample::Index, cut: bool) {
            let mut bytes = encode(&Thumbnail::Picture(content.clone()));
            prop_assert_eq!(decode(bytes.clone()), Some(Thumbnail::Picture(content)));
            let at = at.index(bytes.len());
            if cut && at + 1 < bytes.len() {
                bytes.truncate(at);
            } else {
                bytes[at] ^= 0x10;
            }
            prop_assert_eq!(decode(bytes), None);
        }
    }
}
