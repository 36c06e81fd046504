//! JSON as a verifier must read it: RFC 8259 only, no duplicate keys, bounded depth, numbers as their own text.
//!
//! A reader of our own, because a serde visitor cannot tell a number from an object that carries serde_json's private
//! number key once `arbitrary_precision` is on: two readers that differ on an amount are a theft waiting to happen.

use serde_json::map::Entry;
use serde_json::{Map, Number, Value};

use crate::limits::{DEPTH_MAX, NUMBER_CHARS_MAX};
use crate::rejection::{Code, Rejection, shown};

pub type Object = Map<String, Value>;

/// One JSON value and nothing after it.
pub fn parse(bytes: &[u8]) -> Result<Value, Rejection> {
    let text = std::str::from_utf8(bytes).map_err(|_| malformed("JSON is UTF-8; these bytes are not".to_owned()))?;
    let mut reader = Reader { text, at: 0 };
    reader.skip_space();
    let value = reader.value(0)?;
    reader.skip_space();
    match reader.peek() {
        None => Ok(value),
        Some(byte) => Err(malformed(format!("one JSON value was expected; byte {byte:#04x} follows at {}", reader.at))),
    }
}

/// One JSON object and nothing after it.
pub fn parse_object(bytes: &[u8]) -> Result<Object, Rejection> {
    match parse(bytes)? {
        Value::Object(object) => Ok(object),
        other => Err(malformed(format!("a JSON object was expected; {} came", kind(&other)))),
    }
}

/// The members of an object that are not among these.
pub(crate) fn without(object: &Object, names: &[&str]) -> Object {
    let others = object.iter().filter(|(name, _)| !names.contains(&name.as_str()));
    others.map(|(name, value)| (name.clone(), value.clone())).collect()
}

/// What kind of value it is, for a sentence.
pub const fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

fn malformed(message: String) -> Rejection {
    Rejection::new(Code::MalformedJson, message)
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
}

