//! What is decided about a payment before the book is asked: who is paid, what it costs, what the mandate says.

use alloy_primitives::{Address, B256};
use ledger::budget::{Budget, Caps};
use ledger::command::Pin;
use ledger::id::{Digest, PayeeId, SpendId};
use ledger::rejection::Rejection;
use ledger::spend::{Authorization, Spend};
use ledger::transfer::Money;
use mandates::cart::Cart;
use mandates::constraint::{Duty, Frequency};
use mandates::currency::Currency;
use mandates::json::Object;
use mandates::keys::{KeySet, PublicKey};
use mandates::party::{Instrument, Merchant};
use mandates::payment::ClosedPayment;
use mandates::verify::Facts;
use url::Url;
use x402::auth_capture::EscrowTerms;
use x402::exact::{self, Transfer};
use x402::permit2::pledge::Pledge;
use x402::select::Offer;

use super::channel::drawn;
use super::{MARGIN_SECONDS, PaymentRequest};
use crate::Engine;
use crate::book;
use crate::consent::{MandateView, fiat};
use crate::error::EngineError;
use crate::evidence::{Bundle, Offered, Rail};
use crate::rate::{Peg, RateError, authority_digits, authority_from_major, authority_to_minor_up};
use crate::tenant::{Payee, Tenant};

/// Who is paid, and how we know.
pub(super) struct Recipient<'a> {
    pub id: PayeeId,
    pub merchant: Merchant,
    pub record: Option<&'a Payee>,
    pub pin: Option<Pin>,
}

/// Everything that is decided before the book is asked.
pub(super) struct Draft<'a> {
    pub tenant: &'a Tenant,
    pub request: &'a PaymentRequest,
    pub digest: Digest,
    pub spend: SpendId,
    pub offer: &'a Offer,
    pub view: MandateView,
    /// The mandates of its chain, from the root.
    pub links: Vec<Budget>,
    pub recipient: Recipient<'a>,
    /// What was found of the signature under the offer, where there is one.
    pub vouched: Option<String>,
    pub authority: Money,
    pub rate: Option<Peg>,
    pub payer: Address,
    /// What is signed beside it.
    pub pledge: Option<Pledge>,
    pub nonce: B256,
    pub valid_before: u64,
}

