//! Runs that differ in nothing but their steps are one training of the built-in trainer. Each of them is a run like any
//! other: with a result, a log, points and a model of its own, cancelled, failed and started again by itself.

use crate::harness::process::{children_of, lives};
use crate::harness::{Server, Yard, images, wait_until};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::fs;
use std::time::Duration;

/// So many steps that a test does not see their end.
const ENDLESS: i64 = 1_000_000_000;

/// Enough steps to do something meanwhile.
const SOME_TIME: i64 = 40_000;

/// The built-in trainer on experiments that differ in their steps.
fn yard(steps: &[i64]) -> Yard {
    let yard = Yard::new().built_in().set("jobs", "concurrency", 1).set("sweep", "learning_rates", vec![0.01]);
    yard.set("sweep", "layers", vec![1]).set("sweep", "steps", steps.to_vec())
}

/// A server with a model of two classes that can be told apart.
fn furnished(yard: &Yard) -> Server {
    let server = yard.start();
    server.create_model("m");
    for number in 0..12 {
        server.upload("m", "", &format!("top/{number}.png"), &images::halves(0, number));
        server.upload("m", "", &format!("bottom/{number}.png"), &images::halves(1, number));
    }
    server
}

/// A sweep whose first run has its result while the others go on.
fn half_way(yard: &Yard) -> (Server, Vec<String>) {
    let server = furnished(yard);
    let runs = server.sweep("m");
    wait_until("the first result", || server.state(&runs[0]) == "succeeded");
    assert_eq!(server.queue(), (0, runs.len() as u64 - 1), "the others have the slot");
    (server, runs)
}

fn states(server: &Server, runs: &[String]) -> Vec<String> {
    runs.iter().map(|run| server.state(run)).collect()
}

/// The lines of a run's log, each of which is JSON.
fn log(server: &Server, run: &str) -> Vec<Value> {
    server.run_log(run).lines().map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}"))).collect()
}

/// The step counts whose results are in a run's log.
fn results_in(server: &Server, run: &str) -> Vec<u64> {
    log(server, run).iter().filter_map(|line| line["k"].as_u64()).collect()
}

/// The steps of a run's points.
fn steps_of_points(server: &Server, run: &str) -> Vec<u64> {
    let points = server.get(&format!("/api/v1/runs/{run}/metrics"), &[]).text();
    points.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["step"].as_u64().unwrap()).collect()
}

fn model(yard: &Yard, run: &str) -> Vec<u8> {
    fs::read(yard.data("runs").join(run).join("model.safetensors")).unwrap()
}

/// The children that train.
fn trainers(server: &Server) -> Vec<u32> {
    let trains = |pid: &u32| {
        let words = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        words.split(|byte| *byte == 0).nth(1) == Some(b"train")
    };
    children_of(server.pid()).into_iter().filter(trains).collect()
}

#[test]
fn a_sweep_of_27_is_nine_trainings_with_the_results_of_27() {
    let yard = yard(&[20, 40, 80]).set("sweep", "layers", vec![1, 2, 4]).set("jobs", "concurrency", 2);
    let yard = yard.set("sweep", "learning_rates", vec![0.003, 0.01, 0.05]);
    let server = furnished(&yard);
    let together = server.sweep("m");
    assert_eq!(together.len(), 27);
    server.idle();
    for (number, run) in together.iter().enumerate() {
        let (group, place) = (number / 3, number % 3);
        let shown = server.run(run);
        assert_eq!((&shown["state"], &shown["attempts"]), (&"succeeded".into(), &1.into()), "{shown}");
        assert_eq!(
            results_in(&server, run),
            [20, 40, 80][..=place],
            "group {group}: one child, up to the run's own result"
        );
        let result = log(&server, run).pop().unwrap();
        assert_eq!(shown["accuracy"], result["accuracy"].to_string());
        // On a busy machine there are points between them, by the clock.
        let mut points = steps_of_points(&server, run);
        assert_eq!(points.last(), Some(&[20, 40, 80][place]), "{points:?}");
        points.retain(|step| [20, 40, 80].contains(step));
        assert_eq!(points, [20, 40, 80][..=place]);
    }
    // One at a time nothing is shared, and everything comes out the same.
    for (number, run) in together.iter().enumerate() {
        let alone = server.trained("m", &format!("default_{}", number + 1), "");
        let alone = alone["id"].as_str().unwrap();
        assert_eq!(results_in(&server, alone).len(), 1);
        assert_eq!(log(&server, run).pop(), log(&server, alone).pop());
        assert_eq!(model(&yard, run), model(&yard, alone), "default_{}", number + 1);
    }
}

#[test]
fn a_cancelled_run_ends_at_once_and_the_others_go_on() {
    let yard = yard(&[10, SOME_TIME, ENDLESS]);
    let (server, runs) = half_way(&yard);
    let child = trainers(&server);
    assert_eq!(child.len(), 1);
    assert_eq!(server.cancel(&runs[2]).status, 202);
    wait_until("the cancelled run's end", || server.state(&runs[2]) == "cancelled");
    assert_eq!(server.state(&runs[1]), "running");
    assert!(lives(child[0]));
    // Nobody needs more steps than the second run's, so the child does not make them.
    server.idle();
    assert_eq!(states(&server, &runs), ["succeeded", "succeeded", "cancelled"]);
    wait_until("the child's end", || !lives(child[0]));
    assert_eq!(results_in(&server, &runs[1]), [10, SOME_TIME as u64]);
    assert_eq!(results_in(&server, &runs[2]), [10]);
    assert!(server.cancel(&runs[1]).problem(409).contains("succeeded"));
}

