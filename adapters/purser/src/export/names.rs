//! What accounts and assets are called in an export.
//!
//! The promise: two accounts of the book never share an account of the export, and two assets never a commodity,
//! whatever stands in their names; and a name is the same in every export. What a tool cannot take is replaced, and then
//! a digest of the whole name stands behind it. Should two digests begin alike, the second name gets the whole of its.

use std::collections::BTreeMap;

use engine::rate::{authority_digits, to_decimal_text};
use ledger::account::{Account, Class};
use ledger::id::Digest;
use ledger::money::{Amount, AssetId};
use x402::network::AssetTable;

use super::ExportError;

/// Longest part of a name that stands as it is, and that is left of one that does not.
const EXACT_BYTES_MAX: usize = 64;
const PREFIX_BYTES_MAX: usize = 24;
/// Hexadecimal digits of a digest behind a name.
const ACCOUNT_DIGITS: usize = 16;
const COMMODITY_DIGITS: [usize; 2] = [8, 13];
/// With a dash and thirteen digits: the 24 characters that beancount allows.
const COMMODITY_PREFIX_MAX: usize = 10;

/// An asset as a commodity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Commodity {
    pub symbol: String,
    pub asset: AssetId,
    pub scale: Scale,
}

/// How many digits stand behind the point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scale {
    /// From the trusted table, or of a currency: its own by ISO 4217 and six more, in which authority is counted.
    Decimals(u8),
    /// The asset is not in the table: nobody who is trusted says what a whole one is.
    AtomicUnits,
}

impl Scale {
    pub fn of(asset: &AssetId, table: &AssetTable) -> Self {
        let of_currency = || authority_digits(asset.currency()?).ok().and_then(|digits| u8::try_from(digits).ok());
        let decimals = table.find_id(asset).map(|row| row.decimals).or_else(of_currency);
        decimals.map_or(Self::AtomicUnits, Self::Decimals)
    }

    pub const fn decimals(self) -> u8 {
        match self {
            Self::Decimals(decimals) => decimals,
            Self::AtomicUnits => 0,
        }
    }

    /// Exact, with every digit of the scale.
    pub fn text(self, amount: Amount) -> String {
        let digits = self.decimals().into();
        to_decimal_text(amount, digits, digits)
    }

    pub const fn unit(self) -> &'static str {
        match self {
            Self::Decimals(_) => "scaled by the trusted asset table",
            Self::AtomicUnits => "whole atomic units: the asset is not in the trusted table",
        }
    }
}

/// Whether a name is met for the first time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Met {
    First,
    Again,
}

/// The names given so far.
pub struct Chart<'a> {
    table: &'a AssetTable,
    accounts: BTreeMap<Account, String>,
    commodities: BTreeMap<AssetId, Commodity>,
    /// Who has a name. Accounts have a colon in theirs, commodities do not.
    taken: BTreeMap<String, String>,
}

impl<'a> Chart<'a> {
    pub const fn new(table: &'a AssetTable) -> Self {
        Self { table, accounts: BTreeMap::new(), commodities: BTreeMap::new(), taken: BTreeMap::new() }
    }

    pub fn account(&mut self, account: &Account) -> Result<(String, Met), ExportError> {
        if let Some(known) = self.accounts.get(account) {
            return Ok((known.clone(), Met::Again));
        }
        let full = account.to_string();
        let short = alias(account);
        let long = format!("{short}-{}", Digest::of(full.as_bytes()));
        let name = self.take(&full, [short, long])?;
        self.accounts.insert(account.clone(), name.clone());
        Ok((name, Met::First))
    }

    pub fn commodity(&mut self, asset: &AssetId) -> Result<(Commodity, Met), ExportError> {
        if let Some(known) = self.commodities.get(asset) {
            return Ok((known.clone(), Met::Again));
        }
        let symbol = match asset.currency() {
            Some(currency) => currency.to_owned(),
            None => {
                let name = self.table.find_id(asset).map(|row| row.name.as_str());
                let prefix = commodity_prefix(name, asset);
                let digest = Digest::of(asset.as_str().as_bytes()).to_string().to_ascii_uppercase();
                let names = COMMODITY_DIGITS
                    .map(|digits| format!("{prefix}-{}", digest.chars().take(digits).collect::<String>()));
                self.take(asset.as_str(), names)?
            }
        };
        let commodity = Commodity { symbol, asset: asset.clone(), scale: Scale::of(asset, self.table) };
        self.commodities.insert(asset.clone(), commodity.clone());
        Ok((commodity, Met::First))
    }

    /// The first of these names that nobody else has.
    fn take(&mut self, full: &str, names: [String; 2]) -> Result<String, ExportError> {
        let free = names.into_iter().find(|name| self.taken.get(name).is_none_or(|owner| owner == full));
        let name = free.ok_or_else(|| ExportError::Name(full.to_owned()))?;
        self.taken.insert(name.clone(), full.to_owned());
        Ok(name)
    }
}

