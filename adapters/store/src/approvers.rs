//! Passkeys, one-time codes and sessions, beside the books: no journal tells of them, and a code or a session is taken out
//! once it is over.

use async_trait::async_trait;
use ledger::approver::{Approvers, Code, CodePurpose, Passkey, Session};
use ledger::id::{Digest, PrincipalId, TenantId};
use ledger::store::StoreError;

use crate::SqlStore;
use crate::cell::{Cell, Row};
use crate::connection::{Connection, Schema};
use crate::failure::Failure;

const PASSKEY: &str = "credential, tenant, principal, key, sign_count, created_at";

fn passkey(row: &Row) -> Result<Passkey, Failure> {
    let sign_count = u32::try_from(row.integer(4)?);
    Ok(Passkey {
        credential: row.blob(0)?.to_vec(),
        tenant: row.parsed(1)?,
        principal: row.parsed(2)?,
        key: row.blob(3)?.to_vec(),
        sign_count: sign_count
            .map_err(|_| Failure::Broken("a signature counter is no number of 32 bits".to_owned()))?,
        created_at: row.integer(5)?,
    })
}

fn code(row: &Row) -> Result<Code, Failure> {
    let owner = match row.optional_text(2)? {
        Some(_) => Some((row.parsed(2)?, row.parsed(3)?)),
        None => None,
    };
    Ok(Code { digest: row.digest(0)?, purpose: row.parsed(1)?, owner, expires_at: row.integer(4)? })
}

fn session(row: &Row) -> Result<Session, Failure> {
    Ok(Session {
        digest: row.digest(0)?,
        tenant: row.parsed(1)?,
        principal: row.parsed(2)?,
        credential: row.blob(3)?.to_vec(),
        expires_at: row.integer(4)?,
    })
}

async fn insert_session(connection: &mut Connection, session: &Session, now: i64) -> Result<(), Failure> {
    connection.execute("DELETE FROM page_session WHERE expires_at <= $1", [Cell::Integer(now)]).await?;
    let text =
        "INSERT INTO page_session (digest, tenant, principal, credential, expires_at) VALUES ($1, $2, $3, $4, $5)";
    let cells = [
        Cell::blob(session.digest.0),
        Cell::text(&session.tenant),
        Cell::text(&session.principal),
        Cell::blob(&session.credential),
        Cell::Integer(session.expires_at),
    ];
    connection.execute(text, cells).await.map(drop)
}

async fn insert_passkey(connection: &mut Connection, passkey: &Passkey) -> Result<bool, Failure> {
    let text =
        format!("INSERT INTO passkey ({PASSKEY}) VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (credential) DO NOTHING");
    let cells = [
        Cell::blob(&passkey.credential),
        Cell::text(&passkey.tenant),
        Cell::text(&passkey.principal),
        Cell::blob(&passkey.key),
        Cell::Integer(passkey.sign_count.into()),
        Cell::Integer(passkey.created_at),
    ];
    Ok(connection.execute(text, cells).await? == 1)
}

async fn delete_code(
    connection: &mut Connection,
    digest: Digest,
    purpose: CodePurpose,
    now: i64,
) -> Result<Option<Code>, Failure> {
    let text = "DELETE FROM one_time_code WHERE digest = $1 AND purpose = $2 AND expires_at > $3
        RETURNING digest, purpose, tenant, principal, expires_at";
    let cells = [Cell::blob(digest.0), Cell::text(purpose), Cell::Integer(now)];
    connection.fetch_one(text, cells).await?.as_ref().map(code).transpose()
}

/// As they lie, for a copy of the whole database: whoever registered there is registered in it.
pub(crate) async fn copy_passkeys(source: &mut Connection, target: &mut Connection) -> Result<(), Failure> {
    for row in source.fetch(format!("SELECT {PASSKEY} FROM passkey ORDER BY credential"), []).await? {
        insert_passkey(target, &passkey(&row)?).await?;
    }
    Ok(())
}

/// What a unit answers, and whether it is written.
pub(crate) enum Unit<T> {
    Write(T),
    Leave(T),
}

impl SqlStore {
    /// One unit over a connection that is kept for the next one; one that failed is not.
    pub(crate) async fn unit<T>(
        &self,
        work: impl AsyncFnOnce(&mut Connection) -> Result<Unit<T>, Failure>,
    ) -> Result<T, StoreError> {
        let mut kept = self.shared.approvers.lock().await;
        let mut connection = match kept.take() {
            Some(connection) => connection,
            None => self.shared.opener.open(Schema::Refuse).await?,
        };
        connection.begin().await?;
        let answer = match work(&mut connection).await? {
            Unit::Write(answer) => {
                connection.commit().await?;
                answer
            }
            Unit::Leave(answer) => {
                connection.roll_back().await?;
                answer
            }
        };
        *kept = Some(connection);
        Ok(answer)
    }
}

