//! What only the chain can confirm.

use alloy_primitives::{Address, B256};
use ledger::account::{Account, Class, Net};
use ledger::effects::{Effects, Fact, Operation};
use ledger::settlement::{Role, SettlementState};
use ledger::spend::{Authorization, SpendState, UnusedProof};

use super::{Book, Verdict, ensure};
use crate::chain::{Call, GAS_PRICE, GAS_USED, Mined};
use crate::company::{CARRIER, FUNDS, GAS_FUNDS, HOME, RELAYER, SHOP_ADDRESS, native, network, token, wallet_address};

fn use_of<'a>(book: &'a Book<'_>, authorization: &Authorization) -> Option<&'a Mined> {
    let payer: Address = authorization.payer.parse().ok()?;
    book.chain.use_of(&(payer, B256::from(authorization.nonce)))
}

fn unused(
    book: &Book<'_>,
    record: &Effects,
    authorization: &Authorization,
    valid_before: i64,
    proof: &UnusedProof,
) -> Verdict {
    let number = usize::try_from(proof.finalized_number).unwrap_or(usize::MAX);
    let is_final = proof.finalized_number <= book.chain.finalized().number;
    let block = is_final.then(|| book.chain.at(number));
    let is_it = block.is_some_and(|block| {
        block.hash.0 == proof.finalized_hash && i64::try_from(block.timestamp) == Ok(proof.finalized_timestamp)
    });
    ensure(is_it, || format!("record {}: {proof:?} is no final block", record.seq))?;
    ensure(proof.finalized_timestamp >= valid_before, || format!("record {}: it could still be used", record.seq))?;
    // A cheque that has run out can still be cancelled: it moves nothing.
    let used = use_of(book, authorization).filter(|used| !matches!(used.tx.call, Call::Cancel(_)));
    ensure(used.is_none(), || format!("record {}: the nonce was used in {:?}", record.seq, used.map(|used| used.block)))
}

/// What was committed is released only with a final proof; what was claimed fails only with one.
pub fn i12(book: &Book<'_>) -> Verdict {
    for record in &book.records {
        let (authorization, valid_before) = match (record.operation, &record.spend, &record.settlement) {
            (Operation::Release, Some(spend), _) => (&spend.authorization, spend.valid_before),
            (Operation::Fail, _, Some(settlement)) => (&settlement.key.authorization, settlement.valid_before),
            _ => continue,
        };
        let used = use_of(book, authorization);
        match &record.fact {
            Some(Fact::Unused(proof)) => unused(book, record, authorization, valid_before, proof)?,
            Some(Fact::Canceled(_)) => {
                let is_final = used.is_some_and(|used| {
                    matches!(used.tx.call, Call::Cancel(_)) && used.block.number <= book.chain.finalized().number
                });
                ensure(is_final, || format!("record {}: no final cancellation", record.seq))?;
            }
            Some(Fact::Reverted(reference)) => {
                let settlement = record.settlement.as_ref();
                let seller = settlement.is_some_and(|settlement| settlement.key.role == Role::Seller);
                let own = settlement.and_then(|settlement| settlement.transaction.as_ref());
                let own = own.and_then(|own| own.as_str().parse::<B256>().ok()).unwrap_or_default();
                // A seller's is failed by a cancellation; a facilitator's when its own transaction moves nothing.
                let holds = match seller {
                    true => used.is_none_or(|used| matches!(used.tx.call, Call::Cancel(_))),
                    false => book.chain.find(&own).is_none_or(|found| !found.success),
                };
                ensure(holds, || format!("record {}: failed, and {reference} moved the money", record.seq))?;
            }
            other => return Err(format!("record {} is released for {other:?}", record.seq)),
        }
    }
    Ok(())
}

fn booked(book: &Book<'_>, owner: Address, asset: ledger::money::AssetId) -> i128 {
    let account = Account::Wallet(format!("{}:{owner:#x}", network()));
    let balance = book.tables.balances.get(&(account, asset)).copied().unwrap_or_default();
    match balance.net(Class::Asset) {
        Net::Positive(amount) => i128::try_from(amount.get()).unwrap(),
        Net::Negative(amount) => -i128::try_from(amount.get()).unwrap(),
    }
}

fn value(mined: &Mined) -> i128 {
    mined.transfers().iter().map(|log| i128::try_from(log.value).unwrap()).sum()
}

fn held_on_chain(book: &Book<'_>, owner: Address) -> i128 {
    i128::try_from(book.chain.balance(owner)).unwrap()
}

/// Wallet = chain ± the list of what is under way.
pub fn i16(book: &Book<'_>) -> Verdict {
    match book.tenant.as_str() {
        HOME => payer(book),
        CARRIER => carrier(book),
        _ => seller(book),
    }
}

