//! Under a process manager: what it is told, and what can be read while a server stops.

use crate::harness::{Server, Yard, client, wait_until};
use std::os::unix::net::UnixDatagram;
use std::time::Duration;

fn told(socket: &UnixDatagram) -> String {
    let mut bytes = [0; 256];
    let length = socket.recv(&mut bytes).unwrap();
    String::from_utf8_lossy(&bytes[..length]).trim().to_owned()
}

#[test]
fn systemd_is_told_when_it_serves_that_it_works_and_that_it_stops() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let yard = Yard::new().variable("NOTIFY_SOCKET", path.to_str().unwrap()).variable("WATCHDOG_USEC", "20000");
    let server = yard.start();
    assert_eq!(told(&socket), "READY=1");
    for _ in 0..3 {
        assert_eq!(told(&socket), "WATCHDOG=1");
    }
    server.stop();
    let last = std::iter::repeat_with(|| told(&socket)).find(|words| words != "WATCHDOG=1");
    assert_eq!(last.as_deref(), Some("STOPPING=1"));
}

#[test]
fn a_server_that_stops_is_not_ready_but_can_be_read_until_its_runs_have_ended() {
    let script = "trap ': < \"$YARD/gate\"; exit 0' TERM\ntouch \"$YARD/here\"\nwhile :; do sleep 0.02; done";
    let yard = Yard::new().one_experiment().set("jobs", "stop_grace_seconds", 60).train(script);
    let mut gate = yard.gate("gate");
    let server = yard.start();
    server.model_with_image("m");
    let run = server.train("m", "default_1", "");
    wait_until("the script", || yard.path("here").exists() && server.run(&run)["state"] == "running");
    assert_eq!(server.get("/readyz", &[]).status, 200);
    let address = server.address;
    let stopping = std::thread::spawn(move || server.stop());
    wait_until("the end of readiness", || client::request(address, "GET", "/readyz", "", &[]).status == 503);
    let shown = client::request(address, "GET", &format!("/api/v1/runs/{run}"), "", &[]).ok();
    assert_eq!(shown["state"], "running");
    assert_eq!(client::request(address, "GET", "/healthz", "", &[]).status, 200);
    gate.open();
    stopping.join().unwrap();
    let server: Server = yard.start();
    wait_until("what was interrupted goes on", || server.run(&run)["attempts"] == 2);
}
