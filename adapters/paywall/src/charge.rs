//! One paid request, from the claim to the answer.
//!
//! Claim, run the handler, settle, answer; in this order, and each at most once a payment. All of it runs in a task
//! of its own: a client that hangs up (or a proxy that gives up) must not leave a claim that nobody finishes.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use http::{Request, Response, StatusCode, response};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use tokio::time::{Instant, sleep, timeout};
use tower::{Service, ServiceExt};
use x402::release::Manner;
use x402::value::Amount;
use x402::wire::v1::Spoken;
use x402::wire::{PaymentRequirements, SettleResponse};

use crate::answer::{self, Again};
use crate::ask::Ask;
use crate::limit::{LOOK_AGAIN_MAX, LOOK_AGAIN_MIN};
use crate::price::{Price, Repeat};
use crate::signing::sign_receipt;
use crate::stored::{StoredAnswer, StoredBody};
use crate::till::{Abandoned, Answered, Claim, ClaimRequest, Refusal, Served, SettleRefusal, Ticket, Till};
use crate::usage::Usage;

/// A request whose payment was read, with its body at hand.
pub(crate) struct Charge<S> {
    pub till: Arc<dyn Till>,
    pub price: Arc<Price>,
    pub ask: Ask,
    /// The version that the payer speaks.
    pub spoken: Spoken,
    pub claim: ClaimRequest,
    pub inner: S,
    pub request: Request<Body>,
}

/// What came out of the handler.
pub(crate) enum Handled {
    Answer(response::Parts, Bytes, Option<Amount>),
    Nothing(Abandoned),
}

/// What waiting for another request's payment came to.
enum Waited {
    Won(Ticket),
    Answered(Answered),
    InFlight,
    OutcomeUnknown,
}

