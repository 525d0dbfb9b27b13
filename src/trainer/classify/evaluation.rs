//! What a trained classifier does on the images held out: confusion matrix, precision, recall and F1 of each class, the
//! misclassified images, and the temperature that makes its confidence honest.
//!
//! Pure arithmetic on probabilities. It must not know networks, files or how anything is shown.

use serde::Serialize;

/// The most misclassified images that are listed, the most confident errors first.
const LISTED: usize = 200;
/// How many of the most probable classes are told of each of them.
const RANKED: usize = 3;
/// Bins of the calibration error.
const BINS: usize = 15;
/// The range of temperatures that are tried.
const TEMPERATURES: (f64, f64) = (0.05, 20.0);
/// The smallest probability that a logarithm is taken of: the smallest normal f32.
const TINY: f64 = f32::MIN_POSITIVE as f64;

/// What is measured on: row by row the probabilities of one image, and its class.
#[derive(Clone, Copy)]
pub struct Measured<'a> {
    /// Names of the classes.
    pub labels: &'a [String],
    /// `[images][classes]`, each row summing to 1.
    pub probabilities: &'a [f32],
    /// The class of each image.
    pub targets: &'a [u16],
}

/// Figures of a classifier on the images held out.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Evaluation {
    /// Images measured on.
    pub images: usize,
    /// Share of right answers, 0 to 1.
    pub accuracy: f64,
    /// Mean of the classes' recall, 0 to 1: accuracy if every class were equally frequent.
    pub balanced_accuracy: f64,
    /// Mean of the classes' F1, 0 to 1.
    pub macro_f1: f64,
    /// Names of the classes, in the order of rows and columns.
    pub labels: Vec<String>,
    /// `[true class][predicted class]`, numbers of images.
    pub confusion: Vec<Vec<usize>>,
    /// One entry a class.
    pub classes: Vec<ClassFigures>,
    /// How honest the confidence is.
    pub calibration: Calibration,
    /// Misclassified images in all.
    pub errors: usize,
    /// The most confident errors, at most 200.
    pub misclassified: Vec<Misclassified>,
}

/// Figures of one class.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ClassFigures {
    /// The class.
    pub label: String,
    /// Share of the images named so that are of the class; none if no image was named so.
    pub precision: Option<f64>,
    /// Share of the images of the class that were named so.
    pub recall: f64,
    /// Harmonic mean of precision and recall; 0 where one of them is.
    pub f1: f64,
    /// Images of the class.
    pub images: usize,
}

/// Temperature scaling (Guo et al., "On calibration of modern neural networks", 2017).
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Calibration {
    /// Logits are divided by this before the softmax of predictions; above 1 where the network is too sure of itself.
    pub temperature: f64,
    /// Mean cross-entropy before, in nats.
    pub loss: f64,
    /// Mean cross-entropy with the temperature, in nats.
    pub calibrated_loss: f64,
    /// Expected calibration error before: mean distance between confidence and accuracy over 15 bins of confidence.
    pub error: f64,
    /// Expected calibration error with the temperature.
    pub calibrated_error: f64,
}

/// An image with a wrong answer.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Misclassified {
    /// Its number among the images held out; callers replace it by a name.
    #[serde(skip)]
    pub number: usize,
    /// Where it lies in the dataset's folder.
    pub image: String,
    /// Its class.
    pub label: String,
    /// The class it was taken for.
    pub predicted: String,
    /// The most probable classes with their calibrated probabilities, the first one first.
    pub probabilities: Vec<(String, f32)>,
}

impl Evaluation {
    /// Measures; `name` tells where an image lies.
    pub fn new(measured: Measured<'_>, name: impl Fn(usize) -> String) -> Evaluation {
        let classes = measured.labels.len();
        let mut confusion = vec![vec![0; classes]; classes];
        let mut wrong = Vec::new();
        for (number, (row, target)) in measured.rows().enumerate() {
            let predicted = highest(row);
            confusion[target][predicted] += 1;
            if predicted != target {
                wrong.push((row[predicted], number, target, predicted));
            }
        }
        let calibration = Calibration::fit(measured);
        // Ties go to the earlier image, so that the list is the same every time.
        wrong.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
        let label = |class: usize| measured.labels[class].clone();
        let misclassified = wrong.iter().take(LISTED).map(|(_, number, target, predicted)| Misclassified {
            number: *number,
            image: name(*number),
            label: label(*target),
            predicted: label(*predicted),
            probabilities: measured.ranked(*number, calibration.temperature),
        });
        let misclassified = misclassified.collect();
        let figures: Vec<ClassFigures> = (0..classes).map(|class| of_class(&confusion, class, label(class))).collect();
        let images = measured.targets.len();
        let mean = |value: fn(&ClassFigures) -> f64| {
            let present = figures.iter().filter(|figures| figures.images > 0);
            present.clone().map(value).sum::<f64>() / present.count().max(1) as f64
        };
        Evaluation {
            images,
            accuracy: (images - wrong.len()) as f64 / images.max(1) as f64,
            balanced_accuracy: mean(|figures| figures.recall),
            macro_f1: mean(|figures| figures.f1),
            labels: measured.labels.to_vec(),
            confusion,
            classes: figures,
            calibration,
            errors: wrong.len(),
            misclassified,
        }
    }
}

