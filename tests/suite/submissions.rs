//! What a client submits under `/api/v1`, and what it reads of it: lists, the best, the order, curves, parts of logs, files.

use crate::harness::client::{Answer, request, send};
use crate::harness::{Form, Server, Yard, images, wait_until};
use serde_json::{Value, json};

fn post(server: &Server, path: &str, body: &Value) -> Answer {
    request(server.address, "POST", path, "application/json", body.to_string().as_bytes())
}

/// The body of a 202, which says where it goes on.
#[track_caller]
fn accepted(server: &Server, path: &str, body: &Value) -> Value {
    let answer = post(server, path, body);
    assert_eq!(answer.status, 202, "{}", answer.text());
    let location = answer.header("location").unwrap().to_owned();
    let body = answer.json();
    assert_eq!(location, format!("{path}/{}", body["id"].as_str().unwrap()));
    assert_eq!(server.get(&location, &[]).status, 200);
    body
}

fn data(server: &Server, path: &str, query: &[(&str, &str)]) -> Vec<Value> {
    server.get(path, query).ok()["data"].as_array().unwrap().clone()
}

/// Accuracy grows with the steps.
const BY_STEPS: &str = "echo accuracy=0.$6";

#[test]
fn grids_points_and_experiments_are_submitted() {
    let yard = Yard::new().experiments(2).train(BY_STEPS);
    let server = yard.start();
    server.model_with_image("m");
    let grid = json!({ "learning_rates": [0.1, 0.5], "layers": [1], "steps": [1, 2, 3] });
    let sweep = accepted(&server, "/api/v1/sweeps", &json!({ "model": "m", "grid": grid, "priority": 3, "seed": 7 }));
    assert_eq!(sweep["runs"], 6);
    server.idle();
    let id = sweep["id"].as_str().unwrap();
    let runs = data(&server, "/api/v1/runs", &[("sweep", id)]);
    let names: Vec<&str> = runs.iter().map(|run| run["experiment"].as_str().unwrap()).collect();
    // What stands for a point already is used.
    let new = |rate: &str, steps: u32| format!("lr{rate}-layers1-steps{steps}");
    assert_eq!(names[..2], ["default_1", "default_2"]);
    assert_eq!(names[2..], [new("0.1", 3), new("0.5", 1), new("0.5", 2), new("0.5", 3)]);
    assert!(runs.iter().all(|run| run["seed"] == 7 && run["priority"] == 3), "{runs:?}");
    let shown = server.get(&format!("/api/v1/sweeps/{id}"), &[]).ok();
    assert_eq!((&shown["states"]["succeeded"], &shown["best"]["accuracy"]), (&json!(6), &json!("0.3")));

    let points =
        json!([{ "learning_rate": 0.5, "layers": 1, "steps": 2 }, { "learning_rate": 0.5, "layers": 1, "steps": 2 }]);
    let again = accepted(&server, "/api/v1/sweeps", &json!({ "model": "m", "parameters": points }));
    assert_eq!(again["runs"], 1, "the same twice is one");
    let named =
        accepted(&server, "/api/v1/sweeps", &json!({ "model": "m", "experiments": ["default_2", "default_1"] }));
    let all = accepted(&server, "/api/v1/sweeps", &json!({ "model": "m" }));
    assert_eq!((&named["runs"], &all["runs"]), (&json!(2), &json!(2)));
    // One that waits already would stand for it.
    server.idle();
    let run =
        accepted(&server, "/api/v1/runs", &json!({ "model": "m", "experiment": "default_1", "timeout_seconds": 9 }));
    assert_eq!(run["timeout_seconds"], 9);
    server.idle();
    let listed: Vec<Value> = data(&server, "/api/v1/sweeps", &[("model", "m")]);
    let ids: Vec<&Value> = listed.iter().map(|line| &line["id"]).collect();
    assert_eq!(ids, [&all["id"], &named["id"], &again["id"], &sweep["id"]]);
    assert!(listed.iter().all(|line| line["open"] == 0), "{listed:?}");

    let refused = |path: &str, body: Value, status: u16| post(&server, path, &body).problem(status);
    assert!(
        refused(
            "/api/v1/sweeps",
            json!({ "model": "m", "grid": { "learning_rates": [], "layers": [1], "steps": [1] } }),
            400
        )
        .contains("learning rate")
    );
    assert!(refused("/api/v1/sweeps", json!({ "model": "m", "experiments": [] }), 400).contains("empty"));
    assert!(refused("/api/v1/sweeps", json!({ "model": "m", "experiments": ["nobody"] }), 404).contains("nobody"));
    assert!(
        refused("/api/v1/sweeps", json!({ "model": "m", "experiments": [], "parameters": [] }), 400).contains("one of")
    );
    let steps: Vec<u32> = (1..=101).collect();
    let large = json!({ "learning_rates": [0.1], "layers": (1..=100).collect::<Vec<u32>>(), "steps": steps });
    assert!(refused("/api/v1/sweeps", json!({ "model": "m", "grid": large }), 400).contains("10000"));
    refused("/api/v1/runs", json!({ "model": "m" }), 400);
    refused("/api/v1/runs", json!({ "model": "m", "experiment": "default_1", "dataset": "none" }), 404);
    server.create_dataset("m", "empty");
    refused("/api/v1/runs", json!({ "model": "m", "experiment": "default_1", "dataset": "empty" }), 409);
}

