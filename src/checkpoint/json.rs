//! A strict reader of JSON (RFC 8259) that holds nothing: the caller takes each value as it comes. What it keeps is bounded, so that a
//! header of any size can be read from a map.

use std::borrow::Cow;
use std::collections::BTreeMap;

use super::Read;

/// Lists and objects within each other.
const DEPTH_MOST: u32 = 32;
/// A string with escapes has to be copied.
const ESCAPED_MOST: usize = 1 << 16;

/// A value that is kept.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    Null,
    Flag(bool),
    Number(f64),
    Text(String),
    List(Vec<Value>),
    Map(BTreeMap<String, Value>),
}

/// A place in a text.
#[derive(Clone)]
pub(super) struct Json<'a> {
    bytes: &'a [u8],
    at: usize,
    depth: u32,
    /// `NaN` and `Infinity` are numbers.
    python: bool,
}

impl<'a> Json<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0, depth: 0, python: false }
    }

    /// Of a configuration, as Python writes it: `NaN`, `Infinity` and `-Infinity`, which JSON has not, are numbers.
    pub fn of_config(bytes: &'a [u8]) -> Self {
        Self { python: true, ..Self::new(bytes) }
    }

    fn wrong<T>(&self, what: impl std::fmt::Display) -> Read<T> {
        Err(format!("the JSON at byte {}: {what}", self.at))
    }

    fn peek(&mut self) -> Option<u8> {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.bytes.get(self.at) {
            self.at += 1;
        }
        self.bytes.get(self.at).copied()
    }

    fn take(&mut self, wanted: u8) -> Read<()> {
        match self.peek() {
            Some(b) if b == wanted => {
                self.at += 1;
                Ok(())
            }
            Some(_) => self.wrong(format_args!("expected `{}`", char::from(wanted))),
            None => self.wrong(format_args!("it ends where `{}` should be", char::from(wanted))),
        }
    }

    /// Nothing but space follows.
    pub fn end(&mut self) -> Read<()> {
        match self.peek() {
            None => Ok(()),
            Some(_) => self.wrong("something follows the value"),
        }
    }

    fn items(&mut self, open: u8, close: u8, mut item: impl FnMut(&mut Self) -> Read<()>) -> Read<()> {
        self.take(open)?;
        self.depth += 1;
        if self.depth > DEPTH_MOST {
            return self.wrong(format_args!("more than {DEPTH_MOST} lists and objects within each other"));
        }
        if self.peek() == Some(close) {
            self.at += 1;
        } else {
            loop {
                item(self)?;
                if self.peek() != Some(b',') {
                    break;
                }
                self.at += 1;
            }
            self.take(close)?;
        }
        self.depth -= 1;
        Ok(())
    }

    /// `member` must take the value. A name may come twice: the caller judges that.
    pub fn object(&mut self, mut member: impl FnMut(&mut Self, Cow<'a, str>) -> Read<()>) -> Read<()> {
        self.items(b'{', b'}', |json| {
            let name = json.text()?;
            json.take(b':')?;
            member(json, name)
        })
    }

    /// `item` must take the value.
    pub fn list(&mut self, item: impl FnMut(&mut Self) -> Read<()>) -> Read<()> {
        self.items(b'[', b']', item)
    }

    /// A string: borrowed where it has no escapes.
    pub fn text(&mut self) -> Read<Cow<'a, str>> {
        self.take(b'"')?;
        let bytes = self.bytes;
        let start = self.at;
        loop {
            match bytes.get(self.at) {
                None => return self.wrong("it ends within a string"),
                Some(b'"') => break,
                Some(b'\\') => return self.escaped(start).map(Cow::Owned),
                Some(0..=0x1f) => return self.wrong("a control character in a string"),
                Some(_) => self.at += 1,
            }
        }
        let text = &bytes[start..self.at];
        self.at += 1;
        match std::str::from_utf8(text) {
            Ok(text) => Ok(Cow::Borrowed(text)),
            Err(_) => self.wrong("a string that is not UTF-8"),
        }
    }

    /// The rest of a string from its first escape on; before it stands plain text.
    fn escaped(&mut self, start: usize) -> Read<String> {
        let bytes = self.bytes;
        let mut text = bytes[start..self.at].to_vec();
        loop {
            if text.len() > ESCAPED_MOST {
                return self.wrong(format_args!("a string with escapes is longer than {ESCAPED_MOST} bytes"));
            }
            let Some(byte) = bytes.get(self.at) else { return self.wrong("it ends within a string") };
            self.at += 1;
            match byte {
                b'"' => break,
                0..=0x1f => return self.wrong("a control character in a string"),
                b'\\' => {
                    let letter = bytes.get(self.at).copied().unwrap_or_default();
                    self.at += 1;
                    let c = match letter {
                        b'"' | b'\\' | b'/' => char::from(letter),
                        b'b' => '\u{8}',
                        b'f' => '\u{c}',
                        b'n' => '\n',
                        b'r' => '\r',
                        b't' => '\t',
                        b'u' => self.unicode()?,
                        _ => return self.wrong("an unknown escape"),
                    };
                    text.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
                }
                _ => text.push(*byte),
            }
        }
        String::from_utf8(text).or_else(|_| self.wrong("a string that is not UTF-8"))
    }

    /// The four digits after `\u`, and the other half of a pair.
    fn unicode(&mut self) -> Read<char> {
        let high = self.hex()?;
        let code = if (0xd800..0xdc00).contains(&high) && self.bytes[self.at..].starts_with(b"\\u") {
            self.at += 2;
            let low = self.hex()?;
            if !(0xdc00..0xe000).contains(&low) {
                return self.wrong("half of a surrogate pair");
            }
            0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00)
        } else {
            high
        };
        match char::from_u32(code) {
            Some(c) => Ok(c),
            None => self.wrong("half of a surrogate pair"),
        }
    }

    fn hex(&mut self) -> Read<u32> {
        let mut code = 0;
        for _ in 0..4 {
            let digit = self.bytes.get(self.at).and_then(|b| char::from(*b).to_digit(16));
            let Some(digit) = digit else { return self.wrong("\\u needs four hexadecimal digits") };
            code = code * 16 + digit;
            self.at += 1;
        }
        Ok(code)
    }

    fn digits(&mut self) -> Read<()> {
        let from = self.at;
        while let Some(b'0'..=b'9') = self.bytes.get(self.at) {
            self.at += 1;
        }
        if self.at == from { self.wrong("expected a digit") } else { Ok(()) }
    }

    /// The text of a number.
    fn number(&mut self) -> Read<&'a str> {
        self.peek();
        let from = self.at;
        if self.bytes.get(self.at) == Some(&b'-') {
            self.at += 1;
        }
        if self.bytes.get(self.at) == Some(&b'0') {
            self.at += 1;
        } else {
            self.digits()?;
        }
        if self.bytes.get(self.at) == Some(&b'.') {
            self.at += 1;
            self.digits()?;
        }
        if let Some(b'e' | b'E') = self.bytes.get(self.at) {
            self.at += 1;
            if let Some(b'+' | b'-') = self.bytes.get(self.at) {
                self.at += 1;
            }
            self.digits()?;
        }
        std::str::from_utf8(&self.bytes[from..self.at]).or_else(|_| self.wrong("expected a number"))
    }

    /// A whole number that is not negative and fits this machine.
    pub fn size(&mut self) -> Read<usize> {
        let text = self.number()?;
        text.parse().or_else(|_| self.wrong(format_args!("{text:.40} is no size that this machine can count")))
    }

    /// One of those that JSON has not.
    fn beyond(&mut self) -> Option<f64> {
        self.peek();
        let rest = &self.bytes[self.at..];
        let all = [("NaN", f64::NAN), ("Infinity", f64::INFINITY), ("-Infinity", f64::NEG_INFINITY)];
        let (word, v) = all.into_iter().find(|(word, _)| self.python && rest.starts_with(word.as_bytes()))?;
        self.at += word.len();
        Some(v)
    }

    fn word(&mut self, word: &str) -> Read<()> {
        if self.bytes[self.at..].starts_with(word.as_bytes()) {
            self.at += word.len();
            Ok(())
        } else {
            self.wrong("expected a value")
        }
    }

    /// Passes over a value.
    pub fn skip(&mut self) -> Read<()> {
        match self.peek() {
            Some(b'{') => self.object(|json, _| json.skip()),
            Some(b'[') => self.list(Self::skip),
            Some(b'"') => self.text().map(drop),
            Some(b't') => self.word("true"),
            Some(b'f') => self.word("false"),
            Some(b'n') => self.word("null"),
            _ if self.beyond().is_some() => Ok(()),
            _ => self.number().map(drop),
        }
    }

    /// Keeps a value. Only for texts whose size the caller has bounded.
    pub fn value(&mut self) -> Read<Value> {
        Ok(match self.peek() {
            Some(b'{') => {
                let mut map = BTreeMap::new();
                self.object(|json, name| {
                    let value = json.value()?;
                    match map.insert(name.into_owned(), value) {
                        None => Ok(()),
                        Some(_) => json.wrong("a name occurs twice in an object"),
                    }
                })?;
                Value::Map(map)
            }
            Some(b'[') => {
                let mut list = Vec::new();
                self.list(|json| {
                    list.push(json.value()?);
                    Ok(())
                })?;
                Value::List(list)
            }
            Some(b'"') => Value::Text(self.text()?.into_owned()),
            Some(b't') => self.word("true").map(|()| Value::Flag(true))?,
            Some(b'f') => self.word("false").map(|()| Value::Flag(false))?,
            Some(b'n') => self.word("null").map(|()| Value::Null)?,
            _ => {
                if let Some(v) = self.beyond() {
                    return Ok(Value::Number(v));
                }
                let text = self.number()?;
                Value::Number(text.parse().or_else(|_| self.wrong("expected a number"))?)
            }
        })
    }
}

