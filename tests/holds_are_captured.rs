//! Promise 3 for what is held in the escrow (x402, `auth-capture`): the facilitator authorizes, captures and voids each once,
//! for nobody's word but that of the receiver's authorizer, and says by name why it does not.

mod sold;

use alloy_primitives::{Address, B256};
use chain::accounts::{ACCOUNTS, TestAccount};
use ledger::event::EventType;
use ledger::store::Store as _;
use purser::world::{CARRIER, shop_address};
use serde_json::{Map, Value, json};
use x402::auth_capture::{ChargeRequest, EIP3009_COLLECTOR, ESCROW, Request};
use x402::exact::{EvmSignature, WalletKey};
use x402::network::{Asset, AssetTable, Network, TransferMethod};
use x402::wire::{FacilitatorRequest, PaymentPayload, PaymentRequirements};

use crate::foreign_clients::node_script;
use crate::harness::process::stdout;
use crate::harness::shop::Shop;
use crate::harness::text;

const PRICE: u128 = 10_000;
const PREFIX: &str = "invalid_auth_capture_evm_";
/// Signs captures and voids for the shop.
const AUTHORIZER: TestAccount = ACCOUNTS[7];
const PAYER: TestAccount = ACCOUNTS[8];

fn now() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs()
}

fn sign(by: TestAccount, digest: B256) -> Value {
    let signature: EvmSignature = WalletKey::from_bytes(&by.private_key.0).unwrap().sign(digest).unwrap();
    json!(signature.to_text())
}

struct Stage {
    shop: Shop,
    required: PaymentRequirements,
    assets: AssetTable,
}

impl Stage {
    async fn open() -> Self {
        Self::of(Shop::open().await).await
    }

    async fn of(shop: Shop) -> Self {
        let supported: Value = reqwest::get(shop.url("/supported")).await.unwrap().json().await.unwrap();
        let kinds = supported["kinds"].as_array().unwrap();
        let kind = kinds.iter().find(|kind| kind["scheme"] == "auth-capture").expect("it is listed");
        shop.service.devnet().mint(PAYER.address, alloy_primitives::U256::from(2 * PRICE)).unwrap();
        let mut required = shop.offer("/paid/any", PRICE).accepts.remove(0);
        required.scheme = "auth-capture".into();
        // The client starts slowly where much else runs.
        required.max_timeout_seconds = 600;
        let extra = required.extra.as_mut().unwrap();
        extra.extend(kind["extra"].as_object().unwrap().clone());
        for (name, value) in [
            ("receiverAuthorizer", json!(AUTHORIZER.address.to_string())),
            ("captureDeadline", json!(now() + 3_600)),
            ("refundDeadline", json!(now() + 7_200)),
            ("feeRecipient", json!(Address::ZERO.to_string())),
            ("minFeeBps", json!(0)),
            ("maxFeeBps", json!(0)),
        ] {
            extra.insert(name.into(), value);
        }
        let mut assets = AssetTable::trusted();
        let network = Network::new(31_337).unwrap();
        let [name, version] = [chain::token::NAME, chain::token::VERSION].map(String::from);
        let (address, transfer) = (chain::token::ADDRESS, TransferMethod::Eip3009);
        assets.add(Asset { network, address, name, version, decimals: 6, transfer }).unwrap();
        Self { shop, required, assets }
    }

    /// Signed by the official client, unmodified.
    fn payment(&self) -> Value {
        self.payment_for(&self.required)
    }

    fn payment_for(&self, required: &PaymentRequirements) -> Value {
        let key = PAYER.private_key.to_string();
        let output = node_script("hold.mjs").args([&key, &json!(required).to_string()]).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_str::<Value>(&stdout(&output)).unwrap()["payload"].clone()
    }

    fn body(&self, payload: &Value, required: &PaymentRequirements) -> FacilitatorRequest {
        let payload = PaymentPayload {
            x402_version: 2,
            resource: None,
            accepted: required.clone(),
            payload: payload.as_object().unwrap().clone(),
            extensions: None,
            unknown: Map::new(),
        };
        FacilitatorRequest::new(payload, required.clone())
    }

    async fn ask(&self, path: &str, payload: &Value, required: &PaymentRequirements) -> Value {
        let request = reqwest::Client::new().post(self.shop.url(path)).json(&self.body(payload, required));
        request.send().await.unwrap().json().await.unwrap()
    }

