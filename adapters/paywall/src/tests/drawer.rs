//! A till in memory, and a shop behind a paywall. What a real till does with a database and a chain, this one does
//! with a map and a list of answers written down by the test.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use x402::exact::WalletKey;
use x402::network::{Asset, AssetTable, Network, NetworkNames, TransferMethod};
use x402::reason::Reason;
use x402::release::History;
use x402::scheme::verify;
use x402::select::{Wallet, select};
use x402::value::Amount;
use x402::wire::{
    PaymentPayload, PaymentRequired, PaymentRequirements, ResourceInfo, SettleResponse, X402_VERSION, v1, write_header,
};

use crate::*;

pub const NOW: u64 = 1_795_490_600;
const TOKEN: &str = "0x5FbDB2315678afecb367f032d93F642f64180aa3";
const BUYER: [u8; 32] = [7; 32];

/// How the next settlements go; the last one stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    Settles,
    Fails,
    /// The facilitator misses an allowance.
    WantsAllowance,
    Unknown,
    /// Pending, and settled after so many looks.
    Pending {
        looks: usize,
    },
}

enum State {
    Running,
    Settling { looks: usize, answer: StoredAnswer },
    Answered(StoredAnswer),
    Failed,
    Unknown,
}

/// The digest of the purpose, and what became of it.
type Claimed = ([u8; 32], State);

#[derive(Default)]
pub struct Drawer {
    claims: Mutex<HashMap<[u8; 81], Claimed>>,
    fates: Mutex<Vec<Fate>>,
    down: bool,
    pub won: AtomicUsize,
    pub settled: AtomicUsize,
    pub abandoned: Mutex<Vec<Abandoned>>,
    /// What the handlers said that they charge.
    pub charged: Mutex<Vec<Option<Amount>>>,
}

impl Drawer {
    pub fn with(fate: Fate) -> Arc<Self> {
        Arc::new(Self { fates: Mutex::new(vec![fate]), ..Self::default() })
    }

    /// A till that nobody can reach.
    pub fn down() -> Arc<Self> {
        Arc::new(Self { down: true, ..Self::default() })
    }

    pub fn won(&self) -> usize {
        self.won.load(Ordering::SeqCst)
    }

    /// The process that won every running claim has died.
    pub fn crash(&self) {
        for (_, state) in self.claims.lock().unwrap().values_mut() {
            if matches!(state, State::Running) {
                *state = State::Unknown;
            }
        }
    }

    fn set(&self, ticket: &Ticket, state: State) {
        self.claims.lock().unwrap().get_mut(&ticket.key.to_bytes()).unwrap().1 = state;
    }
}

#[async_trait]
impl Till for Drawer {
    async fn claim(&self, request: &ClaimRequest) -> Result<Claim, Refusal> {
        if self.down {
            return Err(Refusal::Unavailable { message: "password=hunter2".to_owned() });
        }
        let payment = verify(&request.payload, &request.requirements, &assets(), NOW)?;
        assert_eq!(payment.claim_key(), request.key, "the key was read rightly");
        let mut claims = self.claims.lock().unwrap();
        let Some((purpose, state)) = claims.get_mut(&request.key.to_bytes()) else {
            claims.insert(request.key.to_bytes(), (request.purpose.digest(), State::Running));
            self.won.fetch_add(1, Ordering::SeqCst);
            return Ok(Claim::Won(Ticket {
                key: request.key,
                id: "1".to_owned(),
                manner: request.release.manner(Amount::MAX, History::None),
            }));
        };
        if *purpose != request.purpose.digest() {
            return Err(Refusal::UsedForOtherResource);
        }
        if let State::Settling { looks, answer } = state {
            if *looks == 0 {
                *state = State::Answered(answer.clone());
            } else {
                *looks -= 1;
            }
        }
        match state {
            State::Running | State::Settling { .. } => Ok(Claim::InFlight),
            State::Answered(answer) => {
                Ok(Claim::Answered(Answered { answer: answer.clone(), response: Some(receipt()) }))
            }
            State::Failed => Err(Refusal::SettlementFailed(Box::new(failure()))),
            State::Unknown => Ok(Claim::OutcomeUnknown),
        }
    }

