//! Finds accuracies, a validation loss and progress points in a line of free text.
//!
//! A value counts when it stands right behind its name, with nothing but quotes, a
//! connector (`:` `=` `|` `->` "is" "was" or mere space) or words of a known phrase between
//! them. Everything else that mentions accuracy is prose. Names are judged by
//! [`super::names`]; this module must not know lines before or after its own.

use super::lexer::{Kind, Token, tokens};
use super::names::{self, AccuracyName, MAX_NAME, Metric, Split};
use super::value::{self, Value};
use crate::domain::accuracy::{Accuracy, AccuracyError};

/// Most metrics kept of one point.
pub const MAX_METRICS: usize = 32;

/// How far to look from a name for its qualifiers and its value.
const REACH: usize = 24;
const QUALIFIERS: usize = 4;

/// The most telling accuracy of a line or of an object.
#[derive(Debug, Clone, PartialEq)]
pub struct Sighting {
    pub name: AccuracyName,
    pub accuracy: Result<Accuracy, AccuracyError>,
}

impl Sighting {
    /// The one with the more telling name; the first where they are alike.
    pub fn more_telling(first: Option<Self>, second: Option<Self>) -> Option<Self> {
        match (first, second) {
            (Some(first), Some(second)) if second.name > first.name => Some(second),
            (first, second) => first.or(second),
        }
    }
}

/// What one line of text carries.
#[derive(Debug, Default, PartialEq)]
pub struct Findings {
    pub accuracy: Option<Sighting>,
    pub val_loss: Option<f64>,
    /// `step=200 loss=0.41`: the step and the finite metrics beside it.
    pub point: Option<(u64, Vec<(String, f64)>)>,
}

/// Reads a line of free text.
pub fn scan(line: &str) -> Findings {
    let text = Text { line, tokens: tokens(line) };
    let mut findings = Findings { point: text.point(), ..Findings::default() };
    for at in 0..text.tokens.len() {
        match text.metric_at(at) {
            Some(Metric::Accuracy(name)) => {
                let seen = text.accuracy_at(at, name);
                findings.accuracy = Sighting::more_telling(findings.accuracy, seen);
            }
            Some(Metric::ValidationLoss) => {
                let loss = text.value_behind(at).and_then(|found| found.value.number());
                findings.val_loss = findings.val_loss.or(loss.filter(|loss| loss.is_finite()));
            }
            None => {}
        }
    }
    findings
}

struct Text<'a> {
    line: &'a str,
    tokens: Vec<Token>,
}

/// A value and how firmly the text ties it to its name.
struct Behind {
    value: Value,
    split: Split,
    /// A `:` or `=` or "is" stands between, not mere space.
    firm: bool,
}