impl Draft<'_> {
    /// The rail's exact terms stand inside what the mandate's chain signs: no conversion is ever guessed.
    pub fn closed(&self, transaction_id: String) -> Result<ClosedPayment, EngineError> {
        let currency = &self.view.record.currency;
        let amount = authority_to_minor_up(self.authority.amount, currency)?;
        let details = [
            ("network", self.offer.network().to_string()),
            ("asset", book::text(self.offer.token())),
            ("amount", self.offer.amount().to_string()),
            ("payTo", book::text(self.offer.pay_to())),
            ("payer", book::text(self.payer)),
            ("nonce", format!("{:#x}", B256::from(self.authorization()?.nonce))),
        ];
        // Only where it is not the rail's default, so that what was signed before reads as it did.
        let method = match self.offer.transfer() {
            Transfer::Eip3009 => None,
            Transfer::Permit2 => Some(("assetTransferMethod", x402::permit2::METHOD.to_owned())),
            Transfer::Upto { .. } => Some(("scheme", x402::upto::SCHEME.to_owned())),
            Transfer::Channel { .. } => Some(("scheme", x402::batch_settlement::SCHEME.to_owned())),
            Transfer::Escrow(_) => Some(("scheme", x402::auth_capture::SCHEME.to_owned())),
        };
        Ok(ClosedPayment {
            transaction_id,
            payee: self.recipient.merchant.clone(),
            payment_amount: mandates::party::Money { amount, currency: Currency::new(currency)? },
            payment_instrument: Instrument {
                id: format!("{}:{}", self.offer.network(), book::text(self.payer)),
                kind: "x402".into(),
                description: None,
                details: details
                    .into_iter()
                    .chain(method)
                    .map(|(name, value)| (name.to_owned(), value.into()))
                    .collect(),
            },
            pisp: None,
            execution_date: None,
            risk_data: None,
            issued_at_seconds: None,
            expires_at_seconds: i64::try_from(self.valid_before).ok(),
            others: Object::new(),
        })
    }

    /// The right to move money that is given away.
    pub fn authorization(&self) -> Result<Authorization, EngineError> {
        if let Transfer::Channel { .. } = self.offer.transfer() {
            return drawn(self.offer, self.payer, self.nonce);
        }
        let unsigned = self.offer.authorize(self.payer, self.nonce, 0, self.valid_before)?;
        let authorization = book::authorization(&unsigned.claim_key())?;
        Ok(match self.offer.transfer() {
            Transfer::Upto { .. } | Transfer::Escrow(_) => authorization.at_most(),
            Transfer::Eip3009 | Transfer::Permit2 | Transfer::Channel { .. } => authorization,
        })
    }

    pub fn bundle(&self, chain: String, checks: Vec<String>) -> Bundle {
        let record = &self.view.record;
        Bundle {
            r#type: crate::evidence::BUNDLE_TYPE.into(),
            request: self.digest,
            mandate: self.view.budget.id,
            decision: record.decision,
            agent: record.agent.clone(),
            line: record.line.clone(),
            chain,
            audience: self.tenant.issuer.clone(),
            cart: self.request.cart.clone(),
            merchant_keys: self.recipient.record.map(|payee| payee.keys.iter().map(PublicKey::to_jwk).collect()),
            rail: Rail::X402(Offered {
                payment_required: self.request.required.clone(),
                method: self.request.method.clone(),
                offer: Digest(self.offer.digest()),
                pledge: self.pledge,
            }),
            payee: self.recipient.merchant.claims(),
            authority: self.authority.amount,
            currency: record.currency.clone(),
            rate: self.rate.clone(),
            checks,
            policy: None,
        }
    }
}

fn on_record(payee: &Payee) -> Recipient<'_> {
    Recipient { id: payee.id.clone(), merchant: payee.merchant.clone(), record: Some(payee), pin: None }
}

/// Who asks, as far as an address says it.
pub(super) struct Place {
    pub origin: String,
    /// Where the demand was met says it, and what is bought does not.
    pub is_met: bool,
}

/// The resource's own origin, which must be the one that was asked. A tool of an MCP server has none, its name is
/// `mcp://tool/…` (x402, `transports-v2/mcp.md`): its place is that of the server that asked.
pub(super) fn place(request: &PaymentRequest, offer: &Offer) -> Result<Place, EngineError> {
    let named = offer.resource_url();
    let is_met = Url::parse(named).is_ok_and(|url| url.scheme() == "mcp");
    let met = request.url.as_deref().map(|url| origin("url", url)).transpose()?;
    match met {
        Some(met) if is_met => Ok(Place { origin: met, is_met }),
        None if is_met => {
            Err(EngineError::invalid("url", "the URL of the MCP server that asks for the payment", named))
        }
        met => {
            let named = origin("resource.url", named)?;
            if let Some(met) = met.filter(|met| *met != named) {
                return Err(EngineError::PayeeMismatch { payee: "the resource".into(), expected: met, found: named });
            }
            Ok(Place { origin: named, is_met })
        }
    }
}

