//! Beancount (version 3; version 2 reads it too). It adds in decimals of 28 digits: a balance that needs more is exact in
//! the file, and `bean-check` says that it is not.

use std::io::{self, Write};

use jiff::civil::Date;

use super::entry::{Entry, Standing};
use super::format::{Format, Head};
use super::names::Commodity;

pub struct Beancount;

/// A text in quotes that ends where it should.
fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for letter in text.chars() {
        match letter {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            _ if letter.is_control() => quoted.push(char::REPLACEMENT_CHARACTER),
            _ => quoted.push(letter),
        }
    }
    quoted.push('"');
    quoted
}

impl Format for Beancount {
    fn head(&self, out: &mut dyn Write, head: &Head<'_>) -> io::Result<()> {
        head.lines().iter().try_for_each(|line| writeln!(out, "; {line}"))?;
        writeln!(out, "\noption \"title\" {}", quoted(&format!("Purser, tenant {}", head.tenant)))
    }

    fn commodity(&self, out: &mut dyn Write, date: Date, commodity: &Commodity) -> io::Result<()> {
        writeln!(out, "\n{date} commodity {}", commodity.symbol)?;
        writeln!(out, "  caip19: {}", quoted(commodity.asset.as_str()))?;
        writeln!(out, "  decimals: {}", commodity.scale.decimals())?;
        writeln!(out, "  unit: {}", quoted(commodity.scale.unit()))
    }

    fn account(&self, out: &mut dyn Write, date: Date, name: &str, ledger: &str) -> io::Result<()> {
        writeln!(out, "\n{date} open {name}")?;
        writeln!(out, "  ledger: {}", quoted(ledger))
    }

    fn entry(&self, out: &mut dyn Write, entry: &Entry<'_>) -> io::Result<()> {
        let payee = entry.payee_name.or_else(|| entry.payee()).map(|payee| format!("{} ", quoted(payee)));
        let (payee, narration) = (payee.unwrap_or_default(), quoted(&entry.narration()));
        writeln!(out, "\n{} * {payee}{narration}", entry.date)?;
        for (name, value) in entry.facts() {
            match name {
                "seq" | "leg" => writeln!(out, "  {name}: {value}")?,
                _ => writeln!(out, "  {name}: {}", quoted(&value))?,
            }
        }
        let (amount, symbol) = (entry.amount(), &entry.commodity.symbol);
        writeln!(out, "  {}  {amount} {symbol}", entry.debit)?;
        writeln!(out, "  {}  -{amount} {symbol}", entry.credit)
    }

    fn opening(&self, out: &mut dyn Write, date: Date, standings: &[Standing<'_>]) -> io::Result<()> {
        writeln!(out, "\n{date} * \"Opening balances\"")?;
        let mut lines = standings.iter();
        lines.try_for_each(|line| writeln!(out, "  {}  {} {}", line.account, line.amount(), line.commodity.symbol))
    }

    /// With a tolerance of nothing: left to itself, it lets one atomic unit pass.
    fn closing(&self, out: &mut dyn Write, date: Date, standings: &[Standing<'_>]) -> io::Result<()> {
        writeln!(out)?;
        standings.iter().try_for_each(|line| {
            writeln!(out, "{date} balance {}  {} ~ 0 {}", line.account, line.amount(), line.commodity.symbol)
        })
    }

    fn end(&self, out: &mut dyn Write, line: &str) -> io::Result<()> {
        writeln!(out, "\n; {line}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_stays_within_its_quotes() {
        assert_eq!(quoted("Caf\u{e9} \"X\" \\"), "\"Caf\u{e9} \\\"X\\\" \\\\\"");
        assert_eq!(quoted("a\n2026-01-01 open Equity:Evil\u{0}"), "\"a\\n2026-01-01 open Equity:Evil\u{fffd}\"");
    }
}
