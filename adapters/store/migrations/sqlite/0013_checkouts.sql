-- additive
-- A shop's checkouts, each a document that is written whole, and what was answered under which key. Neither is of the
-- journal: they say what is for sale to whom, and nothing of them moves money.

CREATE TABLE checkout (
    tenant   TEXT    NOT NULL,
    id       TEXT    NOT NULL,
    -- How often it was written: whoever writes names the one that they read.
    revision INTEGER NOT NULL CHECK (revision > 0),
    document BLOB    NOT NULL,
    PRIMARY KEY (tenant, id)
) STRICT;

CREATE TABLE checkout_key (
    tenant      TEXT    NOT NULL,
    key         BLOB    NOT NULL CHECK (length(key) = 32),
    fingerprint BLOB    NOT NULL CHECK (length(fingerprint) = 32),
    -- Unix seconds. Old ones are removed.
    at          INTEGER NOT NULL,
    -- Nothing while it is worked on.
    status      INTEGER,
    body        BLOB,
    PRIMARY KEY (tenant, key),
    CHECK ((status IS NULL) = (body IS NULL))
) STRICT;
CREATE INDEX checkout_key_at ON checkout_key (tenant, at);
