//! Promises 2, 3 and 6 over a lost database: what was paid after the backup is never paid again and never forgotten, and
//! what was stopped stays stopped.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use ledger::account::{Account, Net};
use ledger::budget::BudgetKind;
use ledger::gate::Scope;
use ledger::id::CallerKind;
use ledger::store::Store as _;
use mandates::status::places;
use purser::client::ClientError;
use purser::world::{ADMIN, AGENT, HOME};
use reqwest::Method;
use serde_json::{Value, json};
use store::Schema;

use crate::harness::closing::{answered_in, closed_in};
use crate::harness::cluster::{Cluster, QUICK};
use crate::harness::process::{run, stdout};
use crate::harness::text;
use crate::harness::world::World;

/// Seconds that a signed payment lives: so long a fence stays closed at least.
const PAYMENT_SECONDS: u64 = 10;

fn purser(world: &World, args: &[&str]) -> (bool, String) {
    let file = world.config_file().display().to_string();
    let args: Vec<&str> = args.iter().copied().chain(["--config", &file]).collect();
    let output = run(&args, &world.env());
    (output.status.success(), format!("{}{}", stdout(&output), String::from_utf8_lossy(&output.stderr)))
}

/// Pays and waits until the chain shows it; the id.
async fn buy(world: &World, mandate: &str, key: &str) -> String {
    let payment = world.pay(mandate, key).await.unwrap();
    let fetched = world.fetch(Some(text(&payment, "payment_signature"))).await.unwrap();
    assert_eq!(fetched.status.as_u16(), 200);
    world.until(text(&payment, "id"), "settled").await;
    text(&payment, "id").to_owned()
}

fn code(answer: Result<Value, ClientError>) -> String {
    match answer {
        Ok(value) => panic!("{value} where a refusal was expected"),
        Err(error) => error.code().unwrap_or("none").to_owned(),
    }
}

fn keep_checkpoint(world: &World, name: &str) -> PathBuf {
    let (ok, note) = purser(world, &["ledger", "checkpoint", "--tenant", HOME]);
    assert!(ok, "{note}");
    let path = world.folder.path().join(name);
    std::fs::write(&path, note).unwrap();
    path
}

async fn backup(world: &World, name: &str) -> PathBuf {
    let path = world.folder.path().join(name);
    let (ok, told) = purser(world, &["backup", "--out", &path.display().to_string()]);
    assert!(ok, "{told}");
    let (again, told) = purser(world, &["backup", "--out", &path.display().to_string()]);
    assert!(!again && told.contains("there already"), "{told}");
    path
}

fn operator(world: &World) -> String {
    let minter = purser::service::minter(&world.config, &world.ring).unwrap();
    purser::service::mint(&minter, HOME, ADMIN, CallerKind::Operator, 3_600).unwrap()
}

/// Asks again and again: the fence does not open before all that was signed has expired.
fn lift(world: &World, checkpoint: &Path, fenced: Instant) -> String {
    let deadline = Instant::now() + Duration::from_secs(30);
    // One tenant's fence may open at a try at which the next one's is still closed.
    let (mut early, mut all) = (0, String::new());
    loop {
        let (ok, told) = purser(world, &["restore", "--lift", "--checkpoint", &checkpoint.display().to_string()]);
        all += &told;
        if ok {
            // A machine so slow that the time was over before the first try has nothing to be asked.
            let waited = fenced.elapsed() >= Duration::from_secs(PAYMENT_SECONDS - 2); // times are whole seconds
            assert!(early > 0 || waited, "it opened at once: {told}");
            assert!(waited, "it opened after {:?}: {told}", fenced.elapsed());
            return all;
        }
        assert!(told.contains("when all that was signed has expired"), "{told}");
        assert!(Instant::now() < deadline, "{told}");
        early += 1;
        std::thread::sleep(Duration::from_millis(500));
    }
}

