//! The vault by UCP: `POST /tokenize` and `POST /detokenize` (Universal-Commerce-Protocol/ucp at fdcf8934,
//! `docs/specification/payment/tokenization.md` and `source/handlers/tokenization/openapi.json`).
//!
//! A tokenization says which card and which checkout, and neither whose mandate it is under nor how much may be taken. So two
//! members of ours may stand beside the guide's: `mandate`, and `allowance` (`max_amount` in minor units, `currency`). A card
//! comes as `card` (UCP 2026-04-08, `card_credential.json`) or as what later releases split it into, `pan` and
//! `network_token`. Everything else than the credential is closed: what is not understood may be a limit.

use std::fmt;

use ledger::money::Amount;
use mandates::canonical::canonical;
use mandates::json::{self, Object};
use serde_json::{Number, Value};
use zeroize::Zeroizing;

use crate::acp::shape::Need::{Optional, Required};
use crate::acp::shape::{Member, Shape, closed, open, text, whole};
use crate::acp::{Allowance, Card, DelegateRequest, Refusal, check_apart, digits};

/// How long a token lives, in seconds: the guide has five minutes to half an hour.
pub const TOKEN_SECONDS: i64 = 15 * 60;

const REQUEST: [Member; 4] = [
    ("credential", Shape::Object, Required),
    ("binding", Shape::Object, Required),
    ("allowance", Shape::Object, Optional),
    ("mandate", Shape::TextTo(128), Optional),
];
const DETOKENIZE: [Member; 2] = [("token", Shape::TextTo(256), Required), ("binding", Shape::Object, Required)];
const CARD: [Member; 9] = [
    ("type", Shape::OneOf(&["card", "pan", "network_token"]), Required),
    ("card_number_type", Shape::OneOf(&["fpan", "network_token", "dpan"]), Optional),
    ("number", Shape::Text, Required),
    ("expiry_month", Shape::Integer, Optional),
    ("expiry_year", Shape::Integer, Optional),
    ("name", Shape::Text, Optional),
    ("cvc", Shape::TextTo(4), Optional),
    ("cryptogram", Shape::Text, Optional),
    ("eci_value", Shape::TextTo(2), Optional),
];
const BINDING: [Member; 2] = [("checkout_id", Shape::TextOf(1, 256), Required), ("identity", Shape::Object, Optional)];
const IDENTITY: [Member; 1] = [("access_token", Shape::TextOf(1, 256), Required)];
const ALLOWANCE: [Member; 2] = [("max_amount", Shape::Integer, Required), ("currency", Shape::TextOf(3, 3), Required)];

const NUMBER: &str = "$.credential.number";

/// The checkout and the participant that a token is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binding {
    pub checkout_id: String,
    /// `identity.access_token`: what the vault calls the merchant.
    pub identity: Option<String>,
}

/// The most that may be taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Most {
    /// Minor units, above zero.
    pub amount: Amount,
    /// ISO 4217, in capitals.
    pub currency: String,
}

/// A request that can be meant.
#[derive(Clone)]
pub struct Tokenization {
    pub binding: Binding,
    pub most: Option<Most>,
    pub mandate: Option<String>,
    card: Card,
    /// RFC 8785; it holds the card.
    canonical: Zeroizing<String>,
}

impl fmt::Debug for Tokenization {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tokenization({:?} for {})", self.card, self.binding.checkout_id)
    }
}

/// What asks for the card of a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Detokenization {
    pub token: String,
    pub binding: Binding,
}

impl Tokenization {
    pub fn read(bytes: &[u8]) -> Result<Self, Refusal> {
        let value = parse(bytes)?;
        let request = closed(&value, "$", &REQUEST)?;
        let credential = open(request.get("credential").unwrap_or(&Value::Null), "$.credential", &CARD)?;
        let card = card(credential)?;
        let apart = check_apart(request, &card, NUMBER);
        let binding = binding(request)?;
        let most = request.get("allowance").map(most).transpose()?;
        apart?;
        let canonical = canonical(&value).map_err(|_| {
            let message = "numbers that a double can be were expected, another one came".to_owned();
            Refusal::unacceptable("invalid_request", "$", message)
        })?;
        let mandate = text(request, "mandate").map(str::to_owned);
        Ok(Self { binding, most, mandate, card, canonical: Zeroizing::new(canonical) })
    }

