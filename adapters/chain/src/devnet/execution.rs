//! Running one transaction or call in the EVM.

use std::convert::Infallible;

use alloy::consensus::Transaction;
use alloy::consensus::transaction::Recovered;
use alloy::primitives::{Address, B256, Bytes, TxKind, U256};
use revm::context::result::{EVMError, ExecResultAndState, ExecutionResult, InvalidTransaction};
use revm::context::{BlockEnv, CfgEnv, Context, TxEnv};
use revm::context_interface::block::BlobExcessGasAndPrice;
use revm::database_interface::WrapDatabaseRef;
use revm::primitives::hardfork::SpecId;
use revm::{DatabaseRef, ExecuteEvm, MainBuilder, MainContext};

use super::refusal::RpcRefusal;
use crate::limits::BLOCK_GAS_MAX;

/// The rules in force, with delegated accounts (EIP-7702). Newer forks add nothing that a token or its clients need.
pub(super) const FORK: SpecId = SpecId::PRAGUE;

/// The block that a transaction sees.
#[derive(Clone, Copy, Debug)]
pub(super) struct Environment {
    pub(super) chain_id: u64,
    pub(super) number: u64,
    pub(super) timestamp: u64,
    /// Zero for calls that name no fee, so that they need no ether; as geth does it.
    pub(super) base_fee: u64,
}

impl Environment {
    fn block(self) -> BlockEnv {
        BlockEnv {
            number: U256::from(self.number),
            timestamp: U256::from(self.timestamp),
            gas_limit: BLOCK_GAS_MAX,
            basefee: self.base_fee,
            prevrandao: Some(B256::ZERO),
            blob_excess_gas_and_price: Some(BlobExcessGasAndPrice { excess_blob_gas: 0, blob_gasprice: 1 }),
            ..BlockEnv::default()
        }
    }
}

/// A call that is run and not kept (`eth_call`, `eth_estimateGas`).
#[derive(Clone, Debug)]
pub(super) struct Call {
    pub(super) from: Address,
    pub(super) kind: TxKind,
    pub(super) value: U256,
    pub(super) input: Bytes,
    pub(super) gas_limit: u64,
    pub(super) gas_price: u128,
}

impl Call {
    fn env(&self, environment: Environment) -> TxEnv {
        TxEnv {
            caller: self.from,
            kind: self.kind,
            value: self.value,
            data: self.input.clone(),
            gas_limit: self.gas_limit,
            gas_price: self.gas_price,
            chain_id: Some(environment.chain_id),
            ..TxEnv::default()
        }
    }
}

pub(super) type Executed = ExecResultAndState<ExecutionResult>;

pub(super) fn run_call<Db>(db: Db, environment: Environment, call: &Call) -> Result<Executed, RpcRefusal>
where
    Db: DatabaseRef<Error = Infallible>,
{
    run(db, environment, call.env(environment), NonceCheck::Off).map_err(|error| refusal(&error))
}

/// Several calls after each other, each on what those before it left.
pub(super) fn run_calls<Db>(
    db: Db,
    environment: Environment,
    calls: &[Call],
) -> Result<Vec<ExecutionResult>, RpcRefusal>
where
    Db: DatabaseRef<Error = Infallible>,
{
    let mut cfg = CfgEnv::new_with_spec(FORK);
    cfg.chain_id = environment.chain_id;
    cfg.disable_nonce_check = true;
    let context = Context::mainnet().with_db(WrapDatabaseRef(db)).with_cfg(cfg).with_block(environment.block());
    let mut evm = context.build_mainnet();
    calls.iter().map(|call| evm.transact_one(call.env(environment)).map_err(|error| refusal(&error))).collect()
}

pub(super) fn run_transaction<Db, T>(
    db: Db,
    environment: Environment,
    transaction: &Recovered<T>,
) -> Result<Executed, RpcRefusal>
where
    Db: DatabaseRef<Error = Infallible>,
    T: Transaction,
{
    let tx = TxEnv {
        tx_type: transaction.ty(),
        caller: transaction.signer(),
        gas_limit: transaction.gas_limit(),
        gas_price: transaction.max_fee_per_gas(),
        kind: transaction.kind(),
        value: transaction.value(),
        data: transaction.input().clone(),
        nonce: transaction.nonce(),
        chain_id: transaction.chain_id(),
        access_list: transaction.access_list().cloned().unwrap_or_default(),
        gas_priority_fee: transaction.max_priority_fee_per_gas(),
        ..TxEnv::default()
    };
    run(db, environment, tx, NonceCheck::On).map_err(|error| refusal(&error))
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum NonceCheck {
    On,
    Off,
}

fn run<Db>(
    db: Db,
    environment: Environment,
    tx: TxEnv,
    nonce_check: NonceCheck,
) -> Result<Executed, EVMError<Infallible, InvalidTransaction>>
where
    Db: DatabaseRef<Error = Infallible>,
{
    let mut cfg = CfgEnv::new_with_spec(FORK);
    cfg.chain_id = environment.chain_id;
    cfg.disable_nonce_check = nonce_check == NonceCheck::Off;
    let context = Context::mainnet().with_db(WrapDatabaseRef(db)).with_cfg(cfg).with_block(environment.block());
    context.build_mainnet().transact(tx)
}

/// The words of geth, which clients match on.
fn refusal(error: &EVMError<Infallible, InvalidTransaction>) -> RpcRefusal {
    let EVMError::Transaction(invalid) = error else {
        return RpcRefusal::server(format!("the EVM failed: {error}"));
    };
    RpcRefusal::server(match invalid {
        InvalidTransaction::LackOfFundForMaxFee { fee, balance } => {
            format!("insufficient funds for gas * price + value: have {balance} want {fee}")
        }
        InvalidTransaction::NonceTooLow { tx, state } => {
            format!("nonce too low: next nonce {state}, tx nonce {tx}")
        }
        InvalidTransaction::NonceTooHigh { tx, state } => {
            format!("nonce too high: next nonce {state}, tx nonce {tx}")
        }
        InvalidTransaction::CallGasCostMoreThanGasLimit { initial_gas, gas_limit } => {
            format!("intrinsic gas too low: have {gas_limit}, want {initial_gas}")
        }
        InvalidTransaction::GasFloorMoreThanGasLimit { gas_floor, gas_limit } => {
            format!("insufficient gas for floor data gas cost: have {gas_limit}, want {gas_floor}")
        }
        InvalidTransaction::GasPriceLessThanBasefee => "max fee per gas less than block base fee".to_owned(),
        InvalidTransaction::PriorityFeeGreaterThanMaxFee => {
            "max priority fee per gas higher than max fee per gas".to_owned()
        }
        InvalidTransaction::CallerGasLimitMoreThanBlock => format!("exceeds block gas limit: at most {BLOCK_GAS_MAX}"),
        InvalidTransaction::RejectCallerWithCode => "sender not an eoa".to_owned(),
        InvalidTransaction::CreateInitCodeSizeLimit => "max initcode size exceeded".to_owned(),
        other => other.to_string(),
    })
}
