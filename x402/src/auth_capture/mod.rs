//! Scheme `auth-capture` on EVM (`scheme_auth_capture_evm.md`): a payer's money goes into an escrow at the request, and from
//! there to whoever is paid, wholly or in parts (capture), or back (void).
//!
//! The payer signs one authorization of EIP-3009 to the escrow's collector. Its nonce is the hash of all that may become of
//! the money ([`PaymentInfo`]), so a payment is an authorization like any other ([`check_payment`]). What a payee asks for
//! afterwards is signed by its *receiver authorizer* ([`Request`]) and is a call of the escrow ([`EscrowCall`]) that only the
//! operator can make: the facilitator.
//!
//! In the flow `authorization` nothing is held: the payee adds what it takes to the payment, signed by the same authorizer
//! ([`ChargeRequest`]), and that is captured at once.
//!
//! Taken are the operator type `delegated` and tokens with EIP-3009; everything else is refused by name.

pub mod abi;
mod call;
mod charge;
mod check;
mod dates;
mod held;
mod info;
mod request;
mod say;
mod spelling;
mod terms;
#[cfg(test)]
mod tests;

pub use call::{EscrowCall, EscrowLog, EscrowState, record_of, refused_by_escrow};
pub use charge::ChargeRequest;
pub use check::{Escrowed, Taken, check_payment, read_payment};
pub use dates::{dated, dated_as, undated};
pub(crate) use held::observe_held;
pub use held::{Held, HeldKind, HeldLog};
pub use info::{PaymentInfo, bound_salt, capture_digest, charge_digest, void_digest};
pub use request::{Capture, Kind, Request, is_request};
pub use say::{capture_payload, charge_payload, void_payload};
pub use spelling::spelled;
pub use terms::{EscrowTerms, Flow, terms};

use alloy_primitives::{Address, address};

use crate::reason::Reason;

/// The name of the scheme on the wire.
pub const SCHEME: &str = "auth-capture";
/// Of a payload of another scheme, and of one for another network.
pub const FRAME: (Reason, Reason) = (Reason::CaptureScheme, Reason::CaptureNetworkMismatch);

/// Where the contracts of base/commerce-payments stand, at the same addresses on every chain that has them. The structure
/// that is signed is the same in both; what a capture takes as its fee is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deployment {
    V1_0,
    /// What terms mean that name no escrow. Payments for it are read; nothing here calls it, for its source is not
    /// published.
    V1_1,
}

impl Deployment {
    pub const ALL: [Self; 2] = [Self::V1_0, Self::V1_1];

    /// `AuthCaptureEscrow`.
    pub const fn escrow(self) -> Address {
        match self {
            Self::V1_0 => address!("BdEA0D1bcC5966192B070Fdf62aB4EF5b4420cff"),
            Self::V1_1 => address!("f96815976523E00e65Be8f34cA5e64b4f41EB19c"),
        }
    }

    /// `ERC3009PaymentCollector`: whom a payer authorizes, and who can only pass it on to the escrow's store.
    pub const fn eip3009_collector(self) -> Address {
        match self {
            Self::V1_0 => address!("0E3dF9510de65469C4518D7843919c0b8C7A7757"),
            Self::V1_1 => address!("8612dfdc421f80336cd14E8EF9cb1E765dB5ab88"),
        }
    }
}

/// The one that is called.
pub const ESCROW: Address = Deployment::V1_0.escrow();
pub const EIP3009_COLLECTOR: Address = Deployment::V1_0.eip3009_collector();
