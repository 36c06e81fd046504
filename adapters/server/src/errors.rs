//! What each code of a problem document means and what to do about it: the pages behind `type`.
//!
//! The texts hang on the enums that say the codes: a new code without a text does not compile.

mod book;
mod mandate;
mod ours;
mod passkey;
mod payment;
mod signature;
mod vault;

use axum::extract::Path;
use axum::response::Response;
use http::HeaderMap;
use ledger::rejection::RejectionCode;
use mandates::rejection::Code;
use mandates::webauthn::PasskeyCode;
use serde_json::{Value, json};
use x402::reason::Reason;

use crate::page::{self, escaped, wants_html};
use crate::problem::{Problem, ok};

#[derive(Clone, Copy, Debug)]
struct About {
    cause: &'static str,
    mend: &'static str,
}

macro_rules! abouts {
    ($enum:ident, $($name:ident => $cause:expr, $mend:expr;)+) => {
        pub(super) const fn about(code: $enum) -> super::About {
            match code { $($enum::$name => super::About { cause: $cause, mend: $mend },)+ }
        }
    };
}
use abouts;

/// Every code once, by name. Where two parts say the same code they mean the same, and the first text counts.
fn all() -> Vec<(&'static str, About)> {
    let book = RejectionCode::ALL.iter().map(|code| (code.as_str(), book::about(*code)));
    let mandates = Code::ALL.iter().map(|code| (code.as_str(), mandate::about(*code)));
    let payments = Reason::ALL.iter().map(|reason| (reason.as_str(), payment::about(*reason)));
    let ours = ours::OURS.iter().chain(vault::VAULT).map(|(code, cause, mend)| (*code, About { cause, mend }));
    let passkeys = PasskeyCode::ALL.iter().map(|code| (code.as_str(), passkey::about(*code)));
    let signatures = signature::SIGNATURES.iter().map(|(code, cause, mend)| (*code, About { cause, mend }));
    let mut all: Vec<_> = book.chain(ours).chain(payments).chain(mandates).chain(passkeys).chain(signatures).collect();
    all.sort_by_key(|(code, _)| *code);
    all.dedup_by_key(|(code, _)| *code);
    all
}

fn find(code: &str) -> Option<(&'static str, About)> {
    all().into_iter().find(|(known, _)| *known == code)
}

/// RFC 9457 section 3.1.1: a reference, resolved against the address that answered.
pub fn type_of(code: &str) -> String {
    find(code).map_or_else(|| "about:blank".to_owned(), |(code, _)| format!("/errors/{code}"))
}

fn json_of((code, about): (&str, About)) -> Value {
    json!({ "code": code, "cause": about.cause, "mend": about.mend })
}

#[utoipa::path(get, path = "/errors", tag = "documentation",
    description = "Every code of a problem document, with cause and mend; as a page where HTML is asked for.",
    responses((status = 200)))]
pub async fn list(headers: HeaderMap) -> Response {
    let all = all();
    if !wants_html(&headers) {
        return ok(json!({ "errors": all.into_iter().map(json_of).collect::<Vec<_>>() }));
    }
    let row = |(code, about): &(&str, About)| {
        format!(
            "<dt id=\"{code}\"><a href=\"/errors/{code}\"><code>{code}</code></a></dt><dd>{}</dd>",
            escaped(about.cause)
        )
    };
    let body: String = all.iter().map(row).collect();
    page::html(
        "Errors",
        &format!("<h1>Errors</h1><p>{} codes. None ever changes its meaning.</p><dl>{body}</dl>", all.len()),
    )
}

#[utoipa::path(get, path = "/errors/{code}", tag = "documentation", params(("code" = String, Path)),
    description = "What a code means, and what to do; as a page where HTML is asked for.",
    responses((status = 200), (status = 404)))]
pub async fn show(headers: HeaderMap, Path(code): Path<String>) -> Result<Response, Problem> {
    let (code, about) = find(&code).ok_or_else(|| Problem::not_found(&format!("/errors/{code}")))?;
    if !wants_html(&headers) {
        return Ok(ok(json_of((code, about))));
    }
    let (cause, mend) = (escaped(about.cause), escaped(about.mend));
    let body = format!("<h1><code>{code}</code></h1><p>{cause}</p><h2>What to do</h2><p>{mend}</p>");
    Ok(page::html(code, &format!("{body}<p><a href=\"/errors\">All codes</a></p>")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_whole_sentences() {
        let all = all();
        assert!(all.len() > 200, "{}", all.len());
        for (code, about) in all {
            assert!(
                code.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_'),
                "{code}"
            );
            for text in [about.cause, about.mend] {
                let whole = text.ends_with('.') && text.chars().next().is_some_and(|letter| !letter.is_lowercase());
                assert!(whole && !text.contains("  "), "{code}: {text}");
            }
        }
    }

    #[test]
    fn our_own_table_is_sorted_out() {
        let mut codes: Vec<&str> = ours::OURS.iter().chain(vault::VAULT).map(|(code, ..)| *code).collect();
        codes.sort_unstable();
        let before = codes.len();
        codes.dedup();
        assert_eq!(codes.len(), before, "a code stands twice");
        let elsewhere = |code: &&&str| RejectionCode::ALL.iter().any(|known| known.as_str() == **code);
        assert!(!codes.iter().any(|code| elsewhere(&code)), "the book says it, and its own text would be hidden");
    }

    #[test]
    fn a_code_that_nobody_knows_has_no_page() {
        assert_eq!(
            (type_of("nonsense"), type_of("rate_missing")),
            ("about:blank".into(), "/errors/rate_missing".into())
        );
    }
}
