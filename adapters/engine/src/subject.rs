//! What is kept of one person: the questions that they were asked, the mandates that they gave, the evidence of what was
//! paid under them. It can be handed over, and it can be erased; the journal names it by digest only and stands.

use std::collections::BTreeMap;

use ledger::budget::{Budget, BudgetKind, BudgetState};
use ledger::decision::DecisionState;
use ledger::effects::Fact;
use ledger::id::{Digest, PrincipalId, SpendId, TenantId};
use ledger::store::Document;

use crate::Engine;
use crate::consent::MandateRecord;
use crate::error::EngineError;

const PAGE: u32 = 500;

/// Every document of a person, by digest, and what bars that they are erased.
#[derive(Debug, Default)]
pub struct Subject {
    pub documents: BTreeMap<Digest, Document>,
    /// Mandates that are in force, and payments on which money may still move.
    pub in_use: Vec<String>,
}

impl Engine {
    pub async fn subject(&self, tenant: &TenantId, person: &PrincipalId) -> Result<Subject, EngineError> {
        let mut subject = Subject::default();
        for state in DecisionState::ALL {
            let mut end = u64::MAX;
            loop {
                let page = self.store.decisions_of(tenant, person, *state, 0..end, PAGE).await?;
                let Some(last) = page.last() else { break };
                end = last.asked;
                for decision in &page {
                    if decision.state == DecisionState::InReview {
                        subject.in_use.push(format!("review {} is {}", decision.id, decision.state));
                    }
                    self.collect(tenant, decision.subject, &mut subject).await?;
                }
            }
        }
        let mut after = None;
        loop {
            let page = self.store.budgets_after(tenant, after, PAGE).await?;
            let Some(last) = page.last() else { return Ok(subject) };
            after = Some(last.id);
            for budget in page.iter().filter(|budget| budget.kind == BudgetKind::Mandate) {
                self.collect_mandate(tenant, person, budget, &mut subject).await?;
            }
        }
    }

    async fn collect(&self, tenant: &TenantId, digest: Digest, subject: &mut Subject) -> Result<(), EngineError> {
        if let Some(document) = self.store.document(tenant, digest).await? {
            subject.documents.insert(digest, document);
        }
        Ok(())
    }

    /// What was given to a verifier, and what they answered; what somebody said who looked at it.
    async fn collect_papers(
        &self,
        tenant: &TenantId,
        spend: SpendId,
        subject: &mut Subject,
    ) -> Result<(), EngineError> {
        for (_, record) in self.store.records_of_spend(tenant, spend).await? {
            if let Some(Fact::Reference(digest)) = record.fact {
                self.collect(tenant, digest, subject).await?;
            }
        }
        Ok(())
    }

    async fn collect_mandate(
        &self,
        tenant: &TenantId,
        person: &PrincipalId,
        budget: &Budget,
        subject: &mut Subject,
    ) -> Result<(), EngineError> {
        let Some(digest) = budget.document else { return Ok(()) };
        let Some(document) = self.store.document(tenant, digest).await? else { return Ok(()) };
        let record: MandateRecord = serde_json::from_slice(&document.bytes)
            .map_err(|error| EngineError::Broken(format!("a mandate cannot be read: {error}")))?;
        if record.user != *person {
            return Ok(());
        }
        subject.documents.insert(digest, document);
        if let Some(approval) = record.approval {
            self.collect(tenant, approval, subject).await?;
        }
        if budget.state != BudgetState::Revoked && record.expires_at > self.clock.now().seconds() {
            subject.in_use.push(format!("mandate {} is {}", budget.id, budget.state));
        }
        let mut end = u64::MAX;
        loop {
            let page = self.store.spends_of(tenant, budget.id, 0..end, PAGE).await?;
            let Some(last) = page.last() else { return Ok(()) };
            end = last.hold.seq;
            for spend in &page {
                if spend.may_change() {
                    let young = if spend.young.is_some() { " in a block that is not final yet" } else { "" };
                    subject.in_use.push(format!("payment {} is {}{young}", spend.id, spend.state));
                }
                self.collect(tenant, spend.evidence, subject).await?;
                self.collect_papers(tenant, spend.id, subject).await?;
                if let Some(card) = self.sealed_card(tenant, spend).await? {
                    self.collect(tenant, card, subject).await?;
                }
            }
        }
    }
}
