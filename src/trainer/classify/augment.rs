//! Augmentation: each time a picture is learned from, it is cropped, moved, stretched, mirrored and toned a little otherwise.
//!
//! What is done to a picture depends on the seed and on its place in the sequence of training alone, and the arithmetic is
//! on whole numbers, or single operations of f32 for tones, so it is the same to the last bit on every machine and for
//! every number of steps. Tones are made by `fill`, together with the normalisation. The strengths are those that
//! raised the accuracy of drawn shapes and printed letters most without costing handwritten digits any. It must not know data sets, labels or networks.

use super::fill::Tone;
use crate::image::Channels;
use crate::trainer::nn::rng::Rng;

/// The stream of random numbers that this takes of a run's seed.
const STREAM: u64 = 3;

/// How pictures are changed while they are learned from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Augmentation {
    /// Not at all.
    Off,
    /// Cropped, moved, stretched and toned; mirrored where the data show that it makes sense.
    #[default]
    Auto,
    /// As `Auto`, and always mirrored at random.
    Mirror,
    /// As `Auto`, and never mirrored.
    NoMirror,
}

/// Changes the pictures of one run.
pub struct Augmenter {
    seed: u64,
    mirrors: bool,
    side: usize,
    channels: Channels,
    /// A picture after its change.
    pixels: Vec<u8>,
    /// One row of it.
    row: Vec<u8>,
    /// Where each column of the result comes from.
    columns: Vec<Source>,
}

/// A place between two neighbouring pixels of a row or of a column.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Source {
    /// The first of the two.
    first: u16,
    /// How much of the second, in parts of 256.
    second: u16,
}

/// What is done to one picture. Lengths are in pixels, in parts of 65,536.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Change {
    /// Pixels of the picture to one of the result, across and down.
    step: [i32; 2],
    /// Where the middle of the result lies, from the middle of the picture.
    shift: [i32; 2],
    mirrored: bool,
    tone: Tone,
}

const ONE: i32 = 1 << 16;
/// The most that a picture is enlarged or reduced by, in parts of 65,536: 15 %.
const ZOOM: i32 = 9_830;
/// The most that one direction is stretched and the other shortened by besides: 10 %.
const STRETCH: i32 = 6_554;
/// The most that a picture is moved by, across and down, in parts of its side: 10 %.
const SHIFT: i32 = 6_554;
/// Pictures smaller than this are moved and stretched half as much: at so few pixels every move by a part of one blurs.
const SMALL: i32 = 16;
/// The most that contrast is changed by.
const CONTRAST: f32 = 0.2;
/// The most that brightness is changed by, in grey levels.
const BRIGHTNESS: f32 = 10.0;
/// The most that each plane of a coloured picture is made lighter or darker besides, in grey levels.
const TINT: f32 = 5.0;
/// Tones are drawn in this many steps to each side.
const TONE_STEPS: i32 = 256;

impl Augmenter {
    /// For pictures of `side` x `side` pixels.
    pub(super) fn new(seed: u64, side: u32, channels: Channels, mirrors: bool) -> Augmenter {
        let side = side as usize;
        Augmenter {
            seed: Rng::new(seed, STREAM).next_u64(),
            mirrors,
            side,
            channels,
            pixels: vec![0; side * side * channels.count()],
            row: vec![0; side * channels.count()],
            columns: vec![Source::default(); side],
        }
    }

    /// Changes the picture at place `position` of the sequence of training. What it looks like then, but for its tone.
    pub(super) fn change(&mut self, position: u64, picture: &[u8]) -> (&[u8], Tone) {
        let change = self.draw(position);
        match self.channels {
            Channels::Grey => self.resample::<1>(picture, &change),
            Channels::Rgb => self.resample::<3>(picture, &change),
        }
        (&self.pixels, change.tone)
    }

