//! `/test` with the built-in trainer: a warm child answers, as `trainyard test` would, and is lost without harm.

use crate::harness::process::{lives, trainyard};
use crate::harness::{Answer, Form, Server, Yard, images, wait_until};
use image::{GrayImage, ImageFormat};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::fs::{self, File};
use std::io::Cursor;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::ScopedJoinHandle;
use std::time::Duration;

/// One experiment that learns two classes in no time.
fn yard() -> Yard {
    let yard = Yard::new().built_in().set("sweep", "learning_rates", vec![0.05]);
    yard.set("sweep", "layers", vec![1]).set("sweep", "steps", vec![60])
}

/// A server with one result.
fn trained(yard: &Yard) -> Server {
    let server = yard.start();
    server.create_model("m");
    for number in 0..12 {
        server.upload("m", "", &format!("top/{number}.png"), &images::halves(0, number));
        server.upload("m", "", &format!("bottom/{number}.png"), &images::halves(1, number));
    }
    server.trained("m", "default_1", "");
    server
}

fn ask(server: &Server, image: &[u8]) -> Answer {
    server.post("/test", &Form::new().field("model_name", "m").file("file", "what.png", image))
}

/// What `trainyard test` prints about the image for the run that an answer names.
fn command(yard: &Yard, body: &Value, image: &[u8]) -> Value {
    let text = |key: &str| body[key].as_str().unwrap();
    let file = yard.path("asked.png");
    fs::write(&file, image).unwrap();
    let mut command = trainyard();
    command.env("TRAINYARD_MODEL_DIR", yard.data("runs").join(text("run_id"))).arg("test");
    command.args(["--i", text("learningRate"), "--j", text("layers"), "--k", text("steps")]);
    let output = command.arg("--image").arg(file).output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

#[track_caller]
fn same_digits(yard: &Yard, answer: &Answer, image: &[u8]) {
    let body = &answer.ok()["body"];
    let printed = command(yard, body, image);
    assert_eq!(body["accuracy"].as_str().unwrap(), printed["accuracy"].to_string());
    assert_eq!((&body["label"], &body["probabilities"]), (&printed["label"], &printed["probabilities"]));
}

/// The warm children of a server that live.
fn children(server: &Server) -> Vec<u32> {
    let tasks = fs::read_dir(format!("/proc/{}/task", server.pid())).unwrap();
    let of_task = |task: fs::DirEntry| fs::read_to_string(task.path().join("children")).unwrap_or_default();
    let children = tasks.flatten().map(of_task).collect::<String>();
    let is_predictor = |pid: &u32| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        line.ends_with(b"\0predictor\0") && lives(*pid)
    };
    children.split_whitespace().map(|pid| pid.parse().unwrap()).filter(is_predictor).collect()
}

fn signal(pid: u32, signal: Signal) {
    // It may be gone already.
    let _ = kill_process(Pid::from_raw(pid.cast_signed()).unwrap(), signal);
}

/// The one warm child that there is after a question, halted.
fn halted(server: &Server) -> u32 {
    ask(server, &images::halves(0, 50)).ok();
    let children = children(server);
    let [child] = children[..] else { panic!("{children:?}") };
    signal(child, Signal::STOP);
    wait_until("the child to halt", || state(child) == Some('T'));
    child
}

/// How a process stands; the letter is behind its name, which is in brackets.
fn state(pid: u32) -> Option<char> {
    fs::read_to_string(format!("/proc/{pid}/stat")).ok()?.rsplit_once(") ")?.1.chars().next()
}

/// Waits until a halted child has been sent something.
fn wait_for_question(child: u32) {
    let pipe = File::open(format!("/proc/{child}/fd/0")).unwrap();
    wait_until("the question to be sent", || rustix::io::ioctl_fionread(&pipe).unwrap() > 0);
}

/// A sound image that takes a child a while.
fn large() -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    GrayImage::from_fn(8000, 8000, |x, y| image::Luma([(x / 100 + y / 100) as u8]))
        .write_to(&mut bytes, ImageFormat::Png)
        .unwrap();
    bytes.into_inner()
}

#[test]
fn the_digits_are_those_of_the_command() {
    let yard = yard();
    let server = trained(&yard);
    let first = images::halves(0, 100);
    same_digits(&yard, &ask(&server, &first), &first);
    let child = children(&server);
    for image in
        [images::halves(1, 101), images::png(3), images::large_png(300_000), images::encoded(4, ImageFormat::Gif)]
    {
        same_digits(&yard, &ask(&server, &image), &image);
    }
    assert_eq!((child.len(), children(&server)), (1, child), "the same child answers them all");
    assert!(yard.unfinished().is_empty());
}

