//! The database: units of work one after another, written whole or not at all; and what goes wrong around them.

use std::ops::Range;

use async_trait::async_trait;
use ledger::book::{Outcome, apply, keep_rejection};
use ledger::budget::Budget;
use ledger::claim::{Claim, ClaimKey};
use ledger::command::{Command, Request};
use ledger::decision::{Decision, DecisionState};
use ledger::effects::Effects;
use ledger::event::Event;
use ledger::gate::{Gate, GateState, Scope};
use ledger::id::{BudgetId, DecisionId, Digest, Micros, PrincipalId, SpendId, TenantId};
use ledger::rejection::Refusal;
use ledger::settlement::{PayerKey, Settlement, SettlementKey, SettlementState};
use ledger::spend::{Spend, SpendState};
use ledger::store::{
    AccountBalance, Answer, Document, Freshness, JournalEntry, Place, Store, StoreError, Verification, Work,
};
use ledger::view::View;
use ledger::window::{Window, WindowKey};

use super::mutant::Mutant;
use super::state::{Shared, State, StoreMode, pause};
use super::tables::{Tables, answer, salt};

pub struct SimStore(pub Shared);

/// What becomes of one unit.
enum Fate {
    Answered,
    /// Nothing is written.
    Refused,
    /// Written, and nobody hears of it.
    Unheard,
    /// The database writes it when it gets to it; nobody hears of it.
    Late,
}

fn fate(state: &mut State) -> Fate {
    match state.store {
        StoreMode::Sound => Fate::Answered,
        StoreMode::Down => Fate::Refused,
        StoreMode::Shaky => match state.dice.below(100) {
            0..2 => Fate::Refused,
            2..7 => Fate::Unheard,
            7..9 => Fate::Late,
            _ => Fate::Answered,
        },
    }
}

/// The tenant's lock waits for units that are on their way.
pub fn settle_late(state: &mut State, tenant: Option<&TenantId>) {
    let late = std::mem::take(&mut state.late);
    for (whose, work) in late {
        if tenant.is_none_or(|tenant| *tenant == whose) {
            let told = commit(state, &whose, &work).map(|answer| answer.freshness);
            state.tell(|| format!("    late unit of {whose}: {told:?}"));
        } else {
            state.late.push((whose, work));
        }
    }
}

/// One unit: a command, and the one that it brings along.
pub fn commit(state: &mut State, tenant: &TenantId, work: &Work) -> Result<Answer, StoreError> {
    let first = judge(state, tenant, work)?;
    let Some(command) = work.then.clone() else { return Ok(first) };
    // A process of the release before asks for it in a unit of its own: a stop, or a crash, may come between.
    if state.dice.chance(300) {
        return Ok(first);
    }
    let request = Request { caller: work.request.caller.clone(), command };
    match judge(state, tenant, &Work::new(request, Vec::new())) {
        Ok(second) => Ok(Answer { freshness: first.freshness, seq: first.seq, ..second }),
        Err(StoreError::Rejected(_)) => Ok(first),
        Err(error) => Err(error),
    }
}

/// Judged on what the tables hold, then written.
fn judge(state: &mut State, tenant: &TenantId, work: &Work) -> Result<Answer, StoreError> {
    let (at, mutant) = (state.store_now(), state.mutant);
    let finalized = state.chain.finalized();
    let tables = state.books.entry(tenant.clone()).or_default();
    let request = Mutant::command(mutant, tables, &work.request, &finalized);
    let before = tables.view(at, &request, mutant);
    let mut view = before.clone();
    match apply(&mut view, at, &request) {
        Ok(Outcome::Known) => Ok(answer(&view, &request, Freshness::Known, None)),
        Ok(Outcome::New(effects)) => {
            let (view, effects) = mutated(before, view, *effects, mutant);
            if mutant == Some(Mutant::AnswerBeforeCommit)
                && matches!(request.command, Command::Commit { .. })
                && state.dice.chance(300)
            {
                return Ok(answer(&view, &request, Freshness::New, Some(effects.seq)));
            }
            tables.write(&view, &request, &effects, mutant);
            tables.documents_of(&work.documents);
            rewrite(tables, mutant, &effects);
            Ok(answer(&view, &request, Freshness::New, Some(effects.seq)))
        }
        Err(Refusal::Rejected(rejection)) => {
            let text = serde_json::to_vec(&rejection).unwrap();
            let kept = keep_rejection(&mut view, at, &request, &rejection, &text).unwrap();
            if let Some(effects) = kept.filter(|_| mutant != Some(Mutant::KeepNoRefusal)) {
                tables.write(&view, &request, &effects, mutant);
            }
            Err(StoreError::Rejected(rejection))
        }
        Err(Refusal::Fault(fault)) => Err(StoreError::Broken(fault.to_string())),
    }
}

