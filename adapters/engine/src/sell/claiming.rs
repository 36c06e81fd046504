//! What channels owe becomes money: vouchers are claimed from the escrow, what was claimed is swept to the payee, and what the
//! chain shows of it is posted.
//!
//! When it is claimed is the seller's to say: from an amount on, after a time, and at once where the payer has asked for its
//! money, which it gets after the delay of the channel. Only a final block is posted from, and nobody's word is.

use std::collections::BTreeMap;

use alloy_primitives::Address;
use ledger::command::{Command, FailureProof};
use ledger::id::TenantId;
use ledger::money::Amount;
use ledger::settlement::{Role, Settlement, SettlementState};
use ledger::spend::Observation;
use x402::batch_settlement::{
    CLAIMS_MAX, Channel, ChannelState, Claim, ESCROW, Sweep, charged_before, claim_payload, read_voucher, sweep_payload,
};
use x402::chain::{At, Block};
use x402::wire::{PaymentPayload, PaymentRequirements};

use super::SELLER;
use super::channel::is_sold;
use super::escrow::voucher_bytes;
use super::goods::{Content, Payment};
use crate::book::{self, service};
use crate::error::EngineError;
use crate::ports::Relayed;
use crate::tenant::Channels;
use crate::{Engine, Identity};

/// Blocks behind a sweep's first one that are looked through for it at most.
const SWEEP_BLOCKS_MAX: u64 = 50_000;

/// A channel in which something was sold that is no cash yet.
struct Owing {
    channel: Channel,
    /// The newest voucher, and what was charged with it, all in all.
    claim: Claim,
    payment: Payment,
    /// Each with what was charged when it was, all in all.
    sales: Vec<(Amount, Settlement)>,
    state: ChannelState,
}

/// Who is paid together: the receiver's channels in one token.
type Receiver = (Address, Address);

impl Engine {
    /// Claims what is due, sweeps it, and posts what is final. How many sales became cash.
    pub async fn sweep_channels(&self, tenant: &TenantId) -> Result<u32, EngineError> {
        let Some(channels) = self.seller(tenant)?.channels else { return Ok(0) };
        let identity = service(tenant, SELLER)?;
        let owing = self.owing(tenant).await?;
        let mut receivers: BTreeMap<Receiver, Vec<Owing>> = BTreeMap::new();
        for owing in owing {
            let receiver = (owing.channel.receiver, owing.channel.token);
            receivers.entry(receiver).or_default().push(owing);
        }
        let mut posted = 0_u32;
        for (receiver, owing) in &receivers {
            self.claim_due(tenant, &channels, owing).await?;
            self.sweep_receiver(tenant, *receiver, owing).await?;
            posted = posted.saturating_add(self.post_swept(&identity, *receiver, owing).await?);
        }
        Ok(posted)
    }

    /// Every channel of which something is owed, from the book and the escrow.
    async fn owing(&self, tenant: &TenantId) -> Result<Vec<Owing>, EngineError> {
        let is_wanted = |sale: &Settlement| {
            let is_own = sale.key.role == Role::Seller && sale.key.authorization.is_voucher();
            is_own && sale.state.is_open() && is_sold(sale)
        };
        let sales = self.open_settlements_that(tenant, None, usize::MAX, is_wanted).await?;
        let mut by_channel: BTreeMap<(String, Vec<u8>), Vec<Settlement>> = BTreeMap::new();
        for (_, sale) in sales {
            let name = sale.key.authorization.nonce.iter().take(16).copied().collect();
            by_channel.entry((sale.key.authorization.payer.clone(), name)).or_default().push(sale);
        }
        let mut owing = Vec::with_capacity(by_channel.len());
        for sales in by_channel.into_values() {
            match self.owing_of(tenant, sales).await {
                Ok(Some(found)) => owing.push(found),
                Ok(None) => {}
                Err(error) => tracing::warn!(%tenant, code = error.code(), "a channel cannot be looked at: {error}"),
            }
        }
        Ok(owing)
    }

