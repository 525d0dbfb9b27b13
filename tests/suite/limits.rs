//! What one client can take of the server: requests, connections, bytes of a head; and what tells requests apart.

use crate::harness::client::{Answer, get_with, raw};
use crate::harness::{Server, Yard, images, wait_until};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread;

/// A yard whose limits hold for this machine too.
fn yard() -> Yard {
    Yard::new().one_experiment().set("limits", "exempt_loopback", false)
}

fn slow_yard() -> Yard {
    yard().set("limits", "requests_per_second", 1).set("limits", "burst", 20)
}

/// Asks until it is refused.
#[track_caller]
fn exhausted(server: &Server, target: &str, headers: &str) -> Answer {
    let mut answers = (0..100).map(|_| get_with(server.address, target, headers));
    answers.find(|answer| answer.status == 429).expect("a limit")
}

#[test]
fn a_client_that_asks_too_often_is_told_when_to_come_back() {
    let yard = slow_yard();
    let server = yard.start();
    let answer = exhausted(&server, "/bestAccuracy", "");
    assert_eq!(answer.header("retry-after"), Some("1"));
    answer.refused(429, "status");
    assert_eq!(answer.json()["code"], "too_many");
    get_with(server.address, "/healthz", "").problem(429);
    get_with(server.address, "/test", "").refused(429, "Status");
    get_with(server.address, "/api/v1/queue", "").problem(429);
    // A credential has a rate of its own, and so has a cookie.
    let token = "Authorization: Bearer ty_one\r\n";
    assert_eq!(get_with(server.address, "/healthz", token).status, 200);
    exhausted(&server, "/healthz", token);
    assert_eq!(get_with(server.address, "/healthz", "Cookie: session=1\r\n").status, 200);
    // Inventing credentials is no way out.
    let invented = (0..1000).map(|number| format!("Authorization: Bearer {number}\r\n"));
    let mut answers = invented.map(|header| get_with(server.address, "/healthz", &header).status);
    assert!(answers.any(|status| status == 429));
}

#[test]
fn this_machine_may_ask_as_often_as_it_likes_unless_a_proxy_speaks_for_others() {
    let yard = Yard::new().set("limits", "requests_per_second", 1).set("limits", "burst", 5);
    let server = yard.start();
    let stranger = "X-Forwarded-For: 192.0.2.1\r\n";
    assert!((0..50).all(|_| get_with(server.address, "/healthz", "").status == 200));
    // A proxy that nobody listed speaks for others, though it is not believed for whom: they all count as one.
    exhausted(&server, "/healthz", stranger);
    assert_eq!(get_with(server.address, "/healthz", "X-Forwarded-For: 192.0.2.2\r\n").status, 429);
    drop(server);

    let yard = yard.set("server", "trusted_proxies", vec!["10.0.0.0/8", "127.0.0.1"]);
    let server = yard.start();
    assert!((0..50).all(|_| get_with(server.address, "/healthz", "").status == 200));
    exhausted(&server, "/healthz", stranger);
    assert_eq!(get_with(server.address, "/healthz", "X-Forwarded-For: 192.0.2.2\r\n").status, 200);
    // What stands before the address that the proxy saw is an invention.
    let invented = "X-Forwarded-For: 192.0.2.3, 192.0.2.1\r\n";
    assert_eq!(get_with(server.address, "/healthz", invented).status, 429);
    assert_eq!(get_with(server.address, "/healthz", "Forwarded: for=192.0.2.1\r\n").status, 200);
}

#[test]
fn every_answer_has_the_id_of_its_request() {
    let yard = Yard::new().variable("RUST_LOG", "trainyard=debug");
    let server = yard.start();
    let id_of = |answer: &Answer| answer.header("x-request-id").unwrap().to_owned();
    let first = id_of(&server.get("/healthz", &[]));
    assert!(first.len() == 16 && first != id_of(&server.get("/healthz", &[])));
    let given = "X-Request-Id: from-a-proxy.1\r\n";
    for (target, status) in [("/healthz", 200), ("/nothing", 404), ("/api/v1/runs", 400), ("/createModel", 400)] {
        let answer = get_with(server.address, target, given);
        assert_eq!((answer.status, id_of(&answer).as_str()), (status, "from-a-proxy.1"), "{target}");
        if status != 200 {
            assert_eq!(answer.json()["request_id"], "from-a-proxy.1", "{target}");
        }
    }
    let wrong = raw(server.address, b"POST /bestAccuracy HTTP/1.0\r\nContent-Length: 0\r\n\r\n").unwrap();
    assert_eq!(wrong.json()["request_id"], id_of(&wrong));
    for bad in ["a b", "{\"x\":1}", &"x".repeat(200)] {
        let answer = get_with(server.address, "/healthz", &format!("X-Request-Id: {bad}\r\n"));
        assert_eq!(id_of(&answer).len(), 16, "{bad}");
    }
    wait_until("a line for each request", || {
        let log = server.log();
        let of_request = |line: &&str| line.ends_with("request_id=from-a-proxy.1") && line.contains("answered");
        log.lines().filter(of_request).count() == 4
    });
    assert!(server.log().contains("path=\"/createModel\""));
}

