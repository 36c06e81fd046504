//! What shows that a right to move money is over.

use crate::id::{RailReference, SpendId};
use crate::money::Amount;
use crate::spend::UnusedProof;

#[derive(Clone, Debug)]
pub enum ReleaseProof {
    Unused(UnusedProof),
    /// `AuthorizationCanceled` in a finalized block.
    Canceled(RailReference),
}

#[derive(Clone, Debug)]
pub enum FailureProof {
    Unused(UnusedProof),
    /// Our own transaction is mined and reverted; or this one of somebody else's used the authorization up.
    Reverted(RailReference),
}

/// Why a voucher is good for no more than was charged.
#[derive(Clone, Debug)]
pub enum Covering {
    /// A later voucher of the channel, for as much or more, which has its own money: whoever claims by this one claims that.
    Step(SpendId),
    /// A final block shows everything claimed that lies in the channel, and no deposit is under way; so much was charged.
    Closed { charged: Amount, proof: UnusedProof },
}