/// What stands in the book of the restored database.
async fn check_book(world: &World, paid: u128, unknown: u128) {
    let store = purser::assembly::open_store(&world.config, &world.ring, Schema::Refuse).await.unwrap();
    let home = HOME.parse().unwrap();
    // A cent is 10,000 of the token's units and 10^6 units of authority.
    for budget in store.budgets_after(&home, None, 500).await.unwrap() {
        let expected = match budget.kind {
            BudgetKind::Mandate => continue,
            _ => (paid + unknown) * 1_000_000,
        };
        assert_eq!((budget.posted.get(), budget.held.get()), (expected, 0), "{} {}", budget.kind, budget.id);
    }
    let balances = store.balances(&home).await.unwrap();
    let suspense = balances.iter().find(|entry| entry.account == Account::Suspense).unwrap();
    let net = suspense.balance.net(Account::Suspense.class());
    assert_eq!(net, Net::Negative(ledger::money::Amount::new(unknown * 10_000)), "what nobody accounts for");
    let gates = store.closed_gates(&home).await.unwrap();
    assert!(gates.iter().all(|gate| gate.scope != Scope::Fence));
    store.close().await.unwrap();
}

async fn comes_back(mut world: World, lose: impl FnOnce(&mut World)) {
    let (mandate, other) = (world.mandate().await, world.mandate().await);
    let shown = world.call(Method::GET, &format!("/v1/mandates/{mandate}"), &world.agent, None).await.unwrap();
    let list = places(text(&shown, "payment")).unwrap().remove(0).uri;
    assert_eq!(reqwest::get(&list).await.unwrap().status().as_u16(), 200);
    for key in ["kept-1", "kept-2"] {
        buy(&world, &mandate, key).await;
    }
    let backup = backup(&world, "kept.sqlite").await;
    for key in ["lost-1", "lost-2", "lost-3"] {
        buy(&world, &mandate, key).await;
    }
    let stop = json!({ "scope": format!("agent/{AGENT}") });
    world.call(Method::POST, "/v1/kill", &operator(&world), Some(stop)).await.unwrap();
    let build = format!("build/sha256:{}", "ab".repeat(32));
    for scope in [build.as_str(), "issuer/https://idp.example/a"] {
        world.call(Method::POST, "/v1/kill", &operator(&world), Some(json!({ "scope": scope }))).await.unwrap();
    }
    let checkpoint = keep_checkpoint(&world, "newest.note");
    world.kill();
    world.serve = None;
    lose(&mut world);
    let fenced = Instant::now();
    let (ok, told) = purser(&world, &["restore", "--from", &backup.display().to_string()]);
    assert!(ok && told.contains("fenced: home"), "{told}");
    world.restart();
    // Neither what is new nor what is known: nothing is signed behind the fence, and nobody lifts it from outside.
    for key in ["new", "lost-1", "lost-2"] {
        assert_eq!(code(world.pay(&mandate, key).await), "stopped", "{key}");
    }
    // Nor does a book that may have forgotten a revocation vouch for a mandate.
    let published: Value = reqwest::get(&list).await.unwrap().json().await.unwrap();
    assert_eq!(text(&published, "code"), "stopped", "{published}");
    let operator = operator(&world);
    let stops = world.call(Method::GET, "/v1/kill", &operator, None).await.unwrap();
    let scopes: Vec<_> = stops["stops"].as_array().unwrap().iter().map(|stop| text(stop, "scope")).collect();
    let agent = format!("agent/{AGENT}");
    let forgotten = [agent.as_str(), &build, "fence", "issuer/https://idp.example/a"];
    assert_eq!(scopes, forgotten, "the stops that the backup never knew bite");
    let fence = format!("/v1/kill/{}", Scope::Fence.id());
    assert_eq!(code(world.call(Method::DELETE, &fence, &operator, None).await), "not_yours_to_lift");
    let told = lift(&world, &checkpoint, fenced);
    assert!(told.contains("3 payments were found") && told.contains("2 revoked"), "{told}");
    assert_eq!(reqwest::get(&list).await.unwrap().status().as_u16(), 200, "and again when the fence is open");
    let agent = format!("/v1/kill/{}", Scope::Agent(AGENT.parse().unwrap()).id());
    assert_eq!(code(world.pay(&mandate, "after-1").await), "stopped", "the agent is still stopped");
    world.call(Method::DELETE, &agent, &operator, None).await.unwrap();
    assert_eq!(code(world.pay(&mandate, "newer").await), "mandate_revoked", "it may be used up");
    assert_eq!(code(world.pay(&other, "newest").await), "mandate_revoked", "so may any other");
    let fresh = world.mandate().await;
    buy(&world, &fresh, "after-2").await;
    assert_eq!(world.moved().await, 6, "two kept, three lost, one new: nothing twice");
    world.serve = None;
    check_book(&world, 3, 3).await;
    let (sound, told) = purser(&world, &["ledger", "verify"]);
    assert!(sound, "{told}");
    let (again, told) = purser(&world, &["restore", "--lift"]);
    assert!(!again && told.contains("no book is behind its fence"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_file_comes_back_behind_a_fence() {
    let world = World::start_with(PAYMENT_SECONDS).await;
    comes_back(world, |world| {
        for end in ["", "-wal", "-shm"] {
            let _ = std::fs::remove_file(world.folder.path().join(format!("purser.sqlite{end}")));
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_server_comes_back_behind_a_fence() {
    let world = World::on(PAYMENT_SECONDS, Cluster::start(QUICK)).await;
    comes_back(world, World::lose_database).await;
}

fn with(file: &Path, end: &str) -> PathBuf {
    PathBuf::from(format!("{}{end}", file.display()))
}

/// The same bytes in another file of the same name, log and all.
fn exchange(file: &Path) {
    let _ = std::fs::remove_file(with(file, "-shm"));
    for file in [file.to_owned(), with(file, "-wal")] {
        let copy = with(&file, ".copy");
        if std::fs::copy(&file, &copy).is_ok() {
            std::fs::rename(&copy, &file).unwrap();
        }
    }
}

/// Set back without a word, by whoever copies files: the notes beside the configuration tell.
#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_was_set_back_is_fenced_by_itself() {
    let mut world = World::start_with(PAYMENT_SECONDS).await;
    let mandate = world.mandate().await;
    buy(&world, &mandate, "kept").await;
    world.serve = None;
    let file = world.folder.path().join("purser.sqlite");
    let (bytes, log) = (std::fs::read(&file).unwrap(), std::fs::read(with(&file, "-wal")).unwrap());
    world.restart();
    buy(&world, &mandate, "lost").await;
    // The notes follow within a second; what was written since the last one could be set back unseen.
    let size: u64 =
        std::fs::read_to_string(keep_checkpoint(&world, "lost.note")).unwrap().lines().nth(1).unwrap().parse().unwrap();
    let deadline = Instant::now() + Duration::from_secs(10);
    let noted = || {
        let notes = std::fs::read_to_string(with(&world.config_file(), ".notes")).unwrap_or_default();
        serde_json::from_str::<Value>(&notes).is_ok_and(|notes| notes["home"]["entries"].as_u64() >= Some(size))
    };
    while !noted() {
        assert!(Instant::now() < deadline, "the notes do not follow");
        std::thread::sleep(Duration::from_millis(50));
    }
    world.serve = None;
    // Into the same file: it is at home.
    std::fs::write(&file, bytes).unwrap();
    std::fs::write(with(&file, "-wal"), log).unwrap();
    std::fs::remove_file(with(&file, "-shm")).unwrap();
    world.restart();
    assert_eq!(code(world.pay(&mandate, "lost").await), "stopped");
    world.serve = None;
    // And once more from a copy elsewhere, under its own name, without notes.
    std::fs::remove_file(world.folder.path().join("purser.toml.notes")).unwrap();
    exchange(&file);
    let fenced = Instant::now();
    world.restart();
    assert_eq!(code(world.pay(&mandate, "lost").await), "stopped");
    let newest = keep_checkpoint(&world, "newest.note");
    let told = lift(&world, &newest, fenced);
    assert!(told.contains("1 payments were found"), "{told}");
    assert_eq!(world.moved().await, 2);
}

/// A copy that lost nothing goes on as it was; with nobody to say so, its mandates wait for a human.
#[tokio::test(flavor = "multi_thread")]
async fn a_copy_that_lacks_nothing_goes_on_as_it_was() {
    let mut world = World::start_with(PAYMENT_SECONDS).await;
    let mandate = world.mandate().await;
    buy(&world, &mandate, "kept").await;
    let file = world.folder.path().join("purser.sqlite");
    for (number, with_checkpoint) in [(1, "checkpoint"), (2, "nothing")] {
        world.serve = None;
        let newest = keep_checkpoint(&world, "newest.note");
        exchange(&file);
        let fenced = Instant::now();
        world.restart();
        assert_eq!(code(world.pay(&mandate, &format!("early-{number}")).await), "stopped");
        if with_checkpoint == "checkpoint" {
            let told = lift(&world, &newest, fenced);
            assert!(told.contains("0 payments were found") && told.contains("0 revoked"), "{told}");
            buy(&world, &mandate, &format!("late-{number}")).await;
        } else {
            std::thread::sleep(Duration::from_secs(PAYMENT_SECONDS + 2));
            let (ok, told) = purser(&world, &["restore", "--lift"]);
            assert!(ok && told.contains("1 mandates were suspended"), "{told}");
            assert_eq!(code(world.pay(&mandate, &format!("late-{number}")).await), "mandate_suspended");
            let path = format!("/v1/mandates/{mandate}/resume");
            world.call(Method::POST, &path, &world.user.clone(), None).await.unwrap();
            buy(&world, &mandate, &format!("later-{number}")).await;
        }
    }
    assert_eq!(world.moved().await, 3);
}

/// What was closed for others since the backup no chain shows: nothing of it lapses, and its mandates wait for a human.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_closed_for_others_waits_for_a_human() {
    let mut world = World::start_with(PAYMENT_SECONDS).await;
    let mandate = world.mandate().await;
    let kept = closed_in(&world, &mandate, 3).await.expect("closed");
    let backup = backup(&world, "kept.sqlite").await;
    let lost = closed_in(&world, &mandate, 4).await.expect("closed");
    let checkpoint = keep_checkpoint(&world, "newest.note");
    world.kill();
    world.serve = None;
    for end in ["", "-wal", "-shm"] {
        let _ = std::fs::remove_file(world.folder.path().join(format!("purser.sqlite{end}")));
    }
    let fenced = Instant::now();
    let (ok, told) = purser(&world, &["restore", "--from", &backup.display().to_string()]);
    assert!(ok && told.contains("fenced: home"), "{told}");
    world.restart();
    assert_eq!(code(closed_in(&world, &mandate, 5).await), "stopped");
    let resolved = |as_what| {
        let words = ["resolve", text(&kept, "id"), "--as", as_what, "--because", "x", "--tenant", HOME];
        purser(&world, &words)
    };
    assert!(resolved("settled").1.contains("stopped"), "no operator speaks behind the fence");
    lift(&world, &checkpoint, fenced);
    // Long over, and still held: whoever has it may have had it paid.
    world.until(text(&kept, "id"), "unknown").await;
    assert_eq!(code(closed_in(&world, &mandate, 5).await), "mandate_suspended");
    assert_eq!(code(answered_in(&world, &lost, true).await), "not_found", "a book that was set back does not know it");
    answered_in(&world, &kept, true).await.expect("what it knows is still answered for");
    world.until(text(&kept, "id"), "settled").await;
    let (sound, told) = purser(&world, &["ledger", "verify"]);
    assert!(sound, "{told}");
}
