//! Whom a verifier trusts as the root of what.
//!
//! A root names its key by `kid`, or brings certificates (`x5c`). [`Roots`] says which keys that may be, and what each may
//! be root for: AP2 leaves trust lists to the implementer, so a verifier that trusts a bank for payments and a shop's
//! provider for checkouts must be able to say so. A key set or a set of anchors alone is trusted for everything.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use crate::certificate::Anchors;
use crate::chain;
use crate::json::Json;
use crate::jws::Jws;
use crate::keys::{KeySet, PublicKey};
use crate::limits::ROOTS_MAX;
use crate::mandate::Vct;
use crate::rejection::{Code, Rejection, shown};

/// Roots that somebody trusts.
pub trait Roots: fmt::Debug + Send + Sync {
    /// Every key that may have signed a root that names itself so; at least one. Which of them did, the signature says.
    fn candidates(&self, named: &Named<'_>) -> Result<Vec<Candidate>, Rejection>;
}

/// How a root names its key.
#[derive(Clone, Debug)]
pub struct Named<'a> {
    /// As the header has it; a DID URL that is only a fragment is completed from `iss` (DID Core section 3.2.2).
    pub kid: Option<String>,
    pub x5c: Option<Json<'a>>,
    /// The second at which certificates must be valid.
    pub now_seconds: i64,
}

impl<'a> Named<'a> {
    pub(crate) fn by(root: &'a Jws<'_>, now_seconds: i64) -> Self {
        let issuer = root.payload().get("iss").and_then(Json::as_str).filter(|issuer| issuer.starts_with("did:"));
        let kid = match (root.kid(), issuer) {
            (Some(kid), Some(issuer)) if kid.starts_with('#') => Some(format!("{issuer}{kid}")),
            (kid, _) => kid.map(str::to_owned),
        };
        Self { kid, x5c: root.header().get("x5c"), now_seconds }
    }
}

/// The `kid` of a presented chain's root, unverified: whose keys to have at hand. `None` where it names none, brings
/// certificates, or cannot be read.
pub fn root_kid(presented: &str) -> Option<String> {
    let segments = chain::split(presented).ok()?;
    let root = segments.first()?.decode().ok()?;
    let named = Named::by(&root.jwt, 0);
    named.kid.filter(|_| named.x5c.is_none())
}

/// A key that may have signed, and what it would be good for.
#[derive(Clone, Debug)]
pub struct Candidate {
    pub key: PublicKey,
    pub scope: Scope,
}

/// What a root may be root for. The mandate meant is the outermost of the chain: what lies beneath it is the holder's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scope {
    pub mandates: BTreeSet<Vct>,
    /// What its `iss` must be, one of these; whatever it likes, or nothing, where there is `None`.
    pub issuers: Option<BTreeSet<String>>,
}

impl Scope {
    pub fn anything() -> Self {
        Self { mandates: Vct::ALL.into_iter().collect(), issuers: None }
    }

    fn permits_issuer(&self, issuer: Option<&str>) -> bool {
        self.issuers.as_ref().is_none_or(|issuers| issuer.is_some_and(|issuer| issuers.contains(issuer)))
    }
}

/// Whether one of the roots whose signature this is may be root for this mandate.
pub(crate) fn check_scope(signed: &[Scope], issuer: Option<&str>, outermost: Vct) -> Result<(), Rejection> {
    let named: Vec<&Scope> = signed.iter().filter(|scope| scope.permits_issuer(issuer)).collect();
    if named.is_empty() {
        let wanted: BTreeSet<&String> = signed.iter().filter_map(|scope| scope.issuers.as_ref()).flatten().collect();
        let wanted = wanted.into_iter().map(|issuer| shown(issuer)).collect::<Vec<_>>().join(" or ");
        let came = issuer.map_or_else(|| "nothing".to_owned(), shown);
        let message = format!("iss of this root is {wanted}; {came} came");
        return Err(Rejection::new(Code::RootIssuerMismatch, message).at("iss"));
    }
    if named.iter().any(|scope| scope.mandates.contains(&outermost)) {
        return Ok(());
    }
    let wanted: BTreeSet<&str> = named.iter().flat_map(|scope| &scope.mandates).map(|vct| vct.as_str()).collect();
    let wanted = wanted.into_iter().collect::<Vec<_>>().join(", ");
    let message = format!("this root is trusted for {wanted}; {outermost} came");
    Err(Rejection::new(Code::RootOutOfScope, message).at("vct"))
}

/// One entry of a trust list.
#[derive(Clone, Debug)]
pub struct Root {
    /// What the verifier calls it.
    pub name: String,
    pub keys: RootKeys,
    pub scope: Scope,
}

