//! Images made by the `image` crate, cut, flipped and forged.

use std::io::Cursor;

use image::{DynamicImage, ImageFormat as Encoder, RgbaImage};
use proptest::prelude::*;

use super::*;

const LIMIT: u64 = 50_000_000;

fn told(bytes: &[u8]) -> Result<ImageInfo, ContainerError> {
    inspect(Cursor::new(bytes), LIMIT)
}

fn picture(width: u32, height: u32) -> DynamicImage {
    let pixel = |x: u32, y: u32| image::Rgba([(x * 7) as u8, (y * 5) as u8, (x * y) as u8, 255 - x as u8]);
    DynamicImage::ImageRgba8(RgbaImage::from_fn(width, height, pixel))
}

fn encode(picture: &DynamicImage, encoder: Encoder) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    picture.write_to(&mut bytes, encoder).unwrap();
    bytes.into_inner()
}

fn kinds(picture: &DynamicImage) -> Vec<DynamicImage> {
    vec![
        picture.clone(),
        picture.to_rgb8().into(),
        picture.to_luma8().into(),
        picture.to_luma_alpha8().into(),
        picture.to_luma16().into(),
        picture.to_rgb16().into(),
        picture.to_rgba16().into(),
    ]
}

const ENCODERS: [(Encoder, ImageFormat); 6] = [
    (Encoder::Png, ImageFormat::Png),
    (Encoder::Jpeg, ImageFormat::Jpeg),
    (Encoder::Gif, ImageFormat::Gif),
    (Encoder::Bmp, ImageFormat::Bmp),
    (Encoder::WebP, ImageFormat::WebP),
    (Encoder::Tiff, ImageFormat::Tiff),
];

/// Every combination of format and pixel type that the encoders know.
fn samples(width: u32, height: u32) -> Vec<(ImageFormat, Vec<u8>)> {
    let mut samples = Vec::new();
    for (encoder, format) in ENCODERS {
        for kind in kinds(&picture(width, height)) {
            let mut bytes = Cursor::new(Vec::new());
            if kind.write_to(&mut bytes, encoder).is_ok() {
                samples.push((format, bytes.into_inner()));
            }
        }
    }
    assert!(samples.len() > 20, "{}", samples.len());
    samples
}

#[test]
fn every_format_and_pixel_type() {
    for (format, bytes) in samples(37, 21) {
        let expected = ImageInfo { format, width: 37, height: 21 };
        assert_eq!(told(&bytes).unwrap(), expected);
        let mut followed = bytes.clone();
        followed.extend_from_slice(b"appended by a phone");
        assert_eq!(told(&followed).unwrap(), expected);
    }
}

#[test]
fn every_truncation_is_told() {
    for (format, bytes) in samples(9, 6) {
        for length in 0..bytes.len() {
            let told = told(&bytes[..length]);
            // A last padding byte carries nothing.
            let padding = format == ImageFormat::WebP && length + 1 == bytes.len() && bytes[length] == 0;
            assert!(told.is_err() || padding, "{format:?} {length} of {}", bytes.len());
        }
    }
}

#[test]
fn a_cut_in_the_middle_is_called_truncated() {
    for (format, bytes) in samples(64, 64) {
        let error = told(&bytes[..bytes.len() * 2 / 3]).unwrap_err();
        assert!(matches!(error, ContainerError::Truncated { .. }), "{format:?} {error}");
        assert!(error.to_string().contains("upload the whole file again"));
    }
}

#[test]
fn flipped_bytes_never_panic_and_png_tells_them() {
    for (format, bytes) in samples(9, 6) {
        for at in 0..bytes.len() {
            for mask in [0x01, 0x80, 0xff] {
                let mut flipped = bytes.clone();
                flipped[at] ^= mask;
                let told = told(&flipped);
                assert!(format != ImageFormat::Png || told.is_err(), "{at}");
            }
        }
    }
}

/// The bytes of `bytes` with others written over them.
fn patched(bytes: &[u8], at: usize, patch: &[u8]) -> Vec<u8> {
    let mut patched = bytes.to_vec();
    patched[at..at + patch.len()].copy_from_slice(patch);
    patched
}

fn with_png_size(bytes: &[u8], width: u32, height: u32) -> Vec<u8> {
    let size = [width.to_be_bytes(), height.to_be_bytes()].concat();
    let patched_header = patched(bytes, 16, &size);
    let crc = crc32fast::hash(&patched_header[12..29]);
    patched(&patched_header, 29, &crc.to_be_bytes())
}