    async fn settle(
        &self,
        ticket: Ticket,
        answer: StoredAnswer,
        charged: Option<Amount>,
    ) -> Result<Settled, SettleRefusal> {
        self.charged.lock().unwrap().push(charged);
        self.settled.fetch_add(1, Ordering::SeqCst);
        let fate = *self.fates.lock().unwrap().last().unwrap_or(&Fate::Settles);
        match fate {
            Fate::Settles => {
                self.set(&ticket, State::Answered(answer));
                Ok(Settled { response: receipt() })
            }
            Fate::Fails => {
                self.set(&ticket, State::Failed);
                Err(SettleRefusal::Failed(Box::new(failure())))
            }
            Fate::WantsAllowance => {
                self.claims.lock().unwrap().remove(&ticket.key.to_bytes());
                let reason = Reason::Permit2AllowanceRequired;
                let receipt = SettleResponse::failed(reason, "allow it first", None, "", "eip155:31337");
                Err(SettleRefusal::Failed(Box::new(receipt)))
            }
            Fate::Unknown => {
                self.set(&ticket, State::Unknown);
                Err(SettleRefusal::Unknown { message: "no answer".to_owned() })
            }
            Fate::Pending { looks } => {
                self.set(&ticket, State::Settling { looks, answer });
                Err(SettleRefusal::Pending { transaction: "0x01".to_owned() })
            }
        }
    }

    async fn abandon(&self, ticket: Ticket, why: Abandoned) -> Option<SettleResponse> {
        self.claims.lock().unwrap().remove(&ticket.key.to_bytes());
        self.abandoned.lock().unwrap().push(why);
        None
    }
}

fn receipt() -> SettleResponse {
    let mut receipt = SettleResponse::settled(buyer().address().to_string(), "0x01", "eip155:31337");
    receipt.unknown.insert("extensionResponses".to_owned(), "between us".into());
    receipt
}

fn failure() -> SettleResponse {
    SettleResponse::failed(Reason::TransactionFailed, "it reverted", None, "0x02", "eip155:31337")
}

pub fn buyer() -> WalletKey {
    WalletKey::from_bytes(&BUYER).unwrap()
}

pub fn assets() -> AssetTable {
    let mut table = AssetTable::empty();
    table
        .add(Asset {
            network: Network::new(31337).unwrap(),
            address: x402::value::address(TOKEN).unwrap(),
            name: "USD Coin".to_owned(),
            version: "2".to_owned(),
            decimals: 6,
            transfer: TransferMethod::Eip3009,
        })
        .unwrap();
    table
}

pub fn offer() -> PaymentRequirements {
    serde_json::from_value(serde_json::json!({
        "scheme": "exact",
        "network": "eip155:31337",
        "amount": "10000",
        "asset": TOKEN,
        "payTo": "0x3C44CdDdB6a900fa2b585dd299e03d12FA4293BC",
        "maxTimeoutSeconds": 60,
        "extra": {"name": "USD Coin", "version": "2"}
    }))
    .unwrap()
}

pub fn price(repeat: Repeat) -> Price {
    Price::new("shop", vec![offer()], ResourceInfo::new("https://shop.example"), Address::Under, repeat).unwrap()
}

/// The same amount as the most that may be charged.
pub fn upto() -> PaymentRequirements {
    let mut offer = PaymentRequirements { scheme: "upto".to_owned(), ..offer() };
    offer.extra.as_mut().unwrap().insert("facilitatorAddress".to_owned(), TOKEN.into());
    offer
}

/// A payment for a path of the shop. `nonce` tells payments apart.
pub fn payment(path: &str, nonce: u8) -> PaymentPayload {
    payment_of(offer(), path, nonce)
}

pub fn payment_of(offer: PaymentRequirements, path: &str, nonce: u8) -> PaymentPayload {
    let resource = ResourceInfo::new(format!("https://shop.example{path}"));
    let required = PaymentRequired { x402_version: X402_VERSION, ..PaymentRequired::new(resource, vec![offer], None) };
    let table = assets();
    let offer = select(&required, "GET", Wallet::new(&table)).unwrap();
    let key = buyer();
    let unsigned = offer.authorize(key.address(), alloy_primitives::B256::repeat_byte(nonce), 0, NOW + 60).unwrap();
    unsigned.sign(&key).unwrap()
}

/// The same shop, with a name for its network in version 1.
pub fn older_price(repeat: Repeat) -> Price {
    let mut names = NetworkNames::trusted();
    names.add("hardhat", Network::new(31337).unwrap()).unwrap();
    price(repeat).with_names(names)
}

/// The same payment, as version 1 carries it.
pub fn older(payment: &PaymentPayload) -> String {
    write_header(&v1::PaymentPayload::of(payment, "hardhat")).unwrap()
}
