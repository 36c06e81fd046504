//! What a wallet signs beside a permit so that Permit2 may move the token: for exactly what is permitted, as long as that.

use alloy_primitives::U256;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::approval::{self, APPROVAL_GAS, UnsignedApproval};
use super::{Permit, sponsor};
use crate::exact::{KeyError, TokenDomain, WalletKey};
use crate::network::Network;

/// The part of it that follows neither from the payment nor from its token. Nothing else is free.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pledge {
    /// A permit of the token's own (EIP-2612).
    Permit {
        /// The payer's counter in the token.
        nonce: U256,
    },
    /// A transaction of the payer's own, which whoever settles sends first.
    Approval {
        /// The payer's transaction nonce.
        nonce: u64,
        /// Wei a unit of gas.
        max_fee_per_gas: u64,
        max_priority_fee_per_gas: u64,
    },
}

impl Pledge {
    /// The extension that carries it.
    pub const fn extension(&self) -> &'static str {
        match self {
            Self::Permit { .. } => sponsor::EXTENSION,
            Self::Approval { .. } => approval::EXTENSION,
        }
    }

    /// The extension's entry, signed by the permit's payer.
    pub(crate) fn sign(
        &self,
        permit: &Permit,
        network: Network,
        domain: &TokenDomain,
        key: &WalletKey,
    ) -> Result<Value, KeyError> {
        match *self {
            Self::Permit { nonce } => {
                let (owner, value, deadline) = (permit.from, permit.amount, permit.deadline);
                let allowance = sponsor::Allowance { owner, value, nonce, deadline };
                Ok(allowance.extension(permit.token, key.sign(allowance.digest(domain))?))
            }
            Self::Approval { nonce, max_fee_per_gas, max_priority_fee_per_gas } => {
                let unsigned = UnsignedApproval {
                    network,
                    owner: permit.from,
                    token: permit.token,
                    value: permit.amount,
                    nonce,
                    gas_limit: APPROVAL_GAS,
                    max_fee_per_gas: max_fee_per_gas.into(),
                    max_priority_fee_per_gas: max_priority_fee_per_gas.into(),
                };
                Ok(unsigned.signed(key.sign(unsigned.digest())?).extension())
            }
        }
    }
}

/// Whether a 402 offers to take it.
pub fn is_declared(declared: Option<&Map<String, Value>>, extension: &str) -> bool {
    declared.and_then(|declared| declared.get(extension)).is_some_and(Value::is_object)
}

/// With what the seller said of the extension, which a payer echoes whole.
pub fn echo(declared: Option<&Map<String, Value>>, extension: &str, mut entry: Value) -> Value {
    let said = declared.and_then(|declared| declared.get(extension)?.get("info")?.as_object());
    if let (Some(said), Some(info)) = (said, entry.get_mut("info").and_then(Value::as_object_mut)) {
        for (name, value) in said {
            info.entry(name.as_str()).or_insert_with(|| value.clone());
        }
    }
    entry
}
