//! Claims to look at, wherever they lie: in a tree that was read, or among values that somebody made.

use serde_json::{Number, Value};

use super::{Object, Place, Tree};

/// One value. A number is its own text.
#[derive(Clone, Copy, Debug)]
pub enum Json<'t> {
    Null,
    Bool(bool),
    Number(&'t str),
    String(&'t str),
    Array(Entries<'t>),
    Object(Members<'t>),
}

/// The members of an object.
#[derive(Clone, Copy, Debug)]
pub struct Members<'t>(Source<'t, Object>);

/// The elements of an array.
#[derive(Clone, Copy, Debug)]
pub struct Entries<'t>(Source<'t, [Value]>);

#[derive(Debug)]
enum Source<'t, T: ?Sized> {
    /// In a tree, from this one on.
    Read(&'t Tree, Place),
    Made(&'t T),
}

impl<T: ?Sized> Clone for Source<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T: ?Sized> Copy for Source<'_, T> {}

impl<'t> Members<'t> {
    pub(super) const fn read(tree: &'t Tree, first: Place) -> Self {
        Self(Source::Read(tree, first))
    }

    pub fn get(self, name: &str) -> Option<Json<'t>> {
        match self.0 {
            Source::Read(tree, first) => tree.find(first, name),
            Source::Made(object) => object.get(name).map(Json::from),
        }
    }

    pub fn contains_key(self, name: &str) -> bool {
        self.get(name).is_some()
    }

    pub fn iter(self) -> impl Iterator<Item = (&'t str, Json<'t>)> {
        let (tree, made) = match self.0 {
            Source::Read(tree, first) => (Some((tree, first)), None),
            Source::Made(object) => (None, Some(object)),
        };
        let read = tree.into_iter().flat_map(|(tree, first)| {
            let members = tree.siblings(first);
            members.map(|place| (tree.name(place), tree.at(place)))
        });
        read.chain(made.into_iter().flatten().map(|(name, value)| (name.as_str(), value.into())))
    }

    pub fn keys(self) -> impl Iterator<Item = &'t str> {
        self.iter().map(|(name, _)| name)
    }

    pub fn to_object(self) -> Object {
        match self.0 {
            Source::Read(..) => self.iter().map(|(name, value)| (name.to_owned(), value.to_value())).collect(),
            Source::Made(object) => object.clone(),
        }
    }
}

impl<'t> Entries<'t> {
    pub(super) const fn read(tree: &'t Tree, first: Place) -> Self {
        Self(Source::Read(tree, first))
    }

    pub fn iter(self) -> impl Iterator<Item = Json<'t>> {
        let (tree, made) = match self.0 {
            Source::Read(tree, first) => (Some((tree, first)), None),
            Source::Made(entries) => (None, Some(entries)),
        };
        let read = tree.into_iter().flat_map(|(tree, first)| tree.siblings(first).map(|place| tree.at(place)));
        read.chain(made.into_iter().flatten().map(Json::from))
    }

    pub fn len(self) -> usize {
        match self.0 {
            Source::Read(tree, first) => tree.siblings(first).count(),
            Source::Made(entries) => entries.len(),
        }
    }

    pub fn is_empty(self) -> bool {
        self.iter().next().is_none()
    }
}

impl<'t> Json<'t> {
    pub const fn as_str(self) -> Option<&'t str> {
        match self {
            Self::String(text) => Some(text),
            _ => None,
        }
    }

    /// A whole number as it is written without fraction and exponent.
    pub fn as_i64(self) -> Option<i64> {
        match self {
            Self::Number(text) => text.parse().ok(),
            _ => None,
        }
    }

    pub const fn as_object(self) -> Option<Members<'t>> {
        match self {
            Self::Object(members) => Some(members),
            _ => None,
        }
    }

    /// A member, where this is an object that has it.
    pub fn get(self, name: &str) -> Option<Self> {
        self.as_object()?.get(name)
    }

    pub const fn as_array(self) -> Option<Entries<'t>> {
        match self {
            Self::Array(entries) => Some(entries),
            _ => None,
        }
    }

    /// What kind of value it is, for a sentence.
    pub const fn kind(self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "a boolean",
            Self::Number(_) => "a number",
            Self::String(_) => "a string",
            Self::Array(_) => "an array",
            Self::Object(_) => "an object",
        }
    }

    pub fn to_value(self) -> Value {
        match self {
            Self::Null => Value::Null,
            Self::Bool(flag) => flag.into(),
            // What is whole, small and not negative has this one spelling, so its text is kept.
            Self::Number(text) => match text.parse::<u64>() {
                Ok(whole) => whole.into(),
                // The reader has asked.
                Err(_) => text.parse::<Number>().map_or(Value::Null, Value::Number),
            },
            Self::String(text) => text.into(),
            Self::Array(entries) => entries.iter().map(Self::to_value).collect(),
            Self::Object(members) => members.to_object().into(),
        }
    }
}

impl<'t> From<&'t Object> for Members<'t> {
    fn from(object: &'t Object) -> Self {
        Self(Source::Made(object))
    }
}

impl<'t> From<&'t Value> for Json<'t> {
    fn from(value: &'t Value) -> Self {
        match value {
            Value::Null => Self::Null,
            Value::Bool(flag) => Self::Bool(*flag),
            Value::Number(number) => Self::Number(number.as_str()),
            Value::String(text) => Self::String(text),
            Value::Array(entries) => Self::Array(Entries(Source::Made(entries))),
            Value::Object(object) => Self::Object(object.into()),
        }
    }
}

impl PartialEq<Value> for Json<'_> {
    fn eq(&self, other: &Value) -> bool {
        self.to_value() == *other
    }
}
