//! What a run may take: memory, processes, processor time, files; what it is told where it takes more; and what of all
//! that the server does not feel.

use crate::harness::process::{children_of, lives, pids};
use crate::harness::{Form, Server, Yard, images, wait_until};
use serde_json::Value;
use std::fs;

const MIB: i64 = 1 << 20;

/// Waits until the kernel keeps the run's limits; the server sets them right after the start.
const ONCE_LIMITED: &str = "until [ \"$(ulimit -f)\" != unlimited ]; do :; done\n";

fn ended(yard: &Yard) -> (Server, Value) {
    let server = yard.start();
    server.model_with_image("m");
    let run = server.train("m", "default_1", "");
    server.idle();
    let run = server.run(&run);
    (server, run)
}

#[track_caller]
fn failed_for(yard: &Yard, amount: &str, setting: &str) -> Server {
    let (server, run) = ended(yard);
    assert_eq!(run["state"], "failed", "{run}");
    let reason = run["reason"].as_str().unwrap();
    assert!(reason.contains(amount) && reason.contains(setting), "{reason}");
    server
}

/// With control groups, where there are any, and without.
fn both_ways(check: impl Fn(Yard)) {
    for groups in [true, false] {
        check(Yard::new().one_experiment().set("jobs", "control_groups", groups));
    }
}

fn has_python() -> bool {
    let has = fs::exists("/usr/bin/python3").unwrap();
    if !has {
        println!("skipped: what only an interpreter can do, because /usr/bin/python3 is missing");
    }
    has
}

#[test]
fn a_run_that_takes_too_much_memory_is_stopped_with_all_that_it_started() {
    both_ways(|yard| {
        // What has no line end is kept in memory by tail; it is its own child of the script.
        let yard = yard.set("jobs", "memory_bytes", 100 * MIB).train(
            "echo $$ > \"$YARD/pids\"; sleep 1000 & echo $! >> \"$YARD/pids\"\n\
             { head -c 400000000 /dev/zero; : < \"$YARD/never\"; } | tail -n 1",
        );
        let _never = yard.gate("never");
        let _server = failed_for(&yard, "100 MiB", "jobs.memory_bytes");
        let all = pids(&yard.path("pids"));
        assert_eq!(all.len(), 2);
        wait_until("the end of all", || !all.iter().any(|pid| lives(*pid)));
    });
}

#[test]
fn memory_that_processes_share_counts_once() {
    if !has_python() {
        return;
    }
    both_ways(|yard| {
        let yard = yard.set("jobs", "memory_bytes", 200 * MIB).train("exec /usr/bin/python3 \"$YARD/train.py\"");
        // Eight times 80 MiB are more than the limit; all of them are the same pages. The server looks several times.
        yard.write(
            "train.py",
            "import os, time\nheld = bytearray(b'1') * (80 << 20)\nchildren = []\nfor _ in range(8):\n    pid = os.fork()\n    \
             if pid == 0:\n        sum(memoryview(held)[::4096])\n        time.sleep(1.5)\n        os._exit(0)\n    \
             children.append(pid)\nfor pid in children:\n    os.waitpid(pid, 0)\nprint('accuracy=0.5')\n",
        );
        let (_server, run) = ended(&yard);
        assert_eq!(run["state"], "succeeded", "{run}");
    });
}

#[test]
fn a_bomb_of_processes_is_put_out() {
    both_ways(|yard| {
        let yard = yard.set("jobs", "max_processes", 40).train(
            "for n in $(seq 300); do sleep 1000 & echo $! >> \"$YARD/pids\"; done\n: < \"$YARD/never\"; echo accuracy=0.5",
        );
        let _never = yard.gate("never");
        let server = failed_for(&yard, "40 processes", "jobs.max_processes");
        let all = pids(&yard.path("pids"));
        assert!(all.len() > 30, "{}", all.len());
        wait_until("the end of all", || !all.iter().any(|pid| lives(*pid)));
        assert_eq!(server.get("/healthz", &[]).status, 200);
    });
}

#[test]
fn processes_that_leave_their_group_are_counted_and_ended_too() {
    both_ways(|yard| {
        let yard = yard
            .set("jobs", "max_processes", 40)
            .train("for n in $(seq 60); do setsid sleep 1000 & echo $! >> \"$YARD/pids\"; done; : < \"$YARD/never\"");
        let _never = yard.gate("never");
        failed_for(&yard, "40 processes", "jobs.max_processes");
        let all = pids(&yard.path("pids"));
        wait_until("the end of all", || !all.iter().any(|pid| lives(*pid)));
    });
}

#[test]
fn a_file_that_grows_too_large_ends_the_run() {
    let yard = Yard::new().one_experiment().set("jobs", "max_file_bytes", MIB);
    let yard = yard.train(&format!("{ONCE_LIMITED}head -c 20000000 /dev/zero > big"));
    let server = failed_for(&yard, "1 MiB", "jobs.max_file_bytes");
    let run = server.get("/api/v1/runs", &[("model", "m")]).ok()["data"][0]["id"].as_str().unwrap().to_owned();
    assert_eq!(yard.data("runs").join(run).join("big").metadata().unwrap().len(), MIB as u64);
}

#[test]
fn an_interpreter_that_is_told_that_its_file_is_too_large_gets_a_hint() {
    let yard = Yard::new().one_experiment().set("jobs", "max_file_bytes", MIB);
    let yard = yard.train("echo 'OSError: [Errno 27] File too large' >&2; exit 1");
    failed_for(&yard, "File too large; a file may have at most 1 MiB", "jobs.max_file_bytes");
}