#[test]
fn another_best_answers_at_once() {
    let yard = yard().set("sweep", "learning_rates", vec![1e-9]).set("sweep", "steps", vec![1]);
    let server = trained(&yard);
    let image = images::halves(0, 100);
    let before = ask(&server, &image);
    same_digits(&yard, &before, &image);
    let parameters = [("learning_rate", "0.05"), ("num_layers", "1"), ("num_steps", "60")];
    let names = [("model_name", "m"), ("experiment_name", "better")];
    server.get("/createExperiment", &[&names[..], &parameters].concat()).ok();
    server.trained("m", "better", "");
    let after = ask(&server, &image);
    assert_eq!(after.ok()["body"]["Experiment"], "better");
    assert_ne!(before.ok()["body"]["run_id"], after.ok()["body"]["run_id"]);
    same_digits(&yard, &after, &image);
}

#[test]
fn many_at_once_get_each_their_own_answer() {
    let yard = yard();
    let server = trained(&yard);
    let images: Vec<_> = (0..48).map(|number| images::halves(number % 2, 100 + number)).collect();
    let alone: Vec<_> = images.iter().map(|image| ask(&server, image).ok()).collect();
    std::thread::scope(|scope| {
        let asked: Vec<_> = images.iter().map(|image| scope.spawn(|| ask(&server, image).ok())).collect();
        let together: Vec<_> = asked.into_iter().map(|one| one.join().unwrap()).collect();
        assert_eq!(together, alone);
    });
    assert!(alone.iter().any(|answer| *answer != alone[0]));
}

#[test]
fn damaged_images_fail_alone() {
    let yard = yard();
    let server = trained(&yard);
    // Sound as a container, but without pixels.
    let (good, damaged) = (images::halves(0, 100), images::bomb(8, 8));
    let expected = ask(&server, &good).ok();
    std::thread::scope(|scope| {
        let (server, good, damaged) = (&server, &good, &damaged);
        let asked: Vec<_> = (0..24)
            .map(|number| scope.spawn(move || ask(server, if number % 2 == 0 { good } else { damaged })))
            .collect();
        for (number, asked) in asked.into_iter().enumerate() {
            let answer = asked.join().unwrap();
            if number % 2 == 0 {
                assert_eq!(answer.ok(), expected);
            } else {
                let message = answer.refused(502, "Status");
                assert!(message.contains("cannot be decoded"), "{message}");
            }
        }
    });
    let message = ask(&server, b"no image at all").refused(415, "Status");
    assert!(message.contains("not an image"), "{message}");
    assert_eq!(children(&server).len(), 1);
}

#[test]
fn a_model_that_is_gone_is_said() {
    let yard = yard();
    let server = trained(&yard);
    let image = images::halves(0, 100);
    let run = ask(&server, &image).ok()["body"]["run_id"].as_str().unwrap().to_owned();
    let folder = yard.data("runs").join(run);
    fs::remove_file(folder.join("model.safetensors")).unwrap();
    same_digits(&yard, &ask(&server, &image), &image);
    fs::write(folder.join("model.onnx"), "damaged").unwrap();
    assert!(ask(&server, &image).refused(502, "Status").contains("not a usable model"));
    fs::remove_file(folder.join("model.onnx")).unwrap();
    assert!(ask(&server, &image).refused(502, "Status").contains("no model"));
}

#[test]
fn a_child_that_is_killed_in_a_question_is_replaced() {
    let yard = yard();
    let server = trained(&yard);
    let child = halted(&server);
    let image = images::halves(0, 100);
    std::thread::scope(|scope| {
        let asked = scope.spawn(|| ask(&server, &image));
        wait_for_question(child);
        signal(child, Signal::KILL);
        same_digits(&yard, &asked.join().unwrap(), &image);
    });
    assert!(!children(&server).contains(&child));
    // One that is killed while nobody asks is not noticed by anybody.
    children(&server).into_iter().for_each(|child| signal(child, Signal::KILL));
    same_digits(&yard, &ask(&server, &image), &image);
}

