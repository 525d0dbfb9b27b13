//! Which results are shown: the latest submitted run's of an experiment on a dataset, the best of what is stored now,
//! and how ties are settled.

use crate::harness::{Server, Yard, images, wait_until};

/// Training says what the file `says.<experiment>.<dataset>` says.
const SAYS: &str = "cat \"$YARD/says.$TRAINYARD_EXPERIMENT.$TRAINYARD_DATASET\"";

fn yard() -> Yard {
    Yard::new().one_experiment().set("jobs", "concurrency", 1).train(SAYS)
}

/// A model `m` with datasets and experiments.
fn with(server: &Server, datasets: &[&str], experiments: &[&str]) {
    server.model_with_image("m");
    for (number, dataset) in (10..).zip(datasets) {
        server.create_dataset("m", dataset);
        server.upload("m", dataset, "b.png", &images::png(number));
    }
    for experiment in experiments {
        server.create_experiment("m", experiment);
    }
}

/// Trains, with this as output; waits for the end. Returns the run's state.
fn says(yard: &Yard, server: &Server, experiment: &str, dataset: &str, output: &str) -> String {
    yard.write(&format!("says.{experiment}.{dataset}"), output);
    let id = server.train("m", experiment, dataset);
    server.idle();
    server.state(&id)
}

fn best(experiment: &str, accuracy: &str, dataset: &str) -> (String, String, String) {
    (experiment.into(), accuracy.into(), dataset.into())
}

#[test]
fn the_best_is_the_best_of_what_is_stored_now() {
    let yard = yard();
    let server = yard.start();
    with(&server, &["d1", "d2"], &["a", "b"]);
    says(&yard, &server, "a", "d1", "accuracy: 0.5591");
    assert_eq!(server.best("m", ""), best("a", "0.5591", "d1"));
    says(&yard, &server, "a", "d2", "accuracy: 0.9");
    says(&yard, &server, "b", "d1", "accuracy: 0.7");
    assert_eq!(server.best("m", ""), best("a", "0.9", "d2"));
    assert_eq!(server.best("m", "a"), best("a", "0.9", "d2"));
    assert_eq!(server.best("m", "b"), best("b", "0.7", "d1"));
    // The same once more, worse: the model's best is another experiment's now.
    says(&yard, &server, "a", "d2", "accuracy: 0.1");
    assert_eq!(server.best("m", ""), best("b", "0.7", "d1"));
    assert_eq!(server.best("m", "a"), best("a", "0.5591", "d1"));
    let results = |experiment: &str| {
        let all = server.accuracies("m");
        all.into_iter().find(|(name, _)| name == experiment).unwrap().1
    };
    assert_eq!(results("a"), [("0.5591".into(), "d1".into()), ("0.1".into(), "d2".into())]);
    // Digits decide, not their number: 0.70 and 0.7 are equal, 0.0999 is less than 0.1.
    says(&yard, &server, "a", "d2", "accuracy: 0.0999");
    assert_eq!(results("a")[1].0, "0.0999");
    assert_eq!(server.best("m", "a"), best("a", "0.5591", "d1"));
}

#[test]
fn a_failed_repeat_leaves_the_result() {
    let yard = yard();
    let server = yard.start();
    with(&server, &["d"], &["a"]);
    assert_eq!(says(&yard, &server, "a", "d", "accuracy: 0.8"), "succeeded");
    for (output, state) in [("accuracy: nan", "failed"), ("no number", "failed"), ("accuracy=0.6", "succeeded")] {
        assert_eq!(says(&yard, &server, "a", "d", output), state);
        let kept = if state == "failed" { "0.8" } else { "0.6" };
        assert_eq!(server.best("m", "a"), best("a", kept, "d"));
    }
    server.stop();
    let server = yard.start();
    assert_eq!(server.best("m", ""), best("a", "0.6", "d"));
}

#[test]
fn a_failed_first_run_is_no_accuracy_of_0() {
    let yard = yard();
    let server = yard.start();
    with(&server, &[], &["a"]);
    assert_eq!(says(&yard, &server, "a", "", "accuracy: nan"), "failed");
    server.get("/bestAccuracy", &[("model_name", "m")]).refused(409, "status");
    assert!(server.accuracies("m").iter().all(|(_, results)| results.is_empty()));
    // But an accuracy of 0 is one.
    assert_eq!(says(&yard, &server, "a", "", "accuracy: 0"), "succeeded");
    assert_eq!(server.best("m", ""), best("a", "0", ""));
}

