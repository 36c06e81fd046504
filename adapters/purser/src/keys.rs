//! Keys in this process: derived from one master key, each for one tenant and one purpose.
//!
//! The master key comes from the environment or a file. Losing it loses every key below it: mandates can no longer be
//! issued, and a wallet whose key was derived can no longer be spent from.

use std::fmt;

use async_trait::async_trait;
use engine::ports::{Clock, Entropy, MandateSigner, SignError, WalletSigner};
use hmac::{Hmac, Mac};
use ledger::id::Micros;
use ledger::spend::Spend;
use mandates::jws::Unsigned;
use mandates::keys::{KeyId, LocalKey, PublicKey};
use sha2::Sha256;
use x402::exact::WalletKey;
use x402::select::Unsigned as UnsignedPayment;
use x402::wire::PaymentPayload;

/// Draws allowed for a scalar: one in 2^32 is none, so a second is never needed in practice.
const DRAWS_MAX: u8 = 8;

#[derive(Clone)]
pub struct MasterKey([u8; 32]);

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    #[error("the master key is 64 hexadecimal digits; {0} characters were given")]
    MasterKey(usize),
    #[error("the key {0} could not be made")]
    Derivation(String),
    #[error("the operating system gives no randomness: {0}")]
    Entropy(String),
}

impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MasterKey(..)")
    }
}

impl MasterKey {
    pub fn random() -> Result<Self, KeyError> {
        Ok(Self(random_bytes()?))
    }

    pub fn from_hex(text: &str) -> Result<Self, KeyError> {
        let text = text.trim();
        let bytes = hex::decode(text).ok().and_then(|bytes| <[u8; 32]>::try_from(bytes).ok());
        bytes.map(Self).ok_or(KeyError::MasterKey(text.chars().count()))
    }

    pub fn to_hex(&self) -> String {
        hex::encode(self.0)
    }

    /// HMAC-SHA-256 of the label's parts under the master key.
    pub fn derive(&self, purpose: &str, owner: &str, draw: u8) -> Result<[u8; 32], KeyError> {
        let failed = |_| KeyError::Derivation(format!("{purpose}/{owner}"));
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0).map_err(failed)?;
        for part in ["purser/key/1", purpose, owner] {
            mac.update(&u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
            mac.update(part.as_bytes());
        }
        mac.update(&[draw]);
        Ok(mac.finalize().into_bytes().into())
    }

    /// An ES256 key, named by its RFC 7638 thumbprint.
    pub fn es256(&self, purpose: &str, owner: &str) -> Result<LocalKey, KeyError> {
        for draw in 0..DRAWS_MAX {
            if let Ok(key) = LocalKey::from_random(&self.derive(purpose, owner, draw)?) {
                let name = KeyId::new(key.public().thumbprint());
                return Ok(key.named(name));
            }
        }
        Err(KeyError::Derivation(format!("{purpose}/{owner}")))
    }

    /// A secp256k1 key.
    pub fn secp256k1(&self, purpose: &str, owner: &str) -> Result<[u8; 32], KeyError> {
        for draw in 0..DRAWS_MAX {
            let bytes = self.derive(purpose, owner, draw)?;
            if WalletKey::from_bytes(&bytes).is_ok() {
                return Ok(bytes);
            }
        }
        Err(KeyError::Derivation(format!("{purpose}/{owner}")))
    }
}

fn random_bytes() -> Result<[u8; 32], KeyError> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(|error| KeyError::Entropy(error.to_string()))?;
    Ok(bytes)
}

/// An ES256 signer whose key is in memory.
pub struct LocalSigner(pub LocalKey);

#[async_trait]
impl MandateSigner for LocalSigner {
    fn public(&self) -> &PublicKey {
        self.0.public()
    }

    async fn sign(&self, unsigned: Unsigned) -> Result<String, SignError> {
        let signature = self.0.sign(unsigned.signing_input()).map_err(|error| SignError::Refused(error.to_string()))?;
        Ok(unsigned.finish(signature))
    }
}

/// A wallet whose key is in memory.
pub struct LocalWallet(WalletKey);

impl LocalWallet {
    pub fn new(bytes: &[u8; 32]) -> Result<Self, KeyError> {
        WalletKey::from_bytes(bytes).map(Self).map_err(|_| KeyError::Derivation("wallet".into()))
    }
}

#[async_trait]
impl WalletSigner for LocalWallet {
    fn address(&self) -> String {
        format!("{:#x}", self.0.address())
    }

    async fn sign(&self, spend: &Spend, payment: &UnsignedPayment<'_>) -> Result<PaymentPayload, SignError> {
        check_committed(spend, payment)?;
        payment.sign(&self.0).map_err(|error| SignError::Refused(error.to_string()))
    }
}

/// The book comes first: what is signed is what was committed, to the unit and to the second.
fn check_committed(spend: &Spend, payment: &UnsignedPayment<'_>) -> Result<(), SignError> {
    use ledger::spend::SpendState::{Committed, Settled, SpentOtherwise, Submitted, Unknown};
    if !matches!(spend.state, Committed | Submitted | Unknown | Settled | SpentOtherwise) {
        return Err(SignError::Refused(format!("spend {} is {}, committed was expected", spend.id, spend.state)));
    }
    let expected = payment.expected();
    let key = expected.key;
    let asset = key.network.asset_id(key.token).map_err(|error| SignError::Refused(error.to_string()))?;
    let agrees = key.network.to_string() == spend.authorization.network
        && asset == spend.authorization.asset
        && format!("{:#x}", key.payer) == spend.authorization.payer
        && key.nonce.0 == spend.authorization.nonce
        && format!("{:#x}", expected.to) == spend.pay_to
        && expected.value.to_string() == spend.money.amount.to_string()
        && i64::try_from(expected.valid_before).ok() == Some(spend.valid_before);
    if agrees {
        Ok(())
    } else {
        Err(SignError::Refused(format!("the payment to sign is not the one that spend {} committed", spend.id)))
    }
}

pub struct WallClock;

impl Clock for WallClock {
    fn now(&self) -> Micros {
        (store::wall_clock())()
    }
}

pub struct OsEntropy;

impl Entropy for OsEntropy {
    fn bytes(&self) -> Result<[u8; 32], SignError> {
        random_bytes().map_err(|error| SignError::Unavailable(error.to_string()))
    }
}
