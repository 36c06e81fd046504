//! The frozen offer, and the authorization made from it.

mod bytes;

use alloy_primitives::aliases::U48;
use alloy_primitives::{Address, B256, U256};
use ledger::money::{Amount, AssetId};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use crate::auth_capture::{EscrowTerms, Escrowed, bound_salt};
use crate::batch_settlement;
use crate::exact::{
    Authorization, EvmSignature, KeyError, SignatureError, Signed, Terms, TokenDomain, Transfer, WalletKey,
};
use crate::network::{Asset, Network};
use crate::permit2::pledge::Pledge;
use crate::permit2::{EXACT_PROXY, Permit, PermitWire, UPTO_PROXY, Witness};
use crate::reason::Reason;
use crate::refusal::Refusal;
use crate::settlement::{Charge, ClaimKey, Expected};
use crate::wire::{
    ExactEvmPayload, PaymentPayload, PaymentRequirements, ResourceInfo, WireAuthorization, X402_VERSION,
};

use bytes::{push, push_object};

/// Tag of [`Offer::to_bytes`].
const OFFER_TAG: &[u8] = b"purser/x402-offer/1";

/// One offer, frozen: every value that a decision is made on and that is signed afterwards. It has no setter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    terms: Terms,
    asset: AssetId,
    decimals: u8,
    resource_url: String,
    method: String,
    /// The entry as it came, to be echoed as `accepted`.
    requirements: PaymentRequirements,
}

impl Offer {
    pub(super) fn freeze(
        terms: Terms,
        asset: &Asset,
        requirements: PaymentRequirements,
        resource_url: String,
        method: String,
    ) -> Result<Self, Refusal> {
        let id = asset.id().map_err(|error| Refusal::new(Reason::AssetUnknown, "asset", error, &requirements.asset))?;
        Ok(Self { terms, asset: id, decimals: asset.decimals, resource_url, method, requirements })
    }

    pub const fn terms(&self) -> &Terms {
        &self.terms
    }

    pub const fn network(&self) -> Network {
        self.terms.network
    }

    pub const fn asset(&self) -> &AssetId {
        &self.asset
    }

    /// From the trusted table.
    pub const fn decimals(&self) -> u8 {
        self.decimals
    }

    pub const fn token(&self) -> Address {
        self.terms.token
    }

    /// With `upto` the most that may be charged: that is what is decided on.
    pub const fn amount(&self) -> Amount {
        self.terms.amount
    }

    pub const fn pay_to(&self) -> Address {
        self.terms.pay_to
    }

    pub const fn max_timeout_seconds(&self) -> u64 {
        self.terms.max_timeout_seconds
    }

    pub const fn transfer(&self) -> Transfer {
        self.terms.transfer
    }

    pub const fn domain(&self) -> &TokenDomain {
        &self.terms.domain
    }

    /// As the seller advertised it.
    pub fn resource_url(&self) -> &str {
        &self.resource_url
    }

    pub fn method(&self) -> &str {
        &self.method
    }

    pub const fn requirements(&self) -> &PaymentRequirements {
        &self.requirements
    }

