//! Unmodified packages of others that pay by Permit2, at a foreign seller that settles through our facilitator.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use crate::foreign_clients::{Killed, balance, node_script, python_script};
use crate::harness::process::{Service, stdout};
use crate::harness::text;

const PRICE: u128 = 20_000;
const PART: u128 = 37;

#[test]
fn the_python_client_pays_by_permit2_through_us() {
    pays_through_us(python_script("buy_permit2.py"));
}

#[test]
fn the_typescript_client_pays_by_permit2_through_us() {
    pays_through_us(node_script("buy_permit2.mjs"));
}

/// The fixed price, a part of what was permitted, and nothing of it; the chain shows each to the unit.
fn pays_through_us(mut client: Command) {
    let dev = Service::dev();
    let pay_to = "0x90F79bf6EB2c4f870365E785982E1f101E93b906";
    let (asset, port) = (&dev.line["chain"]["asset"], crate::harness::free_address().port().to_string());
    let (price, part) = (PRICE.to_string(), PART.to_string());
    let [address, name, version] = ["address", "name", "version"].map(|member| text(asset, member));
    let arguments = [&port, dev.url(), pay_to, address, name, version, &price, "foreign-content", &part];
    let mut seller = node_script("sell_permit2.mjs");
    let seller = seller.args(arguments).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::inherit()).spawn();
    let _seller = Killed(seller.unwrap());
    let (buyer, key) = (text(&dev.line["buyer"], "address"), text(&dev.line["buyer"], "private_key"));
    let rpc = text(&dev.line["chain"], "rpc_url");
    let permit2 = x402::permit2::PERMIT2.to_string();
    let allowed =
        python_script("transfer.py").args([rpc, key, address, &permit2, "1000000", "approve"]).output().unwrap();
    assert!(allowed.status.success(), "{}", String::from_utf8_lossy(&allowed.stderr));
    let deadline = Instant::now() + Duration::from_secs(60);
    while std::net::TcpStream::connect(format!("127.0.0.1:{port}")).is_err() {
        assert!(Instant::now() < deadline, "the seller listens");
        std::thread::sleep(Duration::from_millis(100));
    }

    let before = (balance(&dev, buyer), balance(&dev, pay_to));
    let urls = ["sold", "part", "nothing"].map(|thing| format!("http://127.0.0.1:{port}/{thing}"));
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
    assert_eq!(balance(&dev, pay_to) - before.1, PRICE + PART);
}
