//! Live streams: what is told when, what a client that comes again has missed, who may follow, and how many.

use crate::harness::client::{form_type, send};
use crate::harness::stream::Stream;
use crate::harness::{Form, Server, Yard, images, wait_until};
use std::collections::HashSet;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

fn follow(server: &Server, query: &str) -> Stream {
    let stream = Stream::open(server.address, query, "");
    assert_eq!(stream.status, 200, "{}", stream.head);
    assert!(stream.head.contains("content-type: text/event-stream"), "{}", stream.head);
    stream
}

#[test]
fn a_sweep_is_followed_from_its_submission_to_its_end() {
    let yard = Yard::new().experiments(3);
    let server = yard.start();
    server.model_with_image("m");
    let mut stream = follow(&server, "model=m");
    let queue = stream.next().unwrap();
    assert_eq!((queue.name.as_str(), &queue.data), ("queue", &server.get("/api/v1/queue", &[]).ok()));
    let runs = server.sweep("m");
    let over = stream.find("sweep", |sweep| sweep["states"]["succeeded"] == 3);
    assert_eq!(over.data["best"], serde_json::json!({ "run_id": runs[0], "accuracy": "0.5" }));
    let shown = server.get(&format!("/api/v1/sweeps/{}", over.data["id"].as_str().unwrap()), &[]).ok();
    assert_eq!(over.data, shown);
    // Whoever comes later and says where it was has missed nothing.
    let mut all = follow(&server, "model=m&last_event_id=1");
    let mut missed: HashSet<&str> = runs.iter().map(String::as_str).collect();
    while !missed.is_empty() {
        let told = all.find("run", |told| told["state"] == "succeeded").data;
        let id = told["id"].as_str().unwrap();
        assert!(missed.remove(id), "{told}");
        assert_eq!(told, server.run(id));
    }
    all.find("queue", |_| true);
}

#[test]
fn a_point_is_told_as_soon_as_it_is_printed_and_a_log_as_it_grows() {
    let script = "for step in 1 2 3 4 5 6; do sleep 0.3; printf '{\"step\":%s,\"at\":%s}\\n' $step $(date +%s%N); done\n\
                  printf 'an \\033[31mescape\\n'; echo accuracy=0.5";
    let yard = Yard::new().one_experiment().train(script);
    let server = yard.start();
    server.model_with_image("m");
    let run = server.train("m", "default_1", "");
    let (mut stream, mut other) = (follow(&server, &format!("run={run}&log=true")), follow(&server, ""));
    let start = (Instant::now(), SystemTime::now().duration_since(UNIX_EPOCH).unwrap());
    let mut worst = Duration::ZERO;
    for step in 1..=6 {
        for stream in [&mut stream, &mut other] {
            let point = stream.find("point", |point| point["step"] == step);
            assert_eq!(point.data["run"], run.as_str());
            let printed = Duration::from_secs_f64(point.data["metrics"]["at"].as_f64().unwrap() / 1e9);
            let told = start.1 + point.at.duration_since(start.0);
            worst = worst.max(told.saturating_sub(printed));
        }
    }
    // 40 ms where nothing else runs; other tests do.
    assert!(worst < Duration::from_millis(200), "{worst:?}");
    stream.find("run", |told| told["state"] == "succeeded");
    let mut log = String::new();
    let mut stream = follow(&server, &format!("run={run}&log=true&points_offset=1000000"));
    while !log.contains("accuracy") {
        let piece = stream.find("log", |_| true).data;
        assert_eq!(piece["offset"], log.len().saturating_sub(if log.is_empty() { 0 } else { 5 }));
        log.push_str(piece["text"].as_str().unwrap());
    }
    assert!(log.starts_with("{\"step\":1,") && log.contains(r"an \u{1b}[31mescape"), "{log}");
}

/// The points and the log that a stream tells until the run's end, or until so many points.
fn output(stream: &mut Stream, most: usize) -> (Vec<u64>, String) {
    let (mut steps, mut log) = (Vec::new(), String::new());
    while steps.len() < most {
        let event = stream.next().unwrap();
        match event.name.as_str() {
            "point" => steps.push(event.data["step"].as_u64().unwrap()),
            "log" => log.push_str(event.data["text"].as_str().unwrap()),
            "run" if event.data["state"] == "succeeded" => break,
            _ => {}
        }
    }
    (steps, log)
}

#[test]
fn nothing_is_missed_or_told_twice_across_reconnects() {
    let script = "step=0; while [ $step -lt 400 ]; do step=$((step + 1)); echo \"step=$step loss=0.5\"; sleep 0.005; done\n\
                  echo accuracy=0.5";
    let yard = Yard::new().one_experiment().train(script);
    let server = yard.start();
    server.model_with_image("m");
    let mut whole = follow(&server, "model=m");
    let run = server.train("m", "default_1", "");
    let query = format!("run={run}&log=true");
    let (mut steps, mut log) = (Vec::new(), String::new());
    let mut stream = follow(&server, &query);
    for most in [7, 31, 60, 1000] {
        let (more, text) = output(&mut stream, most);
        steps.extend(more);
        log.push_str(&text);
        let id = stream.id.clone();
        drop(stream);
        std::thread::sleep(Duration::from_millis(60));
        stream = Stream::open(server.address, &query, &format!("Last-Event-ID: {id}\r\n"));
    }
    let every: Vec<u64> = (1..=400).collect();
    assert_eq!(steps, every);
    while !log.ends_with("accuracy=0.5\n") {
        log.push_str(stream.find("log", |_| true).data["text"].as_str().unwrap());
    }
    assert_eq!(log, server.run_log(&run));
    assert_eq!(output(&mut whole, 1000).0, every);
}

