//! A client of a server, for the demo and for the commands that ask one: it knows the API as any client does.

use crate::ingest::fetch;
use reqwest::multipart::{Form, Part};
use reqwest::{Client, Method, RequestBuilder, Response, StatusCode, Url};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::time::Duration;

/// How long an answer may take; a stream may go on for longer.
const PATIENCE: Duration = Duration::from_secs(120);

/// Why a call gave nothing.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// The address is none.
    #[error("\"{0}\" is no address of a server; give one such as http://127.0.0.1:8080")]
    Address(String),
    /// The server refused.
    #[error("{message}{}", help(*.status))]
    Refused {
        /// The status.
        status: u16,
        /// What it said.
        message: String,
    },
    /// The server did not answer.
    #[error("the server at {at} did not answer: {}; is it running, and is --server right?", root(.source))]
    Silent {
        /// Where.
        at: String,
        /// Why.
        source: reqwest::Error,
    },
    /// No client can be made.
    #[error("no HTTP client can be made: {0}")]
    Client(String),
    /// The answer is no JSON of the shape that was expected.
    #[error("an answer was not understood: {0}")]
    Json(#[from] serde_json::Error),
}

fn help(status: u16) -> &'static str {
    match status {
        401 => "; give a token with --token or TRAINYARD_TOKEN",
        _ => "",
    }
}

/// The innermost cause, which says most.
fn root(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    cause.to_string()
}

/// A page of a list.
#[derive(Debug, Deserialize)]
pub struct Page<T> {
    /// What is on it.
    pub data: Vec<T>,
    /// Where the next one begins.
    pub next_cursor: Option<String>,
}

/// A run as `/api/v1/runs` lists it; what nobody here shows is left out.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Run {
    /// Its id.
    pub id: String,
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

impl Run {
    /// True once it is over, however it ended.
    pub fn is_over(&self) -> bool {
        matches!(self.state.as_str(), "succeeded" | "failed" | "cancelled")
    }

    /// The accuracy as a number, below all others where there is none.
    pub fn value(&self) -> f64 {
        self.accuracy.as_deref().and_then(|text| text.parse().ok()).unwrap_or(-1.0)
    }
}

/// Calls a server.
#[derive(Debug, Clone)]
pub struct Api {
    base: Url,
    token: Option<String>,
    client: Client,
}

impl Api {
    /// Calls the server at `base`, with a token where there is one.
    ///
    /// # Errors
    /// Where the address is none, or no HTTP client can be made.
    pub fn new(base: &str, token: Option<String>) -> Result<Self, ApiError> {
        let address = Url::parse(base).ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
        let address = address.ok_or_else(|| ApiError::Address(base.to_owned()))?;
        // Without this, the client would look for the system's certificates.
        let tls = fetch::tls().map_err(|error| ApiError::Client(error.to_string()))?;
        let client = Client::builder().tls_backend_preconfigured(tls).no_proxy().connect_timeout(PATIENCE / 8).build();
        let client = client.map_err(|error| ApiError::Client(root(&error)))?;
        Ok(Self { base: address, token, client })
    }

