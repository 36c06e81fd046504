//! The extension `erc20ApprovalGasSponsoring` (`specs/extensions/erc20_gas_sponsoring.md`): an allowance that comes along as
//! a transaction of the payer's own, for tokens without EIP-2612. Whoever settles sends it first, and may give the payer the
//! gas for it.
//!
//! Only a plain `approve` of Permit2 is taken: a transaction of EIP-1559, for this chain, without ether and without an access
//! list, so that nothing else can be had sent at somebody's expense.

use alloy_primitives::{Address, B256, Bytes, U256, keccak256};
use alloy_sol_types::{SolCall, sol};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::transaction::{DynamicFee, Unreadable};
use super::{PERMIT2, Permit};
use crate::exact::{EvmSignature, SignatureError};
use crate::limit::{APPROVAL_BYTES_MAX, APPROVAL_GAS_MAX};
use crate::network::Network;
use crate::reason::Reason;
use crate::refusal::Refusal;
use crate::value;
use crate::wire::PaymentPayload;

/// The name of the extension on the wire.
pub const EXTENSION: &str = "erc20ApprovalGasSponsoring";

/// The version of the extension that is spoken.
const VERSION: &str = "1";

/// What official clients give an approval; tokens take about 50,000.
pub const APPROVAL_GAS: u64 = 70_000;

// The fields, as refusals name them.
const FROM: &str = "extensions.erc20ApprovalGasSponsoring.info.from";
const ASSET: &str = "extensions.erc20ApprovalGasSponsoring.info.asset";
const SPENDER: &str = "extensions.erc20ApprovalGasSponsoring.info.spender";
const AMOUNT: &str = "extensions.erc20ApprovalGasSponsoring.info.amount";
const INFO_VERSION: &str = "extensions.erc20ApprovalGasSponsoring.info.version";
/// The transaction itself.
pub const SIGNED: &str = "extensions.erc20ApprovalGasSponsoring.info.signedTransaction";

sol! {
    function approve(address spender, uint256 value) external returns (bool);
}

/// What a seller says of it in a 402.
pub fn declaration() -> Value {
    json!({ "info": { "description": "a signed approval of Permit2 is sent before the payment", "version": VERSION } })
}

/// A payer's approval of Permit2, signed and not sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Approval {
    pub owner: Address,
    pub token: Address,
    /// What Permit2 may take then.
    pub value: U256,
    /// The owner's transaction nonce.
    pub nonce: u64,
    pub gas_limit: u64,
    /// Wei a unit of gas, base fee and tip together.
    pub max_fee_per_gas: u128,
    pub raw: Bytes,
}

impl Approval {
    /// Its hash on the chain.
    pub fn hash(&self) -> B256 {
        keccak256(&self.raw)
    }

    /// Wei that its owner must have for it to be taken.
    pub fn cost(&self) -> U256 {
        U256::from(self.gas_limit).saturating_mul(U256::from(self.max_fee_per_gas))
    }

    /// What the token is called with.
    pub fn input(&self) -> Bytes {
        input(self.value)
    }

    /// The entry of `extensions`.
    pub fn extension(&self) -> Value {
        json!({ "info": {
            "from": self.owner.to_string(),
            "asset": self.token.to_string(),
            "spender": PERMIT2.to_string(),
            "amount": self.value.to_string(),
            "signedTransaction": self.raw.to_string(),
            "version": VERSION,
        }})
    }
}

/// What a payer signs for it; nothing else of the transaction is free.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnsignedApproval {
    pub network: Network,
    pub owner: Address,
    pub token: Address,
    pub value: U256,
    pub nonce: u64,
    pub gas_limit: u64,
    pub max_fee_per_gas: u128,
    pub max_priority_fee_per_gas: u128,
}

impl UnsignedApproval {
    fn transaction(&self) -> DynamicFee {
        DynamicFee {
            chain_id: U256::from(self.network.chain_id()),
            nonce: self.nonce,
            max_priority_fee_per_gas: self.max_priority_fee_per_gas,
            max_fee_per_gas: self.max_fee_per_gas,
            gas_limit: self.gas_limit,
            to: self.token,
            value: U256::ZERO,
            input: input(self.value),
        }
    }

    /// What the key signs (EIP-1559).
    pub fn digest(&self) -> B256 {
        self.transaction().digest()
    }

    pub fn signed(&self, signature: EvmSignature) -> Approval {
        Approval {
            owner: self.owner,
            token: self.token,
            value: self.value,
            nonce: self.nonce,
            gas_limit: self.gas_limit,
            max_fee_per_gas: self.max_fee_per_gas,
            raw: self.transaction().signed(signature),
        }
    }
}

