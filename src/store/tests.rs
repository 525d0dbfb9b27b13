//! Records as format 1 has them on disk: golden files that every later release has to read, and rules of the indexes.

mod later;

use super::results::{self, Scope};
use super::*;
use crate::domain::account::{Account, Actor, Role, Share, Shared, Token, TokenKind};
use crate::domain::blob::{Blob, ContentHash};
use crate::domain::dataset::{Dataset, DatasetVersion, Digest, Entry, Manifests, VersionNumber};
use crate::domain::event::EventKind;
use crate::domain::experiment::{Experiment, HyperParameters};
use crate::domain::ids::{AccountId, DatasetId, ExperimentId, ModelId, RunId, SweepId, TokenId, TrashId, WebhookId};
use crate::domain::model::{Description, Model};
use crate::domain::name::{ImageName, Label, Name};
use crate::domain::result::ExperimentResult;
use crate::domain::run::{Outcome, Run, RunSpec, RunState};
use crate::domain::stamp::{Stamp, Timestamp};
use crate::domain::sweep::Sweep;
use crate::domain::trash::{Removal, Stage, TrashItem, Trashed};
use crate::domain::webhook::{Delivery, Topic, Webhook};
use proptest::prelude::*;
use std::fmt::Write;

fn scratch() -> (tempfile::TempDir, Store) {
    let folder = tempfile::tempdir().unwrap();
    let options = Options { cache_bytes: 1 << 20, min_free_bytes: 0, ..Options::default() };
    let store = Store::open(folder.path(), options).unwrap();
    (folder, store)
}

fn stamp() -> Stamp {
    Stamp::new(Actor::LOCAL, Timestamp(1_700_000_000_000))
}

fn model() -> Model {
    Model {
        id: ModelId(1024),
        stamp: stamp(),
        name: Name::parse("n", "digits").unwrap(),
        description: Description::default(),
        all_images: DatasetId(1025),
        experiments: 3,
    }
}

fn dataset(id: u64, name: Option<&str>) -> Dataset {
    Dataset {
        id: DatasetId(id),
        stamp: stamp(),
        model: ModelId(1024),
        name: name.map(|name| Name::parse("n", name).unwrap()),
        base: name.map(|_| DatasetVersion { dataset: DatasetId(1025), number: VersionNumber(1) }),
        head: VersionNumber(0),
        images: 0,
        labelled: 0,
        digest: Digest(7),
    }
}

fn experiment(id: u64, ordinal: u32) -> Experiment {
    Experiment {
        id: ExperimentId(id),
        stamp: stamp(),
        model: ModelId(1024),
        name: Name::parse("n", &format!("default_{}", ordinal + 1)).unwrap(),
        ordinal,
        is_default: true,
        parameters: HyperParameters::parse("0.001", "2", "4000").unwrap(),
    }
}

fn run(id: u64, state: RunState) -> Run {
    Run {
        id: RunId(id),
        stamp: stamp(),
        spec: RunSpec {
            model: ModelId(1024),
            experiment: ExperimentId(1030),
            version: DatasetVersion { dataset: DatasetId(1025), number: VersionNumber(1) },
            parameters: HyperParameters::parse("0.001", "2", "4000").unwrap(),
            seed: 77,
            timeout_seconds: None,
        },
        sweep: Some(SweepId(1050)),
        priority: 3,
        attempts: 2,
        crashes: 1,
        first_started_at: Some(Timestamp(1_700_000_000_001)),
        last_started_at: Some(Timestamp(1_700_000_000_002)),
        state,
    }
}

fn entry(label: Option<&str>, name: &str, byte: u8) -> Entry {
    Entry {
        label: label.map(|label| Label::parse(label).unwrap()),
        name: ImageName::from_upload(name, "x", "png"),
        hash: ContentHash([byte; 32]),
    }
}

