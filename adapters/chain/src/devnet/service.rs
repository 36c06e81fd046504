//! The devnet over HTTP.

use std::future::Future;
use std::io;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use tokio::net::TcpListener;
use tokio::sync::watch;

use super::Devnet;
use crate::limits::{REQUEST_BYTES_MAX, REQUEST_READ_TIME_MAX, SHUTDOWN_TIME_MAX};

impl Devnet {
    /// `POST /` answers JSON-RPC.
    pub fn router(&self) -> Router {
        Router::new().route("/", post(answer)).with_state(self.clone())
    }

    /// Serves until `shutdown` resolves, and adds blocks at the configured interval meanwhile. Open connections get
    /// [`SHUTDOWN_TIME_MAX`] to finish.
    pub async fn serve(&self, listener: TcpListener, shutdown: impl Future<Output = ()> + Send) -> io::Result<()> {
        let (stop, mut stopped) = watch::channel(());
        let router = self.router();
        let serving = axum::serve(listener, router).with_graceful_shutdown(async move {
            // An error means that the sender is gone: stop as well.
            stopped.changed().await.ok();
        });
        let mut serving = tokio::spawn(serving.into_future());
        tokio::select! {
            ended = &mut serving => return ended.map_err(io::Error::other)?,
            () = self.add_blocks_at_interval() => {}
            () = shutdown => {}
        }
        drop(stop);
        match tokio::time::timeout(SHUTDOWN_TIME_MAX, &mut serving).await {
            Ok(ended) => ended.map_err(io::Error::other)?,
            Err(_) => {
                serving.abort();
                Ok(())
            }
        }
    }

    /// Runs for ever: adds a block whenever the configured interval has passed. For in-process use beside the
    /// router; `serve` already does it.
    pub async fn add_blocks_at_interval(&self) {
        let interval = self.node().config.block_interval;
        let Some(interval) = interval.filter(|interval| *interval > Duration::ZERO) else {
            return std::future::pending().await;
        };
        let mut ticks = tokio::time::interval(interval);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        ticks.tick().await;
        loop {
            ticks.tick().await;
            self.node().mine_empty();
        }
    }
}

async fn answer(State(devnet): State<Devnet>, body: Body) -> Response {
    let request = match tokio::time::timeout(REQUEST_READ_TIME_MAX, to_bytes(body, REQUEST_BYTES_MAX)).await {
        Ok(Ok(request)) => request,
        Ok(Err(_)) => {
            let message = format!("the request is broken or larger than {REQUEST_BYTES_MAX} bytes\n");
            return (StatusCode::PAYLOAD_TOO_LARGE, message).into_response();
        }
        Err(_) => return StatusCode::REQUEST_TIMEOUT.into_response(),
    };
    // The EVM may work for a moment: off the threads that serve connections.
    let Ok(answer) = tokio::task::spawn_blocking(move || devnet.dispatch(&request)).await else {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    let json = [(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))];
    match answer {
        Some(answer) => (json, answer).into_response(),
        None => StatusCode::NO_CONTENT.into_response(),
    }
}
