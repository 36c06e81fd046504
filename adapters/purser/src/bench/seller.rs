//! What it costs a seller to claim a payment before it works: beside a durable commit, and beside a paid request on a chain
//! with a block each two seconds.

use std::collections::HashMap;
use std::io::Write as _;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use ledger::command::{ClaimSettlement, Command, Request};
use ledger::id::{AuthMethod, Caller, CallerKind, Digest, TenantId};
use ledger::journal::SaltKey;
use ledger::money::Amount;
use ledger::settlement::{Role, SettlementKey};
use ledger::spend::Authorization;
use ledger::store::{Store as _, Work};
use ledger::transfer::Money;
use serde_json::json;
use store::{Location, Options, Schema, SqlStore};
use x402::exact::{WalletKey, nonce};
use x402::network::{Asset, AssetTable, Network, TransferMethod};
use x402::select::{Wallet, select};
use x402::wire::{PAYMENT_REQUIRED, PaymentRequired, read_header, write_header};

use super::{Better, Row, median};
use crate::client::Client;
use crate::dev::{DevOptions, DevService};
use crate::world::buyer;

const CLAIMS: u64 = 200;
const ROUNDS: usize = 9;
const REQUESTS: u64 = 5;
const BLOCK: Duration = Duration::from_secs(2);
const PAGE: [u8; 4_096] = [7; 4_096];

fn say(error: impl std::fmt::Display) -> String {
    error.to_string()
}

fn now() -> Result<u64, String> {
    Ok(SystemTime::now().duration_since(UNIX_EPOCH).map_err(say)?.as_secs())
}

fn claim(number: u64) -> Result<ClaimSettlement, String> {
    let digest = Digest::of(&number.to_be_bytes());
    let asset: ledger::money::AssetId = "eip155:1/erc20:0x01".parse().map_err(|_| "an asset")?;
    let authorization =
        Authorization { network: "eip155:1".into(), asset: asset.clone(), payer: "0x03".into(), nonce: digest.0 };
    Ok(ClaimSettlement {
        key: SettlementKey { role: Role::Seller, authorization },
        money: Money { asset, amount: Amount::new(1) },
        payee: "shop".parse().map_err(|_| "a payee")?,
        pay_to: "0x02".into(),
        subject: digest,
        valid_before: i64::MAX,
        since_block: 0,
        cover: None,
        credit: None,
        named: None,
        order: None,
    })
}

/// One unit of work a claim, one after the other; and as many synced appends of a page, in turns.
async fn claims() -> Result<(Duration, Duration), String> {
    let folder = tempfile::tempdir().map_err(say)?;
    let tenant: TenantId = "seller".parse().map_err(|_| "a tenant")?;
    let salts = HashMap::from([(tenant.clone(), SaltKey::new([1; 32]))]);
    let location = Location::from(folder.path().join("bench.sqlite"));
    let store = SqlStore::open(location, salts, Options::new(Schema::Migrate)).await.map_err(say)?;
    let caller = Caller::new("till".parse().map_err(|_| "a principal")?, CallerKind::Service, AuthMethod::Internal);
    let mut file = tempfile::tempfile_in(folder.path()).map_err(say)?;
    let (mut ours, mut peer, mut number) = (Vec::new(), Vec::new(), 0);
    for _ in 0..ROUNDS {
        let started = Instant::now();
        for _ in 0..CLAIMS {
            number += 1;
            let command = Command::Claim(Box::new(claim(number)?));
            let work = Work::new(Request { caller: caller.clone(), command }, Vec::new());
            store.run(&tenant, work).await.map_err(say)?;
        }
        ours.push(started.elapsed());
        let started = Instant::now();
        for _ in 0..CLAIMS {
            file.write_all(&PAGE).and_then(|()| file.sync_data()).map_err(say)?;
        }
        peer.push(started.elapsed());
    }
    let count = u32::try_from(CLAIMS).map_err(say)?;
    Ok((median(ours) / count, median(peer) / count))
}

/// From the signed request to the paid answer, with a block each two seconds.
async fn paid_request() -> Result<Duration, String> {
    let service = DevService::start(DevOptions::default()).await.map_err(say)?;
    let client = Client::new(service.url()).map_err(say)?;
    let url = format!("{}/paid/report", service.url());
    let met = client.fetch("GET", &url, None).await.map_err(say)?;
    let header = met.header(PAYMENT_REQUIRED).ok_or("no 402")?;
    let required: PaymentRequired = read_header(header.as_bytes()).map_err(say)?;
    let mut assets = AssetTable::empty();
    assets
        .add(Asset {
            network: Network::new(31_337).ok_or("no network")?,
            address: chain::token::ADDRESS,
            name: chain::token::NAME.to_owned(),
            version: chain::token::VERSION.to_owned(),
            decimals: chain::token::DECIMALS,
            transfer: TransferMethod::Eip3009,
        })
        .map_err(say)?;
    let offer = select(&required, "GET", Wallet::new(&assets)).map_err(say)?;
    let wallet = WalletKey::from_bytes(&buyer().private_key.0).map_err(say)?;
    let devnet = service.devnet().clone();
    let rpc = move |method: &str, params: serde_json::Value| {
        let call = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params }).to_string();
        devnet.dispatch(call.as_bytes()).map(|_| ()).ok_or("the devnet says nothing")
    };
    rpc("evm_setAutomine", json!([false]))?;
    let mining = tokio::spawn(async move {
        loop {
            tokio::time::sleep(BLOCK).await;
            if rpc("evm_mine", json!([])).is_err() {
                return;
            }
        }
    });
    let mut times = Vec::new();
    for number in 0..REQUESTS {
        let until = now()?.saturating_add(50);
        let unsigned = offer.authorize(wallet.address(), nonce([1; 32], Digest::of(&number.to_be_bytes()).0), 0, until);
        let payload = unsigned.map_err(say)?.sign(&wallet).map_err(say)?;
        let header = write_header(&payload).map_err(say)?;
        // Not in step with the blocks.
        tokio::time::sleep(BLOCK * u32::try_from(number).map_err(say)? / 5).await;
        let started = Instant::now();
        let fetched = client.fetch("GET", &url, Some(&header)).await.map_err(say)?;
        if fetched.status.as_u16() != 200 {
            return Err(format!("a paid request was answered {}", fetched.status));
        }
        times.push(started.elapsed());
    }
    mining.abort();
    service.stop().await;
    Ok(median(times))
}

pub async fn rows() -> Result<Vec<Row>, String> {
    let ((ours, peer), paid) = (claims().await?, paid_request().await?);
    let share = (ours.as_secs_f64() / paid.as_secs_f64() * 100_000.0).round() / 1_000.0;
    let millis = (paid.as_secs_f64() * 1_000.0).round();
    Ok(vec![Row {
        name: "seller_protection",
        ours,
        peer: Some(peer),
        peer_is: "one synced append of 4 KiB; ours is the claim before the work: one unit of the book",
        rounds: ROUNDS,
        more: json!({ "paid_request_ms": millis, "block_seconds": BLOCK.as_secs(), "share_percent": share }),
        rate: false,
        better: Better::Lower,
    }])
}
