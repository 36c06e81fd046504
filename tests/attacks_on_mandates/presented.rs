//! Attacks on whoever verifies a presented mandate: what is expected is left out, exchanged, or taken from the token.

use alloy_primitives::U256;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use mandates::chain::Position;
use mandates::clock::Clock;
use mandates::constraint::OpenCheckout;
use mandates::issue::{HopTerms, hop};
use mandates::keys::{KeySet, LocalKey};
use mandates::mandate::Mandate;
use mandates::payment::ClosedPayment;
use mandates::verify::{Closed, Context, Expected, ExpectedFamily, Nonces, Purchase, Revoked, Usage, verify};
use purser::keys::{Purpose, Slot};
use purser::world::{AGENT, HOME, SHOP};
use reqwest::Method;
use serde_json::{Value, json};

use super::{figures, pay, used, verify_books};
use crate::harness::process::{run, stdout};
use crate::harness::root;
use crate::harness::shop::{Shop, code, intent, new_key};
use crate::harness::text;
use crate::harness::world::World;

async fn cart(shop: &Shop, id: &str, cents: u64) -> Value {
    let own = json!({ "id": SHOP, "name": "Demo Shop", "website": shop.service.url() });
    let checkout = json!({
        "id": id, "status": "ready_for_complete", "currency": "USD", "links": [], "merchant": own,
        "line_items": [{ "id": "line-1", "quantity": 1, "item": { "id": id, "title": "Report", "price": cents },
            "totals": [{ "type": "total", "amount": cents }] }],
        "totals": [{ "type": "total", "amount": cents }],
    });
    let body = json!({ "checkout": checkout });
    shop.call(Method::POST, "/v1/mandates/carts", &shop.merchant, Some(body)).await.expect("a signed cart")
}

/// A payment over a cart, and all that its verifier must know of it.
struct Paid {
    shop: Shop,
    mandate: String,
    payment: Value,
    cart: Value,
    expected: Value,
}

async fn paid() -> Paid {
    let shop = Shop::open().await;
    let mut demanding = intent();
    demanding["cart"] = "required".into();
    let mandate = shop.mandate(demanding).await;
    let cart = cart(&shop, "cart-1", 1).await;
    let more = json!({ "cart": cart["checkout_jwt"] });
    let offer = shop.met("/paid/report").await;
    let payment = shop.pay_as(&shop.agent, &mandate, &offer, "over-a-cart", more).await.expect("a payment");
    let path = format!("/v1/payments/{}/evidence", text(&payment, "id"));
    let file = shop.call(Method::GET, &path, &shop.agent, None).await.unwrap();
    let bundle: Value = serde_json::from_str(text(&file, "bundle")).unwrap();
    let expected = json!({
        "presented": bundle["chain"], "audience": bundle["audience"], "nonce": payment["id"],
        "checkout_jwt": cart["checkout_jwt"], "merchant_jwks": { "keys": bundle["merchant_keys"] },
    });
    Paid { shop, mandate, payment, cart, expected }
}

impl Paid {
    /// The verdict where these expectations differ; null leaves one out.
    async fn verdict(&self, differing: Value) -> Result<Value, purser::client::ClientError> {
        let mut body = self.expected.clone();
        for (name, value) in differing.as_object().unwrap() {
            match value {
                Value::Null => drop(body.as_object_mut().unwrap().remove(name)),
                value => body[name] = value.clone(),
            }
        }
        self.shop.call(Method::POST, "/v1/mandates/verify", &self.shop.user, Some(body)).await
    }

    async fn refused(&self, differing: Value) -> String {
        let verdict = self.verdict(differing.clone()).await.expect("a verdict");
        assert_eq!(verdict["valid"], false, "{differing}: {verdict}");
        text(&verdict, "code").to_owned()
    }

    /// Valid, and how much that is worth.
    async fn strength(&self, differing: Value) -> String {
        let verdict = self.verdict(differing.clone()).await.expect("a verdict");
        assert_eq!(verdict["valid"], true, "{differing}: {verdict}");
        text(&verdict, "strength").to_owned()
    }

