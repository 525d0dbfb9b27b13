//! WebP: the RIFF length, its chunks, and the dimensions of canvas and pictures.
//!
//! A picture inside must fit what the canvas says, so that a small canvas cannot hide a huge
//! picture from the limit.

use std::io::{Read, Seek};

use super::source::Source;
use super::{ContainerError, PixelLimit, damaged};

const RIFF_HEADER: u64 = 8;
const FRAME_HEADER: u64 = 16;

pub fn check<R: Read + Seek>(source: &mut Source<R>, limit: PixelLimit) -> Result<(u32, u32), ContainerError> {
    source.skip(4, "its header")?;
    let size = u64::from(u32::from_le_bytes(source.bytes("its header")?));
    source.skip(4, "its header")?;
    let end = RIFF_HEADER + size;
    let first = Chunk::read(source, end)?;
    let dimensions = match &first.kind {
        b"VP8X" => {
            let [_, _, _, _, w0, w1, w2, h0, h1, h2] = source.bytes("its header")?;
            limit.check(u24([w0, w1, w2]) + 1, u24([h0, h1, h2]) + 1)?
        }
        b"VP8 " | b"VP8L" => picture(source, &first, limit)?,
        _ => return damaged("its first chunk is no picture"),
    };
    source.require(0, end, "its chunks")?;
    first.leave(source)?;
    let found = first.kind != *b"VP8X" || walk(source, end, dimensions, limit)?;
    if !found {
        return damaged("it has no picture");
    }
    Ok(dimensions)
}

fn u24([low, middle, high]: [u8; 3]) -> u32 {
    u32::from_le_bytes([low, middle, high, 0])
}

struct Chunk {
    kind: [u8; 4],
    /// Where its data begins and how long it is, padding left out.
    start: u64,
    size: u64,
}

impl Chunk {
    /// Reads a chunk's header; the chunk must end by `end`.
    fn read<R: Read + Seek>(source: &mut Source<R>, end: u64) -> Result<Self, ContainerError> {
        let kind = source.bytes("a chunk's header")?;
        let size = u64::from(u32::from_le_bytes(source.bytes("a chunk's header")?));
        let start = source.position();
        source.require(start, size, "a chunk")?;
        if start + size > end {
            return damaged("a chunk is longer than what it is part of");
        }
        Ok(Self { kind, start, size })
    }

    /// Goes behind the chunk; a missing last padding byte is let pass.
    fn leave<R: Read + Seek>(&self, source: &mut Source<R>) -> Result<(), ContainerError> {
        let end = self.start + self.size.next_multiple_of(2);
        source.seek(end.min(source.length()), "a chunk")
    }
}

/// Walks the chunks behind the canvas; whether there is a picture among them.
fn walk<R: Read + Seek>(
    source: &mut Source<R>,
    end: u64,
    canvas: (u32, u32),
    limit: PixelLimit,
) -> Result<bool, ContainerError> {
    let mut found = false;
    while source.position() + RIFF_HEADER <= end {
        let chunk = Chunk::read(source, end)?;
        match &chunk.kind {
            b"VP8 " | b"VP8L" => {
                if picture(source, &chunk, limit)? != canvas {
                    return damaged("its picture and its canvas differ in size");
                }
                found = true;
            }
            b"ANMF" => {
                frame(source, &chunk, canvas, limit)?;
                found = true;
            }
            _ => {}
        }
        chunk.leave(source)?;
    }
    Ok(found)
}

/// One frame of an animation, which must lie on the canvas.
fn frame<R: Read + Seek>(
    source: &mut Source<R>,
    chunk: &Chunk,
    canvas: (u32, u32),
    limit: PixelLimit,
) -> Result<(), ContainerError> {
    if chunk.size < FRAME_HEADER {
        return damaged("a frame is too short");
    }
    let [x0, x1, x2, y0, y1, y2, w0, w1, w2, h0, h1, h2, ..]: [u8; 16] = source.bytes("a frame")?;
    let (left, top) = (2 * u24([x0, x1, x2]), 2 * u24([y0, y1, y2]));
    let (width, height) = (u24([w0, w1, w2]) + 1, u24([h0, h1, h2]) + 1);
    if left + width > canvas.0 || top + height > canvas.1 {
        return damaged("a frame lies outside its canvas");
    }
    let end = chunk.start + chunk.size;
    while source.position() + RIFF_HEADER <= end {
        let part = Chunk::read(source, end)?;
        if matches!(&part.kind, b"VP8 " | b"VP8L") {
            if picture(source, &part, limit)? != (width, height) {
                return damaged("a frame's picture differs from it in size");
            }
            return Ok(());
        }
        part.leave(source)?;
    }
    damaged("a frame has no picture")
}

/// The dimensions in a lossy or lossless picture's own header.
fn picture<R: Read + Seek>(
    source: &mut Source<R>,
    chunk: &Chunk,
    limit: PixelLimit,
) -> Result<(u32, u32), ContainerError> {
    const WHAT: &str = "its picture's header";
    if chunk.kind == *b"VP8L" {
        let [signature, b0, b1, b2, b3] = source.bytes(WHAT)?;
        let bits = u32::from_le_bytes([b0, b1, b2, b3]);
        if chunk.size <= 5 || signature != 0x2f || bits >> 29 != 0 {
            return damaged("its lossless picture has a wrong header");
        }
        return limit.check((bits & 0x3fff) + 1, ((bits >> 14) & 0x3fff) + 1);
    }
    let [t0, t1, t2, s0, s1, s2, w0, w1, h0, h1] = source.bytes(WHAT)?;
    let tag = u24([t0, t1, t2]);
    let is_key_frame = tag & 1 == 0;
    let first_part = u64::from(tag >> 5);
    if chunk.size < 10 || !is_key_frame || [s0, s1, s2] != [0x9d, 0x01, 0x2a] {
        return damaged("its lossy picture has a wrong header");
    }
    if first_part + 10 > chunk.size {
        return damaged("its lossy picture is shorter than it says");
    }
    let size = |low, high| u32::from(u16::from_le_bytes([low, high]) & 0x3fff);
    limit.check(size(w0, w1), size(h0, h1))
}
