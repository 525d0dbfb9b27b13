//! What a backup holds comes back; what is cut or changed anywhere is refused; what came from somewhere else leads
//! nowhere.

use super::writer::Output;
use super::*;
use crate::blob::{BlobStore, LocalBlobs};
use crate::care::restore::{RestoreError, restore};
use crate::care::{BLOBS, LOGS, RUNS, TMP};
use crate::domain::account::Actor;
use crate::domain::blob::Blob;
use crate::domain::dataset::{DatasetVersion, VersionNumber};
use crate::domain::error::Error;
use crate::domain::experiment::HyperParameters;
use crate::domain::ids::{DatasetId, ExperimentId, ModelId, RunId};
use crate::domain::run::{Outcome, Run, RunSpec, RunState};
use crate::domain::stamp::{Stamp, Timestamp};
use crate::store::{OpenError, Options, Read as _, Store, blobs, runs};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::OnceLock;

const NOW: Timestamp = Timestamp(1_700_000_000_000);

fn open(folder: &Path) -> Store {
    let options = Options { cache_bytes: 1 << 20, min_free_bytes: 0, reserve_bytes: 0, ..Options::default() };
    Store::open(folder, options).unwrap()
}

fn run(id: u64, state: RunState) -> Run {
    let version = DatasetVersion { dataset: DatasetId(2), number: VersionNumber(1) };
    let parameters = HyperParameters::parse("0.1", "1", "10").unwrap();
    let spec =
        RunSpec { model: ModelId(1), experiment: ExperimentId(3), version, parameters, seed: 7, timeout_seconds: None };
    let (sweep, stamp) = (None, Stamp::new(Actor::LOCAL, NOW));
    let (first_started_at, last_started_at) = (None, None);
    Run {
        id: RunId(id),
        stamp,
        spec,
        sweep,
        priority: 0,
        attempts: 1,
        crashes: 0,
        first_started_at,
        last_started_at,
        state,
    }
}

/// A folder with images, two runs that are over and one that waits.
fn furnished(folder: &Path) -> Store {
    let store = open(folder);
    let images = LocalBlobs::open(folder.join(BLOBS), folder.join(TMP)).unwrap();
    for size in [0_usize, 1, 300_000, 700_000] {
        let mut writer = images.begin().unwrap();
        writer.write(&vec![7; size]).unwrap();
        let staged = writer.finish().unwrap();
        let (hash, size) = (staged.hash(), staged.size());
        staged.keep().unwrap();
        let blob = Blob { hash, size, format: "png".to_owned(), width: 1, height: 1, references: 1 };
        store.write(move |tx| blobs::put(tx, &blob)).wait().unwrap();
    }
    for (id, state) in [
        (10, RunState::Done { outcome: Outcome::Cancelled, finished_at: NOW }),
        (11, RunState::Done { outcome: Outcome::Failed { reason: "no".to_owned() }, finished_at: NOW }),
        (12, RunState::Queued),
    ] {
        store.write(move |tx| runs::put(tx, None, &run(id, state))).wait().unwrap();
        let own = folder.join(RUNS).join(RunId(id).to_string());
        fs::create_dir_all(own.join("deep/er")).unwrap();
        fs::write(own.join("deep/er/weights"), vec![9; 600_000]).unwrap();
        fs::write(own.join("empty"), "").unwrap();
        std::os::unix::fs::symlink("deep/er", own.join("last")).unwrap();
        std::os::unix::fs::symlink("/etc", own.join("out")).unwrap();
        fs::create_dir_all(folder.join(LOGS)).unwrap();
        fs::write(folder.join(LOGS).join(format!("{}.log", RunId(id))), "printed").unwrap();
    }
    store
}

fn taken(store: &Store, folder: &Path) -> Vec<u8> {
    let mut bytes = Vec::new();
    write(&Source { store, folder, made_at: NOW.0 }, &mut bytes, &mut |_| Ok(())).unwrap();
    bytes
}

type Dump = BTreeMap<Vec<u8>, Vec<u8>>;

fn dump(store: &Store) -> Dump {
    store.range(vec![0], vec![255]).map(|pair| pair.map(|(key, value)| (key, value.to_vec())).unwrap()).collect()
}

/// Every file below a folder with what it holds, and every link with where it leads.
fn tree(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(folder).into_iter().flatten() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_symlink() {
            found.insert(name, fs::read_link(&path).unwrap().to_string_lossy().into_owned().into_bytes());
        } else if path.is_dir() {
            found.insert(format!("{name}/"), Vec::new());
            found.extend(tree(&path).into_iter().map(|(below, content)| (format!("{name}/{below}"), content)));
        } else {
            found.insert(name, fs::read(&path).unwrap());
        }
    }
    found
}

/// A backup, made once.
fn sample() -> &'static [u8] {
    static SAMPLE: OnceLock<Vec<u8>> = OnceLock::new();
    SAMPLE.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        let store = furnished(folder.path());
        taken(&store, folder.path())
    })
}

fn checked(bytes: &[u8]) -> Result<Counts, BackupError> {
    Reader::new(bytes)?.check(&mut |_| Ok(()))
}

