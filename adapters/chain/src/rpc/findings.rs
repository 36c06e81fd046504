//! What a transfer is checked against, in one exchange: six questions a round trip each would be the most of a verification.

use std::collections::{BTreeMap, BTreeSet};

use alloy::primitives::{Address, Bytes, U64, U256};
use alloy::sol_types::SolCall;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use x402::chain::{AuthorizedCall, ChainError, Findings, TransferCall, find_each};

use super::RpcChain;
use super::client::printable;
use crate::multicall::{self, Call3};
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

impl RpcChain {
    /// One question of each contract and account, and one for every state of the token.
    pub(super) async fn find_of(&self, calls: &[TransferCall]) -> Result<Vec<Findings>, ChainError> {
        let accounts: BTreeSet<Address> = calls.iter().flat_map(|call| [call.asset, call.from]).collect();
        let states = calls.iter().flat_map(|call| {
            let consumed = Token::authorizationStateCall { authorizer: call.from, nonce: call.nonce }.abi_encode();
            let balance = Token::balanceOfCall { owner: call.from }.abi_encode();
            [consumed, balance].map(|input| Call3 { target: call.asset, allowFailure: true, callData: input.into() })
        });
        let (to, input) = multicall::aggregate(states.collect());
        let mut asked = vec![("eth_chainId", json!([])), ("eth_call", json!([{ "to": to, "data": input }, "latest"]))];
        asked.extend(accounts.iter().map(|account| ("eth_getCode", json!([account, "latest"]))));
        let mut answers = self.client.batch(&asked).await?.into_iter();
        let mut next = || answers.next().unwrap_or_else(|| Err(ChainError::Unavailable("an answer is missing".into())));
        let (chain_id, output): (U64, Bytes) = (value(next()?)?, value(next()?)?);
        let mut codes: BTreeMap<Address, Bytes> = BTreeMap::new();
        for account in accounts {
            codes.insert(account, value(next()?)?);
        }
        let states = multicall::results(&output).filter(|states| states.len() == calls.len().saturating_mul(2));
        let odd =
            || ChainError::Unavailable(format!("{to} does not answer as Multicall3 about {} transfers", calls.len()));
        let states = states.ok_or_else(odd)?;
        let code = |account: &Address| codes.get(account).cloned().unwrap_or_default();
        calls
            .iter()
            .zip(states.chunks_exact(2))
            .map(|(call, states)| {
                let token_code = code(&call.asset);
                let [consumed, balance] = states else { return Err(odd()) };
                if token_code.is_empty() {
                    return Ok(Findings::without_token(chain_id.to()));
                }
                Ok(Findings {
                    chain_id: chain_id.to(),
                    token_code,
                    payer_code: code(&call.from),
                    consumed: decoded::<Token::authorizationStateCall>(call.asset, &consumed.returnData)?,
                    balance: decoded::<Token::balanceOfCall>(call.asset, &balance.returnData)?,
                    simulated: Ok(()),
                })
            })
            .collect()
    }
}

pub(super) fn value<T: DeserializeOwned>(answer: Value) -> Result<T, ChainError> {
    let unreadable = |error: serde_json::Error| {
        ChainError::Unavailable(format!("a result cannot be read: {}", printable(&error.to_string())))
    };
    serde_json::from_value(answer).map_err(unreadable)
}

pub(super) fn returned<C: SolCall>(asset: Address, answer: Value) -> Result<C::Return, ChainError> {
    decoded::<C>(asset, &value::<Bytes>(answer)?)
}

fn decoded<C: SolCall>(asset: Address, output: &[u8]) -> Result<C::Return, ChainError> {
    C::abi_decode_returns_validate(output).map_err(|error| {
        let error = printable(&error.to_string());
        ChainError::Unavailable(format!("{asset} does not answer {} as a token would: {error}", C::SIGNATURE))
    })
}
