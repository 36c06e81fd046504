//! The world of `purser dev` in this process, and what an agent does in it.

use std::sync::atomic::{AtomicU64, Ordering};

use alloy_primitives::{Address, Bytes, U256};
use alloy_sol_types::SolValue as _;
use ledger::id::CallerKind;
use purser::client::{Client, ClientError, Fetched};
use purser::dev::{DevOptions, DevService};
use purser::world::{AGENT, HOME, MERCHANT, SHOP, USER, shop_address};
use reqwest::Method;
use serde_json::{Value, json};
use x402::wire::{PaymentRequired, PaymentRequirements, ResourceInfo};

pub struct Shop {
    pub service: DevService,
    pub client: Client,
    pub user: String,
    pub agent: String,
    pub merchant: String,
}

static KEYS: AtomicU64 = AtomicU64::new(0);

/// A key that no other purchase has.
pub fn new_key() -> String {
    format!("key-{}", KEYS.fetch_add(1, Ordering::Relaxed))
}

/// How a token can be odd, as `fixtures/contracts/TestWallets.sol` counts it: it says `false` and moves nothing, it uses an
/// authorization up and moves nothing, it takes no permits, it takes approvals in simulations alone.
pub const FALSE: u8 = 2;
pub const HOLLOW: u8 = 3;
pub const NO_PERMIT: u8 = 4;
pub const TWO_FACED: u8 = 5;
/// Where the code of the test dollar lies while the token has another one.
const HONEST: Address = Address::repeat_byte(0xd0);

/// What an intent asks for where a test says nothing else.
pub fn intent() -> Value {
    json!({
        "user": USER, "description": "for a test", "currency": "USD", "total": "5.00", "per_payment": "3.00",
        "payments": 1_000, "expires_in_seconds": 3_600,
    })
}

impl Shop {
    pub async fn open() -> Self {
        Self::open_with(DevOptions::default()).await
    }

    pub async fn open_with(options: DevOptions) -> Self {
        let service = DevService::start(options).await.expect("the world starts");
        let client = Client::new(service.url()).expect("a client");
        let user = service.token(HOME, USER, CallerKind::User).expect("a token");
        let agent = service.token(HOME, AGENT, CallerKind::Agent).expect("a token");
        let merchant = service.token(SHOP, MERCHANT, CallerKind::Merchant).expect("a token");
        Self { service, client, user, agent, merchant }
    }

    /// From now on the token is odd in this way: its books are as they were, its code is another.
    pub fn token_turns(&self, oddity: u8) {
        let honest = self.rpc("eth_getCode", json!([chain::token::ADDRESS, "latest"]));
        self.rpc("anvil_setCode", json!([HONEST, honest]));
        let artifact: Value = serde_json::from_str(include_str!("../../fixtures/contracts/TestWallets.json")).unwrap();
        let mut contracts = artifact["contracts"].as_array().unwrap().iter();
        let contract = contracts.find(|contract| contract["contract"] == "OddDollar").unwrap();
        let creation: Bytes = super::text(contract, "bytecode").parse().unwrap();
        let arguments = (HONEST, U256::from(oddity), chain::token::NAME.to_owned()).abi_encode_params();
        let creation = Bytes::from([creation.as_ref(), &arguments].concat());
        let code = self.rpc("eth_call", json!([{ "data": creation }, "latest"]));
        self.rpc("anvil_setCode", json!([chain::token::ADDRESS, code]));
    }

    /// It is what it was.
    pub fn token_mends(&self) {
        let honest = self.rpc("eth_getCode", json!([HONEST, "latest"]));
        self.rpc("anvil_setCode", json!([chain::token::ADDRESS, honest]));
    }

    pub fn url(&self, path: &str) -> String {
        format!("{}{path}", self.service.url())
    }

    pub async fn call(
        &self,
        method: Method,
        path: &str,
        token: &str,
        body: Option<Value>,
    ) -> Result<Value, ClientError> {
        self.client.call(method, path, token, None, body).await
    }

    pub async fn ask(&self, intent: Value) -> Value {
        let asked = self.call(Method::POST, "/v1/mandates/intents", &self.agent, Some(intent)).await;
        asked.expect("the question is put")["approval"].clone()
    }

    pub async fn answer(&self, approval: &Value, decision: &str) -> Result<Value, ClientError> {
        let path = format!("/v1/approvals/{}/decision", super::text(approval, "id"));
        let body = json!({ "decision": decision, "digest": approval["digest"] });
        self.call(Method::POST, &path, &self.user, Some(body)).await
    }

