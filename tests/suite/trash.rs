//! Deleting: what is in the trash cannot be found, can be had back as it was, and frees what was said once it goes.

use crate::harness::client::{self, Answer};
use crate::harness::{Server, Yard, images, wait_until};
use serde_json::Value;
use std::fs;

/// Prints how many images there are, as an accuracy that the layers make each experiment's own.
const COUNTS: &str = "echo accuracy=0.$4$(ls -R \"$8\" | grep -c png); echo w > \"$TRAINYARD_MODEL_DIR/weights\"";

fn call(server: &Server, method: &str, path: &str) -> Answer {
    client::request(server.address, method, path, "", &[])
}

fn delete(server: &Server, path: &str) -> Value {
    call(server, "DELETE", path).ok()
}

fn item(deleted: &Value) -> String {
    format!("/api/v1/trash/{}", deleted["id"].as_str().unwrap())
}

fn restore(server: &Server, deleted: &Value) {
    let path = format!("{}/restore", item(deleted));
    assert_eq!(call(server, "POST", &path).status, 204);
}

fn named(name: &str) -> Vec<u8> {
    serde_json::json!({ "name": name }).to_string().into_bytes()
}

/// Everything decodes, refers to something, and is where it should be.
#[track_caller]
fn is_sound(server: &Server) {
    let words = call(server, "POST", "/api/v1/maintenance/verify");
    let text = words.text();
    let last: Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
    assert_eq!((&last["type"], &last["problems"], &last["notes"]), (&"done".into(), &0.into(), &0.into()), "{text}");
}

fn trash(server: &Server) -> Vec<String> {
    let page = server.get("/api/v1/trash", &[]).ok();
    page["data"].as_array().unwrap().iter().map(|item| item["name"].as_str().unwrap().to_owned()).collect()
}

/// A model of three experiments with two images, one of them in a dataset too, and a result for each.
fn furnished(yard: &Yard) -> Server {
    let server = yard.start();
    server.create_model("m");
    server.create_dataset("m", "d");
    server.upload("m", "d", "cat.1.png", &images::png(1));
    server.upload("m", "", "dog.2.png", &images::png(2));
    server.sweep("m");
    server.idle();
    server
}

fn yard() -> Yard {
    Yard::new().experiments(3).train(COUNTS)
}

#[test]
fn a_model_goes_comes_back_and_goes_for_good() {
    let yard = yard();
    let server = furnished(&yard);
    let before = server.get("/allAccuracies", &[("model_name", "m")]).text();
    let runs = server.get("/api/v1/runs", &[("model", "m")]).ok();
    let run = runs["data"][0]["id"].as_str().unwrap().to_owned();
    let asked = delete(&server, "/api/v1/models/m?dry_run=true");
    assert_eq!((&asked["id"], &asked["kind"]), (&Value::Null, &"model".into()));
    assert_eq!(server.get("/allAccuracies", &[("model_name", "m")]).text(), before, "nothing was deleted yet");

    let deleted = delete(&server, "/api/v1/models/m");
    assert_eq!(deleted["frees"], asked["frees"]);
    let bytes: u64 = yard.blobs().values().sum();
    let frees = &deleted["frees"];
    assert_eq!((&frees["images"], &frees["images_in_all"], &frees["runs"]), (&2.into(), &3.into(), &3.into()));
    assert_eq!(frees["image_bytes"], bytes);
    assert!(frees["run_bytes"].as_u64().unwrap() > 0, "{frees}");
    server.get("/bestAccuracy", &[("model_name", "m")]).refused(404, "status");
    for path in [format!("/api/v1/runs/{run}"), format!("/api/v1/runs/{run}/log"), "/api/v1/runs?model=m".to_owned()] {
        call(&server, "GET", &path).problem(404);
    }
    call(&server, "POST", &format!("/api/v1/runs/{run}/retry")).problem(404);
    call(&server, "DELETE", "/api/v1/models/m").problem(404);
    assert_eq!(trash(&server), ["m"]);
    is_sound(&server);

    // The name is free, so it may be taken when the model comes back.
    server.model_with_image("m");
    let path = format!("{}/restore", item(&deleted));
    call(&server, "POST", &path).problem(409);
    let answer = client::request(server.address, "POST", &path, "application/json", &named("old"));
    assert_eq!(answer.status, 204, "{}", answer.text());
    assert_eq!(server.get("/allAccuracies", &[("model_name", "old")]).text(), before);
    assert_eq!(server.run(&run)["model"], "old");
    assert!(trash(&server).is_empty());
    is_sound(&server);

    let deleted = delete(&server, "/api/v1/models/old");
    server.stop();
    let server = yard.start();
    let shown = call(&server, "GET", &item(&deleted)).ok();
    assert_eq!(shown["frees"], deleted["frees"], "it is all there after a restart");
    let freed = delete(&server, &item(&deleted));
    assert_eq!(freed["bytes"], deleted["frees"]["bytes"]);
    assert_eq!((&freed["items"], &freed["runs"]), (&1.into(), &3.into()));
    call(&server, "POST", &path).problem(404);
    is_sound(&server);
    assert!(!yard.data("runs").join(&run).exists());
    assert_eq!(yard.blobs().len(), 1, "the other model has an image of its own");
    delete(&server, "/api/v1/models/m");
    assert_eq!(call(&server, "DELETE", "/api/v1/trash").ok()["items"], 1);
    assert_eq!((yard.blobs().len(), fs::read_dir(yard.data("runs")).unwrap().count()), (0, 0));
    is_sound(&server);
}

