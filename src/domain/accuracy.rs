//! An accuracy as a script printed it: a number from 0 to 1 that keeps its digits.
//!
//! Users compare what `/allAccuracies` shows with their own log, so the text stays as it
//! was printed and the `f64` beside it serves comparisons only. This module must not know
//! where a text was found (see `trainer::output`) or how an accuracy is stored.
//!
//! What changes in a text, and only this: surrounding white space, a leading `+`, the sign
//! of a negative zero, and a `%`, which moves the decimal point two places to the left in
//! the text itself, because a float division would turn `34.2%` into `0.34200000000000003`
//! on some day. A fraction that is nothing but zeros after that move is dropped (`100%` is
//! `1`); all other digits stay (`90%` is `0.90`).

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

use thiserror::Error;

/// Longest text kept. Python's `Decimal` prints 28 digits, `longdouble` 21.
pub const MAX_TEXT: usize = 80;

/// How much of an unusable text an error message repeats.
const SHOWN: usize = 40;

/// A finite number from 0 to 1 and the digits it was printed with.
#[derive(Debug, Clone, PartialEq)]
pub struct Accuracy {
    text: String,
    value: f64,
}

/// Why a printed text is no accuracy, and what to print instead.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum AccuracyError {
    #[error("printed accuracy {printed}; print a number between 0 and 1, such as accuracy: 0.93")]
    NotANumber { printed: String },
    #[error(
        "printed accuracy {printed}, which is not a finite number; print one between 0 and 1 \
         (a learning rate that is too high is the usual cause)"
    )]
    NotFinite { printed: String },
    #[error("printed accuracy {printed}; print a number between 0 and 1, or add a % sign")]
    OutOfRange { printed: String },
    #[error("printed accuracy {printed}; a percentage must be between 0% and 100%")]
    PercentOutOfRange { printed: String },
    #[error("printed accuracy {printed}... with more than {MAX_TEXT} characters; print fewer digits")]
    TooLong { printed: String },
}

impl Accuracy {
    /// Reads `0.342`, `1e-3`, `.5`, `34.2%` or `34.2 %`.
    pub fn parse(printed: &str) -> Result<Self, AccuracyError> {
        let trimmed = printed.trim();
        let (number, percent) = match trimmed.strip_suffix('%') {
            Some(number) => (number.trim_end(), true),
            None => (trimmed, false),
        };
        if is_non_finite(number) {
            return Err(AccuracyError::NotFinite { printed: shown(trimmed) });
        }
        let decimal = Decimal::split(number).ok_or_else(|| AccuracyError::NotANumber { printed: shown(trimmed) })?;
        if number.len() > MAX_TEXT {
            return Err(AccuracyError::TooLong { printed: shown(trimmed) });
        }
        let unsigned = if percent { decimal.hundredth() } else { Some(decimal.unsigned.to_owned()) };
        let text = unsigned.ok_or_else(|| AccuracyError::NotANumber { printed: shown(trimmed) })?;
        Self::checked(text, decimal.negative, percent, trimmed)
    }

    /// A correct count out of a total (`9910/10000`), as the shortest text of the quotient.
    pub fn from_counts(correct: f64, total: f64) -> Result<Self, AccuracyError> {
        let quotient = correct / total;
        if quotient.is_finite() {
            return Self::parse(&quotient.to_string());
        }
        Err(AccuracyError::NotFinite { printed: format!("{correct}/{total}") })
    }

    fn checked(text: String, negative: bool, percent: bool, printed: &str) -> Result<Self, AccuracyError> {
        if text.len() > MAX_TEXT {
            return Err(AccuracyError::TooLong { printed: shown(printed) });
        }
        let value: f64 = text.parse().map_err(|_| AccuracyError::NotANumber { printed: shown(printed) })?;
        let in_range = (0.0..=1.0).contains(&value) && (!negative || value == 0.0);
        if in_range {
            return Ok(Self { text, value });
        }
        let printed = shown(printed);
        Err(if percent { AccuracyError::PercentOutOfRange { printed } } else { AccuracyError::OutOfRange { printed } })
    }

    /// The digits as printed.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The number for comparisons: finite, from 0 to 1.
    pub fn value(&self) -> f64 {
        self.value
    }

    /// Order by value alone; two spellings of one number are equal here.
    pub fn compare(&self, other: &Self) -> Ordering {
        self.value.total_cmp(&other.value)
    }
}

impl fmt::Display for Accuracy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for Accuracy {
    type Err = AccuracyError;

    fn from_str(printed: &str) -> Result<Self, Self::Err> {
        Self::parse(printed)
    }
}

/// A decimal number cut into its parts. Rust's own `f64` parser also takes `infinity`
/// and the like, so the grammar is checked here.
struct Decimal<'a> {
    negative: bool,
    unsigned: &'a str,
    whole: &'a str,
    fraction: &'a str,
    exponent: Option<&'a str>,
}

