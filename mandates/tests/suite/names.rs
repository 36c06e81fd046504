//! What a chain calls itself before anybody has looked at a signature, and by which hashes others may name it.

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, ParsedPublicKey};
use mandates::base64url;
use mandates::chain::{claimed, reference_hashes, reference_spellings};
use mandates::keys::{LocalKey, PublicKey};
use mandates::rejection::Code;

use crate::cast::*;

const ORDER: [u8; 32] = [
    0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xbc, 0xe6, 0xfa, 0xad, 0xa7,
    0x17, 0x9e, 0x84, 0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x51,
];

/// A chain, and the cart that it pays.
fn chain() -> (String, String) {
    let jwt = cart_jwt(1_000);
    (paid(vec![up_to(5_000)], &jwt, 1_000), jwt)
}

/// The last segment's signature, changed.
fn resigned(chain: &str, change: impl FnOnce(Vec<u8>) -> Vec<u8>) -> String {
    let (before, leaf) = chain.rsplit_once("~~").unwrap();
    let (jwt, disclosures) = leaf.split_once('~').unwrap();
    let (input, signature) = jwt.rsplit_once('.').unwrap();
    let bytes = change(base64url::decode(signature).unwrap());
    format!("{before}~~{input}.{}~{disclosures}", base64url::encode(&bytes))
}

#[test]
fn what_is_no_chain_has_no_name() {
    let (chain, _) = chain();
    let root = chain.split("~~").next().unwrap();
    for broken in
        ["", "~", "a.b.c~", &chain[1..], &chain[..chain.len() - 1], &format!("{root}~"), &format!("{chain}{chain}")]
    {
        assert!(claimed(broken).is_err(), "{broken}");
    }
    for broken in ["", "a.b.c~", "~~~", &chain[..chain.len() - 1]] {
        assert!(reference_spellings(broken).is_err(), "{broken}");
    }
    // No signature of a P-256 key: too short, too long, or `s` not below the order.
    for change in [
        |bytes: Vec<u8>| bytes[..63].to_vec(),
        |bytes: Vec<u8>| [&bytes[..], &[0]].concat(),
        |_: Vec<u8>| Vec::new(),
        |bytes: Vec<u8>| [&bytes[..32], &[0xff; 32]].concat(),
    ] {
        assert!(reference_spellings(&resigned(&chain, change)).is_err());
    }
}

#[test]
fn its_names_are_those_of_the_verdict_whatever_its_signature() {
    let (chain, jwt) = chain();
    let verdict = judge(&chain, &jwt);
    let facts = verdict.outcome.as_ref().unwrap();
    let (closed, open) = (facts.closed.as_ref().unwrap(), facts.open.last().unwrap());
    let presentation = closed.presentation.as_ref().unwrap();
    for spelled in [chain.clone(), resigned(&chain, |bytes| bytes.iter().map(|byte| byte ^ 1).collect())] {
        let names = claimed(&spelled).unwrap();
        assert_eq!((names.under, names.leaf), (open.identity, closed.identity));
        assert_eq!((&names.audience, &names.nonce), (&presentation.audience, &presentation.nonce));
    }
    let other = claimed(&paid(vec![up_to(5_000)], &cart_jwt(1_001), 1_001)).unwrap();
    assert_ne!(other.leaf, closed.identity);
}

#[test]
fn both_spellings_name_each_other_and_both_verify() {
    let (chain, jwt) = chain();
    let flipped = resigned(&chain, |bytes| {
        let mut borrow = 0_i16;
        let mut less = bytes.clone();
        for place in (0..32).rev() {
            let difference = i16::from(ORDER[place]) - i16::from(bytes[32 + place]) - borrow;
            borrow = i16::from(difference < 0);
            less[32 + place] = u8::try_from(difference.rem_euclid(256)).unwrap();
        }
        less
    });
    assert_valid(&judge(&flipped, &jwt));
    let (known, of_the_other) = (reference_spellings(&chain).unwrap(), reference_spellings(&flipped).unwrap());
    for spelled in [&chain, &flipped] {
        let hashes = reference_hashes(spelled).unwrap();
        for hash in [&hashes.sd_hash, &hashes.issuer_jwt_hash] {
            assert!(known.contains(hash) && of_the_other.contains(hash), "{hash}");
        }
    }
    assert_eq!(known.len(), 4);
    let another = reference_spellings(&paid(vec![up_to(5_000)], &cart_jwt(1_001), 1_001)).unwrap();
    assert!(another.iter().all(|hash| !known.contains(hash)));
}

/// What is read as a key here is what the library reads from the bare point.
#[test]
fn a_key_is_a_point_of_the_curve() {
    let accepts = |x: [u8; 32], y: [u8; 32]| {
        let bare = [&[4_u8][..], &x, &y].concat();
        let theirs = ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, bare).is_ok();
        let ours = PublicKey::from_coordinates(x, y);
        assert_eq!(ours.is_ok(), theirs, "{x:?} {y:?}");
        if let Err(refused) = &ours {
            assert_eq!(refused.code, Code::KeyInvalid);
        }
        ours.is_ok()
    };
    let (x, y) = LocalKey::from_random(&[7; 32]).unwrap().public().coordinates();
    assert!(accepts(x, y));
    let of_the_field: [u8; 32] = [
        0xff, 0xff, 0xff, 0xff, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
        0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
    ];
    for wrong in [[0; 32], [0xff; 32], of_the_field, x] {
        assert!(!accepts(x, wrong), "{wrong:?}");
        assert!(!accepts(wrong, wrong), "{wrong:?}");
    }
    for bit in 0..256_usize {
        let flipped = |mut coordinate: [u8; 32]| {
            coordinate[bit / 8] ^= 1 << (bit % 8);
            coordinate
        };
        assert!(!accepts(x, flipped(y)), "bit {bit} of y");
        accepts(flipped(x), y);
    }
}
