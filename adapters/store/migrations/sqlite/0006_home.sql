-- Where this database was last at home, by a name that a copy of it does not have. A book that wakes up elsewhere may not
-- know what was paid since, and starts behind its fence.

CREATE TABLE home (
    id   INTEGER PRIMARY KEY CHECK (id = 1),
    name TEXT    NOT NULL
) STRICT;
