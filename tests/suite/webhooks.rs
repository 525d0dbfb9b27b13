//! Webhooks: told of every end, signed, again and again until somebody takes it, and no more than their owner may see.

use crate::harness::client::{self, Answer};
use crate::harness::{Server, Yard, wait_until};
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha2::Sha256;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex};

/// What came, in order: headers in lower case, and the body.
#[derive(Clone, Default)]
struct Taken(Arc<Mutex<Vec<(String, String)>>>);

impl Taken {
    fn all(&self) -> Vec<(String, String)> {
        self.0.lock().unwrap().clone()
    }

    fn bodies(&self) -> Vec<Value> {
        self.all().iter().map(|(_, body)| serde_json::from_str(body).unwrap()).collect()
    }
}

fn header<'a>(head: &'a str, name: &str) -> &'a str {
    head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": ")).unwrap()
}

/// Takes messages; the first `failures` are answered with a 500.
fn receiver(failures: usize) -> (SocketAddr, Taken) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let taken = Taken::default();
    let keeps = taken.clone();
    std::thread::spawn(move || {
        for (number, stream) in listener.incoming().enumerate() {
            let mut reader = BufReader::new(stream.unwrap());
            let mut head = String::new();
            while !head.ends_with("\r\n\r\n") {
                assert_ne!(reader.read_line(&mut head).unwrap(), 0);
            }
            let head = head.to_lowercase().replace("\r\n", "\n");
            let mut body = vec![0; header(&head, "content-length").parse().unwrap()];
            reader.read_exact(&mut body).unwrap();
            keeps.0.lock().unwrap().push((head, String::from_utf8(body).unwrap()));
            let status = if number < failures { "500 No" } else { "204 Yes" };
            write!(reader.get_mut(), "HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").unwrap();
        }
    });
    (address, taken)
}

fn yard() -> Yard {
    Yard::new().experiments(3).set("fetch", "allow_private_addresses", true)
}

fn create(server: &Server, body: &Value) -> Answer {
    client::request(server.address, "POST", "/api/v1/webhooks", "application/json", body.to_string().as_bytes())
}

#[test]
fn every_end_is_told_once_and_signed() {
    let (address, taken) = receiver(0);
    let yard = yard().train("[ \"$6\" != 2 ] || exit 3; echo accuracy=0.$6");
    let server = yard.start();
    server.model_with_image("m");
    server.trained("m", "default_1", "");
    let made = create(&server, &json!({ "url": format!("http://{address}/hook") }));
    assert_eq!(made.status, 201);
    let secret = made.json()["secret"].as_str().unwrap().to_owned();
    server.sweep("m");
    wait_until("four messages", || taken.all().len() == 4);
    let bodies = taken.bodies();
    let mut runs: Vec<_> =
        bodies.iter().filter(|body| body["event"] == "run_finished").map(|body| &body["run"]).collect();
    runs.sort_by_key(|run| run["experiment"].as_str().unwrap().to_owned());
    let told: Vec<_> = runs.iter().map(|run| json!([run["experiment"], run["state"], run["accuracy"]])).collect();
    let wanted = [
        json!(["default_1", "succeeded", "0.1"]),
        json!(["default_2", "failed", null]),
        json!(["default_3", "succeeded", "0.3"]),
    ];
    assert_eq!(told, wanted, "and nothing of what was before");
    assert!(runs[1]["reason"].as_str().unwrap().contains("exit status 3"));
    let last = bodies.last().unwrap();
    assert_eq!((&last["event"], &last["model"]), (&json!("sweep_finished"), &json!("m")));
    assert_eq!((&last["best"]["experiment"], &last["sweep_id"]), (&json!("default_3"), &runs[0]["sweep_id"]));
    for (head, body) in taken.all() {
        let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
        mac.update(body.as_bytes());
        let signature: String = mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(header(&head, "x-trainyard-signature"), format!("sha256={signature}"));
    }
    let listed = server.get("/api/v1/webhooks", &[]).ok();
    assert!(
        listed["data"][0]["last_delivered_at"].is_string() && listed["data"][0]["last_error"].is_null(),
        "{listed}"
    );
    assert!(!listed.to_string().contains(&secret));
    let id = made.json()["id"].as_str().unwrap().to_owned();
    assert_eq!(client::request(server.address, "DELETE", &format!("/api/v1/webhooks/{id}"), "", &[]).status, 204);
    server.trained("m", "default_1", "");
    assert_eq!(server.get("/api/v1/webhooks", &[]).ok(), json!({ "data": [] }));
    assert_eq!(taken.all().len(), 4);
}

