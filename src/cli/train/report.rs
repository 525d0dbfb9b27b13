//! How a training is shown: JSON lines for whoever reads them by program, words and a table for people.
//!
//! Whichever it is, the last line that carries an accuracy is the result. It must not know how training works.

use super::super::{CliError, note, print_line};
use crate::trainer::classify::samples::Samples;
use crate::trainer::classify::session::{Checkpoint, Progress};
use serde::Serialize;
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Time between two lines of progress where each of them stays.
const LINE_EVERY: Duration = Duration::from_secs(5);
/// Characters of the progress bar.
const BAR: usize = 20;
/// Back to the start of the terminal's line, and nothing left on it.
const AFRESH: &str = "\r\x1b[K";

/// Shows a training.
pub enum Report {
    /// A JSON object a line.
    Json(Counts),
    /// For people.
    Readable(Box<Readable<io::Stdout>>),
}

impl Report {
    /// JSON where a program asked for it.
    pub fn new(is_json: bool, samples: &dyn Samples, last_step: u64) -> Report {
        let counts = Counts::of(samples);
        if is_json {
            return Report::Json(counts);
        }
        let out = io::stdout();
        let is_terminal = out.is_terminal();
        Report::Readable(Box::new(Readable::new(out, is_terminal, counts, last_step)))
    }

    /// The training begins, with the settings in words.
    pub fn begin(&mut self, settings: &str) -> Result<(), CliError> {
        match self {
            Report::Json(_) => Ok(()),
            Report::Readable(readable) => Ok(readable.begin(settings)?),
        }
    }

    /// It goes on.
    pub fn progress(&mut self, progress: Progress) -> Result<(), CliError> {
        match self {
            Report::Json(_) => print_line(&Point::from(progress)),
            Report::Readable(readable) => Ok(readable.progress(progress)?),
        }
    }

    /// One of the step counts is reached, and its model is written.
    pub fn reached(&mut self, checkpoint: Checkpoint, model: PathBuf) -> Result<(), CliError> {
        match self {
            Report::Json(counts) => print_line(&Outcome::new(&checkpoint, *counts)),
            Report::Readable(readable) => {
                readable.reached(checkpoint, model);
                Ok(())
            }
        }
    }

    /// One of the step counts is reached, and there is nothing to show for it.
    pub fn lost(&mut self, steps: u64) -> Result<(), CliError> {
        note(&format!(
            "note: after {steps} steps the loss is no number; there is no model for them, try a smaller --i"
        ));
        match self {
            Report::Json(_) => print_line(&Lost { k: steps, accuracy: () }),
            Report::Readable(_) => Ok(()),
        }
    }

    /// The training is over; `is_whole` unless it failed on the way.
    pub fn end(&mut self, is_whole: bool) -> Result<(), CliError> {
        match self {
            Report::Json(_) => Ok(()),
            Report::Readable(readable) => Ok(readable.end(is_whole)?),
        }
    }
}

/// How much there is to learn from.
#[derive(Clone, Copy, Debug)]
pub struct Counts {
    train_images: usize,
    validation_images: usize,
    classes: usize,
}

impl Counts {
    fn of(samples: &dyn Samples) -> Counts {
        Counts {
            train_images: samples.train().len(),
            validation_images: samples.validation().len(),
            classes: samples.labels().len(),
        }
    }
}

/// A line of progress as JSON.
#[derive(Serialize)]
struct Point {
    step: u64,
    loss: f32,
    #[serde(skip_serializing_if = "Option::is_none")]
    accuracy: Option<f32>,
    images_per_second: f32,
    seconds_left: f32,
}

impl From<Progress> for Point {
    fn from(progress: Progress) -> Point {
        Point {
            step: progress.step,
            loss: progress.loss as f32,
            accuracy: progress.accuracy.map(|accuracy| accuracy as f32),
            images_per_second: progress.images_per_second.round() as f32,
            seconds_left: (10.0 * progress.seconds_left).round() as f32 / 10.0,
        }
    }
}

