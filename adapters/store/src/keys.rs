//! Keys as they lie: sealed by whoever holds the master key, ciphertext here.
//!
//! Every change is one transaction that first reads all rows: two processes that draw the same key at once agree.

use std::path::Path;

use ledger::store::StoreError;
use sqlx::sqlite::SqliteRow;
use sqlx::{Connection as _, Row as _, SqliteConnection};

use crate::connection::{Opener, Schema, roll_back};
use crate::failure::Failure;
use crate::limits;

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
pub struct KeyTable(SqliteConnection);

impl KeyTable {
    pub async fn open(path: &Path, schema: Schema) -> Result<Self, StoreError> {
        let opener = Opener::new(path, schema, limits::BUSY_TIMEOUT_DEFAULT);
        Ok(Self(opener.open(schema).await?))
    }

    pub async fn rows(&mut self) -> Result<Vec<SealedKey>, StoreError> {
        Ok(rows(&mut self.0).await?)
    }

    /// Whether this tenant's journal has records already.
    pub async fn has_book(&mut self, tenant: &str) -> Result<bool, StoreError> {
        let found = sqlx::query("SELECT 1 FROM head WHERE tenant = ?").bind(tenant).fetch_optional(&mut self.0).await;
        Ok(found.map_err(Failure::from)?.is_some())
    }

    /// Reads all rows, writes those that `decide` gives, in their order, and commits; returns all rows as they are then.
    pub async fn change<E: From<StoreError>>(
        &mut self,
        decide: impl FnOnce(&[SealedKey]) -> Result<Vec<SealedKey>, E>,
    ) -> Result<Vec<SealedKey>, E> {
        let say = |error: sqlx::Error| StoreError::from(Failure::from(error));
        sqlx::raw_sql("BEGIN IMMEDIATE").execute(&mut self.0).await.map_err(say)?;
        let changed =
            match rows(&mut self.0).await.map_err(StoreError::from).map_err(E::from).and_then(|rows| decide(&rows)) {
                Ok(changed) => write(&mut self.0, &changed).await.map_err(StoreError::from).map_err(E::from),
                Err(error) => Err(error),
            };
        if let Err(error) = changed {
            roll_back(&mut self.0).await.map_err(StoreError::from)?;
            return Err(error);
        }
        let unknown = |error: sqlx::Error| StoreError::Unknown(format!("the keys may be written or not: {error}"));
        sqlx::raw_sql("COMMIT").execute(&mut self.0).await.map_err(unknown)?;
        Ok(rows(&mut self.0).await.map_err(StoreError::from)?)
    }

    pub async fn close(self) -> Result<(), StoreError> {
        Ok(self.0.close().await.map_err(Failure::from)?)
    }
}

async fn rows(connection: &mut SqliteConnection) -> Result<Vec<SealedKey>, Failure> {
    let rows = sqlx::query(
        "SELECT tenant, purpose, kid, state, created_at, ended_at, master, data_key, secret FROM sealed_key
         ORDER BY tenant, purpose, created_at, kid",
    )
    .fetch_all(connection)
    .await?;
    rows.iter().map(read).collect()
}

fn read(row: &SqliteRow) -> Result<SealedKey, Failure> {
    let state: String = row.try_get(3)?;
    Ok(SealedKey {
        tenant: row.try_get(0)?,
        purpose: row.try_get(1)?,
        kid: row.try_get(2)?,
        state: KeyState::parse(&state)?,
        created_at: row.try_get(4)?,
        ended_at: row.try_get(5)?,
        master: row.try_get(6)?,
        data_key: row.try_get(7)?,
        secret: row.try_get(8)?,
    })
}

async fn write(connection: &mut SqliteConnection, keys: &[SealedKey]) -> Result<(), Failure> {
    for key in keys {
        sqlx::query(
            "INSERT INTO sealed_key (tenant, purpose, kid, state, created_at, ended_at, master, data_key, secret)
             VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
             ON CONFLICT (tenant, purpose, kid) DO UPDATE SET state = excluded.state, ended_at = excluded.ended_at,
                 master = excluded.master, data_key = excluded.data_key",
        )
        .bind(&key.tenant)
        .bind(&key.purpose)
        .bind(&key.kid)
        .bind(key.state.as_str())
        .bind(key.created_at)
        .bind(key.ended_at)
        .bind(&key.master)
        .bind(&key.data_key)
        .bind(&key.secret)
        .execute(&mut *connection)
        .await?;
    }
    Ok(())
}
