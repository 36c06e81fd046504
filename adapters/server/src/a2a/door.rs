//! `/a2a` and the agent card: JSON-RPC on the same listener, and who may come in.
//!
//! No token is needed: whoever pays is who signed the payment. One that is shown must be good, and then the tasks that are
//! begun with it are its holder's. A browser's page of another origin is refused, as at MCP's door.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::Router;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use engine::error::EngineError;
use engine::order::Ordered;
use http::{HeaderName, HeaderValue, header};
use identity::callers::Call as Door;
use ledger::id::IdempotencyKey;
use serde_json::{Value, json};

use super::call::{Activated, Call, Dialect, Fault, Method, Paid, Sent, Wish, task_id};
use super::sold::{Presented, Refused, Shop, Skill, receipts, told};
use super::task::{State as TaskState, Task, Told, Unsealed};
use super::{card, cart, key};
use crate::App;
use crate::call::{bytes, identify};
use crate::mcp::door::own_origin;
use crate::problem::{ok, shown};

pub const PATH: &str = "/a2a";
pub const CARD_PATH: &str = "/.well-known/agent-card.json";

/// Unpaid tasks whose end is remembered.
const ENDED_MAX: usize = 100_000;

#[derive(Clone)]
struct Doors {
    app: App,
    shop: Arc<Shop>,
    ended: Ended,
}

/// `/a2a` and the card. They stand beside the route table: their messages are another protocol's.
pub fn routes(app: App, shop: Arc<Shop>) -> Router {
    let doors = Doors { app, shop, ended: Ended::default() };
    Router::new().route(PATH, post(serve)).route(CARD_PATH, get(show)).with_state(doors)
}

async fn show(State(doors): State<Doors>) -> Response {
    let url = format!("{}{PATH}", doors.app.settings.public_url);
    let sells_carts = doors.shop.skills().any(|skill| skill.books.writes_carts(&skill.tool.requirements));
    ok(card::card(&url, doors.shop.skills(), sells_carts))
}

async fn serve(State(doors): State<Doors>, request: Request) -> Response {
    if let Err(problem) = own_origin(&doors.app, request.headers()) {
        return problem.into_response();
    }
    let (parts, body) = request.into_parts();
    let body = match bytes(Request::from_parts(parts.clone(), body), &doors.app).await {
        Ok(body) => body,
        Err(problem) => return problem.into_response(),
    };
    let owner = match parts.headers.contains_key(header::AUTHORIZATION) {
        true => match identify(&parts, &doors.app, Door::Reads).await {
            Ok(identity) => format!("{}/{}/{}", identity.tenant, identity.caller.kind, identity.caller.principal),
            Err(problem) => return problem.into_response(),
        },
        false => String::new(),
    };
    let (id, answer, activated) = match Call::read(&parts.headers, &body) {
        Err((id, fault)) => (id, Err(fault), Activated::default()),
        Ok(call) => {
            let (id, mut activated) = (call.id.clone(), call.activated);
            (id, doors.answer(call, &owner, &mut activated).await, activated)
        }
    };
    let mut response = ok(match answer {
        Ok(result) => json!({ "jsonrpc": "2.0", "id": id, "result": result }),
        Err(fault) => json!({ "jsonrpc": "2.0", "id": id, "error": fault.to_json() }),
    });
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("private, no-store"));
    if let Ok(uris) = HeaderValue::from_str(&activated.uris().join(", "))
        && !uris.is_empty()
    {
        for name in ["a2a-extensions", "x-a2a-extensions"] {
            headers.insert(HeaderName::from_static(name), uris.clone());
        }
    }
    response
}

/// A task, what sells it, and the order that it is in the book.
struct Found<'a> {
    task: Task,
    skill: &'a Skill,
    order: IdempotencyKey,
}

impl Doors {
    async fn answer(&self, call: Call, owner: &str, activated: &mut Activated) -> Result<Value, Fault> {
        let Call { dialect, method, params, .. } = call;
        let (task, told) = match method {
            Method::Send => {
                let sent = Sent::read(&params, *activated)?;
                *activated = sent.activated;
                self.send(sent, owner).await?
            }
            Method::Get => {
                let found = self.find(&task_id(&params)?, owner)?;
                let told = self.look(&found, *activated, None).await?;
                (found.task, told)
            }
            Method::Cancel => {
                let found = self.find(&task_id(&params)?, owner)?;
                let told = self.end(&found, TaskState::Canceled).await?;
                (found.task, told)
            }
        };
        let told = told.to_json(&task, self.now(), dialect, &activated.uris());
        Ok(match (method, dialect) {
            (Method::Send, Dialect::V1_0) => json!({ "task": told }),
            _ => told,
        })
    }

