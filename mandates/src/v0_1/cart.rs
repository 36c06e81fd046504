//! The `CartMandate` of AP2 v0.1: a merchant's `CartContents` and the JWT that signs their hash.

use serde_json::Value;

use super::request::PaymentRequest;
use super::{check_expiry, check_members, hash, required_instant};
use crate::canonical::without_nulls;
use crate::chain::MandateId;
use crate::clock::{self, Clock};
use crate::digest::sha256;
use crate::json::{self, Json, Members, Object};
use crate::jws::{Jws, Unsigned};
use crate::keys::{KeyId, KeySet};
use crate::limits::{LIST_ENTRIES_MAX, TOKEN_BYTES_MAX};
use crate::party::Instant;
use crate::rejection::{Code, Rejection, shown, shown_value};
use crate::schema;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CartContents {
    pub id: String,
    pub user_cart_confirmation_required: bool,
    pub payment_request: PaymentRequest,
    pub cart_expiry: Instant,
    pub merchant_name: String,
    /// `cart_hash`.
    pub hash: String,
    /// As it came, without null members: what is hashed.
    pub claims: Object,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CartMandate {
    pub contents: CartContents,
    /// `None` in a cart that nobody signed yet; `verify` refuses it.
    pub merchant_authorization: Option<String>,
    /// What a payment's `transaction_data` names: over the contents and the authorization.
    pub hash: String,
}

/// What the verifier of a cart knows and asks for.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    pub clock: Clock,
    pub merchant_keys: &'a KeySet,
    pub audience: Audience<'a>,
    /// The longest `exp - iat`; AP2 v0.1 speaks of 5 to 15 minutes.
    pub authorization_seconds_max: u32,
    pub jtis: Jtis<'a>,
}

/// Whom the merchant's authorization must be for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Audience<'a> {
    Exactly(&'a str),
    /// The cart is for somebody else and only referred to: it is no offer to this verifier.
    NotAsked,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Jtis<'a> {
    /// `jti` values that were taken before.
    Seen(&'a [String]),
    /// The caller's store takes the `jti` in the unit of work that acts on the cart.
    LeftToState,
}

/// A merchant's authorization whose signature, times and hash hold.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct Authorization {
    /// SHA-256 over `purser/cart-authorization/v1`, a zero byte, and `header.payload` as received: a name that no third
    /// party can change.
    pub identity: MandateId,
    pub issuer: String,
    pub subject: String,
    pub audience: Vec<String>,
    pub jti: String,
    pub issued_at_seconds: i64,
    pub expires_at_seconds: i64,
}

/// What a merchant signs about a cart.
#[derive(Clone, Copy, Debug)]
pub struct AuthorizationTerms<'a> {
    pub key_id: &'a KeyId,
    pub issuer: &'a str,
    pub subject: &'a str,
    pub audience: &'a str,
    /// Never used before by this issuer.
    pub jti: &'a str,
    pub issued_at_seconds: i64,
    pub expires_at_seconds: i64,
}

const IDENTITY_TAG: &[u8] = b"purser/cart-authorization/v1\0";

impl CartContents {
    pub fn parse(json: &[u8]) -> Result<Self, Rejection> {
        Self::read(&json::parse_object(json)?)
    }

    pub(crate) fn read(claims: &Object) -> Result<Self, Rejection> {
        let claims = without_nulls(claims);
        let required = schema::flag(&claims, "user_cart_confirmation_required")?.ok_or_else(|| {
            let field = "user_cart_confirmation_required";
            schema::refused(field, format!("{field} is a boolean; nothing came"))
        })?;
        Ok(Self {
            id: schema::text(&claims, "id")?,
            user_cart_confirmation_required: required,
            payment_request: PaymentRequest::parse(schema::object(&claims, "payment_request")?)?,
            cart_expiry: required_instant(&claims, "cart_expiry")?,
            merchant_name: schema::text(&claims, "merchant_name")?,
            hash: hash(&claims)?,
            claims,
        })
    }

