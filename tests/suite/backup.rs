//! Backups: taken from a stopped server or a running one, whatever is going on; restored, they answer alike; what is no
//! whole backup makes no folder that a server would open.

use crate::harness::client;
use crate::harness::command::{Said, command, command_with};
use crate::harness::process::trainyard;
use crate::harness::server::Server;
use crate::harness::state::furnished;
use crate::harness::{Form, Yard, images, wait_until};
use serde_json::Value;
use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn backup(yard: &Yard, file: &Path) -> Said {
    command(&["backup", text(file), "--data-dir", text(&yard.path("data"))])
}

fn restore(file: &Path, folder: &Path) -> Said {
    command(&["restore", text(file), "--data-dir", text(folder)])
}

/// A yard like this one, with the data that was restored.
fn restored(file: &Path, yard: Yard) -> Yard {
    restore(file, &yard.path("data")).ok();
    let said = command(&["verify", "--data-dir", text(&yard.path("data"))]);
    assert!(said.text().contains("all is well"), "{}", said.text());
    yard
}

fn like() -> Yard {
    Yard::new()
        .experiments(4)
        .train("echo $TRAINYARD_RUN_ID > weights; echo '{\"step\": 1, \"loss\": 0.5}'; echo accuracy=0.$6")
}

/// Everything that a server shows of a model.
fn shown(server: &Server, model: &str) -> Vec<String> {
    let mut calls = vec![
        ("/allAccuracies".to_owned(), vec![("model_name", model)]),
        ("/bestAccuracy".to_owned(), vec![("model_name", model)]),
        ("/bestAccuracy".to_owned(), vec![("model_name", model), ("experiment_name", "default_2")]),
        ("/api/v1/runs".to_owned(), vec![("model", model), ("limit", "200")]),
    ];
    let runs = server.get("/api/v1/runs", &[("model", model), ("limit", "200")]).ok();
    for run in runs["data"].as_array().unwrap() {
        for part in ["", "/log", "/metrics"] {
            calls.push((format!("/api/v1/runs/{}{part}", run["id"].as_str().unwrap()), vec![]));
        }
    }
    let told = |path: &str, query: &[(&str, &str)]| {
        let answer = server.get(path, query);
        // Only the id of the request is another one each time.
        let id = answer.header("x-request-id").unwrap_or_default().to_owned();
        format!("{path}: {}", answer.text().replace(&id, ""))
    };
    calls.iter().map(|(path, query)| told(path, query)).collect()
}

#[test]
fn a_restored_folder_answers_as_the_one_it_was_taken_of() {
    let yard = like().test("cat weights; echo accuracy=0.9");
    let server = furnished(&yard);
    server.create_dataset("m", "copy");
    server.upload("m", "copy", "sub/b.png", &images::png(2));
    server.sweep("m");
    server.idle();
    let before = shown(&server, "m");
    server.stop();
    let file = yard.path("yard.backup");
    let said = backup(&yard, &file).ok();
    assert!(said.stderr.contains("records") && said.stdout.is_empty(), "{}", said.stderr);
    assert!(!yard.path("yard.backup.part").exists());
    command(&["restore", "--check", text(&file)]).ok();

    let copy = restored(&file, like().test("cat weights; echo accuracy=0.9"));
    let server = copy.start();
    assert_eq!(shown(&server, "m"), before);
    // The best run's folder came along, so it can be asked.
    let form = Form::new().field("model_name", "m").file("file", "x.png", &images::png(9));
    let answer = server.post("/test", &form).ok();
    assert_eq!(answer["body"]["accuracy"], "0.9", "{answer}");
    // And it goes on from there.
    server.upload("m", "copy", "c.png", &images::png(3));
    server.trained("m", "default_1", "copy");
    // The original as well, with children of its own: a copy is another folder.
    assert_ne!(fs::read(yard.data("id")).unwrap(), fs::read(copy.data("id")).unwrap());
}

