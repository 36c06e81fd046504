//! The constraints of AP2 v0.2, a closed registry: one file each, with its schema and its evaluation.
//!
//! A type that is not here is kept as written and fails when it is evaluated: what cannot be understood cannot be held.

mod agent_recurrence;
mod allowed;
mod amount_range;
mod budget;
mod execution_date;
mod line_items;
mod reference;

use ledger::money::Amount;
use serde_json::Value;

pub use agent_recurrence::{AgentRecurrence, Frequency};
pub use allowed::{AllowedInstruments, AllowedMerchants, AllowedPayees, AllowedPisps};
pub use amount_range::AmountRange;
pub use budget::Budget;
pub use execution_date::ExecutionDate;
pub use line_items::{Item, LineItems, Slot};
pub use reference::Reference;

use crate::cart::Cart;
use crate::clock::Clock;
use crate::json::{Json, Object, kind};
use crate::mandate::Family;
use crate::payment::ClosedPayment;
use crate::rejection::{Code, Rejection, shown};

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Constraint {
    AmountRange(AmountRange),
    AllowedPayees(AllowedPayees),
    AllowedInstruments(AllowedInstruments),
    AllowedPisps(AllowedPisps),
    Budget(Budget),
    AgentRecurrence(AgentRecurrence),
    ExecutionDate(ExecutionDate),
    Reference(Reference),
    AllowedMerchants(AllowedMerchants),
    LineItems(LineItems),
}

/// A constraint as an open mandate carries it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Written {
    Known(Constraint),
    /// A type that is not in the registry, or none (`type` is `None`, or the constraint is no object at all).
    Unknown {
        kind: Option<String>,
        value: Value,
    },
}

/// What the ledger must hold to, because a pure verifier cannot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Duty {
    /// Posted and held stay within `max`, in MAJOR units of the currency, and every payment is in that currency.
    Budget(Budget),
    /// One live closed mandate.
    SingleUse,
    /// At most so many, so far apart.
    Occurrences(AgentRecurrence),
    /// The leaf's nonce is consumed once.
    Nonce { audience: String, nonce: String },
}

/// What has been spent under one mandate, live closed mandates included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Used {
    /// In minor units of the mandate's currency.
    pub total: Amount,
    pub uses: u64,
    pub last_used_at_seconds: Option<i64>,
}

/// What the order's chain says about the open checkout mandate (for `payment.reference`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OpenCheckout {
    /// The hashes that name it; see [`crate::chain::reference_hashes`].
    Hashes(Vec<String>),
    /// The verifier was not given it; a `payment.reference` is then unresolved.
    Unknown,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Action<'a> {
    Payment(&'a ClosedPayment),
    Checkout(&'a Cart),
}

impl Action<'_> {
    pub(crate) const fn family(&self) -> Family {
        match self {
            Self::Payment(_) => Family::Payment,
            Self::Checkout(_) => Family::Checkout,
        }
    }
}

/// Everything that an evaluation may look at.
#[derive(Clone, Copy)]
pub(crate) struct Case<'a> {
    pub action: Action<'a>,
    pub siblings: &'a [Written],
    pub used: Option<Used>,
    pub open_checkout: &'a OpenCheckout,
    pub clock: Clock,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Finding {
    Holds(String),
    /// Holds as far as one payment can show; the rest is the ledger's.
    LeftToState(Duty, String),
}