#[test]
fn an_experiment_takes_its_results_along() {
    let yard = yard();
    let server = furnished(&yard);
    server.create_experiment("m", "e");
    let all = server.accuracies("m");
    let (best, accuracy, _) = server.best("m", "");
    let deleted = delete(&server, &format!("/api/v1/models/m/experiments/{best}"));
    assert_eq!(deleted["kind"], "experiment");
    let (next, lower, _) = server.best("m", "");
    assert!(next != best && lower <= accuracy, "{next} {lower}");
    assert_eq!(server.accuracies("m").len(), all.len() - 1);
    is_sound(&server);
    assert_eq!(server.sweep("m").len(), 2, "a sweep goes on without it");
    server.idle();
    restore(&server, &deleted);
    assert_eq!((server.accuracies("m"), server.best("m", "").0), (all, best.clone()));
    is_sound(&server);
    let deleted = delete(&server, &format!("/api/v1/models/m/experiments/{best}"));
    assert_eq!(delete(&server, &item(&deleted))["runs"], 1);
    is_sound(&server);
    server.create_experiment("m", &best);
    server.trained("m", &best, "");
    is_sound(&server);
}

#[test]
fn a_dataset_takes_its_results_along_and_stays_while_a_copy_needs_it() {
    let yard = yard();
    let server = furnished(&yard);
    server.upload("m", "d", "cat.3.png", &images::png(3));
    let copied = [("model_name", "m"), ("dataset_name", "copy"), ("dataset_name_old", "d")];
    server.get("/createDataset", &copied).ok();
    server.trained("m", "default_1", "d");
    let results = |server: &Server| server.accuracies("m").into_iter().map(|(_, results)| results.len()).sum::<usize>();
    assert_eq!(results(&server), 4);
    let deleted = delete(&server, "/api/v1/models/m/datasets/d");
    assert_eq!(results(&server), 3);
    server
        .get("/train", &[("model_name", "m"), ("experiment_name", "default_1"), ("dataset_name", "d")])
        .refused(404, "status");
    is_sound(&server);
    restore(&server, &deleted);
    assert_eq!(results(&server), 4);

    // The copy takes out what it did not bring along itself, and the original keeps it.
    let of_copy = delete(&server, "/api/v1/models/m/images?dataset=copy&label=cat&name=cat.1.png");
    let run = server.trained("m", "default_2", "copy");
    assert_eq!((&run["dataset_version"], &run["accuracy"]), (&1.into(), &"0.11".into()));
    assert_eq!(server.trained("m", "default_2", "d")["accuracy"], "0.12");
    is_sound(&server);
    restore(&server, &of_copy);
    assert_eq!(server.trained("m", "default_2", "copy")["accuracy"], "0.12");
    is_sound(&server);

    let original = delete(&server, "/api/v1/models/m/datasets/d");
    let message = call(&server, "DELETE", &item(&original)).problem(409);
    assert!(message.contains("`copy`"), "{message}");
    let copy = delete(&server, "/api/v1/models/m/datasets/copy");
    assert_eq!(delete(&server, &item(&copy))["runs"], 2);
    is_sound(&server);
    let freed = delete(&server, &item(&original));
    assert_eq!((&freed["images"], &freed["runs"]), (&0.into(), &2.into()), "the model has the images too");
    assert_eq!((yard.blobs().len(), results(&server)), (3, 3));
    is_sound(&server);
}

