//! Data folders that cannot be opened: a clear refusal, the folder untouched, and never an empty store in a damaged
//! one's place.

use crate::harness::{Yard, images};
use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

/// A yard whose server has stored something and stopped.
fn used() -> Yard {
    let yard = Yard::new().one_experiment();
    let server = yard.start();
    server.create_model("m");
    for number in 0..30 {
        server.create_experiment("m", &format!("e{number}"));
        server.upload("m", "", &format!("{number}.png"), &images::png(number));
    }
    server.trained("m", "e7", "");
    server.stop();
    yard
}

fn content(yard: &Yard) -> BTreeMap<PathBuf, Vec<u8>> {
    let files = crate::harness::yard::tree(&yard.path("data"));
    let files = files.into_keys().filter(|path| path.is_file());
    files.map(|path| (path.clone(), fs::read(&path).unwrap())).collect()
}

#[test]
fn everything_is_there_after_a_restart() {
    let yard = used();
    let server = yard.start();
    let all = server.accuracies("m");
    assert_eq!(all.len(), 31);
    assert_eq!(server.best("m", ""), ("e7".into(), "0.5".into(), String::new()));
    let run = server.trained("m", "e7", "");
    assert_eq!(run["dataset_version"], 30);
    server.get("/createModel", &[("model_name", "m")]).refused(409, "status");
}

#[test]
fn a_format_that_is_not_known_is_refused_and_the_folder_untouched() {
    let yard = used();
    for format in ["2\n", "999", "", "nonsense", "\u{fffd}\u{0}", &"1".repeat(5000)] {
        fs::write(yard.data("format"), format).unwrap();
        let before = content(&yard);
        let message = yard.refusal(&[]);
        assert!(message.contains("format") && message.len() < 2000, "{message}");
        assert!(content(&yard) == before, "the folder was changed for format {format:?}");
    }
    fs::write(yard.data("format"), b"\xff\xfe").unwrap();
    let before = content(&yard);
    assert!(yard.refusal(&[]).contains("data"));
    assert!(content(&yard) == before, "the folder was changed");
    fs::write(yard.data("format"), "1\n").unwrap();
    assert_eq!(yard.start().accuracies("m").len(), 31);
}

/// Damages the store and starts: either it refuses and leaves the folder as it is, or it has everything.
#[track_caller]
fn refuses_or_has_everything(yard: &Yard, what: &str) {
    let before = content(yard);
    match crate::harness::Server::start(yard, &[]) {
        Err(ended) => {
            assert!(ended.stderr.contains("cannot be opened"), "{what}: {}", ended.stderr);
            assert!(!ended.stderr.contains("panicked"), "{what}: {}", ended.stderr);
            let after = content(yard);
            // How the last server left the store is read once, and forgotten.
            let note = yard.data("left");
            let kept = before.iter().filter(|(path, _)| **path != note);
            let changed: Vec<_> = kept.filter(|(path, bytes)| after.get(*path) != Some(bytes)).collect();
            let names: Vec<_> = changed.iter().map(|(path, _)| path).collect();
            assert!(names.is_empty(), "{what}: changed {names:?}");
        }
        Ok(server) => {
            let answer = server.get("/allAccuracies", &[("model_name", "m")]);
            assert_eq!(answer.status, 200, "{what}: an empty store took the place of the damaged one");
            assert_eq!(server.accuracies("m").len(), 31, "{what}");
            assert_eq!(server.best("m", "").0, "e7", "{what}");
        }
    }
}

#[test]
fn garbage_in_place_of_the_database_is_refused() {
    let yard = used();
    let length = usize::try_from(fs::metadata(yard.data("store/db")).unwrap().len()).unwrap();
    fs::write(yard.data("store/db"), vec![0xa5; length]).unwrap();
    refuses_or_has_everything(&yard, "garbage");
}

#[test]
fn zeros_in_place_of_the_database_are_refused() {
    let yard = used();
    let length = usize::try_from(fs::metadata(yard.data("store/db")).unwrap().len()).unwrap();
    fs::write(yard.data("store/db"), vec![0; length]).unwrap();
    refuses_or_has_everything(&yard, "zeros");
}

/// One byte of the database's log is another one: the last place where acknowledged things may be lost in silence.
fn flipped_at(part: f64) {
    let yard = used();
    let mut bytes = fs::read(yard.data("store/db")).unwrap();
    let used = bytes.iter().rposition(|byte| *byte != 0).unwrap();
    bytes[(used as f64 * part) as usize] ^= 0xff;
    fs::write(yard.data("store/db"), bytes).unwrap();
    refuses_or_has_everything(&yard, "one byte");
}

#[test]
fn a_flipped_byte_in_the_first_header_is_refused() {
    flipped_at(0.0);
}

#[test]
fn a_flipped_byte_early_in_the_log_is_refused() {
    flipped_at(0.05);
}

#[test]
fn a_flipped_byte_in_the_middle_of_the_log_is_refused() {
    flipped_at(0.5);
}

#[test]
fn an_empty_database_file_is_refused() {
    let yard = used();
    fs::write(yard.data("store/db"), b"").unwrap();
    refuses_or_has_everything(&yard, "an empty file");
}

#[test]
fn a_database_that_is_gone_is_refused() {
    let yard = used();
    fs::remove_dir_all(yard.data("store")).unwrap();
    refuses_or_has_everything(&yard, "no store");
}

#[test]
fn damaged_settings_of_the_database_are_refused() {
    let yard = used();
    fs::write(yard.data("store/conf"), b"not what sled wrote").unwrap();
    refuses_or_has_everything(&yard, "conf");
}

#[test]
fn a_snapshot_that_was_never_finished_is_mended() {
    let yard = used();
    fs::write(yard.data("store/snap.0000000000000000.generating"), b"half").unwrap();
    let server = yard.start();
    assert_eq!(server.accuracies("m").len(), 31);
    assert!(!yard.data("store/snap.0000000000000000.generating").exists());
}

#[test]
fn a_folder_that_is_a_file_is_refused() {
    let yard = Yard::new();
    yard.write("data", "precious");
    let message = yard.refusal(&[]);
    assert!(message.contains("data folder"), "{message}");
    assert_eq!(fs::read_to_string(yard.path("data")).unwrap(), "precious");
}

#[test]
fn what_an_earlier_server_left_unfinished_is_swept() {
    let yard = used();
    fs::create_dir_all(yard.data("tmp")).unwrap();
    fs::write(yard.data("tmp/upload-7"), b"half").unwrap();
    fs::create_dir_all(yard.data("views/dst_0000000000009-v1.draft/cat")).unwrap();
    let server = yard.start();
    assert!(yard.unfinished().is_empty());
    assert!(!yard.data("views/dst_0000000000009-v1.draft").exists());
    assert_eq!(server.trained("m", "e1", "")["state"], "succeeded");
}
