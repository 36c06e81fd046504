//! A wallet's answer is taken where it is signed over exactly what was asked for, by the holder of a trusted credential.

use mandates::base64url;
use mandates::chain::Position;
use mandates::clock::Clock;
use mandates::digest::HashAlgorithm;
use mandates::disclosure::{self, Marked, Member, Terms, Visibility};
use mandates::issue::{self, HopTerms};
use mandates::json::{self, Object};
use mandates::keys::LocalKey;
use mandates::mandate::{Mandate, Vct};
use mandates::openid4vp::{Card, Delegation, Display, Taken, Taking, consent};
use mandates::rejection::Code;
use mandates::verify::{Expected, ExpectedFamily, Purchase, verify};
use serde_json::{Value, json};

use crate::cast::*;

const ID: &str = "dpc_credential";
const ORIGIN: &str = "origin:https://agent.example";

fn wallet() -> LocalKey {
    key("wallet", 9)
}

/// The user's credential: its holder key, and one member that may be withheld.
fn credential(holder: &LocalKey, issuer: &LocalKey) -> String {
    typed(holder, issuer, "com.emvco.dpc")
}

fn typed(holder: &LocalKey, issuer: &LocalKey, vct: &str) -> String {
    let member = |name: &str, value: Value, visibility| Member {
        name: name.to_owned(),
        value: Marked::Plain(value),
        visibility,
    };
    let always = Visibility::Always;
    let claims = [
        member("iss", json!("https://bank.example"), always),
        member("vct", json!(vct), always),
        member("exp", json!(NOW + 1_000), always),
        member("cnf", json!({ "jwk": holder.public().to_jwk() }), always),
        member("card_last_four", json!("4444"), Visibility::Selective),
    ];
    let header = json!({ "alg": "ES256", "typ": "dc+sd-jwt", "kid": issuer.key_id().as_str() });
    let terms = Terms { algorithm: HashAlgorithm::Sha256, decoys: 0 };
    let concealed = disclosure::conceal(&claims, &terms, &mut salts()).unwrap();
    signed(concealed.unsigned(header.as_object().unwrap()), issuer)
}

fn direct(cart: &str) -> Vec<Mandate> {
    vec![checkout(cart), Mandate::Payment(payment(cart, 1999))]
}

fn autonomous() -> Vec<Mandate> {
    vec![
        Mandate::Open(open(Vct::OpenCheckout, &agent(), Vec::new())),
        open_payment(&agent(), vec![up_to(2000), payees(&[shop(), merchant("other")])]),
    ]
}

fn asked(mandates: &[Mandate]) -> Delegation<'_> {
    let card = Card { merchant_name: "The shop", amount: "USD 19.99", additional_info: None };
    Delegation {
        credential_id: ID,
        vct_values: &["com.emvco.dpc"],
        claims: &[&["card_last_four"]],
        nonce: NONCE,
        mandates,
        card: Some(card),
    }
}

fn taking(trusted: &mandates::keys::KeySet) -> Taking<'_> {
    Taking { clock: Clock { now_seconds: NOW, skew_seconds: 0 }, trusted, audience: ORIGIN, age_seconds_max: 60 }
}

fn terms(mandates: &[Mandate]) -> HopTerms<'static> {
    let position = if mandates[0].vct().is_open() { Position::Middle } else { Position::Leaf };
    HopTerms { position, audience: ORIGIN, nonce: NONCE, issued_at_seconds: NOW - 5 }
}

/// What a wallet signs with this credential.
fn presented(credential: &str, terms: &HopTerms<'_>, mandates: &[Mandate], holder: &LocalKey) -> String {
    signed(issue::hop(credential, terms, mandates, &mut salts()).unwrap(), holder)
}

fn good(mandates: &[Mandate]) -> String {
    presented(&credential(&wallet(), &provider()), &terms(mandates), mandates, &wallet())
}

fn answer(presented: &str) -> Object {
    json!({ "protocol": "openid4vp-v1-unsigned", "data": { "vp_token": { ID: [presented] } } })
        .as_object()
        .unwrap()
        .clone()
}