#[test]
fn what_was_taken_comes_back() {
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let store = furnished(from.path());
    let bytes = taken(&store, from.path());
    let counts = checked(&bytes).unwrap();
    assert_eq!((counts.images, counts.left_out, counts.records), (4, 0, dump(&store).len() as u64));
    let mut said = Vec::new();
    let restored = restore(&bytes[..], to.path(), NOW, &mut |word| {
        said.push(format!("{word:?}"));
        Ok(())
    });
    assert_eq!(restored.unwrap().counts, counts);
    assert!(said.iter().any(|word| word.contains("out leads out of its run's folder")), "{said:?}");
    let copy = open(to.path());
    assert!(dump(&copy) == dump(&store));
    assert!(tree(&to.path().join(BLOBS)) == tree(&from.path().join(BLOBS)));
    let wanted: BTreeMap<_, _> = tree(&from.path().join(RUNS))
        .into_iter()
        .filter(|(name, _)| !name.starts_with(&RunId(12).to_string()) && !name.ends_with("/out"))
        .collect();
    assert!(!wanted.is_empty() && tree(&to.path().join(RUNS)) == wanted, "what was over is there, what waits is not");
    assert_eq!(tree(&to.path().join(LOGS)).len(), 2);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn any_cut_and_any_change_is_noticed(at in any::<prop::sample::Index>(), flip in 1u8..) {
        let whole = sample();
        let at = at.index(whole.len());
        prop_assert!(checked(&whole[..at]).is_err(), "cut at {}", at);
        let mut changed = whole.to_vec();
        changed[at] ^= flip;
        // When it was made is told, and is covered by the checksum like all else.
        prop_assert!(checked(&changed).is_err(), "changed at {}", at);
        changed[at] ^= flip;
        changed.push(flip);
        prop_assert!(checked(&changed).is_err(), "longer");
    }

    #[test]
    fn any_bytes_are_refused(bytes in proptest::collection::vec(any::<u8>(), 0..400), has_head: bool) {
        let bytes = if has_head { [&sample()[..32], &bytes].concat() } else { bytes };
        prop_assert!(checked(&bytes).is_err());
    }
}

#[test]
fn newer_ones_are_refused_by_name() {
    let mut newer = sample().to_vec();
    newer[16] = 2;
    assert!(matches!(checked(&newer), Err(BackupError::Newer { found: 2 })));
    let mut newer = sample().to_vec();
    newer[20] = 9;
    assert!(matches!(checked(&newer), Err(BackupError::NewerStore { found: 9, known: 1 })));
    assert!(matches!(checked(b"PK\x03\x04 some archive of somebody's"), Err(BackupError::NotABackup)));
    assert!(matches!(checked(b""), Err(BackupError::NotABackup)));
}

/// A backup with checksums that are right, whatever it says.
fn forged(kind: Kind, name: &[u8], content: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut out = Output::new(&mut bytes);
    out.header(0).unwrap();
    out.whole(kind, name, 0o4777, content).unwrap();
    let counts = match kind {
        Kind::Records => Counts { records: 1, ..Counts::default() },
        Kind::Image => Counts { images: 1, ..Counts::default() },
        _ => Counts { others: 1, ..Counts::default() },
    };
    out.end(&counts.to_bytes()).unwrap();
    bytes
}

#[test]
fn a_forged_backup_leads_nowhere() {
    let yard = tempfile::tempdir().unwrap();
    let folder = yard.path().join("data");
    for name in
        ["../escaped", "/tmp/escaped", "store/db", "format", "runs/../../escaped", "runs/r/../../../escaped", ""]
    {
        for kind in [Kind::File, Kind::Folder, Kind::Link] {
            let refused = restore(&forged(kind, name.as_bytes(), b"x")[..], &folder, NOW, &mut |_| Ok(()));
            assert!(matches!(refused, Err(RestoreError::Backup(BackupError::Damaged(_)))), "{name}: {refused:?}");
            assert_eq!(fs::read_dir(yard.path()).unwrap().count(), 1, "{name}");
            assert!(matches!(refuse_to_open(&folder), OpenError::Unfinished(_)));
        }
    }
    // An image under the name of another one is left out.
    let forged_image = forged(Kind::Image, &[7; 32], b"not what it says");
    let restored = restore(&forged_image[..], &folder, NOW, &mut |_| Ok(())).unwrap();
    assert_eq!(restored.summary.images, 0);
    assert!(tree(&folder.join(BLOBS)).values().all(Vec::is_empty));
}

fn refuse_to_open(folder: &Path) -> OpenError {
    Store::open(folder, Options::default()).err().unwrap()
}

#[test]
fn a_restore_that_ends_early_leaves_nothing_that_opens_and_can_be_done_again() {
    let folder = tempfile::tempdir().unwrap();
    let mut words = Vec::new();
    restore(sample(), folder.path(), NOW, &mut |word| {
        words.push(format!("{word:?}"));
        Ok(())
    })
    .unwrap();
    drop(open(folder.path()));
    let full = restore(sample(), folder.path(), NOW, &mut |_| Ok(()));
    assert!(matches!(full, Err(RestoreError::NotEmpty(_))), "{full:?}");
    for stop_at in [0, words.len() / 4, words.len() / 2, words.len() - 1] {
        let folder = tempfile::tempdir().unwrap();
        let mut left = i64::try_from(stop_at).unwrap();
        let ended = restore(sample(), folder.path(), NOW, &mut |_| {
            left -= 1;
            if left < 0 { Err(Error::internal("enough")) } else { Ok(()) }
        });
        assert!(matches!(ended, Err(RestoreError::Store(_))), "{stop_at}: {ended:?}, {words:?}");
        assert!(matches!(refuse_to_open(folder.path()), OpenError::Unfinished(_)));
        restore(sample(), folder.path(), NOW, &mut |_| Ok(())).unwrap();
        assert!(!dump(&open(folder.path())).is_empty());
    }
}
