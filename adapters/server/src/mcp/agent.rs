//! The tools of an agent: each one call or two of the HTTP surface, in the caller's name.

use std::time::Duration;

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use payer::agent::Errand;
use payer::tool::ToolCall;
use payer::{Answered, Demand, Met, Payer, PayerError};
use rmcp::model::JsonObject;
use serde_json::{Map, Value, json};

use super::catalogue::{BUDGET, PAY, QUOTE, REQUEST_MANDATE, STATUS};
use crate::wallet::{Call, MandateWallet, Surface, key_of};

/// What is given of a bought body: a model reads all of it.
pub const BODY_BYTES_MAX: usize = 64 * 1024;
/// For one exchange with a seller.
pub const SELLER_PATIENCE: Duration = Duration::from_secs(60);
/// Of an argument that is an id, a name or a URL.
const ARGUMENT_BYTES_MAX: usize = 4 * 1024;

/// Who a question goes to where nobody is named, as for `purser ask`.
const USER: &str = "user";
const CURRENCY: &str = "USD";
const EXPIRES_IN_SECONDS: u64 = 3_600;

/// The surface, and the world outside as far as it may be asked from here.
#[async_trait]
pub trait Errands: Surface {
    /// A client that may connect to this address, and follows no redirect; or why nothing may.
    async fn client_for(&self, url: &str) -> Result<reqwest::Client, String>;

    /// A refusal as a model reads it: `code`, `detail`, and what else the problem document says.
    fn told(error: &Self::Error) -> Map<String, Value>;

    /// A mandate's id where a call names none.
    fn mandate(&self) -> Option<&str>;
}

/// Why a tool did not do what it was asked: `code` and `detail`, and what else is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused(pub Map<String, Value>);

impl Refused {
    pub fn new(code: &str, detail: impl Into<String>) -> Self {
        Self(Map::from_iter([("code".to_owned(), code.into()), ("detail".to_owned(), detail.into().into())]))
    }

    fn argument(name: &str, detail: impl Into<String>) -> Self {
        let mut refused = Self::new("invalid_request", detail);
        refused.0.insert("field".into(), name.into());
        refused
    }
}

/// A call of a tool whose arguments are named and of the right kind.
#[derive(Clone, Debug)]
pub enum Wanted {
    RequestMandate(JsonObject),
    Quote { url: String, manner: Manner, mandate: String },
    Pay(Purchase),
    Payment(String),
    Approval(String),
    Budget(String),
}

/// How what stands at a URL is asked.
#[derive(Clone, Debug)]
pub enum Manner {
    /// An HTTP request.
    Fetch { method: String },
    /// A tool of the MCP server there.
    Tool { tool: String, arguments: JsonObject },
    /// The agent there, over A2A.
    Message(String),
}

#[derive(Clone, Debug)]
pub struct Purchase {
    url: String,
    manner: Manner,
    mandate: String,
    /// The caller's name for it, and the key under which it is paid once.
    purchase: String,
    cart: Option<String>,
    again_after: Option<String>,
}

/// Reads the arguments strictly: what is unknown is refused, because a constraint that is misspelt is none.
pub fn read(tool: &str, arguments: JsonObject, default_mandate: Option<&str>) -> Result<Wanted, Refused> {
    let mut arguments = Arguments(arguments);
    let wanted = match tool {
        // The route reads the rest as strictly.
        REQUEST_MANDATE => return Ok(Wanted::RequestMandate(arguments.0)),
        QUOTE => Wanted::Quote {
            url: arguments.required("url")?,
            manner: arguments.manner()?,
            mandate: arguments.mandate(default_mandate)?,
        },
        PAY => Wanted::Pay(Purchase {
            url: arguments.required("url")?,
            manner: arguments.manner()?,
            mandate: arguments.mandate(default_mandate)?,
            purchase: arguments.required("purchase")?,
            cart: arguments.optional("cart", mandates::limits::TOKEN_BYTES_MAX)?,
            again_after: arguments.optional("again_after", ARGUMENT_BYTES_MAX)?,
        }),
        STATUS => match (arguments.id("payment")?, arguments.id("approval")?) {
            (Some(payment), None) => Wanted::Payment(payment),
            (None, Some(approval)) => Wanted::Approval(approval),
            (found, _) => {
                let found = if found.is_some() { "both" } else { "neither" };
                return Err(Refused::argument("payment", format!("payment or approval was expected, {found} came")));
            }
        },
        BUDGET => Wanted::Budget(arguments.mandate(default_mandate)?),
        other => {
            return Err(Refused::new("tool_unknown", format!("there is no tool {}", crate::problem::shown(other))));
        }
    };
    match arguments.0.keys().next() {
        None => Ok(wanted),
        Some(name) => {
            let name = crate::problem::shown(name);
            Err(Refused::argument(&name, format!("the arguments of {tool} were expected, {name} came beside them")))
        }
    }
}

