//! When a seller gives what was bought: before it is paid, when it is paid, or only after. A policy of the seller's own; nothing
//! of it is on the wire.

use std::num::NonZeroU64;

pub use ledger::money::Amount;

/// The policy of one priced route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Release {
    pub when: When,
    /// In how many blocks a settlement is before what waits for it is given, its own counted.
    pub confirmations: NonZeroU64,
    pub pay_first: PayFirst,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// The work is done, and its answer held back until it is settled.
    Confirmed,
    /// Given when the settlement is broadcast.
    Submitted(Exposure),
    /// Given when the authorization is verified and claimed; it is settled behind that.
    Verified(Exposure),
}

/// The most that may be given and not be settled yet, in atomic units of the token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exposure {
    /// By one payer.
    pub payer_max: Amount,
    /// By all payers of the seller.
    pub total_max: Option<Amount>,
    pub beyond: Beyond,
}

/// What becomes of a payment above the exposure, or of a payer who owes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Beyond {
    /// It is served all the same, and nothing is given before it is settled.
    #[default]
    Wait,
    Refuse,
}

/// What is settled before anything is done for it at all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PayFirst {
    /// Whatever costs more than this.
    pub above: Option<Amount>,
    /// Whatever is bought by a payer who has never paid here for good.
    pub without_history: bool,
}

impl Default for Release {
    fn default() -> Self {
        Self { when: When::Confirmed, confirmations: NonZeroU64::MIN, pay_first: PayFirst::default() }
    }
}

/// Whether a payer has paid this seller before, in a block that is final.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum History {
    None,
    Paid,
}

/// How one payment is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// Settle, then work, then give.
    PaidFirst,
    /// Work, settle, give.
    HeldBack,
    /// Work, broadcast, give.
    Submitted,
    /// Work, give, settle.
    Verified,
}

impl Release {
    pub fn manner(&self, amount: Amount, history: History) -> Manner {
        let is_dear = self.pay_first.above.is_some_and(|above| amount > above);
        if is_dear || self.pay_first.without_history && history == History::None {
            return Manner::PaidFirst;
        }
        match self.when {
            When::Confirmed => Manner::HeldBack,
            When::Submitted(_) => Manner::Submitted,
            When::Verified(_) => Manner::Verified,
        }
    }

    /// What bounds what is given in this manner before it is settled; `None` where nothing is.
    pub fn exposure(&self, manner: Manner) -> Option<Exposure> {
        match (manner, self.when) {
            (Manner::Submitted | Manner::Verified, When::Submitted(exposure) | When::Verified(exposure)) => {
                Some(exposure)
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_dear_or_of_a_stranger_is_paid_first_whatever_else_is_said() {
        let exposure = Exposure { payer_max: Amount::new(10), total_max: None, beyond: Beyond::Wait };
        let manners = [
            (When::Confirmed, Manner::HeldBack),
            (When::Submitted(exposure), Manner::Submitted),
            (When::Verified(exposure), Manner::Verified),
        ];
        for (when, usual) in manners {
            let release = |above: Option<u128>, without_history| Release {
                when,
                pay_first: PayFirst { above: above.map(Amount::new), without_history },
                ..Release::default()
            };
            let manner = |release: Release, amount, history| release.manner(Amount::new(amount), history);
            for (policy, amount, history, expected) in [
                (release(Some(4), false), 5, History::Paid, Manner::PaidFirst),
                (release(Some(0), false), 1, History::Paid, Manner::PaidFirst),
                (release(None, true), 1, History::None, Manner::PaidFirst),
                (release(Some(4), true), 4, History::None, Manner::PaidFirst),
                (release(Some(4), true), 5, History::Paid, Manner::PaidFirst),
                (release(Some(u128::MAX - 1), false), u128::MAX, History::Paid, Manner::PaidFirst),
                (release(Some(4), true), 4, History::Paid, usual),
                (release(Some(4), false), 4, History::None, usual),
                (release(None, false), u128::MAX, History::None, usual),
            ] {
                assert_eq!(manner(policy, amount, history), expected, "{policy:?} {amount} {history:?}");
            }
            let is_early = usual != Manner::HeldBack;
            assert_eq!(release(None, false).exposure(usual).is_some(), is_early);
            assert_eq!(release(None, false).exposure(Manner::PaidFirst), None);
            assert_eq!(release(None, false).exposure(Manner::HeldBack), None);
        }
        assert_eq!(Release::default().manner(Amount::MAX, History::None), Manner::HeldBack);
    }
}
