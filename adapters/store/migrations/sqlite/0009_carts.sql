-- Nothing changes in the tables, but in what is claimed: a merchant's cart with its first payment on any rail, and nonces that
-- Permit2 counts under a network's name of their own. A release before this one does neither: beside one that does it would
-- buy a cart again, and could not say what became of such a payment. So none of them serves beside it. Carts that were bought
-- before have no claim.

SELECT 1;
