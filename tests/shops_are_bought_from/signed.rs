//! Requests that a platform signs (RFC 9421, UCP's `signatures.md`), each base put together by hand.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use commerce::signatures::{Keys, Message, Subject, UCP_RESPONSE, verify};
use mandates::keys::LocalKey;
use purser::dev::DevOptions;
use reqwest::Method;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::harness::checkout::{Answer, Platform, ucp_items, ucp_mandates};
use crate::harness::shop::new_key;
use crate::harness::text;

/// A request about to be signed. What is not said is as it should be.
#[derive(Clone)]
struct Signing<'a> {
    platform: &'a Platform,
    profile: String,
    method: Method,
    path: String,
    key: String,
    body: Option<Value>,
    signer: LocalKeyOf,
    keyid: Option<&'a str>,
    /// What stands behind `keyid`.
    parameters: String,
    left_out: &'a str,
}

#[derive(Clone, Copy)]
struct LocalKeyOf(u8);

impl LocalKeyOf {
    fn key(self) -> LocalKey {
        LocalKey::from_random(&[self.0; 32]).unwrap()
    }
}

/// The key in the profiles of the harness.
const PUBLISHED: LocalKeyOf = LocalKeyOf(41);

impl<'a> Signing<'a> {
    fn of(platform: &'a Platform, method: Method, path: &str, body: Option<Value>) -> Self {
        let (profile, path) = (platform.plain.clone(), format!("/checkout-sessions{path}"));
        let (key, parameters) = (new_key(), String::new());
        Self { platform, profile, method, path, key, body, signer: PUBLISHED, keyid: None, parameters, left_out: "" }
    }

    fn headers(&self) -> Vec<(String, String)> {
        let url = self.platform.shop.url("");
        let body = self.body.as_ref().map(Value::to_string).unwrap_or_default();
        let mut sent = vec![("ucp-agent", format!("profile=\"{}\"", self.profile))];
        if self.method != Method::GET {
            sent.push(("idempotency-key", self.key.clone()));
        }
        if !body.is_empty() {
            sent.push(("content-digest", format!("sha-256=:{}:", STANDARD.encode(Sha256::digest(&body)))));
        }
        let mut lines = vec![
            ("@method", self.method.to_string()),
            ("@authority", url.trim_start_matches("http://").to_owned()),
            ("@path", self.path.clone()),
        ];
        lines.extend(sent.clone());
        if !body.is_empty() {
            lines.push(("content-type", "application/json".to_owned()));
        }
        lines.retain(|(name, _)| *name != self.left_out);
        let names: Vec<String> = lines.iter().map(|(name, _)| format!("\"{name}\"")).collect();
        let thumbprint = PUBLISHED.key().public().thumbprint();
        let keyid = self.keyid.unwrap_or(&thumbprint);
        let input = format!("({});keyid=\"{keyid}\"{}", names.join(" "), self.parameters);
        let lines: Vec<String> = lines.iter().map(|(name, value)| format!("\"{name}\": {value}")).collect();
        let base = format!("{}\n\"@signature-params\": {input}", lines.join("\n"));
        let signature = STANDARD.encode(self.signer.key().sign(base.as_bytes()).unwrap());
        sent.push(("signature-input", format!("sig1={input}")));
        sent.push(("signature", format!("sig1=:{signature}:")));
        sent.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }

    async fn send_as(&self, headers: &[(String, String)]) -> Answer {
        let headers: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        self.platform.send(self.method.clone(), &self.path, &headers, self.body.as_ref()).await
    }

    async fn send(&self) -> Answer {
        self.send_as(&self.headers()).await
    }
}

fn opens(platform: &Platform) -> Signing<'_> {
    Signing::of(platform, Method::POST, "", Some(ucp_items("gift_card", 1)))
}

