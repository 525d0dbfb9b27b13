//! Control over the queue: by the sweep, by the model, all of it; retries, pauses, priorities, time limits.

use crate::harness::client::{self, Answer};
use crate::harness::{Server, Yard, wait_until};
use serde_json::{Value, json};

/// Runs write their steps when they start, and wait at the gate.
const ORDER: &str = "echo \"$6\" >> \"$YARD/order\"; : < \"$YARD/gate\"; echo accuracy=0.5";

fn post(server: &Server, path: &str) -> Answer {
    client::request(server.address, "POST", path, "", &[])
}

fn patch(server: &Server, path: &str, body: &Value) -> Answer {
    client::request(server.address, "PATCH", path, "application/json", body.to_string().as_bytes())
}

fn submitted(server: &Server, model: &str) -> String {
    let answer = server.get("/runDefaultExperiments", &[("model_name", model)]).ok();
    answer["sweep_id"].as_str().unwrap().to_owned()
}

#[test]
fn a_sweep_is_cancelled_as_a_whole_and_no_other_run_with_it() {
    let yard = Yard::new().experiments(70).train(ORDER);
    let mut gate = yard.gate("gate");
    let server = yard.start();
    server.model_with_image("m");
    server.model_with_image("n");
    let sweep = submitted(&server, "m");
    let other = server.train("n", "default_9", "");
    wait_until("two runs", || server.queue() == (69, 2));
    let answer = post(&server, &format!("/api/v1/sweeps/{sweep}/cancel"));
    assert_eq!((answer.status, answer.json()), (202, json!({ "cancelled": 70 })));
    wait_until("the end of both and the start of the other", || server.queue() == (0, 1));
    gate.open();
    server.idle();
    assert_eq!(server.state(&other), "succeeded");
    let shown = server.get(&format!("/api/v1/sweeps/{sweep}"), &[]).ok();
    assert_eq!(shown["states"], json!({ "queued": 0, "running": 0, "succeeded": 0, "failed": 0, "cancelled": 70 }));
    assert_eq!((&shown["model"], &shown["runs"]), (&json!("m"), &json!(70)));
    assert_eq!(post(&server, &format!("/api/v1/sweeps/{sweep}/cancel")).json()["cancelled"], 0);
    post(&server, "/api/v1/sweeps/swp_0000000000000/cancel").problem(404);
    post(&server, "/api/v1/sweeps/nonsense/cancel").problem(400);
}

#[test]
fn what_waits_is_cleared_of_one_model_or_of_all() {
    let yard = Yard::new().experiments(5).train(ORDER);
    let mut gate = yard.gate("gate");
    let server = yard.start();
    for model in ["m", "n"] {
        server.model_with_image(model);
        server.sweep(model);
    }
    wait_until("two runs", || server.queue() == (8, 2));
    let cleared = post(&server, "/api/v1/queue/cancel?model=n").json()["cancelled"].as_u64().unwrap();
    assert!((4..=5).contains(&cleared), "{cleared}: what runs goes on");
    let rest = post(&server, "/api/v1/queue/cancel").json()["cancelled"].as_u64().unwrap();
    assert_eq!((cleared + rest, server.queue()), (8, (0, 2)));
    gate.open();
    server.idle();
    post(&server, "/api/v1/queue/cancel?model=nothing").problem(404);
}

#[test]
fn one_clears_what_is_ones_own_and_no_more() {
    let yard = Yard::new().experiments(3).train(ORDER);
    let _gate = yard.gate("gate");
    for (name, role) in [("ann", "admin"), ("bob", "member"), ("eve", "member")] {
        yard.add_user(name, role);
    }
    let server = yard.start();
    let ask = |who: &str, method: &str, target: &str| {
        let bearer = format!("Bearer {}", yard.token(who));
        client::send(server.address, method, target, &[("Authorization", &bearer)], b"")
    };
    ask("ann", "POST", "/api/v1/queue/pause").ok();
    for who in ["bob", "eve"] {
        assert_eq!(ask(who, "GET", &format!("/createModel?model_name={who}")).status, 200);
        let form = client::Form::new().field("model_name", who).file("file", "1.png", &crate::harness::images::png(1));
        let bearer = format!("Bearer {}", yard.token(who));
        let headers = [("Authorization", bearer.as_str()), ("Content-Type", &client::form_type())];
        assert_eq!(client::send(server.address, "POST", "/uploadTrainingImage", &headers, &form.body()).status, 200);
        assert_eq!(ask(who, "GET", &format!("/runDefaultExperiments?model_name={who}")).status, 200);
    }
    assert_eq!(ask("eve", "POST", "/api/v1/queue/cancel").json()["cancelled"], 3);
    assert_eq!(ask("eve", "POST", "/api/v1/queue/cancel?model=bob").status, 404);
    assert_eq!(ask("ann", "POST", "/api/v1/queue/cancel").json()["cancelled"], 3);
}

