//! The two things that an authenticator signs over: `clientDataJSON` (section 5.8.1) and `authenticatorData` (section 6.1);
//! and the attestation object that the second comes in at registration (section 6.5.4).

use minicbor::decode::{Decoder, Error};

use super::{
    AUTHENTICATOR_BYTES_MAX, CLIENT_DATA_BYTES_MAX, CREDENTIAL_ID_BYTES_MAX, PasskeyCode, Refused, RelyingParty,
};
use crate::base64url;
use crate::digest::sha256;
use crate::json::{Object, parse_object};
use crate::rejection::shown;

const USER_PRESENT: u8 = 0x01;
const USER_VERIFIED: u8 = 0x04;
const BACKUP_ELIGIBLE: u8 = 0x08;
const BACKED_UP: u8 = 0x10;
const HAS_CREDENTIAL: u8 = 0x40;
const HAS_EXTENSIONS: u8 = 0x80;
/// Members of an attestation object that are looked at.
const ATTESTATION_MEMBERS_MAX: u64 = 8;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ceremony {
    Create,
    Get,
}

impl Ceremony {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Create => "webauthn.create",
            Self::Get => "webauthn.get",
        }
    }
}

/// The challenge that client data speak of, for whoever looks up whether it is one of theirs. It says nothing else.
pub fn challenge_of(bytes: &[u8]) -> Result<[u8; 32], Refused> {
    let data = parse_client_data(bytes)?;
    let found = data.get("challenge").and_then(|value| value.as_str()).and_then(base64url::decode);
    let found = found.and_then(|found| <[u8; 32]>::try_from(found).ok());
    found.ok_or_else(|| Refused::malformed("clientDataJSON has a challenge of 32 bytes; none is there"))
}

fn parse_client_data(bytes: &[u8]) -> Result<Object, Refused> {
    if bytes.len() > CLIENT_DATA_BYTES_MAX {
        let found = bytes.len();
        return Err(Refused::malformed(format!(
            "clientDataJSON of at most {CLIENT_DATA_BYTES_MAX} bytes was expected, {found} came"
        )));
    }
    parse_object(bytes).map_err(|error| Refused::malformed(format!("clientDataJSON: {error}")))
}

/// The browser's own word about what it was asked, by whom. Members that are not known are passed over, as section 5.8.1
/// asks.
pub(super) fn read_client_data(
    bytes: &[u8],
    ceremony: Ceremony,
    challenge: &[u8; 32],
    origin: &str,
) -> Result<(), Refused> {
    let data = parse_client_data(bytes)?;
    let text = |name: &str| {
        let found = data.get(name).and_then(|value| value.as_str());
        found.ok_or_else(|| Refused::malformed(format!("clientDataJSON has a text `{name}`; none is there")))
    };
    let found = text("type")?;
    if found != ceremony.as_str() {
        let detail = format!("`{}` was expected as the type, {} came", ceremony.as_str(), shown(found));
        return Err(Refused::new(PasskeyCode::TypeWrong, detail));
    }
    let (expected, found) = (base64url::encode(challenge), text("challenge")?);
    if found != expected {
        let detail = format!("the challenge {expected} was expected to be signed, {} was", shown(found));
        return Err(Refused::new(PasskeyCode::ChallengeMismatch, detail));
    }
    let found = text("origin")?;
    if found != origin {
        let detail = format!("{origin} was expected to ask, {} did", shown(found));
        return Err(Refused::new(PasskeyCode::OriginMismatch, detail));
    }
    let is_framed = !matches!(data.get("crossOrigin"), None | Some(serde_json::Value::Bool(false)));
    if is_framed || data.contains_key("topOrigin") {
        let detail = "a page of this service's own was expected to ask, one within a page of others did";
        return Err(Refused::new(PasskeyCode::CrossOrigin, detail));
    }
    Ok(())
}

pub(super) struct AuthenticatorData<'a> {
    rp_id_hash: [u8; 32],
    flags: u8,
    pub sign_count: u32,
    pub made: Option<Made<'a>>,
}

pub(super) struct Made<'a> {
    pub credential: &'a [u8],
    /// COSE_Key.
    pub key: &'a [u8],
}

