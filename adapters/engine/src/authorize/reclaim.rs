//! Money that an escrow holds (x402, `auth-capture`) past the moment up to which it could be captured: the wallet takes back
//! what is left. That it is back, and to which budget, a final block says, as of any payment that is held.

use std::time::Duration;

use ledger::id::SpendId;
use ledger::money::Amount;
use ledger::settlement::Settlement;
use ledger::spend::{Spend, SpendState};
use x402::auth_capture::{ESCROW, EscrowCall, PaymentInfo};
use x402::batch_settlement::CallKind;
use x402::chain::{At, SettlementCall};
use x402::exact::Signed;
use x402::network::Network;

use super::channels::check_caller;
use super::terms::nonce_of;
use crate::book;
use crate::error::EngineError;
use crate::evidence::Rail;
use crate::facilitate::OwnCall;
use crate::{Engine, Identity};

const PAGE: u32 = 500;

/// What is left of a payment in the escrow.
#[derive(Clone, Debug)]
pub struct OwnHold {
    pub spend: Spend,
    pub left: Amount,
    /// From then on the wallet can take it back, and nobody can capture it, in Unix seconds.
    pub deadline: u64,
    /// Where the wallet takes it back: how far that is.
    pub taken_back: Option<Settlement>,
    /// What keeps it there past the deadline: a code and a sentence.
    pub kept_by: Option<(&'static str, String)>,
}

fn call(info: PaymentInfo, left: Amount, network: Network) -> OwnCall {
    OwnCall {
        call: SettlementCall::Escrow(Box::new(EscrowCall::Reclaim { info })),
        kind: CallKind::Reclaim,
        escrow: ESCROW,
        payer: info.payer,
        token: info.token,
        amount: left,
        identity: info.hash(network, ESCROW),
    }
}

impl Engine {
    /// Payments of the wallet's that lie in the escrow, the oldest first.
    pub async fn own_holds(&self, identity: &Identity) -> Result<Vec<OwnHold>, EngineError> {
        check_caller(identity)?;
        let (mut found, mut after) = (Vec::new(), None);
        loop {
            let page = self.store.open_spends(&identity.tenant, after, PAGE).await?;
            let Some(last) = page.last() else { return Ok(found) };
            after = Some(last.hold.seq);
            for spend in page.into_iter().filter(|spend| spend.authorization.is_held() && spend.state.is_signed()) {
                found.extend(self.own_hold(identity, spend).await?);
            }
        }
    }

    async fn own_hold(&self, identity: &Identity, spend: Spend) -> Result<Option<OwnHold>, EngineError> {
        let info = self.held_as(identity, &spend).await?;
        let left = self.chain.escrowed(info.hash(self.network, ESCROW), At::Latest).await?.capturable;
        if left.is_zero() {
            return Ok(None);
        }
        let (deadline, own) = (info.authorization_expiry.to::<u64>(), call(info, left, self.network));
        let named = (own.kind, own.escrow, own.token, own.identity);
        let taken_back = self.own_call(&identity.tenant, named).await?.filter(|known| known.state.is_open());
        let is_late = self.chain.block(At::Latest).await?.timestamp >= deadline;
        let kept_by = match is_late && taken_back.is_none() {
            true => self.what_keeps(identity, &own).await?,
            false => None,
        };
        Ok(Some(OwnHold { spend, left, deadline, taken_back, kept_by }))
    }

    async fn what_keeps(
        &self,
        identity: &Identity,
        own: &OwnCall,
    ) -> Result<Option<(&'static str, String)>, EngineError> {
        if let Err(why) = self.check_own(&identity.tenant, own).await {
            return Ok(Some((why.code(), why.to_string())));
        }
        let is_automatic = self.tenant(&identity.tenant)?.take_back.is_automatic;
        let off = "wallet.take_back: true was expected for it to be taken back without being asked for, false is there";
        Ok((!is_automatic).then(|| ("take_back_off", off.to_owned())))
    }

    /// Takes back what is left of one payment, after its deadline.
    pub async fn reclaim(&self, identity: &Identity, id: SpendId) -> Result<Spend, EngineError> {
        check_caller(identity)?;
        let spend = self.spend(identity, id).await?;
        if !spend.authorization.is_held() {
            let expected = "a payment that an escrow holds";
            return Err(EngineError::invalid("payment", expected, spend.authorization.rail().to_string()));
        }
        if !spend.state.is_signed() {
            return Ok(spend);
        }
        let wait = Duration::from_millis(self.tenant(&identity.tenant)?.limits.settle_wait_millis);
        let info = self.held_as(identity, &spend).await?;
        let (deadline, head) = (info.authorization_expiry.to::<u64>(), self.chain.block(At::Latest).await?.timestamp);
        if head < deadline {
            let expected = format!("a time at or past its captureDeadline of {deadline}, by the chain");
            return Err(EngineError::invalid("payment", expected, head.to_string()));
        }
        self.reclaim_as(identity, info, wait).await?;
        self.reconcile_spend(identity, &spend).await?;
        self.spend(identity, id).await
    }

    /// The same by itself, once nobody can capture it. What fails is tried again later, and said in the log.
    pub(crate) async fn reclaim_late(&self, identity: &Identity, spend: &Spend) -> Result<SpendState, EngineError> {
        let is_automatic = self.tenant(&identity.tenant)?.take_back.is_automatic;
        let is_young = self.clock.now().seconds() < spend.valid_before;
        if !is_automatic || is_young || !spend.authorization.is_held() || self.desk.is_put_off(spend.id) {
            return Ok(spend.state);
        }
        let taken = async {
            let info = self.held_as(identity, spend).await?;
            let head = self.chain.block(At::Latest).await?.timestamp;
            match head >= info.authorization_expiry.to::<u64>() {
                true => self.reclaim_as(identity, info, Duration::ZERO).await,
                false => Ok(()),
            }
        };
        if let Err(error) = taken.await {
            self.desk.put_off(spend.id);
            let (spend, code) = (spend.id, error.code());
            tracing::warn!(%spend, code, "what is held past its deadline is not taken back: {error}");
        }
        Ok(spend.state)
    }

    async fn reclaim_as(&self, identity: &Identity, info: PaymentInfo, wait: Duration) -> Result<(), EngineError> {
        let left = self.chain.escrowed(info.hash(self.network, ESCROW), At::Latest).await?.capturable;
        if left.is_zero() {
            return Ok(());
        }
        self.send_own(identity, call(info, left, self.network), wait).await.map(|_| ())
    }

    /// The terms under which the escrow holds it: those that were signed.
    async fn held_as(&self, identity: &Identity, spend: &Spend) -> Result<PaymentInfo, EngineError> {
        let bundle = self.bundle(identity, spend).await?;
        let Rail::X402(offered) = &bundle.rail else {
            return Err(EngineError::Broken("a payment that is held without its 402".into()));
        };
        let offer = self.offer_taken(offered)?;
        let expected = book::expected_of_spend(spend)?;
        let unsigned = offer.authorize(expected.key.payer, nonce_of(&offer, spend), 0, expected.valid_before)?;
        match unsigned.to_sign() {
            Signed::Escrowed(held) if held.authorization.nonce == expected.key.nonce => Ok(held.info),
            _ => Err(EngineError::Broken("what was signed for the escrow is not what the book names".into())),
        }
    }
}
