//! A data set as a backbone sees it: one list of features an image, standardised, split into a part to learn from and a
//! part to measure on.
//!
//! It must not know heads beyond the layout of their input.

use super::cache::{FeatureCache, Features, Hash};
use super::error::BackboneError;
use super::head;
use super::input::{Input, Settings};
use super::{Backbone, BackboneFile};
use crate::image::{self, DecodeError};
use crate::trainer::classify::ClassifyError;
use crate::trainer::classify::dataset::check;
use crate::trainer::classify::folder::{self, Listing};
use crate::trainer::classify::samples::Samples;
use crate::trainer::classify::split::{self, Split};
use crate::trainer::nn::network::{Network, NetworkShape};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Version of everything that stands between a file and its features: decoding, resizing, and tract.
const VERSION: u32 = 1;
/// The most that the features of a data set may take, in bytes.
const MAX_BYTES: usize = 256 << 20;
/// The largest file that is read as an image, in bytes.
const MAX_FILE_BYTES: u64 = 256 << 20;
/// One in this many files may be no readable picture.
const UNREADABLE: usize = 10;
/// How many unreadable files are named.
const NAMED: usize = 5;
/// A deviation below this share of the mean is rounding: the feature is the same for all images.
const LEAST_DEVIATION: f64 = 1e-6;

/// Which backbone made the features, and from what.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Origin {
    /// Where its file was.
    pub path: PathBuf,
    /// BLAKE3 of its file, hexadecimal.
    pub hash: String,
    /// What it was fed with.
    pub input: Input,
}

/// What brings features to mean 0 and deviation 1.
#[derive(Clone, Debug, PartialEq)]
pub struct Standard {
    /// Mean of each feature over the images to learn from.
    pub mean: Vec<f32>,
    /// One over its standard deviation; 0 for a feature that is the same for all of them, which says nothing.
    pub scale: Vec<f32>,
}

/// How a data set is read.
pub struct Options<'a> {
    /// Chooses which images are held out.
    pub seed: u64,
    /// The folder that features are kept in for other runs; they are made for this one alone where not given.
    pub cache: Option<&'a Path>,
    /// Told how many of how many images have their features, while the backbone works.
    pub progress: &'a mut dyn FnMut(usize, usize),
}

/// Features and their classes.
pub struct FeatureSet {
    /// The classes in byte order.
    pub labels: Vec<String>,
    /// Indices of the images to learn from.
    pub train: Vec<usize>,
    /// Indices of the images to measure on.
    pub validation: Vec<usize>,
    /// Images at the root of the folder, which carry no label and are not used.
    pub unlabelled: usize,
    /// What the user should know: files that were left out, a cache that could not be used.
    pub notes: Vec<String>,
    origin: Origin,
    standard: Standard,
    targets: Vec<u16>,
    /// Where each image lies in the folder.
    names: Vec<String>,
    /// `[images][features]`, standardised.
    values: Vec<f32>,
}

