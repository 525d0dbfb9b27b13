//! Commands of the binary beside a server, and the socket through which they reach one.

use super::process::trainyard;
use super::server::Server;
use super::yard::Yard;
use std::io::{self, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::Stdio;
use std::thread;

/// What a command said.
#[derive(Debug)]
pub struct Said {
    pub status: Option<i32>,
    pub stdout: Vec<u8>,
    pub stderr: String,
}

impl Said {
    /// What went to standard output, as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    #[track_caller]
    pub fn ok(self) -> Self {
        assert_eq!(self.status, Some(0), "{}{}", self.text(), self.stderr);
        self
    }
}

/// Runs a command to its end.
pub fn command(arguments: &[&str]) -> Said {
    command_with(arguments, &[])
}

/// Runs a command with this on standard input.
pub fn command_with(arguments: &[&str], input: &[u8]) -> Said {
    let mut command = trainyard();
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let output = thread::scope(|scope| {
        scope.spawn(move || {
            // It may not read all of it.
            let _ = stdin.write_all(input);
        });
        child.wait_with_output().unwrap()
    });
    Said {
        status: output.status.code(),
        stdout: output.stdout,
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// Lets commands reach the server of a yard through a socket in its data folder, for as long as the server lives.
pub fn control(yard: &Yard, server: &Server) {
    let path = yard.data("control.sock");
    if path.exists() {
        return;
    }
    let (listener, address) = (UnixListener::bind(path).unwrap(), server.address);
    thread::spawn(move || {
        for client in listener.incoming() {
            let (client, server) = (client.unwrap(), TcpStream::connect(address));
            let Ok(server) = server else { return };
            thread::spawn(move || pass(client, server));
        }
    });
}

fn pass(client: UnixStream, server: TcpStream) {
    let (mut from_client, mut to_server) = (client.try_clone().unwrap(), server.try_clone().unwrap());
    thread::spawn(move || {
        let _ = io::copy(&mut from_client, &mut to_server);
        let _ = to_server.shutdown(Shutdown::Write);
    });
    let (mut from_server, mut to_client) = (server, client);
    let _ = io::copy(&mut from_server, &mut to_client);
    let _ = to_client.shutdown(Shutdown::Both);
}
