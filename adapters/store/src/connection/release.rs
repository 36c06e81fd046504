//! Releases side by side: while the processes of several replicas are replaced one by one, release N and release N+1
//! serve one database.
//!
//! A release is as old as its newest migration. A migration whose text begins with `-- additive` leaves what older
//! releases write right: it makes tables with all that belongs to them, columns that may be NULL or have a default,
//! indexes that are not unique, and functions, and nothing else. One that says nothing changes what they rely on. The
//! database says from which release on it is served (`release.serves_from`):
//!
//! - `migrate` of N+1 runs additive migrations while N serves. N goes on, and starts anew: everything that it expects is
//!   there to the letter, and beside it nothing but such additions ([`Known::allows`], and the same for SQLite).
//! - Before any other migration `migrate` raises `serves_from`, and waits for the units of work that are under way. Every
//!   unit reads it as its first statement, so that an older process takes no unit from then on, and none starts.
//! - Whatever makes the whole database into something else (`backup`, `migrate --to`, `erase`, `--grant`) is for a
//!   program of exactly its schema: it would leave out what it does not know.
//!
//! What a release writes must be read by every release that may serve beside it. A new kind of record, state, scope or
//! column of meaning is therefore read by one release and written by a later one, whose migration is not additive. A
//! record or row that cannot be read is an error wherever it is met, never a guess; but a release that does not know a
//! scope does not ask whether it is stopped, so this rule is not for the decoder alone to keep.

use std::collections::BTreeSet;
use std::sync::OnceLock;

use sqlx::SqlSafeStr as _;
use sqlx::migrate::{Migration, MigrationType, Migrator};

use super::{Dialect, postgres, sqlite};
use crate::failure::Failure;

/// A migration of a release that is not there yet.
#[derive(Clone, Debug)]
pub struct LaterMigration {
    pub version: i64,
    pub description: &'static str,
    pub text: &'static str,
    /// What it adds to the catalog, in PostgreSQL.
    pub catalog: &'static [&'static str],
}

static LATER: OnceLock<Vec<LaterMigration>> = OnceLock::new();
static OF_SQLITE: OnceLock<Migrator> = OnceLock::new();
static OF_POSTGRES: OnceLock<Migrator> = OnceLock::new();

/// Makes this program a later release, on PostgreSQL. For a program of the tests, which calls it before it opens
/// anything: nothing that ships does.
#[doc(hidden)]
pub fn become_later(migrations: Vec<LaterMigration>) {
    // Only the first call counts.
    let _ = LATER.set(migrations);
}

pub(super) fn later() -> &'static [LaterMigration] {
    LATER.get().map_or(&[], Vec::as_slice)
}

/// The migrations of this program.
pub(super) fn migrator(dialect: Dialect) -> &'static Migrator {
    match dialect {
        Dialect::Sqlite => {
            OF_SQLITE.get_or_init(|| Migrator::with_migrations(sqlite::MIGRATOR.iter().cloned().collect()))
        }
        Dialect::Postgres => OF_POSTGRES.get_or_init(|| {
            let made = later().iter().map(|later| {
                let kind = MigrationType::Simple;
                Migration::new(later.version, later.description.into(), kind, later.text.into_sql_str(), false)
            });
            Migrator::with_migrations(postgres::MIGRATOR.iter().cloned().chain(made).collect())
        }),
    }
}

/// What a migration means for the processes that serve while it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Older releases go on.
    Additive,
    /// Older releases take no unit of work any more.
    Breaking,
}

pub(super) fn change(migration: &Migration) -> Change {
    if migration.sql.as_str().starts_with("-- additive") { Change::Additive } else { Change::Breaking }
}

/// The release that this program is: its newest migration.
pub(super) fn own(dialect: Dialect) -> i64 {
    migrator(dialect).iter().map(|migration| migration.version).max().unwrap_or(0)
}

/// The oldest release that may serve the schema which these migrations make.
pub(super) fn oldest(dialect: Dialect) -> i64 {
    let breaking = migrator(dialect).iter().filter(|migration| change(migration) == Change::Breaking);
    breaking.map(|migration| migration.version).max().unwrap_or(0)
}

/// A migration that a database has: its number and the checksum of its text.
pub(super) type Applied = (i64, Vec<u8>);

/// How a schema relates to this program's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fit {
    Exact,
    /// It has additions of later releases.
    Newer,
}

/// Our migrations, all of them, and after them only those of a later release that lets us serve.
pub(super) fn fit(dialect: Dialect, applied: &[Applied], serves_from: i64) -> Result<Fit, Failure> {
    let ours = migrator(dialect).iter().map(|migration| (migration.version, migration.checksum.to_vec()));
    let ours: Vec<Applied> = ours.collect();
    let own = own(dialect);
    let newer = applied.strip_prefix(ours.as_slice()).filter(|newer| newer.iter().all(|(version, _)| *version > own));
    let Some(newer) = newer else {
        let found = applied.iter().map(|(version, _)| version.to_string()).collect::<Vec<_>>().join(", ");
        return Err(wrong(dialect, &format!("migrations [{found}] are applied, or others of the same numbers")));
    };
    may_serve(dialect, serves_from)?;
    Ok(if newer.is_empty() { Fit::Exact } else { Fit::Newer })
}

