//! How each thing of the ledger lies in its table: the columns that are looked up or constrained, and the canonical
//! bytes that are the thing itself.

pub(crate) mod find;

use ledger::account::Balance;
use ledger::budget::Budget;
use ledger::codec::encode;
use ledger::decision::{Decision, DecisionState};
use ledger::gate::Gate;
use ledger::id::{BudgetId, Digest, PayeeId};
use ledger::settlement::{PayerKey, Settlement, SettlementKey};
use ledger::spend::Spend;
use ledger::store::{Document, JournalEntry};
use ledger::transfer::{Transfer, TransferId};
use ledger::window::{Window, WindowKey};

use crate::cell::{Cell, Cells, Row};
use crate::failure::Failure;
use crate::table::Kind::{Blob, Integer, Text};
use crate::table::{Growth, Table};

/// Every table that follows from the journal, and the documents.
pub(crate) const ALL: [&Table; 13] = [
    &JOURNAL,
    &GATE,
    &ACCOUNT,
    &BALANCE,
    &TRANSFER,
    &CLAIM,
    &BUDGET,
    &WINDOW,
    &SPEND,
    &SPEND_RECORD,
    &SETTLEMENT,
    &DECISION,
    &DOCUMENT,
];

pub(crate) const JOURNAL: Table = Table {
    name: "journal",
    columns: &[("seq", Integer), ("bytes", Blob), ("leaf", Blob)],
    key_columns: 1,
    growth: Growth::Append,
};

pub(crate) fn journal(entry: JournalEntry) -> Cells {
    vec![Cell::number(entry.seq), Cell::Blob(entry.bytes), Cell::blob(entry.leaf.0)]
}

pub(crate) const SPEND_RECORD: Table = Table {
    name: "spend_record",
    columns: &[("held_seq", Integer), ("seq", Integer)],
    key_columns: 2,
    growth: Growth::Append,
};

pub(crate) fn spend_record(spend: &Spend, seq: u64) -> Cells {
    vec![Cell::number(spend.hold.seq), Cell::number(seq)]
}

pub(crate) const GATE: Table = Table {
    name: "gate",
    columns: &[("scope", Text), ("state", Text), ("body", Blob)],
    key_columns: 1,
    growth: Growth::Replace,
};

pub(crate) fn gate(gate: &Gate) -> Cells {
    vec![Cell::text(&gate.scope), Cell::text(gate.state), Cell::Blob(encode(gate))]
}

pub(crate) const ACCOUNT: Table = Table {
    name: "account",
    columns: &[("id", Integer), ("name", Text), ("asset", Text)],
    key_columns: 1,
    growth: Growth::Append,
};

pub(crate) const BALANCE: Table = Table {
    name: "account_balance",
    columns: &[
        ("account", Integer),
        ("debit_posted", Blob),
        ("credit_posted", Blob),
        ("debit_pending", Blob),
        ("credit_pending", Blob),
    ],
    key_columns: 1,
    growth: Growth::Replace,
};

pub(crate) fn balance(account: i64, balance: &Balance) -> Cells {
    vec![
        Cell::Integer(account),
        Cell::amount(balance.debit_posted),
        Cell::amount(balance.credit_posted),
        Cell::amount(balance.debit_pending),
        Cell::amount(balance.credit_pending),
    ]
}

pub(crate) const TRANSFER: Table = Table {
    name: "transfer",
    columns: &[
        ("seq", Integer),
        ("leg", Integer),
        ("code", Text),
        ("debit", Integer),
        ("credit", Integer),
        ("asset", Text),
        ("amount", Blob),
        ("layer", Text),
        ("resolves_seq", Integer),
        ("resolves_leg", Integer),
        ("resolves_amount", Blob),
    ],
    key_columns: 2,
    growth: Growth::Append,
};

