-- The books of every tenant, as in SQLite's schema beside this one: the same tables, the same columns, the same cells, so
-- that the same commands give the same rows and the same root. What is money is append-only, and the database itself
-- says so; what is state (head, budget, spend, settlement, decision, gate, account_balance) is a projection of the
-- journal that `verify` rebuilds.
--
-- The journal holds each thing once; claims and spends are indexes into it, as small as finding it takes.
--
-- Amounts are 16 bytes, big-endian, as in the journal: the order of the bytes is the order of the numbers. Where a rule
-- adds, it adds as NUMERIC, in `amount_number`, which takes exactly what is an amount.

CREATE FUNCTION amount_number(amount bytea) RETURNS numeric LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
RETURN ((get_byte(amount, 0)::bigint << 48) | (get_byte(amount, 1)::bigint << 40) | (get_byte(amount, 2)::bigint << 32)
      | (get_byte(amount, 3)::bigint << 24) | (get_byte(amount, 4)::bigint << 16) | (get_byte(amount, 5)::bigint << 8)
      | get_byte(amount, 6)::bigint)::numeric * 4722366482869645213696
     + ((get_byte(amount, 7)::bigint << 24) | (get_byte(amount, 8)::bigint << 16) | (get_byte(amount, 9)::bigint << 8)
      | get_byte(amount, 10)::bigint)::numeric * 1099511627776
     + ((get_byte(amount, 11)::bigint << 32) | (get_byte(amount, 12)::bigint << 24) | (get_byte(amount, 13)::bigint << 16)
      | (get_byte(amount, 14)::bigint << 8) | get_byte(amount, 15)::bigint)::numeric;

-- The trigger's argument is the sentence.
CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION USING ERRCODE = 'restrict_violation', MESSAGE = TG_ARGV[0];
END $$;

CREATE FUNCTION journal_is_dense() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (
        SELECT 1 FROM (SELECT tenant, min(seq) AS first, max(seq) AS last, count(*) AS n FROM added GROUP BY tenant) a
        WHERE a.last - a.first + 1 <> a.n
           OR (a.first > 0 AND NOT EXISTS (SELECT 1 FROM journal j WHERE j.tenant = a.tenant AND j.seq = a.first - 1))
    ) THEN
        RAISE EXCEPTION USING ERRCODE = 'restrict_violation',
            MESSAGE = 'journal is append-only: the next record follows the last one';
    END IF;
    RETURN NULL;
END $$;

-- References of what is append-only on both ends are held by these, once a statement: the engine's own foreign keys ask once
-- a row, which is half of the work of a unit, and are switched off where triggers replay what was decided elsewhere.

CREATE FUNCTION record_is_there() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    -- A journal has no gaps: where the first and the last are, all between are.
    IF EXISTS (SELECT 1 FROM (SELECT tenant, min(seq) AS first, max(seq) AS last FROM added GROUP BY tenant) a
        WHERE a.first < 0 OR NOT EXISTS (
            SELECT 1 FROM journal j WHERE j.tenant = a.tenant AND j.seq = a.last OFFSET 0)) THEN
        RAISE EXCEPTION USING ERRCODE = 'foreign_key_violation', MESSAGE = TG_TABLE_NAME || ' speaks of a record that is not there';
    END IF;
    RETURN NULL;
END $$;

CREATE FUNCTION accounts_are_there() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (
        SELECT 1 FROM (SELECT tenant, debit AS id, asset FROM added UNION SELECT tenant, credit, asset FROM added) a
        WHERE NOT EXISTS (
            SELECT 1 FROM account t WHERE t.tenant = a.tenant AND t.id = a.id AND t.asset = a.asset OFFSET 0)) THEN
        RAISE EXCEPTION USING ERRCODE = 'foreign_key_violation', MESSAGE = 'a transfer moves what is in no account of its asset';
    END IF;
    RETURN NULL;
END $$;

CREATE FUNCTION budgets_are_there() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT 1 FROM (SELECT DISTINCT tenant, budget FROM added) a WHERE NOT EXISTS (
        SELECT 1 FROM budget b WHERE b.tenant = a.tenant AND b.id = a.budget OFFSET 0)) THEN
        RAISE EXCEPTION USING ERRCODE = 'foreign_key_violation', MESSAGE = TG_TABLE_NAME || ' speaks of a budget that is not there';
    END IF;
    RETURN NULL;
END $$;

