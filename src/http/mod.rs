//! HTTP: routes to services, and services' answers to bytes. actix lives here alone.
//!
//! Handlers are thin: they read parameters, call one use case and write its answer in the call's own shape. Knows the
//! services and the domain's types; not the store, not the scheduler, and of the pages no more than `pages` says.

pub mod api;
pub mod asked;
pub mod auth;
pub mod body;
pub mod browser;
mod door;
pub mod error;
mod experiments_api;
pub mod form;
mod gate;
mod health;
mod keyed;
pub mod limits;
mod metrics;
mod openapi;
pub mod pages;
pub mod parameters;
pub mod request_id;
pub mod routes;
mod server;
pub mod tls;

pub use routes::Listed;
pub use server::{Bound, Listeners, Settings, bind, routes};
