//! Payments that somebody looks at after they went.

use serde_json::{Map, Value};
use utoipa::ToSchema;

/// What somebody found who looked at a payment that went.
#[derive(ToSchema)]
pub struct Finding {
    /// `fine` or `dispute`.
    #[schema(example = "fine")]
    verdict: String,
    /// Kept with the answer.
    #[schema(min_length = 1, max_length = 2000)]
    because: String,
}

/// A payment that somebody looks at after it went.
#[derive(ToSchema)]
pub struct Review {
    id: String,
    /// in_review, overdue, disputed or confirmed
    state: String,
    payment: String,
    payment_state: String,
    /// Who gave the mandate; an operator may answer in their place.
    reviewer: String,
    agent: String,
    mandate: String,
    /// x402, ap2 or acp
    rail: String,
    /// Major units.
    amount: String,
    currency: String,
    payee: String,
    /// version, digest, verb, rule and the rules that fired
    policy: Map<String, Value>,
    /// Unix seconds.
    due_at: i64,
    /// What becomes of it where nobody looks: notify or suspend
    overdue: String,
    /// verdict, because and by
    answer: Option<Map<String, Value>>,
    /// Of what is disputed: voided, refunded, pending or not_reversible
    reversal: Option<String>,
    /// The code of the refusal, where it could not be taken back just now.
    reversal_refused: Option<String>,
}

#[derive(ToSchema)]
pub struct Reviews {
    reviews: Vec<Review>,
    next: Option<String>,
}
