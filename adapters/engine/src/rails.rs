//! What is held and posted under one mandate, by the rail that it goes over: one budget, whichever way it is spent.

use ledger::budget::{Budget, Refunds};
use ledger::id::TenantId;
use ledger::money::Amount;
use ledger::spend::{Rail, Spend, SpendState};

use crate::Engine;
use crate::error::EngineError;

/// Spends that are added up; a mandate with more has no figures by rail.
pub const SPENDS_MAX: usize = 5_000;
const PAGE: u32 = 1_000;

/// In units of the mandate's currency. Of all rails together they are `held` and `posted` of the mandate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RailFigures {
    pub held: Amount,
    pub posted: Amount,
}

/// One for each rail.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ByRail {
    /// By x402, on a chain.
    pub x402: RailFigures,
    /// By a mandate that is closed for its verifier (AP2, UCP).
    pub mandate: RailFigures,
    /// By a vault's token (ACP).
    pub vault: RailFigures,
}

impl ByRail {
    fn add(&mut self, spend: &Spend, refunds: Refunds) -> Option<()> {
        let figures = match spend.authorization.rail() {
            Rail::Chain => &mut self.x402,
            Rail::Mandate => &mut self.mandate,
            Rail::Vault => &mut self.vault,
        };
        if spend.state.is_open() {
            figures.held = figures.held.checked_add(spend.authority)?;
        } else if matches!(spend.state, SpendState::Settled | SpendState::SpentOtherwise) {
            let back = if refunds == Refunds::Restore { spend.authority_of(spend.refunded) } else { Amount::ZERO };
            figures.posted = figures.posted.checked_add(spend.authority.checked_sub(back)?)?;
        }
        Some(())
    }
}

impl Engine {
    /// Of a mandate and all that was handed on from it; nothing where it has more than [`SPENDS_MAX`] spends.
    pub async fn by_rail(&self, tenant: &TenantId, mandate: &Budget) -> Result<Option<ByRail>, EngineError> {
        let (mut figures, mut seen, mut until) = (ByRail::default(), 0_usize, u64::MAX);
        loop {
            let page = self.store.spends_of(tenant, mandate.id, 0..until, PAGE).await?;
            seen = seen.saturating_add(page.len());
            if seen > SPENDS_MAX {
                return Ok(None);
            }
            let Some(last) = page.last() else { return Ok(Some(figures)) };
            until = last.hold.seq;
            for spend in &page {
                let added = figures.add(spend, mandate.caps.refunds);
                added.ok_or_else(|| EngineError::Broken("the spends of a mandate are more than its budget".into()))?;
            }
        }
    }
}
