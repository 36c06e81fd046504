//! The facilitator over HTTP, beside the official one in TypeScript on the same chain: what each verifies and settles in a
//! second, and how often it asks the chain for one payment.
//!
//! The chain is a process, theirs another; ours runs in this one beside the callers, and speaks to both over TCP all the same.
//! Its database is in a file: every settlement is claimed, written down and posted durably. Theirs keeps nothing.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use alloy_primitives::{B256, U256};
use chain::accounts::{ACCOUNTS, TestAccount};
use chain::rpc::{RpcChain, RpcConfig};
use serde_json::{Value, json};
use store::Schema;
use tempfile::TempDir;
use tokio::net::TcpListener;
use x402::chain::{At, Chain};
use x402::exact::{Authorization, Terms, WalletKey};
use x402::wire::PaymentRequirements;

use super::{Better, Row, median};
use crate::assembly::open_store;
use crate::keys::{MasterKey, Slot};
use crate::service::Running;
use crate::world::{WorldOptions, config, local_facilitator, relayer_address, ring, shop_address};

const ROUNDS: usize = 5;
/// Of each: as many as keep both busy on a quiet machine.
const CALLERS: usize = 64;
const ROUND: Duration = Duration::from_millis(1_000);
/// Payments signed for the first round of each. A later one gets more than the round before it could settle; verifying
/// uses none up, and asks about the same ones again.
const SIGNED: usize = 512;
/// Signed at once where many are settled: what waits is memory, too.
const GROWTH_SIGNED: usize = 1_000;
const PRICE: u64 = 100;
const SCRIPT: &str = include_str!("facilitator.mjs");

/// Where the official packages are installed.
const PEER: &str = "PURSER_FOREIGN_NODE";
const PEER_IS: &str = "@x402/core and @x402/evm behind express, viem counting nonces and looking every 20 ms";

/// Killed when dropped.
struct Process {
    child: Child,
    line: String,
}

impl Process {
    /// Started, and the first line that it prints.
    fn start(command: &mut Command) -> Result<Self, String> {
        let command = command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().map_err(|error| format!("{command:?}: {error}"))?;
        let stdout = child.stdout.take().ok_or("no standard output")?;
        let mut process = Self { child, line: String::new() };
        BufReader::new(stdout).read_line(&mut process.line).map_err(|error| error.to_string())?;
        Ok(process)
    }

