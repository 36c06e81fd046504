//! What a seller has the escrow do for a channel while its payer waits: a deposit comes in before it is sold for, and what was
//! not charged goes back.

use std::time::Duration;

use alloy_primitives::{Bytes, U256};
use ledger::command::{ClaimSettlement, Command};
use ledger::id::Digest;
use ledger::money::Amount;
use ledger::settlement::{Role, Settlement, SettlementKey, SettlementState};
use ledger::store::Freshness;
use ledger::transfer::Money;
use serde_json::{Map, Value};
use tokio::time::Instant;
use x402::batch_settlement::{ChannelState, Claim, refund_payload};
use x402::chain::At;
use x402::reason::Reason;
use x402::refusal::Refusal;
use x402::scheme;
use x402::settlement::is_consumed;
use x402::wire::{PaymentPayload, SettleResponse};

use super::SaleClaim;
use super::channel::{Asked, asked_back, busy, carried, respelled};
use super::settle::is_pending;
use crate::Engine;
use crate::book;
use crate::error::EngineError;
use crate::ports::Relayed;

/// The longest pause between two looks at the escrow.
const LOOK_AGAIN: Duration = Duration::from_millis(250);

/// Nothing that takes time; the last second of the year 9999.
const NEVER: i64 = 253_402_300_799;

/// A channel with the deposit in it, and the transaction that brought it, where somebody named one, with how much that was.
type Deposited = (ChannelState, Option<(String, Amount)>);

/// A refund under way: signed for this nonce of the channel's.
fn refund_subject(nonce: U256) -> Digest {
    Digest::of_parts("purser/channel-refund/1", &[&nonce.to_be_bytes::<32>()])
}

/// The place of a refund beside the step that it stands at.
fn refund_key(step: &SettlementKey) -> SettlementKey {
    SettlementKey { role: Role::Wallet, ..step.clone() }
}

impl Engine {
    fn patience(&self, asked: &Asked<'_>) -> Result<Duration, EngineError> {
        Ok(Duration::from_millis(self.tenant(&asked.identity.tenant)?.limits.settle_wait_millis))
    }

