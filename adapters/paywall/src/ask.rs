//! Asking for a payment: the 402, for whoever reads it.
//!
//! PAYMENT-REQUIRED says it to clients of version 2. The body says it to clients of version 1, which read nothing else, and
//! to people; the two do not collide, since a client of version 2 reads the header first.

use std::sync::Arc;

use axum::body::Body;
use http::header::{CONTENT_SECURITY_POLICY, REFERRER_POLICY, USER_AGENT, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use serde_json::{Map, Value};
use x402::batch_settlement;
use x402::reason::Reason;
use x402::wire::v1::Spoken;
use x402::wire::{PAYMENT_REQUIRED, PaymentRequired, SettleResponse, write_header, write_message};

use crate::accept;
use crate::answer::{self, Again};
use crate::page;
use crate::price::Price;
use crate::till::Refusal;

/// Who reads the body of a 402.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reader {
    Program,
    /// It wants HTML as much as JSON or more, and says that it is a browser, as the official SDKs tell one.
    Browser,
}

/// What it takes to ask for a payment.
#[derive(Clone)]
pub(crate) struct Ask {
    price: Arc<Price>,
    /// The resource, as we advertise it.
    url: String,
    reader: Reader,
    /// Declared in this answer, beside what the price declares in each.
    declared: Map<String, Value>,
    /// What a payer who is out of step with its channel needs, for `extra` of the offers of that scheme.
    corrective: Option<Map<String, Value>>,
}

impl Ask {
    pub(crate) fn new(price: Arc<Price>, url: String, headers: &HeaderMap) -> Self {
        let weight = |kind| accept::rank(headers, &[kind]).map_or(0, |(weight, _)| weight);
        let (page, data) = (weight("text/html"), weight("application/json"));
        let mut agents = headers.get_all(USER_AGENT).iter().filter_map(|agent| agent.to_str().ok());
        let is_browser = page > 0 && page >= data && agents.any(|agent| agent.contains("Mozilla"));
        let reader = if is_browser { Reader::Browser } else { Reader::Program };
        Self { price, url, reader, declared: Map::new(), corrective: None }
    }

    pub(crate) fn with_extension(mut self, name: &str, declaration: Value) -> Self {
        self.declared.insert(name.to_owned(), declaration);
        self
    }

    fn required(&self, error: &str) -> PaymentRequired {
        let mut demand = self.price.demand(self.url.clone(), Some(error.to_owned()));
        if let Some(shown) = &self.corrective {
            let own = demand.accepts.iter_mut().filter(|offer| offer.scheme == batch_settlement::SCHEME);
            own.for_each(|offer| offer.extra.get_or_insert_default().extend(shown.clone()));
        }
        if !self.declared.is_empty() {
            demand.extensions.get_or_insert_default().extend(self.declared.clone());
        }
        demand
    }

    pub(crate) fn price(&self) -> &Price {
        &self.price
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// 402, with the reason as a code and as a sentence.
    pub(crate) fn demand(&self, code: &str, message: &str) -> Response<Body> {
        let demand = self.required(code);
        let header = match write_header(&demand) {
            Ok(header) => header,
            Err(error) => {
                let status = StatusCode::URI_TOO_LONG;
                return answer::problem(status, "demand_too_large", &error.to_string(), Again::Never);
            }
        };
        let mut response = match self.reader {
            Reader::Browser => self.page(&demand, message),
            Reader::Program => {
                answer::whole(StatusCode::PAYMENT_REQUIRED, "application/json", self.body(demand, message))
            }
        };
        answer::set(&mut response, PAYMENT_REQUIRED, &header);
        response
    }

    /// Of version 1 where a network has a name in it; else what the header says.
    fn body(&self, mut demand: PaymentRequired, message: &str) -> Vec<u8> {
        let message = Value::String(message.to_owned());
        let bytes = match self.price.demand_of_version_one(&demand) {
            Some(mut older) => {
                older.unknown.insert("message".to_owned(), message);
                write_message(&older)
            }
            None => {
                demand.unknown.insert("message".to_owned(), message);
                write_message(&demand)
            }
        };
        bytes.unwrap_or_else(|_| b"{}".to_vec())
    }

    fn page(&self, demand: &PaymentRequired, message: &str) -> Response<Body> {
        let html = page::html(&self.price, demand, message).into_bytes();
        let mut response = answer::whole(StatusCode::PAYMENT_REQUIRED, "text/html; charset=utf-8", html);
        let headers = response.headers_mut();
        if let Ok(policy) = HeaderValue::from_str(&page::policy()) {
            headers.insert(CONTENT_SECURITY_POLICY, policy);
        }
        headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
        response
    }

    /// A till's refusal of a payment.
    pub(crate) fn refused(&self, refusal: &Refusal, spoken: &Spoken) -> Response<Body> {
        match refusal {
            Refusal::Unavailable { message } => {
                tracing::warn!(code = refusal.code(), message, "the till cannot be asked");
                let said = "the payment cannot be checked now; present the same payment again";
                answer::problem(StatusCode::SERVICE_UNAVAILABLE, refusal.code(), said, Again::SamePayment)
            }
            // No demand: whoever is asked for another payment signs one.
            Refusal::IdentifierConflict => {
                answer::problem(StatusCode::CONFLICT, refusal.code(), &refusal.to_string(), Again::Never)
            }
            Refusal::SettlementFailed(response) => self.settlement_failed(response, spoken),
            Refusal::OutOfStep { shown, .. } => {
                let corrective = Self { corrective: Some(shown.clone()), ..self.clone() };
                corrective.demand(refusal.code(), &refusal.to_string())
            }
            other => self.demand(other.code(), &other.to_string()),
        }
    }

    /// 402 with the receipt of the failure; the content stays here. An allowance that is missing is a 412 with the demand
    /// beside it (`transports-v2/http.md`), since the payer can mend it. Version 1 has the demand in the body.
    pub(crate) fn settlement_failed(&self, receipt: &SettleResponse, spoken: &Spoken) -> Response<Body> {
        let reason = receipt.error_reason.as_deref().unwrap_or("settlement_failed");
        let message = receipt.error_message.as_deref().unwrap_or("the settlement failed and moved nothing");
        let mut response = match spoken {
            Spoken::One { .. } => Self { reader: Reader::Program, ..self.clone() }.demand(reason, message),
            Spoken::Two if reason == Reason::Permit2AllowanceRequired.as_str() => {
                let mut response =
                    answer::problem(StatusCode::PRECONDITION_FAILED, reason, message, Again::SamePayment);
                let demand = self.required(reason);
                if let Ok(header) = write_header(&demand) {
                    answer::set(&mut response, PAYMENT_REQUIRED, &header);
                }
                response
            }
            Spoken::Two => answer::problem(StatusCode::PAYMENT_REQUIRED, reason, message, Again::Never),
        };
        answer::set_receipt(&mut response, receipt, spoken);
        response
    }
}
