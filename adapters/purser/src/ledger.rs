//! `purser ledger`: what the books say, for people and for machines.

use std::collections::BTreeMap;

use ledger::account::Net;
use ledger::effects::Effects;
use ledger::id::{Micros, TenantId};
use ledger::money::Amount;
use ledger::spend::Spend;
use ledger::store::{AccountBalance, JournalEntry, Store, StoreError, Verification};
use serde_json::{Value, json};

/// Records read at once.
const PAGE: u32 = 1_000;

/// Every account of a tenant with its posted balance, and whether debits equal credits in each asset.
#[derive(Clone, Debug)]
pub struct TrialBalance {
    pub accounts: Vec<AccountBalance>,
    /// Posted debits and credits by asset.
    pub totals: BTreeMap<String, (Amount, Amount)>,
}

impl TrialBalance {
    pub async fn read(store: &dyn Store, tenant: &TenantId) -> Result<Self, StoreError> {
        Self::of(store.balances(tenant).await?)
    }

    /// Before the first record of an instant.
    pub async fn read_at(store: &dyn Store, tenant: &TenantId, at: Micros) -> Result<Self, StoreError> {
        Self::read_before(store, tenant, store.record_at(tenant, at).await?).await
    }

    /// Before a record.
    pub async fn read_before(store: &dyn Store, tenant: &TenantId, seq: u64) -> Result<Self, StoreError> {
        Self::of(store.balances_before(tenant, seq).await?)
    }

    fn of(accounts: Vec<AccountBalance>) -> Result<Self, StoreError> {
        let mut totals: BTreeMap<String, (Amount, Amount)> = BTreeMap::new();
        let overflow = || StoreError::Broken("a total leaves the range of an amount".into());
        for entry in &accounts {
            let (debits, credits) = totals.entry(entry.asset.to_string()).or_default();
            *debits = debits.checked_add(entry.balance.debit_posted).ok_or_else(overflow)?;
            *credits = credits.checked_add(entry.balance.credit_posted).ok_or_else(overflow)?;
        }
        Ok(Self { accounts, totals })
    }

    pub fn is_balanced(&self) -> bool {
        self.totals.values().all(|(debits, credits)| debits == credits)
    }

    pub fn to_json(&self) -> Value {
        let accounts: Vec<Value> = self.accounts.iter().map(account_json).collect();
        json!({ "balanced": self.is_balanced(), "accounts": accounts })
    }

    pub fn lines(&self) -> Vec<String> {
        let mut lines: Vec<String> = self
            .accounts
            .iter()
            .map(|entry| {
                let net = entry.balance.net(entry.account.class());
                let account = shortened(&entry.account.to_string());
                format!("{account:<64} {:>24}  {}", net.to_string(), shortened_asset(entry.asset.as_str()))
            })
            .collect();
        for (asset, (debits, credits)) in &self.totals {
            let verdict = if debits == credits { "balanced" } else { "NOT BALANCED" };
            let asset = shortened_asset(asset);
            lines.push(format!("{asset}: debits {debits}, credits {credits}: {verdict}"));
        }
        lines
    }
}

fn shortened(account: &str) -> String {
    match account.split_once('/') {
        Some(("spend", mandate)) => format!("spend/{}…", mandate.chars().take(12).collect::<String>()),
        _ => account.to_owned(),
    }
}

/// `eip155:31337/erc20:0x700b…ad35`: enough to tell assets apart on a screen; `--json` has it whole.
fn shortened_asset(asset: &str) -> String {
    match asset.split_once("erc20:") {
        Some((network, token)) if token.len() == 42 && token.is_ascii() => {
            format!("{network}erc20:{}…{}", &token[..6], &token[38..])
        }
        _ => asset.to_owned(),
    }
}

fn account_json(entry: &AccountBalance) -> Value {
    let balance = &entry.balance;
    let net = match balance.net(entry.account.class()) {
        Net::Positive(amount) => amount.to_string(),
        Net::Negative(amount) => format!("-{amount}"),
    };
    json!({
        "account": entry.account.to_string(),
        "asset": entry.asset.as_str(),
        "balance": net,
        "debit_posted": balance.debit_posted.to_string(),
        "credit_posted": balance.credit_posted.to_string(),
        "debit_pending": balance.debit_pending.to_string(),
        "credit_pending": balance.credit_pending.to_string(),
    })
}

