//! What a simulator did, by key. It holds no card.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Write as _;
use std::path::Path;

use engine::vault::ProcessorAnswer;
use ledger::id::Digest;
use ledger::money::Amount;
use serde::{Deserialize, Serialize};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Deed {
    Capture,
    Authorize,
    Void,
    Refund,
}

/// One thing that was done, or refused.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Entry {
    pub key: String,
    /// Of what was asked under the key, the card left out.
    pub request: Digest,
    pub amount: Amount,
    pub currency: String,
    pub deed: Deed,
    pub payment: String,
    /// What a later deed is about.
    #[serde(default)]
    pub of: Option<String>,
    pub answer: ProcessorAnswer,
    /// Unix seconds.
    pub at: i64,
}

#[derive(Debug, Default)]
pub struct Book {
    entries: Vec<Entry>,
    by_key: BTreeMap<String, usize>,
    /// Keys whose first answer was lost.
    lost: BTreeSet<String>,
    file: Option<File>,
}

impl Book {
    pub fn open(path: Option<&Path>) -> Result<Self, String> {
        let mut book = Self::default();
        let Some(path) = path else { return Ok(book) };
        let failed = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
        if let Ok(text) = std::fs::read_to_string(path) {
            // A line that a kill cut in two was never answered.
            for entry in text.lines().filter_map(|line| serde_json::from_str(line).ok()) {
                book.remember(entry);
            }
        }
        let file = File::options().create(true).append(true).open(path).map_err(|error| failed(&error))?;
        book.file = Some(file);
        Ok(book)
    }

    fn remember(&mut self, entry: Entry) {
        self.by_key.insert(entry.key.clone(), self.entries.len());
        self.entries.push(entry);
    }

    /// Durable before anybody is told.
    pub fn write(&mut self, entry: Entry) -> Result<(), String> {
        if let Some(file) = &mut self.file {
            let line = serde_json::to_string(&entry).map_err(|error| error.to_string())?;
            writeln!(file, "{line}").and_then(|()| file.sync_data()).map_err(|error| error.to_string())?;
        }
        self.remember(entry);
        Ok(())
    }

    pub fn under(&self, key: &str) -> Option<&Entry> {
        self.by_key.get(key).and_then(|place| self.entries.get(*place))
    }

    pub fn of_payment(&self, payment: &str) -> impl Iterator<Item = &Entry> {
        self.entries.iter().filter(move |entry| entry.payment == payment)
    }

    /// The entry whose answer has this id, and what came of it since.
    pub fn named(&self, id: &str) -> Option<(&Entry, Vec<&Entry>)> {
        let is_it = |entry: &&Entry| matches!(&entry.answer, ProcessorAnswer::Done { id: own, .. } if own == id);
        let found = self.entries.iter().find(is_it)?;
        Some((found, self.entries.iter().filter(|entry| entry.of.as_deref() == Some(id)).collect()))
    }

    pub fn number(&self) -> usize {
        self.entries.len()
    }

    /// Whether this answer is the first that is lost under its key.
    pub fn lose(&mut self, key: &str) -> bool {
        self.lost.insert(key.to_owned())
    }

    fn is_settled(&self, payment: &str) -> bool {
        let captured =
            |entry: &Entry| entry.deed == Deed::Capture && matches!(entry.answer, ProcessorAnswer::Done { .. });
        self.of_payment(payment).any(captured)
    }

    /// What was settled, and of payments that nothing was settled of the last refusal. Columns as `purser reconcile` reads.
    pub fn settlement(&self, major: impl Fn(Amount, &str) -> String) -> String {
        let mut last = BTreeMap::new();
        for (number, entry) in self.entries.iter().enumerate().filter(|(_, entry)| entry.deed == Deed::Capture) {
            let (state, id) = match &entry.answer {
                ProcessorAnswer::Done { id, .. } => ("settled", id.clone()),
                ProcessorAnswer::Declined { .. } => ("refused", format!("declined-{number}")),
            };
            let (payment, currency) = (&entry.payment, &entry.currency);
            let amount = major(entry.amount, currency);
            let line = format!("{payment},{amount},{currency},{state},{id},{}", day(entry.at));
            if state == "settled" || !self.is_settled(payment) {
                last.insert(payment, line);
            }
        }
        let header = "reference,amount,currency,state,processor_id,date".to_owned();
        std::iter::once(header).chain(last.into_values()).map(|line| line + "\n").collect()
    }
}

fn day(seconds: i64) -> String {
    let at = jiff::Timestamp::from_second(seconds).unwrap_or_default();
    at.strftime("%Y-%m-%d").to_string()
}
