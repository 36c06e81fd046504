//! What each JSON-RPC method answers.

use alloy::consensus::transaction::TransactionInfo;
use alloy::eips::{BlockId, BlockNumberOrTag};
use alloy::primitives::{Address, B256, Bytes, TxKind, U64, U256};
use alloy::rpc::types::{Filter, FilterBlockOption, Log, Transaction, TransactionRequest};
use revm::bytecode::Bytecode;
use revm::context::result::ExecutionResult;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::Devnet;
use super::blocks::Detail;
use super::diary::Event;
use super::execution::{Call, Executed};
use super::node::{BASE_FEE_WEI, Mining, Node, PRIORITY_FEE_WEI};
use super::refusal::{INTERNAL_ERROR, RpcRefusal};
use crate::limits::{
    BLOCK_GAS_MAX, FEE_HISTORY_BLOCKS_MAX, FEE_HISTORY_PERCENTILES_MAX, FILTER_ALTERNATIVES_MAX, LOGS_MAX,
    MINE_BLOCKS_MAX,
};

type Answer = Result<Value, RpcRefusal>;

const CLIENT_VERSION: &str = concat!("purser-devnet/", env!("CARGO_PKG_VERSION"));

impl Devnet {
    pub(super) fn call(&self, method: &str, params: &[Value]) -> Answer {
        let params = Params(params);
        if method == "devnet_mint" {
            return to_json(self.mint(params.required(0)?, params.required(1)?)?);
        }
        let mut node = self.node();
        match method.split_once('_') {
            Some(("evm" | "anvil" | "hardhat", _)) => node.control(method, params),
            _ => node.answer(method, params),
        }
    }
}

/// Parameters by position.
#[derive(Clone, Copy)]
struct Params<'a>(&'a [Value]);

impl Params<'_> {
    fn required<T: DeserializeOwned>(self, index: usize) -> Result<T, RpcRefusal> {
        self.optional(index)?.ok_or_else(|| RpcRefusal::params(format!("missing value for required argument {index}")))
    }

    fn optional<T: DeserializeOwned>(self, index: usize) -> Result<Option<T>, RpcRefusal> {
        match self.0.get(index) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => T::deserialize(value)
                .map(Some)
                .map_err(|error| RpcRefusal::params(format!("invalid argument {index}: {error}"))),
        }
    }

    fn block(self, index: usize) -> Result<BlockId, RpcRefusal> {
        Ok(self.optional(index)?.unwrap_or(BlockId::Number(BlockNumberOrTag::Latest)))
    }

    /// Hexadecimal text, and nothing that merely could be read as bytes.
    fn bytes(self, index: usize) -> Result<Bytes, RpcRefusal> {
        self.required::<String>(index)?;
        self.required(index)
    }

    /// A quantity, as hexadecimal text or as a plain number: tools for development send both.
    fn quantity(self, index: usize) -> Result<Option<u64>, RpcRefusal> {
        let Some(value) = self.optional::<Value>(index)? else { return Ok(None) };
        if let Some(number) = value.as_u64() {
            return Ok(Some(number));
        }
        if value == "0x" {
            return Err(RpcRefusal::params(format!("invalid argument {index}: 0x is no number")));
        }
        self.optional::<U64>(index).map(|number| number.map(|number| number.to::<u64>()))
    }
}

