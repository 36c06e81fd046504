//! The `sqlite3` shell against the database's own guards: default pragmas, no help from this program.

use ledger::command::Command;
use ledger::settlement::Role;
use ledger::store::{StoreError, Work};
use sqlx::{AssertSqlSafe, Row as _};

use super::{Place, assert_sound, document, holds, on, run, stream};

/// A book with a row in every table.
async fn filled(place: &Place) -> crate::SqlStore {
    let store = place.opened().await;
    let held = holds(stream::hold(1, stream::mandate(0), 100));
    run(&store, Work { documents: vec![document("evidence")], ..held }).await.unwrap();
    run(&store, on(Command::Commit { spend: stream::spend(1) })).await.unwrap();
    run(&store, on(Command::Claim(Box::new(stream::claim(1, Role::Seller, 5))))).await.unwrap();
    store
}

#[tokio::test]
async fn the_shell_cannot_rewrite_history() {
    let place = Place::new();
    let store = filled(&place).await;
    let statements = [
        "UPDATE journal SET bytes = x'00' WHERE seq = 3",
        "UPDATE journal SET leaf = leaf",
        "DELETE FROM journal",
        "DELETE FROM journal WHERE seq = (SELECT max(seq) FROM journal)",
        "INSERT OR REPLACE INTO journal SELECT tenant, seq, x'00', leaf FROM journal WHERE seq = 3",
        "REPLACE INTO journal SELECT * FROM journal WHERE seq = 3",
        "INSERT INTO journal SELECT tenant, seq + 100, bytes, leaf FROM journal WHERE seq = 3",
        "UPDATE transfer SET amount = x'000000000000000000000000000000ff'",
        "DELETE FROM transfer",
        "INSERT OR REPLACE INTO transfer SELECT * FROM transfer",
        "INSERT OR IGNORE INTO transfer SELECT * FROM transfer",
        "UPDATE claim SET seq = seq + 1",
        "DELETE FROM claim",
        "INSERT OR REPLACE INTO claim SELECT tenant, key, 1, NULL FROM claim",
        "UPDATE document SET bytes = x'00'",
        "DELETE FROM document",
        "INSERT OR REPLACE INTO document SELECT tenant, digest, 'other', bytes, seal FROM document",
        "UPDATE account SET name = 'gas'",
        "DELETE FROM account",
        "INSERT OR REPLACE INTO account SELECT tenant, id, 'gas', asset FROM account WHERE id = 1",
        "INSERT OR REPLACE INTO account SELECT tenant, 99, name, asset FROM account WHERE id = 1",
        "UPDATE spend_record SET seq = seq + 1",
        "DELETE FROM spend_record",
        "UPDATE head SET size = size - 1",
        "UPDATE head SET root = frontier",
        "DELETE FROM head",
        "INSERT OR REPLACE INTO head SELECT tenant, 1, frontier, root, last_at FROM head",
        "UPDATE budget SET cap = NULL",
        "UPDATE budget SET cap = x'ffffffffffffffffffffffffffffffff'",
        "UPDATE budget SET parent = NULL WHERE parent IS NOT NULL",
        "UPDATE budget SET used = x'ffffffffffffffffffffffffffffffff' WHERE cap IS NOT NULL",
        "UPDATE budget SET held = x'00'",
        "UPDATE budget SET held = 5",
        "DELETE FROM budget",
        "UPDATE budget_window SET cap = NULL",
        "UPDATE budget_window SET place = place + 1",
        "UPDATE budget_window SET used = x'ffffffffffffffffffffffffffffffff'",
        "DELETE FROM budget_window",
        "UPDATE spend SET id = randomblob(32)",
        "UPDATE spend SET purchase = randomblob(32) WHERE open = 1",
        "UPDATE spend SET held_seq = held_seq + 1",
        "UPDATE spend SET seq = held_seq WHERE seq > held_seq",
        "INSERT INTO spend SELECT tenant, held_seq + 100, id, seq + 100, state, open, budget, purchase FROM spend",
        "DELETE FROM spend",
        "DELETE FROM settlement",
        "DELETE FROM decision",
    ];
    let mut shell = place.shell().await;
    let pragma = sqlx::query("PRAGMA recursive_triggers").fetch_one(&mut shell).await.unwrap();
    assert_eq!(pragma.get::<i64, _>(0), 0, "the shell of this test is kinder than the real one");
    for statement in statements {
        let result = sqlx::raw_sql(statement).execute(&mut shell).await;
        let refused = result.as_ref().err().and_then(|error| error.as_database_error());
        assert!(refused.is_some(), "{statement} was not refused: {result:?}");
    }
    assert_sound(&store).await;
}

