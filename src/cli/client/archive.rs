//! Zip files of images: sent by `trainyard upload pictures.zip`, fetched by `trainyard export`.

use super::super::api::{Api, ApiError};
use super::super::{Outcome, note, print_line};
use super::{ServerArgs, block_on, file_name};
use bytes::Bytes;
use clap::Args;
use http_body::{Body, Frame, SizeHint};
use indicatif::{ProgressBar, ProgressStyle};
use reqwest::Method;
use reqwest::multipart::{Form, Part};
use serde_json::Value;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::sync::mpsc::{self, Receiver};

/// What is read of a file at once, and how much of that may wait.
const PIECE: usize = 64 << 10;
const PIPELINE: usize = 4;

/// The flags of `export`.
#[derive(Debug, Args)]
pub struct ExportArgs {
    /// The file that is written; `-` is standard output
    file: PathBuf,
    /// The model
    #[arg(long)]
    model: String,
    /// One of its datasets [default: all of the model's images]
    #[arg(long)]
    dataset: Option<String>,
    /// A version of the dataset [default: the newest]
    #[arg(long, requires = "dataset")]
    version: Option<u64>,
    #[command(flatten)]
    server: ServerArgs,
}

/// Runs `export`.
pub fn export(arguments: &ExportArgs) -> Outcome {
    block_on(async {
        let api = arguments.server.api()?;
        let version = arguments.version.map(|version| version.to_string());
        let mut path = steps(&arguments.model, arguments.dataset.as_deref());
        path.extend(version.iter().flat_map(|version| ["versions", version]));
        path.push("export.zip");
        let mut answer = api.open(api.request(Method::GET, &path, &[])).await?;
        let mut out: Box<dyn Write> = match arguments.file.as_os_str() == "-" {
            true => Box::new(io::stdout().lock()),
            false => Box::new(File::create(&arguments.file).map_err(|error| named(&arguments.file, &error))?),
        };
        let mut written = 0;
        while let Some(piece) = answer.chunk().await? {
            out.write_all(&piece).map_err(|error| named(&arguments.file, &error))?;
            written += piece.len();
        }
        out.flush().map_err(|error| named(&arguments.file, &error))?;
        note(&format!("{written} bytes were written to {}", arguments.file.display()));
        Ok(())
    })
}

fn named(file: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", file.display()))
}

fn steps<'a>(model: &'a str, dataset: Option<&'a str>) -> Vec<&'a str> {
    let mut steps = vec!["api", "v1", "models", model];
    steps.extend(dataset.iter().flat_map(|dataset| ["datasets", *dataset]));
    steps
}

/// Sends a zip file to a model, or to one of its datasets; what is stored there already is passed over.
///
/// # Errors
/// What the server answered, and where it did not take all of it.
pub async fn send(api: &Api, (model, dataset): (&str, Option<&str>), file: &Path, json: bool) -> Outcome {
    let opened = File::open(file).map_err(|error| named(file, &error))?;
    let length = opened.metadata()?.len();
    let bar = if json { ProgressBar::hidden() } else { bar(length) };
    let body = reqwest::Body::wrap(Pieces::of(opened, length, bar.clone()));
    let part = Part::stream_with_length(body, length).file_name(file_name(file));
    let mut path = steps(model, dataset);
    path.push("archive");
    let request = api.request(Method::POST, &path, &[]).multipart(Form::new().part("file", part));
    let mut answer = api.open(request).await?;
    let (mut line, mut last) = (Vec::new(), Value::Null);
    while let Some(piece) = answer.chunk().await? {
        for byte in piece {
            if byte != b'\n' {
                line.push(byte);
                continue;
            }
            last = serde_json::from_slice(&std::mem::take(&mut line)).map_err(ApiError::Json)?;
            bar.set_length(number(&last, "entries"));
            bar.set_position(number(&last, "done"));
        }
    }
    bar.finish_and_clear();
    told(&last, json)
}

fn number(report: &Value, key: &str) -> u64 {
    report.get(key).and_then(Value::as_u64).unwrap_or(0)
}

fn told(report: &Value, json: bool) -> Outcome {
    let text = |value: &Value, key: &str| value.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let [entries, added, stored, refused] =
        ["entries", "added", "stored_already", "refused"].map(|key| number(report, key));
    match json {
        true => print_line(report)?,
        false => {
            for one in report.get("refusals").and_then(Value::as_array).into_iter().flatten() {
                note(&format!("{}: {}", text(one, "entry"), text(one, "reason")));
            }
            println!("{entries} entries: {added} added, {stored} stored already, {refused} not taken");
        }
    }
    match report.get("type").and_then(Value::as_str) {
        Some("done") if refused == 0 => Ok(()),
        Some("done") => Err(format!("{refused} of {entries} entries were not taken").into()),
        Some("failed") => Err(text(report, "reason").into()),
        _ => Err("the server's answer broke off; send the file again, and what is stored is passed over".into()),
    }
}

fn bar(length: u64) -> ProgressBar {
    let bar = ProgressBar::new(length);
    match ProgressStyle::with_template("{bar:30} {percent} %, {eta} left") {
        Ok(style) => bar.with_style(style.progress_chars("##.")),
        Err(_) => bar,
    }
}

/// A file on its way out, read by a thread of its own.
struct Pieces {
    pieces: Receiver<io::Result<Bytes>>,
    left: u64,
}

impl Pieces {
    fn of(mut file: File, length: u64, bar: ProgressBar) -> Self {
        let (sender, pieces) = mpsc::channel(PIPELINE);
        tokio::task::spawn_blocking(move || {
            loop {
                let mut piece = vec![0; PIECE];
                let read = file.read(&mut piece).map(|length| {
                    piece.truncate(length);
                    Bytes::from(piece)
                });
                let (length, has_failed) = (read.as_ref().map_or(0, Bytes::len), read.is_err());
                bar.inc(length as u64);
                let is_over = length == 0 && !has_failed;
                // Whoever was to send it may be gone.
                if is_over || sender.blocking_send(read).is_err() || has_failed {
                    return;
                }
            }
        });
        Self { pieces, left: length }
    }
}

impl Body for Pieces {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        self.pieces.poll_recv(context).map(|piece| {
            piece.map(|piece| {
                let piece = piece?;
                self.left = self.left.saturating_sub(piece.len() as u64);
                Ok(Frame::data(piece))
            })
        })
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}
