//! The queue: how many run at once, in which order, what is not queued twice, cancelling, looking at runs.

use crate::harness::process::{lives, pids};
use crate::harness::{Server, Yard, client, images, wait_until};
use serde_json::json;
use std::collections::HashMap;

/// Runs write their model and steps when they start, and wait at the gate.
const ORDER: &str = "echo \"$TRAINYARD_MODEL/$6\" >> \"$YARD/order\"; : < \"$YARD/gate\"; echo accuracy=0.5";

#[test]
fn no_more_runs_at_once_than_concurrency_allows() {
    let script = "mkdir \"$YARD/here.$$\"; ls -d \"$YARD\"/here.* | wc -l >> \"$YARD/counts\"\n\
                  : < \"$YARD/gate\"\nls -d \"$YARD\"/here.* | wc -l >> \"$YARD/counts\"; rmdir \"$YARD/here.$$\"\n\
                  echo accuracy=0.5";
    let yard = Yard::new().experiments(24).set("jobs", "concurrency", 3).train(script);
    let mut gate = yard.gate("gate");
    let server = yard.start();
    server.model_with_image("m");
    server.sweep("m");
    wait_until("three at once", || server.queue() == (21, 3) && yard.lines("counts").len() == 3);
    gate.open();
    server.idle();
    let counts: Vec<usize> = yard.lines("counts").iter().map(|count| count.trim().parse().unwrap()).collect();
    assert_eq!(counts.len(), 48);
    assert_eq!(counts.iter().max(), Some(&3), "{counts:?}");
}

#[test]
fn models_take_turns_and_a_sweep_starves_nobody() {
    let yard = Yard::new().experiments(8).set("jobs", "concurrency", 1).train(ORDER);
    let mut gate = yard.gate("gate");
    let server = yard.start();
    for model in ["big", "small", "third"] {
        server.model_with_image(model);
    }
    server.sweep("big");
    server.train("small", "default_5", "");
    server.train("third", "default_6", "");
    server.train("third", "default_7", "");
    gate.open();
    server.idle();
    let order = yard.lines("order");
    assert_eq!(order.len(), 11);
    let place = |run: &str| order.iter().position(|started| started == run).unwrap();
    // One of the sweep runs already when the others come; from then on every model has its turn.
    assert!(place("small/5") <= 3, "{order:?}");
    assert!(place("third/6") <= 3 && place("third/7") <= 6, "{order:?}");
}

#[test]
fn within_a_model_first_in_is_first_out() {
    let yard = Yard::new().experiments(9).set("jobs", "concurrency", 1).train(ORDER);
    let mut gate = yard.gate("gate");
    let server = yard.start();
    server.model_with_image("m");
    let numbers = [3, 9, 1, 8, 2];
    for number in numbers {
        server.train("m", &format!("default_{number}"), "");
    }
    gate.open();
    server.idle();
    assert_eq!(yard.lines("order"), numbers.map(|number| format!("m/{number}")));
    server.sweep("m");
    server.idle();
    assert_eq!(yard.lines("order")[5..], [1, 2, 3, 4, 5, 6, 7, 8, 9].map(|number| format!("m/{number}")));
}

#[test]
fn what_waits_already_is_not_queued_twice() {
    let yard = Yard::new().experiments(3).set("jobs", "concurrency", 1).train(ORDER);
    let mut gate = yard.gate("gate");
    let server = yard.start();
    server.model_with_image("m");
    server.create_experiment("m", "blocker");
    server.train("m", "blocker", "");
    wait_until("the blocker", || server.queue() == (0, 1));
    let first = server.train("m", "default_2", "");
    assert_eq!(server.train("m", "default_2", ""), first);
    let sweep = server.sweep("m");
    assert_eq!(sweep[1], first);
    assert_eq!(server.sweep("m"), sweep);
    assert_eq!(server.queue(), (3, 1));
    // The one that runs does not wait, so the same again is a new run.
    let again = server.train("m", "blocker", "");
    assert_eq!(server.queue(), (4, 1));
    gate.open();
    server.idle();
    assert_eq!(yard.lines("order").len(), 5);
    assert_eq!(server.state(&again), "succeeded");
    assert_ne!(server.train("m", "default_2", ""), first, "trained again later is a new run");
    server.idle();
}

#[test]
fn runs_are_cancelled_while_they_wait_and_while_they_run() {
    let script =
        "echo $$ > \"$YARD/pids\"; sleep 1000 & echo $! >> \"$YARD/pids\"; : < \"$YARD/gate\"; echo accuracy=1";
    let yard = Yard::new().experiments(3).set("jobs", "concurrency", 1).train(script);
    let mut gate = yard.gate("gate");
    let server = yard.start();
    server.model_with_image("m");
    let runs = server.sweep("m");
    wait_until("the first run", || pids(&yard.path("pids")).len() == 2);

    let answer = server.cancel(&runs[1]);
    assert_eq!((answer.status, &answer.json()["state"]), (202, &json!("cancelled")));
    assert_eq!(server.queue(), (1, 1));

    let children = pids(&yard.path("pids"));
    assert_eq!(server.cancel(&runs[0]).status, 202);
    wait_until("the first run's end", || server.state(&runs[0]) == "cancelled");
    wait_until("its processes' end", || !children.iter().any(|pid| lives(*pid)));
    let run = server.run(&runs[0]);
    assert!(run["accuracy"].is_null() && run["reason"].is_null() && run["finished_at"].is_string(), "{run}");

    gate.open();
    server.idle();
    assert_eq!(server.state(&runs[2]), "succeeded");
    for (run, state) in [(&runs[0], "cancelled"), (&runs[1], "cancelled"), (&runs[2], "succeeded")] {
        assert!(server.cancel(run).problem(409).contains(state));
        assert_eq!(server.state(run), state);
    }
    let results: Vec<usize> = server.accuracies("m").iter().map(|(_, results)| results.len()).collect();
    assert_eq!(results, [0, 0, 1]);
    // A cancelled one can be trained again.
    server.trained("m", "default_2", "");
}