#[async_trait]
impl Approvers for SqlStore {
    async fn add_code(&self, code: Code, now: i64) -> Result<(), StoreError> {
        self.unit(async |connection| {
            connection.execute("DELETE FROM one_time_code WHERE expires_at <= $1", [Cell::Integer(now)]).await?;
            let text =
                "INSERT INTO one_time_code (digest, purpose, tenant, principal, expires_at) VALUES ($1, $2, $3, $4, $5)";
            let (tenant, principal) = code.owner.as_ref().map_or((None, None), |(one, other)| (Some(one), Some(other)));
            let cells = [
                Cell::blob(code.digest.0),
                Cell::text(code.purpose),
                Cell::optional(tenant, Cell::text),
                Cell::optional(principal, Cell::text),
                Cell::Integer(code.expires_at),
            ];
            connection.execute(text, cells).await?;
            Ok(Unit::Write(()))
        })
        .await
    }

    async fn code(&self, digest: Digest, purpose: CodePurpose, now: i64) -> Result<Option<Code>, StoreError> {
        let text = "SELECT digest, purpose, tenant, principal, expires_at FROM one_time_code
            WHERE digest = $1 AND purpose = $2 AND expires_at > $3";
        let cells = vec![Cell::blob(digest.0), Cell::text(purpose), Cell::Integer(now)];
        Ok(self.fetch(text, cells).await?.first().map(code).transpose()?)
    }

    async fn use_code(&self, digest: Digest, purpose: CodePurpose, now: i64) -> Result<Option<Code>, StoreError> {
        self.unit(async |connection| Ok(Unit::Write(delete_code(connection, digest, purpose, now).await?))).await
    }

    async fn register(
        &self,
        invitation: Digest,
        passkey: Passkey,
        session: Session,
        now: i64,
    ) -> Result<bool, StoreError> {
        self.unit(async |connection| {
            let is_good = delete_code(connection, invitation, CodePurpose::Invite, now).await?.is_some();
            if !is_good || !insert_passkey(connection, &passkey).await? {
                return Ok(Unit::Leave(false));
            }
            insert_session(connection, &session, now).await?;
            Ok(Unit::Write(true))
        })
        .await
    }

    async fn passkey(&self, credential: &[u8]) -> Result<Option<Passkey>, StoreError> {
        let text = format!("SELECT {PASSKEY} FROM passkey WHERE credential = $1");
        Ok(self.fetch(text, vec![Cell::blob(credential)]).await?.first().map(passkey).transpose()?)
    }

    async fn passkeys_of(&self, tenant: &TenantId, principal: &PrincipalId) -> Result<Vec<Passkey>, StoreError> {
        let text = format!("SELECT {PASSKEY} FROM passkey WHERE tenant = $1 AND principal = $2 ORDER BY created_at");
        let rows = self.fetch(text, vec![Cell::text(tenant), Cell::text(principal)]).await?;
        Ok(rows.iter().map(passkey).collect::<Result<_, _>>()?)
    }

    async fn count(&self, credential: &[u8], before: u32, after: u32) -> Result<bool, StoreError> {
        let credential = credential.to_vec();
        self.unit(async |connection| {
            let text = "UPDATE passkey SET sign_count = $1 WHERE credential = $2 AND sign_count = $3";
            let cells = [Cell::Integer(after.into()), Cell::blob(&credential), Cell::Integer(before.into())];
            Ok(Unit::Write(connection.execute(text, cells).await? == 1))
        })
        .await
    }

    async fn end_passkey(&self, credential: &[u8]) -> Result<bool, StoreError> {
        let credential = credential.to_vec();
        self.unit(async |connection| {
            connection.execute("DELETE FROM page_session WHERE credential = $1", [Cell::blob(&credential)]).await?;
            let ended =
                connection.execute("DELETE FROM passkey WHERE credential = $1", [Cell::blob(&credential)]).await?;
            Ok(Unit::Write(ended == 1))
        })
        .await
    }

    async fn add_session(&self, session: Session, now: i64) -> Result<(), StoreError> {
        self.unit(async |connection| Ok(Unit::Write(insert_session(connection, &session, now).await?))).await
    }

    async fn session(&self, digest: Digest, now: i64) -> Result<Option<Session>, StoreError> {
        let text = "SELECT digest, tenant, principal, credential, expires_at FROM page_session
            WHERE digest = $1 AND expires_at > $2";
        let cells = vec![Cell::blob(digest.0), Cell::Integer(now)];
        Ok(self.fetch(text, cells).await?.first().map(session).transpose()?)
    }

    async fn end_session(&self, digest: Digest) -> Result<(), StoreError> {
        self.unit(async |connection| {
            connection.execute("DELETE FROM page_session WHERE digest = $1", [Cell::blob(digest.0)]).await?;
            Ok(Unit::Write(()))
        })
        .await
    }
}
