//! Datasets.

use super::models::empty_dataset;
use super::{Services, access};
use crate::domain::account::{Change, Permit};
use crate::domain::dataset::{Dataset, DatasetVersion};
use crate::domain::error::{Code, Error, Result};
use crate::domain::event::EventKind;
use crate::domain::ids::{DatasetId, ModelId};
use crate::domain::name::Name;
use crate::domain::reference::Reference;
use crate::domain::stamp::Stamp;
use crate::store::datasets;

impl Services {
    /// Makes a dataset of a model, empty or as a copy of another one's newest version. A copy costs nothing: it
    /// refers to that version.
    ///
    /// # Errors
    /// `not_found` for the model or the other dataset, `already_exists` where the name is taken.
    pub async fn create_dataset(
        &self,
        permit: Permit<Change>,
        model: Reference<ModelId>,
        name: Name,
        from: Option<Reference<DatasetId>>,
    ) -> Result<DatasetId> {
        let (actor, now) = (permit.actor(), self.now());
        let write = self.parts.store.write(move |tx| {
            let model = access::called(tx, permit, &model)?;
            if datasets::id_of(tx, model.id, &name)?.is_some() {
                let message = format!("a dataset named `{name}` exists already in this model; choose another name");
                return Err(Error::new(Code::AlreadyExists, message));
            }
            let source = from.map(|from| access::dataset(tx, model.id, &from)).transpose()?;
            let id = DatasetId(tx.next_id()?);
            let mut dataset = empty_dataset(id, model.id, Some(name), Stamp::new(actor, now));
            if let Some(source) = source {
                begin_as(&mut dataset, &source);
                datasets::freeze(tx, &source, now)?;
            }
            datasets::put(tx, &dataset)?;
            tx.event(actor, now, EventKind::DatasetCreated, id.0, model.id.0)?;
            Ok(id)
        });
        write.await
    }
}

/// Makes `dataset` begin as the newest version of `source`.
fn begin_as(dataset: &mut Dataset, source: &Dataset) {
    // A copy of an unchanged copy refers to the original, so that chains stay short.
    let unchanged: Option<DatasetVersion> = source.base.filter(|_| source.head.0 == 0);
    dataset.base = Some(unchanged.unwrap_or_else(|| source.head_version()));
    dataset.images = source.images;
    dataset.labelled = source.labelled;
    dataset.digest = source.digest;
}
