//! A verdict held to the status lists that its credentials name: nothing but a good list of the credential's own root lets
//! it stand.

use std::collections::BTreeSet;
use std::sync::Arc;

use mandates::clock::Clock;
use mandates::json::{self, Object};
use mandates::keys::{KeySet, LocalKey};
use mandates::mandate::{Mandate, Vct};
use mandates::rejection::Code;
use mandates::status::{List, Place, Status, Terms, address, kept_seconds, unsigned};
use mandates::trust::{Root, RootKeys, Roots, Scope, Trust};
use mandates::verify::{CheckOutcome, Expected, Lists, Published, Purchase, Verdict, verify};
use mandates::{base64url, issue};

use crate::cast::{
    NOW, agent, assert_refused, assert_valid, context, hop, key, keys, leaf_terms, open_payment, payment, provider,
    salts, signed, stranger, up_to,
};

const URI: &str = "https://p.example/status/1";

fn place() -> Place {
    Place { index: 6, uri: URI.to_owned() }
}

/// A chain whose root says where its status is.
fn chain(place: &Place) -> String {
    let key = provider();
    let key_id = key.key_id();
    let terms = issue::RootTerms {
        key_id: &key_id,
        issuer: "https://p.example",
        issued_at_seconds: NOW - 60,
        addressed: issue::Addressed::ToNobody,
        status: Some(place),
    };
    let mandates = [open_payment(&agent(), vec![up_to(2000)])];
    let root = signed(issue::root(&terms, &mandates, &mut salts()).unwrap(), &key);
    hop(&root, &leaf_terms(), Mandate::Payment(payment("cart", 1999)), &agent())
}

fn verdict(token: &str, trusted: &dyn Roots) -> Verdict {
    let none = KeySet::default();
    let mut context = context(&none, Purchase::OnItsOwn);
    context.trusted = trusted;
    verify(token, &context)
}

fn clock() -> Clock {
    Clock { now_seconds: NOW, skew_seconds: 0 }
}

struct Publisher {
    key: LocalKey,
    issuer: &'static str,
    uri: &'static str,
    issued_at: i64,
    expires_at: i64,
    status: Status,
}

impl Publisher {
    fn good() -> Self {
        let (issued_at, expires_at) = (NOW - 5, NOW + 60);
        Self { key: provider(), issuer: "https://p.example", uri: URI, issued_at, expires_at, status: Status::Valid }
    }

    fn list(&self) -> String {
        let mut list = List::of_valid(8);
        list.set(6, self.status);
        list.set(5, Status::Invalid);
        let terms = Terms {
            key_id: &self.key.key_id(),
            issuer: self.issuer,
            uri: self.uri,
            issued_at_seconds: self.issued_at,
            expires_at_seconds: self.expires_at,
            ttl_seconds: 15,
        };
        signed(unsigned(&list, &terms), &self.key)
    }
}

fn at(uri: &str, token: &str) -> Lists {
    Lists::from([(uri.to_owned(), Published::Token(token.to_owned()))])
}

fn held(lists: &Lists) -> Verdict {
    let trusted = keys(&provider());
    verdict(&chain(&place()), &trusted).held_to(lists, &trusted, clock())
}

fn outcome(verdict: &Verdict) -> CheckOutcome {
    let check = verdict.checks.iter().find(|check| check.name == "status");
    check.expect("a verdict says what became of the status").outcome
}

#[test]
fn without_a_list_nothing_stands() {
    let silent = Lists::from([(URI.to_owned(), Published::Unavailable("the host does not answer".to_owned()))]);
    let elsewhere = at("https://p.example/status/2", &Publisher::good().list());
    for lists in [Lists::new(), silent, elsewhere] {
        let verdict = held(&lists);
        assert_refused(&verdict, Code::StatusUnavailable);
        assert!(verdict.rejection().unwrap().retryable());
        assert_eq!(outcome(&verdict), CheckOutcome::Failed);
    }
}