/// One line a record: place, time, who, what, and the legs.
pub fn record_line(effects: &Effects) -> String {
    let legs: Vec<String> = effects
        .transfers
        .iter()
        .map(|transfer| {
            let (debit, credit) = (shortened(&transfer.debit.to_string()), shortened(&transfer.credit.to_string()));
            format!("{} {} {debit} <- {credit}", transfer.layer, transfer.amount)
        })
        .collect();
    let subject = match (&effects.spend, &effects.decision, &effects.settlement) {
        (Some(spend), ..) => {
            format!(" spend {}… {}", spend.id.to_string().chars().take(12).collect::<String>(), spend.state)
        }
        (_, Some(decision), _) => {
            format!(" decision {}… {}", decision.id.to_string().chars().take(12).collect::<String>(), decision.state)
        }
        (.., Some(settlement)) => format!(" {} settlement {}", settlement.key.role, settlement.state),
        _ => String::new(),
    };
    let legs = if legs.is_empty() { String::new() } else { format!("  [{}]", legs.join("; ")) };
    let (seq, at) = (effects.seq, effects.at.seconds());
    format!("{seq:>6} {at} {} {}{subject}{legs}", effects.caller.principal, effects.operation)
}

pub fn record_json(entry: &JournalEntry, effects: &Effects) -> Value {
    json!({
        "seq": effects.seq,
        "at": effects.at.0,
        "caller": effects.caller.principal.as_str(),
        "kind": effects.caller.kind.as_str(),
        "operation": effects.operation.as_str(),
        "spend": effects.spend.as_ref().map(|spend| json!({ "id": spend.id, "state": spend.state.as_str() })),
        "leaf": entry.leaf,
    })
}

/// Every record of a tenant, oldest first.
pub async fn journal(store: &dyn Store, tenant: &TenantId) -> Result<Vec<(JournalEntry, Effects)>, StoreError> {
    let mut records = Vec::new();
    loop {
        let from = u64::try_from(records.len()).unwrap_or(u64::MAX);
        let page = store.records(tenant, from, PAGE).await?;
        if page.is_empty() {
            return Ok(records);
        }
        records.extend(page);
    }
}

pub fn verification_line(tenant: &TenantId, verification: &Verification) -> String {
    match verification {
        Verification::Sound { entries, root } => format!("{tenant}: {entries} records verified, root {root}"),
        Verification::Broken { seq, reason } => format!("{tenant}: BROKEN at record {seq}: {reason}"),
    }
}

pub fn spend_line(tenant: &TenantId, spend: &Spend, age: i64) -> String {
    let Spend { id, state, payee, valid_before, .. } = spend;
    let (amount, asset) = (spend.money.amount, shortened_asset(spend.money.asset.as_str()));
    let transaction = spend.transaction.as_ref().map_or_else(|| "none".to_owned(), ToString::to_string);
    let announced = spend.announced.map_or_else(String::new, |told| format!(", {} announced as a refund", told.amount));
    format!(
        "{tenant} {id} {state}, reserved {age} s ago: {amount} {asset} to {payee}, valid before {valid_before}, \
         transaction {transaction}{announced}"
    )
}

pub fn spend_json(tenant: &TenantId, spend: &Spend, held_at: i64) -> Value {
    json!({
        "tenant": tenant, "id": spend.id, "state": spend.state.as_str(), "held_at": held_at,
        "mandate": spend.budget, "payee": spend.payee, "pay_to": spend.pay_to,
        "amount": spend.money.amount, "asset": spend.money.asset, "refunded": spend.refunded,
        "refund_announced": spend.announced.map(|announced| json!({ "amount": announced.amount, "since": announced.since.seconds() })),
        "valid_before": spend.valid_before, "transaction": spend.transaction,
    })
}
