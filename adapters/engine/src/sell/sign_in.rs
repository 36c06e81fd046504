//! Who paid for something comes back for it without paying (x402 `sign-in-with-x`).
//!
//! What somebody may come back for is what the book says that they paid for: the same route, method, address and body,
//! settled and given, and not longer ago than the route allows. There is no other record of it. That a text is answered
//! once is a claim in the same book, so it holds for every replica and over restarts.

use std::num::NonZeroU64;

use ledger::command::Command;
use ledger::id::{Digest, TenantId};
use ledger::rejection::Rejection;
use ledger::settlement::{PayerKey, Role, Settlement};
use x402::chain::WalletAnswer;
use x402::exact::WalletSignature;
use x402::network::Network;
use x402::reason::Reason;
use x402::refusal::Refusal;
use x402::settlement::ClaimKey;
use x402::sign_in::{Challenge, Door, Proof};
use x402::wire::PaymentRequirements;

use super::SELLER;
use super::goods::Content;
use crate::Engine;
use crate::book::{self, service};
use crate::error::EngineError;
use crate::screening::Movement;

/// Of the 16 bytes of a nonce so many are drawn, the rest is our seal on them.
const DRAWN: usize = 8;

/// Somebody at the door.
#[derive(Clone, Debug)]
pub struct SignIn {
    pub proof: Proof,
    /// Host and port of the configured origin, and the resource.
    pub domain: String,
    pub uri: String,
    /// Digest of route, method, target and body: what must have been paid for.
    pub purpose: Digest,
    /// What the route can be paid with.
    pub offers: Vec<PaymentRequirements>,
    /// For how long after the end of the payment's own life.
    pub seconds: NonZeroU64,
    /// In how many blocks it must be.
    pub confirmations: NonZeroU64,
}

/// The payment that somebody came back for.
#[derive(Clone, Debug)]
pub struct Returned {
    pub claim: ClaimKey,
    /// Atomic units, as it was paid.
    pub amount: String,
}

fn refused(reason: Reason, field: &'static str, expected: &str, found: impl std::fmt::Display) -> EngineError {
    EngineError::Payment(Refusal::new(reason, field, expected, found))
}

impl Engine {
    /// Nothing is written for it: the nonce tells that it is ours.
    pub fn sign_in_challenge(&self, tenant: &TenantId, domain: &str, uri: &str) -> Result<Challenge, EngineError> {
        let random = self.entropy.bytes()?;
        let issued_at = self.clock.now().seconds();
        let mut drawn = [0; DRAWN];
        drawn.copy_from_slice(&random[..DRAWN]);
        let nonce = format!("{}{}", hex::encode(drawn), self.nonce_seal(tenant, &drawn, uri, issued_at)?);
        Ok(Challenge { domain: domain.to_owned(), uri: uri.to_owned(), nonce, issued_at })
    }

    fn nonce_seal(
        &self,
        tenant: &TenantId,
        drawn: &[u8; DRAWN],
        uri: &str,
        issued_at: i64,
    ) -> Result<String, EngineError> {
        let said = [drawn.as_slice(), &issued_at.to_be_bytes(), uri.as_bytes()].concat();
        let seal = self.tenant(tenant)?.secret.seal("purser/sign-in/1", &said);
        Ok(hex::encode(&seal.0[..DRAWN]))
    }

    fn check_nonce(&self, tenant: &TenantId, challenge: &Challenge) -> Result<(), EngineError> {
        let Challenge { uri, nonce, issued_at, .. } = challenge;
        let bytes = hex::decode(nonce).unwrap_or_default();
        let ours = match bytes.first_chunk::<DRAWN>() {
            Some(drawn) => format!("{}{}", hex::encode(drawn), self.nonce_seal(tenant, drawn, uri, *issued_at)?),
            None => String::new(),
        };
        if ours == *nonce {
            return Ok(());
        }
        Err(refused(Reason::SignInNonce, "nonce", "one that was given out for this resource at this moment", nonce))
    }

