//! The shapes of the vault, for the OpenAPI document. Amounts are minor units.

use utoipa::ToSchema;

use super::answers::Spend;

#[derive(ToSchema)]
#[schema(as = VaultToken)]
pub struct VaultToken {
    #[schema(example = "vt_…")]
    token: String,
}

/// At most what the token holds.
#[derive(ToSchema)]
#[schema(as = VaultCapture)]
pub struct VaultCapture {
    token: String,
    #[schema(minimum = 1)]
    amount: u64,
    /// ISO 4217, in either case.
    #[schema(example = "usd")]
    currency: String,
    checkout_session_id: String,
}

#[derive(ToSchema)]
#[schema(as = VaultRefund)]
pub struct VaultRefund {
    token: String,
    #[schema(minimum = 1)]
    amount: u64,
}

/// A token as its merchant and its agent see it.
#[derive(ToSchema)]
#[schema(as = VaultView)]
pub struct VaultView {
    payment: String,
    /// held, committed (a processor is asked), unknown, settled, voided or expired
    state: String,
    /// Whether it can be redeemed now.
    valid: bool,
    merchant_id: String,
    checkout_session_id: String,
    max_amount: u64,
    currency: String,
    created: String,
    expires_at: String,
    card: VaultCard,
    captured: Option<VaultCaptured>,
    spend: Spend,
}

/// What may be shown of a card.
#[derive(ToSchema)]
pub struct VaultCard {
    brand: String,
    last4: String,
    funding: String,
}

#[derive(ToSchema)]
pub struct VaultCaptured {
    amount: u64,
    currency: String,
    processor_id: String,
    network_id: String,
    /// AP2 payment receipt, a JWT.
    receipt: String,
}
