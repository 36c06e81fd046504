//! What the chain begins with: ether for the test accounts, and the test dollar.

use alloy::primitives::{Address, B256, Bytes, TxKind, U256};
use revm::context::result::{ExecutionResult, Output};

use super::DevnetError;
use super::execution::{Call, Environment, run_call};
use super::state::{State, View};
use crate::accounts::{ACCOUNTS, DEPLOYER};
use crate::limits::BLOCK_GAS_MAX;
use crate::token;

/// Ten thousand ether, as development nodes give.
const GENESIS_BALANCE_WEI: u128 = 10_000 * 1_000_000_000_000_000_000;

pub(super) fn state(chain_id: u64, timestamp: u64) -> Result<State, DevnetError> {
    let mut state = State::default();
    for account in ACCOUNTS {
        state.write_balance(0, account.address, U256::from(GENESIS_BALANCE_WEI));
    }
    deploy_token(&mut state, chain_id, timestamp)?;
    Ok(state)
}

/// Puts the token into the genesis state, by running its creation as the deployer's first transaction would.
fn deploy_token(state: &mut State, chain_id: u64, timestamp: u64) -> Result<(), DevnetError> {
    let input: Bytes = token::creation_code().map_err(DevnetError::TokenNotDeployed)?;
    let call = Call {
        from: DEPLOYER.address,
        kind: TxKind::Create,
        value: U256::ZERO,
        input,
        gas_limit: BLOCK_GAS_MAX,
        gas_price: 0,
    };
    let environment = Environment { chain_id, number: 0, timestamp, base_fee: 0 };
    let view = View { state: &*state, block: 0, hashes: |_| B256::ZERO };
    let executed = run_call(view, environment, &call).map_err(|e| DevnetError::TokenNotDeployed(e.message))?;
    let created: Option<Address> = match &executed.result {
        ExecutionResult::Success { output: Output::Create(_, created), .. } => *created,
        _ => None,
    };
    if created != Some(token::ADDRESS) {
        let message = format!("expected it at {}, came out as {created:?}", token::ADDRESS);
        return Err(DevnetError::TokenNotDeployed(message));
    }
    state.commit(0, executed.state);
    Ok(())
}
