//! What counts as a script's result: the forms that scripts really print, and what is no result.

use crate::harness::{Yard, images};

/// (script, accuracy as it is kept)
const GOOD: &[(&str, &str)] = &[
    ("echo \"{'i': '0.001', 'images': '/x/', 'k': '2', 'j': '2', 'accuracy': 0.342}\"", "0.342"),
    ("echo '{\"accuracy\": 0.342}'", "0.342"),
    ("echo '{\"accuracy\": \"0.8382381150935184\"}'", "0.8382381150935184"),
    ("echo 'accuracy: 0.342'", "0.342"),
    ("echo accuracy=0.342", "0.342"),
    ("echo 'Accuracy 34.2%'", "0.342"),
    ("echo 'Accuracy: 100%'", "1"),
    ("echo 0.9300", "0.9300"),
    ("printf 0.93", "0.93"),
    ("echo 1", "1"),
    ("echo 'accuracy: 0'", "0"),
    ("echo 'accuracy: 1e-3'", "1e-3"),
    // The last line that carries one.
    ("echo accuracy=0.1; echo accuracy=0.2; echo done", "0.2"),
    (
        "echo 'epoch 1/2 - accuracy: 0.5 - val_accuracy: 0.6'; echo 'epoch 2/2 - accuracy: 0.9 - val_accuracy: 0.7'",
        "0.7",
    ),
    // Validation wins over training on the same line, in whatever order.
    ("echo '{\"val_accuracy\": 0.6, \"accuracy\": 0.9}'", "0.6"),
    ("echo '{\"accuracy\": 0.9, \"val_accuracy\": 0.6}'", "0.6"),
    ("echo \"{'accuracy': 0.9, 'val_accuracy': 0.61}\"", "0.61"),
    // Carriage returns end a line.
    ("printf ' 10/100 accuracy: 0.1\\r 50/100 accuracy: 0.5\\r100/100 accuracy: 0.8\\r\\n'", "0.8"),
    ("printf 'accuracy: 0.4\\r\\n'", "0.4"),
    // Standard error is read only if standard output carries none.
    ("echo accuracy=0.3 >&2", "0.3"),
    ("echo accuracy=0.3 >&2; echo accuracy=0.4", "0.4"),
    ("echo accuracy=0.4; echo accuracy=0.3 >&2", "0.4"),
    // Progress counts if nothing else does.
    ("echo '{\"step\": 200, \"loss\": 0.41, \"accuracy\": 0.87}'; echo accuracy=0.6", "0.6"),
    ("echo accuracy=0.6; echo '{\"step\": 200, \"loss\": 0.41, \"accuracy\": 0.87}'", "0.6"),
    ("echo step=200 loss=0.41 accuracy=0.87", "0.87"),
    // Whatever else is printed.
    ("echo 'Using TensorFlow backend.'; echo accuracy=0.5; echo; echo 'saved model.h5 in 0.3 s'", "0.5"),
    ("printf '\\377\\376\\000binary\\n'; echo accuracy=0.5", "0.5"),
    ("echo '  accuracy = 0.5  '", "0.5"),
    // An earlier slip is forgotten, the last one counts.
    ("echo accuracy=nan; echo accuracy=0.5", "0.5"),
];

/// (script, what the reason says)
const BAD: &[(&str, &str)] = &[
    ("true", "printed no accuracy"),
    ("echo nothing of the kind", "printed no accuracy"),
    ("echo accuracy=nan", "not a finite number"),
    ("echo accuracy=0.5; echo accuracy=NaN", "not a finite number"),
    ("echo '{\"accuracy\": NaN}'", "not a finite number"),
    ("echo accuracy=inf", "not a finite number"),
    ("echo accuracy=93.2", "add a % sign"),
    ("echo 93.2", "add a % sign"),
    ("echo accuracy=-0.1", "between 0 and 1"),
    ("echo 'Accuracy 340%'", "between 0% and 100%"),
    ("echo accuracy=0.5; exit 1", "exit status 1"),
    ("echo accuracy=0.5; exit 77", "exit status 77"),
    ("echo accuracy=0.5; kill -SEGV $$", "signal 11"),
    ("echo accuracy=0.5; kill -9 $$", "signal 9"),
    ("exec /no/such/program", "exit status"),
];

#[test]
fn results_are_read_in_every_form_that_scripts_print() {
    let yard = Yard::new().one_experiment().train(". \"$YARD/$TRAINYARD_EXPERIMENT.sh\"");
    let server = yard.start();
    server.create_model("m");
    server.upload("m", "", "a.png", &images::png(1));
    let names = |kind: &str, count: usize| (0..count).map(|number| format!("{kind}{number}")).collect::<Vec<_>>();
    let (good, bad) = (names("good", GOOD.len()), names("bad", BAD.len()));
    let scripts = GOOD.iter().map(|(script, _)| script).chain(BAD.iter().map(|(script, _)| script));
    let runs: Vec<String> = good
        .iter()
        .chain(&bad)
        .zip(scripts)
        .map(|(name, script)| {
            yard.write(&format!("{name}.sh"), script);
            server.create_experiment("m", name);
            server.train("m", name, "")
        })
        .collect();
    server.idle();
    let mut wrong = Vec::new();
    for ((script, kept), run) in GOOD.iter().zip(&runs) {
        let run = server.run(run);
        if run["state"] != "succeeded" || run["accuracy"] != *kept || !run["reason"].is_null() {
            wrong.push(format!("{script}\n  is to give {kept}, gave {run}"));
        }
    }
    for ((script, reason), run) in BAD.iter().zip(&runs[GOOD.len()..]) {
        let run = server.run(run);
        let said = run["reason"].as_str().unwrap_or_default();
        if run["state"] != "failed" || !said.contains(reason) || !run["accuracy"].is_null() {
            wrong.push(format!("{script}\n  is to fail with {reason:?}, gave {run}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let shown = server.accuracies("m");
    for (name, results) in &shown {
        let expected = good.iter().position(|known| known == name).map(|number| GOOD[number].1);
        let found = results.first().map(|(accuracy, _)| accuracy.as_str());
        assert_eq!(found, expected, "{name}: a failed run is no accuracy");
    }
}