#[test]
fn a_question_that_kills_each_child_fails_and_no_other() {
    let yard = yard();
    let server = trained(&yard);
    let (image, large) = (images::halves(0, 100), large());
    ask(&server, &image).ok();
    let (swift, over) = (children(&server), AtomicBool::new(false));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                children(&server).into_iter().filter(|child| !swift.contains(child)).for_each(|child| {
                    signal(child, Signal::KILL);
                });
                std::thread::park_timeout(Duration::from_millis(3));
            }
        });
        let asked = scope.spawn(|| ask(&server, &large));
        while !asked.is_finished() {
            same_digits(&yard, &ask(&server, &image), &image);
        }
        over.store(true, Ordering::Relaxed);
        let message = asked.join().unwrap().refused(502, "Status");
        assert!(message.contains("signal 9"), "{message}");
    });
    assert_eq!(children(&server), swift);
    ask(&server, &large).ok();
    wait_until("no image to be left", || yard.unfinished().is_empty());
}

#[test]
fn a_large_image_does_not_hold_up_small_ones() {
    let yard = yard();
    let server = trained(&yard);
    let (image, large) = (images::halves(0, 100), large());
    ask(&server, &image).ok();
    std::thread::scope(|scope| {
        let slow = scope.spawn(|| ask(&server, &large));
        wait_until("a child for the large image", || children(&server).len() == 2);
        ask(&server, &image).ok();
        assert!(!slow.is_finished());
        slow.join().unwrap().ok();
    });
}

#[test]
fn a_child_that_hangs_is_replaced_and_everybody_answered() {
    let yard = yard();
    let server = trained(&yard);
    let child = halted(&server);
    let image = images::halves(0, 100);
    std::thread::scope(|scope| {
        let asked: Vec<ScopedJoinHandle<'_, Answer>> = (0..20).map(|_| scope.spawn(|| ask(&server, &image))).collect();
        for asked in asked {
            asked.join().unwrap().ok();
        }
    });
    assert!(!lives(child));
    same_digits(&yard, &ask(&server, &image), &image);
}

#[test]
fn one_that_takes_longer_than_allowed_is_ended() {
    let yard = yard().set("trainer", "test_timeout_seconds", 1).set("jobs", "concurrency", 1);
    let server = trained(&yard);
    let over = AtomicBool::new(false);
    let image = images::halves(0, 100);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                children(&server).into_iter().for_each(|child| signal(child, Signal::STOP));
                std::thread::park_timeout(Duration::from_millis(3));
            }
        });
        let large = large();
        let message = ask(&server, &large).refused(502, "Status");
        assert!(message.contains("longer than 1 s"), "{message}");
        over.store(true, Ordering::Relaxed);
    });
    children(&server).into_iter().for_each(|child| signal(child, Signal::CONT));
    same_digits(&yard, &ask(&server, &image), &image);
}

#[test]
fn too_many_questions_are_told_to_come_again() {
    let yard = yard();
    let server = trained(&yard);
    let child = halted(&server);
    let image = images::halves(0, 100);
    let statuses: Vec<u16> = std::thread::scope(|scope| {
        let asked: Vec<_> = (0..150).map(|_| scope.spawn(|| ask(&server, &image))).collect();
        wait_until("a refusal", || asked.iter().any(|one| one.is_finished()));
        signal(child, Signal::CONT);
        asked.into_iter().map(|one| one.join().unwrap().status).collect()
    });
    let count = |status: u16| statuses.iter().filter(|given| **given == status).count();
    assert!(count(200) >= 128 && count(429) >= 1 && count(200) + count(429) == 150, "{statuses:?}");
}

#[test]
fn nobody_asks_and_the_child_goes() {
    let yard = yard();
    let server = trained(&yard);
    let image = images::halves(0, 100);
    ask(&server, &image).ok();
    assert_eq!(children(&server).len(), 1);
    wait_until("the end of an idle child", || children(&server).is_empty());
    same_digits(&yard, &ask(&server, &image), &image);
}

#[test]
fn a_server_that_stops_takes_its_child_along() {
    let yard = yard();
    let server = trained(&yard);
    let child = halted(&server);
    let address = server.address;
    let form = Form::new().field("model_name", "m").file("file", "what.png", &images::halves(0, 100));
    let asked = std::thread::spawn(move || {
        let head = format!(
            "POST /test HTTP/1.0\r\nContent-Type: {}\r\nContent-Length: {}\r\n\r\n",
            crate::harness::client::form_type(),
            form.body().len()
        );
        crate::harness::client::raw(address, &[head.as_bytes(), &form.body()].concat())
    });
    wait_for_question(child);
    server.stop_within(Duration::from_secs(12));
    assert!(!lives(child));
    assert_eq!(asked.join().unwrap().map(|answer| answer.status), Some(503));
}

#[test]
fn a_server_that_is_killed_takes_its_child_along() {
    let yard = yard();
    let server = trained(&yard);
    let child = halted(&server);
    server.kill9();
    wait_until("the child's end", || !lives(child));
}
