//! A small store with one of everything: nothing is found in it, every change of any key is, and what is mended is as it
//! was before, byte for byte.

use super::super::{
    Options, accounts, answers, datasets, experiments, logs, mails, manifests, models, results, runs, shares, sweeps,
    tokens, trash, webhooks,
};
use super::*;
use crate::domain::account::{Account, Actor, Role, Share, Shared, Token, TokenKind};
use crate::domain::answer::{KeptAnswer, RequestKey};
use crate::domain::blob::Blob;
use crate::domain::dataset::{Dataset, DatasetVersion, Digest, Entry, VersionNumber};
use crate::domain::event::EventKind;
use crate::domain::experiment::{Experiment, HyperParameters};
use crate::domain::ids::{AccountId, DatasetId, ExperimentId, ModelId, RunId, SweepId, TokenId, TrashId, WebhookId};
use crate::domain::model::{Description, Model};
use crate::domain::name::{ImageName, Label, Name};
use crate::domain::result::ExperimentResult;
use crate::domain::run::{Action, Outcome, Run, RunSpec, RunState, transition};
use crate::domain::stamp::Stamp;
use crate::domain::sweep::Sweep;
use crate::domain::trash::{Stage, TrashItem, Trashed};
use crate::domain::webhook::{Delivery, Topic, Webhook};
use std::collections::BTreeMap;

const NOW: Timestamp = Timestamp(1_700_000_000_000);

/// Later than anything is young.
const LATER: Timestamp = Timestamp(NOW.0 + 7 * 24 * 60 * 60 * 1000);

fn name(text: &str) -> Name {
    Name::parse("name", text).unwrap()
}

fn stamp() -> Stamp {
    Stamp::new(Actor::LOCAL, NOW)
}

fn parameters() -> HyperParameters {
    HyperParameters::parse("0.1", "2", "1000").unwrap()
}

fn empty(id: u64, model: u64, named: Option<&str>) -> Dataset {
    Dataset {
        id: DatasetId(id),
        stamp: stamp(),
        model: ModelId(model),
        name: named.map(name),
        base: None,
        head: VersionNumber(0),
        images: 0,
        labelled: 0,
        digest: Digest::default(),
    }
}

/// Adds images to a dataset, as uploads do.
fn fill(tx: &mut Tx<'_>, dataset: &mut Dataset, bytes: &[u8]) -> Result<()> {
    for byte in bytes {
        let hash = ContentHash([*byte; 32]);
        let label = (byte % 2 == 0).then(|| Label::parse("even").unwrap());
        let mut name = ImageName::from_upload(&format!("{byte}.png"), "x", "png");
        if manifests::find(tx, dataset, label.as_ref(), &name)?.is_some() {
            name = name.marked("again");
        }
        let entry = Entry { label, name, hash };
        manifests::append(tx, dataset, &entry)?;
        let new = Blob { hash, size: 99, format: "png".to_owned(), width: 8, height: 8, references: 0 };
        let mut blob = blobs::get(tx, hash)?.unwrap_or(new);
        blob.references += 1;
        blobs::put(tx, &blob)?;
        tx.event(Actor::LOCAL, NOW, EventKind::ImageAdded, dataset.id.0, dataset.model.0)?;
    }
    Ok(())
}

fn experiment(tx: &mut Tx<'_>, model: u64, ordinal: u32) -> Result<Experiment> {
    let made = Experiment {
        id: ExperimentId(tx.next_id()?),
        stamp: stamp(),
        model: ModelId(model),
        name: name(&format!("default_{}", ordinal + 1)),
        ordinal,
        is_default: true,
        parameters: parameters(),
    };
    experiments::put(tx, &made).map(|()| made)
}

/// A run that went through these.
fn run(
    tx: &mut Tx<'_>,
    experiment: &Experiment,
    version: DatasetVersion,
    sweep: Option<SweepId>,
    actions: Vec<Action>,
) -> Result<()> {
    let id = RunId(tx.next_id()?);
    let spec = RunSpec {
        model: experiment.model,
        experiment: experiment.id,
        version,
        parameters: parameters(),
        seed: 7,
        timeout_seconds: None,
    };
    let mut run = Run {
        id,
        stamp: stamp(),
        spec,
        sweep,
        priority: 0,
        attempts: 0,
        crashes: 0,
        first_started_at: None,
        last_started_at: None,
        state: RunState::Queued,
    };
    runs::put(tx, None, &run)?;
    for action in actions {
        let next = transition(&run, action, NOW).unwrap();
        runs::put(tx, Some(&run), &next)?;
        tx.event(Actor::LOCAL, NOW, EventKind::RunStarted, id.0, experiment.model.0)?;
        run = next;
    }
    if let RunState::Done { outcome: Outcome::Succeeded { accuracy, validation_loss }, .. } = run.state {
        logs::set(tx, id, Some(b"accuracy"))?;
        let (dataset, ordinal) = (version.dataset, experiment.ordinal);
        let experiment = experiment.id;
        let result = ExperimentResult { experiment, dataset, version, run: id, ordinal, accuracy, validation_loss };
        results::record(tx, run.spec.model, &result)?;
    }
    Ok(())
}

