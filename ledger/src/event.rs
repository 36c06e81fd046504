//! What happened, for those who wait for it: stable names over the records, which only the book reads.
//!
//! A function of the record alone, so that an event is durable with what it tells of, or not at all.

use crate::budget::{BudgetKind, BudgetState};
use crate::codec::canon_names;
use crate::decision::DecisionState;
use crate::effects::{Effects, Fact, Operation};
use crate::gate::GateState;
use crate::id::{BudgetId, Micros};
use crate::settlement::{SettlementKey, SettlementState};

canon_names!(
    /// Names never change their meaning; new ones may come.
    EventType {
        ApprovalRequested = 1 "approval.requested",
        ApprovalDecided = 2 "approval.decided",
        MandateOpened = 3 "mandate.opened",
        MandateSuspended = 4 "mandate.suspended",
        MandateResumed = 5 "mandate.resumed",
        MandateRevoked = 6 "mandate.revoked",
        /// The amount is reserved; nothing is signed.
        PaymentHeld = 7 "payment.held",
        PaymentVoided = 8 "payment.voided",
        PaymentExpired = 9 "payment.expired",
        /// About to be signed, or signed.
        PaymentCommitted = 10 "payment.committed",
        PaymentSubmitted = 11 "payment.submitted",
        PaymentUnknown = 12 "payment.unknown",
        /// The chain shows the transfer.
        PaymentSettled = 13 "payment.settled",
        /// Proved that it can never happen.
        PaymentReleased = 14 "payment.released",
        PaymentSpentOtherwise = 15 "payment.spent_otherwise",
        /// A refusal that its key answers with for ever.
        RequestRefused = 16 "request.refused",
        SettlementClaimed = 17 "settlement.claimed",
        SettlementAbandoned = 18 "settlement.abandoned",
        SettlementDispatched = 19 "settlement.dispatched",
        SettlementSettled = 20 "settlement.settled",
        SettlementFailed = 21 "settlement.failed",
        WalletFunded = 22 "wallet.funded",
        /// Nothing is reserved and nothing is signed within the scope.
        StopSet = 23 "stop.set",
        StopLifted = 24 "stop.lifted",
        /// What a tenant or a person may spend was changed in the configuration.
        BudgetChanged = 25 "budget.changed",
        /// The payee gave something back.
        PaymentRefunded = 26 "payment.refunded",
        /// A restored book found a payment on the chain that it does not know.
        PaymentRecovered = 27 "payment.recovered",
        /// The chain took the settlement back; the amount is held again.
        PaymentReorganised = 28 "payment.reorganised",
        /// The block that it was settled in is final. Not told of one that was settled in a final block.
        PaymentFinal = 29 "payment.final",
        SettlementReorganised = 30 "settlement.reorganised",
        SettlementFinal = 31 "settlement.final",
        /// A closed mandate that was presented here was accepted, and used up.
        MandateAccepted = 32 "mandate.accepted",
        /// Given before it was paid: its price is owed.
        SettlementServed = 33 "settlement.served",
        /// What was paid before anything was done for it was delivered.
        SettlementDelivered = 34 "settlement.delivered",
        /// It was not: the payer is owed what they paid for, or their money.
        SettlementUndelivered = 35 "settlement.undelivered",
        /// Given, and proved that it is never paid.
        SettlementUnpaid = 36 "settlement.unpaid",
        /// What was owed is given up.
        SettlementWrittenOff = 37 "settlement.written_off",
        /// A merchant redeems a vault token: its processor is asked.
        PaymentRedeemed = 38 "payment.redeemed",
        /// The processor captured nothing; what is reserved stays so.
        PaymentDeclined = 39 "payment.declined",
        /// A payment that goes is to be looked at.
        ReviewOpened = 40 "review.opened",
        ReviewConfirmed = 41 "review.confirmed",
        ReviewDisputed = 42 "review.disputed",
        /// Nobody looked at it in time.
        ReviewOverdue = 43 "review.overdue",
        /// The merchant says that it gives something back; it has not come.
        PaymentRefundAnnounced = 44 "payment.refund_announced",
        /// Whoever paid signed who they are, to come back for what was paid.
        PaymentSignedIn = 45 "payment.signed_in",
        /// The payee's signed receipt came, and is kept.
        PaymentAttested = 46 "payment.attested",
        /// We gave something back to whoever paid us.
        SettlementRefunded = 47 "settlement.refunded",
    }
);

/// One thing that happened to one subject.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// The record that it tells of, and its place among that record's events.
    pub seq: u64,
    pub number: u16,
    pub at: Micros,
    pub kind: EventType,
    /// The id of the payment, mandate, approval or review; the authorization of a settlement; a wallet.
    pub subject: String,
    /// The mandate that it happened under.
    pub mandate: Option<BudgetId>,
}

/// The events of a record, in their order.
pub fn events(effects: &Effects) -> Vec<Event> {
    let told = told(effects);
    let event =
        |(number, (kind, subject, mandate))| Event { seq: effects.seq, number, at: effects.at, kind, subject, mandate };
    (0..).zip(told).map(event).collect()
}

type Told = (EventType, String, Option<BudgetId>);

