//! Trainyard: images in, a sweep of experiments run, the best one answers.
//!
//! The way through, and the map of the crate:
//!
//! ```text
//! HTTP  ->  service  ->  store / scheduler  ->  executor  ->  trainer
//!                              ^                   |
//!                              +---- RunEvent -----+    results come back as messages, never as upward calls
//! ```
//!
//! [`domain`] holds types and rules, [`store`] and [`blob`] keep them, [`care`] looks after both, [`ingest`] makes outside bytes safe, [`service`]
//! is what a user can do, [`scheduler`] decides what runs next, [`executor`] runs it, [`trainer`] says how a run becomes
//! a command (and holds the built-in trainers), [`outbox`] tells webhooks and people, [`http`], [`ui`] (its pages) and [`cli`] are the ways in ([`control`] lets commands reach a
//! running server), [`app`] wires everything.
//! `tests/architecture.rs` fails on an import against these directions.

pub mod allocator;
pub mod app;
pub mod blob;
pub mod care;
pub mod cli;
pub mod config;
pub mod control;
pub mod domain;
pub mod executor;
pub mod http;
pub mod image;
pub mod ingest;
pub mod outbox;
pub mod scheduler;
pub mod service;
pub mod store;
pub mod supervisor;
pub mod telemetry;
pub mod trainer;
pub mod ui;

pub use app::Server;
pub use config::Config;
