//! What is used once: the ids of proofs and assertions, remembered while they could still be used.
//!
//! In this process's memory: a proof lives a minute, and a restart inside that minute forgets it. What a repeated
//! call could do twice is guarded elsewhere, by the claims of the book.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};

/// Ids remembered at once. At a minute a proof this is 1,600 calls a second.
pub const REMEMBERED_MAX: usize = 100_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    First,
    Again,
    /// Too many are remembered: refused rather than forgotten.
    Full,
}

#[derive(Debug, Default)]
pub struct Replay {
    inner: Mutex<Remembered>,
}

#[derive(Debug, Default)]
struct Remembered {
    ids: BTreeSet<String>,
    /// Ids by the second from which on they can be forgotten.
    by_expiry: BTreeMap<i64, Vec<String>>,
}

impl Replay {
    /// `expires_at` is when the thing itself is refused for its age.
    pub fn use_once(&self, id: String, expires_at: i64, now: i64) -> Use {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.forget(now);
        if inner.ids.contains(&id) {
            return Use::Again;
        }
        if inner.ids.len() >= REMEMBERED_MAX {
            return Use::Full;
        }
        inner.ids.insert(id.clone());
        inner.by_expiry.entry(expires_at).or_default().push(id);
        Use::First
    }
}

impl Remembered {
    fn forget(&mut self, now: i64) {
        while let Some(entry) = self.by_expiry.first_entry() {
            if *entry.key() >= now {
                return;
            }
            for id in entry.remove() {
                self.ids.remove(&id);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_used_once_while_it_lives() {
        let replay = Replay::default();
        assert_eq!(replay.use_once("a".into(), 10, 1), Use::First);
        assert_eq!(replay.use_once("a".into(), 10, 10), Use::Again, "in its last second too");
        assert_eq!(replay.use_once("b".into(), 10, 10), Use::First);
        assert_eq!(replay.use_once("a".into(), 20, 11), Use::First, "its age refuses it by now");
    }

    #[test]
    fn a_full_memory_refuses_and_does_not_forget() {
        let replay = Replay::default();
        for number in 0..REMEMBERED_MAX {
            assert_eq!(replay.use_once(number.to_string(), 10, 1), Use::First);
        }
        assert_eq!(replay.use_once("new".into(), 10, 1), Use::Full);
        assert_eq!(replay.use_once("7".into(), 10, 1), Use::Again);
        assert_eq!(replay.use_once("new".into(), 20, 11), Use::First);
    }
}