#[test]
fn a_list_that_is_not_certain_is_refused() {
    let good = Publisher::good().list();
    let changed =
        |at: usize| format!("{}{}{}", &good[..at], if &good[at..=at] == "A" { "B" } else { "A" }, &good[at + 1..]);
    let dots: Vec<usize> = good.match_indices('.').map(|(at, _)| at).collect();
    for token in [
        String::new(),
        "garbage".to_owned(),
        format!("{good}~"),
        changed(5),
        changed(dots[0] + 9),
        changed(dots[1] + 9),
        Publisher { key: stranger(), ..Publisher::good() }.list(),
        Publisher { key: key("another", 7), ..Publisher::good() }.list(),
        Publisher { key: agent(), ..Publisher::good() }.list(),
        Publisher { issuer: "https://q.example", ..Publisher::good() }.list(),
        Publisher { uri: "https://p.example/status/2", ..Publisher::good() }.list(),
        Publisher { expires_at: NOW, ..Publisher::good() }.list(),
        Publisher { issued_at: NOW + 1, ..Publisher::good() }.list(),
        "x".repeat(mandates::limits::TOKEN_BYTES_MAX + 1),
        chain(&place()),
    ] {
        let verdict = held(&at(URI, &token));
        assert_refused(&verdict, Code::StatusListInvalid);
        assert!(verdict.rejection().unwrap().retryable(), "a good one may come");
    }
    let beyond = chain(&Place { index: 8, uri: URI.to_owned() });
    let trusted = keys(&provider());
    let verdict = verdict(&beyond, &trusted).held_to(&at(URI, &good), &trusted, clock());
    assert_refused(&verdict, Code::StatusListInvalid);
}

#[test]
fn what_does_not_stand_is_refused() {
    for (status, code, retryable) in
        [(Status::Invalid, Code::CredentialRevoked, false), (Status::Suspended, Code::CredentialSuspended, true)]
    {
        let verdict = held(&at(URI, &Publisher { status, ..Publisher::good() }.list()));
        assert_refused(&verdict, code);
        assert_eq!(verdict.rejection().unwrap().retryable(), retryable);
    }
    let verdict = held(&at(URI, &Publisher::good().list()));
    assert_valid(&verdict);
    assert_eq!(outcome(&verdict), CheckOutcome::Passed);
}

#[test]
fn another_root_does_not_vouch_for_it() {
    let root = |name: &str, key: &LocalKey, mandates: &[Vct], issuer: Option<&str>| {
        let issuers = issuer.map(|issuer| BTreeSet::from([issuer.to_owned()]));
        let scope = Scope { mandates: mandates.iter().copied().collect(), issuers };
        Root { name: name.to_owned(), keys: RootKeys::Set(Arc::new(keys(key))), scope }
    };
    let other = key("other", 8);
    let own = || root("own", &provider(), &[Vct::OpenPayment], Some("https://p.example"));
    let list = Publisher { key: key("other", 8), ..Publisher::good() }.list();
    for another in [
        root("another", &other, &[Vct::OpenCheckout], Some("https://p.example")),
        root("another", &other, &[Vct::OpenPayment], Some("https://q.example")),
        root("another", &other, &Vct::ALL, None),
    ] {
        let trust = Trust::new([own(), another]).unwrap();
        let verdict = verdict(&chain(&place()), &trust);
        assert_valid(&verdict);
        assert_refused(&verdict.held_to(&at(URI, &list), &trust, clock()), Code::StatusListInvalid);
    }
    let trust = Trust::new([own()]).unwrap();
    let verdict = verdict(&chain(&place()), &trust);
    assert_valid(&verdict.clone().held_to(&at(URI, &Publisher::good().list()), &trust, clock()));
    // A key that was withdrawn in between vouches for nothing any more.
    let withdrawn = verdict.held_to(&at(URI, &Publisher::good().list()), &Trust::default(), clock());
    assert_refused(&withdrawn, Code::StatusListInvalid);
}