fn input(value: U256) -> Bytes {
    approveCall { spender: PERMIT2, value }.abi_encode().into()
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Info {
    from: String,
    asset: String,
    spender: String,
    amount: String,
    signed_transaction: String,
    version: String,
}

/// The approval that came along; `None` where the extension is not there, or is only the seller's offer of it echoed.
pub(super) fn read(payload: &PaymentPayload, permit: &Permit, network: Network) -> Result<Option<Approval>, Refusal> {
    let entry = payload.extensions.as_ref().and_then(|extensions| extensions.get(EXTENSION));
    let Some(info) = entry.and_then(|entry| entry.get("info")).and_then(Value::as_object) else { return Ok(None) };
    if !info.contains_key("signedTransaction") {
        return Ok(None);
    }
    let info = parse(info)?;
    let owner = address(FROM, &info.from)?;
    if owner != permit.from {
        return Err(Refusal::new(Reason::ApprovalFrom, FROM, permit.from, owner));
    }
    let token = address(ASSET, &info.asset)?;
    if token != permit.token {
        return Err(Refusal::new(Reason::ApprovalAsset, ASSET, permit.token, token));
    }
    let spender = address(SPENDER, &info.spender)?;
    if spender != PERMIT2 {
        return Err(Refusal::new(Reason::ApprovalSpender, SPENDER, PERMIT2, spender));
    }
    let value = value::uint256(&info.amount)
        .map_err(|error| Refusal::new(Reason::ApprovalFormat, AMOUNT, error, &info.amount))?;
    if value < permit.amount {
        let expected = format!("at least {}, which is permitted", permit.amount);
        return Err(Refusal::new(Reason::ApprovalCalldata, AMOUNT, expected, value));
    }
    let raw = value::bytes(&info.signed_transaction, APPROVAL_BYTES_MAX)
        .map_err(|error| Refusal::new(Reason::ApprovalFormat, SIGNED, error, &info.signed_transaction))?;
    let (transaction, signature) = DynamicFee::read(&raw).map_err(|error| match error {
        Unreadable::Signature(error) => unsigned(&error),
        Unreadable::Form(expected) => Refusal::new(Reason::ApprovalUnreadable, SIGNED, expected, "another form"),
    })?;
    check_call(&transaction, token, value)?;
    check_frame(&transaction, network)?;
    let signer = signature.recover(transaction.digest()).map_err(|error| unsigned(&error))?;
    if signer != owner {
        return Err(Refusal::new(Reason::ApprovalSigner, SIGNED, owner, signer));
    }
    let DynamicFee { nonce, gas_limit, max_fee_per_gas, .. } = transaction;
    Ok(Some(Approval { owner, token, value, nonce, gas_limit, max_fee_per_gas, raw: raw.into() }))
}

fn unsigned(error: &SignatureError) -> Refusal {
    Refusal::new(Reason::ApprovalSignature, SIGNED, "the signature of an account", error)
}

/// `approve(Permit2, value)` of the token, and not a byte more.
fn check_call(transaction: &DynamicFee, token: Address, value: U256) -> Result<(), Refusal> {
    if transaction.to != token {
        return Err(Refusal::new(Reason::ApprovalTarget, SIGNED, token, transaction.to));
    }
    let input = &transaction.input;
    if input.get(..4) != Some(approveCall::SELECTOR.as_slice()) {
        let found =
            input.get(..4).map_or_else(|| "no selector".to_owned(), |found| format!("0x{}", hex::encode(found)));
        let expected = format!("0x{}, approve(address,uint256)", hex::encode(approveCall::SELECTOR));
        return Err(Refusal::new(Reason::ApprovalSelector, SIGNED, expected, found));
    }
    let call = approveCall::abi_decode_validate(input).ok().filter(|call| call.abi_encode() == input.as_ref());
    let Some(call) = call else {
        let found = format!("{} bytes", input.len());
        return Err(Refusal::new(Reason::ApprovalCalldata, SIGNED, "approve(address,uint256) and nothing else", found));
    };
    if call.spender != PERMIT2 {
        return Err(Refusal::new(Reason::ApprovalCallSpender, SIGNED, PERMIT2, call.spender));
    }
    if call.value != value {
        return Err(Refusal::new(Reason::ApprovalCalldata, SIGNED, value, call.value));
    }
    Ok(())
}

fn check_frame(transaction: &DynamicFee, network: Network) -> Result<(), Refusal> {
    let other =
        |expected: String, found: String| Err(Refusal::new(Reason::ApprovalUnreadable, SIGNED, expected, found));
    let chain_id = U256::from(network.chain_id());
    if transaction.chain_id != chain_id {
        return other(format!("chain id {chain_id}"), format!("chain id {}", transaction.chain_id));
    }
    if !transaction.value.is_zero() {
        return other("no ether".to_owned(), format!("{} wei", transaction.value));
    }
    if transaction.max_priority_fee_per_gas > transaction.max_fee_per_gas {
        let expected = format!("a tip of at most {} wei a unit of gas", transaction.max_fee_per_gas);
        return other(expected, format!("{} wei", transaction.max_priority_fee_per_gas));
    }
    if transaction.gas_limit > APPROVAL_GAS_MAX {
        let (expected, found) = (format!("at most {APPROVAL_GAS_MAX} gas"), transaction.gas_limit);
        return Err(Refusal::new(Reason::ApprovalGas, SIGNED, expected, found));
    }
    Ok(())
}

fn parse(info: &Map<String, Value>) -> Result<Info, Refusal> {
    let info: Info = serde_json::from_value(Value::Object(info.clone()))
        .map_err(|error| Refusal::new(Reason::ApprovalFormat, EXTENSION, "the fields of the extension", error))?;
    if info.version != VERSION {
        return Err(Refusal::new(Reason::ApprovalFormat, INFO_VERSION, VERSION, &info.version));
    }
    Ok(info)
}

fn address(field: &'static str, text: &str) -> Result<Address, Refusal> {
    value::address(text).map_err(|error| Refusal::new(Reason::ApprovalFormat, field, error, text))
}
