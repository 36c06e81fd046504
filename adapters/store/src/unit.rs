//! One unit of work: lock the tenant, read, let the book judge command after command, write, commit, answer.

use std::collections::BTreeMap;

use ledger::book::{self, Outcome};
use ledger::command::{Command, Request};
use ledger::effects::Effects;
use ledger::id::{Digest, Micros, TenantId};
use ledger::journal::SaltKey;
use ledger::rejection::{Refusal, Rejection};
use ledger::store::{Answer, Document, Freshness, StoreError, Work};
use ledger::view::{Keys, View};

use crate::Clock;
use crate::cell::Cell;
use crate::connection::{Connection, Dialect};
use crate::failure::Failure;
use crate::limits::{LOAD_ROUNDS_MAX, UNIT_JUDGED_AT_ONCE, UNIT_PART};
use crate::load;
use crate::write::{Written, write, write_records};

pub(crate) type Answers = Vec<Result<Answer, StoreError>>;

/// Where and for whom a unit runs.
pub(crate) struct Place<'a> {
    pub tenant: &'a TenantId,
    pub salt_key: &'a SaltKey,
    pub clock: &'a Clock,
}

/// What became of a unit.
pub(crate) enum Ended {
    Answered(Answers),
    InDoubt(Doubt),
}

/// COMMIT was sent and not answered, or answered with a warning; these are the answers if it was heard.
pub(crate) struct Doubt {
    pub unit: UnitId,
    pub answers: Answers,
    pub reason: String,
}

/// A name that a unit writes down with itself, where a server can lose the answer to a COMMIT and be asked later.
pub(crate) type UnitId = [u8; 16];

/// Runs the commands in one unit, each with an answer of its own. On `Err` nothing was written, unless it says
/// [`Failure::Unknown`]; on `Unavailable`, `Again` and `Unknown` the connection may be unusable.
pub(crate) async fn attempt(connection: &mut Connection, place: &Place<'_>, works: &[Work]) -> Result<Ended, Failure> {
    let unit = match connection.dialect() {
        Dialect::Postgres => Some(random()?),
        Dialect::Sqlite => None,
    };
    connection.begin().await?;
    match judge_and_write(connection, place, works, unit).await {
        Ok((answers, Change::Something)) => match (connection.commit().await, unit) {
            (Ok(()), _) => Ok(Ended::Answered(answers)),
            (Err(Failure::Unknown(reason)), Some(unit)) => Ok(Ended::InDoubt(Doubt { unit, answers, reason })),
            (Err(failure), _) => Err(failure),
        },
        Ok((answers, Change::Nothing)) => {
            connection.roll_back().await?;
            Ok(Ended::Answered(answers))
        }
        Err(failure) => {
            // The engine may have rolled back by itself; the answer is the first failure either way, and a connection
            // that is still inside a unit fails its next BEGIN and is replaced.
            if let Err(second) = connection.roll_back().await {
                tracing::debug!(tenant = %place.tenant, reason = ?second, "a unit of work could not be rolled back");
            }
            Err(failure)
        }
    }
}

fn random() -> Result<UnitId, Failure> {
    let mut id = UnitId::default();
    getrandom::fill(&mut id).map_err(|error| Failure::Unavailable(format!("no randomness: {error}")))?;
    Ok(id)
}

/// Whether a unit was committed, and a row of our own written after it: under synchronous replication a commit whose
/// wait was cancelled is seen here and may be missing there, and only a later commit that writes waits for both.
pub(crate) async fn find(connection: &mut Connection, tenant: &TenantId, unit: UnitId) -> Result<bool, Failure> {
    connection.begin().await?;
    let head = load::locked_head(connection, tenant).await?;
    let text = "SELECT size FROM unit WHERE tenant = $1 AND id = $2";
    let found = connection.fetch_one(text, [Cell::text(tenant), Cell::blob(unit)]).await?.is_some();
    mark(connection, tenant, random()?, head.frontier.size()).await?;
    connection.commit().await?;
    Ok(found)
}

