//! What lies in the data folder: records of every family, and the write-ahead log. A checksum stands before each of
//! them, so it is made right again here: a disk that errs is caught by it, and this is about what comes behind it.

use super::{ROOM, THREADS, Target, run};
use sled::IVec;
use std::collections::BTreeMap;
use std::sync::LazyLock;
use trainyard::domain::blob::ContentHash;
use trainyard::domain::dataset::{DatasetVersion, VersionNumber};
use trainyard::domain::error::Result;
use trainyard::domain::ids::{
    AccountId, DatasetId, ExperimentId, ModelId, ProjectId, RunId, SweepId, TokenId, WebhookId,
};
use trainyard::domain::name::{ImageName, Label, Name};
use trainyard::store::results::Scope;
use trainyard::store::{Options, Pairs, Read, Store, queue::Band};
use trainyard::store::{
    accounts, blobs, datasets, events, experiments, logs, manifests, models, queue, results, runs, shares, sweeps,
    tokens, webhooks,
};

fn bytes(hex: &str) -> Vec<u8> {
    (0..hex.len() / 2).map(|at| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).unwrap()).collect()
}

/// One record of each family and state, as format 1 was released.
static GOLDEN: LazyLock<Vec<(Vec<u8>, Vec<u8>)>> = LazyLock::new(|| {
    let lines = include_str!("../data/format1/records.txt").lines();
    let pairs = lines.filter_map(|line| line.split_once(' '));
    pairs.map(|(key, value)| (bytes(key), bytes(value.trim()))).collect()
});

/// A store in memory.
struct Fake(BTreeMap<Vec<u8>, IVec>);

impl Read for Fake {
    fn get(&self, key: &[u8]) -> Result<Option<IVec>> {
        Ok(self.0.get(key).cloned())
    }

    fn range(&self, from: Vec<u8>, to: Vec<u8>) -> Pairs<'_> {
        let empty = from >= to;
        let found = self.0.range(if empty { to.clone()..to } else { from..to });
        Box::new(found.map(|(key, value)| Ok((key.clone(), value.clone()))))
    }
}

/// Reads everything in every way.
fn read_all(store: &Fake) {
    let (model, dataset, experiment) = (ModelId(1024), DatasetId(1025), ExperimentId(1030));
    let name = |text: &str| Name::parse("name", text).unwrap();
    let version = DatasetVersion { dataset, number: VersionNumber(1) };
    let _ = (models::get(store, model), models::named(store, ProjectId(1), &name("digits")));
    for id in [1025, 1026] {
        if let Ok(Some(found)) = datasets::get(store, DatasetId(id)) {
            let label = Label::parse("seven").unwrap();
            let _ = manifests::find(store, &found, Some(&label), &ImageName::from_upload("7.png", "x", "png"));
        }
        let of = DatasetVersion { dataset: DatasetId(id), number: VersionNumber(1) };
        let _ = (datasets::frozen(store, of), manifests::page(store, of, None, 100));
    }
    let _ = (datasets::named(store, model, &name("copy")), experiments::get(store, experiment));
    let _ = (experiments::named(store, model, &name("default_1")), experiments::page(store, model, 0, 100));
    let _ = blobs::get(store, ContentHash([7; 32]));
    for id in 1060..=1065 {
        let _ = (runs::get(store, RunId(id)), logs::get(store, RunId(id)));
        if let Ok(Some(run)) = runs::get(store, RunId(id)) {
            let _ = queue::behind(store, &run, 100);
        }
    }
    let _ = (runs::pending(store, experiment, version), runs::page(store, model, None, 100), runs::leased(store));
    let _ = (runs::of_sweep(store, SweepId(1051), None, 100), runs::queued(store), runs::running(store));
    let _ = (sweeps::get(store, SweepId(1050)), sweeps::held(store), queue::is_paused(store));
    let _ = (queue::next(store, Band::Ordinary, Some(model)), queue::next(store, Band::Suspect, None));
    let _ = (queue::page(store, None, 100), events::page(store, 0, 100), events::audit(store, 0, 100));
    let account = AccountId(1070);
    let _ = (accounts::get(store, account), accounts::named(store, &name("ann")), accounts::page(store, None, 100));
    let _ = (accounts::count(store), tokens::get(store, TokenId(1071)), tokens::by_hash(store, &[8; 32]));
    let _ = (tokens::of_account(store, account, 100), shares::get(store, model, account));
    let _ = (shares::of_model(store, model, 100), shares::with_account(store, account, 100));
    let _ =
        (webhooks::get(store, WebhookId(1072)), webhooks::page(store, 100), webhooks::delivery(store, WebhookId(1072)));
    let _ = (results::best(store, Scope::Model(model)), results::best(store, Scope::Experiment(experiment)));
    let _ = (results::get(store, experiment, dataset), results::of_experiment(store, experiment));
}

