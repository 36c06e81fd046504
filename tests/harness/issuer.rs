//! An outside issuer of tokens.

use std::sync::{Arc, Mutex};

use identity::token::sign;
use mandates::keys::LocalKey;
use serde_json::{Value, json};

use super::shop::new_key;

/// An authorization server of somebody else: metadata, keys, tokens.
pub struct Issuer {
    pub url: String,
    pub keys: Arc<Mutex<Value>>,
    pub key: LocalKey,
}

impl Issuer {
    pub async fn start(listener: tokio::net::TcpListener) -> Self {
        use axum::routing::get;
        let url = format!("http://{}", listener.local_addr().unwrap());
        let metadata = json!({ "issuer": url, "jwks_uri": format!("{url}/keys") });
        let keys = Arc::new(Mutex::new(json!({ "keys": [] })));
        let served = keys.clone();
        let router = axum::Router::new()
            .route("/.well-known/oauth-authorization-server", get(move || async move { axum::Json(metadata) }))
            .route("/keys", get(move || async move { axum::Json(served.lock().unwrap().clone()) }));
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        let mut issuer = Self { url, keys, key: LocalKey::from_random(&[1; 32]).unwrap() };
        issuer.rotate(1);
        issuer
    }

    pub fn rotate(&mut self, seed: u8) {
        let name = mandates::keys::KeyId::new(format!("k{seed}"));
        self.key = LocalKey::from_random(&[seed; 32]).unwrap().named(name);
        *self.keys.lock().unwrap() = json!({ "keys": [self.key.public().to_jwk()] });
    }

    pub fn token(&self, audience: &str, subject: &str, bound_to: Option<&LocalKey>) -> String {
        self.delegated(audience, subject, Value::Null, bound_to)
    }

    /// A token of somebody who acts for the subject (RFC 8693 section 4.1).
    pub fn delegated(&self, audience: &str, subject: &str, act: Value, bound_to: Option<&LocalKey>) -> String {
        let header = json!({ "alg": "ES256", "typ": "at+jwt", "kid": self.key.key_id().as_str() });
        let now = store::wall_clock()().seconds();
        let mut claims = json!({
            "iss": self.url, "aud": audience, "sub": subject, "iat": now, "exp": now + 300, "jti": new_key(), "client_id": "x",
        });
        if !act.is_null() {
            claims["act"] = act;
        }
        if let Some(key) = bound_to {
            claims["cnf"] = json!({ "jkt": key.public().thumbprint() });
        }
        sign(&self.key, &header, &claims).unwrap()
    }
}
