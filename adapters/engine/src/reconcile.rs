//! What became of what may have gone out. The chain decides; a counterparty's word is at most a reason to look.

use std::time::{Duration, Instant};

use alloy_primitives::B256;
use ledger::command::{Command, FailureProof, ReleaseProof};
use ledger::id::{SpendId, TenantId};
use ledger::settlement::{Role, Settlement, SettlementState};
use ledger::spend::{Rail, Spend, SpendState};
use ledger::store::Place;
use x402::settlement::{Charge, Expected, Outcome, observe};

use crate::book::{self, service};
use crate::desk::SweptUntil;
use crate::error::EngineError;
use crate::follow::{Blocks, Followed};
use crate::{Engine, Identity};

const PAGE: u32 = 500;
/// Of the time of a sweep nine tenths are left to payments: after each page it rests so many times as long as that took.
pub const SWEEP_REST: u32 = 9;
/// Whatever a page took, so long at most does the next one wait for it.
pub const SWEEP_REST_MAX: Duration = Duration::from_millis(250);
/// Sales and carriages looked at in one sweep of a tenant. The next sweep goes on behind them, so that those that cannot move
/// keep no other waiting.
const SWEEP_MAX: u32 = 500;
/// The same of those that are settled and not final.
const YOUNG_MAX: u32 = 10_000;

/// What one sweep did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    pub looked_at: u32,
    pub resolved: u32,
}

/// Where a full page ends; one that is not full was the last, and the next begins anew.
fn last_of(page: &[(Place, Settlement)], limit: u32) -> Option<Place> {
    let is_full = u32::try_from(page.len()).unwrap_or(u32::MAX) >= limit;
    page.last().filter(|_| is_full).map(|(place, _)| *place)
}

impl Swept {
    /// One look, and whether it was the last one.
    fn take(&mut self, looked: Result<bool, EngineError>) {
        self.looked_at = self.looked_at.saturating_add(1);
        match looked {
            Ok(true) => self.resolved = self.resolved.saturating_add(1),
            Ok(false) => {}
            Err(error) => tracing::warn!(code = error.code(), "not reconciled: {error}"),
        }
    }
}

impl Engine {
    /// Once at start and then in a loop: everything that is open is held against the chain.
    pub async fn sweep(&self, tenant: &TenantId) -> Result<Swept, EngineError> {
        let identity = service(tenant, "reconciler")?;
        let mut swept = Swept::default();
        let mut stops = self.stops_in_force(tenant).await?;
        if let Some(stops) = &mut stops
            && let Err(error) = self.end_questions(&identity, stops).await
        {
            tracing::warn!(code = error.code(), "questions that are stopped: {error}");
        }
        let (mut blocks, mut after) = (Blocks::default(), None);
        // Page by page: those that only wait for their block to be final must not keep others from being looked at.
        loop {
            let began = Instant::now();
            let page = self.store.open_spends(tenant, after, PAGE).await?;
            let Some(last) = page.last() else { break };
            after = Some(last.hold.seq);
            let untouched = self.untouched(&page).await;
            // What is only announced the processor says, or nobody does.
            for spend in page.iter().filter(|spend| spend.may_change()) {
                let looked = match untouched.contains(&spend.id) {
                    true => Ok(false),
                    false => self.sweep_spend(&identity, spend, &mut blocks).await,
                };
                if let (Ok(false), Some(stops)) = (&looked, &mut stops)
                    && let Err(error) = self.end_spend(&identity, spend, stops).await
                {
                    tracing::warn!(spend = %spend.id, code = error.code(), "stopped and not ended: {error}");
                }
                swept.take(looked);
            }
            if u32::try_from(page.len()).is_ok_and(|found| found < PAGE) {
                break;
            }
            // However many are open, those who pay now do not wait until all of them were looked at.
            tokio::time::sleep(began.elapsed().saturating_mul(SWEEP_REST).min(SWEEP_REST_MAX)).await;
        }
        let from = self.desk.swept_until(tenant);
        let open = self.store.open_settlements(tenant, from.open, SWEEP_MAX).await?;
        for (_, settlement) in &open {
            let state = self.reconcile_settlement(&identity, settlement).await;
            swept.take(state.map(|state| !state.is_open()));
        }
        if let Err(error) = self.fill_holes(tenant, &open).await {
            tracing::warn!(code = error.code(), "holes among the nonces of relayers: {error}");
        }
        let young = self.store.young_settlements(tenant, from.young, YOUNG_MAX).await?;
        for (_, settlement) in &young {
            let followed = self.follow_settlement(&identity, settlement, &mut blocks).await;
            swept.take(followed.map(|followed| followed == Followed::Final));
        }
        if let Err(error) = self.sweep_own_channels(&identity).await {
            tracing::warn!(code = error.code(), "channels of the wallet: {error}");
        }
        if let Err(error) = self.sweep_reviews(&identity).await {
            tracing::warn!(code = error.code(), "reviews that are overdue: {error}");
        }
        let until = SweptUntil { open: last_of(&open, SWEEP_MAX), young: last_of(&young, YOUNG_MAX) };
        self.desk.sweep_from(tenant, until);
        Ok(swept)
    }

