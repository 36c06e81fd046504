//! What PostgreSQL refuses by itself: a rewritten history, a schema that is not ours, a role that wants more than to serve.

use std::time::Duration;

use ledger::command::Command;
use ledger::settlement::Role;
use ledger::store::{Store as _, StoreError, Verification, Work};

use super::cluster::Cluster;
use super::postgres::filled;
use super::{Place, assert_sound, document, holds, on, run, salts, stream, tenant};
use crate::{Options, Schema, SqlStore};

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
        "UPDATE spend SET id = sha256(id)".to_owned(),
        "UPDATE spend SET purchase = sha256(purchase)".to_owned(),
        "UPDATE spend SET held_seq = held_seq + 1000, seq = seq + 1000".to_owned(),
        "UPDATE spend SET seq = held_seq WHERE seq > held_seq".to_owned(),
        "UPDATE spend SET seq = 4000".to_owned(),
        "UPDATE budget_window SET place = place + 1".to_owned(),
        "UPDATE budget_window SET cap = NULL WHERE cap IS NOT NULL".to_owned(),
        format!("UPDATE budget_window SET used = {zero}"),
        "UPDATE settlement SET payer = 'x'".to_owned(),
        "INSERT INTO transfer SELECT tenant, seq, leg + 9, code, debit, debit, asset, amount, layer, NULL, NULL, NULL FROM transfer WHERE layer = 'posted'".to_owned(),
        format!("INSERT INTO transfer SELECT tenant, seq, leg + 9, code, debit, credit, asset, {zero}, layer, NULL, NULL, NULL FROM transfer WHERE layer = 'posted'"),
        "INSERT INTO transfer SELECT tenant, seq, leg + 9, code, debit, credit, 'iso4217:USD', amount, layer, NULL, NULL, NULL FROM transfer WHERE layer = 'posted'".to_owned(),
        "INSERT INTO claim SELECT * FROM claim".to_owned(),
        "INSERT INTO spend SELECT * FROM spend".to_owned(),
        "INSERT INTO spend SELECT tenant, held_seq + 1000, id, seq + 1000, state, open, budget, purchase FROM spend".to_owned(),
    ];
    for table in ["journal", "spend_record", "transfer", "claim", "document", "account", "unit"] {
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
        "INSERT INTO spend_record SELECT tenant, held_seq, 4000 FROM spend LIMIT 1".to_owned(),
        "INSERT INTO spend SELECT tenant, 4000, sha256(id), 4000, state, open, budget, purchase FROM spend LIMIT 1".to_owned(),
        "INSERT INTO spend SELECT tenant, j.seq, sha256(id), j.seq, state, open, sha256(budget), purchase FROM spend JOIN (SELECT max(seq) AS seq FROM journal) j ON true LIMIT 1".to_owned(),
        "INSERT INTO claim SELECT tenant, sha256(key), -1, rejection FROM claim LIMIT 1".to_owned(),
        "INSERT INTO claim SELECT tenant, sha256(key), 4000, rejection FROM claim LIMIT 1".to_owned(),
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
        "DROP INDEX spend_open",
        "ALTER TABLE decision ADD COLUMN note text",
        "ALTER TABLE budget DROP CONSTRAINT budget_check1",
        "CREATE OR REPLACE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'",
        "UPDATE _sqlx_migrations SET checksum = '\\x00'",
        "INSERT INTO _sqlx_migrations VALUES (0, 'former', now(), true, '\\x00', 0)",
        "DROP TABLE release",
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
        WHERE table_schema = 'public' AND table_name NOT IN ('_sqlx_migrations', 'sealed_key', 'unit', 'home', 'release',
            'passkey', 'one_time_code', 'page_session', 'checkout', 'checkout_key',
             'shop_order', 'order_heard', 'webhook')
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
    let opener = crate::connection::Opener::new(&location, Duration::from_secs(1));
    match crate::verify::check_books(&opener, &tenant(), &salts().find(&tenant()).unwrap()).await {
        Ok(Verification::Broken { reason, .. }) => Some(reason),
        Ok(Verification::Sound { .. }) => None,
        Err(error) => panic!("{error}"),
    }
}

/// The role that serves may not even try, and what the guards would refuse the owner is not its to ask.
#[tokio::test]
async fn the_role_that_serves_adds_and_never_changes() {
    let place = Place::postgres();
    let owner = filled(&place).await;
    let cluster = place.cluster.as_ref().unwrap();
    cluster.psql(&place.database(), "CREATE ROLE \"a \"\"server\" LOGIN");
    crate::grant(&place.location, "a \"server").await.unwrap();
    let url = cluster.url_as("a%20%22server", &place.database());
    let location: crate::Location = url.parse().unwrap();
    let options = Options { clock: place.dial.clock(), skew_max: None, ..Options::new(Schema::Refuse) };
    let store = SqlStore::open(location.clone(), salts(), options).await.unwrap();
    run(&store, on(stream::gate(4, ledger::gate::GateState::Open))).await.unwrap();
    run(&store, Work { documents: vec![document("other")], ..holds(stream::hold(2, stream::mandate(22), 7)) })
        .await
        .unwrap();
    run(&store, on(Command::Commit { spend: stream::spend(2) })).await.unwrap();
    run(&store, on(Command::Claim(Box::new(stream::claim(2, Role::Seller, 5))))).await.unwrap();
    run(&store, on(stream::gate(1, ledger::gate::GateState::Closed))).await.unwrap();
    let mut keys = crate::keys::KeyTable::open(&location, Schema::Refuse).await.unwrap();
    keys.change(|_| Ok::<_, StoreError>(Vec::new())).await.unwrap();
    assert_sound(&store).await;
    for statement in [
        "UPDATE journal SET leaf = leaf",
        "UPDATE transfer SET leg = leg",
        "UPDATE claim SET seq = seq",
        "UPDATE document SET kind = kind",
        "DELETE FROM journal",
        "DELETE FROM spend",
        "DELETE FROM sealed_key",
        "TRUNCATE journal CASCADE",
        "DROP TRIGGER journal_change ON journal",
        "ALTER TABLE journal DISABLE TRIGGER ALL",
        "SET session_replication_role = replica",
        "CREATE TABLE later (id bigint)",
        "UPDATE _sqlx_migrations SET version = version",
    ] {
        let output = cluster.try_psql_as("a \"server", &place.database(), statement);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success(), "{statement} was not refused");
        assert!(said.contains("permission denied") || said.contains("must be owner"), "{statement}: {said}");
    }
    drop(owner);
}
