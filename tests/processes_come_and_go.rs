//! Promises 2 and 3 over several processes: they share one database and never pass a cap together, and one that is
//! killed at any moment loses nothing that it answered and repeats nothing.
//!
//! `PURSER_CRASH_RUNS` sets how often a process is killed; a few times where nothing is said.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use purser::client::{Client, ClientError};
use purser::world::HOME;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::sync::Mutex;
use tokio::task::JoinSet;

use crate::harness::cluster::{Cluster, QUICK};
use crate::harness::text;
use crate::harness::world::World;

/// One thing of the shop's, by name.
fn of(offer: &Value, thing: impl std::fmt::Display) -> Value {
    let mut offer = offer.clone();
    let url = text(&offer["resource"], "url").rsplit_once('/').unwrap().0.to_owned();
    offer["resource"]["url"] = format!("{url}/{thing}").into();
    // A payment that is never presented is released once it is proved dead, and gives its room back: not while this runs,
    // however slow the machine is.
    offer["accepts"][0]["maxTimeoutSeconds"] = 3_600.into();
    offer
}

async fn pay(client: &Client, agent: &str, mandate: &str, offer: Value, key: &str) -> Result<Value, ClientError> {
    let body = json!({ "mandate": mandate, "payment_required": offer });
    client.call(Method::POST, "/v1/payments", agent, Some(key), Some(body)).await
}

/// 4 processes, 64 clients, room for 1,000 payments of 1,200; watched from the table itself, at every node.
#[tokio::test(flavor = "multi_thread")]
async fn four_processes_share_a_budget_of_a_thousand() {
    let world = World::patient(Some(Cluster::start(QUICK))).await;
    let mut replicas: Vec<_> = (1..4).map(|number| world.replica(number)).collect();
    let mandate = world.mandate_of("10.00", 5_000).await;
    let offer = world.offer("0").await;
    let mut clients: Vec<Client> = replicas.iter().map(|(_, client)| client.clone()).collect();
    clients.push(world.client.clone());

    let cluster = world.cluster.as_ref().unwrap();
    let database = cluster.latest();
    let next = Arc::new(AtomicU64::new(0));
    let mut callers = JoinSet::new();
    for number in 0..64_usize {
        let (client, next) = (clients[number % clients.len()].clone(), next.clone());
        let (agent, mandate, offer) = (world.agent.clone(), mandate.clone(), offer.clone());
        callers.spawn(async move {
            let (mut held, mut over) = (0_u32, 0_u32);
            loop {
                let thing = next.fetch_add(1, Ordering::SeqCst);
                if thing >= 1_200 {
                    return (held, over);
                }
                match pay(&client, &agent, &mandate, of(&offer, thing), &format!("key-{thing}")).await {
                    Ok(_) => held += 1,
                    Err(error) if error.code() == Some("amount_exceeds_budget") => over += 1,
                    Err(other) => panic!("{other}"),
                }
            }
        });
    }
    let (mut held, mut over, mut looks) = (0, 0, 0);
    while let Some(answered) = tokio::time::timeout(Duration::from_millis(20), callers.join_next()).await.transpose() {
        match answered {
            Ok(answered) => {
                let (one, other) = answered.unwrap();
                (held, over) = (held + one, over + other);
            }
            Err(_still_going) => {
                let sql = "SELECT count(*) FROM budget WHERE cap IS NOT NULL
                    AND amount_number(held) + amount_number(posted) > amount_number(cap)";
                let found = tokio::task::block_in_place(|| cluster.psql(&database, sql));
                assert_eq!(found, "0", "a node is over its cap at an instant");
                looks += 1;
            }
        }
    }
    assert_eq!((held, over), (1_000, 200));
    assert!(looks > 20, "the tables were watched {looks} times");
    let figures = world.call(Method::GET, &format!("/v1/mandates/{mandate}"), &world.user, None).await.unwrap();
    assert_eq!((&figures["held"]["amount"], &figures["payments"]["used"]), (&json!("10.00"), &json!(1_000)));
    // One that another process answered is answered by any, byte for byte.
    for thing in [0, 1, 2, 3] {
        let mut answers = Vec::new();
        for client in &clients {
            let again = pay(client, &world.agent, &mandate, of(&offer, thing), &format!("key-{thing}")).await.unwrap();
            answers.push(text(&again, "payment_signature").to_owned());
        }
        assert!(answers.windows(2).all(|pair| pair[0] == pair[1]), "{answers:?}");
    }
    replicas.clear();
    let verified = crate::harness::process::run(
        &["ledger", "verify", "--config", &world.config_file().display().to_string()],
        &world.env(),
    );
    assert!(verified.status.success(), "{}", crate::harness::process::stdout(&verified));
}

