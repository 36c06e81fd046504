//! What a journal is pinned by from outside: checkpoints as signed notes, and proofs as files, in the formats of C2SP
//! (`signed-note`, `tlog-checkpoint`, `tlog-proof`, and the request body of `tlog-witness` for consistency). The text is
//! here; who signs and who checks a signature is an argument.

use std::fmt;
use std::str::FromStr;

use sha2::{Digest as _, Sha256};

use crate::id::Digest;
use crate::proof::{ProofError, check_consistency, check_inclusion};

/// Longest note or proof that is read; a proof has at most 64 hashes, and a record fits beside them.
pub const TEXT_BYTES_MAX: usize = 512 * 1024;
/// Signatures of a note that are looked at, witnesses' among them.
pub const SIGNATURES_MAX: usize = 32;
const PROOF_HEADER: &str = "c2sp.org/tlog-proof@v1";
const ED25519: u8 = 0x01;

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoteError {
    #[error("{0} was expected")]
    Malformed(&'static str),
    #[error("the log {expected} was expected, this is of {found}")]
    Origin { expected: String, found: String },
    #[error("no signature by {0}")]
    Unsigned(String),
    #[error("the signature by {0} is not of this text")]
    BadSignature(String),
    #[error(transparent)]
    Proof(#[from] ProofError),
}

/// A log's public key by the name of the log (`signed-note`, verifier keys; Ed25519).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifierKey {
    pub name: String,
    pub public: [u8; 32],
}

impl VerifierKey {
    /// SHA-256(name, newline, type, key), four bytes of it.
    pub fn id(&self) -> [u8; 4] {
        let hash = Sha256::new().chain_update(self.name.as_bytes()).chain_update([b'\n', ED25519]);
        let hash: [u8; 32] = hash.chain_update(self.public).finalize().into();
        [hash[0], hash[1], hash[2], hash[3]]
    }
}

impl fmt::Display for VerifierKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = [&[ED25519][..], &self.public].concat();
        write!(f, "{}+{}+{}", self.name, hex::encode(self.id()), base64::encode(&key))
    }
}

impl FromStr for VerifierKey {
    type Err = NoteError;

    fn from_str(text: &str) -> Result<Self, NoteError> {
        let wrong = NoteError::Malformed("a verifier key, NAME+ID+KEY,");
        let mut parts = text.trim_end().splitn(3, '+');
        let (Some(name), Some(id), Some(key)) = (parts.next(), parts.next(), parts.next()) else { return Err(wrong) };
        let bytes = base64::decode(key).ok_or_else(|| wrong.clone())?;
        let [ED25519, public @ ..] = &bytes[..] else {
            return Err(NoteError::Malformed("a key of type 1 (Ed25519)"));
        };
        let public: [u8; 32] = public.try_into().map_err(|_| wrong.clone())?;
        let key = Self { name: name.to_owned(), public };
        // The id says nothing that the rest does not; one that contradicts it is another key's.
        if !is_key_name(name) || hex::encode(key.id()) != id { Err(wrong) } else { Ok(key) }
    }
}

fn is_key_name(name: &str) -> bool {
    !name.is_empty() && !name.contains(|c: char| c.is_whitespace() || c.is_control() || c == '+')
}

/// The head of a log's tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    pub origin: String,
    pub size: u64,
    pub root: Digest,
}

impl Checkpoint {
    /// The note's text, with its last newline: what is signed.
    pub fn text(&self) -> String {
        format!("{}\n{}\n{}\n", self.origin, self.size, base64::encode(&self.root.0))
    }

    /// The signed note.
    pub fn signed(&self, key: &VerifierKey, signature: &[u8; 64]) -> String {
        let line = base64::encode(&[&key.id()[..], signature].concat());
        format!("{}\n\u{2014} {} {line}\n", self.text(), key.name)
    }

