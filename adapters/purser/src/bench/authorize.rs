//! A whole authorization, against what it must do whatever else it does: the signatures and verifications, and one synced
//! write, because what is signed has to be on the disk before, as held and committed.

use std::io::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use engine::Identity;
use engine::authorize::PaymentRequest;
use ledger::id::{AuthMethod, Caller, CallerKind};
use mandates::keys::LocalKey;
use reqwest::Method;
use serde_json::{Value, json};
use x402::exact::WalletKey;
use x402::wire::{PaymentRequired, PaymentRequirements, ResourceInfo};

use super::{Better, Row, median, round};
use crate::client::Client;
use crate::dev::{DevOptions, DevService};
use crate::world::{AGENT, HOME, USER, shop_address};

const ROUNDS: usize = 9;
const PAYMENTS: u64 = 20;
const CALLERS: u64 = 64;
/// With nine rounds below the open payments that one agent may have.
const HTTP_PAYMENTS: u64 = 1_024;

struct Bench {
    service: DevService,
    client: Client,
    agent: String,
    mandate: String,
}

impl Bench {
    async fn open() -> Result<Self, String> {
        let service = DevService::start(DevOptions::default()).await.map_err(|error| error.to_string())?;
        let client = Client::new(service.url()).map_err(|error| error.to_string())?;
        let agent = service.token(HOME, AGENT, CallerKind::Agent)?;
        let user = service.token(HOME, USER, CallerKind::User)?;
        let intent = json!({
            "user": USER, "description": "bench", "currency": "USD", "total": "4000", "per_payment": "1",
            "payments": 1_000_000, "expires_in_seconds": 86_400,
        });
        let call = async |path: &str, token: &str, body: Value| {
            client.call(Method::POST, path, token, None, Some(body)).await.map_err(|error| error.to_string())
        };
        let asked = call("/v1/mandates/intents", &agent, intent).await?;
        let id = asked["approval"]["id"].as_str().unwrap_or_default();
        let decision = json!({ "decision": "approve", "digest": asked["approval"]["digest"] });
        let decided = call(&format!("/v1/approvals/{id}/decision"), &user, decision).await?;
        let mandate = decided["mandate"].as_str().ok_or("no mandate")?.to_owned();
        Ok(Self { service, client, agent, mandate })
    }

    /// A thing of its own each time: the same thing twice is refused while the first is open.
    fn offer(&self, number: u64) -> PaymentRequired {
        let requirements = PaymentRequirements {
            scheme: "exact".into(),
            network: "eip155:31337".into(),
            amount: "100".into(),
            asset: chain::token::ADDRESS.to_string(),
            pay_to: shop_address().to_string(),
            max_timeout_seconds: 60,
            extra: json!({ "name": chain::token::NAME, "version": chain::token::VERSION }).as_object().cloned(),
            unknown: serde_json::Map::new(),
        };
        let resource = ResourceInfo::new(format!("{}/bench/{number}", self.service.url()));
        PaymentRequired::new(resource, vec![requirements], None)
    }

    async fn by_engine(&self, from: u64) -> Result<Duration, String> {
        let identity = Identity {
            tenant: self.service.tenant(HOME)?,
            caller: Caller::new(AGENT.parse().map_err(|_| "a principal")?, CallerKind::Agent, AuthMethod::Internal),
        };
        let started = Instant::now();
        for number in from..from + PAYMENTS {
            let request = PaymentRequest {
                mandate: self.mandate.parse().map_err(|_| "a mandate")?,
                required: self.offer(number),
                method: "GET".into(),
                url: None,
                key: format!("engine-{number}").parse().map_err(|_| "a key")?,
                cart: None,
                again_after: None,
            };
            self.service.engine().authorize(&identity, request).await.map_err(|error| error.to_string())?;
        }
        let count = u32::try_from(PAYMENTS).map_err(|error| error.to_string())?;
        Ok(started.elapsed() / count)
    }

