//! `purser ledger export`: the money of a tenant's journal for the tools that accountants have.
//!
//! The promise: every posted transfer is one transaction of two legs, in the journal's order, its amount exact; and an
//! export of the whole book ends with the balances of the trial balance table, which are not added up here: a foreign
//! tool that adds up the transactions finds whether they are the same. This one looks too, and ends with an error where
//! they are not.
//!
//! The journal is read page by page and never held whole; what is held is a sum an account.

pub mod beancount;
pub mod csv;
pub mod entry;
pub mod format;
pub mod hledger;
pub mod names;
pub mod papers;
pub mod statement;

use std::collections::BTreeMap;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use clap::Args;
use jiff::civil::Date;
use ledger::account::{Account, Balance, Class, Net, Side};
use ledger::effects::Effects;
use ledger::id::{Micros, TenantId};
use ledger::money::{Amount, AssetId};
use ledger::store::{AccountBalance, Store, StoreError};
use store::{Schema, SqlStore};
use x402::network::AssetTable;

use self::entry::{Entry, PayeeNames, Standing, instant, payee, posted, utc_date};
use self::format::{Format, Head};
use self::names::{Chart, Commodity, Met};
use self::papers::{Papers, Reader};
use crate::assembly::{assets, open_store};
use crate::checkpoint::LedgerTenant;
use crate::config::Config;
use crate::operate::ring;

/// Records read at once.
const PAGE: u32 = 1_000;
/// How often the balances are read again because something was written meanwhile.
const ATTEMPTS: u32 = 100;

#[derive(Debug, Args)]
pub struct ExportArgs {
    #[command(flatten)]
    pub of: LedgerTenant,
    #[arg(long)]
    pub format: ExportFormat,
    /// From this instant on, with the balances before it as an opening transaction (not in CSV).
    #[arg(long, value_name = "UNIX_SECONDS")]
    pub from: Option<i64>,
    /// Before this instant, and so without the balances, which are those of now.
    #[arg(long, value_name = "UNIX_SECONDS")]
    pub to: Option<i64>,
    /// Into this file, which is there whole or not at all, instead of standard output.
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum ExportFormat {
    Beancount,
    Hledger,
    Csv,
}

#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("the export cannot be written: {0}")]
    Write(#[from] io::Error),
    #[error("{0} microseconds after 1970 are no instant of any calendar")]
    Calendar(i64),
    #[error("no name is left for {0}")]
    Name(String),
    #[error("a total of {0} leaves the range of an amount")]
    Overflow(String),
    #[error("from {from} to {to} is no time")]
    Empty { from: i64, to: i64 },
    #[error("{account} in {asset}: the journal adds up to {journal}, the balances say {balances}; run ledger verify")]
    Differs { account: String, asset: String, journal: String, balances: String },
    #[error("the book was written to at each of {ATTEMPTS} looks at its balances; try again, or say --to")]
    Busy,
}

/// A tenant's book as a file of the configuration has it.
struct Book {
    config: Config,
    tenant: TenantId,
    store: SqlStore,
    assets: AssetTable,
    payees: PayeeNames,
}

impl Book {
    async fn open(of: &LedgerTenant) -> Result<Self, String> {
        let (config, id) = of.read()?;
        let ring = ring(&config, Schema::Refuse).await?;
        let store = open_store(&config, &ring, Schema::Refuse).await.map_err(|error| error.to_string())?;
        let assets = assets(&config.chain).map_err(|error| error.to_string())?;
        let payees = config.tenant(&id).map(PayeeNames::of).ok_or_else(|| format!("there is no tenant {id}"))?;
        let tenant = id.parse().map_err(|_| format!("{id} is no tenant"))?;
        Ok(Self { config, tenant, store, assets, payees })
    }
}

pub async fn export(args: &ExportArgs) -> Result<(), String> {
    let book = Book::open(&args.of).await?;
    let file = args.out.as_deref().map(beside).transpose()?;
    let out: Box<dyn Write + Send> = match &file {
        Some(file) => Box::new(file.reopen().map_err(|error| error.to_string())?),
        None => Box::new(io::stdout()),
    };
    let mut export = Export::new(&book, args.format, out);
    export.run(args.from, args.to).await.map_err(|error| error.to_string())?;
    if let (Some(file), Some(path)) = (file, &args.out) {
        file.as_file().sync_all().map_err(|error| format!("{}: {error}", path.display()))?;
        file.persist(path).map_err(|error| format!("{}: {error}", path.display()))?;
    }
    Ok(())
}

/// A file in the same folder, to be put into the place of the other when it is whole.
fn beside(path: &Path) -> Result<tempfile::NamedTempFile, String> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    tempfile::NamedTempFile::new_in(folder).map_err(|error| format!("{}: {error}", path.display()))
}

