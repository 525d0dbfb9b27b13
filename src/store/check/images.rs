//! Datasets, their entries and versions, the records of images, and the trash.

use super::super::key::{self, Key};
use super::super::manifests::{self, Slot};
use super::super::tx::Read;
use super::super::{balance, blobs, datasets, duplicates, experiments, models, trash};
use super::look::Look;
use crate::domain::dataset::{Dataset, DatasetVersion, Digest, Entry, FrozenVersion, VersionNumber};
use crate::domain::error::Result;
use crate::domain::ids::{DatasetId, ModelId, TrashId};
use crate::domain::name::Label;
use crate::domain::trash::{TrashItem, Trashed};

pub(super) fn dataset<R: Read>(look: &mut Look<'_, R>) {
    let Some(dataset) = look.decoded("dataset", datasets::decode(look.value())) else { return };
    let who = match &dataset.name {
        Some(name) => format!("the dataset `{name}` ({})", dataset.id),
        None => format!("the dataset of all images ({})", dataset.id),
    };
    if !look.is_at(&who, &datasets::record_key(dataset.id)) {
        return;
    }
    if let Some(name) = dataset.name.as_ref().filter(|_| dataset.stamp.trashed_at.is_none()) {
        look.index(&who, "name", datasets::name_key(dataset.model, name), &dataset.id.0.to_be_bytes());
    }
    look.expect(&who, format_args!("its model {}", dataset.model), models::get(look.reader, dataset.model));
    let start = match dataset.base {
        None => Sum::default(),
        Some(base) => {
            if base.dataset >= dataset.id {
                return look.problem(format!("{who} begins as {}, which is no earlier dataset", base.dataset));
            }
            let found = datasets::frozen(look.reader, base);
            let what = format!("version {} of {}, as which it begins", base.number.0, base.dataset);
            let Some(base) = look.expect(&who, what, found) else { return };
            Sum { images: base.images, labelled: base.labelled, digest: base.digest }
        }
    };
    match fold(look.reader, &dataset, start) {
        Ok(folded) => compare(look, &who, &dataset, folded),
        Err(error) => look.problem(format!("the entries of {who} cannot be read: {error}")),
    }
}

/// What a change of a dataset that is counted has written down: how many images have its label since.
fn counted<R: Read>(look: &mut Look<'_, R>, who: &str, version: DatasetVersion, label: Option<&Label>, comes: bool) {
    let is_counted = look.reader.get(&balance::marker(version.dataset));
    let Ok((Some(_), Some(dataset))) = is_counted.and_then(|is| Ok((is, datasets::get(look.reader, version.dataset)?)))
    else {
        return;
    };
    let before = DatasetVersion { number: VersionNumber(version.number.0.saturating_sub(1)), ..version };
    match balance::after(look.reader, before, dataset.base, label, comes) {
        Ok((key, count)) => look.index(who, "label's count", key, &count.to_be_bytes()),
        Err(error) => look.problem(format!("the images with the label of {who} cannot be counted: {error}")),
    }
}

pub(super) fn label_count<R: Read>(look: &mut Look<'_, R>) {
    let key = look.whole_key();
    let id = DatasetId(key::id_at(key, 1));
    let Some(dataset) =
        look.expect("a count of labels", format_args!("the dataset {id}"), datasets::get(look.reader, id))
    else {
        return;
    };
    if key == balance::marker(id) {
        if !look.value().is_empty() || dataset.head.0 == 0 {
            look.malformed();
        }
        return;
    }
    let Some((label, number)) = balance::label_of(key).zip(balance::number_of(key)) else { return look.malformed() };
    look.index(format_args!("{id}"), "mark of being counted", balance::marker(id), &[]);
    let found = look.reader.get(&manifests::entry_key(id, number.0)).map(|found| {
        match found.map(|bytes| manifests::decode(&bytes)) {
            Some(Ok(Slot::Added(entry, _))) => Some(entry),
            Some(Ok(Slot::Removed { part, sequence, .. })) => {
                removed_entry(look.reader, part, sequence).ok().flatten().map(|(entry, _)| entry)
            }
            _ => None,
        }
    });
    let fits = |entry: &Entry| entry.label.as_ref().map_or("", Label::as_str) == label;
    match found {
        Ok(Some(entry)) if !fits(&entry) => look.stale(format_args!("the label of version {} of {id}", number.0)),
        // What was forgotten was counted while it was there.
        Ok(None) if number > dataset.head => look.stale(format_args!("version {} of {id}", number.0)),
        _ => {}
    }
}

/// What a version holds, in numbers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Sum {
    images: u64,
    labelled: u64,
    digest: Digest,
}