/// A result as JSON.
#[derive(Serialize)]
struct Outcome {
    k: u64,
    accuracy: f32,
    val_loss: f32,
    train_accuracy: f32,
    train_images: usize,
    validation_images: usize,
    classes: usize,
}

/// A step count without a result as JSON: an accuracy of null.
#[derive(Serialize)]
struct Lost {
    k: u64,
    accuracy: (),
}

impl Outcome {
    fn new(checkpoint: &Checkpoint, counts: Counts) -> Outcome {
        let Counts { train_images, validation_images, classes } = counts;
        Outcome {
            k: checkpoint.steps,
            accuracy: checkpoint.validation.accuracy() as f32,
            val_loss: checkpoint.validation.mean() as f32,
            train_accuracy: checkpoint.training.accuracy() as f32,
            train_images,
            validation_images,
            classes,
        }
    }
}

/// What people are shown: a line that changes on a terminal, lines now and then elsewhere, and a table at the end.
pub struct Readable<W> {
    out: W,
    is_terminal: bool,
    counts: Counts,
    last_step: u64,
    began: Instant,
    line_at: Instant,
    accuracy: Option<f64>,
    rows: Vec<(Checkpoint, PathBuf)>,
}

impl<W: Write> Readable<W> {
    fn new(out: W, is_terminal: bool, counts: Counts, last_step: u64) -> Readable<W> {
        let now = Instant::now();
        Readable { out, is_terminal, counts, last_step, began: now, line_at: now, accuracy: None, rows: Vec::new() }
    }

    fn begin(&mut self, settings: &str) -> io::Result<()> {
        let Counts { train_images, validation_images, classes } = self.counts;
        writeln!(self.out, "images    {train_images} to learn from, {validation_images} held out, {classes} classes")?;
        writeln!(self.out, "training  {settings}")?;
        self.out.flush()
    }

    fn progress(&mut self, progress: Progress) -> io::Result<()> {
        self.accuracy = progress.accuracy.or(self.accuracy);
        if self.is_terminal {
            write!(self.out, "{AFRESH}  {}{}", bar(progress.step, self.last_step), self.line(progress))?;
        } else if Instant::now() >= self.line_at {
            self.line_at = Instant::now() + LINE_EVERY;
            writeln!(self.out, "  {}", self.line(progress))?;
        }
        self.out.flush()
    }

    fn line(&self, progress: Progress) -> String {
        let accuracy = self.accuracy.map(|accuracy| format!("  accuracy {accuracy:.4}")).unwrap_or_default();
        format!(
            "step {} of {}  loss {:.4}{accuracy}  {:.0} images/s  {} left",
            progress.step,
            self.last_step,
            progress.loss,
            progress.images_per_second,
            duration(progress.seconds_left)
        )
    }

    fn reached(&mut self, checkpoint: Checkpoint, model: PathBuf) {
        self.rows.push((checkpoint, model));
    }

    fn end(&mut self, is_whole: bool) -> io::Result<()> {
        if self.is_terminal {
            write!(self.out, "{AFRESH}")?;
        }
        let how = if is_whole { "done" } else { "failed" };
        writeln!(self.out, "{how:<10}after {}", duration(self.began.elapsed().as_secs_f64()))?;
        if !self.rows.is_empty() {
            writeln!(self.out, "     steps    held out        loss     learned    model")?;
        }
        for (checkpoint, model) in &self.rows {
            let Checkpoint { steps, validation, training } = checkpoint;
            writeln!(
                self.out,
                "{steps:>10}  {:>10.4}  {:>10.4}  {:>10.4}    {}",
                validation.accuracy(),
                validation.mean(),
                training.accuracy(),
                shown(model)
            )?;
        }
        if let Some((last, _)) = self.rows.last().filter(|_| is_whole) {
            // The digits that JSON has: this line is the result for whoever reads the output by program after all.
            writeln!(self.out, "accuracy: {}", last.validation.accuracy() as f32)?;
        }
        self.out.flush()
    }
}

