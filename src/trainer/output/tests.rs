//! Outputs of real scripts and frameworks, and properties over arbitrary bytes.

use serde_json::json;

use super::*;

mod frameworks;
mod properties;

fn parsed(output: &[u8]) -> (Vec<Point>, Printed) {
    let mut parser = OutputParser::new();
    let mut points = parser.feed(output);
    let (rest, printed) = parser.finish();
    points.extend(rest);
    (points, printed)
}

fn outcome(output: &str) -> Outcome {
    parsed(output.as_bytes()).1.outcome()
}

/// The accuracy's text, `!` and a message for a failure, `-` for nothing.
fn told(output: &str) -> String {
    match outcome(output) {
        Outcome::Result(result) => result.accuracy.text().to_owned(),
        Outcome::Failure(error) => format!("!{error}"),
        Outcome::Nothing => "-".to_owned(),
    }
}

fn result(output: &str) -> ScriptResult {
    match outcome(output) {
        Outcome::Result(result) => *result,
        other => panic!("{output}: {other:?}"),
    }
}

#[track_caller]
fn check(table: &[(&str, &str)]) {
    for (output, expected) in table {
        assert_eq!(told(output), *expected, "{output}");
    }
}

#[test]
fn forms_of_the_contract() {
    check(&[
        ("{'i': '0.001', 'images': '/x/', 'k': '2', 'j': '2', 'accuracy': 0.342}", "0.342"),
        ("{\"accuracy\": 0.342}", "0.342"),
        ("accuracy: 0.342", "0.342"),
        ("accuracy=0.342", "0.342"),
        ("Accuracy 34.2%", "0.342"),
        ("training\n0.93\n", "0.93"),
        ("93%", "0.93"),
        ("accuracy: 0.7325364548231516", "0.7325364548231516"),
        ("accuracy: 1e-3", "1e-3"),
        ("loss: 0.1 - accuracy: 0.9 - val_accuracy: 0.8", "0.8"),
        ("val_accuracy: 0.8 accuracy: 0.9", "0.8"),
        ("accuracy: 0.1\raccuracy: 0.2\rdone\r\n", "0.2"),
        ("accuracy: 0.1\n{'accuracy': 0.2}\naccuracy=0.3\nsaved", "0.3"),
    ]);
}

#[test]
fn python_values() {
    check(&[
        ("{'accuracy': '0.342'}", "0.342"),
        ("{'accuracy': '34.2%'}", "0.342"),
        ("{'accuracy': np.float64(0.342)}", "0.342"),
        ("{'accuracy': numpy.float32(0.9)}", "0.9"),
        ("{'accuracy': tensor(0.93)}", "0.93"),
        ("{'accuracy': tensor(0.9300, device='cuda:0', grad_fn=<MeanBackward0>)}", "0.9300"),
        ("{'accuracy': array(0.93, dtype=float32)}", "0.93"),
        ("{'accuracy': [0.5, 0.7], 'val_accuracy': [0.4, 0.6]}", "0.6"),
        ("{\"val\": {\"accuracy\": 0.8}, \"train\": {\"accuracy\": 0.99}}", "0.8"),
        ("{'accuracy': {'train': 0.99, 'test': 0.91}}", "0.91"),
        ("{'metrics': {'cm': [[5, 1], [0, 4]], 'accuracy': 0.9,}, 'x': (1, True, None),}", "0.9"),
        ("{'cat': {'precision': 0.5}, 'accuracy': 0.75, 'macro avg': {'precision': 0.6}}", "0.75"),
        ("OrderedDict([('loss', 1), ('accuracy', 0.9)])", "0.9"),
        ("OrderedDict({'accuracy': 0.9})", "0.9"),
        ("INFO:root:result {'accuracy': 0.9}", "0.9"),
        ("Result(accuracy=0.93, loss=0.4)", "0.93"),
        ("accuracy: np.float64(0.342)", "0.342"),
        ("accuracy = tensor(0.93, device='cuda:0')", "0.93"),
        ("accuracy: [0.93]", "0.93"),
        ("'accuracy': '0.93',", "0.93"),
        ("np.float64(0.342)", "0.342"),
        ("tensor(0.93)", "0.93"),
    ]);
}

