//! One case of a conformance file against this crate, scored honestly: a valid case that is refused fails, with the part
//! that it waits for; an invalid one must be refused, and with the right AP2 error where the ground is normative.
//!
//! The format is described beside the file, in `fixtures/ap2/README.md`.

mod v0_1;

use serde_json::Value;

use crate::certificate::Anchors;
use crate::clock::Clock;
use crate::constraint::{OpenCheckout, Used};
use crate::json::Object;
use crate::keys::{KeySet, PublicKey};
use crate::mandate::Family;
use crate::receipt::{self, ReceiptKind, References};
use crate::rejection::{Code, Rejection};
use crate::schema;
use crate::trust::Roots;
use crate::verify::{Context, Expected, ExpectedFamily, Nonces, Purchase, Revoked, Usage, verify};
use ledger::money::Amount;

/// The leaf's age that is taken where a case names none.
const LEAF_AGE_SECONDS_MAX: u32 = 86_400;

/// What a case holds to be right, and what came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Validity {
    Valid,
    Invalid,
}

impl Validity {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Valid => "valid",
            Self::Invalid => "invalid",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CaseResult {
    pub id: String,
    pub expected: Validity,
    pub came: Validity,
    /// Ours, of what came.
    pub code: Option<&'static str>,
    pub ap2_error: Option<&'static str>,
    /// The AP2 error that must come, where the ground is normative.
    pub ap2_error_expected: Option<String>,
    pub message: Option<String>,
    /// The part that is not built and refused a valid case.
    pub waits_for: Option<&'static str>,
}

impl CaseResult {
    /// A case that asks for valid or invalid alone.
    fn of(id: &str, expected: Validity, outcome: Result<(), Rejection>) -> Self {
        let refused = outcome.err();
        Self {
            id: id.to_owned(),
            expected,
            came: if refused.is_none() { Validity::Valid } else { Validity::Invalid },
            code: refused.as_ref().map(Rejection::code),
            ap2_error: refused.as_ref().map(|refused| refused.ap2_error().as_str()),
            ap2_error_expected: None,
            message: refused.map(|refused| refused.message),
            waits_for: None,
        }
    }

    pub fn has_passed(&self) -> bool {
        let is_right_error =
            self.ap2_error_expected.as_ref().is_none_or(|expected| self.ap2_error == Some(expected.as_str()));
        self.expected == self.came && is_right_error
    }

    /// `ok ID valid|invalid CODE`, or `FAIL ID …`.
    pub fn line(&self) -> String {
        let Self { id, .. } = self;
        let code = self.code.unwrap_or("-");
        let came = self.came.as_str();
        if self.has_passed() {
            return format!("ok {id} {came} {code}");
        }
        let expected = self.expected.as_str();
        let error = self.ap2_error_expected.as_deref().map(|error| format!(" {error}")).unwrap_or_default();
        let waits = self.waits_for.map(|part| format!(" waits_for={part}")).unwrap_or_default();
        format!("FAIL {id} expected {expected}{error}, came {came} {code}{waits}")
    }
}

/// Why a case could not be run at all: the file is not in the format.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CaseError {
    #[error("a case is an object with {expected}; case {id} has none that can be read: {message}")]
    Shape { id: String, expected: &'static str, message: String },
    #[error("case {id} is of kind {kind}, which this version does not run")]
    KindUnknown { id: String, kind: String },
}

impl CaseError {
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Shape { .. } => "case_malformed",
            Self::KindUnknown { .. } => "case_kind_unknown",
        }
    }
}

/// Runs one case as it stands in the file: of AP2 v0.1, of v0.2, or a receipt.
pub fn run_text(text: &str) -> Result<CaseResult, CaseError> {
    let shape = |message: String| CaseError::Shape { id: "(no id)".to_owned(), expected: "members", message };
    let case: Value = serde_json::from_str(text).map_err(|error| shape(error.to_string()))?;
    let name = |name: &str| case.get(name).and_then(Value::as_str);
    let (id, kind) = (name("id").unwrap_or("(no id)"), name("kind").unwrap_or_default());
    if !v0_1::is_kind(kind) {
        return run(&case);
    }
    let ran = v0_1::run(text, id, kind)?;
    Ok(CaseResult::of(id, ran.expected, ran.outcome))
}

