//! Bringing a decoded picture to the size and the colour planes that a network was made for.
//!
//! It must not know which size is wanted, or why.

use super::{Channels, Decoded};
use image::imageops::{self, FilterType};
use image::{GrayImage, RgbImage};

/// `side` x `side` pixels of `channels` planes, 8 bits each, row by row with the planes interleaved.
///
/// Both directions are stretched alike to the square, as most training scripts do; a triangle filter as wide as the
/// reduction keeps fine patterns from aliasing. A picture that has the size already is taken as it is.
pub fn resize(picture: Decoded, side: u32, channels: Channels) -> Vec<u8> {
    match (picture, channels) {
        (Decoded::Grey(grey), Channels::Grey) => scaled_grey(grey, side),
        (Decoded::Grey(grey), Channels::Rgb) => {
            scaled_grey(grey, side).into_iter().flat_map(|value| [value; 3]).collect()
        }
        (Decoded::Rgb(rgb), Channels::Rgb) => scaled_rgb(rgb, side),
        (Decoded::Rgb(rgb), Channels::Grey) => scaled_grey(imageops::grayscale(&rgb), side),
    }
}

fn scaled_grey(grey: GrayImage, side: u32) -> Vec<u8> {
    if grey.dimensions() == (side, side) {
        return grey.into_raw();
    }
    imageops::resize(&grey, side, side, FilterType::Triangle).into_raw()
}

fn scaled_rgb(rgb: RgbImage, side: u32) -> Vec<u8> {
    if rgb.dimensions() == (side, side) {
        return rgb.into_raw();
    }
    imageops::resize(&rgb, side, side, FilterType::Triangle).into_raw()
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::{Luma, Rgb};
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_result_has_the_size_asked_for(width in 1u32..40, height in 1u32..40, side in 1u32..40, value: u8) {
            let grey = Decoded::Grey(GrayImage::from_pixel(width, height, Luma([value])));
            prop_assert_eq!(resize(grey.clone(), side, Channels::Grey), vec![value; (side * side) as usize]);
            prop_assert_eq!(resize(grey, side, Channels::Rgb), vec![value; (3 * side * side) as usize]);
        }
    }

    #[test]
    fn the_right_size_is_taken_as_it_is() {
        let rgb = RgbImage::from_fn(3, 3, |x, y| Rgb([x as u8, y as u8, 5]));
        assert_eq!(resize(Decoded::Rgb(rgb.clone()), 3, Channels::Rgb), rgb.into_raw());
    }

    #[test]
    fn a_fine_pattern_becomes_its_mean() {
        let checks = GrayImage::from_fn(64, 64, |x, y| Luma([if (x + y) % 2 == 0 { 0 } else { 200 }]));
        let small = resize(Decoded::Grey(checks), 8, Channels::Grey);
        assert!(small.iter().all(|value| value.abs_diff(100) < 4), "{small:?}");
    }
}