fn of_class(confusion: &[Vec<usize>], class: usize, label: String) -> ClassFigures {
    let hits = confusion[class][class];
    let images: usize = confusion[class].iter().sum();
    let named: usize = confusion.iter().map(|row| row[class]).sum();
    let share = |of: usize| hits as f64 / of.max(1) as f64;
    // 2 P R / (P + R), in counts, which has a value where precision has none.
    let f1 = 2.0 * hits as f64 / (images + named).max(1) as f64;
    ClassFigures { label, precision: (named > 0).then(|| share(named)), recall: share(images), f1, images }
}

impl<'a> Measured<'a> {
    fn rows(self) -> impl Iterator<Item = (&'a [f32], usize)> + Clone {
        let rows = self.probabilities.chunks_exact(self.labels.len().max(1));
        rows.zip(self.targets.iter().map(|target| usize::from(*target)))
    }

    /// The most probable classes of one image at a temperature.
    fn ranked(self, number: usize, temperature: f64) -> Vec<(String, f32)> {
        let classes = self.labels.len();
        let row = &self.probabilities[number * classes..(number + 1) * classes];
        let mut scaled: Vec<(usize, f64)> = at_temperature(row, temperature).enumerate().collect();
        scaled.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        let ranked = scaled.iter().take(RANKED);
        ranked.map(|(class, value)| (self.labels[*class].clone(), *value as f32)).collect()
    }

    /// Mean cross-entropy at a temperature.
    fn loss(self, temperature: f64) -> f64 {
        let total: f64 = self
            .rows()
            .map(|(row, target)| {
                let sum: f64 = row.iter().map(|value| power(*value, temperature)).sum();
                sum.ln() - f64::from(row[target]).max(TINY).ln() / temperature
            })
            .sum();
        total / self.targets.len().max(1) as f64
    }

    /// Expected calibration error at a temperature.
    fn calibration_error(self, temperature: f64) -> f64 {
        let mut bins = [(0.0, 0.0); BINS];
        for (row, target) in self.rows() {
            let predicted = highest(row);
            let confidence = at_temperature(row, temperature).nth(predicted).unwrap_or(0.0);
            let bin = &mut bins[((confidence * BINS as f64) as usize).min(BINS - 1)];
            bin.0 += confidence;
            bin.1 += f64::from(u8::from(predicted == target));
        }
        let total: f64 = bins.iter().map(|(confidence, hits)| (confidence - hits).abs()).sum();
        total / self.targets.len().max(1) as f64
    }
}

impl Calibration {
    /// The temperature with the lowest cross-entropy, which has a single minimum over its logarithm: golden section search
    /// (Kiefer 1953) to a ten-thousandth.
    fn fit(measured: Measured<'_>) -> Calibration {
        let ratio = (5f64.sqrt() - 1.0) / 2.0;
        let (mut low, mut high) = (TEMPERATURES.0.ln(), TEMPERATURES.1.ln());
        let at = |logarithm: f64| measured.loss(logarithm.exp());
        let (mut left, mut right) = (high - ratio * (high - low), low + ratio * (high - low));
        let (mut left_loss, mut right_loss) = (at(left), at(right));
        while high - low > 1e-4 {
            if left_loss < right_loss {
                (high, right, right_loss) = (right, left, left_loss);
                left = high - ratio * (high - low);
                left_loss = at(left);
            } else {
                (low, left, left_loss) = (left, right, right_loss);
                right = low + ratio * (high - low);
                right_loss = at(right);
            }
        }
        let found = f64::midpoint(low, high).exp();
        let (loss, calibrated) = (measured.loss(1.0), measured.loss(found));
        // A flat curve, as of a network that is always right, has no minimum worth the name.
        let is_better = calibrated < loss && found > TEMPERATURES.0 * 1.01 && found < TEMPERATURES.1 / 1.01;
        let temperature = if is_better { found } else { 1.0 };
        Calibration {
            temperature,
            loss,
            calibrated_loss: measured.loss(temperature),
            error: measured.calibration_error(1.0),
            calibrated_error: measured.calibration_error(temperature),
        }
    }
}

