//! The test dollar of the devnet, and the parts of EIP-20 and EIP-3009 that the port reads.

use alloy::primitives::{Address, B256, Bytes, address, hex};
use alloy::sol;
use alloy::sol_types::{SolCall, SolValue};
use x402::chain::{CancelCall, TransferCall};

/// Where the devnet's token lives: the contract that [`crate::accounts::DEPLOYER`] creates with nonce 0.
pub const ADDRESS: Address = address!("700b6A60ce7EaaEA56F065753d8dcB9653dbAD35");
/// The EIP-712 domain of the token, and its scale.
pub const NAME: &str = "USD Coin";
pub const SYMBOL: &str = "USDC";
pub const VERSION: &str = "2";
pub const DECIMALS: u8 = 6;

/// Source, compiler and settings stand beside it: `fixtures/contracts/README.md`.
const ARTIFACT: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../fixtures/contracts/TestDollar.json"));

sol! {
    /// EIP-20, EIP-2612 and EIP-3009, as far as Purser speaks them.
    interface Token {
        function name() external view returns (string);
        function version() external view returns (string);
        function decimals() external view returns (uint8);
        function DOMAIN_SEPARATOR() external view returns (bytes32);
        function balanceOf(address owner) external view returns (uint256);
        function allowance(address owner, address spender) external view returns (uint256);
        function approve(address spender, uint256 value) external returns (bool);
        function nonces(address owner) external view returns (uint256);
        function mint(address to, uint256 value) external returns (bool);
        function authorizationState(address authorizer, bytes32 nonce) external view returns (bool);
        function transferWithAuthorization(
            address from, address to, uint256 value, uint256 validAfter, uint256 validBefore, bytes32 nonce,
            uint8 v, bytes32 r, bytes32 s
        ) external;
        function cancelAuthorization(address authorizer, bytes32 nonce, uint8 v, bytes32 r, bytes32 s) external;

        event Transfer(address indexed from, address indexed to, uint256 value);
        event AuthorizationUsed(address indexed authorizer, bytes32 indexed nonce);
        event AuthorizationCanceled(address indexed authorizer, bytes32 indexed nonce);
    }
}

#[derive(serde::Deserialize)]
struct Artifact {
    bytecode: String,
}

/// What the deployer sends: creation bytecode and the constructor's arguments.
pub(crate) fn creation_code() -> Result<Bytes, String> {
    let artifact: Artifact = serde_json::from_str(ARTIFACT).map_err(|e| format!("the artifact is not JSON: {e}"))?;
    let mut code = hex::decode(&artifact.bytecode).map_err(|e| format!("the artifact's bytecode is not hex: {e}"))?;
    code.extend((NAME, SYMBOL).abi_encode_params());
    Ok(code.into())
}

/// `transferWithAuthorization` with (v, r, s): the form that every EIP-3009 token has.
pub(crate) fn transfer_input(call: &TransferCall) -> Bytes {
    let (v, r, s) = parts(&call.signature);
    let call = Token::transferWithAuthorizationCall {
        from: call.from,
        to: call.to,
        value: call.value,
        validAfter: call.valid_after,
        validBefore: call.valid_before,
        nonce: call.nonce,
        v,
        r,
        s,
    };
    call.abi_encode().into()
}

/// `cancelAuthorization` in the same form.
pub(crate) fn cancel_input(call: &CancelCall) -> Bytes {
    let (v, r, s) = parts(&call.signature);
    let call = Token::cancelAuthorizationCall { authorizer: call.authorizer, nonce: call.nonce, v, r, s };
    call.abi_encode().into()
}

fn parts(signature: &[u8; 65]) -> (u8, B256, B256) {
    let (r, rest) = signature.split_at(32);
    let (s, v) = rest.split_at(32);
    (v.first().copied().unwrap_or_default(), B256::from_slice(r), B256::from_slice(s))
}
