//! The text of one JSON value becomes nodes of a tree.

use serde_json::Number;

use super::{Content, NAMELESS, NOWHERE, Node, Place, Span, link, malformed, twice};
use crate::limits::{DEPTH_MAX, NUMBER_CHARS_MAX};
use crate::rejection::{Code, Rejection, shown};

pub(super) struct Reader<'a> {
    text: &'a str,
    at: usize,
    /// Where this text will stand in the tree's; what had escapes stands behind it.
    start: usize,
    unescaped: String,
    nodes: &'a mut Vec<Node>,
}

impl<'a> Reader<'a> {
    pub(super) const fn new(text: &'a str, start: usize, nodes: &'a mut Vec<Node>) -> Self {
        Self { text, at: 0, start, unescaped: String::new(), nodes }
    }

    pub(super) fn into_unescaped(self) -> String {
        self.unescaped
    }

    pub(super) fn document(&mut self) -> Result<Place, Rejection> {
        self.skip_space();
        let place = self.value(NAMELESS, 0)?;
        self.skip_space();
        match self.peek() {
            None => Ok(place),
            Some(byte) => {
                Err(malformed(format!("one JSON value was expected; byte {byte:#04x} follows at {}", self.at)))
            }
        }
    }

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

    /// Mostly there is none.
    #[inline]
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

    fn node(&mut self, name: Span, content: Content) -> Place {
        let place = Place(self.nodes.len());
        self.nodes.push(Node { name, content, next: NOWHERE });
        place
    }

    fn value(&mut self, name: Span, depth: usize) -> Result<Place, Rejection> {
        if depth > DEPTH_MAX {
            let message = format!("JSON nests at most {DEPTH_MAX} levels; level {depth} came");
            return Err(Rejection::new(Code::TooDeep, message));
        }
        let content = match self.peek() {
            Some(b'{') => return self.object(name, depth),
            Some(b'[') => return self.array(name, depth),
            Some(b'"') => Content::String(self.string()?),
            Some(b't') => self.word("true", Content::Bool(true))?,
            Some(b'f') => self.word("false", Content::Bool(false))?,
            Some(b'n') => self.word("null", Content::Null)?,
            Some(b'-' | b'0'..=b'9') => self.number()?,
            _ => return Err(self.unexpected("a JSON value")),
        };
        Ok(self.node(name, content))
    }

    fn word(&mut self, word: &str, content: Content) -> Result<Content, Rejection> {
        if self.text.get(self.at..).is_some_and(|rest| rest.starts_with(word)) {
            self.at = self.at.saturating_add(word.len());
            return Ok(content);
        }
        Err(self.unexpected(word))
    }

    fn object(&mut self, name: Span, depth: usize) -> Result<Place, Rejection> {
        let object = self.node(name, Content::Object(NOWHERE));
        self.take(b'{');
        self.skip_space();
        if self.take(b'}') {
            return Ok(object);
        }
        // Names that rise are no two alike; only where they do not, each is compared with each.
        let (mut before, mut last, mut is_rising) = (None, NAMELESS, true);
        loop {
            self.skip_space();
            let name = self.string()?;
            is_rising = is_rising && (before.is_none() || self.text_of(last) < self.text_of(name));
            last = name;
            self.skip_space();
            if !self.take(b':') {
                return Err(self.unexpected("`:`"));
            }
            self.skip_space();
            let member = self.value(name, depth.saturating_add(1))?;
            link(self.nodes, object, before, member);
            before = Some(member);
            self.skip_space();
            if self.take(b'}') {
                break;
            }
            if !self.take(b',') {
                return Err(self.unexpected("`,` or `}`"));
            }
        }
        if !is_rising {
            self.check_names(object)?;
        }
        Ok(object)
    }

    fn check_names(&self, object: Place) -> Result<(), Rejection> {
        let node = |place: Place| self.nodes.get(place.0);
        let Some(Content::Object(first)) = node(object).map(|node| node.content) else { return Ok(()) };
        let members = std::iter::successors(node(first), |member| node(member.next));
        match twice(members.map(|member| self.text_of(member.name)).collect()) {
            None => Ok(()),
            Some(name) => {
                let message = format!("a key occurs once in an object; {} occurs twice", shown(name));
                Err(Rejection::new(Code::DuplicateJsonKey, message).at(name))
            }
        }
    }

