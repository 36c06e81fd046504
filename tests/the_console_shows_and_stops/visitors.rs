//! Who comes to the console without a browser's manners, and how a browser signs in as somebody.

use serde_json::Value;

use crate::approvals_cannot_be_faked::stage::{COOKIE, Stage};

/// Someone who is signed in, without a browser: cookie, and the token of the pages of that session.
#[derive(Clone)]
pub struct Session {
    pub cookie: String,
    pub csrf: String,
}

pub struct Answer {
    pub status: u16,
    pub kind: String,
    pub body: String,
}

pub fn console(stage: &Stage, path: &str) -> String {
    format!("{}/console{path}", stage.raw.base)
}

pub async fn session(stage: &Stage) -> Session {
    let with = stage.with().await;
    Session { cookie: with.cookie.unwrap(), csrf: with.csrf }
}

/// A passkey of this person's in the same authenticator; the browser forgets them afterwards.
pub async fn signed_in(stage: &Stage, person: &str) -> Session {
    stage.browser.go(&stage.shop.service.invite(person).await.unwrap()).await;
    stage.browser.click(".answer").await;
    stage.browser.until("form.who").await;
    let session = session(stage).await;
    stage.browser.forget_cookies().await;
    session
}

pub async fn get(stage: &Stage, session: Option<&Session>, path: &str) -> Answer {
    let mut request = stage.raw.client.get(console(stage, path)).header("accept", "text/html");
    if let Some(session) = session {
        request = request.header("cookie", format!("{COOKIE}={}", session.cookie));
    }
    let answer = request.send().await.unwrap();
    let kind = answer.headers().get("content-type").map_or("", |kind| kind.to_str().unwrap()).to_owned();
    Answer { status: answer.status().as_u16(), kind, body: answer.text().await.unwrap() }
}

/// A form of the console, as whoever holds the cookie could send it from anywhere. The code of a refusal, or where it leads.
pub async fn send(
    stage: &Stage,
    session: &Session,
    origin: Option<&str>,
    path: &str,
    fields: &[(&str, &str)],
) -> (u16, String) {
    let encoded = |text: &str| text.bytes().map(|byte| format!("%{byte:02x}")).collect::<String>();
    let body = fields.iter().map(|(name, value)| format!("{name}={}", encoded(value))).collect::<Vec<_>>().join("&");
    let mut request = stage.raw.client.post(console(stage, path)).header("accept", "application/json");
    if let Some(origin) = origin {
        request = request.header("origin", origin);
    }
    let request = request.header("cookie", format!("{COOKIE}={}", session.cookie));
    let answer = request.header("content-type", "application/x-www-form-urlencoded").body(body).send().await.unwrap();
    let status = answer.status().as_u16();
    let to = answer.headers().get("location").map(|to| to.to_str().unwrap().to_owned());
    let said: Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap_or_default();
    (status, to.unwrap_or_else(|| said["code"].as_str().unwrap_or_default().to_owned()))
}
