//! Settings that cannot be used: said at start-up, with a name and what to do, and an exit status that is not 0. And
//! which of several settings wins.

use crate::harness::{Server, Yard, process};
use std::net::TcpListener;
use std::time::Duration;

#[test]
fn a_command_that_does_not_exist_is_named_at_start_up() {
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    for setting in ["train", "test"] {
        for (command, named) in [
            (&["no-such-program"][..], "no-such-program"),
            (&["/no/such/program", "x"], "/no/such/program"),
            (&["/bin/sh", "no-such-script.sh"], "no-such-script.sh"),
            (&["python3", "gone.py"], "gone.py"),
            (&["/etc/passwd"], "/etc/passwd"),
            (&["/tmp"], "/tmp"),
        ] {
            let message = Yard::new().set("trainer", setting, words(command)).refusal(&[]);
            assert!(message.contains(named) && message.contains(&format!("trainer.{setting}")), "{message}");
        }
        let message = Yard::new().set("trainer", setting, Vec::<String>::new()).refusal(&[]);
        assert!(message.contains(&format!("trainer.{setting}")), "{message}");
    }
}

#[test]
fn an_unknown_key_is_named() {
    for (section, key) in [("server", "listn"), ("jobs", "workers"), ("sever", "listen"), ("trainer", "command")] {
        let message = Yard::new().set(section, key, "x").refusal(&[]);
        let named = if section == "sever" { section } else { key };
        assert!(message.contains(named) && message.contains("config.toml"), "{message}");
    }
}

#[test]
fn values_out_of_bounds_are_named() {
    let yard = || Yard::new();
    let cases = [
        (yard().set("jobs", "concurrency", 0), "concurrency"),
        (yard().set("jobs", "concurrency", "two"), "concurrency"),
        (yard().set("jobs", "timeout_seconds", -1), "timeout_seconds"),
        (yard().set("server", "max_upload_bytes", 0), "max_upload_bytes"),
        (yard().set("server", "max_upload_bytes", 1.5), "max_upload_bytes"),
        (yard().set("sweep", "steps", Vec::<i64>::new()), "step"),
        (yard().set("sweep", "layers", vec![0]), "layers"),
        (yard().set("sweep", "learning_rates", vec![-0.1]), "learning_rate"),
        (yard().set("fetch", "allow_private_addresses", "yes"), "allow_private_addresses"),
        (yard().variable("TRAINYARD_JOBS_CONCURRENCY", "many"), "TRAINYARD_JOBS_CONCURRENCY"),
    ];
    for (yard, named) in cases {
        let message = yard.refusal(&[]);
        assert!(message.contains(named), "{named}: {message}");
        assert!(!yard.path("data").exists(), "{named}: nothing is made for settings that are refused");
    }
}

#[test]
fn listening_for_other_machines_takes_an_account() {
    let yard = Yard::new();
    for address in ["0.0.0.0:0", "[::]:0"] {
        let message = yard.refusal(&["--listen", address]);
        assert!(message.contains("trainyard user add") && message.contains(address), "{message}");
    }
    yard.add_user("ann", "admin");
    let mut server = Server::start(&yard, &["--listen", "0.0.0.0:0"]).unwrap();
    server.address.set_ip([127, 0, 0, 1].into());
    assert_eq!(server.get("/healthz", &[]).status, 200);
}

#[test]
fn an_address_that_is_none_or_taken_is_named() {
    let yard = Yard::new();
    assert!(yard.refusal(&["--listen", "nonsense"]).contains("nonsense"));
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    assert!(yard.refusal(&["--listen", &address]).contains(&address));
}

#[test]
fn a_settings_file_that_cannot_be_read_is_named() {
    let yard = Yard::new();
    for (name, content) in [("gone.toml", None), ("broken.toml", Some("[server\nlisten = "))] {
        if let Some(content) = content {
            yard.write(name, content);
        }
        let mut command = process::trainyard();
        let output = command.args(["serve", "--config"]).arg(yard.path(name)).output().unwrap();
        let ended = process::Ended::from(output);
        assert_eq!(ended.status.code(), Some(1), "{ended:?}");
        assert!(ended.stderr.contains(name), "{ended:?}");
    }
}

#[test]
fn flags_win_over_variables_and_those_over_the_file() {
    let concurrency = |yard: &Yard| yard.start().get("/api/v1/queue", &[]).ok()["concurrency"].clone();
    let yard = Yard::new().set("jobs", "concurrency", 3).set("server", "listen", "127.0.0.1:1");
    assert_eq!(concurrency(&yard), 3);
    let yard = yard.variable("TRAINYARD_JOBS_CONCURRENCY", "4").variable("TRAINYARD_LISTEN", "127.0.0.1:2");
    assert_eq!(concurrency(&yard), 4);
}

#[test]
fn the_program_says_what_it_can_do() {
    let output = process::trainyard().arg("--help").output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success());
    for word in ["serve", "demo", "train", "test"] {
        assert!(text.contains(word), "{text}");
    }
    assert!(!text.contains("guard"), "{text}");
    assert!(process::trainyard().arg("--version").output().unwrap().status.success());
    assert!(!process::trainyard().arg("fly").output().unwrap().status.success());
}

#[test]
fn a_server_that_nobody_asks_stops_at_once() {
    let yard = Yard::new();
    let server = yard.start();
    server.stop_within(Duration::from_secs(5));
}
