//! hledger's journal. What is metadata in beancount are tags in comments; in their values `%`, `,` and control characters,
//! which would end them, are percent-encoded.

use std::io::{self, Write};

use jiff::civil::Date;

use super::entry::{Entry, Standing};
use super::format::{Format, Head};
use super::names::Commodity;

pub struct Hledger;

/// A tag's value: to the end of the line, and all of it.
fn value(text: &str) -> String {
    let mut value = String::new();
    for letter in text.chars() {
        if letter == '%' || letter == ',' || letter.is_control() {
            let mut bytes = [0; 4];
            letter.encode_utf8(&mut bytes).bytes().for_each(|byte| value.push_str(&format!("%{byte:02X}")));
        } else {
            value.push(letter);
        }
    }
    value
}

/// Part of a description, which ends at a semicolon and is divided by a bar.
fn described(text: &str) -> String {
    let clean = |letter: char| if letter.is_control() || letter == ';' || letter == '|' { ' ' } else { letter };
    text.chars().map(clean).collect::<String>().trim().to_owned()
}

fn amount(number: &str, commodity: &Commodity) -> String {
    format!("{number} \"{}\"", commodity.symbol)
}

impl Format for Hledger {
    fn head(&self, out: &mut dyn Write, head: &Head<'_>) -> io::Result<()> {
        head.lines().iter().try_for_each(|line| writeln!(out, "; {line}"))?;
        writeln!(out, "\ndecimal-mark .")
    }

    fn commodity(&self, out: &mut dyn Write, _: Date, commodity: &Commodity) -> io::Result<()> {
        let zeros = "0".repeat(commodity.scale.decimals().into());
        writeln!(out, "\ncommodity {}", amount(&format!("1000.{zeros}"), commodity))?;
        writeln!(out, "  ; caip19:{}", value(commodity.asset.as_str()))?;
        writeln!(out, "  ; decimals:{}", commodity.scale.decimals())?;
        writeln!(out, "  ; unit:{}", value(commodity.scale.unit()))
    }

    fn account(&self, out: &mut dyn Write, _: Date, name: &str, ledger: &str) -> io::Result<()> {
        writeln!(out, "\naccount {name}")?;
        writeln!(out, "  ; ledger:{}", value(ledger))
    }

    fn entry(&self, out: &mut dyn Write, entry: &Entry<'_>) -> io::Result<()> {
        let payee = entry.payee_name.or_else(|| entry.payee()).map(|payee| format!("{} | ", described(payee)));
        let (payee, narration) = (payee.unwrap_or_default(), described(&entry.narration()));
        writeln!(out, "\n{} * ({}.{}) {payee}{narration}", entry.date, entry.effects.seq, entry.leg)?;
        for (name, fact) in entry.facts() {
            writeln!(out, "    ; {name}:{}", value(&fact))?;
        }
        let number = entry.amount();
        writeln!(out, "    {}  {}", entry.debit, amount(&number, entry.commodity))?;
        writeln!(out, "    {}  {}", entry.credit, amount(&format!("-{number}"), entry.commodity))
    }

    fn opening(&self, out: &mut dyn Write, date: Date, standings: &[Standing<'_>]) -> io::Result<()> {
        writeln!(out, "\n{date} * Opening balances")?;
        let mut lines = standings.iter();
        lines.try_for_each(|line| writeln!(out, "    {}  {}", line.account, amount(&line.amount(), line.commodity)))
    }

    fn closing(&self, out: &mut dyn Write, date: Date, standings: &[Standing<'_>]) -> io::Result<()> {
        writeln!(out, "\n{date} * Balances of the trial balance")?;
        standings.iter().try_for_each(|line| {
            let nothing = amount("0", line.commodity);
            writeln!(out, "    {}  {nothing} = {}", line.account, amount(&line.amount(), line.commodity))
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
    fn a_value_and_a_description_stay_on_their_line() {
        assert_eq!(value("a,b: 100%\nc"), "a%2Cb: 100%25%0Ac");
        assert_eq!(value("caf\u{e9}"), "caf\u{e9}");
        assert_eq!(described("Shop; date:2020-01-01 | x\n2026-01-01 y"), "Shop  date:2020-01-01   x 2026-01-01 y");
    }
}