#[test]
fn dictionaries_over_several_lines() {
    let json = "{\n  \"accuracy\": 0.9,\n  \"val_loss\": 0.25,\n  \"label\": \"cat\"\n}\n";
    assert_eq!(result(json).val_loss, Some(0.25));
    assert_eq!(result(json).label.as_deref(), Some("cat"));
    check(&[
        ("{'accuracy': 0.9,\n 'matrix': array([[1, 2],\n       [3, 4]]),\n 'x': 1}\n", "0.9"),
        ("{\n  \"step\": 3,\n  \"accuracy\": 0.5\n}\naccuracy: 0.4\n", "0.4"),
        ("accuracy: 0.4\n{\n  \"step\": 3,\n  \"accuracy\": 0.5\n}\n", "0.4"),
        ("training {\n accuracy: 0.5\n}\n", "0.5"),
        ("{ epoch one\naccuracy: 0.5\n", "0.5"),
        ("{ epoch one\n accuracy: 0.5", "0.5"),
        ("{'accuracy': 0.5", "0.5"),
        ("{'a': [\n0.25", "0.25"),
    ]);
}

#[test]
fn the_last_accuracy_decides_even_if_it_is_unusable() {
    let failed = |output: &str, part: &str| {
        let told = told(output);
        assert!(told.starts_with('!') && told.contains(part), "{output}: {told}");
    };
    failed("accuracy: 93.2", "printed accuracy 93.2; print a number between 0 and 1, or add a % sign");
    failed("accuracy: 0.9\naccuracy: nan", "not a finite number");
    failed("{\"accuracy\": 0.9}\n{\"accuracy\": NaN}", "not a finite number");
    failed("{'accuracy': float('nan')}", "not a finite number");
    failed("{'accuracy': inf}", "not a finite number");
    failed("{'accuracy': -0.5}", "between 0 and 1");
    failed("accuracy: 0.9\n{'accuracy': None}", "None");
    failed("Accuracy 93.2", "add a % sign");
    failed("Accuracy: 193%", "between 0% and 100%");
    failed("accuracy: 0.5 val_accuracy: nan", "not a finite number");
    failed("nan", "not a finite number");
    failed("accuracy: 0.9\nnan", "not a finite number");
    failed("93.2", "add a % sign");
    failed("{\"step\": 1, \"accuracy\": NaN}", "not a finite number");
    check(&[
        ("accuracy: nan\naccuracy: 0.9", "0.9"),
        ("{'accuracy': 0.9, 'val_accuracy': None}", "0.9"),
        ("accuracy: 0.9\n12.7", "0.9"),
        ("accuracy: 0.9\n0.8", "0.8"),
        ("0.8\nsaved", "-"),
        ("0.8\n\n  \r\n", "0.8"),
        ("acc: 9.81\n0.9", "0.9"),
        ("accuracy: 0.9\nacc: 0.5", "0.9"),
        ("step=1 accuracy=0.4\nacc: 9.81", "0.4"),
    ]);
    assert_eq!(Outcome::Nothing.failure_message().as_deref(), Some(NO_ACCURACY));
    assert_eq!(outcome("accuracy: 1").failure_message(), None);
}

