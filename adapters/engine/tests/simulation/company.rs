//! Who takes part: a payer's tenant with people and agents, a seller's, a facilitator's; and their keys.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock, Weak};

use alloy_primitives::Address;
use async_trait::async_trait;
use commerce::signatures::Unsigned as UnsignedMessage;
use engine::Engine;
use engine::carriers::{Carrier, Carriers};
use engine::facilitate::Repeater;
use engine::ports::{Facilitator, MandateSigner, Relayed, SignError, WalletSigner};
use engine::rate::Peg;
use engine::tenant::{
    Agent, AllowedPayees, Duty, FacilitatorRole, Limits, OtherVerifiers, Payee, Payees, Person, Seller, Tenant,
    Verifiers,
};
use ledger::budget::{Caps, Refunds};
use ledger::id::{PrincipalId, TenantId, TenantSecret};
use ledger::money::{Amount, AssetId};
use ledger::spend::{Spend, SpendState};
use ledger::window::{Limit, Period};
use mandates::jws::Unsigned;
use mandates::keys::{KeySet, PublicKey};
use mandates::party::Merchant;
use p256::ecdsa::signature::Signer as _;
use x402::batch_settlement::{Channel, Draw};
use x402::chain::CancelCall;
use x402::exact::{TokenDomain, WalletKey};
use x402::network::{Asset, AssetTable, Network, TransferMethod};
use x402::select::{Offer, Unsigned as UnsignedPayment};
use x402::wire::{FacilitatorRequest, PaymentPayload, PaymentRequirements, SettleResponse, VerifyResponse};

use super::chain::TOKEN;
use super::node::{SimNode, SimRelayer};
use super::state::{Shared, SimClock, SimEntropy, pause};
use super::store::SimStore;
use super::tables::salt;

pub const HOME: &str = "home";
pub const SHOP: &str = "shop";
pub const CARRIER: &str = "carrier";
pub const PEOPLE: [&str; 2] = ["ann", "ben"];
/// Each with the person who answers for it.
pub const AGENTS: [(&str, &str); 3] = [("scout", "ann"), ("clerk", "ann"), ("buyer", "ben")];
pub const SHOP_ADDRESS: Address = Address::repeat_byte(0xa1);
pub const STALL_ADDRESS: Address = Address::repeat_byte(0xb2);
pub const RELAYER: Address = Address::repeat_byte(0xc3);
/// Whom two of the agents and one of the people come by; the others come with tokens of ours.
pub const ISSUER: &str = "https://idp.example";
/// What there is to begin with.
pub const FUNDS: u128 = 1_000_000_000_000;
pub const GAS_FUNDS: u128 = 1_000_000_000_000_000_000_000;

pub fn network() -> Network {
    Network::new(31337).unwrap()
}

pub fn token() -> AssetId {
    network().asset_id(TOKEN).unwrap()
}

pub fn native() -> AssetId {
    format!("{}/slip44:60", network()).parse().unwrap()
}

pub fn tenant_id(name: &str) -> TenantId {
    name.parse().unwrap()
}

/// ES256 whose signatures depend on key and message alone (RFC 6979): a seed is its journal, to the byte.
struct Es256 {
    key: p256::ecdsa::SigningKey,
    public: PublicKey,
}

impl Es256 {
    fn new(number: u8) -> Self {
        let key = p256::ecdsa::SigningKey::from_slice(&[number; 32]).unwrap();
        let point = key.verifying_key().to_encoded_point(false);
        let (x, y) = ((*point.x().unwrap()).into(), (*point.y().unwrap()).into());
        Self { key, public: PublicKey::from_coordinates(x, y).unwrap() }
    }
}

#[async_trait]
impl MandateSigner for Es256 {
    fn public(&self) -> &PublicKey {
        &self.public
    }

    async fn sign(&self, unsigned: Unsigned) -> Result<String, SignError> {
        let signature: p256::ecdsa::Signature = self.key.sign(unsigned.signing_input());
        Ok(unsigned.finish(signature.to_bytes().into()))
    }

    async fn sign_message(&self, unsigned: UnsignedMessage) -> Result<(String, String), SignError> {
        let signature: p256::ecdsa::Signature = self.key.sign(unsigned.base());
        Ok(unsigned.finish(&signature.to_bytes()))
    }
}

struct Purse(WalletKey);

#[async_trait]
impl WalletSigner for Purse {
    fn address(&self) -> String {
        format!("{:#x}", self.0.address())
    }

