//! What the tables must hold, row by row as the journal goes by, and how that is compared without keeping the rows: a
//! table is the sum of its rows' keyed hashes, whatever their order.
//!
//! The hash is SipHash under keys that this run draws and shows to nobody, so whoever wrote the database could not aim at a
//! sum: two tables that differ have the same one with a chance of 2^-64 at most. (There are two keys, but std draws the second
//! one from the first.)

use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasher as _, RandomState};

use crate::cell::{Cell, Cells};
use crate::connection::Value;
use crate::table::{Growth, Table};

/// Of rows, each with its whole hash; order and grouping do not matter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Sum {
    halves: [u64; 2],
    rows: u64,
}

impl Sum {
    pub fn add(&mut self, other: Self) {
        self.rows = self.rows.wrapping_add(other.rows);
        for (half, more) in self.halves.iter_mut().zip(other.halves) {
            *half = half.wrapping_add(more);
        }
    }

    fn take(&mut self, other: Self) {
        self.rows = self.rows.wrapping_sub(other.rows);
        for (half, less) in self.halves.iter_mut().zip(other.halves) {
            *half = half.wrapping_sub(less);
        }
    }
}

/// The keys of a run.
#[derive(Clone, Default)]
pub(super) struct RowHash([RandomState; 2]);

impl RowHash {
    /// One row. Kinds and lengths are hashed too, so that no two rows are the same bytes.
    pub fn of<'a>(&self, row: impl IntoIterator<Item = Value<'a>>) -> Sum {
        let mut bytes = Vec::with_capacity(256);
        for value in row {
            let (kind, text): (u8, &[u8]) = match value {
                Value::Null => (0, &[]),
                Value::Integer(value) => {
                    bytes.push(1);
                    bytes.extend_from_slice(&value.to_be_bytes());
                    continue;
                }
                Value::Text(text) => (2, text.as_bytes()),
                Value::Blob(blob) => (3, blob),
            };
            bytes.push(kind);
            bytes.extend_from_slice(&text.len().to_be_bytes());
            bytes.extend_from_slice(text);
        }
        Sum { halves: [self.0[0].hash_one(&bytes), self.0[1].hash_one(&bytes)], rows: 1 }
    }

    fn of_cells(&self, row: &[Cell]) -> Sum {
        self.of(row.iter().map(Cell::value))
    }
}

pub(super) struct Expected {
    pub hash: RowHash,
    sums: BTreeMap<&'static str, Sum>,
    /// What the last row of a key added, where a later one takes its place.
    latest: HashMap<Sum, Sum>,
    /// The table whose rows are kept after all: its sum was not the one that is stored.
    wanted: Option<&'static str>,
    pub rows: BTreeMap<Cells, Cells>,
}

impl Expected {
    pub fn new(wanted: Option<&'static Table>) -> Self {
        Self {
            hash: RowHash::default(),
            sums: BTreeMap::new(),
            latest: HashMap::new(),
            wanted: wanted.map(|table| table.name),
            rows: BTreeMap::new(),
        }
    }

    /// A row, or the next one of its key where the table's rows are replaced.
    pub fn put(&mut self, table: &'static Table, row: Cells) {
        let key = row.get(..table.key_columns).unwrap_or(&row);
        let added = self.hash.of_cells(&row);
        let sum = self.sums.entry(table.name).or_default();
        sum.add(added);
        if table.growth == Growth::Replace {
            let key = self.hash.of([Value::Text(table.name)].into_iter().chain(key.iter().map(Cell::value)));
            if let Some(former) = self.latest.insert(key, added) {
                sum.take(former);
            }
        }
        if self.wanted == Some(table.name) {
            self.rows.insert(key.to_vec(), row);
        }
    }

    pub fn sum(&self, table: &Table) -> Sum {
        self.sums.get(table.name).copied().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rows;

    fn row(key: i64, text: &str) -> Cells {
        vec![Cell::Integer(key), Cell::Text(text.to_owned())]
    }

    fn sum_of(hash: &RowHash, rows: &[Cells]) -> Sum {
        let mut sum = Sum::default();
        rows.iter().for_each(|row| sum.add(hash.of_cells(row)));
        sum
    }

    #[test]
    fn a_sum_knows_every_row_and_no_order() {
        let hash = RowHash::default();
        let whole = sum_of(&hash, &[row(1, "a"), row(2, "b"), row(3, "c")]);
        assert_eq!(whole, sum_of(&hash, &[row(3, "c"), row(1, "a"), row(2, "b")]));
        for other in [
            vec![row(1, "a"), row(2, "b")],
            vec![row(1, "a"), row(2, "b"), row(3, "c"), row(3, "c")],
            vec![row(1, "a"), row(2, "c"), row(3, "b")],
            vec![row(1, "a"), row(1, "a"), row(3, "c")],
            vec![row(1, ""), row(2, "ab"), row(3, "c")],
            vec![],
        ] {
            assert_ne!(whole, sum_of(&hash, &other), "{other:?}");
        }
        assert_ne!(whole, sum_of(&RowHash::default(), &[row(1, "a"), row(2, "b"), row(3, "c")]), "another run");
        assert_ne!(
            hash.of_cells(&[Cell::Text("1".to_owned())]),
            hash.of_cells(&[Cell::Blob(b"1".to_vec())]),
            "a kind is part of a cell"
        );
    }

    #[test]
    fn what_takes_a_rows_place_takes_it_out_of_the_sum() {
        let mut expected = Expected::new(None);
        let gate = |scope: &str, state: &str| vec![Cell::text(scope), Cell::text(state), Cell::Blob(vec![1])];
        expected.put(&rows::GATE, gate("a", "closed"));
        expected.put(&rows::GATE, gate("b", "closed"));
        expected.put(&rows::GATE, gate("a", "open"));
        assert_eq!(expected.sum(&rows::GATE), sum_of(&expected.hash, &[gate("a", "open"), gate("b", "closed")]));
        assert_eq!(expected.sum(&rows::SPEND), Sum::default());
    }
}
