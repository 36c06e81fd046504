//! Promise 3 for channels: the facilitator carries each deposit, claim, sweep and refund once, never for whoever did not sign
//! it, and says by name why it does not.

use alloy_primitives::{Address, B256, U256};
use chain::accounts::{ACCOUNTS, TestAccount};
use ledger::event::EventType;
use ledger::store::Store as _;
use purser::dev::DevOptions;
use purser::world::{CARRIER, shop_address};
use serde_json::{Value, json};
use x402::batch_settlement::{
    Deposit, EIP3009_COLLECTOR, ESCROW, Message, claim_batch_digest, deposit_nonce, refund_digest, terms,
    voucher_digest,
};
use x402::exact::{Signed, WalletKey};
use x402::network::Network;
use x402::value::Amount;
use x402::wire::{FacilitatorRequest, PaymentPayload, PaymentRequirements};

use crate::harness::shop::Shop;
use crate::harness::text;

const PRICE: u128 = 1_000;
const PREFIX: &str = "invalid_batch_settlement_evm_";

/// A payer with ten thousand, and the key that authorizes for the shop.
struct Channel<'a> {
    shop: &'a Shop,
    payer: TestAccount,
    authorizer: TestAccount,
    required: PaymentRequirements,
    salt: B256,
}

fn signed(by: TestAccount, digest: B256) -> Value {
    json!(WalletKey::from_bytes(&by.private_key.0).unwrap().sign(digest).unwrap().to_text())
}

fn network() -> Network {
    Network::new(31_337).unwrap()
}

impl<'a> Channel<'a> {
    fn of(shop: &'a Shop) -> Self {
        let (payer, authorizer) = (ACCOUNTS[8], ACCOUNTS[7]);
        shop.service.devnet().mint(payer.address, U256::from(10_000)).unwrap();
        let mut required = shop.offer("/paid/any", PRICE).accepts.remove(0);
        required.scheme = "batch-settlement".into();
        let extra = required.extra.as_mut().unwrap();
        extra.insert("receiverAuthorizer".into(), json!(authorizer.address.to_string()));
        extra.insert("withdrawDelay".into(), json!(900));
        Self { shop, payer, authorizer, required, salt: B256::ZERO }
    }

    fn salted(&self, salt: u8) -> Self {
        Self { shop: self.shop, required: self.required.clone(), salt: B256::repeat_byte(salt), ..*self }
    }

    fn config(&self) -> Value {
        json!({
            "payer": self.payer.address.to_string(), "payerAuthorizer": self.payer.address.to_string(),
            "receiver": self.required.pay_to, "receiverAuthorizer": self.authorizer.address.to_string(),
            "token": self.required.asset, "withdrawDelay": 900, "salt": self.salt.to_string(),
        })
    }

    fn id(&self) -> B256 {
        let voucher = json!({ "channelId": B256::ZERO.to_string(), "maxClaimableAmount": "0", "signature": "0x" });
        let payload = json!({ "type": "voucher", "channelConfig": self.config(), "voucher": voucher });
        let Message::Voucher(voucher) = Message::read(payload.as_object().unwrap()).unwrap() else { panic!() };
        voucher.channel.id(network())
    }

    fn payload(&self, payload: &Value) -> PaymentPayload {
        PaymentPayload {
            x402_version: 2,
            resource: None,
            accepted: self.required.clone(),
            payload: payload.as_object().unwrap().clone(),
            extensions: None,
            unknown: serde_json::Map::new(),
        }
    }

    fn signed_voucher(&self, max: u128) -> Value {
        let signature = signed(self.payer, voucher_digest(network(), self.id(), Amount::new(max)));
        json!({ "channelId": self.id().to_string(), "maxClaimableAmount": max.to_string(), "signature": signature })
    }

    fn by_payer(&self, kind: &str, max: u128) -> Value {
        json!({ "type": kind, "channelConfig": self.config(), "voucher": self.signed_voucher(max) })
    }

