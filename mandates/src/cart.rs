//! The cart: a merchant's checkout (UCP 2026-04-08 with AP2's `merchant`) signed as an ES256 JWT, AP2's `checkout_jwt`.

use ledger::money::Amount;
use serde_json::Value;

use crate::clock::Clock;
use crate::currency::Currency;
use crate::digest::HashAlgorithm;
use crate::json::{Json, Members, Object};
use crate::jws::{Jws, Unsigned};
use crate::keys::{KeyId, KeySet};
use crate::limits::{LINES_MAX, LIST_ENTRIES_MAX, TOKEN_BYTES_MAX, UNITS_MAX};
use crate::mandate;
use crate::party::{Instant, Merchant, Money};
use crate::rejection::{Code, Rejection, shown};
use crate::schema;

/// What a merchant asks for. `verify` has checked who signed it, `parse` has not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cart {
    pub id: String,
    /// AP2's extension of the UCP checkout; absent in a bare UCP checkout.
    pub merchant: Option<Merchant>,
    pub lines: Vec<Line>,
    pub status: String,
    pub currency: Currency,
    pub total: Amount,
    /// The earlier of `expires_at` and `exp`.
    pub expires_at_seconds: Option<i64>,
    /// The whole payload, as it came.
    pub claims: Object,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    pub id: String,
    pub item_id: String,
    pub title: String,
    pub price: Amount,
    pub quantity: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaxLine {
    /// The merchant's own words.
    pub label: String,
    pub amount: Amount,
}

impl Cart {
    /// Decodes a checkout without checking its signature.
    pub fn parse(checkout_jwt: &str) -> Result<Self, Rejection> {
        Self::read(decode(checkout_jwt)?.payload())
    }

    fn read(claims: Members<'_>) -> Result<Self, Rejection> {
        let merchant = match claims.get("merchant") {
            None => None,
            Some(_) => Some(Merchant::parse(schema::object(claims, "merchant")?)?),
        };
        let lines: Vec<Line> =
            schema::objects(claims, "line_items", LINES_MAX)?.into_iter().map(Line::parse).collect::<Result<_, _>>()?;
        check_units(&lines)?;
        schema::list(claims, "links", LIST_ENTRIES_MAX)?;
        let advertised = Instant::read(claims, "expires_at")?.map(|instant| instant.unix_seconds());
        let signed = mandate::seconds(claims, "exp")?;
        Ok(Self {
            id: schema::text(claims, "id")?,
            merchant,
            lines,
            status: schema::text(claims, "status")?,
            currency: Currency::read(claims)?,
            total: total(claims)?,
            expires_at_seconds: [advertised, signed].into_iter().flatten().min(),
            claims: claims.to_object(),
        })
    }

    /// What of the total is tax, a line each (UCP `totals.json`, type `tax`), in minor units. It says what the merchant
    /// wrote; nothing is judged by it. A tax below zero is no line.
    pub fn taxes(&self) -> Vec<TaxLine> {
        let entries = self.claims.get("totals").and_then(Value::as_array).into_iter().flatten();
        let taxes =
            entries.filter_map(Value::as_object).filter(|entry| entry.get("type").is_some_and(|kind| kind == "tax"));
        let line = |entry: &Object| {
            let label = entry.get("display_text").and_then(Value::as_str).unwrap_or("tax").to_owned();
            schema::amount(entry, "amount").ok().map(|amount| TaxLine { label, amount })
        };
        taxes.filter_map(line).collect()
    }

    pub fn price(&self) -> Money {
        Money { amount: self.total, currency: self.currency.clone() }
    }

    /// `nbf`, `iat`, and the earlier of the two expiries.
    pub(crate) fn check_times(&self, clock: &Clock) -> Result<(), Rejection> {
        let gone = |message: String| Rejection::new(Code::CheckoutExpired, message).at("expires_at");
        clock.check(&self.claims, "the checkout").map_err(|refused| gone(refused.message))?;
        match self.expires_at_seconds {
            Some(expires_at) if clock.now_seconds.saturating_sub(i64::from(clock.skew_seconds)) >= expires_at => {
                let now = clock.now_seconds;
                Err(gone(format!(
                    "the checkout is good before {expires_at} (skew {} s); it is {now}",
                    clock.skew_seconds
                )))
            }
            _ => Ok(()),
        }
    }
}

