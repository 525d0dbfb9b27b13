//! Data sets from folders: sizes, what is left out, what is shared, the split, weights, augmentation.

use super::super::samples::{class_weights, weights};
use super::*;
use crate::trainer::classify::architecture;
use crate::trainer::nn::kernels::Isa;
use crate::trainer::nn::rng::Rng;
use ::image::{DynamicImage, GrayImage, ImageFormat, Luma};
use std::collections::BTreeSet;
use std::fs;
use tempfile::TempDir;

/// A picture that differs for each number and class.
fn picture(side: u32, class: u32, number: u32) -> GrayImage {
    GrayImage::from_fn(side, side, |x, y| {
        let value = match (x, y) {
            (1, 0) => class % 256,
            (2, 0) => class / 256,
            _ => (x * 31 + y * 17 + class * 101 + number * 37) % 251,
        };
        Luma([value as u8])
    })
}

/// `counts[class]` pictures of each class.
fn folder(side: u32, counts: &[u32]) -> TempDir {
    let root = tempfile::tempdir().unwrap();
    for (class, count) in (0..).zip(counts) {
        let label = root.path().join(format!("class {class:03}"));
        fs::create_dir(&label).unwrap();
        for number in 0..*count {
            let mut picture = picture(side, class, number % 200);
            picture.put_pixel(0, 0, Luma([(number / 200) as u8]));
            picture.save(label.join(format!("{number}.png"))).unwrap();
        }
    }
    root
}

fn open(root: &Path, options: &Options) -> Dataset {
    Dataset::open(root, options).unwrap()
}

#[test]
fn the_size_is_the_data_s_own_up_to_what_is_asked() {
    for (own, size, expected) in [
        (5, None, 5),
        (5, Some(128), 5),
        (30, None, 30),
        (30, Some(8), 8),
        (30, Some(64), 30),
        (90, None, 64),
        (90, Some(90), 90),
        (150, Some(128), 128),
    ] {
        let root = folder(own, &[2, 2]);
        let dataset = open(root.path(), &Options { size, ..Options::default() });
        assert_eq!(dataset.side, expected, "{own} {size:?}");
    }
}

#[test]
fn unreadable_files_are_named_and_left_out_up_to_one_in_ten() {
    let root = folder(8, &[10, 9]);
    fs::write(root.path().join("class 000/notes.txt"), "no image").unwrap();
    let cache = tempfile::tempdir().unwrap();
    let cache = Some(Cache { folder: cache.path().to_owned(), limit: 1 << 20 });
    // The second finds the pack ready and says the same.
    for _ in 0..2 {
        let dataset = open(root.path(), &Options { cache: cache.clone(), ..Options::default() });
        assert_eq!(dataset.train.len() + dataset.validation.len(), 19);
        let [note] = &dataset.notes[..] else { panic!("{:?}", dataset.notes) };
        assert!(note.contains("1 image(s)") && note.contains("class 000/notes.txt (it is not a PNG"), "{note}");
    }
    let cut = fs::read(root.path().join("class 001/1.png")).unwrap();
    fs::write(root.path().join("class 001/cut.png"), &cut[..cut.len() / 2]).unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, root.path().join("class 001/pipe"), 0o600.into()).unwrap();
    let error = Dataset::load(root.path(), 0).map(|_| ()).unwrap_err().to_string();
    for part in ["at least 3 of the 22", "one in ten", "notes.txt", "cut.png", "pipe (it is not a file)"] {
        assert!(error.contains(part), "{part} is not in: {error}");
    }
}

#[test]
fn many_unreadable_files_are_counted_rather_than_listed() {
    let root = folder(8, &[50, 50]);
    for number in 0..8 {
        fs::write(root.path().join(format!("class 000/x{number}.png")), "no image").unwrap();
    }
    let note = open(root.path(), &Options::default()).notes.pop().unwrap();
    assert!(note.contains("8 image(s)") && note.contains("x4.png") && note.contains("and 3 more"), "{note}");
    assert!(!note.contains("x5.png"), "{note}");
}

#[test]
fn a_cached_data_set_is_the_same_and_needs_no_file() {
    let (root, place) = (folder(12, &[9, 7, 5]), tempfile::tempdir().unwrap());
    let cache = Some(Cache { folder: place.path().join("made/here"), limit: 1 << 30 });
    let options = Options { cache, ..Options::default() };
    let (plain, first) = (Dataset::load(root.path(), 0).unwrap(), open(root.path(), &options));
    // Same length and times, so the same files as far as anyone can tell without reading them.
    let second = open(root.path(), &options);
    for other in [&first, &second] {
        assert_eq!((&other.labels, &other.train, &other.validation), (&plain.labels, &plain.train, &plain.validation));
        assert_eq!(other.normalisation, plain.normalisation);
        for image in 0..21 {
            assert_eq!(other.picture(image), plain.picture(image));
            assert_eq!((other.name(image), other.source(image)), (plain.name(image), plain.source(image)));
        }
    }
    assert_eq!(fs::read_dir(place.path().join("made/here")).unwrap().count(), 1);
    // Another size is another pack.
    assert_eq!(open(root.path(), &Options { size: Some(9), ..options.clone() }).side, 9);
    assert_eq!(fs::read_dir(place.path().join("made/here")).unwrap().count(), 2);
    let source = blake3::hash(&fs::read(root.path().join(first.name(0))).unwrap());
    assert_eq!(first.source(0), source.as_bytes());
}

