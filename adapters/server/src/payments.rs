//! Payments under a mandate: the wallet's side of a 402.

use axum::extract::{Path, State};
use axum::response::Response;
use engine::authorize::{Payment, PaymentRequest};
use engine::error::EngineError;
use http::{HeaderMap, StatusCode};
use ledger::id::{BudgetId, IdempotencyKey, SpendId};
use ledger::spend::{Announced, Spend, SpendState};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use x402::network::NetworkNames;
use x402::wire::{PaymentRequired, SettleResponse, WireError, read_header, read_message, v1, version_of, write_header};

use crate::App;
use crate::call::{Actor, Body, Caller, id};
use crate::problem::{Problem, created, ok};

pub const KEY: &str = "idempotency-key";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PaymentBody {
    mandate: BudgetId,
    /// The object of the 402, as it came: of version 2, or the body of one of version 1.
    #[serde(default)]
    payment_required: Option<Box<RawValue>>,
    /// Or the value of its PAYMENT-REQUIRED header.
    #[serde(default)]
    payment_required_header: Option<String>,
    #[serde(default)]
    method: Option<String>,
    /// Where the 402 was met.
    #[serde(default)]
    url: Option<String>,
    /// The merchant's signed checkout.
    #[serde(default)]
    cart: Option<String>,
    #[serde(default)]
    again_after: Option<SpendId>,
}

#[utoipa::path(post, path = "/v1/payments", tag = "payments", request_body = crate::schema::Payment,
    params(("Idempotency-Key" = String, Header, description = "The same purchase, the same key: the same authorization again.")),
    description = "A mandate and a 402 become a hold and a PAYMENT-SIGNATURE; where the 402 is of version 1, the same payment as X-PAYMENT beside it.",
    responses((status = 201, body = crate::schema::answers::Authorized), (status = 400), (status = 401), (status = 403), (status = 404), (status = 409),
        (status = 413), (status = 422), (status = 503)))]
pub async fn pay(
    State(app): State<App>,
    Actor(identity): Actor,
    headers: HeaderMap,
    Body(body): Body<PaymentBody>,
) -> Result<Response, Problem> {
    let met = met(&body)?;
    let request = asked(&app, &headers, body, &met)?;
    let payment = app.engine.authorize(&identity, request).await?;
    Ok(created(payment_json(&payment, &met, &app.settings.names)?))
}

fn asked(app: &App, headers: &HeaderMap, body: PaymentBody, met: &Met) -> Result<PaymentRequest, Problem> {
    Ok(PaymentRequest {
        mandate: body.mandate,
        key: idempotency_key(headers)?,
        required: met.required(&app.settings.names).map_err(malformed)?,
        method: body.method.unwrap_or_else(|| "GET".into()),
        url: body.url,
        cart: body.cart,
        again_after: body.again_after,
    })
}

#[utoipa::path(post, path = "/v1/sign-ins", tag = "payments", request_body = crate::schema::Payment,
    params(("Idempotency-Key" = String, Header, description = "Of the purchase that this is instead of; one that nothing was bought under.")),
    description = "A 402 that declares sign-in-with-x, of a resource that this wallet has paid for, becomes a SIGN-IN-WITH-X: nothing is paid. The payment must be settled, of the same agent and person, at the same terms; the text is looked at as a stranger's, and written down before it is signed. What is refused is to be paid.",
    responses((status = 201, body = crate::schema::SignedIn), (status = 400), (status = 401), (status = 403), (status = 404), (status = 409),
        (status = 413), (status = 422), (status = 503)))]
pub async fn sign_in(
    State(app): State<App>,
    Actor(identity): Actor,
    headers: HeaderMap,
    Body(body): Body<PaymentBody>,
) -> Result<Response, Problem> {
    let met = met(&body)?;
    let request = asked(&app, &headers, body, &met)?;
    let signed = app.engine.come_back(&identity, request).await?;
    Ok(created(json!({ "payment": signed.spend.id, "sign_in_with_x": signed.header, "text": signed.text })))
}

