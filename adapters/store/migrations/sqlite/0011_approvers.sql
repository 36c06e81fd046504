-- What people prove themselves with on the pages. A release before this one would take a bare token where a tenant demands a
-- passkey, and cannot read what is written of a decision that was signed with one: none of them serves beside it.

CREATE TABLE passkey (
    credential BLOB    NOT NULL PRIMARY KEY CHECK (length(credential) BETWEEN 1 AND 1023),
    tenant     TEXT    NOT NULL,
    principal  TEXT    NOT NULL,
    -- COSE_Key
    key        BLOB    NOT NULL,
    sign_count INTEGER NOT NULL CHECK (sign_count BETWEEN 0 AND 4294967295),
    created_at INTEGER NOT NULL
) STRICT;
CREATE INDEX passkey_owner ON passkey (tenant, principal);

CREATE TRIGGER passkey_update BEFORE UPDATE ON passkey
    WHEN NEW.credential <> OLD.credential OR NEW.tenant <> OLD.tenant OR NEW.principal <> OLD.principal
      OR NEW.key <> OLD.key OR NEW.created_at <> OLD.created_at OR NEW.sign_count < OLD.sign_count
    BEGIN SELECT RAISE(ABORT, 'a passkey never changes, and its counter never falls'); END;

-- By digest: whoever reads the database can use none of them.
CREATE TABLE one_time_code (
    digest     BLOB    NOT NULL PRIMARY KEY CHECK (length(digest) = 32),
    purpose    TEXT    NOT NULL,
    tenant     TEXT,
    principal  TEXT,
    expires_at INTEGER NOT NULL,
    CHECK ((tenant IS NULL) = (principal IS NULL))
) STRICT;
CREATE INDEX one_time_code_end ON one_time_code (expires_at);

CREATE TABLE page_session (
    digest     BLOB    NOT NULL PRIMARY KEY CHECK (length(digest) = 32),
    tenant     TEXT    NOT NULL,
    principal  TEXT    NOT NULL,
    credential BLOB    NOT NULL,
    expires_at INTEGER NOT NULL
) STRICT;
CREATE INDEX page_session_end ON page_session (expires_at);
CREATE INDEX page_session_passkey ON page_session (credential);
