//! `purser ledger checkpoint | prove | consistency`: what pins the journal from outside, and `purser verify --proof`, which
//! checks it offline, with nothing but the log's public key.

use std::ops::Range;
use std::path::{Path, PathBuf};

use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};
use clap::Args;
use ledger::checkpoint::{Checkpoint, Growth, NoteError, RecordProof, TEXT_BYTES_MAX, VerifierKey};
use ledger::effects::Effects;
use ledger::gate::{GateState, Scope};
use ledger::id::{Digest, TenantId};
use ledger::journal::Frontier;
use ledger::proof::{Folder, consistency, inclusion};
use ledger::store::Store;
use serde_json::json;
use store::{Schema, SqlStore};

use crate::assembly::{issuer, open_store, salts};
use crate::config::Config;
use crate::keys::{Purpose, Ring, Slot};
use crate::ledger::{record_json, record_line};
use crate::operate::ring;
use crate::verify::Judged;

/// Leaves read at once.
const PAGE: u32 = 1_000;

#[derive(Debug, Args)]
pub struct LedgerTenant {
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,
    /// May be left out where the configuration has one tenant.
    #[arg(long)]
    pub tenant: Option<String>,
}

impl LedgerTenant {
    /// The configuration, and which of its tenants is meant.
    pub fn read(&self) -> Result<(Config, String), String> {
        let config = Config::read(&self.config).map_err(|error| error.to_string())?;
        let names = || config.tenants.iter().map(|tenant| tenant.id.as_str()).collect::<Vec<_>>().join(", ");
        let id = match (&self.tenant, &config.tenants[..]) {
            (Some(id), _) if config.tenant(id).is_some() => id.clone(),
            (Some(id), _) => return Err(format!("there is no tenant {id}; there are: {}", names())),
            (None, [one]) => one.id.clone(),
            (None, _) => return Err(format!("name one with --tenant: {}", names())),
        };
        Ok((config, id))
    }
}

#[derive(Debug, Args)]
pub struct CheckpointArgs {
    #[command(flatten)]
    pub of: LedgerTenant,
    /// Print the public key that verifies checkpoints instead.
    #[arg(long)]
    pub key: bool,
}

#[derive(Debug, Args)]
pub struct ProveArgs {
    #[command(flatten)]
    pub of: LedgerTenant,
    /// The last record of this spend.
    #[arg(long, value_name = "ID", required_unless_present = "record")]
    pub spend: Option<String>,
    /// A record by its number.
    #[arg(long, value_name = "N", conflicts_with = "spend")]
    pub record: Option<u64>,
}

#[derive(Debug, Args)]
pub struct ConsistencyArgs {
    #[command(flatten)]
    pub of: LedgerTenant,
    /// A file with the earlier checkpoint.
    #[arg(long, value_name = "FILE")]
    pub from: PathBuf,
}

/// A tenant's journal, open, with the key that signs for it.
pub(crate) struct Log {
    pub tenant: TenantId,
    pub ring: Ring,
    slot: Slot,
    pub store: SqlStore,
    pub config: Config,
    key: VerifierKey,
}

impl Log {
    pub async fn open(of: &LedgerTenant) -> Result<Self, String> {
        let say = |error: &dyn std::fmt::Display| error.to_string();
        let (config, id) = of.read()?;
        let ring = ring(&config, Schema::Refuse).await?;
        let store = open_store(&config, &ring, Schema::Refuse).await.map_err(|error| say(&error))?;
        let slot = Slot::new(&id, Purpose::Journal);
        let tenant = id.parse().map_err(|_| format!("{id} is no tenant"))?;
        // A log is named by a URL without its scheme.
        let url = issuer(&config, &id);
        let name = url.split_once("://").map_or(url.as_str(), |(_, rest)| rest);
        let key = ring.active(&slot).and_then(|key| key.verifier(name)).map_err(|error| say(&error))?;
        Ok(Self { tenant, ring, slot, store, config, key })
    }

    /// Where the journal stands now, signed.
    async fn checkpoint(&self) -> Result<(Checkpoint, String), String> {
        let (size, root) = self.store.head(&self.tenant).await.map_err(|error| error.to_string())?;
        let checkpoint = Checkpoint { origin: self.key.name.clone(), size, root };
        let note = self.sign(&checkpoint)?;
        Ok((checkpoint, note))
    }

    fn sign(&self, checkpoint: &Checkpoint) -> Result<String, String> {
        let signature = self.ring.active(&self.slot).and_then(|key| key.sign_note(&checkpoint.text()));
        Ok(checkpoint.signed(&self.key, &signature.map_err(|error| error.to_string())?))
    }

