//! Which purchase a request is: the rule, and what is remembered for it.
//!
//! A program that names its purchase (`Purser-Purchase`) says it itself, and nothing is remembered here: the name is the
//! key, as it is for `purser pay` and `purser mcp`. Of all others it is told by method, URL and digest of the body, under
//! one mandate and one program (the user name that it gives the proxy, where it gives one):
//!
//! | the last purchase of this request | the request is |
//! | --- | --- |
//! | there is none | a new purchase |
//! | was refused at once, so that nothing was signed | a new purchase |
//! | was begun, and what became of it is not known here | the same |
//! | was paid and not delivered, however long ago | the same |
//! | was delivered, less than the window ago | the same |
//! | was delivered before that, and its payment is not known yet | the same |
//! | was delivered before that, and its payment is settled | a new purchase |
//! | never happened and never can (released, voided, expired) | a new purchase |
//!
//! The same purchase has the same key, so the same authorization, of which the chain takes one. A request counts from when
//! it came, not from when its turn came. *Delivered* is a success whose body was handed to the program's connection whole.
//!
//! A key is drawn, and on the disk before anybody is asked to pay under it. Whoever loses the folder loses what was
//! delivered and what was not; what is still open, the book refuses to pay again (`purchase_unresolved`).

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{BufRead as _, BufReader, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ledger::id::Digest;
use serde::{Deserialize, Serialize};
use tokio::sync::OwnedMutexGuard;

/// How many requests are remembered.
const NOTES_MAX: usize = 100_000;
/// How long what was delivered is remembered; longer than any window.
pub const KEPT_SECONDS: i64 = 7 * 24 * 3_600;
/// Lines beyond those that say something, before the file is written anew.
const IDLE_LINES_MAX: usize = 50_000;

#[derive(Debug, thiserror::Error)]
pub enum PurchaseError {
    #[error("at most {NOTES_MAX} purchases are remembered, and as many are; name this one with Purser-Purchase")]
    Full,
    #[error("the purchase cannot be written down, so it is not begun: {0}")]
    Unwritten(String),
}

impl PurchaseError {
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Full => "purchases_full",
            Self::Unwritten(_) => "purchase_unwritten",
        }
    }
}

/// What a program asks for, as far as it tells one purchase from another.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    pub mandate: &'a str,
    /// What the program calls itself to the proxy; nothing where it does not.
    pub program: &'a str,
    pub method: &'a str,
    pub url: &'a str,
    pub body: &'a [u8],
}

impl Wanted<'_> {
    pub fn fingerprint(&self) -> Digest {
        let body = Digest::of(self.body);
        let texts = [self.mandate, self.program, self.method, self.url];
        let [mandate, program, method, url] = texts.map(str::as_bytes);
        Digest::of_parts("purser/proxy-request/1", &[mandate, program, method, url, &body.0])
    }
}

/// What is remembered of the last purchase of a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Note {
    pub key: String,
    /// The service's name for the payment, once there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payment: Option<String>,
    /// Unix seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delivered_at: Option<i64>,
}

/// What a request is, as far as the note says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    New,
    Same(Note),
    /// Delivered, and the window has passed: new where the payment is settled, the same where it is not known.
    Passed(Note),
}

/// The rule.
pub fn standing(note: Option<&Note>, arrived: i64, window_seconds: i64) -> Standing {
    match note {
        None => Standing::New,
        Some(note) => match note.delivered_at {
            Some(delivered_at) if arrived >= delivered_at.saturating_add(window_seconds) => {
                Standing::Passed(note.clone())
            }
            _ => Standing::Same(note.clone()),
        },
    }
}

/// Whether a payment in this state never moved money and never will: by proof, or because nothing was signed.
pub fn never_happened(state: &str) -> bool {
    matches!(state, "released" | "voided" | "expired")
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    request: Digest,
    /// `None` where the purchase came to nothing.
    note: Option<Note>,
}

/// What is remembered, in a file. Of two processes that write into one, either would pay what the other has paid: whoever
/// opens it holds the folder.
pub struct Notebook {
    path: PathBuf,
    kept: Mutex<Kept>,
    turns: Mutex<HashMap<Digest, Arc<tokio::sync::Mutex<()>>>>,
}

struct Kept {
    file: File,
    notes: HashMap<Digest, Note>,
    lines: usize,
}

