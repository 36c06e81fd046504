//! Proofs about the journal's tree (RFC 6962 section 2.1; verification as in RFC 9162 sections 2.1.3.2 and 2.1.4.2): that a
//! record is in it, and that a later tree goes on from an earlier one. A proof is the hashes of subtrees; which ones is
//! a function of sizes alone, and they are folded while the leaves go by once, from the first to the last.

use std::ops::Range;

use crate::id::Digest;
use crate::journal::{Frontier, node};

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    #[error("record {index} is not in a tree of {size}")]
    OutOfTree { index: u64, size: u64 },
    #[error("a tree of {old} does not come before one of {new}")]
    NotBefore { old: u64, new: u64 },
    #[error("a proof of {expected} hashes was expected, {found} are there")]
    Length { expected: usize, found: usize },
    #[error("the proof leads to the root {found}, {expected} was signed")]
    Root { expected: Digest, found: Digest },
}

/// The largest power of two below a size; the left subtree of an RFC 6962 tree has so many leaves.
const fn split(size: u64) -> u64 {
    size.next_power_of_two() / 2
}

/// The subtrees whose hashes prove that a record is in a tree of this size: its sibling first, the root's child last.
pub fn inclusion(index: u64, size: u64) -> Result<Vec<Range<u64>>, ProofError> {
    if index >= size {
        return Err(ProofError::OutOfTree { index, size });
    }
    let (mut low, mut high) = (0, size);
    let mut siblings = Vec::new();
    while high - low > 1 {
        let middle = low + split(high - low);
        if index < middle {
            siblings.push(middle..high);
            high = middle;
        } else {
            siblings.push(low..middle);
            low = middle;
        }
    }
    siblings.reverse();
    Ok(siblings)
}

/// The subtrees whose hashes prove that a tree of `new` leaves begins with the one of `old`.
pub fn consistency(old: u64, new: u64) -> Result<Vec<Range<u64>>, ProofError> {
    if old == 0 || old > new {
        return Err(ProofError::NotBefore { old, new });
    }
    let (mut low, mut high) = (0, new);
    let mut hashes = Vec::new();
    // Whether the subtree that is left is the whole old tree, which the verifier has already.
    let mut is_whole = true;
    while old != high {
        let middle = low + split(high - low);
        if old <= middle {
            hashes.push(middle..high);
            high = middle;
        } else {
            hashes.push(low..middle);
            low = middle;
            is_whole = false;
        }
    }
    if !is_whole {
        hashes.push(low..high);
    }
    hashes.reverse();
    Ok(hashes)
}

/// Leaves of one block, whose hash may be kept: an append-only tree never changes a full one.
pub const BLOCK_LEAVES: u64 = 1_024;

/// The blocks that a subtree of a tree falls into, in their order: full ones, and one at its end that may be shorter.
pub fn blocks(subtree: &Range<u64>) -> Vec<Range<u64>> {
    let mut blocks = Vec::new();
    let mut from = subtree.start;
    while from < subtree.end {
        let to = from.saturating_add(BLOCK_LEAVES).min(subtree.end);
        blocks.push(from..to);
        from = to;
    }
    blocks
}

/// The hash of a subtree from those of its blocks; `None` where there are none. The blocks of a subtree that is larger than
/// one begin where blocks of the whole tree begin, because every left subtree is a power of two.
pub fn join(blocks: &[Digest]) -> Option<Digest> {
    let mut frontier = Frontier::default();
    blocks.iter().for_each(|block| frontier.push(*block));
    (!blocks.is_empty()).then(|| frontier.root())
}

/// Folds leaves, in their order and each once, into the hashes of the subtrees that were asked for.
pub struct Folder {
    /// In the order of the proof.
    wanted: Vec<(Range<u64>, Frontier)>,
    next: u64,
}

impl Folder {
    pub fn new(wanted: Vec<Range<u64>>) -> Self {
        Self { wanted: wanted.into_iter().map(|range| (range, Frontier::default())).collect(), next: 0 }
    }

