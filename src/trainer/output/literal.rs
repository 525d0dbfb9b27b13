//! Reads one Python or JSON literal, as `print` and `json.dumps` write them, into a tree.
//!
//! Wider than either grammar on purpose, since a result line is read, never written:
//! both kinds of quotes, `True`/`true`, `None`/`null`, `NaN`, tuples, sets, trailing commas,
//! elements set apart by spaces alone (numpy), and calls such as `np.float64(0.342)`,
//! `tensor(0.93, device='cuda:0')`, `array([...])`, `OrderedDict({...})`, `Point(x=1)`. What
//! it cannot name (`<object at 0x7f>`, `...`) becomes [`Literal::Opaque`] instead of an error.
//! This module must not know what an accuracy is.
//!
//! Bounds: nesting stops at [`MAX_DEPTH`]; every step consumes input, so work and memory are
//! proportional to a text whose length the caller caps.

use serde_json::{Map, Number, Value};

/// Deepest nesting read. Results are flat; recursion has to end somewhere.
pub const MAX_DEPTH: usize = 32;

/// A value as printed. Numbers stay text, so that their digits survive.
#[derive(Debug, Clone, PartialEq)]
pub enum Literal {
    None,
    Bool(bool),
    Number(String),
    Text(String),
    List(Vec<Literal>),
    Dict(Vec<(String, Literal)>),
    /// Something that was printed but is no value.
    Opaque,
}

impl Literal {
    /// Reads the literal at the start of `text`; gives it with what follows it.
    pub fn parse_prefix(text: &str) -> Option<(Self, &str)> {
        let mut reader = Reader { rest: text };
        let literal = reader.value(0)?;
        Some((literal, reader.rest))
    }

    /// The value as JSON, dictionary order kept. What JSON cannot hold (NaN, opaque
    /// things) is null.
    pub fn into_json(self) -> Value {
        match self {
            Self::None | Self::Opaque => Value::Null,
            Self::Bool(flag) => Value::Bool(flag),
            Self::Number(text) => json_number(&text),
            Self::Text(text) => Value::String(text),
            Self::List(items) => Value::Array(items.into_iter().map(Self::into_json).collect()),
            Self::Dict(entries) => {
                let pairs = entries.into_iter().map(|(key, item)| (key, item.into_json()));
                Value::Object(pairs.collect::<Map<_, _>>())
            }
        }
    }
}

fn json_number(text: &str) -> Value {
    if let Ok(whole) = text.parse::<i64>() {
        return whole.into();
    }
    let number = text.parse::<f64>().ok().and_then(Number::from_f64);
    number.map_or(Value::Null, Value::Number)
}

struct Reader<'a> {
    rest: &'a str,
}

impl<'a> Reader<'a> {
    fn value(&mut self, depth: usize) -> Option<Literal> {
        if depth > MAX_DEPTH {
            return None;
        }
        self.rest = self.rest.trim_start();
        match self.rest.chars().next()? {
            '{' => self.braces(depth),
            '[' => self.sequence(']', depth),
            '(' => self.sequence(')', depth),
            '"' | '\'' => self.quoted().map(Literal::Text),
            '<' => self.angle(),
            '.' if self.rest.starts_with("...") => {
                self.rest = &self.rest[3..];
                Some(Literal::Opaque)
            }
            c if c.is_ascii_digit() || matches!(c, '-' | '+' | '.') => self.number(),
            c if c.is_alphabetic() || c == '_' => self.word(depth),
            _ => None,
        }
    }

    fn take(&mut self, expected: char) -> bool {
        self.rest = self.rest.trim_start();
        match self.rest.strip_prefix(expected) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn take_while(&mut self, wanted: impl Fn(char) -> bool) -> &'a str {
        let end = self.rest.find(|c| !wanted(c)).unwrap_or(self.rest.len());
        let (taken, rest) = self.rest.split_at(end);
        self.rest = rest;
        taken
    }

    /// A list, tuple or argument-free set; the separator is a comma or mere space.
    fn sequence(&mut self, close: char, depth: usize) -> Option<Literal> {
        self.rest = &self.rest[1..];
        let mut items = Vec::new();
        while !self.take(close) {
            items.push(self.value(depth + 1)?);
            self.take(',');
        }
        Some(Literal::List(items))
    }

    /// A dictionary, or a set, which becomes a list.
    fn braces(&mut self, depth: usize) -> Option<Literal> {
        self.rest = &self.rest[1..];
        let mut entries = Vec::new();
        let mut items = Vec::new();
        while !self.take('}') {
            let first = self.value(depth + 1)?;
            if self.take(':') {
                entries.push((key_text(first), self.value(depth + 1)?));
            } else {
                items.push(first);
            }
            self.take(',');
        }
        match (entries.is_empty(), items.is_empty()) {
            (_, true) => Some(Literal::Dict(entries)),
            (true, false) => Some(Literal::List(items)),
            (false, false) => None,
        }
    }

    fn quoted(&mut self) -> Option<String> {
        let quote = self.rest.chars().next()?;
        let mut chars = self.rest[1..].char_indices();
        let mut text = String::new();
        while let Some((at, c)) = chars.next() {
            if c == quote {
                self.rest = &self.rest[1 + at + quote.len_utf8()..];
                return Some(text);
            }
            if c == '\\' {
                let (_, escaped) = chars.next()?;
                text.push(unescape(escaped, &mut chars));
            } else {
                text.push(c);
            }
        }
        None
    }

