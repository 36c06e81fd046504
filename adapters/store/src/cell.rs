//! A value of either engine, without any conversion that could hide a difference, and a row of them.

use std::str::FromStr;

use ledger::account::Balance;
use ledger::codec::{Canon, decode};
use ledger::id::Digest;
use ledger::money::Amount;

use crate::failure::Failure;

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Cell {
    Null,
    Integer(i64),
    Text(String),
    Blob(Vec<u8>),
}

impl Cell {
    /// A number past the engines' integers becomes the largest one: a journal sequence of that size is refused by the
    /// journal's own trigger, and nothing else comes near.
    pub fn number(value: u64) -> Self {
        Self::Integer(i64::try_from(value).unwrap_or(i64::MAX))
    }

    pub fn amount(value: Amount) -> Self {
        Self::Blob(value.to_be_bytes().to_vec())
    }

    pub fn text(value: impl ToString) -> Self {
        Self::Text(value.to_string())
    }

    pub fn blob(value: impl AsRef<[u8]>) -> Self {
        Self::Blob(value.as_ref().to_vec())
    }

    pub fn flag(value: bool) -> Self {
        Self::Integer(i64::from(value))
    }

    pub fn optional<T>(value: Option<T>, cell: impl FnOnce(T) -> Self) -> Self {
        value.map_or(Self::Null, cell)
    }
}

pub(crate) type Cells = Vec<Cell>;

/// What a query gave. Each reader says what it expects, and another thing in its place is a broken store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Row(pub Cells);

impl Row {
    fn other<T>(&self, column: usize, expected: &str) -> Result<T, Failure> {
        let found = match self.0.get(column) {
            None => "no such column",
            Some(Cell::Null) => "nothing",
            Some(Cell::Integer(_)) => "a number",
            Some(Cell::Text(_)) => "a text",
            Some(Cell::Blob(_)) => "bytes",
        };
        Err(Failure::Broken(format!("column {column} was expected to hold {expected}, it holds {found}")))
    }

    pub fn integer(&self, column: usize) -> Result<i64, Failure> {
        match self.0.get(column) {
            Some(Cell::Integer(value)) => Ok(*value),
            _ => self.other(column, "a number"),
        }
    }

    pub fn optional_integer(&self, column: usize) -> Result<Option<i64>, Failure> {
        match self.0.get(column) {
            Some(Cell::Null) => Ok(None),
            _ => self.integer(column).map(Some),
        }
    }

    pub fn number(&self, column: usize) -> Result<u64, Failure> {
        let found = self.integer(column)?;
        u64::try_from(found).map_err(|_| Failure::Broken(format!("a count was expected, {found} is stored")))
    }

    pub fn text(&self, column: usize) -> Result<&str, Failure> {
        match self.0.get(column) {
            Some(Cell::Text(value)) => Ok(value),
            _ => self.other(column, "a text"),
        }
    }

    pub fn optional_text(&self, column: usize) -> Result<Option<&str>, Failure> {
        match self.0.get(column) {
            Some(Cell::Null) => Ok(None),
            _ => self.text(column).map(Some),
        }
    }

    pub fn blob(&self, column: usize) -> Result<&[u8], Failure> {
        match self.0.get(column) {
            Some(Cell::Blob(value)) => Ok(value),
            _ => self.other(column, "bytes"),
        }
    }

    pub fn optional_blob(&self, column: usize) -> Result<Option<&[u8]>, Failure> {
        match self.0.get(column) {
            Some(Cell::Null) => Ok(None),
            _ => self.blob(column).map(Some),
        }
    }

    pub fn parsed<T: FromStr>(&self, column: usize) -> Result<T, Failure> {
        let text = self.text(column)?;
        text.parse().map_err(|_| Failure::Broken(format!("`{text}` is not what column {column} holds")))
    }

    pub fn decoded<T: Canon>(&self, column: usize) -> Result<T, Failure> {
        Ok(decode(self.blob(column)?)?)
    }

    pub fn array<const N: usize>(&self, column: usize) -> Result<[u8; N], Failure> {
        let found = self.blob(column)?;
        found.try_into().map_err(|_| Failure::Broken(format!("{N} bytes were expected, {} are stored", found.len())))
    }

    pub fn digest(&self, column: usize) -> Result<Digest, Failure> {
        self.array(column).map(Digest)
    }

    pub fn amount(&self, column: usize) -> Result<Amount, Failure> {
        self.array(column).map(Amount::from_be_bytes)
    }

    pub fn optional_amount(&self, column: usize) -> Result<Option<Amount>, Failure> {
        self.optional_blob(column)?.map(|_| self.amount(column)).transpose()
    }

    pub fn optional_number(&self, column: usize) -> Result<Option<u64>, Failure> {
        self.optional_integer(column)?.map(|_| self.number(column)).transpose()
    }

    /// Four columns from this one on.
    pub fn balance(&self, first: usize) -> Result<Balance, Failure> {
        Ok(Balance {
            debit_posted: self.amount(first)?,
            credit_posted: self.amount(first + 1)?,
            debit_pending: self.amount(first + 2)?,
            credit_pending: self.amount(first + 3)?,
        })
    }
}
