//! Packs of many at once, of builders that die, of damaged files, and eviction.

use super::super::{Draft, Picture};
use super::*;
use crate::image::Decoded;
use crate::trainer::classify::ClassifyError;
use image::{GrayImage, Luma};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Barrier, mpsc};
use std::time::Duration;

fn cache(folder: &Path, limit: u64) -> Cache {
    Cache { folder: folder.to_owned(), limit }
}

/// A pack of ten pictures, 10 x 10 pixels of value `key[0]`.
fn write(key: &Hash, file: &File) -> Result<(), BuildError> {
    let mut draft = Draft::begin(file, key, 10, &["a".to_owned()])?;
    for number in 0..10 {
        let decoded = Decoded::Grey(GrayImage::from_pixel(10, 10, Luma([key[0]])));
        draft.push(Picture { label: 0, name: number.to_string(), source: [0; 32], decoded })?;
    }
    Ok(draft.finish()?)
}

fn get(cache: &Cache, key: &Hash, built: &AtomicUsize) -> Pack {
    let pack = cache
        .open_or_build(key, |file| {
            built.fetch_add(1, Ordering::SeqCst);
            write(key, file)
        })
        .unwrap();
    assert_eq!(pack.pixels(), [key[0]; 1000]);
    pack
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn one_builds_and_all_get_the_pack() {
    let folder = tempfile::tempdir().unwrap();
    let (cache, built, start) = (cache(folder.path(), 1 << 30), AtomicUsize::new(0), Barrier::new(8));
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                start.wait();
                get(&cache, &[3; 32], &built);
            });
        }
    });
    assert_eq!(built.load(Ordering::SeqCst), 1);
    assert_eq!(names(folder.path()), [format!("{}.pack", "03".repeat(32))]);
}

#[test]
fn who_waits_for_a_builder_that_fails_builds_itself() {
    let folder = tempfile::tempdir().unwrap();
    let (cache, built) = (cache(folder.path(), 1 << 30), AtomicUsize::new(0));
    let (building, wait_for_building) = mpsc::channel();
    let (fail, wait_to_fail) = mpsc::channel::<()>();
    let (cache, built) = (&cache, &built);
    std::thread::scope(|scope| {
        let failing = scope.spawn(move || {
            cache.open_or_build(&[3; 32], |_| {
                building.send(()).unwrap();
                wait_to_fail.recv_timeout(Duration::from_secs(30)).unwrap();
                Err(ClassifyError::NoLabels.into())
            })
        });
        wait_for_building.recv().unwrap();
        let waiting = scope.spawn(|| get(cache, &[3; 32], built));
        fail.send(()).unwrap();
        assert!(matches!(failing.join().unwrap(), Err(BuildError::Dataset(ClassifyError::NoLabels))));
        waiting.join().unwrap();
    });
    assert_eq!(built.load(Ordering::SeqCst), 1);
    assert_eq!(names(folder.path()).len(), 1);
}

#[test]
fn what_killed_builders_leave_is_taken_over_and_removed() {
    let folder = tempfile::tempdir().unwrap();
    let (cache, built) = (cache(folder.path(), 1 << 30), AtomicUsize::new(0));
    // Locks that nobody holds, and longer drafts than the pack will be.
    for key in [[3; 32], [4; 32]] {
        fs::write(cache.path(&key, "lock"), "").unwrap();
        fs::write(cache.path(&key, "draft"), vec![9; 100_000]).unwrap();
    }
    // One that is alive.
    let alive = Lock::wait(&cache.path(&[5; 32], "lock")).unwrap();
    fs::write(cache.path(&[5; 32], "draft"), "in the making").unwrap();
    get(&cache, &[3; 32], &built);
    let (three, five) = ("03".repeat(32), "05".repeat(32));
    assert_eq!(names(folder.path()), [format!("{three}.pack"), format!("{five}.draft"), format!("{five}.lock")]);
    drop(alive);
    assert!(!cache.path(&[5; 32], "lock").exists());
}

#[test]
fn a_damaged_pack_is_built_again() {
    let folder = tempfile::tempdir().unwrap();
    let (cache, built) = (cache(folder.path(), 1 << 30), AtomicUsize::new(0));
    get(&cache, &[3; 32], &built);
    let path = cache.path(&[3; 32], "pack");
    let whole = fs::read(&path).unwrap();
    let mut flipped = whole.clone();
    flipped[500] ^= 1;
    for (number, damaged) in [&b""[..], &whole[..whole.len() - 1], &flipped, b"something else"].into_iter().enumerate()
    {
        fs::write(&path, damaged).unwrap();
        get(&cache, &[3; 32], &built);
        assert_eq!(built.load(Ordering::SeqCst), number + 2);
        assert_eq!(fs::read(&path).unwrap(), whole);
    }
    // A pack of another data set under this one's name.
    get(&cache, &[4; 32], &built);
    fs::rename(cache.path(&[4; 32], "pack"), &path).unwrap();
    get(&cache, &[3; 32], &built);
}

#[test]
fn the_packs_unused_for_longest_go_but_none_in_use() {
    let folder = tempfile::tempdir().unwrap();
    let size = {
        let other = tempfile::tempdir().unwrap();
        get(&cache(other.path(), 1 << 30), &[9; 32], &AtomicUsize::new(0));
        fs::metadata(cache(other.path(), 0).path(&[9; 32], "pack")).unwrap().len()
    };
    let (cache, built) = (cache(folder.path(), 3 * size), AtomicUsize::new(0));
    let has = |number: u8| cache.path(&[number; 32], "pack").exists();
    let age = |number: u8, seconds: u64| {
        let file = File::open(cache.path(&[number; 32], "pack")).unwrap();
        file.set_modified(SystemTime::now() - Duration::from_secs(seconds)).unwrap();
    };
    for number in 1..=3 {
        get(&cache, &[number; 32], &built);
        age(number, 1000 - u64::from(number));
    }
    // The first is used again, the second is the oldest then.
    get(&cache, &[1; 32], &built);
    get(&cache, &[4; 32], &built);
    assert_eq!([1, 2, 3, 4].map(has), [true, false, true, true]);
    assert_eq!(built.load(Ordering::SeqCst), 4);
    // In use: whatever its age.
    let held = get(&cache, &[3; 32], &built);
    age(3, 5000);
    age(1, 4000);
    get(&cache, &[5; 32], &built);
    assert_eq!([1, 3, 4, 5].map(has), [false, true, true, true]);
    assert_eq!(held.pixels(), [3; 1000]);
    // Larger than the limit: there for as long as it is used, and gone with the next.
    let small = Cache { limit: 1, ..cache.clone() };
    let only = get(&small, &[6; 32], &built);
    assert_eq!([1, 3, 4, 5, 6].map(has), [false, true, false, false, true]);
    drop((held, only));
    get(&small, &[7; 32], &built);
    assert_eq!([3, 6, 7].map(has), [false, false, true]);
}
