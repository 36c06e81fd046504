//! The `PaymentMandate` of AP2 v0.1: what is paid, to whom and how, and the person's credential and key over it and over
//! the cart.

use serde_json::Value;

use super::cart::{self, Authorization, CartMandate};
use super::request::{PaymentItem, PaymentResponse};
use super::{check_members, hash};
use crate::canonical::without_nulls;
use crate::chain;
use crate::chain::MandateId;
use crate::clock::Clock;
use crate::credential::issuer_key;
use crate::digest::sha256;
use crate::json::{self, Object, kind};
use crate::jws::Unsigned;
use crate::key_binding::{self, Binding, Presentation, Presented, Terms};
use crate::keys::KeySet;
use crate::party::Instant;
use crate::rejection::{Code, Rejection, shown, shown_value};
use crate::schema;
use crate::sd_jwt::{Resolved, SdJwt};
use crate::verify::Expected;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PaymentMandateContents {
    pub payment_mandate_id: String,
    /// `details.id` of the cart's payment request.
    pub payment_details_id: String,
    pub payment_details_total: PaymentItem,
    pub payment_response: PaymentResponse,
    pub merchant_agent: String,
    /// The type fills it in where it is absent, so it may be.
    pub timestamp: Option<Instant>,
    /// The second hash of `transaction_data`.
    pub hash: String,
    /// As it came, without null members: what is hashed.
    pub claims: Object,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PaymentMandate {
    pub contents: PaymentMandateContents,
    /// `None` where nobody authorized it; `verify` refuses that.
    pub user_authorization: Option<String>,
}

/// What the verifier of a payment knows and asks for.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    pub clock: Clock,
    /// Keys that may sign the person's credential: by `kid`; without one, the only key of the set.
    pub credential_issuers: &'a KeySet,
    pub credential_types: CredentialTypes<'a>,
    /// Whom the KB-JWT must be for.
    pub expected: Expected<'a>,
    /// How old its `iat` may be, beyond the skew.
    pub key_binding_seconds_max: u32,
    /// The cart that is being paid, from the merchant and never from the mandate.
    pub cart: &'a CartMandate,
    /// How that cart is verified.
    pub merchant: cart::Context<'a>,
}

/// Which `vct` a person's credential may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CredentialTypes<'a> {
    Among(&'a [&'a str]),
    /// Every type of these issuers authorises payments.
    Any,
}

/// A payment that holds.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct Verified {
    /// SHA-256 over `purser/payment-authorization/v1`, a zero byte, and `header.payload` of the credential: the same for
    /// every payment under one credential, so only together with the nonce a name for this one.
    pub credential: MandateId,
    pub binding: Binding,
    pub cart: Authorization,
}

const IDENTITY_TAG: &[u8] = b"purser/payment-authorization/v1\0";
const MEMBERS: [&str; 2] = ["payment_mandate_contents", "user_authorization"];
/// SD-JWT VC section 3.2.1, and the name that it had before.
const CREDENTIAL_TYPES: [&str; 2] = ["dc+sd-jwt", "vc+sd-jwt"];

impl PaymentMandateContents {
    pub fn parse(json: &[u8]) -> Result<Self, Rejection> {
        Self::read(&json::parse_object(json)?)
    }

    pub(crate) fn read(claims: &Object) -> Result<Self, Rejection> {
        let claims = without_nulls(claims);
        Ok(Self {
            payment_mandate_id: schema::text(&claims, "payment_mandate_id")?,
            payment_details_id: schema::text(&claims, "payment_details_id")?,
            payment_details_total: PaymentItem::parse_total(schema::object(&claims, "payment_details_total")?)?,
            payment_response: PaymentResponse::parse(schema::object(&claims, "payment_response")?)?,
            merchant_agent: schema::text(&claims, "merchant_agent")?,
            timestamp: Instant::read(&claims, "timestamp")?,
            hash: hash(&claims)?,
            claims,
        })
    }

    /// The KB-JWT to sign over the person's credential as it will be presented (`jwt~d1~…~`), this payment and the cart.
    /// Finished, it is `user_authorization`.
    pub fn unsigned(
        &self,
        credential: &str,
        cart: &CartMandate,
        terms: &Presentation<'_>,
    ) -> Result<Unsigned, Rejection> {
        self.check_agreement(cart)?;
        let hashes = Value::from(vec![cart.hash.clone(), self.hash.clone()]);
        key_binding::unsigned(credential, terms, &Object::from_iter([("transaction_data".to_owned(), hashes)]))
    }

    pub fn authorized(self, user_authorization: String) -> PaymentMandate {
        PaymentMandate { contents: self, user_authorization: Some(user_authorization) }
    }

    /// The payment is for this cart: its order, a method that it offers, the amount that is due by it, its merchant. The
    /// hashes bind the two byte for byte; this binds what they say.
    fn check_agreement(&self, cart: &CartMandate) -> Result<(), Rejection> {
        let request = &cart.contents.payment_request;
        let method = &self.payment_response.method_name;
        let due = &request.total_for(method).amount;
        let differs = |field: &str, wanted: &str, came: &str| {
            let message = format!("{field} is {wanted}, as the cart has it; {came} came");
            Err(Rejection::new(Code::PaymentNotCart, message).at(field))
        };
        let paid = &self.payment_details_total.amount;
        if paid != due {
            return differs("payment_details_total", &due.to_string(), &paid.to_string());
        }
        let order = request.id.as_str();
        let merchant = cart.contents.merchant_name.as_str();
        let same = [
            ("payment_details_id", order, &self.payment_details_id),
            ("request_id", order, &self.payment_response.request_id),
            ("merchant_agent", merchant, &self.merchant_agent),
        ];
        if let Some((field, wanted, came)) = same.into_iter().find(|(_, wanted, came)| wanted != came) {
            return differs(field, &shown(wanted), &shown(came));
        }
        if !request.methods.contains(method) {
            let offered: Vec<String> = request.methods.iter().take(8).map(|method| shown(method)).collect();
            return differs("method_name", &format!("one of {}", offered.join(", ")), &shown(method));
        }
        Ok(())
    }