impl Line {
    fn parse(claims: Members<'_>) -> Result<Self, Rejection> {
        let item = schema::object(claims, "item")?;
        let quantity = schema::count(claims, "quantity")?;
        if quantity == 0 {
            return Err(schema::refused("quantity", "quantity is 1 or more; 0 came".to_owned()));
        }
        schema::list(claims, "totals", LIST_ENTRIES_MAX)?;
        Ok(Self {
            id: schema::text(claims, "id")?,
            item_id: schema::text(item, "id")?,
            title: schema::text(item, "title")?,
            price: schema::amount(item, "price")?,
            quantity,
        })
    }
}

fn check_units(lines: &[Line]) -> Result<(), Rejection> {
    let units = lines.iter().fold(0_u64, |sum, line| sum.saturating_add(line.quantity));
    if units > UNITS_MAX {
        return Err(schema::refused("line_items", format!("a checkout has at most {UNITS_MAX} units; {units} came")));
    }
    Ok(())
}

/// UCP `totals.json`: exactly one total. Details may be itemised; discounts are negative there, the total never is.
fn total(claims: Members<'_>) -> Result<Amount, Rejection> {
    let totals = schema::objects(claims, "totals", LIST_ENTRIES_MAX)?;
    let of = |kind: &'static str| {
        totals.iter().copied().filter(move |entry| entry.get("type").and_then(Json::as_str) == Some(kind))
    };
    let counts = (of("total").count(), of("subtotal").count());
    if counts.0 != 1 || counts.1 > 1 {
        let message = format!("totals has one total and at most one subtotal; {} and {} came", counts.0, counts.1);
        return Err(schema::refused("totals", message));
    }
    of("subtotal").try_for_each(|entry| schema::amount(entry, "amount").map(|_| ()))?;
    of("total").next().map_or(Ok(Amount::ZERO), |entry| schema::amount(entry, "amount"))
}

/// AP2's `checkout_hash` and `transaction_id`: over the compact JWT as received.
pub fn hash(checkout_jwt: &str, algorithm: HashAlgorithm) -> String {
    algorithm.digest_text(checkout_jwt)
}

/// A checkout to sign, held to the same schema as one that comes in.
pub fn unsigned(checkout: &Object, key_id: &KeyId) -> Result<Unsigned, Rejection> {
    Cart::read(checkout.into())?;
    let header = Object::from_iter([
        ("alg".to_owned(), "ES256".into()),
        ("kid".to_owned(), key_id.as_str().into()),
        ("typ".to_owned(), "JWT".into()),
    ]);
    Ok(Unsigned::new(&header, checkout))
}

/// A checkout that this merchant signed and that is still good.
pub fn verify(checkout_jwt: &str, merchant_keys: &KeySet, clock: &Clock) -> Result<Cart, Rejection> {
    let cart = Cart::parse(checkout_jwt)?;
    check_signature(checkout_jwt, merchant_keys)?;
    cart.check_times(clock)?;
    Ok(cart)
}

/// The merchant's key by `kid`; without one, the only key of the set.
pub(crate) fn check_signature(checkout_jwt: &str, merchant_keys: &KeySet) -> Result<(), Rejection> {
    let jws = decode(checkout_jwt)?;
    let key = match jws.kid() {
        Some(kid) => merchant_keys.find(kid),
        None => merchant_keys.only(),
    };
    let key = key.ok_or_else(|| {
        let came = jws.kid().map_or_else(|| "none".to_owned(), shown);
        let message = format!("the checkout's kid is one of the merchant's {} keys; {came} came", merchant_keys.len());
        Rejection::new(Code::MerchantKeyUnknown, message).at("kid")
    })?;
    jws.verify(key)
        .map_err(|refused| Rejection::new(Code::CheckoutSignatureInvalid, refused.message).at("checkout_jwt"))
}

fn decode(checkout_jwt: &str) -> Result<Jws<'_>, Rejection> {
    if checkout_jwt.len() > TOKEN_BYTES_MAX {
        let message = format!("a checkout has at most {TOKEN_BYTES_MAX} bytes; {} came", checkout_jwt.len());
        return Err(Rejection::new(Code::CheckoutJwtMalformed, message).at("checkout_jwt"));
    }
    let malformed = |refused: Rejection| Rejection::new(Code::CheckoutJwtMalformed, refused.message).at("checkout_jwt");
    let jws = Jws::parse(checkout_jwt).map_err(malformed)?;
    jws.check_header().map_err(malformed)?;
    Ok(jws)
}
