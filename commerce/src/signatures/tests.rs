//! Others' signatures, everything near them, and what each profile asks.

use std::collections::BTreeSet;

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use mandates::base64url;
use mandates::keys::LocalKey;
use serde_json::{Value, json};

use super::fields::Bare;
use super::profile::Profile;
use super::{
    Finding, Keys, Message, Nonce, Subject, TRUSTED_AGENT, UCP_REQUEST, UCP_RESPONSE, Unsigned, WEB_BOT_AUTH,
    content_digest, verify,
};

const VECTORS: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../fixtures/signatures/vectors.json"));
const ANY: Profile = Profile { name: "any", tags: &[], components: &[], parameters: &["keyid"], ..UCP_REQUEST };
const NOW: i64 = 1_700_000_000;

/// A message that can be changed.
#[derive(Clone)]
struct Draft {
    request: Option<[String; 4]>,
    query: Option<String>,
    status: u16,
    fields: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Draft {
    fn with<T>(&self, look: impl FnOnce(&Message<'_>) -> T) -> T {
        let subject = match &self.request {
            Some([method, scheme, authority, path]) => {
                Subject::Request { method, scheme, authority, path, query: self.query.as_deref() }
            }
            None => Subject::Response { status: self.status },
        };
        let fields = self.fields.iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect();
        look(&Message { subject, fields, body: &self.body })
    }

    fn verified(&self, profile: &Profile, keys: &Keys, now: i64) -> Result<super::Verified, Finding> {
        self.with(|message| verify(message, profile, keys, now))
    }

    fn code(&self, profile: &Profile, keys: &Keys) -> &'static str {
        self.verified(profile, keys, NOW).map_or_else(|finding| finding.code(), |_| "holds")
    }

    fn set(&mut self, name: &str, value: &str) {
        self.fields.retain(|(known, _)| known != name);
        self.fields.push((name.to_owned(), value.to_owned()));
    }

    fn get(&self, name: &str) -> String {
        self.fields.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone()).unwrap_or_default()
    }
}

fn draft(case: &Value) -> Draft {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let request = &case["request"];
    Draft {
        request: request
            .is_object()
            .then(|| ["method", "scheme", "authority", "path"].map(|name| text(&request[name]))),
        query: request["query"].as_str().map(str::to_owned),
        status: case["status"].as_u64().map_or(0, |status| status.try_into().unwrap()),
        fields: case["fields"].as_array().unwrap().iter().map(|pair| (text(&pair[0]), text(&pair[1]))).collect(),
        body: text(&case["body"]).into_bytes(),
    }
}

#[test]
fn the_signatures_of_others_hold_and_nothing_near_them_does() {
    let cases: Value = serde_json::from_str(VECTORS).unwrap();
    for case in cases.as_array().unwrap() {
        let (name, now) = (case["name"].as_str().unwrap(), case["now"].as_i64().unwrap());
        let draft = draft(case);
        let keys = Keys::read(case["keys"].as_array().unwrap());
        let profile = match case["profile"].as_str().unwrap() {
            "any" => ANY,
            _ => Profile { lifetime_max: None, ..WEB_BOT_AUTH },
        };
        let verified = draft.verified(&profile, &keys, now).unwrap_or_else(|finding| panic!("{name}: {finding}"));
        assert_eq!(verified.nonce.is_some(), profile.name == "web_bot_auth", "{name}");
        if profile.name == "web_bot_auth" {
            assert_eq!(draft.verified(&WEB_BOT_AUTH, &keys, now).unwrap_err().code(), "signature_lifetime", "{name}");
        }
        assert_eq!(draft.verified(&profile, &Keys::default(), now).unwrap_err().code(), "key_not_found", "{name}");
        // Whatever is covered, changed: another signature would be needed.
        let input = draft.get("signature-input");
        for place in 0..draft.fields.len() {
            let (field, value) = draft.fields[place].clone();
            if !input.contains(&format!("\"{field}\"")) {
                continue;
            }
            let mut other = draft.clone();
            other.fields[place].1 =
                if value.contains('"') { value.replace("signature", "signing") } else { format!("{value}0") };
            assert!(other.verified(&profile, &keys, now).is_err(), "{name}: {field}");
        }
        let mut other = draft.clone();
        other.request =
            other.request.map(|[_, scheme, authority, path]| ["PUT".into(), scheme, format!("a{authority}"), path]);
        other.status = 201;
        assert_eq!(other.verified(&profile, &keys, now).unwrap_err().code(), "signature_invalid", "{name}");
        let mut other = draft.clone();
        other.set("signature-input", &input.replacen("created=1", "created=0", 1));
        assert_eq!(other.verified(&profile, &keys, now).unwrap_err().code(), "signature_invalid", "{name}");
        let signature = draft.get("signature");
        let middle = signature.find(":").unwrap() + 5;
        for (at, byte) in [(middle, "A"), (middle, "B")] {
            let mut other = draft.clone();
            let changed = format!("{}{byte}{}", &signature[..at], &signature[at + 1..]);
            if changed == signature {
                continue;
            }
            other.set("signature", &changed);
            assert_eq!(other.verified(&profile, &keys, now).unwrap_err().code(), "signature_invalid", "{name}");
        }
        if input.contains("content-digest") {
            let mut other = draft.clone();
            other.body.push(b' ');
            assert_eq!(other.verified(&profile, &keys, now).unwrap_err().code(), "digest_mismatch", "{name}");
        }
    }
}