pub(crate) fn transfer(id: TransferId, transfer: &Transfer, debit: i64, credit: i64) -> Cells {
    let resolves = transfer.resolves.as_ref();
    vec![
        Cell::number(id.seq),
        Cell::Integer(id.leg.into()),
        Cell::text(transfer.code),
        Cell::Integer(debit),
        Cell::Integer(credit),
        Cell::text(&transfer.asset),
        Cell::amount(transfer.amount),
        Cell::text(transfer.layer),
        Cell::optional(resolves, |resolves| Cell::number(resolves.transfer.seq)),
        Cell::optional(resolves, |resolves| Cell::Integer(resolves.transfer.leg.into())),
        Cell::optional(resolves, |resolves| Cell::amount(resolves.amount)),
    ]
}

pub(crate) const CLAIM: Table = Table {
    name: "claim",
    columns: &[("key", Blob), ("seq", Integer), ("rejection", Text)],
    key_columns: 1,
    growth: Growth::Append,
};

/// The claim itself is in its record.
pub(crate) fn claim(key: Digest, seq: u64, rejection: Option<String>) -> Cells {
    vec![Cell::blob(key.0), Cell::number(seq), Cell::optional(rejection, Cell::Text)]
}

pub(crate) const BUDGET: Table = Table {
    name: "budget",
    columns: &[
        ("id", Blob),
        ("parent", Blob),
        ("kind", Text),
        ("state", Text),
        ("holder", Text),
        ("asset", Text),
        ("cap", Blob),
        ("per_payment", Blob),
        ("held", Blob),
        ("posted", Blob),
        ("used", Blob),
        ("count", Integer),
        ("last_use", Integer),
        ("body", Blob),
    ],
    key_columns: 1,
    growth: Growth::Replace,
};

pub(crate) fn budget(budget: &Budget) -> Cells {
    vec![
        Cell::blob(budget.id.0),
        Cell::optional(budget.path.get(1), |parent| Cell::blob(parent.0)),
        Cell::text(budget.kind),
        Cell::text(budget.state),
        Cell::text(&budget.holder),
        Cell::text(&budget.asset),
        // Nothing for the database to hold against what was used before the cap was lowered.
        Cell::optional(budget.caps.total.filter(|_| !budget.is_over), Cell::amount),
        Cell::optional(budget.caps.per_payment, Cell::amount),
        Cell::amount(budget.held),
        Cell::amount(budget.posted),
        // No sum: the column is NOT NULL, and the database refuses the row.
        Cell::optional(budget.used(), Cell::amount),
        Cell::number(budget.count),
        Cell::optional(budget.last_use, |last| Cell::Integer(last.at.0)),
        Cell::Blob(encode(budget)),
    ]
}

pub(crate) const WINDOW: Table = Table {
    name: "budget_window",
    columns: &[
        ("budget", Blob),
        ("number", Integer),
        ("payee", Text),
        ("place", Integer),
        ("cap", Blob),
        ("held", Blob),
        ("posted", Blob),
        ("used", Blob),
        ("most", Integer),
        ("count", Integer),
    ],
    key_columns: 4,
    growth: Growth::Replace,
};

pub(crate) fn window_key(key: &WindowKey) -> Cells {
    vec![
        Cell::blob(key.budget.0),
        Cell::Integer(key.limit.into()),
        Cell::text(key.payee.as_ref().map_or("", PayeeId::as_str)),
        Cell::Integer(key.place),
    ]
}

/// With the figures of the limit that it is a window of, so that the database can compare.
pub(crate) fn window(window: &Window) -> Cells {
    let mut cells = window_key(&window.key);
    cells.extend([
        Cell::optional(window.cap, Cell::amount),
        Cell::amount(window.held),
        Cell::amount(window.posted),
        Cell::optional(window.used(), Cell::amount),
        Cell::optional(window.most, Cell::number),
        Cell::number(window.count),
    ]);
    cells
}

/// What those columns say.
pub(crate) fn window_of(row: &Row) -> Result<Window, Failure> {
    let limit = u16::try_from(row.integer(1)?).map_err(|_| Failure::Broken("a window has no such limit".to_owned()))?;
    let payee = Some(row.text(2)?).filter(|text| !text.is_empty()).map(|_| row.parsed(2)).transpose()?;
    let key = WindowKey { budget: BudgetId(row.array(0)?), limit, payee, place: row.integer(3)? };
    let (held, posted, count) = (row.amount(4)?, row.amount(5)?, row.number(6)?);
    Ok(Window { key, held, posted, count, cap: row.optional_amount(7)?, most: row.optional_number(8)? })
}

