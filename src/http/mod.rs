//! HTTP: routes to services, and services' answers to bytes. actix lives here alone.
//!
//! Handlers are thin: they read parameters, call one use case and write its answer in the call's own shape. Knows the
//! services and the domain's types; not the store, not the scheduler.

pub mod api;
mod auth;
mod body;
pub mod browser;
mod error;
mod experiments_api;
mod form;
mod health;
mod parameters;
mod routes;
mod server;

pub use routes::Listed;
pub use server::{Bound, Listeners, Settings, bind, routes};
