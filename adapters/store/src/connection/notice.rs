//! What a server says beside its answers. One of its warnings decides whether a commit may be answered, and the driver
//! hands warnings to the log of the thread and to nobody else: so that log is ours while a COMMIT is under way.

use std::cell::RefCell;
use std::fmt::Debug;
use std::pin::pin;
use std::sync::LazyLock;

use tracing::dispatcher::{self, Dispatch};
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

/// Where the driver logs what a server says.
const TARGET: &str = "sqlx::postgres::notice";

/// One for all connections: a new one makes every place in the program that logs ask again who listens.
static LISTENER: LazyLock<Dispatch> = LazyLock::new(|| Dispatch::new(Listener));

thread_local! {
    static HEARD: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Does the work, and returns the first warning that came with it. What else the driver logs meanwhile is not logged.
pub(super) async fn listen<F: Future>(work: F) -> (F::Output, Option<String>) {
    let mut work = pin!(work);
    let mut warning = None;
    // The work may move from thread to thread between its steps, and others have their steps in between.
    let output = std::future::poll_fn(|context| {
        let step = dispatcher::with_default(&LISTENER, || work.as_mut().poll(context));
        if let Some(heard) = HEARD.take() {
            warning.get_or_insert(heard);
        }
        step
    })
    .await;
    (output, warning)
}

struct Listener;

impl Subscriber for Listener {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == TARGET && *metadata.level() <= Level::WARN
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(LevelFilter::WARN)
    }

    fn event(&self, event: &Event<'_>) {
        let mut message = Message(String::new());
        event.record(&mut message);
        HEARD.set(Some(message.0));
    }

    // There are no spans here.
    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }
    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

struct Message(String);

impl Visit for Message {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        if field.name() == "message" {
            self.0 = format!("{value:?}");
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "message" {
            value.clone_into(&mut self.0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_warning_is_heard_whatever_the_program_logs_and_by_its_own_work_alone() {
        // A program that logs nothing at all.
        let _silent = tracing::subscriber::set_global_default(tracing::subscriber::NoSubscriber::new());
        let warn = |text: &'static str| async move {
            tokio::task::yield_now().await;
            tracing::warn!(target: TARGET, message = text);
            tokio::task::yield_now().await;
            tracing::warn!(target: TARGET, message = "a second one");
        };
        let quiet = async {
            tracing::info!(target: TARGET, message = "no warning");
            tracing::warn!(target: "sqlx::query", message = "not of the server");
            tokio::task::yield_now().await;
        };
        warn("nobody listens").await;
        let (one, none, two) = tokio::join!(listen(warn("one")), listen(quiet), listen(warn("two")));
        assert_eq!((one.1.as_deref(), none.1, two.1.as_deref()), (Some("one"), None, Some("two")));
        assert_eq!(listen(async {}).await.1, None, "left over");
    }
}