impl FeatureSet {
    /// Reads the folder `root` (`<label>/<name>` are images, links are followed) through the backbone that `settings` name.
    /// Images that cannot be read are left out, as `notes` says.
    ///
    /// # Errors
    /// If the backbone cannot be used, there are too few labels or images, or too many of them cannot be read.
    pub fn open(root: &Path, settings: &Settings, options: Options<'_>) -> Result<FeatureSet, ClassifyError> {
        let file = BackboneFile::read(&settings.file)?;
        let input = Input::resolve(file.declared(), settings)?;
        let path = std::path::absolute(&settings.file).map_err(ClassifyError::io("find", &settings.file))?;
        // What a name of other bytes loses, the hash makes good.
        let path = path.to_string_lossy().into_owned().into();
        let origin = Origin { path, hash: file.hash().to_hex().to_string(), input };
        let listing = folder::list(root)?;
        check(&listing, root)?;
        let mut maker = Maker {
            origin: &origin,
            file: Some(file),
            backbone: None,
            paths: HashMap::new(),
            causes: HashMap::new(),
            made: 0,
            progress: options.progress,
        };
        let (images, mut left_out) = maker.find(root, &listing);
        let mut notes = Vec::new();
        let features = maker.all(&images, options.cache, &mut notes)?;
        let mut examples = Vec::with_capacity(images.len());
        let mut names = Vec::with_capacity(images.len());
        for image in &images {
            match features.get(&image.hash) {
                Some(values) => {
                    examples.push((image.label, values.as_slice()));
                    names.push(image.name.clone());
                }
                None => left_out.push(format!("{} ({})", image.name, maker.cause(&image.hash))),
            }
        }
        judge(&left_out, listing.files.len(), &mut notes)?;
        let (targets, values): (Vec<usize>, Vec<&[f32]>) = examples.into_iter().unzip();
        // Equal features are one image to a head, whatever file they come from.
        let content: Vec<(usize, Hash)> =
            targets.iter().zip(&values).map(|(label, values)| (*label, hash_of(values))).collect();
        let Split { train, validation } = split::split(&listing.labels, &content, options.seed)?;
        let standard = Standard::of(&values, &train);
        let values = values.iter().flat_map(|values| standard.apply(values)).collect();
        Ok(FeatureSet {
            labels: listing.labels,
            train,
            validation,
            unlabelled: listing.unlabelled,
            notes,
            origin,
            standard,
            // The number of classes was checked to fit.
            targets: targets.into_iter().map(|label| u16::try_from(label).unwrap_or(u16::MAX)).collect(),
            names,
            values,
        })
    }

    /// Which backbone made them.
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// What was done to them.
    pub fn standard(&self) -> &Standard {
        &self.standard
    }

    /// Features of an image.
    pub fn width(&self) -> usize {
        self.standard.mean.len()
    }
}

impl Samples for FeatureSet {
    fn labels(&self) -> &[String] {
        &self.labels
    }

    fn train(&self) -> &[usize] {
        &self.train
    }

    fn validation(&self) -> &[usize] {
        &self.validation
    }

    fn network(&self, layers: u32) -> NetworkShape {
        head::network(self.width(), layers, self.labels.len())
    }

    fn fill(&self, batch: &[usize], network: &mut Network, targets: &mut Vec<u16>) {
        let width = self.width();
        targets.clear();
        targets.extend(batch.iter().map(|at| self.targets[*at]));
        for (place, at) in batch.iter().enumerate() {
            network.input_row(place, 0).copy_from_slice(&self.values[at * width..(at + 1) * width]);
        }
    }

    fn target(&self, example: usize) -> u16 {
        self.targets[example]
    }

    fn name(&self, example: usize) -> &str {
        &self.names[example]
    }
}

impl Standard {
    /// Of those `values` that are in `part`.
    fn of(values: &[&[f32]], part: &[usize]) -> Standard {
        let width = values.first().map_or(0, |values| values.len());
        let count = part.len().max(1) as f64;
        let mut mean = vec![0.0; width];
        for at in part {
            mean.iter_mut().zip(values[*at]).for_each(|(mean, value)| *mean += f64::from(*value) / count);
        }
        let mut square = vec![0.0; width];
        for at in part {
            for ((square, mean), value) in square.iter_mut().zip(&mean).zip(values[*at]) {
                *square += (f64::from(*value) - mean).powi(2) / count;
            }
        }
        let scale = mean.iter().zip(square).map(|(mean, square)| {
            let deviation = square.sqrt();
            let scale = (1.0 / deviation) as f32;
            if deviation > LEAST_DEVIATION * mean.abs() && scale.is_finite() { scale } else { 0.0 }
        });
        Standard { scale: scale.collect(), mean: mean.iter().map(|mean| *mean as f32).collect() }
    }

    /// Standardised features.
    pub fn apply<'a>(&'a self, values: &'a [f32]) -> impl Iterator<Item = f32> + 'a {
        values.iter().zip(&self.mean).zip(&self.scale).map(|((value, mean), scale)| (value - mean) * scale)
    }
}

