//! `trainyard predict`: asks a model's best run about images.

use super::super::{Outcome, print_line};
use super::{ServerArgs, block_on, file_name, read};
use clap::Args;
use futures::StreamExt;
use serde_json::{Value, json};
use std::io::Write;
use std::path::PathBuf;

/// Questions in flight at once.
const IN_FLIGHT: usize = 4;

/// The flags.
#[derive(Debug, Args)]
pub struct PredictArgs {
    /// Images
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<PathBuf>,
    /// The model
    #[arg(long)]
    model: String,
    #[command(flatten)]
    server: ServerArgs,
}

/// Runs the command: a line for each image, in order.
pub fn run(arguments: &PredictArgs) -> Outcome {
    block_on(async {
        let api = &arguments.server.api()?;
        let width = arguments.images.iter().map(|path| path.to_string_lossy().chars().count()).max().unwrap_or(0);
        let mut answers = futures::stream::iter(&arguments.images)
            .map(|path| async move {
                let answer = async {
                    let bytes = read(path).await?;
                    Ok::<_, Box<dyn std::error::Error>>(api.test(&arguments.model, file_name(path), bytes).await?)
                };
                (path, answer.await)
            })
            .buffered(IN_FLIGHT);
        let mut failed = 0;
        while let Some((path, answer)) = answers.next().await {
            let file = path.to_string_lossy();
            match (answer, arguments.server.json) {
                (Ok(answer), true) => print_line(&json!({ "file": file, "answer": answer }))?,
                (Ok(answer), false) => writeln!(std::io::stdout(), "{file:<width$}  {}", words(&answer))?,
                (Err(error), json) => {
                    failed += 1;
                    match json {
                        true => print_line(&json!({ "file": file, "error": error.to_string() }))?,
                        false => eprintln!("{file:<width$}  {error}"),
                    }
                }
            }
        }
        match failed {
            0 => Ok(()),
            _ => Err(format!("{failed} of {} images got no answer", arguments.images.len()).into()),
        }
    })
}

/// What a model said, in few words: a script may say anything.
fn words(answer: &Value) -> String {
    let text = |key: &str| answer.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let by = text("Experiment");
    match answer.get("label") {
        Some(label) => {
            let label = label.as_str().map_or_else(|| label.to_string(), str::to_owned);
            format!("{label}  {}  ({by})", text("accuracy"))
        }
        None => format!("{}  ({by})", text("accuracy")),
    }
}
