//! Cuts a line of free text into words, numbers and marks.
//!
//! Knows how scripts write numbers (`-1e-3`, `.5`, `nan`, `Infinity`) and when digits are no number
//! (`3mm`, `1.2.3`, `0x1f`), but not what any of them means. Letters beyond ASCII and table
//! borders are marks. One pass; the list is as long as the line at most.

/// What a token is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Word,
    Number,
    Mark,
}

/// A piece of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Token {
    pub kind: Kind,
    pub start: usize,
    pub end: usize,
    /// White space, or the line's beginning, stands before it.
    pub spaced: bool,
}

impl Token {
    pub fn text<'a>(&self, line: &'a str) -> &'a str {
        line.get(self.start..self.end).unwrap_or("")
    }
}

/// Cuts `line`, which may be anything.
pub fn tokens(line: &str) -> Vec<Token> {
    let mut found: Vec<Token> = Vec::new();
    let mut at = 0;
    let mut spaced = true;
    while let Some(c) = line[at..].chars().next() {
        if c.is_whitespace() {
            at += c.len_utf8();
            spaced = true;
            continue;
        }
        // A sign right behind a word or number is a hyphen or a range.
        let sign_allowed = spaced || found.last().is_none_or(|token| token.kind == Kind::Mark);
        let (kind, length) = token_at(&line.as_bytes()[at..], c, sign_allowed);
        found.push(Token { kind, start: at, end: at + length, spaced });
        at += length;
        spaced = false;
    }
    found
}

fn token_at(bytes: &[u8], first: char, sign_allowed: bool) -> (Kind, usize) {
    let signed = sign_allowed && matches!(first, '-' | '+');
    let body = &bytes[usize::from(signed)..];
    if let Some(length) = number_length(body) {
        let run = word_length(body);
        let dotted = body.get(length) == Some(&b'.') && body.get(length + 1).is_some_and(u8::is_ascii_digit);
        if run > length || dotted {
            return (Kind::Word, usize::from(signed) + dotted_length(body));
        }
        return (Kind::Number, usize::from(signed) + length);
    }
    let run = word_length(body);
    if run > 0 && is_non_finite(&body[..run]) {
        return (Kind::Number, usize::from(signed) + run);
    }
    if run > 0 && !signed {
        return (Kind::Word, run);
    }
    (Kind::Mark, first.len_utf8())
}

/// Length of the decimal number at the start, if there is one.
fn number_length(bytes: &[u8]) -> Option<usize> {
    let digits = |from: usize| {
        let rest = bytes.get(from..).unwrap_or(&[]);
        rest.iter().take_while(|byte| byte.is_ascii_digit()).count()
    };
    let whole = digits(0);
    let mut length = whole;
    if bytes.get(whole) == Some(&b'.') {
        let fraction = digits(whole + 1);
        if whole == 0 && fraction == 0 {
            return None;
        }
        // `3.` is a number, but the dot of `3.h5` belongs to a file name.
        let dot_ends = !bytes.get(whole + 1).is_some_and(u8::is_ascii_alphabetic);
        if fraction > 0 || dot_ends {
            length = whole + 1 + fraction;
        }
    }
    if length == 0 {
        return None;
    }
    if matches!(bytes.get(length), Some(b'e' | b'E')) {
        let sign = usize::from(matches!(bytes.get(length + 1), Some(b'-' | b'+')));
        let exponent = digits(length + 1 + sign);
        if exponent > 0 {
            length += 1 + sign + exponent;
        }
    }
    Some(length)
}

fn word_length(bytes: &[u8]) -> usize {
    let in_word = |byte: &&u8| byte.is_ascii_alphanumeric() || **byte == b'_';
    bytes.iter().take_while(in_word).count().max(number_tail(bytes))
}

/// Length of a number together with letters glued to its end (`0.5x`), or nothing.
fn number_tail(bytes: &[u8]) -> usize {
    let Some(length) = number_length(bytes) else {
        return 0;
    };
    let in_word = |byte: &&u8| byte.is_ascii_alphanumeric() || **byte == b'_';
    length + bytes[length..].iter().take_while(in_word).count()
}

fn dotted_length(bytes: &[u8]) -> usize {
    let in_run = |byte: &&u8| byte.is_ascii_alphanumeric() || matches!(**byte, b'_' | b'.');
    bytes.iter().take_while(in_run).count()
}

fn is_non_finite(word: &[u8]) -> bool {
    [&b"nan"[..], b"inf", b"infinity"].iter().any(|known| word.eq_ignore_ascii_case(known))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn cut(line: &str) -> Vec<(Kind, &str)> {
        tokens(line).iter().map(|token| (token.kind, token.text(line))).collect()
    }

    #[test]
    fn words_numbers_and_marks() {
        use Kind::{Mark, Number, Word};
        assert_eq!(cut("val_accuracy: 0.93%"), [(Word, "val_accuracy"), (Mark, ":"), (Number, "0.93"), (Mark, "%")]);
        assert_eq!(
            cut("a=-1e-3 b=.5 c=+2. d -nan inf"),
            [
                (Word, "a"),
                (Mark, "="),
                (Number, "-1e-3"),
                (Word, "b"),
                (Mark, "="),
                (Number, ".5"),
                (Word, "c"),
                (Mark, "="),
                (Number, "+2."),
                (Word, "d"),
                (Number, "-nan"),
                (Number, "inf")
            ]
        );
    }

    #[test]
    fn digits_that_are_no_number() {
        use Kind::{Mark, Number, Word};
        assert_eq!(
            cut("3mm 1.2.3 0x1f 0.5x 2ms/step info"),
            [
                (Word, "3mm"),
                (Word, "1.2.3"),
                (Word, "0x1f"),
                (Word, "0.5x"),
                (Word, "2ms"),
                (Mark, "/"),
                (Word, "step"),
                (Word, "info")
            ]
        );
        assert_eq!(
            cut("top-5 0.1-0.2 0.93.ckpt 3.h5"),
            [
                (Word, "top"),
                (Mark, "-"),
                (Number, "5"),
                (Number, "0.1"),
                (Mark, "-"),
                (Number, "0.2"),
                (Number, "0.93"),
                (Mark, "."),
                (Word, "ckpt"),
                (Number, "3"),
                (Mark, "."),
                (Word, "h5")
            ]
        );
        assert_eq!(cut("│é -x"), [(Mark, "│"), (Mark, "é"), (Mark, "-"), (Word, "x")]);
    }

    proptest! {
        #[test]
        fn tokens_cover_everything_but_space(line in ".{0,60}|[-+.0-9eEnaif_% ]{0,40}") {
            let kept: String = tokens(&line).iter().map(|token| token.text(&line)).collect();
            let expected: String = line.chars().filter(|c| !c.is_whitespace()).collect();
            prop_assert_eq!(kept, expected);
        }
    }
}
