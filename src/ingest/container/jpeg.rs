//! JPEG: markers up to the frame header, then scan after scan to the end mark.
//!
//! Segments are skipped by their length, so thumbnails and further pictures inside them (EXIF,
//! MPF) are not mistaken for the picture. Fill bytes, restart marks and stray bytes before a
//! marker are tolerated as libjpeg does.

use std::io::{Read, Seek};

use super::source::Source;
use super::{ContainerError, PixelLimit, damaged};

const START: u8 = 0xd8;
const END: u8 = 0xd9;
const SCAN: u8 = 0xda;
const TEMPORARY: u8 = 0x01;
const IN_SCAN: &str = "its picture data";

pub fn check<R: Read + Seek>(source: &mut Source<R>, limit: PixelLimit) -> Result<(u32, u32), ContainerError> {
    source.skip(2, "its first bytes")?;
    let mut dimensions = None;
    let mut scanned = false;
    loop {
        match (next_marker(source, dimensions.is_some())?, dimensions) {
            (END, Some(dimensions)) if scanned => return Ok(dimensions),
            (END, _) => return damaged("it ends before its picture begins"),
            (START, _) => return damaged("a second picture begins inside it"),
            (0xd0..=0xd7 | TEMPORARY, _) => {}
            (marker, None) if is_frame(marker) => {
                dimensions = Some(frame_header(source, limit)?);
            }
            (marker, Some(_)) if is_frame(marker) => return damaged("it has two frame headers"),
            (SCAN, None) => return damaged("its picture begins before its dimensions are told"),
            (SCAN, Some(_)) => {
                skip_segment(source)?;
                scanned = true;
            }
            _ => skip_segment(source)?,
        }
    }
}

/// The next marker's code. Inside picture data a stuffed 0xFF is followed by 0, and the
/// search goes on; anywhere else such bytes are stray and skipped in the same way.
fn next_marker<R: Read + Seek>(source: &mut Source<R>, in_picture: bool) -> Result<u8, ContainerError> {
    let what = if in_picture { IN_SCAN } else { "its header" };
    loop {
        source.skip_past(0xff, what)?;
        let mut code = source.u8(what)?;
        while code == 0xff {
            code = source.u8(what)?;
        }
        if code != 0 {
            return Ok(code);
        }
    }
}

/// Start of frame of any process; DHT, JPG and DAC share the range.
fn is_frame(marker: u8) -> bool {
    matches!(marker, 0xc0..=0xcf) && !matches!(marker, 0xc4 | 0xc8 | 0xcc)
}

fn frame_header<R: Read + Seek>(source: &mut Source<R>, limit: PixelLimit) -> Result<(u32, u32), ContainerError> {
    const WHAT: &str = "its frame header";
    let length = source.u16_be(WHAT)?;
    let _precision = source.u8(WHAT)?;
    let height = source.u16_be(WHAT)?;
    let width = source.u16_be(WHAT)?;
    let components = source.u8(WHAT)?;
    if components == 0 || u64::from(length) != 8 + 3 * u64::from(components) {
        return damaged("its frame header has a wrong length");
    }
    source.skip(3 * u64::from(components), WHAT)?;
    limit.check(u32::from(width), u32::from(height))
}

fn skip_segment<R: Read + Seek>(source: &mut Source<R>) -> Result<(), ContainerError> {
    let length = source.u16_be("a segment")?;
    match length.checked_sub(2) {
        Some(rest) => source.skip(u64::from(rest), "a segment"),
        None => damaged("a segment has an impossible length"),
    }
}
