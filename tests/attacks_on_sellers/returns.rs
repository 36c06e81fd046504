//! Signing in instead of paying: whoever paid for exactly this comes back for it, and nobody else, nor for anything else,
//! nor twice with one text.

use alloy_primitives::keccak256;
use tokio::task::JoinSet;

use super::*;
use crate::foreign_clients::node_script;
use crate::harness::cluster::{Cluster, QUICK};

const PAID: &str = "/back/report";

/// Blocks after which nothing is taken back; five a second.
const LAG: u32 = 500;

fn decoded(header: &str) -> Value {
    serde_json::from_slice(&STANDARD.decode(header).unwrap()).unwrap()
}

/// What a 402 of this resource asks to be signed.
async fn asked(url: &str) -> Value {
    let met = reqwest::Client::new().get(url).header("host", "evil.example").send().await.unwrap();
    assert_eq!(met.status().as_u16(), 402);
    decoded(met.headers()["payment-required"].to_str().unwrap())["extensions"]["sign-in-with-x"].clone()
}

/// As EIP-4361 says, from the members as they are.
fn text_of(said: &Value) -> String {
    let chain = text(said, "chainId").trim_start_matches("eip155:");
    format!(
        "{} wants you to sign in with your Ethereum account:\n{}\n\n{}\n\nURI: {}\nVersion: {}\nChain ID: {chain}\n\
         Nonce: {}\nIssued At: {}\nExpiration Time: {}\nResources:\n- {}",
        text(said, "domain"),
        text(said, "address"),
        text(said, "statement"),
        text(said, "uri"),
        text(said, "version"),
        text(said, "nonce"),
        text(said, "issuedAt"),
        text(said, "expirationTime"),
        said["resources"][0].as_str().unwrap(),
    )
}

/// The answer of an account, changed before it is signed.
fn signed(asked: &Value, key: &WalletKey, change: impl FnOnce(&mut Value)) -> Value {
    let mut said = asked["info"].clone();
    said["address"] = key.address().to_string().into();
    said["chainId"] = asked["supportedChains"][0]["chainId"].clone();
    said["type"] = "eip191".into();
    change(&mut said);
    let text = text_of(&said);
    let digest = keccak256(format!("\u{19}Ethereum Signed Message:\n{}{text}", text.len()));
    said["signature"] = key.sign(digest).unwrap().to_text().into();
    said
}

/// Shown to the seller: the status, the code of a refusal, and what was served.
async fn shown(url: &str, headers: &[String]) -> (u16, String, Value) {
    let mut request = reqwest::Client::new().get(url);
    for header in headers {
        request = request.header("sign-in-with-x", header);
    }
    let response = request.send().await.unwrap();
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    assert!(
        headers["cache-control"].to_str().unwrap().contains("no-store") && !headers.contains_key("payment-response")
    );
    let code =
        headers.get("payment-required").map(|header| text(&decoded(header.to_str().unwrap()), "error").to_owned());
    (status, code.unwrap_or_default(), response.json().await.unwrap_or_default())
}

async fn show(url: &str, said: &Value) -> (u16, String, Value) {
    shown(url, &[STANDARD.encode(said.to_string())]).await
}

/// Refused with this code, and nothing is made for it.
async fn refused(url: &str, said: &Value, code: &str) {
    let (status, found, body) = show(url, said).await;
    assert_eq!((status, found.as_str()), (402, code), "{said}: {body}");
}