fn signer() -> LocalKey {
    LocalKey::from_random(&[7; 32]).unwrap()
}

fn keys() -> Keys {
    let mut jwk = signer().public().to_jwk();
    jwk.insert("kid".into(), "k1".into());
    Keys::read([&Value::Object(jwk), &json!({ "kty": "RSA", "kid": "r", "n": "AQAB", "e": "AQAB" })])
}

fn request() -> Draft {
    let body = br#"{"a":1}"#.to_vec();
    let mut draft = Draft {
        request: Some(["POST", "https", "shop.example", "/checkout-sessions"].map(str::to_owned)),
        query: None,
        status: 0,
        fields: Vec::new(),
        body,
    };
    draft.set("ucp-agent", "profile=\"https://agent.example/p\"");
    draft.set("idempotency-key", "0b1f");
    draft.set("content-type", "application/json");
    let digest = content_digest(&draft.body);
    draft.set("content-digest", &digest);
    draft
}

const COVERED: [&str; 7] =
    ["@method", "@authority", "@path", "ucp-agent", "idempotency-key", "content-digest", "content-type"];

/// Signs with what follows the list of components, as it is written.
fn signed(mut draft: Draft, components: &[&str], parameters: &[(&str, Bare)]) -> Draft {
    let parameters = parameters.iter().map(|(name, bare)| ((*name).to_owned(), bare.clone())).collect();
    let unsigned = draft.with(|message| Unsigned::over(message, "sig1", components, parameters)).unwrap();
    let signature = signer().sign(unsigned.base()).unwrap();
    let (input, signature) = unsigned.finish(&signature);
    draft.set("signature-input", &input);
    draft.set("signature", &signature);
    draft
}

fn text(text: &str) -> Bare {
    Bare::Text(text.to_owned())
}

#[test]
fn what_ucp_wants_covered_is_covered_or_the_request_is_not_signed() {
    let keyid = [("keyid", text("k1"))];
    let good = signed(request(), &COVERED, &keyid);
    assert_eq!(good.code(&UCP_REQUEST, &keys()), "holds");
    for left in COVERED {
        let rest: Vec<&str> = COVERED.into_iter().filter(|name| *name != left).collect();
        assert_eq!(signed(request(), &rest, &keyid).code(&UCP_REQUEST, &keys()), "signature_uncovered", "{left}");
    }
    let mut asked = request();
    asked.query = Some("a=b".into());
    assert_eq!(signed(asked, &COVERED, &keyid).code(&UCP_REQUEST, &keys()), "signature_uncovered");
    let mut asked = good.clone();
    asked.query = Some("a=b".into());
    assert_eq!(asked.code(&UCP_REQUEST, &keys()), "signature_uncovered", "a query that was put on later");
    let mut asked = good.clone();
    asked.set("signature-agent", "sig1=\"https://agent.example/p\"");
    assert_eq!(asked.code(&UCP_REQUEST, &keys()), "signature_uncovered", "a key source that was put on later");
    // A write names its key, signed; a read without a body needs neither.
    let mut unkeyed = request();
    unkeyed.fields.retain(|(name, _)| name != "idempotency-key");
    let rest: Vec<&str> = COVERED.into_iter().filter(|name| *name != "idempotency-key").collect();
    assert_eq!(signed(unkeyed, &rest, &keyid).code(&UCP_REQUEST, &keys()), "signature_uncovered");
    let mut read = request();
    read.request = Some(["GET", "https", "shop.example", "/checkout-sessions/1"].map(str::to_owned));
    read.fields.retain(|(name, _)| name == "ucp-agent");
    read.body.clear();
    assert_eq!(
        signed(read, &["@method", "@authority", "@path", "ucp-agent"], &keyid).code(&UCP_REQUEST, &keys()),
        "holds"
    );
    // A member of a header is not the header.
    let input = good.get("signature-input").replace("\"ucp-agent\"", "\"ucp-agent\";key=\"profile\"");
    let mut member = good.clone();
    member.set("signature-input", &input);
    assert_eq!(member.code(&UCP_REQUEST, &keys()), "signature_uncovered");
}

