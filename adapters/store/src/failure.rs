//! What went wrong beneath, sorted by what it means for the unit of work.

use ledger::codec::DecodeError;
use ledger::store::StoreError;
use sqlx::postgres::PgDatabaseError;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// Nothing was written; the next attempt may succeed.
    Unavailable(String),
    /// Nothing was written: another unit was in the way, or the connection went away before COMMIT. Worth running again
    /// at once.
    Again(String),
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
            Failure::Unavailable(reason) | Failure::Again(reason) => Self::Unavailable(reason),
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
            sqlx::Error::Database(database) => match database.try_downcast_ref::<PgDatabaseError>() {
                // Its message, without the line of the server's own source.
                Some(postgres) => of_postgres(postgres.code(), format!("{} ({})", postgres.message(), postgres.code())),
                None => of_sqlite(database.code().as_deref(), reason),
            },
            sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_) | sqlx::Error::ColumnNotFound(_) => {
                Self::Broken(reason)
            }
            // The server went away, or was never there. COMMIT has a reading of its own.
            sqlx::Error::Io(_) | sqlx::Error::Protocol(_) => Self::Again(reason),
            _ => Self::Unavailable(reason),
        }
    }
}

impl From<rusqlite::Error> for Failure {
    fn from(error: rusqlite::Error) -> Self {
        let code = error.sqlite_error().map(|error| error.extended_code.to_string());
        of_sqlite(code.as_deref(), error.to_string())
    }
}

/// SQLite's extended codes carry the primary code in their low byte (sqlite.org/rescode.html).
fn of_sqlite(code: Option<&str>, reason: String) -> Failure {
    let primary = code.and_then(|code| code.parse::<u32>().ok()).map(|extended| extended & 0xff);
    match primary {
        // SQLITE_TOOBIG, CONSTRAINT, MISMATCH
        Some(18..=20) => Failure::Refused(reason),
        // SQLITE_ERROR (no such table), CORRUPT, NOTADB
        Some(1 | 11 | 26) => Failure::Broken(reason),
        // Busy, locked, read-only, full, out of memory, input or output: before COMMIT nothing was written.
        _ => Failure::Unavailable(reason),
    }
}

/// By class of SQLSTATE (PostgreSQL's documentation, appendix A).
fn of_postgres(code: &str, reason: String) -> Failure {
    match code {
        // Serialization failure, deadlock; a lock that did not come in time; a server that is going or coming; a
        // connection that is gone.
        _ if code.starts_with("40") || code.starts_with("08") || code.starts_with("57P") => Failure::Again(reason),
        "55P03" => Failure::Again(reason),
        // A value, a constraint, a guard of ours (restrict_violation), a limit of the engine.
        _ if code.starts_with("22") || code.starts_with("23") || code.starts_with("54") => Failure::Refused(reason),
        // No such database, no right to it: whoever runs it mends that.
        "3D000" | "42501" => Failure::Unavailable(reason),
        // What is asked for is not there or not allowed; the data are damaged; an error inside.
        _ if code.starts_with("42") || code.starts_with("3") || code.starts_with("XX") => Failure::Broken(reason),
        // Cancelled, out of memory or disk, read-only: before COMMIT nothing was written.
        _ => Failure::Unavailable(reason),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_lost_commit_is_unknown_and_a_refusal_is_ours_to_mend() {
        assert!(matches!(Failure::from(sqlx::Error::PoolTimedOut), Failure::Unavailable(_)));
        assert!(matches!(Failure::from(sqlx::Error::WorkerCrashed), Failure::Unavailable(_)));
        assert!(matches!(of_sqlite(Some("2067"), String::new()), Failure::Refused(_)), "a unique index");
        assert!(matches!(of_sqlite(Some("5"), String::new()), Failure::Unavailable(_)), "busy");
        assert!(matches!(of_sqlite(Some("11"), String::new()), Failure::Broken(_)), "corrupt");
        for code in ["40001", "40P01", "55P03", "57P01", "57P03", "08006"] {
            assert!(matches!(of_postgres(code, String::new()), Failure::Again(_)), "{code}");
        }
        for code in ["23505", "23514", "23001", "22021", "54000"] {
            assert!(matches!(of_postgres(code, String::new()), Failure::Refused(_)), "{code}");
        }
        for code in ["42P01", "3F000", "XX001"] {
            assert!(matches!(of_postgres(code, String::new()), Failure::Broken(_)), "{code}");
        }
        for code in ["57014", "53100", "25006", "42501", "3D000", "28P01"] {
            assert!(matches!(of_postgres(code, String::new()), Failure::Unavailable(_)), "{code}");
        }
        assert!(matches!(Failure::from(sqlx::Error::ColumnNotFound("x".into())), Failure::Broken(_)));
        assert!(matches!(StoreError::from(Failure::Refused("x".into())), StoreError::Broken(_)));
        assert!(matches!(StoreError::from(Failure::Unavailable("x".into())), StoreError::Unavailable(_)));
        assert!(matches!(StoreError::from(Failure::Unknown("x".into())), StoreError::Unknown(_)));
    }
}