/// The same with other members in what the holder signed.
fn resigned(presented: &str, holder: &LocalKey, edit: impl FnOnce(&mut Object)) -> String {
    let (before, last) = presented.rsplit_once("~~").unwrap();
    let (jwt, disclosures) = last.split_once('~').unwrap();
    let parts: Vec<&str> = jwt.split('.').collect();
    let mut payload = json::parse_object(&base64url::decode(parts[1]).unwrap()).unwrap();
    edit(&mut payload);
    let input = format!("{}.{}", parts[0], base64url::encode(Value::Object(payload).to_string().as_bytes()));
    let signature = base64url::encode(&holder.sign(input.as_bytes()).unwrap());
    format!("{before}~~{input}.{signature}~{disclosures}")
}

fn taken(mandates: &[Mandate], presented: &str) -> Result<Taken, Code> {
    let trusted = keys(&provider());
    asked(mandates).take(&answer(presented), &taking(&trusted)).map_err(|refused| refused.code)
}

#[test]
fn what_was_not_asked_for_is_not_taken() {
    let cart = cart_jwt(1999);
    let mandates = direct(&cart);
    let own = credential(&wallet(), &provider());
    let at = |change: fn(&mut HopTerms<'static>)| {
        let mut terms = terms(&direct(&cart_jwt(1999)));
        change(&mut terms);
        presented(&own, &terms, &mandates, &wallet())
    };
    let dearer = vec![mandates[0].clone(), Mandate::Payment(payment(&cart, 2000))];
    let other_cart = direct(&cart_jwt(5));
    let foreign = credential(&wallet(), &stranger());
    let membership = typed(&wallet(), &provider(), "membership");
    let withheld = own.split_once('~').unwrap().0.to_owned() + "~";
    let signs = |mandates: &[Mandate]| presented(&own, &terms(mandates), mandates, &wallet());
    let edited = |edit: fn(&mut Object)| resigned(&good(&mandates), &wallet(), edit);
    for (name, presented, code) in [
        ("another nonce", at(|terms| terms.nonce = "another"), Code::NonceMismatch),
        ("for somebody else", at(|terms| terms.audience = "origin:https://mallory.example"), Code::AudMismatch),
        ("old", at(|terms| terms.issued_at_seconds = NOW - 61), Code::KeyBindingStale),
        ("of the future", at(|terms| terms.issued_at_seconds = NOW + 1), Code::IssuedInFuture),
        ("a dearer payment", signs(&dearer), Code::DelegationChanged),
        ("another cart", signs(&other_cart), Code::DelegationChanged),
        ("one of two", signs(&mandates[..1]), Code::DelegatePayloadCount),
        ("open ones", signs(&autonomous()), Code::DelegatePayloadCount),
        ("another holder", presented(&own, &terms(&mandates), &mandates, &stranger()), Code::SignatureInvalid),
        ("another issuer", presented(&foreign, &terms(&mandates), &mandates, &wallet()), Code::SignatureInvalid),
        ("another type", presented(&membership, &terms(&mandates), &mandates, &wallet()), Code::CredentialMismatch),
        ("nothing shown", presented(&withheld, &terms(&mandates), &mandates, &wallet()), Code::CredentialMismatch),
        ("the credential alone", own.clone(), Code::MalformedJwt),
        (
            "one more digest",
            edited(|payload| {
                payload["delegate_payload"].as_array_mut().unwrap().push(json!({ "...": "A".repeat(43) }));
            }),
            Code::DelegatePayloadCount,
        ),
        (
            "hashes of something else",
            edited(|payload| {
                payload.insert("transaction_data_hashes".into(), json!(["A".repeat(43)]));
            }),
            Code::DelegationChanged,
        ),
        (
            "hashes that are none",
            edited(|payload| {
                payload.insert("transaction_data_hashes".into(), json!({}));
            }),
            Code::DelegationChanged,
        ),
        (
            "no audience",
            edited(|payload| {
                payload.remove("aud");
            }),
            Code::Schema,
        ),
        ("junk", "x~~y~".to_owned(), Code::MalformedJwt),
        ("nothing", String::new(), Code::FinalTildeMissing),
    ] {
        assert_eq!(taken(&mandates, &presented), Err(code), "{name}");
    }
}

