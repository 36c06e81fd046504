//! Cancelling what our wallet signed (EIP-3009, `cancelAuthorization`): the payer's signature, carried by a relayer.
//!
//! It is a carriage like any other, under a name of its own beside the payment's: claimed, then signed, then written down,
//! then sent. Nothing is released by it: the wallet's book waits for what the chain shows in a final block, be it the
//! cancellation or a payment that was faster.

use std::sync::Arc;

use ledger::command::{ClaimSettlement, Command};
use ledger::id::{Digest, TenantId};
use ledger::settlement::{Role, Settlement, SettlementKey, SettlementState};
use ledger::spend::Spend;
use x402::chain::{At, SettlementCall};
use x402::settlement::{ClaimKey, Expected, NonceSpace, is_consumed};

use crate::book::{self, service};
use crate::error::EngineError;
use crate::ports::WalletSigner;
use crate::tenant::Tenant;
use crate::{Engine, Identity};

fn key_of(expected: &Expected) -> Result<SettlementKey, EngineError> {
    let authorization = book::authorization(&ClaimKey { space: NonceSpace::Cancel, ..expected.key })?;
    Ok(SettlementKey { role: Role::Facilitator, authorization })
}

fn claim(spend: &Spend, expected: &Expected, since_block: u64) -> Result<ClaimSettlement, EngineError> {
    // Nobody is paid by it.
    let pay_to = book::text(expected.key.payer);
    Ok(ClaimSettlement {
        key: key_of(expected)?,
        money: spend.money.clone(),
        payee: pay_to.parse().map_err(|_| EngineError::Broken("an address is no payee".into()))?,
        subject: Digest::of_parts("purser/cancellation/1", &[&spend.authorization.nonce]),
        pay_to,
        valid_before: spend.valid_before,
        since_block,
        cover: None,
        credit: None,
        named: None,
        order: None,
    })
}

impl Engine {
    /// Begins it, once. What cannot be begun now is tried again as long as the authorization lives; from then on the chain
    /// refuses the payment by itself.
    pub(crate) async fn cancel(&self, tenant: &TenantId, spend: &Spend) -> Result<(), EngineError> {
        let tenant = self.tenant(tenant)?;
        let Some((carrier, wallet)) = canceller(&tenant) else { return Ok(()) };
        if self.clock.now().seconds() >= spend.valid_before {
            return Ok(());
        }
        let expected = book::expected_of_spend(spend)?;
        if self.cancellation(carrier, &expected).await?.is_some_and(|known| known.state != SettlementState::Claimed) {
            return Ok(());
        }
        // Somebody was faster.
        if is_consumed(self.chain.as_ref(), expected.key, At::Latest).await? {
            return Ok(());
        }
        let identity = service(carrier, "facilitator")?;
        let claim = claim(spend, &expected, self.finalized_lately().await?)?;
        let key = claim.key.clone();
        self.run(&identity, Command::Claim(Box::new(claim)), Vec::new()).await?;
        let Some(_in_hand) = self.desk.take(carrier, &key) else { return Ok(()) };
        if self.carried(carrier, &key).await?.state != SettlementState::Claimed {
            return Ok(());
        }
        match self.sign_cancellation(&identity, &key, spend, &expected, wallet).await {
            Ok(settlement) => {
                tracing::info!(spend = %spend.id, "a cancellation of what was signed is sent");
                self.send(&identity, &settlement, 0).await;
                Ok(())
            }
            Err(error) => {
                self.run(&identity, Command::Abandon { settlement: key }, Vec::new()).await?;
                Err(error)
            }
        }
    }

    /// Signed and made durable; nothing is sent.
    async fn sign_cancellation(
        &self,
        identity: &Identity,
        key: &SettlementKey,
        spend: &Spend,
        expected: &Expected,
        wallet: &Arc<dyn WalletSigner>,
    ) -> Result<Settlement, EngineError> {
        let role = self.facilitator_role(&identity.tenant)?;
        let asset = self.assets.find(expected.key.network, expected.key.token);
        let unknown = || EngineError::Broken(format!("{} was signed for and is not known", expected.key.token));
        let call = wallet.cancel(spend, &asset.ok_or_else(unknown)?.domain()).await?;
        let relayers: Vec<_> = role.relayers().collect();
        let turn = self.desk.turn(&identity.tenant, relayers.iter().map(|relayer| relayer.address()));
        let relayer = relayers.get(turn.place()).copied().unwrap_or(&role.relayer);
        self.prepare(identity, key, SettlementCall::Cancel(Box::new(call)), relayer.as_ref()).await
    }

    /// One that is under way or over, whatever it came to.
    async fn cancellation(&self, carrier: &TenantId, expected: &Expected) -> Result<Option<Settlement>, EngineError> {
        let found = self.store.settlement(carrier, &key_of(expected)?).await?;
        Ok(found.filter(|found| found.state != SettlementState::Abandoned))
    }

    /// Whether the chain is asked, or did, let what this spend signed go unpaid: it is not given to anybody again.
    pub(crate) async fn is_called_back(&self, tenant: &Tenant, spend: &Spend) -> Result<bool, EngineError> {
        if !spend.authorization.can_be_cancelled() {
            return Ok(false);
        }
        let Some((carrier, _)) = canceller(tenant) else { return Ok(false) };
        let found = self.cancellation(carrier, &book::expected_of_spend(spend)?).await?;
        Ok(found.is_some_and(|found| found.state != SettlementState::Failed))
    }
}

/// Whose relayers carry it, and the wallet whose signature it takes.
fn canceller(tenant: &Tenant) -> Option<(&TenantId, &Arc<dyn WalletSigner>)> {
    tenant.cancelled_by.as_ref().zip(tenant.wallet.as_ref())
}
