//! Roots that were verified before: the one part of a verdict that may be kept.
//!
//! A chain's root is presented with every payment under it, and half of the work is its signature. Whether these very bytes
//! are signed by this very key, and what their disclosures say, is mathematics: it is the same tomorrow. So that, and only
//! that, is remembered, under the SHA-256 of the whole segment as presented (JWT, every disclosure, their order), and it
//! counts for the one key that verified it. All else is judged anew each time: whether that key is trusted, for what and
//! until when (it is resolved before the memory is asked, so a key that was withdrawn, replaced or put out of scope finds
//! nothing, and a path of certificates is walked again), the times, the audience and nonce, every constraint, revocation
//! and whatever the ledger holds. A root that was refused is never remembered.
//!
//! Whoever verifies owns one and passes it to [`super::verify_remembering`]. It is bounded, the oldest goes first, and only
//! roots that a trusted key signed come in, so strangers cannot push others out.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::Value;

use crate::chain::{self, MandateId};
use crate::digest::sha256;
use crate::json::Json;
use crate::keys::PublicKey;
use crate::limits::{ROOTS_REMEMBERED_BYTES_MAX, ROOTS_REMEMBERED_MAX};
use crate::rejection::Rejection;
use crate::sd_jwt::{Delegate, Resolved, SdJwt};
use crate::trust::Named;

/// What a root says, a function of its bytes alone.
#[derive(Debug)]
pub(super) struct Content {
    pub kid: Option<String>,
    pub x5c: Option<Value>,
    pub resolved: Arc<Resolved>,
    /// Whether there is a `delegate_payload`.
    pub delegation: Delegation,
    /// The key of the one mandate, or of the user's credential.
    pub holder: Result<PublicKey, Rejection>,
}

#[derive(Debug)]
pub(super) enum Delegation {
    None,
    Of(Result<Delegated, Rejection>),
}

/// The one mandate that is disclosed.
#[derive(Clone, Debug)]
pub(super) struct Delegated {
    pub identity: MandateId,
    pub delegate: Delegate,
}

impl Content {
    pub fn of(root: SdJwt<'_>) -> Result<Self, Rejection> {
        let named = Named::by(&root.jwt, 0);
        let (kid, x5c) = (named.kid, named.x5c.map(Json::to_value));
        let signed = root.jwt.signing_input();
        let resolved = root.into_resolved()?;
        let (delegation, holder) = match &resolved.delegates {
            None => (Delegation::None, chain::confirmation_key(resolved.claims())),
            Some(_) => {
                let one = chain::single_delegate(&resolved);
                let holder = one.clone().and_then(|(_, claims)| chain::confirmation_key(claims));
                let delegated = one.map(|(delegate, _)| Delegated::of(signed, &resolved, delegate));
                (Delegation::Of(delegated), holder)
            }
        };
        Ok(Self { kid, x5c, resolved: Arc::new(resolved), delegation, holder })
    }
}

impl Delegated {
    pub fn of(signed: &str, resolved: &Resolved, delegate: &Delegate) -> Self {
        Self { identity: MandateId::of(signed, resolved.digest(delegate)), delegate: *delegate }
    }
}

#[derive(Debug)]
pub(super) struct Remembered {
    pub content: Arc<Content>,
    /// Whose signature it is.
    pub signer: PublicKey,
    bytes: usize,
}

/// Roots that somebody verified, to be verified faster the next time.
#[derive(Debug, Default)]
pub struct RootMemory {
    roots: Mutex<Roots>,
}

#[derive(Debug, Default)]
struct Roots {
    by_digest: BTreeMap<[u8; 32], Arc<Remembered>>,
    oldest_first: VecDeque<[u8; 32]>,
    bytes: usize,
}

impl RootMemory {
    /// How many it holds.
    pub fn len(&self) -> usize {
        self.lock().by_digest.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// `segment` is the root as presented, without its final `~`.
    pub(super) fn find(&self, segment: &str) -> Option<Arc<Remembered>> {
        let digest = sha256(&[segment.as_bytes()]);
        self.lock().by_digest.get(&digest).cloned()
    }

    pub(super) fn keep(&self, segment: &str, signer: &PublicKey, content: &Arc<Content>) {
        if segment.len() > ROOTS_REMEMBERED_BYTES_MAX {
            return;
        }
        let digest = sha256(&[segment.as_bytes()]);
        let (signer, bytes) = (signer.clone(), segment.len());
        let remembered = Arc::new(Remembered { content: Arc::clone(content), signer, bytes });
        let mut roots = self.lock();
        if roots.by_digest.insert(digest, remembered).is_none() {
            roots.oldest_first.push_back(digest);
            roots.bytes = roots.bytes.saturating_add(bytes);
        }
        while roots.by_digest.len() > ROOTS_REMEMBERED_MAX || roots.bytes > ROOTS_REMEMBERED_BYTES_MAX {
            let Some(oldest) = roots.oldest_first.pop_front() else { return };
            let gone = roots.by_digest.remove(&oldest).map_or(0, |gone| gone.bytes);
            roots.bytes = roots.bytes.saturating_sub(gone);
        }
    }

    /// Every change is whole before the lock is given back, so a thread that panicked left nothing half done.
    fn lock(&self) -> MutexGuard<'_, Roots> {
        self.roots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