fn mutated(mut before: View, after: View, effects: Effects, mutant: Option<Mutant>) -> (View, Effects) {
    let mut changed = effects.clone();
    let Some(mutant) = mutant else { return (after, effects) };
    mutant.effects(&mut changed);
    if changed == effects {
        return (after, effects);
    }
    for step in &changed.windows {
        before.windows.load(step.key.clone(), None);
    }
    match before.absorb(&changed, None) {
        Ok(()) => (before, changed),
        // The second of a pair of checks stands in the way of this one.
        Err(_) => (after, effects),
    }
}

/// Somebody with a hand on the tables.
fn rewrite(tables: &mut Tables, mutant: Option<Mutant>, effects: &Effects) {
    match mutant {
        Some(Mutant::RewriteRecord) if effects.seq > 0 && effects.seq.is_multiple_of(40) => {
            let place = tables.journal.len() / 2;
            let mut record = Effects::from_bytes(&tables.journal[place].bytes).unwrap();
            record.caller.principal = "nobody".parse().unwrap();
            tables.journal[place].bytes = record.to_bytes();
            let entries = std::mem::take(&mut tables.journal);
            let mut head = ledger::view::Head { last_at: tables.head.last_at, ..Default::default() };
            for entry in entries {
                let record = Effects::from_bytes(&entry.bytes).unwrap();
                tables.journal.push(head.append(&salt(), &record));
            }
            tables.head = head;
        }
        Some(Mutant::RewriteRow) if effects.seq.is_multiple_of(40) => {
            let row = tables.budgets.values_mut().find(|row| !row.posted.is_zero());
            row.into_iter().for_each(|row| row.posted = ledger::money::Amount::ZERO);
        }
        Some(Mutant::RewriteSpend) if effects.seq.is_multiple_of(40) => {
            let row = tables.spends.values_mut().find(|row| row.state == ledger::spend::SpendState::Settled);
            row.into_iter().for_each(|row| row.state = ledger::spend::SpendState::Released);
        }
        Some(Mutant::LoseEvent) if effects.seq.is_multiple_of(40) => drop(tables.events.pop()),
        Some(Mutant::KeepCount) if effects.operation == ledger::effects::Operation::Expire => {
            let step = effects.moves.first().and_then(|step| tables.budgets.get_mut(&step.budget));
            step.into_iter().for_each(|row| row.count += 1);
        }
        _ => {}
    }
}

impl SimStore {
    async fn read<T>(&self, tenant: &TenantId, look: impl FnOnce(&Tables) -> T + Send) -> Result<T, StoreError> {
        pause().await;
        self.0.with(|state| match fate(state) {
            Fate::Refused => Err(StoreError::Unavailable("simulated".into())),
            _ => Ok(look(state.books.entry(tenant.clone()).or_default())),
        })
    }
}

fn most(limit: u32) -> usize {
    usize::try_from(limit).unwrap()
}

fn oldest<'a>(spends: impl Iterator<Item = &'a Spend>, after: Option<u64>, limit: u32) -> Vec<Spend> {
    let mut found: Vec<Spend> = spends.filter(|spend| Some(spend.hold.seq) > after).cloned().collect();
    found.sort_by_key(|spend| spend.hold.seq);
    found.truncate(most(limit));
    found
}

