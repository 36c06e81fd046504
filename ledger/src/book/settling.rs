//! The rules of those who are paid or who carry: claim before work, persist before anything goes out, post on sight.

use super::drawing::{deposit, is_deposit};
use super::spending::check_seen;
use super::{Draft, Outcome, charging, done};
use crate::account::Account;
use crate::claim::{Claim, ClaimKey, ClaimOutcome};
use crate::command::{ClaimSettlement, FailureProof, Gas};
use crate::effects::{Effects, Fact, Operation};
use crate::gate::Scope;
use crate::id::{Digest, RailReference};
use crate::money::Amount;
use crate::rejection::{Refusal, Rejection};
use crate::settlement::{Goods, Role, Settlement, SettlementKey, SettlementState};
use crate::spend::Observation;
use crate::transfer::{Layer, Money, Resolves, Transfer, TransferCode, TransferId};

impl Draft<'_> {
    /// One winner for an authorization. `Known` is for the losers: they look at what the winner is doing.
    pub(super) fn claim(&self, claim: &ClaimSettlement) -> Result<Outcome, Refusal> {
        if claim.money.amount.is_zero() {
            return Err(Rejection::AmountZero { found: claim.money.amount }.into());
        }
        if let Some(found) = self.view.settlements.find(&claim.key)? {
            // What a facilitator gave up before it sent anything may be charged at another price, and a voucher that paid for
            // nothing may pay for something else.
            let is_reusable = found.key.role == Role::Facilitator || found.key.authorization.is_voucher();
            let is_free = is_reusable && found.state == SettlementState::Abandoned;
            if found.subject != claim.subject && !is_free {
                let (first, found) = (found.subject, claim.subject);
                return Err(Rejection::PaymentUsedForOtherResource { first, found }.into());
            }
            if found.state != SettlementState::Abandoned {
                return Ok(Outcome::Known);
            }
        }
        let name = self.check_name(claim)?;
        // What was begun before a stop ends; nothing is begun under it, save what takes back: a stop is there to keep money from
        // going out, and this brings it home.
        let own = &claim.key.authorization;
        let is_barred = |scope: &&Scope| **scope == Scope::Fence || !(own.is_cancellation() || own.takes_back());
        [Scope::Fence, Scope::Everything].iter().filter(is_barred).try_for_each(|scope| self.check_gate(scope))?;
        self.check_cover(claim)?;
        self.check_credit(claim)?;
        let mut effects = self.effects(Operation::Claim);
        effects.claims = name.into_iter().chain(self.order_of(claim)?).collect();
        let pending = match claim.key.role {
            Role::Seller => {
                effects.transfers = vec![sale(&claim.money, TransferCode::Sale, Layer::Pending, None)];
                Some(TransferId { seq: effects.seq, leg: 0 })
            }
            Role::Wallet if is_deposit(&claim.key) => {
                let pending = sale(&claim.money, TransferCode::Deposit, Layer::Pending, None);
                effects.transfers = vec![deposit(&claim.key, claim.subject, pending)];
                Some(TransferId { seq: effects.seq, leg: 0 })
            }
            Role::Facilitator | Role::Wallet => None,
        };
        effects.settlement = Some(Settlement {
            key: claim.key.clone(),
            state: match claim.credit {
                Some(_) => SettlementState::Promised,
                None => SettlementState::Claimed,
            },
            young: None,
            refunded: None,
            money: claim.money.clone(),
            payee: claim.payee.clone(),
            pay_to: claim.pay_to.clone(),
            taken_back: None,
            subject: claim.subject,
            valid_before: claim.valid_before,
            since_block: claim.since_block,
            pending,
            transaction: None,
            account_nonce: None,
            document: None,
        });
        done(effects)
    }

    /// The claim of what is sold once; none where this payment has it already.
    fn order_of(&self, claim: &ClaimSettlement) -> Result<Option<Claim>, Refusal> {
        let Some(named) = &claim.order else { return Ok(None) };
        let key = ClaimKey::order(&self.request.caller.principal, &named.key).digest();
        match self.view.claims.find(&key)? {
            Some(found) if found.claim.request == named.document => Ok(None),
            Some(found) => {
                let (first, found) = (found.claim.request, named.document);
                Err(Rejection::OrderHasPayment { first, found }.into())
            }
            None => {
                let outcome = ClaimOutcome::Accepted(named.document);
                Ok(Some(Claim { key, request: named.document, outcome }))
            }
        }
    }

    /// From `submitted` too, where the rail itself said before any broadcast that nothing will happen: the engine
    /// asks for it only when the chain shows the nonce unused. What was paid once only the chain ends.
    pub(super) fn abandon(&self, key: &SettlementKey) -> Result<Outcome, Refusal> {
        let open = [SettlementState::Claimed, SettlementState::Promised, SettlementState::Submitted];
        let Some(found) = self.settlement_in(key, &open, SettlementState::Abandoned)? else {
            return Ok(Outcome::Known);
        };
        let what = if found.is_sold_unpaid() {
            Some("served, and its price is owed")
        } else {
            found.taken_back.filter(|_| found.key.role == Role::Seller).map(|_| "paid, and taken back by the chain")
        };
        if let Some(what) = what {
            let authorization = hex::encode(key.authorization.nonce);
            let (expected, found) = ("one that was never served or paid".to_owned(), what.to_owned());
            return Err(Rejection::SettlementStateWrong { authorization, expected, found }.into());
        }
        let mut effects = self.effects(Operation::Abandon);
        void_sale(&mut effects, found);
        let cleared =
            Settlement { pending: None, transaction: None, account_nonce: None, document: None, ..found.clone() };
        effects.settlement = Some(Settlement { state: SettlementState::Abandoned, ..cleared });
        done(effects)
    }

    pub(super) fn dispatch(
        &self,
        key: &SettlementKey,
        document: Digest,
        transaction: Option<&RailReference>,
        account_nonce: Option<u64>,
    ) -> Result<Outcome, Refusal> {
        // Whoever saw the authorization may have settled it meanwhile: what was bought is kept with what paid for it.
        if let Some(paid) = self.paid_sale(key)? {
            let is_stored = paid.document.is_some();
            return if is_stored { Ok(Outcome::Known) } else { self.deliver(key, document, None, Goods::Kept) };
        }
        let claimed = [SettlementState::Claimed, SettlementState::Promised];
        let Some(found) = self.settlement_in(key, &claimed, SettlementState::Submitted)? else {
            return Ok(Outcome::Known);
        };
        // What is promised stays so until it is given.
        let state = match found.state {
            SettlementState::Promised => SettlementState::Promised,
            _ => SettlementState::Submitted,
        };
        if found.document == Some(document) && found.state == state {
            return Ok(Outcome::Known);
        }
        let mut effects = self.effects(Operation::Dispatch);
        effects.settlement = Some(Settlement {
            state,
            document: Some(document),
            transaction: transaction.cloned(),
            account_nonce,
            ..found.clone()
        });
        effects.fact = Some(Fact::Reference(document));
        done(effects)
    }

    /// Of nothing it is settled at once, and the permit is used up here, whatever its chain says.
    pub(super) fn charge(
        &self,
        key: &SettlementKey,
        document: Digest,
        charged: Amount,
        instead_of: Option<Digest>,
    ) -> Result<Outcome, Refusal> {
        // What is held is over when the chain shows that all of it went where it was to go.
        let is_over = charged.is_zero() && !key.authorization.is_held();
        let past = if is_over { SettlementState::Settled } else { SettlementState::Submitted };
        // What was charged first stands, whatever the work that is done again comes to.
        let charged_before = |found: &&Settlement| {
            matches!(found.state, SettlementState::Submitted | SettlementState::Settled)
                && found.document.is_some()
                && (found.state == SettlementState::Settled || found.document != instead_of)
        };
        if self.view.settlements.find(key)?.filter(charged_before).is_some() {
            return Ok(Outcome::Known);
        }
        if self.paid_sale(key)?.is_some() {
            return self.deliver(key, document, None, Goods::Kept);
        }
        let from = [if instead_of.is_some() { SettlementState::Submitted } else { SettlementState::Claimed }];
        let Some(found) = self.settlement_in(key, &from, past)? else { return Ok(Outcome::Known) };
        // A facilitator writes down what it charges only where that is nothing: anything else the chain shows.
        if found.key.role != Role::Seller && !charged.is_zero() {
            let (expected, found) = (Role::Seller.to_string(), found.key.role.to_string());
            return Err(Rejection::OwnerMismatch { expected, found }.into());
        }
        let mut effects = self.effects(Operation::Dispatch);
        let charged = charging::charge(&mut effects, found, charged)?;
        effects.settlement = Some(Settlement { state: past, document: Some(document), ..charged });
        effects.fact = Some(Fact::Reference(document));
        done(effects)
    }

    pub(super) fn receive(
        &self,
        key: &SettlementKey,
        seen: &Observation,
        finalized: u64,
        gas: Option<&Gas>,
    ) -> Result<Outcome, Refusal> {
        self.take(key, seen, finalized, gas, Goods::Kept)
    }

    fn take(
        &self,
        key: &SettlementKey,
        seen: &Observation,
        finalized: u64,
        gas: Option<&Gas>,
        goods: Goods,
    ) -> Result<Outcome, Refusal> {
        let open = [SettlementState::Claimed, SettlementState::Promised, SettlementState::Submitted];
        let Some(found) = self.settlement_in(key, &open, SettlementState::Settled)? else {
            return Ok(Outcome::Known);
        };
        check_seen(seen, &found.pay_to, found.money.amount)?;
        if is_deposit(key) && seen.block_number > finalized {
            let (what, block) = (format!("the deposit {}", seen.transaction), seen.block_number);
            return Err(Rejection::NotFinal { what, block, finalized }.into());
        }
        let mut effects = self.effects(Operation::Receive);
        if let Some(pending) = found.pending {
            let resolves = Resolves { transfer: pending, amount: found.money.amount };
            effects.transfers.push(match is_deposit(&found.key) {
                true => {
                    let posted = sale(&found.money, TransferCode::Deposit, Layer::Posted, Some(resolves));
                    deposit(&found.key, found.subject, posted)
                }
                false => sale(&found.money, TransferCode::Sale, Layer::Posted, Some(resolves)),
            });
        }
        if found.key.role == Role::Seller && !found.money.amount.is_zero() {
            effects.transfers.push(received(found));
        }
        let (state, young) = (SettlementState::Settled, seen.young(finalized));
        // In another block it may take another amount.
        burn(&mut effects, gas.filter(|_| young.is_none()));
        let transaction = Some(seen.transaction.clone());
        let pending = found.pending.filter(|_| goods == Goods::Kept && !is_deposit(key));
        effects.settlement = Some(Settlement { state, young, transaction, pending, ..found.clone() });
        effects.fact = Some(Fact::Seen(seen.clone()));
        done(effects)
    }

    pub(super) fn hand_over(
        &self,
        key: &SettlementKey,
        seen: &Observation,
        finalized: u64,
    ) -> Result<Outcome, Refusal> {
        let found = self.view.settlements.find(key)?;
        // What is stored nowhere is given by nobody.
        let goods = match found.and_then(|found| found.document) {
            Some(_) => Goods::Given,
            None => Goods::Kept,
        };
        self.take(key, seen, finalized, None, goods)
    }

    pub(super) fn fail(
        &self,
        key: &SettlementKey,
        proof: &FailureProof,
        gas: Option<&Gas>,
    ) -> Result<Outcome, Refusal> {
        let open = [SettlementState::Claimed, SettlementState::Promised, SettlementState::Submitted];
        let Some(found) = self.settlement_in(key, &open, SettlementState::Failed)? else { return Ok(Outcome::Known) };
        if let FailureProof::Unused(proof) = proof
            && proof.finalized_timestamp < found.valid_before
        {
            let expected = format!("a finalized block at or past {}", found.valid_before);
            let seen = format!("one of {}", proof.finalized_timestamp);
            return Err(Rejection::SettlementMismatch { expected, found: seen }.into());
        }
        let mut effects = self.effects(Operation::Fail);
        void_sale(&mut effects, found);
        burn(&mut effects, gas);
        // What was given stays owed, whatever becomes of the signature.
        let state = match (found.is_sold_unpaid(), found.document) {
            (true, Some(_)) => SettlementState::Unpaid,
            (true, None) => {
                effects.transfers.push(given_up(found));
                SettlementState::Failed
            }
            (false, _) => SettlementState::Failed,
        };
        effects.settlement = Some(Settlement { state, pending: None, ..found.clone() });
        effects.fact = Some(match proof {
            FailureProof::Unused(proof) => Fact::Unused(proof.clone()),
            FailureProof::Reverted(reference) => Fact::Reverted(reference.clone()),
        });
        done(effects)
    }

    pub(super) fn fund(&self, wallet: &str, money: &Money, reference: Digest) -> Result<Outcome, Refusal> {
        if money.amount.is_zero() {
            return Err(Rejection::AmountZero { found: money.amount }.into());
        }
        let mut effects = self.effects(Operation::Fund);
        effects.transfers = vec![Transfer {
            code: TransferCode::Fund,
            debit: Account::Wallet(wallet.to_owned()),
            credit: Account::Funding,
            asset: money.asset.clone(),
            amount: money.amount,
            layer: Layer::Posted,
            resolves: None,
        }];
        effects.fact = Some(Fact::Reference(reference));
        done(effects)
    }

    pub(super) fn settlement_in(
        &self,
        key: &SettlementKey,
        from: &[SettlementState],
        known: SettlementState,
    ) -> Result<Option<&Settlement>, Refusal> {
        let authorization = || hex::encode(key.authorization.nonce);
        let found = self.view.settlements.find(key)?;
        let found = found.ok_or_else(|| Rejection::SettlementUnknown { authorization: authorization() })?;
        if from.contains(&found.state) {
            return Ok(Some(found));
        }
        if found.state == known {
            return Ok(None);
        }
        let expected = from.iter().map(|state| state.as_str()).collect::<Vec<_>>().join(" or ");
        let (authorization, found) = (authorization(), found.state.to_string());
        Err(Rejection::SettlementStateWrong { authorization, expected, found }.into())
    }
}