/// What a configuration says, by name.
impl Value {
    /// A member of an object that is not null.
    pub fn get(&self, name: &str) -> Option<&Self> {
        match self {
            Self::Map(map) => map.get(name).filter(|value| **value != Self::Null),
            _ => None,
        }
    }

    /// A member that is a name.
    pub fn name(&self, name: &str) -> Read<Option<&str>> {
        match self.get(name) {
            None => Ok(None),
            Some(Self::Text(text)) => Ok(Some(text)),
            Some(other) => Err(format!("{name} = {other} is not a name")),
        }
    }

    /// A member that is a switch.
    pub fn flag(&self, name: &str) -> Read<Option<bool>> {
        match self.get(name) {
            None => Ok(None),
            Some(Self::Flag(flag)) => Ok(Some(*flag)),
            Some(other) => Err(format!("{name} = {other} is not true or false")),
        }
    }

    /// A member that is a whole number.
    pub fn whole(&self, name: &str) -> Read<Option<i64>> {
        match self.get(name) {
            None => Ok(None),
            Some(Self::Number(v)) if v.fract() == 0.0 && v.abs() <= 9e15 => Ok(Some(*v as i64)),
            Some(other) => Err(format!("{name} = {other} is not a whole number")),
        }
    }

    /// A member that is a finite number.
    pub fn number(&self, name: &str) -> Read<Option<f64>> {
        match self.get(name) {
            None => Ok(None),
            Some(Self::Number(v)) if v.is_finite() => Ok(Some(*v)),
            Some(other) => Err(format!("{name} = {other} is not a finite number")),
        }
    }

