//! What happens is told to receivers, signed as Standard Webhooks has it: at least once, in order, to nobody else, over
//! restarts; and to those who keep a stream open.

use std::collections::{BTreeSet, VecDeque};
use std::io::Write as _;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use purser::config::WebhookConfig;
use purser::keys::Slot;
use purser::world::HOME;
use reqwest::Method;
use serde_json::{Value, json};

use crate::foreign_clients::node_script;
use crate::harness::process::{purser, run};
use crate::harness::text;
use crate::harness::world::World;

/// One message as it came.
#[derive(Clone, Debug)]
struct Told {
    headers: Value,
    body: String,
    answer: u16,
}

impl Told {
    fn event(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }

    fn id(&self) -> &str {
        text(&self.headers, "webhook-id")
    }
}

#[derive(Clone, Default)]
struct Receiver {
    told: Arc<Mutex<Vec<Told>>>,
    /// Of the next messages; 200 where none is left.
    answers: Arc<Mutex<VecDeque<u16>>>,
    strayed: Arc<Mutex<u32>>,
}

impl Receiver {
    async fn start(self) -> String {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/told", listener.local_addr().unwrap());
        let take = async |State(receiver): State<Self>, headers: HeaderMap, body: String| {
            let answer = receiver.answers.lock().unwrap().pop_front().unwrap_or(200);
            let headers = headers.iter().map(|(name, value)| (name.to_string(), value.to_str().unwrap().into()));
            let headers = Value::Object(headers.collect());
            receiver.told.lock().unwrap().push(Told { headers, body, answer });
            (StatusCode::from_u16(answer).unwrap(), [("location", "/elsewhere")])
        };
        let stray = async |State(receiver): State<Self>| *receiver.strayed.lock().unwrap() += 1;
        let router = Router::new().route("/told", post(take)).route("/elsewhere", post(stray).get(stray));
        tokio::spawn(async move { axum::serve(listener, router.with_state(self)).await });
        url
    }

    fn all(&self) -> Vec<Told> {
        self.told.lock().unwrap().clone()
    }

