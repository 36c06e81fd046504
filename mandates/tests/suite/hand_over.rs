//! One root for both families: the agent gets all of it, each verifier its own part.

use mandates::issue;
use mandates::mandate::{Mandate, Vct};
use mandates::rejection::Code;
use mandates::verify::{Expected, ExpectedFamily, Purchase, verify};

use crate::cast::*;

fn both() -> String {
    root(&[
        Mandate::Open(open(Vct::OpenCheckout, &agent(), Vec::new())),
        open_payment(&agent(), vec![up_to(2000), payees(&[shop(), merchant("other")])]),
    ])
}

#[test]
fn both_at_once_are_no_mandate() {
    let trusted = keys(&provider());
    let mut context = context(&trusted, Purchase::OnItsOwn);
    context.expected = Expected::OnItsOwn;
    context.family = ExpectedFamily::Either;
    assert_refused(&verify(&both(), &context), Code::DelegatePayloadCount);
}

#[test]
fn each_verifier_gets_its_own() {
    let trusted = keys(&provider());
    let mut context = context(&trusted, Purchase::OnItsOwn);
    context.expected = Expected::OnItsOwn;
    context.family = ExpectedFamily::Either;
    let mut identities = Vec::new();
    for vct in [Vct::OpenCheckout, Vct::OpenPayment] {
        let only = issue::present_only(&both(), vct).unwrap();
        let verdict = verify(&only, &context);
        assert_valid(&verdict);
        let open = &verdict.facts().unwrap().open;
        assert_eq!(open[0].mandate.vct, vct);
        identities.push(open[0].identity);
    }
    assert_ne!(identities[0], identities[1], "two mandates of one signature have two names");
    let checkout_only = issue::present_only(&both(), Vct::OpenCheckout).unwrap();
    assert!(!checkout_only.contains(&mandates::base64url::encode(b"other")));
    assert_eq!(checkout_only.matches('~').count(), 2, "the payment's payees do not travel with the checkout");
}

#[test]
fn a_payment_closes_its_own_part() {
    let cart = cart_jwt(1999);
    let only = issue::present_only(&both(), Vct::OpenPayment).unwrap();
    let token = hop(&only, &leaf_terms(), Mandate::Payment(payment(&cart, 1999)), &agent());
    assert_valid(&judge(&token, &cart));
}

#[test]
fn what_is_not_there_cannot_be_presented() {
    let intent = root(&[open_payment(&agent(), vec![up_to(1)])]);
    for vct in [Vct::OpenCheckout, Vct::ClosedPayment, Vct::ClosedCheckout] {
        assert_eq!(issue::present_only(&intent, vct).unwrap_err().code, Code::DelegatePayloadCount);
    }
    assert_eq!(issue::present_only("x", Vct::OpenPayment).unwrap_err().code, Code::FinalTildeMissing);
}

/// Whether any disclosure of the chain names this merchant.
fn shows(chain: &str, id: &str) -> bool {
    let named = format!("\"id\":\"{id}\"");
    let texts = chain.split('~').filter_map(mandates::base64url::decode);
    texts.filter_map(|bytes| String::from_utf8(bytes).ok()).any(|text| text.contains(&named))
}

#[test]
fn only_the_merchant_at_hand_is_shown() {
    let cart = cart_jwt(1999);
    let several = [merchant("first"), shop(), merchant("last")];
    let open = root(&[open_payment(&agent(), vec![up_to(2000), payees(&several)])]);
    let thin = issue::present_only_merchant(&open, &shop()).unwrap();
    let closed = Mandate::Payment(payment(&cart, 1999));
    assert_valid(&judge(&hop(&thin, &leaf_terms(), closed.clone(), &agent()), &cart));
    let ids = |chain: &str| ["first", shop().id.as_str(), "last"].map(|id| shows(chain, id));
    assert_eq!((ids(&open), ids(&thin)), ([true; 3], [false, true, false]));
    let names = [&open, &thin].map(|chain| {
        let trusted = keys(&provider());
        let mut context = context(&trusted, Purchase::OnItsOwn);
        (context.expected, context.family) = (Expected::OnItsOwn, ExpectedFamily::Either);
        verify(chain, &context).facts().unwrap().open[0].identity
    });
    assert_eq!(names[0], names[1], "the same mandate, with less shown of it");

    // Whom the list does not have is not paid, whatever is shown; and nothing is taken away for them.
    let stranger = issue::present_only_merchant(&open, &merchant("stranger")).unwrap();
    assert_eq!(stranger, open);
    let others = root(&[open_payment(&agent(), vec![up_to(2000), payees(&[merchant("first")])])]);
    let thin = issue::present_only_merchant(&others, &shop()).unwrap();
    assert_refused(&judge(&hop(&thin, &leaf_terms(), closed.clone(), &agent()), &cart), Code::PayeeNotAllowed);
    // What a hop froze stays as it is.
    let handed = hop(&open, &middle_terms(), open_payment(&sub_agent(), vec![up_to(2000), payees(&several)]), &agent());
    let thin = issue::present_only_merchant(&handed, &shop()).unwrap();
    assert_eq!(thin.split("~~").next(), handed.split("~~").next());
    assert_valid(&judge(&hop(&thin, &leaf_terms(), closed, &sub_agent()), &cart));
    assert_eq!(issue::present_only_merchant("x", &shop()).unwrap_err().code, Code::FinalTildeMissing);
}

