-- What of a payer's is not over, for a claim that reads it all: what is signed beside it, what was given and is not paid. What
-- was given before it was paid no release before this one can read, so none of them serves beside it.

CREATE INDEX settlement_payer ON settlement (tenant, role, asset, payer) WHERE open = 1 AND state <> 'settled';