    fn draw(&self, position: u64) -> Change {
        let mut rng = Rng::new(self.seed, position);
        // Sixteen bits a number are plenty, and one draw has four of them.
        let (mut bits, mut left) = (0, 0);
        let mut draw = || {
            if left == 0 {
                (bits, left) = (rng.next_u64(), 4);
            }
            left -= 1;
            bits = bits.rotate_left(16);
            i64::from(bits as u16) - i64::from(1 << 15)
        };
        // From -reach to below reach.
        let mut around = |reach: i32| ((draw() * i64::from(reach)) >> 15) as i32;
        let side = i32::try_from(self.side).unwrap_or(i32::MAX);
        let share = if side < SMALL { 2 } else { 1 };
        let (zoom, stretch) = (around(ZOOM / share), around(STRETCH / share));
        let reach = SHIFT / share * side;
        let shift = [around(reach), around(reach)];
        let mut tone = |reach: f32| reach * (around(TONE_STEPS) as f32 * (1.0 / TONE_STEPS as f32));
        let (contrast, brightness) = (1.0 + tone(CONTRAST), tone(BRIGHTNESS));
        let tint = if self.channels == Channels::Rgb { TINT } else { 0.0 };
        let tone = Tone { contrast, brightness: [brightness; 3].map(|brightness| brightness + tone(tint)) };
        let mirrored = self.mirrors && draw() < 0;
        Change { step: [ONE + zoom + stretch, ONE + zoom - stretch], shift, mirrored, tone }
    }

    /// Bilinear sampling; beyond its border a picture goes on as its border.
    fn resample<const CHANNELS: usize>(&mut self, picture: &[u8], change: &Change) {
        if self.side < 2 {
            self.pixels.copy_from_slice(picture);
            return;
        }
        for (x, column) in self.columns.iter_mut().enumerate() {
            *column = source(self.side, x, change.step[0], change.shift[0]);
        }
        if change.mirrored {
            self.columns.reverse();
        }
        let length = self.side * CHANNELS;
        for (y, result) in self.pixels.chunks_exact_mut(length).enumerate() {
            let place = source(self.side, y, change.step[1], change.shift[1]);
            let rows = &picture[usize::from(place.first) * length..][..2 * length];
            let (above, below) = rows.split_at(length);
            for ((mixed, above), below) in self.row.iter_mut().zip(above).zip(below) {
                *mixed = mix(*above, *below, place.second);
            }
            let (pixels, _) = self.row.as_chunks::<CHANNELS>();
            let (results, _) = result.as_chunks_mut::<CHANNELS>();
            for (result, column) in results.iter_mut().zip(&self.columns) {
                // The second is always there: the last place is the whole of the last but one's second.
                let Some([left, right]) =
                    pixels.get(usize::from(column.first)..).and_then(|pixels| pixels.first_chunk())
                else {
                    continue;
                };
                for channel in 0..CHANNELS {
                    result[channel] = mix(left[channel], right[channel], column.second);
                }
            }
        }
    }
}

/// `second` parts of 256 of `b`, the rest `a`, rounded.
fn mix(a: u8, b: u8, second: u16) -> u8 {
    ((u16::from(a) * (256 - second) + u16::from(b) * second + 128) >> 8) as u8
}