#[test]
fn an_answer_of_another_shape_is_refused() {
    let cart = cart_jwt(1999);
    let mandates = direct(&cart);
    let token = good(&mandates);
    let trusted = keys(&provider());
    for answer in [
        json!({}),
        json!({ "data": {} }),
        json!({ "data": { "vp_token": token } }),
        json!({ "data": { "vp_token": {} } }),
        json!({ "data": { "vp_token": { "another": [token] } } }),
        json!({ "data": { "vp_token": { ID: [] } } }),
        json!({ "data": { "vp_token": { ID: [token, token] } } }),
        json!({ "data": { "vp_token": { ID: [1] } } }),
        json!({ "protocol": "openid4vp-v1-signed", "data": { "vp_token": { ID: [token] } } }),
    ] {
        let refused = asked(&mandates).take(answer.as_object().unwrap(), &taking(&trusted)).unwrap_err();
        assert_eq!(refused.code, Code::Schema, "{answer}");
    }
    for bare in [json!({ "vp_token": { ID: token } }), json!({ "data": { "vp_token": { ID: token } } })] {
        assert!(asked(&mandates).take(bare.as_object().unwrap(), &taking(&trusted)).is_ok(), "{bare}");
    }
}

#[test]
fn what_cannot_be_meant_is_not_asked_for() {
    let cart = cart_jwt(1999);
    let payment = Mandate::Payment(payment(&cart, 1999));
    let mixed = [checkout(&cart), open_payment(&agent(), Vec::new())];
    for mandates in [&[][..], &[payment.clone(), payment.clone()], &mixed] {
        assert_eq!(asked(mandates).request().unwrap_err().code, Code::DelegatePayloadCount);
    }
    let one = [payment];
    for broken in [Delegation { nonce: "", ..asked(&one) }, Delegation { credential_id: "", ..asked(&one) }] {
        assert_eq!(broken.request().unwrap_err().code, Code::Schema);
    }
}

/// The members that AP2 requires of the entry, and the entry that people see, first.
#[test]
fn the_request_carries_the_mandates() {
    let cart = cart_jwt(1999);
    let mandates = direct(&cart);
    let request = Value::Object(asked(&mandates).request().unwrap());
    let data = &request["requests"][0]["data"];
    assert_eq!(request["requests"][0]["protocol"], "openid4vp-v1-unsigned");
    assert_eq!((&data["nonce"], &data["response_mode"]), (&json!(NONCE), &json!("dc_api")));
    let formats = json!({ "dc+sd-jwt": { "sd-jwt_alg_values": ["ES256"], "kb-jwt_alg_values": ["ES256"] } });
    assert_eq!(data["client_metadata"], json!({ "vp_formats_supported": formats, "vp_formats": formats }));
    let query = &data["dcql_query"]["credentials"][0];
    assert_eq!((&query["id"], &query["format"]), (&json!(ID), &json!("dc+sd-jwt")));
    assert_eq!(query["claims"], json!([{ "path": ["card_last_four"] }]));
    let entries: Vec<Value> = data["transaction_data"].as_array().unwrap().iter().map(decoded).collect();
    assert_eq!((&entries[0]["type"], &entries[0]["amount"]), (&json!("payment_card"), &json!("USD 19.99")));
    assert_eq!((&entries[1]["type"], &entries[1]["format"]), (&json!("delegate"), &json!("dc+sd-jwt")));
    assert_eq!(entries[1]["delegate_payload"][1]["payment_amount"], json!({ "amount": 1999, "currency": "USD" }));
    assert_eq!(entries[1]["delegate_payload"][0]["checkout_jwt"], cart);
    assert_eq!(request, Value::Object(asked(&mandates).request().unwrap()), "the same bytes again");
}

