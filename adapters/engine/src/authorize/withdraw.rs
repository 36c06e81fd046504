//! Money in a channel whose payee does not give it back: the wallet asks the escrow for it, waits as long as the channel says,
//! and fetches it.
//!
//! What was charged stays: it is the payee's, claimed or not. During the delay the payee can claim what its vouchers are good
//! for, and what it does is booked as ever; what comes back is what the escrow sends. Asking and fetching are a round, numbered
//! from 0, so that a channel which is used again can be left again.

use std::time::Duration;

use alloy_primitives::{B256, keccak256};
use ledger::channel::sibling;
use ledger::id::TenantId;
use ledger::money::Amount;
use ledger::settlement::{Settlement, SettlementState};
use ledger::spend::Authorization;
use x402::batch_settlement::{CallKind, ChannelCall, ESCROW};
use x402::chain::{At, SettlementCall};

use super::channels::OwnChannel;
use crate::error::EngineError;
use crate::facilitate::OwnCall;
use crate::{Engine, Identity};

/// Tag of the names of rounds.
const ROUND: &[u8] = b"purser/channel-withdrawal/1";
/// Of one channel.
const ROUNDS_MAX: u32 = 1_000;

/// What names one call of a round.
fn name(first: &Authorization, kind: CallKind, round: u32) -> B256 {
    let parts = [ROUND, first.network.as_bytes(), first.asset.as_str().as_bytes(), first.payer.as_bytes()];
    let hashed: Vec<u8> = parts.iter().flat_map(|part| keccak256(part).0).collect();
    keccak256([hashed.as_slice(), &first.nonce, kind.as_str().as_bytes(), &round.to_be_bytes()].concat())
}

fn first_of(own: &OwnChannel) -> Authorization {
    sibling(&own.last.authorization, 0)
}

fn call(own: &OwnChannel, kind: CallKind, amount: Amount, round: u32) -> OwnCall {
    let channel = own.channel;
    let call = match kind {
        CallKind::Finalize => ChannelCall::Finalize { channel },
        _ => ChannelCall::Withdraw { channel, amount },
    };
    OwnCall {
        call: SettlementCall::Channel(Box::new(call)),
        kind,
        escrow: ESCROW,
        payer: channel.payer,
        token: channel.token,
        amount,
        identity: name(&first_of(own), kind, round),
    }
}

impl Engine {
    /// Asks for what is left in a channel, or fetches it where its time has come. Where the wallet asked before, and it is too
    /// early, nothing is done.
    pub async fn withdraw_channel(&self, identity: &Identity, id: &str) -> Result<OwnChannel, EngineError> {
        let own = self.own_channel(identity, id).await?;
        let wait = Duration::from_millis(self.tenant(&identity.tenant)?.limits.settle_wait_millis);
        if own.state.withdraw_requested_at != 0 {
            self.fetch_withdrawal(identity, &own, wait).await?;
            return self.own_channel(identity, id).await;
        }
        let asked = self.ask_for_withdrawal(identity, &own, wait).await;
        let after = self.own_channel(identity, id).await?;
        match asked {
            // Another process of ours asked at the same moment: the escrow takes one request.
            Err(EngineError::ChainRefused(_)) if after.state.withdraw_requested_at != 0 => Ok(after),
            other => other.map(|()| after),
        }
    }

    /// Whether the wallet asked for what is in a channel, by the book, and has not got it.
    pub(super) async fn is_withdrawing(&self, tenant: &TenantId, first: &Authorization) -> Result<bool, EngineError> {
        let Some((round, _)) = self.round(tenant, first).await? else { return Ok(false) };
        let fetched = self.call_of(tenant, first, CallKind::Finalize, round).await?;
        Ok(fetched.is_none_or(|fetched| fetched.state != SettlementState::Settled))
    }

    /// What a crash left, and what the time has come for.
    pub(super) async fn go_on_withdrawing(&self, identity: &Identity, own: &OwnChannel) -> Result<(), EngineError> {
        let done = match own.state.withdraw_requested_at {
            0 => self.resume_withdrawal(identity, own).await,
            _ => self.fetch_withdrawal(identity, own, Duration::ZERO).await,
        };
        // Others wait for this sweep too.
        if let Err(error) = done {
            let (channel, code) = (own.id, error.code());
            tracing::warn!(%channel, code, "what was asked for out of a channel is not fetched: {error}");
        }
        Ok(())
    }