impl Sum {
    fn of(frozen: &FrozenVersion) -> Self {
        Self { images: frozen.images, labelled: frozen.labelled, digest: frozen.digest }
    }

    fn with(self, entry: &Entry) -> Self {
        Self {
            images: self.images + 1,
            labelled: self.labelled + u64::from(entry.label.is_some()),
            digest: self.digest.with(manifests::entry_hash(entry)),
        }
    }

    fn without(self, entry: &Entry) -> Self {
        Self {
            images: self.images.saturating_sub(1),
            labelled: self.labelled.saturating_sub(u64::from(entry.label.is_some())),
            digest: self.digest.without(manifests::entry_hash(entry)),
        }
    }
}

/// What the entries of a dataset make.
#[derive(Default)]
struct Folded {
    head: u64,
    sum: Sum,
    /// Numbers without an entry, or with one that cannot be read.
    missing: u64,
    /// Removals of entries that are not stored any more: each of them explains a missing number.
    forgotten: u64,
    /// Frozen versions that say something else than the entries do, as they should be.
    wrong: Vec<FrozenVersion>,
}

fn fold(reader: &impl Read, dataset: &Dataset, start: Sum) -> Result<Folded> {
    let of = |family| Key::new(family).id(dataset.id.0).done();
    let mut versions = reader.prefix(of(key::VERSION)).peekable();
    let mut folded = Folded { sum: start, ..Folded::default() };
    let mut judge = |number: u64, folded: &mut Folded| -> Result<()> {
        let is_due = |pair: &Result<super::super::tx::Pair>| match pair {
            Ok((key, _)) => key::last_id(key) <= number,
            Err(_) => true,
        };
        while let Some(pair) = versions.next_if(is_due) {
            // One that does not decode is found at its own key.
            let Ok(frozen) = datasets::decode_frozen(&pair?.1) else { continue };
            if frozen.version.number.0 == number && Sum::of(&frozen) != folded.sum {
                let Sum { images, labelled, digest } = folded.sum;
                folded.wrong.push(FrozenVersion { images, labelled, digest, ..frozen });
            }
        }
        Ok(())
    };
    judge(0, &mut folded)?;
    for pair in reader.prefix(of(key::ENTRY)) {
        let (key, value) = pair?;
        let number = key::last_id(&key);
        folded.missing += number.saturating_sub(folded.head + 1);
        folded.head = number;
        match manifests::decode(&value) {
            Ok(Slot::Added(entry, _)) => folded.sum = folded.sum.with(&entry),
            Ok(Slot::Removed { part, sequence, .. }) => match removed_entry(reader, part, sequence)? {
                Some((entry, _)) => folded.sum = folded.sum.without(&entry),
                // An entry that was forgotten was not counted either.
                None if part == dataset.id => folded.forgotten += 1,
                None => folded.missing += 1,
            },
            // What cannot be read cannot be counted; it is found at its own key.
            Err(_) => folded.missing += 1,
        }
        judge(number, &mut folded)?;
    }
    Ok(folded)
}

/// The entry that a removal names, and since when it says itself that it is gone.
fn removed_entry(reader: &impl Read, part: DatasetId, sequence: u64) -> Result<Option<(Entry, Option<VersionNumber>)>> {
    let found = reader.get(&manifests::entry_key(part, sequence))?;
    Ok(found.and_then(|bytes| match manifests::decode(&bytes) {
        Ok(Slot::Added(entry, removed_in)) => Some((entry, removed_in)),
        _ => None,
    }))
}

fn compare<R: Read>(look: &mut Look<'_, R>, who: &str, dataset: &Dataset, folded: Folded) {
    let Folded { head, sum, missing, forgotten, wrong } = folded;
    if missing != forgotten {
        let missing = missing.abs_diff(forgotten);
        return look.problem(format!("{missing} entries of {who} are missing or cannot be read"));
    }
    if head < dataset.head.0 {
        return look.problem(format!("{who} has {} entries, and {head} are stored", dataset.head.0));
    }
    let own = Sum { images: dataset.images, labelled: dataset.labelled, digest: dataset.digest };
    if head > dataset.head.0 || own != sum {
        let what =
            format!("{who} holds {} images, and its record counts {}, or another digest", sum.images, own.images);
        let Sum { images, labelled, digest } = sum;
        let head = VersionNumber(head.max(dataset.head.0));
        match datasets::encode(&Dataset { head, images, labelled, digest, ..dataset.clone() }) {
            Ok(bytes) => look.fixable(what, vec![(datasets::record_key(dataset.id), Some(bytes))]),
            Err(_) => look.problem(what),
        }
    }
    for frozen in wrong {
        let what = format!("version {} of {who} says something else than its entries", frozen.version.number.0);
        match datasets::encode_frozen(&frozen) {
            Ok(bytes) => look.fixable(what, vec![(datasets::version_key(frozen.version), Some(bytes))]),
            Err(_) => look.problem(what),
        }
    }
}

