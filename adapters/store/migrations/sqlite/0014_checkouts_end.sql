-- additive
-- Checkouts come to an end: when each is looked at next, and whom it counts against while it is not bought. A release that
-- does not know the columns leaves them as they were: what is done with a checkout is said by its document.

ALTER TABLE checkout ADD COLUMN due INTEGER;
ALTER TABLE checkout ADD COLUMN opener BLOB;
CREATE INDEX checkout_due    ON checkout (tenant, due);
CREATE INDEX checkout_opener ON checkout (tenant, opener);
