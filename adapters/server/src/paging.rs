//! Pages of lists: `cursor`, `limit`, `from`, `to`, read strictly and the same way everywhere.
//!
//! Lists are in the order of the journal, so nothing that is written between two pages is seen twice or missed. `from` and
//! `to` are unix seconds, the second one exclusive. A cursor is opaque to callers and good for its own list only.

use std::ops::Range;

use engine::error::EngineError;
use ledger::id::{Micros, TenantId};
use mandates::base64url;

use crate::App;
use crate::limits::{PAGE_DEFAULT, PAGE_MAX};
use crate::problem::{Problem, shown};

/// Which list: its letter begins its cursors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum List {
    Spends,
    Approvals,
    Reviews,
    Transfers,
    Journal,
    Accounts,
    Events,
    /// Figures at an instant, which are no list.
    Balance,
}

impl List {
    const fn letter(self) -> char {
        match self {
            Self::Spends => 's',
            Self::Approvals => 'q',
            Self::Reviews => 'r',
            Self::Transfers => 't',
            Self::Journal => 'j',
            Self::Accounts => 'a',
            Self::Events => 'e',
            Self::Balance => 'b',
        }
    }

    const fn reads(self) -> &'static [&'static str] {
        match self {
            Self::Accounts | Self::Events => &["cursor", "limit"],
            Self::Balance => &["at"],
            Self::Approvals | Self::Reviews => &["cursor", "limit", "from", "to", "state"],
            Self::Spends | Self::Transfers | Self::Journal => &["cursor", "limit", "from", "to"],
        }
    }
}

/// What a caller asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Paging {
    list: List,
    /// Without its letter.
    cursor: Option<String>,
    pub limit: u32,
    from: Option<i64>,
    to: Option<i64>,
    pub state: Option<String>,
    pub at: Option<i64>,
}

impl Paging {
    pub fn read(list: List, query: Option<&str>) -> Result<Self, Problem> {
        let mut paging = Self { list, cursor: None, limit: PAGE_DEFAULT, from: None, to: None, state: None, at: None };
        let mut seen = Vec::new();
        for (name, value) in url::form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
            if !list.reads().contains(&&*name) {
                let detail = format!("{} were expected, {} came", list.reads().join(", "), shown(&name));
                return Err(Problem::invalid(shown(&name), detail));
            }
            if seen.contains(&name) {
                return Err(Problem::invalid(name.clone(), format!("{name} once was expected, it came twice")));
            }
            paging.take(&name, &value)?;
            seen.push(name);
        }
        if let (Some(from), Some(to)) = (paging.from, paging.to)
            && from > to
        {
            return Err(Problem::invalid("to", format!("a time at or after from ({from}) was expected, {to} came")));
        }
        Ok(paging)
    }

    fn take(&mut self, name: &str, value: &str) -> Result<(), Problem> {
        let expected =
            |what: &str| Problem::invalid(name.to_owned(), format!("{what} was expected, {} came", shown(value)));
        let seconds = || value.parse().map_err(|_| expected("a time in unix seconds"));
        match name {
            "cursor" => {
                let rest = value.strip_prefix(self.list.letter()).ok_or_else(|| expected("a cursor of this list"))?;
                self.cursor = Some(rest.to_owned());
            }
            "limit" => {
                let limit = value.parse().ok().filter(|limit| (1..=PAGE_MAX).contains(limit));
                self.limit = limit.ok_or_else(|| expected(&format!("1 to {PAGE_MAX}")))?;
            }
            "from" => self.from = Some(seconds()?),
            "to" => self.to = Some(seconds()?),
            "at" => self.at = Some(seconds()?),
            _ => self.state = Some(value.to_owned()),
        }
        Ok(())
    }

    /// One more than is shown: whether something follows is known without asking again.
    pub const fn asked(&self) -> u32 {
        self.limit.saturating_add(1)
    }

    /// The records that the times and the cursor leave, for a list that shows the newest first.
    pub async fn newest_first(&self, app: &App, tenant: &TenantId) -> Result<Range<u64>, Problem> {
        let range = self.between(app, tenant).await?;
        Ok(range.start..self.seq()?.map_or(range.end, |cursor| range.end.min(cursor)))
    }

    /// The same for one that shows the oldest first.
    pub async fn oldest_first(&self, app: &App, tenant: &TenantId) -> Result<Range<u64>, Problem> {
        let range = self.between(app, tenant).await?;
        Ok(self.seq()?.map_or(range.start, |cursor| range.start.max(cursor))..range.end)
    }

    async fn between(&self, app: &App, tenant: &TenantId) -> Result<Range<u64>, Problem> {
        let at = async |seconds: i64| app.engine.store.record_at(tenant, Micros::from_seconds(seconds)).await;
        let start = match self.from {
            Some(from) => at(from).await.map_err(EngineError::from)?,
            None => 0,
        };
        let end = match self.to {
            Some(to) => at(to).await.map_err(EngineError::from)?,
            None => u64::MAX,
        };
        Ok(start..end)
    }

    fn seq(&self) -> Result<Option<u64>, Problem> {
        let read = |text: &String| text.parse().ok().filter(|seq: &u64| seq.to_string() == *text);
        self.cursor.as_ref().map(|text| read(text).ok_or_else(|| self.foreign(text))).transpose()
    }

    /// The place of an event: its record, and its number there.
    pub fn event(&self) -> Result<Option<(u64, u16)>, Problem> {
        let read = |text: &String| {
            let (seq, number) = text.split_once('-')?;
            let (seq, number): (u64, u16) = (seq.parse().ok()?, number.parse().ok()?);
            // `+1` is a number to the parser and no id of ours.
            (format!("{seq}-{number}") == *text).then_some((seq, number))
        };
        self.cursor.as_ref().map(|text| read(text).ok_or_else(|| self.foreign(text))).transpose()
    }

    /// A name and an asset, for the list of accounts.
    pub fn account(&self) -> Result<Option<(String, String)>, Problem> {
        let read = |text: &String| {
            let bytes = base64url::decode(text)?;
            let text = String::from_utf8(bytes).ok()?;
            text.split_once('\n').map(|(name, asset)| (name.to_owned(), asset.to_owned()))
        };
        self.cursor.as_ref().map(|text| read(text).ok_or_else(|| self.foreign(text))).transpose()
    }

    fn foreign(&self, text: &str) -> Problem {
        Problem::invalid("cursor", format!("a cursor of this list was expected, {} came", shown(text)))
    }

    /// The cursor that goes on from here.
    pub fn cursor(&self, place: impl std::fmt::Display) -> String {
        format!("{}{place}", self.list.letter())
    }

    pub fn account_cursor(&self, name: &str, asset: &str) -> String {
        self.cursor(base64url::encode(format!("{name}\n{asset}").as_bytes()))
    }
}

