//! GIF: every block up to the trailer.

use std::io::{Read, Seek};

use super::source::Source;
use super::{ContainerError, PixelLimit, damaged};

const EXTENSION: u8 = 0x21;
const IMAGE: u8 = 0x2c;
const TRAILER: u8 = 0x3b;

pub fn check<R: Read + Seek>(source: &mut Source<R>, limit: PixelLimit) -> Result<(u32, u32), ContainerError> {
    let version: [u8; 6] = source.bytes("its signature")?;
    if version != *b"GIF87a" && version != *b"GIF89a" {
        return damaged("its GIF version is unknown");
    }
    let [w0, w1, h0, h1, flags, _, _] = source.bytes("its header")?;
    let width = u32::from(u16::from_le_bytes([w0, w1]));
    let height = u32::from(u16::from_le_bytes([h0, h1]));
    let dimensions = limit.check(width, height)?;
    skip_colours(source, flags)?;
    let mut frames: u64 = 0;
    loop {
        match source.u8("its blocks, before the end mark")? {
            TRAILER if frames == 0 => return damaged("it has no picture"),
            TRAILER => return Ok(dimensions),
            EXTENSION => {
                source.skip(1, "an extension")?;
                skip_sub_blocks(source)?;
            }
            IMAGE => {
                frame(source, limit)?;
                frames += 1;
            }
            // Some encoders end a block twice.
            0 => {}
            _ => return damaged("a block of unknown kind follows its picture"),
        }
    }
}

/// A frame may be larger than the screen it is shown on, so the limit holds for it too.
fn frame<R: Read + Seek>(source: &mut Source<R>, limit: PixelLimit) -> Result<(), ContainerError> {
    let [_, _, _, _, w0, w1, h0, h1, flags] = source.bytes("a frame's header")?;
    let width = u32::from(u16::from_le_bytes([w0, w1]));
    let height = u32::from(u16::from_le_bytes([h0, h1]));
    limit.check(width, height)?;
    skip_colours(source, flags)?;
    if !(1..=11).contains(&source.u8("a frame's header")?) {
        return damaged("a frame has an impossible code size");
    }
    if skip_sub_blocks(source)? == 0 {
        return damaged("a frame has no picture data");
    }
    Ok(())
}

fn skip_colours<R: Read + Seek>(source: &mut Source<R>, flags: u8) -> Result<(), ContainerError> {
    if flags & 0x80 == 0 {
        return Ok(());
    }
    source.skip(3 << ((flags & 7) + 1), "a colour table")
}

fn skip_sub_blocks<R: Read + Seek>(source: &mut Source<R>) -> Result<u64, ContainerError> {
    let mut total = 0;
    loop {
        let size = u64::from(source.u8("a data block")?);
        if size == 0 {
            return Ok(total);
        }
        source.skip(size, "a data block")?;
        total += size;
    }
}
