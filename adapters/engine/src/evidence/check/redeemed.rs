//! Of a vault token: what was allowed, which attempt was made, and the receipt over what the processor said.

use ledger::effects::{Effects, Fact, Operation};
use ledger::id::Digest;
use ledger::spend::{Spend, SpendState};
use mandates::chain::reference_spellings;
use mandates::clock::Clock;
use mandates::keys::KeySet;
use mandates::receipt::{self, ReceiptKind, References};

use super::super::{Bundle, EvidenceFile};
use super::same;
use crate::rate::authority_from_minor;
use crate::vault::{Allowed, KeptAnswer, ProcessorAnswer};

pub(super) fn check_attempt(allowed: &Allowed, spend: &Spend, records: &[Effects]) -> Result<String, String> {
    let hold = records.iter().find_map(|record| record.spend.as_ref()).ok_or("no record carries the hold")?;
    let most = authority_from_minor(allowed.allowance.max_amount).map_err(|error| error.to_string())?;
    same("amount held", most, hold.money.amount)?;
    same("merchant", allowed.allowance.merchant_id.as_str(), spend.pay_to.as_str())?;
    let attempts = records.iter().filter(|record| record.operation == Operation::Redeem).count();
    Ok(format!("at most {most} for {}, redeemed in {attempts} attempts", spend.pay_to))
}

/// The receipt is over this payment's mandate, and its record is this payment's.
pub(super) fn check_answer(
    file: &EvidenceFile,
    bundle: &Bundle,
    spend: &Spend,
    records: &[Effects],
) -> Result<String, String> {
    if spend.state != SpendState::Settled {
        return Ok(format!("the spend is {}; there is no receipt to show", spend.state));
    }
    let settled = records.iter().rev().find(|record| record.operation == Operation::Settle);
    let settled = settled.ok_or("the spend is settled and no record says so")?;
    let text = file.receipt.as_ref().ok_or("the spend is settled and the file has no answer")?;
    let Some(Fact::Reference(digest)) = &settled.fact else {
        return Err("the record of the settlement names no answer".into());
    };
    same("digest of the answer", *digest, Digest::of(text.as_bytes()))?;
    let kept: KeptAnswer = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let ProcessorAnswer::Done { id, amount, .. } = &kept.processor else {
        return Err("the answer says that nothing was captured".into());
    };
    let captured = authority_from_minor(*amount).map_err(|error| error.to_string())?;
    same("amount captured", spend.money.amount, captured)?;
    same("transaction", file.transaction.clone().unwrap_or_default(), id.clone())?;
    let keys = KeySet::from_jwks(&kept.keys).map_err(|error| error.to_string())?;
    let known = reference_spellings(&bundle.chain).map_err(|error| error.to_string())?;
    let clock = Clock { now_seconds: settled.at.seconds(), skew_seconds: 60 };
    let receipt = receipt::verify(&kept.receipt, ReceiptKind::Payment, &keys, &clock, References::Known(&known));
    let receipt = receipt.map_err(|error| format!("{}: {error}", error.code()))?;
    Ok(format!("{} says that the processor captured it as {id}", receipt.issuer))
}