    /// What a key stands for; for a keyed hash only, because a card's number can be guessed from a plain one.
    pub fn expose_canonical(&self) -> &[u8] {
        self.canonical.as_bytes()
    }

    /// Refuses a text that comes beside the request, will be kept, and has the card's number in it.
    pub fn check_apart_from(&self, what: &str, text: &str) -> Result<(), Refusal> {
        if !self.card.is_in(text) {
            return Ok(());
        }
        let message = format!("the card's number was expected at {NUMBER} alone, {what} has it");
        Err(Refusal::unacceptable("card_number_misplaced", NUMBER, message))
    }

    /// The same as a card left with an allowance, until a moment (unix microseconds).
    pub fn allowed(&self, merchant_id: &str, most: &Most, expires_at_micros: i64) -> DelegateRequest {
        let allowance = Allowance {
            max_amount: most.amount,
            currency: most.currency.clone(),
            checkout_session_id: self.binding.checkout_id.clone(),
            merchant_id: merchant_id.to_owned(),
            expires_at_micros,
        };
        // UCP does not tell credit from debit.
        let face = self.card.face("unknown");
        DelegateRequest::of(self.card.clone(), face, allowance, self.canonical.clone())
    }
}

impl Detokenization {
    pub fn read(bytes: &[u8]) -> Result<Self, Refusal> {
        let value = parse(bytes)?;
        let request = closed(&value, "$", &DETOKENIZE)?;
        Ok(Self { token: text(request, "token").unwrap_or_default().to_owned(), binding: binding(request)? })
    }
}

/// The credential as it was tokenized; a card that came by ACP as UCP 2026-04-08 has one.
pub fn credential(card: &Card) -> Object {
    let kind = card.credential_type.as_deref().unwrap_or("card");
    let mut object =
        Object::from_iter([("type".to_owned(), Value::from(kind)), ("number".to_owned(), card.number.as_str().into())]);
    if kind == "card" {
        object.insert("card_number_type".to_owned(), card.number_type.as_str().into());
    }
    let number = |text: &Option<String>| text.as_deref().and_then(|text| text.parse::<u16>().ok()).map(Value::from);
    let plain = |text: &Option<String>| text.as_deref().map(Value::from);
    let members = [
        ("expiry_month", number(&card.exp_month)),
        ("expiry_year", number(&card.exp_year)),
        ("name", plain(&card.name)),
        ("cvc", plain(&card.cvc)),
        ("cryptogram", plain(&card.cryptogram)),
        ("eci_value", plain(&card.eci_value)),
    ];
    object.extend(members.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))));
    object
}

fn parse(bytes: &[u8]) -> Result<Value, Refusal> {
    // The reader's own sentence may repeat a part of what it could not read.
    let another = "a JSON object was expected, another text came".to_owned();
    json::parse(bytes).map_err(|_| Refusal::malformed("invalid_request", None, another))
}

fn card(credential: &Object) -> Result<Card, Refusal> {
    let owned = |name: &str| text(credential, name).map(str::to_owned);
    let kind = owned("type").unwrap_or_default();
    let number_type = match (kind.as_str(), owned("card_number_type")) {
        ("card", Some(number_type)) => number_type,
        ("card", None) => {
            let message = "this member was expected at $.credential.card_number_type, nothing came".to_owned();
            return Err(Refusal::malformed("invalid_request", Some("$.credential.card_number_type"), message));
        }
        ("pan", _) => "fpan".to_owned(),
        (_, _) => "network_token".to_owned(),
    };
    let written = text(credential, "number").unwrap_or_default();
    let card = Card {
        number_type,
        credential_type: Some(kind),
        number: digits(written),
        exp_month: credential.get("expiry_month").map(|month| in_digits(month, "expiry_month", 1..=12)).transpose()?,
        exp_year: credential.get("expiry_year").map(|year| in_digits(year, "expiry_year", 2000..=9999)).transpose()?,
        name: owned("name"),
        cvc: owned("cvc"),
        cryptogram: owned("cryptogram"),
        eci_value: owned("eci_value"),
    };
    card.check(written).map_err(|refusal| Refusal {
        param: refusal.param.map(|param| param.replacen("$.payment_method.", "$.credential.", 1)),
        ..refusal
    })?;
    Ok(card)
}

