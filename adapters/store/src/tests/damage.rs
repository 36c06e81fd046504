//! A byte flipped in the file, past every guard: `verify` finds it.

use std::time::Duration;

use ledger::command::Command;
use ledger::gate::{GateState, Scope};
use ledger::settlement::Role;
use ledger::store::{Store as _, Verification, Work};
use sqlx::{AssertSqlSafe, Connection as _, Row as _};

use super::{Place, assert_sound, document, holds, on, run, stream, tenant};
use crate::Schema;
use crate::connection::Opener;

async fn filled(place: &Place) -> crate::SqlStore {
    let store = place.opened().await;
    for number in 1..6 {
        let held = holds(stream::hold(number, stream::mandate(0), 20));
        run(&store, Work { documents: vec![document(&format!("evidence-{number}"))], ..held }).await.unwrap();
    }
    run(&store, holds(stream::hold(8, stream::mandate(22), 20))).await.unwrap();
    let looked_at = Some(stream::review(7, false));
    let hold = ledger::command::Hold { review: looked_at, ..stream::hold(7, stream::mandate(23), 20) };
    run(&store, holds(hold)).await.unwrap();
    let one = stream::spend(1);
    run(&store, on(Command::Commit { spend: one })).await.unwrap();
    run(&store, on(Command::Settle { spend: one, seen: stream::seen(20), finalized: stream::FINAL })).await.unwrap();
    run(&store, on(Command::Void { spend: stream::spend(2) })).await.unwrap();
    run(&store, on(Command::Claim(Box::new(stream::claim(1, Role::Seller, 5))))).await.unwrap();
    run(&store, on(Command::Gate { scope: Scope::Payee("nobody".parse().unwrap()), to: GateState::Closed }))
        .await
        .unwrap();
    assert!(run(&store, holds(stream::hold(9, stream::mandate(0), 9_999))).await.is_err());
    store
}

/// Removes the guards, changes one cell as `change` says, and puts the guards back: a forger with the whole file.
pub(super) async fn forge(place: &Place, statement: &str) {
    let mut shell = place.shell().await;
    let triggers = sqlx::query("SELECT name, sql FROM sqlite_schema WHERE type = 'trigger'");
    let triggers = triggers.fetch_all(&mut shell).await.unwrap();
    for row in &triggers {
        let drop = format!("DROP TRIGGER {}", row.get::<String, _>(0));
        sqlx::raw_sql(AssertSqlSafe(drop)).execute(&mut shell).await.unwrap();
    }
    sqlx::raw_sql("PRAGMA ignore_check_constraints = ON").execute(&mut shell).await.unwrap();
    let done = sqlx::query(AssertSqlSafe(statement.to_owned())).execute(&mut shell).await.unwrap();
    assert!(done.rows_affected() > 0, "{statement} changed nothing");
    for row in &triggers {
        sqlx::raw_sql(AssertSqlSafe(row.get::<String, _>(1))).execute(&mut shell).await.unwrap();
    }
    shell.close().await.unwrap();
}

async fn broken(place: &Place) -> Option<(u64, String)> {
    let store = place.open(Schema::Refuse).await.unwrap();
    let found = store.verify(&tenant()).await.unwrap();
    store.close().await.unwrap();
    match found {
        Verification::Broken { seq, reason } => Some((seq, reason)),
        Verification::Sound { .. } => None,
    }
}

#[tokio::test]
async fn every_column_of_every_table_is_checked() {
    let place = Place::new();
    let store = filled(&place).await;
    assert_sound(&store).await;
    store.close().await.unwrap();
    let whole = std::fs::read(place.path()).unwrap();

    let mut shell = place.shell().await;
    let columns = sqlx::query(
        "SELECT t.name, c.name, c.type FROM sqlite_schema t, pragma_table_info(t.name) c
         WHERE t.type = 'table' AND t.name NOT IN ('_sqlx_migrations', 'sealed_key', 'home', 'release', 'passkey',
             'one_time_code', 'page_session', 'checkout', 'checkout_key',
             'shop_order', 'order_heard', 'webhook') ORDER BY 1, 2",
    );
    // Keys carry their own seals and are no part of the book, nor are checkouts: whoever opens them finds the damage.
    let columns = columns.fetch_all(&mut shell).await.unwrap();
    shell.close().await.unwrap();
    let mut tried = 0;
    for row in &columns {
        let (table, column, kind): (String, String, String) = (row.get(0), row.get(1), row.get(2));
        // A document may be absent: that is how one is erased. Moved to another tenant, it is absent here.
        if (table.as_str(), column.as_str()) == ("document", "tenant") {
            continue;
        }
        // The last row's last byte, or the number next to it.
        let change = match kind.as_str() {
            "INTEGER" => format!("{column} = {column} + 1"),
            "TEXT" => format!("{column} = substr({column}, 1, length({column}) - 1) || '~'"),
            _ => format!(
                "{column} = CAST(substr({column}, 1, length({column}) - 1) ||
                 CASE WHEN substr({column}, -1) = x'07' THEN x'08' ELSE x'07' END AS BLOB)"
            ),
        };
        let one = format!("SELECT {column} FROM {table} WHERE {column} IS NOT NULL ORDER BY {column} DESC LIMIT 1");
        let statement = format!("UPDATE OR IGNORE {table} SET {change} WHERE {column} = ({one})");
        let mut shell = place.shell().await;
        let count = AssertSqlSafe(format!("SELECT count({column}) FROM {table}"));
        let count: i64 = sqlx::query(count).fetch_one(&mut shell).await.unwrap().get(0);
        shell.close().await.unwrap();
        assert!(count > 0, "{table}.{column} is empty: this test sees nothing of it");
        forge(&place, &statement).await;
        let found = broken(&place).await;
        assert!(found.is_some(), "{table}.{column} was changed and the book is called sound");
        tried += 1;
        std::fs::write(place.path(), &whole).unwrap();
    }
    assert!(tried > 60, "only {tried} columns were tried");
    assert_eq!(broken(&place).await, None, "the file was not restored");
}

