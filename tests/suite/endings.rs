//! How runs end other than well, and what can be read about a run: reason, log, points.

use crate::harness::process::{lives, pids};
use crate::harness::{Server, Yard, wait_until};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

fn server_and_run(yard: &Yard) -> (Server, String) {
    let server = yard.start();
    server.model_with_image("m");
    let run = server.train("m", "default_1", "");
    (server, run)
}

fn ended(yard: &Yard) -> (Server, Value) {
    let (server, run) = server_and_run(yard);
    server.idle();
    let run = server.run(&run);
    (server, run)
}

#[test]
fn a_failed_run_says_why_and_shows_the_end_of_its_log() {
    let script = "for n in $(seq 100); do echo line $n; done; echo 'Traceback: no such layer' >&2; exit 3";
    let yard = Yard::new().one_experiment().train(script);
    let (server, run) = ended(&yard);
    assert_eq!(run["state"], "failed");
    assert!(run["reason"].as_str().unwrap().contains("exit status 3"), "{run}");
    let tail: Vec<&str> = run["log_tail"].as_array().unwrap().iter().map(|line| line.as_str().unwrap()).collect();
    assert!(tail.len() <= 50 && tail.contains(&"Traceback: no such layer") && tail.contains(&"line 100"), "{tail:?}");
    let log = server.run_log(run["id"].as_str().unwrap());
    assert!(log.starts_with("line 1\n") && log.contains("Traceback"), "{log}");
}

#[test]
fn a_run_that_takes_too_long_is_stopped() {
    let yard = Yard::new()
        .one_experiment()
        .set("jobs", "timeout_seconds", 1)
        .train("echo accuracy=0.9; echo $$ > \"$YARD/pids\"; sleep 1000 & echo $! >> \"$YARD/pids\"; wait");
    let began = Instant::now();
    let (_server, run) = ended(&yard);
    assert_eq!(run["state"], "failed");
    let reason = run["reason"].as_str().unwrap();
    assert!(reason.contains("longer than 1 s") && reason.contains("timeout_seconds"), "{reason}");
    assert!(began.elapsed() < Duration::from_secs(10));
    let children = pids(&yard.path("pids"));
    assert_eq!(children.len(), 2);
    assert!(!children.into_iter().any(lives));
}

#[test]
fn a_run_that_ignores_the_request_to_end_is_killed() {
    let script = "trap '' TERM; echo $$ > \"$YARD/pids\"; echo accuracy=0.9; while :; do sleep 1000; done";
    let yard = Yard::new().one_experiment().set("jobs", "timeout_seconds", 1).train(script);
    let began = Instant::now();
    let (_server, run) = ended(&yard);
    assert_eq!(run["state"], "failed");
    assert!(run["reason"].as_str().unwrap().contains("longer than 1 s"), "{run}");
    let took = began.elapsed();
    assert!(took > Duration::from_secs(2) && took < Duration::from_secs(12), "{took:?}");
    assert!(!pids(&yard.path("pids")).into_iter().any(lives));
}

#[test]
fn a_run_that_is_told_to_end_can_put_its_things_in_order() {
    let script = "trap 'echo saved > model.h5; echo goodbye; exit 0' TERM\necho hello\n\
                  while :; do sleep 0.02; done";
    let yard = Yard::new().one_experiment().set("jobs", "stop_grace_seconds", 20).train(script);
    let (server, run) = server_and_run(&yard);
    wait_until("the script", || server.run_log(&run).contains("hello"));
    server.cancel(&run);
    wait_until("its end", || server.state(&run) == "cancelled");
    assert!(server.run_log(&run).contains("goodbye"));
}

#[test]
fn megabytes_of_log_are_capped_and_readable_meanwhile() {
    let script = "echo the beginning\nyes 'a line of a log that goes on and on' | head -c 8000000\n\
                  : < \"$YARD/gate\"\necho the end\necho accuracy=0.5";
    let yard = Yard::new().one_experiment().train(script);
    let mut gate = yard.gate("gate");
    let (server, run) = server_and_run(&yard);
    wait_until("some log", || server.run_log(&run).len() > 500_000);
    wait_until("its start to show", || server.state(&run) == "running");
    assert!(server.run_log(&run).starts_with("the beginning\n"));
    gate.open();
    server.idle();
    assert_eq!(server.run(&run)["state"], "succeeded");
    let log = server.run_log(&run);
    assert!(log.len() < 2_000_000, "{}", log.len());
    assert!(log.starts_with("the beginning\n") && log.ends_with("the end\naccuracy=0.5\n"));
    assert!(log.contains("left out"), "what is missing is said");
}

