//! The streaming parser: lines in, points out, the latest of everything kept.
//!
//! Knows the order of lines; what a single line means is `object`'s and `scan`'s business, and
//! which of the kept results counts is `outcome`'s.

use super::lines::{LineSplitter, MAX_LINE, readable};
use super::literal::Literal;
use super::object::{self, MAX_LABEL};
use super::outcome::{Outcome, Point, Prediction, Printed, Reported};
use super::scan::{self, Sighting};
use super::value;

/// Most points taken from one stream; later ones are dropped.
pub const MAX_POINTS: usize = 100_000;

/// Reads one stream of a script's output.
#[derive(Debug, Default)]
pub struct OutputParser {
    splitter: LineSplitter,
    reader: LineReader,
}

impl OutputParser {
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next bytes, cut anywhere, and gives the points they complete.
    pub fn feed(&mut self, chunk: &[u8]) -> Vec<Point> {
        let reader = &mut self.reader;
        self.splitter.feed(chunk, |line| reader.line(&readable(line)));
        std::mem::take(&mut self.reader.points)
    }

    /// What is known so far; lines not yet ended are left out.
    pub fn printed(&self) -> &Printed {
        &self.reader.printed
    }

    /// The result so far of a job's run of that many steps, see [`Printed::outcome_for_steps`].
    pub fn outcome_for_steps(&self, steps: u64) -> Outcome {
        self.reader.printed.outcome_for_steps(steps)
    }

    /// Ends the stream: the last points and all that was printed.
    pub fn finish(mut self) -> (Vec<Point>, Printed) {
        let last = self.splitter.finish();
        self.reader.line(&readable(&last));
        self.reader.give_up_block();
        (self.reader.points, self.reader.printed)
    }
}

/// A dictionary that was opened on a line and not closed on it.
#[derive(Debug)]
struct Block {
    text: String,
    open: i64,
}

/// What became of looking for a dictionary at the end of a text.
enum Dictionary {
    /// It carried an accuracy, a point or a prediction.
    Told,
    /// It carried nothing of interest; where it begins.
    Silent(usize),
    Absent,
}

#[derive(Debug, Default)]
struct LineReader {
    printed: Printed,
    points: Vec<Point>,
    points_seen: usize,
    block: Option<Block>,
}

impl LineReader {
    fn line(&mut self, line: &str) {
        if line.trim().is_empty() {
            return;
        }
        if let Some(block) = self.block.take() {
            // `json.dumps(indent=2)` and `pprint` indent every line but the closing one.
            let continues = line.starts_with([' ', '\t', '}', ']', ')']) && block.text.len() + line.len() < MAX_LINE;
            if continues {
                return self.continue_block(block, line);
            }
            self.replay(&block.text);
        }
        let open = open_brackets(line);
        if line.trim_start().starts_with('{') && open > 0 {
            let text = line.to_owned();
            self.block = Some(Block { text, open });
            return;
        }
        self.single_line(line);
    }

    fn continue_block(&mut self, mut block: Block, line: &str) {
        block.text.push('\n');
        block.text.push_str(line);
        block.open += open_brackets(line);
        if block.open > 0 {
            self.block = Some(block);
        } else if matches!(self.object_in(&block.text), Dictionary::Absent) {
            self.replay(&block.text);
        } else {
            self.printed.bare = None;
        }
    }

    fn give_up_block(&mut self) {
        if let Some(block) = self.block.take() {
            self.replay(&block.text);
        }
    }

    /// What began like a dictionary was none: its lines stand for themselves.
    fn replay(&mut self, text: &str) {
        for line in text.split('\n') {
            self.single_line(line);
        }
    }

    fn single_line(&mut self, line: &str) {
        self.printed.bare = value::bare_number(line).map(|accuracy| Reported { accuracy, val_loss: None });
        match self.object_in(line) {
            Dictionary::Told => {}
            // What its strings and settings say is not said by the script.
            Dictionary::Silent(start) => self.free_text(&line[..start]),
            Dictionary::Absent => self.free_text(line),
        }
    }