#[test]
fn a_list_of_runs_is_read_a_page_at_a_time() {
    let yard = Yard::new().experiments(25);
    let server = yard.start();
    server.model_with_image("m");
    server.model_with_image("other");
    let all = [server.sweep("m"), server.sweep("m")].concat();
    server.sweep("other");
    server.idle();
    let all: Vec<String> = {
        let mut distinct = all;
        distinct.sort();
        distinct.dedup();
        distinct
    };
    for most in [1, 7, 25, 50, 200] {
        let limit = &most.to_string();
        let (mut found, mut cursor, mut pages) = (Vec::new(), None::<String>, 0);
        loop {
            let mut query = vec![("model", "m"), ("limit", limit)];
            if let Some(cursor) = &cursor {
                query.push(("cursor", cursor));
            }
            let page = server.get("/api/v1/runs", &query).ok();
            let data = page["data"].as_array().unwrap();
            assert!(!data.is_empty() && data.len() <= most);
            found.extend(data.iter().map(|run| run["id"].as_str().unwrap().to_owned()));
            pages += 1;
            match page["next_cursor"].as_str() {
                Some(next) => cursor = Some(next.to_owned()),
                None => break,
            }
        }
        assert_eq!(found, all, "limit {limit}");
        assert_eq!(pages, all.len().div_ceil(most), "limit {limit}");
    }
    assert_eq!(server.get("/api/v1/runs", &[("model", "m")]).ok()["data"].as_array().unwrap().len(), all.len().min(50));
}

#[test]
fn bad_questions_about_runs_are_problems() {
    let yard = Yard::new().one_experiment();
    let server = yard.start();
    server.model_with_image("m");
    let get = |path: &str, query: &[(&str, &str)]| server.get(path, query);
    for path in ["", "/log", "/metrics"] {
        let unknown = format!("/api/v1/runs/run_0000000000zzz{path}");
        assert!(get(&unknown, &[]).problem(404).contains("run_0000000000zzz"));
        for no_id in ["nonsense", "mdl_0000000000001", "..%2f..%2fetc", "run_"] {
            get(&format!("/api/v1/runs/{no_id}{path}"), &[]).problem(400);
        }
    }
    assert!(server.cancel("run_0000000000zzz").problem(404).contains("run_0000000000zzz"));
    server.cancel("nonsense").problem(400);
    assert!(get("/api/v1/runs", &[]).problem(400).contains("model"));
    assert!(get("/api/v1/runs", &[("model", "nobody")]).problem(404).contains("nobody"));
    for limit in ["0", "-1", "201", "x", "1.5"] {
        assert!(get("/api/v1/runs", &[("model", "m"), ("limit", limit)]).problem(400).contains("limit"));
    }
    assert!(get("/api/v1/runs", &[("model", "m"), ("cursor", "x")]).problem(400).contains("cursor"));
    let get_cancel = client::request(server.address, "GET", "/api/v1/runs/run_0000000000zzz/cancel", "", &[]);
    get_cancel.problem(405);
}

#[test]
fn a_run_shows_all_there_is_to_know() {
    let yard = Yard::new().one_experiment().train("echo '{\"accuracy\": 0.75, \"val_loss\": 0.5}'");
    let server = yard.start();
    server.create_model("m");
    server.create_dataset("m", "d");
    server.upload("m", "d", "a.png", &images::png(1));
    let mut run = server.trained("m", "default_1", "d");
    for time in ["submitted_at", "started_at", "finished_at"] {
        let text = run[time].as_str().unwrap();
        assert!(text.ends_with('Z') && text.contains('T'), "{text}");
        run[time] = json!("<time>");
    }
    assert!(run["duration_seconds"].as_f64().unwrap() < 30.0);
    let id = run["id"].clone();
    let seed = run["seed"].clone();
    let duration = run["duration_seconds"].clone();
    let expected = json!({
        "id": id, "state": "succeeded", "model": "m", "experiment": "default_1", "dataset": "d",
        "dataset_version": 1, "learning_rate": 0.1, "layers": 1, "steps": 1, "seed": seed, "sweep_id": null,
        "priority": 0, "timeout_seconds": null,
        "accuracy": "0.75", "validation_loss": 0.5, "reason": null, "attempts": 1, "submitted_at": "<time>",
        "started_at": "<time>", "finished_at": "<time>", "duration_seconds": duration,
    });
    assert_eq!(run, expected);
}

#[test]
fn many_submissions_at_once_are_all_taken() {
    let yard = Yard::new().experiments(40);
    let server = yard.start();
    server.model_with_image("m");
    let submit = |from: usize| -> Vec<(usize, String)> {
        (from..40).step_by(4).map(|n| (n, server.train("m", &format!("default_{}", n + 1), ""))).collect()
    };
    let runs: HashMap<usize, String> = std::thread::scope(|scope| {
        let all: Vec<_> = (0..4).map(|from| scope.spawn(move || submit(from))).collect();
        all.into_iter().flat_map(|one| one.join().unwrap()).collect()
    });
    server.idle();
    assert_eq!(runs.len(), 40);
    assert!(runs.values().all(|run| succeeded_once(&server, run)));
}

fn succeeded_once(server: &Server, run: &str) -> bool {
    let run = server.run(run);
    run["state"] == "succeeded" && run["attempts"] == 1
}
