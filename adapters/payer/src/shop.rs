//! Buying from a shop that speaks the Agentic Commerce Protocol (version 2026-04-17): found, opened, looked at, paid for by a
//! token of the one vault that is trusted, and looked at again.
//!
//! The promise:
//! 1. One key is one purchase, whenever it is tried again: each step has a key of its own that is made of it, and the vault
//!    gives one token for it, for ever. A shop that forgot, or says that it did, gets no second one.
//! 2. A token is asked for when everything that hangs on money is as it was agreed on, and good for no more than that.
//! 3. A card goes to the purse's own vault, whatever the shop says; the shop's credential goes to the shop's own origin.
//! 4. What became of the money is asked of the purse, never of the shop.
//!
//! Read in this order: [`Purse`] (the port), [`Shopper::buy`].

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use commerce::acp_buyer::{Consent, Deed, Shown, Unmet, UnmetCode, api_base, ended, step_key};
use commerce::acp_checkout::VERSION;
use mandates::json::{self, Object};
use reqwest::redirect::Policy;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::causes;

/// The longest answer of a shop that is read.
const ANSWER_BYTES_MAX: usize = 1024 * 1024;
/// How often a step is tried, with the same key, where no answer comes or the shop asks for patience.
const ATTEMPTS: u32 = 5;
/// The longest that a shop makes us wait between two.
const PAUSE_MAX: Duration = Duration::from_secs(10);

/// What is asked of the vault for one session: ACP's `allowance`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    pub merchant_id: String,
    pub session: String,
    /// Minor units.
    pub amount: u64,
    /// ISO 4217, in capitals.
    pub currency: String,
    /// RFC 3339; where the shop says nothing, until the mandate ends.
    pub expires_at: Option<String>,
}

/// A token, and the vault's name for its payment.
#[derive(Clone, PartialEq, Eq)]
pub struct Allowed {
    pub token: String,
    pub payment: String,
}

/// What the book says of a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// `held`, `settled`, `unknown`, `voided`, …
    pub state: String,
    /// In minor units, where something was taken.
    pub captured: Option<u64>,
}

/// Who pays. Money is lost if `allow` gives two tokens for one key, or if `look` takes the shop's word.
#[async_trait]
pub trait Purse: Send + Sync {
    type Error: std::error::Error + Send + Sync + 'static;

    /// Headers that say to a shop who calls.
    async fn introduce(&self, method: &Method, url: &str) -> Result<Vec<(&'static str, String)>, Self::Error>;

    /// The same for the same key, for ever; refused where the same key was used for anything else.
    async fn allow(&self, wanted: &Wanted, key: &str) -> Result<Allowed, Self::Error>;

    async fn look(&self, allowed: &Allowed) -> Result<Standing, Self::Error>;
}

#[derive(Debug, thiserror::Error)]
pub enum ShopError<E: std::error::Error + 'static> {
    #[error(transparent)]
    Unmet(#[from] Unmet),
    #[error("shop_unreachable: {url}: {why}; the same purchase may be tried again under the same key")]
    Unreachable { url: String, why: String },
    #[error("shop_refused: {url} answered {status}{}: {message}", code.as_deref().map(|code| format!(" {code}")).unwrap_or_default())]
    Refused { url: String, status: u16, code: Option<String>, message: String },
    /// The payment may have been taken.
    #[error(
        "outcome_unknown: the shop has a token for session {session}, and {why}; the same key asks again, another one buys again"
    )]
    Unknown { session: String, why: String },
    #[error(transparent)]
    Purse(E),
}

impl<E: std::error::Error + 'static> ShopError<E> {
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Unmet(unmet) => unmet.code.as_str(),
            Self::Unreachable { .. } => "shop_unreachable",
            Self::Refused { .. } => "shop_refused",
            Self::Unknown { .. } => "outcome_unknown",
            Self::Purse(_) => "purse_refused",
        }
    }
}

