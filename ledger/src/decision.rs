//! A question put to a human, and the answer. Bound to one digest, answered once, used once. And a payment that a human is
//! to look at after it went: the same row, in states of its own.

use crate::codec::{canon_names, canon_struct};
use crate::id::{BudgetId, DecisionId, Digest, Micros, PrincipalId};

canon_names!(DecisionState {
    Pending = 1 "pending",
    Approved = 2 "approved",
    Denied = 3 "denied",
    /// Of a payment that went, and is to be looked at.
    InReview = 4 "in_review",
    Confirmed = 5 "confirmed",
    Disputed = 6 "disputed",
    /// Nobody looked in time. It can still be answered.
    Overdue = 7 "overdue",
});

impl DecisionState {
    /// What becomes of a review; no question has these.
    pub const REVIEWS: [Self; 4] = [Self::InReview, Self::Overdue, Self::Disputed, Self::Confirmed];

    pub const fn is_review(self) -> bool {
        match self {
            Self::InReview | Self::Confirmed | Self::Disputed | Self::Overdue => true,
            Self::Pending | Self::Approved | Self::Denied => false,
        }
    }

    /// A review that nobody has answered.
    pub const fn is_unreviewed(self) -> bool {
        matches!(self, Self::InReview | Self::Overdue)
    }
}

canon_names!(
    /// What somebody finds who looks at a payment after it went.
    Finding { Fine = 1 "fine", Dispute = 2 "dispute" }
);

impl Finding {
    pub const fn state(self) -> DecisionState {
        match self {
            Self::Fine => DecisionState::Confirmed,
            Self::Dispute => DecisionState::Disputed,
        }
    }
}

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
    /// The only principal who may answer; of a review an operator may in their place.
    pub approver: PrincipalId,
    pub requested_by: PrincipalId,
    pub expires_at: Micros,
    /// The record that put the question.
    pub asked: u64,
    /// What it opened: an approval opens one thing, once.
    pub opened: Option<BudgetId>,
}
canon_struct!(Decision { id, state, subject, approver, requested_by, expires_at, asked, opened });