impl Node {
    fn answer(&mut self, method: &str, params: Params<'_>) -> Answer {
        self.calls = self.calls.saturating_add(1);
        match method {
            "devnet_calls" => quantity(self.calls),
            "web3_clientVersion" => to_json(CLIENT_VERSION),
            "net_version" => to_json(self.config.chain_id.to_string()),
            "net_listening" => to_json(true),
            "eth_chainId" => quantity(self.config.chain_id),
            "eth_syncing" => to_json(false),
            "eth_accounts" => to_json([(); 0]),
            "eth_blockNumber" => quantity(self.blocks.head().number),
            "eth_gasPrice" => quantity(BASE_FEE_WEI + PRIORITY_FEE_WEI),
            "eth_maxPriorityFeePerGas" => quantity(PRIORITY_FEE_WEI),
            "eth_feeHistory" => self.fee_history(params),
            "eth_getBlockByNumber" => self.block_by_number(params),
            "eth_getBlockByHash" => {
                let hash: B256 = params.required(0)?;
                let detail = detail(params)?;
                to_json(self.blocks.by_hash(hash).map(|block| block.to_rpc(detail)))
            }
            "eth_getBlockReceipts" => self.block_receipts(params),
            "eth_getBalance" => {
                let address = params.required(0)?;
                to_json(self.state.balance(address, self.state_block(params.block(1)?)?))
            }
            "eth_getCode" => {
                let address = params.required(0)?;
                to_json(self.state.code(address, self.state_block(params.block(1)?)?).original_bytes())
            }
            "eth_getStorageAt" => {
                let (address, slot): (Address, U256) = (params.required(0)?, params.required(1)?);
                let value = self.state.slot(address, slot, self.state_block(params.block(2)?)?);
                to_json(B256::from(value))
            }
            "eth_getTransactionCount" => self.transaction_count(params),
            "eth_call" => self.eth_call(params),
            "eth_simulateV1" => self.simulate(&params.required(0)?, params.block(1)?),
            "eth_estimateGas" => self.estimate_gas(params),
            "eth_sendRawTransaction" => {
                let raw = params.bytes(0)?;
                to_json(self.send(&raw)?)
            }
            "eth_getTransactionByHash" => self.transaction_by_hash(params.required(0)?),
            "eth_getTransactionReceipt" => {
                let found = self.blocks.find_transaction(params.required(0)?);
                to_json(found.and_then(|(block, index)| block.receipt_to_rpc(index)))
            }
            "eth_getLogs" => self.logs(&params.required(0)?),
            _ => Err(RpcRefusal::unknown_method(method)),
        }
    }

    /// Methods that only a development node has. Names and shapes are those of Hardhat and Foundry's anvil.
    fn control(&mut self, method: &str, params: Params<'_>) -> Answer {
        match method {
            "evm_mine" => {
                if let Some(timestamp) = params.quantity(0)? {
                    self.choose_next_timestamp(timestamp)?;
                }
                self.mine();
                to_json("0x0")
            }
            "anvil_mine" | "hardhat_mine" => {
                let (count, spacing) = (params.quantity(0)?.unwrap_or(1), params.quantity(1)?);
                if count > MINE_BLOCKS_MAX {
                    return Err(RpcRefusal::params(format!("cannot mine {count} blocks, at most {MINE_BLOCKS_MAX}")));
                }
                for index in 0..count {
                    if let Some(seconds) = spacing.filter(|_| index > 0) {
                        self.increase_time(seconds)?;
                    }
                    self.mine();
                }
                to_json(Value::Null)
            }
            "evm_setAutomine" => {
                let automatic: bool = params.required(0)?;
                self.switch_mining(if automatic { Mining::Automatic } else { Mining::OnDemand });
                to_json(true)
            }
            "anvil_getAutomine" | "hardhat_getAutomine" => to_json(self.mining == Mining::Automatic),
            "evm_increaseTime" => {
                let seconds = params.quantity(0)?.ok_or_else(|| RpcRefusal::params("missing the seconds"))?;
                to_json(self.increase_time(seconds)?)
            }
            "evm_setNextBlockTimestamp" => {
                let timestamp = params.quantity(0)?.ok_or_else(|| RpcRefusal::params("missing the timestamp"))?;
                self.choose_next_timestamp(timestamp)?;
                to_json(Value::Null)
            }
            "anvil_setBalance" | "hardhat_setBalance" => {
                let (address, balance) = (params.required(0)?, params.required(1)?);
                self.state.write_balance(self.blocks.head().number, address, balance);
                self.note(|_| Event::Balance { address, balance });
                to_json(true)
            }
            "anvil_setCode" | "hardhat_setCode" => {
                let (address, code): (Address, Bytes) = (params.required(0)?, params.bytes(1)?);
                let bytecode = Bytecode::new_raw_checked(code.clone())
                    .map_err(|error| RpcRefusal::params(format!("not bytecode: {error}")))?;
                self.state.write_code(self.blocks.head().number, address, bytecode);
                self.note(|_| Event::Code { address, code });
                to_json(true)
            }
            "anvil_setStorageAt" | "hardhat_setStorageAt" => {
                let (address, slot, value) = (params.required(0)?, params.required(1)?, params.required(2)?);
                self.state.write_slot(self.blocks.head().number, address, slot, value);
                self.note(|_| Event::Storage { address, slot, value });
                to_json(true)
            }
            "anvil_dropTransaction" | "hardhat_dropTransaction" => {
                let hash: B256 = params.required(0)?;
                to_json(self.pool.remove(hash).map(|_| hash))
            }
            "anvil_rollback" => {
                self.roll_back(params.quantity(0)?.unwrap_or(1))?;
                to_json(Value::Null)
            }
            _ => Err(RpcRefusal::unknown_method(method)),
        }
    }

