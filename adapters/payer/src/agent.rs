//! What another agent does for money, over A2A (JSON-RPC, versions 1.0 and 0.3) with its x402 extension (`a2a-x402`): the
//! buyer's side.
//!
//! A message begins a task; a task that waits for its payment says what it asks; the payment goes into a message to that
//! task, and the task is followed to its end. A second demand is an answer, and nothing is signed for it. The embedded flow
//! of AP2 (a cart instead of a demand) is not built.

use std::time::Duration;

use commerce::acp_buyer::step_key;
use reqwest::StatusCode;
use serde_json::{Map, Value, json};
use tokio::time::Instant;
use url::Url;
use x402::wire::whole;

use crate::{Answered, Asked, Demand, Fetched, Payer, PayerError, Payment, Wallet, looked, lost, read, shown};

/// Where an agent's card lies (A2A 1.0 section 8.2).
const CARD: &str = "/.well-known/agent-card.json";
/// The extension, by both of its names.
const X402: [&str; 2] = [
    "https://github.com/google-agentic-commerce/a2a-x402/blob/main/spec/v0.2",
    "https://github.com/google-a2a/a2a-x402/v0.1",
];
const STATUS: &str = "x402.payment.status";
const REQUIRED: &str = "x402.payment.required";
const PAYLOAD: &str = "x402.payment.payload";
const RECEIPTS: &str = "x402.payment.receipts";
/// How long a task that works is followed.
const PATIENCE: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(500);
const A2A: &str = "an agent that speaks A2A";

/// What is wanted of an agent, and the key under which it is bought.
#[derive(Clone, Debug)]
pub struct Errand {
    /// The agent's: any address of its origin, or its card where that lies elsewhere (`….json`).
    pub url: String,
    /// What it is told: a skill's name, or whatever it understands.
    pub message: String,
    /// The same key is the same purchase.
    pub key: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Dialect {
    V1_0,
    V0_3,
}

/// Where and how an agent is spoken to.
struct Interface {
    url: String,
    dialect: Dialect,
    extensions: Vec<&'static str>,
}

/// A task as far as it is of use here, in either version.
struct Task {
    whole: Value,
    id: String,
    context: Option<String>,
    /// Small letters and hyphens, as 0.3 writes it.
    state: String,
    /// What stands beside its last message, and beside itself.
    metadata: Map<String, Value>,
}

impl<W: Wallet> Payer<W> {
    /// Tells the agent, pays once where its task asks for that, follows the task, and has the wallet look.
    pub async fn send_errand(&self, errand: &Errand) -> Result<Answered<W::Outcome>, PayerError<W::Error>> {
        let interface = self.interface(errand).await?;
        let (result, task) = self.tell(&interface, errand, None).await?;
        let Some(task) = task else { return Ok(Answered { result, is_failure: false, paid: None }) };
        let Some(demand) = demand(&interface.url, &task)? else {
            let task = self.follow(&interface, errand, task).await?;
            return Ok(Answered { is_failure: !task.is_completed(), result: task.whole, paid: None });
        };
        let asked = Asked { method: "POST", url: &interface.url, key: &errand.key, demand: &demand };
        let payment = self.wallet.pay(asked).await.map_err(PayerError::Wallet)?;
        let answer = self.present_to(&interface, errand, &task, &payment).await;
        looked(&self.wallet, payment, answer).await
    }

    /// One message without a payment: what is done for nothing, or what is asked. The task waits, and is let be.
    pub async fn meet_errand(&self, errand: &Errand) -> Result<(Value, Option<Demand>), PayerError<W::Error>> {
        let interface = self.interface(errand).await?;
        let (result, task) = self.tell(&interface, errand, None).await?;
        let demand = task.map(|task| demand(&interface.url, &task)).transpose()?.flatten();
        Ok((result, demand))
    }

