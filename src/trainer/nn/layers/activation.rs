//! An activation function as a layer of its own, such as one that stands behind a norm.
//!
//! It must not know what stands before it.

use crate::trainer::nn::kernels::activation::{Activation, Backward, Forward};
use crate::trainer::nn::layer::{Flow, Layer, Pass};
use crate::trainer::nn::plane::{Plane, runs};

/// Applies one function to every number.
pub struct Activate {
    input: Plane,
    output: Plane,
    function: Activation,
}

impl Activate {
    /// `input` has no border; `border` says whether the next layer wants one.
    pub fn new(input: Plane, function: Activation, border: bool) -> Activate {
        Activate { input, output: if border { input.bordered() } else { input }, function }
    }
}

impl Layer for Activate {
    fn kind(&self) -> &'static str {
        "activation"
    }

    fn input(&self) -> Plane {
        self.input
    }

    fn output(&self) -> Plane {
        self.output
    }

    fn forward(&mut self, pass: Pass<'_>, input: &[f32], output: &mut [f32]) {
        for (from, to) in runs(self.input, self.output, pass.images) {
            pass.isa.run(Forward { function: self.function, input: &input[from], output: &mut output[to] });
        }
    }

    fn backward(&mut self, pass: Pass<'_>, flow: Flow<'_>) {
        let Some(input_gradient) = flow.input_gradient else { return };
        for (from, to) in runs(self.input, self.output, pass.images) {
            pass.isa.run(Backward {
                function: self.function,
                input: &flow.input[from.clone()],
                output_gradient: &flow.output_gradient[to],
                input_gradient: &mut input_gradient[from],
            });
        }
    }
}
