//! Releases side by side: what a later one may add under this one, and that this one writes nothing where it may not.

use ledger::command::Command;
use ledger::store::{Store as _, StoreError, Verification};
use sqlx::AssertSqlSafe;
use sqlx::{Connection as _, PgConnection};

use super::damage::forge;
use super::{Place, assert_sound, holds, on, on_both_engines, run, stream, tenant, work};
use crate::connection::Dialect;
use crate::{Purpose, Schema, SqlStore, copy};

on_both_engines! { "multi_thread":
    a_later_release_adds_what_leaves_our_writing_right,
    what_could_refuse_our_writing_is_refused,
    a_running_release_takes_no_unit_where_it_may_not_serve,
    what_cannot_be_read_is_never_guessed,
}

/// As whoever owns the database: one statement after another.
async fn shell(place: &Place, statements: &str) {
    match &place.cluster {
        Some(cluster) => drop(cluster.psql(&place.database(), statements)),
        None => {
            let mut shell = place.shell().await;
            sqlx::raw_sql(AssertSqlSafe(statements.to_owned())).execute(&mut shell).await.unwrap();
        }
    }
}

/// In the words of the engine.
fn either<'a>(place: &Place, sqlite: &'a str, postgres: &'a str) -> &'a str {
    if place.cluster.is_some() { postgres } else { sqlite }
}

/// The newest migration is of a release that is not there yet.
async fn applied(place: &Place, change: &str) {
    shell(place, change).await;
    let row = either(
        place,
        "INSERT INTO _sqlx_migrations VALUES (99, 'later', CURRENT_TIMESTAMP, 1, x'01', 0)",
        "INSERT INTO _sqlx_migrations VALUES (99, 'later', now(), true, '\\x01', 0)",
    );
    shell(place, row).await;
}

async fn pays(store: &SqlStore, number: u8) -> Result<(), StoreError> {
    run(store, holds(stream::hold(number, stream::mandate(0), 1))).await?;
    run(store, on(Command::Commit { spend: stream::spend(number) })).await.map(drop)
}

async fn a_later_release_adds_what_leaves_our_writing_right(mut place: Place) {
    for (sqlite, postgres) in [
        ("", ""),
        (
            "CREATE TABLE later (id INTEGER PRIMARY KEY, tenant TEXT NOT NULL CHECK (tenant <> '')) STRICT;
             CREATE UNIQUE INDEX later_tenant ON later (tenant);
             CREATE TRIGGER later_change BEFORE UPDATE ON later BEGIN SELECT RAISE(ABORT, 'no'); END;",
            "CREATE TABLE later (id bigint PRIMARY KEY, tenant text NOT NULL CHECK (tenant <> ''));
             CREATE UNIQUE INDEX later_tenant ON later (tenant);
             CREATE TRIGGER later_change BEFORE UPDATE ON later FOR EACH ROW EXECUTE FUNCTION refuse_change('no');",
        ),
        ("ALTER TABLE spend ADD COLUMN mark TEXT", "ALTER TABLE spend ADD COLUMN mark text"),
        (
            "ALTER TABLE journal ADD COLUMN mark INTEGER NOT NULL DEFAULT 0; ALTER TABLE journal ADD COLUMN p TEXT",
            "ALTER TABLE journal ADD COLUMN mark bigint NOT NULL DEFAULT 0",
        ),
        ("CREATE INDEX later ON claim (seq)", "CREATE INDEX later ON claim (seq)"),
        ("", "CREATE FUNCTION later() RETURNS bigint LANGUAGE sql RETURN 1"),
    ] {
        let store = place.opened().await;
        pays(&store, 1).await.unwrap();
        let change = either(&place, sqlite, postgres);
        applied(&place, change).await;
        // The one that runs, one that starts, and one that only looks; `migrate` of this release changes nothing.
        pays(&store, 2).await.expect(change);
        let other = place.open(Schema::Refuse).await.expect(change);
        pays(&other, 3).await.expect(change);
        assert_sound(&other).await;
        let migrated = place.open(Schema::Migrate).await.expect(change);
        pays(&migrated, 4).await.expect(change);
        assert_sound(&migrated).await;
        // What would leave out what it does not know is not done.
        let backup = tempfile::tempdir().unwrap();
        let kept = copy(&place.location, &backup.path().join("kept.db").into(), Purpose::Keep).await;
        assert!(matches!(&kept, Err(StoreError::Broken(why)) if why.contains("a later release added")), "{kept:?}");
        for store in [store, other, migrated] {
            store.close().await.unwrap();
        }
        place.fresh();
    }
}

