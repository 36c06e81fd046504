//! The payer's side: the channel that an offer asks for, a voucher for one request, with a deposit where there is too little
//! in it, and what the payee says to it.

use alloy_primitives::aliases::U40;
use alloy_primitives::{Address, B256, U256};
use serde_json::{Map, Value, json};

use super::channel::{Channel, deposit_digest, deposit_nonce, voucher_digest};
use super::{EIP3009_COLLECTOR, SCHEME};
use crate::exact::{Authorization, EvmSignature, Signed, Terms, Transfer, WalletKey};
use crate::reason::Reason;
use crate::refusal::Refusal;
use crate::select::{AuthorizeError, Offer};
use crate::settlement::ClaimKey;
use crate::value::Amount;
use crate::wire::{PaymentPayload, PaymentRequired, ResourceInfo, SettleResponse, X402_VERSION};

/// The channel of this payer that pays an offer. Who needs another one beside it takes another number.
pub fn channel_for(terms: &Terms, payer: Address, number: u64) -> Option<Channel> {
    let Transfer::Channel { receiver_authorizer, withdraw_delay } = terms.transfer else { return None };
    Some(Channel {
        payer,
        // Its own key answers for it: a contract's word could be taken back, and payees refuse it.
        payer_authorizer: payer,
        receiver: terms.pay_to,
        receiver_authorizer,
        token: terms.token,
        withdraw_delay: U40::try_from(withdraw_delay).ok()?,
        salt: B256::from(U256::from(number)),
    })
}

/// Money for a channel, before it is signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TopUp {
    pub amount: Amount,
    /// Of the deposit's nonce.
    pub salt: U256,
    /// Unix seconds.
    pub valid_before: u64,
}

/// A voucher for one request, before it is signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Draw<'a> {
    pub offer: &'a Offer,
    pub channel: Channel,
    /// What was charged in the channel before.
    pub before: Amount,
    pub top_up: Option<TopUp>,
}

impl Draw<'_> {
    pub fn channel_id(&self) -> B256 {
        self.channel.id(self.offer.network())
    }

    /// All that may be claimed by it; `None` beyond the range of an amount.
    pub fn max_claimable(&self) -> Option<Amount> {
        self.before.checked_add(self.offer.amount())
    }

    /// What the wallet signs for the deposit.
    pub fn authorization(&self) -> Option<Authorization> {
        self.top_up.map(|top_up| Authorization {
            from: self.channel.payer,
            to: EIP3009_COLLECTOR,
            value: U256::from(top_up.amount.get()),
            valid_after: U256::ZERO,
            valid_before: U256::from(top_up.valid_before),
            nonce: deposit_nonce(self.channel_id(), top_up.salt),
        })
    }

    /// The claim of the deposit.
    pub fn deposit_key(&self) -> Option<ClaimKey> {
        let authorization = self.authorization()?;
        let signed = Signed::Eip3009(authorization);
        Some(signed.claim_key(self.offer.terms()))
    }

    pub fn sign(&self, key: &WalletKey) -> Result<PaymentPayload, AuthorizeError> {
        let kind = if self.top_up.is_some() { "deposit" } else { "voucher" };
        let max = self.max_claimable().ok_or(AuthorizeError::Scheme(SCHEME))?;
        let mut payload = voucher(&self.channel, self.offer, kind, max, key)?;
        if let (Some(top_up), Some(authorization)) = (self.top_up, self.authorization()) {
            let signature = key.sign(deposit_digest(self.offer.domain(), &authorization))?;
            let signed = json!({
                "validAfter": authorization.valid_after.to_string(),
                "validBefore": authorization.valid_before.to_string(),
                "salt": B256::from(top_up.salt).to_string(),
                "signature": signature.to_text(),
            });
            let deposit =
                json!({ "amount": top_up.amount.to_string(), "authorization": { "erc3009Authorization": signed } });
            payload.insert("deposit".to_owned(), deposit);
        }
        Ok(carried(self.offer, payload))
    }
}

/// Asks for all that is left in a channel where so much was charged. It pays for nothing: what was charged is signed already.
pub fn ask_back(
    offer: &Offer,
    channel: &Channel,
    charged: Amount,
    key: &WalletKey,
) -> Result<PaymentPayload, AuthorizeError> {
    Ok(carried(offer, voucher(channel, offer, "refund", charged, key)?))
}

fn voucher(
    channel: &Channel,
    offer: &Offer,
    kind: &str,
    max: Amount,
    key: &WalletKey,
) -> Result<Map<String, Value>, AuthorizeError> {
    let (expected, found) = (channel.payer_authorizer, key.address());
    if expected != found {
        return Err(AuthorizeError::Signer { expected, found });
    }
    let id = channel.id(offer.network());
    let signature = key.sign(voucher_digest(offer.network(), id, max))?;
    let signed = json!({
        "channelId": id.to_string(), "maxClaimableAmount": max.to_string(), "signature": signature.to_text(),
    });
    Ok(Map::from_iter([
        ("type".to_owned(), kind.into()),
        ("channelConfig".to_owned(), channel.shown()),
        ("voucher".to_owned(), signed),
    ]))
}