fn in_digits(value: &Value, name: &str, range: std::ops::RangeInclusive<i64>) -> Result<String, Refusal> {
    let number = value.as_number().and_then(whole).filter(|number| range.contains(number));
    number.map(|number| format!("{number:02}")).ok_or_else(|| {
        let message = format!("{} to {} was expected, another number came", range.start(), range.end());
        Refusal::unacceptable("invalid_card", &format!("$.credential.{name}"), message)
    })
}

fn binding(request: &Object) -> Result<Binding, Refusal> {
    let binding = closed(request.get("binding").unwrap_or(&Value::Null), "$.binding", &BINDING)?;
    let identity = match binding.get("identity") {
        Some(identity) => text(closed(identity, "$.binding.identity", &IDENTITY)?, "access_token").map(str::to_owned),
        None => None,
    };
    let checkout_id = text(binding, "checkout_id").unwrap_or_default().to_owned();
    let named = [("checkout_id", Some(&checkout_id)), ("identity.access_token", identity.as_ref())];
    for (name, value) in named {
        if value.is_some_and(|value| value.chars().any(char::is_control)) {
            let message = "characters that are no control characters were expected, one came".to_owned();
            return Err(Refusal::unacceptable("invalid_request", &format!("$.binding.{name}"), message));
        }
    }
    Ok(Binding { checkout_id, identity })
}

