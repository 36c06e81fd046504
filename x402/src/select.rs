//! From a 402 to what is signed: screen the offers, freeze one, sign the frozen one.
//!
//! Wallets have lost money by checking a cap on one entry of `accepts[]` and signing another. So there is one way:
//! an entry becomes an [`Offer`], which never changes; policy is evaluated on the offer; and the authorization is
//! built from the offer alone ([`Offer::authorize`]).

mod offer;
#[cfg(test)]
mod tests;

use alloy_primitives::Address;
use serde_json::Value;

pub use offer::{AuthorizeError, Offer, Unsigned};

use crate::auth_capture::{self, Deployment, ESCROW, EscrowTerms};
use crate::batch_settlement::{self, WITHDRAW_DELAY_SECONDS};
use crate::exact::{SCHEME, Terms, Transfer};
use crate::limit::{METHOD_BYTES_MAX, OFFERS_MAX, URL_BYTES_MAX, WALLET_TIMEOUT_SECONDS_MAX};
use crate::network::AssetTable;
use crate::reason::Reason;
use crate::refusal::{Refusal, echo};
use crate::scheme;
use crate::upto;
use crate::wire::{PaymentRequired, PaymentRequirements, X402_VERSION};

/// What a wallet is willing to consider at all. Mandates and budgets narrow it further, on the frozen offer.
#[derive(Clone, Copy, Debug)]
pub struct Wallet<'a> {
    pub assets: &'a AssetTable,
    pub max_timeout_seconds: u64,
    /// What of its money may be held in the escrow of `auth-capture`; nothing where there is none.
    pub holds: Option<HoldLimits>,
    /// The longest that it waits for money in a channel that nobody claims; nothing where it puts none into any.
    pub withdraw_delay_max: Option<u64>,
}

/// How long and at what fee.
#[derive(Clone, Copy, Debug)]
pub struct HoldLimits {
    /// Unix seconds.
    pub now: u64,
    /// From now to the deadline after which the money can be taken back.
    pub seconds_max: u64,
    /// Basis points of what is captured that may go to somebody else than who is paid.
    pub fee_bps_max: u16,
}

impl HoldLimits {
    /// For whoever reads what was signed already.
    pub const ANY: Self = Self { now: u64::MAX, seconds_max: u64::MAX, fee_bps_max: u16::MAX };
}

impl<'a> Wallet<'a> {
    pub const fn new(assets: &'a AssetTable) -> Self {
        Self { assets, max_timeout_seconds: WALLET_TIMEOUT_SECONDS_MAX, holds: None, withdraw_delay_max: None }
    }

    #[must_use]
    pub const fn with_holds(self, limits: HoldLimits) -> Self {
        Self { holds: Some(limits), ..self }
    }

    /// The same, which pays out of channels too.
    #[must_use]
    pub const fn with_channels(self, withdraw_delay_max: u64) -> Self {
        Self { withdraw_delay_max: Some(withdraw_delay_max), ..self }
    }
}

/// Why an entry of `accepts[]` was passed over.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    #[error(transparent)]
    Refused(#[from] Refusal),
    #[error("extra.paymentFlow: expected authorization or none, found {found}")]
    PaymentFlow { found: String },
    #[error("maxTimeoutSeconds: expected at most {max_seconds}, found {found_seconds}")]
    Timeout { max_seconds: u64, found_seconds: u64 },
    #[error("payTo: expected an account, found the token itself ({found})")]
    PayeeIsToken { found: String },
    #[error("{field}: expected {expected}, found {found}")]
    Hold { field: &'static str, expected: String, found: String },
}

impl Unfit {
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Refused(refusal) => refusal.code(),
            Self::PaymentFlow { .. } => "payment_flow_not_supported",
            Self::Timeout { .. } => "timeout_out_of_bounds",
            Self::PayeeIsToken { .. } => "payee_is_token",
            Self::Hold { .. } => "hold_out_of_bounds",
        }
    }

    pub const fn field(&self) -> &'static str {
        match self {
            Self::Refused(refusal) => refusal.field,
            Self::PaymentFlow { .. } => "extra.paymentFlow",
            Self::Timeout { .. } => "maxTimeoutSeconds",
            Self::PayeeIsToken { .. } => "payTo",
            Self::Hold { field, .. } => field,
        }
    }
}