    async fn until(&self, what: &str, is_there: impl Fn(&[Told]) -> bool) -> Vec<Told> {
        let started = Instant::now();
        loop {
            let told = self.all();
            if is_there(&told) {
                return told;
            }
            assert!(started.elapsed() < Duration::from_secs(40), "{what} does not come: {told:#?}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    async fn until_event(&self, kind: &str) -> Vec<Told> {
        self.until(kind, |told| told.iter().any(|one| one.answer == 200 && one.event()["type"] == kind)).await
    }
}

/// What the reference library says of each.
fn verdicts(messages: &[(String, Value, String)]) -> Vec<String> {
    let mut child =
        node_script("verify_webhooks.mjs").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("node runs");
    let mut input = child.stdin.take().unwrap();
    for (secret, headers, body) in messages {
        writeln!(input, "{}", json!({ "secret": secret, "headers": headers, "body": body })).unwrap();
    }
    drop(input);
    let output = child.wait_with_output().unwrap();
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

fn command(world: &World, args: &[&str]) -> String {
    let file = world.config_file().display().to_string();
    let of = ["--config", &file, "--tenant", HOME];
    let output = run(&[args, &of].concat(), &world.env());
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn secrets(world: &World) -> Vec<String> {
    command(world, &["webhook", "secret", "books"]).lines().map(str::to_owned).collect()
}

async fn told_world(receiver: &Receiver) -> World {
    let url = receiver.clone().start().await;
    let mut world = World::start().await;
    let events = vec!["payment.*".to_owned(), "mandate.opened".to_owned()];
    let home = world.config.tenants.iter_mut().find(|tenant| tenant.id == HOME).unwrap();
    home.webhooks = vec![WebhookConfig { name: "books".into(), url, events, orders_of: Vec::new() }];
    world.ring.provide(&Slot::all(&world.config)).await.unwrap();
    std::fs::write(world.config_file(), toml::to_string(&world.config).unwrap()).unwrap();
    world.restart();
    // Of what happens from now on.
    let started = Instant::now();
    while !command(&world, &["webhook", "list"]).contains("told up to record") {
        assert!(started.elapsed() < Duration::from_secs(20));
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    world
}

async fn buy(world: &World, key: &str) {
    let mandate = world.mandate().await;
    let payment = world.pay(&mandate, key).await.unwrap();
    world.fetch(Some(text(&payment, "payment_signature"))).await.unwrap();
    world.until(text(&payment, "id"), "settled").await;
}

/// Every event that the receiver asked for, from a record on, as the outbox has it.
async fn outbox(world: &World) -> Vec<String> {
    let page = world.call(Method::GET, "/v1/events?limit=500", &world.user, None).await.unwrap();
    let wanted = |event: &&Value| text(event, "type").starts_with("payment.") || event["type"] == "mandate.opened";
    let events = page["events"].as_array().unwrap().iter().filter(wanted);
    events.map(|event| format!("{HOME}-{}", text(event, "id"))).collect()
}

fn ids(told: &[Told]) -> Vec<String> {
    told.iter().filter(|one| one.answer == 200).map(|one| one.id().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn receivers_are_told_in_order_at_least_once_and_by_nobody_else() {
    let receiver = Receiver::default();
    let mut world = told_world(&receiver).await;
    receiver.answers.lock().unwrap().extend([500, 302]);
    buy(&world, "first").await;
    let told = receiver.until_event("payment.settled").await;
    assert_eq!(*receiver.strayed.lock().unwrap(), 0, "nobody is sent elsewhere");
    let [refused, redirected, taken, ..] = told.as_slice() else { panic!("{told:#?}") };
    assert_eq!((refused.answer, redirected.answer, taken.answer), (500, 302, 200));
    assert!([refused, redirected].iter().all(|one| one.id() == taken.id() && one.body == taken.body), "{told:#?}");
    assert_eq!((&taken.event()["type"], &taken.event()["apiversion"]), (&json!("mandate.opened"), &json!("1")));
    let (first, all) = (ids(&told), outbox(&world).await);
    assert_eq!(first[..], all[..first.len()], "each once, in the order of the journal; more may have come since");
    // The reference library takes them, and nothing that differs in anything.
    let secret = secrets(&world).concat();
    let last = told.last().unwrap();
    let with = |name: &str, value: &str| {
        let mut headers = last.headers.clone();
        headers[name] = value.into();
        headers
    };
    let old = (jiff::Timestamp::now().as_second() - 3_600).to_string();
    let other = format!("whsec_{}", "A".repeat(43) + "=");
    let mut messages: Vec<_> = told.iter().map(|one| (secret.clone(), one.headers.clone(), one.body.clone())).collect();
    let good = messages.len();
    messages.extend([
        (other, last.headers.clone(), last.body.clone()),
        (secret.clone(), last.headers.clone(), last.body.replace("specversion", "Specversion")),
        (secret.clone(), with("webhook-id", taken.id()), last.body.clone()),
        (secret.clone(), with("webhook-timestamp", &old), last.body.clone()),
        (secret.clone(), taken.headers.clone(), last.body.clone()),
    ]);
    let said = verdicts(&messages);
    assert_eq!(said.len(), messages.len());
    assert!(said.iter().take(good).all(|one| one == "good"), "{said:?}");
    assert!(said.iter().skip(good).all(|one| one.starts_with("bad")), "{said:?}");
    rotated(&mut world, &receiver, &secret).await;
    killed_and_told_again(&mut world, &receiver).await;
}

/// While both are good each message carries both; then the new one alone.
async fn rotated(world: &mut World, receiver: &Receiver, old: &str) {
    let rotated = command(world, &["keys", "rotate", "--purpose", "webhook/books"]);
    assert!(!rotated.contains("whsec_"), "{rotated}");
    let both = secrets(world);
    assert!(both.len() == 2 && both[1] == old && both[0] != old, "{}", both.len());
    world.restart();
    let before = receiver.all().len();
    buy(world, "second").await;
    let told = receiver
        .until("the second sale", |told| told.iter().skip(before).any(|one| one.event()["type"] == "payment.settled"));
    let last = told.await.pop().unwrap();
    let message = |secret: &String| (secret.clone(), last.headers.clone(), last.body.clone());
    assert_eq!(verdicts(&[message(&both[0]), message(&both[1])]), ["good", "good"]);
    let kids = command(world, &["keys", "list", "--json"]);
    let retired = kids.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let retired: Vec<Value> =
        retired.filter(|key| key["purpose"] == "webhook/books" && key["state"] == "retired").collect();
    let kid = text(retired.first().unwrap(), "kid").to_owned();
    command(world, &["keys", "revoke", "--purpose", "webhook/books", "--kid", &kid]);
    assert_eq!(secrets(world), both[..1]);
}

async fn killed_and_told_again(world: &mut World, receiver: &Receiver) {
    // Nobody answers well while the service is killed: what happened meanwhile is told afterwards.
    receiver.answers.lock().unwrap().extend([503; 2]);
    buy(world, "third").await;
    world.kill();
    world.restart();
    let all = outbox(world).await;
    let told = receiver.until("all of it", |told| all.last().is_some_and(|last| ids(told).contains(last))).await;
    let mut seen = BTreeSet::new();
    let distinct: Vec<String> = ids(&told).into_iter().filter(|id| seen.insert(id.clone())).collect();
    assert_eq!(distinct[..all.len()], all[..], "nothing is left out, and the order is the journal's");
    // An operator has it told again, from the beginning; what happens meanwhile comes behind it.
    command(world, &["webhook", "replay", "books", "--from", "0"]);
    let again = |told: &[Told]| {
        let ids = ids(told);
        let from = ids.iter().rposition(|id| *id == all[0]).unwrap();
        (ids.iter().filter(|id| **id == all[0]).count() > 1).then(|| ids[from..].to_vec())
    };
    let is_whole = |told: &[Told]| again(told).is_some_and(|ids| ids.len() >= all.len());
    let told = receiver.until("all of it again", is_whole).await;
    assert_eq!(again(&told).unwrap()[..all.len()], all[..]);
    streams(world, &all).await;
    listened(world, receiver).await;
}

/// Server-sent events: from an id on, as many as may be open, and an end when the service ends.
async fn streams(world: &mut World, all: &[String]) {
    let url = format!("{}/v1/events", world.config.public_url());
    let open = async |token: &str, id: Option<&str>| {
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let mut call = client.get(&url).bearer_auth(token).header("Accept", "text/event-stream");
        if let Some(id) = id {
            call = call.header("Last-Event-ID", id);
        }
        call.send().await.unwrap()
    };
    for (token, id, status) in [
        ("", None, 401),
        (world.user.as_str(), Some("x"), 400),
        (&world.user, Some("1"), 400),
        (&world.user, Some(""), 400),
    ] {
        assert_eq!(open(token, id).await.status().as_u16(), status, "{id:?}");
    }
    let first = all[0].strip_prefix(&format!("{HOME}-")).unwrap();
    let mut stream = open(&world.user, Some(first)).await;
    assert_eq!(stream.headers()["content-type"], "text/event-stream");
    let mut said = String::new();
    let second = all[1].strip_prefix(&format!("{HOME}-")).unwrap();
    while !said.contains(&format!("id: {second}\n")) {
        said += std::str::from_utf8(&stream.chunk().await.unwrap().expect("it goes on")).unwrap();
    }
    assert!(!said.contains(&format!("id: {first}\n")) && said.contains("event: payment."), "{said}");
    let more = [open(&world.user, None).await, open(&world.user, None).await, open(&world.user, None).await];
    assert!(more.iter().all(|one| one.status() == 200));
    let refused = open(&world.user, None).await;
    assert_eq!((refused.status().as_u16(), refused.headers()["retry-after"].to_str().unwrap()), (429, "5"));
    drop(more);
    let stopped = world.serve.as_mut().unwrap().stop();
    assert!(stopped.is_some_and(|took| took < Duration::from_secs(3)), "{stopped:?}");
    while stream.chunk().await.unwrap_or_default().is_some() {}
    world.restart();
}

/// A developer's receiver on this machine.
async fn listened(world: &mut World, receiver: &Receiver) {
    let url = receiver.clone().start().await;
    let trigger = |event: &str, secret: &str| {
        run(&["trigger", event, "--forward-to", &url], &[("PURSER_WEBHOOK_SECRET", secret)])
    };
    let secret = secrets(world).concat();
    for (event, with) in [("payment.paid", secret.as_str()), ("payment.settled", "whsec_x"), ("payment.*", &secret)] {
        assert!(!trigger(event, with).status.success(), "{event}");
    }
    let before = receiver.all().len();
    assert!(trigger("payment.settled", &secret).status.success());
    let sample = receiver.all().split_off(before).pop().unwrap();
    assert_eq!(verdicts(&[(secret, sample.headers.clone(), sample.body.clone())]), ["good"]);
    assert_eq!(sample.event()["source"], "urn:purser:trigger");
    let mut listen = Command::new(purser())
        .args(["listen", "--forward-to", &url, "--event", "mandate.*"])
        .envs([("PURSER_URL", world.config.public_url()), ("PURSER_TOKEN", world.user.clone())])
        .stderr(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let mut said = std::io::BufReader::new(listen.stderr.take().unwrap());
    let (mut first, mut second) = (String::new(), String::new());
    std::io::BufRead::read_line(&mut said, &mut first).unwrap();
    std::io::BufRead::read_line(&mut said, &mut second).unwrap();
    assert!(second.contains("from now on"), "{first}{second}");
    let secret = first.split_whitespace().last().unwrap().to_owned();
    let (before, mandate) = (receiver.all().len(), world.mandate().await);
    let is_it = |one: &Told| one.id().starts_with("listen-") && one.event()["subject"] == json!(mandate);
    let told = receiver.until("the mandate", |told| told.iter().skip(before).any(is_it)).await;
    let message = told.into_iter().skip(before).find(is_it).unwrap();
    assert_eq!(verdicts(&[(secret, message.headers.clone(), message.body)]), ["good"]);
    listen.kill().unwrap();
    listen.wait().unwrap();
}
