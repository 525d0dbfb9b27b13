//! Binary files and streams: images, the trained model's pipe, model files.

use super::{ROOM, Target, run};
use image::{DynamicImage, ImageFormat, RgbImage};
use std::io::Cursor;
use trainyard::executor::warm::protocol::{self, Inbox, Message};
use trainyard::image::{Decoded, decode, dimensions};
use trainyard::ingest::container;

/// An image of each format, and a photograph's worth of metadata.
fn pictures() -> Vec<Vec<u8>> {
    let picture: DynamicImage = RgbImage::from_fn(9, 7, |x, y| image::Rgb([(x * 25) as u8, (y * 35) as u8, 77])).into();
    let grey = DynamicImage::ImageLuma8(picture.to_luma8());
    let formats =
        [ImageFormat::Png, ImageFormat::Jpeg, ImageFormat::Gif, ImageFormat::Bmp, ImageFormat::WebP, ImageFormat::Tiff];
    let mut all = vec![include_bytes!("../data/bars/upright_1.png").to_vec()];
    for format in formats {
        for picture in [&picture, &grey] {
            let mut bytes = Vec::new();
            if picture.write_to(&mut Cursor::new(&mut bytes), format).is_ok() {
                all.push(bytes);
            }
        }
    }
    all
}

const MARKS: &[&str] = &[
    "\u{89}PNG\r\n\u{1a}\n",
    "IHDR",
    "IDAT",
    "IEND",
    "PLTE",
    "eXIf",
    "iCCP",
    "acTL",
    "GIF89a",
    "RIFF",
    "WEBPVP8X",
    "VP8L",
    "VP8 ",
    "BM",
    "II*\0",
    "MM\0*",
    "Exif\0\0",
    "JFIF\0",
];

#[test]
fn containers() {
    let target = Target { name: "containers", cases: 5000, examples: pictures(), words: MARKS, room: ROOM };
    run(&target, |bytes| {
        if let Ok(info) = container::inspect(Cursor::new(bytes), 1 << 20) {
            assert!(info.width > 0 && info.height > 0);
            assert!(u64::from(info.width) * u64::from(info.height) <= 1 << 20, "{info:?}");
        }
    });
}

#[test]
fn decoding() {
    // The decoder may take 256 MiB, turning the picture and flattening it as much again each.
    let target = Target { name: "decoding", cases: 1500, examples: pictures(), words: MARKS, room: 1024 };
    run(&target, |bytes| {
        let told = dimensions(bytes).map_err(|error| error.to_string());
        if let Ok(picture) = decode(bytes) {
            let size = match picture {
                Decoded::Grey(picture) => picture.dimensions(),
                Decoded::Rgb(picture) => picture.dimensions(),
            };
            assert_eq!(told, Ok(size));
        }
    });
}

#[test]
fn questions() {
    use trainyard::domain::prediction::Image;
    let images = [Image::Bytes(b"\x89PNG and more".to_vec()), Image::File("/data/tmp/upload-1.png".into())];
    let questions = [&images[..1], &images[1..], &images[..], &[]];
    let examples = questions.map(|images| protocol::question(std::path::Path::new("/data/runs/run_1"), images.iter()));
    let target = Target {
        name: "questions",
        cases: 3000,
        examples: examples.to_vec(),
        words: &["\0\0\0\0", "\u{1}\0\0\0"],
        room: ROOM,
    };
    run(&target, |bytes| {
        let mut from = bytes;
        while let Ok(Some(question)) = protocol::read_question(&mut from) {
            // The same question says the same.
            let again = protocol::question(&question.folder, question.images.iter());
            assert_eq!(protocol::read_question(&mut &again[..]).unwrap(), Some(question));
        }
    });
}

#[test]
fn answers() {
    let messages = [
        Message::Decoding(3),
        Message::Computing,
        Message::Answer(0, Ok("{\"label\": \"cat\"}".to_owned())),
        Message::Answer(9, Err("no such file".to_owned())),
    ];
    let mut examples = Vec::new();
    for count in 1..=messages.len() {
        let mut bytes = Vec::new();
        messages[..count].iter().for_each(|message| protocol::write_message(&mut bytes, message).unwrap());
        examples.push(bytes);
    }
    let target = Target { name: "answers", cases: 3000, examples, words: &["\0\0\0\0"], room: ROOM };
    run(&target, |bytes| {
        let read = |size: usize| {
            let (mut inbox, mut found) = (Inbox::default(), Vec::new());
            for piece in bytes.chunks(size) {
                inbox.feed(piece);
                while let Some(message) = inbox.next_message().transpose() {
                    match message {
                        Ok(message) => found.push(message),
                        Err(_) => return found,
                    }
                }
            }
            found
        };
        assert_eq!(read(3), read(usize::MAX));
    });
}
