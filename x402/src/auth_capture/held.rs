//! What became of a payment that went into the escrow, from the escrow's own logs.

use alloy_primitives::{Address, B256, U256};

use crate::chain::{At, AuthorizationUse, Block, Chain, ChainError};
use crate::settlement::{Charge, Expected, Outcome};

/// What the escrow logs of one payment, in the order of the logs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// Its `paymentInfoHash`.
    pub payment: B256,
    pub receiver: Address,
    pub logs: Vec<HeldLog>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeldKind {
    Authorized,
    /// Captured as it came in.
    Charged,
    Captured,
    Voided,
    /// Taken back by the payer, after the deadline.
    Reclaimed,
    /// Given back after it had been captured.
    Refunded,
}

/// Amounts with the fee.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeldLog {
    pub kind: HeldKind,
    pub amount: U256,
    pub transaction: B256,
    pub block: Block,
}

/// The logs added up.
struct Sum {
    captured: U256,
    /// In the escrow, and neither captured nor given back.
    left: U256,
}

impl Held {
    /// `None` of logs that are none of one payment.
    fn sum(&self) -> Option<Sum> {
        let (mut captured, mut left) = (U256::ZERO, U256::ZERO);
        for log in &self.logs {
            match log.kind {
                HeldKind::Authorized => left = left.checked_add(log.amount)?,
                HeldKind::Charged => captured = captured.checked_add(log.amount)?,
                HeldKind::Captured => {
                    captured = captured.checked_add(log.amount)?;
                    left = left.checked_sub(log.amount)?;
                }
                HeldKind::Voided | HeldKind::Reclaimed => left = left.checked_sub(log.amount)?,
                HeldKind::Refunded => {}
            }
        }
        Some(Sum { captured, left })
    }

    fn last(&self, kinds: &[HeldKind]) -> Option<&HeldLog> {
        self.logs.iter().rev().find(|log| kinds.contains(&log.kind))
    }
}

/// Asks the escrow about a payment whose authorization was used up in `used`.
pub(crate) async fn observe_held(
    chain: &dyn Chain,
    expected: &Expected,
    used: &AuthorizationUse,
) -> Result<Outcome, ChainError> {
    let Some(held) = chain.held(expected.key, used).await? else {
        let (transaction, block, transfers) = (used.transaction, used.block, used.transfers.clone());
        return Ok(Outcome::SpentOtherwise { transaction, block, transfers });
    };
    // A node that leaves a log out is caught by what the escrow itself has.
    let state = chain.escrowed(held.payment, At::Latest).await?;
    let finalized = chain.block(At::Finalized).await?.number;
    Ok(judge(expected, &held, U256::from(state.capturable.get()), finalized))
}

/// For whoever is paid ([`Charge::Whole`]) it is over when exactly what is expected was captured and the rest went back. For
/// whoever pays ([`Charge::AtMost`]) when nothing is left and no block can take that back: from then on no more is taken.
fn judge(expected: &Expected, held: &Held, capturable: U256, finalized: u64) -> Outcome {
    const ENDS: [HeldKind; 4] = [HeldKind::Charged, HeldKind::Captured, HeldKind::Voided, HeldKind::Reclaimed];
    let Some(Sum { captured, left }) = held.sum().filter(|sum| sum.left == capturable) else {
        return Outcome::Unknown;
    };
    let Some(last) = held.last(&ENDS) else { return Outcome::Pending };
    let capture = held.last(&[HeldKind::Charged, HeldKind::Captured]);
    let (transaction, block) = (last.transaction, last.block);
    let otherwise = Outcome::SpentOtherwise { transaction, block, transfers: Vec::new() };
    if held.receiver != expected.to {
        return otherwise;
    }
    let (end, value) = (capture.unwrap_or(last), captured);
    let settled = Outcome::Settled { transaction: end.transaction, block: end.block, value };
    match expected.charge {
        Charge::Whole if captured > expected.value => otherwise,
        _ if !left.is_zero() => Outcome::Pending,
        Charge::Whole if captured == expected.value => settled,
        Charge::Whole if captured.is_zero() => Outcome::Canceled { transaction, block },
        Charge::Whole => otherwise,
        // The escrow lets no more be captured than was signed for.
        Charge::AtMost if captured > expected.value => otherwise,
        Charge::AtMost if last.block.number > finalized => Outcome::Pending,
        Charge::AtMost if captured.is_zero() => Outcome::Canceled { transaction, block },
        Charge::AtMost => settled,
    }
}

#[cfg(test)]
mod tests {
    use super::HeldKind::{Authorized, Captured, Charged, Reclaimed, Refunded, Voided};
    use super::*;
    use crate::network::Network;
    use crate::settlement::{ClaimKey, NonceSpace};

    const SHOP: Address = Address::repeat_byte(2);

    fn expected(value: u64, charge: Charge) -> Expected {
        let (payer, token) = (Address::repeat_byte(1), Address::repeat_byte(3));
        let network = Network::new(31_337).unwrap();
        let key = ClaimKey { space: NonceSpace::Held, network, token, payer, nonce: B256::repeat_byte(9) };
        Expected { key, to: SHOP, value: U256::from(value), charge, valid_before: 100 }
    }

