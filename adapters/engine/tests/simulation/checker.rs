//! The eighteen invariants, from what is written down: journal bytes and tables, the answers that somebody outside heard,
//! and the chain. It shares no code with the rules: sums are added up anew, periods are counted anew.

mod chain;
mod figures;
mod journal;
mod legs;
mod replay;

use std::collections::{BTreeMap, BTreeSet};

use ledger::effects::Effects;
use ledger::id::{Digest, IdempotencyKey, PrincipalId, SpendId, TenantId};
use ledger::journal::Frontier;
use ledger::rejection::RejectionCode;

use super::chain::ModelChain;
use super::state::State;
use super::tables::Tables;

/// What an agent heard under a key. Silence and outages are not in it.
#[derive(Clone, Debug, PartialEq)]
pub enum Heard {
    Signed { spend: SpendId, header: String },
    Refused(RejectionCode),
}

#[derive(Clone, Debug)]
pub struct Said {
    pub principal: PrincipalId,
    pub key: IdempotencyKey,
    pub heard: Heard,
}

/// One tenant's book as it lies there.
pub struct Book<'a> {
    pub tenant: &'a TenantId,
    pub tables: &'a Tables,
    pub records: Vec<Effects>,
    pub chain: &'a ModelChain,
    pub said: &'a [Said],
    /// Size and root at an earlier look.
    pub seen: Option<&'a (u64, Digest)>,
}

pub type Verdict = Result<(), String>;

type Invariant = fn(&Book<'_>) -> Verdict;

pub const INVARIANTS: [(&str, Invariant); 18] = [
    ("i1", legs::i1),
    ("i2", legs::i2),
    ("i3", figures::i3),
    ("i4", figures::i4),
    ("i5", figures::i5),
    ("i6", legs::i6),
    ("i7", legs::i7),
    ("i8", journal::i8),
    ("i9", journal::i9),
    ("i10", journal::i10),
    ("i11", journal::i11),
    ("i12", chain::i12),
    ("i13", replay::i13),
    ("i14", legs::i14),
    ("i15", legs::i15),
    ("i16", chain::i16),
    ("i17", legs::i17),
    ("i18", figures::i18),
];

/// Roots that somebody outside keeps.
pub type Seen = BTreeMap<TenantId, (u64, Digest)>;

#[derive(Clone, Debug)]
pub struct Broken {
    pub invariant: &'static str,
    pub detail: String,
    /// Every one that does not hold at this look, the first included.
    pub all: BTreeSet<&'static str>,
}

impl Broken {
    pub fn new(invariant: &'static str, detail: String) -> Self {
        Self { invariant, detail, all: BTreeSet::from([invariant]) }
    }
}

pub fn check(state: &State, said: &[Said], seen: &mut Seen) -> Result<(), Broken> {
    for (tenant, tables) in &state.books {
        let read = tables.journal.iter().map(|entry| Effects::from_bytes(&entry.bytes)).collect::<Result<Vec<_>, _>>();
        let records = read.map_err(|error| Broken::new("i11", format!("{tenant}: a record: {error}")))?;
        let book = Book { tenant, tables, records, chain: &state.chain, said, seen: seen.get(tenant) };
        let broken = INVARIANTS.iter().filter_map(|(invariant, holds)| Some((*invariant, holds(&book).err()?)));
        let broken: Vec<_> = broken.collect();
        if let Some((invariant, detail)) = broken.first() {
            let all = broken.iter().map(|(invariant, _)| *invariant).collect();
            return Err(Broken { invariant, detail: format!("{tenant}: {detail}"), all });
        }
        let frontier: &Frontier = &tables.head.frontier;
        seen.insert(tenant.clone(), (frontier.size(), frontier.root()));
    }
    Ok(())
}

/// `Err` with a sentence where it does not hold.
pub fn ensure(holds: bool, why: impl FnOnce() -> String) -> Verdict {
    if holds { Ok(()) } else { Err(why()) }
}
