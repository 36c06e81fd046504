//! The shapes of answers. A foreign fuzzer holds the running service to them (`tests/the_document_is_true.rs`).

use serde_json::{Map, Value};
use utoipa::ToSchema;

/// RFC 9457. `code` is stable, `type` leads to a page about it; the refusal's own values stand beside.
#[derive(ToSchema)]
pub struct Problem {
    r#type: String,
    title: String,
    status: u16,
    code: String,
    /// A sentence with what was expected and what came.
    detail: String,
    /// Whether the same request may succeed later.
    retryable: bool,
    /// The member, header or parameter that is meant.
    field: Option<String>,
}

/// One payment under a mandate. Amounts are atomic units, times unix seconds.
#[derive(ToSchema)]
pub struct Spend {
    id: String,
    /// held, committed, submitted, settled, unknown, released, voided, expired or spent_otherwise
    state: String,
    mandate: String,
    #[schema(pattern = "^[0-9]+$")]
    amount: String,
    /// CAIP-19.
    asset: String,
    authority: Units,
    payee: String,
    pay_to: String,
    payer: String,
    /// CAIP-2.
    network: String,
    #[schema(pattern = "^0x[0-9a-f]{64}$")]
    nonce: String,
    valid_before: i64,
    transaction: Option<String>,
    /// Settled in a block that the chain does not take back any more.
    r#final: bool,
    /// What the payee gave back so far.
    #[schema(pattern = "^[0-9]+$")]
    refunded: String,
    /// What the merchant of a vault token says that it gives back, as far as it has not come: a promise, no money.
    refund_announced: Option<RefundAnnounced>,
    /// The agent's software when it reserved, where it was registered.
    #[schema(pattern = "^sha256:[0-9a-f]{64}$")]
    build: Option<String>,
    /// The outside issuer that the agent came by.
    issuer: Option<String>,
}

/// A refund in the merchant's words.
#[derive(ToSchema)]
pub struct RefundAnnounced {
    /// Of the payment's asset.
    #[schema(pattern = "^[0-9]+$")]
    amount: String,
    /// Unix seconds.
    since: i64,
}

/// What a payment takes from the budget, in the units of the budget's currency.
#[derive(ToSchema)]
pub struct Units {
    #[schema(pattern = "^[0-9]+$")]
    units: String,
}

/// A spend and the header that pays it.
#[derive(ToSchema)]
pub struct Authorized {
    #[serde(flatten)]
    spend: Spend,
    /// The value of PAYMENT-SIGNATURE.
    payment_signature: String,
    /// The value of X-PAYMENT: the same payment, where the 402 is of version 1.
    x_payment: Option<String>,
}

/// A spend, and the mandates to hand over.
#[derive(ToSchema)]
pub struct Closed {
    #[serde(flatten)]
    spend: Spend,
    /// SHA-256 of the cart, base64url.
    transaction_id: String,
    /// For the verifier of the payment: the whole chain.
    payment_mandate: String,
    /// For the merchant, where it was asked for.
    checkout_mandate: Option<String>,
}

/// An amount for people in major units, and the units that the book counts in.
#[derive(ToSchema)]
pub struct Figure {
    amount: String,
    #[schema(pattern = "^[0-9]+$")]
    units: String,
}

#[derive(ToSchema)]
pub struct Occurrences {
    used: u64,
    limit: Option<u64>,
}

/// A limit of the mandate's own, and what is used of it in the period that is now.
#[derive(ToSchema)]
pub struct LimitState {
    #[schema(example = "a day (Europe/Berlin)")]
    per: String,
    amount: Option<Figure>,
    /// Nothing where every payee has the limit for itself.
    used: Option<Figure>,
    payments: Option<LimitOccurrences>,
}

#[derive(ToSchema)]
pub struct LimitOccurrences {
    used: Option<u64>,
    limit: u64,
}

/// A mandate and its figures: posted + held <= cap, here and at every ancestor.
#[derive(ToSchema)]
pub struct Mandate {
    id: String,
    /// active, suspended or revoked
    state: String,
    agent: String,
    user: String,
    currency: String,
    /// required or optional
    cart: String,
    expires_at: i64,
    cap: Option<Figure>,
    per_payment: Option<Figure>,
    held: Figure,
    posted: Figure,
    available: Option<Figure>,
    payments: Occurrences,
    /// Nothing where payments may come at any time.
    recurrence: Option<Recurrence>,
    limits: Vec<LimitState>,
    /// When anything may be paid.
    hours: Option<String>,
    /// The mandate that it was handed on from; nothing for one that a person gave.
    parent: Option<String>,
    /// Through whose hands it came, from the agent that asked the person on.
    line: Vec<Delegator>,
    /// The open payment mandate (SD-JWT, with all that it was handed on from). Nothing for one that was handed on and does
    /// not stand.
    payment: Option<String>,
    /// The open checkout mandate, for merchants.
    checkout: Option<String>,
}

/// How far apart the payments under a mandate lie.
#[derive(ToSchema)]
pub struct Recurrence {
    /// DAILY, WEEKLY, BIWEEKLY, MONTHLY, QUARTERLY or ANNUALLY
    frequency: String,
    /// Unix seconds; nothing where no payment was made or is held.
    last_use: Option<i64>,
    /// The first second at which another payment may be held.
    due_at: Option<i64>,
}

