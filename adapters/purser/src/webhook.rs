//! What happened, told to those who want to know: the outbox (`GET /v1/events`), pushed.
//!
//! Signed as Standard Webhooks 1.0.0 has it (`webhook-id`, `webhook-timestamp`, `webhook-signature`), so that its libraries
//! verify it in any language; the body is the event as CloudEvents 1.0. Each receiver is told one event after the other, in
//! the order of the journal, until it answers 2xx: at least once, so it looks at `webhook-id` before it does anything twice.
//! While it answers nothing good the later ones wait, and nothing is lost: the events are the journal's.
//!
//! The same for what becomes of the orders of a shop, as ACP has it: `order_create` and `order_update` with the whole order,
//! signed in `Merchant-Signature`, to the platform of those who bought.

mod command;
mod deliver;

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use commerce::ucp::write::moment;
use ledger::event::Event;
use ledger::id::TenantId;
use ledger::store::Store as _;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use store::SqlStore;
use zeroize::Zeroizing;

pub use command::{listen, operate, trigger};
pub(crate) use deliver::deliver;

use crate::acquirer::signature::sign;
use crate::config::{Config, WebhookConfig};
use crate::keys::{Purpose, Ring, Slot};

/// The first pause after an attempt that failed; each later one is four times as long.
const PAUSE_MIN: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_secs(6 * 3_600);
/// What a secret begins with (Standard Webhooks 1.0.0, "Secrets serialization").
const SECRET_PREFIX: &str = "whsec_";

/// Signs for one receiver, with the active secret first and those that are not revoked yet behind it.
#[derive(Clone)]
pub(crate) struct Secrets(Vec<Zeroizing<[u8; 32]>>);

impl Secrets {
    fn of(ring: &Ring, tenant: &str, name: &str) -> Result<Self, String> {
        let slot = Slot::new(tenant, Purpose::Webhook(name.to_owned()));
        let active = ring.active(&slot).map_err(|error| error.to_string())?;
        let keys = std::iter::once(active).chain(ring.retired(&slot));
        Ok(Self(keys.map(|key| Zeroizing::new(*key.secret())).collect()))
    }

    pub(crate) fn one(secret: [u8; 32]) -> Self {
        Self(vec![Zeroizing::new(secret)])
    }

    fn read(text: &str) -> Result<Self, String> {
        let wrong = || format!("a secret is `{SECRET_PREFIX}` and 32 bytes in base64");
        let bytes = STANDARD.decode(text.trim().strip_prefix(SECRET_PREFIX).ok_or_else(wrong)?).map_err(|_| wrong())?;
        Ok(Self::one(bytes.try_into().map_err(|_| wrong())?))
    }

    fn texts(&self) -> impl Iterator<Item = Zeroizing<String>> {
        self.0.iter().map(|secret| Zeroizing::new(format!("{SECRET_PREFIX}{}", STANDARD.encode(**secret))))
    }

    /// The three headers of a message: what is signed is `id.timestamp.body`.
    pub(crate) fn headers(&self, id: &str, at_seconds: i64, body: &[u8]) -> Result<HeaderMap, String> {
        let sign = |secret: &Zeroizing<[u8; 32]>| {
            let mut mac = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, &**secret));
            mac.update(format!("{id}.{at_seconds}.").as_bytes());
            mac.update(body);
            format!("v1,{}", STANDARD.encode(mac.sign()))
        };
        let signatures: Vec<String> = self.0.iter().map(sign).collect();
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("webhook-id", id.to_owned()),
            ("webhook-timestamp", at_seconds.to_string()),
            ("webhook-signature", signatures.join(" ")),
            ("content-type", "application/cloudevents+json".to_owned()),
        ] {
            let value = HeaderValue::from_str(&value).map_err(|_| format!("{name} cannot be sent"))?;
            headers.insert(HeaderName::from_static(name), value);
        }
        Ok(headers)
    }

    /// Of an order event (ACP 2026-04-17, webhooks): `Merchant-Signature: t=SECONDS,v1=HEX`, an HMAC-SHA-256 over
    /// `SECONDS.BODY` under the secret as the receiver has it. It has room for one signature: the active secret's.
    fn merchant_headers(&self, id: &str, at_seconds: i64, body: &[u8]) -> Result<HeaderMap, String> {
        let secret = self.texts().next().ok_or("the receiver has no secret")?;
        let signature = sign(&secret, at_seconds, body).ok_or("the secret is no key")?;
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("merchant-signature", signature),
            ("timestamp", moment(at_seconds)),
            ("request-id", id.to_owned()),
            ("content-type", "application/json".to_owned()),
        ] {
            let value = HeaderValue::from_str(&value).map_err(|_| format!("{name} cannot be sent"))?;
            headers.insert(HeaderName::from_static(name), value);
        }
        Ok(headers)
    }
}

/// The name of a message: the same whenever it is told again, and no other's.
fn message_id(tenant: &TenantId, event: &Event) -> String {
    format!("{tenant}-{}-{}", event.seq, event.number)
}

/// The place behind everything that happened of what a receiver is told.
async fn size(store: &SqlStore, tenant: &TenantId, webhook: &WebhookConfig) -> Result<u64, String> {
    let size = match webhook.tells_orders() {
        true => store.last_order(tenant).await.map(|last| last.saturating_add(1)),
        false => store.head(tenant).await.map(|(size, _)| size),
    };
    size.map_err(|error| error.to_string())
}

