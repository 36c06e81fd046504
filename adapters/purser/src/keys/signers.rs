//! What the engine signs with: keys in this process's memory behind its ports.

mod drawn;

use std::collections::BTreeMap;

use async_trait::async_trait;
use commerce::signatures::Unsigned as UnsignedMessage;
use engine::ports::{MandateSigner, SignError, WalletSigner};
use ledger::spend::{CANCELLATION, CHARGED, ESCROW_CALL, GAS_GRANT, HELD, PERMIT2, Spend, SpendState, VOUCHER};
use mandates::jws::Unsigned;
use mandates::keys::{LocalKey, PublicKey};
use store::keys::KeyState;
use x402::batch_settlement::{Channel, Draw};
use x402::chain::CancelCall;
use x402::exact::{TokenDomain, WalletKey, cancellation_digest};
use x402::network::Network;
use x402::permit2::pledge::Pledge;
use x402::select::{Offer, Unsigned as UnsignedPayment};
use x402::settlement::{Charge, NonceSpace};
use x402::sign_in::invitation::Invitation;
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

    fn key_of(&self, spend: &Spend) -> Result<&WalletKey, SignError> {
        let payer = &spend.authorization.payer;
        let (key, state) = self.keys.get(payer).ok_or_else(|| SignError::NoKey(payer.clone()))?;
        // What is used up pays nothing more: evidence of it is given also after the key was revoked.
        let is_over = matches!(spend.state, SpendState::Settled | SpendState::SpentOtherwise);
        if *state == KeyState::Revoked && !is_over {
            return Err(SignError::NoKey(payer.clone()));
        }
        Ok(key)
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
        payment.sign(self.key_of(spend)?).map_err(|error| SignError::Refused(error.to_string()))
    }

    async fn sign_voucher(&self, spend: &Spend, draw: &Draw<'_>) -> Result<PaymentPayload, SignError> {
        drawn::check_step(spend, draw)?;
        let key = self.key_of(spend)?;
        draw.sign(key).map_err(|error| SignError::Refused(error.to_string()))
    }

    async fn ask_back(&self, last: &Spend, offer: &Offer, channel: &Channel) -> Result<PaymentPayload, SignError> {
        let charged = drawn::charged_in(last, offer, channel)?;
        let key = self.key_of(last)?;
        x402::batch_settlement::ask_back(offer, channel, charged, key)
            .map_err(|error| SignError::Refused(error.to_string()))
    }

    async fn pledge(
        &self,
        spend: &Spend,
        payment: &UnsignedPayment<'_>,
        pledge: &Pledge,
    ) -> Result<serde_json::Value, SignError> {
        check_committed(spend, payment)?;
        payment.pledge(pledge, self.key_of(spend)?).map_err(|error| SignError::Refused(error.to_string()))
    }

    /// With the key that paid, and never with a revoked one: whoever has that may be anybody.
    async fn sign_in(&self, spend: &Spend, invitation: &Invitation) -> Result<String, SignError> {
        check_paid(spend, invitation)?;
        let payer = &spend.authorization.payer;
        let held = self.keys.get(payer).filter(|(_, state)| *state != KeyState::Revoked);
        let (key, _) = held.ok_or_else(|| SignError::NoKey(payer.clone()))?;
        invitation.sign(key).map_err(|error| SignError::Refused(error.to_string()))
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

/// What is said is that this paid: it did, on the chain that the text names.
fn check_paid(spend: &Spend, invitation: &Invitation) -> Result<(), SignError> {
    if spend.state != SpendState::Settled {
        return Err(SignError::Refused(format!("spend {} is {}, settled was expected", spend.id, spend.state)));
    }
    if invitation.network().to_string() == spend.authorization.chain() {
        return Ok(());
    }
    let (found, expected) = (invitation.network(), spend.authorization.chain());
    Err(SignError::Refused(format!("a text of {expected} was expected for spend {}, one of {found} came", spend.id)))
}

/// A signature may be out, for a nonce of this very token's.
fn check_cancellable(spend: &Spend, domain: &TokenDomain) -> Result<(), SignError> {
    if !spend.state.is_signed() {
        return Err(SignError::Refused(format!("spend {} is {}, committed was expected", spend.id, spend.state)));
    }
    let network = Network::new(domain.chain_id);
    let asset = network.and_then(|network| network.asset_id(domain.verifying_contract).ok());
    let is_of_chain = network.is_some_and(|network| network.to_string() == spend.authorization.chain());
    if is_of_chain && spend.authorization.can_be_cancelled() && asset.as_ref() == Some(&spend.authorization.asset) {
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
        NonceSpace::Voucher => Some(VOUCHER),
        NonceSpace::Held => Some(HELD),
        NonceSpace::Charged => Some(CHARGED),
        NonceSpace::Gas => Some(GAS_GRANT),
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

#[cfg(test)]
mod tests {
    use alloy_primitives::Address;
    use ledger::id::{BudgetId, Digest, Micros, SpendId};
    use ledger::money::Amount;
    use ledger::spend::Authorization;
    use ledger::transfer::{Money, TransferId};
    use x402::sign_in::invitation::Paid;
    use x402::sign_in::{Challenge, EXTENSION, Proof};

    use super::*;

    fn domain(chain_id: u64, token: u8) -> TokenDomain {
        let (name, version) = ("Dollar".to_owned(), "2".to_owned());
        TokenDomain { name, version, chain_id, verifying_contract: Address::repeat_byte(token) }
    }

    fn key() -> WalletKey {
        WalletKey::from_bytes(&[7; 32]).unwrap()
    }

    fn spend(state: SpendState) -> Spend {
        let asset = Network::new(8453).unwrap().asset_id(Address::repeat_byte(1)).unwrap();
        let payer = format!("{:#x}", key().address());
        let digest = Digest([3; 32]);
        Spend {
            id: SpendId([1; 32]),
            state,
            young: None,
            announced: None,
            budget: BudgetId([2; 32]),
            windows: Vec::new(),
            authority: Amount::new(1),
            money: Money { asset: asset.clone(), amount: Amount::new(1) },
            rate: None,
            payee: "shop".parse().unwrap(),
            pay_to: "0x02".into(),
            purchase: digest,
            authorization: Authorization { network: "eip155:8453".into(), asset, payer, nonce: [9; 32] },
            valid_before: 1,
            since_block: 0,
            expires_at: Micros(0),
            hold: TransferId { seq: 0, leg: 0 },
            transaction: None,
            refunded: Amount::ZERO,
            build: None,
            issuer: None,
            evidence: digest,
        }
    }

    fn invitation(chain_id: u64) -> Invitation {
        let challenge = Challenge {
            domain: "a.example".into(),
            uri: URI.into(),
            nonce: "0a1b".repeat(8),
            issued_at: 1_800_000_000,
        };
        let network = Network::new(chain_id).unwrap();
        let entry = challenge.declaration([network.to_string().as_str()].into_iter()).unwrap();
        let extensions = serde_json::Map::from_iter([(EXTENSION.to_owned(), entry)]);
        let paid = Paid { resource_url: URI, network, statements: &[] };
        Invitation::read(Some(&extensions), paid, 1_800_000_000).unwrap()
    }

    const URI: &str = "https://a.example/report";

    async fn signed_in(spend: &Spend, chain_id: u64, state: KeyState) -> Result<String, SignError> {
        let others = (WalletKey::from_bytes(&[8; 32]).unwrap(), KeyState::Active);
        LocalWallet::new([others, (key(), state)]).unwrap().sign_in(spend, &invitation(chain_id)).await
    }

    #[tokio::test]
    async fn nobody_comes_back_for_what_is_not_paid_or_by_a_key_that_is_not_ours_any_more() {
        for state in SpendState::ALL.iter().copied().filter(|state| *state != SpendState::Settled) {
            assert!(signed_in(&spend(state), 8453, KeyState::Retired).await.is_err(), "{state}");
        }
        let paid = spend(SpendState::Settled);
        assert!(signed_in(&paid, 1, KeyState::Retired).await.is_err(), "another chain");
        let revoked = signed_in(&paid, 8453, KeyState::Revoked).await;
        assert!(matches!(revoked, Err(SignError::NoKey(_))), "{revoked:?}");
        let mut strange = paid.clone();
        strange.authorization.payer = "0x0000000000000000000000000000000000000001".into();
        assert!(matches!(signed_in(&strange, 8453, KeyState::Retired).await, Err(SignError::NoKey(_))));
        let header = signed_in(&paid, 8453, KeyState::Retired).await.unwrap();
        let proof = Proof::read(header.as_bytes()).unwrap();
        assert!(proof.is_by_key().unwrap() && proof.address == key().address(), "by the key that paid");
    }

    async fn cancelled(spend: &Spend, domain: &TokenDomain, state: KeyState) -> Result<CancelCall, SignError> {
        let others = (WalletKey::from_bytes(&[8; 32]).unwrap(), KeyState::Active);
        LocalWallet::new([others, (key(), state)]).unwrap().cancel(spend, domain).await
    }

    #[tokio::test]
    async fn nothing_is_cancelled_that_was_not_signed_for_this_token() {
        let signed = spend(SpendState::Committed);
        let good = domain(8453, 1);
        for wrong in [domain(1, 1), domain(8453, 2), domain(0, 1)] {
            assert!(cancelled(&signed, &wrong, KeyState::Retired).await.is_err(), "{wrong:?}");
        }
        for state in SpendState::ALL.iter().copied().filter(|state| !state.is_signed()) {
            assert!(cancelled(&spend(state), &good, KeyState::Retired).await.is_err(), "{state}");
        }
        for network in [
            "eip155:1",
            "eip155:1/held/upto",
            "eip155:8453/permit2",
            "eip155:8453/voucher/upto",
            "eip155:8453/cancel",
            "ap2:payment",
        ] {
            let mut other = signed.clone();
            other.authorization.network = network.into();
            assert!(cancelled(&other, &good, KeyState::Retired).await.is_err(), "{network}");
        }
        let mut strange = signed.clone();
        strange.authorization.payer = "0x0000000000000000000000000000000000000001".into();
        assert!(matches!(cancelled(&strange, &good, KeyState::Retired).await, Err(SignError::NoKey(_))));
    }

    /// By the key that signed, whatever became of it since.
    #[tokio::test]
    async fn what_was_signed_is_cancelled_by_the_key_that_signed_it() {
        for (state, of_spend) in [(KeyState::Retired, SpendState::Submitted), (KeyState::Revoked, SpendState::Unknown)]
        {
            let domain = domain(8453, 1);
            let call = cancelled(&spend(of_spend), &domain, state).await.unwrap();
            let digest = cancellation_digest(call.authorizer, call.nonce, &domain);
            let signature = x402::exact::EvmSignature::new(&call.signature).unwrap();
            assert_eq!(signature.recover(digest).unwrap(), key().address());
            assert_eq!((call.asset, call.nonce.0), (domain.verifying_contract, [9; 32]));
        }
        // What goes into an escrow is an authorization of the token's too.
        for space in ["held", "held/upto", "charged/upto"] {
            let mut held = spend(SpendState::Committed);
            held.authorization.network = format!("eip155:8453/{space}");
            assert!(cancelled(&held, &domain(8453, 1), KeyState::Active).await.is_ok(), "{space}");
        }
    }
}