pub fn idempotency_key(headers: &HeaderMap) -> Result<IdempotencyKey, Problem> {
    let mut values = headers.get_all(KEY).iter();
    let (first, second) = (values.next(), values.next());
    let text = match (first, second) {
        (Some(value), None) => value.to_str().unwrap_or_default(),
        (None, _) => return Err(Problem::invalid("Idempotency-Key", "one key a purchase was expected, none came")),
        (Some(_), Some(_)) => return Err(Problem::invalid("Idempotency-Key", "one key was expected, several came")),
    };
    text.parse().map_err(|error: ledger::id::ParseIdError| Problem::invalid("Idempotency-Key", error.to_string()))
}

/// The 402, in the version in which it was met.
enum Met {
    Two(PaymentRequired),
    One(v1::PaymentRequired),
}

impl Met {
    /// In the one form that is judged, frozen and signed.
    fn required(&self, names: &NetworkNames) -> Result<PaymentRequired, WireError> {
        match self {
            Self::Two(required) => Ok(required.clone()),
            Self::One(required) => required.upgraded(names),
        }
    }
}

fn malformed(error: WireError) -> Problem {
    let mut problem = Problem::new(StatusCode::BAD_REQUEST, error.code(), error.to_string());
    problem.field = Some("payment_required".into());
    problem
}

fn met(body: &PaymentBody) -> Result<Met, Problem> {
    match (&body.payment_required, &body.payment_required_header) {
        (Some(object), None) if version_of(object.get().as_bytes()) == Some(v1::X402_VERSION) => {
            read_message(object.get().as_bytes()).map(Met::One).map_err(malformed)
        }
        (Some(object), None) => read_message(object.get().as_bytes()).map(Met::Two).map_err(malformed),
        (None, Some(header)) => read_header(header.as_bytes()).map(Met::Two).map_err(malformed),
        (found, _) => {
            let found = if found.is_some() { "both" } else { "neither" };
            let detail = format!("payment_required or payment_required_header was expected, {found} came");
            Err(Problem::invalid("payment_required", detail))
        }
    }
}

#[utoipa::path(get, path = "/v1/payments/{id}", tag = "payments", params(("id" = String, Path)),
    responses((status = 200, body = crate::schema::answers::Spend), (status = 401), (status = 404), (status = 503)))]
pub async fn show(
    State(app): State<App>,
    Caller(identity): Caller,
    Path(text): Path<String>,
) -> Result<Response, Problem> {
    Ok(ok(spend_json(&app.engine.own_spend(&identity, id(&text)?).await?)))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OutcomeBody {
    /// The value of PAYMENT-RESPONSE (X-PAYMENT-RESPONSE of version 1), where the seller sent one.
    #[serde(default)]
    payment_response: Option<String>,
    /// The value of PAYMENT-REQUIRED, where it answered with another demand.
    #[serde(default)]
    payment_required: Option<String>,
    /// The status that the seller answered. Recorded nowhere; the chain decides.
    #[serde(default)]
    status: Option<u16>,
    /// The receipt of whoever a payment mandate was closed for.
    #[serde(default)]
    receipt: Option<String>,
}

#[utoipa::path(post, path = "/v1/payments/{id}/outcome", tag = "payments", params(("id" = String, Path)),
    request_body = crate::schema::Outcome, description = "What the seller answered: a reason to look at the chain, never a result. Of a mandate that was closed for somebody else, their signed payment receipt, naming the mandate in either spelling of its signature: it posts or frees. One that contradicts an earlier one is kept, as an incident, and answered with a 409 receipt_contradicts.",
    responses((status = 200, body = crate::schema::answers::Spend), (status = 400), (status = 401), (status = 404), (status = 409), (status = 413), (status = 422),
        (status = 503)))]
pub async fn outcome(
    State(app): State<App>,
    Actor(identity): Actor,
    Path(text): Path<String>,
    Body(body): Body<OutcomeBody>,
) -> Result<Response, Problem> {
    let spend: SpendId = id(&text)?;
    if let Some(receipt) = &body.receipt {
        return Ok(ok(spend_json(&app.engine.acknowledge(&identity, spend, receipt).await?)));
    }
    tracing::debug!(%spend, status = body.status, "outcome reported");
    // A response that cannot be read says nothing; the chain is asked all the same.
    let reported = body.payment_response.and_then(|text| read_header::<SettleResponse>(text.as_bytes()).ok());
    let demanded = body.payment_required.and_then(|text| read_header::<PaymentRequired>(text.as_bytes()).ok());
    Ok(ok(spend_json(&app.engine.report_outcome(&identity, spend, (reported, demanded)).await?)))
}

