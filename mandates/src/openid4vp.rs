//! Mandates that a wallet signs with the credential of its user: OpenID for Verifiable Presentations 1.0 with AP2's
//! `delegate` transaction data (AP2 v0.2, `agent_authorization.md`, "Delegation using OpenID4VP").
//!
//! [`Delegation::request`] gives what an agent hands to the Digital Credentials API, [`Delegation::take`] reads what comes
//! back: one chain a mandate, each for its own verifier. A wallet's answer is a stranger's: it is taken only where it is
//! signed over exactly the mandates, the nonce and the audience that were asked for, under a credential of a trusted issuer.
//!
//! The nonce in the answer is the request's; whoever verifies a closed mandate of it must have given that nonce out, or
//! looks at it on its own (AP2 maps it to no verifier's nonce).

use serde_json::{Number, Value, json};

use crate::base64url;
use crate::chain;
use crate::clock::{self, Clock};
use crate::constraint::OpenCheckout;
use crate::digest::HashAlgorithm;
use crate::issue;
use crate::json::{Entries, Json, Members, Object, kind};
use crate::key_binding;
use crate::mandate::{Mandate, Vct};
use crate::rejection::{Code, Rejection, shown, shown_value};
use crate::schema;
use crate::sd_jwt::RawSdJwt;
use crate::trust::Roots;
use crate::verify::{Context, Expected, ExpectedFamily, Nonces, Purchase, Revoked, Usage, verify};

const PROTOCOL: &str = "openid4vp-v1-unsigned";
const FORMAT: &str = "dc+sd-jwt";

/// What is asked of a wallet.
#[derive(Clone, Copy, Debug)]
pub struct Delegation<'a> {
    /// The name of the credential in the query.
    pub credential_id: &'a str,
    /// The types that will do, e.g. `com.emvco.dpc`.
    pub vct_values: &'a [&'a str],
    /// What the wallet shall disclose of it: paths of member names.
    pub claims: &'a [&'a [&'a str]],
    /// Fresh, and the agent's own.
    pub nonce: &'a str,
    /// One, or one of each family: all open or all closed.
    pub mandates: &'a [Mandate],
    /// What the wallet shows beside them.
    pub card: Option<Card<'a>>,
}

/// AP2's `payment_card`: text for the user's eyes. It binds nothing by itself; the mandates do.
#[derive(Clone, Copy, Debug)]
pub struct Card<'a> {
    pub merchant_name: &'a str,
    /// As people write it: `USD 150.00`.
    pub amount: &'a str,
    pub additional_info: Option<&'a str>,
}

/// What an answer is held against, beside the request.
#[derive(Clone, Copy)]
pub struct Taking<'a> {
    pub clock: Clock,
    /// The issuers of users' credentials.
    pub trusted: &'a dyn Roots,
    /// Whom the wallet answers: `origin:https://…` over the Digital Credentials API, the client id elsewhere.
    pub audience: &'a str,
    /// How old the answer may be, beyond the skew.
    pub age_seconds_max: u32,
}

/// Whether the wallet signed that it showed what it was asked to show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Display {
    /// By `transaction_data_hashes` (OpenID4VP 1.0 appendix B.3.3).
    Signed,
    /// It says nothing of it; the mandates are signed all the same.
    Unsigned,
}

/// A wallet's answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taken {
    /// The chain of each mandate, for its verifier, in the order in which they were asked for.
    pub chains: Vec<(Vct, String)>,
    pub display: Display,
}

