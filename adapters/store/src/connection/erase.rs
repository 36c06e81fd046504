//! Taking documents out, past the guard that keeps them in.

use super::{Connection, Dialect};
use crate::failure::Failure;

impl Connection {
    /// Begins a unit in which documents may be removed. What `restore_document_guard` takes puts the guard back.
    pub async fn lift_document_guard(&mut self) -> Result<String, Failure> {
        match self.dialect() {
            Dialect::Sqlite => {
                // What is removed is overwritten.
                self.fetch("PRAGMA secure_delete = ON", []).await?;
                self.begin().await?;
                let text = "SELECT sql FROM sqlite_schema WHERE type = 'trigger' AND name = 'document_delete'";
                let guard = self.fetch_one(text, []).await?;
                let guard = guard.map_or(Ok(String::new()), |row| row.text(0).map(str::to_owned))?;
                self.run("DROP TRIGGER document_delete").await?;
                Ok(guard)
            }
            Dialect::Postgres => {
                self.begin().await?;
                self.run("ALTER TABLE document DISABLE TRIGGER document_change").await?;
                Ok("ALTER TABLE document ENABLE ALWAYS TRIGGER document_change".to_owned())
            }
        }
    }

    pub async fn restore_document_guard(&mut self, guard: String) -> Result<(), Failure> {
        self.run(guard).await
    }

    /// What was removed is in the log still, until the log is folded in and cut.
    pub async fn forget_erased(&mut self) -> Result<(), Failure> {
        match self.dialect() {
            Dialect::Sqlite => self.fetch("PRAGMA wal_checkpoint(TRUNCATE)", []).await.map(drop),
            Dialect::Postgres => self.run("VACUUM document").await,
        }
    }
}