/// Ends the load, on a failure as well.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn a_backup_from_a_busy_server_is_of_one_moment() {
    let yard = like().set("jobs", "concurrency", 2);
    let server = furnished(&yard);
    let (stop, uploaded, wanted) = (AtomicBool::new(false), AtomicU32::new(100), AtomicU32::new(100));
    let file = yard.path("yard.backup");
    thread::scope(|scope| {
        let _stop = Stop(&stop);
        for _ in 0..3 {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    if uploaded.load(Ordering::Relaxed) >= wanted.load(Ordering::Relaxed) {
                        thread::park_timeout(Duration::from_millis(1));
                        continue;
                    }
                    let number = uploaded.fetch_add(1, Ordering::Relaxed);
                    server.upload("m", "d", &format!("{number}.png"), &images::png(number));
                    server.create_experiment("m", &format!("own-{number}"));
                    if number % 50 == 0 {
                        server.train("m", "e", "d");
                    }
                }
            });
        }
        for round in 0..2 {
            let from = wanted.fetch_add(150, Ordering::Relaxed);
            wait_until("some writes", || uploaded.load(Ordering::Relaxed) > from + 20);
            let known = server.accuracies("m").len();
            backup(&yard, &file).ok();
            let copy = restored(&file, like());
            let server = copy.start();
            assert!(server.accuracies("m").len() >= known, "round {round}: what was shown before is in it");
            // Every image of every dataset can be read, and runs that waited go on.
            server.idle();
            let run = server.trained("m", "e", "d");
            let images = run["dataset_version"].as_u64().unwrap();
            assert!(images > 20, "{run}");
            command(&["verify", "--data-dir", text(&copy.path("data"))]).ok();
        }
    });
    server.idle();
    server.stop();
    command(&["verify", "--data-dir", text(&yard.path("data"))]).ok();
}

#[test]
fn a_backup_goes_through_pipes() {
    let yard = like();
    let server = furnished(&yard);
    let before = server.get("/allAccuracies", &[("model_name", "m")]).text();
    let streamed = server.get("/api/v1/backup", &[]);
    assert_eq!(streamed.status, 200);
    assert_eq!(streamed.header("content-type"), Some("application/octet-stream"));
    server.stop();
    let printed = command(&["backup", "-", "--data-dir", text(&yard.path("data"))]).ok();
    for bytes in [streamed.body, printed.stdout] {
        let copy = like();
        command_with(&["restore", "-", "--data-dir", text(&copy.path("data"))], &bytes).ok();
        assert_eq!(copy.start().get("/allAccuracies", &[("model_name", "m")]).text(), before);
    }
}

#[test]
fn what_is_no_whole_backup_makes_no_folder() {
    let yard = like();
    furnished(&yard).stop();
    let file = yard.path("yard.backup");
    backup(&yard, &file).ok();
    let whole = fs::read(&file).unwrap();
    let folder = yard.path("restored");
    let mut changed = whole.clone();
    changed[whole.len() / 2] ^= 1;
    let mut newer = whole.clone();
    newer[16] = 2;
    let cases: [(&str, &[u8], &str); 5] = [
        ("cut", &whole[..whole.len() - 1], "cut short"),
        ("half", &whole[..whole.len() / 2], "cut short"),
        ("changed", &changed, "damaged"),
        ("newer", &newer, "version 2"),
        ("other", b"GIF89a", "no backup"),
    ];
    for (what, bytes, message) in cases {
        fs::write(&file, bytes).unwrap();
        let said = restore(&file, &folder);
        assert_eq!(said.status, Some(1), "{what}: {}", said.stderr);
        assert!(said.stderr.contains(message), "{what}: {}", said.stderr);
        assert!(!folder.exists(), "{what}: a file is checked before anything is made");
        assert_eq!(command(&["restore", "--check", text(&file)]).status, Some(1), "{what}");
        // Through a pipe it is known only afterwards.
        let said = command_with(&["restore", "-", "--data-dir", text(&folder)], bytes);
        assert_eq!(said.status, Some(1), "{what}");
        if folder.exists() {
            refused(&folder);
            fs::remove_dir_all(&folder).unwrap();
        }
    }
    let said = restore(&yard.path("nowhere"), &folder);
    assert!(said.status == Some(1) && said.stderr.contains("nowhere"), "{}", said.stderr);
}

/// Nothing opens this folder.
#[track_caller]
fn refused(folder: &Path) {
    let flags = ["--data-dir", text(folder)];
    for command_line in [&["verify"][..], &["serve", "--listen", "127.0.0.1:0"], &["backup", "/dev/null"]] {
        let said = command(&[command_line, &flags[..]].concat());
        assert_ne!(said.status, Some(0));
        assert!(said.stderr.contains("was cut short"), "{command_line:?}: {}", said.stderr);
    }
}

