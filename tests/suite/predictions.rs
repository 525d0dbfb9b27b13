//! `/test`: one image, asked of the best model, at once, and not kept.

use crate::harness::process::{lives, pids};
use crate::harness::{Answer, Form, Server, Yard, images, wait_until};
use serde_json::json;
use std::fs;
use std::time::{Duration, Instant};

fn question() -> Form {
    Form::new().field("model_name", "m").file("file", "what.jpg", &images::png(99))
}

/// A server with one result, and nothing that runs.
fn trained(yard: &Yard) -> Server {
    let server = yard.start();
    server.model_with_image("m");
    server.trained("m", "default_1", "");
    server
}

fn ask(server: &Server) -> Answer {
    server.post("/test", &question())
}

#[test]
fn what_the_command_prints_is_passed_on() {
    let script = ". \"$YARD/says\"";
    let yard = Yard::new().one_experiment().test(script);
    let server = trained(&yard);
    let cases = [
        ("echo '{\"accuracy\": 0.7325364548231516}'", json!({ "accuracy": "0.7325364548231516" })),
        ("echo accuracy=0.93", json!({ "accuracy": "0.93" })),
        (
            "echo '{\"accuracy\": 0.9, \"label\": \"cat\", \"probabilities\": {\"dog\": 0.1, \"cat\": 0.9}}'",
            json!({ "accuracy": "0.9", "label": "cat", "probabilities": { "dog": 0.1, "cat": 0.9 } }),
        ),
        ("echo label: cat; echo 'accuracy: 90%'", json!({ "accuracy": "0.90", "label": "cat" })),
        (
            "echo '{\"accuracy\": 1, \"output\": {\"boxes\": [[1, 2, 3, 4]]}}'",
            json!({ "accuracy": "1", "output": { "boxes": [[1, 2, 3, 4]] } }),
        ),
    ];
    for (says, expected) in cases {
        yard.write("says", says);
        let answer = ask(&server).ok();
        assert_eq!(answer["Status"], "ok");
        let mut body = answer["body"].as_object().unwrap().clone();
        for (key, value) in [("Experiment", "default_1"), ("layers", "1"), ("learningRate", "0.1"), ("steps", "1")] {
            assert_eq!(body.remove(key), Some(json!(value)), "{says}");
        }
        body.remove("run_id");
        assert_eq!(serde_json::Value::from(body), expected, "{says}");
    }
}

#[test]
fn the_command_is_given_the_best_experiment_its_folder_and_the_image() {
    let yard = Yard::new()
        .experiments(3)
        .train("echo \"weights of $6\" > model.h5; [ $6 = 2 ] && echo accuracy=0.9 || echo accuracy=0.1")
        .test(
            "printf '%s\\n' \"$@\" > \"$YARD/args\"; cp \"$8\" \"$YARD/asked\"; cat model.h5 > \"$YARD/weights\"\n\
             [ \"$(pwd -P)\" = \"$(cd \"$TRAINYARD_MODEL_DIR\" && pwd -P)\" ] && echo $TRAINYARD_EXPERIMENT > \"$YARD/who\"\n\
             ls -A \"$(dirname \"$8\")\" > \"$YARD/beside\"; echo accuracy=1",
        );
    let server = yard.start();
    server.model_with_image("m");
    server.sweep("m");
    server.idle();
    let stored = yard.blobs();
    assert_eq!(ask(&server).ok()["body"]["Experiment"], "default_2");
    let args = yard.lines("args");
    assert_eq!(args[..7], ["--i", "0.1", "--j", "1", "--k", "2", "--image"]);
    assert!(args.len() == 8 && args[7].starts_with('/') && args[7].ends_with(".png"), "{args:?}");
    assert_eq!(fs::read(yard.path("asked")).unwrap(), images::png(99));
    assert_eq!((yard.lines("weights"), yard.lines("who")), (vec!["weights of 2".into()], vec!["default_2".into()]));
    assert!(!fs::exists(&args[7]).unwrap());
    assert!(yard.unfinished().is_empty());
    assert_eq!(yard.blobs(), stored);
}

#[test]
fn an_image_that_is_stored_stays_stored_when_it_is_asked_about() {
    let yard = Yard::new().one_experiment();
    let server = trained(&yard);
    let stored = yard.blobs();
    let form = Form::new().field("model_name", "m").file("file", "a.png", &images::png(1));
    server.post("/test", &form).ok();
    assert_eq!(yard.blobs(), stored);
    assert!(yard.unfinished().is_empty());
    server.trained("m", "default_1", "");
}

