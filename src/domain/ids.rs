//! Identifiers: a number that the store hands out in order, written `run_0000000000016` for people.
//!
//! Ids are keys and never change; names are indexes and may. Knows nothing of where an id is stored.

use std::fmt;
use std::str::FromStr;

/// Crockford's base 32 (lower case): no `i`, `l`, `o`, `u`, so that an id survives being read aloud.
const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

/// 13 digits of 5 bits hold 64 bits.
const DIGITS: usize = 13;

fn digits(value: u64) -> [u8; DIGITS] {
    let mut out = [b'0'; DIGITS];
    let mut rest = value;
    for digit in out.iter_mut().rev() {
        *digit = ALPHABET[(rest & 31) as usize];
        rest >>= 5;
    }
    out
}

fn parse_digits(text: &str) -> Option<u64> {
    if text.len() != DIGITS {
        return None;
    }
    let mut value: u128 = 0;
    for byte in text.bytes() {
        let digit = ALPHABET.iter().position(|symbol| *symbol == byte)?;
        value = value << 5 | digit as u128;
    }
    u64::try_from(value).ok()
}

/// A text that is no id of the kind that was asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is no {kind} id; one looks like `{example}`")]
pub struct ParseIdError {
    /// What was given, cut to a printable length.
    pub text: String,
    /// What it should have been.
    pub kind: &'static str,
    /// A well-formed id of that kind.
    pub example: String,
}

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident, $kind:literal, $prefix:literal;)+) => {
        $(
            $(#[$doc])*
            #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
            pub struct $name(pub u64);

            impl $name {
                /// The word before the underscore.
                pub const PREFIX: &'static str = $prefix;
            }

            impl fmt::Display for $name {
                fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                    f.write_str(concat!($prefix, "_"))?;
                    for digit in digits(self.0) {
                        fmt::Write::write_char(f, char::from(digit))?;
                    }
                    Ok(())
                }
            }

            impl fmt::Debug for $name {
                fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                    fmt::Display::fmt(self, f)
                }
            }

            impl FromStr for $name {
                type Err = ParseIdError;

                fn from_str(text: &str) -> Result<Self, Self::Err> {
                    text.strip_prefix(concat!($prefix, "_"))
                        .and_then(parse_digits)
                        .map(Self)
                        .ok_or_else(|| ParseIdError {
                            text: text.chars().take(64).collect(),
                            kind: $kind,
                            example: Self(38).to_string(),
                        })
                }
            }
        )+

        /// True for a text that could be read as an id; such a text is refused as a name.
        pub fn looks_like_id(text: &str) -> bool {
            const PREFIXES: &[&str] = &[$($prefix),+];
            text.split_once('_').is_some_and(|(prefix, rest)| {
                PREFIXES.contains(&prefix) && parse_digits(rest).is_some()
            })
        }
    };
}

ids! {
    /// A model: a question with its images, experiments and results.
    ModelId, "model", "mdl";
    /// A dataset of a model; every model has one without a name that holds all of its images.
    DatasetId, "dataset", "dst";
    /// An experiment: a name for (learning rate, layers, steps).
    ExperimentId, "experiment", "exp";
    /// One training of one experiment on one dataset version.
    RunId, "run", "run";
    /// Runs that were submitted together.
    SweepId, "sweep", "swp";
    /// A user account.
    AccountId, "account", "usr";
    /// A secret that stands for an account.
    TokenId, "token", "tok";
    /// One who wants to be told when something ends.
    WebhookId, "webhook", "whk";
    /// A project: what a group of accounts shares.
    ProjectId, "project", "prj";
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn ids_read_as_people_see_them() {
        assert_eq!(RunId(38).to_string(), "run_0000000000016");
        assert_eq!(RunId(u64::MAX).to_string(), "run_fzzzzzzzzzzzz");
        assert!("run_gzzzzzzzzzzzz".parse::<RunId>().is_err(), "65 bits");
        assert!("mdl_0000000000016".parse::<RunId>().is_err());
        assert!(looks_like_id("swp_0000000000001"));
        assert!(!looks_like_id("run_1"));
    }

    proptest! {
        #[test]
        fn ids_round_trip_and_keep_their_order(a: u64, b: u64) {
            prop_assert_eq!(RunId(a).to_string().parse::<RunId>().ok(), Some(RunId(a)));
            prop_assert_eq!(a.cmp(&b), RunId(a).to_string().cmp(&RunId(b).to_string()));
        }

        #[test]
        fn any_text_parses_or_is_refused(text in ".{0,40}") {
            if let Ok(id) = text.parse::<ModelId>() {
                prop_assert_eq!(id.to_string(), text);
            }
        }
    }
}
