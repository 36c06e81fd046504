//! Stopping, at any scope, and letting it go on.

use axum::extract::{Path, State};
use axum::response::Response;
use engine::error::EngineError;
use ledger::gate::{Gate, Scope};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::App;
use crate::books::may_read;
use crate::call::{Actor, Body, Caller};
use crate::problem::{Problem, created, ok, shown};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KillBody {
    scope: String,
}

/// One spelling each, so that a stop is never beside what it was meant for.
const SCOPES: &str = "everything, person/NAME, agent/NAME, mandate/ID, payee/NAME, build/sha256:DIGITS (64, lower case) \
                      or issuer/URL (as `iss` has it, but in lower case up to the path, without default port, user, \
                      query, fragment or slash at its end)";

#[utoipa::path(post, path = "/v1/kill", tag = "stopping", request_body = crate::schema::Kill,
    description = "Stops everything, a person, an agent, a mandate, a payee, every agent of a build or whoever comes by an issuer. After it returned nothing is reserved and nothing is signed there, questions that wait are answered with a no, vault tokens take nothing and its agents are not let in; what is signed already is cancelled on the chain where that is still possible. Lifting it brings back nothing that it ended.",
    responses((status = 201, body = crate::schema::answers::Stop), (status = 400), (status = 401), (status = 403),
        (status = 404), (status = 413), (status = 503)))]
pub async fn stop(
    State(app): State<App>,
    Actor(identity): Actor,
    Body(body): Body<KillBody>,
) -> Result<Response, Problem> {
    let scope: Scope = body
        .scope
        .parse()
        .map_err(|_| Problem::invalid("scope", format!("{SCOPES} was expected, {} came", shown(&body.scope))))?;
    app.engine.stop(&identity, scope.clone()).await?;
    let stops = app.engine.stops(&identity).await?;
    // Somebody may have lifted it already.
    let stop = stops.iter().find(|gate| gate.scope == scope).map(to_json);
    Ok(created(stop.unwrap_or_else(|| json!({ "id": scope.id(), "scope": scope.to_string() }))))
}

#[utoipa::path(get, path = "/v1/kill", tag = "stopping", description = "What is stopped, by scope.",
    responses((status = 200, body = crate::schema::answers::Stops), (status = 401), (status = 403), (status = 503)))]
pub async fn list(State(app): State<App>, Caller(identity): Caller) -> Result<Response, Problem> {
    may_read(&identity)?;
    let stops = app.engine.stops(&identity).await?;
    Ok(ok(json!({ "stops": stops.iter().map(to_json).collect::<Vec<_>>() })))
}

#[utoipa::path(delete, path = "/v1/kill/{id}", tag = "stopping", params(("id" = String, Path)),
    description = "Lets it go on. What an operator stopped an operator lifts.",
    responses((status = 200, body = crate::schema::answers::Stop), (status = 401), (status = 403), (status = 404), (status = 503)))]
pub async fn lift(State(app): State<App>, Actor(identity): Actor, Path(id): Path<String>) -> Result<Response, Problem> {
    let stops = app.engine.stops(&identity).await?;
    let found = stops.into_iter().find(|gate| gate.scope.id().to_string() == id);
    let found = found.ok_or(EngineError::NotFound { what: "stop", id: shown(&id) })?;
    app.engine.lift(&identity, found.scope.clone()).await?;
    let mut lifted = to_json(&found);
    lifted["state"] = "open".into();
    Ok(ok(lifted))
}

fn to_json(gate: &Gate) -> Value {
    json!({
        "id": gate.scope.id(), "scope": gate.scope.to_string(), "state": gate.state.as_str(),
        "by": gate.closed_by.principal, "kind": gate.closed_by.kind.as_str(), "since": gate.since.seconds(),
    })
}
