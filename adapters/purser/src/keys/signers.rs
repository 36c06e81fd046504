//! What the engine signs with: keys in this process's memory behind its ports.

use std::collections::BTreeMap;

use async_trait::async_trait;
use commerce::signatures::Unsigned as UnsignedMessage;
use engine::ports::{MandateSigner, SignError, WalletSigner};
use ledger::spend::{ESCROW_CALL, PERMIT2, Spend, SpendState};
use mandates::jws::Unsigned;
use mandates::keys::{LocalKey, PublicKey};
use store::keys::KeyState;
use x402::exact::WalletKey;
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

    async fn sign_message(&self, unsigned: UnsignedMessage) -> Result<(String, String), SignError> {
        let signature = self.0.sign(unsigned.base()).map_err(|error| SignError::Refused(error.to_string()))?;
        Ok(unsigned.finish(&signature))
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