/// By key, and counted through: a row that comes between two pages is seen by the next sweep.
fn placed(
    tables: &Tables,
    after: Option<Place>,
    limit: u32,
    wanted: impl Fn(&Settlement) -> bool,
) -> Vec<(Place, Settlement)> {
    let all = (0..).map(Place).zip(tables.settlements.values());
    let found = all.filter(|(place, row)| Some(*place) > after && wanted(row));
    found.take(most(limit)).map(|(place, row)| (place, row.clone())).collect()
}

#[async_trait]
impl Store for SimStore {
    async fn run(&self, tenant: &TenantId, work: Work) -> Result<Answer, StoreError> {
        pause().await;
        let unknown = || StoreError::Unknown("simulated".into());
        let told = self.0.with(|state| {
            settle_late(state, Some(tenant));
            match fate(state) {
                Fate::Refused => Err(StoreError::Unavailable("simulated".into())),
                Fate::Answered => commit(state, tenant, &work),
                Fate::Unheard => {
                    let _ = commit(state, tenant, &work);
                    Err(unknown())
                }
                Fate::Late => {
                    state.late.push((tenant.clone(), work.clone()));
                    Err(unknown())
                }
            }
        });
        self.0.with(|state| state.tell(|| line(tenant, &work, &told)));
        // Here the process may die, and with it the answer.
        pause().await;
        told
    }

    async fn spend(&self, tenant: &TenantId, id: SpendId) -> Result<Option<Spend>, StoreError> {
        self.read(tenant, |tables| tables.spends.get(&id).cloned()).await
    }

    async fn budget(&self, tenant: &TenantId, id: BudgetId) -> Result<Option<Budget>, StoreError> {
        self.read(tenant, |tables| tables.budgets.get(&id).cloned()).await
    }

    async fn windows(&self, tenant: &TenantId, keys: Vec<WindowKey>) -> Result<Vec<Window>, StoreError> {
        self.read(tenant, |tables| keys.iter().filter_map(|key| tables.windows.get(key).cloned()).collect()).await
    }

    async fn settlement(&self, tenant: &TenantId, key: &SettlementKey) -> Result<Option<Settlement>, StoreError> {
        self.read(tenant, |tables| tables.settlements.get(key).cloned()).await
    }

    async fn claim(&self, tenant: &TenantId, key: &ClaimKey) -> Result<Option<Claim>, StoreError> {
        self.read(tenant, |tables| tables.claims.get(&key.digest()).map(|row| row.claim.clone())).await
    }

    async fn decision(&self, tenant: &TenantId, id: DecisionId) -> Result<Option<Decision>, StoreError> {
        self.read(tenant, |tables| tables.decisions.get(&id).cloned()).await
    }

    async fn document(&self, tenant: &TenantId, digest: Digest) -> Result<Option<Document>, StoreError> {
        self.read(tenant, |tables| tables.documents.get(&digest).cloned()).await
    }

    async fn budgets_after(
        &self,
        tenant: &TenantId,
        after: Option<BudgetId>,
        limit: u32,
    ) -> Result<Vec<Budget>, StoreError> {
        let look = |tables: &Tables| {
            let all = tables.budgets.values();
            all.filter(|budget| after.is_none_or(|after| budget.id > after)).take(most(limit)).cloned().collect()
        };
        self.read(tenant, look).await
    }

    /// Nobody here asks what was.
    async fn balances_before(&self, _: &TenantId, seq: u64) -> Result<Vec<AccountBalance>, StoreError> {
        Err(StoreError::Unavailable(format!("the balances before record {seq} are not simulated")))
    }

    async fn count_open(&self, tenant: &TenantId, holder: &PrincipalId, limit: u32) -> Result<u32, StoreError> {
        let look = |tables: &Tables| {
            let open = tables.spends.values().filter(|spend| spend.state.is_open());
            let held =
                open.filter(|spend| tables.budgets.get(&spend.budget).is_some_and(|node| node.holder == *holder));
            u32::try_from(held.take(most(limit)).count()).unwrap_or(u32::MAX)
        };
        self.read(tenant, look).await
    }

    async fn spends_in(
        &self,
        tenant: &TenantId,
        state: SpendState,
        after: Option<u64>,
        limit: u32,
    ) -> Result<Vec<Spend>, StoreError> {
        let look = |tables: &Tables| oldest(tables.spends.values().filter(|spend| spend.state == state), after, limit);
        self.read(tenant, look).await
    }

