//! Every body is read before its route runs: bounded in bytes and in time, and to its end.
//!
//! A server that answers in the middle of a body and hangs up resets the connection under a client that still
//! writes; the client then sees no answer at all. So what is too long is read on and thrown away, up to a bound.

use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use http_body_util::BodyExt;

use crate::call::BODY_BYTES_MAX;
use crate::problem::Problem;

/// What is thrown away of a body that is too long, before the connection is given up.
const DISCARDED_BYTES_MAX: usize = 16 * 1024 * 1024;
const PATIENCE: Duration = Duration::from_secs(15);

pub async fn intake(request: Request, next: Next) -> Response {
    let (parts, body) = request.into_parts();
    match tokio::time::timeout(PATIENCE, read(body)).await {
        Ok(Ok(bytes)) => next.run(Request::from_parts(parts, Body::from(bytes))).await,
        Ok(Err(problem)) => problem.into_response(),
        Err(_) => {
            let detail = format!("the whole body within {} s was expected", PATIENCE.as_secs());
            Problem::new(StatusCode::REQUEST_TIMEOUT, "body_too_slow", detail).into_response()
        }
    }
}

async fn read(mut body: Body) -> Result<Vec<u8>, Problem> {
    let mut bytes = Vec::new();
    let mut length = 0_usize;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| Problem::invalid("body", "the body could not be read to its end"))?;
        let Ok(data) = frame.into_data() else { continue };
        length = length.saturating_add(data.len());
        if length <= BODY_BYTES_MAX {
            bytes.extend_from_slice(&data);
        } else if length > DISCARDED_BYTES_MAX {
            break;
        }
    }
    if length <= BODY_BYTES_MAX {
        return Ok(bytes);
    }
    let detail = format!("a body of at most {BODY_BYTES_MAX} bytes was expected, a longer one came");
    Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", detail))
}
