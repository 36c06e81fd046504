//! A lane per tenant: one queue, one task. Waiting commands are drained into one unit of work, so that a thousand
//! callers share one sync of the disk. A caller that goes away never takes its unit with it.

use std::sync::Arc;

use ledger::id::TenantId;
use ledger::journal::SaltKey;
use ledger::store::{Answer, StoreError, Work};
use sqlx::{Connection as _, SqliteConnection};
use tokio::sync::{Mutex, mpsc, oneshot};

use crate::Clock;
use crate::connection::{Opener, Schema};
use crate::failure::Failure;
use crate::limits::UNIT_DOCUMENT_BYTES_MAX;
use crate::unit::{Answers, Place, attempt};

/// The one connection that writes. SQLite has one writer, so all lanes take turns at it.
pub(crate) struct Writer {
    opener: Opener,
    /// `None` after a fault: opened again by the next unit.
    connection: Mutex<Option<SqliteConnection>>,
}

impl Writer {
    pub fn new(opener: Opener, connection: SqliteConnection) -> Self {
        Self { opener, connection: Mutex::new(Some(connection)) }
    }

    async fn attempt(&self, place: &Place<'_>, works: &[Work]) -> Result<Answers, Failure> {
        let mut slot = self.connection.lock().await;
        let mut connection = match slot.take() {
            Some(connection) => connection,
            None => self.opener.open(Schema::Refuse).await?,
        };
        let result = attempt(&mut connection, place, works).await;
        match &result {
            Ok(_) | Err(Failure::Refused(_)) => *slot = Some(connection),
            // Opened anew: whatever state it was in, the next unit starts from what is in the file.
            Err(Failure::Unavailable(_) | Failure::Broken(_) | Failure::Unknown(_)) => {
                if let Err(error) = connection.close().await {
                    tracing::warn!(reason = %error, "the writing connection did not close");
                }
            }
        }
        result
    }

    pub async fn close(&self) -> Result<(), Failure> {
        match self.connection.lock().await.take() {
            Some(connection) => Ok(connection.close().await?),
            None => Ok(()),
        }
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
            let answers = self.run(&works).await;
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
        let (mut works, mut replies) = (vec![first.work], vec![first.reply]);
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
