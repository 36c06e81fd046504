//! What was bought in a shop, and what became of it: the order of ACP 2026-04-17 (`Order`, JSON Schema of commit c2afc863).
//!
//! An order is written when its checkout is completed and anew with every change; nothing that was written is changed. So
//! its revisions are what receivers are told, in the order in which they happened.

use mandates::json::Object;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::acp_checkout::write::totals;
use crate::checkout::{Code, Protocol, Refusal, Session, Totals};
use crate::ucp::write::{minor, moment};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Order {
    pub id: String,
    pub session: String,
    /// Whose checkout it was.
    pub owner: String,
    pub protocol: Protocol,
    pub url: String,
    pub currency: String,
    pub lines: Vec<Line>,
    pub totals: Totals,
    pub status: OrderStatus,
    pub adjustments: Vec<Adjustment>,
    /// Unix seconds.
    pub created_at: i64,
    pub updated_at: i64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Line {
    pub id: String,
    pub product: String,
    pub title: String,
    pub price: u64,
    pub quantity: u64,
}

/// What is paid for is confirmed: an order begins so.
///
/// | from | to |
/// | --- | --- |
/// | confirmed | processing, shipped, completed, canceled |
/// | processing | shipped, completed, canceled |
/// | shipped | completed, canceled |
/// | completed, canceled | nothing |
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OrderStatus {
    Confirmed,
    Processing,
    Shipped,
    /// All of it was received.
    Completed,
    /// Nothing of it will be, and all of the money was given back.
    Canceled,
}

impl OrderStatus {
    const ALL: [Self; 5] = [Self::Confirmed, Self::Processing, Self::Shipped, Self::Completed, Self::Canceled];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Confirmed => "confirmed",
            Self::Processing => "processing",
            Self::Shipped => "shipped",
            Self::Completed => "completed",
            Self::Canceled => "canceled",
        }
    }

    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == name)
    }

    const fn becomes(self, next: Self) -> bool {
        match self {
            Self::Confirmed => !matches!(next, Self::Confirmed),
            Self::Processing => matches!(next, Self::Shipped | Self::Completed | Self::Canceled),
            Self::Shipped => matches!(next, Self::Completed | Self::Canceled),
            Self::Completed | Self::Canceled => false,
        }
    }
}

/// Something after the sale.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Adjustment {
    /// The same for the same request.
    pub id: String,
    pub kind: Kind,
    /// In minor units.
    pub amount: u64,
    pub at: i64,
    pub description: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Money that the payment processor gave back.
    Refund,
    /// Goods came back; what money does is said by a refund.
    Return,
    /// The buyer's bank asks for the money back, and it is not decided.
    Dispute,
}

impl Kind {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Refund => "refund",
            Self::Return => "return",
            Self::Dispute => "dispute",
        }
    }

    pub fn named(name: &str) -> Option<Self> {
        [Self::Refund, Self::Return, Self::Dispute].into_iter().find(|kind| kind.as_str() == name)
    }
}

impl Order {
    /// Of a session that was paid for. Nothing where it was not, or has no order.
    pub fn of(session: &Session, owner: &str) -> Option<Self> {
        if session.status != crate::checkout::Status::Completed {
            return None;
        }
        let order = session.order.as_ref()?;
        let line = |line: &crate::checkout::Line| Line {
            id: line.id.clone(),
            product: line.product.clone(),
            title: line.title.clone(),
            price: line.price,
            quantity: line.quantity,
        };
        Some(Self {
            id: order.id.clone(),
            session: session.id.clone(),
            owner: owner.to_owned(),
            protocol: session.protocol,
            url: order.url.clone(),
            currency: session.currency.clone(),
            lines: session.lines.iter().map(line).collect(),
            totals: session.totals,
            status: OrderStatus::Confirmed,
            adjustments: Vec::new(),
            created_at: session.updated_at,
            updated_at: session.updated_at,
        })
    }

    pub fn refunded(&self) -> u64 {
        let refunds = self.adjustments.iter().filter(|adjustment| adjustment.kind == Kind::Refund);
        refunds.fold(0, |sum, refund| sum.saturating_add(refund.amount))
    }

    /// Moved to another status. What was paid for and not given back is not cancelled.
    pub fn moved(&self, to: OrderStatus, now: i64) -> Result<Self, Refusal> {
        if !self.status.becomes(to) {
            let message =
                format!("an order that can become {} was expected, it is {}", to.as_str(), self.status.as_str());
            return Err(Refusal::new(Code::Finished, "$.status", message));
        }
        if to == OrderStatus::Canceled && self.refunded() < self.totals.total {
            let message = format!(
                "an order of which all {} minor units were given back was expected, {} were: refund the rest first",
                self.totals.total,
                self.refunded()
            );
            return Err(Refusal::new(Code::NotReady, "$.status", message));
        }
        Ok(Self { status: to, updated_at: now, ..self.clone() })
    }

