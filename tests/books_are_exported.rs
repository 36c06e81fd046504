//! Promise 4, told to others: what the books say, foreign programs find by adding up what is exported.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use purser::client::ClientError;
use purser::world::{AGENT, CARRIER, HOME, SHOP};
use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::closing::{answered_in, closed_over};
use crate::harness::process::{run, stdout};
use crate::harness::world::World;
use crate::harness::{foreign, text};

/// A legal name that no registry should have: a formula, quotes, ends of texts, of lines, of comments, and a directive.
const NAME: &str = "=Shop \"A\\B\" & S\u{f6}hne; | date:2020-01-01, x\n2020-01-01 open Equity:Evil";

struct Books {
    world: World,
    /// As the service has it, but for the payee's name.
    config: String,
    mandate: String,
    /// A second between two payments, in unix seconds.
    between: i64,
}

impl Books {
    /// Three payments that settled, one that is signed and not presented.
    async fn kept() -> Self {
        let world = World::start_with(3_600).await;
        let mandate = world.mandate().await;
        for key in ["one", "two"] {
            buy(&world, &mandate, key).await;
        }
        tokio::time::sleep(Duration::from_millis(1_100)).await;
        let between = store::wall_clock()().seconds();
        buy(&world, &mandate, "three").await;
        world.pay(&mandate, "four").await.expect("one that stays open");
        let mut config = world.config.clone();
        for payee in config.tenants.iter_mut().flat_map(|tenant| &mut tenant.payees) {
            NAME.clone_into(&mut payee.name);
        }
        let file = world.folder.path().join("named.toml");
        std::fs::write(&file, toml::to_string(&config).unwrap()).unwrap();
        let books = Self { world, config: file.display().to_string(), mandate, between };
        // Gas is booked when the block is final.
        let deadline = Instant::now() + Duration::from_secs(30);
        while books.gas() < 3 {
            assert!(Instant::now() < deadline, "{} of 3 carriages have their gas", books.gas());
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        books
    }

    fn gas(&self) -> usize {
        let exported = self.export(CARRIER, "csv", &[]).unwrap();
        exported.lines().filter(|line| line.contains(",gas,") && line.contains(",yes,")).count()
    }

    fn ledger(&self, question: &[&str]) -> Result<String, String> {
        let args = [&["ledger"], question, &["--config", &self.config]].concat();
        let output = run(&args, &self.world.env());
        if output.status.success() {
            Ok(stdout(&output))
        } else {
            Err(String::from_utf8_lossy(&output.stderr).into_owned())
        }
    }

    fn export(&self, tenant: &str, format: &str, more: &[&str]) -> Result<String, String> {
        self.ledger(&[&["export", "--tenant", tenant, "--format", format], more].concat())
    }

    /// Debits less credits by account and asset, as the trial balance has them; accounts that nothing was posted to aside.
    fn balances(&self, tenant: &str) -> BTreeMap<(String, String), i128> {
        let lines = self.ledger(&["balances", "--json", "--tenant", tenant]).unwrap();
        let trial: Value = serde_json::from_str(lines.trim()).unwrap();
        assert_eq!(trial["balanced"], true);
        let units = |entry: &Value, name: &str| text(entry, name).parse::<i128>().unwrap();
        let accounts = trial["accounts"].as_array().unwrap().iter();
        let posted = accounts.filter(|entry| units(entry, "debit_posted") + units(entry, "credit_posted") > 0);
        posted
            .map(|entry| {
                let key = (text(entry, "account").to_owned(), text(entry, "asset").to_owned());
                (key, units(entry, "debit_posted") - units(entry, "credit_posted"))
            })
            .collect()
    }

    fn file(&self, name: &str, text: &str) -> PathBuf {
        let file = self.world.folder.path().join(name);
        std::fs::write(&file, text).unwrap();
        file
    }
}

async fn buy(world: &World, mandate: &str, key: &str) {
    let payment = world.pay(mandate, key).await.expect("a payment");
    let fetched = world.fetch(Some(text(&payment, "payment_signature"))).await.unwrap();
    assert_eq!(fetched.status.as_u16(), 200);
    world.until(text(&payment, "id"), "settled").await;
}

fn said(command: &mut Command) -> (bool, String) {
    let output = command.env("LC_ALL", "C.UTF-8").output().expect("the program (tests/run installs it)");
    let said = [&output.stdout[..], &output.stderr[..]].concat();
    (output.status.success(), String::from_utf8_lossy(&said).into_owned())
}

fn bean_check(file: &Path) -> (bool, String) {
    said(Command::new(foreign("bean-check")).arg("--no-cache").arg(file))
}

fn hledger(file: &Path, args: &[&str]) -> (bool, String) {
    said(Command::new("hledger").arg("-f").arg(file).args(args))
}

/// What `hledger balance` adds up, under the names that the ledger has for accounts and assets.
fn added_up(exported: &str, file: &Path) -> BTreeMap<(String, String), i128> {
    let lines: Vec<&str> = exported.lines().collect();
    let mut names = BTreeMap::new();
    for pair in lines.windows(2) {
        if let Some(name) = pair[0].strip_prefix("account ") {
            names.insert(name, pair[1].strip_prefix("  ; ledger:").expect("the ledger's name").replace("%2C", ","));
        } else if let Some(format) = pair[0].strip_prefix("commodity ") {
            let symbol = format.split('"').nth(1).expect("a commodity");
            names.insert(symbol, pair[1].strip_prefix("  ; caip19:").expect("an asset").to_owned());
        }
    }
    let (went, table) = hledger(file, &["balance", "--flat", "--empty", "--no-total", "-O", "csv"]);
    assert!(went, "{table}");
    let rows = table.lines().skip(1).map(|row| {
        let (account, amount) = row.trim_matches('"').split_once("\",\"").expect("two cells");
        let amount = amount.replace('"', "");
        let (number, symbol) = amount.split_once(' ').unwrap_or((&amount, ""));
        let units = number.replace('.', "").parse::<i128>().expect("a number");
        (names[account].clone(), names.get(symbol).cloned(), units)
    });
    // hledger shows a balance of nothing without its commodity.
    let only = |asset: Option<String>| {
        asset.or_else(|| {
            let mut assets = names.values().filter(|name| name.starts_with("eip155:"));
            assets.next().cloned()
        })
    };
    rows.map(|(account, asset, units)| ((account, only(asset).expect("an asset")), units)).collect()
}

/// One atomic unit more in one transaction: first on both of its sides, then on one.
fn changed(exported: &str, amount: &str, other: &str) -> [String; 2] {
    let (debit, credit) = (format!("  {amount} "), format!("  -{amount} "));
    let one = exported.replacen(&debit, &format!("  {other} "), 1);
    let both = one.replacen(&credit, &format!("  -{other} "), 1);
    assert!(one != exported && both != one, "{amount} stands in the export");
    [both, one]
}

#[tokio::test(flavor = "multi_thread")]
async fn foreign_programs_add_up_to_the_trial_balance() {
    let mut books = Books::kept().await;
    books.export(HOME, "csv", &[]).expect("an export while the service runs");
    books.world.kill();
    for (tenant, amount, other) in [
        (HOME, "0.010000", "0.010001"),
        (SHOP, "0.010000", "0.010001"),
        // Gas, in an asset that the trusted table does not have.
        (CARRIER, "10000000000000000000", "10000000000000000001"),
    ] {
        let balances = books.balances(tenant);
        let beancount = books.export(tenant, "beancount", &[]).unwrap();
        let (went, why) = bean_check(&books.file("export.beancount", &beancount));
        assert!(went, "{tenant}: {why}\n{beancount}");
        let journal = books.export(tenant, "hledger", &[]).unwrap();
        let file = books.file("export.journal", &journal);
        let (went, why) = hledger(&file, &["check", "--strict", "ordereddates"]);
        assert!(went, "{tenant}: {why}\n{journal}");
        assert_eq!(added_up(&journal, &file), balances, "{tenant}\n{journal}");
        let assertions = beancount.lines().filter(|line| line.contains(" ~ 0 ")).count();
        assert_eq!(assertions, balances.len(), "{beancount}");

        let lies = changed(&beancount, amount, other).into_iter();
        for lie in lies {
            let (went, why) = bean_check(&books.file("lie.beancount", &lie));
            assert!(!went && why.to_lowercase().contains("balance"), "{tenant}: bean-check took it: {why}");
        }
        for lie in changed(&journal, amount, other) {
            let (went, why) = hledger(&books.file("lie.journal", &lie), &["check"]);
            assert!(!went && why.contains("balance"), "{tenant}: hledger took it: {why}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_says_who_was_paid_under_what_and_where_it_is_seen() {
    let mut books = Books::kept().await;
    books.world.kill();
    let beancount = books.export(HOME, "beancount", &[]).unwrap();
    let lines: Vec<&str> = beancount.lines().collect();
    let settled: Vec<_> = lines.iter().enumerate().filter(|(_, line)| line.ends_with(" \"settle: settle\"")).collect();
    assert_eq!(settled.len(), 3, "{beancount}");
    let (at, first) = settled[0];
    assert!(first.contains("\"=Shop \\\"A\\\\B\\\" & S\u{f6}hne; | date:2020-01-01, x\\n2020-01-01 open"), "{first}");
    let block = lines[at..].iter().take_while(|line| !line.is_empty()).copied().collect::<Vec<_>>().join("\n");
    let mandate = format!("  mandate: \"{}\"", books.mandate);
    for fact in [
        &mandate,
        "  code: \"settle\"",
        "  network: \"eip155:31337\"",
        "  reference: \"0x",
        "  caller: \"service/",
        "  rate: \"",
        "  spend: \"",
        "  seq: ",
        "  leg: 0",
    ] {
        assert!(block.contains(fact), "{fact} is missing in {block}");
    }
    assert!(!beancount.contains("\n2020-01-01"), "a name is no directive");
    assert!(beancount.contains(&format!("  ledger: \"spend/{}\"", books.mandate)));
    let journal = books.export(HOME, "hledger", &[]).unwrap();
    assert!(!journal.contains("\n2020-01-01"), "a name is no transaction");
    let file = books.file("export.journal", &journal);
    let (_, found) = hledger(&file, &["print", &format!("tag:mandate={}", books.mandate)]);
    assert_eq!(found.matches("settle: settle").count(), 3, "{found}");

    // A spreadsheet's reader gets the same sums, and no formula.
    let csv = books.export(HOME, "csv", &[]).unwrap();
    let sheet = books.file("export.csv", &csv);
    let adder = "import csv, json, sys\nsums = {}\nrows = list(csv.DictReader(open(sys.argv[1], newline='', encoding='utf-8'), strict=True))\n\
        for row in rows:\n  for name, sign in (('debit', 1), ('credit', -1)):\n    key = row[name] + ' ' + row['asset']\n    sums[key] = sums.get(key, 0) + sign * int(row['amount_atomic'])\n\
        print(json.dumps({'sums': {k: str(v) for k, v in sums.items()}, 'rows': rows}))";
    let (went, told) = said(Command::new(foreign("python")).arg("-c").arg(adder).arg(&sheet));
    assert!(went, "{told}");
    let told: Value = serde_json::from_str(&told).unwrap();
    let balances = books.balances(HOME);
    assert_eq!(told["sums"].as_object().unwrap().len(), balances.len());
    for ((account, asset), units) in &balances {
        assert_eq!(told["sums"][format!("{account} {asset}")], units.to_string(), "{account} {asset}");
    }
    let rows = told["rows"].as_array().unwrap();
    let paid: Vec<&Value> = rows.iter().filter(|row| row["code"] == "settle").collect();
    assert_eq!(paid.len(), 3);
    assert_eq!((text(paid[0], "payee"), text(paid[0], "payee_name")), (SHOP, format!("'{NAME}").as_str()));
    assert_eq!(
        (text(paid[0], "amount_atomic"), text(paid[0], "amount"), text(paid[0], "gas")),
        ("10000", "0.010000", "")
    );
    assert!(text(paid[0], "reference").starts_with("0x") && text(paid[0], "at").ends_with('Z'), "{}", paid[0]);
    assert_eq!(books.gas(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_part_of_the_book_opens_with_what_was_before() {
    let mut books = Books::kept().await;
    books.world.kill();
    let between = books.between.to_string();
    for (format, name) in [("beancount", "part.beancount"), ("hledger", "part.journal")] {
        let check =
            |file: &Path| if format == "hledger" { hledger(file, &["check", "--strict"]) } else { bean_check(file) };
        let late = books.export(HOME, format, &["--from", &between]).unwrap();
        assert_eq!(
            (late.matches("settle: settle").count(), late.matches("Opening balances").count()),
            (1, 1),
            "{late}"
        );
        let (went, why) = check(&books.file(name, &late));
        assert!(went, "{why}\n{late}");
        let lie = late.replacen(" 0.020000 ", " 0.020001 ", 1);
        assert_ne!(lie, late, "the two payments before stand in {late}");
        assert!(!check(&books.file("lie", &lie)).0, "a changed opening was taken");
        let early = books.export(HOME, format, &["--to", &between]).unwrap();
        assert_eq!(
            (early.matches("settle: settle").count(), early.contains(" ~ 0 ") || early.contains(" = ")),
            (2, false)
        );
        let (went, why) = check(&books.file(name, &early));
        assert!(went, "{why}\n{early}");
        let after = books.export(HOME, format, &["--from", "4000000000"]).unwrap();
        let (went, why) = check(&books.file(name, &after));
        assert!(went && after.contains("Opening balances"), "{why}\n{after}");
    }
    let rows = |more: &[&str]| books.export(HOME, "csv", more).unwrap().lines().count() - 1;
    assert_eq!(rows(&["--from", &between]) + rows(&["--to", &between]), rows(&[]));
    assert_eq!(rows(&["--from", "4000000000"]), 0);

    let out = books.world.folder.path().join("whole.csv");
    let shown = out.display().to_string();
    assert_eq!(books.export(HOME, "csv", &["--out", &shown]).unwrap(), "");
    assert_eq!(std::fs::read_to_string(&out).unwrap(), books.export(HOME, "csv", &[]).unwrap());
    let refused = books.export(HOME, "csv", &["--from", "2", "--to", "2"]).unwrap_err();
    assert!(refused.contains("from 2 to 2"), "{refused}");
    let refused = books.ledger(&["export", "--format", "csv"]).unwrap_err();
    assert!(refused.contains("home, shop, carrier"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_statement_says_what_an_agent_paid_in_a_month() {
    let mut books = Books::kept().await;
    books.world.kill();
    let csv = books.export(SHOP, "csv", &[]).unwrap();
    let at = csv.lines().nth(1).and_then(|row| row.split(',').nth(2)).expect("an instant");
    let month = at.get(..7).expect("a year and a month");
    let ask = |agent: &str, month: &str, more: &[&str]| {
        let question = ["statement", "--tenant", HOME, "--agent", agent, "--month", month];
        books.ledger(&[&question[..], more].concat())
    };
    let statement: Value = serde_json::from_str(&ask(AGENT, month, &["--json"]).unwrap()).unwrap();
    let spends = statement["spends"].as_array().unwrap();
    assert_eq!(spends.len(), 3, "{statement}");
    for spend in spends {
        assert_eq!((text(spend, "state"), text(spend, "payee_name")), ("settled", NAME));
        assert_eq!((text(spend, "amount"), text(spend, "amount_atomic")), ("0.010000", "10000"));
        assert_eq!((text(&spend["authority"], "asset"), text(&spend["authority"], "amount")), ("iso4217:USD", "0.01"));
        assert_eq!(text(spend, "mandate"), books.mandate);
        assert!(text(spend, "reference").starts_with("0x") && text(spend, "date").starts_with(month), "{spend}");
    }
    let total = &statement["totals"]["money"][0];
    assert_eq!((text(total, "amount"), &total["payments"]), ("0.030000", &3.into()), "{statement}");
    assert_eq!(text(&statement["totals"]["authority"][0], "amount"), "0.03");
    assert_eq!(statement["held"].as_array().map(Vec::len), Some(1), "{statement}");
    assert_eq!(text(&statement["held"][0], "state"), "committed");
    assert_eq!(text(&statement["held_totals"]["money"][0], "amount"), "0.010000");
    assert_eq!(statement["incidents"].as_array().map(Vec::len), Some(0));
    let lines = ask(AGENT, month, &["--zone", "UTC"]).unwrap();
    assert!(lines.contains("settled in the month: 3") && lines.contains("total  0.03 USD of authority"), "{lines}");

    let before: Value =
        serde_json::from_str(&ask(AGENT, "2020-02", &["--json", "--zone", "Asia/Kathmandu"]).unwrap()).unwrap();
    assert_eq!((text(&before, "from"), text(&before, "to")), ("2020-01-31T18:15:00Z", "2020-02-29T18:15:00Z"));
    assert_eq!(
        (before["spends"].as_array().map(Vec::len), before["held"].as_array().map(Vec::len)),
        (Some(0), Some(0))
    );
    assert!(ask("nobody", month, &[]).unwrap_err().contains("no agent nobody"));
    for (month, zone) in [("2026-13", "UTC"), ("2026-1", "UTC"), (month, "Mars/Olympus")] {
        assert!(ask(AGENT, month, &["--zone", zone]).is_err(), "{month} {zone}");
    }
}

/// A world whose agent has a cost centre of its own.
async fn with_cost_centre(name: &str) -> World {
    let mut world = World::start_with(3_600).await;
    for agent in world.config.tenants.iter_mut().flat_map(|tenant| &mut tenant.agents) {
        agent.cost_centre = Some(name.to_owned());
    }
    std::fs::write(world.config_file(), toml::to_string(&world.config).unwrap()).unwrap();
    world.restart();
    world
}

#[tokio::test(flavor = "multi_thread")]
async fn whose_expense_it_is_and_what_of_it_is_tax_stand_in_every_export() {
    const ODD: &str = "=Travel; date:2020-01-01, \"x\"";
    let world = with_cost_centre("4711").await;
    for wrong in [json!(""), json!("  "), json!("a\nb"), json!("x".repeat(65)), json!(4711)] {
        let body = json!({ "user": "user", "description": "x", "currency": "USD", "total": "1.00",
            "expires_in_seconds": 60, "cost_centre": wrong });
        let refused = world.call(Method::POST, "/v1/mandates/intents", &world.agent, Some(body)).await;
        assert_eq!(refused.as_ref().err().and_then(ClientError::code), Some("invalid_request"), "{wrong}: {refused:?}");
    }
    let (usual, odd) = (world.mandate().await, world.mandate_with(json!({ "cost_centre": ODD })).await);
    let taxed = json!({ "totals": [
        { "type": "subtotal", "amount": 20 }, { "type": "tax", "display_text": "VAT 19%", "amount": 4 },
        { "type": "tax", "display_text": "City", "amount": 1 }, { "type": "total", "amount": 25 },
    ] });
    for (mandate, differing) in [(&usual, taxed), (&odd, json!({}))] {
        let closed = closed_over(&world, mandate, 25, differing).await.expect("closed");
        answered_in(&world, &closed, true).await.expect("a receipt");
    }
    let config = world.config_file().display().to_string();
    let mut books = Books { world, config, mandate: usual.clone(), between: 0 };
    books.world.kill();
    let csv = books.export(HOME, "csv", &[]).unwrap();
    let facts = |row: &str| row.rsplitn(5, ',').map(str::to_owned).collect::<Vec<_>>();
    let row = |mandate: &str| csv.lines().find(|row| row.contains(",settle,") && row.contains(mandate)).expect("a row");
    assert_eq!(facts(row(&usual))[..4], ["VAT 19% 0.04; City 0.01", "USD", "0.05", "4711"], "{csv}");
    assert!(row(&odd).ends_with(",\"'=Travel; date:2020-01-01, \"\"x\"\"\",,,"), "{csv}");
    let beancount = books.export(HOME, "beancount", &[]).unwrap();
    for fact in ["  cost-centre: \"4711\"", "  tax: \"0.05 USD\"", "  tax-lines: \"VAT 19% 0.04; City 0.01\""] {
        // An expense has three legs; the tax stands on the one that pays.
        let legs = if fact.contains("cost-centre") { 3 } else { 1 };
        assert_eq!(beancount.matches(fact).count(), legs, "{fact}: {beancount}");
    }
    let (went, why) = bean_check(&books.file("centres.beancount", &beancount));
    assert!(went, "{why}\n{beancount}");
    let file = books.file("centres.journal", &books.export(HOME, "hledger", &[]).unwrap());
    let (went, why) = hledger(&file, &["check", "--strict"]);
    assert!(went, "{why}");
    let (_, found) = hledger(&file, &["print", "tag:cost-centre=4711"]);
    assert_eq!(found.matches("settle: settle").count(), 1, "{found}");

    let month = csv.lines().nth(1).and_then(|row| row.split(',').nth(2)?.get(..7)).expect("a month");
    let question = ["statement", "--tenant", HOME, "--agent", AGENT, "--month", month, "--json"];
    let statement: Value = serde_json::from_str(&books.ledger(&question).unwrap()).unwrap();
    let of = |mandate: &str| statement["spends"].as_array().unwrap().iter().find(|spend| spend["mandate"] == mandate);
    let (taxed, plain) = (of(&usual).expect("a spend"), of(&odd).expect("a spend"));
    let tax = json!({ "currency": "USD", "total": "0.05",
        "lines": [{ "label": "VAT 19%", "amount": "0.04" }, { "label": "City", "amount": "0.01" }] });
    assert_eq!((&taxed["cost_centre"], &taxed["tax"]), (&json!("4711"), &tax));
    assert_eq!((&plain["cost_centre"], &plain["tax"]), (&json!(ODD), &Value::Null));
}
