//! Roots that name their key by certificates: RFC 5280 section 6.1 paths, broken in every way that we could think of.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use mandates::certificate::Anchors;
use mandates::keys::LocalKey;
use mandates::mandate::Mandate;
use mandates::rejection::{Ap2Error, Code, Rejection};
use mandates::verify::{Context, Purchase, Verdict, verify};
use rcgen::{
    BasicConstraints, CertificateParams, CidrSubnet, CustomExtension, DistinguishedName, DnType, GeneralSubtree, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, NameConstraints, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_ED25519,
    PKCS_RSA_SHA256, RsaKeySize, SignatureAlgorithm,
};
use serde_json::{Value, json};
use time::OffsetDateTime;

use crate::cast::*;

/// Somebody with a certificate.
struct Party {
    params: CertificateParams,
    key: KeyPair,
    der: Vec<u8>,
}

fn at(seconds: i64) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(seconds).unwrap()
}

fn named(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    (params.not_before, params.not_after) = (at(NOW - 86_400), at(NOW + 86_400));
    params
}

fn with(mut params: CertificateParams, change: impl FnOnce(&mut CertificateParams)) -> CertificateParams {
    change(&mut params);
    params
}

fn ca(name: &str) -> CertificateParams {
    let mut params = named(name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params
}

fn short(name: &str, below: u8) -> CertificateParams {
    with(ca(name), |params| params.is_ca = IsCa::Ca(BasicConstraints::Constrained(below)))
}

impl Party {
    fn top(params: CertificateParams, algorithm: &'static SignatureAlgorithm) -> Self {
        let key = KeyPair::generate_for(algorithm).unwrap();
        let der = params.self_signed(&key).unwrap().der().to_vec();
        Self { params, key, der }
    }

    fn root(params: CertificateParams) -> Self {
        Self::top(params, &PKCS_ECDSA_P256_SHA256)
    }

    fn issues_with(&self, params: CertificateParams, key: KeyPair) -> Self {
        let der = params.signed_by(&key, &Issuer::from_params(&self.params, &self.key)).unwrap().der().to_vec();
        Self { params, key, der }
    }

    fn issues(&self, params: CertificateParams) -> Self {
        self.issues_with(params, KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap())
    }

    fn text(&self) -> String {
        STANDARD.encode(&self.der)
    }

    fn signer(&self) -> LocalKey {
        LocalKey::from_pkcs8(&self.key.serialize_der()).unwrap()
    }
}

fn anchors(parties: &[&Party]) -> Anchors {
    Anchors::from_der(parties.iter().map(|party| party.der.clone())).unwrap()
}

fn x5c(parties: &[&Party]) -> Value {
    parties.iter().map(|party| Value::from(party.text())).collect()
}

fn check(anchors: &Anchors, parties: &[&Party]) -> Result<(), Rejection> {
    anchors.key_of(&x5c(parties), NOW).map(|_| ())
}

#[track_caller]
fn assert_code(result: Result<(), Rejection>, code: Code) {
    let refused = result.unwrap_err();
    assert_eq!(refused.code, code, "{refused}");
    assert_eq!(refused.ap2_error(), Ap2Error::InvalidCredential);
}

/// A payment whose root carries this header beside `alg` and is signed by this key.
fn paid_under(header: &Value, key: &LocalKey, cart: &str) -> String {
    let plain = root(&[open_payment(&agent(), vec![up_to(5000)])]);
    let (jwt, disclosures) = plain.split_once('~').unwrap();
    let payload = jwt.split('.').nth(1).unwrap();
    let mut all = json!({ "alg": "ES256" });
    all.as_object_mut().unwrap().extend(header.as_object().unwrap().clone());
    let input = format!("{}.{payload}", URL_SAFE_NO_PAD.encode(all.to_string()));
    let signature = URL_SAFE_NO_PAD.encode(key.sign(input.as_bytes()).unwrap());
    let intent = format!("{input}.{signature}~{disclosures}");
    hop(&intent, &leaf_terms(), Mandate::Payment(payment(cart, 1000)), &agent())
}

fn judged(trusted: &Anchors, token: &str, cart: &str) -> Verdict {
    let (nobody, merchant_keys) = (keys(&stranger()), keys(&merchant_key()));
    let purchase = Purchase::Cart { checkout_jwt: cart, merchant_keys: &merchant_keys };
    verify(token, &Context { trusted, ..context(&nobody, purchase) })
}

#[test]
fn a_path_that_does_not_hold_is_refused() {
    let root = Party::root(ca("Root"));
    let inter = root.issues(ca("Inter"));
    let leaf = inter.issues(named("Issuer"));
    let trusted = anchors(&[&root]);
    // Another root of the same name, and a stranger.
    let (twin, other) = (Party::root(ca("Root")), Party::root(ca("Other")));
    let forged = twin.issues(named("Issuer"));
    assert_code(check(&trusted, &[&forged]), Code::X5cSignatureInvalid);
    assert_code(check(&trusted, &[&forged, &twin]), Code::X5cSignatureInvalid);
    assert_code(check(&trusted, &[&other.issues(named("Issuer")), &other]), Code::X5cUntrusted);
    assert_code(check(&trusted, &[&Party::root(named("Issuer"))]), Code::X5cUntrusted);
    assert_code(check(&trusted, &[&leaf]), Code::X5cUntrusted);
    // Order, strangers and repetition.
    assert_code(check(&trusted, &[&inter, &leaf]), Code::X5cOrder);
    assert_code(check(&trusted, &[&leaf, &root, &inter]), Code::X5cOrder);
    assert_code(check(&trusted, &[&leaf, &inter, &other]), Code::X5cOrder);
    assert_code(check(&trusted, &[&leaf, &other, &inter]), Code::X5cOrder);
    assert_code(check(&trusted, &[&leaf, &inter, &root, &other]), Code::X5cOrder);
    assert_code(check(&trusted, &[&leaf, &leaf, &inter]), Code::X5cOrder);
    // A certificate that the path has no use for, though its name fits.
    let loose = twin.issues_with(ca("Inter"), KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap());
    assert_code(check(&trusted, &[&leaf, &loose]), Code::X5cSignatureInvalid);
    // CAs where there should be none, none where there should be one.
    assert_code(check(&trusted, &[&inter]), Code::X5cLeafIsCa);
    assert_code(check(&trusted, &[&root]), Code::X5cLeafIsCa);
    for no_ca in [IsCa::NoCa, IsCa::ExplicitNoCa] {
        let middle = root.issues(with(named("Middle"), |params| params.is_ca = no_ca));
        assert_code(check(&trusted, &[&middle.issues(named("Issuer")), &middle]), Code::X5cIssuerNotCa);
        let top = Party::root(with(named("Top"), |params| params.is_ca = no_ca));
        assert_code(check(&anchors(&[&top]), &[&top.issues(named("Issuer"))]), Code::X5cIssuerNotCa);
    }
    assert_code(check(&trusted, &[]), Code::X5cMalformed);
}

#[test]
fn a_path_that_holds_gives_the_key_of_its_leaf() {
    let root = Party::root(ca("Root"));
    let (first, second) = (root.issues(ca("First")), Party::root(ca("Second")));
    let second = first.issues_with(second.params, second.key);
    let leaf = second.issues(named("Issuer"));
    let trusted = anchors(&[&Party::root(ca("Other")), &Party::root(ca("Root")), &root]);
    for chain in [&[&leaf, &second, &first][..], &[&leaf, &second, &first, &root]] {
        let key = trusted.key_of(&x5c(chain), NOW).unwrap();
        assert_eq!(&key, leaf.signer().public());
    }
    assert!(check(&trusted, &[&root.issues(named("Issuer"))]).is_ok());
    // The operator trusts a CA in the middle; what the chain has above it is not needed.
    let middle = anchors(&[&first]);
    assert!(check(&middle, &[&leaf, &second, &first, &root]).is_ok());
    assert!(check(&middle, &[&leaf, &second, &first]).is_ok());
    assert!(check(&middle, &[&leaf, &second]).is_ok());
    // A certificate of its own that is trusted itself.
    let pinned = Party::root(named("Pinned"));
    assert!(check(&anchors(&[&pinned]), &[&pinned]).is_ok());
}

#[test]
fn certificates_are_good_at_the_verifiers_second_only() {
    let of = |from: i64, to: i64, params: CertificateParams| {
        with(params, |params| (params.not_before, params.not_after) = (at(from), at(to)))
    };
    let (root, gone) = (Party::root(ca("Root")), Party::root(of(NOW - 20, NOW - 1, ca("Gone"))));
    let soon = Party::root(of(NOW + 1, NOW + 20, ca("Soon")));
    let trusted = anchors(&[&root, &gone, &soon]);
    let expired = root.issues(of(NOW - 20, NOW - 1, named("Issuer")));
    let early = root.issues(of(NOW + 1, NOW + 20, named("Issuer")));
    let late_ca = root.issues(of(NOW - 20, NOW - 1, ca("Inter")));
    let early_ca = root.issues(of(NOW + 1, NOW + 20, ca("Inter")));
    assert_code(check(&trusted, &[&expired]), Code::X5cExpired);
    assert_code(check(&trusted, &[&early]), Code::X5cNotYetValid);
    assert_code(check(&trusted, &[&late_ca.issues(named("Issuer")), &late_ca]), Code::X5cExpired);
    assert_code(check(&trusted, &[&early_ca.issues(named("Issuer")), &early_ca]), Code::X5cNotYetValid);
    assert_code(check(&trusted, &[&gone.issues(named("Issuer"))]), Code::X5cExpired);
    assert_code(check(&trusted, &[&soon.issues(named("Issuer"))]), Code::X5cNotYetValid);
    assert_code(trusted.key_of(&x5c(&[&root.issues(named("Issuer"))]), -1).map(|_| ()), Code::X5cMalformed);
    assert!(early.der.len() > 100 && !Code::X5cExpired.retryable() && Code::X5cNotYetValid.retryable());
    assert!(check(&trusted, &[&root.issues(of(NOW, NOW + 1, named("Issuer")))]).is_ok(), "the first second counts");
    assert!(check(&trusted, &[&root.issues(of(NOW - 1, NOW, named("Issuer")))]).is_ok(), "and the last");
    // A CA that was renewed under its name and key: the one that is good now carries the path.
    let renewed = of(NOW - 20, NOW - 1, ca("Root"));
    let renewed = Party { der: renewed.self_signed(&root.key).unwrap().der().to_vec(), key: root.key, params: renewed };
    let both = Anchors::from_der([renewed.der.clone(), root.der.clone()]).unwrap();
    assert!(check(&both, &[&renewed.issues(named("Issuer"))]).is_ok());
}

#[test]
fn no_more_cas_stand_below_a_ca_than_it_says() {
    let deep = |top: &Party, lengths: &[u8]| {
        let mut chain = Vec::new();
        for (at, below) in lengths.iter().enumerate() {
            let above = chain.last().unwrap_or(top);
            chain.push(above.issues(short(&format!("CA {at}"), *below)));
        }
        let leaf = chain.last().unwrap_or(top).issues(named("Issuer"));
        chain.push(leaf);
        chain.reverse();
        chain
    };
    for (top, lengths, expected) in [
        (0, &[9][..], Err(Code::X5cPathTooLong)),
        (1, &[9, 9], Err(Code::X5cPathTooLong)),
        (9, &[0, 9], Err(Code::X5cPathTooLong)),
        (9, &[9, 0, 9], Err(Code::X5cPathTooLong)),
        (9, &[1, 9, 9], Err(Code::X5cPathTooLong)),
        (9, &[9, 9, 9, 9, 9, 9, 9, 9], Err(Code::X5cMalformed)),
        (0, &[], Ok(())),
        (1, &[0], Ok(())),
        (3, &[2, 1, 0], Ok(())),
    ] {
        let root = Party::root(short("Root", top));
        let chain = deep(&root, lengths);
        let came = check(&anchors(&[&root]), &chain.iter().collect::<Vec<_>>()).map_err(|refused| refused.code);
        assert_eq!(came, expected, "{top} {lengths:?}");
    }
}

#[test]
fn key_usage_where_it_is_stated_allows_what_the_key_does() {
    use KeyUsagePurpose::{CrlSign, DigitalSignature, KeyAgreement, KeyCertSign};
    let used = |usages: &[KeyUsagePurpose], params| with(params, |params| params.key_usages = usages.to_vec());
    let root = Party::root(used(&[KeyCertSign], ca("Root")));
    let trusted = anchors(&[&root]);
    for wrong in [&[KeyAgreement][..], &[KeyCertSign], &[CrlSign, KeyAgreement]] {
        assert_code(check(&trusted, &[&root.issues(used(wrong, named("Issuer")))]), Code::X5cKeyUsage);
    }
    for wrong in [&[DigitalSignature][..], &[CrlSign], &[DigitalSignature, CrlSign]] {
        let inter = root.issues(used(wrong, ca("Inter")));
        assert_code(check(&trusted, &[&inter.issues(named("Issuer")), &inter]), Code::X5cKeyUsage);
        let top = Party::root(used(wrong, ca("Top")));
        assert_code(check(&anchors(&[&top]), &[&top.issues(named("Issuer"))]), Code::X5cIssuerNotCa);
    }
    let inter = root.issues(used(&[DigitalSignature, KeyCertSign], ca("Inter")));
    let leaf = inter.issues(used(&[DigitalSignature, KeyAgreement], named("Issuer")));
    assert!(check(&trusted, &[&leaf, &inter]).is_ok());
    assert!(check(&trusted, &[&root.issues(named("Issuer"))]).is_ok(), "nothing stated is nothing forbidden");
}

#[test]
fn names_lie_within_what_a_ca_may_name() {
    let within = |permitted: Vec<GeneralSubtree>, excluded: Vec<GeneralSubtree>| {
        let constraints = NameConstraints { permitted_subtrees: permitted, excluded_subtrees: excluded };
        with(ca("Inter"), |params| params.name_constraints = Some(constraints))
    };
    let site = |name: &str| {
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        with(named("Issuer"), |issuer| issuer.subject_alt_names = params.subject_alt_names)
    };
    let mut directory = DistinguishedName::new();
    directory.push(DnType::CommonName, "Issuer");
    let dns = |name: &str| GeneralSubtree::DnsName(name.into());
    let root = Party::root(ca("Root"));
    let trusted = anchors(&[&root]);
    let subnet = GeneralSubtree::IpAddress(CidrSubnet::from_v4_prefix([10, 0, 0, 0], 8));
    for (constrained, leaf) in [
        (within(vec![dns("bank.example")], vec![]), site("shop.example")),
        (within(vec![], vec![dns("shop.example")]), site("pay.shop.example")),
        (within(vec![dns("shop.example")], vec![dns("pay.shop.example")]), site("pay.shop.example")),
        (within(vec![subnet], vec![]), site("192.0.2.1")),
        (within(vec![], vec![GeneralSubtree::DirectoryName(directory.clone())]), named("Issuer")),
        // Directory names are not compared, so a constraint on them lets nobody through.
        (within(vec![GeneralSubtree::DirectoryName(directory)], vec![]), named("Issuer")),
    ] {
        let inter = root.issues(constrained.clone());
        assert_code(check(&trusted, &[&inter.issues(leaf.clone()), &inter]), Code::X5cNameConstraint);
        let top = Party::root(constrained);
        assert_code(check(&anchors(&[&top]), &[&top.issues(leaf)]), Code::X5cNameConstraint);
    }
    let inter = root.issues(within(vec![dns("shop.example")], vec![dns("bank.example")]));
    assert!(check(&trusted, &[&inter.issues(site("pay.shop.example")), &inter]).is_ok());
    assert!(check(&trusted, &[&inter.issues(named("Issuer")), &inter]).is_ok(), "no name of that kind");
}

#[test]
fn critical_extensions_are_understood() {
    let marked = |oid: &[u64], content: Vec<u8>, is_critical, params| {
        let mut extension = CustomExtension::from_oid_content(oid, content);
        extension.set_criticality(is_critical);
        with(params, |params| params.custom_extensions = vec![extension])
    };
    let (private, policies): (&[u64], &[u64]) = (&[1, 3, 6, 1, 4, 1, 99999, 1], &[2, 5, 29, 32]);
    let root = Party::root(ca("Root"));
    let trusted = anchors(&[&root]);
    for oid in [private, policies] {
        let leaf = root.issues(marked(oid, vec![5, 0], true, named("Issuer")));
        assert_code(check(&trusted, &[&leaf]), Code::X5cCriticalExtension);
        let inter = root.issues(marked(oid, vec![5, 0], true, ca("Inter")));
        assert_code(check(&trusted, &[&inter.issues(named("Issuer")), &inter]), Code::X5cCriticalExtension);
        let top = Party::root(marked(oid, vec![5, 0], true, ca("Top")));
        assert_code(Anchors::from_der([top.der]).map(|_| ()), Code::X5cCriticalExtension);
    }
    let leaf = root.issues(marked(private, vec![5, 0], false, named("Issuer")));
    assert!(check(&trusted, &[&leaf]).is_ok());
    assert!(
        check(&trusted, &[&root.issues(marked(&[2, 5, 29, 37], vec![0x30, 3, 6, 1, 42], true, named("I")))]).is_ok()
    );
}

#[test]
fn certificates_may_be_signed_with_other_algorithms_and_the_token_with_es256_only() {
    for top in [Party::top(ca("Root"), &PKCS_ECDSA_P384_SHA384), Party::top(ca("Root"), &PKCS_ED25519)] {
        assert!(check(&anchors(&[&top]), &[&top.issues(named("Issuer"))]).is_ok());
    }
    let key = KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048).unwrap();
    let der = ca("Root").self_signed(&key).unwrap().der().to_vec();
    let top = Party { params: ca("Root"), key, der };
    assert!(check(&anchors(&[&top]), &[&top.issues(named("Issuer"))]).is_ok());
    let root = Party::root(ca("Root"));
    for algorithm in [&PKCS_ECDSA_P384_SHA384, &PKCS_ED25519] {
        let leaf = root.issues_with(named("Issuer"), KeyPair::generate_for(algorithm).unwrap());
        assert_code(check(&anchors(&[&root]), &[&leaf]), Code::KeyNotP256);
    }
    // Algorithm confusion: the outer algorithm says something else than what was signed, or than the key is.
    let leaf = root.issues(named("Issuer"));
    let ecdsa_sha256 = [6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2];
    let places: Vec<usize> =
        (0..leaf.der.len() - 10).filter(|place| leaf.der[*place..*place + 10] == ecdsa_sha256).collect();
    assert_eq!(places.len(), 2);
    for changed in [&places[..1], &places[1..], &places[..]] {
        let mut der = leaf.der.clone();
        for place in changed {
            der[place + 9] = 3; // ecdsa-with-SHA384
        }
        let refused = anchors(&[&root]).key_of(&json!([STANDARD.encode(&der)]), NOW).unwrap_err();
        let expected = if changed.len() == 1 { Code::X5cAlgorithm } else { Code::X5cSignatureInvalid };
        assert_eq!(refused.code, expected, "{refused}");
    }
}

