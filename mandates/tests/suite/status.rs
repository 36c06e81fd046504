//! Status lists: the draft's own examples, lists of ours, and everything that makes a list say nothing.

use mandates::base64url;
use mandates::clock::Clock;
use mandates::json::Object;
use mandates::jws::Unsigned;
use mandates::keys::{KeySet, LocalKey};
use mandates::limits::STATUS_BYTES_MAX;
use mandates::rejection::Code;
use mandates::status::{List, Place, Status, Terms, look, unsigned};
use serde_json::{Value, json};

use crate::cast::*;

const URI: &str = "https://p.example/status/1";

fn clock(now_seconds: i64) -> Clock {
    Clock { now_seconds, skew_seconds: 0 }
}

fn place(index: u64) -> Place {
    Place { index, uri: URI.into() }
}

fn terms(key_id: &mandates::keys::KeyId) -> Terms<'_> {
    Terms {
        key_id,
        issuer: "https://p.example",
        uri: URI,
        issued_at_seconds: NOW - 10,
        expires_at_seconds: NOW + 60,
        ttl_seconds: 15,
    }
}

fn ours(list: &List) -> String {
    let key = provider();
    signed(unsigned(list, &terms(&key.key_id())), &key)
}

/// A token with any header and payload, signed like ours.
fn token(header: &Value, payload: &Value, key: &LocalKey) -> String {
    let input = [header, payload].map(|part| base64url::encode(part.to_string().as_bytes())).join(".");
    let signature = key.sign(input.as_bytes()).unwrap();
    format!("{input}.{}", base64url::encode(&signature))
}

fn payload(bits: u64, lst: &str) -> Value {
    json!({ "iss": "https://p.example", "sub": URI, "iat": NOW - 10, "exp": NOW + 60, "ttl": 15,
        "status_list": { "bits": bits, "lst": lst } })
}

fn header() -> Value {
    json!({ "alg": "ES256", "kid": "provider", "typ": "statuslist+jwt" })
}

fn said(bits: u64, lst: &str, index: u64) -> Result<Status, Code> {
    let token = token(&header(), &payload(bits, lst), &provider());
    look(&token, &place(index), &keys(&provider()), clock(NOW)).map_err(|refused| refused.code)
}

fn zeros(bytes: usize) -> String {
    base64url::encode(&miniz_oxide::deflate::compress_to_vec_zlib(&vec![0; bytes], 9))
}

#[test]
fn the_examples_of_the_draft_are_read() {
    let one = [1, 0, 0, 1, 1, 1, 0, 1, 1, 1, 0, 0, 0, 1, 0, 1];
    for (index, value) in (0..).zip(one) {
        let expected = if value == 0 { Status::Valid } else { Status::Invalid };
        assert_eq!(said(1, "eNrbuRgAAhcBXQ", index), Ok(expected), "{index}");
    }
    let two = [1, 2, 0, 3, 0, 1, 0, 1, 1, 2, 3, 3];
    for (index, value) in (0..).zip(two) {
        let expected = match value {
            0 => Ok(Status::Valid),
            1 => Ok(Status::Invalid),
            2 => Ok(Status::Suspended),
            _ => Err(Code::StatusUnreadable),
        };
        assert_eq!(said(2, "eNo76fITAAPfAgc", index), expected, "{index}");
    }
    // 2^20 entries of one bit, these of them invalid
    let long = [
        "eNrt3AENwCAMAEGogklACtKQPg9LugC9k_ACvreiogE",
        "AAKkeCQAAAAAAAAAAAAAAAAAAAIBylgQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
        "AAAAAAAAAAAAAAAAAAAXG9IAAAAAAAAAPwsJAAAAAAAAAAAAAAAvhsSAAAAAAAAAAA",
        "A7KpLAAAAAAAAAAAAAAAAAAAAAJsLCQAAAAAAAAAAADjelAAAAAAAAAAAKjDMAQAAA",
        "ACAZC8L2AEb",
    ]
    .concat();
    let long = long.as_str();
    for index in [0, 1993, 25_460, 159_495, 495_669, 554_353, 645_645, 723_232, 854_545, 934_534, 1_000_345] {
        assert_eq!(said(1, long, index), Ok(Status::Invalid), "{index}");
        assert_eq!(said(1, long, index + 1), Ok(Status::Valid), "{index} + 1");
    }
    assert_eq!(said(1, long, 1 << 20), Err(Code::StatusUnreadable), "beyond the list");
}

