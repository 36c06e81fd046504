//! `DelegatePaymentRequest`: read, and refused where it is not what the closed schema says.

use std::collections::BTreeMap;
use std::fmt;

use mandates::canonical::canonical;
use mandates::json::{self, Object};
use serde_json::Value;
use zeroize::Zeroizing;

use super::allowance::Allowance;
use super::card::{Card, CardFace};
use super::refusal::Refusal;
use super::shape::Need::{Optional, Required};
use super::shape::{Member, Shape, closed, text};

const REQUEST: [Member; 5] = [
    ("payment_method", Shape::Object, Required),
    ("allowance", Shape::Object, Required),
    ("billing_address", Shape::Object, Optional),
    ("risk_signals", Shape::List, Required),
    ("metadata", Shape::Texts, Required),
];
const CARD: [Member; 17] = [
    ("type", Shape::OneOf(&["card"]), Required),
    ("card_number_type", Shape::OneOf(&["fpan", "network_token"]), Required),
    ("number", Shape::Text, Required),
    ("exp_month", Shape::TextTo(2), Optional),
    ("exp_year", Shape::TextTo(4), Optional),
    ("name", Shape::Text, Optional),
    ("cvc", Shape::TextTo(4), Optional),
    ("cryptogram", Shape::Text, Optional),
    ("eci_value", Shape::TextTo(2), Optional),
    ("checks_performed", Shape::Several(&["avs", "cvv", "ani", "auth0"]), Optional),
    ("iin", Shape::TextTo(8), Optional),
    ("display_card_funding_type", Shape::OneOf(&["credit", "debit", "prepaid"]), Required),
    ("display_wallet_type", Shape::Text, Optional),
    ("display_brand", Shape::Text, Optional),
    ("display_last4", Shape::LastFour, Optional),
    ("metadata", Shape::Texts, Required),
    ("virtual", Shape::Flag, Optional),
];
const ALLOWANCE: [Member; 6] = [
    ("reason", Shape::OneOf(&["one_time"]), Required),
    ("max_amount", Shape::Integer, Required),
    ("currency", Shape::Currency, Required),
    ("checkout_session_id", Shape::Text, Required),
    ("merchant_id", Shape::TextTo(256), Required),
    ("expires_at", Shape::Text, Required),
];
const ADDRESS: [Member; 7] = [
    ("name", Shape::TextTo(256), Required),
    ("line_one", Shape::TextTo(60), Required),
    ("line_two", Shape::TextTo(60), Optional),
    ("city", Shape::TextTo(60), Required),
    ("state", Shape::Text, Required),
    ("country", Shape::TextOf(2, 2), Required),
    ("postal_code", Shape::TextTo(20), Required),
];
const RISK_SIGNAL: [Member; 3] = [
    ("type", Shape::OneOf(&["card_testing"]), Required),
    ("score", Shape::Integer, Required),
    ("action", Shape::OneOf(&["blocked", "manual_review", "authorized"]), Required),
];

/// A request that fits its schema and can be meant.
#[derive(Clone)]
pub struct DelegateRequest {
    pub card: Card,
    pub face: CardFace,
    pub allowance: Allowance,
    pub billing_address: Option<Object>,
    pub metadata: BTreeMap<String, String>,
    /// RFC 8785: two texts are the same request where these are equal. It holds the card.
    canonical: Zeroizing<String>,
}

impl fmt::Debug for DelegateRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DelegateRequest({:?} for {})", self.card, self.allowance.merchant_id)
    }
}