    /// Made by now. An old one is held by the KB-JWT's own age.
    fn check_timestamp(&self, clock: &Clock) -> Result<(), Rejection> {
        let latest = clock.now_seconds.saturating_add(i64::from(clock.skew_seconds));
        match &self.timestamp {
            Some(timestamp) if timestamp.unix_seconds() > latest => {
                let (now, skew) = (clock.now_seconds, clock.skew_seconds);
                let message = format!("timestamp is {now} (skew {skew} s) or before; {} came", timestamp.as_str());
                Err(Rejection::new(Code::IssuedInFuture, message).at("timestamp"))
            }
            _ => Ok(()),
        }
    }
}

impl PaymentMandate {
    /// Reads one JSON object strictly. No signature is checked.
    pub fn parse(json: &[u8]) -> Result<Self, Rejection> {
        let claims = without_nulls(&json::parse_object(json)?);
        check_members(&claims, &MEMBERS, "a PaymentMandate")?;
        let contents = PaymentMandateContents::read(&schema::object(&claims, "payment_mandate_contents")?.to_object())?;
        let user_authorization = match claims.get("user_authorization") {
            None => None,
            Some(Value::String(text)) => Some(text.clone()),
            Some(other) => {
                let message = format!("user_authorization is a string; {} came", kind(other));
                return Err(schema::refused("user_authorization", message));
            }
        };
        Ok(Self { contents, user_authorization })
    }

    /// The object to send.
    pub fn claims(&self) -> Object {
        let contents = Value::Object(self.contents.claims.clone());
        let mut claims = Object::from_iter([("payment_mandate_contents".to_owned(), contents)]);
        if let Some(text) = &self.user_authorization {
            claims.insert("user_authorization".to_owned(), text.as_str().into());
        }
        claims
    }

    /// A payment that the holder of a trusted credential authorized, for this verifier, over this cart.
    ///
    /// In this order: the credential (header, type, key, signature, disclosures, times, `vct`); the KB-JWT (type,
    /// signature by `cnf`, `sd_hash`, `aud`, `nonce`, age); `transaction_data`; the cart itself; what the two say.
    pub fn verify(&self, context: &Context<'_>) -> Result<Verified, Rejection> {
        let text = self.user_authorization.as_deref().filter(|text| !text.is_empty()).ok_or_else(|| {
            let message = "a payment carries its person's authorization; none came";
            Rejection::new(Code::UserAuthorizationMissing, message).at("user_authorization")
        })?;
        let presented = Presented::parse(text)?;
        let credential = check_credential(&presented.sd_jwt, context)?;
        let holder = chain::confirmation_key(credential.claims())?;
        let terms = Terms {
            clock: context.clock,
            expected: context.expected,
            age_seconds_max: context.key_binding_seconds_max,
        };
        let binding = presented.verify(&holder, &terms)?;
        self.check_transaction_data(&binding.claims, context.cart)?;
        let cart = context.cart.verify(&context.merchant)?;
        self.contents.check_timestamp(&context.clock)?;
        self.contents.check_agreement(context.cart)?;
        let signing_input = presented.sd_jwt.jwt.signing_input().as_bytes();
        Ok(Verified { credential: MandateId::from_bytes(sha256(&[IDENTITY_TAG, signing_input])), binding, cart })
    }

    fn check_transaction_data(&self, claims: &Object, cart: &CartMandate) -> Result<(), Rejection> {
        let wanted = Value::from(vec![cart.hash.clone(), self.contents.hash.clone()]);
        let wrong = |came: String| {
            let message = format!("transaction_data is {wanted}, the cart's hash and the payment's; {came} came");
            Rejection::new(Code::TransactionDataMismatch, message).at("transaction_data")
        };
        let came = claims.get("transaction_data");
        if came != Some(&wanted) {
            return Err(wrong(came.map_or_else(|| "nothing".to_owned(), shown_value)));
        }
        // OpenID4VP lets a wallet name the algorithm; AP2 v0.1 has one, and a wallet that means another is not believed.
        match claims.get("transaction_data_hashes_alg") {
            None => Ok(()),
            Some(Value::String(algorithm)) if algorithm == "sha-256" => Ok(()),
            Some(other) => Err(wrong(format!("hashes by {}", shown_value(other)))),
        }
    }
}

fn check_credential(credential: &SdJwt<'_>, context: &Context<'_>) -> Result<Resolved, Rejection> {
    let jwt = &credential.jwt;
    jwt.check_header()?;
    if !jwt.typ().is_some_and(|typ| CREDENTIAL_TYPES.contains(&typ)) {
        let came = jwt.header().get("typ").map_or_else(|| "nothing".to_owned(), shown_value);
        let message = format!("typ of a credential is {}; {came} came", CREDENTIAL_TYPES.join(" or "));
        return Err(Rejection::new(Code::TypWrong, message).at("typ"));
    }
    jwt.verify(issuer_key(jwt, context.credential_issuers)?)?;
    let resolved = credential.resolve()?;
    context.clock.check(resolved.claims(), "the credential")?;
    let vct = schema::text(resolved.claims(), "vct")?;
    match context.credential_types {
        CredentialTypes::Among(types) if !types.contains(&vct.as_str()) => {
            let message = format!("vct of a person's credential is one of {types:?}; {} came", shown(&vct));
            Err(Rejection::new(Code::CredentialTypeWrong, message).at("vct"))
        }
        _ => Ok(resolved),
    }
}
