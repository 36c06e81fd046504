//! What is looked up by many keys at once.

use crate::table::Kind::{Blob, Integer, Text};
use crate::table::LookUp;

pub(crate) const WINDOWS: LookUp = LookUp {
    table: "budget_window",
    select: "t.budget, t.number, t.payee, t.place, t.held, t.posted, t.count, t.cap, t.most",
    key: &[("budget", Blob), ("number", Integer), ("payee", Text), ("place", Integer)],
    index: None,
    filter: "",
    joined: None,
};

pub(crate) const BUDGETS: LookUp =
    LookUp { table: "budget", select: "t.id, t.body", key: &[("id", Blob)], index: None, filter: "", joined: None };

/// Each with the record that says what it is.
const RECORD: Option<(&str, &str, &str)> = Some(("journal", "j", "j.seq = t.seq"));

pub(crate) const SPENDS: LookUp = LookUp {
    table: "spend",
    select: "t.id, j.seq, j.bytes",
    key: &[("id", Blob)],
    index: None,
    filter: "",
    joined: RECORD,
};

pub(crate) const DECISIONS: LookUp = LookUp { table: "decision", ..BUDGETS };

pub(crate) const GATES: LookUp =
    LookUp { table: "gate", select: "t.body", key: &[("scope", Text)], index: None, filter: "", joined: None };

pub(crate) const DOCUMENTS: LookUp =
    LookUp { table: "document", select: "t.digest", key: &[("digest", Blob)], index: None, filter: "", joined: None };

pub(crate) const CLAIMS: LookUp = LookUp {
    table: "claim",
    select: "t.key, j.seq, j.bytes, t.rejection",
    key: &[("key", Blob)],
    index: None,
    filter: "",
    joined: RECORD,
};

pub(crate) const SETTLEMENTS: LookUp = LookUp {
    table: "settlement",
    select: "t.body",
    key: &[("role", Text), ("network", Text), ("asset", Text), ("payer", Text), ("nonce", Blob)],
    index: None,
    filter: "",
    joined: None,
};

/// What is not over of one payer's …
pub(crate) const SETTLEMENTS_OF: LookUp = LookUp {
    key: &[("role", Text), ("asset", Text), ("payer", Text)],
    index: Some("settlement_payer"),
    filter: " AND t.open = 1 AND t.state <> 'settled'",
    ..SETTLEMENTS
};

/// … and of everybody's.
pub(crate) const SETTLEMENTS_IN: LookUp = LookUp { key: &[("role", Text), ("asset", Text)], ..SETTLEMENTS_OF };

/// Open ones only: a closed one has none. By the purchase alone: a planner that is told the budget as well may read all
/// spends of it.
pub(crate) const PURCHASES: LookUp = LookUp {
    table: "spend",
    select: "t.budget, t.purchase, t.id",
    key: &[("purchase", Blob)],
    index: Some("spend_purchase"),
    filter: "",
    joined: None,
};

pub(crate) const ACCOUNTS: LookUp = LookUp {
    table: "account",
    select: "t.id, t.name, t.asset, b.debit_posted, b.credit_posted, b.debit_pending, b.credit_pending",
    key: &[("name", Text), ("asset", Text)],
    index: None,
    filter: "",
    joined: Some(("account_balance", "b", "b.account = t.id")),
};