/// Takes the one too many off, and says whether it was there.
pub fn cut<T>(rows: &mut Vec<T>, limit: u32) -> bool {
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let more = rows.len() > limit;
    rows.truncate(limit);
    more
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(list: List, query: &str) -> Result<Paging, Problem> {
        Paging::read(list, Some(query))
    }

    #[test]
    fn what_is_no_page_is_refused_by_name() {
        for (query, field) in [
            ("limit=0", "limit"),
            ("limit=501", "limit"),
            ("limit=-1", "limit"),
            ("limit=1e2", "limit"),
            ("limit=NaN", "limit"),
            ("limit=", "limit"),
            ("limit=99999999999999999999", "limit"),
            ("from=yesterday", "from"),
            ("from=1.5", "from"),
            ("to=", "to"),
            ("from=2&to=1", "to"),
            ("cursor=", "cursor"),
            ("cursor=7", "cursor"),
            ("cursor=t7", "cursor"),
            ("offset=7", "offset"),
            ("state=pending", "state"),
            ("limit=1&limit=1", "limit"),
            ("cursor=s1&cursor=s2", "cursor"),
            ("%00=1", "\u{fffd}"),
        ] {
            let refused = read(List::Spends, query).expect_err(query);
            assert_eq!(refused.field.as_deref(), Some(field), "{query}");
        }
        for cursor in ["s", "s-1", "s+1", "s01", "s1 ", "s18446744073709551616", "sx"] {
            assert!(
                read(List::Spends, &format!("cursor={cursor}")).is_ok_and(|paging| paging.seq().is_err()),
                "{cursor}"
            );
        }
        for cursor in ["e1", "e1-", "e-1", "e1-65536", "e01-0", "e1-0-0"] {
            assert!(
                read(List::Events, &format!("cursor={cursor}")).is_ok_and(|page| page.event().is_err()),
                "{cursor}"
            );
        }
        for cursor in ["a", "a*", "aYQ", "a_w"] {
            assert!(
                read(List::Accounts, &format!("cursor={cursor}")).is_ok_and(|page| page.account().is_err()),
                "{cursor}"
            );
        }
        assert!(read(List::Accounts, "from=1").is_err(), "balances have no time");
    }

    #[test]
    fn what_was_asked_is_what_is_read() {
        let page = read(List::Approvals, "cursor=q7&limit=500&from=-1&to=2&state=denied").unwrap();
        assert_eq!((page.seq().unwrap(), page.limit, page.asked()), (Some(7), 500, 501));
        assert_eq!((page.from, page.to, page.state.as_deref()), (Some(-1), Some(2), Some("denied")));
        assert_eq!(page.cursor(7), "q7");
        let page = Paging::read(List::Accounts, None).unwrap();
        let cursor = page.account_cursor("wallet/x", "iso4217:USD");
        let page = read(List::Accounts, &format!("cursor={cursor}")).unwrap();
        assert_eq!(page.account().unwrap(), Some(("wallet/x".into(), "iso4217:USD".into())));
        let mut rows = vec![1, 2, 3];
        assert!(cut(&mut rows, 2) && rows == [1, 2] && !cut(&mut rows, 2));
    }
}
