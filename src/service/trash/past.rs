//! Runs and sweeps that are over, removed at once: nobody would look for them in the trash. What a run brought goes with it, and
//! what the run before it brought counts again.

use super::purge::{PATIENCE, Purged, patiently};
use super::{CHUNK, Services, TrashItem, Trashed};
use crate::care;
use crate::domain::account::{Change, Permit};
use crate::domain::error::{Code, Error, Result};
use crate::domain::event::EventKind;
use crate::domain::ids::{ModelId, RunId, SweepId, TrashId};
use crate::domain::run::{Run, RunState};
use crate::domain::stamp::{Seen, Stamp};
use crate::domain::trash::Stage;
use crate::service::control;
use crate::store::{Tx, runs, trash};
use std::sync::Arc;

/// What went, or what would.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Gone {
    /// Runs.
    pub runs: u64,
    /// Bytes in their files.
    pub bytes: u64,
    /// True where it takes long and goes on by itself.
    pub is_underway: bool,
}

impl Services {
    /// Removes a run that is over, with its log, its files and what it brought. With `dry_run`, only says what that is. Has to be
    /// called on a runtime.
    ///
    /// # Errors
    /// `not_found`; `forbidden`; `stale` where it has changed since it was `seen`; `conflict` for a run that is not over, and while
    /// a backup is taken or something else is removed.
    pub async fn delete_run(
        self: Arc<Self>,
        permit: Permit<Change>,
        id: RunId,
        seen: Seen,
        dry_run: bool,
    ) -> Result<Gone> {
        let find = move |tx: &Tx<'_>| {
            let run = control::reached(tx, permit, id)?;
            run.stamp.check(&seen)?;
            check_is_over(&run)?;
            Ok((run.spec.model, id.to_string()))
        };
        self.delete_past(permit, Trashed::Run(id), dry_run, find).await
    }

    /// The same for a sweep and all of its runs.
    ///
    /// # Errors
    /// As for a run.
    pub async fn delete_sweep(self: Arc<Self>, permit: Permit<Change>, id: SweepId, dry_run: bool) -> Result<Gone> {
        let find = move |tx: &Tx<'_>| {
            let model = control::sweep(tx, permit, id)?.model;
            let mut after = None;
            loop {
                let page = runs::of_sweep(tx, id, after, CHUNK)?;
                let Some(last) = page.last() else { return Ok((model, id.to_string())) };
                after = Some(last.id);
                page.iter().try_for_each(check_is_over)?;
            }
        };
        self.delete_past(permit, Trashed::Sweep(id), dry_run, find).await
    }

    async fn delete_past(
        self: Arc<Self>,
        permit: Permit<Change>,
        what: Trashed,
        dry_run: bool,
        find: impl FnOnce(&Tx<'_>) -> Result<(ModelId, String)> + Send + 'static,
    ) -> Result<Gone> {
        // Several that are removed at once take turns.
        let turn = match dry_run {
            true => None,
            false => match tokio::time::timeout(PATIENCE, Arc::clone(&self.care).acquire_owned()).await {
                Ok(turn) => Some(turn.map_err(Error::internal)?),
                Err(_) => return Err(care::busy()),
            },
        };
        let (actor, now) = (permit.actor(), self.now());
        let write = self.parts.store.settle(move |tx| {
            let (model, name) = find(tx)?;
            let id = TrashId(tx.next_id()?);
            let (kind, subject) = match &what {
                Trashed::Sweep(id) => (EventKind::SweepDeleted, id.0),
                Trashed::Run(id) => (EventKind::RunDeleted, id.0),
                other => return Err(Error::internal(format!("a {} goes into the trash first", other.kind()))),
            };
            let item = TrashItem { id, stamp: Stamp::new(actor, now), model, name, what, stage: Stage::Purging };
            if !dry_run {
                trash::put(tx, &item)?;
                tx.event(actor, now, kind, subject, model.0)?;
            }
            Ok(item)
        });
        let item = write.await?;
        if dry_run {
            return self.size_of(&item).await;
        }
        let removal = async move {
            let _turn = turn;
            self.remove(actor, item).await
        };
        match patiently(PATIENCE, removal).await? {
            Purged::Done(freed) => Ok(Gone { runs: freed.runs, bytes: freed.bytes, is_underway: false }),
            Purged::Underway => Ok(Gone { is_underway: true, ..Gone::default() }),
        }
    }

    async fn size_of(&self, item: &TrashItem) -> Result<Gone> {
        let (store, files, what) = (self.parts.store.clone(), Arc::clone(&self.parts.files), item.what.clone());
        let count = move || {
            let mut gone = Gone::default();
            let mut after = None;
            loop {
                let page = match what {
                    Trashed::Sweep(id) => runs::of_sweep(&store, id, after, CHUNK)?,
                    Trashed::Run(id) if after.is_none() => runs::get(&store, id)?.into_iter().collect(),
                    _ => Vec::new(),
                };
                let Some(last) = page.last() else { return Ok(gone) };
                after = Some(last.id);
                for run in &page {
                    gone.runs += 1;
                    gone.bytes += files.size(run.id).map_err(Error::internal)?;
                }
            }
        };
        tokio::task::spawn_blocking(count).await.map_err(Error::internal)?
    }
}

fn check_is_over(run: &Run) -> Result<()> {
    match run.state {
        RunState::Done { .. } => Ok(()),
        _ => Err(Error::new(Code::Conflict, format!("{} is {}; cancel it first", run.id, run.state.name()))),
    }
}
