//! What a tenant pays with.

use std::sync::Arc;

use alloy_primitives::B256;
use chain::payer::OwnSender;
use chain::rpc::RpcChain;
use engine::tenant::TakeBack;
use store::keys::KeyState;
use x402::chain::Relayer;

use super::AssemblyError;
use crate::config::TenantConfig;
use crate::keys::signers::LocalWallet;
use crate::keys::{KeyError, Purpose, Ring, Slot};

/// Its active key pays; those that paid before it sign again what they signed, and nothing else.
pub(super) fn wallet(ring: &Ring, slot: &Slot) -> Result<LocalWallet, AssemblyError> {
    let keys = ring.keys().iter().filter(|key| key.slot == *slot).map(|key| Ok((key.wallet()?, key.sealed.state)));
    let keys = keys.collect::<Result<Vec<_>, KeyError>>()?;
    Ok(LocalWallet::new(keys).ok_or_else(|| KeyError::Missing(slot.clone()))?)
}

/// Each key takes back what it paid: not a revoked one, because what comes to it may go to whoever else has it.
pub(super) fn take_back(tenant: &TenantConfig, ring: &Ring, rpc: &RpcChain) -> Result<TakeBack, AssemblyError> {
    let Some(config) = &tenant.wallet else { return Ok(TakeBack::default()) };
    let slot = Slot::new(&tenant.id, Purpose::Wallet);
    let own = ring.keys().iter().filter(|key| key.slot == slot && key.sealed.state != KeyState::Revoked);
    let senders = own.map(|key| {
        let sender = OwnSender::new(rpc.clone(), &B256::from(*key.secret()), config.take_back_wei_max());
        let broken = |why| AssemblyError::Tenant { tenant: tenant.id.clone(), why };
        Ok(Arc::new(sender.map_err(|error| broken(error.to_string()))?) as Arc<dyn Relayer>)
    });
    let senders = senders.collect::<Result<Vec<_>, AssemblyError>>()?;
    Ok(TakeBack { senders, is_automatic: config.take_back.unwrap_or(true) })
}
