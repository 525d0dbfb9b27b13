//! The images that come with the program, taken in as anybody's would be: a first model without any work.

use super::Services;
use super::images::NewImage;
use crate::domain::account::{Change, Permit};
use crate::domain::error::{Error, Result};
use crate::domain::model::Description;
use crate::domain::name::{Label, Name};
use bytes::Bytes;
use futures::future::try_join_all;

/// Images that one transaction adds.
const CHUNK: usize = 64;

/// Transactions on their way at once.
const AT_ONCE: usize = 4;

impl Services {
    /// Makes a model of the images that come with the program. Returns its name and its dataset's.
    ///
    /// # Errors
    /// `already_exists` where there is a model of this name; `disk_full`.
    pub async fn add_samples(&self, permit: Permit<Change>) -> Result<(Name, Name)> {
        let samples = &self.parts.samples;
        let (model, dataset) = (Name::parse("model", samples.model())?, Name::parse("dataset", samples.dataset())?);
        self.create_model(permit, model.clone(), Description::default()).await?;
        self.create_dataset(permit, model.clone().into(), dataset.clone(), None).await?;
        let samples = std::sync::Arc::clone(samples);
        let images = tokio::task::spawn_blocking(move || samples.images()).await.map_err(Error::internal)??;
        let mut images = images.into_iter().peekable();
        while images.peek().is_some() {
            let mut adding = Vec::with_capacity(AT_ONCE);
            for _ in 0..AT_ONCE {
                let mut chunk = Vec::with_capacity(CHUNK);
                for sample in images.by_ref().take(CHUNK) {
                    let mut upload = self.begin_upload();
                    upload.write(Bytes::from(sample.bytes)).await?;
                    let (image, label) = (upload.finish().await?, Some(Label::parse(&sample.label)?));
                    chunk.push(NewImage::of_file(image, sample.file_name, label));
                }
                if !chunk.is_empty() {
                    adding.push(self.add_images(permit, model.clone().into(), Some(dataset.clone().into()), chunk));
                }
            }
            try_join_all(adding).await?;
        }
        Ok((model, dataset))
    }
}
