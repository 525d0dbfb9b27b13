//! How a run becomes a command, and how what the command prints becomes points and a result.
//!
//! The built-in trainers live here too, one file or folder a task, on `nn`. Knows nothing of processes, of the store
//! or of HTTP.

pub mod backbone;
pub mod classify;
pub mod command;
pub mod nn;
pub mod output;
pub mod sharing;
