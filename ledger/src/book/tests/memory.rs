//! A book that lives in one view: what it has not seen is not there. The reference for every store.

use ledger::book::{Outcome, apply, keep_rejection, wants};
use ledger::command::Request;
use ledger::effects::Effects;
use ledger::id::Micros;
use ledger::journal::SaltKey;
use ledger::rejection::{Refusal, Rejection};
use ledger::view::View;

/// What a caller is told, without what a store adds.
#[derive(Clone, Debug, PartialEq)]
pub enum Told {
    New(Box<Effects>),
    Known,
    Rejected(Rejection),
}

pub struct Memory {
    pub view: View,
    pub records: Vec<Effects>,
    salt_key: SaltKey,
    /// How a refusal is written down.
    text: fn(&Rejection) -> Vec<u8>,
}

impl Memory {
    pub fn new(salt_key: SaltKey, text: fn(&Rejection) -> Vec<u8>) -> Self {
        Self { view: View::default(), records: Vec::new(), salt_key, text }
    }

    pub fn run(&mut self, at: Micros, request: &Request) -> Told {
        self.load_nothing(at, request);
        match apply(&mut self.view, at, request) {
            Ok(Outcome::Known) => Told::Known,
            Ok(Outcome::New(effects)) => {
                self.append(*effects.clone());
                Told::New(effects)
            }
            Err(Refusal::Rejected(rejection)) => {
                let text = (self.text)(&rejection);
                if let Some(kept) = keep_rejection(&mut self.view, at, request, &rejection, &text).unwrap() {
                    self.append(kept);
                }
                Told::Rejected(rejection)
            }
            Err(Refusal::Fault(fault)) => panic!("{fault} at {request:?}"),
        }
    }

    fn append(&mut self, effects: Effects) {
        self.view.head.append(&self.salt_key, &effects);
        self.records.push(effects);
    }

    fn load_nothing(&mut self, at: Micros, request: &Request) {
        for _ in 0..8 {
            let keys = wants(&self.view, at, request).unwrap();
            if keys.is_empty() {
                return;
            }
            keys.budgets.into_iter().for_each(|key| self.view.budgets.load(key, None));
            keys.windows.into_iter().for_each(|key| self.view.windows.load(key, None));
            keys.spends.into_iter().for_each(|key| self.view.spends.load(key, None));
            keys.claims.into_iter().for_each(|key| self.view.claims.load(key, None));
            keys.settlements.into_iter().for_each(|key| self.view.settlements.load(key, None));
            keys.decisions.into_iter().for_each(|key| self.view.decisions.load(key, None));
            keys.gates.into_iter().for_each(|key| self.view.gates.load(key, None));
            keys.purchases.into_iter().for_each(|key| self.view.open_purchases.load(key, None));
            keys.payers.into_iter().for_each(|key| self.view.load_payer(key, []));
        }
        panic!("the book asks for ever: {request:?}");
    }
}