    /// A span of what is being read.
    fn text_of(&self, span: Span) -> &str {
        let (start, end) = (span.start.saturating_sub(self.start), span.end.saturating_sub(self.start));
        match start.checked_sub(self.text.len()) {
            // An empty text may stand at the very end.
            Some(start) if end > self.text.len() => {
                self.unescaped.get(start..end.saturating_sub(self.text.len())).unwrap_or_default()
            }
            _ => self.text.get(start..end).unwrap_or_default(),
        }
    }

    fn array(&mut self, name: Span, depth: usize) -> Result<Place, Rejection> {
        let array = self.node(name, Content::Array(NOWHERE));
        self.take(b'[');
        self.skip_space();
        if self.take(b']') {
            return Ok(array);
        }
        let mut before = None;
        loop {
            self.skip_space();
            let element = self.value(NAMELESS, depth.saturating_add(1))?;
            link(self.nodes, array, before, element);
            before = Some(element);
            self.skip_space();
            if self.take(b']') {
                return Ok(array);
            }
            if !self.take(b',') {
                return Err(self.unexpected("`,` or `]`"));
            }
        }
    }

    fn number(&mut self) -> Result<Content, Rejection> {
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
        // Digits alone are a number of serde_json's too; the rest is asked, so that it can be made into one.
        if !text.bytes().all(|byte| byte.is_ascii_digit()) && text.parse::<Number>().is_err() {
            return Err(malformed(format!("{} is not a JSON number", shown(text))));
        }
        Ok(Content::Number(self.span(start, self.at)))
    }

    fn digits(&mut self) -> Result<(), Rejection> {
        let start = self.at;
        while matches!(self.peek(), Some(b'0'..=b'9')) {
            self.at = self.at.saturating_add(1);
        }
        if self.at == start { Err(self.unexpected("a digit")) } else { Ok(()) }
    }

    const fn span(&self, start: usize, end: usize) -> Span {
        Span { start: self.start.saturating_add(start), end: self.start.saturating_add(end) }
    }

    fn string(&mut self) -> Result<Span, Rejection> {
        if !self.take(b'"') {
            return Err(self.unexpected("a string"));
        }
        let start = self.at;
        self.skip_plain();
        let end = self.at;
        // The usual string has no escape: it stays where it is.
        if self.take(b'"') { Ok(self.span(start, end)) } else { self.string_with_escapes(start) }
    }

    fn string_with_escapes(&mut self, mut from: usize) -> Result<Span, Rejection> {
        let behind = self.text.len();
        let start = behind.saturating_add(self.unescaped.len());
        loop {
            self.unescaped.push_str(self.text.get(from..self.at).unwrap_or_default());
            match self.peek() {
                Some(b'"') => {
                    self.at = self.at.saturating_add(1);
                    return Ok(self.span(start, behind.saturating_add(self.unescaped.len())));
                }
                Some(b'\\') => {
                    let character = self.escape()?;
                    self.unescaped.push(character);
                }
                Some(_) => return Err(self.unexpected("an escaped control character")),
                None => return Err(self.unexpected("`\"`")),
            }
            from = self.at;
            self.skip_plain();
        }
    }

    /// What ends a run is ASCII, so it ends between characters.
    fn skip_plain(&mut self) {
        let rest = self.text.as_bytes().get(self.at..).unwrap_or_default();
        self.at = self.at.saturating_add(plain(rest));
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

/// How many bytes at the front a string may have as they are: all before a quote, a backslash or a control character.
fn plain(bytes: &[u8]) -> usize {
    let (words, rest) = bytes.as_chunks::<8>();
    let mut plain = 0_usize;
    for word in words {
        let ends = ends(u64::from_le_bytes(*word));
        if ends != 0 {
            return plain.saturating_add(usize::try_from(ends.trailing_zeros() >> 3).unwrap_or_default());
        }
        plain = plain.saturating_add(8);
    }
    let is_end = |byte: &u8| matches!(byte, b'"' | b'\\' | 0..=0x1f);
    plain.saturating_add(rest.iter().position(is_end).unwrap_or(rest.len()))
}

/// The lowest bit shows the first of eight bytes that ends a run: a byte from which `less` can be taken only with a borrow
/// sets its highest bit, and a borrow changes only what is behind (Warren, Hacker's Delight, section 6-1).
const fn ends(word: u64) -> u64 {
    const EACH: u64 = 0x0101_0101_0101_0101;
    const fn below(word: u64, less: u64) -> u64 {
        word.wrapping_sub(less) & !word & (EACH << 7)
    }
    below(word, EACH << 5) | below(word ^ (EACH * 0x22), EACH) | below(word ^ (EACH * 0x5c), EACH)
}