    fn block_by_number(&self, params: Params<'_>) -> Answer {
        let number = self.block_number(BlockId::Number(params.required(0)?))?;
        let detail = detail(params)?;
        self.refuse_pruned(number)?;
        to_json(self.blocks.by_number(number).map(|block| block.to_rpc(detail)))
    }

    fn block_receipts(&self, params: Params<'_>) -> Answer {
        let number = self.block_number(params.required(0)?)?;
        self.refuse_pruned(number)?;
        let Some(block) = self.blocks.by_number(number) else { return to_json(Value::Null) };
        to_json((0..block.transactions.len()).filter_map(|index| block.receipt_to_rpc(index)).collect::<Vec<_>>())
    }

    fn transaction_count(&self, params: Params<'_>) -> Answer {
        let (address, id) = (params.required(0)?, params.block(1)?);
        let mined = self.state.nonce(address, self.state_block(id)?);
        let pending = id == BlockId::Number(BlockNumberOrTag::Pending);
        quantity(if pending { self.pool.next_nonce(address, mined) } else { mined })
    }

    fn transaction_by_hash(&self, hash: B256) -> Answer {
        if let Some((block, index)) = self.blocks.find_transaction(hash) {
            return to_json(block.transaction_to_rpc(index));
        }
        let waiting = self.pool.find(hash);
        to_json(waiting.map(|tx| Transaction::from_transaction(tx.clone(), TransactionInfo::default())))
    }

    fn eth_call(&self, params: Params<'_>) -> Answer {
        if params.0.iter().skip(2).any(|value| !is_blank(value)) {
            return Err(RpcRefusal::params("state and block overrides are not supported"));
        }
        let executed = self.call(params.block(1)?, &call(&params.required(0)?)?)?;
        to_json(outcome(executed)?.0)
    }

    /// The least gas limit that succeeds, to within 1.5 % above, found as geth finds it.
    fn estimate_gas(&self, params: Params<'_>) -> Answer {
        let (mut request, id) = (call(&params.required(0)?)?, params.block(1)?);
        if request.gas_price > 0 {
            let balance = self.state.balance(request.from, self.state_block(id)?).saturating_sub(request.value);
            let affordable = (balance / U256::from(request.gas_price)).saturating_to::<u64>();
            request.gas_limit = request.gas_limit.min(affordable);
        }
        let mut high = request.gas_limit;
        let (_, gas) = outcome(self.call(id, &request)?)?;
        let succeeds = |gas_limit: u64| -> bool {
            let executed = self.call(id, &Call { gas_limit, ..request.clone() });
            executed.is_ok_and(|executed| executed.result.is_success())
        };
        // Gas that comes back at the end, and the 64th that a calling contract keeps (EIP-150), are needed on the way.
        let guess = gas.spent.saturating_add(2_300).saturating_mul(64).div_ceil(63);
        let mut low = gas.used.saturating_sub(1);
        for guess in [gas.used, guess] {
            if guess < high && guess > low {
                if succeeds(guess) { high = guess } else { low = guess }
            }
        }
        while low.saturating_add(1) < high && (high - low).saturating_mul(1_000) > high.saturating_mul(15) {
            let middle = low + (high - low) / 2;
            if succeeds(middle) { high = middle } else { low = middle }
        }
        quantity(high)
    }

    fn fee_history(&self, params: Params<'_>) -> Answer {
        let count = params.quantity(0)?.ok_or_else(|| RpcRefusal::params("missing the block count"))?;
        let newest = self.block_number(BlockId::Number(params.optional(1)?.unwrap_or_default()))?;
        let percentiles: Option<Vec<Value>> = params.optional(2)?;
        if newest > self.blocks.head().number {
            return Err(RpcRefusal::server(format!("request beyond head block: requested {newest}")));
        }
        if percentiles.as_ref().is_some_and(|list| list.len() > FEE_HISTORY_PERCENTILES_MAX) {
            return Err(RpcRefusal::params(format!("over the percentile limit of {FEE_HISTORY_PERCENTILES_MAX}")));
        }
        let oldest = (newest + 1).saturating_sub(count.min(FEE_HISTORY_BLOCKS_MAX)).max(self.blocks.oldest());
        let used: Vec<f64> = self
            .blocks
            .range(oldest, newest)
            .map(|block| block.header.gas_used as f64 / block.header.gas_limit as f64)
            .collect();
        let mut history = json!({
            "oldestBlock": U64::from(oldest),
            "baseFeePerGas": vec![U64::from(BASE_FEE_WEI); used.len() + 1],
        });
        if let Some(percentiles) = percentiles {
            history["reward"] = to_json(vec![vec![U64::from(PRIORITY_FEE_WEI); percentiles.len()]; used.len()])?;
        }
        history["gasUsedRatio"] = to_json(used)?;
        Ok(history)
    }

