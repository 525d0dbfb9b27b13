//! One connection as the limits see it: what it is at, since when, and how much it may read.
//!
//! Its own worker writes this, another thread looks at it once a second, so everything is an atomic that costs the
//! worker next to nothing. Knows nothing of bytes.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Waker};

/// The longest head of a request, in bytes: a long query and the cookies of a browser fit several times over.
pub const MAX_HEAD: usize = 32 << 10;

/// How much of a body may wait between the socket and the one who reads it, in bytes.
const BODY_WINDOW: usize = 32 << 10;

/// The same while nobody reads it yet.
const BODY_START: usize = 4 << 10;

/// How much is read while a request without a body is answered, in bytes: enough to see that the client is gone. Heads that
/// it sends without waiting cost fifty times their size once they are taken apart.
const PIPELINE: usize = 128;

/// From how long a wait for the client on a connection gives way to a newcomer, in seconds.
const GIVES_WAY_SECONDS: u64 = 2;

/// How long a connection is kept on which nothing comes, in seconds.
const IDLE_SECONDS: u64 = 75;

/// How long a head may take, in seconds. actix answers the first one of a connection with a 408 a little earlier.
const HEAD_SECONDS: u64 = 12;

/// How long the rest of a body that nobody wants may take, in seconds.
const DRAIN_SECONDS: u64 = 10;

/// How far a client may fall behind in taking what is sent to it, in seconds: what it takes at the least rate is no debt.
const BLOCKED_SECONDS: u64 = 60;

/// The least rate at which an answer is taken, in bytes a second.
const LEAST_TAKEN: u64 = 2 << 10;

/// The same for one that is not to give way to a newcomer.
const BRISKLY_TAKEN: u64 = 32 << 10;

/// A clock that somebody else sets once a second; reading it costs nothing.
#[derive(Debug, Default)]
pub struct CoarseClock(AtomicU64);

impl CoarseClock {
    /// Seconds since some moment; never 0.
    pub fn now(&self) -> u64 {
        self.0.load(Relaxed) + 1
    }

    /// Sets it.
    pub fn set(&self, seconds: u64) {
        self.0.fetch_max(seconds, Relaxed);
    }
}

/// What a connection is at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Phase {
    /// It is being encrypted.
    Handshake = 0,
    /// Nothing has come since the last answer.
    Idle = 1,
    /// A head is coming.
    Head = 2,
    /// A request is in hand.
    Busy = 3,
    /// It was answered before its body had come; the rest is thrown away.
    Drain = 4,
}

impl Phase {
    fn from_number(number: u8) -> Self {
        [Self::Handshake, Self::Idle, Self::Head, Self::Busy, Self::Drain][usize::from(number).min(4)]
    }
}

/// Why a connection is ended from this side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Overdue {
    /// Nothing has come for long.
    Idle,
    /// A head, or the rest of a body, takes too long.
    SlowSender,
    /// The client does not read.
    SlowReader,
}

/// How much may be read now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Room {
    /// So many bytes.
    Bytes(usize),
    /// Nothing until what has been read is taken.
    Later,
    /// Nothing more: the head is too long.
    Never,
}

/// One connection.
#[derive(Debug)]
pub struct Connection {
    peer: IpAddr,
    secure: bool,
    control: bool,
    clock: Arc<CoarseClock>,
    phase: AtomicU8,
    /// When the phase began.
    since: AtomicU64,
    /// When an answer first had to wait for the client; 0 while it takes what comes.
    blocked_since: AtomicU64,
    /// Bytes that it has taken since.
    sent: AtomicU64,
    /// When somebody began to wait for more of a body, or the body for its turn; 0 while nobody does.
    hungry_since: AtomicU64,
    /// Bytes that were read and that nobody has taken yet.
    ahead: AtomicUsize,
    /// Whether the request in hand has a body of which more may come.
    body: AtomicBool,
    /// Whether somebody has begun to read it.
    wanted: AtomicBool,
    /// Whether the reader waits for room.
    parked: AtomicBool,
    closing: AtomicBool,
    /// Whether the client has said that nothing more comes.
    left: AtomicBool,
    waker: Mutex<Option<Waker>>,
}

