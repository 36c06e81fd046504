//! What both sides can do: the intersection of two profiles (UCP 2026-04-08, `overview.md`, "Intersection Algorithm").

use std::collections::BTreeSet;

use mandates::json::Object;
use mandates::keys::{KeySet, PublicKey};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{AP2, CAPABILITIES, CHECKOUT, VERSION};

/// What a session was opened with, for ever: nobody goes back from a checkout that is signed to one that is not.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Active(BTreeSet<String>);

impl Active {
    pub fn has(&self, capability: &str) -> bool {
        self.0.contains(capability)
    }

    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }

    pub fn of(names: impl IntoIterator<Item = &'static str>) -> Self {
        Self(names.into_iter().map(str::to_owned).collect())
    }
}

/// Why a platform cannot buy here.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unable {
    #[error("the profile cannot be read: {0}")]
    Malformed(String),
    #[error("protocol version {VERSION} was expected, {0} came")]
    Version(String),
    #[error("{CHECKOUT} in version {VERSION} was expected among the platform's capabilities, it has {0}")]
    Capabilities(String),
    #[error("a platform that negotiates AP2 mandates publishes a key in signing_keys; {0}")]
    NoKey(String),
}

impl Unable {
    /// The code, and the HTTP status that the protocol gives it.
    pub const fn code(&self) -> (&'static str, u16) {
        match self {
            Self::Malformed(_) => ("profile_malformed", 422),
            Self::Version(_) => ("version_unsupported", 422),
            // The outcome of a negotiation, not an error of the transport.
            Self::Capabilities(_) => ("capabilities_incompatible", 200),
            Self::NoKey(_) => ("agent_missing_key", 200),
        }
    }
}

/// The capabilities of a platform's profile that this shop has in the same version.
pub fn negotiate(profile: &Object) -> Result<Active, Unable> {
    let malformed = |why: &str| Unable::Malformed(why.to_owned());
    let ucp = profile.get("ucp").and_then(Value::as_object).ok_or_else(|| malformed("ucp is an object"))?;
    let version = ucp.get("version").and_then(Value::as_str).ok_or_else(|| malformed("ucp.version is a date"))?;
    if version != VERSION {
        return Err(Unable::Version(version.chars().take(40).collect()));
    }
    let theirs = ucp.get("capabilities").and_then(Value::as_object);
    let theirs = theirs.ok_or_else(|| malformed("ucp.capabilities is an object of lists"))?;
    let has = |name: &str| {
        let declared = theirs.get(name).and_then(Value::as_array).into_iter().flatten();
        declared.filter_map(|one| one.get("version")).any(|version| version == VERSION)
    };
    let mut active: BTreeSet<String> =
        CAPABILITIES.iter().map(|(name, ..)| *name).filter(|name| has(name)).map(str::to_owned).collect();
    // What extends something that is not there is not there.
    while let Some((orphan, ..)) = CAPABILITIES
        .iter()
        .find(|(name, extends, ..)| active.contains(*name) && extends.is_some_and(|parent| !active.contains(parent)))
    {
        active.remove(*orphan);
    }
    if !active.contains(CHECKOUT) {
        let names: Vec<&str> = theirs.keys().take(10).map(String::as_str).collect();
        return Err(Unable::Capabilities(names.join(", ")));
    }
    if active.contains(AP2) {
        keys(profile)?;
    }
    Ok(Active(active))
}

/// The P-256 keys of a profile, under either name that releases have given the list. Others are passed over.
pub fn keys(profile: &Object) -> Result<KeySet, Unable> {
    let lists = ["signing_keys", "keys"].into_iter().filter_map(|name| profile.get(name)).filter_map(Value::as_array);
    let keys = lists.flatten().filter_map(Value::as_object).filter_map(|jwk| PublicKey::from_jwk(jwk).ok());
    let mut found: Vec<PublicKey> = Vec::new();
    for key in keys {
        if !found.contains(&key) {
            found.push(key);
        }
    }
    if found.is_empty() {
        return Err(Unable::NoKey("there is no P-256 key".to_owned()));
    }
    KeySet::new(found).map_err(|refused| Unable::NoKey(refused.to_string()))
}

#[cfg(test)]
mod tests {
    use super::super::{DISCOUNT, FULFILMENT};
    use super::*;
    use serde_json::json;

    fn profile(capabilities: Value) -> Object {
        let key = json!({ "kty": "EC", "crv": "P-256", "kid": "k",
            "x": "MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4", "y": "4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM" });
        let profile = json!({ "ucp": { "version": VERSION, "capabilities": capabilities }, "signing_keys": [key] });
        profile.as_object().cloned().unwrap()
    }

    fn of(names: &[&str]) -> Value {
        names.iter().map(|name| ((*name).to_owned(), json!([{ "version": VERSION }]))).collect::<Object>().into()
    }

    #[test]
    fn who_cannot_buy_here_is_told_why() {
        let without = |member: &str| {
            let mut profile = profile(of(&[CHECKOUT, AP2]));
            profile.remove(member);
            profile
        };
        let old = json!({ CHECKOUT: [{ "version": "2026-01-11" }] });
        for (profile, code) in [
            (without("ucp"), "profile_malformed"),
            (json!({ "ucp": [] }).as_object().cloned().unwrap(), "profile_malformed"),
            (json!({ "ucp": { "version": 1 } }).as_object().cloned().unwrap(), "profile_malformed"),
            (json!({ "ucp": { "version": VERSION } }).as_object().cloned().unwrap(), "profile_malformed"),
            (json!({ "ucp": { "version": "2099-01-01" } }).as_object().cloned().unwrap(), "version_unsupported"),
            (profile(json!({})), "capabilities_incompatible"),
            (profile(of(&[AP2, FULFILMENT])), "capabilities_incompatible"),
            (profile(old), "capabilities_incompatible"),
            (profile(json!({ CHECKOUT: { "version": VERSION } })), "capabilities_incompatible"),
            (without("signing_keys"), "agent_missing_key"),
        ] {
            let unable = negotiate(&profile).unwrap_err();
            assert_eq!(unable.code().0, code, "{unable}");
        }
        let mut rsa = profile(of(&[CHECKOUT, AP2]));
        rsa.insert("signing_keys".into(), json!([{ "kty": "RSA", "kid": "r", "n": "AQAB", "e": "AQAB" }]));
        assert_eq!(negotiate(&rsa).unwrap_err().code().0, "agent_missing_key");
    }

    #[test]
    fn the_same_in_both_is_active_and_nothing_else() {
        let names = |active: Active| active.names().map(str::to_owned).collect::<Vec<_>>();
        let both = negotiate(&profile(of(&[CHECKOUT, DISCOUNT, "com.example.loyalty"]))).unwrap();
        assert_eq!(names(both), [CHECKOUT, DISCOUNT]);
        assert!(negotiate(&profile(of(&[CHECKOUT, AP2]))).unwrap().has(AP2));
        let two = json!({ CHECKOUT: [{ "version": "2026-01-11" }, { "version": VERSION }] });
        assert_eq!(names(negotiate(&profile(two)).unwrap()), [CHECKOUT]);
    }
}