#[test]
fn what_is_not_taken_is_told_again_also_after_a_restart() {
    let (address, taken) = receiver(2);
    let yard = yard();
    let server = yard.start();
    server.model_with_image("m");
    create(&server, &json!({ "url": format!("http://{address}/"), "events": ["sweep_finished"], "secret": "s" }));
    server.sweep("m");
    wait_until("a failure", || {
        let listed = server.get("/api/v1/webhooks", &[]).ok();
        listed["data"][0]["last_error"].as_str().is_some_and(|error| error.contains("500"))
    });
    server.kill9();
    let server = yard.start();
    wait_until("its delivery", || server.get("/api/v1/webhooks", &[]).ok()["data"][0]["last_delivered_at"].is_string());
    let deliveries: Vec<_> =
        taken.all().iter().map(|(head, _)| header(head, "x-trainyard-delivery").to_owned()).collect();
    assert!(deliveries.len() >= 3 && deliveries.iter().all(|delivery| *delivery == deliveries[0]), "{deliveries:?}");
}

#[test]
fn one_is_told_what_one_may_see() {
    let (address, taken) = receiver(0);
    let yard = yard();
    for (name, role) in [("ann", "admin"), ("bob", "member"), ("eve", "member")] {
        yard.add_user(name, role);
    }
    let server = yard.start();
    let ask = |who: &str, method: &str, target: &str, kind: &str, body: &[u8]| {
        let bearer = format!("Bearer {}", yard.token(who));
        let headers = [("Authorization", bearer.as_str()), ("Content-Type", kind)];
        client::send(server.address, method, target, &headers, body)
    };
    for who in ["bob", "eve"] {
        assert_eq!(ask(who, "GET", &format!("/createModel?model_name={who}"), "", b"").status, 200);
        let form = client::Form::new().field("model_name", who).file("file", "1.png", &crate::harness::images::png(1));
        assert_eq!(ask(who, "POST", "/uploadTrainingImage", &client::form_type(), &form.body()).status, 200);
    }
    let body = json!({ "url": format!("http://{address}/"), "events": ["run_finished"] }).to_string();
    assert_eq!(ask("eve", "POST", "/api/v1/webhooks", "application/json", body.as_bytes()).status, 201);
    let body = json!({ "url": format!("http://{address}/"), "model": "bob" }).to_string();
    assert_eq!(ask("eve", "POST", "/api/v1/webhooks", "application/json", body.as_bytes()).status, 404);
    for who in ["bob", "eve"] {
        let target = format!("/train?experiment_name=default_1&model_name={who}");
        assert_eq!(ask(who, "GET", &target, "", b"").status, 200);
    }
    wait_until("a message", || !taken.all().is_empty());
    assert_eq!(ask("bob", "GET", "/api/v1/webhooks", "", b"").json(), json!({ "data": [] }));
    // The queue is served in order, so the other run's end was passed over before or is not told at all.
    let target = "/train?experiment_name=default_2&model_name=eve";
    assert_eq!(ask("eve", "GET", target, "", b"").status, 200);
    wait_until("another message", || taken.all().len() == 2);
    assert!(taken.bodies().iter().all(|body| body["model"] == "eve"), "{:?}", taken.bodies());
}

#[test]
fn bad_webhooks_are_refused() {
    let yard = Yard::new();
    let server = yard.start();
    for (url, named) in [
        ("http://127.0.0.1:9/", "private"),
        ("http://[::1]/", "private"),
        ("http://169.254.169.254/latest", "private"),
        ("ftp://example.org/", "ftp"),
        ("http://user:word@example.org/", "user name"),
        ("nonsense", "http"),
    ] {
        let message = create(&server, &json!({ "url": url })).problem(400);
        assert!(message.contains(named), "{url}: {message}");
    }
    let url = "https://example.org/";
    for body in [
        json!({ "url": url, "events": ["run_started"] }),
        json!({ "url": url, "events": [] }),
        json!({ "url": url, "secret": "" }),
        json!({ "url": url, "colour": "red" }),
        json!({}),
    ] {
        create(&server, &body).problem(400);
    }
    create(&server, &json!({ "url": url, "model": "none" })).problem(404);
    client::request(server.address, "DELETE", "/api/v1/webhooks/whk_0000000000000", "", &[]).problem(404);
}
