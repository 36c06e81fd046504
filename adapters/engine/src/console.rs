//! What people look through: spends with why they were decided so, mandates as a tree, and a record with the proof that the
//! journal has it. Reads only. Each list is bounded by what is shown, or by how much one look goes through.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use ledger::budget::{Budget, BudgetKind};
use ledger::checkpoint::{RecordProof, VerifierKey};
use ledger::decision::{Decision, DecisionState};
use ledger::effects::Effects;
use ledger::id::{BudgetId, Digest, PrincipalId, SpendId, TenantId};
use ledger::journal::Frontier;
use ledger::listing::{Among, COME_TO_NOTHING, Listed, Listings};
use ledger::proof::{BLOCK_LEAVES, ProofError, blocks, inclusion, join};
use ledger::spend::{Rail, Spend, SpendState};
use ledger::store::JournalEntry;

use crate::Engine;
use crate::consent::{MandateView, fiat};
use crate::error::EngineError;
use crate::evidence::Bundle;
use crate::limits::LimitState;
use crate::oversight::Seat;
use crate::ports::Checkpoints;

/// Spends read at a time where only some of them are looked for.
const LOOK: u32 = 250;
/// Spends that one look goes through at most.
pub const LOOKED_THROUGH_MAX: usize = 2_000;
/// Digits of an id that are enough to look for it by them.
const PREFIX_DIGITS_MIN: usize = 8;

/// What the console reads beside the store's port.
pub struct Console {
    listings: Arc<dyn Listings>,
    checkpoints: Arc<dyn Checkpoints>,
    /// Hashes of full blocks of each journal, which never change.
    blocks: Mutex<HashMap<(TenantId, u64), Digest>>,
}

impl Console {
    pub fn new(listings: Arc<dyn Listings>, checkpoints: Arc<dyn Checkpoints>) -> Self {
        Self { listings, checkpoints, blocks: Mutex::default() }
    }
}

/// Which spends somebody looks for; everything that is theirs where nothing is said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    pub state: Option<SpendState>,
    pub person: Option<PrincipalId>,
    pub agent: Option<PrincipalId>,
    pub mandate: Option<BudgetId>,
    pub rail: Option<Rail>,
    /// Part of a payee, an address, a transaction or an id.
    pub text: Option<String>,
}

/// A spend in a list, with the mandate that it is of.
#[derive(Clone, Debug)]
pub struct Row {
    pub listed: Listed,
    /// Who spends.
    pub agent: PrincipalId,
}

/// A part of a list.
#[derive(Clone, Debug, Default)]
pub struct Looked {
    pub rows: Vec<Row>,
    /// How many were gone through for them.
    pub through: usize,
    /// Where to go on, where there is more.
    pub next: Option<u64>,
}

/// Mandates right under somebody, with everything below them.
#[derive(Clone, Debug, Default)]
pub struct Forest {
    pub roots: Vec<Budget>,
    pub below: Vec<Budget>,
    pub next: Option<BudgetId>,
}

/// A spend and everything that is on record of it.
pub struct Explained {
    pub spend: Spend,
    pub mandate: MandateView,
    /// What was known when it was held; nothing where that was erased.
    pub bundle: Option<Bundle>,
    pub records: Vec<(JournalEntry, Effects)>,
}

/// A record, and the way from it to a signed root.
pub struct Proved {
    pub proof: RecordProof,
    pub key: VerifierKey,
    pub size: u64,
    pub root: Digest,
}

impl Wanted {
    fn is_met(&self, spend: &Spend) -> bool {
        let text = self.text.as_deref().map(str::to_ascii_lowercase);
        let is_text = |wanted: &str| {
            let has = |found: &str| found.to_ascii_lowercase().contains(wanted);
            has(spend.payee.as_str())
                || has(&spend.pay_to)
                || spend.transaction.as_ref().is_some_and(|found| has(found.as_str()))
                || spend.id.to_string().starts_with(wanted)
                || spend.budget.to_string().starts_with(wanted)
        };
        self.state.is_none_or(|state| spend.state == state)
            && self.rail.is_none_or(|rail| spend.authorization.rail() == rail)
            && text.as_deref().is_none_or(is_text)
    }

