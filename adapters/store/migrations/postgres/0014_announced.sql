-- A release before this one knows no refunds that are announced among the records, and can read neither them nor the payment
-- that they are of: none of them serves beside it.
--
-- Nothing is made: what is announced and has not come stands in the journal, and its payment among those that are looked at.

SELECT 1;
