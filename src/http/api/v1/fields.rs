//! `fields=a,b`: things in part.

use crate::domain::error::{Error, Result};
use crate::http::parameters::Parameters;
use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::PartialSchema;
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::Schema;

/// The fields that were asked for; nothing for all of them.
pub(super) struct Fields(Option<Vec<String>>);

/// A thing, or the part of it that was asked for.
#[derive(Serialize)]
#[serde(untagged)]
pub(super) enum Shown<T> {
    /// All of it.
    Whole(T),
    /// Some of it.
    Part(Map<String, Value>),
}

impl Fields {
    /// Reads `fields` of things like `T`. What tells one from another, `key`, always comes along.
    ///
    /// # Errors
    /// `invalid_parameter` naming what there is no field of.
    pub fn read<T: PartialSchema>(given: &Parameters, key: &str) -> Result<Self> {
        let mut asked = given.list("fields");
        if asked.is_empty() {
            return Ok(Self(None));
        }
        if let RefOr::T(Schema::Object(object)) = T::schema()
            && let Some(unknown) = asked.iter().find(|field| !object.properties.contains_key(field.as_str()))
        {
            let known: Vec<&str> = object.properties.keys().map(String::as_str).collect();
            let unknown: String = unknown.chars().take(40).collect();
            return Err(Error::parameter(format!("fields: there is no `{unknown}`; there are {}", known.join(", "))));
        }
        asked.push(key.to_owned());
        Ok(Self(Some(asked)))
    }

    /// The asked part of a thing.
    ///
    /// # Errors
    /// None in practice: bodies are plain data.
    pub fn of<T: Serialize>(&self, body: T) -> Result<Shown<T>> {
        let Some(asked) = &self.0 else { return Ok(Shown::Whole(body)) };
        match serde_json::to_value(body).map_err(Error::internal)? {
            Value::Object(mut object) => {
                object.retain(|field, _| asked.iter().any(|asked| asked == field));
                Ok(Shown::Part(object))
            }
            _ => Err(Error::internal("a body is no object")),
        }
    }

    /// The same of many.
    ///
    /// # Errors
    /// As [`of`](Self::of).
    pub fn of_all<T: Serialize>(&self, bodies: impl IntoIterator<Item = T>) -> Result<Vec<Shown<T>>> {
        bodies.into_iter().map(|body| self.of(body)).collect()
    }
}