#[test]
fn records() {
    // A case is a record's number and its value without the checksum.
    let examples = GOLDEN.iter().enumerate().map(|(number, (_, value))| {
        let body = value.len().saturating_sub(if value.len() > 8 { 4 } else { 0 });
        [&[number as u8][..], &value[..body]].concat()
    });
    let target = Target {
        name: "records",
        cases: 3000,
        examples: examples.collect(),
        words: &["\u{1}", "\u{2}", "\u{3}", "0.9720", "seven", "7.png", "\0\0\0\0\0\0\0\0"],
        room: ROOM,
    };
    run(&target, |input| {
        let Some((number, body)) = input.split_first() else { return };
        let (key, _) = &GOLDEN[usize::from(*number) % GOLDEN.len()];
        let mut sealed = body.to_vec();
        sealed.extend_from_slice(&crc32fast::hash(body).to_le_bytes());
        for value in [sealed, body.to_vec()] {
            let mut pairs: BTreeMap<Vec<u8>, IVec> =
                GOLDEN.iter().map(|(key, value)| (key.clone(), value.as_slice().into())).collect();
            pairs.insert(key.clone(), value.into());
            read_all(&Fake(pairs));
        }
    });
}

#[test]
fn write_ahead_log() {
    // A store that is sound up to its log.
    let prepared = tempfile::tempdir().unwrap();
    let options = Options { min_free_bytes: 0, ..Options::default() };
    Store::open(prepared.path(), options).unwrap().close();
    let work = tempfile::tempdir().unwrap();
    let golden = bytes(include_str!("../data/format1/wal.txt").trim());
    let target = Target {
        name: "write_ahead_log",
        cases: 100,
        examples: vec![golden.clone(), [golden.clone(), golden].concat()],
        words: &["\u{1}created\0", "\u{1}events\0", "\0\0", "\u{10}"],
        room: THREADS,
    };
    run(&target, |input| {
        let folder = work.path().join("store");
        copy(prepared.path(), &folder);
        let mut log = input.to_vec();
        seal(&mut log);
        let whole = log.len().max(512 << 10);
        log.resize(whole, 0);
        std::fs::write(folder.join("store/wal"), log).unwrap();
        // It opens, or says why not; what it holds can be read, or is refused.
        if let Ok(store) = Store::open(&folder, options) {
            let all: Vec<_> = store.range(Vec::new(), vec![0xff; 8]).collect();
            read_all(&Fake(all.into_iter().flatten().collect()));
            store.close();
        }
        std::fs::remove_dir_all(&folder).unwrap();
    });
}

/// Makes the checksums of the log's records right, as far as their lengths lead.
fn seal(log: &mut [u8]) {
    let mut at = 0;
    while let Some(length) = log.get(at + 4..at + 8).map(|length| u32::from_le_bytes(length.try_into().unwrap())) {
        let end = at + 28 + length as usize;
        let Some(rest) = log.get(at + 4..end) else { return };
        let sum = crc32fast::hash(rest).to_le_bytes();
        log[at..at + 4].copy_from_slice(&sum);
        at = end;
    }
}

fn copy(from: &std::path::Path, to: &std::path::Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy(&entry.path(), &target),
            false => drop(std::fs::copy(entry.path(), target).unwrap()),
        }
    }
}