    /// Canonical bytes: the tag, then each field with its length in front (4 bytes, big-endian). Of our own, since
    /// JSON has many spellings of one value. `extra` and unknown fields are in it, keys sorted.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        for field in [
            OFFER_TAG,
            self.requirements.scheme.as_bytes(),
            self.terms.network.to_string().as_bytes(),
            self.terms.token.as_slice(),
            &self.terms.amount.to_be_bytes(),
            self.terms.pay_to.as_slice(),
            &self.terms.max_timeout_seconds.to_be_bytes(),
            self.terms.domain.name.as_bytes(),
            self.terms.domain.version.as_bytes(),
            self.method.as_bytes(),
            self.resource_url.as_bytes(),
        ] {
            push(&mut out, field);
        }
        let empty = Map::new();
        push_object(&mut out, self.requirements.extra.as_ref().unwrap_or(&empty));
        push_object(&mut out, &self.requirements.unknown);
        out
    }

    /// SHA-256 of [`Offer::to_bytes`].
    pub fn digest(&self) -> [u8; 32] {
        Sha256::digest(self.to_bytes()).into()
    }

    /// The authorization that pays this offer, unsigned. `valid_after` is 0 where nothing speaks against it;
    /// `valid_before` is at most now + [`Offer::max_timeout_seconds`], and the money stays held until then.
    pub fn authorize(
        &self,
        payer: Address,
        nonce: B256,
        valid_after: u64,
        valid_before: u64,
    ) -> Result<Unsigned<'_>, AuthorizeError> {
        if valid_before <= valid_after {
            return Err(AuthorizeError::EmptyWindow { valid_after, valid_before });
        }
        if payer.is_zero() || payer == self.terms.pay_to {
            return Err(AuthorizeError::Payer { payer, pay_to: self.terms.pay_to });
        }
        let (to, value, valid_after) = (self.terms.pay_to, self.terms.value(), U256::from(valid_after));
        let signed = match self.terms.transfer {
            Transfer::Eip3009 => {
                let valid_before = U256::from(valid_before);
                Signed::Eip3009(Authorization { from: payer, to, value, valid_after, valid_before, nonce })
            }
            Transfer::Permit2 => {
                self.permit(payer, nonce, valid_before, EXACT_PROXY, Witness::Exact { to, valid_after })
            }
            Transfer::Upto { facilitator } => {
                let witness = Witness::Upto { to, facilitator, valid_after };
                self.permit(payer, nonce, valid_before, UPTO_PROXY, witness)
            }
            Transfer::Channel { .. } => return Err(AuthorizeError::Scheme(batch_settlement::SCHEME)),
            Transfer::Escrow(escrow) => self.held(payer, nonce, valid_before, &escrow)?,
        };
        Ok(Unsigned { offer: self, signed, valid_before, salt_nonce: nonce })
    }

    /// To the collector alone, for nothing but these terms: the nonce is their hash, and `salt_nonce` makes it one of its own.
    fn held(
        &self,
        payer: Address,
        salt_nonce: B256,
        valid_before: u64,
        escrow: &EscrowTerms,
    ) -> Result<Signed, AuthorizeError> {
        let valid_before = U48::try_from(valid_before).ok().filter(|until| *until <= escrow.capture_deadline);
        let valid_before = valid_before.ok_or(AuthorizeError::Deadline { deadline: escrow.capture_deadline.to() })?;
        let salt = bound_salt(escrow.receiver_authorizer, salt_nonce);
        let info = escrow.info(&self.terms, payer, valid_before, salt);
        let authorization = Authorization {
            from: payer,
            to: escrow.deployment.eip3009_collector(),
            value: self.terms.value(),
            valid_after: U256::ZERO,
            valid_before: U256::from(valid_before),
            nonce: info.nonce(self.terms.network, escrow.deployment.escrow()),
        };
        Ok(Signed::Escrowed(Escrowed { authorization, info, taken: None }))
    }

    fn permit(&self, from: Address, nonce: B256, valid_before: u64, spender: Address, witness: Witness) -> Signed {
        Signed::Permit2(Permit {
            from,
            token: self.terms.token,
            amount: self.terms.value(),
            spender,
            nonce: U256::from_be_bytes(nonce.0),
            // Permit2 takes its deadline itself; what is promised is that nothing moves from `valid_before` on.
            deadline: U256::from(valid_before).saturating_sub(U256::from(1)),
            witness,
        })
    }
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AuthorizeError {
    #[error("validBefore: expected more than validAfter ({valid_after}), found {valid_before}")]
    EmptyWindow { valid_after: u64, valid_before: u64 },
    #[error("validBefore: expected at most the captureDeadline of {deadline}")]
    Deadline { deadline: u64 },
    #[error("payer: expected an account other than zero and the payee ({pay_to}), found {payer}")]
    Payer { payer: Address, pay_to: Address },
    #[error("signature: expected one by {expected}, found one by {found}")]
    Signer { expected: Address, found: Address },
    #[error(transparent)]
    Key(#[from] KeyError),
    #[error(transparent)]
    Signature(#[from] SignatureError),
    #[error("the payload could not be written: {0}")]
    Payload(String),
    #[error("scheme: expected exact or upto, found {0}")]
    Scheme(&'static str),
    #[error("an allowance for Permit2 is given for a permit of Permit2 alone")]
    Unpledged,
}

impl AuthorizeError {
    pub const fn code(&self) -> &'static str {
        match self {
            Self::EmptyWindow { .. } => "authorization_window_empty",
            Self::Deadline { .. } => "authorization_after_deadline",
            Self::Payer { .. } => "authorization_payer_invalid",
            Self::Signer { .. } => "authorization_signer_mismatch",
            Self::Key(error) => error.code(),
            Self::Signature(_) => "authorization_signature_invalid",
            Self::Payload(_) => "authorization_unwritable",
            Self::Scheme(_) | Self::Unpledged => "authorization_scheme_unsupported",
        }
    }
}

/// An authorization of a frozen offer, waiting for its signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unsigned<'a> {
    offer: &'a Offer,
    signed: Signed,
    valid_before: u64,
    /// What the nonce was made from, where it is not the nonce itself.
    salt_nonce: B256,
}

impl Unsigned<'_> {
    pub const fn offer(&self) -> &Offer {
        self.offer
    }

    pub const fn to_sign(&self) -> &Signed {
        &self.signed
    }

    /// What a signer signs (EIP-712).
    pub fn digest(&self) -> B256 {
        self.signed.digest(&self.offer.terms)
    }

    pub fn claim_key(&self) -> ClaimKey {
        self.signed.payee_key(&self.offer.terms)
    }

    /// What a settlement of it must show. Store it before the signature exists.
    pub fn expected(&self) -> Expected {
        let charge = match self.offer.terms.transfer {
            Transfer::Eip3009 | Transfer::Permit2 | Transfer::Channel { .. } => Charge::Whole,
            Transfer::Upto { .. } | Transfer::Escrow(_) => Charge::AtMost,
        };
        Expected {
            charge,
            key: self.claim_key(),
            to: match self.signed {
                Signed::Escrowed(escrowed) => escrowed.info.receiver,
                Signed::Eip3009(_) | Signed::Permit2(_) | Signed::Deposit(_) => self.signed.to(),
            },
            value: self.signed.value(),
            valid_before: self.valid_before,
        }
    }

    pub fn sign(&self, key: &WalletKey) -> Result<PaymentPayload, AuthorizeError> {
        let (expected, found) = (self.signed.payer(), key.address());
        if expected != found {
            return Err(AuthorizeError::Signer { expected, found });
        }
        self.sealed(key.sign(self.digest())?)
    }

    /// What lets Permit2 move the token for it, of exactly what it moves: the entry of an extension.
    pub fn pledge(&self, pledge: &Pledge, key: &WalletKey) -> Result<Value, AuthorizeError> {
        let (expected, found) = (self.signed.payer(), key.address());
        if expected != found {
            return Err(AuthorizeError::Signer { expected, found });
        }
        let Signed::Permit2(permit) = &self.signed else { return Err(AuthorizeError::Unpledged) };
        Ok(pledge.sign(permit, self.offer.network(), self.offer.domain(), key)?)
    }

    /// The payload with a signature made elsewhere, which must be the payer's over this authorization.
    pub fn signed(&self, signature: EvmSignature) -> Result<PaymentPayload, AuthorizeError> {
        let (expected, found) = (self.signed.payer(), signature.recover(self.digest())?);
        if expected != found {
            return Err(AuthorizeError::Signer { expected, found });
        }
        self.sealed(signature)
    }

    fn sealed(&self, signature: EvmSignature) -> Result<PaymentPayload, AuthorizeError> {
        let scheme = match &self.signed {
            Signed::Eip3009(authorization) => serde_json::to_value(ExactEvmPayload {
                signature: signature.to_text(),
                authorization: written(authorization),
            }),
            Signed::Permit2(permit) => serde_json::to_value(PermitWire::new(permit, signature.to_text())),
            Signed::Deposit(_) => return Err(AuthorizeError::Scheme(batch_settlement::SCHEME)),
            Signed::Escrowed(held) => Ok(held_payload(held, self.salt_nonce, &signature)),
        };
        let Ok(Value::Object(payload)) = scheme else {
            return Err(AuthorizeError::Payload("it is no JSON object".to_owned()));
        };
        Ok(PaymentPayload {
            x402_version: X402_VERSION,
            // the address alone: description and the like are the seller's text and tell a facilitator too much
            resource: Some(ResourceInfo::new(self.offer.resource_url.clone())),
            accepted: self.offer.requirements.clone(),
            payload,
            extensions: None,
            unknown: Map::new(),
        })
    }
}

fn written(authorization: &Authorization) -> WireAuthorization {
    WireAuthorization {
        from: authorization.from.to_string(),
        to: authorization.to.to_string(),
        value: authorization.value.to_string(),
        valid_after: authorization.valid_after.to_string(),
        valid_before: authorization.valid_before.to_string(),
        nonce: authorization.nonce.to_string(),
    }
}

fn held_payload(held: &Escrowed, salt_nonce: B256, signature: &EvmSignature) -> Value {
    json!({
        "authorization": written(&held.authorization),
        "signature": signature.to_text(),
        "salt": B256::from(held.info.salt).to_string(),
        "saltNonce": salt_nonce.to_string(),
    })
}
