//! YAML as the SD-JWT test cases use it: one document of the core schema, the tag `!sd` on keys and values, no aliases.
//! The tag stands beside the value and does not change its type, which a reader by data model would lose.

use saphyr_parser::{Event, Parser, ScalarStyle, Tag};
use serde_json::{Number, Value};

use mandates::json::Object;

/// Nesting that is followed.
const DEPTH_MAX: usize = 32;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Node {
    pub mark: Mark,
    pub content: Content,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mark {
    None,
    /// `!sd`
    Selective,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Content {
    /// Its text too: a key is always its text.
    Scalar(Value, String),
    Sequence(Vec<Node>),
    Mapping(Vec<(Node, Node)>),
}

impl Node {
    /// The only document of `text`.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let mut reader = Reader { events: Parser::new_from_str(text) };
        loop {
            match reader.next()? {
                Event::StreamStart | Event::DocumentStart(_) | Event::Nothing => {}
                event => return reader.node(event, 0),
            }
        }
    }

    /// The value under a key of a mapping.
    pub(super) fn get(&self, name: &str) -> Option<&Self> {
        let Content::Mapping(members) = &self.content else { return None };
        members.iter().find(|(key, _)| key.text() == Some(name)).map(|(_, value)| value)
    }

    pub(super) fn text(&self) -> Option<&str> {
        match &self.content {
            Content::Scalar(_, text) => Some(text),
            _ => None,
        }
    }

    /// Without its marks.
    pub(super) fn value(&self) -> Value {
        match &self.content {
            Content::Scalar(value, _) => value.clone(),
            Content::Sequence(entries) => Value::Array(entries.iter().map(Self::value).collect()),
            Content::Mapping(members) => Value::Object(members_of(members)),
        }
    }

    pub(super) fn object(&self) -> Option<Object> {
        match self.value() {
            Value::Object(object) => Some(object),
            _ => None,
        }
    }
}

fn members_of(members: &[(Node, Node)]) -> Object {
    members.iter().map(|(key, value)| (key.text().unwrap_or_default().to_owned(), value.value())).collect()
}

struct Reader<'a> {
    events: Parser<'a, saphyr_parser::StrInput<'a>>,
}

impl<'a> Reader<'a> {
    fn next(&mut self) -> Result<Event<'a>, String> {
        match self.events.next() {
            Some(Ok((event, _))) => Ok(event),
            Some(Err(error)) => Err(error.to_string()),
            None => Err("a document was expected; the text ended".to_owned()),
        }
    }

    fn node(&mut self, event: Event<'a>, depth: usize) -> Result<Node, String> {
        if depth > DEPTH_MAX {
            return Err(format!("YAML nests at most {DEPTH_MAX} levels here; level {depth} came"));
        }
        let deeper = depth.saturating_add(1);
        match event {
            Event::Scalar(text, style, _, tag) => {
                let value = if style == ScalarStyle::Plain { plain(&text) } else { Value::from(text.as_ref()) };
                Ok(Node { mark: mark(tag.as_deref())?, content: Content::Scalar(value, text.into_owned()) })
            }
            Event::SequenceStart(_, tag) => {
                let mut entries = Vec::new();
                loop {
                    match self.next()? {
                        Event::SequenceEnd => break,
                        event => entries.push(self.node(event, deeper)?),
                    }
                }
                Ok(Node { mark: mark(tag.as_deref())?, content: Content::Sequence(entries) })
            }
            Event::MappingStart(_, tag) => {
                let mut members: Vec<(Node, Node)> = Vec::new();
                loop {
                    let key = match self.next()? {
                        Event::MappingEnd => break,
                        event => self.node(event, deeper)?,
                    };
                    let name = key.text().ok_or("a key is a scalar; a collection came")?;
                    if members.iter().any(|(other, _)| other.text() == Some(name)) {
                        return Err(format!("a key occurs once in a mapping; `{name}` occurs twice"));
                    }
                    let event = self.next()?;
                    members.push((key, self.node(event, deeper)?));
                }
                Ok(Node { mark: mark(tag.as_deref())?, content: Content::Mapping(members) })
            }
            other => Err(format!("a scalar, a sequence or a mapping was expected; {other:?} came")),
        }
    }
}

fn mark(tag: Option<&Tag>) -> Result<Mark, String> {
    match tag {
        None => Ok(Mark::None),
        Some(tag) if tag.handle == "!" && tag.suffix == "sd" => Ok(Mark::Selective),
        Some(tag) => Err(format!("the only tag here is !sd; {}{} came", tag.handle, tag.suffix)),
    }
}

/// YAML 1.2 core schema (section 10.3.2): null, booleans, decimal numbers, else text. Infinities and other bases are no
/// JSON and stay text.
fn plain(text: &str) -> Value {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => Value::Null,
        "true" | "True" | "TRUE" => Value::Bool(true),
        "false" | "False" | "FALSE" => Value::Bool(false),
        _ => number(text).map_or_else(|| Value::from(text), Value::Number),
    }
}

fn number(text: &str) -> Option<Number> {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    if !unsigned.starts_with(|first: char| first.is_ascii_digit()) {
        return None;
    }
    text.strip_prefix('+').unwrap_or(text).parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_cases_do_not_use_is_refused() {
        for text in ["", "a: *b", "a: !other b", "a: 1\na: 2", "? [a]\n: b", "a: [", "a: !!int 1"] {
            assert!(Node::parse(text).is_err(), "{text:?} was read");
        }
        assert!(Node::parse(&"[".repeat(100)).is_err());
    }

    #[test]
    fn the_mark_stands_on_the_key_or_on_the_value() {
        let node = Node::parse("a:\n  - !sd foo: bar\n  - !sd\n    foo: bar\n  - !sd null\n  - !sd \"1\"\n").unwrap();
        let Content::Sequence(entries) = &node.get("a").unwrap().content else { panic!("a sequence") };
        let marks: Vec<Mark> = entries.iter().map(|entry| entry.mark).collect();
        assert_eq!(marks, [Mark::None, Mark::Selective, Mark::Selective, Mark::Selective]);
        let Content::Mapping(members) = &entries[0].content else { panic!("a mapping") };
        assert_eq!(members[0].0.mark, Mark::Selective);
        let wanted = serde_json::json!({"a": [{"foo": "bar"}, {"foo": "bar"}, null, "1"]});
        assert_eq!(node.value(), wanted);
    }

    #[test]
    fn scalars_follow_the_core_schema() {
        let node = Node::parse("[True, 42, 3.14, +1, +1-202, None, ~, '13', 1940-01-01, .inf]").unwrap();
        let wanted =
            serde_json::from_str::<Value>(r#"[true, 42, 3.14, 1, "+1-202", "None", null, "13", "1940-01-01", ".inf"]"#);
        assert_eq!(node.value(), wanted.unwrap());
    }
}
