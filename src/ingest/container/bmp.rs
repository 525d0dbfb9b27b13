//! BMP: the header's figures against the file's length.
//!
//! Uncompressed pixels must all be there; run-length data is walked to its end mark. The file size
//! in the header is ignored, because many writers leave it 0 or wrong.

use std::io::{Read, Seek};

use super::source::Source;
use super::{ContainerError, PixelLimit, damaged};

const FILE_HEADER: u64 = 14;
const RLE8: u32 = 1;
const RLE4: u32 = 2;

struct Header {
    size: u32,
    width: u32,
    height: u32,
    bits: u16,
    compression: u32,
    data_size: u32,
    colours: u32,
}

pub fn check<R: Read + Seek>(source: &mut Source<R>, limit: PixelLimit) -> Result<(u32, u32), ContainerError> {
    source.skip(10, "its file header")?;
    let start = u64::from(u32_le(source)?);
    let header = Header::read(source)?;
    let dimensions = limit.check(header.width, header.height)?;
    header.validate()?;
    if start < FILE_HEADER + u64::from(header.size) {
        return damaged("its pixels begin inside its header");
    }
    source.require(FILE_HEADER + u64::from(header.size), header.palette_size(), "its palette")?;
    match header.compression {
        RLE8 | RLE4 => check_runs(source, start, &header)?,
        _ => source.require(start, header.pixels_size(), "its pixels")?,
    }
    Ok(dimensions)
}

fn u32_le<R: Read + Seek>(source: &mut Source<R>) -> Result<u32, ContainerError> {
    Ok(u32::from_le_bytes(source.bytes("its header")?))
}

fn u16_le<R: Read + Seek>(source: &mut Source<R>) -> Result<u16, ContainerError> {
    Ok(u16::from_le_bytes(source.bytes("its header")?))
}

impl Header {
    fn read<R: Read + Seek>(source: &mut Source<R>) -> Result<Self, ContainerError> {
        let size = u32_le(source)?;
        source.require(FILE_HEADER, u64::from(size), "its header")?;
        let mut header = Self { size, width: 0, height: 0, bits: 0, compression: 0, data_size: 0, colours: 0 };
        if size == 12 {
            header.width = u32::from(u16_le(source)?);
            header.height = u32::from(u16_le(source)?);
        } else {
            // A negative height means that the top row comes first.
            let width = u32_le(source)?.cast_signed();
            header.width = u32::try_from(width).unwrap_or(0);
            header.height = u32_le(source)?.cast_signed().unsigned_abs();
        }
        let _planes = u16_le(source)?;
        header.bits = u16_le(source)?;
        if size >= 40 {
            header.compression = u32_le(source)?;
            header.data_size = u32_le(source)?;
            source.skip(8, "its header")?;
            header.colours = u32_le(source)?;
        }
        Ok(header)
    }

    fn validate(&self) -> Result<(), ContainerError> {
        let fits = match self.compression {
            0 => matches!(self.bits, 1 | 2 | 4 | 8 | 16 | 24 | 32),
            RLE8 => self.bits == 8,
            RLE4 => self.bits == 4,
            3 | 6 => matches!(self.bits, 16 | 32),
            4 | 5 => {
                let what = "a BMP with a JPEG or PNG inside";
                return Err(ContainerError::Unsupported { what });
            }
            _ => false,
        };
        if !fits || !matches!(self.size, 12 | 16 | 40 | 52 | 56 | 64 | 108 | 124) {
            return damaged("its BMP header has an unknown kind or depth");
        }
        Ok(())
    }

    fn palette_size(&self) -> u64 {
        if self.bits > 8 {
            return 0;
        }
        let full = 1u64 << self.bits;
        if self.size == 12 {
            return 3 * full;
        }
        match u64::from(self.colours) {
            0 => 4 * full,
            some => 4 * some.min(full),
        }
    }

    fn pixels_size(&self) -> u64 {
        let row = (u64::from(self.width) * u64::from(self.bits)).div_ceil(32) * 4;
        row.saturating_mul(u64::from(self.height))
    }
}

fn check_runs<R: Read + Seek>(source: &mut Source<R>, start: u64, header: &Header) -> Result<(), ContainerError> {
    const WHAT: &str = "its run-length data";
    source.require(start, u64::from(header.data_size), WHAT)?;
    source.seek(start, WHAT)?;
    loop {
        // Encoders that tell the size may leave the end mark out.
        let told = u64::from(header.data_size);
        if told > 0 && source.position() >= start + told {
            return Ok(());
        }
        match source.bytes(WHAT)? {
            [0, 1] => return Ok(()),
            [0, 2] => source.skip(2, WHAT)?,
            [0, count @ 3..=u8::MAX] => {
                let count = u64::from(count);
                let bytes = if header.compression == RLE4 { count.div_ceil(2) } else { count };
                source.skip(bytes.next_multiple_of(2), WHAT)?;
            }
            _ => {}
        }
    }
}