    /// Whether so much more may be given back.
    pub fn check_refund(&self, amount: u64) -> Result<(), Refusal> {
        let left = self.totals.total.saturating_sub(self.refunded());
        if (1..=left).contains(&amount) {
            return Ok(());
        }
        let message = format!("1 to {left} minor units, what was not given back yet, were expected, {amount} came");
        Err(Refusal::new(Code::Invalid, "$.adjustment.amount", message))
    }

    /// The same twice is once.
    pub fn adjusted(&self, adjustment: Adjustment) -> Result<Self, Refusal> {
        if let Some(known) = self.adjustments.iter().find(|known| known.id == adjustment.id) {
            if (known.kind, known.amount) == (adjustment.kind, adjustment.amount) {
                return Ok(self.clone());
            }
            let message = format!(
                "the {} of {} that came first under this key was expected, a {} of {} came",
                known.kind.as_str(),
                known.amount,
                adjustment.kind.as_str(),
                adjustment.amount
            );
            return Err(Refusal::new(Code::Invalid, "$.adjustment", message));
        }
        if self.adjustments.len() >= ADJUSTMENTS_MAX {
            let message = format!("an order has at most {ADJUSTMENTS_MAX} adjustments; this would be another");
            return Err(Refusal::new(Code::TooMuch, "$.adjustment", message));
        }
        let updated_at = adjustment.at;
        let adjustments = self.adjustments.iter().cloned().chain([adjustment]).collect();
        Ok(Self { adjustments, updated_at, ..self.clone() })
    }

    /// `Order` of ACP, whole each time.
    pub fn acp(&self) -> Object {
        let mut said = totals(&self.totals);
        if let (Value::Array(entries), refunded @ 1..) = (&mut said, self.refunded()) {
            entries.push(json!({ "type": "amount_refunded", "display_text": "Refunded", "amount": minor(refunded) }));
        }
        let mut object = Object::new();
        let mut put = |name: &str, value: Value| object.insert(name.to_owned(), value);
        put("type", "order".into());
        put("id", self.id.as_str().into());
        put("checkout_session_id", self.session.as_str().into());
        put("permalink_url", self.url.as_str().into());
        put("status", self.status.as_str().into());
        put("line_items", self.lines.iter().map(|line| self.line(line)).collect());
        put("adjustments", self.adjustments.iter().map(|adjustment| self.adjustment(adjustment)).collect());
        put("totals", said);
        object
    }

    fn line(&self, line: &Line) -> Value {
        let (ordered, is_over) = (line.quantity, self.status == OrderStatus::Canceled);
        let is_sent = matches!(self.status, OrderStatus::Shipped | OrderStatus::Completed);
        let (current, fulfilled) = (if is_over { 0 } else { ordered }, if is_sent { ordered } else { 0 });
        let status = match (is_over, is_sent) {
            (true, _) => "removed",
            (_, true) => "fulfilled",
            _ => "processing",
        };
        json!({ "id": line.id, "product_id": line.product, "title": line.title, "unit_price": line.price,
            "subtotal": line.price.saturating_mul(line.quantity), "status": status,
            "quantity": { "ordered": ordered, "current": current, "fulfilled": fulfilled } })
    }

    fn adjustment(&self, adjustment: &Adjustment) -> Value {
        let status = if adjustment.kind == Kind::Dispute { "pending" } else { "completed" };
        let mut said = json!({ "id": adjustment.id, "type": adjustment.kind.as_str(), "status": status,
            "occurred_at": moment(adjustment.at), "amount": minor(adjustment.amount),
            "currency": self.currency.to_ascii_lowercase() });
        if let Some(description) = &adjustment.description {
            said["description"] = description.as_str().into();
        }
        said
    }

    /// What a receiver is told (`POST /agentic_checkout/webhooks/order_events`): the first revision was made, a later one
    /// is a change.
    pub fn told(&self, revision: u64) -> Value {
        let kind = if revision == 1 { "order_create" } else { "order_update" };
        json!({ "type": kind, "data": self.acp() })
    }
}

/// Refunds in small parts, returns and disputes of one order, together.
const ADJUSTMENTS_MAX: usize = 100;

#[cfg(test)]
mod tests {
    use super::*;

