//! The objects of this scheme as they are on the wire: texts, not yet believed.

use serde::Deserialize;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct WireChannel {
    pub payer: String,
    pub payer_authorizer: String,
    pub receiver: String,
    pub receiver_authorizer: String,
    pub token: String,
    pub withdraw_delay: u64,
    pub salt: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct WireVoucher {
    pub channel_id: String,
    pub max_claimable_amount: String,
    pub signature: String,
}

/// Of a deposit, a voucher, and a refund as a payer asks for one.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct WireByPayer {
    pub channel_config: WireChannel,
    pub voucher: WireVoucher,
}

#[derive(Deserialize)]
pub(super) struct WireDeposit {
    pub deposit: WireDepositFields,
}

#[derive(Deserialize)]
pub(super) struct WireDepositFields {
    pub amount: String,
    pub authorization: WireDepositAuthorization,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct WireDepositAuthorization {
    #[serde(default)]
    pub erc3009_authorization: Option<WireErc3009>,
    #[serde(default)]
    pub permit2_authorization: Option<serde_json::Value>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct WireErc3009 {
    pub valid_after: String,
    pub valid_before: String,
    pub salt: String,
    pub signature: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct WireClaims {
    pub claims: Vec<WireClaim>,
    #[serde(default)]
    pub claim_authorizer_signature: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct WireClaim {
    pub voucher: WireClaimedVoucher,
    pub signature: String,
    pub total_claimed: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct WireClaimedVoucher {
    pub channel: WireChannel,
    pub max_claimable_amount: String,
}

#[derive(Deserialize)]
pub(super) struct WireSweep {
    pub receiver: String,
    pub token: String,
}

/// What a payee adds to a payer's refund.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct WireCompletion {
    pub amount: String,
    pub refund_nonce: String,
    #[serde(default)]
    pub refund_authorizer_signature: Option<String>,
}