/// Where place `at` of a line of `side` (at least 2) pixels comes from.
fn source(side: usize, at: usize, step: i32, shift: i32) -> Source {
    let last = i32::try_from(side).unwrap_or(i32::MAX) - 1;
    // Twice the distance from the middle is a whole number.
    let from_middle = 2 * i32::try_from(at).unwrap_or(0) - last;
    let place = (from_middle * (step >> 1) + last * (ONE >> 1) + shift).clamp(0, last * ONE);
    let first = (place >> 16).min(last - 1);
    let second = (place - first * ONE + 128) >> 8;
    Source { first: u16::try_from(first).unwrap_or(0), second: u16::try_from(second).unwrap_or(0) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn picture(side: usize, channels: usize) -> Vec<u8> {
        (0..side * side * channels).map(|at| (at * 37 % 251) as u8).collect()
    }

    fn changed(augmenter: &mut Augmenter, position: u64, picture: &[u8]) -> (Vec<u8>, Tone) {
        let (pixels, tone) = augmenter.change(position, picture);
        (pixels.to_vec(), tone)
    }

    const NO_CHANGE: Change = Change { step: [ONE; 2], shift: [0; 2], mirrored: false, tone: Tone::NONE };

    fn resampled(side: u32, picture: &[u8], change: Change) -> Vec<u8> {
        let mut augmenter = Augmenter::new(0, side, Channels::Grey, true);
        augmenter.resample::<1>(picture, &change);
        augmenter.pixels
    }

    proptest! {
        #[test]
        fn a_change_depends_on_seed_and_position_alone(
            seed: u64, position: u64, side in 1u32..=128, rgb: bool, before: u64,
        ) {
            let channels = if rgb { Channels::Rgb } else { Channels::Grey };
            let picture = picture(side as usize, channels.count());
            let new = || Augmenter::new(seed, side, channels, true);
            let first = changed(&mut new(), position, &picture);
            let mut used = new();
            used.change(before, &picture);
            prop_assert_eq!(&changed(&mut used, position, &picture), &first);
            let tone = first.1;
            prop_assert!((0.8..=1.2).contains(&tone.contrast), "{:?}", tone);
            prop_assert!(tone.brightness.iter().all(|value| value.abs() <= 15.0), "{:?}", tone);
        }

        #[test]
        fn an_even_picture_stays_even(seed: u64, position: u64, side in 1u32..=128, value: u8) {
            let picture = vec![value; (side * side) as usize];
            let mut augmenter = Augmenter::new(seed, side, Channels::Grey, true);
            prop_assert_eq!(changed(&mut augmenter, position, &picture).0, picture);
        }

        #[test]
        fn sources_lie_within_the_line(side in 2usize..=128, at in 0usize..128, zoom in -20_000..20_000, shift in -2_000_000..2_000_000) {
            let place = source(side, at % side, ONE + zoom, shift);
            prop_assert!(usize::from(place.first) + 1 < side && place.second <= 256, "{:?}", place);
        }
    }

    /// Committed values: another machine, compiler or version must give the same.
    #[test]
    fn changes_are_the_same_everywhere() {
        let mut hasher = blake3::Hasher::new();
        for (side, channels) in [(8, Channels::Grey), (33, Channels::Rgb), (64, Channels::Rgb)] {
            let picture = picture(side as usize, channels.count());
            let mut augmenter = Augmenter::new(11, side, channels, true);
            for position in 0..50 {
                let (pixels, tone) = changed(&mut augmenter, position, &picture);
                hasher.update(&pixels);
                hasher.update(&tone.contrast.to_le_bytes());
                tone.brightness.iter().for_each(|value| {
                    hasher.update(&value.to_le_bytes());
                });
            }
        }
        assert_eq!(hasher.finalize().to_hex()[..16], *"6515c1a25a967ae8");
    }

    #[test]
    fn moves_mirrors_and_zooms_do_what_they_say() {
        let row = |values: [u8; 4]| [values; 4].concat();
        let picture = row([10, 20, 30, 40]);
        assert_eq!(resampled(4, &picture, NO_CHANGE), picture);
        assert_eq!(resampled(4, &picture, Change { mirrored: true, ..NO_CHANGE }), row([40, 30, 20, 10]));
        assert_eq!(resampled(4, &picture, Change { shift: [ONE, 0], ..NO_CHANGE }), row([20, 30, 40, 40]));
        assert_eq!(resampled(4, &picture, Change { shift: [0, ONE], ..NO_CHANGE }), picture);
        assert_eq!(resampled(4, &picture, Change { shift: [ONE / 2, 0], ..NO_CHANGE }), row([15, 25, 35, 40]));
        // Half as large: twice as far from pixel to pixel.
        assert_eq!(resampled(4, &picture, Change { step: [2 * ONE; 2], ..NO_CHANGE }), row([10, 15, 35, 40]));
    }

    #[test]
    fn only_what_may_be_mirrored_is() {
        let of = |mirrors| {
            let augmenter = Augmenter::new(1, 8, Channels::Grey, mirrors);
            (0..1000).filter(|position| augmenter.draw(*position).mirrored).count()
        };
        assert_eq!(of(false), 0);
        assert!((400..600).contains(&of(true)));
    }
}