/// The registry joins origin and address. Where it knows either, they must agree; where it knows neither, the first
/// payment pins them.
pub(super) fn recipient<'a>(tenant: &'a Tenant, offer: &Offer, place: Place) -> Result<Recipient<'a>, EngineError> {
    let origin = place.origin;
    let pay_to = book::text(offer.pay_to());
    let by_address = tenant.payees.paid_at(offer.network(), &pay_to);
    match (by_address, tenant.payees.at_origin(&origin)) {
        (Some(payee), None) => Ok(on_record(payee)),
        (Some(payee), Some(here)) if payee.id == here.id => Ok(on_record(payee)),
        (_, Some(here)) => {
            let known = here.pay_to.get(&offer.network()).cloned().unwrap_or_default().join(" or ");
            let expected = if known.is_empty() { format!("no address on {}", offer.network()) } else { known };
            Err(EngineError::PayeeMismatch { payee: here.id.to_string(), expected, found: pay_to })
        }
        (None, None) => {
            let id = format!("x402:{origin}");
            let name = origin.split_once("://").map_or(origin.as_str(), |(_, host)| host).to_owned();
            let merchant = Merchant { id: id.clone(), name, website: Some(origin.clone()) };
            let id = id.parse().map_err(|_| EngineError::invalid("resource.url", "a shorter host", id))?;
            let network = offer.network().to_string();
            Ok(Recipient { id, merchant, record: None, pin: Some(Pin { origin, network }) })
        }
    }
}

/// A cart counts only with keys that are on record for who is paid.
pub(super) fn merchant_keys(draft: &Draft<'_>) -> Result<KeySet, EngineError> {
    let Some(jwt) = &draft.request.cart else { return Ok(KeySet::new([])?) };
    let expected = || format!("{} ({})", draft.recipient.merchant.name, draft.recipient.merchant.id);
    let Some(record) = draft.recipient.record else {
        let found = format!("{}, whose keys are not on record", expected());
        return Err(EngineError::CartMismatch { expected: "a payee on record".into(), found });
    };
    let cart = Cart::parse(jwt)?;
    match &cart.merchant {
        Some(merchant) if merchant.is(&record.merchant) => Ok(KeySet::new(record.keys.iter().cloned())?),
        Some(merchant) => {
            let found = format!("{} ({})", merchant.name, merchant.id);
            Err(EngineError::CartMismatch { expected: expected(), found })
        }
        None => Err(EngineError::CartMismatch { expected: expected(), found: "a cart that names no merchant".into() }),
    }
}

/// What is debited, in the budget's currency: by an explicit rate, or not at all.
pub(super) fn price(tenant: &Tenant, view: &MandateView, offer: &Offer) -> Result<(Money, Option<Peg>), EngineError> {
    let currency = &view.record.currency;
    let quote = fiat(currency)?;
    let peg = tenant.pegs.iter().find(|peg| peg.base == *offer.asset() && peg.quote == quote);
    let missing = || RateError::Missing { base: offer.asset().clone(), quote: quote.clone() };
    let peg = peg.ok_or_else(missing)?;
    let amount = peg.convert(offer.amount(), u32::from(offer.decimals()), authority_digits(currency)?)?;
    Ok((Money { asset: quote, amount }, Some(peg.clone())))
}

/// What the credential left to state must be what the nodes, the outermost first, hold: each mandate of the chain is a node
/// here, in this order and with none between. A node was opened from the same document as its credential; this looks again, because the next
/// engineer may open nodes otherwise.
pub(crate) fn check_obligations(facts: &Facts, nodes: &[Budget], spend: SpendId) -> Result<(), EngineError> {
    let is_chain = facts.open.iter().map(|open| *open.identity.as_bytes()).eq(nodes.iter().map(|node| node.id.0));
    if !is_chain {
        let leaf = nodes.last().map_or_else(String::new, |node| node.id.to_string());
        return Err(EngineError::Broken(format!("the chain of mandate {leaf} is not its path in the book")));
    }
    for obligation in &facts.obligations {
        let node = nodes.iter().find(|node| node.id.0 == *obligation.mandate.as_bytes());
        let node = node.ok_or_else(|| {
            EngineError::Broken(format!("the chain names mandate {}, which is no node here", obligation.mandate))
        })?;
        if !is_held(&obligation.duty, node, spend)? {
            return Err(EngineError::Broken(format!(
                "mandate {}: the book does not hold {:?}",
                node.id, obligation.duty
            )));
        }
    }
    Ok(())
}