    fn member(&self, name: &str) -> Result<String, String> {
        let line: Value = serde_json::from_str(&self.line).map_err(|error| format!("{error}: {:?}", self.line))?;
        line[name].as_str().map(str::to_owned).ok_or_else(|| format!("no {name} in {line}"))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

struct Bench {
    chain: RpcChain,
    rpc_url: String,
    http: reqwest::Client,
    requirements: PaymentRequirements,
    nonces: u64,
    /// Ours, and theirs where it is on this machine.
    urls: [Option<String>; 2],
    _ours: Running,
    _processes: Vec<Process>,
    _folder: TempDir,
}

/// One round of one facilitator.
struct Round {
    each: Duration,
    done: usize,
    refused: usize,
    calls: u64,
}

fn say(error: impl std::fmt::Display) -> String {
    error.to_string()
}

impl Bench {
    async fn open() -> Result<Self, String> {
        let binary = std::env::current_exe().map_err(say)?;
        let chain = Process::start(Command::new(binary).args(["chain", "--port", "0", "--block-millis", "0"]))?;
        let rpc_url = chain.member("rpc_url")?;
        let folder = tempfile::tempdir().map_err(say)?;
        let master = MasterKey::random().map_err(say)?;
        let listener = TcpListener::bind("127.0.0.1:0").await.map_err(say)?;
        let options = WorldOptions {
            listen: listener.local_addr().map_err(say)?,
            database: folder.path().join("purser.sqlite").into(),
            rpc_url: rpc_url.clone(),
            facilitator: local_facilitator(),
            chain_id: 31_337,
        };
        let mut ring = ring(&options.database, master).await.map_err(say)?;
        let config = config(&options, &ring).map_err(say)?;
        ring.provide(&Slot::all(&config)).await.map_err(say)?;
        let store = open_store(&config, &ring, Schema::Refuse).await.map_err(say)?;
        let relayer = relayer_address(&ring).map_err(say)?;
        let rpc = || RpcChain::http(&rpc_url, RpcConfig::default()).map_err(say);
        let ours = Running::start(&config, &ring, store, rpc()?, listener).await?;
        let (url, theirs) = (ours.url().to_owned(), peer(&rpc_url)?);
        let their_url = theirs.as_ref().map(|process| format!("http://127.0.0.1:{}", process.line.trim()));
        let requirements = PaymentRequirements {
            scheme: "exact".into(),
            network: "eip155:31337".into(),
            amount: PRICE.to_string(),
            asset: chain::token::ADDRESS.to_string(),
            pay_to: shop_address().to_string(),
            max_timeout_seconds: 3_600,
            extra: json!({ "name": chain::token::NAME, "version": chain::token::VERSION }).as_object().cloned(),
            unknown: serde_json::Map::new(),
        };
        let bench = Self {
            chain: rpc()?,
            rpc_url,
            http: reqwest::Client::builder().no_proxy().build().map_err(say)?,
            requirements,
            nonces: 0,
            urls: [Some(url), their_url],
            _ours: ours,
            _processes: [Some(chain), theirs].into_iter().flatten().collect(),
            _folder: folder,
        };
        bench.rpc("anvil_setBalance", json!([relayer, "0x21e19e0c9bab2400000"])).await?;
        for payer in payers() {
            bench.rpc("devnet_mint", json!([payer.address, "0xe8d4a51000"])).await?;
        }
        Ok(bench)
    }

    async fn rpc(&self, method: &str, params: Value) -> Result<Value, String> {
        let call = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
        let answer = self.http.post(&self.rpc_url).json(&call).send().await.map_err(say)?;
        let answer: Value = answer.json().await.map_err(say)?;
        if answer["error"].is_null() { Ok(answer["result"].clone()) } else { Err(format!("{method}: {answer}")) }
    }

    async fn calls(&self) -> Result<u64, String> {
        let calls: alloy_primitives::U64 =
            serde_json::from_value(self.rpc("devnet_calls", json!([])).await?).map_err(say)?;
        Ok(calls.to())
    }

    /// Requests that were never sent before, each with a nonce of its own.
    fn sign(&mut self, count: usize) -> Result<Vec<Value>, String> {
        let terms = Terms::read(&self.requirements).map_err(say)?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_err(say)?.as_secs();
        let keys = payers().map(|payer| WalletKey::from_bytes(&payer.private_key.0)).collect::<Result<Vec<_>, _>>();
        let keys = keys.map_err(say)?;
        let mut signed = Vec::new();
        for key in keys.iter().cycle().take(count) {
            self.nonces += 1;
            let authorization = Authorization {
                from: key.address(),
                to: terms.pay_to,
                value: terms.value(),
                valid_after: U256::ZERO,
                valid_before: U256::from(now + 3_000),
                nonce: B256::from(U256::from(self.nonces)),
            };
            let signature = key.sign(authorization.digest(&terms.domain)).map_err(say)?.to_text();
            let payload = json!({
                "x402Version": 2, "accepted": self.requirements,
                "payload": { "signature": signature, "authorization": {
                    "from": authorization.from.to_string(), "to": authorization.to.to_string(),
                    "value": authorization.value.to_string(), "validAfter": "0",
                    "validBefore": authorization.valid_before.to_string(), "nonce": authorization.nonce.to_string(),
                } },
            });
            signed.push(json!({
                "x402Version": 2, "paymentPayload": payload, "paymentRequirements": self.requirements,
            }));
        }
        Ok(signed)
    }

    /// Callers one after the other's request, until the time or the requests are over.
    async fn round(&self, url: &str, path: &str, requests: Arc<Vec<Value>>) -> Result<Round, String> {
        let uses_up = path == "settle";
        let good = if uses_up { "success" } else { "isValid" };
        let (url, before) = (format!("{url}/{path}"), self.calls().await?);
        let (next, started) = (Arc::new(AtomicUsize::new(0)), Instant::now());
        let callers = (0..CALLERS).map(|_| {
            let (http, url, requests, next) = (self.http.clone(), url.clone(), requests.clone(), next.clone());
            tokio::spawn(async move {
                let (mut done, mut refused) = (0, None);
                let mut refusals = 0;
                while started.elapsed() < ROUND {
                    let place = next.fetch_add(1, Ordering::Relaxed);
                    let place = if uses_up { place } else { place % requests.len().max(1) };
                    let Some(request) = requests.get(place) else { break };
                    let answer = http.post(&url).json(request).send().await.map_err(say)?;
                    let answer: Value = answer.json().await.map_err(say)?;
                    if answer[good] == true {
                        done += 1;
                    } else {
                        refusals += 1;
                        refused = Some(answer);
                    }
                }
                Ok::<_, String>((done, refusals, refused))
            })
        });
        let callers: Vec<_> = callers.collect();
        let (mut done, mut refused, mut said) = (0, 0, None);
        for caller in callers {
            let (good, bad, what) = caller.await.map_err(say)??;
            done += good;
            refused += bad;
            said = what.or(said);
        }
        let elapsed = started.elapsed();
        if done == 0 {
            return Err(format!("{url} did nothing: {}", said.unwrap_or_default()));
        }
        let each = elapsed / u32::try_from(done).map_err(say)?;
        Ok(Round { each, done, refused, calls: self.calls().await?.saturating_sub(before) })
    }

    /// So many settlements of ours in a row: whether the last tenth takes longer than the first, and more memory. What is
    /// resident is this process: the facilitator, its database's cache, and the callers.
    async fn grown(&mut self, settlements: usize) -> Result<Row, String> {
        let url = self.urls[0].clone().ok_or("no facilitator of ours")?;
        let (mut resident_mib, mut each, tenth) = (Vec::new(), Vec::new(), settlements.div_ceil(10));
        for _ in 0..10 {
            let (mut done, mut spent) = (0, Duration::ZERO);
            while done < tenth {
                let requests = Arc::new(self.sign(tenth.saturating_sub(done).min(GROWTH_SIGNED))?);
                let round = self.round(&url, "settle", requests).await?;
                done += round.done;
                spent += round.each * u32::try_from(round.done).map_err(say)?;
            }
            each.push(spent / u32::try_from(done).map_err(say)?);
            resident_mib.push(resident()?);
        }
        let (Some(first), Some(last)) = (each.first(), each.last()) else { return Err("no settlement".to_owned()) };
        Ok(Row {
            name: "facilitator_growth",
            ours: *last,
            peer: Some(*first),
            peer_is: "the first tenth of the settlements, beside the last",
            rounds: each.len(),
            more: json!({ "settlements": settlements, "resident_mib": resident_mib }),
            rate: true,
            better: Better::Higher,
        })
    }

    async fn compared(&mut self, name: &'static str, path: &str) -> Result<Row, String> {
        let urls = self.urls.clone();
        let mut rounds: [Vec<Round>; 2] = Default::default();
        let mut requests = Arc::new(self.sign(SIGNED)?);
        for _ in 0..=ROUNDS {
            for (url, rounds) in urls.iter().zip(&mut rounds) {
                let Some(url) = url else { continue };
                let last = rounds.last().map_or(0, |round: &Round| round.done);
                if path == "settle" {
                    requests = Arc::new(self.sign(SIGNED.max(last * 2))?);
                }
                rounds.push(self.round(url, path, requests.clone()).await?);
            }
        }
        let figure = |rounds: &[Round]| {
            // The first one warmed it up.
            let rounds = rounds.get(1..).unwrap_or_default();
            let (done, calls): (usize, u64) =
                (rounds.iter().map(|round| round.done).sum(), rounds.iter().map(|round| round.calls).sum());
            let calls = u32::try_from(calls).map(f64::from).unwrap_or_default();
            let done = u32::try_from(done).map(f64::from).unwrap_or_default();
            let refused: usize = rounds.iter().map(|round| round.refused).sum();
            (
                median(rounds.iter().map(|round| round.each).collect()),
                (calls / done.max(1.0) * 10.0).round() / 10.0,
                refused,
            )
        };
        let [ours, theirs] = &rounds;
        let (each, calls, refused) = figure(ours);
        let (their_each, their_calls, their_refused) = figure(theirs);
        let mut more = json!({ "callers": CALLERS, "rpc_calls": calls, "refused": refused });
        let is_there = !theirs.is_empty();
        if is_there {
            more["peer_rpc_calls"] = json!(their_calls);
            more["peer_refused"] = json!(their_refused);
        }
        Ok(Row {
            name,
            ours: each,
            peer: is_there.then_some(their_each),
            peer_is: if is_there { PEER_IS } else { "not on this machine: PURSER_FOREIGN_NODE names no folder of it" },
            rounds: ROUNDS,
            more,
            rate: true,
            better: Better::Higher,
        })
    }
}

/// MiB of this process in memory (proc(5), `VmRSS`).
fn resident() -> Result<u64, String> {
    let status = std::fs::read_to_string("/proc/self/status").map_err(say)?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("no VmRSS in /proc/self/status")?;
    let kib: u64 = line.trim().trim_end_matches("kB").trim().parse().map_err(say)?;
    Ok(kib / 1_024)
}

/// The shop and the relayers are others.
fn payers() -> impl Iterator<Item = &'static TestAccount> {
    ACCOUNTS.iter().skip(4).take(5)
}

/// `None` where it is not on this machine.
fn peer(rpc_url: &str) -> Result<Option<Process>, String> {
    let Some(folder) = std::env::var_os(PEER).map(PathBuf::from) else { return Ok(None) };
    if !folder.join("node_modules/@x402/evm/package.json").is_file() {
        return Ok(None);
    }
    let [_, _, _, relayer, ..] = &ACCOUNTS;
    let mut node = Command::new("node");
    node.current_dir(folder).args(["--input-type=module", "-e", SCRIPT, "--", "0", rpc_url]);
    node.arg(relayer.private_key.to_string()).arg("eip155:31337");
    Process::start(&mut node).map(Some)
}

pub async fn rows(settlements: usize) -> Result<Vec<Row>, String> {
    let mut bench = Bench::open().await?;
    let balance = async |bench: &Bench| bench.chain.balance_of(chain::token::ADDRESS, shop_address(), At::Latest).await;
    let verify = bench.compared("facilitator_verify", "verify").await?;
    let before = balance(&bench).await.map_err(say)?;
    if !before.is_zero() {
        return Err(format!("verifying moved {before} units"));
    }
    let settle = bench.compared("facilitator_settle", "settle").await?;
    if balance(&bench).await.map_err(say)?.is_zero() {
        return Err("settling moved nothing".to_owned());
    }
    let mut rows = vec![verify, settle];
    if settlements > 0 {
        rows.push(bench.grown(settlements).await?);
    }
    Ok(rows)
}