impl Connection {
    /// A connection that was just accepted.
    pub fn new(peer: IpAddr, secure: bool, clock: Arc<CoarseClock>) -> Self {
        Self {
            peer: peer.to_canonical(),
            secure,
            control: false,
            phase: AtomicU8::new(Phase::Handshake as u8),
            since: AtomicU64::new(clock.now()),
            clock,
            blocked_since: AtomicU64::new(0),
            sent: AtomicU64::new(0),
            hungry_since: AtomicU64::new(0),
            ahead: AtomicUsize::new(0),
            body: AtomicBool::new(false),
            wanted: AtomicBool::new(false),
            parked: AtomicBool::new(false),
            closing: AtomicBool::new(false),
            left: AtomicBool::new(false),
            waker: Mutex::new(None),
        }
    }

    /// A connection of whoever owns the data folder, on this machine.
    pub fn of_owner(clock: Arc<CoarseClock>) -> Self {
        Self { control: true, ..Self::new(Ipv4Addr::LOCALHOST.into(), false, clock) }
    }

    /// Whether it is that of the owner, who has no bounds but time.
    pub fn is_control(&self) -> bool {
        self.control
    }

    /// The address at its other end.
    pub fn peer(&self) -> IpAddr {
        self.peer
    }

    /// Whether it is TLS.
    pub fn is_secure(&self) -> bool {
        self.secure
    }

    /// What it is at.
    pub fn phase(&self) -> Phase {
        Phase::from_number(self.phase.load(Relaxed))
    }

    /// Since when.
    pub fn since(&self) -> u64 {
        self.since.load(Relaxed)
    }

    fn enter(&self, phase: Phase) {
        self.phase.store(phase as u8, Relaxed);
        self.since.store(self.clock.now(), Relaxed);
    }

    /// The handshake is over, or there was none.
    pub fn open(&self) {
        self.enter(Phase::Idle);
    }

    /// A head has come to its end and somebody begins to answer it.
    pub fn begin(&self, has_body: bool) {
        self.ahead.store(0, Relaxed);
        self.body.store(has_body, Relaxed);
        self.wanted.store(false, Relaxed);
        self.enter(Phase::Busy);
    }

    /// Whether more of the body in hand may come though nobody waits for it.
    pub fn has_unread_body(&self) -> bool {
        self.body.load(Relaxed)
    }

    /// The answer is made.
    pub fn end(&self) {
        self.ahead.store(0, Relaxed);
        self.hungry_since.store(0, Relaxed);
        let unread = self.body.swap(false, Relaxed);
        self.enter(if unread { Phase::Drain } else { Phase::Idle });
        self.unpark();
    }

    /// How much may be read.
    pub fn room(&self) -> Room {
        let ahead = self.ahead.load(Relaxed);
        let (limit, full) = match self.phase() {
            Phase::Handshake | Phase::Drain => return Room::Bytes(usize::MAX),
            // Who asks on without reading the answers is not answered on.
            Phase::Idle | Phase::Head if self.is_blocked() => (0, Room::Later),
            Phase::Idle | Phase::Head => (MAX_HEAD, Room::Never),
            Phase::Busy if !self.body.load(Relaxed) => (PIPELINE, Room::Later),
            Phase::Busy if self.wanted.load(Relaxed) => (BODY_WINDOW, Room::Later),
            Phase::Busy => (BODY_START, Room::Later),
        };
        match limit.saturating_sub(ahead) {
            0 => {
                self.parked.store(full == Room::Later, Relaxed);
                full
            }
            room => Room::Bytes(room),
        }
    }

    /// So many bytes were read.
    pub fn read(&self, bytes: usize) {
        match self.phase() {
            Phase::Idle => self.enter(Phase::Head),
            Phase::Busy => self.hungry_since.store(0, Relaxed),
            _ => {}
        }
        self.ahead.fetch_add(bytes, Relaxed);
    }

    /// The client sends nothing more.
    pub fn leave(&self) {
        self.left.store(true, Relaxed);
    }

    /// Whether the client sends nothing more; who waits for an answer without an end has then most likely gone.
    pub fn has_left(&self) -> bool {
        self.left.load(Relaxed)
    }

    /// So many bytes of a body were taken.
    pub fn taken(&self, bytes: usize) {
        let ahead = self.ahead.load(Relaxed);
        self.ahead.store(ahead.saturating_sub(bytes), Relaxed);
        self.wanted.store(true, Relaxed);
        self.unpark();
    }

    /// Everything that was read of a body is taken, and more is wanted.
    pub fn hungry(&self) {
        self.ahead.store(0, Relaxed);
        self.wanted.store(true, Relaxed);
        self.queue();
        self.unpark();
    }

