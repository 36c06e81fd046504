//! What other schemes call a reason that this one has a name of its own for.

use crate::reason::Reason;

/// The reason as this scheme spells it on the wire. Within, a deposit is an authorization like any other.
pub const fn spelled(reason: Reason) -> Reason {
    match reason {
        Reason::MissingDomain => Reason::BatchMissingDomain,
        Reason::NetworkMismatch => Reason::BatchNetworkMismatch,
        Reason::ValidBefore => Reason::BatchValidBefore,
        Reason::ValidAfter => Reason::BatchValidAfter,
        Reason::Signature | Reason::SignatureFormat | Reason::UndeployedWallet => Reason::BatchReceiveSignature,
        Reason::FactoryNotAllowed => Reason::BatchFactoryNotAllowed,
        Reason::WalletDeploymentFailed => Reason::BatchWalletDeployment,
        Reason::InsufficientBalance => Reason::BatchInsufficientBalance,
        // The official facilitators know a used nonce from the simulation alone. The message says which it is.
        Reason::NonceAlreadyUsed | Reason::SimulationFailed => Reason::BatchDepositSimulation,
        Reason::TransactionFailed => Reason::BatchDepositFailed,
        other => other,
    }
}
