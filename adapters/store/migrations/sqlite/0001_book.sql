-- The book of every tenant in one file. What is money is append-only, and the database itself says so; what is state
-- (head, budget, spend, settlement, decision, account_balance) is a projection of the journal that `verify` rebuilds.
--
-- Amounts are 16 bytes, big-endian: the order of the bytes is the order of the numbers, and no engine's NUMERIC
-- gets to round them. Every primary key starts with the tenant.
--
-- The journal holds each thing once. What there is many of (claims, spends) is an index into it: a row says where the
-- record lies, in as few bytes as finding it takes, because keys that are hashes lie all over the file and each costs
-- a page. Their terms cannot be changed here, because they are not here.

CREATE TABLE head (
    tenant   TEXT    NOT NULL PRIMARY KEY,
    size     INTEGER NOT NULL CHECK (size > 0),
    frontier BLOB    NOT NULL,
    root     BLOB    NOT NULL CHECK (length(root) = 32),
    last_at  INTEGER NOT NULL
) STRICT;

CREATE TABLE journal (
    tenant TEXT    NOT NULL,
    seq    INTEGER NOT NULL CHECK (seq >= 0),
    bytes  BLOB    NOT NULL,
    leaf   BLOB    NOT NULL CHECK (length(leaf) = 32),
    PRIMARY KEY (tenant, seq)
) STRICT;

-- Which later records speak of the spend that a record reserved.
CREATE TABLE spend_record (
    tenant   TEXT    NOT NULL,
    held_seq INTEGER NOT NULL,
    seq      INTEGER NOT NULL CHECK (seq > held_seq),
    PRIMARY KEY (tenant, held_seq, seq),
    FOREIGN KEY (tenant, held_seq) REFERENCES spend (tenant, held_seq),
    FOREIGN KEY (tenant, seq) REFERENCES journal (tenant, seq)
) STRICT, WITHOUT ROWID;

CREATE TABLE account (
    tenant TEXT    NOT NULL,
    id     INTEGER NOT NULL CHECK (id > 0),
    name   TEXT    NOT NULL,
    asset  TEXT    NOT NULL,
    PRIMARY KEY (tenant, id),
    UNIQUE (tenant, name, asset),
    UNIQUE (tenant, id, asset)
) STRICT;

CREATE TABLE account_balance (
    tenant         TEXT    NOT NULL,
    account        INTEGER NOT NULL,
    debit_posted   BLOB    NOT NULL CHECK (length(debit_posted) = 16),
    credit_posted  BLOB    NOT NULL CHECK (length(credit_posted) = 16),
    debit_pending  BLOB    NOT NULL CHECK (length(debit_pending) = 16),
    credit_pending BLOB    NOT NULL CHECK (length(credit_pending) = 16),
    PRIMARY KEY (tenant, account),
    FOREIGN KEY (tenant, account) REFERENCES account (tenant, id)
) STRICT, WITHOUT ROWID;

