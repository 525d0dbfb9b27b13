//! The socket as actix gets it: it hands over no more than is taken, and ends when its connection has to.
//!
//! actix reads up to 128 KiB before it looks at them, takes apart every request in them at once, and puts a deadline on the
//! first head of a connection alone; with this under it a connection costs a few tens of KiB at most, and each of its heads
//! has a deadline.

use super::connection::{Connection, Phase, Room};
use super::connections::Admitted;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::server::TlsStream;

/// A socket, encrypted or not.
pub enum Wire {
    /// As it is.
    Plain(TcpStream),
    /// Under TLS.
    Tls(Box<TlsStream<TcpStream>>),
    /// On this machine.
    Local(UnixStream),
}

/// The answer to a head that is too long; nothing else can be on its way then.
const HEAD_TOO_LONG: &[u8] =
    b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-type: application/problem+json\r\ncontent-length: 195\r\n\
      connection: close\r\n\r\n{\"type\":\"about:blank\",\"title\":\"Request Header Fields Too Large\",\"status\":431,\
      \"detail\":\"the head of the request is longer than 32 KiB; send less in its address and its headers\",\"code\":\"too_large\"}";

/// How many bytes are handed over before actix looks at them: the heads of most programs at once, and few enough of those
/// that a client sends without waiting: it may read none of their answers, which are all made.
const GLANCE: usize = 512;

/// The same for the rest of a body that is thrown away.
const DISCARD: usize = 8 << 10;

/// A socket within bounds.
pub struct Guarded {
    wire: Wire,
    admitted: Admitted,
    /// Whom the connection wakes.
    waker: Option<Waker>,
    /// Bytes that actix has not looked at.
    unseen: usize,
}

impl Guarded {
    /// Puts bounds on an admitted connection's socket.
    pub fn new(wire: Wire, admitted: Admitted) -> Self {
        admitted.connection().open();
        Self { wire, admitted, waker: None, unseen: 0 }
    }

    /// The connection.
    pub fn connection(&self) -> &Arc<Connection> {
        self.admitted.connection()
    }

    fn listen(&mut self, context: &Context<'_>) {
        if !self.waker.as_ref().is_some_and(|waker| waker.will_wake(context.waker())) {
            self.waker = Some(context.waker().clone());
            self.connection().register(context);
        }
    }

    fn wire(&mut self) -> Pin<&mut (dyn Both + '_)> {
        Pin::new(match &mut self.wire {
            Wire::Plain(socket) => socket,
            Wire::Tls(stream) => stream.as_mut(),
            Wire::Local(socket) => socket,
        })
    }

    fn poll_fill(&mut self, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>, room: usize) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = if room >= buffer.remaining() {
            self.wire().poll_read(context, buffer)
        } else {
            let mut part = ReadBuf::new(buffer.initialize_unfilled_to(room));
            let polled = self.wire().poll_read(context, &mut part);
            let filled = part.filled().len();
            buffer.advance(filled);
            polled
        };
        let read = buffer.filled().len() - before;
        if read > 0 {
            self.unseen += read;
            self.connection().read(read);
        } else if matches!(polled, Poll::Ready(Ok(()))) && room > 0 {
            self.connection().leave();
        }
        polled
    }

    /// The head is too long: says so as far as the socket takes it, and reads nothing more.
    fn refuse_head(&mut self, context: &mut Context<'_>) {
        // Whoever sends such a head may not be listening.
        let _ = self.wire().poll_write(context, HEAD_TOO_LONG);
        let _ = self.wire().poll_flush(context);
        self.connection().close();
    }

    fn written(&mut self, polled: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Ok(bytes)) = polled {
            self.connection().wrote(bytes);
        }
        self.watched(polled)
    }

    /// What a write came to: one that has to wait is waited for only so long.
    fn watched<T>(&mut self, polled: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if polled.is_pending() {
            if self.connection().is_closing() {
                return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
            }
            self.connection().blocked();
        }
        polled
    }
}

/// What both kinds of wire do.
trait Both: AsyncRead + AsyncWrite + Unpin {}

impl<T: AsyncRead + AsyncWrite + Unpin> Both for T {}

impl AsyncRead for Guarded {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.listen(context);
        if this.connection().is_closing() {
            return Poll::Ready(Ok(()));
        }
        let glance = match this.connection().phase() {
            Phase::Handshake | Phase::Idle | Phase::Head => GLANCE,
            Phase::Drain => DISCARD,
            Phase::Busy => usize::MAX,
        };
        let room = this.connection().room();
        let polled = if this.unseen > 0 && (this.unseen >= glance || room == Room::Never) {
            context.waker().wake_by_ref();
            Poll::Pending
        } else {
            match room {
                Room::Bytes(room) => this.poll_fill(context, buffer, room.min(glance - this.unseen)),
                Room::Later => Poll::Pending,
                Room::Never => {
                    this.refuse_head(context);
                    Poll::Ready(Ok(()))
                }
            }
        };
        // actix looks once nothing more comes.
        if polled.is_pending() {
            this.unseen = 0;
        }
        polled
    }
}

impl AsyncWrite for Guarded {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.listen(context);
        let polled = this.wire().poll_write(context, bytes);
        this.written(polled)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.listen(context);
        let polled = this.wire().poll_flush(context);
        // actix flushes when it has written everything.
        if polled.is_ready() {
            this.connection().unblocked();
        }
        this.watched(polled)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.listen(context);
        let polled = this.wire().poll_shutdown(context);
        this.watched(polled)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.listen(context);
        let polled = this.wire().poll_write_vectored(context, slices);
        this.written(polled)
    }

    fn is_write_vectored(&self) -> bool {
        match &self.wire {
            Wire::Plain(socket) => socket.is_write_vectored(),
            Wire::Tls(stream) => stream.is_write_vectored(),
            Wire::Local(socket) => socket.is_write_vectored(),
        }
    }
}
