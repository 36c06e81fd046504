//! The door: a credential in, an identity out; and the token endpoint behind it.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use engine::Identity;
use jsonwebtoken::jwk::JwkSet;
use ledger::id::{AuthMethod, CallerKind, PrincipalId, TenantId};
use ledger::origin::Build;
use mandates::keys::PublicKey;

use crate::assertion::{self, AssertionError};
use crate::dpop::{self, ProofError, Request, With};
use crate::issuer::{self, IssuerKeys, Subjects};
use crate::replay::Replay;
use crate::same;
use crate::svid;
use crate::token::{Binding, Minter, Token, TokenError};

/// How long a token that was got at the endpoint lives. A client asks again; a stolen one is soon worth nothing.
pub const GRANTED_SECONDS: u32 = 300;

/// What an unbound token is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BearerPolicy {
    /// Reading. Whatever spends or decides wants a proof.
    Reading,
    /// Everything: in `dev` and `demo` only.
    Everything,
}

/// What a call does, as far as the door is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    Reads,
    /// It spends, decides, signs or stops something.
    Acts,
}

/// Whoever calls, and since when they have what they showed.
#[derive(Clone, Debug)]
pub struct Identified {
    pub identity: Identity,
    /// Unix seconds of the token's issue; none where no stop outlives its lift ([`BearerPolicy::Everything`]).
    pub issued_at: Option<i64>,
}

