//! Unmodified packages of others that pay by Permit2, at a foreign seller that settles through our facilitator.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::foreign_clients::{Killed, balance, node_script, python_script};
use crate::harness::process::{Service, run, stdout};
use crate::harness::text;

const PRICE: u128 = 20_000;
const PART: u128 = 37;
const PAY_TO: &str = "0x90F79bf6EB2c4f870365E785982E1f101E93b906";

#[test]
fn the_python_client_pays_by_permit2_through_us() {
    pays_through_us(python_script("buy_permit2.py"));
}

#[test]
fn the_typescript_client_pays_by_permit2_through_us() {
    pays_through_us(node_script("buy_permit2.mjs"));
}

const PERMIT: &str = "eip2612GasSponsoring";
const APPROVAL: &str = "erc20ApprovalGasSponsoring";

#[test]
fn the_python_client_has_its_approval_sent_by_us() {
    pays_without_an_allowance(python_script("buy_permit2.py"), APPROVAL);
}

#[test]
fn the_typescript_client_has_its_approval_sent_by_us() {
    pays_without_an_allowance(node_script("buy_permit2.mjs"), APPROVAL);
}

#[test]
fn the_python_client_has_its_permit_taken_along_by_us() {
    pays_without_an_allowance(python_script("buy_permit2.py"), PERMIT);
}

#[test]
fn the_typescript_client_has_its_permit_taken_along_by_us() {
    pays_without_an_allowance(node_script("buy_permit2.mjs"), PERMIT);
}

/// Somebody with tokens, and with neither gas nor an allowance for Permit2.
fn pays_without_an_allowance(mut client: Command, extension: &str) {
    let dev = Service::dev();
    let key = "0x4141414141414141414141414141414141414141414141414141414141414141";
    let buyer = x402::exact::WalletKey::from_hex(key).unwrap().address().to_string();
    rpc(&dev, "devnet_mint", json!([buyer, format!("{:#x}", 10 * PRICE)]));
    let (_seller, urls) = selling(&dev, dev.url(), &["sold", "part"], &[extension]);
    let before = balance(&dev, PAY_TO);
    let node = text(&dev.line["chain"], "rpc_url");
    let output = client.arg(key).args(&urls).env("RPC_URL", node).output().unwrap();
    let said = stdout(&output);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    for line in said.lines() {
        let purchase: Value = serde_json::from_str(line).unwrap();
        assert_eq!(purchase["status"], 200, "{purchase}");
    }
    assert_eq!((balance(&dev, &buyer), balance(&dev, PAY_TO) - before), (9 * PRICE - PART, PRICE + PART));
    // One approval lasts for both; of permits each comes along with its own payment.
    let sent = rpc(&dev, "eth_getTransactionCount", json!([buyer, "latest"]));
    assert_eq!(sent, if extension == APPROVAL { "0x1" } else { "0x0" });
}

#[test]
fn our_wallet_brings_its_allowance_to_a_foreign_seller() {
    let dev = Service::dev();
    for extension in [PERMIT, APPROVAL] {
        buys(&dev, dev.url(), extension);
    }
}

#[test]
fn our_wallet_brings_its_permit_to_a_foreign_facilitator() {
    let dev = Service::dev();
    let (port, node) = (crate::harness::free_address().port().to_string(), text(&dev.line["chain"], "rpc_url"));
    let key = chain::accounts::ACCOUNTS[6].private_key.to_string();
    let mut facilitator = python_script("facilitate.py");
    let facilitator = facilitator.args([port.as_str(), node, &key, "eip155:31337"]).stdout(Stdio::null());
    let _facilitator = Killed(facilitator.spawn().unwrap());
    until_it_listens(&port);
    buys(&dev, &format!("http://127.0.0.1:{port}"), PERMIT);
}

