//! The transaction nonces of a relayer's account. What was given out stands in the book; this is what the book and the node
//! said last.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::locked;

pub type SharedLane = Arc<Mutex<Lane>>;

/// How long a lane that is ahead of its node is believed. What was sent is seen there in a moment, or not at all.
const BELIEVED: Duration = Duration::from_secs(5);
/// Nonces between the node's and those of the book that are kept for the next ones to take.
const FREE_MAX: usize = 10_000;

#[derive(Debug, Default)]
pub struct Lane {
    /// `None` where the book must be read before one is given out.
    next: Option<u64>,
    /// Given out and not used, or used for what came to nothing, below `next`: what comes after one cannot be mined before it.
    free: BTreeSet<u64>,
    read: Option<Instant>,
}

impl Lane {
    /// Whether the book must be read first; `pending` is what the node would take next.
    pub fn is_doubtful(&self, pending: u64) -> bool {
        let is_old = self.read.is_none_or(|read| read.elapsed() >= BELIEVED);
        self.next.is_none_or(|next| next > pending && is_old)
    }

    /// As the book has it: these are taken by what may still be mined.
    pub fn open(&mut self, pending: u64, taken: &BTreeSet<u64>) {
        let next = taken.last().map_or(pending, |last| last.saturating_add(1).max(pending));
        self.free = (pending..next).filter(|nonce| !taken.contains(nonce)).take(FREE_MAX).collect();
        (self.next, self.read) = (Some(next), Some(Instant::now()));
    }

    /// Reads the book before the next one.
    pub fn distrust(&mut self) {
        self.next = None;
    }

    /// `pending` is what the node would take next; whatever is below it was sent.
    fn take(&mut self, pending: u64) -> u64 {
        self.free = self.free.split_off(&pending);
        if let Some(nonce) = self.free.pop_first() {
            return nonce;
        }
        let nonce = self.next.map_or(pending, |next| next.max(pending));
        self.next = Some(nonce.saturating_add(1));
        nonce
    }

    fn give_back(&mut self, nonce: u64) {
        if self.next == nonce.checked_add(1) {
            self.next = Some(nonce);
        } else {
            self.free.insert(nonce);
        }
    }
}

/// A nonce for one transaction. It goes back to its lane unless the transaction was written down, or may have been.
#[derive(Debug)]
pub struct HeldNonce {
    lane: SharedLane,
    nonce: Option<u64>,
}

impl HeldNonce {
    pub fn take(lane: &SharedLane, pending: u64) -> Self {
        let nonce = Some(locked(lane).take(pending));
        Self { lane: lane.clone(), nonce }
    }

    pub fn number(&self) -> u64 {
        self.nonce.unwrap_or_default()
    }

    pub fn used(mut self) {
        self.nonce = None;
    }

    /// Nobody knows whether it was written down: the book will say.
    pub fn doubted(mut self) {
        self.nonce = None;
        locked(&self.lane).distrust();
    }
}

impl Drop for HeldNonce {
    fn drop(&mut self) {
        if let Some(nonce) = self.nonce {
            locked(&self.lane).give_back(nonce);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(nonces: &[u64]) -> BTreeSet<u64> {
        nonces.iter().copied().collect()
    }

    fn take(lane: &SharedLane, pending: u64) -> HeldNonce {
        HeldNonce::take(lane, pending)
    }

    #[test]
    fn no_nonce_is_given_out_twice_and_none_is_left_out() {
        let lane = SharedLane::default();
        let held: Vec<_> = (0..4).map(|_| take(&lane, 7)).collect();
        assert_eq!(held.iter().map(HeldNonce::number).collect::<Vec<_>>(), [7, 8, 9, 10]);
        let mut held = held.into_iter();
        held.next().unwrap().used();
        // The second is given back while the third is used: it comes next, or the third is never mined.
        drop(held.next());
        held.next().unwrap().used();
        let again = take(&lane, 7);
        assert_eq!(again.number(), 8);
        again.used();
        drop(held.next());
        assert_eq!(take(&lane, 7).number(), 10, "the last one given back");
    }

    #[test]
    fn what_the_node_has_seen_is_not_used_again() {
        let lane = SharedLane::default();
        let (first, second) = (take(&lane, 0), take(&lane, 0));
        second.used();
        drop(first);
        assert_eq!(take(&lane, 5).number(), 5, "somebody else used the account");
    }

    #[test]
    fn what_the_book_has_is_not_given_out_and_a_hole_in_it_comes_first() {
        let lane = SharedLane::default();
        assert!(locked(&lane).is_doubtful(7), "nothing was read yet");
        locked(&lane).open(7, &taken(&[3, 8, 10]));
        assert!(!locked(&lane).is_doubtful(7), "read a moment ago");
        let numbers: Vec<_> = (0..4)
            .map(|_| {
                let held = take(&lane, 7);
                let number = held.number();
                held.used();
                number
            })
            .collect();
        assert_eq!(numbers, [7, 9, 11, 12]);
        locked(&lane).read = Instant::now().checked_sub(BELIEVED);
        assert!(locked(&lane).is_doubtful(7), "the node does not have what was sent so long ago");
        assert!(!locked(&lane).is_doubtful(13), "it has all of it");
    }

    #[test]
    fn what_came_to_nothing_is_free_once_the_book_says_so() {
        let lane = SharedLane::default();
        locked(&lane).open(7, &taken(&[]));
        let (first, second) = (take(&lane, 7), take(&lane, 7));
        first.used();
        second.doubted();
        assert!(locked(&lane).is_doubtful(7));
        locked(&lane).open(7, &taken(&[7]));
        assert_eq!(take(&lane, 7).number(), 8, "it was not written down");
        locked(&lane).distrust();
        locked(&lane).open(7, &taken(&[]));
        assert_eq!(take(&lane, 7).number(), 7, "and then the first one expired");
        locked(&lane).open(0, &taken(&[u64::MAX]));
        assert_eq!(take(&lane, 0).number(), 0);
    }
}
