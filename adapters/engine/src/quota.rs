//! How much one agent may leave behind: payments that are open, and refusals and mandates handed on, which the journal keeps
//! for ever. Beyond it
//! there is a 429 before the book is asked, and nothing is written. Counted by process: the figures bound what a runaway
//! agent costs, they are no limit of money.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use ledger::book::is_kept;
use ledger::id::{Micros, PrincipalId, TenantId};

use crate::error::EngineError;
use crate::tenant::Limits;
use crate::{Engine, Identity};

/// What is known of one agent.
#[derive(Clone, Copy, Debug)]
struct Account {
    /// Payments that may be begun before the store is asked again how many are open.
    room: u32,
    /// Kept refusals that are still free, and since when that is so.
    refusals: u32,
    at: Micros,
    /// Mandates that may be handed on, and since when that is so.
    delegations: u32,
    handed_at: Micros,
}

/// Seconds after which one more mandate may be handed on.
const DELEGATION_SECONDS: i64 = 60;

#[derive(Default)]
pub(crate) struct Quotas(Mutex<HashMap<(TenantId, PrincipalId), Account>>);

impl Quotas {
    fn with<T>(&self, identity: &Identity, limits: &Limits, now: Micros, look: impl FnOnce(&mut Account) -> T) -> T {
        let mut accounts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (identity.tenant.clone(), identity.caller.principal.clone());
        let (refusals, delegations) = (limits.refusals_burst, limits.delegations_burst);
        let fresh = Account { room: 0, refusals, at: now, delegations, handed_at: now };
        let account = accounts.entry(key).or_insert(fresh);
        let seconds = u32::try_from(now.seconds().saturating_sub(account.at.seconds())).unwrap_or(0);
        if seconds > 0 {
            account.refusals = account.refusals.saturating_add(seconds).min(limits.refusals_burst);
            account.at = now;
        }
        let minutes = now.seconds().saturating_sub(account.handed_at.seconds()) / DELEGATION_SECONDS;
        if let Some(minutes) = u32::try_from(minutes).ok().filter(|minutes| *minutes > 0) {
            account.delegations = account.delegations.saturating_add(minutes).min(limits.delegations_burst);
            account.handed_at = now;
        }
        look(account)
    }
}

impl Engine {
    /// Before anything is done for a new payment of an agent.
    pub(crate) async fn check_quota(&self, identity: &Identity, limits: &Limits) -> Result<(), EngineError> {
        let now = self.clock.now();
        let taken = self.quotas.with(identity, limits, now, |account| {
            if account.refusals == 0 {
                return Err(exceeded(
                    "refused payments in a short time",
                    limits.refusals_burst,
                    limits.refusals_burst,
                    1,
                ));
            }
            let has_room = account.room > 0;
            account.room = account.room.saturating_sub(1);
            Ok(has_room)
        })?;
        if taken {
            return Ok(());
        }
        let (holder, most) = (&identity.caller.principal, limits.open_payments);
        let open = self.store.count_open(&identity.tenant, holder, most).await?;
        let Some(room) = most.checked_sub(open).filter(|room| *room > 0) else {
            let wait = u32::try_from(limits.hold_seconds).unwrap_or(1).clamp(1, 60);
            return Err(exceeded("open payments", most, open, wait));
        };
        self.quotas.with(identity, limits, now, |account| account.room = room.saturating_sub(1));
        Ok(())
    }

    /// Before a mandate is handed on, which is never taken back out of the book: so many at once, one a minute comes back.
    pub(crate) fn check_delegations(&self, identity: &Identity, limits: &Limits) -> Result<(), EngineError> {
        let now = self.clock.now();
        self.quotas.with(identity, limits, now, |account| {
            let left = account.delegations.checked_sub(1);
            let most = limits.delegations_burst;
            let wait = u32::try_from(DELEGATION_SECONDS).unwrap_or(1);
            account.delegations =
                left.ok_or_else(|| exceeded("mandates handed on in a short time", most, most, wait))?;
            Ok(())
        })
    }

    /// A refusal that the journal keeps takes one of those that are free; they come back with time, one a second.
    pub(crate) fn count_refusal(&self, identity: &Identity, limits: &Limits, error: &EngineError) {
        if matches!(error, EngineError::Book(rejection) if is_kept(rejection.code())) {
            let now = self.clock.now();
            self.quotas.with(identity, limits, now, |account| account.refusals = account.refusals.saturating_sub(1));
        }
    }
}

fn exceeded(what: &'static str, limit: u32, found: u32, retry_after: u32) -> EngineError {
    EngineError::QuotaExceeded { what, limit, found, retry_after }
}