struct Arguments(JsonObject);

impl Arguments {
    fn optional(&mut self, name: &str, bytes_max: usize) -> Result<Option<String>, Refused> {
        match self.0.remove(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) if text.is_empty() || text.len() > bytes_max => {
                let detail = format!("{name}: 1 to {bytes_max} bytes were expected, {} came", text.len());
                Err(Refused::argument(name, detail))
            }
            Some(Value::String(text)) => Ok(Some(text)),
            Some(other) => {
                let found = crate::problem::shown(&other.to_string());
                Err(Refused::argument(name, format!("{name}: a text was expected, {found} came")))
            }
        }
    }

    fn required(&mut self, name: &str) -> Result<String, Refused> {
        let found = self.optional(name, ARGUMENT_BYTES_MAX)?;
        found.ok_or_else(|| Refused::argument(name, format!("{name} was expected, none came")))
    }

    /// What becomes part of a path: letters, digits, dashes and underscores, nothing that a path would obey.
    fn id(&mut self, name: &str) -> Result<Option<String>, Refused> {
        let found = self.optional(name, ARGUMENT_BYTES_MAX)?;
        let is_id = |text: &str| text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_');
        match found {
            Some(text) if !is_id(&text) => {
                let found = crate::problem::shown(&text);
                Err(Refused::argument(name, format!("{name}: an id was expected, {found} came")))
            }
            other => Ok(other),
        }
    }

    fn mandate(&mut self, default: Option<&str>) -> Result<String, Refused> {
        let found = self.id("mandate")?.or_else(|| default.map(str::to_owned));
        found.ok_or_else(|| Refused::argument("mandate", "the id of a mandate was expected, none came"))
    }

    fn manner(&mut self) -> Result<Manner, Refused> {
        let method = self.optional("method", ARGUMENT_BYTES_MAX)?;
        let tool = self.optional("tool", ARGUMENT_BYTES_MAX)?;
        let message = self.optional("message", BODY_BYTES_MAX)?;
        let arguments = match self.0.remove("arguments") {
            None | Some(Value::Null) => None,
            Some(Value::Object(members)) => Some(members),
            Some(other) => {
                let found = crate::problem::shown(&other.to_string());
                return Err(Refused::argument("arguments", format!("arguments: an object was expected, {found} came")));
            }
        };
        match (method, tool, message, arguments) {
            (method, None, None, None) => Ok(Manner::Fetch { method: method.unwrap_or_else(|| "GET".into()) }),
            (None, Some(tool), None, arguments) => Ok(Manner::Tool { tool, arguments: arguments.unwrap_or_default() }),
            (None, None, Some(message), None) => Ok(Manner::Message(message)),
            (_, None, _, Some(_)) => Err(Refused::argument(
                "arguments",
                "arguments were expected beside the tool that takes them, no tool came",
            )),
            _ => Err(Refused::argument("tool", "one of method, tool and message was expected, several came")),
        }
    }
}

