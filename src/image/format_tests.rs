//! Files as cameras and drawing programs make them: every kind of pixel, every turn, first frames.
//!
//! `samples` were made with Pillow: 16 x 8 pixels, red on the left, blue on the right, or white and black.

use super::{Decoded, decode, dimensions};
use image::{DynamicImage, ImageFormat, Rgb, RgbImage};
use std::io::Cursor;

const RED: [u8; 3] = [200, 40, 30];
const BLUE: [u8; 3] = [20, 60, 210];

fn rgb(bytes: &[u8]) -> RgbImage {
    match decode(bytes).unwrap() {
        Decoded::Rgb(rgb) => rgb,
        Decoded::Grey(_) => panic!("lost its colour"),
    }
}

fn is_near(pixel: &Rgb<u8>, colour: [u8; 3]) -> bool {
    pixel.0.iter().zip(colour).all(|(a, b)| a.abs_diff(b) < 12)
}

#[test]
fn every_kind_of_file_is_read() {
    let samples: [(&str, &[u8]); 7] = [
        ("cmyk.jpg", include_bytes!("samples/cmyk.jpg")),
        ("cmyk.tiff", include_bytes!("samples/cmyk.tiff")),
        ("progressive.jpg", include_bytes!("samples/progressive.jpg")),
        ("palette.png", include_bytes!("samples/palette.png")),
        ("animated.gif", include_bytes!("samples/animated.gif")),
        ("animated.webp", include_bytes!("samples/animated.webp")),
        ("a new JPEG", &encoded(&sample(), ImageFormat::Jpeg)),
    ];
    for (name, bytes) in samples {
        let picture = rgb(bytes);
        assert_eq!(picture.dimensions(), (16, 8), "{name}");
        assert!(is_near(picture.get_pixel(3, 4), RED), "{name}: {:?}", picture.get_pixel(3, 4));
        assert!(is_near(picture.get_pixel(12, 4), BLUE), "{name}: {:?}", picture.get_pixel(12, 4));
    }
}

#[test]
fn black_and_white_and_sixteen_bits_are_grey() {
    for bytes in [&include_bytes!("samples/one-bit.png")[..], include_bytes!("samples/one-bit.tiff")] {
        let Decoded::Grey(picture) = decode(bytes).unwrap() else { panic!("coloured") };
        assert_eq!((picture.get_pixel(3, 4)[0], picture.get_pixel(12, 4)[0]), (255, 0));
    }
    let Decoded::Grey(deep) = decode(include_bytes!("samples/sixteen-bit.tiff")).unwrap() else { panic!("coloured") };
    // Pixel n holds 500 n of 65,535.
    for (at, pixel) in deep.pixels().enumerate() {
        assert!(pixel[0].abs_diff((at * 500 / 257) as u8) <= 1, "{at}: {pixel:?}");
    }
    let deep = DynamicImage::ImageRgb16(DynamicImage::ImageRgb8(sample()).to_rgb16());
    for format in [ImageFormat::Png, ImageFormat::Tiff] {
        assert_eq!(rgb(&written(&deep, format)), sample());
    }
}

#[test]
fn transparent_colours_of_a_palette_are_white() {
    let picture = rgb(include_bytes!("samples/palette-clear.png"));
    assert!(is_near(picture.get_pixel(3, 4), RED));
    assert_eq!(picture.get_pixel(12, 4).0, [255; 3]);
}

fn sample() -> RgbImage {
    RgbImage::from_fn(16, 8, |x, _| Rgb(if x < 8 { RED } else { BLUE }))
}

fn written(picture: &DynamicImage, format: ImageFormat) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    picture.write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

fn encoded(picture: &RgbImage, format: ImageFormat) -> Vec<u8> {
    written(&DynamicImage::ImageRgb8(picture.clone()), format)
}

/// A JPEG with that orientation, as a camera writes it.
fn turned_jpeg(picture: &RgbImage, orientation: u8) -> Vec<u8> {
    let jpeg = encoded(picture, ImageFormat::Jpeg);
    // A TIFF header, one directory of one entry: tag 0x0112, a short, one value.
    let mut exif = b"Exif\0\0MM\0\x2a\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0".to_vec();
    exif.extend([orientation, 0, 0, 0, 0, 0, 0]);
    let length = u16::try_from(exif.len() + 2).unwrap().to_be_bytes();
    [&jpeg[..2], &[0xff, 0xe1], &length, &exif, &jpeg[2..]].concat()
}

#[test]
fn all_eight_orientations_show_the_picture_upright() {
    // 24 x 16 pixels in blocks of 8, so that JPEG keeps them apart; only the first block is red.
    let upright = RgbImage::from_fn(24, 16, |x, y| Rgb(if x < 8 && y < 8 { RED } else { BLUE }));
    let whole = DynamicImage::ImageRgb8(upright.clone());
    // What a camera stores for each orientation: the turn that its reader is to undo.
    let stored = [
        whole.clone(),
        whole.fliph(),
        whole.rotate180(),
        whole.flipv(),
        whole.rotate90().fliph(),
        whole.rotate270(),
        whole.rotate270().fliph(),
        whole.rotate90(),
    ];
    for (orientation, stored) in (1..).zip(stored) {
        let bytes = turned_jpeg(&stored.to_rgb8(), orientation);
        assert_eq!(dimensions(&bytes).unwrap(), (24, 16), "orientation {orientation}");
        let read = rgb(&bytes);
        assert_eq!(read.dimensions(), (24, 16), "orientation {orientation}");
        for (x, y, pixel) in upright.enumerate_pixels() {
            assert!(is_near(read.get_pixel(x, y), pixel.0), "orientation {orientation} at {x}, {y}");
        }
    }
    // No turn that there is: as it lies.
    assert_eq!(dimensions(&turned_jpeg(&upright, 9)).unwrap(), (24, 16));
}

#[test]
fn other_formats_are_turned_as_well() {
    let samples: [(&str, &[u8]); 4] = [
        ("turned.jpg", include_bytes!("samples/turned.jpg")),
        ("turned.png", include_bytes!("samples/turned.png")),
        ("turned.webp", include_bytes!("samples/turned.webp")),
        ("turned.tiff", include_bytes!("samples/turned.tiff")),
    ];
    for (name, bytes) in samples {
        assert_eq!(dimensions(bytes).unwrap(), (8, 16), "{name}");
        let picture = rgb(bytes);
        assert!(is_near(picture.get_pixel(4, 3), RED) && is_near(picture.get_pixel(4, 12), BLUE), "{name}");
    }
}
