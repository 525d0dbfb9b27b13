//! Cuts chunks of bytes into lines and makes lines readable.
//!
//! Both `\n` and `\r` end a line, so each state of a progress bar is a line of its own. Knows
//! nothing of what lines say.

use std::borrow::Cow;
use std::str::Chars;

/// How much of a line is kept; the rest of it is dropped.
pub const MAX_LINE: usize = 64 * 1024;

/// Collects chunks that are cut anywhere.
#[derive(Debug, Default)]
pub struct LineSplitter {
    partial: Vec<u8>,
}

impl LineSplitter {
    /// Hands every line that `chunk` completes to `each`, without its end.
    pub fn feed(&mut self, chunk: &[u8], mut each: impl FnMut(&[u8])) {
        let mut rest = chunk;
        while let Some(end) = rest.iter().position(|byte| matches!(byte, b'\n' | b'\r')) {
            let (line, tail) = rest.split_at(end);
            if self.partial.is_empty() {
                each(&line[..line.len().min(MAX_LINE)]);
            } else {
                self.keep(line);
                each(&self.partial);
                self.partial.clear();
            }
            rest = &tail[1..];
        }
        self.keep(rest);
    }

    /// The last line, if no line end followed it.
    pub fn finish(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.partial)
    }

    fn keep(&mut self, bytes: &[u8]) {
        let room = MAX_LINE - self.partial.len();
        self.partial.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }
}

/// The text of a line: invalid UTF-8 replaced, colours and control characters gone.
///
/// Sequences that move the cursor, and backspaces, leave a space, so that what stood apart
/// on the terminal does not grow together.
pub fn readable(line: &[u8]) -> Cow<'_, str> {
    let text = String::from_utf8_lossy(line);
    if !text.chars().any(|c| c.is_control() && c != '\t') {
        return text;
    }
    let mut kept = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '\u{1b}' => kept.push_str(skip_escape(&mut chars)),
            '\u{8}' => kept.push(' '),
            c if c.is_control() && c != '\t' => {}
            c => kept.push(c),
        }
    }
    Cow::Owned(kept)
}

/// Goes behind an escape sequence, ESC itself being read; what stands for it in the text.
fn skip_escape(chars: &mut Chars<'_>) -> &'static str {
    match chars.next() {
        Some('[') => match chars.find(|c| ('\u{40}'..='\u{7e}').contains(c)) {
            Some('m') => "",
            _ => " ",
        },
        // A title or a hyperlink, up to a bell or ESC \.
        Some(']') => {
            let end = chars.find(|c| matches!(c, '\u{7}' | '\u{1b}'));
            if end == Some('\u{1b}') && chars.as_str().starts_with('\\') {
                chars.next();
            }
            ""
        }
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(chunks: &[&[u8]]) -> Vec<Vec<u8>> {
        let mut splitter = LineSplitter::default();
        let mut lines = Vec::new();
        for chunk in chunks {
            splitter.feed(chunk, |line| lines.push(line.to_vec()));
        }
        lines.push(splitter.finish());
        lines
    }

    #[test]
    fn both_line_ends_and_any_cut() {
        assert_eq!(split(&[b"a\nb\rc\r\nd"]), [&b"a"[..], b"b", b"c", b"", b"d"]);
        assert_eq!(split(&[b"a", b"\nb\r", b"", b"c\r", b"\nd"]), [&b"a"[..], b"b", b"c", b"", b"d"]);
    }

    #[test]
    fn long_lines_are_cut_the_same_way_however_they_arrive() {
        let long = vec![b'x'; MAX_LINE + 5];
        let mut whole = long.clone();
        whole.push(b'\n');
        let expected = vec![vec![b'x'; MAX_LINE], Vec::new()];
        assert_eq!(split(&[&whole]), expected);
        assert_eq!(split(&[&long, b"yyy", b"\n"]), expected);
        assert_eq!(split(&[&long])[0].len(), MAX_LINE);
    }

    #[test]
    fn terminal_codes_go() {
        let text = |line: &[u8]| readable(line).into_owned();
        assert_eq!(text(b"\x1b[1m\x1b[32maccuracy\x1b[0m: 0.9"), "accuracy: 0.9");
        assert_eq!(text(b"0.5\x1b[2Kaccuracy"), "0.5 accuracy");
        assert_eq!(text(b"\x1b]8;;http://x\x1b\\link\x1b]0;title\x07!"), "link!");
        assert_eq!(text(b"a\x08b\x00c\td"), "a bc\td");
        assert_eq!(text(b"\xff\xfe0.9"), "\u{fffd}\u{fffd}0.9");
        assert_eq!(text(b"x\x1b"), "x");
        assert_eq!(text(b"x\x1b[12"), "x ");
    }
}
