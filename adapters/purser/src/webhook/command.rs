//! `purser webhook`, `purser listen` and `purser trigger`.

use std::time::Duration;

use ledger::event::{Event, EventType};
use ledger::id::{Micros, TenantId};
use reqwest::Method;
use serde_json::Value;
use store::{Bookmark, Schema};

use super::{Secrets, message_id, size};
use crate::assembly::open_store;
use crate::cli::{ListenArgs, TriggerArgs, WebhookAction, WebhookPlace};
use crate::client::Client;
use crate::config::{Config, check_pattern, matches};
use crate::fetch::{Loopback, Poster, Reach};
use crate::keys::random_bytes;
use crate::operate::ring;
use crate::pay::service;

const LOOK_EVERY: Duration = Duration::from_millis(500);
/// The secret of `trigger`, as the receiver has it: not an argument, which every process of the machine can read.
const SECRET: &str = "PURSER_WEBHOOK_SECRET";
const PAGE: u32 = 500;
/// Attempts of `listen` at one event.
const ATTEMPTS: u32 = 3;

pub async fn operate(action: &WebhookAction) -> Result<(), String> {
    let say = |error: &dyn std::fmt::Display| error.to_string();
    let place = action.place();
    let config = Config::read(&place.config).map_err(|error| say(&error))?;
    let ring = ring(&config, Schema::Refuse).await?;
    let known = config.tenant(&place.tenant).map(|tenant| tenant.webhooks.clone()).unwrap_or_default();
    let store = open_store(&config, &ring, Schema::Refuse).await.map_err(|error| say(&error))?;
    let tenant: TenantId = place.tenant.parse().map_err(|_| format!("`{}` is no tenant", place.tenant))?;
    let named = |name: &str| match known.iter().any(|webhook| webhook.name == name) {
        true => Ok(()),
        false => {
            let names: Vec<&str> = known.iter().map(|webhook| webhook.name.as_str()).collect();
            Err(format!("a webhook of {tenant} is one of [{}]; `{name}` was given", names.join(", ")))
        }
    };
    match action {
        WebhookAction::List(_) => {
            for webhook in &known {
                let size = size(&store, &tenant, webhook).await?;
                let place = store.bookmark(&tenant, &webhook.name).await.map_err(|error| say(&error))?;
                println!("{} {} {}", webhook.name, webhook.url, standing(place, size));
            }
        }
        WebhookAction::Secret { name, .. } => {
            named(name)?;
            for text in Secrets::of(&ring, &place.tenant, name)?.texts() {
                println!("{}", *text);
            }
        }
        WebhookAction::Replay { name, from, .. } => {
            named(name)?;
            let now = (store::wall_clock())();
            let to = Bookmark { next: (*from, 0), failures: 0, due_at: now };
            store.open_bookmark(&tenant, name, to).await.map_err(|error| say(&error))?;
            loop {
                let read = store.bookmark(&tenant, name).await.map_err(|error| say(&error))?;
                let read = read.ok_or("the webhook's place is gone")?;
                // Whoever delivers meanwhile writes too: then it is read again.
                if store.move_bookmark(&tenant, name, (read, to)).await.map_err(|error| say(&error))? {
                    break;
                }
            }
            println!("{name} is told again from record {from} on");
        }
    }
    store.close().await.map_err(|error| say(&error))?;
    Ok(())
}

fn standing(place: Option<Bookmark>, size: u64) -> String {
    match place {
        None => "was told nothing yet".to_owned(),
        Some(Bookmark { next: (seq, _), failures: 0, .. }) => format!("told up to record {seq} of {size}"),
        Some(Bookmark { next: (seq, _), failures, due_at }) => format!(
            "told up to record {seq} of {size}; {failures} attempts failed, the next not before {} (unix seconds)",
            due_at.seconds()
        ),
    }
}

/// Anybody on this machine or outside may be told by who asks for it here.
fn poster() -> Result<Poster, String> {
    Poster::new(Reach { loopback: Loopback::Allowed, ..Reach::default() })
}

