//! Zip files of images, both ways: what is taken, what is refused and why, and that what goes out comes back.

use crate::harness::client::{self, Answer, form_type};
use crate::harness::{Form, Server, Yard, archive, images};
use serde_json::Value;
use std::io::Write;

const MODEL: &str = "/api/v1/models/m/archive";
const DATASET: &str = "/api/v1/models/m/datasets/d/archive";

fn send(server: &Server, target: &str, zip: &[u8]) -> Answer {
    client::request(server.address, "POST", target, &form_type(), &Form::new().file("file", "a.zip", zip).body())
}

/// What became of an archive: the last line of the answer.
#[track_caller]
fn taken(answer: &Answer) -> Value {
    assert_eq!((answer.status, answer.header("content-type")), (200, Some("application/jsonl")), "{}", answer.text());
    let last: Value = serde_json::from_str(answer.text().lines().last().unwrap()).unwrap();
    assert_eq!(last["type"], "done", "{last}");
    last
}

/// Every image of a list: label, name and hash, in order.
fn listed(server: &Server, base: &str) -> Vec<(String, String, String)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let (mut found, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = server.get(&format!("{base}/images"), &[("limit", "200"), ("cursor", &cursor)]).ok();
        let rows = page["data"].as_array().unwrap().iter();
        found.extend(rows.map(|row| (text(&row["label"]), text(&row["name"]), text(&row["hash"]))));
        match page["next_cursor"].as_str() {
            Some(next) => cursor = next.to_owned(),
            None => break,
        }
    }
    found.sort();
    found
}

fn numbers(report: &Value) -> [u64; 5] {
    ["entries", "added", "stored_already", "passed_over", "refused"].map(|key| report[key].as_u64().unwrap())
}

fn furnished(yard: &Yard) -> Server {
    let server = yard.start();
    server.create_model("m");
    server.create_dataset("m", "d");
    server
}

#[test]
fn a_folder_for_each_class_becomes_labels_and_the_rest_is_told() {
    let yard = Yard::new().set("server", "max_upload_bytes", 100_000);
    let server = furnished(&yard);
    let (one, two, three, large) = (images::png(1), images::png(2), images::png(3), images::large_png(200_000));
    let zip = archive(&[
        ("cat/", b""),
        ("cat/1.png", &one),
        ("pets/big cat/2.png", &two),
        ("dog_3.png", &three),
        ("__MACOSX/cat/._1.png", b"x"),
        ("cat/.DS_Store", b"x"),
        ("../../etc/4.png", &one),
        ("/etc/4.png", &one),
        ("cat\\4.png", &one),
        ("cat/\u{1}4.png", &one),
        ("cat/notes.txt", b"no picture"),
        ("cat/large.png", &large),
        ("x.png/4.png", &one),
    ]);
    let answer = send(&server, DATASET, &zip);
    let report = taken(&answer);
    assert_eq!(numbers(&report), [13, 3, 0, 2, 7], "{report}");
    assert_eq!(report["done"], 13);
    let refused: Vec<_> =
        report["refusals"].as_array().unwrap().iter().map(|one| one["code"].as_str().unwrap()).collect();
    let names = ["invalid_parameter"; 4];
    assert_eq!(refused, [&names[..], &["not_an_image", "too_large", "invalid_parameter"]].concat(), "{report}");
    let labels: Vec<_> =
        listed(&server, "/api/v1/models/m/datasets/d").into_iter().map(|(label, name, _)| (label, name)).collect();
    let expected = [("big cat", "2.png"), ("cat", "1.png"), ("dog", "dog_3.png")];
    assert_eq!(labels, expected.map(|(label, name)| (label.to_owned(), name.to_owned())));
    assert_eq!(listed(&server, "/api/v1/models/m").len(), 3, "they are the model's as well");

    // Again: all of them are there.
    assert_eq!(numbers(&taken(&send(&server, DATASET, &zip))), [13, 0, 3, 2, 7]);
    assert_eq!(yard.blobs().len(), 3);
    assert!(yard.unfinished().is_empty(), "{:?}", yard.unfinished());
}

