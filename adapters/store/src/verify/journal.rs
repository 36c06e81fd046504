//! The walk over the journal: every record decoded, hashed again, taken into a fresh view, its transfers posted and
//! compared with their rows. What is kept of it does not grow with the records' size: of a spend its figures, of a row
//! its hash.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};

use ledger::account::{Account, Balance, Side};
use ledger::budget::BudgetStep;
use ledger::claim::ClaimOutcome;
use ledger::effects::Effects;
use ledger::id::{Digest, TenantId};
use ledger::journal::SaltKey;
use ledger::money::{Amount, AssetId};
use ledger::posting::pattern;
use ledger::transfer::{Layer, Transfer, TransferId};
use ledger::view::View;

use super::Stop;
use super::expected::Expected;
use super::figures::Tally;
use super::recurrence::Uses;
use crate::cell::{Cell, Cells};
use crate::connection::{Scanner, Value};
use crate::failure::Failure;
use crate::limits::VERIFY_PAGE_RECORDS;
use crate::rows;
use crate::table::Table;

/// The accounts as their table has them, by asset and name, with what the journal has posted to each.
pub(super) type Accounts = BTreeMap<AssetId, BTreeMap<Account, Posted>>;

pub(super) struct Posted {
    pub id: i64,
    pub balance: Option<Balance>,
}

/// A transfer that nothing has ended yet, as far as its end must repeat it.
#[derive(PartialEq, Eq)]
struct Pending {
    debit: i64,
    credit: i64,
    amount: Amount,
}

/// What the journal comes to.
pub(super) struct Book {
    /// Budgets and windows; of the rest the rows alone are of interest.
    pub view: View,
    pub accounts: Accounts,
    pub expected: Expected,
    pub tally: Tally,
    pub uses: Uses,
    pub legs: u64,
    claimed: HashSet<Digest>,
    pending: HashMap<TransferId, Pending>,
}

pub(super) struct Journal<'a> {
    pub tenant: &'a TenantId,
    pub salt_key: &'a SaltKey,
    /// Records read so far, for whoever watches.
    pub read: &'a AtomicU64,
}

impl Journal<'_> {
    /// `wanted` is a table whose rows are kept for a comparison one by one.
    pub fn replay(&self, scanner: &mut Scanner, wanted: Option<&'static Table>) -> Result<Book, Stop> {
        let mut book = Book {
            view: View::default(),
            accounts: accounts(scanner, self.tenant)?,
            expected: Expected::new(wanted),
            tally: Tally::default(),
            uses: Uses::default(),
            legs: 0,
            claimed: HashSet::new(),
            pending: HashMap::new(),
        };
        loop {
            let from = book.view.head.frontier.size();
            let transfers = self.page(scanner, &mut book, from)?;
            let size = book.view.head.frontier.size();
            if size == from {
                return Ok(book);
            }
            self.compare(scanner, &transfers, from, size.saturating_sub(1))?;
            self.read.store(size, Ordering::Relaxed);
        }
    }

    /// Takes in a page of records and gives the rows of their transfers.
    fn page(&self, scanner: &mut Scanner, book: &mut Book, from: u64) -> Result<Vec<(TransferId, Cells)>, Stop> {
        let text = "SELECT seq, bytes, leaf FROM journal WHERE tenant = $1 AND seq >= $2 ORDER BY seq LIMIT $3";
        let cells = [Cell::text(self.tenant), Cell::number(from), Cell::number(VERIFY_PAGE_RECORDS)];
        let mut transfers = Vec::new();
        let mut seq = from;
        let read = scanner.each(text, &cells, |row| {
            let [Value::Integer(number), Value::Blob(bytes), Value::Blob(leaf)] = row else {
                return Err(Stop::at(seq, format!("record {seq} is stored as {row:?}")));
            };
            let effects = Effects::from_bytes(bytes).map_err(|error| Stop::reading(seq, error))?;
            let number = u64::try_from(*number).unwrap_or(u64::MAX);
            if number != seq {
                return Err(Stop::at(seq, format!("record {seq} is missing, {number} follows")));
            }
            book.take_in(self.salt_key, (bytes, leaf), effects, &mut transfers)?;
            seq = seq.saturating_add(1);
            Ok(())
        });
        read.map_err(|failure| Stop::reading(book.view.head.frontier.size(), failure))??;
        Ok(transfers)
    }

    fn compare(
        &self,
        scanner: &mut Scanner,
        expected: &[(TransferId, Cells)],
        first: u64,
        last: u64,
    ) -> Result<(), Stop> {
        let columns = rows::TRANSFER.column_names().join(", ");
        let text =
            format!("SELECT {columns} FROM transfer WHERE tenant = $1 AND seq BETWEEN $2 AND $3 ORDER BY seq, leg");
        let cells = [Cell::text(self.tenant), Cell::number(first), Cell::number(last)];
        let mut expected = expected.iter();
        let read = scanner.each(&text, &cells, |found| match expected.next() {
            Some((_, row)) if row.iter().map(Cell::value).eq(found.iter().copied()) => Ok(()),
            Some((id, row)) => {
                Err(Stop::at(id.seq, format!("transfer {}.{} is {row:?}, its row {found:?}", id.seq, id.leg)))
            }
            None => Err(Stop::at(last, format!("a transfer is stored that no record made: {found:?}"))),
        });
        read.map_err(|failure| Stop::reading(first, failure))??;
        match expected.next() {
            None => Ok(()),
            Some((id, _)) => Err(Stop::at(id.seq, format!("transfer {}.{} has no row", id.seq, id.leg))),
        }
    }
}

