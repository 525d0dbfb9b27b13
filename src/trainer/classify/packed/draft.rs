//! Writing a pack: picture by picture, so that no more than one is held in memory.
//!
//! It must not know where the file is kept, or what the pictures are decoded from.

use super::format::{self, Entry, HEAD, Hash, Index, LeftOut, MAGIC};
use crate::image::{self, Channels, Decoded};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// Bytes that are hashed at once.
const CHUNK: usize = 1 << 16;

/// A pack in the making.
pub(in super::super) struct Draft<'a> {
    file: &'a File,
    index: Index,
    channels: Channels,
    end: u64,
}

/// One decoded picture and where it came from.
pub(in super::super) struct Picture {
    /// Its class's place in the list of labels.
    pub label: u16,
    /// Its path in the data set's folder.
    pub name: String,
    /// BLAKE3 of its file.
    pub source: Hash,
    /// Its pixels.
    pub decoded: Decoded,
}

impl<'a> Draft<'a> {
    /// Begins a pack of pictures of `side` x `side` pixels in `file`, which is empty.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn begin(file: &'a File, key: &Hash, side: u32, labels: &[String]) -> io::Result<Draft<'a>> {
        let mut head = [0; HEAD];
        head[..16].copy_from_slice(MAGIC);
        head[16..48].copy_from_slice(key);
        file.write_all_at(&head, 0)?;
        let index = Index { side, channels: 1, labels: labels.to_vec(), pictures: Vec::new(), left_out: Vec::new() };
        Ok(Draft { file, index, channels: Channels::Grey, end: HEAD as u64 })
    }

    /// Adds a picture. All are grey until the first that is not; from then on all have three planes.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn push(&mut self, picture: Picture) -> io::Result<()> {
        if self.channels == Channels::Grey && matches!(picture.decoded, Decoded::Rgb(_)) {
            self.colour()?;
        }
        let pixels = image::resize(picture.decoded, self.index.side, self.channels);
        self.file.write_all_at(&pixels, self.end)?;
        self.end += pixels.len() as u64;
        let pixels = *blake3::hash(&pixels).as_bytes();
        self.index.pictures.push(Entry { label: picture.label, source: picture.source, pixels, name: picture.name });
        Ok(())
    }

    /// Notes a file that is no readable picture.
    pub fn leave_out(&mut self, name: String, cause: String) {
        self.index.left_out.push(LeftOut { name, cause });
    }

    /// What was left out so far.
    pub fn left_out(&self) -> &[LeftOut] {
        &self.index.left_out
    }

    /// Writes the index and the checksum.
    ///
    /// # Errors
    /// If the file cannot be written or read.
    pub fn finish(mut self) -> io::Result<()> {
        // One or three.
        self.index.channels = if self.channels == Channels::Grey { 1 } else { 3 };
        let index = format::encode(&self.index)?;
        self.file.write_all_at(&index, self.end)?;
        let end = self.end + index.len() as u64;
        let mut hasher = blake3::Hasher::new();
        let mut chunk = vec![0; CHUNK];
        let mut at = 0;
        while at < end {
            let length = (end - at).min(CHUNK as u64) as usize;
            self.file.read_exact_at(&mut chunk[..length], at)?;
            hasher.update(&chunk[..length]);
            at += length as u64;
        }
        self.file.write_all_at(hasher.finalize().as_bytes(), end)
    }

    /// Gives the grey pictures written so far three planes, in place: from the last to the first, since none then
    /// lands on one that is still to be read.
    fn colour(&mut self) -> io::Result<()> {
        self.channels = Channels::Rgb;
        let size = format::picture_size(self.index.side, 1);
        let mut grey = vec![0; size];
        for (at, entry) in self.index.pictures.iter_mut().enumerate().rev() {
            self.file.read_exact_at(&mut grey, (HEAD + at * size) as u64)?;
            let rgb: Vec<u8> = grey.iter().flat_map(|value| [*value; 3]).collect();
            self.file.write_all_at(&rgb, (HEAD + 3 * at * size) as u64)?;
            entry.pixels = *blake3::hash(&rgb).as_bytes();
        }
        self.end = (HEAD + 3 * self.index.pictures.len() * size) as u64;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::in_memory;
    use super::*;
    use ::image::{GrayImage, Luma, Rgb, RgbImage};

    fn picture(name: &str, decoded: Decoded) -> Picture {
        Picture { label: 0, name: name.to_owned(), source: [3; 32], decoded }
    }

    #[test]
    fn grey_pictures_become_coloured_with_the_first_coloured_one() {
        let greys: Vec<GrayImage> =
            (0..20).map(|n| GrayImage::from_fn(3, 3, |x, y| Luma([(n * 9 + y * 3 + x) as u8]))).collect();
        let red = RgbImage::from_pixel(3, 3, Rgb([200, 1, 2]));
        let pack = in_memory(&[5; 32], |file| {
            let mut draft = Draft::begin(file, &[5; 32], 3, &["a".to_owned()])?;
            for grey in &greys[..19] {
                draft.push(picture("grey", Decoded::Grey(grey.clone())))?;
            }
            draft.leave_out("broken".to_owned(), "for a test".to_owned());
            draft.push(picture("red", Decoded::Rgb(red.clone())))?;
            draft.push(picture("last", Decoded::Grey(greys[19].clone())))?;
            Ok(draft.finish()?)
        })
        .unwrap();
        let rgb = |grey: &GrayImage| -> Vec<u8> { grey.as_raw().iter().flat_map(|value| [*value; 3]).collect() };
        let mut expected: Vec<Vec<u8>> = greys.iter().map(rgb).collect();
        expected.insert(19, red.into_raw());
        assert_eq!(pack.pixels(), expected.concat());
        for (entry, pixels) in pack.entries().iter().zip(&expected) {
            assert_eq!(entry.pixels, *blake3::hash(pixels).as_bytes(), "{}", entry.name);
        }
        assert_eq!((pack.channels(), pack.side(), pack.left_out().len()), (Channels::Rgb, 3, 1));
    }
}
