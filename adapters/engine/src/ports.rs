//! What the engine asks of the outside, beside the store and the chain.

use std::sync::Arc;

use alloy_primitives::{Address, Bytes, U256};
use async_trait::async_trait;
use commerce::signatures::Unsigned as UnsignedMessage;
use ledger::checkpoint::VerifierKey;
use ledger::id::{Digest, Micros, SpendId, TenantId};
use ledger::money::Amount;
use ledger::spend::Spend;
use mandates::did::Did;
use mandates::jws::Unsigned;
use mandates::keys::{KeySet, PublicKey};
use mandates::trust::Roots;
use serde_json::Value;
use x402::auth_capture::{Capture, PaymentInfo, Taken};
use x402::batch_settlement::{Channel, Claim, Draw};
use x402::chain::CancelCall;
use x402::exact::TokenDomain;
use x402::network::Network;
use x402::permit2::pledge::Pledge;
use x402::select::{Offer, Unsigned as Unsigned402};
use x402::sign_in::invitation::Invitation;
use x402::wire::{PaymentPayload, PaymentRequirements, SettleResponse, VerifyResponse};

pub trait Clock: Send + Sync {
    fn now(&self) -> Micros;
}

/// Randomness for names that need not be derived again: question ids, challenge nonces.
pub trait Entropy: Send + Sync {
    fn bytes(&self) -> Result<[u8; 32], SignError>;
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignError {
    #[error("no key {0} is held here")]
    NoKey(String),
    #[error("the signer refused: {0}")]
    Refused(String),
    #[error("the signer cannot be reached: {0}")]
    Unavailable(String),
}

/// ES256 keys: of the trusted surface (the Agent Provider), of agents, of merchants, of receipts.
///
/// One key one purpose: a key that signs for an agent is never the one that signs for a person.
#[async_trait]
pub trait MandateSigner: Send + Sync {
    fn public(&self) -> &PublicKey;
    /// Signs and assembles. The signer sees the whole signing input, not a digest somebody else computed.
    async fn sign(&self, unsigned: Unsigned) -> Result<String, SignError>;
    /// The same over an HTTP message: the values of `Signature-Input` and `Signature`.
    async fn sign_message(&self, unsigned: UnsignedMessage) -> Result<(String, String), SignError>;
}

/// A wallet's key. It takes the spend and the typed intent, and signs only what agrees with the book.
#[async_trait]
pub trait WalletSigner: Send + Sync {
    /// Lower-case address.
    fn address(&self) -> String;
    /// Refuses unless the spend is committed and the authorization is exactly the one that it names.
    async fn sign(&self, spend: &Spend, authorization: &Unsigned402<'_>) -> Result<PaymentPayload, SignError>;
    /// The same of a step of a channel, and with it the deposit that is claimed for it.
    async fn sign_voucher(&self, spend: &Spend, draw: &Draw<'_>) -> Result<PaymentPayload, SignError>;
    /// Asks for what is left in the channel of this step, which is the last one: pays nothing that is not paid.
    async fn ask_back(&self, last: &Spend, offer: &Offer, channel: &Channel) -> Result<PaymentPayload, SignError>;
    /// What lets Permit2 move the token for it, for exactly what the spend committed: the entry of an extension. Refuses as
    /// `sign` does.
    async fn pledge(&self, spend: &Spend, _: &Unsigned402<'_>, _: &Pledge) -> Result<Value, SignError> {
        Err(SignError::Refused(format!("spend {}: no allowance is signed here", spend.id)))
    }
    /// Says who comes back for what the spend paid: a text that moves nothing. Refuses where it is not settled, or the text is
    /// of another chain.
    async fn sign_in(&self, spend: &Spend, _: &Invitation) -> Result<String, SignError> {
        Err(SignError::Refused(format!("spend {}: nobody signs in here", spend.id)))
    }
    /// That what the spend committed moves nothing any more (EIP-3009, `cancelAuthorization`). Refuses where nothing may be
    /// signed, and where the domain is not that of the token that was signed for.
    async fn cancel(&self, spend: &Spend, domain: &TokenDomain) -> Result<CancelCall, SignError>;
}

/// Signs for the receiver of channels (x402, `batch-settlement`): what is claimed, and what goes back. With the key that each
/// channel names, also where that is not the newest one.
pub trait ChannelSigner: Send + Sync {
    /// Whom new channels name.
    fn address(&self) -> Address;
    /// All of one receiver's authorizer.
    fn sign_claims(&self, network: Network, claims: &[Claim]) -> Result<Bytes, SignError>;
    fn sign_refund(&self, network: Network, channel: &Channel, nonce: U256, amount: Amount)
    -> Result<Bytes, SignError>;
}

/// Signs for whoever is paid out of what an escrow holds (x402, `auth-capture`): what is taken of it, and that it goes back.
/// With the key that each payment's terms name, also where that is not the newest one.
pub trait HoldSigner: Send + Sync {
    /// Refuses more than was signed for.
    fn sign_capture(
        &self,
        authorizer: Address,
        network: Network,
        info: &PaymentInfo,
        capture: &Capture,
    ) -> Result<Bytes, SignError>;
    fn sign_void(&self, authorizer: Address, network: Network, info: &PaymentInfo) -> Result<Bytes, SignError>;
    /// `payers` is the payer's own signature. Refuses more than was signed for.
    fn sign_charge(
        &self,
        authorizer: Address,
        network: Network,
        info: &PaymentInfo,
        taken: &Taken,
        payers: &[u8],
    ) -> Result<Bytes, SignError>;
}

/// A facilitator as a seller sees it: a relay, whose word is checked.
#[async_trait]
pub trait Facilitator: Send + Sync {
    async fn verify(&self, payload: &PaymentPayload, requirements: &PaymentRequirements) -> Relayed<VerifyResponse>;
    async fn settle(&self, payload: &PaymentPayload, requirements: &PaymentRequirements) -> Relayed<SettleResponse>;
    /// Whether it says that it carries payments of this scheme on this network.
    async fn carries(&self, _requirements: &PaymentRequirements) -> Relayed<bool> {
        Relayed::Answer(true)
    }
    /// The extensions of the protocol that it says it takes.
    async fn extensions(&self) -> Relayed<Vec<String>> {
        Relayed::Answer(Vec::new())
    }
    /// The same as `settle`, for one who waits for the broadcast and not for a block: pending is answered where it can be.
    async fn submit(&self, payload: &PaymentPayload, requirements: &PaymentRequirements) -> Relayed<SettleResponse> {
        self.settle(payload, requirements).await
    }
}

/// Roots that are trusted beside a tenant's own, some of whose keys are published elsewhere.
#[async_trait]
pub trait TrustSource: Send + Sync {
    /// Every root, with the keys that this presented chain may need as far as they can be had.
    async fn roots_for(&self, presented: &str) -> Arc<dyn Roots>;
}

/// An answer, or none: which says nothing about what happened.
#[derive(Clone, Debug, PartialEq)]
pub enum Relayed<T> {
    Answer(T),
    Silence(String),
}

/// Status lists that others publish, for [`mandates::status::look`]. Whoever fetches them guards against addresses that
/// are none of the caller's business, and keeps a list no longer than its `ttl`.
#[async_trait]
pub trait StatusLists: Send + Sync {
    /// The token at this address. Silence says nothing of a mandate, least of all that it stands.
    async fn fetch(&self, uri: &str) -> Relayed<String>;
}

/// Documents of DIDs (did:web). Whoever fetches them guards as [`StatusLists`] does.
#[async_trait]
pub trait DidDocuments: Send + Sync {
    /// The keys with which this DID makes assertions. Silence says nothing of a signature.
    async fn keys(&self, did: &Did) -> Relayed<KeySet>;
}

/// Names a spend in logs and errors.
pub fn short(spend: SpendId) -> String {
    spend.to_string().chars().take(12).collect()
}

/// What is kept outside of the database, so that one that was set back is known for it.
#[async_trait]
pub trait Outside: Send + Sync {
    /// Writes down where a tenant's book stands and what is stopped there, durably.
    async fn note(&self, tenant: &TenantId) -> Result<(), String>;
}

/// Who signs for the head of a journal.
pub trait Checkpoints: Send + Sync {
    /// The signed note (c2sp.org/tlog-checkpoint), and the key that it verifies with.
    fn sign(&self, tenant: &TenantId, size: u64, root: Digest) -> Result<(String, VerifierKey), SignError>;
}
