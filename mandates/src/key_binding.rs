//! Key binding (RFC 9901 sections 4.3 and 7.3): an SD-JWT with a KB-JWT behind it, by which the holder of the key in
//! `cnf` says to whom, when and on which nonce it was presented. AP2 v0.2 chains never carry one ([`crate::chain`]
//! refuses it); AP2 v0.1 and plain SD-JWT credentials do.

use crate::chain;
use crate::clock::{self, Clock};
use crate::json::{Json, Members, Object};
use crate::jws::{Jws, Unsigned};
use crate::keys::PublicKey;
use crate::limits::{DISCLOSURES_MAX, TEXT_BYTES_MAX, TOKEN_BYTES_MAX};
use crate::rejection::{Code, Rejection, shown, shown_value};
use crate::sd_jwt::{RawSdJwt, SdJwt};
use crate::verify::Expected;

const TYPE: &str = "kb+jwt";

/// `jwt~d1~…~dn~kb`, decoded; no signature is checked yet.
#[derive(Clone, Debug)]
pub struct Presented<'a> {
    pub sd_jwt: SdJwt<'a>,
    key_binding: Jws<'a>,
}

/// What a verifier asks of the KB-JWT.
#[derive(Clone, Copy, Debug)]
pub struct Terms<'a> {
    pub clock: Clock,
    pub expected: Expected<'a>,
    /// How old its `iat` may be, beyond the skew.
    pub age_seconds_max: u32,
}

/// What a verified KB-JWT says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binding {
    pub audience: String,
    pub nonce: String,
    pub issued_at_seconds: i64,
    /// The whole payload.
    pub claims: Object,
}

/// A KB-JWT to sign.
#[derive(Clone, Copy, Debug)]
pub struct Presentation<'a> {
    pub audience: &'a str,
    pub nonce: &'a str,
    pub issued_at_seconds: i64,
}

impl<'a> Presented<'a> {
    /// Splits and decodes. `key_binding_missing` where nothing stands behind the last `~`.
    pub fn parse(text: &'a str) -> Result<Self, Rejection> {
        check_envelope(text)?;
        let missing = |came: &str| {
            let message = format!("a KB-JWT stands behind the last `~` of an SD-JWT with key binding; {came} does");
            Rejection::new(Code::KeyBindingMissing, message)
        };
        let (credential, key_binding) = text.rsplit_once('~').ok_or_else(|| missing("no `~`"))?;
        if key_binding.is_empty() {
            return Err(missing("nothing"));
        }
        let raw = RawSdJwt::split(credential)?;
        if raw.disclosure_count() > DISCLOSURES_MAX {
            let message = format!("a token has at most {DISCLOSURES_MAX} disclosures; {} came", raw.disclosure_count());
            return Err(Rejection::new(Code::TooManyDisclosures, message));
        }
        Ok(Self { sd_jwt: raw.decode()?, key_binding: Jws::parse(key_binding)? })
    }

    /// Holder's signature, type, `iat` within its window, `aud`, `nonce`, and `sd_hash` over the SD-JWT as presented.
    /// The SD-JWT itself is the caller's to verify first: `holder` comes out of its `cnf`.
    pub fn verify(&self, holder: &PublicKey, terms: &Terms<'_>) -> Result<Binding, Rejection> {
        let jws = &self.key_binding;
        jws.check_header()?;
        if jws.typ() != Some(TYPE) {
            let came = jws.header().get("typ").map_or_else(|| "nothing".to_owned(), shown_value);
            return Err(Rejection::new(Code::TypWrong, format!("typ of a KB-JWT is {TYPE}; {came} came")).at("typ"));
        }
        jws.verify(holder)?;
        let hash = self.sd_jwt.sd_hash()?;
        if jws.payload().get("sd_hash").and_then(Json::as_str) != Some(hash.as_str()) {
            let came = jws.payload().get("sd_hash").map_or_else(|| "nothing".to_owned(), shown_value);
            let message = format!("sd_hash is {hash}, the hash of the SD-JWT as presented; {came} came");
            return Err(Rejection::new(Code::SdHashMismatch, message).at("sd_hash"));
        }
        let binding = Binding::read(jws.payload())?;
        binding.check(&terms.expected)?;
        check_age(jws.payload(), &terms.clock, terms.age_seconds_max)?;
        Ok(binding)
    }
}

