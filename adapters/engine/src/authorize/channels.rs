//! The channels that our wallet has: what lies in them, how it comes back, and what of its vouchers is over with it.

use alloy_primitives::{Address, B256};
use ledger::account::Account;
use ledger::channel::{Step, number_of, step_nonce};
use ledger::claim::LogPlace;
use ledger::command::{Command, Covering, Refund};
use ledger::id::{CallerKind, SpendId};
use ledger::money::Amount;
use ledger::settlement::{PayerKey, Role};
use ledger::spend::{Authorization, Observation, Spend, SpendState};
use ledger::store::AccountBalance;
use x402::batch_settlement::{Channel, ChannelLog, ChannelState, ESCROW};
use x402::chain::{At, Receipt, TransferLog};
use x402::select::Offer;
use x402::settlement::{ClaimKey, Expected, NonceSpace};
use x402::wire::{PaymentRequired, SettleResponse, write_header};

use crate::book;
use crate::consent::forbidden;
use crate::error::EngineError;
use crate::{Engine, Identity};

/// Steps of a channel that may have something left that was not charged.
const OPEN_STEPS_MAX: usize = 16;

/// A channel of the wallet's.
#[derive(Clone, Debug)]
pub struct OwnChannel {
    pub id: B256,
    /// By the book: put in, and neither spent nor come back; below zero it is nothing.
    pub booked: Amount,
    /// On its way into the escrow.
    pub coming: Amount,
    pub state: ChannelState,
    /// Charged so far, by its payee's word.
    pub charged: Amount,
    pub offer: Offer,
    /// Its last payment.
    pub last: Spend,
    pub(super) channel: Channel,
}

impl OwnChannel {
    /// Put in, and neither claimed nor charged.
    pub fn left(&self) -> Amount {
        self.state.balance.checked_sub(self.state.total_claimed.max(self.charged)).unwrap_or(Amount::ZERO)
    }

    /// When what the wallet asked for at the escrow can be fetched, in Unix seconds; `None` where it asked for nothing.
    pub fn withdraw_from(&self) -> Option<u64> {
        let asked = Some(self.state.withdraw_requested_at).filter(|at| *at != 0);
        asked.map(|at| at.saturating_add(self.channel.withdraw_delay.to::<u64>()))
    }
}

/// What is shown to the payee of a channel, so that it gives back what is left.
#[derive(Clone, Debug)]
pub struct AskBack {
    pub url: String,
    pub method: String,
    /// The value of `PAYMENT-SIGNATURE`.
    pub header: String,
}

fn broken(fault: impl std::fmt::Display) -> EngineError {
    EngineError::Broken(fault.to_string())
}

/// The first step of the channel that an account is of.
fn first_step(row: &AccountBalance) -> Option<Authorization> {
    let Account::Channel(name) = &row.account else { return None };
    let (address, id) = name.split_once("/0x")?;
    let (network, payer) = address.rsplit_once(':')?;
    let mut channel = [0; 32];
    hex::decode_to_slice(id, channel.first_chunk_mut::<16>()?).ok()?;
    let (network, asset) = (format!("{network}/{}", ledger::spend::VOUCHER), row.asset.clone());
    let named = Authorization { network, asset, payer: payer.to_owned(), nonce: step_nonce(channel, 0) };
    Some(named.at_most())
}

pub(super) fn check_caller(identity: &Identity) -> Result<(), EngineError> {
    match identity.caller.kind {
        CallerKind::Agent | CallerKind::Merchant => Err(forbidden("the person, or an operator,", identity)),
        _ => Ok(()),
    }
}

impl Engine {
    /// Every channel of the wallet's that money was ever put into.
    pub async fn own_channels(&self, identity: &Identity) -> Result<Vec<OwnChannel>, EngineError> {
        check_caller(identity)?;
        let mut found = Vec::new();
        for row in self.store.balances(&identity.tenant).await? {
            let Some(first) = first_step(&row) else { continue };
            let Some((_, last)) = self.last_step(&identity.tenant, &first).await? else { continue };
            found.push(self.seen_channel(identity, &row, last).await?);
        }
        Ok(found)
    }