    /// Where the journal stood when it had so many records, signed.
    pub async fn checkpoint_of(&self, size: u64) -> Result<String, String> {
        let mut frontier = Frontier::default();
        while frontier.size() < size {
            let page =
                self.store.leaves(&self.tenant, frontier.size(), PAGE).await.map_err(|error| error.to_string())?;
            if page.is_empty() {
                return Err(format!("a journal of {size} records was expected, {} are there", frontier.size()));
            }
            page.into_iter().zip(frontier.size()..size).for_each(|(leaf, _)| frontier.push(leaf));
        }
        self.sign(&Checkpoint { origin: self.key.name.clone(), size, root: frontier.root() })
    }

    /// Records up to the one that closed the fence which is closed now: what came after it was written behind it.
    async fn known(&self) -> Result<u64, String> {
        let (mut from, mut fenced) = (0, None);
        loop {
            let page = self.store.records(&self.tenant, from, PAGE).await.map_err(|error| error.to_string())?;
            let Some((last, _)) = page.last() else { return Ok(fenced.unwrap_or(from)) };
            from = last.seq.saturating_add(1);
            for (entry, effects) in &page {
                match effects.gate.as_ref().filter(|gate| gate.scope == Scope::Fence).map(|gate| gate.state) {
                    Some(GateState::Closed) => fenced = fenced.or(Some(entry.seq)),
                    Some(GateState::Open) => fenced = None,
                    None => {}
                }
            }
        }
    }

    /// The hashes of these subtrees, from the leaves of a tree of this size.
    async fn fold(&self, wanted: Vec<Range<u64>>, size: u64) -> Result<Vec<Digest>, String> {
        let (mut folder, mut next) = (Folder::new(wanted), 0_u64);
        while next < size {
            let page = self.store.leaves(&self.tenant, next, PAGE).await.map_err(|error| error.to_string())?;
            if page.is_empty() {
                break;
            }
            for leaf in page.into_iter().zip(next..size).map(|(leaf, _)| leaf) {
                folder.push(leaf);
                next += 1;
            }
        }
        folder.finish().ok_or_else(|| format!("the journal has {next} leaves, its head says {size}"))
    }
}

pub async fn checkpoint(args: &CheckpointArgs) -> Result<(), String> {
    let log = Log::open(&args.of).await?;
    if args.key {
        println!("{}", log.key);
    } else {
        print!("{}", log.checkpoint().await?.1);
    }
    Ok(())
}

pub async fn prove(args: &ProveArgs) -> Result<(), String> {
    let log = Log::open(&args.of).await?;
    let index = match (&args.spend, args.record) {
        (Some(spend), _) => {
            let id = spend.parse().map_err(|_| format!("{spend} is no id of a spend"))?;
            let records = log.store.records_of_spend(&log.tenant, id).await.map_err(|error| error.to_string())?;
            records.last().map(|(entry, _)| entry.seq).ok_or_else(|| format!("no record speaks of spend {spend}"))?
        }
        (None, Some(record)) => record,
        (None, None) => return Err("--spend ID or --record N is needed".to_owned()),
    };
    let (checkpoint, note) = log.checkpoint().await?;
    let wanted = inclusion(index, checkpoint.size).map_err(|error| error.to_string())?;
    let hashes = log.fold(wanted, checkpoint.size).await?;
    let found = log.store.records(&log.tenant, index, 1).await.map_err(|error| error.to_string())?;
    let record = found.into_iter().next().map(|(entry, _)| entry.bytes);
    let record = record.ok_or_else(|| format!("record {index} is not there"))?;
    let salts = salts(&log.config, &log.ring).map_err(|error| error.to_string())?;
    let salt = salts.get(&log.tenant).ok_or("the tenant has no salt")?.salt(index);
    print!("{}", RecordProof { salt, record, index, hashes, note }.to_text());
    Ok(())
}

/// How a book stands to a checkpoint of it that was kept elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compared {
    /// Every record of the checkpoint is in the book, in its place.
    Contained { size: u64 },
    /// The book has fewer than the checkpoint. Its fence is a record of its own, which does not count.
    Behind { size: u64, entries: u64 },
}

/// `None` where the checkpoint is another tenant's. One of this tenant's that the book contradicts is an error: it is then
/// another history, not an older one.
pub async fn compare(of: &LedgerTenant, path: &Path) -> Result<Option<Compared>, String> {
    let log = Log::open(of).await?;
    let checkpoint = match Checkpoint::read(&text(path)?, &log.key, is_signed) {
        Ok(checkpoint) => checkpoint,
        Err(_) if of_another(&text(path)?, &log.key.name) => return Ok(None),
        Err(error) => return Err(format!("{}: {error}", path.display())),
    };
    let (size, known) = (checkpoint.size, log.known().await?);
    let mut tree = Frontier::default();
    while tree.size() < size.min(known) {
        let page = log.store.leaves(&log.tenant, tree.size(), PAGE).await.map_err(|error| error.to_string())?;
        if page.is_empty() {
            break;
        }
        let room = usize::try_from(size.min(known) - tree.size()).unwrap_or(usize::MAX);
        page.into_iter().take(room).for_each(|leaf| tree.push(leaf));
    }
    if tree.size() < size {
        return Ok(Some(Compared::Behind { size, entries: tree.size() }));
    }
    if tree.root() != checkpoint.root {
        let (found, expected) = (tree.root(), checkpoint.root);
        return Err(format!("the first {size} records have the root {found}, the checkpoint says {expected}"));
    }
    Ok(Some(Compared::Contained { size }))
}

