//! Somebody else's web server: the urls that images are fetched from.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread::JoinHandle;

/// What stands under a path.
#[derive(Debug, Clone)]
pub enum Page {
    /// These bytes, their length said or not.
    Body { bytes: Vec<u8>, length_said: bool },
    /// A status without anything.
    Status(u16),
    /// A redirect.
    To(String),
    /// Nothing, ever.
    Hang,
    /// A head that promises more than comes, and then nothing.
    Stall(Vec<u8>),
}

/// A server for as long as it lives.
pub struct Web {
    address: SocketAddr,
    thread: Option<JoinHandle<()>>,
}

/// The path that ends it.
const QUIT: &str = "/quit";

impl Web {
    pub fn start(pages: Vec<(&'static str, Page)>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let thread = std::thread::spawn(move || {
            // Sockets that hang are kept open until the end.
            let mut kept = Vec::new();
            for socket in listener.incoming().map_while(Result::ok) {
                let mut line = String::new();
                let _ = BufReader::new(&socket).read_line(&mut line);
                let path = line.split(' ').nth(1).unwrap_or_default().to_owned();
                if path == QUIT {
                    return;
                }
                let page = pages.iter().find(|(known, _)| *known == path).map(|(_, page)| page.clone());
                kept.extend(serve(socket, page.unwrap_or(Page::Status(404))));
            }
        });
        Self { address, thread: Some(thread) }
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }
}

fn serve(mut socket: TcpStream, page: Page) -> Option<TcpStream> {
    // Whoever asked may have gone.
    let _ = match page {
        Page::Body { bytes, length_said } => {
            let length = if length_said { format!("Content-Length: {}\r\n", bytes.len()) } else { String::new() };
            let head = format!("HTTP/1.1 200 OK\r\n{length}Connection: close\r\n\r\n");
            socket.write_all(&[head.as_bytes(), &bytes].concat())
        }
        Page::Status(status) => {
            socket.write_all(format!("HTTP/1.1 {status} x\r\nContent-Length: 0\r\n\r\n").as_bytes())
        }
        Page::To(location) => socket
            .write_all(format!("HTTP/1.1 302 Found\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n").as_bytes()),
        Page::Hang => return Some(socket),
        Page::Stall(bytes) => {
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", bytes.len() + 1000);
            let _ = socket.write_all(&[head.as_bytes(), &bytes].concat());
            return Some(socket);
        }
    };
    None
}

impl Drop for Web {
    fn drop(&mut self) {
        if let Ok(mut socket) = TcpStream::connect(self.address) {
            let _ = socket.write_all(format!("GET {QUIT} HTTP/1.0\r\n\r\n").as_bytes());
        }
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
