//! Gas for payers who signed an approval of Permit2 and cannot pay for it (x402, `erc20ApprovalGasSponsoring`).
//!
//! Three transactions of two senders after each other: gas for the payer, the payer's approval, the payment. Whoever pays may
//! use the gas for something else, so how much is given is bounded three ways: at once, for each payer, and for each day. The
//! places of a day and of a payer are claims in the book, so replicas and crashes keep to them too. The first two are
//! repeated as the payment is: a settle that comes again finds what was done, and goes on.

use std::time::Duration;

use alloy_primitives::{Address, B256, U256};
use ledger::command::{ClaimSettlement, Command};
use ledger::id::{Digest, TenantId};
use ledger::rejection::Rejection;
use ledger::settlement::{Named, Role, Settlement, SettlementKey, SettlementState};
use ledger::store::Document;
use ledger::transfer::Money;
use tokio::time::Instant;
use x402::chain::{ChainError, GasGrant, Pool, Relayer, SettlementCall};
use x402::exact::{OnChainError, VerifiedPayment, verify_on_chain};
use x402::permit2::PERMIT2;
use x402::permit2::approval::{Approval, SIGNED};
use x402::reason::Reason;
use x402::refusal::Refusal;
use x402::settlement::{ClaimKey, NonceSpace};

use super::carriage::Carriage;
use crate::book;
use crate::error::EngineError;
use crate::named::Place;
use crate::tenant::FacilitatorRole;
use crate::{Engine, Identity};

/// What is sent is over when the chain shows it, never by time: the last second of the year 9999.
const NEVER: i64 = 253_402_300_799;
const DAY_SECONDS: u64 = 86_400;
/// How often a place is sought again that somebody else took meanwhile.
const CLAIMS_MAX: usize = 8;

/// What came of an approval before its payment.
pub(super) enum Approved {
    /// Permit2 may move what is to be moved.
    Yes,
    /// This transaction is sent, and in no block yet.
    Pending(B256),
    No(Refusal),
}

/// Where gas for an approval stands in the book.
enum Granted {
    Given(Box<Settlement>),
    Free { key: SettlementKey, named: Box<Named>, document: Document },
    Never(Refusal),
}

/// The place of a day. No authorization of anybody's, so no payer: who gets the gas stands as the payee.
fn slot(network: x402::network::Network, day: u64, place: u32) -> Result<SettlementKey, EngineError> {
    let nonce = B256::from((U256::from(day) << 32) | U256::from(place));
    let key = ClaimKey { space: NonceSpace::Gas, network, token: Address::ZERO, payer: Address::ZERO, nonce };
    Ok(SettlementKey { role: Role::Facilitator, authorization: book::authorization(&key)? })
}

fn content(approval: &Approval) -> Digest {
    Digest::of_parts("purser/gas-grant/1", &[approval.owner.as_slice(), approval.hash().as_slice()])
}

fn no_gas(expected: impl std::fmt::Display, found: impl std::fmt::Display) -> Refusal {
    Refusal::new(Reason::ApprovalGas, SIGNED, expected, found)
}

impl Engine {
    /// Whether a payer who is short of gas would get it.
    pub(super) async fn check_gas(
        &self,
        tenant: &TenantId,
        role: &FacilitatorRole,
        payment: &VerifiedPayment,
    ) -> Result<Result<(), Refusal>, EngineError> {
        let Some(approval) = payment.approval() else { return Ok(Ok(())) };
        if self.is_allowed(payment).await? {
            return Ok(Ok(()));
        }
        let short = self.short_of_gas(approval).await?;
        if short.is_zero() {
            return Ok(Ok(()));
        }
        if let Err(refusal) = check_most(role, short) {
            return Ok(Err(refusal));
        }
        Ok(match self.granted(tenant, role, approval).await? {
            Granted::Free { .. } => Ok(()),
            Granted::Given(given) if given.state.is_open() => Ok(()),
            Granted::Given(_) => Err(no_gas("gas that was given for it", "none of it left")),
            Granted::Never(refusal) => Err(refusal),
        })
    }

