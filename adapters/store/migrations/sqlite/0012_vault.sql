-- Vault tokens are spends of a rail that no release before this one knows: it would look for them on a chain. So none of
-- them serves beside it. Their rows are those of every spend; cards lie sealed among the documents.

SELECT 1;
