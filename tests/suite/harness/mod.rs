//! What the tests stand on: a yard (a folder with settings, scripts and data), servers in it, a client, waiting.

mod archives;
pub mod client;
pub mod command;
pub mod images;
pub mod process;
pub mod server;
pub mod state;
pub mod stream;
pub mod wait;
pub mod web;
pub mod yard;

pub use archives::archive;
pub use client::{Answer, Form};
pub use server::Server;
pub use state::State;
pub use wait::wait_until;
pub use yard::Yard;
