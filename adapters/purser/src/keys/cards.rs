//! How cards are sealed: AES-256-GCM under a key of their payment, which is derived from the tenant's key for its vault.
//! What is sealed for one payment of one tenant opens as nothing else.

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use aws_lc_rs::hmac;
use engine::ports::SignError;
use engine::vault::CardSeal;
use ledger::id::SpendId;
use zeroize::Zeroizing;

use super::{KeyError, Ring, Slot};

/// Bytes of a key's name before what it sealed.
const NAME: usize = 8;

/// The key that seals, first, and those that sealed before it.
pub struct CardKeys {
    tenant: String,
    keys: Vec<Zeroizing<[u8; 32]>>,
}

impl CardKeys {
    pub fn of(ring: &Ring, slot: &Slot) -> Result<Self, KeyError> {
        let active = Zeroizing::new(ring.secret(slot)?);
        let keys = std::iter::once(active).chain(ring.retired(slot).map(|key| Zeroizing::new(*key.secret())));
        Ok(Self { tenant: slot.tenant.clone(), keys: keys.collect() })
    }

    fn seal_of(&self, key: &[u8; 32], payment: SpendId) -> Result<(RandomizedNonceKey, Vec<u8>), SignError> {
        let mac = hmac::Key::new(hmac::HMAC_SHA256, key);
        let about = [b"purser/card/1".as_slice(), &payment.0].concat();
        let derived = RandomizedNonceKey::new(&AES_256_GCM, hmac::sign(&mac, &about).as_ref());
        Ok((derived.map_err(|_| damaged())?, [self.tenant.as_bytes(), b"/", &payment.0].concat()))
    }
}

impl CardSeal for CardKeys {
    fn seal(&self, payment: SpendId, card: &[u8]) -> Result<Vec<u8>, SignError> {
        let key = self.keys.first().ok_or_else(|| SignError::NoKey("vault".into()))?;
        let (cipher, aad) = self.seal_of(key, payment)?;
        let mut text = card.to_vec();
        let nonce = cipher.seal_in_place_append_tag(Aad::from(aad), &mut text).map_err(|_| damaged())?;
        Ok([name(key).as_slice(), nonce.as_ref(), &text].concat())
    }

    fn open(&self, payment: SpendId, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, SignError> {
        let (named, rest) = sealed.split_at_checked(NAME).ok_or_else(damaged)?;
        let (nonce, text) = rest.split_at_checked(NONCE_LEN).ok_or_else(damaged)?;
        let key = self.keys.iter().find(|key| name(key) == named).ok_or_else(|| SignError::NoKey("vault".into()))?;
        let (cipher, aad) = self.seal_of(key, payment)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| damaged())?;
        let mut text = Zeroizing::new(text.to_vec());
        let length = cipher.open_in_place(nonce, Aad::from(aad), text.as_mut_slice()).map_err(|_| damaged())?.len();
        text.truncate(length);
        Ok(text)
    }
}

/// Says nothing about the key.
fn name(key: &[u8; 32]) -> Vec<u8> {
    let mac = hmac::Key::new(hmac::HMAC_SHA256, key);
    hmac::sign(&mac, b"purser/vault-key-name/1").as_ref().iter().copied().take(NAME).collect()
}

fn damaged() -> SignError {
    SignError::Refused("a sealed card does not open".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(tenant: &str, keys: &[u8]) -> CardKeys {
        CardKeys { tenant: tenant.into(), keys: keys.iter().map(|byte| Zeroizing::new([*byte; 32])).collect() }
    }

    #[test]
    fn what_is_sealed_for_one_payment_opens_for_no_other() {
        let (first, second) = (SpendId([1; 32]), SpendId([2; 32]));
        let ours = keys("home", &[7]);
        let sealed = ours.seal(first, b"4242424242424242").unwrap();
        assert!(ours.open(second, &sealed).is_err(), "another payment's");
        assert!(keys("shop", &[7]).open(first, &sealed).is_err(), "another tenant's");
        assert!(keys("home", &[8]).open(first, &sealed).is_err(), "another key's");
        assert!(ours.open(first, &[]).is_err() && ours.open(first, &sealed[..NAME + NONCE_LEN]).is_err());
        for place in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[place] ^= 1;
            assert!(ours.open(first, &changed).is_err(), "byte {place}");
        }
        assert!(!sealed.windows(8).any(|window| window == b"42424242"));
        assert_ne!(ours.seal(first, b"4242424242424242").unwrap(), sealed, "a nonce is drawn each time");
        assert_eq!(ours.open(first, &sealed).unwrap().as_slice(), b"4242424242424242");
        assert_eq!(keys("home", &[9, 7]).open(first, &sealed).unwrap().as_slice(), b"4242424242424242", "rotated");
    }
}
