//! Unmodified packages of others against ours. They are installed by `tests/run`; one that is missing is a failure.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use crate::harness::process::{Service, run, stdout};
use crate::harness::{foreign, node_folder, root, text};

fn script(name: &str) -> PathBuf {
    root().join("tests/foreign").join(name)
}

/// A Python script with its interpreter.
pub fn python_script(name: &str) -> Command {
    let mut command = Command::new(foreign("python"));
    command.arg(script(name));
    command
}

/// Where modules are looked for: beside them.
pub fn beside_the_modules(name: &str) -> PathBuf {
    let folder = node_folder();
    let part = folder.join("node_modules/@x402/express/package.json");
    assert!(part.is_file(), "{} is not there: tests/run installs it", part.display());
    folder.join(name)
}

/// A Node script with its interpreter. Modules are looked for from where a script lies, so it is laid beside them.
pub fn node_script(name: &str) -> Command {
    node_script_at(&script(name))
}

pub fn node_script_at(script: &Path) -> Command {
    let mut command = Command::new(foreign("node"));
    let beside = beside_the_modules(script.file_name().unwrap().to_str().unwrap());
    // Whole at once: another test may start the same one now.
    let (own, nanos) = (std::process::id(), std::time::UNIX_EPOCH.elapsed().unwrap().as_nanos());
    let fresh = beside.with_extension(format!("{own}-{nanos}"));
    std::fs::copy(script, &fresh).expect("the script can be laid beside its modules");
    std::fs::rename(&fresh, &beside).expect("and takes the place of the one before");
    command.arg(beside);
    command
}

/// The ERC-20 balance of an address, from the chain.
pub fn balance(dev: &Service, owner: &str) -> u128 {
    let owner = owner.trim_start_matches("0x").to_ascii_lowercase();
    let call = serde_json::json!({
        "jsonrpc": "2.0", "id": 1, "method": "eth_call",
        "params": [{ "to": dev.line["chain"]["asset"]["address"], "data": format!("0x70a08231{owner:0>64}") }, "latest"],
    });
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let url = text(&dev.line["chain"], "rpc_url").to_owned();
    let answer: Value = runtime
        .block_on(async { reqwest::Client::new().post(url).json(&call).send().await.unwrap().json().await.unwrap() });
    u128::from_str_radix(text(&answer, "result").trim_start_matches("0x"), 16).unwrap()
}

/// What the paying tenant's wallet holds, by its books.
fn home_balance(dev: &Service) -> u128 {
    let accounts = accounts(dev, "admin");
    let wallet = accounts.iter().find(|entry| text(entry, "account").starts_with("wallet/"));
    text(wallet.expect("the wallet's account"), "balance").parse().unwrap()
}

/// The posted balance of an account in the books of the shop.
fn booked(dev: &Service, account: &str) -> Option<String> {
    let accounts = accounts(dev, "shop_admin");
    accounts.iter().find(|entry| entry["account"] == account).map(|entry| text(entry, "balance").to_owned())
}

/// Every account of the tenant whose operator this is, over HTTP.
fn accounts(dev: &Service, operator: &str) -> Vec<Value> {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let url = format!("{}/v1/ledger/accounts", dev.url());
    let token = text(&dev.line[operator], "token").to_owned();
    let answer: Value = runtime.block_on(async {
        reqwest::Client::new().get(url).bearer_auth(token).send().await.unwrap().json().await.unwrap()
    });
    answer["accounts"].as_array().unwrap_or_else(|| panic!("{answer}")).clone()
}

#[test]
fn the_python_client_buys_from_us() {
    buys_from_us(&Service::dev(), python_script("buy.py"));
}

#[test]
fn the_typescript_client_buys_from_us() {
    buys_from_us(&Service::dev(), node_script("buy.mjs"));
}

/// Packages of version 1 know networks by name alone, so the devnet goes by the chain id of one that they know.
fn dev_with_a_name() -> (Service, String) {
    let dev = Service::start(&["dev", "--json", "--chain-id", "84532"], &[]);
    let network = text(&dev.line["chain"], "v1_network").to_owned();
    assert_eq!(network, "base-sepolia");
    (dev, network)
}

#[test]
fn the_typescript_client_of_version_one_buys_from_us() {
    let (dev, network) = dev_with_a_name();
    for purchase in buys_from_us(&dev, with(node_script("buy_v1.mjs"), &network)) {
        assert!(purchase["newer"].is_null(), "version 1 was spoken: {purchase}");
    }
}

#[test]
fn the_python_client_buys_from_us_over_version_one() {
    let (dev, network) = dev_with_a_name();
    for purchase in buys_from_us(&dev, with(python_script("buy_v1.py"), &network)) {
        assert!(purchase["newer"].is_null(), "version 1 was spoken: {purchase}");
    }
}

