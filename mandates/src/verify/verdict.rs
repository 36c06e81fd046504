//! The answer: facts or a rejection, every check by name, and what the ledger must still hold.

use serde_json::{Value, json};

use super::presentation::Presentation;
use super::report::Check;
use super::standing::Standing;
use crate::cart::Cart;
use crate::chain::MandateId;
use crate::checkout::ClosedCheckout;
use crate::constraint::{Action, Duty};
use crate::keys::PublicKey;
use crate::mandate::{Family, Open, Vct};
use crate::payment::ClosedPayment;
use crate::rejection::{Ap2Error, Rejection};

/// How much a valid verdict is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strength {
    /// Bound to this verifier, its nonce and the purchase at hand.
    Bound,
    /// The mandate holds on its own; nobody asked whom it is for, or what is bought. Nothing may be paid on it.
    OnItsOwn,
}

impl Strength {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Bound => "bound",
            Self::OnItsOwn => "on_its_own",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct Verdict {
    pub outcome: Result<Facts, Rejection>,
    /// In their fixed order.
    pub checks: Vec<Check>,
    pub strength: Strength,
}

/// What a valid chain says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    pub family: Family,
    /// From the root outwards: each narrows the one before it.
    pub open: Vec<OpenFacts>,
    /// `None` for an open mandate that is looked at on its own.
    pub closed: Option<ClosedFacts>,
    /// What must be held in the ledger, in one unit of work with the spend.
    pub obligations: Vec<Obligation>,
    /// The earliest expiry of the chain's mandates.
    pub expires_at_seconds: Option<i64>,
    /// Which segments have a status that their issuer publishes.
    pub standings: Vec<Standing>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenFacts {
    pub identity: MandateId,
    pub segment: usize,
    pub mandate: Open,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClosedFacts {
    pub identity: MandateId,
    pub mandate: Closed,
    /// The cart it is about, where one was there to verify.
    pub cart: Option<Cart>,
    /// `aud`, `nonce` and `iat` of the leaf; of the root for a direct mandate that carries them.
    pub presentation: Option<Presentation>,
    /// Who signed it: the agent, or for a direct mandate the user or provider.
    pub signer: PublicKey,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Closed {
    Payment(ClosedPayment),
    Checkout { mandate: ClosedCheckout, cart: Cart },
}

impl Closed {
    pub(super) const fn action(&self) -> Action<'_> {
        match self {
            Self::Payment(payment) => Action::Payment(payment),
            Self::Checkout { cart, .. } => Action::Checkout(cart),
        }
    }

    pub const fn vct(&self) -> Vct {
        match self {
            Self::Payment(_) => Vct::ClosedPayment,
            Self::Checkout { .. } => Vct::ClosedCheckout,
        }
    }
}

/// A duty of the ledger towards one mandate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Obligation {
    pub mandate: MandateId,
    pub duty: Duty,
}

impl Verdict {
    pub const fn is_valid(&self) -> bool {
        self.outcome.is_ok()
    }

    pub fn facts(&self) -> Option<&Facts> {
        self.outcome.as_ref().ok()
    }

    pub fn rejection(&self) -> Option<&Rejection> {
        self.outcome.as_ref().err()
    }

    pub fn code(&self) -> Option<&'static str> {
        self.rejection().map(Rejection::code)
    }

    pub fn ap2_error(&self) -> Option<Ap2Error> {
        self.rejection().map(Rejection::ap2_error)
    }

    /// The verdict as the command line and the HTTP surface show it.
    pub fn to_json(&self) -> Value {
        let checks: Vec<Value> = self.checks.iter().map(Check::to_json).collect();
        match &self.outcome {
            Ok(facts) => json!({
                "valid": true,
                "strength": self.strength.as_str(),
                "facts": facts.to_json(),
                "checks": checks,
            }),
            Err(refused) => json!({
                "valid": false,
                "code": refused.code(),
                "error": refused.ap2_error().as_str(),
                "message": refused.message,
                "field": refused.field,
                "retryable": refused.retryable(),
                "waits_for": refused.code.waits_for(),
                "checks": checks,
            }),
        }
    }
}

impl Facts {
    fn to_json(&self) -> Value {
        let open: Vec<Value> = self.open.iter().map(OpenFacts::to_json).collect();
        let obligations: Vec<Value> = self.obligations.iter().map(Obligation::to_json).collect();
        json!({
            "family": self.family.as_str(),
            "open": open,
            "closed": self.closed.as_ref().map(ClosedFacts::to_json),
            "obligations": obligations,
            "expires_at": self.expires_at_seconds,
        })
    }
}

impl OpenFacts {
    fn to_json(&self) -> Value {
        json!({
            "identity": self.identity.to_string(),
            "segment": self.segment,
            "vct": self.mandate.vct.as_str(),
            "holder": self.mandate.holder.thumbprint(),
            "claims": self.mandate.claims(),
        })
    }
}

impl ClosedFacts {
    fn to_json(&self) -> Value {
        let claims = match &self.mandate {
            Closed::Payment(payment) => payment.claims(),
            Closed::Checkout { mandate, .. } => mandate.claims(),
        };
        json!({
            "identity": self.identity.to_string(),
            "vct": self.mandate.vct().as_str(),
            "claims": claims,
            "checkout": self.cart.as_ref().map(|cart| &cart.claims),
            "aud": self.presentation.as_ref().map(|presentation| &presentation.audience),
            "nonce": self.presentation.as_ref().map(|presentation| &presentation.nonce),
            "iat": self.presentation.as_ref().map(|presentation| presentation.issued_at_seconds),
            "signer": self.signer.thumbprint(),
        })
    }
}

impl Obligation {
    fn to_json(&self) -> Value {
        let mandate = self.mandate.to_string();
        match &self.duty {
            Duty::Budget(budget) => json!({
                "mandate": mandate, "duty": "budget", "max": budget.max.to_string(), "currency": budget.currency.as_str(),
            }),
            Duty::SingleUse => json!({ "mandate": mandate, "duty": "single_use" }),
            Duty::Occurrences(recurrence) => json!({
                "mandate": mandate, "duty": "occurrences",
                "frequency": recurrence.frequency.as_str(), "max_occurrences": recurrence.max_occurrences,
            }),
            Duty::Nonce { audience, nonce } => {
                json!({ "mandate": mandate, "duty": "nonce", "aud": audience, "nonce": nonce })
            }
        }
    }
}