/// A mechanism that is not understood is refused where the status is asked for, and said to be open where it is not.
#[test]
fn an_unknown_mechanism_is_not_passed_over() {
    let trusted = keys(&provider());
    for status in [r#"{"other":{"idx":1}}"#, r#"{"status_list":{"idx":-1,"uri":"u"}}"#, "7", "[]", "null"] {
        let text = format!(
            r#"{{"iss":"https://p.example","iat":{NOW},"status":{status},"delegate_payload":[{{"vct":"mandate.payment.open.1","constraints":[],"cnf":{{"jwk":{}}}}}]}}"#,
            serde_json::Value::Object(agent().public().to_jwk())
        );
        let payload: Object = json::parse_object(text.as_bytes()).unwrap();
        let header = base64url::encode(br#"{"alg":"ES256","kid":"provider","typ":"sd-jwt"}"#);
        let payload = base64url::encode(serde_json::Value::Object(payload).to_string().as_bytes());
        let input = format!("{header}.{payload}");
        let signature = base64url::encode(&provider().sign(input.as_bytes()).unwrap());
        let token = format!("{input}.{signature}~");
        let none = KeySet::default();
        let mut context = context(&none, Purchase::OnItsOwn);
        (context.trusted, context.expected) = (&trusted, Expected::OnItsOwn);
        let verdict = verify(&token, &context);
        assert_valid(&verdict);
        assert_eq!(outcome(&verdict), CheckOutcome::NotAsked);
        assert!(verdict.status_places().is_empty());
        let refused = verdict.held_to(&Lists::new(), &trusted, clock());
        assert!(matches!(refused.code(), Some("status_unreadable" | "schema")), "{status}: {refused:?}");
    }
}

#[test]
fn a_verdict_says_that_it_was_not_asked() {
    let trusted = keys(&provider());
    let verdict = verdict(&chain(&place()), &trusted);
    assert_valid(&verdict);
    let check = verdict.checks.iter().find(|check| check.name == "status").unwrap();
    assert_eq!(check.outcome, CheckOutcome::NotAsked);
    assert!(check.detail.contains("not looked up"), "{}", check.detail);
    assert_eq!(verdict.status_places(), [&place()]);
    // What was refused stays so, whatever its list says.
    let token = chain(&place()).replacen('e', "f", 1);
    let refused = super::standing::verdict(&token, &trusted);
    let code = refused.code();
    assert!(code.is_some());
    assert!(refused.status_places().is_empty(), "nothing is fetched for what is not valid");
    assert_eq!(refused.held_to(&at(URI, &Publisher::good().list()), &trusted, clock()).code(), code);
}

#[test]
fn a_list_is_kept_as_long_as_its_publisher_says_and_no_longer() {
    let list = |ttl: &str, exp: &str| {
        let part = |text: &str| base64url::encode(text.as_bytes());
        let payload = format!(r#"{{"sub":"{URI}","iat":1{ttl}{exp}}}"#);
        format!("{}.{}.AA", part(r#"{"alg":"ES256","typ":"statuslist+jwt"}"#), part(&payload))
    };
    let soon = format!(r#","exp":{}"#, NOW + 7);
    for (token, kept) in [
        (list(r#","ttl":15"#, ""), 15),
        (list(r#","ttl":15"#, &soon), 7),
        (list("", &soon), 7),
        (list("", ""), 60),
        (list(r#","ttl":999999999"#, ""), 3_600),
        (list(r#","ttl":0"#, ""), 0),
        (list(r#","ttl":15"#, r#","exp":1"#), 0),
        ("garbage".to_owned(), 0),
    ] {
        assert_eq!(kept_seconds(&token, NOW), kept, "{token}");
    }
    assert_eq!(address(&list("", "")).as_deref(), Some(URI));
    assert_eq!(address("garbage"), None);
    assert_eq!(address(&chain(&place())), None, "a mandate is no list");
}
