//! Checking an evidence file offline, with the keys that the verifier trusts.

mod approval;
mod attested;
mod drawn;
mod presented;
mod redeemed;
mod ruled;

use std::fmt;

use ledger::effects::{Effects, Fact, Operation};
use ledger::id::{BudgetId, Digest};
use ledger::journal::leaf;
use ledger::origin::{Build, Issuer};
use ledger::spend::{CHARGED, HELD, Spend, SpendState};
use mandates::base64url;
use mandates::clock::Clock;
use mandates::constraint::OpenCheckout;
use mandates::keys::{KeySet, PublicKey};
use mandates::mandate::Family;
use mandates::trust::Roots;
use mandates::verify::{Context, Expected, ExpectedFamily, Nonces, Purchase, Revoked, Usage, verify};
use serde_json::Value;
use x402::exact::{self, Transfer};
use x402::network::AssetTable;
use x402::permit2;
use x402::scheme;

use super::{Bundle, EvidenceFile, Offered, Rail, Record};
use crate::book;
use crate::consent::IntentDocument;
use crate::mint::{LEAF_AGE_SECONDS_MAX, WALLET_SKEW_SECONDS};

/// One step of a check, and what was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    pub check: &'static str,
    pub holds: bool,
    pub detail: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {}", if self.holds { "ok  " } else { "FAIL" }, self.check, self.detail)
    }
}

/// Checks a file with the keys that the verifier trusts. Every finding is named; the file holds when all do.
pub fn check(file: &EvidenceFile, trusted: &dyn Roots, assets: &AssetTable) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut find = |check: &'static str, result: Result<String, String>| {
        let holds = result.is_ok();
        let (Ok(detail) | Err(detail)) = result;
        findings.push(Finding { check, holds, detail });
        holds
    };
    let records = open_records(file);
    find(
        "journal_records",
        records.as_ref().map(|records| format!("{} records give their leaves", records.len())).map_err(Clone::clone),
    );
    let bundle: Result<Bundle, String> = Bundle::parse(&file.bundle).map_err(|error| error.to_string());
    find("bundle", bundle.as_ref().map(|bundle| bundle.r#type.clone()).map_err(Clone::clone));
    let (Ok(records), Ok(bundle)) = (records, bundle) else { return findings };
    let spend = records.iter().rev().find_map(|record| record.spend.clone());
    let Some(spend) = spend else {
        find("spend", Err("no record carries the spend".into()));
        return findings;
    };
    find("spend", check_spend(file, &spend));
    find("origin", check_origin(&records, &spend));
    find("decision", check_decision(file, &bundle));
    if let Some(text) = &file.approval {
        find("approval", approval::check(file, text));
    }
    if approval::is_of_wallet(&bundle.chain) {
        find("wallet", approval::check_wallet(file, &bundle.chain));
    }
    if let Some(policy) = &bundle.policy {
        find("policy", ruled::check(file, &bundle, policy, &records));
    }
    find("mandate_chain", check_chain(&bundle, &spend, &records, trusted));
    match &bundle.rail {
        Rail::X402(offered) => {
            find("authorization", check_payload(file, offered, &spend, &records, assets));
            find("settlement", check_settlement(file, &records, &spend));
            if let Some(record) = records.iter().find(|record| record.operation == Operation::Attest) {
                find("sellers_receipt", attested::check(file, &bundle, offered, &spend, (&records, record)));
            }
        }
        Rail::Mandate(presented) => {
            find("authorization", presented::check_papers(file, &bundle, presented, &spend, &records, trusted));
            find("settlement", presented::check_receipt(file, &spend, &records));
        }
        Rail::Vault(allowed) => {
            find("authorization", redeemed::check_attempt(allowed, &spend, &records));
            find("settlement", redeemed::check_answer(file, &bundle, &spend, &records));
        }
    }
    findings
}

/// What a file does not prove, however well it verifies: each with where the proof would come from.
pub fn not_proved(file: &EvidenceFile) -> Vec<&'static str> {
    let is_of_wallet = Bundle::parse(&file.bundle).is_ok_and(|bundle| approval::is_of_wallet(&bundle.chain));
    let mut left = vec![
        match (&file.approval, is_of_wallet) {
            (Some(_), _) => "that the passkey is the person's: the issuer registered it for them",
            (None, true) => "that the credential is the person's: whose it is, is the word of who issued it",
            (None, false) => {
                "that the person decided: the decision's text is bound, who answered it is the issuer's word"
            }
        },
        "that these are all records of the payment, or that this journal is the one that others saw: \
            ask for `purser ledger prove`, and compare its checkpoint with one that was kept elsewhere",
        "that the mandate was not revoked when it was used: the issuer's status list says that of now",
        "that what was bought was delivered",
    ];
    if is_of_wallet {
        left.push("that the wallet's credential was not revoked when it was used: its issuer's list says that of now");
    }
    if file.sellers_receipt.is_some() {
        left.push("whose the key under the seller's receipt is, where no record and no host of the resource names it");
    }
    match file.papers {
        Some(_) => left.extend([
            "that money moved: whoever the mandate was closed for says so, signed, under a key that the file names",
            "that they were not given the same mandate twice: their nonce is in it, and theirs to remember",
        ]),
        None => left.push("that the chain still shows the transfer: ask a node for the transaction"),
    }
    left
}