    /// Many callers at once: time a payment, and each one's own time.
    async fn over_http(self: &Arc<Self>, from: u64) -> Result<(Duration, Vec<Duration>), String> {
        let started = Instant::now();
        let mut tasks = Vec::new();
        for first in 0..CALLERS {
            let bench = self.clone();
            tasks.push(tokio::spawn(async move {
                let mut times = Vec::new();
                let mut number = from + first;
                while number < from + HTTP_PAYMENTS {
                    let body = json!({ "mandate": bench.mandate, "payment_required": bench.offer(number) });
                    let (key, began) = (format!("http-{number}"), Instant::now());
                    let paid =
                        bench.client.call(Method::POST, "/v1/payments", &bench.agent, Some(&key), Some(body)).await;
                    paid.map_err(|error| error.to_string())?;
                    times.push(began.elapsed());
                    number += CALLERS;
                }
                Ok::<_, String>(times)
            }));
        }
        let mut times = Vec::new();
        for task in tasks {
            times.extend(task.await.map_err(|error| error.to_string())??);
        }
        let count = u32::try_from(HTTP_PAYMENTS).map_err(|error| error.to_string())?;
        Ok((started.elapsed() / count, times))
    }
}

/// A page of a database.
const PAGE: [u8; 4_096] = [7; 4_096];

/// One ES256 signature (the closed mandate), two verifications (the chain), one secp256k1 signature (the payment); and where
/// `synced`, a page appended to a file and synced.
fn raw(synced: bool) -> Result<impl FnMut() -> Result<(), String>, String> {
    let say = |error: &dyn std::fmt::Display| error.to_string();
    let key = LocalKey::from_random(&[7; 32]).map_err(|error| say(&error))?;
    let wallet = WalletKey::from_bytes(&[8; 32]).map_err(|error| say(&error))?;
    let message = vec![7; 1_024];
    let signature = key.sign(&message).map_err(|error| say(&error))?;
    let mut file = tempfile::tempfile().map_err(|error| say(&error))?;
    Ok(move || {
        if synced {
            file.write_all(&PAGE).and_then(|()| file.sync_data()).map_err(|error| error.to_string())?;
        }
        key.sign(&message).map_err(|error| error.to_string())?;
        for _ in 0..2 {
            key.public().verify(&message, &signature).map_err(|error| error.to_string())?;
        }
        wallet.sign(alloy_primitives::B256::repeat_byte(9)).map(|_| ()).map_err(|error| error.to_string())
    })
}

pub async fn rows() -> Result<Vec<Row>, String> {
    let bench = Arc::new(Bench::open().await?);
    let (mut raw, mut signing) = (raw(true)?, raw(false)?);
    bench.by_engine(0).await?;
    round(&mut raw)?;
    round(&mut signing)?;
    let (mut engine, mut http, mut peer, mut signed, mut each) = <(Vec<_>, Vec<_>, Vec<_>, Vec<_>, Vec<_>)>::default();
    for number in 1..=u64::try_from(ROUNDS).map_err(|error| error.to_string())? {
        engine.push(bench.by_engine(number * 1_000_000).await?);
        peer.push(round(&mut raw)?);
        signed.push(round(&mut signing)?);
        let (time, times) = bench.over_http(number * 1_000_000 + 500_000).await?;
        http.push(time);
        each.extend(times);
    }
    each.sort_unstable();
    let at = |part: usize| each.get(each.len() * part / 100).copied().unwrap_or_default();
    let millis = |time: Duration| (time.as_secs_f64() * 10_000.0).round() / 10.0;
    let peer_is = "1 ES256 sign, 2 ES256 verifies, 1 secp256k1 sign, 1 synced append of 4 KiB";
    let (peer, rounds, signed) = (median(peer), ROUNDS, median(signed).as_secs_f64() * 1e6);
    let engine = Row {
        name: "engine_authorize",
        ours: median(engine),
        peer: Some(peer),
        peer_is,
        rounds,
        more: json!({ "callers": 1, "units": 1, "signatures_alone_us": signed.round() }),
        rate: false,
        better: Better::Lower,
    };
    let http = Row {
        name: "http_authorize",
        ours: median(http),
        peer: None,
        peer_is: "nothing: 64 callers share their syncs, and the load generator the cores",
        rounds,
        more: json!({ "callers": CALLERS, "p50_ms": millis(at(50)), "p99_ms": millis(at(99)) }),
        rate: true,
        better: Better::Higher,
    };
    let bench = Arc::into_inner(bench).ok_or("a caller is left")?;
    bench.service.stop().await;
    Ok(vec![engine, http])
}