fn sized(encoder: Encoder, bytes: &[u8], side: u16) -> Vec<u8> {
    let (le, be) = (side.to_le_bytes(), side.to_be_bytes());
    match encoder {
        Encoder::Png => with_png_size(bytes, side.into(), side.into()),
        Encoder::Gif => patched(bytes, 6, &[le, le].concat()),
        Encoder::Bmp => patched(bytes, 18, &[le, [0, 0], le, [0, 0]].concat()),
        Encoder::Jpeg => {
            let frame = bytes.windows(2).position(|pair| pair == [0xff, 0xc0]).unwrap();
            patched(bytes, frame + 5, &[be, be].concat())
        }
        Encoder::WebP => {
            let bits = u32::from(side.saturating_sub(1)) | u32::from(side.saturating_sub(1)) << 14;
            patched(bytes, 21, &bits.to_le_bytes())
        }
        _ => {
            let directory = u32::from_le_bytes(bytes[4..8].try_into().unwrap()) as usize;
            let mut patched_tiff = bytes.to_vec();
            for entry in 0..2 {
                let value = directory + 2 + 12 * entry + 8;
                patched_tiff = patched(&patched_tiff, value, &[le, [0, 0]].concat());
            }
            patched_tiff
        }
    }
}

#[test]
fn bombs_are_refused_by_their_dimensions() {
    for (encoder, format) in ENCODERS {
        let small = encode(&picture(8, 8).to_rgb8().into(), encoder);
        let side = if format == ImageFormat::WebP { 16_000 } else { 30_000 };
        let error = told(&sized(encoder, &small, side)).unwrap_err();
        let ContainerError::TooLarge { width, height, limit } = error else {
            panic!("{format:?}: {error}");
        };
        assert_eq!((width, height, limit), (side.into(), side.into(), LIMIT));
        assert_eq!(inspect(Cursor::new(&small), 64).unwrap().width, 8);
        let error = inspect(Cursor::new(&small), 63).unwrap_err();
        assert!(matches!(error, ContainerError::TooLarge { .. }), "{format:?}");
    }
}

#[test]
fn no_pixels_are_damage() {
    for (encoder, format) in ENCODERS {
        // WebP stores dimensions less one: 0 cannot be said.
        if format == ImageFormat::WebP {
            continue;
        }
        let small = encode(&picture(8, 8).to_rgb8().into(), encoder);
        let error = told(&sized(encoder, &small, 0)).unwrap_err();
        assert!(matches!(error, ContainerError::Damaged { .. }), "{format:?} {error}");
    }
}

#[test]
fn other_files_are_named() {
    for (bytes, looks_like) in [
        (&b"<!DOCTYPE html><html>"[..], "a web page"),
        (b"  <html lang=en>", "a web page"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "an SVG drawing"),
        (b"<?xml version='1.0'?><svg/>", "an XML or SVG document"),
        (b"PK\x03\x04zip", "a zip archive"),
        (b"%PDF-1.7", "a PDF document"),
        (b"\x1f\x8b\x08", "compressed data (gzip)"),
        (b"\0\0\0\x18ftypheic", "a video, HEIC or AVIF file"),
        (b"RIFF\x10\0\0\0WAVEfmt ", "a sound or video file"),
        (b"BMW is a car maker, is it not?", "text"),
        (b"hello", "text"),
        (b"\x7fELF\x02\x01\x01\0", "something of an unknown kind"),
        (b"\x89PN", "something of an unknown kind"),
    ] {
        match told(bytes) {
            Err(ContainerError::NotAnImage { looks_like: told }) => assert_eq!(told, looks_like),
            other => panic!("{looks_like}: {other:?}"),
        }
    }
    assert!(matches!(told(b""), Err(ContainerError::Empty)));
    let message = told(b"<html>").unwrap_err().to_string();
    assert!(message.contains("not an image but a web page"), "{message}");
}

#[test]
fn odd_but_valid_jpegs() {
    let plain = encode(&picture(40, 30).to_rgb8().into(), Encoder::Jpeg);
    let insert = |at: usize, bytes: &[u8]| [&plain[..at], bytes, &plain[at..]].concat();
    let thumbnail = encode(&picture(8, 8).to_rgb8().into(), Encoder::Jpeg);
    let mut exif = vec![0xff, 0xe1];
    exif.extend_from_slice(&u16::try_from(thumbnail.len() + 2).unwrap().to_be_bytes());
    exif.extend_from_slice(&thumbnail);
    let second_scan =
        [&plain[..plain.len() - 2], &[0xff, 0xda, 0, 3, 0, 1, 2, 0xff, 0, 0xff, 0xd3, 9, 0xff, 0xd9]].concat();
    for (what, bytes) in [
        ("fill bytes", insert(2, &[0xff, 0xff, 0xff])),
        ("a thumbnail", insert(2, &exif)),
        ("a comment with markers", insert(2, &[0xff, 0xfe, 0, 6, 0xff, 0xd9, 0xff, 0xda])),
        ("stray zeros", insert(20, &[0, 0, 0])),
        ("another scan", second_scan),
        ("a second picture behind", [&plain[..], &thumbnail].concat()),
    ] {
        assert_eq!(told(&bytes).unwrap().width, 40, "{what}");
    }
    let thumbnail_only = [&[0xff, 0xd8][..], &exif].concat();
    assert!(told(&thumbnail_only).is_err());
    assert!(told(&insert(2, &[0xff, 0xd9])).is_err());
    let progressive: Vec<u8> = sized(Encoder::Jpeg, &plain, 16);
    let frame = progressive.windows(2).position(|pair| pair == [0xff, 0xc0]).unwrap();
    assert_eq!(told(&patched(&progressive, frame + 1, &[0xc2])).unwrap().width, 16);
}