async fn mark(connection: &mut Connection, tenant: &TenantId, unit: UnitId, size: u64) -> Result<(), Failure> {
    let text = "INSERT INTO unit (tenant, id, size) VALUES ($1, $2, $3)";
    connection.execute(text, [Cell::text(tenant), Cell::blob(unit), Cell::number(size)]).await.map(drop)
}

enum Change {
    Something,
    Nothing,
}

/// What a unit of work adds.
#[derive(Default)]
struct Ledgered {
    records: Vec<Written>,
    documents: BTreeMap<Digest, Document>,
}

async fn judge_and_write(
    connection: &mut Connection,
    place: &Place<'_>,
    works: &[Work],
    id: Option<UnitId>,
) -> Result<(Answers, Change), Failure> {
    let mut view = View { head: load::locked_head(connection, place.tenant).await?, ..View::default() };
    let size_before = view.head.frontier.size();
    load_wanted(connection, place.tenant, &mut view, (place.clock)(), works.iter().map(|work| &work.request)).await?;

    let (left, answers) = (works.iter(), Vec::with_capacity(works.len()));
    let mut judging = Judging { place, view, left, answers, unit: Ledgered::default() };
    // SQLite writes on this very thread, so nothing is won by parts there.
    let part = Some(UNIT_PART).filter(|_| connection.dialect() == Dialect::Postgres);
    let mut effects = Vec::new();
    while judging.left.len() > 0 {
        let records = std::mem::take(&mut judging.unit.records);
        let (written, judged) =
            tokio::join!(write_records(connection, place.tenant, records), judging.judge_what_is_read(part));
        effects.extend(written?);
        judged?;
        while part.is_none_or(|part| judging.unit.records.len() < part) && judging.judge_next(connection).await? {}
    }
    let Judging { view, answers, unit, .. } = judging;
    effects.extend(write_records(connection, place.tenant, unit.records).await?);
    // An answer from what is there already is as durable as what it is read from: where that is another machine's, a
    // row is written all the same, and its COMMIT waits for both.
    if let Some(id) = id {
        mark(connection, place.tenant, id, view.head.frontier.size()).await?;
    }
    if effects.is_empty() {
        return Ok((answers, if id.is_some() { Change::Something } else { Change::Nothing }));
    }
    write(connection, place.tenant, &view, size_before, &effects, unit.documents).await?;
    Ok((answers, Change::Something))
}

/// The commands of a unit, one after another.
struct Judging<'a> {
    place: &'a Place<'a>,
    view: View,
    left: std::slice::Iter<'a, Work>,
    answers: Answers,
    /// What is to be written yet.
    unit: Ledgered,
}

impl Judging<'_> {
    /// As long as nothing more has to be read for one; and no more than a part, where the database is busy with the part
    /// before.
    async fn judge_what_is_read(&mut self, part: Option<usize>) -> Result<(), Failure> {
        for count in 0..part.unwrap_or(usize::MAX) {
            let Some(work) = self.left.as_slice().first() else { return Ok(()) };
            let now = (self.place.clock)();
            let wanted =
                book::wants(&self.view, now, &work.request).map_err(|fault| Failure::Broken(fault.to_string()));
            if work.then.is_some() || !wanted?.is_empty() {
                return Ok(());
            }
            self.answers.push(judge(&mut self.view, self.place, now, work, &mut self.unit)?);
            self.left.next();
            // So that what is being written gets on.
            if part.is_some() && count % UNIT_JUDGED_AT_ONCE == 0 {
                tokio::task::yield_now().await;
            }
        }
        Ok(())
    }

    /// The next one, if there is one. Asked again: an earlier command of this unit may have made what this one must now read
    /// more about, and a period may have ended.
    async fn judge_next(&mut self, connection: &mut Connection) -> Result<bool, Failure> {
        let Some(work) = self.left.next() else { return Ok(false) };
        let (place, view, now) = (self.place, &mut self.view, (self.place.clock)());
        load_wanted(connection, place.tenant, view, now, std::iter::once(&work.request)).await?;
        let mut answer = judge(view, place, now, work, &mut self.unit)?;
        if let (Ok(first), Some(command)) = (&mut answer, &work.then) {
            let next = Request { caller: work.request.caller.clone(), command: command.clone() };
            load_wanted(connection, place.tenant, view, now, std::iter::once(&next)).await?;
            go_on(view, place, now, (work, &next), first, &mut self.unit)?;
        }
        self.answers.push(answer);
        Ok(true)
    }
}