    async fn present_to(
        &self,
        interface: &Interface,
        errand: &Errand,
        task: &Task,
        payment: &Payment,
    ) -> Result<(Value, bool, Option<Value>), PayerError<W::Error>> {
        let payload =
            payment.object().ok_or_else(|| unreadable(&interface.url, "the wallet gave no payment to show"))?;
        let (result, paid) = self.tell(interface, errand, Some((task, payload))).await?;
        let Some(paid) = paid else { return Ok((result, false, None)) };
        if paid.id != task.id {
            let why = format!("task {} was paid for, task {} is answered", shown(&task.id), shown(&paid.id));
            return Err(unreadable(&interface.url, &why));
        }
        let done = self.follow(interface, errand, paid).await?;
        let receipt = done.metadata.get(RECEIPTS).and_then(Value::as_array).and_then(|all| all.last()).cloned();
        let is_failure = !done.is_completed();
        Ok((done.whole, is_failure, receipt))
    }

    /// The first JSON-RPC interface of the card that is of a version spoken here, at the card's own origin: the one that is
    /// asked is the one that is paid.
    async fn interface(&self, errand: &Errand) -> Result<Interface, PayerError<W::Error>> {
        let card_url = card_url(&errand.url).map_err(|why| unreadable(&errand.url, &why))?;
        let answer = self.http.get(card_url.as_str()).send().await.map_err(|error| lost(card_url.as_str(), error))?;
        let fetched = read(card_url.as_str(), answer).await?;
        let card = object(card_url.as_str(), &fetched)?;
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let listed = card.get("supportedInterfaces").and_then(Value::as_array).into_iter().flatten();
        let newer = listed.filter(|it| it["protocolBinding"] == "JSONRPC").filter_map(|it| {
            let dialect = match it["protocolVersion"].as_str()? {
                "1.0" => Dialect::V1_0,
                "0.3" | "0.3.0" => Dialect::V0_3,
                _ => return None,
            };
            Some((text(&it["url"])?, dialect))
        });
        // Version 0.3 has one address, and says how it is spoken to where that is not JSON-RPC.
        let is_rpc = card.get("preferredTransport").is_none_or(|how| how == "JSONRPC");
        let older = card.get("url").filter(|_| is_rpc).and_then(text).map(|url| (url, Dialect::V0_3));
        let found = newer.chain(older).next();
        let (url, dialect) = found.ok_or_else(|| {
            unreadable(card_url.as_str(), "its card lists no JSON-RPC interface of version 1.0 or 0.3")
        })?;
        if Url::parse(&url).map(|url| url.origin()) != Ok(card_url.origin()) {
            let why = format!("its card sends to {}, which is not the origin that was asked", shown(&url));
            return Err(unreadable(card_url.as_str(), &why));
        }
        let said = card.get("capabilities").and_then(|it| it["extensions"].as_array()).into_iter().flatten();
        let said: Vec<&str> = said.filter_map(|it| it["uri"].as_str()).collect();
        let extensions = X402.into_iter().filter(|uri| said.contains(uri)).collect();
        Ok(Interface { url, dialect, extensions })
    }

    async fn tell(
        &self,
        interface: &Interface,
        errand: &Errand,
        paying: Option<(&Task, Value)>,
    ) -> Result<(Value, Option<Task>), PayerError<W::Error>> {
        let (text, step) = match paying {
            None => (errand.message.as_str(), "ask"),
            Some(_) => ("Here is the payment.", "pay"),
        };
        // Told again under the same key it is the same message, for whoever looks.
        let mut message = json!({ "messageId": step_key(&errand.key, step), "extensions": interface.extensions });
        if let Some((task, payload)) = paying {
            message["taskId"] = task.id.as_str().into();
            message["contextId"] = task.context.as_deref().into();
            message["metadata"] = json!({ STATUS: "payment-submitted", PAYLOAD: payload });
        }
        let method = match interface.dialect {
            Dialect::V1_0 => {
                message["role"] = "ROLE_USER".into();
                message["parts"] = json!([{ "text": text }]);
                "SendMessage"
            }
            Dialect::V0_3 => {
                message["kind"] = "message".into();
                message["role"] = "user".into();
                message["parts"] = json!([{ "kind": "text", "text": text }]);
                "message/send"
            }
        };
        let result = self.call(interface, method, json!({ "message": message })).await?;
        let task = Task::of(&result);
        Ok((result, task))
    }

