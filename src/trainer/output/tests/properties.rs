//! What holds for any bytes, hostile ones included.

use proptest::prelude::*;

use super::super::*;
use super::{outcome, parsed, told};

#[test]
fn hostile_lines_are_quick_and_bounded() {
    let started = std::time::Instant::now();
    for unit in [
        "{",
        "[",
        "{'a':",
        "accuracy ",
        "accuracy:[",
        "acc ' ",
        "accuracy: tensor(",
        "step=1 ",
        "{'accuracy':",
        "\x1b[",
        "\x08",
        "label:",
        "val_",
        "top-",
        "(",
        "{\n ",
        "accuracy\"",
        "a=1 step=1 ",
        "0.",
        "{}",
        "'\\",
    ] {
        let line = unit.repeat(3 * MAX_LINE / unit.len());
        let _ = outcome(&format!("{line}\n{line}"));
    }
    assert!(started.elapsed().as_secs() < 20, "{:?}", started.elapsed());
    let (points, _) = parsed("step=1 loss=1\n".repeat(MAX_POINTS + 10).as_bytes());
    assert_eq!(points.len(), MAX_POINTS);
    let wide: String = (0..100).map(|n| format!(" m{n}=1")).collect();
    let long = "n".repeat(MAX_NAME + 1);
    let (points, _) = parsed(format!("step=1{wide}\nstep=2 {long}=1 ok=1\n").as_bytes());
    assert_eq!(points[0].metrics.len(), MAX_METRICS);
    assert_eq!(points[1].metrics, [("ok".to_owned(), 1.0)]);
}

const PIECES: &[&str] = &[
    "accuracy",
    "val_accuracy",
    "acc",
    "step=",
    "{",
    "}",
    "'accuracy': ",
    "\"step\": 3, ",
    ": ",
    "=",
    "0.5",
    "93%",
    "nan",
    "\n",
    "\r",
    "\r\n",
    " ",
    "'",
    "tensor(",
    ")",
    "[",
    "]",
    ", ",
    "\x1b[1m",
    "\x08",
    "label: cat",
    "k",
    "1e-3",
    "'val_loss': 2",
    "é",
    "│",
    "top-5",
    "/",
    "-",
    "of the",
    "<x>",
    "\\u12",
];

/// Text that is likely to hit the parser's branches.
fn script_like() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        proptest::sample::select(PIECES).prop_map(|piece| piece.as_bytes().to_vec()),
        proptest::collection::vec(any::<u8>(), 0..4),
    ];
    proptest::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn any_bytes_however_cut(output in script_like(), cuts in proptest::collection::vec(0usize..200, 0..8)) {
        let whole = parsed(&output);
        let mut parser = OutputParser::new();
        let mut points = Vec::new();
        let mut rest = &output[..];
        for cut in cuts {
            let (chunk, tail) = rest.split_at(cut.min(rest.len()));
            points.extend(parser.feed(chunk));
            rest = tail;
        }
        points.extend(parser.feed(rest));
        let (last, printed) = parser.finish();
        points.extend(last);
        prop_assert_eq!(&whole, &(points, printed));
        if let Outcome::Result(result) = whole.1.outcome() {
            prop_assert!((0.0..=1.0).contains(&result.accuracy.value()));
        }
    }

    #[test]
    fn printed_accuracies_come_back(value in 0.0f64..=1.0, form in 0usize..7) {
        let value = value.to_string();
        let line = match form {
            0 => format!("{{'accuracy': {value}}}"),
            1 => format!("{{\"accuracy\": {value}, \"k\": 3}}"),
            2 => format!("accuracy: {value}"),
            3 => format!("accuracy={value}"),
            4 => format!("Accuracy {value}"),
            5 => format!("{{'accuracy': np.float64({value})}}"),
            _ => value.clone(),
        };
        prop_assert_eq!(told(&line), value);
    }
}
