//! The same token in other contexts: what the verifier knows decides.

use std::collections::{BTreeMap, BTreeSet};

use ledger::money::Amount;
use mandates::cart;
use mandates::constraint::Used;
use mandates::json::Object;
use mandates::mandate::{Family, Mandate};
use mandates::payment::ClosedPayment;
use mandates::rejection::{Ap2Error, Code};
use mandates::verify::{
    Check, CheckOutcome, Context, Expected, ExpectedFamily, Nonces, Purchase, Revoked, Strength, Usage, verify,
};

use crate::cast::*;

/// The standard payment in the strictest context, changed.
fn judged(change: impl FnOnce(&mut Context<'_>)) -> mandates::verify::Verdict {
    let cart = cart_jwt(1999);
    let token = paid(vec![up_to(2000)], &cart, 1999);
    let (trusted, merchant_keys) = (keys(&provider()), keys(&merchant_key()));
    let mut context = context(&trusted, Purchase::Cart { checkout_jwt: &cart, merchant_keys: &merchant_keys });
    change(&mut context);
    verify(&token, &context)
}

#[test]
fn it_is_for_this_verifier_now() {
    let exactly = |audience, nonce| Expected::Exactly { audience, nonce };
    assert_valid(&judged(|_| {}));
    assert_refused(&judged(|c| c.expected = exactly("merchant", NONCE)), Code::AudMismatch);
    assert_refused(&judged(|c| c.expected = exactly("Credential-Provider", NONCE)), Code::AudMismatch);
    assert_refused(&judged(|c| c.expected = exactly(AUDIENCE, "nonce-2")), Code::NonceMismatch);
    assert_refused(&judged(|c| c.expected = exactly(AUDIENCE, "")), Code::NonceMismatch);
    assert_refused(&judged(|c| c.family = ExpectedFamily::Exactly(Family::Checkout)), Code::FamilyUnexpected);
    assert_refused(&judged(|c| c.clock.now_seconds = NOW + 300), Code::Expired);
    assert_refused(&judged(|c| c.clock.now_seconds = NOW + 56), Code::LeafStale);
    assert_valid(&judged(|c| c.clock.now_seconds = NOW + 55));
    assert_refused(&judged(|c| c.clock.now_seconds = NOW - 61), Code::IssuedInFuture);
    assert_refused(&judged(|c| c.leaf_age_seconds_max = 4), Code::LeafStale);
    assert_refused(&judged(|c| c.clock.now_seconds = i64::MAX), Code::Expired);
    assert_refused(&judged(|c| c.clock.now_seconds = i64::MIN), Code::IssuedInFuture);
}

#[test]
fn it_is_signed_below_a_trusted_root() {
    let none = mandates::keys::KeySet::default();
    let cart = cart_jwt(1999);
    let token = paid(vec![up_to(2000)], &cart, 1999);
    let purchase = Purchase::TransactionId("x");
    assert_refused(&verify(&token, &context(&none, purchase)), Code::UnknownKid);
    let impostor = keys(&stranger());
    assert_refused(&verify(&token, &context(&impostor, purchase)), Code::SignatureInvalid);
    let agents = keys(&agent());
    assert_refused(&verify(&token, &context(&agents, purchase)), Code::UnknownKid);
}

#[test]
fn it_is_for_this_purchase() {
    let cart = cart_jwt(1999);
    let hash = cart::hash(&cart, Default::default());
    let merchant_keys = keys(&merchant_key());
    let other_cart = cart_jwt(1998);
    let trusted = keys(&provider());
    let token = paid(vec![up_to(2000)], &cart, 1999);
    let judge = |purchase| verify(&token, &context(&trusted, purchase));
    assert_refused(&judge(Purchase::TransactionId("")), Code::TransactionIdMismatch);
    assert_refused(&judge(Purchase::TransactionId(&hash[1..])), Code::TransactionIdMismatch);
    let other = Purchase::Cart { checkout_jwt: &other_cart, merchant_keys: &merchant_keys };
    assert_refused(&judge(other), Code::TransactionIdMismatch);
    let hash_only = judge(Purchase::CheckoutHash { hash: &hash, merchant_keys: &merchant_keys });
    assert_valid(&hash_only);
    assert_eq!(hash_only.strength, Strength::Bound);
    let alone = judge(Purchase::OnItsOwn);
    assert_valid(&alone);
    assert_eq!(alone.strength, Strength::OnItsOwn);
}

/// A payment of a cart that says something else, both signed by who should.
fn disagreeing(change_cart: impl Fn(&mut Object), change: impl Fn(&mut ClosedPayment)) -> Code {
    let mut claims = cart_claims(1999);
    change_cart(&mut claims);
    let cart = sign_cart(&claims);
    let mut closed = payment(&cart, 1999);
    change(&mut closed);
    let intent = root(&[open_payment(&agent(), Vec::new())]);
    let token = hop(&intent, &leaf_terms(), Mandate::Payment(closed), &agent());
    judge(&token, &cart).rejection().unwrap().code
}

#[test]
fn the_payment_is_the_carts() {
    assert_eq!(disagreeing(|_| {}, |p| p.payment_amount.amount = Amount::new(1998)), Code::PaymentNotCheckoutTotal);
    assert_eq!(disagreeing(|_| {}, |p| p.payment_amount.amount = Amount::new(2000)), Code::PaymentNotCheckoutTotal);
    assert_eq!(
        disagreeing(|c| drop(c.insert("currency".into(), "EUR".into())), |_| {}),
        Code::PaymentNotCheckoutCurrency
    );
    assert_eq!(disagreeing(|_| {}, |p| p.payee = merchant("other")), Code::PaymentNotCheckoutMerchant);
    assert_eq!(disagreeing(|c| drop(c.remove("merchant")), |_| {}), Code::MerchantMissing);
    assert_eq!(disagreeing(|c| drop(c.insert("exp".into(), NOW.into())), |_| {}), Code::CheckoutExpired);
    let past = "2020-01-01T00:00:00Z";
    assert_eq!(disagreeing(|c| drop(c.insert("expires_at".into(), past.into())), |_| {}), Code::CheckoutExpired);
}

#[test]
fn usage_replay_and_revocation_are_asked_where_known() {
    let used = |uses| Used { total: Amount::new(0), uses, last_used_at_seconds: None };
    assert_refused(&judged(|c| c.usage = Usage::OfEach(used(1))), Code::MandateAlreadyUsed);
    let first = judged(|c| c.usage = Usage::OfEach(used(0)));
    assert_valid(&first);
    let identity = first.facts().unwrap().open[0].identity;
    assert_refused(
        &judged(|c| c.usage = Usage::ByMandate(BTreeMap::from([(identity, used(1))]))),
        Code::MandateAlreadyUsed,
    );
    assert_valid(&judged(|c| c.usage = Usage::ByMandate(BTreeMap::new())));
    let consumed = [NONCE.to_owned()];
    let others = ["other".to_owned()];
    let replay = |nonces| {
        let cart = cart_jwt(1999);
        let token = paid(vec![up_to(2000)], &cart, 1999);
        let (trusted, merchant_keys) = (keys(&provider()), keys(&merchant_key()));
        let mut context = context(&trusted, Purchase::Cart { checkout_jwt: &cart, merchant_keys: &merchant_keys });
        context.nonces = nonces;
        verify(&token, &context)
    };
    assert_refused(&replay(Nonces::Consumed(&consumed)), Code::Replayed);
    assert_valid(&replay(Nonces::Consumed(&others)));
    let revoked = BTreeSet::from([identity]);
    let revoke = |revoked| {
        let cart = cart_jwt(1999);
        let token = paid(vec![up_to(2000)], &cart, 1999);
        let trusted = keys(&provider());
        let hash = cart::hash(&cart, Default::default());
        let mut context = context(&trusted, Purchase::TransactionId(&hash));
        context.revoked = revoked;
        verify(&token, &context)
    };
    assert_refused(&revoke(Revoked::Among(&revoked)), Code::Revoked);
    assert_valid(&revoke(Revoked::Among(&BTreeSet::new())));
}

#[test]
fn what_is_left_to_the_ledger_is_marked_so() {
    let verdict = judged(|_| {});
    let left: Vec<&str> = verdict
        .checks
        .iter()
        .filter(|check: &&Check| check.outcome == CheckOutcome::LeftToState)
        .map(|check| check.name)
        .collect();
    assert_eq!(left, ["nonce_unused", "not_revoked", "usage"]);
}

#[test]
fn presets_are_repeated_unchanged() {
    let cart = cart_jwt(1999);
    let with_preset = |name: &str, value: serde_json::Value| {
        let mut mandate = open(mandates::mandate::Vct::OpenPayment, &agent(), Vec::new());
        mandate.presets.insert(name.to_owned(), value);
        let intent = root(&[Mandate::Open(mandate)]);
        judge(&hop(&intent, &leaf_terms(), Mandate::Payment(payment(&cart, 1999)), &agent()), &cart)
    };
    let other = || serde_json::json!({"id": "pi-2", "type": "card"});
    for (name, value) in [
        ("payment_instrument", other()),
        ("payment_amount", money(1998).claims().into()),
        ("payee", merchant("other").claims().into()),
        ("risk_data", serde_json::json!({"a": 1})),
        ("made_up", serde_json::json!("x")),
        ("execution_date", "2030-01-01T00:00:00Z".into()),
    ] {
        let verdict = with_preset(name, value);
        assert_refused(&verdict, Code::PresetClaimChanged);
        assert_eq!(verdict.ap2_error(), Some(Ap2Error::InvalidMandate));
        assert_eq!(verdict.rejection().unwrap().field.as_deref(), Some(name));
    }
    assert_refused(
        &with_preset("payment_amount", serde_json::json!({"amount": "1999", "currency": "USD"})),
        Code::Schema,
    );
    assert_valid(&with_preset("payment_amount", money(1999).claims().into()));
    assert_valid(&with_preset("payee", shop().claims().into()));
}
