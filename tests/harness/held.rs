//! A service that sells for money that an escrow holds, and somebody who pays it.

use alloy_primitives::{Address, B256};
use chain::rpc::{RpcChain, RpcConfig};
use purser::config::{HoldsConfig, PayBy, RouteConfig};
use serde_json::{Value, json};
use x402::auth_capture::{ESCROW, EscrowState, read_payment};
use x402::chain::{At, Chain as _};
use x402::network::{Asset, AssetTable, TransferMethod};
use x402::scheme;
use x402::select::{HoldLimits, Wallet, select};
use x402::wire::{PaymentPayload, PaymentRequired};

use super::channel::{Got, KEY, PRICE, Work, ask_at, key_of, network};
use super::text;
use super::world::World;

/// How long after a demand something may be captured, here.
pub const CAPTURE_SECONDS: u64 = 700;

pub struct Seller {
    pub world: World,
    pub work: Work,
}

pub fn now() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs()
}

impl Seller {
    pub async fn open() -> Self {
        Self::of(World::start_with(60).await, None).await
    }

    /// Through this facilitator, which settles from this account, instead of its own.
    pub async fn of(mut world: World, facilitator: Option<(&str, Address)>) -> Self {
        let work = Work::default();
        let upstream = work.serve().await;
        let key_file = world.folder.path().join("upstream.key");
        std::fs::write(&key_file, KEY).unwrap();
        let sell = world.config.tenants.iter_mut().find_map(|tenant| tenant.sell.as_mut()).expect("who sells");
        sell.upstream_key_file = Some(key_file);
        if let Some((url, account)) = facilitator {
            sell.facilitator = url.to_owned();
            sell.facilitator_address = Some(account.to_string());
        }
        sell.holds = Some(HoldsConfig { capture_seconds: CAPTURE_SECONDS.try_into().unwrap() });
        for (path, way, seconds) in [
            ("/held/*", PayBy::AuthCapture, 60),
            ("/brief/*", PayBy::AuthCapture, 12),
            ("/charged/*", PayBy::AuthCharge, 60),
        ] {
            sell.routes.push(RouteConfig {
                path: path.into(),
                amount: PRICE.to_string(),
                description: "paid by what it takes".into(),
                pay_by: vec![way],
                upstream: Some(upstream.clone()),
                max_timeout_seconds: seconds,
                ..RouteConfig::default()
            });
        }
        std::fs::write(world.config_file(), toml::to_string(&world.config).unwrap()).unwrap();
        world.restart();
        Self { world, work }
    }

    pub fn origin(&self) -> String {
        self.world.config.public_url()
    }

    pub fn rpc(&self) -> RpcChain {
        RpcChain::http_any(&[text(&self.world.chain.line, "rpc_url").to_owned()], RpcConfig::default()).unwrap()
    }

    pub async fn ask(&self, path: &str, payload: Option<&PaymentPayload>) -> Got {
        ask_at(&self.origin(), path, payload).await
    }

    pub async fn demand(&self, path: &str) -> PaymentRequired {
        let met = self.ask(path, None).await;
        assert_eq!(met.status, 402, "{met:?}");
        met.required.expect("a demand")
    }

    pub async fn balance(&self, owner: Address) -> u128 {
        let units = self.rpc().balance_of(chain::token::ADDRESS, owner, At::Latest).await.unwrap();
        u128::try_from(units).unwrap()
    }

    /// What the escrow has of a payment.
    pub async fn escrowed(&self, payload: &PaymentPayload) -> EscrowState {
        let terms = scheme::terms(&payload.accepted).unwrap();
        let info = read_payment(payload, &terms).unwrap().info;
        self.rpc().escrowed(info.hash(network(), ESCROW), At::Latest).await.unwrap()
    }

    /// Accounts of the shop's in the books, once the service is stopped.
    pub fn booked(&self, tenant: &str, accounts: &[(&str, u128)]) {
        use super::process::{run, stdout};
        let file = self.world.config_file().display().to_string();
        let verified = run(&["ledger", "verify", "--config", &file], &self.world.env());
        assert!(verified.status.success(), "{}", stdout(&verified));
        let balances = stdout(&run(&["ledger", "balances", "--config", &file, "--json"], &self.world.env()));
        let lines = balances.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let own = lines.into_iter().find(|line| line["tenant"] == tenant).expect("a line of the tenant's");
        assert_eq!(own["balanced"], true, "{own}");
        for (account, expected) in accounts {
            let entry =
                own["accounts"].as_array().unwrap().iter().find(|entry| text(entry, "account").starts_with(account));
            let found = entry.map_or("0", |entry| text(entry, "balance"));
            assert_eq!(found, expected.to_string(), "{account}: {own}");
        }
    }
}

/// The trusted table, with the test dollar in it.
pub fn table() -> AssetTable {
    let mut table = AssetTable::trusted();
    let [name, version] = [chain::token::NAME, chain::token::VERSION].map(String::from);
    let (address, transfer) = (chain::token::ADDRESS, TransferMethod::Eip3009);
    table.add(Asset { network: network(), address, name, version, decimals: 6, transfer }).unwrap();
    table
}

/// Somebody with money and a key.
#[derive(Clone, Copy)]
pub struct Payer {
    key: [u8; 32],
}

impl Payer {
    pub async fn new(seller: &Seller, number: u8, funds: u128) -> Self {
        let payer = Self { key: [number; 32] };
        seller.world.rpc("devnet_mint", json!([payer.address(), format!("{funds:#x}")])).await;
        payer
    }

    pub fn address(self) -> Address {
        key_of(&self.key).address()
    }

    pub fn secret(self) -> String {
        B256::from(self.key).to_string()
    }

    pub fn sign(self, demand: &PaymentRequired, salt: u8) -> PaymentPayload {
        let limits = HoldLimits { now: now(), seconds_max: u64::MAX / 2, fee_bps_max: 10_000 };
        let offer = select(demand, "GET", Wallet::new(&table()).with_holds(limits)).unwrap();
        let until = now() + offer.max_timeout_seconds();
        let unsigned = offer.authorize(self.address(), B256::repeat_byte(salt), 0, until).unwrap();
        unsigned.sign(&key_of(&self.key)).unwrap()
    }

    pub async fn pay(self, seller: &Seller, path: &str, salt: u8) -> PaymentPayload {
        self.sign(&seller.demand(path).await, salt)
    }
}

/// What a receipt says was taken.
pub fn taken(got: &Got) -> String {
    assert_eq!(got.status, 200, "{got:?}");
    text(got.receipt.as_ref().expect("a receipt"), "amount").to_owned()
}
