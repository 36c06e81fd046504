//! The same of a mandate that was closed for somebody else: what they got, and what they answered.

use ledger::command::Answered;
use ledger::effects::{Effects, Fact, Operation};
use ledger::id::{BudgetId, Digest};
use ledger::spend::{Spend, SpendState};
use mandates::chain::reference_spellings;
use mandates::clock::Clock;
use mandates::constraint::OpenCheckout;
use mandates::keys::KeySet;
use mandates::mandate::Family;
use mandates::payment::ClosedPayment;
use mandates::receipt::{self, ReceiptKind, References};
use mandates::trust::Roots;
use mandates::verify::{Closed, Context, Expected, ExpectedFamily, Nonces, Purchase, Revoked, Usage, verify};

use super::{clock, merchant_keys, same};
use crate::closing::{Addressee, KeptReceipt, Papers, RESOLUTION_TYPE, Resolution, claimed, said};
use crate::evidence::{Bundle, EvidenceFile, Presented};
use crate::mint::LEAF_AGE_SECONDS_MAX;
use crate::rate::authority_from_minor;
use crate::verify::SKEW_SECONDS;

/// The document that the last record of these operations names, and that record.
fn named<'a>(records: &'a [Effects], operations: &[Operation]) -> Option<(Digest, &'a Effects)> {
    let named = records.iter().rev().filter(|record| operations.contains(&record.operation));
    named
        .filter_map(|record| match &record.fact {
            Some(Fact::Reference(digest)) => Some((*digest, record)),
            _ => None,
        })
        .next()
}

fn papers(file: &EvidenceFile) -> Result<Option<Papers>, String> {
    let read = file.papers.as_deref().map(serde_json::from_str);
    read.transpose().map_err(|error| error.to_string())
}

pub(super) fn check_papers(
    file: &EvidenceFile,
    bundle: &Bundle,
    presented: &Presented,
    spend: &Spend,
    records: &[Effects],
    trusted: &dyn Roots,
) -> Result<String, String> {
    let payment = ClosedPayment::parse(&presented.payment).map_err(|error| error.to_string())?;
    let units = authority_from_minor(payment.payment_amount.amount).map_err(|error| error.to_string())?;
    same("amount", spend.money.amount, units)?;
    same("expiry", spend.valid_before, payment.expires_at_seconds.unwrap_or(0))?;
    same("verifier", spend.pay_to.as_str(), presented.verifier.audience.as_str())?;
    same("nonce", hex::encode(spend.authorization.nonce), claimed(&presented.verifier).to_string())?;
    let Some((digest, record)) = named(records, &[Operation::Submit]) else {
        return match file.papers {
            None => Ok("nothing was given away".into()),
            Some(_) => Err("the file has papers that no record names".into()),
        };
    };
    let text = file.papers.as_deref().ok_or("a record names papers; the file has none")?;
    same("digest of the papers", digest, Digest::of(text.as_bytes()))?;
    let papers = papers(file)?.ok_or("the file has no papers")?;
    let keys = merchant_keys(bundle)?;
    let jwt = bundle.cart.as_deref().ok_or("a closing without its cart")?;
    let judged = |chain: &str, family: Family, to: &Addressee| {
        let context = Context {
            clock: clock(record.at.seconds(), chain),
            trusted,
            family: ExpectedFamily::Exactly(family),
            expected: Expected::Exactly { audience: &to.audience, nonce: &to.nonce },
            leaf_age_seconds_max: LEAF_AGE_SECONDS_MAX,
            purchase: Purchase::Cart { checkout_jwt: jwt, merchant_keys: &keys },
            open_checkout: OpenCheckout::Unknown,
            usage: Usage::Unknown,
            nonces: Nonces::LeftToState,
            revoked: Revoked::LeftToState,
        };
        verify(chain, &context).outcome.map_err(|error| format!("{}: {error}", error.code()))
    };
    let facts = judged(&papers.payment, Family::Payment, &presented.verifier)?;
    let leaf = facts.open.last().map(|open| BudgetId(*open.identity.as_bytes()));
    if leaf != Some(spend.budget) {
        return Err(format!("a mandate under {} was expected to be given away, another was", spend.budget));
    }
    let given = facts.closed.as_ref().map(|closed| &closed.mandate);
    if !matches!(given, Some(Closed::Payment(given)) if *given == payment) {
        return Err("what was given away is another payment than was held".into());
    }
    if let Some(merchant) = &presented.merchant {
        let chain = papers.checkout.as_deref().ok_or("the merchant's mandate is missing")?;
        judged(chain, Family::Checkout, merchant)?;
    }
    Ok(format!("closed for {} over {}", presented.verifier.audience, payment.payment_amount))
}

