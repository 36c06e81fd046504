//! What a shop tells of an order afterwards (`WebhookEvent` of ACP 2026-04-17), as far as it is about money. It is what the shop
//! says: nothing in it is a fact.

use mandates::json;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Unmet, UnmetCode, shown_text};
use crate::checkout::AMOUNT_MAX;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Told {
    pub order: String,
    pub session: String,
    /// Of the order; the list is open.
    pub status: Option<String>,
    pub adjustments: Vec<Said>,
}

/// A refund, a dispute, …; the lists are open.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Said {
    pub kind: String,
    pub status: String,
    /// In minor units.
    pub amount: u64,
}

/// Most adjustments of one order that are read.
const ADJUSTMENTS_MAX: usize = 200;

fn wrong(path: &str, expected: &str, value: Option<&Value>) -> Unmet {
    let came = value.map_or("nothing", json::kind);
    Unmet::new(UnmetCode::AnswerUnreadable, format!("{path} is {expected}; {came} came"))
}

impl Told {
    pub fn read(body: &[u8]) -> Result<Self, Unmet> {
        let event = json::parse_object(body).map_err(|_| wrong("$", "a JSON object", None))?;
        let data = event.get("data").and_then(Value::as_object);
        let data = data.ok_or_else(|| wrong("$.data", "an object", event.get("data")))?;
        let text = |name: &str| {
            let found = data.get(name).and_then(Value::as_str).filter(|text| (1..=256).contains(&text.len()));
            found
                .map(str::to_owned)
                .ok_or_else(|| wrong(&format!("$.data.{name}"), "a text of 1 to 256 bytes", data.get(name)))
        };
        let adjustments = match data.get("adjustments") {
            None | Some(Value::Null) => &[][..],
            Some(Value::Array(list)) if list.len() <= ADJUSTMENTS_MAX => list,
            other => return Err(wrong("$.data.adjustments", &format!("a list of at most {ADJUSTMENTS_MAX}"), other)),
        };
        Ok(Self {
            order: text("id")?,
            session: text("checkout_session_id")?,
            status: data.get("status").and_then(Value::as_str).map(shown_text),
            adjustments: adjustments.iter().enumerate().map(said).collect::<Result<_, _>>()?,
        })
    }

    /// What comes back by the shop's word in all, whether it came or not: what it gives back, and what a bank asks back from
    /// it. A dispute and the refund that ends it are the same money. Nothing where that is everything: the order is
    /// cancelled.
    pub fn announced(&self) -> Option<u64> {
        if self.status.as_deref() == Some("canceled") {
            return None;
        }
        let stands = |said: &&Said| matches!(said.status.as_str(), "pending" | "completed");
        let of = |kinds: &[&str]| {
            let adjustments = self.adjustments.iter().filter(|said| kinds.contains(&said.kind.as_str()));
            adjustments.filter(stands).fold(0_u64, |sum, said| sum.saturating_add(said.amount))
        };
        Some(of(&["refund", "credit", "cancellation"]).max(of(&["dispute"])))
    }

    /// What the shop says that it gave back.
    pub fn refunded(&self) -> u64 {
        let given = |said: &&Said| said.status == "completed" && (said.kind == "refund" || said.kind == "credit");
        self.adjustments.iter().filter(given).fold(0, |sum, said| sum.saturating_add(said.amount))
    }
}

