//! Small pictures: made once by a child, kept as long as their image, refused in words where there is nothing to see.

use crate::harness::client::{self, Answer};
use crate::harness::yard::tree;
use crate::harness::{Server, Yard, images};
use std::fs;
use std::path::PathBuf;

const PLACE: &str = "/api/v1/models/m/images/thumbnail";

fn small(server: &Server, name: &str) -> Answer {
    server.get(PLACE, &[("name", name)])
}

fn kept(yard: &Yard) -> Vec<PathBuf> {
    tree(&yard.data("thumbs")).into_keys().collect()
}

fn verified(server: &Server, repair: &str) -> String {
    let answer = client::request(server.address, "POST", &format!("/api/v1/maintenance/verify{repair}"), "", &[]);
    answer.text().lines().last().unwrap().to_owned()
}

#[test]
fn a_small_picture_is_made_once_and_goes_with_its_image() {
    let yard = Yard::new();
    let server = yard.start();
    server.create_model("m");
    server.upload("m", "", "cat.png", &images::large_png(1 << 20));
    let hash = server.get("/api/v1/models/m/images", &[]).ok()["data"][0]["hash"].as_str().unwrap().to_owned();
    let first = small(&server, "cat.png");
    assert_eq!((first.status, first.header("content-type")), (200, Some("image/jpeg")), "{}", first.text());
    assert!(first.header("cache-control").unwrap().contains("no-cache"));
    let seen = image::load_from_memory(&first.body).unwrap();
    assert_eq!((seen.width(), seen.height()), (208, 208));
    assert!(first.body.len() < 64 << 10, "{}", first.body.len());

    // The same bytes again come from the file, which says so by when it was written.
    let [file] = kept(&yard).try_into().unwrap();
    let written = fs::metadata(&file).unwrap().modified().unwrap();
    let named = server.get(PLACE, &[("name", "cat.png"), ("hash", &hash)]);
    assert_eq!(named.body, first.body);
    assert!(named.header("cache-control").unwrap().contains("immutable"), "{}", named.head);
    assert_eq!(fs::metadata(&file).unwrap().modified().unwrap(), written);
    let etag = format!("If-None-Match: {}\r\n", first.header("etag").unwrap());
    assert_eq!(client::get_with(server.address, &format!("{PLACE}?name=cat.png"), &etag).status, 304);

    // A damaged one is found, and made again when somebody asks.
    assert!(verified(&server, "").contains("\"notes\":0"), "{}", verified(&server, ""));
    fs::write(&file, "torn").unwrap();
    assert!(verified(&server, "").contains("\"notes\":1"), "{}", verified(&server, ""));
    assert_eq!(small(&server, "cat.png").body, first.body);
    assert!(verified(&server, "").contains("\"notes\":0"), "{}", verified(&server, ""));
    fs::write(&file, "torn").unwrap();
    assert!(verified(&server, "?repair=true").contains("\"repaired\":1"));
    assert!(kept(&yard).is_empty());

    assert_eq!(small(&server, "cat.png").status, 200);
    client::request(server.address, "DELETE", "/api/v1/models/m/images?name=cat.png", "", &[]).ok();
    assert_eq!(small(&server, "cat.png").status, 404);
    client::request(server.address, "DELETE", "/api/v1/trash", "", &[]).ok();
    assert!(yard.blobs().is_empty() && kept(&yard).is_empty(), "{:?}", kept(&yard));
}

#[test]
fn few_pixels_stay_sharp_and_what_holds_none_is_refused_in_words() {
    let yard = Yard::new();
    let server = yard.start();
    server.create_model("m");
    server.upload("m", "", "tiny.png", &images::png(1));
    server.upload("m", "", "empty.png", &images::bomb(30, 30));
    let tiny = small(&server, "tiny.png");
    assert_eq!((tiny.status, tiny.header("content-type")), (200, Some("image/png")));
    let (seen, sent) = (image::load_from_memory(&tiny.body), image::load_from_memory(&images::png(1)));
    assert_eq!(seen.unwrap().to_luma8(), sent.unwrap().to_luma8());
    for _ in 0..2 {
        let said = small(&server, "empty.png").problem(415);
        assert!(said.contains("no small picture") && said.contains("cannot be decoded"), "{said}");
    }
    // That it cannot be decoded is known from then on, too.
    assert_eq!(kept(&yard).len(), 2);
    small(&server, "nothing.png").problem(404);
    server.get(PLACE, &[]).problem(400);
}

#[test]
fn many_at_once_are_all_answered_and_every_picture_is_made_once() {
    let yard = Yard::new();
    let server = yard.start();
    server.create_model("m");
    for number in 0..24 {
        server.upload("m", "", &format!("{number}.png"), &images::png(number));
    }
    std::thread::scope(|scope| {
        for number in 0..48 {
            let server = &server;
            scope.spawn(move || {
                let answer = small(server, &format!("{}.png", number % 24));
                assert_eq!(answer.status, 200, "{}", answer.text());
            });
        }
    });
    assert_eq!(kept(&yard).len(), 24);
    server.stop();
    assert!(yard.unfinished().is_empty());
}