pub(super) fn check_receipt(file: &EvidenceFile, spend: &Spend, records: &[Effects]) -> Result<String, String> {
    let found = named(records, &[Operation::Settle, Operation::Release]);
    let (Some((digest, record)), Some(text)) = (found, &file.receipt) else {
        return match (found, spend.state) {
            (Some(_), _) => Err("a record names a receipt; the file has none".into()),
            (None, SpendState::Settled | SpendState::SpentOtherwise) => {
                Err(format!("the spend is {} and no record says by which receipt", spend.state))
            }
            (None, state) => Ok(format!("the spend is {state}; there is no receipt to show")),
        };
    };
    same("digest of the receipt", digest, Digest::of(text.as_bytes()))?;
    let first = statement(file, text, record)?;
    same("what was said", record.operation == Operation::Settle, first.answer == Answered::Paid)?;
    let (last, told) = match (named(records, &[Operation::Misspend]), &file.contradiction) {
        (None, None) => {
            same("state", spend.state == SpendState::Settled, first.answer == Answered::Paid)?;
            (digest, format!("{} {}", spend.pay_to, first.by))
        }
        (Some((digest, record)), Some(text)) => {
            same("digest of the second receipt", digest, Digest::of(text.as_bytes()))?;
            let second = statement(file, text, record)?;
            same("state", spend.state, SpendState::SpentOtherwise)?;
            if first.answer == second.answer {
                return Err("two statements that contradict each other were expected, they say the same".into());
            }
            let told = format!("{} {}, and then the opposite, {}: an incident", spend.pay_to, first.by, second.by);
            (digest, told)
        }
        (Some(_), None) => return Err("a record names a second receipt; the file has none".into()),
        (None, Some(_)) => return Err("the file has a second receipt that no record names".into()),
    };
    same("transaction", file.transaction.clone().unwrap_or_default(), last.to_string())?;
    Ok(told)
}

/// What one document says became of the payment, and on whose word.
struct Statement {
    answer: Answered,
    by: String,
}

fn statement(file: &EvidenceFile, text: &str, record: &Effects) -> Result<Statement, String> {
    let read: serde_json::Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
    if read["type"] == RESOLUTION_TYPE {
        let resolution: Resolution = serde_json::from_value(read).map_err(|error| error.to_string())?;
        let all = [Answered::Paid, Answered::NotPaid];
        let answer = all.into_iter().find(|answer| said(*answer) == resolution.answer);
        let answer = answer.ok_or_else(|| format!("`{}` is no resolution", resolution.answer))?;
        let by = format!("did not answer; operator {} did: {}", record.caller.principal, resolution.because);
        return Ok(Statement { answer, by });
    }
    let kept: KeptReceipt = serde_json::from_value(read).map_err(|error| error.to_string())?;
    let keys = KeySet::from_jwks(&kept.keys).map_err(|error| error.to_string())?;
    let papers = papers(file)?.ok_or("there is a receipt, and no papers that it could answer")?;
    let known = reference_spellings(&papers.payment).map_err(|error| error.to_string())?;
    let clock = Clock { now_seconds: record.at.seconds(), skew_seconds: SKEW_SECONDS };
    let read = receipt::verify(&kept.receipt, ReceiptKind::Payment, &keys, &clock, References::Known(&known));
    let read = read.map_err(|error| format!("{}: {error}", error.code()))?;
    let answer = if read.is_success() { Answered::Paid } else { Answered::NotPaid };
    Ok(Statement { answer, by: "answered, under a key that was on record then".into() })
}