    async fn verified(&self, payload: &Value) -> String {
        let said = self.ask("/verify", payload, &self.required).await;
        if said["isValid"] == true { "valid".to_owned() } else { text(&said, "invalidReason").replace(PREFIX, "") }
    }

    async fn refused(&self, payload: &Value) -> String {
        self.refused_for(payload, &self.required).await
    }

    async fn refused_for(&self, payload: &Value, required: &PaymentRequirements) -> String {
        let said = self.ask("/settle", payload, required).await;
        assert_eq!((&said["success"], &said["transaction"]), (&json!(false), &json!("")), "{said}");
        text(&said, "errorReason").replace(PREFIX, "")
    }

    async fn settled(&self, payload: &Value) -> Value {
        let said = self.ask("/settle", payload, &self.required).await;
        assert_eq!(said["success"], true, "{said}");
        said
    }

    /// What a payee makes of a payment that it was shown.
    fn info(&self, payment: &Value) -> Value {
        let extra = self.required.extra.as_ref().unwrap();
        let until: u64 = text(&payment["authorization"], "validBefore").parse().unwrap();
        json!({
            "operator": extra["captureAuthorizer"], "payer": payment["authorization"]["from"],
            "receiver": self.required.pay_to, "token": self.required.asset, "maxAmount": self.required.amount,
            "preApprovalExpiry": until, "authorizationExpiry": extra["captureDeadline"],
            "refundExpiry": extra["refundDeadline"], "minFeeBps": 0, "maxFeeBps": 0,
            "feeReceiver": extra["feeRecipient"], "salt": payment["salt"],
        })
    }

    fn signed(&self, by: TestAccount, mut request: Value, field: &str) -> Value {
        let payload = self.body(&request, &self.required).payment_payload;
        let read = Request::check(&payload, &self.required, &self.assets, now()).unwrap();
        request[field] = sign(by, read.digest());
        request
    }

    fn void(&self, payment: &Value) -> Value {
        let request = json!({
            "type": "void", "paymentInfo": self.info(payment), "saltNonce": payment["saltNonce"],
            "authorizerSignature": "0x",
        });
        self.signed(AUTHORIZER, request, "authorizerSignature")
    }

    fn capture(&self, payment: &Value, amount: u128, has: (u128, u128)) -> Value {
        self.capture_by(AUTHORIZER, payment, amount, has)
    }

    fn capture_by(&self, by: TestAccount, payment: &Value, amount: u128, has: (u128, u128)) -> Value {
        let request = json!({
            "type": "capture", "paymentInfo": self.info(payment), "saltNonce": payment["saltNonce"],
            "amount": amount.to_string(), "feeBps": 0, "feeReceiver": Address::ZERO.to_string(),
            "expectedCapturableAmount": has.0.to_string(), "expectedRefundableAmount": has.1.to_string(),
            "authorizerSignature": "0x",
        });
        self.signed(by, request, "authorizerSignature")
    }

    async fn begun(&self) -> usize {
        let events = self.shop.service.store().events(&CARRIER.parse().unwrap(), None, 500).await.unwrap();
        events.iter().filter(|event| event.kind == EventType::SettlementClaimed).count()
    }

    fn moved(&self, from: Option<Address>, to: Address) -> Vec<u128> {
        let from = from.unwrap_or_else(|| self.store());
        let found = self.shop.transfers(&format!("{from:#x}"), &format!("{to:#x}"));
        found.into_iter().map(|(_, value)| value).collect()
    }

    /// Where the escrow keeps what is held for our operator.
    fn store(&self) -> Address {
        let operator: Address =
            self.required.extra.as_ref().unwrap()["captureAuthorizer"].as_str().unwrap().parse().unwrap();
        let call = format!("0x{}{:0>64}", "9d3facde", format!("{operator:x}"));
        let answer = self.shop.rpc("eth_call", json!([{ "to": ESCROW.to_string(), "data": call }, "latest"]));
        answer.as_str().unwrap()[26..].parse().unwrap()
    }

