//! Whether the credentials of a valid chain still stand, as their issuers publish it (IETF Token Status List).
//!
//! A step of its own, behind the verdict: lists are fetched, which this crate does not do, and nobody should fetch an
//! address that an unverified token names. So: verify, fetch the lists of [`Verdict::status_places`], then
//! [`Verdict::held_to`]. A verdict that was not held to them says so (`status`, `not_asked`).

use std::collections::BTreeMap;

use super::report::CheckOutcome;
use super::{Facts, Verdict};
use crate::clock::Clock;
use crate::rejection::{Code, Rejection, shown};
use crate::status::{self, Authority, Place, Status};
use crate::trust::{Roots, Scope};

/// What came from the address of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Published {
    /// The token, not looked at yet.
    Token(String),
    /// Why there is none, in a sentence. Silence says nothing of a credential, least of all that it stands.
    Unavailable(String),
}

/// The lists that were fetched, by their `uri`.
pub type Lists = BTreeMap<String, Published>;

/// That a segment names the place of its status, and who signed the chain's root: they alone may publish it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    pub segment: usize,
    /// A mechanism that is not understood is a refusal where the status is asked for.
    pub place: Result<Place, Rejection>,
    pub(super) scopes: Vec<Scope>,
    pub(super) issuer: Option<String>,
}

impl Standing {
    fn check(&self, lists: &Lists, trusted: &dyn Roots, clock: Clock) -> Result<(), Rejection> {
        let place = self.place.as_ref().map_err(Clone::clone)?;
        let uri = shown(&place.uri);
        let unavailable = |why: &str| {
            let message = format!("the status of segment {} is published at {uri}; {why}", self.segment);
            Rejection::new(Code::StatusUnavailable, message).at("status")
        };
        let token = match lists.get(&place.uri) {
            Some(Published::Token(token)) => token,
            Some(Published::Unavailable(why)) => return Err(unavailable(why)),
            None => return Err(unavailable("no list came from there")),
        };
        let authority = Authority { trusted, scopes: &self.scopes, issuer: self.issuer.as_deref() };
        let status = status::look_under(token, place, &authority, clock).map_err(|refused| {
            let message = format!("the list at {uri} must be one to rely upon; {}: {refused}", refused.code);
            Rejection::new(Code::StatusListInvalid, message).at("status")
        })?;
        let (code, is) = match status {
            Status::Valid => return Ok(()),
            Status::Invalid => (Code::CredentialRevoked, "invalid"),
            Status::Suspended => (Code::CredentialSuspended, "suspended"),
        };
        let message = format!(
            "the credential in segment {} is valid in the list at {uri}; entry {} is {is}",
            self.segment, place.index
        );
        Err(Rejection::new(code, message).at("status"))
    }
}

pub(super) const CHECK: &str = "status";

/// What a verdict says of it before it is asked.
pub(super) fn not_asked(facts: &Facts) -> String {
    match facts.standings.len() {
        0 => "no credential of the chain names a status list".to_owned(),
        count => format!("the status of {count} of the chain's credentials was not looked up"),
    }
}

impl Verdict {
    /// The places at which a valid chain's credentials have their status, from the root outwards.
    pub fn status_places(&self) -> Vec<&Place> {
        let standings = self.facts().map(|facts| facts.standings.as_slice()).unwrap_or_default();
        standings.iter().filter_map(|standing| standing.place.as_ref().ok()).collect()
    }

    /// The verdict with the status of every credential that has one. A list that is not there, or is not certain, refuses;
    /// what was refused stays refused. `trusted` is what the chain was verified under.
    pub fn held_to(mut self, lists: &Lists, trusted: &dyn Roots, clock: Clock) -> Self {
        let Ok(facts) = &self.outcome else { return self };
        if facts.standings.is_empty() {
            return self;
        }
        let result = facts.standings.iter().try_for_each(|standing| standing.check(lists, trusted, clock));
        let (outcome, detail) = match &result {
            Ok(()) => (CheckOutcome::Passed, format!("{} valid, as published", facts.standings.len())),
            Err(refused) => (CheckOutcome::Failed, refused.message.clone()),
        };
        for check in self.checks.iter_mut().filter(|check| check.name == CHECK) {
            (check.outcome, check.detail) = (outcome, detail.clone());
        }
        if let Err(refused) = result {
            self.outcome = Err(refused);
        }
        self
    }
}