pub(super) fn dataset_name<R: Read>(look: &mut Look<'_, R>) {
    let Some((model, name)) = look.id_and_text() else { return };
    let id = DatasetId(key::last_id(look.value()));
    let found = datasets::get(look.reader, id);
    let fits = |dataset: &Dataset| {
        let is_own = dataset.name.as_ref().is_some_and(|own| own.as_str() == name);
        dataset.stamp.trashed_at.is_none() && dataset.model.0 == model && is_own
    };
    look.leads(format_args!("the dataset `{name}`, {id},"), found, fits);
}

pub(super) fn entry<R: Read>(look: &mut Look<'_, R>) {
    let Some([dataset, number]) = look.ids() else { return };
    let Some(slot) = look.decoded("entry", manifests::decode(look.value())) else { return };
    let dataset = DatasetId(dataset);
    let (entry, removed_in) = match slot {
        Slot::Added(entry, removed_in) => (entry, removed_in),
        Slot::Removed { part, sequence, entry_hash } => {
            let who = format!("removal {number} of {dataset}");
            look.expect(&who, "its dataset", datasets::get(look.reader, dataset));
            if let Ok(Some((entry, removed_in))) = removed_entry(look.reader, part, sequence) {
                let is_so = part != dataset || removed_in == Some(VersionNumber(number));
                if !is_so || manifests::entry_hash(&entry) != entry_hash {
                    look.problem(format!("{who} names entry {sequence} of {part}, which is another one"));
                }
                let version = DatasetVersion { dataset, number: VersionNumber(number) };
                counted(look, &who, version, entry.label.as_ref(), false);
            }
            if part != dataset {
                let index = manifests::removed_key(dataset, part, sequence);
                look.index(&who, "entry", index, &number.to_be_bytes());
            }
            return;
        }
    };
    let who = format!("entry {number} of {dataset}, `{}`", entry.name.as_str());
    look.expect(&who, "its dataset", datasets::get(look.reader, dataset));
    look.expect(&who, format_args!("the image {}", entry.hash), blobs::get(look.reader, entry.hash));
    if let Some(version) = removed_in {
        let found = look.reader.get(&manifests::entry_key(dataset, version.0));
        look.expect(&who, format_args!("its removal in version {}", version.0), found);
    }
    let version = DatasetVersion { dataset, number: VersionNumber(number) };
    counted(look, &who, version, entry.label.as_ref(), true);
    look.index(&who, "hash", duplicates::entry_key(dataset, entry.hash, number), &[]);
    if came_again(look.reader, version, &entry).unwrap_or(false) {
        look.index(&who, "mark of coming again", duplicates::noted_key(dataset, entry.hash), &[]);
    }
    let mut index = manifests::name_prefix(dataset, entry.label.as_ref(), &entry.name);
    index.extend_from_slice(&number.to_be_bytes());
    look.index(&who, "name", index, &[]);
}

/// Whether an entry's bytes were in its dataset when it came.
fn came_again(reader: &impl Read, version: DatasetVersion, entry: &Entry) -> Result<bool> {
    let Some(dataset) = datasets::get(reader, version.dataset)? else { return Ok(false) };
    let before = DatasetVersion { number: VersionNumber(version.number.0.saturating_sub(1)), ..version };
    duplicates::has(reader, before, dataset.base, entry.hash)
}

pub(super) fn entry_hash<R: Read>(look: &mut Look<'_, R>) {
    let key = look.whole_key();
    let (dataset, number) = (DatasetId(key::id_at(key, 1)), key::last_id(key));
    let Some(hash) = duplicates::hash_of(key).filter(|_| key.len() == 49) else { return look.malformed() };
    let found = look.reader.get(&manifests::entry_key(dataset, number));
    let fits = |found: &sled::IVec| match manifests::decode(found) {
        Ok(Slot::Removed { .. }) => false,
        Ok(Slot::Added(entry, _)) => entry.hash == hash,
        // That is found at the entry's own key.
        Err(_) => true,
    };
    look.leads(format_args!("entry {number} of {dataset} with the bytes {hash}"), found, fits);
}

