//! `purser ledger statement`: what one agent paid in a calendar month of a time zone, and what was still held at its end.
//!
//! Paid is what the month's records settled, whenever it was reserved. Held at the end is what was reserved by then and
//! neither settled, given back nor, by a later record, shown to have gone elsewhere. The journal is read from the month
//! on, and not before.

use std::collections::{BTreeMap, BTreeSet};

use clap::Args;
use engine::rate::authority_to_major;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use ledger::effects::{Effects, Operation};
use ledger::id::{BudgetId, Micros, PrincipalId, SpendId};
use ledger::money::{Amount, AssetId};
use ledger::spend::{Spend, SpendState};
use ledger::store::Store;
use ledger::window::Zone;
use serde_json::{Value, json};

use super::entry::instant;
use super::names::Scale;
use super::papers::{Papers, Reader, Tax};
use super::{Book, ExportError, PAGE};
use crate::checkpoint::LedgerTenant;

#[derive(Debug, Args)]
pub struct StatementArgs {
    #[command(flatten)]
    pub of: LedgerTenant,
    /// Whose mandates were spent under.
    #[arg(long, value_name = "NAME")]
    pub agent: PrincipalId,
    #[arg(long, value_name = "YYYY-MM", value_parser = month)]
    pub month: Date,
    /// Whose clocks say when the month begins and ends: a name of the IANA database.
    #[arg(long, value_name = "IANA", default_value = "UTC")]
    pub zone: Zone,
    #[arg(long)]
    pub json: bool,
}

/// The first day of a month that is written `YYYY-MM`.
fn month(text: &str) -> Result<Date, String> {
    let wrong = || format!("a month is four digits, a dash and two digits; this is `{text}`");
    let shape = text.len() == 7
        && text.bytes().enumerate().all(|(at, byte)| match at {
            4 => byte == b'-',
            _ => byte.is_ascii_digit(),
        });
    if shape { format!("{text}-01").parse().map_err(|_| wrong()) } else { Err(wrong()) }
}

/// From the first instant of a day to the first after another one, as the clocks of the zone show them.
pub fn bounds(first: Date, last: Date, zone: &TimeZone) -> Result<(Micros, Micros), String> {
    let begins = |day: Date| {
        let zoned = day.to_zoned_datetime(zone.clone()).map_err(|error| error.to_string())?;
        Ok::<_, String>(Micros(zoned.timestamp().as_microsecond()))
    };
    let next = last.tomorrow().map_err(|error| error.to_string())?;
    Ok((begins(first)?, begins(next)?))
}

/// A spend, when it came to be what it is, and the asset that its mandate counts in.
struct Item {
    at: Micros,
    spend: Spend,
    authority: AssetId,
}

#[derive(Default)]
struct Found {
    settled: Vec<Item>,
    /// Signed, and the money went elsewhere: what a human has to look at.
    incidents: Vec<Item>,
    held: Vec<Item>,
}

/// So many payments, and what they come to.
#[derive(Clone, Copy, Default)]
struct Total {
    payments: u64,
    amount: Amount,
}

struct Statement<'a> {
    book: &'a Book,
    agent: &'a PrincipalId,
    zone: TimeZone,
    /// Of each mandate that was met: what it counts in, where it is this agent's.
    mandates: BTreeMap<BudgetId, Option<AssetId>>,
    /// Of each spend that is shown.
    papers: BTreeMap<SpendId, Papers>,
}

pub async fn statement(args: &StatementArgs) -> Result<(), String> {
    let book = Book::open(&args.of).await?;
    let zone = TimeZone::get(&args.zone.to_string()).map_err(|error| error.to_string())?;
    let (from, to) = bounds(args.month, args.month.last_of_month(), &zone)?;
    let mut statement =
        Statement { book: &book, agent: &args.agent, zone, mandates: BTreeMap::new(), papers: BTreeMap::new() };
    let found = statement.read(from, to).await.map_err(|error| error.to_string())?;
    let is_known = statement.mandates.values().any(Option::is_some)
        || book
            .config
            .tenant(book.tenant.as_str())
            .is_some_and(|tenant| tenant.agents.iter().any(|agent| agent.id == args.agent.as_str()));
    if !is_known {
        return Err(format!("tenant {} has no agent {}, and nothing was paid for one then", book.tenant, args.agent));
    }
    if args.json {
        println!("{}", statement.json(args, from, to, &found)?);
    } else {
        statement.lines(args, &found)?.iter().for_each(|line| println!("{line}"));
    }
    Ok(())
}

