//! JSON as a verifier must read it: RFC 8259 only, no duplicate keys, bounded depth, numbers as their own text.
//!
//! A reader of our own, because a serde visitor cannot tell a number from an object that carries serde_json's private
//! number key once `arbitrary_precision` is on: two readers that differ on an amount are a theft waiting to happen.
//!
//! What is read lies in a [`Tree`]: one text and one list of nodes, however many values came. [`Members`] and [`Json`] look
//! at it, and at values that somebody made, alike.

mod reader;
#[cfg(test)]
mod tests;
mod view;

use serde_json::{Map, Value};

use crate::rejection::{Code, Rejection};
use reader::Reader;
pub use view::{Entries, Json, Members};

pub type Object = Map<String, Value>;

/// One JSON value and nothing after it.
pub fn parse(bytes: &[u8]) -> Result<Value, Rejection> {
    let mut tree = Tree::default();
    let place = tree.read(bytes)?;
    Ok(tree.at(place).to_value())
}

/// One JSON object and nothing after it.
pub fn parse_object(bytes: &[u8]) -> Result<Object, Rejection> {
    let mut tree = Tree::default();
    let place = tree.read_object(bytes)?;
    Ok(tree.members(place).to_object())
}

/// The members of an object that are not among these.
pub(crate) fn without(object: Members<'_>, names: &[&str]) -> Object {
    let others = object.iter().filter(|(name, _)| !names.contains(name));
    others.map(|(name, value)| (name.to_owned(), value.to_value())).collect()
}

/// What kind of value it is, for a sentence.
pub fn kind<'t>(value: impl Into<Json<'t>>) -> &'static str {
    value.into().kind()
}

fn malformed(message: String) -> Rejection {
    Rejection::new(Code::MalformedJson, message)
}

/// JSON values that were read: each node says where in the text its name and its own text stand, and which is next to it.
#[derive(Clone, Debug, Default)]
pub struct Tree {
    text: String,
    nodes: Vec<Node>,
}

/// A value of a tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place(usize);

/// Behind the last of its siblings, and inside what is empty.
const NOWHERE: Place = Place(usize::MAX);

#[derive(Clone, Copy, Debug)]
struct Span {
    start: usize,
    end: usize,
}

impl Span {
    const fn len(self) -> usize {
        self.end.wrapping_sub(self.start)
    }
}

const NAMELESS: Span = Span { start: 0, end: 0 };

#[derive(Clone, Copy, Debug)]
struct Node {
    name: Span,
    content: Content,
    next: Place,
}

#[derive(Clone, Copy, Debug)]
enum Content {
    Null,
    Bool(bool),
    Number(Span),
    String(Span),
    /// The first element.
    Array(Place),
    /// The first member.
    Object(Place),
}

impl Tree {
    /// For as much JSON text.
    pub(crate) fn with_capacity(bytes: usize) -> Self {
        // A claim has some twenty characters with its name.
        Self { text: String::with_capacity(bytes), nodes: Vec::with_capacity(bytes >> 4) }
    }

    /// Reads one JSON value and nothing after it, beside those that are there.
    pub fn read(&mut self, bytes: &[u8]) -> Result<Place, Rejection> {
        let text =
            std::str::from_utf8(bytes).map_err(|_| malformed("JSON is UTF-8; these bytes are not".to_owned()))?;
        let mut reader = Reader::new(text, self.text.len(), &mut self.nodes);
        let place = reader.document()?;
        let unescaped = reader.into_unescaped();
        self.text.push_str(text);
        self.text.push_str(&unescaped);
        Ok(place)
    }

    /// The same for an object.
    pub fn read_object(&mut self, bytes: &[u8]) -> Result<Place, Rejection> {
        let place = self.read(bytes)?;
        match self.at(place) {
            Json::Object(_) => Ok(place),
            other => Err(malformed(format!("a JSON object was expected; {} came", other.kind()))),
        }
    }

