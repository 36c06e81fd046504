//! What is given before it is settled, and what is settled before anything is done: in which order, and what is said where it
//! goes wrong.

use std::sync::Mutex;

use async_trait::async_trait;
use x402::reason::Reason;
use x402::release::{Amount, Beyond, Exposure, History, Manner, PayFirst, Release, When};

use super::*;

/// A till that says what it was asked, in order, and answers as the test wants.
#[derive(Default)]
struct Ledger {
    asked: Mutex<Vec<String>>,
    refusals: Mutex<Vec<SettleRefusal>>,
}

impl Ledger {
    fn note(&self, what: impl Into<String>) -> Result<SettleResponse, SettleRefusal> {
        self.asked.lock().unwrap().push(what.into());
        match self.refusals.lock().unwrap().pop() {
            Some(refusal) => Err(refusal),
            None => Ok(SettleResponse::settled("0x01", "0x02", "eip155:31337")),
        }
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

#[async_trait]
impl Till for Ledger {
    async fn claim(&self, request: &ClaimRequest) -> Result<Claim, Refusal> {
        let manner = request.release.manner(Amount::new(10_000), History::None);
        self.asked.lock().unwrap().push("claim".to_owned());
        Ok(Claim::Won(Ticket { key: request.key, id: "1".to_owned(), manner }))
    }

    async fn settle(&self, _: Ticket, _: StoredAnswer, _: Option<Amount>) -> Result<Settled, SettleRefusal> {
        self.note("settle").map(|response| Settled { response })
    }

    async fn serve(&self, _: Ticket, _: StoredAnswer) -> Result<Served, SettleRefusal> {
        self.note("serve").map(|_| Served::Owed)
    }

    async fn prepay(&self, _: &Ticket) -> Result<Settled, SettleRefusal> {
        self.note("prepay").map(|response| Settled { response })
    }

    async fn deliver(&self, _: Ticket, _: StoredAnswer) {
        self.asked.lock().unwrap().push("deliver".to_owned());
    }

    async fn undelivered(&self, _: Ticket, why: Abandoned) {
        self.asked.lock().unwrap().push(format!("undelivered {}", why.code()));
    }

    async fn abandon(&self, _: Ticket, why: Abandoned) -> Option<SettleResponse> {
        self.asked.lock().unwrap().push(format!("abandon {}", why.code()));
        None
    }
}

fn early() -> [Release; 2] {
    let exposure = Exposure { payer_max: Amount::MAX, total_max: None, beyond: Beyond::Wait };
    [When::Verified(exposure), When::Submitted(exposure)].map(|when| Release { when, ..Release::default() })
}

fn first() -> Release {
    Release { pay_first: PayFirst { above: Some(Amount::ZERO), without_history: false }, ..Release::default() }
}

/// One request, what came of it, what the till was asked, and how often the handler ran.
async fn bought(release: Release, goods: Goods, refusal: Option<SettleRefusal>) -> (Answer, Vec<String>, usize) {
    let till = Arc::new(Ledger { refusals: Mutex::new(refusal.into_iter().collect()), ..Ledger::default() });
    let runs = Arc::new(AtomicUsize::new(0));
    let counted = runs.clone();
    let handler = any(move |request: Request<Body>| {
        let run = counted.fetch_add(1, Ordering::SeqCst);
        serve(goods, run, request)
    });
    let price = price(Repeat::Never).with_limits(short()).with_release(release);
    let router = Router::new().route("/goods", handler).route_layer(PaywallLayer::new(till.clone(), price));
    let request = Request::get("/goods").header(PAYMENT_SIGNATURE, header(&payment("/goods", 1)));
    let answer = Answer::of(router.oneshot(request.body(Body::empty()).unwrap()).await.unwrap()).await;
    (answer, till.asked(), runs.load(Ordering::SeqCst))
}

fn refusals() -> Vec<SettleRefusal> {
    let failed = SettleResponse::failed(Reason::TransactionFailed, "it reverted", None, "0x02", "eip155:31337");
    vec![
        SettleRefusal::Failed(Box::new(failed)),
        SettleRefusal::Unknown { message: "no answer".to_owned() },
        SettleRefusal::Pending { transaction: "0x01".to_owned() },
    ]
}

#[tokio::test]
async fn what_cannot_be_owed_is_not_given() {
    for release in early() {
        for refusal in refusals() {
            let (answer, asked, _) = bought(release, Goods::Text, Some(refusal)).await;
            answer.assert_withheld();
            assert!(asked.starts_with(&["claim".to_owned(), "serve".to_owned()]), "{asked:?}");
        }
        for goods in [Goods::Refuses(500), Goods::Panics] {
            let (answer, asked, _) = bought(release, goods, None).await;
            answer.assert_withheld();
            assert!(answer.receipt().is_none());
            assert!(asked.len() == 2 && asked[1].starts_with("abandon"), "{asked:?}");
        }
    }
}

#[tokio::test]
async fn nothing_is_worked_for_before_it_is_paid() {
    for refusal in refusals() {
        let (answer, asked, runs) = bought(first(), Goods::Text, Some(refusal)).await;
        answer.assert_withheld();
        assert_eq!((runs, &asked[..2]), (0, &["claim".to_owned(), "prepay".to_owned()][..]));
        assert!(!asked.iter().any(|word| word.contains("deliver")), "{asked:?}");
    }
}

#[tokio::test]
async fn what_is_paid_and_not_delivered_is_said_with_the_receipt() {
    for (goods, status, why) in [
        (Goods::Refuses(500), 500, "undelivered handler_refused"),
        (Goods::Panics, 500, "undelivered handler_panicked"),
    ] {
        let (answer, asked, runs) = bought(first(), goods, None).await;
        answer.assert_withheld();
        assert_eq!(answer.status.as_u16(), status);
        assert!(answer.receipt().is_some_and(|receipt| receipt.success), "{answer:?}");
        assert!(!answer.body.contains("nothing was charged"), "{answer:?}");
        assert_eq!((runs, asked), (1, ["claim", "prepay", why].map(str::to_owned).to_vec()));
    }
}

#[tokio::test]
async fn what_is_given_early_has_no_receipt_and_what_is_paid_first_has_one() {
    for release in early() {
        let (answer, asked, runs) = bought(release, Goods::Text, None).await;
        assert_eq!((answer.status, answer.body.as_str()), (StatusCode::OK, "the goods"));
        assert!(answer.receipt().is_none(), "nothing is settled yet");
        assert_eq!((runs, asked), (1, ["claim", "serve"].map(str::to_owned).to_vec()));
    }
    let (answer, asked, _) = bought(first(), Goods::Text, None).await;
    answer.assert_bought();
    assert_eq!(asked, ["claim", "prepay", "deliver"]);
}

/// A till that knows nothing of it gives nothing on credit, whatever a route says.
#[tokio::test]
async fn a_till_of_another_time_fails_closed() {
    let releases = early().into_iter().chain([first()]);
    for (number, release) in (1..).zip(releases) {
        let shop = Shop::with(Goods::Text, Drawer::with(Fate::Settles), price(Repeat::Never).with_release(release));
        let answer = shop.get("/goods", &header(&payment("/goods", number))).await;
        answer.assert_withheld();
        assert_eq!(answer.code(), "outcome_unknown");
        assert_eq!(shop.runs(), usize::from(release.manner(Amount::MAX, History::None) != Manner::PaidFirst));
    }
}