/// Connections that say nothing.
fn idle(address: SocketAddr, count: usize) -> Vec<TcpStream> {
    (0..count).map(|_| TcpStream::connect(address).unwrap()).collect()
}

#[test]
fn connections_that_wait_make_room_for_those_that_work() {
    let yard = Yard::new().set("server", "max_connections", 4);
    let server = yard.start();
    // While the last of so many are let in, a newcomer that has not asked yet may have to make room as well, and asks again.
    let served = || server.attempt("/healthz").is_some_and(|answer| answer.status == 200);
    let mut waiting = idle(server.address, 200);
    wait_until("an answer", served);
    waiting.extend(idle(server.address, 200));
    wait_until("another answer", served);
    // The oldest were closed, some of the newest are open; the workers that let them in do not keep their order exactly.
    let mut byte = [0];
    assert_eq!(waiting[0].read(&mut byte).unwrap(), 0);
    let is_open = |mut socket: TcpStream| {
        let asked = socket.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        let mut answer = String::new();
        asked.is_ok() && socket.read_to_string(&mut answer).is_ok() && answer.starts_with("HTTP/1.1 200")
    };
    assert!(waiting.into_iter().rev().any(is_open));
}

/// A server that is asked for two predictions, which wait at a gate.
fn busy(yard: Yard, then: impl FnOnce(&Server)) {
    let mut gate = yard.gate("gate");
    let yard = yard.test("echo >> \"$YARD/asked\"; : < \"$YARD/gate\"; echo accuracy=0.9");
    let server = yard.start();
    server.model_with_image("m");
    server.trained("m", "default_1", "");
    thread::scope(|scope| {
        for number in 0..2 {
            let server = &server;
            scope.spawn(move || {
                let form =
                    crate::harness::Form::new().field("model_name", "m").file("file", "a.png", &images::png(number));
                server.post("/test", &form).ok();
            });
        }
        wait_until("two predictions", || yard.lines("asked").len() == 2);
        then(&server);
        gate.open();
    });
    assert_eq!(server.get("/healthz", &[]).status, 200);
}

#[test]
fn when_all_connections_work_the_next_is_told_to_come_again() {
    busy(Yard::new().one_experiment().set("server", "max_connections", 2), |server| {
        let answer = get_with(server.address, "/healthz", "");
        answer.refused(503, "status");
        assert_eq!((answer.header("retry-after"), answer.header("connection")), (Some("1"), Some("close")));
    });
    busy(yard().set("limits", "connections_per_address", 2), |server| {
        let answer = get_with(server.address, "/healthz", "");
        assert!(answer.refused(429, "status").contains("limits.connections_per_address"));
    });
}

#[test]
fn a_head_that_is_too_long_is_refused_and_a_long_one_is_not() {
    let yard = Yard::new();
    let server = yard.start();
    let padded = |size: usize| get_with(server.address, "/healthz", &format!("X-Padding: {}\r\n", "x".repeat(size)));
    assert_eq!(padded(30_000).status, 200);
    assert!(padded(40_000).problem(431).contains("32 KiB"));
    // A bomb of many headers, of which no end comes.
    let bomb = format!("GET /healthz HTTP/1.1\r\nHost: x\r\n{}", "X-A: b\r\n".repeat(20_000));
    let answer = raw(server.address, bomb.as_bytes());
    assert!(answer.is_none_or(|answer| (400..500).contains(&answer.status)));
    assert_eq!(server.get("/healthz", &[]).status, 200);
}

#[test]
fn requests_that_come_without_waiting_are_all_answered() {
    let yard = Yard::new();
    let server = yard.start();
    let mut socket = TcpStream::connect(server.address).unwrap();
    let mut many = "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n".repeat(999);
    many.push_str("GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    let mut writer = socket.try_clone().unwrap();
    let sending = thread::spawn(move || writer.write_all(many.as_bytes()));
    let mut answers = String::new();
    socket.read_to_string(&mut answers).unwrap();
    sending.join().unwrap().unwrap();
    assert_eq!(answers.matches("HTTP/1.1 200 OK").count(), 1000);
}

#[test]
fn a_body_that_nobody_asked_for_ends_the_connection_and_nothing_else() {
    let yard = Yard::new();
    let server = yard.start();
    let ask =
        |head: &str| raw(server.address, format!("GET /healthz HTTP/1.1\r\nHost: x\r\n{head}").as_bytes()).unwrap();
    // It never comes to its end.
    for head in ["Content-Length: 1000\r\n\r\nabc", "Transfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\n"] {
        let answer = ask(head);
        assert_eq!((answer.status, answer.header("connection")), (200, Some("close")), "{head}");
    }
    // What it holds is never taken for a request.
    let answer = ask("Content-Length: 40\r\n\r\nGET /createModel?model_name=x HTTP/1.1\r\n\r\n");
    assert_eq!((answer.status, answer.text().as_str()), (200, "{\"status\":\"ok\"}"));
    server.get("/bestAccuracy", &[("model_name", "x")]).refused(404, "status");
}
