//! What is kept of the books outside of the database: a small file beside the configuration that says how far each book
//! went and what was stopped. A database that was set back to an older state, exchanged or copied does not agree with it
//! (or with its own home) and starts behind its fence; stops that it forgot bite again.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use engine::ports::Outside;
use engine::{Engine, service};
use ledger::command::{Command, Request};
use ledger::gate::{GateState, Scope};
use ledger::id::{Digest, TenantId};
use ledger::store::{Store, Work};
use serde::{Deserialize, Serialize};
use store::SqlStore;
use tokio::sync::{Mutex, watch};

use crate::config::Config;

/// How often the file follows the books; a stop does not wait for it.
const FOLLOW: Duration = Duration::from_secs(1);

/// Where a book stood when it was last looked at.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Note {
    pub entries: u64,
    /// The leaf of the last record: with it another history of the same length is told apart.
    pub last_leaf: Option<Digest>,
    /// Scopes that are stopped.
    pub stops: Vec<String>,
    /// How far the book went before it was found to be set back; until its fence is lifted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lost: Option<u64>,
}

type Notes = BTreeMap<String, Note>;

/// The file, and the store that it follows.
pub struct NoteFile {
    path: PathBuf,
    store: SqlStore,
    notes: Mutex<Notes>,
}

/// `shop/purser.toml` has its notes in `shop/purser.toml.notes`, unless it names another file: one on a disk of its own
/// outlives whatever brings database and configuration back together.
pub fn path_of(path: &Path, config: &Config) -> PathBuf {
    if let Some(notes) = &config.notes {
        return notes.clone();
    }
    let mut name = path.as_os_str().to_owned();
    name.push(".notes");
    name.into()
}

impl NoteFile {
    pub fn open(path: PathBuf, store: SqlStore) -> Result<Self, String> {
        let notes = match std::fs::read(&path) {
            Ok(bytes) => {
                serde_json::from_slice(&bytes).map_err(|error| format!("{} is damaged: {error}", path.display()))?
            }
            Err(error) if error.kind() == ErrorKind::NotFound => Notes::new(),
            Err(error) => return Err(format!("{}: {error}", path.display())),
        };
        Ok(Self { path, store, notes: Mutex::new(notes) })
    }

    pub async fn note_of(&self, tenant: &TenantId) -> Note {
        self.notes.lock().await.get(tenant.as_str()).cloned().unwrap_or_default()
    }

    /// Closes the fence of every book that cannot be the one that was served from here last, and says why.
    pub async fn guard(&self, tenants: &[TenantId]) -> Result<Vec<String>, String> {
        let home = self.store.home().await.map_err(|error| error.to_string())?;
        if !home.is_same() {
            // A copy is at home only once every book in it is fenced, and a book that is not served cannot be written.
            let books = self.store.tenants().await.map_err(|error| error.to_string())?;
            if let Some(other) = books.iter().find(|id| !tenants.contains(id)) {
                return Err(format!(
                    "this database is a copy and has a book of {other}, which the configuration does not name"
                ));
            }
        }
        let mut reasons = Vec::new();
        for tenant in tenants {
            let (entries, _) = self.store.head(tenant).await.map_err(|error| error.to_string())?;
            let note = self.note_of(tenant).await;
            let reason = if self.is_behind(tenant, entries, &note).await? {
                format!("{tenant}: the book has {entries} records, it had {}, or others", note.entries)
            } else if entries > 0 && !home.is_same() {
                let was = home.recorded.as_deref().unwrap_or("nowhere");
                format!("{tenant}: the database is a copy: it is {}, it was {was}", home.actual)
            } else {
                continue;
            };
            self.close(tenant, &note).await?;
            let mut notes = self.notes.lock().await;
            keep_lost(notes.entry(tenant.to_string()).or_default());
            reasons.push(reason);
        }
        // Only when the fences are closed is this its home: a crash before that finds them open again.
        if !home.is_same() {
            self.store.settle().await.map_err(|error| error.to_string())?;
        }
        for tenant in tenants {
            self.note(tenant).await?;
        }
        // Moved elsewhere while this was looking: not served from.
        self.store.home().await.map_err(|error| error.to_string())?;
        Ok(reasons)
    }

    async fn is_behind(&self, tenant: &TenantId, entries: u64, note: &Note) -> Result<bool, String> {
        let Some(last) = note.entries.checked_sub(1) else { return Ok(false) };
        if entries < note.entries {
            return Ok(true);
        }
        let leaves = self.store.leaves(tenant, last, 1).await.map_err(|error| error.to_string())?;
        Ok(leaves.first() != note.last_leaf.as_ref())
    }