    /// Reads a note and has the signature of the expected log checked; others' are passed over.
    pub fn read(
        note: &str,
        key: &VerifierKey,
        check: impl Fn(&[u8; 32], &[u8], &[u8]) -> bool,
    ) -> Result<Self, NoteError> {
        let shape = || NoteError::Malformed("a signed checkpoint (c2sp.org/tlog-checkpoint)");
        let has_control = note.chars().any(|c| c != '\n' && c < ' ');
        if note.len() > TEXT_BYTES_MAX || has_control {
            return Err(shape());
        }
        let (text, signatures) = note.rsplit_once("\n\n").ok_or_else(shape)?;
        let text = format!("{text}\n");
        let mut lines = text.lines();
        let (Some(origin), Some(size), Some(root)) = (lines.next(), lines.next(), lines.next()) else {
            return Err(shape());
        };
        let root = base64::decode(root).and_then(|bytes| bytes.try_into().ok()).map(Digest).ok_or_else(shape)?;
        let found = Self { origin: origin.to_owned(), size: number(size).ok_or_else(shape)?, root };
        if found.origin != key.name {
            return Err(NoteError::Origin { expected: key.name.clone(), found: found.origin });
        }
        let mut is_signed = false;
        for line in signatures.lines().take(SIGNATURES_MAX) {
            let (name, signature) =
                line.strip_prefix("\u{2014} ").and_then(|rest| rest.split_once(' ')).ok_or_else(shape)?;
            let bytes = base64::decode(signature).ok_or_else(shape)?;
            let Some((id, signature)) = bytes.split_at_checked(4) else { return Err(shape()) };
            if name != key.name || id != key.id() {
                continue;
            }
            if !check(&key.public, text.as_bytes(), signature) {
                return Err(NoteError::BadSignature(name.to_owned()));
            }
            is_signed = true;
        }
        if is_signed { Ok(found) } else { Err(NoteError::Unsigned(key.name.clone())) }
    }
}

/// No sign, no leading zero.
fn number(text: &str) -> Option<u64> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    if plain { text.parse().ok() } else { None }
}

/// A record in a log, provable offline (`c2sp.org/tlog-proof`). The extra data are the salt and the record, from which the
/// leaf follows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordProof {
    pub salt: [u8; 32],
    pub record: Vec<u8>,
    pub index: u64,
    pub hashes: Vec<Digest>,
    /// The signed checkpoint, as it was given.
    pub note: String,
}

impl RecordProof {
    pub fn to_text(&self) -> String {
        let extra = base64::encode(&[&self.salt[..], &self.record].concat());
        let hashes: String = self.hashes.iter().map(|hash| format!("{}\n", base64::encode(&hash.0))).collect();
        format!("{PROOF_HEADER}\nextra {extra}\nindex {}\n{hashes}\n{}", self.index, self.note)
    }

    pub fn from_text(text: &str) -> Result<Self, NoteError> {
        let shape = || NoteError::Malformed("a record's proof (c2sp.org/tlog-proof@v1, with the record as extra data)");
        if text.len() > TEXT_BYTES_MAX {
            return Err(shape());
        }
        let (head, note) = text.split_once("\n\n").ok_or_else(shape)?;
        let mut lines = head.lines();
        if lines.next() != Some(PROOF_HEADER) {
            return Err(shape());
        }
        let extra = lines.next().and_then(|line| line.strip_prefix("extra ")).and_then(base64::decode);
        let extra = extra.ok_or_else(shape)?;
        let (salt, record) = extra.split_first_chunk::<32>().ok_or_else(shape)?;
        let index = lines.next().and_then(|line| line.strip_prefix("index ")).and_then(number).ok_or_else(shape)?;
        let hashes = hashes(lines).ok_or_else(shape)?;
        Ok(Self { salt: *salt, record: record.to_vec(), index, hashes, note: note.to_owned() })
    }

    /// Leaf, path and signature: the checkpoint that the record is in.
    pub fn check(
        &self,
        key: &VerifierKey,
        check: impl Fn(&[u8; 32], &[u8], &[u8]) -> bool,
    ) -> Result<Checkpoint, NoteError> {
        let checkpoint = Checkpoint::read(&self.note, key, check)?;
        let leaf = crate::journal::leaf(&self.salt, &self.record);
        check_inclusion(leaf, self.index, checkpoint.size, &self.hashes, checkpoint.root)?;
        Ok(checkpoint)
    }
}