/// A name that is its account's alone, but for two digests that begin alike.
fn alias(account: &Account) -> String {
    let root = match account.class() {
        Class::Asset => "Assets",
        Class::Liability => "Liabilities",
        Class::Income => "Income",
        Class::Expense => "Expenses",
        Class::Equity => "Equity",
    };
    let name = match account {
        Account::Wallet(address) => format!("Wallet:{}", wallet(address)),
        Account::Channel(name) => format!("Channel:{}", component(name)),
        Account::Receivable => "Receivable".into(),
        Account::Payable(payee) => format!("Payable:{}", component(payee.as_str())),
        Account::Issued => "Issued".into(),
        Account::Suspense => "Suspense".into(),
        Account::Sales => "Sales".into(),
        Account::Spend(mandate) => {
            format!("Spend:M-{}", mandate.to_string().chars().take(ACCOUNT_DIGITS).collect::<String>())
        }
        Account::Refunds => "Refunds".into(),
        Account::Returns => "Returns".into(),
        Account::Gas => "Gas".into(),
        Account::Funding => "Funding".into(),
    };
    format!("{root}:{name}")
}

/// A CAIP-10 address as the three accounts that it is: namespace, chain, address. Others are one, and have a digest.
fn wallet(address: &str) -> String {
    let parts: Vec<Option<String>> = address.split(':').map(exact).collect();
    match &parts[..] {
        [Some(namespace), Some(chain), Some(owner)] => format!("{namespace}:{chain}:{owner}"),
        _ => component(address),
    }
}

/// One component of an account name: a capital or a digit, then letters, digits and dashes, all ASCII.
fn component(text: &str) -> String {
    exact(text).unwrap_or_else(|| {
        let mut clean = String::new();
        for letter in text.chars().map(|letter| if letter.is_ascii_alphanumeric() { letter } else { '-' }) {
            if clean.len() < PREFIX_BYTES_MAX && !(letter == '-' && (clean.is_empty() || clean.ends_with('-'))) {
                clean.push(letter);
            }
        }
        let clean = clean.trim_end_matches('-');
        let prefix = if clean.is_empty() { "X".to_owned() } else { capitalised(clean) };
        let digest = Digest::of(text.as_bytes()).to_string();
        format!("{prefix}-{}", digest.chars().take(ACCOUNT_DIGITS).collect::<String>())
    })
}

/// The text with its first letter made a capital, where nothing else is between it and a component, and nobody could take
/// it for another text: one that begins with a capital, or ends as with a digest, is not it.
fn exact(text: &str) -> Option<String> {
    let begins = text.starts_with(|first: char| first.is_ascii_lowercase() || first.is_ascii_digit());
    let plain = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    let is_exact = begins && plain && text.len() <= EXACT_BYTES_MAX && !ends_as_with_a_digest(text);
    is_exact.then(|| capitalised(text))
}

fn ends_as_with_a_digest(text: &str) -> bool {
    text.rsplit_once('-').is_some_and(|(_, last)| {
        last.len() >= ACCOUNT_DIGITS && last.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    })
}

fn capitalised(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map(|first| first.to_ascii_uppercase()).into_iter().chain(letters).collect()
}