#[test]
fn a_cache_that_cannot_be_used_is_said_and_done_without() {
    let (root, place) = (folder(8, &[5, 5]), tempfile::tempdir().unwrap());
    let file = place.path().join("file");
    fs::write(&file, "in the way").unwrap();
    let cache = Some(Cache { folder: file, limit: 1 << 30 });
    let dataset = open(root.path(), &Options { cache, ..Options::default() });
    assert_eq!(dataset.train.len(), 8);
    assert!(dataset.notes[0].contains("cannot be kept"), "{:?}", dataset.notes);
}

#[test]
fn the_same_picture_in_other_files_stays_on_one_side() {
    let root = folder(8, &[12, 12]);
    for class in 0..2 {
        for number in 0..12 {
            // The same pixels, other bytes.
            let label = root.path().join(format!("class {class:03}"));
            let again = DynamicImage::ImageLuma8(picture(8, class, number));
            for (ending, format) in [("bmp", ImageFormat::Bmp), ("tiff", ImageFormat::Tiff)] {
                let mut again = again.clone().into_luma8();
                again.put_pixel(0, 0, Luma([0]));
                again.save_with_format(label.join(format!("again {number}.{ending}")), format).unwrap();
            }
        }
    }
    for seed in 0..5 {
        let dataset = Dataset::load(root.path(), seed).unwrap();
        assert_eq!((dataset.train.len(), dataset.validation.len()), (60, 12));
        let pictures = |part: &[usize]| part.iter().map(|at| dataset.picture(*at).to_vec()).collect::<BTreeSet<_>>();
        assert!(pictures(&dataset.train).is_disjoint(&pictures(&dataset.validation)));
    }
}

#[test]
fn tiny_classes_and_many_classes_are_split() {
    for counts in [vec![2, 2], vec![2; 26], vec![2; 1000], vec![40, 2, 3]] {
        let root = folder(8, &counts);
        let dataset = Dataset::load(root.path(), 1).unwrap();
        for class in 0..counts.len() {
            let has = |part: &[usize]| part.iter().any(|at| usize::from(dataset.target(*at)) == class);
            assert!(has(&dataset.train) && has(&dataset.validation), "{class} of {}", counts.len());
        }
    }
    let root = folder(8, &[2; 1001]);
    assert!(matches!(Dataset::load(root.path(), 1), Err(ClassifyError::TooManyClasses(1001))));
}

#[test]
fn weights_favour_rare_classes_and_have_a_mean_of_one() {
    assert_eq!(weights(&[30, 30, 30]), [1.0, 1.0, 1.0]);
    let found = weights(&[90, 10]);
    assert!((found[1] / found[0] - 3.0).abs() < 1e-5, "{found:?}");
    assert!((found[0] * 90.0 + found[1] * 10.0 - 100.0).abs() < 1e-3, "{found:?}");
    let far = weights(&[100_000, 1]);
    assert!((far[1] / far[0] - 10.0).abs() < 1e-4, "{far:?}");
    let root = folder(8, &[20, 5]);
    let weights = class_weights(&Dataset::load(root.path(), 0).unwrap());
    assert!(weights[1] > 1.9 * weights[0], "{weights:?}");
}

#[test]
fn augmented_batches_are_the_same_for_every_batch_size() {
    let root = folder(8, &[20, 20]);
    let dataset = Dataset::load(root.path(), 0).unwrap();
    let shape = architecture::network(8, Channels::Grey, 1, 2);
    let inputs = |batch: usize| -> Vec<f32> {
        let mut network = Network::initialised(Isa::detect(), shape.clone(), batch, &mut Rng::new(0, 0));
        let (mut augmenter, mut targets) = (dataset.augmenter(7).unwrap(), Vec::new());
        let mut all = Vec::new();
        for (at, images) in dataset.train[..12].chunks(batch).enumerate() {
            dataset.fill_augmented(images, (at * batch) as u64, &mut augmenter, &mut network, &mut targets);
            assert_eq!(targets, images.iter().map(|image| dataset.target(*image)).collect::<Vec<_>>());
            for image in 0..images.len() {
                (0..8).for_each(|y| all.extend_from_slice(network.input_row(image, y)));
            }
        }
        all
    };
    let one = inputs(1);
    assert_eq!(one, inputs(4));
    assert_eq!(one, inputs(12));
    assert!(one.iter().all(|value| value.is_finite()));
    let off = open(root.path(), &Options { augmentation: Augmentation::Off, ..Options::default() });
    assert!(off.augmenter(7).is_none());
    let always = open(root.path(), &Options { augmentation: Augmentation::Mirror, ..Options::default() });
    assert!(always.mirrored && always.augmented);
}
