//! Permit2 and the proxies of x402 that move tokens by it: what the port calls, and what stands in the devnet's genesis.

use alloy::primitives::{Address, B256, Bytes, U256};
use alloy::sol;
use alloy::sol_types::SolCall;
use x402::chain::PermitCall;
use x402::permit2::sponsor::Sponsoring;
use x402::permit2::{Permit, Witness};

/// Origin, licence and how each was made stand beside it: `fixtures/contracts/README.md`.
const ARTIFACT: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../fixtures/contracts/Permit2.json"));

sol! {
    /// Uniswap's `ISignatureTransfer`, as far as Purser speaks it.
    interface Permit2 {
        function nonceBitmap(address owner, uint256 wordPos) external view returns (uint256);
        function invalidateUnorderedNonces(uint256 wordPos, uint256 mask) external;
        function DOMAIN_SEPARATOR() external view returns (bytes32);

        event UnorderedNonceInvalidation(address indexed owner, uint256 word, uint256 mask);
    }

    struct TokenPermissions {
        address token;
        uint256 amount;
    }
    struct PermitTransferFrom {
        TokenPermissions permitted;
        uint256 nonce;
        uint256 deadline;
    }
    /// What the proxies take before a permit, where Permit2 has no allowance.
    struct Eip2612Permit {
        uint256 value;
        uint256 deadline;
        bytes32 r;
        bytes32 s;
        uint8 v;
    }
    struct ExactWitness {
        address to;
        uint256 validAfter;
    }
    struct UptoWitness {
        address to;
        address facilitator;
        uint256 validAfter;
    }

    interface ExactProxy {
        function settle(
            PermitTransferFrom permit, address owner, ExactWitness witness, bytes signature
        ) external;
        function settleWithPermit(
            Eip2612Permit permit2612, PermitTransferFrom permit, address owner, ExactWitness witness, bytes signature
        ) external;
    }

    interface UptoProxy {
        function settle(
            PermitTransferFrom permit, uint256 amount, address owner, UptoWitness witness, bytes signature
        ) external;
        function settleWithPermit(
            Eip2612Permit permit2612, PermitTransferFrom permit, uint256 amount, address owner, UptoWitness witness,
            bytes signature
        ) external;
    }
}

/// The word of Permit2's bitmap that holds a nonce, and the bit in it.
pub(crate) fn place(nonce: B256) -> (U256, usize) {
    let number = U256::from_be_bytes(nonce.0);
    (number >> 8, usize::from(nonce.0[31]))
}

/// The call of the proxy that the permit names.
pub(crate) fn settle_input(call: &PermitCall) -> Bytes {
    let Permit { from: owner, token, amount, nonce, deadline, witness, .. } = call.permit;
    let permit = PermitTransferFrom { permitted: TokenPermissions { token, amount }, nonce, deadline };
    let signature = call.signature.clone();
    let permit2612 = call.sponsored.as_ref().and_then(Sponsoring::permit).map(|sponsored| {
        let (r, rest) = sponsored.signature.split_at(32);
        let (s, v) = rest.split_at(32);
        Eip2612Permit {
            value: sponsored.value,
            deadline: sponsored.deadline,
            r: B256::from_slice(r),
            s: B256::from_slice(s),
            v: v.first().copied().unwrap_or_default(),
        }
    });
    let amount = call.amount;
    match (witness, permit2612) {
        (Witness::Exact { to, valid_after }, None) => {
            let witness = ExactWitness { to, validAfter: valid_after };
            ExactProxy::settleCall { permit, owner, witness, signature }.abi_encode()
        }
        (Witness::Exact { to, valid_after }, Some(permit2612)) => {
            let witness = ExactWitness { to, validAfter: valid_after };
            ExactProxy::settleWithPermitCall { permit2612, permit, owner, witness, signature }.abi_encode()
        }
        (Witness::Upto { to, facilitator, valid_after }, None) => {
            let witness = UptoWitness { to, facilitator, validAfter: valid_after };
            UptoProxy::settleCall { permit, amount, owner, witness, signature }.abi_encode()
        }
        (Witness::Upto { to, facilitator, valid_after }, Some(permit2612)) => {
            let witness = UptoWitness { to, facilitator, validAfter: valid_after };
            UptoProxy::settleWithPermitCall { permit2612, permit, amount, owner, witness, signature }.abi_encode()
        }
    }
    .into()
}

/// Whose nonce a call of a proxy uses up, where it is one of its settlements.
pub(crate) fn settled_by(input: &[u8]) -> Option<(Address, B256)> {
    let exact = ExactProxy::settleCall::abi_decode_validate(input).ok().map(|call| (call.owner, call.permit.nonce));
    let sponsored = || ExactProxy::settleWithPermitCall::abi_decode_validate(input).ok();
    let upto = || UptoProxy::settleCall::abi_decode_validate(input).ok();
    let both = || UptoProxy::settleWithPermitCall::abi_decode_validate(input).ok();
    let found = exact
        .or_else(|| sponsored().map(|call| (call.owner, call.permit.nonce)))
        .or_else(|| upto().map(|call| (call.owner, call.permit.nonce)))
        .or_else(|| both().map(|call| (call.owner, call.permit.nonce)));
    found.map(|(owner, nonce)| (owner, B256::from(nonce)))
}

/// A contract as it is put into a genesis.
#[derive(serde::Deserialize)]
pub(crate) struct Deployed {
    pub(crate) address: Address,
    pub(crate) deployed: Bytes,
}

/// A contract that the CREATE2 deployer makes, at an address that follows from these bytes alone.
#[derive(serde::Deserialize)]
pub(crate) struct Created {
    pub(crate) address: Address,
    pub(crate) salt: B256,
    /// With the constructor's argument.
    pub(crate) creation: Bytes,
}

#[derive(serde::Deserialize)]
pub(crate) struct Contracts {
    pub(crate) deployer: Deployed,
    pub(crate) permit2: Deployed,
    pub(crate) exact: Created,
    pub(crate) upto: Created,
}

pub(crate) fn contracts() -> Result<Contracts, String> {
    serde_json::from_str(ARTIFACT).map_err(|error| format!("the artifact cannot be read: {error}"))
}
