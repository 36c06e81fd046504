//! The payments of a tenant that were closed for somebody else, for whoever compares them with what a processor says.

use ledger::effects::Operation;
use ledger::money::Amount;
use ledger::spend::{Rail, Spend, SpendState};
use mandates::chain::reference_spellings;

use crate::error::EngineError;
use crate::{Engine, Identity};

/// Payments read at once.
const PAGE: u32 = 500;
/// Everything that somebody got.
const GIVEN: [SpendState; 9] = [
    SpendState::Submitted,
    SpendState::Unknown,
    SpendState::Settled,
    SpendState::Released,
    SpendState::SpentOtherwise,
    // Of these only vault tokens that were redeemed: refused, or nobody knows yet.
    SpendState::Held,
    SpendState::Voided,
    SpendState::Expired,
    SpendState::Committed,
];

/// A payment whose mandate somebody got.
#[derive(Clone, Debug)]
pub struct Given {
    pub spend: Spend,
    /// What it comes to, if it is paid: of a vault token what its merchant asked for last.
    pub amount: Amount,
    /// Every hash by which a receipt or a processor may name the mandate.
    pub references: Vec<String>,
    /// Unix seconds at which it was posted or given back; nothing while it is held.
    pub ended_at: Option<i64>,
}

impl Engine {
    /// All of them, in the order in which they were reserved.
    pub async fn given(&self, identity: &Identity) -> Result<Vec<Given>, EngineError> {
        let mut given = Vec::new();
        for state in GIVEN {
            let mut after = None;
            loop {
                let page = self.store.spends_in(&identity.tenant, state, after, PAGE).await?;
                let Some(last) = page.last() else { break };
                after = Some(last.hold.seq);
                for spend in page.into_iter().filter(|spend| spend.authorization.rail() != Rail::Chain) {
                    let ended_at = self.ended_at(identity, &spend).await?;
                    if let Some(amount) = self.attempted(identity, &spend).await? {
                        given.push(Given { spend, amount, references: Vec::new(), ended_at });
                        continue;
                    }
                    // One that lapsed was never given to anybody.
                    let Some((_, papers)) = self.papers(identity, &spend).await? else { continue };
                    let references = reference_spellings(&papers.payment)?;
                    let amount = spend.money.amount;
                    given.push(Given { spend, amount, references, ended_at });
                }
            }
        }
        given.sort_by_key(|given| given.spend.hold.seq);
        Ok(given)
    }

    async fn ended_at(&self, identity: &Identity, spend: &Spend) -> Result<Option<i64>, EngineError> {
        let records = self.store.records_of_spend(&identity.tenant, spend.id).await?;
        let is_end = |operation| matches!(operation, Operation::Settle | Operation::Release | Operation::Misspend);
        let end = records.iter().rev().find(|(_, record)| is_end(record.operation));
        Ok(end.map(|(_, record)| record.at.seconds()))
    }
}
