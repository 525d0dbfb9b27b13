//! Nothing that a run starts outlives it, however it hides; and nothing of the server's that is secret gets to it, or from
//! it to whoever reads.

use crate::harness::process::{children_of, lives, pids};
use crate::harness::wait::wait_within;
use crate::harness::{Server, Yard, wait_until};
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

/// A process that left its group, its session and its parents, and has nothing in its environment; it and its child note
/// who they are.
const HIDE: &str = "(env -i setsid sh -c 'echo $$ >> \"$0\"; setsid sleep 1000 & echo $! >> \"$0\"; wait' \"$YARD/pids\" \
                    > /dev/null 2>&1 < /dev/null &)\n\
                    until [ \"$(wc -l < \"$YARD/pids\")\" -ge 2 ]; do :; done 2> /dev/null\n";

/// With control groups, where there are any, and without.
fn both_ways(check: impl Fn(Yard)) {
    for groups in [true, false] {
        check(Yard::new().experiments(2).set("jobs", "control_groups", groups));
    }
}

fn gone(all: &[u32]) {
    wait_within(Duration::from_secs(5), "the end of all", || (!all.iter().any(|pid| lives(*pid))).then_some(()));
}

/// The processes that hide, once they have noted who they are.
fn hidden(yard: &Yard) -> Vec<u32> {
    wait_until("what hides", || pids(&yard.path("pids")).len() == 2);
    pids(&yard.path("pids"))
}

/// The children of a server, those that have ended and were not asked how included.
fn all_children(server: &Server) -> usize {
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let stats = processes.filter_map(|entry| fs::read_to_string(entry.path().join("stat")).ok());
    let parent = |stat: String| stat.rsplit_once(") ")?.1.split(' ').nth(1)?.parse::<u32>().ok();
    stats.filter_map(parent).filter(|parent| *parent == server.pid()).count()
}

/// The control group of a server's runs, where it has one.
fn runs_group(server: &Server) -> Option<PathBuf> {
    let guard = children_of(server.pid())[0];
    let line = fs::read_to_string(format!("/proc/{guard}/cmdline")).unwrap();
    line.split('\0').nth(3).filter(|word| !word.is_empty()).map(PathBuf::from)
}

/// Whether the guard would find a process: in the control group of all runs, or in its table, its standard output.
fn is_known(server: &Server, pid: u32) -> bool {
    let guard = children_of(server.pid())[0];
    let table = fs::read(format!("/proc/{guard}/fd/1")).unwrap_or_default();
    let in_table = table.chunks(16).any(|line| line[..8] == i64::from(pid).to_ne_bytes());
    let groups = runs_group(server).map(|folder| fs::read_dir(folder).unwrap()).into_iter().flatten().flatten();
    in_table || groups.into_iter().any(|group| pids(&group.path().join("cgroup.procs")).contains(&pid))
}

#[test]
fn what_hides_ends_with_its_run() {
    both_ways(|yard| {
        let yard = yard.train(&format!("{HIDE}echo accuracy=0.5"));
        let server = yard.start();
        server.model_with_image("m");
        server.trained("m", "default_1", "");
        gone(&hidden(&yard));
        wait_until("no child but the guard, dead or alive", || {
            // Those that end a little later are asked how when the next run ends.
            fs::remove_file(yard.path("pids")).unwrap_or_default();
            server.trained("m", "default_2", "");
            all_children(&server) == 1
        });
    });
}

#[test]
fn what_hides_ends_with_a_run_that_is_cancelled() {
    both_ways(|yard| {
        let yard = yard.train(&format!("{HIDE}: < \"$YARD/never\""));
        let _never = yard.gate("never");
        let server = yard.start();
        server.model_with_image("m");
        let run = server.train("m", "default_1", "");
        let hidden = hidden(&yard);
        assert_eq!(server.cancel(&run).status, 202);
        server.idle();
        gone(&hidden);
    });
}

#[test]
fn what_hides_ends_with_a_server_that_is_killed() {
    both_ways(|yard| {
        let yard = yard.train(&format!("{HIDE}: < \"$YARD/never\""));
        let _never = yard.gate("never");
        let server = yard.start();
        server.model_with_image("m");
        server.train("m", "default_1", "");
        let hidden = hidden(&yard);
        wait_until("the server to know of them", || hidden.iter().all(|pid| is_known(&server, *pid)));
        let group = runs_group(&server);
        server.kill9();
        gone(&hidden);
        wait_until("no control group of its", || group.as_ref().is_none_or(|group| !group.exists()));
    });
}

#[test]
fn the_end_of_one_run_does_not_touch_what_another_one_hides() {
    both_ways(|yard| {
        let script = format!("if [ $6 = 1 ]; then {HIDE} : < \"$YARD/gate\"; fi; echo accuracy=0.5");
        let yard = yard.train(&script);
        let mut gate = yard.gate("gate");
        let server = yard.start();
        server.model_with_image("m");
        let long = server.train("m", "default_1", "");
        let hidden = hidden(&yard);
        for _ in 0..3 {
            let short = server.train("m", "default_2", "");
            wait_until("the short run's end", || server.state(&short) == "succeeded");
        }
        assert!(server.state(&long) == "running" && hidden.iter().all(|pid| lives(*pid)));
        gate.open();
        server.idle();
        gone(&hidden);
    });
}