impl Statement<'_> {
    async fn read(&mut self, from: Micros, to: Micros) -> Result<Found, ExportError> {
        let (store, tenant) = (&self.book.store, &self.book.tenant);
        let (start, end) = (store.record_at(tenant, from).await?, store.record_at(tenant, to).await?);
        // First what is open now, then what changed since: what is closed in between is among either.
        let mut held = self.open_before(end).await?;
        let mut found = Found::default();
        let mut next = start;
        loop {
            let page = store.records(tenant, next, PAGE).await?;
            let Some((last, _)) = page.last() else { break };
            next = last.seq.saturating_add(1);
            for (entry, effects) in &page {
                let Some(spend) = &effects.spend else { continue };
                let Some(authority) = self.authority(spend.budget).await? else { continue };
                if entry.seq < end {
                    settle(&mut found, effects, spend, authority);
                } else if spend.hold.seq < end {
                    held.insert(spend.id);
                }
            }
        }
        for id in held {
            let records = store.records_of_spend(tenant, id).await?;
            let last = records.into_iter().map(|(_, effects)| effects).take_while(|effects| effects.seq < end).last();
            let Some((at, spend)) = last.and_then(|effects| Some((effects.at, effects.spend?))) else { continue };
            let is_held = spend.state.is_open();
            if let Some(authority) = self.authority(spend.budget).await?.filter(|_| is_held) {
                found.held.push(Item { at, spend, authority });
            }
        }
        found.held.sort_by_key(|item| item.spend.hold);
        let mut reader = Reader::default();
        for item in [&found.settled, &found.held, &found.incidents].into_iter().flatten() {
            let papers = reader.of(self.book, &item.spend).await?;
            self.papers.insert(item.spend.id, papers);
        }
        Ok(found)
    }

    /// The agent's spends that are open now and were reserved before this record.
    async fn open_before(&mut self, end: u64) -> Result<BTreeSet<SpendId>, ExportError> {
        let (mut open, mut after) = (BTreeSet::new(), None);
        loop {
            let page = self.book.store.open_spends(&self.book.tenant, after, PAGE).await?;
            let Some(last) = page.last() else { return Ok(open) };
            after = Some(last.hold.seq);
            for spend in page.iter().filter(|spend| spend.hold.seq < end) {
                if self.authority(spend.budget).await?.is_some() {
                    open.insert(spend.id);
                }
            }
        }
    }

    /// What the mandate counts in, where this agent holds it.
    async fn authority(&mut self, mandate: BudgetId) -> Result<Option<AssetId>, ExportError> {
        if let Some(known) = self.mandates.get(&mandate) {
            return Ok(known.clone());
        }
        let budget = self.book.store.budget(&self.book.tenant, mandate).await?;
        let asset = budget.filter(|budget| budget.holder == *self.agent).map(|budget| budget.asset);
        self.mandates.insert(mandate, asset.clone());
        Ok(asset)
    }

    fn date(&self, at: Micros) -> Result<Date, String> {
        Ok(instant(at).map_err(|error| error.to_string())?.to_zoned_datetime(self.zone.clone()).date())
    }

    fn money(&self, asset: &AssetId, amount: Amount) -> String {
        Scale::of(asset, &self.book.assets).text(amount)
    }

    fn item_json(&self, item: &Item) -> Result<Value, String> {
        let spend = &item.spend;
        let papers = self.papers.get(&spend.id);
        Ok(json!({
            "date": self.date(item.at)?.to_string(),
            "at": instant(item.at).map_err(|error| error.to_string())?.to_string(),
            "spend": spend.id,
            "state": spend.state.as_str(),
            "payee": spend.payee,
            "payee_name": self.book.payees.shown(&spend.payee),
            "asset": spend.money.asset,
            "amount": self.money(&spend.money.asset, spend.money.amount),
            "amount_atomic": spend.money.amount,
            "authority": { "asset": item.authority, "amount": major(&item.authority, spend.authority)? },
            "reference": spend.transaction.as_ref().map(|reference| reference.as_str()),
            "network": spend.authorization.chain(),
            "mandate": spend.budget,
            "cost_centre": papers.and_then(|papers| papers.cost_centre.as_deref()),
            "tax": papers.and_then(|papers| papers.tax.as_ref()).map(tax_json),
        }))
    }

    fn totals_json(&self, items: &[Item]) -> Result<Value, String> {
        let (money, authority) = totals(items)?;
        let money: Vec<Value> = money
            .iter()
            .map(|(asset, total)| {
                let amount = self.money(asset, total.amount);
                json!({ "asset": asset, "payments": total.payments, "amount": amount, "amount_atomic": total.amount })
            })
            .collect();
        let authority = authority.iter().map(|(asset, total)| {
            Ok(json!({ "asset": asset, "payments": total.payments, "amount": major(asset, total.amount)? }))
        });
        Ok(json!({ "money": money, "authority": authority.collect::<Result<Vec<Value>, String>>()? }))
    }

    fn json(&self, args: &StatementArgs, from: Micros, to: Micros, found: &Found) -> Result<Value, String> {
        let shown = |at| instant(at).map(|at| at.to_string()).map_err(|error| error.to_string());
        let items = |items: &[Item]| items.iter().map(|item| self.item_json(item)).collect::<Result<Vec<_>, _>>();
        Ok(json!({
            "tenant": self.book.tenant,
            "agent": self.agent,
            "month": args.month.strftime("%Y-%m").to_string(),
            "zone": args.zone.to_string(),
            "from": shown(from)?,
            "to": shown(to)?,
            "spends": items(&found.settled)?,
            "totals": self.totals_json(&found.settled)?,
            "held": items(&found.held)?,
            "held_totals": self.totals_json(&found.held)?,
            "incidents": items(&found.incidents)?,
        }))
    }

    fn line(&self, item: &Item) -> Result<String, String> {
        let spend = &item.spend;
        let (date, payee) = (self.date(item.at)?, self.book.payees.shown(&spend.payee));
        let (amount, asset) = (self.money(&spend.money.asset, spend.money.amount), &spend.money.asset);
        let authority = format!("{} {}", major(&item.authority, spend.authority)?, unit(&item.authority));
        let reference = spend.transaction.as_ref().map_or("-", |reference| reference.as_str());
        let (state, mandate) = (spend.state, spend.budget);
        Ok(format!("  {date}  {payee}  {amount} {asset}  ({authority})  {state}  {reference}  mandate {mandate}"))
    }

    fn total_lines(&self, items: &[Item]) -> Result<Vec<String>, String> {
        let (money, authority) = totals(items)?;
        let payments = |total: &Total| if total.payments == 1 { "payment" } else { "payments" };
        let money = money.iter().map(|(asset, total)| {
            format!("  total  {} {asset} in {} {}", self.money(asset, total.amount), total.payments, payments(total))
        });
        let mut lines: Vec<String> = money.collect();
        for (asset, total) in &authority {
            let amount = major(asset, total.amount)?;
            lines.push(format!("  total  {amount} {} of authority", unit(asset)));
        }
        Ok(lines)
    }

    fn lines(&self, args: &StatementArgs, found: &Found) -> Result<Vec<String>, String> {
        let month = args.month.strftime("%Y-%m");
        let mut lines = vec![format!("{} of {}: {month} ({})", self.agent, self.book.tenant, args.zone)];
        let parts = [
            ("settled in the month", &found.settled),
            ("held at the month's end", &found.held),
            ("spent otherwise in the month, to be looked into", &found.incidents),
        ];
        for (title, items) in parts {
            lines.push(format!("{title}: {}", items.len()));
            for item in items {
                lines.push(self.line(item)?);
            }
            lines.extend(self.total_lines(items)?);
        }
        Ok(lines)
    }
}