    async fn seen_channel(
        &self,
        identity: &Identity,
        row: &AccountBalance,
        last: Spend,
    ) -> Result<OwnChannel, EngineError> {
        let offer = self.offer_of_step(identity, &last).await?;
        let channel = self.channel_of(&offer, &last.authorization)?;
        let id = channel.id(offer.network());
        let state = self.chain.channel(id, At::Latest).await?;
        let charged = Step::of(&last).map_err(broken)?.after().unwrap_or(Amount::MAX);
        let balance = row.balance;
        let booked = balance.debit_posted.checked_sub(balance.credit_posted).unwrap_or(Amount::ZERO);
        Ok(OwnChannel { id, booked, coming: balance.debit_pending, state, charged, offer, last, channel })
    }

    pub(super) async fn own_channel(&self, identity: &Identity, id: &str) -> Result<OwnChannel, EngineError> {
        let channels = self.own_channels(identity).await?;
        let found = channels.into_iter().find(|channel| channel.id.to_string().eq_ignore_ascii_case(id));
        found.ok_or_else(|| EngineError::NotFound { what: "channel", id: id.to_owned() })
    }

    /// Signs what asks the payee for what is left. Where its last voucher is not answered it asks all the same: a payee that
    /// counts otherwise says so, and shows why.
    pub async fn ask_back(&self, identity: &Identity, id: &str) -> Result<AskBack, EngineError> {
        let own = self.own_channel(identity, id).await?;
        let tenant = self.tenant(&identity.tenant)?;
        let wallet = tenant.wallet.as_ref().ok_or(EngineError::NotConfigured("wallet"))?;
        let payload = wallet.ask_back(&own.last, &own.offer, &own.channel).await?;
        let (url, method) = (own.offer.resource_url().to_owned(), own.offer.method().to_owned());
        Ok(AskBack { url, method, header: write_header(&payload)? })
    }

    /// What the payee said to that. Its count of the last voucher is heard as after a payment; what came back is what a final
    /// block shows.
    pub async fn hear_refund(
        &self,
        identity: &Identity,
        id: &str,
        (reported, demanded): (Option<SettleResponse>, Option<PaymentRequired>),
    ) -> Result<OwnChannel, EngineError> {
        let own = self.own_channel(identity, id).await?;
        if demanded.is_some() && own.last.state.is_signed() {
            self.hear_payee(identity, own.last.clone(), (None, demanded)).await?;
        }
        self.end_deposits(identity, &own.last.authorization, own.id).await?;
        if let Some(response) = reported.filter(|response| response.success && !response.transaction.is_empty()) {
            self.post_withdrawal(identity, &own, &response.transaction).await?;
        }
        self.close_channel(identity, &own.last).await?;
        self.own_channel(identity, id).await
    }

    async fn post_withdrawal(&self, identity: &Identity, own: &OwnChannel, named: &str) -> Result<(), EngineError> {
        let wrong = || EngineError::invalid("transaction", "0x and 64 hexadecimal digits", named);
        let hash: B256 = named.parse().map_err(|_| wrong())?;
        let finalized = self.finalized().await?;
        let receipt = self.chain.receipt(hash).await?;
        let receipt = receipt.ok_or_else(|| EngineError::NotFound { what: "transaction", id: format!("{hash:#x}") })?;
        let given = given_back(&receipt, (own.id, own.channel.token, own.channel.payer));
        let Some((number, moved)) = given else {
            let expected = format!("a refund of channel {} to {}", own.id, own.channel.payer);
            return Err(EngineError::invalid("transaction", expected, "no such refund"));
        };
        self.post_back(identity, &own.last, (&receipt, number, moved), finalized).await
    }

