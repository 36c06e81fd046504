//! The closed payment mandate, `mandate.payment.1` (AP2 v0.2 `payment_mandate.json`).

use serde_json::Value;

use crate::json::{Json, Members, Object};
use crate::party::{Instant, Instrument, Merchant, Money, Pisp};
use crate::rejection::Rejection;
use crate::schema;

/// What one payment is: signed by the agent under an open mandate, or by the user directly.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClosedPayment {
    /// The hash of the checkout that is paid.
    pub transaction_id: String,
    pub payee: Merchant,
    pub payment_amount: Money,
    pub payment_instrument: Instrument,
    pub pisp: Option<Pisp>,
    /// Absent means at once.
    pub execution_date: Option<Instant>,
    pub risk_data: Option<Value>,
    pub issued_at_seconds: Option<i64>,
    pub expires_at_seconds: Option<i64>,
    /// Every other member, as it came.
    pub others: Object,
}

const MEMBERS: [&str; 11] = [
    "vct",
    "transaction_id",
    "payee",
    "payment_amount",
    "payment_instrument",
    "pisp",
    "execution_date",
    "risk_data",
    "iat",
    "exp",
    "cnf",
];

impl ClosedPayment {
    /// The members of a closed payment mandate.
    pub fn parse<'t>(claims: impl Into<Members<'t>>) -> Result<Self, Rejection> {
        let claims = claims.into();
        let others = crate::json::without(claims, &MEMBERS);
        Ok(Self {
            transaction_id: schema::text(claims, "transaction_id")?,
            payee: Merchant::parse(schema::object(claims, "payee")?)?,
            payment_amount: Money::parse(schema::object(claims, "payment_amount")?)?,
            payment_instrument: Instrument::parse(schema::object(claims, "payment_instrument")?)?,
            pisp: optional(claims, "pisp", Pisp::parse)?,
            execution_date: Instant::read(claims, "execution_date")?,
            risk_data: claims.get("risk_data").map(Json::to_value),
            issued_at_seconds: crate::mandate::seconds(claims, "iat")?,
            expires_at_seconds: crate::mandate::seconds(claims, "exp")?,
            others,
        })
    }

    pub fn claims(&self) -> Object {
        let mut claims = self.others.clone();
        claims.insert("vct".to_owned(), crate::mandate::Vct::ClosedPayment.as_str().into());
        claims.insert("transaction_id".to_owned(), self.transaction_id.as_str().into());
        claims.insert("payee".to_owned(), self.payee.claims().into());
        claims.insert("payment_amount".to_owned(), self.payment_amount.claims().into());
        claims.insert("payment_instrument".to_owned(), self.payment_instrument.claims().into());
        if let Some(pisp) = &self.pisp {
            claims.insert("pisp".to_owned(), pisp.claims().into());
        }
        if let Some(date) = &self.execution_date {
            claims.insert("execution_date".to_owned(), date.as_str().into());
        }
        if let Some(risk_data) = &self.risk_data {
            claims.insert("risk_data".to_owned(), risk_data.clone());
        }
        crate::mandate::insert_times(&mut claims, self.issued_at_seconds, self.expires_at_seconds);
        claims
    }
}

/// The preset claims of an open payment mandate are held to the types that they must have in the closed one.
pub(crate) fn check_presets<'t>(presets: impl Into<Members<'t>>) -> Result<(), Rejection> {
    let presets = presets.into();
    optional(presets, "payee", Merchant::parse)?;
    optional(presets, "payment_amount", Money::parse)?;
    optional(presets, "payment_instrument", Instrument::parse)?;
    optional(presets, "pisp", Pisp::parse)?;
    Instant::read(presets, "execution_date")?;
    Ok(())
}

fn optional<'t, T>(
    claims: Members<'t>,
    field: &str,
    parse: impl Fn(Members<'t>) -> Result<T, Rejection>,
) -> Result<Option<T>, Rejection> {
    if claims.contains_key(field) { parse(schema::object(claims, field)?).map(Some) } else { Ok(None) }
}
