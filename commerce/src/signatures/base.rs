//! The bytes that are signed (RFC 9421 section 2.5).

use super::fields::{Bare, Dictionary, InnerList, Item, parameter};
use super::finding::Finding;

/// What stands before the fields of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject<'a> {
    Request {
        method: &'a str,
        /// `https`, as it was asked for.
        scheme: &'a str,
        /// In lower case, without the scheme's own port.
        authority: &'a str,
        path: &'a str,
        /// Without its question mark.
        query: Option<&'a str>,
    },
    Response {
        status: u16,
    },
}

/// An HTTP message, as far as signatures see it.
#[derive(Clone, Debug)]
pub struct Message<'a> {
    pub subject: Subject<'a>,
    /// Names in lower case, and values, as they came.
    pub fields: Vec<(&'a str, &'a [u8])>,
    pub body: &'a [u8],
}

impl Message<'_> {
    pub fn has(&self, name: &str) -> bool {
        self.fields.iter().any(|(known, _)| *known == name)
    }

    /// Every line of a field, each without the blanks around it, joined (section 2.1).
    pub fn field(&self, name: &str) -> Result<Option<String>, Finding> {
        let mut lines = Vec::new();
        for (_, value) in self.fields.iter().filter(|(known, _)| *known == name) {
            let is_plain = value.iter().all(|byte| matches!(byte, b'\t' | b' '..=b'~'));
            let text = std::str::from_utf8(value).ok().filter(|_| is_plain).ok_or_else(|| Finding::Component {
                component: name.to_owned(),
                why: "its value has other characters than visible ones of ASCII".to_owned(),
            })?;
            lines.push(text.trim_matches([' ', '\t']));
        }
        Ok(if lines.is_empty() { None } else { Some(lines.join(", ")) })
    }

    fn derived(&self, name: &str) -> Option<String> {
        match (self.subject, name) {
            (Subject::Request { method, .. }, "@method") => Some(method.to_owned()),
            (Subject::Request { authority, .. }, "@authority") => Some(authority.to_owned()),
            (Subject::Request { scheme, .. }, "@scheme") => Some(scheme.to_owned()),
            (Subject::Request { path, .. }, "@path") => Some(path.to_owned()),
            (Subject::Request { query, .. }, "@query") => Some(format!("?{}", query.unwrap_or_default())),
            (Subject::Request { path, query, .. }, "@request-target") => Some(target(path, query)),
            (Subject::Request { scheme, authority, path, query, .. }, "@target-uri") => {
                Some(format!("{scheme}://{authority}{}", target(path, query)))
            }
            (Subject::Response { status }, "@status") => Some(status.to_string()),
            _ => None,
        }
    }

    fn value(&self, item: &Item, name: &str) -> Result<String, Finding> {
        let absent = |why: &str| Finding::Component { component: item.written(), why: why.to_owned() };
        if let Some((other, _)) = item.parameters.iter().find(|(name, _)| name != "key") {
            return Err(absent(&format!("its parameter `{other}` is not understood here")));
        }
        if name.starts_with('@') {
            if !item.parameters.is_empty() {
                return Err(absent("a derived component has no key"));
            }
            return self.derived(name).ok_or_else(|| absent("it cannot be derived of this message here"));
        }
        if name.bytes().any(|byte| byte.is_ascii_uppercase()) {
            return Err(absent("a field is named in lower case"));
        }
        let value = self.field(name)?.ok_or_else(|| absent("the message has no such field"))?;
        match parameter(&item.parameters, "key") {
            None => Ok(value),
            Some(Bare::Text(key)) => {
                let field = Dictionary::parse(&value).map_err(|why| absent(&format!("as a dictionary, {why}")))?;
                field.get(key).map(super::fields::Member::written).ok_or_else(|| absent("it has no such member"))
            }
            Some(_) => Err(absent("a key is a string")),
        }
    }

    /// The signature base over these components, of this message and no other.
    pub(super) fn base(&self, covered: &InnerList) -> Result<String, Finding> {
        let mut lines: Vec<String> = Vec::new();
        let mut known: Vec<String> = Vec::new();
        for item in &covered.items {
            let identifier = item.written();
            let name = item.text().ok_or_else(|| Finding::Component {
                component: identifier.clone(),
                why: "a component is named by a string".to_owned(),
            })?;
            if known.contains(&identifier) {
                return Err(Finding::Component { component: identifier, why: "it stands twice".to_owned() });
            }
            lines.push(format!("{identifier}: {}", self.value(item, name)?));
            known.push(identifier);
        }
        lines.push(format!("\"@signature-params\": {}", covered.written()));
        Ok(lines.join("\n"))
    }
}

fn target(path: &str, query: Option<&str>) -> String {
    query.map_or_else(|| path.to_owned(), |query| format!("{path}?{query}"))
}
