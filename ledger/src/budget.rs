//! Budgets are a tree: tenant, person, mandate. A spend debits its leaf and every ancestor of it, so that ten
//! mandates can share one cap and narrowing a mandate never widens the sum.

use crate::codec::{canon_names, canon_struct};
use crate::id::{BudgetId, DecisionId, Digest, Micros, PrincipalId};
use crate::money::{Amount, AssetId};
use crate::recurrence::{Frequency, LastUse};
use crate::rejection::Fault;
use crate::window::{Hours, LIMITS_MAX, Limit, LimitError};

/// Longest path from a leaf to the root, both included.
pub const PATH_NODES_MAX: usize = 16;

canon_names!(BudgetKind { Tenant = 1 "tenant", Person = 2 "person", Mandate = 3 "mandate" });

canon_names!(
    /// `Revoked` is for ever. Both other states bar nothing that is already signed.
    BudgetState { Active = 1 "active", Suspended = 2 "suspended", Revoked = 3 "revoked" }
);

/// What a node allows. An absent limit bars nothing at this node; its ancestors still count.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Caps {
    /// posted + held never exceeds this.
    pub total: Option<Amount>,
    pub per_payment: Option<Amount>,
    /// How many spends may be live or done at once and ever. AP2 mandates without recurrence have one.
    pub occurrences: Option<u64>,
    /// No hold at or after this instant. Captures of earlier holds are not barred.
    pub expires_at: Option<Micros>,
    /// What begins anew with a period, and what is for each payee.
    pub limits: Vec<Limit>,
    /// When anything may be held at all.
    pub hours: Option<Hours>,
    /// What a refund does here. Never changes while the node is open.
    pub refunds: Refunds,
    /// How far apart two uses lie. Never changes while the node is open.
    pub frequency: Option<Frequency>,
}
canon_struct!(Caps { total, per_payment, occurrences, expires_at, limits, hours; refunds with frequency; });

canon_names!(
    /// Whether what a payee gives back can be spent again. It cannot where nothing is said: paying and refunding in turn,
    /// with a payee that plays along, would get round any cap.
    #[derive(Default)]
    Refunds {
        #[default]
        Keep = 1 "keep",
        /// Into the total and into the windows that the payment was counted in, never into later ones; a number of
        /// payments is not given back.
        Restore = 2 "restore",
    }
);

impl Caps {
    /// Whether the limits and the hours say something that can be meant.
    pub fn check(&self) -> Result<(), LimitError> {
        if self.limits.len() > LIMITS_MAX {
            return Err(LimitError::TooMany(self.limits.len()));
        }
        self.limits.iter().try_for_each(Limit::check)?;
        // One thing, one spelling: without a distance there is no frequency.
        if self.frequency == Some(Frequency::OnDemand) {
            return Err(LimitError::OnDemand);
        }
        self.hours.as_ref().map_or(Ok(()), Hours::check)
    }

