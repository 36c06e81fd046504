//! Whom a chain was handed to, as its leaf says.

use super::{Context, Expected};
use crate::clock;
use crate::json::{Json, Members};
use crate::limits::TEXT_BYTES_MAX;
use crate::rejection::{Code, Rejection, shown};

/// What the leaf (or a root that stands alone) says about the hand-over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Presentation {
    pub audience: String,
    pub nonce: String,
    pub issued_at_seconds: i64,
}

impl Presentation {
    /// `iat`, `aud` and `nonce` of a key-bound hop (RFC 9901 section 4.3: all three are required).
    pub(crate) fn read(claims: Members<'_>) -> Result<Self, Rejection> {
        let issued_at = clock::numeric_date(claims, "iat")?.and_then(clock::whole_seconds).ok_or_else(|| {
            Rejection::new(Code::IatMissing, "a key-bound hop says when it was signed; iat is not there").at("iat")
        })?;
        Ok(Self {
            audience: bound_text(claims, "aud", Code::AudMissing)?,
            nonce: bound_text(claims, "nonce", Code::NonceMissing)?,
            issued_at_seconds: issued_at,
        })
    }

    pub(super) fn check(&self, context: &Context<'_>) -> Result<(), Rejection> {
        let Expected::Exactly { audience, nonce } = context.expected else { return Ok(()) };
        if self.audience != audience {
            let message = format!("aud is {}; {} came", shown(audience), shown(&self.audience));
            return Err(Rejection::new(Code::AudMismatch, message).at("aud"));
        }
        if self.nonce != nonce {
            let message = format!("nonce is {}; {} came", shown(nonce), shown(&self.nonce));
            return Err(Rejection::new(Code::NonceMismatch, message).at("nonce"));
        }
        Ok(())
    }
}

fn bound_text(claims: Members<'_>, name: &'static str, missing: Code) -> Result<String, Rejection> {
    match claims.get(name) {
        Some(Json::String(text)) if !text.is_empty() && text.len() <= TEXT_BYTES_MAX => Ok(text.to_owned()),
        other => {
            let came = other.map_or("nothing", Json::kind);
            let message = format!("{name} is a string of 1 to {TEXT_BYTES_MAX} bytes; {came} came");
            Err(Rejection::new(missing, message).at(name))
        }
    }
}
