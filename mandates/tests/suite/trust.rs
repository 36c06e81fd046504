//! What a root is trusted for: no key is worth more than the entry that it was found in says.

use std::collections::BTreeSet;
use std::sync::Arc;

use mandates::issue::{self, Addressed, RootTerms};
use mandates::json;
use mandates::keys::{KeyId, KeySet, LocalKey};
use mandates::mandate::{Mandate, Vct};
use mandates::rejection::Code;
use mandates::trust::{Root, RootKeys, Scope, Trust, root_kid};
use mandates::verify::{Context, Purchase, Verdict, verify};

use crate::cast::*;

const PAYMENTS: [Vct; 2] = [Vct::OpenPayment, Vct::ClosedPayment];
const CHECKOUTS: [Vct; 2] = [Vct::OpenCheckout, Vct::ClosedCheckout];

fn entry(key: &LocalKey, mandates: &[Vct], issuer: Option<&str>) -> Root {
    let issuers = issuer.map(|issuer| BTreeSet::from([issuer.to_owned()]));
    let scope = Scope { mandates: mandates.iter().copied().collect(), issuers };
    Root { name: "a root".into(), keys: RootKeys::Set(Arc::new(keys(key))), scope }
}

fn unavailable() -> Root {
    Root { name: "a silent one".into(), keys: RootKeys::Unavailable, scope: Scope::anything() }
}

/// A payment whose root is signed by this key, says this `iss` and names its key so.
fn paid_by(key: &LocalKey, kid: &str, issuer: &str) -> String {
    let key_id = KeyId::new(kid);
    let terms = RootTerms {
        key_id: &key_id,
        issuer,
        issued_at_seconds: NOW - 60,
        addressed: Addressed::ToNobody,
        status: None,
    };
    let open = [open_payment(&agent(), vec![up_to(5000)])];
    let intent = signed(issue::root(&terms, &open, &mut salts()).unwrap(), key);
    hop(&intent, &leaf_terms(), Mandate::Payment(payment(&cart_jwt_of_shop(), 1000)), &agent())
}

/// One signature for all of these tests: another one is another hash.
fn cart_jwt_of_shop() -> String {
    use std::sync::OnceLock;
    static CART: OnceLock<String> = OnceLock::new();
    CART.get_or_init(|| cart_jwt(1000)).clone()
}

fn judged(roots: Vec<Root>, token: &str) -> Verdict {
    let trusted = Trust::new(roots).unwrap();
    let (nobody, merchant_keys, cart) = (keys(&stranger()), keys(&merchant_key()), cart_jwt_of_shop());
    let purchase = Purchase::Cart { checkout_jwt: &cart, merchant_keys: &merchant_keys };
    verify(token, &Context { trusted: &trusted, ..context(&nobody, purchase) })
}

#[test]
fn a_root_out_of_its_scope_is_refused() {
    let token = paid_by(&provider(), "provider", "https://p.example");
    let at = |mandates: &[Vct], issuer| judged(vec![entry(&provider(), mandates, issuer)], &token);
    assert_refused(&at(&CHECKOUTS, None), Code::RootOutOfScope);
    assert_refused(&at(&[Vct::ClosedPayment], None), Code::RootOutOfScope);
    assert_refused(&at(&[], None), Code::RootOutOfScope);
    assert_refused(&at(&PAYMENTS, Some("https://q.example")), Code::RootIssuerMismatch);
    assert_refused(&at(&PAYMENTS, Some("https://p.example/")), Code::RootIssuerMismatch);
    assert_refused(&judged(vec![], &token), Code::UnknownKid);
    // Two entries of one key do not add up to what neither says.
    let (bank, shop) =
        (entry(&provider(), &PAYMENTS, Some("https://bank.example")), entry(&provider(), &CHECKOUTS, None));
    assert_refused(&judged(vec![bank.clone(), shop.clone()], &token), Code::RootOutOfScope);
    assert_refused(&judged(vec![shop, bank], &token), Code::RootOutOfScope);
    let verdict = at(&CHECKOUTS, None);
    assert_eq!(verdict.checks.iter().find(|check| check.name == "root_scope").unwrap().outcome.as_str(), "failed");
    assert_valid(&at(&[Vct::OpenPayment], None));
    assert_valid(&at(&PAYMENTS, Some("https://p.example")));
    let both = vec![entry(&provider(), &CHECKOUTS, None), entry(&provider(), &PAYMENTS, Some("https://p.example"))];
    assert_valid(&judged(both, &token));
}