    pub async fn sign_in(&self, tenant: &TenantId, asked: SignIn) -> Result<Returned, EngineError> {
        self.seller(tenant)?;
        let identity = service(tenant, SELLER)?;
        let proof = &asked.proof;
        proof.check(Door { domain: &asked.domain, uri: &asked.uri }, self.clock.now().seconds())?;
        self.check_nonce(tenant, &proof.challenge)?;
        let by_key = proof.is_by_key()?;
        let found = self.paid_lately(tenant, &asked).await?;
        match &found {
            // What nobody signed learns nothing of who paid.
            None if !by_key => return Err(proof.not_signed().into()),
            _ if !by_key => self.check_wallet(proof).await?,
            _ => {}
        }
        let not_paid = || {
            let expected = "an address that paid for this, settled and not too long ago";
            refused(Reason::SignInUnpaid, "address", expected, format!("{:#x}", proof.address))
        };
        let sale = found.ok_or_else(not_paid)?;
        self.screen(&movement_of(&sale)).await?;
        let command = Command::Revisit { settlement: sale.key.clone(), nonce: proof.challenge.nonce.clone() };
        match self.run(&identity, command, Vec::new()).await {
            Ok(_) => {}
            Err(EngineError::Book(Rejection::SignInAnswered { nonce })) => {
                return Err(refused(Reason::SignInNonce, "nonce", "one that was not answered before", nonce));
            }
            // Taken back since it was read.
            Err(EngineError::Book(Rejection::SettlementStateWrong { .. })) => return Err(not_paid()),
            Err(error) => return Err(error),
        }
        let expected = book::expected(&sale.key.authorization, &sale.pay_to, sale.money.amount, sale.valid_before)?;
        Ok(Returned { claim: expected.key, amount: sale.money.amount.to_string() })
    }

    /// The newest payment of the address for exactly this that is settled as deep as the route wants it, that something was
    /// given for, and whose time is not over.
    async fn paid_lately(&self, tenant: &TenantId, asked: &SignIn) -> Result<Option<Settlement>, EngineError> {
        let proof = &asked.proof;
        let on_chain = |offer: &&PaymentRequirements| offer.network.parse::<Network>() == Ok(proof.network);
        let mut assets = Vec::new();
        for offer in asked.offers.iter().filter(on_chain) {
            let terms = x402::scheme::terms(offer)?;
            let asset = book::asset_id(terms.network, terms.token)?;
            if !assets.contains(&asset) {
                assets.push(asset);
            }
        }
        if assets.is_empty() {
            let expected = "a chain on which this can be paid";
            return Err(refused(Reason::SignInChain, "chainId", expected, proof.network));
        }
        let mut paid = Vec::new();
        for asset in assets {
            let payer = PayerKey { role: Role::Seller, asset, payer: Some(book::text(proof.address)) };
            paid.extend(self.store.paid_for(tenant, &payer, asked.purpose).await?);
        }
        paid.sort_by_key(|sale| std::cmp::Reverse(sale.valid_before));
        let now = self.clock.now().seconds();
        let seconds = i64::try_from(asked.seconds.get()).unwrap_or(i64::MAX);
        for sale in paid {
            if sale.valid_before.saturating_add(seconds) <= now {
                return Ok(None);
            }
            let is_given =
                matches!(self.content(tenant, &sale).await?, Some(Content::Answer(_) | Content::Served { .. }));
            if is_given && !sale.is_given_back() && self.is_deep(&sale, asked.confirmations).await? {
                return Ok(Some(sale));
            }
        }
        Ok(None)
    }

    /// A contract that paid signs as it paid (ERC-1271).
    async fn check_wallet(&self, proof: &Proof) -> Result<(), EngineError> {
        if self.chain.code(proof.address).await?.is_empty() {
            return Err(proof.not_signed().into());
        }
        let signature = WalletSignature { inner: proof.signature.clone(), deployment: None };
        match self.chain.wallet_answer(proof.address, proof.digest()?, &signature).await? {
            WalletAnswer::Signed => Ok(()),
            WalletAnswer::Refused | WalletAnswer::NotMade => Err(proof.not_signed().into()),
        }
    }
}

fn movement_of(sale: &Settlement) -> Movement {
    let authorization = &sale.key.authorization;
    Movement {
        network: authorization.chain().to_owned(),
        asset: authorization.asset.to_string(),
        payer: authorization.payer.clone(),
        payee: sale.pay_to.clone(),
        amount: sale.money.amount.to_string(),
    }
}
