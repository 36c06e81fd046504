//! Promise 5: the evidence of a spend is one file that verifies offline, and no changed file does.

use std::path::Path;

use purser::world::HOME;
use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::process::{run, stdout};
use crate::harness::root;
use crate::harness::shop::{Shop, intent, new_key};
use crate::harness::text;
use crate::harness::world::World;

async fn evidence(shop: &Shop) -> (Value, Value) {
    let mandate = shop.mandate(intent()).await;
    let payment = shop.pay(&mandate, &shop.met("/paid/report").await, &new_key()).await.expect("a payment");
    assert_eq!(shop.fetch("/paid/report", Some(text(&payment, "payment_signature"))).await.status.as_u16(), 200);
    let path = format!("/v1/payments/{}", text(&payment, "id"));
    let outcome = shop.call(reqwest::Method::POST, &format!("{path}/outcome"), &shop.agent, Some(json!({}))).await;
    assert_eq!(outcome.unwrap()["state"], "settled");
    let file = shop.call(reqwest::Method::GET, &format!("{path}/evidence"), &shop.user, None).await.unwrap();
    let jwks = file["issuer_keys"].clone();
    (file, jwks)
}

fn verify(folder: &Path, file: &Value, trust: Option<&Path>) -> (Option<i32>, String) {
    let path = folder.join("evidence.json");
    std::fs::write(&path, file.to_string()).unwrap();
    let path = path.display().to_string();
    let trust = trust.map(|trust| trust.display().to_string());
    let mut args = vec!["verify", "--evidence", path.as_str()];
    if let Some(trust) = &trust {
        args.extend(["--trust", trust]);
    }
    let output = run(&args, &[]);
    (output.status.code(), stdout(&output))
}