#[test]
fn issuing_refuses_what_would_not_verify() {
    let cart = cart_jwt(1999);
    let intent = root(&[open_payment(&agent(), vec![up_to(2000)])]);
    let refused = |previous: &str, terms: &issue::HopTerms<'_>, mandates: &[Mandate]| {
        issue::hop(previous, terms, mandates, &mut salts()).unwrap_err().code
    };
    let closed = || Mandate::Payment(payment(&cart, 1999));
    assert_eq!(refused(&intent, &leaf_terms(), &[open_payment(&agent(), Vec::new())]), Code::LeafNotClosed);
    assert_eq!(refused(&intent, &middle_terms(), &[closed()]), Code::NonleafNotOpen);
    assert_eq!(refused(&intent, &leaf_terms(), &[checkout(&cart)]), Code::FamilyMixed);
    assert_eq!(refused(&intent, &leaf_terms(), &[]), Code::DelegatePayloadCount);
    assert_eq!(refused(&intent, &leaf_terms(), &[closed(), closed()]), Code::DelegatePayloadCount);
    assert_eq!(refused(&both(), &leaf_terms(), &[closed()]), Code::DelegatePayloadCount);
    let leaf = hop(&intent, &leaf_terms(), closed(), &agent());
    assert_eq!(refused(&leaf, &leaf_terms(), &[closed()]), Code::CnfMissing);
    assert_eq!(refused("", &leaf_terms(), &[closed()]), Code::FinalTildeMissing);
}

/// What an agent gets from another: a chain that ends open. It verifies on its own, and for nobody in particular.
#[test]
fn what_was_handed_on_is_looked_at_and_not_paid_on() {
    let cart = cart_jwt(1999);
    let intent = root(&[open_payment(&agent(), vec![up_to(2000)])]);
    let child = || open_payment(&sub_agent(), vec![up_to(1000)]);
    let unsigned = issue::hop(&intent, &middle_terms(), &[child()], &mut salts()).unwrap();
    let name = issue::identity(&unsigned).unwrap();
    let chain = signed(unsigned.clone(), &agent());
    let trusted = keys(&provider());
    let mut context = context(&trusted, Purchase::OnItsOwn);
    assert_refused(&verify(&chain, &context), Code::TypWrong);
    context.expected = Expected::OnItsOwn;
    assert_refused(&verify(&signed(unsigned.clone(), &stranger()), &context), Code::SignatureInvalid);
    let closed = signed(issue::hop(&intent, &middle_terms(), &[child()], &mut salts()).unwrap(), &sub_agent());
    assert_refused(&verify(&closed, &context), Code::SignatureInvalid);
    let leaf = hop(&intent, &leaf_terms(), Mandate::Payment(payment(&cart, 1999)), &agent());
    let as_middle = leaf.replace(&header_of("kb+sd-jwt"), &header_of("kb+sd-jwt+kb"));
    assert_ne!(as_middle, leaf);
    assert_refused(&verify(&as_middle, &context), Code::TypWrong);
    for again in [chain, signed(unsigned, &agent())] {
        let verdict = verify(&again, &context);
        assert_valid(&verdict);
        let facts = verdict.facts().unwrap();
        assert!(facts.closed.is_none() && facts.open.len() == 2);
        assert_eq!(facts.open[1].identity, name, "whatever the signature");
    }
}

/// The header of a hop, as it is written.
fn header_of(typ: &str) -> String {
    mandates::base64url::encode(format!(r#"{{"alg":"ES256","typ":"{typ}"}}"#).as_bytes())
}
