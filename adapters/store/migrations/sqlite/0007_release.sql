-- Which releases may serve this schema: those whose newest migration is this one or a later one. `migrate` raises it before
-- it changes what an older release relies on, and every unit of work reads it.

CREATE TABLE release (
    id          INTEGER PRIMARY KEY CHECK (id = 1),
    serves_from INTEGER NOT NULL
) STRICT;
INSERT INTO release (id, serves_from) VALUES (1, 0);