/// What to buy where.
#[derive(Clone, Debug)]
pub struct Errand {
    /// Any address at the shop's origin.
    pub shop: String,
    pub consent: Consent,
    /// Further members of `CheckoutSessionCreateRequest`: `buyer`, `fulfillment_details`, `discounts`, ….
    pub details: Object,
    /// The way to send it, by its id.
    pub option: Option<String>,
    /// The same key is the same purchase.
    pub key: String,
}

/// What was bought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ordered {
    pub session: String,
    pub order: String,
    pub total: u64,
    pub currency: String,
    pub payment: String,
    /// By the book: a shop may take the money later than it takes the order, and less than it may.
    pub standing: Standing,
}

/// A shop that was found.
struct Door<'a> {
    base: String,
    key: &'a str,
}

pub struct Shopper<P> {
    http: reqwest::Client,
    purse: P,
}

type Outcome<T, P> = Result<T, ShopError<<P as Purse>::Error>>;

impl<P: Purse> Shopper<P> {
    pub fn new(purse: P, timeout: Duration) -> Result<Self, String> {
        let built = reqwest::Client::builder().redirect(Policy::none()).timeout(timeout).build();
        Ok(Self { http: built.map_err(|error| causes(&error))?, purse })
    }

    pub async fn buy(&self, errand: &Errand) -> Outcome<Ordered, P> {
        let door = self.find(errand).await?;
        let opened = self.opened(&door, errand).await?;
        // As it is now: an earlier try may have paid for it, and the shop may have changed it since.
        let path = format!("/checkout_sessions/{}", opened.id);
        let now = Shown::read(&self.ask(&door, Method::GET, &path, None).await?)?;
        now.unchanged(&opened)?;
        let seller = errand.consent.allows(&now)?;
        errand.consent.payable(&now, unix_seconds())?;
        let wanted = Wanted {
            merchant_id: seller.merchant_id.clone(),
            session: now.id.clone(),
            amount: now.total,
            currency: now.currency.clone(),
            expires_at: now.expires_at.as_ref().map(|(text, _)| text.clone()),
        };
        let allowed = self.purse.allow(&wanted, &step_key(door.key, "pay")).await.map_err(ShopError::Purse)?;
        let instrument = json!({ "type": "card", "credential": { "type": "spt", "token": allowed.token } });
        let body = json!({ "payment_data": { "handler_id": seller.handler, "instrument": instrument } });
        let step = Some(("complete", body));
        let answer = self.ask(&door, Method::POST, &format!("{path}/complete"), step).await;
        let deed = match answer {
            Ok(body) => Shown::read(&body).and_then(|after| ended(&now, &after)).map_err(ShopError::Unmet),
            Err(error) => Err(error),
        };
        let standing = self.purse.look(&allowed).await.map_err(ShopError::Purse)?;
        self.judged(&now, allowed, deed, standing)
    }

    /// What the shop says, beside what the book says.
    fn judged(&self, now: &Shown, allowed: Allowed, deed: Outcome<Deed, P>, standing: Standing) -> Outcome<Ordered, P> {
        let is_given_up = matches!(standing.state.as_str(), "voided" | "expired" | "released");
        // Money may have moved.
        let is_moved = standing.captured.is_some() || !(is_given_up || standing.state == "held");
        let session = || now.id.clone();
        let contradicts = |said: String| {
            let (payment, state) = (&allowed.payment, &standing.state);
            let taken = standing.captured.map_or_else(String::new, |amount| format!(", {amount} minor units taken"));
            let message = format!("{said}, and by the book payment {payment} is {state}{taken}");
            ShopError::Unmet(Unmet::new(UnmetCode::BookContradicts, message))
        };
        match deed {
            Ok(Deed::Ordered(order)) if is_given_up => Err(contradicts(format!("the shop took order {order}"))),
            Ok(Deed::Ordered(order)) => {
                let (total, currency, payment) = (now.total, now.currency.clone(), allowed.payment);
                Ok(Ordered { session: session(), order, total, currency, payment, standing })
            }
            Ok(Deed::UnderWay) => {
                Err(ShopError::Unknown { session: session(), why: "the shop is not done with it".into() })
            }
            Ok(Deed::Declined(why)) if is_moved => {
                Err(contradicts(format!("the shop says that it is not paid ({why})")))
            }
            Ok(Deed::Declined(why)) => {
                let message = format!("a paid session was expected, it is open: {why}");
                Err(ShopError::Unmet(Unmet::new(UnmetCode::PaymentDeclined, message)))
            }
            Err(ShopError::Unreachable { why, .. }) => Err(ShopError::Unknown { session: session(), why }),
            Err(error) if is_moved => Err(contradicts(error.to_string())),
            Err(error) => Err(error),
        }
    }

