//! From the files of a data set's folder to a pack: one size for all, each file decoded once.
//!
//! Which size: the median of the pictures' short sides, so that half of them lose nothing, but at most
//! [`AUTOMATIC_SIDE`], since the work of a step grows with the area; a user may ask for another one up to [`MAX_SIDE`].
//! Never above that median: there is nothing to be seen that the pictures do not have. It must not know splits or
//! networks, or where a pack is kept.

use super::ClassifyError;
use super::folder::Listing;
use super::packed::{BuildError, Draft, Hash, LeftOut, Pack, Picture};
use crate::image;
use std::fs::{self, File};
use std::path::Path;

/// Pictures are reduced to this side at most unless asked, in pixels.
pub const AUTOMATIC_SIDE: u32 = 64;
/// The longest side that can be asked for, in pixels.
pub const MAX_SIDE: u32 = 128;
/// The shortest side that can be asked for, in pixels. Smaller pictures keep their own.
pub const MIN_SIDE: u32 = 8;
/// The most that decoded pictures may take, in bytes.
const MAX_BYTES: u64 = 256 << 20;
/// The largest file that is read as an image, in bytes.
const MAX_FILE_BYTES: u64 = 256 << 20;
/// How many files are looked at to choose the size.
const SAMPLE: usize = 256;
/// One in this many files may be no readable picture.
const UNREADABLE: usize = 10;
/// How many unreadable files are named.
const NAMED: usize = 5;

/// What a pack of these files is found by, unread.
///
/// # Errors
/// If a file is gone.
pub fn key(root: &Path, listing: &Listing, size: Option<u32>) -> Result<Hash, ClassifyError> {
    let mut hasher = blake3::Hasher::new();
    // The rule for the automatic size is part of the key.
    let (wanted, rule) = (size.unwrap_or(0), if size.is_some() { 0 } else { AUTOMATIC_SIDE });
    hasher.update(&wanted.to_le_bytes()).update(&rule.to_le_bytes());
    listing.hash_identity(root, &mut hasher)?;
    Ok(*hasher.finalize().as_bytes())
}

/// Decodes all files of `listing` into `file`, an empty one. No more than one picture is held at a time.
///
/// # Errors
/// If more than one in ten cannot be read, all of them take too much memory, or `file` cannot be written.
pub fn pack(root: &Path, listing: &Listing, size: Option<u32>, key: &Hash, file: &File) -> Result<(), BuildError> {
    let side = choose_side(listing, size)?;
    let mut draft = Draft::begin(file, key, side, &listing.labels)?;
    for (label, path) in &listing.files {
        let name = Listing::name(root, path);
        let read = read(path).and_then(|bytes| {
            let decoded = image::decode(&bytes).map_err(|cause| cause.to_string())?;
            Ok((*blake3::hash(&bytes).as_bytes(), decoded))
        });
        match read {
            // The number of classes was checked to fit.
            Ok((source, decoded)) => {
                draft.push(Picture { label: u16::try_from(*label).unwrap_or(u16::MAX), name, source, decoded })?;
            }
            Err(cause) => draft.leave_out(name, cause),
        }
        let count = draft.left_out().len();
        if count * UNREADABLE > listing.files.len() {
            let examples = list(draft.left_out());
            return Err(ClassifyError::Unreadable { count, files: listing.files.len(), examples }.into());
        }
    }
    Ok(draft.finish()?)
}

/// What a run says about the files that were left out, if any.
pub fn note(pack: &Pack) -> Option<String> {
    let left_out = pack.left_out();
    (!left_out.is_empty())
        .then(|| format!("{} image(s) cannot be read and are not used: {}", left_out.len(), list(left_out)))
}

fn list(left_out: &[LeftOut]) -> String {
    let mut named: Vec<_> = left_out.iter().take(NAMED).map(|file| format!("{} ({})", file.name, file.cause)).collect();
    if left_out.len() > NAMED {
        named.push(format!("and {} more", left_out.len() - NAMED));
    }
    named.join(", ")
}

/// Whole files only: opening a pipe would wait for its writer.
fn read(path: &Path) -> Result<Vec<u8>, String> {
    let about = fs::metadata(path).map_err(|error| error.to_string())?;
    if !about.is_file() {
        return Err("it is not a file".to_owned());
    }
    if about.len() > MAX_FILE_BYTES {
        return Err(format!("it is larger than {} MiB", MAX_FILE_BYTES >> 20));
    }
    fs::read(path).map_err(|error| error.to_string())
}

fn choose_side(listing: &Listing, size: Option<u32>) -> Result<u32, ClassifyError> {
    let stride = listing.files.len().div_ceil(SAMPLE).max(1);
    let sample = listing.files.iter().step_by(stride);
    // A file that cannot be read has no size; it is named when its turn comes.
    let mut sides: Vec<u32> = sample
        .filter_map(|(_, path)| image::dimensions(&read(path).ok()?).ok())
        .map(|(width, height)| width.min(height))
        .collect();
    sides.sort_unstable();
    let own = sides.get(sides.len() / 2).copied().unwrap_or(MIN_SIDE);
    let mut side = own.clamp(1, size.map_or(AUTOMATIC_SIDE, |size| size.clamp(MIN_SIDE, MAX_SIDE)));
    let needed = |side: u32| 3 * u64::from(side) * u64::from(side) * listing.files.len() as u64;
    while needed(side) > MAX_BYTES && side > MIN_SIDE {
        side -= 1;
    }
    if needed(side) > MAX_BYTES {
        return Err(ClassifyError::TooManyImages(listing.files.len()));
    }
    Ok(side)
}