#[test]
fn an_x5c_header_that_is_none_is_refused() {
    let root = Party::root(ca("Root"));
    let trusted = anchors(&[&root]);
    let leaf = root.issues(named("Issuer"));
    let text = leaf.text();
    let trailing = STANDARD.encode([leaf.der.as_slice(), &[0]].concat());
    for wrong in [
        json!(null),
        json!({}),
        json!([]),
        json!(text),
        json!([7]),
        json!([[text]]),
        json!([""]),
        json!(["AAAA"]),
        json!([format!("{text}\n")]),
        json!([format!(" {text}")]),
        json!([text.trim_end_matches('=').to_owned() + "===="]),
        json!([URL_SAFE_NO_PAD.encode([leaf.der.as_slice(), &[0xfb, 0xff]].concat())]),
        json!([trailing]),
        json!([text, ""]),
        json!([format!("-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----")]),
        json!([STANDARD.encode(vec![0x30; 20_000])]),
        json!(vec![text.clone(); 9]),
    ] {
        let refused = trusted.key_of(&wrong, NOW).unwrap_err();
        assert_eq!(refused.code, Code::X5cMalformed, "{wrong}: {refused}");
    }
    // Every byte of a certificate changed, every length cut: refused, and nothing worse.
    for place in 0..leaf.der.len() {
        for flip in [0x01, 0x80, 0xff] {
            let mut der = leaf.der.clone();
            der[place] ^= flip;
            assert!(trusted.key_of(&json!([STANDARD.encode(&der)]), NOW).is_err(), "byte {place} ^ {flip}");
        }
        assert!(trusted.key_of(&json!([STANDARD.encode(&leaf.der[..place])]), NOW).is_err(), "cut at {place}");
    }
    assert!(trusted.key_of(&json!([text]), NOW).is_ok());
}