/// Does it. What comes back holds against the tool's output schema.
pub async fn run<E: Errands>(errands: &E, wanted: Wanted) -> Result<Value, Refused> {
    let refused = |error: E::Error| Refused(E::told(&error));
    match wanted {
        Wanted::RequestMandate(request) => {
            let asked = errands.call(Call::post("/v1/mandates/intents", intent(request))).await.map_err(refused)?;
            Ok(approval_view(&asked["approval"]))
        }
        Wanted::Approval(id) => {
            let approval = errands.call(Call::get(format!("/v1/approvals/{id}"))).await.map_err(refused)?;
            Ok(approval_view(&approval))
        }
        Wanted::Payment(id) => {
            let payment = errands.call(Call::get(format!("/v1/payments/{id}"))).await.map_err(refused)?;
            Ok(payment_view(&payment))
        }
        Wanted::Budget(id) => {
            let mandate = errands.call(Call::get(format!("/v1/mandates/{id}"))).await.map_err(refused)?;
            Ok(budget_view(&mandate))
        }
        Wanted::Quote { url, manner, mandate } => quote(errands, url, manner, &mandate).await,
        Wanted::Pay(purchase) => pay(errands, purchase).await,
    }
}

/// The body of the route, with what `purser ask` fills in too.
fn intent(mut request: JsonObject) -> Value {
    request.entry("user").or_insert_with(|| USER.into());
    request.entry("currency").or_insert_with(|| CURRENCY.into());
    request.entry("expires_in_seconds").or_insert_with(|| EXPIRES_IN_SECONDS.into());
    Value::Object(request)
}

async fn payer<'a, E: Errands>(
    errands: &'a E,
    url: &str,
    wallet: MandateWallet<'a, E>,
) -> Result<Payer<MandateWallet<'a, E>>, Refused> {
    let client = errands.client_for(url).await.map_err(|why| Refused::argument("url", why))?;
    Ok(Payer::with_client(client, wallet))
}

fn wallet<'a, E: Errands>(errands: &'a E, mandate: &'a str) -> MandateWallet<'a, E> {
    MandateWallet { surface: errands, mandate, cart: None, again_after: None, tell: &|_| () }
}

/// First of all, so that somebody else's mandate is refused before anything is asked outside.
async fn own_mandate<E: Errands>(errands: &E, mandate: &str) -> Result<Value, Refused> {
    let view = errands.call(Call::get(format!("/v1/mandates/{mandate}"))).await;
    view.map_err(|error| Refused(E::told(&error)))
}

async fn quote<E: Errands>(errands: &E, url: String, manner: Manner, mandate: &str) -> Result<Value, Refused> {
    let view = own_mandate(errands, mandate).await?;
    let payer = payer(errands, &url, wallet(errands, mandate)).await?;
    // Under another name than any purchase's: a message begins a task.
    let (at, key) = (url.clone(), key_of("quote"));
    let (status, demand) = match manner {
        Manner::Fetch { method } => {
            let wanted = payer::Purchase { method, url: at, ..payer::Purchase::default() };
            let Met { fetched, demand } = payer.meet(&wanted).await.map_err(said::<E>)?;
            (Some(fetched.status.as_u16()), demand)
        }
        Manner::Tool { tool, arguments } => {
            let call = ToolCall { url: at, tool, arguments, key };
            (None, payer.meet_tool(&call).await.map_err(said::<E>)?.1)
        }
        Manner::Message(message) => {
            (None, payer.meet_errand(&Errand { url: at, message, key }).await.map_err(said::<E>)?.1)
        }
    };
    let offers = demand.as_ref().map(Demand::offers).unwrap_or_default();
    let offers = offers.iter().map(|offer| {
        json!({
            "amount": offer.amount, "asset": offer.asset, "network": offer.network, "pay_to": offer.pay_to,
            "scheme": offer.scheme, "name": offer.name,
        })
    });
    Ok(json!({
        "url": url, "status": status, "priced": demand.is_some(), "offers": offers.collect::<Vec<_>>(),
        "available": view["available"], "currency": view["currency"], "state": view["state"],
    }))
}

