//! What is sold here, for whoever looks for it (x402 section 8; extension `bazaar`): the routes of the configuration that
//! are listed, and nothing that a stranger sends.

use axum::extract::{RawQuery, State};
use axum::response::Response;
use serde_json::{Value, json};
use url::form_urlencoded;

use crate::App;
use crate::problem::{Problem, ok, shown};

const PAGE_DEFAULT: usize = 20;
const PAGE_MAX: usize = 100;
const TEXT_BYTES_MAX: usize = 200;

/// What may be asked of a list.
#[derive(Debug, Default, PartialEq, Eq)]
struct Asked {
    query: Option<String>,
    r#type: Option<String>,
    pay_to: Option<String>,
    scheme: Option<String>,
    network: Option<String>,
    extensions: Option<String>,
    limit: Option<usize>,
    /// Where to go on: `offset` of a list, `cursor` of a search.
    from: Option<usize>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    List,
    Search,
}

impl Asked {
    /// Names that are not known are passed over, as the official facilitators do; values are read strictly.
    fn read(query: Option<&str>, kind: Kind) -> Result<Self, Problem> {
        let mut asked = Self::default();
        for (name, value) in form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
            let text = || match value.len() {
                1..=TEXT_BYTES_MAX => Ok(value.to_string()),
                _ => Err(wrong(&name, &format!("1 to {TEXT_BYTES_MAX} bytes"), &value)),
            };
            let number = |most: usize| match value.parse::<usize>() {
                Ok(number) if number <= most && value.bytes().all(|byte| byte.is_ascii_digit()) => Ok(number),
                _ => Err(wrong(&name, &format!("a number up to {most}"), &value)),
            };
            let is_given_before = match (name.as_ref(), kind) {
                ("query", Kind::Search) => asked.query.replace(text()?).is_some(),
                ("type", _) => asked.r#type.replace(text()?).is_some(),
                ("payTo", _) => asked.pay_to.replace(text()?).is_some(),
                ("scheme", _) => asked.scheme.replace(text()?).is_some(),
                ("network", _) => asked.network.replace(text()?).is_some(),
                ("extensions", _) => asked.extensions.replace(text()?).is_some(),
                ("limit", _) => {
                    let limit = number(PAGE_MAX)?;
                    if limit == 0 {
                        return Err(wrong("limit", &format!("1 to {PAGE_MAX}"), "0"));
                    }
                    asked.limit.replace(limit).is_some()
                }
                ("offset", Kind::List) | ("cursor", Kind::Search) => asked.from.replace(number(1_000_000)?).is_some(),
                _ => false,
            };
            if is_given_before {
                return Err(Problem::invalid(name.to_string(), format!("{name} was expected once, it is there twice")));
            }
        }
        match (kind, &asked.query) {
            (Kind::Search, None) => Err(Problem::invalid("query", "words to look for were expected, none are there")),
            _ => Ok(asked),
        }
    }

    fn fits(&self, item: &Value) -> bool {
        let accepts = item["accepts"].as_array().map(Vec::as_slice).unwrap_or_default();
        let any = |name: &str, wanted: &Option<String>| {
            let same = |offer: &Value, wanted: &str| {
                offer[name].as_str().is_some_and(|found| found.eq_ignore_ascii_case(wanted))
            };
            wanted.as_ref().is_none_or(|wanted| accepts.iter().any(|offer| same(offer, wanted)))
        };
        let is_type = self.r#type.as_ref().is_none_or(|wanted| item["type"].as_str() == Some(wanted));
        let declares = self.extensions.as_ref().is_none_or(|wanted| item["extensions"].get(wanted).is_some());
        is_type
            && declares
            && any("payTo", &self.pay_to)
            && any("scheme", &self.scheme)
            && any("network", &self.network)
    }
}

fn wrong(field: &str, expected: &str, found: &str) -> Problem {
    Problem::invalid(field, format!("{field}: {expected} was expected, `{}` is there", shown(found)))
}

/// How many of the words stand in what is said of a resource, whatever their case.
fn matches(item: &Value, words: &[String]) -> usize {
    let texts = ["resource", "description", "serviceName", "tags"].map(|name| item[name].to_string());
    let said = texts.join(" ").to_lowercase();
    words.iter().filter(|word| said.contains(word.as_str())).count()
}

#[utoipa::path(get, path = "/discovery/resources", tag = "x402",
    params(("type" = Option<String>, Query), ("payTo" = Option<String>, Query), ("scheme" = Option<String>, Query),
        ("network" = Option<String>, Query), ("extensions" = Option<String>, Query),
        ("limit" = Option<u32>, Query, description = "1 to 100, 20 where nothing is said."), ("offset" = Option<u32>, Query)),
    description = "What is sold here, as x402 lists it.",
    responses((status = 200), (status = 400)))]
