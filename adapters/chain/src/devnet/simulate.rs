//! Calls that are run after each other and not kept (`eth_simulateV1`, as geth has it), as far as clients of ours ask for it:
//! one block, without overrides and without the checks of a transaction.

use alloy::eips::BlockId;
use alloy::primitives::{Bytes, U64};
use alloy::rpc::types::TransactionRequest;
use revm::context::result::ExecutionResult;
use serde::Deserialize;
use serde_json::{Value, json};

use super::execution::{Call, run_calls};
use super::methods::call;
use super::node::Node;
use super::refusal::{EXECUTION_REVERTED, RpcRefusal, SERVER_ERROR};
use crate::limits::BATCH_CALLS_MAX;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Asked {
    block_state_calls: Vec<AskedBlock>,
    #[serde(default)]
    validation: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct AskedBlock {
    #[serde(default)]
    calls: Vec<TransactionRequest>,
}

impl Node {
    pub(super) fn simulate(&self, asked: &Asked, id: BlockId) -> Result<Value, RpcRefusal> {
        let [block] = asked.block_state_calls.as_slice() else {
            return Err(RpcRefusal::params(format!("{} blocks, one is simulated", asked.block_state_calls.len())));
        };
        if asked.validation {
            return Err(RpcRefusal::params("the checks of a transaction are not simulated"));
        }
        if block.calls.len() > BATCH_CALLS_MAX {
            return Err(RpcRefusal::params(format!("{} calls, at most {BATCH_CALLS_MAX}", block.calls.len())));
        }
        let calls = block.calls.iter().map(call).collect::<Result<Vec<Call>, _>>()?;
        if calls.iter().any(|call| call.gas_price > 0) {
            return Err(RpcRefusal::params("what a call pays for gas is not simulated"));
        }
        let environment = self.environment(id, false)?;
        let results = run_calls(self.view(environment.number), environment, &calls)?;
        let calls: Vec<Value> = results.into_iter().map(shown).collect();
        Ok(json!([{
            "number": U64::from(environment.number.saturating_add(1)),
            "timestamp": U64::from(environment.timestamp),
            "calls": calls,
        }]))
    }
}

fn shown(result: ExecutionResult) -> Value {
    let used = U64::from(result.tx_gas_used());
    let failed = |code: i64, message: String, data: Bytes| {
        let error = json!({ "code": code, "message": message });
        json!({ "status": "0x0", "returnData": data, "gasUsed": used, "logs": [], "error": error })
    };
    match result {
        ExecutionResult::Success { output, .. } => {
            json!({ "status": "0x1", "returnData": output.into_data(), "gasUsed": used, "logs": [] })
        }
        ExecutionResult::Revert { output, .. } => {
            let refusal = RpcRefusal::reverted(output.clone());
            failed(EXECUTION_REVERTED, refusal.message, output)
        }
        ExecutionResult::Halt { reason, .. } => failed(SERVER_ERROR, format!("{reason:?}"), Bytes::new()),
    }
}
