//! A small HTTP client: HTTP/1.0 requests, forms with their fields in any order, raw bytes for what is malformed.

use serde_json::Value;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

/// Longer than any answer takes.
const PATIENCE: Duration = Duration::from_secs(60);

/// Between the parts of the forms.
pub const BOUNDARY: &str = "----boundary7MA4YWxk";

/// An answer.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
}

impl Answer {
    fn parse(bytes: &[u8]) -> Option<Self> {
        let end = bytes.windows(4).position(|window| window == b"\r\n\r\n")?;
        let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
        let status = head.split(' ').nth(1)?.parse().ok()?;
        let mut answer = Self { status, head, body: bytes[end + 4..].to_vec() };
        if answer.header("transfer-encoding") == Some("chunked") {
            answer.body = joined(&answer.body)?;
        }
        Some(answer)
    }

    /// The value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }

    pub fn text(&self) -> String {
        String::from_utf8(self.body.clone()).unwrap()
    }

    /// The JSON body without what no two answers share, the id of the request.
    pub fn text_without_id(&self) -> String {
        let mut body = self.json();
        body.as_object_mut().unwrap().remove("request_id");
        body.to_string()
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The body of a 200.
    #[track_caller]
    pub fn ok(&self) -> Value {
        assert_eq!(self.status, 200, "{}", String::from_utf8_lossy(&self.body));
        self.json()
    }

    /// The message of an error in the shape of the experiments API, `/test` included by its own spelling.
    #[track_caller]
    pub fn refused(&self, status: u16, key: &str) -> String {
        let body = String::from_utf8_lossy(&self.body);
        assert_eq!(self.status, status, "{body}");
        assert_eq!(self.header("content-type"), Some("application/json"), "{body}");
        let json = self.json();
        assert_eq!(json[key], "ERROR", "{body}");
        let message = json["message"].as_str().unwrap_or_else(|| panic!("no message: {body}"));
        assert!(message.len() > 8, "{body}");
        message.to_owned()
    }

    /// The detail of a problem (RFC 9457).
    #[track_caller]
    pub fn problem(&self, status: u16) -> String {
        assert_eq!(self.status, status, "{}", String::from_utf8_lossy(&self.body));
        assert_eq!(self.header("content-type"), Some("application/problem+json"));
        let json = self.json();
        assert_eq!(json["status"], status);
        assert!(json["type"].is_string() && json["title"].is_string() && json["code"].is_string(), "{json}");
        json["detail"].as_str().unwrap().to_owned()
    }
}

/// The chunks of a body; `None` where one is missing.
fn joined(mut rest: &[u8]) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let end = rest.windows(2).position(|window| window == b"\r\n")?;
        let length = usize::from_str_radix(std::str::from_utf8(&rest[..end]).ok()?, 16).ok()?;
        if length == 0 {
            return Some(body);
        }
        body.extend_from_slice(rest.get(end + 2..end + 2 + length)?);
        rest = rest.get(end + 4 + length..)?;
    }
}

/// A multipart form; its parts go out in the order in which they were added.
#[derive(Debug, Clone, Default)]
pub struct Form {
    bytes: Vec<u8>,
}

impl Form {
    pub fn new() -> Self {
        Self::default()
    }

    #[must_use]
    pub fn field(self, name: &str, value: &str) -> Self {
        self.part(&format!("form-data; name=\"{name}\""), None, value.as_bytes())
    }

    #[must_use]
    pub fn file(self, name: &str, file_name: &str, content: &[u8]) -> Self {
        let disposition = format!("form-data; name=\"{name}\"; filename=\"{file_name}\"");
        self.part(&disposition, Some("application/octet-stream"), content)
    }

    fn part(mut self, disposition: &str, content_type: Option<&str>, content: &[u8]) -> Self {
        write!(self.bytes, "--{BOUNDARY}\r\nContent-Disposition: {disposition}\r\n").unwrap();
        if let Some(content_type) = content_type {
            write!(self.bytes, "Content-Type: {content_type}\r\n").unwrap();
        }
        self.bytes.extend_from_slice(b"\r\n");
        self.bytes.extend_from_slice(content);
        self.bytes.extend_from_slice(b"\r\n");
        self
    }

    /// The whole body.
    pub fn body(&self) -> Vec<u8> {
        [&self.bytes[..], format!("--{BOUNDARY}--\r\n").as_bytes()].concat()
    }
}

/// What a form is.
pub fn form_type() -> String {
    format!("multipart/form-data; boundary={BOUNDARY}")
}

/// `path?a=b&c=d` with everything encoded.
pub fn target(path: &str, query: &[(&str, &str)]) -> String {
    if query.is_empty() {
        return path.to_owned();
    }
    let query = form_urlencoded::Serializer::new(String::new()).extend_pairs(query).finish();
    format!("{path}?{query}")
}

fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let socket = TcpStream::connect(address)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.set_write_timeout(Some(PATIENCE))?;
    Ok(socket)
}

/// A GET of a server that may be gone at any moment.
pub fn attempt(address: SocketAddr, target: &str) -> Option<Answer> {
    let mut socket = connect(address).ok()?;
    write!(socket, "GET {target} HTTP/1.0\r\n\r\n").ok()?;
    let mut answer = Vec::new();
    socket.read_to_end(&mut answer).ok()?;
    Answer::parse(&answer)
}

/// Sends bytes as they are and reads what comes back; `None` where the server closed without an answer.
///
/// A server may answer before it has read everything, so failing to send all is no failure.
pub fn raw(address: SocketAddr, bytes: &[u8]) -> Option<Answer> {
    let mut socket = connect(address).unwrap();
    let _ = socket.write_all(bytes);
    let mut answer = Vec::new();
    let read = socket.read_to_end(&mut answer);
    Answer::parse(&answer).or_else(|| read.map(|_| None).unwrap_or_else(|error| panic!("no answer: {error}")))
}

/// A GET with these header lines, each with its end.
pub fn get_with(address: SocketAddr, target: &str, headers: &str) -> Answer {
    let request = format!("GET {target} HTTP/1.1\r\nHost: {address}\r\n{headers}Connection: close\r\n\r\n");
    raw(address, request.as_bytes()).unwrap_or_else(|| panic!("{target} was not answered"))
}

/// Sends bytes and goes away.
pub fn abandon(address: SocketAddr, bytes: &[u8]) {
    let mut socket = connect(address).unwrap();
    socket.write_all(bytes).unwrap();
    socket.shutdown(Shutdown::Both).unwrap();
}

/// Makes a request.
pub fn request(address: SocketAddr, method: &str, target: &str, content_type: &str, body: &[u8]) -> Answer {
    let headers = [("Content-Type", content_type)];
    send(address, method, target, if content_type.is_empty() { &[] } else { &headers }, body)
}

/// Makes a request with these headers.
pub fn send(address: SocketAddr, method: &str, target: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
    let mut bytes = format!("{method} {target} HTTP/1.0\r\n").into_bytes();
    if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
        write!(bytes, "Host: {address}\r\n").unwrap();
    }
    for (name, value) in headers {
        write!(bytes, "{name}: {value}\r\n").unwrap();
    }
    if method != "GET" || !body.is_empty() {
        write!(bytes, "Content-Length: {}\r\n", body.len()).unwrap();
    }
    bytes.extend_from_slice(b"\r\n");
    bytes.extend_from_slice(body);
    raw(address, &bytes).unwrap_or_else(|| panic!("{method} {target} was not answered"))
}
