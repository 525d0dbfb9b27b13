//! `trainyard api`: any call of the API, for what has no command of its own.

use super::super::Outcome;
use super::{ServerArgs, block_on, file_name, read};
use clap::Args;
use reqwest::multipart::{Form, Part};
use reqwest::{Method, RequestBuilder};
use std::error::Error;
use std::io::Write;
use std::path::Path;

/// The flags.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  trainyard api GET /models\n  trainyard api PATCH /models/pets -d '{\"description\": \"Cats or dogs?\"}'\n  \
                        trainyard api POST /models/pets/images -F label=cat -F file=@cat.jpg\n  trainyard api GET /backup > yard.backup"
)]
pub struct ApiArgs {
    /// GET, POST, PUT, PATCH or DELETE
    #[arg(value_parser = method)]
    method: Method,
    /// Its path below /api/v1, with a query where it takes one; /docs of the server lists them
    path: String,
    /// A JSON body
    #[arg(short, long, value_name = "JSON", conflicts_with = "form")]
    data: Option<String>,
    /// A part of a form; NAME=@FILE sends a file
    #[arg(short = 'F', long, value_name = "NAME=VALUE")]
    form: Vec<String>,
    /// A header, such as 'If-Match: "1"'
    #[arg(short = 'H', long, value_name = "NAME: VALUE")]
    header: Vec<String>,
    #[command(flatten)]
    server: ServerArgs,
}

fn method(text: &str) -> Result<Method, String> {
    match text.to_ascii_uppercase().as_str() {
        known @ ("GET" | "POST" | "PUT" | "PATCH" | "DELETE") => known.parse().map_err(|_| known.to_owned()),
        _ => Err("it is one of GET, POST, PUT, PATCH and DELETE".to_owned()),
    }
}

/// The steps of a path below `/api/v1`, and its query.
fn address(path: &str) -> (Vec<String>, Vec<(String, String)>) {
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    let path = path.trim_start_matches('/');
    let path = path.strip_prefix("api/v1/").unwrap_or(path);
    let step = |step: &str| percent_encoding::percent_decode_str(step).decode_utf8_lossy().into_owned();
    let steps = ["api", "v1"].into_iter().chain(path.split('/')).map(step).collect();
    (steps, form_urlencoded::parse(query.as_bytes()).into_owned().collect())
}

/// Runs the command.
pub fn run(arguments: &ApiArgs) -> Outcome {
    block_on(async {
        let api = arguments.server.api()?;
        let (steps, query) = address(&arguments.path);
        let steps: Vec<&str> = steps.iter().map(String::as_str).collect();
        let query: Vec<(&str, &str)> = query.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let request = filled(api.request(arguments.method.clone(), &steps, &query), arguments).await?;
        let mut answer = api.open(request).await?;
        let mut out = std::io::stdout();
        while let Some(piece) = answer.chunk().await? {
            out.write_all(&piece)?;
            // What comes bit by bit is followed.
            out.flush()?;
        }
        Ok(())
    })
}

/// The request with its headers and its body.
async fn filled(mut request: RequestBuilder, arguments: &ApiArgs) -> Result<RequestBuilder, Box<dyn Error>> {
    for header in &arguments.header {
        let (name, value) =
            header.split_once(':').ok_or_else(|| format!("{header:?} is no header: write NAME: VALUE"))?;
        request = request.header(name.trim(), value.trim());
    }
    if let Some(data) = &arguments.data {
        let body: serde_json::Value =
            serde_json::from_str(data).map_err(|error| format!("--data is no JSON: {error}"))?;
        request = request.json(&body);
    }
    if arguments.form.is_empty() {
        return Ok(request);
    }
    let mut form = Form::new();
    for part in &arguments.form {
        let (name, value) = part.split_once('=').ok_or_else(|| format!("{part:?} is no part: write NAME=VALUE"))?;
        form = match value.strip_prefix('@') {
            Some(file) => {
                let file = Path::new(file);
                form.part(name.to_owned(), Part::bytes(read(file).await?).file_name(file_name(file)))
            }
            None => form.text(name.to_owned(), value.to_owned()),
        };
    }
    Ok(request.multipart(form))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_below_the_api() {
        let (steps, query) = address("/models/p%20x/images?label=a+b&name=1.png");
        assert_eq!(steps, ["api", "v1", "models", "p x", "images"]);
        assert_eq!(query, [("label".to_owned(), "a b".to_owned()), ("name".to_owned(), "1.png".to_owned())]);
        assert_eq!(address("/api/v1/queue").0, address("queue").0);
        assert!(method("get").is_ok() && method("BREW").is_err());
    }
}
