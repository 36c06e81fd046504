//! What a transfer is checked against, in one exchange: six questions a round trip each would be the most of a verification.

use alloy::primitives::{Address, Bytes, U64, U256};
use alloy::sol_types::SolCall;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use x402::chain::{AuthorizedCall, ChainError, Findings, find_each};

use super::RpcChain;
use super::client::printable;
use crate::token::{Token, transfer_input};
use crate::wallet;

impl RpcChain {
    /// A node that takes no batches is asked one by one, and so is the next node where this one says nothing.
    pub(super) async fn find(&self, call: AuthorizedCall<'_>, caller: Address) -> Result<Findings, ChainError> {
        match self.find_at_once(call, caller).await {
            Err(ChainError::Unavailable(_)) => find_each(self, call, caller).await,
            other => other,
        }
    }

    async fn find_at_once(&self, call: AuthorizedCall<'_>, caller: Address) -> Result<Findings, ChainError> {
        let (asset, payer) = (call.asset(), call.payer());
        let read = |input: Vec<u8>| json!([{ "to": asset, "data": Bytes::from(input) }, "latest"]);
        let consumed = Token::authorizationStateCall { authorizer: payer, nonce: call.nonce() };
        let balance = Token::balanceOfCall { owner: payer };
        let (to, input) = match call {
            AuthorizedCall::Key(call) => (asset, transfer_input(call)),
            AuthorizedCall::Wallet(call) => wallet::settle_input(call),
        };
        let gas = U64::from(self.config.settlement_gas_max);
        let calls = [
            ("eth_chainId", json!([])),
            ("eth_getCode", json!([asset, "latest"])),
            ("eth_getCode", json!([payer, "latest"])),
            ("eth_call", read(consumed.abi_encode())),
            ("eth_call", read(balance.abi_encode())),
            ("eth_call", json!([{ "from": caller, "to": to, "data": input, "gas": gas }, "latest"])),
        ];
        let mut answers = self.client.batch(&calls).await?.into_iter();
        let mut next = || answers.next().unwrap_or_else(|| Err(ChainError::Unavailable("an answer is missing".into())));
        let chain_id: U64 = value(next()?)?;
        let (token_code, payer_code): (Bytes, Bytes) = (value(next()?)?, value(next()?)?);
        if token_code.is_empty() {
            return Ok(Findings::without_token(chain_id.to()));
        }
        let consumed = returned::<Token::authorizationStateCall>(asset, next()?)?;
        let balance: U256 = returned::<Token::balanceOfCall>(asset, next()?)?;
        let simulated = match call {
            AuthorizedCall::Key(_) => next().and_then(value::<Bytes>).map(|_| ()),
            AuthorizedCall::Wallet(call) => self.tried(call, next().and_then(value)),
        };
        if let Err(nothing @ ChainError::Unavailable(_)) = simulated {
            return Err(nothing);
        }
        Ok(Findings { chain_id: chain_id.to(), token_code, payer_code, consumed, balance, simulated })
    }
}

fn value<T: DeserializeOwned>(answer: Value) -> Result<T, ChainError> {
    let unreadable = |error: serde_json::Error| {
        ChainError::Unavailable(format!("a result cannot be read: {}", printable(&error.to_string())))
    };
    serde_json::from_value(answer).map_err(unreadable)
}

fn returned<C: SolCall>(asset: Address, answer: Value) -> Result<C::Return, ChainError> {
    let output: Bytes = value(answer)?;
    C::abi_decode_returns_validate(&output).map_err(|error| {
        let error = printable(&error.to_string());
        ChainError::Unavailable(format!("{asset} does not answer {} as a token would: {error}", C::SIGNATURE))
    })
}
