//! An approval of Permit2 that a payer signed and nobody sent yet, tried out.

use alloy::primitives::{Address, Bytes, U64, U256};
use alloy::sol_types::SolValue as _;
use serde::Deserialize;
use serde_json::{Value, json};
use x402::chain::{ChainError, PermitCall};
use x402::permit2::approval::Approval;

use super::RpcChain;

#[derive(Deserialize)]
struct SimulatedBlock {
    calls: Vec<SimulatedCall>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct SimulatedCall {
    status: U64,
    #[serde(default)]
    return_data: Bytes,
}

impl RpcChain {
    /// Twice the base fee, and what the node suggests on top.
    pub(super) async fn fees_of_now(&self) -> Result<(U256, U256), ChainError> {
        let (base, price) = tokio::try_join!(self.base_fee(), self.gas_price())?;
        let tip = price.saturating_sub(base);
        Ok((base.saturating_mul(U256::from(2)).saturating_add(tip), tip))
    }

    /// As its owner, without its fees: what gas the owner has is another question.
    pub(super) async fn try_approval(&self, approval: &Approval) -> Result<(), ChainError> {
        let base_fee = self.base_fee().await?;
        if base_fee > U256::from(approval.max_fee_per_gas) {
            let most = approval.max_fee_per_gas;
            let reason = format!("gas costs {base_fee} wei a unit, the transaction gives at most {most}");
            return Err(ChainError::Reverted { reason, data: Bytes::new() });
        }
        let output: Bytes = self.client.call("eth_call", json!([approval_request(approval), "latest"])).await?;
        says_yes(&output)
    }

    /// Both after each other, on the newest state (`eth_simulateV1`).
    pub(super) async fn try_approved(
        &self,
        approval: &Approval,
        call: &PermitCall,
        caller: Address,
    ) -> Result<(), ChainError> {
        let calls = json!([approval_request(approval), self.permit_request(call, caller)]);
        let asked = json!([{ "blockStateCalls": [{ "calls": calls }], "validation": false }, "latest"]);
        let blocks: Vec<SimulatedBlock> = match self.client.call("eth_simulateV1", asked).await {
            Ok(blocks) => blocks,
            // It does not have the method, or not for everybody.
            Err(ChainError::Refused { .. }) => return Ok(()),
            Err(error) => return Err(error),
        };
        let calls: Vec<SimulatedCall> = blocks.into_iter().flat_map(|block| block.calls).collect();
        let [approved, settled] = calls.as_slice() else {
            let found = calls.len();
            return Err(ChainError::Unavailable(format!("asked for two calls, the node answered {found}")));
        };
        for (what, call) in [("the approval", approved), ("the settlement after the approval", settled)] {
            if call.status.is_zero() {
                let (reason, data) = (format!("{what} reverts"), call.return_data.clone());
                return Err(ChainError::Reverted { reason, data });
            }
        }
        says_yes(&approved.return_data)
    }
}

fn approval_request(approval: &Approval) -> Value {
    json!({
        "from": approval.owner,
        "to": approval.token,
        "data": approval.input(),
        "gas": U64::from(approval.gas_limit),
    })
}

/// `true`, or nothing at all: older tokens answer nothing.
fn says_yes(output: &Bytes) -> Result<(), ChainError> {
    if output.is_empty() || bool::abi_decode(output).is_ok_and(|yes| yes) {
        return Ok(());
    }
    Err(ChainError::Reverted { reason: "the token does not say yes to the approval".to_owned(), data: output.clone() })
}
