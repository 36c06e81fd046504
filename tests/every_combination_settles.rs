//! Clients, sellers and facilitators of three makes, ours and the official ones in TypeScript and Python, unmodified: every
//! combination in which ours takes part pays and settles `exact` by EIP-3009, seen on the chain.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use chain::accounts::ACCOUNTS;
use serde_json::Value;

use crate::foreign_clients::{Killed, balance, node_script, node_script_at, python_script};
use crate::harness::process::{Service, run, stdout};
use crate::harness::{free_address, root, text};

const NETWORK: &str = "eip155:31337";
const PRICE: u128 = 20_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Make {
    Ours,
    TypeScript,
    Python,
}

const MAKES: [Make; 3] = [Make::Ours, Make::TypeScript, Make::Python];

/// Whoever started it holds its standard input, and it ends with that.
fn spawn(mut command: Command) -> Killed {
    Killed(command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::inherit()).spawn().unwrap())
}

fn until_it_listens(port: u16) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(Instant::now() < deadline, "nobody listens at {port}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// A service of ours whose seller settles through a facilitator of this make, and the facilitator's address.
fn market(facilitator: Make) -> (Service, String, Option<Killed>) {
    let script = match facilitator {
        Make::Ours => {
            let dev = Service::dev();
            let url = dev.url().to_owned();
            return (dev, url, None);
        }
        Make::TypeScript => node_script_at(&root().join("adapters/purser/src/bench/facilitator.mjs")),
        Make::Python => python_script("facilitate.py"),
    };
    let port = free_address().port();
    let url = format!("http://127.0.0.1:{port}");
    let dev = Service::start(&["dev", "--json", "--facilitator", &url], &[]);
    let (port_text, key) = (port.to_string(), ACCOUNTS[6].private_key.to_string());
    let mut command = script;
    command.args([&port_text, text(&dev.line["chain"], "rpc_url"), &key, NETWORK]);
    let process = spawn(command);
    until_it_listens(port);
    (dev, url, Some(process))
}

struct Shop {
    make: Make,
    url: String,
    pay_to: String,
    price: u128,
    marker: String,
    _process: Option<Killed>,
}

fn shop(make: Make, dev: &Service, facilitator: &str) -> Shop {
    let paid = &dev.line["paid"];
    let mut script = match make {
        Make::Ours => {
            return Shop {
                make,
                url: text(paid, "url").to_owned(),
                pay_to: text(paid, "pay_to").to_owned(),
                price: text(paid, "amount").parse().unwrap(),
                marker: text(paid, "marker").to_owned(),
                _process: None,
            };
        }
        Make::TypeScript => node_script("sell.mjs"),
        Make::Python => python_script("sell.py"),
    };
    let (port, asset) = (free_address().port(), &dev.line["chain"]["asset"]);
    let (pay_to, marker) = (ACCOUNTS[3].address.to_string(), format!("sold-by-{make:?}"));
    let (port_text, price) = (port.to_string(), PRICE.to_string());
    let token = [text(asset, "address"), text(asset, "name"), text(asset, "version")];
    script.args([&port_text, facilitator, &pay_to]).args(token).args([&price, &marker]);
    let process = spawn(script);
    until_it_listens(port);
    let url = format!("http://127.0.0.1:{port}/sold");
    Shop { make, url, pay_to, price: PRICE, marker, _process: Some(process) }
}

/// Buys once; who pays, and what came.
fn buy(make: Make, dev: &Service, shop: &Shop) -> String {
    let key = text(&dev.line["buyer"], "private_key");
    let mut client = match make {
        Make::Ours => {
            let command = dev.line["pay"]["command"].as_array().unwrap().iter().skip(1);
            let name = format!("of-{:?}", shop.make);
            let filled = |part: &Value| part.as_str().unwrap().replace("{url}", &shop.url).replace("{key}", &name);
            let args: Vec<String> = command.map(filled).collect();
            let output = run(&args.iter().map(String::as_str).collect::<Vec<_>>(), &[]);
            let told = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(output.status.success() && told.contains("is settled"), "{told}");
            return stdout(&output);
        }
        Make::TypeScript => node_script("buy.mjs"),
        Make::Python => python_script("buy.py"),
    };
    let output = client.args([&shop.url, key, "1"]).output().unwrap();
    let said = stdout(&output);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    let purchase: Value = serde_json::from_str(said.trim()).unwrap();
    assert_eq!(purchase["status"], 200, "{purchase}");
    text(&purchase, "body").to_owned()
}

fn payer(make: Make, dev: &Service) -> String {
    match make {
        Make::Ours => text(&dev.line["wallet"], "address").to_owned(),
        _ => text(&dev.line["buyer"], "address").to_owned(),
    }
}

/// Every client at every seller, where at least one of the three is ours; how many that were.
fn settle_through(facilitator: Make) -> usize {
    let (dev, url, _process) = market(facilitator);
    let shops: Vec<Shop> = MAKES.into_iter().map(|make| shop(make, &dev, &url)).collect();
    let mut count = 0;
    for shop in &shops {
        for client in MAKES {
            if ![client, shop.make, facilitator].contains(&Make::Ours) {
                continue;
            }
            let named = format!("client {client:?}, seller {:?}, facilitator {facilitator:?}", shop.make);
            let payer = payer(client, &dev);
            let before = (balance(&dev, &payer), balance(&dev, &shop.pay_to));
            let content = buy(client, &dev, shop);
            assert!(content.contains(&shop.marker), "{named}: {content}");
            assert_eq!(before.0 - balance(&dev, &payer), shop.price, "{named}: paid once");
            assert_eq!(balance(&dev, &shop.pay_to) - before.1, shop.price, "{named}: received once");
            count += 1;
        }
    }
    count
}

#[test]
fn every_one_with_our_facilitator() {
    assert_eq!(settle_through(Make::Ours), 9);
}

#[test]
fn every_one_of_ours_with_the_typescript_facilitator() {
    assert_eq!(settle_through(Make::TypeScript), 5);
}

#[test]
fn every_one_of_ours_with_the_python_facilitator() {
    assert_eq!(settle_through(Make::Python), 5);
}
