//! A client of server-sent events: reads them as they come, over HTTP/1.1 and its chunks.

use super::client::Answer;
use super::wait::DEADLINE;
use serde_json::Value;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// One event.
#[derive(Debug, Clone)]
pub struct Event {
    pub name: String,
    pub data: Value,
    pub at: Instant,
}

/// An open stream.
pub struct Stream {
    reader: BufReader<TcpStream>,
    pub status: u16,
    pub head: String,
    text: String,
    /// The id that was given last.
    pub id: String,
    /// Comments, such as heartbeats.
    pub comments: usize,
}

impl Stream {
    /// Asks for `/api/v1/events` with this query and these header lines.
    pub fn open(address: SocketAddr, query: &str, headers: &str) -> Self {
        let mut socket = TcpStream::connect(address).unwrap();
        socket.set_read_timeout(Some(DEADLINE)).unwrap();
        write!(socket, "GET /api/v1/events?{query} HTTP/1.1\r\nHost: {address}\r\n{headers}\r\n").unwrap();
        let mut reader = BufReader::new(socket);
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            assert!(reader.read_line(&mut head).unwrap() > 0, "no answer: {head}");
        }
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Self { reader, status, head, text: String::new(), id: String::new(), comments: 0 }
    }

    /// The answer where it is no stream.
    pub fn refusal(mut self) -> Answer {
        let length = self.head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
        let mut body = vec![0; length.trim().parse().unwrap()];
        self.reader.read_exact(&mut body).unwrap();
        Answer { status: self.status, head: self.head, body }
    }

    pub fn patience(&self, limit: Duration) {
        self.reader.get_ref().set_read_timeout(Some(limit)).unwrap();
    }

    /// The next chunk; nothing at the end of the stream.
    fn chunk(&mut self) -> Option<()> {
        let mut line = String::new();
        if self.reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        let length = usize::from_str_radix(line.trim(), 16).unwrap();
        let mut chunk = vec![0; length + 2];
        self.reader.read_exact(&mut chunk).ok()?;
        self.text.push_str(std::str::from_utf8(&chunk[..length]).unwrap());
        (length > 0).then_some(())
    }

    /// The next event; nothing once the stream is over or silent for too long.
    pub fn next(&mut self) -> Option<Event> {
        let began = Instant::now();
        loop {
            while let Some(end) = self.text.find("\n\n") {
                let block: String = self.text.drain(..end + 2).collect();
                let at = Instant::now();
                let (mut name, mut data) = (String::new(), None);
                for line in block.lines() {
                    match line.split_once(": ") {
                        Some(("event", value)) => name = value.to_owned(),
                        Some(("data", value)) => data = Some(serde_json::from_str(value).unwrap()),
                        Some(("id", value)) => self.id = value.to_owned(),
                        Some(("", _)) => self.comments += 1,
                        _ => {}
                    }
                }
                if let Some(data) = data {
                    return Some(Event { name, data, at });
                }
            }
            // Heartbeats come for as long as the stream is open.
            if began.elapsed() > 3 * DEADLINE {
                return None;
            }
            self.chunk()?;
        }
    }

    /// The next event of this name that is as `is` says; others are passed over.
    #[track_caller]
    pub fn find(&mut self, name: &str, is: impl Fn(&Value) -> bool) -> Event {
        let mut seen = Vec::new();
        let until = Instant::now() + 3 * DEADLINE;
        loop {
            assert!(Instant::now() < until, "no `{name}` came; what came is {seen:?}");
            let Some(event) = self.next() else { panic!("no `{name}` came; what came is {seen:?}") };
            if event.name == name && is(&event.data) {
                return event;
            }
            seen.push(event.name);
        }
    }
}
