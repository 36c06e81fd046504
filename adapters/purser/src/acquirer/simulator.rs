//! A payment processor that moves no money, and does everything else: keys, declines, answers that are lost after the work
//! was done, notices that come late and twice, and a settlement file. What a card does is in its number ([`cards`]).

mod book;
mod cards;
mod routes;

use std::path::Path;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::routing::{get, post};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use self::book::Book;

pub use self::cards::{Behaviour, cards};

#[derive(Clone)]
pub struct Simulator {
    secret: Arc<str>,
    book: Arc<Mutex<Book>>,
    client: reqwest::Client,
}

/// One that runs in this process.
pub struct Running {
    pub url: String,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Simulator {
    pub fn open(secret: &str, data: Option<&Path>) -> Result<Self, String> {
        let book = Arc::new(Mutex::new(Book::open(data)?));
        let client = reqwest::Client::builder().no_proxy().build().map_err(|error| error.to_string())?;
        Ok(Self { secret: secret.into(), book, client })
    }

    pub async fn serve(
        self,
        listener: TcpListener,
        stop: impl Future<Output = ()> + Send + 'static,
    ) -> Result<(), String> {
        let router = Router::new()
            .route("/v1/captures", post(routes::sale))
            .route("/v1/captures/{id}/refund", post(routes::refund))
            .route("/v1/authorizations", post(routes::authorize))
            .route("/v1/authorizations/{id}/capture", post(routes::capture))
            .route("/v1/authorizations/{id}/void", post(routes::void))
            .route("/v1/payments/{payment}", get(routes::payment))
            .route("/v1/settlement.csv", get(routes::settlement))
            .route("/v1/cards", get(async || axum::Json(cards())))
            .with_state(self);
        axum::serve(listener, router).with_graceful_shutdown(stop).await.map_err(|error| error.to_string())
    }

    /// In this process, on any port.
    pub async fn start(self) -> Result<Running, String> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.map_err(|error| error.to_string())?;
        let url = format!("http://{}", listener.local_addr().map_err(|error| error.to_string())?);
        let (stop, stopped) = oneshot::channel::<()>();
        let task = tokio::spawn(async move {
            let stopped = async {
                let _ = stopped.await;
            };
            if let Err(error) = self.serve(listener, stopped).await {
                tracing::error!("the acquirer stopped: {error}");
            }
        });
        Ok(Running { url, stop, task })
    }
}

impl Running {
    pub async fn stop(self) {
        let _ = self.stop.send(());
        // Whoever hangs on an answer that is never given does not hold it up.
        let _ = tokio::time::timeout(std::time::Duration::from_millis(500), self.task).await;
    }
}