#[test]
fn a_server_that_stops_says_so_and_the_next_one_goes_on() {
    let yard = Yard::new().experiments(2);
    let server = yard.start();
    server.model_with_image("m");
    let mut stream = follow(&server, "");
    let first = server.train("m", "default_1", "");
    stream.find("run", |run| run["id"] == first.as_str() && run["state"] == "succeeded");
    let id = stream.id.clone();
    let second = server.train("m", "default_2", "");
    server.idle();
    server.stop();
    stream.find("bye", |_| true);
    assert!(stream.next().is_none());

    let server = yard.start();
    let mut stream = Stream::open(server.address, "", &format!("Last-Event-ID: {id}\r\n"));
    let missed = stream.find("run", |run| run["id"] == second.as_str());
    assert_eq!(missed.data["state"], "succeeded");
    // A place that this server has never been at, or has forgotten, is none.
    follow(&server, "last_event_id=999999").find("reset", |_| true);
    Stream::open(server.address, "last_event_id=x", "").refusal().problem(400);
}

#[test]
fn only_what_one_may_see_is_told() {
    let yard = Yard::new().one_experiment();
    for (name, role) in [("root", "admin"), ("ann", "member"), ("bob", "member")] {
        yard.add_user(name, role);
    }
    let server = yard.start();
    let (ann, bob) = (yard.token("ann"), yard.token("bob"));
    let bearer = |token: &str| format!("Authorization: Bearer {token}\r\n");
    let ask = |token: &str, method: &str, target: &str, kind: &str, body: &[u8]| {
        let headers = [("Authorization", format!("Bearer {token}")), ("Content-Type", kind.to_owned())];
        let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        send(server.address, method, target, &headers, body)
    };
    for (token, model) in [(&ann, "a"), (&bob, "b")] {
        ask(token, "GET", &format!("/createModel?model_name={model}"), "", b"").ok();
        let form = Form::new().field("model_name", model).file("file", "cat/1.png", &images::png(1));
        ask(token, "POST", "/uploadTrainingImage", &form_type(), &form.body()).ok();
    }
    assert_eq!(Stream::open(server.address, "", "").status, 401);
    assert_eq!(Stream::open(server.address, "model=b", &bearer(&ann)).status, 404);
    let mut stream = Stream::open(server.address, "last_event_id=1", &bearer(&ann));
    let train = |token: &str, model: &str| {
        ask(token, "GET", &format!("/train?model_name={model}&experiment_name=default_1"), "", b"").ok();
    };
    train(&bob, "b");
    train(&ann, "a");
    loop {
        let event = stream.next().unwrap();
        assert!(event.name != "run" || event.data["model"] == "a", "{event:?}");
        if event.name == "run" && event.data["state"] == "succeeded" {
            break;
        }
    }
    // What is shared from now on is told from now on.
    let shared = ask(&bob, "PUT", "/api/v1/models/b/shares/ann", "application/json", b"{\"access\":\"view\"}");
    assert_eq!(shared.status, 204);
    train(&bob, "b");
    stream.find("run", |run| run["model"] == "b");
    // A token that is worth nothing any more ends the stream.
    let tokens = ask(&ann, "GET", "/api/v1/tokens", "", b"").ok();
    let id = tokens["data"][0]["id"].as_str().unwrap().to_owned();
    assert_eq!(ask(&ann, "DELETE", &format!("/api/v1/tokens/{id}"), "", b"").status, 204);
    stream.find("bye", |_| true);
}

#[test]
fn there_is_a_bound_on_streams() {
    let yard = Yard::new().one_experiment().set("server", "max_streams", 2);
    let server = yard.start();
    let streams = [follow(&server, ""), follow(&server, "")];
    let refused = Stream::open(server.address, "", "").refusal();
    assert_eq!(refused.header("retry-after"), Some("5"));
    assert!(refused.problem(503).contains("max_streams"));
    drop(streams);
    wait_until("a free place", || Stream::open(server.address, "", "").status == 200);
}

#[test]
fn a_stream_on_which_nothing_happens_is_not_cut() {
    let yard = Yard::new().one_experiment();
    let server = yard.start();
    server.model_with_image("m");
    let mut stream = follow(&server, "");
    stream.find("queue", |_| true);
    // Longer than an idle connection is kept, and than a client may be behind.
    stream.patience(Duration::from_secs(80));
    std::thread::sleep(Duration::from_secs(80));
    let run = server.train("m", "default_1", "");
    stream.find("run", |told| told["id"] == run.as_str());
    assert!(stream.comments >= 5, "{}", stream.comments);
}
