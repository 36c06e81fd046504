//! Promises 2 and 3 while one release replaces another: release N serves, `migrate` of N+1 runs under its load, processes
//! of both pay from one budget, and N leaves. Where N may not serve any more it takes nothing and says why.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use purser::client::{Client, ClientError};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::harness::cluster::{Cluster, QUICK};
use crate::harness::process::{Service, run_of, stdout};
use crate::harness::text;
use crate::harness::world::World;

/// What is asked for, and what there is room for.
const THINGS: u64 = 1_200;
const ROOM: u64 = 1_000;
/// So many at once, and then a pause: there must be something left to pay for until the old release has left.
const BURST: u64 = 16;
const PAUSE: Duration = Duration::from_millis(600);
/// However slow the machine is.
const PATIENCE: Duration = Duration::from_secs(300);
const ADDITIVE: [(&str, &str); 1] = [("NEXT_RELEASE", "90")];
const BREAKING: [(&str, &str); 1] = [("NEXT_RELEASE", "91")];

fn next() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_purser-next"))
}

/// One of a release, and how many payments it answered.
#[derive(Clone)]
struct Server {
    client: Client,
    answered: Arc<AtomicU64>,
}

impl Server {
    fn new(client: Client) -> Self {
        Self { client, answered: Arc::default() }
    }

    fn answered(&self) -> u64 {
        self.answered.load(Ordering::SeqCst)
    }
}

struct Load {
    agent: String,
    mandate: String,
    offer: Value,
    servers: Mutex<Vec<Server>>,
    turn: AtomicUsize,
    next: AtomicU64,
    pace: tokio::sync::Mutex<()>,
    hurried: AtomicBool,
}

impl Load {
    async fn new(world: &World, servers: Vec<Server>) -> Arc<Self> {
        let (mandate, offer) = (world.mandate_of("10.00", 5_000).await, world.offer("0").await);
        let (agent, servers) = (world.agent.clone(), Mutex::new(servers));
        let (turn, next, pace, hurried) = Default::default();
        Arc::new(Self { agent, mandate, offer, servers, turn, next, pace, hurried })
    }

    async fn thing(&self) -> u64 {
        let _turn = self.pace.lock().await;
        let thing = self.next.fetch_add(1, Ordering::SeqCst);
        if thing.is_multiple_of(BURST) && !self.hurried.load(Ordering::SeqCst) {
            tokio::time::sleep(PAUSE).await;
        }
        thing
    }

    /// Everything that is left, as fast as it goes.
    fn hurry(&self) {
        self.hurried.store(true, Ordering::SeqCst);
    }

    async fn pay(&self, client: &Client, thing: u64) -> Result<Value, ClientError> {
        let mut offer = self.offer.clone();
        offer["resource"]["url"] = text(&offer["resource"], "url").replace("/0", &format!("/{thing}")).into();
        offer["accepts"][0]["maxTimeoutSeconds"] = 3_600.into();
        let body = json!({ "mandate": self.mandate, "payment_required": offer });
        client.call(Method::POST, "/v1/payments", &self.agent, Some(&format!("key-{thing}")), Some(body)).await
    }