/// The softmax of logits / T from that of the logits: probabilities to the power of 1 / T, scaled to sum up to 1.
fn at_temperature(row: &[f32], temperature: f64) -> impl Iterator<Item = f64> {
    let sum: f64 = row.iter().map(|value| power(*value, temperature)).sum();
    row.iter().map(move |value| power(*value, temperature) / sum)
}

fn power(probability: f32, temperature: f64) -> f64 {
    (f64::from(probability).max(TINY).ln() / temperature).exp()
}

/// The first of the highest.
fn highest(row: &[f32]) -> usize {
    let mut best = 0;
    for (class, value) in row.iter().enumerate() {
        if *value > row[best] {
            best = class;
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn labels(count: usize) -> Vec<String> {
        (0..count).map(|class| format!("c{class}")).collect()
    }

    fn evaluate(probabilities: &[f32], targets: &[u16], classes: usize) -> Evaluation {
        let labels = labels(classes);
        Evaluation::new(Measured { labels: &labels, probabilities, targets }, |number| format!("image {number}"))
    }

    #[test]
    fn figures_follow_their_definitions() {
        let probabilities = [0.9, 0.1, 0.0, 0.2, 0.7, 0.1, 0.6, 0.3, 0.1, 0.5, 0.4, 0.1];
        let found = evaluate(&probabilities, &[0, 1, 1, 2], 3);
        assert_eq!(found.confusion, [[1, 0, 0], [1, 1, 0], [1, 0, 0]]);
        assert_eq!((found.accuracy, found.errors), (0.5, 2));
        let figures =
            |class: usize| (found.classes[class].precision, found.classes[class].recall, found.classes[class].f1);
        assert_eq!(figures(0), (Some(1.0 / 3.0), 1.0, 0.5));
        assert_eq!(figures(1), (Some(1.0), 0.5, 2.0 / 3.0));
        assert_eq!(figures(2), (None, 0.0, 0.0));
        assert_eq!(found.balanced_accuracy, 0.5);
        // The surer error comes first.
        let errors: Vec<_> =
            found.misclassified.iter().map(|error| (error.image.as_str(), error.label.as_str())).collect();
        assert_eq!(errors, [("image 2", "c1"), ("image 3", "c2")]);
        assert_eq!(found.misclassified[0].probabilities[0].0, "c0");
    }

    #[test]
    fn overconfidence_gets_a_temperature_above_one() {
        // Sure of 99 % and right in 3 of 4.
        let probabilities: Vec<f32> = (0..40).flat_map(|_| [0.99, 0.01]).collect();
        let targets: Vec<u16> = (0..40).map(|at| u16::from(at % 4 == 0)).collect();
        let found = evaluate(&probabilities, &targets, 2).calibration;
        // The softmax at T must say 3/4: ln 99 / T = ln 3.
        assert!((found.temperature - 99f64.ln() / 3f64.ln()).abs() < 0.01, "{found:?}");
        assert!((found.error - 0.24).abs() < 1e-6 && found.calibrated_error < 0.01, "{found:?}");
        assert!(found.calibrated_loss < found.loss);
    }

    #[test]
    fn perfect_answers_keep_their_temperature() {
        let found = evaluate(&[1.0, 0.0, 0.0, 1.0], &[0, 1], 2);
        assert_eq!((found.calibration.temperature, found.accuracy, found.misclassified.len()), (1.0, 1.0, 0));
    }

    proptest! {
        #[test]
        fn whatever_is_measured_the_sums_hold(rows in prop::collection::vec((prop::array::uniform4(0.0f32..1.0), 0u16..4), 1..60)) {
            let mut probabilities = Vec::new();
            for (row, _) in &rows {
                let sum: f32 = row.iter().sum::<f32>().max(1e-6);
                probabilities.extend(row.iter().map(|value| value / sum));
            }
            let targets: Vec<u16> = rows.iter().map(|(_, target)| *target).collect();
            let found = evaluate(&probabilities, &targets, 4);
            let hits: usize = (0..4).map(|class| found.confusion[class][class]).sum();
            prop_assert_eq!(found.confusion.iter().flatten().sum::<usize>(), rows.len());
            prop_assert_eq!(hits + found.errors, rows.len());
            prop_assert_eq!(found.misclassified.len(), found.errors.min(LISTED));
            prop_assert!(found.calibration.calibrated_loss <= found.calibration.loss);
            prop_assert!(found.calibration.temperature > 0.0 && found.calibration.temperature.is_finite());
        }
    }
}
