//! Who sits before a page: passkeys registered with a one-time code, sessions begun with a passkey.
//!
//! Nothing here is a decision: that takes a signature of its own ([`crate::Engine::approve_signed`]).

use std::sync::Arc;

use ledger::approver::{Approvers, Code, CodePurpose, Passkey, Session};
use ledger::id::{AuthMethod, Caller, CallerKind, Digest, PrincipalId, TenantId};
use ledger::store::StoreError;
use mandates::base64url;
use mandates::webauthn::{self, Assertion, Expected, PasskeyCode, PasskeyKey, RelyingParty};

use crate::consent::signed::user_handle;
use crate::error::EngineError;
use crate::{Engine, Identity};

/// How long an answer to a sign-in's challenge is waited for.
const SIGN_IN_SECONDS: i64 = 300;
/// How long a person stays signed in.
pub const SESSION_SECONDS: i64 = 8 * 3_600;
/// Passkeys of one person.
const PASSKEYS_MAX: usize = 16;
const CODE_BYTES: usize = 16;
const SESSION_TAG: &str = "purser/page-session/1";
const INVITE_TAG: &str = "purser/invitation/1";
const INVITE_CHALLENGE_TAG: &str = "purser/invitation-challenge/1";
const SIGN_IN_TAG: &str = "purser/sign-in/1";

/// Where the pages are, and where what they need is kept.
pub struct Pages {
    pub approvers: Arc<dyn Approvers>,
    /// Nobody where the service has no address that a passkey can be for.
    pub party: Option<RelyingParty>,
}

impl Pages {
    pub fn party(&self) -> Result<&RelyingParty, EngineError> {
        self.party
            .as_ref()
            .ok_or(EngineError::NotConfigured("address that passkeys can be for (https, or this machine)"))
    }
}

/// What a browser is asked for when a passkey is to be made.
#[derive(Clone, Debug)]
pub struct Registering {
    pub tenant: TenantId,
    pub principal: PrincipalId,
    pub challenge: [u8; 32],
    pub user_handle: Digest,
    /// Credentials that are registered: an authenticator that has one makes no second.
    pub known: Vec<Vec<u8>>,
}

/// A browser's answer to it, decoded.
#[derive(Clone, Debug)]
pub struct Made {
    pub client_data: Vec<u8>,
    pub attestation: Vec<u8>,
}

impl Engine {
    pub fn pages(&self) -> Result<&Pages, EngineError> {
        self.pages.get().ok_or(EngineError::NotConfigured("pages"))
    }

    fn seconds(&self) -> i64 {
        self.clock.now().seconds()
    }

    /// A code with which this person registers a passkey, once, within so many seconds. It is shown here and kept nowhere.
    pub async fn invite(&self, tenant: &TenantId, person: &PrincipalId, seconds: u32) -> Result<String, EngineError> {
        if !self.tenant(tenant)?.people.contains_key(person) {
            return Err(EngineError::NotFound { what: "user", id: person.to_string() });
        }
        let (drawn, owner) = (self.entropy.bytes()?, (tenant.clone(), person.clone()));
        Ok(invite(&*self.pages()?.approvers, drawn, owner, self.seconds(), seconds).await?)
    }

    /// Uses nothing up: a person may turn away from their authenticator and begin again.
    pub async fn begin_registration(&self, code: &str) -> Result<Registering, EngineError> {
        let pages = self.pages()?;
        pages.party()?;
        let found = pages.approvers.code(digest(INVITE_TAG, code), CodePurpose::Invite, self.seconds()).await?;
        let owner = found.and_then(|code| code.owner).ok_or(EngineError::InvitationUnknown)?;
        let (tenant, principal) = self.still_a_person(owner).ok_or(EngineError::InvitationUnknown)?;
        let known = pages.approvers.passkeys_of(&tenant, &principal).await?;
        if known.len() >= PASSKEYS_MAX {
            let (expected, found) = (format!("fewer than {PASSKEYS_MAX} passkeys"), known.len().to_string());
            return Err(EngineError::invalid("code", expected, found));
        }
        Ok(Registering {
            challenge: digest(INVITE_CHALLENGE_TAG, code).0,
            user_handle: user_handle(tenant.as_str(), &principal),
            known: known.into_iter().map(|passkey| passkey.credential).collect(),
            tenant,
            principal,
        })
    }

    /// Uses the code up, and signs the person in. Returns the session's token.
    pub async fn register(&self, code: &str, made: &Made) -> Result<String, EngineError> {
        let Registering { tenant, principal, challenge, .. } = self.begin_registration(code).await?;
        let pages = self.pages()?;
        let made = webauthn::registration(pages.party()?, &challenge, &made.client_data, &made.attestation)?;
        let (token, now) = (self.session_token()?, self.seconds());
        let session = session(&token, &tenant, &principal, &made.credential, now);
        let passkey = Passkey {
            tenant,
            principal,
            credential: made.credential,
            key: made.key.as_cose().to_vec(),
            sign_count: made.sign_count,
            created_at: now,
        };
        match pages.approvers.register(digest(INVITE_TAG, code), passkey, session, now).await? {
            true => Ok(token),
            false => Err(EngineError::InvitationUnknown),
        }
    }

