//! What this process has in its hands. All of it can be lost: the book says what is open.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use alloy_primitives::Address;
use ledger::id::TenantId;
use ledger::settlement::SettlementKey;
use x402::wire::{PaymentPayload, PaymentRequirements};

type Key = (TenantId, SettlementKey);
type SharedLane = Arc<tokio::sync::Mutex<Lane>>;

/// Settlements whose caller was told "pending" and has not come back.
const UNDELIVERED_MAX: usize = 100_000;

#[derive(Default)]
pub struct Desk {
    /// Work under way, and for a sale whose handler runs, what it is to be settled with.
    in_hand: Mutex<BTreeMap<Key, Option<Goods>>>,
    /// Settled after their caller was told "pending": the next one to ask is the first to learn it.
    undelivered: Mutex<BTreeSet<Key>>,
    lanes: Mutex<BTreeMap<(TenantId, Address), SharedLane>>,
    /// Contracts that called a payment theirs and did not let it happen, and since when.
    wasteful: Mutex<BTreeMap<Address, Instant>>,
}

/// How long a contract that wasted a transaction is not carried for, and how many such are remembered.
const WASTEFUL_FOR: Duration = Duration::from_secs(3_600);
const WASTEFUL_MAX: usize = 100_000;

/// What a sale is settled with, once its handler has delivered.
#[derive(Clone, Debug)]
pub struct Goods {
    pub payload: PaymentPayload,
    pub requirements: PaymentRequirements,
}

/// A relayer account's transaction nonces, one at a time.
#[derive(Default)]
pub struct Lane {
    pub next: Option<u64>,
}

/// Lets go of a key when the work on it ends, however it ends.
#[derive(Debug)]
pub struct InHand<'a> {
    desk: &'a Desk,
    key: Option<Key>,
}

impl std::fmt::Debug for Desk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Desk")
    }
}

impl InHand<'_> {
    /// Leaves the key in hand for a later call, with what that call needs.
    pub fn keep(mut self, goods: Goods) {
        if let Some(key) = self.key.take() {
            locked(&self.desk.in_hand).insert(key, Some(goods));
        }
    }
}

impl Drop for InHand<'_> {
    fn drop(&mut self) {
        if let Some(key) = &self.key {
            locked(&self.desk.in_hand).remove(key);
        }
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // The sets stay whole whatever a holder of the lock died of.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Desk {
    /// `None` when somebody in this process works on it.
    pub fn take(&self, tenant: &TenantId, key: &SettlementKey) -> Option<InHand<'_>> {
        let key = (tenant.clone(), key.clone());
        let mut in_hand = locked(&self.in_hand);
        if in_hand.contains_key(&key) {
            return None;
        }
        in_hand.insert(key.clone(), None);
        Some(InHand { desk: self, key: Some(key) })
    }

    pub fn has(&self, tenant: &TenantId, key: &SettlementKey) -> bool {
        locked(&self.in_hand).contains_key(&(tenant.clone(), key.clone()))
    }

    /// Takes up what was kept. A second taker finds nothing.
    pub fn resume(&self, tenant: &TenantId, key: &SettlementKey) -> Option<(InHand<'_>, Goods)> {
        let key = (tenant.clone(), key.clone());
        let goods = locked(&self.in_hand).get_mut(&key)?.take()?;
        Some((InHand { desk: self, key: Some(key) }, goods))
    }

    pub fn owe_answer(&self, tenant: &TenantId, key: &SettlementKey) {
        let mut undelivered = locked(&self.undelivered);
        // Callers that never come back must not fill the memory; a forgotten one is told where to look instead.
        if undelivered.len() >= UNDELIVERED_MAX {
            undelivered.pop_first();
        }
        undelivered.insert((tenant.clone(), key.clone()));
    }

    /// Whether an answer was owed; it is not any more.
    pub fn deliver(&self, tenant: &TenantId, key: &SettlementKey) -> bool {
        locked(&self.undelivered).remove(&(tenant.clone(), key.clone()))
    }

    /// Its settlement passed every simulation and reverted all the same.
    pub fn wasted_gas(&self, wallet: Address) {
        let mut wasteful = locked(&self.wasteful);
        wasteful.retain(|_, since| since.elapsed() < WASTEFUL_FOR);
        if wasteful.len() < WASTEFUL_MAX {
            wasteful.insert(wallet, Instant::now());
        }
    }

    pub fn is_wasteful(&self, wallet: Address) -> bool {
        locked(&self.wasteful).get(&wallet).is_some_and(|since| since.elapsed() < WASTEFUL_FOR)
    }

    pub fn lane(&self, tenant: &TenantId, relayer: Address) -> SharedLane {
        locked(&self.lanes).entry((tenant.clone(), relayer)).or_default().clone()
    }
}