pub(super) fn sale(money: &Money, code: TransferCode, layer: Layer, resolves: Option<Resolves>) -> Transfer {
    Transfer {
        code,
        debit: Account::Receivable,
        credit: Account::Sales,
        asset: money.asset.clone(),
        amount: money.amount,
        layer,
        resolves,
    }
}

/// The money is in the wallet.
pub(super) fn received(found: &Settlement) -> Transfer {
    let wallet = Account::Wallet(format!("{}:{}", found.key.authorization.chain(), found.pay_to));
    let credit = Account::Receivable;
    Transfer { debit: wallet, credit, ..sale(&found.money, TransferCode::Receive, Layer::Posted, None) }
}

/// It is not there any more, and owed.
pub(super) fn owed_again(found: &Settlement) -> Transfer {
    let received = received(found);
    let (debit, credit) = (received.credit.clone(), received.debit.clone());
    Transfer { code: TransferCode::Unreceive, debit, credit, ..received }
}

/// What is owed for a sale is not owed any more.
pub(super) fn given_up(found: &Settlement) -> Transfer {
    let owed = sale(&found.money, TransferCode::Release, Layer::Posted, None);
    Transfer { debit: Account::Sales, credit: Account::Receivable, ..owed }
}

fn void_sale(effects: &mut Effects, found: &Settlement) {
    if let Some(pending) = found.pending {
        let resolves = Resolves { transfer: pending, amount: found.money.amount };
        let void = sale(&found.money, TransferCode::Release, Layer::Void, Some(resolves));
        effects.transfers.push(match is_deposit(&found.key) {
            true => deposit(&found.key, found.subject, void),
            false => void,
        });
    }
}

pub(super) fn burn(effects: &mut Effects, gas: Option<&Gas>) {
    if let Some(gas) = gas.filter(|gas| !gas.money.amount.is_zero()) {
        effects.transfers.push(Transfer {
            code: TransferCode::Gas,
            debit: Account::Gas,
            credit: Account::Wallet(gas.wallet.clone()),
            asset: gas.money.asset.clone(),
            amount: gas.money.amount,
            layer: Layer::Posted,
            resolves: None,
        });
    }
}