/// A mandate, and the agent that handed part of it on.
#[derive(ToSchema)]
pub struct Delegator {
    mandate: String,
    agent: String,
}

/// What is held and posted under a mandate and all that was handed on from it, by the way it goes. All together it is `held`
/// and `posted` of the mandate.
#[derive(ToSchema)]
pub struct Rails {
    /// By x402, on a chain.
    x402: RailFigures,
    /// By mandates that are closed for their verifiers (AP2, UCP).
    mandate: RailFigures,
    /// By tokens of a vault (ACP).
    vault: RailFigures,
}

#[derive(ToSchema)]
pub struct RailFigures {
    held: Figure,
    posted: Figure,
}

#[derive(ToSchema)]
pub struct MandateSpends {
    #[serde(flatten)]
    mandate: Mandate,
    /// Nothing where there are more than 5,000 spends.
    rails: Option<Rails>,
    spends: Vec<Spend>,
    /// The cursor of what follows.
    next: Option<String>,
}

/// A question to a person, and where it stands.
#[derive(ToSchema)]
pub struct Approval {
    id: String,
    /// The page on which the person answers.
    url: String,
    /// pending, approved or denied
    state: String,
    /// SHA-256 of the document: what an answer names.
    #[schema(pattern = "^[0-9a-f]{64}$")]
    digest: String,
    approver: String,
    requested_by: String,
    expires_at: i64,
    document: Map<String, Value>,
    /// What it opened.
    mandate: Option<String>,
}

#[derive(ToSchema)]
pub struct Asked {
    approval: Approval,
    /// Where the person is to be sent.
    approval_url: String,
}

#[derive(ToSchema)]
pub struct Decided {
    approval: Approval,
    mandate: Option<String>,
}

#[derive(ToSchema)]
pub struct Approvals {
    approvals: Vec<Approval>,
    next: Option<String>,
}

/// AP2's Cart mandate.
#[derive(ToSchema)]
pub struct SignedCart {
    id: String,
    checkout_jwt: String,
    checkout_hash: String,
    total: String,
    currency: String,
}

#[derive(ToSchema)]
pub struct Account {
    /// For addresses; made of name and asset.
    id: String,
    account: String,
    asset: String,
    /// Signed, on the account's own side.
    #[schema(pattern = "^-?[0-9]+$")]
    balance: String,
    debit_posted: String,
    credit_posted: String,
    debit_pending: String,
    credit_pending: String,
}

/// An account as it was before the first record of an instant.
#[derive(ToSchema)]
pub struct BalanceAt {
    #[serde(flatten)]
    account: Account,
    at: Option<i64>,
    /// How many records count.
    records: u64,
}

#[derive(ToSchema)]
pub struct Accounts {
    accounts: Vec<Account>,
    next: Option<String>,
}

#[derive(ToSchema)]
pub struct Total {
    asset: String,
    debits: String,
    credits: String,
}

#[derive(ToSchema)]
pub struct TrialBalance {
    balanced: bool,
    assets: Vec<Total>,
    accounts: Vec<Account>,
}

/// One row, balanced by construction.
#[derive(ToSchema)]
pub struct Transfer {
    seq: u64,
    leg: u64,
    at: i64,
    code: String,
    debit: String,
    credit: String,
    asset: String,
    amount: String,
    /// pending, posted or void
    layer: String,
}

#[derive(ToSchema)]
pub struct Transfers {
    transfers: Vec<Transfer>,
    next: Option<String>,
}

#[derive(ToSchema)]
pub struct Record {
    seq: u64,
    at: i64,
    operation: String,
    caller: String,
    kind: String,
    spend: Option<String>,
    leaf: String,
}

#[derive(ToSchema)]
pub struct Journal {
    records: Vec<Record>,
    next: Option<String>,
    entries: u64,
    /// Of the RFC 6962 tree over all of them.
    root: String,
}

#[derive(ToSchema)]
pub struct EventData {
    mandate: Option<String>,
    record: u64,
}

/// CloudEvents 1.0.
#[derive(ToSchema)]
pub struct Event {
    specversion: String,
    id: String,
    source: String,
    r#type: String,
    /// Of this shape.
    apiversion: String,
    subject: String,
    time: Option<String>,
    data: EventData,
}

#[derive(ToSchema)]
pub struct Events {
    events: Vec<Event>,
    /// Goes on from here, also when nothing came.
    cursor: Option<String>,
}

/// While it stands nothing is reserved and nothing is signed within its scope.
#[derive(ToSchema)]
pub struct Stop {
    id: String,
    scope: String,
    /// closed, or open when it was lifted
    state: Option<String>,
    by: Option<String>,
    kind: Option<String>,
    since: Option<i64>,
}

#[derive(ToSchema)]
pub struct Stops {
    stops: Vec<Stop>,
}

/// RFC 6749 section 5.1.
#[derive(ToSchema)]
pub struct AccessToken {
    access_token: String,
    /// DPoP
    token_type: String,
    expires_in: u64,
}
