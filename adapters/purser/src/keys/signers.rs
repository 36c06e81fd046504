//! What the engine signs with: keys in this process's memory behind its ports.

use std::collections::BTreeMap;

use async_trait::async_trait;
use engine::ports::{MandateSigner, SignError, WalletSigner};
use ledger::spend::{CANCELLATION, ESCROW_CALL, PERMIT2, Spend, SpendState};
use mandates::jws::Unsigned;
use mandates::keys::{LocalKey, PublicKey};
use store::keys::KeyState;
use x402::chain::CancelCall;
use x402::exact::{TokenDomain, WalletKey, cancellation_digest};
use x402::network::Network;
use x402::select::Unsigned as UnsignedPayment;
use x402::settlement::{Charge, NonceSpace};
use x402::wire::PaymentPayload;

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

/// A wallet whose keys are in memory: one that pays, and those that paid before it.
pub struct LocalWallet {
    active: String,
    keys: BTreeMap<String, (WalletKey, KeyState)>,
}

impl LocalWallet {
    /// `None` where no key is active.
    pub fn new(keys: impl IntoIterator<Item = (WalletKey, KeyState)>) -> Option<Self> {
        let named = |(key, state): (WalletKey, KeyState)| (format!("{:#x}", key.address()), (key, state));
        let keys: BTreeMap<String, (WalletKey, KeyState)> = keys.into_iter().map(named).collect();
        let active = keys.iter().find(|(_, (_, state))| *state == KeyState::Active);
        let active = active.map(|(address, _)| address.clone())?;
        Some(Self { active, keys })
    }
}

#[async_trait]
impl WalletSigner for LocalWallet {
    fn address(&self) -> String {
        self.active.clone()
    }

    /// With the key of the payer that the spend was committed with: a retry after a rotation gives the same bytes.
    async fn sign(&self, spend: &Spend, payment: &UnsignedPayment<'_>) -> Result<PaymentPayload, SignError> {
        check_committed(spend, payment)?;
        let payer = &spend.authorization.payer;
        let (key, state) = self.keys.get(payer).ok_or_else(|| SignError::NoKey(payer.clone()))?;
        // What the chain has used up pays nothing more: evidence of it is given also after the key was revoked.
        let is_over = matches!(spend.state, SpendState::Settled | SpendState::SpentOtherwise);
        if *state == KeyState::Revoked && !is_over {
            return Err(SignError::NoKey(payer.clone()));
        }
        payment.sign(key).map_err(|error| SignError::Refused(error.to_string()))
    }

    /// With a revoked key too: it moves nothing.
    async fn cancel(&self, spend: &Spend, domain: &TokenDomain) -> Result<CancelCall, SignError> {
        check_cancellable(spend, domain)?;
        let payer = &spend.authorization.payer;
        let (key, _) = self.keys.get(payer).ok_or_else(|| SignError::NoKey(payer.clone()))?;
        let (asset, authorizer, nonce) = (domain.verifying_contract, key.address(), spend.authorization.nonce.into());
        let signed = key.sign(cancellation_digest(authorizer, nonce, domain));
        let signature = signed.map_err(|error| SignError::Refused(error.to_string()))?.to_bytes();
        Ok(CancelCall { asset, authorizer, nonce, signature })
    }
}

/// A signature may be out, for a nonce of this very token's.
fn check_cancellable(spend: &Spend, domain: &TokenDomain) -> Result<(), SignError> {
    if !spend.state.is_signed() {
        return Err(SignError::Refused(format!("spend {} is {}, committed was expected", spend.id, spend.state)));
    }
    let network = Network::new(domain.chain_id);
    let asset = network.and_then(|network| network.asset_id(domain.verifying_contract).ok());
    let is_of_chain = network.is_some_and(|network| network.to_string() == spend.authorization.network);
    if is_of_chain && asset.as_ref() == Some(&spend.authorization.asset) {
        return Ok(());
    }
    Err(SignError::Refused(format!("the token of the cancellation is not the one of spend {}", spend.id)))
}

/// The book comes first: what is signed is what was committed, to the unit and to the second.
fn check_committed(spend: &Spend, payment: &UnsignedPayment<'_>) -> Result<(), SignError> {
    use SpendState::{Committed, Settled, SpentOtherwise, Submitted, Unknown};
    if !matches!(spend.state, Committed | Submitted | Unknown | Settled | SpentOtherwise) {
        return Err(SignError::Refused(format!("spend {} is {}, committed was expected", spend.id, spend.state)));
    }
    let expected = payment.expected();
    let key = expected.key;
    let asset = key.network.asset_id(key.token).map_err(|error| SignError::Refused(error.to_string()))?;
    let space = match key.space {
        NonceSpace::Eip3009 => None,
        NonceSpace::Permit2 => Some(PERMIT2),
        NonceSpace::Escrow(_) => Some(ESCROW_CALL),
        NonceSpace::Cancel => Some(CANCELLATION),
    };
    let at_most = expected.charge == Charge::AtMost;
    // What a settled charge took says no more what was signed for; the offer does, which the spend names.
    let is_charged =
        at_most && spend.state == Settled && spend.purchase == ledger::id::Digest(payment.offer().digest());
    let agrees = key.network.to_string() == spend.authorization.chain()
        && space == spend.authorization.nonce_space()
        && asset == spend.authorization.asset
        && format!("{:#x}", key.payer) == spend.authorization.payer
        && key.nonce.0 == spend.authorization.nonce
        && format!("{:#x}", expected.to) == spend.pay_to
        && at_most == spend.authorization.is_at_most()
        && (expected.value.to_string() == spend.money.amount.to_string() || is_charged)
        && i64::try_from(expected.valid_before).ok() == Some(spend.valid_before);
    if agrees {
        Ok(())
    } else {
        Err(SignError::Refused(format!("the payment to sign is not the one that spend {} committed", spend.id)))
    }
}
