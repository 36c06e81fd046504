//! What a seller sells once takes one payment, whatever becomes of it.

use super::memory::{Memory, Told};
use super::opened;
use super::rejections::{Case, on};
use super::stream::{START, claim, settlement};
use crate::command::{ClaimSettlement, Command, Order, Request};
use crate::id::Digest;
use crate::rejection::RejectionCode as Code;
use crate::settlement::Role;

fn pays(number: u8, order: &str) -> Request {
    let order = Order { key: order.parse().unwrap(), document: Digest::of(&[b'd', number]) };
    on(Command::Claim(Box::new(ClaimSettlement { order: Some(order), ..claim(number, Role::Seller, 5) })))
}

fn gives_back(number: u8) -> Request {
    on(Command::Abandon { settlement: settlement(number, Role::Seller) })
}

pub(super) fn cases() -> Vec<Case> {
    vec![(vec![pays(1, "one")], 0, pays(2, "one"), Code::OrderHasPayment)]
}

fn told(memory: &mut Memory, request: &Request) -> Told {
    memory.run(START, request)
}

#[test]
fn another_payment_of_an_order_is_refused() {
    let befores = [
        vec![pays(1, "one")],
        vec![pays(1, "one"), gives_back(1)],
        vec![pays(1, "one"), gives_back(1), pays(1, "one")],
        vec![pays(1, "one"), pays(3, "other")],
    ];
    for before in befores {
        let mut memory = opened();
        for request in &before {
            assert!(matches!(told(&mut memory, request), Told::New(_)), "{request:?}");
        }
        let records = memory.records.len();
        match told(&mut memory, &pays(2, "one")) {
            Told::Rejected(rejection) => assert_eq!(rejection.code(), Code::OrderHasPayment),
            other => panic!("{other:?} after {before:?}"),
        }
        assert_eq!(memory.records.len(), records, "nothing is written for whoever comes second");
    }
}

#[test]
fn the_same_payment_is_known_and_claims_its_order_once() {
    let mut memory = opened();
    let Told::New(first) = told(&mut memory, &pays(1, "one")) else { panic!("it was the first") };
    assert_eq!(first.claims.len(), 1);
    assert_eq!(told(&mut memory, &pays(1, "one")), Told::Known);
    assert!(matches!(told(&mut memory, &gives_back(1)), Told::New(_)));
    let Told::New(again) = told(&mut memory, &pays(1, "one")) else { panic!("it was given back") };
    assert!(again.claims.is_empty(), "a claim stands once, for ever");
}
