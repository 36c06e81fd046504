//! What a payer's past says of them.

use ledger::command::Command;
use ledger::id::Digest;
use ledger::money::Amount;
use ledger::settlement::{PayerKey, Role};
use ledger::store::Store as _;

use super::stream::{FINAL, claim, seen, settlement};
use super::{Place, on, on_both_engines, run, tenant};

on_both_engines!("current_thread": only_money_makes_a_history);

/// Nothing that was charged is no payment, however often; nor is what is open, given back, or may be taken back.
async fn only_money_makes_a_history(place: Place) {
    let store = place.opened().await;
    let key = |number| settlement(number, Role::Seller);
    let has_paid = async || store.has_paid(&tenant(), &PayerKey::of(&key(0))).await.unwrap();
    let document = Digest::of(b"answer");
    let claimed = async |number| {
        run(&store, on(Command::Claim(Box::new(claim(number, Role::Seller, 5))))).await.unwrap();
    };
    assert!(!has_paid().await);
    for number in 0..120 {
        claimed(number).await;
        let charge = Command::Charge { settlement: key(number), document, charged: Amount::ZERO, instead_of: None };
        run(&store, on(charge)).await.unwrap();
    }
    assert!(!has_paid().await, "charged nothing a hundred and twenty times");
    claimed(200).await;
    claimed(201).await;
    run(&store, on(Command::Abandon { settlement: key(201) })).await.unwrap();
    claimed(202).await;
    let young = Command::Receive { settlement: key(202), seen: seen(5), finalized: FINAL - 1, gas: None };
    run(&store, on(young)).await.unwrap();
    assert!(!has_paid().await, "claimed, given back, and in a block that is not final");
    let last = Command::Conclude { settlement: key(202), seen: seen(5), finalized: FINAL, gas: None };
    run(&store, on(last)).await.unwrap();
    let bought = store.paid_for(&tenant(), &PayerKey::of(&key(0)), Digest::of(&[202])).await.unwrap();
    assert_eq!(bought.iter().map(|sale| sale.key.clone()).collect::<Vec<_>>(), [key(202)], "by its subject");
    for subject in [0, 200, 201] {
        let nothing = store.paid_for(&tenant(), &PayerKey::of(&key(0)), Digest::of(&[subject])).await.unwrap();
        assert_eq!(nothing, [], "charged nothing, claimed, and given back");
    }
    assert!(has_paid().await, "behind all that was charged nothing");
}
