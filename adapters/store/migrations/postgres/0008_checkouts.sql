-- additive
-- A shop's checkouts, each a document that is written whole, and what was answered under which key. Neither is of the
-- journal: they say what is for sale to whom, and nothing of them moves money.

CREATE TABLE checkout (
    tenant   text   NOT NULL COLLATE "C",
    id       text   NOT NULL COLLATE "C",
    -- How often it was written: whoever writes names the one that they read.
    revision bigint NOT NULL CHECK (revision > 0),
    document bytea  NOT NULL,
    PRIMARY KEY (tenant, id)
);

CREATE TABLE checkout_key (
    tenant      text   NOT NULL COLLATE "C",
    key         bytea  NOT NULL CHECK (octet_length(key) = 32),
    fingerprint bytea  NOT NULL CHECK (octet_length(fingerprint) = 32),
    -- Unix seconds. Old ones are removed.
    at          bigint NOT NULL,
    -- Nothing while it is worked on.
    status      bigint,
    body        bytea,
    PRIMARY KEY (tenant, key),
    CHECK ((status IS NULL) = (body IS NULL))
);
CREATE INDEX checkout_key_at ON checkout_key (tenant, at);