fn open_records(file: &EvidenceFile) -> Result<Vec<Effects>, String> {
    if file.records.is_empty() {
        return Err("the file has no journal records".into());
    }
    file.records.iter().map(open).collect()
}

fn open(record: &Record) -> Result<Effects, String> {
    let bytes = base64url::decode(&record.bytes).ok_or("a record is not base64url")?;
    let salt = hex::decode(&record.salt).ok().and_then(|salt| <[u8; 32]>::try_from(salt).ok());
    let salt = salt.ok_or("a salt is not 32 bytes of hexadecimal")?;
    if leaf(&salt, &bytes) != record.leaf {
        return Err(format!(
            "record {} and its salt give leaf {}, the file says {}",
            record.seq,
            leaf(&salt, &bytes),
            record.leaf
        ));
    }
    let effects = Effects::from_bytes(&bytes).map_err(|error| error.to_string())?;
    match effects.seq == record.seq {
        true => Ok(effects),
        false => Err(format!("record {} says that it is {}", record.seq, effects.seq)),
    }
}

fn same<T: PartialEq + fmt::Display>(what: &str, expected: T, found: T) -> Result<(), String> {
    if expected == found { Ok(()) } else { Err(format!("{what}: {expected} was expected, {found} is there")) }
}

fn check_spend(file: &EvidenceFile, spend: &Spend) -> Result<String, String> {
    same("spend", file.spend, spend.id)?;
    same("state", file.state.as_str(), spend.state.as_str())?;
    same("digest of the bundle", spend.evidence, Digest::of(file.bundle.as_bytes()))?;
    Ok(format!("{} {} of {} to {}", spend.state, spend.money.amount, spend.money.asset, spend.pay_to))
}

/// What the agent ran and who vouched for it: of the record that reserved, and so of the spend.
fn check_origin(records: &[Effects], spend: &Spend) -> Result<String, String> {
    let hold = records.iter().find(|record| record.operation == Operation::Hold).ok_or("no record of the hold")?;
    let shown = |build: &Option<Build>, issuer: &Option<Issuer>| {
        let build = build.map_or_else(|| "no stated build".to_owned(), |build| format!("build {build}"));
        let issuer =
            issuer.as_ref().map_or_else(|| "a token of ours".to_owned(), |issuer| format!("a token of {issuer}"));
        format!("{build}, {issuer}")
    };
    let caller = &hold.caller;
    let by = shown(&caller.build, &caller.issuer);
    same("origin", by.as_str(), shown(&spend.build, &spend.issuer).as_str())?;
    Ok(format!("{} came with {by}", caller.principal))
}

fn check_decision(file: &EvidenceFile, bundle: &Bundle) -> Result<String, String> {
    let document: IntentDocument = serde_json::from_str(&file.decision).map_err(|error| error.to_string())?;
    same("decision", bundle.decision, document.decision)?;
    same("agent", bundle.line.first().map_or(&bundle.agent, |by| &by.agent), &document.agent)?;
    let on = bundle.line.iter().skip(1).map(|by| &by.agent).chain(bundle.line.first().map(|_| &bundle.agent));
    let on: String = on.map(|agent| format!(", who handed it on to {agent}")).collect();
    Ok(format!("{} approved {} {} for {}{on}", document.user, document.total, document.currency, document.agent))
}

/// Of the service when it judged a chain.
fn clock(now_seconds: i64, chain: &str) -> Clock {
    let skew_seconds = if approval::is_of_wallet(chain) { WALLET_SKEW_SECONDS } else { 1 };
    Clock { now_seconds, skew_seconds }
}

fn merchant_keys(bundle: &Bundle) -> Result<KeySet, String> {
    let keys = bundle.merchant_keys.iter().flatten().map(PublicKey::from_jwk).collect::<Result<Vec<_>, _>>();
    keys.and_then(KeySet::new).map_err(|error| error.to_string())
}