    /// The nonce ends with what was charged before, so the last in order is the newest.
    async fn owing_of(&self, tenant: &TenantId, mut sales: Vec<Settlement>) -> Result<Option<Owing>, EngineError> {
        sales.sort_by_key(|sale| sale.key.authorization.nonce);
        let Some(newest) = sales.last() else { return Ok(None) };
        let Some(Content::Served { payment, .. }) = self.content(tenant, newest).await? else {
            return Err(EngineError::Broken("a sale out of a channel without its voucher".into()));
        };
        let (voucher, _) = read_voucher(&payment.payload)?;
        let channel = voucher.channel;
        let ends = |sale: &Settlement| {
            charged_before(self.network, &channel, &sale.key.authorization.nonce)?.checked_add(sale.money.amount)
        };
        let broken = || EngineError::Broken("a sale that is no step of its channel".into());
        let total_claimed = ends(newest).ok_or_else(broken)?;
        let sales = sales.into_iter().map(|sale| Some((ends(&sale)?, sale))).collect::<Option<Vec<_>>>();
        let state = self.chain.channel(channel.id(self.network), At::Latest).await?;
        let signature = voucher_bytes(&voucher.signature)?;
        let claim = Claim { channel, max_claimable: voucher.max_claimable, signature, total_claimed };
        Ok(Some(Owing { channel, claim, payment: *payment, sales: sales.ok_or_else(broken)?, state }))
    }

    fn is_due(&self, channels: &Channels, owing: &Owing) -> bool {
        let due = owing.claim.total_claimed.checked_sub(owing.state.total_claimed).unwrap_or(Amount::ZERO);
        let is_backed = owing.claim.total_claimed <= owing.state.balance;
        let first = owing.sales.iter().find(|(end, _)| *end > owing.state.total_claimed);
        let waited = first.map_or(0, |(_, sale)| self.clock.now().seconds().saturating_sub(sale.valid_before));
        let is_old = waited >= channels.claim_after_seconds;
        let is_leaving = owing.state.withdraw_requested_at != 0;
        is_backed && !due.is_zero() && (is_leaving || is_old || due >= channels.claim_above)
    }

    async fn claim_due(&self, tenant: &TenantId, channels: &Channels, owing: &[Owing]) -> Result<(), EngineError> {
        let due: Vec<&Owing> = owing.iter().filter(|owing| self.is_due(channels, owing)).collect();
        let mut by_signer: BTreeMap<Address, Vec<&Owing>> = BTreeMap::new();
        for owing in due {
            by_signer.entry(owing.channel.receiver_authorizer).or_default().push(owing);
        }
        for owing in by_signer.values().flat_map(|owing| owing.chunks(CLAIMS_MAX)) {
            let claims: Vec<Claim> = owing.iter().map(|owing| owing.claim.clone()).collect();
            let signature = match channels.signer.sign_claims(self.network, &claims) {
                Ok(signature) => signature,
                Err(error) => {
                    tracing::error!(%tenant, "vouchers cannot be claimed: {error}");
                    continue;
                }
            };
            if let Some(first) = owing.first() {
                self.ask_carrier(tenant, &first.payment, claim_payload(&claims, &signature), "claim").await?;
            }
        }
        Ok(())
    }

    async fn sweep_receiver(
        &self,
        tenant: &TenantId,
        (receiver, token): Receiver,
        owing: &[Owing],
    ) -> Result<(), EngineError> {
        let state = self.chain.receiver(receiver, token, At::Latest).await?;
        match owing.first() {
            Some(first) if !state.due().is_zero() => {
                self.ask_carrier(tenant, &first.payment, sweep_payload(Sweep { receiver, token }), "sweep").await
            }
            _ => Ok(()),
        }
    }