    async fn sign(&self, spend: &Spend, payment: &UnsignedPayment<'_>) -> Result<PaymentPayload, SignError> {
        let signed = spend.state.is_signed() || matches!(spend.state, SpendState::Settled | SpendState::SpentOtherwise);
        if !signed {
            return Err(SignError::Refused(format!("the spend is {}", spend.state)));
        }
        payment.sign(&self.0).map_err(|error| SignError::Refused(error.to_string()))
    }

    async fn sign_voucher(&self, spend: &Spend, _draw: &Draw<'_>) -> Result<PaymentPayload, SignError> {
        Err(SignError::Refused(format!("nobody here pays {} out of a channel", spend.id)))
    }

    async fn ask_back(&self, last: &Spend, _offer: &Offer, _channel: &Channel) -> Result<PaymentPayload, SignError> {
        Err(SignError::Refused(format!("nobody here paid {} out of a channel", last.id)))
    }

    async fn cancel(&self, spend: &Spend, domain: &TokenDomain) -> Result<CancelCall, SignError> {
        Err(SignError::Refused(format!("nobody here cancels {} on {}", spend.id, domain.verifying_contract)))
    }
}

/// Made once: they are the same in every seed.
struct Keys {
    provider: Arc<dyn MandateSigner>,
    receipts: Arc<dyn MandateSigner>,
    agents: Vec<Arc<dyn MandateSigner>>,
    wallet: Arc<dyn WalletSigner>,
    address: Address,
}

fn keys() -> &'static Keys {
    static KEYS: OnceLock<Keys> = OnceLock::new();
    KEYS.get_or_init(|| {
        let wallet = WalletKey::from_bytes(&[9; 32]).unwrap();
        Keys {
            provider: Arc::new(Es256::new(1)),
            receipts: Arc::new(Es256::new(2)),
            agents: (3_u8..)
                .take(AGENTS.len())
                .map(|number| Arc::new(Es256::new(number)) as Arc<dyn MandateSigner>)
                .collect(),
            address: wallet.address(),
            wallet: Arc::new(Purse(wallet)),
        }
    })
}

pub fn wallet_address() -> Address {
    keys().address
}

/// Units of authority: a token's unit is a hundred of them.
pub fn authority(units: u128) -> Amount {
    Amount::new(units * 100)
}

/// What the configuration grants above the mandates, in token units.
#[derive(Clone, Copy, Debug)]
pub struct Grant {
    pub tenant: u128,
    pub person: u128,
    pub day: u128,
}

fn caps(total: u128, day: u128, refunds: Refunds) -> Caps {
    let limit = |period, amount, payments| Limit { period, each_payee: false, amount, payments };
    Caps {
        total: Some(authority(total)),
        limits: vec![
            limit(Period::Day("UTC".parse().unwrap()), Some(authority(day)), None),
            limit(Period::Rolling(600), Some(authority(day)), Some(30)),
        ],
        refunds,
        ..Caps::default()
    }
}

fn bare(name: &str) -> Tenant {
    let keys = keys();
    Tenant {
        id: tenant_id(name),
        secret: TenantSecret::new([5; 32]),
        salt: salt(),
        issuer: format!("https://{name}.example"),
        status_url: format!("https://{name}.example/status"),
        provider: keys.provider.clone(),
        receipts: keys.receipts.clone(),
        trust: None,
        roots: Arc::new(KeySet::new([keys.provider.public().clone()]).unwrap()),
        receipt_keys: KeySet::new([keys.receipts.public().clone()]).unwrap(),
        people: BTreeMap::new(),
        agents: BTreeMap::new(),
        merchants: BTreeMap::new(),
        payees: Payees::default(),
        verifiers: Verifiers { on_record: Vec::new(), others: OtherVerifiers::Refused },
        wallet: None,
        take_back: Default::default(),
        pegs: Vec::new(),
        currency: "USD".into(),
        caps: Caps::default(),
        // Nobody waits for the chain: whoever wants to know asks again.
        limits: Limits {
            hold_seconds: 30,
            payment_seconds: 60,
            decision_seconds: 900,
            settle_wait_millis: 0,
            ..Limits::default()
        },
        approval: Default::default(),
        user_credentials: None,
        policy: None,
        seller: None,
        facilitator: None,
        cancelled_by: None,
        shop: None,
        vault: None,
    }
}