pub async fn resources(State(app): State<App>, RawQuery(query): RawQuery) -> Result<Response, Problem> {
    let asked = Asked::read(query.as_deref(), Kind::List)?;
    let found: Vec<&Value> = app.settings.listing.iter().filter(|item| asked.fits(item)).collect();
    let (limit, offset) = (asked.limit.unwrap_or(PAGE_DEFAULT), asked.from.unwrap_or(0));
    let items: Vec<&Value> = found.iter().skip(offset).take(limit).copied().collect();
    let pagination = json!({ "limit": limit, "offset": offset, "total": found.len() });
    Ok(ok(json!({ "x402Version": 2, "items": items, "pagination": pagination })))
}

#[utoipa::path(get, path = "/discovery/search", tag = "x402",
    params(("query" = String, Query, description = "Words; what has more of them comes first."),
        ("type" = Option<String>, Query), ("payTo" = Option<String>, Query), ("scheme" = Option<String>, Query),
        ("network" = Option<String>, Query), ("extensions" = Option<String>, Query),
        ("limit" = Option<u32>, Query, description = "1 to 100, 20 where nothing is said."),
        ("cursor" = Option<String>, Query)),
    description = "What is sold here and fits the words.",
    responses((status = 200), (status = 400)))]
pub async fn search(State(app): State<App>, RawQuery(query): RawQuery) -> Result<Response, Problem> {
    let asked = Asked::read(query.as_deref(), Kind::Search)?;
    let words = asked.query.as_deref().unwrap_or_default().split_whitespace().map(str::to_lowercase);
    let words: Vec<String> = words.collect();
    let fitting = app.settings.listing.iter().filter(|item| asked.fits(item));
    let mut found: Vec<(usize, &Value)> = fitting.map(|item| (matches(item, &words), item)).collect();
    found.retain(|(hits, _)| *hits > 0);
    found.sort_by_key(|(hits, _)| std::cmp::Reverse(*hits));
    let (limit, from) = (asked.limit.unwrap_or(PAGE_DEFAULT), asked.from.unwrap_or(0));
    let page: Vec<&Value> = found.iter().skip(from).take(limit).map(|(_, item)| *item).collect();
    let next = from.saturating_add(page.len());
    let cursor = (next < found.len()).then(|| next.to_string());
    let pagination = json!({ "limit": page.len(), "cursor": cursor });
    Ok(ok(json!({ "x402Version": 2, "resources": page, "partialResults": false, "pagination": pagination })))
}

#[utoipa::path(get, path = "/.well-known/x402", tag = "x402", description = "The addresses of what is sold here.",
    responses((status = 200)))]
pub async fn well_known(State(app): State<App>) -> Response {
    let urls: Vec<&Value> = app.settings.listing.iter().map(|item| &item["resource"]).collect();
    ok(json!({ "x402Version": 2, "resources": urls }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(query: &str, kind: Kind) -> Option<String> {
        Asked::read(Some(query), kind).err().map(|problem| problem.code)
    }

    #[test]
    fn values_are_read_strictly() {
        for query in [
            "limit=0",
            "limit=101",
            "limit=-1",
            "limit=%2B1",
            "limit=1e1",
            "limit=",
            "limit=1&limit=2",
            "offset=-1",
            "offset=9999999",
            "type=",
            "payTo=a&payTo=b",
            "scheme=",
        ] {
            assert_eq!(code(query, Kind::List).as_deref(), Some("invalid_request"), "{query}");
        }
        for query in ["", "limit=5", "query=", "query=a&cursor=x", "query=a&query=b"] {
            assert_eq!(code(query, Kind::Search).as_deref(), Some("invalid_request"), "{query}");
        }
        for query in ["", "limit=100&offset=3", "unknown=1&unknown=2", "query=ignored"] {
            assert_eq!(code(query, Kind::List), None, "{query}");
        }
    }

    #[test]
    fn a_resource_fits_by_any_of_its_offers() {
        let item = json!({
            "resource": "https://shop.example/weather", "type": "http", "description": "Weather, by the hour",
            "accepts": [{ "scheme": "exact", "network": "eip155:1", "payTo": "0xAB" }, { "scheme": "upto", "payTo": "0xcd" }],
            "extensions": { "bazaar": {} }, "tags": ["Forecast"],
        });
        let fits = |query: &str| Asked::read(Some(query), Kind::List).unwrap().fits(&item);
        for query in ["type=mcp", "scheme=batch", "network=eip155:2", "payTo=0xef", "extensions=other"] {
            assert!(!fits(query), "{query}");
        }
        for query in ["", "type=http", "scheme=upto", "network=eip155:1", "payTo=0xab", "extensions=bazaar"] {
            assert!(fits(query), "{query}");
        }
        let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(matches(&item, &words("weather forecast rain")), 2);
        assert_eq!(matches(&item, &words("rain")), 0);
    }
}
