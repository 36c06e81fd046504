//! Structured fields (RFC 9651), as far as signatures have them: dictionaries of items and inner lists, with parameters.
//! Decimals, dates and display strings are refused, nothing here has one; and so is a name that stands twice, of which the
//! specification takes the last: a verifier must not choose.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// Digits of the largest integer (RFC 9651 section 3.3.1).
const DIGITS_MAX: usize = 15;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Bare {
    Integer(i64),
    Text(String),
    Token(String),
    Bytes(Vec<u8>),
    Flag(bool),
}

pub type Parameters = Vec<(String, Bare)>;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    pub bare: Bare,
    pub parameters: Parameters,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InnerList {
    pub items: Vec<Item>,
    pub parameters: Parameters,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Member {
    Item(Item),
    List(InnerList),
}

/// Members in their order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dictionary(Vec<(String, Member)>);

/// What was expected where, and what came.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{expected} was expected at character {at}, {found} came")]
pub struct Malformed {
    expected: &'static str,
    at: usize,
    found: String,
}

impl Dictionary {
    pub fn parse(text: &str) -> Result<Self, Malformed> {
        let mut reader = Reader { text: text.as_bytes(), at: 0 };
        let mut members: Vec<(String, Member)> = Vec::new();
        reader.spaces();
        while reader.peek().is_some() {
            let key = reader.key()?;
            if members.iter().any(|(known, _)| *known == key) {
                return Err(reader.wrong("a member that stands once"));
            }
            let member = match (reader.accept(b'='), reader.peek()) {
                (true, Some(b'(')) => Member::List(reader.inner_list()?),
                (true, _) => Member::Item(reader.item()?),
                (false, _) => Member::Item(Item { bare: Bare::Flag(true), parameters: reader.parameters()? }),
            };
            members.push((key, member));
            reader.blanks();
            if reader.peek().is_none() {
                break;
            }
            reader.require(b',', "a comma between members")?;
            reader.blanks();
            if reader.peek().is_none() {
                return Err(reader.wrong("a member after the comma"));
            }
        }
        Ok(Self(members))
    }

    pub fn get(&self, key: &str) -> Option<&Member> {
        self.0.iter().find(|(name, _)| name == key).map(|(_, member)| member)
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, &Member)> {
        self.0.iter().map(|(name, member)| (name.as_str(), member))
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Item {
    pub fn text(&self) -> Option<&str> {
        match &self.bare {
            Bare::Text(text) => Some(text),
            _ => None,
        }
    }
}

pub fn parameter<'a>(parameters: &'a Parameters, name: &str) -> Option<&'a Bare> {
    parameters.iter().find(|(known, _)| known == name).map(|(_, bare)| bare)
}

impl Bare {
    /// As section 4.1 writes it.
    pub fn written(&self) -> String {
        match self {
            Self::Integer(number) => number.to_string(),
            Self::Text(text) => format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"")),
            Self::Token(token) => token.clone(),
            Self::Bytes(bytes) => format!(":{}:", STANDARD.encode(bytes)),
            Self::Flag(flag) => format!("?{}", u8::from(*flag)),
        }
    }
}

impl Item {
    pub fn written(&self) -> String {
        format!("{}{}", self.bare.written(), parameters_written(&self.parameters))
    }
}

impl InnerList {
    pub fn written(&self) -> String {
        let items: Vec<String> = self.items.iter().map(Item::written).collect();
        format!("({}){}", items.join(" "), parameters_written(&self.parameters))
    }
}

impl Member {
    pub fn written(&self) -> String {
        match self {
            Self::Item(item) => item.written(),
            Self::List(list) => list.written(),
        }
    }
}

pub fn parameters_written(parameters: &Parameters) -> String {
    let written = |(name, bare): &(String, Bare)| match bare {
        Bare::Flag(true) => format!(";{name}"),
        bare => format!(";{name}={}", bare.written()),
    };
    parameters.iter().map(written).collect()
}