async fn load_wanted(
    connection: &mut Connection,
    tenant: &TenantId,
    view: &mut View,
    now: Micros,
    requests: impl Iterator<Item = &Request> + Clone,
) -> Result<(), Failure> {
    for _ in 0..LOAD_ROUNDS_MAX {
        let mut wanted = Keys::default();
        for request in requests.clone() {
            let keys = book::wants(view, now, request).map_err(|fault| Failure::Broken(fault.to_string()))?;
            wanted = merge(wanted, keys);
        }
        if wanted.is_empty() {
            return Ok(());
        }
        load::keys(connection, tenant, &wanted, view).await?;
    }
    Err(Failure::Broken(format!("after {LOAD_ROUNDS_MAX} rounds of loading the book still asks for more")))
}

fn merge(mut all: Keys, one: Keys) -> Keys {
    all.budgets.extend(one.budgets);
    all.windows.extend(one.windows);
    all.spends.extend(one.spends);
    all.claims.extend(one.claims);
    all.settlements.extend(one.settlements);
    all.decisions.extend(one.decisions);
    all.gates.extend(one.gates);
    all.purchases.extend(one.purchases);
    all.payers.extend(one.payers);
    all
}

/// The answer of one command. `Err` ends the unit; what concerns this command alone is inside `Ok`.
fn judge(
    view: &mut View,
    place: &Place<'_>,
    now: Micros,
    work: &Work,
    unit: &mut Ledgered,
) -> Result<Result<Answer, StoreError>, Failure> {
    match book::apply(view, now, &work.request) {
        Ok(Outcome::Known) => Ok(Ok(answer(view, &work.request, Freshness::Known, None))),
        Ok(Outcome::New(effects)) => {
            let seq = effects.seq;
            record(view, place.salt_key, *effects, None, unit)?;
            unit.documents.extend(work.documents.iter().map(|document| (document.digest(), document.clone())));
            Ok(Ok(answer(view, &work.request, Freshness::New, Some(seq))))
        }
        Err(Refusal::Rejected(rejection)) => {
            keep(view, place, now, work, &rejection, unit)?;
            Ok(Err(StoreError::Rejected(rejection)))
        }
        Err(Refusal::Fault(fault)) => Ok(Err(StoreError::Broken(fault.to_string()))),
    }
}

/// What a command brings along, after it. The answer is of both.
fn go_on(
    view: &mut View,
    place: &Place<'_>,
    now: Micros,
    (work, next): (&Work, &Request),
    first: &mut Answer,
    unit: &mut Ledgered,
) -> Result<(), Failure> {
    match book::apply(view, now, next) {
        Ok(Outcome::Known) => {}
        Ok(Outcome::New(effects)) => record(view, place.salt_key, *effects, None, unit)?,
        Err(Refusal::Rejected(rejection)) => {
            tracing::debug!(tenant = %place.tenant, code = %rejection.code(), "what came along is refused: {rejection}");
            return Ok(());
        }
        // The first is not written either, so that the answer is true.
        Err(Refusal::Fault(fault)) => return Err(Failure::Broken(fault.to_string())),
    }
    *first = answer(view, &work.request, first.freshness, first.seq);
    Ok(())
}

/// A refusal that its key shall answer with for ever becomes a record as well.
fn keep(
    view: &mut View,
    place: &Place<'_>,
    now: Micros,
    work: &Work,
    rejection: &Rejection,
    unit: &mut Ledgered,
) -> Result<(), Failure> {
    let text = serde_json::to_string(rejection)
        .map_err(|error| Failure::Broken(format!("a refusal cannot be written down: {error}")))?;
    let kept = book::keep_rejection(view, now, &work.request, rejection, text.as_bytes());
    match kept.map_err(|fault| Failure::Broken(fault.to_string()))? {
        Some(effects) => record(view, place.salt_key, effects, Some(text), unit),
        None => Ok(()),
    }
}