/// An entry that was passed over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PassedOver {
    /// Its place in `accepts[]`.
    pub index: usize,
    pub why: Unfit,
}

/// The offers of one 402, screened, in the seller's order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Screened {
    pub offers: Vec<Offer>,
    pub passed_over: Vec<PassedOver>,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SelectError {
    #[error("x402Version: expected {X402_VERSION}, found {found}")]
    Version { found: u64 },
    #[error("accepts: expected 1 to {max} offers, found {found}")]
    OfferCount { max: usize, found: usize },
    #[error("resource.url: expected 1 to {URL_BYTES_MAX} bytes without spaces or controls, found {found}")]
    ResourceUrl { found: String },
    #[error("method: expected the name of an HTTP method, found {found}")]
    Method { found: String },
    #[error("none of the {} offers can be paid; the first because {}", .0.len(), first(.0))]
    NoneFits(Vec<PassedOver>),
}

fn first(passed_over: &[PassedOver]) -> String {
    passed_over.first().map_or_else(String::new, |entry| entry.why.to_string())
}

impl SelectError {
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Version { .. } => "invalid_x402_version",
            Self::OfferCount { .. } => "invalid_offer_count",
            Self::ResourceUrl { .. } => "invalid_resource_url",
            Self::Method { .. } => "invalid_method",
            Self::NoneFits(_) => "no_payable_offer",
        }
    }

    pub const fn field(&self) -> &'static str {
        match self {
            Self::Version { .. } => "x402Version",
            Self::OfferCount { .. } | Self::NoneFits(_) => "accepts",
            Self::ResourceUrl { .. } => "resource.url",
            Self::Method { .. } => "method",
        }
    }

    /// The same 402 stays unpayable.
    pub const fn retryable(&self) -> bool {
        false
    }
}

/// The first offer that this wallet can pay, frozen. `method` is that of the request that met the 402.
pub fn select(required: &PaymentRequired, method: &str, wallet: Wallet<'_>) -> Result<Offer, SelectError> {
    let Screened { offers, passed_over } = screen(required, method, wallet)?;
    offers.into_iter().next().ok_or(SelectError::NoneFits(passed_over))
}

/// Every offer that this wallet can pay, for a caller whose mandate narrows the choice.
pub fn screen(required: &PaymentRequired, method: &str, wallet: Wallet<'_>) -> Result<Screened, SelectError> {
    check_frame(required, method)?;
    let mut screened = Screened { offers: Vec::new(), passed_over: Vec::new() };
    for (index, requirements) in required.accepts.iter().enumerate() {
        match freeze(requirements, &required.resource.url, method, wallet) {
            Ok(offer) => screened.offers.push(offer),
            Err(why) => screened.passed_over.push(PassedOver { index, why }),
        }
    }
    Ok(screened)
}

fn check_frame(required: &PaymentRequired, method: &str) -> Result<(), SelectError> {
    if required.x402_version != X402_VERSION {
        return Err(SelectError::Version { found: required.x402_version });
    }
    let found = required.accepts.len();
    if found == 0 || found > OFFERS_MAX {
        return Err(SelectError::OfferCount { max: OFFERS_MAX, found });
    }
    let url = &required.resource.url;
    if url.is_empty() || url.len() > URL_BYTES_MAX || url.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Err(SelectError::ResourceUrl { found: echo(url) });
    }
    if method.is_empty() || method.len() > METHOD_BYTES_MAX || !method.bytes().all(|byte| byte.is_ascii_alphabetic()) {
        return Err(SelectError::Method { found: echo(method) });
    }
    Ok(())
}