async fn what_could_refuse_our_writing_is_refused(mut place: Place) {
    for (sqlite, postgres, named) in [
        ("ALTER TABLE claim DROP COLUMN rejection", "ALTER TABLE claim DROP COLUMN rejection", ""),
        ("DROP TRIGGER journal_no_delete", "DROP TRIGGER journal_change ON journal", "journal"),
        ("DROP INDEX spend_open", "DROP INDEX spend_open", "spend_open"),
        ("ALTER TABLE home RENAME TO house", "ALTER TABLE home RENAME TO house", "ho"),
        ("CREATE UNIQUE INDEX later ON claim (seq, key)", "CREATE UNIQUE INDEX later ON claim (seq, key)", "later"),
        (
            "CREATE TRIGGER later BEFORE INSERT ON gate BEGIN SELECT 1; END",
            "CREATE TRIGGER later BEFORE INSERT ON gate FOR EACH ROW EXECUTE FUNCTION refuse_change('no')",
            "later",
        ),
        (
            "ALTER TABLE gate ADD COLUMN mark TEXT CHECK (mark > '')",
            "ALTER TABLE gate ADD COLUMN mark text CHECK (mark > '')",
            "gate",
        ),
        (
            "ALTER TABLE gate ADD COLUMN mark TEXT REFERENCES home (id)",
            "ALTER TABLE gate ADD COLUMN mark text NOT NULL",
            "gate",
        ),
        ("CREATE VIEW later AS SELECT 1", "ALTER TABLE gate ALTER COLUMN state TYPE varchar", "later"),
    ] {
        let store = place.open(Schema::Migrate).await.unwrap();
        let change = either(&place, sqlite, postgres);
        if change == "DROP TRIGGER journal_no_delete" {
            // Whatever its name is.
            let mut shell = place.shell().await;
            let name: (String,) =
                sqlx::query_as("SELECT name FROM sqlite_schema WHERE type = 'trigger' AND tbl_name = 'journal'")
                    .fetch_one(&mut shell)
                    .await
                    .unwrap();
            applied(&place, &format!("DROP TRIGGER {}", name.0)).await;
        } else if change.contains("DROP COLUMN") && place.cluster.is_none() {
            // SQLite refuses it where an index needs it.
            applied(&place, "DROP INDEX spend_purchase").await;
        } else {
            applied(&place, change).await;
        }
        let refused = place.open(Schema::Refuse).await.err();
        let Some(StoreError::Broken(why)) = &refused else { panic!("{change}: {refused:?}") };
        assert!(why.contains("the schema is not the one of this program"), "{why}");
        assert!(why.contains(named) || why.contains("gate"), "{change}: {why}");
        let found = store.verify(&tenant()).await.unwrap();
        assert!(matches!(&found, Verification::Broken { reason, .. } if reason.contains("schema")), "{found:?}");
        store.close().await.unwrap();
        place.fresh();
    }
}

async fn a_running_release_takes_no_unit_where_it_may_not_serve(place: Place) {
    let store = place.opened().await;
    pays(&store, 1).await.unwrap();
    let before = store.head(&tenant()).await.unwrap();
    shell(&place, "UPDATE release SET serves_from = 99").await;
    let own = either(&place, "20", "15");
    let both = format!("the schema is served by release 99 and later, this program is release {own}");
    for _ in 0..3 {
        let refused = pays(&store, 2).await;
        assert!(matches!(&refused, Err(StoreError::Unavailable(why)) if why.contains(&both)), "{refused:?}");
    }
    assert_eq!(store.head(&tenant()).await.unwrap(), before, "nothing was written");
    for schema in [Schema::Refuse, Schema::Exact, Schema::Migrate] {
        let refused = place.open(schema).await.err();
        assert!(matches!(&refused, Some(StoreError::Unavailable(why)) if why.contains(&both)), "{refused:?}");
    }
    let refused = store.verify(&tenant()).await;
    assert!(matches!(&refused, Err(StoreError::Unavailable(why)) if why.contains(&both)), "{refused:?}");
    // Without a word about it there is nothing to go by.
    shell(&place, "DELETE FROM release").await;
    assert!(pays(&store, 2).await.is_err());
    assert!(place.open(Schema::Refuse).await.is_err());
    shell(&place, &format!("INSERT INTO release VALUES (1, {own})")).await;
    pays(&store, 2).await.expect("it serves again");
    assert_sound(&store).await;
}

