//! What a child prints, on its way to where people read it: secrets are masked, and lines are cut that have no end.
//!
//! Bytes come in pieces that are cut anywhere, so a piece that may end in the midst of a secret waits for the next one.
//! Control characters stay as they are: whoever shows a log escapes them. Knows nothing of runs.

use std::sync::Arc;

/// What stands in a secret's place.
const MASK: &[u8] = b"[redacted]";

/// What this server's tokens begin with.
const TOKEN: &[u8] = b"ty_";

/// How long a token is behind that, at the least.
const LEAST_TOKEN: usize = 16;

/// A value that is shorter is no secret: masking it would hide half of what is printed.
const LEAST_SECRET: usize = 6;

/// How much of a line is kept, in bytes.
const MAX_LINE: usize = 16 << 10;

/// Values that nobody is to read.
#[derive(Debug, Clone)]
pub struct Secrets {
    /// The longest first.
    values: Arc<[Vec<u8>]>,
    /// Whether one begins with this byte.
    beginnings: Arc<[bool; 256]>,
}

impl Secrets {
    /// These values; of one with several lines, each.
    pub fn new(values: &[Vec<u8>]) -> Self {
        let lines = values.iter().flat_map(|value| value.split(|byte| matches!(byte, b'\n' | b'\r')));
        let mut values: Vec<Vec<u8>> =
            lines.map(|line| line.trim_ascii().to_vec()).filter(|line| line.len() >= LEAST_SECRET).collect();
        values.sort_by_key(|value| std::cmp::Reverse(value.len()));
        values.dedup();
        let mut beginnings = [false; 256];
        beginnings[usize::from(TOKEN[0])] = true;
        values.iter().for_each(|value| beginnings[usize::from(value[0])] = true);
        Self { values: values.into(), beginnings: Arc::new(beginnings) }
    }

    /// A text without secrets.
    pub fn clean(&self, text: &str) -> String {
        let mut sieve = Sieve::new(self);
        let mut clean = sieve.sift(text.as_bytes()).to_vec();
        clean.extend_from_slice(sieve.rest());
        String::from_utf8_lossy(&clean).into_owned()
    }

    /// What stands at the beginning of `text`, which comes behind the byte `before`.
    fn find(&self, text: &[u8], before: u8) -> Find {
        let mut may_be = false;
        for value in self.values.iter() {
            if text.starts_with(value) {
                return if may_be { Find::MayBe { else_mask: value.len() } } else { Find::Secret(value.len()) };
            }
            may_be |= value.starts_with(text);
        }
        if !is_token_byte(before) {
            if let Some(behind) = text.strip_prefix(TOKEN) {
                let length = behind.iter().take_while(|byte| is_token_byte(**byte)).count();
                if length >= LEAST_TOKEN {
                    return Find::Token(TOKEN.len() + length);
                }
                may_be |= length == behind.len();
            } else {
                may_be |= TOKEN.starts_with(text);
            }
        }
        if may_be { Find::MayBe { else_mask: 0 } } else { Find::Nothing }
    }
}

/// What begins at a place.
enum Find {
    Nothing,
    /// A secret of this length.
    Secret(usize),
    /// A token of this length, which may go on.
    Token(usize),
    /// The beginning of a secret, as far as there is text; a shorter secret of this length stands there in any case.
    MayBe {
        else_mask: usize,
    },
}

fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-')
}

/// Lets through what may be read of one stream.
#[derive(Debug)]
pub struct Sieve {
    secrets: Secrets,
    /// What may be the beginning of a secret.
    held: Vec<u8>,
    /// The last byte that was decided on.
    before: u8,
    /// True within a token that was masked.
    in_token: bool,
    lines: Lines,
}

impl Sieve {
    /// For one stream.
    pub fn new(secrets: &Secrets) -> Self {
        let secrets = secrets.clone();
        Self { secrets, held: Vec::new(), before: b'\n', in_token: false, lines: Lines::default() }
    }

    /// What may be read now that `bytes` have come.
    pub fn sift(&mut self, bytes: &[u8]) -> &[u8] {
        self.lines.out.clear();
        if self.held.is_empty() {
            let decided = self.decide(bytes, false);
            self.held.extend_from_slice(&bytes[decided..]);
        } else {
            let mut all = std::mem::take(&mut self.held);
            all.extend_from_slice(bytes);
            let decided = self.decide(&all, false);
            all.drain(..decided);
            self.held = all;
        }
        &self.lines.out
    }

    /// What is left at the end.
    pub fn rest(&mut self) -> &[u8] {
        self.lines.out.clear();
        let all = std::mem::take(&mut self.held);
        self.decide(&all, true);
        self.lines.end();
        &self.lines.out
    }

