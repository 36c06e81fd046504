//! What other schemes call a reason that this one has a name of its own for.

use crate::reason::Reason;

/// The reason as this scheme spells it on the wire. Within, what is held is an authorization like any other.
pub const fn spelled(reason: Reason) -> Reason {
    match reason {
        Reason::MissingDomain => Reason::CaptureExtra,
        Reason::NetworkMismatch => Reason::CaptureNetworkMismatch,
        Reason::Signature | Reason::SignatureFormat | Reason::UndeployedWallet | Reason::WalletDeploymentFailed => {
            Reason::CaptureSignature
        }
        Reason::FactoryNotAllowed => Reason::CaptureFactoryNotAllowed,
        Reason::InsufficientBalance => Reason::CaptureInsufficientBalance,
        Reason::NonceAlreadyUsed => Reason::CaptureAlreadyCollected,
        Reason::SimulationFailed => Reason::CaptureSimulation,
        Reason::TransactionFailed => Reason::CaptureReverted,
        other => other,
    }
}
