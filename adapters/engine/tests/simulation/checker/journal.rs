//! Claims, answers and the journal itself.

use std::collections::{BTreeMap, BTreeSet};

use ledger::claim::{Claim, ClaimKey, ClaimOutcome};
use ledger::effects::{Effects, Operation};
use ledger::event::events;
use ledger::id::{Digest, IdempotencyKey, PrincipalId, SpendId};
use ledger::journal::{Frontier, leaf};
use ledger::rejection::RejectionCode;
use ledger::spend::SpendState;

use super::replay::Past;
use super::{Book, Heard, Said, Verdict, ensure};
use crate::company::HOME;
use crate::tables::salt;

/// A claim ⇔ its effect or its refusal.
pub fn i8(book: &Book<'_>) -> Verdict {
    let mut claimed: BTreeMap<Digest, &Claim> = BTreeMap::new();
    for record in &book.records {
        for claim in &record.claims {
            let first = claimed.insert(claim.key, claim);
            ensure(first.is_none(), || format!("record {} claims {} again", record.seq, claim.key))?;
            let fits = match &claim.outcome {
                ClaimOutcome::Spend(id) => record.spend.as_ref().is_some_and(|spend| spend.id == *id),
                ClaimOutcome::Rejected { .. } => record.operation == Operation::Reject && record.moves.is_empty(),
                ClaimOutcome::Seen(_) => matches!(record.operation, Operation::Recover | Operation::GiveBack),
                ClaimOutcome::Opened(id) => record.opened.iter().any(|node| node.id == *id),
                ClaimOutcome::Accepted(_) => record.operation == Operation::Accept,
            };
            ensure(fits, || format!("record {} ({}) claims {claim:?}", record.seq, record.operation))?;
        }
        let enough = match record.operation {
            Operation::Hold => record.claims.len() >= 3,
            Operation::Reject | Operation::Refund | Operation::GiveBack | Operation::Recover | Operation::Accept => {
                record.claims.len() == 1
            }
            _ => record.claims.is_empty(),
        };
        ensure(enough, || format!("record {} ({}) has {} claims", record.seq, record.operation, record.claims.len()))?;
    }
    ensure(claimed.len() == book.tables.claims.len(), || "a claim without its record, or a record without it".into())?;
    for (key, row) in &book.tables.claims {
        ensure(claimed.get(key) == Some(&&row.claim), || format!("claim {key} is not as its record says"))?;
        let has_text = matches!(row.claim.outcome, ClaimOutcome::Rejected { .. }) == row.rejection.is_some();
        ensure(has_text, || format!("claim {key} has a refusal and no text, or the other way round"))?;
    }
    Ok(())
}

/// A nonce → one spend.
pub fn i9(book: &Book<'_>) -> Verdict {
    let mut nonces = BTreeSet::new();
    for spend in book.tables.spends.values() {
        ensure(nonces.insert(&spend.authorization), || format!("spend {} has the nonce of another", spend.id))?;
        let claim = book.tables.claims.get(&ClaimKey::Authorization(spend.authorization.clone()).digest());
        let is_its = claim.is_some_and(|row| row.claim.outcome == ClaimOutcome::Spend(spend.id));
        ensure(is_its, || format!("the nonce of spend {} is not claimed by it", spend.id))?;
    }
    let mut keys = BTreeSet::new();
    let again = book.tables.settlements.keys().find(|key| !keys.insert((key.role, &key.authorization)));
    ensure(again.is_none(), || format!("settled twice: {again:?}"))
}

type Key<'a> = (&'a PrincipalId, &'a IdempotencyKey);

