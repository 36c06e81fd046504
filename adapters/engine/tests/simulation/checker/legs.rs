//! Money: transfers and balances.

use std::collections::{BTreeMap, BTreeSet};

use ledger::account::Account;
use ledger::effects::{Effects, Fact, Operation};
use ledger::id::SpendId;
use ledger::money::AssetId;
use ledger::spend::SpendState;
use ledger::transfer::{Layer, Transfer, TransferId};

use super::{Book, Verdict, ensure};
use crate::company::{CARRIER, HOME, RELAYER, SHOP_ADDRESS, native, network, token, wallet_address};

/// Debits and credits, posted and pending.
type Sums = [u128; 4];

fn legs<'a>(book: &'a Book<'_>) -> impl Iterator<Item = (&'a Effects, TransferId, &'a Transfer)> {
    book.records.iter().flat_map(|record| {
        (0..).zip(&record.transfers).map(move |(leg, transfer)| (record, TransferId { seq: record.seq, leg }, transfer))
    })
}

/// Σdr = Σcr per asset, and in every event.
pub fn i1(book: &Book<'_>) -> Verdict {
    let mut sums: BTreeMap<&AssetId, Sums> = BTreeMap::new();
    for ((_, asset), balance) in &book.tables.balances {
        let sum = sums.entry(asset).or_default();
        let row = [balance.debit_posted, balance.credit_posted, balance.debit_pending, balance.credit_pending];
        sum.iter_mut().zip(row).for_each(|(sum, amount)| *sum += amount.get());
    }
    for (asset, [debit, credit, debit_pending, credit_pending]) in sums {
        ensure(debit == credit && debit_pending == credit_pending, || {
            format!("{asset}: debits {debit} ({debit_pending} pending), credits {credit} ({credit_pending})")
        })?;
    }
    let empty = legs(book).find(|(_, _, leg)| leg.debit == leg.credit || leg.amount.is_zero());
    ensure(empty.is_none(), || format!("a leg that moves nothing: {empty:?}"))
}

fn add_up(book: &Book<'_>) -> BTreeMap<(Account, AssetId), [i128; 4]> {
    let mut sums: BTreeMap<(Account, AssetId), [i128; 4]> = BTreeMap::new();
    for (_, _, leg) in legs(book) {
        for (side, account) in [(0, &leg.debit), (1, &leg.credit)] {
            let sum = sums.entry((account.clone(), leg.asset.clone())).or_default();
            let amount = i128::try_from(leg.amount.get()).unwrap();
            match leg.layer {
                Layer::Posted => sum[side] += amount,
                Layer::Pending => sum[side + 2] += amount,
                Layer::Void => {}
            }
            if let Some(resolved) = &leg.resolves {
                sum[side + 2] -= i128::try_from(resolved.amount.get()).unwrap();
            }
        }
    }
    sums
}

/// A balance = Σ of its legs in the journal.
pub fn i2(book: &Book<'_>) -> Verdict {
    let sums = add_up(book);
    ensure(sums.len() == book.tables.balances.len(), || "an account without legs, or legs without an account".into())?;
    for (key, balance) in &book.tables.balances {
        let row = [balance.debit_posted, balance.credit_posted, balance.debit_pending, balance.credit_pending];
        let row = row.map(|amount| i128::try_from(amount.get()).unwrap());
        ensure(sums.get(key) == Some(&row), || format!("{}: {row:?}, its legs give {:?}", key.0, sums.get(key)))?;
    }
    Ok(())
}

/// Captured ≤ hold, refunds ≤ captured.
pub fn i6(book: &Book<'_>) -> Verdict {
    let mut paid: BTreeMap<SpendId, [u128; 3]> = BTreeMap::new();
    for record in &book.records {
        let Some(spend) = &record.spend else { continue };
        let moved: u128 = record.transfers.iter().map(|leg| leg.amount.get()).sum();
        let sums = paid.entry(spend.id).or_default();
        match record.operation {
            Operation::Hold => sums[0] += moved,
            Operation::Settle => sums[1] += moved,
            Operation::Unsettle => sums[1] = sums[1].checked_sub(moved).ok_or("more was taken back than captured")?,
            Operation::Refund => sums[2] += moved,
            _ => {}
        }
    }
    for (id, [held, captured, refunded]) in paid {
        let row = book.tables.spends.get(&id);
        let same = row.is_some_and(|row| row.refunded.get() == refunded && row.money.amount.get() == held);
        ensure(captured <= held && refunded <= captured && same, || {
            format!("spend {id}: {held} held, {captured} captured, {refunded} refunded; its row is {row:?}")
        })?;
    }
    Ok(())
}