/// The network comes last, behind what the caller puts there.
fn with(command: Command, network: &str) -> Foreign {
    Foreign { command, network: Some(network.to_owned()) }
}

/// A script of a foreign package, and the network that it is told at the end where it needs to be told.
struct Foreign {
    command: Command,
    network: Option<String>,
}

impl From<Command> for Foreign {
    fn from(command: Command) -> Self {
        Self { command, network: None }
    }
}

/// A foreign client buys from our seller through our facilitator; chain and books agree to the unit.
fn buys_from_us(dev: &Service, client: impl Into<Foreign>) -> Vec<Value> {
    let Foreign { command: mut client, network } = client.into();
    let (url, key) = (text(&dev.line["paid"], "url"), text(&dev.line["buyer"], "private_key"));
    let (buyer, shop) = (text(&dev.line["buyer"], "address"), text(&dev.line["paid"], "pay_to"));
    let price: u128 = text(&dev.line["paid"], "amount").parse().unwrap();
    let (buyer_before, shop_before) = (balance(dev, buyer), balance(dev, shop));
    let output = client.args([url, key, "3"]).args(network).output().unwrap();
    let said = stdout(&output);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    let purchases: Vec<Value> = said.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(purchases.len(), 3);
    let mut transactions = std::collections::BTreeSet::new();
    for purchase in &purchases {
        assert_eq!(purchase["status"], 200, "{purchase}");
        assert!(text(purchase, "body").contains(text(&dev.line["paid"], "marker")));
        let receipt = STANDARD.decode(text(purchase, "payment_response")).unwrap();
        let receipt: Value = serde_json::from_slice(&receipt).unwrap();
        assert_eq!(receipt["success"], true);
        transactions.insert(text(&receipt, "transaction").to_owned());
    }
    assert_eq!(transactions.len(), 3, "three purchases, three settlements");
    assert_eq!(buyer_before - balance(dev, buyer), 3 * price);
    assert_eq!(balance(dev, shop) - shop_before, 3 * price);
    let wallet = format!("wallet/{}:{}", text(&dev.line["chain"], "network"), shop.to_ascii_lowercase());
    assert_eq!(booked(dev, &wallet), Some(balance(dev, shop).to_string()), "the books say what the chain says");
    purchases
}

pub struct Killed(pub Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn we_buy_from_the_python_seller() {
    we_buy_from(&Service::dev(), python_script("sell.py"));
}

#[test]
fn we_buy_from_the_express_seller() {
    we_buy_from(&Service::dev(), node_script("sell.mjs"));
}

#[test]
fn we_buy_from_the_express_seller_of_version_one() {
    let (dev, network) = dev_with_a_name();
    we_buy_from(&dev, with(node_script("sell_v1.mjs"), &network));
}

/// Our wallet pays a foreign seller, which settles through our facilitator.
fn we_buy_from(dev: &Service, seller: impl Into<Foreign>) {
    let Foreign { command: mut seller, network } = seller.into();
    let pay_to = "0x90F79bf6EB2c4f870365E785982E1f101E93b906";
    let asset = &dev.line["chain"]["asset"];
    let port = crate::harness::free_address().port().to_string();
    let arguments = [
        &port,
        dev.url(),
        pay_to,
        text(asset, "address"),
        text(asset, "name"),
        text(asset, "version"),
        "20000",
        "foreign-content",
    ];
    let seller = seller
        .args(arguments)
        .args(network)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::inherit())
        .spawn();
    let _seller = Killed(seller.unwrap());
    let deadline = Instant::now() + Duration::from_secs(60);
    while std::net::TcpStream::connect(format!("127.0.0.1:{port}")).is_err() {
        assert!(Instant::now() < deadline, "the seller listens");
        std::thread::sleep(Duration::from_millis(100));
    }
    let url = format!("http://127.0.0.1:{port}/sold");
    let (before, booked_before) = (balance(dev, pay_to), home_balance(dev));
    let pay = |key: &str| {
        let command = dev.line["pay"]["command"].as_array().unwrap();
        let args: Vec<String> = command
            .iter()
            .skip(1)
            .map(|part| part.as_str().unwrap().replace("{url}", &url).replace("{key}", key))
            .collect();
        run(&args.iter().map(String::as_str).collect::<Vec<_>>(), &[])
    };
    for key in ["one", "two"] {
        let output = pay(key);
        assert_eq!(output.status.code(), Some(0), "{}{}", stdout(&output), String::from_utf8_lossy(&output.stderr));
        assert!(stdout(&output).contains("foreign-content"));
        assert!(String::from_utf8_lossy(&output.stderr).contains("is settled"), "the wallet saw it on the chain");
    }
    assert_eq!(balance(dev, pay_to) - before, 40_000);
    assert_eq!(booked_before - home_balance(dev), 40_000, "the books of the payer say what the chain says");
}
