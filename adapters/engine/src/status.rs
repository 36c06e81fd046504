//! The tenant's status lists, for verifiers who cannot ask the book: whether a mandate that a person gave still stands.
//!
//! The place of a mandate is that of the record in which it was asked for, which is known before it is signed. It stands in
//! the payload of the root, beside `iss`: inside the mandate it would be a preset claim, which AP2 wants every closed
//! mandate to repeat. Mandates that were handed on have no place of their own; the one of their root says whether that
//! stands. Stops (`/v1/kill`) are not in the lists: they bar payments here, and are no fault of the mandate.
//!
//! A list is as the book is when it is asked for. What was read before is kept, with the events that are told already.

use std::collections::{BTreeMap, HashMap};

use ledger::budget::{Budget, BudgetKind, BudgetState};
use ledger::event::EventType;
use ledger::gate::Scope;
use ledger::id::{BudgetId, TenantId};
use ledger::rejection::Rejection;
use ledger::status::{LIST_ENTRIES, name, place};
use mandates::status::{List, Place, Status, Terms, unsigned};
use tokio::sync::Mutex;

use crate::Engine;
use crate::error::EngineError;
use crate::tenant::Tenant;

/// How long a reader may keep a list, and how long it is good for.
pub const TTL_SECONDS: u32 = 15;
const LIFE_SECONDS: i64 = 60;
/// A list that nothing happened to is signed anew when it is this old.
const SIGNED_AGAIN_SECONDS: i64 = 5;
const PAGE: u32 = 500;

/// What is known of a tenant's mandates: those that do not stand, by the record in which they were asked for.
#[derive(Default)]
struct Known {
    /// The last event that was taken in.
    told: Option<(u64, u16)>,
    entries: u64,
    fallen: BTreeMap<u64, Status>,
    /// By list: how many records there were, when it was signed, and the token.
    signed: BTreeMap<u64, (u64, i64, String)>,
}

#[derive(Default)]
pub(crate) struct Lists(Mutex<HashMap<TenantId, Known>>);

impl Engine {
    /// Where the status of a mandate stands that was asked for in this record.
    pub(crate) fn status_place(&self, tenant: &Tenant, asked: u64) -> Place {
        let place = place(&tenant.secret, asked);
        let uri = format!("{}/{}", tenant.status_url, name(&tenant.secret, place.list));
        Place { index: place.index.into(), uri }
    }

    /// The list of this name, signed: `application/statuslist+jwt`.
    pub async fn status_list(&self, wanted: &str) -> Result<String, EngineError> {
        for tenant in self.tenants() {
            let (entries, _) = self.store.head(&tenant.id).await?;
            let mut lists = 0..=entries / LIST_ENTRIES;
            if let Some(number) = lists.find(|number| name(&tenant.secret, *number) == wanted) {
                return self.publish(&tenant, number, entries).await;
            }
        }
        Err(EngineError::NotFound { what: "status list", id: crate::error::shortened(wanted) })
    }

    async fn publish(&self, tenant: &Tenant, number: u64, entries: u64) -> Result<String, EngineError> {
        // A book that was restored may have forgotten what was revoked: it vouches for nothing.
        let gates = self.store.closed_gates(&tenant.id).await?;
        if let Some(fence) = gates.into_iter().find(|gate| gate.scope == Scope::Fence) {
            let (scope, by, since) =
                (fence.scope.to_string(), fence.closed_by.principal.to_string(), fence.since.seconds());
            return Err(EngineError::Book(Rejection::Stopped { scope, by, since }));
        }
        let now = self.clock.now().seconds();
        let mut lists = self.lists.0.lock().await;
        let known = lists.entry(tenant.id.clone()).or_default();
        if let Some((as_of, at, token)) = known.signed.get(&number)
            && *as_of >= entries
            && (0..SIGNED_AGAIN_SECONDS).contains(&now.saturating_sub(*at))
        {
            return Ok(token.clone());
        }
        if known.entries < entries {
            self.catch_up(tenant, known).await?;
            known.entries = known.entries.max(entries);
        }
        let mut list = List::of_valid(usize::try_from(LIST_ENTRIES).unwrap_or_default());
        let first = number.saturating_mul(LIST_ENTRIES);
        for (asked, status) in known.fallen.range(first..first.saturating_add(LIST_ENTRIES)) {
            list.set(place(&tenant.secret, *asked).index.into(), *status);
        }
        let terms = Terms {
            key_id: &tenant.provider.public().key_id(),
            issuer: &tenant.issuer,
            uri: &format!("{}/{}", tenant.status_url, name(&tenant.secret, number)),
            issued_at_seconds: now,
            expires_at_seconds: now.saturating_add(LIFE_SECONDS),
            ttl_seconds: TTL_SECONDS,
        };
        let token = tenant.provider.sign(unsigned(&list, &terms)).await?;
        known.signed.insert(number, (entries, now, token.clone()));
        Ok(token)
    }

    /// Takes in what happened since: the state that a mandate has now counts, whatever the event says.
    async fn catch_up(&self, tenant: &Tenant, known: &mut Known) -> Result<(), EngineError> {
        loop {
            let events = self.store.events(&tenant.id, known.told, PAGE).await?;
            let Some(last) = events.last().map(|event| (event.seq, event.number)) else { return Ok(()) };
            let changed = |kind| {
                matches!(kind, EventType::MandateSuspended | EventType::MandateResumed | EventType::MandateRevoked)
            };
            for mandate in events.iter().filter(|event| changed(event.kind)).filter_map(|event| event.mandate) {
                self.take_in(tenant, mandate, known).await?;
            }
            known.told = Some(last);
        }
    }

    async fn take_in(&self, tenant: &Tenant, mandate: BudgetId, known: &mut Known) -> Result<(), EngineError> {
        let Some(node) = self.store.budget(&tenant.id, mandate).await? else { return Ok(()) };
        let Budget { kind: BudgetKind::Mandate, decision: Some(decision), state, id, .. } = node else { return Ok(()) };
        let decision = self.store.decision(&tenant.id, decision).await?;
        // What was handed on shares the decision of its root, and is not what that opened.
        let Some(decision) = decision.filter(|decision| decision.opened == Some(id)) else { return Ok(()) };
        match state {
            BudgetState::Active => known.fallen.remove(&decision.asked),
            BudgetState::Suspended => known.fallen.insert(decision.asked, Status::Suspended),
            BudgetState::Revoked => known.fallen.insert(decision.asked, Status::Invalid),
        };
        Ok(())
    }
}
