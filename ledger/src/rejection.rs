//! Every way the book says no. The code is stable; the sentence carries both values.

use serde::{Deserialize, Serialize};

use crate::codec::canon_names;
use crate::id::{BudgetId, DecisionId, Digest, SpendId};
use crate::money::{Amount, AssetId};

macro_rules! rejections {
    ($( $byte:literal $word:literal $variant:ident { $( $field:ident : $type:ty ),* $(,)? } $transient:ident $text:literal ),* $(,)?) => {
        canon_names!(
            /// The stable names of the refusals.
            RejectionCode { $( $variant = $byte $word, )* }
        );

        /// A refusal by a money rule. The book is as it was.
        #[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
        #[serde(tag = "code", rename_all = "snake_case")]
        pub enum Rejection { $( #[error($text)] $variant { $( $field: $type ),* }, )* }

        impl Rejection {
            pub const fn code(&self) -> RejectionCode {
                match self { $( Self::$variant { .. } => RejectionCode::$variant, )* }
            }
        }

        impl RejectionCode {
            /// The same request under a new key may succeed later, without anyone changing what it asks.
            pub const fn retryable(self) -> bool {
                match self { $( Self::$variant => rejections!(@ $transient), )* }
            }
        }
    };
    (@ transient) => { true };
    (@ final) => { false };
}

rejections! {
    1 "amount_exceeds_budget" AmountExceedsBudget { budget: BudgetId, requested: Amount, available: Amount, cap: Amount } transient
        "the payment of {requested} exceeds what budget {budget} has left: {available} of {cap}",
    2 "amount_exceeds_payment_limit" AmountExceedsPaymentLimit { budget: BudgetId, requested: Amount, limit: Amount } final
        "the payment of {requested} exceeds the limit a payment of budget {budget}: {limit}",
    3 "occurrences_exhausted" OccurrencesExhausted { budget: BudgetId, used: u64, limit: u64 } transient
        "mandate {budget} allows {limit} payments and has {used}",
    4 "mandate_expired" MandateExpired { budget: BudgetId, expires_at: i64, now: i64 } final
        "mandate {budget} expired at {expires_at}, it is {now}",
    5 "mandate_revoked" MandateRevoked { budget: BudgetId } final
        "{budget} is revoked; active was expected",
    6 "mandate_suspended" MandateSuspended { budget: BudgetId } transient
        "{budget} is suspended; active was expected",
    7 "mandate_unknown" MandateUnknown { budget: BudgetId } final
        "there is no budget {budget} in this book",
    8 "mandate_exists" MandateExists { budget: BudgetId } final
        "budget {budget} is open already, with other terms",
    9 "asset_mismatch" AssetMismatch { expected: AssetId, found: AssetId } final
        "the budget counts in {expected}, the request in {found}",
    10 "cap_exceeds_parent" CapExceedsParent { budget: BudgetId, requested: Amount, cap: Amount } final
        "a cap of {requested} was asked for under budget {budget}, whose own is {cap}",
    11 "path_too_deep" PathTooDeep { depth: u64, limit: u64 } final
        "a budget at depth {depth} was asked for, the limit is {limit}",
    12 "idempotency_key_reused" IdempotencyKeyReused { first: Digest, found: Digest } final
        "this key was first used for the request {first}, now for {found}",
    13 "spend_released" SpendReleased { spend: SpendId } final
        "spend {spend} of this key ended without a payment; a second purchase needs a key of its own and names `again_after`",
    14 "purchase_unresolved" PurchaseUnresolved { spend: SpendId, state: String } transient
        "the same purchase is under way as spend {spend} ({state}); a second one names `again_after`",
    15 "again_after_mismatch" AgainAfterMismatch { expected: SpendId, found: SpendId } final
        "`again_after` names {found}, the purchase under way is {expected}",
    16 "authorization_claimed" AuthorizationClaimed { spend: String } final
        "this authorization is claimed already, by {spend}",
    17 "mandate_consumed" MandateConsumed { mandate: BudgetId } final
        "this closed mandate under {mandate} was used before; it can be used once",
    18 "spend_unknown" SpendUnknown { spend: SpendId } final
        "there is no spend {spend} in this book",
    19 "spend_state" SpendStateWrong { spend: SpendId, expected: String, found: String } final
        "spend {spend} is {found}, {expected} was expected",
    20 "not_proved" NotProved { spend: SpendId, valid_before: i64, finalized_at: i64 } transient
        "spend {spend} is valid before {valid_before}, the finalized block is of {finalized_at}: nothing is proved yet",
    21 "settlement_mismatch" SettlementMismatch { expected: String, found: String } final
        "{expected} was signed for, the chain shows {found}",
    22 "only_a_user_decides" OnlyAUserDecides { found: String } final
        "only a user decides; the caller is of kind {found}",
    23 "not_your_decision" NotYourDecision { expected: String, found: String } final
        "{expected} is asked, {found} answered",
    24 "decision_unknown" DecisionUnknown { decision: DecisionId } final
        "there is no question {decision} in this book",
    25 "decision_exists" DecisionExists { decision: DecisionId } final
        "question {decision} was put already, with another subject",
    26 "decision_state" DecisionStateWrong { decision: DecisionId, expected: String, found: String } final
        "question {decision} is {found}, {expected} was expected",
    27 "decision_subject" DecisionSubjectWrong { expected: Digest, found: Digest } final
        "the question is about {expected}, the answer about {found}",
    28 "decision_expired" DecisionExpired { decision: DecisionId, expires_at: i64, now: i64 } final
        "question {decision} expired at {expires_at}, it is {now}",
    29 "approval_required" ApprovalRequired { decision: DecisionId } final
        "a mandate opens on an approved and unused decision; {decision} is neither",
    30 "settlement_unknown" SettlementUnknown { authorization: String } final
        "there is no claim of authorization {authorization} in this book",
    31 "settlement_state" SettlementStateWrong { authorization: String, expected: String, found: String } final
        "the settlement of {authorization} is {found}, {expected} was expected",
    32 "payment_used_for_other_resource" PaymentUsedForOtherResource { first: Digest, found: Digest } final
        "this payment is for the request {first}, now presented for {found}",
    33 "amount_zero" AmountZero { found: Amount } final
        "an amount above zero was expected, {found} was given",
    34 "amount_overflow" AmountOverflow { held: Amount, requested: Amount } final
        "{requested} on top of {held} leaves the range of an amount",
    35 "owner_mismatch" OwnerMismatch { expected: String, found: String } final
        "the mandate is {expected}'s to spend under, {found} asked",
    36 "hold_expired" HoldExpired { spend: SpendId, expires_at: i64, now: i64 } final
        "the hold of spend {spend} lapsed at {expires_at}, it is {now}",
    37 "not_expired" NotExpired { spend: SpendId, expires_at: i64, now: i64 } transient
        "the hold of spend {spend} lapses at {expires_at}, it is {now}",
    38 "state_change_refused" StateChangeRefused { budget: BudgetId, expected: String, found: String } final
        "{budget} is {found}; a change to {expected} is not possible",
    39 "payee_changed" PayeeChanged { origin: String, expected: Digest, found: Digest } final
        "{origin} was first paid through {expected} (digest of the address) and now asks for {found}",
    40 "again_after_elsewhere" AgainAfterElsewhere { spend: SpendId } final
        "`again_after` names {spend}, which is of another purchase or another mandate",
    41 "again_after_used" AgainAfterUsed { spend: SpendId, by: String } final
        "{spend} was followed by {by} already; a further purchase names that one",
    42 "stopped" Stopped { scope: String, by: String, since: i64 } transient
        "{scope} is stopped, by {by} since {since}; nothing is reserved and nothing is signed",
    43 "not_yours_to_lift" NotYoursToLift { scope: String, expected: String, found: String } final
        "the stop of {scope} is for a caller of kind {expected} to lift, {found} asked",
    44 "amount_exceeds_period" AmountExceedsPeriod { budget: BudgetId, limit: String, requested: Amount, available: Amount, cap: Amount } transient
        "the payment of {requested} exceeds what budget {budget} has left {limit}: {available} of {cap}",
    45 "payments_exceed_period" PaymentsExceedPeriod { budget: BudgetId, limit: String, used: u64, cap: u64 } transient
        "budget {budget} allows {cap} payments {limit} and has {used}",
    46 "outside_hours" OutsideHours { budget: BudgetId, hours: String, now: i64 } transient
        "budget {budget} pays {hours}; it is {now}",
    47 "limit_invalid" LimitInvalid { reason: String } final
        "a limit cannot be taken: {reason}",
    48 "refund_exceeds_payment" RefundExceedsPayment { spend: SpendId, requested: Amount, left: Amount } final
        "{requested} was given back, of spend {spend} {left} can be",
    49 "refund_claimed" RefundClaimed { transfer: String, by: String } final
        "the transfer {transfer} is the refund of {by} already",
    50 "not_fenced" NotFenced { found: String } final
        "a payment is recovered in a book behind its fence; the fence is {found}",
    51 "not_final" NotFinal { what: String, block: u64, finalized: u64 } transient
        "{what} is in block {block}, the last final one is {finalized}",
    52 "settlement_young" SettlementYoung { spend: SpendId, block: u64 } transient
        "spend {spend} is settled in block {block}, which can still be taken back; what came back for it is posted after it",
    53 "settlement_final" SettlementFinal { what: String, found: String } final
        "{what} is settled for good; the proof says that block {found} was taken back",
    54 "not_reorganised" NotReorganised { expected: String, found: String } final
        "the proof should name {expected} and another block in its place; it names {found}",
    55 "rail_mismatch" RailMismatch { spend: SpendId, expected: String, found: String } final
        "this is for {expected}; spend {spend} is {found}",
    56 "recurrence_too_soon" RecurrenceTooSoon { budget: BudgetId, frequency: String, last: i64, due: i64, now: i64 } transient
        "mandate {budget} is used {frequency}, last at {last}; the next use is due at {due}, it is {now}",
    57 "may_be_out" MayBeOut { spend: SpendId, valid_before: i64, since: i64 } final
        "spend {spend} is of before {valid_before}, and this book was set back and let on at {since}: it may have been given away",
    58 "cart_exhausted" CartExhausted { cart: Digest, limit: u64 } final
        "the cart {cart} may be bought, or tried to be bought, {limit} times, and was",
    59 "payer_overdrawn" PayerOverdrawn { payer: String, of: String, requested: Amount, beside: Amount, found: Amount } transient
        "payer {payer} signed for {requested}, and {beside} beside it that is claimed and not settled; its {of} is {found}",
    60 "payer_payments_open" PayerPaymentsOpen { payer: String, found: u64, limit: u64 } transient
        "payer {payer} has {found} payments under way; {limit} may be",
    61 "exposure_exceeded" ExposureExceeded { payer: String, requested: Amount, owed: Amount, limit: Amount } transient
        "{requested} more would be given to {payer} before it is paid, beside {owed}; {limit} may be",
    62 "payer_blocked" PayerBlocked { payer: String, owed: Amount } transient
        "payer {payer} was given {owed} and did not pay for it; nothing more is given before it is paid",
    63 "order_has_payment" OrderHasPayment { first: Digest, found: Digest } final
        "this order has the payment {first}; {found} was presented for it",
    64 "sign_in_answered" SignInAnswered { nonce: String } final
        "a text with the nonce {nonce} was signed and answered before; each is answered once",
    65 "channel_busy" ChannelBusy { spend: String, state: String } transient
        "one payment at a time goes on in a channel, and {spend} is {state} there; an answered one was expected: the same key asks its payee again",
    66 "not_covered" NotCovered { spend: SpendId, signed: Amount, found: Amount } transient
        "spend {spend} signed a voucher over {signed}; one over as much was expected to take its place, found one over {found}",
    67 "refund_exceeds_sale" RefundExceedsSale { authorization: String, requested: Amount, left: Amount } final
        "{requested} was given back, of the sale that {authorization} paid {left} can be",
}

/// What is ours and not the request's fault: nothing is stored under the key, the caller may try again.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The store did not load what the rule must read. Failing closed: absent is not the same as not looked at.
    #[error("the rule needs {0}, which was not loaded")]
    NotLoaded(String),
    /// The rule's own arithmetic would break an invariant.
    #[error("an invariant would break: {0}")]
    Broken(String),
}

/// Why a command had no effect.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error(transparent)]
    Rejected(#[from] Rejection),
    #[error(transparent)]
    Fault(#[from] Fault),
}
