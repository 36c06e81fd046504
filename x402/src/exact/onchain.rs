//! What only the chain can say of a verified payment, and the diagnosis of a transfer that would revert.

use alloy_primitives::{Address, U256};
use ledger::money::Amount;

use super::wallet::keeps_its_key;
use super::{PayerSignature, Signed, Terms, VerifiedPayment};
use crate::auth_capture::{EscrowCall, refused_by_escrow};
use crate::batch_settlement::{ChannelCall, VoucherKind};
use crate::chain::{At, AuthorizedCall, Chain, ChainError, Findings, SettlementCall};
use crate::permit2;
use crate::reason::Reason;
use crate::refusal::Refusal;
use crate::settlement::NonceSpace;

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OnChainError {
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// Nothing is known, so nothing is accepted; the same payment may be presented again.
    #[error("the payment could not be checked: {0}")]
    Chain(#[from] ChainError),
}

impl OnChainError {
    pub const fn reason(&self) -> Reason {
        match self {
            Self::Refused(refusal) => refusal.reason,
            Self::Chain(_) => Reason::UnexpectedVerifyError,
        }
    }

    pub const fn code(&self) -> &'static str {
        self.reason().as_str()
    }

    pub const fn retryable(&self) -> bool {
        self.reason().retryable()
    }
}

/// The payer's other authorizations in the same asset that are claimed and not yet settled: each may be fine alone, and all
/// together above what there is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClaimedElsewhere {
    /// All of them come out of the balance.
    pub in_all: Amount,
    /// Those that are permits come out of Permit2's allowance as well.
    pub by_permit: Amount,
}

impl ClaimedElsewhere {
    /// `None` where the sum leaves the range of an amount.
    #[must_use]
    pub fn and(self, space: NonceSpace, amount: Amount) -> Option<Self> {
        let in_all = self.in_all.checked_add(amount)?;
        let by_permit = match space {
            NonceSpace::Eip3009 | NonceSpace::Held | NonceSpace::Charged => self.by_permit,
            NonceSpace::Permit2 => self.by_permit.checked_add(amount)?,
            NonceSpace::Escrow(_) | NonceSpace::Cancel | NonceSpace::Voucher | NonceSpace::Gas => self.by_permit,
        };
        Some(Self { in_all, by_permit })
    }
}

/// Would this payment settle now? `relayer` is who would send it.
///
/// The nonce is asked for by name, not left to the simulation: some tokens answer a used nonce with an event
/// instead of a revert, and then the simulation passes while no money moves.
pub async fn verify_on_chain(
    chain: &dyn Chain,
    payment: &VerifiedPayment,
    relayer: Address,
    elsewhere: ClaimedElsewhere,
) -> Result<(), OnChainError> {
    let found = match payment.call() {
        SettlementCall::Permit(call) => {
            let code = chain.code(payment.payer()).await?;
            check_accounts(payment, chain.chain_id().await?, &chain.code(payment.terms().token).await?, &code)?;
            return permit2::verify_on_chain(chain, &call, relayer, elsewhere).await;
        }
        SettlementCall::Channel(call) => return verify_deposit(chain, payment, &call, relayer, elsewhere).await,
        SettlementCall::Escrow(call) => return verify_escrowed(chain, payment, &call, relayer, elsewhere).await,
        SettlementCall::Transfer(call) => chain.findings(AuthorizedCall::Key(&call), relayer).await?,
        SettlementCall::Wallet(call) => chain.findings(AuthorizedCall::Wallet(&call), relayer).await?,
        // No payment is one.
        SettlementCall::Cancel(_) | SettlementCall::Gas(_) => {
            return Err(ChainError::Unavailable("neither a cancellation nor gas is a payment".into()).into());
        }
    };
    check_findings(payment, &found, elsewhere)?;
    let simulated = found.simulated;
    match simulated {
        Ok(()) => Ok(()),
        Err(ChainError::Reverted { reason, data }) => {
            // Whoever has the function says why it refuses.
            let is_missing = data.is_empty() && matches!(payment.signature, PayerSignature::Wallet(_));
            let diagnosed = diagnose(chain, payment.terms(), &reason).await;
            let missing = |found| {
                let expected = "a token that takes the signatures of contracts";
                Refusal::new(Reason::Eip3009NotSupported, "asset", expected, found)
            };
            Err(if is_missing { missing(diagnosed.found) } else { diagnosed }.into())
        }
        Err(error) => Err(error.into()),
    }
}

