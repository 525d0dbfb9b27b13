//! `trainyard upload`: a folder of images, a folder a class within it, into a dataset; what is stored is not sent again.

use super::super::api::{Api, ApiError};
use super::super::{Outcome, note, print_line};
use super::{ServerArgs, archive, block_on, file_name, read};
use clap::Args;
use futures::StreamExt;
use indicatif::{ProgressBar, ProgressStyle};
use serde::{Deserialize, Serialize};
use std::collections::HashSet;
use std::error::Error;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Uploads in flight at once.
const IN_FLIGHT: usize = 4;

/// How often a file is tried where the server does not answer or has no time, and how long the first wait is.
const TRIES: u32 = 6;
const WAIT: Duration = Duration::from_millis(500);

/// Endings of files that the server takes.
const IMAGES: &[&str] = &["png", "jpg", "jpeg", "gif", "bmp", "webp", "tif", "tiff"];

/// The flags.
#[derive(Debug, Args)]
pub struct UploadArgs {
    /// A folder with a folder for each class; images beside those get the label that their name begins with. Or a zip file
    /// of such a folder
    dir: PathBuf,
    /// The model; made where it is not there
    #[arg(long)]
    model: String,
    /// One of its datasets; made where it is not there [default: the model itself]
    #[arg(long)]
    dataset: Option<String>,
    #[command(flatten)]
    server: ServerArgs,
}

/// A file to be sent.
#[derive(Debug, PartialEq, Eq)]
struct Found {
    path: PathBuf,
    label: Option<String>,
}

/// An image that the server has.
#[derive(Deserialize)]
struct Stored {
    label: Option<String>,
    name: String,
    hash: String,
}

/// What is stored: hash and name, with the label and without.
#[derive(Default)]
struct Known(HashSet<(Option<String>, String, String)>);

/// What became of a folder.
#[derive(Debug, Default, Serialize)]
struct Report {
    images: usize,
    uploaded: usize,
    stored_already: usize,
    left_out: usize,
    failed: Vec<Failed>,
}

#[derive(Debug, Serialize)]
struct Failed {
    file: String,
    reason: String,
}

enum Sent {
    Now,
    Before,
}

/// Runs the command.
pub fn run(arguments: &UploadArgs) -> Outcome {
    if arguments.dir.is_file() {
        return block_on(send_archive(arguments));
    }
    let (files, left_out) = list(&arguments.dir)?;
    if files.is_empty() {
        let kinds = IMAGES.join(", ");
        return Err(format!("{} has no images ({kinds}), and neither have its folders", arguments.dir.display()).into());
    }
    block_on(async {
        let report = send_all(arguments, files, left_out).await?;
        match arguments.server.json {
            true => print_line(&report)?,
            false => {
                let Report { images, uploaded, stored_already, left_out, failed } = &report;
                println!(
                    "{images} images: {uploaded} uploaded, {stored_already} stored already, {} failed",
                    failed.len()
                );
                if *left_out > 0 {
                    note(&format!("{left_out} other files and folders were left out"));
                }
            }
        }
        match report.failed.len() {
            0 => Ok(()),
            failed => Err(format!("{failed} of {} images were not taken", report.images).into()),
        }
    })
}

async fn send_archive(arguments: &UploadArgs) -> Outcome {
    let (api, model, dataset) = (arguments.server.api()?, arguments.model.as_str(), arguments.dataset.as_deref());
    make(&api, model, dataset).await?;
    archive::send(&api, (model, dataset), &arguments.dir, arguments.server.json).await
}

/// Makes model and dataset where they are not there.
async fn make(api: &Api, model: &str, dataset: Option<&str>) -> Result<(), ApiError> {
    api.make("createModel", &[("model_name", model)]).await?;
    if let Some(dataset) = dataset {
        api.make("createDataset", &[("model_name", model), ("dataset_name", dataset)]).await?;
    }
    Ok(())
}

async fn send_all(arguments: &UploadArgs, files: Vec<Found>, left_out: usize) -> Result<Report, Box<dyn Error>> {
    let (api, model, dataset) = (arguments.server.api()?, &arguments.model, arguments.dataset.as_deref());
    make(&api, model, dataset).await?;
    let known = Known::ask(&api, model, dataset).await?;
    let (api, known) = (&api, &known);
    let bar = if arguments.server.json { ProgressBar::hidden() } else { bar(files.len()) };
    let mut report = Report { images: files.len(), left_out, ..Report::default() };
    let mut sending = futures::stream::iter(&files)
        .map(|file| async move {
            let sent = send(api, model, dataset, file, known).await;
            (file, sent)
        })
        .buffer_unordered(IN_FLIGHT);
    while let Some((file, sent)) = sending.next().await {
        match sent {
            Ok(Sent::Now) => report.uploaded += 1,
            Ok(Sent::Before) => report.stored_already += 1,
            Err(error) if is_final(error.as_ref()) => {
                bar.abandon();
                return Err(format!(
                    "{error} ({} of {} images are there)",
                    report.uploaded + report.stored_already,
                    files.len()
                )
                .into());
            }
            Err(error) => {
                let file = file.path.display().to_string();
                bar.suspend(|| note(&format!("{file}: {error}")));
                report.failed.push(Failed { file, reason: error.to_string() });
            }
        }
        bar.inc(1);
    }
    bar.finish_and_clear();
    report.failed.sort_by(|a, b| a.file.cmp(&b.file));
    Ok(report)
}

