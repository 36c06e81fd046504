//! What stands behind the `?` of a page: read strictly, and written again for the next page.

use std::collections::BTreeMap;
use std::str::FromStr;

use url::form_urlencoded::{Serializer, parse};

use crate::problem::{Problem, shown};

/// Longest value of a page's own forms.
const VALUE_CHARS_MAX: usize = 128;

/// Named values, each once. An empty one counts as none: that is how a form leaves something out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Query(BTreeMap<String, String>);

impl Query {
    pub fn read(query: Option<&str>, names: &[&str]) -> Result<Self, Problem> {
        let mut values = BTreeMap::new();
        for (name, value) in parse(query.unwrap_or_default().as_bytes()) {
            if !names.contains(&&*name) {
                let detail = format!("{} were expected, {} came", names.join(", "), shown(&name));
                return Err(Problem::invalid(shown(&name), detail));
            }
            let length = value.chars().count();
            if length > VALUE_CHARS_MAX || value.chars().any(char::is_control) {
                let detail = format!(
                    "at most {VALUE_CHARS_MAX} characters, none of them a control character, were expected, {length} came"
                );
                return Err(Problem::invalid(name.into_owned(), detail));
            }
            if values.insert(name.to_string(), value.trim().to_owned()).is_some() {
                return Err(Problem::invalid(name.to_string(), format!("{name} once was expected, it came twice")));
            }
        }
        values.retain(|_, value| !value.is_empty());
        Ok(Self(values))
    }

    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    pub fn parsed<T: FromStr>(&self, name: &'static str, expected: &str) -> Result<Option<T>, Problem> {
        let wrong = |text: &str| Problem::invalid(name, format!("{expected} was expected, {} came", shown(text)));
        self.get(name).map(|text| text.parse().map_err(|_| wrong(text))).transpose()
    }

    /// The address of the same page with another value.
    pub fn with(&self, path: &str, name: &str, value: impl ToString) -> String {
        let mut values = self.clone();
        values.0.insert(name.to_owned(), value.to_string());
        values.on(path)
    }

    /// The same values on another page.
    pub fn on(&self, path: &str) -> String {
        if self.0.is_empty() {
            return path.to_owned();
        }
        let mut text = Serializer::new(String::new());
        text.extend_pairs(&self.0);
        format!("{path}?{}", text.finish())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: [&str; 2] = ["text", "before"];

    fn read(query: &str) -> Result<Query, Problem> {
        Query::read(Some(query), &NAMES)
    }

    #[test]
    fn what_is_no_query_of_the_page_is_refused_by_name() {
        let long = format!("text={}", "a".repeat(VALUE_CHARS_MAX + 1));
        for (query, field) in [
            ("page=1", "page"),
            ("Text=a", "Text"),
            ("text=a&text=b", "text"),
            ("text=&text=", "text"),
            ("text=%00", "text"),
            ("text=a%0d%0ab", "text"),
            ("%00=1", "\u{fffd}"),
            (long.as_str(), "text"),
        ] {
            let refused = read(query).expect_err(query);
            assert_eq!((refused.field.as_deref(), refused.code.as_str()), (Some(field), "invalid_request"), "{query}");
        }
        for text in ["-1", "+1", "1.0", "1e3", "x", "18446744073709551616", "0x1"] {
            let query = Query::read(Some(&format!("before={}", text.replace('+', "%2B"))), &NAMES).unwrap();
            let parsed = query.parsed::<u64>("before", "a number");
            assert!(text == "+1" || parsed.is_err(), "{text}");
        }
    }

    #[test]
    fn what_was_said_is_said_again() {
        assert_eq!(Query::read(None, &NAMES).unwrap().on("/a"), "/a");
        assert_eq!(read("text=&before=").unwrap(), Query::default());
        let query = read("text=a+b%26c&before=7").unwrap();
        assert_eq!(query.get("text"), Some("a b&c"));
        assert_eq!(query.with("/a", "before", 5), "/a?before=5&text=a+b%26c");
        assert_eq!(query.parsed::<u64>("before", "a number").unwrap(), Some(7));
    }
}
