//! Stateless verification of what a payer signed, cheap checks first, signatures last.

use alloy_primitives::{Address, B256, U256};
use serde_json::{Map, Value};

use super::Channel;
use super::channel::voucher_digest;
use super::message::{Deposit, Message, Voucher, VoucherKind};
use super::{FRAME, SCHEME, WITHDRAW_DELAY_SECONDS};
use crate::chain::{Chain, WalletAnswer};
use crate::exact::{
    Checked, EvmSignature, OnChainError, Signed, Terms, Transfer, Unsigned, WalletSignature, check_accepted,
    read_address,
};
use crate::limit::{CLOCK_SKEW_SECONDS, SETTLEMENT_MARGIN_SECONDS};
use crate::network::{AssetTable, Network};
use crate::reason::Reason;
use crate::refusal::Refusal;
use crate::scheme::check_frame;
use crate::settlement::{ClaimKey, NonceSpace};
use crate::value::Amount;
use crate::wire::{PaymentPayload, PaymentRequirements};

/// Of a channel's name in the nonce of a step.
const NAME_BYTES: usize = 16;

/// What a payee tells a payer who is out of step, beside its terms: no part of them.
const CORRECTIVE: [&str; 2] = ["channelState", "voucherState"];

/// What a requirement of this scheme says; `amount` is the most for one request.
pub fn terms(requirements: &PaymentRequirements) -> Result<Terms, Refusal> {
    if requirements.scheme != SCHEME {
        return Err(Refusal::new(Reason::BatchScheme, "scheme", SCHEME, &requirements.scheme));
    }
    Terms::read_values(requirements, transfer)
}

fn transfer(requirements: &PaymentRequirements) -> Result<Transfer, Refusal> {
    match requirements.extra_field("assetTransferMethod") {
        None => {}
        Some(Value::String(method)) if method == "eip3009" => {}
        Some(other) => {
            let (field, expected) = ("extra.assetTransferMethod", "eip3009 or none");
            return Err(Refusal::new(Reason::BatchErc3009Required, field, expected, other));
        }
    }
    let shown = |found: Option<&Value>| found.map_or_else(|| "none".to_owned(), Value::to_string);
    let field = "extra.receiverAuthorizer";
    let receiver_authorizer = match requirements.extra_field("receiverAuthorizer") {
        Some(Value::String(text)) => read_address(text, field)?,
        found => {
            let expected = "the address that authorizes claims and refunds";
            return Err(Refusal::new(Reason::BatchReceiverAuthorizerMismatch, field, expected, shown(found)));
        }
    };
    let field = "extra.withdrawDelay";
    let found = requirements.extra_field("withdrawDelay");
    let withdraw_delay = found
        .and_then(Value::as_u64)
        .ok_or_else(|| Refusal::new(Reason::BatchWithdrawDelayMismatch, field, "a number of seconds", shown(found)))?;
    Ok(Transfer::Channel { receiver_authorizer, withdraw_delay })
}

/// Checks a deposit and the voucher that comes with it, at `now` (Unix seconds).
pub fn check_deposit(
    payload: &PaymentPayload,
    requirements: &PaymentRequirements,
    assets: &AssetTable,
    now: u64,
) -> Result<Checked, Refusal> {
    check_frame(payload, requirements, SCHEME, FRAME)?;
    let terms = terms(requirements)?;
    terms.trusted_asset(assets)?;
    let (deposit, voucher, signature) = read_deposit(payload)?;
    check_channel(&voucher, &terms)?;
    check_window(&deposit, &terms, now)?;
    check_terms(payload, requirements)?;
    let signer = match voucher.channel.payer_authorizer {
        // Whether the payer is no contract, whose word would count instead, the chain says.
        authorizer if authorizer.is_zero() => voucher.channel.payer,
        authorizer => authorizer,
    };
    check_signature(&voucher, &terms, signer)?;
    let charged = deposit.authorization.value;
    Unsigned { terms, signed: Signed::Deposit(deposit), charged, sponsored: None }
        .with(&signature, Reason::BatchReceiveSignature)
}