    /// The authorization to sign. Its claims stand in for the cart from now on, so the contents are not changed after.
    pub fn unsigned(&self, terms: &AuthorizationTerms<'_>) -> Result<Unsigned, Rejection> {
        if terms.expires_at_seconds <= terms.issued_at_seconds {
            let (issued, expires) = (terms.issued_at_seconds, terms.expires_at_seconds);
            return Err(schema::refused("exp", format!("exp is after iat, {issued}; {expires} came")));
        }
        let header = Object::from_iter([
            ("alg".to_owned(), "ES256".into()),
            ("kid".to_owned(), terms.key_id.as_str().into()),
            ("typ".to_owned(), "JWT".into()),
        ]);
        let claims = Object::from_iter([
            ("iss".to_owned(), terms.issuer.into()),
            ("sub".to_owned(), terms.subject.into()),
            ("aud".to_owned(), terms.audience.into()),
            ("iat".to_owned(), terms.issued_at_seconds.into()),
            ("exp".to_owned(), terms.expires_at_seconds.into()),
            ("jti".to_owned(), terms.jti.into()),
            ("cart_hash".to_owned(), self.hash.as_str().into()),
        ]);
        Ok(Unsigned::new(&header, &claims))
    }

    /// The mandate with its signed authorization.
    pub fn authorized(self, merchant_authorization: String) -> Result<CartMandate, Rejection> {
        CartMandate::of(self, Some(merchant_authorization))
    }
}

impl CartMandate {
    /// Reads one JSON object strictly. No signature is checked.
    pub fn parse(json: &[u8]) -> Result<Self, Rejection> {
        let claims = without_nulls(&json::parse_object(json)?);
        check_members(&claims, &["contents", "merchant_authorization"], "a CartMandate")?;
        let contents = CartContents::read(&schema::object(&claims, "contents")?.to_object())?;
        let authorization = match claims.get("merchant_authorization") {
            None => None,
            Some(Value::String(jwt)) => Some(jwt.clone()),
            Some(other) => {
                let message = format!("merchant_authorization is a string; {} came", json::kind(other));
                return Err(schema::refused("merchant_authorization", message));
            }
        };
        Self::of(contents, authorization)
    }

    fn of(contents: CartContents, merchant_authorization: Option<String>) -> Result<Self, Rejection> {
        let mut mandate = Self { contents, merchant_authorization, hash: String::new() };
        mandate.hash = hash(&mandate.claims())?;
        Ok(mandate)
    }

    /// The object to send.
    pub fn claims(&self) -> Object {
        let mut claims = Object::from_iter([("contents".to_owned(), Value::Object(self.contents.claims.clone()))]);
        if let Some(jwt) = &self.merchant_authorization {
            claims.insert("merchant_authorization".to_owned(), jwt.as_str().into());
        }
        claims
    }

    /// A cart that this merchant signed for this audience, unchanged and still good.
    ///
    /// In this order: the authorization is there, its header, key (by `kid`, required) and signature; its claims (`iss`,
    /// `sub`, `aud`, `iat`, `exp`, `jti`, `cart_hash`, all required); times and their window; audience; hash; `cart_expiry`;
    /// replay.
    pub fn verify(&self, context: &Context<'_>) -> Result<Authorization, Rejection> {
        let jwt = self.merchant_authorization.as_deref().filter(|jwt| !jwt.is_empty()).ok_or_else(|| {
            let message = "a cart carries its merchant's authorization; none came";
            Rejection::new(Code::MerchantAuthorizationMissing, message).at("merchant_authorization")
        })?;
        let jws = authenticate(jwt, context.merchant_keys)?;
        let authorization = Authorization::read(&jws)?;
        context.clock.check(jws.payload(), "the merchant's authorization")?;
        authorization.check_window(jws.payload(), context.authorization_seconds_max)?;
        authorization.check_audience(&context.audience)?;
        self.check_hash(jws.payload())?;
        check_expiry(&self.contents.cart_expiry, &context.clock, "cart_expiry", Code::CartExpired)?;
        match context.jtis {
            Jtis::Seen(seen) if seen.contains(&authorization.jti) => {
                let message = format!("a jti is taken once; {} was taken before", shown(&authorization.jti));
                Err(Rejection::new(Code::Replayed, message).at("jti"))
            }
            _ => Ok(authorization),
        }
    }

    fn check_hash(&self, claims: Members<'_>) -> Result<(), Rejection> {
        let came = required(claims, "cart_hash")?;
        if came == self.contents.hash {
            return Ok(());
        }
        let message = format!("cart_hash is {}, of these contents; {} came", self.contents.hash, shown(&came));
        Err(Rejection::new(Code::CartHashMismatch, message).at("cart_hash"))
    }
}