    /// Once, whoever names it.
    async fn post_back(
        &self,
        identity: &Identity,
        step: &Spend,
        (receipt, number, moved): (&Receipt, u32, TransferLog),
        finalized: u64,
    ) -> Result<(), EngineError> {
        let transaction = book::reference(receipt.transaction)?;
        let seen = Observation {
            transaction: transaction.clone(),
            block_number: receipt.block.number,
            block_hash: receipt.block.hash.0,
            pay_to: book::text(moved.to),
            amount: book::amount(moved.value)?,
        };
        let place = LogPlace { network: step.authorization.chain().to_owned(), transaction, number };
        let command = Command::Withdraw { step: step.id, refund: Refund { place, seen }, finalized };
        self.run(identity, command, Vec::new()).await?;
        Ok(())
    }

    /// What the wallet fetched itself, from the receipt of its own transaction in a final block.
    pub(crate) async fn book_withdrawal(
        &self,
        identity: &Identity,
        receipt: &Receipt,
        expected: &Expected,
    ) -> Result<(), EngineError> {
        let fetched = receipt.channels.iter().find_map(|log| match log {
            ChannelLog::Withdrawn { channel, amount } => Some((*channel, *amount)),
            _ => None,
        });
        // All of it may have been claimed before.
        let Some((channel, _)) = fetched.filter(|(_, amount)| !amount.is_zero()) else { return Ok(()) };
        let (token, payer) = (expected.key.token, expected.to);
        let given = given_back(receipt, (channel, token, payer));
        let (number, moved) = given.ok_or_else(|| broken("a withdrawal whose money went elsewhere"))?;
        let nonce = B256::from(step_nonce(channel.0, 0));
        let first = book::authorization(&ClaimKey { space: NonceSpace::Voucher, payer, nonce, ..expected.key })?;
        let last = self.last_step(&identity.tenant, &first.at_most()).await?;
        let (_, last) = last.ok_or_else(|| broken("a withdrawal of a channel that nothing was paid out of"))?;
        self.post_back(identity, &last, (receipt, number, moved), receipt.block.number).await
    }

    /// Once a final block shows that nothing is left in a channel beyond what was charged, no voucher of it is good for more.
    /// Whether that is so.
    pub(crate) async fn close_channel(&self, identity: &Identity, last: &Spend) -> Result<bool, EngineError> {
        let offer = self.offer_of_step(identity, last).await?;
        let id = self.channel_of(&offer, &last.authorization)?.id(offer.network());
        if self.end_deposits(identity, &last.authorization, id).await? {
            return Ok(false);
        }
        let finalized = self.chain.block(At::Finalized).await?;
        let state = self.chain.channel(id, At::Number(finalized.number)).await?;
        let counted = Step::of(last).map_err(broken)?.after().unwrap_or(Amount::MAX);
        if state.balance > state.total_claimed.max(counted) {
            return Ok(false);
        }
        // More than it said, and not more than was signed: the newest voucher that is good for it was charged so much.
        let mut excess = state.total_claimed.checked_sub(counted).unwrap_or(Amount::ZERO);
        for spend in self.open_steps(identity, last).await? {
            let said = Step::of(&spend).map_err(broken)?.charged;
            let reported = said.unwrap_or(Amount::ZERO);
            let room = spend.money.amount.checked_sub(reported).unwrap_or(Amount::ZERO);
            let more = excess.min(room);
            if said.is_some() && !more.is_zero() {
                tracing::error!(spend = %spend.id, %more, "the payee of a channel claimed more than it said");
            }
            let charged = reported.checked_add(more).unwrap_or(Amount::MAX);
            excess = excess.checked_sub(more).unwrap_or(Amount::ZERO);
            let by = Covering::Closed { charged, proof: book::proof(&finalized) };
            self.run(identity, Command::Cover { spend: spend.id, by }, Vec::new()).await?;
        }
        Ok(true)
    }