fn told(effects: &Effects) -> Vec<Told> {
    match effects.operation {
        Operation::Propose => approval(effects, EventType::ApprovalRequested),
        Operation::Decide => approval(effects, EventType::ApprovalDecided),
        Operation::OpenBudget => {
            let mandates = effects.opened.iter().filter(|budget| budget.kind == BudgetKind::Mandate);
            mandates.map(|budget| (EventType::MandateOpened, budget.id.to_string(), Some(budget.id))).collect()
        }
        Operation::ChangeBudget => mandates(effects),
        Operation::Review | Operation::Overdue => [reviews(effects), mandates(effects)].concat(),
        Operation::ChangeCaps => {
            let changes = effects.caps.iter();
            changes.map(|change| (EventType::BudgetChanged, change.budget.to_string(), None)).collect()
        }
        Operation::Gate => {
            let kind = |state| match state {
                GateState::Closed => EventType::StopSet,
                GateState::Open => EventType::StopLifted,
            };
            effects.gate.iter().map(|gate| (kind(gate.state), gate.scope.to_string(), None)).collect()
        }
        Operation::Hold => [payment(effects, EventType::PaymentHeld), reviews(effects)].concat(),
        Operation::Void => payment(effects, EventType::PaymentVoided),
        Operation::Expire => payment(effects, EventType::PaymentExpired),
        Operation::Commit => payment(effects, EventType::PaymentCommitted),
        Operation::Submit => payment(effects, EventType::PaymentSubmitted),
        Operation::Redeem => payment(effects, EventType::PaymentRedeemed),
        Operation::Decline => payment(effects, EventType::PaymentDeclined),
        Operation::Doubt => payment(effects, EventType::PaymentUnknown),
        Operation::Settle | Operation::Answer => payment(effects, EventType::PaymentSettled),
        Operation::Unsettle => payment(effects, EventType::PaymentReorganised),
        Operation::Finalise | Operation::Cover => payment(effects, EventType::PaymentFinal),
        Operation::Release => payment(effects, EventType::PaymentReleased),
        Operation::Misspend => payment(effects, EventType::PaymentSpentOtherwise),
        Operation::Refund => payment(effects, EventType::PaymentRefunded),
        Operation::Announce => payment(effects, EventType::PaymentRefundAnnounced),
        Operation::SignIn => payment(effects, EventType::PaymentSignedIn),
        Operation::Attest => payment(effects, EventType::PaymentAttested),
        Operation::Recover => match &effects.fact {
            Some(Fact::Seen(seen)) => vec![(EventType::PaymentRecovered, seen.transaction.to_string(), None)],
            _ => Vec::new(),
        },
        Operation::Accept => {
            effects.claims.iter().map(|claim| (EventType::MandateAccepted, claim.key.to_string(), None)).collect()
        }
        Operation::Reject => {
            effects.claims.iter().map(|claim| (EventType::RequestRefused, claim.key.to_string(), None)).collect()
        }
        Operation::Claim => settlement(effects, EventType::SettlementClaimed),
        Operation::Abandon => settlement(effects, EventType::SettlementAbandoned),
        Operation::Dispatch => settlement(effects, EventType::SettlementDispatched),
        Operation::Receive => settlement(effects, EventType::SettlementSettled),
        Operation::Unreceive => settlement(effects, EventType::SettlementReorganised),
        Operation::Conclude => settlement(effects, EventType::SettlementFinal),
        Operation::Fail => {
            let is_owed = effects.settlement.as_ref().is_some_and(|found| found.state == SettlementState::Unpaid);
            let kind = if is_owed { EventType::SettlementUnpaid } else { EventType::SettlementFailed };
            settlement(effects, kind)
        }
        Operation::Serve => settlement(effects, EventType::SettlementServed),
        Operation::Deliver => settlement(effects, EventType::SettlementDelivered),
        Operation::Undeliver => settlement(effects, EventType::SettlementUndelivered),
        Operation::WriteOff => settlement(effects, EventType::SettlementWrittenOff),
        Operation::GiveBack => settlement(effects, EventType::SettlementRefunded),
        Operation::Fund | Operation::Withdraw => funded(effects),
    }
}

fn funded(effects: &Effects) -> Vec<Told> {
    let funded = effects.transfers.iter();
    funded.map(|transfer| (EventType::WalletFunded, transfer.debit.to_string(), None)).collect()
}

fn mandates(effects: &Effects) -> Vec<Told> {
    let change = |state| match state {
        BudgetState::Active => EventType::MandateResumed,
        BudgetState::Suspended => EventType::MandateSuspended,
        BudgetState::Revoked => EventType::MandateRevoked,
    };
    let states = effects.states.iter();
    states.map(|state| (change(state.to), state.budget.to_string(), Some(state.budget))).collect()
}

fn reviews(effects: &Effects) -> Vec<Told> {
    let mandate = effects.spend.as_ref().map(|spend| spend.budget);
    let told = effects.decision.iter().filter_map(|review| {
        let kind = match review.state {
            DecisionState::InReview => EventType::ReviewOpened,
            DecisionState::Confirmed => EventType::ReviewConfirmed,
            DecisionState::Disputed => EventType::ReviewDisputed,
            DecisionState::Overdue => EventType::ReviewOverdue,
            DecisionState::Pending | DecisionState::Approved | DecisionState::Denied => return None,
        };
        Some((kind, review.id.to_string(), mandate))
    });
    told.collect()
}

fn approval(effects: &Effects, kind: EventType) -> Vec<Told> {
    effects.decision.iter().map(|decision| (kind, decision.id.to_string(), None)).collect()
}

fn payment(effects: &Effects, kind: EventType) -> Vec<Told> {
    effects.spend.iter().map(|spend| (kind, spend.id.to_string(), Some(spend.budget))).collect()
}

fn settlement(effects: &Effects, kind: EventType) -> Vec<Told> {
    effects.settlement.iter().map(|settlement| (kind, authorization(&settlement.key), None)).collect()
}

/// Role, CAIP-10 account of the payer, asset and nonce: what makes a settlement the same one.
fn authorization(key: &SettlementKey) -> String {
    let authorization = &key.authorization;
    let nonce: String = authorization.nonce.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{}:{}:{}/{}/0x{nonce}", key.role, authorization.network, authorization.payer, authorization.asset)
}
