//! Passkeys: what a browser brings from an authenticator, checked as W3C Web Authentication Level 3 says (section 7.1 for a
//! registration, 7.2 for an assertion), with the challenge as an argument.
//!
//! The challenge of an approval is the digest of the document that the person was shown, so that the signature is over
//! exactly that: this is why the check is ours (libraries draw the challenge themselves).
//!
//! Attestation is not trusted, whatever its format: that a key is registered is what makes it somebody's. User presence
//! and user verification are both demanded, always.

pub mod cose;
mod data;
mod refusal;

use crate::digest::sha256;
pub use crate::webauthn::cose::PasskeyKey;
pub use crate::webauthn::data::challenge_of;
use crate::webauthn::data::{AuthenticatorData, Ceremony, read_attestation, read_client_data};
pub use crate::webauthn::refusal::{PasskeyCode, Refused};

/// Bytes of `clientDataJSON` that are read.
pub const CLIENT_DATA_BYTES_MAX: usize = 4 * 1024;
/// Bytes of `authenticatorData` and of an attestation object that are read.
pub const AUTHENTICATOR_BYTES_MAX: usize = 16 * 1024;
/// Bytes of a credential's id (section 4, Credential ID).
pub const CREDENTIAL_ID_BYTES_MAX: usize = 1023;
/// Bytes of a signature: RSA of 4096 bits has 512.
pub const SIGNATURE_BYTES_MAX: usize = 1024;

/// Whose pages ask: the domain that keys are scoped to, and the one origin that may ask for them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RelyingParty {
    pub id: String,
    /// Scheme, host and port, as a browser writes them.
    pub origin: String,
}

/// A key that an authenticator made.
#[derive(Clone, Debug)]
pub struct Registered {
    pub credential: Vec<u8>,
    pub key: PasskeyKey,
    pub sign_count: u32,
}

/// What is expected of an assertion. All of it comes from this side.
#[derive(Clone, Copy, Debug)]
pub struct Expected<'a> {
    pub party: &'a RelyingParty,
    pub challenge: [u8; 32],
    pub key: &'a PasskeyKey,
    /// As the last assertion had it.
    pub sign_count: u32,
    /// Whose key it is, by the handle that was given at registration.
    pub user_handle: &'a [u8],
}

/// An answer of `navigator.credentials.get`, decoded.
#[derive(Clone, Debug)]
pub struct Assertion {
    pub credential: Vec<u8>,
    pub client_data: Vec<u8>,
    pub authenticator_data: Vec<u8>,
    pub signature: Vec<u8>,
    /// Authenticators may leave it out where the credential was named.
    pub user_handle: Option<Vec<u8>>,
}

/// Of an assertion that holds. Made by [`assertion`] alone: whoever has one knows that the challenge was signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asserted {
    challenge: [u8; 32],
    sign_count: u32,
}

impl Asserted {
    pub const fn challenge(&self) -> &[u8; 32] {
        &self.challenge
    }

    /// To be remembered: the next one is higher, or both are zero.
    pub const fn sign_count(&self) -> u32 {
        self.sign_count
    }
}

/// Section 7.1, with attestation `none`: what comes with another attestation is taken for the same.
pub fn registration(
    party: &RelyingParty,
    challenge: &[u8; 32],
    client_data: &[u8],
    attestation: &[u8],
) -> Result<Registered, Refused> {
    read_client_data(client_data, Ceremony::Create, challenge, &party.origin)?;
    let bytes = read_attestation(attestation)?;
    let data = AuthenticatorData::read(bytes)?;
    data.check(party)?;
    let made = data.made.ok_or_else(|| Refused::malformed("attested credential data was expected, none came"))?;
    let key = PasskeyKey::from_cose(made.key)?;
    Ok(Registered { credential: made.credential.to_vec(), key, sign_count: data.sign_count })
}

/// Section 7.2. What it does not know: whether the challenge was used before, which is its caller's to keep.
pub fn assertion(expected: &Expected<'_>, assertion: &Assertion) -> Result<Asserted, Refused> {
    if let Some(found) = &assertion.user_handle
        && found != expected.user_handle
    {
        let detail = "the key is registered for somebody else than the user handle says";
        return Err(Refused::new(PasskeyCode::UserMismatch, detail));
    }
    read_client_data(&assertion.client_data, Ceremony::Get, &expected.challenge, &expected.party.origin)?;
    let data = AuthenticatorData::read(&assertion.authenticator_data)?;
    data.check(expected.party)?;
    if data.made.is_some() {
        return Err(Refused::malformed("an assertion without attested credential data was expected, one with it came"));
    }
    if assertion.signature.len() > SIGNATURE_BYTES_MAX {
        let found = assertion.signature.len();
        return Err(Refused::malformed(format!(
            "a signature of at most {SIGNATURE_BYTES_MAX} bytes was expected, {found} came"
        )));
    }
    let signed = [assertion.authenticator_data.as_slice(), &sha256(&[&assertion.client_data])].concat();
    expected.key.verify(&signed, &assertion.signature)?;
    // Last, as the section has it: only what is signed says anything about a counter.
    let (before, found) = (expected.sign_count, data.sign_count);
    if (before > 0 || found > 0) && found <= before {
        let detail =
            format!("a signature counter above {before} was expected, {found} came: a copy of the key, or a replay");
        return Err(Refused::new(PasskeyCode::CountStale, detail));
    }
    Ok(Asserted { challenge: expected.challenge, sign_count: found })
}

#[cfg(test)]
mod tests;
