//! How other threads reach a child and what it was seen to hold: orders one way, memory the other.

use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};

/// Why a child was told to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// Somebody cancelled it.
    Cancel,
    /// The server stops.
    Stop,
}

const NO_ORDER: u8 = 0;
const CANCEL: u8 = 1;
const STOP: u8 = 2;

/// Reaches a child from other threads.
#[derive(Debug)]
pub struct Control {
    bell: OwnedFd,
    order: AtomicU8,
    /// What it was seen to hold.
    pub meter: Arc<Meter>,
}

impl Control {
    /// A control for one child.
    ///
    /// # Errors
    /// Where the system has no descriptors left.
    pub fn new() -> io::Result<Self> {
        let flags = rustix::event::EventfdFlags::CLOEXEC | rustix::event::EventfdFlags::NONBLOCK;
        let bell = rustix::event::eventfd(0, flags)?;
        Ok(Self { bell, order: AtomicU8::new(NO_ORDER), meter: Arc::default() })
    }

    /// Tells the child to end. The first order stands.
    pub fn order(&self, order: Order) {
        let code = match order {
            Order::Cancel => CANCEL,
            Order::Stop => STOP,
        };
        let _ = self.order.compare_exchange(NO_ORDER, code, Ordering::AcqRel, Ordering::Acquire);
        self.nudge();
    }

    /// Wakes the thread that watches the child: its sink gets an empty piece, unless the child is to end.
    pub fn nudge(&self) {
        if let Err(error) = rustix::io::write(&self.bell, &1_u64.to_ne_bytes()) {
            tracing::error!(%error, "a child's thread could not be woken");
        }
    }

    /// Makes the bell silent again.
    pub(super) fn hush(&self) {
        if let Err(error) = rustix::io::read(&self.bell, &mut [0; 8]) {
            tracing::error!(%error, "a child's thread cannot tell what it was woken for");
        }
    }

    /// Readable from the first order on.
    pub(in crate::executor) fn bell(&self) -> BorrowedFd<'_> {
        self.bell.as_fd()
    }

    /// What was ordered.
    pub fn ordered(&self) -> Option<Order> {
        match self.order.load(Ordering::Acquire) {
            CANCEL => Some(Order::Cancel),
            STOP => Some(Order::Stop),
            _ => None,
        }
    }
}

/// The memory that a child and everything it started were seen to hold, in bytes.
#[derive(Debug, Default)]
pub struct Meter {
    now: AtomicU64,
    most: AtomicU64,
    started: AtomicBool,
    starved: AtomicBool,
}

impl Meter {
    /// The child is there.
    pub(in crate::executor) fn start(&self) {
        self.started.store(true, Ordering::Relaxed);
    }

    /// It was looked at.
    pub(in crate::executor) fn see(&self, bytes: u64) {
        self.now.store(bytes, Ordering::Relaxed);
        self.most.fetch_max(bytes, Ordering::Relaxed);
    }

    /// The kernel killed it for want of memory.
    pub(in crate::executor) fn starve(&self) {
        self.starved.store(true, Ordering::Relaxed);
    }

    /// At the last look; nought before the first.
    pub fn now(&self) -> u64 {
        self.now.load(Ordering::Relaxed)
    }

    /// The most at any look.
    pub fn most(&self) -> u64 {
        self.most.load(Ordering::Relaxed)
    }

    /// Whether there ever was a child.
    pub fn has_started(&self) -> bool {
        self.started.load(Ordering::Relaxed)
    }

    /// Whether it was killed for want of memory, so that it would have held more.
    pub fn has_starved(&self) -> bool {
        self.starved.load(Ordering::Relaxed)
    }
}