    /// Settlements that may still come to something, after a place, as far as they are wanted; at most `most`.
    pub(crate) async fn open_settlements_that(
        &self,
        tenant: &TenantId,
        mut after: Option<Place>,
        most: usize,
        is_wanted: impl Fn(&Settlement) -> bool,
    ) -> Result<Vec<(Place, Settlement)>, EngineError> {
        let mut found = Vec::new();
        while found.len() < most {
            let page = self.store.open_settlements(tenant, after, PAGE).await?;
            let Some((last, _)) = page.last() else { break };
            after = Some(*last);
            found.extend(page.into_iter().filter(|(_, settlement)| is_wanted(settlement)));
        }
        found.truncate(most);
        Ok(found)
    }

    /// The same of those settled in a block that may be taken back.
    pub(crate) async fn young_settlements_that(
        &self,
        tenant: &TenantId,
        is_wanted: impl Fn(&Settlement) -> bool,
    ) -> Result<Vec<(Place, Settlement)>, EngineError> {
        let (mut found, mut after) = (Vec::new(), None);
        loop {
            let page = self.store.young_settlements(tenant, after, PAGE).await?;
            let Some((last, _)) = page.last() else { return Ok(found) };
            after = Some(*last);
            found.extend(page.into_iter().filter(|(_, settlement)| is_wanted(settlement)));
        }
    }

    /// Whether that was the last look at it.
    async fn sweep_spend(&self, identity: &Identity, spend: &Spend, blocks: &mut Blocks) -> Result<bool, EngineError> {
        if spend.young.is_some() {
            return Ok(self.follow_spend(identity, spend, blocks).await? == Followed::Final);
        }
        Ok(!self.reconcile_spend(identity, spend).await?.is_open())
    }

    /// Holds one spend against the clock and the chain, and posts what is proved.
    pub async fn reconcile_spend(&self, identity: &Identity, spend: &Spend) -> Result<SpendState, EngineError> {
        if spend.state == SpendState::Held {
            return self.expire(identity, spend).await;
        }
        if !spend.state.is_signed() {
            return Ok(spend.state);
        }
        match spend.authorization.rail() {
            Rail::Chain if spend.authorization.is_drawn() => return self.reconcile_drawn(identity, spend).await,
            Rail::Chain => {}
            Rail::Mandate => return self.wait_for_receipt(identity, spend).await,
            Rail::Vault => return self.reconcile_capture(identity, spend).await,
        }
        let expected = book::expected_of_spend(spend)?;
        let id = spend.id;
        let finalized = self.finalized().await?;
        let command = match observe(self.chain.as_ref(), &expected, None, spend.since_block).await? {
            Outcome::Settled { transaction, block, value } => {
                // In a block, and not in doubt: more blocks will say so. A charge from a final one alone, because the rest
                // is given back with it.
                let is_final = expected.charge == Charge::Whole || block.number <= finalized;
                if !is_final || !self.is_confirmed(&block).await? {
                    return Ok(spend.state);
                }
                let seen = book::observation(&Expected { value, ..expected }, transaction, &block)?;
                Command::Settle { spend: id, seen, finalized }
            }
            Outcome::ProvedUnused { finalized } => {
                Command::Release { spend: id, proof: ReleaseProof::Unused(book::proof(&finalized)) }
            }
            Outcome::Canceled { block, .. } | Outcome::SpentOtherwise { block, .. } if block.number > finalized => {
                return Ok(spend.state);
            }
            Outcome::Canceled { transaction, .. } => {
                Command::Release { spend: id, proof: ReleaseProof::Canceled(book::reference(transaction)?) }
            }
            Outcome::SpentOtherwise { transaction, .. } => {
                tracing::error!(spend = %id, "the authorization was consumed and our payee was not paid");
                Command::Misspend { spend: id, transaction: book::reference(transaction)? }
            }
            // It lies in the escrow, or may still come there: nobody doubts that. Past its deadline it comes home.
            Outcome::Pending if spend.authorization.is_escrowed() => return self.reclaim_late(identity, spend).await,
            Outcome::Pending | Outcome::Unknown => return self.wait_or_doubt(identity, spend).await,
        };
        self.state_after(identity, spend, command).await
    }

