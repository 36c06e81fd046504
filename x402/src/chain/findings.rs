//! Everything that a transfer by authorization is checked against, as one question.

use alloy_primitives::{Address, B256, Bytes, U256};

use super::{At, Chain, ChainError, TransferCall, WalletCall};

/// What a transfer by authorization is checked against.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Findings {
    pub chain_id: u64,
    pub token_code: Bytes,
    pub payer_code: Bytes,
    /// The payer's nonce is used up.
    pub consumed: bool,
    pub balance: U256,
    /// `Ok` means that the call would not revert now.
    pub simulated: Result<(), ChainError>,
}

impl Findings {
    /// There is nothing at the token's address that could be asked anything.
    pub fn without_token(chain_id: u64) -> Self {
        let (token_code, payer_code) = (Bytes::new(), Bytes::new());
        Self { chain_id, token_code, payer_code, consumed: false, balance: U256::ZERO, simulated: Ok(()) }
    }
}

/// A transfer by authorization, of whichever payer.
#[derive(Clone, Copy, Debug)]
pub enum AuthorizedCall<'a> {
    Key(&'a TransferCall),
    Wallet(&'a WalletCall),
}

impl AuthorizedCall<'_> {
    pub const fn asset(&self) -> Address {
        match self {
            Self::Key(call) => call.asset,
            Self::Wallet(call) => call.asset,
        }
    }

    pub const fn payer(&self) -> Address {
        match self {
            Self::Key(call) => call.from,
            Self::Wallet(call) => call.authorization.from,
        }
    }

    pub const fn nonce(&self) -> B256 {
        match self {
            Self::Key(call) => call.nonce,
            Self::Wallet(call) => call.authorization.nonce,
        }
    }

    pub const fn value(&self) -> U256 {
        match self {
            Self::Key(call) => call.value,
            Self::Wallet(call) => call.authorization.value,
        }
    }
}

/// One question after the other, for chains that take no more at once.
pub async fn find_each<C: Chain + ?Sized>(
    chain: &C,
    call: AuthorizedCall<'_>,
    caller: Address,
) -> Result<Findings, ChainError> {
    let (asset, payer) = (call.asset(), call.payer());
    let (chain_id, token_code) = (chain.chain_id().await?, chain.code(asset).await?);
    if token_code.is_empty() {
        return Ok(Findings::without_token(chain_id));
    }
    Ok(Findings {
        chain_id,
        token_code,
        payer_code: chain.code(payer).await?,
        consumed: chain.authorization_consumed(asset, payer, call.nonce(), At::Latest).await?,
        balance: chain.balance_of(asset, payer, At::Latest).await?,
        simulated: match call {
            AuthorizedCall::Key(call) => chain.simulate(call, caller).await,
            AuthorizedCall::Wallet(call) => chain.simulate_wallet(call, caller).await,
        },
    })
}
