//! Whoever is barred pays nobody and is paid by nobody, and where nobody can be asked nothing is paid at all.

use std::sync::atomic::AtomicU8;

use purser::screening::ScreeningConfig;
use reqwest::Method;
use serde_json::json;

use super::*;

/// What the service that is asked says: allow, deny, nonsense, an error, nothing in time.
const ANSWERS: [&str; 5] = ["allow", "deny", "nonsense", "broken", "late"];

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_barred_is_barred_everywhere_and_silence_bars_all() {
    let mut world = World::start_with(60).await;
    let (says, asked) = (Arc::new(AtomicU8::new(0)), Arc::new(std::sync::Mutex::new(Vec::<Value>::new())));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/ask", listener.local_addr().unwrap());
    let (word, heard) = (says.clone(), asked.clone());
    let answer = move |body: Bytes| {
        let (word, heard) = (word.clone(), heard.clone());
        async move {
            heard.lock().unwrap().push(serde_json::from_slice(&body).unwrap());
            match ANSWERS[usize::from(word.load(Ordering::SeqCst))] {
                "nonsense" => axum::Json(json!({ "decision": "perhaps" })).into_response(),
                "broken" => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
                "late" => std::future::pending().await,
                decision => axum::Json(json!({ "decision": decision })).into_response(),
            }
        }
    };
    tokio::spawn(async move { axum::serve(listener, Router::new().route("/ask", post(answer))).await.unwrap() });
    let list = world.folder.path().join("denied.txt");
    std::fs::write(&list, "# nobody yet\n").unwrap();
    world.config.screening =
        Some(ScreeningConfig { deny_list: Some(list.clone()), screening_url: Some(url), timeout_millis: 300 });
    sell(&mut world, vec![route("/screened", json!({}))], None);
    let buyer = Buyer::new(&world, 71, 100 * PRICE).await;
    let mandate = world.mandate().await;
    let (verify, settle) =
        (format!("{}/verify", world.config.public_url()), format!("{}/settle", world.config.public_url()));
    for (number, answer) in ANSWERS.iter().enumerate().skip(1) {
        says.store(u8::try_from(number).unwrap(), Ordering::SeqCst);
        let expected = if *answer == "deny" { "screening_denied" } else { "screening_unavailable" };
        // The seller,
        let payment = buyer.sign(&world, "/screened", 60).await;
        let got = present(&world, "/screened", &payment).await;
        assert_eq!(got.status, if *answer == "deny" { 402 } else { 503 }, "{answer}: {}", got.body);
        // whoever carries,
        let body = json!({ "x402Version": 2, "paymentPayload": payment, "paymentRequirements": payment.accepted });
        for url in [&verify, &settle] {
            let said = reqwest::Client::new().post(url).json(&body).send().await.unwrap();
            let (status, said) = (said.status().as_u16(), said.json::<Value>().await.unwrap());
            let is_no = said["isValid"] == false || said["success"] == false;
            assert!(is_no && said.to_string().contains("deny list") == (*answer == "deny"), "{url}: {status} {said}");
        }
        // and the wallet, which holds nothing for it.
        let refused = world.pay(&mandate, &format!("screened-{answer}")).await.unwrap_err();
        assert_eq!(refused.code(), Some(expected), "{answer}: {refused}");
    }
    let figures = world.call(Method::GET, &format!("/v1/mandates/{mandate}"), &world.user, None).await.unwrap();
    assert_eq!((text(&figures["held"], "units"), paid(&world).await), ("0", 0), "{figures}");
    let heard = asked.lock().unwrap().last().cloned().unwrap();
    let members: Vec<_> = heard.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(members, ["amount", "asset", "network", "payee", "payer"], "{heard}");
    says.store(0, Ordering::SeqCst);
    assert!(present(&world, "/screened", &buyer.sign(&world, "/screened", 60).await).await.is_served());
    // The list is read again when it changes; one that is not understood bars everything.
    let payment = buyer.sign(&world, "/screened", 60).await;
    for (text, status) in [
        (format!("{:#x}\n", buyer.key.address()), 402),
        (format!("{:#x} # the shop\n", shop_address()), 402),
        ("somebody\n".to_owned(), 503),
        ("\n\n".to_owned(), 200),
    ] {
        std::fs::write(&list, &text).unwrap();
        assert_eq!(present(&world, "/screened", &payment).await.status, status, "{text}");
    }
    verify_books(&world);
}
