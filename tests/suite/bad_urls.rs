//! Images by url: fetched all or none, and every way in which a url can be no good.

use crate::harness::state::{furnished, images_are_untouched};
use crate::harness::web::{Page, Web};
use crate::harness::{Server, State, Yard, images};
use std::time::{Duration, Instant};

const LIMIT: usize = 100_000;

fn yard() -> Yard {
    Yard::new().one_experiment().set("server", "max_upload_bytes", LIMIT as i64).set("fetch", "timeout_seconds", 1).set(
        "fetch",
        "allow_private_addresses",
        true,
    )
}

fn body(bytes: Vec<u8>) -> Page {
    Page::Body { bytes, length_said: true }
}

fn fetch(server: &Server, urls: &[String]) -> crate::harness::Answer {
    let urls = urls.join(",");
    server.get("/uploadTrainingImages", &[("model_name", "m"), ("dataset_name", "d"), ("image_urls", &urls)])
}

#[test]
fn up_to_three_urls_are_fetched_separated_or_repeated() {
    let look = "cd \"$8\"; find . -type l | sort > \"$YARD/seen\"; echo accuracy=1";
    let yard = yard().train(look);
    let server = furnished(&yard);
    let web = Web::start(vec![
        ("/cat/1.png", body(images::png(11))),
        ("/grumpy%20cat_02.png", Page::Body { bytes: images::png(12), length_said: false }),
        ("/3", body(images::png(13))),
        ("/moved.png", Page::To("/4.png".to_owned())),
        ("/4.png", body(images::png(14))),
    ]);
    let answer = fetch(&server, &[web.url("/cat/1.png"), web.url("/grumpy%20cat_02.png")]).ok();
    assert_eq!(answer, serde_json::json!({ "status": "ok", "message": "Images added For training" }));
    let (three, moved) = (web.url("/3"), web.url("/moved.png"));
    let repeated = [("image_urls", &*three), ("image_urls", &moved), ("label", "dog"), ("model_name", "m")];
    server.get("/uploadTrainingImages", &[&repeated[..], &[("dataset_name", "d")]].concat()).ok();
    server.trained("m", "e", "d");
    let seen = yard.lines("seen");
    assert!(seen.contains(&"./dog/moved.png".to_owned()), "{seen:?}");
    assert!(seen.iter().any(|name| name.ends_with("/grumpy cat_02.png")), "{seen:?}");
    assert!(seen.contains(&"./dog/3.png".to_owned()), "{seen:?}");
    assert_eq!(seen.len(), 5, "{seen:?}");
}

#[test]
fn urls_that_cannot_be_fetched_are_named_and_nothing_is_added() {
    let yard = yard();
    let server = furnished(&yard);
    let before = State::of(&yard, &server);
    let web = Web::start(vec![
        ("/good.png", body(images::png(11))),
        ("/hang", Page::Hang),
        ("/stall", Page::Stall(images::png(12))),
        ("/to-file", Page::To("file:///etc/passwd".to_owned())),
        ("/to-ftp", Page::To("ftp://127.0.0.1/a.png".to_owned())),
        ("/to-itself", Page::To("/to-itself".to_owned())),
        ("/to-nothing", Page::To("http://[".to_owned())),
        ("/to-404", Page::To("/404".to_owned())),
        ("/500", Page::Status(500)),
        ("/large", body(vec![b'x'; LIMIT + 1])),
        ("/endless", Page::Body { bytes: vec![b'x'; 20 * LIMIT], length_said: false }),
        ("/html", body(b"<html><body>not here</body></html>".to_vec())),
        ("/empty", body(Vec::new())),
        ("/truncated.png", body(images::png(13)[..50].to_vec())),
        ("/bomb.png", body(images::bomb(30_000, 30_000))),
    ]);
    let cases: [(&str, &[u16]); 14] = [
        ("/404", &[502]),
        ("/hang", &[502]),
        ("/stall", &[502]),
        ("/to-file", &[400, 502]),
        ("/to-ftp", &[400, 502]),
        ("/to-itself", &[502]),
        ("/to-nothing", &[502]),
        ("/to-404", &[502]),
        ("/500", &[502]),
        ("/large", &[413]),
        ("/endless", &[413]),
        ("/html", &[415]),
        ("/empty", &[415]),
        ("/truncated.png", &[415]),
    ];
    for (path, statuses) in cases.into_iter().chain([("/bomb.png", &[413][..])]) {
        let began = Instant::now();
        // The good one before it is not added either.
        let answer = fetch(&server, &[web.url("/good.png"), web.url(path)]);
        assert!(statuses.contains(&answer.status), "{path}: {} {}", answer.status, answer.text());
        let message = answer.refused(answer.status, "status");
        let named = if path.starts_with("/to-") { "http" } else { path };
        assert!(message.contains(named) || message.contains("file:") || message.contains("ftp:"), "{path}: {message}");
        assert!(began.elapsed() < Duration::from_secs(10), "{path} took {:?}", began.elapsed());
    }
    before.still(&yard, &server);
    images_are_untouched(&server);
}

