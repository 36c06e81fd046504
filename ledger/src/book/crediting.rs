//! The risk of a seller: what a payer has signed beside this, what may be given before it is paid, and what becomes of what
//! was given and never paid, or paid and never given. Judged in the unit of the claim, so that it holds for every replica.

use super::settling::{given_up, sale};
use super::{Draft, Outcome, done, naming};
use crate::claim::{Claim, ClaimKey, ClaimOutcome};
use crate::command::{ClaimSettlement, Cover};
use crate::effects::{Fact, Operation};
use crate::gate::Scope;
use crate::id::{Digest, PrincipalId};
use crate::money::Amount;
use crate::rejection::{Fault, Refusal, Rejection};
use crate::settlement::{Goods, PayerKey, Role, Settlement, SettlementKey, SettlementState};
use crate::transfer::{Layer, Money, Resolves, TransferCode};
use crate::view::{Keys, View};

/// Payments of one payer in one asset under way with one seller; each claim reads them all.
pub(super) const PAYER_OPEN_MAX: usize = 1_000;

pub(super) fn wants_claim(view: &View, claim: &ClaimSettlement, seller: &PrincipalId, keys: &mut Keys) {
    keys.settlement(view, &claim.key);
    naming::wants(view, claim, keys);
    if let Some(order) = &claim.order {
        keys.claim(view, &ClaimKey::order(seller, &order.key));
    }
    keys.gates(view, [Scope::Fence, Scope::Everything]);
    let payer = PayerKey::of(&claim.key);
    if claim.key.authorization.is_voucher() {
        return;
    }
    if claim.credit.is_some_and(|credit| credit.total_max.is_some()) {
        keys.payer(view, payer.clone().everybody());
    }
    if claim.cover.is_some() || claim.credit.is_some() {
        keys.payer(view, payer);
    }
}

pub(super) fn wants_revisit(view: &View, key: &SettlementKey, nonce: &str, keys: &mut Keys) {
    keys.settlement(view, key);
    keys.gates(view, [Scope::Fence, Scope::Everything]);
    keys.claim(view, &signed_in(key, nonce));
}

fn signed_in(key: &SettlementKey, nonce: &str) -> ClaimKey {
    ClaimKey::SignedIn { payer: key.authorization.payer.clone(), nonce: nonce.to_owned() }
}

