//! Where the books are, in one text.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sqlx::postgres::PgConnectOptions;

/// Where the books are: a SQLite file, or a PostgreSQL database by its `postgres://` address.
#[derive(Clone)]
pub enum Location {
    Sqlite(PathBuf),
    Postgres(PostgresAddress),
}

/// As it was given, and as it was read.
#[derive(Clone)]
pub struct PostgresAddress {
    text: String,
    pub(crate) options: Box<PgConnectOptions>,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a path or postgres://USER@HOST/DATABASE was expected: {0}")]
pub struct LocationError(String);

impl Location {
    /// The folder and file of an embedded database.
    pub fn file(&self) -> Option<&Path> {
        match self {
            Self::Sqlite(path) => Some(path),
            Self::Postgres(_) => None,
        }
    }
}

impl FromStr for Location {
    type Err = LocationError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.starts_with("postgres://") || text.starts_with("postgresql://") {
            // The error may quote the address, and the address may hold a password.
            let options = PgConnectOptions::from_str(text)
                .map(Box::new)
                .map_err(|_| LocationError("this address of a PostgreSQL database cannot be read".to_owned()))?;
            return Ok(Self::Postgres(PostgresAddress { text: text.to_owned(), options }));
        }
        match text.split_once("://") {
            Some((scheme, _)) => Err(LocationError(format!("databases of kind `{scheme}` are not known"))),
            None if text.is_empty() => Err(LocationError("nothing was given".to_owned())),
            None => Ok(Self::Sqlite(text.into())),
        }
    }
}

/// Without user and password: it is printed and logged.
impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite(path) => path.display().fmt(f),
            Self::Postgres(PostgresAddress { options, .. }) => {
                let (port, database) = (options.get_port(), options.get_database().unwrap_or("postgres"));
                match options.get_socket() {
                    Some(folder) => write!(f, "postgres:///{database}?host={}&port={port}", folder.display()),
                    None => write!(f, "postgres://{}:{port}/{database}", options.get_host()),
                }
            }
        }
    }
}

impl fmt::Debug for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Location({self})")
    }
}

/// Whole, with what it says of user and password: for a configuration, never for a log.
impl Serialize for Location {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Sqlite(path) => path.serialize(serializer),
            Self::Postgres(address) => address.text.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Location {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

impl From<&Path> for Location {
    fn from(path: &Path) -> Self {
        Self::Sqlite(path.to_owned())
    }
}

impl From<PathBuf> for Location {
    fn from(path: PathBuf) -> Self {
        Self::Sqlite(path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn printed(text: &str) -> String {
        let location: Location = text.parse().unwrap();
        assert_eq!(serde_json::to_value(&location).unwrap(), text);
        assert!(format!("{location:?}").contains(&location.to_string()));
        location.to_string()
    }

    #[test]
    fn what_is_printed_holds_no_password() {
        assert_eq!(printed("postgres://me:secret@db.example:6432/books"), "postgres://db.example:6432/books");
        assert_eq!(
            printed("postgresql://me:secret@db.example/books?sslmode=require"),
            "postgres://db.example:5432/books"
        );
        let socket = printed("postgres:///books?host=/run/postgresql&user=me&password=secret");
        assert_eq!(socket, "postgres:///books?host=/run/postgresql&port=5432");
        assert_eq!(printed("/var/lib/purser/books.sqlite"), "/var/lib/purser/books.sqlite");
    }

    #[test]
    fn what_is_no_place_is_refused_and_not_repeated() {
        for text in ["", "mysql://me:secret@db/books", "postgres://me:secret@db:notaport/books", "sqlite://x"] {
            let refused = text.parse::<Location>().unwrap_err().to_string();
            assert!(!refused.contains("secret"), "{refused}");
        }
    }
}
