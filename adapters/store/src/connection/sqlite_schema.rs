//! The schema of a SQLite file, held against what the migrations make of an empty one.

use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{Connection as _, Row as _, SqliteConnection};

use super::release::{self, Applied, Fit, wrong};
use super::{Dialect, Schema};
use crate::failure::Failure;

/// As SQLite keeps it: what it is, of which table, and the text that made it.
#[derive(PartialEq, Eq)]
struct Item {
    kind: String,
    name: String,
    table: String,
    text: String,
}

pub(super) async fn applied(connection: &mut SqliteConnection) -> Result<Vec<Applied>, Failure> {
    let rows = sqlx::query("SELECT version, checksum FROM _sqlx_migrations WHERE success ORDER BY version");
    rows.fetch_all(connection).await?.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?))).collect()
}

/// Refuses any schema but ours, to the letter: another version, a dropped trigger, a changed constraint. A later release
/// that lets us serve may have added what leaves our writing right.
pub(super) async fn check(connection: &mut SqliteConnection, schema: Schema) -> Result<(), Failure> {
    let wrong = |problem: &str| wrong(Dialect::Sqlite, problem);
    let applied = applied(connection).await.map_err(|failure| match failure {
        Failure::Broken(why) => wrong(&format!("it cannot be read: {why}")),
        failure => failure,
    })?;
    let serves_from = sqlx::query("SELECT serves_from FROM release").fetch_one(&mut *connection).await;
    let serves_from = match serves_from.map_err(Failure::from) {
        Ok(row) => row.try_get(0)?,
        // Of before there was one: the migrations say what is missing.
        Err(Failure::Broken(_)) => 0,
        Err(failure) => return Err(failure),
    };
    let fit = release::fit(Dialect::Sqlite, &applied, serves_from)?;
    if fit == Fit::Newer && schema == Schema::Exact {
        return Err(wrong("a later release added to it, and what this program does not know it would leave out"));
    }
    let mut fresh = SqliteConnection::connect_with(&SqliteConnectOptions::new().in_memory(true)).await?;
    let built = release::migrator(Dialect::Sqlite).run_direct(None, &mut fresh, false).await;
    built.map_err(|error| Failure::Broken(format!("the embedded schema cannot be built: {error}")))?;
    let (expected, found) = (schema_of(&mut fresh).await?, schema_of(connection).await?);
    let is_there = |item: &Item| found.iter().any(|found| found == item || fit == Fit::Newer && is_longer(found, item));
    let gone = expected.iter().find(|item| !is_there(item)).map(|item| ("is missing or changed", item));
    let is_known = |item: &Item| match fit {
        Fit::Exact => expected.contains(item),
        Fit::Newer => is_allowed(&expected, item),
    };
    let unequal = gone.or_else(|| found.iter().find(|item| !is_known(item)).map(|item| ("is unknown", item)));
    match unequal {
        Some((problem, item)) => Err(wrong(&format!("{} {} {problem}", item.kind, item.name))),
        None => Ok(()),
    }
}

async fn schema_of(connection: &mut SqliteConnection) -> Result<Vec<Item>, Failure> {
    let text = "SELECT type, name, tbl_name, sql FROM sqlite_schema
        WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' ORDER BY type, name";
    let rows = sqlx::query(text).fetch_all(connection).await?;
    let item = |row: &sqlx::sqlite::SqliteRow| {
        Ok(Item { kind: row.try_get(0)?, name: row.try_get(1)?, table: row.try_get(2)?, text: row.try_get(3)? })
    };
    rows.iter().map(item).collect()
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
