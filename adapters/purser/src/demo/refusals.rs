//! The refusals of the story: each is tried for real, and the code that comes is compared with the one that must.

use std::time::Duration;

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use x402::wire::{PaymentPayload, read_header, write_header};

use super::{Actors, Bought, DemoError, Story, intent, mandate, text};
use crate::client::ClientError;
use crate::credential::Credential;
use crate::pay::{Purchase, buy};

pub(super) struct Refused {
    pub case: &'static str,
    pub code: String,
    pub holds: bool,
}

pub(super) async fn refuse(story: &mut Story, actors: &Actors, bought: &Bought) -> Result<Vec<Refused>, DemoError> {
    story.step("What is refused");
    let mut refusals = Vec::new();
    let mut note = |case: &'static str, expected: &str, result: Result<String, ClientError>| {
        let (code, said) = match result {
            Ok(said) => ("accepted".to_owned(), said),
            Err(error) => (error.code().unwrap_or("none").to_owned(), error.to_string()),
        };
        let holds = code == expected;
        story.say(format!("{case}: {code}{}", if holds { "" } else { "  (NOT WHAT WAS EXPECTED)" }));
        story.say(format!("    {}", said.split_once(": ").map_or(said.as_str(), |(_, detail)| detail)));
        refusals.push(Refused { case, code, holds });
    };
    let pay = async |mandate: &str, path: &str, key: &str, cart: Option<String>| {
        let url = format!("{}{path}", actors.url);
        let purchase = Purchase { url, method: "GET".into(), mandate: mandate.into(), key: key.into(), cart };
        buy(&actors.client, &Credential::bearer(&actors.agent), &purchase, &|_| ())
            .await
            .map(|bought| format!("{}: served", bought.fetched.status))
    };
    let new_mandate =
        async |request: Value| -> Result<String, DemoError> { text(&mandate(actors, request).await?.1, "mandate") };

    let tight = new_mandate(intent("0.40", "0.40", 5, 3_600)).await?;
    pay(&tight, "/paid/dataset", "demo-first", None).await?;
    note("over budget", "amount_exceeds_budget", pay(&tight, "/paid/dataset", "demo-second", None).await);

    let altered = alter(&bought.cart);
    note(
        "altered cart",
        "checkout_jwt_signature_invalid",
        pay(&bought.mandate, "/paid/report", "demo-altered", Some(altered)).await,
    );

    let mut elsewhere = intent("5.00", "3.00", 20, 3_600);
    elsewhere["payees"] = json!([{ "id": "another-shop", "name": "Another Shop" }]);
    let elsewhere = new_mandate(elsewhere).await?;
    note("payee not allowed", "payee_not_allowed", pay(&elsewhere, "/paid/report", "demo-elsewhere", None).await);

    note("replayed payment, for another resource", "payment_used_for_other_resource", replay(actors, bought).await);

    // Two seconds: one may be over while the answer to the question is under way.
    let short_lived = new_mandate(intent("5.00", "3.00", 20, 2)).await?;
    tokio::time::sleep(Duration::from_millis(2_200)).await;
    note("expired mandate", "mandate_expired", pay(&short_lived, "/paid/report", "demo-expired", None).await);

    let path = format!("/v1/mandates/{}/revoke", bought.mandate);
    actors.client.call(Method::POST, &path, &actors.user, None, None).await?;
    note("revoked mandate", "mandate_revoked", pay(&bought.mandate, "/paid/dataset", "demo-revoked", None).await);
    Ok(refusals)
}

/// The signature that paid for the report, presented for another resource of the same price.
async fn replay(actors: &Actors, bought: &Bought) -> Result<String, ClientError> {
    let url = format!("{}/paid/note", actors.url);
    // The resource that a payload names is not signed; a thief leaves it out.
    let unreadable = |why: String| ClientError::Unreadable { url: url.clone(), why };
    let mut payload: PaymentPayload =
        read_header(bought.signature.as_bytes()).map_err(|error| unreadable(error.to_string()))?;
    payload.resource = None;
    let stolen = write_header(&payload).map_err(|error| unreadable(error.to_string()))?;
    let fetched = actors.client.fetch("GET", &url, Some(&stolen)).await?;
    if fetched.status == StatusCode::OK {
        return Ok("200: served".into());
    }
    let body: Value = serde_json::from_slice(&fetched.body).unwrap_or_default();
    let named = |name: &str| body.get(name).and_then(Value::as_str).map(str::to_owned);
    let code = named("code").or_else(|| named("error"));
    let detail = named("detail").or_else(|| named("message")).unwrap_or_else(|| body.to_string());
    Err(ClientError::Refused { url, status: fetched.status.as_u16(), code, detail })
}

/// Flips one letter in the signed checkout.
fn alter(cart: &str) -> String {
    let mut parts: Vec<String> = cart.split('.').map(str::to_owned).collect();
    if let Some(payload) = parts.get_mut(1) {
        let bytes = mandates::base64url::decode(payload).unwrap_or_default();
        let text = String::from_utf8(bytes).unwrap_or_default().replace("Market", "Marked");
        *payload = mandates::base64url::encode(text.as_bytes());
    }
    parts.join(".")
}
