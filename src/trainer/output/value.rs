//! The value beside a metric's name: a number as text, maybe a percentage or a count of a
//! total. Knows nothing of names and lines.

use super::literal::Literal;
use crate::domain::accuracy::{Accuracy, AccuracyError};

/// How much of a line is read for one value; keeps hostile lines linear.
const WINDOW: usize = 4096;

/// Greatest step that a floating-point number still holds exactly.
const MAX_FLOAT_STEP: f64 = 9_007_199_254_740_992.0;

/// A number that stands beside a name.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    Number(String),
    Percent(String),
    /// `9910/10000`.
    Counts(String, String),
}

impl Value {
    /// Marks a number whose name says that it is a percentage: `Accuracy (%): 93.2`.
    pub fn into_percent(self) -> Self {
        match self {
            Self::Number(text) => Self::Percent(text),
            other => other,
        }
    }

    /// As an accuracy; `None` when the text turns out to be no number at all.
    pub fn accuracy(&self) -> Option<Result<Accuracy, AccuracyError>> {
        let parsed = match self {
            Self::Number(text) => Accuracy::parse(text),
            Self::Percent(text) => Accuracy::parse(&format!("{text}%")),
            Self::Counts(correct, total) => Accuracy::from_counts(correct.parse().ok()?, total.parse().ok()?),
        };
        let not_a_number = matches!(parsed, Err(AccuracyError::NotANumber { .. }));
        (!not_a_number).then_some(parsed)
    }

    /// As a plain number, which may be NaN or infinite.
    pub fn number(&self) -> Option<f64> {
        match self {
            Self::Number(text) => text.parse().ok(),
            Self::Percent(text) => text.parse().ok().map(|number: f64| number / 100.0),
            Self::Counts(correct, total) => Some(correct.parse::<f64>().ok()? / total.parse::<f64>().ok()?),
        }
    }

    /// The scalar that a literal stands for. Of a list, a history of epochs, the last.
    pub fn of_literal(literal: &Literal) -> Option<Self> {
        match literal {
            Literal::Number(text) => Some(Self::Number(text.clone())),
            Literal::Text(text) => {
                let text = text.trim();
                Some(match text.strip_suffix('%') {
                    Some(number) => Self::Percent(number.trim_end().to_owned()),
                    None => Self::Number(text.to_owned()),
                })
            }
            Literal::List(items) => match items.last()? {
                item @ (Literal::Number(_) | Literal::Text(_)) => Self::of_literal(item),
                _ => None,
            },
            Literal::None | Literal::Bool(_) | Literal::Dict(_) | Literal::Opaque => None,
        }
    }
}

/// The value of the literal that `text` begins with: `'0.93'`, `[0.93]`, `np.float64(0.93)`.
pub fn of_literal_at(text: &str) -> Option<Value> {
    let window = &text[..text.floor_char_boundary(WINDOW)];
    let (literal, _) = Literal::parse_prefix(window)?;
    Value::of_literal(&literal)
}

/// A step number as printed: `200`, `200.0` or `2e3`.
pub fn step(text: &str) -> Option<u64> {
    if let Ok(step) = text.parse() {
        return Some(step);
    }
    let step: f64 = text.parse().ok()?;
    let whole = step.fract() == 0.0 && (0.0..=MAX_FLOAT_STEP).contains(&step);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the range was checked in the line above"
    )]
    whole.then_some(step as u64)
}

/// The accuracy of a line that is nothing but one number: `0.93`, `93%`, `np.float64(0.93)`.
pub fn bare_number(line: &str) -> Option<Result<Accuracy, AccuracyError>> {
    const LONGEST: usize = 128;
    let line = line.trim();
    if line.is_empty() || line.len() > LONGEST {
        return None;
    }
    match Accuracy::parse(line) {
        Err(AccuracyError::NotANumber { .. }) => {}
        parsed => return Some(parsed),
    }
    let (callee, _) = line.split_once('(')?;
    let is_name = |c: char| c.is_alphanumeric() || matches!(c, '_' | '.');
    if callee.is_empty() || !callee.chars().all(is_name) {
        return None;
    }
    let (literal, rest) = Literal::parse_prefix(line)?;
    match (&literal, rest) {
        (Literal::Number(text), "") => Value::Number(text.clone()).accuracy(),
        _ => None,
    }
}
