//! What is put right afterwards.

use crate::claim::LogPlace;
use crate::id::BudgetId;
use crate::money::Amount;
use crate::spend::{Authorization, Observation};
use crate::transfer::Money;

#[derive(Clone, Debug)]
pub struct Refund {
    pub place: LogPlace,
    pub seen: Observation,
}

#[derive(Clone, Debug)]
pub struct Recover {
    pub authorization: Authorization,
    pub money: Money,
    /// What it takes from the nodes above the mandates, at most; which mandate it was is lost.
    pub authority: Amount,
    pub nodes: Vec<BudgetId>,
    pub seen: Observation,
}
