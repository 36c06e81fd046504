//! The seller's signed receipt of a payment of ours (x402 `offer-receipt`): looked at, and kept with the payment as it came.
//!
//! It says who was paid for what by whom, and no amount. It is a word: what was paid the chain says, and a receipt that says
//! otherwise changes nothing but what is known of its seller.

use alloy_primitives::Address;
use ledger::claim::ClaimKey;
use ledger::command::Command;
use ledger::spend::{Spend, SpendState};
use mandates::did::Did;
use mandates::json::Object;
use mandates::jws::Jws;
use mandates::keys::{KeySet, PublicKey};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use x402::offer_receipt::{self, Artifact};
use x402::wire::SettleResponse;

use super::{Vouched, did_of_host, vouched_by_key};
use crate::consent::to_canonical_document;
use crate::error::EngineError;
use crate::evidence::{Bundle, Rail};
use crate::{Engine, Identity};

const TYPE: &str = "purser.sellers-receipt/1";
/// How far the seller's clock may be behind ours.
const CLOCK_SKEW_SECONDS: i64 = 300;

/// What is kept of it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Kept {
    pub r#type: String,
    /// As it came.
    pub receipt: Value,
    /// What the resource's own host published then, where the signature names it: a JWK set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub published: Option<Object>,
    pub found: Found,
}

/// What was found of it, before anybody looked at the chain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Found {
    /// Of this payment, under this signature.
    Signed(Vouched),
    NotTrue(String),
}

/// The payment that it must be of.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bound<'a> {
    pub resource_url: &'a str,
    pub spend: &'a Spend,
    /// Unix seconds.
    pub held_at: i64,
    /// Of who is paid, on record.
    pub keys: &'a [PublicKey],
    pub published: Option<&'a KeySet>,
}

/// What a receipt says, where it is of this payment and its signature is one.
pub(crate) struct Judged {
    pub vouched: Vouched,
    pub payload: Map<String, Value>,
}

/// Pure, so that whoever has the file comes to the same.
pub(crate) fn judge(receipt: &Value, bound: Bound<'_>) -> Result<Judged, String> {
    let artifact = offer_receipt::artifact(receipt).ok_or("a receipt in the form jws or eip712 was expected")?;
    let payload = match &artifact {
        Artifact::Jws(text) => Jws::parse(text).map_err(|error| error.to_string())?.payload().to_object(),
        Artifact::Eip712 { payload, .. } => (*payload).clone(),
    };
    let Bound { resource_url, spend, held_at, keys, published } = bound;
    let address = |text: &str| x402::value::address(text).map_err(|_| format!("{text} is no address"));
    let (network, payer) = (spend.authorization.chain(), address(&spend.authorization.payer)?);
    if !offer_receipt::is_receipt_of(&payload, resource_url, network, payer) {
        let found = shown(&payload);
        return Err(format!(
            "a receipt of {resource_url}, paid by {payer} on {network}, was expected, {found} is there"
        ));
    }
    let issued = offer_receipt::issued_at(&payload).unwrap_or_default();
    if issued.saturating_add(CLOCK_SKEW_SECONDS) < held_at {
        return Err(format!("a receipt made after {held_at} was expected, one of {issued} is there"));
    }
    let vouched = match artifact {
        Artifact::Jws(text) => vouched_by_key(text, (keys, published))
            .map_err(|wrong| format!("{} was expected, {} is there", wrong.expected, wrong.found))?,
        Artifact::Eip712 { payload, signature } => by_account(payload, signature, address(&spend.pay_to)?)?,
    };
    Ok(Judged { vouched, payload })
}

fn by_account(payload: &Map<String, Value>, signature: &str, pay_to: Address) -> Result<Vouched, String> {
    match offer_receipt::receipt_signer(payload, signature) {
        None => Err("a signature of 65 bytes was expected, another one is there".into()),
        Some(signer) if signer == pay_to => Ok(Vouched::ByPayee),
        Some(_) => Ok(Vouched::ByItself),
    }
}

/// A seller's words in a sentence of ours: short, and without a line of their own.
fn shown(payload: &Map<String, Value>) -> String {
    let text = Value::Object(payload.clone()).to_string();
    text.chars().take(300).map(|letter| if letter.is_control() { '\u{fffd}' } else { letter }).collect()
}

impl Found {
    pub fn of(judged: &Result<Judged, String>) -> Self {
        match judged {
            Ok(judged) => Self::Signed(judged.vouched),
            Err(why) => Self::NotTrue(why.clone()),
        }
    }
}

/// Keys as a bundle has them: of who was paid, as they were on record then.
pub(crate) fn keys_of(bundle: &Bundle) -> Vec<PublicKey> {
    bundle.merchant_keys.iter().flatten().filter_map(|jwk| PublicKey::from_jwk(jwk).ok()).collect()
}

impl Engine {
    /// Keeps the receipt that came with a seller's answer, where one did and none is kept. Whatever is wrong with it is kept
    /// with it, and nothing else comes of that.
    pub(crate) async fn keep_receipt(
        &self,
        identity: &Identity,
        spend: &Spend,
        said: &SettleResponse,
    ) -> Result<(), EngineError> {
        let Some(receipt) = offer_receipt::receipt(&said.unknown) else { return Ok(()) };
        let is_paid = matches!(spend.state, SpendState::Settled | SpendState::SpentOtherwise);
        let key = ClaimKey::Attested(spend.id);
        if !(is_paid || spend.state.is_signed()) || self.store.claim(&identity.tenant, &key).await?.is_some() {
            return Ok(());
        }
        let bundle = self.bundle(identity, spend).await?;
        let Rail::X402(offered) = &bundle.rail else { return Ok(()) };
        let resource_url = offered.payment_required.resource.url.as_str();
        let records = self.store.records_of_spend(&identity.tenant, spend.id).await?;
        let held_at = records.first().map_or(i64::MIN, |(_, record)| record.at.seconds());
        let published = match named_host(receipt, resource_url) {
            Some(did) => self.published_by(&did).await,
            None => None,
        };
        let keys = keys_of(&bundle);
        let bound = Bound { resource_url, spend, held_at, keys: &keys, published: published.as_ref() };
        let found = Found::of(&judge(receipt, bound));
        if let Found::NotTrue(why) = &found {
            tracing::warn!(spend = %spend.id, payee = %spend.payee, "the seller signed a receipt that is not true: {why}");
        }
        let published = published.as_ref().map(KeySet::to_jwks);
        let kept = Kept { r#type: TYPE.into(), receipt: receipt.clone(), published, found };
        let document = to_canonical_document("sellers-receipt", &kept)?;
        let command = Command::Attest { spend: spend.id, document: document.digest() };
        self.run(identity, command, vec![document]).await.map(|_| ())
    }
}

/// The host whose document a receipt names, where it is the resource's own.
fn named_host(receipt: &Value, resource_url: &str) -> Option<Did> {
    let Artifact::Jws(text) = offer_receipt::artifact(receipt)? else { return None };
    did_of_host(Jws::parse(text).ok()?.kid()?, resource_url)
}

#[cfg(test)]
mod tests;