    /// A mandate, asked for and approved.
    pub async fn mandate(&self, intent: Value) -> String {
        let approval = self.ask(intent).await;
        let answered = self.answer(&approval, "approve").await.expect("the user approves");
        super::text(&answered, "mandate").to_owned()
    }

    /// A 402 of the shop's for any resource at its origin.
    pub fn offer(&self, path: &str, amount: u128) -> PaymentRequired {
        let extra = json!({ "name": chain::token::NAME, "version": chain::token::VERSION });
        let requirements = PaymentRequirements {
            scheme: "exact".into(),
            network: "eip155:31337".into(),
            amount: amount.to_string(),
            asset: chain::token::ADDRESS.to_string(),
            pay_to: shop_address().to_string(),
            max_timeout_seconds: 60,
            extra: extra.as_object().cloned(),
            unknown: serde_json::Map::new(),
        };
        PaymentRequired::new(ResourceInfo::new(self.url(path)), vec![requirements], None)
    }

    /// `POST /v1/payments`.
    pub async fn pay(&self, mandate: &str, required: &PaymentRequired, key: &str) -> Result<Value, ClientError> {
        self.pay_as(&self.agent, mandate, required, key, json!({})).await
    }

    pub async fn pay_as(
        &self,
        token: &str,
        mandate: &str,
        required: &PaymentRequired,
        key: &str,
        more: Value,
    ) -> Result<Value, ClientError> {
        let mut body = json!({ "mandate": mandate, "payment_required": required });
        for (name, value) in more.as_object().expect("an object") {
            body[name] = value.clone();
        }
        self.client.call(Method::POST, "/v1/payments", token, Some(key), Some(body)).await
    }

    pub async fn fetch(&self, path: &str, payment: Option<&str>) -> Fetched {
        self.client.fetch("GET", &self.url(path), payment).await.expect("the shop answers")
    }

    /// The 402 that a priced path answers with.
    pub async fn met(&self, path: &str) -> PaymentRequired {
        let met = self.fetch(path, None).await;
        assert_eq!(met.status.as_u16(), 402, "{path} is priced");
        let header = met.header(x402::wire::PAYMENT_REQUIRED).expect("a PAYMENT-REQUIRED header");
        x402::wire::read_header(header.as_bytes()).expect("a 402 of the protocol")
    }

    pub async fn figures(&self, mandate: &str) -> Value {
        let path = format!("/v1/mandates/{mandate}");
        self.call(Method::GET, &path, &self.user, None).await.expect("the mandate's figures")
    }

    /// One call of the devnet.
    pub fn rpc(&self, method: &str, params: Value) -> Value {
        let call = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
        let answer = self.service.devnet().dispatch(call.to_string().as_bytes()).expect("the devnet answers");
        let answer: Value = serde_json::from_slice(&answer).expect("JSON");
        assert!(answer["error"].is_null(), "{method}: {answer}");
        answer["result"].clone()
    }

    /// Every transfer of the token from one address to another, as (transaction, value).
    pub fn transfers(&self, from: &str, to: &str) -> Vec<(String, u128)> {
        let topic = |address: &str| format!("0x{:0>64}", address.trim_start_matches("0x").to_ascii_lowercase());
        // keccak256("Transfer(address,address,uint256)")
        let transfer = "0xddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef";
        let filter = json!([{
            "fromBlock": "0x0", "toBlock": "latest", "address": chain::token::ADDRESS,
            "topics": [transfer, topic(from), topic(to)],
        }]);
        let logs = self.rpc("eth_getLogs", filter);
        let logs = logs.as_array().expect("a list of logs");
        let value =
            |log: &Value| u128::from_str_radix(super::text(log, "data").trim_start_matches("0x"), 16).expect("a value");
        logs.iter().map(|log| (super::text(log, "transactionHash").to_owned(), value(log))).collect()
    }

    pub fn wallet(&self) -> String {
        format!("{:#x}", self.service.wallet())
    }
}

/// The stable code of a refusal; the test fails where there was none.
pub fn refused(result: Result<Value, ClientError>) -> (u16, String, String) {
    match result {
        Ok(value) => panic!("a refusal was expected, this came: {value}"),
        Err(ClientError::Refused { status, code, detail, .. }) => (status, code.unwrap_or_default(), detail),
        Err(other) => panic!("a refusal was expected, this came: {other}"),
    }
}

pub fn code(result: Result<Value, ClientError>) -> String {
    refused(result).1
}
