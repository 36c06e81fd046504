-- Keys, sealed elsewhere: what lies here opens with the master key only, which the database never sees. A key is named
-- by tenant, purpose and kid; all three, the state and the times are authenticated by the seal of the data key.

CREATE TABLE sealed_key (
    tenant     TEXT    NOT NULL,
    purpose    TEXT    NOT NULL,
    kid        TEXT    NOT NULL,
    state      TEXT    NOT NULL CHECK (state IN ('active', 'retired', 'revoked')),
    created_at INTEGER NOT NULL,
    ended_at   INTEGER,
    -- The id of the master key that seals the data key.
    master     TEXT    NOT NULL,
    data_key   BLOB    NOT NULL,
    secret     BLOB    NOT NULL,
    PRIMARY KEY (tenant, purpose, kid),
    CHECK ((state = 'active') = (ended_at IS NULL))
) STRICT;
CREATE UNIQUE INDEX sealed_key_active ON sealed_key (tenant, purpose) WHERE state = 'active';

CREATE TRIGGER sealed_key_update BEFORE UPDATE ON sealed_key
    WHEN NEW.tenant <> OLD.tenant OR NEW.purpose <> OLD.purpose OR NEW.kid <> OLD.kid
      OR NEW.created_at <> OLD.created_at OR NEW.secret <> OLD.secret
      OR (OLD.state <> 'active' AND NEW.state = 'active') OR (OLD.state = 'revoked' AND NEW.state <> 'revoked')
    BEGIN SELECT RAISE(ABORT, 'a key never changes, and an ended one never comes back'); END;
CREATE TRIGGER sealed_key_delete BEFORE DELETE ON sealed_key
    BEGIN SELECT RAISE(ABORT, 'a key is never removed'); END;