fn bar(length: usize) -> ProgressBar {
    let bar = ProgressBar::new(length as u64);
    match ProgressStyle::with_template("{bar:30} {pos}/{len} images, {per_sec}, {eta} left") {
        Ok(style) => bar.with_style(style.progress_chars("##.")),
        Err(_) => bar,
    }
}

/// True for what every other file would meet as well.
fn is_final(error: &(dyn Error + 'static)) -> bool {
    match error.downcast_ref::<ApiError>() {
        Some(ApiError::Refused { status, .. }) => matches!(status, 401 | 403 | 404 | 507),
        Some(_) => true,
        None => false,
    }
}

/// Sends a file, unless it is stored; asks again where the server has no time.
async fn send(
    api: &Api,
    model: &str,
    dataset: Option<&str>,
    file: &Found,
    known: &Known,
) -> Result<Sent, Box<dyn Error>> {
    let bytes = read(&file.path).await?;
    let name = file_name(&file.path);
    if known.has(file.label.as_deref(), &name, &blake3::hash(&bytes).to_hex()) {
        return Ok(Sent::Before);
    }
    let mut wait = WAIT;
    for tries in 1.. {
        match api.upload(model, dataset, file.label.as_deref(), name.clone(), bytes.clone()).await {
            Ok(()) => break,
            Err(ApiError::Refused { status: 429 | 503, .. } | ApiError::Silent { .. }) if tries < TRIES => {
                tokio::time::sleep(wait).await;
                wait *= 2;
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(Sent::Now)
}

impl Known {
    async fn ask(api: &Api, model: &str, dataset: Option<&str>) -> Result<Self, ApiError> {
        let mut path = vec!["api", "v1", "models", model];
        path.extend(dataset.iter().flat_map(|dataset| ["datasets", dataset]));
        path.push("images");
        let stored: Vec<Stored> = api.all(&path, &[("fields", "label,name,hash")]).await?;
        let mut known = HashSet::with_capacity(2 * stored.len());
        for Stored { label, name, hash } in stored {
            known.insert((None, name.clone(), hash.clone()));
            known.insert((label, name, hash));
        }
        Ok(Self(known))
    }

    /// Under this name, or under the one that it gets where another image has that.
    fn has(&self, label: Option<&str>, name: &str, hash: &str) -> bool {
        let has = |name: String| self.0.contains(&(label.map(str::to_owned), name, hash.to_owned()));
        has(name.to_owned()) || has(marked(name, hash))
    }
}

fn marked(name: &str, hash: &str) -> String {
    let mark = hash.get(..8).unwrap_or(hash);
    match name.rsplit_once('.') {
        Some((stem, ending)) => format!("{stem}-{mark}.{ending}"),
        None => format!("{name}-{mark}"),
    }
}

/// The images of a folder in order, and how much else there is.
fn list(folder: &Path) -> io::Result<(Vec<Found>, usize)> {
    let (mut found, mut left_out) = (Vec::new(), 0);
    for path in entries(folder)? {
        if !path.is_dir() {
            add(path, None, &mut found, &mut left_out);
            continue;
        }
        let label = file_name(&path);
        for path in entries(&path)? {
            match path.is_dir() {
                true => left_out += 1,
                false => add(path, Some(&label), &mut found, &mut left_out),
            }
        }
    }
    Ok((found, left_out))
}

fn add(path: PathBuf, label: Option<&str>, found: &mut Vec<Found>, left_out: &mut usize) {
    let ending = path.extension().unwrap_or_default().to_string_lossy().to_lowercase();
    if IMAGES.contains(&ending.as_str()) {
        found.push(Found { path, label: label.map(str::to_owned) });
    } else {
        *left_out += 1;
    }
}

/// What lies in a folder, in order; hidden things are not looked at.
fn entries(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let unread =
        |error: io::Error| io::Error::new(error.kind(), format!("{} cannot be read: {error}", folder.display()));
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(unread)? {
        let entry = entry.map_err(unread)?;
        if !entry.file_name().as_encoded_bytes().starts_with(b".") {
            found.push(entry.path());
        }
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_its_classes_and_what_lies_beside_them() {
        let folder = tempfile::tempdir().unwrap();
        for path in
            ["cat/2.png", "cat/1.JPG", "cat/notes.txt", "cat/deeper/3.png", "dog/1.webp", "cat_7.png", ".git/x.png"]
        {
            let path = folder.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "x").unwrap();
        }
        let (found, left_out) = list(folder.path()).unwrap();
        let found: Vec<_> = found.iter().map(|file| (file_name(&file.path), file.label.as_deref())).collect();
        let expected = [("1.JPG", Some("cat")), ("2.png", Some("cat")), ("cat_7.png", None), ("1.webp", Some("dog"))];
        assert_eq!(found, expected.map(|(name, label)| (name.to_owned(), label)));
        assert_eq!(left_out, 2);
        assert!(list(&folder.path().join("none")).unwrap_err().to_string().contains("none cannot be read"));
    }

    #[test]
    fn what_is_stored_is_known_under_the_name_that_it_got() {
        let hash = "0123456789abcdef".to_owned();
        let known = Known([(Some("cat".to_owned()), "1-01234567.png".to_owned(), hash.clone())].into());
        assert!(known.has(Some("cat"), "1.png", &hash));
        assert!(!known.has(Some("dog"), "1.png", &hash));
        assert!(!known.has(Some("cat"), "2.png", &hash));
    }
}
