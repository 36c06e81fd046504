//! A second opinion on the book, as simple as it can be: a list of spends, summed anew at every question.

mod mending;
mod origin;
mod period;

use std::collections::{BTreeMap, BTreeSet};

use self::origin::origin;
use self::period::{Width, in_one_period};
use super::memory::Told;
use crate::account::{Account, Balance, Side};
use crate::budget::{BudgetKind, BudgetState, Caps, Refunds};
use crate::command::{Answered, Command, Hold, ReleaseProof, Request};
use crate::gate::{GateState, Scope};
use crate::id::{BudgetId, Digest, Micros, SpendId};
use crate::money::{Amount, AssetId};
use crate::rejection::Rejection;
use crate::settlement::SettlementState;
use crate::spend::{Rail, SpendState};
use crate::transfer::{Layer, TransferId};
use crate::view::View;
use crate::window::Limit;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Life {
    Held,
    Signed,
    Settled,
    Misspent,
    /// Given back, and paid after all: the nodes are charged with it.
    Charged,
    Gone,
}

impl Life {
    const fn counts(self) -> bool {
        !matches!(self, Self::Gone | Self::Charged)
    }
}

struct Node {
    parent: Option<BudgetId>,
    kind: BudgetKind,
    holder: String,
    caps: Caps,
    state: BudgetState,
    /// Since when each kind of limit counts.
    since: Vec<(Limit, Micros)>,
    /// The cap, or what was used when it was lowered under that.
    ceiling: Option<u128>,
    /// Taken by payments that the book found on the chain.
    charged: u128,
    /// The same by limit and instant, and by the payee where one is known.
    charges: Vec<(Limit, Micros, u128, Option<String>)>,
}

struct Bought {
    leaf: BudgetId,
    payee: String,
    authority: u128,
    money: u128,
    life: Life,
    /// When it was reserved.
    at: Micros,
    refunded: u128,
    /// What its merchant said last that it gives back in all.
    said: u128,
    /// The scopes of what the agent ran and whom it came by.
    origin: Vec<String>,
    /// Settled in a block that may be taken back.
    young: bool,
}

#[derive(Default)]
pub struct Model {
    nodes: BTreeMap<BudgetId, Node>,
    spends: BTreeMap<SpendId, Bought>,
    /// Caller and key, then what was asked and what was told.
    keys: BTreeMap<(String, String), (Digest, Option<Rejection>)>,
    nonces: BTreeSet<[u8; 32]>,
    leaves: BTreeSet<(BudgetId, String)>,
    balances: BTreeMap<(Account, AssetId), Balance>,
    pending: BTreeSet<TransferId>,
    closed: BTreeSet<String>,
    refunds: BTreeSet<String>,
    recovered: u128,
    found: BTreeSet<[u8; 32]>,
    last_at: Option<Micros>,
}