    /// Claimed by us, nothing of the payment sent. Before anything is given, the whole of it is tried out.
    pub(super) async fn approve_first(
        &self,
        carriage: &Carriage<'_>,
        relayer: &dyn Relayer,
    ) -> Result<Approved, EngineError> {
        let payment = &carriage.payment;
        let Some(approval) = payment.approval() else { return Ok(Approved::Yes) };
        if self.is_allowed(payment).await? {
            return Ok(Approved::Yes);
        }
        let tenant = &carriage.identity.tenant;
        let claimed = self.claimed_elsewhere(tenant, payment).await?;
        match verify_on_chain(self.chain.as_ref(), payment, relayer.address(), claimed).await {
            Ok(()) => {}
            // It may stand in a block since, or wait for one.
            Err(OnChainError::Refused(refusal)) if self.is_allowed(payment).await? => {
                tracing::debug!("approved meanwhile: {refusal}");
                return Ok(Approved::Yes);
            }
            Err(OnChainError::Refused(refusal)) => return Ok(Approved::No(refusal)),
            Err(OnChainError::Chain(error)) => return Err(error.into()),
        }
        // Whoever does not wait for a receipt waits for this: nobody else would go on with it.
        let wait = carriage.wait.max(Duration::from_millis(self.tenant(tenant)?.limits.settle_wait_millis));
        let deadline = Instant::now() + wait;
        let short = self.short_of_gas(approval).await?;
        if !short.is_zero() {
            let given = match self.give_gas(carriage, relayer, approval, short).await? {
                Ok(given) => given,
                Err(refusal) => return Ok(Approved::No(refusal)),
            };
            let left = deadline.saturating_duration_since(Instant::now());
            let given = self.watch(&carriage.identity, &given.key, left).await?;
            if given.state.is_open() {
                let sent = given.transaction.as_ref().and_then(book::transaction);
                return Ok(Approved::Pending(sent.unwrap_or_default()));
            }
            if given.state != SettlementState::Settled {
                return Ok(Approved::No(no_gas("gas for the payer that arrives", "a transfer that reverts")));
            }
        }
        self.send_approval(payment, approval, deadline).await
    }

