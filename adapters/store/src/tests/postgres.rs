//! What only PostgreSQL has: commits whose answer is lost, connections that break, locks of other processes, roles, and
//! guards in another language.

use std::sync::atomic::Ordering;
use std::time::Duration;

use ledger::command::Command;
use ledger::rejection::Rejection;
use ledger::settlement::Role;
use ledger::store::{Freshness, Store as _, StoreError, Verification, Work};
use tokio::task::JoinSet;

use super::cluster::{Cluster, QUICK};
use super::cut::{Cut, Road};
use super::{Place, assert_sound, document, holds, on, run, salts, stream, tenant};
use crate::{Options, Schema, SqlStore};

/// `UPDATE_GOLDEN=1` writes the file anew, from what the migrations make.
#[tokio::test]
async fn the_catalog_is_what_the_migrations_make() {
    let cluster = Cluster::start(QUICK);
    let found = crate::connection::catalog_of_migrations(&cluster.url(&cluster.create())).await.unwrap();
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/connection/postgres_catalog.txt");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(path, format!("{}\n", found.join("\n"))).unwrap();
    }
    let expected = std::fs::read_to_string(path).unwrap();
    assert_eq!(found, expected.lines().collect::<Vec<_>>());
}

impl Place {
    fn cluster(&mut self) -> &mut Cluster {
        self.cluster.as_mut().unwrap()
    }

    fn database(&self) -> String {
        self.cluster.as_ref().unwrap().latest()
    }

    async fn by_road(&self, road: &Road) -> SqlStore {
        let options = Options { clock: self.dial.clock(), skew_max: None, ..Options::new(Schema::Refuse) };
        SqlStore::open(road.url(&self.database()).parse::<crate::Location>().unwrap(), salts(), options).await.unwrap()
    }
}