    pub fn push(&mut self, leaf: Digest) {
        for (range, frontier) in &mut self.wanted {
            if range.contains(&self.next) {
                frontier.push(leaf);
            }
        }
        self.next = self.next.saturating_add(1);
    }

    /// `None` where leaves are missing.
    pub fn finish(self) -> Option<Vec<Digest>> {
        let is_full = |(range, frontier): &(Range<u64>, Frontier)| frontier.size() == range.end - range.start;
        self.wanted.iter().all(is_full).then(|| self.wanted.iter().map(|(_, frontier)| frontier.root()).collect())
    }
}

/// RFC 9162 section 2.1.3.2.
pub fn check_inclusion(leaf: Digest, index: u64, size: u64, proof: &[Digest], root: Digest) -> Result<(), ProofError> {
    let expected = inclusion(index, size)?.len();
    if proof.len() != expected {
        return Err(ProofError::Length { expected, found: proof.len() });
    }
    let (mut place, mut last, mut hash) = (index, size - 1, leaf);
    for sibling in proof {
        if place & 1 == 1 || place == last {
            hash = node(sibling, &hash);
            while place & 1 == 0 && place != 0 {
                (place, last) = (place >> 1, last >> 1);
            }
        } else {
            hash = node(&hash, sibling);
        }
        (place, last) = (place >> 1, last >> 1);
    }
    if hash == root { Ok(()) } else { Err(ProofError::Root { expected: root, found: hash }) }
}

