//! What only the chain can say of a permit.

use alloy_primitives::{Address, B256, U256};

use super::PERMIT2;
use super::approval::{Approval, SIGNED};
use super::sponsor::Sponsoring;
use crate::chain::{At, Chain, ChainError, PermitCall, Pool};
use crate::exact::{ClaimedElsewhere, OnChainError};
use crate::reason::Reason;
use crate::refusal::Refusal;

/// Would this settle now? Chain, asset and payer were looked at by the caller.
///
/// The nonce is asked for by name: an official facilitator that looks at allowance and balance alone calls a consumed
/// permit valid.
pub(crate) async fn verify_on_chain(
    chain: &dyn Chain,
    call: &PermitCall,
    relayer: Address,
    elsewhere: ClaimedElsewhere,
) -> Result<(), OnChainError> {
    let permit = &call.permit;
    if chain.permit_consumed(permit.from, B256::from(permit.nonce), At::Latest).await? {
        let field = "payload.permit2Authorization.nonce";
        return Err(Refusal::new(Reason::Permit2NonceUsed, field, "a nonce not used before", permit.nonce).into());
    }
    let (field, others) = ("payload.permit2Authorization.permitted.amount", U256::from(elsewhere.in_all.get()));
    let balance = chain.balance_of(permit.token, permit.from, At::Latest).await?;
    let needed = call.amount.saturating_add(others);
    if balance < needed {
        let expected = format!("a balance of {needed} (of it {} claimed by other payments)", elsewhere.in_all);
        return Err(Refusal::new(Reason::Permit2InsufficientBalance, field, expected, balance).into());
    }
    let approval = call.sponsored.as_ref().and_then(Sponsoring::approval);
    let mut before = None;
    if call.sponsored.is_none() || approval.is_some() {
        let allowance = chain.allowance(permit.token, permit.from, PERMIT2).await?;
        let needed = call.amount.saturating_add(U256::from(elsewhere.by_permit.get()));
        before = approval.filter(|approval| allowance < needed && approval.value >= needed);
        if allowance < needed && before.is_none() {
            let others = elsewhere.by_permit;
            let expected =
                format!("an allowance of {needed} for Permit2 ({PERMIT2}; of it {others} claimed by other payments)");
            return Err(Refusal::new(Reason::Permit2AllowanceRequired, field, expected, allowance).into());
        }
    }
    for contract in [PERMIT2, permit.spender] {
        if chain.code(contract).await?.is_empty() {
            let found = format!("no code at {contract}");
            let field = "payload.permit2Authorization.spender";
            return Err(Refusal::new(Reason::Permit2ProxyNotDeployed, field, "a contract", found).into());
        }
    }
    let simulated = match before {
        None => chain.simulate_permit(call, relayer).await,
        Some(approval) => {
            check_approval(chain, approval).await?;
            chain.simulate_approved(approval, call, relayer).await
        }
    };
    match simulated {
        Ok(()) => Ok(()),
        Err(ChainError::Reverted { reason, .. }) => Err(diagnose(chain, call, &reason).await.into()),
        Err(error) => Err(error.into()),
    }
}

/// Would the chain take it, if its owner had the gas?
async fn check_approval(chain: &dyn Chain, approval: &Approval) -> Result<(), OnChainError> {
    let nonce = chain.account_nonce(approval.owner, Pool::Mined).await?;
    if approval.nonce != nonce {
        let (expected, found) = (format!("the payer's next nonce, {nonce}"), approval.nonce);
        return Err(Refusal::new(Reason::ApprovalFailed, SIGNED, expected, found).into());
    }
    match chain.simulate_approval(approval).await {
        Ok(()) => Ok(()),
        // A node does not even run what asks for less gas than its bytes cost.
        Err(ChainError::Reverted { reason, .. } | ChainError::Refused { message: reason, .. }) => {
            Err(Refusal::new(Reason::ApprovalFailed, SIGNED, "an approval that the chain takes", reason).into())
        }
        Err(error) => Err(error.into()),
    }
}

/// The proxy swallows a sponsored permit that fails, and then the allowance is what is missing.
async fn diagnose(chain: &dyn Chain, call: &PermitCall, revert: &str) -> Refusal {
    let permit = &call.permit;
    let allowance = chain.allowance(permit.token, permit.from, PERMIT2).await;
    let simulated =
        Refusal::new(Reason::Permit2SimulationFailed, "payload", "a settlement that does not revert", revert);
    if call.sponsored.as_ref().is_some_and(|sponsored| sponsored.approval().is_some()) {
        return simulated;
    }
    if let Ok(allowance) = allowance
        && allowance < call.amount
    {
        let field = "extensions.eip2612GasSponsoring.info.signature";
        let expected = format!("a permit of {} for Permit2 that the token takes", call.amount);
        return Refusal::new(Reason::Permit2AllowanceRequired, field, expected, format!("{allowance}, and {revert}"));
    }
    simulated
}
