//! A plain SD-JWT credential (RFC 9901 section 7): its issuer's signature, its disclosures, its times, and its key
//! binding where the verifier asks for one. Mandate chains have their own verifier, [`crate::verify`].

use crate::chain;
use crate::clock::Clock;
use crate::json::Object;
use crate::jws::Jws;
use crate::key_binding::{Binding, Presented, Terms, check_envelope};
use crate::keys::{KeySet, PublicKey};
use crate::rejection::{Code, Rejection, shown, shown_value};
use crate::sd_jwt::{Resolved, SdJwt};

/// What the verifier knows and asks for.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    pub clock: Clock,
    /// Keys that may sign a credential: by `kid`; without one, the only key of the set.
    pub issuers: &'a KeySet,
    /// The media types (`typ`) that are taken.
    pub types: &'a [&'a str],
    pub key_binding: KeyBinding<'a>,
}

#[derive(Clone, Copy, Debug)]
pub enum KeyBinding<'a> {
    /// By the key in `cnf`, on these terms.
    Required(Terms<'a>),
    /// Whoever holds the text may show it. A KB-JWT that nobody checks is refused.
    NotAsked,
}

/// A credential that holds.
#[derive(Clone, Debug)]
#[must_use]
pub struct Credential {
    /// The issuer's header, as signed.
    pub header: Object,
    pub resolved: Resolved,
    pub binding: Option<Binding>,
}

/// Verifies a credential in the compact form; [`crate::serialization::read`] makes it of the JSON forms.
pub fn verify(presented: &str, context: &Context<'_>) -> Result<Credential, Rejection> {
    check_envelope(presented)?;
    match context.key_binding {
        KeyBinding::NotAsked => {
            let sd_jwt = SdJwt::parse(presented)?;
            let resolved = check(&sd_jwt, context)?;
            Ok(Credential { header: sd_jwt.jwt.header().to_object(), resolved, binding: None })
        }
        KeyBinding::Required(terms) => {
            let presented = Presented::parse(presented)?;
            let resolved = check(&presented.sd_jwt, context)?;
            let holder = chain::confirmation_key(resolved.claims())?;
            let binding = presented.verify(&holder, &terms)?;
            Ok(Credential { header: presented.sd_jwt.jwt.header().to_object(), resolved, binding: Some(binding) })
        }
    }
}

fn check(sd_jwt: &SdJwt<'_>, context: &Context<'_>) -> Result<Resolved, Rejection> {
    let jwt = &sd_jwt.jwt;
    jwt.check_header()?;
    if !jwt.typ().is_some_and(|typ| context.types.contains(&typ)) {
        let came = jwt.header().get("typ").map_or_else(|| "nothing".to_owned(), shown_value);
        let message = format!("typ of a credential is {}; {came} came", context.types.join(" or "));
        return Err(Rejection::new(Code::TypWrong, message).at("typ"));
    }
    jwt.verify(issuer_key(jwt, context.issuers)?)?;
    let resolved = sd_jwt.resolve()?;
    context.clock.check(resolved.claims(), "the credential")?;
    Ok(resolved)
}

pub(crate) fn issuer_key<'k>(jwt: &Jws<'_>, issuers: &'k KeySet) -> Result<&'k PublicKey, Rejection> {
    let key = jwt.kid().map_or_else(|| issuers.only(), |kid| issuers.find(kid));
    key.ok_or_else(|| {
        let came = jwt.kid().map_or_else(|| "none".to_owned(), shown);
        let message = format!("the credential's kid is one of {} trusted keys; {came} came", issuers.len());
        Rejection::new(Code::UnknownKid, message).at("kid")
    })
}