/// Everything that is not the text that was asked for, from the account that paid.
async fn nothing_else_is_signed(url: &str, buyer: &WalletKey) {
    let asked = asked(url).await;
    for junk in ["", "=", "%%%", "e30=", "W10=", "bnVsbA==", &"A".repeat(9_000), &STANDARD.encode([0xff; 64])] {
        let (status, code, _) = shown(url, &[junk.to_owned()]).await;
        assert!([402, 431].contains(&status) && code == "invalid_siwx_header", "{junk:.20}: {status} {code}");
    }
    let good = STANDARD.encode(signed(&asked, buyer, |_| ()).to_string());
    assert_eq!(shown(url, &[good.clone(), good]).await.1, "invalid_siwx_header", "twice");
    let cases: [(&str, &str, &str); 9] = [
        ("domain", "evil.example", "invalid_siwx_domain_mismatch"),
        ("chainId", "eip155:1", "invalid_siwx_unsupported_chain"),
        ("version", "2", "invalid_siwx_text"),
        ("statement", "Give it to me.", "invalid_siwx_text"),
        ("nonce", "00112233445566770011223344556677", "invalid_siwx_nonce"),
        ("nonce", "1", "invalid_siwx_nonce"),
        ("issuedAt", "2020-01-01T00:00:00.000Z", "invalid_siwx_expired"),
        ("issuedAt", "2020-01-01", "invalid_siwx_issued_at"),
        ("expirationTime", "2099-01-01T00:00:00.000Z", "invalid_siwx_expired"),
    ];
    for (field, found, code) in cases {
        refused(url, &signed(&asked, buyer, |said| said[field] = found.into()), code).await;
    }
    let old = |said: &mut Value| {
        said["issuedAt"] = "2020-01-01T00:00:00.000Z".into();
        said["expirationTime"] = "2020-01-01T00:05:00.000Z".into();
    };
    refused(url, &signed(&asked, buyer, old), "invalid_siwx_expired").await;
    let early = |said: &mut Value| {
        said["issuedAt"] = "2090-01-01T00:00:00.000Z".into();
        said["expirationTime"] = "2090-01-01T00:05:00.000Z".into();
    };
    refused(url, &signed(&asked, buyer, early), "invalid_siwx_issued_at_in_future").await;
    // One byte of what was signed, and one of the signature.
    let mut altered = signed(&asked, buyer, |_| ());
    altered["address"] = format!("{:#x}", buyer.address()).into();
    refused(url, &altered, "invalid_siwx_signature").await;
    let mut altered = signed(&asked, buyer, |_| ());
    let signature = text(&altered, "signature").to_owned();
    let last = if signature.as_bytes()[40] == b'0' { "1" } else { "0" };
    altered["signature"] = format!("{}{last}{}", &signature[..40], &signature[41..]).into();
    refused(url, &altered, "invalid_siwx_signature").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_paid_for_this_comes_back_for_this_and_once_a_text() {
    let mut world = World::lagging_on(60, LAG, Cluster::start(QUICK)).await;
    let upstream = Upstream::start().await;
    let at = |path: &str| {
        route(
            path,
            json!({ "upstream": format!("{}{path}", upstream.url), "sign_in_seconds": 600, "methods": ["GET", "POST"] }),
        )
    };
    let short = route("/back/short", json!({ "sign_in_seconds": 1 }));
    sell(
        &mut world,
        vec![at(PAID), at("/back/other"), at("/back/young"), short, route("/back/never", json!({}))],
        None,
    );
    let (replica, _client) = world.replica(1);
    let origin = world.config.public_url();
    let (url, elsewhere) = (format!("{origin}{PAID}"), format!("{}{PAID}", world.replica_origin(1)));
    let [buyer, other] = [Buyer::new(&world, 81, 100 * PRICE).await, Buyer::new(&world, 82, 100 * PRICE).await];

    let brief = buyer.sign(&world, "/back/short", 8).await;
    assert!(present(&world, "/back/short", &brief).await.is_served());
    refused(&url, &signed(&asked(&url).await, &buyer.key, |_| ()), "invalid_siwx_not_paid").await;
    let payment = buyer.sign(&world, PAID, 600).await;
    assert!(present(&world, PAID, &payment).await.is_served());
    let (runs, before) = (upstream.runs(), paid(&world).await);
    nothing_else_is_signed(&url, &buyer.key).await;
    // Another payer; another resource, method or query of the very payer's; and a route where nobody signs in.
    refused(&url, &signed(&asked(&url).await, &other.key, |_| ()), "invalid_siwx_not_paid").await;
    let gold = format!("{origin}/back/other");
    refused(&gold, &signed(&asked(&gold).await, &buyer.key, |_| ()), "invalid_siwx_not_paid").await;
    refused(&gold, &signed(&asked(&url).await, &buyer.key, |_| ()), "invalid_siwx_uri_mismatch").await;
    let query = format!("{url}?page=2");
    refused(&query, &signed(&asked(&url).await, &buyer.key, |_| ()), "invalid_siwx_not_paid").await;
    let header = STANDARD.encode(signed(&asked(&url).await, &buyer.key, |_| ()).to_string());
    let posted = reqwest::Client::new().post(&url).header("sign-in-with-x", header).send().await.unwrap();
    assert_eq!(posted.status().as_u16(), 402, "paid for GET");
    assert!(asked(&format!("{origin}/back/never")).await.is_null());
    assert_eq!(upstream.runs(), runs, "nothing was made for any of them");

    // The payer, by either replica; each text once, however many show it at once, also after a restart.
    let mut good = signed(&asked(&url).await, &buyer.key, |_| ());
    for number in 0..2 {
        let mut at_once = JoinSet::new();
        for place in 0..6 {
            let (url, said) = ([&url, &elsewhere][place % 2].clone(), good.clone());
            at_once.spawn(async move { show(&url, &said).await });
        }
        let answers = at_once.join_all().await;
        let served: Vec<_> = answers.iter().filter(|answer| answer.0 == 200).collect();
        assert_eq!((served.len(), &served[0].2), (1, &json!({ "run": runs + number + 1 })), "{answers:?}");
        assert!(answers.iter().all(|answer| answer.0 == 200 || answer.1 == "invalid_siwx_nonce"), "{answers:?}");
        refused(&elsewhere, &good, "invalid_siwx_nonce").await;
        if number == 0 {
            world.restart();
            refused(&url, &good, "invalid_siwx_nonce").await;
        }
        good = signed(&asked(&elsewhere).await, &buyer.key, |_| ());
    }
    assert_eq!((upstream.runs(), paid(&world).await), (runs + 2, before), "made twice, and paid for no more");

    let private_key = format!("0x{}", hex::encode([81; 32]));
    let signs = async |key: String, url: String| {
        let run = tokio::task::spawn_blocking(move || node_script("sign_in.mjs").args([url, key]).output().unwrap());
        let output = run.await.unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice::<Value>(&output.stdout).unwrap()
    };
    let official = signs(private_key, url.clone()).await;
    assert_eq!((&official["status"], &official["payment_response"]), (&json!(200), &Value::Null), "{official}");
    let stranger = signs(format!("0x{}", hex::encode([82; 32])), url).await;
    assert_eq!(stranger["status"], 402, "{stranger}");

    until_over(&format!("{origin}/back/short"), &buyer.key).await;
    taken_back(&world, &buyer).await;
    drop(replica);
    verify_books(&world);
}

/// Paid, and longer ago than the route allows.
async fn until_over(url: &str, key: &WalletKey) {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let (status, code, body) = show(url, &signed(&asked(url).await, key, |_| ())).await;
        if (status, code.as_str()) == (402, "invalid_siwx_not_paid") {
            return;
        }
        assert!(status == 200 && Instant::now() < deadline, "{status} {code} {body}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// Paid, given, and then the chain takes the payment back.
async fn taken_back(world: &World, buyer: &Buyer) {
    let url = format!("{}/back/young", world.config.public_url());
    let payment = buyer.sign(world, "/back/young", 600).await;
    let got = present(world, "/back/young", &payment).await;
    let transaction = text(got.receipt.as_ref().expect("it is paid"), "transaction").to_owned();
    assert_eq!(show(&url, &signed(&asked(&url).await, &buyer.key, |_| ())).await.0, 200);
    world.rpc("evm_setAutomine", json!([false])).await;
    loop {
        let receipt = world.rpc("eth_getTransactionReceipt", json!([transaction])).await;
        if receipt.is_null() {
            break;
        }
        let number = |value: &Value| u64::from_str_radix(value.as_str().unwrap().trim_start_matches("0x"), 16).unwrap();
        let head = number(&world.rpc("eth_blockNumber", json!([])).await);
        world.rpc("anvil_rollback", json!([head + 1 - number(&receipt["blockNumber"])])).await;
    }
    let deadline = Instant::now() + Duration::from_secs(15);
    loop {
        let (status, code, body) = show(&url, &signed(&asked(&url).await, &buyer.key, |_| ())).await;
        if (status, code.as_str()) == (402, "invalid_siwx_not_paid") {
            break;
        }
        assert!(status == 200 && Instant::now() < deadline, "{status} {code} {body}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    world.rpc("evm_setAutomine", json!([true])).await;
}
