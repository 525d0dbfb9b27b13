//! Predictions: one image, asked of the best model. The image is not kept.

use super::images::{CheckedImage, write_error};
use super::{Services, access};
use crate::blob::StagedBlob;
use crate::domain::account::{Permit, View};
use crate::domain::error::{Error, Result};
use crate::domain::ids::ModelId;
use crate::domain::job::RunNames;
use crate::domain::prediction::{Image, Prediction, PredictionRequest};
use crate::domain::reference::Reference;
use crate::domain::result::Best;
use crate::store::runs;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// An answer, and whose it is.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The best result, whose model was asked.
    pub best: Best,
    /// What its test command printed.
    pub prediction: Prediction,
}

/// A second name for a staged file, with the ending that its content has; gone when dropped.
struct Named(PathBuf);

impl Named {
    fn new(staged: &Path, ending: &str) -> io::Result<Self> {
        let mut name = staged.as_os_str().to_owned();
        name.push(".");
        name.push(ending);
        let name = Self(PathBuf::from(name));
        fs::hard_link(staged, &name.0)?;
        Ok(name)
    }
}

impl Drop for Named {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_file(&self.0) {
            tracing::warn!(%error, path = %self.0.display(), "a temporary file is left behind");
        }
    }
}

impl Services {
    /// Asks the best model about an image.
    ///
    /// # Errors
    /// `not_found` for the model, `no_results` where nothing has been trained, `prediction_failed` with what the test
    /// command printed.
    pub async fn predict(
        &self,
        permit: Permit<View>,
        model: impl Into<Reference<ModelId>>,
        image: CheckedImage,
    ) -> Result<Answer> {
        let model = access::called(&self.parts.store, permit, &model.into())?;
        let best = self.best(permit, model.id, None)?;
        let run = runs::get(&self.parts.store, best.run)?
            .ok_or_else(|| Error::internal(format!("{} is the best but not stored", best.run)))?;
        let info = image.info();
        // A file is gone with what holds it.
        let (image, _kept) = self.asked(image).await?;
        let request = PredictionRequest {
            run: best.run,
            spec: run.spec,
            names: RunNames {
                model: model.name.as_str().to_owned(),
                experiment: best.experiment_name.clone(),
                dataset: best.dataset_name.clone(),
            },
            image,
            pixels: u64::from(info.width) * u64::from(info.height),
        };
        let prediction = self.parts.predictor.predict(request).await?;
        Ok(Answer { best, prediction })
    }

    /// The image in a form that the predictor takes, with what keeps it until the answer is there.
    async fn asked(&self, image: CheckedImage) -> Result<(Image, Option<(Named, Box<dyn StagedBlob>)>)> {
        let ending = image.info().format.extension();
        let image = match self.parts.predictor.takes_bytes() {
            false => image,
            true => match image.into_bytes() {
                Ok(bytes) => return Ok((Image::Bytes(bytes), None)),
                Err(large) => large,
            },
        };
        let staged = self.stage(image).await?;
        let path = staged.path();
        let named = tokio::task::spawn_blocking(move || Named::new(&path, ending));
        let named = named.await.map_err(Error::internal)?.map_err(write_error)?;
        Ok((Image::File(named.0.clone()), Some((named, staged))))
    }
}