fn finished(accuracy: &str, validation_loss: Option<f64>) -> Vec<Action> {
    let outcome = Outcome::Succeeded { accuracy: accuracy.parse().unwrap(), validation_loss };
    vec![Action::Claim, Action::Finish { attempt: 1, outcome }]
}

/// An account with all that it may have.
fn people(tx: &mut Tx<'_>, model: ModelId) -> Result<()> {
    let id = AccountId(tx.next_id()?);
    accounts::put(tx, &Account { id, stamp: stamp(), name: name("ann"), role: Role::Admin, password: None })?;
    let token = Token {
        id: TokenId(tx.next_id()?),
        account: id,
        kind: TokenKind::Token,
        label: String::new(),
        hash: [9; 32],
        created_at: NOW,
        expires_at: None,
        last_used_at: None,
    };
    tokens::put(tx, &token)?;
    shares::put(tx, Shared { model, account: id, share: Share::View });
    let webhook = Webhook {
        id: WebhookId(tx.next_id()?),
        stamp: stamp(),
        url: "https://example.org/".to_owned(),
        secret: "secret".to_owned(),
        topics: Topic::ALL.to_vec(),
        model: Some(model),
    };
    webhooks::put(tx, &webhook)?;
    webhooks::put_delivery(tx, webhook.id, &Delivery::default())?;
    let answer = KeptAnswer {
        key: RequestKey { account: AccountId(1), hash: [0x5a; 16] },
        request: [4; 16],
        at: NOW,
        status: 201,
        location: None,
        etag: None,
        body: Some(b"{}".to_vec()),
    };
    answers::put(tx, &answer)?;
    mails::keep(tx, &["ann@example.org".to_owned()])
}

fn furnish(tx: &mut Tx<'_>) -> Result<()> {
    let model = tx.next_id()?;
    let mut all = empty(tx.next_id()?, model, None);
    fill(tx, &mut all, &[1, 2, 3])?;
    datasets::freeze(tx, &all, NOW)?;
    datasets::put(tx, &all)?;
    let mut june = empty(tx.next_id()?, model, Some("june"));
    fill(tx, &mut june, &[2, 4])?;
    datasets::freeze(tx, &june, NOW)?;
    datasets::put(tx, &june)?;
    let mut july = Dataset {
        base: Some(june.head_version()),
        images: june.images,
        labelled: june.labelled,
        digest: june.digest,
        ..empty(tx.next_id()?, model, Some("july"))
    };
    fill(tx, &mut july, &[5])?;
    datasets::freeze(tx, &july, NOW)?;
    fill(tx, &mut july, &[6, 5])?;
    datasets::put(tx, &july)?;
    let made = (0..3).map(|ordinal| experiment(tx, model, ordinal)).collect::<Result<Vec<_>>>()?;
    models::put(
        tx,
        &Model {
            id: ModelId(model),
            stamp: stamp(),
            name: name("digits"),
            description: Description::default(),
            all_images: all.id,
            experiments: 3,
        },
    )?;
    let sweep = SweepId(tx.next_id()?);
    let version = all.head_version();
    sweeps::put(tx, &Sweep { id: sweep, stamp: stamp(), model: ModelId(model), version, runs: 2 })?;
    sweeps::hold(tx, sweep)?;
    people(tx, ModelId(model))?;
    run(tx, &made[0], version, Some(sweep), finished("0.9", Some(0.5)))?;
    run(tx, &made[1], version, Some(sweep), finished("0.8", None))?;
    // The same experiment again, with another result.
    run(tx, &made[1], version, None, finished("0.7", Some(0.1)))?;
    let on_july = DatasetVersion { number: VersionNumber(1), ..july.head_version() };
    run(tx, &made[0], on_july, None, finished("0.95", None))?;
    run(tx, &made[2], on_july, None, vec![])?;
    run(tx, &made[2], version, None, vec![Action::Claim])?;
    run(tx, &made[2], version, None, vec![Action::Cancel])?;
    let failed = Outcome::Failed { reason: "no".to_owned() };
    run(tx, &made[2], version, None, vec![Action::Claim, Action::Finish { attempt: 1, outcome: failed }])?;
    throw_away(tx, ModelId(model), june, july)
}