#[tokio::test]
async fn a_record_is_named_where_it_breaks() {
    let place = Place::new();
    filled(&place).await.close().await.unwrap();
    forge(&place, "UPDATE journal SET bytes = CAST(bytes || x'00' AS BLOB) WHERE seq = 5").await;
    let (seq, reason) = broken(&place).await.unwrap();
    assert_eq!(seq, 5, "{reason}");
}

#[tokio::test]
async fn rows_added_or_taken_away_are_found() {
    for statement in [
        "DELETE FROM journal WHERE seq = (SELECT max(seq) FROM journal)",
        "DELETE FROM journal WHERE seq = 4",
        "DELETE FROM transfer WHERE seq = (SELECT max(seq) FROM transfer)",
        "DELETE FROM claim WHERE key = (SELECT max(key) FROM claim)",
        "DELETE FROM claim WHERE key = (SELECT min(key) FROM claim)",
        "DELETE FROM spend WHERE id = (SELECT max(id) FROM spend)",
        "DELETE FROM budget WHERE id = (SELECT max(id) FROM budget)",
        "DELETE FROM decision WHERE id = (SELECT max(id) FROM decision)",
        "UPDATE decision SET due_at = 1 WHERE id = (SELECT max(id) FROM decision)",
        "DELETE FROM settlement",
        "DELETE FROM account_balance WHERE account = 1",
        "DELETE FROM spend_record WHERE seq = (SELECT max(seq) FROM spend_record)",
        "UPDATE spend SET seq = (SELECT max(seq) FROM journal) WHERE id = (SELECT max(id) FROM spend)",
        "DELETE FROM head",
        "INSERT INTO decision SELECT tenant, randomblob(32), approver, state, asked, body, due_at FROM decision LIMIT 1",
        "INSERT INTO spend_record SELECT tenant, held_seq, (SELECT max(seq) FROM journal) FROM spend_record LIMIT 1",
        "INSERT INTO account SELECT tenant, id + 50, name || 'x', asset FROM account LIMIT 1",
        "INSERT INTO claim SELECT tenant, randomblob(32), seq, rejection FROM claim LIMIT 1",
        "INSERT INTO transfer SELECT tenant, seq, leg + 7, code, debit, credit, asset, amount, layer, NULL, NULL, NULL
         FROM transfer WHERE layer = 'posted' LIMIT 1",
    ] {
        let place = Place::new();
        filled(&place).await.close().await.unwrap();
        forge(&place, statement).await;
        assert!(broken(&place).await.is_some(), "{statement} was not found");
    }
}

#[tokio::test]
async fn a_dropped_guard_is_found_while_serving() {
    let place = Place::new();
    let store = filled(&place).await;
    let mut shell = place.shell().await;
    sqlx::raw_sql("DROP TRIGGER journal_delete").execute(&mut shell).await.unwrap();
    let found = store.verify(&tenant()).await.unwrap();
    assert!(matches!(&found, Verification::Broken { reason, .. } if reason.contains("journal_delete")), "{found:?}");
}

/// Every row of every table as the file has it; `None` where SQLite cannot read it.
async fn dump(place: &Place) -> Option<Vec<crate::cell::Row>> {
    let opener = Opener::new(&place.path().to_owned().into(), Duration::from_secs(1));
    let mut shell = opener.reader().await.ok()?;
    let tables = shell.fetch("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name", []).await.ok()?;
    let mut rows = Vec::new();
    for table in tables {
        rows.extend(shell.fetch(format!("SELECT * FROM {}", table.text(0).ok()?), []).await.ok()?);
    }
    shell.close().await.ok()?;
    Some(rows)
}

/// Bytes of the file itself: where a row reads otherwise, or not at all, the book is not called sound.
#[tokio::test]
async fn a_flipped_byte_in_the_file_is_found() {
    let place = Place::new();
    filled(&place).await.close().await.unwrap();
    let whole = std::fs::read(place.path()).unwrap();
    let rows = dump(&place).await;
    let texts: [&[u8]; 6] = [b"evidence-3", b"agent-1", b"payable/shop", b"eip155:31337", b"amount_exceeds", b"0x77"];
    for text in texts {
        let places: Vec<usize> =
            whole.windows(text.len()).enumerate().filter(|(_, window)| *window == text).map(|(at, _)| at).collect();
        let mut used = 0;
        for at in places.into_iter().rev().take(40) {
            let mut bytes = whole.clone();
            bytes[at] ^= 0x01;
            std::fs::write(place.path(), &bytes).unwrap();
            // What a row left behind when it moved is in the file and in no row.
            let is_used = dump(&place).await != rows;
            let found = broken(&place).await;
            assert!(found.is_some() || !is_used, "the byte {at} ({}) was flipped", String::from_utf8_lossy(text));
            used += usize::from(is_used);
        }
        assert!(used > 0, "no row holds {}", String::from_utf8_lossy(text));
    }
}