    /// A deposit with its voucher over one price.
    fn deposit(&self, units: u128, salt: u8) -> Value {
        let until = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs() + 50;
        let salt = B256::repeat_byte(salt);
        let mut payload = self.by_payer("deposit", PRICE);
        let mut authorization =
            json!({ "validAfter": "0", "validBefore": until.to_string(), "salt": salt.to_string(), "signature": "0x" });
        let with = |authorization: &Value| json!({ "amount": units.to_string(), "authorization": { "erc3009Authorization": authorization } });
        payload["deposit"] = with(&authorization);
        let Message::Deposit { deposit, .. } = Message::read(payload.as_object().unwrap()).unwrap() else { panic!() };
        let Deposit { authorization: read, .. } = *deposit;
        assert_eq!((read.to, read.nonce), (EIP3009_COLLECTOR, deposit_nonce(self.id(), U256::from_be_bytes(salt.0))));
        authorization["signature"] =
            signed(self.payer, Signed::Deposit(*deposit).digest(&terms(&self.required).unwrap()));
        payload["deposit"] = with(&authorization);
        payload
    }

    fn claims(&self, max: u128, total: u128) -> Value {
        let voucher = json!({ "channel": self.config(), "maxClaimableAmount": max.to_string() });
        json!([{ "voucher": voucher, "signature": self.signed_voucher(max)["signature"], "totalClaimed": total.to_string() }])
    }

    fn claim(&self, total: u128) -> Value {
        let batch = claim_batch_digest(network(), [(self.id(), Amount::new(total), Amount::new(total))]);
        let signature = signed(self.authorizer, batch);
        json!({ "type": "claim", "claims": self.claims(total, total), "claimAuthorizerSignature": signature })
    }

    fn sweep(&self) -> Value {
        json!({ "type": "settle", "receiver": self.required.pay_to, "token": self.required.asset })
    }

    fn refund(&self, units: u128, nonce: u64, max: u128) -> Value {
        let mut payload = self.by_payer("refund", max);
        let digest = refund_digest(network(), self.id(), U256::from(nonce), Amount::new(units));
        payload["amount"] = json!(units.to_string());
        payload["refundNonce"] = json!(nonce.to_string());
        payload["claims"] = json!([]);
        payload["refundAuthorizerSignature"] = signed(self.authorizer, digest);
        payload
    }

    /// How many settlements the facilitator's book has begun.
    async fn begun(&self) -> usize {
        let events = self.shop.service.store().events(&CARRIER.parse().unwrap(), None, 500).await.unwrap();
        events.iter().filter(|event| event.kind == EventType::SettlementClaimed).count()
    }

    async fn ask(&self, path: &str, payload: &Value) -> Value {
        self.ask_for(path, payload, &self.required).await
    }

    async fn ask_for(&self, path: &str, payload: &Value, required: &PaymentRequirements) -> Value {
        let request = FacilitatorRequest::new(self.payload(payload), required.clone());
        let answer = reqwest::Client::new().post(self.shop.url(path)).json(&request).send().await.unwrap();
        answer.json().await.unwrap()
    }

    async fn verified(&self, payload: &Value) -> String {
        let said = self.ask("/verify", payload).await;
        assert_eq!(said["isValid"], false, "{said}");
        text(&said, "invalidReason").replace(PREFIX, "")
    }

    async fn refused(&self, payload: &Value) -> String {
        let said = self.ask("/settle", payload).await;
        assert_eq!((&said["success"], &said["transaction"]), (&json!(false), &json!("")), "{said}");
        text(&said, "errorReason").replace(PREFIX, "")
    }

    async fn settled(&self, payload: &Value) -> Value {
        let said = self.ask("/settle", payload).await;
        assert_eq!(said["success"], true, "{said}");
        said
    }

    /// Asked until it is known.
    async fn settled_at_last(&self, payload: &Value) -> Value {
        for _ in 0..20 {
            let said = self.ask("/settle", payload).await;
            if said["success"] == true {
                return said;
            }
            assert_eq!(said["errorReason"], "settlement_pending", "{said}");
        }
        panic!("it is pending for ever")
    }

    fn moved(&self, from: Address, to: Address) -> Vec<u128> {
        let found = self.shop.transfers(&format!("{from:#x}"), &format!("{to:#x}"));
        found.into_iter().map(|(_, value)| value).collect()
    }

