//! A dataset is a list of immutable versions; each version is a manifest of (label, name, hash).
//!
//! The manifest is a sequence of additions and removals, and a version is a length of that sequence: adding an image to
//! 100,000, or taking one out, writes one entry. Pure data; `store/` keeps it.

use super::blob::ContentHash;
use super::error::Result;
use super::ids::{DatasetId, ModelId};
use super::name::{ImageName, Label, Name};
use super::stamp::{Stamp, Timestamp};

/// The number of images that have been added to a dataset or taken out of it; each number is a version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct VersionNumber(pub u64);

/// One immutable state of one dataset.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DatasetVersion {
    /// Which dataset.
    pub dataset: DatasetId,
    /// Which state of it.
    pub number: VersionNumber,
}

/// A dataset as it stands now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dataset {
    /// Its key.
    pub id: DatasetId,
    /// Ownership and history.
    pub stamp: Stamp,
    /// Whose it is.
    pub model: ModelId,
    /// Unique within the model; `None` for the dataset of all of the model's images.
    pub name: Option<Name>,
    /// The version of another dataset that this one began as.
    pub base: Option<DatasetVersion>,
    /// The newest version.
    pub head: VersionNumber,
    /// Images in the newest version.
    pub images: u64,
    /// Those of them with a label.
    pub labelled: u64,
    /// What the newest version holds, whatever the order in which it came.
    pub digest: Digest,
}

impl Dataset {
    /// The newest version.
    pub fn head_version(&self) -> DatasetVersion {
        DatasetVersion { dataset: self.id, number: self.head }
    }

    /// The name as the API prints it: empty for the dataset of all images.
    pub fn name_text(&self) -> &str {
        self.name.as_ref().map_or("", Name::as_str)
    }
}

/// A version that runs are pinned to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FrozenVersion {
    /// Which one.
    pub version: DatasetVersion,
    /// When the first run asked for it.
    pub frozen_at: Timestamp,
    /// Images in it.
    pub images: u64,
    /// Those of them with a label.
    pub labelled: u64,
    /// What it holds.
    pub digest: Digest,
}

/// One image in one dataset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its class, where it has one.
    pub label: Option<Label>,
    /// Its file name within the class.
    pub name: ImageName,
    /// The stored bytes.
    pub hash: ContentHash,
}

/// A sum over the entries of a version: equal for equal sets of entries, cheap to extend by one.
///
/// It tells versions apart that people made; it is no defence against somebody who forges entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Digest(pub u128);

impl Digest {
    /// The digest of this set and one more entry, whose hash over (label, name, content) is given.
    #[must_use]
    pub fn with(self, entry_hash: [u8; 16]) -> Self {
        Self(self.0.wrapping_add(u128::from_le_bytes(entry_hash)))
    }

    /// The digest of this set without one of its entries.
    #[must_use]
    pub fn without(self, entry_hash: [u8; 16]) -> Self {
        Self(self.0.wrapping_sub(u128::from_le_bytes(entry_hash)))
    }

    /// A seed for training: equal wherever the same images are trained on. 31 bits suit every library.
    pub fn seed(self) -> u32 {
        let folded = (self.0 >> 64) as u64 ^ self.0 as u64;
        ((folded >> 32) as u32 ^ folded as u32) & 0x7fff_ffff
    }
}

/// Where a run's folder of links comes from: the entries of a version, a page at a time.
pub trait Manifests: Send + Sync {
    /// Up to `limit` entries after `after`, and where to go on, `None` at the end.
    ///
    /// # Errors
    /// `internal` where the store cannot be read.
    fn page(&self, version: DatasetVersion, after: Option<ManifestCursor>, limit: usize) -> Result<ManifestPage>;
}

/// A place in a manifest: which part of the chain of bases, and which entry of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ManifestCursor {
    /// 0 is the oldest base.
    pub part: usize,
    /// The last entry that was read.
    pub sequence: u64,
}

/// Some entries of a manifest.
#[derive(Debug, Clone, Default)]
pub struct ManifestPage {
    /// In the order in which they were added.
    pub entries: Vec<Entry>,
    /// Where to go on.
    pub next: Option<ManifestCursor>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digest_ignores_order_and_keeps_count() {
        let (a, b) = ([1; 16], [200; 16]);
        assert_eq!(Digest::default().with(a).with(b), Digest::default().with(b).with(a));
        assert_ne!(Digest::default().with(a), Digest::default().with(a).with(a));
        assert_eq!(Digest::default().with(a).with(b).without(a), Digest::default().with(b));
        assert!(Digest(u128::MAX - 5).seed() <= i32::MAX as u32);
    }
}