/// A dataset, an experiment with a result, an image of a dataset's own and one that it began with.
fn throw_away(tx: &mut Tx<'_>, model: ModelId, mut june: Dataset, mut july: Dataset) -> Result<()> {
    let put = |tx: &mut Tx<'_>, named: &str, what: Trashed| {
        let id = TrashId(tx.next_id()?);
        trash::put(tx, &TrashItem { id, stamp: stamp(), model, name: named.to_owned(), what, stage: Stage::Hidden })
    };
    let trashed = Stamp { trashed_at: Some(NOW), ..stamp() };
    let gone = Dataset { stamp: trashed.clone(), ..empty(tx.next_id()?, model.0, Some("gone")) };
    datasets::put(tx, &gone)?;
    put(tx, "gone", Trashed::Dataset(gone.id))?;
    let mut given_up = experiment(tx, model.0, 3)?;
    run(tx, &given_up, july.base.unwrap(), None, finished("0.99", None))?;
    given_up.stamp = trashed;
    experiments::put(tx, &given_up)?;
    let of_it = results::of_experiment(tx, given_up.id)?;
    results::reorder(tx, model, &of_it)?;
    put(tx, "default_4", Trashed::Experiment(given_up.id))?;
    for dataset in [&mut june, &mut july] {
        let (label, image) = (Label::parse("even").unwrap(), ImageName::from_upload("2.png", "x", "png"));
        let removal = manifests::removal(tx, dataset, Some(&label), &image)?.unwrap();
        manifests::remove(tx, dataset, &removal)?;
        datasets::put(tx, dataset)?;
        put(tx, "2.png", Trashed::Image(removal))?;
    }
    let mut model = models::get(tx, model)?.unwrap();
    model.experiments = 4;
    models::put(tx, &model)
}

type Dump = BTreeMap<Vec<u8>, Vec<u8>>;

fn dump(store: &Store) -> Dump {
    store.range(vec![0], vec![255]).map(|pair| pair.map(|(key, value)| (key, value.to_vec())).unwrap()).collect()
}

fn furnished() -> (tempfile::TempDir, Store, Dump) {
    let folder = tempfile::tempdir().unwrap();
    let options = Options { cache_bytes: 1 << 20, min_free_bytes: 0, reserve_bytes: 0, ..Options::default() };
    let store = Store::open(folder.path(), options).unwrap();
    store.write(furnish).wait().unwrap();
    let whole = dump(&store);
    (folder, store, whole)
}

fn findings(store: &Store, now: Timestamp) -> Vec<Finding> {
    let mut found = Vec::new();
    let snapshot = store.snapshot();
    let tally = records(&snapshot, now, &mut |seen| {
        if let Seen::Finding(finding) = seen {
            found.push(finding);
        }
        Ok(())
    });
    assert_eq!(tally.unwrap().records, dump(store).len() as u64);
    found
}

fn set(store: &Store, writes: Vec<(Vec<u8>, Option<Vec<u8>>)>) {
    let written = store.settle(move |tx| {
        for (key, value) in &writes {
            match value {
                Some(value) => tx.mark(key.clone(), value),
                None => tx.delete(key.clone()),
            }
        }
        Ok(())
    });
    written.wait().unwrap();
}

/// Makes the store what it was.
fn reset(store: &Store, whole: &Dump) {
    let now = dump(store);
    let gone = now.keys().filter(|key| !whole.contains_key(*key)).map(|key| (key.clone(), None));
    let back = whole.iter().map(|(key, value)| (key.clone(), Some(value.clone())));
    set(store, gone.chain(back).collect());
    assert!(dump(store) == *whole);
}

/// Repairs until there is nothing more to repair. Returns what is left.
fn repaired(store: &Store, mut found: Vec<Finding>) -> Vec<Finding> {
    for _ in 0..4 {
        let fixes: Vec<Fix> = found.iter().filter_map(|finding| finding.fix.clone()).collect();
        if fixes.is_empty() {
            break;
        }
        store.repair(fixes, LATER).unwrap();
        found = findings(store, LATER);
    }
    found
}

#[test]
fn a_sound_store_has_no_findings() {
    let (_folder, store, whole) = furnished();
    assert_eq!(findings(&store, LATER), []);
    let families: std::collections::BTreeSet<u8> = whole.keys().map(|key| key[0]).collect();
    assert_eq!(families.len(), 50, "one of everything: {families:02x?}");
}