#[test]
fn a_request_that_was_changed_or_is_somebody_elses_is_refused() {
    let good = signed(request(), &COVERED, &[("keyid", text("k1"))]);
    let changed = |change: &dyn Fn(&mut Draft)| {
        let mut draft = good.clone();
        change(&mut draft);
        draft.code(&UCP_REQUEST, &keys())
    };
    for (at, value) in [(0, "PUT"), (2, "other.example"), (3, "/checkout-sessions/1")] {
        let code = changed(&|draft| draft.request.as_mut().unwrap()[at] = value.to_owned());
        assert_eq!(code, "signature_invalid", "{value}");
    }
    let input = good.get("signature-input");
    let signature = good.get("signature");
    for (field, value, code) in [
        ("idempotency-key", "0b20", "signature_invalid"),
        ("content-type", "text/plain", "signature_invalid"),
        ("content-digest", "sha-256=:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=:", "digest_mismatch"),
        ("content-digest", "md5=:YQ==:", "signature_malformed"),
        ("content-digest", "sha-256=1", "signature_malformed"),
        ("content-digest", "", "signature_malformed"),
        ("signature", "", "signature_malformed"),
        ("signature", "sig1=1", "signature_malformed"),
        ("signature", &signature.replace("sig1", "sig2"), "signature_malformed"),
        ("signature", &format!("{signature}, {signature}"), "signature_malformed"),
        ("signature-input", "", "signature_missing"),
        ("signature-input", "sig1", "signature_malformed"),
        ("signature-input", "sig1=(\"@method\"", "signature_malformed"),
        ("signature-input", &input.replace("k1", "k2"), "key_not_found"),
        ("signature-input", &input.replace("k1", "r"), "algorithm_unsupported"),
        ("signature-input", &input.replace(";keyid=\"k1\"", ""), "signature_parameter"),
        ("signature-input", &input.replace("\"k1\"", "k1"), "signature_parameter"),
        ("signature-input", &format!("{input};alg=\"ed25519\""), "signature_parameter"),
        ("signature-input", &format!("{input};alg=\"ecdsa-p256-sha256\""), "signature_invalid"),
        ("signature-input", &format!("{input};created=1"), "signature_invalid"),
        ("signature-input", &format!("{input};created=\"1\""), "signature_parameter"),
        ("signature-input", &format!("{input};expires={NOW}"), "signature_expired"),
        ("signature-input", &format!("{input};created={}", NOW + 61), "signature_premature"),
        ("signature-input", &format!("{input};nonce=\"n\""), "signature_invalid"),
        ("signature-input", &input.replace("\"@path\"", "\"@path\" \"@path\""), "signature_component"),
        ("signature-input", &input.replace("\"@path\"", "\"@path\" \"@status\""), "signature_component"),
        ("signature-input", &input.replace("\"@path\"", "\"@path\" \"x-none\""), "signature_component"),
        ("signature-input", &input.replace("\"@path\"", "\"@path\" \"content-type\";bs"), "signature_component"),
        ("signature-input", &input.replace("\"@path\"", "\"@path\" \"Content-Type\""), "signature_component"),
        ("signature-input", &input.replace("\"@path\"", "\"@path\" path"), "signature_component"),
    ] {
        assert_eq!(changed(&|draft| draft.set(field, value)), code, "{field}: {value}");
    }
    assert_eq!(changed(&|draft| draft.body.push(b' ')), "digest_mismatch");
    assert_eq!(changed(&|draft| draft.fields.retain(|(name, _)| name != "signature")), "signature_missing");
    assert_eq!(changed(&|draft| draft.fields.retain(|(name, _)| name != "signature-input")), "signature_missing");
    assert_eq!(changed(&|draft| draft.fields.push(("idempotency-key".into(), "2".into()))), "signature_invalid");
    assert_eq!(changed(&|draft| draft.set("content-type", "caf\u{e9}")), "signature_component");
    // Two keys under one name name neither.
    let named = |bytes: u8| {
        let mut jwk = LocalKey::from_random(&[bytes; 32]).unwrap().public().to_jwk();
        jwk.insert("kid".into(), "k1".into());
        Value::Object(jwk)
    };
    let (own, other) = (named(7), named(8));
    assert_eq!(good.code(&UCP_REQUEST, &Keys::read([&own, &other])), "key_not_found");
    assert_eq!(good.code(&UCP_REQUEST, &Keys::read([&other])), "signature_invalid");
    assert_eq!(good.code(&UCP_REQUEST, &Keys::read([&own, &own])), "holds", "the same key twice is one");
    for (member, value) in [("use", json!("enc")), ("key_ops", json!(["sign"]))] {
        let mut unfit = own.clone();
        unfit[member] = value;
        assert_eq!(good.code(&UCP_REQUEST, &Keys::read([&unfit])), "key_not_found", "{member}");
    }
}

