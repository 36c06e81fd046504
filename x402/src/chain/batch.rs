//! Several transfers in one transaction.

use super::Prepared;

/// What came of preparing them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Batch {
    /// All of them would succeed now.
    Prepared(Prepared),
    /// These would not, by their places. Nothing was signed.
    Failing(Vec<usize>),
}
