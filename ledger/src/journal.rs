//! The append-only journal as a Merkle tree (RFC 6962 section 2.1, SHA-256). The head keeps only the frontier: the
//! roots of the perfect subtrees, at most one a bit of the size.

use sha2::{Digest as _, Sha256};

use crate::codec::{Canon, canon_struct};
use crate::id::{Digest, TenantSecret};

/// A tenant's secret that salts its leaves, so that a published root or proof says nothing about a guessed record.
#[derive(Clone, Debug)]
pub struct SaltKey(TenantSecret);

impl SaltKey {
    pub const fn new(bytes: [u8; 32]) -> Self {
        Self(TenantSecret::new(bytes))
    }

    /// A function of the place alone: two stores that hold the same records have the same root.
    pub fn salt(&self, seq: u64) -> [u8; 32] {
        let mut bytes = b"purser/journal-salt/1".to_vec();
        seq.write(&mut bytes);
        self.0.mac(&bytes)
    }
}

/// RFC 6962 leaf: SHA-256(0x00 || data); the data is the salt followed by the record.
pub fn leaf(salt: &[u8; 32], record: &[u8]) -> Digest {
    let mut hash = Sha256::new();
    hash.update([0]);
    hash.update(salt);
    hash.update(record);
    Digest(hash.finalize().into())
}

pub(crate) fn node(left: &Digest, right: &Digest) -> Digest {
    let mut hash = Sha256::new();
    hash.update([1]);
    hash.update(left.0);
    hash.update(right.0);
    Digest(hash.finalize().into())
}

/// The right edge of the tree.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Frontier {
    size: u64,
    /// Largest subtree first.
    peaks: Vec<Digest>,
}
canon_struct!(Frontier { size, peaks });

impl Frontier {
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// Adds a leaf. The size cannot overflow: at a million records a second it would take half a million years.
    pub fn push(&mut self, leaf: Digest) {
        let mut peak = leaf;
        for _ in 0..self.size.trailing_ones() {
            if let Some(left) = self.peaks.pop() {
                peak = node(&left, &peak);
            }
        }
        self.peaks.push(peak);
        self.size = self.size.saturating_add(1);
    }

    /// RFC 6962 tree head; of an empty tree, the hash of nothing.
    pub fn root(&self) -> Digest {
        let mut peaks = self.peaks.iter().rev();
        let Some(last) = peaks.next() else { return Digest(Sha256::digest([]).into()) };
        peaks.fold(*last, |right, left| node(left, &right))
    }

    /// A frontier read back must have as many peaks as its size has ones.
    pub fn is_sound(&self) -> bool {
        u32::try_from(self.peaks.len()) == Ok(self.size.count_ones())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 6962 section 2.1, word by word, as a second opinion on the frontier.
    fn root_by_definition(leaves: &[Digest]) -> Digest {
        match leaves {
            [] => Digest(Sha256::digest([]).into()),
            [one] => *one,
            many => {
                let split = many.len().next_power_of_two() / 2;
                let (left, right) = many.split_at(split);
                node(&root_by_definition(left), &root_by_definition(right))
            }
        }
    }

    #[test]
    fn the_frontier_gives_the_root_of_rfc_6962_at_every_size() {
        let mut frontier = Frontier::default();
        let mut leaves = Vec::new();
        for number in 0..200_u64 {
            assert_eq!(frontier.root(), root_by_definition(&leaves), "at size {number}");
            assert!(frontier.is_sound());
            let next = leaf(&[7; 32], &number.to_be_bytes());
            leaves.push(next);
            frontier.push(next);
        }
    }

    #[test]
    fn the_root_is_that_of_the_certificate_transparency_test_tree() {
        // Leaves and roots of the reference tree that RFC 6962 implementations share; a leaf there has no salt.
        let plain = |data: &[u8]| {
            let mut hash = Sha256::new();
            hash.update([0]);
            hash.update(data);
            Digest(hash.finalize().into())
        };
        let mut frontier = Frontier::default();
        assert_eq!(frontier.root().to_string(), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
        frontier.push(plain(b""));
        assert_eq!(frontier.root().to_string(), "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d");
        frontier.push(plain(&[0]));
        assert_eq!(frontier.root().to_string(), "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125");
        frontier.push(plain(&[0x10]));
        assert_eq!(frontier.root().to_string(), "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77");
    }

    #[test]
    fn a_salt_depends_on_key_and_place() {
        let (one, two) = (SaltKey::new([1; 32]), SaltKey::new([2; 32]));
        assert_ne!(one.salt(1), one.salt(2));
        assert_ne!(one.salt(1), two.salt(1));
        assert_ne!(leaf(&one.salt(1), b"x"), leaf(&one.salt(1), b"y"));
    }
}