#[test]
fn an_image_leaves_later_versions_and_earlier_ones_keep_it() {
    let yard = yard();
    let server = furnished(&yard);
    let trained = |server: &Server| {
        let run = server.trained("m", "default_1", "");
        (run["dataset_version"].as_u64().unwrap(), run["accuracy"].as_str().unwrap().to_owned())
    };
    assert_eq!(trained(&server), (2, "0.12".into()));
    call(&server, "DELETE", "/api/v1/models/m/images?name=1.png").problem(404);
    let path = "/api/v1/models/m/images?label=cat&name=cat.1.png";
    let deleted = delete(&server, path);
    assert_eq!((&deleted["kind"], &deleted["label"]), (&"image".into(), &"cat".into()));
    assert_eq!(deleted["frees"]["images"], 0, "runs are pinned to a version that has it, and a dataset too");
    call(&server, "DELETE", path).problem(404);
    assert_eq!(trained(&server), (3, "0.11".into()), "a version of its own, with one image");
    is_sound(&server);
    restore(&server, &deleted);
    assert_eq!(trained(&server), (4, "0.12".into()));
    is_sound(&server);

    // One that no run has seen goes with its bytes.
    server.upload("m", "", "new.9.png", &images::png(9));
    assert_eq!(yard.blobs().len(), 3);
    let deleted = delete(&server, "/api/v1/models/m/images?label=new&name=new.9.png");
    assert_eq!(deleted["frees"]["images"], 1);
    is_sound(&server);
    let freed = delete(&server, &item(&deleted));
    assert_eq!((&freed["images"], &freed["bytes"]), (&1.into(), &deleted["frees"]["bytes"]));
    assert_eq!(yard.blobs().len(), 2);
    assert_eq!(trained(&server), (6, "0.12".into()));
    server.upload("m", "", "new.9.png", &images::png(9));
    assert_eq!(trained(&server), (7, "0.13".into()), "it may come again");
    is_sound(&server);
}

#[test]
fn what_waits_or_runs_of_a_deleted_model_is_cancelled() {
    let yard = Yard::new().experiments(5).train("echo x >> \"$YARD/started\"; while :; do sleep 0.05; done");
    let server = yard.start();
    server.model_with_image("m");
    server.sweep("m");
    wait_until("the first", || !yard.lines("started").is_empty() && server.queue().1 > 0);
    let deleted = delete(&server, "/api/v1/models/m");
    server.idle();
    let started = yard.lines("started").len();
    assert!(started < 5, "{started}");
    restore(&server, &deleted);
    let runs = server.get("/api/v1/runs", &[("model", "m")]).ok();
    assert!(runs["data"].as_array().unwrap().iter().all(|run| run["state"] == "cancelled"), "{runs}");
    is_sound(&server);
}

#[test]
fn what_has_lain_long_enough_goes_by_itself() {
    let yard = yard().set("trash", "days", 0);
    let server = furnished(&yard);
    delete(&server, "/api/v1/models/m");
    assert_eq!(trash(&server), ["m"]);
    server.stop();
    let server = yard.start();
    wait_until("an empty trash", || trash(&server).is_empty());
    assert!(yard.blobs().is_empty());
    is_sound(&server);
}