    fn order() -> Order {
        Order {
            id: "order_1".into(),
            session: "checkout_session_1".into(),
            owner: "acp:home/agent/shopper".into(),
            protocol: Protocol::Acp,
            url: "https://shop.example/orders/order_1".into(),
            currency: "USD".into(),
            lines: vec![Line { id: "l".into(), product: "p".into(), title: "P".into(), price: 100, quantity: 2 }],
            totals: Totals { subtotal: 200, total: 200, ..Totals::default() },
            status: OrderStatus::Confirmed,
            adjustments: Vec::new(),
            created_at: 1,
            updated_at: 1,
        }
    }

    fn adjustment(id: &str, kind: Kind, amount: u64) -> Adjustment {
        Adjustment { id: id.into(), kind, amount, at: 5, description: None }
    }

    #[test]
    fn an_order_moves_by_its_table_alone() {
        use OrderStatus as S;
        for from in S::ALL {
            for to in S::ALL {
                let refunded = order().adjusted(adjustment("r", Kind::Refund, 200)).unwrap();
                let moved = Order { status: from, ..refunded }.moved(to, 9);
                let is_allowed = match from {
                    S::Confirmed => to != S::Confirmed,
                    S::Processing => to != S::Confirmed && to != S::Processing,
                    S::Shipped => to == S::Completed || to == S::Canceled,
                    S::Completed | S::Canceled => false,
                };
                assert_eq!(moved.is_ok(), is_allowed, "{from:?} {to:?}");
                assert!(moved.is_ok_and(|moved| moved.status == to && moved.updated_at == 9) == is_allowed);
            }
        }
        for name in ["", "Confirmed", "created", "fulfilled", "refunded"] {
            assert_eq!(S::named(name), None, "{name}");
        }
    }

    #[test]
    fn what_was_not_given_back_is_not_cancelled() {
        assert_eq!(order().moved(OrderStatus::Canceled, 2).unwrap_err().code, Code::NotReady);
        let partly = order().adjusted(adjustment("r", Kind::Refund, 199)).unwrap();
        assert_eq!(partly.moved(OrderStatus::Canceled, 2).unwrap_err().code, Code::NotReady);
        let returned = order().adjusted(adjustment("r", Kind::Return, 200)).unwrap();
        assert!(returned.moved(OrderStatus::Canceled, 2).is_err(), "goods are no money");
        let disputed = order().adjusted(adjustment("d", Kind::Dispute, 200)).unwrap();
        assert!(disputed.moved(OrderStatus::Canceled, 2).is_err(), "a question is no money");
        for amount in [0, 2, 200, u64::MAX] {
            assert!(partly.check_refund(amount).is_err(), "{amount}");
        }
        assert_eq!(partly.check_refund(1), Ok(()));
        let whole = partly.adjusted(adjustment("s", Kind::Refund, 1)).unwrap();
        assert!(whole.moved(OrderStatus::Canceled, 2).is_ok());
    }

    #[test]
    fn an_adjustment_is_one_for_its_key() {
        let once = order().adjusted(adjustment("k", Kind::Refund, 50)).unwrap();
        assert_eq!(once.adjusted(adjustment("k", Kind::Refund, 50)).unwrap(), once);
        for other in [adjustment("k", Kind::Refund, 51), adjustment("k", Kind::Return, 50)] {
            assert_eq!(once.adjusted(other).unwrap_err().code, Code::Invalid);
        }
        let full = (0..ADJUSTMENTS_MAX)
            .fold(order(), |order, number| order.adjusted(adjustment(&number.to_string(), Kind::Return, 1)).unwrap());
        assert_eq!(full.adjusted(adjustment("more", Kind::Return, 1)).unwrap_err().code, Code::TooMuch);
    }

    #[test]
    fn receivers_are_told_the_whole_of_it() {
        let told = order().told(1);
        assert_eq!((told["type"].as_str(), told["data"]["status"].as_str()), (Some("order_create"), Some("confirmed")));
        assert!(!told.to_string().contains("shopper"), "not whose it is: {told}");
        let refunded = order().adjusted(adjustment("k", Kind::Refund, 50)).unwrap().told(2);
        assert_eq!(refunded["type"], "order_update");
        let totals = refunded["data"]["totals"].as_array().unwrap();
        let of =
            |kind: &str| totals.iter().find(|total| total["type"] == kind).and_then(|total| total["amount"].as_u64());
        assert_eq!((of("total"), of("amount_refunded")), (Some(200), Some(50)), "what was charged stays");
        assert_eq!(refunded["data"]["adjustments"][0]["status"], "completed");
    }
}