fn is_held(duty: &Duty, node: &Budget, spend: SpendId) -> Result<bool, EngineError> {
    let Caps { total, occurrences, frequency, .. } = node.caps;
    Ok(match duty {
        Duty::Budget(limit) => {
            let max = authority_from_major(&limit.max.to_string(), limit.currency.as_str())?;
            node.asset == fiat(limit.currency.as_str())? && total.is_some_and(|total| total <= max)
        }
        Duty::SingleUse => occurrences == Some(1),
        Duty::Occurrences(recurrence) => {
            let within = recurrence.max_occurrences.is_none_or(|max| occurrences.is_some_and(|ours| ours <= max));
            within && frequency.unwrap_or(Frequency::OnDemand) >= recurrence.frequency
        }
        // The hold consumes the nonce; it is the spend's own name.
        Duty::Nonce { nonce, .. } => *nonce == spend.to_string(),
    })
}

/// What a key stands for. The 402's text may change between two tries; what is bought and at which terms may not.
pub(super) fn request_digest(request: &PaymentRequest, offer: &Offer, place: &Place) -> Digest {
    let (again_after, offer) = (request.again_after.map(|spend| spend.0), offer.digest());
    let cart = request.cart.as_deref().unwrap_or_default().as_bytes();
    let mut parts =
        vec![&request.mandate.0[..], &offer, cart, again_after.as_ref().map_or(&[][..], |spend| &spend[..])];
    if place.is_met {
        // What is frozen does not say it.
        parts.push(place.origin.as_bytes());
    }
    Digest::of_parts("purser/payment-request/1", &parts)
}

/// Scheme, host and port, in the URL standard's spelling: look-alike hosts come out as punycode.
fn origin(field: &'static str, text: &str) -> Result<String, EngineError> {
    let invalid = || EngineError::invalid(field, "an http or https URL with a host and no user part", text);
    let url = Url::parse(text).map_err(|_| invalid())?;
    let is_plain = url.username().is_empty() && url.password().is_none() && url.has_host();
    if !matches!(url.scheme(), "http" | "https") || !is_plain {
        return Err(invalid());
    }
    Ok(url.origin().ascii_serialization())
}

impl Engine {
    /// As short as offer, policy and mandate allow: the money stays held until then.
    pub(super) fn valid_before(&self, tenant: &Tenant, view: &MandateView, offer: &Offer) -> Result<u64, EngineError> {
        let now = self.now_seconds();
        let lives = offer.max_timeout_seconds().min(tenant.limits.payment_seconds);
        let mandate_ends = u64::try_from(view.record.expires_at).unwrap_or(0);
        let valid_before = now.saturating_add(lives).min(mandate_ends);
        if let Transfer::Escrow(EscrowTerms { capture_deadline, .. }) = offer.transfer()
            && capture_deadline.saturating_to::<u64>() < valid_before
        {
            let expected = format!("at least {valid_before}, when what is signed now ends");
            return Err(EngineError::invalid("extra.captureDeadline", expected, capture_deadline.to_string()));
        }
        if valid_before >= now.saturating_add(MARGIN_SECONDS) {
            return Ok(valid_before);
        }
        if mandate_ends < now.saturating_add(MARGIN_SECONDS) {
            let (budget, expires_at) = (view.budget.id, view.record.expires_at);
            let now = self.clock.now().seconds();
            return Err(EngineError::Book(Rejection::MandateExpired { budget, expires_at, now }));
        }
        let expected = format!("{MARGIN_SECONDS} or more");
        Err(EngineError::invalid("maxTimeoutSeconds", expected, offer.max_timeout_seconds().to_string()))
    }
}

/// What is handed to [`Offer::authorize`] so that it makes what a spend committed: the nonce, or what it was made from.
pub(super) fn nonce_of(offer: &Offer, spend: &Spend) -> B256 {
    match offer.transfer() {
        Transfer::Escrow(_) => exact::nonce(spend.budget.0, spend.id.0),
        Transfer::Eip3009 | Transfer::Permit2 | Transfer::Upto { .. } | Transfer::Channel { .. } => {
            B256::from(spend.authorization.nonce)
        }
    }
}
