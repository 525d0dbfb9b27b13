//! One training for several step counts: a [`Trainer`] that stops at checkpoints, and says between them how it goes.
//!
//! At a checkpoint everything is as it would be at the end of a training of that many steps, bit for bit. What is told
//! between checkpoints follows the clock and is allowed to differ from one training to the next. It must not know
//! files, or how anything is shown.

use super::ClassifyError;
use super::evaluation::Evaluation;
use super::train::Trainer;
use crate::trainer::nn::loss::BatchLoss;
use crate::trainer::nn::network::Network;
use std::time::{Duration, Instant};

/// Time between two reports of progress, as long as a step takes less.
const REPORT_EVERY: Duration = Duration::from_millis(500);
/// Measuring on the images held out for such reports takes at most one part in this many of the time.
const MEASURING_SHARE: u32 = 20;

/// A training with its checkpoints.
pub struct Session<'a> {
    trainer: Trainer<'a>,
    /// Step counts still to come, the next one last.
    to_come: Vec<u64>,
    /// The last of them.
    end: u64,
    /// What all steps so far took, without measuring.
    stepping: Duration,
    report_at: Instant,
    measure_at: Instant,
}

/// What comes next.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Event {
    /// The training goes on.
    Progress(Progress),
    /// One of the step counts is reached; [`Session::network`] is the model for it.
    Checkpoint(Progress, Checkpoint),
    /// So many steps are made, and the loss on the images held out is no number: there is no model for this step count.
    /// The training goes on for the others, as it would without this one.
    Lost(u64),
}

/// How the training goes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Progress {
    /// Steps made.
    pub step: u64,
    /// Mean loss of the batches since the event before, each before its step.
    pub loss: f64,
    /// Accuracy on the images held out, 0 to 1; not always measured where measuring takes long.
    pub accuracy: Option<f64>,
    /// Images learned from in a second since the event before.
    pub images_per_second: f64,
    /// Seconds until the last checkpoint if it goes on as fast as so far.
    pub seconds_left: f64,
}

/// What a training of so many steps comes to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Checkpoint {
    /// Steps made.
    pub steps: u64,
    /// On the images held out.
    pub validation: BatchLoss,
    /// On the images learned from.
    pub training: BatchLoss,
}

