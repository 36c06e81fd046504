//! Names of things. Each is a type of its own, so that a spend can never be looked up as a budget.

use std::fmt;
use std::str::FromStr;

use hmac::{Hmac, Mac};
use sha2::{Digest as _, Sha256};

use crate::codec::{Canon, DecodeError, Reader, canon_names, canon_struct, write_bytes};
use crate::money::AssetId;
use crate::origin::{Build, Issuer};

/// Longest tenant, principal, payee or key text.
pub const TEXT_BYTES_MAX: usize = 255;

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseIdError {
    #[error("{what} is 64 lower-case hexadecimal digits; this has {found} characters or another character")]
    Hex { what: &'static str, found: usize },
    #[error("{what} has 1 to {TEXT_BYTES_MAX} printable ASCII characters; this has {found}, or another character")]
    Text { what: &'static str, found: usize },
    #[error("a build is `sha256:` and 64 lower-case hexadecimal digits; this has {found} characters, or others")]
    Build { found: usize },
    #[error(
        "an issuer is an http or https URL in lower case, without user, query, fragment, default port or slash at its \
         end, of at most {TEXT_BYTES_MAX} characters; this has {found}, or another spelling"
    )]
    Issuer { found: usize },
}

macro_rules! digest_id {
    ($(#[$doc:meta])* $name:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub [u8; 32]);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&hex::encode(self.0))
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({})", stringify!($name), hex::encode(self.0))
            }
        }
        impl FromStr for $name {
            type Err = ParseIdError;
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                let bad = || ParseIdError::Hex { what: $what, found: text.chars().count() };
                if text.bytes().any(|byte| byte.is_ascii_uppercase()) {
                    return Err(bad());
                }
                let bytes = hex::decode(text).map_err(|_| bad())?;
                bytes.try_into().map(Self).map_err(|_| bad())
            }
        }
        impl Canon for $name {
            fn write(&self, out: &mut Vec<u8>) {
                self.0.write(out);
            }
            fn read(input: &mut Reader<'_>) -> Result<Self, DecodeError> {
                Canon::read(input).map(Self)
            }
        }
        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }
        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                <String as serde::Deserialize>::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(String);

        impl $name {
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
        impl FromStr for $name {
            type Err = ParseIdError;
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                let printable = text.bytes().all(|byte| (0x21..=0x7e).contains(&byte));
                if text.is_empty() || text.len() > TEXT_BYTES_MAX || !printable {
                    return Err(ParseIdError::Text { what: $what, found: text.chars().count() });
                }
                Ok(Self(text.to_owned()))
            }
        }
        impl Canon for $name {
            fn write(&self, out: &mut Vec<u8>) {
                self.0.write(out);
            }
            fn read(input: &mut Reader<'_>) -> Result<Self, DecodeError> {
                let text = String::read(input)?;
                text.parse().map_err(|_| DecodeError::Value { what: $what, found: text })
            }
        }
        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }
        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                <String as serde::Deserialize>::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

digest_id!(
    /// A purchase. Derived, not drawn: see [`SpendId::derive`].
    SpendId,
    "a spend id"
);
digest_id!(
    /// A node of the budget tree. For a mandate it is the mandate's identity.
    BudgetId,
    "a budget id"
);
digest_id!(
    /// SHA-256 of something kept elsewhere: the ledger links to it and does not know what it is.
    Digest,
    "a digest"
);
digest_id!(
    /// One question to a human, and the answer.
    DecisionId,
    "a decision id"
);
text_id!(
    /// A legal entity: one book, one lane, one journal.
    TenantId,
    "a tenant"
);
text_id!(
    /// A user, agent, merchant, operator, or a part of the service itself.
    PrincipalId,
    "a principal"
);
text_id!(
    /// The registry's name for who gets paid.
    PayeeId,
    "a payee"
);
text_id!(
    /// What the caller sent as `Idempotency-Key`.
    IdempotencyKey,
    "an idempotency key"
);
text_id!(
    /// A transaction hash as the rail writes it, or a processor's reference.
    RailReference,
    "a rail reference"
);

/// Microseconds since 1970, UTC. Only ever rises within a tenant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Micros(pub i64);

impl Micros {
    pub const fn from_seconds(seconds: i64) -> Self {
        Self(seconds.saturating_mul(1_000_000))
    }

    /// Whole seconds, rounded down.
    pub const fn seconds(self) -> i64 {
        self.0.div_euclid(1_000_000)
    }

    pub const fn plus_micros(self, micros: i64) -> Self {
        Self(self.0.saturating_add(micros))
    }
}

