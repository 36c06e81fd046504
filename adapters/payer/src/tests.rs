//! Hostile sellers, and a wallet that counts what it is asked.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use serde_json::json;
use x402::wire::{PAYMENT_REQUIRED, PaymentRequired, PaymentRequirements, ResourceInfo, write_header};

use super::*;

mod calls;
mod coming_back;

#[derive(Debug, thiserror::Error)]
#[error("no")]
struct No;

#[derive(Default)]
struct Counting {
    paid: AtomicUsize,
    looked: Mutex<Vec<(Option<u16>, Option<String>)>>,
    over: Mutex<Vec<&'static str>>,
    refuses: bool,
    blind: bool,
    /// Has paid before, and says so with this.
    known: Option<&'static str>,
    signed_in: AtomicUsize,
    /// What it signs; of the HTTP sellers here, `signed`.
    header: Option<String>,
}

#[async_trait]
impl Wallet for Arc<Counting> {
    type Outcome = ();
    type Error = No;

    async fn pay(&self, asked: Asked<'_>) -> Result<Payment, No> {
        if self.refuses {
            return Err(No);
        }
        self.paid.fetch_add(1, Ordering::SeqCst);
        self.over.lock().unwrap().push(asked.demand.payment_header());
        let header = self.header.clone().unwrap_or_else(|| "signed".into());
        Ok(Payment { id: asked.key.to_owned(), header })
    }

    async fn sign_in(&self, _: Asked<'_>) -> Option<String> {
        self.signed_in.fetch_add(1, Ordering::SeqCst);
        self.known.map(str::to_owned)
    }

    async fn look(&self, _: &Payment, reported: Reported<'_>) -> Result<(), No> {
        self.looked.lock().unwrap().push((reported.status, reported.response.map(str::to_owned)));
        if self.blind { Err(No) } else { Ok(()) }
    }
}

fn offer() -> String {
    offer_with(None)
}

fn offer_with(extensions: Option<serde_json::Map<String, Value>>) -> String {
    let requirements = PaymentRequirements {
        scheme: "exact".into(),
        network: "eip155:31337".into(),
        amount: "1".into(),
        asset: "0x00".into(),
        pay_to: "0x00".into(),
        max_timeout_seconds: 60,
        extra: None,
        unknown: serde_json::Map::new(),
    };
    let required = PaymentRequired::new(ResourceInfo::new("http://a/b"), vec![requirements], None);
    write_header(&PaymentRequired { extensions, ..required }).unwrap()
}

/// The same of version 1.
fn older(version: u64, resource: &str) -> String {
    let offer = json!({
        "scheme": "exact", "network": "base-sepolia", "maxAmountRequired": "1", "resource": resource, "description": "",
        "payTo": "0x00", "maxTimeoutSeconds": 60, "asset": "0x00", "outputSchema": null,
    });
    json!({ "x402Version": version, "error": "X-PAYMENT header is required", "accepts": [offer] }).to_string()
}

/// Sellers that speak version 1, alone or as well.
fn behave_older(request: &Request) -> Option<Response> {
    let answer = |status: u16| Response::builder().status(status);
    let paid = request.headers().contains_key(X_PAYMENT);
    assert!(!(paid && request.headers().contains_key(PAYMENT_SIGNATURE)), "one payment came twice");
    let body = |text: String| answer(402).body(Body::from(text)).unwrap();
    let doubled = older(1, "http://a/b").replacen(
        r#""maxAmountRequired":"1""#,
        r#""maxAmountRequired":"1","maxAmountRequired":"2""#,
        1,
    );
    Some(match (request.uri().path(), paid) {
        ("/older", true) => {
            let receipt = json!({ "success": true, "transaction": "0x9", "network": "base-sepolia" }).to_string();
            answer(200).header(X_PAYMENT_RESPONSE, receipt).body("sold".into()).unwrap()
        }
        ("/older", false) => body(older(1, "http://a/b")),
        ("/older-loop", _) => body(older(1, "http://a/b")),
        ("/older-doubled", _) => body(doubled),
        ("/older-third", _) => body(older(3, "http://a/b")),
        ("/older-second", _) => body(older(2, "http://a/b")),
        ("/older-empty", _) => body(json!({ "x402Version": 1, "accepts": [] }).to_string()),
        ("/older-junk", _) => body("{\"x402Version\":1".into()),
        ("/older-beside-junk", _) => {
            answer(402).header(PAYMENT_REQUIRED, "!!!").body(older(1, "http://a/b").into()).unwrap()
        }
        ("/both-versions", true) => panic!("a seller that speaks version 2 was paid over version 1"),
        ("/both-versions", false) if !request.headers().contains_key(PAYMENT_SIGNATURE) => {
            answer(402).header(PAYMENT_REQUIRED, offer()).body(older(1, "http://a/b").into()).unwrap()
        }
        ("/allowance", _) => answer(412).header(PAYMENT_REQUIRED, offer()).body(Body::empty()).unwrap(),
        ("/precondition", _) => answer(412).body("the resource's own".into()).unwrap(),
        _ => return None,
    })
}

