//! What is issued verifies, says what was put in, and names what the ledger must hold.

use mandates::constraint::Duty;
use mandates::issue::{self, Addressed, RootTerms};
use mandates::mandate::{Mandate, Vct};
use mandates::rejection::Code;
use mandates::verify::{CheckOutcome, Closed, Expected, ExpectedFamily, Purchase, Strength, verify};

use crate::cast::*;

#[test]
fn a_payment_under_an_open_mandate() {
    let cart = cart_jwt(1999);
    let verdict = judge(&paid(vec![up_to(2000), payees(&[shop(), merchant("other")])], &cart, 1999), &cart);
    assert_valid(&verdict);
    assert_eq!(verdict.strength, Strength::Bound);
    let facts = verdict.facts().unwrap();
    let closed = facts.closed.as_ref().unwrap();
    assert_eq!(closed.mandate, Closed::Payment(payment(&cart, 1999)));
    assert_eq!(closed.presentation.as_ref().unwrap().nonce, NONCE);
    assert_eq!(closed.signer, *agent().public());
    assert_eq!(closed.cart.as_ref().unwrap().total, money(1999).amount);
    assert_eq!(facts.expires_at_seconds, Some(NOW + 300));
    let duties: Vec<&Duty> = facts.obligations.iter().map(|obligation| &obligation.duty).collect();
    let nonce = Duty::Nonce { audience: AUDIENCE.to_owned(), nonce: NONCE.to_owned() };
    assert_eq!(duties, [&nonce, &Duty::SingleUse]);
    assert!(facts.obligations.iter().all(|obligation| obligation.mandate == facts.open[0].identity));
}

#[test]
fn every_hop_of_a_longer_chain_is_held() {
    let cart = cart_jwt(1999);
    let intent = root(&[open_payment(&agent(), vec![up_to(5000), payees(&[shop()])])]);
    let narrowed = |max| hop(&intent, &middle_terms(), open_payment(&sub_agent(), vec![up_to(max)]), &agent());
    let close = |chain: &str| hop(chain, &leaf_terms(), Mandate::Payment(payment(&cart, 1999)), &sub_agent());
    let verdict = judge(&close(&narrowed(2000)), &cart);
    assert_valid(&verdict);
    let open = &verdict.facts().unwrap().open;
    assert_eq!(open.iter().map(|facts| facts.segment).collect::<Vec<_>>(), [0, 1]);
    assert_ne!(open[0].identity, open[1].identity);
    assert_refused(&judge(&close(&narrowed(1998)), &cart), Code::AmountAboveMax);
    let by_the_wrong_agent = hop(&narrowed(2000), &leaf_terms(), Mandate::Payment(payment(&cart, 1999)), &agent());
    assert_refused(&judge(&by_the_wrong_agent, &cart), Code::SignatureInvalid);
}

#[test]
fn a_wider_child_gains_nothing() {
    let cart = cart_jwt(9000);
    let intent = root(&[open_payment(&agent(), vec![up_to(5000)])]);
    let widened = hop(&intent, &middle_terms(), open_payment(&sub_agent(), vec![up_to(10_000)]), &agent());
    let token = hop(&widened, &leaf_terms(), Mandate::Payment(payment(&cart, 9000)), &sub_agent());
    assert_refused(&judge(&token, &cart), Code::AmountAboveMax);
}

#[test]
fn a_direct_mandate_names_its_verifier_and_is_used_once() {
    let cart = cart_jwt(1999);
    let direct = |addressed| {
        let key = provider();
        let key_id = key.key_id();
        let terms = RootTerms {
            key_id: &key_id,
            issuer: "https://p.example",
            issued_at_seconds: NOW - 60,
            addressed,
            status: None,
        };
        let mandates = [Mandate::Payment(payment(&cart, 1999))];
        signed(issue::root(&terms, &mandates, &mut salts()).unwrap(), &key)
    };
    assert_refused(&judge(&direct(Addressed::ToNobody), &cart), Code::AudMissing);
    let elsewhere = Addressed::To { audience: "merchant", nonce: NONCE };
    assert_refused(&judge(&direct(elsewhere), &cart), Code::AudMismatch);
    let verdict = judge(&direct(Addressed::To { audience: AUDIENCE, nonce: NONCE }), &cart);
    assert_valid(&verdict);
    let facts = verdict.facts().unwrap();
    let single_use = facts.obligations.iter().find(|obligation| obligation.duty == Duty::SingleUse).unwrap();
    assert_eq!(single_use.mandate, facts.closed.as_ref().unwrap().identity);
}

