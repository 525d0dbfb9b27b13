//! Tells what kind of image a file is, how large, and whether all of it is there.
//!
//! The server never decodes pixels: that happens in child processes. What it can tell from the
//! container alone, it tells at upload: the format by its first bytes (never by name or declared
//! type), the dimensions against a limit, checksums, lengths and end marks. Bytes behind the end
//! mark are let pass, as cameras and phones append things there. This module must not know of
//! HTTP, storage or labels, and reads from a stream with one small buffer.
//!
//! What cannot be told here: damage inside compressed data of formats without checksums
//! (all but PNG), and a GIF, WebP or TIFF whose tail was overwritten rather than cut.

mod bmp;
mod format;
mod gif;
mod jpeg;
mod png;
mod source;
#[cfg(test)]
mod tests;
mod tiff;
mod webp;

use std::io::{self, Read, Seek};

use thiserror::Error;

pub use format::ImageFormat;
use source::Source;

/// What a container says of its image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ImageInfo {
    pub format: ImageFormat,
    pub width: u32,
    pub height: u32,
}

/// Why a file is not taken as an image, and what to do.
#[derive(Debug, Error)]
pub enum ContainerError {
    #[error("the file is empty; upload an image")]
    Empty,
    #[error(
        "the file is not an image but {looks_like}; \
         upload a PNG, JPEG, GIF, BMP, WebP or TIFF image"
    )]
    NotAnImage { looks_like: &'static str },
    #[error("the image ends within {what}; upload the whole file again")]
    Truncated { what: &'static str },
    #[error(
        "the image is {width} x {height} pixels, more than the {limit} allowed in all; \
         scale it down and upload it again"
    )]
    TooLarge { width: u32, height: u32, limit: u64 },
    #[error("the image is damaged: {what}; save it anew and upload it again")]
    Damaged { what: &'static str },
    #[error("the image is {what}, which is not read here; save it as PNG or JPEG")]
    Unsupported { what: &'static str },
    #[error("the file could not be read; try again")]
    Unreadable(#[from] io::Error),
}

/// Checks the container in `reader` from its beginning; `pixel_limit` is for width times height.
pub fn inspect<R: Read + Seek>(reader: R, pixel_limit: u64) -> Result<ImageInfo, ContainerError> {
    let mut source = Source::new(reader)?;
    if source.length() == 0 {
        return Err(ContainerError::Empty);
    }
    let mut start = [0; format::SNIFF];
    let sniffed = source.length().min(format::SNIFF as u64) as usize;
    source.fill(&mut start[..sniffed], "its first bytes")?;
    source.seek(0, "its first bytes")?;
    let start = &start[..sniffed];
    let Some(format) = ImageFormat::sniff(start) else {
        let looks_like = format::guess(start);
        return Err(ContainerError::NotAnImage { looks_like });
    };
    let limit = PixelLimit(pixel_limit);
    let (width, height) = match format {
        ImageFormat::Png => png::check(&mut source, limit),
        ImageFormat::Jpeg => jpeg::check(&mut source, limit),
        ImageFormat::Gif => gif::check(&mut source, limit),
        ImageFormat::Bmp => bmp::check(&mut source, limit),
        ImageFormat::WebP => webp::check(&mut source, limit),
        ImageFormat::Tiff => tiff::check(&mut source, limit),
    }?;
    Ok(ImageInfo { format, width, height })
}

/// Width times height at most.
#[derive(Debug, Clone, Copy)]
struct PixelLimit(u64);

impl PixelLimit {
    /// Both dimensions as soon as they are known, before anything is walked.
    fn check(self, width: u32, height: u32) -> Result<(u32, u32), ContainerError> {
        if width == 0 || height == 0 {
            return Err(ContainerError::Damaged { what: "its width or height is 0" });
        }
        if u64::from(width) * u64::from(height) > self.0 {
            return Err(ContainerError::TooLarge { width, height, limit: self.0 });
        }
        Ok((width, height))
    }
}

fn damaged<T>(what: &'static str) -> Result<T, ContainerError> {
    Err(ContainerError::Damaged { what })
}