    /// Passes on what is certain; says how many bytes those are. At the end everything is.
    fn decide(&mut self, text: &[u8], at_end: bool) -> usize {
        let (mut from, mut at) = (0, 0);
        while at < text.len() {
            if self.in_token {
                at += text[at..].iter().take_while(|byte| is_token_byte(**byte)).count();
                self.in_token = at == text.len();
                from = at;
                continue;
            }
            if !self.secrets.beginnings[usize::from(text[at])] {
                at += 1;
                continue;
            }
            let before = if at == 0 { self.before } else { text[at - 1] };
            let (length, is_token) = match self.secrets.find(&text[at..], before) {
                Find::Nothing => (0, false),
                Find::Secret(length) => (length, false),
                Find::Token(length) => (length, true),
                Find::MayBe { else_mask } if at_end => (else_mask, false),
                Find::MayBe { .. } => {
                    self.lines.push(&text[from..at]);
                    self.before = before;
                    return at;
                }
            };
            if length == 0 {
                at += 1;
                continue;
            }
            self.lines.push(&text[from..at]);
            self.lines.push(if is_token { b"ty_[redacted]" } else { MASK });
            at += length;
            from = at;
            self.in_token = is_token && at == text.len();
        }
        self.lines.push(&text[from..]);
        self.before = text.last().copied().unwrap_or(self.before);
        text.len()
    }
}

/// Cuts what is too long for a line.
#[derive(Debug, Default)]
struct Lines {
    out: Vec<u8>,
    /// Of the line that has not ended.
    kept: usize,
    dropped: u64,
}

impl Lines {
    fn push(&mut self, mut bytes: &[u8]) {
        while let Some(end) = bytes.iter().position(|byte| matches!(byte, b'\n' | b'\r')) {
            self.keep(&bytes[..end]);
            self.end();
            self.out.push(bytes[end]);
            bytes = &bytes[end + 1..];
        }
        self.keep(bytes);
    }

    fn keep(&mut self, bytes: &[u8]) {
        let (kept, dropped) = bytes.split_at(bytes.len().min(MAX_LINE - self.kept));
        self.out.extend_from_slice(kept);
        self.kept += kept.len();
        self.dropped += dropped.len() as u64;
    }

    fn end(&mut self) {
        if self.dropped > 0 {
            let note = format!(" [{} bytes of this line are left out]", self.dropped);
            self.out.extend_from_slice(note.as_bytes());
        }
        (self.kept, self.dropped) = (0, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TEXT: &str =
        "key=hunter2-hunter2 hunter2-hunter2x hunter2-h\nty_0123456789abcdefXYZ ty_short party_0123456789abcdef\n";

    fn secrets() -> Secrets {
        Secrets::new(&[b"hunter2-hunter2".to_vec(), b"hunter2-hunter2x\nsecond line".to_vec(), b"short".to_vec()])
    }

    fn sifted(secrets: &Secrets, pieces: &[&[u8]]) -> String {
        let mut sieve = Sieve::new(secrets);
        let mut out: Vec<u8> = pieces.iter().flat_map(|piece| sieve.sift(piece).to_vec()).collect();
        out.extend_from_slice(sieve.rest());
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn secrets_are_masked_and_nothing_else() {
        let clean = secrets().clean(TEXT);
        assert_eq!(clean, "key=[redacted] [redacted] hunter2-h\nty_[redacted] ty_short party_0123456789abcdef\n");
        assert_eq!(secrets().clean("a second line"), "a [redacted]");
        assert_eq!(secrets().clean("hunter2-hunter2"), "[redacted]");
        assert_eq!(Secrets::new(&[]).clean("ty_0123456789abcdef"), "ty_[redacted]");
    }

    #[test]
    fn a_line_without_an_end_is_cut() {
        let none = Secrets::new(&[]);
        let long = vec![b'x'; 3 * MAX_LINE];
        let out = sifted(&none, &[&long, &long, b"\nnext\r", &long]);
        let mut lines = out.split(['\n', '\r']);
        assert_eq!(lines.next().unwrap().len(), MAX_LINE + " [81920 bytes of this line are left out]".len());
        assert_eq!(lines.next(), Some("next"));
        assert!(lines.next().unwrap().ends_with(" [32768 bytes of this line are left out]"));
        let token = [b"ty_".to_vec(), long].concat();
        assert_eq!(sifted(&none, &[&token, &token, b" end"]), "ty_[redacted] end");
    }

    proptest! {
        #[test]
        fn however_it_is_cut_the_same_comes_out(cuts in prop::collection::vec(0usize..TEXT.len() * 2, 0..12)) {
            let text = TEXT.repeat(2);
            let mut cuts = cuts;
            cuts.sort_unstable();
            let (mut pieces, mut from) = (Vec::new(), 0);
            for cut in cuts {
                pieces.push(&text.as_bytes()[from..cut]);
                from = cut;
            }
            pieces.push(&text.as_bytes()[from..]);
            prop_assert_eq!(sifted(&secrets(), &pieces), secrets().clean(&text));
        }

        #[test]
        fn what_holds_no_secret_comes_out_as_it_went_in(text in "[a-su-z \n\r]{0,300}") {
            prop_assert_eq!(secrets().clean(&text), text);
        }
    }
}
