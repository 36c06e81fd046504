//! PostgreSQL: a server, a connection a lane for writing, readers that cannot write, and roles of which the one that
//! serves may not change what was written.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::time::Duration;

use sqlx::migrate::Migrator;
use sqlx::postgres::{PgArguments, PgConnectOptions, PgPoolOptions, PgRow};
use sqlx::{Connection as _, Executor as _, PgConnection, PgPool, Postgres, Row as _, TypeInfo as _, ValueRef as _};

use super::notice::listen;
use super::release::{self, Applied, Fit, Known, wrong};
use super::{Dialect, Schema, migration, ours};
use crate::cell::{Cell, Row};
use crate::failure::Failure;
use crate::limits::STATEMENTS_CACHED;
use crate::table::{Column, Growth};

pub(super) static MIGRATOR: Migrator = sqlx::migrate!("migrations/postgres");

/// Tables with their columns, constraints, indexes, guards and the bodies of functions, as the migrations make them.
const CATALOG: &str = include_str!("postgres_catalog.txt");

pub(super) type Query<'q> = sqlx::query::Query<'q, Postgres, PgArguments>;

/// A single NULL is always of a column of numbers here; lists carry their own types.
fn bind(query: Query<'static>, cell: Cell) -> Query<'static> {
    match cell {
        Cell::Null => query.bind(None::<i64>),
        Cell::Integer(value) => query.bind(value),
        Cell::Text(value) => query.bind(value),
        Cell::Blob(value) => query.bind(value),
    }
}

fn bind_column(query: Query<'static>, column: Column) -> Query<'static> {
    match column {
        Column::Integers(values) => query.bind(values),
        Column::Texts(values) => query.bind(values),
        Column::Blobs(values) => query.bind(values),
    }
}

fn with_columns(text: String, first: Cell, columns: Vec<Column>) -> Query<'static> {
    columns.into_iter().fold(bind(sqlx::query(ours(text.into())), first), bind_column)
}

pub(super) async fn fetch(
    connection: &mut PgConnection,
    text: Cow<'static, str>,
    cells: Vec<Cell>,
) -> Result<Vec<Row>, Failure> {
    let query = cells.into_iter().fold(sqlx::query(ours(text)), bind);
    connection.fetch_all(query).await?.iter().map(row).collect()
}

/// A query of many rows, one by one.
pub(super) fn bound(text: &str, cells: &[Cell]) -> Query<'static> {
    cells.iter().cloned().fold(sqlx::query(ours(text.to_owned().into())), bind)
}

pub(super) async fn execute(
    connection: &mut PgConnection,
    text: Cow<'static, str>,
    cells: Vec<Cell>,
) -> Result<u64, Failure> {
    let query = cells.into_iter().fold(sqlx::query(ours(text)), bind);
    Ok(connection.execute(query).await?.rows_affected())
}

pub(super) async fn execute_columns(
    connection: &mut PgConnection,
    text: String,
    first: Cell,
    columns: Vec<Column>,
) -> Result<u64, Failure> {
    Ok(connection.execute(with_columns(text, first, columns)).await?.rows_affected())
}

pub(super) async fn fetch_columns(
    connection: &mut PgConnection,
    text: String,
    first: Cell,
    columns: Vec<Column>,
) -> Result<Vec<Row>, Failure> {
    connection.fetch_all(with_columns(text, first, columns)).await?.iter().map(row).collect()
}

fn row(row: &PgRow) -> Result<Row, Failure> {
    let cell = |column: usize| {
        let value = row.try_get_raw(column)?;
        if value.is_null() {
            return Ok(Cell::Null);
        }
        let kind = value.type_info().name().to_owned();
        match kind.as_str() {
            "INT8" => row.try_get(column).map(Cell::Integer),
            "INT4" => row.try_get::<i32, _>(column).map(|value| Cell::Integer(value.into())),
            "TEXT" | "NAME" => row.try_get(column).map(Cell::Text),
            "BYTEA" => row.try_get(column).map(Cell::Blob),
            other => Err(sqlx::Error::Decode(format!("a value of type {other}").into())),
        }
    };
    Ok(Row((0..row.len()).map(cell).collect::<Result<_, sqlx::Error>>()?))
}

/// Only what says by its code that the transaction was rolled back has written nothing. A server that goes away
/// (class 57) may have committed before it went. And one that was cancelled while it waited for its standby says that it
/// committed, and in a warning alone that the standby may not have it.
pub(super) async fn commit(connection: &mut PgConnection) -> Result<(), Failure> {
    match listen(sqlx::raw_sql("COMMIT").execute(connection)).await {
        (Ok(_), None) => Ok(()),
        (Ok(_), Some(warning)) => Err(Failure::Unknown(warning)),
        (Err(error), _) => {
            let code = error.as_database_error().and_then(|error| error.code()).unwrap_or_default().into_owned();
            if code.starts_with("23") || code.starts_with("40") {
                return Err(Failure::from(error));
            }
            Err(Failure::Unknown(error.to_string()))
        }
    }
}

