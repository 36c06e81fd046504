-- A release before this one knows neither calls of an escrow among the settlements nor questions about a payment, and would
-- follow the first as transfers and answer the second as if it were about a mandate: none of them serves beside it.
--
-- How far each receiver of events was told. What happened is in the journal; this is a place in it.

CREATE TABLE webhook (
    tenant      text   NOT NULL COLLATE "C",
    name        text   NOT NULL COLLATE "C",
    -- The next event: its record, and its place among that record's events.
    next_seq    bigint NOT NULL CHECK (next_seq >= 0),
    next_number bigint NOT NULL CHECK (next_number BETWEEN 0 AND 65535),
    -- Attempts in a row that failed.
    failures    bigint NOT NULL CHECK (failures BETWEEN 0 AND 4294967295),
    -- Unix microseconds. Not before; whoever delivers puts it off meanwhile.
    due_at      bigint NOT NULL,
    PRIMARY KEY (tenant, name)
);
