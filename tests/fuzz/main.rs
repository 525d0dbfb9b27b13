//! Fuzz targets: whatever reads bytes from outside, given real examples that were damaged.
//!
//! Nothing may panic, hang, or ask for memory without bound, and what is taken has to keep its type's promise. Each
//! target is a test of a few thousand cases; `scripts/fuzz` runs it for as long as asked. Coverage guides nothing, so a
//! stable toolchain will do; the examples lead to where it matters.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on has failed, and the lint knows only the #[test] functions themselves"
)]

mod archives;
mod engine;
mod files;
mod records;
mod server;
mod texts;
mod zips;

use engine::{ROOM, THREADS, Target, run};

/// Lines of a file of examples, each one an example.
fn lines(text: &str) -> Vec<Vec<u8>> {
    text.lines().filter(|line| !line.is_empty()).map(|line| line.as_bytes().to_vec()).collect()
}
