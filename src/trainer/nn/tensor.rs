//! Parameter tensors as outsiders see them: without padding, and with a name.
//!
//! It must not know which layer a tensor belongs to.

use std::ops::Range;

/// One parameter tensor: its logical sizes and how it lies in memory, where any of its sizes may be padded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tensor {
    /// `weight` or `bias`, behind the name of the layer in a network.
    pub name: String,
    /// Sizes without padding.
    pub shape: Vec<usize>,
    /// Distance in memory between neighbours in each direction.
    steps: Vec<usize>,
    /// Numbers in memory.
    size: usize,
    /// Index of the first number.
    first: usize,
}

impl Tensor {
    /// A tensor that begins at `first`; `sizes` are (logical, in memory).
    pub fn new(name: &str, first: usize, sizes: &[(usize, usize)]) -> Tensor {
        let shape = sizes.iter().map(|(logical, _)| *logical).collect();
        let mut size = 1;
        let mut steps = vec![0; sizes.len()];
        for (step, (_, stored)) in steps.iter_mut().zip(sizes).rev() {
            *step = size;
            size *= stored;
        }
        Tensor { name: name.to_owned(), shape, steps, size, first }
    }

    /// The same tensor with another distance between the neighbours of its first direction.
    pub fn with_row(mut self, distance: usize) -> Tensor {
        if let (Some(step), Some(count)) = (self.steps.first_mut(), self.shape.first()) {
            *step = distance;
            self.size = count * distance;
        }
        self
    }

    /// The same tensor of a layer whose parameters begin at `first` of the network's.
    pub fn within(self, layer: &str, first: usize) -> Tensor {
        Tensor { name: format!("{layer}.{}", self.name), first: self.first + first, ..self }
    }

    /// Numbers without padding.
    pub fn count(&self) -> usize {
        self.shape.iter().product()
    }

    /// Where it lies, with its padding.
    pub fn place(&self) -> Range<usize> {
        self.first..self.first + self.size
    }

    /// Where each number lies, in the order of the shape.
    pub fn places(&self) -> impl Iterator<Item = usize> + '_ {
        (0..self.count()).map(|at| {
            let (mut rest, mut place) = (at, 0);
            for (size, step) in self.shape.iter().zip(&self.steps).rev() {
                place += rest % size * step;
                rest /= size;
            }
            self.first + place
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn padding_is_skipped() {
        let tensor = Tensor::new("weight", 100, &[(2, 2), (1, 3), (2, 4)]).within("conv1", 1000);
        assert_eq!((tensor.name.as_str(), tensor.count(), tensor.place()), ("conv1.weight", 4, 1100..1124));
        assert_eq!(tensor.places().collect::<Vec<_>>(), [1100, 1101, 1112, 1113]);
        let apart = tensor.with_row(20);
        assert_eq!((apart.place(), apart.places().nth(2)), (1100..1140, Some(1120)));
    }
}