    /// Bytes that the id begins with, where the text can be the beginning of one.
    fn prefix(&self) -> Option<Vec<u8>> {
        let text = self.text.as_deref().filter(|text| (PREFIX_DIGITS_MIN..=64).contains(&text.len()))?;
        let digits = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        let values = text.bytes().map(digits).collect::<Option<Vec<u8>>>()?;
        Some(values.chunks_exact(2).map(|two| two.iter().fold(0, |byte, digit| (byte << 4) | digit)).collect())
    }
}

impl Engine {
    pub(crate) fn listings(&self) -> Result<&dyn Listings, EngineError> {
        Ok(self.console()?.listings.as_ref())
    }

    fn console(&self) -> Result<&Console, EngineError> {
        self.console.get().ok_or(EngineError::NotConfigured("console"))
    }

    /// Newest first, from the ones that were held before a record.
    pub async fn look_through(
        &self,
        seat: &Seat,
        wanted: &Wanted,
        before: Option<u64>,
        limit: usize,
    ) -> Result<Looked, EngineError> {
        let (console, tenant) = (self.console()?, &seat.own().tenant);
        let among = self.among(seat, wanted).await?;
        if let Some(found) = self.named(seat, wanted).await?.filter(|found| !found.is_empty()) {
            let through = found.len();
            return Ok(Looked { rows: self.rows(tenant, found).await?, through, next: None });
        }
        let (mut found, mut at, mut through, mut next) = (Vec::new(), before, 0, None);
        'look: loop {
            let most = if *wanted == Wanted::default() { u32::try_from(limit + 1).unwrap_or(LOOK) } else { LOOK };
            let page = console.listings.spends_before(tenant, &among, at, most.min(LOOK)).await?;
            if page.is_empty() {
                break;
            }
            for listed in page {
                if found.len() == limit || through == LOOKED_THROUGH_MAX {
                    next = at;
                    break 'look;
                }
                at = Some(listed.spend.hold.seq);
                through += 1;
                if wanted.is_met(&listed.spend) {
                    found.push(listed);
                }
            }
        }
        Ok(Looked { rows: self.rows(tenant, found).await?, through, next })
    }

    /// The index that answers most of it. Nobody looks under what is not theirs.
    async fn among(&self, seat: &Seat, wanted: &Wanted) -> Result<Among, EngineError> {
        let node = match wanted.mandate {
            Some(mandate) => Some(self.mandate(&seat.reads(), mandate).await?.budget.id),
            None => self.node_of(seat, wanted.person.as_ref())?,
        };
        Ok(match (node, &wanted.agent, wanted.state) {
            (Some(node), Some(agent), _) => Among::HeldUnder(node, agent.clone()),
            (node, None, Some(state)) if state.is_open() => Among::Open(state, node),
            (Some(node), None, _) => Among::Under(node),
            (None, Some(agent), _) => Among::HeldBy(agent.clone()),
            (None, None, Some(state)) if COME_TO_NOTHING.contains(&state) => Among::Ended(state),
            (None, None, _) => Among::All,
        })
    }

    /// Those whose id begins as the text does; `None` where no id can.
    async fn named(&self, seat: &Seat, wanted: &Wanted) -> Result<Option<Vec<Listed>>, EngineError> {
        let Some(prefix) = wanted.prefix() else { return Ok(None) };
        let tenant = &seat.own().tenant;
        let mut found = self.console()?.listings.spends_named(tenant, &prefix, LOOK).await?;
        found.retain(|listed| wanted.is_met(&listed.spend));
        let ids: Vec<BudgetId> = found.iter().map(|listed| listed.spend.budget).collect();
        let budgets = self.seen_from(seat, self.console()?.listings.budgets_named(tenant, &ids).await?)?;
        let node = match wanted.mandate {
            Some(mandate) => Some(mandate),
            None => self.node_of(seat, wanted.person.as_ref())?,
        };
        let is_there = |budget: &Budget| {
            node.is_none_or(|node| budget.path.contains(&node))
                && wanted.agent.as_ref().is_none_or(|agent| budget.holder == *agent)
        };
        found.retain(|listed| budgets.iter().any(|budget| budget.id == listed.spend.budget && is_there(budget)));
        Ok(Some(found))
    }

    async fn rows(&self, tenant: &TenantId, found: Vec<Listed>) -> Result<Vec<Row>, EngineError> {
        let mut ids: Vec<BudgetId> = found.iter().map(|listed| listed.spend.budget).collect();
        ids.sort_unstable();
        ids.dedup();
        let budgets = self.console()?.listings.budgets_named(tenant, &ids).await?;
        let holders: HashMap<BudgetId, PrincipalId> =
            budgets.into_iter().map(|budget| (budget.id, budget.holder)).collect();
        let row = |listed: Listed| {
            let missing = || EngineError::Broken(format!("spend {} is of no mandate", listed.spend.id));
            let agent = holders.get(&listed.spend.budget).cloned().ok_or_else(missing)?;
            Ok(Row { listed, agent })
        };
        found.into_iter().map(row).collect()
    }

    pub async fn explain(&self, seat: &Seat, id: SpendId) -> Result<Explained, EngineError> {
        let identity = seat.reads();
        let spend = self.own_spend(&identity, id).await?;
        let mandate = self.mandate(&identity, spend.budget).await?;
        let bundle = match self.bundle(&identity, &spend).await {
            Ok(bundle) => Some(bundle),
            Err(EngineError::Erased { .. }) => None,
            Err(error) => return Err(error),
        };
        let records = self.store.records_of_spend(&identity.tenant, id).await?;
        Ok(Explained { spend, mandate, bundle, records })
    }

    /// A mandate with what is used of each limit; its tokens stay where they are.
    pub async fn mandate_figures(
        &self,
        seat: &Seat,
        id: BudgetId,
    ) -> Result<(MandateView, Vec<LimitState>), EngineError> {
        let view = self.mandate(&seat.reads(), id).await?;
        let limits = self.limit_states(&seat.own().tenant, &view.budget).await?;
        Ok((view, limits))
    }

    /// The node of a person, of whoever looks where none is named, with what is used of each limit. Nothing before anything
    /// was approved.
    pub async fn person_figures(
        &self,
        seat: &Seat,
        person: Option<&PrincipalId>,
    ) -> Result<Option<(Budget, Vec<LimitState>)>, EngineError> {
        let own = &seat.own().caller.principal;
        let Some(node) = self.node_of(seat, Some(person.unwrap_or(own)))? else { return Ok(None) };
        self.node_figures(seat, node).await
    }

    /// The same of the whole tenant, for those who see it.
    pub async fn tenant_figures(&self, seat: &Seat) -> Result<Option<(Budget, Vec<LimitState>)>, EngineError> {
        let tenant = self.tenant(&seat.own().tenant)?;
        match seat.sees_all() {
            true => self.node_figures(seat, BudgetId::of_tenant(&tenant.id, &fiat(&tenant.currency)?)).await,
            false => Ok(None),
        }
    }

    async fn node_figures(
        &self,
        seat: &Seat,
        node: BudgetId,
    ) -> Result<Option<(Budget, Vec<LimitState>)>, EngineError> {
        let tenant = &seat.own().tenant;
        let Some(budget) = self.store.budget(tenant, node).await? else { return Ok(None) };
        let limits = self.limit_states(tenant, &budget).await?;
        Ok(Some((budget, limits)))
    }

    /// Some mandates of whoever looks, without what was handed on under them.
    pub async fn first_mandates(&self, seat: &Seat, limit: u32) -> Result<Vec<Budget>, EngineError> {
        let own = &seat.own().caller.principal;
        let Some(node) = self.node_of(seat, Some(own))? else { return Ok(Vec::new()) };
        Ok(self.console()?.listings.budgets_under(&seat.own().tenant, node, None, limit).await?)
    }

    /// The questions that wait for whoever looks, without their documents, newest first; at most `most`.
    pub async fn waiting(&self, seat: &Seat, most: u32) -> Result<Vec<Decision>, EngineError> {
        let (own, now) = (seat.own(), self.clock.now());
        let (tenant, person, pending) = (&own.tenant, &own.caller.principal, DecisionState::Pending);
        let mut found = self.store.decisions_of(tenant, person, pending, 0..u64::MAX, most).await?;
        found.retain(|question| question.expires_at > now);
        Ok(found)
    }

    /// The mandates of a person, of whoever looks where none is named.
    pub async fn forest(
        &self,
        seat: &Seat,
        person: Option<&PrincipalId>,
        after: Option<BudgetId>,
        limit: u32,
    ) -> Result<Forest, EngineError> {
        let own = &seat.own().caller.principal;
        let Some(node) = self.node_of(seat, Some(person.unwrap_or(own)))? else { return Ok(Forest::default()) };
        let (listings, tenant) = (&self.console()?.listings, &seat.own().tenant);
        let mut roots = listings.budgets_under(tenant, node, after, limit.saturating_add(1)).await?;
        let more = roots.len() > usize::try_from(limit).unwrap_or(usize::MAX);
        roots.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
        let next = roots.last().filter(|_| more).map(|last| last.id);
        let ids: Vec<BudgetId> = roots.iter().map(|root| root.id).collect();
        let below = listings.budgets_below(tenant, &ids, limit.saturating_mul(10)).await?;
        Ok(Forest { roots, below, next })
    }

    /// What was handed on under one mandate.
    pub async fn handed_on(&self, seat: &Seat, mandate: BudgetId, limit: u32) -> Result<Vec<Budget>, EngineError> {
        let view = self.mandate(&seat.reads(), mandate).await?;
        Ok(self.console()?.listings.budgets_below(&seat.own().tenant, &[view.budget.id], limit).await?)
    }

    /// Those of these mandates that are seen from there.
    pub async fn mandates_seen(&self, seat: &Seat, ids: &[BudgetId]) -> Result<Vec<Budget>, EngineError> {
        let mut found = self.console()?.listings.budgets_named(&seat.own().tenant, ids).await?;
        found.retain(|budget| budget.kind == BudgetKind::Mandate);
        self.seen_from(seat, found)
    }

    /// That the journal has this record, against its head as it is now. The leaves before it are read once in the life of a
    /// process.
    pub async fn prove_record(&self, seat: &Seat, index: u64) -> Result<Proved, EngineError> {
        let missing = || EngineError::NotFound { what: "record", id: index.to_string() };
        if !seat.sees_all() {
            return Err(missing());
        }
        let tenant = self.tenant(&seat.own().tenant)?;
        let (size, root) = self.store.head(&tenant.id).await?;
        let wanted = inclusion(index, size).map_err(|error| match error {
            ProofError::OutOfTree { .. } => missing(),
            other => EngineError::Broken(other.to_string()),
        })?;
        let mut hashes = Vec::with_capacity(wanted.len());
        for subtree in wanted {
            let mut parts = Vec::new();
            for block in blocks(&subtree) {
                parts.push(self.block(&tenant.id, block).await?);
            }
            hashes.push(join(&parts).ok_or_else(|| EngineError::Broken("a subtree without leaves".into()))?);
        }
        let record = self.store.records(&tenant.id, index, 1).await?.into_iter().next();
        let (entry, _) = record.filter(|(entry, _)| entry.seq == index).ok_or_else(missing)?;
        let (note, key) = self.console()?.checkpoints.sign(&tenant.id, size, root)?;
        let proof = RecordProof { salt: tenant.salt.salt(index), record: entry.bytes, index, hashes, note };
        Ok(Proved { proof, key, size, root })
    }

    async fn block(&self, tenant: &TenantId, block: Range<u64>) -> Result<Digest, EngineError> {
        let known = &self.console()?.blocks;
        let is_full = block.end - block.start == BLOCK_LEAVES && block.start.is_multiple_of(BLOCK_LEAVES);
        let key = (tenant.clone(), block.start);
        if is_full && let Some(hash) = known.lock().unwrap_or_else(PoisonError::into_inner).get(&key) {
            return Ok(*hash);
        }
        let mut frontier = Frontier::default();
        while frontier.size() < block.end - block.start {
            let (from, left) = (block.start + frontier.size(), block.end - block.start - frontier.size());
            let page = self.store.leaves(tenant, from, u32::try_from(left).unwrap_or(u32::MAX)).await?;
            if page.is_empty() {
                return Err(EngineError::Broken(format!("leaf {from} of the journal is missing")));
            }
            page.into_iter().for_each(|leaf| frontier.push(leaf));
        }
        if is_full {
            known.lock().unwrap_or_else(PoisonError::into_inner).insert(key, frontier.root());
        }
        Ok(frontier.root())
    }
}