    async fn open_spends(&self, tenant: &TenantId, after: Option<u64>, limit: u32) -> Result<Vec<Spend>, StoreError> {
        let look = |tables: &Tables| oldest(tables.spends.values().filter(|spend| spend.is_unfinished()), after, limit);
        self.read(tenant, look).await
    }

    async fn spends_of(
        &self,
        tenant: &TenantId,
        budget: BudgetId,
        records: Range<u64>,
        limit: u32,
    ) -> Result<Vec<Spend>, StoreError> {
        let look = |tables: &Tables| {
            let held =
                tables.spends.values().filter(|spend| spend.budget == budget && records.contains(&spend.hold.seq));
            held.take(most(limit)).cloned().collect()
        };
        self.read(tenant, look).await
    }

    async fn open_settlements(
        &self,
        tenant: &TenantId,
        after: Option<Place>,
        limit: u32,
    ) -> Result<Vec<(Place, Settlement)>, StoreError> {
        self.read(tenant, |tables| placed(tables, after, limit, |settlement| settlement.state.is_open())).await
    }

    async fn settlements_of(&self, tenant: &TenantId, payer: &PayerKey) -> Result<Vec<Settlement>, StoreError> {
        self.read(tenant, |tables| tables.unfinished_of(payer)).await
    }

    async fn has_paid(&self, tenant: &TenantId, payer: &PayerKey) -> Result<bool, StoreError> {
        let paid = |row: &&Settlement| {
            row.state == SettlementState::Settled && row.young.is_none() && !row.money.amount.is_zero()
        };
        let look = |tables: &Tables| tables.settlements.values().filter(paid).any(|row| payer.has(&row.key));
        self.read(tenant, look).await
    }

    async fn paid_for(
        &self,
        tenant: &TenantId,
        payer: &PayerKey,
        subject: Digest,
    ) -> Result<Vec<Settlement>, StoreError> {
        let is_paid = |row: &&Settlement| row.state == SettlementState::Settled && row.subject == subject;
        let look = |tables: &Tables| {
            tables.settlements.values().filter(is_paid).filter(|row| payer.has(&row.key)).cloned().collect()
        };
        self.read(tenant, look).await
    }

    async fn owed_settlements(&self, tenant: &TenantId, limit: u32) -> Result<Vec<Settlement>, StoreError> {
        let look = |tables: &Tables| {
            let owed = tables.settlements.values().filter(|settlement| settlement.is_owed());
            owed.take(most(limit)).cloned().collect()
        };
        self.read(tenant, look).await
    }

    async fn young_settlements(
        &self,
        tenant: &TenantId,
        after: Option<Place>,
        limit: u32,
    ) -> Result<Vec<(Place, Settlement)>, StoreError> {
        self.read(tenant, |tables| placed(tables, after, limit, |settlement| settlement.young.is_some())).await
    }

    async fn decisions_of(
        &self,
        tenant: &TenantId,
        approver: &PrincipalId,
        state: DecisionState,
        records: Range<u64>,
        limit: u32,
    ) -> Result<Vec<Decision>, StoreError> {
        let look = |tables: &Tables| {
            let asked = tables.decisions.values().filter(|decision| decision.approver == *approver);
            let asked = asked.filter(|decision| decision.state == state && records.contains(&decision.asked));
            asked.take(most(limit)).cloned().collect()
        };
        self.read(tenant, look).await
    }

    async fn reviews_in(
        &self,
        tenant: &TenantId,
        state: DecisionState,
        records: Range<u64>,
        limit: u32,
    ) -> Result<Vec<Decision>, StoreError> {
        let look = |tables: &Tables| {
            let reviews = tables.decisions.values().filter(|review| state.is_review() && review.state == state);
            reviews.filter(|review| records.contains(&review.asked)).take(most(limit)).cloned().collect()
        };
        self.read(tenant, look).await
    }

