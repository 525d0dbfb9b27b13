//! How a connection comes in: it is admitted or told to go, and encrypted where the server speaks TLS.

use super::limits::connections::Refusal;
use super::limits::stream::{Guarded, Wire};
use super::limits::{Connections, connections::Admitted};
use super::tls::Tls;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;

/// How long a handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// How long one that is sent away may take to read why.
const FAREWELL: Duration = Duration::from_millis(250);

const FULL: &str = concat!(
    r#"{"status":"ERROR","message":"the server has as many connections as it can hold, all of them busy; "#,
    r#"try again in a moment","code":"unavailable"}"#
);
const ADDRESS_FULL: &str = concat!(
    r#"{"status":"ERROR","message":"there are too many connections from this address, all of them busy; "#,
    r#"use fewer, or raise limits.connections_per_address","code":"too_many"}"#
);
const SPEAK_TLS: &str = r#"{"status":"ERROR","message":"this server speaks TLS here; use https:// in place of http://","code":"invalid_body"}"#;

/// The way in.
#[derive(Clone)]
pub struct Door {
    /// All connections.
    pub connections: Arc<Connections>,
    /// The server's key and certificate, where it speaks TLS.
    pub tls: Option<Arc<Tls>>,
}

impl Door {
    /// Takes a connection in.
    ///
    /// # Errors
    /// Nothing more to say: it was told to go, or did not speak as it should.
    pub async fn enter(self, socket: TcpStream) -> Result<(Guarded, Option<SocketAddr>), ()> {
        let peer = socket.peer_addr().map_err(drop)?;
        let admitted = match self.connections.admit(peer.ip(), self.tls.is_some()) {
            Ok(admitted) => admitted,
            Err(refusal) => {
                // A handshake would cost more than the answer is worth.
                if self.tls.is_none() {
                    send_away(socket, refusal).await;
                }
                return Err(());
            }
        };
        let wire = match &self.tls {
            None => Wire::Plain(socket),
            Some(tls) => {
                let handshake = timeout(HANDSHAKE, shake_hands(tls, socket));
                unless_closed(&admitted, handshake).await.and_then(Result::ok).and_then(Result::ok).ok_or(())?
            }
        };
        Ok((Guarded::new(wire, admitted), Some(peer)))
    }

    /// Takes in a connection of whoever owns the data folder.
    ///
    /// # Errors
    /// None.
    pub async fn enter_control(self, socket: UnixStream) -> Result<(Guarded, Option<SocketAddr>), ()> {
        Ok((Guarded::new(Wire::Local(socket), self.connections.admit_owner()), None))
    }
}

/// What a future comes to, unless its connection has to go before that.
async fn unless_closed<T>(admitted: &Admitted, future: impl Future<Output = T>) -> Option<T> {
    let mut future = std::pin::pin!(future);
    poll_fn(|context| {
        admitted.connection().register(context);
        if admitted.connection().is_closing() {
            return Poll::Ready(None);
        }
        future.as_mut().poll(context).map(Some)
    })
    .await
}

async fn shake_hands(tls: &Arc<Tls>, mut socket: TcpStream) -> io::Result<Wire> {
    let mut first = [0];
    socket.peek(&mut first).await?;
    // A method; TLS begins with a 22.
    if first[0].is_ascii_alphabetic() {
        answer(&mut socket, "400 Bad Request", SPEAK_TLS).await?;
        return Err(io::ErrorKind::InvalidData.into());
    }
    tls.look().await;
    let stream = tls.acceptor().accept(socket).await?;
    Ok(Wire::Tls(Box::new(stream)))
}

async fn answer(socket: &mut TcpStream, status: &str, body: &str) -> io::Result<()> {
    let head = format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {}\r\nretry-after: 1\r\nconnection: close\r\n\r\n",
        body.len()
    );
    socket.write_all(&[head.as_bytes(), body.as_bytes()].concat()).await?;
    socket.shutdown().await
}

/// Says why, and reads what the client had sent already: closing over it would take the answer back.
async fn send_away(mut socket: TcpStream, refusal: Refusal) {
    let (status, body) = match refusal {
        Refusal::Full => ("503 Service Unavailable", FULL),
        Refusal::AddressFull => ("429 Too Many Requests", ADDRESS_FULL),
    };
    let farewell = async {
        answer(&mut socket, status, body).await?;
        let mut rest = [0; 1024];
        while socket.read(&mut rest).await? > 0 {}
        io::Result::Ok(())
    };
    // One that neither reads nor goes is left alone.
    let _ = timeout(FAREWELL, farewell).await;
}