-- One row is one transfer: it balances because it cannot be written otherwise. Both accounts are of its asset.
CREATE TABLE transfer (
    tenant          TEXT    NOT NULL,
    seq             INTEGER NOT NULL,
    leg             INTEGER NOT NULL CHECK (leg >= 0),
    code            TEXT    NOT NULL,
    debit           INTEGER NOT NULL,
    credit          INTEGER NOT NULL,
    asset           TEXT    NOT NULL,
    amount          BLOB    NOT NULL CHECK (length(amount) = 16 AND amount > zeroblob(16)),
    layer           TEXT    NOT NULL CHECK (layer IN ('pending', 'posted', 'void')),
    resolves_seq    INTEGER,
    resolves_leg    INTEGER,
    resolves_amount BLOB    CHECK (resolves_amount IS NULL OR length(resolves_amount) = 16),
    PRIMARY KEY (tenant, seq, leg),
    FOREIGN KEY (tenant, seq) REFERENCES journal (tenant, seq),
    FOREIGN KEY (tenant, debit, asset) REFERENCES account (tenant, id, asset),
    FOREIGN KEY (tenant, credit, asset) REFERENCES account (tenant, id, asset),
    FOREIGN KEY (tenant, resolves_seq, resolves_leg) REFERENCES transfer (tenant, seq, leg),
    CHECK (debit <> credit),
    CHECK ((resolves_seq IS NULL) = (resolves_leg IS NULL) AND (resolves_seq IS NULL) = (resolves_amount IS NULL)),
    CHECK (layer <> 'void' OR resolves_seq IS NOT NULL),
    CHECK (layer <> 'pending' OR resolves_seq IS NULL)
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX transfer_resolves ON transfer (tenant, resolves_seq, resolves_leg) WHERE resolves_seq IS NOT NULL;

-- First come, for ever: the key by digest, the record that says what for, and the text of a refusal that is kept. An
-- authorization of the wallet is a key as well: "never twice", by the database itself.
CREATE TABLE claim (
    tenant    TEXT    NOT NULL,
    key       BLOB    NOT NULL CHECK (length(key) = 32),
    seq       INTEGER NOT NULL,
    rejection TEXT,
    PRIMARY KEY (tenant, key),
    FOREIGN KEY (tenant, seq) REFERENCES journal (tenant, seq)
) STRICT, WITHOUT ROWID;

CREATE TABLE budget (
    tenant      TEXT    NOT NULL,
    id          BLOB    NOT NULL CHECK (length(id) = 32),
    parent      BLOB    CHECK (parent IS NULL OR length(parent) = 32),
    kind        TEXT    NOT NULL,
    state       TEXT    NOT NULL,
    holder      TEXT    NOT NULL,
    asset       TEXT    NOT NULL,
    cap         BLOB    CHECK (cap IS NULL OR length(cap) = 16),
    per_payment BLOB    CHECK (per_payment IS NULL OR length(per_payment) = 16),
    held        BLOB    NOT NULL CHECK (length(held) = 16),
    posted      BLOB    NOT NULL CHECK (length(posted) = 16),
    used        BLOB    NOT NULL CHECK (length(used) = 16),
    count       INTEGER NOT NULL CHECK (count >= 0),
    body        BLOB    NOT NULL,
    PRIMARY KEY (tenant, id),
    FOREIGN KEY (tenant, parent) REFERENCES budget (tenant, id),
    -- SQLite cannot add 128-bit numbers, but it can compare them; used = held + posted is the verifier's.
    CHECK (used >= held AND used >= posted),
    CHECK (cap IS NULL OR used <= cap)
) STRICT;
CREATE INDEX budget_parent ON budget (tenant, parent) WHERE parent IS NOT NULL;

-- By the record that reserved it; `seq` is the one that speaks of it last, and says all of it. `purchase` is what an
-- open spend stands in the way of.
CREATE TABLE spend (
    tenant   TEXT    NOT NULL,
    held_seq INTEGER NOT NULL,
    id       BLOB    NOT NULL CHECK (length(id) = 32),
    seq      INTEGER NOT NULL CHECK (seq >= held_seq),
    state    TEXT    NOT NULL,
    open     INTEGER NOT NULL CHECK (open IN (0, 1)),
    budget   BLOB    NOT NULL CHECK (length(budget) = 32),
    purchase BLOB    CHECK (length(purchase) = 32),
    PRIMARY KEY (tenant, held_seq),
    UNIQUE (tenant, id),
    CHECK (purchase IS NULL OR open = 1),
    FOREIGN KEY (tenant, seq) REFERENCES journal (tenant, seq),
    FOREIGN KEY (tenant, budget) REFERENCES budget (tenant, id)
) STRICT;
CREATE INDEX spend_open ON spend (tenant, held_seq) WHERE open = 1;
CREATE INDEX spend_purchase ON spend (tenant, purchase) WHERE purchase IS NOT NULL;
CREATE INDEX spend_budget ON spend (tenant, budget, held_seq);

-- The sides of those who are paid or who carry; the primary key is the claim.
CREATE TABLE settlement (
    tenant  TEXT    NOT NULL,
    role    TEXT    NOT NULL,
    network TEXT    NOT NULL,
    asset   TEXT    NOT NULL,
    payer   TEXT    NOT NULL,
    nonce   BLOB    NOT NULL CHECK (length(nonce) = 32),
    state   TEXT    NOT NULL,
    open    INTEGER NOT NULL CHECK (open IN (0, 1)),
    body    BLOB    NOT NULL,
    PRIMARY KEY (tenant, role, network, asset, payer, nonce)
) STRICT;
CREATE INDEX settlement_open ON settlement (tenant) WHERE open = 1;

CREATE TABLE decision (
    tenant   TEXT NOT NULL,
    id       BLOB NOT NULL CHECK (length(id) = 32),
    approver TEXT NOT NULL,
    state    TEXT NOT NULL,
    asked    INTEGER NOT NULL,
    body     BLOB NOT NULL,
    PRIMARY KEY (tenant, id)
) STRICT;
CREATE INDEX decision_approver ON decision (tenant, approver, state, asked);

-- Documents are linked to by digest. The seal covers the kind, which the digest does not.
CREATE TABLE document (
    tenant TEXT NOT NULL,
    digest BLOB NOT NULL CHECK (length(digest) = 32),
    kind   TEXT NOT NULL,
    bytes  BLOB NOT NULL,
    seal   BLOB NOT NULL CHECK (length(seal) = 32),
    PRIMARY KEY (tenant, digest)
) STRICT;

-- Append-only, whoever asks. A trigger before INSERT is needed as well: `INSERT OR REPLACE` deletes without firing the
-- delete trigger where recursive_triggers is off, as it is in the sqlite3 shell.

CREATE TRIGGER journal_update BEFORE UPDATE ON journal
    BEGIN SELECT RAISE(ABORT, 'journal is append-only'); END;
CREATE TRIGGER journal_delete BEFORE DELETE ON journal
    BEGIN SELECT RAISE(ABORT, 'journal is append-only'); END;
CREATE TRIGGER journal_insert BEFORE INSERT ON journal
    WHEN NEW.seq <> (SELECT coalesce(max(seq) + 1, 0) FROM journal WHERE tenant = NEW.tenant)
    BEGIN SELECT RAISE(ABORT, 'journal is append-only: the next record follows the last one'); END;

CREATE TRIGGER spend_record_update BEFORE UPDATE ON spend_record
    BEGIN SELECT RAISE(ABORT, 'spend_record is append-only'); END;
CREATE TRIGGER spend_record_delete BEFORE DELETE ON spend_record
    BEGIN SELECT RAISE(ABORT, 'spend_record is append-only'); END;

CREATE TRIGGER transfer_update BEFORE UPDATE ON transfer
    BEGIN SELECT RAISE(ABORT, 'transfer is append-only'); END;
CREATE TRIGGER transfer_delete BEFORE DELETE ON transfer
    BEGIN SELECT RAISE(ABORT, 'transfer is append-only'); END;
CREATE TRIGGER transfer_insert BEFORE INSERT ON transfer
    WHEN EXISTS (SELECT 1 FROM transfer WHERE tenant = NEW.tenant AND seq = NEW.seq AND leg = NEW.leg)
      OR EXISTS (SELECT 1 FROM transfer WHERE tenant = NEW.tenant AND resolves_seq = NEW.resolves_seq
                                          AND resolves_leg = NEW.resolves_leg)
    BEGIN SELECT RAISE(ABORT, 'transfer is append-only, and one transfer resolves another once'); END;

CREATE TRIGGER claim_update BEFORE UPDATE ON claim
    BEGIN SELECT RAISE(ABORT, 'claim is append-only'); END;
CREATE TRIGGER claim_delete BEFORE DELETE ON claim
    BEGIN SELECT RAISE(ABORT, 'claim is append-only'); END;
CREATE TRIGGER claim_insert BEFORE INSERT ON claim
    WHEN EXISTS (SELECT 1 FROM claim WHERE tenant = NEW.tenant AND key = NEW.key)
    BEGIN SELECT RAISE(ABORT, 'claim is append-only: the key is claimed'); END;

CREATE TRIGGER document_update BEFORE UPDATE ON document
    BEGIN SELECT RAISE(ABORT, 'document is append-only'); END;
CREATE TRIGGER document_delete BEFORE DELETE ON document
    BEGIN SELECT RAISE(ABORT, 'document is append-only'); END;
CREATE TRIGGER document_insert BEFORE INSERT ON document
    WHEN EXISTS (SELECT 1 FROM document WHERE tenant = NEW.tenant AND digest = NEW.digest)
    BEGIN SELECT RAISE(ABORT, 'document is append-only: the digest is there'); END;

CREATE TRIGGER account_update BEFORE UPDATE ON account
    BEGIN SELECT RAISE(ABORT, 'account is append-only'); END;
CREATE TRIGGER account_delete BEFORE DELETE ON account
    BEGIN SELECT RAISE(ABORT, 'account is append-only'); END;
CREATE TRIGGER account_insert BEFORE INSERT ON account
    WHEN EXISTS (SELECT 1 FROM account WHERE tenant = NEW.tenant
                    AND (id = NEW.id OR (name = NEW.name AND asset = NEW.asset)))
    BEGIN SELECT RAISE(ABORT, 'account is append-only'); END;

-- State changes, but never backwards, never in its terms, and never by vanishing.

CREATE TRIGGER head_update BEFORE UPDATE ON head
    WHEN NEW.tenant <> OLD.tenant OR NEW.size <= OLD.size OR NEW.last_at <= OLD.last_at
    BEGIN SELECT RAISE(ABORT, 'head only grows'); END;
CREATE TRIGGER head_delete BEFORE DELETE ON head
    BEGIN SELECT RAISE(ABORT, 'head only grows'); END;
CREATE TRIGGER head_insert BEFORE INSERT ON head
    WHEN EXISTS (SELECT 1 FROM head WHERE tenant = NEW.tenant)
    BEGIN SELECT RAISE(ABORT, 'head only grows'); END;

CREATE TRIGGER budget_update BEFORE UPDATE ON budget
    WHEN NEW.tenant <> OLD.tenant OR NEW.id <> OLD.id OR NEW.parent IS NOT OLD.parent OR NEW.kind <> OLD.kind
      OR NEW.holder <> OLD.holder OR NEW.asset <> OLD.asset
      -- A human agreed to a mandate's; those of a tenant or a person are the configuration's.
      OR ((NEW.cap IS NOT OLD.cap OR NEW.per_payment IS NOT OLD.per_payment)
          AND (OLD.kind = 'mandate' OR NEW.body = OLD.body))
    BEGIN SELECT RAISE(ABORT, 'the terms of a budget never change'); END;
CREATE TRIGGER budget_delete BEFORE DELETE ON budget
    BEGIN SELECT RAISE(ABORT, 'a budget is never removed'); END;

CREATE TRIGGER spend_update BEFORE UPDATE ON spend
    WHEN NEW.tenant <> OLD.tenant OR NEW.held_seq <> OLD.held_seq OR NEW.id <> OLD.id OR NEW.budget <> OLD.budget
      OR NEW.purchase <> OLD.purchase OR NEW.seq < OLD.seq
    BEGIN SELECT RAISE(ABORT, 'the terms of a spend never change, and its records only go on'); END;
CREATE TRIGGER spend_delete BEFORE DELETE ON spend
    BEGIN SELECT RAISE(ABORT, 'a spend is never removed'); END;

CREATE TRIGGER settlement_delete BEFORE DELETE ON settlement
    BEGIN SELECT RAISE(ABORT, 'a settlement is never removed'); END;
CREATE TRIGGER decision_delete BEFORE DELETE ON decision
    BEGIN SELECT RAISE(ABORT, 'a decision is never removed'); END;