pub fn home(grant: Grant) -> Tenant {
    let person = |name: &&str| {
        let refunds = if *name == "ann" { Refunds::Restore } else { Refunds::Keep };
        (
            name.parse::<PrincipalId>().unwrap(),
            Person { caps: caps(grant.person, grant.day, refunds), duty: Duty::default() },
        )
    };
    let agent = |((name, sponsor), signer): (&(&str, &str), &Arc<dyn MandateSigner>)| {
        let agent = Agent {
            signer: signer.clone(),
            retired: Vec::new(),
            sponsor: sponsor.parse().unwrap(),
            cost_centre: None,
            upkeep: Default::default(),
            build: None,
        };
        (name.parse::<PrincipalId>().unwrap(), agent)
    };
    let shop = Payee {
        id: "shop".parse().unwrap(),
        merchant: Merchant { id: "shop".into(), name: "Shop".into(), website: None },
        origins: vec!["https://shop.example".into()],
        pay_to: BTreeMap::from([(network(), vec![format!("{SHOP_ADDRESS:#x}")])]),
        keys: Vec::new(),
        acp: Default::default(),
    };
    let peg = Peg { base: token(), quote: AssetId::fiat("USD").unwrap(), rate: "1".into() };
    Tenant {
        people: PEOPLE.iter().map(person).collect(),
        agents: AGENTS.iter().zip(&keys().agents).map(agent).collect(),
        payees: Payees::new(vec![shop]),
        wallet: Some(keys().wallet.clone()),
        pegs: vec![peg],
        caps: caps(grant.tenant, grant.day * 2, Refunds::Restore),
        ..bare(HOME)
    }
}

/// A process: an engine, and the wire from its seller to a facilitator.
pub fn start(shared: &Shared, process: usize, grant: Grant) -> Arc<Engine> {
    let wire = Arc::new(Wire { shared: shared.clone(), engine: OnceLock::new() });
    let carriers = Arc::new(Carriers::new(Carrier::new("wire", wire.clone()), Vec::new()));
    let seller = Seller { carriers, payee: "till".parse().unwrap(), channels: None, holds: None };
    let relayer = Arc::new(SimRelayer { shared: shared.clone(), address: RELAYER });
    let facilitator = FacilitatorRole {
        relayer,
        others: Vec::new(),
        raise_after: std::time::Duration::MAX,
        batch_max: std::num::NonZeroUsize::MIN,
        timeout_seconds_max: u64::MAX,
        grants: engine::tenant::GasGrants::default(),
        former: Vec::new(),
        payees: AllowedPayees::Anyone,
    };
    let tenants = vec![
        home(grant),
        Tenant { seller: Some(seller), ..bare(SHOP) },
        Tenant { facilitator: Some(facilitator), ..bare(CARRIER) },
    ];
    let mut assets = AssetTable::empty();
    let (name, version) = ("USD Coin".to_owned(), "2".to_owned());
    let asset =
        Asset { network: network(), address: TOKEN, name, version, decimals: 6, transfer: TransferMethod::Eip3009 };
    assets.add(asset).unwrap();
    let engine = Arc::new(Engine::new(
        Arc::new(SimStore(shared.clone())),
        Arc::new(SimNode { shared: shared.clone(), process }),
        network(),
        assets,
        Arc::new(SimClock { shared: shared.clone(), process }),
        Arc::new(SimEntropy(shared.clone())),
        tenants,
    ));
    let _ = wire.engine.set(Arc::downgrade(&engine));
    engine
}

/// From seller to facilitator: messages are lost on their way, there and back.
struct Wire {
    shared: Shared,
    engine: OnceLock<Weak<Engine>>,
}

#[async_trait]
impl Facilitator for Wire {
    async fn verify(&self, payload: &PaymentPayload, requirements: &PaymentRequirements) -> Relayed<VerifyResponse> {
        let request = FacilitatorRequest::new(payload.clone(), requirements.clone());
        let Some(engine) = self.engine.get().and_then(Weak::upgrade) else { return Relayed::Silence("gone".into()) };
        match engine.facilitator_verify(&tenant_id(CARRIER), &request).await {
            Ok(response) => Relayed::Answer(response),
            Err(error) => Relayed::Silence(error.to_string()),
        }
    }

    async fn settle(&self, payload: &PaymentPayload, requirements: &PaymentRequirements) -> Relayed<SettleResponse> {
        let lost = || Relayed::Silence("lost".into());
        pause().await;
        if self.shared.chance(50) {
            return lost();
        }
        let request = FacilitatorRequest::new(payload.clone(), requirements.clone());
        let Some(engine) = self.engine.get().and_then(Weak::upgrade) else { return lost() };
        let told = engine.facilitator_settle(&tenant_id(CARRIER), &request, Repeater::Recognized).await;
        match told {
            _ if self.shared.chance(50) => lost(),
            Ok(response) => Relayed::Answer(response),
            Err(error) => Relayed::Silence(error.to_string()),
        }
    }
}