fn tax_json(tax: &Tax) -> Value {
    let lines = tax.lines.iter().map(|(label, amount)| json!({ "label": label, "amount": amount }));
    json!({ "currency": tax.currency, "total": tax.total, "lines": lines.collect::<Vec<_>>() })
}

fn settle(found: &mut Found, effects: &Effects, spend: &Spend, authority: AssetId) {
    let into = match (effects.operation, spend.state) {
        (Operation::Settle, _) => &mut found.settled,
        // The chain took it back. Settled in one month and again in the next, it is in the statements of both.
        (Operation::Unsettle, _) => return found.settled.retain(|item| item.spend.id != spend.id),
        (Operation::Misspend, SpendState::SpentOtherwise) => {
            // Its verifier may have said before that it was paid.
            found.settled.retain(|item| item.spend.id != spend.id);
            &mut found.incidents
        }
        _ => return,
    };
    into.push(Item { at: effects.at, spend: spend.clone(), authority });
}

type Totals = BTreeMap<AssetId, Total>;

/// By the asset that moved, and by the asset that the mandates count in.
fn totals(items: &[Item]) -> Result<(Totals, Totals), String> {
    let (mut money, mut authority) = (Totals::new(), Totals::new());
    let add = |totals: &mut Totals, asset: &AssetId, amount: Amount| {
        let total = totals.entry(asset.clone()).or_default();
        let sum = total.amount.checked_add(amount).ok_or_else(|| format!("the total of {asset} overflows"))?;
        *total = Total { payments: total.payments.saturating_add(1), amount: sum };
        Ok::<_, String>(())
    };
    for item in items {
        add(&mut money, &item.spend.money.asset, item.spend.money.amount)?;
        add(&mut authority, &item.authority, item.spend.authority)?;
    }
    Ok((money, authority))
}