#[test]
fn results_are_read_in_order_and_taken_away() {
    let yard = Yard::new().experiments(7).train(BY_STEPS);
    let server = yard.start();
    server.create_model("m");
    server.get("/api/v1/models/m/best", &[]).problem(409);
    server.create_dataset("m", "d");
    server.upload("m", "d", "cat.1.png", &images::png(1));
    server.sweep("m");
    server.train("m", "default_3", "d");
    server.idle();
    let best = |query: &[(&str, &str)]| {
        let best = server.get("/api/v1/models/m/best", query).ok();
        (best["experiment"].as_str().unwrap().to_owned(), best["dataset"].as_str().unwrap().to_owned())
    };
    assert_eq!(best(&[]), ("default_7".to_owned(), String::new()));
    assert_eq!(best(&[("dataset", "d")]), ("default_3".to_owned(), "d".to_owned()));
    assert_eq!(best(&[("experiment", "default_2")]), ("default_2".to_owned(), String::new()));
    server.get("/api/v1/models/m/best", &[("experiment", "default_2"), ("dataset", "d")]).problem(409);
    let (mut order, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = server.get("/api/v1/models/m/leaderboard", &[("limit", "3"), ("cursor", &cursor)]).ok();
        order.extend(page["data"].as_array().unwrap().iter().map(|one| one["accuracy"].as_str().unwrap().to_owned()));
        match page["next_cursor"].as_str() {
            Some(next) => next.clone_into(&mut cursor),
            None => break,
        }
    }
    assert_eq!(order, ["0.7", "0.6", "0.5", "0.4", "0.3", "0.3", "0.2", "0.1"]);
    server.get("/api/v1/models/m/leaderboard", &[("cursor", "zz")]).problem(400);
    // In any order, a page at a time, and where an experiment is called something else.
    let sorted = |sort: &str, field: &str| {
        let (mut found, mut cursor) = (Vec::new(), String::new());
        loop {
            let query = [("limit", "3"), ("sort", sort), ("cursor", &cursor)];
            let page = server.get("/api/v1/models/m/leaderboard", &query).ok();
            found.extend(page["data"].as_array().unwrap().iter().map(|one| one[field].to_string().replace('"', "")));
            match page["next_cursor"].as_str() {
                Some(next) => next.clone_into(&mut cursor),
                None => return found,
            }
        }
    };
    for (sort, field) in [("learning_rate", "learning_rate"), ("layers", "layers"), ("steps", "steps")] {
        let numbers: Vec<f64> = sorted(sort, field).iter().map(|text| text.parse().unwrap()).collect();
        assert!(numbers.len() == 8 && numbers.is_sorted(), "{sort}: {numbers:?}");
        let mut turned: Vec<f64> =
            sorted(&format!("-{sort}"), field).iter().map(|text| text.parse().unwrap()).collect();
        turned.reverse();
        assert_eq!(turned, numbers);
    }
    assert_eq!(sorted("-accuracy", "accuracy"), ["0.1", "0.2", "0.3", "0.3", "0.4", "0.5", "0.6", "0.7"]);
    let before = sorted("experiment", "experiment");
    assert!(before.starts_with(&["default_1".to_owned()]), "{before:?}");
    let renamed = json!({"name": "default_100"}).to_string();
    let place = "/api/v1/models/m/experiments/default_1";
    request(server.address, "PATCH", place, "application/json", renamed.as_bytes()).ok();
    let mut after = before;
    after.rotate_left(1);
    *after.last_mut().unwrap() = "default_100".to_owned();
    assert_eq!(sorted("experiment", "experiment"), after);
    server.get("/api/v1/models/m/leaderboard", &[("sort", "colour")]).problem(400);
    let csv = server.get("/api/v1/models/m/results.csv", &[]).text();
    let lines: Vec<&str> = csv.lines().collect();
    assert_eq!(lines.len(), 9);
    assert!(
        lines[0].starts_with("experiment,learning_rate,") && lines[1].starts_with("default_100,0.1,1,1,,1,0.1,,run_")
    );
    let jsonl = server.get("/api/v1/models/m/results.jsonl", &[]).text();
    let first: Value = serde_json::from_str(jsonl.lines().next().unwrap()).unwrap();
    assert_eq!(
        (&first["experiment"], &first["accuracy"], jsonl.lines().count()),
        (&json!("default_100"), &json!("0.1"), 8)
    );
}

