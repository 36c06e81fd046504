//! How each thing of the ledger lies in its table: the columns that are looked up or constrained, and the canonical
//! bytes that are the thing itself.

use ledger::account::Balance;
use ledger::budget::Budget;
use ledger::claim::Claim;
use ledger::codec::encode;
use ledger::decision::Decision;
use ledger::event::Event;
use ledger::gate::Gate;
use ledger::id::{Digest, SpendId};
use ledger::settlement::{Settlement, SettlementKey};
use ledger::spend::Spend;
use ledger::store::{Document, JournalEntry};
use ledger::transfer::{Transfer, TransferId};

use crate::table::{Cell, Cells, Growth, Table};

pub(crate) const JOURNAL: Table =
    Table { name: "journal", columns: &["seq", "bytes", "leaf"], key_columns: 1, growth: Growth::Append };

pub(crate) fn journal(entry: JournalEntry) -> Cells {
    vec![Cell::number(entry.seq), Cell::Blob(entry.bytes), Cell::blob(entry.leaf.0)]
}

pub(crate) const SUBJECT: Table =
    Table { name: "record_subject", columns: &["spend", "seq"], key_columns: 2, growth: Growth::Append };

pub(crate) fn subject(spend: SpendId, seq: u64) -> Cells {
    vec![Cell::blob(spend.0), Cell::number(seq)]
}

pub(crate) const EVENT: Table = Table {
    name: "event",
    columns: &["seq", "number", "at", "type", "subject", "mandate"],
    key_columns: 2,
    growth: Growth::Append,
};

pub(crate) fn event(event: &Event) -> Cells {
    vec![
        Cell::number(event.seq),
        Cell::Integer(event.number.into()),
        Cell::Integer(event.at.0),
        Cell::text(event.kind),
        Cell::text(&event.subject),
        Cell::optional(event.mandate, |mandate| Cell::blob(mandate.0)),
    ]
}

pub(crate) const GATE: Table =
    Table { name: "gate", columns: &["scope", "state", "body"], key_columns: 1, growth: Growth::Replace };

pub(crate) fn gate(gate: &Gate) -> Cells {
    vec![Cell::text(&gate.scope), Cell::text(gate.state), Cell::Blob(encode(gate))]
}

pub(crate) const ACCOUNT: Table =
    Table { name: "account", columns: &["id", "name", "asset"], key_columns: 1, growth: Growth::Append };

pub(crate) const BALANCE: Table = Table {
    name: "account_balance",
    columns: &["account", "debit_posted", "credit_posted", "debit_pending", "credit_pending"],
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
        "seq",
        "leg",
        "code",
        "debit",
        "credit",
        "asset",
        "amount",
        "layer",
        "resolves_seq",
        "resolves_leg",
        "resolves_amount",
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
    columns: &["key", "request", "outcome", "rejection", "seq"],
    key_columns: 1,
    growth: Growth::Append,
};

pub(crate) fn claim(claim: &Claim, rejection: Option<String>, seq: u64) -> Cells {
    vec![
        Cell::blob(claim.key.0),
        Cell::blob(claim.request.0),
        Cell::Blob(encode(&claim.outcome)),
        Cell::optional(rejection, Cell::Text),
        Cell::number(seq),
    ]
}

pub(crate) const BUDGET: Table = Table {
    name: "budget",
    columns: &[
        "id",
        "parent",
        "kind",
        "state",
        "holder",
        "asset",
        "cap",
        "per_payment",
        "held",
        "posted",
        "used",
        "count",
        "body",
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
        Cell::optional(budget.caps.total, Cell::amount),
        Cell::optional(budget.caps.per_payment, Cell::amount),
        Cell::amount(budget.held),
        Cell::amount(budget.posted),
        // No sum: the column is NOT NULL, and the database refuses the row.
        Cell::optional(budget.used(), Cell::amount),
        Cell::number(budget.count),
        Cell::Blob(encode(budget)),
    ]
}

pub(crate) const SPEND: Table = Table {
    name: "spend",
    columns: &[
        "id",
        "state",
        "open",
        "budget",
        "purchase",
        "authority",
        "asset",
        "amount",
        "network",
        "authorization_asset",
        "payer",
        "nonce",
        "held_seq",
        "body",
    ],
    key_columns: 1,
    growth: Growth::Replace,
};

pub(crate) fn spend(spend: &Spend) -> Cells {
    vec![
        Cell::blob(spend.id.0),
        Cell::text(spend.state),
        Cell::flag(spend.state.is_open()),
        Cell::blob(spend.budget.0),
        Cell::blob(spend.purchase.0),
        Cell::amount(spend.authority),
        Cell::text(&spend.money.asset),
        Cell::amount(spend.money.amount),
        Cell::text(&spend.authorization.network),
        Cell::text(&spend.authorization.asset),
        Cell::text(&spend.authorization.payer),
        Cell::blob(spend.authorization.nonce),
        Cell::number(spend.hold.seq),
        Cell::Blob(encode(spend)),
    ]
}

pub(crate) const SETTLEMENT: Table = Table {
    name: "settlement",
    columns: &["role", "network", "asset", "payer", "nonce", "state", "open", "body"],
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

pub(crate) fn settlement(settlement: &Settlement) -> Cells {
    let mut cells = settlement_key(&settlement.key);
    cells.push(Cell::text(settlement.state));
    cells.push(Cell::flag(settlement.state.is_open()));
    cells.push(Cell::Blob(encode(settlement)));
    cells
}

pub(crate) const DECISION: Table = Table {
    name: "decision",
    columns: &["id", "approver", "state", "asked", "body"],
    key_columns: 1,
    growth: Growth::Replace,
};

pub(crate) fn decision(decision: &Decision) -> Cells {
    vec![
        Cell::blob(decision.id.0),
        Cell::text(&decision.approver),
        Cell::text(decision.state),
        Cell::number(decision.asked),
        Cell::Blob(encode(decision)),
    ]
}

pub(crate) const DOCUMENT: Table =
    Table { name: "document", columns: &["digest", "kind", "bytes", "seal"], key_columns: 1, growth: Growth::Append };

pub(crate) fn document(digest: Digest, document: Document) -> Cells {
    let seal = document_seal(digest, &document.kind);
    vec![Cell::blob(digest.0), Cell::Text(document.kind), Cell::Blob(document.bytes), Cell::blob(seal.0)]
}

/// Finds a flipped byte in the kind, which the digest does not cover.
pub(crate) fn document_seal(digest: Digest, kind: &str) -> Digest {
    Digest::of_parts("purser/document/1", &[&digest.0, kind.as_bytes()])
}