    fn now(&self) -> i64 {
        self.app.engine.clock.now().seconds()
    }

    async fn send(&self, sent: Sent, owner: &str) -> Result<(Task, Told), Fault> {
        if !sent.activated.x402() {
            let expected = format!("{} or {} in A2A-Extensions", super::X402_V0_2, super::X402_V0_1);
            return Err(Fault::extension_required(format!("{expected} was expected, neither came")));
        }
        let found = match (&sent.task, &sent.wish) {
            (Some(id), _) => self.find(id, owner)?,
            (None, Wish::Buy(name)) => self.begin(name.as_deref(), sent.context.clone(), owner)?,
            (None, _) => {
                return Err(Fault::params("task_missing", "message.taskId: a task was expected, nothing came"));
            }
        };
        if let Some(context) = sent.context.as_ref().filter(|context| **context != found.task.context) {
            let (expected, found) = (shown(&found.task.context), shown(context));
            let detail = format!("message.contextId: {expected}, the task's own, was expected, {found} came");
            return Err(Fault::params("context_mismatch", detail));
        }
        let told = match sent.wish {
            Wish::Buy(_) | Wish::Look => self.look(&found, sent.activated, None).await?,
            Wish::Decline => self.end(&found, TaskState::Failed).await?,
            Wish::Pay(paid) => self.pay(&found, &paid, sent.activated).await?,
        };
        Ok((found.task, told))
    }

    fn begin(&self, name: Option<&str>, context: Option<String>, owner: &str) -> Result<Found<'_>, Fault> {
        let named = name.and_then(|name| self.shop.find(name)).or_else(|| self.shop.only());
        let skill = named.ok_or_else(|| {
            let names: Vec<&str> = self.shop.skills().map(|skill| skill.tool.name.as_str()).collect();
            let found = shown(name.unwrap_or("nothing"));
            Fault::params(
                "skill_unknown",
                format!("the name of a skill ({}) was expected, {found} came", names.join(", ")),
            )
        })?;
        let random = self.app.engine.entropy.bytes().map_err(|error| {
            tracing::error!("no randomness for a task: {error}");
            Fault::unavailable("task_unavailable", "a task cannot be begun now")
        })?;
        let seal = |said: &[u8]| skill.books.seal(said).ok();
        let task = Task::begin(&skill.tool.name, context, self.now(), random, owner, seal);
        let task =
            task.ok_or_else(|| Fault::params("invalid_params", "message.contextId: a shorter one was expected"))?;
        Found::of(task, skill)
    }

    /// The task of this id, where it is one of ours and this caller's. Why not is not told.
    fn find(&self, id: &str, owner: &str) -> Result<Found<'_>, Fault> {
        let unknown = || Fault::task_unknown(id);
        let unsealed = Unsealed::read(id).ok_or_else(unknown)?;
        let skill = self.shop.find(unsealed.skill()).ok_or_else(unknown)?;
        let task = unsealed.open(owner, |said| skill.books.seal(said).ok());
        Found::of(task.ok_or_else(unknown)?, skill)
    }

    /// The task as the book has it; `refused` is why a payment for it did not buy, just now.
    async fn look(&self, found: &Found<'_>, activated: Activated, refused: Option<&Refused>) -> Result<Told, Fault> {
        let Found { task, skill, order } = found;
        if let Some(ordered) = skill.paid(order).await.map_err(|error| unavailable(&error))? {
            return match (refused, &ordered) {
                (Some(refused), Ordered::Returned) => self.demand(found, activated, Some(refused)).await,
                _ => Ok(told(ordered, None)),
            };
        }
        match self.ended.state(order, self.now()) {
            Some(state) => Ok(ended(state)),
            None if task.unpaid_until() <= self.now() => Ok(ended(TaskState::Canceled)),
            None => self.demand(found, activated, refused).await,
        }
    }

    /// What has to be paid, and why what came did not.
    async fn demand(&self, found: &Found<'_>, activated: Activated, refused: Option<&Refused>) -> Result<Told, Fault> {
        let Found { skill, order, .. } = found;
        let demand = skill.demand(activated);
        let text = format!("{} Payment is required.", skill.tool.description);
        let mut said = Told::new(TaskState::InputRequired, text).with(key::STATUS, "payment-required");
        if let Some(refused) = refused {
            said.text = format!("The payment bought nothing: {}", refused.detail);
            let receipt = refused.receipt(&skill.tool.requirements.network);
            said = said
                .with(key::STATUS, "payment-failed")
                .with(key::ERROR, refused.short())
                .with(key::RECEIPTS, receipts(Some(receipt)));
        }
        if activated.ap2 && skill.books.writes_carts(&skill.tool.requirements) {
            let data = cart::offered(skill, order, &self.app.settings.public_url, &demand).await?;
            said.artifacts.push((cart::ARTIFACT, data));
            return Ok(said);
        }
        Ok(said.with(key::REQUIRED, demand))
    }

    async fn pay(&self, found: &Found<'_>, paid: &Paid, activated: Activated) -> Result<Told, Fault> {
        let Found { task, skill, order } = found;
        cart::check(paid, order)?;
        let before = skill.paid(order).await.map_err(|error| unavailable(&error))?;
        if before.is_none() && (self.ended.state(order, self.now()).is_some() || task.unpaid_until() <= self.now()) {
            return Err(Fault::over(
                "task_is_over",
                "a task that waits for its payment was expected; this one has ended",
            ));
        }
        match skill.present(order, &paid.payload).await {
            Presented::Bought(content) => match skill.paid(order).await.map_err(|error| unavailable(&error))? {
                Some(ordered) => Ok(told(ordered, Some(content))),
                None => Err(Fault::unavailable("outcome_unknown", "present the same payment again, sign no other")),
            },
            Presented::Refused(refused) if refused.is_for_paid_order() => {
                Err(Fault::over("order_has_payment", "this task has its payment; another one was not taken"))
            }
            Presented::Refused(refused) => {
                let told = self.look(found, activated, Some(&refused)).await?;
                if refused.is_pending && told.state == TaskState::InputRequired {
                    return Err(Fault::unavailable(
                        "payment_unchecked",
                        "present the same payment again, sign no other",
                    ));
                }
                Ok(told)
            }
        }
    }

    /// Ends an unpaid task.
    async fn end(&self, found: &Found<'_>, state: TaskState) -> Result<Told, Fault> {
        let Found { task, skill, order } = found;
        // Written down first and looked up second: what the book has by then was there before.
        let was_new = self.ended.add(order, state, task.unpaid_until(), self.now())?;
        let ordered = skill.paid(order).await.map_err(|error| unavailable(&error))?;
        match ordered {
            None => Ok(ended(self.ended.state(order, self.now()).unwrap_or(state))),
            Some(_) => {
                if was_new {
                    self.ended.remove(order);
                }
                Err(Fault::not_cancelable("a task without a payment was expected; this one has one, and goes its way"))
            }
        }
    }
}