    /// These caps, with what they say from now on. A limit keeps its place, because windows and spends name it by that:
    /// one that is still asked for takes the new figures (what was paid in its period still counts), one that is not
    /// is retired in its place, and a new kind of limit goes to the end.
    pub fn amended(&self, asked: &Self) -> Result<Self, LimitError> {
        // Several of one kind are told apart by their order.
        let mut left: Vec<&Limit> = asked.limits.iter().collect();
        let mut figures = |limit: &Limit| match left.iter().position(|other| other.is_like(limit)) {
            Some(place) => left.remove(place).clone(),
            None => Limit { amount: None, payments: None, ..limit.clone() },
        };
        let mut limits: Vec<Limit> = self.limits.iter().map(&mut figures).collect();
        limits.extend(left.into_iter().cloned());
        if limits.len() > LIMITS_MAX {
            return Err(LimitError::TooMany(limits.len()));
        }
        Ok(Self { limits, refunds: self.refunds, frequency: self.frequency, ..asked.clone() })
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Budget {
    pub id: BudgetId,
    /// From this node to the root, both included; never changes.
    pub path: Vec<BudgetId>,
    pub kind: BudgetKind,
    /// Whose money it is, for a person; who spends, for a mandate.
    pub holder: PrincipalId,
    /// Every node of a path counts in the same asset.
    pub asset: AssetId,
    pub caps: Caps,
    pub state: BudgetState,
    /// Of a node that recurs, while the use lives; see [`crate::recurrence`].
    pub last_use: Option<LastUse>,
    pub decision: Option<DecisionId>,
    /// What the node stands for, kept as a document: a mandate's tokens and terms.
    pub document: Option<Digest>,
    pub held: Amount,
    pub posted: Amount,
    /// Spends counted against `caps.occurrences`.
    pub count: u64,
    /// The total cap was lowered under what was used already: nothing more is held until it fits again.
    pub is_over: bool,
}
canon_struct!(Budget {
    id, path, kind, holder, asset, caps;
    state with last_use;
    decision, document, held, posted, count, is_over,
});

impl Budget {
    /// held + posted. Kept at or under the total cap.
    pub fn used(&self) -> Option<Amount> {
        self.held.checked_add(self.posted)
    }

    /// What is left under the total cap; `None` where there is no cap.
    pub fn available(&self) -> Option<Amount> {
        let cap = self.caps.total?;
        Some(self.used().and_then(|used| cap.checked_sub(used)).unwrap_or(Amount::ZERO))
    }
}

canon_names!(
    /// How a spend moves the figures of one node. The amount stands beside it.
    BudgetStep {
        /// held + a, count + 1
        Hold = 1 "hold",
        /// held - a, count - 1
        Release = 2 "release",
        /// held - a, posted + a
        Post = 3 "post",
        /// posted - a
        Restore = 4 "restore",
        /// posted + a, for a payment that the chain shows and a restored book does not
        Charge = 5 "charge",
        /// held + a, posted - a: what was posted is held again, and no cap breaks, because the sum is as it was
        Unpost = 6 "unpost",
    }
);

impl BudgetStep {
    /// Leaves less room than there was.
    pub const fn takes(self) -> bool {
        match self {
            Self::Hold | Self::Charge => true,
            Self::Release | Self::Post | Self::Restore | Self::Unpost => false,
        }
    }

    /// held, posted and count after the step; `None` where one of them would leave its range.
    pub fn apply(self, held: Amount, posted: Amount, count: u64, amount: Amount) -> Option<(Amount, Amount, u64)> {
        Some(match self {
            Self::Hold => (held.checked_add(amount)?, posted, count.checked_add(1)?),
            Self::Release => (held.checked_sub(amount)?, posted, count.checked_sub(1)?),
            Self::Post => (held.checked_sub(amount)?, posted.checked_add(amount)?, count),
            Self::Restore => (held, posted.checked_sub(amount)?, count),
            Self::Charge => (held, posted.checked_add(amount)?, count),
            Self::Unpost => (held.checked_add(amount)?, posted.checked_sub(amount)?, count),
        })
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BudgetMove {
    pub budget: BudgetId,
    pub step: BudgetStep,
    pub amount: Amount,
}
canon_struct!(BudgetMove { budget, step, amount });

/// The figures would leave 0 to 2^128 - 1, or posted + held would pass the cap: a defect, never a refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("budget {budget} cannot take the step {step} of {amount}: held {held}, posted {posted}, count {count}")]
pub struct ImpossibleMove {
    pub budget: BudgetId,
    pub step: BudgetStep,
    pub amount: Amount,
    pub held: Amount,
    pub posted: Amount,
    pub count: u64,
}

impl Budget {
    /// The second of a pair of checks: `Book` refused what does not fit, and what does not fit still cannot be written.
    pub fn take(&self, step: &BudgetMove) -> Result<Self, ImpossibleMove> {
        let impossible = || ImpossibleMove {
            budget: self.id,
            step: step.step,
            amount: step.amount,
            held: self.held,
            posted: self.posted,
            count: self.count,
        };
        let (held, posted, count) =
            step.step.apply(self.held, self.posted, self.count, step.amount).ok_or_else(impossible)?;
        let next = Self { held, posted, count, ..self.clone() };
        let used = next.used().ok_or_else(impossible)?;
        let is_over = next.caps.total.is_some_and(|cap| used > cap);
        // A node whose cap was lowered lets go of what it holds, and takes nothing.
        if is_over && (!self.is_over || step.step.takes()) { Err(impossible()) } else { Ok(Self { is_over, ..next }) }
    }

    /// The node after a step of this spend, which was reserved by that record: what became of its last use.
    pub fn with_use(self, step: BudgetStep, hold: u64, at: Micros) -> Self {
        if self.caps.frequency.is_none() {
            return self;
        }
        let last_use = match step {
            BudgetStep::Hold => Some(LastUse { hold, at }),
            BudgetStep::Release => self.last_use.filter(|last| last.hold != hold),
            BudgetStep::Post | BudgetStep::Restore | BudgetStep::Charge | BudgetStep::Unpost => self.last_use,
        };
        Self { last_use, ..self }
    }

    /// The first second at which the node may be used again; `None` where it may be at any time.
    pub fn due_seconds(&self) -> Result<Option<i64>, Fault> {
        let (Some(frequency), Some(last)) = (self.caps.frequency, self.last_use) else { return Ok(None) };
        let due = frequency.due_after_seconds(last.at.seconds());
        due.map(Some).ok_or_else(|| Fault::Broken(format!("no calendar has what is {frequency} after {}", last.at.0)))
    }

    /// The node under other caps, whatever it has used under the former ones.
    pub fn under(&self, caps: Caps) -> Self {
        let is_over = caps.total.is_some_and(|cap| self.used().is_none_or(|used| used > cap));
        Self { caps, is_over, ..self.clone() }
    }
}