/// What a payer claims to have signed for a deposit. For answers and look-ups; nothing is decided by it.
pub(crate) fn read_deposit(payload: &PaymentPayload) -> Result<(Deposit, Voucher, String), Refusal> {
    match Message::read(&payload.payload)? {
        Message::Deposit { deposit, voucher, signature } => Ok((*deposit, *voucher, signature)),
        _ => Err(Refusal::new(Reason::BatchPayloadType, "payload.type", "deposit", "another")),
    }
}

/// A voucher that fits its terms. Who signed it is known, or has to be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bound {
    pub terms: Terms,
    pub voucher: Voucher,
    pub kind: VoucherKind,
}

/// What a payer sends with whatever it sends. Nothing is decided by it.
pub fn read_voucher(payload: &PaymentPayload) -> Result<(Voucher, VoucherKind), Refusal> {
    match Message::read(&payload.payload)? {
        Message::Deposit { voucher, .. } => Ok((*voucher, VoucherKind::Opening)),
        Message::Voucher(voucher) => Ok((*voucher, VoucherKind::Paying)),
        Message::Refund { voucher, .. } => Ok((*voucher, VoucherKind::Refund)),
        Message::Claim { .. } | Message::Settle(_) | Message::CompletedRefund(_) => {
            let expected = "deposit, voucher or refund";
            Err(Refusal::new(Reason::BatchPayloadType, "payload.type", expected, "another"))
        }
    }
}

/// Which claim a voucher makes with whom it pays. Its nonce is the first half of the channel's name and all that was charged
/// in the channel before, as the voucher has it: so one payment goes on in a channel at a time, and each step is sold once,
/// whatever else its payer signs. A refund pays for nothing, so what was charged is what it says.
pub fn voucher_key(terms: &Terms, voucher: &Voucher, kind: VoucherKind) -> ClaimKey {
    let charged = match kind {
        VoucherKind::Refund => voucher.max_claimable,
        // Less than one price is charged nothing before; that it does not add up is found there.
        VoucherKind::Paying | VoucherKind::Opening => {
            voucher.max_claimable.checked_sub(terms.amount).unwrap_or(Amount::ZERO)
        }
    };
    step_key(terms.network, &voucher.channel, charged)
}

/// The same of a channel where so much was charged.
pub fn step_key(network: Network, channel: &Channel, charged: Amount) -> ClaimKey {
    let mut nonce = channel.id(network);
    nonce.0[NAME_BYTES..].copy_from_slice(&charged.to_be_bytes());
    ClaimKey { space: NonceSpace::Voucher, network, token: channel.token, payer: channel.payer, nonce }
}

/// What was charged before a step, and whether it is one of this channel.
pub fn charged_before(network: Network, channel: &Channel, nonce: &[u8; 32]) -> Option<Amount> {
    let (name, charged) = nonce.split_first_chunk::<NAME_BYTES>()?;
    let charged = Amount::new(u128::from_be_bytes(charged.try_into().ok()?));
    channel.id(network).0.starts_with(name).then_some(charged)
}

/// Checks the voucher of whatever a payer sends, as far as no chain is needed.
pub fn check_voucher(
    payload: &PaymentPayload,
    requirements: &PaymentRequirements,
    assets: &AssetTable,
) -> Result<Bound, Refusal> {
    check_frame(payload, requirements, SCHEME, FRAME)?;
    let terms = terms(requirements)?;
    terms.trusted_asset(assets)?;
    let (voucher, kind) = read_voucher(payload)?;
    check_channel(&voucher, &terms)?;
    check_terms(payload, requirements)?;
    if !voucher.channel.payer_authorizer.is_zero() {
        check_signature(&voucher, &terms, voucher.channel.payer_authorizer)?;
    }
    Ok(Bound { terms, voucher, kind })
}

impl Bound {
    pub fn channel_id(&self) -> B256 {
        self.voucher.channel_id
    }

    /// Where the channel names no key the escrow asks the payer: by its key where it has no code, else by ERC-1271.
    pub async fn prove(&self, chain: &dyn Chain) -> Result<(), OnChainError> {
        let channel = &self.voucher.channel;
        if !channel.payer_authorizer.is_zero() {
            return Ok(());
        }
        if chain.code(channel.payer).await?.is_empty() {
            return Ok(check_signature(&self.voucher, &self.terms, channel.payer)?);
        }
        let digest = voucher_digest(self.terms.network, self.voucher.channel_id, self.voucher.max_claimable);
        let signature = WalletSignature::read(&self.voucher.signature)?;
        match chain.wallet_answer(channel.payer, digest, &signature).await? {
            WalletAnswer::Signed => Ok(()),
            WalletAnswer::Refused | WalletAnswer::NotMade => {
                Err(wrong_signature(channel.payer, "one that the wallet does not call its own").into())
            }
        }
    }
}