impl<'a> Found<'a> {
    fn of(task: Task, skill: &'a Skill) -> Result<Self, Fault> {
        let order = task.order().ok_or_else(|| Fault::task_unknown(&task.id))?;
        Ok(Self { task, skill, order })
    }
}

fn ended(state: TaskState) -> Told {
    match state {
        TaskState::Failed => Told::new(state, "The terms were declined; no payment of this task is in the books."),
        _ => Told::new(state, "It has ended; no payment of this task is in the books."),
    }
    .with(key::STATUS, "payment-rejected")
}

fn unavailable(error: &EngineError) -> Fault {
    tracing::warn!(code = error.code(), "a task cannot be looked up: {error}");
    Fault::unavailable(
        "books_unavailable",
        "the books cannot be asked now; present the same payment again, sign no other",
    )
}

/// Unpaid tasks that somebody ended, until they would have ended by themselves.
#[derive(Clone, Default)]
struct Ended(Arc<Mutex<BTreeMap<IdempotencyKey, (TaskState, i64)>>>);

impl Ended {
    fn state(&self, order: &IdempotencyKey, now: i64) -> Option<TaskState> {
        self.lock().get(order).filter(|(_, until)| *until > now).map(|(state, _)| *state)
    }

    /// Whether it is news.
    fn add(&self, order: &IdempotencyKey, state: TaskState, until: i64, now: i64) -> Result<bool, Fault> {
        let mut ended = self.lock();
        if ended.len() >= ENDED_MAX {
            ended.retain(|_, (_, until)| *until > now);
        }
        if ended.contains_key(order) {
            return Ok(false);
        }
        if ended.len() >= ENDED_MAX {
            return Err(Fault::not_cancelable(format!(
                "at most {ENDED_MAX} ended tasks are remembered; it ends by itself"
            )));
        }
        ended.insert(order.clone(), (state, until));
        Ok(true)
    }

    fn remove(&self, order: &IdempotencyKey) {
        self.lock().remove(order);
    }

    /// An entry is there whole or not at all, so a thread that panicked left nothing half done.
    fn lock(&self) -> MutexGuard<'_, BTreeMap<IdempotencyKey, (TaskState, i64)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
