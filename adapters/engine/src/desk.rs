//! What this process has in its hands. All of it can be lost: the book says what is open.

pub mod lane;
mod shared;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::num::NonZeroU64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use alloy_primitives::{Address, B256};
use ledger::id::{Digest, SpendId, TenantId};
use ledger::money::Amount;
use ledger::settlement::SettlementKey;
use ledger::spend::Authorization;
use ledger::store::Place;
use x402::batch_settlement::{Channel, ChannelState};
use x402::release::Manner;
use x402::wire::{PaymentPayload, PaymentRequirements};

use lane::SharedLane;
pub use shared::Seen;
use shared::Shared;

use crate::facilitate::Waiting;

type Key = (TenantId, SettlementKey);
type Pen = Arc<tokio::sync::Mutex<()>>;

/// Settlements whose caller was told "pending" and has not come back.
const UNDELIVERED_MAX: usize = 100_000;

#[derive(Default)]
pub struct Desk {
    /// Work under way, and for a sale whose handler runs, what it is to be settled with.
    in_hand: Mutex<BTreeMap<Key, Option<Goods>>>,
    /// Settled after their caller was told "pending": the next one to ask is the first to learn it.
    undelivered: Mutex<BTreeSet<Key>>,
    /// Since when a settlement waits for a block, as far as this process knows.
    waiting: Mutex<BTreeMap<Key, Instant>>,
    lanes: Mutex<BTreeMap<(TenantId, Address), SharedLane>>,
    /// Nonces that nothing stood at when it was last looked, below some that are taken.
    holes: Mutex<BTreeMap<(TenantId, Address), BTreeSet<u64>>>,
    /// Those who wait for a relayer's pen, in the order in which they came.
    queues: Mutex<BTreeMap<(TenantId, Address), VecDeque<Waiting>>>,
    /// What failed among others, and is tried by itself the next time.
    loners: Mutex<BTreeSet<Key>>,
    shared: Shared,
    /// Who signs with a relayer's account now.
    pens: Mutex<BTreeMap<(TenantId, Address), Pen>>,
    /// How many settlements each relayer has in hand.
    turns: Mutex<BTreeMap<(TenantId, Address), u64>>,
    /// How far the last sweep of a tenant came.
    sweeps: Mutex<BTreeMap<TenantId, SweptUntil>>,
    /// Contracts that called a payment theirs and did not let it happen, and since when.
    wasteful: Mutex<BTreeMap<Address, Instant>>,
    /// What was charged in a channel when it was last looked at; never more than is so.
    charged: Mutex<BTreeMap<(TenantId, B256), Amount>>,
    /// Payments whose money could not be taken back when that was tried last.
    put_off: Mutex<BTreeMap<SpendId, Instant>>,
    /// The last step that was seen of a channel of our own; never one that is not there.
    steps: Mutex<BTreeMap<(TenantId, Authorization), u64>>,
}

/// Settlements whose waiting is timed. Beyond, their fees are raised later.
const WAITING_MAX: usize = 100_000;

/// Settlements that go alone for once. Beyond, one is tried among others again.
const LONERS_MAX: usize = 10_000;

/// How long a contract that wasted a transaction is not carried for, and how many such are remembered.
const WASTEFUL_FOR: Duration = Duration::from_secs(3_600);
const WASTEFUL_MAX: usize = 100_000;

/// How long nothing is tried again that the wallet could not pay the gas for, or that the chain refused.
const PUT_OFF_FOR: Duration = Duration::from_secs(15);

/// The last settlement that a sweep looked at, where more of its kind came behind.
#[derive(Clone, Copy, Debug, Default)]
pub struct SweptUntil {
    pub open: Option<Place>,
    pub young: Option<Place>,
}

/// What a sale is settled with, and how it is served.
#[derive(Clone, Debug)]
pub struct Goods {
    pub payload: PaymentPayload,
    pub requirements: PaymentRequirements,
    pub manner: Manner,
    /// In how many blocks it must be before what waits for it is given.
    pub confirmations: NonZeroU64,
    /// The facilitator that was asked to carry it, or is about to be.
    pub carrier: Option<String>,
    /// Where it is paid out of a channel.
    pub step: Option<Box<Step>>,
    /// The document that says that it is worked for, where it is paid out of what is held.
    pub held: Option<Digest>,
}

