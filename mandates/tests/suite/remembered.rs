//! A root that is remembered never makes an invalid chain valid: whatever changes after it was warmed, the verdict is the
//! one that a verifier without memory gives, check by check.

use std::collections::BTreeSet;
use std::sync::Arc;

use ledger::money::Amount;
use mandates::constraint::Used;
use mandates::issue;
use mandates::keys::{KeyId, KeySet, LocalKey};
use mandates::mandate::{Family, Mandate, Vct};
use mandates::rejection::Code;
use mandates::trust::{Root, RootKeys, Scope, Trust};
use mandates::verify::{
    Context, Expected, ExpectedFamily, Nonces, Purchase, Revoked, RootMemory, Usage, Verdict, verify,
    verify_remembering,
};

use crate::cast::{
    agent, assert_refused, assert_valid, cart_jwt, context, hop, key, keys, leaf_terms, merchant, merchant_key, open,
    open_payment, payees, payment, provider, root, salts, shop, signed, stranger, up_to,
};

/// A warmed memory, the chain that warmed it, and its cart.
struct Warm {
    memory: RootMemory,
    token: String,
    cart: String,
    merchant_keys: KeySet,
}

impl Warm {
    fn up() -> Self {
        let cart = cart_jwt(1999);
        let token = crate::cast::paid(vec![up_to(2000), payees(&[shop(), merchant("other")])], &cart, 1999);
        let warm = Self { memory: RootMemory::default(), token, cart, merchant_keys: keys(&merchant_key()) };
        let trusted = keys(&provider());
        assert_valid(&warm.judge(&warm.token, &warm.context(&trusted)));
        assert_eq!(warm.memory.len(), 1, "it is warm");
        assert_valid(&warm.judge(&warm.token, &warm.context(&trusted)));
        warm
    }

    fn context<'a>(&'a self, trusted: &'a KeySet) -> Context<'a> {
        context(trusted, Purchase::Cart { checkout_jwt: &self.cart, merchant_keys: &self.merchant_keys })
    }

    /// With memory, and held to what comes without it.
    #[track_caller]
    fn judge(&self, token: &str, context: &Context<'_>) -> Verdict {
        let verdict = verify_remembering(token, context, &self.memory);
        assert_eq!(verdict, verify(token, context), "the memory changes nothing");
        verdict
    }
}

#[test]
fn no_changed_byte_is_forgiven() {
    let warm = Warm::up();
    let trusted = keys(&provider());
    let context = warm.context(&trusted);
    let mut refused = 0;
    for at in (0..warm.token.len()).step_by(7) {
        for other in ["A", "B", "~", "."] {
            if &warm.token[at..=at] == other {
                continue;
            }
            let changed = format!("{}{other}{}", &warm.token[..at], &warm.token[at + 1..]);
            assert!(!warm.judge(&changed, &context).is_valid(), "{other} at {at}");
            refused += 1;
        }
    }
    assert!(refused > 1_000, "{refused} changes");
    assert_eq!(warm.memory.len(), 1, "nothing that was refused is remembered");
}

#[test]
fn the_key_is_asked_for_again() {
    let warm = Warm::up();
    for (trusted, code) in [
        (KeySet::default(), Code::UnknownKid),
        (keys(&stranger()), Code::SignatureInvalid),
        (keys(&key("another", 1)), Code::UnknownKid),
        (keys(&key("provider", 9)), Code::SignatureInvalid),
    ] {
        assert_refused(&warm.judge(&warm.token, &warm.context(&trusted)), code);
    }
    let trusted = keys(&provider());
    assert_valid(&warm.judge(&warm.token, &warm.context(&trusted)));
    assert_eq!(warm.memory.len(), 1);
}

