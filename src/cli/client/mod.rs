//! Commands that ask a server, as a program of anybody's would: over its API, with a token.
//!
//! They know addresses and answers; nothing of the server's inside.

pub mod api;
pub mod archive;
pub mod best;
pub mod control;
pub mod logs;
pub mod predict;
pub mod sweep;
pub mod upload;
pub mod watch;

use super::Outcome;
use super::api::Api;
use clap::Args;
use std::future::Future;
use std::io;
use std::path::Path;

/// Which server, and who asks.
#[derive(Debug, Args)]
pub struct ServerArgs {
    /// The server's address
    #[arg(long, env = "TRAINYARD_URL", default_value = "http://127.0.0.1:8080", value_name = "URL")]
    server: String,
    /// A token, where the server has accounts
    #[arg(long, env = "TRAINYARD_TOKEN", hide_env_values = true)]
    token: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl ServerArgs {
    fn api(&self) -> Result<Api, Box<dyn std::error::Error>> {
        Ok(Api::new(&self.server, self.token.clone().filter(|token| !token.is_empty()))?)
    }
}

/// Runs a command to its end.
fn block_on(command: impl Future<Output = Outcome>) -> Outcome {
    tokio::runtime::Builder::new_current_thread().enable_all().max_blocking_threads(4).build()?.block_on(command)
}

/// Reads a file off the thread that talks.
async fn read(path: &Path) -> io::Result<Vec<u8>> {
    let file = path.to_owned();
    let read = tokio::task::spawn_blocking(move || std::fs::read(file)).await.map_err(io::Error::other)?;
    read.map_err(|error| io::Error::new(error.kind(), format!("{} cannot be read: {error}", path.display())))
}

/// The last part of a path, as text.
fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}
