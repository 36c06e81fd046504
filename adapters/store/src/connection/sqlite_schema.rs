//! The schema of a SQLite file, held against what the migrations make of an empty one.

use rusqlite::Connection;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{Connection as _, SqliteConnection};
use tokio::sync::OnceCell;

use super::release::{self, Applied, Fit, wrong};
use super::{Dialect, Schema, sqlite};
use crate::cell::Row;
use crate::failure::Failure;

/// As SQLite keeps it: what it is, of which table, and the text that made it.
#[derive(PartialEq, Eq)]
pub(super) struct Item {
    kind: String,
    name: String,
    table: String,
    text: String,
}

pub(super) fn applied(connection: &Connection) -> Result<Vec<Applied>, Failure> {
    let text = "SELECT version, checksum FROM _sqlx_migrations WHERE success ORDER BY version";
    let rows = sqlite::fetch(connection, text, &[])?;
    rows.iter().map(|row| Ok((row.integer(0)?, row.blob(1)?.to_vec()))).collect()
}

const SCHEMA: &str = "SELECT type, name, tbl_name, sql FROM sqlite_schema
    WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' ORDER BY type, name";

/// What the migrations make of an empty file.
pub(super) async fn expected() -> Result<&'static [Item], Failure> {
    static EXPECTED: OnceCell<Vec<Item>> = OnceCell::const_new();
    let built = EXPECTED.get_or_try_init(async || {
        let mut fresh = SqliteConnection::connect_with(&SqliteConnectOptions::new().in_memory(true)).await?;
        let built = release::migrator(Dialect::Sqlite).run_direct(None, &mut fresh, false).await;
        built.map_err(|error| Failure::Broken(format!("the embedded schema cannot be built: {error}")))?;
        let rows: Vec<(String, String, String, String)> = sqlx::query_as(SCHEMA).fetch_all(&mut fresh).await?;
        fresh.close().await?;
        let item = |(kind, name, table, text)| Item { kind, name, table, text };
        Ok::<_, Failure>(rows.into_iter().map(item).collect())
    });
    Ok(built.await?)
}

/// Refuses any schema but ours, to the letter: another version, a dropped trigger, a changed constraint. A later release
/// that lets us serve may have added what leaves our writing right.
pub(super) fn check(connection: &Connection, expected: &[Item], schema: Schema) -> Result<(), Failure> {
    let wrong = |problem: &str| wrong(Dialect::Sqlite, problem);
    let applied = applied(connection).map_err(|failure| match failure {
        Failure::Broken(why) => wrong(&format!("it cannot be read: {why}")),
        failure => failure,
    })?;
    let serves_from = sqlite::serves_from(connection).or_else(|failure| match failure {
        // Of before there was one: the migrations say what is missing.
        Failure::Broken(_) => Ok(0),
        failure => Err(failure),
    })?;
    let fit = release::fit(Dialect::Sqlite, &applied, serves_from)?;
    if fit == Fit::Newer && schema == Schema::Exact {
        return Err(wrong("a later release added to it, and what this program does not know it would leave out"));
    }
    let found = schema_of(connection)?;
    let is_there = |item: &Item| found.iter().any(|found| found == item || fit == Fit::Newer && is_longer(found, item));
    let gone = expected.iter().find(|item| !is_there(item)).map(|item| ("is missing or changed", item));
    let is_known = |item: &Item| match fit {
        Fit::Exact => expected.contains(item),
        Fit::Newer => is_allowed(expected, item),
    };
    let unequal = gone.or_else(|| found.iter().find(|item| !is_known(item)).map(|item| ("is unknown", item)));
    match unequal {
        Some((problem, item)) => Err(wrong(&format!("{} {} {problem}", item.kind, item.name))),
        None => Ok(()),
    }
}

fn schema_of(connection: &Connection) -> Result<Vec<Item>, Failure> {
    let item = |row: &Row| {
        let text = |column| row.text(column).map(str::to_owned);
        Ok(Item { kind: text(0)?, name: text(1)?, table: text(2)?, text: text(3)? })
    };
    sqlite::fetch(connection, SCHEMA, &[])?.iter().map(item).collect()
}

