-- The outbox: what happened, under stable names, durable in the unit of work that it tells of. Whoever delivers events
-- keeps a place in it of their own; nothing is marked here.

CREATE TABLE event (
    tenant  TEXT    NOT NULL,
    seq     INTEGER NOT NULL,
    number  INTEGER NOT NULL CHECK (number >= 0),
    at      INTEGER NOT NULL,
    type    TEXT    NOT NULL,
    subject TEXT    NOT NULL,
    mandate BLOB    CHECK (mandate IS NULL OR length(mandate) = 32),
    PRIMARY KEY (tenant, seq, number),
    FOREIGN KEY (tenant, seq) REFERENCES journal (tenant, seq)
) STRICT, WITHOUT ROWID;

CREATE TRIGGER event_update BEFORE UPDATE ON event
    BEGIN SELECT RAISE(ABORT, 'event is append-only'); END;
CREATE TRIGGER event_delete BEFORE DELETE ON event
    BEGIN SELECT RAISE(ABORT, 'event is append-only'); END;
CREATE TRIGGER event_insert BEFORE INSERT ON event
    WHEN EXISTS (SELECT 1 FROM event WHERE tenant = NEW.tenant AND seq = NEW.seq AND number = NEW.number)
    BEGIN SELECT RAISE(ABORT, 'event is append-only'); END;
