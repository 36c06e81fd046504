-- When a node of a recurring mandate was last used, in microseconds since 1970; the node's body says it too. What is recorded
-- of such a mandate no release before this one can read, so none of them serves beside it.

ALTER TABLE budget ADD COLUMN last_use bigint CHECK (last_use IS NULL OR count > 0);
