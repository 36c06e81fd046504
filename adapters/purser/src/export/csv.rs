//! RFC 4180, a row a posted transfer. It has no place for balances: the trial balance is `purser ledger balances`, and
//! whoever asks for the whole book gets rows only if they add up to it.

use std::io::{self, Write};

use jiff::civil::Date;

use super::entry::{Entry, Standing};
use super::format::{Format, Head};
use super::names::Commodity;
use super::papers::Tax;

pub struct Csv;

const COLUMNS: [&str; 25] = [
    "seq",
    "leg",
    "at",
    "date",
    "tenant",
    "code",
    "debit",
    "credit",
    "asset",
    "amount_atomic",
    "amount",
    "spend",
    "mandate",
    "payee",
    "payee_name",
    "pay_to",
    "reference",
    "network",
    "rate",
    "gas",
    "principal",
    "cost_centre",
    "tax",
    "tax_currency",
    "tax_lines",
];

/// A text that a spreadsheet would take for a formula is given a quote in front, and is a text.
fn text(text: &str) -> String {
    let is_formula = text.starts_with(['=', '+', '-', '@', '\t', '\r', '\n']);
    let text = if is_formula { format!("'{text}") } else { text.to_owned() };
    if text.contains(['"', ',', '\r', '\n']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text }
}

fn row(out: &mut dyn Write, cells: &[String]) -> io::Result<()> {
    write!(out, "{}\r\n", cells.join(","))
}

impl Format for Csv {
    fn head(&self, out: &mut dyn Write, _: &Head<'_>) -> io::Result<()> {
        row(out, &COLUMNS.map(str::to_owned))
    }

    fn commodity(&self, _: &mut dyn Write, _: Date, _: &Commodity) -> io::Result<()> {
        Ok(())
    }

    fn account(&self, _: &mut dyn Write, _: Date, _: &str, _: &str) -> io::Result<()> {
        Ok(())
    }

    /// Accounts by their full names: a cell can have them.
    fn entry(&self, out: &mut dyn Write, entry: &Entry<'_>) -> io::Result<()> {
        let transfer = entry.transfer;
        let or_nothing = |cell: Option<&str>| cell.map(text).unwrap_or_default();
        let tax = entry.tax();
        let tax = tax.as_ref();
        let cells: [String; COLUMNS.len()] = [
            entry.effects.seq.to_string(),
            entry.leg.to_string(),
            entry.at.to_string(),
            entry.date.to_string(),
            text(entry.tenant.as_str()),
            text(transfer.code.as_str()),
            text(&transfer.debit.to_string()),
            text(&transfer.credit.to_string()),
            text(transfer.asset.as_str()),
            transfer.amount.to_string(),
            entry.amount(),
            entry.spend().unwrap_or_default(),
            entry.mandate().unwrap_or_default(),
            or_nothing(entry.payee()),
            or_nothing(entry.payee_name),
            or_nothing(entry.pay_to()),
            or_nothing(entry.reference()),
            or_nothing(entry.network()),
            entry.rate().unwrap_or_default(),
            if entry.is_gas() { "yes".to_owned() } else { String::new() },
            text(entry.effects.caller.principal.as_str()),
            or_nothing(entry.papers.cost_centre.as_deref()),
            tax.map(|tax| tax.total.clone()).unwrap_or_default(),
            or_nothing(tax.map(|tax| tax.currency.as_str())),
            or_nothing(tax.map(Tax::lines_text).as_deref()),
        ];
        row(out, &cells)
    }

    fn opening(&self, _: &mut dyn Write, _: Date, _: &[Standing<'_>]) -> io::Result<()> {
        Ok(())
    }

    fn closing(&self, _: &mut dyn Write, _: Date, _: &[Standing<'_>]) -> io::Result<()> {
        Ok(())
    }

    fn end(&self, _: &mut dyn Write, _: &str) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_one_cell_and_no_formula() {
        for (given, cell) in [
            ("shop", "shop"),
            ("a,b", "\"a,b\""),
            ("say \"hi\"", "\"say \"\"hi\"\"\""),
            ("two\r\nlines", "\"two\r\nlines\""),
            ("=HYPERLINK(\"http://x\",\"y\")", "\"'=HYPERLINK(\"\"http://x\"\",\"\"y\"\")\""),
            ("+1", "'+1"),
            ("-1", "'-1"),
            ("@SUM(A1)", "'@SUM(A1)"),
            ("\t=1", "'\t=1"),
            ("\r=1", "\"'\r=1\""),
            ("", ""),
        ] {
            assert_eq!(text(given), cell, "{given:?}");
        }
    }
}
