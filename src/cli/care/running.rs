//! The server that has a data folder open, reached through its control socket: whoever may open the socket owns the
//! folder.
//!
//! Knows calls and bodies; not what they mean.

use crate::control;
use crate::ingest::fetch;
use reqwest::{Client, Method, Response};
use std::error::Error;
use std::io;
use std::path::Path;
use tokio::runtime::Runtime;

/// A server.
pub struct Running {
    socket: control::Short,
}

impl Running {
    /// The server of this folder, if there is one that answers.
    pub fn find(folder: &Path) -> Option<Self> {
        control::find(folder).ok().flatten().map(|socket| Self { socket })
    }

    /// Makes a call; `take` is given the body as it comes.
    ///
    /// # Errors
    /// What the server answered where that is no success, a body that breaks off, what `take` says.
    pub fn call(
        &self,
        method: Method,
        call: &str,
        take: &mut dyn FnMut(&[u8]) -> io::Result<()>,
    ) -> Result<(), Box<dyn Error>> {
        let runtime: Runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let tls = fetch::tls().map_err(|error| error.to_string())?;
            let client =
                Client::builder().tls_backend_preconfigured(tls).no_proxy().unix_socket(self.socket.path()).build()?;
            let mut answer = client.request(method, format!("http://localhost{call}")).send().await?;
            if !answer.status().is_success() {
                return Err(refusal(answer).await.into());
            }
            while let Some(piece) = answer.chunk().await? {
                take(&piece)?;
            }
            Ok(())
        })
    }
}

async fn refusal(answer: Response) -> String {
    let status = answer.status();
    let text = answer.text().await.unwrap_or_default();
    let problem: Option<serde_json::Value> = serde_json::from_str(&text).ok();
    let detail = problem.and_then(|problem| Some(problem.get("detail")?.as_str()?.to_owned()));
    detail.unwrap_or_else(|| format!("the server answered {status}: {text}"))
}