#[derive(Clone, Debug)]
pub enum RootKeys {
    /// Found by `kid`.
    Set(Arc<KeySet>),
    /// Found by a certificate path.
    Anchors(Arc<Anchors>),
    /// Published elsewhere, and not to be had now.
    Unavailable,
}

/// A list of roots, each for what it is trusted for. An empty one trusts nobody.
#[derive(Clone, Debug, Default)]
pub struct Trust {
    roots: Vec<Root>,
}

impl Trust {
    pub fn new(roots: impl IntoIterator<Item = Root>) -> Result<Self, Rejection> {
        let roots: Vec<Root> = roots.into_iter().take(ROOTS_MAX.saturating_add(1)).collect();
        if roots.len() > ROOTS_MAX {
            let message = format!("a trust list has at most {ROOTS_MAX} roots; more came");
            return Err(Rejection::new(Code::KeySetInvalid, message).at("roots"));
        }
        Ok(Self { roots })
    }

    pub fn roots(&self) -> &[Root] {
        &self.roots
    }

    fn by_certificate(&self, x5c: Json<'_>, now_seconds: i64) -> Result<Vec<Candidate>, Rejection> {
        let (mut found, mut refused) = (Vec::new(), None::<Rejection>);
        for root in &self.roots {
            let RootKeys::Anchors(anchors) = &root.keys else { continue };
            match anchors.key_of(x5c, now_seconds) {
                Ok(key) => found.push(Candidate { key, scope: root.scope.clone() }),
                // That it is under the anchors of another entry says least.
                Err(other) if refused.as_ref().is_none_or(|refused| refused.code == Code::X5cUntrusted) => {
                    refused = Some(other);
                }
                Err(_) => {}
            }
        }
        if found.is_empty() { Err(refused.unwrap_or_else(no_anchor)) } else { Ok(found) }
    }

    fn by_name(&self, kid: Option<&str>) -> Result<Vec<Candidate>, Rejection> {
        let (mut found, mut known, mut unavailable) = (Vec::new(), 0_usize, None);
        for root in &self.roots {
            match &root.keys {
                RootKeys::Set(set) => {
                    known = known.saturating_add(set.len());
                    let key = kid.and_then(|kid| set.find(kid)).cloned();
                    found.extend(key.map(|key| Candidate { key, scope: root.scope.clone() }));
                }
                RootKeys::Unavailable => unavailable = Some(&root.name),
                RootKeys::Anchors(_) => {}
            }
        }
        match (found.is_empty(), unavailable) {
            (false, _) => Ok(found),
            (true, Some(name)) if kid.is_some() => {
                let message = format!(
                    "the root's kid is one of {known} trusted keys, or of {name}, whose keys cannot be had now"
                );
                Err(Rejection::new(Code::RootKeysUnavailable, message).at("kid"))
            }
            (true, _) => Err(unknown_kid(kid, known)),
        }
    }
}

impl Roots for Trust {
    fn candidates(&self, named: &Named<'_>) -> Result<Vec<Candidate>, Rejection> {
        // x5c wins over kid where both are there, as in AP2's SDK: a certificate must not be passed over unchecked.
        match named.x5c {
            Some(x5c) => self.by_certificate(x5c, named.now_seconds),
            None => self.by_name(named.kid.as_deref()),
        }
    }
}

impl Roots for KeySet {
    fn candidates(&self, named: &Named<'_>) -> Result<Vec<Candidate>, Rejection> {
        if named.x5c.is_some() {
            return Err(no_anchor());
        }
        let kid = named.kid.as_deref();
        let key = kid.and_then(|kid| self.find(kid)).ok_or_else(|| unknown_kid(kid, self.len()))?;
        Ok(vec![Candidate { key: key.clone(), scope: Scope::anything() }])
    }
}

impl Roots for Anchors {
    fn candidates(&self, named: &Named<'_>) -> Result<Vec<Candidate>, Rejection> {
        let Some(x5c) = named.x5c else { return Err(unknown_kid(named.kid.as_deref(), 0)) };
        let key = self.key_of(x5c, named.now_seconds)?;
        Ok(vec![Candidate { key, scope: Scope::anything() }])
    }
}

fn no_anchor() -> Rejection {
    let message = "an x5c chain ends at an anchor of the verifier; it has none";
    Rejection::new(Code::X5cNoAnchor, message).at("x5c")
}

fn unknown_kid(kid: Option<&str>, known: usize) -> Rejection {
    let came = kid.map_or_else(|| "nothing".to_owned(), shown);
    Rejection::new(Code::UnknownKid, format!("the root's kid is one of {known} trusted keys; {came} came")).at("kid")
}
