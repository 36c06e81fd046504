//! Money for a channel: how much, and that it is signed once.

use alloy_primitives::U256;
use ledger::account::Account;
use ledger::command::{ClaimSettlement, Command};
use ledger::id::{Digest, SpendId, TenantId};
use ledger::money::Amount;
use ledger::settlement::{Role, SettlementKey};
use ledger::spend::{Spend, SpendState};
use ledger::transfer::Money;
use serde_json::Value;
use x402::batch_settlement::{ChannelState, Draw, EIP3009_COLLECTOR, TopUp};
use x402::chain::At;
use x402::select::Offer;
use x402::settlement::is_consumed;

use super::MARGIN_SECONDS;
use super::channel::overflow;
use crate::book;
use crate::error::EngineError;
use crate::tenant::{Tenant, WalletChannels};
use crate::{Engine, Identity};

/// Of a deposit that comes with a payment: once for each.
fn deposit_salt(spend: SpendId) -> U256 {
    U256::from_be_bytes(Digest::of_parts("purser/channel-deposit/1", &[&spend.0]).0)
}

impl Engine {
    /// How much is put into a channel for an offer: several prices at once, within what the configuration lets be bound.
    pub(super) async fn deposit_for(
        &self,
        tenant: &Tenant,
        offer: &Offer,
        state: &ChannelState,
        before: Amount,
    ) -> Result<Amount, EngineError> {
        let rule = tenant.limits.channels.as_ref().ok_or(EngineError::NotConfigured("wallet.channels"))?;
        let signed = before.checked_add(offer.amount()).ok_or_else(overflow)?;
        let needed = signed.checked_sub(state.balance).unwrap_or(Amount::ZERO).max(least_deposit(offer)?);
        let bound = state.balance.checked_sub(before).unwrap_or(Amount::ZERO);
        let room = rule.bound_max.checked_sub(bound).unwrap_or(Amount::ZERO);
        let amount = needed.max(prices(offer.amount(), rule).min(room));
        if amount > room {
            let expected = format!("at most {} bound in one channel", rule.bound_max);
            let found = format!("{bound} that is there and {amount} that it would take");
            return Err(EngineError::ChannelLimit { expected, found });
        }
        let elsewhere = self.bound_in_channels(&tenant.id, offer).await?;
        let total = elsewhere.checked_add(amount).unwrap_or(Amount::MAX);
        if total > rule.total_max {
            let expected = format!("at most {} bound in all channels", rule.total_max);
            let found = format!("{elsewhere} that is there and {amount} that it would take");
            return Err(EngineError::ChannelLimit { expected, found });
        }
        Ok(amount)
    }

    /// Of this asset, what is under way there too.
    async fn bound_in_channels(&self, tenant: &TenantId, offer: &Offer) -> Result<Amount, EngineError> {
        let balances = self.store.balances(tenant).await?;
        let of_channels =
            balances.iter().filter(|row| row.asset == *offer.asset() && matches!(row.account, Account::Channel(_)));
        let mut sum = Amount::ZERO;
        for row in of_channels {
            let come = row.balance.debit_posted.checked_add(row.balance.debit_pending).ok_or_else(overflow)?;
            let left = come.checked_sub(row.balance.credit_posted).unwrap_or(Amount::ZERO);
            sum = sum.checked_add(left).ok_or_else(overflow)?;
        }
        Ok(sum)
    }

    /// The deposit of a payment, claimed before it is signed; `None` where there is enough in the channel, or it has come.
    pub(super) async fn top_up(
        &self,
        identity: &Identity,
        tenant: &Tenant,
        draw: &Draw<'_>,
        spend: &Spend,
    ) -> Result<Option<TopUp>, EngineError> {
        let salt = deposit_salt(spend.id);
        let named = Draw { top_up: Some(TopUp { amount: Amount::ZERO, salt, valid_before: 0 }), ..*draw };
        let claim = named.deposit_key().ok_or_else(overflow)?;
        let key = SettlementKey { role: Role::Wallet, authorization: book::authorization(&claim)? };
        let mut found = self.store.settlement(&tenant.id, &key).await?;
        let lives = self.clock.now().seconds().saturating_add(i64::try_from(MARGIN_SECONDS).unwrap_or_default());
        if found.is_none() && spend.state == SpendState::Committed && lives <= spend.valid_before {
            let state = self.chain.channel(draw.channel_id(), At::Latest).await?;
            if draw.max_claimable().ok_or_else(overflow)? > state.balance {
                let amount = self.deposit_for(tenant, draw.offer, &state, draw.before).await?;
                let claim = deposit_claim(draw, spend, key.clone(), amount);
                self.run(identity, Command::Claim(Box::new(claim)), Vec::new()).await?;
                found = self.store.settlement(&tenant.id, &key).await?;
            }
        }
        let Some(found) = found.filter(|found| found.state.is_open()) else { return Ok(None) };
        if is_consumed(self.chain.as_ref(), claim, At::Latest).await? {
            return Ok(None);
        }
        // With what others claimed meanwhile: whoever comes last sees all of it. One that is not signed is over by itself.
        let total_max = tenant.limits.channels.as_ref().map_or(Amount::MAX, |rule| rule.total_max);
        let total = self.bound_in_channels(&tenant.id, draw.offer).await?;
        if total > total_max {
            let (expected, found) = (format!("at most {total_max} bound in all channels"), total.to_string());
            return Err(EngineError::ChannelLimit { expected, found });
        }
        let valid_before = u64::try_from(found.valid_before).unwrap_or_default();
        Ok(Some(TopUp { amount: found.money.amount, salt, valid_before }))
    }
}

fn prices(price: Amount, rule: &WalletChannels) -> Amount {
    Amount::new(price.get().saturating_mul(u128::from(rule.deposit_prices.get())))
}

/// What the payee asks for at least.
fn least_deposit(offer: &Offer) -> Result<Amount, EngineError> {
    match offer.requirements().extra_field("minDeposit") {
        None | Some(Value::Null) => Ok(Amount::ZERO),
        Some(Value::String(text)) => {
            text.parse().map_err(|_| EngineError::invalid("extra.minDeposit", "an amount in digits", text.clone()))
        }
        Some(other) => Err(EngineError::invalid("extra.minDeposit", "an amount in digits", other.to_string())),
    }
}

fn deposit_claim(draw: &Draw<'_>, spend: &Spend, key: SettlementKey, amount: Amount) -> ClaimSettlement {
    ClaimSettlement {
        money: Money { asset: key.authorization.asset.clone(), amount },
        key,
        payee: spend.payee.clone(),
        pay_to: book::text(EIP3009_COLLECTOR),
        // Whose money it becomes.
        subject: Digest(draw.channel_id().0),
        valid_before: spend.valid_before,
        since_block: spend.since_block,
        cover: None,
        credit: None,
        named: None,
        order: None,
    }
}
