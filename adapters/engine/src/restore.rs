//! A book that was restored, copied or set back does not know what was paid since. It stays behind its fence until the
//! chain has been asked: what the wallet paid and the book does not know is charged to everybody above the mandates and
//! waits in suspense for whoever can say what it was. Nothing is lost twice: a nonce that was used is used.

use alloy_primitives::{Address, U256};
use ledger::budget::{Budget, BudgetKind, BudgetState};
use ledger::command::{Command, Recover};
use ledger::effects::{Fact, Operation};
use ledger::gate::{GateState, Scope};
use ledger::id::{Micros, TenantId};
use ledger::money::Amount;
use ledger::settlement::{Role, SettlementKey};
use ledger::spend::Observation;
use ledger::transfer::Money;
use x402::auth_capture::EIP3009_COLLECTOR;
use x402::chain::{At, ConsumedNonce};
use x402::network::Asset;
use x402::settlement::{ClaimKey, NonceSpace};

use crate::book::{self, service};
use crate::consent::fiat;
use crate::error::EngineError;
use crate::rate::authority_digits;
use crate::tenant::Tenant;
use crate::{Engine, Identity};

const PAGE: u32 = 500;
/// How far a chain's clock and ours may be apart.
const CLOCK_SECONDS: i64 = 3_600;
/// A running service finds within a second or two that its book was set back; what it wrote meanwhile is not heard.
const NOTICE_MICROS: i64 = 10_000_000;

/// What is known of the records that the book may have lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missing {
    /// Whoever keeps the newest checkpoint says that there are none.
    Nothing,
    /// Some are, or nobody can say.
    Something,
}

/// What lifting the fence came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Restored {
    /// The first block that was looked at.
    pub from_block: u64,
    pub recovered: u32,
    pub suspended: u32,
    pub revoked: u32,
}

impl Engine {
    /// Nothing is reserved, signed, sold or carried until [`Engine::restore`] lifts it.
    pub async fn fence(&self, tenant: &TenantId) -> Result<(), EngineError> {
        let identity = service(tenant, "restore")?;
        let command = Command::Gate { scope: Scope::Fence, to: GateState::Closed };
        self.run(&identity, command, Vec::new()).await.map(|_| ())
    }

    /// Asks the chain, takes in what it shows, and lifts the fence. Mandates do not come through what may be lost: where
    /// records are missing they are suspended, for a human to let on one by one; where a payment was found that no record
    /// accounts for, any of them may have made it, and they are revoked.
    pub async fn restore(&self, id: &TenantId, missing: Missing) -> Result<Restored, EngineError> {
        let tenant = self.tenant(id)?;
        let identity = service(id, "restore")?;
        let gates = self.store.closed_gates(id).await?;
        let Some(fence) = gates.into_iter().find(|gate| gate.scope == Scope::Fence) else {
            return Err(EngineError::NotFound { what: "closed fence of tenant", id: id.to_string() });
        };
        self.check_expired(&tenant, fence.since.seconds()).await?;
        // Closed again it is later: what was written behind it the first time is no word of the lost book.
        let fenced = self.fenced_since(id).await?.unwrap_or(fence.since);
        let from_block = self.first_unknown_block(id, fenced).await?;
        let mut restored = Restored { from_block, ..Restored::default() };
        let budgets = self.all_budgets(id).await?;
        if tenant.wallet.is_some() {
            let payer = payer(&tenant)?;
            for asset in self.assets.iter().filter(|asset| asset.network == self.network) {
                for consumed in self.chain.consumed_nonces(asset.address, payer, restored.from_block).await? {
                    self.recover(&identity, &tenant, asset, &budgets, consumed).await?;
                }
            }
        }
        // Counted in the book: what an earlier try took in counts too.
        restored.recovered = self.recovered_since(id, fenced).await?;
        let to = match (missing, restored.recovered) {
            (Missing::Nothing, 0) => None,
            (Missing::Something, 0) => Some(BudgetState::Suspended),
            _ => Some(BudgetState::Revoked),
        };
        for mandate in budgets.iter().filter(|budget| budget.kind == BudgetKind::Mandate) {
            let Some(to) = to.filter(|_| mandate.state != BudgetState::Revoked && to != Some(mandate.state)) else {
                continue;
            };
            self.run(&identity, Command::ChangeBudget { budget: mandate.id, to }, Vec::new()).await?;
            match to {
                BudgetState::Revoked => restored.revoked += 1,
                _ => restored.suspended += 1,
            }
        }
        let lift = Command::Gate { scope: Scope::Fence, to: GateState::Open };
        self.run(&identity, lift, Vec::new()).await?;
        Ok(restored)
    }