    fn deposited(&self) -> Vec<u128> {
        self.moved(EIP3009_COLLECTOR, ESCROW)
    }

    /// Eight callers at once: every one is told yes or `settlement_pending`, and of the same transaction.
    async fn by_eight(&self, payload: &Value) -> Value {
        let asked = (0..8).map(|_| {
            let request = FacilitatorRequest::new(self.payload(payload), self.required.clone());
            let url = self.shop.url("/settle");
            tokio::spawn(async move {
                let answer = reqwest::Client::new().post(url).json(&request).send().await.unwrap();
                answer.json::<Value>().await.unwrap()
            })
        });
        let asked: Vec<_> = asked.collect();
        let mut yes = Vec::new();
        for answer in asked {
            let answer = answer.await.unwrap();
            if answer["success"] == true {
                yes.push(answer);
            }
        }
        assert!(!yes.is_empty(), "somebody is told");
        assert!(yes.iter().all(|said| said["transaction"] == yes[0]["transaction"]), "{yes:?}");
        yes.remove(0)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_must_not_be_carried_is_refused_by_name() {
    let shop = Shop::open().await;
    let channel = Channel::of(&shop);
    let good = channel.deposit(5_000, 1);
    assert_eq!(channel.ask("/verify", &good).await["isValid"], true);

    // Of channels without money.
    assert_eq!(channel.verified(&channel.by_payer("voucher", PRICE)).await, "channel_not_found");
    assert_eq!(channel.verified(&channel.by_payer("refund", 0)).await, "channel_not_found");
    assert_eq!(channel.refused(&channel.claim(1)).await, "claim_simulation_failed");
    assert_eq!(channel.refused(&channel.sweep()).await, "nothing_to_settle");
    assert_eq!(channel.refused(&channel.refund(1, 0, 0)).await, "refund_no_balance");
    assert_eq!(channel.refused(&channel.deposit(10_001, 2)).await, "insufficient_balance");
    assert_eq!(channel.refused(&channel.deposit(999, 3)).await, "cumulative_exceeds_balance");

    // Whatever is changed afterwards, nothing moves.
    for (pointer, value, code) in [
        ("/deposit/amount", json!("5001"), "receive_authorization_signature"),
        ("/voucher/maxClaimableAmount", json!("1001"), "voucher_signature"),
        ("/channelConfig/receiver", json!(ESCROW.to_string()), "channel_id_mismatch"),
        ("/channelConfig/withdrawDelay", json!(901), "channel_id_mismatch"),
        ("/deposit/authorization/erc3009Authorization/validBefore", json!("1"), "payload_authorization_valid_before"),
        ("/deposit/authorization", json!({ "permit2Authorization": {} }), "erc3009_authorization_required"),
        ("/type", json!("claim"), "claim_payload"),
        ("/type", json!("other"), "payload_type"),
    ] {
        let mut wrong = good.clone();
        *wrong.pointer_mut(pointer).unwrap() = value;
        assert_eq!(channel.refused(&wrong).await, code, "{pointer}");
    }
    assert!(channel.deposited().is_empty(), "nothing moved");

    // What a payee must sign is signed for nobody, and a payer's message is no work for a facilitator.
    channel.settled(&good).await;
    for (payload, missing) in
        [(channel.claim(PRICE), "claimAuthorizerSignature"), (channel.refund(1, 0, 0), "refundAuthorizerSignature")]
    {
        let mut payload = payload;
        payload.as_object_mut().unwrap().remove(missing);
        assert_eq!(channel.refused(&payload).await, "authorizer_not_configured", "{missing}");
    }
    let mut both = channel.refund(1, 0, 0);
    both["claims"] = channel.claims(PRICE, PRICE);
    assert_eq!(channel.refused(&both).await, "authorizer_not_configured", "claims before a refund");
    for kind in ["voucher", "refund"] {
        assert_eq!(channel.refused(&channel.by_payer(kind, PRICE)).await, "payload_type");
    }
    for payload in [channel.claim(PRICE), channel.sweep(), channel.refund(1, 0, 0)] {
        assert_eq!(channel.verified(&payload).await, "payload_type");
    }

    // Signed by somebody else, or of more than there is: and nothing is written of it.
    let begun = channel.begun().await;
    let other = Channel { authorizer: ACCOUNTS[6], ..channel.salted(0) };
    let mut forged = channel.claim(PRICE);
    forged["claimAuthorizerSignature"] = other.claim(PRICE)["claimAuthorizerSignature"].clone();
    assert_eq!(channel.refused(&forged).await, "claim_simulation_failed");
    assert_eq!(channel.refused(&channel.claim(5_001)).await, "claim_simulation_failed");
    assert_eq!(channel.refused(&channel.refund(1, 1, 0)).await, "refund_simulation_failed", "another nonce");
    let mut forged = channel.refund(1, 0, 0);
    forged["amount"] = json!("2");
    assert_eq!(channel.refused(&forged).await, "refund_simulation_failed", "another amount than was signed");
    assert_eq!(channel.verified(&channel.by_payer("voucher", 5_001)).await, "cumulative_exceeds_balance");

    assert_eq!(channel.begun().await, begun, "strangers fill no book");

    // Of a token that nobody here vouches for, and on another chain.
    let mut elsewhere = channel.sweep();
    elsewhere["token"] = json!(ESCROW.to_string());
    assert_eq!(channel.refused(&elsewhere).await, "invalid_exact_evm_failed_to_get_asset_info");
    let abroad = PaymentRequirements { network: "eip155:1".into(), ..channel.required.clone() };
    let said = channel.ask_for("/settle", &channel.sweep(), &abroad).await;
    assert_eq!(said["errorReason"], format!("{PREFIX}network_mismatch"));
    assert_eq!(channel.deposited(), [5_000], "the one good deposit");
    assert!(
        channel.moved(ESCROW, shop_address()).is_empty() && channel.moved(ESCROW, channel.payer.address).is_empty()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn each_is_made_once_whoever_asks_and_how_often() {
    let shop = Shop::open().await;
    let channel = Channel::of(&shop);
    let deposit = channel.deposit(5_000, 1);
    let made = channel.by_eight(&deposit).await;
    assert_eq!((text(&made, "amount"), made["extra"]["channelState"]["balance"].as_str()), ("5000", Some("5000")));
    assert_eq!(channel.deposited(), [5_000]);
    assert_eq!(channel.refused(&deposit).await, "deposit_simulation_failed", "the same again");
    assert_eq!(channel.verified(&deposit).await, "deposit_simulation_failed");

    let voucher = channel.ask("/verify", &channel.by_payer("voucher", PRICE)).await;
    assert_eq!((&voucher["isValid"], voucher["extra"]["balance"].as_str()), (&json!(true), Some("5000")), "{voucher}");
    let claim = channel.claim(PRICE);
    let claimed = channel.by_eight(&claim).await;
    assert_eq!(text(&claimed, "amount"), "", "a claim moves nothing");
    assert_eq!(channel.verified(&channel.by_payer("voucher", PRICE)).await, "cumulative_below_claimed");
    let again = channel.settled(&claim).await;
    assert_eq!(again["transaction"], claimed["transaction"], "a lost answer is given again");
    let less = channel.settled(&channel.claim(PRICE - 1)).await;
    assert_eq!(less["transaction"], "", "it is so already, and nothing is sent: {less}");
    assert!(channel.moved(ESCROW, shop_address()).is_empty());

    let swept = channel.by_eight(&channel.sweep()).await;
    assert_eq!((text(&swept, "amount"), channel.moved(ESCROW, shop_address())), ("1000", vec![1_000]));
    assert_eq!(channel.refused(&channel.sweep()).await, "nothing_to_settle");
    channel.settled(&channel.claim(1_500)).await;
    let next = channel.settled(&channel.sweep()).await;
    assert_eq!(text(&next, "amount"), "500", "the same words are another sweep");
    assert_ne!(next["transaction"], swept["transaction"]);

    let refund = channel.refund(2_000, 0, 1_500);
    let back = channel.by_eight(&refund).await;
    assert_eq!((text(&back, "amount"), back["extra"]["channelState"]["balance"].as_str()), ("2000", Some("3000")));
    assert_eq!(channel.settled(&refund).await["transaction"], back["transaction"], "a lost answer is given again");
    assert_eq!(channel.moved(ESCROW, channel.payer.address), [2_000]);
    let rest = channel.settled(&channel.refund(9_999, 1, 1_500)).await;
    assert_eq!(text(&rest, "amount"), "1500", "no more than is left");
    assert_eq!(channel.refused(&channel.refund(1, 2, 1_500)).await, "refund_no_balance");
    assert_eq!(channel.moved(ESCROW, channel.payer.address), [2_000, 1_500]);
}

#[tokio::test(flavor = "multi_thread")]
async fn deposits_together_are_never_more_than_the_payer_has() {
    let shop = Shop::open().await;
    let channel = Channel::of(&shop);
    let channels: Vec<_> = (1..=8).map(|salt| channel.salted(salt)).collect();
    let payloads: Vec<Value> = channels.iter().map(|channel| channel.deposit(4_000, 1)).collect();
    let asked = payloads.iter().map(|payload| {
        let request = FacilitatorRequest::new(channel.payload(payload), channel.required.clone());
        let url = shop.url("/settle");
        tokio::spawn(async move {
            let answer = reqwest::Client::new().post(url).json(&request).send().await.unwrap();
            answer.json::<Value>().await.unwrap()
        })
    });
    let asked: Vec<_> = asked.collect();
    let mut paid = 0;
    for answer in asked {
        let answer = answer.await.unwrap();
        match answer["success"] == true {
            true => paid += 1,
            false => assert_eq!(answer["errorReason"], format!("{PREFIX}insufficient_balance"), "{answer}"),
        }
    }
    assert_eq!(channel.deposited(), vec![4_000; paid]);
    assert!(paid <= 2, "{paid} of 4,000 out of 10,000");
}

/// The same bytes, whatever happens meanwhile: a claim outlives the process that sent it, and a block that the chain takes back.
#[tokio::test(flavor = "multi_thread")]
async fn a_claim_outlives_its_process_and_its_block() {
    let folder = tempfile::tempdir().unwrap();
    let options =
        || DevOptions { data: Some(folder.path().to_owned()), finalized_lag_blocks: 200, ..DevOptions::default() };
    let shop = Shop::open_with(options()).await;
    let channel = Channel::of(&shop);
    channel.settled(&channel.deposit(5_000, 1)).await;
    shop.rpc("evm_setAutomine", json!([false]));
    let claim = channel.claim(PRICE);
    let waits = channel.ask("/settle", &claim).await;
    assert_eq!(waits["errorReason"], "settlement_pending", "{waits}");
    let sent = text(&waits, "transaction").to_owned();
    shop.service.stop().await;

    let shop = Shop::open_with(options()).await;
    let channel = Channel::of(&shop);
    shop.rpc("evm_setAutomine", json!([true]));
    assert_eq!(channel.settled_at_last(&claim).await["transaction"], sent, "by what was written down before");

    shop.rpc("evm_setAutomine", json!([false]));
    let height = |value: &Value| u64::from_str_radix(value.as_str().unwrap().trim_start_matches("0x"), 16).unwrap();
    let receipt = || shop.rpc("eth_getTransactionReceipt", json!([sent]));
    while !receipt().is_null() {
        let depth = height(&shop.rpc("eth_blockNumber", json!([]))) + 1 - height(&receipt()["blockNumber"]);
        shop.rpc("anvil_rollback", json!([depth]));
    }
    shop.rpc("evm_setAutomine", json!([true]));
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while receipt().is_null() {
        assert!(std::time::Instant::now() < deadline, "what the chain took back is sent again");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    assert_eq!(channel.settled_at_last(&claim).await["transaction"], sent);
    channel.settled(&channel.sweep()).await;
    assert_eq!(channel.moved(ESCROW, shop_address()), [PRICE], "claimed once");
}
