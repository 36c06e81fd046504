//! Running a command, and the translation between what a rail calls things and what the book calls them.

use ledger::command::{Command, Gas, Request};
use ledger::id::{AuthMethod, Caller, CallerKind, RailReference, TenantId};
use ledger::money::Amount;
use ledger::settlement::Settlement;
use ledger::spend::{
    Authorization, CANCELLATION, CHARGED, ESCROW_CALL, GAS_GRANT, HELD, Observation, PERMIT2, Spend, UnusedProof,
    VOUCHER,
};
use ledger::store::{Answer, Document, Work};
use ledger::transfer::Money;
use x402::batch_settlement::CallKind;
use x402::chain::{Block, Receipt};
use x402::exact::ClaimedElsewhere;
use x402::network::Network;
use x402::settlement::{Charge, ClaimKey, Expected, NonceSpace};

use alloy_primitives::{Address, B256, U256};

use crate::error::EngineError;
use crate::{Engine, Identity};

impl Engine {
    pub(crate) async fn run(
        &self,
        identity: &Identity,
        command: Command,
        documents: Vec<Document>,
    ) -> Result<Answer, EngineError> {
        let request = Request { caller: identity.caller.clone(), command };
        Ok(self.store.run(&identity.tenant, Work::new(request, documents)).await?)
    }
}

/// A part of the service itself, in a tenant's book.
pub fn service(tenant: &TenantId, name: &str) -> Result<Identity, EngineError> {
    let principal = name.parse().map_err(|_| EngineError::Broken(format!("`{name}` is no principal")))?;
    let caller = Caller::new(principal, CallerKind::Service, AuthMethod::Internal);
    Ok(Identity { tenant: tenant.clone(), caller })
}

/// As the wire has it, with the checksum of EIP-55: peers compare it with their own account as text.
pub fn payer(authorization: &Authorization) -> String {
    let address = x402::value::address(&authorization.payer);
    address.map_or_else(|_| authorization.payer.clone(), |address| address.to_string())
}

pub fn text(address: Address) -> String {
    format!("{address:#x}")
}

pub fn authorization(key: &ClaimKey) -> Result<Authorization, EngineError> {
    let network = match key.space {
        NonceSpace::Eip3009 => key.network.to_string(),
        NonceSpace::Permit2 => format!("{}/{PERMIT2}", key.network),
        NonceSpace::Cancel => format!("{}/{CANCELLATION}", key.network),
        NonceSpace::Voucher => format!("{}/{VOUCHER}", key.network),
        NonceSpace::Held => format!("{}/{HELD}", key.network),
        NonceSpace::Charged => format!("{}/{CHARGED}", key.network),
        NonceSpace::Gas => format!("{}/{GAS_GRANT}", key.network),
        NonceSpace::Escrow(kind) => format!("{}/{ESCROW_CALL}/{}", key.network, kind.as_str()),
    };
    let asset = match key.space {
        NonceSpace::Gas => native_asset(key.network)?,
        _ => asset_id(key.network, key.token)?,
    };
    Ok(Authorization { network, asset, payer: text(key.payer), nonce: key.nonce.0 })
}

/// With what this settlement of the same payer could still move.
pub fn claimed_too(sum: ClaimedElsewhere, other: &Settlement) -> Result<ClaimedElsewhere, EngineError> {
    let space = match other.key.authorization.nonce_space() {
        None => NonceSpace::Eip3009,
        Some(CHARGED) => NonceSpace::Charged,
        Some(HELD) if other.document.is_none() => NonceSpace::Held,
        // It lies in the escrow already.
        Some(VOUCHER | HELD) => return Ok(sum),
        Some(_) => NonceSpace::Permit2,
    };
    let sum = sum.and(space, other.money.amount);
    sum.ok_or_else(|| EngineError::Broken("claims leave the range of an amount".into()))
}

pub fn asset_id(network: Network, token: Address) -> Result<ledger::money::AssetId, EngineError> {
    network.asset_id(token).map_err(|error| EngineError::Broken(error.to_string()))
}