#[test]
fn a_run_that_computes_too_long_is_stopped() {
    let yard = Yard::new().one_experiment().set("jobs", "cpu_seconds", 1).train("while :; do :; done");
    failed_for(&yard, "more than 1 s of processor time", "jobs.cpu_seconds");
}

#[test]
fn open_files_and_core_files_are_limited_and_stated_limits_hold() {
    let yard = Yard::new().one_experiment().set("jobs", "max_open_files", 64).set("jobs", "cpu_seconds", 1000);
    let yard = yard.train(&format!("{ONCE_LIMITED}ulimit -n; ulimit -c; ulimit -t; ulimit -v; echo accuracy=0.5"));
    let (server, run) = ended(&yard);
    let log = server.run_log(run["id"].as_str().unwrap());
    assert_eq!(log, "64\n0\n1000\nunlimited\naccuracy=0.5\n", "there is no limit on address space");
}

#[test]
fn a_leak_of_open_files_is_the_runs_own_trouble() {
    if !has_python() {
        return;
    }
    let yard = Yard::new().one_experiment().set("jobs", "max_open_files", 64);
    let yard = yard.train(&format!("{ONCE_LIMITED}exec /usr/bin/python3 \"$YARD/train.py\""));
    yard.write("train.py", "held = [open('/dev/null') for _ in range(200)]\nprint('accuracy=0.5')\n");
    let server =
        failed_for(&yard, "Too many open files", "at most 64 files may be open at once (limit jobs.max_open_files)");
    assert_eq!(server.get("/healthz", &[]).status, 200);
}

#[test]
fn children_are_what_the_kernel_takes_first_and_so_are_theirs() {
    both_ways(|yard| {
        let script = "(cat /proc/self/oom_score_adj > /dev/null; : < \"$YARD/gate\"; cat /proc/self/oom_score_adj)\n\
                      : < \"$YARD/gate\"; cat /proc/$$/oom_score_adj /proc/$PPID/oom_score_adj; echo accuracy=0.5";
        let yard = yard.train(script);
        let mut gate = yard.gate("gate");
        let server = yard.start();
        server.model_with_image("m");
        let run = server.train("m", "default_1", "");
        let raised = |pid: u32| fs::read_to_string(format!("/proc/{pid}/oom_score_adj")).is_ok_and(|n| n == "800\n");
        let is_script =
            |pid: &u32| fs::read_to_string(format!("/proc/{pid}/cmdline")).is_ok_and(|l| l.contains("train.sh"));
        wait_until("a child with a child of its own, both first choices", || {
            let scripts: Vec<u32> = children_of(server.pid()).into_iter().filter(is_script).collect();
            let below: Vec<u32> = scripts.iter().flat_map(|pid| children_of(*pid)).collect();
            scripts.len() == 1 && below.len() == 1 && raised(scripts[0]) && raised(below[0])
        });
        gate.open();
        server.idle();
        let log = server.run_log(&run);
        let own = fs::read_to_string("/proc/self/oom_score_adj").unwrap();
        assert_eq!(log, format!("800\n800\n{own}accuracy=0.5\n"), "and the server is none");
    });
}

#[test]
fn an_endless_line_grows_neither_the_server_nor_the_log() {
    let script = "head -c 300000000 /dev/zero | tr '\\0' x; echo; echo the end; echo accuracy=0.5";
    let yard = Yard::new().one_experiment().train(script);
    let (server, run) = ended(&yard);
    assert_eq!(run["state"], "succeeded", "{run}");
    let log = server.run_log(run["id"].as_str().unwrap());
    let end = &log[log.len().saturating_sub(80)..];
    let is_cut = end.ends_with(" bytes of this line are left out]\nthe end\naccuracy=0.5\n");
    assert!(log.len() < 20_000 && is_cut, "{} bytes: {end}", log.len());
    let status = fs::read_to_string(format!("/proc/{}/status", server.pid())).unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    let peak: u64 = peak.trim().trim_end_matches(" kB").parse().unwrap();
    assert!(peak < 64 << 10, "{peak} KiB");
}

#[test]
fn a_prediction_has_the_limits_of_a_run() {
    both_ways(|yard| {
        let yard = yard.set("jobs", "memory_bytes", 100 * MIB);
        let yard = yard.test("{ head -c 400000000 /dev/zero; : < \"$YARD/never\"; } | tail -n 1");
        let _never = yard.gate("never");
        let (server, _) = ended(&yard);
        let form = Form::new().field("model_name", "m");
        let form = form.file("file", "a.png", &images::png(7));
        let message = server.post("/test", &form).refused(502, "Status");
        assert!(message.contains("100 MiB") && message.contains("jobs.memory_bytes"), "{message}");
    });
}

#[test]
fn a_limit_that_no_program_can_live_with_is_refused() {
    for (key, value) in [("memory_bytes", 4096), ("max_open_files", 2), ("max_processes", 1)] {
        let message = Yard::new().set("jobs", key, value).refusal(&[]);
        assert!(message.contains(&format!("jobs.{key}")) && message.contains("at least"), "{message}");
    }
    let yard = Yard::new().one_experiment();
    let yard =
        ["max_file_bytes", "max_open_files", "memory_bytes"].iter().fold(yard, |yard, key| yard.set("jobs", key, 0));
    assert_eq!(ended(&yard).1["state"], "succeeded", "0 is none, or what the machine has");
}
