//! The ten calls of the experiments API: their parameters in any order, left out where they may be, and their answers
//! in exactly the documented shapes.
//!
//! What the source document does not have (`model_id`, `run_id` and the like) was added on purpose; an answer that
//! loses, renames or retypes anything fails here.

use crate::harness::{Form, Yard, images, wait_until};
use serde_json::{Value, json};

/// The same with ids as `<mdl>`, `<run>` and so on, and free texts as `<text>` where `texts` says so.
fn plain(value: &Value, texts: bool) -> Value {
    match value {
        Value::String(text) => match text.split_once('_') {
            Some((kind @ ("mdl" | "dst" | "exp" | "run" | "swp"), digits)) if digits.len() == 13 => {
                json!(format!("<{kind}>"))
            }
            _ => value.clone(),
        },
        Value::Array(list) => list.iter().map(|item| plain(item, texts)).collect(),
        Value::Object(object) => {
            let mut object: serde_json::Map<_, _> =
                object.iter().map(|(key, value)| (key.clone(), plain(value, texts))).collect();
            if texts && object["message"].as_str().is_some_and(|text| text.len() > 8) {
                object["message"] = json!("<text>");
            }
            object.into()
        }
        other => other.clone(),
    }
}

#[test]
fn all_ten_calls_answer_in_the_documented_shapes() {
    let yard = Yard::new()
        .one_experiment()
        .train("echo '{\"accuracy\": 0.8382381150935184}'")
        .test("echo '{\"accuracy\": 0.7325364548231516}'");
    let server = yard.start();
    let get = |path: &str, query: &[(&str, &str)]| server.get(path, query).ok();

    let created = json!({ "status": "ok", "message": "<text>", "model_id": "<mdl>" });
    assert_eq!(plain(&get("/createModel", &[("model_name", "model2")]), true), created);

    let created = json!({ "status": "ok", "message": "<text>", "dataset_id": "<dst>" });
    let query = [("model_name", "model2"), ("dataset_name", "data1")];
    assert_eq!(plain(&get("/createDataset", &query), true), created);

    let created = json!({ "status": "ok", "message": "<text>", "experiment_id": "<exp>" });
    let query = [
        ("model_name", "model2"),
        ("experiment_name", "custom"),
        ("learning_rate", "1"),
        ("num_layers", "4"),
        ("num_steps", "5000"),
    ];
    assert_eq!(plain(&get("/createExperiment", &query), true), created);

    let no_results = server.get("/bestAccuracy", &[("model_name", "model2")]);
    assert_eq!(no_results.refused(409, "status"), "no experiment done yet");
    let question = Form::new().field("model_name", "model2").file("file", "a.png", &images::png(9));
    assert_eq!(server.post("/test", &question).refused(409, "Status"), "no experiment done yet");

    let added = json!({ "status": "ok", "message": "Images added For training" });
    let form = Form::new().field("model_name", "model2").file("file", "1.jpg", &images::png(1));
    assert_eq!(server.post("/uploadTrainingImage", &form.field("dataset_name", "data1")).ok(), added);

    let started = json!({ "status": "ok", "message": "training for exp started", "run_id": "<run>" });
    let query = [("model_name", "model2"), ("experiment_name", "custom"), ("dataset_name", "data1")];
    assert_eq!(plain(&get("/train", &query), false), started);

    let started = json!({
        "status": "Ok",
        "message": "training started on 1 experiments",
        "sweep_id": "<swp>",
        "run_ids": ["<run>"],
    });
    let query = [("model_name", "model2"), ("dataset_name", "data1")];
    assert_eq!(plain(&get("/runDefaultExperiments", &query), false), started);
    server.idle();

    let result = json!([{ "accuracy": "0.8382381150935184", "datasetName": "data1" }]);
    let default = json!({
        "experimentName": "default_1", "layers": 1, "steps": 1, "learningRate": 0.1, "accuracies": result,
    });
    let custom = json!({
        "experimentName": "custom", "layers": 4, "steps": 5000, "learningRate": 1, "accuracies": result,
    });
    let all = json!({ "status": "ok", "body": { "AllExperiments": [default, custom] } });
    assert_eq!(get("/allAccuracies", &[("model_name", "model2")]), all);
    let one = json!({ "status": "ok", "body": { "AllExperiments": [custom] } });
    assert_eq!(get("/allAccuracies", &[("model_name", "model2"), ("experiment_name", "custom")]), one);

    let best = |experiment: &str| {
        let body = json!({
            "bestDataset": "data1", "bestExperiment": experiment, "bestaccuracy": "0.8382381150935184",
        });
        json!({ "status": "ok", "body": body })
    };
    assert_eq!(get("/bestAccuracy", &[("model_name", "model2")]), best("default_1"));
    let query = [("model_name", "model2"), ("experiment_name", "custom")];
    assert_eq!(get("/bestAccuracy", &query), best("custom"));

    let answer = json!({
        "Status": "ok",
        "body": {
            "Experiment": "default_1",
            "accuracy": "0.7325364548231516",
            "layers": "1",
            "learningRate": "0.1",
            "steps": "1",
            "run_id": "<run>",
        },
    });
    assert_eq!(plain(&server.post("/test", &question).ok(), false), answer);
    server.stop();
}