    fn logs(&self, filter: &Filter) -> Answer {
        let alternatives = filter.topics.iter().map(|topic| topic.len()).chain([filter.address.len()]).max();
        if alternatives.is_some_and(|count| count > FILTER_ALTERNATIVES_MAX) {
            return Err(RpcRefusal::params(format!("over {FILTER_ALTERNATIVES_MAX} addresses or topics")));
        }
        let (from, to) = match filter.block_option {
            FilterBlockOption::AtBlockHash(hash) => {
                let block = self.blocks.by_hash(hash).ok_or_else(|| RpcRefusal::server("unknown block"))?;
                (block.header.number, block.header.number)
            }
            FilterBlockOption::Range { from_block, to_block } => {
                let number =
                    |tag: Option<BlockNumberOrTag>| self.block_number(BlockId::Number(tag.unwrap_or_default()));
                (number(from_block)?, number(to_block)?.min(self.blocks.head().number))
            }
        };
        let asked_backwards = filter.block_option.ensure_valid_block_range().is_err();
        if asked_backwards {
            return Err(RpcRefusal::params("invalid block range params: fromBlock is after toBlock"));
        }
        self.refuse_pruned(from)?;
        let mut found: Vec<Log> = Vec::new();
        for block in self.blocks.range(from, to).filter(|block| !block.header.logs_bloom.is_zero()) {
            for index in 0..block.transactions.len() {
                found.extend(block.logs_of(index).into_iter().filter(|log| filter.matches(&log.inner)));
            }
            if found.len() > LOGS_MAX {
                return Err(RpcRefusal::server(format!("query returned more than {LOGS_MAX} results")));
            }
        }
        to_json(found)
    }

    /// A block that was dropped is not a block that never was.
    fn refuse_pruned(&self, number: u64) -> Result<(), RpcRefusal> {
        let oldest = self.blocks.oldest();
        if number < oldest {
            let message = format!("pruned history unavailable: block {number}, the oldest kept is {oldest}");
            return Err(RpcRefusal::new(4444, message));
        }
        Ok(())
    }
}

struct Gas {
    /// Before refunds: what had to be there.
    spent: u64,
    /// After refunds: what is charged.
    used: u64,
}

fn outcome(executed: Executed) -> Result<(Bytes, Gas), RpcRefusal> {
    match executed.result {
        ExecutionResult::Success { gas, output, .. } => {
            Ok((output.into_data(), Gas { spent: gas.total_gas_spent(), used: gas.tx_gas_used() }))
        }
        ExecutionResult::Revert { output, .. } => Err(RpcRefusal::reverted(output)),
        ExecutionResult::Halt { reason, .. } => Err(RpcRefusal::server(match reason {
            revm::context::result::HaltReason::OutOfGas(_) => "out of gas".to_owned(),
            other => format!("execution failed: {other:?}"),
        })),
    }
}

pub(super) fn call(request: &TransactionRequest) -> Result<Call, RpcRefusal> {
    let input = request.input.clone();
    if let (Some(input), Some(data)) = (&input.input, &input.data)
        && input != data
    {
        return Err(RpcRefusal::params("both \"data\" and \"input\" are set and not equal"));
    }
    if request.gas_price.is_some() && request.max_fee_per_gas.is_some() {
        return Err(RpcRefusal::params("both gasPrice and maxFeePerGas are set"));
    }
    Ok(Call {
        from: request.from.unwrap_or_default(),
        kind: request.to.unwrap_or(TxKind::Create),
        value: request.value.unwrap_or_default(),
        input: input.into_input().unwrap_or_default(),
        gas_limit: request.gas.filter(|gas| *gas > 0).unwrap_or(BLOCK_GAS_MAX).min(BLOCK_GAS_MAX),
        gas_price: request.gas_price.or(request.max_fee_per_gas).unwrap_or_default(),
    })
}

fn is_blank(value: &Value) -> bool {
    value.is_null() || value.as_object().is_some_and(serde_json::Map::is_empty)
}

fn detail(params: Params<'_>) -> Result<Detail, RpcRefusal> {
    Ok(if params.optional(1)?.unwrap_or(false) { Detail::Full } else { Detail::Hashes })
}

fn quantity(number: u64) -> Answer {
    to_json(U64::from(number))
}

fn to_json(value: impl serde::Serialize) -> Answer {
    serde_json::to_value(value).map_err(|error| RpcRefusal::new(INTERNAL_ERROR, format!("cannot answer: {error}")))
}