/// Whether a line must be on the disk before anything else happens.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Durable {
    Now,
    Eventually,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Notebook {
    pub fn open(path: &Path, now: i64) -> Result<Self, String> {
        let unusable = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
        let file = private().open(path).map_err(|error| unusable(&error))?;
        let mut kept = read(file).map_err(|error| unusable(&error))?;
        kept.rewrite(path, now).map_err(|error| unusable(&error))?;
        Ok(Self { path: path.to_owned(), kept: Mutex::new(kept), turns: Mutex::default() })
    }

    /// One at a time buys under one fingerprint or name.
    pub async fn turn(&self, of: Digest) -> OwnedMutexGuard<()> {
        let turn = {
            let mut turns = locked(&self.turns);
            turns.retain(|_, turn| Arc::strong_count(turn) > 1);
            turns.entry(of).or_default().clone()
        };
        turn.lock_owned().await
    }

    pub fn note(&self, request: Digest) -> Option<Note> {
        locked(&self.kept).notes.get(&request).cloned()
    }

    /// Draws a key for a new purchase. It is on the disk when this returns.
    pub fn begin(&self, request: Digest, now: i64) -> Result<Note, PurchaseError> {
        let mut drawn = [0; 16];
        getrandom::fill(&mut drawn).map_err(|error| PurchaseError::Unwritten(error.to_string()))?;
        let note = Note { key: format!("proxy-{}", hex::encode(drawn)), payment: None, delivered_at: None };
        let mut kept = locked(&self.kept);
        let known = kept.notes.contains_key(&request);
        if !known && kept.notes.len() >= NOTES_MAX {
            kept.forget_delivered(now);
            if kept.notes.len() >= NOTES_MAX {
                return Err(PurchaseError::Full);
            }
        }
        let line = Line { request, note: Some(note.clone()) };
        kept.add(line, Durable::Now).map_err(|error| self.unwritten(&error))?;
        Ok(note)
    }

    /// There is a payment.
    pub fn paid(&self, request: Digest, key: &str, payment: &str, now: i64) -> Result<(), PurchaseError> {
        self.change(request, key, now, |note| note.payment = Some(payment.to_owned()))
    }

    /// The first time counts: whoever asks again and again does not move the window along.
    pub fn delivered(&self, request: Digest, key: &str, now: i64) -> Result<(), PurchaseError> {
        self.change(request, key, now, |note| note.delivered_at = note.delivered_at.or(Some(now)))
    }

    /// Without waiting for the disk: what is lost of it leaves the purchase the same one. Of a purchase that is not the
    /// last one any more nothing is recorded.
    fn change(
        &self,
        request: Digest,
        key: &str,
        now: i64,
        change: impl FnOnce(&mut Note),
    ) -> Result<(), PurchaseError> {
        let mut kept = locked(&self.kept);
        let Some(known) = kept.last(request, key) else { return Ok(()) };
        let mut note = known.clone();
        change(&mut note);
        if note == *known {
            return Ok(());
        }
        kept.add(Line { request, note: Some(note) }, Durable::Eventually).map_err(|error| self.unwritten(&error))?;
        if kept.lines > kept.notes.len().saturating_add(IDLE_LINES_MAX) {
            kept.rewrite(&self.path, now).map_err(|error| self.unwritten(&error))?;
        }
        Ok(())
    }

    /// The purchase came to nothing.
    pub fn forget(&self, request: Digest, key: &str) -> Result<(), PurchaseError> {
        let mut kept = locked(&self.kept);
        if kept.last(request, key).is_none() {
            return Ok(());
        }
        kept.add(Line { request, note: None }, Durable::Eventually).map_err(|error| self.unwritten(&error))
    }

    fn unwritten(&self, error: &std::io::Error) -> PurchaseError {
        PurchaseError::Unwritten(format!("{}: {error}", self.path.display()))
    }
}

/// A last line that breaks off was never answered for, so nobody was asked to pay under it. Any other that cannot be read
/// is a damaged file: starting without it could pay twice.
fn read(file: File) -> Result<Kept, String> {
    let mut reader = BufReader::new(file);
    let (mut notes, mut line, mut number) = (HashMap::new(), String::new(), 0_usize);
    loop {
        line.clear();
        number = number.saturating_add(1);
        match reader.read_line(&mut line) {
            Err(error) => return Err(format!("line {number}: {error}")),
            Ok(_) if !line.ends_with('\n') => break,
            Ok(_) => {}
        }
        let Line { request, note } =
            serde_json::from_str(&line).map_err(|error| format!("line {number} is no note of a purchase: {error}"))?;
        match note {
            Some(note) => notes.insert(request, note),
            None => notes.remove(&request),
        };
    }
    Ok(Kept { file: reader.into_inner(), notes, lines: number })
}

impl Kept {
    fn last(&self, request: Digest, key: &str) -> Option<&Note> {
        self.notes.get(&request).filter(|note| note.key == key)
    }

    fn add(&mut self, line: Line, durable: Durable) -> std::io::Result<()> {
        let mut text = serde_json::to_vec(&line)?;
        text.push(b'\n');
        let end = self.file.seek(SeekFrom::End(0))?;
        let written = self.file.write_all(&text).and_then(|()| match durable {
            Durable::Now => self.file.sync_data(),
            Durable::Eventually => Ok(()),
        });
        if let Err(error) = written {
            // Half a line must not stand before whole ones.
            let _ = self.file.set_len(end);
            return Err(error);
        }
        self.lines = self.lines.saturating_add(1);
        match line.note {
            Some(note) => self.notes.insert(line.request, note),
            None => self.notes.remove(&line.request),
        };
        Ok(())
    }

    fn forget_delivered(&mut self, now: i64) {
        let old = |note: &Note| note.delivered_at.is_some_and(|at| at.saturating_add(KEPT_SECONDS) < now);
        self.notes.retain(|_, note| !old(note));
    }

    /// Beside it and renamed, so that a crash leaves the old file or the new one.
    fn rewrite(&mut self, path: &Path, now: i64) -> std::io::Result<()> {
        self.forget_delivered(now);
        let mut text = Vec::new();
        for (request, note) in &self.notes {
            serde_json::to_writer(&mut text, &Line { request: *request, note: Some(note.clone()) })?;
            text.push(b'\n');
        }
        let beside = path.with_extension("new");
        let mut file = private().truncate(true).open(&beside)?;
        file.write_all(&text)?;
        file.sync_all()?;
        std::fs::rename(&beside, path)?;
        (self.file, self.lines) = (file, self.notes.len());
        Ok(())
    }
}

/// For this user's eyes only.
fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(0o600);
    options
}

#[cfg(test)]
mod tests;
