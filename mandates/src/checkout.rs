//! The closed checkout mandate, `mandate.checkout.1` (AP2 v0.2 `checkout_mandate.json`): a merchant's signed checkout and
//! its hash.

use crate::json::{self, Json, Members, Object};
use crate::limits::TOKEN_BYTES_MAX;
use crate::mandate::{self, Vct};
use crate::rejection::Rejection;
use crate::schema;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClosedCheckout {
    /// The merchant's signed checkout, as the mandate carries it.
    pub checkout_jwt: String,
    pub checkout_hash: String,
    pub issued_at_seconds: Option<i64>,
    pub expires_at_seconds: Option<i64>,
    /// Every other member, as it came.
    pub others: Object,
}

impl ClosedCheckout {
    pub(crate) fn parse(claims: Members<'_>) -> Result<Self, Rejection> {
        let checkout_jwt = match claims.get("checkout_jwt") {
            Some(Json::String(jwt)) if jwt.len() <= TOKEN_BYTES_MAX => jwt.to_owned(),
            other => {
                let came = other.map_or("nothing", Json::kind);
                return Err(schema::refused(
                    "checkout_jwt",
                    format!("checkout_jwt is a disclosed string; {came} came"),
                ));
            }
        };
        let others = json::without(claims, &["vct", "checkout_jwt", "checkout_hash", "iat", "exp"]);
        Ok(Self {
            checkout_jwt,
            checkout_hash: schema::text(claims, "checkout_hash")?,
            issued_at_seconds: mandate::seconds(claims, "iat")?,
            expires_at_seconds: mandate::seconds(claims, "exp")?,
            others,
        })
    }

    pub(crate) fn claims(&self) -> Object {
        let mut claims = self.others.clone();
        claims.insert("vct".to_owned(), Vct::ClosedCheckout.as_str().into());
        claims.insert("checkout_jwt".to_owned(), self.checkout_jwt.as_str().into());
        claims.insert("checkout_hash".to_owned(), self.checkout_hash.as_str().into());
        mandate::insert_times(&mut claims, self.issued_at_seconds, self.expires_at_seconds);
        claims
    }
}
