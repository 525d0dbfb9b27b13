//! Small pictures, to be looked at in numbers.
//!
//! It must not know where they are kept or who looks at them.

use super::{DecodeError, Decoded};
use image::codecs::jpeg::JpegEncoder;
use image::{DynamicImage, ImageFormat};
use std::io::Cursor;

/// The longest side of a small picture: twice what a gallery shows, for screens with more pixels.
const SIDE: u32 = 208;

/// Up to so many pixels a picture is kept as it is, as PNG: the few that there are should be sharp.
const SHARP: u32 = 64 * 64;

/// The quality of the others, as JPEG.
const QUALITY: u8 = 82;

/// A small picture as a PNG or JPEG file, in the proportions of the large one and never larger than that.
///
/// # Errors
/// `Damaged` where it cannot be encoded.
pub fn thumbnail(picture: Decoded) -> Result<Vec<u8>, DecodeError> {
    let picture = match picture {
        Decoded::Grey(grey) => DynamicImage::ImageLuma8(grey),
        Decoded::Rgb(rgb) => DynamicImage::ImageRgb8(rgb),
    };
    let is_large = picture.width() > SIDE || picture.height() > SIDE;
    let small = if is_large { picture.thumbnail(SIDE, SIDE) } else { picture };
    let mut bytes = Cursor::new(Vec::new());
    let written = match small.width() * small.height() <= SHARP {
        true => small.write_to(&mut bytes, ImageFormat::Png),
        false => small.write_with_encoder(JpegEncoder::new_with_quality(&mut bytes, QUALITY)),
    };
    written.map_err(|error| DecodeError::Damaged(error.to_string()))?;
    Ok(bytes.into_inner())
}

#[cfg(test)]
mod tests {
    use super::super::{decode, dimensions};
    use super::*;
    use image::{GrayImage, Luma, Rgb, RgbImage};
    use proptest::prelude::*;

    #[test]
    fn few_pixels_stay_as_they_are() {
        let digit = GrayImage::from_fn(28, 28, |x, y| Luma([(x * 9 + y) as u8]));
        let small = thumbnail(Decoded::Grey(digit.clone())).unwrap();
        assert_eq!(decode(&small).unwrap(), Decoded::Grey(digit));
    }

    #[test]
    fn colours_survive() {
        let red = RgbImage::from_pixel(900, 600, Rgb([200, 20, 20]));
        let small = thumbnail(Decoded::Rgb(red)).unwrap();
        assert!(small.len() < 8 << 10, "{}", small.len());
        let Decoded::Rgb(seen) = decode(&small).unwrap() else { panic!("it is grey now") };
        assert_eq!(seen.dimensions(), (208, 139));
        assert!(seen.get_pixel(100, 70)[0].abs_diff(200) < 6);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn no_side_is_longer_than_wanted_and_none_is_gone(width in 1u32..1200, height in 1u32..1200) {
            let small = thumbnail(Decoded::Grey(GrayImage::new(width, height))).unwrap();
            let (small_width, small_height) = dimensions(&small).unwrap();
            prop_assert!((1..=SIDE.min(width)).contains(&small_width) && (1..=SIDE.min(height)).contains(&small_height));
            prop_assert!(width.max(height) <= SIDE || small_width.max(small_height) == SIDE);
        }
    }
}