/// A later release may write what this one has no word for. Where it meets that, it stops.
async fn what_cannot_be_read_is_never_guessed(place: Place) {
    let store = place.opened().await;
    pays(&store, 1).await.unwrap();
    // A gate in a state that is not known here, before a hold.
    let gate = either(
        &place,
        "INSERT INTO gate VALUES ('acme', 'payee/shop', 'ajar', x'00')",
        "INSERT INTO gate VALUES ('acme', 'payee/shop', 'ajar', '\\x00')",
    );
    shell(&place, gate).await;
    let before = store.head(&tenant()).await.unwrap();
    let refused = pays(&store, 2).await;
    assert!(matches!(&refused, Err(StoreError::Broken(why)) if why.contains("cannot be read")), "{refused:?}");
    let refused = store.closed_gates(&tenant()).await;
    assert_eq!(refused.map(|gates| gates.len()).unwrap_or(0), 0, "no gate was made up");
    // A record with one field more, which is where a spend lies.
    match &place.cluster {
        None => forge(&place, "UPDATE journal SET bytes = CAST(bytes || x'00' AS BLOB)").await,
        Some(_) => {
            let text =
                "ALTER TABLE journal DISABLE TRIGGER journal_change; UPDATE journal SET bytes = bytes || '\\x00'";
            shell(&place, text).await;
        }
    }
    let settle = on(Command::Settle { spend: stream::spend(1), seen: stream::seen(1), finalized: stream::FINAL });
    let refused = run(&store, settle).await;
    assert!(matches!(&refused, Err(StoreError::Broken(why)) if why.contains("cannot be read")), "{refused:?}");
    let refused = store.spend(&tenant(), stream::spend(1)).await;
    assert!(matches!(&refused, Err(StoreError::Broken(_))), "{refused:?}");
    assert_eq!(store.head(&tenant()).await.unwrap(), before, "nothing was written");
    assert!(matches!(store.verify(&tenant()).await.unwrap(), Verification::Broken { .. }));
    // Neighbours that it can read are not concerned.
    let budget = Command::ChangeBudget { budget: stream::mandate(1), to: ledger::budget::BudgetState::Suspended };
    run(&store, work(stream::by(stream::user(), budget))).await.unwrap();
}

/// `migrate` waits for the unit that is under way, and the one that waits for `migrate` reads what it said.
#[tokio::test(flavor = "multi_thread")]
async fn no_unit_slips_past_the_word_of_a_migration() {
    let place = Place::postgres();
    let store = place.opened().await;
    assert_eq!(store.dialect(), Dialect::Postgres);
    let url = place.cluster.as_ref().unwrap().url(&place.database());
    let mut other = PgConnection::connect(&url).await.unwrap();
    for round in 0..5 {
        sqlx::raw_sql("BEGIN; LOCK TABLE release IN ACCESS EXCLUSIVE MODE; UPDATE release SET serves_from = 99")
            .execute(&mut other)
            .await
            .unwrap();
        let (waiting, number) = (store.clone(), 10 + round);
        let unit = tokio::spawn(async move { pays(&waiting, number).await });
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        assert!(!unit.is_finished(), "it waits");
        sqlx::raw_sql("COMMIT").execute(&mut other).await.unwrap();
        let refused = unit.await.unwrap();
        assert!(matches!(&refused, Err(StoreError::Unavailable(why)) if why.contains("release 99")), "{refused:?}");
        // A unit under way, as one that does not end: the word waits for it.
        sqlx::raw_sql("UPDATE release SET serves_from = 2").execute(&mut other).await.unwrap();
        sqlx::raw_sql("BEGIN; SELECT serves_from FROM release").execute(&mut other).await.unwrap();
        let mut word = PgConnection::connect(&url).await.unwrap();
        let said = sqlx::raw_sql("SET lock_timeout = 100; BEGIN; LOCK TABLE release IN ACCESS EXCLUSIVE MODE");
        assert!(said.execute(&mut word).await.is_err(), "it did not wait");
        sqlx::raw_sql("ROLLBACK").execute(&mut other).await.unwrap();
    }
    pays(&store, 1).await.unwrap();
    assert_sound(&store).await;
}
