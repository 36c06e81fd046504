//! An approval that a passkey signed, as it is kept and as anybody can check it: the challenge is the digest of the document
//! that was shown.

use ledger::id::{DecisionId, Digest, PrincipalId};
use mandates::base64url;
use mandates::webauthn::{self, Asserted, Assertion, Expected, PasskeyKey, RelyingParty};
use serde::{Deserialize, Serialize};

const APPROVAL_TYPE: &str = "purser.passkey-approval/1";

/// What the authenticator gave, and what it is held against. Bytes are base64url.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignedApproval {
    pub r#type: String,
    pub decision: DecisionId,
    pub rp_id: String,
    pub origin: String,
    pub credential: String,
    /// COSE_Key, as it was registered for the person.
    pub key: String,
    /// The signature counter before.
    pub sign_count: u32,
    pub client_data: String,
    pub authenticator_data: String,
    pub signature: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_handle: Option<String>,
}

/// What an authenticator keeps of whose key it is: no name of anybody.
pub fn user_handle(tenant: &str, principal: &PrincipalId) -> Digest {
    Digest::of_parts("purser/user-handle/1", &[tenant.as_bytes(), principal.as_str().as_bytes()])
}

impl SignedApproval {
    pub fn new(decision: DecisionId, party: &RelyingParty, key: &PasskeyKey, count: u32, given: &Assertion) -> Self {
        Self {
            r#type: APPROVAL_TYPE.into(),
            decision,
            rp_id: party.id.clone(),
            origin: party.origin.clone(),
            credential: base64url::encode(&given.credential),
            key: base64url::encode(key.as_cose()),
            sign_count: count,
            client_data: base64url::encode(&given.client_data),
            authenticator_data: base64url::encode(&given.authenticator_data),
            signature: base64url::encode(&given.signature),
            user_handle: given.user_handle.as_deref().map(base64url::encode),
        }
    }

    /// Whether it is an approval of exactly this document by the key that it names. That the key is the person's is the
    /// word of whoever registered it.
    pub fn verify(&self, subject: Digest, tenant: &str, person: &PrincipalId) -> Result<Asserted, String> {
        if self.r#type != APPROVAL_TYPE {
            return Err(format!("{APPROVAL_TYPE} was expected, {} is there", self.r#type));
        }
        let bytes = |name: &str, text: &str| base64url::decode(text).ok_or_else(|| format!("{name} is no base64url"));
        let key = PasskeyKey::from_cose(&bytes("key", &self.key)?).map_err(|refused| refused.to_string())?;
        let given = Assertion {
            credential: bytes("credential", &self.credential)?,
            client_data: bytes("client_data", &self.client_data)?,
            authenticator_data: bytes("authenticator_data", &self.authenticator_data)?,
            signature: bytes("signature", &self.signature)?,
            user_handle: self.user_handle.as_ref().map(|text| bytes("user_handle", text)).transpose()?,
        };
        let party = RelyingParty { id: self.rp_id.clone(), origin: self.origin.clone() };
        let handle = user_handle(tenant, person);
        let expected = Expected {
            party: &party,
            challenge: subject.0,
            key: &key,
            sign_count: self.sign_count,
            user_handle: &handle.0,
        };
        webauthn::assertion(&expected, &given).map_err(|refused| format!("{}: {refused}", refused.code.as_str()))
    }
}
