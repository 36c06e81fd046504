//! The four mandates of AP2 v0.2 and the open one's common shape: constraints, the delegated key, preset claims.

use std::fmt;

use serde_json::Value;

use crate::chain;
use crate::checkout::ClosedCheckout;
use crate::clock;
use crate::constraint::Written;
use crate::json::{self, Json, Members, Object};
use crate::keys::PublicKey;
use crate::limits::CONSTRAINTS_MAX;
use crate::payment::{self, ClosedPayment};
use crate::rejection::{Code, Rejection, shown_value};
use crate::schema;

/// The credential type, matched whole: the version suffix is part of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Vct {
    OpenCheckout,
    ClosedCheckout,
    OpenPayment,
    ClosedPayment,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    Checkout,
    Payment,
}

impl Family {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Checkout => "checkout",
            Self::Payment => "payment",
        }
    }
}

impl Vct {
    pub const ALL: [Self; 4] = [Self::OpenCheckout, Self::ClosedCheckout, Self::OpenPayment, Self::ClosedPayment];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::OpenCheckout => "mandate.checkout.open.1",
            Self::ClosedCheckout => "mandate.checkout.1",
            Self::OpenPayment => "mandate.payment.open.1",
            Self::ClosedPayment => "mandate.payment.1",
        }
    }

    pub const fn family(self) -> Family {
        match self {
            Self::OpenCheckout | Self::ClosedCheckout => Family::Checkout,
            Self::OpenPayment | Self::ClosedPayment => Family::Payment,
        }
    }

    pub const fn is_open(self) -> bool {
        matches!(self, Self::OpenCheckout | Self::OpenPayment)
    }

    pub(crate) fn of<'t>(claims: impl Into<Members<'t>>) -> Result<Self, Rejection> {
        let came = claims.into().get("vct");
        let known = came.and_then(Json::as_str).and_then(|text| Self::ALL.into_iter().find(|vct| vct.as_str() == text));
        known.ok_or_else(|| {
            let names = Self::ALL.map(Self::as_str).join(", ");
            let came = came.map_or_else(|| "nothing".to_owned(), shown_value);
            Rejection::new(Code::VctUnknown, format!("vct is one of {names}; {came} came")).at("vct")
        })
    }
}

impl fmt::Display for Vct {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// An open mandate: what the holder of a key may do, within constraints.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Open {
    pub vct: Vct,
    pub constraints: Vec<Written>,
    /// Whom it empowers (`cnf.jwk`).
    pub holder: PublicKey,
    /// What the closed mandate must repeat unchanged: every claim save those an open mandate says about itself.
    pub presets: Object,
    pub issued_at_seconds: Option<i64>,
    /// `nbf`, rounded up: good from then on.
    pub not_before_seconds: Option<i64>,
    pub expires_at_seconds: Option<i64>,
}

const ABOUT_ITSELF: [&str; 6] = ["vct", "constraints", "cnf", "iat", "exp", "nbf"];

impl Open {
    /// `holder` is the key in `cnf`, which whoever asks has read.
    pub(crate) fn parse(vct: Vct, claims: Members<'_>, holder: PublicKey) -> Result<Self, Rejection> {
        let constraints = schema::list(claims, "constraints", CONSTRAINTS_MAX)?;
        let presets = json::without(claims, &ABOUT_ITSELF);
        if vct.family() == Family::Payment {
            payment::check_presets(&presets)?;
        }
        Ok(Self {
            vct,
            constraints: constraints.iter().map(Written::parse).collect::<Result<_, _>>()?,
            holder,
            presets,
            issued_at_seconds: seconds(claims, "iat")?,
            not_before_seconds: start(claims)?,
            expires_at_seconds: seconds(claims, "exp")?,
        })
    }

    pub(crate) fn claims(&self) -> Object {
        let mut claims = self.presets.clone();
        claims.insert("vct".to_owned(), self.vct.as_str().into());
        claims.insert("constraints".to_owned(), Value::Array(self.constraints.iter().map(Written::claims).collect()));
        let cnf = Object::from_iter([("jwk".to_owned(), Value::Object(self.holder.to_jwk()))]);
        claims.insert("cnf".to_owned(), cnf.into());
        insert_times(&mut claims, self.issued_at_seconds, self.expires_at_seconds);
        if let Some(seconds) = self.not_before_seconds {
            claims.insert("nbf".to_owned(), seconds.into());
        }
        claims
    }
}

/// A closed mandate, or the open one of a token that is looked at on its own.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "one at a time, taken apart as soon as it is read")]
pub enum Mandate {
    Open(Open),
    Payment(ClosedPayment),
    Checkout(ClosedCheckout),
}

impl Mandate {
    /// From the claims that a delegate payload shows: the schema of its `vct` (AP2 v0.2), held as strictly as for a mandate
    /// that comes in.
    pub fn parse<'t>(claims: impl Into<Members<'t>>) -> Result<Self, Rejection> {
        Self::parse_for(claims.into(), None)
    }

    /// The same where the key in `cnf` was read before.
    pub(crate) fn parse_for(claims: Members<'_>, holder: Option<&PublicKey>) -> Result<Self, Rejection> {
        match Vct::of(claims)? {
            vct @ (Vct::OpenCheckout | Vct::OpenPayment) => {
                let holder = holder.map_or_else(|| chain::confirmation_key(claims), |holder| Ok(holder.clone()))?;
                Open::parse(vct, claims, holder).map(Self::Open)
            }
            Vct::ClosedPayment => ClosedPayment::parse(claims).map(Self::Payment),
            Vct::ClosedCheckout => ClosedCheckout::parse(claims).map(Self::Checkout),
        }
    }

    pub const fn vct(&self) -> Vct {
        match self {
            Self::Open(open) => open.vct,
            Self::Payment(_) => Vct::ClosedPayment,
            Self::Checkout(_) => Vct::ClosedCheckout,
        }
    }

    pub(crate) fn claims(&self) -> Object {
        match self {
            Self::Open(open) => open.claims(),
            Self::Payment(closed) => closed.claims(),
            Self::Checkout(closed) => closed.claims(),
        }
    }
}

pub(crate) fn seconds<'t>(claims: impl Into<Members<'t>>, field: &str) -> Result<Option<i64>, Rejection> {
    match clock::numeric_date(claims, field)? {
        None => Ok(None),
        Some(date) => clock::whole_seconds(date)
            .map(Some)
            .ok_or_else(|| schema::refused(field, format!("{field} is below 2^63 seconds; {date} came"))),
    }
}

fn start(claims: Members<'_>) -> Result<Option<i64>, Rejection> {
    match clock::numeric_date(claims, "nbf")? {
        None => Ok(None),
        Some(date) => clock::whole_seconds(date.ceil())
            .map(Some)
            .ok_or_else(|| schema::refused("nbf", format!("nbf is below 2^63 seconds; {date} came"))),
    }
}

pub(crate) fn insert_times(claims: &mut Object, issued_at_seconds: Option<i64>, expires_at_seconds: Option<i64>) {
    for (name, seconds) in [("iat", issued_at_seconds), ("exp", expires_at_seconds)] {
        if let Some(seconds) = seconds {
            claims.insert(name.to_owned(), seconds.into());
        }
    }
}
