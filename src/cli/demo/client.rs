//! The demo's side of the experiments API: it uses the server as any client does.

use super::DemoError;
use crate::ingest::fetch;
use reqwest::multipart::{Form, Part};
use reqwest::{Client, RequestBuilder};
use serde::Deserialize;
use serde_json::Value;
use std::time::Duration;

/// Calls a server.
#[derive(Debug, Clone)]
pub struct Api {
    base: String,
    client: Client,
}

/// A run as `/api/v1/runs` lists it; what the demo does not show is left out.
#[derive(Debug, Clone, Deserialize)]
pub struct Run {
    /// `queued`, `running`, `succeeded`, `failed` or `cancelled`
    pub state: String,
    /// Of which experiment.
    pub experiment: String,
    /// `--i`
    pub learning_rate: f64,
    /// `--j`
    pub layers: u32,
    /// `--k`
    pub steps: u64,
    /// As printed.
    pub accuracy: Option<String>,
    /// Why it failed.
    pub reason: Option<String>,
    /// How long it took.
    pub duration_seconds: Option<f64>,
}

#[derive(Deserialize)]
struct Runs {
    data: Vec<Run>,
    next_cursor: Option<String>,
}

impl Api {
    /// Calls the server at `base`.
    ///
    /// # Errors
    /// Where no HTTP client can be made.
    pub fn new(base: String) -> Result<Self, DemoError> {
        // The demo talks to this machine alone; without this, the client would look for the system's certificates.
        let tls = fetch::tls().map_err(|error| DemoError::Story(error.to_string()))?;
        let client =
            Client::builder().tls_backend_preconfigured(tls).no_proxy().timeout(Duration::from_secs(120)).build()?;
        Ok(Self { base, client })
    }

    /// Makes a GET call.
    ///
    /// # Errors
    /// What the server answered, where that is no success.
    pub async fn get(&self, call: &str) -> Result<Value, DemoError> {
        self.send(call, self.client.get(format!("{}{call}", self.base))).await
    }

    /// Uploads a training image.
    ///
    /// # Errors
    /// What the server answered, where that is no success.
    pub async fn upload(
        &self,
        model: &str,
        dataset: &str,
        name: String,
        label: char,
        png: Vec<u8>,
    ) -> Result<(), DemoError> {
        let form = Form::new()
            .text("model_name", model.to_owned())
            .text("dataset_name", dataset.to_owned())
            .text("label", label.to_string())
            .part("file", Part::bytes(png).file_name(name));
        let call = "/uploadTrainingImage";
        self.send(call, self.client.post(format!("{}{call}", self.base)).multipart(form)).await?;
        Ok(())
    }

    /// Asks the best model about an image.
    ///
    /// # Errors
    /// What the server answered, where that is no success.
    pub async fn test(&self, model: &str, name: String, png: Vec<u8>) -> Result<Value, DemoError> {
        let form = Form::new().text("model_name", model.to_owned()).part("file", Part::bytes(png).file_name(name));
        self.send("/test", self.client.post(format!("{}/test", self.base)).multipart(form)).await
    }

    /// All runs of a model in the order of submission.
    ///
    /// # Errors
    /// What the server answered, where that is no success.
    pub async fn runs(&self, model: &str) -> Result<Vec<Run>, DemoError> {
        let mut runs = Vec::new();
        let mut cursor = None;
        loop {
            let from = cursor.map(|cursor| format!("&cursor={cursor}")).unwrap_or_default();
            let body = self.get(&format!("/api/v1/runs?model={model}&limit=200{from}")).await?;
            let page: Runs = serde_json::from_value(body)?;
            runs.extend(page.data);
            cursor = page.next_cursor;
            if cursor.is_none() {
                return Ok(runs);
            }
        }
    }

    async fn send(&self, call: &str, request: RequestBuilder) -> Result<Value, DemoError> {
        let answer = request.send().await?;
        let status = answer.status();
        let text = answer.text().await?;
        if !status.is_success() {
            return Err(DemoError::Answer { call: call.to_owned(), status: status.as_u16(), text });
        }
        Ok(serde_json::from_str(&text)?)
    }
}
