//! What our own wallet sends: calls of an escrow that a payer alone can make, to get back what is its own.
//!
//! Each is made as a call that a payee asks for is ([`super::calls`]): claimed under a name of ours, signed and written down,
//! then sent, once, whoever asks and however often. Its account is the payer's own, and pays the gas.

use std::sync::Arc;
use std::time::Duration;

use alloy_primitives::{Address, B256};
use ledger::id::TenantId;
use ledger::money::Amount;
use ledger::settlement::Settlement;
use x402::batch_settlement::{CallKind, record};
use x402::chain::{Pool, Relayer, SettlementCall};
use x402::settlement::{Expected, NonceSpace};

use super::calls::Work;
use super::plans::Plan;
use crate::error::EngineError;
use crate::ports::SignError;
use crate::tenant::FacilitatorRole;
use crate::{Engine, Identity};

/// How often the same call may come to nothing: each try costs gas.
const ATTEMPTS_MAX: u32 = 3;
/// When one that is in no block is sent again at a higher fee, where no facilitator says how long that is.
const RAISE_AFTER: Duration = Duration::from_secs(30);

/// One of them.
pub(crate) struct OwnCall {
    pub call: SettlementCall,
    pub kind: CallKind,
    pub escrow: Address,
    pub payer: Address,
    pub token: Address,
    /// What it is to move, as far as that is known.
    pub amount: Amount,
    /// What there is one call of.
    pub identity: B256,
}

impl OwnCall {
    fn plan(self) -> Plan {
        let Self { call, kind, escrow, payer, token, amount, identity } = self;
        // A claim of nothing is none.
        let amount = amount.max(Amount::new(1));
        let (sender, subject, attempts_max) = (Some(payer), identity, ATTEMPTS_MAX);
        Plan {
            call,
            kind,
            escrow,
            sender,
            payer: Some(payer),
            token,
            to: payer,
            amount,
            identity,
            subject,
            attempts_max,
        }
    }
}

impl Engine {
    /// Makes it, or follows the one that was made. What the account cannot pay for is not begun.
    pub(crate) async fn send_own(
        &self,
        identity: &Identity,
        own: OwnCall,
        wait: Duration,
    ) -> Result<Settlement, EngineError> {
        let (tenant, payer) = (&identity.tenant, own.payer);
        let sender = self.own_sender(tenant, payer)?;
        let plan = own.plan();
        let Some(key) = self.place_of_call(tenant, &plan).await? else {
            let why = format!("at most {ATTEMPTS_MAX} tries of one call were expected, this would be one more");
            return Err(EngineError::ChainRefused(why));
        };
        if !self.is_begun(tenant, &plan).await? {
            sender.affords(&plan.call).await?;
        }
        let (identity, senders) = (identity.clone(), vec![sender]);
        let work = Work { identity, senders, plan: &plan, key, network: self.network, wait };
        self.make(&work).await?.map_err(|refused| {
            EngineError::ChainRefused(refused.error_message.unwrap_or_else(|| "it is not made".to_owned()))
        })
    }

    /// Whether the wallet could make it now.
    pub(crate) async fn check_own(&self, tenant: &TenantId, own: &OwnCall) -> Result<(), EngineError> {
        Ok(self.own_sender(tenant, own.payer)?.affords(&own.call).await?)
    }

    /// Where the last try of it stands; `None` where it was never begun.
    pub(crate) async fn own_call(
        &self,
        tenant: &TenantId,
        (kind, escrow, token, identity): (CallKind, Address, Address, B256),
    ) -> Result<Option<Settlement>, EngineError> {
        let mut last = None;
        for attempt in 0..ATTEMPTS_MAX {
            let key = self.key_of_call(kind, (escrow, token), record(identity, attempt))?;
            match self.store.settlement(tenant, &key).await? {
                Some(found) => last = Some(found),
                None => break,
            }
        }
        Ok(last)
    }

    fn own_sender(&self, tenant: &TenantId, payer: Address) -> Result<Arc<dyn Relayer>, EngineError> {
        let tenant = self.tenant(tenant)?;
        let found = tenant.take_back.senders.iter().find(|sender| sender.address() == payer);
        Ok(found.cloned().ok_or_else(|| SignError::NoKey(payer.to_string()))?)
    }

    /// Every account of a tenant's that sends transactions.
    pub(super) fn senders(&self, tenant: &TenantId) -> Result<Vec<Arc<dyn Relayer>>, EngineError> {
        let tenant = self.tenant(tenant)?;
        let relayers = tenant.facilitator.iter().flat_map(FacilitatorRole::relayers);
        Ok(relayers.chain(&tenant.take_back.senders).cloned().collect())
    }

    pub(super) fn raise_after(&self, tenant: &TenantId) -> Duration {
        self.facilitator_role(tenant).map_or(RAISE_AFTER, |role| role.raise_after)
    }

    /// Whether its account's nonce went to another transaction for good: another process of ours, or another holder of the key,
    /// was faster. It is read before the receipts, so one of its own would be seen.
    pub(super) async fn is_overtaken(
        &self,
        identity: &Identity,
        settlement: &Settlement,
        expected: &Expected,
    ) -> Result<bool, EngineError> {
        let NonceSpace::Escrow(kind) = expected.key.space else { return Ok(false) };
        let Some(own) = settlement.account_nonce.filter(|_| kind.takes_back()) else { return Ok(false) };
        if self.chain.account_nonce(expected.to, Pool::Final).await? <= own {
            return Ok(false);
        }
        for transaction in self.sent(identity, settlement).await? {
            if self.chain.receipt(transaction).await?.is_some() {
                return Ok(false);
            }
        }
        Ok(true)
    }
}