    /// A request for a path whose steps are escaped here.
    pub fn request(&self, method: Method, path: &[&str], query: &[(&str, &str)]) -> RequestBuilder {
        let mut url = self.base.clone();
        if let Ok(mut steps) = url.path_segments_mut() {
            steps.pop_if_empty().extend(path);
        }
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        let request = self.client.request(method, url);
        match &self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        }
    }

    /// Sends a request whose answer may have no end.
    ///
    /// # Errors
    /// What the server answered, where that is no success.
    pub async fn open(&self, request: RequestBuilder) -> Result<Response, ApiError> {
        let silent = |source| ApiError::Silent { at: self.base.to_string(), source };
        let answer = request.send().await.map_err(silent)?;
        let status = answer.status();
        if status.is_success() {
            return Ok(answer);
        }
        let text = answer.text().await.map_err(silent)?;
        Err(ApiError::Refused { status: status.as_u16(), message: message(status, &text) })
    }

    /// Sends a request and reads its answer.
    ///
    /// # Errors
    /// What the server answered, where that is no success.
    pub async fn send<T: DeserializeOwned>(&self, request: RequestBuilder) -> Result<T, ApiError> {
        let answer = self.open(request.timeout(PATIENCE)).await?;
        let text = answer.text().await.map_err(|source| ApiError::Silent { at: self.base.to_string(), source })?;
        Ok(serde_json::from_str(&text)?)
    }

    /// Makes a GET call.
    ///
    /// # Errors
    /// What the server answered, where that is no success.
    pub async fn get<T: DeserializeOwned>(&self, path: &[&str], query: &[(&str, &str)]) -> Result<T, ApiError> {
        self.send(self.request(Method::GET, path, query)).await
    }

    /// Makes something by a GET call of the experiments API. False where it is there already.
    ///
    /// # Errors
    /// What the server answered, where that is no success.
    pub async fn make(&self, call: &str, query: &[(&str, &str)]) -> Result<bool, ApiError> {
        match self.get::<Value>(&[call], query).await {
            Ok(_) => Ok(true),
            Err(ApiError::Refused { status: 409, .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// All pages of a list.
    ///
    /// # Errors
    /// What the server answered, where that is no success.
    pub async fn all<T: DeserializeOwned>(&self, path: &[&str], query: &[(&str, &str)]) -> Result<Vec<T>, ApiError> {
        let mut found = Vec::new();
        let mut cursor: Option<String> = None;
        loop {
            let mut query = [query, &[("limit", "200")]].concat();
            if let Some(cursor) = &cursor {
                query.push(("cursor", cursor));
            }
            let page: Page<T> = self.get(path, &query).await?;
            found.extend(page.data);
            cursor = page.next_cursor;
            if cursor.is_none() {
                return Ok(found);
            }
        }
    }

    /// Uploads a training image.
    ///
    /// # Errors
    /// What the server answered, where that is no success.
    pub async fn upload(
        &self,
        model: &str,
        dataset: Option<&str>,
        label: Option<&str>,
        name: String,
        bytes: Vec<u8>,
    ) -> Result<(), ApiError> {
        let mut form = Form::new().text("model_name", model.to_owned());
        for (field, value) in [("dataset_name", dataset), ("label", label)] {
            if let Some(value) = value {
                form = form.text(field, value.to_owned());
            }
        }
        let form = form.part("file", Part::bytes(bytes).file_name(name));
        self.send::<Value>(self.request(Method::POST, &["uploadTrainingImage"], &[]).multipart(form)).await.map(drop)
    }

    /// Asks the best model about an image.
    ///
    /// # Errors
    /// What the server answered, where that is no success.
    pub async fn test(&self, model: &str, name: String, bytes: Vec<u8>) -> Result<Value, ApiError> {
        let form = Form::new().text("model_name", model.to_owned()).part("file", Part::bytes(bytes).file_name(name));
        let answer: Value = self.send(self.request(Method::POST, &["test"], &[]).multipart(form)).await?;
        Ok(answer.get("body").cloned().unwrap_or_default())
    }

    /// All runs of a model in the order of submission.
    ///
    /// # Errors
    /// What the server answered, where that is no success.
    pub async fn runs(&self, model: &str) -> Result<Vec<Run>, ApiError> {
        self.all(&["api", "v1", "runs"], &[("model", model)]).await
    }
}

/// What an error answer says, in either of the shapes that the server has.
fn message(status: StatusCode, text: &str) -> String {
    let body: Value = serde_json::from_str(text).unwrap_or_default();
    let said = ["message", "detail", "title"].iter().find_map(|key| body.get(key).and_then(Value::as_str));
    said.map_or_else(|| format!("the server answered {status}"), str::to_owned)
}
