//! The RPC node that a process asks: it stalls, answers from machines that lag, and leaves logs out. And the relayer.

use alloy_primitives::{Address, B256, Bytes, U256};
use async_trait::async_trait;
use x402::chain::{
    At, AuthorizationUse, Block, Chain, ChainError, Pool, Prepared, Receipt, Relayer, TokenFacts, TransferCall,
    TransferLog, UsedNonce,
};

use super::chain::{Call, FINALITY, GAS_PRICE, GAS_USED, Mined, ModelChain, TOKEN};
use super::mutant::Mutant;
use super::state::{NodeMode, Shared, State, pause};

pub struct SimNode {
    pub shared: Shared,
    pub process: usize,
}

fn unavailable(why: &str) -> ChainError {
    ChainError::Unavailable(why.to_owned())
}

/// What one question meets: the head of the machine that answers, and whether it leaves logs out.
struct Met {
    head: usize,
    forgets: bool,
}

impl SimNode {
    async fn ask<T>(
        &self,
        answer: impl FnOnce(&mut State, &Met) -> Result<T, ChainError> + Send,
    ) -> Result<T, ChainError> {
        pause().await;
        self.shared.with(|state| {
            let mode = state.nodes[self.process];
            let refused = match mode {
                NodeMode::Stalled => true,
                NodeMode::Flaky => state.dice.chance(300),
                _ => false,
            };
            if refused {
                return Err(unavailable("simulated"));
            }
            let lag = if mode == NodeMode::Lagging { state.dice.below(7) } else { 0 };
            let forgets = mode == NodeMode::Forgetful && state.dice.chance(600);
            let met = Met { head: state.chain.head().saturating_sub(lag), forgets };
            answer(state, &met)
        })
    }
}

fn number(at: At, met: &Met, mutant: Option<Mutant>) -> Result<usize, ChainError> {
    match at {
        At::Latest => Ok(met.head),
        At::Finalized if mutant == Some(Mutant::IgnoreFinality) => Ok(met.head),
        At::Finalized => Ok(met.head.saturating_sub(FINALITY)),
        At::Number(number) => {
            let number = usize::try_from(number).unwrap();
            // A machine that has not seen a block does not answer for the state after it.
            if number <= met.head { Ok(number) } else { Err(unavailable("header not found")) }
        }
    }
}

fn seen(chain: &ModelChain, payer: Address, nonce: B256, upto: usize) -> Option<&Mined> {
    let found = chain.use_of(&(payer, nonce))?;
    (usize::try_from(found.block.number).unwrap() <= upto).then_some(found)
}

#[async_trait]
impl Chain for SimNode {
    async fn chain_id(&self) -> Result<u64, ChainError> {
        self.ask(|_, _| Ok(31337)).await
    }

    async fn block(&self, at: At) -> Result<Block, ChainError> {
        self.ask(|state, met| Ok(state.chain.at(number(at, met, state.mutant)?))).await
    }

    async fn code(&self, address: Address) -> Result<Bytes, ChainError> {
        self.ask(|_, _| Ok(if address == TOKEN { Bytes::from_static(&[0xfe]) } else { Bytes::new() })).await
    }

    async fn token(&self, _: Address) -> Result<TokenFacts, ChainError> {
        let facts =
            TokenFacts { name: "USD Coin".into(), version: "2".into(), decimals: 6, domain_separator: B256::ZERO };
        self.ask(|_, _| Ok(facts)).await
    }

    async fn balance_of(&self, _: Address, owner: Address, _: At) -> Result<U256, ChainError> {
        self.ask(|state, _| Ok(state.chain.balance(owner))).await
    }

    async fn native_balance(&self, _: Address) -> Result<U256, ChainError> {
        self.ask(|_, _| Ok(U256::MAX)).await
    }

    async fn authorization_consumed(
        &self,
        _: Address,
        payer: Address,
        nonce: B256,
        at: At,
    ) -> Result<bool, ChainError> {
        self.ask(|state, met| {
            let upto = number(at, met, state.mutant)?;
            let denied = met.forgets && state.mutant == Some(Mutant::DenyUse);
            Ok(!denied && seen(&state.chain, payer, nonce, upto).is_some())
        })
        .await
    }

    async fn find_authorization(
        &self,
        _: Address,
        payer: Address,
        nonce: B256,
        from: u64,
    ) -> Result<Option<AuthorizationUse>, ChainError> {
        self.ask(|state, met| {
            let found = seen(&state.chain, payer, nonce, met.head);
            let found = found.filter(|found| found.block.number >= from && !met.forgets);
            Ok(found.map(|found| used(state, found)))
        })
        .await
    }

    async fn used_nonces(&self, _: Address, payer: Address, from: u64) -> Result<Vec<B256>, ChainError> {
        self.ask(|state, met| {
            let all = state.chain.used.keys().filter(|(who, _)| *who == payer);
            let told = all.filter(|(who, nonce)| {
                let found = seen(&state.chain, *who, *nonce, met.head);
                found.is_some_and(|found| found.block.number >= from && !met.forgets)
            });
            Ok(told.map(|(_, nonce)| *nonce).collect())
        })
        .await
    }

