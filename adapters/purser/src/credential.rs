//! How a client of ours says who it is: a token that it was given, or a key that it proves possession of.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use identity::dpop::{Request, With, prove};
use identity::token::sign;
use mandates::json::Object;
use mandates::keys::LocalKey;
use serde_json::{Value, json};

use crate::client::ClientError;

/// Asked anew when less than this is left of a token's life.
const RENEW_SECONDS: i64 = 30;
const ASSERTION_SECONDS: i64 = 60;

static COUNT: AtomicU64 = AtomicU64::new(0);

pub enum Credential {
    Bearer(String),
    Key(Box<KeyCredential>),
}

/// A registered client with its key: gets tokens bound to it, and proves each call (RFC 7523, RFC 9449).
pub struct KeyCredential {
    client_id: String,
    key: LocalKey,
    token: Mutex<Option<Granted>>,
}

#[derive(Clone)]
struct Granted {
    token: String,
    expires_at: i64,
}

fn now() -> i64 {
    store::wall_clock()().seconds()
}

/// New each time, in this process and beside others.
fn new_id() -> String {
    format!("{:x}-{:x}-{}", store::wall_clock()().0, std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed))
}

impl Credential {
    pub fn bearer(token: &str) -> Self {
        Self::Bearer(token.to_owned())
    }

    pub fn key(client_id: &str, jwk: &Object) -> Result<Self, String> {
        let key = LocalKey::from_jwk(jwk).map_err(|_| "the key is no private P-256 JWK".to_owned())?;
        Ok(Self::Key(Box::new(KeyCredential { client_id: client_id.to_owned(), key, token: Mutex::new(None) })))
    }

    /// A token that is bound to this key already; it is not renewed.
    pub fn bound(token: String, key: LocalKey) -> Self {
        let token = Mutex::new(Some(Granted { token, expires_at: i64::MAX }));
        Self::Key(Box::new(KeyCredential { client_id: String::new(), key, token }))
    }

    /// The service ended the token that is held: the next call gets another, where one can be got.
    pub fn forget(&self) {
        if let Self::Key(key) = self
            && !key.client_id.is_empty()
        {
            *key.token.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = None;
        }
    }

    /// The headers that say who calls `address`.
    pub async fn headers(
        &self,
        http: &reqwest::Client,
        base: &str,
        method: &str,
        address: &str,
    ) -> Result<Vec<(&'static str, String)>, ClientError> {
        match self {
            Self::Bearer(token) => Ok(vec![("authorization", format!("Bearer {token}"))]),
            Self::Key(key) => {
                let token = key.token(http, base).await?;
                let request = Request { method, address, now: now() };
                let proof = prove(&key.key, request, With::Token(&token), &new_id());
                let proof = proof.ok_or_else(|| unsigned(address))?;
                Ok(vec![("authorization", format!("DPoP {token}")), ("dpop", proof)])
            }
        }
    }
}

fn unsigned(url: &str) -> ClientError {
    ClientError::Unreachable { url: url.to_owned(), why: "the request could not be signed".into() }
}

impl KeyCredential {
    async fn token(&self, http: &reqwest::Client, base: &str) -> Result<String, ClientError> {
        let held = self.token.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone();
        if let Some(granted) = held.filter(|granted| granted.expires_at.saturating_sub(RENEW_SECONDS) > now()) {
            return Ok(granted.token);
        }
        let granted = self.ask(http, base).await?;
        let token = granted.token.clone();
        *self.token.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(granted);
        Ok(token)
    }

    /// `POST /oauth/token`.
    async fn ask(&self, http: &reqwest::Client, base: &str) -> Result<Granted, ClientError> {
        let url = format!("{base}/oauth/token");
        let header = json!({ "alg": "ES256", "typ": "JWT" });
        let claims = json!({
            "iss": self.client_id, "sub": self.client_id, "aud": url, "iat": now(), "exp": now() + ASSERTION_SECONDS,
            "jti": new_id(),
        });
        let assertion = sign(&self.key, &header, &claims).ok_or_else(|| unsigned(&url))?;
        let request = Request { method: "POST", address: &url, now: now() };
        let proof = prove(&self.key, request, With::NoToken, &new_id()).ok_or_else(|| unsigned(&url))?;
        // All of it is letters, digits, dots, dashes and underscores but the type, whose colons a form must escape.
        let form = format!(
            "grant_type=client_credentials&client_assertion={assertion}&client_assertion_type=\
             urn%3Aietf%3Aparams%3Aoauth%3Aclient-assertion-type%3Ajwt-bearer"
        );
        let unreachable =
            |error: reqwest::Error| ClientError::Unreachable { url: url.clone(), why: error.without_url().to_string() };
        let request = http.post(&url).header("content-type", "application/x-www-form-urlencoded").header("dpop", proof);
        let response = request.body(form).send().await.map_err(unreachable)?;
        let status = response.status().as_u16();
        let answer: Value = response.json().await.map_err(unreachable)?;
        let text = |name: &str| answer.get(name).and_then(Value::as_str).map(str::to_owned);
        match (text("access_token"), answer.get("expires_in").and_then(Value::as_i64)) {
            (Some(token), Some(seconds)) if status == 200 => Ok(Granted { token, expires_at: now() + seconds }),
            _ => {
                let (code, detail) = (text("error"), text("error_description").unwrap_or_default());
                Err(ClientError::Refused { url: url.clone(), status, code, detail })
            }
        }
    }
}
