//! The log as JSON lines: a flag, a setting and a variable.

use crate::harness::client::get_with;
use crate::harness::{Server, Yard, wait_until};
use serde_json::Value;

fn lines(server: &Server) -> Vec<Value> {
    let parsed = |line: &str| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
    server.log().lines().map(parsed).collect()
}

fn logs_json(yard: &Yard, flags: &[&str]) {
    let yard_log = yard.path("server.log");
    let _ = std::fs::remove_file(yard_log);
    let server = Server::start(yard, flags).unwrap();
    get_with(server.address, "/nothing", "X-Request-Id: r-1\r\n");
    wait_until("the request's line", || lines(&server).iter().any(|line| line["request_id"] == "r-1"));
    for line in lines(&server) {
        assert!(line["timestamp"].is_string() && line["level"].is_string() && line["target"].is_string(), "{line}");
        assert!(line["fields"]["message"].is_string(), "{line}");
    }
    let line = lines(&server).into_iter().find(|line| line["request_id"] == "r-1").unwrap();
    assert_eq!((&line["fields"]["status"], &line["fields"]["path"]), (&404.into(), &"/nothing".into()), "{line}");
}

#[test]
fn every_line_is_an_object_however_it_was_asked_for() {
    let yard = || Yard::new().variable("RUST_LOG", "debug");
    logs_json(&yard(), &["--log-format", "json"]);
    logs_json(&yard().set("log", "format", "json"), &[]);
    logs_json(&yard().variable("TRAINYARD_LOG_FORMAT", "json"), &[]);
}

#[test]
fn a_format_that_does_not_exist_is_named() {
    assert!(Yard::new().set("log", "format", "xml").refusal(&[]).contains("xml"));
    assert!(Yard::new().variable("TRAINYARD_LOG_FORMAT", "xml").refusal(&[]).contains("TRAINYARD_LOG_FORMAT"));
}