    /// Past its last moment and still neither seen nor disproved: it is unknown, and stays held.
    async fn wait_or_doubt(&self, identity: &Identity, spend: &Spend) -> Result<SpendState, EngineError> {
        if spend.state == SpendState::Unknown || self.clock.now().seconds() < spend.valid_before {
            return Ok(spend.state);
        }
        self.state_after(identity, spend, Command::Doubt { spend: spend.id }).await
    }

    /// No chain shows what became of it: it waits for its receipt. Where nobody ever got it, nobody can answer.
    async fn wait_for_receipt(&self, identity: &Identity, spend: &Spend) -> Result<SpendState, EngineError> {
        match spend.state {
            SpendState::Committed if self.clock.now().seconds() >= spend.valid_before => {
                self.state_after(identity, spend, Command::Lapse { spend: spend.id }).await
            }
            SpendState::Committed => Ok(spend.state),
            _ => self.wait_or_doubt(identity, spend).await,
        }
    }

    async fn expire(&self, identity: &Identity, spend: &Spend) -> Result<SpendState, EngineError> {
        if self.clock.now() < spend.expires_at {
            return Ok(spend.state);
        }
        self.state_after(identity, spend, Command::Expire { spend: spend.id }).await
    }

    async fn state_after(
        &self,
        identity: &Identity,
        spend: &Spend,
        command: Command,
    ) -> Result<SpendState, EngineError> {
        let answer = self.run(identity, command, Vec::new()).await?;
        let state = answer.spend.map_or(spend.state, |after| after.state);
        tracing::info!(spend = %spend.id, from = %spend.state, to = %state, "spend reconciled");
        Ok(state)
    }

    /// The transaction of somebody else that used the authorization up for good. Ours can move nothing any more, also
    /// where it never comes into a block because its account's nonce went to another one.
    pub(crate) fn used_by_another(outcome: &Outcome, ours: Option<B256>, finalized: u64) -> Option<B256> {
        let (transaction, block) = match outcome {
            Outcome::Settled { transaction, block, .. }
            | Outcome::Canceled { transaction, block }
            | Outcome::SpentOtherwise { transaction, block, .. } => (*transaction, block),
            Outcome::Pending | Outcome::ProvedUnused { .. } | Outcome::Unknown => return None,
        };
        (Some(transaction) != ours && block.number <= finalized).then_some(transaction)
    }

    /// The same for what we sell or carry.
    pub async fn reconcile_settlement(
        &self,
        identity: &Identity,
        settlement: &Settlement,
    ) -> Result<SettlementState, EngineError> {
        match (settlement.key.role, settlement.state) {
            (_, state) if !state.is_open() => Ok(state),
            // The document is written before anything is sent: a claim without one has sent nothing. But only the
            // process that made it may be about to; so it is given up when its time is over, or at start.
            (Role::Facilitator, SettlementState::Claimed) => {
                if self.clock.now().seconds() < settlement.valid_before {
                    return Ok(settlement.state);
                }
                let key = settlement.key.clone();
                self.settlement_after(identity, settlement, Command::Abandon { settlement: key }).await
            }
            (Role::Facilitator, _) => self.carry_on(identity, settlement).await,
            // Of a channel the escrow tells, for all of its vouchers at once.
            _ if settlement.key.authorization.is_voucher() => self.lapse_step(identity, settlement).await,
            // Its handler runs, or its settlement is awaited: whoever has it in hand looks.
            _ if self.desk.has(&identity.tenant, &settlement.key) => Ok(settlement.state),
            _ => self.look_for_sale(identity, settlement).await,
        }
    }

