//! A shop's checkouts and the answers to its keys, beside the books: one unit for both, over a connection of its own.
//!
//! What is read is named again when it is written, so that of two who change the same thing one is told. Nothing is
//! locked while somebody thinks.

use async_trait::async_trait;
use commerce::store::{
    ANSWER_SECONDS, Answered, Counts, HEARD_MAX, Heard, Hearing, Kept, KeyWrite, OrderWrite, Revised, SessionWrite,
    Sessions, Written,
};
use ledger::id::{Digest, TenantId};
use ledger::store::StoreError;

use crate::SqlStore;
use crate::cell::{Cell, Row};
use crate::connection::Connection;
use crate::failure::Failure;
use crate::table::Kind::{Blob, Integer, Text};
use crate::table::{Growth, Table};

/// For copies; what is written here is written one by one.
pub(crate) const TABLES: [Table; 4] = [
    Table {
        name: "checkout",
        columns: &[("id", Text), ("revision", Integer), ("document", Blob), ("due", Integer), ("opener", Blob)],
        key_columns: 1,
        growth: Growth::Replace,
    },
    Table {
        name: "checkout_key",
        columns: &[("key", Blob), ("fingerprint", Blob), ("at", Integer), ("status", Integer), ("body", Blob)],
        key_columns: 1,
        growth: Growth::Replace,
    },
    Table {
        name: "shop_order",
        columns: &[("seq", Integer), ("id", Text), ("revision", Integer), ("document", Blob)],
        key_columns: 1,
        growth: Growth::Append,
    },
    Table {
        name: "order_heard",
        columns: &[
            ("payee", Text),
            ("session", Text),
            ("number", Integer),
            ("digest", Blob),
            ("at", Integer),
            ("document", Blob),
        ],
        key_columns: 3,
        growth: Growth::Append,
    },
];

#[async_trait]
impl Sessions for SqlStore {
    async fn session(&self, tenant: &TenantId, id: &str) -> Result<Option<Kept>, StoreError> {
        let mut connection = self.shared.readers.acquire().await?;
        let text = "SELECT revision, document FROM checkout WHERE tenant = $1 AND id = $2";
        let row = connection.fetch_one(text, [Cell::text(tenant), Cell::text(id)]).await?;
        let read = |row: Row| Ok::<_, Failure>(Kept { revision: row.number(0)?, document: row.blob(1)?.to_vec() });
        Ok(row.map(read).transpose()?)
    }

    async fn answered(&self, tenant: &TenantId, key: &Digest, now: i64) -> Result<Option<Answered>, StoreError> {
        let mut connection = self.shared.readers.acquire().await?;
        let text = "SELECT fingerprint, at, status, body FROM checkout_key WHERE tenant = $1 AND key = $2";
        let Some(row) = connection.fetch_one(text, [Cell::text(tenant), Cell::blob(key.0)]).await? else {
            return Ok(None);
        };
        let found = read_answer(&row)?;
        // Of a request that was given up its content is still known.
        let is_old = found.answer.is_some() && found.at < now.saturating_sub(ANSWER_SECONDS);
        Ok((!is_old).then_some(found))
    }

    async fn write(
        &self,
        tenant: &TenantId,
        session: Option<SessionWrite>,
        key: Option<KeyWrite>,
    ) -> Result<Written, StoreError> {
        let mut place = self.shared.checkouts.lock().await;
        // Taken out of its place: where this call is dropped or fails, its connection goes with it, and what it began.
        let mut connection = match place.take() {
            Some(connection) => connection,
            None => self.shared.opener.reopen().await?,
        };
        connection.begin().await?;
        let written = unit(&mut connection, tenant, session, key).await?;
        match written {
            Written::Done => connection.commit().await?,
            Written::SessionMoved | Written::KeyTaken | Written::TooMany => connection.roll_back().await?,
        }
        *place = Some(connection);
        Ok(written)
    }

    async fn write_order(&self, tenant: &TenantId, order: OrderWrite) -> Result<Written, StoreError> {
        let mut place = self.shared.checkouts.lock().await;
        let mut connection = match place.take() {
            Some(connection) => connection,
            None => self.shared.opener.reopen().await?,
        };
        connection.begin().await?;
        let written = insert_order(&mut connection, tenant, order).await?;
        connection.commit().await?;
        *place = Some(connection);
        Ok(if written == 0 { Written::SessionMoved } else { Written::Done })
    }