/// Decodes a file's bytes and brings the picture to the backbone's size.
///
/// # Errors
/// If they are no picture.
pub(super) fn picture(bytes: &[u8], input: &Input) -> Result<Vec<u8>, DecodeError> {
    image::decode(bytes).map(|decoded| image::resize(decoded, input.side, input.channels()))
}

fn check_size(images: usize, features: usize) -> Result<(), BackboneError> {
    let fits = images.saturating_mul(features).saturating_mul(size_of::<f32>()) <= MAX_BYTES;
    if fits { Ok(()) } else { Err(BackboneError::TooMany { images, features }) }
}

fn hash_of(values: &[f32]) -> Hash {
    let mut hasher = blake3::Hasher::new();
    values.iter().for_each(|value| {
        hasher.update(&value.to_le_bytes());
    });
    *hasher.finalize().as_bytes()
}

/// Whole files only: opening a pipe would wait for its writer.
fn read(path: &Path) -> io::Result<Vec<u8>> {
    let about = fs::metadata(path)?;
    if !about.is_file() || about.len() > MAX_FILE_BYTES {
        return Err(io::Error::other(format!("it is no file of at most {} MiB", MAX_FILE_BYTES >> 20)));
    }
    fs::read(path)
}

/// An image that could be read, whether it is a picture or not.
struct Image {
    /// Its label's place.
    label: usize,
    hash: Hash,
    /// Its path in the data set's folder.
    name: String,
}

/// Says which files were left out, or that they are too many.
fn judge(left_out: &[String], files: usize, notes: &mut Vec<String>) -> Result<(), ClassifyError> {
    let count = left_out.len();
    if count == 0 {
        return Ok(());
    }
    let mut named = left_out.to_vec();
    if count > NAMED {
        named.truncate(NAMED);
        named.push(format!("and {} more", count - NAMED));
    }
    let examples = named.join(", ");
    if count * UNREADABLE > files {
        return Err(ClassifyError::Unreadable { count, files, examples });
    }
    notes.push(format!("{count} image(s) cannot be read and are not used: {examples}"));
    Ok(())
}

/// Makes the features that are not in the cache.
struct Maker<'a> {
    origin: &'a Origin,
    /// Until the backbone is needed.
    file: Option<BackboneFile>,
    backbone: Option<Backbone>,
    /// A file for each image.
    paths: HashMap<Hash, PathBuf>,
    /// Why an image is no picture.
    causes: HashMap<Hash, String>,
    made: usize,
    progress: &'a mut dyn FnMut(usize, usize),
}

