//! What may become of a payment's money, its names, and what a payee's authorizer signs (EIP-712).

use alloy_primitives::aliases::{U48, U120};
use alloy_primitives::{Address, B256, U256, keccak256};
use alloy_sol_types::{Eip712Domain, SolStruct, SolValue};

use super::{EIP3009_COLLECTOR, Taken, abi};
use crate::network::Network;
use crate::value::Amount;

mod typed {
    alloy_sol_types::sol! {
        struct Capture {
            bytes32 paymentInfoHash;
            uint256 amount;
            uint16 feeBps;
            address feeReceiver;
            uint256 expectedCapturableAmount;
            uint256 expectedRefundableAmount;
        }
        struct Charge {
            bytes32 paymentInfoHash;
            uint256 amount;
            address tokenCollector;
            bytes32 collectorDataHash;
            uint16 feeBps;
            address feeReceiver;
        }
        struct Void {
            bytes32 paymentInfoHash;
        }
    }
}

/// Tag of [`bound_salt`], as the specification gives it.
const SALT_BINDING: &[u8] = b"x402AuthCaptureSaltBinding(address receiverAuthorizer,address policy,uint256 saltNonce)";

/// The terms under which the escrow holds a payment. Times are Unix seconds, fees basis points.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PaymentInfo {
    /// Who alone may have the escrow do something with it.
    pub operator: Address,
    pub payer: Address,
    pub receiver: Address,
    pub token: Address,
    pub max_amount: U120,
    /// From then on the escrow takes no money for it.
    pub pre_approval_expiry: U48,
    /// From then on nothing is captured, and the payer can take back what is left.
    pub authorization_expiry: U48,
    pub refund_expiry: U48,
    pub min_fee_bps: u16,
    pub max_fee_bps: u16,
    pub fee_receiver: Address,
    pub salt: U256,
}

impl PaymentInfo {
    fn struct_hash(&self) -> B256 {
        abi::PaymentInfo::from(self).eip712_hash_struct()
    }

    /// What the escrow calls the payment (`getHash`).
    pub fn hash(&self, network: Network, escrow: Address) -> B256 {
        keccak256((U256::from(network.chain_id()), escrow, self.struct_hash()).abi_encode())
    }

    /// The nonce that the payer signs: the same without the payer, who is known by the signature.
    pub fn nonce(&self, network: Network, escrow: Address) -> B256 {
        Self { payer: Address::ZERO, ..*self }.hash(network, escrow)
    }
}

/// The salt of a payment that is bound to whoever authorizes its captures. No policy contract is taken, so that word is zero.
pub fn bound_salt(receiver_authorizer: Address, salt_nonce: B256) -> U256 {
    let words = (keccak256(SALT_BINDING), receiver_authorizer, Address::ZERO, U256::from_be_bytes(salt_nonce.0));
    U256::from_be_bytes(keccak256(words.abi_encode()).0)
}

fn domain(network: Network, operator: Address) -> Eip712Domain {
    Eip712Domain::new(
        Some("x402 Auth Capture Operator".into()),
        Some("1".into()),
        Some(U256::from(network.chain_id())),
        Some(operator),
        None,
    )
}

/// What the receiver's authorizer signs for a capture. The balances that it expects are what makes it good once.
pub fn capture_digest(network: Network, operator: Address, capture: &super::Capture, payment: B256) -> B256 {
    let word = |amount: Amount| U256::from(amount.get());
    typed::Capture {
        paymentInfoHash: payment,
        amount: word(capture.amount),
        feeBps: capture.fee_bps,
        feeReceiver: capture.fee_receiver,
        expectedCapturableAmount: word(capture.expected_capturable),
        expectedRefundableAmount: word(capture.expected_refundable),
    }
    .eip712_signing_hash(&domain(network, operator))
}

/// What the receiver's authorizer signs for a charge of a payment with this signature of its payer's.
pub fn charge_digest(network: Network, operator: Address, taken: &Taken, payment: B256, signature: &[u8]) -> B256 {
    typed::Charge {
        paymentInfoHash: payment,
        amount: U256::from(taken.amount.get()),
        tokenCollector: EIP3009_COLLECTOR,
        collectorDataHash: keccak256(signature),
        feeBps: taken.fee_bps,
        feeReceiver: taken.fee_receiver,
    }
    .eip712_signing_hash(&domain(network, operator))
}

/// What the receiver's authorizer signs so that the payer gets back what is held.
pub fn void_digest(network: Network, operator: Address, payment: B256) -> B256 {
    typed::Void { paymentInfoHash: payment }.eip712_signing_hash(&domain(network, operator))
}
