//! What browsers send and are sent, as WebAuthn Level 3 writes it in JSON (section 5.1.9 and 5.4, bytes in base64url).

use engine::approver::{Made, Registering};
use mandates::base64url;
use mandates::webauthn::cose::ALGORITHMS;
use mandates::webauthn::{Assertion, RelyingParty};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::problem::Problem;

/// How long a browser waits for its person, in milliseconds.
const PATIENCE_MILLIS: u32 = 120_000;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CodeBody {
    pub code: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RegistrationBody {
    pub code: String,
    client_data: String,
    attestation: String,
}

impl RegistrationBody {
    pub fn made(&self) -> Result<Made, Problem> {
        Ok(Made {
            client_data: bytes("client_data", &self.client_data)?,
            attestation: bytes("attestation", &self.attestation)?,
        })
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AssertionBody {
    credential: String,
    client_data: String,
    authenticator_data: String,
    signature: String,
    #[serde(default)]
    user_handle: Option<String>,
}

impl AssertionBody {
    pub fn assertion(&self) -> Result<Assertion, Problem> {
        Ok(Assertion {
            credential: bytes("credential", &self.credential)?,
            client_data: bytes("client_data", &self.client_data)?,
            authenticator_data: bytes("authenticator_data", &self.authenticator_data)?,
            signature: bytes("signature", &self.signature)?,
            user_handle: self.user_handle.as_deref().map(|text| bytes("user_handle", text)).transpose()?,
        })
    }
}

fn bytes(field: &'static str, text: &str) -> Result<Vec<u8>, Problem> {
    base64url::decode(text).ok_or_else(|| Problem::invalid(field, "base64url without padding was expected"))
}

/// PublicKeyCredentialCreationOptions: a discoverable key of a person whom the authenticator verifies; no attestation.
pub(super) fn creation(party: &RelyingParty, asked: &Registering) -> Value {
    let known = asked.known.iter().map(|id| json!({ "type": "public-key", "id": base64url::encode(id) }));
    json!({
        "rp": { "id": party.id, "name": "Purser" },
        "user": {
            "id": base64url::encode(&asked.user_handle.0),
            "name": format!("{}@{}", asked.principal, asked.tenant), "displayName": asked.principal,
        },
        "challenge": base64url::encode(&asked.challenge),
        "pubKeyCredParams": ALGORITHMS.map(|alg| json!({ "type": "public-key", "alg": alg })),
        "timeout": PATIENCE_MILLIS,
        "excludeCredentials": known.collect::<Vec<_>>(),
        "authenticatorSelection": { "residentKey": "required", "requireResidentKey": true, "userVerification": "required" },
        "attestation": "none",
    })
}

/// PublicKeyCredentialRequestOptions.
pub(super) fn request(party: &RelyingParty, challenge: &[u8; 32], keys: &[Vec<u8>]) -> Value {
    let allowed = keys.iter().map(|id| json!({ "type": "public-key", "id": base64url::encode(id) }));
    json!({
        "rpId": party.id,
        "challenge": base64url::encode(challenge),
        "timeout": PATIENCE_MILLIS,
        "allowCredentials": allowed.collect::<Vec<_>>(),
        "userVerification": "required",
    })
}

/// The named fields of a form, each once; others are passed over.
pub(crate) fn read<const N: usize>(body: &[u8], names: [&'static str; N]) -> Result<[String; N], Problem> {
    let mut found = [const { None }; N];
    for (name, value) in url::form_urlencoded::parse(body) {
        let Some(place) = names.iter().position(|known| *known == name).and_then(|at| found.get_mut(at)) else {
            continue;
        };
        if place.replace(value.into_owned()).is_some() {
            return Err(Problem::invalid(name.into_owned(), "one value was expected, several came"));
        }
    }
    let mut missing = None;
    let read = std::array::from_fn(|at| {
        let value = found.get_mut(at).and_then(Option::take);
        if value.is_none() {
            missing = names.get(at);
        }
        value.unwrap_or_default()
    });
    match missing {
        Some(name) => Err(Problem::invalid(*name, "a value was expected, none came")),
        None => Ok(read),
    }
}
