//! The gradient of whole networks against central differences, on every instruction set of the machine.

use super::kernels::Isa;
use super::network::{Network, NetworkShape, Stage};
use super::rng::Rng;

fn stage(outputs: usize, pool: bool) -> Stage {
    Stage { outputs, pool }
}

fn shape(side: usize, channels: usize, stages: Vec<Stage>, classes: usize) -> NetworkShape {
    NetworkShape { height: side, width: side, channels, stages, classes }
}

fn shapes() -> Vec<NetworkShape> {
    vec![
        shape(8, 1, vec![stage(16, true)], 10),
        shape(8, 3, vec![stage(5, true), stage(9, true)], 3),
        shape(7, 1, vec![stage(16, true), stage(7, false), stage(33, false)], 4),
        shape(2, 3, vec![stage(16, false), stage(16, false), stage(8, true)], 2),
        shape(1, 1, vec![stage(4, false)], 2),
        shape(4, 3, vec![], 5),
    ]
}

fn prepare(isa: Isa, shape: &NetworkShape, targets: &[u16]) -> Network {
    let mut rng = Rng::new(5, 0);
    let mut network = Network::initialised(isa, shape.clone(), targets.len(), &mut rng);
    for y in 0..shape.height {
        network.input_row(y).fill_with(|| rng.uniform());
    }
    // Biases away from zero, so that they matter and few units sit on the kink of ReLU.
    for parameter in shape.parameters().iter().filter(|parameter| parameter.name.ends_with("bias")) {
        let values: Vec<f32> = network.values(parameter).iter().map(|_| 0.3 * rng.uniform() + 0.1).collect();
        network.set_values(parameter, values);
    }
    network
}

fn loss(network: &mut Network, targets: &[u16]) -> f64 {
    network.forward();
    network.loss(targets).mean()
}

/// Along the gradient of each tensor, the loss changes as fast as the gradient is long; and along a random direction as
/// fast as their product says.
#[test]
fn gradients_agree_with_differences() {
    for isa in Isa::available() {
        for shape in shapes() {
            let targets: Vec<u16> = (0..19u16).map(|at| at * 7 % shape.classes as u16).collect();
            let mut network = prepare(isa, &shape, &targets);
            network.forward();
            network.backward(&targets);
            let gradient = network.parameters_and_gradient().1.to_vec();
            let mut of_gradient = Network::zeroed(isa, shape.clone(), 1);
            of_gradient.parameters_and_gradient().0.copy_from_slice(&gradient);
            for parameter in shape.parameters() {
                let slope = of_gradient.values(&parameter);
                let mut rng = Rng::new(9, 0);
                let random: Vec<f32> = slope.iter().map(|_| rng.uniform()).collect();
                for direction in [slope.clone(), random] {
                    let length = direction.iter().map(|d| f64::from(*d).powi(2)).sum::<f64>().sqrt();
                    let expected: f64 = slope.iter().zip(&direction).map(|(s, d)| f64::from(*s) * f64::from(*d)).sum();
                    let expected = expected / length;
                    let origin = network.values(&parameter);
                    let mut at = |distance: f64| {
                        let factor = distance / length;
                        let moved = origin.iter().zip(&direction);
                        let moved: Vec<f32> =
                            moved.map(|(o, d)| (f64::from(*o) + factor * f64::from(*d)) as f32).collect();
                        network.set_values(&parameter, moved);
                        loss(&mut network, &targets)
                    };
                    let step = 5e-4;
                    let found = (at(step) - at(-step)) / (2.0 * step);
                    network.set_values(&parameter, origin);
                    let error = (found - expected).abs();
                    assert!(
                        error < 1e-3 + 0.02 * expected.abs(),
                        "{isa} {shape:?} {}: difference {found}, gradient {expected}",
                        parameter.name
                    );
                }
            }
        }
    }
}

#[test]
fn unused_lanes_do_not_matter() {
    let shape = shape(6, 1, vec![stage(8, true), stage(8, false)], 3);
    let targets = [0, 2, 1];
    let run = |fill: f32| {
        let mut network = prepare(Isa::detect(), &shape, &targets);
        let lanes = network.lanes();
        for y in 0..shape.height {
            for pixel in network.input_row(y).chunks_exact_mut(lanes) {
                pixel[targets.len()..].fill(fill);
            }
        }
        let mean = loss(&mut network, &targets);
        network.backward(&targets);
        (mean, network.parameters_and_gradient().1.to_vec())
    };
    assert_eq!(run(0.0), run(3.0));
}

#[test]
fn padding_never_gets_a_gradient() {
    let shape = shape(4, 3, vec![stage(5, true)], 3);
    let targets = [0, 1, 2];
    let mut network = prepare(Isa::detect(), &shape, &targets);
    network.forward();
    network.backward(&targets);
    let gradient = network.parameters_and_gradient().1.to_vec();
    let mut copy = Network::zeroed(Isa::detect(), shape.clone(), 1);
    copy.parameters_and_gradient().0.copy_from_slice(&gradient);
    let logical: Vec<f32> = shape.parameters().iter().flat_map(|parameter| copy.values(parameter)).collect();
    let count = |values: &[f32]| values.iter().filter(|value| **value != 0.0).count();
    assert_eq!(count(&logical), count(&gradient));
}