#[test]
fn a_restore_that_was_killed_leaves_nothing_that_a_server_opens() {
    let yard = like();
    let server = furnished(&yard);
    for number in 10..40 {
        server.upload("m", "d", &format!("{number}.png"), &images::png(number));
    }
    server.idle();
    let before = shown(&server, "m");
    server.stop();
    let file = yard.path("yard.backup");
    backup(&yard, &file).ok();
    let whole = fs::read(&file).unwrap();
    let copy = like();
    let folder = copy.path("data");
    for part in [40, whole.len() / 3, whole.len() - 40] {
        let mut child = trainyard()
            .args(["restore", "-", "--data-dir", text(&folder)])
            .stdin(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        child.stdin.as_mut().unwrap().write_all(&whole[..part]).unwrap();
        wait_until("the beginning of the restore", || folder.join("restoring").exists());
        child.kill().unwrap();
        child.wait().unwrap();
        refused(&folder);
    }
    restore(&file, &folder).ok();
    let server = copy.start();
    assert_eq!(shown(&server, "m"), before);
    server.stop();
    let said = restore(&file, &folder);
    assert!(said.status == Some(1) && said.stderr.contains("not empty"), "{}", said.stderr);
    assert_eq!(shown(&copy.start(), "m"), before);
}

#[test]
fn a_backup_that_fails_leaves_the_earlier_one() {
    let yard = like();
    furnished(&yard).stop();
    let file = yard.path("yard.backup");
    fs::write(&file, "an earlier one").unwrap();
    let said = command(&["backup", text(&file), "--data-dir", text(&yard.path("nowhere"))]);
    assert_eq!(said.status, Some(1));
    assert!(said.stderr.contains("no data folder"), "{}", said.stderr);
    assert_eq!(fs::read_to_string(&file).unwrap(), "an earlier one");
    assert!(!yard.path("yard.backup.part").exists());
    backup(&yard, &file).ok();
    command(&["restore", "--check", text(&file)]).ok();
    // An image that is gone is said to be missing, and the rest is there.
    fs::remove_file(yard.blobs().into_keys().next().unwrap()).unwrap();
    let said = backup(&yard, &file);
    assert_eq!(said.status, Some(1));
    assert!(said.stderr.contains("is not in the backup"), "{}", said.stderr);
    let said = restore(&file, &yard.path("restored"));
    assert!(said.status == Some(1) && said.stderr.contains("came with the backup"), "{}", said.stderr);
    command(&["serve", "--help"]).ok();
}

/// A backup that the first release made, of a yard whose experiments have the accuracies 0.1 to 0.4.
const GOLDEN: &str = "tests/data/backup1/yard.backup";

/// Set to make it anew, which is right only before a format's first release.
const WRITE: &str = "TRAINYARD_WRITE_GOLDEN";

#[test]
fn a_backup_of_version_1_is_restored() {
    if std::env::var_os(WRITE).is_some() {
        let yard = like();
        let server = yard.start();
        server.create_model("m");
        server.create_dataset("m", "d");
        server.upload("m", "d", "cat.1.png", &images::png(1));
        server.upload("m", "", "dog.2.png", &images::png(2));
        server.sweep("m");
        server.idle();
        server.stop();
        fs::create_dir_all("tests/data/backup1").unwrap();
        backup(&yard, Path::new(GOLDEN)).ok();
    }
    let copy = restored(Path::new(GOLDEN), like());
    let server = copy.start();
    assert_eq!(server.best("m", ""), ("default_4".into(), "0.4".into(), String::new()));
    let accuracies: Vec<String> =
        server.accuracies("m").into_iter().map(|(_, mut results)| results.remove(0).0).collect();
    assert_eq!(accuracies, ["0.1", "0.2", "0.3", "0.4"]);
    assert_eq!(copy.blobs().len(), 2);
    let runs: Value = client::request(server.address, "GET", "/api/v1/runs?model=m", "", &[]).ok();
    for run in runs["data"].as_array().unwrap() {
        let id = run["id"].as_str().unwrap();
        assert_eq!(fs::read_to_string(copy.data("runs").join(id).join("weights")).unwrap().trim(), id);
        assert!(server.run_log(id).contains("accuracy=0."));
    }
    assert_eq!(server.trained("m", "default_1", "d")["dataset_version"], 1);
}
