//! The server goes down, by request or by force, and comes back: nothing is lost, nothing runs on without it.

use crate::harness::process::{children_of, lives, pids};
use crate::harness::wait::wait_within;
use crate::harness::{Server, Yard, images, wait_until};
use rustix::process::{Pid, Signal, kill_process};
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::time::Duration;

/// How long anything may outlive the server.
const ORPHANS: Duration = Duration::from_secs(2);

/// Runs note that they started, wait at the gate, and have a child, a grandchild, and one that left their group.
const FAMILY: &str = "echo $TRAINYARD_EXPERIMENT >> \"$YARD/started\"\n\
                      sh -c 'echo $$; sleep 1000 & echo $!; wait' >> \"$YARD/pids\" &\n\
                      setsid sh -c 'echo $$; setsid sleep 1000 & echo $!; wait' >> \"$YARD/pids\" 2>&1 < /dev/null &\n\
                      echo $$ >> \"$YARD/pids\"\n\
                      : < \"$YARD/gate\"\n\
                      kill %1 %2 2>/dev/null\n\
                      echo accuracy=0.5";

/// How many processes a run of the family has.
const MEMBERS: usize = 5;

fn family(yard: &Yard, runs: usize) -> Vec<u32> {
    wait_until("all of the family", || pids(&yard.path("pids")).len() >= runs * MEMBERS);
    let all = pids(&yard.path("pids"));
    assert_eq!(all.len(), runs * MEMBERS);
    assert!(all.iter().all(|pid| lives(*pid)), "{all:?}");
    all
}

fn gone(all: &[u32]) {
    wait_within(ORPHANS, "the end of everything the server started", || {
        all.iter().all(|pid| !lives(*pid)).then_some(())
    });
}

/// Every experiment of a model of so many has its result.
fn all_done(server: &Server, runs: &[String]) {
    server.idle();
    for run in runs {
        assert_eq!(server.run(run)["state"], "succeeded", "{}", server.run(run));
    }
    assert!(server.accuracies("m").iter().all(|(_, results)| results.len() == 1));
}

#[test]
fn after_sigterm_in_mid_sweep_the_next_server_goes_on() {
    let yard = Yard::new().experiments(6).train(FAMILY);
    let gate = yard.gate("gate");
    let server = yard.start();
    server.model_with_image("m");
    let runs = server.sweep("m");
    let children = family(&yard, 2);
    server.stop();
    gone(&children);
    drop(gate);
    fs::remove_file(yard.path("gate")).unwrap();
    yard.write("gate", "");
    let server = yard.start();
    all_done(&server, &runs);
    let attempts: Vec<_> = runs.iter().map(|run| server.run(run)["attempts"].as_u64().unwrap()).collect();
    assert_eq!(attempts, [2, 2, 1, 1, 1, 1], "what was interrupted was tried again");
}

#[test]
fn after_kill_9_in_mid_sweep_the_next_server_goes_on() {
    let yard = Yard::new().experiments(6).train(FAMILY);
    let _gate = yard.gate("gate");
    let server = yard.start();
    server.model_with_image("m");
    let runs = server.sweep("m");
    let children = family(&yard, 2);
    server.kill9();
    gone(&children);
    fs::remove_file(yard.path("gate")).unwrap();
    yard.write("gate", "");
    let server = yard.start();
    all_done(&server, &runs);
    let starts = yard.lines("started").len();
    assert_eq!(starts, 8, "at most one extra start a slot");
}

#[test]
fn what_was_acknowledged_survives_kill_9_at_any_moment() {
    let yard = Yard::new().one_experiment().train("echo accuracy=0.5");
    let mut acknowledged: Vec<(String, String)> = Vec::new();
    for round in 0..6 {
        let server = yard.start();
        if round == 0 {
            server.create_model("m");
            server.create_dataset("m", "d");
        }
        for (experiment, run) in &acknowledged {
            assert_eq!(server.run(run)["experiment"], *experiment);
        }
        for number in 0..8 {
            let name = format!("e{round}-{number}");
            server.create_experiment("m", &name);
            server.upload("m", "d", &format!("{name}.png"), &images::png(round * 10 + number));
            let run = server.train("m", &name, "d");
            acknowledged.push((name, run));
        }
        server.kill9();
        assert_eq!(yard.blobs().len(), acknowledged.len());
    }
    let server = yard.start();
    server.idle();
    for (_, run) in &acknowledged {
        assert_eq!(server.run(run)["state"], "succeeded");
    }
    let last = server.trained("m", "default_1", "d");
    assert_eq!(last["dataset_version"], acknowledged.len());
    wait_until("no unfinished upload", || yard.unfinished().is_empty());
}

#[test]
fn what_waits_is_not_queued_twice_after_a_crash_either() {
    let yard = Yard::new().one_experiment().set("jobs", "concurrency", 1).train(": < \"$YARD/gate\"; echo accuracy=1");
    let mut gate = yard.gate("gate");
    let server = yard.start();
    server.model_with_image("m");
    let running = server.train("m", "default_1", "");
    wait_until("a run", || server.queue() == (0, 1));
    let waiting = server.train("m", "default_1", "");
    assert_eq!(server.queue(), (1, 1));
    server.kill9();
    let server = yard.start();
    wait_until("the interrupted run", || server.queue() == (1, 1) && server.state(&running) == "running");
    assert_eq!(server.train("m", "default_1", ""), waiting);
    assert_eq!(server.queue(), (1, 1));
    gate.open();
    server.idle();
}