#[tokio::test(flavor = "multi_thread")]
async fn evidence_verifies_offline_and_no_changed_evidence_does() {
    let shop = Shop::open().await;
    let (file, jwks) = evidence(&shop).await;
    let folder = tempfile::tempdir().unwrap();
    let trust = folder.path().join("trust.json");
    std::fs::write(&trust, jwks.to_string()).unwrap();
    let (status, said) = verify(folder.path(), &file, Some(&trust));
    assert_eq!(status, Some(0), "{said}");
    assert!(said.ends_with("valid\n"), "{said}");
    let left = said.lines().filter(|line| line.starts_with("not proved that ")).count();
    assert_eq!(left, 5, "it says what it does not prove: {said}");

    let bundle: Value = serde_json::from_str(text(&file, "bundle")).unwrap();
    // As it was written before there were two rails: the same, but for the digest that the record has.
    let mut former = bundle.clone();
    let offered = former.as_object_mut().unwrap().remove("rail").unwrap()["x402"].as_object().unwrap().clone();
    former.as_object_mut().unwrap().extend(offered);
    let read = engine::evidence::Bundle::parse(&former.to_string()).expect("the former shape");
    assert_eq!(serde_json::to_value(read).unwrap(), bundle);
    let mut changed: Vec<(&str, Value)> = Vec::new();
    let mut change = |what: &'static str, edit: &dyn Fn(&mut Value)| {
        let mut copy = file.clone();
        edit(&mut copy);
        assert_ne!(copy, file, "{what} changes nothing");
        changed.push((what, copy));
    };
    change("spend", &|file| file["spend"] = "00".repeat(32).into());
    change("state", &|file| file["state"] = "released".into());
    change("transaction", &|file| file["transaction"] = format!("0x{}", "11".repeat(32)).into());
    change("record", &|file| {
        let bytes = text(&file["records"][0], "bytes").replacen('A', "B", 1);
        file["records"][0]["bytes"] = bytes.into();
    });
    change("salt", &|file| file["records"][0]["salt"] = "00".repeat(32).into());
    change("leaf", &|file| file["records"][0]["leaf"] = "00".repeat(32).into());
    change("records taken away", &|file| file["records"] = json!([]));
    change("last record taken away", &|file| {
        file["records"].as_array_mut().unwrap().pop();
    });
    change("amount signed", &|file| file["payload"]["payload"]["authorization"]["value"] = "9999".into());
    change("payee signed", &|file| {
        file["payload"]["payload"]["authorization"]["to"] = "0x90F79bf6EB2c4f870365E785982E1f101E93b906".into();
    });
    change("signature", &|file| {
        let signature = text(&file["payload"]["payload"], "signature").replacen('1', "2", 1);
        file["payload"]["payload"]["signature"] = signature.into();
    });
    let terms = ["/rail/x402/method", "/rail/x402/offer"];
    for field in ["/chain", "/currency", "/audience", "/authority", "/payee"].into_iter().chain(terms) {
        assert!(bundle.pointer(field).is_some_and(|value| !value.is_null()), "the bundle has {field}");
        change("a field of the bundle", &|file| {
            let mut copy = bundle.clone();
            let value = copy.pointer_mut(field).unwrap();
            *value = match &*value {
                Value::String(text) => format!("{text}x").into(),
                _ => json!({ "changed": true }),
            };
            file["bundle"] = copy.to_string().into();
        });
    }
    change("decision", &|file| {
        let decision = text(file, "decision").replace("\"agent\":\"shopper\"", "\"agent\":\"another\"");
        file["decision"] = decision.into();
    });
    for (what, copy) in changed {
        let (status, said) = verify(folder.path(), &copy, Some(&trust));
        assert_ne!(status, Some(0), "{what} was changed and it still verifies: {said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn evidence_is_checked_with_the_verifiers_keys() {
    let (shop, other) = (Shop::open().await, Shop::open().await);
    let (file, _) = evidence(&shop).await;
    let (_, foreign) = evidence(&other).await;
    let folder = tempfile::tempdir().unwrap();
    let trust = folder.path().join("foreign.json");
    std::fs::write(&trust, foreign.to_string()).unwrap();
    let (status, said) = verify(folder.path(), &file, Some(&trust));
    assert_eq!(status, Some(1), "{said}");
    assert!(said.contains("FAIL mandate_chain"), "{said}");
    let (_, said) = verify(folder.path(), &file, None);
    assert!(said.contains("keys that the file itself names"), "trust in the file's own keys is said: {said}");
}

/// The conformance file: nothing invalid is accepted, and the score is honest.
#[test]
fn the_ap2_vectors_are_run_by_the_command() {
    let file = root().join("fixtures/ap2/v0.2.json");
    let output = run(&["verify", "--vectors", &file.display().to_string()], &[]);
    let said = stdout(&output);
    let cases: Vec<Value> = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines.len(), cases.len() + 1, "one line a case and the score");
    let failed: Vec<&&str> = lines.iter().filter(|line| line.starts_with("FAIL")).collect();
    let passed = cases.len() - failed.len();
    assert_eq!(lines.last(), Some(&format!("{passed} passed, {} failed", failed.len()).as_str()));
    for line in &failed {
        assert!(line.contains("expected valid") && line.contains("waits_for="), "an invalid case was accepted: {line}");
    }
    assert_eq!(output.status.code(), Some(i32::from(!failed.is_empty())));
    assert_eq!(passed, cases.len(), "{failed:?}");
}

