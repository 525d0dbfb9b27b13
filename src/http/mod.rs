//! HTTP: routes to services, and services' answers to bytes. actix lives here alone.
//!
//! Handlers are thin: they read parameters, call one use case and write its answer in the call's own shape. Knows the
//! services and the domain's types; not the store, not the scheduler.

pub mod api;
mod error;
mod experiments_api;
mod form;
mod health;
mod parameters;
mod server;

pub use server::{Bound, Settings, bind};
