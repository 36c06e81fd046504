//! Whose word counts for money that lies in an escrow: keys in this process's memory.

use std::collections::BTreeMap;

use alloy_primitives::{Address, B256, Bytes, U256};
use engine::ports::{ChannelSigner, HoldSigner, SignError};
use ledger::money::Amount;
use store::keys::KeyState;
use x402::auth_capture::{self, Capture, PaymentInfo, Taken, capture_digest, charge_digest, void_digest};
use x402::batch_settlement::{Channel, Claim, claim_batch_digest, refund_digest};
use x402::exact::WalletKey;
use x402::network::Network;

/// Authorizers of channels, or of holds, whose keys are in memory: the one that new ones name, and those that older ones do.
pub struct LocalAuthorizers {
    active: Address,
    keys: BTreeMap<Address, (WalletKey, KeyState)>,
}

impl LocalAuthorizers {
    /// `None` where no key is active.
    pub fn new(keys: impl IntoIterator<Item = (WalletKey, KeyState)>) -> Option<Self> {
        let keys: BTreeMap<_, _> = keys.into_iter().map(|(key, state)| (key.address(), (key, state))).collect();
        let active = keys.iter().find(|(_, (_, state))| *state == KeyState::Active).map(|(address, _)| *address)?;
        Some(Self { active, keys })
    }

    /// With a retired key too: what was agreed with it stands. With a revoked one nothing.
    fn sign(&self, authorizer: Address, digest: B256) -> Result<Bytes, SignError> {
        let found = self.keys.get(&authorizer).filter(|(_, state)| *state != KeyState::Revoked);
        let (key, _) = found.ok_or_else(|| SignError::NoKey(format!("{authorizer:#x}")))?;
        let signed = key.sign(digest).map_err(|error| SignError::Refused(error.to_string()))?;
        Ok(Bytes::from(signed.to_bytes()))
    }
}

impl ChannelSigner for LocalAuthorizers {
    fn address(&self) -> Address {
        self.active
    }

    fn sign_claims(&self, network: Network, claims: &[Claim]) -> Result<Bytes, SignError> {
        let refused = |why: &str| SignError::Refused(why.to_owned());
        let first = claims.first().ok_or_else(|| refused("there is nothing to claim"))?;
        let authorizer = first.channel.receiver_authorizer;
        if claims.iter().any(|claim| claim.channel.receiver_authorizer != authorizer) {
            return Err(refused("claims of one authorizer were expected, some are of another"));
        }
        if claims.iter().any(|claim| claim.total_claimed > claim.max_claimable) {
            return Err(refused("more is to be claimed than a voucher is good for"));
        }
        let rows = claims.iter().map(|claim| (claim.channel.id(network), claim.max_claimable, claim.total_claimed));
        self.sign(authorizer, claim_batch_digest(network, rows))
    }

    fn sign_refund(
        &self,
        network: Network,
        channel: &Channel,
        nonce: U256,
        amount: Amount,
    ) -> Result<Bytes, SignError> {
        self.sign(channel.receiver_authorizer, refund_digest(network, channel.id(network), nonce, amount))
    }
}

impl HoldSigner for LocalAuthorizers {
    fn sign_capture(
        &self,
        authorizer: Address,
        network: Network,
        info: &PaymentInfo,
        capture: &Capture,
    ) -> Result<Bytes, SignError> {
        check_taken(info, capture.amount)?;
        let payment = info.hash(network, auth_capture::ESCROW);
        self.sign(authorizer, capture_digest(network, info.operator, capture, payment))
    }

    fn sign_void(&self, authorizer: Address, network: Network, info: &PaymentInfo) -> Result<Bytes, SignError> {
        self.sign(authorizer, void_digest(network, info.operator, info.hash(network, auth_capture::ESCROW)))
    }

    fn sign_charge(
        &self,
        authorizer: Address,
        network: Network,
        info: &PaymentInfo,
        taken: &Taken,
        payers: &[u8],
    ) -> Result<Bytes, SignError> {
        check_taken(info, taken.amount)?;
        let payment = info.hash(network, auth_capture::ESCROW);
        self.sign(authorizer, charge_digest(network, info.operator, taken, payment, payers))
    }
}

