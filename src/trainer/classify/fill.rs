//! Pictures into the input of a network: bytes to normalised numbers.
//!
//! It must not know data sets.

use crate::trainer::nn::network::Network;

/// Numbers that are made at once: a multiple of the channels, one or three, and of the width of vector registers.
const PERIOD: usize = 48;

/// Mean and standard deviation of each channel over the training part, in grey levels 0 to 255.
#[derive(Clone, Debug, PartialEq)]
pub struct Normalisation {
    /// One mean a channel.
    pub mean: Vec<f32>,
    /// One standard deviation a channel, at least one grey level.
    pub deviation: Vec<f32>,
}

/// A change of a picture's colours, made together with the normalisation.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Tone {
    /// Factor of the distance from the mean of the training part.
    pub contrast: f32,
    /// Grey levels added to each channel.
    pub brightness: [f32; 3],
}

impl Tone {
    /// No change, to the last bit.
    pub const NONE: Tone = Tone { contrast: 1.0, brightness: [0.0; 3] };
}

/// Writes one picture into the network's input.
pub(super) fn fill(network: &mut Network, normalisation: &Normalisation, image: usize, picture: &[u8]) {
    fill_toned(network, normalisation, image, picture, Tone::NONE);
}

/// As [`fill`], with a tone: `((value - mean) * contrast + brightness) / deviation`.
pub(super) fn fill_toned(
    network: &mut Network,
    normalisation: &Normalisation,
    image: usize,
    picture: &[u8],
    tone: Tone,
) {
    let channels = normalisation.mean.len();
    // The tone is part of the two numbers that normalise.
    let mut numbers = [(0.0, 0.0); 3];
    for (channel, (mean, scale)) in numbers.iter_mut().enumerate().take(channels) {
        *mean = normalisation.mean[channel] - tone.brightness[channel] / tone.contrast;
        *scale = 1.0 / normalisation.deviation[channel] * tone.contrast;
    }
    let (mut means, mut scales) = ([0.0; PERIOD], [0.0; PERIOD]);
    for (mean, scale) in means.chunks_exact_mut(channels).zip(scales.chunks_exact_mut(channels)) {
        for channel in 0..channels {
            (mean[channel], scale[channel]) = numbers[channel];
        }
    }
    let row = network.shape().input.width * channels;
    for (y, pixels) in picture.chunks_exact(row).enumerate() {
        normalise(pixels, network.input_row(image, y), &means, &scales);
    }
}

fn normalise(pixels: &[u8], places: &mut [f32], means: &[f32; PERIOD], scales: &[f32; PERIOD]) {
    let (pixels, last_pixels) = pixels.as_chunks::<PERIOD>();
    let (places, last_places) = places.as_chunks_mut::<PERIOD>();
    for (places, pixels) in places.iter_mut().zip(pixels) {
        for at in 0..PERIOD {
            places[at] = (f32::from(pixels[at]) - means[at]) * scales[at];
        }
    }
    for (((place, pixel), mean), scale) in last_places.iter_mut().zip(last_pixels).zip(means).zip(scales) {
        *place = (f32::from(*pixel) - mean) * scale;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trainer::nn::Extent;
    use crate::trainer::nn::kernels::Isa;
    use crate::trainer::nn::network::{LayerShape, NetworkShape};
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_value_lands_in_its_place(side in 1usize..40, colour: bool, image in 0usize..4, seed: u8, toned: bool) {
            let channels = if colour { 3 } else { 1 };
            let (mean, deviation) = ([100.0, 90.0, 80.0], [50.0, 40.0, 30.0]);
            let normalisation =
                Normalisation { mean: mean[..channels].to_vec(), deviation: deviation[..channels].to_vec() };
            let tone = if toned { Tone { contrast: 1.25, brightness: [9.0, -3.0, 4.5] } } else { Tone::NONE };
            let input = Extent { height: side, width: side, channels };
            let shape = NetworkShape { input, layers: vec![LayerShape::Linear { outputs: 2, relu: false }] };
            let mut network = Network::zeroed(Isa::detect(), shape, 4);
            let pixels: Vec<u8> =
                (0..side * side * channels).map(|at| (at * 7 + at / 13 + usize::from(seed)) as u8).collect();
            fill_toned(&mut network, &normalisation, image, &pixels, tone);
            for y in 0..side {
                for (at, place) in network.input_row(image, y).iter().enumerate() {
                    let channel = at % channels;
                    let value = f32::from(pixels[y * side * channels + at]);
                    let wanted =
                        ((value - mean[channel]) * tone.contrast + tone.brightness[channel]) / deviation[channel];
                    prop_assert!((place - wanted).abs() < 1e-5, "{place} {wanted} at {y} {at}");
                    prop_assert!(toned || *place == (value - mean[channel]) * (1.0 / deviation[channel]));
                }
            }
        }
    }
}
