//! Who plays in these tests, and what they sign.

use ledger::money::Amount;
use mandates::cart;
use mandates::chain::Position;
use mandates::checkout::ClosedCheckout;
use mandates::clock::Clock;
use mandates::constraint::{AllowedPayees, AmountRange, Constraint, OpenCheckout, Written};
use mandates::currency::Currency;
use mandates::digest::HashAlgorithm;
use mandates::issue::{self, Addressed, HopTerms, RootTerms, Salt};
use mandates::json::{self, Object};
use mandates::jws::Unsigned;
use mandates::keys::{KeyId, KeySet, LocalKey};
use mandates::mandate::{Family, Mandate, Open, Vct};
use mandates::party::{Instrument, Merchant, Money};
use mandates::payment::ClosedPayment;
use mandates::rejection::Code;
use mandates::verify::{Context, Expected, ExpectedFamily, Nonces, Purchase, Revoked, Usage, Verdict, verify};

pub const NOW: i64 = 1_800_000_000;
pub const AUDIENCE: &str = "credential-provider";
pub const NONCE: &str = "nonce-1";

pub fn key(name: &str, seed: u8) -> LocalKey {
    LocalKey::from_random(&[seed; 32]).unwrap().named(KeyId::new(name))
}

pub fn provider() -> LocalKey {
    key("provider", 1)
}

pub fn agent() -> LocalKey {
    key("agent", 2)
}

pub fn sub_agent() -> LocalKey {
    key("sub-agent", 3)
}

pub fn merchant_key() -> LocalKey {
    key("merchant", 4)
}

pub fn stranger() -> LocalKey {
    key("provider", 5)
}

pub fn keys(key: &LocalKey) -> KeySet {
    KeySet::new([key.public().clone()]).unwrap()
}

/// Salts that never repeat.
pub fn salts() -> impl FnMut() -> Salt {
    let mut count = 0_u8;
    move || {
        count = count.checked_add(1).unwrap();
        [count; 16]
    }
}

pub fn signed(unsigned: Unsigned, key: &LocalKey) -> String {
    let signature = key.sign(unsigned.signing_input()).unwrap();
    unsigned.finish(signature)
}

pub fn usd() -> Currency {
    Currency::new("USD").unwrap()
}

pub fn money(amount: u128) -> Money {
    Money { amount: Amount::new(amount), currency: usd() }
}

pub fn shop() -> Merchant {
    merchant("shop")
}

pub fn merchant(id: &str) -> Merchant {
    Merchant { id: id.to_owned(), name: format!("The {id}"), website: Some(format!("https://{id}.example")) }
}

pub fn up_to(max: u128) -> Constraint {
    Constraint::AmountRange(AmountRange { currency: usd(), max: Amount::new(max), min: None })
}

pub fn payees(allowed: &[Merchant]) -> Constraint {
    Constraint::AllowedPayees(AllowedPayees { allowed: allowed.to_vec() })
}

pub fn open(vct: Vct, holder: &LocalKey, constraints: Vec<Constraint>) -> Open {
    Open {
        vct,
        constraints: constraints.into_iter().map(Written::from).collect(),
        holder: holder.public().clone(),
        presets: Object::new(),
        issued_at_seconds: Some(NOW - 60),
        not_before_seconds: None,
        expires_at_seconds: Some(NOW + 3600),
    }
}

pub fn open_payment(holder: &LocalKey, constraints: Vec<Constraint>) -> Mandate {
    Mandate::Open(open(Vct::OpenPayment, holder, constraints))
}

pub fn cart_claims(total: u128) -> Object {
    let text = format!(
        r#"{{"id":"chk_1","merchant":{{"id":"shop","name":"The shop","website":"https://shop.example"}},
            "line_items":[{{"id":"l1","item":{{"id":"shoe","title":"Shoe","price":{total}}},"quantity":1,
                "totals":[{{"type":"subtotal","amount":{total}}},{{"type":"total","amount":{total}}}]}}],
            "status":"ready_for_complete","currency":"USD",
            "totals":[{{"type":"subtotal","amount":{total}}},{{"type":"total","amount":{total}}}],
            "links":[],"iat":{},"exp":{}}}"#,
        NOW - 30,
        NOW + 600
    );
    json::parse_object(text.as_bytes()).unwrap()
}

