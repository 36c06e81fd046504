//! Payers that are contracts: asking them, and moving their money by the overload that takes bytes.

use alloy::primitives::{Address, B256, Bytes, FixedBytes};
use alloy::sol;
use alloy::sol_types::SolCall;
use x402::chain::{Deployment, WalletAnswer, WalletCall};
use x402::exact::WalletSignature;

use crate::multicall::{Call3, aggregate, results};

sol! {
    /// ERC-1271.
    interface Wallet {
        function isValidSignature(bytes32 hash, bytes signature) external view returns (bytes4);
    }

    /// EIP-3009 as Circle's token has had it since its version 2.2.
    interface TokenWithBytes {
        function transferWithAuthorization(
            address from, address to, uint256 value, uint256 validAfter, uint256 validBefore, bytes32 nonce,
            bytes signature
        ) external;
    }
}

/// The one answer that says yes: the selector of the question, and zeros.
const YES: FixedBytes<32> = {
    let mut yes = [0; 32];
    [yes[0], yes[1], yes[2], yes[3]] = Wallet::isValidSignatureCall::SELECTOR;
    FixedBytes(yes)
};

/// Whom to call, and with what, to learn whether a wallet signed.
pub(crate) fn question(wallet: Address, digest: B256, signature: &WalletSignature) -> (Address, Bytes) {
    let asked = Wallet::isValidSignatureCall { hash: digest, signature: signature.inner.clone() };
    let asked: Bytes = asked.abi_encode().into();
    match &signature.deployment {
        None => (wallet, asked),
        Some(deployment) => {
            aggregate(vec![made(deployment), Call3 { target: wallet, allowFailure: true, callData: asked }])
        }
    }
}

/// `None` where the node answered neither yes nor no.
pub(crate) fn answer(signature: &WalletSignature, output: &[u8]) -> Option<WalletAnswer> {
    if signature.deployment.is_none() {
        return Some(said(output));
    }
    let answers = results(output)?;
    let [_, asked] = answers.as_slice() else { return None };
    Some(match asked.success {
        // Who has no code takes every call, and says nothing.
        true if asked.returnData.is_empty() => WalletAnswer::NotMade,
        true => said(&asked.returnData),
        false => WalletAnswer::Refused,
    })
}

fn said(output: &[u8]) -> WalletAnswer {
    if output == YES.as_slice() { WalletAnswer::Signed } else { WalletAnswer::Refused }
}

/// Somebody may have made it meanwhile, and then its factory may fail.
fn made(deployment: &Deployment) -> Call3 {
    Call3 { target: deployment.factory, allowFailure: true, callData: deployment.calldata.clone() }
}

/// Whom the relayer calls to settle. A wallet that is not there yet is made in the same transaction, by a contract that has
/// nothing to lose: the factory never sees the relayer as its caller.
pub(crate) fn settle_input(call: &WalletCall) -> (Address, Bytes) {
    let authorization = &call.authorization;
    let transfer = TokenWithBytes::transferWithAuthorizationCall {
        from: authorization.from,
        to: authorization.to,
        value: authorization.value,
        validAfter: authorization.valid_after,
        validBefore: authorization.valid_before,
        nonce: authorization.nonce,
        signature: call.signature.inner.clone(),
    };
    let transfer: Bytes = transfer.abi_encode().into();
    match &call.signature.deployment {
        None => (call.asset, transfer),
        Some(deployment) => {
            aggregate(vec![made(deployment), Call3 { target: call.asset, allowFailure: false, callData: transfer }])
        }
    }
}
