//! TIFF: the first directory, its values, and the extents of its strips or tiles.
//!
//! Both byte orders. BigTIFF is refused: images of more than 4 GiB are not taken anyway.
//! Further pages are not looked at, only that the next directory lies within the file.

use std::io::{Read, Seek};

use super::source::Source;
use super::{ContainerError, PixelLimit, damaged};

const WIDTH: u16 = 256;
const HEIGHT: u16 = 257;
const STRIP_OFFSETS: u16 = 273;
const STRIP_SIZES: u16 = 279;
const TILE_OFFSETS: u16 = 324;
const TILE_SIZES: u16 = 325;

/// How many offsets and sizes are read at a time.
const BATCH: usize = 512;

const DIRECTORY: &str = "its directory";

pub fn check<R: Read + Seek>(source: &mut Source<R>, limit: PixelLimit) -> Result<(u32, u32), ContainerError> {
    let mut file = File::open(source)?;
    let directory = file.directory()?;
    let dimension = |entry: Option<Entry>| entry.filter(|entry| entry.count == 1);
    let (Some(width), Some(height)) = (dimension(directory.width), dimension(directory.height)) else {
        return damaged("its width or height is missing");
    };
    let width = file.numbers(width, 0, 1)?;
    let height = file.numbers(height, 0, 1)?;
    let dimensions = limit.check(width.first().copied().unwrap_or(0), height.first().copied().unwrap_or(0))?;
    match (directory.offsets, directory.sizes) {
        (Some(offsets), Some(sizes)) => file.check_extents(offsets, sizes)?,
        _ => return damaged("its directory does not say where the pixels are"),
    }
    Ok(dimensions)
}

/// One value list of a directory.
#[derive(Clone, Copy)]
struct Entry {
    count: u32,
    /// Bytes of one value.
    size: u64,
    /// Where the values are; for up to four bytes, in the entry itself.
    start: u64,
}

#[derive(Default)]
struct Directory {
    width: Option<Entry>,
    height: Option<Entry>,
    offsets: Option<Entry>,
    sizes: Option<Entry>,
}

struct File<'a, R> {
    source: &'a mut Source<R>,
    little_endian: bool,
}

impl<'a, R: Read + Seek> File<'a, R> {
    fn open(source: &'a mut Source<R>) -> Result<Self, ContainerError> {
        let [order, _] = source.bytes("its header")?;
        let mut file = Self { source, little_endian: order == b'I' };
        if file.u16("its header")? != 42 {
            let what = "a BigTIFF";
            return Err(ContainerError::Unsupported { what });
        }
        Ok(file)
    }

    fn u16(&mut self, what: &'static str) -> Result<u16, ContainerError> {
        let bytes = self.source.bytes(what)?;
        Ok(match self.little_endian {
            true => u16::from_le_bytes(bytes),
            false => u16::from_be_bytes(bytes),
        })
    }

    fn u32(&mut self, what: &'static str) -> Result<u32, ContainerError> {
        let bytes = self.source.bytes(what)?;
        Ok(match self.little_endian {
            true => u32::from_le_bytes(bytes),
            false => u32::from_be_bytes(bytes),
        })
    }

    fn directory(&mut self) -> Result<Directory, ContainerError> {
        let start = self.u32("its header")?;
        if start < 8 {
            return damaged("its directory is missing");
        }
        self.source.seek(u64::from(start), DIRECTORY)?;
        let count = self.u16(DIRECTORY)?;
        self.source.require(self.source.position(), 12 * u64::from(count) + 4, DIRECTORY)?;
        let mut directory = Directory::default();
        for _ in 0..count {
            self.entry(&mut directory)?;
        }
        let next = self.u32(DIRECTORY)?;
        self.source.require(u64::from(next), 0, "a further page")?;
        Ok(directory)
    }

    fn entry(&mut self, directory: &mut Directory) -> Result<(), ContainerError> {
        let tag = self.u16(DIRECTORY)?;
        let kind = self.u16(DIRECTORY)?;
        let count = self.u32(DIRECTORY)?;
        let inline = self.source.position();
        let size = match kind {
            1 | 2 | 6 | 7 => 1,
            3 | 8 => 2,
            4 | 9 | 11 | 13 => 4,
            5 | 10 | 12 => 8,
            _ => 0,
        };
        let outside = u64::from(self.u32(DIRECTORY)?);
        let bytes = size * u64::from(count);
        let start = if bytes > 4 { outside } else { inline };
        self.source.require(start, bytes, "the values of its directory")?;
        let place = match tag {
            WIDTH => &mut directory.width,
            HEIGHT => &mut directory.height,
            STRIP_OFFSETS | TILE_OFFSETS => &mut directory.offsets,
            STRIP_SIZES | TILE_SIZES => &mut directory.sizes,
            _ => return Ok(()),
        };
        if !matches!(kind, 1 | 3 | 4 | 13) || count == 0 {
            return damaged("its directory has numbers of a wrong type");
        }
        *place = Some(Entry { count, size, start });
        Ok(())
    }

    /// Up to `BATCH` values of an entry.
    fn numbers(&mut self, entry: Entry, first: u32, count: usize) -> Result<Vec<u32>, ContainerError> {
        const WHAT: &str = "the values of its directory";
        self.source.seek(entry.start + u64::from(first) * entry.size, WHAT)?;
        let mut numbers = Vec::with_capacity(count);
        for _ in 0..count {
            numbers.push(match entry.size {
                1 => u32::from(self.source.u8(WHAT)?),
                2 => u32::from(self.u16(WHAT)?),
                _ => self.u32(WHAT)?,
            });
        }
        Ok(numbers)
    }

    /// Every strip or tile must lie within the file.
    fn check_extents(&mut self, offsets: Entry, sizes: Entry) -> Result<(), ContainerError> {
        if offsets.count != sizes.count {
            return damaged("its directory has more offsets than sizes, or fewer");
        }
        let mut first = 0;
        while first < offsets.count {
            let left = offsets.count - first;
            let count = BATCH.min(left as usize);
            let starts = self.numbers(offsets, first, count)?;
            let lengths = self.numbers(sizes, first, count)?;
            for (start, length) in starts.into_iter().zip(lengths) {
                if start == 0 || length == 0 {
                    return damaged("a part of its pixels is missing");
                }
                self.source.require(u64::from(start), u64::from(length), "its pixels")?;
            }
            first += count as u32;
        }
        Ok(())
    }
}