-- Its row is the tenant's lock: locked first, whatever a unit of work does. A size of 0 is a row made to be locked.
CREATE TABLE head (
    tenant   text   NOT NULL COLLATE "C" PRIMARY KEY,
    size     bigint NOT NULL CHECK (size >= 0),
    frontier bytea  NOT NULL,
    root     bytea  NOT NULL CHECK (octet_length(root) = 32),
    last_at  bigint NOT NULL
);

-- Which units of work were committed, so that one whose answer to COMMIT was lost is found and never guessed.
CREATE TABLE unit (
    tenant text   NOT NULL COLLATE "C",
    id     bytea  NOT NULL CHECK (octet_length(id) = 16),
    size   bigint NOT NULL CHECK (size >= 0),
    PRIMARY KEY (tenant, id)
);

-- Where this database was last at home, by a name that a copy of it does not have. A book that wakes up elsewhere may not
-- know what was paid since, and starts behind its fence.
CREATE TABLE home (
    id   bigint PRIMARY KEY CHECK (id = 1),
    name text   NOT NULL
);

CREATE TABLE journal (
    tenant text   NOT NULL COLLATE "C",
    seq    bigint NOT NULL CHECK (seq >= 0),
    bytes  bytea  NOT NULL,
    leaf   bytea  NOT NULL CHECK (octet_length(leaf) = 32),
    PRIMARY KEY (tenant, seq)
);

-- Which later records speak of the spend that a record reserved.
CREATE TABLE spend_record (
    tenant   text   NOT NULL COLLATE "C",
    held_seq bigint NOT NULL,
    seq      bigint NOT NULL CHECK (seq > held_seq),
    PRIMARY KEY (tenant, held_seq, seq)
);

CREATE TABLE account (
    tenant text   NOT NULL COLLATE "C",
    id     bigint NOT NULL CHECK (id > 0),
    name   text   NOT NULL COLLATE "C",
    asset  text   NOT NULL COLLATE "C",
    PRIMARY KEY (tenant, id),
    UNIQUE (tenant, name, asset),
    UNIQUE (tenant, id, asset)
);

CREATE TABLE account_balance (
    tenant         text   NOT NULL COLLATE "C",
    account        bigint NOT NULL,
    debit_posted   bytea  NOT NULL CHECK (octet_length(debit_posted) = 16),
    credit_posted  bytea  NOT NULL CHECK (octet_length(credit_posted) = 16),
    debit_pending  bytea  NOT NULL CHECK (octet_length(debit_pending) = 16),
    credit_pending bytea  NOT NULL CHECK (octet_length(credit_pending) = 16),
    PRIMARY KEY (tenant, account),
    FOREIGN KEY (tenant, account) REFERENCES account (tenant, id)
) WITH (fillfactor = 50);

-- One row is one transfer: it balances because it cannot be written otherwise. Both accounts are of its asset.
CREATE TABLE transfer (
    tenant          text   NOT NULL COLLATE "C",
    seq             bigint NOT NULL,
    leg             bigint NOT NULL CHECK (leg >= 0),
    code            text   NOT NULL,
    debit           bigint NOT NULL,
    credit          bigint NOT NULL,
    asset           text   NOT NULL COLLATE "C",
    amount          bytea  NOT NULL CHECK (octet_length(amount) = 16 AND amount > '\x00000000000000000000000000000000'),
    layer           text   NOT NULL CHECK (layer IN ('pending', 'posted', 'void')),
    resolves_seq    bigint,
    resolves_leg    bigint,
    resolves_amount bytea  CHECK (resolves_amount IS NULL OR octet_length(resolves_amount) = 16),
    PRIMARY KEY (tenant, seq, leg),
    FOREIGN KEY (tenant, resolves_seq, resolves_leg) REFERENCES transfer (tenant, seq, leg),
    CHECK (debit <> credit),
    CHECK ((resolves_seq IS NULL) = (resolves_leg IS NULL) AND (resolves_seq IS NULL) = (resolves_amount IS NULL)),
    CHECK (layer <> 'void' OR resolves_seq IS NOT NULL),
    CHECK (layer <> 'pending' OR resolves_seq IS NULL)
);
CREATE UNIQUE INDEX transfer_resolves ON transfer (tenant, resolves_seq, resolves_leg) WHERE resolves_seq IS NOT NULL;

-- First come, for ever: the key by digest, the record that says what for, and the text of a refusal that is kept. An
-- authorization of the wallet is a key as well: "never twice", by the database itself.
CREATE TABLE claim (
    tenant    text   NOT NULL COLLATE "C",
    key       bytea  NOT NULL CHECK (octet_length(key) = 32),
    seq       bigint NOT NULL,
    rejection text,
    PRIMARY KEY (tenant, key)
);