/// One record of each family and state.
fn write_one_of_each(tx: &mut Tx<'_>) -> Result<()> {
    models::put(tx, &model())?;
    let mut all = dataset(1025, None);
    manifests::append(tx, &mut all, &entry(Some("seven"), "7.png", 7))?;
    datasets::freeze(tx, &all, Timestamp(5))?;
    datasets::put(tx, &all)?;
    datasets::put(tx, &dataset(1026, Some("copy")))?;
    experiments::put(tx, &experiment(1030, 0))?;
    let blob =
        Blob { hash: ContentHash([7; 32]), size: 99, format: "png".to_owned(), width: 8, height: 8, references: 1 };
    blobs::put(tx, &blob)?;
    let at = Timestamp(1_700_000_000_009);
    let done = |outcome| RunState::Done { outcome, finished_at: at };
    let states = [
        RunState::Queued,
        RunState::Running { attempt: 2, started_at: at, cancelling: true },
        done(Outcome::Succeeded { accuracy: "0.9720".parse().unwrap(), validation_loss: Some(0.25) }),
        done(Outcome::Failed { reason: "it ended with exit status 1".to_owned() }),
        done(Outcome::Cancelled),
    ];
    for (id, state) in (1060..).zip(states) {
        runs::put(tx, None, &run(id, state))?;
    }
    let version = DatasetVersion { dataset: DatasetId(1025), number: VersionNumber(1) };
    sweeps::put(tx, &Sweep { id: SweepId(1050), stamp: stamp(), model: ModelId(1024), version, runs: 27 })?;
    let swept = Run { sweep: Some(SweepId(1051)), ..run(1065, RunState::Queued) };
    sweeps::hold(tx, SweepId(1051))?;
    runs::put(tx, None, &Run { spec: RunSpec { timeout_seconds: Some(60), ..swept.spec.clone() }, ..swept })?;
    queue::set_paused(tx, true)?;
    let name = |name: &str| Name::parse("name", name).unwrap();
    let (id, password) = (AccountId(1070), Some("$argon2id$v=19$m=8,t=1,p=1$c2FsdA$aGFzaA".to_owned()));
    accounts::put(tx, &Account { id, stamp: stamp(), name: name("ann"), role: Role::Admin, password })?;
    let token = Token {
        id: TokenId(1071),
        account: id,
        kind: TokenKind::Token,
        label: "laptop".to_owned(),
        hash: [8; 32],
        created_at: Timestamp(7),
        expires_at: Some(Timestamp(8)),
        last_used_at: None,
    };
    tokens::put(tx, &token)?;
    shares::put(tx, Shared { model: ModelId(1024), account: id, share: Share::Edit });
    let webhook = Webhook {
        id: WebhookId(1072),
        stamp: stamp(),
        url: "https://example.org/hook".to_owned(),
        secret: "secret".to_owned(),
        topics: Topic::ALL.to_vec(),
        model: Some(ModelId(1024)),
    };
    webhooks::put(tx, &webhook)?;
    webhooks::put_delivery(tx, webhook.id, &Delivery::default().delivered(1, Timestamp(9)))?;
    for (id, what) in (1080..).zip([
        Trashed::Model,
        Trashed::Experiment(ExperimentId(1030)),
        Trashed::Dataset(DatasetId(1026)),
        Trashed::Image(Removal {
            version,
            part: DatasetId(1025),
            sequence: 1,
            entry: entry(Some("seven"), "7.png", 7),
        }),
    ]) {
        let (id, model, name) = (TrashId(id), ModelId(1024), "m".to_owned());
        trash::put(tx, &TrashItem { id, stamp: stamp(), model, name, what, stage: Stage::Hidden })?;
    }
    let mut copy = Dataset { base: Some(version), images: 1, labelled: 1, ..dataset(1027, Some("other")) };
    let removal = manifests::removal(tx, &copy, Some(&Label::parse("seven").unwrap()), &entry(None, "7.png", 7).name)?;
    manifests::remove(tx, &mut copy, &removal.unwrap())?;
    datasets::put(tx, &copy)?;
    tx.event(Actor::LOCAL, Timestamp(6), EventKind::SweepSubmitted, 1050, 1024)?;
    mails::put_delivery(tx, "old@example.org", &Delivery::default())?;
    mails::keep(tx, &["ann@example.org".to_owned()])?;
    logs::set(tx, RunId(1062), Some(b"accuracy: 0.9720\n"))?;
    results::record(tx, ModelId(1024), &result(1030, 0, 1062, "0.9720", Some(0.25)))?;
    tx.event(Actor::LOCAL, at, EventKind::RunSucceeded, 1062, 1024)
}

