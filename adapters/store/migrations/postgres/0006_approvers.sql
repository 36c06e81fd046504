-- What people prove themselves with on the pages. A release before this one would take a bare token where a tenant demands a
-- passkey, and cannot read what is written of a decision that was signed with one: none of them serves beside it.

CREATE TABLE passkey (
    credential bytea  NOT NULL PRIMARY KEY CHECK (octet_length(credential) BETWEEN 1 AND 1023),
    tenant     text   NOT NULL COLLATE "C",
    principal  text   NOT NULL COLLATE "C",
    -- COSE_Key
    key        bytea  NOT NULL,
    sign_count bigint NOT NULL CHECK (sign_count BETWEEN 0 AND 4294967295),
    created_at bigint NOT NULL
);
CREATE INDEX passkey_owner ON passkey (tenant, principal);

CREATE TRIGGER passkey_change BEFORE UPDATE ON passkey FOR EACH ROW
    WHEN (NEW.credential <> OLD.credential OR NEW.tenant <> OLD.tenant OR NEW.principal <> OLD.principal
       OR NEW.key <> OLD.key OR NEW.created_at <> OLD.created_at OR NEW.sign_count < OLD.sign_count)
    EXECUTE FUNCTION refuse_change('a passkey never changes, and its counter never falls');
ALTER TABLE passkey ENABLE ALWAYS TRIGGER passkey_change;

-- By digest: whoever reads the database can use none of them.
CREATE TABLE one_time_code (
    digest     bytea  NOT NULL PRIMARY KEY CHECK (octet_length(digest) = 32),
    purpose    text   NOT NULL,
    tenant     text   COLLATE "C",
    principal  text   COLLATE "C",
    expires_at bigint NOT NULL,
    CHECK ((tenant IS NULL) = (principal IS NULL))
);
CREATE INDEX one_time_code_end ON one_time_code (expires_at);

CREATE TABLE page_session (
    digest     bytea  NOT NULL PRIMARY KEY CHECK (octet_length(digest) = 32),
    tenant     text   NOT NULL COLLATE "C",
    principal  text   NOT NULL COLLATE "C",
    credential bytea  NOT NULL,
    expires_at bigint NOT NULL
);
CREATE INDEX page_session_end ON page_session (expires_at);
CREATE INDEX page_session_passkey ON page_session (credential);