impl Model {
    pub fn hear(&mut self, clock: Micros, request: &Request, told: &Told) {
        let at = self.last_at.map_or(clock, |last| clock.max(last.plus_micros(1)));
        if let Command::Hold(hold) = &request.command {
            self.hear_hold(at, request, hold, told);
        }
        let Told::New(effects) = told else { return };
        assert_eq!(effects.at, at, "time is the clock's, and rises");
        self.last_at = Some(at);
        self.check_origin(request);
        let life = |model: &mut Self, spend: &SpendId, from: &[Life], to: Life| {
            let bought = model.spends.get_mut(spend).unwrap();
            assert!(from.contains(&bought.life), "{:?} became {to:?}", bought.life);
            bought.life = to;
        };
        match &request.command {
            Command::OpenBudget(open) => {
                let (kind, holder) = (open.kind, open.holder.to_string());
                let node = Node {
                    parent: open.parent,
                    kind,
                    holder,
                    caps: open.caps.clone(),
                    state: BudgetState::Active,
                    since: open.caps.limits.iter().map(|limit| (limit.clone(), at)).collect(),
                    ceiling: open.caps.total.map(Amount::get),
                    charged: 0,
                    charges: Vec::new(),
                };
                assert!(self.nodes.insert(open.id, node).is_none(), "a budget opened twice");
            }
            Command::ChangeBudget { budget, to } => {
                let node = self.nodes.get_mut(budget).unwrap();
                assert_ne!(node.state, BudgetState::Revoked, "revoked is for ever");
                node.state = *to;
            }
            Command::Overdue { spend, .. } => {
                for change in &effects.states {
                    assert_eq!((change.budget, change.to), (self.spends[spend].leaf, BudgetState::Suspended));
                    self.nodes.get_mut(&change.budget).unwrap().state = change.to;
                }
            }
            Command::ChangeCaps { budget, caps } => self.change_caps(*budget, caps, at),
            Command::Refund { spend, refund } => {
                let bought = self.spends.get_mut(spend).unwrap();
                assert_eq!(
                    (bought.life, bought.young),
                    (Life::Settled, false),
                    "a refund of what was not paid for good"
                );
                bought.refunded += refund.seen.amount.get();
                assert!(bought.refunded <= bought.money, "more was given back than was paid");
                assert!(self.refunds.insert(refund.place.transaction.to_string()), "a refund twice");
            }
            Command::Announce { spend, refunds, .. } => {
                let bought = self.spends.get_mut(spend).unwrap();
                assert_eq!(bought.life, Life::Settled, "a refund was announced of what was not captured");
                bought.said = refunds.get();
            }
            Command::Recover(recover) => self.recover(recover, at),
            Command::Claim(_) => {
                assert!(!self.closed.contains("everything") && !self.closed.contains("fence"), "claimed under a stop");
            }
            Command::Gate { scope, to: GateState::Closed } => {
                let is_news = self.closed.insert(scope.to_string());
                assert!(is_news || *scope == Scope::Fence, "{scope} was closed twice");
            }
            Command::Gate { scope, to: GateState::Open } => {
                assert!(self.closed.remove(&scope.to_string()), "{scope} was not closed");
            }
            Command::Void { spend } | Command::Expire { spend } => life(self, spend, &[Life::Held], Life::Gone),
            Command::Commit { spend } | Command::Redeem { spend, .. } => {
                let path = self.path(self.spends[spend].leaf);
                assert!(path.iter().all(|id| self.nodes[id].state == BudgetState::Active), "signed under a stop");
                let bought = &self.spends[spend];
                let origin = [&bought.origin[..], &origin(&request.caller)].concat();
                assert_eq!(self.barred(bought.leaf, &bought.payee, &origin), None, "signed past a gate");
                life(self, spend, &[Life::Held], Life::Signed);
            }
            Command::Submit { spend, .. } | Command::Doubt { spend } => {
                life(self, spend, &[Life::Signed], Life::Signed);
            }
            Command::Present { spend, .. } => {
                let path = self.path(self.spends[spend].leaf);
                assert!(path.iter().all(|id| self.nodes[id].state == BudgetState::Active), "given under a stop");
                life(self, spend, &[Life::Signed], Life::Signed);
            }
            Command::Acknowledge { spend, receipt } => match (self.spends[spend].life, receipt.answer) {
                (Life::Settled, Answered::NotPaid) => life(self, spend, &[Life::Settled], Life::Misspent),
                (Life::Gone, Answered::Paid) => self.charge(spend),
                (_, Answered::Paid) => life(self, spend, &[Life::Signed], Life::Settled),
                (_, Answered::NotPaid) => life(self, spend, &[Life::Signed], Life::Gone),
            },
            Command::Decline { spend, .. } => life(self, spend, &[Life::Signed], Life::Held),
            Command::Capture { spend, attempt, .. } => {
                life(self, spend, &[Life::Signed], Life::Settled);
                let bought = self.spends.get_mut(spend).unwrap();
                assert!(attempt.amount.get() <= bought.money, "more was captured than was held");
                (bought.money, bought.authority) = (attempt.amount.get(), attempt.amount.get());
            }
            Command::Lapse { spend } => {
                assert!(at.seconds() >= super::stream::VALID_BEFORE, "lapsed before it was over");
                life(self, spend, &[Life::Signed], Life::Gone);
            }
            Command::Settle { spend, seen, finalized } => {
                assert_eq!(seen.amount.get(), self.spends[spend].money);
                life(self, spend, &[Life::Signed], Life::Settled);
                self.spends.get_mut(spend).unwrap().young = seen.block_number > *finalized;
            }
            Command::Unsettle { spend, .. } => {
                self.grow_old(spend, "what is final was taken back");
                life(self, spend, &[Life::Settled], Life::Signed);
            }
            Command::Finalise { spend, .. } => self.grow_old(spend, "what is final became so again"),
            Command::Release { spend, proof } => {
                if let ReleaseProof::Unused(proof) = proof {
                    assert!(proof.finalized_timestamp >= super::stream::VALID_BEFORE, "released without a proof");
                }
                life(self, spend, &[Life::Signed], Life::Gone);
            }
            Command::Answer { spend, charged, .. } => {
                life(self, spend, &[Life::Signed], Life::Settled);
                assert!(charged.get() <= self.spends[spend].money, "more was charged than was held");
            }
            Command::Cover { spend, .. } => {
                let left = effects.spend.as_ref().unwrap();
                let to = if left.state == SpendState::Released { Life::Gone } else { Life::Settled };
                life(self, spend, &[Life::Signed, Life::Settled], to);
                let bought = self.spends.get_mut(spend).unwrap();
                assert!(left.money.amount.get() <= bought.money, "covered by more than was held");
                (bought.money, bought.authority) = (left.money.amount.get(), left.authority.get());
            }
            Command::Misspend { spend, .. } => life(self, spend, &[Life::Signed], Life::Misspent),
            Command::SignIn { spend, under, .. } => {
                let bought = &self.spends[spend];
                assert!(bought.life == Life::Settled && bought.refunded < bought.money, "not paid for");
                let nodes = [self.path(bought.leaf), self.path(*under)].concat();
                assert!(nodes.iter().all(|id| self.nodes[id].state == BudgetState::Active), "signed under a stop");
                let origin = [&bought.origin[..], &origin(&request.caller)].concat();
                assert_eq!(self.barred(bought.leaf, &bought.payee, &origin), None, "signed past a gate");
            }
            _ => {}
        }
        for (leg, transfer) in (0..).zip(&effects.transfers) {
            assert!(!transfer.moves_nothing(), "an empty transfer");
            if let Some(resolves) = &transfer.resolves {
                assert!(self.pending.remove(&resolves.transfer), "{:?} was resolved twice", resolves.transfer);
            }
            assert!(transfer.layer != Layer::Void || transfer.resolves.is_some(), "nothing was voided");
            if transfer.layer == Layer::Pending {
                self.pending.insert(TransferId { seq: effects.seq, leg });
            }
            for (side, account) in [(Side::Debit, &transfer.debit), (Side::Credit, &transfer.credit)] {
                let key = (account.clone(), transfer.asset.clone());
                self.balances.entry(key).or_default().post(side, transfer).unwrap();
            }
        }
    }

