//! The integration tests: the real binary, driven over HTTP and by its command line as its users drive it.
//!
//! One file a capability. `harness` starts servers, writes scripts and speaks HTTP.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on has failed, and the lint knows only the #[test] functions themselves"
)]

mod access;
mod accounts;
mod archives;
mod backbone;
mod backup;
mod bad_bodies;
mod bad_parameters;
mod bad_settings;
mod bad_urls;
mod browsers;
mod built_in_trainer;
mod capabilities;
mod catalogue;
mod children_custody;
mod children_limits;
mod children_memory;
mod commands;
mod control;
mod crashes;
mod datasets;
mod disk;
mod endings;
mod events;
mod experiments_api;
mod full_disk;
mod harness;
mod jobs;
mod limits;
mod logs;
mod mail;
mod metrics;
mod openapi;
mod output_forms;
mod packs;
mod pages;
mod predictions;
mod results;
mod runs;
mod store;
mod submissions;
mod supervised;
mod thumbnails;
mod tls;
mod trainer_contract;
mod trash;
mod verify;
mod warm_predictions;
mod webhooks;
