//! A session as its shop shows it, as far as an agent acts on it.

use std::collections::BTreeMap;

use mandates::json::{self, Object};
use serde_json::Value;

use super::{Unmet, UnmetCode, shown_text};
use crate::acp_checkout::CARD_HANDLER;
use crate::checkout::{AMOUNT_MAX, Status};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    pub id: String,
    /// Nothing where the shop has a status that the version does not: it is never paid in it.
    pub status: Option<Status>,
    /// ISO 4217, in capitals.
    pub currency: String,
    /// In minor units: the one entry of `totals` of type `total`.
    pub total: u64,
    /// How many of which product, over all lines.
    pub items: BTreeMap<String, u64>,
    /// The ids of its lines.
    pub lines: Vec<String>,
    /// Who takes tokens for cards, where anybody does.
    pub seller: Option<Seller>,
    /// RFC 3339, and the same in unix seconds.
    pub expires_at: Option<(String, i64)>,
    /// Its id, and the session that it says it is of.
    pub order: Option<(String, String)>,
    /// What keeps it from being paid for, in the shop's words.
    pub messages: Vec<(String, String)>,
    /// Ways to send it: id, title, amount.
    pub options: Vec<(String, String, u64)>,
}

/// The payment handler `dev.acp.tokenized.card` of a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seller {
    pub handler: String,
    pub merchant_id: String,
    pub psp: String,
}

fn unreadable(message: String) -> Unmet {
    Unmet::new(UnmetCode::AnswerUnreadable, message)
}

fn text<'a>(of: &'a Object, name: &str, path: &str) -> Result<&'a str, Unmet> {
    let found = of.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
    found.ok_or_else(|| unreadable(format!("{path}.{name} is a text; {} came", came(of.get(name)))))
}

fn came(value: Option<&Value>) -> &'static str {
    value.map_or("nothing", json::kind)
}

fn list<'a>(of: &'a Object, name: &str) -> &'a [Value] {
    of.get(name).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

/// A whole number of minor units that every reader counts alike.
fn amount(value: Option<&Value>, path: &str) -> Result<u64, Unmet> {
    let found = value.and_then(Value::as_u64).filter(|amount| *amount <= AMOUNT_MAX);
    found.ok_or_else(|| {
        let came = value.map_or_else(|| "nothing".to_owned(), |value| shown_text(&value.to_string()));
        unreadable(format!("{path} is a whole number of minor units from 0 to {AMOUNT_MAX}; {came} came"))
    })
}

impl Shown {
    pub fn read(body: &[u8]) -> Result<Self, Unmet> {
        let session = json::parse_object(body)
            .map_err(|_| unreadable("a checkout session was expected, what came is no JSON object".into()))?;
        let status = text(&session, "status", "$")?;
        let currency = text(&session, "currency", "$")?.to_ascii_uppercase();
        let expires_at = session.get("expires_at").and_then(Value::as_str).map(moment).transpose()?;
        Ok(Self {
            id: named(text(&session, "id", "$")?)?,
            status: Status::ALL.into_iter().find(|known| known.as_str() == status),
            currency,
            total: total(list(&session, "totals"), "$.totals")?,
            items: items(list(&session, "line_items"))?,
            lines: list(&session, "line_items")
                .iter()
                .filter_map(|line| Some(line.get("id")?.as_str()?.into()))
                .collect(),
            seller: seller(&session)?,
            expires_at,
            order: order(&session)?,
            messages: list(&session, "messages").iter().filter_map(message).take(20).collect(),
            options: list(&session, "fulfillment_options").iter().filter_map(option).take(50).collect(),
        })
    }

    /// What hangs on money is what it was: a session that the shop changed is another offer.
    pub fn unchanged(&self, before: &Self) -> Result<(), Unmet> {
        if self.id != before.id {
            let (expected, found) = (shown_text(&before.id), shown_text(&self.id));
            let message = format!("session {expected} was expected, {found} came");
            return Err(Unmet::new(UnmetCode::SessionMismatch, message));
        }
        let face = |shown: &Self| {
            let seller = shown.seller.as_ref().map_or_else(
                || "no merchant".to_owned(),
                |seller| format!("{} at {}", shown_text(&seller.merchant_id), shown_text(&seller.psp)),
            );
            let items: Vec<String> =
                shown.items.iter().map(|(id, quantity)| format!("{quantity} {}", shown_text(id))).collect();
            format!("{} {} to {seller} for {}", shown.total, shown_text(&shown.currency), items.join(", "))
        };
        let (expected, found) = (face(before), face(self));
        // A finished session may say no more how it can be paid; a session that says so says the same.
        let is_same_seller = self.seller == before.seller || (self.seller.is_none() && self.is_bought());
        let is_same = self.total == before.total && self.currency == before.currency && self.items == before.items;
        if is_same && is_same_seller {
            return Ok(());
        }
        let message = format!("the session as it was looked at ({expected}) was expected, another one ({found}) came");
        Err(Unmet::new(UnmetCode::SessionChanged, message))
    }

