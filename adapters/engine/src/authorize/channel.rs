//! What our wallet pays out of channels (scheme `batch-settlement`): where a payment stands in its channel, what is put into
//! it, and what its payee says that it charged.
//!
//! A channel follows from the offer and the wallet, so nothing is kept of it beside its steps, which are payments like any
//! other. A step is claimed with its hold, so one goes on at a time, on whichever replica. A voucher follows from the step,
//! a deposit from its claim: whoever signs again signs the same.

use alloy_primitives::{Address, B256};
use ledger::channel::{Step, number_of, sibling, step_nonce};
use ledger::claim::{ClaimKey, ClaimOutcome};
use ledger::command::{Command, Covering};
use ledger::id::TenantId;
use ledger::money::Amount;
use ledger::rejection::Rejection;
use ledger::spend::{Authorization, Spend, SpendState};
use ledger::store::Document;
use serde_json::{Value, json};
use x402::batch_settlement::{Channel, Corrected, Draw, channel_for, charged_of, corrected_of};
use x402::chain::At;
use x402::exact::Transfer;
use x402::refusal::Refusal;
use x402::select::{HoldLimits, Offer, Wallet};
use x402::settlement::NonceSpace;
use x402::wire::{PaymentPayload, PaymentRequired, SettleResponse};

use crate::book;
use crate::error::EngineError;
use crate::evidence::Rail;
use crate::tenant::{Limits, Tenant};
use crate::{Engine, Identity};

/// Channels of one wallet with one payee, at the same terms. One that cannot be used any more is left for the next.
const CHANNELS_MAX: u64 = 8;
/// Steps that are looked back at for what was not charged of them.
const LOOK_BACK: u64 = 8;

pub(crate) const fn is_channel(offer: &Offer) -> bool {
    matches!(offer.transfer(), Transfer::Channel { .. })
}

/// The right that a step is, of the first one of its channel.
fn first_step(offer: &Offer, channel: &Channel) -> Result<Authorization, EngineError> {
    let nonce = B256::from(step_nonce(channel.id(offer.network()).0, 0));
    drawn(offer, channel.payer, nonce)
}

/// The right that a step is: its payee takes at most what is signed.
pub(super) fn drawn(offer: &Offer, payer: Address, nonce: B256) -> Result<Authorization, EngineError> {
    let space = NonceSpace::Voucher;
    let (network, token) = (offer.network(), offer.token());
    let key = x402::settlement::ClaimKey { space, network, token, payer, nonce };
    Ok(book::authorization(&key)?.at_most())
}

/// What names a step.
fn nonce_of(channel: B256, number: u64) -> B256 {
    B256::from(step_nonce(channel.0, number))
}

fn busy(spend: &Spend) -> EngineError {
    let (spend, state) = (spend.id.to_string(), spend.state.to_string());
    EngineError::Book(Rejection::ChannelBusy { spend, state })
}

pub(super) fn overflow() -> EngineError {
    EngineError::Broken("the vouchers of a channel leave the range of an amount".into())
}