    async fn hear(&self, tenant: &TenantId, heard: Heard) -> Result<Hearing, StoreError> {
        let mut place = self.shared.checkouts.lock().await;
        let mut connection = match place.take() {
            Some(connection) => connection,
            None => self.shared.opener.reopen().await?,
        };
        connection.begin().await?;
        let hearing = insert_heard(&mut connection, tenant, heard).await?;
        connection.commit().await?;
        *place = Some(connection);
        Ok(hearing)
    }

    async fn heard(&self, tenant: &TenantId, payee: &str, session: &str) -> Result<Vec<(i64, Vec<u8>)>, StoreError> {
        let mut connection = self.shared.readers.acquire().await?;
        let text = "SELECT at, document FROM order_heard WHERE tenant = $1 AND payee = $2 AND session = $3
             ORDER BY number";
        let rows = connection.fetch(text, [Cell::text(tenant), Cell::text(payee), Cell::text(session)]).await?;
        let read = |row: Row| Ok::<_, Failure>((row.integer(0)?, row.blob(1)?.to_vec()));
        Ok(rows.into_iter().map(read).collect::<Result<_, _>>()?)
    }

    async fn order(&self, tenant: &TenantId, id: &str) -> Result<Option<Revised>, StoreError> {
        let mut connection = self.shared.readers.acquire().await?;
        let text = "SELECT seq, revision, document FROM shop_order WHERE tenant = $1 AND id = $2
             ORDER BY revision DESC LIMIT 1";
        let row = connection.fetch_one(text, [Cell::text(tenant), Cell::text(id)]).await?;
        Ok(row.as_ref().map(revised).transpose()?)
    }

    async fn orders_after(&self, tenant: &TenantId, seq: u64, limit: u32) -> Result<Vec<Revised>, StoreError> {
        let mut connection = self.shared.readers.acquire().await?;
        let text = "SELECT seq, revision, document FROM shop_order WHERE tenant = $1 AND seq > $2
             ORDER BY seq LIMIT $3";
        let cells = [Cell::text(tenant), Cell::number(seq), Cell::Integer(limit.into())];
        let rows = connection.fetch(text, cells).await?;
        Ok(rows.iter().map(revised).collect::<Result<_, _>>()?)
    }

    async fn due(&self, tenant: &TenantId, now: i64, limit: u32) -> Result<Vec<(String, Kept)>, StoreError> {
        let mut connection = self.shared.readers.acquire().await?;
        // What a release wrote that knows no `due` is looked at once.
        let text = "SELECT id, revision, document FROM checkout WHERE tenant = $1 AND (due IS NULL OR due <= $2)
             ORDER BY due LIMIT $3";
        let cells = [Cell::text(tenant), Cell::Integer(now), Cell::Integer(limit.into())];
        let read = |row: Row| {
            let kept = Kept { revision: row.number(1)?, document: row.blob(2)?.to_vec() };
            Ok::<_, Failure>((row.text(0)?.to_owned(), kept))
        };
        let rows = connection.fetch(text, cells).await?;
        Ok(rows.into_iter().map(read).collect::<Result<_, _>>()?)
    }

    async fn remove(&self, tenant: &TenantId, id: &str, revision: u64) -> Result<Written, StoreError> {
        let text = "DELETE FROM checkout WHERE tenant = $1 AND id = $2 AND revision = $3";
        let removed = self.take_out(text, [Cell::text(tenant), Cell::text(id), Cell::number(revision)]).await?;
        Ok(if removed == 0 { Written::SessionMoved } else { Written::Done })
    }

    async fn forget_answers(&self, tenant: &TenantId, now: i64) -> Result<u64, StoreError> {
        let cells = || [Cell::text(tenant), Cell::Integer(now.saturating_sub(ANSWER_SECONDS))];
        let mut connection = self.shared.readers.acquire().await?;
        let text = "SELECT at FROM checkout_key WHERE tenant = $1 AND at < $2 LIMIT 1";
        if connection.fetch_one(text, cells()).await?.is_none() {
            return Ok(0);
        }
        drop(connection);
        self.take_out("DELETE FROM checkout_key WHERE tenant = $1 AND at < $2", cells()).await
    }
}