    pub fn is_bought(&self) -> bool {
        self.status == Some(Status::Completed)
    }

    /// What the shop says that it lacks.
    pub fn lacks(&self) -> String {
        let said: Vec<String> = self.messages.iter().map(|(code, text)| format!("{code}: {text}")).collect();
        said.join("; ")
    }
}

/// It becomes a part of addresses.
fn named(id: &str) -> Result<String, Unmet> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._~-".contains(&byte);
    if id.len() <= 256 && id.bytes().all(is_plain) && !id.bytes().all(|byte| byte == b'.') {
        return Ok(id.to_owned());
    }
    Err(unreadable(format!("$.id is 1 to 256 letters, digits, `.`, `_`, `~` or `-`; {} came", shown_text(id))))
}

/// Exactly one: where there are two, whoever reads the other one sees another price.
fn total(totals: &[Value], path: &str) -> Result<u64, Unmet> {
    let of_kind = |entry: &&Value| entry.get("type").and_then(Value::as_str) == Some("total");
    let mut found = totals.iter().filter(of_kind);
    match (found.next(), found.next()) {
        (Some(entry), None) => amount(entry.get("amount"), &format!("{path}[type=total].amount")),
        (first, _) => {
            let came = if first.is_some() { "several" } else { "none" };
            Err(unreadable(format!("{path} has one entry of type total; {came} came")))
        }
    }
}

fn items(lines: &[Value]) -> Result<BTreeMap<String, u64>, Unmet> {
    let mut items = BTreeMap::new();
    for (at, line) in lines.iter().enumerate() {
        let path = format!("$.line_items[{at}]");
        let item = line.get("item").and_then(Value::as_object);
        let item =
            item.ok_or_else(|| unreadable(format!("{path}.item is an object; {} came", came(line.get("item")))))?;
        let id = text(item, "id", &format!("{path}.item"))?;
        let quantity = amount(line.get("quantity"), &format!("{path}.quantity"))?;
        let sum: &mut u64 = items.entry(id.to_owned()).or_default();
        *sum = sum.saturating_add(quantity);
    }
    Ok(items)
}

/// One that takes tokens for cards. Two would be two payees.
fn seller(session: &Object) -> Result<Option<Seller>, Unmet> {
    let capabilities = session.get("capabilities").and_then(Value::as_object);
    let payment = capabilities.and_then(|capabilities| capabilities.get("payment")).and_then(Value::as_object);
    let handlers = payment.map(|payment| list(payment, "handlers")).unwrap_or_default();
    let mut found = handlers.iter().filter(|one| one.get("name").and_then(Value::as_str) == Some(CARD_HANDLER));
    let (handler, other) = (found.next(), found.next());
    if other.is_some() {
        return Err(unreadable(format!("one payment handler {CARD_HANDLER} was expected; several came")));
    }
    let Some(handler) = handler.and_then(Value::as_object) else { return Ok(None) };
    let path = "$.capabilities.payment.handlers";
    let config = handler.get("config").and_then(Value::as_object);
    let config = config.ok_or_else(|| unreadable(format!("{path}.config is an object; {} came", came(None))))?;
    Ok(Some(Seller {
        handler: text(handler, "id", path)?.to_owned(),
        merchant_id: text(config, "merchant_id", &format!("{path}.config"))?.to_owned(),
        psp: text(handler, "psp", path)?.to_owned(),
    }))
}

fn order(session: &Object) -> Result<Option<(String, String)>, Unmet> {
    let Some(order) = session.get("order").and_then(Value::as_object) else { return Ok(None) };
    let (id, of) = (text(order, "id", "$.order")?, text(order, "checkout_session_id", "$.order")?);
    Ok(Some((shown_text(id), of.to_owned())))
}

fn message(value: &Value) -> Option<(String, String)> {
    let text = |name: &str| value.get(name).and_then(Value::as_str).map(shown_text);
    Some((text("code").unwrap_or_default(), text("content")?))
}

fn option(value: &Value) -> Option<(String, String, u64)> {
    let text = |name: &str| value.get(name).and_then(Value::as_str).map(shown_text);
    let totals = value.get("totals").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    Some((text("id")?, text("title").unwrap_or_default(), total(totals, "$.fulfillment_options").ok()?))
}

fn moment(text: &str) -> Result<(String, i64), Unmet> {
    let parsed = time::OffsetDateTime::parse(text, &time::format_description::well_known::Rfc3339);
    let parsed =
        parsed.map_err(|_| unreadable(format!("$.expires_at is a moment of RFC 3339; {} came", shown_text(text))))?;
    Ok((text.to_owned(), parsed.unix_timestamp()))
}
