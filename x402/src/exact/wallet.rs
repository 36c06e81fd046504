//! Payers that are contracts: the chain says whether they signed (ERC-1271), also where they do not exist yet (ERC-6492).
//!
//! Which way a signature is checked follows from the code at the payer, never from the signature's length. An account
//! without code signs by its key. One that is delegated (EIP-7702) signs by its key too, as far as the token agrees,
//! which the simulation shows. Whatever else has code answers for itself. A contract may answer one thing now and another
//! thing later, so its word opens the door to a claim and a simulation, and to nothing else.

use alloy_primitives::{Address, Bytes, U256};
use alloy_sol_types::SolValue;

use super::authorization::ERC6492_SUFFIX;
use super::{EvmSignature, OnChainError, Signed, Terms, VerifiedPayment};
use crate::chain::{Chain, Deployment, WalletAnswer};
use crate::limit::SIGNATURE_BYTES_MAX;
use crate::permit2::sponsor::Sponsoring;
use crate::reason::Reason;
use crate::refusal::Refusal;
use crate::value;

const FIELD: &str = "payload.signature";

/// A delegation of EIP-7702 as `eth_getCode` shows it: these three bytes and an address.
const DELEGATION: [u8; 3] = [0xef, 0x01, 0x00];

/// Whether an account with this code can still sign by its key.
pub(super) fn keeps_its_key(code: &[u8]) -> bool {
    code.is_empty() || (code.len() == 23 && code.starts_with(&DELEGATION))
}

/// What a payment carries as its signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum PayerSignature {
    /// The payer's key made it: recovered.
    Key(EvmSignature),
    /// The payer called it its own, when it was asked.
    Wallet(WalletSignature),
}

/// Bytes that only the payer's contract can judge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WalletSignature {
    /// What the contract is shown.
    pub inner: Bytes,
    /// How the contract comes to be, where it is not there yet.
    pub deployment: Option<Deployment>,
}

impl PayerSignature {
    /// The bytes that a contract takes for it.
    pub fn shown(&self) -> Bytes {
        match self {
            Self::Key(signature) => Bytes::copy_from_slice(&signature.to_bytes()),
            Self::Wallet(signature) => signature.inner.clone(),
        }
    }
}

impl WalletSignature {
    pub(crate) fn read(text: &str) -> Result<Self, Refusal> {
        let malformed = |expected: &str| Refusal::new(Reason::SignatureFormat, FIELD, expected, text);
        let bytes = value::bytes(text, SIGNATURE_BYTES_MAX)
            .map_err(|error| Refusal::new(Reason::SignatureFormat, FIELD, error, text))?;
        let Some(wrapped) = bytes.strip_suffix(&ERC6492_SUFFIX) else {
            return Ok(Self { inner: bytes.into(), deployment: None });
        };
        let (factory, calldata, inner) = <(Address, Bytes, Bytes)>::abi_decode_params_validate(wrapped)
            .map_err(|_| malformed("factory, its calldata and a signature in an ERC-6492 wrapper"))?;
        if factory.is_zero() {
            return Err(malformed("an ERC-6492 wrapper that names a factory"));
        }
        if inner.ends_with(&ERC6492_SUFFIX) {
            return Err(malformed("one ERC-6492 wrapper, none within it"));
        }
        Ok(Self { inner, deployment: Some(Deployment { factory, calldata }) })
    }
}

/// A payment that meets its terms and whose signature no key of the payer's made: the chain must be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unproved {
    pub(super) terms: Terms,
    pub(super) signed: Signed,
    pub(super) charged: U256,
    pub(super) sponsored: Option<Sponsoring>,
    pub(super) signature: WalletSignature,
    /// Why it is no key's signature: the answer where the payer is no contract.
    pub(super) no_key: Refusal,
}

impl Unproved {
    pub const fn payer(&self) -> Address {
        self.signed.payer()
    }

    /// The answer of whoever takes the signatures of keys alone.
    pub fn into_refusal(self) -> Refusal {
        self.no_key
    }
}

/// What can be said of a payment without the chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Checked {
    ByKey(VerifiedPayment),
    ByWallet(Unproved),
}

impl Checked {
    /// As a payer with a key alone may be taken: offline.
    pub fn by_key(self) -> Result<VerifiedPayment, Refusal> {
        match self {
            Self::ByKey(payment) => Ok(payment),
            Self::ByWallet(unproved) => Err(unproved.into_refusal()),
        }
    }
}

/// Asks the payer's contract whether it signed. `factories` are those that may be called to make one: whoever is on the
/// list runs code at the relayer's expense, so it is empty unless an operator says otherwise.
///
/// Nothing may be claimed for a payment before this said yes, else anybody could burn a stranger's nonce.
pub async fn prove(
    chain: &dyn Chain,
    unproved: Unproved,
    factories: &[Address],
) -> Result<VerifiedPayment, OnChainError> {
    let Unproved { terms, signed, charged, sponsored, mut signature, no_key } = unproved;
    let (payer, digest) = (signed.payer(), signed.digest(&terms));
    if !chain.code(payer).await?.is_empty() {
        signature.deployment = None;
    } else {
        let Some(deployment) = &signature.deployment else { return Err(no_key.into()) };
        if matches!(signed, Signed::Permit2(_) | Signed::Deposit(_) | Signed::Escrowed(_)) {
            let expected = "a wallet that is there";
            return Err(Refusal::new(Reason::UndeployedWallet, FIELD, expected, "an ERC-6492 wrapper").into());
        }
        if !factories.contains(&deployment.factory) {
            let expected = "a factory that this service calls";
            return Err(Refusal::new(Reason::FactoryNotAllowed, FIELD, expected, deployment.factory).into());
        }
    }
    let refused = |reason, found: &str| {
        let expected = format!("a signature that the wallet {payer} calls its own (ERC-1271)");
        Err(Refusal::new(reason, FIELD, expected, found).into())
    };
    let not_its_own = match signed {
        Signed::Eip3009(_) => Reason::Signature,
        Signed::Permit2(_) => Reason::Permit2Signature,
        Signed::Deposit(_) => Reason::BatchReceiveSignature,
        Signed::Escrowed(_) => Reason::CaptureSignature,
    };
    match chain.wallet_answer(payer, digest, &signature).await? {
        WalletAnswer::Signed => {}
        WalletAnswer::Refused => return refused(not_its_own, "one that it does not"),
        WalletAnswer::NotMade => return refused(Reason::WalletDeploymentFailed, "its factory does not make it"),
    }
    Ok(VerifiedPayment { terms, signed, signature: PayerSignature::Wallet(signature), charged, sponsored })
}