impl SqlStore {
    /// The place of the last revision of any order; 0 where there is none.
    pub async fn last_order(&self, tenant: &TenantId) -> Result<u64, StoreError> {
        let mut connection = self.shared.readers.acquire().await?;
        let text = "SELECT coalesce(max(seq), 0) FROM shop_order WHERE tenant = $1";
        let row = connection.fetch_one(text, [Cell::text(tenant)]).await?;
        Ok(row.map_or(Ok(0), |row| row.number(0))?)
    }

    /// One statement in a unit of its own; how many rows there were.
    async fn take_out(&self, text: &'static str, cells: impl IntoIterator<Item = Cell>) -> Result<u64, StoreError> {
        let mut place = self.shared.checkouts.lock().await;
        let mut connection = match place.take() {
            Some(connection) => connection,
            None => self.shared.opener.reopen().await?,
        };
        connection.begin().await?;
        let removed = connection.execute(text, cells.into_iter().collect::<Vec<_>>()).await?;
        connection.commit().await?;
        *place = Some(connection);
        Ok(removed)
    }
}

fn revised(row: &Row) -> Result<Revised, Failure> {
    Ok(Revised { seq: row.number(0)?, revision: row.number(1)?, document: row.blob(2)?.to_vec() })
}

/// Behind everything that was written: of two who write at once one is told that nothing was, and comes again.
async fn insert_order(connection: &mut Connection, tenant: &TenantId, write: OrderWrite) -> Result<u64, Failure> {
    let text = "INSERT INTO shop_order (tenant, seq, id, revision, document)
         SELECT $1, coalesce(max(seq), 0) + 1, $2, $3, $4 FROM shop_order WHERE tenant = $1
         ON CONFLICT DO NOTHING";
    let (id, revision) = (Cell::Text(write.id), Cell::number(write.revision));
    connection.execute(text, [Cell::text(tenant), id, revision, Cell::Blob(write.document)]).await
}

async fn insert_heard(connection: &mut Connection, tenant: &TenantId, heard: Heard) -> Result<Hearing, Failure> {
    let text = "SELECT number FROM order_heard WHERE tenant = $1 AND digest = $2";
    let digest = Cell::blob(heard.digest.0);
    if connection.fetch_one(text, [Cell::text(tenant), digest.clone()]).await?.is_some() {
        return Ok(Hearing::Known);
    }
    let text = "SELECT count(*) FROM order_heard WHERE tenant = $1 AND payee = $2 AND session = $3";
    let of = || [Cell::text(tenant), Cell::text(&heard.payee), Cell::text(&heard.session)];
    let count = connection.fetch_one(text, of()).await?.map_or(Ok(0), |row| row.number(0))?;
    if count >= HEARD_MAX {
        return Ok(Hearing::TooMany);
    }
    // Two processes that hear at once: one is told that the database was busy, and the shop tells it again.
    let text = "INSERT INTO order_heard (tenant, payee, session, number, digest, at, document)
         VALUES ($1, $2, $3, $4, $5, $6, $7)";
    let rest = [Cell::number(count.saturating_add(1)), digest, Cell::Integer(heard.at), Cell::Blob(heard.document)];
    connection.execute(text, of().into_iter().chain(rest).collect::<Vec<_>>()).await?;
    Ok(Hearing::New)
}

fn read_answer(row: &Row) -> Result<Answered, Failure> {
    let digest = |bytes: &[u8]| {
        let bytes = bytes.try_into().map_err(|_| Failure::Broken("a fingerprint has 32 bytes".to_owned()));
        bytes.map(Digest)
    };
    let answer = match (row.optional_integer(2)?, row.optional_blob(3)?) {
        (Some(status), Some(body)) => {
            let status = u16::try_from(status);
            Some((status.map_err(|_| Failure::Broken("a status of HTTP was expected".to_owned()))?, body.to_vec()))
        }
        _ => None,
    };
    Ok(Answered { fingerprint: digest(row.blob(0)?)?, at: row.integer(1)?, answer })
}

async fn unit(
    connection: &mut Connection,
    tenant: &TenantId,
    session: Option<SessionWrite>,
    key: Option<KeyWrite>,
) -> Result<Written, Failure> {
    if let Some(key) = key
        && write_key(connection, tenant, key).await? == 0
    {
        return Ok(Written::KeyTaken);
    }
    let Some(mut session) = session else { return Ok(Written::Done) };
    let order = session.order.take();
    if let Counts::Against { opener, most } = session.counts
        && opened(connection, tenant, opener).await? >= most
    {
        return Ok(Written::TooMany);
    }
    if write_session(connection, tenant, session).await? == 0 {
        return Ok(Written::SessionMoved);
    }
    let Some(order) = order else { return Ok(Written::Done) };
    let id = order.id.clone();
    let is_there = insert_order(connection, tenant, order).await? > 0 || knows_order(connection, tenant, id).await?;
    Ok(if is_there { Written::Done } else { Written::SessionMoved })
}