#[test]
fn what_the_key_is_trusted_for_is_asked_again() {
    let warm = Warm::up();
    let none = KeySet::default();
    let trust = |mandates: &[Vct], issuer: &str| {
        let scope =
            Scope { mandates: mandates.iter().copied().collect(), issuers: Some(BTreeSet::from([issuer.to_owned()])) };
        let keys = RootKeys::Set(Arc::new(keys(&provider())));
        Trust::new([Root { name: "one".to_owned(), keys, scope }]).unwrap()
    };
    for (trust, code) in [
        (trust(&[Vct::OpenCheckout], "https://p.example"), Some(Code::RootOutOfScope)),
        (trust(&[Vct::ClosedPayment], "https://p.example"), Some(Code::RootOutOfScope)),
        (trust(&[Vct::OpenPayment], "https://q.example"), Some(Code::RootIssuerMismatch)),
        (Trust::default(), Some(Code::UnknownKid)),
        (trust(&[Vct::OpenPayment], "https://p.example"), None),
    ] {
        let mut context = warm.context(&none);
        context.trusted = &trust;
        assert_eq!(warm.judge(&warm.token, &context).rejection().map(|refused| refused.code), code);
    }
}

type Change<'a> = &'a dyn Fn(&mut Context<'_>);

#[test]
fn times_and_state_are_judged_again() {
    let warm = Warm::up();
    let trusted = keys(&provider());
    let ours = warm.judge(&warm.token, &warm.context(&trusted));
    let identity = ours.facts().unwrap().open[0].identity;
    let (consumed, revoked) = (["nonce-1".to_owned()], BTreeSet::from([identity]));
    let used = Used { total: Amount::new(1), uses: 1, last_used_at_seconds: None };
    let changes: [(Change<'_>, Code); 9] = [
        (&|context| context.clock.now_seconds += 3_600, Code::Expired),
        (&|context| context.clock.now_seconds += 100, Code::LeafStale),
        (&|context| context.clock.now_seconds -= 61, Code::IssuedInFuture),
        (&|context| context.expected = Expected::Exactly { audience: "another", nonce: "nonce-1" }, Code::AudMismatch),
        (
            &|context| context.expected = Expected::Exactly { audience: "credential-provider", nonce: "nonce-2" },
            Code::NonceMismatch,
        ),
        (&|context| context.purchase = Purchase::TransactionId("another"), Code::TransactionIdMismatch),
        (&|context| context.usage = Usage::OfEach(used), Code::MandateAlreadyUsed),
        (&|context| context.family = ExpectedFamily::Exactly(Family::Checkout), Code::FamilyUnexpected),
        (&|context| context.leaf_age_seconds_max = 4, Code::LeafStale),
    ];
    for (change, code) in changes {
        let mut context = warm.context(&trusted);
        change(&mut context);
        assert_refused(&warm.judge(&warm.token, &context), code);
    }
    let replayed = Context { nonces: Nonces::Consumed(&consumed), ..warm.context(&trusted) };
    assert_refused(&warm.judge(&warm.token, &replayed), Code::Replayed);
    let revoked = Context { revoked: Revoked::Among(&revoked), ..warm.context(&trusted) };
    assert_refused(&warm.judge(&warm.token, &revoked), Code::Revoked);
}

/// The same root with less of it shown is another entry, and is judged by what it shows.
#[test]
fn another_selection_of_disclosures_is_another_root() {
    let warm = Warm::up();
    let trusted = keys(&provider());
    let (intent, _) = warm.token.split_once("~~").unwrap();
    let parts: Vec<&str> = intent.split('~').collect();
    assert_eq!(parts.len(), 4, "the JWT, two payees, the mandate");
    let without = |left_out: &[usize]| {
        let kept = parts.iter().enumerate().filter(|(index, _)| !left_out.contains(index)).map(|(_, part)| *part);
        format!("{}~", kept.collect::<Vec<_>>().join("~"))
    };
    let close = |intent: &str| hop(intent, &leaf_terms(), Mandate::Payment(payment(&warm.cart, 1999)), &agent());
    assert_refused(&warm.judge(&close(&without(&[1])), &warm.context(&trusted)), Code::PayeeNotAllowed);
    assert_refused(&warm.judge(&close(&without(&[1, 2])), &warm.context(&trusted)), Code::PayeeNotAllowed);
    assert_valid(&warm.judge(&close(&without(&[2])), &warm.context(&trusted)));
    let kept = warm.memory.len();
    assert_eq!(kept, 4);
    // The leaf of the whole root behind a thinner one that is remembered, too.
    let (_, leaf) = warm.token.split_once("~~").unwrap();
    let spliced = format!("{}~{leaf}", without(&[2]));
    assert_refused(&warm.judge(&spliced, &warm.context(&trusted)), Code::SdHashMismatch);
    let twice = format!("{intent}~{}~~{leaf}", parts[1]);
    assert_refused(&warm.judge(&twice, &warm.context(&trusted)), Code::DuplicateDisclosure);
    assert_eq!(warm.memory.len(), kept);
}

/// A root that is valid as one of a chain is not for that a direct mandate, nor the other way round.
#[test]
fn where_a_root_stands_is_judged_again() {
    let warm = Warm::up();
    let trusted = keys(&provider());
    let (intent, _) = warm.token.split_once("~~").unwrap();
    let alone = format!("{intent}~");
    assert_refused(&warm.judge(&alone, &warm.context(&trusted)), Code::AudMissing);
    let mut context = warm.context(&trusted);
    (context.expected, context.purchase) = (Expected::OnItsOwn, Purchase::OnItsOwn);
    assert_valid(&warm.judge(&alone, &context));
    let direct = root(&[Mandate::Payment(payment(&warm.cart, 1999))]);
    assert_valid(&warm.judge(&direct, &context));
    let leaf =
        issue::hop(&intent_of(&agent()), &leaf_terms(), &[Mandate::Payment(payment(&warm.cart, 1999))], &mut salts());
    let behind = format!("{}~{}", direct, signed(leaf.unwrap(), &agent()).split_once("~~").unwrap().1);
    assert_refused(&warm.judge(&behind, &context), Code::CnfMissing);
}

fn intent_of(holder: &LocalKey) -> String {
    root(&[open_payment(holder, Vec::new())])
}

#[test]
fn a_forged_root_is_not_remembered() {
    let memory = RootMemory::default();
    let (cart, merchant_keys, trusted) = (cart_jwt(1999), keys(&merchant_key()), keys(&provider()));
    let context = context(&trusted, Purchase::Cart { checkout_jwt: &cart, merchant_keys: &merchant_keys });
    let forger = stranger();
    let unsigned = crate::cast::root_unsigned(&[open_payment(&agent(), Vec::new())], &KeyId::new("provider"));
    let forged = hop(&signed(unsigned, &forger), &leaf_terms(), Mandate::Payment(payment(&cart, 1999)), &agent());
    for _ in 0..2 {
        assert_refused(&verify_remembering(&forged, &context, &memory), Code::SignatureInvalid);
        assert!(memory.is_empty());
    }
}

#[test]
fn the_memory_is_bounded_and_the_oldest_goes_first() {
    let memory = RootMemory::default();
    let trusted = keys(&provider());
    let mut context = context(&trusted, Purchase::OnItsOwn);
    context.expected = Expected::OnItsOwn;
    let big = |number: u32| {
        let mut mandate = open(Vct::OpenPayment, &agent(), Vec::new());
        mandate.presets.insert("note".to_owned(), format!("{number}{}", "x".repeat(200_000)).into());
        root(&[Mandate::Open(mandate)])
    };
    let first = big(0);
    let each = first.len() - 1;
    let fit = mandates::limits::ROOTS_REMEMBERED_BYTES_MAX / each;
    assert_valid(&verify_remembering(&first, &context, &memory));
    for number in 1..=u32::try_from(fit).unwrap() + 3 {
        assert_valid(&verify_remembering(&big(number), &context, &memory));
        assert!(memory.len() <= fit, "{} of {fit}", memory.len());
    }
    assert_eq!(memory.len(), fit);
    assert_valid(&verify_remembering(&first, &context, &memory));
    assert_eq!(memory.len(), fit, "the first had gone, and another for it");
}