fn payer(book: &Book<'_>) -> Verdict {
    let own = wallet_address();
    let mut list = 0;
    for spend in book.tables.spends.values() {
        let used = use_of(book, &spend.authorization);
        let paid = used.filter(|used| matches!(used.tx.call, Call::Transfer(_)));
        let amount = i128::try_from(spend.money.amount.get()).unwrap();
        let is_paid = paid.is_some_and(|paid| value(paid) == amount);
        match spend.state {
            // Booked, and gone: until somebody looks again.
            SpendState::Settled if spend.young.is_some() && !is_paid => list -= amount,
            SpendState::Settled => {
                ensure(is_paid, || format!("spend {} is settled, and the chain does not show it", spend.id))?;
            }
            SpendState::Committed | SpendState::Submitted | SpendState::Unknown => {
                list += paid.map(value).unwrap_or_default();
            }
            SpendState::SpentOtherwise => list += paid.map(value).unwrap_or_default(),
            SpendState::Held | SpendState::Voided | SpendState::Expired | SpendState::Released => {
                let state = spend.state;
                ensure(paid.is_none(), || format!("spend {} is {state}, and the chain shows it paid", spend.id))?;
            }
        }
    }
    let known = |mined: &&Mined| {
        let authorization = mined.tx.call.authorization();
        mined.success && authorization.is_some_and(|(payer, _)| payer == own)
    };
    let nonces: std::collections::BTreeSet<_> =
        book.tables.spends.values().map(|spend| B256::from(spend.authorization.nonce)).collect();
    let strange = book
        .chain
        .all()
        .filter(known)
        .find(|mined| mined.tx.call.authorization().is_none_or(|(_, nonce)| !nonces.contains(&nonce)));
    ensure(strange.is_none(), || format!("the chain shows {strange:?}, of which the book knows nothing"))?;
    let posted: std::collections::BTreeSet<String> = book
        .records
        .iter()
        .filter_map(|record| match &record.fact {
            Some(Fact::Seen(seen)) if record.operation == Operation::Refund => Some(seen.transaction.to_string()),
            _ => None,
        })
        .collect();
    let back = |mined: &&Mined| mined.success && matches!(mined.tx.call, Call::Move { to, .. } if to == own);
    let unposted = book.chain.all().filter(back).filter(|mined| !posted.contains(&format!("{:#x}", mined.tx.hash)));
    list -= unposted.map(value).sum::<i128>();
    let (wallet, chain) = (booked(book, own, token()), held_on_chain(book, own));
    ensure(wallet == chain + list, || format!("the book has {wallet}, the chain {chain}, under way are {list}"))
}

fn seller(book: &Book<'_>) -> Verdict {
    let mut list = 0;
    for settlement in book.tables.settlements.values() {
        let paid = use_of(book, &settlement.key.authorization).filter(|used| matches!(used.tx.call, Call::Transfer(_)));
        match settlement.state {
            SettlementState::Settled if settlement.young.is_some() && paid.is_none() => {
                list -= i128::try_from(settlement.money.amount.get()).unwrap();
            }
            SettlementState::Settled | SettlementState::Undelivered => {
                ensure(paid.is_some(), || format!("sold and not paid: {:?}", settlement.key))?;
            }
            SettlementState::Failed | SettlementState::Unpaid => {
                ensure(paid.is_none(), || format!("failed and paid: {:?}", settlement.key))?
            }
            // Given back, and settled by somebody all the same: it buys what it was signed for when it is presented.
            SettlementState::Claimed
            | SettlementState::Promised
            | SettlementState::Submitted
            | SettlementState::Abandoned => {
                list += paid.map(value).unwrap_or_default();
            }
        }
    }
    let known = |mined: &&Mined| {
        mined
            .tx
            .call
            .authorization()
            .is_some_and(|(_, nonce)| book.tables.settlements.keys().any(|key| key.authorization.nonce == nonce.0))
    };
    let came = |mined: &&Mined| mined.transfers().iter().any(|log| log.to == SHOP_ADDRESS);
    // Paid by a stranger's hand before it was ever presented here.
    list += book.chain.all().filter(came).filter(|mined| !known(mined)).map(value).sum::<i128>();
    let wallet = booked(book, SHOP_ADDRESS, token());
    let came: i128 = book.chain.all().filter(came).map(value).sum();
    ensure(wallet + list == came, || format!("the book has {wallet}, the chain {came}, under way are {list}"))?;
    // A seller's refunds leave by another hand than ours.
    let back = |mined: &&Mined| matches!(mined.tx.call, Call::Move { from: SHOP_ADDRESS, .. });
    let rest = came + i128::try_from(FUNDS).unwrap() - book.chain.all().filter(back).map(value).sum::<i128>();
    ensure(held_on_chain(book, SHOP_ADDRESS) == rest, || "the chain lost money".into())
}

/// Gas of transactions whose settlement is not closed, or was closed before they were mined, is on the list.
fn carrier(book: &Book<'_>) -> Verdict {
    let cost = i128::from(GAS_USED) * i128::try_from(GAS_PRICE).unwrap();
    let sent = |mined: &&Mined| mined.tx.sender == RELAYER;
    let mut burnt = 0;
    for record in &book.records {
        let Some(leg) = record.transfers.iter().find(|leg| leg.debit == Account::Gas) else { continue };
        let hash = record.settlement.as_ref().and_then(|settlement| settlement.transaction.as_ref());
        let hash: B256 = hash.and_then(|hash| hash.as_str().parse().ok()).unwrap_or_default();
        let mined = book.chain.find(&hash).filter(sent);
        ensure(mined.is_some(), || format!("record {}: gas of a transaction that is not there", record.seq))?;
        burnt += i128::try_from(leg.amount.get()).unwrap();
    }
    let all = cost * i128::try_from(book.chain.all().filter(sent).count()).unwrap();
    let wallet = booked(book, RELAYER, native());
    let list = all - burnt;
    let chain = i128::try_from(GAS_FUNDS).unwrap() - all;
    ensure(wallet == chain + list && list >= 0, || {
        format!("the book has {wallet}, the chain {chain}, on the list {list}")
    })
}