/// The other formats: AP2 v0.1, a folder of SD-JWT cases, a UCP checkout; and a case that does not hold is said to fail.
#[test]
fn the_other_vectors_are_run_by_the_command() {
    let folder = tempfile::tempdir().unwrap();
    let score = |path: &Path| {
        let output = run(&["verify", "--vectors", &path.display().to_string()], &[]);
        (output.status.code(), stdout(&output).lines().last().unwrap_or_default().to_owned())
    };
    let fixtures = root().join("fixtures");
    assert_eq!(score(&fixtures.join("ap2/v0.1.json")), (Some(0), "12 passed, 0 failed".to_owned()));
    assert_eq!(score(&fixtures.join("sd-jwt")), (Some(0), "17 passed, 0 failed".to_owned()));
    assert_eq!(score(&fixtures.join("sd-jwt/recursions.yml")), (Some(0), "1 passed, 0 failed".to_owned()));
    let checkout = fixtures.join("ucp/merchant-authorization-vector.json");
    assert_eq!(score(&checkout), (Some(0), "1 passed, 0 failed".to_owned()));
    let pulse = fixtures.join("x402/pulse/cases.json");
    assert_eq!(score(&pulse), (Some(0), "40 passed, 0 failed".to_owned()));
    for (name, passed, failed) in [
        ("exact_eip3009", 2, 0),
        ("permit2_upto", 2, 0),
        ("batch_settlement", 1, 0),
        ("other_versions_and_schemes", 3, 0),
    ] {
        let said = format!("{passed} passed, {failed} failed");
        assert_eq!(score(&fixtures.join(format!("x402/{name}.json"))), (Some(failed), said), "{name}");
    }
    assert_eq!(score(&fixtures.join("sd-jwt/settings.yml")).0, Some(2), "settings are no case");
    assert_eq!(score(folder.path()), (Some(1), "0 passed, 0 failed".to_owned()));
    for (name, from, to) in [
        ("sd-jwt/recursions.yml", "- two\n\n  bar:\n    green: 2", "- one\n\n  bar:\n    green: 2"),
        ("sd-jwt/array_none_disclosed.yml", "is_over: {}", "is_over: {\"13\": False}"),
        ("sd-jwt/key_binding.yml", "given_name: true", "given_name: false"),
        ("ucp/merchant-authorization-vector.json", "\"price\": 2500", "\"price\": 2501"),
        ("ucp/merchant-authorization-vector.json", "zhAACoDJ", "zhAACoDK"),
    ] {
        let text = std::fs::read_to_string(fixtures.join(name)).unwrap();
        let changed = text.replacen(from, to, 1);
        assert_ne!(changed, text, "{name} has {from}");
        let file = folder.path().join(Path::new(name).file_name().unwrap());
        std::fs::write(&file, changed).unwrap();
        assert_eq!(score(&file), (Some(1), "0 passed, 1 failed".to_owned()), "{name}: {to}");
    }
    let cases = std::fs::read_to_string(&pulse).unwrap();
    let cases = cases.replace("\"consistent\": false", "\"consistent\": true");
    let file = folder.path().join("cases.json");
    std::fs::write(&file, cases).unwrap();
    assert_eq!(score(&file), (Some(1), "8 passed, 32 failed".to_owned()), "each is refused by itself");
    let cases = std::fs::read_to_string(fixtures.join("ap2/v0.1.json")).unwrap();
    let cases = cases.replace("\"expect\": \"invalid\"", "\"expect\": \"valid\"");
    let file = folder.path().join("v0.1.json");
    std::fs::write(&file, cases).unwrap();
    assert_eq!(score(&file), (Some(1), "3 passed, 9 failed".to_owned()));
}

#[test]
fn usage_is_exit_2_and_invalid_is_exit_1() {
    let folder = tempfile::tempdir().unwrap();
    let trust = folder.path().join("trust.json");
    std::fs::write(&trust, json!({ "keys": [] }).to_string()).unwrap();
    let trust = trust.display().to_string();
    assert_eq!(run(&["verify"], &[]).status.code(), Some(2));
    assert_eq!(run(&["verify", "a.b.c~"], &[]).status.code(), Some(2), "no trust was given");
    assert_eq!(run(&["verify", "a.b.c~", "--trust", "/nowhere"], &[]).status.code(), Some(2));
    assert_eq!(run(&["verify", "a.b.c~", "--trust", &trust], &[]).status.code(), Some(1));
    assert_eq!(run(&["verify", "--nonsense"], &[]).status.code(), Some(2));
}

