//! The shapes of requests and answers, for the OpenAPI document. The routes read and write them with types of their own;
//! tests hold the two together, by sending what is documented and by checking what comes back.

#![allow(dead_code, reason = "documentation only: nothing is ever read into these")]

pub mod answers;
pub mod commerce;
pub mod reviews;
pub mod sales;
pub mod signatures;
pub mod wallets;

use serde_json::{Map, Value};
use utoipa::ToSchema;

/// What an agent asks a person for.
#[derive(ToSchema)]
#[schema(as = Intent)]
pub struct Intent {
    /// The person who is to decide.
    user: String,
    /// The agent's own words; shown as a quote, never interpreted.
    #[schema(max_length = 2000)]
    description: String,
    /// ISO 4217.
    #[schema(example = "USD")]
    currency: String,
    /// Decimal, major units.
    #[schema(example = "5.00")]
    total: String,
    #[schema(example = "1.00")]
    per_payment: Option<String>,
    /// One where nothing is said, as in AP2.
    #[schema(minimum = 1)]
    payments: Option<u64>,
    /// How far apart the payments lie, where there are several: `DAILY`, `WEEKLY`, `BIWEEKLY`, `MONTHLY`, `QUARTERLY` or
    /// `ANNUALLY`. At any time where nothing is said, which is `ON_DEMAND`.
    #[schema(example = "MONTHLY")]
    frequency: Option<String>,
    /// Anyone where nothing is said.
    payees: Option<Vec<Payee>>,
    /// At most 2,592,000 (30 days), or 94,694,400 (three years) beside a `frequency`.
    #[schema(minimum = 1, maximum = 94_694_400)]
    expires_in_seconds: u64,
    /// So much, or so many payments, a period or to each payee; binds beside the total.
    #[schema(max_items = 16)]
    limits: Option<Vec<Limit>>,
    /// When anything may be paid; at any time where nothing is said.
    hours: Option<Hours>,
    /// `keep` or `restore`: whether what a payee gives back can be spent again. `keep` where nothing is said.
    refunds: Option<String>,
    /// `required` or `optional`: whether every payment needs a cart that the merchant signed.
    cart: Option<String>,
    /// Whose expense it is, for the exports; as the configuration says of the agent where nothing is said.
    #[schema(example = "4711", max_length = 64)]
    cost_centre: Option<String>,
}

/// What an agent hands on. What is left out is as in the mandate that it comes from.
#[derive(ToSchema)]
pub struct Delegation {
    /// The agent that gets it.
    to: String,
    /// Decimal, major units of the mandate's currency.
    #[schema(example = "1.00")]
    total: String,
    #[schema(example = "0.10")]
    per_payment: Option<String>,
    /// One where nothing is said.
    #[schema(minimum = 1)]
    payments: Option<u64>,
    /// As far apart as in the mandate that it comes from, or farther.
    frequency: Option<String>,
    payees: Option<Vec<Payee>>,
    #[schema(minimum = 1, maximum = 94_694_400)]
    expires_in_seconds: Option<u64>,
    /// Beside those of the mandate that it comes from, which bind all the same.
    #[schema(max_items = 16)]
    limits: Option<Vec<Limit>>,
    hours: Option<Hours>,
    /// `keep` or `restore`; `keep` where nothing is said.
    refunds: Option<String>,
    /// `required` or `optional`.
    cart: Option<String>,
}

/// A mandate that is closed over a cart for somebody else.
#[derive(ToSchema)]
pub struct Closing {
    mandate: String,
    /// The merchant's signed checkout (`checkout_jwt`).
    cart: String,
    /// `aud` of whoever verifies the payment mandate: credential provider, network or payment processor.
    #[schema(min_length = 1, max_length = 512)]
    audience: String,
    /// As they gave it out.
    #[schema(min_length = 1, max_length = 512)]
    nonce: String,
    payment_instrument: Instrument,
    /// The merchant's, where it wants the checkout mandate.
    checkout: Option<Addressee>,
    /// A payment of the same cart that is under way, where a second one is meant.
    again_after: Option<String>,
}

/// What the verifier pays with (AP2 `payment_instrument.json`); the type may add members.
#[derive(ToSchema)]
pub struct Instrument {
    #[schema(min_length = 1)]
    id: String,
    #[schema(min_length = 1, example = "card")]
    r#type: String,
    description: Option<String>,
}

#[derive(ToSchema)]
pub struct Addressee {
    #[schema(min_length = 1, max_length = 512)]
    audience: String,
    #[schema(min_length = 1, max_length = 512)]
    nonce: String,
}

/// So much, or so many payments, a period.
#[derive(ToSchema)]
pub struct Limit {
    /// `total`, `day`, `week`, `month`, `year` or `rolling`.
    #[schema(example = "day")]
    period: String,
    /// IANA time zone; with day, week, month and year.
    #[schema(example = "Europe/Berlin")]
    zone: Option<String>,
    /// The day from which a month counts; with month.
    #[schema(minimum = 1, maximum = 31)]
    from_day: Option<u8>,
    /// With rolling.
    #[schema(minimum = 60, maximum = 315_360_000)]
    seconds: Option<u32>,
    /// Whether every payee has this limit for itself.
    each_payee: Option<bool>,
    /// Decimal, major units. This or `payments`.
    #[schema(example = "20.00")]
    amount: Option<String>,
    payments: Option<u64>,
}