/// A checkpoint begins with its log's name.
fn of_another(note: &str, name: &str) -> bool {
    note.lines().next() != Some(name)
}

pub async fn grown(args: &ConsistencyArgs) -> Result<(), String> {
    let log = Log::open(&args.of).await?;
    let old = Checkpoint::read(&text(&args.from)?, &log.key, is_signed).map_err(|error| error.to_string())?;
    let (new, note) = log.checkpoint().await?;
    let wanted = consistency(old.size, new.size).map_err(|error| error.to_string())?;
    let growth = Growth { old_size: old.size, hashes: log.fold(wanted, new.size).await?, note };
    // What is not so is said here, not left to whoever reads it.
    growth
        .check(&old, &log.key, is_signed)
        .map_err(|error| format!("the journal does not go on from there: {error}"))?;
    print!("{}", growth.to_text());
    Ok(())
}

fn is_signed(public: &[u8; 32], text: &[u8], signature: &[u8]) -> bool {
    UnparsedPublicKey::new(&ED25519, public).verify(text, signature).is_ok()
}

fn text(path: &Path) -> Result<String, String> {
    let say = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
    let size = std::fs::metadata(path).map_err(|error| say(&error))?.len();
    if usize::try_from(size).map_or(true, |size| size > TEXT_BYTES_MAX) {
        return Err(say(&format!("at most {TEXT_BYTES_MAX} bytes were expected, {size} are there")));
    }
    std::fs::read_to_string(path).map_err(|error| say(&error))
}

/// Offline: a record's proof, or that a journal goes on from an earlier checkpoint.
pub fn verify(proof: &Path, key: &str, earlier: Option<&Path>, as_json: AsJson) -> Result<Judged, String> {
    let key: VerifierKey = key.parse().map_err(|error: NoteError| error.to_string())?;
    let proof = text(proof)?;
    let found = match earlier {
        Some(file) => {
            let old = text(file)?;
            Checkpoint::read(&old, &key, is_signed).and_then(|old| {
                let new = Growth::from_text(&proof)?.check(&old, &key, is_signed)?;
                let line =
                    format!("{}: the journal of {} records goes on from the one of {}", new.origin, new.size, old.size);
                Ok((json!({ "origin": new.origin, "from": old.size, "size": new.size, "root": new.root }), line))
            })
        }
        None => RecordProof::from_text(&proof).and_then(|proof| {
            let checkpoint = proof.check(&key, is_signed)?;
            let effects = Effects::from_bytes(&proof.record);
            let effects = effects.map_err(|_| NoteError::Malformed("a record that this version can read"))?;
            if effects.seq != proof.index {
                return Err(NoteError::Malformed("a record that says its own place"));
            }
            let leaf = ledger::journal::leaf(&proof.salt, &proof.record);
            let entry = ledger::store::JournalEntry { seq: effects.seq, bytes: proof.record.clone(), leaf };
            let of = format!("{} of the {} records of {}", effects.seq, checkpoint.size, checkpoint.origin);
            Ok((record_json(&entry, &effects), format!("record {of}\n{}", record_line(&effects))))
        }),
    };
    let (json, line) = match &found {
        Ok((json, line)) => (json!({ "valid": true, "proved": json }), format!("valid: {line}")),
        Err(error) => (json!({ "valid": false, "reason": error.to_string() }), format!("invalid: {error}")),
    };
    match as_json {
        AsJson::Yes => println!("{json}"),
        AsJson::No => println!("{line}"),
    }
    Ok(if found.is_ok() { Judged::Valid } else { Judged::Invalid })
}

/// For machines, or for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AsJson {
    Yes,
    No,
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;

    use super::*;

    /// The signed note of the specification (c2sp.org/signed-note), with its own key.
    #[test]
    fn the_example_note_of_the_specification_is_signed() {
        let key: VerifierKey = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k".parse().unwrap();
        let line = "Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=";
        let bytes = STANDARD.decode(line).unwrap();
        assert_eq!(bytes[..4], key.id());
        let text = b"This is an example message.\n";
        assert!(is_signed(&key.public, text, &bytes[4..]));
        assert!(!is_signed(&key.public, b"This is an example message?\n", &bytes[4..]));
        assert!(!is_signed(&key.public, text, &bytes[5..]));
        assert!(!is_signed(&[0; 32], text, &bytes[4..]));
    }
}
