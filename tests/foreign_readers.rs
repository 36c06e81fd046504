//! Readers and issuers of SD-JWT that are not ours: each segment of a mandate chain is an SD-JWT of RFC 9901 to them, with the
//! claims that we read in it; and theirs are to us.

use std::io::Write as _;
use std::process::{Command, Stdio};

use mandates::keys::PublicKey;
use mandates::sd_jwt::SdJwt;
use serde_json::{Map, Value, json};

use crate::foreign_clients::{node_script, python_script};
use crate::harness::shop::{Shop, intent, new_key};
use crate::harness::text;

/// The chain that a payment was made under, and the key that its root is trusted by.
async fn chain(shop: &Shop) -> (String, Value) {
    let mandate = shop.mandate(intent()).await;
    let payment = shop.pay(&mandate, &shop.met("/paid/report").await, &new_key()).await.expect("a payment");
    let path = format!("/v1/payments/{}/evidence", text(&payment, "id"));
    let file = shop.call(reqwest::Method::GET, &path, &shop.user, None).await.unwrap();
    let bundle: Value = serde_json::from_str(text(&file, "bundle")).unwrap();
    (text(&bundle, "chain").to_owned(), file["issuer_keys"]["keys"].clone())
}

/// What a foreign package makes of some tokens, and tokens that it issued.
fn ask(mut command: Command, tokens: &[Value]) -> Value {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(json!({ "read": tokens }).to_string().as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "the package runs");
    serde_json::from_slice(&output.stdout).unwrap()
}

fn public(jwk: &Value) -> PublicKey {
    let mut jwk: Map<String, Value> = jwk.as_object().unwrap().clone();
    jwk.retain(|name, _| ["kty", "crv", "x", "y"].contains(&name.as_str()));
    PublicKey::from_jwk(&jwk).unwrap()
}

/// As another reader gives it: the disclosed claims with the disclosed delegate payloads among them.
fn read(token: &str, jwk: &Value) -> Value {
    let token = SdJwt::parse(token).unwrap();
    token.jwt.verify(&public(jwk)).unwrap();
    let resolved = token.resolve().unwrap();
    let mut claims = resolved.claims().to_object();
    if let Some(delegates) = &resolved.delegates {
        claims.insert(
            "delegate_payload".into(),
            delegates.iter().map(|delegate| resolved.value(delegate).to_value()).collect(),
        );
    }
    Value::Object(claims)
}

/// JavaScript writes 5 for 5.00: one value in two spellings.
fn in_one_spelling(value: &mut Value) {
    match value {
        Value::Number(number) => *value = format!("{}", number.as_f64().unwrap()).into(),
        Value::Array(entries) => entries.iter_mut().for_each(in_one_spelling),
        Value::Object(members) => members.values_mut().for_each(in_one_spelling),
        Value::Null | Value::Bool(_) | Value::String(_) => {}
    }
}

async fn agree(command: Command) {
    let shop = Shop::open().await;
    let (chain, roots) = chain(&shop).await;
    let segments: Vec<String> =
        chain.split("~~").map(|segment| format!("{}~", segment.trim_end_matches('~'))).collect();
    assert_eq!(segments.len(), 2, "an open and a closed mandate: {chain}");
    let root = SdJwt::parse(&segments[0]).unwrap();
    let kid = root.jwt.kid().unwrap();
    let root_key = roots.as_array().unwrap().iter().find(|key| key["kid"] == kid).expect("the root's key").clone();
    let holder = read(&segments[0], &root_key)["delegate_payload"][0]["cnf"]["jwk"].clone();

    let tokens: Vec<Value> =
        segments.iter().zip([&root_key, &holder]).map(|(token, jwk)| json!({ "token": token, "jwk": jwk })).collect();
    let mut given = tokens.clone();
    // What must not be read: the other's key, a signature of other bytes, a disclosure that nothing refers to.
    given.push(json!({ "token": segments[0], "jwk": holder }));
    given.push(json!({ "token": segments[1].replacen('.', ".A", 1), "jwk": holder }));
    let answer = ask(command, &given);
    for (place, token) in tokens.iter().enumerate() {
        let mut ours = read(text(token, "token"), &token["jwk"]);
        let mut theirs = answer["read"][place].clone();
        theirs.as_object_mut().unwrap_or_else(|| panic!("segment {place} was refused")).remove("_sd_alg");
        [&mut ours, &mut theirs].into_iter().for_each(in_one_spelling);
        assert_eq!(theirs, ours, "segment {place}");
        assert!(ours["delegate_payload"][0]["vct"].as_str().unwrap().starts_with("mandate.payment."));
    }
    assert_eq!((&answer["read"][2], &answer["read"][3]), (&Value::Null, &Value::Null));

    let issued = answer["issued"].as_array().unwrap();
    assert_eq!(issued.len(), 2, "without decoys, and with them");
    for entry in issued {
        let ours = read(text(entry, "token"), &entry["jwk"]);
        let (mut ours, mut theirs) = (ours, entry["claims"].clone());
        // Each adds the time of issue as it likes.
        for claims in [&mut ours, &mut theirs] {
            claims.as_object_mut().unwrap().remove("iat");
        }
        assert_eq!(ours, theirs);
        let kept = text(entry, "token").rsplit_once('~').unwrap().0.rsplit_once('~').unwrap().0.to_owned() + "~";
        assert_ne!(read(&kept, &entry["jwk"]), ours, "a disclosure that is withheld is not read");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sd_jwt_for_python_reads_ours_and_we_read_its() {
    agree(python_script("read_sd_jwt.py")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sd_jwt_for_node_reads_ours_and_we_read_its() {
    agree(node_script("read_sd_jwt.mjs")).await;
}