/// Runs one case of AP2 v0.2, or a receipt.
pub fn run(case: &Value) -> Result<CaseResult, CaseError> {
    let case = Case::of(case)?;
    let outcome = match case.kind {
        Kind::Receipt(kind) => case.run_receipt(kind),
        Kind::Chain => case.run_chain(),
    }?;
    let expected = match case.text("expect")?.as_str() {
        "valid" => Validity::Valid,
        _ => Validity::Invalid,
    };
    let class = case.claims.get("basis_class").and_then(Value::as_str).unwrap_or_default();
    let has_normative_error = NORMATIVE.contains(&class) && matches!(case.kind, Kind::Chain);
    let refused = outcome.err();
    let code = refused.as_ref().map(|refused| refused.code);
    Ok(CaseResult {
        expected,
        came: if refused.is_none() { Validity::Valid } else { Validity::Invalid },
        code: code.map(crate::rejection::Code::as_str),
        ap2_error: code.map(|code| code.ap2_error().as_str()),
        ap2_error_expected: if has_normative_error { case.optional_text("expect_error")? } else { None },
        waits_for: code.filter(|_| expected == Validity::Valid).and_then(crate::rejection::Code::waits_for),
        message: refused.map(|refused| refused.message),
        id: case.id,
    })
}

const NORMATIVE: [&str; 8] = ["ap2", "dsd-jwt-draft", "sd-jwt", "jose", "x509", "json", "json-schema", "iso4217"];

#[derive(Clone, Copy)]
enum Kind {
    Chain,
    Receipt(ReceiptKind),
}

struct Case<'a> {
    id: String,
    kind: Kind,
    claims: &'a Object,
    context: &'a Object,
}

impl<'a> Case<'a> {
    fn of(case: &'a Value) -> Result<Self, CaseError> {
        let id = case.get("id").and_then(Value::as_str).unwrap_or("(no id)").to_owned();
        let shape = |expected| CaseError::Shape { id: id.clone(), expected, message: "not there".to_owned() };
        let claims = case.as_object().ok_or_else(|| shape("members"))?;
        let context = claims.get("context").and_then(Value::as_object).ok_or_else(|| shape("context"))?;
        let kind = match claims.get("kind").and_then(Value::as_str).ok_or_else(|| shape("kind"))? {
            "single" | "payment_chain" | "checkout_chain" | "direct_chain" | "chain_n" => Kind::Chain,
            "receipt_payment" => Kind::Receipt(ReceiptKind::Payment),
            "receipt_checkout" => Kind::Receipt(ReceiptKind::Checkout),
            other => return Err(CaseError::KindUnknown { id, kind: other.to_owned() }),
        };
        Ok(Self { id, kind, claims, context })
    }

    fn run_chain(&self) -> Result<Result<(), Rejection>, CaseError> {
        let trusted = self.trusted()?;
        let merchant_keys = self.keys("merchant_jwk", self.context.get("merchant_jwk"))?;
        let (audience, nonce) = (self.optional_text("expected_aud")?, self.optional_text("expected_nonce")?);
        let hash = self.known("expected_checkout_hash")?;
        let transaction_id = self.known("expected_transaction_id")?;
        let seen = self.list("seen_nonces");
        let context = Context {
            clock: self.clock()?,
            trusted: trusted.as_ref(),
            family: match self.context.get("family").and_then(Value::as_str) {
                Some("payment") => ExpectedFamily::Exactly(Family::Payment),
                Some("checkout") => ExpectedFamily::Exactly(Family::Checkout),
                _ => ExpectedFamily::Either,
            },
            expected: match (&audience, &nonce) {
                (Some(audience), Some(nonce)) => Expected::Exactly { audience, nonce },
                _ => Expected::OnItsOwn,
            },
            leaf_age_seconds_max: self.leaf_age()?,
            purchase: match (&hash, &transaction_id) {
                (Some(hash), _) => Purchase::CheckoutHash { hash, merchant_keys: &merchant_keys },
                (None, Some(transaction_id)) => Purchase::TransactionId(transaction_id),
                (None, None) => Purchase::OnItsOwn,
            },
            open_checkout: match self.known("expected_open_checkout_hash")? {
                Some(hash) => OpenCheckout::Hashes(vec![hash]),
                None => OpenCheckout::Unknown,
            },
            usage: self.usage()?,
            nonces: if self.context.contains_key("seen_nonces") {
                Nonces::Consumed(&seen)
            } else {
                Nonces::LeftToState
            },
            revoked: Revoked::LeftToState,
        };
        Ok(verify(&self.text("token")?, &context).outcome.map(|_| ()))
    }

