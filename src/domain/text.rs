//! Text that came from scripts, as it may be shown on a terminal or a page.

use std::borrow::Cow;

/// Characters that turn the direction of what follows, break lines, or are not seen: with them a text can look like another.
fn misleads(c: char) -> bool {
    matches!(c, '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

/// The text with control characters written out (`\u{1b}`), so that whoever shows it is shown it and nothing happens.
pub fn printable(text: &str) -> Cow<'_, str> {
    let is_bad = |c: char| (c.is_control() && c != '\t') || misleads(c);
    if !text.chars().any(is_bad) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if is_bad(c) { shown.extend(c.escape_unicode()) } else { shown.push(c) }
    }
    Cow::Owned(shown)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn control_sequences_are_seen_and_do_nothing() {
        assert_eq!(printable("loss:\t0.4, größer"), "loss:\t0.4, größer");
        assert_eq!(printable("\u{1b}]0;title\u{7}\u{1b}[2J"), r"\u{1b}]0;title\u{7}\u{1b}[2J");
        assert_eq!(printable("a\u{202e}b\u{9b}c\u{7f}\r"), r"a\u{202e}b\u{9b}c\u{7f}\u{d}");
    }

    proptest! {
        #[test]
        fn nothing_that_acts_is_left(text: String) {
            prop_assert!(printable(&text).chars().all(|c| c == '\t' || !(c.is_control() || misleads(c))));
        }
    }
}