#[test]
fn a_run_that_kills_the_server_each_time_fails_after_three_starts() {
    let script = "case $TRAINYARD_EXPERIMENT in killer) echo start >> \"$YARD/starts\"; echo 'about to kill'\n\
                  : < \"$YARD/gate\"; kill -9 $PPID; sleep 1000;; esac\n\
                  ls \"$YARD\"/busy.* >> \"$YARD/beside\" 2>/dev/null; echo accuracy=0.5";
    let yard = Yard::new().experiments(4).train(script);
    let mut gate = yard.gate("gate");
    let mut server = yard.start();
    server.model_with_image("m");
    server.create_experiment("m", "killer");
    let killer = server.train("m", "killer", "");
    let others = server.sweep("m");
    gate.open();
    server.status();
    let mut restarts = 0;
    let failed = loop {
        restarts += 1;
        assert!(restarts <= 4, "{:?}", yard.lines("starts"));
        // The run may be quick enough to kill it before it says that it listens.
        let Ok(mut server) = Server::start(&yard, &[]) else { continue };
        let outcome = wait_within(Duration::from_secs(40), "the next end of the server or the run", || {
            // The server may go while it is asked.
            let run = server.attempt(&format!("/api/v1/runs/{killer}"));
            match run.map(|run| run.json()["state"] == "failed") {
                Some(true) => Some(true),
                _ => server.has_ended().then_some(false),
            }
        });
        if outcome {
            break server;
        }
    };
    assert_eq!(yard.lines("starts").len(), 3);
    let run = failed.run(&killer);
    let reason = run["reason"].as_str().unwrap();
    assert!(reason.contains("3 times") && run["attempts"] == 3, "{run}");
    failed.idle();
    for run in &others {
        assert_eq!(failed.run(run)["state"], "succeeded", "the others are not held responsible");
    }
}

#[test]
fn a_second_server_on_the_same_folder_refuses() {
    let yard = Yard::new().one_experiment();
    let server = yard.start();
    server.model_with_image("m");
    let message = yard.refusal(&[]);
    assert!(message.contains("in use") && message.contains("data"), "{message}");
    server.trained("m", "default_1", "");
    server.stop();
    let server = yard.start();
    assert_eq!(server.best("m", "").1, "0.5");
}

#[test]
fn stopping_twice_and_stopping_while_asked_end_well() {
    let yard = Yard::new().one_experiment();
    for _ in 0..3 {
        let server = yard.start();
        let address = server.address;
        // A connection that says nothing is not waited for.
        let _silent = std::net::TcpStream::connect(address).unwrap();
        server.stop_within(Duration::from_secs(10));
    }
}

#[test]
fn a_script_that_ignores_sigterm_does_not_keep_the_server() {
    let script = "trap '' TERM; echo $$ >> \"$YARD/pids\"; while :; do sleep 1000; done";
    let yard = Yard::new().one_experiment().train(script);
    let server = yard.start();
    server.model_with_image("m");
    let run = server.train("m", "default_1", "");
    wait_until("the script", || pids(&yard.path("pids")).len() == 1);
    let children = pids(&yard.path("pids"));
    server.stop_within(Duration::from_secs(10));
    gone(&children);
    let yard = yard.train("echo accuracy=0.5");
    let server = yard.start();
    server.idle();
    assert_eq!(server.run(&run)["state"], "succeeded");
}

#[test]
fn a_guard_that_was_killed_is_replaced() {
    let yard = Yard::new().experiments(2).set("jobs", "concurrency", 1).train(FAMILY);
    let _gate = yard.gate("gate");
    let server = yard.start();
    server.model_with_image("m");
    let guard = children_of(server.pid());
    assert_eq!(guard.len(), 1, "an idle server has its guard and nothing else");
    kill_process(Pid::from_raw(guard[0].cast_signed()).unwrap(), Signal::KILL).unwrap();
    wait_until("the end of the guard", || !lives(guard[0]));
    server.train("m", "default_1", "");
    let children = family(&yard, 1);
    server.kill9();
    gone(&children);
}

#[test]
fn a_server_on_a_copy_of_the_folder_leaves_the_original_s_children_alone() {
    let yard = Yard::new().one_experiment().train(FAMILY);
    let mut gate = yard.gate("gate");
    let server = yard.start();
    server.model_with_image("m");
    let run = server.train("m", "default_1", "");
    let children = family(&yard, 1);
    // By its id alone the copy's server would take them for its own.
    let copy = Yard::new().one_experiment();
    fs::create_dir(copy.path("data")).unwrap();
    fs::copy(yard.data("id"), copy.data("id")).unwrap();
    let other = copy.start();
    other.model_with_image("m");
    other.trained("m", "default_1", "");
    other.stop();
    assert!(children.iter().all(|pid| lives(*pid)));
    gate.open();
    server.idle();
    assert_eq!(server.state(&run), "succeeded");
}

#[test]
fn a_crash_leaves_an_exit_status_and_no_children() {
    let yard = Yard::new().one_experiment().train(FAMILY);
    let _gate = yard.gate("gate");
    let mut server = yard.start();
    server.model_with_image("m");
    server.train("m", "default_1", "");
    let children = family(&yard, 1);
    // As an assertion in a library would.
    kill_process(Pid::from_raw(server.pid().cast_signed()).unwrap(), Signal::ABORT).unwrap();
    assert_eq!(server.status().signal(), Some(6));
    gone(&children);
}