/// One resolution a hold, and one end a spend.
pub fn i7(book: &Book<'_>) -> Verdict {
    let pending: BTreeMap<TransferId, &Transfer> =
        legs(book).filter(|(_, _, leg)| leg.layer == Layer::Pending).map(|(_, id, leg)| (id, leg)).collect();
    let mut resolved = BTreeSet::new();
    for (_, id, leg) in legs(book) {
        let Some(resolves) = &leg.resolves else { continue };
        let hold = pending.get(&resolves.transfer);
        let is_whole = hold
            .is_some_and(|hold| hold.amount == resolves.amount && hold.debit == leg.debit && hold.credit == leg.credit);
        ensure(is_whole, || format!("{id:?} resolves {resolves:?}, which is no such pending leg"))?;
        ensure(resolved.insert(resolves.transfer), || format!("{:?} is resolved twice", resolves.transfer))?;
    }
    let mut ends = BTreeMap::new();
    for record in &book.records {
        use Operation::{Expire, Hold, Misspend, Release, Settle, Void};
        if let Some(spend) = record.spend.as_ref().filter(|_| record.operation == Operation::Unsettle) {
            // It is under way again, and ends once more.
            let ended = ends.remove(&(spend.id, true));
            ensure(ended.is_some(), || format!("record {} takes back what had not ended", record.seq))?;
        }
        let is_end = matches!(record.operation, Void | Expire | Settle | Release | Misspend);
        let Some(spend) = record.spend.as_ref().filter(|_| is_end || record.operation == Hold) else { continue };
        let first = ends.insert((spend.id, is_end), record.seq);
        ensure(first.is_none(), || format!("spend {} begins or ends in {first:?} and in {}", spend.id, record.seq))?;
    }
    Ok(())
}

/// What is taken back is the mirror of what was done, once.
pub fn i14(book: &Book<'_>) -> Verdict {
    let mut left: BTreeMap<SpendId, BTreeMap<(&Account, bool), i128>> = BTreeMap::new();
    for record in &book.records {
        let Some(spend) = &record.spend else { continue };
        for leg in &record.transfers {
            let amount = i128::try_from(leg.amount.get()).unwrap();
            let sums = left.entry(spend.id).or_default();
            let (pending, signed) = match leg.layer {
                Layer::Pending => (true, amount),
                Layer::Posted => (false, amount),
                Layer::Void => (false, 0),
            };
            *sums.entry((&leg.debit, pending)).or_default() += signed;
            *sums.entry((&leg.credit, pending)).or_default() -= signed;
            if let Some(resolves) = &leg.resolves {
                let whole = i128::try_from(resolves.amount.get()).unwrap();
                *sums.entry((&leg.debit, true)).or_default() -= whole;
                *sums.entry((&leg.credit, true)).or_default() += whole;
            }
        }
    }
    for (id, sums) in left {
        let state = book.tables.spends.get(&id).map(|spend| spend.state);
        let is_undone = matches!(state, Some(SpendState::Released | SpendState::Voided | SpendState::Expired));
        let rest = sums.iter().find(|(_, sum)| **sum != 0);
        ensure(!is_undone || rest.is_none(), || format!("spend {id} was taken back, and {rest:?} is left of it"))?;
    }
    let mut backs = BTreeSet::new();
    for record in book.records.iter().filter(|record| record.operation == Operation::Refund) {
        let Some(Fact::Seen(seen)) = &record.fact else { return Err(format!("refund {} shows nothing", record.seq)) };
        // Every refund of this chain is a transaction of its own.
        ensure(backs.insert(&seen.transaction), || format!("{} was taken as a refund twice", seen.transaction))?;
        let hash = seen.transaction.as_str().parse().unwrap_or_default();
        let moved = book.chain.find(&hash).map(crate::chain::Mined::transfers).unwrap_or_default();
        let shown =
            moved.iter().any(|log| log.to == wallet_address() && log.value.to_string() == seen.amount.to_string());
        ensure(shown, || format!("refund {}: the chain does not show {seen:?}", record.seq))?;
    }
    Ok(())
}

fn net(book: &Book<'_>, account: Account) -> i128 {
    let row = book.tables.balances.get(&(account, token())).copied().unwrap_or_default();
    i128::try_from(row.credit_posted.get()).unwrap() - i128::try_from(row.debit_posted.get()).unwrap()
}

/// Issued + suspense = Σ of what is signed and not resolved.
pub fn i15(book: &Book<'_>) -> Verdict {
    let sum = |states: &[SpendState]| -> i128 {
        let spends = book.tables.spends.values().filter(|spend| states.contains(&spend.state));
        spends.map(|spend| i128::try_from(spend.money.amount.get()).unwrap()).sum()
    };
    let issued = (net(book, Account::Issued), sum(&[SpendState::Committed, SpendState::Submitted]));
    let suspense = (net(book, Account::Suspense), sum(&[SpendState::Unknown, SpendState::SpentOtherwise]));
    ensure(issued.0 == issued.1, || format!("issued is {}, signed and open are {}", issued.0, issued.1))?;
    ensure(suspense.0 == suspense.1, || format!("suspense is {}, nobody knows of {}", suspense.0, suspense.1))
}

/// No leg crosses entity or asset.
pub fn i17(book: &Book<'_>) -> Verdict {
    let own = match book.tenant.as_str() {
        HOME => wallet_address(),
        CARRIER => RELAYER,
        _ => SHOP_ADDRESS,
    };
    let own = Account::Wallet(format!("{}:{own:#x}", network()));
    for (record, _, leg) in legs(book) {
        for account in [&leg.debit, &leg.credit] {
            let is_wallet = matches!(account, Account::Wallet(_));
            ensure(!is_wallet || *account == own, || format!("record {}: {account} is of another book", record.seq))?;
        }
        let asset = if book.tenant.as_str() == CARRIER { native() } else { token() };
        ensure(leg.asset == asset, || format!("record {}: a leg in {}", record.seq, leg.asset))?;
    }
    Ok(())
}