    /// A step of a channel whose time is over and that nothing was given for: whoever had it is gone.
    async fn lapse_step(&self, identity: &Identity, step: &Settlement) -> Result<SettlementState, EngineError> {
        let is_waiting = step.state == SettlementState::Promised && step.document.is_none();
        let is_held = self.desk.has(&identity.tenant, &step.key);
        if !is_waiting || is_held || self.clock.now().seconds() < step.valid_before {
            return Ok(step.state);
        }
        self.settlement_after(identity, step, Command::Abandon { settlement: step.key.clone() }).await
    }

    /// A sale is settled by whoever submits the authorization: the transfer to our payee is what counts.
    pub(crate) async fn look_for_sale(
        &self,
        identity: &Identity,
        sale: &Settlement,
    ) -> Result<SettlementState, EngineError> {
        match self.seen_of_sale(sale).await? {
            Some(command) => self.settlement_after(identity, sale, command).await,
            None => Ok(sale.state),
        }
    }

    /// What the chain says of a sale, where it says something.
    pub(crate) async fn seen_of_sale(&self, sale: &Settlement) -> Result<Option<Command>, EngineError> {
        let expected = book::expected(&sale.key.authorization, &sale.pay_to, sale.money.amount, sale.valid_before)?;
        let key = sale.key.clone();
        let finalized = self.finalized().await?;
        let command = match observe(self.chain.as_ref(), &expected, None, sale.since_block).await? {
            Outcome::Settled { transaction, block, .. } => {
                // What was charged nothing is over when nothing can be taken of it any more, and what was put into a channel is
                // booked for good, or waits.
                let is_for_good = sale.money.amount.is_zero() || sale.key.role == Role::Wallet;
                let is_early = is_for_good && block.number > finalized;
                if is_early || !self.is_confirmed(&block).await? {
                    return Ok(None);
                }
                let seen = book::observation(&expected, transaction, &block)?;
                Command::Receive { settlement: key, seen, finalized, gas: None }
            }
            Outcome::ProvedUnused { finalized } => {
                let proof = FailureProof::Unused(book::proof(&finalized));
                Command::Fail { settlement: key, proof, gas: None }
            }
            Outcome::Canceled { transaction, block } | Outcome::SpentOtherwise { transaction, block, .. } => {
                if block.number > finalized {
                    return Ok(None);
                }
                let proof = FailureProof::Reverted(book::reference(transaction)?);
                Command::Fail { settlement: key, proof, gas: None }
            }
            Outcome::Pending | Outcome::Unknown => return Ok(None),
        };
        Ok(Some(command))
    }

    pub(crate) async fn settlement_after(
        &self,
        identity: &Identity,
        settlement: &Settlement,
        command: Command,
    ) -> Result<SettlementState, EngineError> {
        let answer = self.run(identity, command, Vec::new()).await?;
        Ok(answer.settlement.map_or(settlement.state, |after| after.state))
    }

    /// Looks at one spend until it is resolved or the time is over.
    pub async fn await_spend(
        &self,
        identity: &Identity,
        id: SpendId,
        patience: Duration,
    ) -> Result<Spend, EngineError> {
        let deadline = tokio::time::Instant::now() + patience;
        let mut pause = Duration::from_millis(20);
        loop {
            let spend = self.spend(identity, id).await?;
            if spend.state.is_signed() {
                self.reconcile_spend(identity, &spend).await?;
            }
            let spend = self.spend(identity, id).await?;
            if !spend.state.is_open() || tokio::time::Instant::now() + pause >= deadline {
                return Ok(spend);
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(Duration::from_millis(250));
        }
    }

    pub async fn spend(&self, identity: &Identity, id: SpendId) -> Result<Spend, EngineError> {
        let spend = self.store.spend(&identity.tenant, id).await?;
        spend.ok_or_else(|| EngineError::NotFound { what: "payment", id: id.to_string() })
    }
}