async fn knows_order(connection: &mut Connection, tenant: &TenantId, id: String) -> Result<bool, Failure> {
    let text = "SELECT seq FROM shop_order WHERE tenant = $1 AND id = $2 LIMIT 1";
    Ok(connection.fetch_one(text, [Cell::text(tenant), Cell::Text(id)]).await?.is_some())
}

/// Counted in the unit that adds one. Units of one process come one after another here; processes that share a database
/// may each add one more.
async fn opened(connection: &mut Connection, tenant: &TenantId, opener: Digest) -> Result<u64, Failure> {
    let text = "SELECT count(*) FROM checkout WHERE tenant = $1 AND opener = $2";
    let row = connection.fetch_one(text, [Cell::text(tenant), Cell::blob(opener.0)]).await?;
    row.ok_or_else(|| Failure::Broken("a count without a row".to_owned()))?.number(0)
}

async fn write_session(connection: &mut Connection, tenant: &TenantId, write: SessionWrite) -> Result<u64, Failure> {
    let (tenant, id) = (Cell::text(tenant), Cell::Text(write.id));
    let (from, next) = (Cell::number(write.from), Cell::number(write.from.saturating_add(1)));
    let (document, due) = (Cell::Blob(write.document), Cell::Integer(write.due));
    if write.from == 0 {
        // PostgreSQL wants to know of what type nothing is: it stands in the text.
        let mut cells = vec![tenant, id, next, document, due];
        let opener = match write.counts {
            Counts::Against { opener, .. } => {
                cells.push(Cell::blob(opener.0));
                "$6"
            }
            Counts::AsBefore | Counts::NoMore => "NULL",
        };
        let text = format!(
            "INSERT INTO checkout (tenant, id, revision, document, due, opener) VALUES ($1, $2, $3, $4, $5, {opener})
             ON CONFLICT (tenant, id) DO NOTHING"
        );
        return connection.execute(text, cells).await;
    }
    let opener = if write.counts == Counts::NoMore { ", opener = NULL" } else { "" };
    let text = format!(
        "UPDATE checkout SET revision = $3, document = $4, due = $6{opener}
         WHERE tenant = $1 AND id = $2 AND revision = $5"
    );
    connection.execute(text, [tenant, id, next, document, from, due]).await
}

async fn write_key(connection: &mut Connection, tenant: &TenantId, write: KeyWrite) -> Result<u64, Failure> {
    let now = write.now;
    let (tenant, key) = (Cell::text(tenant), Cell::blob(write.key.0));
    let mut cells = vec![tenant.clone(), key, Cell::blob(now.fingerprint.0), Cell::Integer(now.at)];
    // PostgreSQL wants to know of what type nothing is: it stands in the text.
    let mut named = |cell: Cell| {
        cells.push(cell);
        format!("${}", cells.len())
    };
    let (status, body) = match now.answer {
        Some((status, body)) => (named(Cell::Integer(status.into())), named(Cell::Blob(body))),
        None => ("NULL".to_owned(), "NULL".to_owned()),
    };
    let text = match write.from {
        None => {
            let old = Cell::Integer(now.at.saturating_sub(ANSWER_SECONDS));
            let text = "DELETE FROM checkout_key WHERE tenant = $1 AND at < $2 AND status IS NOT NULL";
            connection.execute(text, [tenant, old]).await?;
            format!(
                "INSERT INTO checkout_key (tenant, key, fingerprint, at, status, body)
                 VALUES ($1, $2, $3, $4, {status}, {body}) ON CONFLICT (tenant, key) DO NOTHING"
            )
        }
        Some(from) => {
            let from = named(Cell::Integer(from));
            format!(
                "UPDATE checkout_key SET at = $4, status = {status}, body = {body}
                 WHERE tenant = $1 AND key = $2 AND fingerprint = $3 AND at = {from} AND status IS NULL"
            )
        }
    };
    connection.execute(text, cells).await
}