    /// What was signed before the book was lost can be taken to the chain until its last moment. Before that is past, at
    /// a block that stays, the chain does not show all of it.
    async fn check_expired(&self, tenant: &Tenant, since: i64) -> Result<(), EngineError> {
        let seconds = i64::try_from(tenant.limits.payment_seconds).unwrap_or(i64::MAX);
        let seconds = seconds.max(tenant.limits.closing_seconds);
        let expected = since.saturating_add(seconds);
        let finalized = self.chain.block(At::Finalized).await?.timestamp;
        if i64::try_from(finalized).unwrap_or(i64::MAX) < expected {
            let expected = format!("a finalized block at or past {expected}, when all that was signed has expired");
            return Err(EngineError::invalid("fence", expected, format!("one of {finalized}")));
        }
        Ok(())
    }

    /// Whatever is missing was signed after the last record before the fence, and after the newest block that any of them
    /// speaks of.
    async fn first_unknown_block(&self, tenant: &TenantId, fence: Micros) -> Result<u64, EngineError> {
        let (mut last, mut from, mut written) = (0, 0, None);
        loop {
            let page = self.store.records(tenant, from, PAGE).await?;
            let Some((end, _)) = page.last() else { break };
            from = end.seq.saturating_add(1);
            let before = fence.plus_micros(-NOTICE_MICROS);
            for (_, effects) in page.iter().filter(|(_, effects)| effects.at < before) {
                // A block that could be taken back may be another one by now, and what is missing in one before it.
                let is_young = effects.spend.as_ref().is_some_and(|spend| spend.young.is_some())
                    || effects.settlement.as_ref().is_some_and(|settlement| settlement.young.is_some());
                let seen = match &effects.fact {
                    Some(Fact::Seen(seen)) if !is_young => Some(seen.block_number),
                    _ => None,
                };
                let since = effects.spend.as_ref().map(|spend| spend.since_block);
                last = last.max(seen.unwrap_or(0)).max(since.unwrap_or(0));
                written = Some(effects.at.seconds());
            }
        }
        let Some(written) = written else { return Ok(last) };
        let head = self.chain.block(At::Latest).await?.number;
        Ok(last.max(self.block_at(written.saturating_sub(CLOCK_SECONDS), head).await?))
    }

    /// The last block at or before an instant, by halving; the first one where all are later.
    pub(crate) async fn block_at(&self, seconds: i64, head: u64) -> Result<u64, EngineError> {
        let (mut low, mut high) = (0, head);
        while low < high {
            let middle = low + (high - low).div_ceil(2);
            let found = self.chain.block(At::Number(middle)).await?;
            if i64::try_from(found.timestamp).is_ok_and(|timestamp| timestamp <= seconds) {
                low = middle;
            } else {
                high = middle.saturating_sub(1);
            }
        }
        Ok(low)
    }

    /// When the fence that is closed now was closed first.
    async fn fenced_since(&self, tenant: &TenantId) -> Result<Option<Micros>, EngineError> {
        let (mut from, mut since) = (0, None);
        loop {
            let page = self.store.records(tenant, from, PAGE).await?;
            let Some((end, _)) = page.last() else { return Ok(since) };
            from = end.seq.saturating_add(1);
            for gate in page.iter().filter_map(|(_, effects)| effects.gate.as_ref()) {
                since = match (gate.scope == Scope::Fence, gate.state) {
                    (false, _) => since,
                    (true, GateState::Closed) => since.or(Some(gate.since)),
                    (true, GateState::Open) => None,
                };
            }
        }
    }

