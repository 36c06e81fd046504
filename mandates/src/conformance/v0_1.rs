//! The cases of AP2 v0.1: what is presented is read from the file's own text, so that a duplicate key or the spelling of
//! a number is seen as a verifier sees it.

use std::collections::BTreeMap;

use serde_json::Value;
use serde_json::value::RawValue;

use super::{CaseError, LEAF_AGE_SECONDS_MAX, Validity};
use crate::clock::Clock;
use crate::jws::RawJws;
use crate::keys::{KeyId, KeySet, PublicKey};
use crate::rejection::{Code, Rejection, shown};
use crate::v0_1::cart::{self, Audience, CartMandate, Jtis};
use crate::v0_1::intent::{self, IntentMandate, UserSigned};
use crate::v0_1::payment::{self, CredentialTypes, PaymentMandate};
use crate::verify::Expected;

/// `exp - iat` of a merchant's authorization, the upper end of what AP2 v0.1 says.
const AUTHORIZATION_SECONDS_MAX: u32 = 900;

type Members<'a> = BTreeMap<String, &'a RawValue>;

/// Whether a case is one of these kinds.
pub(super) fn is_kind(kind: &str) -> bool {
    matches!(kind, "intent" | "cart" | "payment")
}

struct Case<'a> {
    id: &'a str,
    members: Members<'a>,
    context: Members<'a>,
    clock: Clock,
}

pub(super) struct Ran {
    pub expected: Validity,
    pub outcome: Result<(), Rejection>,
}

/// Runs the case in `text`; `id` is its name.
pub(super) fn run(text: &str, id: &str, kind: &str) -> Result<Ran, CaseError> {
    let case = Case::read(text, id)?;
    let expected = match case.text(&case.members, "expect")?.as_deref() {
        Some("valid") => Validity::Valid,
        Some("invalid") => Validity::Invalid,
        _ => return Err(case.shape("expect", "neither valid nor invalid")),
    };
    let mandate = case.members.get("mandate").ok_or_else(|| case.shape("mandate", "not there"))?.get().as_bytes();
    let outcome = match kind {
        "intent" => case.intent(mandate)?,
        "cart" => case.cart(mandate)?,
        _ => case.payment(mandate)?,
    };
    Ok(Ran { expected, outcome })
}

impl<'a> Case<'a> {
    fn read(text: &'a str, id: &'a str) -> Result<Self, CaseError> {
        let shape = |expected, message: String| CaseError::Shape { id: id.to_owned(), expected, message };
        let members: Members<'a> = serde_json::from_str(text).map_err(|error| shape("members", error.to_string()))?;
        let context = match members.get("context") {
            None => Members::new(),
            Some(raw) => serde_json::from_str(raw.get()).map_err(|error| shape("context", error.to_string()))?,
        };
        let mut case = Self { id, members, context, clock: Clock { now_seconds: 0, skew_seconds: 0 } };
        case.clock.now_seconds = case.number(&case.members, "now")?.ok_or_else(|| case.shape("now", "not there"))?;
        case.clock.skew_seconds = case.bound("clock_skew", 0)?;
        Ok(case)
    }

    fn intent(&self, mandate: &[u8]) -> Result<Result<(), Rejection>, CaseError> {
        let user_signed = match self.value(&self.context, "user_signed")? {
            Some(Value::Bool(true)) => UserSigned::Yes,
            Some(Value::Bool(false)) => UserSigned::No,
            None | Some(Value::Null) => UserSigned::NotSaid,
            Some(_) => return Err(self.shape("user_signed", "no boolean")),
        };
        let context = intent::Context { clock: self.clock, user_signed };
        Ok(IntentMandate::parse(mandate).and_then(|intent| intent.verify(&context)))
    }

    fn cart(&self, mandate: &[u8]) -> Result<Result<(), Rejection>, CaseError> {
        let audience = self.text(&self.members, "expected_aud")?;
        let audience = audience.as_deref().map_or(Audience::NotAsked, Audience::Exactly);
        let (keys, seen) = (self.merchant_keys()?, self.seen_jti()?);
        let context = self.merchant(&keys, audience, seen.as_deref());
        Ok(CartMandate::parse(mandate).and_then(|cart| cart.verify(&context)).map(|_| ()))
    }