    /// Whoever is told that a server cannot now, or is told nothing, asks another one, under the same key.
    async fn settle(&self, thing: u64) -> Result<(), String> {
        let started = Instant::now();
        loop {
            let server = {
                let servers = self.servers.lock().unwrap();
                servers[self.turn.fetch_add(1, Ordering::SeqCst) % servers.len()].clone()
            };
            match self.pay(&server.client, thing).await {
                Ok(_) => {
                    server.answered.fetch_add(1, Ordering::SeqCst);
                    return Ok(());
                }
                Err(ClientError::Refused { status, code, detail, .. }) if status < 500 => {
                    return Err(code.unwrap_or(detail));
                }
                Err(error) => assert!(started.elapsed() < PATIENCE, "{thing}: {error}"),
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// 64 callers, until everything was asked for.
    fn start(self: &Arc<Self>) -> JoinSet<(u64, u64)> {
        let mut callers = JoinSet::new();
        for _ in 0..64 {
            let load = self.clone();
            callers.spawn(async move {
                let (mut held, mut over) = (0, 0);
                loop {
                    let thing = load.thing().await;
                    if thing >= THINGS {
                        return (held, over);
                    }
                    match load.settle(thing).await {
                        Ok(()) => held += 1,
                        Err(code) if code == "amount_exceeds_budget" => over += 1,
                        Err(other) => panic!("{thing}: {other}"),
                    }
                }
            });
        }
        callers
    }

    async fn until(&self, servers: &[Server], more: u64) {
        let answered = || servers.iter().map(Server::answered).sum::<u64>();
        let (goal, started) = (answered() + more, Instant::now());
        while answered() < goal {
            assert!(started.elapsed() < PATIENCE, "{} of {goal} were answered", answered());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

fn command(world: &World, binary: &Path, env: &[(&str, &str)], args: &[&str]) -> (bool, String) {
    let file = world.config_file().display().to_string();
    let env = [&world.env(), env].concat();
    let output = run_of(binary, &[args, &["--config", &file]].concat(), &env);
    let told = format!("{}{}", stdout(&output), String::from_utf8_lossy(&output.stderr));
    (output.status.success(), told)
}

fn ours() -> std::path::PathBuf {
    crate::harness::process::purser()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_release_is_replaced_under_load_and_nothing_is_lost() {
    let mut world = World::patient(Some(Cluster::start(QUICK))).await;
    let (mut second, client) = world.replica(1);
    let old = [Server::new(world.client.clone()), Server::new(client)];
    let load = Load::new(&world, old.to_vec()).await;
    let mut callers = load.start();
    load.until(&old, 60).await;

    let plan = command(&world, next(), &ADDITIVE, &["migrate", "--plan"]).1;
    assert!(plan.contains("90 later: to be applied; older releases go on beside it"), "{plan}");
    let migrate = async |env| tokio::task::block_in_place(|| command(&world, next(), env, &["migrate"]));
    let (migrated, told) = migrate(&ADDITIVE[..]).await;
    assert!(migrated, "{told}");
    load.until(&old, 60).await;
    // A process of N that starts now serves too, and its `migrate` finds nothing to do.
    let (again, told) = command(&world, &ours(), &[], &["migrate"]);
    assert!(again, "{told}");
    let (mut third, client) = world.replica(2);
    let third_server = Server::new(client);
    load.servers.lock().unwrap().push(third_server.clone());
    load.until(std::slice::from_ref(&third_server), 20).await;
    // N+1 joins, and both pay.
    let (_joined, client) = world.replica_of(next(), &ADDITIVE, 3);
    let new = Server::new(client);
    load.servers.lock().unwrap().push(new.clone());
    load.until(std::slice::from_ref(&new), 50).await;
    load.until(&old, 20).await;
    let so_far = load.next.load(Ordering::SeqCst);
    assert!(so_far < THINGS, "the load ended before the old release left");
    // N leaves, one process after another.
    load.hurry();
    load.servers.lock().unwrap().retain(|server| Arc::ptr_eq(&server.answered, &new.answered));
    for service in [world.serve.as_mut().unwrap(), &mut second, &mut third] {
        let service: &mut Service = service;
        // What it was at is asked again of another one, whether it ended or was killed for being slow.
        if tokio::task::block_in_place(|| service.stop()).is_none() {
            service.kill();
        }
    }
    let (mut held, mut over) = (0, 0);
    while let Some(answered) = callers.join_next().await {
        let (one, other) = answered.unwrap();
        (held, over) = (held + one, over + other);
    }
    assert_eq!((held, over), (ROOM, THINGS - ROOM), "exactly the budget");
    let figures =
        new.client.call(Method::GET, &format!("/v1/mandates/{}", load.mandate), &world.user, None, None).await.unwrap();
    assert_eq!((&figures["held"]["amount"], &figures["payments"]["used"]), (&json!("10.00"), &json!(ROOM)));
    for (binary, env) in [(ours().as_path(), &[][..]), (next(), &ADDITIVE[..])] {
        let (sound, told) = command(&world, binary, env, &["ledger", "verify"]);
        assert!(sound, "{}: {told}", binary.display());
    }
    // What must not leave anything out is for the release that knows it all.
    let kept = world.folder.path().join("kept.sqlite").display().to_string();
    let (done, told) = command(&world, &ours(), &[], &["backup", "--out", &kept]);
    assert!(!done && told.contains("a later release added to it"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_release_that_may_not_serve_takes_nothing_and_says_why() {
    let world = World::patient(Some(Cluster::start(QUICK))).await;
    let old = Server::new(world.client.clone());
    let load = Load::new(&world, vec![old.clone()]).await;
    let mut callers = load.start();
    load.until(std::slice::from_ref(&old), 100).await;
    let plan = command(&world, next(), &BREAKING, &["migrate", "--plan"]).1;
    assert!(plan.contains("91 latest: to be applied; older releases take no unit of work any more"), "{plan}");
    let (migrated, told) = tokio::task::block_in_place(|| command(&world, next(), &BREAKING, &["migrate"]));
    assert!(migrated, "{told}");
    let cluster = world.cluster.as_ref().unwrap();
    let written = || cluster.psql(&cluster.latest(), "SELECT sum(size) FROM head");
    let (entries, answered) = (written(), old.answered());
    let refused = load.pay(&old.client, THINGS + 1).await;
    assert!(matches!(&refused, Err(ClientError::Refused { status: 503, .. })), "{refused:?}");
    let both = "the schema is served by release 91 and later, this program is release 15";
    for args in [&["serve"][..], &["ledger", "verify"], &["migrate"]] {
        let (done, told) = command(&world, &ours(), &[], args);
        assert!(!done && told.contains(both), "{args:?}: {told}");
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(written(), entries, "the running release wrote into a schema that it does not know");
    // What was answered as the word went out had been written before it.
    assert!(old.answered() - answered <= 64);
    let (_joined, client) = world.replica_of(next(), &BREAKING, 3);
    let new = Server::new(client);
    *load.servers.lock().unwrap() = vec![new.clone()];
    load.hurry();
    let (mut held, mut over) = (0, 0);
    while let Some(answered) = callers.join_next().await {
        let (one, other) = answered.unwrap();
        (held, over) = (held + one, over + other);
    }
    assert_eq!((held, over), (ROOM, THINGS - ROOM), "exactly the budget");
    let (sound, told) = command(&world, next(), &BREAKING, &["ledger", "verify"]);
    assert!(sound, "{told}");
}
