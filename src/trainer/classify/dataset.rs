//! The data set of a run: packed pictures, split into a part to learn from and a part to measure on.
//!
//! It must not know networks beyond the layout of their input.

use super::ClassifyError;
use super::augment::{Augmentation, Augmenter};
use super::fill::fill_toned;
use super::folder::{self, Listing};
use super::mirror;
use super::packed::{self, BuildError, Cache, Hash, Pack};
use super::reading;
use super::split::{self, Split};
use crate::image::Channels;
use crate::trainer::nn::network::Network;
use std::path::Path;

pub use super::fill::Normalisation;
pub(super) use super::fill::fill;
pub use super::reading::{MAX_SIDE, MIN_SIDE};

/// The most classes.
pub(in crate::trainer) const MAX_CLASSES: usize = 1000;

/// How a data set is read.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Chooses which images are held out.
    pub seed: u64,
    /// Pixels a side that pictures are brought to, [`MIN_SIDE`] to [`MAX_SIDE`]; chosen from the data where not given.
    pub size: Option<u32>,
    /// Where decoded pictures are kept for other runs; in memory, for this one alone, where not given.
    pub cache: Option<Cache>,
    /// How images are changed while they are learned from.
    pub augmentation: Augmentation,
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
    /// What the user should know about the data: files that were left out, a cache that could not be used.
    pub notes: Vec<String>,
    /// Whether images are changed while they are learned from.
    pub augmented: bool,
    /// Whether they are mirrored as well.
    pub mirrored: bool,
    pack: Pack,
}

impl Dataset {
    /// Reads the folder `root` into memory: `<label>/<name>` are images, links are followed.
    ///
    /// # Errors
    /// As [`open`](Dataset::open).
    pub fn load(root: &Path, seed: u64) -> Result<Dataset, ClassifyError> {
        Dataset::open(root, &Options { seed, ..Options::default() })
    }

    /// Reads the folder `root`: `<label>/<name>` are images, links are followed. Images that cannot be read are left
    /// out, as `notes` says. A pack that the cache has is used instead of the files.
    ///
    /// # Errors
    /// If there are too few labels or images, or more than one image in ten cannot be read; the error names some.
    pub fn open(root: &Path, options: &Options) -> Result<Dataset, ClassifyError> {
        let listing = folder::list(root)?;
        check(&listing, root)?;
        let mut notes = Vec::new();
        let pack = open_pack(root, &listing, options, &mut notes)?;
        notes.extend(reading::note(&pack));
        // Equal pixels are one image to a network, whatever file they come from.
        let images: Vec<_> = pack.entries().iter().map(|image| (usize::from(image.label), image.pixels)).collect();
        let Split { train, validation } = split::split(pack.labels(), &images, options.seed)?;
        let mut dataset = Dataset {
            labels: pack.labels().to_vec(),
            side: pack.side(),
            channels: pack.channels(),
            normalisation: normalisation(&pack, &train),
            train,
            validation,
            unlabelled: listing.unlabelled,
            notes,
            augmented: options.augmentation != Augmentation::Off,
            mirrored: false,
            pack,
        };
        dataset.mirrored = match options.augmentation {
            Augmentation::Off | Augmentation::NoMirror => false,
            Augmentation::Mirror => true,
            Augmentation::Auto => {
                let image = |at: usize| (dataset.picture(dataset.train[at]), dataset.target(dataset.train[at]));
                mirror::keeps_classes(dataset.side as usize, dataset.channels.count(), dataset.train.len(), image)
            }
        };
        Ok(dataset)
    }

    /// Writes the images of `batch` into the network's input and their classes into `targets`.
    pub fn fill(&self, batch: &[usize], network: &mut Network, targets: &mut Vec<u16>) {
        targets.clear();
        targets.extend(batch.iter().map(|at| self.target(*at)));
        for (image, at) in batch.iter().enumerate() {
            fill(network, &self.normalisation, image, self.picture(*at));
        }
    }

    /// What changes the images of a run of that seed while they are learned from, if anything.
    pub fn augmenter(&self, seed: u64) -> Option<Augmenter> {
        self.augmented.then(|| Augmenter::new(seed, self.side, self.channels, self.mirrored))
    }

    /// As [`fill`](Dataset::fill), the images changed by `augmenter`. `position` is how many images were learned from
    /// before: what is done to an image depends on its place in the sequence and on the seed alone.
    pub fn fill_augmented(
        &self,
        batch: &[usize],
        position: u64,
        augmenter: &mut Augmenter,
        network: &mut Network,
        targets: &mut Vec<u16>,
    ) {
        targets.clear();
        targets.extend(batch.iter().map(|at| self.target(*at)));
        for (image, (at, position)) in batch.iter().zip(position..).enumerate() {
            let (picture, tone) = augmenter.change(position, self.picture(*at));
            fill_toned(network, &self.normalisation, image, picture, tone);
        }
    }

    /// The class of an image: its place in `labels`.
    pub fn target(&self, image: usize) -> u16 {
        self.pack.entries()[image].label
    }

    /// The pixels of an image: `side` x `side` x channels, 8 bits each, row by row with the planes interleaved.
    pub fn picture(&self, image: usize) -> &[u8] {
        let size = self.picture_size();
        &self.pack.pixels()[image * size..(image + 1) * size]
    }

    /// The path of an image in the data set's folder.
    pub fn name(&self, image: usize) -> &str {
        &self.pack.entries()[image].name
    }

    /// BLAKE3 of an image's file.
    pub fn source(&self, image: usize) -> &[u8; 32] {
        &self.pack.entries()[image].source
    }

    /// Bytes of one picture.
    pub(super) fn picture_size(&self) -> usize {
        self.side as usize * self.side as usize * self.channels.count()
    }
}

/// The pack of these files, from the cache if there is one.
fn open_pack(
    root: &Path,
    listing: &Listing,
    options: &Options,
    notes: &mut Vec<String>,
) -> Result<Pack, ClassifyError> {
    let key: Hash = reading::key(root, listing, options.size)?;
    let build = |file: &_| reading::pack(root, listing, options.size, &key, file);
    if let Some(cache) = &options.cache {
        match cache.open_or_build(&key, build) {
            Ok(pack) => return Ok(pack),
            Err(BuildError::Dataset(error)) => return Err(error),
            Err(BuildError::File(cause)) => {
                let folder = cache.folder.display();
                notes.push(format!("decoded images cannot be kept in {folder}, so each run decodes them: {cause}"));
            }
        }
    }
    packed::in_memory(&key, build).map_err(|error| match error {
        BuildError::Dataset(error) => error,
        BuildError::File(cause) => ClassifyError::Memory(cause),
    })
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

/// Of the images of `part`.
fn normalisation(pack: &Pack, part: &[usize]) -> Normalisation {
    let channels = pack.channels().count();
    let size = (pack.side() * pack.side()) as usize * channels;
    let mut sums = vec![(0u64, 0u64); channels];
    for at in part {
        for pixel in pack.pixels()[at * size..(at + 1) * size].chunks_exact(channels) {
            for ((sum, squares), value) in sums.iter_mut().zip(pixel) {
                *sum += u64::from(*value);
                *squares += u64::from(*value) * u64::from(*value);
            }
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

#[cfg(test)]
mod tests;