fn replaced(mut headers: Vec<(String, String)>, name: &str, value: &str) -> Vec<(String, String)> {
    headers.retain(|(known, _)| known != name);
    if !value.is_empty() {
        headers.push((name.to_owned(), value.to_owned()));
    }
    headers
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_signed_and_does_not_hold_is_refused() {
    let platform = Platform::open().await;
    let good = opens(&platform);
    let with = |change: &dyn Fn(&mut Signing<'_>)| {
        let mut other = good.clone();
        other.key = new_key();
        change(&mut other);
        other
    };
    let now = platform.now();
    for (signing, status, code) in [
        (with(&|it| it.signer = LocalKeyOf(42)), 401, "signature_invalid"),
        (with(&|it| it.keyid = Some("another")), 401, "key_not_found"),
        (with(&|it| it.profile = platform.of("/keyless")), 401, "key_not_found"),
        (with(&|it| it.profile = platform.of("/nothing")), 424, "profile_unreachable"),
        (with(&|it| it.profile = "http://192.0.2.1/profile".into()), 400, "invalid_profile_url"),
        (with(&|it| it.left_out = "@method"), 401, "signature_invalid"),
        (with(&|it| it.left_out = "@authority"), 401, "signature_invalid"),
        (with(&|it| it.left_out = "@path"), 401, "signature_invalid"),
        (with(&|it| it.left_out = "ucp-agent"), 401, "signature_invalid"),
        (with(&|it| it.left_out = "idempotency-key"), 401, "signature_invalid"),
        (with(&|it| it.left_out = "content-digest"), 401, "signature_invalid"),
        (with(&|it| it.left_out = "content-type"), 401, "signature_invalid"),
        (with(&|it| it.parameters = format!(";expires={now}")), 401, "signature_invalid"),
        (with(&|it| it.parameters = format!(";created={}", now + 3_600)), 401, "signature_invalid"),
        (with(&|it| it.parameters = ";alg=\"ed25519\"".into()), 401, "signature_invalid"),
        (with(&|it| it.parameters = ";nonce=\"n\"".into()), 401, "signature_invalid"),
        (with(&|it| it.parameters = ";tag=\"web-bot-auth\"".into()), 401, "signature_invalid"),
    ] {
        let refused = signing.send().await;
        assert_eq!(refused.said(), (status, code), "{}: {}", signing.parameters, refused.body);
    }
    // Changed on the way: the body, the address, the key, what is covered; or half of it taken away.
    let headers = with(&|_| {}).headers();
    let mut dearer = good.clone();
    dearer.body = Some(ucp_items("gift_card", 3));
    assert_eq!(dearer.send_as(&headers).await.said(), (400, "digest_mismatch"));
    let sum = format!("sha-256=:{}:", STANDARD.encode(Sha256::digest(dearer.body.as_ref().unwrap().to_string())));
    let other_sum = replaced(headers.clone(), "content-digest", &sum);
    assert_eq!(dearer.send_as(&other_sum).await.said(), (401, "signature_invalid"));
    for (name, value, said) in [
        ("idempotency-key", "another", (401, "signature_invalid")),
        ("ucp-agent", &*format!("profile=\"{}\"", platform.locked), (401, "signature_invalid")),
        ("content-digest", "", (401, "signature_invalid")),
        ("signature", "", (401, "signature_missing")),
        ("signature-input", "", (401, "signature_missing")),
        ("signature", "sig1=:YQ==:", (401, "signature_invalid")),
        ("signature-input", "sig1", (401, "signature_invalid")),
    ] {
        let answer = good.send_as(&replaced(headers.clone(), name, value)).await;
        assert_eq!(answer.said(), said, "{name}: {}", answer.body);
    }
    assert_eq!(good.send_as(&headers).await.status, 201, "as it was signed it is taken");
    platform.shop.service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_platform_signed_for_is_its_own_and_is_not_done_twice() {
    let platform = Platform::open().await;
    let opening = opens(&platform);
    let headers = opening.headers();
    let opened = opening.send_as(&headers).await;
    assert_eq!(opened.status, 201, "{}", opened.body);
    let path = format!("/{}", text(&opened.body, "id"));
    // Sent again by whoever saw it: the same answer, and no other checkout.
    let again = opening.send_as(&headers).await;
    assert_eq!((&again.body, again.header("idempotent-replayed")), (&opened.body, Some("true")));
    let shown = Signing::of(&platform, Method::GET, &path, None).send().await;
    assert_eq!((shown.status, &shown.body), (200, &opened.body));
    // Whoever only names the profile is somebody else, and what they open is not the signer's.
    let (get, put, cancel) = (Method::GET, Method::PUT, format!("{path}/cancel"));
    for (method, path, body) in
        [(get, &path, None), (put, &path, Some(ucp_items("gift_card", 3))), (Method::POST, &cancel, None)]
    {
        let unsigned = platform.ucp_as(&platform.plain, method, path, &new_key(), body.as_ref()).await;
        assert_eq!(unsigned.said(), (404, "not_found"), "{}", unsigned.body);
    }
    let items = ucp_items("gift_card", 1);
    let theirs = platform.ucp_as(&platform.plain, Method::POST, "", &new_key(), Some(&items)).await;
    let theirs = format!("/{}", text(&theirs.body, "id"));
    assert_eq!(Signing::of(&platform, Method::GET, &theirs, None).send().await.said(), (404, "not_found"));

    // A nonce is used once, by a signature that ends within a day.
    let now = platform.now();
    let bot = |nonce: &str, seconds: i64| {
        let mut signing = Signing::of(&platform, Method::GET, &path, None);
        signing.parameters = format!(";created={now};expires={};nonce=\"{nonce}\";tag=\"web-bot-auth\"", now + seconds);
        signing
    };
    let once = bot("n-1", 300);
    let headers = once.headers();
    let (first, second) = (once.send_as(&headers).await, once.send_as(&headers).await);
    assert_eq!((first.status, second.said()), (200, (401, "signature_invalid")), "{}", second.body);
    assert!(second.body.to_string().contains("signature_replayed"), "{}", second.body);
    assert_eq!(bot("n-1", 200).send().await.code(), "signature_invalid", "the nonce counts, not the signature");
    assert_eq!(bot("n-2", 300).send().await.status, 200);
    assert_eq!(bot("n-3", 86_401).send().await.code(), "signature_invalid");
    assert_eq!(bot("n-3", 86_400).send().await.status, 200, "what was refused used nothing up");
    platform.shop.service.stop().await;
}

/// An answer that says that something was bought is signed with the key of the shop's profile.
#[tokio::test(flavor = "multi_thread")]
async fn a_completed_checkout_is_answered_signed() {
    let platform = Platform::open().await;
    let profile = platform.send(Method::GET, "/.well-known/ucp", &[], None).await.body;
    let keys = Keys::read(profile["keys"].as_array().unwrap());
    let session = platform.open_ucp().await;
    let checkout = platform.single(&session, &crate::harness::checkout::Differing::default());
    let body = ucp_mandates(&checkout, &platform.single_payment(&session, "card"));
    let url = platform.shop.url(&format!("/checkout-sessions/{}/complete", text(&session, "id")));
    let sent = reqwest::Client::new()
        .post(url)
        .header("ucp-agent", format!("profile=\"{}\"", platform.locked))
        .header("idempotency-key", new_key())
        .json(&body);
    let answer = sent.send().await.unwrap();
    let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
    let bytes = answer.bytes().await.unwrap();
    let body: Value = serde_json::from_slice(&bytes).unwrap();
    assert_eq!((status, text(&body, "status")), (200, "completed"), "{body}");
    let fields = headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect();
    let mut message = Message { subject: Subject::Response { status }, fields, body: &bytes };
    let verified = verify(&message, &UCP_RESPONSE, &keys, platform.now()).unwrap();
    assert!(verified.created.is_some_and(|created| (platform.now() - created).abs() < 60));
    message.subject = Subject::Response { status: 201 };
    assert!(verify(&message, &UCP_RESPONSE, &keys, platform.now()).is_err());
    let shorter = &bytes[..bytes.len() - 1];
    let message = Message { subject: Subject::Response { status }, body: shorter, ..message };
    assert!(verify(&message, &UCP_RESPONSE, &keys, platform.now()).is_err());
    platform.shop.service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shop_may_take_signed_requests_alone() {
    let platform = Platform::open_with(DevOptions { shop_signed_only: true, ..DevOptions::default() }).await;
    let items = ucp_items("gift_card", 1);
    let unsigned = platform.ucp_as(&platform.plain, Method::POST, "", &new_key(), Some(&items)).await;
    assert_eq!(unsigned.said(), (401, "signature_missing"), "{}", unsigned.body);
    assert_eq!(opens(&platform).send().await.status, 201);
    // ACP's callers prove who they are by their token.
    let body = json!({ "line_items": [{ "id": "gift_card" }], "currency": "usd", "capabilities": {} });
    assert_eq!(platform.acp(Method::POST, "", Some(body)).await.status, 201);
    platform.shop.service.stop().await;
}
