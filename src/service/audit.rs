//! The audit log: who changed what, and when. It is only ever appended to, in the change's own transaction.

use super::Services;
use crate::domain::account::{LOCAL_ACCOUNT, Oversee, Permit};
use crate::domain::error::Result;
use crate::domain::event::Event;
use crate::domain::ids::{AccountId, ModelId};
use crate::store::{accounts, events, models};
use std::collections::HashMap;

/// A change with the names of those concerned.
#[derive(Debug)]
pub struct Audited {
    /// The change.
    pub event: Event,
    /// Who made it; nothing for the machine's owner.
    pub account: Option<String>,
    /// The model that it belongs to, where it belongs to one.
    pub model: Option<String>,
}

impl Services {
    /// Up to `limit` changes after the one numbered `after`, the oldest first.
    ///
    /// # Errors
    /// `internal` where the store cannot be read.
    pub fn audit(&self, _permit: Permit<Oversee>, after: u64, limit: usize) -> Result<Vec<Audited>> {
        self.with_names(events::audit(&self.parts.store, after, limit)?)
    }

    /// Up to `limit` changes before the one numbered `before`, the newest first.
    ///
    /// # Errors
    /// `internal` where the store cannot be read.
    pub fn newest_changes(&self, _permit: Permit<Oversee>, before: Option<u64>, limit: usize) -> Result<Vec<Audited>> {
        let store = &self.parts.store;
        let before = before.map_or_else(|| Ok(store.last_event()?.saturating_add(1)), Ok)?;
        self.with_names(events::newest_audit(store, before, limit)?)
    }

    fn with_names(&self, listed: Vec<Event>) -> Result<Vec<Audited>> {
        let store = &self.parts.store;
        let mut names: HashMap<AccountId, Option<String>> = HashMap::from([(LOCAL_ACCOUNT, None)]);
        let mut found = Vec::new();
        for event in listed {
            let account = match names.get(&event.account) {
                Some(known) => known.clone(),
                None => {
                    let name = accounts::get(store, event.account)?.map(|account| account.name.as_str().to_owned());
                    names.insert(event.account, name.clone());
                    name
                }
            };
            let model = models::get(store, ModelId(event.model))?.map(|model| model.name.as_str().to_owned());
            found.push(Audited { event, account, model });
        }
        Ok(found)
    }
}