impl<'a> Text<'a> {
    fn text(&self, at: usize) -> &'a str {
        self.tokens.get(at).map_or("", |token| token.text(self.line))
    }

    fn is(&self, at: usize, kind: Kind) -> bool {
        self.tokens.get(at).is_some_and(|token| token.kind == kind)
    }

    /// Whether the token hangs on the one before it, without space.
    fn glued(&self, at: usize) -> bool {
        self.tokens.get(at).is_some_and(|token| !token.spaced)
    }

    fn is_mark(&self, at: usize, marks: &str) -> bool {
        self.is(at, Kind::Mark) && marks.contains(self.text(at))
    }

    /// The first token of the name that ends at `at`: `test/accuracy` is one name.
    fn name_start(&self, at: usize) -> usize {
        let mut start = at;
        while start >= 2
            && at - start < 6
            && self.glued(start)
            && self.glued(start - 1)
            && self.is_mark(start - 1, "-/.")
            && !self.is(start - 2, Kind::Mark)
        {
            start -= 2;
        }
        start
    }

    fn name(&self, at: usize) -> &'a str {
        let start = self.tokens.get(self.name_start(at)).map_or(0, |token| token.start);
        let end = self.tokens.get(at).map_or(0, |token| token.end);
        self.line.get(start..end).unwrap_or("")
    }

    /// The metric named by the word at `at`, qualifiers before it included.
    fn metric_at(&self, at: usize) -> Option<Metric> {
        let word = self.text(at);
        let plausible = self.is(at, Kind::Word) && word.len() <= MAX_NAME && ends_like_metric(word);
        if !plausible || self.goes_on(at) {
            return None;
        }
        let start = self.name_start(at);
        // `--accuracy 0.5` is an argument of a command line.
        if start >= 2 && self.glued(start) && self.is_mark(start - 1, "-") && self.is_mark(start - 2, "-") {
            return None;
        }
        let qualified = start.checked_sub(1).filter(|before| self.is(*before, Kind::Word));
        let name = self.name(at);
        if let Some(before) = qualified
            && name.eq_ignore_ascii_case("loss")
        {
            return names::classify(&format!("{} {name}", self.text(before)));
        }
        match names::classify(name)? {
            Metric::Accuracy(name) => Some(Metric::Accuracy(name.on(self.split_before(start)?))),
            loss => Some(loss),
        }
    }

    /// Whether the name runs on behind `at`: `accuracy-threshold`, `accuracy@5`.
    fn goes_on(&self, at: usize) -> bool {
        if !self.glued(at + 1) {
            return false;
        }
        let joined = self.is_mark(at + 1, "-/.") && self.glued(at + 2) && !self.is(at + 2, Kind::Mark);
        joined || self.is_mark(at + 1, "@")
    }

    /// What the words before a name say about it; `None` if they make it something else.
    fn split_before(&self, start: usize) -> Option<Split> {
        let mut split = Split::Unsaid;
        for at in (start.saturating_sub(QUALIFIERS)..start).rev() {
            let word = self.text(at).to_lowercase();
            let of_top = at >= 1 && self.tail_is_top(at);
            if names::disqualifies(&word) || (of_top && word != "1") {
                return None;
            }
            match names::qualifier(&word) {
                Some(found) if split == Split::Unsaid => split = found,
                Some(_) => {}
                None => break,
            }
        }
        Some(split)
    }

    /// Whether `top` stands before the number at `at`, as in `top-5` and `top 5`.
    fn tail_is_top(&self, at: usize) -> bool {
        let before = if self.is_mark(at - 1, "-") { at.checked_sub(2) } else { Some(at - 1) };
        self.is(at, Kind::Number) && before.is_some_and(|before| self.text(before).eq_ignore_ascii_case("top"))
    }

    fn accuracy_at(&self, at: usize, name: AccuracyName) -> Option<Sighting> {
        let found = self.value_behind(at)?;
        if !name.spelled_out && !found.firm {
            return None;
        }
        Some(Sighting { name: name.on(found.split), accuracy: found.value.accuracy()? })
    }

    /// The value that belongs to the name ending at `name`.
    fn value_behind(&self, name: usize) -> Option<Behind> {
        let mut firm = false;
        let mut phrase = false;
        let mut percent = false;
        let mut split = Split::Unsaid;
        for at in name + 1..(name + REACH).min(self.tokens.len()) {
            if self.is(at, Kind::Mark) {
                match self.text(at) {
                    ":" | "=" | "|" | "│" | "┃" | "║" => firm = true,
                    "%" => percent = true,
                    "\"" | "'" if at == name + 1 => {}
                    "\"" | "'" | "[" if firm => return self.value(at, percent, firm, split),
                    "-" | "–" | "—" if !self.is(at + 1, Kind::Mark) && self.glued(at + 1) => {
                        return None;
                    }
                    // An arrow connects, a comparison does not.
                    ">" if !self.glued(at) || !self.is_mark(at - 1, "-=") => return None,
                    "(" | ")" | "[" | "]" | ">" | "→" | "~" | "≈" | "*" | "`" | "-" | "–" | "—" => {}
                    _ => return None,
                }
            } else if self.is(at, Kind::Word) {
                let word = self.text(at).to_lowercase();
                match word.as_str() {
                    _ if self.is_call(at) => return self.value(at, percent, firm, split),
                    "is" | "was" | "equals" | "reached" => firm = true,
                    "percent" | "pct" => percent = true,
                    _ if !firm && names::is_phrase_word(&word) => {
                        phrase = true;
                        split = split.max(names::qualifier(&word).unwrap_or(Split::Unsaid));
                    }
                    _ => return None,
                }
            } else if !(phrase && !firm && self.in_phrase(at)) {
                let found = self.value(at, percent, firm, split)?;
                return (firm || !self.is_count(at, phrase, &found.value)).then_some(found);
            }
        }
        None
    }

    /// Whether the number at `at` is part of a phrase: "on the 10000 test images", "epoch 3:".
    fn in_phrase(&self, at: usize) -> bool {
        let word = self.text(at + 1).to_lowercase();
        names::is_phrase_word(&word) || self.is_mark(at + 1, ":=")
    }

    /// "accuracy of 5 runs", "accuracy after 3": a loosely tied number that is no accuracy.
    fn is_count(&self, at: usize, phrase: bool, value: &Value) -> bool {
        let unusable = value.accuracy().is_none_or(|accuracy| accuracy.is_err());
        let whole = self.text(at).bytes().all(|byte| byte.is_ascii_digit());
        unusable && (phrase || (whole && self.is(at + 1, Kind::Word)))
    }

    /// `np.float64(`, `tensor(`.
    fn is_call(&self, at: usize) -> bool {
        let mut end = at;
        while self.is_mark(end + 1, ".") && self.is(end + 2, Kind::Word) && end - at < 6 {
            end += 2;
        }
        self.is_mark(end + 1, "(") && self.glued(end + 1)
    }

    fn value(&self, at: usize, percent: bool, firm: bool, split: Split) -> Option<Behind> {
        let start = self.tokens.get(at)?.start;
        let value = if self.is(at, Kind::Number) {
            self.number_value(at)?
        } else {
            value::of_literal_at(self.line.get(start..)?)?
        };
        let value = if percent { value.into_percent() } else { value };
        Some(Behind { value, split, firm })
    }

    /// The number at `at` with its `%` or its total, unless it is no plain number.
    fn number_value(&self, at: usize) -> Option<Value> {
        let number = self.text(at);
        let next = at + 1;
        // `0,93`, `0.93.ckpt`: a foreign decimal point, a file's name.
        let runs_on = self.is_mark(next, ",.") && self.glued(next) && self.glued(next + 1);
        let continued = match self.text(next) {
            "," => self.is(next + 1, Kind::Number),
            _ => self.is(next + 1, Kind::Word),
        };
        if runs_on && continued {
            return None;
        }
        if self.is_mark(next, "/") && self.is(next + 1, Kind::Number) {
            return Some(Value::Counts(number.to_owned(), self.text(next + 1).to_owned()));
        }
        let word = self.text(next).to_lowercase();
        let percent = self.is_mark(next, "%") || matches!(word.as_str(), "percent" | "pct");
        if names::is_unit(&word) || self.is_mark(next, "°") {
            return None;
        }
        let value = Value::Number(number.to_owned());
        Some(if percent { value.into_percent() } else { value })
    }

    /// `step=200 loss=0.41 accuracy=0.87`.
    fn point(&self) -> Option<(u64, Vec<(String, f64)>)> {
        let mut step = None;
        let mut metrics = Vec::new();
        for at in 1..self.tokens.len() {
            if !self.is_mark(at, "=") || !self.is(at - 1, Kind::Word) || !self.is(at + 1, Kind::Number) {
                continue;
            }
            let name = self.name(at - 1);
            if name.eq_ignore_ascii_case("step") {
                step = step.or_else(|| value::step(self.text(at + 1)));
            } else if name.len() <= MAX_NAME
                && metrics.len() < MAX_METRICS
                && let Some(number) = self.number_value(at + 1).and_then(|value| value.number())
                && number.is_finite()
            {
                metrics.push((name.to_owned(), number));
            }
        }
        step.map(|step| (step, metrics))
    }
}

/// A cheap look before the full judgement of a word.
fn ends_like_metric(word: &str) -> bool {
    let word = word.as_bytes();
    [&b"accuracy"[..], b"acc", b"loss", b"score"]
        .iter()
        .any(|end| word.len() >= end.len() && word[word.len() - end.len()..].eq_ignore_ascii_case(end))
}
