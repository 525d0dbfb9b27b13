//! `trainyard verify`: is everything there, and is it what it was?

use super::{Display, FolderArgs, Opened, described, now, show, words_of};
use crate::care::verify::Verify;
use crate::care::{Summary, Word};
use crate::domain::error::Error as ServiceError;
use crate::telemetry;
use clap::Args;
use reqwest::Method;
use std::error::Error;
use std::io::{self, Write};
use std::process::ExitCode;
use std::sync::Arc;
use tokio::sync::RwLock;

/// The flags.
#[derive(Debug, Args)]
pub struct VerifyArgs {
    #[command(flatten)]
    folder: FolderArgs,
    /// Mend what can be mended without losing anything: indexes, counters, files that nobody refers to for a day
    #[arg(long)]
    repair: bool,
    /// Print JSON lines
    #[arg(long)]
    json: bool,
}

/// The exit status where something is not as it should be, and where nothing could be said.
const PROBLEMS: u8 = 1;
const CANNOT: u8 = 2;

/// Runs the command: exit status 0 where all is well, 1 where problems are left, 2 where it could not look.
pub fn run(arguments: VerifyArgs) -> ExitCode {
    telemetry::start("warn");
    match verify(arguments) {
        Ok(summary) if summary.problems == 0 => ExitCode::SUCCESS,
        Ok(_) => ExitCode::from(PROBLEMS),
        Err(error) => {
            super::super::note(&format!("error: {error}"));
            ExitCode::from(CANNOT)
        }
    }
}

fn verify(arguments: VerifyArgs) -> Result<Summary, Box<dyn Error>> {
    let VerifyArgs { folder, repair, json } = arguments;
    let folder = folder.find()?;
    let mut printer = Printer { json, display: Display::new(), summary: None, failure: None };
    match folder.open()? {
        Opened::Here(store) => {
            let uploads = Arc::new(RwLock::new(()));
            let verify = Verify { store: &store, folder: &folder.path, uploads, now: now(), repair };
            verify.run(&mut |word| printer.print(word).map_err(ServiceError::internal))?;
            store.close();
        }
        Opened::There(running) => {
            let mut lines = Lines::default();
            let call = format!("/api/v1/maintenance/verify?repair={repair}");
            running.call(Method::POST, &call, &mut |piece| {
                lines.take(piece, &mut |line| printer.print(serde_json::from_slice(line)?))
            })?;
        }
    }
    match (printer.summary, printer.failure) {
        (Some(summary), None) => Ok(summary),
        (_, Some(why)) => Err(why.into()),
        (None, None) => Err("the server ended before it was done".into()),
    }
}

/// Lines that come in pieces.
#[derive(Default)]
struct Lines {
    begun: Vec<u8>,
}

impl Lines {
    fn take(&mut self, piece: &[u8], line: &mut dyn FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
        for part in piece.split_inclusive(|byte| *byte == b'\n') {
            self.begun.extend_from_slice(part);
            if part.ends_with(b"\n") {
                line(&std::mem::take(&mut self.begun))?;
            }
        }
        Ok(())
    }
}

/// Findings go to standard output, progress to standard error.
struct Printer {
    json: bool,
    display: Display,
    summary: Option<Summary>,
    failure: Option<String>,
}

impl Printer {
    fn print(&mut self, word: Word) -> io::Result<()> {
        match &word {
            Word::Done(summary) => self.summary = Some(*summary),
            Word::Failed { why } => self.failure = Some(why.clone()),
            _ => {}
        }
        if let Word::Progress { .. } = word {
            show(&mut self.display, &word);
            return Ok(());
        }
        self.display.clear();
        let mut out = io::stdout().lock();
        if self.json {
            return writeln!(out, "{}", serde_json::to_string(&word)?);
        }
        match word {
            Word::Finding { weight, what, can_be_repaired } => {
                let hint = if can_be_repaired { " [--repair]" } else { "" };
                writeln!(out, "{}: {what}{hint}", words_of(weight))
            }
            Word::Repaired { what } => writeln!(out, "repaired: {what}"),
            Word::Done(summary) => {
                let verdict = match summary.problems {
                    0 => "all is well".to_owned(),
                    problems => format!("{problems} problems"),
                };
                writeln!(out, "verified: {}: {verdict}", described(&summary))
            }
            Word::Failed { .. } | Word::Progress { .. } => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn lines_are_whole_however_they_come(lines in proptest::collection::vec("[a-z]{0,9}", 0..9), sizes in proptest::collection::vec(1usize..7, 1..60)) {
            let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
            let (mut left, mut taken, mut found) = (text.as_bytes(), Lines::default(), Vec::new());
            for size in sizes.into_iter().cycle() {
                if left.is_empty() { break; }
                let (piece, rest) = left.split_at(size.min(left.len()));
                taken.take(piece, &mut |line| { found.push(String::from_utf8_lossy(line).trim_end().to_owned()); Ok(()) }).unwrap();
                left = rest;
            }
            prop_assert_eq!(found, lines);
        }
    }
}