    pub fn at(&self, place: Place) -> Json<'_> {
        self.nodes.get(place.0).map_or(Json::Null, |node| self.content(node))
    }

    fn content(&self, node: &Node) -> Json<'_> {
        match node.content {
            Content::Null => Json::Null,
            Content::Bool(flag) => Json::Bool(flag),
            Content::Number(span) => Json::Number(self.text_of(span)),
            Content::String(span) => Json::String(self.text_of(span)),
            Content::Array(first) => Json::Array(Entries::read(self, first)),
            Content::Object(first) => Json::Object(Members::read(self, first)),
        }
    }

    /// The members of the object there; of anything else, none.
    pub fn members(&self, object: Place) -> Members<'_> {
        match self.at(object) {
            Json::Object(members) => members,
            _ => Members::read(self, NOWHERE),
        }
    }

    /// The values inside an object or an array.
    pub(crate) fn inside(&self, place: Place) -> impl Iterator<Item = Place> {
        self.siblings(self.first(place))
    }

    /// This one and those next to it.
    fn siblings(&self, first: Place) -> impl Iterator<Item = Place> {
        let is_there = |place: &Place| place.0 < self.nodes.len();
        std::iter::successors(Some(first).filter(is_there), move |place| Some(self.next(*place)).filter(is_there))
    }

    /// The one of this name among these siblings.
    fn find(&self, first: Place, name: &str) -> Option<Json<'_>> {
        let node = |place: Place| self.nodes.get(place.0);
        let mut siblings = std::iter::successors(node(first), |before| node(before.next));
        let (text, wanted) = (self.text.as_bytes(), name.as_bytes());
        // Most names differ in length already, or in their first letter.
        let is_it = |Node { name, .. }: &&Node| {
            name.len() == wanted.len()
                && text.get(name.start) == wanted.first()
                && text.get(name.start..name.end) == Some(wanted)
        };
        let found = siblings.find(is_it)?;
        Some(self.content(found))
    }

    pub(crate) fn first(&self, place: Place) -> Place {
        match self.nodes.get(place.0).map(|node| node.content) {
            Some(Content::Array(first) | Content::Object(first)) => first,
            _ => NOWHERE,
        }
    }

    pub(crate) fn next(&self, place: Place) -> Place {
        self.nodes.get(place.0).map_or(NOWHERE, |node| node.next)
    }

    /// The name of a member.
    pub(crate) fn name(&self, place: Place) -> &str {
        self.nodes.get(place.0).map_or("", |node| self.text_of(node.name))
    }

    fn text_of(&self, span: Span) -> &str {
        self.text.get(span.start..span.end).unwrap_or_default()
    }
}

/// Putting disclosures in their place.
impl Tree {
    pub(crate) fn is_there(&self, place: Place) -> bool {
        place.0 < self.nodes.len()
    }

    /// `child` becomes what follows `before` inside `parent`, or its first where nothing is before.
    pub(crate) fn link(&mut self, parent: Place, before: Option<Place>, child: Place) {
        link(&mut self.nodes, parent, before, child);
    }

    /// Calls a value by the text of another.
    pub(crate) fn rename(&mut self, place: Place, name: Place) {
        let Some(Content::String(name)) = self.nodes.get(name.0).map(|node| node.content) else { return };
        if let Some(node) = self.nodes.get_mut(place.0) {
            node.name = name;
        }
    }

    /// Takes a member out of its object.
    pub(crate) fn remove(&mut self, object: Place, name: &str) -> Option<Place> {
        let mut before = None;
        let found = self.inside(object).find(|place| {
            let is_it = self.name(*place) == name;
            if !is_it {
                before = Some(*place);
            }
            is_it
        })?;
        self.link(object, before, self.next(found));
        Some(found)
    }

    /// A name that two members of an object have.
    pub(crate) fn name_twice(&self, object: Place) -> Option<&str> {
        twice(self.inside(object).map(|place| self.name(place)).collect())
    }
}

fn link(nodes: &mut [Node], parent: Place, before: Option<Place>, child: Place) {
    let place = match nodes.get_mut(before.unwrap_or(parent).0) {
        Some(node) if before.is_some() => &mut node.next,
        Some(Node { content: Content::Array(first) | Content::Object(first), .. }) => first,
        _ => return,
    };
    *place = child;
}

fn twice(mut names: Vec<&str>) -> Option<&str> {
    names.sort_unstable();
    names.array_windows().find_map(|[one, other]| (one == other).then_some(*one))
}