#[test]
fn hidden_pictures_do_not_escape_the_limit() {
    let gif = encode(&picture(8, 8), Encoder::Gif);
    let frame = gif.windows(9).position(|block| block == [0x2c, 0, 0, 0, 0, 8, 0, 8, 0]).unwrap();
    let bomb = patched(&gif, frame + 5, &[0xff, 0xff, 0xff, 0xff]);
    assert!(matches!(told(&bomb), Err(ContainerError::TooLarge { .. })));

    let webp = encode(&picture(8, 8), Encoder::WebP);
    let canvas = |side: u8| {
        let mut bytes = b"RIFF\0\0\0\0WEBPVP8X\x0a\0\0\0\0\0\0\0".to_vec();
        bytes.extend_from_slice(&[side, 0, 0, side, 0, 0]);
        bytes.extend_from_slice(&webp[12..]);
        let size = u32::try_from(bytes.len() - 8).unwrap();
        patched(&bytes, 4, &size.to_le_bytes())
    };
    assert_eq!(told(&canvas(7)).unwrap().width, 8);
    assert!(matches!(told(&canvas(6)), Err(ContainerError::Damaged { .. })));
}

#[test]
fn kinds_that_are_not_read() {
    let big_tiff = b"II\x2b\0\x08\0\0\0\x10\0\0\0\0\0\0\0";
    let error = told(big_tiff).unwrap_err();
    assert!(error.to_string().contains("BigTIFF"), "{error}");
    let top_down = encode(&picture(8, 8).to_rgb8().into(), Encoder::Bmp);
    let top_down = patched(&top_down, 22, &(-8i32).to_le_bytes());
    assert_eq!(told(&top_down).unwrap().height, 8);
}

#[test]
fn run_length_bitmaps_end_with_their_mark() {
    let mut header = b"BM\0\0\0\0\0\0\0\0\x3e\0\0\0\x28\0\0\0\x04\0\0\0\x01\0\0\0\x01\0\x08\0\x01\0\0\0".to_vec();
    header.extend_from_slice(&[0; 12]);
    header.extend_from_slice(&[2, 0, 0, 0, 0, 0, 0, 0]);
    header.extend_from_slice(&[0; 8]);
    let with = |data: &[u8]| told(&[&header[..], data].concat());
    assert_eq!(with(&[0, 3, 1, 1, 1, 0, 1, 1, 0, 1]).unwrap().width, 4);
    assert!(matches!(with(&[0, 3, 1, 1, 1, 0, 1, 1]), Err(ContainerError::Truncated { .. })));
}

#[test]
fn names_and_types() {
    for format in ImageFormat::ALL {
        assert_eq!(ImageFormat::from_extension(format.extension()), Some(format));
        assert!(format.mime().starts_with("image/"));
    }
    assert_eq!(ImageFormat::from_file_name("cat/12.JPEG"), Some(ImageFormat::Jpeg));
    assert_eq!(ImageFormat::from_file_name("png"), None);
    assert_eq!(ImageFormat::from_file_name("a.txt"), None);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn random_bytes_are_an_answer(start in 0usize..6, bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let magic: &[u8] = [&b"\x89PNG\r\n\x1a\n"[..], b"\xff\xd8\xff", b"GIF89a", b"BM", b"RIFF\x50\0\0\0WEBPVP8X", b"II*\0\x08\0\0\0"][start];
        let _ = told(&bytes);
        let _ = told(&[magic, &bytes].concat());
    }

    #[test]
    fn damaged_images_are_an_answer(kind in 0usize..6, edits in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6)) {
        let mut bytes = encode(&picture(5, 4).to_rgb8().into(), ENCODERS[kind].0);
        for (at, value) in edits {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        let _ = told(&bytes);
    }
}
