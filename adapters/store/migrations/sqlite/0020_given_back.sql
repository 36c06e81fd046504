-- A release before this one knows neither channels nor sign-ins, no signed receipts of sellers and nothing that a seller gave
-- back among the records, and can read none of them: none of them serves beside it.
--
-- Nothing is made: all of it stands in the journal.

SELECT 1;
