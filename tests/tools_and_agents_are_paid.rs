//! Our wallet buys what others sell over MCP and A2A: unmodified packages as sellers, ours beside them, balances on the
//! chain and in the books.

use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use chain::accounts::ACCOUNTS;
use reqwest::Method;
use serde_json::{Value, json};

use crate::foreign_clients::{Killed, balance, python_script};
use crate::harness::process::{Service, run, stdout};
use crate::harness::shop::{Shop, code};
use crate::harness::{free_address, text};

const PRICE: u128 = 20_000;
const MARKER: &str = "sold-by-another";
const PAYEE: usize = 3;

struct Seller {
    url: String,
    _process: Killed,
}

/// A script that sells for `PRICE`, settling through our facilitator.
fn seller(dev: &Service, script: &str, more: &[&str]) -> Seller {
    let (port, asset) = (free_address().port(), &dev.line["chain"]["asset"]);
    let token = [text(asset, "address"), text(asset, "name"), text(asset, "version")];
    let mut command: Command = python_script(script);
    command.args([&port.to_string(), dev.url(), &ACCOUNTS[PAYEE].address.to_string()]).args(token);
    command.args([&PRICE.to_string(), MARKER]).args(more);
    let process = command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::inherit()).spawn().unwrap();
    let process = Killed(process);
    let deadline = Instant::now() + Duration::from_secs(60);
    while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(Instant::now() < deadline, "{script} does not listen");
        std::thread::sleep(Duration::from_millis(100));
    }
    Seller { url: format!("http://127.0.0.1:{port}"), _process: process }
}

/// `purser pay` of the demo agent.
fn pay(dev: &Service, url: &str, key: &str, more: &[&str]) -> Output {
    let (mandate, service) = (text(&dev.line["mandate"], "id"), text(&dev.line, "service_file"));
    let own = ["pay", url, "--mandate", mandate, "--idempotency-key", key, "--service", service];
    run(&[&own[..], more].concat(), &[])
}

