//! What the chain begins with: ether for the test accounts, the test dollar, Permit2, and the proxies and the escrow of x402.

use alloy::primitives::{Address, B256, Bytes, TxKind, U256};
use revm::bytecode::Bytecode;
use revm::context::result::{ExecutionResult, Output};
use serde_json::{Value, json};

use super::DevnetError;
use super::execution::{Call, Environment, run_call};
use super::node::BASE_FEE_WEI;
use super::state::{State, View};
use crate::accounts::{ACCOUNTS, DEPLOYER};
use crate::channels;
use crate::escrow;
use crate::limits::BLOCK_GAS_MAX;
use crate::multicall;
use crate::permit2;
use crate::token;

/// Ten thousand ether, as development nodes give.
const GENESIS_BALANCE_WEI: u128 = 10_000 * 1_000_000_000_000_000_000;

pub(super) fn state(chain_id: u64, timestamp: u64) -> Result<State, DevnetError> {
    let mut state = State::default();
    for account in ACCOUNTS {
        state.write_balance(0, account.address, U256::from(GENESIS_BALANCE_WEI));
    }
    let environment = Environment { chain_id, number: 0, timestamp, base_fee: 0 };
    deploy_token(&mut state, environment)?;
    deploy_permit2(&mut state, environment)?;
    Ok(state)
}

/// The same beginning for another node, in the format that geth gave the name (`anvil --init`, `geth init`). Every fork that
/// has a time is there from the start.
pub(super) fn document(chain_id: u64, timestamp: u64) -> Result<Value, DevnetError> {
    let alloc = state(chain_id, timestamp)?.alloc(0);
    Ok(json!({
        "config": {
            "chainId": chain_id, "homesteadBlock": 0, "eip150Block": 0, "eip155Block": 0, "eip158Block": 0,
            "byzantiumBlock": 0, "constantinopleBlock": 0, "petersburgBlock": 0, "istanbulBlock": 0, "berlinBlock": 0,
            "londonBlock": 0, "shanghaiTime": 0, "cancunTime": 0, "pragueTime": 0,
            "terminalTotalDifficulty": 0, "terminalTotalDifficultyPassed": true,
        },
        "nonce": "0x0", "timestamp": format!("{timestamp:#x}"), "extraData": "0x",
        "gasLimit": format!("{BLOCK_GAS_MAX:#x}"), "difficulty": "0x0", "mixHash": B256::ZERO,
        "coinbase": Address::ZERO, "baseFeePerGas": format!("{BASE_FEE_WEI:#x}"), "alloc": alloc,
    }))
}

/// Permit2, Multicall3, the escrow of `auth-capture` and the CREATE2 deployer, where they stand on public chains; then the
/// proxies and the escrow of channels, each made by that deployer, so that an address that comes out right is the proof of
/// the bytes.
fn deploy_permit2(state: &mut State, environment: Environment) -> Result<(), DevnetError> {
    let contracts = permit2::contracts().map_err(DevnetError::ContractNotDeployed)?;
    let deployer = contracts.deployer.address;
    let multicall = multicall::contract().map_err(DevnetError::ContractNotDeployed)?;
    for contract in [contracts.deployer, contracts.permit2, multicall] {
        state.write_code(0, contract.address, Bytecode::new_raw(contract.deployed));
    }
    let held = escrow::contracts().map_err(DevnetError::ContractNotDeployed)?;
    for contract in [held.escrow, held.token_store, held.eip3009_collector] {
        state.write_code(0, contract.address, Bytecode::new_raw(contract.deployed));
    }
    let escrow = channels::contracts().map_err(DevnetError::ContractNotDeployed)?;
    // The escrow first: its collector is made with its address.
    for proxy in [contracts.exact, contracts.upto, escrow.escrow, escrow.eip3009_collector] {
        let call = Call {
            from: Address::ZERO,
            kind: TxKind::Call(deployer),
            value: U256::ZERO,
            input: [proxy.salt.as_slice(), &proxy.creation].concat().into(),
            gas_limit: BLOCK_GAS_MAX,
            gas_price: 0,
        };
        let view = View { state: &*state, block: 0, hashes: |_| B256::ZERO };
        let executed = run_call(view, environment, &call).map_err(|e| DevnetError::ContractNotDeployed(e.message))?;
        let created = match &executed.result {
            ExecutionResult::Success { output: Output::Call(address), .. } => address.clone(),
            _ => Bytes::new(),
        };
        if created.as_ref() != proxy.address.as_slice() {
            let message = format!("expected it at {}, came out as {created}", proxy.address);
            return Err(DevnetError::ContractNotDeployed(message));
        }
        state.commit(0, executed.state);
    }
    Ok(())
}

/// Puts the token into the genesis state, by running its creation as the deployer's first transaction would.
fn deploy_token(state: &mut State, environment: Environment) -> Result<(), DevnetError> {
    let input: Bytes = token::creation_code().map_err(DevnetError::TokenNotDeployed)?;
    let call = Call {
        from: DEPLOYER.address,
        kind: TxKind::Create,
        value: U256::ZERO,
        input,
        gas_limit: BLOCK_GAS_MAX,
        gas_price: 0,
    };
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