#[test]
fn points_are_progress_and_the_last_resort() {
    let output = b"{\"step\": 200, \"loss\": 0.41, \"accuracy\": 0.87, \"note\": \"x\", \"lr\": NaN}\n\
        {'step': '300', 'loss': np.float32(0.4)}\n\
        step=400 loss=0.39, train/accuracy=88%\n\
        step=500\n{\"step\": \"x\"}\nlr_step=5 loss=1\nstep=600 loss=nan accuracy=0.9\n";
    let (points, printed) = parsed(output);
    let expected = [
        (200, vec![("loss", 0.41), ("accuracy", 0.87)]),
        (300, vec![("loss", 0.4)]),
        (400, vec![("loss", 0.39), ("train/accuracy", 0.88)]),
        (600, vec![("accuracy", 0.9)]),
    ];
    let expected = expected.map(|(step, metrics)| Point {
        step,
        metrics: metrics.into_iter().map(|(name, value)| (name.to_owned(), value)).collect(),
    });
    assert_eq!(points, expected);
    assert!(matches!(printed.outcome(), Outcome::Result(result) if result.accuracy.text() == "0.9"));
    check(&[
        ("accuracy: 0.5\nstep=9 accuracy=0.9", "0.5"),
        ("acc: 0.5\n{\"step\": 9, \"accuracy\": 0.9}", "0.5"),
        ("{\"step\": 9, \"accuracy\": 0.9}\n0.7", "0.7"),
        ("{\"step\": 9, \"loss\": 0.9}", "-"),
    ]);
}

#[test]
fn predictions_and_validation_losses() {
    let all = result(
        "{'accuracy': 0.9, 'val_loss': 0.25, 'label': 'tabby cat', 'probabilities': {'z': 0.75, 'a': 0.25}, \
         'output': [1, {'b': None}]}",
    );
    assert_eq!(all.val_loss, Some(0.25));
    assert_eq!(all.label.as_deref(), Some("tabby cat"));
    assert_eq!(all.probabilities.unwrap().to_string(), r#"{"z":0.75,"a":0.25}"#);
    assert_eq!(all.output, Some(json!([1, {"b": null}])));

    let apart = result("label: dog\nprobabilities: [0.25, 0.75]\naccuracy: 0.9\n");
    assert_eq!(apart.label.as_deref(), Some("dog"));
    assert_eq!(apart.probabilities, Some(json!([0.25, 0.75])));

    for (line, loss) in [
        ("accuracy: 0.9 - val_loss: 0.4", Some(0.4)),
        ("accuracy: 0.9, validation loss: 2.5", Some(2.5)),
        ("{'accuracy': [0.9], 'val_loss': [0.5, 0.4]}", Some(0.4)),
        ("{'accuracy': 0.9, 'val_loss': nan}", None),
        ("val_loss: 0.3\naccuracy: 0.9 loss: 0.4", None),
        ("accuracy: 0.9 val_loss: inf", None),
    ] {
        assert_eq!(result(line).val_loss, loss, "{line}");
    }
}

#[test]
fn a_job_of_several_runs_is_told_apart_by_its_steps() {
    let (_, printed) =
        parsed(b"{\"k\": 1000, \"accuracy\": 0.5}\n{'k': '2000', 'accuracy': nan}\n{\"k\": 1000, \"accuracy\": 0.6}\n");
    let Outcome::Result(first) = printed.outcome_for_steps(1000) else { panic!() };
    assert_eq!(first.accuracy.text(), "0.6");
    assert!(matches!(printed.outcome_for_steps(2000), Outcome::Failure(_)));
    assert_eq!(printed.outcome_for_steps(4000), Outcome::Nothing);
}

#[test]
fn standard_error_is_asked_last() {
    let settled = |stdout: &str, stderr: &str| combine(&parsed(stdout.as_bytes()).1, &parsed(stderr.as_bytes()).1);
    assert_eq!(settled("accuracy: 0.1", "accuracy: 0.2"), outcome("accuracy: 0.1"));
    assert_eq!(settled("hello", "accuracy: 0.2"), outcome("accuracy: 0.2"));
    assert_eq!(settled("accuracy: nan", "accuracy: 0.2"), outcome("accuracy: nan"));
    assert_eq!(settled("step=1 accuracy=0.1", "accuracy: 0.2"), outcome("accuracy: 0.1"));
    assert_eq!(settled("", ""), Outcome::Nothing);
}