/// Authority in major units of its currency; of what is no currency in the units that it is counted in.
fn major(asset: &AssetId, amount: Amount) -> Result<String, String> {
    match asset.currency() {
        Some(currency) => authority_to_major(amount, currency).map_err(|error| error.to_string()),
        None => Ok(amount.to_string()),
    }
}

fn unit(asset: &AssetId) -> &str {
    asset.currency().unwrap_or(asset.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_month_has_one_spelling() {
        for text in
            ["", "2026", "2026-1", "2026-13", "2026-00", "26-01", "2026-011", "2026/01", "-026-01", "2026-0\u{661}"]
        {
            assert!(month(text).is_err(), "{text:?} was read as a month");
        }
        assert_eq!(month("2026-02"), Ok(Date::constant(2026, 2, 1)));
    }

    #[test]
    fn a_month_begins_when_the_clocks_of_the_zone_say() {
        let bounds_of = |month_text: &str, zone: &str| {
            let (from, to) = bounds(
                month(month_text).unwrap(),
                month(month_text).unwrap().last_of_month(),
                &TimeZone::get(zone).unwrap(),
            )
            .unwrap();
            (instant(from).unwrap().to_string(), instant(to).unwrap().to_string())
        };
        let pair = |from: &str, to: &str| (from.to_owned(), to.to_owned());
        assert_eq!(bounds_of("2026-12", "UTC"), pair("2026-12-01T00:00:00Z", "2027-01-01T00:00:00Z"));
        assert_eq!(bounds_of("2026-03", "Europe/Berlin"), pair("2026-02-28T23:00:00Z", "2026-03-31T22:00:00Z"));
        assert_eq!(bounds_of("2026-03", "America/Los_Angeles"), pair("2026-03-01T08:00:00Z", "2026-04-01T07:00:00Z"));
        assert_eq!(bounds_of("2028-02", "Asia/Kathmandu"), pair("2028-01-31T18:15:00Z", "2028-02-29T18:15:00Z"));
    }
}