    async fn resume_withdrawal(&self, identity: &Identity, own: &OwnChannel) -> Result<(), EngineError> {
        match self.round(&identity.tenant, &first_of(own)).await? {
            Some((round, asked)) if asked.state == SettlementState::Claimed => {
                let again = call(own, CallKind::Withdraw, asked.money.amount, round);
                self.send_own(identity, again, Duration::ZERO).await.map(|_| ())
            }
            _ => Ok(()),
        }
    }

    async fn ask_for_withdrawal(
        &self,
        identity: &Identity,
        own: &OwnChannel,
        wait: Duration,
    ) -> Result<(), EngineError> {
        let tenant = &identity.tenant;
        let round = match self.round(tenant, &first_of(own)).await? {
            None => 0,
            Some((round, asked)) if self.is_over(tenant, own, (round, &asked)).await? => round.saturating_add(1),
            // On its way, or in a block that this node has not seen.
            Some((_, asked)) if asked.state == SettlementState::Settled => return Ok(()),
            Some((round, asked)) if asked.state.is_open() => {
                let same = call(own, CallKind::Withdraw, asked.money.amount, round);
                return self.send_own(identity, same, wait).await.map(|_| ());
            }
            Some((round, _)) => round,
        };
        let amount = own.left();
        if amount.is_zero() {
            let expected = "a channel with something in it that is neither claimed nor charged";
            let found =
                format!("{} with {} claimed and {} charged", own.state.balance, own.state.total_claimed, own.charged);
            return Err(EngineError::invalid("channel", expected, found));
        }
        let asked = self.send_own(identity, call(own, CallKind::Withdraw, amount, round), wait).await?;
        match asked.state {
            SettlementState::Failed | SettlementState::Abandoned => {
                Err(EngineError::ChainRefused("the escrow does not take the request for the money".to_owned()))
            }
            _ => Ok(()),
        }
    }

    /// Once the channel's delay is over, as the chain counts time.
    async fn fetch_withdrawal(&self, identity: &Identity, own: &OwnChannel, wait: Duration) -> Result<(), EngineError> {
        let Some(from) = own.withdraw_from() else { return Ok(()) };
        if self.chain.block(At::Latest).await?.timestamp < from {
            return Ok(());
        }
        let tenant = &identity.tenant;
        let first = first_of(own);
        let mut round = self.round(tenant, &first).await?.map_or(0, |(round, _)| round);
        // Where somebody else who has the key asked, it belongs to no round of ours.
        while self.call_of(tenant, &first, CallKind::Finalize, round).await?.is_some_and(|known| is_done(&known)) {
            round = round.saturating_add(1);
        }
        self.send_own(identity, call(own, CallKind::Finalize, own.left(), round), wait).await.map(|_| ())
    }

    /// The last round that was begun, and what asked for the money in it.
    async fn round(&self, tenant: &TenantId, first: &Authorization) -> Result<Option<(u32, Settlement)>, EngineError> {
        let mut last = None;
        for round in 0..ROUNDS_MAX {
            match self.call_of(tenant, first, CallKind::Withdraw, round).await? {
                Some(found) => last = Some((round, found)),
                None => break,
            }
        }
        Ok(last)
    }

    async fn call_of(
        &self,
        tenant: &TenantId,
        first: &Authorization,
        kind: CallKind,
        round: u32,
    ) -> Result<Option<Settlement>, EngineError> {
        let token = first.asset.as_str().rsplit(':').next().unwrap_or_default().parse();
        let token = token.map_err(|_| EngineError::Broken("a token in the book cannot be read".into()))?;
        self.own_call(tenant, (kind, ESCROW, token, name(first, kind, round))).await
    }

    /// Whether a round is over for good: its money is fetched, or was given back before that, so that there is none to fetch.
    async fn is_over(
        &self,
        tenant: &TenantId,
        own: &OwnChannel,
        (round, asked): (u32, &Settlement),
    ) -> Result<bool, EngineError> {
        let fetched = self.call_of(tenant, &first_of(own), CallKind::Finalize, round).await?;
        if let Some(fetched) = fetched.filter(|fetched| fetched.state != SettlementState::Abandoned) {
            return Ok(is_done(&fetched));
        }
        if !is_done(asked) {
            return Ok(false);
        }
        let finalized = self.chain.block(At::Finalized).await?;
        Ok(self.chain.channel(own.id, At::Number(finalized.number)).await?.withdraw_requested_at == 0)
    }
}

fn is_done(call: &Settlement) -> bool {
    call.state == SettlementState::Settled && call.young.is_none()
}
