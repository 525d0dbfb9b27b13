//! Decoded images that runs share, as separate processes: one builds, others wait, some are killed.

use crate::harness::process;
use crate::harness::wait_until;
use rustix::fs::{FlockOperation, flock};
use serde_json::Value;
use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Output, Stdio};
use tempfile::TempDir;

/// `count` pictures of two classes, large enough that decoding takes a while.
fn dataset(count: u32, side: u32) -> TempDir {
    let root = tempfile::tempdir().unwrap();
    for class in 0..2 {
        let label = root.path().join(format!("class{class}"));
        fs::create_dir(&label).unwrap();
        for number in 0..count {
            let picture = image::RgbImage::from_fn(side, side, |x, y| {
                let bright = (y < side / 2) == (class == 0);
                image::Rgb([if bright { 200 } else { 40 }, ((x + number) % 256) as u8, (number % 256) as u8])
            });
            picture.save(label.join(format!("{number}.png"))).unwrap();
        }
    }
    root
}

/// A training process that keeps its pack in `cache`.
fn train(images: &Path, cache: &Path) -> Child {
    let mut command = process::trainyard();
    command.args(["train", "--json", "--i", "0.01", "--j", "1", "--k", "20", "--size", "16", "--images"]).arg(images);
    // Each process leaves its model in a folder of its own, beside the images.
    let model = tempfile::tempdir_in(cache.parent().unwrap()).unwrap().keep();
    command.env_clear().env("TRAINYARD_MODEL_DIR", model).env("TRAINYARD_CACHE_DIR", cache);
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

fn result(output: &Output) -> Value {
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    serde_json::from_str(text.lines().last().unwrap()).unwrap()
}

fn with_ending(cache: &Path, ending: &str) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(cache) else { return Vec::new() };
    let paths = entries.map(|entry| entry.unwrap().path());
    paths.filter(|path| path.extension().is_some_and(|extension| extension == ending)).collect()
}

/// A line of /proc/locks such as `1: -> FLOCK ADVISORY WRITE 4711 ...`.
fn waits_for_a_lock(child: &Child) -> bool {
    let (locks, pid) = (fs::read_to_string("/proc/locks").unwrap(), format!(" {} ", child.id()));
    locks.lines().any(|line| line.contains("->") && line.contains(&pid))
}

fn assert_one_pack(cache: &Path) -> PathBuf {
    assert_eq!(fs::read_dir(cache).unwrap().count(), 1, "only the pack is left");
    with_ending(cache, "pack").pop().unwrap()
}

#[test]
fn processes_at_once_make_one_pack_and_agree() {
    let (images, place) = (dataset(30, 200), tempfile::tempdir().unwrap());
    let cache = place.path().join("cache");
    let children: Vec<_> = (0..3).map(|_| train(images.path(), &cache)).collect();
    let results: Vec<_> = children.into_iter().map(|child| result(&child.wait_with_output().unwrap())).collect();
    let pack = assert_one_pack(&cache);
    let made = fs::metadata(&pack).unwrap();
    let later = result(&train(images.path(), &cache).wait_with_output().unwrap());
    assert!(results.iter().all(|result| *result == later), "{results:?} {later}");
    assert_eq!(fs::metadata(assert_one_pack(&cache)).unwrap().ino(), made.ino(), "it was made again");
}

#[test]
fn the_next_builder_takes_over_from_one_that_was_killed() {
    let (images, place) = (dataset(40, 600), tempfile::tempdir().unwrap());
    let cache = place.path().join("cache");
    let mut killed = train(images.path(), &cache);
    wait_until("a draft", || !with_ending(&cache, "draft").is_empty());
    let pid = rustix::process::Pid::from_child(&killed);
    rustix::process::kill_process(pid, rustix::process::Signal::STOP).unwrap();
    assert!(with_ending(&cache, "pack").is_empty(), "it was done before it could be stopped");
    let waiting = train(images.path(), &cache);
    wait_until("the second to wait", || waits_for_a_lock(&waiting));
    killed.kill().unwrap();
    killed.wait().unwrap();
    result(&waiting.wait_with_output().unwrap());
    assert_one_pack(&cache);
}

#[test]
fn a_process_waits_for_the_builder_and_uses_its_pack() {
    let (images, place) = (dataset(10, 40), tempfile::tempdir().unwrap());
    let cache = place.path().join("cache");
    result(&train(images.path(), &cache).wait_with_output().unwrap());
    let pack = assert_one_pack(&cache);
    // This test is the builder now: it holds the lock, and the pack is elsewhere.
    let aside = place.path().join("aside");
    fs::rename(&pack, &aside).unwrap();
    let lock = File::create(pack.with_extension("lock")).unwrap();
    flock(&lock, FlockOperation::LockExclusive).unwrap();
    let waiting = train(images.path(), &cache);
    wait_until("the process to wait", || waits_for_a_lock(&waiting));
    assert!(with_ending(&cache, "draft").is_empty(), "it builds in spite of the lock");
    fs::rename(&aside, &pack).unwrap();
    fs::remove_file(pack.with_extension("lock")).unwrap();
    drop(lock);
    result(&waiting.wait_with_output().unwrap());
    assert_one_pack(&cache);
}
