//! A disk without room: nothing new is accepted, what is there can be read, and work goes on once there is room.

use crate::harness::{Form, State, Yard, images};

/// More than any disk has.
const ALL: i64 = 1 << 62;

#[test]
fn without_room_nothing_new_is_accepted_and_everything_is_shown() {
    let yard = Yard::new().one_experiment();
    let server = yard.start();
    server.create_model("m");
    server.create_dataset("m", "d");
    server.upload("m", "d", "a.png", &images::png(1));
    server.trained("m", "default_1", "d");
    server.stop();

    let full = yard.set("server", "min_free_bytes", ALL);
    let server = full.start();
    assert_eq!(server.get("/healthz", &[]).status, 200);
    assert_eq!(server.get("/readyz", &[]).status, 507);
    let before = State::of(&full, &server);
    let names = [("model_name", "m"), ("dataset_name", "new"), ("experiment_name", "new")];
    let numbers = [("learning_rate", "1"), ("num_layers", "1"), ("num_steps", "1")];
    let all = [&names[..], &numbers].concat();
    let calls = [
        ("/createModel", &[("model_name", "new")][..]),
        ("/createDataset", &all),
        ("/createExperiment", &all),
        ("/uploadTrainingImages", &[("model_name", "m"), ("image_urls", "http://127.0.0.1:1/a.png")]),
        ("/train", &[("model_name", "m"), ("experiment_name", "default_1")]),
        ("/runDefaultExperiments", &[("model_name", "m")]),
    ];
    for (path, query) in calls {
        let message = server.get(path, query).refused(507, "status");
        assert!(message.contains("disk") || message.contains("room"), "{path}: {message}");
    }
    let form = Form::new().field("model_name", "m").file("file", "b.png", &images::png(2));
    server.post("/uploadTrainingImage", &form).refused(507, "status");
    before.still(&full, &server);
    assert_eq!(server.best("m", ""), ("default_1".into(), "0.5".into(), "d".into()));
    server.stop();

    let yard = full.set("server", "min_free_bytes", 0);
    let server = yard.start();
    assert_eq!(server.trained("m", "default_1", "d")["dataset_version"], 1);
}

#[test]
fn what_waits_starts_once_there_is_room() {
    let yard = Yard::new().experiments(3).set("jobs", "concurrency", 1).train(": < \"$YARD/gate\"; echo accuracy=1");
    let mut gate = yard.gate("gate");
    let server = yard.start();
    server.model_with_image("m");
    server.sweep("m");
    server.kill9();
    gate.open();
    let full = yard.set("server", "min_free_bytes", ALL);
    let server = full.start();
    assert_eq!(server.queue(), (3, 0));
    server.stop();
    let yard = full.set("server", "min_free_bytes", 0);
    let server = yard.start();
    server.idle();
    assert_eq!(server.best("m", "").1, "1");
}