#[test]
fn what_is_published_is_read() {
    let mut list = List::of_valid(1 << 16);
    list.set(7, Status::Invalid);
    list.set(8, Status::Suspended);
    list.set(9, Status::Suspended);
    list.set(9, Status::Valid);
    let token = ours(&list);
    assert!(token.len() < 1_000, "mostly nought: {}", token.len());
    let look = |index| look(&token, &place(index), &keys(&provider()), clock(NOW)).unwrap();
    assert_eq!(
        [6, 7, 8, 9, 65_535].map(look),
        [Status::Valid, Status::Invalid, Status::Suspended, Status::Valid, Status::Valid]
    );
    let claim = Object::from_iter([("status".to_owned(), place(5).claim())]);
    assert_eq!(Place::of(&claim), Ok(Some(place(5))));
    assert_eq!(Place::of(&Object::new()), Ok(None));
}

#[test]
fn a_list_that_is_not_certain_says_nothing() {
    let token = |change: &dyn Fn(&mut Value, &mut Value)| {
        let (mut header, mut payload) = (header(), payload(2, "eNo76fITAAPfAgc"));
        change(&mut header, &mut payload);
        self::token(&header, &payload, &provider())
    };
    let remove = |value: &mut Value, name: &str| drop(value.as_object_mut().unwrap().remove(name));
    for (presented, code) in [
        (token(&|header, _| header["typ"] = "JWT".into()), Code::TypWrong),
        (token(&|header, _| header["typ"] = "sd-jwt".into()), Code::TypWrong),
        (token(&|header, _| remove(header, "typ")), Code::TypWrong),
        (token(&|header, _| header["alg"] = "none".into()), Code::AlgNotAllowed),
        (token(&|header, _| header["alg"] = "HS256".into()), Code::AlgNotAllowed),
        (token(&|header, _| header["crit"] = json!(["x"])), Code::HeaderNotAllowed),
        (token(&|header, _| header["kid"] = "other".into()), Code::UnknownKid),
        (token(&|header, _| remove(header, "kid")), Code::UnknownKid),
        (token(&|_, payload| payload["sub"] = "https://p.example/status/2".into()), Code::StatusElsewhere),
        (token(&|_, payload| remove(payload, "sub")), Code::StatusElsewhere),
        (token(&|_, payload| payload["exp"] = NOW.into()), Code::Expired),
        (token(&|_, payload| payload["exp"] = "never".into()), Code::TimeClaimType),
        (token(&|_, payload| payload["iat"] = (NOW + 1).into()), Code::IssuedInFuture),
        (token(&|_, payload| remove(payload, "iat")), Code::IatMissing),
        (token(&|_, payload| payload["nbf"] = (NOW + 1).into()), Code::NotYetValid),
        (token(&|_, payload| remove(payload, "status_list")), Code::Schema),
        (token(&|_, payload| payload["status_list"]["bits"] = 3.into()), Code::StatusUnreadable),
        (token(&|_, payload| payload["status_list"]["bits"] = 0.into()), Code::StatusUnreadable),
        (token(&|_, payload| payload["status_list"]["bits"] = "2".into()), Code::Schema),
        (token(&|_, payload| payload["status_list"]["lst"] = 1.into()), Code::StatusUnreadable),
        // padded, as one library writes it; and not base64url, not zlib, cut, of another sum
        (token(&|_, payload| payload["status_list"]["lst"] = "eNo76fITAAPfAgc=".into()), Code::StatusUnreadable),
        (token(&|_, payload| payload["status_list"]["lst"] = "eNo7 fITAAPfAgc".into()), Code::StatusUnreadable),
        (token(&|_, payload| payload["status_list"]["lst"] = "AAAA".into()), Code::StatusUnreadable),
        (token(&|_, payload| payload["status_list"]["lst"] = "eNo76fIT".into()), Code::StatusUnreadable),
        (token(&|_, payload| payload["status_list"]["lst"] = "eNo76fITAAPfAgg".into()), Code::StatusUnreadable),
        (token(&|_, payload| payload["status_list"]["lst"] = "".into()), Code::StatusUnreadable),
    ] {
        let refused = look(&presented, &place(2), &keys(&provider()), clock(NOW)).unwrap_err();
        assert_eq!(refused.code, code, "{presented}: {refused}");
    }
    let good = ours(&List::of_valid(16));
    let at = |trusted: &KeySet, index, now| look(&good, &place(index), trusted, clock(now)).map_err(|error| error.code);
    assert_eq!(at(&keys(&provider()), 15, NOW), Ok(Status::Valid));
    assert_eq!(at(&keys(&provider()), 16, NOW), Err(Code::StatusUnreadable));
    assert_eq!(at(&keys(&provider()), u64::MAX, NOW), Err(Code::StatusUnreadable));
    assert_eq!(at(&keys(&provider()), 15, NOW + 60), Err(Code::Expired));
    assert_eq!(at(&keys(&stranger()), 15, NOW), Err(Code::SignatureInvalid), "of the same name");
    assert_eq!(at(&KeySet::default(), 15, NOW), Err(Code::UnknownKid));
    for presented in ["", "a.b", "a.b.c", &good[..good.len() - 2], &"x".repeat(2_000_000)] {
        assert!(look(presented, &place(0), &keys(&provider()), clock(NOW)).is_err());
    }
    let lasting = token(&|_, payload| remove(payload, "exp"));
    let late = |now| look(&lasting, &place(2), &keys(&provider()), clock(now)).map_err(|error| error.code);
    assert_eq!((late(NOW + 86_000), late(NOW + 87_000)), (Ok(Status::Valid), Err(Code::Expired)));
}

