-- A release before this one knows no reviews among the decisions, and cannot read what is written of them: none of them
-- serves beside it.
--
-- Payments that somebody is to look at after they went: until when, while that time runs; and all of them, by how they stand.

ALTER TABLE decision ADD COLUMN due_at bigint;
CREATE INDEX decision_due ON decision (tenant, due_at) WHERE due_at IS NOT NULL;
CREATE INDEX decision_review ON decision (tenant, state, asked)
    WHERE state IN ('in_review', 'confirmed', 'disputed', 'overdue');