    fn hear_hold(&mut self, at: Micros, request: &Request, hold: &Hold, told: &Told) {
        let key = (request.caller.principal.to_string(), hold.key.to_string());
        if let Some((asked, answer)) = self.keys.get(&key) {
            match (told, answer) {
                (Told::Rejected(Rejection::IdempotencyKeyReused { .. }), _) => assert_ne!(*asked, hold.request),
                (Told::Rejected(Rejection::SpendReleased { spend }), None) => {
                    assert_eq!(self.spends[spend].life, Life::Gone);
                }
                (Told::Rejected(now), Some(first)) => assert_eq!(now, first, "a key changed its answer"),
                (Told::Known, None) => assert_eq!(*asked, hold.request),
                other => panic!("a used key was answered {other:?}"),
            }
            return;
        }
        let origin = origin(&request.caller);
        match told {
            Told::New(_) => self.take_hold(at, hold, origin),
            Told::Known => panic!("a new key is known"),
            Told::Rejected(rejection) => self.check_refusal(at, hold, &origin, rejection),
        }
        // Which refusals a key keeps is written here once more.
        let kept = match told {
            Told::New(_) => Some(None),
            Told::Rejected(
                rejection @ (Rejection::AmountExceedsBudget { .. }
                | Rejection::AmountExceedsPaymentLimit { .. }
                | Rejection::OccurrencesExhausted { .. }
                | Rejection::AmountExceedsPeriod { .. }
                | Rejection::PaymentsExceedPeriod { .. }
                | Rejection::RecurrenceTooSoon { .. }
                | Rejection::MandateExpired { .. }
                | Rejection::MandateRevoked { .. }
                | Rejection::MandateSuspended { .. }
                | Rejection::Stopped { .. }
                | Rejection::MandateConsumed { .. }
                | Rejection::AuthorizationClaimed { .. }),
            ) => {
                // The record of the refusal takes the instant.
                self.last_at = Some(at);
                Some(Some(rejection.clone()))
            }
            _ => None,
        };
        if let Some(answer) = kept {
            self.keys.insert(key, (hold.request, answer));
        }
    }

