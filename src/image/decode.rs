//! Decoding of PNG, JPEG, WebP, GIF (the first frame), BMP and TIFF, within limits.
//!
//! The format is found by the file's first bytes, never by its name. It must not know sizes that a trainer wants.

use image::{DynamicImage, GrayImage, ImageDecoder, ImageReader, Limits, RgbImage};
use std::io::Cursor;

/// The longest side that is decoded, in pixels.
const MAX_SIDE: u32 = 16_384;
/// The most memory a decoder may take, in bytes.
const MAX_BYTES: u64 = 256 << 20;

/// Why a picture could not be read.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// The bytes are of none of the known formats.
    #[error("it is not a PNG, JPEG, WebP, GIF, BMP or TIFF image")]
    UnknownFormat,
    /// The picture is larger than this program reads.
    #[error("it is larger than {MAX_SIDE} pixels a side or needs more than 256 MiB to decode")]
    TooLarge,
    /// The file is damaged or uses a feature that the decoder lacks.
    #[error("it cannot be decoded: {0}")]
    Damaged(String),
}

/// A decoded picture, 8 bits a channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decoded {
    /// Every pixel is grey, whatever the file's colour type.
    Grey(GrayImage),
    /// At least one pixel has a colour.
    Rgb(RgbImage),
}

/// Width and height in pixels as the picture is seen (turned as its metadata says), from the header alone.
///
/// # Errors
/// As [`decode`], as far as the header shows.
pub fn dimensions(bytes: &[u8]) -> Result<(u32, u32), DecodeError> {
    let mut decoder = reader(bytes)?.into_decoder().map_err(explain)?;
    let (width, height) = decoder.dimensions();
    Ok(if turns_sideways(&mut decoder) { (height, width) } else { (width, height) })
}

/// Decodes a picture: turned as its metadata says, transparent parts on white.
///
/// # Errors
/// [`DecodeError`], which says what is wrong with the picture.
pub fn decode(bytes: &[u8]) -> Result<Decoded, DecodeError> {
    let mut decoder = reader(bytes)?.into_decoder().map_err(explain)?;
    let orientation = decoder.orientation().unwrap_or(image::metadata::Orientation::NoTransforms);
    let mut picture = DynamicImage::from_decoder(decoder).map_err(explain)?;
    picture.apply_orientation(orientation);
    if picture.width() == 0 || picture.height() == 0 {
        return Err(DecodeError::Damaged("it has no pixels".to_owned()));
    }
    Ok(flatten(picture))
}

fn reader(bytes: &[u8]) -> Result<ImageReader<Cursor<&[u8]>>, DecodeError> {
    let format = image::guess_format(bytes).map_err(|_| DecodeError::UnknownFormat)?;
    let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
    let mut limits = Limits::default();
    limits.max_image_width = Some(MAX_SIDE);
    limits.max_image_height = Some(MAX_SIDE);
    limits.max_alloc = Some(MAX_BYTES);
    reader.limits(limits);
    Ok(reader)
}

fn turns_sideways(decoder: &mut impl ImageDecoder) -> bool {
    use image::metadata::Orientation::{Rotate90, Rotate90FlipH, Rotate270, Rotate270FlipH};
    matches!(decoder.orientation(), Ok(Rotate90 | Rotate270 | Rotate90FlipH | Rotate270FlipH))
}

fn explain(error: image::ImageError) -> DecodeError {
    match error {
        image::ImageError::Limits(_) => DecodeError::TooLarge,
        // A format that the crate knows and this build leaves out is unknown to our users.
        image::ImageError::Unsupported(_) => DecodeError::UnknownFormat,
        other => DecodeError::Damaged(other.to_string()),
    }
}

fn flatten(picture: DynamicImage) -> Decoded {
    if let DynamicImage::ImageLuma8(grey) = picture {
        return Decoded::Grey(grey);
    }
    let rgb = if picture.color().has_alpha() { on_white(&picture) } else { picture.into_rgb8() };
    if rgb.pixels().all(|pixel| pixel[0] == pixel[1] && pixel[1] == pixel[2]) {
        let (width, height) = rgb.dimensions();
        let grey = GrayImage::from_fn(width, height, |x, y| image::Luma([rgb.get_pixel(x, y)[0]]));
        return Decoded::Grey(grey);
    }
    Decoded::Rgb(rgb)
}