/// How long a receiver is left alone after so many attempts in a row that failed.
fn pause(failures: u32) -> Duration {
    let factor = 4_u32.checked_pow(failures.saturating_sub(1));
    factor.and_then(|factor| PAUSE_MIN.checked_mul(factor)).map_or(PAUSE_MAX, |pause| pause.min(PAUSE_MAX))
}

/// A receiver as the running service knows it.
#[derive(Clone)]
pub(crate) struct Webhook {
    tenant: TenantId,
    config: WebhookConfig,
    secrets: Secrets,
}

/// Every receiver of the configuration; replaced when that is read again.
#[derive(Clone, Default)]
pub(crate) struct Webhooks(Arc<RwLock<Vec<Webhook>>>);

impl Webhooks {
    pub(crate) fn new(config: &Config, ring: &Ring) -> Result<Self, String> {
        let webhooks = Self::default();
        webhooks.replace(config, ring)?;
        Ok(webhooks)
    }

    pub(crate) fn replace(&self, config: &Config, ring: &Ring) -> Result<(), String> {
        config.check_webhooks().map_err(|error| error.to_string())?;
        let mut found = Vec::new();
        for tenant in &config.tenants {
            let id: TenantId = tenant.id.parse().map_err(|_| format!("`{}` is no tenant", tenant.id))?;
            for webhook in &tenant.webhooks {
                let secrets = Secrets::of(ring, &tenant.id, &webhook.name)?;
                found.push(Webhook { tenant: id.clone(), config: webhook.clone(), secrets });
            }
        }
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = found;
        Ok(())
    }

    fn all(&self) -> Vec<Webhook> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the specification's reference libraries: secret, id, time and body give this signature.
    #[test]
    fn a_message_is_signed_as_the_reference_libraries_sign_it() {
        let secret = STANDARD.decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let key = hmac::Key::new(hmac::HMAC_SHA256, &secret);
        let signed = hmac::sign(&key, b"msg_p5jXN8AQM9LWM0D4loKWxJek.1614265330.{\"test\": 2432232314}");
        assert_eq!(STANDARD.encode(signed), "g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn each_secret_that_is_not_revoked_signs_and_the_active_one_first() {
        let both = Secrets(vec![Zeroizing::new([1; 32]), Zeroizing::new([2; 32])]);
        let signature = |secrets: &Secrets, id: &str, at: i64, body: &[u8]| {
            secrets.headers(id, at, body).unwrap()["webhook-signature"].to_str().unwrap().to_owned()
        };
        let said = signature(&both, "main-1-0", 1, b"{}");
        let [first, second] = said.split(' ').collect::<Vec<_>>().try_into().unwrap();
        assert_eq!(first, signature(&Secrets::one([1; 32]), "main-1-0", 1, b"{}"));
        assert_eq!(second, signature(&Secrets::one([2; 32]), "main-1-0", 1, b"{}"));
        for (id, at, body) in [
            ("main-1-1", 1, b"{}".as_slice()),
            ("main-1-0", 2, b"{}"),
            ("main-1-0", 1, b"{ }"),
            ("main-1-0.1", 1, b"{}"),
        ] {
            assert_ne!(first, signature(&Secrets::one([1; 32]), id, at, body));
        }
        assert!(both.headers("a\nb", 1, b"{}").is_err());
    }

    /// Computed apart: `printf '1764489600.{"type":"order_create"}' | openssl dgst -sha256 -hmac whsec_AQEB…`.
    #[test]
    fn an_order_is_signed_as_its_receiver_verifies_it() {
        let (secrets, body) = (Secrets::one([1; 32]), br#"{"type":"order_create"}"#);
        let text = secrets.texts().next().unwrap();
        let signature = |at: i64, body: &[u8]| {
            secrets.merchant_headers("shop-order-1", at, body).unwrap()["merchant-signature"]
                .to_str()
                .unwrap()
                .to_owned()
        };
        let said = signature(1_764_489_600, body);
        assert_eq!(said, "t=1764489600,v1=89cddf564859f6439c110725c7dec714be07775df9408ed85612bbf80ec036b9");
        let is_good =
            |secret: &str, said: &str, body: &[u8], now| crate::acquirer::signature::is_good(secret, said, body, now);
        assert!(is_good(&text, &said, body, 1_764_489_900));
        for (secret, said, body, now) in [
            (text.as_str(), said.as_str(), body.as_slice(), 1_764_489_901),
            (&text, &said, b"{}", 1_764_489_600),
            (&text, &signature(1_764_489_601, body), b"{}", 1_764_489_600),
            ("whsec_", &said, body, 1_764_489_600),
            (&text[6..], &said, body, 1_764_489_600),
        ] {
            assert!(!is_good(secret, said, body, now), "{said} {now}");
        }
    }

    #[test]
    fn a_secret_is_read_as_it_is_written() {
        let text = Secrets::one([7; 32]).texts().next().unwrap();
        assert_eq!(*Secrets::read(&text).unwrap().0[0], [7; 32]);
        for wrong in ["", "whsec_", "whsec_AAAA", "BwcH", &text[6..], "whsec_!"] {
            let said = Secrets::read(wrong).err().unwrap();
            assert!(said.contains("whsec_") && (wrong.len() < 8 || !said.contains(wrong)), "{said}");
        }
    }

    #[test]
    fn pauses_grow_to_six_hours_and_no_further() {
        let seconds = [1, 2, 3, 4, 8, 9, 40, u32::MAX].map(|failures| pause(failures).as_secs());
        assert_eq!(seconds, [1, 4, 16, 64, 16_384, 21_600, 21_600, 21_600]);
    }
}
