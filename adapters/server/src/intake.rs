//! Every body is read before its route runs: bounded in bytes and in time, and to its end. Then the route runs to its
//! own end, whether or not the client still listens.
//!
//! A server that answers in the middle of a body and hangs up resets the connection under a client that still
//! writes; the client then sees no answer at all. So what is too long is read on and thrown away, up to a bound.
//!
//! And a server drops what it does for a client that hangs up, at whatever line it stands. Between a settlement that
//! is durable and its broadcast that leaves a transaction which is never sent, and whose place at the relayer's
//! account goes to another. So what a route began belongs to a task of its own.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use http_body_util::BodyExt;
use tracing::Instrument;

use crate::limits::{BODY_BYTES_MAX, BODY_PATIENCE, DISCARDED_BYTES_MAX, Peer, Share, Unread};
use crate::problem::Problem;

pub async fn intake(State(unread): State<Arc<Unread>>, request: Request, next: Next) -> Response {
    let (parts, body) = request.into_parts();
    let share = unread.share(parts.extensions.get::<Peer>().copied());
    match tokio::time::timeout(BODY_PATIENCE, read(body, share)).await {
        Ok(Ok(bytes)) => to_its_end(next, Request::from_parts(parts, Body::from(bytes))).await,
        Ok(Err(problem)) => problem.into_response(),
        Err(_) => {
            let detail = format!("the whole body within {} s was expected", BODY_PATIENCE.as_secs());
            Problem::new(StatusCode::REQUEST_TIMEOUT, "body_too_slow", detail).into_response()
        }
    }
}

async fn to_its_end(next: Next, request: Request) -> Response {
    match tokio::spawn(next.run(request).in_current_span()).await {
        Ok(response) => response,
        // The layer outside answers for panics.
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        Err(_) => {
            let detail = "the service is stopping; what became of this request is not known";
            let mut problem = Problem::new(StatusCode::SERVICE_UNAVAILABLE, "outcome_unknown", detail);
            problem.retryable = true;
            problem.into_response()
        }
    }
}

async fn read(mut body: Body, mut share: Share<'_>) -> Result<Vec<u8>, Problem> {
    let mut bytes = Vec::new();
    let (mut length, mut is_crowded) = (0_usize, false);
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| Problem::invalid("body", "the body could not be read to its end"))?;
        let Ok(data) = frame.into_data() else { continue };
        length = length.saturating_add(data.len());
        if length <= BODY_BYTES_MAX {
            // Where there is no room it is read on all the same, and thrown away.
            is_crowded |= !share.grow(data.len());
            if is_crowded {
                bytes = Vec::new();
            } else {
                bytes.extend_from_slice(&data);
            }
        } else if length > DISCARDED_BYTES_MAX {
            break;
        }
    }
    if is_crowded {
        let detail = "room for this body was expected, too many are under way; try again";
        let mut problem = Problem::new(StatusCode::SERVICE_UNAVAILABLE, "busy", detail);
        problem.retryable = true;
        return Err(problem);
    }
    if length <= BODY_BYTES_MAX {
        return Ok(bytes);
    }
    let detail = format!("a body of at most {BODY_BYTES_MAX} bytes was expected, a longer one came");
    Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", detail))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::time::Duration;

    use axum::routing::post;
    use axum::{Router, middleware};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};
    use tokio::sync::Notify;
    use tower_http::catch_panic::CatchPanicLayer;

    use super::*;

    async fn connect(router: Router) -> TcpStream {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move { axum::serve(listener, router).await });
        TcpStream::connect(address).await.unwrap()
    }

    const CALL: &[u8] = b"POST / HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 2\r\n\r\n{}";

    #[tokio::test]
    async fn a_route_runs_to_its_end_for_a_client_that_hung_up() {
        let (began, go_on, ended) =
            (Arc::new(Notify::new()), Arc::new(Notify::new()), Arc::new(AtomicBool::new(false)));
        let (begins, waits, ends) = (began.clone(), go_on.clone(), ended.clone());
        let route = post(async move || {
            begins.notify_one();
            waits.notified().await;
            ends.store(true, Ordering::SeqCst);
        });
        let mut client = connect(
            Router::new().route("/", route).layer(middleware::from_fn_with_state(Arc::<Unread>::default(), intake)),
        )
        .await;
        client.write_all(CALL).await.unwrap();
        began.notified().await;
        drop(client);
        // Long enough for the server to see the end of the connection and to drop what it did for it.
        tokio::time::sleep(Duration::from_millis(200)).await;
        go_on.notify_one();
        for _ in 0..100 {
            if ended.load(Ordering::SeqCst) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("the route was given up in the middle");
    }

    #[tokio::test]
    async fn a_panic_in_a_route_is_still_a_problem_document() {
        async fn broken() -> StatusCode {
            panic!("a defect")
        }
        let router = Router::new()
            .route("/", post(broken))
            .layer(middleware::from_fn_with_state(Arc::<Unread>::default(), intake))
            .layer(CatchPanicLayer::custom(crate::panicked));
        let mut client = connect(router).await;
        client.write_all(CALL).await.unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 500") && answer.contains("internal_error"), "{answer}");
        assert!(!answer.contains("a defect\""), "{answer}");
    }
}
