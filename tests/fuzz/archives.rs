//! Backups: a file that anybody may have made. Its hashes are made right again, so that what stands behind them is met.

use super::{ROOM, THREADS, Target, run};
use std::cell::Cell;
use std::fs;
use trainyard::care::backup::{BackupError, Reader};
use trainyard::care::restore::restore;
use trainyard::domain::stamp::Timestamp;

const HEADER: usize = 32;

fn golden() -> Vec<u8> {
    include_bytes!("../data/backup1/yard.backup").to_vec()
}

fn number(bytes: &[u8], at: usize, width: usize) -> Option<usize> {
    let mut number = [0; 8];
    number[..width].copy_from_slice(bytes.get(at..at + width)?);
    usize::try_from(u64::from_le_bytes(number)).ok()
}

/// The end of the entry at `from`, without its hash, as far as its lengths lead.
fn end_of(bytes: &[u8], from: usize) -> Option<usize> {
    let mut at = from + 3 + number(bytes, from + 1, 2)? + 4;
    loop {
        let piece = number(bytes, at, 4)?;
        at = at.checked_add(4 + piece).filter(|at| *at <= bytes.len())?;
        if piece == 0 {
            return Some(at);
        }
    }
}

/// Makes the hashes right, of the entries and of everything.
fn sealed(input: &[u8]) -> Vec<u8> {
    let mut bytes = input.to_vec();
    let mut at = HEADER;
    while let Some(end) = end_of(&bytes, at).filter(|end| end + 32 <= bytes.len()) {
        let hash = blake3::hash(&bytes[at..end]);
        bytes[end..end + 32].copy_from_slice(hash.as_bytes());
        at = end + 32;
    }
    if at + 32 <= bytes.len() {
        bytes.truncate(at);
        let hash = blake3::hash(&bytes);
        bytes.extend_from_slice(hash.as_bytes());
    }
    bytes
}

const WORDS: &[&str] = &[
    "runs/",
    "logs/",
    "../",
    "/etc/passwd",
    "runs/run_1/../../x",
    "\0",
    "\u{1}",
    "\u{2}",
    "\u{4}",
    "\u{5}",
    "\0\0\0\0",
    "trainyard-backup",
    "/",
];

#[test]
fn archives() {
    assert_eq!(sealed(&golden()), golden());
    let target = Target { name: "archives", cases: 1500, examples: vec![golden()], words: WORDS, room: ROOM };
    let whole = Cell::new(0);
    run(&target, |input| {
        let bytes = sealed(input);
        let read = Reader::new(&bytes[..]).and_then(|reader| reader.check::<BackupError>(&mut |_| Ok(())));
        whole.set(whole.get() + u32::from(read.is_ok()));
    });
    assert!(whole.get() > 0);
}

#[test]
fn restores() {
    let yard = tempfile::tempdir().unwrap();
    let folder = yard.path().join("data");
    let target = Target { name: "restores", cases: 25, examples: vec![golden()], words: WORDS, room: THREADS };
    run(&target, |input| {
        // Nothing leads out of the folder, whatever the names say.
        let _ = restore(&sealed(input)[..], &folder, Timestamp(1), &mut |_| Ok(()));
        let names: Vec<_> = fs::read_dir(yard.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert!(names.iter().all(|name| *name == *"data"), "{names:?}");
        let _ = fs::remove_dir_all(&folder);
    });
}
