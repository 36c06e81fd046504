//! The wallets of a book held against the chain: what is booked and what moved, transaction by transaction. Breaks are
//! listed and never mended here; what is signed and not posted yet is in flight, and no break.

mod escrowed;

use std::collections::{BTreeMap, BTreeSet};

use alloy_primitives::{Address, U256};
use ledger::account::{Account, Net};
use ledger::effects::{Effects, Fact};
use ledger::id::{Digest, SpendId, TenantId};
use ledger::money::{Amount, AssetId};
use ledger::spend::{Spend, SpendState};
use ledger::transfer::{Layer, TransferCode};
use x402::chain::{At, Block, TokenTransfer};

use crate::Engine;
use crate::book;
use crate::error::EngineError;
use escrowed::{Escrowed, fold};

const PAGE: u32 = 500;
/// How far before a record's own time the block is looked for that an opening balance was read at.
const OPENING_BLOCKS: u64 = 64;

/// What came in and what went out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moved {
    pub received: Amount,
    pub paid: Amount,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ItemState {
    /// Signed here, seen there, not posted yet.
    InFlight,
    /// Booked, and the chain does not show it.
    Missing,
    /// The chain shows it, and nothing is booked.
    Unexpected,
    /// Both, with other amounts.
    Mismatched,
}

impl ItemState {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::InFlight => "in_flight",
            Self::Missing => "missing",
            Self::Unexpected => "unexpected",
            Self::Mismatched => "mismatched",
        }
    }
}

/// One transaction that does not agree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    pub state: ItemState,
    pub transaction: String,
    pub booked: Moved,
    pub on_chain: Moved,
}

/// One wallet in one asset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WalletReport {
    pub wallet: String,
    pub asset: AssetId,
    /// The last block that the opening balance covers.
    pub opened_at: u64,
    pub block: Block,
    pub booked: Net,
    pub on_chain: U256,
    pub matched: u64,
    pub items: Vec<Item>,
}

impl WalletReport {
    pub fn is_agreed(&self) -> bool {
        self.items.iter().all(|item| item.state == ItemState::InFlight) && self.is_explained()
    }

    /// The list accounts for the whole difference: booked + what only the chain shows - what only the book shows.
    pub fn is_explained(&self) -> bool {
        let booked = match self.booked {
            Net::Positive(amount) => U256::from(amount.get()),
            Net::Negative(_) => return false,
        };
        let sum = |part: fn(&Item) -> [Amount; 2]| {
            self.items
                .iter()
                .flat_map(part)
                .fold(U256::ZERO, |sum, amount| sum.saturating_add(U256::from(amount.get())))
        };
        let more = sum(|item| [item.on_chain.received, item.booked.paid]);
        let less = sum(|item| [item.on_chain.paid, item.booked.received]);
        booked.saturating_add(more) == self.on_chain.saturating_add(less)
    }
}

impl Engine {
    /// Every wallet of a tenant's book on this chain, token by token.
    pub async fn audit(&self, tenant: &TenantId) -> Result<Vec<WalletReport>, EngineError> {
        let mut reports = Vec::new();
        let block = self.chain.block(At::Latest).await?;
        for entry in self.store.balances(tenant).await? {
            let Account::Wallet(wallet) = &entry.account else { continue };
            let Some(token) = self.assets.find_id(&entry.asset) else { continue };
            let owner = wallet.strip_prefix(&format!("{}:", self.network)).and_then(|text| text.parse().ok());
            let Some(owner) = owner else { continue };
            let Booked { moved: booked, opening, first, escrowed } =
                self.booked(tenant, &entry.account, &entry.asset).await?;
            // Seconds are coarse where several blocks fall into one: what is booked from a block came after the opening.
            let opened_at = self.opened_at(opening, block.number).await?;
            let opened_at = first.map_or(opened_at, |first| opened_at.min(first.saturating_sub(1)));
            let from = opened_at.saturating_add(1);
            let seen = match from <= block.number {
                true => self.chain.token_transfers(token.address, owner, from, block.number).await?,
                false => Vec::new(),
            };
            let open = self.open_signed(tenant, &entry.asset).await?;
            let own = open.iter().filter(|spend| spend.authorization.is_escrowed());
            let mut together = Vec::new();
            for spend in escrowed.values().chain(own) {
                together.extend(self.escrowed_moves(spend).await?);
            }
            let (matched, items) = compare(booked, &seen, owner, (&open, &together))?;
            let on_chain = self.chain.balance_of(token.address, owner, At::Number(block.number)).await?;
            let booked = entry.balance.net(entry.account.class());
            let (wallet, asset) = (wallet.clone(), entry.asset.clone());
            reports.push(WalletReport { wallet, asset, opened_at, block, booked, on_chain, matched, items });
        }
        Ok(reports)
    }

