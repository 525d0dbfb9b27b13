//! Image bytes: small good ones, all different, and the bad ones.

use image::{DynamicImage, GrayImage, ImageFormat, Luma};
use std::io::Cursor;

/// A small PNG; other numbers give other bytes.
pub fn png(number: u32) -> Vec<u8> {
    encoded(number, ImageFormat::Png)
}

/// A small image in any format.
pub fn encoded(number: u32, format: ImageFormat) -> Vec<u8> {
    let picture = GrayImage::from_fn(8, 8, |x, y| {
        let mixed = number.wrapping_mul(2_654_435_761).rotate_left((x + 8 * y) % 32);
        Luma([mixed.to_le_bytes()[0]])
    });
    save(&picture, format)
}

fn save(picture: &GrayImage, format: ImageFormat) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    match format {
        // The only format here that has no grey.
        ImageFormat::Gif => DynamicImage::from(picture.clone()).into_rgba8().write_to(&mut bytes, format).unwrap(),
        _ => picture.write_to(&mut bytes, format).unwrap(),
    }
    bytes.into_inner()
}

/// A picture of class 0 (bright above) or 1 (bright below), different for each number.
pub fn halves(class: u8, number: u8) -> Vec<u8> {
    let picture = GrayImage::from_fn(8, 8, |x, y| {
        let bright = (y < 4) == (class == 0);
        let noise = (number as u32 * 7 + x * 13 + y * 29) % 50;
        Luma([if bright { 180 } else { 60 } + noise as u8])
    });
    save(&picture, ImageFormat::Png)
}

/// A PNG of about this many bytes whose pixels do not compress.
pub fn large_png(bytes: u32) -> Vec<u8> {
    let mut state = 1u64;
    let picture = GrayImage::from_fn(1024, bytes.div_ceil(1024), |_, _| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        Luma([(state >> 56) as u8])
    });
    save(&picture, ImageFormat::Png)
}

/// A well-formed PNG of a few bytes that says it has this many pixels.
pub fn bomb(width: u32, height: u32) -> Vec<u8> {
    let mut bytes = b"\x89PNG\r\n\x1a\n".to_vec();
    let header = [&width.to_be_bytes()[..], &height.to_be_bytes(), &[8, 0, 0, 0, 0]].concat();
    for (kind, content) in [(b"IHDR", &header[..]), (b"IDAT", b"x\x9c\x03\0\0\0\0\x01"), (b"IEND", b"")] {
        let named = [&kind[..], content].concat();
        bytes.extend_from_slice(&u32::try_from(content.len()).unwrap().to_be_bytes());
        bytes.extend_from_slice(&named);
        bytes.extend_from_slice(&crc32fast::hash(&named).to_be_bytes());
    }
    bytes
}
