//! Receipts: what a merchant or a payment processor answers a closed mandate with, an ES256 JWT (AP2 v0.2
//! `payment_receipt.json`, `checkout_receipt.json`).
//!
//! The prose of AP2 (`agent_authorization.md`) says `result`, its schema and SDK say `status`: the schema is followed.

use serde_json::Value;

use crate::clock::Clock;
use crate::json::{Members, Object};
use crate::jws::{Jws, Unsigned};
use crate::keys::{KeyId, KeySet};
use crate::limits::TOKEN_BYTES_MAX;
use crate::mandate;
use crate::rejection::{Code, Rejection, shown, shown_value};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReceiptKind {
    Payment,
    Checkout,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    pub issuer: String,
    pub issued_at_seconds: i64,
    /// The hash of the closed mandate that is answered; see [`crate::chain::reference_hashes`].
    pub reference: String,
    pub answer: Answer,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    Paid { payment_id: String, psp_confirmation_id: String, network_confirmation_id: String },
    NotPaid { payment_id: String, failure: Failure },
    Ordered { order_id: String },
    NotOrdered { failure: Failure },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// One of the AP2 codes, or the issuer's own.
    pub error: String,
    /// Both stand in every receipt with status Error (the schema's `required`); the SDK refuses one without.
    pub error_description: String,
}

/// Which references a verifier is waiting for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum References<'a> {
    Known(&'a [String]),
    /// The receipt is only looked at.
    OnItsOwn,
}

impl Receipt {
    pub const fn kind(&self) -> ReceiptKind {
        match self.answer {
            Answer::Paid { .. } | Answer::NotPaid { .. } => ReceiptKind::Payment,
            Answer::Ordered { .. } | Answer::NotOrdered { .. } => ReceiptKind::Checkout,
        }
    }

    pub const fn is_success(&self) -> bool {
        matches!(self.answer, Answer::Paid { .. } | Answer::Ordered { .. })
    }

    /// The receipt to sign.
    pub fn unsigned(&self, key_id: &KeyId) -> Unsigned {
        let header = Object::from_iter([
            ("alg".to_owned(), "ES256".into()),
            ("kid".to_owned(), key_id.as_str().into()),
            ("typ".to_owned(), "JWT".into()),
        ]);
        Unsigned::new(&header, &self.claims())
    }

    fn claims(&self) -> Object {
        let mut claims = Object::from_iter([
            ("status".to_owned(), Value::from(if self.is_success() { "Success" } else { "Error" })),
            ("iss".to_owned(), self.issuer.as_str().into()),
            ("iat".to_owned(), self.issued_at_seconds.into()),
            ("reference".to_owned(), self.reference.as_str().into()),
        ]);
        let mut say = |name: &str, text: &str| claims.insert(name.to_owned(), text.into());
        match &self.answer {
            Answer::Paid { payment_id, psp_confirmation_id, network_confirmation_id } => {
                say("payment_id", payment_id);
                say("psp_confirmation_id", psp_confirmation_id);
                say("network_confirmation_id", network_confirmation_id);
            }
            Answer::Ordered { order_id } => {
                say("order_id", order_id);
            }
            Answer::NotPaid { failure, .. } | Answer::NotOrdered { failure } => {
                say("error", &failure.error);
                say("error_description", &failure.error_description);
                if let Answer::NotPaid { payment_id, .. } = &self.answer {
                    say("payment_id", payment_id);
                }
            }
        }
        claims
    }

    fn read(claims: Members<'_>, kind: ReceiptKind) -> Result<Self, Rejection> {
        let status = text(claims, "status")?;
        let answer = match (status.as_str(), kind) {
            ("Success", ReceiptKind::Payment) => Answer::Paid {
                payment_id: text(claims, "payment_id")?,
                psp_confirmation_id: text(claims, "psp_confirmation_id")?,
                network_confirmation_id: text(claims, "network_confirmation_id")?,
            },
            ("Success", ReceiptKind::Checkout) => Answer::Ordered { order_id: text(claims, "order_id")? },
            ("Error", ReceiptKind::Payment) => {
                Answer::NotPaid { payment_id: text(claims, "payment_id")?, failure: Failure::read(claims)? }
            }
            ("Error", ReceiptKind::Checkout) => Answer::NotOrdered { failure: Failure::read(claims)? },
            _ => {
                let message = format!("status is Success or Error; {} came", shown(&status));
                return Err(Rejection::new(Code::Schema, message).at("status"));
            }
        };
        let forbidden: &[&str] = if status == "Success" {
            &["error", "error_description"]
        } else {
            &["order_id", "psp_confirmation_id", "network_confirmation_id"]
        };
        if let Some(name) = forbidden.iter().find(|name| claims.contains_key(name)) {
            let message = format!("a receipt with status {status} has no {name}; one came");
            return Err(Rejection::new(Code::ReceiptFieldForbidden, message).at(*name));
        }
        let issued_at = mandate::seconds(claims, "iat")?;
        Ok(Self {
            issuer: text(claims, "iss")?,
            issued_at_seconds: issued_at.ok_or_else(|| missing("iat"))?,
            reference: text(claims, "reference")?,
            answer,
        })
    }
}

impl Failure {
    fn read(claims: Members<'_>) -> Result<Self, Rejection> {
        Ok(Self { error: text(claims, "error")?, error_description: text(claims, "error_description")? })
    }
}

/// A receipt of this kind, signed by one of these keys, not from the future, for a mandate that is known.
pub fn verify(
    receipt_jwt: &str,
    kind: ReceiptKind,
    issuer_keys: &KeySet,
    clock: &Clock,
    references: References<'_>,
) -> Result<Receipt, Rejection> {
    if receipt_jwt.len() > TOKEN_BYTES_MAX {
        let message = format!("a receipt has at most {TOKEN_BYTES_MAX} bytes; {} came", receipt_jwt.len());
        return Err(Rejection::new(Code::TokenTooLarge, message));
    }
    let jws = Jws::parse(receipt_jwt)?;
    jws.check_header()?;
    if !jws.typ().is_some_and(|typ| typ.eq_ignore_ascii_case("JWT")) {
        let came = jws.header().get("typ").map_or_else(|| "nothing".to_owned(), shown_value);
        return Err(Rejection::new(Code::TypWrong, format!("typ of a receipt is JWT; {came} came")).at("typ"));
    }
    let kid = jws.kid().unwrap_or_default();
    let key = issuer_keys.find(kid).ok_or_else(|| {
        let message = format!("the receipt's kid is one of {} known keys; {} came", issuer_keys.len(), shown(kid));
        Rejection::new(Code::UnknownKid, message).at("kid")
    })?;
    jws.verify(key)?;
    clock.check(jws.payload(), "the receipt")?;
    let receipt = Receipt::read(jws.payload(), kind)?;
    match references {
        References::Known(known) if !known.contains(&receipt.reference) => {
            let message =
                format!("a receipt answers one of {} mandates; {} came", known.len(), shown(&receipt.reference));
            Err(Rejection::new(Code::ReceiptReferenceUnknown, message).at("reference"))
        }
        _ => Ok(receipt),
    }
}

fn text(claims: Members<'_>, field: &str) -> Result<String, Rejection> {
    crate::schema::optional_text(claims, field)?.ok_or_else(|| missing(field))
}

fn missing(field: &str) -> Rejection {
    Rejection::new(Code::ReceiptFieldMissing, format!("a receipt has {field}; none came")).at(field)
}