/// A seller whose path says how it behaves.
async fn behave(State(visits): State<Arc<AtomicUsize>>, request: Request) -> Response {
    visits.fetch_add(1, Ordering::SeqCst);
    if let Some(answer) = behave_older(&request).or_else(|| coming_back::behave(&request)) {
        return answer;
    }
    let paid = request.headers().get(PAYMENT_SIGNATURE).map(|value| value.to_str().unwrap().to_owned());
    let answer = |status: u16| Response::builder().status(status);
    let need = || answer(402).header(PAYMENT_REQUIRED, offer()).body(Body::empty()).unwrap();
    match (request.uri().path(), paid.as_deref()) {
        ("/free", _) => answer(200).body("free".into()).unwrap(),
        ("/loop", _) => need(),
        ("/bare", _) => answer(402).body(Body::empty()).unwrap(),
        ("/both", _) => {
            let twice = answer(402).header(PAYMENT_REQUIRED, offer()).header(PAYMENT_REQUIRED, offer());
            twice.body(Body::empty()).unwrap()
        }
        ("/junk", _) => answer(402).header(PAYMENT_REQUIRED, "!!!").body(Body::empty()).unwrap(),
        ("/away", Some(_)) => answer(302).header("location", "/stolen").body(Body::empty()).unwrap(),
        ("/silent", Some(_)) => {
            // Shorter than it says: the connection breaks off.
            answer(200).header("content-length", "100").body(Body::from("short")).unwrap()
        }
        (_, Some("signed")) => {
            let receipt = json!({ "success": true, "transaction": "0x1", "network": "n" }).to_string();
            answer(200).header(PAYMENT_RESPONSE, receipt).body("sold".into()).unwrap()
        }
        (_, Some(other)) => panic!("another payment came: {other}"),
        (_, None) => need(),
    }
}

struct Stage {
    base: String,
    visits: Arc<AtomicUsize>,
    wallet: Arc<Counting>,
    payer: Payer<Arc<Counting>>,
}

async fn stage(wallet: Counting) -> Stage {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let visits = Arc::new(AtomicUsize::new(0));
    let router = Router::new().fallback(behave).with_state(visits.clone());
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    let wallet = Arc::new(wallet);
    let payer = Payer::new(wallet.clone(), Duration::from_secs(5)).unwrap();
    Stage { base, visits, wallet, payer }
}

impl Stage {
    async fn fetch(&self, path: &str) -> Result<Bought<()>, PayerError<No>> {
        let purchase = Purchase {
            method: "GET".into(),
            url: format!("{}{path}", self.base),
            key: "key".into(),
            ..Purchase::default()
        };
        self.payer.fetch(&purchase).await
    }

    fn paid(&self) -> usize {
        self.wallet.paid.load(Ordering::SeqCst)
    }
}

#[tokio::test]
async fn a_402_after_a_payment_is_not_paid_again() {
    let stage = stage(Counting::default()).await;
    let bought = stage.fetch("/loop").await.unwrap();
    assert_eq!((bought.fetched.status.as_u16(), stage.paid(), stage.visits.load(Ordering::SeqCst)), (402, 1, 2));
    assert_eq!(stage.wallet.looked.lock().unwrap().len(), 1, "the wallet is told to look");
}

#[tokio::test]
async fn a_payment_does_not_follow_a_redirect() {
    let stage = stage(Counting::default()).await;
    let bought = stage.fetch("/away").await.unwrap();
    assert_eq!((bought.fetched.status.as_u16(), stage.visits.load(Ordering::SeqCst)), (302, 2), "nobody went there");
}

