//! The paywall against hostile and unlucky clients, handlers and tills. Refusals first.

mod browsers;
mod drawer;
mod extensions;
mod payments;
mod releases;
mod requests;
mod settlements;
mod usage;
mod version_one;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::routing::any;
use http::{HeaderMap, Request, Response, StatusCode};
use serde_json::Value;
use tower::ServiceExt;
use x402::wire::{
    PAYMENT_RESPONSE, PAYMENT_SIGNATURE, PaymentPayload, SettleResponse, X_PAYMENT, read_header, write_header,
};

use self::drawer::{Drawer, Fate, offer, payment, price};
use crate::limit::Limits;
use crate::*;

/// A shop: a router behind the paywall, and how often its handler ran.
struct Shop {
    router: Router,
    drawer: Arc<Drawer>,
    runs: Arc<AtomicUsize>,
}

/// How the handler behaves.
#[derive(Clone, Copy)]
enum Goods {
    Text,
    Slow(Duration),
    Bytes(usize),
    Refuses(u16),
    Panics,
    /// Refuses the first time only.
    FailsOnce,
    Lies,
}

impl Shop {
    fn new(goods: Goods, fate: Fate) -> Self {
        Self::with(goods, Drawer::with(fate), price(Repeat::Never).with_limits(short()))
    }

    fn with(goods: Goods, drawer: Arc<Drawer>, price: Price) -> Self {
        let runs = Arc::new(AtomicUsize::new(0));
        let counted = runs.clone();
        let handler = any(move |request: Request<Body>| {
            let run = counted.fetch_add(1, Ordering::SeqCst);
            serve(goods, run, request)
        });
        let router = Router::new()
            .route("/goods", handler.clone())
            .route("/gold", handler)
            .route_layer(PaywallLayer::new(drawer.clone(), price));
        Self { router, drawer, runs }
    }

    fn runs(&self) -> usize {
        self.runs.load(Ordering::SeqCst)
    }

    async fn get(&self, path: &str, header: &str) -> Answer {
        self.send(Request::get(path).header(PAYMENT_SIGNATURE, header).body(Body::empty()).unwrap()).await
    }

    async fn send(&self, request: Request<Body>) -> Answer {
        Answer::of(self.router.clone().oneshot(request).await.unwrap()).await
    }
}

async fn serve(goods: Goods, run: usize, request: Request<Body>) -> Response<Body> {
    for name in [PAYMENT_SIGNATURE, X_PAYMENT] {
        assert!(request.headers().get(name).is_none(), "the payment reached the handler");
    }
    assert!(request.extensions().get::<Paid>().is_some(), "the handler ran without a claim");
    let answer = |status: u16, body: Body| {
        Response::builder().status(status).header("content-type", "text/plain").body(body).unwrap()
    };
    match goods {
        Goods::Text => answer(200, Body::from("the goods")),
        Goods::Slow(time) => {
            tokio::time::sleep(time).await;
            answer(200, Body::from("the goods"))
        }
        Goods::Bytes(count) => answer(200, Body::from(vec![b'x'; count])),
        Goods::Refuses(status) => answer(status, Body::from("no goods")),
        Goods::Panics => panic!("the handler panics, as the test wants"),
        Goods::FailsOnce if run == 0 => answer(500, Body::from("no goods")),
        Goods::FailsOnce => answer(200, Body::from("the goods")),
        Goods::Lies => Response::builder()
            .header("cache-control", "public, max-age=3600")
            .header("payment-response", "forged")
            .header("x-payment-response", "forged")
            .header("payment-required", "forged")
            .header("settlement-overrides", "forged")
            .header("set-cookie", "a=b")
            .body(Body::from("the goods"))
            .unwrap(),
    }
}

fn short() -> Limits {
    Limits { patience: Duration::from_millis(400), handler_time_max: Duration::from_secs(5), ..Limits::default() }
}

fn header(payment: &PaymentPayload) -> String {
    write_header(payment).unwrap()
}

/// An answer, read to its end.
#[derive(Debug)]
struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: String,
}

impl Answer {
    async fn of(response: Response<Body>) -> Self {
        let (parts, body) = response.into_parts();
        let body = axum::body::to_bytes(body, 32 * 1024 * 1024).await.unwrap();
        let answer =
            Self { status: parts.status, headers: parts.headers, body: String::from_utf8_lossy(&body).into_owned() };
        answer.assert_not_shared();
        answer
    }

    /// What every answer of a priced route must carry, whichever it is.
    fn assert_not_shared(&self) {
        assert_eq!(self.headers["cache-control"], "private, no-store", "{self:?}");
        assert_eq!(self.headers.get_all("cache-control").iter().count(), 1);
        assert_eq!(self.headers["vary"], "PAYMENT-SIGNATURE, X-PAYMENT, SIGN-IN-WITH-X, Accept, User-Agent");
        let exposed = "PAYMENT-REQUIRED, PAYMENT-RESPONSE, X-PAYMENT-RESPONSE";
        assert_eq!(self.headers["access-control-expose-headers"], exposed);
        assert_eq!(self.headers["access-control-allow-origin"], "*");
        assert!(self.headers.get("settlement-overrides").is_none());
    }

    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }

    /// The code of a problem, or the error of a demand.
    fn code(&self) -> String {
        let json = self.json();
        json.get("code").or(json.get("error")).and_then(Value::as_str).unwrap_or_default().to_owned()
    }

    fn receipt(&self) -> Option<SettleResponse> {
        self.headers.get(PAYMENT_RESPONSE).map(|header| read_header(header.as_bytes()).unwrap())
    }

    /// 402 or worse, and not a byte of the goods.
    fn assert_withheld(&self) {
        assert!(self.status.as_u16() >= 400, "{self:?}");
        assert!(!self.body.contains("the goods"), "{self:?}");
    }

    fn assert_bought(&self) {
        assert_eq!((self.status, self.body.as_str()), (StatusCode::OK, "the goods"));
        assert_eq!(self.headers["content-type"], "text/plain");
        assert!(self.receipt().is_some_and(|receipt| receipt.success));
    }
}