/// What a sale that is paid out of a channel stands on.
#[derive(Clone, Debug)]
pub struct Step {
    pub channel: Channel,
    /// Charged in the channel before, all in all.
    pub before: Amount,
    /// As the escrow had it.
    pub state: ChannelState,
    /// The transaction of a deposit that came with it, and how much that was.
    pub deposited: Option<(String, Amount)>,
}

/// Channels whose figures are remembered. Of others the book is asked step by step.
const CHANNELS_MAX: usize = 100_000;

/// A settlement in a relayer's hand.
pub struct Turn<'a> {
    desk: &'a Desk,
    key: Option<(TenantId, Address)>,
    place: usize,
}

impl Turn<'_> {
    /// Which of those that were asked about.
    pub const fn place(&self) -> usize {
        self.place
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        if let Some(key) = &self.key
            && let Some(count) = locked(&self.desk.turns).get_mut(key)
        {
            *count = count.saturating_sub(1);
        }
    }
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

    pub fn swept_until(&self, tenant: &TenantId) -> SweptUntil {
        locked(&self.sweeps).get(tenant).copied().unwrap_or_default()
    }

    pub fn sweep_from(&self, tenant: &TenantId, until: SweptUntil) {
        locked(&self.sweeps).insert(tenant.clone(), until);
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

    pub fn put_off(&self, spend: SpendId) {
        let mut put_off = locked(&self.put_off);
        put_off.retain(|_, since| since.elapsed() < PUT_OFF_FOR);
        put_off.insert(spend, Instant::now());
    }

    pub fn is_put_off(&self, spend: SpendId) -> bool {
        locked(&self.put_off).get(&spend).is_some_and(|since| since.elapsed() < PUT_OFF_FOR)
    }

    /// So much was charged in a channel, all in all.
    pub fn charged(&self, tenant: &TenantId, channel: B256, so_far: Amount) {
        let mut charged = locked(&self.charged);
        if charged.len() >= CHANNELS_MAX {
            charged.pop_first();
        }
        let known = charged.entry((tenant.clone(), channel)).or_default();
        *known = so_far.max(*known);
    }

    pub fn charged_so_far(&self, tenant: &TenantId, channel: B256) -> Option<Amount> {
        locked(&self.charged).get(&(tenant.clone(), channel)).copied()
    }

    /// This step of a channel was begun.
    pub fn stepped(&self, tenant: &TenantId, first: &Authorization, number: u64) {
        let mut steps = locked(&self.steps);
        if steps.len() >= CHANNELS_MAX {
            steps.pop_first();
        }
        let known = steps.entry((tenant.clone(), first.clone())).or_default();
        *known = number.max(*known);
    }

    pub fn step_so_far(&self, tenant: &TenantId, first: &Authorization) -> u64 {
        locked(&self.steps).get(&(tenant.clone(), first.clone())).copied().unwrap_or_default()
    }

    /// Whether it is known here for how long a settlement has waited.
    pub fn has_waited(&self, tenant: &TenantId, key: &SettlementKey) -> bool {
        locked(&self.waiting).contains_key(&(tenant.clone(), key.clone()))
    }

    /// It has waited so long already, before this process began.
    pub fn waited_before(&self, tenant: &TenantId, key: &SettlementKey, before: Duration) {
        if let Some(since) = Instant::now().checked_sub(before) {
            locked(&self.waiting).entry((tenant.clone(), key.clone())).or_insert(since);
        }
    }

    /// How long a settlement has waited for a block since it was first asked about.
    pub fn waited(&self, tenant: &TenantId, key: &SettlementKey) -> Duration {
        let mut waiting = locked(&self.waiting);
        if waiting.len() >= WAITING_MAX {
            waiting.clear();
        }
        waiting.entry((tenant.clone(), key.clone())).or_insert_with(Instant::now).elapsed()
    }

    pub fn waits_no_more(&self, tenant: &TenantId, key: &SettlementKey) {
        locked(&self.waiting).remove(&(tenant.clone(), key.clone()));
    }

    /// The relayer of these that has the least in hand, the first of equals; it has one more until the turn is over.
    pub fn turn(&self, tenant: &TenantId, relayers: impl Iterator<Item = Address>) -> Turn<'_> {
        let mut turns = locked(&self.turns);
        let counted = relayers.enumerate().map(|(place, relayer)| {
            let key = (tenant.clone(), relayer);
            (turns.get(&key).copied().unwrap_or_default(), place, key)
        });
        let least = counted.min_by_key(|(count, place, _)| (*count, *place));
        let (place, key) = least.map_or((0, None), |(_, place, key)| (place, Some(key)));
        if let Some(key) = &key {
            let count = turns.entry(key.clone()).or_default();
            *count = count.saturating_add(1);
        }
        Turn { desk: self, key, place }
    }

    /// From taking a nonce until its transaction is written down one settlement has the account: else one that comes to
    /// nothing would leave a gap behind which the next one is never mined.
    pub async fn pen(&self, tenant: &TenantId, relayer: Address) -> tokio::sync::OwnedMutexGuard<()> {
        let pen = locked(&self.pens).entry((tenant.clone(), relayer)).or_default().clone();
        pen.lock_owned().await
    }

    pub fn queue(&self, tenant: &TenantId, relayer: Address, waiting: Waiting) {
        locked(&self.queues).entry((tenant.clone(), relayer)).or_default().push_back(waiting);
    }

    /// Takes along at most so many of those who still wait.
    pub fn unqueue(&self, tenant: &TenantId, relayer: Address, most: usize) -> Vec<Waiting> {
        let mut queues = locked(&self.queues);
        let Some(queue) = queues.get_mut(&(tenant.clone(), relayer)) else { return Vec::new() };
        queue.retain(Waiting::is_waiting);
        queue.drain(..most.min(queue.len())).collect()
    }

    pub fn failed_among_others(&self, tenant: &TenantId, key: &SettlementKey) {
        let mut loners = locked(&self.loners);
        if loners.len() >= LONERS_MAX {
            loners.pop_first();
        }
        loners.insert((tenant.clone(), key.clone()));
    }

    pub fn goes_alone(&self, tenant: &TenantId, key: &SettlementKey) -> bool {
        locked(&self.loners).contains(&(tenant.clone(), key.clone()))
    }

    pub fn lane(&self, tenant: &TenantId, relayer: Address) -> SharedLane {
        locked(&self.lanes).entry((tenant.clone(), relayer)).or_default().clone()
    }

    pub fn is_doubtful(&self, lane: &SharedLane, pending: u64) -> bool {
        locked(lane).is_doubtful(pending)
    }

    pub fn open_lane(&self, lane: &SharedLane, pending: u64, taken: &BTreeSet<u64>) {
        locked(lane).open(pending, taken);
    }

    /// What was seen the last time instead.
    pub fn saw_holes(&self, tenant: &TenantId, relayer: Address, holes: BTreeSet<u64>) -> BTreeSet<u64> {
        locked(&self.holes).insert((tenant.clone(), relayer), holes).unwrap_or_default()
    }

    /// What a nonce was given out for is over, and the chain never saw it: the book says which ones are free now.
    pub fn distrust_lanes(&self, tenant: &TenantId) {
        for ((whose, _), lane) in locked(&self.lanes).iter() {
            if whose == tenant {
                locked(lane).distrust();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn desk() -> (Desk, TenantId, Address) {
        (Desk::default(), "tenant".parse().unwrap(), Address::repeat_byte(1))
    }

    #[test]
    fn whoever_has_the_least_in_hand_is_next() {
        let (desk, tenant, first) = desk();
        let relayers = || [first, Address::repeat_byte(2), Address::repeat_byte(3)].into_iter();
        let mut turns: Vec<_> = (0..4).map(|_| desk.turn(&tenant, relayers())).collect();
        assert_eq!(turns.iter().map(Turn::place).collect::<Vec<_>>(), [0, 1, 2, 0]);
        turns.remove(1);
        assert_eq!(desk.turn(&tenant, relayers()).place(), 1);
        assert_eq!(desk.turn(&tenant, std::iter::empty()).place(), 0);
    }
}
