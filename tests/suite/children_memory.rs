//! Runs wait until the machine has memory for them; one is always started. What happens where memory does run out is
//! tests/campaigns/memory.py, since that takes a machine of its own.

use crate::harness::{Server, Yard, wait_until};
use serde_json::Value;

/// More than any machine has.
const ENDLESS: i64 = 1 << 50;

fn yard() -> Yard {
    Yard::new().experiments(6).set("jobs", "concurrency", 3).train(": < \"$YARD/gate\"; echo accuracy=0.5")
}

fn waiting(server: &Server) -> Value {
    server.get("/api/v1/queue", &[]).ok()["waiting_for_memory"].clone()
}

#[test]
fn until_a_run_has_been_seen_the_next_waits_for_what_it_may_want() {
    let yard = yard().set("jobs", "memory_estimate_bytes", ENDLESS);
    let mut gate = yard.gate("gate");
    let server = yard.start();
    server.model_with_image("m");
    assert_eq!(waiting(&server), Value::Null);
    let runs = server.sweep("m");
    wait_until("the wait", || waiting(&server) != Value::Null);
    let wait = waiting(&server);
    assert!(wait["needed_bytes"].as_u64().unwrap() > wait["available_bytes"].as_u64().unwrap(), "{wait}");
    assert!(wait["message"].as_str().unwrap().contains("MiB of memory"), "{wait}");
    wait_until("one that is started in any case", || server.queue() == (5, 1));
    // Having run for a while it shows what it wants, and the others are started though it goes on.
    wait_until("three at once", || server.queue() == (3, 3));
    assert_eq!(waiting(&server), Value::Null);
    gate.open();
    server.idle();
    assert!(runs.iter().all(|run| server.run(run)["attempts"] == 1 && server.state(run) == "succeeded"));
    assert_eq!(server.log().matches("wait until the machine has memory").count(), 1, "{}", server.log());
}

#[test]
fn a_run_that_waits_for_memory_can_be_cancelled_and_survives_a_restart() {
    let yard = yard().set("jobs", "memory_estimate_bytes", ENDLESS);
    let mut gate = yard.gate("gate");
    let server = yard.start();
    server.model_with_image("m");
    let runs = server.sweep("m");
    wait_until("the wait", || waiting(&server) != Value::Null);
    assert_eq!(server.cancel(&runs[5]).status, 202);
    assert_eq!(server.state(&runs[5]), "cancelled");
    wait_until("one that runs", || server.queue() == (4, 1));
    server.kill9();
    let server = yard.start();
    wait_until("the wait again", || waiting(&server) != Value::Null);
    wait_until("one that runs again", || server.queue() == (4, 1));
    gate.open();
    server.idle();
    assert!(runs[..5].iter().all(|run| server.state(run) == "succeeded"));
}

#[test]
fn whoever_knows_better_can_have_runs_start_anyway() {
    let yard = yard().set("jobs", "memory_estimate_bytes", ENDLESS).set("jobs", "wait_for_memory", false);
    let mut gate = yard.gate("gate");
    let server = yard.start();
    server.model_with_image("m");
    server.sweep("m");
    wait_until("three at once", || server.queue() == (3, 3));
    assert_eq!(waiting(&server), Value::Null);
    gate.open();
    server.idle();
}