    async fn recovered_since(&self, tenant: &TenantId, since: Micros) -> Result<u32, EngineError> {
        let mut recovered = 0_u32;
        let mut from = self.store.record_at(tenant, since).await?;
        loop {
            let page = self.store.records(tenant, from, PAGE).await?;
            let Some((end, _)) = page.last() else { return Ok(recovered) };
            from = end.seq.saturating_add(1);
            let found = page.iter().filter(|(_, effects)| effects.operation == Operation::Recover).count();
            recovered = recovered.saturating_add(u32::try_from(found).unwrap_or(u32::MAX));
        }
    }

    async fn all_budgets(&self, tenant: &TenantId) -> Result<Vec<Budget>, EngineError> {
        let mut all: Vec<Budget> = Vec::new();
        loop {
            let page = self.store.budgets_after(tenant, all.last().map(|budget| budget.id), PAGE).await?;
            if page.is_empty() {
                return Ok(all);
            }
            all.extend(page);
        }
    }

    async fn recover(
        &self,
        identity: &Identity,
        tenant: &Tenant,
        asset: &Asset,
        budgets: &[Budget],
        consumed: ConsumedNonce,
    ) -> Result<(), EngineError> {
        if consumed.by.canceled {
            return Ok(());
        }
        let payer = payer(tenant)?;
        let (to, value) = paid(&consumed)?;
        let (space, network, token) = (consumed.space, self.network, asset.address);
        let key = ClaimKey { space, network, token, payer, nonce: consumed.nonce };
        let key = if to == EIP3009_COLLECTOR { self.as_escrowed(&identity.tenant, key).await? } else { key };
        let authorization = book::authorization(&key)?;
        // Put into a channel of the wallet's own, and booked as that.
        let deposit = SettlementKey { role: Role::Wallet, authorization: authorization.clone() };
        if self.store.settlement(&identity.tenant, &deposit).await?.is_some() {
            return Ok(());
        }
        let money = Money { asset: authorization.asset.clone(), amount: book::amount(value)? };
        let quote = fiat(&tenant.currency)?;
        let peg = tenant.pegs.iter().find(|peg| peg.base == money.asset && peg.quote == quote);
        let digits = authority_digits(&tenant.currency)?;
        // Without a rate nobody can say what it was of their limits: it takes all the room that there is.
        let authority = match peg {
            Some(peg) => peg.convert(money.amount, u32::from(asset.decimals), digits)?,
            None => Amount::MAX,
        };
        let above = budgets.iter().filter(|budget| budget.kind != BudgetKind::Mandate && budget.asset == quote);
        let nodes = above.map(|budget| budget.id).collect();
        let seen = Observation {
            transaction: book::reference(consumed.by.transaction)?,
            block_number: consumed.by.block.number,
            block_hash: consumed.by.block.hash.0,
            pay_to: book::text(to),
            amount: money.amount,
        };
        let recover = Recover { authorization, money, authority, nodes, seen };
        self.run(identity, Command::Recover(Box::new(recover)), Vec::new()).await.map(|_| ())
    }
}

impl Engine {
    /// What went into the escrow of `auth-capture`, as the book would call it.
    async fn as_escrowed(&self, tenant: &TenantId, key: ClaimKey) -> Result<ClaimKey, EngineError> {
        let charged = ClaimKey { space: NonceSpace::Charged, ..key };
        let name = ledger::claim::ClaimKey::Authorization(book::authorization(&charged)?.at_most());
        let is_charged = self.store.claim(tenant, &name).await?.is_some();
        Ok(if is_charged { charged } else { ClaimKey { space: NonceSpace::Held, ..key } })
    }
}

/// Whom the wallet paid with this nonce, and how much.
fn paid(consumed: &ConsumedNonce) -> Result<(Address, U256), EngineError> {
    let transfer = consumed.transfer.filter(|transfer| transfer.to != transfer.from);
    let transaction = consumed.by.transaction;
    let expected = || format!("a transfer of the wallet in {transaction:#x}, which a human must look at");
    let transfer = transfer.ok_or_else(|| EngineError::invalid("transaction", expected(), "none"))?;
    Ok((transfer.to, transfer.value))
}

fn payer(tenant: &Tenant) -> Result<Address, EngineError> {
    let text = tenant.wallet.as_ref().map(|wallet| wallet.address()).ok_or(EngineError::NotConfigured("wallet"))?;
    text.parse().map_err(|_| EngineError::Broken(format!("`{text}` is no address")))
}