#[test]
fn what_is_no_archive_or_promises_too_much_is_refused_and_leaves_nothing() {
    let yard = Yard::new().set("archives", "max_bytes", 300_000).set("archives", "max_entries", 3).set(
        "archives",
        "max_unpacked_bytes",
        100_000,
    );
    let server = furnished(&yard);
    let image = images::png(1);
    let many = archive(&[("1.png", &image), ("2.png", &image), ("3.png", &image), ("4.png", &image)]);
    let said = send(&server, MODEL, &many).problem(413);
    assert!(said.contains("4 entries") && said.contains("archives.max_entries"), "{said}");
    let said = send(&server, MODEL, &archive(&[("1.png", &[7; 100_001])])).problem(413);
    assert!(said.contains("100001 bytes"), "{said}");
    let said = send(&server, MODEL, &vec![7; 700_000]).problem(413);
    assert!(said.contains("archives.max_bytes"), "{said}");
    let said = send(&server, MODEL, b"hello").problem(400);
    assert!(said.contains("not a zip file"), "{said}");
    let mut cut = archive(&[("1.png", &image)]);
    cut.truncate(cut.len() - 30);
    send(&server, MODEL, &cut).problem(400);
    let form = |form: Form| client::request(server.address, "POST", MODEL, &form_type(), &form.body());
    assert!(form(Form::new().field("label", "cat")).problem(400).contains("label"));
    client::request(server.address, "POST", MODEL, "text/plain", b"x").problem(400);
    send(&server, "/api/v1/models/nothing/archive", &many).problem(404);
    assert!(yard.blobs().is_empty() && yard.unfinished().is_empty());
    // Its turn has come back each time.
    assert_eq!(numbers(&taken(&send(&server, MODEL, &archive(&[("1.png", &image)]))))[1], 1);
}

#[test]
fn a_bomb_costs_next_to_nothing() {
    let yard = Yard::new();
    let server = furnished(&yard);
    // 512 MiB of one pixel after another, in 500 KiB.
    let mut packed = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::best());
    (0..512).for_each(|_| packed.write_all(&vec![0; 1 << 20]).unwrap());
    let packed = packed.finish().unwrap();
    for (size, reason) in [(512_u32 << 20, "too_large"), (20 << 20, "invalid_body"), (1 << 19, "invalid_body")] {
        let mut zip = archive(&[("cat/1.png", &packed)]);
        let listed = zip.len() - 22 - 46 - "cat/1.png".len();
        zip[listed + 10] = 8;
        zip[listed + 24..listed + 28].copy_from_slice(&size.to_le_bytes());
        let report = taken(&send(&server, MODEL, &zip));
        assert_eq!(numbers(&report), [1, 0, 0, 0, 1], "{report}");
        assert_eq!(report["refusals"][0]["code"], reason, "{report}");
    }
    assert!(yard.blobs().is_empty() && yard.unfinished().is_empty());
}

#[test]
fn many_refusals_are_counted_and_the_first_hundred_named() {
    let yard = Yard::new();
    let server = furnished(&yard);
    let names: Vec<String> = (0..150).map(|number| format!("cat/{number}.png")).collect();
    let mut entries: Vec<(&str, &[u8])> = names.iter().map(|name| (name.as_str(), &b"none"[..])).collect();
    let image = images::png(1);
    entries.push(("cat/good.png", &image));
    let report = taken(&send(&server, MODEL, &archive(&entries)));
    assert_eq!(numbers(&report), [151, 1, 0, 0, 150]);
    assert_eq!(report["refusals"].as_array().unwrap().len(), 100);
}