fn record(
    view: &mut View,
    salt_key: &SaltKey,
    effects: Effects,
    rejection: Option<String>,
    unit: &mut Ledgered,
) -> Result<(), Failure> {
    let entry = view.head.append(salt_key, &effects);
    // The second of a pair of checks: what is about to be kept for ever reads back as what it is.
    match Effects::from_bytes(&entry.bytes) {
        Ok(read) if read == effects => {}
        Ok(_) => return Err(Failure::Refused(format!("record {} does not read back as it is", entry.seq))),
        Err(error) => return Err(Failure::Refused(format!("record {} does not read back: {error}", entry.seq))),
    }
    unit.records.push(Written { entry, effects, rejection });
    Ok(())
}

/// The state of what a command was about, as the view has it now.
fn answer(view: &View, request: &Request, freshness: Freshness, seq: Option<u64>) -> Answer {
    let mut answer = Answer { freshness, seq, spend: None, settlement: None, decision: None, budget: None };
    let budget = |id| view.budgets.find(&id).ok().flatten().cloned();
    let decision = |id| view.decisions.find(&id).ok().flatten().cloned();
    match &request.command {
        Command::Propose(propose) => answer.decision = decision(propose.decision),
        Command::Decide { decision: id, .. } => answer.decision = decision(*id),
        Command::Review { review, spend, .. } | Command::Overdue { review, spend, .. } => {
            answer.decision = decision(*review);
            answer.spend = view.spends.find(spend).ok().flatten().cloned();
        }
        Command::OpenBudget(open) => {
            answer.budget = budget(open.id);
            answer.decision = open.decision.and_then(decision);
        }
        Command::Delegate(delegate) => answer.budget = delegate.opened(view, request).and_then(budget),
        Command::ChangeBudget { budget: id, .. } | Command::ChangeCaps { budget: id, .. } => {
            answer.budget = budget(*id)
        }
        Command::Hold(hold) => answer.spend = view.spends.find(&hold.spend).ok().flatten().cloned(),
        Command::Void { spend }
        | Command::Expire { spend }
        | Command::Commit { spend }
        | Command::Submit { spend, .. }
        | Command::Present { spend, .. }
        | Command::Acknowledge { spend, .. }
        | Command::Redeem { spend, .. }
        | Command::Capture { spend, .. }
        | Command::Decline { spend, .. }
        | Command::Lapse { spend }
        | Command::Resolve { spend, .. }
        | Command::Doubt { spend }
        | Command::Settle { spend, .. }
        | Command::Unsettle { spend, .. }
        | Command::Finalise { spend, .. }
        | Command::Release { spend, .. }
        | Command::Answer { spend, .. }
        | Command::Cover { spend, .. }
        | Command::Withdraw { step: spend, .. }
        | Command::Announce { spend, .. }
        | Command::Attest { spend, .. }
        | Command::SignIn { spend, .. }
        | Command::Refund { spend, .. }
        | Command::Misspend { spend, .. } => answer.spend = view.spends.find(spend).ok().flatten().cloned(),
        Command::Claim(claim) => answer.settlement = view.settlements.find(&claim.key).ok().flatten().cloned(),
        Command::Abandon { settlement }
        | Command::Dispatch { settlement, .. }
        | Command::Serve { settlement, .. }
        | Command::Deliver { settlement, .. }
        | Command::Revisit { settlement, .. }
        | Command::Undeliver { settlement, .. }
        | Command::WriteOff { settlement, .. }
        | Command::GiveBack { settlement, .. }
        | Command::Charge { settlement, .. }
        | Command::Receive { settlement, .. }
        | Command::HandOver { settlement, .. }
        | Command::Unreceive { settlement, .. }
        | Command::Conclude { settlement, .. }
        | Command::Fail { settlement, .. } => {
            answer.settlement = view.settlements.find(settlement).ok().flatten().cloned();
        }
        Command::Fund { .. } | Command::Gate { .. } | Command::Recover(_) | Command::Accept(_) => {}
    }
    if let Some(spend) = &answer.spend {
        answer.budget = budget(spend.budget);
    }
    answer
}
