//! A service that takes credentials of users, and a wallet that has one.

use mandates::base64url;
use mandates::digest::HashAlgorithm;
use mandates::json::{self, Object};
use mandates::keys::{KeyId, LocalKey};
use purser::client::ClientError;
use purser::config::{Config, TenantConfig, UserCredentialsConfig};
use purser::world::HOME;
use reqwest::Method;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::harness::shop::{Shop, intent};
use crate::harness::text;

pub const BANK: &str = "https://bank.example";
pub const TYPE: &str = "com.emvco.dpc";
pub const PROTOCOL: &str = "openid4vp-v1-unsigned";

pub fn key(name: &str, seed: u8) -> LocalKey {
    LocalKey::from_random(&[seed; 32]).unwrap().named(KeyId::new(name))
}

/// The bank that issues credentials.
pub fn bank() -> LocalKey {
    key("bank", 1)
}

/// The key of the person's wallet.
pub fn holder() -> LocalKey {
    key("wallet", 2)
}

pub fn now() -> i64 {
    store::wall_clock()().seconds()
}

pub struct Stage {
    pub shop: Shop,
    pub folder: TempDir,
}

fn home(config: &mut Config) -> &mut TenantConfig {
    config.tenants.iter_mut().find(|tenant| tenant.id == HOME).unwrap()
}

pub fn trust_of(issuer: &LocalKey, members: &str) -> String {
    let jwks = json!({ "keys": [issuer.public().to_jwk()] }).to_string();
    let jwks: Vec<String> = ["kty", "crv", "x", "y", "kid"]
        .iter()
        .map(|name| {
            let jwks: Value = serde_json::from_str(&jwks).unwrap();
            format!("{name} = {}", jwks["keys"][0][*name])
        })
        .collect();
    format!("[[roots]]\nname = \"bank\"\n{members}\njwks = {{ keys = [{{ {} }}] }}\n", jwks.join(", "))
}

pub fn trusted() -> String {
    trust_of(&bank(), &format!("for = [\"payment.open\", \"checkout.open\"]\niss = [\"{BANK}\"]"))
}

impl Stage {
    pub async fn open() -> Self {
        let mut stage = Self { shop: Shop::open().await, folder: tempfile::tempdir().unwrap() };
        stage.trust(&trusted());
        stage.takes(true);
        stage
    }

    pub fn trust(&mut self, text: &str) {
        let path = self.folder.path().join("trust.toml");
        std::fs::write(&path, text).unwrap();
        self.shop.service.change(|config| home(config).trust = Some(path)).unwrap();
    }

    pub fn takes(&mut self, takes: bool) {
        let asked = UserCredentialsConfig {
            id: "dpc".into(),
            vct_values: vec![TYPE.into()],
            claims: vec![vec!["card_last_four".into()]],
        };
        self.configure(|tenant| tenant.user_credentials = takes.then_some(asked)).unwrap();
    }

    pub fn configure(&mut self, change: impl FnOnce(&mut TenantConfig)) -> Result<(), String> {
        self.shop.service.change(|config| change(home(config)))
    }

    /// What the wallet is to be asked for.
    pub async fn asked(&self, approval: &Value) -> Result<Value, ClientError> {
        self.asked_as(&self.shop.user, approval).await
    }

    pub async fn asked_as(&self, token: &str, approval: &Value) -> Result<Value, ClientError> {
        let path = format!("/v1/approvals/{}/delegation", text(approval, "id"));
        self.shop.call(Method::GET, &path, token, None).await
    }

    pub async fn present(&self, approval: &Value, presentation: &Value) -> Result<Value, ClientError> {
        self.present_as(&self.shop.user, approval, "approve", presentation).await
    }

    pub async fn present_as(
        &self,
        token: &str,
        approval: &Value,
        decision: &str,
        presentation: &Value,
    ) -> Result<Value, ClientError> {
        let path = format!("/v1/approvals/{}/decision", text(approval, "id"));
        let body = json!({ "decision": decision, "digest": approval["digest"], "presentation": presentation });
        self.shop.call(Method::POST, &path, token, Some(body)).await
    }

    /// A mandate that a wallet signed with this credential.
    pub async fn mandate(&self, request: Value, credential: &str) -> String {
        let approval = self.shop.ask(request).await;
        let asked = self.asked(&approval).await.expect("a request for the wallet");
        let answered = self.present(&approval, &Answer::to(&asked).with(credential).signed()).await;
        text(&answered.expect("the wallet approves"), "mandate").to_owned()
    }

    pub async fn evidence(&self, payment: &Value) -> Value {
        let path = format!("/v1/payments/{}/evidence", text(payment, "id"));
        self.shop.call(Method::GET, &path, &self.shop.agent, None).await.unwrap()
    }

