//! A shop's checkouts and the answers to its keys, beside the books: one unit for both, over a connection of its own.
//!
//! What is read is named again when it is written, so that of two who change the same thing one is told. Nothing is
//! locked while somebody thinks.

use async_trait::async_trait;
use commerce::store::{ANSWER_SECONDS, Answered, Kept, KeyWrite, SessionWrite, Sessions, Written};
use ledger::id::{Digest, TenantId};
use ledger::store::StoreError;

use crate::SqlStore;
use crate::cell::{Cell, Row};
use crate::connection::Connection;
use crate::failure::Failure;
use crate::table::Kind::{Blob, Integer, Text};
use crate::table::{Growth, Table};

/// For copies; what is written here is written one by one.
pub(crate) const TABLES: [Table; 2] = [
    Table {
        name: "checkout",
        columns: &[("id", Text), ("revision", Integer), ("document", Blob)],
        key_columns: 1,
        growth: Growth::Replace,
    },
    Table {
        name: "checkout_key",
        columns: &[("key", Blob), ("fingerprint", Blob), ("at", Integer), ("status", Integer), ("body", Blob)],
        key_columns: 1,
        growth: Growth::Replace,
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
            Written::SessionMoved | Written::KeyTaken => connection.roll_back().await?,
        }
        *place = Some(connection);
        Ok(written)
    }
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
    if let Some(session) = session
        && write_session(connection, tenant, session).await? == 0
    {
        return Ok(Written::SessionMoved);
    }
    Ok(Written::Done)
}

async fn write_session(connection: &mut Connection, tenant: &TenantId, write: SessionWrite) -> Result<u64, Failure> {
    let (tenant, id) = (Cell::text(tenant), Cell::Text(write.id));
    let (from, next) = (Cell::number(write.from), Cell::number(write.from.saturating_add(1)));
    let document = Cell::Blob(write.document);
    if write.from == 0 {
        let text = "INSERT INTO checkout (tenant, id, revision, document) VALUES ($1, $2, $3, $4)
             ON CONFLICT (tenant, id) DO NOTHING";
        return connection.execute(text, [tenant, id, next, document]).await;
    }
    let text = "UPDATE checkout SET revision = $3, document = $4 WHERE tenant = $1 AND id = $2 AND revision = $5";
    connection.execute(text, [tenant, id, next, document, from]).await
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
