//! The lists of the console: what is in them, in which order, whose, and that an index answers each.

use ledger::budget::{BudgetKind, BudgetState};
use ledger::command::Command;
use ledger::decision::{DecisionState, Finding};
use ledger::gate::{GateState, Scope};
use ledger::id::{BudgetId, Digest, Micros, PrincipalId};
use ledger::listing::{Among, COME_TO_NOTHING, Listings as _};
use ledger::spend::SpendState;
use ledger::store::{Store as _, Verification};

use super::stream::{self, PERSON, ROOT, START, by, hold, mandate, open, review, spend, total, user};
use super::{Place, holds, on, on_both_engines, run, tenant, work};
use crate::SqlStore;

on_both_engines!("multi_thread": lists_are_of_what_they_say, every_list_is_answered_by_an_index, reviews_are_listed_and_due);

const HANDED_ON: BudgetId = BudgetId([0xc1; 32]);

/// Mandates 0 and 1 under the person, one under 0; spends 1 to 9, newest last.
async fn filled(place: &Place) -> SqlStore {
    let store = place.opened().await;
    run(&store, work(open(HANDED_ON, Some(mandate(0)), BudgetKind::Mandate, total(100), Some(0)))).await.ok();
    for number in 1..=9_u8 {
        let budget = if number % 2 == 0 { mandate(1) } else { mandate(0) };
        run(&store, holds(hold(number, budget, 1))).await.unwrap();
    }
    run(&store, on(Command::Void { spend: spend(4) })).await.unwrap();
    run(&store, on(Command::Commit { spend: spend(5) })).await.unwrap();
    store
}

async fn found(store: &SqlStore, among: Among, before: Option<u64>, limit: u32) -> Vec<u8> {
    let listed = store.spends_before(&tenant(), &among, before, limit).await.unwrap();
    listed.iter().map(|one| (1..=9).find(|number| spend(*number) == one.spend.id).unwrap()).collect()
}

async fn lists_are_of_what_they_say(place: Place) {
    let store = filled(&place).await;
    let agent: PrincipalId = stream::agent().principal;
    let stranger: PrincipalId = "stranger".parse().unwrap();
    for (among, expected) in [
        (Among::All, vec![9, 8, 7, 6, 5, 4, 3, 2, 1]),
        (Among::Open(SpendState::Held, None), vec![9, 8, 7, 6, 3, 2, 1]),
        (Among::Open(SpendState::Committed, None), vec![5]),
        (Among::Open(SpendState::Unknown, None), vec![]),
        (Among::Open(SpendState::Held, Some(PERSON)), vec![9, 8, 7, 6, 3, 2, 1]),
        (Among::Open(SpendState::Held, Some(mandate(1))), vec![8, 6, 2]),
        (Among::Open(SpendState::Committed, Some(mandate(1))), vec![]),
        (Among::Open(SpendState::Held, Some(BudgetId([0xdd; 32]))), vec![]),
        (Among::Ended(SpendState::Voided), vec![4]),
        (Among::Ended(SpendState::Expired), vec![]),
        (Among::Under(ROOT), vec![9, 8, 7, 6, 5, 4, 3, 2, 1]),
        (Among::Under(PERSON), vec![9, 8, 7, 6, 5, 4, 3, 2, 1]),
        (Among::Under(mandate(0)), vec![9, 7, 5, 3, 1]),
        (Among::Under(mandate(1)), vec![8, 6, 4, 2]),
        (Among::Under(mandate(3)), vec![]),
        (Among::Under(BudgetId([0xdd; 32])), vec![]),
        (Among::HeldUnder(PERSON, stranger.clone()), vec![]),
        (Among::HeldUnder(mandate(3), agent.clone()), vec![]),
        (Among::HeldBy(stranger), vec![]),
    ] {
        assert_eq!(found(&store, among.clone(), None, 100).await, expected, "{among:?}");
        // Page by page it is the same, and no page begins with what it comes before.
        let (mut paged, mut before) = (Vec::new(), None);
        loop {
            let page = store.spends_before(&tenant(), &among, before, 2).await.unwrap();
            let Some(last) = page.last() else { break };
            assert!(page.len() <= 2 && before.is_none_or(|before| page[0].spend.hold.seq < before));
            before = Some(last.spend.hold.seq);
            paged.extend(page.iter().map(|one| one.spend.id));
        }
        assert_eq!(paged, expected.iter().map(|number| spend(*number)).collect::<Vec<_>>(), "{among:?}");
    }
    let holder = store.budgets_named(&tenant(), &[mandate(0)]).await.unwrap()[0].holder.clone();
    assert_eq!(found(&store, Among::HeldBy(holder.clone()), None, 2).await, [9, 8]);
    assert_eq!(found(&store, Among::HeldUnder(mandate(1), holder), None, 2).await, [8, 6]);
    for before in [0, 1] {
        assert!(found(&store, Among::All, Some(before), 10).await.is_empty());
    }
    let other = "other".parse().unwrap();
    let held = |node| Among::Open(SpendState::Held, node);
    for among in [Among::All, held(None), held(Some(ROOT)), Among::Under(ROOT), Among::Ended(SpendState::Voided)] {
        assert!(store.spends_before(&other, &among, None, 10).await.unwrap().is_empty(), "another tenant's {among:?}");
    }
    assert!(store.spends_named(&other, &spend(1).0[..4], 10).await.unwrap().is_empty());
    assert_eq!(store.spends_named(&tenant(), &spend(1).0[..4], 10).await.unwrap().len(), 1);
    assert_eq!(store.spends_named(&tenant(), &[0xfe; 4], 10).await.unwrap().len(), 0);
    assert_eq!(store.spends_named(&tenant(), &[], 3).await.unwrap().len(), 3);
    gates(&store).await;
    nodes(&store).await;
}

