//! Asking contract wallets. They are strangers' code: each question has the gas of a settlement and no more.

use alloy::primitives::{Address, B256, Bytes, U64};
use serde_json::json;
use x402::chain::{ChainError, WalletAnswer, WalletCall};
use x402::exact::WalletSignature;

use super::RpcChain;
use crate::multicall;
use crate::wallet::{answer, question, settle_input};

impl RpcChain {
    pub(super) async fn ask_wallet(
        &self,
        wallet: Address,
        digest: B256,
        signature: &WalletSignature,
    ) -> Result<WalletAnswer, ChainError> {
        let (to, input) = question(wallet, digest, signature);
        let output = match self.try_call(Address::ZERO, to, &input).await {
            Ok(output) => output,
            Err(ChainError::Reverted { .. }) => return Ok(WalletAnswer::Refused),
            Err(error) => return Err(error),
        };
        let unanswered = || no_multicall(to, &output);
        answer(signature, &output).ok_or_else(unanswered)
    }

    pub(super) async fn try_wallet(&self, call: &WalletCall, caller: Address) -> Result<(), ChainError> {
        let (to, input) = settle_input(call);
        self.tried(call, self.try_call(caller, to, &input).await)
    }

    pub(super) fn tried(&self, call: &WalletCall, answer: Result<Bytes, ChainError>) -> Result<(), ChainError> {
        let output = as_revert(answer)?;
        match call.signature.deployment {
            Some(_) if multicall::results(&output).is_none() => Err(no_multicall(multicall::ADDRESS, &output)),
            _ => Ok(()),
        }
    }

    async fn try_call(&self, from: Address, to: Address, input: &Bytes) -> Result<Bytes, ChainError> {
        let gas = U64::from(self.config.settlement_gas_max);
        let request = json!([{ "from": from, "to": to, "data": input, "gas": gas }, "latest"]);
        as_revert(self.client.call("eth_call", request).await)
    }
}

fn as_revert(answer: Result<Bytes, ChainError>) -> Result<Bytes, ChainError> {
    match answer {
        Err(ChainError::Refused { message, .. }) if is_fault_of_code(&message) => {
            Err(ChainError::Reverted { reason: message, data: Bytes::new() })
        }
        other => other,
    }
}

/// What nodes say where the EVM stopped without a revert: the call was run, and failed.
fn is_fault_of_code(message: &str) -> bool {
    const FAULTS: [&str; 5] = ["out of gas", "invalid opcode", "invalid jump", "stack ", "execution failed"];
    let message = message.to_ascii_lowercase();
    FAULTS.iter().any(|fault| message.starts_with(fault))
}

fn no_multicall(to: Address, output: &Bytes) -> ChainError {
    ChainError::Unavailable(format!("{to} answers {} bytes, not as Multicall3: it is not on this chain", output.len()))
}