#[test]
fn urls_that_are_no_such_thing_are_bad_parameters() {
    let yard = yard();
    let server = furnished(&yard);
    let before = State::of(&yard, &server);
    for url in [
        "file:///etc/passwd",
        "ftp://127.0.0.1/a.png",
        "data:image/png;base64,AA",
        "gopher://x/",
        "a.png",
        "/etc/passwd",
        "http://",
        "http://user:secret@127.0.0.1/a.png",
    ] {
        let message = fetch(&server, &[url.to_owned()]).refused(400, "status");
        assert!(!message.contains("secret"), "{message}");
    }
    let four: Vec<String> = (1..=4).map(|number| format!("http://127.0.0.1:1/{number}.png")).collect();
    assert!(fetch(&server, &four).refused(400, "status").contains("at most 3"));
    let repeated: Vec<(&str, &str)> = four.iter().map(|url| ("image_urls", url.as_str())).collect();
    let query = [&[("model_name", "m")][..], &repeated].concat();
    assert!(server.get("/uploadTrainingImages", &query).refused(400, "status").contains("at most 3"));
    assert!(fetch(&server, &[String::new()]).refused(400, "status").contains("image_urls"));
    assert!(fetch(&server, &[",,".to_owned()]).refused(400, "status").contains("image_urls"));
    before.still(&yard, &server);
    images_are_untouched(&server);
}

#[test]
fn private_addresses_are_refused_unless_allowed() {
    let yard = yard().set("fetch", "allow_private_addresses", false);
    let server = furnished(&yard);
    let before = State::of(&yard, &server);
    let web = Web::start(vec![("/a.png", body(images::png(11)))]);
    let port = web.url("").rsplit(':').next().unwrap().to_owned();
    for host in ["127.0.0.1", "localhost", "2130706433", "0x7f.1", "[::1]", "[::ffff:127.0.0.1]", "0.0.0.0"] {
        let message = fetch(&server, &[format!("http://{host}:{port}/a.png")]).refused(400, "status");
        assert!(message.contains("private"), "{host}: {message}");
    }
    for url in ["http://169.254.169.254/latest/meta-data", "http://10.0.0.1/a.png", "http://192.168.0.1/"] {
        assert!(fetch(&server, &[url.to_owned()]).refused(400, "status").contains("private"));
    }
    before.still(&yard, &server);
    images_are_untouched(&server);
}

#[test]
fn nobody_at_the_other_end_is_a_502() {
    let yard = yard();
    let server = furnished(&yard);
    let before = State::of(&yard, &server);
    for url in ["http://127.0.0.1:1/a.png", "http://nobody.invalid/a.png", "https://127.0.0.1:1/a.png"] {
        let message = fetch(&server, &[url.to_owned()]).refused(502, "status");
        assert!(message.contains(url.split('/').nth(2).unwrap()), "{message}");
    }
    before.still(&yard, &server);
}

#[test]
fn proxies_of_the_environment_are_not_asked() {
    let nobody = "http://127.0.0.1:1";
    let names = ["http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"];
    let yard = names.into_iter().fold(yard(), |yard, name| yard.variable(name, nobody));
    let server = furnished(&yard);
    let web = Web::start(vec![("/1.png", body(images::png(11)))]);
    fetch(&server, &[web.url("/1.png")]).ok();
}
