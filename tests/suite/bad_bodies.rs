//! Bad bodies and bad files: no multipart, no file, cut off, too large, no image. Each gets a clear error, and nothing
//! is left of it.

use crate::harness::client::{self, BOUNDARY, abandon, form_type, raw};
use crate::harness::state::{furnished, images_are_untouched};
use crate::harness::{Answer, Form, Server, State, Yard, images, wait_until};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// Both calls that take a file, with the key of their errors.
const CALLS: [(&str, &str); 2] = [("/uploadTrainingImage", "status"), ("/test", "Status")];

const LIMIT: usize = 100_000;

fn yard() -> Yard {
    Yard::new().one_experiment().set("server", "max_upload_bytes", LIMIT as i64)
}

fn form() -> Form {
    Form::new().field("model_name", "m")
}

fn upload(server: &Server, path: &str, content: &[u8]) -> Answer {
    server.post(path, &form().file("file", "cat/b.png", content))
}

#[test]
fn bodies_that_are_no_multipart_are_refused() {
    let yard = yard();
    let server = furnished(&yard);
    let before = State::of(&yard, &server);
    let whole = form().file("file", "b.png", &images::png(2)).body();
    let no_end = &whole[..whole.len() - BOUNDARY.len() - 6];
    let cases: [(&str, &[u8]); 9] = [
        ("", b""),
        ("", &whole),
        ("application/json", b"{\"model_name\": \"m\"}"),
        ("application/x-www-form-urlencoded", b"model_name=m"),
        ("multipart/form-data", &whole),
        ("multipart/form-data; boundary=other", &whole),
        (&form_type(), b""),
        (&form_type(), b"model_name=m"),
        (&form_type(), no_end),
    ];
    for (path, key) in CALLS {
        for (content_type, body) in cases {
            let answer = client::request(server.address, "POST", path, content_type, body);
            let message = answer.refused(400, key);
            assert!(message.contains("multipart") || message.contains("model_name"), "{content_type}: {message}");
        }
    }
    before.still(&yard, &server);
    images_are_untouched(&server);
}

#[test]
fn forms_that_are_not_what_the_call_takes_are_refused() {
    let yard = yard();
    let server = furnished(&yard);
    let before = State::of(&yard, &server);
    let image = images::png(2);
    let many = (0..100).fold(form(), |form, number| form.field(&format!("field{number}"), "x"));
    let cases = [
        (form(), "file"),
        (form().field("model_name", "m"), "file"),
        (form().file("image", "b.png", &image), "file"),
        (form().file("file", "b.png", &image).file("file", "c.png", &images::png(3)), "file"),
        (Form::new().field("model_name", &"m".repeat(100_000)).file("file", "b.png", &image), "model_name"),
        (Form::new().file("file", "b.png", &image), "model_name"),
        (many.file("file", "b.png", &image), "parts"),
    ];
    for (path, key) in CALLS {
        for (form, named) in &cases {
            let message = server.post(path, form).refused(400, key);
            assert!(message.contains(named) && message.len() < 500, "{message}");
        }
    }
    before.still(&yard, &server);
    images_are_untouched(&server);
}

#[test]
fn a_field_that_is_no_text_is_refused() {
    let yard = yard();
    let server = furnished(&yard);
    let before = State::of(&yard, &server);
    let head = format!("--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"model_name\"\r\n\r\n");
    let rest = Form::new().file("file", "b.png", &images::png(2)).body();
    let body = [head.as_bytes(), b"m\xff\xfe\r\n", &rest].concat();
    for (path, key) in CALLS {
        let answer = client::request(server.address, "POST", path, &form_type(), &body);
        assert!(answer.refused(400, key).contains("model_name"));
    }
    before.still(&yard, &server);
}

#[test]
fn a_body_that_is_cut_off_leaves_nothing() {
    let yard = yard().set("server", "max_upload_bytes", 4_000_000);
    let server = furnished(&yard);
    let before = State::of(&yard, &server);
    for image in [images::png(2), images::large_png(1_000_000)] {
        let body = form().file("file", "b.png", &image).body();
        for (path, _) in CALLS {
            let content_type = form_type();
            let head = format!(
                "POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {content_type}\r\nContent-Length: {}\r\n\r\n",
                body.len()
            );
            let whole = [head.as_bytes(), &body].concat();
            for end in [head.len(), head.len() + 60, head.len() + body.len() / 2, whole.len() - 1] {
                abandon(server.address, &whole[..end]);
            }
        }
    }
    // One whose head says less than it sends is cut off as well, and told so.
    let body = form().file("file", "b.png", &images::large_png(300_000)).body();
    for (path, key) in CALLS {
        let answer = client::request(server.address, "POST", path, &form_type(), &body[..body.len() / 2]);
        answer.refused(400, key);
    }
    before.still(&yard, &server);
    images_are_untouched(&server);
    server.stop();
}

#[test]
fn a_cut_off_upload_has_a_file_only_while_it_lasts() {
    let yard = yard().set("server", "max_upload_bytes", 4_000_000);
    let server = furnished(&yard);
    let body = form().file("file", "b.png", &images::large_png(1_000_000)).body();
    let mut socket = TcpStream::connect(server.address).unwrap();
    let head = format!(
        "POST /uploadTrainingImage HTTP/1.1\r\nHost: localhost\r\nContent-Type: {}\r\nContent-Length: {}\r\n\r\n",
        form_type(),
        body.len()
    );
    socket.write_all(head.as_bytes()).unwrap();
    socket.write_all(&body[..body.len() / 2]).unwrap();
    wait_until("a file under way", || yard.unfinished().len() == 1);
    drop(socket);
    wait_until("the file to go", || yard.unfinished().is_empty());
    assert_eq!(yard.blobs().len(), 1);
}