/// Asks the service what happens, and tells a receiver on this machine of it, which nobody could reach from outside.
pub async fn listen(args: &ListenArgs, stop: impl Future<Output = ()>) -> Result<(), String> {
    for pattern in &args.events {
        check_pattern(pattern).map_err(|expected| format!("{expected} was expected; `{pattern}` was given"))?;
    }
    let service = service(args.service.as_deref())?;
    let (client, credential) = (Client::new(&service.url).map_err(|error| error.to_string())?, service.credential()?);
    let (secrets, poster) = (Secrets::one(random_bytes().map_err(|error| error.to_string())?), poster()?);
    for text in secrets.texts() {
        eprintln!("messages are signed with {}", *text);
    }
    let mut stop = std::pin::pin!(stop);
    // What was there before is passed over, a page at a time.
    let (mut cursor, mut is_old): (Option<String>, _) = (None, !args.from_start);
    loop {
        let path = cursor.as_ref().map_or_else(
            || format!("/v1/events?limit={PAGE}"),
            |cursor| format!("/v1/events?limit={PAGE}&cursor={cursor}"),
        );
        let page = client.call_as(&credential, Method::GET, &path, None, None).await;
        let page = page.map_err(|error| error.to_string())?;
        let events = page["events"].as_array().map(Vec::as_slice).unwrap_or_default();
        for event in events.iter().filter(|event| !is_old && is_wanted(&args.events, event)) {
            println!("{}", forward(&poster, &secrets, &args.forward_to, event).await?);
        }
        cursor = page["cursor"].as_str().map(str::to_owned).or(cursor);
        if !events.is_empty() {
            continue;
        }
        if std::mem::take(&mut is_old) {
            eprintln!("told of what happens from now on: {}", args.forward_to);
        }
        tokio::select! {
            () = tokio::time::sleep(LOOK_EVERY) => {}
            () = &mut stop => return Ok(()),
        }
    }
}

fn is_wanted(patterns: &[String], event: &Value) -> bool {
    let kind = event["type"].as_str().and_then(|kind| kind.parse::<EventType>().ok());
    patterns.is_empty() || kind.is_some_and(|kind| patterns.iter().any(|pattern| matches(pattern, kind)))
}

/// A line for whoever looks on. A receiver that is away is asked again a few times, and passed over then.
async fn forward(poster: &Poster, secrets: &Secrets, url: &str, event: &Value) -> Result<String, String> {
    let (kind, id) = (event["type"].as_str().unwrap_or_default(), event["id"].as_str().unwrap_or_default());
    let body = event.to_string();
    let mut said = String::new();
    for attempt in 1..=ATTEMPTS {
        let headers = secrets.headers(&format!("listen-{id}"), (store::wall_clock())().seconds(), body.as_bytes())?;
        match poster.post(url, headers, body.clone()).await {
            Ok(()) => return Ok(format!("{kind} {id} taken")),
            Err(why) => said = why,
        }
        if attempt < ATTEMPTS {
            tokio::time::sleep(super::pause(attempt)).await;
        }
    }
    Ok(format!("{kind} {id} NOT taken: {said}"))
}

/// Tells a receiver of something that did not happen, for its developer. Nothing is written anywhere.
pub async fn trigger(args: &TriggerArgs) -> Result<(), String> {
    let kind: EventType = args.event.parse().map_err(|_| {
        let known: Vec<&str> = EventType::ALL.iter().map(|kind| kind.as_str()).collect();
        format!("an event is one of {}; `{}` was given", known.join(", "), args.event)
    })?;
    let text = std::env::var(SECRET).map_err(|_| format!("set {SECRET} to the receiver's secret (`whsec_…`)"))?;
    let (secrets, tenant): (Secrets, TenantId) =
        (Secrets::read(&text)?, "trigger".parse().map_err(|_| "`trigger` is a tenant".to_owned())?);
    let at = (store::wall_clock())();
    let Micros(number) = at;
    // No record has such a number: a receiver that looks ids up sees another message each time.
    let event = Event {
        seq: u64::try_from(number).unwrap_or_default(),
        number: 0,
        at,
        kind,
        subject: "sample".to_owned(),
        mandate: None,
    };
    let body = server::events::document(&event, "urn:purser:trigger").to_string();
    let headers = secrets.headers(&message_id(&tenant, &event), at.seconds(), body.as_bytes())?;
    poster()?.post(&args.forward_to, headers, body).await?;
    println!("{kind} taken by {}", args.forward_to);
    Ok(())
}

impl WebhookAction {
    const fn place(&self) -> &WebhookPlace {
        match self {
            Self::List(place) | Self::Secret { place, .. } | Self::Replay { place, .. } => place,
        }
    }
}
