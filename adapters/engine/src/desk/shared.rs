//! What several look at or send at the same moment, asked and sent once.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use alloy_primitives::B256;
use x402::chain::Receipt;

use super::{Desk, locked};

/// How long a transaction is remembered that nobody looks at any more.
const LOOKED_AT_FOR: Duration = Duration::from_secs(1);
/// The last final block is a lower bound for whoever searches from it, and only rises.
const FINAL_FOR: Duration = Duration::from_secs(1);
/// The same bytes are not sent more often. Shorter than the pause between two sweeps, which send what the node lost.
const SENT_FOR: Duration = Duration::from_millis(200);
/// Transactions remembered; the old ones are forgotten where there are more.
const REMEMBERED_MAX: usize = 1_000;

/// What a look at a transaction showed.
#[derive(Clone, Debug)]
pub struct Seen {
    /// When it was begun. Only who wanted to know before that shares it: to anybody else it may be old.
    pub begun: Instant,
    /// Read with it, and not after it.
    pub finalized: u64,
    pub receipt: Option<Receipt>,
}

/// Whoever looks first has it locked meanwhile; the others wait, and share.
pub type Look = Arc<tokio::sync::Mutex<Option<Seen>>>;

#[derive(Debug, Default)]
pub struct Shared {
    looks: Mutex<BTreeMap<B256, (Instant, Look)>>,
    sent: Mutex<BTreeMap<B256, Instant>>,
    finalized: Mutex<Option<(Instant, u64)>>,
}

impl Desk {
    pub fn look(&self, transaction: B256) -> Look {
        let mut looks = locked(&self.shared.looks);
        if looks.len() >= REMEMBERED_MAX {
            looks.retain(|_, (since, _)| since.elapsed() < LOOKED_AT_FOR);
        }
        let look = looks.entry(transaction).or_insert_with(|| (Instant::now(), Look::default()));
        look.0 = Instant::now();
        look.1.clone()
    }

    pub fn was_sent(&self, transaction: B256) -> bool {
        locked(&self.shared.sent).get(&transaction).is_some_and(|at| at.elapsed() < SENT_FOR)
    }

    pub fn sent(&self, transaction: B256) {
        let mut sent = locked(&self.shared.sent);
        if sent.len() >= REMEMBERED_MAX {
            sent.retain(|_, at| at.elapsed() < SENT_FOR);
        }
        sent.insert(transaction, Instant::now());
    }

    pub fn finalized_lately(&self) -> Option<u64> {
        locked(&self.shared.finalized).filter(|(at, _)| at.elapsed() < FINAL_FOR).map(|(_, number)| number)
    }

    pub fn is_final(&self, number: u64) {
        *locked(&self.shared.finalized) = Some((Instant::now(), number));
    }
}