    /// The body waits for its turn to be read.
    pub fn queue(&self) {
        if self.hungry_since.load(Relaxed) == 0 {
            self.hungry_since.store(self.clock.now(), Relaxed);
        }
    }

    /// It is the body's turn.
    pub fn turn(&self) {
        self.hungry_since.store(0, Relaxed);
    }

    /// The body has come to its end.
    pub fn body_ended(&self) {
        self.body.store(false, Relaxed);
        self.ahead.store(0, Relaxed);
        self.hungry_since.store(0, Relaxed);
        self.unpark();
    }

    fn unpark(&self) {
        if self.parked.swap(false, Relaxed) {
            self.wake();
        }
    }

    /// What is to be sent has to wait for the client.
    pub fn blocked(&self) {
        if self.blocked_since.load(Relaxed) == 0 {
            self.sent.store(0, Relaxed);
            self.blocked_since.store(self.clock.now(), Relaxed);
        }
    }

    /// The client, or the kernel for it, took so many bytes.
    pub fn wrote(&self, bytes: usize) {
        if self.blocked_since.load(Relaxed) != 0 {
            self.sent.fetch_add(bytes as u64, Relaxed);
        }
    }

    /// By how many seconds the client is behind one that takes `rate` bytes a second.
    fn behind(&self, now: u64, rate: u64) -> u64 {
        match self.blocked_since.load(Relaxed) {
            0 => 0,
            since => now.saturating_sub(since).saturating_sub(self.sent.load(Relaxed) / rate),
        }
    }

    /// The client has taken everything.
    pub fn unblocked(&self) {
        if self.is_blocked() {
            self.blocked_since.store(0, Relaxed);
            // While it was busy taking, it had nothing to ask.
            self.enter(self.phase());
            self.unpark();
        }
    }

    fn is_blocked(&self) -> bool {
        self.blocked_since.load(Relaxed) != 0
    }

    /// Whether it may be closed for a newcomer: nothing is in hand, or the client has been waited for for a while.
    pub fn gives_way(&self, now: u64) -> bool {
        let hungry = self.hungry_since.load(Relaxed);
        let starves = hungry != 0 && now.saturating_sub(hungry) >= GIVES_WAY_SECONDS;
        let dawdles = self.behind(now, BRISKLY_TAKEN) >= GIVES_WAY_SECONDS;
        let waits = self.phase() != Phase::Busy && !self.is_blocked();
        !self.control && (waits || starves || dawdles)
    }

    /// Whether it takes too long over something.
    pub fn overdue(&self, now: u64) -> Option<Overdue> {
        if self.is_blocked() {
            return (self.behind(now, LEAST_TAKEN) >= BLOCKED_SECONDS).then_some(Overdue::SlowReader);
        }
        let (limit, why) = match self.phase() {
            // The handshake has a timer of its own.
            Phase::Handshake | Phase::Busy => return None,
            Phase::Idle => (IDLE_SECONDS, Overdue::Idle),
            Phase::Head => (HEAD_SECONDS, Overdue::SlowSender),
            Phase::Drain => (DRAIN_SECONDS, Overdue::SlowSender),
        };
        (now.saturating_sub(self.since()) >= limit).then_some(why)
    }

    /// Ends it: nothing more is read, and nothing waited for. An answer under way is still sent.
    pub fn close(&self) {
        self.closing.store(true, Relaxed);
        self.wake();
    }

    /// Whether it is to end.
    pub fn is_closing(&self) -> bool {
        self.closing.load(Relaxed)
    }

    /// Remembers whom to wake.
    pub fn register(&self, context: &Context<'_>) {
        let mut waker = self.waker.lock().unwrap_or_else(PoisonError::into_inner);
        *waker = Some(context.waker().clone());
    }