impl<'a> AuthenticatorData<'a> {
    /// All of it: bytes that nothing accounts for are refused.
    pub fn read(bytes: &'a [u8]) -> Result<Self, Refused> {
        if bytes.len() > AUTHENTICATOR_BYTES_MAX {
            let found = bytes.len();
            return Err(Refused::malformed(format!(
                "authenticatorData of at most {AUTHENTICATOR_BYTES_MAX} bytes was expected, {found} came"
            )));
        }
        let mut rest = bytes;
        let rp_id_hash = take_array::<32>(&mut rest)?;
        let [flags] = take_array::<1>(&mut rest)?;
        let sign_count = u32::from_be_bytes(take_array::<4>(&mut rest)?);
        let mut made = None;
        if flags & HAS_CREDENTIAL != 0 {
            take(&mut rest, 16)?;
            let length = usize::from(u16::from_be_bytes(take_array::<2>(&mut rest)?));
            if length == 0 || length > CREDENTIAL_ID_BYTES_MAX {
                return Err(Refused::malformed(format!(
                    "a credential id of 1 to {CREDENTIAL_ID_BYTES_MAX} bytes was expected, {length} came"
                )));
            }
            let credential = take(&mut rest, length)?;
            made = Some(Made { credential, key: take_item(&mut rest)? });
        }
        if flags & HAS_EXTENSIONS != 0 {
            take_item(&mut rest)?;
        }
        if !rest.is_empty() {
            return Err(Refused::malformed(format!("authenticatorData ends {} bytes before its bytes do", rest.len())));
        }
        Ok(Self { rp_id_hash, flags, sign_count, made })
    }

    pub fn check(&self, party: &RelyingParty) -> Result<(), Refused> {
        let expected = sha256(&[party.id.as_bytes()]);
        if self.rp_id_hash != expected {
            let (expected, found) = (base64url::encode(&expected), base64url::encode(&self.rp_id_hash));
            let detail = format!("a key of {} (rpIdHash {expected}) was expected, {found} came", party.id);
            return Err(Refused::new(PasskeyCode::RpIdMismatch, detail));
        }
        let has = |flag: u8| self.flags & flag != 0;
        if !has(USER_PRESENT) {
            let detail = "a person who was present (flag UP) was expected, the authenticator saw nobody";
            return Err(Refused::new(PasskeyCode::UserAbsent, detail));
        }
        if !has(USER_VERIFIED) {
            let detail = "a person whom the authenticator verified (flag UV) was expected, it did not";
            return Err(Refused::new(PasskeyCode::UserUnverified, detail));
        }
        if has(BACKED_UP) && !has(BACKUP_ELIGIBLE) {
            let detail = "flag BS only beside BE was expected, it came alone";
            return Err(Refused::new(PasskeyCode::BackupFlagsWrong, detail));
        }
        Ok(())
    }
}

/// `authData` of an attestation object. The statement is passed over: nothing is believed because of it.
pub(super) fn read_attestation(bytes: &[u8]) -> Result<&[u8], Refused> {
    if bytes.len() > AUTHENTICATOR_BYTES_MAX {
        let found = bytes.len();
        return Err(Refused::malformed(format!(
            "an attestation object of at most {AUTHENTICATOR_BYTES_MAX} bytes was expected, {found} came"
        )));
    }
    let mut decoder = Decoder::new(bytes);
    let mut data = None;
    let members = members(&mut decoder, ATTESTATION_MEMBERS_MAX)?;
    for _ in 0..members {
        match decoder.str().map_err(broken)? {
            "authData" if data.is_none() => data = Some(decoder.bytes().map_err(broken)?),
            "authData" => {
                return Err(Refused::malformed("an attestation object with one authData was expected, two came"));
            }
            _ => decoder.skip().map_err(broken)?,
        }
    }
    if decoder.position() != bytes.len() {
        return Err(Refused::malformed("an attestation object was expected, more came after it"));
    }
    data.ok_or_else(|| Refused::malformed("an attestation object has authData; none is there"))
}

pub(super) fn members(decoder: &mut Decoder<'_>, most: u64) -> Result<u64, Refused> {
    match decoder.map().map_err(broken)? {
        Some(count) if count <= most => Ok(count),
        Some(count) => Err(Refused::malformed(format!("a map of at most {most} members was expected, {count} came"))),
        None => Err(Refused::malformed("a map that says its length was expected, one that does not came")),
    }
}

pub(super) fn broken(error: Error) -> Refused {
    Refused::malformed(format!("CBOR was expected: {error}"))
}

fn take<'a>(rest: &mut &'a [u8], length: usize) -> Result<&'a [u8], Refused> {
    let found = rest.len();
    let (taken, left) = rest.split_at_checked(length).ok_or_else(|| {
        Refused::malformed(format!("authenticatorData with {length} more bytes was expected, {found} are there"))
    })?;
    *rest = left;
    Ok(taken)
}

fn take_array<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], Refused> {
    take(rest, N)?.try_into().map_err(|_| Refused::malformed("authenticatorData is cut off"))
}

/// One item of CBOR, whatever it is.
fn take_item<'a>(rest: &mut &'a [u8]) -> Result<&'a [u8], Refused> {
    let mut decoder = Decoder::new(rest);
    decoder.skip().map_err(broken)?;
    take(rest, decoder.position())
}