/// Answered ⇒ present, and the same answer every time.
pub fn i10(book: &Book<'_>) -> Verdict {
    if book.tenant.as_str() != HOME {
        return Ok(());
    }
    let mut told: BTreeMap<Key<'_>, (SpendId, &str)> = BTreeMap::new();
    let mut refused: BTreeMap<Key<'_>, RejectionCode> = BTreeMap::new();
    for said in book.said {
        let Said { principal, key, heard } = said;
        let claim =
            ClaimKey::Idempotency { principal: principal.clone(), operation: "payments".into(), key: key.clone() };
        let row = book.tables.claims.get(&claim.digest()).map(|row| &row.claim.outcome);
        match heard {
            Heard::Signed { spend, header } => {
                let first = *told.entry((principal, key)).or_insert((*spend, header));
                ensure(first == (*spend, header), || format!("key {key} was answered with two payments"))?;
                ensure(row == Some(&ClaimOutcome::Spend(*spend)), || {
                    format!("key {key} got {spend}, claimed is {row:?}")
                })?;
                let state = book.tables.spends.get(spend).map(|spend| spend.state);
                let unsigned = [SpendState::Held, SpendState::Voided, SpendState::Expired];
                let is_signed = state.is_some_and(|state| !unsigned.contains(&state));
                ensure(is_signed, || format!("spend {spend} was answered signed and is {state:?}"))?;
                let before = refused.get(&(principal, key));
                ensure(before.is_none(), || format!("key {key} was refused ({before:?}), then paid"))?;
            }
            Heard::Refused(code) => {
                let kept = matches!(row, Some(ClaimOutcome::Rejected { code: kept, .. }) if kept == code);
                ensure(kept, || format!("key {key} was refused for {code}, kept is {row:?}"))?;
                refused.insert((principal, key), *code);
            }
        }
    }
    Ok(())
}

/// Seq dense, time rises, roots recompute and no root that was seen is gone, rows = records.
pub fn i11(book: &Book<'_>) -> Verdict {
    let mut frontier = Frontier::default();
    let mut last = None;
    for (seq, (entry, record)) in (0..).zip(book.tables.journal.iter().zip(&book.records)) {
        ensure(entry.seq == seq && record.seq == seq, || format!("record {} is in place {seq}", record.seq))?;
        ensure(last.is_none_or(|last| record.at > last), || format!("record {seq} is not later than the one before"))?;
        last = Some(record.at);
        ensure(leaf(&salt().salt(seq), &entry.bytes) == entry.leaf, || format!("leaf {seq} is of other bytes"))?;
        ensure(record.to_bytes() == entry.bytes, || format!("record {seq} is not canonical"))?;
        frontier.push(entry.leaf);
        if let Some((_, root)) = book.seen.filter(|(size, _)| *size == frontier.size()) {
            ensure(frontier.root() == *root, || format!("the root at {} was another", frontier.size()))?;
        }
    }
    let seen = book.seen.map_or(0, |(size, _)| *size);
    ensure(frontier.size() >= seen, || format!("{} records are left of {seen}", frontier.size()))?;
    ensure(frontier == book.tables.head.frontier && last == book.tables.head.last_at, || "the head is another".into())?;
    projection(book)
}

fn last_of<K: Ord, V>(records: &[Effects], row: impl Fn(&Effects) -> Option<(K, V)>) -> BTreeMap<K, V> {
    records.iter().filter_map(row).collect()
}

fn projection(book: &Book<'_>) -> Verdict {
    let (records, tables) = (&book.records, book.tables);
    let spends = last_of(records, |record| record.spend.clone().map(|row| (row.id, row)));
    ensure(spends == tables.spends, || "spends are not as their records say".into())?;
    let settlements = last_of(records, |record| record.settlement.clone().map(|row| (row.key.clone(), row)));
    ensure(settlements == tables.settlements, || "settlements are not as their records say".into())?;
    let gates = last_of(records, |record| record.gate.clone().map(|row| (row.scope.clone(), row)));
    ensure(gates == tables.gates, || "gates are not as their records say".into())?;
    let decisions = last_of(records, |record| record.decision.clone().map(|row| (row.id, row)));
    ensure(decisions == tables.decisions, || "decisions are not as their records say".into())?;
    let told: Vec<_> = records.iter().flat_map(events).collect();
    ensure(told == tables.events, || format!("{} events for {} told", tables.events.len(), told.len()))?;
    let mut past = Past::default();
    records.iter().for_each(|record| past.take(record));
    ensure(past.nodes.len() == tables.budgets.len(), || "a node without its record".into())?;
    for (id, row) in &tables.budgets {
        let node = past.nodes.get(id);
        let same = node.is_some_and(|node| node.caps == row.caps && node.state == row.state && node.path == row.path);
        ensure(same, || format!("node {id} is not as its records say"))?;
    }
    let lost = tables.spends.values().find(|spend| !tables.documents.contains_key(&spend.evidence));
    ensure(lost.is_none(), || format!("the evidence of {:?} is gone", lost.map(|spend| spend.id)))
}
