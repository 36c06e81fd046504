//! What went into the escrow of `auth-capture` leaves a wallet in one transaction and comes back in another, while the book has
//! one posting, under the transaction that captured it. Here the first are put together, so that the two can be compared.

use std::collections::{BTreeMap, BTreeSet};

use ledger::money::Amount;
use ledger::spend::{Spend, SpendState};
use x402::auth_capture::HeldKind;

use super::Moved;
use crate::Engine;
use crate::book;
use crate::error::EngineError;

/// The transactions of one payment.
pub(super) struct Escrowed {
    /// What each moved of the wallet's.
    moves: Vec<(String, Moved)>,
    /// It came and went in this one.
    at_once: Option<String>,
    /// The one that is booked, and for how much.
    settled: Option<(String, Amount)>,
    is_open: bool,
}

impl Engine {
    /// Of a payment that is booked, given back, or signed and not over; `None` while the chain shows nothing of it.
    pub(super) async fn escrowed_moves(&self, spend: &Spend) -> Result<Option<Escrowed>, EngineError> {
        let key = book::expected_of_spend(spend)?.key;
        let since = spend.since_block;
        let Some(used) = self.chain.find_authorization(key.token, key.payer, key.nonce, since).await? else {
            return Ok(None);
        };
        let Some(held) = self.chain.held(key, &used).await? else { return Ok(None) };
        let (mut moves, mut at_once) = (Vec::new(), None);
        for log in &held.logs {
            let (transaction, amount) = (format!("{:#x}", log.transaction), book::amount(log.amount)?);
            match log.kind {
                HeldKind::Authorized => moves.push((transaction, Moved { paid: amount, ..Moved::default() })),
                HeldKind::Voided | HeldKind::Reclaimed => {
                    moves.push((transaction, Moved { received: amount, ..Moved::default() }));
                }
                HeldKind::Charged => at_once = Some(transaction),
                HeldKind::Captured | HeldKind::Refunded => {}
            }
        }
        let is_settled = spend.state == SpendState::Settled;
        let booked = spend.transaction.as_ref().filter(|_| is_settled && at_once.is_none());
        let settled = booked.map(|transaction| (transaction.to_string(), spend.money.amount));
        Ok(Some(Escrowed { moves, at_once, settled, is_open: spend.state.is_open() }))
    }
}

/// Puts together what one payment moved; what is not over stays as it is, in flight.
pub(super) fn fold(on_chain: &mut BTreeMap<String, Moved>, in_flight: &mut BTreeSet<String>, escrowed: &[Escrowed]) {
    for payment in escrowed {
        let less = |from: Amount, amount| from.checked_sub(amount).unwrap_or(from);
        if payment.is_open {
            in_flight.extend(payment.moves.iter().map(|(transaction, _)| transaction.clone()));
            in_flight.extend(payment.at_once.clone());
            continue;
        }
        for (transaction, moved) in &payment.moves {
            if let Some(entry) = on_chain.get_mut(transaction) {
                *entry = Moved { paid: less(entry.paid, moved.paid), received: less(entry.received, moved.received) };
            }
        }
        if let Some(entry) = payment.at_once.as_ref().and_then(|transaction| on_chain.get_mut(transaction)) {
            *entry = Moved { paid: less(entry.paid, entry.received), received: Amount::ZERO };
        }
        if let Some((transaction, amount)) = &payment.settled {
            let entry = on_chain.entry(transaction.clone()).or_default();
            entry.paid = entry.paid.checked_add(*amount).unwrap_or(entry.paid);
        }
    }
    on_chain.retain(|_, moved| *moved != Moved::default());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moved(paid: u128, received: u128) -> Moved {
        Moved { paid: Amount::new(paid), received: Amount::new(received) }
    }

    fn held(settled: Option<(&str, u128)>, is_open: bool) -> Escrowed {
        let moves = vec![("held".to_owned(), moved(10, 0)), ("back".to_owned(), moved(0, 7))];
        let settled = settled.map(|(transaction, amount)| (transaction.to_owned(), Amount::new(amount)));
        Escrowed { moves, at_once: None, settled, is_open }
    }

    fn folded(entries: &[(&str, Moved)], escrowed: &[Escrowed]) -> (Vec<(String, Moved)>, usize) {
        let mut on_chain = entries.iter().map(|(name, moved)| ((*name).to_owned(), *moved)).collect();
        let mut in_flight = BTreeSet::new();
        fold(&mut on_chain, &mut in_flight, escrowed);
        (on_chain.into_iter().collect(), in_flight.len())
    }

    #[test]
    fn what_came_back_is_put_to_what_went_and_nothing_else_is() {
        let chain = [("held", moved(10, 0)), ("back", moved(0, 7))];
        let one = |name: &str, moved| vec![(name.to_owned(), moved)];
        assert_eq!(folded(&chain, &[held(Some(("taken", 3)), false)]), (one("taken", moved(3, 0)), 0));
        assert_eq!(folded(&chain, &[held(None, false)]).0, vec![]);
        let (left, in_flight) = folded(&chain, &[held(None, true)]);
        assert_eq!((left.len(), in_flight), (2, 2), "not over");
        // Another payment in the same transaction, and one that the chain does not show, stay what they are.
        let more = [("held", moved(15, 0)), ("back", moved(0, 7))];
        let left = folded(&more, &[held(Some(("taken", 3)), false)]).0;
        assert_eq!(left, [("held".to_owned(), moved(5, 0)), ("taken".to_owned(), moved(3, 0))]);
        assert_eq!(folded(&[], &[held(Some(("taken", 3)), false)]).0, one("taken", moved(3, 0)));
        let at_once = Escrowed { moves: Vec::new(), at_once: Some("x".to_owned()), settled: None, is_open: false };
        assert_eq!(folded(&[("x", moved(10, 6))], &[at_once]).0, one("x", moved(4, 0)));
    }
}
