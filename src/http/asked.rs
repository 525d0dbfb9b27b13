//! Images of a form that a model is asked about, one after the other as they come. Knows nothing of how answers are shown.

use super::form;
use crate::domain::account::{Permit, View};
use crate::domain::error::{Code, Error, Result};
use crate::domain::ids::ModelId;
use crate::domain::reference::Reference;
use crate::service::Services;
use crate::service::images::{CheckedImage, too_large};
use crate::service::predictions::Answer;
use actix_multipart::{Field, Multipart};

/// The most images in one call.
const MOST: usize = 100;

/// How much may come of images that are refused, as a multiple of what one may hold: it has to be read to get at the next.
const REFUSED: u64 = 2;

/// What clients called their images, and what the best model says of each or why it says nothing, in their order.
///
/// # Errors
/// `not_found` for the model; `no_results`, `internal` and `unavailable`, since what is wrong with the model or the server is so for
/// all of them; `invalid_body`, `too_large`, `request_timeout` for the form.
pub async fn all(
    services: &Services,
    permit: Permit<View>,
    model: &Reference<ModelId>,
    mut body: Multipart,
) -> Result<Vec<(String, Result<Answer>)>> {
    let (mut answers, mut refused) = (Vec::new(), 0);
    while let Some(mut field) = form::next(&mut body).await? {
        if answers.len() >= MOST {
            return Err(Error::new(Code::InvalidBody, format!("send at most {MOST} images a call")));
        }
        if field.name() != Some("file") {
            return Err(Error::new(Code::InvalidBody, "each part of the form is an image and named `file`"));
        }
        let disposition = field.content_disposition().and_then(|header| header.get_filename());
        let file = disposition.unwrap_or_default().chars().take(255).collect();
        let asked = match image(services, &mut field, &mut refused).await? {
            Ok(image) => services.predict(permit, model, image).await,
            Err(error) => Err(error),
        };
        match asked {
            Err(error) if matches!(error.code, Code::Internal | Code::Unavailable | Code::NoResults) => {
                return Err(error);
            }
            asked => answers.push((file, asked)),
        }
    }
    if answers.is_empty() {
        return Err(Error::new(Code::InvalidBody, "send at least one image, as in curl -F file=@cat.jpg"));
    }
    Ok(answers)
}

/// An image, or what is wrong with it; its part has come to its end then. A form that is broken is an error of all of it.
async fn image(services: &Services, field: &mut Field, refused: &mut u64) -> Result<Result<CheckedImage>> {
    let mut upload = Some(services.begin_upload());
    let mut wrong = None;
    let most = services.limits().max_upload_bytes;
    while let Some(piece) = form::next(field).await? {
        match &mut upload {
            Some(taking) => {
                if let Err(error) = taking.write(piece).await {
                    if error.code != Code::TooLarge {
                        return Err(error);
                    }
                    (upload, wrong) = (None, Some(error));
                }
            }
            None => {
                *refused += piece.len() as u64;
                if *refused > REFUSED * most {
                    return Err(too_large(most));
                }
            }
        }
    }
    match (upload, wrong) {
        (Some(upload), _) => Ok(upload.finish().await),
        (None, wrong) => Ok(Err(wrong.unwrap_or_else(|| too_large(most)))),
    }
}