#[test]
fn questions_do_not_wait_behind_runs() {
    let yard = Yard::new()
        .experiments(20)
        .set("jobs", "concurrency", 1)
        .train("[ $6 = 1 ] || : < \"$YARD/gate\"; echo accuracy=0.5");
    let mut gate = yard.gate("gate");
    let server = trained(&yard);
    server.sweep("m");
    wait_until("a run in the way", || server.queue().1 == 1 && server.queue().0 >= 18);
    wait_until("the first to end", || server.queue().0 == 18);
    let began = Instant::now();
    for _ in 0..3 {
        ask(&server).ok();
    }
    assert!(began.elapsed() < Duration::from_secs(10));
    assert_eq!(server.queue(), (18, 1));
    gate.open();
    server.idle();
}

#[test]
fn no_more_questions_at_once_than_concurrency_allows() {
    let script = "mkdir \"$YARD/here.$$\"; ls -d \"$YARD\"/here.* | wc -l >> \"$YARD/counts\"\n: < \"$YARD/gate\"\n\
                  rmdir \"$YARD/here.$$\"; echo accuracy=1";
    let yard = Yard::new().one_experiment().set("jobs", "concurrency", 2).test(script);
    let mut gate = yard.gate("gate");
    let server = trained(&yard);
    std::thread::scope(|scope| {
        let asked: Vec<_> = (0..6).map(|_| scope.spawn(|| ask(&server).status)).collect();
        wait_until("two questions", || yard.lines("counts").len() == 2);
        // The server still answers others.
        assert_eq!(server.get("/healthz", &[]).status, 200);
        assert_eq!(server.best("m", "").1, "0.5");
        gate.open();
        assert!(asked.into_iter().all(|one| one.join().unwrap() == 200));
    });
    let counts: Vec<usize> = yard.lines("counts").iter().map(|count| count.trim().parse().unwrap()).collect();
    assert!(counts.len() == 6 && counts.iter().all(|count| *count <= 2), "{counts:?}");
    assert!(yard.unfinished().is_empty());
}

#[test]
fn too_many_questions_are_told_to_come_again() {
    let yard = Yard::new().one_experiment().set("jobs", "concurrency", 1).test(": < \"$YARD/gate\"; echo accuracy=1");
    let mut gate = yard.gate("gate");
    let server = trained(&yard);
    let statuses: Vec<u16> = std::thread::scope(|scope| {
        let asked: Vec<_> = (0..80).map(|_| scope.spawn(|| ask(&server))).collect();
        wait_until("a refusal", || asked.iter().any(|one| one.is_finished()));
        gate.open();
        asked.into_iter().map(|one| one.join().unwrap()).map(refused_as_too_many).collect()
    });
    let count = |status: u16| statuses.iter().filter(|given| **given == status).count();
    assert!(count(200) >= 65 && count(429) >= 1 && count(200) + count(429) == 80, "{statuses:?}");
    assert!(yard.unfinished().is_empty());
}

fn refused_as_too_many(answer: Answer) -> u16 {
    if answer.status != 200 {
        answer.refused(429, "Status");
    }
    answer.status
}

#[test]
fn a_question_that_takes_too_long_is_ended() {
    let script = "trap '' TERM; echo $$ > \"$YARD/pids\"; echo thinking; while :; do sleep 1000; done";
    let yard = Yard::new().one_experiment().set("trainer", "test_timeout_seconds", 1).test(script);
    let server = trained(&yard);
    let began = Instant::now();
    let message = ask(&server).refused(502, "Status");
    assert!(message.contains("longer than 1 s") && message.contains("thinking"), "{message}");
    assert!(began.elapsed() < Duration::from_secs(8));
    assert!(!pids(&yard.path("pids")).into_iter().any(lives));
    assert!(yard.unfinished().is_empty());
}