fn authenticate<'a>(jwt: &'a str, merchant_keys: &KeySet) -> Result<Jws<'a>, Rejection> {
    if jwt.len() > TOKEN_BYTES_MAX {
        let message = format!("an authorization has at most {TOKEN_BYTES_MAX} bytes; {} came", jwt.len());
        return Err(Rejection::new(Code::TokenTooLarge, message));
    }
    let jws = Jws::parse(jwt)?;
    jws.check_header()?;
    match jws.header().get("typ") {
        None => {}
        Some(Json::String(typ)) if typ.eq_ignore_ascii_case("JWT") => {}
        Some(other) => {
            let message = format!("typ of an authorization is JWT; {} came", shown_value(other));
            return Err(Rejection::new(Code::TypWrong, message).at("typ"));
        }
    }
    let key = jws.kid().and_then(|kid| merchant_keys.find(kid)).ok_or_else(|| {
        let came = jws.kid().map_or_else(|| "none".to_owned(), shown);
        let message = format!("kid is one of the merchant's {} keys; {came} came", merchant_keys.len());
        Rejection::new(Code::UnknownKid, message).at("kid")
    })?;
    jws.verify(key)?;
    Ok(jws)
}

impl Authorization {
    fn read(jws: &Jws<'_>) -> Result<Self, Rejection> {
        let claims = jws.payload();
        let seconds = |name: &'static str| {
            let date = clock::numeric_date(claims, name)?;
            date.and_then(clock::whole_seconds).ok_or_else(|| missing(name, "a number of seconds", claims.get(name)))
        };
        required(claims, "cart_hash")?;
        Ok(Self {
            identity: MandateId::from_bytes(sha256(&[IDENTITY_TAG, jws.signing_input().as_bytes()])),
            issuer: required(claims, "iss")?,
            subject: required(claims, "sub")?,
            audience: audience(claims)?,
            jti: required(claims, "jti")?,
            issued_at_seconds: seconds("iat")?,
            expires_at_seconds: seconds("exp")?,
        })
    }

    fn check_window(&self, claims: Members<'_>, seconds_max: u32) -> Result<(), Rejection> {
        let date = |name| clock::numeric_date(claims, name).map(Option::unwrap_or_default);
        let (issued, expires) = (date("iat")?, date("exp")?);
        let lasts = expires.checked_sub(issued).unwrap_or_default();
        if lasts > seconds_max.into() || lasts.is_zero() || lasts.is_sign_negative() {
            let message =
                format!("an authorization is good for up to {seconds_max} s after iat {issued}; exp says {expires}");
            return Err(Rejection::new(Code::MerchantAuthorizationTooLong, message).at("exp"));
        }
        Ok(())
    }

    fn check_audience(&self, expected: &Audience<'_>) -> Result<(), Rejection> {
        match expected {
            Audience::Exactly(audience) if !self.audience.iter().any(|came| came == audience) => {
                let came: Vec<String> = self.audience.iter().take(4).map(|came| shown(came)).collect();
                let message = format!("aud is {}; {} came", shown(audience), came.join(", "));
                Err(Rejection::new(Code::AudMismatch, message).at("aud"))
            }
            _ => Ok(()),
        }
    }
}

/// A string, or an array of strings (RFC 7519 section 4.1.3), never empty.
fn audience(claims: Members<'_>) -> Result<Vec<String>, Rejection> {
    if !matches!(claims.get("aud"), Some(Json::Array(_))) {
        return Ok(vec![required(claims, "aud")?]);
    }
    let audience = schema::optional_texts(claims, "aud", LIST_ENTRIES_MAX)?.unwrap_or_default();
    if audience.is_empty() { Err(missing("aud", "a text or a list of them", claims.get("aud"))) } else { Ok(audience) }
}

fn required(claims: Members<'_>, name: &'static str) -> Result<String, Rejection> {
    schema::optional_text(claims, name)
        .map_err(|refused| Rejection::new(Code::ClaimMissing, refused.message).at(name))?
        .ok_or_else(|| missing(name, "a text", None))
}

fn missing(name: &'static str, wanted: &str, came: Option<Json<'_>>) -> Rejection {
    let came = came.map_or("nothing", Json::kind);
    Rejection::new(Code::ClaimMissing, format!("an authorization has {name}, {wanted}; {came} came")).at(name)
}