    /// The fence, and the stops that the book forgot.
    async fn close(&self, tenant: &TenantId, note: &Note) -> Result<(), String> {
        let mut scopes = vec![Scope::Fence];
        for stop in &note.stops {
            scopes.push(stop.parse().map_err(|_| format!("{}: `{stop}` is no scope", self.path.display()))?);
        }
        let caller = service(tenant, "restore").map_err(|error| error.to_string())?.caller;
        for scope in scopes {
            let command = Command::Gate { scope, to: GateState::Closed };
            let work = Work::new(Request { caller: caller.clone(), command }, Vec::new());
            self.store.run(tenant, work).await.map_err(|error| error.to_string())?;
        }
        Ok(())
    }

    /// The fence of a book was lifted: what was lost is accounted for.
    pub async fn accept(&self, tenant: &TenantId) -> Result<(), String> {
        if let Some(note) = self.notes.lock().await.get_mut(tenant.as_str()) {
            *note = Note::default();
        }
        self.note(tenant).await
    }

    async fn look(&self, tenant: &TenantId) -> Result<Note, String> {
        let gates = self.store.closed_gates(tenant).await.map_err(|error| error.to_string())?;
        let (entries, _) = self.store.head(tenant).await.map_err(|error| error.to_string())?;
        let last_leaf = match entries.checked_sub(1) {
            Some(last) => self.store.leaves(tenant, last, 1).await.map_err(|error| error.to_string())?.first().copied(),
            None => None,
        };
        let stops = gates.iter().filter(|gate| gate.scope != Scope::Fence).map(|gate| gate.scope.to_string()).collect();
        let is_fenced = gates.iter().any(|gate| gate.scope == Scope::Fence);
        Ok(Note { entries, last_leaf, stops, lost: is_fenced.then_some(0) })
    }

    /// A new file in the place of the old one: whoever reads it finds one or the other, whole.
    fn write(&self, notes: &Notes) -> Result<(), String> {
        let say = |error: std::io::Error| format!("{}: {error}", self.path.display());
        let mut new = self.path.as_os_str().to_owned();
        // A service and a `restore` beside it write at once: neither takes the other's file away.
        new.push(format!(".new-{}", std::process::id()));
        let text = serde_json::to_vec_pretty(notes).map_err(|error| error.to_string())?;
        let mut file = std::fs::File::create(&new).map_err(say)?;
        file.write_all(&text).and_then(|()| file.sync_all()).map_err(say)?;
        std::fs::rename(&new, &self.path).map_err(say)?;
        let folder = self.path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        std::fs::File::open(folder).and_then(|folder| folder.sync_all()).map_err(say)
    }
}

#[async_trait]
impl Outside for NoteFile {
    async fn note(&self, tenant: &TenantId) -> Result<(), String> {
        // Looked at under the lock: a later note never says less.
        let mut notes = self.notes.lock().await;
        let known = notes.get(tenant.as_str()).cloned().unwrap_or_default();
        let (entries, _) = self.store.head(tenant).await.map_err(|error| error.to_string())?;
        // Set back under a running service: the lanes would go on as if nothing were missing.
        if known.lost.is_none() && self.is_behind(tenant, entries, &known).await? {
            tracing::error!(%tenant, entries, had = known.entries, "the book was set back; it is fenced");
            self.close(tenant, &known).await?;
            keep_lost(notes.entry(tenant.to_string()).or_default());
        }
        let found = self.look(tenant).await?;
        // Accounted for, by whoever lifted the fence.
        let lost = notes.get(tenant.as_str()).and_then(|note| note.lost).filter(|_| found.lost.is_some());
        let next = Note { lost, ..found };
        let mut all = notes.clone();
        all.insert(tenant.to_string(), next);
        if all != *notes || !self.path.exists() {
            self.write(&all)?;
            *notes = all;
        }
        Ok(())
    }
}

fn keep_lost(note: &mut Note) {
    note.lost = Some(note.lost.unwrap_or(0).max(note.entries));
}

/// Follows the books until the service stops.
pub async fn follow(engine: Arc<Engine>, file: Arc<NoteFile>, mut stopped: watch::Receiver<bool>) {
    loop {
        for tenant in engine.tenants() {
            if let Err(why) = file.note(&tenant.id).await {
                tracing::warn!(tenant = %tenant.id, "no note of the book outside of the database: {why}");
            }
        }
        tokio::select! {
            () = tokio::time::sleep(FOLLOW) => {}
            _ = stopped.wait_for(|stopped| *stopped) => return,
        }
    }
}