impl<S> Charge<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible> + Send + 'static,
    S::Future: Send,
{
    pub(crate) async fn run(self) -> Response<Body> {
        match wait(&*self.till, &self.claim, self.price.limits.patience).await {
            Ok(Waited::Won(ticket)) => self.serve(ticket).await,
            Ok(Waited::Answered(answered)) => self.again(answered).await,
            Ok(Waited::InFlight) => {
                let message = "this payment is being served to another request; present it again";
                answer::problem(StatusCode::CONFLICT, "payment_in_flight", message, Again::SamePayment)
            }
            Ok(Waited::OutcomeUnknown) => outcome_unknown(StatusCode::SERVICE_UNAVAILABLE),
            Err(refusal) => self.ask.refused(&refusal, &self.spoken),
        }
    }

    /// The handler runs here, and nowhere else (but for [`Charge::again`], which charges nothing).
    async fn serve(self, ticket: Ticket) -> Response<Body> {
        match ticket.manner {
            Manner::PaidFirst => self.pay_first(ticket).await,
            Manner::HeldBack | Manner::Submitted | Manner::Verified => self.work_first(ticket).await,
        }
    }

    async fn work_first(self, ticket: Ticket) -> Response<Body> {
        let Self { till, price, ask, spoken, claim, inner, request } = self;
        let (parts, body, charged) = match handle(inner, request, &price, &claim.requirements).await {
            Handled::Answer(parts, body, charged) if parts.status.as_u16() < 400 => (parts, body, charged),
            Handled::Answer(parts, body, _) => {
                let why = Abandoned::HandlerAnswered { status: parts.status.as_u16() };
                let receipt = till.abandon(ticket, why).await;
                return with_any_receipt(answer::unpaid(parts, body), receipt.as_ref(), &spoken);
            }
            Handled::Nothing(why) => {
                tracing::error!(code = why.code(), claim = %claim.key, "nothing was delivered, nothing is charged");
                let receipt = till.abandon(ticket, why).await;
                return with_any_receipt(not_delivered(why, Charged::No), receipt.as_ref(), &spoken);
            }
        };
        let kept = StoredAnswer::of(&parts, &body);
        let refusal = if ticket.manner == Manner::HeldBack {
            match till.settle(ticket, kept, charged).await {
                Ok(settled) => {
                    let receipt = sign_receipt(&*till, &price, ask.url(), settled.response).await;
                    return answer::paid(parts, body, &receipt, &spoken);
                }
                Err(refusal) => refusal,
            }
        } else {
            match till.serve(ticket, kept).await {
                Ok(Served::Settled(response)) => {
                    let receipt = sign_receipt(&*till, &price, ask.url(), *response).await;
                    return answer::paid(parts, body, &receipt, &spoken);
                }
                // No receipt: nothing is settled yet, and nothing is said that is not so.
                Ok(Served::Owed) => return answer::unpaid(parts, body),
                Err(refusal) => refusal,
            }
        };
        match settlement_refused(&*till, &ask, &spoken, &claim, &price, refusal).await {
            Ok(receipt) => {
                let receipt = sign_receipt(&*till, &price, ask.url(), receipt).await;
                answer::paid(parts, body, &receipt, &spoken)
            }
            Err(refused) => *refused,
        }
    }

    /// Nothing is done that is not paid. Where the handler then fails the answer says so, with the receipt: the same payment
    /// has it run again.
    async fn pay_first(self, ticket: Ticket) -> Response<Body> {
        let Self { till, price, ask, spoken, claim, inner, request } = self;
        let receipt = match till.prepay(&ticket).await {
            Ok(settled) => sign_receipt(&*till, &price, ask.url(), settled.response).await,
            // What is pending here is waited for by whoever presents it again: the handler has not run.
            Err(SettleRefusal::Pending { transaction }) => return pending(&transaction),
            Err(refusal) => match settlement_refused(&*till, &ask, &spoken, &claim, &price, refusal).await {
                Ok(_) => return outcome_unknown(StatusCode::BAD_GATEWAY),
                Err(refused) => return *refused,
            },
        };
        match handle(inner, request, &price, &claim.requirements).await {
            Handled::Answer(parts, body, _) if parts.status.as_u16() < 400 => {
                till.deliver(ticket, StoredAnswer::of(&parts, &body)).await;
                answer::paid(parts, body, &receipt, &spoken)
            }
            Handled::Answer(parts, body, _) => {
                till.undelivered(ticket, Abandoned::HandlerAnswered { status: parts.status.as_u16() }).await;
                answer::with_receipt(answer::unpaid(parts, body), &receipt, &spoken)
            }
            Handled::Nothing(why) => {
                till.undelivered(ticket, why).await;
                answer::with_receipt(not_delivered(why, Charged::Yes), &receipt, &spoken)
            }
        }
    }

    /// Bought before: the stored answer, or, where it was too long to keep and reading twice does no harm, the
    /// handler's once more. Nothing is settled for it.
    async fn again(self, answered: Answered) -> Response<Body> {
        let Answered { answer, response } = answered;
        let response = match response {
            Some(response) => Some(sign_receipt(&*self.till, &self.price, self.ask.url(), response).await),
            None => None,
        };
        if matches!(answer.body, StoredBody::Whole(_)) || self.price.repeat == Repeat::Never {
            return answer::stored(&answer, response.as_ref(), &self.spoken);
        }
        let (answer, is_paid) = match handle(self.inner, self.request, &self.price, &self.claim.requirements).await {
            Handled::Answer(parts, body, _) => (answer::unpaid(parts, body), response),
            Handled::Nothing(why) => (not_delivered(why, Charged::Yes), response),
        };
        with_any_receipt(answer, is_paid.as_ref(), &self.spoken)
    }
}

fn with_any_receipt(answer: Response<Body>, receipt: Option<&SettleResponse>, spoken: &Spoken) -> Response<Body> {
    match receipt {
        Some(receipt) => answer::with_receipt(answer, receipt, spoken),
        None => answer,
    }
}

/// What is said instead of the content; or the receipt, where it has been settled meanwhile.
async fn settlement_refused(
    till: &dyn Till,
    ask: &Ask,
    spoken: &Spoken,
    claim: &ClaimRequest,
    price: &Price,
    refusal: SettleRefusal,
) -> Result<SettleResponse, Box<Response<Body>>> {
    Err(Box::new(match refusal {
        SettleRefusal::Failed(receipt) => ask.settlement_failed(&receipt, spoken),
        SettleRefusal::Pending { transaction } => {
            tracing::info!(claim = %claim.key, transaction, "a settlement is not in a block yet");
            match wait(till, claim, price.limits.patience).await {
                Ok(Waited::Answered(Answered { response: Some(receipt), .. })) => return Ok(receipt),
                Err(Refusal::SettlementFailed(receipt)) => ask.settlement_failed(&receipt, spoken),
                // a claim won a second time contradicts the first: nothing is run for it
                Ok(Waited::OutcomeUnknown | Waited::Won(_)) => outcome_unknown(StatusCode::BAD_GATEWAY),
                Ok(Waited::InFlight | Waited::Answered(_)) | Err(_) => pending(&transaction),
            }
        }
        SettleRefusal::Unknown { message } => {
            tracing::error!(claim = %claim.key, message, "the outcome of a settlement is not known");
            outcome_unknown(StatusCode::BAD_GATEWAY)
        }
    }))
}