CREATE TABLE budget (
    tenant      text   NOT NULL COLLATE "C",
    id          bytea  NOT NULL CHECK (octet_length(id) = 32),
    parent      bytea  CHECK (parent IS NULL OR octet_length(parent) = 32),
    kind        text   NOT NULL,
    state       text   NOT NULL,
    holder      text   NOT NULL,
    asset       text   NOT NULL,
    cap         bytea  CHECK (cap IS NULL OR octet_length(cap) = 16),
    per_payment bytea  CHECK (per_payment IS NULL OR octet_length(per_payment) = 16),
    held        bytea  NOT NULL CHECK (octet_length(held) = 16),
    posted      bytea  NOT NULL CHECK (octet_length(posted) = 16),
    used        bytea  NOT NULL CHECK (octet_length(used) = 16),
    count       bigint NOT NULL CHECK (count >= 0),
    body        bytea  NOT NULL,
    PRIMARY KEY (tenant, id),
    FOREIGN KEY (tenant, parent) REFERENCES budget (tenant, id),
    -- Headroom is never negative, by the database itself.
    CHECK (amount_number(held) + amount_number(posted) = amount_number(used)),
    CHECK (cap IS NULL OR amount_number(used) <= amount_number(cap))
) WITH (fillfactor = 50);
CREATE INDEX budget_parent ON budget (tenant, parent) WHERE parent IS NOT NULL;

-- What was reserved and paid in one period of one limit of a node, and to whom where the limit is for each payee ('' where it
-- is not).
CREATE TABLE budget_window (
    tenant text   NOT NULL COLLATE "C",
    budget bytea  NOT NULL CHECK (octet_length(budget) = 32),
    number bigint NOT NULL CHECK (number >= 0),
    payee  text   NOT NULL COLLATE "C",
    place  bigint NOT NULL,
    cap    bytea  CHECK (cap IS NULL OR octet_length(cap) = 16),
    held   bytea  NOT NULL CHECK (octet_length(held) = 16),
    posted bytea  NOT NULL CHECK (octet_length(posted) = 16),
    used   bytea  NOT NULL CHECK (octet_length(used) = 16),
    most   bigint,
    count  bigint NOT NULL CHECK (count >= 0),
    PRIMARY KEY (tenant, budget, number, payee, place),
    FOREIGN KEY (tenant, budget) REFERENCES budget (tenant, id),
    CHECK (amount_number(held) + amount_number(posted) = amount_number(used)),
    CHECK (cap IS NULL OR amount_number(used) <= amount_number(cap)),
    CHECK (most IS NULL OR count <= most)
) WITH (fillfactor = 50);

-- By the record that reserved it; `seq` is the one that speaks of it last, and says all of it. `purchase` is what an
-- open spend stands in the way of. (Named only then: an index that another condition than `open = 1` leads to is one
-- that a planner without figures does not mistake for `spend_open`.)
CREATE TABLE spend (
    tenant   text   NOT NULL COLLATE "C",
    held_seq bigint NOT NULL,
    id       bytea  NOT NULL CHECK (octet_length(id) = 32),
    seq      bigint NOT NULL CHECK (seq >= held_seq),
    state    text   NOT NULL,
    open     bigint NOT NULL CHECK (open IN (0, 1)),
    budget   bytea  NOT NULL CHECK (octet_length(budget) = 32),
    purchase bytea  CHECK (octet_length(purchase) = 32),
    PRIMARY KEY (tenant, held_seq),
    UNIQUE (tenant, id),
    CHECK (purchase IS NULL OR open = 1)
);
CREATE INDEX spend_open ON spend (tenant, held_seq) WHERE open = 1;
CREATE INDEX spend_purchase ON spend (tenant, purchase) WHERE purchase IS NOT NULL;
CREATE INDEX spend_budget ON spend (tenant, budget, held_seq);

-- The sides of those who are paid or who carry; the primary key is the claim.
CREATE TABLE settlement (
    place   bigint NOT NULL GENERATED ALWAYS AS IDENTITY,
    tenant  text   NOT NULL COLLATE "C",
    role    text   NOT NULL COLLATE "C",
    network text   NOT NULL COLLATE "C",
    asset   text   NOT NULL COLLATE "C",
    payer   text   NOT NULL COLLATE "C",
    nonce   bytea  NOT NULL CHECK (octet_length(nonce) = 32),
    state   text   NOT NULL,
    open    bigint NOT NULL CHECK (open IN (0, 1)),
    body    bytea  NOT NULL,
    PRIMARY KEY (tenant, role, network, asset, payer, nonce)
);
CREATE INDEX settlement_open ON settlement (tenant, place) WHERE open = 1;