/// A warning is asked for, one that ends no transaction because there is none. Where it is not heard, by another driver
/// or a build that drops its logs, no commit could be believed.
async fn check_hearing(connection: &mut PgConnection) -> Result<(), Failure> {
    match listen(sqlx::raw_sql("ROLLBACK").execute(connection)).await {
        (Ok(_), Some(_)) => Ok(()),
        (Ok(_), None) => Err(Failure::Unavailable("the warnings of the database are not heard here".to_owned())),
        (Err(error), _) => Err(Failure::from(error)),
    }
}

#[derive(Clone)]
pub(crate) struct Opener {
    writer: PgConnectOptions,
    reader: PgConnectOptions,
}

/// The options hold a password.
impl std::fmt::Debug for Opener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Opener(postgres://{})", self.writer.get_host())
    }
}

impl Opener {
    pub fn new(options: &PgConnectOptions, busy_timeout: Duration) -> Self {
        let base = options.clone().application_name("purser").statement_cache_capacity(STATEMENTS_CACHED);
        let milliseconds = busy_timeout.as_millis().to_string();
        // Plans are kept for the life of a connection. Made on tables that are still empty they scan, and a fresh
        // database runs at a quarter of its speed until they reconnect: every look-up here is by a key, so no plan
        // may scan or hash whole tables. An idle transaction of a dead process gives its locks back.
        let writer = base.clone().options([
            ("enable_seqscan", "off"),
            ("enable_hashjoin", "off"),
            ("enable_mergejoin", "off"),
            ("plan_cache_mode", "force_generic_plan"),
            ("jit", "off"),
            ("lock_timeout", milliseconds.as_str()),
            ("statement_timeout", "30000"),
            ("idle_in_transaction_session_timeout", "15000"),
            ("tcp_user_timeout", "15000"),
            // Whatever the role's own setting is: `commit` has to hear of a wait that was cancelled.
            ("client_min_messages", "warning"),
        ]);
        let reader = base.options([("default_transaction_read_only", "on"), ("jit", "off"), ("enable_seqscan", "off")]);
        Self { writer, reader }
    }

    pub async fn connect(&self) -> Result<PgConnection, Failure> {
        let mut connection = PgConnection::connect_with(&self.writer).await?;
        check_hearing(&mut connection).await?;
        Ok(connection)
    }

    pub async fn open(&self, schema: Schema) -> Result<PgConnection, Failure> {
        if schema == Schema::Migrate {
            // Index builds of a migration may take longer than a unit of work ever should.
            let patient = self.writer.clone().options([("statement_timeout", "0"), ("lock_timeout", "60000")]);
            let mut connection = PgConnection::connect_with(&patient).await?;
            migrate(&mut connection).await?;
            connection.close().await?;
        }
        let mut connection = self.connect().await?;
        check_schema(&mut connection, schema).await?;
        Ok(connection)
    }

    pub async fn reader(&self) -> Result<PgConnection, Failure> {
        Ok(PgConnection::connect_with(&self.reader).await?)
    }

    pub async fn readers(&self, count: u32, timeout: Duration) -> Result<PgPool, Failure> {
        let options = PgPoolOptions::new().max_connections(count.max(1)).acquire_timeout(timeout);
        Ok(options.connect_with(self.reader.clone()).await?)
    }
}

/// Brings the schema up to ours, and says first which releases it is for from then on. A newer one is left as it is.
async fn migrate(connection: &mut PgConnection) -> Result<(), Failure> {
    let applied = match applied(connection).await {
        Ok(applied) => applied,
        // Nothing is there yet; where something else is wrong, the migrations say it.
        Err(Failure::Broken(_)) => Vec::new(),
        Err(failure) => return Err(failure),
    };
    if applied.iter().any(|(version, _)| *version > release::own(Dialect::Postgres)) {
        return Ok(());
    }
    let oldest = release::oldest(Dialect::Postgres);
    if has_release(connection).await? {
        serve_from(connection, oldest).await?;
    }
    release::migrator(Dialect::Postgres).run_direct(None, connection, false).await.map_err(migration)?;
    serve_from(connection, oldest).await
}

/// Waits for the units that are under way: each holds the table until it ends. Those that come later read what it says.
async fn serve_from(connection: &mut PgConnection, oldest: i64) -> Result<(), Failure> {
    if serves_from(connection).await? >= oldest {
        return Ok(());
    }
    let mut transaction = connection.begin().await?;
    sqlx::raw_sql("LOCK TABLE release IN ACCESS EXCLUSIVE MODE").execute(&mut *transaction).await?;
    let raise = sqlx::query("UPDATE release SET serves_from = $1 WHERE serves_from < $1").bind(oldest);
    raise.execute(&mut *transaction).await?;
    Ok(transaction.commit().await?)
}