    async fn at_once(&self, payloads: &[Value]) -> Vec<Value> {
        let asked: Vec<_> = payloads
            .iter()
            .map(|payload| {
                let (request, url) = (self.body(payload, &self.required), self.shop.url("/settle"));
                tokio::spawn(async move {
                    let answer = reqwest::Client::new().post(url).json(&request).send().await.unwrap();
                    answer.json::<Value>().await.unwrap()
                })
            })
            .collect();
        let mut answers = Vec::new();
        for answer in asked {
            answers.push(answer.await.unwrap());
        }
        answers
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_must_not_be_held_is_refused_by_name() {
    let stage = Stage::open().await;
    let good = stage.payment();
    assert_eq!(stage.verified(&good).await, "valid");
    let stranger = json!(ACCOUNTS[6].address.to_string());
    for (pointer, value, code) in [
        ("/authorization/to", json!(stage.required.pay_to), "token_collector_mismatch"),
        ("/authorization/from", stranger.clone(), "signature"),
        ("/authorization/value", json!("9999"), "amount_mismatch"),
        ("/authorization/validAfter", json!("1"), "payload_format"),
        ("/authorization/validBefore", json!("1"), "authorization_expired"),
        ("/authorization/validBefore", json!((now() + 700).to_string()), "deadline_ordering"),
        ("/authorization/nonce", json!(B256::ZERO.to_string()), "nonce_mismatch"),
        ("/salt", json!(B256::ZERO.to_string()), "nonce_mismatch"),
        ("/saltNonce", json!(B256::ZERO.to_string()), "salt_binding_mismatch"),
        ("/signature", json!("0x00"), "signature"),
    ] {
        let mut wrong = good.clone();
        *wrong.pointer_mut(pointer).unwrap() = value;
        assert_eq!(stage.verified(&wrong).await, code, "{pointer}");
        assert_eq!(stage.refused(&wrong).await, code, "{pointer}");
    }
    // Signed as they are, by the official client: it is the terms that are refused.
    let deadline = stage.required.extra.as_ref().unwrap()["captureDeadline"].as_u64().unwrap();
    for (field, value, code) in [
        ("captureAuthorizer", stranger, "operator_not_admitted"),
        ("authCaptureEscrow", Value::Null, "extra"),
        ("minFeeBps", json!(1), "extra"),
        ("maxFeeBps", json!(1), "extra"),
        ("refundDeadline", json!(deadline - 1), "deadline_ordering"),
        ("captureDeadline", json!(now() + 300), "deadline_ordering"),
        ("captureDeadline", json!(now() - 30), "capture_deadline_expired"),
        ("paymentFlow", json!("upfront"), "unsupported_payment_flow"),
        ("paymentFlow", json!("authorization"), "payload_format"),
        ("operatorType", json!("custom"), "unsupported_operator_type"),
    ] {
        let mut required = stage.required.clone();
        let extra = required.extra.as_mut().unwrap();
        match value {
            Value::Null => drop(extra.remove(field)),
            value => drop(extra.insert(field.into(), value)),
        }
        let payment = stage.payment_for(&required);
        assert_eq!(stage.refused_for(&payment, &required).await, code, "{field}");
    }
    let poor = PaymentRequirements { amount: (3 * PRICE).to_string(), ..stage.required.clone() };
    assert_eq!(stage.refused_for(&stage.payment_for(&poor), &poor).await, "insufficient_balance");
    assert!(stage.moved(Some(PAYER.address), EIP3009_COLLECTOR).is_empty(), "nothing moved");
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_authorizers_word_captures_what_is_held() {
    let stage = Stage::open().await;
    let payment = stage.payment();
    let has = (PRICE, 0);
    // Before anything is held.
    assert_eq!(stage.refused(&stage.capture(&payment, 1, has)).await, "unexpected_payment_state");
    assert_eq!(stage.refused(&stage.void(&payment)).await, "zero_authorization");
    stage.settled(&payment).await;
    assert_eq!(stage.moved(Some(PAYER.address), EIP3009_COLLECTOR), [PRICE]);
    let begun = stage.begun().await;

    let good = stage.capture(&payment, 4_000, has);
    assert_eq!(stage.verified(&good).await, "valid");
    for by in [PAYER, ACCOUNTS[6]] {
        let forged = stage.capture_by(by, &payment, 4_000, has);
        assert_eq!(stage.refused(&forged).await, "authorizer_signature");
        assert_eq!(stage.verified(&forged).await, "authorizer_signature");
    }
    for (pointer, value, code) in [
        ("/amount", json!("4001"), "authorizer_signature"),
        ("/expectedCapturableAmount", json!("4000"), "authorizer_signature"),
        ("/type", json!("void"), "authorizer_signature"),
        ("/type", json!("refund"), "refund_funding_unavailable"),
        ("/type", json!("other"), "payload_type"),
        ("/paymentInfo/operator", json!(stage.required.pay_to), "operator_mismatch"),
        ("/paymentInfo/receiver", json!(ACCOUNTS[6].address.to_string()), "payload_format"),
        ("/paymentInfo/payer", json!(ACCOUNTS[6].address.to_string()), "authorizer_signature"),
        ("/paymentInfo/salt", json!(B256::ZERO.to_string()), "salt_binding_mismatch"),
        ("/paymentInfo/preApprovalExpiry", json!(1), "authorizer_signature"),
        ("/feeBps", json!(1), "fee_bps_out_of_range"),
        ("/authorizerSignature", Value::Null, "unauthenticated_authorizer_request"),
    ] {
        let mut wrong = good.clone();
        *wrong.pointer_mut(pointer).unwrap() = value;
        assert_eq!(stage.refused(&wrong).await, code, "{pointer}");
    }
    assert_eq!(stage.refused(&stage.capture(&payment, PRICE + 1, has)).await, "insufficient_authorization");
    assert_eq!(stage.refused(&stage.capture(&payment, 4_000, (PRICE, 1))).await, "unexpected_payment_state");
    assert_eq!(stage.begun().await, begun, "strangers fill no book");
    assert!(stage.moved(None, shop_address()).is_empty(), "nothing is captured");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_is_done_once_whoever_asks_and_how_often() {
    let stage = Stage::open().await;
    let payment = stage.payment();
    let held = stage.at_once(&vec![payment.clone(); 6]).await;
    let yes: Vec<&Value> = held.iter().filter(|said| said["success"] == true).collect();
    assert!(!yes.is_empty() && yes.iter().all(|said| said["transaction"] == yes[0]["transaction"]), "{held:?}");
    assert_eq!(text(yes[0], "amount"), PRICE.to_string());
    assert_eq!(stage.refused(&payment).await, "payment_already_collected", "the same again");
    assert_eq!(stage.verified(&payment).await, "payment_already_collected");
    assert_eq!(stage.moved(Some(PAYER.address), EIP3009_COLLECTOR), [PRICE]);

    // Two that were signed for the same balances: one of them.
    let both = [stage.capture(&payment, 4_000, (PRICE, 0)), stage.capture(&payment, 3_000, (PRICE, 0))];
    let said = stage.at_once(&both).await;
    assert_eq!(said.iter().filter(|said| said["success"] == true).count(), 1, "{said:?}");
    let won = usize::from(said[1]["success"] == true);
    assert_eq!(text(&said[1 - won], "errorReason"), format!("{PREFIX}unexpected_payment_state"), "{said:?}");
    let taken = [4_000, 3_000][won];
    assert_eq!(stage.moved(None, shop_address()), [taken]);
    let again = stage.settled(&both[won]).await;
    assert_eq!(again["transaction"], said[won]["transaction"], "a lost answer is given again");
    assert_eq!(stage.refused(&both[1 - won]).await, "unexpected_payment_state");

    let left = PRICE - taken;
    let second = stage.capture(&payment, 1_000, (left, taken));
    let six = stage.at_once(&vec![second.clone(); 6]).await;
    let yes: Vec<&Value> = six.iter().filter(|said| said["success"] == true).collect();
    assert!(!yes.is_empty() && yes.iter().all(|said| said["transaction"] == yes[0]["transaction"]), "{six:?}");
    assert_eq!(stage.moved(None, shop_address()), [taken, 1_000]);

    let void = stage.void(&payment);
    let back = stage.settled(&void).await;
    assert_eq!(text(&back, "amount"), (left - 1_000).to_string());
    assert_eq!(stage.settled(&void).await["transaction"], back["transaction"]);
    assert_eq!(stage.moved(None, PAYER.address), [left - 1_000]);
    assert_eq!(stage.refused(&stage.capture(&payment, 1, (0, taken + 1_000))).await, "insufficient_authorization");
    assert_eq!(stage.moved(None, shop_address()), [taken, 1_000], "nothing after a void");
}

/// A part of it for the shop, and the rest back, in one request.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_left_of_a_capture_goes_back_with_it() {
    let stage = Stage::open().await;
    let payment = stage.payment();
    stage.settled(&payment).await;
    let mut capture = stage.capture(&payment, 4_000, (PRICE, 0));
    capture["voidAuthorizerSignature"] = capture["authorizerSignature"].clone();
    assert_eq!(stage.refused(&capture).await, "void_authorizer_signature");
    let rest = stage.void(&payment)["authorizerSignature"].clone();
    let mut whole = stage.capture(&payment, PRICE, (PRICE, 0));
    whole["voidAuthorizerSignature"] = rest.clone();
    assert_eq!(stage.refused(&whole).await, "void_remainder_full_capture");
    let mut void = stage.void(&payment);
    void["voidAuthorizerSignature"] = rest.clone();
    assert_eq!(stage.refused(&void).await, "void_authorizer_signature");
    capture["voidAuthorizerSignature"] = rest;
    let done = stage.settled(&capture).await;
    assert_eq!(text(&done, "amount"), "4000");
    assert_eq!(stage.settled(&capture).await["transaction"], done["transaction"]);
    assert_eq!((stage.moved(None, shop_address()), stage.moved(None, PAYER.address)), (vec![4_000], vec![6_000]));
}

/// In the flow `authorization` a part is taken at once, the rest stays with its payer, and nothing is held.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_charged_is_charged_once_and_as_it_was_signed() {
    let mut stage = Stage::open().await;
    stage.required.extra.as_mut().unwrap().insert("paymentFlow".into(), json!("authorization"));
    let raw = stage.payment();
    assert_eq!(stage.verified(&raw).await, "valid");
    assert_eq!(stage.refused(&raw).await, "payload_format", "before the payee said how much");
    let charge = |by: TestAccount, amount: u128| {
        let mut payload = raw.clone();
        payload["amount"] = json!(amount.to_string());
        payload["feeBps"] = json!(0);
        payload["feeReceiver"] = json!(Address::ZERO.to_string());
        payload["authorizerSignature"] = json!("0x");
        let body = stage.body(&payload, &stage.required).payment_payload;
        let digest = ChargeRequest::read(&body, &stage.required).unwrap().unwrap().digest();
        payload["authorizerSignature"] = sign(by, digest);
        payload
    };
    assert_eq!(stage.refused(&charge(PAYER, 4_000)).await, "authorizer_signature");
    assert_eq!(stage.refused(&charge(AUTHORIZER, PRICE + 1)).await, "amount_mismatch");
    let mut changed = charge(AUTHORIZER, 4_000);
    changed["amount"] = json!("4001");
    assert_eq!(stage.refused(&changed).await, "authorizer_signature");
    assert!(stage.moved(Some(PAYER.address), EIP3009_COLLECTOR).is_empty());

    let good = charge(AUTHORIZER, 4_000);
    let said = stage.at_once(&vec![good.clone(); 4]).await;
    let yes: Vec<&Value> = said.iter().filter(|said| said["success"] == true).collect();
    assert!(!yes.is_empty() && yes.iter().all(|said| said["transaction"] == yes[0]["transaction"]), "{said:?}");
    assert_eq!(text(yes[0], "amount"), "4000");
    assert_eq!(stage.refused(&charge(AUTHORIZER, 5_000)).await, "payment_already_collected");
    assert_eq!(stage.moved(Some(EIP3009_COLLECTOR), PAYER.address), [PRICE - 4_000], "what is not taken stays theirs");
    assert_eq!((stage.moved(None, shop_address()), stage.moved(None, PAYER.address)), (vec![4_000], vec![]));
    let mut void = json!({ "type": "void", "paymentInfo": stage.info(&raw), "saltNonce": raw["saltNonce"] });
    void["authorizerSignature"] = json!("0x");
    assert_eq!(stage.refused(&void).await, "payload_type");
}

/// Each is fine alone: of four over half of what the payer has, two at most are held.
#[tokio::test(flavor = "multi_thread")]
async fn holds_together_are_never_more_than_the_payer_has() {
    let stage = Stage::open().await;
    let payments: Vec<Value> = (0..4).map(|_| stage.payment()).collect();
    let said = stage.at_once(&payments).await;
    let held = said.iter().filter(|said| said["success"] == true).count();
    for refused in said.iter().filter(|said| said["success"] != true) {
        assert_eq!(text(refused, "errorReason"), format!("{PREFIX}insufficient_balance"), "{refused}");
    }
    assert!(held <= 2, "{held} of {PRICE} out of {}", 2 * PRICE);
    assert_eq!(stage.moved(Some(PAYER.address), EIP3009_COLLECTOR), vec![PRICE; held]);
    let same = stage.payment_for(&PaymentRequirements { amount: "1".into(), ..stage.required.clone() });
    assert_eq!(stage.refused(&same).await, "amount_mismatch", "signed for less than is asked for");
}