#[test]
fn a_checkout_mandate_carries_the_signed_cart() {
    let cart = cart_jwt(1999);
    let intent = root(&[Mandate::Open(open(Vct::OpenCheckout, &agent(), Vec::new()))]);
    let token = hop(&intent, &leaf_terms(), checkout(&cart), &agent());
    let (trusted, merchant_keys, other_keys) = (keys(&provider()), keys(&merchant_key()), keys(&agent()));
    let judge = |purchase| {
        let mut context = context(&trusted, purchase);
        context.family = ExpectedFamily::Either;
        verify(&token, &context)
    };
    let verdict = judge(Purchase::Cart { checkout_jwt: &cart, merchant_keys: &merchant_keys });
    assert_valid(&verdict);
    assert_eq!(verdict.facts().unwrap().closed.as_ref().unwrap().cart.as_ref().unwrap().lines[0].item_id, "shoe");
    let other = cart_jwt(2000);
    let swapped = judge(Purchase::Cart { checkout_jwt: &other, merchant_keys: &merchant_keys });
    assert_refused(&swapped, Code::CheckoutNotExpected);
    let foreign = judge(Purchase::Cart { checkout_jwt: &cart, merchant_keys: &other_keys });
    assert_refused(&foreign, Code::MerchantKeyUnknown);
    let hash = mandates::cart::hash(&cart, Default::default());
    let unkeyed = judge(Purchase::TransactionId(&hash));
    assert_refused(&unkeyed, Code::MerchantKeyUnknown);
    let alone = judge(Purchase::OnItsOwn);
    assert_valid(&alone);
    assert_eq!(alone.strength, Strength::OnItsOwn);
}

#[test]
fn an_open_mandate_is_valid_only_on_its_own() {
    let intent = root(&[open_payment(&agent(), vec![up_to(5000)])]);
    let trusted = keys(&provider());
    let mut context = context(&trusted, Purchase::OnItsOwn);
    assert_refused(&verify(&intent, &context), Code::AudMissing);
    context.expected = Expected::OnItsOwn;
    let verdict = verify(&intent, &context);
    assert_valid(&verdict);
    assert_eq!(verdict.strength, Strength::OnItsOwn);
    assert_eq!(verdict.facts().unwrap().closed, None);
}

#[test]
fn a_verdict_lists_every_check_in_order() {
    let cart = cart_jwt(1999);
    let token = paid(vec![up_to(2000)], &cart, 1999);
    let valid = judge(&token, &cart);
    let names = |verdict: &mandates::verify::Verdict| -> Vec<&'static str> {
        verdict.checks.iter().map(|check| check.name).collect()
    };
    assert!(valid.checks.iter().all(|check| check.outcome != CheckOutcome::NotReached));
    let refused = judge(&token, &cart_jwt(2000));
    assert_refused(&refused, Code::TransactionIdMismatch);
    assert_eq!(names(&refused), names(&valid), "a refusal lists what it did not reach");
    let failed: Vec<_> = refused.checks.iter().filter(|check| check.outcome == CheckOutcome::Failed).collect();
    assert_eq!(failed.len(), 1);
    let behind = refused.checks.iter().skip_while(|check| check.outcome != CheckOutcome::Failed).skip(1);
    assert!(behind.clone().count() >= 5);
    assert!(behind.into_iter().all(|check| check.outcome == CheckOutcome::NotReached));
    let garbage = judge("garbage", &cart);
    assert_eq!(garbage.checks[0].outcome, CheckOutcome::Failed);
    assert_eq!(garbage.to_json()["error"], "invalid_credential");
}