#[test]
fn a_command_that_fails_is_a_502_with_what_it_printed() {
    let yard = Yard::new().one_experiment().test(". \"$YARD/says\"");
    let server = trained(&yard);
    for (says, named) in [
        ("echo 'no such layer' >&2; exit 1", &["exit status 1", "no such layer"][..]),
        ("echo hello", &["no accuracy", "hello"]),
        ("true", &["no accuracy", "nothing"]),
        ("echo accuracy=nan", &["not a finite number", "accuracy=nan"]),
        ("echo accuracy=93.2", &["% sign", "93.2"]),
        ("echo accuracy=0.9; kill -9 $$", &["signal 9"]),
        ("yes 'much ado' | head -c 3000000; echo last words; exit 2", &["exit status 2", "last words"]),
    ] {
        yard.write("says", says);
        let message = ask(&server).refused(502, "Status");
        assert!(named.iter().all(|word| message.contains(word)), "{says}: {message}");
        assert!(message.len() < 2000, "{}", message.len());
    }
    assert!(yard.unfinished().is_empty());
    yard.write("says", "echo accuracy=1");
    ask(&server).ok();
}

#[test]
fn a_server_that_stops_does_not_wait_for_a_question() {
    let yard = Yard::new().one_experiment().test("echo $$ > \"$YARD/pids\"; : < \"$YARD/gate\"; echo accuracy=1");
    let _gate = yard.gate("gate");
    let server = trained(&yard);
    let address = server.address;
    let form = question();
    let asked = std::thread::spawn(move || {
        let head = format!(
            "POST /test HTTP/1.0\r\nContent-Type: {}\r\nContent-Length: {}\r\n\r\n",
            crate::harness::client::form_type(),
            form.body().len()
        );
        crate::harness::client::raw(address, &[head.as_bytes(), &form.body()].concat())
    });
    wait_until("the question", || pids(&yard.path("pids")).len() == 1);
    let children = pids(&yard.path("pids"));
    server.stop_within(Duration::from_secs(12));
    wait_until("its end", || !children.iter().any(|pid| lives(*pid)));
    if let Some(answer) = asked.join().unwrap() {
        assert!((500..600).contains(&answer.status), "{answer:?}");
    }
    let server = yard.start();
    assert!(yard.unfinished().is_empty());
    drop(server);
}

#[test]
fn a_client_that_goes_away_leaves_no_image_behind() {
    let yard = Yard::new().one_experiment().test("echo $$ >> \"$YARD/pids\"; : < \"$YARD/gate\"; echo accuracy=1");
    let mut gate = yard.gate("gate");
    let server = trained(&yard);
    let body = question().body();
    let head = format!(
        "POST /test HTTP/1.1\r\nHost: localhost\r\nContent-Type: {}\r\nContent-Length: {}\r\n\r\n",
        crate::harness::client::form_type(),
        body.len()
    );
    let mut socket = std::net::TcpStream::connect(server.address).unwrap();
    std::io::Write::write_all(&mut socket, &[head.as_bytes(), &body].concat()).unwrap();
    wait_until("the question", || pids(&yard.path("pids")).len() == 1);
    drop(socket);
    gate.open();
    wait_until("no image", || yard.unfinished().is_empty());
    for _ in 0..4 {
        ask(&server).ok();
    }
}

#[test]
fn the_built_in_trainer_learns_and_answers() {
    let yard = Yard::new().built_in().set("sweep", "learning_rates", vec![0.01, 0.05]);
    let yard = yard.set("sweep", "layers", vec![1, 2]).set("sweep", "steps", vec![60]);
    let server = yard.start();
    server.create_model("m");
    server.create_dataset("m", "halves");
    for number in 0..20 {
        server.upload("m", "halves", &format!("top/{number}.png"), &images::halves(0, number));
        server.upload("m", "halves", &format!("bottom_{number:02}.png"), &images::halves(1, number));
    }
    server.get("/runDefaultExperiments", &[("model_name", "m"), ("dataset_name", "halves")]).ok();
    server.idle();
    let (_, accuracy, dataset) = server.best("m", "");
    assert_eq!((&*accuracy, &*dataset), ("1.0", "halves"));
    for (class, label) in [(0, "top"), (1, "bottom")] {
        let form = Form::new().field("model_name", "m").file("file", "unseen.png", &images::halves(class, 200));
        let body = server.post("/test", &form).ok()["body"].clone();
        assert_eq!(body["label"], label, "{body}");
        let confidence: f64 = body["accuracy"].as_str().unwrap().parse().unwrap();
        assert!(confidence > 0.5 && body["probabilities"].as_object().unwrap().len() == 2, "{body}");
    }
    // Without labels it says what to do.
    server.create_dataset("m", "bare");
    server.upload("m", "bare", "1.png", &images::png(1));
    let run = server.train("m", "default_1", "bare");
    server.idle();
    let run = server.run(&run);
    assert_eq!(run["state"], "failed");
    assert!(run["log_tail"].to_string().contains("label"), "{run}");
}
