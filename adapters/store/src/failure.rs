//! What went wrong beneath, sorted by what it means for the unit of work.

use ledger::codec::DecodeError;
use ledger::store::StoreError;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// Nothing was written; the next attempt may succeed.
    Unavailable(String),
    /// The database refused what a rule allowed. Nothing was written; neighbours may be innocent.
    Refused(String),
    /// What is stored contradicts itself.
    Broken(String),
    /// COMMIT did not say what it did.
    Unknown(String),
}

impl From<Failure> for StoreError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Unavailable(reason) => Self::Unavailable(reason),
            Failure::Refused(reason) => Self::Broken(format!("the database refused the unit of work: {reason}")),
            Failure::Broken(reason) => Self::Broken(reason),
            Failure::Unknown(reason) => Self::Unknown(reason),
        }
    }
}

impl From<DecodeError> for Failure {
    fn from(error: DecodeError) -> Self {
        Self::Broken(format!("a stored value cannot be read: {error}"))
    }
}

impl From<sqlx::Error> for Failure {
    fn from(error: sqlx::Error) -> Self {
        let reason = error.to_string();
        match &error {
            sqlx::Error::Database(_) => match primary_code(&error) {
                // SQLITE_TOOBIG, CONSTRAINT, MISMATCH
                Some(18..=20) => Self::Refused(reason),
                // SQLITE_ERROR (no such table), CORRUPT, NOTADB
                Some(1 | 11 | 26) => Self::Broken(reason),
                // Busy, locked, read-only, full, out of memory, input or output: before COMMIT nothing was written.
                _ => Self::Unavailable(reason),
            },
            sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_) | sqlx::Error::ColumnNotFound(_) => {
                Self::Broken(reason)
            }
            _ => Self::Unavailable(reason),
        }
    }
}

/// SQLite's extended codes carry the primary code in their low byte (sqlite.org/rescode.html).
fn primary_code(error: &sqlx::Error) -> Option<u32> {
    let extended: u32 = error.as_database_error()?.code()?.parse().ok()?;
    Some(extended & 0xff)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_lost_commit_is_unknown_and_a_refusal_is_ours_to_mend() {
        assert!(matches!(Failure::from(sqlx::Error::PoolTimedOut), Failure::Unavailable(_)));
        assert!(matches!(Failure::from(sqlx::Error::WorkerCrashed), Failure::Unavailable(_)));
        assert!(matches!(Failure::from(sqlx::Error::ColumnNotFound("x".into())), Failure::Broken(_)));
        assert!(matches!(StoreError::from(Failure::Refused("x".into())), StoreError::Broken(_)));
        assert!(matches!(StoreError::from(Failure::Unavailable("x".into())), StoreError::Unavailable(_)));
        assert!(matches!(StoreError::from(Failure::Unknown("x".into())), StoreError::Unknown(_)));
    }
}
