-- additive
-- Checkouts come to an end: when each is looked at next, and whom it counts against while it is not bought. A release that
-- does not know the columns leaves them as they were: what is done with a checkout is said by its document.

ALTER TABLE checkout ADD COLUMN due    bigint;
ALTER TABLE checkout ADD COLUMN opener bytea;
CREATE INDEX checkout_due    ON checkout (tenant, due);
CREATE INDEX checkout_opener ON checkout (tenant, opener);

-- Whoever was given the right to serve before may take old ones out, too.
DO $$
DECLARE
    serving record;
BEGIN
    FOR serving IN
        SELECT DISTINCT grantee FROM information_schema.role_table_grants
        WHERE table_schema = current_schema() AND table_name = 'checkout' AND privilege_type = 'UPDATE'
          AND grantee <> current_user
    LOOP
        EXECUTE format('GRANT DELETE ON checkout TO %I', serving.grantee);
    END LOOP;
END $$;