fn decoded(entry: &Value) -> Value {
    serde_json::from_slice(&base64url::decode(entry.as_str().unwrap()).unwrap()).unwrap()
}

#[test]
fn each_verifier_gets_its_own_part_of_a_direct_answer() {
    let cart = cart_jwt(1999);
    let mandates = direct(&cart);
    let request = asked(&mandates).request().unwrap();
    let hashes: Vec<String> = Value::Object(request)["requests"][0]["data"]["transaction_data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| HashAlgorithm::Sha256.digest_text(entry.as_str().unwrap()))
        .collect();
    let shown = resigned(&good(&mandates), &wallet(), |payload| {
        payload.insert("transaction_data_hashes".into(), json!(hashes));
    });
    for (presented, display) in [(good(&mandates), Display::Unsigned), (shown, Display::Signed)] {
        let taken = taken(&mandates, &presented).unwrap();
        assert_eq!(taken.display, display);
        let [(first, for_merchant), (second, for_payment)] = &taken.chains[..] else { panic!("two") };
        assert_eq!((*first, *second), (Vct::ClosedCheckout, Vct::ClosedPayment));
        let (trusted, merchant_keys) = (keys(&provider()), keys(&merchant_key()));
        let purchase = Purchase::Cart { checkout_jwt: &cart, merchant_keys: &merchant_keys };
        let mut context = context(&trusted, purchase);
        context.expected = Expected::Exactly { audience: ORIGIN, nonce: NONCE };
        assert_valid(&verify(for_payment, &context));
        context.family = ExpectedFamily::Exactly(Vct::ClosedCheckout.family());
        assert_valid(&verify(for_merchant, &context));
        assert!(
            !for_payment.contains(&base64url::encode(b"checkout_jwt")),
            "the cart does not travel with the payment"
        );
    }
}

#[test]
fn what_the_holder_signed_beside_is_read_of_a_credentials_chain_alone() {
    let mandates = autonomous();
    let chains = taken(&mandates, &good(&mandates)).unwrap().chains;
    for (_, chain) in &chains {
        let consent = consent(chain).unwrap().unwrap();
        assert_eq!((consent.audience.as_str(), consent.nonce.as_str()), (ORIGIN, NONCE));
    }
    let (_, open) = &chains[1];
    let closed = hop(open, &leaf_terms(), Mandate::Payment(payment(&cart_jwt(1999), 1999)), &agent());
    assert_eq!(consent(&closed).unwrap().unwrap().nonce, NONCE, "of the wallet, not of who closed it");
    let ours = root(&mandates[1..]);
    let handed = hop(&ours, &leaf_terms(), Mandate::Payment(payment(&cart_jwt(1999), 1999)), &agent());
    for none in [credential(&wallet(), &provider()), ours, handed] {
        assert_eq!(consent(&none), Ok(None), "{none}");
    }
    for broken in ["", "a", "a~b~", "~~~~"] {
        assert!(consent(broken).is_err(), "{broken}");
    }
}

/// Open mandates of a wallet are closed by the agent like those of a provider.
#[test]
fn an_agent_pays_under_what_a_wallet_handed_it() {
    let cart = cart_jwt(1999);
    let mandates = autonomous();
    let taken = taken(&mandates, &good(&mandates)).unwrap();
    let (vct, open) = &taken.chains[1];
    assert_eq!(*vct, Vct::OpenPayment);
    let closed = Mandate::Payment(payment(&cart, 1999));
    assert_valid(&judge(&hop(open, &leaf_terms(), closed.clone(), &agent()), &cart));
    assert_refused(&judge(&hop(open, &leaf_terms(), closed, &stranger()), &cart), Code::SignatureInvalid);
    let dear = Mandate::Payment(payment(&cart_jwt(2001), 2001));
    assert_refused(&judge(&hop(open, &leaf_terms(), dear, &agent()), &cart_jwt(2001)), Code::AmountAboveMax);
}