#[test]
fn training_without_a_dataset_has_an_empty_dataset_name() {
    let yard = yard();
    let server = yard.start();
    with(&server, &["d"], &["a"]);
    says(&yard, &server, "a", "", "accuracy: 0.4");
    says(&yard, &server, "a", "d", "accuracy: 0.3");
    assert_eq!(server.best("m", ""), best("a", "0.4", ""));
    let (_, results) = server.accuracies("m").pop().unwrap();
    assert_eq!(results, [("0.4".into(), String::new()), ("0.3".into(), "d".into())]);
}

#[test]
fn ties_go_to_the_lower_validation_loss_where_both_report_one() {
    let yard = yard();
    let server = yard.start();
    with(&server, &[], &["a", "b", "c"]);
    says(&yard, &server, "b", "", "{\"accuracy\": 0.9, \"val_loss\": 0.3}");
    says(&yard, &server, "a", "", "{\"accuracy\": 0.9, \"val_loss\": 0.4}");
    assert_eq!(server.best("m", ""), best("b", "0.9", ""));
    says(&yard, &server, "c", "", "{\"accuracy\": 0.90, \"val_loss\": 0.2}");
    assert_eq!(server.best("m", ""), best("c", "0.90", ""));
    // A better accuracy wins whatever its loss.
    says(&yard, &server, "a", "", "{\"accuracy\": 0.91, \"val_loss\": 9}");
    assert_eq!(server.best("m", ""), best("a", "0.91", ""));
}

#[test]
fn other_ties_go_to_the_earlier_experiment() {
    let yard = yard();
    let server = yard.start();
    with(&server, &[], &["a", "b", "c"]);
    says(&yard, &server, "c", "", "accuracy: 0.9");
    says(&yard, &server, "b", "", "accuracy: 0.9");
    assert_eq!(server.best("m", ""), best("b", "0.9", ""));
    says(&yard, &server, "a", "", "accuracy: 0.900");
    assert_eq!(server.best("m", ""), best("a", "0.900", ""));
    // `b` reports a loss now and `a` does not.
    says(&yard, &server, "b", "", "{\"accuracy\": 0.9, \"val_loss\": 0.1}");
    assert_eq!(server.best("m", ""), best("a", "0.900", ""));
    // Now `c` alone is silent, and is later than `b`.
    says(&yard, &server, "a", "", "accuracy: 0.1");
    assert_eq!(server.best("m", ""), best("b", "0.9", ""));
}

#[test]
fn the_latest_submitted_run_counts_whichever_ends_last() {
    let script = "if mkdir \"$YARD/first\" 2>/dev/null; then : < \"$YARD/gate\"; echo accuracy=0.1; \
                  else echo accuracy=0.7; fi";
    let yard = Yard::new().one_experiment().train(script);
    let mut gate = yard.gate("gate");
    let server = yard.start();
    server.model_with_image("m");
    let first = server.train("m", "default_1", "");
    wait_until("the first run to hang", || yard.path("first").exists());
    let second = server.train("m", "default_1", "");
    assert_ne!(first, second, "an experiment trained again is a new run");
    wait_until("the second run's end", || server.state(&second) == "succeeded");
    assert_eq!(server.best("m", ""), best("default_1", "0.7", ""));
    gate.open();
    wait_until("the first run's end", || server.state(&first) == "succeeded");
    assert_eq!(server.run(&first)["accuracy"], "0.1");
    assert_eq!(server.best("m", ""), best("default_1", "0.7", ""), "the run submitted later stands");
}

#[test]
fn completed_results_are_shown_while_others_wait() {
    let script = "[ \"$6\" -gt 2 ] && : < \"$YARD/gate\"; echo accuracy=0.$6";
    let yard = Yard::new().experiments(4).train(script);
    let mut gate = yard.gate("gate");
    let server = yard.start();
    server.model_with_image("m");
    server.sweep("m");
    wait_until("two results", || server.accuracies("m").iter().filter(|(_, results)| results.len() == 1).count() == 2);
    assert_eq!(server.best("m", ""), best("default_2", "0.2", ""));
    gate.open();
    server.idle();
    assert_eq!(server.best("m", ""), best("default_4", "0.4", ""));
}
