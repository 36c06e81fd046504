//! What every way to write an export has to offer.

use std::io::{self, Write};

use jiff::civil::Date;
use ledger::id::TenantId;

use super::entry::{Entry, Standing};
use super::names::Commodity;

/// What stands at the top.
pub struct Head<'a> {
    pub tenant: &'a TenantId,
    pub from: Option<i64>,
    pub to: Option<i64>,
}

impl Head<'_> {
    pub(super) fn lines(&self) -> Vec<String> {
        let mut lines = vec![
            format!("Posted transfers of tenant {}, in the order of its journal, dated in UTC.", self.tenant),
            "Pending and void transfers are promises, not money: they are not here.".to_owned(),
        ];
        if let Some(from) = self.from {
            lines.push(format!("From {from} (unix seconds) on; what was before is in the opening balances."));
        }
        lines.push(match self.to {
            Some(to) => format!("Before {to} (unix seconds): no balances, those of the trial balance are later."),
            None => "The balances at the end are those of the trial balance table.".to_owned(),
        });
        lines
    }
}

/// One way to write what is exported.
pub trait Format: Send {
    fn head(&self, out: &mut dyn Write, head: &Head<'_>) -> io::Result<()>;
    fn commodity(&self, out: &mut dyn Write, date: Date, commodity: &Commodity) -> io::Result<()>;
    /// An account under its name here and its name in the ledger.
    fn account(&self, out: &mut dyn Write, date: Date, name: &str, ledger: &str) -> io::Result<()>;
    fn entry(&self, out: &mut dyn Write, entry: &Entry<'_>) -> io::Result<()>;
    fn opening(&self, out: &mut dyn Write, date: Date, standings: &[Standing<'_>]) -> io::Result<()>;
    fn closing(&self, out: &mut dyn Write, date: Date, standings: &[Standing<'_>]) -> io::Result<()>;
    fn end(&self, out: &mut dyn Write, line: &str) -> io::Result<()>;
}