impl Delegation<'_> {
    /// The argument of `navigator.credentials.get`, `digital`.
    pub fn request(&self) -> Result<Object, Rejection> {
        self.check()?;
        let query = json!({ "credentials": [{
            "id": self.credential_id,
            "format": FORMAT,
            "meta": { "vct_values": self.vct_values },
            "claims": self.claims.iter().map(|path| json!({ "path": path })).collect::<Vec<_>>(),
        }] });
        let algorithms = json!({ "sd-jwt_alg_values": ["ES256"], "kb-jwt_alg_values": ["ES256"] });
        let data = json!({
            "response_type": "vp_token",
            "response_mode": "dc_api",
            "nonce": self.nonce,
            "dcql_query": query,
            "transaction_data": self.transaction_data(),
            // OpenID4VP 1.0, section 11.1; and as a draft of it, and AP2's example, call the same.
            "client_metadata": {
                "vp_formats_supported": { FORMAT: algorithms.clone() }, "vp_formats": { FORMAT: algorithms },
            },
        });
        Ok(Object::from_iter([("requests".to_owned(), json!([{ "protocol": PROTOCOL, "data": data }]))]))
    }

    /// The entries as they are sent: the same request has the same bytes.
    fn transaction_data(&self) -> Vec<String> {
        let common = |kind: &str| {
            Object::from_iter([
                ("type".to_owned(), kind.into()),
                ("credential_ids".to_owned(), json!([self.credential_id])),
                ("transaction_data_hashes_alg".to_owned(), json!(["sha-256"])),
            ])
        };
        let card = self.card.map(|card| {
            let mut entry = common("payment_card");
            entry.insert("merchant_name".to_owned(), card.merchant_name.into());
            entry.insert("amount".to_owned(), card.amount.into());
            if let Some(more) = card.additional_info {
                entry.insert("additional_info".to_owned(), more.into());
            }
            entry
        });
        let mut delegate = common("delegate");
        delegate.insert("format".to_owned(), FORMAT.into());
        let mandates = self.mandates.iter().map(|mandate| Value::Object(mandate.claims()));
        delegate.insert("delegate_payload".to_owned(), mandates.collect());
        let encode = |entry: Object| base64url::encode(Value::Object(entry).to_string().as_bytes());
        card.into_iter().chain([delegate]).map(encode).collect()
    }

    fn check(&self) -> Result<(), Rejection> {
        issue::check_hand_over(self.mandates)?;
        for (field, text) in [("nonce", self.nonce), ("credential_ids", self.credential_id)] {
            if text.is_empty() {
                return Err(schema::refused(field, format!("{field} has characters; it is empty")));
            }
        }
        Ok(())
    }

    /// Takes the wallet's answer: `{"protocol"?, "data": {"vp_token": {ID: [presentation]}}}`, or its `data` alone.
    pub fn take(&self, answer: &Object, taking: &Taking<'_>) -> Result<Taken, Rejection> {
        self.check()?;
        let presented = self.presented(answer)?;
        let segments = chain::split(presented)?;
        let [credential, last] = &segments[..] else {
            let message =
                format!("a credential and what its holder signs is presented; {} segments came", segments.len());
            return Err(Rejection::new(Code::MalformedJwt, message).at("vp_token"));
        };
        self.check_credential(credential)?;
        let last = last.decode()?;
        let payload = last.jwt.payload();
        self.check_holder(payload, taking)?;
        let display = self.display(payload)?;
        let signed = payload.get("delegate_payload").and_then(Json::as_array).map_or(0, Entries::len);
        if signed != self.mandates.len() {
            let message = format!("{} mandates were asked for; {signed} are signed", self.mandates.len());
            return Err(Rejection::new(Code::DelegatePayloadCount, message).at("delegate_payload"));
        }
        let take = |mandate: &Mandate| {
            let chain = issue::present_only(presented, mandate.vct())?;
            check_signed(&chain, mandate, taking)?;
            Ok((mandate.vct(), chain))
        };
        Ok(Taken { chains: self.mandates.iter().map(take).collect::<Result<_, Rejection>>()?, display })
    }

    /// What it presents, not looked at yet: the credential and what its holder signed.
    pub fn presented<'b>(&self, answer: &'b Object) -> Result<&'b str, Rejection> {
        if let Some(protocol) = answer.get("protocol").filter(|protocol| protocol.as_str() != Some(PROTOCOL)) {
            let message = format!("protocol is {PROTOCOL}; {} came", shown_value(protocol));
            return Err(schema::refused("protocol", message));
        }
        let data = answer.get("data").and_then(Value::as_object).unwrap_or(answer);
        let presented = schema::object(data, "vp_token")?.get(self.credential_id);
        let only = match presented {
            Some(Json::Array(several)) if several.len() == 1 => several.iter().next(),
            other => other,
        };
        only.and_then(Json::as_str).ok_or_else(|| {
            let came = presented.map_or("nothing", kind);
            let id = shown(self.credential_id);
            schema::refused("vp_token", format!("vp_token has one presentation of {id}; {came} came"))
        })
    }

    /// Whether it is of a type that was asked for, and shows what was. Who issued it is looked at with each chain.
    fn check_credential(&self, credential: &RawSdJwt<'_>) -> Result<(), Rejection> {
        let resolved = credential.decode()?.resolve()?;
        let claims = resolved.claims();
        let mismatch = |field: &str, message: String| Rejection::new(Code::CredentialMismatch, message).at(field);
        let vct = schema::text(claims, "vct")?;
        if !self.vct_values.contains(&vct.as_str()) {
            let message = format!("a credential is of a type among {:?}; {} came", self.vct_values, shown(&vct));
            return Err(mismatch("vct", message));
        }
        let is_shown = |path: &&&[&str]| {
            let mut names = path.iter();
            let first = names.next().and_then(|name| claims.get(name));
            names.fold(first, |value, name| value.and_then(|value| value.get(name))).is_some()
        };
        match self.claims.iter().find(|path| !is_shown(path)) {
            Some(path) => {
                let path = path.join(".");
                Err(mismatch("claims", format!("the credential shows {path}; nothing of that name came")))
            }
            None => Ok(()),
        }
    }

    /// To whom, when and on which nonce it was signed.
    fn check_holder(&self, payload: Members<'_>, taking: &Taking<'_>) -> Result<(), Rejection> {
        for (field, code, expected) in
            [("aud", Code::AudMismatch, taking.audience), ("nonce", Code::NonceMismatch, self.nonce)]
        {
            let came = schema::text(payload, field)?;
            if came != expected {
                let message = format!("{field} is {}; {} came", shown(expected), shown(&came));
                return Err(Rejection::new(code, message).at(field));
            }
        }
        key_binding::check_age(payload, &taking.clock, taking.age_seconds_max)
    }

    fn display(&self, payload: Members<'_>) -> Result<Display, Rejection> {
        let Some(signed) = payload.get("transaction_data_hashes") else { return Ok(Display::Unsigned) };
        let data = self.transaction_data();
        let expected: Vec<String> = data.iter().map(|entry| HashAlgorithm::Sha256.digest_text(entry)).collect();
        let is_same = signed.as_array().is_some_and(|signed| {
            signed.len() == expected.len()
                && signed.iter().zip(&expected).all(|(came, expected)| came.as_str() == Some(expected))
        });
        let algorithm = payload.get("transaction_data_hashes_alg").is_none_or(|name| name.as_str() == Some("sha-256"));
        if is_same && algorithm {
            return Ok(Display::Signed);
        }
        let message = format!("the hashes of what was asked for are {expected:?}; {} came", shown_value(signed));
        Err(Rejection::new(Code::DelegationChanged, message).at("transaction_data_hashes"))
    }
}

