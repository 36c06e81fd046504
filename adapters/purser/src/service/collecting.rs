//! Sales that were given before they are paid are carried to the chain by whoever serves, after a restart too.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use engine::Engine;
use ledger::id::TenantId;
use ledger::store::Place;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

/// Between two looks: whoever carries a payment is not asked about it more often.
const PAUSE: Duration = Duration::from_secs(3);
/// Asked for at once for a tenant; one that is slow keeps no other waiting.
const AT_ONCE: usize = 16;

pub(super) async fn collect(engine: Arc<Engine>, mut stopped: watch::Receiver<bool>) {
    let mut places: BTreeMap<TenantId, Arc<Semaphore>> = BTreeMap::new();
    let mut under_way = JoinSet::new();
    // Each tenant's last one that was taken: the next look goes on behind it.
    let mut taken: BTreeMap<TenantId, Place> = BTreeMap::new();
    loop {
        while under_way.try_join_next().is_some() {}
        let sellers = engine.tenants().into_iter().filter(|tenant| tenant.seller.is_some());
        for tenant in sellers {
            let places = places.entry(tenant.id.clone()).or_insert_with(|| Arc::new(Semaphore::new(AT_ONCE))).clone();
            let (after, free) = (taken.get(&tenant.id).copied(), places.available_permits());
            let due = match engine.uncollected(&tenant.id, after, free).await {
                Ok(due) => due,
                Err(error) => {
                    tracing::warn!(tenant = %tenant.id, code = error.code(), "sales on credit: {error}");
                    continue;
                }
            };
            for (at, key) in due {
                let Ok(place) = places.clone().try_acquire_owned() else { break };
                taken.insert(tenant.id.clone(), at);
                let (engine, tenant) = (engine.clone(), tenant.id.clone());
                under_way.spawn(async move {
                    if let Err(error) = engine.sale_collect(&tenant, &key).await {
                        tracing::warn!(%tenant, code = error.code(), "a sale on credit is not settled yet: {error}");
                    }
                    drop(place);
                });
            }
        }
        tokio::select! {
            () = tokio::time::sleep(PAUSE) => {}
            _ = stopped.wait_for(|stopped| *stopped) => return,
        }
    }
}

/// Sweeps of what is open between two looks at channels: their payers cannot leave within minutes.
const SWEEPS: u32 = 8;

/// What is held and nobody works for is captured as it was decided, or goes back.
pub(super) async fn see_to_holds(engine: Arc<Engine>, sweep: Duration, mut stopped: watch::Receiver<bool>) {
    loop {
        for tenant in engine.tenants().into_iter().filter(|tenant| tenant.seller.is_some()) {
            match engine.sweep_holds(&tenant.id).await {
                Ok(0) => {}
                Ok(ended) => tracing::info!(tenant = %tenant.id, ended, "held payments are over"),
                Err(error) => tracing::warn!(tenant = %tenant.id, code = error.code(), "holds: {error}"),
            }
        }
        tokio::select! {
            () = tokio::time::sleep(sweep) => {}
            _ = stopped.wait_for(|stopped| *stopped) => return,
        }
    }
}

/// What channels owe is claimed, swept and posted.
pub(super) async fn claim(engine: Arc<Engine>, sweep: Duration, mut stopped: watch::Receiver<bool>) {
    loop {
        for tenant in engine.tenants().into_iter().filter(|tenant| tenant.seller.is_some()) {
            match engine.sweep_channels(&tenant.id).await {
                Ok(0) => {}
                Ok(posted) => tracing::info!(tenant = %tenant.id, posted, "sales out of channels are paid"),
                Err(error) => tracing::warn!(tenant = %tenant.id, code = error.code(), "channels: {error}"),
            }
        }
        tokio::select! {
            () = tokio::time::sleep(sweep.saturating_mul(SWEEPS)) => {}
            _ = stopped.wait_for(|stopped| *stopped) => return,
        }
    }
}