    fn run_receipt(&self, kind: ReceiptKind) -> Result<Result<(), Rejection>, CaseError> {
        let known = self.list("known_references");
        let (keys, clock) = (self.keys("root_jwk", self.claims.get("root_jwk"))?, self.clock()?);
        Ok(receipt::verify(&self.text("token")?, kind, &keys, &clock, References::Known(&known)).map(|_| ()))
    }

    fn clock(&self) -> Result<Clock, CaseError> {
        let read =
            |name: &'static str| schema::count(self.claims, name).map_err(|refused| self.shape(name, &refused.message));
        let now = i64::try_from(read("now")?).map_err(|_| self.shape("now", "beyond 2^63"))?;
        let skew = u32::try_from(read("clock_skew")?).map_err(|_| self.shape("clock_skew", "beyond 2^32"))?;
        Ok(Clock { now_seconds: now, skew_seconds: skew })
    }

    fn leaf_age(&self) -> Result<u32, CaseError> {
        if !self.context.contains_key("max_kb_age_seconds") {
            return Ok(LEAF_AGE_SECONDS_MAX);
        }
        let age = schema::count(self.context, "max_kb_age_seconds");
        let age = age.map_err(|refused| self.shape("max_kb_age_seconds", &refused.message))?;
        u32::try_from(age).map_err(|_| self.shape("max_kb_age_seconds", "beyond 2^32"))
    }

    /// The root key by `kid`, or certificates; where only certificates are trusted, no key is.
    fn trusted(&self) -> Result<Box<dyn Roots>, CaseError> {
        let trust = self.claims.get("trust");
        if trust.and_then(|trust| trust.get("mode")).and_then(Value::as_str) != Some("x5c") {
            return Ok(Box::new(self.keys("root_jwk", self.claims.get("root_jwk"))?));
        }
        let pems = trust.and_then(|trust| trust.get("trusted_roots_pem")).and_then(Value::as_array);
        let text: String = pems.into_iter().flatten().filter_map(Value::as_str).collect::<Vec<_>>().join("\n");
        match Anchors::from_pem(&text) {
            Ok(anchors) => Ok(Box::new(anchors)),
            // A verifier without anchors is a case, too.
            Err(refused) if refused.code == Code::X5cNoAnchor => Ok(Box::new(Anchors::default())),
            Err(refused) => Err(self.shape("trusted_roots_pem", &refused.message)),
        }
    }

    fn keys(&self, name: &'static str, jwk: Option<&Value>) -> Result<KeySet, CaseError> {
        let Some(Value::Object(jwk)) = jwk else { return Ok(KeySet::default()) };
        let set = PublicKey::from_jwk(jwk).and_then(|key| KeySet::new([key]));
        set.map_err(|refused| self.shape(name, &refused.message))
    }

    fn usage(&self) -> Result<Usage, CaseError> {
        let Some(Value::Object(usage)) = self.context.get("usage") else { return Ok(Usage::Unknown) };
        let count =
            |name: &'static str| schema::count(usage, name).map_err(|refused| self.shape(name, &refused.message));
        let last_used_at_seconds = match usage.get("last_used_date") {
            None | Some(Value::Null) => None,
            Some(_) => {
                Some(i64::try_from(count("last_used_date")?).map_err(|_| self.shape("last_used_date", "beyond 2^63"))?)
            }
        };
        Ok(Usage::OfEach(Used {
            total: Amount::new(u128::from(count("total_amount")?)),
            uses: count("total_uses")?,
            last_used_at_seconds,
        }))
    }

    fn list(&self, name: &str) -> Vec<String> {
        let entries = self.context.get(name).and_then(Value::as_array);
        entries.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
    }

    fn known(&self, name: &'static str) -> Result<Option<String>, CaseError> {
        self.read_text(self.context, name)
    }

    fn text(&self, name: &'static str) -> Result<String, CaseError> {
        self.optional_text(name)?.ok_or_else(|| self.shape(name, "not there"))
    }

    fn optional_text(&self, name: &'static str) -> Result<Option<String>, CaseError> {
        self.read_text(self.claims, name)
    }

    fn read_text(&self, from: &Object, name: &'static str) -> Result<Option<String>, CaseError> {
        match from.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone())),
            Some(other) => Err(self.shape(name, crate::json::kind(other))),
        }
    }

    fn shape(&self, expected: &'static str, message: &str) -> CaseError {
        CaseError::Shape { id: self.id.clone(), expected, message: message.to_owned() }
    }
}