#[test]
fn a_name_that_two_roots_use_is_told_apart_by_the_signature() {
    let (one, other) = (key("k1", 1), key("k1", 5));
    let roots = || vec![entry(&one, &PAYMENTS, None), entry(&other, &CHECKOUTS, None)];
    let turned = || roots().into_iter().rev().collect::<Vec<_>>();
    let by = |key: &LocalKey| paid_by(key, "k1", "https://p.example");
    for roots in [roots(), turned()] {
        assert_refused(&judged(roots.clone(), &by(&other)), Code::RootOutOfScope);
        assert_refused(&judged(roots.clone(), &by(&key("k1", 6))), Code::SignatureInvalid);
        assert_refused(&judged(roots.clone(), &paid_by(&one, "k2", "https://p.example")), Code::UnknownKid);
        assert_valid(&judged(roots, &by(&one)));
    }
}

#[test]
fn keys_that_cannot_be_had_are_no_reason_to_accept() {
    let token = paid_by(&provider(), "provider", "https://p.example");
    let verdict = judged(vec![unavailable()], &token);
    assert_refused(&verdict, Code::RootKeysUnavailable);
    assert!(verdict.rejection().unwrap().retryable());
    assert_refused(&judged(vec![unavailable(), entry(&stranger(), &PAYMENTS, None)], &token), Code::SignatureInvalid);
    assert_refused(&judged(vec![entry(&agent(), &PAYMENTS, None)], &token), Code::UnknownKid);
    assert_valid(&judged(vec![unavailable(), entry(&provider(), &PAYMENTS, None)], &token));
    let many = vec![unavailable(); 65];
    assert_eq!(Trust::new(many).unwrap_err().code, Code::KeySetInvalid);
}

#[test]
fn a_kid_that_is_a_fragment_is_of_the_did_that_signs() {
    let did = "did:web:p.example";
    let trusted = || vec![entry(&key("did:web:p.example#k1", 1), &PAYMENTS, None)];
    let by = |kid: &str, issuer: &str| judged(trusted(), &paid_by(&provider(), kid, issuer));
    assert_refused(&by("#k1", "https://p.example"), Code::UnknownKid);
    assert_refused(&by("#k1", "did:web:q.example"), Code::UnknownKid);
    assert_refused(&by("k1", did), Code::UnknownKid);
    assert_refused(&by("", did), Code::UnknownKid);
    assert_valid(&by("#k1", did));
    assert_valid(&by("did:web:p.example#k1", "https://p.example"));
    assert_eq!(root_kid(&paid_by(&provider(), "#k1", did)).as_deref(), Some("did:web:p.example#k1"));
    for none in ["", "~", "a.b.c~", "x"] {
        assert_eq!(root_kid(none), None, "{none}");
    }
}

#[test]
fn a_published_set_may_have_keys_for_other_things() {
    let jwk = |more: &str| {
        format!(
            r#"{{"kty":"EC","crv":"P-256","x":"fyNYMN0976ci7xqiSdag3buk-ZCwgXU4kz9XNkBlNUI","y":"hW2ojTNfH7Jbi8--CJUo3OCbH3y5n91g-IMA9MLMbTU"{more}}}"#
        )
    };
    let read = |keys: &[String]| {
        let set = format!(r#"{{"keys":[{}]}}"#, keys.join(","));
        KeySet::from_jwks(&json::parse_object(set.as_bytes()).unwrap()).map_err(|refused| refused.code)
    };
    let signing = jwk(r#","kid":"a","use":"sig","alg":"ES256","key_ops":["verify"]"#);
    for (wrong, code) in [
        (signing.replace("fyNY", "fyNZ"), Code::KeyInvalid),
        (jwk(r#","d":"x""#), Code::KeyPrivate),
        (jwk(r#","use":"enc","d":"x""#), Code::KeyPrivate),
        (jwk(r#","kid":7"#), Code::KeyInvalid),
        (signing.clone(), Code::KeySetInvalid),
        ("7".to_owned(), Code::KeySetInvalid),
    ] {
        assert_eq!(read(&[signing.clone(), wrong.clone()]).map(|_| ()), Err(code), "{wrong}");
    }
    for passed in [
        jwk(r#","use":"enc""#),
        jwk(r#","alg":"ECDH-ES""#),
        r#"{"kty":"RSA","n":"AQAB","e":"AQAB"}"#.to_owned(),
        r#"{"kty":"OKP","crv":"Ed25519","x":"AA"}"#.to_owned(),
    ] {
        assert_eq!(read(&[passed.clone(), signing.clone()]).unwrap().len(), 1, "{passed}");
    }
}
