//! The data set in memory: one flat tensor of bytes, split into a part to learn from and a part to measure on.
//!
//! It must not know networks beyond the layout of their input.

use super::ClassifyError;
use super::folder::{self, Listing};
use super::split::{self, Hash, Split};
use crate::image::{self, Channels, Decoded};
use crate::trainer::nn::network::Network;
use std::fs;
use std::path::{Path, PathBuf};

/// Pictures are reduced to this side at most, in pixels.
pub(super) const MAX_SIDE: u32 = 64;
/// Pictures are not reduced below this side to save memory, in pixels.
const MIN_SIDE: u32 = 8;
/// The most that decoded pictures may take, in bytes.
const MAX_BYTES: u64 = 256 << 20;
/// How many files are looked at to choose the size.
const SAMPLE: usize = 256;
/// The most classes.
pub(in crate::trainer) const MAX_CLASSES: usize = 1000;

/// Mean and standard deviation of each channel over the training part, in grey levels 0 to 255.
#[derive(Clone, Debug, PartialEq)]
pub struct Normalisation {
    /// One mean a channel.
    pub mean: Vec<f32>,
    /// One standard deviation a channel, at least one grey level.
    pub deviation: Vec<f32>,
}

/// Pictures of one size and their classes.
pub struct Dataset {
    /// The classes in byte order.
    pub labels: Vec<String>,
    /// Pixels a side.
    pub side: u32,
    /// Colour planes.
    pub channels: Channels,
    /// What the network's input is made with.
    pub normalisation: Normalisation,
    /// Indices of the images to learn from.
    pub train: Vec<usize>,
    /// Indices of the images to measure on.
    pub validation: Vec<usize>,
    /// Images at the root of the folder, which carry no label and are not used.
    pub unlabelled: usize,
    targets: Vec<u16>,
    pixels: Vec<u8>,
}

impl Dataset {
    /// Reads the folder `root`: `<label>/<name>` are images, links are followed.
    ///
    /// # Errors
    /// If there are too few labels or images, or a file is no readable image; the error names it.
    pub fn load(root: &Path, seed: u64) -> Result<Dataset, ClassifyError> {
        let listing = folder::list(root)?;
        check(&listing, root)?;
        let side = choose_side(&listing)?;
        let mut tensor = Tensor { side, channels: Channels::Grey, pixels: Vec::new() };
        let mut images: Vec<(usize, Hash)> = Vec::with_capacity(listing.files.len());
        for (label, path) in &listing.files {
            let bytes = read(path)?;
            images.push((*label, *blake3::hash(&bytes).as_bytes()));
            tensor.push(image::decode(&bytes).map_err(bad_image(path))?, images.len() - 1);
        }
        let Split { train, validation } = split::split(&listing.labels, &images, seed)?;
        let normalisation = tensor.normalisation(&train);
        // The number of classes was checked to fit.
        let targets = images.iter().map(|(label, _)| u16::try_from(*label).unwrap_or(u16::MAX)).collect();
        Ok(Dataset {
            labels: listing.labels,
            side,
            channels: tensor.channels,
            normalisation,
            train,
            validation,
            unlabelled: listing.unlabelled,
            targets,
            pixels: tensor.pixels,
        })
    }

    /// Writes the images of `batch` into the network's input and their classes into `targets`.
    pub fn fill(&self, batch: &[usize], network: &mut Network, targets: &mut Vec<u16>) {
        targets.clear();
        targets.extend(batch.iter().map(|at| self.targets[*at]));
        let size = self.side as usize * self.side as usize * self.channels.count();
        for (image, at) in batch.iter().enumerate() {
            fill(network, &self.normalisation, image, &self.pixels[at * size..(at + 1) * size]);
        }
    }
}

/// Writes one picture into the network's input.
pub(super) fn fill(network: &mut Network, normalisation: &Normalisation, image: usize, picture: &[u8]) {
    let channels = normalisation.mean.len();
    let row = network.shape().input.width * channels;
    for (y, pixels) in picture.chunks_exact(row).enumerate() {
        let places = network.input_row(image, y);
        // Each number of channels by itself: the compiler makes vector instructions of what it knows.
        match channels {
            1 => normalise::<1>(normalisation, pixels, places),
            _ => normalise::<3>(normalisation, pixels, places),
        }
    }
}