/// The same of a deposit: the token's side as ever, and what the escrow has of the channel.
async fn verify_deposit(
    chain: &dyn Chain,
    payment: &VerifiedPayment,
    call: &ChannelCall,
    relayer: Address,
    elsewhere: ClaimedElsewhere,
) -> Result<(), OnChainError> {
    let Signed::Deposit(deposit) = payment.signed() else {
        let expected = "a deposit into a channel";
        return Err(Refusal::new(Reason::BatchPayloadType, "payload.type", expected, "another").into());
    };
    let (terms, payer, key) = (payment.terms(), payment.payer(), payment.claim_key());
    let code = chain.code(payer).await?;
    check_accounts(payment, chain.chain_id().await?, &chain.code(terms.token).await?, &code)?;
    if deposit.channel.payer_authorizer.is_zero() && !code.is_empty() {
        let field = "payload.channelConfig.payerAuthorizer";
        let expected = "the key that signs vouchers, where the payer has code";
        return Err(Refusal::new(Reason::BatchVoucherSignature, field, expected, "none").into());
    }
    if chain.authorization_consumed(key.token, payer, key.nonce, At::Latest).await? {
        let field = "payload.deposit.authorization.erc3009Authorization.salt";
        return Err(Refusal::new(Reason::NonceAlreadyUsed, field, "a deposit not made before", key.nonce).into());
    }
    check_balance(payment.expected().value, chain.balance_of(key.token, payer, At::Latest).await?, elsewhere.in_all)?;
    let state = chain.channel(deposit.channel.id(terms.network), At::Latest).await?;
    let amount = Amount::new(deposit.authorization.value.saturating_to());
    state.check(VoucherKind::Opening, deposit.max_claimable, amount)?;
    match chain.simulate_channel(call, relayer).await {
        Ok(()) => Ok(()),
        Err(ChainError::Reverted { reason, .. }) => Err(diagnose(chain, terms, &reason).await.into()),
        Err(error) => Err(error.into()),
    }
}

/// The same of what is to be held: the token's side as ever, and what the escrow says of it.
async fn verify_escrowed(
    chain: &dyn Chain,
    payment: &VerifiedPayment,
    call: &EscrowCall,
    relayer: Address,
    elsewhere: ClaimedElsewhere,
) -> Result<(), OnChainError> {
    let (terms, payer, key) = (payment.terms(), payment.payer(), payment.claim_key());
    let (token_code, payer_code) = (chain.code(terms.token).await?, chain.code(payer).await?);
    check_accounts(payment, chain.chain_id().await?, &token_code, &payer_code)?;
    if chain.authorization_consumed(key.token, payer, key.nonce, At::Latest).await? {
        let field = "payload.authorization.nonce";
        return Err(Refusal::new(Reason::NonceAlreadyUsed, field, "a nonce not used before", key.nonce).into());
    }
    check_balance(payment.expected().value, chain.balance_of(key.token, payer, At::Latest).await?, elsewhere.in_all)?;
    match chain.simulate_escrow(call, relayer).await {
        Ok(()) => Ok(()),
        Err(ChainError::Reverted { reason, data }) => match refused_by_escrow(&data) {
            Some(known) => Err(Refusal::new(known, "payload", "what the escrow takes", reason).into()),
            None => Err(diagnose(chain, terms, &reason).await.into()),
        },
        Err(error) => Err(error.into()),
    }
}

/// Everything that was found, save for what came of the simulation.
pub fn check_findings(payment: &VerifiedPayment, found: &Findings, elsewhere: ClaimedElsewhere) -> Result<(), Refusal> {
    check_accounts(payment, found.chain_id, &found.token_code, &found.payer_code)?;
    if found.consumed {
        let (field, nonce) = ("payload.authorization.nonce", payment.claim_key().nonce);
        return Err(Refusal::new(Reason::NonceAlreadyUsed, field, "a nonce not used before", nonce));
    }
    check_balance(payment.expected().value, found.balance, elsewhere.in_all)
}

fn check_accounts(
    payment: &VerifiedPayment,
    chain_id: u64,
    token_code: &[u8],
    payer_code: &[u8],
) -> Result<(), Refusal> {
    let (terms, payer) = (payment.terms(), payment.payer());
    if chain_id != terms.network.chain_id() {
        let found = format!("a node of eip155:{chain_id}");
        return Err(Refusal::new(Reason::NetworkMismatch, "network", terms.network, found));
    }
    if token_code.is_empty() {
        let found = format!("no code at {}", terms.token);
        return Err(Refusal::new(Reason::AssetNotDeployed, "asset", "a contract", found));
    }
    // A payer that is a contract signs by ERC-1271, never by a key.
    if matches!(payment.signature, PayerSignature::Key(_)) && !keeps_its_key(payer_code) {
        let field = match payment.signed() {
            Signed::Eip3009(_) | Signed::Escrowed(_) => "payload.authorization.from",
            Signed::Permit2(_) => "payload.permit2Authorization.from",
            Signed::Deposit(_) => "payload.channelConfig.payer",
        };
        let found = format!("code at {payer}, and the signature of a key");
        return Err(Refusal::new(Reason::UnsupportedPayloadType, field, "an account without code", found));
    }
    Ok(())
}

fn check_balance(value: U256, balance: U256, claimed_elsewhere: Amount) -> Result<(), Refusal> {
    let needed = value.saturating_add(U256::from(claimed_elsewhere.get()));
    if balance < needed {
        let expected = format!("a balance of {needed} (of it {claimed_elsewhere} claimed by other payments)");
        let field = "payload.authorization.value";
        return Err(Refusal::new(Reason::InsufficientBalance, field, expected, balance));
    }
    Ok(())
}

/// Why did it revert? The token's own facts first; where they cannot be read the revert itself is the answer.
async fn diagnose(chain: &dyn Chain, terms: &Terms, revert: &str) -> Refusal {
    let reverted = Refusal::new(Reason::SimulationFailed, "payload", "a transfer that does not revert", revert);
    let Ok(token) = chain.token(terms.token).await else { return reverted };
    if token.name != terms.domain.name {
        return Refusal::new(Reason::TokenNameMismatch, "extra.name", &token.name, &terms.domain.name);
    }
    if token.version != terms.domain.version {
        return Refusal::new(Reason::TokenVersionMismatch, "extra.version", &token.version, &terms.domain.version);
    }
    reverted
}