#[test]
fn lists_of_runs_are_narrowed_and_turned_round() {
    let yard = Yard::new().experiments(9).train("[ $6 = 4 ] && exit 3; echo accuracy=0.5");
    let server = yard.start();
    server.model_with_image("m");
    let runs = server.sweep("m");
    server.idle();
    let ids = |query: &[(&str, &str)]| -> Vec<String> {
        let (mut found, mut cursor) = (Vec::new(), String::new());
        loop {
            let query = [&[("model", "m"), ("limit", "4"), ("cursor", &cursor)], query].concat();
            let page = server.get("/api/v1/runs", &query).ok();
            found.extend(page["data"].as_array().unwrap().iter().map(|run| run["id"].as_str().unwrap().to_owned()));
            match page["next_cursor"].as_str() {
                Some(next) => next.clone_into(&mut cursor),
                None => return found,
            }
        }
    };
    let backwards: Vec<String> = runs.iter().rev().cloned().collect();
    assert_eq!(ids(&[]), runs);
    assert_eq!(ids(&[("order", "newest")]), backwards);
    assert_eq!(ids(&[("state", "failed")]), runs[3..4]);
    assert_eq!(ids(&[("state", "succeeded"), ("order", "newest")]).len(), 8);
    assert_eq!(ids(&[("experiment", "default_2")]), runs[1..2]);
    server.get("/api/v1/runs", &[("model", "m"), ("state", "lost")]).problem(400);
}

