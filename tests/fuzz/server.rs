//! The real server over a socket: request lines, headers, query strings, multipart parts, JSON bodies.

#[path = "../suite/harness/mod.rs"]
#[allow(dead_code, unused_imports, reason = "the suite uses the rest")]
mod harness;

use super::{ROOM, Target, run};
use harness::{Form, Server, Yard, client, images};
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

/// What may be read of an answer's status: it is the server's own failure.
const FAILURES: [&[u8]; 2] = [b"HTTP/1.1 500", b"HTTP/1.0 500"];

fn get(target: &str) -> Vec<u8> {
    format!("GET {target} HTTP/1.1\r\nHost: localhost\r\nUser-Agent: curl/8.5.0\r\nAccept: */*\r\n\r\n").into_bytes()
}

fn post(target: &str, content_type: &str, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let head = format!(
        "POST {target} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {content_type}\r\nContent-Length: {length}\r\n\r\n"
    );
    [head.as_bytes(), body].concat()
}

/// Calls of every kind, as curl and the Postman collection make them. None of them fetches, and none makes an account.
fn examples() -> Vec<Vec<u8>> {
    let mut all: Vec<Vec<u8>> = [
        "/createModel?model_name=fresh",
        "/createDataset?model_name=m&dataset_name=d1&dataset_name_old=d",
        "/createExperiment?model_name=m&experiment_name=e1&learning_rate=0.01&num_layers=2&num_steps=100",
        "/train?model_name=m&experiment_name=default_1&dataset_name=d",
        "/runDefaultExperiments?model_name=m&dataset_name=d",
        "/allAccuracies?model_name=m&experiment_name=default_1",
        "/bestAccuracy?model_name=m",
        "/api/v1/runs?model=m&limit=2&cursor=run_0000000000106",
        "/api/v1/audit?limit=5&cursor=12",
        "/api/v1/accounts?cursor=ann",
        "/api/v1/runs/run_0000000000106",
        "/api/v1/runs/run_0000000000106/log",
        "/api/v1/queue",
        "/healthz",
    ]
    .map(get)
    .into();
    let form = || Form::new().field("model_name", "m");
    let kind = client::form_type();
    let label = form().field("dataset_name", "d").field("label", "cat").file("file", "cat/7.png", &images::png(7));
    all.push(post("/uploadTrainingImage", &kind, &label.body()));
    all.push(post("/uploadTrainingImage", &kind, &form().file("file", "cat_012.jpg", &images::png(8)).body()));
    all.push(post("/test", &kind, &form().file("file", "q.png", &images::png(9)).body()));
    let hook = br#"{"url": "https://example.org/hook", "events": ["run.succeeded"], "model": "m", "secret": "0123456789abcdef"}"#;
    all.push(post("/api/v1/webhooks", "application/json", hook));
    all.push(post("/api/v1/session", "application/json", br#"{"name": "ann", "password": "correct horse"}"#));
    all.push(post("/api/v1/runs/run_0000000000106/cancel", "application/json", b""));
    let headers = "Range: bytes=0-99\r\nOrigin: https://evil.example\r\nSec-Fetch-Site: cross-site\r\n\
        Authorization: Basic YW5uOnB3\r\nCookie: trainyard=ty_0123456789abcdef\r\nExpect: 100-continue\r\n";
    all.push(format!("GET /api/v1/queue HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n").into_bytes());
    let chunks = "POST /test HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\nContent-Type: ";
    all.push(format!("{chunks}{kind}\r\n\r\n5\r\n--abc\r\n0\r\n\r\n").into_bytes());
    all
}

/// Sends bytes and reads everything that comes back.
fn exchange(address: SocketAddr, bytes: &[u8]) -> Vec<u8> {
    let mut socket = TcpStream::connect(address).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    // It may answer, and close, before it has read everything.
    let _ = socket.write_all(bytes).and_then(|()| socket.shutdown(Shutdown::Write));
    let mut answer = Vec::new();
    match socket.read_to_end(&mut answer) {
        Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => panic!("no end of the answer"),
        _ => answer,
    }
}

fn furnished(yard: &Yard) -> Server {
    let server = yard.start();
    server.model_with_image("m");
    server.create_dataset("m", "d");
    server.upload("m", "d", "cat/1.png", &images::png(1));
    // What is submitted waits.
    assert_eq!(client::request(server.address, "POST", "/api/v1/queue/pause", "", &[]).status, 200);
    server
}

#[test]
fn requests() {
    let yard = Yard::new().one_experiment();
    let mut server = furnished(&yard);
    let target = Target {
        name: "requests",
        cases: 1500,
        examples: examples(),
        words: &[
            "\r\n",
            "\r\n\r\n",
            "--",
            "Content-Length: 5\r\n",
            "Transfer-Encoding: chunked\r\n",
            "name=\"file\"",
            "filename*=UTF-8''",
            "filename=\"../../x.png\"",
            "%00",
            "%2f",
            "&",
            "=",
            "?",
            "model_name",
            "Host: a\r\n",
            "Expect: 100-continue\r\n",
            "[[[[",
            "{\"a\":",
            "\\u0000",
            "1e999",
            "Content-Type: multipart/form-data; boundary=x\r\n",
            "HTTP/1.1",
            "cursor",
            "limit=18446744073709551615",
        ],
        room: ROOM,
    };
    // Undamaged, each is answered as it should be: what is looked at is the handlers, not the refusal of everything.
    let good = target.examples.iter().filter(|example| exchange(server.address, example).starts_with(b"HTTP/1.1 200"));
    assert!(good.count() > target.examples.len() / 2);
    run(&target, |bytes| {
        let answer = exchange(server.address, bytes);
        let failed = FAILURES.iter().any(|failure| answer.windows(failure.len()).any(|window| window == *failure));
        assert!(!failed, "{}", answer.escape_ascii());
    });
    assert!(!server.has_ended());
    assert_eq!(server.get("/healthz", &[]).status, 200);
    let left: Vec<_> = std::fs::read_dir(yard.data("tmp")).unwrap().flatten().map(|entry| entry.path()).collect();
    assert!(left.is_empty(), "{left:?}");
    assert!(!server.log().contains("panicked"), "{}", server.log());
}
