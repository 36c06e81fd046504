//! A lane per tenant: one queue, one task. Waiting commands are drained into one unit of work, so that a thousand
//! callers share one sync of the disk. A caller that goes away never takes its unit with it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ledger::id::TenantId;
use ledger::journal::SaltKey;
use ledger::store::{Answer, StoreError, Work};
use tokio::sync::{Mutex, mpsc, oneshot};

use crate::Clock;
use crate::connection::{Connection, Dialect, Opener, whole};
use crate::failure::Failure;
use crate::limits::{COMMIT_SEARCHES, UNIT_ATTEMPTS, UNIT_DOCUMENT_BYTES_MAX};
use crate::unit::{self, Answers, Ended, Place, attempt};

/// A connection that writes. SQLite has one writer, so all lanes take turns at it; in PostgreSQL each lane has its own.
pub(crate) struct Writer {
    opener: Opener,
    skew_max: Option<Duration>,
    /// `None` after a fault: opened again by the next unit.
    connection: Mutex<Option<Connection>>,
    /// Commands, so far.
    pub written: Arc<AtomicU64>,
}

impl Writer {
    pub fn new(opener: Opener, skew_max: Option<Duration>, connection: Option<Connection>) -> Self {
        Self { opener, skew_max, connection: Mutex::new(connection), written: Arc::default() }
    }

    pub const fn dialect(&self) -> Dialect {
        self.opener.dialect()
    }

    /// A new connection, to a database that goes by the same time: its instants and ours end up in one journal.
    async fn reopen(&self, clock: &Clock) -> Result<Connection, Failure> {
        let mut connection = self.opener.reopen().await?;
        let (Some(skew_max), Dialect::Postgres) = (self.skew_max, connection.dialect()) else { return Ok(connection) };
        let before = clock();
        let text = "SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint";
        let row = connection.fetch_one(text, []).await?;
        let there = row.map_or(Ok(0), |row| row.integer(0))?;
        let slack = i64::try_from(skew_max.as_micros()).unwrap_or(i64::MAX);
        let (earliest, latest) = (before.0.saturating_sub(slack), clock().0.saturating_add(slack));
        if (earliest..=latest).contains(&there) {
            return Ok(connection);
        }
        discard(connection).await;
        let here = before.0;
        Err(Failure::Unavailable(format!("clock_jump: it is {here} here and {there} in the database (microseconds)")))
    }

    /// Runs a unit of work to its end: again where another was in the way, and found again where its COMMIT was not
    /// answered.
    async fn attempt(&self, place: &Place<'_>, works: &[Work]) -> Result<Answers, Failure> {
        let mut slot = self.connection.lock().await;
        let mut waits = UNIT_ATTEMPTS.into_iter();
        loop {
            let failure = match self.once(&mut slot, place, works).await {
                Ok(Ended::Answered(answers)) => return Ok(answers),
                Ok(Ended::InDoubt(doubt)) => match self.was_committed(&mut slot, place, &doubt).await? {
                    true => return Ok(doubt.answers),
                    false => Failure::Again(doubt.reason),
                },
                Err(failure) => failure,
            };
            let Failure::Again(reason) = failure else { return Err(failure) };
            let Some(wait) = waits.next() else { return Err(Failure::Unavailable(reason)) };
            tracing::info!(tenant = %place.tenant, %reason, "a unit of work is run again");
            tokio::time::sleep(wait).await;
        }
    }

    async fn once(&self, slot: &mut Option<Connection>, place: &Place<'_>, works: &[Work]) -> Result<Ended, Failure> {
        let mut connection = match slot.take() {
            Some(connection) => connection,
            None => self.reopen(place.clock).await?,
        };
        let result = attempt(&mut connection, place, works).await;
        match &result {
            Ok(Ended::Answered(answers)) => {
                self.written.fetch_add(u64::try_from(answers.len()).unwrap_or(0), Ordering::Relaxed);
                *slot = Some(connection);
            }
            Err(Failure::Refused(_)) => *slot = Some(connection),
            // Opened anew: whatever state it was in, the next unit starts from what is in the database.
            _ => discard(connection).await,
        }
        result
    }

    /// Looks for a unit whose COMMIT was not answered. The tenant's lock is waited for, so a backend that still works at
    /// it has ended either way; and a row is written, so that the answer is as durable as any.
    async fn was_committed(
        &self,
        slot: &mut Option<Connection>,
        place: &Place<'_>,
        doubt: &unit::Doubt,
    ) -> Result<bool, Failure> {
        for wait in COMMIT_SEARCHES {
            match self.search(place, doubt.unit).await {
                Ok((found, connection)) => {
                    *slot = Some(connection);
                    tracing::warn!(tenant = %place.tenant, found, reason = doubt.reason, "a commit was in doubt");
                    return Ok(found);
                }
                Err(failure) => {
                    tracing::warn!(tenant = %place.tenant, reason = ?failure, "a commit in doubt is still searched for");
                }
            }
            tokio::time::sleep(wait).await;
        }
        Err(Failure::Unknown(doubt.reason.clone()))
    }