#[test]
fn curves_logs_and_files_of_a_run_are_read_in_part() {
    let script = "step=0; while [ $step -lt 3000 ]; do step=$((step + 1)); echo \"step=$step loss=$((step % 100))\"; done\n\
                  mkdir deep; echo kept > deep/model.h5; ln -s /etc/passwd link; echo accuracy=0.5";
    let yard = Yard::new().one_experiment().train(script);
    let server = yard.start();
    server.model_with_image("m");
    let run = server.trained("m", "default_1", "")["id"].as_str().unwrap().to_owned();
    let path = |tail: &str| format!("/api/v1/runs/{run}{tail}");
    let curves = server.get(&path("/curves"), &[("metric", "loss"), ("points", "40")]).ok();
    let curve = &curves["curves"][0];
    let points = curve["points"].as_array().unwrap();
    assert_eq!((&curve["metric"], &curve["count"]), (&json!("loss"), &json!(3000)));
    assert!((20..=40).contains(&points.len()) && points[0] == json!([1.0, 1.0]), "{points:?}");
    assert_eq!(curves["points_offset"], server.get(&path("/metrics"), &[]).body.len());
    server.get(&path("/curves"), &[("points", "3")]).problem(400);

    let log = server.run_log(&run);
    let part = server.get(&path("/log"), &[("offset", "7"), ("limit", "5")]);
    assert_eq!((part.status, part.text().as_str()), (206, &log[7..12]));
    assert_eq!(part.header("content-range").unwrap(), format!("bytes 7-11/{}", log.len()));
    let end = crate::harness::client::get_with(server.address, &path("/log"), "Range: bytes=-13\r\n");
    assert_eq!((end.status, end.text().as_str()), (206, "accuracy=0.5\n"));
    server.get(&path("/log"), &[("offset", &log.len().to_string())]).problem(416);

    let files = data(&server, &path("/artifacts"), &[]);
    assert_eq!((files.len(), &files[0]["name"], &files[0]["size"]), (1, &json!("deep/model.h5"), &json!(5)));
    let kept = server.get(&path("/artifacts/deep%2Fmodel.h5"), &[]);
    assert_eq!((kept.status, kept.text().as_str()), (200, "kept\n"));
    assert_eq!(kept.header("content-type"), Some("application/octet-stream"));
    for name in ["link", "deep", "..%2F..%2Fid", "%2Fetc%2Fpasswd", "none", "deep%2F..%2Flink"] {
        server.get(&path(&format!("/artifacts/{name}")), &[]).problem(404);
    }
    wait_until("an idle server", || server.queue() == (0, 0));
}

