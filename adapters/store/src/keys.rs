//! Keys as they lie: sealed by whoever holds the master key, ciphertext here.
//!
//! Every change is one transaction that first reads all rows: two processes that draw the same key at once agree.

use ledger::store::StoreError;

use crate::cell::{Cell, Row};
use crate::connection::{Connection, Dialect, Opener, Schema};
use crate::failure::Failure;
use crate::limits;
use crate::location::Location;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyState {
    /// What new work is signed with: one for each tenant and purpose.
    Active,
    /// For what was begun with it, and for nothing new.
    Retired,
    /// For nothing that could still pay or be taken for good.
    Revoked,
}

impl KeyState {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Retired => "retired",
            Self::Revoked => "revoked",
        }
    }

    fn parse(text: &str) -> Result<Self, Failure> {
        let known = [Self::Active, Self::Retired, Self::Revoked].into_iter().find(|state| state.as_str() == text);
        known.ok_or_else(|| Failure::Broken(format!("a key is active, retired or revoked; `{text}` is stored")))
    }
}

/// One row. Times are unix seconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SealedKey {
    pub tenant: String,
    pub purpose: String,
    pub kid: String,
    pub state: KeyState,
    pub created_at: i64,
    pub ended_at: Option<i64>,
    /// The id of the master key that seals the data key.
    pub master: String,
    pub data_key: Vec<u8>,
    pub secret: Vec<u8>,
}

/// The table, over a connection of its own.
pub struct KeyTable(Connection);

impl KeyTable {
    pub async fn open(location: &Location, schema: Schema) -> Result<Self, StoreError> {
        let opener = Opener::new(location, limits::BUSY_TIMEOUT_DEFAULT);
        Ok(Self(opener.open(schema).await?))
    }

    pub async fn rows(&mut self) -> Result<Vec<SealedKey>, StoreError> {
        Ok(rows(&mut self.0).await?)
    }

    /// Whether this tenant's journal has records already.
    pub async fn has_book(&mut self, tenant: &str) -> Result<bool, StoreError> {
        let text = "SELECT size FROM head WHERE tenant = $1 AND size > 0";
        Ok(self.0.fetch_one(text, [Cell::text(tenant)]).await?.is_some())
    }

    /// Reads all rows, writes those that `decide` gives, in their order, and commits; returns all rows as they are then.
    pub async fn change<E: From<StoreError>>(
        &mut self,
        decide: impl FnOnce(&[SealedKey]) -> Result<Vec<SealedKey>, E>,
    ) -> Result<Vec<SealedKey>, E> {
        self.0.begin().await.map_err(StoreError::from)?;
        let changed = match locked_rows(&mut self.0).await.map_err(StoreError::from).map_err(E::from) {
            Ok(rows) => match decide(&rows) {
                Ok(changed) => write(&mut self.0, &changed).await.map_err(StoreError::from).map_err(E::from),
                Err(error) => Err(error),
            },
            Err(error) => Err(error),
        };
        if let Err(error) = changed {
            self.0.roll_back().await.map_err(StoreError::from)?;
            return Err(error);
        }
        self.0.commit().await.map_err(|failure| match failure {
            Failure::Unknown(why) => StoreError::Unknown(format!("the keys may be written or not: {why}")),
            other => other.into(),
        })?;
        Ok(rows(&mut self.0).await.map_err(StoreError::from)?)
    }

    pub async fn close(self) -> Result<(), StoreError> {
        Ok(self.0.close().await?)
    }
}

/// Nobody else changes keys until the transaction ends.
async fn locked_rows(connection: &mut Connection) -> Result<Vec<SealedKey>, Failure> {
    if connection.dialect() == Dialect::Postgres {
        connection.run("LOCK TABLE sealed_key IN SHARE ROW EXCLUSIVE MODE").await?;
        // The lock of a row is written down: where nothing else is changed, COMMIT still waits for a standby to have the
        // keys that are seen here.
        connection.run("SELECT FROM sealed_key FOR NO KEY UPDATE").await?;
    }
    rows(connection).await
}

async fn rows(connection: &mut Connection) -> Result<Vec<SealedKey>, Failure> {
    let text = "SELECT tenant, purpose, kid, state, created_at, ended_at, master, data_key, secret FROM sealed_key
         ORDER BY tenant, purpose, created_at, kid";
    connection.fetch(text, []).await?.iter().map(read).collect()
}

fn read(row: &Row) -> Result<SealedKey, Failure> {
    let text = |column| row.text(column).map(str::to_owned);
    Ok(SealedKey {
        tenant: text(0)?,
        purpose: text(1)?,
        kid: text(2)?,
        state: KeyState::parse(row.text(3)?)?,
        created_at: row.integer(4)?,
        ended_at: row.optional_integer(5)?,
        master: text(6)?,
        data_key: row.blob(7)?.to_vec(),
        secret: row.blob(8)?.to_vec(),
    })
}

async fn write(connection: &mut Connection, keys: &[SealedKey]) -> Result<(), Failure> {
    for key in keys {
        let text =
            "INSERT INTO sealed_key (tenant, purpose, kid, state, created_at, ended_at, master, data_key, secret)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
             ON CONFLICT (tenant, purpose, kid) DO UPDATE SET state = excluded.state, ended_at = excluded.ended_at,
                 master = excluded.master, data_key = excluded.data_key";
        let cells = [
            Cell::text(&key.tenant),
            Cell::text(&key.purpose),
            Cell::text(&key.kid),
            Cell::text(key.state.as_str()),
            Cell::Integer(key.created_at),
            Cell::optional(key.ended_at, Cell::Integer),
            Cell::text(&key.master),
            Cell::blob(&key.data_key),
            Cell::blob(&key.secret),
        ];
        connection.execute(text, cells).await?;
    }
    Ok(())
}
