//! The session, and what a request changes of it.

use mandates::json::Object;
use serde::{Deserialize, Serialize};

use super::price::{self, Totals};
use super::shop::{Discount, Shop};
use super::status::{Event, Status};
use super::{Code, Refusal};
use crate::read::{Given, LIST_MAX};

/// How long whoever completes a session is left alone with it: longer than any request is under way.
pub const CLAIM_SECONDS: i64 = 120;
/// How long a session is shown that came to nothing.
pub const ENDED_SECONDS: i64 = 24 * 3_600;

/// Which protocol a session was opened by; no other one shows or changes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Protocol {
    Acp,
    Ucp,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Session {
    pub id: String,
    pub protocol: Protocol,
    pub status: Status,
    pub currency: String,
    pub lines: Vec<Line>,
    /// As it was given, members that are known checked.
    pub buyer: Option<Object>,
    pub fulfilment: Fulfilment,
    /// The ways to send it, with what each costs now.
    pub options: Vec<Way>,
    pub codes: Vec<String>,
    pub applied: Vec<Applied>,
    pub totals: Totals,
    pub messages: Vec<Message>,
    /// Unix seconds.
    pub created_at: i64,
    pub updated_at: i64,
    pub expires_at: i64,
    pub order: Option<Order>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Line {
    pub id: String,
    pub product: String,
    pub title: String,
    /// Of one, in minor units.
    pub price: u64,
    pub quantity: u64,
    pub ships: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Fulfilment {
    /// As they were given, in the protocol's own words; each has an `id`, and a country under the protocol's name.
    pub destinations: Vec<Destination>,
    pub destination: Option<String>,
    pub option: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Destination {
    pub id: String,
    /// ISO 3166-1 alpha-2.
    pub country: String,
    pub given: Object,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Way {
    pub id: String,
    pub title: String,
    pub amount: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Applied {
    pub code: String,
    pub title: String,
    pub amount: u64,
}

/// What keeps it from being paid for, said inside of the session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Message {
    /// A code of ACP's `MessageError`.
    pub code: String,
    pub path: String,
    pub text: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Order {
    pub id: String,
    pub url: String,
}

/// What a request asks for, in no protocol's words. Prices and titles are not among it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Change {
    pub currency: Option<String>,
    pub lines: Option<Vec<Wanted>>,
    pub buyer: Given<Object>,
    pub destinations: Given<Vec<Destination>>,
    pub destination: Given<String>,
    pub option: Given<String>,
    pub codes: Given<Vec<String>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    pub product: String,
    pub quantity: u64,
    /// Where it stands in the request.
    pub path: String,
}

/// Who opens what, and when.
#[derive(Clone, Debug)]
pub struct Opening {
    /// Names the session; as hard to guess as a key.
    pub id: String,
    pub protocol: Protocol,
    /// Unix seconds.
    pub now: i64,
}

impl Session {
    pub fn open(shop: &Shop, opening: Opening, change: &Change) -> Result<Self, Refusal> {
        let session = Self {
            id: opening.id,
            protocol: opening.protocol,
            status: Status::Incomplete,
            currency: shop.currency.as_str().to_owned(),
            lines: Vec::new(),
            buyer: None,
            fulfilment: Fulfilment::default(),
            options: Vec::new(),
            codes: Vec::new(),
            applied: Vec::new(),
            totals: Totals::default(),
            messages: Vec::new(),
            created_at: opening.now,
            updated_at: opening.now,
            expires_at: opening.now.saturating_add(shop.session_seconds),
            order: None,
        };
        if change.lines.is_none() {
            return Err(Refusal::new(Code::Missing, "$.line_items", "line_items names one item or more; nothing came"));
        }
        session.changed(shop, opening.now, change)
    }

    /// The session after a request, priced anew. The one at hand is as it was.
    pub fn changed(&self, shop: &Shop, now: i64, change: &Change) -> Result<Self, Refusal> {
        let mut next = self.at(now);
        if !next.status.is_open() {
            return Err(next.finished("changed"));
        }
        if let Some(currency) = &change.currency
            && !currency.eq_ignore_ascii_case(&next.currency)
        {
            let message = format!("currency is {}; {currency} came", next.currency);
            return Err(Refusal::new(Code::Invalid, "$.currency", message));
        }
        if let Some(lines) = &change.lines {
            next.lines = self.lines_of(shop, lines)?;
        }
        if let Some(buyer) = &change.buyer {
            next.buyer.clone_from(buyer);
        }
        if let Some(destinations) = &change.destinations {
            next.fulfilment.destinations = destinations.clone().unwrap_or_default();
            next.fulfilment.destination = None;
        }
        if let Some(destination) = &change.destination {
            next.fulfilment.destination.clone_from(destination);
        }
        if let Some(option) = &change.option {
            next.fulfilment.option.clone_from(option);
        }
        if let Some(codes) = &change.codes {
            next.codes = codes.clone().unwrap_or_default();
        }
        next.updated_at = now;
        next.priced(shop)
    }

    /// Lines keep their ids for as long as their product is in the cart; a product that comes twice is one line.
    fn lines_of(&self, shop: &Shop, wanted: &[Wanted]) -> Result<Vec<Line>, Refusal> {
        if wanted.is_empty() || wanted.len() > LIST_MAX {
            let message = format!("line_items has 1 to {LIST_MAX} entries; {} came", wanted.len());
            return Err(Refusal::new(Code::Invalid, "$.line_items", message));
        }
        let mut lines: Vec<Line> = Vec::new();
        for wanted in wanted {
            let product = shop.products.get(&wanted.product).ok_or_else(|| {
                let known = shop.products.len();
                let shown: String = wanted.product.chars().take(100).collect();
                let message =
                    format!("product not found: one of the shop's {known} products was expected, {shown} came");
                Refusal::new(Code::NotFound, &wanted.path, message)
            })?;
            if let Some(line) = lines.iter_mut().find(|line| line.product == wanted.product) {
                line.quantity = line.quantity.saturating_add(wanted.quantity);
                continue;
            }
            let id = format!("line_{}", wanted.product);
            lines.push(Line {
                id,
                product: wanted.product.clone(),
                title: product.title.clone(),
                price: product.price,
                quantity: wanted.quantity,
                ships: product.ships,
            });
        }
        Ok(lines)
    }

    fn priced(mut self, shop: &Shop) -> Result<Self, Refusal> {
        let subtotal = price::subtotal(&self.lines)?;
        let known: Vec<&Discount> = self
            .codes
            .iter()
            .filter_map(|code| shop.discounts.iter().find(|discount| discount.code == *code))
            .collect();
        let (discount, applied) = price::apply(subtotal, &known);
        self.applied = applied;
        let destination = self.fulfilment.destination.as_ref();
        let destination = destination.and_then(|id| self.fulfilment.destinations.iter().find(|one| one.id == *id));
        let ships = self.lines.iter().any(|line| line.ships);
        self.options = match destination.filter(|_| ships) {
            Some(destination) => shop
                .rates_to(&destination.country)
                .map(|rate| {
                    let amount = price::fulfilment(rate, subtotal, &self.lines);
                    let title =
                        if amount == 0 && rate.price > 0 { format!("Free {}", rate.title) } else { rate.title.clone() };
                    Way { id: rate.id.clone(), title, amount }
                })
                .collect(),
            None => Vec::new(),
        };
        let chosen = self.fulfilment.option.as_ref();
        let chosen = chosen.and_then(|id| self.options.iter().find(|option| option.id == *id));
        self.totals = price::totals(shop, subtotal, discount, chosen.map(|option| option.amount))?;
        self.messages = self.lacking(shop, ships, chosen.is_some());
        let event = if self.messages.is_empty() { Event::Ready } else { Event::Lacking };
        self.moved(event)
    }

    fn lacking(&self, shop: &Shop, ships: bool, is_chosen: bool) -> Vec<Message> {
        let mut messages = Vec::new();
        let mut say =
            |code: &str, path: String, text: String| messages.push(Message { code: code.to_owned(), path, text });
        for (at, line) in self.lines.iter().enumerate() {
            let Some(stock) = shop.products.get(&line.product).and_then(|product| product.stock) else { continue };
            if line.quantity > stock {
                let code = if stock == 0 { "out_of_stock" } else { "quantity_exceeded" };
                let text = format!("Insufficient stock of {}: {} asked for, {stock} there.", line.title, line.quantity);
                say(code, format!("$.line_items[{at}]"), text);
            }
        }
        if ships && self.fulfilment.destination.is_none() {
            say("missing", "$.fulfillment".into(), "Fulfillment address and option must be selected.".into());
        } else if ships && self.options.is_empty() {
            say("region_restricted", "$.fulfillment".into(), "It is not sent there.".into());
        } else if ships && !is_chosen {
            say(
                "missing",
                "$.fulfillment".into(),
                "Fulfillment address and option must be selected: one of the options is missing.".into(),
            );
        }
        messages
    }

    /// When somebody has to look at it though nobody asks: while it is paid for, soon; else when it is kept no longer.
    pub fn due(&self, shop: &Shop) -> i64 {
        match self.status {
            Status::CompleteInProgress | Status::InProgress => self.updated_at.saturating_add(CLAIM_SECONDS),
            Status::Completed => self.updated_at.saturating_add(shop.kept_seconds),
            Status::Canceled => self.updated_at.saturating_add(ENDED_SECONDS),
            _ => self.expires_at.saturating_add(ENDED_SECONDS),
        }
    }

    /// As it is at this time.
    pub fn at(&self, now: i64) -> Self {
        let mut session = self.clone();
        if now >= self.expires_at
            && let Some(status) = self.status.after(Event::TimedOut)
        {
            session.status = status;
        }
        session
    }

    fn moved(mut self, event: Event) -> Result<Self, Refusal> {
        self.status = self.status.after(event).ok_or_else(|| self.finished("changed"))?;
        Ok(self)
    }

    fn finished(&self, what: &str) -> Refusal {
        let message = format!("an open checkout can be {what}; this one is {}", self.status.as_str());
        Refusal::new(Code::Finished, "$.status", message)
    }

    pub fn cancelled(&self, now: i64) -> Result<Self, Refusal> {
        let mut next = self.at(now);
        next.status = next.status.after(Event::Canceled).ok_or_else(|| next.finished("cancelled"))?;
        next.updated_at = now;
        Ok(next)
    }

    /// Somebody pays for it now, and the order has its name already: a retry after a crash goes on with the same one.
    pub fn claimed(&self, now: i64, order: Order) -> Result<Self, Refusal> {
        let mut next = self.at(now);
        next.status = next.status.after(Event::Claimed).ok_or_else(|| match next.status.is_open() {
            true => {
                let lacks: Vec<&str> = next.messages.iter().map(|message| message.text.as_str()).collect();
                let message = format!(
                    "a checkout that is ready was expected, this one is {}: {}",
                    next.status.as_str(),
                    lacks.join(" ")
                );
                Refusal::new(Code::NotReady, "$.status", message)
            }
            false => next.finished("completed"),
        })?;
        next.order = Some(order);
        next.updated_at = now;
        Ok(next)
    }

    /// The proof came.
    pub fn paid(&self, now: i64) -> Result<Self, Refusal> {
        let mut next = self.clone().moved(Event::Paid)?;
        next.updated_at = now;
        next.messages.clear();
        Ok(next)
    }

    /// What was presented does not pay for it, and cannot any more.
    pub fn declined(&self, now: i64, text: String) -> Result<Self, Refusal> {
        let mut next = self.clone().moved(Event::Declined)?;
        next.order = None;
        next.updated_at = now;
        next.messages = vec![Message { code: "payment_declined".into(), path: "$.payment_data".into(), text }];
        Ok(next)
    }
}

#[cfg(test)]
pub(crate) mod tests;
