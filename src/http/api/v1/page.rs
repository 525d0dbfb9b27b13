//! Lists: a page of things and a cursor for the next one.

use crate::domain::error::{Error, Result};
use crate::http::parameters::Parameters;
use serde::Serialize;
use utoipa::ToSchema;

/// What a page holds unless asked otherwise, and at the most.
const DEFAULT: usize = 50;
const MOST: usize = 200;

/// One page.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Page<T> {
    /// The things.
    pub data: Vec<T>,
    /// Give this as `cursor` for the next page; null on the last.
    pub next_cursor: Option<String>,
}

/// Reads `limit`.
pub(super) fn limit(parameters: &Parameters) -> Result<usize> {
    match parameters.all("limit").next() {
        None => Ok(DEFAULT),
        Some(text) => match text.parse() {
            Ok(limit) if (1..=MOST).contains(&limit) => Ok(limit),
            _ => Err(Error::parameter(format!("limit must be a whole number from 1 to {MOST}"))),
        },
    }
}

/// Reads `cursor`.
pub(super) fn cursor<T: std::str::FromStr>(parameters: &Parameters) -> Result<Option<T>> {
    parameters
        .optional("cursor")
        .map(|text| text.parse().map_err(|_| Error::parameter("cursor must be the next_cursor of an earlier page")))
        .transpose()
}