fn most(value: &Value) -> Result<Most, Refusal> {
    let allowance = closed(value, "$.allowance", &ALLOWANCE)?;
    let number = allowance.get("max_amount").and_then(Value::as_number);
    let amount = number.and_then(whole).and_then(|amount| u128::try_from(amount).ok()).filter(|amount| *amount > 0);
    let amount = amount.ok_or_else(|| {
        let found = number.map(Number::to_string).unwrap_or_default();
        let found: String = found.chars().take(40).collect();
        let message = format!("an amount of 1 to {} was expected, {found} came", i64::MAX);
        let code = if found.starts_with(['-', '0']) { "amount_zero" } else { "invalid_request" };
        Refusal::unacceptable(code, "$.allowance.max_amount", message)
    })?;
    let currency = text(allowance, "currency").unwrap_or_default().to_ascii_uppercase();
    if !currency.bytes().all(|byte| byte.is_ascii_uppercase()) {
        let message = "three letters of ISO 4217 were expected at $.allowance.currency, others came".to_owned();
        return Err(Refusal::malformed("invalid_request", Some("$.allowance.currency"), message));
    }
    Ok(Most { amount: Amount::new(amount), currency })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const PAN: &str = "4111111111111111";

    /// The guide's own request, with what differs.
    fn asked(differing: impl FnOnce(&mut Value)) -> Value {
        let mut body = json!({
            "credential": { "type": "pan", "number": PAN, "expiry_month": 12, "expiry_year": 2026, "cvc": "123",
                "name": "Jane Doe" },
            "binding": { "checkout_id": "abc123", "identity": { "access_token": "merchant_abc123" } },
        });
        differing(&mut body);
        body
    }

    fn read(body: &Value) -> Result<Tokenization, Refusal> {
        Tokenization::read(body.to_string().as_bytes())
    }

    #[test]
    fn what_is_no_tokenization_is_refused_and_the_card_is_not_repeated() {
        type Change = fn(&mut Value);
        let cases: [(Change, &str); 26] = [
            (|body| body["credential"] = Value::Null, "$.credential"),
            (|body| body["credential"]["type"] = "bank_account".into(), "$.credential.type"),
            (|body| body["credential"]["type"] = "card".into(), "$.credential.card_number_type"),
            (|body| body["credential"]["number"] = "4111111111111112".into(), "$.credential.number"),
            (|body| body["credential"]["number"] = 4_111_111_111_111_111_u64.into(), "$.credential.number"),
            (|body| body["credential"]["number"] = "".into(), "$.credential.number"),
            (|body| body["credential"]["expiry_month"] = 13.into(), "$.credential.expiry_month"),
            (|body| body["credential"]["expiry_month"] = 0.into(), "$.credential.expiry_month"),
            (|body| body["credential"]["expiry_month"] = "12".into(), "$.credential.expiry_month"),
            (|body| body["credential"]["expiry_year"] = 26.into(), "$.credential.expiry_year"),
            (|body| body["credential"]["cvc"] = "12".into(), "$.credential.cvc"),
            (|body| body["credential"]["cvc"] = "12345".into(), "$.credential.cvc"),
            (|body| body["credential"]["other"] = PAN.into(), "$.credential.other"),
            (|body| body["binding"] = json!({}), "$.binding.checkout_id"),
            (|body| body["binding"]["checkout_id"] = "".into(), "$.binding.checkout_id"),
            (|body| body["binding"]["checkout_id"] = "a\nb".into(), "$.binding.checkout_id"),
            (|body| body["binding"]["checkout_id"] = PAN.into(), "$.binding.checkout_id"),
            (|body| body["binding"]["identity"] = json!({}), "$.binding.identity.access_token"),
            (|body| body["binding"]["other"] = 1.into(), "$.binding"),
            (|body| body["allowance"] = json!({}), "$.allowance.max_amount"),
            (|body| body["allowance"] = json!({ "max_amount": 0, "currency": "USD" }), "$.allowance.max_amount"),
            (|body| body["allowance"] = json!({ "max_amount": -1, "currency": "USD" }), "$.allowance.max_amount"),
            (|body| body["allowance"] = json!({ "max_amount": 1.5, "currency": "USD" }), "$.allowance.max_amount"),
            (|body| body["allowance"] = json!({ "max_amount": 1, "currency": "U$D" }), "$.allowance.currency"),
            (
                |body| body["allowance"] = json!({ "max_amount": 1, "currency": "USD", "expires_at": "x" }),
                "$.allowance",
            ),
            (|body| body["limit"] = 1.into(), "$"),
        ];
        for (change, at) in cases {
            let body = asked(change);
            let refusal = read(&body).expect_err(at);
            assert_eq!(refusal.param.as_deref(), Some(at), "{refusal:?}");
            assert!(!refusal.message.contains(PAN) && !refusal.message.contains("Jane"), "{refusal:?}");
        }
        assert!(Tokenization::read(b"").is_err() && Tokenization::read(b"[]").is_err());
        for body in [json!({}), json!({ "token": "t" }), json!({ "token": "t", "binding": {} })] {
            assert!(Detokenization::read(body.to_string().as_bytes()).is_err(), "{body}");
        }
    }

    #[test]
    fn the_guides_request_is_a_card_with_an_allowance_and_comes_back_as_it_was() {
        let body = asked(|body| body["allowance"] = json!({ "max_amount": 2.5e3, "currency": "usd" }));
        let read = read(&body).unwrap();
        let most = read.most.clone().unwrap();
        let request = read.allowed("m", &most, 7);
        assert_eq!((request.allowance.max_amount.get(), request.allowance.currency.as_str()), (2_500, "USD"));
        assert_eq!(request.allowance.checkout_session_id, "abc123");
        assert_eq!(request.expose_canonical(), read.expose_canonical());
        assert!(!format!("{read:?} {request:?}").contains(PAN));
        assert_eq!(Value::Object(credential(&request.card)), body["credential"]);
        let card = json!({ "type": "card", "card_number_type": "dpan", "number": PAN, "cryptogram": "gXc5==",
            "eci_value": "07", "expiry_month": 1, "expiry_year": 2030 });
        let other = super::tests::read(&asked(|body| body["credential"] = card.clone())).unwrap();
        assert_eq!(Value::Object(credential(&other.card)), card);
        let sealed = serde_json::to_vec(&other.card).unwrap();
        assert_eq!(serde_json::from_slice::<Card>(&sealed).unwrap().credential_type.as_deref(), Some("card"));
    }
}