#[test]
fn a_bomb_is_refused_before_it_is_out() {
    assert_eq!(said(8, &zeros(STATUS_BYTES_MAX), 0), Ok(Status::Valid), "exactly the limit");
    assert_eq!(said(8, &zeros(STATUS_BYTES_MAX + 1), 0), Err(Code::StatusUnreadable));
    let bomb = zeros(200 << 20);
    assert!(bomb.len() < 300_000, "200 MiB in {} characters", bomb.len());
    let before = std::time::Instant::now();
    assert_eq!(said(1, &bomb, 0), Err(Code::StatusUnreadable));
    assert!(before.elapsed() < std::time::Duration::from_secs(5), "it was not inflated to its end");
}

#[test]
fn a_place_is_read_strictly() {
    for status in [
        json!(null),
        json!(1),
        json!({}),
        json!({ "status_list": 1 }),
        json!({ "status_list": {} }),
        json!({ "status_list": { "idx": 1 } }),
        json!({ "status_list": { "uri": URI } }),
        json!({ "status_list": { "idx": -1, "uri": URI } }),
        json!({ "status_list": { "idx": "1", "uri": URI } }),
        json!({ "status_list": { "idx": 1.5, "uri": URI } }),
        json!({ "status_list": { "idx": 1, "uri": "" } }),
        json!({ "other_mechanism": { "idx": 1, "uri": URI } }),
    ] {
        let claims = Object::from_iter([("status".to_owned(), status.clone())]);
        assert!(Place::of(&claims).is_err(), "{status}");
    }
    let _: fn(&List, &Terms<'_>) -> Unsigned = unsigned;
}