#[test]
fn what_goes_out_comes_back_as_it_was() {
    let yard = Yard::new();
    let server = furnished(&yard);
    server.create_dataset("m", "e");
    let names = [
        ("cat", "1.png"),
        ("Cat", "1.png"),
        ("", "cat_7.png"),
        ("", "8.png"),
        ("a:b", "9?.png"),
        ("nul", "con.png"),
        ("käse & brot", "ü.png"),
        ("end.", "10.png"),
        ("__MACOSX", "11.png"),
    ];
    for (number, (label, name)) in (0..).zip(names) {
        let mut form = Form::new();
        if !label.is_empty() {
            form = form.field("label", label);
        }
        let form = form.file("file", name, &images::png(number)).body();
        let answer = client::request(server.address, "POST", "/api/v1/models/m/datasets/d/images", &form_type(), &form);
        assert_eq!(answer.status, 201, "{}", answer.text());
    }
    // A name without a label, though it has a word; and an image that is larger than a piece.
    let change = r#"{"changes":[{"label":"cat","name":"cat_7.png"}]}"#;
    client::request(
        server.address,
        "PATCH",
        "/api/v1/models/m/datasets/d/images",
        "application/json",
        change.as_bytes(),
    )
    .ok();
    server.upload("m", "d", "large/1.png", &images::large_png(300_000));
    let before = listed(&server, "/api/v1/models/m/datasets/d");
    assert_eq!(before.len(), 10);

    let sent = server.get("/api/v1/models/m/datasets/d/export.zip", &[]);
    assert_eq!((sent.status, sent.header("content-type")), (200, Some("application/zip")));
    assert!(sent.header("content-disposition").unwrap().contains("d-version-"), "{}", sent.head);
    let report = taken(&send(&server, "/api/v1/models/m/datasets/e/archive", &sent.body));
    assert_eq!(numbers(&report), [10, 10, 0, 0, 0], "{report}");
    assert_eq!(listed(&server, "/api/v1/models/m/datasets/e"), before);
    // The same images make the same file, and an earlier version fewer of them.
    assert_eq!(server.get("/api/v1/models/m/datasets/d/export.zip", &[]).body, sent.body);
    let first = server.get("/api/v1/models/m/datasets/d/versions/1/export.zip", &[]);
    assert_eq!(numbers(&taken(&send(&server, "/api/v1/models/m/datasets/e/archive", &first.body))), [1, 0, 1, 0, 0]);
    server.get("/api/v1/models/m/datasets/d/versions/99/export.zip", &[]).problem(404);
    let all = server.get("/api/v1/models/m/export.zip", &[]);
    assert_eq!(numbers(&taken(&send(&server, MODEL, &all.body)))[1], 0);
    assert!(yard.unfinished().is_empty(), "{:?}", yard.unfinished());

    // Nothing of an export that nobody waits for is left, and its turn comes back.
    for _ in 0..8 {
        client::abandon(
            server.address,
            b"GET /api/v1/models/m/datasets/d/export.zip HTTP/1.1\r\nHost: localhost\r\n\r\n",
        );
    }
    crate::harness::wait_until("a turn", || server.get("/api/v1/models/m/datasets/d/export.zip", &[]).status == 200);
    crate::harness::wait_until("an empty folder", || yard.unfinished().is_empty());
}

#[test]
fn the_same_bytes_under_several_names_are_found_in_every_version() {
    let yard = Yard::new();
    let server = furnished(&yard);
    let groups = |base: &str, query: &[(&str, &str)]| -> Vec<Vec<String>> {
        let page = server.get(&format!("{base}/duplicates"), query).ok();
        let name = |image: &Value| {
            format!("{}/{}", image["label"].as_str().unwrap_or_default(), image["name"].as_str().unwrap())
        };
        let images = |group: &Value| group["images"].as_array().unwrap().iter().map(name).collect();
        page["data"].as_array().unwrap().iter().map(images).collect()
    };
    let d = "/api/v1/models/m/datasets/d";
    server.upload("m", "d", "cat/1.png", &images::png(1));
    server.upload("m", "d", "cat/2.png", &images::png(2));
    assert!(groups(d, &[]).is_empty());
    server.upload("m", "d", "dog/3.png", &images::png(1));
    assert_eq!(groups(d, &[]), [["cat/1.png", "dog/3.png"]]);
    assert!(groups(d, &[("version", "2")]).is_empty());
    // A copy has what it began as, and its own.
    server.get("/createDataset", &[("model_name", "m"), ("dataset_name", "copy"), ("dataset_name_old", "d")]).ok();
    server.upload("m", "copy", "ant/4.png", &images::png(2));
    let mut of_copy = groups("/api/v1/models/m/datasets/copy", &[]);
    of_copy.sort();
    assert_eq!(of_copy, [["cat/1.png", "dog/3.png"], ["cat/2.png", "ant/4.png"]]);
    let first = server.get("/api/v1/models/m/datasets/copy/duplicates", &[("limit", "1")]).ok();
    let cursor = first["next_cursor"].as_str().unwrap();
    assert_eq!(groups("/api/v1/models/m/datasets/copy", &[("cursor", cursor)]).len(), 1);
    // Another label is no second copy; one that is taken out is none any more.
    let change = r#"{"changes":[{"label":"cat","name":"2.png","new_label":"cow"}]}"#;
    client::request(server.address, "PATCH", &format!("{d}/images"), "application/json", change.as_bytes()).ok();
    assert_eq!(groups(d, &[]), [["cat/1.png", "dog/3.png"]]);
    client::request(server.address, "DELETE", &format!("{d}/images?label=cat&name=1.png"), "", &[]).ok();
    assert!(groups(d, &[]).is_empty());
    assert_eq!(groups(d, &[("version", "3")]), [["cat/1.png", "dog/3.png"]]);
    server.get(&format!("{d}/duplicates"), &[("cursor", "x")]).problem(400);
    let said = || client::request(server.address, "POST", "/api/v1/maintenance/verify", "", &[]).text();
    assert!(said().contains("\"problems\":0,\"notes\":0"), "{}", said());
    client::request(server.address, "DELETE", "/api/v1/trash", "", &[]).ok();
    assert!(said().contains("\"problems\":0,\"notes\":0"), "{}", said());
}