pub(super) fn duplicate<R: Read>(look: &mut Look<'_, R>) {
    let key = look.whole_key();
    let dataset = DatasetId(key::id_at(key, 1));
    let Some(hash) = duplicates::hash_of(key).filter(|_| key.len() == 41) else { return look.malformed() };
    let found = duplicates::is_listed(look.reader, dataset, hash).map(|is_listed| is_listed.then_some(()));
    match found {
        Ok(Some(())) | Err(_) => {}
        Ok(None) => look.stale(format_args!("{hash}, as having come more than once to {dataset},")),
    }
}

pub(super) fn removed<R: Read>(look: &mut Look<'_, R>) {
    let Some([dataset, part, sequence]) = look.ids() else { return };
    let number = key::last_id(look.value());
    let found = look.reader.get(&manifests::entry_key(DatasetId(dataset), number));
    let fits = |found: &sled::IVec| match manifests::decode(found) {
        Ok(Slot::Removed { part: own, sequence: at, .. }) => (own.0, at) == (part, sequence),
        Ok(Slot::Added(..)) => false,
        // That is found at its own key.
        Err(_) => true,
    };
    look.leads(format_args!("removal {number} of {}", DatasetId(dataset)), found, fits);
}

pub(super) fn trash<R: Read>(look: &mut Look<'_, R>) {
    let Some(item) = look.decoded("trash item", trash::decode(look.value())) else { return };
    let who = format!("{}, the {} `{}` in the trash,", item.id, item.what.kind(), item.name);
    if !look.is_at(&who, &trash::record_key(item.id)) {
        return;
    }
    look.index(&who, "model's list", trash::listed_key(item.model, item.id), &[]);
    look.expect(&who, format_args!("its model {}", item.model), models::get(look.reader, item.model));
    match item.what {
        // A run or a sweep may be gone already.
        Trashed::Model | Trashed::Run(_) | Trashed::Sweep(_) => {}
        Trashed::Experiment(id) => {
            look.expect(&who, format_args!("its experiment {id}"), experiments::get(look.reader, id));
        }
        Trashed::Dataset(id) => {
            look.expect(&who, format_args!("its dataset {id}"), datasets::get(look.reader, id));
        }
        Trashed::Image(removal) => {
            let id = removal.version.dataset;
            look.expect(&who, format_args!("its dataset {id}"), datasets::get(look.reader, id));
        }
    }
}

pub(super) fn trash_of_model<R: Read>(look: &mut Look<'_, R>) {
    let Some([model, item]) = look.ids() else { return };
    let id = TrashId(item);
    let found = trash::get(look.reader, id);
    look.leads(format_args!("{id} of {}", ModelId(model)), found, |item: &TrashItem| item.model.0 == model);
}

pub(super) fn entry_name<R: Read>(look: &mut Look<'_, R>) {
    let key = look.key();
    let (dataset, number) = (DatasetId(key::id_at(key, 0)), key::last_id(key));
    let texts = key.len().checked_sub(8).and_then(|end| key.get(8..end)?.strip_suffix(&[0]));
    let mut texts = texts.map(|texts| texts.splitn(2, |byte| *byte == 0));
    let (Some(label), Some(name)) = (texts.as_mut().and_then(Iterator::next), texts.as_mut().and_then(Iterator::next))
    else {
        return look.malformed();
    };
    let found = look.reader.get(&manifests::entry_key(dataset, number));
    let fits = |found: &sled::IVec| match manifests::decode(found) {
        Ok(Slot::Removed { .. }) => false,
        Ok(Slot::Added(entry, _)) => {
            entry.label.as_ref().map_or("", Label::as_str).as_bytes() == label && entry.name.as_str().as_bytes() == name
        }
        // That is found at the entry's own key.
        Err(_) => true,
    };
    look.leads(format_args!("entry {number} of {dataset}, `{}`,", String::from_utf8_lossy(name)), found, fits);
}

pub(super) fn version<R: Read>(look: &mut Look<'_, R>) {
    let Some(frozen) = look.decoded("dataset version", datasets::decode_frozen(look.value())) else { return };
    let DatasetVersion { dataset, number } = frozen.version;
    let who = format!("version {} of {dataset}", number.0);
    if !look.is_at(&who, &datasets::version_key(frozen.version)) {
        return;
    }
    let found = look.expect(&who, "its dataset", datasets::get(look.reader, dataset));
    if found.is_some_and(|dataset| dataset.head < number) {
        look.problem(format!("{who} is later than the dataset's newest"));
    }
}

pub(super) fn blob<R: Read>(look: &mut Look<'_, R>) {
    let Some(blob) = look.decoded("image", blobs::decode(look.value())) else { return };
    look.is_at(format_args!("the image {}", blob.hash), &blobs::record_key(blob.hash));
}