fn result(experiment: u64, ordinal: u32, run: u64, accuracy: &str, loss: Option<f64>) -> ExperimentResult {
    ExperimentResult {
        experiment: ExperimentId(experiment),
        dataset: DatasetId(1025),
        version: DatasetVersion { dataset: DatasetId(1025), number: VersionNumber(1) },
        run: RunId(run),
        ordinal,
        accuracy: accuracy.parse().unwrap(),
        validation_loss: loss,
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

const GOLDEN: &str = "tests/data/format1/records.txt";

/// Set to write the golden file anew, which is right only before a format's first release.
const WRITE: &str = "TRAINYARD_WRITE_GOLDEN";

fn dump(store: &Store) -> String {
    let mut text = String::new();
    for pair in store.range(vec![0], vec![255]) {
        let (key, value) = pair.unwrap();
        writeln!(text, "{} {}", hex(&key), hex(&value)).unwrap();
    }
    text
}

#[test]
fn format_1_is_written_as_it_was_released() {
    let (_folder, store) = scratch();
    store.write(write_one_of_each).wait().unwrap();
    let written = dump(&store);
    if std::env::var_os(WRITE).is_some() {
        std::fs::create_dir_all("tests/data/format1").unwrap();
        std::fs::write(GOLDEN, &written).unwrap();
    }
    assert_eq!(written, std::fs::read_to_string(GOLDEN).unwrap());
}

#[test]
fn format_1_is_read_as_it_was_meant() {
    let (_folder, store) = scratch();
    load(&store, &std::fs::read_to_string(GOLDEN).unwrap());
    is_as_it_was_meant(&store);
}

/// Puts dumped records into a store.
fn load(store: &Store, dumped: &str) {
    let pairs: Vec<(Vec<u8>, Vec<u8>)> = dumped
        .lines()
        .map(|line| {
            let (key, value) = line.split_once(' ').unwrap();
            (unhex(key), unhex(value))
        })
        .collect();
    let loaded = store.write(move |tx| {
        pairs.iter().for_each(|(key, value)| tx.mark(key.clone(), value));
        Ok(())
    });
    loaded.wait().unwrap();
}

/// What `write_one_of_each` wrote.
fn is_as_it_was_meant(store: &Store) {
    assert_eq!(models::named(store, Actor::LOCAL.project, &model().name).unwrap(), model());
    assert_eq!(experiments::page(store, ModelId(1024), 0, 9).unwrap(), [experiment(1030, 0)]);
    let states: Vec<_> =
        runs::page(store, ModelId(1024), None, 9).unwrap().iter().map(|run| run.state.name()).collect();
    assert_eq!(states, ["queued", "running", "succeeded", "failed", "cancelled", "queued"]);
    assert_eq!((runs::queued(store).unwrap(), runs::running(store).unwrap()), (2, 1));
    let best = results::best(store, Scope::Model(ModelId(1024))).unwrap().unwrap();
    assert_eq!(
        (best.accuracy.text(), best.experiment_name.as_str(), best.dataset_name.as_str()),
        ("0.9720", "default_1", "")
    );
    let copy = datasets::must_get(store, DatasetId(1026)).unwrap();
    let page = store.page(copy.head_version(), None, 10).unwrap();
    assert_eq!(page.entries, [entry(Some("seven"), "7.png", 7)]);
    assert_eq!(events::page(store, 0, 10).unwrap().len(), 2);
    assert_eq!(events::audit(store, 0, 10).unwrap().len(), 1);
    let swept = runs::of_sweep(store, SweepId(1051), None, 9).unwrap();
    assert_eq!(swept.iter().map(|run| run.spec.timeout_seconds).collect::<Vec<_>>(), [Some(60)]);
    assert!(queue::is_paused(store).unwrap());
    assert_eq!(sweeps::held(store).unwrap(), [SweepId(1051)]);
    let ann = accounts::named(store, &Name::parse("name", "ann").unwrap()).unwrap().unwrap();
    assert_eq!((ann.role, accounts::count(store).unwrap()), (Role::Admin, 1));
    assert_eq!(tokens::by_hash(store, &[8; 32]).unwrap().unwrap().label, "laptop");
    assert_eq!(shares::get(store, ModelId(1024), ann.id).unwrap(), Some(Share::Edit));
    assert_eq!(webhooks::page(store, 9).unwrap()[0].topics, Topic::ALL);
    assert_eq!(webhooks::delivery(store, WebhookId(1072)).unwrap().told, 1);
    assert_eq!(mails::known(store).unwrap(), ["ann@example.org"]);
    assert_eq!(mails::delivery(store, "ann@example.org").unwrap(), Delivery { told: 1, ..Delivery::default() });
    assert_eq!(logs::get(store, RunId(1062)).unwrap().unwrap(), b"accuracy: 0.9720\n");
    let kinds: Vec<_> =
        trash::of_model(store, ModelId(1024), None, 9).unwrap().iter().map(|item| item.what.kind()).collect();
    assert_eq!(kinds, ["model", "experiment", "dataset", "image"]);
    let other = datasets::must_get(store, DatasetId(1027)).unwrap();
    assert_eq!((other.images, store.page(other.head_version(), None, 9).unwrap().entries), (0, vec![]));
    assert_eq!(sweeps::get(store, SweepId(1050)).unwrap().unwrap().runs, 27);
    assert_eq!(blobs::get(store, ContentHash([7; 32])).unwrap().unwrap().references, 1);
}

const GOLDEN_FOLDER: &str = "tests/data/format1/folder.txt";

/// Files as text: a line `name length`, then lines `offset bytes` for what is not nought.
fn packed(folder: &Path, files: &[&str]) -> String {
    let mut text = String::new();
    for file in files {
        let bytes = std::fs::read(folder.join(file)).unwrap();
        writeln!(text, "{file} {}", bytes.len()).unwrap();
        for (number, line) in bytes.chunks(64).enumerate().filter(|(_, line)| line.iter().any(|byte| *byte != 0)) {
            writeln!(text, "  {} {}", 64 * number, hex(line)).unwrap();
        }
    }
    text
}

fn unpack(text: &str, folder: &Path) {
    let mut file: Option<(String, Vec<u8>)> = None;
    let write = |file: Option<(String, Vec<u8>)>| {
        if let Some((name, bytes)) = file {
            let path = folder.join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, bytes).unwrap();
        }
    };
    for line in text.lines() {
        let (first, second) = line.trim_start().split_once(' ').unwrap();
        if line.starts_with(' ') {
            let (at, bytes) = (first.parse::<usize>().unwrap(), unhex(second));
            file.as_mut().unwrap().1[at..at + bytes.len()].copy_from_slice(&bytes);
        } else {
            write(file.replace((first.to_owned(), vec![0; second.parse().unwrap()])));
        }
    }
    write(file);
}

#[test]
fn a_folder_of_format_1_opens_whether_its_server_was_stopped_or_killed() {
    let options = Options { cache_bytes: 1 << 20, min_free_bytes: 0, ..Options::default() };
    if std::env::var_os(WRITE).is_some() {
        let (folder, store) = scratch();
        store.write(write_one_of_each).wait().unwrap();
        // The write-ahead log has it, and sled has not yet: as a server leaves it that is killed now.
        let files = ["format", "mark", "store/conf", "store/db", "store/wal"];
        let snapshot = std::fs::read_dir(folder.path().join("store")).unwrap();
        let snapshots: Vec<String> = snapshot
            .map(|entry| format!("store/{}", entry.unwrap().file_name().to_string_lossy()))
            .filter(|name| name.contains("snap."))
            .collect();
        let files: Vec<&str> = files.into_iter().chain(snapshots.iter().map(String::as_str)).collect();
        std::fs::write(GOLDEN_FOLDER, packed(folder.path(), &files)).unwrap();
    }
    let folder = tempfile::tempdir().unwrap();
    unpack(&std::fs::read_to_string(GOLDEN_FOLDER).unwrap(), folder.path());
    for _ in 0..2 {
        let store = Store::open(folder.path(), options).unwrap();
        is_as_it_was_meant(&store);
        store.close();
    }
}

#[test]
fn a_second_server_and_a_newer_format_are_refused() {
    let (folder, store) = scratch();
    let again = || Store::open(folder.path(), Options::default());
    assert!(matches!(again(), Err(OpenError::Locked(_))));
    store.close();
    std::fs::write(folder.path().join("format"), "2\n").unwrap();
    assert!(matches!(again(), Err(OpenError::Newer { .. })));
}

#[test]
fn leftover_snapshots_are_mended_and_a_damaged_store_is_left_alone() {
    let (folder, store) = scratch();
    store.write(write_one_of_each).wait().unwrap();
    let before = dump(&store);
    store.close();
    let inside = folder.path().join("store");
    std::fs::write(inside.join("snap.0000000000000100.generating"), "half").unwrap();
    let options = Options { cache_bytes: 1 << 20, min_free_bytes: 0, ..Options::default() };
    let store = Store::open(folder.path(), options).unwrap();
    assert_eq!(dump(&store), before);
    store.close();
    std::fs::write(inside.join("conf"), "nonsense ".repeat(20)).unwrap();
    let files = |at: &Path| {
        let mut names: Vec<_> = std::fs::read_dir(at)
            .unwrap()
            .map(|entry| entry.unwrap())
            .filter(|entry| entry.path().is_file())
            .map(|entry| (entry.file_name(), std::fs::read(entry.path()).unwrap()))
            .collect();
        names.sort();
        names
    };
    let refuse = || {
        let untouched = files(&inside);
        let refused = Store::open(folder.path(), options).err().unwrap();
        assert!(matches!(refused, OpenError::Damaged { .. }), "{refused}");
        assert_eq!(files(&inside), untouched);
    };
    refuse();
    std::fs::write(inside.join("db"), "").unwrap();
    refuse();
    std::fs::remove_file(inside.join("db")).unwrap();
    refuse();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn the_best_is_the_best_of_what_is_stored(
        reports in proptest::collection::vec((0u32..5, 0u8..4, proptest::option::of(0u8..3)), 1..25)
    ) {
        let (_folder, store) = scratch();
        store.write(|tx| {
            models::put(tx, &model())?;
            datasets::put(tx, &dataset(1025, None))?;
            (0..5).try_for_each(|ordinal| experiments::put(tx, &experiment(1030 + u64::from(ordinal), ordinal)))
        }).wait().unwrap();
        let mut latest = std::collections::BTreeMap::new();
        for (number, (ordinal, accuracy, loss)) in reports.into_iter().enumerate() {
            let text = format!("0.{accuracy}");
            let found = result(1030 + u64::from(ordinal), ordinal, 2000 + number as u64, &text, loss.map(f64::from));
            latest.insert(ordinal, found.clone());
            store.write(move |tx| results::record(tx, ModelId(1024), &found)).wait().unwrap();
            // By the rule itself: the highest accuracy; among equals the lowest loss of those with one, unless an
            // experiment without one came before it.
            let top = latest.values().map(|r| r.accuracy.value()).fold(0.0, f64::max);
            let tied: Vec<&ExperimentResult> = latest.values().filter(|r| r.accuracy.value() == top).collect();
            let with = tied.iter().filter(|r| r.validation_loss.is_some())
                .min_by(|a, b| a.validation_loss.partial_cmp(&b.validation_loss).unwrap().then(a.ordinal.cmp(&b.ordinal)));
            let without = tied.iter().filter(|r| r.validation_loss.is_none()).min_by_key(|r| r.ordinal);
            let expected = match (with, without) {
                (Some(a), Some(b)) => if b.ordinal < a.ordinal { b } else { a },
                (Some(a), None) => a,
                (None, Some(b)) => b,
                (None, None) => unreachable!(),
            };
            let best = results::best(&store, Scope::Model(ModelId(1024))).unwrap().unwrap();
            prop_assert_eq!(best.run, expected.run);
        }
    }

    #[test]
    fn a_version_never_changes(adds in proptest::collection::vec((0u8..3, 0u8..6, 0u8..4, any::<bool>()), 1..30)) {
        let (_folder, store) = scratch();
        store.write(|tx| datasets::put(tx, &dataset(1025, None))).wait().unwrap();
        let mut frozen: Vec<(DatasetVersion, Vec<Entry>)> = Vec::new();
        let mut current = DatasetId(1025);
        let mut expected: Vec<Entry> = Vec::new();
        let mut next = 2000;
        for (label, name, byte, copies) in adds {
            let wanted = entry((label > 0).then_some(["a", "b"][usize::from(label) % 2]), &format!("{name}.png"), byte);
            if copies {
                let source = datasets::must_get(&store, current).unwrap();
                let mut copy = dataset(next, Some("copy"));
                copy.base = Some(source.head_version());
                copy.images = source.images;
                current = copy.id;
                next += 1;
                store.write(move |tx| datasets::put(tx, &copy)).wait().unwrap();
            }
            let target = datasets::must_get(&store, current).unwrap();
            let found = manifests::find(&store, &target, wanted.label.as_ref(), &wanted.name).unwrap();
            let known = expected.iter().find(|e| e.label == wanted.label && e.name == wanted.name);
            prop_assert_eq!(found.as_ref(), known);
            if known.is_none() {
                expected.push(wanted.clone());
                store.write(move |tx| {
                    let mut target = target;
                    manifests::append(tx, &mut target, &wanted)?;
                    datasets::put(tx, &target)
                }).wait().unwrap();
            }
            let head = datasets::must_get(&store, current).unwrap().head_version();
            frozen.push((head, expected.clone()));
        }
        for (version, entries) in frozen {
            let mut read = Vec::new();
            let mut after = None;
            loop {
                let page = store.page(version, after, 3).unwrap();
                read.extend(page.entries);
                after = page.next;
                if after.is_none() { break; }
            }
            prop_assert_eq!(read, entries);
        }
    }
}

/// A small file system, or `None` where none can be mounted.
fn small_disk(folder: &Path, size: u64) -> Option<()> {
    let options = std::ffi::CString::new(format!("size={size}m")).unwrap();
    let flags = rustix::mount::MountFlags::empty();
    let mounted = rustix::mount::mount("trainyard-test", folder, "tmpfs", flags, options.as_c_str());
    mounted.inspect_err(|error| println!("skipped: sled on a full disk, because nothing can be mounted: {error}")).ok()
}

#[test]
fn a_store_whose_sled_met_a_full_disk_is_opened_again_in_the_same_process() {
    let folder = tempfile::tempdir().unwrap();
    let Some(()) = small_disk(folder.path(), 48) else { return };
    // Nothing is set aside, so sled meets it.
    let options = Options { cache_bytes: 1 << 20, min_free_bytes: 0, reserve_bytes: 0, ..Options::default() };
    let store = Store::open(folder.path(), options).unwrap();
    let key = |number: u32| [&[0xe0][..], &number.to_be_bytes()].concat();
    let write = |number: u32| {
        let key = key(number);
        store.settle(move |tx| {
            tx.mark(key, &number.to_le_bytes().repeat(200));
            Ok(())
        })
    };
    let mut last = 0;
    for number in 0..500 {
        write(number).wait().unwrap();
        last = number;
    }
    let filler = folder.path().join("filler");
    let mut file = std::fs::File::create(&filler).unwrap();
    while std::io::Write::write_all(&mut file, &[7; 4096]).is_ok() {}
    // A snapshot of before goes on through all of it.
    let snapshot = store.snapshot();
    let known = last;
    let mut refused = None;
    while refused.is_none() && last < 50_000 {
        match write(last + 1).wait() {
            Ok(()) => last += 1,
            Err(error) => refused = Some(error),
        }
        if *store.health().borrow() == Some(Failure::Full) {
            let found = Read::get(&store, &key(last)).unwrap().unwrap();
            assert_eq!(found, last.to_le_bytes().repeat(200), "what was answered is shown, though sled refused it");
        }
    }
    assert_eq!(refused.unwrap().code, crate::domain::error::Code::DiskFull);
    assert_eq!(*store.health().borrow(), Some(Failure::Full));
    assert!(last > known, "what ends earlier work still went into the write-ahead log");
    let growth = store.write(|tx| tx.set_counter("x", 1)).wait();
    assert_eq!(growth.unwrap_err().code, crate::domain::error::Code::DiskFull);
    drop(file);
    std::fs::remove_file(&filler).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut health = store.health();
    let healthy = health.wait_for(Option::is_none);
    runtime.block_on(async {
        tokio::time::timeout(std::time::Duration::from_secs(20), healthy).await.unwrap().unwrap();
    });
    for number in [0, known, known + 1, last] {
        assert_eq!(Read::get(&store, &key(number)).unwrap().unwrap(), number.to_le_bytes().repeat(200));
    }
    store.write(|tx| tx.set_counter("x", 1)).wait().unwrap();
    write(last + 1).wait().unwrap();
    // Where sled could not be asked what a key held before, the snapshot is lost and says so; it is never a wrong one.
    match snapshot.prefix(vec![0xe0]).collect::<Result<Vec<_>>>() {
        Ok(seen) => assert_eq!(seen.len() as u32, known + 1),
        Err(error) => assert_eq!(error.code, crate::domain::error::Code::Unavailable, "{error}"),
    }
    drop(snapshot);
    store.close();
    let store = Store::open(folder.path(), options).unwrap();
    assert_eq!(store.prefix(vec![0xe0]).count() as u32, last + 2);
    assert!(store.prefix(vec![0xe0]).all(|pair| pair.is_ok()));
    drop(store);
    rustix::mount::unmount(folder.path(), rustix::mount::UnmountFlags::DETACH).unwrap();
}
