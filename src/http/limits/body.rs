//! Bodies of requests: each has a pace to keep, and only so many are read at once.
//!
//! Only the time in which somebody waits for the client counts, so a server that is busy blames nobody. While others
//! wait for their turn, senders have to be quicker: a crowd of slow ones cannot keep the rest out. What handlers and
//! extractors get is an ordinary payload. Knows nothing of what is sent.

use super::connection::Connection;
use crate::domain::error::{Code, Error};
use actix_web::dev::Payload;
use actix_web::error::PayloadError;
use bytes::Bytes;
use futures::Stream;
use futures::task::noop_waker_ref;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, Sleep};

/// What is asked of a sender.
#[derive(Debug, Clone, Copy)]
struct Pace {
    /// The longest silence.
    silence: Duration,
    /// From when on the least rate counts.
    grace: Duration,
    /// Bytes a second.
    rate: u64,
}

/// What holds for all bodies.
#[derive(Debug, Clone, Copy)]
struct Rules {
    /// Bodies that are read at once; each may hold some 150 KiB.
    at_once: usize,
    /// How often a body that is waited for is looked at.
    look: Duration,
    ordinary: Pace,
    /// While others wait.
    crowded: Pace,
}

const RULES: Rules = Rules {
    at_once: 128,
    look: Duration::from_secs(1),
    ordinary: Pace { silence: Duration::from_secs(30), grace: Duration::from_secs(20), rate: 1 << 10 },
    crowded: Pace { silence: Duration::from_secs(3), grace: Duration::from_secs(3), rate: 32 << 10 },
};

/// The longest that a body may be waited for in all.
const DEADLINE: Duration = Duration::from_secs(30 * 60);

impl Pace {
    fn is_kept(self, received: u64, waited: Duration, silent: Duration) -> bool {
        let is_fast = waited < self.grace || received >= waited.as_secs().saturating_mul(self.rate);
        silent < self.silence && is_fast && waited < DEADLINE
    }
}

/// The places for bodies.
pub struct Bodies {
    rules: Rules,
    turns: Arc<Semaphore>,
    waiting: AtomicUsize,
    /// Whether somebody waits for what is behind the bodies, such as a thread that writes them.
    crowd_behind: Box<dyn Fn() -> bool + Send + Sync>,
}

impl Bodies {
    /// All free. `crowd_behind` says whether somebody waits for what is behind them, such as a thread that writes.
    pub fn new(crowd_behind: impl Fn() -> bool + Send + Sync + 'static) -> Self {
        Self::with_rules(RULES, crowd_behind)
    }

    fn with_rules(rules: Rules, crowd_behind: impl Fn() -> bool + Send + Sync + 'static) -> Self {
        let turns = Arc::new(Semaphore::new(rules.at_once));
        Self { rules, turns, waiting: AtomicUsize::new(0), crowd_behind: Box::new(crowd_behind) }
    }

    fn pace(&self) -> Pace {
        let crowded = self.waiting.load(Relaxed) > 0 || (self.crowd_behind)();
        if crowded { self.rules.crowded } else { self.rules.ordinary }
    }

    /// Puts a pace on a request's body. Where there is none, nothing is done.
    ///
    /// Returns whether there is one.
    pub fn watch(self: &Arc<Self>, payload: &mut Payload, connection: Option<&Arc<Connection>>) -> bool {
        if matches!(payload, Payload::None) {
            return false;
        }
        let body = Paced {
            inner: payload.take(),
            bodies: Arc::clone(self),
            connection: connection.cloned(),
            turn: Turn::None,
            received: 0,
            waited: Duration::ZERO,
            silent_since: None,
            look: None,
            ended: false,
        };
        *payload = Payload::Stream { payload: Box::pin(body) };
        true
    }
}

/// Whether the body comes too slowly, as an error that extractors pass on.
pub fn is_too_slow(error: &PayloadError) -> bool {
    matches!(error, PayloadError::Io(error) if error.kind() == io::ErrorKind::TimedOut)
}

/// What a client is told whose body comes too slowly.
pub fn slow_body() -> Error {
    Error::new(Code::RequestTimeout, "the body came too slowly; send it again over a better line")
}

fn too_slow() -> PayloadError {
    PayloadError::Io(io::Error::new(io::ErrorKind::TimedOut, "the body came too slowly"))
}

type Acquire = Pin<Box<dyn Future<Output = Result<OwnedSemaphorePermit, AcquireError>>>>;

