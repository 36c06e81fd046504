//! Sessions that nobody touches.
//!
//! | status | when | what is done |
//! | --- | --- | --- |
//! | being paid for | nobody went on for two minutes | the book is asked: it is completed where it was paid, open again where it was not, and left where that is not known |
//! | bought | `kept_seconds` of the shop later | taken out |
//! | anything else | a day after it was over | taken out |
//!
//! Whoever goes on with a session at the same time finds that it moved, looks again, and ends it in the same way: the order's
//! name is the session's, and what is accepted under it is accepted once.

use commerce::store::{Kept, Written};
use ledger::gate::Scope;
use ledger::id::{BudgetId, TenantId};
use mandates::receipt::Answer;

use super::complete::merchant;
use super::document::{Document, Receipts, Signed};
use super::{Call, Shopping};
use crate::Engine;
use crate::error::EngineError;
use crate::ports::Relayed;
use crate::vault::Taken;

/// Sessions looked at in one sweep.
const SWEEP_MAX: u32 = 200;

/// What became of a session that somebody began to pay for.
enum Found {
    Paid(Option<Receipts>),
    NotPaid,
    Unknown,
}

impl Engine {
    /// Looks at what is due in a tenant's shop; how many sessions ended. Behind a fence nothing does: the book may not know
    /// what was paid.
    pub async fn sweep_checkouts(&self, id: &TenantId) -> Result<u32, EngineError> {
        let tenant = self.tenant(id)?;
        let (Some(role), Some(sessions)) = (tenant.shop.as_ref(), self.sessions.get()) else { return Ok(0) };
        let Some(merchant) = tenant.merchants.get(&role.merchant) else { return Ok(0) };
        let gates = self.store.closed_gates(id).await?;
        if gates.iter().any(|gate| gate.scope == Scope::Fence) {
            return Ok(0);
        }
        let now = self.clock.now().seconds();
        sessions.forget_answers(id, now).await?;
        let mut ended = 0_u32;
        for (name, kept) in sessions.due(id, now, SWEEP_MAX).await? {
            let document = match Document::read(&kept.document) {
                Ok(document) => document,
                Err(error) => {
                    tracing::warn!(tenant = %id, checkout = name, "not looked at: {error}");
                    continue;
                }
            };
            let (owner, opener, protocol) = (document.owner.clone(), String::new(), document.session.protocol);
            let call = Call { tenant: id.clone(), protocol, owner, opener, key: None };
            let shopping = Shopping { tenant: &tenant, role, merchant, sessions, call: &call, now };
            match self.conclude(&shopping, document, &kept).await {
                Ok(Written::Done) => ended = ended.saturating_add(1),
                Ok(_) => {}
                Err(error) => {
                    tracing::warn!(tenant = %id, checkout = name, code = error.code(), "not looked at: {error}");
                }
            }
        }
        Ok(ended)
    }

    async fn conclude(&self, shopping: &Shopping<'_>, document: Document, kept: &Kept) -> Result<Written, EngineError> {
        let (tenant, now, revision) = (&shopping.call.tenant, shopping.now, kept.revision);
        let id = document.session.id.clone();
        // Written by a release that does not say when.
        if now < document.session.due(&shopping.role.shop) {
            shopping.sessions.write(tenant, Some(document.write(revision, shopping)?), None).await?;
            return Ok(Written::SessionMoved);
        }
        if !document.is_claimed() {
            return Ok(shopping.sessions.remove(tenant, &id, revision).await?);
        }
        let moved = |refused: commerce::checkout::Refusal| EngineError::Broken(refused.message);
        let next = match self.what_became_of(shopping, &document).await? {
            Found::Unknown => return Ok(Written::SessionMoved),
            Found::Paid(receipts) => {
                let session = document.session.paid(now).map_err(moved)?;
                Document { session, receipts, ..document }
            }
            Found::NotPaid => {
                let text =
                    "The payment was not finished, and by the book the checkout is not paid for: it is open again.";
                let session = document.session.declined(now, text.to_owned()).map_err(moved)?;
                Document { session, claim: None, ..document }
            }
        };
        tracing::info!(%tenant, checkout = id, status = next.session.status.as_str(), "a checkout that nobody finished");
        let next = self.signed(shopping, next).await?;
        Ok(shopping.sessions.write(tenant, Some(next.write(revision, shopping)?), None).await?)
    }

    async fn what_became_of(&self, shopping: &Shopping<'_>, document: &Document) -> Result<Found, EngineError> {
        let Some(order) = document.session.order.as_ref() else { return Ok(Found::NotPaid) };
        if let (true, Some(signed)) = (document.is_locked(), &document.signed) {
            return Ok(match document.paid_under() {
                Some(under) => self.accepted_for(shopping, document, signed, under, &order.id).await?,
                // Claimed by a release that wrote down no names: whoever presents the same again goes on.
                None => Found::Unknown,
            });
        }
        match self.taken_for(&merchant(shopping), &document.session.id).await? {
            Taken::UnderWay => return Ok(Found::Unknown),
            Taken::Captured(captured) if captured.covers(&document.session)? => return Ok(Found::Paid(None)),
            Taken::Captured(_) | Taken::Nothing => {}
        }
        let Some(tokens) = self.checkout_tokens.get() else { return Ok(Found::NotPaid) };
        Ok(match tokens.has_paid(&order.id).await {
            Relayed::Answer(true) => Found::Paid(None),
            Relayed::Answer(false) => Found::NotPaid,
            Relayed::Silence(_) => Found::Unknown,
        })
    }

    /// Both receipts, where both mandates were accepted for this order. An order that was accepted and not paid is open
    /// again: the same mandates pay for it still.
    async fn accepted_for(
        &self,
        shopping: &Shopping<'_>,
        document: &Document,
        signed: &Signed,
        (checkout, payment): (BudgetId, BudgetId),
        order: &str,
    ) -> Result<Found, EngineError> {
        let identity = merchant(shopping);
        let mut texts = Vec::new();
        for mandate in [checkout, payment] {
            let found = self.answered_under(&identity, mandate, &signed.audience, &document.nonce).await?;
            let Some((text, answer)) = found else { return Ok(Found::NotPaid) };
            let is_ours = match answer {
                Answer::Ordered { order_id } => order_id == order,
                Answer::Paid { payment_id, .. } => payment_id == order,
                _ => false,
            };
            if !is_ours {
                return Ok(Found::NotPaid);
            }
            texts.push(text);
        }
        Ok(match <[String; 2]>::try_from(texts) {
            Ok([checkout, payment]) => Found::Paid(Some(Receipts { checkout, payment })),
            Err(_) => Found::NotPaid,
        })
    }
}
