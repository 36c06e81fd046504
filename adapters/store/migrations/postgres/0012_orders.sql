-- additive
-- What was bought in a shop, a row a revision: written with the checkout that it ends, and anew with every change. Nothing
-- that lies here is changed; it is what receivers of order events are told, in this order. It moves no money.

CREATE TABLE shop_order (
    tenant   text    NOT NULL COLLATE "C",
    -- From 1 on, without a gap.
    seq      bigint  NOT NULL CHECK (seq > 0),
    id       text    NOT NULL COLLATE "C",
    -- Of this order, from 1 on: whoever writes names the one behind the one that they read.
    revision bigint  NOT NULL CHECK (revision > 0),
    document bytea   NOT NULL,
    PRIMARY KEY (tenant, seq),
    UNIQUE (tenant, id, revision)
);

-- What shops of others told of what was bought from them. It is what they say, and moves nothing.
CREATE TABLE order_heard (
    tenant   text    NOT NULL COLLATE "C",
    payee    text    NOT NULL COLLATE "C",
    session  text    NOT NULL COLLATE "C",
    -- From 1 on, in the order in which it came.
    number   bigint  NOT NULL CHECK (number > 0),
    -- Of the message: told again, it is the same.
    digest   bytea   NOT NULL CHECK (octet_length(digest) = 32),
    -- Unix seconds.
    at       bigint  NOT NULL,
    document bytea   NOT NULL,
    PRIMARY KEY (tenant, payee, session, number),
    UNIQUE (tenant, digest)
);

-- Whoever was given the right to serve before may write both, too.
DO $$
DECLARE
    serving record;
BEGIN
    FOR serving IN
        SELECT DISTINCT grantee FROM information_schema.role_table_grants
        WHERE table_schema = current_schema() AND table_name = 'checkout' AND privilege_type = 'UPDATE'
          AND grantee <> current_user
    LOOP
        EXECUTE format('GRANT SELECT, INSERT ON shop_order, order_heard TO %I', serving.grantee);
    END LOOP;
END $$;