/// The channel is the one that is named, and the one that the payee asks for.
fn check_channel(voucher: &Voucher, terms: &Terms) -> Result<(), Refusal> {
    let channel = &voucher.channel;
    let id = channel.id(terms.network);
    if id != voucher.channel_id {
        let field = "payload.voucher.channelId";
        return Err(Refusal::new(Reason::BatchChannelIdMismatch, field, id, voucher.channel_id));
    }
    let Transfer::Channel { receiver_authorizer, withdraw_delay } = terms.transfer else {
        return Err(Refusal::new(Reason::BatchScheme, "scheme", SCHEME, "another"));
    };
    for (reason, field, expected, found) in [
        (Reason::BatchReceiverMismatch, "payload.channelConfig.receiver", terms.pay_to, channel.receiver),
        (
            Reason::BatchReceiverAuthorizerMismatch,
            "payload.channelConfig.receiverAuthorizer",
            receiver_authorizer,
            channel.receiver_authorizer,
        ),
        (Reason::BatchTokenMismatch, "payload.channelConfig.token", terms.token, channel.token),
    ] {
        if expected != found {
            return Err(Refusal::new(reason, field, expected, found));
        }
    }
    let (field, found) = ("payload.channelConfig.withdrawDelay", channel.withdraw_delay_seconds());
    if found != withdraw_delay {
        return Err(Refusal::new(Reason::BatchWithdrawDelayMismatch, field, withdraw_delay, found));
    }
    if !WITHDRAW_DELAY_SECONDS.contains(&found) {
        let (least, most) = WITHDRAW_DELAY_SECONDS.into_inner();
        let expected = format!("{least} to {most} seconds");
        return Err(Refusal::new(Reason::BatchWithdrawDelayOutOfRange, field, expected, found));
    }
    Ok(())
}

/// Late enough to be settled, early enough that the money is not bound for ever.
fn check_window(deposit: &Deposit, terms: &Terms, now: u64) -> Result<(), Refusal> {
    let authorization = &deposit.authorization;
    let field = "payload.deposit.authorization.erc3009Authorization.validBefore";
    let earliest = U256::from(now).saturating_add(U256::from(SETTLEMENT_MARGIN_SECONDS));
    let latest = now.saturating_add(terms.max_timeout_seconds).saturating_add(CLOCK_SKEW_SECONDS);
    let found = authorization.valid_before;
    if found < earliest || found > U256::from(latest) {
        let expected = format!("{earliest} to {latest}");
        return Err(Refusal::new(Reason::ValidBefore, field, expected, found));
    }
    if authorization.valid_after > U256::from(now) {
        let field = "payload.deposit.authorization.erc3009Authorization.validAfter";
        let (expected, found) = (format!("at most {now}"), authorization.valid_after);
        return Err(Refusal::new(Reason::ValidAfter, field, expected, found));
    }
    Ok(())
}

fn check_terms(payload: &PaymentPayload, requirements: &PaymentRequirements) -> Result<(), Refusal> {
    let mut required = requirements.clone();
    for name in CORRECTIVE {
        required.extra.as_mut().and_then(|extra: &mut Map<String, Value>| extra.remove(name));
    }
    check_accepted(&payload.accepted, &required)
}

fn check_signature(voucher: &Voucher, terms: &Terms, signer: Address) -> Result<(), Refusal> {
    let digest = voucher_digest(terms.network, voucher.channel_id, voucher.max_claimable);
    let recovered = EvmSignature::read(&voucher.signature).and_then(|signature| signature.recover(digest));
    match recovered {
        Ok(found) if found == signer => Ok(()),
        Ok(found) => Err(wrong_signature(signer, &found.to_string())),
        Err(error) => Err(wrong_signature(signer, &error.to_string())),
    }
}

fn wrong_signature(signer: Address, found: &str) -> Refusal {
    let expected = format!("a signature of {signer} over all that may be claimed");
    Refusal::new(Reason::BatchVoucherSignature, "payload.voucher.signature", expected, found)
}