/// The token's name as far as a commodity can have it; the kind of the asset where the table has no name for it.
fn commodity_prefix(name: Option<&str>, asset: &AssetId) -> String {
    let kind = asset.as_str().split('/').next_back().and_then(|part| part.split(':').next());
    let text = name.or(kind).unwrap_or_default();
    let clean = text.chars().filter(char::is_ascii_alphanumeric).map(|letter| letter.to_ascii_uppercase());
    let clean: String = clean.skip_while(char::is_ascii_digit).take(COMMODITY_PREFIX_MAX).collect();
    if clean.is_empty() { "TOKEN".to_owned() } else { clean }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use ledger::id::{BudgetId, PayeeId};

    use super::*;

    fn is_component(text: &str) -> bool {
        text.starts_with(|first: char| first.is_ascii_uppercase() || first.is_ascii_digit())
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    }

    fn payable(payee: &str) -> Account {
        Account::Payable(payee.parse::<PayeeId>().expect("a payee"))
    }

    #[test]
    fn hostile_names_become_components_and_stay_apart() {
        let long = "a".repeat(500);
        let longer = format!("{long}b");
        let names = [
            "shop",
            "Shop",
            "SHOP",
            "sh op",
            "sh-op",
            "sh--op",
            "sh_op",
            "sh\"op",
            "sh\\op",
            "sh\nop",
            "sh\n\nop",
            "sh;op",
            "sh|op",
            "",
            "-",
            "--",
            "\u{e9}",
            "\u{fc}",
            "caf\u{e9}",
            "caf\u{e8}",
            "\u{202e}pohs",
            "\u{1f4b0}",
            "Assets:Wallet",
            "assets:wallet",
            "Assets:",
            "2026-01-01 open Equity:Evil",
            "shop\n2026-01-01 * \"x\"",
            "0",
            "00",
            "=1+1",
            &long,
            &longer,
        ];
        let mut seen = BTreeSet::new();
        for name in names {
            let alias = component(name);
            assert!(is_component(&alias) && alias.len() <= EXACT_BYTES_MAX, "{name:?} became {alias:?}");
            assert!(seen.insert(alias.clone()), "{name:?} became {alias:?}, which another is");
        }
        // A name that is made to look like what another becomes.
        let made = component("sh op");
        let copy = component(&made);
        assert_ne!(copy, made);
        assert_ne!(component(&made.to_ascii_lowercase()), made, "{made}");
    }

    #[test]
    fn a_plain_name_is_readable() {
        let table = AssetTable::trusted();
        let mut chart = Chart::new(&table);
        for (account, alias) in [
            (payable("demo-shop"), "Liabilities:Payable:Demo-shop"),
            (
                Account::Wallet("eip155:8453:0x700b6a60ce7eaaea56f065753d8dcb9653dbad35".into()),
                "Assets:Wallet:Eip155:8453:0x700b6a60ce7eaaea56f065753d8dcb9653dbad35",
            ),
            (Account::Spend(BudgetId([0xab; 32])), "Expenses:Spend:M-abababababababab"),
            (Account::Sales, "Income:Sales"),
            (Account::Returns, "Income:Returns"),
            (Account::Funding, "Equity:Funding"),
        ] {
            assert_eq!(chart.account(&account).unwrap(), (alias.to_owned(), Met::First));
            assert_eq!(chart.account(&account).unwrap(), (alias.to_owned(), Met::Again));
        }
    }

    #[test]
    fn two_accounts_never_share_a_name() {
        let table = AssetTable::trusted();
        let mut chart = Chart::new(&table);
        let mut twin = [7; 32];
        twin[31] = 8;
        let mut accounts: Vec<Account> =
            ["shop", "Shop", "sh.op", "sh:op", "sh/op", "Assets:Wallet:Shop"].map(payable).to_vec();
        accounts.extend([[7; 32], twin].map(|id| Account::Spend(BudgetId(id))));
        accounts.extend(
            [
                "eip155:1:0xab",
                "eip155:1-0xab",
                "eip155-1:0xab",
                "eip155:1:0xAB",
                "Eip155:1:0xab",
                "a:b",
                "a:b:c:d",
                "",
                "::",
            ]
            .map(|address| Account::Wallet(address.into())),
        );
        let names: BTreeSet<String> = accounts.iter().map(|account| chart.account(account).unwrap().0).collect();
        assert_eq!(names.len(), accounts.len(), "{names:#?}");
        for name in &names {
            assert!(name.split(':').all(is_component), "{name}");
        }
        let again: BTreeSet<String> = accounts.iter().map(|account| chart.account(account).unwrap().0).collect();
        assert_eq!(again, names);
    }

    #[test]
    fn an_asset_is_one_commodity() {
        let table = AssetTable::trusted();
        let mut chart = Chart::new(&table);
        let mut assets: Vec<AssetId> = table.iter().map(|row| row.id().unwrap()).collect();
        let strange = ["eip155:1/slip44:60", "eip155:8453/slip44:60", "eip155:1/erc20:0xab", "iso4217:USD", "a:b/1:2"];
        assets.extend(strange.iter().map(|text| text.parse::<AssetId>().unwrap()));
        let mut symbols = BTreeSet::new();
        for asset in &assets {
            let (commodity, _) = chart.commodity(asset).unwrap();
            let symbol = &commodity.symbol;
            assert!(symbol.len() <= 24 && symbol.starts_with(|first: char| first.is_ascii_uppercase()), "{symbol}");
            assert!(symbol.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'-'));
            assert!(symbols.insert(symbol.clone()), "{symbol} is two assets");
        }
        let native = chart.commodity(&strange[0].parse().unwrap()).unwrap().0;
        assert_eq!((native.scale, native.scale.text(Amount::new(1_000))), (Scale::AtomicUnits, "1000".to_owned()));
    }

    #[test]
    fn decimals_are_exact() {
        let six = Scale::Decimals(6);
        assert_eq!(six.text(Amount::ZERO), "0.000000");
        assert_eq!(six.text(Amount::new(1)), "0.000001");
        assert_eq!(six.text(Amount::new(10_000_000)), "10.000000");
        assert_eq!(six.text(Amount::MAX), "340282366920938463463374607431768.211455");
        assert_eq!(Scale::Decimals(18).text(Amount::MAX), "340282366920938463463.374607431768211455");
        assert_eq!(Scale::Decimals(18).text(Amount::new(1)), "0.000000000000000001");
        assert_eq!(Scale::Decimals(38).text(Amount::MAX), "3.40282366920938463463374607431768211455");
        assert_eq!(Scale::Decimals(0).text(Amount::MAX), Amount::MAX.to_string());
        assert_eq!(Scale::AtomicUnits.text(Amount::MAX), Amount::MAX.to_string());
    }
}