/// A book with a row in every table.
async fn filled(place: &Place) -> SqlStore {
    let store = place.opened().await;
    let held = holds(stream::hold(1, stream::mandate(0), 100));
    run(&store, Work { documents: vec![document("evidence")], ..held }).await.unwrap();
    run(&store, holds(stream::hold(8, stream::mandate(22), 20))).await.unwrap();
    run(&store, on(Command::Commit { spend: stream::spend(1) })).await.unwrap();
    run(&store, on(Command::Claim(Box::new(stream::claim(1, Role::Seller, 5))))).await.unwrap();
    assert!(run(&store, holds(stream::hold(9, stream::mandate(0), 9_999))).await.is_err(), "a refusal to keep");
    run(&store, on(stream::gate(4, ledger::gate::GateState::Closed))).await.unwrap();
    store
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_whose_answer_is_lost_is_found_and_never_guessed() {
    let place = Place::postgres();
    let store = place.opened().await;
    let road = Road::to(place.cluster.as_ref().unwrap().host());
    let far = place.by_road(&road).await;
    for (number, cut) in [(1, Cut::AfterCommit), (2, Cut::BeforeCommit), (3, Cut::AfterCommit)] {
        let before = store.head(&tenant()).await.unwrap().0;
        road.cut_next(cut);
        // A claim of a seller tells a caller whether it is theirs: a guess of "known" would lose the sale.
        let claim = on(Command::Claim(Box::new(stream::claim(number, Role::Seller, 5))));
        let answer = run(&far, claim).await.unwrap();
        assert_eq!((answer.freshness, answer.seq), (Freshness::New, Some(before)), "{cut:?}");
        assert_eq!(store.head(&tenant()).await.unwrap().0, before + 1, "{cut:?}: written once");
    }
    assert_eq!(road.cuts.load(Ordering::SeqCst), 3);
    // The same with neighbours in one unit: each has its own answer, those that were refused too.
    road.cut_next(Cut::AfterCommit);
    let mut callers = JoinSet::new();
    for number in 10..20_u8 {
        let far = far.clone();
        let units = if number % 2 == 0 { 10 } else { 9_999 };
        callers.spawn(async move { (number, run(&far, holds(stream::hold(number, stream::mandate(0), units))).await) });
    }
    for (number, answer) in callers.join_all().await {
        match answer {
            Ok(answer) => assert_eq!((number % 2, answer.freshness), (0, Freshness::New)),
            Err(StoreError::Rejected(Rejection::AmountExceedsBudget { .. })) => assert_eq!(number % 2, 1),
            Err(other) => panic!("{other}"),
        }
    }
    assert_eq!(road.cuts.load(Ordering::SeqCst), 4);
    assert_sound(&store).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_dies_under_load_loses_nothing_that_was_answered() {
    let mut place = Place::postgres();
    let store = place.opened().await;
    let mut callers = JoinSet::new();
    for caller in 0..8_u8 {
        let store = store.clone();
        callers.spawn(async move {
            let mut answered = Vec::new();
            for number in (caller * 30)..(caller * 30 + 30) {
                loop {
                    // In doubt or refused for now: the same key again, as callers do.
                    match run(&store, holds(stream::hold(number, stream::mandate(0), 2))).await {
                        Ok(_) => break answered.push(number),
                        Err(StoreError::Unavailable(_) | StoreError::Unknown(_)) => {
                            tokio::time::sleep(Duration::from_millis(20)).await;
                        }
                        Err(other) => panic!("{other}"),
                    }
                }
            }
            answered
        });
    }
    for _ in 0..3 {
        tokio::time::sleep(Duration::from_millis(60)).await;
        place.cluster().kill();
        place.cluster().launch();
    }
    let answered: Vec<u8> = callers.join_all().await.into_iter().flatten().collect();
    assert_eq!(answered.len(), 240);
    for number in answered {
        assert!(
            store.spend(&tenant(), stream::spend(number)).await.unwrap().is_some(),
            "{number} was answered and is gone"
        );
    }
    let budget = store.budget(&tenant(), stream::mandate(0)).await.unwrap().unwrap();
    assert_eq!((budget.held.get(), budget.count), (480, 240), "none twice");
    assert_sound(&store).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn roads_that_break_at_random_never_pass_a_cap() {
    let place = Place::postgres();
    let near = place.opened().await;
    let road = Road::to(place.cluster.as_ref().unwrap().host());
    let stores = [place.by_road(&road).await, place.by_road(&road).await];
    road.cut_one_in(Some(60));
    let mut callers = JoinSet::new();
    // Two mandates of one person: 500 and 700 beneath a cap of 700.
    for number in 0..200_u8 {
        let store = stores[usize::from(number % 2)].clone();
        let mandate = stream::mandate(if number % 4 < 2 { 0 } else { 2 });
        callers.spawn(async move {
            let mut hold = stream::hold(number, mandate, 7);
            hold.expires_at = ledger::id::Micros(i64::MAX);
            loop {
                match run(&store, holds(hold.clone())).await {
                    Ok(_) => break true,
                    Err(StoreError::Rejected(_)) => break false,
                    Err(StoreError::Unavailable(_) | StoreError::Unknown(_)) => {}
                    Err(other) => panic!("{other}"),
                }
            }
        });
    }
    let held = callers.join_all().await.into_iter().filter(|held| *held).count();
    assert!(road.cuts.load(Ordering::SeqCst) > 0, "nothing was cut");
    let one = near.budget(&tenant(), stream::mandate(0)).await.unwrap().unwrap();
    let two = near.budget(&tenant(), stream::mandate(2)).await.unwrap().unwrap();
    let person = near.budget(&tenant(), stream::PERSON).await.unwrap().unwrap();
    // Seventy-one of seven for the first; three payments for the second, which has no more.
    assert_eq!(one.held.get(), 7 * u128::from(one.count));
    assert_eq!((two.held.get(), two.count), (21, 3));
    assert_eq!(person.held.get(), one.held.get() + two.held.get());
    assert_eq!(u64::try_from(held).unwrap(), one.count + two.count);
    assert_eq!(one.count, 71, "a mandate of 500 has room for 71 of 7");
    assert_sound(&near).await;
}

/// A lane whose head another process holds waits, says so when it took too long, and loses nothing.
#[tokio::test]
async fn a_lock_that_does_not_come_is_unavailable() {
    let place = Place::postgres();
    let store = place.opened().await;
    let mut other = crate::connection::Opener::new(&place.location, Schema::Refuse, Duration::from_secs(1));
    let mut blocking = { &mut other }.reopen().await.unwrap();
    blocking.begin().await.unwrap();
    crate::load::locked_head(&mut blocking, &tenant()).await.unwrap();
    let answer = run(&store, holds(stream::hold(1, stream::mandate(0), 7))).await;
    assert!(matches!(answer, Err(StoreError::Unavailable(_))), "{answer:?}");
    blocking.roll_back().await.unwrap();
    let answer = run(&store, holds(stream::hold(1, stream::mandate(0), 7))).await.unwrap();
    assert_eq!(answer.freshness, Freshness::New);
    assert_sound(&store).await;
}

#[tokio::test]
async fn a_clock_that_is_not_the_databases_is_refused() {
    let place = Place::postgres();
    let store = place.opened().await;
    store.close().await.unwrap();
    // The dial stands somewhere in 2027.
    let options = Options { clock: place.dial.clock(), ..Options::new(Schema::Refuse) };
    let store = SqlStore::open(place.location.clone(), salts(), options).await.unwrap();
    let refused = run(&store, holds(stream::hold(1, stream::mandate(0), 7))).await.unwrap_err();
    assert!(refused.to_string().contains("clock_jump"), "{refused}");
    assert!(store.spend(&tenant(), stream::spend(1)).await.unwrap().is_none());
}

/// The owner of the tables, and a superuser at that.
#[tokio::test]
async fn the_shell_cannot_rewrite_history() {
    let place = Place::postgres();
    let store = filled(&place).await;
    let cluster = place.cluster.as_ref().unwrap();
    let zero = "'\\x00000000000000000000000000000000'";
    let mut statements = vec![
        "INSERT INTO journal SELECT tenant, seq + 100, bytes, leaf FROM journal WHERE seq = 3".to_owned(),
        "INSERT INTO journal SELECT tenant, seq, bytes, leaf FROM journal WHERE seq = 3 ON CONFLICT (tenant, seq) DO UPDATE SET bytes = ''".to_owned(),
        "UPDATE head SET size = size - 1".to_owned(),
        "UPDATE head SET root = root".to_owned(),
        "UPDATE head SET last_at = last_at - 1, size = size + 1".to_owned(),
        "UPDATE budget SET cap = NULL".to_owned(),
        "UPDATE budget SET parent = NULL WHERE parent IS NOT NULL".to_owned(),
        "UPDATE budget SET used = '\\xffffffffffffffffffffffffffffffff', held = '\\xffffffffffffffffffffffffffffffff', posted = posted".to_owned(),
        "UPDATE budget SET posted = held WHERE held <> posted".to_owned(),
        format!("UPDATE budget SET used = {zero} WHERE used <> {zero}"),
        "UPDATE budget SET held = '\\x00'".to_owned(),
        "UPDATE spend SET nonce = sha256(nonce)".to_owned(),
        "UPDATE spend SET amount = set_byte(amount, 15, 1)".to_owned(),
        "UPDATE budget_window SET place = place + 1".to_owned(),
        "UPDATE budget_window SET cap = NULL WHERE cap IS NOT NULL".to_owned(),
        format!("UPDATE budget_window SET used = {zero}"),
        "UPDATE settlement SET payer = 'x'".to_owned(),
        "INSERT INTO transfer SELECT tenant, seq, leg + 9, code, debit, debit, asset, amount, layer, NULL, NULL, NULL FROM transfer WHERE layer = 'posted'".to_owned(),
        format!("INSERT INTO transfer SELECT tenant, seq, leg + 9, code, debit, credit, asset, {zero}, layer, NULL, NULL, NULL FROM transfer WHERE layer = 'posted'"),
        "INSERT INTO transfer SELECT tenant, seq, leg + 9, code, debit, credit, 'iso4217:USD', amount, layer, NULL, NULL, NULL FROM transfer WHERE layer = 'posted'".to_owned(),
        "INSERT INTO claim SELECT * FROM claim".to_owned(),
        "INSERT INTO spend SELECT tenant, sha256(id), state, open, budget, purchase, authority, asset, amount, network, authorization_asset, payer, nonce, held_seq, body FROM spend".to_owned(),
    ];
    for table in ["journal", "record_subject", "transfer", "claim", "document", "account", "event", "unit"] {
        statements.push(format!("UPDATE {table} SET tenant = tenant"));
        statements.push(format!("DELETE FROM {table}"));
        statements.push(format!("TRUNCATE {table} CASCADE"));
    }
    for table in
        ["head", "account_balance", "budget", "budget_window", "spend", "settlement", "decision", "gate", "sealed_key"]
    {
        statements.push(format!("DELETE FROM {table}"));
        statements.push(format!("TRUNCATE {table} CASCADE"));
    }
    statements.extend([
        "INSERT INTO event SELECT tenant, 4000, number, at, type, subject, mandate FROM event".to_owned(),
        "INSERT INTO record_subject SELECT tenant, spend, 4000 FROM record_subject LIMIT 1".to_owned(),
        "INSERT INTO claim SELECT tenant, sha256(key), request, outcome, rejection, 4000 FROM claim LIMIT 1".to_owned(),
        "INSERT INTO transfer SELECT tenant, 4000, leg, code, debit, credit, asset, amount, layer, NULL, NULL, NULL FROM transfer WHERE layer = 'posted'".to_owned(),
        "INSERT INTO transfer SELECT tenant, seq, leg + 9, code, 999, credit, asset, amount, layer, NULL, NULL, NULL FROM transfer WHERE layer = 'posted'".to_owned(),
    ]);
    for statement in statements {
        // Also where triggers are told that they replay what was decided elsewhere.
        for role in ["origin", "replica"] {
            let output =
                cluster.try_psql(&place.database(), &format!("SET session_replication_role = {role}; {statement}"));
            assert!(!output.status.success(), "{statement} as {role} was not refused");
        }
    }
    assert_sound(&store).await;
}

#[tokio::test]
async fn a_schema_that_is_not_ours_is_refused_and_found() {
    let mut place = Place::postgres();
    let mut store = place.opened().await;
    for change in [
        "CREATE TABLE later (id bigint)",
        "DROP TRIGGER journal_change ON journal",
        "ALTER TABLE journal DISABLE TRIGGER journal_change",
        "ALTER TABLE journal ENABLE TRIGGER journal_change",
        "DROP INDEX spend_authorization",
        "ALTER TABLE decision ADD COLUMN note text",
        "ALTER TABLE budget DROP CONSTRAINT budget_check1",
        "CREATE OR REPLACE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'",
        "UPDATE _sqlx_migrations SET checksum = '\\x00'",
        "INSERT INTO _sqlx_migrations VALUES (99, 'later', now(), true, '\\x00', 0)",
    ] {
        let cluster = place.cluster.as_ref().unwrap();
        cluster.psql(&place.database(), change);
        let found = store.verify(&tenant()).await.unwrap();
        assert!(
            matches!(&found, Verification::Broken { reason, .. } if reason.contains("schema")),
            "{change}: {found:?}"
        );
        let refused = place.open(Schema::Refuse).await.err();
        assert!(matches!(refused, Some(StoreError::Broken(_))), "{change}: {refused:?}");
        store.close().await.unwrap();
        place.fresh();
        store = place.opened().await;
    }
}

#[tokio::test]
async fn an_empty_database_is_not_served_and_readers_cannot_write() {
    let place = Place::postgres();
    let refused = place.open(Schema::Refuse).await.err();
    assert!(matches!(refused, Some(StoreError::Broken(_))), "{refused:?}");
    let store = filled(&place).await;
    let mut reader = store.shared.readers.acquire().await.unwrap();
    assert!(reader.run("UPDATE decision SET state = 'approved'").await.is_err(), "a reader wrote");
    drop(reader);
    assert_sound(&store).await;
}

/// Column by column: what differs from the journal is found.
#[tokio::test]
async fn every_column_of_every_table_is_checked() {
    let place = Place::postgres();
    let store = filled(&place).await;
    assert_sound(&store).await;
    store.close().await.unwrap();
    let cluster = place.cluster.as_ref().unwrap();
    let columns = "SELECT table_name || ' ' || column_name || ' ' || data_type FROM information_schema.columns
        WHERE table_schema = 'public' AND table_name NOT IN ('_sqlx_migrations', 'sealed_key', 'unit')
          AND NOT (table_name = 'settlement' AND column_name = 'place') ORDER BY 1";
    let columns = cluster.psql(&place.database(), columns);
    let mut tried = 0;
    for line in columns.lines() {
        let [table, column, kind] = line.split(' ').collect::<Vec<_>>()[..] else { panic!("{line}") };
        if (table, column) == ("document", "tenant") {
            continue;
        }
        let change = match kind {
            "bigint" => format!("{column} + 1"),
            "text" => format!("left({column}, -1) || '~'"),
            _ => format!(
                "set_byte({column}, octet_length({column}) - 1, (get_byte({column}, octet_length({column}) - 1) + 1) % 256)"
            ),
        };
        cluster.psql("postgres", &format!("CREATE DATABASE forged TEMPLATE {}", place.database()));
        let one = format!("SELECT ctid FROM {table} WHERE {column} IS NOT NULL ORDER BY {column} DESC LIMIT 1");
        // Everything of the engine's that would refuse is taken away first, but for what makes the schema ours.
        let sql = format!(
            "DO $$ DECLARE t record; BEGIN
                 FOR t IN SELECT c.conrelid::regclass AS r, c.conname AS n FROM pg_constraint c WHERE c.conrelid = '{table}'::regclass AND c.contype = 'c' LOOP
                     EXECUTE format('ALTER TABLE %s DROP CONSTRAINT %I', t.r, t.n);
                 END LOOP;
                 EXECUTE 'ALTER TABLE {table} DISABLE TRIGGER ALL';
             END $$;
             UPDATE {table} SET {column} = {change} WHERE ctid = ({one})"
        );
        let output = cluster.try_psql("forged", &sql);
        assert!(output.status.success(), "{table}.{column}: {}", String::from_utf8_lossy(&output.stderr));
        let found = forged(cluster, table).await;
        assert!(found.is_some(), "{table}.{column} was changed and the book is called sound");
        tried += 1;
        cluster.psql("postgres", "DROP DATABASE forged");
    }
    assert!(tried > 60, "only {tried} columns were tried");
}

/// What the comparison finds in a database whose schema is looked at by nobody.
async fn forged(cluster: &Cluster, _table: &str) -> Option<String> {
    let location: crate::Location = cluster.url("forged").parse().unwrap();
    let opener = crate::connection::Opener::new(&location, Schema::Refuse, Duration::from_secs(1));
    let mut connection = opener.reader().await.unwrap();
    connection.begin_snapshot().await.unwrap();
    let found = crate::verify::check_books(&mut connection, &tenant(), &salts().find(&tenant()).unwrap()).await;
    connection.close().await.unwrap();
    match found {
        Ok(Verification::Broken { reason, .. }) => Some(reason),
        Ok(Verification::Sound { .. }) => None,
        Err(error) => panic!("{error}"),
    }
}