    fn payment(&self, mandate: &[u8]) -> Result<Result<(), Rejection>, CaseError> {
        let (audience, nonce) =
            (self.text(&self.members, "expected_aud")?, self.text(&self.members, "expected_nonce")?);
        let expected = match (&audience, &nonce) {
            (Some(audience), Some(nonce)) => Expected::Exactly { audience, nonce },
            _ => Expected::OnItsOwn,
        };
        let (keys, seen) = (self.merchant_keys()?, self.seen_jti()?);
        let key_binding_seconds_max = self.context_bound("max_kb_age_seconds", LEAF_AGE_SECONDS_MAX)?;
        let Some(cart) = self.context.get("cart_mandate") else {
            let message = "transaction_data names a cart; the verifier knows none";
            return Ok(Err(Rejection::new(Code::TransactionDataMismatch, message)));
        };
        let judge = |payment: PaymentMandate, cart: CartMandate, issuers: KeySet| {
            let context = payment::Context {
                clock: self.clock,
                credential_issuers: &issuers,
                credential_types: CredentialTypes::Any,
                expected,
                key_binding_seconds_max,
                cart: &cart,
                merchant: self.merchant(&keys, Audience::NotAsked, seen.as_deref()),
            };
            let verified = payment.verify(&context)?;
            // A case that gives one of the two is held to that one.
            let asked = [
                ("aud", &audience, &verified.binding.audience, Code::AudMismatch),
                ("nonce", &nonce, &verified.binding.nonce, Code::NonceMismatch),
            ];
            for (name, wanted, came, code) in asked {
                if let Some(wanted) = wanted.as_ref().filter(|wanted| *wanted != came) {
                    let message = format!("{name} is {}; {} came", shown(wanted), shown(came));
                    return Err(Rejection::new(code, message).at(name));
                }
            }
            Ok(())
        };
        let read = PaymentMandate::parse(mandate)
            .and_then(|payment| Ok((payment, CartMandate::parse(cart.get().as_bytes())?)));
        let (payment, cart) = match read {
            Ok(read) => read,
            Err(refused) => return Ok(Err(refused)),
        };
        let issuers = self.issuers(&payment)?;
        Ok(judge(payment, cart, issuers))
    }

    fn merchant<'k>(
        &self,
        merchant_keys: &'k KeySet,
        audience: Audience<'k>,
        seen: Option<&'k [String]>,
    ) -> cart::Context<'k> {
        cart::Context {
            clock: self.clock,
            merchant_keys,
            audience,
            authorization_seconds_max: AUTHORIZATION_SECONDS_MAX,
            jtis: seen.map_or(Jtis::LeftToState, Jtis::Seen),
        }
    }

    fn merchant_keys(&self) -> Result<KeySet, CaseError> {
        let Some(key) = self.key("merchant_jwk")? else { return Ok(KeySet::default()) };
        KeySet::new([key]).map_err(|refused| self.shape("merchant_jwk", &refused.message))
    }

    /// The file gives the issuer's key without a name: it goes by the name that the credential uses for it.
    fn issuers(&self, payment: &PaymentMandate) -> Result<KeySet, CaseError> {
        let Some(mut key) = self.key("credential_issuer_jwk")? else { return Ok(KeySet::default()) };
        let is_named = key.to_jwk().contains_key("kid");
        let jwt = payment.user_authorization.as_deref().and_then(|text| text.split('~').next());
        let jws = jwt.and_then(|jwt| RawJws::split(jwt).and_then(RawJws::decode).ok());
        if let Some(kid) = jws.as_ref().and_then(|jws| jws.kid()).filter(|_| !is_named) {
            key = key.named(KeyId::new(kid));
        }
        KeySet::new([key]).map_err(|refused| self.shape("credential_issuer_jwk", &refused.message))
    }

    fn key(&self, name: &'static str) -> Result<Option<PublicKey>, CaseError> {
        match self.value(&self.members, name)? {
            None | Some(Value::Null) => Ok(None),
            Some(Value::Object(jwk)) => {
                PublicKey::from_jwk(&jwk).map(Some).map_err(|refused| self.shape(name, &refused.message))
            }
            Some(_) => Err(self.shape(name, "no object")),
        }
    }

    fn seen_jti(&self) -> Result<Option<Vec<String>>, CaseError> {
        let Some(raw) = self.context.get("seen_jti") else { return Ok(None) };
        serde_json::from_str(raw.get()).map_err(|error| self.shape("seen_jti", &error.to_string()))
    }

    fn bound(&self, name: &'static str, otherwise: u32) -> Result<u32, CaseError> {
        self.small(self.number(&self.members, name)?, name, otherwise)
    }

    fn context_bound(&self, name: &'static str, otherwise: u32) -> Result<u32, CaseError> {
        self.small(self.number(&self.context, name)?, name, otherwise)
    }

    fn small(&self, number: Option<i64>, name: &'static str, otherwise: u32) -> Result<u32, CaseError> {
        number.map_or(Ok(otherwise), |number| u32::try_from(number).map_err(|_| self.shape(name, "beyond 2^32")))
    }

    fn number(&self, from: &Members<'a>, name: &'static str) -> Result<Option<i64>, CaseError> {
        match self.value(from, name)? {
            None | Some(Value::Null) => Ok(None),
            Some(other) => other.as_i64().map(Some).ok_or_else(|| self.shape(name, "no whole number")),
        }
    }

    fn text(&self, from: &Members<'a>, name: &'static str) -> Result<Option<String>, CaseError> {
        match self.value(from, name)? {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(other) => Err(self.shape(name, crate::json::kind(&other))),
        }
    }

    fn value(&self, from: &Members<'a>, name: &'static str) -> Result<Option<Value>, CaseError> {
        let Some(raw) = from.get(name) else { return Ok(None) };
        serde_json::from_str(raw.get()).map(Some).map_err(|error| self.shape(name, &error.to_string()))
    }

    fn shape(&self, expected: &'static str, message: &str) -> CaseError {
        CaseError::Shape { id: self.id.to_owned(), expected, message: message.to_owned() }
    }
}