pub fn cart_jwt(total: u128) -> String {
    sign_cart(&cart_claims(total))
}

pub fn sign_cart(claims: &Object) -> String {
    let key = merchant_key();
    signed(cart::unsigned(claims, &key.key_id()).unwrap(), &key)
}

pub fn payment(cart: &str, amount: u128) -> ClosedPayment {
    ClosedPayment {
        transaction_id: cart::hash(cart, HashAlgorithm::Sha256),
        payee: shop(),
        payment_amount: money(amount),
        payment_instrument: Instrument {
            id: "pi-1".to_owned(),
            kind: "card".to_owned(),
            description: None,
            details: Object::new(),
        },
        pisp: None,
        execution_date: None,
        risk_data: None,
        issued_at_seconds: Some(NOW - 10),
        expires_at_seconds: Some(NOW + 300),
        others: Object::new(),
    }
}

pub fn checkout(cart: &str) -> Mandate {
    Mandate::Checkout(ClosedCheckout {
        checkout_jwt: cart.to_owned(),
        checkout_hash: cart::hash(cart, HashAlgorithm::Sha256),
        issued_at_seconds: None,
        expires_at_seconds: None,
        others: Object::new(),
    })
}

pub fn root(mandates: &[Mandate]) -> String {
    let key = provider();
    signed(root_unsigned(mandates, &key.key_id()), &key)
}

pub fn root_unsigned(mandates: &[Mandate], key_id: &KeyId) -> Unsigned {
    let terms = RootTerms {
        key_id,
        issuer: "https://p.example",
        issued_at_seconds: NOW - 60,
        addressed: Addressed::ToNobody,
        status: None,
    };
    issue::root(&terms, mandates, &mut salts()).unwrap()
}

pub fn leaf_terms() -> HopTerms<'static> {
    HopTerms { position: Position::Leaf, audience: AUDIENCE, nonce: NONCE, issued_at_seconds: NOW - 5 }
}

pub fn middle_terms() -> HopTerms<'static> {
    HopTerms { position: Position::Middle, audience: "sub-agent", nonce: "hop-1", issued_at_seconds: NOW - 20 }
}

pub fn hop(previous: &str, terms: &HopTerms<'_>, mandate: Mandate, key: &LocalKey) -> String {
    signed(issue::hop(previous, terms, &[mandate], &mut salts()).unwrap(), key)
}

/// An agent's payment of a cart under one open mandate.
pub fn paid(constraints: Vec<Constraint>, cart: &str, amount: u128) -> String {
    let intent = root(&[open_payment(&agent(), constraints)]);
    hop(&intent, &leaf_terms(), Mandate::Payment(payment(cart, amount)), &agent())
}

/// The strictest context that the standard chain passes.
pub fn context<'a>(trusted: &'a KeySet, purchase: Purchase<'a>) -> Context<'a> {
    Context {
        clock: Clock { now_seconds: NOW, skew_seconds: 0 },
        trusted,
        family: ExpectedFamily::Exactly(Family::Payment),
        expected: Expected::Exactly { audience: AUDIENCE, nonce: NONCE },
        leaf_age_seconds_max: 60,
        purchase,
        open_checkout: OpenCheckout::Unknown,
        usage: Usage::Unknown,
        nonces: Nonces::LeftToState,
        revoked: Revoked::LeftToState,
    }
}

/// Verifies a payment of `cart` in the strictest context.
pub fn judge(token: &str, cart: &str) -> Verdict {
    let (trusted, merchant_keys) = (keys(&provider()), keys(&merchant_key()));
    verify(token, &context(&trusted, Purchase::Cart { checkout_jwt: cart, merchant_keys: &merchant_keys }))
}

#[track_caller]
pub fn assert_refused(verdict: &Verdict, code: Code) {
    let came = verdict.rejection().map(|refused| (refused.code, refused.message.as_str()));
    assert_eq!(came.map(|(code, _)| code), Some(code), "{came:?}");
}

#[track_caller]
pub fn assert_valid(verdict: &Verdict) {
    assert_eq!(verdict.rejection(), None);
}