/// The hours of the day in which anything may be paid.
#[derive(ToSchema)]
pub struct Hours {
    #[schema(example = "Europe/Berlin")]
    zone: String,
    /// HH:MM.
    #[schema(example = "09:00")]
    from: String,
    /// HH:MM; earlier than `from` where the hours go past midnight.
    #[schema(example = "17:30")]
    to: String,
    /// `mon` to `sun`; every day where none is named.
    days: Option<Vec<String>>,
}

/// AP2 v0.2 Merchant.
#[derive(ToSchema)]
pub struct Payee {
    id: String,
    name: String,
    website: Option<String>,
}

/// The answer of a person, about exactly the document that the digest names.
#[derive(ToSchema)]
pub struct Decision {
    /// `approve` or `deny`.
    #[schema(example = "approve")]
    decision: String,
    /// SHA-256 of the document, hexadecimal; from the approval.
    digest: String,
    /// What a wallet answered to `request` of `/delegation`: `{"protocol": …, "data": {"vp_token": …}}`. Then it signs the mandate.
    presentation: Option<Map<String, Value>>,
}

/// What to stop.
#[derive(ToSchema)]
pub struct Kill {
    /// `everything`, `person/NAME`, `agent/NAME`, `mandate/ID`, `payee/NAME`, `build/sha256:DIGITS` or `issuer/URL` (without
    /// a slash at its end).
    #[schema(example = "agent/shopper")]
    scope: String,
}

/// A UCP checkout (2026-04-08) to be signed.
#[derive(ToSchema)]
pub struct Cart {
    checkout: Map<String, Value>,
}

/// A presented chain, and what the verifier expects. What is left out is said to be unknown: the verdict is then of
/// strength `on_its_own`, and nothing may be paid on it.
#[derive(ToSchema)]
pub struct Verification {
    /// The chain: `jwt~disclosure~…~~jwt~…~`.
    presented: String,
    /// `aud` that the leaf must name; goes with `nonce`.
    audience: Option<String>,
    nonce: Option<String>,
    /// The merchant's signed checkout that is paid for.
    checkout_jwt: Option<String>,
    /// Or the hash of it, or of an offer that nobody signed.
    transaction_id: Option<String>,
    /// JWK set with the merchant's keys.
    merchant_jwks: Option<Map<String, Value>>,
    /// JWK set with the roots to trust; this service's own and those of its trust file where nothing is said.
    trust: Option<Map<String, Value>>,
    /// For merchants and operators: what is answered for where it is valid. The mandate is used up and the receipt signed.
    accept: Option<Acceptance>,
}

/// Of a checkout mandate `order_id`; of a payment mandate the other three.
#[derive(ToSchema)]
pub struct Acceptance {
    order_id: Option<String>,
    payment_id: Option<String>,
    psp_confirmation_id: Option<String>,
    network_confirmation_id: Option<String>,
}

/// A mandate and a 402.
#[derive(ToSchema)]
pub struct Payment {
    mandate: String,
    /// The object of the 402, as it came: x402 v2 PaymentRequired, or the body of a 402 of version 1.
    payment_required: Option<Map<String, Value>>,
    /// Or the value of its PAYMENT-REQUIRED header.
    payment_required_header: Option<String>,
    /// The method of the request that met the 402; GET where nothing is said.
    method: Option<String>,
    /// Where the 402 was met; its origin must be that of the resource that the 402 names.
    url: Option<String>,
    /// The merchant's signed checkout.
    cart: Option<String>,
    /// The same purchase is under way as this spend, and another one is meant.
    again_after: Option<String>,
}

/// Who comes back for what was paid, and is not paid again.
#[derive(ToSchema)]
pub struct SignedIn {
    /// What was paid.
    payment: String,
    /// The value of SIGN-IN-WITH-X.
    sign_in_with_x: String,
    /// What it signs (EIP-4361, as EIP-191 signs).
    text: String,
}

/// What the seller answered.
#[derive(ToSchema)]
pub struct Outcome {
    /// The value of PAYMENT-RESPONSE, or of X-PAYMENT-RESPONSE.
    payment_response: Option<String>,
    /// The value of PAYMENT-REQUIRED, where it answered with another demand: it says where a channel stands.
    payment_required: Option<String>,
    status: Option<u16>,
    /// The payment receipt (AP2) of whoever the payment mandate was closed for: a JWT.
    receipt: Option<String>,
}

/// What the payee sent back.
#[derive(ToSchema)]
pub struct Refund {
    #[schema(pattern = "^0x[0-9a-fA-F]{64}$")]
    transaction: String,
}

/// x402 sections 7.1 and 7.2, of version 2 or 1.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub struct FacilitatorRequest {
    #[schema(example = 2)]
    x402_version: u64,
    payment_payload: Map<String, Value>,
    payment_requirements: Map<String, Value>,
}