async fn pay<E: Errands>(errands: &E, purchase: Purchase) -> Result<Value, Refused> {
    let Purchase { url, manner, mandate, purchase, cart, again_after } = purchase;
    own_mandate(errands, &mandate).await?;
    let (cart, again_after) = (cart.as_deref(), again_after.as_deref());
    let wallet = MandateWallet { cart, again_after, ..wallet(errands, &mandate) };
    let payer = payer(errands, &url, wallet).await?;
    let (at, key) = (url.clone(), key_of(&purchase));
    let mut answer = match manner {
        Manner::Fetch { method } => {
            let wanted = payer::Purchase { method, url: at, key, ..payer::Purchase::default() };
            fetched(&url, payer.fetch(&wanted).await.map_err(said::<E>)?)
        }
        Manner::Tool { tool, arguments } => {
            said_by(&url, payer.call_tool(&ToolCall { url: at, tool, arguments, key }).await.map_err(said::<E>)?)
        }
        Manner::Message(message) => {
            said_by(&url, payer.send_errand(&Errand { url: at, message, key }).await.map_err(said::<E>)?)
        }
    };
    // What is left is news, not part of the purchase: without it the purchase stands.
    if let Ok(view) = errands.call(Call::get(format!("/v1/mandates/{mandate}"))).await {
        answer["available"] = view["available"].clone();
    }
    Ok(answer)
}

fn fetched(url: &str, bought: payer::Bought<Value>) -> Value {
    let paid = bought.paid.as_ref().map(|(_, outcome)| payment_view(outcome));
    let status = bought.fetched.status;
    let mut answer = json!({ "url": url, "status": status.as_u16(), "payment": paid });
    answer["content_type"] = bought.fetched.header("content-type").into();
    give(&mut answer, &bought.fetched.body);
    if !status.is_success() {
        refused_by(&mut answer, &format!("a success of the seller was expected, {} came", status.as_u16()));
    }
    answer
}

/// What a tool or an agent said, as text: a model reads it, whatever its shape.
fn said_by(url: &str, answered: Answered<Value>) -> Value {
    let paid = answered.paid.as_ref().map(|(_, outcome)| payment_view(outcome));
    let mut answer = json!({ "url": url, "status": null, "payment": paid, "content_type": "application/json" });
    give(&mut answer, answered.result.to_string().as_bytes());
    if answered.is_failure {
        refused_by(&mut answer, "a success of the seller was expected, a failure came");
    }
    answer
}

fn give(answer: &mut Value, body: &[u8]) {
    let given = body.get(..body.len().min(BODY_BYTES_MAX)).unwrap_or_default();
    answer["truncated"] = (given.len() < body.len()).into();
    match std::str::from_utf8(given) {
        Ok(text) => answer["body"] = text.into(),
        // Cut in the middle of a letter, or no text at all.
        Err(error) if error.error_len().is_none() => answer["body"] = String::from_utf8_lossy(given).into(),
        Err(_) => answer["body_base64"] = STANDARD.encode(given).into(),
    }
}

fn refused_by(answer: &mut Value, why: &str) {
    answer["code"] = "seller_refused".into();
    answer["detail"] = format!("{why}; see `payment` for what became of it").into();
}

fn said<E: Errands>(error: PayerError<E::Error>) -> Refused {
    match error {
        PayerError::Wallet(error) => Refused(E::told(&error)),
        other => Refused::new(other.code(), other.to_string()),
    }
}

/// Without the document: it repeats what the agent asked for.
fn approval_view(approval: &Value) -> Value {
    let id = approval["id"].as_str().unwrap_or_default();
    json!({
        "approval": id, "state": approval["state"], "url": approval["url"], "approver": approval["approver"],
        "expires_at": approval["expires_at"], "mandate": approval["mandate"],
        "command": format!("purser approve {id} --config FILE"),
    })
}

fn payment_view(payment: &Value) -> Value {
    let mut view =
        picked(payment, &["state", "mandate", "amount", "asset", "network", "pay_to", "payee", "transaction", "final"]);
    view.insert("payment".into(), payment["id"].clone());
    view.insert("id".into(), payment["id"].clone());
    Value::Object(view)
}

/// Without the tokens: an agent has no use for them that this service does not do for it.
fn budget_view(mandate: &Value) -> Value {
    let names = [
        "state",
        "agent",
        "user",
        "currency",
        "cart",
        "expires_at",
        "cap",
        "per_payment",
        "held",
        "posted",
        "available",
        "payments",
        "recurrence",
        "limits",
        "hours",
        "parent",
    ];
    let mut view = picked(mandate, &names);
    view.insert("mandate".into(), mandate["id"].clone());
    Value::Object(view)
}

fn picked(value: &Value, names: &[&str]) -> Map<String, Value> {
    names.iter().map(|name| ((*name).to_owned(), value[*name].clone())).collect()
}