#[test]
fn a_server_that_is_killed_while_it_empties_the_trash_goes_on() {
    let yard = yard().experiments(80).set("trash", "days", 0).train("echo accuracy=0.5");
    let server = yard.start();
    server.create_model("m");
    for number in 0..100 {
        server.upload("m", "", &format!("{number}.png"), &images::png(number));
    }
    server.sweep("m");
    server.idle();
    delete(&server, "/api/v1/models/m");
    server.kill9();
    for _ in 0..4 {
        yard.start().kill9();
    }
    let server = yard.start();
    wait_until("an empty trash", || trash(&server).is_empty());
    assert!(yard.blobs().is_empty());
    is_sound(&server);
}

#[test]
fn a_run_that_is_over_goes_at_once_and_what_came_before_it_counts_again() {
    let yard = yard();
    let server = furnished(&yard);
    let results = || server.get("/allAccuracies", &[("model_name", "m")]).text();
    let best = || server.get("/api/v1/models/m/best", &[]).ok()["accuracy"].as_str().unwrap().to_owned();
    let (before, best_before) = (results(), best());
    server.upload("m", "", "dog.3.png", &images::png(3));
    let later = server.train("m", "default_3", "");
    server.idle();
    assert!(results() != before && best() != best_before, "one more image is another accuracy");

    let place = format!("/api/v1/runs/{later}");
    let asked = delete(&server, &format!("{place}?dry_run=true"));
    assert_eq!(asked["runs"], 1);
    assert!(asked["bytes"].as_u64().unwrap() > 0, "{asked}");
    let stale = [("If-Match", "\"1\"")];
    client::send(server.address, "DELETE", &place, &stale, b"").problem(412);
    assert_eq!(server.get(&place, &[]).status, 200, "nothing was removed yet");
    assert_eq!(delete(&server, &place), asked);
    server.get(&place, &[]).problem(404);
    call(&server, "DELETE", &place).problem(404);
    assert_eq!((results(), best()), (before, best_before), "what the sweep brought counts again");
    assert!(!yard.data("runs").join(&later).exists());
    let audit = server.get("/api/v1/audit", &[("limit", "200")]).ok();
    let last = audit["data"].as_array().unwrap().last().unwrap();
    assert_eq!((&last["action"], &last["subject"]), (&"run_deleted".into(), &later.into()));
    is_sound(&server);

    // What waits or runs is cancelled first.
    call(&server, "POST", "/api/v1/queue/pause");
    let waits = server.train("m", "default_1", "");
    let place = format!("/api/v1/runs/{waits}");
    call(&server, "DELETE", &place).problem(409);
    call(&server, "POST", &format!("{place}/cancel"));
    wait_until("the end of the run", || server.run(&waits)["state"] == "cancelled");
    assert_eq!(delete(&server, &place)["runs"], 1);
    is_sound(&server);
}

#[test]
fn a_sweep_goes_with_its_runs_and_a_restart_finds_nothing_of_it() {
    let yard = yard();
    let server = furnished(&yard);
    let sweeps = server.get("/api/v1/sweeps", &[("model", "m")]).ok();
    let place = format!("/api/v1/sweeps/{}", sweeps["data"][0]["id"].as_str().unwrap());
    let asked = delete(&server, &format!("{place}?dry_run=true"));
    assert_eq!(asked["runs"], 3);
    assert_eq!(delete(&server, &place), asked);
    server.get(&place, &[]).problem(404);
    server.stop();
    let server = yard.start();
    for list in ["sweeps", "runs"] {
        assert_eq!(server.get(&format!("/api/v1/{list}"), &[("model", "m")]).ok()["data"], serde_json::json!([]));
    }
    server.get("/api/v1/models/m/best", &[]).problem(409);
    assert!(trash(&server).is_empty());
    is_sound(&server);
    // Its experiments are still there to be run.
    server.sweep("m");
    server.idle();
    assert!(server.get("/api/v1/models/m/best", &[]).ok()["accuracy"].is_string());
}