fn told(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn earned(dev: &Service) -> u128 {
    balance(dev, &ACCOUNTS[PAYEE].address.to_string())
}

/// What the books have posted for the agent's mandate, in atomic units of the token.
fn posted(dev: &Service) -> String {
    let (url, token) =
        (format!("{}/v1/mandates/{}/spend", dev.url(), text(&dev.line["mandate"], "id")), &dev.line["agent"]);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let spend: Value = runtime.block_on(async {
        reqwest::Client::new().get(url).bearer_auth(text(token, "token")).send().await.unwrap().json().await.unwrap()
    });
    text(&spend["posted"], "amount").to_owned()
}

#[test]
fn a_tool_of_the_official_python_package_is_paid_for() {
    let dev = Service::dev();
    let seller = seller(&dev, "sell_tool.py", &[]);
    let url = format!("{}/mcp", seller.url);
    let (before, word) = (earned(&dev), r#"{"word":"once"}"#);

    let looked = pay(&dev, &url, "look", &["--tool", "sold", "--arguments", word, "--preview"]);
    assert!(
        looked.status.code() == Some(3) && told(&looked).contains("asks for 20000 of USD Coin"),
        "{}",
        told(&looked)
    );
    let free = pay(&dev, &url, "free", &["--tool", "given", "--arguments", word]);
    assert!(free.status.success() && stdout(&free).contains("for nothing: once"), "{}", told(&free));
    for (name, arguments) in [("sold", "[]"), ("sold", "{"), ("unknown", "{}"), ("given", "{}")] {
        let refused = pay(&dev, &url, "wrong", &["--tool", name, "--arguments", arguments]);
        assert!(!refused.status.success(), "{name} {arguments}: {}", stdout(&refused));
    }
    assert_eq!(earned(&dev), before, "nothing was paid for any of it");

    // The same purchase again is the same payment, which its seller settles no second time.
    for (key, count) in [("first", 1), ("second", 2), ("first", 2)] {
        let bought = pay(&dev, &url, key, &["--tool", "sold", "--arguments", word]);
        let is_new = earned(&dev) == before + PRICE * count && stdout(&bought).contains(&format!("{MARKER} once"));
        assert_eq!(bought.status.success(), key != "first" || count == 1, "{key}: {}", told(&bought));
        assert!(is_new || count == 2, "{key}: {} {}", stdout(&bought), told(&bought));
        assert_eq!(earned(&dev), before + PRICE * count, "{key}");
    }
    assert_eq!(posted(&dev), "0.04");
}

#[test]
fn an_agent_of_googles_package_is_paid_in_either_version() {
    let dev = Service::dev();
    let mut expected = earned(&dev);
    for dialect in ["1.0", "0.3"] {
        let seller = seller(&dev, "sell_skill.py", &[dialect]);
        let free = pay(&dev, &seller.url, &format!("free-{dialect}"), &["--message", "given"]);
        assert!(free.status.success() && stdout(&free).contains("for nothing"), "{dialect}: {}", told(&free));
        let looked = pay(&dev, &seller.url, "look", &["--message", "sold", "--preview"]);
        assert!(looked.status.code() == Some(3) && told(&looked).contains("asks for 20000"), "{}", told(&looked));
        assert_eq!(earned(&dev), expected, "{dialect}: nothing was paid yet");
        let bought = pay(&dev, &seller.url, &format!("paid-{dialect}"), &["--message", "sold"]);
        assert!(bought.status.success() && stdout(&bought).contains(MARKER), "{dialect}: {}", told(&bought));
        assert!(told(&bought).contains("is settled"), "{dialect}: {}", told(&bought));
        expected += PRICE;
        assert_eq!(earned(&dev), expected, "{dialect}");
    }
    assert_eq!(posted(&dev), "0.04");
}

#[test]
fn our_own_tools_and_skills_are_bought_as_anybodys() {
    let dev = Service::dev();
    let marker = text(&dev.line["paid"], "marker").to_owned();
    let (mcp, a2a) = (&dev.line["mcp"], &dev.line["a2a"]);
    let tool = pay(&dev, text(mcp, "shop_url"), "tool", &["--tool", text(mcp, "paid_tool")]);
    assert!(tool.status.success() && stdout(&tool).contains(&marker), "{}", told(&tool));
    let skill = pay(&dev, text(a2a, "url"), "skill", &["--message", text(a2a, "paid_skill")]);
    assert!(skill.status.success() && stdout(&skill).contains(&marker), "{}", told(&skill));
    assert_eq!(posted(&dev), "0.02");
}

/// What a tool is called says nothing of who sells it.
#[tokio::test]
async fn a_tool_is_bought_at_the_server_that_asked() {
    let shop = Shop::open().await;
    let mandate = shop.mandate(crate::harness::shop::intent()).await;
    let mut required = serde_json::to_value(shop.offer("/hello", 10_000)).unwrap();
    required["resource"]["url"] = "mcp://tool/hello".into();
    let body = |url: Value| json!({ "mandate": mandate, "method": "POST", "payment_required": required, "url": url });
    let here = shop.url("/mcp/shop");
    let pay = async |key: &str, url: Value| {
        shop.client.call(Method::POST, "/v1/payments", &shop.agent, Some(key), Some(body(url))).await
    };

    for url in [Value::Null, "mcp://tool/hello".into(), "ftp://a/b".into(), "http://user@127.0.0.1/mcp".into()] {
        assert_eq!(code(pay("nowhere", url.clone()).await), "invalid_request", "{url}");
    }
    let mut another = body(here.as_str().into());
    another["payment_required"]["accepts"][0]["payTo"] = ACCOUNTS[PAYEE].address.to_string().into();
    let refused = shop.client.call(Method::POST, "/v1/payments", &shop.agent, Some("another"), Some(another)).await;
    assert_eq!(code(refused), "payee_mismatch", "the origin is on record, with its address");
    let paid = pay("here", here.as_str().into()).await.unwrap();
    assert_eq!(
        paid["payee"],
        shop.pay(&mandate, &shop.offer("/paid/hello", 10_000), "as-http").await.unwrap()["payee"]
    );
    let again = pay("here", here.as_str().into()).await.unwrap();
    assert_eq!(again["id"], paid["id"]);
    assert_eq!(code(pay("here", "http://127.0.0.1:1/mcp".into()).await), "idempotency_key_reused");
}
