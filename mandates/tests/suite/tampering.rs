//! No third party can change a token into another accepted one, and where ES256 lets one through, the mandate's name stays.

use mandates::base64url;
use mandates::mandate::Mandate;
use mandates::rejection::Code;
use mandates::verify::Verdict;

use crate::cast::*;

fn standard() -> (String, String) {
    let cart = cart_jwt(1999);
    (paid(vec![up_to(2000), payees(&[shop()])], &cart, 1999), cart)
}

#[test]
fn no_changed_byte_is_accepted() {
    let (token, cart) = standard();
    assert_valid(&judge(&token, &cart));
    for at in 0..token.len() {
        let (before, after) = (&token[..at], &token[at + 1..]);
        let original = token.as_bytes()[at];
        for replacement in ["A", "B", "~", ".", "=", ""] {
            if replacement.as_bytes().first() == Some(&original) {
                continue;
            }
            let changed = format!("{before}{replacement}{after}");
            assert!(!judge(&changed, &cart).is_valid(), "{at}: {:?} for {:?}", replacement, char::from(original));
        }
    }
}

#[test]
fn nothing_added_between_is_accepted() {
    let (token, cart) = standard();
    let disclosure = base64url::encode(br#"["salt",{"a":1}]"#);
    for at in (0..=token.len()).filter(|at| *at == 0 || *at == token.len() || token.as_bytes()[*at - 1] == b'~') {
        for added in ["~", "~~", &disclosure, &format!("{disclosure}~"), "a.b.c", "a.b.c~", "\n", " "] {
            let changed = format!("{}{added}{}", &token[..at], &token[at..]);
            assert!(!judge(&changed, &cart).is_valid(), "{added:?} at {at}");
        }
    }
}

#[test]
fn no_disclosure_can_be_moved_doubled_or_dropped() {
    let (token, cart) = standard();
    let parts: Vec<&str> = token.split('~').collect();
    for from in 0..parts.len() {
        let mut dropped = parts.clone();
        let part = dropped.remove(from);
        assert!(!judge(&dropped.join("~"), &cart).is_valid());
        for to in 0..=dropped.len() {
            let mut moved = dropped.clone();
            moved.insert(to, part);
            let moved = moved.join("~");
            assert!(moved == token || !judge(&moved, &cart).is_valid(), "{from} to {to}");
        }
        let mut doubled = parts.clone();
        doubled.insert(from, part);
        assert!(!judge(&doubled.join("~"), &cart).is_valid());
    }
}

/// `n`, the order of P-256.
const ORDER: [u8; 32] = [
    0xff, 0xff, 0xff, 0xff, 0x00, 0x00, 0x00, 0x00, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xbc, 0xe6, 0xfa,
    0xad, 0xa7, 0x17, 0x9e, 0x84, 0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x51,
];

/// The same token with `s` replaced by `n - s` in the signature of one segment.
fn flipped(token: &str, segment: usize) -> String {
    let mut segments: Vec<String> = token.split("~~").map(str::to_owned).collect();
    let text = segments[segment].clone();
    let (jwt, disclosures) = text.split_once('~').unwrap();
    let (input, signature) = jwt.rsplit_once('.').unwrap();
    let mut bytes = base64url::decode(signature).unwrap();
    let mut borrow = 0_i16;
    for at in (0..32).rev() {
        let difference = i16::from(ORDER[at]) - i16::from(bytes[32 + at]) - borrow;
        borrow = i16::from(difference < 0);
        bytes[32 + at] = u8::try_from(difference.rem_euclid(256)).unwrap();
    }
    segments[segment] = format!("{input}.{}~{disclosures}", base64url::encode(&bytes));
    segments.join("~~")
}

fn names(verdict: &Verdict) -> Vec<mandates::chain::MandateId> {
    let facts = verdict.facts().unwrap();
    let open = facts.open.iter().map(|open| open.identity);
    open.chain(facts.closed.as_ref().map(|closed| closed.identity)).collect()
}

#[test]
fn a_flipped_leaf_signature_verifies_under_the_same_names() {
    let (token, cart) = standard();
    let changed = flipped(&token, 1);
    assert_ne!(changed, token);
    let verdict = judge(&changed, &cart);
    assert_valid(&verdict);
    assert_eq!(names(&verdict), names(&judge(&token, &cart)));
    assert_eq!(verdict.facts().unwrap().obligations, judge(&token, &cart).facts().unwrap().obligations);
}

#[test]
fn a_flipped_root_signature_breaks_the_hash_and_resigned_keeps_the_name() {
    let (token, cart) = standard();
    assert_refused(&judge(&flipped(&token, 0), &cart), Code::SdHashMismatch);
    let intent = root(&[open_payment(&agent(), vec![up_to(2000), payees(&[shop()])])]);
    let resigned = hop(&flipped(&intent, 0), &leaf_terms(), Mandate::Payment(payment(&cart, 1999)), &agent());
    let verdict = judge(&resigned, &cart);
    assert_valid(&verdict);
    assert_eq!(names(&verdict)[0], names(&judge(&token, &cart))[0]);
}

#[test]
fn withholding_a_payee_keeps_the_name() {
    let cart = cart_jwt(1999);
    let constraints = || vec![payees(&[shop(), merchant("other")])];
    let intent = root(&[open_payment(&agent(), constraints())]);
    let parts: Vec<&str> = intent.split('~').collect();
    let shown = judge(&hop(&intent, &leaf_terms(), Mandate::Payment(payment(&cart, 1999)), &agent()), &cart);
    let thinned = |dropped: usize| {
        let mut parts = parts.clone();
        parts.remove(dropped);
        hop(&parts.join("~"), &leaf_terms(), Mandate::Payment(payment(&cart, 1999)), &agent())
    };
    let without_other = judge(&thinned(2), &cart);
    assert_valid(&without_other);
    assert_eq!(names(&without_other)[0], names(&shown)[0]);
    assert_refused(&judge(&thinned(1), &cart), Code::PayeeNotAllowed);
}