    /// Ends a session that is not paid for. A token of it, where there is one, is good for nothing else and ends with it.
    pub async fn cancel(&self, errand: &Errand) -> Outcome<String, P> {
        let door = self.find(errand).await?;
        let opened = self.opened(&door, errand).await?;
        let trace = json!({ "intent_trace": { "reason_code": "other" } });
        let path = format!("/checkout_sessions/{}/cancel", opened.id);
        let after = Shown::read(&self.ask(&door, Method::POST, &path, Some(("cancel", trace))).await?)?;
        if after.id == opened.id && after.status == Some(commerce::checkout::Status::Canceled) {
            return Ok(after.id);
        }
        let message = format!("session {} canceled was expected, another answer came", opened.id);
        Err(Unmet::new(UnmetCode::SessionMismatch, message).into())
    }

    async fn find<'a>(&self, errand: &'a Errand) -> Outcome<Door<'a>, P> {
        let address = reqwest::Url::parse(&errand.shop).ok().and_then(|url| url.join("/.well-known/acp.json").ok());
        let unusable =
            || Unmet::new(UnmetCode::NoShop, format!("an address of a shop was expected, {} came", errand.shop));
        let address = address.ok_or_else(unusable)?;
        let found = self.send(Method::GET, address.as_str(), &[], None).await?;
        if found.status != StatusCode::OK {
            let message = format!("a shop was expected at {}, it answered {}", errand.shop, found.status.as_u16());
            return Err(Unmet::new(UnmetCode::NoShop, message).into());
        }
        Ok(Door { base: api_base(&errand.shop, &found.body)?, key: &errand.key })
    }

    /// The session of this key, new or as it was opened then; with the way to send it chosen.
    async fn opened(&self, door: &Door<'_>, errand: &Errand) -> Outcome<Shown, P> {
        let consent = &errand.consent;
        // ACP's schema has no quantity beside an item; shops read it there (upstream issue 264), or not at all: then the
        // items of the answer are not those that were asked for.
        let items: Vec<Value> =
            consent.items.iter().map(|(id, quantity)| json!({ "id": id, "quantity": quantity })).collect();
        let mut body = errand.details.clone();
        body.insert("line_items".to_owned(), items.into());
        body.insert("currency".to_owned(), consent.currency.as_str().to_ascii_lowercase().into());
        body.entry("capabilities").or_insert_with(|| json!({}));
        let step = Some(("open", Value::Object(body)));
        let opened = Shown::read(&self.ask(door, Method::POST, "/checkout_sessions", step).await?)?;
        let Some(option) = &errand.option else { return Ok(opened) };
        let chosen = json!({ "selected_fulfillment_options": [{ "type": "shipping", "option_id": option, "item_ids": opened.lines }] });
        let path = format!("/checkout_sessions/{}", opened.id);
        let changed = Shown::read(&self.ask(door, Method::POST, &path, Some(("choose", chosen))).await?)?;
        if changed.id != opened.id {
            let message = format!("session {} was expected, {} came", opened.id, changed.id);
            return Err(Unmet::new(UnmetCode::SessionMismatch, message).into());
        }
        Ok(changed)
    }

    /// One step, tried again with its key where nobody answers, or later is said to be better.
    async fn ask(
        &self,
        door: &Door<'_>,
        method: Method,
        path: &str,
        step: Option<(&str, Value)>,
    ) -> Outcome<Vec<u8>, P> {
        let url = format!("{}{path}", door.base);
        let key = step.as_ref().map(|(name, _)| step_key(door.key, name));
        let body = step.map(|(_, body)| body.to_string());
        let mut attempt = 0_u32;
        loop {
            attempt = attempt.saturating_add(1);
            let mut headers = self.purse.introduce(&method, &url).await.map_err(ShopError::Purse)?;
            headers.push(("api-version", VERSION.to_owned()));
            if let Some(key) = &key {
                headers.push(("idempotency-key", key.clone()));
            }
            let (pause, why) = match self.send(method.clone(), &url, &headers, body.clone()).await {
                Ok(answer) if answer.status.is_success() => return Ok(answer.body),
                Ok(answer) if is_passing(answer.status) => {
                    (answer.pause, format!("it answered {} {attempt} times", answer.status.as_u16()))
                }
                Ok(answer) => return Err(refused(&url, answer)),
                Err(ShopError::Unreachable { why, .. }) => (Duration::from_secs(1), why),
                Err(error) => return Err(error),
            };
            if attempt >= ATTEMPTS {
                return Err(unreachable(&url, why));
            }
            tokio::time::sleep(pause.min(PAUSE_MAX)).await;
        }
    }

    async fn send(
        &self,
        method: Method,
        url: &str,
        headers: &[(&'static str, String)],
        body: Option<String>,
    ) -> Outcome<Answer, P> {
        let mut request = self.http.request(method, url);
        for (name, value) in headers {
            request = request.header(*name, value);
        }
        if let Some(body) = body {
            request = request.header("content-type", "application/json").body(body);
        }
        let lost = |error: reqwest::Error| unreachable(url, causes(&error.without_url()));
        let mut response = request.send().await.map_err(lost)?;
        let status = response.status();
        let seconds = response.headers().get("retry-after").and_then(|value| value.to_str().ok());
        let pause = Duration::from_secs(seconds.and_then(|text| text.parse().ok()).unwrap_or(1));
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(lost)? {
            if body.len().saturating_add(chunk.len()) > ANSWER_BYTES_MAX {
                let message = format!("an answer of at most {ANSWER_BYTES_MAX} bytes was expected of {url}, more came");
                return Err(Unmet::new(UnmetCode::AnswerUnreadable, message).into());
            }
            body.extend_from_slice(&chunk);
        }
        Ok(Answer { status, pause, body })
    }
}

struct Answer {
    status: StatusCode,
    pause: Duration,
    body: Vec<u8>,
}

/// Of what ACP says: in flight, too many, and whatever went wrong at the shop's.
fn is_passing(status: StatusCode) -> bool {
    status == StatusCode::CONFLICT || status == StatusCode::TOO_MANY_REQUESTS || status.is_server_error()
}

fn unreachable<E: std::error::Error + 'static>(url: &str, why: String) -> ShopError<E> {
    ShopError::Unreachable { url: url.to_owned(), why }
}

/// A flat `Error` of ACP's, its texts bounded and without anything that a terminal would obey.
fn refused<E: std::error::Error + 'static>(url: &str, answer: Answer) -> ShopError<E> {
    let said = json::parse_object(&answer.body).unwrap_or_default();
    let text = |name: &str| {
        let text = said.get(name).and_then(Value::as_str)?;
        Some(text.chars().take(300).map(|letter| if letter.is_control() { '\u{fffd}' } else { letter }).collect())
    };
    let (code, message) = (text("code"), text("message").unwrap_or_else(|| "it did not say why".to_owned()));
    ShopError::Refused { url: url.to_owned(), status: answer.status.as_u16(), code, message }
}

fn unix_seconds() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map(|since| since.as_secs()).unwrap_or_default();
    i64::try_from(now).unwrap_or(i64::MAX)
}