/// A database of before there was one says nothing.
async fn has_release(connection: &mut PgConnection) -> Result<bool, Failure> {
    Ok(sqlx::query("SELECT to_regclass('release') IS NOT NULL").fetch_one(connection).await?.try_get(0)?)
}

async fn serves_from(connection: &mut PgConnection) -> Result<i64, Failure> {
    Ok(sqlx::query("SELECT serves_from FROM release").fetch_one(connection).await?.try_get(0)?)
}

/// One round trip. The read keeps the table from `serve_from` until the unit ends, and is of the instant at which it got
/// it.
pub(super) async fn begin(connection: &mut PgConnection) -> Result<(), Failure> {
    let begun = sqlx::raw_sql("BEGIN; SELECT serves_from FROM release").fetch_one(&mut *connection).await;
    let serves = begun.map_err(Failure::from).and_then(|row| release::may_serve(Dialect::Postgres, row.try_get(0)?));
    if serves.is_err() {
        // Whoever keeps the connection begins anew; where it is gone there is nothing to end.
        let _ = sqlx::raw_sql("ROLLBACK").execute(connection).await;
    }
    serves
}

/// What the role that serves may do: read everything, add to what is append-only, change what is state; never remove
/// (save a shop's old checkouts and answers), never change what was written.
pub(super) async fn grant(connection: &mut PgConnection, role: &str) -> Result<(), Failure> {
    let role = format!("\"{}\"", role.replace('"', "\"\""));
    let may = |table: &str, rights: &str| format!("GRANT {rights} ON {table} TO {role}");
    let mut statements = vec![
        format!("DO $$ BEGIN EXECUTE format('GRANT USAGE ON SCHEMA %I TO {role}', current_schema()); END $$"),
        may("_sqlx_migrations", "SELECT"),
        may("release", "SELECT"),
        may("unit, shop_order, order_heard", "SELECT, INSERT"),
        may("head, home, sealed_key, webhook", "SELECT, INSERT, UPDATE"),
        may("checkout, checkout_key, passkey", "SELECT, INSERT, UPDATE, DELETE"),
        may("one_time_code, page_session", "SELECT, INSERT, DELETE"),
    ];
    statements.extend(crate::rows::ALL.iter().map(|table| match table.growth {
        Growth::Append => may(table.name, "SELECT, INSERT"),
        Growth::Replace => may(table.name, "SELECT, INSERT, UPDATE"),
    }));
    for statement in statements {
        sqlx::raw_sql(ours(statement.into())).execute(&mut *connection).await?;
    }
    Ok(())
}

/// A name that another server, and another database of this one, do not have.
pub(super) async fn home(connection: &mut PgConnection) -> Result<String, Failure> {
    let text = "SELECT format('postgres:%s:%s', c.system_identifier, d.oid)
        FROM pg_control_system() c CROSS JOIN pg_database d WHERE d.datname = current_database()";
    Ok(sqlx::query(text).fetch_one(connection).await?.try_get(0)?)
}

/// Nobody else, until the transaction ends. Refused where somebody is there already.
pub(super) async fn alone(connection: &mut PgConnection) -> Result<(), Failure> {
    let text = "SELECT count(*) FROM pg_stat_activity
        WHERE datname = current_database() AND application_name = 'purser' AND pid <> pg_backend_pid()";
    // A connection that was closed ends a moment later.
    for pause in [50, 200, 1_000, 0] {
        let others: i64 = sqlx::query(text).fetch_one(&mut *connection).await?.try_get(0)?;
        match (others, pause) {
            (0, _) => break,
            (_, 0) => {
                let reason = format!("{others} other connections of purser are open: stop `serve` first");
                return Err(Failure::Unavailable(reason));
            }
            _ => tokio::time::sleep(Duration::from_millis(pause)).await,
        }
    }
    sqlx::raw_sql("BEGIN; LOCK TABLE home, head IN ACCESS EXCLUSIVE MODE").execute(connection).await?;
    Ok(())
}

async fn applied(connection: &mut PgConnection) -> Result<Vec<Applied>, Failure> {
    let rows = sqlx::query("SELECT version, checksum FROM _sqlx_migrations WHERE success ORDER BY version");
    let rows = rows.fetch_all(connection).await.map_err(|error| match &error {
        sqlx::Error::Database(_) => wrong(Dialect::Postgres, &format!("it cannot be read: {error}")),
        _ => Failure::from(error),
    })?;
    rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?))).collect()
}