    pub async fn state(&self, approval: &Value) -> String {
        let path = format!("/v1/approvals/{}", text(approval, "id"));
        let found = self.shop.call(Method::GET, &path, &self.shop.user, None).await.unwrap();
        assert_eq!(found["mandate"].is_null(), found["state"] != "approved", "{found}");
        text(&found, "state").to_owned()
    }
}

/// A mandate to one payee, so that there is something to leave out.
pub fn request() -> Value {
    let mut request = intent();
    (request["total"], request["per_payment"], request["payments"]) = ("1.00".into(), "0.50".into(), 50.into());
    request
}

fn encoded(value: &Value) -> String {
    base64url::encode(value.to_string().as_bytes())
}

/// A disclosure of an element, and the digest for it.
fn disclosed(parts: &Value) -> (String, String) {
    let text = encoded(parts);
    let digest = HashAlgorithm::Sha256.digest_text(&text);
    (text, digest)
}

fn jws(header: &Value, payload: &Value, key: &LocalKey) -> String {
    let input = format!("{}.{}", encoded(header), encoded(payload));
    let signature = key.sign(input.as_bytes()).unwrap();
    format!("{input}.{}", base64url::encode(&signature))
}

/// The person's credential, good for an hour where it is not said otherwise; `null` takes a member out.
pub fn credential(issuer: &LocalKey, differing: Value) -> String {
    let (disclosure, digest) = disclosed(&json!(["c2FsdA", "card_last_four", "4444"]));
    let mut claims = json!({
        "iss": BANK, "vct": TYPE, "exp": now() + 3_600, "cnf": { "jwk": holder().public().to_jwk() },
        "_sd_alg": "sha-256", "_sd": [digest],
    });
    differing.as_object().unwrap().iter().for_each(|(name, value)| claims[name] = value.clone());
    let header = json!({ "alg": "ES256", "typ": "dc+sd-jwt", "kid": issuer.key_id().as_str() });
    format!("{}~{disclosure}~", jws(&header, &claims, issuer))
}

/// What a wallet signs, put together by hand from what it was asked: the service's own code has no part in it.
pub struct Answer {
    pub mandates: Vec<Object>,
    pub audience: String,
    pub nonce: String,
    pub issued_at: i64,
    pub credential: String,
    pub holder: LocalKey,
    pub protocol: String,
    id: String,
    /// Of the entries that the wallet was asked to show.
    hashes: Vec<String>,
}

impl Answer {
    pub fn to(asked: &Value) -> Self {
        let request = &asked["request"]["requests"][0];
        assert_eq!(request["protocol"], PROTOCOL, "{asked}");
        let data = &request["data"];
        let entries: Vec<&str> =
            data["transaction_data"].as_array().unwrap().iter().map(|entry| entry.as_str().unwrap()).collect();
        let read = |entry: &&str| json::parse_object(&base64url::decode(entry).unwrap()).unwrap();
        let delegate = entries.iter().map(read).find(|entry| entry["type"] == "delegate").unwrap();
        let mandates = delegate["delegate_payload"].as_array().unwrap();
        Self {
            mandates: mandates.iter().map(|mandate| mandate.as_object().unwrap().clone()).collect(),
            audience: format!("origin:{}", text(asked, "origin")),
            nonce: text(data, "nonce").to_owned(),
            issued_at: now(),
            credential: credential(&bank(), json!({})),
            holder: holder(),
            protocol: PROTOCOL.into(),
            id: text(&data["dcql_query"]["credentials"][0], "id").to_owned(),
            hashes: entries.iter().map(|entry| HashAlgorithm::Sha256.digest_text(entry)).collect(),
        }
    }

    pub fn with(mut self, credential: &str) -> Self {
        credential.clone_into(&mut self.credential);
        self
    }

    pub fn but(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }

    pub fn signed(&self) -> Value {
        let payload = self
            .mandates
            .iter()
            .zip(0_u8..)
            .map(|(mandate, number)| disclosed(&json!([base64url::encode(&[number; 16]), mandate])));
        let (disclosures, digests): (Vec<String>, Vec<String>) = payload.unzip();
        let digests: Vec<Value> = digests.into_iter().map(|digest| json!({ "...": digest })).collect();
        let header = json!({ "alg": "ES256", "typ": "kb+sd-jwt+kb" });
        let claims = json!({
            "aud": self.audience, "nonce": self.nonce, "iat": self.issued_at, "_sd_alg": "sha-256",
            "sd_hash": HashAlgorithm::Sha256.digest_text(&self.credential), "delegate_payload": digests,
            "transaction_data_hashes": self.hashes, "transaction_data_hashes_alg": "sha-256",
        });
        let signed = jws(&header, &claims, &self.holder);
        self.carried(&format!("{}~{signed}~{}~", self.credential, disclosures.join("~")))
    }

    /// As a browser gives it to the page.
    pub fn carried(&self, presented: &str) -> Value {
        json!({ "protocol": self.protocol, "data": { "vp_token": { self.id.as_str(): [presented] } } })
    }
}