    /// Has the deposit carried, and waits until the escrow has it; whoever carries it is believed for nothing. The answer,
    /// where it does not come.
    pub(super) async fn take_deposit(&self, asked: &Asked<'_>) -> Result<Result<Deposited, SaleClaim>, EngineError> {
        let (payload, requirements) = (&asked.presented.payload, &asked.presented.requirements);
        let (signed, claim) = scheme::claimed(payload, requirements)?;
        let amount = book::amount(signed.value())?;
        // The voucher must be good for something once the money is there: else it is better not moved.
        let kind = asked.bound.kind;
        asked.state.check(kind, asked.bound.voucher.max_claimable, amount)?;
        let mut transaction = None;
        if !is_consumed(self.chain.as_ref(), claim, At::Latest).await? {
            let now = u64::try_from(self.clock.now().seconds()).unwrap_or_default();
            scheme::check(payload, requirements, &self.assets, now).map_err(respelled)?;
            let carriers = self.seller(&asked.identity.tenant)?.carriers;
            let carrier = carriers.name_for(requirements).await;
            let relayed = carriers.settle(&carrier, &carried(payload.clone(), requirements), requirements).await;
            match relayed {
                Relayed::Answer(response) if response.success => transaction = Some((response.transaction, amount)),
                Relayed::Answer(response) if is_pending(&response) => {}
                Relayed::Answer(response) if !is_consumed(self.chain.as_ref(), claim, At::Latest).await? => {
                    return Ok(Err(SaleClaim::Failed(response)));
                }
                Relayed::Answer(_) => {}
                Relayed::Silence(why) => {
                    tracing::warn!(payer = %claim.payer, "a deposit is not known to be carried: {why}")
                }
            }
        }
        let deadline = Instant::now() + self.patience(asked)?;
        loop {
            let state = self.channel_at(&asked.bound, asked.presented.release.confirmations).await?;
            if state.balance >= asked.bound.voucher.max_claimable {
                return Ok(Ok((state, transaction)));
            }
            if Instant::now() + LOOK_AGAIN > deadline {
                return Ok(Err(SaleClaim::InFlight));
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    /// Whether what lies in the channel may be leaving it. A refund that was signed is out until the escrow has counted on,
    /// whatever whoever carries it says.
    pub(super) async fn is_giving_back(&self, asked: &Asked<'_>) -> Result<bool, EngineError> {
        let tenant = &asked.identity.tenant;
        let found = self.store.settlement(tenant, &refund_key(&asked.key)).await?;
        let Some(open) = found.filter(|found| found.state.is_open()) else { return Ok(false) };
        let now = self.chain.channel(asked.bound.channel_id(), At::Latest).await?;
        if open.subject == refund_subject(now.refund_nonce) {
            return Ok(true);
        }
        self.run(asked.identity, Command::Abandon { settlement: open.key }, Vec::new()).await?;
        // What it took is gone since the balance was looked at.
        Ok(now.balance < asked.bound.voucher.max_claimable)
    }

    /// Gives back what is left, or what is asked of it. What was charged and not claimed is claimed in the same transaction.
    pub(super) async fn channel_refund(&self, asked: &Asked<'_>) -> Result<SaleClaim, EngineError> {
        let left = asked.state.balance.checked_sub(asked.charged).unwrap_or(Amount::ZERO);
        let amount = asked_back(&asked.presented.payload)?.unwrap_or(left);
        if amount.is_zero() || amount > left {
            let expected = format!("at most the {left} that is left");
            return Err(Refusal::new(Reason::BatchRefundNoBalance, "payload.amount", expected, amount).into());
        }
        self.begin_refund(asked, amount).await?;
        let step = self.store.settlement(&asked.identity.tenant, &asked.key).await?;
        if step.is_some_and(|step| step.state.is_open()) {
            self.end_refund(asked).await?;
            return Err(busy("no payment under way", "one").into());
        }
        let payload = self.signed_refund(asked, amount).await?;
        let requirements = &asked.presented.requirements;
        let carriers = self.seller(&asked.identity.tenant)?.carriers;
        let carrier = carriers.name_for(requirements).await;
        let relayed = carriers.settle(&carrier, &payload, requirements).await;
        let patience = match &relayed {
            Relayed::Answer(response) if !response.success && !is_pending(response) => Duration::ZERO,
            _ => self.patience(asked)?,
        };
        let (id, deadline) = (asked.bound.channel_id(), Instant::now() + patience);
        let is_counted = loop {
            let now = self.chain.channel(id, At::Latest).await?;
            if now.refund_nonce != asked.state.refund_nonce {
                break Some(now);
            }
            if Instant::now() + LOOK_AGAIN > deadline {
                break None;
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        };
        match (is_counted, relayed) {
            (Some(now), relayed) => {
                self.end_refund(asked).await?;
                Ok(self.refunded(asked, amount, &now, &relayed))
            }
            (None, Relayed::Answer(response)) if !response.success && !is_pending(&response) => {
                Ok(SaleClaim::Failed(response))
            }
            (None, _) => Ok(SaleClaim::OutcomeUnknown),
        }
    }

    /// Durably, before anything is signed. The same one may be tried again.
    async fn begin_refund(&self, asked: &Asked<'_>, amount: Amount) -> Result<(), EngineError> {
        let terms = &asked.bound.terms;
        let key = refund_key(&asked.key);
        let subject = refund_subject(asked.state.refund_nonce);
        let known = self.store.settlement(&asked.identity.tenant, &key).await?;
        let is_over = |known: &Settlement| known.state.is_open() && known.subject != subject;
        if known.is_some_and(|known| is_over(&known)) {
            self.end_refund(asked).await?;
        }
        let claim = ClaimSettlement {
            key,
            money: Money { asset: book::asset_id(terms.network, terms.token)?, amount },
            payee: self.seller(&asked.identity.tenant)?.payee,
            pay_to: book::text(asked.channel().payer),
            subject,
            valid_before: NEVER,
            since_block: self.finalized_lately().await?,
            cover: None,
            credit: None,
            named: None,
            order: None,
        };
        let begun = self.run(asked.identity, Command::Claim(Box::new(claim)), Vec::new()).await?;
        if begun.freshness == Freshness::Known {
            tracing::info!(channel = %asked.bound.channel_id(), "a refund is tried again");
        }
        Ok(())
    }

    async fn end_refund(&self, asked: &Asked<'_>) -> Result<(), EngineError> {
        let key = refund_key(&asked.key);
        let found = self.store.settlement(&asked.identity.tenant, &key).await?;
        if found.is_some_and(|found| found.state == SettlementState::Claimed) {
            self.run(asked.identity, Command::Abandon { settlement: key }, Vec::new()).await?;
        }
        Ok(())
    }

    async fn signed_refund(&self, asked: &Asked<'_>, amount: Amount) -> Result<PaymentPayload, EngineError> {
        let (voucher, nonce) = (&asked.bound.voucher, asked.state.refund_nonce);
        let channels = self.seller(&asked.identity.tenant)?.channels;
        let signer = channels.ok_or(EngineError::NotConfigured("channels"))?.signer;
        let signature = signer.sign_refund(self.network, &voucher.channel, nonce, amount)?;
        let mut claims = Vec::new();
        if asked.charged > asked.state.total_claimed {
            let own: Bytes = voucher_bytes(&voucher.signature)?;
            let (channel, max_claimable, total_claimed) = (voucher.channel, voucher.max_claimable, asked.charged);
            claims.push(Claim { channel, max_claimable, signature: own, total_claimed });
        }
        let claimed = match claims.is_empty() {
            true => Bytes::new(),
            false => signer.sign_claims(self.network, &claims)?,
        };
        let payload = refund_payload(voucher, (amount, nonce, &signature), (&claims, &claimed));
        let presented = carried(asked.presented.payload.clone(), &asked.presented.requirements);
        Ok(PaymentPayload { payload, extensions: None, ..presented })
    }

    fn refunded(
        &self,
        asked: &Asked<'_>,
        amount: Amount,
        now: &ChannelState,
        relayed: &Relayed<SettleResponse>,
    ) -> SaleClaim {
        let transaction = match relayed {
            Relayed::Answer(response) => response.transaction.clone(),
            Relayed::Silence(_) => String::new(),
        };
        let (payer, network) = (asked.channel().payer.to_string(), self.network.to_string());
        let mut response = SettleResponse::settled(payer, transaction, network);
        response.amount = Some(amount.to_string());
        let shown = Value::Object(self.shown(asked.channel(), now, asked.charged));
        response.extra = Some(Map::from_iter([("channelState".to_owned(), shown)]));
        SaleClaim::Refunded { channel: asked.bound.channel_id().to_string(), response }
    }
}

/// A payer's signature, which was read before.
pub(super) fn voucher_bytes(text: &str) -> Result<Bytes, EngineError> {
    let bytes = hex::decode(text.trim_start_matches("0x"));
    bytes.map(Bytes::from).map_err(|_| EngineError::Broken("a signature of a voucher cannot be read".into()))
}
