//! The images of a version, listed: all of them as they came, or those of one label by their names.
//!
//! A page looks at no more than so many places, so that one over a dataset of which most was taken out again ends too;
//! it may then hold fewer images than were asked for, and says where to go on. Knows keys; not who asks.

use super::key::{self, Key};
use super::manifests::{self, Slot};
use super::tx::{Read, damaged};
use crate::domain::dataset::{DatasetVersion, Entry, ManifestCursor};
use crate::domain::error::{Error, Result};
use crate::domain::name::Label;

/// How many places one page looks at.
const LOOKED_AT: usize = 5000;

/// An image with where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placed {
    /// Where.
    pub at: ManifestCursor,
    /// The image.
    pub entry: Entry,
}

/// Some images, and after which place to go on.
pub type Page = (Vec<Placed>, Option<ManifestCursor>);

/// Which images are wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// All.
    All,
    /// Those with this label.
    Of(Label),
    /// Those without a label.
    Unlabelled,
}

/// Up to `limit` images of `version` after `after`.
///
/// # Errors
/// `invalid_parameter` for a cursor of another list; `internal` where the store cannot be read.
pub fn page(
    reader: &impl Read,
    version: DatasetVersion,
    wanted: &Wanted,
    after: Option<ManifestCursor>,
    limit: usize,
) -> Result<Page> {
    let parts = manifests::chain(reader, version)?;
    let mut at = after.unwrap_or(ManifestCursor { part: 0, sequence: 0 });
    let (mut found, mut looked_at) = (Vec::new(), 0);
    while let Some(part) = parts.get(at.part) {
        let later = manifests::removers(reader, parts.get(at.part + 1..).unwrap_or_default(), part.dataset)?;
        let (from, to) = bounds(reader, *part, wanted, at.sequence)?;
        for pair in reader.range(from, to) {
            // The page is full only once there is something after it, or so much was looked at.
            if found.len() == limit || looked_at == LOOKED_AT {
                return Ok((found, Some(at)));
            }
            looked_at += 1;
            let (key, bytes) = pair?;
            let sequence = key::last_id(&key);
            let entry = match wanted {
                Wanted::All => {
                    let slot = manifests::decode(&bytes).map_err(damaged("entry"))?;
                    manifests::present(slot, *part)
                }
                _ if sequence > part.number.0 => None,
                _ => manifests::get(reader, *part, sequence)?,
            };
            at.sequence = sequence;
            if let Some(entry) = entry
                && !manifests::is_removed(reader, &later, part.dataset, sequence)?
            {
                found.push(Placed { at, entry });
            }
        }
        at = ManifestCursor { part: at.part + 1, sequence: 0 };
    }
    Ok((found, None))
}

/// The keys of a part that come after the entry with this number.
fn bounds(reader: &impl Read, part: DatasetVersion, wanted: &Wanted, after: u64) -> Result<(Vec<u8>, Vec<u8>)> {
    let label = match wanted {
        Wanted::All => {
            let to = manifests::entry_key(part.dataset, part.number.0.saturating_add(1));
            return Ok((manifests::entry_key(part.dataset, after.saturating_add(1)).min(to.clone()), to));
        }
        Wanted::Of(label) => label.as_str(),
        Wanted::Unlabelled => "",
    };
    let all = Key::new(key::ENTRY_NAME).id(part.dataset.0).text(label).done();
    let to = key::after_prefix(&all);
    if after == 0 {
        return Ok((all, to));
    }
    let bytes = reader.get(&manifests::entry_key(part.dataset, after))?;
    match bytes.map(|bytes| manifests::decode(&bytes).map_err(damaged("entry"))).transpose()? {
        Some(Slot::Added(entry, _)) if entry.label.as_ref().map_or("", Label::as_str) == label => {
            Ok((key::after_prefix(&manifests::name_key(part.dataset, &entry, after)), to))
        }
        _ => Err(Error::parameter("cursor must be the next_cursor of an earlier page of this list; start anew")),
    }
}
