//! Payments out of a channel: no transaction shows them. Shown are the voucher, and what its payee said that it charged.

use ledger::channel::{Step, number_of, step_nonce};
use ledger::effects::{Effects, Fact, Operation};
use ledger::id::Digest;
use ledger::spend::Spend;
use x402::batch_settlement;
use x402::network::AssetTable;
use x402::wire::PaymentPayload;

use super::super::{EvidenceFile, Offered};
use super::same;
use crate::book;

/// The voucher is over what was charged before and what was held, in the channel that the book names.
pub(super) fn check_voucher(
    payload: &PaymentPayload,
    offered: &Offered,
    spend: &Spend,
    records: &[Effects],
    assets: &AssetTable,
) -> Result<String, String> {
    let bound =
        batch_settlement::check_voucher(payload, &payload.accepted, assets).map_err(|error| error.to_string())?;
    let number = number_of(&spend.authorization).ok_or("the spend is no step of a channel")?;
    let nonce = step_nonce(bound.channel_id().0, number);
    same("nonce", hex::encode(nonce), hex::encode(spend.authorization.nonce))?;
    same("payer", book::text(bound.voucher.channel.payer), spend.authorization.payer.clone())?;
    same("payee", spend.pay_to.clone(), book::text(bound.terms.pay_to))?;
    let hold = records.iter().find(|record| record.operation == Operation::Hold).ok_or("no record of the hold")?;
    let held = hold.spend.as_ref().ok_or("the hold has no spend")?;
    same("amount", held.money.amount.to_string(), bound.terms.amount.to_string())?;
    let step = Step::of(held).map_err(|fault| fault.to_string())?;
    let signed = step.signed(held.money.amount).map_or_else(String::new, |signed| signed.to_string());
    same("all that may be claimed", signed, bound.voucher.max_claimable.to_string())?;
    if !offered.payment_required.accepts.contains(&payload.accepted) {
        return Err("what was accepted was not offered".into());
    }
    let (payer, most) = (&spend.authorization.payer, held.money.amount);
    Ok(format!("a voucher of {payer} for {most} at most, step {number} of channel {}", bound.channel_id()))
}

pub(super) fn check_answer(file: &EvidenceFile, records: &[Effects], spend: &Spend) -> Result<String, String> {
    let answered = records.iter().find(|record| record.operation == Operation::Answer);
    let step = Step::of(spend).map_err(|fault| fault.to_string())?;
    let charged = step.charged.ok_or("the spend is settled and says no charge")?;
    let Some(record) = answered else {
        return Ok(format!("{charged} were charged, as the escrow showed when the channel was empty"));
    };
    let Some(Fact::Reference(digest)) = &record.fact else { return Err("an answer without its text".into()) };
    let said = file.receipt.as_deref().ok_or("what the payee answered is not in the file")?;
    same("answer", digest.to_string(), Digest::of(said.as_bytes()).to_string())?;
    Ok(format!("the payee answered that it charged {charged}"))
}