/// Refused where a database is for later releases than this one. Another process may be able to.
pub(super) fn may_serve(dialect: Dialect, serves_from: i64) -> Result<(), Failure> {
    let own = own(dialect);
    if serves_from <= own {
        return Ok(());
    }
    Err(Failure::Unavailable(format!(
        "the schema is served by release {serves_from} and later, this program is release {own} (its newest migration)"
    )))
}

pub(super) fn wrong(dialect: Dialect, problem: &str) -> Failure {
    let versions = migrator(dialect).iter().map(|migration| migration.version.to_string()).collect::<Vec<_>>();
    let versions = versions.join(", ");
    Failure::Broken(format!("the schema is not the one of this program (migrations {versions}): {problem}"))
}

/// What a program knows of a catalog, line by line, as `postgres::catalog` writes it.
pub(super) struct Known<'a> {
    tables: BTreeSet<&'a str>,
    functions: BTreeSet<&'a str>,
}

/// Of what and which: `column spend.note text` is a column of `spend`, named `spend.note`.
fn parts(line: &str) -> (&str, &str, &str) {
    let (kind, rest) = line.split_once(' ').unwrap_or((line, ""));
    let name = rest.split(' ').next().unwrap_or_default();
    (kind, name.split('.').next().unwrap_or_default(), name)
}

impl<'a> Known<'a> {
    pub fn of(lines: impl Iterator<Item = &'a str> + Clone) -> Self {
        let of = |wanted: &'static str| {
            let lines = lines.clone().map(parts).filter(move |(kind, ..)| *kind == wanted);
            lines.map(|(_, owner, _)| owner).collect()
        };
        Self { tables: of("column"), functions: of("function") }
    }

    /// Whether a line that a later release added leaves right what this program writes. `demanded` are the columns that
    /// want a value and have none by themselves.
    pub fn allows(&self, line: &str, demanded: &BTreeSet<String>) -> bool {
        match parts(line) {
            ("function", name, _) => !self.functions.contains(name),
            (_, table, _) if !self.tables.contains(table) => true,
            ("column", _, name) => !demanded.contains(name),
            ("index", ..) => !line.split(' ').any(|word| word == "unique"),
            // A constraint or a guard of a table of ours could refuse what we write, or change it.
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn applied(dialect: Dialect) -> Vec<Applied> {
        migrator(dialect).iter().map(|migration| (migration.version, migration.checksum.to_vec())).collect()
    }

    #[test]
    fn a_schema_is_ours_or_one_that_lets_us_serve() {
        for dialect in [Dialect::Sqlite, Dialect::Postgres] {
            let (ours, own) = (applied(dialect), own(dialect));
            assert!(oldest(dialect) <= own);
            let with = |version| [ours.clone(), vec![(version, vec![1])]].concat();
            let mut forged = ours.clone();
            forged[0].1 = vec![0];
            for wrong in [vec![], ours[1..].to_vec(), ours[..ours.len() - 1].to_vec(), forged, with(own), with(own - 1)]
            {
                assert!(matches!(fit(dialect, &wrong, 0), Err(Failure::Broken(_))), "{wrong:?}");
            }
            let refused = fit(dialect, &with(own + 1), own + 1).unwrap_err();
            let both = format!("release {} and later, this program is release {own}", own + 1);
            assert!(matches!(&refused, Failure::Unavailable(why) if why.contains(&both)), "{refused:?}");
            // Announced, and not there yet.
            assert!(fit(dialect, &ours, own + 1).is_err());
            assert_eq!(fit(dialect, &ours, own), Ok(Fit::Exact));
            assert_eq!(fit(dialect, &with(own + 1), own), Ok(Fit::Newer));
            assert_eq!(fit(dialect, &with(own + 7), 0), Ok(Fit::Newer));
        }
    }

    #[test]
    fn what_is_added_must_leave_our_writing_right() {
        let ours = ["column spend.id bytea not null", "function refuse_change 00", "index spend.spend_pkey unique"];
        let known = Known::of(ours.into_iter());
        let demanded = BTreeSet::from(["spend.must".to_owned()]);
        for (line, allowed) in [
            ("column spend.must text not null", false),
            ("constraint spend.spend_note_check c", false),
            ("constraint spend.spend_note_fkey f", false),
            ("constraint spend.spend_note_excl x", false),
            ("rule spend.spend_note", false),
            ("rowsecurity spend", false),
            ("guard spend.spend_note 19 A", false),
            ("index spend.spend_note unique", false),
            ("index spend.spend_note unique partial", false),
            ("function refuse_change 01", false),
            ("column spend.note text", true),
            ("column spend.mark bigint not null", true),
            ("index spend.spend_note", true),
            ("index spend.unique_note partial", true),
            ("function another 01", true),
            ("column spend_note.must text not null", true),
            ("constraint spend_note.spend_note_pkey p", true),
            ("index spend_note.spend_note_pkey unique", true),
            ("guard spend_note.spend_note_change 19 A", true),
        ] {
            assert_eq!(known.allows(line, &demanded), allowed, "{line}");
        }
    }
}