impl<'a> Decimal<'a> {
    fn split(text: &'a str) -> Option<Self> {
        let negative = text.starts_with('-');
        let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
        let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
            Some((mantissa, exponent)) => (mantissa, Some(exponent)),
            None => (unsigned, None),
        };
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
        let exponent_fits = exponent.is_none_or(|exponent| {
            let exponent = exponent.strip_prefix(['-', '+']).unwrap_or(exponent);
            !exponent.is_empty() && digits(exponent)
        });
        let mantissa_fits = digits(whole) && digits(fraction) && !(whole.is_empty() && fraction.is_empty());
        (mantissa_fits && exponent_fits).then_some(Self { negative, unsigned, whole, fraction, exponent })
    }

    /// The text of a hundredth of this number, sign left out.
    fn hundredth(&self) -> Option<String> {
        if let Some(exponent) = self.exponent {
            let exponent: i64 = exponent.parse().ok()?;
            let mantissa = self.unsigned.split(['e', 'E']).next()?;
            return Some(format!("{mantissa}e{}", exponent.checked_sub(2)?));
        }
        let padded = format!("{:0>3}", self.whole);
        let (whole, moved) = padded.split_at(padded.len() - 2);
        let whole = match whole.trim_start_matches('0') {
            "" => "0",
            significant => significant,
        };
        let fraction = format!("{moved}{}", self.fraction);
        if fraction.bytes().all(|digit| digit == b'0') {
            return Some(whole.to_owned());
        }
        Some(format!("{whole}.{fraction}"))
    }
}

fn is_non_finite(number: &str) -> bool {
    let unsigned = number.strip_prefix(['-', '+']).unwrap_or(number);
    ["nan", "inf", "infinity"].iter().any(|word| unsigned.eq_ignore_ascii_case(word))
}

fn shown(printed: &str) -> String {
    printed.chars().take(SHOWN).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn text(printed: &str) -> String {
        Accuracy::parse(printed).unwrap().text().to_owned()
    }

    #[test]
    fn digits_stay_as_printed() {
        for printed in [
            "0.7325364548231516",
            "1",
            "0",
            "1.0",
            "1.",
            ".5",
            "1e-3",
            "9.3E-1",
            "0.9300",
            "0.1234567890123456789012345678",
        ] {
            assert_eq!(text(printed), printed);
        }
        assert_eq!(text(" +0.5 "), "0.5");
        assert_eq!(text("-0.0"), "0.0");
    }

    #[test]
    fn a_percent_sign_moves_the_point() {
        for (printed, kept) in [
            ("34.2%", "0.342"),
            ("93%", "0.93"),
            ("93 %", "0.93"),
            ("100%", "1"),
            ("100.00%", "1"),
            ("0%", "0"),
            ("0.00%", "0"),
            ("5%", "0.05"),
            ("05%", "0.05"),
            (".5%", "0.005"),
            ("90%", "0.90"),
            ("87.50%", "0.8750"),
            ("0.07%", "0.0007"),
            ("9.3e1%", "9.3e-1"),
            ("+12%", "0.12"),
        ] {
            assert_eq!(text(printed), kept, "{printed}");
        }
    }

    #[test]
    fn unusable_numbers_say_what_to_print() {
        let message = |printed| Accuracy::parse(printed).unwrap_err().to_string();
        assert_eq!(message("93.2"), "printed accuracy 93.2; print a number between 0 and 1, or add a % sign");
        assert!(message("-0.1").contains("between 0 and 1"));
        assert!(message("101%").contains("between 0% and 100%"));
        for printed in ["nan", "NaN", "-nan", "inf", "-Infinity", "nan%"] {
            assert!(message(printed).contains("not a finite number"), "{printed}");
        }
        for printed in ["", "%", ".", "-", "1e", "0.3.4", "0x1", "1_0", "cat", "1e5e5"] {
            let error = Accuracy::parse(printed).unwrap_err();
            assert!(matches!(error, AccuracyError::NotANumber { .. }), "{printed}");
        }
        let long = format!("0.{}", "3".repeat(1000));
        assert!(message(&long).contains("fewer digits"));
        assert!(message(&long).len() < 200);
    }

    #[test]
    fn counts_become_a_quotient() {
        assert_eq!(Accuracy::from_counts(9910.0, 10000.0).unwrap().text(), "0.991");
        assert_eq!(Accuracy::from_counts(10.0, 10.0).unwrap().text(), "1");
        assert!(Accuracy::from_counts(1.0, 0.0).is_err());
        assert!(Accuracy::from_counts(11.0, 10.0).is_err());
    }

    proptest! {
        #[test]
        fn any_text_is_an_answer(printed in ".{0,200}") {
            if let Ok(accuracy) = Accuracy::parse(&printed) {
                prop_assert!((0.0..=1.0).contains(&accuracy.value()));
                prop_assert!(accuracy.text().len() <= MAX_TEXT);
            }
        }

        #[test]
        fn a_kept_text_reads_back_as_itself(whole in "[0-9]{0,3}", fraction in "[0-9]{0,20}",
                                            exponent in "(e-?[0-9]{1,2})?", sign in "%?") {
            if let Ok(first) = Accuracy::parse(&format!("{whole}.{fraction}{exponent}{sign}")) {
                prop_assert_eq!(Accuracy::parse(first.text()).unwrap(), first);
            }
        }

        #[test]
        fn every_float_in_range_round_trips(value in 0.0f64..=1.0) {
            let accuracy = Accuracy::parse(&value.to_string()).unwrap();
            prop_assert_eq!(accuracy.value(), value);
            prop_assert_eq!(accuracy.to_string(), value.to_string());
        }

        #[test]
        fn a_percentage_is_within_rounding_of_its_hundredth(value in 0.0f64..=100.0) {
            let accuracy = Accuracy::parse(&format!("{value}%")).unwrap();
            prop_assert!((accuracy.value() - value / 100.0).abs() <= 1e-15);
        }
    }
}