#[test]
fn control_groups_are_gone_with_the_server() {
    let yard = Yard::new().one_experiment().train("sleep 0.1; echo accuracy=0.5");
    let server = yard.start();
    server.model_with_image("m");
    let Some(group) = runs_group(&server) else {
        println!("skipped: control groups, because this user may make none here");
        return;
    };
    assert!(group.exists());
    server.trained("m", "default_1", "");
    server.stop();
    wait_until("no control group", || !group.exists());
}

#[test]
fn without_a_word_the_environment_is_the_servers_own_affair() {
    let yard = Yard::new()
        .one_experiment()
        .set("trainer", "env", vec!["HF_TOKEN", "GREETING"])
        .train("env; echo accuracy=0.5");
    let yard = yard
        .variable("TRAINYARD_SMTP_PASSWORD", "hunter2-hunter2")
        .variable("TRAINYARD_AUTH_SECRET", "hunter3-hunter3")
        .variable("TRAINYARD_JOBS_STOP_GRACE_SECONDS", "1")
        .variable("DATABASE_URL", "hunter4-hunter4")
        .variable("HF_TOKEN", "hf_hunter5")
        .variable("GREETING", "good morning");
    let server = yard.start();
    server.model_with_image("m");
    let run = server.trained("m", "default_1", "");
    let log = server.run_log(run["id"].as_str().unwrap());
    for kept in ["hunter2", "hunter3", "hunter4", "hunter5", "SMTP", "STOP_GRACE", "DATABASE"] {
        assert!(!log.contains(kept), "{kept}: {log}");
    }
    assert!(log.contains("HF_TOKEN=[redacted]\n") && log.contains("GREETING=good morning\n"), "{log}");
    drop(server);
    let message = yard.set("trainer", "env", vec!["TRAINYARD_SERVER_LISTEN"]).refusal(&[]);
    assert!(message.contains("TRAINYARD_SERVER_LISTEN") && message.contains("trainer.env"), "{message}");
}

#[test]
fn the_servers_own_environment_cannot_be_read_from_a_run() {
    let yard = Yard::new().one_experiment().variable("TRAINYARD_SMTP_PASSWORD", "hunter2-hunter2");
    let yard = yard.train("tr '\\0' '\\n' < /proc/$PPID/environ; echo accuracy=0.5");
    let server = yard.start();
    server.model_with_image("m");
    let run = server.trained("m", "default_1", "");
    if rustix::process::geteuid().is_root() {
        println!("skipped: reading the server's environment, because root may read any");
        return;
    }
    assert!(!server.run_log(run["id"].as_str().unwrap()).contains("hunter2"));
}

#[test]
fn secrets_are_masked_wherever_what_a_run_prints_is_shown() {
    let script = "echo \"key $HF_TOKEN\"; printf 'ty_0123456789'; sleep 0.05; echo abcdefghij\n\
                  echo \"no such repository for $HF_TOKEN\" >&2; exit 1";
    let yard = Yard::new().experiments(2).set("trainer", "env", vec!["HF_TOKEN"]).variable("HF_TOKEN", "hf_hunter5");
    let yard = yard.train(&format!("[ $6 = 2 ] && {{ echo accuracy=1; exit 0; }}; {script}")).test(script);
    let server = yard.start();
    server.model_with_image("m");
    let run = server.train("m", "default_1", "");
    server.idle();
    let shown = server.run(&run);
    assert_eq!(shown["reason"], "it ended with exit status 1: no such repository for [redacted]");
    let log = server.run_log(&run);
    assert_eq!(log, "key [redacted]\nty_[redacted]\nno such repository for [redacted]\n");
    server.trained("m", "default_2", "");
    let form = crate::harness::Form::new().field("model_name", "m");
    let message =
        server.post("/test", &form.file("file", "a.png", &crate::harness::images::png(7))).refused(502, "Status");
    assert!(
        message.contains("[redacted]") && !message.contains("hunter5") && !message.contains("0123456789"),
        "{message}"
    );
    assert!(!shown.to_string().contains("hunter5") && !server.log().contains("hunter5"));
}

#[test]
fn control_sequences_are_kept_in_the_log_and_written_out_where_it_is_shown() {
    let script =
        "printf '\\033]0;owned\\007\\033[2J10%%\\r100%%\\n'; printf 'bad \\033[31mthing\\033[0m\\n' >&2; exit 1";
    let yard = Yard::new().one_experiment().train(script);
    let server = yard.start();
    server.model_with_image("m");
    let run = server.train("m", "default_1", "");
    server.idle();
    assert!(server.run_log(&run).contains("\u{1b}]0;owned\u{7}"), "the log is what was printed");
    let shown = server.run(&run);
    assert_eq!(shown["reason"], "it ended with exit status 1: bad thing");
    let tail: Vec<&str> = shown["log_tail"].as_array().unwrap().iter().map(|line| line.as_str().unwrap()).collect();
    assert_eq!(tail, [r"\u{1b}]0;owned\u{7}\u{1b}[2J10%", "100%", r"bad \u{1b}[31mthing\u{1b}[0m"]);
}
