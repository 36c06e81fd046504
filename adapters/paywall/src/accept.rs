//! What a client would rather have (RFC 9110, section 12.5.1).

use std::cmp::Reverse;

use http::HeaderMap;
use http::header::ACCEPT;

/// In thousandths.
const WEIGHT_MAX: u16 = 1000;

/// How much the best of these media types is wanted: its weight in thousandths and, for two of one weight, its place in
/// the list, the first being the greatest. Ranges (`*/*`) name none of them, and weight zero is a refusal.
pub fn rank(headers: &HeaderMap, kinds: &[&str]) -> Option<(u16, Reverse<usize>)> {
    let lines = headers.get_all(ACCEPT).iter().filter_map(|line| line.to_str().ok());
    let wanted = lines.flat_map(|line| line.split(',')).enumerate().filter_map(|(place, range)| {
        let (kind, parameters) = range.split_once(';').unwrap_or((range, ""));
        let is_named = kinds.iter().any(|named| named.eq_ignore_ascii_case(kind.trim()));
        let weight = if is_named { weight(parameters)? } else { 0 };
        (weight > 0).then_some((weight, Reverse(place)))
    });
    wanted.max()
}

/// Of what stands behind a media type; nothing where it is no weight.
fn weight(parameters: &str) -> Option<u16> {
    let mut named = parameters.split(';').filter_map(|parameter| parameter.split_once('='));
    let Some((_, text)) = named.find(|(name, _)| name.trim().eq_ignore_ascii_case("q")) else {
        return Some(WEIGHT_MAX);
    };
    let (whole, digits) = text.trim().split_once('.').unwrap_or((text.trim(), ""));
    if digits.len() > 3 || !digits.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    let thousandths = format!("{digits:0<3}").parse().ok()?;
    match (whole, thousandths) {
        ("0", _) => Some(thousandths),
        ("1", 0) => Some(WEIGHT_MAX),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn weights(accept: &'static [&'static str]) -> [Option<u16>; 2] {
        let lines = accept.iter().map(|line| (ACCEPT, HeaderValue::from_static(line)));
        let headers: HeaderMap = lines.collect();
        [&["text/html"][..], &["application/json"]].map(|kinds| rank(&headers, kinds).map(|(weight, _)| weight))
    }

    #[test]
    fn what_is_refused_or_only_in_a_range_is_not_wanted() {
        for accept in [
            "",
            "*/*",
            "text/*",
            "text/plain",
            "text/html;q=0",
            "text/html; q=0.000",
            "text/html;Q=0.",
            "text/html;level=1;q=0",
            "text/html;q=",
            "text/html;q=-1",
            "text/html;q=+0.5",
            "text/html;q=2",
            "text/html;q=1.001",
            "text/html;q=0.1234",
            "text/html;q=0,5",
            "text/html;q=0.5e1",
            "text/html;q=\u{0301}5",
            "texthtml",
        ] {
            let headers = HeaderMap::from_iter([(ACCEPT, HeaderValue::from_bytes(accept.as_bytes()).unwrap())]);
            assert_eq!(rank(&headers, &["text/html"]), None, "{accept}");
        }
        assert_eq!(weights(&[]), [None, None]);
    }

    #[test]
    fn each_is_wanted_as_much_as_its_weight_says() {
        assert_eq!(weights(&["TEXT/Html"]), [Some(1000), None]);
        assert_eq!(weights(&["text/html;level=1, application/json ; q=0.25"]), [Some(1000), Some(250)]);
        assert_eq!(weights(&["application/json;q=1.000", "text/html;q=0.001"]), [Some(1), Some(1000)]);
        assert_eq!(weights(&["text/html;q=0.1,text/html;q=0.7"]), [Some(700), None]);
    }

    #[test]
    fn of_one_weight_the_first_is_wanted_more() {
        let headers = HeaderMap::from_iter([(ACCEPT, HeaderValue::from_static("a/a;q=0.5, b/b;q=0.5, c/c"))]);
        assert!(
            rank(&headers, &["a/a"]) > rank(&headers, &["b/b"]) && rank(&headers, &["c/c"]) > rank(&headers, &["a/a"])
        );
        assert_eq!(rank(&headers, &["b/b", "a/a"]), rank(&headers, &["a/a"]));
    }
}
