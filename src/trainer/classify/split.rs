//! The hold-out split: which images are learned from, and which the result is measured on.
//!
//! It depends on the images' content, their labels and the seed alone, so all runs of a sweep measure on the same
//! images, and equal images never stand on both sides. It must not know file names, pixels or hyper-parameters.

use super::ClassifyError;
use std::collections::{BTreeMap, BTreeSet};

/// One in this many distinct images of a class is held out.
const HOLD_OUT: usize = 5;

/// BLAKE3 of what makes images equal: their pixels as the network sees them, so that the same picture in another file
/// format is the same image. (A picture that was compressed with loss again is another one.)
pub type Hash = [u8; 32];

/// Where the images went, as indices into what was split. Both sides are ordered by class and hash.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Split {
    /// Images to learn from.
    pub train: Vec<usize>,
    /// Images to measure on.
    pub validation: Vec<usize>,
}

/// Splits `images`, each the place of its label in `labels` and its content.
///
/// The distinct images of a class are ranked by a hash of their content with the seed, and the first fifth, rounded, is
/// held out: at least one, and never all. An image that several classes share goes where the first of them puts it.
///
/// # Errors
/// If a class has no image for one of the sides.
pub fn split(labels: &[String], images: &[(usize, Hash)], seed: u64) -> Result<Split, ClassifyError> {
    let mut classes: Vec<BTreeMap<Hash, Hash>> = vec![BTreeMap::new(); labels.len()];
    for (label, content) in images {
        classes[*label].insert(rank(content, seed), *content);
    }
    let mut decided = BTreeSet::new();
    let mut held_out = BTreeSet::new();
    for (class, label) in classes.iter().zip(labels) {
        let wanted = ((class.len() + HOLD_OUT / 2) / HOLD_OUT).clamp(1, class.len().saturating_sub(1).max(1));
        let mut count = class.values().filter(|content| held_out.contains(*content)).count();
        let mut own = 0;
        for content in class.values() {
            if decided.insert(*content) {
                own += 1;
                if count < wanted {
                    count += 1;
                    held_out.insert(*content);
                }
            }
        }
        if count == 0 || count == class.len() {
            return Err(ClassifyError::SmallClass { label: label.clone(), distinct: own });
        }
    }
    let mut order: Vec<usize> = (0..images.len()).collect();
    order.sort_by_key(|at| (images[*at].0, images[*at].1));
    let (validation, train) = order.into_iter().partition(|at| held_out.contains(&images[*at].1));
    Ok(Split { train, validation })
}

fn rank(content: &Hash, seed: u64) -> Hash {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&seed.to_le_bytes());
    hasher.update(content);
    *hasher.finalize().as_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn labels(count: usize) -> Vec<String> {
        (0..count).map(|label| format!("class {label}")).collect()
    }

    fn content(value: u32) -> Hash {
        *blake3::hash(&value.to_le_bytes()).as_bytes()
    }

    proptest! {
        #[test]
        fn equal_images_stay_on_one_side(values in prop::collection::vec((0usize..3, 0u32..30), 1..120), seed: u64) {
            let images: Vec<_> = values.iter().map(|(label, value)| (*label, content(*value))).collect();
            let Ok(split) = split(&labels(3), &images, seed) else { return Ok(()) };
            prop_assert_eq!(split.train.len() + split.validation.len(), images.len());
            let train: BTreeSet<Hash> = split.train.iter().map(|at| images[*at].1).collect();
            prop_assert!(split.validation.iter().all(|at| !train.contains(&images[*at].1)));
        }

        #[test]
        fn the_order_of_files_does_not_matter(count in 4u32..60, seed: u64) {
            let forward: Vec<_> = (0..count).map(|value| ((value % 2) as usize, content(value))).collect();
            let backward: Vec<_> = forward.iter().rev().copied().collect();
            let contents = |images: &[(usize, Hash)], side: &[usize]| -> Vec<Hash> {
                side.iter().map(|at| images[*at].1).collect()
            };
            let (a, b) = (split(&labels(2), &forward, seed).unwrap(), split(&labels(2), &backward, seed).unwrap());
            prop_assert_eq!(contents(&forward, &a.train), contents(&backward, &b.train));
        }
    }

    #[test]
    fn a_fifth_of_each_class_is_held_out() {
        let images: Vec<_> = (0..150u32).map(|value| (usize::from(value >= 100), content(value))).collect();
        let split = split(&labels(2), &images, 7).unwrap();
        let held_out = |class| split.validation.iter().filter(|at| images[**at].0 == class).count();
        assert_eq!((held_out(0), held_out(1)), (20, 10));
    }

    #[test]
    fn the_seed_changes_the_split() {
        let images: Vec<_> = (0..100u32).map(|value| ((value % 2) as usize, content(value))).collect();
        assert_ne!(split(&labels(2), &images, 0).unwrap(), split(&labels(2), &images, 1).unwrap());
    }

    #[test]
    fn a_class_of_one_distinct_image_is_named() {
        let images = [(0, content(1)), (0, content(2)), (1, content(3)), (1, content(3))];
        let error = split(&labels(2), &images, 0).unwrap_err().to_string();
        assert!(error.contains("class 1") && error.contains("1 distinct"), "{error}");
    }
}