CREATE TABLE decision (
    tenant   text   NOT NULL COLLATE "C",
    id       bytea  NOT NULL CHECK (octet_length(id) = 32),
    approver text   NOT NULL,
    state    text   NOT NULL,
    asked    bigint NOT NULL,
    body     bytea  NOT NULL,
    PRIMARY KEY (tenant, id)
);
CREATE INDEX decision_approver ON decision (tenant, approver, state, asked);

-- What a human stopped.
CREATE TABLE gate (
    tenant text  NOT NULL COLLATE "C",
    scope  text  NOT NULL COLLATE "C",
    state  text  NOT NULL,
    body   bytea NOT NULL,
    PRIMARY KEY (tenant, scope)
);

-- Documents are linked to by digest. The seal covers the kind, which the digest does not.
CREATE TABLE document (
    tenant text  NOT NULL COLLATE "C",
    digest bytea NOT NULL CHECK (octet_length(digest) = 32),
    kind   text  NOT NULL,
    bytes  bytea NOT NULL,
    seal   bytea NOT NULL CHECK (octet_length(seal) = 32),
    PRIMARY KEY (tenant, digest)
);

-- Keys, sealed elsewhere: what lies here opens with the master key only, which the database never sees.
CREATE TABLE sealed_key (
    tenant     text   NOT NULL COLLATE "C",
    purpose    text   NOT NULL COLLATE "C",
    kid        text   NOT NULL COLLATE "C",
    state      text   NOT NULL CHECK (state IN ('active', 'retired', 'revoked')),
    created_at bigint NOT NULL,
    ended_at   bigint,
    master     text   NOT NULL,
    data_key   bytea  NOT NULL,
    secret     bytea  NOT NULL,
    PRIMARY KEY (tenant, purpose, kid),
    CHECK ((state = 'active') = (ended_at IS NULL))
);
CREATE UNIQUE INDEX sealed_key_active ON sealed_key (tenant, purpose) WHERE state = 'active';

-- Append-only, whoever asks, and whatever the session's replication role is (ENABLE ALWAYS).