    fn take_hold(&mut self, at: Micros, hold: &Hold, origin: Vec<String>) {
        let path = self.path(hold.budget);
        assert!(!path.is_empty(), "a hold under nothing");
        assert_eq!(self.barred(hold.budget, hold.payee.as_str(), &origin), None, "a hold past a closed gate");
        for id in &path {
            let node = &self.nodes[id];
            assert_eq!(node.state, BudgetState::Active, "a hold past a stop");
            assert!(node.caps.expires_at.is_none_or(|expires_at| at < expires_at), "a hold past the end");
            assert!(node.caps.per_payment.is_none_or(|limit| hold.authority.amount <= limit));
            assert!(node.caps.occurrences.is_none_or(|limit| self.count(*id) < limit));
            assert!(!self.recurs_too_soon(*id, at), "a hold too soon after another");
        }
        assert!(self.fits(&path, hold), "a hold over a cap");
        assert_eq!(self.passed(&path, hold, at, Width::AsMuchAsMust), None, "a hold past a limit");
        assert!(self.nonces.insert(hold.authorization.nonce), "an authorization twice");
        assert!(self.leaves.insert((hold.budget, hold.leaf_nonce.clone())), "a closed mandate twice");
        let bought = Bought {
            leaf: hold.budget,
            payee: hold.payee.to_string(),
            authority: hold.authority.amount.get(),
            money: hold.money.amount.get(),
            life: Life::Held,
            at,
            refunded: 0,
            said: 0,
            origin,
            young: false,
        };
        assert!(self.spends.insert(hold.spend, bought).is_none(), "a spend twice");
    }

    /// A refusal must be true, too.
    fn check_refusal(&self, at: Micros, hold: &Hold, origin: &[String], rejection: &Rejection) {
        let path = self.path(hold.budget);
        match rejection {
            Rejection::AmountExceedsBudget { budget, available, cap, .. } => {
                assert!(!self.fits(&path, hold), "refused what fits");
                let used = self.used(*budget).min(cap.get());
                assert_eq!(cap.get() - available.get(), used, "the sentence is not true");
            }
            Rejection::OccurrencesExhausted { budget, used, .. } => assert_eq!(self.count(*budget), *used),
            Rejection::RecurrenceTooSoon { budget, .. } => {
                assert!(self.recurs_too_soon(*budget, at), "refused {budget}, which is due");
            }
            Rejection::AmountExceedsPeriod { budget, limit, .. }
            | Rejection::PaymentsExceedPeriod { budget, limit, .. } => {
                let passed = self.passed(&path, hold, at, Width::AsMuchAsMay);
                assert!(passed.is_some(), "refused {limit} of {budget}, which has room");
            }
            Rejection::Stopped { scope, .. } => {
                assert!(self.closed.contains(scope), "refused for {scope}, which is open");
                let barred = self.barred(hold.budget, hold.payee.as_str(), origin);
                assert!(barred.is_some(), "refused though nothing bars it");
            }
            Rejection::MandateUnknown { .. } => assert!(path.is_empty()),
            Rejection::MandateSuspended { budget } => {
                assert_eq!(self.nodes[budget].state, BudgetState::Suspended);
            }
            Rejection::MandateRevoked { budget } => assert_eq!(self.nodes[budget].state, BudgetState::Revoked),
            Rejection::MandateExpired { budget, .. } => {
                assert!(self.nodes[budget].caps.expires_at.is_some_and(|expires_at| at >= expires_at));
            }
            Rejection::AuthorizationClaimed { .. } => assert!(self.nonces.contains(&hold.authorization.nonce)),
            Rejection::MandateConsumed { .. } => {
                assert!(self.leaves.contains(&(hold.budget, hold.leaf_nonce.clone())));
            }
            Rejection::PurchaseUnresolved { spend, .. } => {
                let life = self.spends[spend].life;
                assert!(hold.cart.is_some() && life != Life::Gone || matches!(life, Life::Held | Life::Signed));
            }
            _ => {}
        }
    }

