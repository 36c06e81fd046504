//! The shapes of the vault and of the shop. Where the message is ACP's or UCP's the members that this service looks at are
//! here; the whole of it is theirs, and `fixtures/acp` and `fixtures/ucp` have it.

use std::collections::BTreeMap;

use serde_json::{Map, Value};
use utoipa::ToSchema;

/// A card, and what a merchant may take with it.
#[derive(ToSchema)]
pub struct Allowing {
    payment_method: Map<String, Value>,
    allowance: AllowanceOf,
    billing_address: Option<Map<String, Value>>,
    risk_signals: Vec<Map<String, Value>>,
    /// `mandate` names the mandate that it is within, where the caller's token names none.
    metadata: BTreeMap<String, String>,
}

#[derive(ToSchema)]
#[schema(as = Allowance)]
pub struct AllowanceOf {
    #[schema(example = "one_time")]
    reason: String,
    /// Minor units.
    max_amount: i64,
    #[schema(pattern = "^[a-z]{3}$")]
    currency: String,
    checkout_session_id: String,
    #[schema(max_length = 256)]
    merchant_id: String,
    /// RFC 3339.
    expires_at: String,
}

/// `DelegatePaymentResponse` of ACP 2026-04-17.
#[derive(ToSchema)]
pub struct VaultToken {
    #[schema(pattern = "^vt_[A-Za-z0-9]+$")]
    id: String,
    /// RFC 3339.
    created: String,
    metadata: BTreeMap<String, String>,
}

/// `Error` of ACP 2026-04-17.
#[derive(ToSchema)]
pub struct AcpError {
    /// invalid_request, rate_limit_exceeded, processing_error or service_unavailable
    r#type: String,
    code: String,
    message: String,
    /// JSONPath (RFC 9535).
    param: Option<String>,
    supported_versions: Option<Vec<String>>,
}

/// A card for a checkout.
#[derive(ToSchema)]
pub struct Tokenize {
    /// `card`, `pan` or `network_token`, with what UCP's schemas have for it.
    credential: Map<String, Value>,
    binding: TokenBinding,
    allowance: Option<Most>,
    /// The mandate that it is within, where the caller's token names none.
    mandate: Option<String>,
}

#[derive(ToSchema)]
pub struct TokenBinding {
    #[schema(min_length = 1, max_length = 256)]
    checkout_id: String,
    /// Whom the token is for.
    identity: Option<BindingIdentity>,
}

#[derive(ToSchema)]
pub struct BindingIdentity {
    /// What the vault calls the merchant.
    #[schema(min_length = 1, max_length = 256)]
    access_token: String,
}

/// The most that the merchant may take.
#[derive(ToSchema)]
pub struct Most {
    /// Minor units.
    max_amount: i64,
    #[schema(pattern = "^[A-Za-z]{3}$")]
    currency: String,
}

#[derive(ToSchema)]
pub struct Tokenized {
    token: String,
}

#[derive(ToSchema)]
pub struct Detokenize {
    token: String,
    binding: TokenBinding,
}

#[derive(ToSchema)]
pub struct TokenOnly {
    token: String,
}

#[derive(ToSchema)]
pub struct Capture {
    token: String,
    /// Minor units.
    amount: u64,
    /// ISO 4217, in either case.
    currency: String,
    checkout_session_id: String,
}

#[derive(ToSchema)]
pub struct CaptureRefund {
    token: String,
    /// Minor units.
    amount: u64,
}

/// A token as its merchant sees it.
#[derive(ToSchema)]
pub struct TokenView {
    payment: String,
    state: String,
    /// Whether it can be redeemed now.
    valid: bool,
    merchant_id: String,
    checkout_session_id: String,
    /// Minor units.
    max_amount: u64,
    currency: String,
    /// RFC 3339.
    created: String,
    expires_at: Option<String>,
    card: CardShown,
    captured: Option<Captured>,
    spend: super::answers::Spend,
}

#[derive(ToSchema)]
pub struct CardShown {
    brand: String,
    last4: String,
    funding: String,
}

#[derive(ToSchema)]
pub struct Captured {
    /// Minor units.
    amount: u64,
    currency: String,
    processor_id: String,
    network_id: String,
    /// AP2 payment receipt, a JWT.
    receipt: String,
}

#[derive(ToSchema)]
pub struct AcpCreate {
    line_items: Vec<AcpItem>,
    #[schema(example = "usd")]
    currency: String,
    /// `extensions` with `dev.purser.ap2` has the checkout signed and paid for with mandates.
    capabilities: Map<String, Value>,
    buyer: Option<Map<String, Value>>,
    fulfillment_details: Option<Map<String, Value>>,
    discounts: Option<Map<String, Value>>,
}

#[derive(ToSchema)]
pub struct AcpItem {
    #[schema(example = "gift_card")]
    id: String,
    /// One where nothing is said. The schema has none; agents send it.
    #[schema(minimum = 1)]
    quantity: Option<u64>,
}

