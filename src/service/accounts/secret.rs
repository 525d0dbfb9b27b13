//! Secrets of tokens and sessions: `ty_`, 40 digits of base 32 (200 random bits), 4 digits that check them.
//!
//! The prefix lets scanners find one that leaked, the check digits let them, and us, tell one from a look-alike without
//! asking the store. What is kept is the BLAKE3 hash. Knows nothing of whose a secret is.

use crate::domain::error::{Error, Result};

/// What every secret begins with.
pub const PREFIX: &str = "ty_";

/// Crockford's base 32, lower case.
const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

const RANDOM: usize = 40;
const CHECK: usize = 4;

/// A new secret.
///
/// # Errors
/// `internal` where the system gives no random numbers.
pub fn new() -> Result<String> {
    let mut bytes = [0; RANDOM];
    getrandom::fill(&mut bytes).map_err(Error::internal)?;
    // 256 is a multiple of 32, so each digit is as likely as any other.
    let digits: String = bytes.iter().map(|byte| char::from(ALPHABET[usize::from(byte & 31)])).collect();
    Ok(format!("{PREFIX}{digits}{}", check(&digits)))
}

fn check(digits: &str) -> String {
    let sum = crc32fast::hash(digits.as_bytes());
    (0..CHECK).map(|place| char::from(ALPHABET[(sum >> (5 * place) & 31) as usize])).collect()
}

/// True for what begins as a secret does; no password may.
pub fn looks_like_one(text: &str) -> bool {
    text.starts_with(PREFIX)
}

/// The hash of a well-formed secret.
pub fn hash_of(text: &str) -> Option<[u8; 32]> {
    let digits = text.strip_prefix(PREFIX).filter(|rest| rest.len() == RANDOM + CHECK && rest.is_ascii())?;
    let (digits, given) = digits.split_at(RANDOM);
    (check(digits) == given).then(|| *blake3::hash(text.as_bytes()).as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_new_secret_is_well_formed_and_no_other() {
        let (one, other) = (new().unwrap(), new().unwrap());
        assert_eq!(one.len(), PREFIX.len() + RANDOM + CHECK);
        assert_ne!(one, other);
        assert_ne!(hash_of(&one).unwrap(), hash_of(&other).unwrap());
        for at in PREFIX.len()..one.len() {
            let mut changed = one.clone().into_bytes();
            changed[at] = if changed[at] == b'0' { b'1' } else { b'0' };
            assert_eq!(hash_of(std::str::from_utf8(&changed).unwrap()), None, "digit {at}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_taken_or_refused(text in "(ty_)?.{0,60}") {
            prop_assert_eq!(hash_of(&text), None);
        }
    }
}