impl Written {
    pub fn parse<'t>(value: impl Into<Json<'t>>) -> Result<Self, Rejection> {
        let value = value.into();
        let unknown = |kind| Ok(Self::Unknown { kind, value: value.to_value() });
        let Json::Object(claims) = value else { return unknown(None) };
        let Some(Json::String(kind)) = claims.get("type") else { return unknown(None) };
        let known = match kind {
            AmountRange::TYPE => Constraint::AmountRange(AmountRange::parse(claims)?),
            AllowedPayees::TYPE => Constraint::AllowedPayees(AllowedPayees::parse(claims)?),
            AllowedInstruments::TYPE => Constraint::AllowedInstruments(AllowedInstruments::parse(claims)?),
            AllowedPisps::TYPE => Constraint::AllowedPisps(AllowedPisps::parse(claims)?),
            Budget::TYPE => Constraint::Budget(Budget::parse(claims)?),
            AgentRecurrence::TYPE => Constraint::AgentRecurrence(AgentRecurrence::parse(claims)?),
            ExecutionDate::TYPE => Constraint::ExecutionDate(ExecutionDate::parse(claims)?),
            Reference::TYPE => Constraint::Reference(Reference::parse(claims)?),
            AllowedMerchants::TYPE => Constraint::AllowedMerchants(AllowedMerchants::parse(claims)?),
            LineItems::TYPE => Constraint::LineItems(LineItems::parse(claims)?),
            other => return unknown(Some(other.to_owned())),
        };
        Ok(Self::Known(known))
    }

    pub const fn known(&self) -> Option<&Constraint> {
        match self {
            Self::Known(constraint) => Some(constraint),
            Self::Unknown { .. } => None,
        }
    }

    /// The name for messages: never a counterparty's raw text.
    pub(crate) fn name(&self) -> String {
        match self {
            Self::Known(constraint) => constraint.kind().to_owned(),
            Self::Unknown { kind: Some(kind), .. } => shown(kind),
            Self::Unknown { kind: None, .. } => "no type".to_owned(),
        }
    }

    pub(crate) fn claims(&self) -> Value {
        match self {
            Self::Known(constraint) => constraint.claims().into(),
            Self::Unknown { value, .. } => value.clone(),
        }
    }

    /// The constraint if it is in the registry and belongs to this family of mandates.
    pub(crate) fn understood(&self, family: Family) -> Result<&Constraint, Rejection> {
        match self {
            Self::Known(constraint) if constraint.family() == family => Ok(constraint),
            Self::Known(constraint) => {
                let message = format!("a {} mandate has {0} constraints; {} came", family.as_str(), constraint.kind());
                Err(Rejection::new(Code::ConstraintWrongFamily, message).at("constraints"))
            }
            Self::Unknown { kind: Some(name), .. } => {
                let message = format!("a constraint has a type of AP2 v0.2; {} came", shown(name));
                Err(Rejection::new(Code::UnknownConstraint, message).at("constraints"))
            }
            Self::Unknown { kind: None, value } => {
                let message = format!("a constraint is an object with a type; {} without one came", kind(value));
                Err(Rejection::new(Code::ConstraintWithoutType, message).at("constraints"))
            }
        }
    }
}

impl From<Constraint> for Written {
    fn from(constraint: Constraint) -> Self {
        Self::Known(constraint)
    }
}

impl Constraint {
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::AmountRange(_) => AmountRange::TYPE,
            Self::AllowedPayees(_) => AllowedPayees::TYPE,
            Self::AllowedInstruments(_) => AllowedInstruments::TYPE,
            Self::AllowedPisps(_) => AllowedPisps::TYPE,
            Self::Budget(_) => Budget::TYPE,
            Self::AgentRecurrence(_) => AgentRecurrence::TYPE,
            Self::ExecutionDate(_) => ExecutionDate::TYPE,
            Self::Reference(_) => Reference::TYPE,
            Self::AllowedMerchants(_) => AllowedMerchants::TYPE,
            Self::LineItems(_) => LineItems::TYPE,
        }
    }

    pub const fn family(&self) -> Family {
        match self {
            Self::AllowedMerchants(_) | Self::LineItems(_) => Family::Checkout,
            _ => Family::Payment,
        }
    }

    pub fn claims(&self) -> Object {
        let mut claims = match self {
            Self::AmountRange(constraint) => constraint.claims(),
            Self::AllowedPayees(constraint) => constraint.claims(),
            Self::AllowedInstruments(constraint) => constraint.claims(),
            Self::AllowedPisps(constraint) => constraint.claims(),
            Self::Budget(constraint) => constraint.claims(),
            Self::AgentRecurrence(constraint) => constraint.claims(),
            Self::ExecutionDate(constraint) => constraint.claims(),
            Self::Reference(constraint) => constraint.claims(),
            Self::AllowedMerchants(constraint) => constraint.claims(),
            Self::LineItems(constraint) => constraint.claims(),
        };
        claims.insert("type".to_owned(), self.kind().into());
        claims
    }

    pub(crate) fn evaluate(&self, case: &Case<'_>) -> Result<Finding, Rejection> {
        match (self, case.action) {
            (Self::AmountRange(constraint), Action::Payment(payment)) => constraint.evaluate(payment),
            (Self::AllowedPayees(constraint), Action::Payment(payment)) => constraint.evaluate(payment),
            (Self::AllowedInstruments(constraint), Action::Payment(payment)) => constraint.evaluate(payment),
            (Self::AllowedPisps(constraint), Action::Payment(payment)) => constraint.evaluate(payment),
            (Self::Budget(constraint), Action::Payment(payment)) => constraint.evaluate(payment, case.used),
            (Self::AgentRecurrence(constraint), Action::Payment(_)) => constraint.evaluate(case),
            (Self::ExecutionDate(constraint), Action::Payment(payment)) => constraint.evaluate(payment, case.clock),
            (Self::Reference(constraint), Action::Payment(_)) => constraint.evaluate(case.open_checkout),
            (Self::AllowedMerchants(constraint), Action::Checkout(cart)) => constraint.evaluate(cart),
            (Self::LineItems(constraint), Action::Checkout(cart)) => constraint.evaluate(cart),
            (other, action) => {
                let message =
                    format!("a {} is held to its own constraints; {} came", action.family().as_str(), other.kind());
                Err(Rejection::new(Code::ConstraintWrongFamily, message).at("constraints"))
            }
        }
    }
}
