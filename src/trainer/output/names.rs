//! Which metric names mean an accuracy or a validation loss, and how they rank.
//!
//! A name counts when its last part is `accuracy` (or `acc`, see below) and every other part is a
//! known qualifier: `val_accuracy`, `test/accuracy`, `Validation Accuracy`, `accuracy_score`,
//! `sparse_categorical_accuracy`, `testMulticlassAccuracy`. So `inaccuracy`,
//! `accuracy_threshold`, `balanced_accuracy`, `top_5_accuracy` and `min_accuracy` do not.
//! On one line a validation accuracy wins over a test accuracy, that over a plain one, that
//! over a training accuracy.
//!
//! `acc` is what PyTorch's tutorials and old Keras print, but also what an accelerometer
//! does. It is taken as a weaker name: it counts only if the spelled-out word never gave a
//! result. This module must not know about lines or values.

/// Longest metric name looked at or kept.
pub const MAX_NAME: usize = 64;

/// Which split of the data an accuracy was measured on, least telling first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Split {
    Training,
    Unsaid,
    Test,
    Validation,
}

/// What a metric's name means here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Metric {
    Accuracy(AccuracyName),
    ValidationLoss,
}

/// How telling an accuracy's name is. The greater one wins on a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct AccuracyName {
    /// Spelled `accuracy`, not `acc`.
    pub spelled_out: bool,
    pub split: Split,
}

impl AccuracyName {
    /// The same name with what a neighbouring word says about the split.
    pub fn on(self, split: Split) -> Self {
        let split = if self.split == Split::Unsaid { split } else { self.split };
        Self { split, ..self }
    }
}

/// Reads a whole metric name.
pub fn classify(name: &str) -> Option<Metric> {
    if name.len() > MAX_NAME {
        return None;
    }
    let mut parts = parts_of(name);
    if parts.len() > 1 && parts.last().is_some_and(|part| part == "score") {
        parts.pop();
    }
    let last = parts.pop()?;
    match last.as_str() {
        "accuracy" | "acc" => {
            Some(Metric::Accuracy(AccuracyName { spelled_out: last == "accuracy", split: split_of(&parts)? }))
        }
        "loss" => {
            let validation = ["val", "valid", "validation", "eval", "evaluation"];
            let fits = parts.len() == 1 && validation.contains(&parts[0].as_str());
            fits.then_some(Metric::ValidationLoss)
        }
        _ => None,
    }
}

/// The split that a list of qualifiers names; `None` when one of them is no qualifier.
pub fn split_of(parts: &[String]) -> Option<Split> {
    let mut best: Option<Split> = None;
    for part in parts {
        let split = qualifier(part)?;
        if split != Split::Unsaid {
            best = best.max(Some(split));
        }
    }
    Some(best.unwrap_or(Split::Unsaid))
}

/// What a word before or inside a name says about the split; `None` for other words.
pub fn qualifier(word: &str) -> Option<Split> {
    Some(match word {
        "val" | "valid" | "validation" | "eval" | "evaluation" | "dev" => Split::Validation,
        "test" | "testing" | "holdout" => Split::Test,
        "train" | "training" => Split::Training,
        "final" | "best" | "max" | "mean" | "average" | "avg" | "overall" | "total" | "model" | "network"
        | "classification" | "classifier" | "the" | "our" | "set" | "data" | "dataset" | "epoch" | "metric"
        | "metrics" | "result" | "results" | "binary" | "multiclass" | "categorical" | "sparse" | "top" | "top1"
        | "1" | "cv" | "current" => Split::Unsaid,
        _ => return None,
    })
}

/// Words that turn the accuracy after them into something else.
pub fn disqualifies(word: &str) -> bool {
    DISQUALIFIERS.contains(&word)
}

const DISQUALIFIERS: &[&str] = &[
    "balanced",
    "target",
    "required",
    "minimum",
    "min",
    "worst",
    "baseline",
    "random",
    "chance",
    "expected",
    "previous",
    "prior",
    "old",
    "initial",
    "desired",
    "goal",
    "dummy",
    "majority",
    "pixel",
    "producer",
    "producers",
    "user",
    "users",
    "class",
    "classwise",
    "per",
    "top3",
    "top5",
    "topk",
    "std",
    "solver",
    "numerical",
    "machine",
    "timer",
    "clock",
    "gps",
    "position",
    "sensor",
    "threshold",
    "no",
    "config",
    "args",
    "params",
    "parameters",
    "hyperparameters",
    "settings",
    "options",
];