#[test]
fn a_new_model_has_27_experiments_in_order() {
    let yard = Yard::new();
    let server = yard.start();
    let message = server.get("/createModel", &[("model_name", "m")]).ok()["message"].clone();
    assert!(message.as_str().unwrap().contains("27"), "{message}");
    let all = server.get("/allAccuracies", &[("model_name", "m")]).ok();
    let mut expected = Vec::new();
    for rate in [json!(0.001), json!(0.01), json!(0.1)] {
        for layers in [1, 2, 4] {
            for steps in [1000, 2000, 4000] {
                expected.push(json!({
                    "accuracies": [],
                    "experimentName": format!("default_{}", expected.len() + 1),
                    "layers": layers,
                    "learningRate": rate,
                    "steps": steps,
                }));
            }
        }
    }
    assert_eq!(all["body"]["AllExperiments"], json!(expected));

    server.upload("m", "", "a.png", &images::png(1));
    let started = server.get("/runDefaultExperiments", &[("model_name", "m")]).ok();
    assert_eq!(started["message"], "training started on 27 experiments");
    assert_eq!(started["run_ids"].as_array().unwrap().len(), 27);
    server.idle();
    assert!(server.accuracies("m").iter().all(|(_, results)| *results == [("0.5".to_owned(), String::new())]));
}

#[test]
fn another_grid_makes_another_number_of_experiments() {
    let yard = Yard::new().experiments(5);
    let server = yard.start();
    server.model_with_image("m");
    let started = server.get("/runDefaultExperiments", &[("model_name", "m")]).ok();
    assert_eq!(started["message"], "training started on 5 experiments");
    let names: Vec<String> = server.accuracies("m").into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["default_1", "default_2", "default_3", "default_4", "default_5"]);
}

#[test]
fn a_sweep_is_of_the_default_experiments_alone() {
    let yard = Yard::new().experiments(2);
    let server = yard.start();
    server.model_with_image("m");
    server.create_experiment("m", "custom");
    assert_eq!(server.sweep("m").len(), 2);
    server.idle();
    let results: Vec<usize> = server.accuracies("m").iter().map(|(_, results)| results.len()).collect();
    assert_eq!(results, [1, 1, 0]);
}

#[test]
fn parameters_come_in_any_order() {
    let yard = Yard::new().one_experiment().train("cd \"$8\"; find . -type l > \"$YARD/seen\"; echo accuracy=1");
    let server = yard.start();
    let query = [
        ("num_steps", "3"),
        ("num_layers", "2"),
        ("learning_rate", "0.25"),
        ("experiment_name", "e"),
        ("model_name", "m"),
    ];
    server.create_model("m");
    server.get("/createExperiment", &query).ok();
    server.get("/createDataset", &[("dataset_name", "d"), ("model_name", "m")]).ok();
    let orders = permutations(&["model_name", "dataset_name", "label", "file"]);
    assert_eq!(orders.len(), 24);
    for (number, order) in (100..).zip(&orders) {
        let form = order.iter().fold(Form::new(), |form, part| match *part {
            "model_name" => form.field("model_name", "m"),
            "dataset_name" => form.field("dataset_name", "d"),
            "label" => form.field("label", "cat"),
            _ => form.file("file", &format!("{number}.png"), &images::png(number)),
        });
        server.post("/uploadTrainingImage", &form).ok();
    }
    server.get("/train", &[("dataset_name", "d"), ("experiment_name", "e"), ("model_name", "m")]).ok();
    server.idle();
    let mut seen = yard.lines("seen");
    seen.sort();
    let expected: Vec<String> = (100..124).map(|number| format!("./cat/{number}.png")).collect();
    assert_eq!(seen, expected);
    let question = Form::new().file("file", "x.png", &images::png(1)).field("model_name", "m");
    assert_eq!(server.post("/test", &question).ok()["body"]["Experiment"], "e");
    assert_eq!(server.best("m", "e"), ("e".into(), "1".into(), "d".into()));
}

