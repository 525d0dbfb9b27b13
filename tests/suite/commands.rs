//! The commands that ask a server: the whole story from a folder of images to an answer.

use crate::harness::command::{Said, command};
use crate::harness::{Server, Yard, archive, images};
use serde_json::Value;
use std::fs;

fn ask(server: &Server, arguments: &[&str]) -> Said {
    let url = format!("http://{}", server.address);
    command(&[arguments, &["--server", &url]].concat())
}

fn json(said: &Said) -> Vec<Value> {
    said.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// A folder of two classes, an image without one, and something else.
fn pictures(yard: &Yard) -> String {
    let folder = yard.path("pictures");
    for (number, path) in (1..).zip(["cat/1.png", "cat/2.png", "dog/1.png", "dog_7.png"]) {
        let path = folder.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, images::png(number)).unwrap();
    }
    fs::write(folder.join("cat/notes.txt"), "mine").unwrap();
    folder.to_str().unwrap().to_owned()
}

#[test]
fn a_folder_becomes_an_answer_by_commands_alone() {
    let yard = Yard::new()
        .experiments(3)
        .train("echo said; echo accuracy=0.$4$4")
        .test("echo '{\"label\": \"cat\", \"accuracy\": 0.9}'");
    let server = yard.start();
    let folder = pictures(&yard);
    let upload = ["upload", &folder, "--model", "pets", "--dataset", "june", "--json"];
    let first = json(&ask(&server, &upload).ok());
    assert_eq!(
        (&first[0]["uploaded"], &first[0]["stored_already"], &first[0]["left_out"]),
        (&4.into(), &0.into(), &1.into())
    );
    // Again, with one more: what is stored is not sent.
    fs::write(yard.path("pictures/cat/3.png"), images::png(9)).unwrap();
    let again = json(&ask(&server, &upload).ok());
    assert_eq!((&again[0]["uploaded"], &again[0]["stored_already"]), (&1.into(), &4.into()));
    // Another image under a known name gets a mark, and is known by it.
    fs::write(yard.path("pictures/cat/3.png"), images::png(10)).unwrap();
    for expected in [1, 0] {
        assert_eq!(json(&ask(&server, &upload).ok())[0]["uploaded"], expected);
    }
    let said = ask(&server, &["sweep", "--model", "pets", "--dataset", "june", "--watch"]).ok().text();
    assert!(said.starts_with("submitted swp_") && said.contains("  3/3 run_"), "{said}");
    let custom = [
        "sweep",
        "--model",
        "pets",
        "--learning-rates",
        "0.5,0.25",
        "--layers",
        "2",
        "--steps",
        "7",
        "--watch",
        "--json",
    ];
    let custom = json(&ask(&server, &custom).ok());
    assert_eq!(custom.len(), 3, "{custom:?}");
    assert_eq!(
        (&custom[1]["layers"], &custom[1]["steps"], &custom[1]["state"]),
        (&2.into(), &7.into(), &"succeeded".into())
    );
    let best = json(&ask(&server, &["best", "--model", "pets", "--json"]).ok());
    assert!(best[0]["accuracy"].is_string() && best[0]["experiment"].is_string(), "{best:?}");
    let run = custom[1]["id"].as_str().unwrap();
    assert!(ask(&server, &["logs", run, "--follow"]).ok().text().starts_with("said\naccuracy=0."));
    let question = yard.path("pictures/cat/1.png");
    let said = ask(&server, &["predict", question.to_str().unwrap(), "--model", "pets"]).ok().text();
    assert!(said.contains("1.png  cat  0.9  ("), "{said}");
    server.stop();
}

#[test]
fn what_goes_wrong_is_said() {
    let yard = Yard::new().one_experiment().train("echo no; exit 3");
    let server = yard.start();
    let folder = pictures(&yard);
    fs::write(yard.path("pictures/cat/broken.png"), "no image").unwrap();
    let said = ask(&server, &["upload", &folder, "--model", "pets"]);
    assert_eq!(said.status, Some(1));
    assert!(said.text().contains("5 images: 4 uploaded, 0 stored already, 1 failed"), "{}", said.text());
    assert!(
        said.stderr.contains("broken.png: ") && said.stderr.contains("1 of 5 images were not taken"),
        "{}",
        said.stderr
    );
    let said = ask(&server, &["sweep", "--model", "pets", "--watch"]);
    assert_eq!(said.status, Some(1));
    assert!(said.stderr.contains("no run succeeded"), "{}", said.stderr);
    for (arguments, expected) in [
        (&["best", "--model", "none"][..], "no model or experiment or dataset exists"),
        (&["best", "--model", "pets"], "no experiment done yet"),
        (&["upload", "/nowhere", "--model", "pets"], "/nowhere cannot be read"),
        (&["watch", "--sweep", "what"], "what"),
        (&["predict", "/nowhere.png", "--model", "pets"], "/nowhere.png cannot be read"),
    ] {
        let said = ask(&server, arguments);
        assert_eq!(said.status, Some(1), "{arguments:?}");
        assert!(said.stderr.contains(expected), "{arguments:?}: {}", said.stderr);
    }
    let said = ask(&server, &["sweep", "--model", "pets", "--layers", "2"]);
    assert!(said.stderr.contains("--learning-rates"), "{}", said.stderr);
    server.stop();
    let said = command(&["best", "--model", "pets", "--server", "http://127.0.0.1:9"]);
    assert!(said.stderr.contains("did not answer") && said.stderr.contains("refused"), "{}", said.stderr);
    let said = command(&["best", "--model", "pets", "--server", "nonsense"]);
    assert!(said.stderr.contains("\"nonsense\" is no address"), "{}", said.stderr);
    assert!(command(&["completions", "bash"]).ok().text().contains("_trainyard"));
}

