//! What is signed, and the signature.

use alloy_primitives::{Address, B256, U256};
use alloy_sol_types::{Eip712Domain, SolStruct};
use sha2::{Digest, Sha256};

use crate::value::ValueError;

/// Tag of [`nonce`].
const NONCE_TAG: &[u8] = b"purser/eip3009-nonce/1";

/// The nonce of the authorization that pays one spend under one mandate: SHA-256 over the tag, a zero byte, the
/// mandate's identity and the spend's id. The same purchase has the same nonce after a retry, a crash or a restored
/// backup, so that the token itself refuses to pay it twice.
pub fn nonce(mandate_identity: [u8; 32], spend_id: [u8; 32]) -> B256 {
    let mut hash = Sha256::new();
    hash.update(NONCE_TAG);
    hash.update([0]);
    hash.update(mandate_identity);
    hash.update(spend_id);
    B256::from(<[u8; 32]>::from(hash.finalize()))
}

/// The EIP-712 domain of a token: exactly these four fields (EIP-3009 leaves out the salt).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenDomain {
    pub name: String,
    pub version: String,
    pub chain_id: u64,
    pub verifying_contract: Address,
}

impl TokenDomain {
    /// What the contract answers as `DOMAIN_SEPARATOR()`.
    pub fn separator(&self) -> B256 {
        self.eip712().separator()
    }

    pub(crate) fn eip712(&self) -> Eip712Domain {
        Eip712Domain::new(
            Some(self.name.clone().into()),
            Some(self.version.clone().into()),
            Some(U256::from(self.chain_id)),
            Some(self.verifying_contract),
            None,
        )
    }
}

mod typed {
    alloy_sol_types::sol! {
        struct TransferWithAuthorization {
            address from;
            address to;
            uint256 value;
            uint256 validAfter;
            uint256 validBefore;
            bytes32 nonce;
        }

        struct CancelAuthorization {
            address authorizer;
            bytes32 nonce;
        }
    }
}

/// What the payer signs so that an authorization of theirs moves nothing any more (EIP-3009, `cancelAuthorization`).
pub fn cancellation_digest(authorizer: Address, nonce: B256, domain: &TokenDomain) -> B256 {
    typed::CancelAuthorization { authorizer, nonce }.eip712_signing_hash(&domain.eip712())
}

/// An EIP-3009 transfer as it is signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Authorization {
    pub from: Address,
    pub to: Address,
    pub value: U256,
    /// Unix seconds; the token wants `block.timestamp` strictly above.
    pub valid_after: U256,
    /// Unix seconds; the token wants `block.timestamp` strictly below.
    pub valid_before: U256,
    pub nonce: B256,
}

impl Authorization {
    /// What the key signs (EIP-712).
    pub fn digest(&self, domain: &TokenDomain) -> B256 {
        typed::TransferWithAuthorization {
            from: self.from,
            to: self.to,
            value: self.value,
            validAfter: self.valid_after,
            validBefore: self.valid_before,
            nonce: self.nonce,
        }
        .eip712_signing_hash(&domain.eip712())
    }
}

/// A signature of an externally owned account, in its one form: 65 bytes, `s` in the lower half, `v` 27 or 28.
///
/// Tokens refuse the other `s` (OpenZeppelin's and Circle's libraries check it), and a signature that has two forms
/// looks like two payments to whoever compares bytes. `v` of 0 or 1 is the same value in an older notation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EvmSignature([u8; 65]);

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    #[error(transparent)]
    Text(#[from] ValueError),
    #[error("a signature of an account has 65 bytes, this has {0}")]
    Length(usize),
    /// ERC-6492: the signature of a contract wallet that does not exist yet.
    #[error("an ERC-6492 signature of an undeployed wallet is not accepted")]
    Undeployed,
    #[error("v is 27 or 28 (or 0 or 1), this is {0}")]
    Parity(u8),
    #[error("r and s are between 1 and the order of the curve, s in the lower half of it")]
    Scalar,
    #[error("no key made this signature")]
    Unrecoverable,
}

/// The last 32 bytes of an ERC-6492 signature.
pub(super) const ERC6492_SUFFIX: [u8; 32] = {
    let mut suffix = [0; 32];
    let mut at = 0;
    while at < 32 {
        suffix[at] = if at % 2 == 0 { 0x64 } else { 0x92 };
        at += 1;
    }
    suffix
};

impl EvmSignature {
    pub fn read(text: &str) -> Result<Self, SignatureError> {
        Self::new(&crate::value::bytes(text, crate::limit::SIGNATURE_BYTES_MAX)?)
    }

    pub fn new(bytes: &[u8]) -> Result<Self, SignatureError> {
        if bytes.ends_with(&ERC6492_SUFFIX) {
            return Err(SignatureError::Undeployed);
        }
        let mut signature: [u8; 65] = bytes.try_into().map_err(|_| SignatureError::Length(bytes.len()))?;
        signature[64] = match signature[64] {
            0 | 27 => 27,
            1 | 28 => 28,
            other => return Err(SignatureError::Parity(other)),
        };
        let scalars = k256::ecdsa::Signature::from_slice(&signature[..64]).map_err(|_| SignatureError::Scalar)?;
        if scalars.normalize_s().is_some() {
            return Err(SignatureError::Scalar);
        }
        Ok(Self(signature))
    }

    pub const fn to_bytes(self) -> [u8; 65] {
        self.0
    }

    /// `0x` and 130 digits.
    pub fn to_text(self) -> String {
        format!("0x{}", hex::encode(self.0))
    }

    /// The address whose key signed. Any signature recovers to *some* address: compare it.
    pub fn recover(&self, digest: B256) -> Result<Address, SignatureError> {
        alloy_primitives::Signature::from_raw_array(&self.0)
            .and_then(|signature| signature.recover_address_from_prehash(&digest))
            .map_err(|_| SignatureError::Unrecoverable)
    }
}