fn carried(offer: &Offer, payload: Map<String, Value>) -> PaymentPayload {
    PaymentPayload {
        x402_version: X402_VERSION,
        resource: Some(ResourceInfo::new(offer.resource_url().to_owned())),
        accepted: offer.requirements().clone(),
        payload,
        extensions: None,
        unknown: Map::new(),
    }
}

/// What a payee says that it charged for the newest voucher, of which `before` was charged before and `most` may be. Its word:
/// read strictly, held against what was signed, and good for nothing more.
pub fn charged_of(
    response: &SettleResponse,
    channel: B256,
    (before, most): (Amount, Amount),
) -> Result<Amount, Refusal> {
    let extra = response.extra.as_ref();
    let state = extra.and_then(|extra| extra.get("channelState")).and_then(Value::as_object);
    let text = |object: Option<&Map<String, Value>>, name: &str| {
        object.and_then(|object| object.get(name)).and_then(Value::as_str).map(str::to_owned).unwrap_or_default()
    };
    check_channel(&text(state, "channelId"), channel)?;
    let charged = amount(&text(extra, "chargedAmount"), "extra.chargedAmount")?;
    let so_far = amount(&text(state, "chargedCumulativeAmount"), "extra.channelState.chargedCumulativeAmount")?;
    let found = so_far_charged(so_far, before, most)?;
    if found != charged {
        let (field, expected) = ("extra.chargedAmount", format!("the {found} by which {before} became {so_far}"));
        return Err(Refusal::new(Reason::BatchCumulativeMismatch, field, expected, charged));
    }
    Ok(charged)
}

/// Where a channel stands by its payee's count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Corrected {
    /// For the newest voucher.
    pub charged: Amount,
    pub so_far: Amount,
    /// Whether it shows the payer's own signature over as much. Where it does not, the escrow alone can say so.
    pub is_signed: bool,
}

/// The same from a 402 to a payer that is out of step, which shows that payer's own newest signature: `None` where it shows no
/// state of a channel at all.
pub fn corrected_of(
    required: &PaymentRequired,
    channel: &Channel,
    offer: &Offer,
    (before, most): (Amount, Amount),
) -> Result<Option<Corrected>, Refusal> {
    let id = channel.id(offer.network());
    let is_own = |extra: &&Map<String, Value>| {
        let shown = extra.get("channelState").and_then(|state| state.get("channelId")).and_then(Value::as_str);
        shown.is_some_and(|shown| shown.eq_ignore_ascii_case(&id.to_string()))
    };
    let mut extras = required.accepts.iter().filter_map(|entry| entry.extra.as_ref());
    let Some(extra) = extras.find(is_own) else { return Ok(None) };
    let text = |object: &str, name: &str| {
        let found = extra.get(object).and_then(|object| object.get(name)).and_then(Value::as_str);
        found.unwrap_or_default().to_owned()
    };
    let so_far =
        amount(&text("channelState", "chargedCumulativeAmount"), "extra.channelState.chargedCumulativeAmount")?;
    let charged = so_far_charged(so_far, before, most)?;
    if extra.get("voucherState").is_none_or(Value::is_null) {
        return Ok(Some(Corrected { charged, so_far, is_signed: so_far.is_zero() }));
    }
    let signed = amount(&text("voucherState", "signedMaxClaimable"), "extra.voucherState.signedMaxClaimable")?;
    let field = "extra.voucherState.signature";
    let signature = text("voucherState", "signature");
    let recovered = EvmSignature::read(&signature)
        .and_then(|signature| signature.recover(voucher_digest(offer.network(), id, signed)));
    let expected = format!("one of {} over {signed}", channel.payer_authorizer);
    match recovered {
        Ok(found) if found == channel.payer_authorizer => {}
        Ok(found) => return Err(Refusal::new(Reason::BatchVoucherSignature, field, expected, found)),
        Err(error) => return Err(Refusal::new(Reason::BatchVoucherSignature, field, expected, error)),
    }
    if signed < so_far {
        let (field, expected) = ("extra.voucherState.signedMaxClaimable", format!("{so_far} or more"));
        return Err(Refusal::new(Reason::BatchCumulativeMismatch, field, expected, signed));
    }
    Ok(Some(Corrected { charged, so_far, is_signed: true }))
}

/// What a payee counts goes on from where we are, and never beyond what is signed.
fn so_far_charged(so_far: Amount, before: Amount, most: Amount) -> Result<Amount, Refusal> {
    let charged = so_far.checked_sub(before).filter(|charged| *charged <= most);
    charged.ok_or_else(|| {
        let field = "extra.channelState.chargedCumulativeAmount";
        let expected = format!("{before} charged before and at most {most} more");
        Refusal::new(Reason::BatchCumulativeMismatch, field, expected, so_far)
    })
}

fn check_channel(found: &str, channel: B256) -> Result<(), Refusal> {
    if found.eq_ignore_ascii_case(&channel.to_string()) {
        return Ok(());
    }
    let found = if found.is_empty() { "none" } else { found };
    Err(Refusal::new(Reason::BatchChannelIdMismatch, "extra.channelState.channelId", channel, found))
}

fn amount(text: &str, field: &'static str) -> Result<Amount, Refusal> {
    text.parse().map_err(|error: ledger::money::ParseAmountError| {
        Refusal::new(Reason::BatchCumulativeMismatch, field, error, if text.is_empty() { "none" } else { text })
    })
}
