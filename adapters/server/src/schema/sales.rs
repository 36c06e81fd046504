//! What was sold for a payment.

use utoipa::ToSchema;

/// One sale. Amounts are atomic units of the asset.
#[derive(ToSchema)]
pub struct Sale {
    /// The payment that bought it: asset, payer, nonce.
    id: String,
    /// claimed, promised, submitted, settled, failed, abandoned, unpaid or undelivered
    state: String,
    #[schema(pattern = "^[0-9]+$")]
    amount: String,
    /// CAIP-19.
    asset: String,
    payee: String,
    pay_to: String,
    payer: String,
    /// CAIP-2.
    network: String,
    transaction: Option<String>,
    /// Settled in a block that the chain does not take back any more.
    r#final: bool,
    /// What was given back so far.
    #[schema(pattern = "^[0-9]+$")]
    refunded: String,
}