    /// What is posted to a wallet, by transaction; and where its balance was read when the book began.
    async fn booked(&self, tenant: &TenantId, account: &Account, asset: &AssetId) -> Result<Booked, EngineError> {
        let (mut moved, mut opening, mut first, mut from) = (BTreeMap::new(), None, None, 0);
        let mut escrowed = BTreeMap::new();
        loop {
            let page = self.store.records(tenant, from, PAGE).await?;
            let Some((last, _)) = page.last() else {
                moved.retain(|_, moved| *moved != Moved::default());
                return Ok(Booked { moved, opening, first, escrowed });
            };
            from = last.seq.saturating_add(1);
            for (_, effects) in &page {
                // As it stands now: what is open is read beside.
                if let Some(spend) = effects.spend.as_ref().filter(|spend| spend.authorization.is_escrowed()) {
                    let is_own = spend.money.asset == *asset && spend.wallet() == *account;
                    match is_own && matches!(spend.state, SpendState::Settled | SpendState::Released) {
                        true => drop(escrowed.insert(spend.id, spend.clone())),
                        false => drop(escrowed.remove(&spend.id)),
                    }
                }
                for transfer in effects.transfers.iter().filter(|leg| leg.asset == *asset && leg.layer == Layer::Posted)
                {
                    let (is_in, is_out) = (transfer.debit == *account, transfer.credit == *account);
                    if !is_in && !is_out {
                        continue;
                    }
                    if transfer.code == TransferCode::Fund {
                        opening = opening.or(Some(opening_of(effects)));
                        continue;
                    }
                    if let Some(Fact::Seen(seen)) = &effects.fact {
                        first = Some(first.map_or(seen.block_number, |first: u64| first.min(seen.block_number)));
                    }
                    let entry: &mut Moved = moved.entry(transaction_of(effects)).or_default();
                    match transfer.code {
                        // What the chain took back was never there.
                        TransferCode::Unsettle => entry.paid = less(entry.paid, transfer.amount)?,
                        TransferCode::Unreceive => entry.received = less(entry.received, transfer.amount)?,
                        _ if is_in => add(&mut entry.received, transfer.amount)?,
                        _ => add(&mut entry.paid, transfer.amount)?,
                    }
                }
            }
        }
    }

    /// The block of an opening balance, by its hash; where the record names none, the last block before the record.
    async fn opened_at(&self, opening: Option<Opening>, head: u64) -> Result<u64, EngineError> {
        let Some(Opening { hash, at }) = opening else { return Ok(0) };
        let low = self.block_at(at, head).await?;
        for number in (low.saturating_sub(OPENING_BLOCKS)..=low.saturating_add(2).min(head)).rev() {
            if self.chain.block(At::Number(number)).await?.hash.0 == hash.0 {
                return Ok(number);
            }
        }
        Ok(low)
    }

    async fn open_signed(&self, tenant: &TenantId, asset: &AssetId) -> Result<Vec<Spend>, EngineError> {
        let mut all: Vec<Spend> = Vec::new();
        loop {
            let page = self.store.open_spends(tenant, all.last().map(|spend| spend.hold.seq), PAGE).await?;
            if page.is_empty() {
                all.retain(|spend| spend.state.is_signed() && spend.money.asset == *asset);
                return Ok(all);
            }
            all.extend(page);
        }
    }
}

/// Where a wallet's balance came into the book.
struct Opening {
    hash: Digest,
    at: i64,
}

/// What the book has of one wallet.
struct Booked {
    /// By transaction.
    moved: BTreeMap<String, Moved>,
    opening: Option<Opening>,
    /// The first block that anything of it was seen in.
    first: Option<u64>,
    /// What went through the escrow of `auth-capture`, and is over.
    escrowed: BTreeMap<SpendId, Spend>,
}

fn opening_of(effects: &Effects) -> Opening {
    let hash = match effects.fact {
        Some(Fact::Reference(reference)) => reference,
        _ => Digest([0; 32]),
    };
    Opening { hash, at: effects.at.seconds() }
}

/// What the rail calls it; a record that names nothing is a break by its own number.
fn transaction_of(effects: &Effects) -> String {
    match &effects.fact {
        Some(Fact::Seen(seen)) => seen.transaction.to_string(),
        Some(Fact::TakenBack(proof)) => proof.transaction.to_string(),
        _ => format!("record {}", effects.seq),
    }
}

fn add(sum: &mut Amount, amount: Amount) -> Result<(), EngineError> {
    *sum = sum.checked_add(amount).ok_or_else(|| EngineError::Broken("a sum leaves the range of an amount".into()))?;
    Ok(())
}

fn less(sum: Amount, amount: Amount) -> Result<Amount, EngineError> {
    sum.checked_sub(amount).ok_or_else(|| EngineError::Broken("more was taken back than was booked".into()))
}

fn compare(
    mut booked: BTreeMap<String, Moved>,
    seen: &[TokenTransfer],
    owner: Address,
    (open, escrowed): (&[Spend], &[Escrowed]),
) -> Result<(u64, Vec<Item>), EngineError> {
    let mut on_chain: BTreeMap<String, Moved> = BTreeMap::new();
    let mut in_flight = BTreeSet::new();
    for transfer in seen.iter().filter(|transfer| transfer.log.from != transfer.log.to) {
        let transaction = format!("{:#x}", transfer.transaction);
        let amount = book::amount(transfer.log.value)?;
        let to = book::text(transfer.log.to);
        if open.iter().any(|spend| spend.pay_to == to && spend.money.amount == amount) {
            in_flight.insert(transaction.clone());
        }
        let moved = on_chain.entry(transaction).or_default();
        add(if transfer.log.to == owner { &mut moved.received } else { &mut moved.paid }, amount)?;
    }
    fold(&mut on_chain, &mut in_flight, escrowed);
    let (mut matched, mut items) = (0_u64, Vec::new());
    for (transaction, on_chain) in on_chain {
        let found = booked.remove(&transaction);
        let state = match found {
            Some(booked) if booked == on_chain => {
                matched = matched.saturating_add(1);
                continue;
            }
            Some(_) => ItemState::Mismatched,
            None if in_flight.contains(&transaction) => ItemState::InFlight,
            None => ItemState::Unexpected,
        };
        items.push(Item { state, transaction, booked: found.unwrap_or_default(), on_chain });
    }
    let missing =
        |(transaction, booked)| Item { state: ItemState::Missing, transaction, booked, on_chain: Moved::default() };
    items.extend(booked.into_iter().map(missing));
    Ok((matched, items))
}