    async fn reviews_due(&self, tenant: &TenantId, at: Micros, limit: u32) -> Result<Vec<Decision>, StoreError> {
        let look = |tables: &Tables| {
            let waiting = tables.decisions.values().filter(|review| review.state == DecisionState::InReview);
            waiting.filter(|review| review.expires_at <= at).take(most(limit)).cloned().collect()
        };
        self.read(tenant, look).await
    }

    async fn gates(&self, tenant: &TenantId, scopes: &[Scope]) -> Result<Vec<Gate>, StoreError> {
        let wanted = |tables: &Tables| scopes.iter().filter_map(|scope| tables.gates.get(scope).cloned()).collect();
        self.read(tenant, wanted).await
    }

    async fn closed_gates(&self, tenant: &TenantId) -> Result<Vec<Gate>, StoreError> {
        let closed =
            |tables: &Tables| tables.gates.values().filter(|gate| gate.state == GateState::Closed).cloned().collect();
        self.read(tenant, closed).await
    }

    async fn balances(&self, tenant: &TenantId) -> Result<Vec<AccountBalance>, StoreError> {
        let row = |((account, asset), balance): (&(_, _), &_)| AccountBalance {
            account: Clone::clone(account),
            asset: Clone::clone(asset),
            balance: *balance,
        };
        self.read(tenant, |tables| tables.balances.iter().map(row).collect()).await
    }

    async fn balances_after(
        &self,
        tenant: &TenantId,
        _: Option<&(String, String)>,
        limit: u32,
    ) -> Result<Vec<AccountBalance>, StoreError> {
        Ok(self.balances(tenant).await?.into_iter().take(most(limit)).collect())
    }

    async fn record_at(&self, tenant: &TenantId, at: Micros) -> Result<u64, StoreError> {
        let records = self.records(tenant, 0, u32::MAX).await?;
        Ok(u64::try_from(records.iter().filter(|(_, effects)| effects.at < at).count()).unwrap())
    }

    async fn records(
        &self,
        tenant: &TenantId,
        from: u64,
        limit: u32,
    ) -> Result<Vec<(JournalEntry, Effects)>, StoreError> {
        let look = |tables: &Tables| {
            let entries = tables.journal.iter().filter(|entry| entry.seq >= from).take(most(limit));
            entries.map(|entry| (entry.clone(), Effects::from_bytes(&entry.bytes).unwrap())).collect()
        };
        self.read(tenant, look).await
    }

    async fn leaves(&self, tenant: &TenantId, from: u64, limit: u32) -> Result<Vec<Digest>, StoreError> {
        Ok(self.records(tenant, from, limit).await?.into_iter().map(|(entry, _)| entry.leaf).collect())
    }

    async fn events(&self, tenant: &TenantId, _: Option<(u64, u16)>, limit: u32) -> Result<Vec<Event>, StoreError> {
        self.read(tenant, |tables| tables.events.iter().take(most(limit)).cloned().collect()).await
    }

    async fn records_of_spend(
        &self,
        tenant: &TenantId,
        spend: SpendId,
    ) -> Result<Vec<(JournalEntry, Effects)>, StoreError> {
        let mut records = self.records(tenant, 0, u32::MAX).await?;
        records.retain(|(_, effects)| effects.spend.as_ref().is_some_and(|found| found.id == spend));
        Ok(records)
    }

    async fn head(&self, tenant: &TenantId) -> Result<(u64, Digest), StoreError> {
        self.read(tenant, |tables| (tables.head.frontier.size(), tables.head.frontier.root())).await
    }

    async fn verify(&self, tenant: &TenantId) -> Result<Verification, StoreError> {
        let (entries, root) = self.head(tenant).await?;
        Ok(Verification::Sound { entries, root })
    }
}

fn line(tenant: &TenantId, work: &Work, told: &Result<Answer, StoreError>) -> String {
    let command = format!("{:?}", work.request.command);
    let name: String = command.chars().take_while(|letter| letter.is_alphanumeric()).collect();
    let about = super::tables::spend_of(&work.request.command).map(engine::ports::short).unwrap_or_default();
    match told {
        Ok(answer) => format!("    {tenant} {name} {about}: {:?} {:?}", answer.freshness, answer.seq),
        Err(error) => format!("    {tenant} {name} {about}: {error}"),
    }
}