/// What pins the journal from outside: a record is proved to somebody who has neither journal nor keys, the journal goes on
/// from what was signed before, and one that was rewritten contradicts it.
#[tokio::test(flavor = "multi_thread")]
async fn the_journal_is_pinned_by_checkpoints_kept_elsewhere() {
    let mut world = World::start().await;
    let mandate = world.mandate().await;
    // A copy of the whole book, from before the payment.
    world.serve = None;
    let copy = world.folder.path().join("copy.sqlite");
    let backup = format!("VACUUM INTO '{}'", copy.display());
    let database = world.config.database.to_string();
    assert!(std::process::Command::new("sqlite3").args([&database, &backup]).status().unwrap().success());
    world.restart();
    let payment = world.pay(&mandate, "pinned").await.unwrap();
    let (config, spend) = (world.config_file().display().to_string(), text(&payment, "id").to_owned());
    let env = world.env();
    let ledger = |args: &[&str]| {
        let all = [&["ledger"], args, &["--config", &config, "--tenant", HOME]].concat();
        let output = run(&all, &env);
        assert!(output.status.success(), "{all:?}: {}", String::from_utf8_lossy(&output.stderr));
        stdout(&output)
    };
    let key = ledger(&["checkpoint", "--key"]).trim().to_owned();
    let first = ledger(&["checkpoint"]);
    let proof = ledger(&["prove", "--spend", &spend]);
    assert!(first.starts_with(&format!("{}/tenants/{HOME}\n", world.config.listen)), "{first}");
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let judged = |key: &str, proof: &str, earlier: Option<&str>| {
        let proof = file("proof", proof);
        let mut args = vec!["verify", "--json", "--proof", &proof, "--log-key", key];
        let earlier = earlier.map(|text| file("earlier", text));
        args.extend(earlier.iter().flat_map(|path| ["--checkpoint", path]));
        let output = run(&args, &[]);
        let said: Value = serde_json::from_str(&stdout(&output)).unwrap_or(Value::Null);
        assert_eq!(output.status.code(), Some(if said["valid"] == true { 0 } else { 1 }), "{said}");
        said
    };
    let proved = judged(&key, &proof, None);
    assert_eq!((&proved["valid"], &proved["proved"]["spend"]["id"]), (&json!(true), &json!(spend)), "{proved}");

    // Every line of the proof counts.
    for (number, line) in proof.lines().enumerate().filter(|(_, line)| !line.is_empty()) {
        let at = line.len() / 2;
        let other = if line.as_bytes()[at] == b'A' { "B" } else { "A" };
        let changed = format!("{}{other}{}", &line[..at], &line[at + 1..]);
        let forged: Vec<&str> = proof
            .lines()
            .enumerate()
            .map(|(place, line)| if place == number { changed.as_str() } else { line })
            .collect();
        let said = judged(&key, &format!("{}\n", forged.join("\n")), None);
        assert_eq!(said["valid"], false, "line {number} was changed: {said}");
    }

    // The journal goes on; the old checkpoint and a new one agree.
    world.pay(&mandate, "later").await.unwrap_err();
    world.call(Method::POST, &format!("/v1/mandates/{mandate}/revoke"), &world.user, None).await.unwrap();
    let earlier = file("first", &first);
    let growth = ledger(&["consistency", "--from", &earlier]);
    let said = judged(&key, &growth, Some(&first));
    assert_eq!(said["valid"], true, "{said}");
    assert_eq!(judged(&key, &growth, Some(&ledger(&["checkpoint"])))["valid"], false, "from another checkpoint");

    // A checkpoint that was never signed proves nothing, and a book that was set back and went on otherwise contradicts
    // the one that was.
    let forged = first.replacen(first.lines().nth(2).unwrap(), "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=", 1);
    assert_eq!(judged(&key, &growth, Some(&forged))["valid"], false, "a forged checkpoint");
    world.serve = None;
    std::fs::copy(&copy, &database).unwrap();
    // The log of the file that was there is not of this one.
    ["-wal", "-shm"].iter().for_each(|part| drop(std::fs::remove_file(format!("{database}{part}"))));
    // Whoever does that takes the notes away that would fence it.
    std::fs::remove_file(format!("{config}.notes")).unwrap();
    world.restart();
    let other = world.mandate().await;
    world.pay(&other, "otherwise").await.unwrap();
    let refused = run(&["ledger", "consistency", "--config", &config, "--tenant", HOME, "--from", &earlier], &env);
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(!refused.status.success() && said.contains("does not go on from there"), "{said}");
}