    /// `<class 'float'>`, `<NllLossBackward0>`: skipped to the closing bracket.
    fn angle(&mut self) -> Option<Literal> {
        let end = self.rest.find('>')?;
        self.rest = &self.rest[end + 1..];
        Some(Literal::Opaque)
    }

    fn number(&mut self) -> Option<Literal> {
        let text = self.take_while(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '+' | '-' | '_'));
        Some(if is_number(text) { Literal::Number(text.to_owned()) } else { Literal::Opaque })
    }

    /// A name: a constant, a call, or something unknown.
    fn word(&mut self, depth: usize) -> Option<Literal> {
        let name = self.take_while(|c| c.is_alphanumeric() || matches!(c, '_' | '.'));
        if self.rest.starts_with('(') {
            return self.call(name, depth);
        }
        // b'..', r'..', u'..' and their like.
        if name.len() <= 2 && self.rest.starts_with(['"', '\'']) {
            return self.quoted().map(Literal::Text);
        }
        Some(match name {
            "True" | "true" => Literal::Bool(true),
            "False" | "false" => Literal::Bool(false),
            "None" | "null" => Literal::None,
            "NaN" | "nan" | "Infinity" | "inf" => Literal::Number(name.to_owned()),
            _ => Literal::Opaque,
        })
    }

    /// A call stands for its first argument that is a value, or for its named arguments.
    fn call(&mut self, name: &str, depth: usize) -> Option<Literal> {
        self.rest = &self.rest[1..];
        let mut first = None;
        let mut named = Vec::new();
        while !self.take(')') {
            if let Some(key) = self.argument_name() {
                named.push((key, self.value(depth + 1)?));
            } else {
                let argument = self.value(depth + 1)?;
                if first.is_none() && argument != Literal::Opaque {
                    first = Some(argument);
                }
            }
            self.take(',');
        }
        Some(match first {
            Some(Literal::List(pairs)) if name.ends_with("OrderedDict") => dict_of_pairs(pairs),
            Some(argument) => argument,
            None if named.is_empty() => Literal::Opaque,
            None => Literal::Dict(named),
        })
    }

    /// The `device` of `device='cuda:0'`, consumed with its equals sign.
    fn argument_name(&mut self) -> Option<String> {
        self.rest = self.rest.trim_start();
        let end = self.rest.find(|c: char| !c.is_alphanumeric() && c != '_')?;
        let (name, rest) = self.rest.split_at(end);
        let rest = rest.strip_prefix('=')?;
        if name.is_empty() {
            return None;
        }
        self.rest = rest;
        Some(name.to_owned())
    }
}

fn key_text(key: Literal) -> String {
    match key {
        Literal::Text(text) | Literal::Number(text) => text,
        Literal::Bool(true) => "True".to_owned(),
        Literal::Bool(false) => "False".to_owned(),
        Literal::None => "None".to_owned(),
        Literal::List(_) | Literal::Dict(_) | Literal::Opaque => String::new(),
    }
}

fn dict_of_pairs(pairs: Vec<Literal>) -> Literal {
    let mut entries = Vec::with_capacity(pairs.len());
    for pair in pairs {
        match pair {
            Literal::List(mut items) if items.len() == 2 => {
                let value = items.pop().unwrap_or(Literal::Opaque);
                let key = items.pop().unwrap_or(Literal::Opaque);
                entries.push((key_text(key), value));
            }
            _ => return Literal::Opaque,
        }
    }
    Literal::Dict(entries)
}

/// One escape of Python or JSON. Unknown escapes stand for their own character.
fn unescape(escaped: char, chars: &mut std::str::CharIndices<'_>) -> char {
    let digits = match escaped {
        'n' => return '\n',
        't' => return '\t',
        'r' => return '\r',
        'x' => 2,
        'u' => 4,
        'U' => 8,
        other => return other,
    };
    let high = hex(chars, digits);
    // JSON writes characters beyond the first plane as two halves.
    if (0xd800..0xdc00).contains(&high) && chars.as_str().starts_with("\\u") {
        let mut ahead = chars.clone();
        ahead.next();
        ahead.next();
        let low = hex(&mut ahead, 4);
        if (0xdc00..0xe000).contains(&low) {
            *chars = ahead;
            let code = 0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00);
            return char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER);
        }
    }
    char::from_u32(high).unwrap_or(char::REPLACEMENT_CHARACTER)
}

/// Reads up to `digits` hexadecimal digits and leaves anything else where it is.
fn hex(chars: &mut std::str::CharIndices<'_>, digits: usize) -> u32 {
    let mut code: u32 = 0;
    for _ in 0..digits {
        let mut ahead = chars.clone();
        let Some(digit) = ahead.next().and_then(|(_, c)| c.to_digit(16)) else {
            break;
        };
        *chars = ahead;
        code = code.wrapping_mul(16).wrapping_add(digit);
    }
    code
}

/// Whether a run of characters is one number, `-inf` and `-Infinity` included.
fn is_number(text: &str) -> bool {
    !text.contains('_') && text.parse::<f64>().is_ok()
}

#[cfg(test)]
mod tests;
