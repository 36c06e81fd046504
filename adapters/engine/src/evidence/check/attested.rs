//! The seller's signed receipt: what it says, who vouches for it, and whether the chain says the same. One that is not true
//! is shown as that; it is evidence against its seller, and makes nothing else of the file wrong.

use ledger::effects::{Effects, Fact};
use ledger::id::Digest;
use ledger::spend::{Spend, SpendState};
use mandates::keys::KeySet;
use x402::offer_receipt;

use super::super::{Bundle, EvidenceFile, Offered};
use super::same;
use crate::attest::Vouched;
use crate::attest::receipt::{Bound, Found, Judged, Kept, judge, keys_of};

pub(super) fn check(
    file: &EvidenceFile,
    bundle: &Bundle,
    offered: &Offered,
    spend: &Spend,
    (records, record): (&[Effects], &Effects),
) -> Result<String, String> {
    let Some(Fact::Reference(digest)) = &record.fact else { return Err("a receipt without its text".into()) };
    let text = file.sellers_receipt.as_deref().ok_or("the seller's receipt is not in the file")?;
    same("receipt", digest.to_string(), Digest::of(text.as_bytes()).to_string())?;
    let kept: Kept = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let published = kept.published.as_ref().map(KeySet::from_jwks).transpose().map_err(|error| error.to_string())?;
    let keys = keys_of(bundle);
    let held_at = records.first().map_or(i64::MIN, |record| record.at.seconds());
    let resource_url = offered.payment_required.resource.url.as_str();
    let judged =
        judge(&kept.receipt, Bound { resource_url, spend, held_at, keys: &keys, published: published.as_ref() });
    if Found::of(&judged) != kept.found {
        return Err(format!("{:?} was found when it came, {:?} is found now", kept.found, Found::of(&judged)));
    }
    Ok(match judged {
        Err(why) => format!("NOT TRUE, and signed or sent by the seller: {why}"),
        Ok(judged) => told(&judged, spend),
    })
}

/// What it proves, beside what the chain shows.
fn told(judged: &Judged, spend: &Spend) -> String {
    let by = match judged.vouched {
        Vouched::ByPayee => "by who was paid",
        Vouched::ByOrigin => "by a key that the resource's host published",
        Vouched::ByItself => "by a key that nobody names",
        Vouched::NotLookedAt => "in a way that is not read here, so by nobody",
    };
    let named = offer_receipt::transaction(&judged.payload);
    let seen = spend.transaction.as_ref().filter(|_| spend.state == SpendState::Settled).map(ToString::to_string);
    match (named, seen) {
        (Some(named), Some(seen)) if !named.eq_ignore_ascii_case(&seen) => {
            format!("NOT TRUE, signed {by}: it names transaction {named}, the chain shows {seen}")
        }
        (_, None) => format!("signed {by}: that it was paid; the book says {}", spend.state),
        (Some(named), Some(_)) => format!("signed {by}: that it was paid by {named}, as the chain shows; of no amount"),
        (None, Some(_)) => {
            format!("signed {by}: that it was paid, as the chain shows; of no amount and no transaction")
        }
    }
}