struct Export<'a> {
    book: &'a Book,
    format: Box<dyn Format>,
    out: BufWriter<Box<dyn Write + Send>>,
    chart: Chart<'a>,
    papers: Reader,
    /// What was read so far, as the trial balance has it.
    sums: BTreeMap<(Account, AssetId), Balance>,
    /// The date of the first record and of the last.
    begun: Option<Date>,
    last: Option<Date>,
    entries: u64,
}

impl<'a> Export<'a> {
    fn new(book: &'a Book, format: ExportFormat, out: Box<dyn Write + Send>) -> Self {
        let format: Box<dyn Format> = match format {
            ExportFormat::Beancount => Box::new(beancount::Beancount),
            ExportFormat::Hledger => Box::new(hledger::Hledger),
            ExportFormat::Csv => Box::new(csv::Csv),
        };
        let (out, chart) = (BufWriter::new(out), Chart::new(&book.assets));
        Self {
            book,
            format,
            out,
            chart,
            papers: Reader::default(),
            sums: BTreeMap::new(),
            begun: None,
            last: None,
            entries: 0,
        }
    }

    async fn run(&mut self, from: Option<i64>, to: Option<i64>) -> Result<(), ExportError> {
        if let (Some(from), Some(to)) = (from, to)
            && from >= to
        {
            return Err(ExportError::Empty { from, to });
        }
        let (store, tenant) = (&self.book.store, &self.book.tenant);
        self.format.head(&mut self.out, &Head { tenant, from, to })?;
        let mut next = 0;
        if let Some(from) = from {
            let start = store.record_at(tenant, Micros::from_seconds(from)).await?;
            next = self.add_up(start).await?;
            self.open(Micros::from_seconds(from)).await?;
        }
        match to {
            Some(to) => {
                let end = store.record_at(tenant, Micros::from_seconds(to)).await?;
                next = self.stream(next, end).await?;
            }
            None => next = self.close(next).await?,
        }
        let records = next;
        let line = format!("{} transfers; the journal was read up to record {records}.", self.entries);
        self.format.end(&mut self.out, &line)?;
        Ok(self.out.flush()?)
    }

    /// Sums what lies before the first record that is exported.
    async fn add_up(&mut self, end: u64) -> Result<u64, ExportError> {
        let mut next = 0;
        while next < end {
            let page = self.book.store.records(&self.book.tenant, next, PAGE).await?;
            let Some((last, _)) = page.last() else { break };
            let after = last.seq.saturating_add(1);
            for (_, effects) in page.iter().filter(|(entry, _)| entry.seq < end) {
                self.sum(effects)?;
            }
            next = after.min(end);
        }
        Ok(next)
    }

    /// The balances before the first record as one transaction: together they are nothing, so it needs no account more.
    async fn open(&mut self, from: Micros) -> Result<(), ExportError> {
        if self.sums.is_empty() {
            return Ok(());
        }
        let date = utc_date(from)?;
        (self.begun, self.last) = (Some(date), Some(date));
        let sums = self.sums.iter().map(|((account, asset), sum)| (account.clone(), asset.clone(), *sum));
        let lines = self.named(&sums.collect::<Vec<_>>())?;
        let is_something = |standing: &Standing<'_>| standing.net != Net::Positive(Amount::ZERO);
        let standings: Vec<_> = lines.iter().map(Line::standing).filter(is_something).collect();
        if !standings.is_empty() {
            self.format.opening(&mut self.out, date, &standings)?;
        }
        Ok(())
    }

    /// Writes every record from one on to another, or to where there is none.
    async fn stream(&mut self, from: u64, end: u64) -> Result<u64, ExportError> {
        let mut next = from;
        while next < end {
            let page = self.book.store.records(&self.book.tenant, next, PAGE).await?;
            if page.is_empty() {
                break;
            }
            for (entry, effects) in page.iter().filter(|(entry, _)| entry.seq < end) {
                self.sum(effects)?;
                self.write(effects).await?;
                next = entry.seq.saturating_add(1);
            }
        }
        Ok(next)
    }

    /// A service may go on writing: the balances belong to what was exported if the journal ended there before and after
    /// they were read.
    async fn close(&mut self, from: u64) -> Result<u64, ExportError> {
        let mut next = from;
        for _ in 0..ATTEMPTS {
            next = self.stream(next, u64::MAX).await?;
            let balances = self.book.store.balances(&self.book.tenant).await?;
            if self.book.store.head(&self.book.tenant).await?.0 == next {
                self.prove(&balances)?;
                return Ok(next);
            }
        }
        Err(ExportError::Busy)
    }