/// Claims, and while another request has the claim looks again, until `patience` is over.
async fn wait(till: &dyn Till, request: &ClaimRequest, patience: Duration) -> Result<Waited, Refusal> {
    let end = Instant::now() + patience;
    let mut pause = LOOK_AGAIN_MIN;
    loop {
        match till.claim(request).await? {
            Claim::Won(ticket) => return Ok(Waited::Won(ticket)),
            Claim::Answered(answered) => return Ok(Waited::Answered(answered)),
            Claim::OutcomeUnknown => return Ok(Waited::OutcomeUnknown),
            Claim::InFlight if Instant::now() + pause > end => return Ok(Waited::InFlight),
            Claim::InFlight => {
                sleep(pause).await;
                pause = (pause * 2).min(LOOK_AGAIN_MAX);
            }
        }
    }
}

/// Runs the handler to the last byte of its answer, in a task of its own so that a panic ends here.
pub(crate) async fn handle<S>(
    inner: S,
    request: Request<Body>,
    price: &Price,
    requirements: &PaymentRequirements,
) -> Handled
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible> + Send + 'static,
    S::Future: Send,
{
    let (answer_bytes_max, usage) = (price.limits.answer_bytes_max, Usage::of(requirements, &price.assets));
    let mut task = tokio::spawn(async move {
        let Ok(response) = inner.oneshot(request).await;
        let (mut parts, body) = response.into_parts();
        let said = usage.said(&parts);
        answer::scrub(&mut parts);
        let charged = match said {
            Ok(charged) => charged,
            Err(error) => {
                tracing::error!(%error, "a handler's charge cannot be read");
                return Handled::Nothing(Abandoned::ChargeUnreadable);
            }
        };
        match read_body(body, answer_bytes_max).await {
            Ok(body) => Handled::Answer(parts, body, charged),
            Err(BodyError::TooLarge) => Handled::Nothing(Abandoned::AnswerTooLarge),
            Err(BodyError::Broken) => Handled::Nothing(Abandoned::AnswerBroken),
        }
    });
    match timeout(price.limits.handler_time_max, &mut task).await {
        Ok(Ok(handled)) => handled,
        Ok(Err(_)) => Handled::Nothing(Abandoned::HandlerPanicked),
        Err(_) => {
            task.abort();
            Handled::Nothing(Abandoned::HandlerTimedOut)
        }
    }
}

pub(crate) enum BodyError {
    TooLarge,
    Broken,
}

pub(crate) async fn read_body(body: Body, bytes_max: usize) -> Result<Bytes, BodyError> {
    match Limited::new(body, bytes_max).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.downcast_ref::<LengthLimitError>().is_some() => Err(BodyError::TooLarge),
        Err(_) => Err(BodyError::Broken),
    }
}

#[derive(Clone, Copy)]
enum Charged {
    No,
    Yes,
}

fn not_delivered(why: Abandoned, charged: Charged) -> Response<Body> {
    let (status, message) = match why {
        Abandoned::HandlerTimedOut => (StatusCode::GATEWAY_TIMEOUT, "the resource took too long"),
        _ => (StatusCode::INTERNAL_SERVER_ERROR, "the resource could not be delivered"),
    };
    let message = match charged {
        Charged::No => format!("{message}; nothing was charged, and the same payment may be presented again"),
        Charged::Yes => format!("{message}; it is paid, and the same payment presented again has it tried again"),
    };
    answer::problem(status, why.code(), &message, Again::SamePayment)
}

fn pending(transaction: &str) -> Response<Body> {
    let message = format!("the settlement {transaction} is not in a block yet; present the same payment again");
    answer::problem(StatusCode::SERVICE_UNAVAILABLE, "settlement_pending", &message, Again::SamePayment)
}

/// Never "failed": the payer may have paid, and must not pay again with another authorization.
fn outcome_unknown(status: StatusCode) -> Response<Body> {
    let message = "whether this payment settled is not known yet; present the same payment again, sign no other";
    answer::problem(status, "outcome_unknown", message, Again::SamePayment)
}
