//! Status lists, for verifiers of mandates who are nobody here.

use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use engine::status::TTL_SECONDS;
use http::header;

use crate::App;
use crate::problem::Problem;

#[utoipa::path(get, path = "/status/{n}", tag = "trust", params(("n" = String, Path)),
    description = "An IETF token status list: 0 valid, 1 invalid, 2 suspended, two bits each. Its address stands in `status.status_list.uri` of the mandates in it. As it is now.",
    responses((status = 200, body = String, content_type = "application/statuslist+jwt"), (status = 404), (status = 503)))]
pub async fn list(State(app): State<App>, Path(name): Path<String>) -> Result<Response, Problem> {
    let token = app.engine.status_list(&name).await?;
    let headers = [
        (header::CONTENT_TYPE, "application/statuslist+jwt".to_owned()),
        (header::CACHE_CONTROL, format!("max-age={TTL_SECONDS}")),
    ];
    Ok((headers, token).into_response())
}
