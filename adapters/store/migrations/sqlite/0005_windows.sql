-- What was reserved and paid in one period of one limit of a node, and to whom where the limit is for each payee ('' where it
-- is not). A projection of the journal like the node itself.

CREATE TABLE budget_window (
    tenant TEXT    NOT NULL,
    budget BLOB    NOT NULL CHECK (length(budget) = 32),
    number INTEGER NOT NULL CHECK (number >= 0),
    payee  TEXT    NOT NULL,
    place  INTEGER NOT NULL,
    cap    BLOB    CHECK (cap IS NULL OR length(cap) = 16),
    held   BLOB    NOT NULL CHECK (length(held) = 16),
    posted BLOB    NOT NULL CHECK (length(posted) = 16),
    used   BLOB    NOT NULL CHECK (length(used) = 16),
    most   INTEGER,
    count  INTEGER NOT NULL CHECK (count >= 0),
    PRIMARY KEY (tenant, budget, number, payee, place),
    FOREIGN KEY (tenant, budget) REFERENCES budget (tenant, id),
    CHECK (used >= held AND used >= posted),
    CHECK (cap IS NULL OR used <= cap),
    CHECK (most IS NULL OR count <= most)
) STRICT, WITHOUT ROWID;

CREATE TRIGGER budget_window_update BEFORE UPDATE ON budget_window
    WHEN NEW.tenant <> OLD.tenant OR NEW.budget <> OLD.budget OR NEW.number <> OLD.number OR NEW.payee <> OLD.payee
      OR NEW.place <> OLD.place
      -- A limit that was changed is written with the next payment that moves the window.
      OR ((NEW.cap IS NOT OLD.cap OR NEW.most IS NOT OLD.most)
          AND NEW.held = OLD.held AND NEW.posted = OLD.posted AND NEW.count = OLD.count)
    BEGIN SELECT RAISE(ABORT, 'the terms of a window change with its figures only'); END;
CREATE TRIGGER budget_window_delete BEFORE DELETE ON budget_window
    BEGIN SELECT RAISE(ABORT, 'a window is never removed'); END;
