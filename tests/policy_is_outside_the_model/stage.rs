//! A service of `dev` with a policy, and an agent's payments there.

use engine::evidence::{EvidenceFile, Finding, check};
use purser::client::ClientError;
use purser::config::{Config, PolicyConfig};
use purser::world::HOME;
use reqwest::Method;
use serde_json::{Value, json};
use tempfile::TempDir;
use x402::network::AssetTable;
use x402::wire::PaymentRequired;

use crate::harness::shop::{Shop, intent, new_key};
use crate::harness::text;
use crate::harness::vault::{Answer, DELEGATE, VERSION, post, request};

pub const CENT: u128 = 10_000;

pub struct Stage {
    pub shop: Shop,
    pub mandate: String,
    pub folder: TempDir,
}

/// A refusal, whole.
#[derive(Debug)]
pub struct Refused(pub Answer);

impl Refused {
    pub fn code(&self) -> &str {
        self.0.code()
    }

    /// The questions that wait, as their persons see them.
    pub fn ids(&self) -> Vec<String> {
        let approvals = self.0.body["approvals"].as_array().unwrap_or_else(|| panic!("{self:?}"));
        approvals.iter().map(|one| text(one, "id").to_owned()).collect()
    }
}

impl Stage {
    pub async fn open(rules: &str) -> Self {
        let shop = Shop::open().await;
        let mandate = shop.mandate(intent()).await;
        let mut stage = Self { shop, mandate, folder: tempfile::tempdir().unwrap() };
        stage.govern(rules).unwrap();
        stage
    }

    pub fn govern(&mut self, rules: &str) -> Result<(), String> {
        let file = self.folder.path().join("policy.toml");
        std::fs::write(&file, format!("purser_policy = 1\nversion = \"test\"\n{rules}")).unwrap();
        self.shop.service.change(|config| home(config).policy = Some(PolicyConfig { file }))
    }

    pub fn ungoverned(&mut self) {
        self.shop.service.change(|config| home(config).policy = None).unwrap();
    }

    /// `POST /v1/payments` with these headers beside the usual ones.
    pub async fn pay_with(
        &self,
        required: &PaymentRequired,
        key: &str,
        headers: &[(&str, &str)],
    ) -> Result<Value, Refused> {
        let body = json!({ "mandate": self.mandate, "payment_required": required });
        let headers = [headers, &[("idempotency-key", key)]].concat();
        let url = self.shop.url("/v1/payments");
        let answer = post(&url, &self.shop.agent, &headers, body.to_string().into_bytes()).await;
        if answer.status == 201 { Ok(answer.body) } else { Err(Refused(answer)) }
    }

    pub async fn pay(&self, path: &str, amount: u128, key: &str) -> Result<Value, Refused> {
        self.pay_with(&self.shop.offer(path, amount), key, &[]).await
    }

    /// A payment that has to be asked for, and the question to its first approver.
    pub async fn asked(&self, path: &str, amount: u128, key: &str) -> Value {
        let refused = self.pay(path, amount, key).await.expect_err("it has to be asked for");
        assert_eq!((refused.0.status, refused.code()), (403, "pending_approval"), "{refused:?}");
        self.question(&refused.ids()[0]).await
    }

    pub async fn question(&self, id: &str) -> Value {
        self.shop.call(Method::GET, &format!("/v1/approvals/{id}"), &self.shop.agent, None).await.unwrap()
    }

    pub async fn answer_as(&self, token: &str, approval: &Value, decision: &str) -> Result<Value, ClientError> {
        let path = format!("/v1/approvals/{}/decision", text(approval, "id"));
        let body = json!({ "decision": decision, "digest": approval["digest"] });
        self.shop.call(Method::POST, &path, token, Some(body)).await
    }

    /// ACP's delegate payment, of so many cents.
    pub async fn token(&self, cents: u64) -> Answer {
        self.token_with(cents, json!({})).await
    }

    /// The same with what differs from a usual request.
    pub async fn token_with(&self, cents: u64, differing: Value) -> Answer {
        let body = request(&self.mandate, cents, differing);
        let (key, url) = (new_key(), self.shop.url(DELEGATE));
        let headers = [("API-Version", VERSION), ("Idempotency-Key", key.as_str())];
        post(&url, &self.shop.agent, &headers, body.to_string().into_bytes()).await
    }

    pub async fn evidence(&self, payment: &str) -> Value {
        let path = format!("/v1/payments/{payment}/evidence");
        self.shop.call(Method::GET, &path, &self.shop.agent, None).await.unwrap()
    }

    /// What the evidence says of the policy; where it says anything, it holds offline.
    pub async fn ruled(&self, payment: &str) -> Value {
        let file = self.evidence(payment).await;
        let bundle: Value = serde_json::from_str(text(&file, "bundle")).unwrap();
        if !bundle["policy"].is_null() {
            let found = self.finding(&file);
            assert!(found.holds, "{found}");
        }
        bundle["policy"].clone()
    }

    /// What `purser verify --evidence` finds of the policy.
    pub fn finding(&self, file: &Value) -> Finding {
        let file: EvidenceFile = serde_json::from_value(file.clone()).unwrap();
        let findings = check(&file, self.shop.service.roots(), &AssetTable::trusted());
        findings.into_iter().find(|one| one.check == "policy").expect("the policy is checked")
    }

    /// Nothing is held, nothing was paid.
    pub async fn is_untouched(&self) {
        let figures = self.shop.figures(&self.mandate).await;
        assert_eq!((text(&figures["held"], "units"), text(&figures["posted"], "units")), ("0", "0"), "{figures}");
    }
}

fn home(config: &mut Config) -> &mut purser::config::TenantConfig {
    config.tenants.iter_mut().find(|tenant| tenant.id == HOME).unwrap()
}