DO $$
DECLARE name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['journal', 'spend_record', 'transfer', 'claim', 'document', 'account', 'unit'] LOOP
        EXECUTE format('CREATE TRIGGER %I BEFORE UPDATE OR DELETE OR TRUNCATE ON %I FOR EACH STATEMENT
                        EXECUTE FUNCTION refuse_change(%L)', name || '_change', name, name || ' is append-only');
        EXECUTE format('ALTER TABLE %I ENABLE ALWAYS TRIGGER %I', name, name || '_change');
    END LOOP;
    FOREACH name IN ARRAY ARRAY['head', 'account_balance', 'budget', 'budget_window', 'spend', 'settlement', 'decision', 'gate', 'sealed_key'] LOOP
        EXECUTE format('CREATE TRIGGER %I BEFORE DELETE OR TRUNCATE ON %I FOR EACH STATEMENT
                        EXECUTE FUNCTION refuse_change(%L)', name || '_removal', name, 'a row of ' || name || ' is never removed');
        EXECUTE format('ALTER TABLE %I ENABLE ALWAYS TRIGGER %I', name, name || '_removal');
    END LOOP;
END $$;

CREATE TRIGGER journal_dense AFTER INSERT ON journal REFERENCING NEW TABLE AS added FOR EACH STATEMENT
    EXECUTE FUNCTION journal_is_dense();
ALTER TABLE journal ENABLE ALWAYS TRIGGER journal_dense;

DO $$
DECLARE name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['spend_record', 'transfer', 'claim', 'spend'] LOOP
        EXECUTE format('CREATE TRIGGER %I AFTER INSERT ON %I REFERENCING NEW TABLE AS added FOR EACH STATEMENT
                        EXECUTE FUNCTION record_is_there()', name || '_record', name);
        EXECUTE format('ALTER TABLE %I ENABLE ALWAYS TRIGGER %I', name, name || '_record');
    END LOOP;
END $$;

CREATE TRIGGER spend_budgets AFTER INSERT ON spend REFERENCING NEW TABLE AS added FOR EACH STATEMENT
    EXECUTE FUNCTION budgets_are_there();
ALTER TABLE spend ENABLE ALWAYS TRIGGER spend_budgets;

CREATE TRIGGER spend_moved AFTER UPDATE ON spend REFERENCING NEW TABLE AS added FOR EACH STATEMENT
    EXECUTE FUNCTION record_is_there();
ALTER TABLE spend ENABLE ALWAYS TRIGGER spend_moved;

CREATE TRIGGER transfer_accounts AFTER INSERT ON transfer REFERENCING NEW TABLE AS added FOR EACH STATEMENT
    EXECUTE FUNCTION accounts_are_there();
ALTER TABLE transfer ENABLE ALWAYS TRIGGER transfer_accounts;

-- State changes, but never backwards and never in its terms.

CREATE TRIGGER head_change BEFORE UPDATE ON head FOR EACH ROW
    WHEN (NEW.tenant <> OLD.tenant OR NEW.size <= OLD.size OR NEW.last_at <= OLD.last_at)
    EXECUTE FUNCTION refuse_change('head only grows');
ALTER TABLE head ENABLE ALWAYS TRIGGER head_change;

CREATE TRIGGER budget_change BEFORE UPDATE ON budget FOR EACH ROW
    WHEN (NEW.tenant <> OLD.tenant OR NEW.id <> OLD.id OR NEW.parent IS DISTINCT FROM OLD.parent OR NEW.kind <> OLD.kind
       OR NEW.holder <> OLD.holder OR NEW.asset <> OLD.asset
       -- A human agreed to a mandate's; those of a tenant or a person are the configuration's.
       OR ((NEW.cap IS DISTINCT FROM OLD.cap OR NEW.per_payment IS DISTINCT FROM OLD.per_payment)
           AND (OLD.kind = 'mandate' OR NEW.body = OLD.body)))
    EXECUTE FUNCTION refuse_change('the terms of a budget never change');
ALTER TABLE budget ENABLE ALWAYS TRIGGER budget_change;

CREATE TRIGGER budget_window_change BEFORE UPDATE ON budget_window FOR EACH ROW
    WHEN (NEW.tenant <> OLD.tenant OR NEW.budget <> OLD.budget OR NEW.number <> OLD.number OR NEW.payee <> OLD.payee
       OR NEW.place <> OLD.place
       -- A limit that was changed is written with the next payment that moves the window.
       OR ((NEW.cap IS DISTINCT FROM OLD.cap OR NEW.most IS DISTINCT FROM OLD.most)
           AND NEW.held = OLD.held AND NEW.posted = OLD.posted AND NEW.count = OLD.count))
    EXECUTE FUNCTION refuse_change('the terms of a window change with its figures only');
ALTER TABLE budget_window ENABLE ALWAYS TRIGGER budget_window_change;

CREATE TRIGGER spend_change BEFORE UPDATE ON spend FOR EACH ROW
    WHEN (NEW.tenant <> OLD.tenant OR NEW.held_seq <> OLD.held_seq OR NEW.id <> OLD.id OR NEW.budget <> OLD.budget
       -- Null where it is closed: no change of terms.
       OR NEW.purchase <> OLD.purchase OR NEW.seq < OLD.seq)
    EXECUTE FUNCTION refuse_change('the terms of a spend never change, and its records only go on');
ALTER TABLE spend ENABLE ALWAYS TRIGGER spend_change;

CREATE TRIGGER settlement_change BEFORE UPDATE ON settlement FOR EACH ROW
    WHEN (NEW.tenant <> OLD.tenant OR NEW.role <> OLD.role OR NEW.network <> OLD.network OR NEW.asset <> OLD.asset
       OR NEW.payer <> OLD.payer OR NEW.nonce <> OLD.nonce)
    EXECUTE FUNCTION refuse_change('the name of a settlement never changes');
ALTER TABLE settlement ENABLE ALWAYS TRIGGER settlement_change;

CREATE TRIGGER sealed_key_change BEFORE UPDATE ON sealed_key FOR EACH ROW
    WHEN (NEW.tenant <> OLD.tenant OR NEW.purpose <> OLD.purpose OR NEW.kid <> OLD.kid
       OR NEW.created_at <> OLD.created_at OR NEW.secret <> OLD.secret
       OR (OLD.state <> 'active' AND NEW.state = 'active') OR (OLD.state = 'revoked' AND NEW.state <> 'revoked'))
    EXECUTE FUNCTION refuse_change('a key never changes, and an ended one never comes back');
ALTER TABLE sealed_key ENABLE ALWAYS TRIGGER sealed_key_change;