    /// The same bytes as often as it takes: the payer's nonce lets them in once.
    async fn send_approval(
        &self,
        payment: &VerifiedPayment,
        approval: &Approval,
        deadline: Instant,
    ) -> Result<Approved, EngineError> {
        let refused = match self.chain.broadcast(&approval.raw).await {
            Ok(()) => None,
            Err(ChainError::Refused { message, .. }) => Some(message),
            Err(error) => return Err(error.into()),
        };
        let mut pause = Duration::from_millis(5);
        loop {
            let nonce = self.chain.account_nonce(approval.owner, Pool::Mined).await?;
            if self.is_allowed(payment).await? {
                return Ok(Approved::Yes);
            }
            if nonce > approval.nonce {
                let expected = "an approval that lets Permit2 move the token";
                let found = format!("nonce {} of {} used up without it", approval.nonce, approval.owner);
                return Ok(Approved::No(Refusal::new(Reason::ApprovalFailed, SIGNED, expected, found)));
            }
            if let Some(message) = refused {
                if !self.short_of_gas(approval).await?.is_zero() {
                    return Ok(Approved::No(no_gas(format!("{} wei for the approval", approval.cost()), message)));
                }
                let expected = "a transaction that the chain takes";
                return Ok(Approved::No(Refusal::new(Reason::ApprovalBroadcast, SIGNED, expected, message)));
            }
            if Instant::now() + pause >= deadline {
                return Ok(Approved::Pending(approval.hash()));
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(Duration::from_millis(250));
        }
    }

    async fn is_allowed(&self, payment: &VerifiedPayment) -> Result<bool, EngineError> {
        let (token, owner) = (payment.terms().token, payment.payer());
        Ok(self.chain.allowance(token, owner, PERMIT2).await? >= payment.signed().value())
    }

    /// Wei that the payer lacks for its approval.
    async fn short_of_gas(&self, approval: &Approval) -> Result<U256, EngineError> {
        Ok(approval.cost().saturating_sub(self.chain.native_balance(approval.owner).await?))
    }

    async fn granted(
        &self,
        tenant: &TenantId,
        role: &FacilitatorRole,
        approval: &Approval,
    ) -> Result<Granted, EngineError> {
        let (grants, day) = (role.grants, self.now_seconds() / DAY_SECONDS);
        let mut place = 0;
        let key = loop {
            let key = slot(self.network, day, place)?;
            let found = self.store.settlement(tenant, &key).await?;
            let is_free = found.is_none_or(|found| found.state == SettlementState::Abandoned);
            if is_free || place >= grants.each_day {
                break key;
            }
            place = place.saturating_add(1);
        };
        for turn in 0..grants.each_payer {
            let name = format!("gas/{}/{:#x}/{turn}", self.network, approval.owner);
            match self.place(tenant, &key, &name, content(approval)).await {
                Ok(Place::Other(given)) => return Ok(Granted::Given(given)),
                Ok(Place::Own { .. }) if place >= grants.each_day => {
                    let expected = format!("at most {} approvals a day that are given gas for", grants.each_day);
                    return Ok(Granted::Never(no_gas(expected, "one more")));
                }
                Ok(Place::Own { named, document }) => return Ok(Granted::Free { key, named, document }),
                // For another approval.
                Err(EngineError::Book(Rejection::IdempotencyKeyReused { .. })) => {}
                Err(error) => return Err(error),
            }
        }
        let expected = format!("at most {} approvals of one payer that are given gas for", grants.each_payer);
        Ok(Granted::Never(no_gas(expected, format!("one more of {}", approval.owner))))
    }

    /// Once for an approval, whoever asks and however often.
    async fn give_gas(
        &self,
        carriage: &Carriage<'_>,
        relayer: &dyn Relayer,
        approval: &Approval,
        short: U256,
    ) -> Result<Result<Settlement, Refusal>, EngineError> {
        if let Err(refusal) = check_most(carriage.role, short) {
            return Ok(Err(refusal));
        }
        let identity = &carriage.identity;
        for _ in 0..CLAIMS_MAX {
            let claim = match self.granted(&identity.tenant, carriage.role, approval).await? {
                Granted::Given(given) => return self.begin_gas(identity, &given.key, relayer).await.map(Ok),
                Granted::Never(refusal) => return Ok(Err(refusal)),
                Granted::Free { key, named, document } => {
                    (gas_claim(&key, approval, short, *named, self.finalized_lately().await?)?, document)
                }
            };
            let (claim, document) = claim;
            let key = claim.key.clone();
            match self.run(identity, Command::Claim(Box::new(claim)), vec![document]).await {
                Ok(_) => return self.begin_gas(identity, &key, relayer).await.map(Ok),
                // Somebody else has the place, of the day or of the payer.
                Err(EngineError::Book(
                    Rejection::AuthorizationClaimed { .. }
                    | Rejection::IdempotencyKeyReused { .. }
                    | Rejection::PaymentUsedForOtherResource { .. },
                )) => {}
                Err(EngineError::Book(rejection @ Rejection::Stopped { .. })) => {
                    return Ok(Err(no_gas("a facilitator that gives gas", rejection)));
                }
                Err(error) => return Err(error),
            }
        }
        Ok(Err(no_gas("a place for it", format!("{CLAIMS_MAX} taken meanwhile"))))
    }

    /// Signed, made durable and sent, where nobody did it yet.
    async fn begin_gas(
        &self,
        identity: &Identity,
        key: &SettlementKey,
        relayer: &dyn Relayer,
    ) -> Result<Settlement, EngineError> {
        let tenant = &identity.tenant;
        let Some(_in_hand) = self.desk.take(tenant, key) else { return self.carried(tenant, key).await };
        let given = self.carried(tenant, key).await?;
        if given.state != SettlementState::Claimed {
            return Ok(given);
        }
        let to = given.pay_to.parse().map_err(|_| EngineError::Broken("who gets gas cannot be read".into()))?;
        let grant = GasGrant { to, value: U256::from(given.money.amount.get()) };
        match self.prepare(identity, key, SettlementCall::Gas(grant), relayer).await {
            Ok(given) => {
                self.send(identity, &given, 0).await;
                Ok(given)
            }
            Err(error) => {
                self.run(identity, Command::Abandon { settlement: key.clone() }, Vec::new()).await?;
                Err(error)
            }
        }
    }
}

fn check_most(role: &FacilitatorRole, short: U256) -> Result<(), Refusal> {
    let most = role.grants.wei_max;
    if short > U256::from(most) {
        return Err(no_gas(format!("a payer who lacks at most {most} wei for its approval"), format!("{short} wei")));
    }
    Ok(())
}

fn gas_claim(
    key: &SettlementKey,
    approval: &Approval,
    short: U256,
    named: Named,
    since_block: u64,
) -> Result<ClaimSettlement, EngineError> {
    let pay_to = book::text(approval.owner);
    Ok(ClaimSettlement {
        key: key.clone(),
        money: Money { asset: key.authorization.asset.clone(), amount: book::amount(short)? },
        payee: pay_to.parse().map_err(|_| EngineError::Broken("an address is no payee".into()))?,
        subject: content(approval),
        pay_to,
        valid_before: NEVER,
        since_block,
        cover: None,
        credit: None,
        named: Some(named),
        order: None,
    })
}