/// What a chain's own gas is paid in.
fn native_asset(network: Network) -> Result<ledger::money::AssetId, EngineError> {
    let asset = format!("{network}/slip44:60");
    asset.parse().map_err(|_| EngineError::Broken("no name for the native asset".into()))
}

pub fn amount(value: U256) -> Result<Amount, EngineError> {
    u128::try_from(value)
        .map(Amount::new)
        .map_err(|_| EngineError::invalid("amount", "at most 2^128 - 1", value.to_string()))
}

pub fn reference(transaction: B256) -> Result<RailReference, EngineError> {
    format!("{transaction:#x}").parse().map_err(|_| EngineError::Broken("a hash is no reference".into()))
}

pub fn transaction(reference: &RailReference) -> Option<B256> {
    reference.as_str().parse().ok()
}

pub fn proof(finalized: &Block) -> UnusedProof {
    UnusedProof {
        finalized_number: finalized.number,
        finalized_hash: finalized.hash.0,
        finalized_timestamp: i64::try_from(finalized.timestamp).unwrap_or(i64::MAX),
    }
}

pub fn observation(expected: &Expected, settled: B256, block: &Block) -> Result<Observation, EngineError> {
    Ok(Observation {
        transaction: reference(settled)?,
        block_number: block.number,
        block_hash: block.hash.0,
        pay_to: text(expected.to),
        amount: amount(expected.value)?,
    })
}

/// What the chain must show for a spend: from the book alone. Of a charge at most what is signed, until it is settled.
pub fn expected_of_spend(spend: &Spend) -> Result<Expected, EngineError> {
    expected(&spend.authorization, &spend.pay_to, spend.money.amount, spend.valid_before)
}

pub fn expected(
    authorization: &Authorization,
    pay_to: &str,
    amount: Amount,
    valid_before: i64,
) -> Result<Expected, EngineError> {
    let broken = |what: &str| EngineError::Broken(format!("{what} in the book cannot be read"));
    let network: Network = authorization.chain().parse().map_err(|_| broken("a network"))?;
    let space = match authorization.nonce_space() {
        None => NonceSpace::Eip3009,
        Some(PERMIT2) => NonceSpace::Permit2,
        Some(CANCELLATION) => NonceSpace::Cancel,
        Some(VOUCHER) => NonceSpace::Voucher,
        Some(HELD) => NonceSpace::Held,
        Some(CHARGED) => NonceSpace::Charged,
        Some(GAS_GRANT) => NonceSpace::Gas,
        Some(ESCROW_CALL) => {
            let kind = CallKind::ALL.into_iter().find(|kind| Some(kind.as_str()) == authorization.nonce_kind());
            NonceSpace::Escrow(kind.ok_or_else(|| broken("a call of the escrow"))?)
        }
        Some(_) => return Err(broken("who counts a nonce")),
    };
    let token = match space {
        NonceSpace::Gas => Ok(Address::ZERO),
        _ => authorization.asset.as_str().rsplit(':').next().unwrap_or_default().parse(),
    };
    Ok(Expected {
        key: ClaimKey {
            space,
            network,
            token: token.map_err(|_| broken("a token"))?,
            payer: authorization.payer.parse().map_err(|_| broken("a payer"))?,
            nonce: B256::from(authorization.nonce),
        },
        to: pay_to.parse().map_err(|_| broken("a payee"))?,
        value: U256::from(amount.get()),
        charge: if authorization.is_at_most() { Charge::AtMost } else { Charge::Whole },
        valid_before: u64::try_from(valid_before).map_err(|_| broken("an expiry"))?,
    })
}

/// What a transaction took, charged to the account that sent it.
pub fn gas(payer: Address, network: Network, receipt: &Receipt) -> Result<Gas, EngineError> {
    let cost = u128::from(receipt.gas_used).checked_mul(receipt.effective_gas_price);
    let cost = cost.ok_or_else(|| EngineError::Broken("gas leaves the range of an amount".into()))?;
    let asset = native_asset(network)?;
    Ok(Gas { wallet: format!("{network}:{}", text(payer)), money: Money { asset, amount: Amount::new(cost) } })
}