#[test]
fn what_failed_of_a_sweep_is_retried_exactly_and_alone() {
    let script = "echo \"$6 $TRAINYARD_SEED $(ls $8 | wc -l)\" >> \"$YARD/order\"\n\
                  [ -e \"$YARD/mended\" ] || [ \"$6\" != 2 ] || exit 3\necho accuracy=0.5";
    let yard = Yard::new().experiments(4).train(script);
    let server = yard.start();
    server.model_with_image("m");
    let sweep = submitted(&server, "m");
    server.idle();
    server.upload("m", "", "later.png", &crate::harness::images::png(2));
    let states = |server: &Server| server.get(&format!("/api/v1/sweeps/{sweep}"), &[]).ok()["states"].clone();
    assert_eq!(states(&server)["failed"], 1);
    yard.write("mended", "");
    let retried = post(&server, &format!("/api/v1/sweeps/{sweep}/retry"));
    assert_eq!((retried.status, retried.json()["run_ids"].as_array().unwrap().len()), (201, 1));
    server.idle();
    assert_eq!(states(&server), json!({ "queued": 0, "running": 0, "succeeded": 4, "failed": 0, "cancelled": 0 }));
    let order = yard.lines("order");
    let second: Vec<_> = order.iter().filter(|line| line.starts_with("2 ")).collect();
    assert!(second.len() == 2 && second[0] == second[1], "the same seed, the images of then: {order:?}");
    assert_eq!(order.len(), 5);
    post(&server, &format!("/api/v1/sweeps/{sweep}/retry")).problem(409);
    let all = server.get("/api/v1/runs", &[("sweep", sweep.as_str())]).ok();
    assert_eq!(all["data"].as_array().unwrap().len(), 5);
    let good = all["data"].as_array().unwrap().iter().find(|run| run["state"] == "succeeded").unwrap();
    post(&server, &format!("/api/v1/runs/{}/retry", good["id"].as_str().unwrap())).problem(409);
}

#[test]
fn a_run_that_failed_is_retried() {
    let yard = Yard::new().one_experiment().train("[ -e \"$YARD/mended\" ] && echo accuracy=0.5");
    let server = yard.start();
    server.model_with_image("m");
    let failed = server.train("m", "default_1", "");
    server.idle();
    assert_eq!(server.state(&failed), "failed");
    yard.write("mended", "");
    let retried = post(&server, &format!("/api/v1/runs/{failed}/retry"));
    assert_eq!(retried.status, 201);
    server.idle();
    assert_eq!(server.state(retried.json()["id"].as_str().unwrap()), "succeeded");
    assert_eq!(server.state(&failed), "failed", "what was, was");
}

#[test]
fn a_paused_queue_starts_nothing_also_after_a_restart() {
    let yard = Yard::new().experiments(3).train(ORDER);
    let mut gate = yard.gate("gate");
    let server = yard.start();
    server.model_with_image("m");
    post(&server, "/api/v1/queue/pause").ok();
    server.sweep("m");
    assert_eq!(server.get("/api/v1/queue", &[]).ok()["paused"], true);
    server.stop();
    let server = yard.start();
    assert_eq!(server.queue(), (3, 0));
    assert_eq!(yard.lines("order"), [""; 0]);
    post(&server, "/api/v1/queue/resume").ok();
    gate.open();
    server.idle();
    assert_eq!(yard.lines("order").len(), 3);
    assert_eq!(server.get("/api/v1/queue", &[]).ok()["paused"], false);
}

#[test]
fn a_higher_priority_goes_first() {
    let yard = Yard::new().experiments(9).set("jobs", "concurrency", 1).train(ORDER);
    let mut gate = yard.gate("gate");
    let server = yard.start();
    server.model_with_image("m");
    server.model_with_image("n");
    post(&server, "/api/v1/queue/pause").ok();
    server.train("m", "default_1", "");
    let later = server.train("m", "default_2", "");
    server.get("/train", &[("model_name", "m"), ("experiment_name", "default_3"), ("priority", "5")]).ok();
    server.get("/train", &[("model_name", "n"), ("experiment_name", "default_4"), ("priority", "50")]).ok();
    let changed = patch(&server, &format!("/api/v1/runs/{later}"), &json!({ "priority": 100 })).ok();
    assert_eq!(changed["priority"], 100);
    // Whoever read it before that is told.
    let seen = server.get(&format!("/api/v1/runs/{later}"), &[]);
    let tag = seen.header("etag").unwrap().to_owned();
    let again = |tag: &str, priority: u8| {
        let headers = [("Content-Type", "application/json"), ("If-Match", tag)];
        let body = json!({ "priority": priority }).to_string();
        client::send(server.address, "PATCH", &format!("/api/v1/runs/{later}"), &headers, body.as_bytes())
    };
    again("\"1\"", 1).problem(412);
    let newer = again(&tag, 99);
    assert!(newer.status == 200 && newer.header("etag").is_some_and(|newer| newer != tag), "{}", newer.text());
    again(&tag, 1).problem(412);
    patch(&server, &format!("/api/v1/runs/{later}"), &json!({ "priority": 101 })).problem(400);
    patch(&server, &format!("/api/v1/runs/{later}"), &json!({ "state": "succeeded" })).problem(400);
    gate.open();
    post(&server, "/api/v1/queue/resume").ok();
    server.idle();
    assert_eq!(yard.lines("order"), ["2", "4", "3", "1"]);
    patch(&server, &format!("/api/v1/runs/{later}"), &json!({ "priority": 1 })).problem(409);
    let query = [("model_name", "m"), ("experiment_name", "default_1"), ("priority", "-1")];
    server.get("/train", &query).refused(400, "status");
}

#[test]
fn a_run_has_the_time_that_it_was_given() {
    let yard = Yard::new().one_experiment().set("jobs", "timeout_seconds", 600).train("sleep 300");
    let server = yard.start();
    server.model_with_image("m");
    let query =
        |seconds: &'static str| [("model_name", "m"), ("experiment_name", "default_1"), ("timeout_seconds", seconds)];
    for bad in ["0", "601", "-1", "1.5", "long"] {
        let message = server.get("/train", &query(bad)).refused(400, "status");
        assert!(message.contains("timeout_seconds"), "{message}");
    }
    let run = server.get("/train", &query("1")).ok()["run_id"].as_str().unwrap().to_owned();
    server.idle();
    let run = server.run(&run);
    assert_eq!((&run["state"], &run["timeout_seconds"]), (&json!("failed"), &json!(1)));
    assert!(run["reason"].as_str().unwrap().contains("longer than 1 s"), "{run}");
}