fn hashes<'a>(lines: impl Iterator<Item = &'a str>) -> Option<Vec<Digest>> {
    let hash = |line: &str| base64::decode(line)?.try_into().ok().map(Digest);
    let hashes: Vec<Digest> = lines.map(hash).collect::<Option<_>>()?;
    Some(hashes).filter(|hashes| hashes.len() <= 64)
}

/// That a later checkpoint goes on from an earlier one, as a witness is told it (`c2sp.org/tlog-witness`, add-checkpoint).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Growth {
    pub old_size: u64,
    pub hashes: Vec<Digest>,
    pub note: String,
}

impl Growth {
    pub fn to_text(&self) -> String {
        let hashes: String = self.hashes.iter().map(|hash| format!("{}\n", base64::encode(&hash.0))).collect();
        format!("old {}\n{hashes}\n{}", self.old_size, self.note)
    }

    pub fn from_text(text: &str) -> Result<Self, NoteError> {
        let shape = || NoteError::Malformed("a proof of consistency (old SIZE, hashes, a checkpoint)");
        if text.len() > TEXT_BYTES_MAX {
            return Err(shape());
        }
        let (head, note) = text.split_once("\n\n").ok_or_else(shape)?;
        let mut lines = head.lines();
        let old_size = lines.next().and_then(|line| line.strip_prefix("old ")).and_then(number).ok_or_else(shape)?;
        Ok(Self { old_size, hashes: hashes(lines).ok_or_else(shape)?, note: note.to_owned() })
    }

    /// The later checkpoint, where it is signed and goes on from this earlier one.
    pub fn check(
        &self,
        old: &Checkpoint,
        key: &VerifierKey,
        check: impl Fn(&[u8; 32], &[u8], &[u8]) -> bool,
    ) -> Result<Checkpoint, NoteError> {
        let new = Checkpoint::read(&self.note, key, check)?;
        if self.old_size != old.size {
            return Err(NoteError::Malformed("a proof from the size of the earlier checkpoint"));
        }
        check_consistency(old.size, old.root, new.size, new.root, &self.hashes)?;
        Ok(new)
    }
}

/// RFC 4648 section 4, padded; one text a value.
mod base64 {
    use ::base64::Engine as _;
    use ::base64::engine::general_purpose::STANDARD;

    pub fn encode(bytes: &[u8]) -> String {
        STANDARD.encode(bytes)
    }