    async fn simulate(&self, call: &TransferCall, _: Address) -> Result<(), ChainError> {
        let call = call.clone();
        self.ask(move |state, met| {
            let used = seen(&state.chain, call.from, call.nonce, met.head).is_some();
            let late = U256::from(state.chain.at(met.head).timestamp) >= call.valid_before;
            if used || late || state.chain.balance(call.from) < call.value {
                return Err(ChainError::Reverted { reason: "simulated".into(), data: Bytes::new() });
            }
            Ok(())
        })
        .await
    }

    async fn receipt(&self, transaction: B256) -> Result<Option<Receipt>, ChainError> {
        self.ask(|state, met| {
            let found = state.chain.find(&transaction).filter(|_| !met.forgets);
            let found = found.filter(|found| usize::try_from(found.block.number).unwrap() <= met.head);
            Ok(found.map(|found| Receipt {
                transaction,
                block: found.block,
                sender: found.tx.sender,
                success: found.success,
                gas_used: GAS_USED,
                effective_gas_price: GAS_PRICE,
                transfers: found.transfers(),
                used: used_nonce(found).into_iter().collect(),
                channels: Vec::new(),
                escrow: Vec::new(),
            }))
        })
        .await
    }

    async fn knows(&self, transaction: B256) -> Result<bool, ChainError> {
        self.ask(|state, _| Ok(state.chain.pool.iter().any(|tx| tx.hash == transaction))).await
    }

    async fn account_nonce(&self, account: Address, pool: Pool) -> Result<u64, ChainError> {
        self.ask(|state, met| {
            let mut next = state.chain.nonce(account);
            let waits = |next: u64, state: &State| {
                state.chain.pool.iter().any(|tx| tx.sender == account && tx.account_nonce == Some(next))
            };
            while pool == Pool::Pending && met.head == state.chain.head() && waits(next, state) {
                next += 1;
            }
            Ok(next)
        })
        .await
    }

    async fn broadcast(&self, raw: &Bytes) -> Result<(), ChainError> {
        let raw = raw.clone();
        self.ask(move |state, _| {
            let tx = state.chain.known.get(&raw).cloned().ok_or_else(|| unavailable("no such bytes"))?;
            let nonce = state.chain.nonce(tx.sender);
            if tx.account_nonce.is_some_and(|own| own < nonce) {
                return Err(ChainError::Refused { code: -32000, message: "nonce too low".into() });
            }
            // The node dies before it has taken the bytes, or after.
            let dies = state.dice.below(20);
            if dies != 0 {
                state.chain.send(tx);
            }
            if dies < 2 { Err(unavailable("simulated")) } else { Ok(()) }
        })
        .await
    }
}

fn used(state: &State, found: &Mined) -> AuthorizationUse {
    let canceled = matches!(found.tx.call, Call::Cancel(_));
    let believed = state.mutant == Some(Mutant::TrustState) && canceled;
    AuthorizationUse {
        transaction: found.tx.hash,
        block: found.block,
        canceled: canceled && !believed,
        transfers: if believed { promised(state, found) } else { found.transfers() },
    }
}

fn used_nonce(found: &Mined) -> Option<UsedNonce> {
    let (payer, nonce) = match &found.tx.call {
        Call::Transfer(call) if found.success => (call.from, call.nonce),
        _ => return None,
    };
    Some(UsedNonce { asset: TOKEN, payer, nonce, transfers: found.transfers() })
}

/// What the authorization said that would be moved.
fn promised(state: &State, found: &Mined) -> Vec<TransferLog> {
    let known = state.chain.known.values().find_map(|tx| match &tx.call {
        Call::Transfer(call) if Some((call.from, call.nonce)) == found.tx.call.authorization() => Some(call),
        _ => None,
    });
    let log = |call: &TransferCall| TransferLog { asset: TOKEN, from: call.from, to: call.to, value: call.value };
    known.map(log).into_iter().collect()
}

pub struct SimRelayer {
    pub shared: Shared,
    pub address: Address,
}

#[async_trait]
impl Relayer for SimRelayer {
    fn address(&self) -> Address {
        self.address
    }

    fn nonce_in(&self, raw: &Bytes) -> Option<u64> {
        let found = self.shared.with(|state| state.chain.known.get(raw).cloned());
        found.filter(|tx| tx.sender == self.address)?.account_nonce
    }

    async fn prepare(&self, call: &TransferCall, account_nonce: u64) -> Result<Prepared, ChainError> {
        let call = Call::Transfer(call.clone());
        pause().await;
        Ok(self.shared.with(|state| {
            let (raw, tx) = state.chain.write(self.address, Some(account_nonce), call);
            Prepared { transaction: tx.hash, raw, account_nonce, replacements: Vec::new() }
        }))
    }
}