    /// What it says is for the log; what came of it the chain shows at the next look.
    async fn ask_carrier(
        &self,
        tenant: &TenantId,
        payment: &Payment,
        payload: serde_json::Map<String, serde_json::Value>,
        what: &str,
    ) -> Result<(), EngineError> {
        let carriers = self.seller(tenant)?.carriers;
        let requirements: &PaymentRequirements = &payment.requirements;
        let carrier = carriers.name_for(requirements).await;
        let payload = PaymentPayload { payload, extensions: None, ..payment.payload.clone() };
        match carriers.settle(&carrier, &payload, requirements).await {
            Relayed::Answer(response) if response.success => {
                tracing::info!(%tenant, transaction = response.transaction, "a {what} of channels is carried");
            }
            Relayed::Answer(response) => {
                let why = response.error_message.or(response.error_reason).unwrap_or_default();
                tracing::warn!(%tenant, carrier, "a {what} of channels is not carried: {why}");
            }
            Relayed::Silence(why) => tracing::warn!(%tenant, carrier, "a {what} of channels is not answered: {why}"),
        }
        Ok(())
    }

    /// Everything that a final block shows as claimed, where it shows as well that nothing claimed waits to be swept.
    async fn post_swept(
        &self,
        identity: &Identity,
        (receiver, token): Receiver,
        owing: &[Owing],
    ) -> Result<u32, EngineError> {
        let finalized = self.chain.block(At::Finalized).await?;
        let at = At::Number(finalized.number);
        let state = self.chain.receiver(receiver, token, at).await?;
        if state.total_settled.is_zero() || !state.due().is_zero() {
            return Ok(0);
        }
        let since = owing.iter().flat_map(|owing| &owing.sales).map(|(_, sale)| sale.since_block).min();
        let since = since.unwrap_or(finalized.number).max(finalized.number.saturating_sub(SWEEP_BLOCKS_MAX));
        let moved = self.chain.token_transfers(token, receiver, since, finalized.number).await?;
        let swept = moved.iter().filter(|moved| moved.log.from == ESCROW && moved.log.to == receiver);
        let swept = swept.max_by_key(|moved| moved.block_number);
        let receipt = match swept {
            Some(swept) => self.chain.receipt(swept.transaction).await?,
            None => None,
        };
        let mut posted = 0_u32;
        for owing in owing {
            let then = self.chain.channel(owing.channel.id(self.network), at).await?;
            for (end, sale) in &owing.sales {
                let command = match &receipt {
                    Some(receipt) if *end <= then.total_claimed => {
                        Some(received(sale, receipt.transaction, &receipt.block, finalized.number)?)
                    }
                    _ => lost(*end, sale, (&then, &owing.state), &finalized),
                };
                if let Some(command) = command {
                    let state = self.settlement_after(identity, sale, command).await?;
                    posted = posted.saturating_add(u32::from(state == SettlementState::Settled));
                }
            }
        }
        Ok(posted)
    }
}

fn received(
    sale: &Settlement,
    transaction: alloy_primitives::B256,
    block: &Block,
    finalized: u64,
) -> Result<Command, EngineError> {
    let seen = Observation {
        transaction: book::reference(transaction)?,
        block_number: block.number,
        block_hash: block.hash.0,
        pay_to: sale.pay_to.clone(),
        amount: sale.money.amount,
    };
    Ok(Command::Receive { settlement: sale.key.clone(), seen, finalized, gas: None })
}

/// Given, and the payer took the money out before it was claimed: owed for good.
fn lost(
    end: Amount,
    sale: &Settlement,
    (then, now): (&ChannelState, &ChannelState),
    finalized: &Block,
) -> Option<Command> {
    let is_gone = [then, now].iter().all(|state| state.balance < end && state.total_claimed < end);
    let proof = book::proof(finalized);
    let is_proof = proof.finalized_timestamp >= sale.valid_before;
    let (settlement, proof) = (sale.key.clone(), FailureProof::Unused(proof));
    (is_gone && is_proof).then_some(Command::Fail { settlement, proof, gas: None })
}