async fn gates(store: &SqlStore) {
    let (scope, other) = (Scope::Agent(stream::agent().principal), Scope::Everything);
    assert_eq!(store.gate(&tenant(), &scope).await.unwrap(), None);
    for to in [GateState::Closed, GateState::Open] {
        run(store, on(Command::Gate { scope: scope.clone(), to })).await.unwrap();
        let found = store.gate(&tenant(), &scope).await.unwrap().unwrap();
        assert_eq!((found.state, found.scope), (to, scope.clone()));
    }
    assert_eq!(store.gate(&tenant(), &other).await.unwrap(), None);
    assert_eq!(store.gate(&"other".parse().unwrap(), &scope).await.unwrap(), None);
}

async fn nodes(store: &SqlStore) {
    let under = store.budgets_under(&tenant(), PERSON, None, 100).await.unwrap();
    assert!(under.len() > 3 && under.windows(2).all(|two| two[0].id < two[1].id));
    let rest = store.budgets_under(&tenant(), PERSON, Some(under[1].id), 100).await.unwrap();
    assert_eq!(rest.len(), under.len() - 2);
    let below = store.budgets_below(&tenant(), &[ROOT], 1_000).await.unwrap();
    assert!(below.iter().all(|budget| budget.id != ROOT) && below.len() > under.len());
    assert_eq!(store.budgets_below(&tenant(), &[ROOT], 2).await.unwrap().len(), 2);
    assert!(store.budgets_below(&tenant(), &[], 10).await.unwrap().is_empty());
    let named = store.budgets_named(&tenant(), &[mandate(0), mandate(0), BudgetId([0xdd; 32])]).await.unwrap();
    assert_eq!(
        named.iter().map(|budget| (budget.id, budget.state)).collect::<Vec<_>>(),
        [(mandate(0), BudgetState::Active)]
    );
}

/// No plan reads a table from its beginning.
async fn every_list_is_answered_by_an_index(place: Place) {
    let store = filled(&place).await;
    let agent = stream::agent().principal;
    let ended = COME_TO_NOTHING.map(Among::Ended);
    let unknown = |node| Among::Open(SpendState::Unknown, node);
    let others = [
        Among::All,
        unknown(None),
        unknown(Some(PERSON)),
        Among::Under(PERSON),
        Among::HeldUnder(PERSON, agent.clone()),
        Among::HeldBy(agent),
    ];
    for among in others.into_iter().chain(ended) {
        let plan = store.plan_of(&tenant(), &among).await.unwrap();
        let scans = ["SCAN s", "SCAN j", "SCAN b", "Seq Scan"].iter().any(|word| {
            // A scan of an index is none of the table; the recursion's own rows are a queue.
            plan.lines().any(|line| line.contains(word) && !line.contains("USING"))
        });
        assert!(!scans, "{among:?}:\n{plan}");
    }
}

/// Spends 1 to 4 are looked at: the time of 1 and 2 is over, 3 is answered, 4 waits.
async fn reviews_are_listed_and_due(place: Place) {
    let store = place.opened().await;
    for number in 1..=5_u8 {
        let mut hold = hold(number, mandate(0), 1);
        hold.review = (number < 5).then(|| review(number, number <= 2));
        run(&store, holds(hold)).await.unwrap();
    }
    let due = async |at: Micros, limit| store.reviews_due(&tenant(), at, limit).await.unwrap();
    let name = |number: u8| review(number, false).decision;
    let ids = |found: Vec<ledger::decision::Decision>| found.iter().map(|one| one.id).collect::<Vec<_>>();
    assert!(due(START.plus_micros(-1), 10).await.is_empty());
    assert_eq!(due(START, 10).await.len(), 2);
    assert_eq!(due(START, 1).await.len(), 1);
    assert_eq!(ids(due(START.plus_micros(3_600_000_000), 10).await)[2..], [name(3), name(4)], "the longest first");
    run(&store, on(Command::Overdue { review: name(1), spend: spend(1), suspend: false })).await.unwrap();
    let (subject, because) = (review(3, false).subject, Digest::of(b"because"));
    let fine = Command::Review { review: name(3), subject, spend: spend(3), finding: Finding::Fine, because };
    run(&store, work(by(user(), fine))).await.unwrap();
    assert_eq!(ids(due(Micros(i64::MAX), 10).await), [name(2), name(4)], "what is answered or overdue runs no more");
    let listed = async |state, records| ids(store.reviews_in(&tenant(), state, records, 10).await.unwrap());
    assert_eq!(listed(DecisionState::InReview, 0..u64::MAX).await, [name(4), name(2)], "newest first");
    assert_eq!(listed(DecisionState::Overdue, 0..u64::MAX).await, [name(1)]);
    assert_eq!(listed(DecisionState::Confirmed, 0..u64::MAX).await, [name(3)]);
    assert!(listed(DecisionState::InReview, 0..0).await.is_empty());
    for state in [DecisionState::Disputed, DecisionState::Pending, DecisionState::Approved] {
        assert!(listed(state, 0..u64::MAX).await.is_empty(), "{state}: a question is no review");
    }
    let other = "other".parse().unwrap();
    assert!(store.reviews_due(&other, Micros(i64::MAX), 10).await.unwrap().is_empty());
    assert!(store.reviews_in(&other, DecisionState::InReview, 0..u64::MAX, 10).await.unwrap().is_empty());
    let verified = store.verify(&tenant()).await.unwrap();
    assert!(matches!(verified, Verification::Sound { .. }), "{verified:?}");
}
