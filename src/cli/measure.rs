//! `measure`: how fast the trainer's kernels are on this machine. Hidden: `scripts/bench` reads it.
//!
//! It must not know data sets: the numbers it works on are random.

use super::{CliError, environment, print_line};
use crate::image::Channels;
use crate::trainer::classify::architecture;
use crate::trainer::nn::kernels::Isa;
use crate::trainer::nn::network::Network;
use crate::trainer::nn::optimiser::{Optimiser, Sgd};
use crate::trainer::nn::rng::Rng;
use serde::Serialize;
use std::time::{Duration, Instant};

/// Measure the built-in trainer's kernels.
#[derive(Debug, clap::Args)]
pub struct MeasureArgs {
    /// Pixels a side
    #[arg(long, default_value_t = 64)]
    side: u32,
    /// Colour planes: 1 or 3
    #[arg(long, default_value_t = 3)]
    channels: usize,
    /// Convolution blocks
    #[arg(long, default_value_t = 4)]
    layers: u32,
    /// Images in a batch
    #[arg(long, default_value_t = 32)]
    batch: usize,
    /// How long to measure
    #[arg(long, default_value_t = 3.0)]
    seconds: f64,
    /// Leave out the norm of the gradient
    #[arg(long)]
    plain: bool,
}

#[derive(Serialize)]
struct Report {
    isa: &'static str,
    steps: usize,
    median_ms: f64,
    p10_ms: f64,
    gflop_per_step: f64,
    gflops: f64,
}

/// Runs the subcommand.
///
/// # Errors
/// If nobody reads the answer.
pub fn run(args: &MeasureArgs) -> Result<(), CliError> {
    let isa: Isa = environment::isa()?;
    let channels = Channels::from_count(args.channels).unwrap_or(Channels::Rgb);
    let shape = architecture::network(args.side, channels, args.layers, 10);
    let mut rng = Rng::new(1, 1);
    let mut network = Network::initialised(isa, shape.clone(), args.batch, &mut rng);
    for image in 0..args.batch {
        for y in 0..shape.input.height {
            network.input_row(image, y).fill_with(|| rng.uniform());
        }
    }
    let targets: Vec<u16> = (0..args.batch).map(|at| (at * 7 % 10) as u16).collect();
    let mut sgd = Sgd::new(network.parameters().len(), 0.01, 0.9, if args.plain { f32::INFINITY } else { 1.0 });
    let mut times = Vec::new();
    let begin = Instant::now();
    while begin.elapsed() < Duration::from_secs_f64(args.seconds) {
        let step = Instant::now();
        network.learn(&targets);
        let (parameters, gradient) = network.parameters_and_gradient();
        sgd.step(isa, parameters, gradient);
        times.push(step.elapsed().as_secs_f64());
    }
    times.sort_by(f64::total_cmp);
    let flop = (shape.operations() * args.batch as u64) as f64;
    let median = times[times.len() / 2];
    print_line(&Report {
        isa: isa.name(),
        steps: times.len(),
        median_ms: 1e3 * median,
        p10_ms: 1e3 * times[times.len() / 10],
        gflop_per_step: flop / 1e9,
        gflops: flop / median / 1e9,
    })
}
