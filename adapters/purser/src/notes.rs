//! The signature under the head of a journal, for the console. With the key that was active when the service began.

use std::collections::HashMap;

use engine::ports::{Checkpoints, SignError};
use ledger::checkpoint::{Checkpoint, VerifierKey};
use ledger::id::{Digest, TenantId};
use zeroize::Zeroizing;

use crate::assembly::{AssemblyError, issuer};
use crate::config::Config;
use crate::keys::ring::{ed25519_public, ed25519_sign};
use crate::keys::{Purpose, Ring, Slot};

pub struct Notes(HashMap<TenantId, (Zeroizing<[u8; 32]>, VerifierKey)>);

impl Notes {
    pub fn new(config: &Config, ring: &Ring) -> Result<Self, AssemblyError> {
        let mut notes = HashMap::new();
        for tenant in &config.tenants {
            let wrong = |why: String| AssemblyError::Tenant { tenant: tenant.id.clone(), why };
            let id = tenant.id.parse().map_err(|_| wrong(format!("`{}` is no tenant", tenant.id)))?;
            let url = issuer(config, &tenant.id);
            // A log is named by a URL without its scheme.
            let name = url.split_once("://").map_or(url.as_str(), |(_, rest)| rest);
            let secret = Zeroizing::new(ring.secret(&Slot::new(&tenant.id, Purpose::Journal))?);
            let public = ed25519_public(&secret).ok_or_else(|| wrong("the journal's key is none".into()))?;
            notes.insert(id, (secret, VerifierKey { name: name.to_owned(), public }));
        }
        Ok(Self(notes))
    }
}

impl Checkpoints for Notes {
    fn sign(&self, tenant: &TenantId, size: u64, root: Digest) -> Result<(String, VerifierKey), SignError> {
        let no_key = || SignError::NoKey(format!("journal of {tenant}"));
        let (secret, key) = self.0.get(tenant).ok_or_else(no_key)?;
        let checkpoint = Checkpoint { origin: key.name.clone(), size, root };
        let signature = ed25519_sign(secret, checkpoint.text().as_bytes()).ok_or_else(no_key)?;
        Ok((checkpoint.signed(key, &signature), key.clone()))
    }
}
