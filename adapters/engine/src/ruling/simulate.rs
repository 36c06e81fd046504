//! A draft of a policy held against what was paid. Reads only.

use std::collections::{BTreeMap, BTreeSet};

use ledger::effects::{Effects, Operation};
use ledger::id::{Micros, PayeeId, PrincipalId, SpendId, TenantId};
use ledger::spend::Spend;
use ledger::store::Store;
use policy::{Facts, Policy, Standing};

use super::{major, mandates_of, rail_of};
use crate::error::EngineError;
use crate::evidence::Bundle;
use crate::rate::authority_to_major;

const PAGE: u32 = 500;
/// How payees are called that no registry knows.
const UNKNOWN: &str = "x402:";
/// What became of a payment before there was a policy.
const NO_POLICY: &str = "allow";

/// What a draft would have said of every payment of a book.
#[derive(Clone, Debug, Default)]
pub struct Replay {
    pub payments: u64,
    pub unchanged: u64,
    /// Whose evidence was erased: nothing can be said of them.
    pub erased: u64,
    /// How many by what was said then and what the draft says.
    pub counts: BTreeMap<(String, String), u64>,
    pub changed: Vec<Changed>,
}

/// A payment of which the draft says something else.
#[derive(Clone, Debug)]
pub struct Changed {
    pub payment: SpendId,
    pub at: Micros,
    pub agent: PrincipalId,
    pub payee: PayeeId,
    pub rail: &'static str,
    pub amount: String,
    pub currency: String,
    pub then: String,
    pub draft: String,
    /// The rules of the draft that fire.
    pub fired: Vec<String>,
}

/// Every hold of the book in its order, judged by the draft at the time that it was made.
pub async fn replay(store: &dyn Store, tenant: &TenantId, draft: &Policy) -> Result<Replay, EngineError> {
    let mut replay = Replay::default();
    let mut paid: BTreeSet<PayeeId> = BTreeSet::new();
    let mut from = 0;
    loop {
        let page = store.records(tenant, from, PAGE).await?;
        let Some((last, _)) = page.last() else { return Ok(replay) };
        from = last.seq.saturating_add(1);
        for (_, record) in &page {
            let Some(spend) = &record.spend else { continue };
            match record.operation {
                Operation::Hold => replay.judge(store, tenant, draft, (record, spend), &paid).await?,
                // As the book has it: a cheque was drawn, or a card was charged.
                Operation::Commit | Operation::Settle => {
                    paid.insert(spend.payee.clone());
                }
                _ => {}
            }
        }
    }
}

impl Replay {
    async fn judge(
        &mut self,
        store: &dyn Store,
        tenant: &TenantId,
        draft: &Policy,
        (record, spend): (&Effects, &Spend),
        paid: &BTreeSet<PayeeId>,
    ) -> Result<(), EngineError> {
        self.payments = self.payments.saturating_add(1);
        let Some(document) = store.document(tenant, spend.evidence).await? else {
            self.erased = self.erased.saturating_add(1);
            return Ok(());
        };
        let unreadable = || EngineError::Broken(format!("the evidence of spend {} cannot be read", spend.id));
        let text = String::from_utf8(document.bytes).map_err(|_| unreadable())?;
        let bundle = Bundle::parse(&text).map_err(|_| unreadable())?;
        let is_first = !paid.contains(&spend.payee);
        let facts = Facts {
            rail: rail_of(&bundle.rail),
            currency: &bundle.currency,
            amount: major(&bundle)?,
            payee: &spend.payee,
            agent: &bundle.agent,
            build: spend.build,
            mandates: &mandates_of(&bundle),
            at: record.at,
            is_first,
            // As if everybody began now: where somebody stood then is not in the books.
            standing: Standing::default(),
            is_vouched: !is_first || !spend.payee.as_str().starts_with(UNKNOWN),
        };
        let judged = draft.judge(&facts).map_err(|fault| EngineError::Broken(fault.to_string()))?;
        let then = bundle.policy.as_ref().map_or_else(|| NO_POLICY.to_owned(), |ruled| ruled.verb.clone());
        let count = self.counts.entry((then.clone(), judged.verb.to_owned())).or_default();
        *count = count.saturating_add(1);
        if then == judged.verb {
            self.unchanged = self.unchanged.saturating_add(1);
            return Ok(());
        }
        self.changed.push(Changed {
            payment: spend.id,
            at: record.at,
            rail: facts.rail.as_str(),
            amount: authority_to_major(bundle.authority, &bundle.currency)?,
            agent: bundle.agent,
            payee: spend.payee.clone(),
            currency: bundle.currency,
            then,
            draft: judged.verb.to_owned(),
            fired: judged.fired,
        });
        Ok(())
    }
}