fn check_taken(info: &PaymentInfo, amount: Amount) -> Result<(), SignError> {
    if U256::from(amount.get()) <= U256::from(info.max_amount) {
        return Ok(());
    }
    let most = info.max_amount;
    Err(SignError::Refused(format!(
        "at most the {most} that are held was expected to be taken, {amount} was asked for"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> WalletKey {
        WalletKey::from_bytes(&[7; 32]).unwrap()
    }

    fn channel(authorizer: Address) -> Channel {
        Channel {
            payer: Address::repeat_byte(1),
            payer_authorizer: Address::repeat_byte(1),
            receiver: Address::repeat_byte(2),
            receiver_authorizer: authorizer,
            token: Address::repeat_byte(3),
            withdraw_delay: alloy_primitives::aliases::U40::from(900),
            salt: B256::ZERO,
        }
    }

    #[test]
    fn a_channel_is_signed_for_with_the_key_that_it_names() {
        let network = Network::new(8453).unwrap();
        let other = WalletKey::from_bytes(&[8; 32]).unwrap();
        let (old, new) = (key().address(), other.address());
        let made = |state| {
            let other = WalletKey::from_bytes(&[8; 32]).unwrap();
            LocalAuthorizers::new([(other, KeyState::Active), (key(), state)]).unwrap()
        };
        let claim = |authorizer, max, total| Claim {
            channel: channel(authorizer),
            max_claimable: Amount::new(max),
            signature: Bytes::new(),
            total_claimed: Amount::new(total),
        };
        let keys = made(KeyState::Retired);
        assert_eq!(keys.address(), new);
        for wrong in [vec![], vec![claim(old, 1, 1), claim(new, 1, 1)], vec![claim(old, 1, 2)]] {
            assert!(keys.sign_claims(network, &wrong).is_err(), "{wrong:?}");
        }
        let strange = channel(Address::repeat_byte(9));
        assert!(matches!(keys.sign_refund(network, &strange, U256::ZERO, Amount::new(1)), Err(SignError::NoKey(_))));
        let revoked = made(KeyState::Revoked);
        assert!(revoked.sign_refund(network, &channel(old), U256::ZERO, Amount::new(1)).is_err());
        for authorizer in [old, new] {
            let signed = keys.sign_refund(network, &channel(authorizer), U256::from(3), Amount::new(1)).unwrap();
            let digest = refund_digest(network, channel(authorizer).id(network), U256::from(3), Amount::new(1));
            let signature = x402::exact::EvmSignature::new(&signed).unwrap();
            assert_eq!(signature.recover(digest).unwrap(), authorizer);
        }
    }

    #[test]
    fn what_is_held_is_taken_with_the_key_that_its_terms_name_and_never_more_of_it() {
        let network = Network::new(8453).unwrap();
        let (old, new) = (key().address(), WalletKey::from_bytes(&[8; 32]).unwrap().address());
        let made = |state| {
            let other = WalletKey::from_bytes(&[8; 32]).unwrap();
            LocalAuthorizers::new([(other, KeyState::Active), (key(), state)]).unwrap()
        };
        let info = PaymentInfo {
            operator: Address::repeat_byte(1),
            payer: Address::repeat_byte(2),
            receiver: Address::repeat_byte(3),
            token: Address::repeat_byte(4),
            max_amount: alloy_primitives::aliases::U120::from(10),
            pre_approval_expiry: Default::default(),
            authorization_expiry: Default::default(),
            refund_expiry: Default::default(),
            min_fee_bps: 0,
            max_fee_bps: 0,
            fee_receiver: Address::ZERO,
            salt: U256::from(7),
        };
        let capture = |units| Capture {
            amount: Amount::new(units),
            fee_bps: 0,
            fee_receiver: Address::ZERO,
            expected_capturable: Amount::new(10),
            expected_refundable: Amount::ZERO,
        };
        let taken = |units| Taken { amount: Amount::new(units), fee_bps: 0, fee_receiver: Address::ZERO };
        let keys = made(KeyState::Retired);
        for units in [11, u128::MAX] {
            assert!(keys.sign_capture(new, network, &info, &capture(units)).is_err(), "{units} of 10");
            assert!(keys.sign_charge(new, network, &info, &taken(units), &[1]).is_err(), "{units} of 10");
        }
        let stranger = Address::repeat_byte(9);
        assert!(matches!(keys.sign_void(stranger, network, &info), Err(SignError::NoKey(_))));
        assert!(made(KeyState::Revoked).sign_void(old, network, &info).is_err());
        let payment = info.hash(network, auth_capture::ESCROW);
        for authorizer in [old, new] {
            for (signed, digest) in [
                (
                    keys.sign_capture(authorizer, network, &info, &capture(10)),
                    capture_digest(network, info.operator, &capture(10), payment),
                ),
                (keys.sign_void(authorizer, network, &info), void_digest(network, info.operator, payment)),
                (
                    keys.sign_charge(authorizer, network, &info, &taken(3), &[1]),
                    charge_digest(network, info.operator, &taken(3), payment, &[1]),
                ),
            ] {
                let signature = x402::exact::EvmSignature::new(&signed.unwrap()).unwrap();
                assert_eq!(signature.recover(digest).unwrap(), authorizer);
            }
        }
    }
}