impl<'a> Session<'a> {
    /// A training that has not made a step yet, with a checkpoint at each of `steps`, which are in any order and each
    /// at least 1.
    pub fn new(trainer: Trainer<'a>, steps: &[u64]) -> Session<'a> {
        let mut to_come: Vec<u64> = steps.iter().copied().filter(|steps| *steps > 0).collect();
        to_come.sort_unstable_by(|one, other| other.cmp(one));
        to_come.dedup();
        let now = Instant::now();
        Session {
            trainer,
            end: to_come.first().copied().unwrap_or(0),
            to_come,
            stepping: Duration::ZERO,
            report_at: now + REPORT_EVERY,
            measure_at: now,
        }
    }

    /// The network as it is now.
    pub fn network(&self) -> &Network {
        self.trainer.network()
    }

    /// Figures of the network as it is now, on the images held out.
    pub fn evaluate(&mut self) -> Evaluation {
        self.trainer.evaluate()
    }

    /// Trains until there is something to tell; `None` after the last checkpoint.
    ///
    /// # Errors
    /// If the loss or the gradient is no longer finite, or at the last checkpoint the loss on the images held out.
    pub fn proceed(&mut self) -> Result<Option<Event>, ClassifyError> {
        let Some(checkpoint) = self.to_come.last().copied() else { return Ok(None) };
        let began = Instant::now();
        let mut since = BatchLoss::default();
        let now = loop {
            since += self.trainer.step()?;
            let now = Instant::now();
            if now >= self.report_at || self.trainer.steps() >= checkpoint {
                break now;
            }
        };
        let took = now - began;
        self.stepping += took;
        while self.report_at <= now {
            self.report_at += REPORT_EVERY;
        }
        let steps = self.trainer.steps();
        let is_checkpoint = steps >= checkpoint;
        let validation = (is_checkpoint || now >= self.measure_at).then(|| self.trainer.validate());
        if validation.is_some() {
            self.measure_at = now + now.elapsed() * MEASURING_SHARE;
        }
        let progress = Progress {
            step: steps,
            loss: since.mean(),
            accuracy: validation.map(|validation| validation.accuracy()),
            images_per_second: since.count as f64 / took.as_secs_f64().max(1e-9),
            seconds_left: self.stepping.as_secs_f64() / steps as f64 * (self.end - steps) as f64,
        };
        Ok(Some(match validation.filter(|_| is_checkpoint) {
            None => Event::Progress(progress),
            Some(validation) => {
                self.to_come.pop();
                if !validation.total.is_finite() {
                    return if self.to_come.is_empty() {
                        Err(self.trainer.diverged())
                    } else {
                        Ok(Some(Event::Lost(steps)))
                    };
                }
                Event::Checkpoint(
                    progress,
                    Checkpoint { steps, validation, training: self.trainer.measure_training_part() },
                )
            }
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::super::dataset::Dataset;
    use super::super::train::HyperParameters;
    use super::super::train::tests::folder;
    use super::*;
    use crate::trainer::nn::kernels::Isa;

    const PARAMETERS: HyperParameters = HyperParameters { rate: 0.02, layers: 2, seed: 4 };

    /// All checkpoints with their weights, and the progress between.
    fn all(dataset: &Dataset, steps: &[u64]) -> (Vec<(Checkpoint, Vec<f32>)>, Vec<Progress>) {
        let mut session = Session::new(Trainer::new(dataset, PARAMETERS, Isa::detect()), steps);
        let (mut checkpoints, mut points) = (Vec::new(), Vec::new());
        while let Some(event) = session.proceed().unwrap() {
            match event {
                Event::Progress(progress) => points.push(progress),
                Event::Checkpoint(progress, checkpoint) => {
                    points.push(progress);
                    checkpoints.push((checkpoint, session.network().parameters().to_vec()));
                }
                Event::Lost(steps) => panic!("nothing is learned after {steps} steps"),
            }
        }
        assert_eq!(session.proceed().unwrap(), None);
        (checkpoints, points)
    }

    #[test]
    fn each_checkpoint_is_the_end_of_a_training_of_its_own() {
        let root = tempfile::tempdir().unwrap();
        folder(root.path());
        let dataset = Dataset::load(root.path(), 4).unwrap();
        let (together, points) = all(&dataset, &[90, 1, 40, 40, 7]);
        let steps: Vec<u64> = together.iter().map(|(checkpoint, _)| checkpoint.steps).collect();
        assert_eq!(steps, [1, 7, 40, 90]);
        for (checkpoint, weights) in &together {
            let alone = all(&dataset, &[checkpoint.steps]).0;
            assert_eq!(alone, [(*checkpoint, weights.clone())]);
            let point = points.iter().find(|point| point.step == checkpoint.steps).unwrap();
            assert_eq!(point.accuracy, Some(checkpoint.validation.accuracy()));
        }
        assert!(points.is_sorted_by_key(|point| point.step));
        assert!(points.iter().all(|point| point.loss > 0.0 && point.images_per_second > 0.0));
        assert_eq!(points.last().unwrap().seconds_left, 0.0);
        assert!(points[0].seconds_left > 0.0);
    }

    #[test]
    fn progress_follows_the_clock_and_measuring_is_bounded() {
        let root = tempfile::tempdir().unwrap();
        folder(root.path());
        let dataset = Dataset::load(root.path(), 4).unwrap();
        let mut session = Session::new(Trainer::new(&dataset, PARAMETERS, Isa::detect()), &[u64::MAX]);
        // As if half a second had gone by before each step: each of them is a point.
        for step in 1..=3 {
            session.report_at = Instant::now();
            let Ok(Some(Event::Progress(progress))) = session.proceed() else { panic!("no progress") };
            assert_eq!(progress.step, step);
            assert!(session.report_at > Instant::now());
        }
        // As if measuring had just taken long.
        session.measure_at = Instant::now() + Duration::from_secs(3600);
        session.report_at = Instant::now();
        let Ok(Some(Event::Progress(progress))) = session.proceed() else { panic!("no progress") };
        assert_eq!(progress.accuracy, None);
    }

    #[test]
    fn a_loss_that_is_no_number_is_no_result() {
        let root = tempfile::tempdir().unwrap();
        folder(root.path());
        let dataset = Dataset::load(root.path(), 4).unwrap();
        let parameters = HyperParameters { rate: 1e30, ..PARAMETERS };
        let session = |steps: &[u64]| Session::new(Trainer::new(&dataset, parameters, Isa::detect()), steps);
        // The first step is still made with finite numbers; what it leads to is not.
        let mut long = session(&[1, 100]);
        assert_eq!(long.proceed().unwrap(), Some(Event::Lost(1)));
        assert!(matches!(long.proceed(), Err(ClassifyError::Diverged { step: 2, .. })));
        assert!(matches!(session(&[1]).proceed(), Err(ClassifyError::Diverged { step: 1, .. })));
    }

    #[test]
    fn a_training_without_checkpoints_is_over() {
        let root = tempfile::tempdir().unwrap();
        folder(root.path());
        let dataset = Dataset::load(root.path(), 4).unwrap();
        assert_eq!(all(&dataset, &[0]), (Vec::new(), Vec::new()));
    }
}
