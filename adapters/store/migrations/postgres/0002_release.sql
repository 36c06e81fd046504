-- Which releases may serve this schema: those whose newest migration is this one or a later one. `migrate` raises it before
-- it changes what an older release relies on, and every unit of work reads it.

CREATE TABLE release (
    id          bigint PRIMARY KEY CHECK (id = 1),
    serves_from bigint NOT NULL
);
INSERT INTO release (id, serves_from) VALUES (1, 0);