/// Refuses any schema but ours: another version, a column, a constraint, an index or a guard that is gone or is new,
/// a guard that is switched off, a function whose body is another. A later release that lets us serve may have added what
/// leaves our writing right.
pub(super) async fn check_schema(connection: &mut PgConnection, schema: Schema) -> Result<(), Failure> {
    let wrong = |problem: String| wrong(Dialect::Postgres, &problem);
    let applied = applied(connection).await?;
    let serves_from = if has_release(connection).await? { serves_from(connection).await? } else { 0 };
    let fit = release::fit(Dialect::Postgres, &applied, serves_from)?;
    if fit == Fit::Newer && schema == Schema::Exact {
        return Err(wrong(
            "a later release added to it, and what this program does not know it would leave out".into(),
        ));
    }
    let found = catalog(connection).await?;
    let added = release::later().iter().flat_map(|later| later.catalog).copied();
    let expected = BTreeSet::from_iter(CATALOG.lines().chain(added));
    if let Some(line) = expected.iter().find(|line| !found.iter().any(|found| found == *line)) {
        return Err(wrong(format!("`{line}` is missing or changed")));
    }
    let mut unknown = found.iter().filter(|line| !expected.contains(line.as_str()));
    let line = match fit {
        Fit::Exact => unknown.next(),
        Fit::Newer => {
            let (known, demanded) = (Known::of(expected.iter().copied()), demanded(connection).await?);
            unknown.find(|line| !known.allows(line, &demanded))
        }
    };
    match line {
        Some(line) => Err(wrong(format!("`{line}` is unknown"))),
        None => Ok(()),
    }
}

/// The columns that want a value and have none by themselves.
async fn demanded(connection: &mut PgConnection) -> Result<BTreeSet<String>, Failure> {
    let text = "SELECT format('%s.%s', c.relname, a.attname) FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
        WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind IN ('r', 'p') AND a.attnum > 0
          AND NOT a.attisdropped AND a.attnotnull AND NOT a.atthasdef AND a.attidentity = ''";
    let rows = sqlx::query(text).fetch_all(connection).await?;
    rows.iter().map(|row| Ok(row.try_get(0)?)).collect()
}

/// A line a thing, in words that mean the same in every version of PostgreSQL.
async fn catalog(connection: &mut PgConnection) -> Result<Vec<String>, Failure> {
    let text = "SELECT line FROM (
        SELECT format('column %s.%s %s%s', c.relname, a.attname, format_type(a.atttypid, a.atttypmod),
                      CASE WHEN a.attnotnull THEN ' not null' ELSE '' END) AS line
        FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
        WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind IN ('r', 'p') AND a.attnum > 0
          AND NOT a.attisdropped AND c.relname <> '_sqlx_migrations'
        UNION ALL
        SELECT format('constraint %s.%s %s', c.relname, o.conname, o.contype)
        FROM pg_constraint o JOIN pg_class c ON c.oid = o.conrelid
        WHERE o.connamespace = current_schema()::regnamespace AND o.contype IN ('c', 'f', 'p', 'u', 'x') AND o.convalidated
          AND c.relname <> '_sqlx_migrations'
        UNION ALL
        SELECT format('index %s.%s%s%s', c.relname, i.relname, CASE WHEN x.indisunique THEN ' unique' ELSE '' END,
                      CASE WHEN x.indpred IS NULL THEN '' ELSE ' partial' END)
        FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid JOIN pg_class c ON c.oid = x.indrelid
        WHERE c.relnamespace = current_schema()::regnamespace AND x.indisvalid AND c.relname <> '_sqlx_migrations'
        UNION ALL
        SELECT format('guard %s.%s %s %s', c.relname, t.tgname, t.tgtype, t.tgenabled)
        FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid
        WHERE c.relnamespace = current_schema()::regnamespace AND NOT t.tgisinternal
        UNION ALL
        SELECT format('rule %s.%s', c.relname, r.rulename)
        FROM pg_rewrite r JOIN pg_class c ON c.oid = r.ev_class
        WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind IN ('r', 'p')
        UNION ALL
        SELECT format('rowsecurity %s', c.relname)
        FROM pg_class c WHERE c.relnamespace = current_schema()::regnamespace AND c.relrowsecurity
        UNION ALL
        SELECT format('function %s %s', p.proname, md5(p.prosrc))
        FROM pg_proc p WHERE p.pronamespace = current_schema()::regnamespace
        ) lines ORDER BY line COLLATE \"C\"";
    let rows = sqlx::query(text).fetch_all(connection).await?;
    rows.iter().map(|row| Ok(row.try_get(0)?)).collect()
}

/// What the migrations make of an empty database, to be kept beside them.
#[cfg(test)]
pub(crate) async fn catalog_of_migrations(url: &str) -> Result<Vec<String>, Failure> {
    let mut connection = PgConnection::connect(url).await?;
    MIGRATOR.run_direct(None, &mut connection, false).await.map_err(migration)?;
    catalog(&mut connection).await
}