#[tokio::test]
async fn what_cannot_be_read_is_not_paid() {
    let stage = stage(Counting::default()).await;
    let older =
        ["/older-doubled", "/older-third", "/older-second", "/older-empty", "/older-junk", "/older-beside-junk"];
    for path in ["/bare", "/junk", "/both"].into_iter().chain(older) {
        assert_eq!(stage.fetch(path).await.unwrap_err().code(), "not_payable", "{path}");
    }
    let nowhere = Purchase { method: "GET".into(), url: "http://127.0.0.1:1/".into(), ..Purchase::default() };
    assert_eq!(stage.payer.fetch(&nowhere).await.unwrap_err().code(), "seller_unreachable");
    let odd = Purchase { method: "G T".into(), url: stage.base.clone(), ..Purchase::default() };
    assert_eq!(stage.payer.fetch(&odd).await.unwrap_err().code(), "seller_unreachable");
    assert_eq!(stage.paid(), 0);
}

#[tokio::test]
async fn a_refusing_wallet_ends_it() {
    let stage = stage(Counting { refuses: true, ..Counting::default() }).await;
    assert_eq!(stage.fetch("/sold").await.unwrap_err().code(), "wallet_refused");
    assert_eq!(stage.visits.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn the_wallet_looks_also_when_the_answer_breaks_off() {
    let stage = stage(Counting::default()).await;
    assert!(stage.fetch("/silent").await.is_err());
    assert_eq!(*stage.wallet.looked.lock().unwrap(), [(None, None)], "no answer is reported as none");
}

#[tokio::test]
async fn a_wallet_that_cannot_look_takes_nothing_back_of_the_answer() {
    let stage = stage(Counting { blind: true, ..Counting::default() }).await;
    assert_eq!(stage.fetch("/sold").await.unwrap_err().code(), "wallet_refused");
    let purchase = Purchase { method: "GET".into(), url: format!("{}/sold", stage.base), ..Purchase::default() };
    let Opened::Asked(challenge) = stage.payer.open(&purchase).await.unwrap() else { panic!("a 402") };
    let demand = challenge.demand.unwrap();
    let shown = stage.payer.present(&purchase, &demand).await.unwrap();
    assert!(shown.outcome.is_err());
    assert_eq!(shown.answer.unwrap().text().await.unwrap(), "sold");
}

#[tokio::test]
async fn what_is_sold_is_paid_once_and_what_is_free_is_not() {
    let stage = stage(Counting::default()).await;
    assert!(stage.fetch("/free").await.unwrap().paid.is_none());
    let bought = stage.fetch("/sold").await.unwrap();
    assert_eq!((bought.fetched.body.as_slice(), stage.paid()), (&b"sold"[..], 1));
    let (payment, ()) = bought.paid.unwrap();
    assert_eq!(payment.id, "key");
    assert!(stage.wallet.looked.lock().unwrap()[0].1.as_deref().is_some_and(|response| response.contains("0x1")));
}

#[tokio::test]
async fn a_demand_for_an_allowance_is_refused_by_name_and_another_412_is_the_answer() {
    let stage = stage(Counting::default()).await;
    let refused = stage.fetch("/allowance").await.unwrap_err();
    assert_eq!(refused.code(), "permit2_allowance_required");
    assert!(refused.to_string().contains("412"), "{refused}");
    let own = stage.fetch("/precondition").await.unwrap();
    assert_eq!((own.fetched.status.as_u16(), own.paid.is_none()), (412, true));
    assert_eq!(stage.paid(), 0);
}

#[tokio::test]
async fn a_seller_is_paid_over_the_newest_version_that_it_speaks() {
    let stage = stage(Counting::default()).await;
    let looped = stage.fetch("/older-loop").await.unwrap();
    assert_eq!((looped.fetched.status.as_u16(), stage.paid()), (402, 1), "a second demand is not paid");
    assert_eq!(stage.fetch("/older").await.unwrap().fetched.body, b"sold");
    assert_eq!(stage.fetch("/both-versions").await.unwrap().fetched.body, b"sold");
    assert_eq!(*stage.wallet.over.lock().unwrap(), [X_PAYMENT, X_PAYMENT, PAYMENT_SIGNATURE]);
    let looked = stage.wallet.looked.lock().unwrap();
    assert!(looked[1].1.as_deref().is_some_and(|response| response.contains("0x9")), "X-PAYMENT-RESPONSE is reported");
}