impl Draft<'_> {
    /// Each of a payer's authorizations may be covered, and all together not. What was under way before the balance was
    /// looked at counts, also where it has been settled since: nobody knows whether the balance was before or after it.
    pub(super) fn check_cover(&self, claim: &ClaimSettlement) -> Result<(), Refusal> {
        let Some(cover) = &claim.cover else { return Ok(()) };
        let beside = self.beside(claim, cover)?;
        if beside.len() >= PAYER_OPEN_MAX {
            let (found, limit) = (count(beside.len()), count(PAYER_OPEN_MAX));
            return Err(Rejection::PayerPaymentsOpen { payer: payer(claim), found, limit }.into());
        }
        let in_all = sum(beside.iter().copied());
        self.check_funds(claim, "balance", in_all, cover.balance)?;
        if let Some(allowance) = cover.allowance {
            let is_permit = |found: &&&Settlement| {
                let authorization = &found.key.authorization;
                authorization.nonce_space().is_some() && !authorization.is_escrowed()
            };
            let permits = beside.iter().filter(is_permit);
            self.check_funds(claim, "allowance", sum(permits.copied()), allowance)?;
        }
        Ok(())
    }

    fn beside<'a>(&'a self, claim: &ClaimSettlement, cover: &'a Cover) -> Result<Vec<&'a Settlement>, Refusal> {
        let mut beside = self.open_of(&PayerKey::of(&claim.key))?;
        beside.retain(|found| is_beside(claim, found));
        let seen = cover.beside.iter().filter(|seen| is_beside(claim, seen));
        let more: Vec<_> = seen.filter(|seen| beside.iter().all(|found| found.key != seen.key)).collect();
        beside.extend(more);
        Ok(beside)
    }

    fn check_funds(
        &self,
        claim: &ClaimSettlement,
        of: &str,
        beside: Option<Amount>,
        found: Amount,
    ) -> Result<(), Refusal> {
        let requested = claim.money.amount;
        let needed = beside.and_then(|beside| beside.checked_add(requested));
        if needed.is_some_and(|needed| needed <= found) {
            return Ok(());
        }
        let (beside, of) = (beside.unwrap_or(Amount::MAX), of.to_owned());
        Err(Rejection::PayerOverdrawn { payer: payer(claim), of, requested, beside, found }.into())
    }

    /// Who owes for something that was never paid gets nothing more on credit. Beyond a limit nobody does: whoever claims
    /// may claim it again without credit, and give when it is paid.
    pub(super) fn check_credit(&self, claim: &ClaimSettlement) -> Result<(), Refusal> {
        // What a voucher is good for lies in the escrow: nobody's credit is asked for it.
        let Some(credit) = claim.credit.filter(|_| !claim.key.authorization.is_voucher()) else { return Ok(()) };
        let own = PayerKey::of(&claim.key);
        let found = self.open_of(&own)?;
        let unpaid = sum(found.iter().copied().filter(|found| found.state == SettlementState::Unpaid));
        if unpaid != Some(Amount::ZERO) {
            return Err(Rejection::PayerBlocked { payer: payer(claim), owed: unpaid.unwrap_or(Amount::MAX) }.into());
        }
        self.check_exposure(claim, &payer(claim), &found, credit.payer_max)?;
        match credit.total_max {
            Some(limit) => self.check_exposure(claim, "all payers", &self.open_of(&own.everybody())?, limit),
            None => Ok(()),
        }
    }

    fn check_exposure(
        &self,
        claim: &ClaimSettlement,
        whose: &str,
        found: &[&Settlement],
        limit: Amount,
    ) -> Result<(), Refusal> {
        let requested = claim.money.amount;
        let on_credit = |found: &&Settlement| {
            found.is_on_credit() && !found.key.authorization.is_voucher() && found.key != claim.key
        };
        let owed = sum(found.iter().copied().filter(on_credit));
        let exposed = owed.and_then(|owed| owed.checked_add(requested));
        if exposed.is_some_and(|exposed| exposed <= limit) {
            return Ok(());
        }
        let (payer, owed) = (whose.to_owned(), owed.unwrap_or(Amount::MAX));
        Err(Rejection::ExposureExceeded { payer, requested, owed, limit }.into())
    }

    fn open_of(&self, key: &PayerKey) -> Result<Vec<&Settlement>, Refusal> {
        let keys = self.view.open_of.find(key)?.into_iter().flatten();
        let found = keys.map(|key| self.view.settlements.find(key));
        Ok(found.filter_map(Result::transpose).collect::<Result<_, Fault>>()?)
    }

    /// The sale is posted before the money is there: its price is owed until the chain shows it.
    pub(super) fn serve(
        &self,
        key: &SettlementKey,
        document: Digest,
        charged: Option<Amount>,
    ) -> Result<Outcome, Refusal> {
        if let Some(paid) = self.paid_sale(key)? {
            return self.deliver(key, paid.document.unwrap_or(document), None, Goods::Given);
        }
        let promised = [SettlementState::Promised];
        let Some(found) = self.settlement_in(key, &promised, SettlementState::Submitted)? else {
            return Ok(Outcome::Known);
        };
        let mut effects = self.effects(Operation::Serve);
        let most = found.money.amount;
        let charged = charged.unwrap_or(most);
        if charged.is_zero() || charged > most {
            let (expected, found) = (format!("a charge of 1 to {most}"), charged.to_string());
            return Err(Rejection::SettlementMismatch { expected, found }.into());
        }
        let money = Money { amount: charged, ..found.money.clone() };
        if let Some(pending) = found.pending {
            // The rest of what was promised is let go with it.
            let resolves = Resolves { transfer: pending, amount: most };
            effects.transfers.push(sale(&money, TransferCode::Sale, Layer::Posted, Some(resolves)));
        }
        let (state, document) = (SettlementState::Submitted, Some(document));
        effects.settlement = Some(Settlement { state, document, money, pending: None, ..found.clone() });
        effects.fact = document.map(Fact::Reference);
        done(effects)
    }

    pub(super) fn paid_sale(&self, key: &SettlementKey) -> Result<Option<&Settlement>, Refusal> {
        let found = self.view.settlements.find(key)?;
        Ok(found.filter(|found| found.key.role == Role::Seller && found.state == SettlementState::Settled))
    }

    pub(super) fn deliver(
        &self,
        key: &SettlementKey,
        document: Digest,
        instead_of: Option<Digest>,
        goods: Goods,
    ) -> Result<Outcome, Refusal> {
        let paid = [SettlementState::Settled, SettlementState::Undelivered];
        let Some(found) = self.settlement_in(key, &paid, SettlementState::Settled)? else { return Ok(Outcome::Known) };
        let pending = found.pending.filter(|_| goods == Goods::Kept);
        let is_new = found.document != Some(document) || found.pending != pending;
        if found.state == SettlementState::Settled && !is_new {
            return Ok(Outcome::Known);
        }
        if let Some(expected) = instead_of
            && found.document != instead_of
        {
            let authorization = hex::encode(key.authorization.nonce);
            let (expected, found) = (format!("the document {expected}"), format!("{:?}", found.document));
            return Err(Rejection::SettlementStateWrong { authorization, expected, found }.into());
        }
        let mut effects = self.effects(Operation::Deliver);
        let state = SettlementState::Settled;
        effects.settlement = Some(Settlement { state, document: Some(document), pending, ..found.clone() });
        effects.fact = Some(Fact::Reference(document));
        done(effects)
    }

    /// Paid still, given once, and signed for with a nonce that nobody has shown before.
    pub(super) fn revisit(&self, key: &SettlementKey, nonce: &str) -> Result<Outcome, Refusal> {
        let wrong = |expected: &str, found: &str| {
            let authorization = hex::encode(key.authorization.nonce);
            Rejection::SettlementStateWrong { authorization, expected: expected.to_owned(), found: found.to_owned() }
        };
        let Some(found) = self.paid_sale(key)? else {
            let found = self.view.settlements.find(key)?.map_or("unknown", |found| found.state.as_str());
            return Err(wrong("settled to a seller", found).into());
        };
        let Some(document) = found.document else { return Err(wrong("given", "paid, and not given").into()) };
        if found.money.amount.is_zero() {
            return Err(wrong("paid", "charged nothing").into());
        }
        if found.is_given_back() {
            return Err(wrong("paid, and not given back", "given back").into());
        }
        let claim = signed_in(key, nonce).digest();
        if self.view.claims.find(&claim)?.is_some() {
            return Err(Rejection::SignInAnswered { nonce: nonce.to_owned() }.into());
        }
        [Scope::Fence, Scope::Everything].iter().try_for_each(|scope| self.check_gate(scope))?;
        let mut effects = self.effects(Operation::Deliver);
        effects.claims = vec![Claim { key: claim, request: document, outcome: ClaimOutcome::Accepted(document) }];
        effects.settlement = Some(Settlement { pending: None, ..found.clone() });
        effects.fact = Some(Fact::Reference(document));
        done(effects)
    }

    pub(super) fn undeliver(&self, key: &SettlementKey, document: Digest) -> Result<Outcome, Refusal> {
        let paid = [SettlementState::Settled];
        let found = self.settlement_in(key, &paid, SettlementState::Undelivered)?;
        let Some(found) = found else { return Ok(Outcome::Known) };
        let mut effects = self.effects(Operation::Undeliver);
        let state = SettlementState::Undelivered;
        effects.settlement = Some(Settlement { state, document: Some(document), ..found.clone() });
        effects.fact = Some(Fact::Reference(document));
        done(effects)
    }

    /// What a seller is owed is not income any more; what a payer is owed was made good elsewhere.
    pub(super) fn write_off(&self, key: &SettlementKey, document: Digest) -> Result<Outcome, Refusal> {
        let owed = [SettlementState::Unpaid, SettlementState::Undelivered];
        let known = SettlementState::Failed;
        let Some(found) = self.settlement_in(key, &owed, known)? else { return Ok(Outcome::Known) };
        let mut effects = self.effects(Operation::WriteOff);
        let state = match found.state {
            SettlementState::Unpaid => {
                effects.transfers.push(given_up(found));
                known
            }
            _ => SettlementState::Settled,
        };
        effects.settlement = Some(Settlement { state, pending: None, ..found.clone() });
        effects.fact = Some(Fact::Reference(document));
        done(effects)
    }
}

/// What may still come out of the same balance. What is paid out of a channel left it with the deposit, and what is held left
/// it before any work is done for it: its document is written just before.
fn is_beside(claim: &ClaimSettlement, found: &Settlement) -> bool {
    let authorization = &found.key.authorization;
    let is_out = authorization.is_voucher() || authorization.is_held() && found.document.is_some();
    found.state.is_open() && !is_out && found.key != claim.key
}

fn payer(claim: &ClaimSettlement) -> String {
    claim.key.authorization.payer.clone()
}

/// `None` where it leaves the range of an amount.
fn sum<'a>(mut found: impl Iterator<Item = &'a Settlement>) -> Option<Amount> {
    found.try_fold(Amount::ZERO, |sum, found| sum.checked_add(found.money.amount))
}

fn count(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}
