-- What a human stopped: a projection of the journal like budgets and decisions.

CREATE TABLE gate (
    tenant TEXT NOT NULL,
    scope  TEXT NOT NULL,
    state  TEXT NOT NULL,
    body   BLOB NOT NULL,
    PRIMARY KEY (tenant, scope)
) STRICT, WITHOUT ROWID;

CREATE TRIGGER gate_delete BEFORE DELETE ON gate
    BEGIN SELECT RAISE(ABORT, 'a gate is never removed'); END;