impl DelegateRequest {
    pub fn read(bytes: &[u8]) -> Result<Self, Refusal> {
        let malformed = |why: String| Refusal::malformed("invalid_request", None, why);
        // The reader's own sentence may repeat a part of what it could not read.
        let value =
            json::parse(bytes).map_err(|_| malformed("a JSON object was expected, another text came".into()))?;
        let request = closed(&value, "$", &REQUEST)?;
        let method = member(request, "payment_method", &CARD)?;
        let allowed = member(request, "allowance", &ALLOWANCE)?;
        let address = request.contains_key("billing_address");
        let address = address.then(|| member(request, "billing_address", &ADDRESS).cloned()).transpose()?;
        let signals = request.get("risk_signals").and_then(Value::as_array).into_iter().flatten().enumerate();
        let signals: Result<Vec<_>, Refusal> =
            signals.map(|(place, signal)| closed(signal, &format!("$.risk_signals[{place}]"), &RISK_SIGNAL)).collect();
        let signals = signals?;
        let allowance = Allowance::read(allowed)?;
        let card = Card::read(method)?;
        if let Some(place) = signals.iter().position(|signal| text(signal, "action") == Some("blocked")) {
            let message = "a risk that is not blocked was expected, `blocked` came".to_owned();
            return Err(Refusal::unacceptable("risk_blocked", &format!("$.risk_signals[{place}].action"), message));
        }
        check_apart(request, &card, "$.payment_method.number")?;
        let metadata = request.get("metadata").and_then(Value::as_object).into_iter().flatten();
        let metadata = metadata.filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned())));
        // Its sentence would repeat the number that no double is.
        let canonical = canonical(&value).map_err(|_| {
            let message = "numbers that a double can be were expected, another one came".to_owned();
            Refusal::unacceptable("invalid_request", "$", message)
        })?;
        let canonical = Zeroizing::new(canonical);
        let face = card.face(text(method, "display_card_funding_type").unwrap_or_default());
        Ok(Self { card, face, allowance, billing_address: address, metadata: metadata.collect(), canonical })
    }

    /// What another protocol's request comes to, which goes by its own canonical text.
    pub(crate) fn of(card: Card, face: CardFace, allowance: Allowance, canonical: Zeroizing<String>) -> Self {
        Self { card, face, allowance, billing_address: None, metadata: BTreeMap::new(), canonical }
    }

    /// Refuses a text that comes beside the request, will be given back, and has the card's number in it.
    pub fn check_apart_from(&self, what: &str, text: &str) -> Result<(), Refusal> {
        if !self.card.is_in(text) {
            return Ok(());
        }
        let message = format!("the card's number was expected in payment_method.number alone, {what} has it");
        Err(Refusal::unacceptable("card_number_misplaced", "$.payment_method.number", message))
    }

    /// What a key stands for; for a keyed hash only, because a card's number can be guessed from a plain one.
    pub fn expose_canonical(&self) -> &[u8] {
        self.canonical.as_bytes()
    }
}

fn member<'a>(request: &'a Object, name: &str, members: &[Member]) -> Result<&'a Object, Refusal> {
    closed(request.get(name).unwrap_or(&Value::Null), &format!("$.{name}"), members)
}

/// The number stands where it belongs and nowhere else: everything else may be shown, kept and given back.
pub(crate) fn check_apart(request: &Object, card: &Card, at: &str) -> Result<(), Refusal> {
    let mut left: Vec<(String, &Value)> = Vec::new();
    left.extend(request.iter().map(|(name, value)| (format!("$.{name}"), value)));
    while let Some((path, value)) = left.pop() {
        match value {
            Value::String(text) if path != at && card.is_in(text) => {
                let message = format!("the card's number was expected at {at} alone, {path} has it");
                return Err(Refusal::unacceptable("card_number_misplaced", &path, message));
            }
            Value::Object(object) => {
                if object.keys().any(|name| card.is_in(name)) {
                    let message = format!("no member named by a card's number was expected, {path} has one");
                    return Err(Refusal::unacceptable("card_number_misplaced", &path, message));
                }
                left.extend(object.iter().map(|(name, value)| (format!("{path}.{name}"), value)));
            }
            Value::Array(list) => {
                left.extend(list.iter().enumerate().map(|(place, value)| (format!("{path}[{place}]"), value)));
            }
            _ => {}
        }
    }
    Ok(())
}