#[test]
fn many_images_are_asked_about_at_once() {
    let yard =
        Yard::new().one_experiment().test("echo accuracy=0.9 label=cat").set("server", "max_upload_bytes", 100_000);
    let server = yard.start();
    server.model_with_image("m");
    let form = |files: &[(&str, Vec<u8>)]| {
        let form = files.iter().fold(Form::new(), |form, (name, bytes)| form.file("file", name, bytes));
        server.post("/api/v1/models/m/predictions", &form)
    };
    let good = || images::png(1);
    form(&[("a.png", good())]).problem(409);
    server.trained("m", "default_1", "");
    let files = [
        ("a.png", good()),
        ("b.txt", b"no image".to_vec()),
        ("c.png", vec![7; 150_000]),
        ("d.png", images::large_png(70_000)),
    ];
    let answer = form(&files).ok();
    let told: Vec<(&str, bool, &Value)> = answer["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| (one["file"].as_str().unwrap(), one["prediction"].is_object(), &one["error"]["code"]))
        .collect();
    let code = |code: &str| json!(code);
    assert_eq!(
        told,
        [
            ("a.png", true, &Value::Null),
            ("b.txt", false, &code("not_an_image")),
            ("c.png", false, &code("too_large")),
            ("d.png", true, &Value::Null)
        ]
    );
    assert_eq!(answer["data"][0]["prediction"]["accuracy"], "0.9");
    assert!(yard.unfinished().is_empty());
    form(&[]).problem(400);
    let many: Vec<(&str, Vec<u8>)> = (0..101).map(|_| ("a.txt", vec![1])).collect();
    assert!(form(&many).problem(400).contains("100"));
    assert!(server.post("/api/v1/models/none/predictions", &Form::new()).problem(404).contains("none"));
}

#[test]
fn everything_is_called_by_its_name_or_its_id() {
    let yard = Yard::new().experiments(2).train(BY_STEPS);
    let server = yard.start();
    server.create_model("m");
    server.create_dataset("m", "d");
    server.upload("m", "d", "cat.1.png", &images::png(1));
    let id = |path: &str| server.get(path, &[]).ok()["id"].as_str().unwrap().to_owned();
    let (model, dataset) = (id("/api/v1/models/m"), id("/api/v1/models/m/datasets/d"));
    let experiment = id("/api/v1/models/m/experiments/default_2");
    let sweep = accepted(&server, "/api/v1/sweeps", &json!({ "model": model, "dataset": dataset }));
    server.idle();
    let alone = json!({ "model": model, "dataset": dataset, "experiment": experiment });
    accepted(&server, "/api/v1/runs", &alone);
    server.idle();
    let runs = |model: &str, dataset: &str, experiment: &str| {
        data(&server, "/api/v1/runs", &[("model", model), ("dataset", dataset), ("experiment", experiment)])
    };
    assert_eq!(runs("m", "d", "default_2").len(), 2);
    assert_eq!(runs("m", "d", "default_2"), runs(&model, &dataset, &experiment));
    assert_eq!(data(&server, "/api/v1/sweeps", &[("model", &model)])[0]["id"], sweep["id"]);
    for what in ["leaderboard", "best", "results.csv", "results.jsonl"] {
        let (by_id, by_name) = (format!("/api/v1/models/{model}/{what}"), format!("/api/v1/models/m/{what}"));
        assert_eq!(server.get(&by_id, &[]).text(), server.get(&by_name, &[]).text(), "{what}");
    }
    let query = [("experiment", experiment.as_str()), ("dataset", dataset.as_str())];
    assert_eq!(server.get("/api/v1/models/m/best", &query).ok()["experiment"], "default_2");
    let answer = post(&server, &format!("/api/v1/queue/cancel?model={model}"), &Value::Null);
    assert_eq!(answer.json()["cancelled"], 0, "{}", answer.text());
    // Of another model, the same experiment is none.
    server.create_model("other");
    server.get("/api/v1/runs", &[("model", "other"), ("experiment", &experiment)]).problem(404);
    // An id that leads to nothing.
    post(&server, "/api/v1/sweeps", &json!({ "model": "mdl_zzz", "dataset": "d" })).problem(404);
    post(&server, "/api/v1/sweeps", &json!({ "model": "mdl_0000000000001" })).problem(404);
}

#[test]
fn what_is_submitted_again_with_its_key_is_submitted_once() {
    let yard = Yard::new().experiments(2).train(BY_STEPS);
    let server = yard.start();
    server.model_with_image("m");
    let keyed = |path: &str, key: &str, body: Value| {
        let headers = [("Content-Type", "application/json"), ("Idempotency-Key", key)];
        send(server.address, "POST", path, &headers, body.to_string().as_bytes())
    };
    for (path, body) in [
        ("/api/v1/sweeps", json!({ "model": "m" })),
        ("/api/v1/runs", json!({ "model": "m", "experiment": "default_1" })),
    ] {
        let first = keyed(path, path, body.clone());
        server.idle();
        let again = keyed(path, path, body);
        assert_eq!((first.status, again.status), (202, 202), "{}", again.text());
        assert_eq!(first.json()["id"], again.json()["id"]);
        assert_eq!(again.header("location"), first.header("location"));
        keyed(path, path, json!({ "model": "m", "priority": 1 })).problem(422);
    }
    assert_eq!(data(&server, "/api/v1/sweeps", &[("model", "m")]).len(), 1);
    let hook = json!({ "url": "https://example.org/hook" });
    let made = keyed("/api/v1/webhooks", "hook", hook.clone()).json();
    assert_eq!(made, keyed("/api/v1/webhooks", "hook", hook).json());
}