impl Canon for Micros {
    fn write(&self, out: &mut Vec<u8>) {
        self.0.write(out);
    }
    fn read(input: &mut Reader<'_>) -> Result<Self, DecodeError> {
        i64::read(input).map(Self)
    }
}

canon_names!(
    /// What a caller is. Only a `User` decides; only an `Agent` (or its user) spends.
    CallerKind { User = 1 "user", Agent = 2 "agent", Merchant = 3 "merchant", Operator = 4 "operator", Service = 5 "service" }
);

canon_names!(
    /// How a caller proved who it is.
    AuthMethod {
        /// A process of Purser itself: the reconciler, recovery, the paywall of a configured route.
        Internal = 1 "internal",
        /// A short-lived signed token without proof of possession.
        Bearer = 2 "bearer",
        /// A token bound to a key, and a fresh proof of possession by it (RFC 9449).
        Dpop = 3 "dpop",
        /// A passkey (WebAuthn): it signed this very decision, or began the session that the call came in.
        Passkey = 4 "passkey",
    }
);

/// Who asked. Stands in every journal record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    pub principal: PrincipalId,
    pub kind: CallerKind,
    pub method: AuthMethod,
    /// The outside issuer whose token it came with; `None` where it came with one of ours, or is a part of the service.
    pub issuer: Option<Issuer>,
    /// The software of an agent, as it was registered when it called.
    pub build: Option<Build>,
}
canon_struct!(Caller { principal, kind, method, issuer, build });

impl Caller {
    /// One that nobody outside vouches for, of no registered build.
    pub const fn new(principal: PrincipalId, kind: CallerKind, method: AuthMethod) -> Self {
        Self { principal, kind, method, issuer: None, build: None }
    }
}

impl Digest {
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// SHA-256 over parts that cannot run into each other: a tag, then each part with its length.
    pub fn of_parts(tag: &str, parts: &[&[u8]]) -> Self {
        let mut bytes = Vec::new();
        write_bytes(tag.as_bytes(), &mut bytes);
        for part in parts {
            write_bytes(part, &mut bytes);
        }
        Self::of(&bytes)
    }
}

/// A tenant's secret for deriving purchase identities.
#[derive(Clone)]
pub struct TenantSecret([u8; 32]);

impl TenantSecret {
    pub const fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Marks bytes as this tenant's own, for one use of them.
    pub fn seal(&self, tag: &str, bytes: &[u8]) -> Digest {
        let mut sealed = Vec::new();
        write_bytes(tag.as_bytes(), &mut sealed);
        write_bytes(bytes, &mut sealed);
        Digest(self.mac(&sealed))
    }

    pub(crate) fn mac(&self, bytes: &[u8]) -> [u8; 32] {
        // HMAC takes a key of any length, so this cannot fail; an all-zero tag would still collide with nothing stored.
        Hmac::<Sha256>::new_from_slice(&self.0)
            .map(|mut mac| {
                mac.update(bytes);
                mac.finalize().into_bytes().into()
            })
            .unwrap_or([0; 32])
    }
}

impl fmt::Debug for TenantSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TenantSecret(..)")
    }
}

impl SpendId {
    /// The same principal, operation and key name the same purchase, after a crash and from a restored backup alike;
    /// so the payment's nonce is the same too, and the chain itself refuses a second one.
    pub fn derive(secret: &TenantSecret, principal: &PrincipalId, operation: &str, key: &IdempotencyKey) -> Self {
        let mut bytes = Vec::new();
        write_bytes(b"purser/spend-id/1", &mut bytes);
        write_bytes(principal.as_str().as_bytes(), &mut bytes);
        write_bytes(operation.as_bytes(), &mut bytes);
        write_bytes(key.as_str().as_bytes(), &mut bytes);
        Self(secret.mac(&bytes))
    }
}

impl BudgetId {
    /// The root of a tenant's tree in one currency.
    pub fn of_tenant(tenant: &TenantId, asset: &AssetId) -> Self {
        let digest =
            Digest::of_parts("purser/budget/tenant/1", &[tenant.as_str().as_bytes(), asset.as_str().as_bytes()]);
        Self(digest.0)
    }

    /// A person's node under the tenant's.
    pub fn of_person(tenant: &TenantId, person: &PrincipalId, asset: &AssetId) -> Self {
        let digest = Digest::of_parts(
            "purser/budget/person/1",
            &[tenant.as_str().as_bytes(), person.as_str().as_bytes(), asset.as_str().as_bytes()],
        );
        Self(digest.0)
    }
}