fn freeze(requirements: &PaymentRequirements, url: &str, method: &str, wallet: Wallet<'_>) -> Result<Offer, Unfit> {
    let is_known = match requirements.scheme.as_str() {
        SCHEME | upto::SCHEME | auth_capture::SCHEME => true,
        batch_settlement::SCHEME => wallet.withdraw_delay_max.is_some(),
        _ => false,
    };
    if !is_known {
        // said before anything else is read: the other fields mean other things in other schemes
        let expected = "exact, upto or auth-capture";
        return Err(Refusal::new(Reason::UnsupportedScheme, "scheme", expected, &requirements.scheme).into());
    }
    let terms = scheme::terms(requirements)?;
    if let Transfer::Channel { receiver_authorizer, withdraw_delay } = terms.transfer {
        check_channel(receiver_authorizer, withdraw_delay, wallet.withdraw_delay_max.unwrap_or(0))?;
    }
    match requirements.extra_field("paymentFlow") {
        None => {}
        Some(Value::String(flow)) if flow == "authorization" => {}
        // Read with the terms.
        Some(_) if requirements.scheme == auth_capture::SCHEME => {}
        Some(other) => return Err(Unfit::PaymentFlow { found: echo(&other.to_string()) }),
    }
    if let Transfer::Escrow(escrow) = &terms.transfer {
        check_hold(&terms, escrow, wallet.holds)?;
    }
    if terms.max_timeout_seconds > wallet.max_timeout_seconds {
        return Err(Unfit::Timeout {
            max_seconds: wallet.max_timeout_seconds,
            found_seconds: terms.max_timeout_seconds,
        });
    }
    if terms.pay_to == terms.token {
        return Err(Unfit::PayeeIsToken { found: terms.token.to_string() });
    }
    let asset = terms.trusted_asset(wallet.assets)?;
    Ok(Offer::freeze(terms, asset, requirements.clone(), url.to_owned(), method.to_owned())?)
}

/// What is held is out of the wallet's hands: under whose, how long and at what fee is bounded before anything is signed. The
/// one signature that captures take is the payee's, so it is named; that the operator asks for it is the operator's word.
fn check_hold(terms: &Terms, escrow: &EscrowTerms, limits: Option<HoldLimits>) -> Result<(), Unfit> {
    let unfit = |field, expected: String, found: &dyn std::fmt::Display| {
        Err(Unfit::Hold { field, expected, found: found.to_string() })
    };
    let Some(limits) = limits else {
        return unfit("scheme", "a scheme that holds nothing".to_owned(), &auth_capture::SCHEME);
    };
    if escrow.deployment != Deployment::V1_0 {
        let (field, found) = ("extra.authCaptureEscrow", escrow.deployment.escrow());
        return unfit(field, format!("{ESCROW}, which is version 1.0"), &found);
    }
    if escrow.receiver_authorizer.is_zero() {
        let expected = "the address that signs captures".to_owned();
        return unfit("extra.receiverAuthorizer", expected, &Address::ZERO);
    }
    if escrow.max_fee_bps > limits.fee_bps_max {
        let expected = format!("at most {} basis points", limits.fee_bps_max);
        return unfit("extra.maxFeeBps", expected, &escrow.max_fee_bps);
    }
    let (capture, refund) = (escrow.capture_deadline.to::<u64>(), escrow.refund_deadline.to::<u64>());
    if refund < capture {
        return unfit("extra.refundDeadline", format!("at least the captureDeadline of {capture}"), &refund);
    }
    let latest = limits.now.saturating_add(limits.seconds_max);
    if capture > latest {
        return unfit("extra.captureDeadline", format!("at most {latest}"), &capture);
    }
    if escrow.capture_authorizer == terms.token {
        return unfit("extra.captureAuthorizer", "an account".to_owned(), &terms.token);
    }
    Ok(())
}

/// Money in a channel comes back without its payee's help after the delay alone, and with it by its authorizer's signature.
fn check_channel(receiver_authorizer: Address, withdraw_delay: u64, most: u64) -> Result<(), Refusal> {
    if receiver_authorizer.is_zero() {
        let (field, expected) = ("extra.receiverAuthorizer", "an account other than zero");
        return Err(Refusal::new(Reason::BatchReceiverAuthorizerMismatch, field, expected, receiver_authorizer));
    }
    let least = *WITHDRAW_DELAY_SECONDS.start();
    if withdraw_delay < least || withdraw_delay > most.min(*WITHDRAW_DELAY_SECONDS.end()) {
        let (field, expected) = ("extra.withdrawDelay", format!("{least} to {most} seconds"));
        return Err(Refusal::new(Reason::BatchWithdrawDelayOutOfRange, field, expected, withdraw_delay));
    }
    Ok(())
}