    async fn nothing_moved_but_this(&self) {
        let shown = self.shop.figures(&self.mandate).await;
        assert_eq!(text(&shown["held"], "units"), "1000000", "one cent");
        assert_eq!(shown["payments"]["used"], 1, "{shown}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payment_mandate_pays_the_checkout_that_it_was_checked_against() {
    let paid = paid().await;
    assert_eq!(paid.strength(json!({})).await, "bound");
    // The same merchant, the same price, another cart; and the cart again, signed anew.
    let other = cart(&paid.shop, "cart-2", 1).await;
    let (jwt, hash) = (&other["checkout_jwt"], &other["checkout_hash"]);
    assert_eq!(paid.refused(json!({ "checkout_jwt": jwt })).await, "transaction_id_mismatch");
    assert_eq!(paid.refused(json!({ "checkout_jwt": null, "transaction_id": hash })).await, "transaction_id_mismatch");
    let own = json!({ "checkout_jwt": null, "transaction_id": paid.cart["checkout_hash"] });
    assert_eq!(paid.strength(own).await, "bound");
    // What is paid: the key of this purchase takes no other cart, and another cart must come to the 402's price.
    let offer = paid.shop.met("/paid/report").await;
    let with = async |key: &str, cart: &Value| {
        let more = json!({ "cart": cart["checkout_jwt"] });
        code(paid.shop.pay_as(&paid.shop.agent, &paid.mandate, &offer, key, more).await)
    };
    assert_eq!(with("over-a-cart", &other).await, "idempotency_key_reused");
    let dear = cart(&paid.shop, "cart-3", 2).await;
    assert_eq!(with(&new_key(), &dear).await, "payment_not_checkout_total");
    assert_eq!(with(&new_key(), &json!({ "checkout_jwt": null })).await, "cart_required");
    // The evidence holds the cart that was paid, and no other.
    let path = format!("/v1/payments/{}/evidence", text(&paid.payment, "id"));
    let file = paid.shop.call(Method::GET, &path, &paid.shop.agent, None).await.unwrap();
    let mut forged: engine::evidence::EvidenceFile = serde_json::from_value(file).unwrap();
    let mut bundle: Value = serde_json::from_str(&forged.bundle).unwrap();
    bundle["cart"] = other["checkout_jwt"].clone();
    forged.bundle = bundle.to_string();
    let findings = engine::evidence::check(&forged, paid.shop.service.roots(), &paid.shop.service.engine().assets);
    let wrong: Vec<&str> = findings.iter().filter(|found| !found.holds).map(|found| found.check).collect();
    assert!(wrong.contains(&"mandate_chain") && wrong.contains(&"spend"), "{findings:#?}");
    paid.nothing_moved_but_this().await;
}

/// One by one: without what it expects a verifier gets a refusal, or a verdict that says that it is worth less.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_verifier_leaves_out_is_refused_or_weakens_the_verdict() {
    let paid = paid().await;
    assert_eq!(paid.strength(json!({})).await, "bound");
    // Half of a pair, or both of an alternative, cannot be meant.
    let both = json!({ "transaction_id": paid.cart["checkout_hash"] });
    for (differing, field) in
        [(json!({ "audience": null }), "audience"), (json!({ "nonce": null }), "nonce"), (both, "transaction_id")]
    {
        let answer = paid.verdict(differing.clone()).await;
        let (status, code, detail) = crate::harness::shop::refused(answer);
        assert_eq!((status, code.as_str()), (400, "invalid_request"), "{differing}");
        assert!(detail.starts_with(field), "{differing}: {detail}");
    }
    for misspelt in ["audiance", "expected_nonce", "checkout", "transactionId", "aud_optional"] {
        let answer = paid.verdict(json!({ misspelt: "x" })).await;
        assert_eq!(crate::harness::shop::refused(answer).0, 400, "{misspelt} is no expectation of ours");
    }
    // Left out: valid on its own, which pays nothing, and each check that was not made says so.
    let hash = &paid.cart["checkout_hash"];
    for (weaker, unasked) in [
        (json!({ "audience": null, "nonce": null }), &["hop_claims"][..]),
        (json!({ "checkout_jwt": null }), &["purchase_binding", "merchant_signature", "cart_times", "cart_agreement"]),
        (
            json!({ "audience": null, "nonce": null, "checkout_jwt": null }),
            &["hop_claims", "purchase_binding", "merchant_signature", "cart_times", "cart_agreement"],
        ),
        (
            json!({ "audience": null, "nonce": null, "checkout_jwt": null, "transaction_id": hash }),
            &["hop_claims", "merchant_signature", "cart_times", "cart_agreement"],
        ),
    ] {
        assert_eq!(paid.strength(weaker.clone()).await, "on_its_own", "{weaker}");
        let verdict = paid.verdict(weaker.clone()).await.unwrap();
        let checks = verdict["checks"].as_array().unwrap().iter();
        let said: Vec<&str> =
            checks.filter(|check| check["outcome"] == "not_asked").map(|check| text(check, "name")).collect();
        assert_eq!(said, unasked, "{weaker}");
    }
    // Empty is not left out: it is expected, and did not come.
    for (differing, expected) in [
        (json!({ "audience": "" }), "aud_mismatch"),
        (json!({ "nonce": "" }), "nonce_mismatch"),
        (json!({ "checkout_jwt": null, "transaction_id": "" }), "transaction_id_mismatch"),
        (json!({ "trust": { "keys": [] } }), "unknown_kid"),
        (json!({ "merchant_jwks": { "keys": [] } }), "merchant_key_unknown"),
        // Left out they are this tenant's merchants, of which there is none: never those that the cart names.
        (json!({ "merchant_jwks": null }), "merchant_key_unknown"),
    ] {
        assert_eq!(paid.refused(differing.clone()).await, expected, "{differing}");
    }
    // An open mandate is nothing that a verifier with expectations takes, and no hash inside a token is one.
    let open = paid.shop.figures(&paid.mandate).await;
    assert_eq!(paid.refused(json!({ "presented": open["payment"] })).await, "aud_missing");
    let alone = json!({ "presented": open["payment"], "audience": null, "nonce": null });
    assert_eq!(paid.strength(alone).await, "on_its_own", "whatever checkout is named beside it");
    paid.nothing_moved_but_this().await;
}

/// The second verifier: another audience, another nonce, other roots.
#[tokio::test(flavor = "multi_thread")]
async fn a_closed_mandate_is_for_one_verifier() {
    let paid = paid().await;
    let stranger = LocalKey::from_random(&[9; 32]).unwrap();
    let posing = stranger.public().clone().to_jwk();
    for (differing, expected) in [
        (json!({ "audience": "https://another.example" }), "aud_mismatch"),
        (json!({ "nonce": "b9c8d7e6f5a4b3c2d1e0f9a8b7c6d5e4" }), "nonce_mismatch"),
        (json!({ "trust": { "keys": [posing] } }), "unknown_kid"),
        (json!({ "merchant_jwks": { "keys": [posing] } }), "merchant_key_unknown"),
    ] {
        assert_eq!(paid.refused(differing.clone()).await, expected, "{differing}");
    }
    // For its own verifier it holds as often as it is looked at; that it is used once is a duty, told with every verdict.
    for _ in 0..2 {
        let verdict = paid.verdict(json!({})).await.unwrap();
        let duties = verdict["facts"]["obligations"].as_array().unwrap();
        let nonce = duties.iter().find(|duty| duty["duty"] == "nonce").expect("the nonce is somebody's to consume");
        assert_eq!(nonce["nonce"], paid.payment["id"]);
    }
    paid.nothing_moved_but_this().await;
}

fn vector(id: &str) -> Value {
    let file = std::fs::read_to_string(root().join("fixtures/ap2/v0.2.json")).unwrap();
    let cases: Vec<Value> = serde_json::from_str(&file).unwrap();
    cases.into_iter().find(|case| case["id"] == id).expect("the vector")
}

/// The same of the command, over a checkout mandate: its hash is compared with what is expected, not with itself.
#[test]
fn the_command_is_told_what_to_expect() {
    let case = vector("v-open-closed-checkout");
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, value: &Value| {
        let path = folder.path().join(name);
        std::fs::write(&path, value.to_string()).unwrap();
        path.display().to_string()
    };
    let verify = |args: &[&str]| {
        let at = case["now"].to_string();
        let output = run(&[&["verify", text(&case, "token"), "--json", "--at", &at], args].concat(), &[]);
        let verdict: Value = serde_json::from_str(&stdout(&output)).unwrap_or_default();
        (output.status.code(), verdict)
    };
    let trust = file("trust.json", &json!({ "keys": [case["root_jwk"]] }));
    let (aud, nonce) = (text(&case, "expected_aud"), text(&case, "expected_nonce"));
    let bound = ["--trust", &trust, "--aud", aud, "--nonce", nonce];
    for usage in [
        &[][..],
        &["--aud", aud, "--nonce", nonce],
        &["--trust", &trust, "--aud", aud],
        &["--trust", &trust, "--nonce", nonce],
    ] {
        assert_eq!(verify(usage).0, Some(2), "{usage:?}");
    }
    let jwt = text_of_checkout(&case);
    let keys = json!({ "keys": [case["context"]["merchant_jwk"]] });
    let with = |context: &Value| {
        let context = file("context.json", context);
        verify(&[&bound[..], &["--context", &context]].concat())
    };
    let (status, verdict) = with(&json!({ "checkout_jwt": jwt, "merchant_jwks": keys }));
    assert_eq!((status, &verdict["strength"]), (Some(0), &json!("bound")), "{verdict}");
    for (context, expected) in [
        (json!({ "checkout_jwt": format!("{jwt}A"), "merchant_jwks": keys }), "checkout_not_expected"),
        (json!({ "checkout_jwt": jwt }), "merchant_key_unknown"),
        (json!({ "checkout_jwt": jwt, "merchant_jwks": { "keys": [case["root_jwk"]] } }), "merchant_key_unknown"),
        (json!({ "transaction_id": case["context"]["expected_checkout_hash"] }), "merchant_key_unknown"),
        (json!({ "transaction_id": "of another one" }), "checkout_not_expected"),
    ] {
        let (status, verdict) = with(&context);
        assert_eq!((status, &verdict["code"]), (Some(1), &json!(expected)), "{context}: {verdict}");
    }
    // Nothing beside it: the hash inside agrees with the checkout inside, and that is worth what it says.
    for weaker in [&bound[..], &bound[..2]] {
        let (status, verdict) = verify(weaker);
        assert_eq!((status, &verdict["strength"]), (Some(0), &json!("on_its_own")), "{weaker:?}");
    }
}

/// The merchant's signed checkout, as a merchant has it at hand: the vector keeps it inside its mandate alone.
fn text_of_checkout(case: &Value) -> String {
    let disclosures = text(case, "token").split('~').filter(|part| !part.is_empty() && !part.contains('.'));
    let values = disclosures.map(|part| URL_SAFE_NO_PAD.decode(part).unwrap());
    let mut values = values.map(|bytes| serde_json::from_slice::<Value>(&bytes).unwrap());
    let found = values.find(|value| value[1] == "checkout_jwt").expect("a closed checkout mandate");
    found[2].as_str().unwrap().to_owned()
}

/// Flips `s` to `n - s` in the signature of one JWT of a chain: as valid as before (ECDSA over P-256).
fn flipped(token: &str, place: usize) -> String {
    let order: U256 = "0xffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551".parse().unwrap();
    let mut segments: Vec<String> = token.split('~').map(str::to_owned).collect();
    let jwts = segments.iter_mut().filter(|part| part.contains('.')).collect::<Vec<_>>();
    let jwt = jwts.into_iter().nth(place).expect("a JWT");
    let (head, signature) = jwt.rsplit_once('.').unwrap();
    let mut bytes = URL_SAFE_NO_PAD.decode(signature).unwrap();
    let s = order - U256::from_be_slice(&bytes[32..]);
    bytes[32..].copy_from_slice(&s.to_be_bytes::<32>());
    *jwt = format!("{head}.{}", URL_SAFE_NO_PAD.encode(bytes));
    segments.join("~")
}

/// What the closed mandate of a chain says.
fn payment_of(world: &World, chain: &str) -> ClosedPayment {
    let roots = KeySet::new(world.ring.publics(&Slot::new(HOME, Purpose::Provider)).unwrap()).unwrap();
    let verdict = verify(
        chain,
        &Context {
            clock: Clock { now_seconds: store::wall_clock()().seconds(), skew_seconds: 60 },
            trusted: &roots,
            family: ExpectedFamily::Either,
            expected: Expected::OnItsOwn,
            leaf_age_seconds_max: 300,
            purchase: Purchase::OnItsOwn,
            open_checkout: OpenCheckout::Unknown,
            usage: Usage::Unknown,
            nonces: Nonces::LeftToState,
            revoked: Revoked::LeftToState,
        },
    );
    match verdict.facts().expect("a valid chain").closed.as_ref().expect("a closed mandate").mandate.clone() {
        Closed::Payment(payment) => payment,
        other => panic!("{other:?}"),
    }
}

/// Whoever holds a mandate can write it in other ways. Each is refused, or is the same mandate: its identity is that of what
/// was signed, and the budget is the identity's.
#[tokio::test(flavor = "multi_thread")]
async fn another_spelling_of_a_mandate_is_no_new_mandate() {
    let world = World::patient(None).await;
    let mandate = world.mandate_of("1.00", 1).await;
    // The book names a node by the bytes of the mandate's identity.
    let identity = URL_SAFE_NO_PAD.encode(hex::decode(&mandate).unwrap());
    let open = text(&figures(&world, &mandate).await, "payment").to_owned();
    let look = async |presented: &str| {
        let body = json!({ "presented": presented });
        world.call(Method::POST, "/v1/mandates/verify", &world.user, Some(body)).await.expect("a verdict")
    };
    assert_eq!(look(&open).await["facts"]["open"][0]["identity"], identity.as_str());
    // `s` flipped: still valid, still the same.
    let other = flipped(&open, 0);
    assert_ne!(other, open);
    assert_eq!(look(&other).await["facts"]["open"][0]["identity"], identity.as_str());
    let parts: Vec<&str> = open.split('~').filter(|part| !part.is_empty()).collect();
    let (jwt, disclosures) = parts.split_first().unwrap();
    let joined = |parts: &[&str]| format!("{}~", parts.join("~"));
    let mut spellings = vec![
        format!("{open}WyJzYWx0IiwgInZhbHVlIl0~"),
        open.trim_end_matches('~').to_owned(),
        open.replacen('~', "=~", 1),
        format!(" {open}"),
        open.replacen('~', "\n~", 1),
        json!({ "payload": jwt.split('.').nth(1), "disclosures": disclosures }).to_string(),
        joined(&[&parts[..], &parts[1..2]].concat()),
        joined(&[&parts[..1], &parts[1..].iter().rev().copied().collect::<Vec<_>>()].concat()),
    ];
    spellings.extend((1..parts.len()).map(|left_out| {
        let kept = parts.iter().enumerate().filter(|(at, _)| *at != left_out).map(|(_, part)| *part);
        joined(&kept.collect::<Vec<_>>())
    }));
    let mut refused = 0;
    for spelling in &spellings {
        let verdict = look(spelling).await;
        match verdict["valid"].as_bool() {
            Some(true) => assert_eq!(verdict["facts"]["open"][0]["identity"], identity.as_str(), "{spelling}"),
            _ => refused += 1,
        }
    }
    assert!(refused >= spellings.len() - 2, "{refused} of {} were refused", spellings.len());

    // Paid once; then the agent, who has its key, closes the other spelling over the same purchase.
    let paid = pay(&world.client, &world.agent, &mandate, &world.offer("one").await, "one").await.expect("the one use");
    let path = format!("/v1/payments/{}/evidence", text(&paid, "id"));
    let file = world.call(Method::GET, &path, &world.agent, None).await.unwrap();
    let bundle: Value = serde_json::from_str(text(&file, "bundle")).unwrap();
    let (chain, audience, nonce) = (text(&bundle, "chain"), text(&bundle, "audience"), text(&paid, "id"));
    let first = look(chain).await;
    let key = world.ring.p256(&Slot::new(HOME, Purpose::Agent(AGENT.into()))).unwrap();
    let closed = Mandate::Payment(payment_of(&world, chain));
    let issued_at_seconds = store::wall_clock()().seconds();
    let terms = HopTerms { position: Position::Leaf, audience, nonce, issued_at_seconds };
    let unsigned = hop(&other, &terms, &[closed], &mut || [7; 16]).unwrap();
    let signature = key.sign(unsigned.signing_input()).unwrap();
    for again in [unsigned.finish(signature), flipped(chain, 1)] {
        let verdict = look(&again).await;
        assert_eq!(verdict["valid"], true, "{verdict}");
        assert_eq!(verdict["facts"]["open"][0]["identity"], identity.as_str(), "the same mandate");
        // By the identity of the outermost mandate and the nonce it is the use that was made.
        assert_eq!(verdict["facts"]["obligations"], first["facts"]["obligations"]);
    }
    assert_eq!(look(&flipped(chain, 1)).await["facts"]["closed"]["identity"], first["facts"]["closed"]["identity"]);
    assert_eq!(look(&flipped(chain, 0)).await["code"], "sd_hash_mismatch", "without the agent's key it is nothing");
    // The book knows one mandate, whatever is written.
    for spelling in [mandate.clone(), mandate.to_uppercase(), format!(" {mandate}"), format!("0x{mandate}")] {
        let answer = pay(&world.client, &world.agent, &spelling, &world.offer("two").await, &new_key()).await;
        let code = code(answer);
        assert!(["occurrences_exhausted", "invalid_request"].contains(&code.as_str()), "{spelling}: {code}");
    }
    assert_eq!(used(&figures(&world, &mandate).await), ("1000000", "0", 1));
    verify_books(&world);
}
