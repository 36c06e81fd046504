//! `purser` as a later release, for the tests of releases side by side: the program of this one with migrations that it
//! has not. `NEXT_RELEASE` says up to which. Nothing of this is in the binary that ships.

use std::process::ExitCode;

use store::LaterMigration;

/// What a later release may add while this one serves.
const ADDITIVE: LaterMigration = LaterMigration {
    version: 90,
    description: "later",
    text: "-- additive
CREATE TABLE later (tenant text NOT NULL, note text, PRIMARY KEY (tenant));
ALTER TABLE spend ADD COLUMN later text;
ALTER TABLE journal ADD COLUMN later bigint NOT NULL DEFAULT 0;
CREATE INDEX spend_later ON spend (tenant, later);",
    catalog: &[
        "column later.note text",
        "column later.tenant text not null",
        "constraint later.later_pkey p",
        "index later.later_pkey unique",
        "column spend.later text",
        "column journal.later bigint not null",
        "index spend.spend_later",
    ],
};

/// What could refuse what this release writes.
const BREAKING: LaterMigration = LaterMigration {
    version: 91,
    description: "latest",
    text: "CREATE UNIQUE INDEX decision_later ON decision (tenant, id, state);",
    catalog: &["index decision.decision_later unique"],
};

fn main() -> ExitCode {
    let upto = std::env::var("NEXT_RELEASE").ok().and_then(|text| text.parse().ok()).unwrap_or(90);
    store::become_later([ADDITIVE, BREAKING].into_iter().filter(|later| later.version <= upto).collect());
    purser::command::main()
}
