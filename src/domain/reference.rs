//! How people and programs call a thing: by its name, or by its id, which no name looks like.

use super::error::Result;
use super::ids::ModelId;
use super::name::Name;
use std::fmt;
use std::str::FromStr;

/// A name or an id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reference<I> {
    /// The name that it has now.
    Name(Name),
    /// The id that it always has.
    Id(I),
}

impl<I: FromStr> Reference<I> {
    /// Reads what was given as `parameter`.
    ///
    /// # Errors
    /// `invalid_parameter` where it is neither.
    pub fn parse(parameter: &str, text: &str) -> Result<Self> {
        match text.parse() {
            Ok(id) => Ok(Self::Id(id)),
            Err(_) => Name::parse(parameter, text).map(Self::Name),
        }
    }
}

impl<I> From<Name> for Reference<I> {
    fn from(name: Name) -> Self {
        Self::Name(name)
    }
}

impl<I> From<&Name> for Reference<I> {
    fn from(name: &Name) -> Self {
        Self::Name(name.clone())
    }
}

impl From<ModelId> for Reference<ModelId> {
    fn from(id: ModelId) -> Self {
        Self::Id(id)
    }
}

impl<I: Clone> From<&Reference<I>> for Reference<I> {
    fn from(reference: &Reference<I>) -> Self {
        reference.clone()
    }
}

impl<I: fmt::Display> fmt::Display for Reference<I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => name.fmt(f),
            Self::Id(id) => id.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ids::RunId;

    #[test]
    fn ids_are_told_from_names() {
        let text = ModelId(7).to_string();
        assert_eq!(Reference::parse("model", &text), Ok(Reference::Id(ModelId(7))));
        assert!(matches!(Reference::<ModelId>::parse("model", "pets"), Ok(Reference::Name(_))));
        assert!(Reference::<ModelId>::parse("model", &RunId(7).to_string()).is_err());
        assert!(Reference::<ModelId>::parse("model", "a/b").is_err());
    }
}
