//! An experiment: a name for a point in the space of hyper-parameters. Pure data and its rules.

use super::error::{Error, Result};
use super::ids::{ExperimentId, ModelId};
use super::name::Name;
use super::stamp::Stamp;
use std::fmt;

/// Larger learning rates are typing errors.
pub const MAX_LEARNING_RATE: f64 = 1_000_000.0;
/// Smaller ones too; the bound also keeps the printed form short.
pub const MIN_LEARNING_RATE: f64 = 1e-12;
/// More layers than any script of this kind builds.
pub const MAX_LAYERS: u32 = 10_000;
/// More steps than a machine of this kind does in a year.
pub const MAX_STEPS: u64 = 1_000_000_000_000;

/// A learning rate that passed its rules; prints shortest (`0.001`, `1`).
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
pub struct LearningRate(f64);

impl LearningRate {
    /// Checks a value.
    ///
    /// # Errors
    /// `invalid_parameter` where it is not finite, not above nought, or absurd.
    pub fn new(value: f64) -> Result<Self> {
        if !value.is_finite() {
            return Err(Error::parameter(format!("learning_rate is {value}; give a number such as 0.001")));
        }
        if !(MIN_LEARNING_RATE..=MAX_LEARNING_RATE).contains(&value) {
            return Err(Error::parameter(format!(
                "learning_rate is {value}; it must be at least {MIN_LEARNING_RATE} and at most {MAX_LEARNING_RATE}"
            )));
        }
        Ok(Self(value))
    }

    /// Reads what a client wrote.
    ///
    /// # Errors
    /// `invalid_parameter` where it is no number or breaks the rules of [`LearningRate::new`].
    pub fn parse(text: &str) -> Result<Self> {
        let value: f64 = text.trim().parse().map_err(|_| {
            Error::parameter(format!("learning_rate is {:?}; give a number such as 0.001", short(text)))
        })?;
        Self::new(value)
    }

    /// The number.
    pub fn get(self) -> f64 {
        self.0
    }
}

impl fmt::Display for LearningRate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Rust prints the shortest decimal that reads back as the same number, and never an exponent.
        write!(f, "{}", self.0)
    }
}

/// Reads a whole number of at least 1 that a client gave as `parameter`.
///
/// # Errors
/// `invalid_parameter` where it is no whole number from 1 to `most`.
pub fn parse_count(parameter: &str, text: &str, most: u64) -> Result<u64> {
    let refuse = || Error::parameter(format!("{parameter} is {:?}; give a whole number from 1 to {most}", short(text)));
    let value: u64 = text.trim().parse().map_err(|_| refuse())?;
    if value == 0 || value > most {
        return Err(refuse());
    }
    Ok(value)
}

fn short(text: &str) -> String {
    text.chars().take(64).collect()
}

/// What a training script is told: `--i`, `--j`, `--k`.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
pub struct HyperParameters {
    /// `--i`
    pub learning_rate: LearningRate,
    /// `--j`
    pub layers: u32,
    /// `--k`
    pub steps: u64,
}

impl HyperParameters {
    /// Checks the three as a program gave them.
    ///
    /// # Errors
    /// `invalid_parameter` naming the first that is wrong.
    pub fn new(learning_rate: f64, layers: u64, steps: u64) -> Result<Self> {
        let within = |parameter: &str, value: u64, most: u64| match value {
            1.. if value <= most => Ok(value),
            _ => Err(Error::parameter(format!("{parameter} is {value}; give a whole number from 1 to {most}"))),
        };
        Ok(Self {
            learning_rate: LearningRate::new(learning_rate)?,
            layers: u32::try_from(within("layers", layers, u64::from(MAX_LAYERS))?).unwrap_or(MAX_LAYERS),
            steps: within("steps", steps, MAX_STEPS)?,
        })
    }

    /// Reads the three as a client wrote them.
    ///
    /// # Errors
    /// `invalid_parameter` naming the first that is wrong.
    pub fn parse(learning_rate: &str, layers: &str, steps: &str) -> Result<Self> {
        Ok(Self {
            learning_rate: LearningRate::parse(learning_rate)?,
            layers: u32::try_from(parse_count("num_layers", layers, u64::from(MAX_LAYERS))?).unwrap_or(MAX_LAYERS),
            steps: parse_count("num_steps", steps, MAX_STEPS)?,
        })
    }
}

/// An experiment of a model.
#[derive(Debug, Clone, PartialEq)]
pub struct Experiment {
    /// Its key.
    pub id: ExperimentId,
    /// Ownership and history.
    pub stamp: Stamp,
    /// Whose it is.
    pub model: ModelId,
    /// Unique within the model.
    pub name: Name,
    /// Its place in the order of creation; ties between results go to the lower one.
    pub ordinal: u32,
    /// True for one of the sweep that came with the model.
    pub is_default: bool,
    /// What its runs are told.
    pub parameters: HyperParameters,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn learning_rates_print_shortest() {
        for (given, printed) in [("0.001", "0.001"), ("1.0", "1"), ("1e-3", "0.001"), ("10", "10"), ("0.1", "0.1")] {
            assert_eq!(LearningRate::parse(given).unwrap().to_string(), printed);
        }
        for bad in ["NaN", "inf", "-0.1", "0", "", "x", "1e300", "1e-300", "0,1"] {
            assert!(LearningRate::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn counts_are_whole() {
        for bad in ["0", "-1", "1.5", "1e3", "", "99999999999999999999", "10001", "NaN"] {
            assert!(parse_count("num_layers", bad, 10_000).is_err(), "{bad}");
        }
        assert_eq!(parse_count("num_layers", "4", 10_000).unwrap(), 4);
    }

    proptest! {
        #[test]
        fn a_printed_learning_rate_reads_back(value in MIN_LEARNING_RATE..MAX_LEARNING_RATE) {
            let rate = LearningRate::new(value).unwrap();
            prop_assert_eq!(LearningRate::parse(&rate.to_string()).unwrap(), rate);
            prop_assert!(!rate.to_string().contains('e'));
        }
    }
}