/// Keys whose absence nobody can tell: an empty store has none of them either.
fn is_alone(key: &[u8], whole: &Dump) -> bool {
    match key[0] {
        key::PENDING | key::LOG | key::SWEEP_OPEN | key::SWEEP_HELD | key::WEBHOOK_DELIVERY | key::MAIL_DELIVERY => {
            true
        }
        key::META => key.starts_with(b"\x01created"),
        key::EVENT | key::AUDIT => {
            let events = whole.keys().filter(|other| matches!(other[0], key::EVENT | key::AUDIT));
            events.max_by_key(|other| key::last_id(other)).is_some_and(|last| last == key)
        }
        _ => false,
    }
}

#[test]
fn every_key_that_is_gone_is_missed_and_what_can_be_made_anew_is() {
    let (_folder, store, whole) = furnished();
    let mut mended = 0;
    for key in whole.keys() {
        set(&store, vec![(key.clone(), None)]);
        let found = findings(&store, LATER);
        assert_eq!(found.is_empty(), is_alone(key, &whole), "{key:02x?}: {found:?}");
        if !found.is_empty() && repaired(&store, found).is_empty() {
            mended += 1;
            assert!(dump(&store) == whole, "{key:02x?} was mended to something else");
        }
        reset(&store, &whole);
    }
    let indexes = whole.keys().filter(|key| {
        let index = [
            0x01, 0x11, 0x21, 0x22, 0x31, 0x33, 0x35, 0x36, 0x37, 0x38, 0x51, 0x52, 0x54, 0x57, 0x5a, 0x5b, 0x5c, 0x60,
            0x61, 0x62, 0x63, 0x81, 0x83, 0x84, 0x94, 0xa1,
        ];
        index.contains(&key[0]) && !is_alone(key, &whole)
    });
    assert!(mended >= indexes.count(), "all that follows from something else can be made anew, and not {mended}");
}

#[test]
fn every_value_that_changed_is_noticed() {
    let (_folder, store, whole) = furnished();
    for (key, value) in &whole {
        let mut other = value.clone();
        match other.last_mut() {
            Some(byte) => *byte ^= 1,
            None => other.push(1),
        }
        set(&store, vec![(key.clone(), Some(other))]);
        let found = findings(&store, LATER);
        assert!(!found.is_empty(), "{key:02x?}");
        let left = repaired(&store, found);
        // A value that is mended is the one that was there.
        let is_right = dump(&store) == whole || key[0] == key::PENDING;
        assert!(!left.is_empty() || is_right, "{key:02x?}");
        reset(&store, &whole);
    }
}

#[test]
fn every_key_that_does_not_belong_is_found() {
    let (_folder, store, whole) = furnished();
    for key in whole.keys().filter(|key| key[0] != key::META && key[0] != key::EVENT) {
        // The same for another id.
        let mut stray = key.clone();
        let at = stray.len() - 1;
        stray[at.min(8)] ^= 0x40;
        set(&store, vec![(stray.clone(), Some(whole[key].clone()))]);
        assert!(!findings(&store, LATER).is_empty(), "{stray:02x?}");
        reset(&store, &whole);
    }
    set(&store, vec![(vec![0xee, 1], Some(vec![]))]);
    assert!(findings(&store, LATER)[0].what.contains("family 0xee"));
}

#[test]
fn wrong_counters_are_counted_again() {
    let (_folder, store, whole) = furnished();
    let wrong = |tx: &mut Tx<'_>| {
        tx.set_counter("queued", 40)?;
        tx.set_counter("last_id", 1030)?;
        let mut blob = blobs::get(tx, ContentHash([2; 32]))?.unwrap();
        blob.references = 9;
        blobs::put(tx, &blob)?;
        let mut model = models::get(tx, ModelId(1024))?.unwrap();
        model.experiments = 1;
        models::put(tx, &model)?;
        let mut june = datasets::get(tx, DatasetId(1026))?.unwrap();
        (june.images, june.digest) = (0, Digest(1));
        datasets::put(tx, &june)
    };
    store.settle(wrong).wait().unwrap();
    let found = findings(&store, LATER);
    assert_eq!(found.len(), 5, "{found:?}");
    assert_eq!(repaired(&store, found), []);
    assert!(dump(&store) == whole);
}

#[test]
fn a_model_that_was_never_finished_is_a_leftover_and_goes_when_it_is_old() {
    let (_folder, store, whole) = furnished();
    store.settle(|tx| experiment(tx, 5000, 0).map(drop)).wait().unwrap();
    let mut left = dump(&store);
    left.retain(|key, _| whole.contains_key(key));
    for (now, fixes) in [(NOW, 0), (LATER, 1)] {
        let found = findings(&store, now);
        assert!(found.iter().all(|finding| finding.severity == Severity::Leftover), "{found:?}");
        assert_eq!(found.iter().filter(|finding| finding.fix.is_some()).count(), fixes);
    }
    let found = findings(&store, LATER);
    assert_eq!(repaired(&store, found), []);
    assert!(dump(&store) == left);
}