    /// A member that is a whole number of 32 bits and not negative.
    pub fn count(&self, name: &str) -> Read<Option<u32>> {
        let count = self.whole(name)?;
        count.map(|v| u32::try_from(v).map_err(|_| format!("{name} = {v} is out of range"))).transpose()
    }

    /// A member that is two sizes.
    pub fn pair(&self, name: &str) -> Read<Option<[usize; 2]>> {
        let size = |value: &Self| match value {
            Self::Number(v) if v.fract() == 0.0 && (0.0..=9e15).contains(v) => usize::try_from(*v as u64).ok(),
            _ => None,
        };
        match self.get(name) {
            None => Ok(None),
            Some(Self::List(list)) if list.len() == 2 => match (size(&list[0]), size(&list[1])) {
                (Some(a), Some(b)) => Ok(Some([a, b])),
                _ => Err(format!("{name} = {} is not two sizes", self.get(name).unwrap_or(self))),
            },
            Some(other) => Err(format!("{name} = {other} is not two sizes")),
        }
    }
}

/// As in the text, but shortened where it is long.
impl std::fmt::Display for Value {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Null => f.write_str("null"),
            Self::Flag(v) => write!(f, "{v}"),
            Self::Number(v) => write!(f, "{v}"),
            Self::Text(v) => write!(f, "{v:.40}"),
            Self::List(list) if list.len() <= 4 => {
                f.write_str("[")?;
                for (i, value) in list.iter().enumerate() {
                    write!(f, "{}{value}", if i > 0 { ", " } else { "" })?;
                }
                f.write_str("]")
            }
            Self::List(list) => write!(f, "[{} values]", list.len()),
            Self::Map(map) => write!(f, "{{{} values}}", map.len()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(text: &str) -> Read<Value> {
        let mut json = Json::new(text.as_bytes());
        let value = json.value()?;
        json.end()?;
        Ok(value)
    }

    #[test]
    fn values_are_read_and_passed_over_alike() {
        for good in [
            "{}",
            "[]",
            " [ 1 , -2.5e+3, 0, 1E2 ] ",
            r#""a\u00e9\ud83d\ude00\n""#,
            "true",
            "false",
            "null",
            r#"{"a":{"b":[{}]},"c":""}"#,
        ] {
            assert!(kept(good).is_ok(), "{good}");
            let mut json = Json::new(good.as_bytes());
            assert_eq!(json.skip().and_then(|()| json.end()), Ok(()), "{good}");
        }
        assert_eq!(kept(r#""\u00e9\ud83d\ude00\/""#), Ok(Value::Text("é😀/".into())));
        let deep = "[".repeat(40) + &"]".repeat(40);
        for bad in [
            "",
            "{",
            "[1,]",
            "{\"a\"}",
            "{\"a\":1,}",
            "01",
            "1.",
            "-",
            "1e",
            "+1",
            "tru",
            "\"",
            "\"\\x\"",
            "\"\\u12\"",
            "\"\\ud800\"",
            "\"\\ud800\\u0041\"",
            "\"\u{1}\"",
            "[1 2]",
            "{} {}",
            "nulls",
            "\"\\",
            &deep,
        ] {
            assert!(kept(bad).is_err(), "{bad}");
            let mut json = Json::new(bad.as_bytes());
            assert!(json.skip().and_then(|()| json.end()).is_err(), "{bad}");
        }
        assert!(kept(r#"{"a":1,"a":2}"#).is_err());
        assert!(Json::new(b"\"\xff\"").text().is_err());
        for bad in ["-1", "1.0", "1e3", "99999999999999999999"] {
            assert!(Json::new(bad.as_bytes()).size().is_err(), "{bad}");
        }
    }
}
