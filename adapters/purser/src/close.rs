//! `purser close`: one day of a tenant's books, when it is over. What moved on each account, what is still open of it,
//! where books and chain do not agree, and a signed checkpoint of the journal as it stood at the day's end. It lists and
//! changes nothing: the same day closed again later says the same of the books, and what the chain says then.

use std::collections::BTreeMap;

use clap::Args;
use engine::audit::WalletReport;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use ledger::effects::Operation;
use ledger::event;
use ledger::id::{Micros, TenantId};
use ledger::money::Amount;
use ledger::spend::{Spend, SpendState};
use ledger::store::{AccountBalance, Store};
use ledger::window::Zone;
use serde_json::{Value, json};

use crate::checkpoint::{LedgerTenant, Log};
use crate::export::statement::bounds;
use crate::ledger::TrialBalance;
use crate::operate::connected;
use crate::reconcile;

/// Payments read at once.
const PAGE: u32 = 500;
/// A unit of work takes its time and is written a while later, on a machine whose clock may be a little behind.
const UNDER_WAY_MICROS: i64 = 60_000_000;

#[derive(Debug, Args)]
pub struct CloseArgs {
    #[command(flatten)]
    pub of: LedgerTenant,
    #[arg(long, value_name = "YYYY-MM-DD")]
    pub date: Date,
    /// Whose clocks say when the day begins and ends: a name of the IANA database.
    #[arg(long, value_name = "IANA", default_value = "UTC")]
    pub zone: Zone,
    /// Also a day that is not over: what there is of it, which is not final.
    #[arg(long)]
    pub so_far: bool,
    #[arg(long)]
    pub json: bool,
}

/// What a day came to.
struct Day {
    tenant: TenantId,
    is_over: bool,
    /// From the first record of the day to the first after it.
    records: [u64; 2],
    opening: TrialBalance,
    closing: TrialBalance,
    /// Reserved by the day's end, and open now, or settled in a block that is not final.
    open: Vec<Spend>,
    /// What went wrong on the chain, as the day's records say.
    incidents: Vec<String>,
    wallets: Vec<WalletReport>,
    checkpoint: String,
}

/// Whether there is no break.
pub async fn run(args: &CloseArgs) -> Result<bool, String> {
    let log = Log::open(&args.of).await?;
    let zone = TimeZone::get(&args.zone.to_string()).map_err(|error| error.to_string())?;
    let (from, to) = bounds(args.date, args.date, &zone)?;
    let now = store::wall_clock()();
    let is_over = now >= to.plus_micros(UNDER_WAY_MICROS);
    if !is_over && !args.so_far {
        let (end, now) = (to.plus_micros(UNDER_WAY_MICROS).seconds(), now.seconds());
        return Err(format!("a day that is over was expected: all of {} is written at {end}, it is {now}", args.date));
    }
    let day = Day { is_over, ..read(&log, from, to).await? };
    let breaks = day.breaks();
    if args.json {
        println!("{}", day.to_json(args, &breaks));
    } else {
        day.to_lines(args, &breaks).iter().for_each(|line| println!("{line}"));
    }
    log.store.close().await.map_err(|error| error.to_string())?;
    Ok(breaks.is_empty())
}

async fn read(log: &Log, from: Micros, to: Micros) -> Result<Day, String> {
    let say = |error: ledger::store::StoreError| error.to_string();
    let (store, tenant) = (&log.store, &log.tenant);
    let records = [store.record_at(tenant, from).await.map_err(say)?, store.record_at(tenant, to).await.map_err(say)?];
    let opening = TrialBalance::read_before(store, tenant, records[0]).await.map_err(say)?;
    let closing = TrialBalance::read_before(store, tenant, records[1]).await.map_err(say)?;
    let (mut open, mut after): (Vec<Spend>, _) = (Vec::new(), None);
    loop {
        let page = store.open_spends(tenant, after, PAGE).await.map_err(say)?;
        let Some(last) = page.last() else { break };
        after = Some(last.hold.seq);
        open.extend(page.into_iter().filter(|spend| spend.hold.seq < records[1]));
    }
    let incidents = incidents(log, records).await?;
    let engine = connected(&log.config, &log.ring, store.clone())?;
    let wallets = engine.audit(tenant).await.map_err(|error| format!("{tenant}: {error}"))?;
    let checkpoint = log.checkpoint_of(records[1]).await?;
    Ok(Day { tenant: tenant.clone(), is_over: false, records, opening, closing, open, incidents, wallets, checkpoint })
}

