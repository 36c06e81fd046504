//! SD-JWTs between us and the reference implementation, both ways. It is installed by `tests/run`; where it is missing
//! that is a failure.

use std::io::Write;
use std::process::{Command, Stdio};

use mandates::clock::Clock;
use mandates::credential::{self, Context, KeyBinding};
use mandates::digest::HashAlgorithm;
use mandates::disclosure::{self, Choice, Element, Marked, Member, Terms, Visibility};
use mandates::json::{self, Object};
use mandates::key_binding::{self, Presentation};
use mandates::keys::{KeySet, LocalKey, PublicKey};
use mandates::verify::Expected;
use serde_json::{Value, json};

use crate::harness::{foreign, root, text};

const TYPE: &str = "testcase+sd-jwt";

fn peer(arguments: &[&str], input: &str) -> Vec<Value> {
    let mut command = Command::new(foreign("python"));
    command.arg(root().join("tests/foreign/sd_jwt_peer.py")).args(arguments);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("the peer starts");
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "the peer ends well");
    let said = String::from_utf8(output.stdout).unwrap();
    said.lines().map(|line| Value::Object(json::parse_object(line.as_bytes()).unwrap())).collect()
}

#[test]
fn we_read_what_the_reference_presents() {
    let folder = root().join("fixtures/sd-jwt");
    let lines = peer(&["issue", &folder.display().to_string()], "");
    assert_eq!(lines.len(), 15, "every case in the compact form");
    assert_eq!(lines.iter().filter(|line| !line["aud"].is_null()).count(), 2, "two with key binding");
    for line in lines {
        let key = PublicKey::from_jwk(line["key"].as_object().unwrap()).unwrap();
        let issuers = KeySet::new([key]).unwrap();
        let clock = Clock { now_seconds: line["now"].as_i64().unwrap(), skew_seconds: 5 };
        let key_binding = match (line["aud"].as_str(), line["nonce"].as_str()) {
            (Some(audience), Some(nonce)) => KeyBinding::Required(key_binding::Terms {
                clock,
                expected: Expected::Exactly { audience, nonce },
                age_seconds_max: 60,
            }),
            _ => KeyBinding::NotAsked,
        };
        let context = Context { clock, issuers: &issuers, types: &[TYPE], key_binding };
        let verified = credential::verify(text(&line, "presentation"), &context);
        let verified = verified.unwrap_or_else(|refused| panic!("{}: {refused}", line["name"]));
        assert_eq!(Value::Object(verified.resolved.claims().to_object()), line["expected"], "{}", line["name"]);
    }
}

fn member(name: &str, value: Marked, visibility: Visibility) -> Member {
    Member { name: name.to_owned(), value, visibility }
}

#[test]
fn the_reference_reads_what_we_present() {
    let issuer = LocalKey::from_random(&[3; 32]).unwrap();
    let holder = LocalKey::from_random(&[4; 32]).unwrap();
    let element = |value: Value, visibility| Element { value: Marked::Plain(value), visibility };
    let address = Marked::Object(vec![
        member("city", Marked::Plain(json!("Bonn")), Visibility::Selective),
        member("zip", Marked::Plain(json!("53111")), Visibility::Always),
    ]);
    let nations = Marked::Array(vec![
        element(json!("DE"), Visibility::Selective),
        element(json!("FR"), Visibility::Selective),
        element(json!("US"), Visibility::Always),
    ]);
    let claims = [
        member("iss", Marked::Plain(json!("https://issuer.example")), Visibility::Always),
        member("cnf", Marked::Plain(json!({ "jwk": holder.public().to_jwk() })), Visibility::Always),
        member("name", Marked::Plain(json!("Ada")), Visibility::Selective),
        member("address", address, Visibility::Selective),
        member("nations", nations, Visibility::Always),
    ];
    let mut salt = 0_u128;
    let mut salts = || {
        salt += 1;
        salt.to_be_bytes()
    };
    let terms = Terms { algorithm: HashAlgorithm::Sha256, decoys: 2 };
    let concealed = disclosure::conceal(&claims, &terms, &mut salts).unwrap();
    let header = Object::from_iter([("alg".to_owned(), json!("ES256")), ("typ".to_owned(), json!(TYPE))]);
    let unsigned = concealed.unsigned(&header);
    let signature = issuer.sign(unsigned.signing_input()).unwrap();
    let issued = unsigned.finish(signature);
    let choice = Choice::Members(
        [
            ("address".to_owned(), Choice::Members([("city".to_owned(), Choice::Show)].into())),
            ("nations".to_owned(), Choice::Elements(vec![Choice::Withhold, Choice::Show])),
        ]
        .into(),
    );
    let presented = disclosure::present(&issued, &choice).unwrap();
    let bound_to =
        Presentation { audience: "https://verifier.example", nonce: "n-1", issued_at_seconds: 1_800_000_000 };
    let unsigned = key_binding::unsigned(&presented, &bound_to, &Object::new()).unwrap();
    let signature = holder.sign(unsigned.signing_input()).unwrap();
    let bound = unsigned.finish(signature);
    let ask = |presentation: &str, nonce: &str| {
        let key = Value::Object(issuer.public().to_jwk());
        json!({ "presentation": presentation, "key": key, "aud": "https://verifier.example", "nonce": nonce })
            .to_string()
    };
    let thinned = bound.replacen(presented.split('~').nth(1).unwrap(), "", 1).replacen("~~", "~", 1);
    let lines = [ask(&bound, "n-1"), ask(&bound, "n-2"), ask(&thinned, "n-1")].join("\n");
    let answers = peer(&["verify"], &lines);
    let wanted = json!({ "iss": "https://issuer.example", "cnf": { "jwk": holder.public().to_jwk() },
        "address": { "city": "Bonn", "zip": "53111" }, "nations": ["FR", "US"] });
    assert_eq!(answers[0]["claims"], wanted, "{answers:?}");
    assert!(answers[1]["refused"].is_string() && answers[2]["refused"].is_string(), "{answers:?}");
}
