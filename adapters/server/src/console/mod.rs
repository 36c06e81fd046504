//! The console: what agents spent and why, what they may spend, what is stopped, and the books. For people who are signed in
//! with their passkey; what each of them sees and does is [`engine::oversight`]'s to say.
//!
//! Pages are made here, whole, from what the engine answers. A script verifies proofs and refreshes what is live; without it
//! everything but these two works.

mod approvals;
mod chart;
mod charts;
mod export;
mod figures;
mod ledger;
mod live;
mod mandates;
mod overview;
mod policy;
mod query;
mod reviews;
mod spend;
mod spends;
mod stops;
mod view;

use ::ledger::id::ParseIdError;
use axum::Router;
use axum::extract::FromRequestParts;
use axum::routing::{get, post};
use engine::error::EngineError;
use engine::oversight::Seat;
use http::StatusCode;
use http::request::Parts;

use crate::App;
use crate::approve::door::{Page, Visitor};
use crate::problem::{Problem, shown};

pub(crate) fn routes(app: App) -> Router {
    Router::new()
        .route("/console", get(overview::show))
        .route("/console/live", get(live::stream))
        .route("/console/spends", get(spends::list))
        .route("/console/spends.csv", get(export::csv))
        .route("/console/spends/{id}", get(spend::show))
        .route("/console/spends/{id}/receipt", get(spend::receipt))
        .route("/console/spends/{id}/evidence", get(export::evidence))
        .route("/console/mandates", get(mandates::tree))
        .route("/console/mandates/{id}", get(mandates::show))
        .route("/console/mandates/{id}/change", get(mandates::confirm).post(mandates::change))
        .route("/console/stops", get(stops::list).post(stops::stop))
        .route("/console/stops/new", get(stops::confirm))
        .route("/console/stops/lift", post(stops::lift))
        .route("/console/ledger", get(ledger::accounts))
        .route("/console/ledger/journal", get(ledger::journal))
        .route("/console/ledger/journal/{seq}", get(ledger::record))
        .route("/console/ledger/journal/{seq}/proof", get(ledger::proof))
        .route("/console/charts", get(charts::show))
        .route("/console/approvals", get(approvals::show))
        .route("/console/reviews", get(reviews::list).post(reviews::answer))
        .with_state(app)
}

/// Somebody who is signed in, and what they may see.
pub(crate) struct Seated {
    pub visitor: Visitor,
    pub seat: Seat,
}

impl FromRequestParts<App> for Seated {
    type Rejection = Page;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Page> {
        let visitor = Visitor::from_request_parts(parts, app).await?;
        let Some(identity) = &visitor.identity else { return Err(visitor.sign_in()) };
        let seat = app.engine.seat(identity).map_err(|error| visitor.refused(error))?;
        Ok(Self { visitor, seat })
    }
}

impl Seated {
    pub fn refused(&self, error: impl Into<EngineError>) -> Page {
        self.problem(&error.into().into())
    }

    pub fn problem(&self, problem: &Problem) -> Page {
        Page(Box::new(self.visitor.page(problem.status, view::problem(self, problem))))
    }

    pub fn page(&self, body: maud::Markup) -> axum::response::Response {
        self.visitor.page(StatusCode::OK, body)
    }

    /// What an address names. What cannot be a name is not there.
    pub fn id<T: std::str::FromStr<Err = ParseIdError>>(&self, what: &'static str, text: &str) -> Result<T, Page> {
        text.parse().map_err(|_| self.refused(EngineError::NotFound { what, id: shown(text) }))
    }

    /// Pages that show the whole tenant are not there for whoever sees a part of it.
    pub fn sees_all(&self, what: &'static str) -> Result<(), Page> {
        match self.seat.sees_all() {
            true => Ok(()),
            false => Err(self.refused(EngineError::Forbidden {
                expected: "an operator or an auditor".into(),
                found: format!("{}, who sees {what} of their own alone", self.seat.own().caller.principal),
            })),
        }
    }
}