/// A body's place.
enum Turn {
    None,
    Waiting(Acquire),
    Taken(#[expect(dead_code, reason = "held, not looked at")] OwnedSemaphorePermit),
}

/// A body with a pace.
struct Paced {
    inner: Payload,
    bodies: Arc<Bodies>,
    connection: Option<Arc<Connection>>,
    turn: Turn,
    received: u64,
    /// How long the client was waited for.
    waited: Duration,
    silent_since: Option<Instant>,
    look: Option<Pin<Box<Sleep>>>,
    ended: bool,
}

impl Paced {
    fn poll_turn(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if let Turn::None = self.turn {
            self.turn = match Arc::clone(&self.bodies.turns).try_acquire_owned() {
                Ok(permit) => Turn::Taken(permit),
                Err(_) => {
                    self.bodies.waiting.fetch_add(1, Relaxed);
                    Turn::Waiting(Box::pin(Arc::clone(&self.bodies.turns).acquire_owned()))
                }
            };
        }
        if let Turn::Waiting(acquire) = &mut self.turn {
            let Poll::Ready(permit) = acquire.as_mut().poll(context) else {
                self.connection.iter().for_each(|connection| connection.queue());
                return Poll::Pending;
            };
            self.bodies.waiting.fetch_sub(1, Relaxed);
            self.connection.iter().for_each(|connection| connection.turn());
            // The semaphore is never closed; if it were, everybody would have a turn.
            self.turn = permit.map_or(Turn::None, Turn::Taken);
        }
        Poll::Ready(())
    }

    fn give_up_turn(&mut self) {
        if let Turn::Waiting(_) = self.turn {
            self.bodies.waiting.fetch_sub(1, Relaxed);
        }
        self.turn = Turn::None;
    }

    fn end(&mut self) {
        self.ended = true;
        self.give_up_turn();
        if let Some(connection) = &self.connection {
            connection.body_ended();
        }
    }

    fn got(&mut self, bytes: usize) {
        self.received += bytes as u64;
        if let Some(since) = self.silent_since.take() {
            self.waited += since.elapsed();
        }
        if let Some(connection) = &self.connection {
            connection.taken(bytes);
        }
    }

    /// Nothing is there: looks whether the client may go on taking its time.
    fn poll_pace(&mut self, context: &mut Context<'_>) -> Poll<PayloadError> {
        if let Some(connection) = &self.connection {
            connection.hungry();
        }
        let since = *self.silent_since.get_or_insert_with(Instant::now);
        let every = self.bodies.rules.look;
        let look = self.look.get_or_insert_with(|| Box::pin(tokio::time::sleep(every)));
        while look.as_mut().poll(context).is_ready() {
            let silent = since.elapsed();
            if !self.bodies.pace().is_kept(self.received, self.waited + silent, silent) {
                return Poll::Ready(too_slow());
            }
            look.as_mut().reset(Instant::now() + every);
        }
        Poll::Pending
    }
}

impl Stream for Paced {
    type Item = Result<Bytes, PayloadError>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        if this.ended {
            return Poll::Ready(None);
        }
        ready!(this.poll_turn(context));
        match Pin::new(&mut this.inner).poll_next(context) {
            Poll::Ready(Some(Ok(piece))) => {
                this.got(piece.len());
                Poll::Ready(Some(Ok(piece)))
            }
            Poll::Ready(last) => {
                this.end();
                Poll::Ready(last)
            }
            Poll::Pending => {
                let error = ready!(this.poll_pace(context));
                // The rest is not read, so the connection cannot be used again.
                this.ended = true;
                this.give_up_turn();
                Poll::Ready(Some(Err(error)))
            }
        }
    }
}

