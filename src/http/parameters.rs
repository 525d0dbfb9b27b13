//! Parameters of a query string or of a form's fields, by name.

use crate::domain::error::{Error, Result};
use crate::domain::name::Name;
use crate::domain::reference::Reference;
use std::str::FromStr;

/// Longer values are no parameters.
const MAX_SHOWN: usize = 64;

/// Names and values in the order in which they came.
#[derive(Debug, Clone, Default)]
pub struct Parameters(Vec<(String, String)>);

impl Parameters {
    /// Reads a query string.
    pub fn from_query(query: &str) -> Self {
        Self::from_bytes(query.as_bytes())
    }

    /// Reads what a form without files sends.
    pub fn from_bytes(bytes: &[u8]) -> Self {
        Self(form_urlencoded::parse(bytes).into_owned().collect())
    }

    /// Adds one.
    pub fn push(&mut self, name: String, value: String) {
        self.0.push((name, value));
    }

    /// The value of a parameter that may be left out; an empty one counts as left out.
    pub fn optional(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(key, value)| key == name && !value.is_empty()).map(|(_, value)| value.as_str())
    }

    /// All values of a parameter that may be repeated.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// The value of a parameter.
    ///
    /// # Errors
    /// `invalid_parameter` where it is missing or empty.
    pub fn required(&self, name: &str) -> Result<&str> {
        match self.0.iter().find(|(key, _)| key == name) {
            Some((_, value)) if !value.trim().is_empty() => Ok(value),
            Some(_) => Err(Error::parameter(format!("{name} is empty"))),
            None => {
                let given: Vec<&str> =
                    self.0.iter().map(|(key, _)| key.get(..MAX_SHOWN).unwrap_or(key)).take(8).collect();
                let given = if given.is_empty() { "none".to_owned() } else { given.join(", ") };
                Err(Error::parameter(format!("{name} is missing; the parameters given are: {given}")))
            }
        }
    }

    /// True or false; false where it is left out.
    ///
    /// # Errors
    /// `invalid_parameter` where it is neither.
    pub fn flag(&self, name: &str) -> Result<bool> {
        match self.all(name).next() {
            None | Some("false") => Ok(false),
            Some("true") => Ok(true),
            Some(_) => Err(Error::parameter(format!("{name} is true or false"))),
        }
    }

    /// A name that has to be there.
    ///
    /// # Errors
    /// `invalid_parameter` where it is missing or no name.
    pub fn name(&self, name: &str) -> Result<Name> {
        Name::parse(name, self.required(name)?)
    }

    /// A name that may be left out.
    ///
    /// # Errors
    /// `invalid_parameter` where it is there and no name.
    pub fn optional_name(&self, name: &str) -> Result<Option<Name>> {
        // An empty name is a mistake, such as a variable that was not set: it must not train on everything.
        self.0.iter().find(|(key, _)| key == name).map(|(_, text)| Name::parse(name, text)).transpose()
    }

    /// What has to be there by its name or its id.
    ///
    /// # Errors
    /// `invalid_parameter` where it is missing or neither.
    pub fn reference<I: FromStr>(&self, name: &str) -> Result<Reference<I>> {
        Reference::parse(name, self.required(name)?)
    }

    /// What may be left out, by its name or its id.
    ///
    /// # Errors
    /// `invalid_parameter` where it is there and neither.
    pub fn optional_reference<I: FromStr>(&self, name: &str) -> Result<Option<Reference<I>>> {
        // As an empty name, an empty reference is a mistake.
        self.0.iter().find(|(key, _)| key == name).map(|(_, text)| Reference::parse(name, text)).transpose()
    }

    /// The parts of a parameter that is a list: repeated, separated by commas, or both.
    pub fn list(&self, name: &str) -> Vec<String> {
        let bracketed = format!("{name}[]");
        self.0
            .iter()
            .filter(|(key, _)| key == name || *key == bracketed)
            .flat_map(|(_, value)| value.split(','))
            .map(str::trim)
            .filter(|part| !part.is_empty())
            .map(str::to_owned)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_repeated_or_separated() {
        let parameters =
            Parameters::from_query("image_urls=http%3A%2F%2Fa%2F1.png,http://b/2.png&image_urls=http://c/3.png&x=");
        assert_eq!(parameters.list("image_urls"), ["http://a/1.png", "http://b/2.png", "http://c/3.png"]);
        assert_eq!(parameters.optional("x"), None);
        assert!(parameters.required("y").unwrap_err().message.contains("image_urls"));
        assert!(parameters.required("x").unwrap_err().message.contains("empty"));
    }
}