/// Payments that went elsewhere, and sales that were served and then taken back.
async fn incidents(log: &Log, [mut from, end]: [u64; 2]) -> Result<Vec<String>, String> {
    let mut found = Vec::new();
    while from < end {
        let page = log.store.records(&log.tenant, from, PAGE).await.map_err(|error| error.to_string())?;
        let Some((last, _)) = page.last() else { break };
        from = last.seq.saturating_add(1);
        for (_, effects) in page.iter().filter(|(entry, _)| entry.seq < end) {
            let what = match effects.operation {
                Operation::Misspend => "the authorization was used otherwise, or its verifier says both",
                Operation::Unsettle | Operation::Unreceive => "the chain took it back",
                Operation::Recover => "a payment that no record accounted for",
                _ => continue,
            };
            let subjects = event::events(effects).into_iter().map(|event| event.subject);
            found.extend(subjects.map(|subject| format!("{subject}: {what} (record {})", effects.seq)));
        }
    }
    Ok(found)
}

/// An account over the day.
struct Moved {
    account: String,
    asset: String,
    opening: String,
    debits: String,
    credits: String,
    closing: String,
}

impl Day {
    fn moved(&self) -> Vec<Moved> {
        let key = |entry: &AccountBalance| (entry.account.to_string(), entry.asset.to_string());
        let before: BTreeMap<_, _> = self.opening.accounts.iter().map(|entry| (key(entry), entry.balance)).collect();
        let moved = |entry: &AccountBalance| {
            let (account, asset) = key(entry);
            let opening = before.get(&key(entry)).cloned().unwrap_or_default();
            let (closing, class) = (&entry.balance, entry.account.class());
            // Posted sums only grow.
            let grown = |after: Amount, before: Amount| after.get().saturating_sub(before.get()).to_string();
            Moved {
                account,
                asset,
                opening: opening.net(class).to_string(),
                debits: grown(closing.debit_posted, opening.debit_posted),
                credits: grown(closing.credit_posted, opening.credit_posted),
                closing: closing.net(class).to_string(),
            }
        };
        self.closing.accounts.iter().map(moved).collect()
    }

    /// What a human has to look at, a sentence each. A payment that is on its way is none.
    fn breaks(&self) -> Vec<String> {
        let unbalanced = self.closing.totals.iter().filter(|(_, (debits, credits))| debits != credits);
        let unbalanced =
            unbalanced.map(|(asset, (debits, credits))| format!("{asset}: debits {debits}, credits {credits}"));
        let doubtful = self.open.iter().filter(|spend| spend.state == SpendState::Unknown);
        let doubtful = doubtful.map(|spend| format!("payment {}: what became of it is not known", spend.id));
        let incidents = self.incidents.iter().cloned();
        let wallets = self.wallets.iter().filter(|report| !report.is_agreed());
        let wallets = wallets.map(|report| {
            let (booked, on_chain) = (&report.booked, report.on_chain);
            format!("{} in {}: booked {booked}, on the chain {on_chain}", report.wallet, report.asset)
        });
        unbalanced.chain(doubtful).chain(incidents).chain(wallets).collect()
    }

    fn to_json(&self, args: &CloseArgs, breaks: &[String]) -> Value {
        let account = |Moved { account, asset, opening, debits, credits, closing }| {
            json!({ "account": account, "asset": asset, "opening": opening, "debits": debits, "credits": credits,
                "closing": closing })
        };
        let open =
            |spend: &Spend| json!({ "id": spend.id, "state": spend.state.as_str(), "final": spend.young.is_none() });
        json!({
            "tenant": self.tenant, "date": args.date.to_string(), "zone": args.zone.to_string(),
            "over": self.is_over, "records": { "from": self.records[0], "before": self.records[1] },
            "accounts": self.moved().into_iter().map(account).collect::<Vec<_>>(),
            "open": self.open.iter().map(open).collect::<Vec<_>>(),
            "wallets": self.wallets.iter().map(|report| reconcile::to_json(&self.tenant, report)).collect::<Vec<_>>(),
            "breaks": breaks, "checkpoint": self.checkpoint,
        })
    }

    fn to_lines(&self, args: &CloseArgs, breaks: &[String]) -> Vec<String> {
        let [first, end] = self.records;
        let so_far = if self.is_over { "" } else { ", so far" };
        let (tenant, date, zone) = (&self.tenant, args.date, &args.zone);
        let title = format!("{tenant} on {date} ({zone}){so_far}: records {first} to before {end}");
        let account = |Moved { account, asset, opening, debits, credits, closing }| {
            format!("{account} in {asset}: {opening}, debits {debits}, credits {credits}, {closing}")
        };
        let mut lines = vec![title];
        lines.extend(self.moved().into_iter().map(account));
        lines.extend(self.open.iter().map(|spend| {
            let told =
                spend.announced.map(|told| format!(", a refund of {} is announced and has not come", told.amount));
            format!("open: payment {} is {}{}", spend.id, spend.state, told.unwrap_or_default())
        }));
        lines.extend(self.wallets.iter().flat_map(|report| reconcile::to_lines(&self.tenant, report)));
        lines.extend(breaks.iter().map(|line| format!("BREAK {line}")));
        lines.extend(self.checkpoint.lines().map(str::to_owned));
        lines
    }
}
