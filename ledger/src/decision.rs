//! A question put to a human, and the answer. Bound to one digest, answered once, used once.

use crate::codec::{canon_names, canon_struct};
use crate::id::{BudgetId, DecisionId, Digest, Micros, PrincipalId};

canon_names!(DecisionState { Pending = 1 "pending", Approved = 2 "approved", Denied = 3 "denied" });

canon_names!(
    /// The answer a user gives.
    Answer { Approve = 1 "approve", Deny = 2 "deny" }
);

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    pub id: DecisionId,
    pub state: DecisionState,
    /// SHA-256 of the document that the human is shown; any change to it is another question.
    pub subject: Digest,
    /// The only principal who may answer.
    pub approver: PrincipalId,
    pub requested_by: PrincipalId,
    pub expires_at: Micros,
    /// The record that put the question.
    pub asked: u64,
    /// What it opened: an approval opens one thing, once.
    pub opened: Option<BudgetId>,
}
canon_struct!(Decision { id, state, subject, approver, requested_by, expires_at, asked, opened });