/// The chain as it was judged when the money was held: the record of the hold says when.
fn check_chain(bundle: &Bundle, spend: &Spend, records: &[Effects], trusted: &dyn Roots) -> Result<String, String> {
    let first = records.first().ok_or("no record")?;
    let keys = merchant_keys(bundle)?;
    let transaction_id = match &bundle.rail {
        Rail::X402(offered) => base64url::encode(&offered.offer.0),
        // Never without a cart.
        Rail::Mandate(_) => String::new(),
        Rail::Vault(allowed) => crate::vault::transaction_id(&allowed.allowance).map_err(|error| error.to_string())?,
    };
    let purchase = match &bundle.cart {
        Some(jwt) => Purchase::Cart { checkout_jwt: jwt, merchant_keys: &keys },
        None => Purchase::TransactionId(&transaction_id),
    };
    let nonce = spend.id.to_string();
    let context = Context {
        clock: clock(first.at.seconds(), &bundle.chain),
        trusted,
        family: ExpectedFamily::Exactly(Family::Payment),
        expected: Expected::Exactly { audience: &bundle.audience, nonce: &nonce },
        leaf_age_seconds_max: LEAF_AGE_SECONDS_MAX,
        purchase,
        open_checkout: OpenCheckout::Unknown,
        usage: Usage::Unknown,
        nonces: Nonces::LeftToState,
        revoked: Revoked::LeftToState,
    };
    let facts = verify(&bundle.chain, &context).outcome.map_err(|error| format!("{}: {error}", error.code()))?;
    let named: Vec<BudgetId> = bundle.line.iter().map(|by| by.mandate).chain([spend.budget]).collect();
    let open: Vec<BudgetId> = facts.open.iter().map(|open| BudgetId(*open.identity.as_bytes())).collect();
    let listed = |ids: &[BudgetId]| ids.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    same("mandates", listed(&named), listed(&open))?;
    let hold = records.iter().find(|record| record.operation == Operation::Hold).ok_or("no record of the hold")?;
    if let Some(id) = named.iter().find(|id| !hold.moves.iter().any(|step| step.budget == **id)) {
        return Err(format!("a hold that debits mandate {id} was expected, it debits others"));
    }
    Ok(format!("{} links verify under the given keys, bound to this spend", facts.open.len().saturating_add(1)))
}

fn check_payload(
    file: &EvidenceFile,
    offered: &Offered,
    spend: &Spend,
    records: &[Effects],
    assets: &AssetTable,
) -> Result<String, String> {
    let Some(payload) = &file.payload else { return Ok("nothing was signed".into()) };
    if spend.authorization.is_drawn() {
        return drawn::check_voucher(payload, offered, spend, records, assets);
    }
    let name = exact::nonce(spend.budget.0, spend.id.0);
    match spend.authorization.nonce_space() {
        None => same("nonce", hex::encode(name), hex::encode(spend.authorization.nonce))?,
        // The nonce is the hash of the terms, and this is what makes it this spend's; the check below computes the one from
        // the other.
        Some(HELD | CHARGED) => {
            let salt = payload.payload.get("saltNonce").and_then(Value::as_str).unwrap_or_default();
            same("saltNonce", format!("{name:#x}"), salt.to_ascii_lowercase())?;
        }
        Some(_) => {
            let nonce = permit2::nonce(spend.budget.0, spend.id.0);
            same("nonce", hex::encode(nonce), hex::encode(spend.authorization.nonce))?;
        }
    }
    let at = u64::try_from(spend.valid_before).unwrap_or(0).saturating_sub(x402::limit::SETTLEMENT_MARGIN_SECONDS);
    // One second more: a permit's deadline is the second before the first at which it moves nothing.
    let at = at.saturating_sub(1);
    let payment = scheme::verify(payload, &payload.accepted, assets, at).map_err(|error| error.to_string())?;
    let key = payment.expected_by_payee().key;
    let key = book::authorization(&key).map_err(|error| error.to_string())?;
    let key = match payment.terms().transfer {
        Transfer::Upto { .. } | Transfer::Escrow(_) => key.at_most(),
        Transfer::Eip3009 | Transfer::Permit2 | Transfer::Channel { .. } => key,
    };
    if key != spend.authorization {
        return Err("the signature is over another authorization than the book's".into());
    }
    // What was reserved: of a charge less may have been taken since.
    let hold = records.iter().find(|record| record.operation == Operation::Hold).ok_or("no record of the hold")?;
    let held = hold.spend.as_ref().map(|held| held.money.amount).ok_or("the hold has no spend")?;
    same("amount", held.to_string(), payment.terms().amount.to_string())?;
    same("payee", spend.pay_to.clone(), book::text(payment.terms().pay_to))?;
    if !offered.payment_required.accepts.contains(&payload.accepted) {
        return Err("what was accepted was not offered".into());
    }
    Ok(format!("signed by {} for {held} to {}", spend.authorization.payer, spend.pay_to))
}

fn check_settlement(file: &EvidenceFile, records: &[Effects], spend: &Spend) -> Result<String, String> {
    if spend.state != SpendState::Settled {
        return Ok(format!("the spend is {}; there is no settlement to show", spend.state));
    }
    if spend.authorization.is_drawn() {
        return drawn::check_answer(file, records, spend);
    }
    // The last one: the chain may have taken an earlier one back, and what came back later is no settlement.
    let says_where = |record: &&Effects| matches!(record.operation, Operation::Settle | Operation::Finalise);
    let seen = records.iter().rev().filter(says_where).find_map(|record| match &record.fact {
        Some(Fact::Seen(seen)) => Some(seen),
        _ => None,
    });
    let seen = seen.ok_or("the spend is settled and no record says where it was seen")?;
    same("transaction", file.transaction.clone().unwrap_or_default(), seen.transaction.to_string())?;
    same("amount seen", spend.money.amount, seen.amount)?;
    same("payee seen", spend.pay_to.as_str(), seen.pay_to.as_str())?;
    Ok(format!("seen in block {} as {}", seen.block_number, seen.transaction))
}