impl Binding {
    fn read(claims: Members<'_>) -> Result<Self, Rejection> {
        let issued_at = clock::numeric_date(claims, "iat")?.and_then(clock::whole_seconds).ok_or_else(|| {
            Rejection::new(Code::IatMissing, "a KB-JWT says when it was signed; iat is not there").at("iat")
        })?;
        Ok(Self {
            audience: text(claims, "aud", Code::AudMissing)?,
            nonce: text(claims, "nonce", Code::NonceMissing)?,
            issued_at_seconds: issued_at,
            claims: claims.to_object(),
        })
    }

    fn check(&self, expected: &Expected<'_>) -> Result<(), Rejection> {
        let Expected::Exactly { audience, nonce } = *expected else { return Ok(()) };
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

/// Its times, and an `iat` within the window (RFC 9901 section 7.3).
pub(crate) fn check_age(claims: Members<'_>, clock: &Clock, age_seconds_max: u32) -> Result<(), Rejection> {
    clock.check(claims, "the KB-JWT")?;
    let oldest = clock.earliest().checked_sub(age_seconds_max.into()).unwrap_or_default();
    match clock::numeric_date(claims, "iat")? {
        Some(issued_at) if issued_at < oldest => {
            let max = age_seconds_max;
            let message =
                format!("a KB-JWT is at most {max} s old, so signed at {oldest} or later; it says {issued_at}");
            Err(Rejection::new(Code::KeyBindingStale, message).at("iat"))
        }
        _ => Ok(()),
    }
}

/// One token: bounded, printable ASCII.
pub(crate) fn check_envelope(text: &str) -> Result<(), Rejection> {
    if text.len() > TOKEN_BYTES_MAX {
        let message = format!("a token has at most {TOKEN_BYTES_MAX} bytes; this one has {}", text.len());
        return Err(Rejection::new(Code::TokenTooLarge, message));
    }
    match text.chars().find(|c| !c.is_ascii_graphic()) {
        None => Ok(()),
        Some(found) => Err(Rejection::new(Code::TokenNotAscii, format!("a token is printable ASCII; {found:?} came"))),
    }
}

fn text(claims: Members<'_>, name: &'static str, missing: Code) -> Result<String, Rejection> {
    match claims.get(name) {
        Some(Json::String(text)) if !text.is_empty() && text.len() <= TEXT_BYTES_MAX => Ok(text.to_owned()),
        other => {
            let came = other.map_or("nothing", Json::kind);
            let message = format!("{name} is a string of 1 to {TEXT_BYTES_MAX} bytes; {came} came");
            Err(Rejection::new(missing, message).at(name))
        }
    }
}

/// The KB-JWT over an SD-JWT as it will be presented (`jwt~d1~…~dn~`), with `others` beside the four claims of RFC 9901.
/// The signature must come from the key in the credential's `cnf`; finished, it is the whole presentation.
pub fn unsigned(credential: &str, terms: &Presentation<'_>, others: &Object) -> Result<Unsigned, Rejection> {
    check_envelope(credential)?;
    let sd_jwt = SdJwt::parse(credential)?;
    chain::confirmation_key(sd_jwt.resolve()?.claims())?;
    let mut claims = others.clone();
    claims.insert("aud".to_owned(), terms.audience.into());
    claims.insert("iat".to_owned(), terms.issued_at_seconds.into());
    claims.insert("nonce".to_owned(), terms.nonce.into());
    claims.insert("sd_hash".to_owned(), sd_jwt.sd_hash()?.into());
    let header = Object::from_iter([("alg".to_owned(), "ES256".into()), ("typ".to_owned(), TYPE.into())]);
    Ok(Unsigned::new(&header, &claims).between(credential.to_owned(), String::new()))
}