    pub fn compare(&self, view: &View) {
        for (id, node) in &self.nodes {
            let found = view.budgets.find(id).unwrap().unwrap();
            assert_eq!(found.held.get(), self.sum(*id, &[Life::Held, Life::Signed, Life::Misspent]), "held of {id}");
            assert_eq!(found.posted.get(), self.sum(*id, &[Life::Settled]) + node.charged, "posted of {id}");
            assert_eq!(found.count, self.count(*id), "count of {id}");
            assert!(node.ceiling.is_none_or(|cap| self.used(*id) <= cap), "{id} is over its cap");
        }
        let mut sums: BTreeMap<&AssetId, [u128; 4]> = BTreeMap::new();
        for ((_, asset), balance) in &self.balances {
            let sum = sums.entry(asset).or_default();
            sum[0] += balance.debit_posted.get();
            sum[1] += balance.credit_posted.get();
            sum[2] += balance.debit_pending.get();
            sum[3] += balance.credit_pending.get();
        }
        for (asset, sum) in sums {
            assert_eq!((sum[0], sum[2]), (sum[1], sum[3]), "{asset} does not balance");
        }
        // Promises: a pending transfer for each hold that is neither signed nor given back, and for each open sale. What a
        // vault token holds stays promised while its processor is asked.
        let of_vault = |id| view.spends.find(id).unwrap().unwrap().authorization.rail() == Rail::Vault;
        let is_promised = |id, life| life == Life::Held || life == Life::Signed && of_vault(id);
        let held = self.spends.iter().filter(|(id, bought)| is_promised(*id, bought.life));
        let holds = held.map(|(id, _)| view.spends.find(id).unwrap().unwrap().hold);
        let sales = view.settlements.changed().filter(|(_, sale)| sale.state.is_open());
        // And one for what a merchant said that it gives back, as far as it did not.
        let said = self.spends.iter().filter_map(|(id, bought)| {
            let announced = view.spends.find(id).unwrap().unwrap().announced;
            let due = bought.said.min(bought.money).saturating_sub(bought.refunded);
            assert_eq!(announced.map_or(0, |announced| announced.amount.get()), due, "announced of {id}");
            announced.map(|announced| announced.transfer)
        });
        let sold = sales.filter_map(|(_, sale)| sale.pending);
        let promised: BTreeSet<_> = holds.chain(sold).chain(said).collect();
        assert_eq!(self.pending, promised, "pending transfers");
        // What is owed to a seller: given and not paid, to the unit.
        let owed = view.settlements.changed().map(|(_, sale)| sale);
        let owed = owed.filter(|sale| sale.is_sold_unpaid() || sale.state == SettlementState::Unpaid);
        let receivable = self.balances.get(&(Account::Receivable, super::stream::token())).copied().unwrap_or_default();
        let owed = owed.map(|sale| sale.money.amount.get()).sum::<u128>();
        assert_eq!(receivable.debit_posted.get(), receivable.credit_posted.get() + owed, "receivable");
        // What a seller gave back, to the unit.
        let back = view.settlements.changed().filter_map(|(_, sale)| sale.refunded);
        let returns = self.balances.get(&(Account::Returns, super::stream::token())).copied().unwrap_or_default();
        assert_eq!(returns.debit_posted.get(), back.map(Amount::get).sum::<u128>(), "returns");
        // Uncleared cheques: what is signed and not settled, to the unit.
        let owed = |account| {
            let balance = self.balances.get(&(account, super::stream::token())).copied().unwrap_or_default();
            (balance.credit_posted.get(), balance.debit_posted.get())
        };
        let owed_for = [Life::Signed, Life::Misspent, Life::Charged];
        // A token is no cheque: what its processor may take is a promise until it says that it took it.
        let is_cheque = |id, life| owed_for.contains(&life) && !(life == Life::Signed && of_vault(id));
        let open = self.spends.iter().filter(|(id, bought)| is_cheque(*id, bought.life));
        let signed: u128 = open.map(|(_, bought)| bought.money).sum();
        let (issued, suspense) = (owed(Account::Issued), owed(Account::Suspense));
        let taken = issued.1 + suspense.1;
        assert_eq!(issued.0 + suspense.0 + self.recovered, signed + taken, "issued and suspense");
    }