#[test]
fn a_body_over_the_limit_is_a_413_that_the_client_can_read() {
    let yard = yard();
    let server = furnished(&yard);
    let before = State::of(&yard, &server);
    // A little over the limit, far over it, and so far that no buffer between us holds the rest.
    for size in [LIMIT + 1, 2_000_000, 40_000_000] {
        let body = form().file("file", "b.png", &vec![b'x'; size]).body();
        for (path, key) in CALLS {
            let answer = client::request(server.address, "POST", path, &form_type(), &body);
            assert!(answer.refused(413, key).contains("100000"), "with a length");

            let head = format!(
                "POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {}\r\nTransfer-Encoding: chunked\r\n\
                 Connection: close\r\n\r\n",
                form_type()
            );
            let mut chunked = head.into_bytes();
            for chunk in body.chunks(60_000) {
                chunked.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
                chunked.extend_from_slice(chunk);
                chunked.extend_from_slice(b"\r\n");
            }
            chunked.extend_from_slice(b"0\r\n\r\n");
            let answer = raw(server.address, &chunked).expect("an answer");
            assert!(answer.refused(413, key).contains("100000"), "without a length");
        }
    }
    before.still(&yard, &server);
    images_are_untouched(&server);
}

#[test]
fn a_client_that_asks_before_it_sends_is_told() {
    let yard = yard();
    let server = furnished(&yard);
    for (size, outcome) in [(50_000, "HTTP/1.1 200 OK"), (2_000_000, "HTTP/1.1 413 Payload Too Large")] {
        let body = form().file("file", "b.png", &images::large_png(size)).body();
        let mut socket = TcpStream::connect(server.address).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        // As curl does from a mebibyte on.
        let head = format!(
            "POST /uploadTrainingImage HTTP/1.1\r\nHost: localhost\r\nContent-Type: {}\r\nContent-Length: {}\r\n\
             Expect: 100-continue\r\nConnection: close\r\n\r\n",
            form_type(),
            body.len()
        );
        socket.write_all(head.as_bytes()).unwrap();
        let mut start = [0; 12];
        socket.read_exact(&mut start).unwrap();
        if start.ends_with(b"100") && outcome.contains("200") {
            socket.write_all(&body).unwrap();
        }
        let mut rest = String::from_utf8(start.to_vec()).unwrap();
        socket.read_to_string(&mut rest).unwrap();
        assert!(rest.contains(outcome), "{rest}");
    }
}

#[test]
fn an_image_of_exactly_the_limit_is_taken() {
    let mut image = images::png(2);
    let trailing = LIMIT - image.len();
    image.extend(std::iter::repeat_n(b' ', trailing));
    let yard = yard();
    let server = furnished(&yard);
    let answer = upload(&server, "/uploadTrainingImage", &image);
    // Bytes behind an image's end are its sender's affair; the size is not in the way.
    assert!(matches!(answer.status, 200 | 415), "{}", answer.text());
    image.push(b' ');
    upload(&server, "/uploadTrainingImage", &image).refused(413, "status");
}

#[test]
fn files_that_are_no_images_are_refused() {
    use image::ImageFormat::{Gif, Jpeg, Png, WebP};
    let yard = yard();
    let server = furnished(&yard);
    let before = State::of(&yard, &server);
    let halves: Vec<Vec<u8>> = [Png, Jpeg, Gif, WebP]
        .into_iter()
        .map(|format| {
            let whole = images::encoded(2, format);
            whole[..whole.len() * 2 / 3].to_vec()
        })
        .collect();
    let mut damaged = images::png(2);
    let middle = damaged.len() / 2;
    damaged[middle] ^= 0xff;
    let large_half = &images::large_png(90_000)[..80_000];
    let texts: [&[u8]; 5] = [b"", b"x", b"<html><body>404</body></html>", b"%PDF-1.7", b"\x89PNG\r\n\x1a\n"];
    let all = texts.into_iter().chain(halves.iter().map(Vec::as_slice)).chain([&damaged[..], large_half]);
    for content in all {
        for (path, key) in CALLS {
            let message = upload(&server, path, content).refused(415, key);
            assert!(message.len() < 400, "{message}");
        }
    }
    before.still(&yard, &server);
    images_are_untouched(&server);
}

#[test]
fn a_bomb_of_pixels_is_refused_by_its_dimensions() {
    let yard = yard();
    let server = furnished(&yard);
    let before = State::of(&yard, &server);
    for (path, key) in CALLS {
        let message = upload(&server, path, &images::bomb(30_000, 30_000)).refused(413, key);
        assert!(message.contains("30000 x 30000"), "{message}");
        upload(&server, path, &images::bomb(u32::MAX >> 1, u32::MAX >> 1)).refused(413, key);
        upload(&server, path, &images::bomb(0, 8)).refused(415, key);
    }
    before.still(&yard, &server);
    images_are_untouched(&server);
}

#[test]
fn a_head_that_makes_no_sense_harms_nobody() {
    let yard = yard();
    let server = furnished(&yard);
    let before = State::of(&yard, &server);
    let long = format!("GET /createModel?model_name={} HTTP/1.1\r\n\r\n", "x".repeat(300_000));
    for bytes in [&b"nonsense\r\n\r\n"[..], b"\0\0\0\0", b"GET / HTTP/9.9\r\n\r\n", long.as_bytes()] {
        let head_only = [bytes, b"\r\n\r\n"].concat();
        if let Some(answer) = raw(server.address, &head_only) {
            assert!((400..500).contains(&answer.status), "{answer:?}");
        }
    }
    before.still(&yard, &server);
}