    fn wake(&self) {
        if let Some(waker) = &*self.waker.lock().unwrap_or_else(PoisonError::into_inner) {
            waker.wake_by_ref();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connection() -> (Connection, Arc<CoarseClock>) {
        let clock = Arc::new(CoarseClock::default());
        let connection = Connection::new(Ipv4Addr::LOCALHOST.into(), false, Arc::clone(&clock));
        connection.open();
        (connection, clock)
    }

    #[test]
    fn what_takes_too_long_is_overdue() {
        let (connection, clock) = connection();
        let start = clock.now();
        assert_eq!(connection.overdue(start + IDLE_SECONDS - 1), None);
        assert_eq!(connection.overdue(start + IDLE_SECONDS), Some(Overdue::Idle));
        connection.read(1);
        assert_eq!(connection.phase(), Phase::Head);
        assert_eq!(connection.overdue(start + HEAD_SECONDS), Some(Overdue::SlowSender));
        // More bytes of the same head do not start its time anew.
        clock.set(5);
        connection.read(1);
        assert_eq!(connection.overdue(start + HEAD_SECONDS), Some(Overdue::SlowSender));
        connection.begin(true);
        assert_eq!(connection.overdue(start + 100_000), None);
        // Answered though the body had not come.
        connection.end();
        assert_eq!(connection.phase(), Phase::Drain);
        assert_eq!(connection.overdue(start + 5 + DRAIN_SECONDS), Some(Overdue::SlowSender));
        connection.begin(true);
        connection.body_ended();
        connection.end();
        assert_eq!(connection.phase(), Phase::Idle);
        connection.begin(false);
        connection.blocked();
        clock.set(10);
        connection.blocked();
        assert_eq!(connection.overdue(start + 5 + BLOCKED_SECONDS), Some(Overdue::SlowReader));
        // A long answer over a slow line is no reason, as long as it moves.
        connection.wrote(100 * LEAST_TAKEN as usize);
        assert_eq!(connection.overdue(start + 5 + 99 + BLOCKED_SECONDS), None);
        assert_eq!(connection.overdue(start + 5 + 100 + BLOCKED_SECONDS), Some(Overdue::SlowReader));
        connection.unblocked();
        // What was taken before does not count for what comes later.
        connection.wrote(100 * LEAST_TAKEN as usize);
        connection.blocked();
        assert_eq!(connection.overdue(start + 10 + BLOCKED_SECONDS), Some(Overdue::SlowReader));
        connection.unblocked();
        assert_eq!(connection.overdue(start + 5 + BLOCKED_SECONDS), None);
    }

    #[test]
    fn what_waits_for_the_client_gives_way() {
        let (connection, clock) = connection();
        let start = clock.now();
        assert!(connection.gives_way(start));
        connection.begin(true);
        assert!(!connection.gives_way(start + 1000));
        connection.hungry();
        assert!(
            !connection.gives_way(start + GIVES_WAY_SECONDS - 1) && connection.gives_way(start + GIVES_WAY_SECONDS)
        );
        connection.read(1);
        assert!(!connection.gives_way(start + 1000));
        connection.hungry();
        connection.body_ended();
        assert!(!connection.gives_way(start + 1000));
        connection.blocked();
        assert!(connection.gives_way(start + GIVES_WAY_SECONDS));
        connection.wrote(BRISKLY_TAKEN as usize);
        assert!(!connection.gives_way(start + GIVES_WAY_SECONDS));
        // It is still taking when the answer was made long ago.
        connection.end();
        assert!(!connection.gives_way(start + GIVES_WAY_SECONDS));
        assert_eq!(connection.overdue(start + BLOCKED_SECONDS), None);
        clock.set(1000);
        connection.unblocked();
        assert_eq!(connection.overdue(start + 1000 + IDLE_SECONDS - 1), None);
        assert!(connection.gives_way(start + 1000));
    }

    #[test]
    fn no_more_is_read_than_somebody_takes() {
        let (connection, _) = connection();
        assert_eq!(connection.room(), Room::Bytes(MAX_HEAD));
        connection.blocked();
        assert_eq!(connection.room(), Room::Later);
        connection.unblocked();
        assert_eq!(connection.room(), Room::Bytes(MAX_HEAD));
        connection.read(MAX_HEAD - 1);
        assert_eq!(connection.room(), Room::Bytes(1));
        connection.read(1);
        assert_eq!(connection.room(), Room::Never);
        connection.begin(false);
        connection.read(PIPELINE);
        assert_eq!(connection.room(), Room::Later);
        connection.end();
        assert_eq!(connection.room(), Room::Bytes(MAX_HEAD));
        connection.begin(true);
        connection.read(BODY_START);
        assert_eq!(connection.room(), Room::Later);
        connection.hungry();
        connection.read(BODY_WINDOW);
        assert_eq!(connection.room(), Room::Later);
        connection.taken(10);
        assert_eq!(connection.room(), Room::Bytes(10));
        connection.hungry();
        assert_eq!(connection.room(), Room::Bytes(BODY_WINDOW));
        connection.end();
        assert_eq!(connection.room(), Room::Bytes(usize::MAX));
    }
}
