//! One cart, at most one payment: on every rail, under every mandate, whoever asks.

use super::memory::Told;
use super::opened;
use super::presenting::{acknowledge, done, held, over, present};
use super::rejections::{Case, but, commit, holds, void};
use super::stream::{START, hold, mandate, presented_for, spend};
use crate::book::claiming::CART_PURCHASES_MAX;
use crate::command::{Answered, Hold, Request};
use crate::id::Digest;
use crate::rejection::RejectionCode as Code;

fn cart(number: u8) -> Option<Digest> {
    Some(Digest::of(&[b'c', number]))
}

/// A purchase of the first cart; odd ones on the chain, even ones on the mandate rail.
fn buys(number: u8) -> Request {
    buys_but(number, |_| {})
}

fn buys_but(number: u8, change: impl FnOnce(&mut Hold)) -> Request {
    but(number, 1, |hold| {
        hold.cart = cart(1);
        if number.is_multiple_of(2) {
            hold.authorization = presented_for(number);
        }
        change(hold);
    })
}

fn again(number: u8, after: u8) -> Request {
    buys_but(number, |hold| hold.again_after = Some(spend(after)))
}

fn settled(number: u8) -> Vec<Request> {
    vec![buys(number), commit(number), present(number), acknowledge(number, Answered::Paid)]
}

/// As many as one cart may have, each given back.
fn tries() -> Vec<Request> {
    (1..=CART_PURCHASES_MAX).flat_map(|number| [buys(number), void(number)]).collect()
}

pub(super) fn cases() -> Vec<Case> {
    let elsewhere = |number| holds(Hold { cart: cart(1), ..hold(number, mandate(1), 1) });
    vec![
        // Open on one rail, bought on the other.
        (vec![buys(1)], 0, buys(2), Code::PurchaseUnresolved),
        (vec![buys(2)], 0, buys(1), Code::PurchaseUnresolved),
        (vec![buys(1), commit(1)], 0, buys(3), Code::PurchaseUnresolved),
        (vec![buys(1)], 0, elsewhere(3), Code::PurchaseUnresolved),
        // Paid, and bought again.
        (settled(2), 0, buys(4), Code::PurchaseUnresolved),
        (settled(2), 0, buys(3), Code::PurchaseUnresolved),
        (settled(2), 0, elsewhere(3), Code::PurchaseUnresolved),
        ([settled(2), vec![again(4, 2)]].concat(), 0, buys(6), Code::PurchaseUnresolved),
        ([settled(2), vec![again(4, 2)]].concat(), 0, again(6, 2), Code::AgainAfterUsed),
        ([vec![buys(1), void(1)], settled(2)].concat(), 0, again(4, 1), Code::AgainAfterMismatch),
        (settled(2), 0, again(4, 9), Code::SpendUnknown),
        ([settled(2), vec![held(6, 1)]].concat(), 0, again(4, 6), Code::AgainAfterElsewhere),
        (tries(), 0, buys(99), Code::CartExhausted),
        // A receipt and its opposite: it may have been paid.
        ([settled(2), vec![acknowledge(2, Answered::NotPaid)]].concat(), over(), buys(4), Code::PurchaseUnresolved),
    ]
}

#[test]
fn a_purchase_that_came_to_nothing_frees_its_cart() {
    let mut memory = opened();
    for request in [buys(1), void(1), buys(2), void(2), buys(3), void(3), buys(4), commit(4), present(4)] {
        done(&mut memory, 0, &request);
    }
    done(&mut memory, over(), &acknowledge(4, Answered::NotPaid));
    done(&mut memory, over(), &buys_but(6, |hold| hold.expires_at = crate::id::Micros(i64::MAX)));
    let told = memory.run(START.plus_micros((over() + 1) * 1_000_000), &buys(5));
    assert!(matches!(&told, Told::Rejected(rejection) if rejection.code() == Code::PurchaseUnresolved), "{told:?}");
}

#[test]
fn a_second_one_that_is_meant_names_the_first_whatever_its_rail() {
    let mut memory = opened();
    settled(2).iter().for_each(|request| done(&mut memory, 0, request));
    done(&mut memory, 0, &again(1, 2));
    done(&mut memory, 0, &again(4, 1));
    // Other carts and purchases without one are as they were.
    done(&mut memory, 0, &buys_but(6, |hold| hold.cart = cart(2)));
    done(&mut memory, 0, &but(7, 1, |hold| hold.cart = None));
}

#[test]
fn the_last_try_of_a_cart_is_taken() {
    let mut memory = opened();
    let mut before = tries();
    before.pop();
    let last = before.pop().unwrap();
    before.iter().for_each(|request| done(&mut memory, 0, request));
    done(&mut memory, 0, &last);
}
