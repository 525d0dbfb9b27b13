//! Images and datasets: stored once, named as they came, labelled, and seen by a run as they were when it was submitted.

use crate::harness::{Form, Server, Yard, images, wait_until};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::sync::atomic::{AtomicU32, Ordering};

/// Training writes down what it sees: `kind path` for everything in the dataset's folder.
const LOOKS: &str = "cd \"$8\" && find . -mindepth 1 -printf '%y %P\\n' | sort > \"$YARD/seen.$TRAINYARD_RUN_ID\"\n\
                     echo accuracy=0.5";

fn yard() -> Yard {
    Yard::new().one_experiment().set("jobs", "concurrency", 1).train(LOOKS)
}

/// What a training on the dataset sees, images only.
fn seen(yard: &Yard, server: &Server, dataset: &str) -> Vec<String> {
    let run = server.trained("m", "default_1", dataset);
    seen_by(yard, run["id"].as_str().unwrap())
}

fn seen_by(yard: &Yard, run: &str) -> Vec<String> {
    let lines = yard.lines(&format!("seen.{run}"));
    lines.iter().filter_map(|line| line.strip_prefix("l ")).map(str::to_owned).collect()
}

fn version(server: &Server, dataset: &str) -> u64 {
    server.trained("m", "default_1", dataset)["dataset_version"].as_u64().unwrap()
}

#[test]
fn one_image_under_1000_names_is_1000_entries_of_one_file() {
    let yard = yard();
    let server = yard.start();
    server.create_model("m");
    server.create_dataset("m", "d");
    let (image, next) = (images::png(1), AtomicU32::new(0));
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= 1000 {
                        return;
                    }
                    server.upload("m", "d", &format!("{number:04}.png"), &image);
                }
            });
        }
    });
    let expected: Vec<String> = (0..1000).map(|number| format!("{number:04}.png")).collect();
    assert_eq!(seen(&yard, &server, "d"), expected);
    let stored = yard.blobs();
    assert_eq!(stored.len(), 1);
    let (path, size) = stored.first_key_value().unwrap();
    assert_eq!(*size, image.len() as u64);
    assert_eq!(path.file_name().unwrap().to_str().unwrap(), blake3::hash(&image).to_hex().as_str());
    assert_eq!(fs::metadata(path).unwrap().nlink(), 1);
    assert!(yard.unfinished().is_empty());
}

#[test]
fn the_same_entry_again_changes_nothing() {
    let yard = yard();
    let server = yard.start();
    server.create_model("m");
    server.create_dataset("m", "d");
    server.upload("m", "d", "cat/1.png", &images::png(1));
    let (before, stored) = (version(&server, "d"), yard.blobs());
    for _ in 0..3 {
        server.upload("m", "d", "cat/1.png", &images::png(1));
    }
    let form = Form::new().field("model_name", "m").field("dataset_name", "d").field("label", "cat");
    server.post("/uploadTrainingImage", &form.file("file", "1.png", &images::png(1))).ok();
    assert_eq!(version(&server, "d"), before);
    assert_eq!(yard.blobs(), stored);
    assert_eq!(seen(&yard, &server, "d"), ["cat/1.png"]);
    // The same name under another label is another entry.
    server.upload("m", "d", "dog/1.png", &images::png(1));
    assert!(version(&server, "d") > before);
    assert_eq!(seen(&yard, &server, "d"), ["cat/1.png", "dog/1.png"]);
}

#[test]
fn other_bytes_under_a_taken_name_are_marked() {
    let yard = yard();
    let server = yard.start();
    server.create_model("m");
    server.create_dataset("m", "d");
    let mark = |number: u32| blake3::hash(&images::png(number)).to_hex()[..8].to_owned();
    for number in [1, 2, 3, 2] {
        server.upload("m", "d", "cat/1.png", &images::png(number));
    }
    let mut expected = vec!["cat/1.png".to_owned(), format!("cat/1-{}.png", mark(2)), format!("cat/1-{}.png", mark(3))];
    let mut found = seen(&yard, &server, "d");
    expected.sort();
    found.sort();
    assert_eq!(found, expected);
    assert_eq!(yard.blobs().len(), 3);
}

#[test]
fn labels_come_from_the_field_the_folder_or_the_leading_word() {
    let cases = [
        // (label field, file name, where it stands)
        ("", "cat/12.png", "cat/12.png"),
        ("", "set/sea lion/13.png", "sea lion/13.png"),
        ("", "cat.14.png", "cat/cat.14.png"),
        ("", "cat_015.png", "cat/cat_015.png"),
        ("", "Größe 16.png", "Größe/Größe 16.png"),
        ("dog", "cat/17.png", "dog/17.png"),
        ("dog", "cat_018.png", "dog/cat_018.png"),
        ("猫 と 犬", "19.png", "猫 と 犬/19.png"),
        ("", "20.png", "20.png"),
        ("", "IMG_0021.png", "IMG_0021.png"),
        ("", "DSC01222.png", "DSC01222.png"),
        ("", "image23.png", "image23.png"),
        ("", "photo-24.png", "photo-24.png"),
        ("", "cat.png", "cat.png"),
    ];
    let yard = yard();
    let server = yard.start();
    server.create_model("m");
    server.create_dataset("m", "d");
    for (number, (label, file_name, _)) in (0..).zip(cases) {
        let mut form = Form::new().field("model_name", "m").field("dataset_name", "d");
        if !label.is_empty() {
            form = form.field("label", label);
        }
        server.post("/uploadTrainingImage", &form.file("file", file_name, &images::png(number))).ok();
    }
    let mut expected: Vec<&str> = cases.iter().map(|(.., place)| *place).collect();
    let mut found = seen(&yard, &server, "d");
    expected.sort_unstable();
    found.sort();
    assert_eq!(found, expected);
}