impl Book {
    fn take_in(
        &mut self,
        salt_key: &SaltKey,
        (bytes, leaf): (&[u8], &[u8]),
        mut effects: Effects,
        transfers: &mut Vec<(TransferId, Cells)>,
    ) -> Result<(), Stop> {
        let seq = self.view.head.frontier.size();
        if effects.seq != seq {
            return Err(Stop::at(seq, format!("record {seq} says that it is record {}", effects.seq)));
        }
        if let Some(last) = self.view.head.last_at.filter(|last| effects.at <= *last) {
            return Err(Stop::at(seq, format!("record {seq} is of {}, the one before of {}", effects.at.0, last.0)));
        }
        let again = self.view.head.append(salt_key, &effects);
        if again.bytes != bytes {
            return Err(Stop::at(seq, format!("the bytes of record {seq} are not its canonical ones")));
        }
        if again.leaf.0 != leaf {
            let (expected, found) = (again.leaf, hex::encode(leaf));
            return Err(Stop::at(seq, format!("the leaf of record {seq} is {found}, its bytes hash to {expected}")));
        }
        self.project(seq, &mut effects)?;
        for (leg, transfer) in (0..).zip(&effects.transfers) {
            let id = TransferId { seq, leg };
            transfers.push((id, self.post(id, transfer)?));
        }
        // Nobody else's: what no record has moved is not there.
        effects.windows.iter().for_each(|step| self.view.windows.load(step.key.clone(), None));
        self.view.absorb_figures(&effects).map_err(|fault| Stop::at(seq, fault.to_string()))
    }

    /// Everything that is a row of its own. The view gets budgets and windows alone.
    fn project(&mut self, seq: u64, effects: &mut Effects) -> Result<(), Stop> {
        for claim in std::mem::take(&mut effects.claims) {
            if !self.claimed.insert(claim.key) {
                return Err(Stop::at(seq, format!("record {seq} claims {} again", claim.key)));
            }
            self.expected.put(&rows::CLAIM, claim_row(claim.key, seq, &claim.outcome));
        }
        for step in effects.moves.iter().filter(|step| step.step == BudgetStep::Charge) {
            self.tally.charge(seq, step.budget, step.amount)?;
        }
        for step in effects.windows.iter().filter(|step| step.step == BudgetStep::Charge) {
            self.tally.charge_window(seq, &step.key, step.amount)?;
        }
        if let Some(spend) = &effects.spend {
            self.tally.count(seq, spend)?;
            self.uses.count(seq, effects.at, spend, &self.view);
            self.expected.put(&rows::SPEND, rows::spend(spend, seq));
            if spend.hold.seq != seq {
                self.expected.put(&rows::SPEND_RECORD, rows::spend_record(spend, seq));
            }
        }
        if let Some(settlement) = effects.settlement.take() {
            self.expected.put(&rows::SETTLEMENT, rows::settlement(&settlement));
        }
        if let Some(decision) = effects.decision.take() {
            self.expected.put(&rows::DECISION, rows::decision(&decision));
        }
        if let Some(gate) = effects.gate.take() {
            self.expected.put(&rows::GATE, rows::gate(&gate));
        }
        Ok(())
    }