#[test]
fn the_log_of_a_failed_run_with_megabytes_has_its_last_words() {
    let script = "yes 'a line' | head -c 5000000; echo 'MemoryError' >&2; exit 1";
    let yard = Yard::new().one_experiment().train(script);
    let (_server, run) = ended(&yard);
    let tail = run["log_tail"].to_string();
    assert!(tail.contains("MemoryError") && tail.len() < 20_000, "{tail}");
}

#[test]
fn a_line_without_an_end_is_no_trouble() {
    let script = "head -c 20000000 /dev/zero | tr '\\0' x; echo; echo accuracy=0.5";
    let yard = Yard::new().one_experiment().train(script);
    let (server, run) = ended(&yard);
    assert_eq!(run["state"], "succeeded", "{run}");
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.pid())).unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    let peak: u64 = peak.trim().trim_end_matches(" kB").parse().unwrap();
    assert!(peak < 64 << 10, "{peak} KiB");
}

#[test]
fn a_log_is_never_taken_for_a_page() {
    let yard = Yard::new().one_experiment().train("echo '<script>alert(1)</script>'; echo accuracy=1");
    let (server, run) = ended(&yard);
    let answer = server.get(&format!("/api/v1/runs/{}/log", run["id"].as_str().unwrap()), &[]);
    assert!(answer.header("content-type").unwrap().starts_with("text/plain"));
    assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
}

#[test]
fn points_are_kept_as_they_come() {
    let script = "echo '{\"step\": 200, \"loss\": 0.41, \"accuracy\": 0.87}'\necho step=400 loss=0.3 accuracy=0.9\n\
                  echo 'no point'\n: < \"$YARD/gate\"\necho '{\"step\": 600, \"loss\": NaN, \"accuracy\": 0.95}'\n\
                  echo accuracy=0.91";
    let yard = Yard::new().one_experiment().train(script);
    let mut gate = yard.gate("gate");
    let (server, run) = server_and_run(&yard);
    let points = || -> Vec<Value> {
        let answer = server.get(&format!("/api/v1/runs/{run}/metrics"), &[]);
        assert_eq!(answer.status, 200);
        answer.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    wait_until("two points", || points().len() == 2);
    wait_until("its start to show", || server.state(&run) == "running");
    gate.open();
    server.idle();
    let expected = [
        json!({ "step": 200, "metrics": { "loss": 0.41, "accuracy": 0.87 } }),
        json!({ "step": 400, "metrics": { "loss": 0.3, "accuracy": 0.9 } }),
        json!({ "step": 600, "metrics": { "accuracy": 0.95 } }),
    ];
    assert_eq!(points(), expected);
    assert_eq!(server.run(&run)["accuracy"], "0.91");
}

#[test]
fn a_run_that_printed_nothing_has_an_empty_log_and_no_points() {
    let yard = Yard::new().one_experiment().train("exit 1");
    let (server, run) = ended(&yard);
    let id = run["id"].as_str().unwrap();
    assert_eq!(server.run_log(id), "");
    assert_eq!(server.get(&format!("/api/v1/runs/{id}/metrics"), &[]).text(), "");
    assert_eq!(run["log_tail"], json!([]));
}

#[test]
fn what_a_run_leaves_behind_in_its_group_goes_with_it() {
    let script = "sleep 1000 & echo $! > \"$YARD/pids\"; echo accuracy=0.5";
    let yard = Yard::new().one_experiment().train(script);
    let (_server, run) = ended(&yard);
    assert_eq!(run["state"], "succeeded", "{run}");
    let children = pids(&yard.path("pids"));
    wait_until("the end of what it left", || !children.iter().any(|pid| lives(*pid)));
}

#[test]
fn a_script_that_removes_its_own_folder_fails_or_succeeds_but_ends() {
    let yard = Yard::new().one_experiment().train("rm -rf \"$TRAINYARD_MODEL_DIR\"; echo accuracy=0.5");
    let (server, run) = ended(&yard);
    assert_eq!(run["state"], "succeeded", "{run}");
    assert_eq!(server.best("m", "").1, "0.5");
}