#[test]
fn a_folder_is_made_of_links_to_stored_images() {
    let yard = yard();
    let server = yard.start();
    server.create_model("m");
    server.create_dataset("m", "d");
    server.upload("m", "d", "cat/1.png", &images::png(1));
    server.upload("m", "d", "2.png", &images::png(2));
    let run = server.trained("m", "default_1", "d");
    let lines = yard.lines(&format!("seen.{}", run["id"].as_str().unwrap()));
    assert_eq!(lines, ["d cat", "l 2.png", "l cat/1.png"]);
}

#[test]
fn a_run_sees_the_version_that_it_was_submitted_with() {
    let yard = Yard::new()
        .one_experiment()
        .set("jobs", "concurrency", 1)
        .train(&format!("[ \"$TRAINYARD_EXPERIMENT\" = blocker ] && : < \"$YARD/gate\"\n{LOOKS}"));
    let mut gate = yard.gate("gate");
    let server = yard.start();
    server.create_model("m");
    server.create_dataset("m", "d");
    server.create_experiment("m", "blocker");
    server.upload("m", "d", "1.png", &images::png(1));
    server.train("m", "blocker", "d");
    wait_until("the blocker", || server.queue() == (0, 1));
    let early = server.train("m", "default_1", "d");
    let early_model = server.train("m", "default_1", "");
    server.upload("m", "d", "2.png", &images::png(2));
    let late = server.train("m", "default_1", "d");
    assert_ne!(early, late, "another version is another run");
    gate.open();
    server.idle();
    assert_eq!(seen_by(&yard, &early), ["1.png"]);
    assert_eq!(seen_by(&yard, &early_model), ["1.png"]);
    assert_eq!(seen_by(&yard, &late), ["1.png", "2.png"]);
    let seed = |run: &str| server.run(run)["seed"].clone();
    assert_ne!(seed(&early), seed(&late), "another version, another seed");
}

#[test]
fn a_copy_starts_as_the_other_dataset_and_goes_its_own_way() {
    let yard = yard();
    let server = yard.start();
    server.create_model("m");
    server.create_dataset("m", "old");
    server.upload("m", "old", "cat/1.png", &images::png(1));
    let copy = |name: &str, from: &str| {
        server.get("/createDataset", &[("model_name", "m"), ("dataset_name", name), ("dataset_name_old", from)]).ok();
    };
    copy("new", "old");
    copy("newer", "new");
    assert_eq!(seen(&yard, &server, "newer"), ["cat/1.png"]);
    server.upload("m", "old", "cat/2.png", &images::png(2));
    server.upload("m", "new", "cat/3.png", &images::png(3));
    server.upload("m", "newer", "cat/1.png", &images::png(1));
    assert_eq!(seen(&yard, &server, "old"), ["cat/1.png", "cat/2.png"]);
    assert_eq!(seen(&yard, &server, "new"), ["cat/1.png", "cat/3.png"]);
    assert_eq!(seen(&yard, &server, "newer"), ["cat/1.png"]);
    copy("last", "new");
    assert_eq!(seen(&yard, &server, "last"), ["cat/1.png", "cat/3.png"]);
    assert_eq!(seen(&yard, &server, ""), ["cat/1.png", "cat/2.png", "cat/3.png"]);
}

#[test]
fn the_images_of_a_model_include_those_of_its_datasets() {
    let yard = yard();
    let server = yard.start();
    server.create_model("m");
    server.create_dataset("m", "d");
    server.create_dataset("m", "e");
    server.upload("m", "", "1.png", &images::png(1));
    server.upload("m", "d", "2.png", &images::png(2));
    server.upload("m", "e", "cat/3.png", &images::png(3));
    assert_eq!(seen(&yard, &server, ""), ["1.png", "2.png", "cat/3.png"]);
    assert_eq!(seen(&yard, &server, "d"), ["2.png"]);
    server.stop();
    let server = yard.start();
    assert_eq!(seen(&yard, &server, ""), ["1.png", "2.png", "cat/3.png"]);
}

#[test]
fn every_format_is_taken_and_file_names_cannot_lead_astray() {
    use image::ImageFormat::{Bmp, Gif, Jpeg, Png, Tiff, WebP};
    let yard = yard();
    let server = yard.start();
    server.create_model("m");
    server.create_dataset("m", "d");
    for (number, format) in (1..).zip([Png, Jpeg, Gif, Bmp, WebP, Tiff]) {
        // The content decides; a name without an image's ending gets the content's.
        server.upload("m", "d", &format!("{number}"), &images::encoded(number, format));
    }
    let found = seen(&yard, &server, "d");
    let endings: Vec<&str> = found.iter().map(|name| name.split('.').next_back().unwrap()).collect();
    assert_eq!(endings, ["png", "jpg", "gif", "bmp", "webp", "tif"]);

    server.create_dataset("m", "odd");
    let names = ["../../escape.png", "/etc/passwd", "..", ".hidden.png", "a\\b\\c.png", &"long".repeat(100)];
    for (number, name) in (10..).zip(names) {
        server.upload("m", "odd", name, &images::png(number));
    }
    let found = seen(&yard, &server, "odd");
    assert_eq!(found.len(), names.len(), "{found:?}");
    assert!(found.iter().all(|name| name.len() < 255 && !name.contains("..") && name.ends_with(".png")), "{found:?}");
}