#[test]
fn of_several_signatures_one_that_holds_is_enough_and_more_than_four_are_not_looked_at() {
    let good = signed(request(), &COVERED, &[("keyid", text("k1"))]);
    let (input, signature) = (good.get("signature-input"), good.get("signature"));
    let mut several = good.clone();
    several.set("signature-input", &format!("other=(\"@method\");keyid=\"x\", {input}"));
    several.set("signature", &format!("other=:YQ==:, {signature}"));
    assert_eq!(several.code(&UCP_REQUEST, &keys()), "holds");
    let others: BTreeSet<String> = (0..4).map(|number| format!("o{number}=(\"@method\");keyid=\"x\"")).collect();
    let others: Vec<String> = others.into_iter().collect();
    several.set("signature-input", &format!("{}, {input}", others.join(", ")));
    assert_eq!(several.code(&UCP_REQUEST, &keys()), "signature_malformed");
}

#[test]
fn an_answer_is_signed_with_its_status_and_body() {
    let body = br#"{"status":"completed"}"#.to_vec();
    let mut draft = Draft { request: None, query: None, status: 200, fields: Vec::new(), body };
    draft.set("content-type", "application/json");
    let digest = content_digest(&draft.body);
    draft.set("content-digest", &digest);
    let answer = signed(draft, &["@status", "content-digest", "content-type"], &[("keyid", text("k1"))]);
    assert_eq!(answer.code(&UCP_RESPONSE, &keys()), "holds");
    let mut other = answer.clone();
    other.status = 402;
    assert_eq!(other.code(&UCP_RESPONSE, &keys()), "signature_invalid");
    let mut other = answer.clone();
    other.body = br#"{"status":"canceled"}"#.to_vec();
    assert_eq!(other.code(&UCP_RESPONSE, &keys()), "digest_mismatch");
    let bare = signed(answer.clone(), &["@status"], &[("keyid", text("k1"))]);
    assert_eq!(bare.code(&UCP_RESPONSE, &keys()), "signature_uncovered");
    assert_eq!(answer.code(&UCP_REQUEST, &keys()), "signature_uncovered", "no answer is a request");
}