    /// Reads the dictionary that `text` ends with.
    fn object_in(&mut self, text: &str) -> Dictionary {
        let closed = text.trim_end().ends_with(['}', ')', '.', ',']);
        // Python before 3.12 prints `OrderedDict([('accuracy', 0.9)])`.
        let opening = text.find("OrderedDict([").or_else(|| text.find('{'));
        let Some(start) = opening.filter(|_| closed) else {
            return Dictionary::Absent;
        };
        let Some((Literal::Dict(entries), rest)) = Literal::parse_prefix(&text[start..]) else {
            return Dictionary::Absent;
        };
        let ends = rest.trim_end().chars().all(|c| matches!(c, ')' | '.' | ','));
        match ends && !entries.is_empty() {
            false => Dictionary::Absent,
            true if self.object(&entries) => Dictionary::Told,
            true => Dictionary::Silent(start),
        }
    }

    fn object(&mut self, entries: &[(String, Literal)]) -> bool {
        let accuracy = object::accuracy(entries);
        let val_loss = object::val_loss(entries);
        if let Some((step, metrics)) = object::point(entries) {
            self.point(step, metrics, accuracy, val_loss);
            return true;
        }
        let prediction = object::prediction(entries);
        let tells = accuracy.is_some() || prediction != Prediction::default();
        self.printed.prediction.update(prediction);
        if let Some(sighting) = accuracy {
            let reported = self.sighting(sighting, val_loss);
            if let Some(steps) = object::steps(entries) {
                self.printed.note_steps(steps, &reported);
            }
        }
        tells
    }

    fn free_text(&mut self, line: &str) {
        if !mentions(line, b"acc") && !mentions(line, b"step") {
            return self.prediction_line(line);
        }
        let found = scan::scan(line);
        match (found.point, found.accuracy) {
            (Some((step, metrics)), accuracy) => {
                self.point(step, metrics, accuracy, found.val_loss);
            }
            (None, Some(sighting)) => {
                self.sighting(sighting, found.val_loss);
            }
            (None, None) => self.prediction_line(line),
        }
    }

    fn sighting(&mut self, sighting: Sighting, val_loss: Option<f64>) -> Reported {
        let reported = Reported { accuracy: sighting.accuracy, val_loss };
        let place = if sighting.name.spelled_out { &mut self.printed.named } else { &mut self.printed.abbreviated };
        *place = Some(reported.clone());
        reported
    }

    fn point(&mut self, step: u64, metrics: Vec<(String, f64)>, accuracy: Option<Sighting>, val_loss: Option<f64>) {
        if let Some(sighting) = accuracy {
            self.printed.point = Some(Reported { accuracy: sighting.accuracy, val_loss });
        }
        if !metrics.is_empty() && self.points_seen < MAX_POINTS {
            self.points_seen += 1;
            self.points.push(Point { step, metrics });
        }
    }

    /// `label: cat` or `probabilities: {...}` on a line of its own.
    fn prediction_line(&mut self, line: &str) {
        let Some((name, rest)) = line.split_once([':', '=']) else {
            return;
        };
        let rest = rest.trim();
        let mut later = Prediction::default();
        if name.trim().eq_ignore_ascii_case("label") {
            let label = rest.trim_matches(['\'', '"']);
            later.label = (!label.is_empty()).then(|| label.chars().take(MAX_LABEL).collect());
        } else if name.trim().eq_ignore_ascii_case("probabilities") {
            later.probabilities = match Literal::parse_prefix(rest) {
                Some((literal @ (Literal::Dict(_) | Literal::List(_)), "")) => Some(literal.into_json()),
                _ => None,
            };
        }
        self.printed.prediction.update(later);
    }
}

/// Brackets opened less brackets closed, those inside strings aside.
fn open_brackets(line: &str) -> i64 {
    let mut open = 0;
    let mut quote = None;
    let mut bytes = line.bytes();
    while let Some(byte) = bytes.next() {
        match (quote, byte) {
            (Some(_), b'\\') => {
                bytes.next();
            }
            (Some(mark), _) if mark == byte => quote = None,
            (Some(_), _) => {}
            (None, b'"' | b'\'') => quote = Some(byte),
            (None, b'{' | b'[' | b'(') => open += 1,
            (None, b'}' | b']' | b')') => open -= 1,
            _ => {}
        }
    }
    open
}

/// Whether `word`, in lower case, is somewhere in the line: cheaper than reading it.
fn mentions(line: &str, word: &[u8]) -> bool {
    line.as_bytes().windows(word.len()).any(|window| window.eq_ignore_ascii_case(word))
}
