//! `verify`: a folder that was used is clean, stopped or running; what is damaged is found and named; what is repaired
//! loses nothing.

use crate::harness::client::{self, form_type};
use crate::harness::command::{Said, command};
use crate::harness::state::furnished;
use crate::harness::{Form, Server, Yard, images, wait_until};
use serde_json::Value;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

fn verify(yard: &Yard, flags: &[&str]) -> Said {
    let data = yard.path("data");
    command(&[&["verify", "--data-dir", data.to_str().unwrap()], flags].concat())
}

/// What a running server says; the last line is the summary.
fn asked(server: &Server, repair: &str) -> Vec<Value> {
    let call = format!("/api/v1/maintenance/verify{repair}");
    let answer = client::request(server.address, "POST", &call, "", &[]);
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn problems(words: &[Value]) -> u64 {
    let last = words.last().unwrap();
    assert_eq!(last["type"], "done", "{last}");
    last["problems"].as_u64().unwrap()
}

fn make_old(path: &Path) {
    let old = SystemTime::now() - Duration::from_secs(3 * 24 * 60 * 60);
    File::open(path).unwrap().set_modified(old).unwrap();
}

/// The one image that is stored.
fn image(yard: &Yard) -> PathBuf {
    yard.blobs().into_keys().next().unwrap()
}

fn writable(path: &Path) {
    #[expect(clippy::permissions_set_readonly_false, reason = "a file of this test's own folder")]
    {
        let mut permissions = fs::metadata(path).unwrap().permissions();
        permissions.set_readonly(false);
        fs::set_permissions(path, permissions).unwrap();
    }
}

#[test]
fn a_used_folder_is_clean_while_it_is_served_and_afterwards() {
    let yard = Yard::new().experiments(5).train("echo kept > weights; echo accuracy=0.$6");
    let server = furnished(&yard);
    server.create_dataset("m", "other");
    server.upload("m", "other", "b.png", &images::png(2));
    server.sweep("m");
    // Whatever is running meanwhile.
    let words = asked(&server, "");
    assert_eq!(problems(&words), 0, "{words:?}");
    let said = verify(&yard, &[]).ok();
    assert!(said.text().contains("all is well"), "{}", said.text());
    server.idle();
    assert_eq!(problems(&asked(&server, "?repair=true")), 0);
    server.stop();
    let said = verify(&yard, &["--json"]).ok();
    let last: Value = serde_json::from_str(said.text().lines().last().unwrap()).unwrap();
    assert_eq!((&last["type"], &last["images"], &last["notes"]), (&"done".into(), &2.into(), &0.into()), "{last}");
    assert!(last["records"].as_u64().unwrap() > 50 && last["runs"].as_u64().unwrap() >= 6, "{last}");
    verify(&yard, &["--repair"]).ok();
    let server = yard.start();
    assert_eq!(server.accuracies("m").len(), 6);
}

#[test]
fn a_changed_image_is_found_moved_aside_and_can_be_uploaded_again() {
    let yard = Yard::new().one_experiment();
    let server = furnished(&yard);
    let path = image(&yard);
    let (bytes, name) = (fs::read(&path).unwrap(), path.file_name().unwrap().to_string_lossy().into_owned());
    writable(&path);
    let mut changed = bytes.clone();
    changed[30] ^= 1;
    fs::write(&path, &changed).unwrap();
    let words = asked(&server, "");
    assert_eq!(problems(&words), 1, "{words:?}");
    let finding = words.iter().find(|word| word["type"] == "finding").unwrap();
    assert!(finding["what"].as_str().unwrap().contains(&name) && finding["can_be_repaired"] == true, "{finding}");
    server.stop();
    let said = verify(&yard, &[]);
    assert_eq!(said.status, Some(1));
    assert!(said.text().contains("other bytes") && said.text().contains("1 problems"), "{}", said.text());
    assert_eq!(fs::read(&path).unwrap(), changed, "looking changes nothing");
    fs::write(&path, &bytes[..bytes.len() - 3]).unwrap();
    assert!(verify(&yard, &[]).text().contains("bytes, and its record says"));

    let said = verify(&yard, &["--repair"]);
    assert!(said.text().contains("upload the image again"), "{}", said.text());
    assert!(!path.exists() && path.with_extension("damaged").exists());
    assert!(verify(&yard, &[]).text().contains("is gone"));
    let server = yard.start();
    server.upload("m", "d", "a.png", &bytes);
    assert_eq!(fs::read(&path).unwrap(), bytes);
    let words = asked(&server, "");
    assert_eq!(problems(&words), 0, "{words:?}");
    server.trained("m", "e", "d");
}

#[test]
fn an_image_that_nothing_refers_to_goes_once_it_is_old() {
    let yard = Yard::new().one_experiment();
    let server = furnished(&yard);
    let kept = image(&yard);
    let stray = |yard: &Yard, byte: u8| {
        let hash = blake3_of(&[byte; 9]);
        let path = yard.data("blobs").join(&hash[..2]).join(&hash);
        fs::write(&path, [byte; 9]).unwrap();
        path
    };
    let (young, old) = (stray(&yard, 1), stray(&yard, 2));
    make_old(&old);
    make_old(&kept);
    let tmp = yard.data("tmp/upload-0");
    fs::write(&tmp, "half").unwrap();
    make_old(&tmp);
    let words = asked(&server, "");
    assert_eq!((problems(&words), &words.last().unwrap()["notes"]), (0, &2.into()), "{words:?}");
    assert!(old.exists() && tmp.exists(), "looking removes nothing");
    let words = asked(&server, "?repair=true");
    assert_eq!(words.last().unwrap()["repaired"], 2, "{words:?}");
    assert!(!old.exists() && !tmp.exists() && young.exists() && kept.exists());
    server.stop();
    make_old(&young);
    verify(&yard, &["--repair"]).ok();
    assert!(!young.exists() && kept.exists());
}

fn blake3_of(bytes: &[u8]) -> String {
    blake3::hash(bytes).to_hex().to_string()
}

#[test]
fn what_is_missing_or_foreign_is_named_and_left_alone() {
    let yard = Yard::new().one_experiment().train("echo x > weights; echo accuracy=0.5");
    let server = furnished(&yard);
    let best = server.get("/api/v1/runs", &[("model", "m")]).ok()["data"][0]["id"].as_str().unwrap().to_owned();
    server.stop();
    fs::write(yard.data("notes.txt"), "mine").unwrap();
    fs::create_dir(yard.data("runs/run_0000000000zzz")).unwrap();
    let said = verify(&yard, &["--repair"]).ok();
    let text = said.text();
    assert!(text.contains("notes.txt") && text.contains("run_0000000000zzz belongs to no run"), "{text}");
    assert!(yard.data("notes.txt").exists() && yard.data("runs/run_0000000000zzz").exists());
    fs::remove_dir_all(yard.data("runs").join(&best)).unwrap();
    let said = verify(&yard, &["--repair"]);
    assert_eq!(said.status, Some(1));
    assert!(said.text().contains(&format!("the folder of {best}")), "{}", said.text());
    fs::remove_file(image(&yard)).unwrap();
    let said = verify(&yard, &[]);
    assert!(said.text().contains("2 problems"), "{}", said.text());
}

#[test]
fn where_nothing_can_be_said_the_status_is_2() {
    let yard = Yard::new().one_experiment();
    let said = verify(&yard, &[]);
    assert_eq!(said.status, Some(2));
    assert!(said.stderr.contains("no data folder"), "{}", said.stderr);
    assert!(!yard.path("data").exists(), "looking makes nothing");
    let server = yard.start();
    if !yard.data("control.sock").exists() {
        let said = verify(&yard, &[]);
        assert_eq!(said.status, Some(2));
        assert!(said.stderr.contains("in use"), "{}", said.stderr);
    }
    server.stop();
    fs::write(yard.data("format"), "7\n").unwrap();
    let said = verify(&yard, &[]);
    assert_eq!(said.status, Some(2));
    assert!(said.stderr.contains("format 7"), "{}", said.stderr);
}

#[test]
fn one_at_a_time_cares_for_the_data() {
    let yard = Yard::new().one_experiment();
    let server = furnished(&yard);
    for number in 0..6 {
        let form = Form::new().field("model_name", "m");
        let large = images::large_png((6 << 20) + 1024 * number);
        client::request(
            server.address,
            "POST",
            "/uploadTrainingImage",
            &form_type(),
            &form.file("file", &format!("{number}.png"), &large).body(),
        )
        .ok();
    }
    // Somebody takes a backup, and does not read it.
    let mut slow = TcpStream::connect(server.address).unwrap();
    slow.write_all(b"GET /api/v1/backup HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    let mut begun = [0; 12];
    slow.read_exact(&mut begun).unwrap();
    assert_eq!(&begun, b"HTTP/1.1 200");
    let call = |path: &str| client::request(server.address, "POST", path, "", &[]);
    let message = call("/api/v1/maintenance/verify").problem(409);
    assert!(message.contains("one at a time"), "{message}");
    server.get("/api/v1/backup", &[]).problem(409);
    // Others go on meanwhile.
    server.create_experiment("m", "meanwhile");
    server.trained("m", "meanwhile", "d");
    drop(slow);
    wait_until("the end of a backup that nobody reads", || call("/api/v1/maintenance/verify").status == 200);
    call("/api/v1/maintenance/verify?repair=perhaps").problem(400);
}
