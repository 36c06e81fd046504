//! Which transaction nonces of our relayers are taken, and the holes between them.
//!
//! What may still be mined has its nonce in the book, so a restart gives none out a second time. One whose transaction no
//! node has any more, and which nothing in the book would send again, is a hole: everything behind it waits for ever. The
//! next settlement takes it; where none comes, it is filled with a transaction that does nothing.

use std::collections::BTreeSet;

use alloy_primitives::{Address, Bytes};
use ledger::id::TenantId;
use ledger::settlement::{Role, Settlement, SettlementState};
use ledger::store::Place;
use x402::chain::{Pool, Relayer};

use crate::book::service;
use crate::desk::lane::HeldNonce;
use crate::error::EngineError;
use crate::{Engine, Identity};

impl Engine {
    /// The next nonce of a relayer's. Whoever takes one has the relayer's pen.
    pub(super) async fn next_nonce(
        &self,
        identity: &Identity,
        relayer: &dyn Relayer,
        pending: u64,
    ) -> Result<HeldNonce, EngineError> {
        let lane = self.desk.lane(&identity.tenant, relayer.address());
        let is_doubtful = self.desk.is_doubtful(&lane, pending);
        if is_doubtful {
            let taken = self.taken_nonces(identity, relayer, pending).await?;
            self.desk.open_lane(&lane, pending, &taken);
        }
        Ok(HeldNonce::take(&lane, pending))
    }

    /// Of this relayer's and not below `from`: those of what is on its way, and of what a block that can be taken back shows.
    async fn taken_nonces(
        &self,
        identity: &Identity,
        relayer: &dyn Relayer,
        from: u64,
    ) -> Result<BTreeSet<u64>, EngineError> {
        let at_or_after = |row: &Settlement| {
            row.key.role == Role::Facilitator && row.account_nonce.is_some_and(|nonce| nonce >= from)
        };
        let tenant = &identity.tenant;
        let mut rows = self.open_settlements_that(tenant, None, usize::MAX, at_or_after).await?;
        rows.extend(self.young_settlements_that(tenant, at_or_after).await?);
        let mut taken = BTreeSet::new();
        for (_, row) in &rows {
            let ladder = self.ladder(identity, row).await?;
            taken.extend(ladder.first().and_then(|raw| relayer.nonce_in(raw)));
        }
        Ok(taken)
    }

    /// Fills the holes that were there at the sweep before too: one that is younger may belong to a settlement that another
    /// process is writing down.
    pub(crate) async fn fill_holes(&self, tenant: &TenantId, open: &[(Place, Settlement)]) -> Result<(), EngineError> {
        let sent = open.iter().map(|(_, row)| row).filter(|row| row.state == SettlementState::Submitted);
        let Some(last) = sent.filter_map(|row| row.account_nonce).max() else { return Ok(()) };
        let identity = service(tenant, "facilitator")?;
        for relayer in self.senders(tenant)? {
            let pending = self.chain.account_nonce(relayer.address(), Pool::Pending).await?;
            // Nothing that waits stands behind the next one that its node would take.
            if pending >= last {
                continue;
            }
            let _pen = self.desk.pen(tenant, relayer.address()).await;
            let taken = self.taken_nonces(&identity, relayer.as_ref(), pending).await?;
            let behind = taken.last().copied().unwrap_or(pending);
            let holes: BTreeSet<u64> = (pending..behind).filter(|nonce| !taken.contains(nonce)).take(PAGE).collect();
            let before = self.desk.saw_holes(tenant, relayer.address(), holes.clone());
            for nonce in holes.intersection(&before) {
                let filling = relayer.fill(*nonce).await?;
                tracing::warn!(%tenant, relayer = %relayer.address(), nonce, "a hole among the nonces is filled");
                self.broadcast_filling(&filling.raw, relayer.address()).await;
            }
            self.desk.distrust_lanes(tenant);
        }
        Ok(())
    }

    /// It moves nothing, so nothing is written down of it: where it is lost, the next sweep makes it again.
    async fn broadcast_filling(&self, raw: &Bytes, relayer: Address) {
        if let Err(error) = self.chain.broadcast(raw).await {
            tracing::warn!(%relayer, "a hole among the nonces is not filled: {error}");
        }
    }
}

/// Holes looked at in one sweep of a relayer.
const PAGE: usize = 500;