fn said((at, value): (usize, &Value)) -> Result<Said, Unmet> {
    let path = |name: &str| format!("$.data.adjustments[{at}].{name}");
    let text = |name: &str| {
        let found = value.get(name).and_then(Value::as_str).map(shown_text);
        found.ok_or_else(|| wrong(&path(name), "a text", value.get(name)))
    };
    // An exchange may have none.
    let amount = match value.get("amount") {
        None | Some(Value::Null) => 0,
        Some(amount) => {
            let found = amount.as_u64().filter(|amount| *amount <= AMOUNT_MAX);
            found.ok_or_else(|| wrong(&path("amount"), "a whole number of minor units", Some(amount)))?
        }
    };
    Ok(Said { kind: text("type")?, status: text("status")?, amount })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn event() -> Value {
        let adjustment = |kind: &str, status: &str, amount: u64| json!({ "id": "a", "type": kind, "status": status, "amount": amount, "occurred_at": "2026-11-30T10:00:00Z" });
        json!({ "type": "order_update", "data": { "type": "order", "id": "order_1", "checkout_session_id": "cs_1",
            "permalink_url": "https://shop.example/orders/1", "status": "shipped",
            "adjustments": [adjustment("refund", "completed", 40), adjustment("refund", "pending", 7),
                adjustment("credit", "completed", 2), adjustment("dispute", "completed", 100)] } })
    }

    #[test]
    fn what_cannot_be_read_is_refused() {
        for body in ["", "[]", "{}", "{\"data\":7}", "{\"data\":{},\"data\":{}}"] {
            assert_eq!(Told::read(body.as_bytes()).unwrap_err().code, UnmetCode::AnswerUnreadable, "{body}");
        }
        for (pointer, other) in [
            ("/data/id", json!("")),
            ("/data/id", json!(7)),
            ("/data/checkout_session_id", json!("x".repeat(257))),
            ("/data/checkout_session_id", json!(null)),
            ("/data/adjustments", json!({})),
            ("/data/adjustments", json!(vec![json!({}); 201])),
            ("/data/adjustments/0", json!("refund")),
            ("/data/adjustments/0/type", json!(null)),
            ("/data/adjustments/0/amount", json!(-1)),
            ("/data/adjustments/0/amount", json!(1.5)),
            ("/data/adjustments/0/amount", json!("40")),
            ("/data/adjustments/0/amount", json!(9_007_199_254_740_992_u64)),
        ] {
            let mut event = event();
            *event.pointer_mut(pointer).unwrap() = other.clone();
            let refused = Told::read(event.to_string().as_bytes()).expect_err(&format!("{pointer} {other}"));
            assert_eq!(refused.code, UnmetCode::AnswerUnreadable, "{pointer} {other}");
        }
    }

    #[test]
    fn what_is_said_to_be_given_back_is_counted_and_nothing_else() {
        let told = Told::read(event().to_string().as_bytes()).unwrap();
        assert_eq!((told.refunded(), told.adjustments.len(), told.session.as_str()), (42, 4, "cs_1"));
    }

    /// What is announced: what stands, of whichever kind gives money back; a dispute and its refund are the same money.
    #[test]
    fn what_is_announced_is_what_stands_and_everything_of_an_order_that_is_cancelled() {
        let told = |status: &str, said: &[(&str, &str, u64)]| {
            let mut event = event();
            event["data"]["status"] = status.into();
            let said =
                said.iter().map(|(kind, status, amount)| json!({ "type": kind, "status": status, "amount": amount }));
            event["data"]["adjustments"] = said.collect();
            Told::read(event.to_string().as_bytes()).unwrap().announced()
        };
        let most = 9_007_199_254_740_991;
        for (said, announced) in [
            (&[][..], 0),
            (&[("refund", "failed", 9)], 0),
            (&[("refund", "Completed", 9)], 0),
            (&[("return", "completed", 9), ("exchange", "completed", 9), ("price_adjustment", "completed", 9)], 0),
            (&[("dispute", "failed", 9), ("REFUND", "completed", 9), ("gift", "pending", 9)], 0),
            (&[("refund", "pending", 3), ("credit", "completed", 2), ("cancellation", "completed", 1)], 6),
            (&[("dispute", "pending", 9), ("refund", "completed", 9)], 9),
            (&[("dispute", "completed", 9), ("refund", "pending", 4)], 9),
            (&[("refund", "completed", most), ("refund", "completed", most)], 2 * most),
        ] {
            assert_eq!(told("shipped", said), Some(announced), "{said:?}");
            assert_eq!(told("canceled", said), None, "everything: {said:?}");
        }
    }
}
