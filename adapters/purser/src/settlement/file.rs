//! A settlement file, read: every line whole, or none of it.

use csv::{ReaderBuilder, StringRecord};
use engine::rate::authority_from_major;
use jiff::civil::Date;
use ledger::money::Amount;

pub const FILE_BYTES_MAX: u64 = 16 * 1024 * 1024;
pub const LINES_MAX: usize = 100_000;
const FIELD_BYTES_MAX: usize = 256;
const COLUMNS: [&str; 6] = ["reference", "amount", "currency", "state", "processor_id", "date"];

/// What the processor says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Said {
    Settled,
    Refused,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Of the file, the header being the first.
    pub number: u64,
    pub reference: String,
    /// In units of authority of its currency, as the books count.
    pub amount: Amount,
    /// As it was written.
    pub amount_text: String,
    pub currency: String,
    pub said: Said,
    pub processor_id: String,
    pub date: Date,
}

/// # Errors
/// A sentence with the line and the column, what was expected and what came.
pub fn read(bytes: &[u8]) -> Result<Vec<Line>, String> {
    // The reader counts a line that ends with CR LF after its CR: the numbers that it gives would be one behind.
    let lines = bytes.split(|byte| *byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    let bytes = lines.collect::<Vec<_>>().join(&b'\n');
    let mut reader = ReaderBuilder::new().flexible(false).from_reader(bytes.as_slice());
    let header = reader.headers().map_err(|error| error.to_string())?.clone();
    let places = COLUMNS.map(|name| {
        let mut found = header.iter().enumerate().filter(|(_, column)| column.trim() == name).map(|(place, _)| place);
        match (found.next(), found.next()) {
            (Some(place), None) => Ok(place),
            (None, _) => Err(format!("a column {name} was expected, there is none")),
            (Some(_), Some(_)) => Err(format!("one column {name} was expected, there are several")),
        }
    });
    let [reference, amount, currency, state, processor_id, date] = places;
    let places = [reference?, amount?, currency?, state?, processor_id?, date?];
    let mut lines = Vec::new();
    for record in reader.records() {
        let record = record.map_err(|error| error.to_string())?;
        if lines.len() >= LINES_MAX {
            return Err(format!("at most {LINES_MAX} lines are read, there are more"));
        }
        lines.push(line(&record, places)?);
    }
    Ok(lines)
}

fn line(record: &StringRecord, places: [usize; 6]) -> Result<Line, String> {
    let number = record.position().map_or(0, csv::Position::line);
    let field = |place: usize| record.get(place).unwrap_or_default().trim();
    let wrong = |name: &str, expected: &str, found: &str| {
        let found: String = found.chars().take(64).collect();
        format!("line {number}, {name}: {expected} was expected, `{found}` came")
    };
    for (name, place) in COLUMNS.iter().zip(places) {
        let text = field(place);
        if text.is_empty() || text.len() > FIELD_BYTES_MAX || text.chars().any(char::is_control) {
            let expected = format!("1 to {FIELD_BYTES_MAX} bytes without control characters");
            return Err(wrong(name, &expected, text));
        }
    }
    let [reference, amount_text, currency, state, processor_id, date] = places.map(field);
    let said = match state {
        "settled" => Said::Settled,
        "refused" => Said::Refused,
        other => return Err(wrong("state", "settled or refused", other)),
    };
    let amount = authority_from_major(amount_text, currency);
    let amount = amount.map_err(|error| format!("line {number}, amount: {error}"))?;
    // More than a date is read as one where nobody looks: a time, a zone, a week.
    let found: Option<Date> = date.parse().ok().filter(|found: &Date| found.to_string() == date);
    let date = found.ok_or_else(|| wrong("date", "YYYY-MM-DD", date))?;
    Ok(Line {
        number,
        reference: reference.to_owned(),
        amount,
        amount_text: amount_text.to_owned(),
        currency: currency.to_owned(),
        said,
        processor_id: processor_id.to_owned(),
        date,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: &str = "reference,amount,currency,state,processor_id,date\n";

    #[test]
    fn what_cannot_be_read_names_line_and_column() {
        for (text, expected) in [
            ("", "reference"),
            ("reference,amount,currency,state,processor_id\n", "date"),
            ("reference,reference,amount,currency,state,processor_id,date\n", "several"),
            (&format!("{HEADER}r,1.00,USD,settled,p\n"), "line"),
            (&format!("{HEADER}r,1.00,USD,settled,p,2026-02-30\n"), "line 2, date"),
            (&format!("{HEADER}r,1.00,USD,settled,p,2026-02-03T00:00\n"), "line 2, date"),
            (&format!("{HEADER}r,1.00,USD,paid,p,2026-02-03\n"), "line 2, state"),
            (&format!("{HEADER}r,1.00,usd,settled,p,2026-02-03\n"), "line 2, amount"),
            (&format!("{HEADER}r,-1.00,USD,settled,p,2026-02-03\n"), "line 2, amount"),
            (&format!("{HEADER}r,1e2,USD,settled,p,2026-02-03\n"), "line 2, amount"),
            (&format!("{HEADER}r,\"1,00\",USD,settled,p,2026-02-03\n"), "line 2, amount"),
            (&format!("{HEADER},1.00,USD,settled,p,2026-02-03\n"), "line 2, reference"),
            (
                &format!("{HEADER}r,1.00,USD,settled,p,2026-02-03\nr,1.00,USD,settled,,2026-02-03\n"),
                "line 3, processor_id",
            ),
            (&format!("{HEADER}{},1.00,USD,settled,p,2026-02-03\n", "r".repeat(257)), "line 2, reference"),
        ] {
            let refused = read(text.as_bytes()).expect_err(text);
            assert!(refused.contains(expected), "{text}: {refused}");
        }
        assert!(read(b"\xff\xfe").is_err());
    }

    #[test]
    fn columns_stand_in_any_order_and_others_are_passed_over() {
        let text =
            "date,fee,state,reference,processor_id,currency,amount\r\n2026-02-03,0.30,refused,\"r\",p-1,USD,12.5\r\n";
        let lines = read(text.as_bytes()).unwrap();
        let [line] = lines.as_slice() else { panic!("{lines:?}") };
        assert_eq!((line.number, line.said, line.reference.as_str()), (2, Said::Refused, "r"));
        assert_eq!(line.amount.get(), 1_250_000_000);
    }
}