/// What the holder of a user's credential signed beside the mandates of a chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Consent {
    pub audience: String,
    pub nonce: String,
}

/// Unverified, of a chain whose root is a user's credential; nothing of one that a provider signed.
pub fn consent(presented: &str) -> Result<Option<Consent>, Rejection> {
    let segments = chain::split(presented)?;
    let [credential, signed, ..] = &segments[..] else { return Ok(None) };
    let credential = credential.decode()?.resolve()?;
    if credential.delegates.is_some() || !credential.claims().contains_key("cnf") {
        return Ok(None);
    }
    let signed = signed.decode()?;
    let payload = signed.jwt.payload();
    Ok(Some(Consent { audience: schema::text(payload, "aud")?, nonce: schema::text(payload, "nonce")? }))
}

/// A chain of a trusted issuer's credential, whose holder signed this very mandate.
fn check_signed(chain: &str, asked: &Mandate, taking: &Taking<'_>) -> Result<(), Rejection> {
    let context = Context {
        clock: taking.clock,
        trusted: taking.trusted,
        family: ExpectedFamily::Exactly(asked.vct().family()),
        // Both were looked at above, for open mandates too, which are for nobody in particular.
        expected: Expected::OnItsOwn,
        leaf_age_seconds_max: taking.age_seconds_max,
        purchase: Purchase::OnItsOwn,
        open_checkout: OpenCheckout::Unknown,
        usage: Usage::Unknown,
        nonces: Nonces::LeftToState,
        revoked: Revoked::LeftToState,
    };
    verify(chain, &context).outcome?;
    let segments = chain::split(chain)?;
    let last = segments.last().ok_or_else(|| Rejection::new(Code::MalformedJwt, "a chain has a segment; none came"))?;
    let resolved = last.decode()?.resolve()?;
    let (_, signed) = chain::single_delegate(&resolved)?;
    let (signed, asked) = (signed.to_object(), asked.claims());
    let differs = |name: &&String| match (signed.get(*name), asked.get(*name)) {
        (Some(signed), Some(asked)) => !is_same(signed, asked),
        _ => true,
    };
    let Some(name) = asked.keys().chain(signed.keys()).find(differs).cloned() else { return Ok(()) };
    let text = |claims: &Object| claims.get(&name).map_or_else(|| "nothing".to_owned(), shown_value);
    let message = format!("{name} was asked to be {}; {} is signed", text(&asked), text(&signed));
    Err(Rejection::new(Code::DelegationChanged, message).at(name))
}

/// The same JSON. A wallet may write a number in its own way (`1.0` for `1.00`, RFC 8785 section 3.2.2.3), as long as it is the
/// same to the last digit.
fn is_same(signed: &Value, asked: &Value) -> bool {
    match (signed, asked) {
        (Value::Number(signed), Value::Number(asked)) => {
            let decimal = |number: &Number| clock::decimal(number.as_str());
            signed == asked || decimal(signed).is_some_and(|signed| Some(signed) == decimal(asked))
        }
        (Value::Array(signed), Value::Array(asked)) => {
            signed.len() == asked.len() && signed.iter().zip(asked).all(|(signed, asked)| is_same(signed, asked))
        }
        (Value::Object(signed), Value::Object(asked)) => {
            let is_there = |(name, asked)| signed.get(name).is_some_and(|signed| is_same(signed, asked));
            signed.len() == asked.len() && asked.iter().all(is_there)
        }
        _ => signed == asked,
    }
}