fn runs() -> u32 {
    std::env::var("PURSER_CRASH_RUNS").map_or(5, |text| text.parse().expect("a number of runs"))
}

/// Eight clients pay, and log outside what they were answered; the process is killed at a random moment, and started
/// again. What was answered is there with the same bytes; nothing is there twice; the books verify.
async fn killed_at_random(mut world: World) {
    // Nothing that is reserved here ends, and there are as many kills as somebody asks for.
    let home = world.config.tenants.iter_mut().find(|tenant| tenant.id == HOME).unwrap();
    home.open_payments = Some(400_000);
    std::fs::write(world.config_file(), toml::to_string(&world.config).unwrap()).unwrap();
    world.restart();
    let mandate = world.mandate_of("4000.00", 400_000).await;
    let offer = world.offer("0").await;
    let log: Arc<Mutex<BTreeMap<String, Value>>> = Arc::default();
    let mut asked = 0_u32;
    for run in 0..runs() {
        let before = log.lock().await.len();
        let mut callers = JoinSet::new();
        for caller in 0..8 {
            let (client, agent, mandate) = (world.client.clone(), world.agent.clone(), mandate.clone());
            let (offer, log) = (offer.clone(), log.clone());
            callers.spawn(async move {
                for number in 0.. {
                    let key = format!("{run}-{caller}-{number}");
                    match pay(&client, &agent, &mandate, of(&offer, &key), &key).await {
                        Ok(answer) => drop(log.lock().await.insert(key, answer)),
                        // The process is gone, or could not say: whatever became of it, its key will tell.
                        Err(ClientError::Refused { status, code, detail, .. }) if status < 500 => {
                            panic!("{key}: {status} {code:?} {detail}");
                        }
                        Err(_) => return number + 1,
                    }
                }
                0
            });
        }
        // After some answers, at any moment between two of them.
        let draw = |most: u64| std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), run) % most;
        let (answers, deadline) =
            (before + usize::try_from(draw(40)).unwrap(), Instant::now() + Duration::from_secs(10));
        while log.lock().await.len() < answers && Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        tokio::time::sleep(Duration::from_micros(draw(20_000))).await;
        world.kill();
        asked += callers.join_all().await.into_iter().sum::<u32>();
        world.restart();
    }
    let log = log.lock().await;
    assert!(!log.is_empty(), "nothing was answered before any kill");
    for (key, answer) in log.iter() {
        let again = pay(&world.client, &world.agent, &mandate, of(&offer, key), key).await;
        let again = again.unwrap_or_else(|error| panic!("{key} was answered and is now {error}"));
        assert_eq!(again["id"], answer["id"], "{key}");
        assert_eq!(again["payment_signature"], answer["payment_signature"], "{key}: byte for byte");
    }
    let figures = world.call(Method::GET, &format!("/v1/mandates/{mandate}"), &world.user, None).await.unwrap();
    let used = figures["payments"]["used"].as_u64().unwrap();
    let answered = u64::try_from(log.len()).unwrap();
    assert!(answered <= used && used <= u64::from(asked), "{answered} answered, {used} counted, {asked} asked");
    println!("{answered} answered and {used} counted of {asked} over {} kills", runs());
    assert_eq!(world.moved().await, 0);
    world.check_books(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_random_on_sqlite() {
    killed_at_random(World::patient(None).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_random_on_postgres() {
    killed_at_random(World::patient(Some(Cluster::start(QUICK))).await).await;
}
