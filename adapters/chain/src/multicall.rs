//! Multicall3: several calls in one transaction, at the same address on nearly every chain.

use alloy::primitives::{Address, Bytes, address};
use alloy::sol;
use alloy::sol_types::SolCall;

use crate::permit2::Deployed;

pub(crate) const ADDRESS: Address = address!("cA11bde05977b3631167028862bE2a173976CA11");

/// Origin and licence stand in it, and in `fixtures/contracts/README.md`.
const ARTIFACT: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../fixtures/contracts/Multicall3.json"));

sol! {
    struct Call3 {
        address target;
        bool allowFailure;
        bytes callData;
    }
    struct Result {
        bool success;
        bytes returnData;
    }

    interface Multicall3 {
        function aggregate3(Call3[] calls) external payable returns (Result[] returnData);
    }
}

pub(crate) fn aggregate(calls: Vec<Call3>) -> (Address, Bytes) {
    (ADDRESS, Multicall3::aggregate3Call { calls }.abi_encode().into())
}

/// `None` where these are no results of it: where the contract is not there, a call of it succeeds and answers nothing.
pub(crate) fn results(output: &[u8]) -> Option<Vec<Result>> {
    Multicall3::aggregate3Call::abi_decode_returns_validate(output).ok()
}

pub(crate) fn contract() -> std::result::Result<Deployed, String> {
    serde_json::from_str(ARTIFACT).map_err(|error| format!("the artifact cannot be read: {error}"))
}
