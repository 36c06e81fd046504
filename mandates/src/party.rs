//! Who and what a mandate names: merchants, payment instruments, payment initiators, amounts (AP2 v0.2 `types/`).

use ledger::money::Amount;
use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::currency::Currency;
use crate::json::{Members, Object};
use crate::rejection::{Rejection, shown};
use crate::schema;

/// `{amount, currency}`, in minor units.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Money {
    pub amount: Amount,
    pub currency: Currency,
}

impl Money {
    pub fn parse<'t>(claims: impl Into<Members<'t>>) -> Result<Self, Rejection> {
        let claims = claims.into();
        Ok(Self { amount: schema::amount(claims, "amount")?, currency: Currency::read(claims)? })
    }

    pub fn claims(&self) -> Object {
        Object::from_iter([
            ("amount".to_owned(), schema::number_of(self.amount)),
            ("currency".to_owned(), self.currency.as_str().into()),
        ])
    }
}

impl std::fmt::Display for Money {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.currency.shown(self.amount).fmt(f)
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Merchant {
    pub id: String,
    pub name: String,
    pub website: Option<String>,
}

impl Merchant {
    pub fn parse<'t>(claims: impl Into<Members<'t>>) -> Result<Self, Rejection> {
        let claims = claims.into();
        Ok(Self {
            id: schema::text(claims, "id")?,
            name: schema::text(claims, "name")?,
            website: schema::optional_text(claims, "website")?,
        })
    }

    pub fn claims(&self) -> Object {
        let mut claims = Object::from_iter([
            ("id".to_owned(), self.id.as_str().into()),
            ("name".to_owned(), self.name.as_str().into()),
        ]);
        if let Some(website) = &self.website {
            claims.insert("website".to_owned(), website.as_str().into());
        }
        claims
    }

    /// AP2 says "present in", which is equality of the value: an id alone is anybody's to claim, so id and name are
    /// equal, and the website too where both name one.
    pub fn is(&self, other: &Self) -> bool {
        let website = match (&self.website, &other.website) {
            (Some(ours), Some(theirs)) => ours == theirs,
            _ => true,
        };
        self.id == other.id && self.name == other.name && website
    }
}

impl std::fmt::Display for Merchant {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", shown(&self.id), shown(&self.name))?;
        self.website.as_ref().map_or(Ok(()), |website| write!(f, " {}", shown(website)))
    }
}

/// `{id, type}` and whatever the type adds (for x402: network, asset, amount, payTo).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instrument {
    pub id: String,
    pub kind: String,
    pub description: Option<String>,
    /// Every other member, as it came.
    pub details: Object,
}

impl Instrument {
    pub fn parse<'t>(claims: impl Into<Members<'t>>) -> Result<Self, Rejection> {
        let claims = claims.into();
        let details = crate::json::without(claims, &["id", "type", "description"]);
        Ok(Self {
            id: schema::text(claims, "id")?,
            kind: schema::text(claims, "type")?,
            description: schema::optional_text(claims, "description")?,
            details,
        })
    }

    pub fn claims(&self) -> Object {
        let mut claims = self.details.clone();
        claims.insert("id".to_owned(), self.id.as_str().into());
        claims.insert("type".to_owned(), self.kind.as_str().into());
        if let Some(description) = &self.description {
            claims.insert("description".to_owned(), description.as_str().into());
        }
        claims
    }

    /// Whether a payment with `self` stays within an allowed `other`: same id and type, and each detail that the allowed
    /// one names is unchanged. The description is for people.
    pub fn is_within(&self, allowed: &Self) -> bool {
        self.id == allowed.id
            && self.kind == allowed.kind
            && allowed.details.iter().all(|(name, value)| self.details.get(name) == Some(value))
    }
}

/// A payment initiation service provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pisp {
    pub legal_name: String,
    pub brand_name: String,
    pub domain_name: String,
}

impl Pisp {
    pub fn parse<'t>(claims: impl Into<Members<'t>>) -> Result<Self, Rejection> {
        let claims = claims.into();
        Ok(Self {
            legal_name: schema::text(claims, "legal_name")?,
            brand_name: schema::text(claims, "brand_name")?,
            domain_name: schema::text(claims, "domain_name")?,
        })
    }

    pub fn claims(&self) -> Object {
        Object::from_iter([
            ("legal_name".to_owned(), self.legal_name.as_str().into()),
            ("brand_name".to_owned(), self.brand_name.as_str().into()),
            ("domain_name".to_owned(), self.domain_name.as_str().into()),
        ])
    }
}

/// An instant with its own spelling. The offset is required: a date without one is a different instant in each place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instant {
    text: String,
    at: OffsetDateTime,
}

impl Instant {
    pub fn parse(field: &str, text: &str) -> Result<Self, Rejection> {
        OffsetDateTime::parse(text, &Rfc3339).map(|at| Self { text: text.to_owned(), at }).map_err(|_| {
            schema::refused(field, format!("{field} is an RFC 3339 instant with its offset; {} came", shown(text)))
        })
    }

    pub(crate) fn read<'t>(claims: impl Into<Members<'t>>, field: &str) -> Result<Option<Self>, Rejection> {
        schema::optional_text_of(claims, field)?.map(|text| Self::parse(field, text)).transpose()
    }

    pub fn unix_seconds(&self) -> i64 {
        self.at.unix_timestamp()
    }

    pub(crate) fn at(&self) -> OffsetDateTime {
        self.at
    }

    pub fn as_str(&self) -> &str {
        &self.text
    }
}

pub(crate) fn array_of<T>(entries: &[T], claims: impl Fn(&T) -> Object) -> Value {
    Value::Array(entries.iter().map(|entry| Value::Object(claims(entry))).collect())
}