impl Reader<'_> {
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn take(&mut self, wanted: u8) -> bool {
        let found = self.peek() == Some(wanted);
        if found {
            self.at = self.at.saturating_add(1);
        }
        found
    }

    fn skip_space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at = self.at.saturating_add(1);
        }
    }

    fn unexpected(&self, wanted: &str) -> Rejection {
        match self.text.get(self.at..).and_then(|rest| rest.chars().next()) {
            Some(found) => malformed(format!("{wanted} was expected at {}; {:?} came", self.at, found)),
            None => malformed(format!("{wanted} was expected at {}; the text ended", self.at)),
        }
    }

    fn value(&mut self, depth: usize) -> Result<Value, Rejection> {
        if depth > DEPTH_MAX {
            let message = format!("JSON nests at most {DEPTH_MAX} levels; level {depth} came");
            return Err(Rejection::new(Code::TooDeep, message));
        }
        match self.peek() {
            Some(b'{') => self.object(depth),
            Some(b'[') => self.array(depth),
            Some(b'"') => Ok(Value::String(self.string()?)),
            Some(b't') => self.word("true", Value::Bool(true)),
            Some(b'f') => self.word("false", Value::Bool(false)),
            Some(b'n') => self.word("null", Value::Null),
            Some(b'-' | b'0'..=b'9') => self.number(),
            _ => Err(self.unexpected("a JSON value")),
        }
    }

    fn word(&mut self, word: &str, value: Value) -> Result<Value, Rejection> {
        if self.text.get(self.at..).is_some_and(|rest| rest.starts_with(word)) {
            self.at = self.at.saturating_add(word.len());
            return Ok(value);
        }
        Err(self.unexpected(word))
    }

    fn object(&mut self, depth: usize) -> Result<Value, Rejection> {
        let mut object = Object::new();
        self.take(b'{');
        self.skip_space();
        if self.take(b'}') {
            return Ok(Value::Object(object));
        }
        loop {
            self.skip_space();
            let key = self.string()?;
            self.skip_space();
            if !self.take(b':') {
                return Err(self.unexpected("`:`"));
            }
            self.skip_space();
            let value = self.value(depth.saturating_add(1))?;
            match object.entry(key) {
                Entry::Vacant(place) => {
                    place.insert(value);
                }
                Entry::Occupied(place) => {
                    let message = format!("a key occurs once in an object; {} occurs twice", shown(place.key()));
                    return Err(Rejection::new(Code::DuplicateJsonKey, message).at(place.key().clone()));
                }
            }
            self.skip_space();
            if self.take(b'}') {
                return Ok(Value::Object(object));
            }
            if !self.take(b',') {
                return Err(self.unexpected("`,` or `}`"));
            }
        }
    }

    fn array(&mut self, depth: usize) -> Result<Value, Rejection> {
        let mut array = Vec::new();
        self.take(b'[');
        self.skip_space();
        if self.take(b']') {
            return Ok(Value::Array(array));
        }
        loop {
            self.skip_space();
            array.push(self.value(depth.saturating_add(1))?);
            self.skip_space();
            if self.take(b']') {
                return Ok(Value::Array(array));
            }
            if !self.take(b',') {
                return Err(self.unexpected("`,` or `]`"));
            }
        }
    }

    fn number(&mut self) -> Result<Value, Rejection> {
        let start = self.at;
        self.take(b'-');
        if !self.take(b'0') {
            self.digits()?;
        }
        if self.take(b'.') {
            self.digits()?;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at = self.at.saturating_add(1);
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at = self.at.saturating_add(1);
            }
            self.digits()?;
        }
        let text = self.text.get(start..self.at).unwrap_or_default();
        if text.len() > NUMBER_CHARS_MAX {
            return Err(malformed(format!("a number has at most {NUMBER_CHARS_MAX} characters; {} came", text.len())));
        }
        // What is whole, small and not negative has this one spelling, so its text is kept.
        if let Ok(whole) = text.parse::<u64>() {
            return Ok(Value::Number(whole.into()));
        }
        let number: Number = text.parse().map_err(|_| malformed(format!("{} is not a JSON number", shown(text))))?;
        Ok(Value::Number(number))
    }

    fn digits(&mut self) -> Result<(), Rejection> {
        let start = self.at;
        while matches!(self.peek(), Some(b'0'..=b'9')) {
            self.at = self.at.saturating_add(1);
        }
        if self.at == start { Err(self.unexpected("a digit")) } else { Ok(()) }
    }

    fn string(&mut self) -> Result<String, Rejection> {
        if !self.take(b'"') {
            return Err(self.unexpected("a string"));
        }
        let mut out = String::new();
        loop {
            // All three bytes are ASCII, so a run ends between characters.
            let rest = self.text.as_bytes().get(self.at..).unwrap_or_default();
            let plain = rest.iter().position(|byte| matches!(byte, b'"' | b'\\' | 0..=0x1f)).unwrap_or(rest.len());
            let end = self.at.saturating_add(plain);
            let run = self.text.get(self.at..end).unwrap_or_default();
            self.at = end;
            match self.peek() {
                Some(b'"') => {
                    self.at = self.at.saturating_add(1);
                    // The usual string has no escape: it is copied once, at its length.
                    return Ok(if out.is_empty() { run.to_owned() } else { out + run });
                }
                Some(b'\\') => {
                    out.push_str(run);
                    out.push(self.escape()?);
                }
                Some(_) => return Err(self.unexpected("an escaped control character")),
                None => return Err(self.unexpected("`\"`")),
            }
        }
    }

    fn escape(&mut self) -> Result<char, Rejection> {
        self.take(b'\\');
        let found = self.peek();
        let plain = match found {
            Some(byte @ (b'"' | b'\\' | b'/')) => char::from(byte),
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => return self.unicode_escape(),
            _ => return Err(self.unexpected("an escape")),
        };
        self.at = self.at.saturating_add(1);
        Ok(plain)
    }

    fn unicode_escape(&mut self) -> Result<char, Rejection> {
        let high = self.hex4()?;
        let scalar = if (0xd800..0xdc00).contains(&high) {
            if !self.take(b'\\') || self.peek() != Some(b'u') {
                return Err(self.unexpected("the second half of a surrogate pair"));
            }
            let low = self.hex4()?;
            if !(0xdc00..0xe000).contains(&low) {
                return Err(malformed(format!("a low surrogate was expected; {low:#06x} came")));
            }
            0x10000_u32.saturating_add((high & 0x3ff) << 10).saturating_add(low & 0x3ff)
        } else {
            high
        };
        char::from_u32(scalar).ok_or_else(|| malformed(format!("a Unicode scalar was expected; {scalar:#06x} came")))
    }

    /// `u` and four hexadecimal digits.
    fn hex4(&mut self) -> Result<u32, Rejection> {
        self.take(b'u');
        let digits = self.text.get(self.at..self.at.saturating_add(4)).unwrap_or_default();
        if digits.len() != 4 || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(self.unexpected("four hexadecimal digits"));
        }
        self.at = self.at.saturating_add(4);
        u32::from_str_radix(digits, 16).map_err(|_| self.unexpected("four hexadecimal digits"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_rfc_8259_does_not_have_is_refused() {
        let cases = [
            "",
            " ",
            "nul",
            "NaN",
            "Infinity",
            "-Infinity",
            "+1",
            "01",
            "-",
            "1.",
            ".5",
            "1e",
            "1e+",
            "'a'",
            "{a:1}",
            "{\"a\":1,}",
            "[1,]",
            "[1 2]",
            "{\"a\" 1}",
            "\"\n\"",
            "\"\\x\"",
            "\"\\ud800\"",
            "\"\\udc00\"",
            "\"\\ud800\\u0041\"",
            "\"\\u12g4\"",
            "\"open",
            "[",
            "{",
            "1 1",
            "{}{}",
            "// a\n1",
            "\u{feff}1",
            "tru",
            "\"\\u00",
            "--1",
            "0x1",
            "\"\\u+123\"",
        ];
        for text in cases {
            assert_eq!(parse(text.as_bytes()).unwrap_err().code, Code::MalformedJson, "{text:?} was read");
        }
        assert_eq!(parse(b"\"\xff\"").unwrap_err().code, Code::MalformedJson);
        assert_eq!(parse("9".repeat(65).as_bytes()).unwrap_err().code, Code::MalformedJson);
    }

    #[test]
    fn a_key_occurs_once_however_it_is_spelled() {
        for text in ["{\"a\":1,\"a\":1}", "{\"a\":1,\"\\u0061\":2}", "[{\"x\":{\"b\":1,\"b\":2}}]"] {
            assert_eq!(parse(text.as_bytes()).unwrap_err().code, Code::DuplicateJsonKey, "{text}");
        }
    }

    #[test]
    fn depth_is_bounded_without_recursion_running_away() {
        let deep = format!("{}1{}", "[".repeat(100_000), "]".repeat(100_000));
        assert_eq!(parse(deep.as_bytes()).unwrap_err().code, Code::TooDeep);
        let fits = format!("{}1{}", "[".repeat(DEPTH_MAX), "]".repeat(DEPTH_MAX));
        assert!(parse(fits.as_bytes()).is_ok());
    }

    #[test]
    fn numbers_keep_their_text_and_no_object_poses_as_one() {
        assert_eq!(parse(b"199.00").unwrap().to_string(), "199.00");
        assert_eq!(parse(b"1e2").unwrap().as_u64(), None);
        let posing = parse(br#"{"$serde_json::private::Number":"5"}"#).unwrap();
        assert!(posing.is_object());
    }

    #[test]
    fn a_string_ends_where_it_ends() {
        for length in 0..70 {
            let plain = "x".repeat(length);
            for (escaped, read) in
                [("", ""), ("\\n", "\n"), ("\\\"", "\""), ("é", "é"), ("\\u0041", "A"), ("\u{7f}", "\u{7f}")]
            {
                let text = format!("[\"{plain}{escaped}\",\"{escaped}{plain}\"]");
                let value = parse(text.as_bytes()).unwrap();
                assert_eq!(value[0], Value::from(format!("{plain}{read}")), "{text}");
                assert_eq!(value[1], Value::from(format!("{read}{plain}")), "{text}");
            }
            for broken in ["\n", "\u{1f}", "\u{0}", "\\x", "\\"] {
                let text = format!("\"{plain}{broken}\"");
                assert_eq!(parse(text.as_bytes()).unwrap_err().code, Code::MalformedJson, "{text:?}");
            }
            assert_eq!(parse(format!("\"{plain}").as_bytes()).unwrap_err().code, Code::MalformedJson);
        }
    }

    #[test]
    fn plain_json_is_read() {
        let text = r#" {"a":[1,-0,2.5e-3,true,false,null],"b":"\u0041\ud83d\ude00\"\\\/\b\f\n\r\té","c":{}} "#;
        assert_eq!(parse(text.as_bytes()).unwrap(), serde_json::from_str::<Value>(text).unwrap());
    }
}
