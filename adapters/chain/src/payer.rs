//! The wallet's own account, as far as it sends something by itself: it takes back what is its own, and nothing else.

use std::fmt;

use alloy::primitives::{Address, B256, Bytes, U256};
use async_trait::async_trait;
use x402::auth_capture::{self, EscrowCall};
use x402::batch_settlement::{ChannelCall, ESCROW};
use x402::chain::{ChainError, Prepared, Relayer, SettlementCall, TransferCall};

use crate::relayer::{FeeCaps, LocalRelayer, RelayerError};
use crate::rpc::RpcChain;
use crate::{channels, escrow};

/// What it is asked to sign.
enum OwnCall<'a> {
    Channel(&'a ChannelCall),
    Escrow(&'a EscrowCall),
    Other,
}

/// A relayer for calls that an escrow takes from a payer alone, of this very payer. Its key pays for everything that the
/// wallet buys, so it signs no other transaction, whoever asks for one.
pub struct OwnSender {
    inner: LocalRelayer,
    wei_max: U256,
}

impl OwnSender {
    /// `wei_max` is what one transaction may cost at most.
    pub fn new(chain: RpcChain, private_key: &B256, wei_max: u128) -> Result<Self, RelayerError> {
        let inner = LocalRelayer::new(chain, private_key, FeeCaps::default())?;
        Ok(Self { inner, wei_max: U256::from(wei_max) })
    }

    /// What is called with what and for how much gas at most, where it is one of this account's own.
    fn own(&self, call: OwnCall<'_>) -> Result<(Address, Bytes, u64), ChainError> {
        let (account, chain) = (self.address(), self.inner.chain());
        match call {
            OwnCall::Channel(call) if call.sender() == Some(account) => {
                Ok((ESCROW, channels::input(call), chain.channel_gas_max(call)))
            }
            OwnCall::Escrow(call @ EscrowCall::Reclaim { info }) if info.payer == account => {
                Ok((auth_capture::ESCROW, escrow::input(call), chain.settlement_gas_max()))
            }
            OwnCall::Channel(_) | OwnCall::Escrow(_) | OwnCall::Other => {
                let message = format!("a call by which {account} takes back its own was expected, found another one");
                Err(ChainError::Refused { code: crate::devnet::SERVER_ERROR, message })
            }
        }
    }

    async fn signed(&self, call: OwnCall<'_>, account_nonce: u64) -> Result<Prepared, ChainError> {
        let own = self.own(call)?;
        let quote = self.inner.quote(&own, self.wei_max).await?;
        self.inner.bounded(own, account_nonce, &quote).await
    }
}

#[async_trait]
impl Relayer for OwnSender {
    fn address(&self) -> Address {
        self.inner.address()
    }

    fn nonce_in(&self, raw: &Bytes) -> Option<u64> {
        self.inner.nonce_in(raw)
    }

    /// To itself, without a value.
    async fn fill(&self, account_nonce: u64) -> Result<Prepared, ChainError> {
        self.inner.fill(account_nonce).await
    }

    async fn affords(&self, call: &SettlementCall) -> Result<(), ChainError> {
        let own = self.own(match call {
            SettlementCall::Channel(call) => OwnCall::Channel(call),
            SettlementCall::Escrow(call) => OwnCall::Escrow(call),
            SettlementCall::Transfer(_)
            | SettlementCall::Wallet(_)
            | SettlementCall::Permit(_)
            | SettlementCall::Cancel(_)
            | SettlementCall::Gas(_) => OwnCall::Other,
        })?;
        self.inner.quote(&own, self.wei_max).await.map(|_| ())
    }

    async fn prepare(&self, _: &TransferCall, account_nonce: u64) -> Result<Prepared, ChainError> {
        self.signed(OwnCall::Other, account_nonce).await
    }

    async fn prepare_channel(&self, call: &ChannelCall, account_nonce: u64) -> Result<Prepared, ChainError> {
        self.signed(OwnCall::Channel(call), account_nonce).await
    }

    async fn prepare_escrow(&self, call: &EscrowCall, account_nonce: u64) -> Result<Prepared, ChainError> {
        self.signed(OwnCall::Escrow(call), account_nonce).await
    }
}

impl fmt::Debug for OwnSender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OwnSender").field("address", &self.address()).finish_non_exhaustive()
    }
}