    fn post(&mut self, id: TransferId, transfer: &Transfer) -> Result<Cells, Stop> {
        let seq = id.seq;
        if transfer.moves_nothing() {
            return Err(Stop::at(seq, format!("transfer {seq}.{} moves nothing", id.leg)));
        }
        if pattern(transfer).is_none() {
            let (code, debit, credit) = (transfer.code, &transfer.debit, &transfer.credit);
            let reason = format!("transfer {seq}.{} is a {code} from {debit} to {credit}, which is no posting", id.leg);
            return Err(Stop::at(seq, reason));
        }
        let debit = self.move_balance(seq, Side::Debit, &transfer.debit, transfer)?;
        let credit = self.move_balance(seq, Side::Credit, &transfer.credit, transfer)?;
        if let Some(resolves) = &transfer.resolves {
            let name = format!("transfer {}.{}", resolves.transfer.seq, resolves.transfer.leg);
            let Some(pending) = self.pending.remove(&resolves.transfer) else {
                return Err(Stop::at(seq, format!("{name} is ended by record {seq} and is not pending")));
            };
            // An account's id stands for its name and its asset.
            if pending != (Pending { debit, credit, amount: resolves.amount }) {
                return Err(Stop::at(seq, format!("{name} is ended by record {seq} with other terms")));
            }
        }
        if transfer.layer == Layer::Pending {
            self.pending.insert(id, Pending { debit, credit, amount: transfer.amount });
        }
        self.legs = self.legs.saturating_add(1);
        Ok(rows::transfer(id, transfer, debit, credit))
    }

    fn move_balance(&mut self, seq: u64, side: Side, account: &Account, transfer: &Transfer) -> Result<i64, Stop> {
        let posted = self.accounts.get_mut(&transfer.asset).and_then(|accounts| accounts.get_mut(account));
        let posted =
            posted.ok_or_else(|| Stop::at(seq, format!("account {account} in {} has no row", transfer.asset)))?;
        let balance = posted.balance.get_or_insert_default();
        balance.post(side, transfer).map_err(|error| Stop::at(seq, error.to_string()))?;
        Ok(posted.id)
    }
}

/// A claim's row as it is compared: with the code and the digest of a kept refusal, which the record has, in place of its
/// text, which it has not.
pub(super) fn claim_row(key: Digest, seq: u64, outcome: &ClaimOutcome) -> Cells {
    let refusal = match outcome {
        ClaimOutcome::Rejected { code, text } => Cell::Text(format!("{code} {text}")),
        ClaimOutcome::Spend(_) | ClaimOutcome::Seen(_) | ClaimOutcome::Opened(_) | ClaimOutcome::Accepted(_) => {
            Cell::Null
        }
    };
    vec![Cell::blob(key.0), Cell::number(seq), refusal]
}

fn accounts(scanner: &mut Scanner, tenant: &TenantId) -> Result<Accounts, Stop> {
    let text = "SELECT name, asset, id FROM account WHERE tenant = $1 ORDER BY id";
    let found = scanner.fetch(text, &[Cell::text(tenant)]).and_then(|rows| {
        let mut accounts = Accounts::new();
        for row in rows {
            let (name, asset): (Account, AssetId) = (row.parsed(0)?, row.parsed(1)?);
            let twice = Failure::Broken(format!("account {name} in {asset} has two rows"));
            let posted = Posted { id: row.integer(2)?, balance: None };
            if accounts.entry(asset).or_default().insert(name, posted).is_some() {
                return Err(twice);
            }
        }
        Ok(accounts)
    });
    found.map_err(|failure| Stop::reading(0, failure))
}