#[utoipa::path(post, path = "/v1/payments/{id}/void", tag = "payments", params(("id" = String, Path)),
    responses((status = 200, body = crate::schema::answers::Spend), (status = 401), (status = 404), (status = 409), (status = 503)))]
pub async fn void(
    State(app): State<App>,
    Actor(identity): Actor,
    Path(text): Path<String>,
) -> Result<Response, Problem> {
    Ok(ok(spend_json(&app.engine.void(&identity, id(&text)?).await?)))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RefundBody {
    /// The hash of the transaction that gave the money back.
    pub(crate) transaction: String,
}

#[utoipa::path(post, path = "/v1/payments/{id}/refund", tag = "payments", params(("id" = String, Path)),
    request_body = crate::schema::Refund,
    description = "The payee sent money back: posts what the chain shows of it. Whether it can be spent again is the mandate's and the caps' to say.",
    responses((status = 200, body = crate::schema::answers::Spend), (status = 400), (status = 401), (status = 403), (status = 404), (status = 409), (status = 413), (status = 422), (status = 503)))]
pub async fn refund(
    State(app): State<App>,
    Actor(identity): Actor,
    Path(text): Path<String>,
    Body(body): Body<RefundBody>,
) -> Result<Response, Problem> {
    Ok(ok(spend_json(&app.engine.refund(&identity, id(&text)?, &body.transaction).await?)))
}

#[utoipa::path(get, path = "/v1/payments/{id}/evidence", tag = "payments", params(("id" = String, Path)),
    description = "Everything signed, decided, seen and written about one payment; verifies offline.",
    responses((status = 200), (status = 401), (status = 404), (status = 503)))]
pub async fn evidence(
    State(app): State<App>,
    Caller(identity): Caller,
    Path(text): Path<String>,
) -> Result<Response, Problem> {
    let file = app.engine.evidence(&identity, id(&text)?).await?;
    let json = serde_json::to_value(file).map_err(|error| engine::error::EngineError::Broken(error.to_string()))?;
    Ok(ok(json))
}

/// The payment; where the 402 is of version 1, in that form beside the other. The network is spelled there as the seller
/// spelled it in the offer that is paid, because sellers of version 1 compare the text.
fn payment_json(payment: &Payment, met: &Met, names: &NetworkNames) -> Result<Value, EngineError> {
    let mut json = spend_json(&payment.spend);
    json["payment_signature"] = payment.header.as_str().into();
    if let Met::One(required) = met {
        let paid = required.accepts.iter().find(|offer| offer.upgraded(names) == payment.payload.accepted);
        let paid = paid.ok_or_else(|| EngineError::Broken("what is paid is no offer of the 402".into()))?;
        let older = write_header(&v1::PaymentPayload::of(&payment.payload, &paid.network));
        json["x_payment"] = older.map_err(|error| EngineError::Broken(error.to_string()))?.into();
    }
    Ok(json)
}

/// What the merchant says that it gives back, and has not come.
fn announced_json(announced: Announced) -> Value {
    json!({ "amount": announced.amount.to_string(), "since": announced.since.seconds() })
}

pub fn spend_json(spend: &Spend) -> Value {
    json!({
        "id": spend.id,
        "state": spend.state.as_str(),
        "mandate": spend.budget,
        "amount": spend.money.amount.to_string(),
        "asset": spend.money.asset,
        "authority": { "units": spend.authority.to_string() },
        "payee": spend.payee,
        "pay_to": spend.pay_to,
        "payer": spend.authorization.payer,
        "network": spend.authorization.chain(),
        "nonce": format!("0x{}", spend.authorization.nonce.iter().map(|byte| format!("{byte:02x}")).collect::<String>()),
        "valid_before": spend.valid_before,
        "transaction": spend.transaction,
        "refunded": spend.refunded.to_string(),
        "refund_announced": spend.announced.map(announced_json),
        "build": spend.build,
        "issuer": spend.issuer.as_ref().map(ToString::to_string),
        "final": spend.state == SpendState::Settled && spend.young.is_none(),
    })
}