    fn sum(&mut self, effects: &Effects) -> Result<(), ExportError> {
        for (_, transfer) in posted(effects) {
            for (side, account) in [(Side::Debit, &transfer.debit), (Side::Credit, &transfer.credit)] {
                let sum = self.sums.entry((account.clone(), transfer.asset.clone())).or_default();
                let total = match side {
                    Side::Debit => &mut sum.debit_posted,
                    Side::Credit => &mut sum.credit_posted,
                };
                let more = total.checked_add(transfer.amount);
                *total = more.ok_or_else(|| ExportError::Overflow(account.to_string()))?;
            }
        }
        Ok(())
    }

    async fn write(&mut self, effects: &Effects) -> Result<(), ExportError> {
        if posted(effects).next().is_none() {
            return self.date(effects.at).map(|_| ());
        }
        let (at, date) = (instant(effects.at)?, self.date(effects.at)?);
        let book = self.book;
        let papers = match &effects.spend {
            Some(spend) => self.papers.of(book, spend).await?,
            None => Papers::default(),
        };
        for (leg, transfer) in posted(effects) {
            let commodity = self.commodity(&transfer.asset)?;
            let (debit, credit) = (self.account(&transfer.debit)?, self.account(&transfer.credit)?);
            let payee_name = payee(effects).and_then(|payee| book.payees.find(payee));
            let (tenant, commodity, debit, credit) = (&book.tenant, &commodity, &*debit, &*credit);
            let papers = &papers;
            let entry =
                Entry { tenant, effects, leg, transfer, at, date, payee_name, papers, debit, credit, commodity };
            self.format.entry(&mut self.out, &entry)?;
            self.entries = self.entries.saturating_add(1);
        }
        Ok(())
    }

    /// The day of a record, which the file reaches to.
    fn date(&mut self, at: Micros) -> Result<Date, ExportError> {
        let date = utc_date(at)?;
        self.begun.get_or_insert(date);
        self.last = Some(date);
        Ok(date)
    }

    /// What the trial balance says, to be found again by whoever adds up; after it was found here.
    fn prove(&mut self, balances: &[AccountBalance]) -> Result<(), ExportError> {
        let mut sums = self.sums.clone();
        let mut found = Vec::new();
        for entry in balances {
            let exported = sums.remove(&(entry.account.clone(), entry.asset.clone()));
            let (journal, table) = (exported.unwrap_or_default(), entry.balance);
            if (journal.debit_posted, journal.credit_posted) != (table.debit_posted, table.credit_posted) {
                return Err(differs(&entry.account, &entry.asset, &journal, &table));
            }
            if exported.is_some() {
                found.push((entry.account.clone(), entry.asset.clone(), table));
            }
        }
        if let Some(((account, asset), journal)) = sums.iter().next() {
            return Err(differs(account, asset, journal, &Balance::default()));
        }
        // Nothing moves on the day after the last record: dated then, a balance is one after all of them.
        let Some(date) = self.last.and_then(|last| last.tomorrow().ok()) else { return Ok(()) };
        let lines = self.named(&found)?;
        let standings: Vec<_> = lines.iter().map(Line::standing).collect();
        if !standings.is_empty() {
            self.format.closing(&mut self.out, date, &standings)?;
        }
        Ok(())
    }

    fn named(&mut self, balances: &[(Account, AssetId, Balance)]) -> Result<Vec<Line>, ExportError> {
        let mut lines = Vec::with_capacity(balances.len());
        for (account, asset, balance) in balances {
            let (account, commodity) = (self.account(account)?, self.commodity(asset)?);
            lines.push(Line { account, commodity, net: balance.net(Class::Asset) });
        }
        Ok(lines)
    }

    /// The name, declared where it is the first time: both tools take declarations wherever they stand.
    fn account(&mut self, account: &Account) -> Result<String, ExportError> {
        let (name, met) = self.chart.account(account)?;
        if let (Met::First, Some(begun)) = (met, self.begun) {
            self.format.account(&mut self.out, begun, &name, &account.to_string())?;
        }
        Ok(name)
    }

    fn commodity(&mut self, asset: &AssetId) -> Result<Commodity, ExportError> {
        let (commodity, met) = self.chart.commodity(asset)?;
        if let (Met::First, Some(begun)) = (met, self.begun) {
            self.format.commodity(&mut self.out, begun, &commodity)?;
        }
        Ok(commodity)
    }
}

/// A standing that owns its names. Debits are above zero, whatever the account's class.
struct Line {
    account: String,
    commodity: Commodity,
    net: Net,
}

impl Line {
    fn standing(&self) -> Standing<'_> {
        Standing { account: &self.account, commodity: &self.commodity, net: self.net }
    }
}

fn differs(account: &Account, asset: &AssetId, journal: &Balance, table: &Balance) -> ExportError {
    let shown = |balance: &Balance| format!("debits {}, credits {}", balance.debit_posted, balance.credit_posted);
    let (account, asset) = (account.to_string(), asset.to_string());
    ExportError::Differs { account, asset, journal: shown(journal), balances: shown(table) }
}