    /// Leaf first; empty where the leaf is not there.
    fn path(&self, leaf: BudgetId) -> Vec<BudgetId> {
        let mut path = Vec::new();
        let mut next = Some(leaf);
        while let Some(id) = next
            && let Some(node) = self.nodes.get(&id)
        {
            path.push(id);
            next = node.parent;
        }
        path
    }

    fn under(&self, id: BudgetId) -> impl Iterator<Item = &Bought> {
        self.spends.values().filter(move |bought| self.path(bought.leaf).contains(&id))
    }

    /// A limit that this payment would pass, of any node above it.
    fn passed(&self, path: &[BudgetId], hold: &Hold, at: Micros, width: Width) -> Option<Limit> {
        let asked = hold.authority.amount.get();
        let limits = path.iter().flat_map(|id| self.nodes[id].caps.limits.iter().map(move |limit| (*id, limit)));
        let mut over = limits.filter(|(id, limit)| {
            let counted: Vec<_> = self
                .under(*id)
                .filter(|bought| bought.life.counts() && in_one_period(&limit.period, bought.at, at, width))
                .filter(|bought| !limit.each_payee || bought.payee == hold.payee.as_str())
                .filter(|bought| self.nodes[id].since.iter().any(|(like, at)| like.is_like(limit) && bought.at >= *at))
                .collect();
            let used: u128 = counted.iter().map(|bought| self.share(*id, bought)).sum();
            let used = used + self.charged_in(*id, limit, at, width, Some(hold.payee.as_str()));
            let count = u64::try_from(counted.len()).unwrap();
            limit.payments.is_some_and(|most| count >= most)
                || limit.amount.is_some_and(|cap| used.checked_add(asked).is_none_or(|after| after > cap.get()))
        });
        over.next().map(|(_, limit)| limit.clone())
    }

    fn sum(&self, id: BudgetId, lives: &[Life]) -> u128 {
        self.under(id).filter(|bought| lives.contains(&bought.life)).map(|bought| self.share(id, bought)).sum()
    }

    /// What a payment takes from a node: less what came back, where the node gives it back.
    fn share(&self, id: BudgetId, bought: &Bought) -> u128 {
        match self.nodes[&id].caps.refunds {
            Refunds::Keep => bought.authority,
            Refunds::Restore => bought.authority - bought.authority * bought.refunded / bought.money.max(1),
        }
    }

    fn used(&self, id: BudgetId) -> u128 {
        self.sum(id, &[Life::Held, Life::Signed, Life::Misspent, Life::Settled]) + self.nodes[&id].charged
    }

    fn count(&self, id: BudgetId) -> u64 {
        self.under(id).filter(|bought| bought.life.counts()).count().try_into().unwrap()
    }

    fn fits(&self, path: &[BudgetId], hold: &Hold) -> bool {
        path.iter().all(|id| {
            let after = self.used(*id).checked_add(hold.authority.amount.get());
            after.is_some_and(|after| self.nodes[id].caps.total.is_none_or(|cap| after <= cap.get()))
        })
    }
}