    async fn search(&self, place: &Place<'_>, unit: unit::UnitId) -> Result<(bool, Connection), Failure> {
        let mut connection = self.opener.reopen().await?;
        match unit::find(&mut connection, place.tenant, unit).await {
            Ok(found) => Ok((found, connection)),
            Err(failure) => {
                discard(connection).await;
                Err(failure)
            }
        }
    }

    pub async fn close(&self) -> Result<(), Failure> {
        match self.connection.lock().await.take() {
            Some(connection) => connection.close().await,
            None => Ok(()),
        }
    }
}

async fn discard(connection: Connection) {
    if let Err(failure) = connection.close().await {
        tracing::debug!(reason = ?failure, "a writing connection did not close");
    }
}

/// One command that waits, and whom to tell.
pub(crate) struct Waiting {
    pub work: Work,
    pub reply: oneshot::Sender<Result<Answer, StoreError>>,
}

pub(crate) struct Lane {
    pub tenant: TenantId,
    pub salt_key: SaltKey,
    pub writer: Arc<Writer>,
    pub clock: Clock,
    pub unit_commands_max: usize,
}

impl Lane {
    /// Ends when the last sender is gone and the queue is empty.
    pub async fn serve(self, mut queue: mpsc::Receiver<Waiting>) {
        while let Some(first) = queue.recv().await {
            let (works, replies) = self.drain(first, &mut queue);
            let answers = whole(self.writer.dialect(), self.run(&works)).await;
            for (reply, answer) in replies.into_iter().zip(answers) {
                // A caller that went away has its unit all the same; its key will answer.
                let _ = reply.send(answer);
            }
        }
    }

    /// What waits now, without waiting for more.
    fn drain(
        &self,
        first: Waiting,
        queue: &mut mpsc::Receiver<Waiting>,
    ) -> (Vec<Work>, Vec<oneshot::Sender<Result<Answer, StoreError>>>) {
        let mut document_bytes = document_bytes(&first.work);
        let waiting = queue.len().saturating_add(1).min(self.unit_commands_max);
        let (mut works, mut replies) = (Vec::with_capacity(waiting), Vec::with_capacity(waiting));
        works.push(first.work);
        replies.push(first.reply);
        while works.len() < self.unit_commands_max && document_bytes < UNIT_DOCUMENT_BYTES_MAX {
            let Ok(next) = queue.try_recv() else { break };
            document_bytes = document_bytes.saturating_add(self::document_bytes(&next.work));
            works.push(next.work);
            replies.push(next.reply);
        }
        (works, replies)
    }

    async fn run(&self, works: &[Work]) -> Answers {
        let place = Place { tenant: &self.tenant, salt_key: &self.salt_key, clock: &self.clock };
        match self.writer.attempt(&place, works).await {
            Ok(answers) => answers,
            Err(failure @ (Failure::Refused(_) | Failure::Broken(_))) if works.len() > 1 => {
                tracing::warn!(tenant = %self.tenant, commands = works.len(), reason = ?failure, "a unit of work is rerun one by one");
                self.run_one_by_one(&place, works).await
            }
            Err(failure) => {
                tracing::warn!(tenant = %self.tenant, commands = works.len(), reason = ?failure, "a unit of work failed");
                works.iter().map(|_| Err(failure.clone().into())).collect()
            }
        }
    }

    /// Neighbours of a command that the database refuses live on.
    async fn run_one_by_one(&self, place: &Place<'_>, works: &[Work]) -> Answers {
        let mut answers = Vec::with_capacity(works.len());
        for work in works {
            match self.writer.attempt(place, std::slice::from_ref(work)).await {
                Ok(one) => answers.extend(one),
                Err(failure @ (Failure::Refused(_) | Failure::Broken(_))) => answers.push(Err(failure.into())),
                Err(failure) => {
                    answers.push(Err(failure.clone().into()));
                    break;
                }
            }
        }
        // The database went away: the rest was not tried.
        answers.resize_with(works.len(), || Err(StoreError::Unavailable("the unit of work was not tried".to_owned())));
        answers
    }
}

fn document_bytes(work: &Work) -> usize {
    work.documents.iter().map(|document| document.bytes.len()).fold(0, usize::saturating_add)
}