impl Drop for Paced {
    fn drop(&mut self) {
        self.give_up_turn();
        if self.ended {
            return;
        }
        // A body that has come as a whole though nobody read it is no reason to close the connection.
        let mut context = Context::from_waker(noop_waker_ref());
        loop {
            match Pin::new(&mut self.inner).poll_next(&mut context) {
                Poll::Ready(Some(Ok(_))) => {}
                Poll::Ready(None) => return self.end(),
                Poll::Ready(Some(Err(_))) | Poll::Pending => return,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::{FutureExt, StreamExt};
    use tokio::sync::mpsc;

    struct Sent(mpsc::UnboundedReceiver<Bytes>);

    impl Stream for Sent {
        type Item = Result<Bytes, PayloadError>;

        fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
            self.0.poll_recv(context).map(|piece| piece.map(Ok))
        }
    }

    fn body(bodies: &Arc<Bodies>) -> (mpsc::UnboundedSender<Bytes>, Payload) {
        let (sender, receiver) = mpsc::unbounded_channel();
        let stream: Pin<Box<dyn Stream<Item = Result<Bytes, PayloadError>>>> = Box::pin(Sent(receiver));
        let mut payload = Payload::Stream { payload: stream };
        assert!(bodies.watch(&mut payload, None));
        (sender, payload)
    }

    #[test]
    fn silence_trickles_and_endless_bodies_do_not_keep_the_pace() {
        let kept = |pace: Pace, received: u64, waited: u64, silent: u64| {
            pace.is_kept(received, Duration::from_secs(waited), Duration::from_secs(silent))
        };
        let Rules { ordinary, crowded, .. } = RULES;
        assert!(kept(ordinary, 0, 19, 19) && !kept(ordinary, 0, 30, 30) && !kept(ordinary, 1 << 20, 30, 30));
        assert!(kept(ordinary, 60 << 10, 60, 1) && !kept(ordinary, 59 << 10, 60, 1));
        assert!(kept(ordinary, 32 << 20, 1799, 1) && !kept(ordinary, 32 << 20, 1800, 1));
        assert!(!kept(crowded, 60 << 10, 60, 1) && kept(crowded, 60 << 15, 60, 1) && !kept(crowded, 1 << 20, 9, 3));
    }

    const QUICK: Duration = Duration::from_millis(5);

    fn rules(silence: Duration) -> Rules {
        let pace = Pace { silence, grace: Duration::from_secs(100), rate: 0 };
        Rules { at_once: 2, look: QUICK, ordinary: pace, crowded: Pace { silence: QUICK, ..pace } }
    }

    #[tokio::test]
    async fn a_sender_that_falls_silent_is_told() {
        let bodies = Arc::new(Bodies::with_rules(rules(QUICK), || false));
        let (sender, mut payload) = body(&bodies);
        sender.send(Bytes::from_static(b"x")).unwrap();
        assert_eq!(payload.next().await.unwrap().unwrap(), "x");
        assert!(is_too_slow(&payload.next().await.unwrap().unwrap_err()));
        assert!(payload.next().await.is_none());
        assert_eq!(bodies.turns.available_permits(), 2);
    }

    #[tokio::test]
    async fn only_so_many_are_read_and_silent_ones_make_room() {
        let bodies = Arc::new(Bodies::with_rules(rules(Duration::from_secs(1000)), || false));
        let mut silent: Vec<_> = (0..2).map(|_| body(&bodies)).collect();
        for (_, payload) in &mut silent {
            assert!(payload.next().now_or_never().is_none());
        }
        let (sender, mut payload) = body(&bodies);
        sender.send(Bytes::from_static(b"x")).unwrap();
        drop(sender);
        assert!(payload.next().now_or_never().is_none());
        let (_, first) = &mut silent[0];
        assert!(is_too_slow(&first.next().await.unwrap().unwrap_err()));
        assert_eq!(payload.next().await.unwrap().unwrap(), "x");
        assert!(payload.next().await.is_none());
        assert_eq!(bodies.waiting.load(Relaxed), 0);
        // Nobody waits any more, so the other one may take its time.
        assert!(silent[1].1.next().now_or_never().is_none());
        // One that gives up waiting does not count as waiting.
        let (_others, mut waiting) = (body(&bodies), body(&bodies));
        let (_held, mut held) = body(&bodies);
        assert!(held.next().now_or_never().is_none());
        assert!(waiting.1.next().now_or_never().is_none());
        assert_eq!(bodies.waiting.load(Relaxed), 1);
        drop(waiting);
        assert_eq!(bodies.waiting.load(Relaxed), 0);
    }

    #[tokio::test]
    async fn a_body_that_nobody_reads_gives_its_place_back() {
        let bodies = Arc::new(Bodies::new(|| false));
        let (sender, payload) = body(&bodies);
        sender.send(Bytes::from_static(b"x")).unwrap();
        drop(payload);
        let (_sender, mut payload) = body(&bodies);
        assert!(payload.next().now_or_never().is_none());
        assert_eq!(bodies.turns.available_permits(), RULES.at_once - 1);
        drop(payload);
        assert_eq!(bodies.turns.available_permits(), RULES.at_once);
        assert!(!bodies.watch(&mut Payload::None, None));
    }
}