impl Maker<'_> {
    /// Every file that can be read; and the names of the others, each with the cause.
    fn find(&mut self, root: &Path, listing: &Listing) -> (Vec<Image>, Vec<String>) {
        let (mut images, mut unreadable) = (Vec::with_capacity(listing.files.len()), Vec::new());
        for (label, path) in &listing.files {
            let name = path.strip_prefix(root).unwrap_or(path).to_string_lossy().into_owned();
            match read(path) {
                Ok(bytes) => {
                    let hash = *blake3::hash(&bytes).as_bytes();
                    self.paths.entry(hash).or_insert_with(|| path.clone());
                    images.push(Image { label: *label, hash, name });
                }
                Err(cause) => unreadable.push(format!("{name} ({cause})")),
            }
        }
        (images, unreadable)
    }

    fn cause(&self, image: &Hash) -> &str {
        self.causes.get(image).map_or("it has no features", String::as_str)
    }

    /// The features of all images that are pictures.
    fn all(
        &mut self,
        images: &[Image],
        folder: Option<&Path>,
        notes: &mut Vec<String>,
    ) -> Result<Features, ClassifyError> {
        let mut distinct: Vec<Hash> = images.iter().map(|image| image.hash).collect();
        distinct.sort_unstable();
        distinct.dedup();
        let total = distinct.len();
        let opened = folder.map(|folder| FeatureCache::open(folder, self.key())).transpose();
        let (cache, mut trouble) = opened.map_or_else(|error| (None, Some(error)), |cache| (cache, None));
        let mut make = |missing: &[Hash]| self.make(missing, total);
        let features = match cache {
            Some(cache) => cache.collect(&distinct, &mut trouble, &mut make)?,
            None => make(&distinct)?,
        };
        check_size(images.len(), features.values().next().map_or(0, Vec::len))?;
        if let Some(error) = trouble {
            notes.push(format!("features cannot be kept for the next run: {error}"));
        }
        Ok(features)
    }

    /// What features are found by: the backbone, its input, and what this program does in between.
    fn key(&self) -> Hash {
        let Input { side, layout, batch: _, mean, std } = &self.origin.input;
        let mut hasher = blake3::Hasher::new();
        hasher.update(&VERSION.to_le_bytes()).update(self.origin.hash.as_bytes());
        hasher.update(&side.to_le_bytes()).update(format!("{layout:?}").as_bytes());
        for value in mean.iter().chain(std) {
            hasher.update(&value.to_le_bytes());
        }
        *hasher.finalize().as_bytes()
    }

    fn make(&mut self, missing: &[Hash], total: usize) -> Result<Features, ClassifyError> {
        if let Some(file) = self.file.take() {
            let backbone = file.prepare(&self.origin.input)?;
            check_size(total, backbone.features())?;
            self.backbone = Some(backbone);
        }
        let batch = self.backbone.as_ref().map_or(1, Backbone::batch);
        let mut made = Features::with_capacity(missing.len());
        for images in missing.chunks(batch) {
            self.extract(images, &mut made)?;
            self.made += images.len();
            (self.progress)(self.made, total);
        }
        Ok(made)
    }

    /// Runs the backbone on as many images as it takes at once.
    fn extract(&mut self, images: &[Hash], made: &mut Features) -> Result<(), ClassifyError> {
        let mut pictures: Vec<(Hash, PathBuf, Vec<u8>)> = Vec::with_capacity(images.len());
        for image in images {
            let Some(path) = self.paths.get(image).cloned() else { continue };
            let bytes = read(&path).map_err(ClassifyError::io("read the image", &path))?;
            match picture(&bytes, &self.origin.input) {
                Ok(pixels) => pictures.push((*image, path, pixels)),
                Err(cause) => drop(self.causes.insert(*image, cause.to_string())),
            }
        }
        let Some(backbone) = self.backbone.as_ref().filter(|_| !pictures.is_empty()) else { return Ok(()) };
        let pixels: Vec<&[u8]> = pictures.iter().map(|(_, _, pixels)| pixels.as_slice()).collect();
        let unusable = |reason| BackboneError::unusable(&self.origin.path, reason);
        let features = backbone.extract(&pixels).map_err(unusable)?;
        for ((image, picture, _), values) in pictures.into_iter().zip(features.chunks_exact(backbone.features())) {
            if !values.iter().all(|value| value.is_finite()) {
                return Err(BackboneError::NotFinite { path: self.origin.path.clone(), picture }.into());
            }
            made.insert(image, values.to_vec());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn features_are_brought_to_mean_0_and_deviation_1() {
        let values: [&[f32]; 4] = [&[1.0, 5.0, 1e-9], &[3.0, 5.0, 3e-9], &[2.0, 5.0, 2e-9], &[900.0, 7.0, 1.0]];
        let standard = Standard::of(&values, &[0, 1, 2]);
        assert_eq!((standard.mean[..2].to_vec(), standard.scale[1]), (vec![2.0, 5.0], 0.0));
        let columns: Vec<Vec<f32>> = values[..3].iter().map(|values| standard.apply(values).collect()).collect();
        for feature in [0, 2] {
            let sum: f32 = columns.iter().map(|column| column[feature]).sum();
            let square: f32 = columns.iter().map(|column| column[feature].powi(2)).sum();
            assert!(sum.abs() < 1e-6 && (square - 3.0).abs() < 1e-5, "{feature}: {sum} {square}");
        }
        assert_eq!(standard.apply(values[3]).nth(1), Some(0.0), "a feature that said nothing in training is left out");
    }
}