#[tokio::test]
async fn the_refusal_of_a_rewritten_journal_says_why() {
    let place = Place::new();
    let _store = filled(&place).await;
    let mut shell = place.shell().await;
    for statement in ["UPDATE journal SET bytes = x'00'", "DELETE FROM journal"] {
        let error = sqlx::raw_sql(statement).execute(&mut shell).await.unwrap_err();
        assert!(error.to_string().contains("journal is append-only"), "{error}");
    }
}

#[tokio::test]
async fn an_authorization_is_claimed_once_by_the_database_itself() {
    let place = Place::new();
    let _store = filled(&place).await;
    let mut shell = place.shell().await;
    let columns = |table: &'static str| {
        let text = AssertSqlSafe(format!("SELECT group_concat(name) FROM pragma_table_info('{table}')"));
        sqlx::query(text)
    };
    for (table, other) in [("spend", "id"), ("settlement", "state")] {
        let columns: String = columns(table).fetch_one(&mut shell).await.unwrap().get(0);
        let values = columns.replace(&format!(",{other},"), ",CASE WHEN 1 THEN randomblob(32) END,");
        let values = if table == "settlement" { columns.clone() } else { values };
        let copy = AssertSqlSafe(format!("INSERT INTO {table} ({columns}) SELECT {values} FROM {table}"));
        let error = sqlx::query(copy).execute(&mut shell).await.unwrap_err();
        let error = error.as_database_error().unwrap();
        assert!(error.is_unique_violation(), "{table}: {error}");
    }
}

#[tokio::test]
async fn readers_cannot_write() {
    let place = Place::new();
    let store = filled(&place).await;
    let mut reader = store.shared.readers.acquire().await.unwrap();
    let result = reader.run("UPDATE decision SET state = 'approved'").await;
    assert!(result.is_err(), "a reader wrote");
    assert_sound(&store).await;
}

/// What the table of keys refuses by itself: to change a key, to bring one back, to have two at work, to lose one.
#[tokio::test]
async fn a_key_never_changes_and_never_vanishes() {
    use crate::Schema;
    use crate::keys::{KeyState, KeyTable, SealedKey};
    let place = Place::new();
    let mut table = KeyTable::open(&place.location, Schema::Migrate).await.unwrap();
    let key = |kid: &str, state: KeyState| SealedKey {
        tenant: "t".into(),
        purpose: "wallet".into(),
        kid: kid.into(),
        state,
        created_at: 1,
        ended_at: (state != KeyState::Active).then_some(2),
        master: "m".into(),
        data_key: vec![1],
        secret: vec![2],
    };
    let first = [key("a", KeyState::Retired), key("b", KeyState::Active), key("c", KeyState::Revoked)];
    table.change(|_| Ok::<_, StoreError>(first.to_vec())).await.unwrap();
    for (wrong, why) in [
        (vec![key("d", KeyState::Active)], "two at work"),
        (vec![key("b", KeyState::Retired), key("a", KeyState::Active)], "a retired one back"),
        (vec![key("c", KeyState::Retired)], "a revoked one back"),
        (vec![key("d", KeyState::Retired), key("d2", KeyState::Active)], "half of a change"),
    ] {
        assert!(table.change(|_| Ok::<_, StoreError>(wrong)).await.is_err(), "{why}");
        assert_eq!(table.rows().await.unwrap(), first, "{why}");
    }
    let refused = table.change(|_| Err(StoreError::Broken("no".into()))).await;
    assert!(refused.is_err(), "who decides may say no");
    table.close().await.unwrap();
    let mut shell = place.shell().await;
    for statement in [
        "DELETE FROM sealed_key",
        "UPDATE sealed_key SET secret = x'00'",
        "UPDATE sealed_key SET kid = 'z' WHERE kid = 'b'",
        "UPDATE sealed_key SET tenant = 'z'",
        "UPDATE sealed_key SET created_at = 0",
        "UPDATE sealed_key SET state = 'active', ended_at = NULL WHERE kid = 'a'",
        "UPDATE sealed_key SET state = 'idle' WHERE kid = 'b'",
        "UPDATE sealed_key SET ended_at = NULL WHERE kid = 'a'",
    ] {
        assert!(sqlx::raw_sql(statement).execute(&mut shell).await.is_err(), "{statement}");
    }
}