/// Lays a picture with transparency on white: what lies under fully transparent pixels is arbitrary and must not reach
/// a trainer.
fn on_white(picture: &DynamicImage) -> RgbImage {
    let rgba = picture.to_rgba8();
    RgbImage::from_fn(rgba.width(), rgba.height(), |x, y| {
        let [red, green, blue, alpha] = rgba.get_pixel(x, y).0;
        let lay = |value: u8| {
            let sum = u32::from(value) * u32::from(alpha) + 255 * (255 - u32::from(alpha));
            u8::try_from((sum + 127) / 255).unwrap_or(u8::MAX)
        };
        image::Rgb([lay(red), lay(green), lay(blue)])
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::{ImageFormat, Rgb, Rgba, RgbaImage};
    use proptest::prelude::*;

    fn encoded(picture: &DynamicImage, format: ImageFormat) -> Vec<u8> {
        let mut bytes = Cursor::new(Vec::new());
        picture.write_to(&mut bytes, format).unwrap();
        bytes.into_inner()
    }

    #[test]
    fn every_format_is_read() {
        let picture = DynamicImage::ImageRgb8(RgbImage::from_pixel(6, 4, Rgb([200, 30, 30])));
        for format in [
            ImageFormat::Png,
            ImageFormat::Jpeg,
            ImageFormat::WebP,
            ImageFormat::Gif,
            ImageFormat::Bmp,
            ImageFormat::Tiff,
        ] {
            let bytes = encoded(&picture, format);
            let Decoded::Rgb(read) = decode(&bytes).unwrap() else { panic!("{format:?} lost its colour") };
            assert_eq!(read.dimensions(), (6, 4), "{format:?}");
            assert!(read.get_pixel(3, 2)[0].abs_diff(200) < 6, "{format:?}");
            assert_eq!(dimensions(&bytes).unwrap(), (6, 4), "{format:?}");
        }
    }

    #[test]
    fn grey_in_colour_is_grey_and_transparency_is_white() {
        let grey = DynamicImage::ImageRgb8(RgbImage::from_pixel(2, 2, Rgb([9, 9, 9])));
        assert!(matches!(decode(&encoded(&grey, ImageFormat::Png)), Ok(Decoded::Grey(_))));
        let clear = DynamicImage::ImageRgba8(RgbaImage::from_pixel(2, 2, Rgba([90, 1, 2, 0])));
        let Ok(Decoded::Grey(white)) = decode(&encoded(&clear, ImageFormat::Png)) else { panic!("not grey") };
        assert_eq!(white.get_pixel(1, 1)[0], 255);
    }

    #[test]
    fn a_huge_picture_is_refused_by_its_header() {
        let mut bytes = encoded(&DynamicImage::new_luma8(1, 1), ImageFormat::Bmp);
        bytes[18..22].copy_from_slice(&60_000u32.to_le_bytes());
        bytes[22..26].copy_from_slice(&60_000u32.to_le_bytes());
        assert!(matches!(decode(&bytes), Err(DecodeError::TooLarge)));
        assert!(matches!(decode(b"hello"), Err(DecodeError::UnknownFormat)));
    }

    proptest! {
        #[test]
        fn damaged_files_never_panic(at in 0usize..120, value: u8, cut in 0usize..120) {
            let picture = DynamicImage::ImageRgb8(RgbImage::from_fn(5, 5, |x, y| Rgb([x as u8 * 40, y as u8 * 40, 7])));
            for format in [ImageFormat::Png, ImageFormat::Gif, ImageFormat::Bmp] {
                let mut bytes = encoded(&picture, format);
                let length = bytes.len();
                bytes[at % length] = value;
                bytes.truncate(length - cut % length);
                let _ = decode(&bytes);
                let _ = dimensions(&bytes);
            }
        }
    }
}