fn shown(path: &Path) -> std::path::Display<'_> {
    path.strip_prefix(".").unwrap_or(path).display()
}

fn bar(step: u64, last: u64) -> String {
    let full = (BAR as f64 * step as f64 / last.max(1) as f64) as usize;
    format!("[{}{}] ", "#".repeat(full.min(BAR)), "-".repeat(BAR.saturating_sub(full)))
}

/// Seconds as people say them.
fn duration(seconds: f64) -> String {
    match seconds {
        seconds if seconds < 90.0 => format!("{seconds:.1} s"),
        seconds if seconds < 90.0 * 60.0 => format!("{:.0} min", seconds / 60.0),
        seconds => format!("{:.1} h", seconds / 3600.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trainer::nn::loss::BatchLoss;
    use crate::trainer::output::{Outcome, OutputParser, combine};

    fn shown(is_terminal: bool) -> String {
        let counts = Counts { train_images: 80, validation_images: 20, classes: 3 };
        let mut readable = Readable::new(Vec::new(), is_terminal, counts, 40);
        readable.begin("2 layers").unwrap();
        let progress =
            |step, accuracy| Progress { step, loss: 0.5, accuracy, images_per_second: 1234.5, seconds_left: 200.0 };
        let loss = |correct| BatchLoss { total: 2.0, weight: 20.0, correct, count: 20 };
        readable.progress(progress(10, Some(0.25))).unwrap();
        readable.progress(progress(20, None)).unwrap();
        for (steps, correct) in [(20, 15), (40, 19)] {
            let checkpoint = Checkpoint { steps, validation: loss(correct), training: loss(20) };
            readable.reached(checkpoint, format!("./k{steps}/model.safetensors").into());
        }
        readable.end(true).unwrap();
        String::from_utf8(readable.out).unwrap()
    }

    #[test]
    fn people_see_how_it_goes_and_what_came_out() {
        let text = shown(false);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "images    80 to learn from, 20 held out, 3 classes");
        assert_eq!(lines[2], "  step 10 of 40  loss 0.5000  accuracy 0.2500  1234 images/s  3 min left");
        assert!(lines[3].starts_with("done"), "the second line of progress came too soon: {text}");
        assert_eq!(lines[6], "        40      0.9500      0.1000      1.0000    k40/model.safetensors");
        assert_eq!(lines.last(), Some(&"accuracy: 0.95"));
        let text = shown(true);
        assert!(text.contains("[##########----------] step 20 of 40  loss 0.5000  accuracy 0.2500"), "{text}");
    }

    #[test]
    fn a_program_that_reads_it_finds_the_result() {
        for is_terminal in [false, true] {
            let mut parser = OutputParser::new();
            parser.feed(shown(is_terminal).as_bytes());
            let Outcome::Result(result) = combine(&parser.finish().1, &OutputParser::new().finish().1) else {
                panic!("no result")
            };
            assert_eq!(result.accuracy.text(), "0.95");
        }
    }

    #[test]
    fn a_step_count_without_a_result_is_a_failure_of_its_own() {
        let mut parser = OutputParser::new();
        parser.feed(format!("{}\n", serde_json::to_string(&Lost { k: 7, accuracy: () }).unwrap()).as_bytes());
        assert!(matches!(parser.outcome_for_steps(7), Outcome::Failure(_)));
        assert_eq!(parser.outcome_for_steps(8), Outcome::Nothing);
    }

    #[test]
    fn times_are_said_as_people_say_them() {
        assert_eq!([0.04, 89.0, 200.0, 7200.0].map(duration), ["0.0 s", "89.0 s", "3 min", "2.0 h"]);
    }
}