pub(crate) const SPEND: Table = Table {
    name: "spend",
    columns: &[
        ("held_seq", Integer),
        ("id", Blob),
        ("seq", Integer),
        ("state", Text),
        ("open", Integer),
        ("budget", Blob),
        ("purchase", Blob),
    ],
    key_columns: 1,
    growth: Growth::Replace,
};

/// The spend itself is in the record that speaks of it last, which is `seq`.
pub(crate) fn spend(spend: &Spend, seq: u64) -> Cells {
    vec![
        Cell::number(spend.hold.seq),
        Cell::blob(spend.id.0),
        Cell::number(seq),
        Cell::text(spend.state),
        Cell::flag(spend.is_unfinished()),
        Cell::blob(spend.budget.0),
        Cell::optional(spend.state.is_open().then_some(spend.purchase), |purchase| Cell::blob(purchase.0)),
    ]
}

pub(crate) const SETTLEMENT: Table = Table {
    name: "settlement",
    columns: &[
        ("role", Text),
        ("network", Text),
        ("asset", Text),
        ("payer", Text),
        ("nonce", Blob),
        ("state", Text),
        ("open", Integer),
        ("body", Blob),
    ],
    key_columns: 5,
    growth: Growth::Replace,
};

pub(crate) fn settlement_key(key: &SettlementKey) -> Cells {
    vec![
        Cell::text(key.role),
        Cell::text(&key.authorization.network),
        Cell::text(&key.authorization.asset),
        Cell::text(&key.authorization.payer),
        Cell::blob(key.authorization.nonce),
    ]
}

pub(crate) fn payer_key(key: &PayerKey) -> Cells {
    let cells = [Cell::text(key.role), Cell::text(&key.asset)].into_iter();
    cells.chain(key.payer.as_ref().map(Cell::text)).collect()
}

pub(crate) fn settlement(settlement: &Settlement) -> Cells {
    let mut cells = settlement_key(&settlement.key);
    cells.push(Cell::text(settlement.state));
    cells.push(Cell::flag(settlement.is_unfinished()));
    cells.push(Cell::Blob(encode(settlement)));
    cells
}

pub(crate) const DECISION: Table = Table {
    name: "decision",
    columns: &[
        ("id", Blob),
        ("approver", Text),
        ("state", Text),
        ("asked", Integer),
        ("body", Blob),
        ("due_at", Integer),
    ],
    key_columns: 1,
    growth: Growth::Replace,
};

pub(crate) fn decision(decision: &Decision) -> Cells {
    // A review's time runs until somebody answers it, or it is over.
    let due_at = (decision.state == DecisionState::InReview).then_some(decision.expires_at);
    vec![
        Cell::blob(decision.id.0),
        Cell::text(&decision.approver),
        Cell::text(decision.state),
        Cell::number(decision.asked),
        Cell::Blob(encode(decision)),
        Cell::optional(due_at, |at| Cell::Integer(at.0)),
    ]
}

pub(crate) const DOCUMENT: Table = Table {
    name: "document",
    columns: &[("digest", Blob), ("kind", Text), ("bytes", Blob), ("seal", Blob)],
    key_columns: 1,
    growth: Growth::Append,
};

pub(crate) fn document(digest: Digest, document: Document) -> Cells {
    let seal = document_seal(digest, &document.kind);
    vec![Cell::blob(digest.0), Cell::Text(document.kind), Cell::Blob(document.bytes), Cell::blob(seal.0)]
}

/// Finds a flipped byte in the kind, which the digest does not cover.
pub(crate) fn document_seal(digest: Digest, kind: &str) -> Digest {
    Digest::of_parts("purser/document/1", &[&digest.0, kind.as_bytes()])
}
