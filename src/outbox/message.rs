//! One message to a webhook: what it says, how it is signed, whether it was taken.

use crate::domain::error::Result;
use crate::domain::event::Event;
use crate::domain::ids::{ModelId, RunId, SweepId};
use crate::domain::run::{Outcome, RunState};
use crate::domain::webhook::{Topic, Webhook};
use crate::ingest::fetch::Fetcher;
use crate::store::results::{self, Scope};
use crate::store::{Store, datasets, experiments, models, runs};
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha2::Sha256;
use std::time::{Duration, SystemTime};

/// The JSON body that tells of an event.
///
/// # Errors
/// `internal` where the store cannot be read.
pub(super) fn body(store: &Store, event: &Event) -> Result<String> {
    let at = SystemTime::UNIX_EPOCH + Duration::from_millis(event.at.0);
    let model = models::get(store, ModelId(event.model))?;
    let mut body = json!({
        "event": Topic::of(event.kind).map(Topic::as_str),
        "sequence": event.sequence,
        "at": humantime::format_rfc3339_millis(at).to_string(),
        "model": model.map(|model| model.name.as_str().to_owned()),
    });
    match Topic::of(event.kind) {
        Some(Topic::RunFinished) => body["run"] = run(store, RunId(event.subject))?,
        Some(Topic::SweepFinished) => {
            let best = results::best(store, Scope::Model(ModelId(event.model)))?;
            body["sweep_id"] = json!(SweepId(event.subject).to_string());
            body["best"] = json!(best.map(|best| json!({
                "experiment": best.experiment_name,
                "dataset": best.dataset_name,
                "accuracy": best.accuracy.text(),
                "run_id": best.run.to_string(),
            })));
        }
        None => {}
    }
    Ok(body.to_string())
}

fn run(store: &Store, id: RunId) -> Result<Value> {
    let Some(run) = runs::get(store, id)? else { return Ok(Value::Null) };
    let experiment = experiments::get(store, run.spec.experiment)?;
    let dataset = datasets::get(store, run.spec.version.dataset)?;
    let (accuracy, reason) = match &run.state {
        RunState::Done { outcome: Outcome::Succeeded { accuracy, .. }, .. } => (Some(accuracy.text().to_owned()), None),
        RunState::Done { outcome: Outcome::Failed { reason }, .. } => (None, Some(reason.clone())),
        _ => (None, None),
    };
    Ok(json!({
        "id": id.to_string(),
        "state": run.state.name(),
        "experiment": experiment.map(|experiment| experiment.name.as_str().to_owned()),
        "dataset": dataset.map(|dataset| dataset.name_text().to_owned()),
        "sweep_id": run.sweep.map(|sweep| sweep.to_string()),
        "accuracy": accuracy,
        "reason": reason,
    }))
}

/// Sends a signed message: `X-Trainyard-Signature` is `sha256=` and the HMAC-SHA256 (RFC 2104) of the body under the
/// webhook's secret; `X-Trainyard-Delivery` is equal for repetitions of one message.
///
/// # Errors
/// What went wrong, in words.
pub(super) async fn send(
    fetcher: &Fetcher,
    webhook: &Webhook,
    delivery: &str,
    body: String,
) -> std::result::Result<(), String> {
    let signature = signature(&webhook.secret, &body)?;
    let headers = [("x-trainyard-delivery", delivery.to_owned()), ("x-trainyard-signature", signature)];
    fetcher.post(&webhook.url, &headers, body).await.map_err(|error| error.to_string())
}

fn signature(secret: &str, body: &str) -> std::result::Result<String, String> {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).map_err(|error| error.to_string())?;
    mac.update(body.as_bytes());
    let hex: String = mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(format!("sha256={hex}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_the_one_of_rfc_4231() {
        // Test case 2 of RFC 4231.
        let signed = signature("Jefe", "what do ya want for nothing?").unwrap();
        assert_eq!(signed, "sha256=5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
    }
}