impl Engine {
    /// What a wallet of this tenant looks at: what may be held of its money is bounded, and channels only where its
    /// configuration lets it put money into them.
    pub(super) fn screening_of(&self, tenant: &Tenant) -> Wallet<'_> {
        let Limits { held_seconds_max: seconds_max, held_fee_bps_max: fee_bps_max, .. } = tenant.limits;
        let wallet =
            Wallet::new(&self.assets).with_holds(HoldLimits { now: self.now_seconds(), seconds_max, fee_bps_max });
        match &tenant.limits.channels {
            Some(channels) => wallet.with_channels(channels.withdraw_delay_seconds_max),
            None => wallet,
        }
    }

    /// The next step of the channel that pays this offer, where one can be taken now.
    pub(super) async fn next_step(&self, tenant: &Tenant, offer: &Offer, payer: Address) -> Result<B256, EngineError> {
        for number in 0..CHANNELS_MAX {
            let channel = channel_for(offer.terms(), payer, number).ok_or_else(overflow)?;
            let id = channel.id(offer.network());
            let state = self.chain.channel(id, At::Latest).await?;
            // What is being taken back is good for nothing more.
            if state.withdraw_requested_at != 0 {
                continue;
            }
            let last = self.last_step(&tenant.id, &first_step(offer, &channel)?).await?;
            let (next, step) = match &last {
                None => (0, Step::default()),
                Some((last, spend)) => {
                    let step = Step::of(spend).map_err(|fault| EngineError::Broken(fault.to_string()))?;
                    if !step.is_over(spend.state) {
                        return Err(busy(spend));
                    }
                    let before = step.after().ok_or_else(overflow)?;
                    (last.saturating_add(1), Step { before, charged: None, highest: step.highest })
                }
            };
            let signed = step.signed(offer.amount()).ok_or_else(overflow)?;
            if signed > state.balance {
                // Money that is put in makes every voucher good that was ever signed: never for more than this payment is.
                if step.highest > signed {
                    continue;
                }
                self.deposit_for(tenant, offer, &state, step.before).await?;
            }
            return Ok(nonce_of(id, next));
        }
        let expected = format!("one of {CHANNELS_MAX} channels with {} that takes more", offer.pay_to());
        Err(EngineError::ChannelLimit { expected, found: "none".into() })
    }

    /// The last step that was ever begun in a channel, and its payment.
    pub(crate) async fn last_step(
        &self,
        tenant: &TenantId,
        first: &Authorization,
    ) -> Result<Option<(u64, Spend)>, EngineError> {
        let (mut low, mut high) = (self.desk.step_so_far(tenant, first), 1_u64);
        let Some(mut found) = self.step_at(tenant, first, low).await? else { return Ok(None) };
        // The claims of steps have no holes: doubled until one is not there, then halved.
        while let Some(spend) = self.step_at(tenant, first, low.saturating_add(high)).await? {
            (low, found) = (low.saturating_add(high), spend);
            high = high.saturating_mul(2);
        }
        while high > 1 {
            high /= 2;
            if let Some(spend) = self.step_at(tenant, first, low.saturating_add(high)).await? {
                (low, found) = (low.saturating_add(high), spend);
            }
        }
        self.desk.stepped(tenant, first, low);
        Ok(Some((low, found)))
    }

    pub(super) async fn step_at(
        &self,
        tenant: &TenantId,
        first: &Authorization,
        number: u64,
    ) -> Result<Option<Spend>, EngineError> {
        let claim = self.store.claim(tenant, &ClaimKey::Authorization(sibling(first, number))).await?;
        match claim.map(|claim| claim.outcome) {
            None => Ok(None),
            Some(ClaimOutcome::Spend(id)) => {
                let spend = self.store.spend(tenant, id).await?;
                Ok(Some(spend.ok_or_else(|| EngineError::Broken(format!("a step names {id}, which is not there")))?))
            }
            Some(_) => Err(EngineError::Broken("a step of a channel is claimed by no payment".into())),
        }
    }

    /// The channel that a step is of, among those that pay its offer.
    pub(crate) fn channel_of(&self, offer: &Offer, step: &Authorization) -> Result<Channel, EngineError> {
        let payer = step.payer.parse().map_err(|_| EngineError::Broken("a payer cannot be read".into()))?;
        let first = sibling(step, 0);
        for number in 0..CHANNELS_MAX {
            let channel = channel_for(offer.terms(), payer, number).ok_or_else(overflow)?;
            if first_step(offer, &channel)? == first {
                return Ok(channel);
            }
        }
        Err(EngineError::Broken("a step is of no channel of its offer".into()))
    }

    /// What was bought by a step, and where it stands.
    pub(crate) async fn offer_of_step(&self, identity: &Identity, spend: &Spend) -> Result<Offer, EngineError> {
        let bundle = self.bundle(identity, spend).await?;
        let Rail::X402(offered) = &bundle.rail else {
            return Err(EngineError::Broken("a step of a channel without its 402".into()));
        };
        self.offer_taken(offered)
    }

    /// The same bytes, whenever they are asked for; with the deposit, as long as that may still have to be carried.
    pub(crate) async fn sign_drawn(
        &self,
        identity: &Identity,
        tenant: &Tenant,
        offer: &Offer,
        spend: &Spend,
    ) -> Result<PaymentPayload, EngineError> {
        let wallet = tenant.wallet.as_ref().ok_or(EngineError::NotConfigured("wallet"))?;
        let channel = self.channel_of(offer, &spend.authorization)?;
        let before = Step::of(spend).map_err(|fault| EngineError::Broken(fault.to_string()))?.before;
        let draw = Draw { offer, channel, before, top_up: None };
        let top_up = self.top_up(identity, tenant, &draw, spend).await?;
        let payload = wallet.sign_voucher(spend, &Draw { top_up, ..draw }).await?;
        if spend.state == SpendState::Committed
            && let Err(error) = self.cover_before(identity, spend).await
        {
            tracing::warn!(spend = %spend.id, code = error.code(), "what was not charged before waits: {error}");
        }
        Ok(payload)
    }

    /// What was not charged of earlier steps comes back once this one's voucher takes the place of theirs.
    async fn cover_before(&self, identity: &Identity, spend: &Spend) -> Result<(), EngineError> {
        let number = number_of(&spend.authorization).unwrap_or_default();
        for earlier in (number.saturating_sub(LOOK_BACK)..number).rev() {
            let Some(before) = self.step_at(&identity.tenant, &spend.authorization, earlier).await? else { break };
            let step = Step::of(&before).map_err(|fault| EngineError::Broken(fault.to_string()))?;
            if before.state != SpendState::Settled || step.charged == Some(before.money.amount) {
                continue;
            }
            let command = Command::Cover { spend: before.id, by: Covering::Step(spend.id) };
            match self.run(identity, command, Vec::new()).await {
                Ok(_) | Err(EngineError::Book(Rejection::NotCovered { .. })) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// What a payee answered to a voucher: within what was signed it is booked, beyond it is nothing but a reason for doubt.
    pub(super) async fn hear_payee(
        &self,
        identity: &Identity,
        spend: Spend,
        (reported, demanded): (Option<SettleResponse>, Option<PaymentRequired>),
    ) -> Result<Spend, EngineError> {
        if !spend.state.is_signed() {
            return Ok(spend);
        }
        let offer = self.offer_of_step(identity, &spend).await?;
        let channel = self.channel_of(&offer, &spend.authorization)?;
        let before = Step::of(&spend).map_err(|fault| EngineError::Broken(fault.to_string()))?.before;
        let (id, bounds) = (channel.id(offer.network()), (before, spend.money.amount));
        let heard = match (&reported, &demanded) {
            (Some(response), _) if response.success => charged_of(response, id, bounds).map(Some),
            (_, Some(required)) => match corrected_of(required, &channel, &offer, bounds) {
                Ok(Some(corrected)) => return self.hear_count(identity, spend, id, corrected, demanded.as_ref()).await,
                other => other.map(|_| None),
            },
            _ => Ok(None),
        };
        match heard {
            Ok(Some(charged)) => self.answered(identity, &spend, charged, json!(reported)).await,
            Ok(None) => self.doubted(identity, spend, None).await,
            Err(refusal) => self.doubted(identity, spend, Some(refusal)).await,
        }
    }

    /// A payee that counts on shows our own signature, or the escrow's figure.
    async fn hear_count(
        &self,
        identity: &Identity,
        spend: Spend,
        channel: B256,
        corrected: Corrected,
        demanded: Option<&PaymentRequired>,
    ) -> Result<Spend, EngineError> {
        let is_proved =
            corrected.is_signed || self.chain.channel(channel, At::Latest).await?.total_claimed >= corrected.so_far;
        match is_proved {
            true => self.answered(identity, &spend, corrected.charged, json!(demanded)).await,
            false => self.doubted(identity, spend, None).await,
        }
    }

    async fn answered(
        &self,
        identity: &Identity,
        spend: &Spend,
        charged: Amount,
        said: Value,
    ) -> Result<Spend, EngineError> {
        let document = Document { kind: "channel-answer".into(), bytes: said.to_string().into_bytes() };
        let command = Command::Answer { spend: spend.id, charged, document: document.digest() };
        let answer = self.run(identity, command, vec![document]).await?;
        answer.spend.ok_or_else(|| EngineError::Broken("an answer without its payment".into()))
    }

    /// What it may charge stays held. A payee that says what cannot be is told from one that says nothing in the log alone:
    /// neither is paid a unit more than was signed, and nothing more is signed in this channel until it says what can be.
    async fn doubted(&self, identity: &Identity, spend: Spend, refusal: Option<Refusal>) -> Result<Spend, EngineError> {
        if let Some(refusal) = refusal {
            let (spend, code) = (spend.id, refusal.code());
            tracing::error!(%spend, code, "the payee of a channel says what cannot be: {refusal}");
        }
        if spend.state == SpendState::Unknown {
            return Ok(spend);
        }
        let answer = self.run(identity, Command::Doubt { spend: spend.id }, Vec::new()).await?;
        Ok(answer.spend.unwrap_or(spend))
    }
}
