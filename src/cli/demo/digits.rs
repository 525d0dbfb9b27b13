//! The demo's images: 1,797 handwritten digits, 8x8 grey, packed as one picture of 43 by 42 tiles.
//!
//! "Optical Recognition of Handwritten Digits", E. Alpaydin and C. Kaynak, UCI Machine Learning Repository, 1998, CC BY
//! 4.0 (<https://doi.org/10.24432/C50P49>), the test part as scikit-learn ships it, grey values scaled to 0..255.

use crate::domain::error::{Error, Result};
use crate::domain::samples::{Sample, Samples};
use image::{GrayImage, ImageFormat};
use std::io::Cursor;

/// The tiles, row by row.
const PICTURE: &[u8] = include_bytes!("digits.png");

/// What each tile shows, in the same order.
const LABELS: &str = include_str!("digits.txt");

const TILES_ACROSS: usize = 43;
const SIDE: u32 = 8;

/// Every ninth digit is held back: nobody uploads it.
const HELD_BACK: usize = 9;

/// One digit.
#[derive(Debug, Clone)]
pub struct Digit {
    /// Its place in the collection.
    pub number: usize,
    /// What it shows.
    pub label: char,
    pixels: GrayImage,
}

/// The digits to upload, and those that are held back.
pub struct Digits {
    /// For training.
    pub uploaded: Vec<Digit>,
    /// For the last question.
    pub held_back: Vec<Digit>,
}

impl Digits {
    /// Unpacks the collection.
    ///
    /// # Errors
    /// None in practice: the picture is part of the binary.
    pub fn unpack() -> image::ImageResult<Self> {
        let picture = image::load_from_memory_with_format(PICTURE, ImageFormat::Png)?.into_luma8();
        let labels = LABELS.chars().filter(char::is_ascii_digit);
        let digits = labels.enumerate().map(|(number, label)| {
            let (row, column) = (number / TILES_ACROSS, number % TILES_ACROSS);
            let (x, y) = (column as u32 * SIDE, row as u32 * SIDE);
            let pixels = image::imageops::crop_imm(&picture, x, y, SIDE, SIDE).to_image();
            Digit { number, label, pixels }
        });
        let (held_back, uploaded) = digits.partition(|digit| digit.number % HELD_BACK == HELD_BACK - 1);
        Ok(Self { uploaded, held_back })
    }
}

impl Digit {
    /// The file as a user would upload it.
    ///
    /// # Errors
    /// None in practice: it is written to memory.
    pub fn png(&self) -> image::ImageResult<Vec<u8>> {
        let mut bytes = Vec::new();
        self.pixels.write_to(&mut Cursor::new(&mut bytes), ImageFormat::Png)?;
        Ok(bytes)
    }

    /// The digit in four lines of text.
    pub fn drawing(&self) -> Vec<String> {
        const SHADES: [char; 5] = [' ', '░', '▒', '▓', '█'];
        (0..SIDE / 2)
            .map(|row| {
                (0..SIDE)
                    .map(|x| {
                        let grey = |y| u32::from(self.pixels.get_pixel(x, y)[0]);
                        SHADES[((grey(2 * row) + grey(2 * row + 1)) * 4 / 510) as usize]
                    })
                    .collect()
            })
            .collect()
    }
}

/// The digits for whoever asks a running server for them.
pub struct DemoSamples;

impl Samples for DemoSamples {
    fn model(&self) -> &'static str {
        super::MODEL
    }

    fn dataset(&self) -> &'static str {
        super::DATASET
    }

    fn images(&self) -> Result<Vec<Sample>> {
        let digits = Digits::unpack().map_err(Error::internal)?;
        let sample = |digit: Digit| {
            let file_name = format!("{:04}.png", digit.number);
            Ok(Sample { label: digit.label.to_string(), file_name, bytes: digit.png().map_err(Error::internal)? })
        };
        digits.uploaded.into_iter().map(sample).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_digits_are_there() {
        let digits = Digits::unpack().unwrap();
        assert_eq!((digits.uploaded.len(), digits.held_back.len()), (1598, 199));
        let first = &digits.uploaded[0];
        assert_eq!((first.number, first.label), (0, '0'));
        assert_eq!(&first.pixels.as_raw()[..6], [0, 0, 80, 207, 143, 16]);
        assert_eq!(first.drawing().len(), 4);
        for label in '0'..='9' {
            assert!(digits.held_back.iter().filter(|digit| digit.label == label).count() > 10);
        }
    }
}