    /// Deposits of a channel that may still come: those that came to something are booked. Whether any is left.
    async fn end_deposits(
        &self,
        identity: &Identity,
        step: &Authorization,
        channel: B256,
    ) -> Result<bool, EngineError> {
        let (asset, payer) = (step.asset.clone(), Some(step.payer.clone()));
        let open = self.store.settlements_of(&identity.tenant, &PayerKey { role: Role::Wallet, asset, payer }).await?;
        let mut is_left = false;
        let own = |found: &ledger::settlement::Settlement| {
            found.key.role == Role::Wallet && found.subject.0 == channel.0 && found.state.is_open()
        };
        for deposit in open.iter().filter(|found| own(found)) {
            is_left |= self.reconcile_settlement(identity, deposit).await?.is_open();
        }
        Ok(is_left)
    }

    /// The newest steps of which something was not charged, or nothing is known.
    async fn open_steps(&self, identity: &Identity, last: &Spend) -> Result<Vec<Spend>, EngineError> {
        let (mut found, mut number) = (Vec::new(), number_of(&last.authorization).unwrap_or_default());
        for _ in 0..OPEN_STEPS_MAX {
            if let Some(spend) = self.step_at(&identity.tenant, &last.authorization, number).await? {
                let charged = Step::of(&spend).map_err(broken)?.charged;
                let is_open = spend.state.is_signed()
                    || (spend.state == SpendState::Settled && charged != Some(spend.money.amount));
                found.extend(Some(spend).filter(|_| is_open));
            }
            let Some(before) = number.checked_sub(1) else { break };
            number = before;
        }
        Ok(found)
    }

    /// A step that nobody answered: over once nothing is left in its channel, in doubt once its time is over.
    pub(crate) async fn reconcile_drawn(&self, identity: &Identity, spend: &Spend) -> Result<SpendState, EngineError> {
        let is_late = self.clock.now().seconds() >= spend.valid_before;
        if is_late && self.close_channel(identity, spend).await? {
            return self.state_of(identity, spend.id).await;
        }
        if is_late && spend.state != SpendState::Unknown {
            self.run(identity, Command::Doubt { spend: spend.id }, Vec::new()).await?;
        }
        self.state_of(identity, spend.id).await
    }

    async fn state_of(&self, identity: &Identity, spend: SpendId) -> Result<SpendState, EngineError> {
        Ok(self.spend(identity, spend).await?.state)
    }

    /// Of every channel that the wallet asked for its money: the next step. Of every channel whose last payment was not
    /// charged whole: what became of it once nothing more can be.
    pub(crate) async fn sweep_own_channels(&self, identity: &Identity) -> Result<(), EngineError> {
        for row in self.store.balances(&identity.tenant).await? {
            let Some(first) = first_step(&row) else { continue };
            let Some((_, last)) = self.last_step(&identity.tenant, &first).await? else { continue };
            if self.is_withdrawing(&identity.tenant, &first).await? {
                let own = self.seen_channel(identity, &row, last.clone()).await?;
                self.go_on_withdrawing(identity, &own).await?;
            }
            let charged = Step::of(&last).map_err(broken)?.charged;
            if last.state == SpendState::Settled && charged != Some(last.money.amount) {
                self.close_channel(identity, &last).await?;
            }
        }
        Ok(())
    }
}

/// What the escrow sent to the payer, where it says that this was a refund of this very channel, or that the payer fetched it.
fn given_back(receipt: &Receipt, (id, token, payer): (B256, Address, Address)) -> Option<(u32, TransferLog)> {
    let amount = receipt.channels.iter().find_map(|log| match log {
        ChannelLog::Refunded { channel, amount } | ChannelLog::Withdrawn { channel, amount } => {
            (*channel == id).then_some(*amount)
        }
        _ => None,
    });
    let amount = amount.filter(|amount| receipt.success && !amount.is_zero())?;
    let is_back = |log: &TransferLog| (log.asset, log.from, log.to, log.value) == (token, ESCROW, payer, amount);
    (0..).zip(receipt.transfers.iter().copied()).find(|(_, log)| is_back(log))
}