    /// Until the task waits for us or is over, or patience ends.
    async fn follow(
        &self,
        interface: &Interface,
        errand: &Errand,
        mut task: Task,
    ) -> Result<Task, PayerError<W::Error>> {
        let deadline = Instant::now() + PATIENCE;
        let method = match interface.dialect {
            Dialect::V1_0 => "GetTask",
            Dialect::V0_3 => "tasks/get",
        };
        while matches!(task.state.as_str(), "submitted" | "working") && Instant::now() < deadline {
            tokio::time::sleep(LOOK_EVERY).await;
            let result = self.call(interface, method, json!({ "id": task.id })).await?;
            let seen = Task::of(&result).filter(|seen| seen.id == task.id);
            task = seen.ok_or_else(|| unreadable(&errand.url, "the task that was begun is not answered"))?;
        }
        Ok(task)
    }

    async fn call(&self, interface: &Interface, method: &str, params: Value) -> Result<Value, PayerError<W::Error>> {
        let url = interface.url.as_str();
        let call = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
        let version = match interface.dialect {
            Dialect::V1_0 => "1.0",
            Dialect::V0_3 => "0.3",
        };
        let mut request = self.http.post(url).json(&call).header("a2a-version", version);
        if !interface.extensions.is_empty() {
            let uris = interface.extensions.join(", ");
            request = request.header("a2a-extensions", &uris).header("x-a2a-extensions", &uris);
        }
        let answer = request.send().await.map_err(|error| lost(url, error))?;
        let mut answer = object(url, &read(url, answer).await?)?;
        if let Some(error) = answer.get("error").filter(|error| !error.is_null()) {
            let why = shown(error["message"].as_str().unwrap_or("without a word"));
            return Err(PayerError::Refused { url: url.to_owned(), why });
        }
        answer.remove("result").ok_or_else(|| unreadable(url, "an answer without a result"))
    }
}

impl Task {
    /// `None` where the agent answers with a message, which is all then.
    fn of(result: &Value) -> Option<Self> {
        let found = result.get("task").unwrap_or(result);
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let state = found["status"]["state"].as_str()?;
        let state = state.trim_start_matches("TASK_STATE_").to_ascii_lowercase().replace('_', "-");
        let mut metadata = found["metadata"].as_object().cloned().unwrap_or_default();
        metadata.extend(found["status"]["message"]["metadata"].as_object().cloned().unwrap_or_default());
        let (id, context) = (text(&found["id"])?, text(&found["contextId"]));
        Some(Self { whole: found.clone(), id, context, state, metadata: whole(&metadata) })
    }

    fn is_completed(&self) -> bool {
        self.state == "completed"
    }
}

fn demand<E: std::error::Error + 'static>(url: &str, task: &Task) -> Result<Option<Demand>, PayerError<E>> {
    if task.state != "input-required" {
        return Ok(None);
    }
    let Some(required) = task.metadata.get(REQUIRED) else { return Ok(None) };
    let required = required.as_object().ok_or_else(|| format!("{REQUIRED} is no object"));
    let demand = required.and_then(Demand::of);
    demand.map(Some).map_err(|why| PayerError::NotPayable { url: url.to_owned(), why })
}

fn card_url(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|error| error.to_string())?;
    match url.scheme() {
        "http" | "https" if url.path().ends_with(".json") => Ok(url),
        "http" | "https" => url.join(CARD).map_err(|error| error.to_string()),
        other => Err(format!("an http or https URL was expected, {other} came")),
    }
}

fn object<E: std::error::Error + 'static>(url: &str, fetched: &Fetched) -> Result<Map<String, Value>, PayerError<E>> {
    let said = serde_json::from_slice(&fetched.body);
    match said {
        Ok(Value::Object(members)) if fetched.status == StatusCode::OK || members.contains_key("jsonrpc") => {
            Ok(members)
        }
        _ => {
            let status = fetched.status.as_u16();
            Err(unreadable(url, &format!("a JSON object was expected, {status} and something else came")))
        }
    }
}

fn unreadable<E: std::error::Error + 'static>(url: &str, why: &str) -> PayerError<E> {
    PayerError::Unreadable { url: url.to_owned(), expected: A2A, why: shown(why) }
}
