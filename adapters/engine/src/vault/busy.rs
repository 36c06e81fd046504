//! What this process has in hand. All of it can be lost: the book says what is under way.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use ledger::id::{Digest, SpendId};

use super::VaultError;

/// How long a processor that did not answer is left alone, for each payment.
const ASK_AGAIN: Duration = Duration::from_secs(1);

#[derive(Default)]
pub(crate) struct Busy {
    /// With the request that each is in hand for, where that has a key.
    in_hand: Mutex<BTreeMap<SpendId, Option<Digest>>>,
    asked: Mutex<BTreeMap<SpendId, Instant>>,
}

/// Lets go of a payment when the work on it ends, however it ends.
pub(crate) struct Held<'a> {
    busy: &'a Busy,
    payment: SpendId,
}

impl Busy {
    /// Refused where somebody in this process works on it: under the same key, or for something else.
    pub fn take(&self, payment: SpendId, work: Option<Digest>) -> Result<Held<'_>, VaultError> {
        let mut in_hand = self.in_hand.lock().unwrap_or_else(PoisonError::into_inner);
        match in_hand.get(&payment) {
            Some(other) if work.is_some() && *other == work => Err(VaultError::InFlight),
            Some(_) => Err(VaultError::Busy),
            None => {
                in_hand.insert(payment, work);
                // Made only where it was taken: letting go of one that was not would lock again, and let go of somebody
                // else's.
                Ok(Held { busy: self, payment })
            }
        }
    }

    /// Whether it is time to ask about this payment again; from now on it is not, for a while.
    pub fn is_due(&self, payment: SpendId) -> bool {
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        asked.retain(|_, at| at.elapsed() < ASK_AGAIN);
        if asked.contains_key(&payment) {
            return false;
        }
        asked.insert(payment, Instant::now());
        true
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.busy.in_hand.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.payment);
    }
}