#[test]
fn anchors_are_certificates_and_some() {
    let root = Party::root(ca("Root"));
    let pem = Party::root(ca("Other")).params.self_signed(&root.key).unwrap().pem();
    let key = root.key.serialize_pem();
    let many = vec![pem.as_str(); 65].join("\n");
    for (wrong, code) in [
        ("", Code::X5cNoAnchor),
        ("nothing", Code::X5cNoAnchor),
        (key.as_str(), Code::X5cMalformed),
        (&format!("{pem}{key}"), Code::X5cMalformed),
        (&pem.replace("-----END", "----END"), Code::X5cMalformed),
        ("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", Code::X5cMalformed),
        (&many, Code::X5cMalformed),
    ] {
        let refused = Anchors::from_pem(wrong).unwrap_err();
        assert_eq!(refused.code, code, "{refused}");
    }
    let two = Anchors::from_pem(&format!("The first:\n{pem}\nthe second:\n{pem}")).unwrap();
    assert_eq!((two.len(), two.is_empty()), (2, false));
    assert_code(check(&Anchors::default(), &[&root.issues(named("Issuer"))]), Code::X5cNoAnchor);
}

#[test]
fn a_mandate_is_signed_with_the_key_of_the_certificate_that_it_brings() {
    let root = Party::root(ca("Root"));
    let inter = root.issues(ca("Inter"));
    let leaf = inter.issues(named("Issuer"));
    let trusted = anchors(&[&root]);
    let cart = cart_jwt(1000);
    let chain = x5c(&[&leaf, &inter]);
    let with = |header: Value, key: &LocalKey| judged(&trusted, &paid_under(&header, key, &cart), &cart);
    assert_refused(&with(json!({ "x5c": chain }), &inter.signer()), Code::SignatureInvalid);
    assert_refused(&with(json!({ "x5c": chain, "kid": "provider" }), &provider()), Code::SignatureInvalid);
    assert_refused(&with(json!({ "kid": "provider" }), &provider()), Code::UnknownKid);
    assert_refused(&with(json!({ "x5c": x5c(&[&leaf]) }), &leaf.signer()), Code::X5cUntrusted);
    assert_refused(&with(json!({ "x5c": null }), &leaf.signer()), Code::X5cMalformed);
    assert_refused(&with(json!({ "x5u": "https://x.example" }), &leaf.signer()), Code::UnknownKid);
    // Who trusts keys by name alone takes no certificate, whoever signed.
    let token = paid_under(&json!({ "x5c": chain }), &leaf.signer(), &cart);
    assert_refused(&judge(&token, &cart), Code::X5cNoAnchor);
    let token = paid_under(&json!({ "x5c": chain, "kid": "provider" }), &provider(), &cart);
    assert_refused(&judge(&token, &cart), Code::X5cNoAnchor);
    assert_valid(&with(json!({ "x5c": chain }), &leaf.signer()));
    assert_valid(&with(json!({ "x5c": chain, "kid": "whatever" }), &leaf.signer()));
}
