//! A sweep: the grid of hyper-parameters that a model starts with, and runs submitted together.

use super::dataset::DatasetVersion;
use super::error::{Error, Result};
use super::experiment::{HyperParameters, LearningRate, MAX_LAYERS, MAX_STEPS};
use super::ids::{ModelId, SweepId};
use super::stamp::Stamp;

/// The most experiments that a grid may have.
pub const MAX_GRID: usize = 10_000;

/// The values that a sweep combines, each with each.
#[derive(Debug, Clone, PartialEq)]
pub struct Grid {
    learning_rates: Vec<LearningRate>,
    layers: Vec<u32>,
    steps: Vec<u64>,
}

impl Grid {
    /// Checks the three lists.
    ///
    /// # Errors
    /// `invalid_parameter` where a list is empty, repeats itself, breaks a parameter's rules, or the product is too large.
    pub fn new(learning_rates: &[f64], layers: &[u32], steps: &[u64]) -> Result<Self> {
        if learning_rates.is_empty() || layers.is_empty() || steps.is_empty() {
            return Err(Error::parameter(
                "a sweep needs at least one learning rate, one layer count and one step count",
            ));
        }
        let size = learning_rates.len().saturating_mul(layers.len()).saturating_mul(steps.len());
        if size > MAX_GRID {
            return Err(Error::parameter(format!("a sweep has at most {MAX_GRID} experiments; this one has {size}")));
        }
        if let Some(bad) = layers.iter().find(|n| !(1..=MAX_LAYERS).contains(*n)) {
            return Err(Error::parameter(format!("layers holds {bad}; it must be from 1 to {MAX_LAYERS}")));
        }
        if let Some(bad) = steps.iter().find(|n| !(1..=MAX_STEPS).contains(*n)) {
            return Err(Error::parameter(format!("steps holds {bad}; it must be from 1 to {MAX_STEPS}")));
        }
        let rates = learning_rates.iter().map(|rate| LearningRate::new(*rate)).collect::<Result<Vec<_>>>()?;
        Ok(Self { learning_rates: rates, layers: layers.to_vec(), steps: steps.to_vec() })
    }

    /// How many experiments it makes.
    pub fn len(&self) -> usize {
        self.learning_rates.len() * self.layers.len() * self.steps.len()
    }

    /// Never true: a grid has a value on each axis.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The experiments in order: over learning rates, then layers, then steps, the last fastest.
    pub fn points(&self) -> impl Iterator<Item = HyperParameters> + '_ {
        self.learning_rates.iter().flat_map(move |rate| {
            self.layers.iter().flat_map(move |layers| {
                self.steps.iter().map(move |steps| HyperParameters {
                    learning_rate: *rate,
                    layers: *layers,
                    steps: *steps,
                })
            })
        })
    }
}

/// Runs that were submitted together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sweep {
    /// Its key.
    pub id: SweepId,
    /// Ownership and history.
    pub stamp: Stamp,
    /// Whose it is.
    pub model: ModelId,
    /// What it trains on.
    pub version: DatasetVersion,
    /// How many runs it made.
    pub runs: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_grid_counts_as_the_contract_says() {
        let grid = Grid::new(&[0.001, 0.01, 0.1], &[1, 2, 4], &[1000, 2000, 4000]).unwrap();
        let text: Vec<String> =
            grid.points().map(|p| format!("{}/{}/{}", p.learning_rate, p.layers, p.steps)).collect();
        assert_eq!(text.len(), 27);
        assert_eq!((text[0].as_str(), text[1].as_str()), ("0.001/1/1000", "0.001/1/2000"));
        assert_eq!(text[26], "0.1/4/4000");
    }

    #[test]
    fn bad_grids_are_refused() {
        assert!(Grid::new(&[], &[1], &[1]).is_err());
        assert!(Grid::new(&[f64::NAN], &[1], &[1]).is_err());
        assert!(Grid::new(&[0.1], &[0], &[1]).is_err());
        assert!(Grid::new(&[0.1; 100], &[1; 101], &[1]).is_err());
    }
}
