//! Several transfers in one call: what they take together, and which of them fail.

use alloy::primitives::{Address, U64, U256};
use serde_json::json;
use x402::chain::{ChainError, TransferCall};

use super::findings::value;
use super::{BlockHead, RpcChain};
use crate::limits::BATCH_GAS_MAX;
use crate::multicall::{self, Call3};
use crate::token::transfer_input;

/// What a batch takes now, in one exchange.
pub(crate) struct Measured {
    /// With every transfer succeeding. `Err` where one of them would not.
    pub gas: Result<u64, ChainError>,
    pub base_fee: U256,
    pub gas_price: U256,
}

/// What happens to the others where one fails.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Failure {
    /// They go on: so it is sent.
    OfOne,
    /// All of it fails: so it is measured, because a node looks for the least gas with which a call succeeds, and one that
    /// forgives failures succeeds with too little.
    OfAll,
}

pub(crate) fn together(calls: &[TransferCall], failure: Failure) -> (Address, alloy::primitives::Bytes) {
    let each = calls.iter().map(|call| Call3 {
        target: call.asset,
        allowFailure: failure == Failure::OfOne,
        callData: transfer_input(call),
    });
    multicall::aggregate(each.collect())
}

impl RpcChain {
    /// Gas that so many settlements may burn.
    pub(crate) fn batch_gas_max(&self, count: usize) -> u64 {
        let count = u64::try_from(count).unwrap_or(u64::MAX);
        self.config.settlement_gas_max.saturating_mul(count).min(BATCH_GAS_MAX)
    }

    pub(crate) async fn measure(&self, calls: &[TransferCall], caller: Address) -> Result<Measured, ChainError> {
        let (to, input) = together(calls, Failure::OfAll);
        let gas = U64::from(self.batch_gas_max(calls.len()));
        let asked = [
            ("eth_estimateGas", json!([{ "from": caller, "to": to, "data": input, "gas": gas }])),
            ("eth_getBlockByNumber", json!(["latest", false])),
            ("eth_gasPrice", json!([])),
        ];
        let mut answers = self.client.batch(&asked).await?.into_iter();
        let mut next = || answers.next().unwrap_or_else(|| Err(ChainError::Unavailable("an answer is missing".into())));
        let gas = match next().and_then(value::<U64>) {
            Err(nothing @ ChainError::Unavailable(_)) => return Err(nothing),
            gas => gas.map(|gas| gas.to()),
        };
        let head: BlockHead = value(next()?)?;
        Ok(Measured { gas, base_fee: head.base_fee_per_gas.unwrap_or_default(), gas_price: value(next()?)? })
    }

    /// The places of those that would fail now.
    pub(crate) async fn failing(&self, calls: &[TransferCall], caller: Address) -> Result<Vec<usize>, ChainError> {
        let (to, input) = together(calls, Failure::OfOne);
        let gas = U64::from(self.batch_gas_max(calls.len()));
        let request = json!([{ "from": caller, "to": to, "data": input, "gas": gas }, "latest"]);
        let output: alloy::primitives::Bytes = self.client.call("eth_call", request).await?;
        let results = multicall::results(&output).filter(|results| results.len() == calls.len());
        let odd = || ChainError::Unavailable(format!("{to} does not answer as Multicall3 to {} calls", calls.len()));
        let results = results.ok_or_else(odd)?;
        Ok((0..).zip(&results).filter(|(_, result)| !result.success).map(|(place, _)| place).collect())
    }
}