#[test]
fn a_zip_file_goes_in_and_comes_out_by_commands() {
    let yard = Yard::new();
    let server = yard.start();
    let (one, two) = (images::png(1), images::large_png(300_000));
    let zip = yard.path("pictures.zip");
    fs::write(&zip, archive(&[("cat/1.png", &one), ("dog/2.png", &two)])).unwrap();
    let upload = ["upload", zip.to_str().unwrap(), "--model", "pets", "--dataset", "june"];
    let said = ask(&server, &upload).ok().text();
    assert_eq!(said.trim(), "2 entries: 2 added, 0 stored already, 0 not taken");
    let again = json(&ask(&server, &[&upload[..], &["--json"]].concat()).ok());
    assert_eq!((&again[0]["type"], &again[0]["stored_already"]), (&"done".into(), &2.into()));

    let out = yard.path("out.zip");
    let export = ["export", out.to_str().unwrap(), "--model", "pets", "--dataset", "june"];
    ask(&server, &export).ok();
    assert_eq!(fs::read(&out).unwrap(), server.get("/api/v1/models/pets/datasets/june/export.zip", &[]).body);
    ask(&server, &[&export[..], &["--version", "1"]].concat()).ok();
    let other = ["upload", out.to_str().unwrap(), "--model", "other"];
    assert_eq!(ask(&server, &other).ok().text().trim(), "1 entries: 1 added, 0 stored already, 0 not taken");

    fs::write(&zip, archive(&[("cat/1.png", b"no image")])).unwrap();
    let said = ask(&server, &upload);
    assert_eq!(said.status, Some(1));
    assert!(said.stderr.contains("cat/1.png: the file is not an image"), "{}", said.stderr);
    fs::write(&zip, "no archive").unwrap();
    assert!(ask(&server, &upload).stderr.contains("not a zip file"));
    let missing = ask(&server, &["export", out.to_str().unwrap(), "--model", "none"]);
    assert!(missing.stderr.contains("no model or experiment or dataset exists"), "{}", missing.stderr);
}

#[test]
fn runs_are_listed_stopped_and_done_again_and_any_call_is_made() {
    let yard = Yard::new().experiments(2).train("test $6 = 1 && echo accuracy=0.5");
    let server = yard.start();
    server.model_with_image("m");
    server.sweep("m");
    server.idle();
    let failed = json(&ask(&server, &["runs", "--model", "m", "--state", "failed", "--json"]).ok());
    assert_eq!(failed.len(), 1, "{failed:?}");
    let id = failed[0]["id"].as_str().unwrap();
    assert!(ask(&server, &["runs", "--model", "m"]).ok().text().contains(id));
    let again = json(&ask(&server, &["retry", id, "--json"]).ok());
    assert_ne!(again[0]["id"], failed[0]["id"]);
    server.idle();
    let over = ask(&server, &["cancel", id]);
    assert!(over.status != Some(0) && over.stderr.contains("over"), "{}", over.stderr);
    assert!(ask(&server, &["cancel", "mdl_0000000000001"]).stderr.contains("neither"));

    let change = ["api", "PATCH", "/models/m", "-d", r#"{"description": "Cats?"}"#, "-H", "If-Match: 1"];
    assert_eq!(json(&ask(&server, &change).ok())[0]["description"], "Cats?");
    let stale = ask(&server, &change);
    assert!(stale.status == Some(1) && stale.stderr.contains("revision"), "{}", stale.stderr);
    let file = yard.path("2.png");
    fs::write(&file, images::png(2)).unwrap();
    let part = format!("file=@{}", file.display());
    ask(&server, &["api", "POST", "models/m/images", "-F", &part, "-F", "label=a dog"]).ok();
    let listed = ask(&server, &["api", "get", "/api/v1/models/m/images?label=a%20dog&fields=name"]).ok();
    assert_eq!(json(&listed)[0]["data"][0]["name"], "2.png");
}