/// Words that may stand between `accuracy` and its value: "accuracy of the network on the
/// 10000 test images: 55 %". Any other word means that something else is being told.
pub fn is_phrase_word(word: &str) -> bool {
    qualifier(word).is_some()
        || matches!(
            word,
            "of" | "on"
                | "for"
                | "over"
                | "in"
                | "at"
                | "after"
                | "with"
                | "a"
                | "an"
                | "all"
                | "this"
                | "net"
                | "cnn"
                | "mlp"
                | "images"
                | "image"
                | "samples"
                | "examples"
                | "split"
                | "epochs"
                | "step"
                | "steps"
                | "iterations"
                | "fold"
                | "folds"
                | "score"
                | "batch"
                | "batches"
                | "unseen"
        )
}

/// Units that make a number a measurement of something else.
pub fn is_unit(word: &str) -> bool {
    UNITS.contains(&word)
}

const UNITS: &[&str] = &[
    "mm", "cm", "m", "km", "um", "nm", "px", "pixel", "pixels", "ms", "s", "sec", "secs", "second", "seconds", "min",
    "minutes", "deg", "degree", "degrees", "bit", "bits", "digits", "decimals", "decimal", "ppm", "hz", "db", "meters",
    "metres", "points",
];

/// The lower-case parts of a name, cut at anything that is no letter or digit and where
/// camel case begins a new word.
pub fn parts_of(name: &str) -> Vec<String> {
    let mut parts = Vec::new();
    let mut part = String::new();
    let mut after_lower = false;
    for c in name.chars() {
        let starts_word = after_lower && c.is_uppercase();
        if (!c.is_alphanumeric() || starts_word) && !part.is_empty() {
            parts.push(std::mem::take(&mut part));
        }
        if c.is_alphanumeric() {
            part.extend(c.to_lowercase());
        }
        after_lower = c.is_lowercase();
    }
    if !part.is_empty() {
        parts.push(part);
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accuracy(name: &str) -> Option<(bool, Split)> {
        match classify(name)? {
            Metric::Accuracy(name) => Some((name.spelled_out, name.split)),
            Metric::ValidationLoss => None,
        }
    }

    #[test]
    fn accuracies_by_name() {
        for (name, spelled_out, split) in [
            ("accuracy", true, Split::Unsaid),
            ("Accuracy", true, Split::Unsaid),
            ("val_accuracy", true, Split::Validation),
            ("validation accuracy", true, Split::Validation),
            ("ValAccuracy", true, Split::Validation),
            ("eval_accuracy", true, Split::Validation),
            ("test/accuracy", true, Split::Test),
            ("test_MulticlassAccuracy", true, Split::Test),
            ("final accuracy", true, Split::Unsaid),
            ("train_accuracy", true, Split::Training),
            ("accuracy_score", true, Split::Unsaid),
            ("val_sparse_categorical_accuracy", true, Split::Validation),
            ("top1_accuracy", true, Split::Unsaid),
            ("val_acc", false, Split::Validation),
            ("acc", false, Split::Unsaid),
        ] {
            assert_eq!(accuracy(name), Some((spelled_out, split)), "{name}");
        }
    }

    #[test]
    fn other_names_are_not_accuracies() {
        for name in [
            "",
            "inaccuracy",
            "accuracy_threshold",
            "balanced_accuracy",
            "top_5_accuracy",
            "min_accuracy",
            "target_accuracy",
            "accuracy_at_5",
            "accuracies",
            "loss",
            "score",
            "account",
            "acceleration",
            "pixel_accuracy",
            "std_accuracy",
            "_",
            "accuracy_std",
        ] {
            assert_eq!(accuracy(name), None, "{name}");
        }
        assert_eq!(classify(&"val_".repeat(100)), None);
    }

    #[test]
    fn validation_losses_by_name() {
        for name in ["val_loss", "validation_loss", "Validation Loss", "eval_loss"] {
            assert_eq!(classify(name), Some(Metric::ValidationLoss), "{name}");
        }
        for name in ["loss", "train_loss", "val_loss_weight", "val_total_loss"] {
            assert_eq!(classify(name), None, "{name}");
        }
    }
}