/// Somebody who may get tokens: registered with a public key.
#[derive(Clone, Debug)]
pub struct Client {
    pub identity: Identity,
    pub key: PublicKey,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallerError {
    #[error(transparent)]
    Token(#[from] TokenError),
    #[error(transparent)]
    Proof(#[from] ProofError),
}

impl CallerError {
    pub const fn code(self) -> &'static str {
        match self {
            Self::Token(error) => error.code(),
            Self::Proof(error) => error.code(),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GrantError {
    #[error(transparent)]
    Client(#[from] AssertionError),
    #[error(transparent)]
    Proof(#[from] ProofError),
    #[error("the token could not be signed")]
    Signing,
    #[error("the bundle of the workload's trust domain is not known yet")]
    IssuerUnavailable,
}

/// A token for whoever proved its keys.
#[derive(Clone, Debug)]
pub struct Granted {
    pub token: String,
    pub seconds: u32,
}

/// A header that must stand once stands several times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Repeated;

/// The headers of a call that say who calls.
#[derive(Clone, Copy, Debug)]
pub struct Presented<'a> {
    pub authorization: Option<&'a [u8]>,
    /// The DPoP header.
    pub proof: Result<Option<&'a [u8]>, Repeated>,
}

/// `client_id` of a principal.
pub fn client_name(tenant: &str, principal: &str) -> String {
    format!("{tenant}:{principal}")
}

/// A principal in a role.
pub type Registered = (TenantId, PrincipalId, CallerKind);

/// Where the keys of a SPIFFE trust domain are.
#[derive(Clone, Debug)]
pub enum Bundle {
    /// In the trust file.
    Known(JwkSet),
    /// Published at this address (`https_web`).
    At(String),
}

/// Who is registered, and how they prove it. Replaced as a whole when the configuration changes.
pub struct Register {
    pub minter: Minter,
    /// Everybody, an agent with its build where one is stated. A token about somebody who is gone is worth nothing from
    /// then on.
    pub principals: BTreeMap<Registered, Option<Build>>,
    /// Those with a public key, by `client_id`.
    pub clients: BTreeMap<String, Client>,
    /// Those of outside issuers.
    pub subjects: Subjects,
    /// The bundles of trust domains among them, by `spiffe://domain`.
    pub bundles: BTreeMap<String, Bundle>,
    pub policy: BearerPolicy,
}

pub struct Callers {
    register: RwLock<Arc<Register>>,
    issuer_keys: IssuerKeys,
    proofs: Replay,
    assertions: Replay,
}

impl Callers {
    pub fn new(register: Register) -> Self {
        let (proofs, assertions) = (Replay::default(), Replay::default());
        Self { register: RwLock::new(Arc::new(register)), issuer_keys: IssuerKeys::default(), proofs, assertions }
    }

    /// What was used once stays used.
    pub fn replace(&self, register: Register) {
        *self.register.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(register);
    }

    pub fn register(&self) -> Arc<Register> {
        self.register.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Where keys of outside issuers are learnt.
    pub const fn issuer_keys(&self) -> &IssuerKeys {
        &self.issuer_keys
    }

    pub fn issuer(&self) -> String {
        self.register().minter.issuer().to_owned()
    }

    pub fn identify(
        &self,
        call: Call,
        presented: Presented<'_>,
        request: Request<'_>,
    ) -> Result<Identified, CallerError> {
        let header = presented.authorization.ok_or(TokenError::Missing)?;
        let text = std::str::from_utf8(header).map_err(|_| TokenError::Invalid)?;
        let (scheme, token) = text.split_once(' ').ok_or(TokenError::Invalid)?;
        let token = token.trim();
        if scheme.eq_ignore_ascii_case("dpop") {
            return self.with_proof(token, presented, request);
        }
        if !scheme.eq_ignore_ascii_case("bearer") {
            return Err(TokenError::Missing.into());
        }
        let register = self.register();
        let Token { identity, bound_to, issued_at } = self.verify(&register, token, request.now)?;
        match (bound_to, call, register.policy) {
            // RFC 9449 section 7.2: a bound token is no bearer token.
            (Some(_), ..) => Err(TokenError::Scheme.into()),
            (None, Call::Acts, BearerPolicy::Reading) => Err(TokenError::Unbound.into()),
            // The printed tokens of `dev` are all that its callers have: they live as long as it does.
            (None, _, BearerPolicy::Everything) => Ok(Identified { identity, issued_at: None }),
            (None, Call::Reads, BearerPolicy::Reading) => Ok(Identified { identity, issued_at: Some(issued_at) }),
        }
    }

    fn with_proof(
        &self,
        token: &str,
        presented: Presented<'_>,
        request: Request<'_>,
    ) -> Result<Identified, CallerError> {
        let proof = presented.proof.map_err(|Repeated| ProofError::Malformed)?.ok_or(ProofError::Missing)?;
        let proof = std::str::from_utf8(proof).map_err(|_| ProofError::Malformed)?;
        // The token first: nobody fills the memory of proofs without one of ours.
        let register = self.register();
        let Token { mut identity, bound_to, issued_at } = self.verify(&register, token, request.now)?;
        let bound_to = bound_to.or_else(|| register.key_of(&identity)).ok_or(ProofError::Key)?;
        let proof = dpop::check(proof, request, With::Token(token))?;
        if !same(&proof.thumbprint, &bound_to) {
            return Err(ProofError::Key.into());
        }
        proof.use_up(&self.proofs, request.now)?;
        identity.caller.method = AuthMethod::Dpop;
        Ok(Identified { identity, issued_at: Some(issued_at) })
    }

    /// One of ours, or of an issuer that somebody here is registered with.
    fn verify(&self, register: &Register, token: &str, now: i64) -> Result<Token, TokenError> {
        let ours = register.minter.issuer();
        let outside = if register.subjects.is_empty() { None } else { issuer::claimed(token) };
        let outside = outside.filter(|claimed| claimed != ours);
        let outside = outside.and_then(|claimed| register.subjects.get_key_value(&claimed));
        let workload = if outside.is_none() { register.workload(token) } else { None };
        let mut token = match (outside, workload) {
            (Some((issuer, subjects)), _) => issuer::verify(token, (issuer, ours), subjects, &self.issuer_keys, now)?,
            (None, Some(id)) => svid::verify(token, &id, &[ours], &register.subjects, &self.issuer_keys, now)?,
            (None, None) => register.minter.verifier().verify(token, now)?,
        };
        let caller = &token.identity.caller;
        let known = (token.identity.tenant.clone(), caller.principal.clone(), caller.kind);
        // What runs is what is registered now, whenever the token was made.
        token.identity.caller.build = *register.principals.get(&known).ok_or(TokenError::Unregistered)?;
        Ok(token)
    }

    /// Client credentials (RFC 6749 section 4.4) by `private_key_jwt`, bound to the key of the proof.
    pub fn grant(
        &self,
        assertion: &str,
        proof: &[u8],
        request: Request<'_>,
        token_id: &str,
    ) -> Result<Granted, GrantError> {
        let register = self.register();
        let audiences = [register.minter.issuer(), request.address];
        let (identity, asserted) = match register.workload(assertion) {
            // An SVID is shown again while it lives; the proof is what is used once.
            Some(id) => {
                let (subjects, now) = (&register.subjects, request.now);
                let shown = svid::verify(assertion, &id, &audiences, subjects, &self.issuer_keys, now);
                let shown = shown.map_err(|error| match error {
                    TokenError::IssuerUnavailable => GrantError::IssuerUnavailable,
                    TokenError::Expired => AssertionError::Time.into(),
                    _ => AssertionError::Invalid.into(),
                })?;
                (shown.identity, None)
            }
            None => {
                let name = assertion::claimed_client(assertion).ok_or(AssertionError::Invalid)?;
                let client = register.clients.get(&name).ok_or(AssertionError::Invalid)?;
                let asserted = assertion::check(assertion, &name, &client.key, &audiences, request.now)?;
                (client.identity.clone(), Some(asserted))
            }
        };
        let proof = std::str::from_utf8(proof).map_err(|_| ProofError::Malformed)?;
        let proof = dpop::check(proof, request, With::NoToken)?;
        let bound = Binding::Key(&proof.thumbprint);
        let minted = register.minter.mint(&identity, bound, token_id, request.now, GRANTED_SECONDS);
        let token = minted.ok_or(GrantError::Signing)?;
        // Both are true by now, so that neither is used up by what is wrong with the other.
        if let Some(asserted) = asserted {
            asserted.use_up(&self.assertions, request.now)?;
        }
        proof.use_up(&self.proofs, request.now)?;
        Ok(Granted { token, seconds: GRANTED_SECONDS })
    }
}

impl Register {
    /// The SPIFFE id that a token claims, where anybody of its trust domain is registered here.
    fn workload(&self, token: &str) -> Option<String> {
        let id = svid::claimed(token)?;
        self.subjects.contains_key(svid::trust_domain(&id)?).then_some(id)
    }

    /// Where bearer tokens are good for everything, one that comes with a proof must come with the key on record.
    fn key_of(&self, identity: &Identity) -> Option<String> {
        let name = client_name(identity.tenant.as_str(), identity.caller.principal.as_str());
        let client = self.clients.get(&name).filter(|client| client.identity.caller.kind == identity.caller.kind);
        client.filter(|_| self.policy == BearerPolicy::Everything).map(|client| client.key.thumbprint())
    }
}
