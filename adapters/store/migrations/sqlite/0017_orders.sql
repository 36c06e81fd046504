-- additive
-- What was bought in a shop, a row a revision: written with the checkout that it ends, and anew with every change. Nothing
-- that lies here is changed; it is what receivers of order events are told, in this order. It moves no money.

CREATE TABLE shop_order (
    tenant   TEXT    NOT NULL,
    -- From 1 on, without a gap.
    seq      INTEGER NOT NULL CHECK (seq > 0),
    id       TEXT    NOT NULL,
    -- Of this order, from 1 on: whoever writes names the one behind the one that they read.
    revision INTEGER NOT NULL CHECK (revision > 0),
    document BLOB    NOT NULL,
    PRIMARY KEY (tenant, seq),
    UNIQUE (tenant, id, revision)
) STRICT;

-- What shops of others told of what was bought from them. It is what they say, and moves nothing.
CREATE TABLE order_heard (
    tenant   TEXT    NOT NULL,
    payee    TEXT    NOT NULL,
    session  TEXT    NOT NULL,
    -- From 1 on, in the order in which it came.
    number   INTEGER NOT NULL CHECK (number > 0),
    -- Of the message: told again, it is the same.
    digest   BLOB    NOT NULL CHECK (length(digest) = 32),
    -- Unix seconds.
    at       INTEGER NOT NULL,
    document BLOB    NOT NULL,
    PRIMARY KEY (tenant, payee, session, number),
    UNIQUE (tenant, digest)
) STRICT;
