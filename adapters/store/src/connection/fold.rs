//! SQLite's log is folded into its file while units of work go on. The writer does so itself once the log is long
//! (`WAL_PAGES`), and whoever pays waits for it; what another connection has folded before, it need not.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use rusqlite::Connection;

use super::sqlite::{Opener, fetch};
use crate::cell::Row;
use crate::failure::Failure;
use crate::limits::{FOLD_COMMANDS, FOLD_EVERY, FOLD_PAGES};

/// A thread with a connection of its own, from the time that enough was written. It ends with the store.
pub(crate) struct Folder(Mutex<Option<(Sender<()>, JoinHandle<()>)>>);

impl Folder {
    /// `written` counts commands. PostgreSQL needs none.
    pub fn start(opener: &super::Opener, written: Arc<AtomicU64>) -> Result<Option<Self>, Failure> {
        let super::Opener::Sqlite(opener) = opener.clone() else { return Ok(None) };
        let (stop, stopped) = channel();
        let thread = std::thread::Builder::new().name("fold".to_owned());
        let thread = thread.spawn(move || serve(&opener, &written, &stopped));
        let thread = thread.map_err(|error| Failure::Unavailable(format!("no thread: {error}")))?;
        Ok(Some(Self(Mutex::new(Some((stop, thread))))))
    }

    /// Before the last connection closes, which folds all of it.
    pub fn stop(&self) {
        let running = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some((stop, thread)) = running {
            drop(stop);
            if thread.join().is_err() {
                tracing::error!("the thread that folds the log ended badly");
            }
        }
    }
}

fn serve(opener: &Opener, written: &AtomicU64, stopped: &Receiver<()>) {
    let (mut connection, mut seen) = (None, 0);
    while stopped.recv_timeout(FOLD_EVERY) == Err(RecvTimeoutError::Timeout) {
        let now = written.load(Ordering::Relaxed);
        if now.saturating_sub(seen) < FOLD_COMMANDS {
            continue;
        }
        match look(opener, &mut connection) {
            Ok(()) => seen = now,
            // The writer folds what is left over.
            Err(failure) => {
                tracing::debug!(reason = ?failure, "the log was not folded");
                connection = None;
            }
        }
    }
}

fn look(opener: &Opener, connection: &mut Option<Connection>) -> Result<(), Failure> {
    let connection = match connection {
        Some(connection) => connection,
        None => connection.insert(opener.folder()?),
    };
    if unfolded(connection, "NOOP")? >= FOLD_PAGES {
        unfolded(connection, "PASSIVE")?;
    }
    Ok(())
}

/// Pages that are in the log alone, after this was done.
fn unfolded(connection: &Connection, mode: &str) -> Result<i64, Failure> {
    let rows = fetch(connection, &format!("PRAGMA wal_checkpoint({mode})"), &[])?;
    let pages = |row: &Row| Ok::<_, Failure>(row.integer(1)?.saturating_sub(row.integer(2)?));
    rows.first().map_or(Ok(0), pages)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::Schema;
    use crate::connection::sqlite::run;

    /// A log of so many pages, by a writer that never folds it.
    async fn logged(opener: &Opener, pages: i64) -> Connection {
        let writer = opener.open(Schema::Migrate).await.unwrap();
        run(&writer, "PRAGMA wal_autocheckpoint = 0; CREATE TABLE filler (bytes BLOB)").unwrap();
        run(&writer, "PRAGMA wal_checkpoint(TRUNCATE)").unwrap();
        for _ in 0..pages {
            writer.execute("INSERT INTO filler VALUES (randomblob(4000))", []).unwrap();
        }
        writer
    }

    #[tokio::test]
    async fn a_long_log_is_folded_beside_its_writer_and_a_short_one_left() {
        let folder = tempfile::tempdir().unwrap();
        let opener = Opener::new(&folder.path().join("book"), Duration::from_millis(50));
        let writer = logged(&opener, 8).await;
        let mut connection = None;
        look(&opener, &mut connection).unwrap();
        let short = unfolded(connection.as_ref().unwrap(), "NOOP").unwrap();
        assert!((8..FOLD_PAGES).contains(&short), "{short}: a short log is the writer's");

        run(&writer, "BEGIN").unwrap();
        for _ in 0..FOLD_PAGES {
            writer.execute("INSERT INTO filler VALUES (randomblob(4000))", []).unwrap();
        }
        run(&writer, "COMMIT; BEGIN IMMEDIATE; INSERT INTO filler VALUES (1)").unwrap();
        look(&opener, &mut connection).unwrap();
        assert_eq!(unfolded(connection.as_ref().unwrap(), "NOOP").unwrap(), 0, "in the middle of a unit of work");
        run(&writer, "COMMIT").unwrap();
        assert_eq!(unfolded(connection.as_ref().unwrap(), "NOOP").unwrap(), 1);
    }
}