/// Once; the seller has no memory of it, and says to the same payment that it is used up.
fn buys(dev: &Service, facilitator: &str, extension: &str) {
    let (_seller, urls) = selling(dev, facilitator, &["sold"], &[extension]);
    let before = balance(dev, PAY_TO);
    let command = dev.line["pay"]["command"].as_array().unwrap().iter().skip(1);
    let fill = |part: &Value| part.as_str().unwrap().replace("{url}", &urls[0]).replace("{key}", extension);
    let arguments: Vec<String> = command.map(fill).collect();
    for is_sold in [true, false] {
        let output = run(&arguments.iter().map(String::as_str).collect::<Vec<_>>(), &[]);
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        let is_given = output.status.success() && stdout(&output).contains("foreign-content");
        assert_eq!(is_given, is_sold, "{extension}: {told}");
        assert!(told.contains("is settled"), "{extension}: {told}");
    }
    assert_eq!(balance(dev, PAY_TO) - before, PRICE, "{extension}");
}

fn until_it_listens(port: &str) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while std::net::TcpStream::connect(format!("127.0.0.1:{port}")).is_err() {
        assert!(Instant::now() < deadline, "nobody listens");
        std::thread::sleep(Duration::from_millis(100));
    }
}

fn rpc(dev: &Service, method: &str, params: Value) -> Value {
    let call = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
    let url = text(&dev.line["chain"], "rpc_url").to_owned();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let asked = async { reqwest::Client::new().post(url).json(&call).send().await.unwrap().json().await.unwrap() };
    let answer: Value = runtime.block_on(asked);
    assert!(answer["error"].is_null(), "{answer}");
    answer["result"].clone()
}

/// A foreign seller, and the addresses of what it sells.
fn selling(dev: &Service, facilitator: &str, things: &[&str], more: &[&str]) -> (Killed, Vec<String>) {
    let (asset, port) = (&dev.line["chain"]["asset"], crate::harness::free_address().port().to_string());
    // Not every facilitator carries `upto`.
    let part = if things.contains(&"part") { PART.to_string() } else { "none".to_owned() };
    let price = PRICE.to_string();
    let [address, name, version] = ["address", "name", "version"].map(|member| text(asset, member));
    let arguments = [&port, facilitator, PAY_TO, address, name, version, &price, "foreign-content", &part];
    let mut seller = node_script("sell_permit2.mjs");
    let seller = seller.args(arguments).args(more).stdin(Stdio::piped()).stdout(Stdio::null());
    let seller = Killed(seller.stderr(Stdio::inherit()).spawn().unwrap());
    until_it_listens(&port);
    (seller, things.iter().map(|thing| format!("http://127.0.0.1:{port}/{thing}")).collect())
}

/// The fixed price, a part of what was permitted, and nothing of it; the chain shows each to the unit.
fn pays_through_us(mut client: Command) {
    let dev = Service::dev();
    let (_seller, urls) = selling(&dev, dev.url(), &["sold", "part", "nothing"], &[]);
    let address = text(&dev.line["chain"]["asset"], "address");
    let (buyer, key) = (text(&dev.line["buyer"], "address"), text(&dev.line["buyer"], "private_key"));
    let node = text(&dev.line["chain"], "rpc_url");
    let permit2 = x402::permit2::PERMIT2.to_string();
    let allowed =
        python_script("transfer.py").args([node, key, address, &permit2, "1000000", "approve"]).output().unwrap();
    assert!(allowed.status.success(), "{}", String::from_utf8_lossy(&allowed.stderr));

    let before = (balance(&dev, buyer), balance(&dev, PAY_TO));
    let output = client.arg(key).args(&urls).output().unwrap();
    let said = stdout(&output);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    let purchases: Vec<Value> = said.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let charged = [PRICE, PART, 0].map(|amount| amount.to_string());
    assert_eq!(purchases.len(), charged.len());
    for (purchase, charged) in purchases.iter().zip(&charged) {
        assert_eq!(purchase["status"], 200, "{purchase}");
        assert!(text(purchase, "body").contains("foreign-content"));
        let receipt = STANDARD.decode(text(purchase, "payment_response")).unwrap();
        let receipt: Value = serde_json::from_slice(&receipt).unwrap();
        assert_eq!(
            (&receipt["success"], text(&receipt, "amount")),
            (&Value::Bool(true), charged.as_str()),
            "{receipt}"
        );
        assert_eq!(text(&receipt, "transaction").is_empty(), charged == "0", "{receipt}");
    }
    assert_eq!(before.0 - balance(&dev, buyer), PRICE + PART);
    assert_eq!(balance(&dev, PAY_TO) - before.1, PRICE + PART);
}
