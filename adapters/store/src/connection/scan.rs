//! Reading very many rows, each looked at where the engine holds it: no cell of its own. Its callers are not async, so
//! they run on a thread that may block.

use futures_util::TryStreamExt as _;
use sqlx::postgres::PgRow;
use sqlx::{Executor as _, PgConnection, Row as _, TypeInfo as _, ValueRef as _};
use tokio::runtime::Handle;

use super::{Connection, Opener, postgres, sqlite};
use crate::cell::{Cell, Row};
use crate::failure::Failure;

/// A cell where it lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Value<'a> {
    Null,
    Integer(i64),
    Text(&'a str),
    Blob(&'a [u8]),
}

impl Value<'_> {
    pub fn owned(self) -> Cell {
        match self {
            Self::Null => Cell::Null,
            Self::Integer(value) => Cell::Integer(value),
            Self::Text(value) => Cell::Text(value.to_owned()),
            Self::Blob(value) => Cell::Blob(value.to_vec()),
        }
    }
}

impl Cell {
    pub fn value(&self) -> Value<'_> {
        match self {
            Self::Null => Value::Null,
            Self::Integer(value) => Value::Integer(*value),
            Self::Text(value) => Value::Text(value),
            Self::Blob(value) => Value::Blob(value),
        }
    }
}

/// One snapshot of the whole database, whatever is written meanwhile.
pub(crate) enum Scanner {
    Sqlite(rusqlite::Connection),
    Postgres(Box<PgConnection>, Handle),
}

impl Scanner {
    /// On a connection of its own, which is gone with it.
    pub async fn open(opener: &Opener) -> Result<Self, Failure> {
        let mut connection = match opener {
            Opener::Sqlite(opener) => {
                let connection = opener.reader()?;
                sqlite::run(&connection, "BEGIN")?;
                return Ok(Self::Sqlite(connection));
            }
            Opener::Postgres(_) => opener.reader().await?,
        };
        connection.begin_snapshot().await?;
        match connection {
            Connection::Postgres(connection) => Ok(Self::Postgres(Box::new(connection), Handle::current())),
            _ => Err(Failure::Broken("a reader of PostgreSQL was expected".to_owned())),
        }
    }

    /// Every row that a query gives, in its order. What goes wrong in reading is the outer error, what the visitor says
    /// the inner one, and ends it.
    pub fn each<E>(
        &mut self,
        text: &str,
        cells: &[Cell],
        mut visit: impl FnMut(&[Value<'_>]) -> Result<(), E>,
    ) -> Result<Result<(), E>, Failure> {
        match self {
            Self::Sqlite(connection) => sqlite::each(connection, text, cells, &mut visit),
            Self::Postgres(connection, runtime) => {
                runtime.clone().block_on(each_of_postgres(connection, text, cells, &mut visit))
            }
        }
    }

    pub fn fetch(&mut self, text: &str, cells: &[Cell]) -> Result<Vec<Row>, Failure> {
        let mut rows = Vec::new();
        let read = self.each(text, cells, |row| {
            rows.push(Row(row.iter().map(|value| value.owned()).collect()));
            Ok::<_, std::convert::Infallible>(())
        })?;
        match read {
            Ok(()) => Ok(rows),
            Err(never) => match never {},
        }
    }
}

async fn each_of_postgres<E>(
    connection: &mut PgConnection,
    text: &str,
    cells: &[Cell],
    visit: &mut impl FnMut(&[Value<'_>]) -> Result<(), E>,
) -> Result<Result<(), E>, Failure> {
    let mut rows = connection.fetch(postgres::bound(text, cells));
    while let Some(row) = rows.try_next().await? {
        let values = (0..row.len()).map(|column| value(&row, column)).collect::<Result<Vec<_>, _>>()?;
        if let Err(stop) = visit(&values) {
            return Ok(Err(stop));
        }
    }
    Ok(Ok(()))
}

fn value(row: &PgRow, column: usize) -> Result<Value<'_>, Failure> {
    let raw = row.try_get_raw(column)?;
    if raw.is_null() {
        return Ok(Value::Null);
    }
    let kind = raw.type_info();
    Ok(match kind.name() {
        "INT8" => Value::Integer(row.try_get(column)?),
        "INT4" => Value::Integer(row.try_get::<i32, _>(column)?.into()),
        "TEXT" | "NAME" => Value::Text(row.try_get(column)?),
        "BYTEA" => Value::Blob(row.try_get(column)?),
        other => return Err(Failure::Broken(format!("a value of type {other} is stored"))),
    })
}