#[test]
fn a_short_run_is_cancelled_without_the_long_one() {
    let yard = yard(&[10, ENDLESS, SOME_TIME]);
    let (server, runs) = half_way(&yard);
    server.cancel(&runs[1]);
    server.idle();
    assert_eq!(states(&server, &runs), ["succeeded", "cancelled", "succeeded"]);
}

#[test]
fn when_all_runs_are_cancelled_the_child_is_stopped() {
    let yard = yard(&[ENDLESS - 2, ENDLESS - 1, ENDLESS]);
    let server = furnished(&yard);
    let runs = server.sweep("m");
    wait_until("the child", || trainers(&server).len() == 1);
    let child = trainers(&server);
    for run in &runs {
        assert_eq!(server.cancel(run).status, 202);
    }
    server.idle();
    assert_eq!(states(&server, &runs), ["cancelled"; 3]);
    assert!(!lives(child[0]));
}

#[test]
fn a_failure_takes_only_the_runs_without_a_result() {
    // The first step is fine, and then the numbers leave the range.
    let yard = yard(&[1, 500, 1000]).set("sweep", "learning_rates", vec![1e3]).set("sweep", "layers", vec![16]);
    let server = furnished(&yard);
    let runs = server.sweep("m");
    server.idle();
    assert_eq!(states(&server, &runs), ["succeeded", "failed", "failed"]);
    for run in &runs[1..] {
        let run = server.run(run);
        let reason = run["reason"].as_str().unwrap();
        assert!(reason.contains("exit status 1") && reason.contains("smaller --i"), "{run}");
        assert!(run["log_tail"].to_string().contains("smaller --i"), "{run}");
    }
}

#[test]
fn a_child_that_is_killed_takes_only_the_runs_without_a_result() {
    let yard = yard(&[10, ENDLESS - 1, ENDLESS]);
    let (server, runs) = half_way(&yard);
    let child = trainers(&server);
    kill_process(Pid::from_raw(child[0].cast_signed()).unwrap(), Signal::KILL).unwrap();
    server.idle();
    assert_eq!(states(&server, &runs), ["succeeded", "failed", "failed"]);
    for run in &runs[1..] {
        assert!(server.run(run)["reason"].as_str().unwrap().contains("signal 9"));
    }
    // Tried again by itself, a run is a job of its own.
    let again = server.trained("m", "default_1", "");
    assert_eq!(results_in(&server, again["id"].as_str().unwrap()), [10]);
}

#[test]
fn a_time_out_takes_only_the_runs_without_a_result() {
    let yard = yard(&[10, ENDLESS - 1, ENDLESS]).set("jobs", "timeout_seconds", 2);
    let (server, runs) = half_way(&yard);
    server.idle();
    assert_eq!(states(&server, &runs), ["succeeded", "failed", "failed"]);
    for run in &runs[1..] {
        assert!(server.run(run)["reason"].as_str().unwrap().contains("longer than 2 s"));
    }
}

/// Stops the server so half way through a job; the next one finishes what was left.
fn interrupted(stop: impl FnOnce(Server)) {
    let yard = yard(&[10, SOME_TIME, SOME_TIME + 10]);
    let (server, runs) = half_way(&yard);
    let child = trainers(&server);
    stop(server);
    wait_until("the child's end", || !child.iter().any(|pid| lives(*pid)));
    let server = yard.start();
    server.idle();
    assert_eq!(states(&server, &runs), ["succeeded"; 3]);
    let attempts: Vec<_> = runs.iter().map(|run| server.run(run)["attempts"].as_u64().unwrap()).collect();
    assert_eq!(attempts, [1, 2, 2], "what had its result is not done again");
    assert_eq!(results_in(&server, &runs[2]), [SOME_TIME as u64, SOME_TIME as u64 + 10], "the rest shares again");
    let alone = server.trained("m", "default_2", "");
    assert_eq!(model(&yard, &runs[1]), model(&yard, alone["id"].as_str().unwrap()));
}

#[test]
fn after_kill_9_of_the_server_what_had_a_result_keeps_it() {
    interrupted(Server::kill9);
}

#[test]
fn after_a_stop_of_the_server_what_had_a_result_keeps_it() {
    interrupted(|server| server.stop_within(Duration::from_secs(10)));
}

#[test]
fn another_program_shares_nothing() {
    let yard = Yard::new().experiments(3).train("echo \"$6 $TRAINYARD_JOB\" >> \"$YARD/k\"; echo accuracy=0.5");
    let server = yard.start();
    server.model_with_image("m");
    server.sweep("m");
    server.idle();
    let mut told = yard.lines("k");
    told.sort();
    assert_eq!(told, ["1 ", "2 ", "3 "]);
}