struct Reader<'a> {
    text: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn step(&mut self) {
        self.at = self.at.saturating_add(1);
    }

    fn accept(&mut self, byte: u8) -> bool {
        let is_there = self.peek() == Some(byte);
        if is_there {
            self.step();
        }
        is_there
    }

    fn require(&mut self, byte: u8, expected: &'static str) -> Result<(), Malformed> {
        if self.accept(byte) { Ok(()) } else { Err(self.wrong(expected)) }
    }

    fn wrong(&self, expected: &'static str) -> Malformed {
        let found = match self.peek() {
            None => "the end".to_owned(),
            Some(byte) if byte.is_ascii_graphic() => format!("`{}`", char::from(byte)),
            Some(byte) => format!("byte {byte}"),
        };
        Malformed { expected, at: self.at, found }
    }

    fn while_some(&mut self, holds: impl Fn(u8) -> bool) -> &[u8] {
        let start = self.at;
        while self.peek().is_some_and(&holds) {
            self.step();
        }
        self.text.get(start..self.at).unwrap_or_default()
    }

    fn spaces(&mut self) {
        self.while_some(|byte| byte == b' ');
    }

    fn blanks(&mut self) {
        self.while_some(|byte| matches!(byte, b' ' | b'\t'));
    }

    fn key(&mut self) -> Result<String, Malformed> {
        if !self.peek().is_some_and(|byte| byte.is_ascii_lowercase() || byte == b'*') {
            return Err(self.wrong("a name in lower case"));
        }
        let is_key =
            |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'_' | b'-' | b'.' | b'*');
        Ok(self.while_some(is_key).iter().copied().map(char::from).collect())
    }

    fn parameters(&mut self) -> Result<Parameters, Malformed> {
        let mut parameters = Parameters::new();
        while self.accept(b';') {
            self.spaces();
            let name = self.key()?;
            if parameter(&parameters, &name).is_some() {
                return Err(self.wrong("a parameter that stands once"));
            }
            let bare = if self.accept(b'=') { self.bare()? } else { Bare::Flag(true) };
            parameters.push((name, bare));
        }
        Ok(parameters)
    }

    fn item(&mut self) -> Result<Item, Malformed> {
        Ok(Item { bare: self.bare()?, parameters: self.parameters()? })
    }

    fn inner_list(&mut self) -> Result<InnerList, Malformed> {
        self.require(b'(', "an inner list")?;
        let mut items = Vec::new();
        loop {
            self.spaces();
            if self.accept(b')') {
                return Ok(InnerList { items, parameters: self.parameters()? });
            }
            items.push(self.item()?);
            if !matches!(self.peek(), Some(b' ' | b')')) {
                return Err(self.wrong("a space or the end of the list"));
            }
        }
    }

    fn bare(&mut self) -> Result<Bare, Malformed> {
        match self.peek() {
            Some(b'"') => self.text(),
            Some(b':') => self.bytes(),
            Some(b'?') => self.flag(),
            Some(byte) if byte == b'-' || byte.is_ascii_digit() => self.integer(),
            Some(byte) if byte == b'*' || byte.is_ascii_alphabetic() => {
                let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~:/".contains(&byte);
                Ok(Bare::Token(self.while_some(is_token).iter().copied().map(char::from).collect()))
            }
            _ => Err(self.wrong("an integer, a string, a token, bytes or a boolean")),
        }
    }

    fn integer(&mut self) -> Result<Bare, Malformed> {
        let sign = if self.accept(b'-') { "-" } else { "" };
        let digits: String = self.while_some(|byte| byte.is_ascii_digit()).iter().copied().map(char::from).collect();
        if digits.is_empty() || digits.len() > DIGITS_MAX || self.peek() == Some(b'.') {
            return Err(self.wrong("an integer of at most 15 digits"));
        }
        format!("{sign}{digits}").parse().map(Bare::Integer).map_err(|_| self.wrong("an integer of at most 15 digits"))
    }

    fn text(&mut self) -> Result<Bare, Malformed> {
        self.require(b'"', "a string")?;
        let mut text = String::new();
        loop {
            match self.peek() {
                Some(b'"') => {
                    self.step();
                    return Ok(Bare::Text(text));
                }
                Some(b'\\') => {
                    self.step();
                    match self.peek() {
                        Some(byte @ (b'"' | b'\\')) => text.push(char::from(byte)),
                        _ => return Err(self.wrong("a quote or a backslash after a backslash")),
                    }
                }
                Some(byte @ 0x20..=0x7e) => text.push(char::from(byte)),
                _ => return Err(self.wrong("a visible character or the end of the string")),
            }
            self.step();
        }
    }

    fn bytes(&mut self) -> Result<Bare, Malformed> {
        self.require(b':', "bytes")?;
        let encoded = self.while_some(|byte| byte != b':').to_vec();
        self.require(b':', "a colon after the bytes")?;
        STANDARD.decode(encoded).map(Bare::Bytes).map_err(|_| self.wrong("base64 with its padding between colons"))
    }

    fn flag(&mut self) -> Result<Bare, Malformed> {
        self.require(b'?', "a boolean")?;
        match self.peek() {
            Some(digit @ (b'0' | b'1')) => {
                self.step();
                Ok(Bare::Flag(digit == b'1'))
            }
            _ => Err(self.wrong("0 or 1")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_dictionary_of_these_is_refused() {
        for text in [
            "A=1",
            "1=a",
            "a=",
            "a=1,",
            "a=1 b=2",
            "a=1,,b=2",
            "a=1;",
            "a=1;B=2",
            "a=1;b=2;b=2",
            "a=1, a=2",
            "a=1.5",
            "a=1234567890123456",
            "a=-",
            "a=\"x",
            "a=\"\\x\"",
            "a=\"\u{e9}\"",
            "a=\"\t\"",
            "a=:YQ:",
            "a=:YQ==",
            "a=:Y-==:",
            "a=?2",
            "a=?",
            "a=(1",
            "a=(1\t2)",
            "a=(1,2)",
            "a=((1))",
            "a=@1",
            "a=%\"x\"",
            "a=(\"x\"\"y\")",
            "=1",
            ",a=1",
            "a=:YR==:",
        ] {
            assert!(Dictionary::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn what_is_read_is_written_as_the_rfc_has_it() {
        for (text, written) in [
            ("a", vec!["?1"]),
            ("a;b", vec!["?1;b"]),
            ("a=1;  b=-2", vec!["1;b=-2"]),
            (
                "a=(\"@method\"   \"x\";key=\"k\" );created=1;keyid=\"k\"",
                vec!["(\"@method\" \"x\";key=\"k\");created=1;keyid=\"k\""],
            ),
            ("a=(), b=:YQ==:", vec!["()", ":YQ==:"]),
            ("a=tok/en:1;q=?0\t,\tb=\"\\\"\\\\\"", vec!["tok/en:1;q=?0", "\"\\\"\\\\\""]),
            ("", vec![]),
            ("  a=1  ", vec!["1"]),
        ] {
            let read = Dictionary::parse(text).unwrap_or_else(|why| panic!("{text}: {why}"));
            let found: Vec<String> = read.iter().map(|(_, member)| member.written()).collect();
            assert_eq!(found, written, "{text}");
        }
    }

    #[test]
    fn no_bytes_near_a_signature_panic() {
        let text = "sig1=(\"@method\" \"x\";key=\"k\");created=1;keyid=\"k\";nonce=:YQ==:";
        for place in 0..text.len() {
            for byte in [b'"', b'(', b')', b';', b'=', b',', b':', b' ', b'-', b'9', 0x7f] {
                let mut bytes = text.as_bytes().to_vec();
                bytes[place] = byte;
                let _ = Dictionary::parse(std::str::from_utf8(&bytes).unwrap());
            }
            let _ = Dictionary::parse(&text[..place]);
        }
    }
}