fn permutations<'a>(items: &[&'a str]) -> Vec<Vec<&'a str>> {
    let [only] = items else {
        let without = |at: usize| [&items[..at], &items[at + 1..]].concat();
        let from =
            |at: usize| permutations(&without(at)).into_iter().map(move |rest| [&[items[at]][..], &rest].concat());
        return (0..items.len()).flat_map(from).collect();
    };
    vec![vec![only]]
}

#[test]
fn models_have_experiments_and_datasets_of_their_own() {
    let yard = Yard::new().one_experiment();
    let server = yard.start();
    for model in ["a", "b"] {
        server.create_model(model);
        server.create_dataset(model, "same");
        server.create_experiment(model, "same");
    }
    server.upload("a", "same", "1.png", &images::png(1));
    server.trained("a", "same", "same");
    assert_eq!(server.best("a", "same"), ("same".into(), "0.5".into(), "same".into()));
    server.get("/bestAccuracy", &[("model_name", "b")]).refused(409, "status");
    server.get("/train", &[("model_name", "b"), ("experiment_name", "same")]).refused(409, "status");
}

#[test]
fn curl_walks_through_on_one_connection_with_http_1_1() {
    let yard = Yard::new().one_experiment();
    let server = yard.start();
    let line = |target: &str, rest: &str| format!("GET {target} HTTP/1.1\r\nHost: localhost\r\n{rest}\r\n");
    let requests = line("/createModel?model_name=m", "")
        + &line("/allAccuracies?model_name=m", "")
        + &line("/healthz", "Connection: close\r\n");
    let answer = crate::harness::client::raw(server.address, requests.as_bytes()).unwrap();
    let all = answer.text();
    assert_eq!(all.matches("HTTP/1.1 200 OK").count(), 2, "{all}");
    assert!(answer.status == 200 && all.contains("default_1"), "{all}");
}

#[test]
fn an_http_1_0_client_gets_no_chunks() {
    let yard = Yard::new().one_experiment().train("echo hello; echo accuracy=1");
    let server = yard.start();
    server.model_with_image("m");
    let run = server.trained("m", "default_1", "")["id"].as_str().unwrap().to_owned();
    let chunked: Vec<String> =
        ["/allAccuracies?model_name=m", "/api/v1/runs?model=m", &format!("/api/v1/runs/{run}/log")]
            .into_iter()
            .filter(|path| server.get(path, &[]).header("transfer-encoding").is_some())
            .map(str::to_owned)
            .collect();
    // RFC 9112, 6.1: never to a client that does not say HTTP/1.1; proxies and `ab` speak 1.0.
    assert!(chunked.is_empty(), "{chunked:?}");
}

#[test]
fn health_readiness_and_queue_answer() {
    let yard = Yard::new().one_experiment().train(": < \"$YARD/gate\"; echo accuracy=1");
    let mut gate = yard.gate("gate");
    let server = yard.start();
    assert_eq!(server.get("/healthz", &[]).status, 200);
    assert_eq!(server.get("/readyz", &[]).status, 200);
    assert_eq!(
        server.get("/api/v1/queue", &[]).ok(),
        json!({ "queued": 0, "running": 0, "concurrency": 2, "paused": false, "waiting_for_memory": null })
    );
    server.model_with_image("m");
    for name in ["x", "y", "z"] {
        server.create_experiment("m", name);
        server.train("m", name, "");
    }
    wait_until("two runs", || server.queue() == (1, 2));
    gate.open();
    server.idle();
}