#[derive(ToSchema)]
pub struct AcpUpdate {
    line_items: Option<Vec<AcpItem>>,
    buyer: Option<Map<String, Value>>,
    fulfillment_details: Option<Map<String, Value>>,
    selected_fulfillment_options: Option<Vec<Map<String, Value>>>,
    discounts: Option<Map<String, Value>>,
}

#[derive(ToSchema)]
pub struct AcpCancel {
    intent_trace: Option<Map<String, Value>>,
}

#[derive(ToSchema)]
pub struct AcpComplete {
    payment_data: Map<String, Value>,
    buyer: Option<Map<String, Value>>,
    ap2: Option<Map<String, Value>>,
}

/// `CheckoutSession` of ACP 2026-04-17.
#[derive(ToSchema)]
pub struct AcpCheckout {
    id: String,
    /// incomplete, ready_for_payment, complete_in_progress, completed, canceled, expired, …
    status: String,
    /// ISO 4217, in small letters.
    currency: String,
    line_items: Vec<Map<String, Value>>,
    totals: Vec<Map<String, Value>>,
    fulfillment_options: Vec<Map<String, Value>>,
    messages: Vec<Map<String, Value>>,
    links: Vec<Map<String, Value>>,
    capabilities: Map<String, Value>,
    order: Option<Map<String, Value>>,
    ap2: Option<Ap2>,
}

/// `Order` of ACP 2026-04-17.
#[derive(ToSchema)]
pub struct ShopOrder {
    /// order
    r#type: String,
    id: String,
    checkout_session_id: String,
    permalink_url: String,
    /// confirmed, processing, shipped, completed or canceled
    status: String,
    line_items: Vec<Map<String, Value>>,
    adjustments: Vec<Map<String, Value>>,
    /// `total` is what was charged; `amount_refunded` what was given back.
    totals: Vec<Map<String, Value>>,
}

/// A promise of a shop's that is open.
#[derive(ToSchema)]
pub struct RefundOutstanding {
    /// Of the payment's asset.
    #[schema(pattern = "^[0-9]+$")]
    amount: String,
    /// Unix seconds.
    since: i64,
    /// Longer than fourteen days.
    overdue: bool,
}

/// What a shop told of an order.
#[derive(ToSchema)]
pub struct OrderTold {
    order: String,
    checkout_session_id: String,
    /// In the shop's words.
    status: Option<String>,
    /// `type`, `status` and `amount` of each.
    adjustments: Vec<Map<String, Value>>,
    /// What the shop says that it gave back, in minor units.
    said_refunded: u64,
    /// Whether the book has at least as much.
    refund_in_book: bool,
    /// What it announced and did not come.
    refund_outstanding: Option<RefundOutstanding>,
    /// Unix seconds.
    told_at: i64,
    told_times: u64,
}

/// One of both.
#[derive(ToSchema)]
pub struct OrderChanging {
    /// processing, shipped, completed, or canceled where all was given back
    status: Option<String>,
    adjustment: Option<OrderAdjusting>,
}

#[derive(ToSchema)]
pub struct OrderAdjusting {
    /// refund, return or dispute
    r#type: String,
    /// Minor units.
    amount: u64,
    #[schema(max_length = 500)]
    description: Option<String>,
}

/// What mandates are closed over and for, and afterwards their receipts.
#[derive(ToSchema)]
pub struct Ap2 {
    merchant_authorization: String,
    checkout_jwt: String,
    audience: String,
    nonce: String,
    checkout_receipt: Option<String>,
    payment_receipt: Option<String>,
}

#[derive(ToSchema)]
pub struct UcpCheckoutRequest {
    line_items: Option<Vec<UcpItem>>,
    buyer: Option<Map<String, Value>>,
    fulfillment: Option<Map<String, Value>>,
    discounts: Option<Map<String, Value>>,
}

#[derive(ToSchema)]
pub struct UcpItem {
    item: UcpProduct,
    #[schema(minimum = 1)]
    quantity: u64,
}

#[derive(ToSchema)]
pub struct UcpProduct {
    #[schema(example = "gift_card")]
    id: String,
}

#[derive(ToSchema)]
pub struct UcpComplete {
    payment: Option<Map<String, Value>>,
    ap2: Option<Map<String, Value>>,
}

/// A checkout of UCP 2026-04-08, or what it lacks (`messages`).
#[derive(ToSchema)]
pub struct UcpAnswer {
    ucp: Map<String, Value>,
    id: Option<String>,
    status: Option<String>,
    messages: Option<Vec<Map<String, Value>>>,
    ap2: Option<Ap2>,
}

#[derive(ToSchema)]
pub struct UcpCheckout {
    ucp: Map<String, Value>,
    id: String,
    status: String,
    messages: Vec<Map<String, Value>>,
}

#[derive(ToSchema)]
pub struct UcpRefusal {
    ucp: Map<String, Value>,
    messages: Vec<Map<String, Value>>,
}