fn normalise<const CHANNELS: usize>(normalisation: &Normalisation, pixels: &[u8], places: &mut [f32]) {
    let of_channel: [(f32, f32); CHANNELS] = std::array::from_fn(|channel| normalisation.of_channel(channel));
    let positions = places.as_chunks_mut::<CHANNELS>().0.iter_mut().zip(pixels.as_chunks::<CHANNELS>().0);
    for (places, pixels) in positions {
        for ((place, pixel), (mean, scale)) in places.iter_mut().zip(pixels).zip(of_channel) {
            *place = (f32::from(*pixel) - mean) * scale;
        }
    }
}

impl Normalisation {
    fn of_channel(&self, channel: usize) -> (f32, f32) {
        (self.mean[channel], 1.0 / self.deviation[channel])
    }
}

/// Whether there is anything to learn from.
pub(in crate::trainer) fn check(listing: &Listing, root: &Path) -> Result<(), ClassifyError> {
    if listing.files.is_empty() {
        let nothing = listing.unlabelled == 0;
        return Err(if nothing { ClassifyError::NoImages(root.to_owned()) } else { ClassifyError::NoLabels });
    }
    match listing.labels.as_slice() {
        [only] => Err(ClassifyError::OneClass(only.clone())),
        labels if labels.len() > MAX_CLASSES => Err(ClassifyError::TooManyClasses(labels.len())),
        _ => Ok(()),
    }
}

/// The median of the pictures' short sides, at most [`MAX_SIDE`] and as much as memory allows.
fn choose_side(listing: &Listing) -> Result<u32, ClassifyError> {
    let stride = listing.files.len().div_ceil(SAMPLE);
    let mut sides = Vec::with_capacity(SAMPLE);
    for (_, path) in listing.files.iter().step_by(stride) {
        let (width, height) = image::dimensions(&read(path)?).map_err(bad_image(path))?;
        sides.push(width.min(height));
    }
    sides.sort_unstable();
    let mut side = sides.get(sides.len() / 2).copied().unwrap_or(MIN_SIDE).clamp(1, MAX_SIDE);
    let needed = |side: u32| 3 * u64::from(side) * u64::from(side) * listing.files.len() as u64;
    while needed(side) > MAX_BYTES && side > MIN_SIDE {
        side -= 1;
    }
    if needed(side) > MAX_BYTES {
        return Err(ClassifyError::TooManyImages(listing.files.len()));
    }
    Ok(side)
}

fn read(path: &PathBuf) -> Result<Vec<u8>, ClassifyError> {
    fs::read(path).map_err(ClassifyError::io("read the image", path))
}

fn bad_image(path: &Path) -> impl FnOnce(image::DecodeError) -> ClassifyError {
    let path = path.to_owned();
    move |cause| ClassifyError::Image { path, cause }
}

/// Pictures one after the other; grey until the first that is not.
struct Tensor {
    side: u32,
    channels: Channels,
    pixels: Vec<u8>,
}

impl Tensor {
    fn push(&mut self, picture: Decoded, before: usize) {
        if self.channels == Channels::Grey && matches!(picture, Decoded::Rgb(_)) {
            self.channels = Channels::Rgb;
            let grey = std::mem::take(&mut self.pixels);
            debug_assert_eq!(grey.len(), before * (self.side * self.side) as usize);
            self.pixels = grey.into_iter().flat_map(|value| [value; 3]).collect();
        }
        self.pixels.append(&mut image::resize(picture, self.side, self.channels));
    }

    fn normalisation(&self, part: &[usize]) -> Normalisation {
        let channels = self.channels.count();
        let size = (self.side * self.side) as usize * channels;
        let mut sums = vec![(0u64, 0u64); channels];
        for at in part {
            for (i, value) in self.pixels[at * size..(at + 1) * size].iter().enumerate() {
                let (sum, squares) = &mut sums[i % channels];
                *sum += u64::from(*value);
                *squares += u64::from(*value) * u64::from(*value);
            }
        }
        let count = (part.len() * size / channels).max(1) as f64;
        let moments = sums.iter().map(|(sum, squares)| {
            let mean = *sum as f64 / count;
            (mean as f32, ((*squares as f64 / count - mean * mean).max(0.0)).sqrt().max(1.0) as f32)
        });
        let (mean, deviation) = moments.unzip();
        Normalisation { mean, deviation }
    }
}