    pub async fn begin_sign_in(&self) -> Result<[u8; 32], EngineError> {
        let pages = self.pages()?;
        pages.party()?;
        let (challenge, now) = (self.entropy.bytes()?, self.seconds());
        let digest = Digest::of_parts(SIGN_IN_TAG, &[&challenge]);
        let expires_at = now.saturating_add(SIGN_IN_SECONDS);
        pages.approvers.add_code(Code { digest, purpose: CodePurpose::SignIn, owner: None, expires_at }, now).await?;
        Ok(challenge)
    }

    /// Whoever holds a passkey is signed in as whom it is registered for. Returns the session's token.
    pub async fn sign_in_approver(&self, given: &Assertion) -> Result<String, EngineError> {
        let pages = self.pages()?;
        let now = self.seconds();
        // The challenge is one that was drawn here, and not answered before: it is taken before anything is looked at.
        let challenge = webauthn::challenge_of(&given.client_data)?;
        let code = Digest::of_parts(SIGN_IN_TAG, &[&challenge]);
        let code = pages.approvers.use_code(code, CodePurpose::SignIn, now).await?;
        code.ok_or(EngineError::SignInExpired)?;
        let unknown = || EngineError::PasskeyUnknown { principal: "anybody here".into() };
        let passkey = pages.approvers.passkey(&given.credential).await?.ok_or_else(unknown)?;
        let owner = (passkey.tenant.clone(), passkey.principal.clone());
        let (tenant, principal) = self.still_a_person(owner).ok_or_else(unknown)?;
        if given.user_handle.is_none() {
            let detail = "a passkey that says whose it is was expected, one that does not came".to_owned();
            return Err(webauthn::Refused { code: PasskeyCode::UserMismatch, detail }.into());
        }
        let key = PasskeyKey::from_cose(&passkey.key)?;
        let handle = user_handle(tenant.as_str(), &principal);
        let expected = Expected {
            party: pages.party()?,
            challenge,
            key: &key,
            sign_count: passkey.sign_count,
            user_handle: &handle.0,
        };
        let asserted = webauthn::assertion(&expected, given)?;
        if !pages.approvers.count(&passkey.credential, passkey.sign_count, asserted.sign_count()).await? {
            return Err(EngineError::SignInExpired);
        }
        let token = self.session_token()?;
        let session = session(&token, &tenant, &principal, &passkey.credential, now);
        pages.approvers.add_session(session, now).await?;
        Ok(token)
    }

    /// Whose session this is, where it is one and they are still a person of its tenant.
    pub async fn signed_in(&self, token: &str) -> Result<Option<Identity>, EngineError> {
        let found = self.pages()?.approvers.session(digest(SESSION_TAG, token), self.seconds()).await?;
        let owner = found.and_then(|session| self.still_a_person((session.tenant, session.principal)));
        Ok(owner.map(|(tenant, principal)| {
            let caller = Caller::new(principal, CallerKind::User, AuthMethod::Passkey);
            Identity { tenant, caller }
        }))
    }

    pub async fn sign_out(&self, token: &str) -> Result<(), EngineError> {
        Ok(self.pages()?.approvers.end_session(digest(SESSION_TAG, token)).await?)
    }

    /// Credentials that an approval can be signed with.
    pub async fn passkeys(&self, identity: &Identity) -> Result<Vec<Passkey>, EngineError> {
        Ok(self.pages()?.approvers.passkeys_of(&identity.tenant, &identity.caller.principal).await?)
    }

    /// Whoever is taken out of the configuration is out at once.
    fn still_a_person(&self, (tenant, principal): (TenantId, PrincipalId)) -> Option<(TenantId, PrincipalId)> {
        let known = self.tenant(&tenant).ok()?.people.contains_key(&principal);
        known.then_some((tenant, principal))
    }

    fn session_token(&self) -> Result<String, EngineError> {
        Ok(base64url::encode(&self.entropy.bytes()?))
    }
}

/// The same for whoever has the store and no engine.
pub async fn invite(
    approvers: &dyn Approvers,
    drawn: [u8; 32],
    owner: (TenantId, PrincipalId),
    now: i64,
    seconds: u32,
) -> Result<String, StoreError> {
    let text = base64url::encode(drawn.get(..CODE_BYTES).unwrap_or(&drawn));
    let expires_at = now.saturating_add(seconds.into());
    let digest = digest(INVITE_TAG, &text);
    approvers.add_code(Code { digest, purpose: CodePurpose::Invite, owner: Some(owner), expires_at }, now).await?;
    Ok(text)
}

fn digest(tag: &str, secret: &str) -> Digest {
    Digest::of_parts(tag, &[secret.as_bytes()])
}

/// What a session is kept as.
pub fn session(token: &str, tenant: &TenantId, principal: &PrincipalId, credential: &[u8], now: i64) -> Session {
    Session {
        digest: digest(SESSION_TAG, token),
        tenant: tenant.clone(),
        principal: principal.clone(),
        credential: credential.to_vec(),
        expires_at: now.saturating_add(SESSION_SECONDS),
    }
}
