-- additive
-- What the console looks for: the mandates of an agent, and the payments that came to nothing. An index for each, over few
-- rows: what is paid as it should be writes into neither after its mandate was opened.

CREATE INDEX budget_holder ON budget (tenant, holder) WHERE kind = 'mandate';
CREATE INDEX spend_ended ON spend (tenant, state, held_seq)
    WHERE state IN ('voided', 'expired', 'released', 'spent_otherwise');