/// RFC 9162 section 2.1.4.2.
pub fn check_consistency(
    old: u64,
    old_root: Digest,
    new: u64,
    new_root: Digest,
    proof: &[Digest],
) -> Result<(), ProofError> {
    let expected = consistency(old, new)?.len();
    if proof.len() != expected {
        return Err(ProofError::Length { expected, found: proof.len() });
    }
    if old == new {
        let is_same = old_root == new_root;
        return if is_same { Ok(()) } else { Err(ProofError::Root { expected: old_root, found: new_root }) };
    }
    // Where the old tree is a whole subtree of the new one, its root is the first hash.
    let mut hashes = proof.iter();
    let first = if old.is_power_of_two() { Some(&old_root) } else { hashes.next() };
    let Some(first) = first else { return Err(ProofError::Length { expected, found: 0 }) };
    let (mut place, mut last) = (old - 1, new - 1);
    while place & 1 == 1 {
        (place, last) = (place >> 1, last >> 1);
    }
    let (mut from_old, mut from_new) = (*first, *first);
    for hash in hashes {
        if place & 1 == 1 || place == last {
            from_old = node(hash, &from_old);
            from_new = node(hash, &from_new);
            while place & 1 == 0 && place != 0 {
                (place, last) = (place >> 1, last >> 1);
            }
        } else {
            from_new = node(&from_new, hash);
        }
        (place, last) = (place >> 1, last >> 1);
    }
    if from_old != old_root {
        return Err(ProofError::Root { expected: old_root, found: from_old });
    }
    if from_new == new_root { Ok(()) } else { Err(ProofError::Root { expected: new_root, found: from_new }) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::leaf;

    const SIZES: u64 = 70;

    fn leaves(count: u64) -> Vec<Digest> {
        (0..count).map(|number| leaf(&[3; 32], &number.to_be_bytes())).collect()
    }

    fn root(leaves: &[Digest]) -> Digest {
        let mut frontier = Frontier::default();
        leaves.iter().for_each(|leaf| frontier.push(*leaf));
        frontier.root()
    }

    fn fold(wanted: Vec<Range<u64>>, leaves: &[Digest]) -> Vec<Digest> {
        let mut folder = Folder::new(wanted);
        leaves.iter().for_each(|leaf| folder.push(*leaf));
        folder.finish().unwrap()
    }

    /// Every proof with one thing wrong: a hash changed, gone, doubled or out of its place.
    fn wrong(proof: &[Digest]) -> Vec<Vec<Digest>> {
        let mut all = vec![[proof, &[Digest([9; 32])]].concat()];
        for at in 0..proof.len() {
            let mut changed = proof.to_vec();
            changed[at].0[31] ^= 1;
            all.push(changed);
            let mut shorter = proof.to_vec();
            shorter.remove(at);
            all.push(shorter);
            if at > 0 {
                let mut swapped = proof.to_vec();
                swapped.swap(at, at - 1);
                all.push(swapped);
            }
        }
        all
    }

    #[test]
    fn a_subtree_is_the_join_of_its_blocks() {
        assert_eq!(join(&[]), None);
        for size in [1, 2, 1_023, 1_024, 1_025, 2_048, 2_049, 3_100, 4_097, 5_120] {
            let leaves = leaves(size);
            let place = |at: u64| usize::try_from(at).unwrap();
            for index in [0, size / 3, size / 2, size - 1] {
                let wanted = inclusion(index, size).unwrap();
                for (range, hash) in wanted.iter().zip(fold(wanted.clone(), &leaves)) {
                    let hashes: Vec<Digest> =
                        blocks(range).iter().map(|one| root(&leaves[place(one.start)..place(one.end)])).collect();
                    assert_eq!(join(&hashes), Some(hash), "{range:?} of {size}");
                    let mut swapped = hashes.clone();
                    swapped.reverse();
                    assert!(hashes.len() == 1 || join(&swapped) != Some(hash), "{range:?} of {size}");
                }
            }
        }
    }

    #[test]
    fn every_record_of_every_tree_is_proved_and_no_other() {
        for size in 1..SIZES {
            let leaves = leaves(size);
            let root = root(&leaves);
            for (index, leaf) in (0..size).zip(&leaves) {
                let proof = fold(inclusion(index, size).unwrap(), &leaves);
                assert_eq!(check_inclusion(*leaf, index, size, &proof, root), Ok(()), "{index} of {size}");
                for wrong in wrong(&proof) {
                    assert!(check_inclusion(*leaf, index, size, &wrong, root).is_err(), "{index} of {size}");
                }
                let other = leaves[usize::try_from((index + 1) % size).unwrap()];
                assert!(size == 1 || check_inclusion(other, index, size, &proof, root).is_err());
                assert!(check_inclusion(*leaf, index + 1, size, &proof, root).is_err(), "another place");
                assert!(check_inclusion(*leaf, index, size, &proof, Digest([0; 32])).is_err(), "another root");
            }
            assert_eq!(inclusion(size, size), Err(ProofError::OutOfTree { index: size, size }));
        }
    }

    #[test]
    fn every_tree_goes_on_from_every_earlier_one_and_from_no_other() {
        for new in 1..SIZES {
            let leaves = leaves(new);
            let new_root = root(&leaves);
            for old in 1..=new {
                let old_root = root(&leaves[..usize::try_from(old).unwrap()]);
                let proof = fold(consistency(old, new).unwrap(), &leaves);
                assert_eq!(check_consistency(old, old_root, new, new_root, &proof), Ok(()), "{old} to {new}");
                for wrong in wrong(&proof) {
                    assert!(check_consistency(old, old_root, new, new_root, &wrong).is_err(), "{old} to {new}");
                }
                assert!(check_consistency(old, Digest([0; 32]), new, new_root, &proof).is_err());
                assert!(check_consistency(old, old_root, new, Digest([0; 32]), &proof).is_err());
            }
            for old in [0, new + 1] {
                assert_eq!(consistency(old, new), Err(ProofError::NotBefore { old, new }));
            }
        }
    }

    #[test]
    fn a_tree_that_was_rewritten_has_no_proof() {
        let mut leaves = leaves(20);
        let old_root = root(&leaves[..11]);
        leaves[4].0[0] ^= 1;
        let proof = fold(consistency(11, 20).unwrap(), &leaves);
        assert!(matches!(
            check_consistency(11, old_root, 20, root(&leaves), &proof),
            Err(ProofError::Root { expected, .. }) if expected == old_root
        ));
    }

    #[test]
    fn leaves_that_are_missing_make_no_proof() {
        let leaves = leaves(9);
        let mut folder = Folder::new(inclusion(3, 10).unwrap());
        leaves.iter().for_each(|leaf| folder.push(*leaf));
        assert_eq!(folder.finish(), None);
    }
}