    /// Each log in a block of its own, from block 1 on.
    fn held(logs: &[(HeldKind, u64)]) -> Held {
        let log = |(place, (kind, amount)): (u8, &(HeldKind, u64))| HeldLog {
            kind: *kind,
            amount: U256::from(*amount),
            transaction: B256::repeat_byte(place),
            block: Block { number: u64::from(place), hash: B256::repeat_byte(place), timestamp: 0 },
        };
        Held { payment: B256::ZERO, receiver: SHOP, logs: (1..).zip(logs).map(log).collect() }
    }

    fn judged(logs: &[(HeldKind, u64)], left: u64, expected: &Expected, finalized: u64) -> (&'static str, Option<u64>) {
        let outcome = judge(expected, &held(logs), U256::from(left), finalized);
        let value = match &outcome {
            Outcome::Settled { value, .. } => Some(value.saturating_to()),
            _ => None,
        };
        (outcome.code(), value)
    }

    #[test]
    fn who_is_paid_waits_for_exactly_what_was_charged_and_for_the_rest_to_be_back() {
        let by = |value| expected(value, Charge::Whole);
        for (logs, left, value, code) in [
            (&[(Authorized, 10)][..], 10, 4, "settlement_pending"),
            (&[(Authorized, 10), (Captured, 4)], 6, 4, "settlement_pending"),
            (&[(Authorized, 10), (Captured, 3), (Voided, 7)], 0, 4, "spent_otherwise"),
            (&[(Authorized, 10), (Captured, 5)], 5, 4, "spent_otherwise"),
            (&[(Authorized, 10), (Captured, 5), (Voided, 5)], 0, 4, "spent_otherwise"),
            (&[(Authorized, 10), (Voided, 10)], 0, 4, "authorization_canceled"),
            (&[(Authorized, 10), (Reclaimed, 10)], 0, 4, "authorization_canceled"),
            // Logs that are left out.
            (&[(Authorized, 10)], 0, 4, "outcome_unknown"),
            (&[(Authorized, 10), (Voided, 6)], 0, 4, "outcome_unknown"),
            (&[(Captured, 4)], 0, 4, "outcome_unknown"),
            (&[(Authorized, 10), (Captured, 11)], 0, 4, "outcome_unknown"),
        ] {
            assert_eq!(judged(logs, left, &by(value), 99), (code, None), "{logs:?}");
        }
        let part = [(Authorized, 10), (Captured, 4), (Voided, 6)];
        assert_eq!(judged(&part, 0, &by(4), 0), ("settled", Some(4)));
        assert_eq!(judged(&[(Authorized, 10), (Captured, 10)], 0, &by(10), 0), ("settled", Some(10)));
        assert_eq!(judged(&[(Charged, 4)], 0, &by(4), 0), ("settled", Some(4)));
        assert_eq!(judged(&[(Authorized, 10), (Voided, 10)], 0, &by(0), 0), ("settled", Some(0)), "nothing charged");
        let other = Expected { to: Address::repeat_byte(7), ..by(4) };
        assert_eq!(judged(&part, 0, &other, 99).0, "spent_otherwise", "another receiver");
    }

    #[test]
    fn who_pays_gets_the_rest_back_when_no_block_can_take_more() {
        let by = expected(10, Charge::AtMost);
        for (logs, left, finalized, code) in [
            (&[(Authorized, 10)][..], 10, 99, "settlement_pending"),
            (&[(Authorized, 10), (Captured, 4)], 6, 99, "settlement_pending"),
            (&[(Authorized, 10), (Captured, 4), (Voided, 6)], 0, 2, "settlement_pending"),
            (&[(Authorized, 10), (Voided, 10)], 0, 1, "settlement_pending"),
            (&[(Authorized, 10), (Voided, 10)], 0, 2, "authorization_canceled"),
            (&[(Authorized, 10), (Reclaimed, 10)], 0, 2, "authorization_canceled"),
            (&[(Authorized, 11), (Captured, 11)], 0, 99, "spent_otherwise"),
            (&[(Authorized, 10), (Captured, 4)], 0, 99, "outcome_unknown"),
        ] {
            assert_eq!(judged(logs, left, &by, finalized), (code, None), "{logs:?} {finalized}");
        }
        let parts = [(Authorized, 10), (Captured, 4), (Captured, 1), (Voided, 5), (Refunded, 2)];
        assert_eq!(judged(&parts, 0, &by, 4), ("settled", Some(5)), "parts add up, and a refund is another matter");
        assert_eq!(judged(&[(Authorized, 10), (Captured, 4), (Reclaimed, 6)], 0, &by, 3), ("settled", Some(4)));
        assert_eq!(judged(&[(Charged, 4)], 0, &by, 1), ("settled", Some(4)));
        assert_eq!(judged(&[(Charged, 4)], 0, &by, 0), ("settlement_pending", None));
    }
}