/// A signature for both audiences has what both of them ask: the thumbprint, an end within a day, its own agent.
#[test]
fn a_bots_signature_is_held_to_both_rules() {
    let thumbprint = signer().public().thumbprint();
    let tag = ("tag", text("web-bot-auth"));
    let parameters = |keyid: &str, from: i64, to: i64| {
        [("keyid", text(keyid)), ("created", Bare::Integer(from)), ("expires", Bare::Integer(to)), tag.clone()]
    };
    let good = parameters(&thumbprint, NOW, NOW + 60);
    assert_eq!(signed(request(), &COVERED, &good).code(&UCP_REQUEST, &keys()), "holds");
    for (parameters, code) in [
        (parameters("k1", NOW, NOW + 60).to_vec(), "signature_parameter"),
        (parameters(&thumbprint, NOW, NOW + 86_401).to_vec(), "signature_lifetime"),
        (parameters(&thumbprint, NOW, NOW).to_vec(), "signature_expired"),
        (parameters(&thumbprint, NOW + 50, NOW + 40).to_vec(), "signature_lifetime"),
        (parameters(&thumbprint, NOW + 61, NOW + 70).to_vec(), "signature_premature"),
        (vec![("keyid", text(&thumbprint)), tag.clone()], "signature_parameter"),
        (vec![("keyid", text(&thumbprint)), ("created", Bare::Integer(NOW)), tag.clone()], "signature_parameter"),
    ] {
        assert_eq!(signed(request(), &COVERED, &parameters).code(&UCP_REQUEST, &keys()), code, "{parameters:?}");
        assert_eq!(signed(request(), &COVERED, &parameters).code(&WEB_BOT_AUTH, &keys()), code, "{parameters:?}");
    }
    // What Web Bot Auth is content with is not enough for UCP, and others' tags are passed over.
    let minimal = signed(request(), &["@authority"], &good);
    assert_eq!(minimal.code(&WEB_BOT_AUTH, &keys()), "holds");
    assert_eq!(minimal.code(&UCP_REQUEST, &keys()), "signature_uncovered");
    assert_eq!(signed(request(), &COVERED, &[("keyid", text("k1"))]).code(&WEB_BOT_AUTH, &keys()), "signature_missing");
    assert_eq!(minimal.code(&TRUSTED_AGENT, &keys()), "signature_missing");
    // A nonce is told, to be remembered until the end.
    let mut once = good.to_vec();
    once.push(("nonce", text("n-1")));
    let verified = signed(request(), &COVERED, &once).verified(&UCP_REQUEST, &keys(), NOW).unwrap();
    assert_eq!(verified.nonce, Some(Nonce { text: "n-1".into(), until: NOW + 60 }));
    let endless = [("keyid", text("k1")), ("nonce", text("n-1"))];
    assert_eq!(signed(request(), &COVERED, &endless).code(&UCP_REQUEST, &keys()), "signature_parameter");
}

#[test]
fn a_trusted_agent_signs_for_eight_minutes_with_a_nonce_and_its_key_is_ed25519_too() {
    let pair = Ed25519KeyPair::from_seed_unchecked(&[3; 32]).unwrap();
    let jwk =
        json!({ "kty": "OKP", "crv": "Ed25519", "kid": "a1", "x": base64url::encode(pair.public_key().as_ref()) });
    let keys = Keys::read([&jwk]);
    let sign = |without: &str, seconds: i64, alg: &str, tag: &str| {
        let all = [
            ("created", Bare::Integer(NOW)),
            ("expires", Bare::Integer(NOW + seconds)),
            ("keyid", text("a1")),
            ("alg", text(alg)),
            ("nonce", text("n")),
            ("tag", text(tag)),
        ];
        let parameters = all.into_iter().filter(|(name, _)| *name != without);
        let parameters = parameters.map(|(name, bare)| (name.to_owned(), bare)).collect();
        let mut draft = request();
        let unsigned = draft.with(|it| Unsigned::over(it, "sig2", &["@authority", "@path"], parameters)).unwrap();
        let signature = pair.sign(unsigned.base());
        let (input, signature) = unsigned.finish(signature.as_ref());
        draft.set("signature-input", &input);
        draft.set("signature", &signature);
        draft
    };
    for tag in ["agent-browser-auth", "agent-payer-auth"] {
        let verified = sign("", 480, "Ed25519", tag).verified(&TRUSTED_AGENT, &keys, NOW).unwrap();
        assert_eq!((verified.tag.as_deref(), verified.nonce.is_some()), (Some(tag), true));
    }
    let pays = "agent-payer-auth";
    for without in ["created", "expires", "keyid", "alg", "nonce"] {
        assert_eq!(sign(without, 480, "ed25519", pays).code(&TRUSTED_AGENT, &keys), "signature_parameter", "{without}");
    }
    assert_eq!(sign("tag", 480, "ed25519", pays).code(&TRUSTED_AGENT, &keys), "signature_missing");
    assert_eq!(sign("", 481, "ed25519", pays).code(&TRUSTED_AGENT, &keys), "signature_lifetime");
    assert_eq!(sign("", 480, "ecdsa-p256-sha256", pays).code(&TRUSTED_AGENT, &keys), "signature_parameter");
    assert_eq!(sign("", 480, "ed25519", "agent-other").code(&TRUSTED_AGENT, &keys), "signature_missing");
    let mut elsewhere = sign("", 480, "ed25519", pays);
    elsewhere.request.as_mut().unwrap()[3] = "/other".into();
    assert_eq!(elsewhere.code(&TRUSTED_AGENT, &keys), "signature_invalid");
}