    pub fn decode(text: &str) -> Option<Vec<u8>> {
        STANDARD.decode(text).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::{Frontier, leaf};
    use crate::proof::{Folder, consistency, inclusion};

    fn key() -> VerifierKey {
        VerifierKey { name: "example.com/log".to_owned(), public: [5; 32] }
    }

    /// A signature that is the hash of the text, twice: enough to see that the right text is checked.
    fn sign(text: &str) -> [u8; 64] {
        let hash = Digest::of(text.as_bytes()).0;
        [hash, hash].concat().try_into().unwrap()
    }

    fn accept(public: &[u8; 32], text: &[u8], signature: &[u8]) -> bool {
        public == &[5; 32] && signature == sign(std::str::from_utf8(text).unwrap())
    }

    fn tree(size: u64) -> (Vec<Digest>, Checkpoint) {
        let leaves: Vec<Digest> = (0..size).map(|number| leaf(&[7; 32], &number.to_be_bytes())).collect();
        let mut frontier = Frontier::default();
        leaves.iter().for_each(|leaf| frontier.push(*leaf));
        (leaves, Checkpoint { origin: "example.com/log".to_owned(), size, root: frontier.root() })
    }

    fn note(checkpoint: &Checkpoint) -> String {
        checkpoint.signed(&key(), &sign(&checkpoint.text()))
    }

    fn fold(ranges: Vec<std::ops::Range<u64>>, leaves: &[Digest]) -> Vec<Digest> {
        let mut folder = Folder::new(ranges);
        leaves.iter().for_each(|leaf| folder.push(*leaf));
        folder.finish().unwrap()
    }

    /// The key of the specification's example (c2sp.org/signed-note): its id follows from name and key.
    #[test]
    fn the_example_key_of_the_specification_is_read_and_written() {
        let text = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k";
        let key: VerifierKey = text.parse().unwrap();
        assert_eq!((key.to_string().as_str(), hex::encode(key.id()).as_str()), (text, "530d903a"));
        for wrong in [
            "example.com/foo+530d903b+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k",
            "example.com/fop+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k",
            "example.com/foo+530d903a+AukyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k",
            "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U",
            "example.com/foo+530d903a",
            "+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k",
            "",
        ] {
            assert!(wrong.parse::<VerifierKey>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_checkpoint_is_what_was_signed_and_nothing_else() {
        let checkpoint = tree(12).1;
        let good = note(&checkpoint);
        assert_eq!(Checkpoint::read(&good, &key(), accept), Ok(checkpoint.clone()));
        let other = VerifierKey { name: "example.com/other".to_owned(), ..key() };
        assert!(matches!(Checkpoint::read(&good, &other, accept), Err(NoteError::Origin { .. })));
        let rekeyed = VerifierKey { public: [6; 32], ..key() };
        assert!(matches!(Checkpoint::read(&good, &rekeyed, accept), Err(NoteError::Unsigned(_))));
        let forged = good.replacen("\n12\n", "\n13\n", 1);
        assert!(matches!(Checkpoint::read(&forged, &key(), accept), Err(NoteError::BadSignature(_))));
        for wrong in [
            good.replacen("\n12\n", "\n012\n", 1),
            good.replacen("\n12\n", "\n+12\n", 1),
            good.replacen("\n12\n", "\n-1\n", 1),
            good.replace("\n\n", "\n"),
            good.replace('\u{2014}', "-"),
            good.replacen('\n', "\r\n", 1),
            String::new(),
            "\n\n".to_owned(),
        ] {
            assert!(Checkpoint::read(&wrong, &key(), accept).is_err(), "{wrong:?}");
        }
        // A witness's line beside it is passed over, and does not stand in for the log's.
        let line = good.lines().last().unwrap().replace("example.com/log", "witness.example");
        assert_eq!(Checkpoint::read(&format!("{good}{line}\n"), &key(), accept), Ok(checkpoint.clone()));
        let alone = format!("{}\n{line}\n", checkpoint.text());
        assert!(matches!(Checkpoint::read(&alone, &key(), accept), Err(NoteError::Unsigned(_))));
    }

    #[test]
    fn a_record_is_proved_from_one_file() {
        let (leaves, checkpoint) = tree(12);
        let (index, record) = (5_u64, 5_u64.to_be_bytes().to_vec());
        let hashes = fold(inclusion(index, 12).unwrap(), &leaves);
        let proof = RecordProof { salt: [7; 32], record, index, hashes, note: note(&checkpoint) };
        let text = proof.to_text();
        assert_eq!(RecordProof::from_text(&text), Ok(proof.clone()));
        assert_eq!(proof.check(&key(), accept), Ok(checkpoint.clone()));
        let other = RecordProof { record: vec![0; 8], ..proof.clone() };
        assert!(matches!(other.check(&key(), accept), Err(NoteError::Proof(ProofError::Root { .. }))));
        assert!(RecordProof { index: 6, ..proof.clone() }.check(&key(), accept).is_err());
        assert!(RecordProof { salt: [8; 32], ..proof.clone() }.check(&key(), accept).is_err());
        for wrong in
            [text.replace("@v1", "@v2"), text.replace("index 5", "index 05"), text.replace("extra ", ""), String::new()]
        {
            assert!(RecordProof::from_text(&wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_later_checkpoint_goes_on_from_the_earlier_one() {
        let (leaves, new) = tree(12);
        let old = tree(7).1;
        let hashes = fold(consistency(7, 12).unwrap(), &leaves);
        let growth = Growth { old_size: 7, hashes, note: note(&new) };
        assert_eq!(Growth::from_text(&growth.to_text()), Ok(growth.clone()));
        assert_eq!(growth.check(&old, &key(), accept), Ok(new));
        let rewritten = Checkpoint { root: Digest([1; 32]), ..old.clone() };
        assert!(matches!(growth.check(&rewritten, &key(), accept), Err(NoteError::Proof(ProofError::Root { .. }))));
        assert!(growth.check(&tree(8).1, &key(), accept).is_err());
    }
}