/// A table of ours that has more columns: SQLite writes them into the text that made it, each after a comma.
fn is_longer(found: &Item, ours: &Item) -> bool {
    if (&found.kind, &found.name) != (&ours.kind, &ours.name) || ours.kind != "table" {
        return false;
    }
    let (found, ours) = (found.text.as_bytes(), ours.text.as_bytes());
    let Some(added) = found.len().checked_sub(ours.len()).filter(|added| *added > 0) else { return false };
    let begins = found.iter().zip(ours).take_while(|(found, ours)| found == ours).count();
    let ends = found.iter().rev().zip(ours.iter().rev()).take_while(|(found, ours)| found == ours).count();
    if begins.saturating_add(ends) < ours.len() {
        return false;
    }
    // Where what was added begins as what follows it does, it can be cut at several places: any that is a comma.
    let first = ours.len().saturating_sub(ends);
    (first..=begins).any(|at| {
        let text = found.get(at..at.saturating_add(added)).and_then(|text| std::str::from_utf8(text).ok());
        text.is_some_and(is_harmless)
    })
}

/// Columns that may be left out by whoever does not know them, and refuse nothing.
fn is_harmless(added: &str) -> bool {
    let text = added.to_ascii_uppercase();
    let Some(columns) = text.strip_prefix(',') else { return false };
    columns.split(',').all(|column| {
        let words = column.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_');
        let words: Vec<&str> = words.filter(|word| !word.is_empty()).collect();
        let has = |word| words.contains(&word);
        let refuses = ["CHECK", "UNIQUE", "PRIMARY", "REFERENCES", "GENERATED", "AS", "CONSTRAINT"];
        !words.is_empty() && !refuses.into_iter().any(has) && (!has("NOT") || has("DEFAULT"))
    })
}

fn is_allowed(expected: &[Item], item: &Item) -> bool {
    if expected.iter().any(|ours| ours == item || is_longer(item, ours)) {
        return true;
    }
    let is_ours = |table: &str| expected.iter().any(|ours| ours.kind == "table" && ours.name == table);
    match item.kind.as_str() {
        "table" => !is_ours(&item.name),
        "index" => !is_ours(&item.table) || item.text.to_ascii_uppercase().starts_with("CREATE INDEX "),
        "trigger" => !is_ours(&item.table),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_column_of_a_later_release_is_one_that_can_be_left_out() {
        let item =
            |text: &str| Item { kind: "table".into(), name: "spend".into(), table: "spend".into(), text: text.into() };
        let ours = item("CREATE TABLE spend (id BLOB, note TEXT, PRIMARY KEY (id)) STRICT");
        let with = |added: &str| item(&ours.text.replace(", PRIMARY", &format!("{added}, PRIMARY")));
        for (added, allowed) in [
            ("", false),
            (" mark TEXT", false),
            (", mark TEXT NOT NULL", false),
            (", mark TEXT CHECK (mark > 'a')", false),
            (", mark TEXT UNIQUE", false),
            (", mark TEXT REFERENCES budget (id)", false),
            (", mark TEXT AS (note)", false),
            (", mark TEXT, UNIQUE (mark)", false),
            (", mark TEXT", true),
            (", p TEXT", true),
            (", mark TEXT, other TEXT NOT NULL", false),
            (", mark TEXT,", false),
            (", mark TEXT, other INTEGER", true),
            (", mark INTEGER NOT NULL DEFAULT 0", true),
        ] {
            assert_eq!(is_longer(&with(added), &ours), allowed, "{added}");
        }
        assert!(!is_longer(
            &item("CREATE TABLE spend (id BLOB, note INTEGER, PRIMARY KEY (id), mark TEXT) STRICT"),
            &ours
        ));
        assert!(!is_longer(&item("CREATE TABLE spend (id BLOB) STRICT"), &ours));
    }
}
