//! `checkout.line_items`: the cart fills the slots exactly. AP2 asks for a bipartite maximum flow from item units to slots
//! that equals both what is required and what is in the cart, so that nothing is missing and nothing is on top.

use std::collections::BTreeMap;

use serde_json::Value;

use super::Finding;
use crate::cart::Cart;
use crate::flow::Network;
use crate::json::{Members, Object};
use crate::limits::{LINES_MAX, LIST_ENTRIES_MAX, UNITS_MAX};
use crate::rejection::{Code, Rejection, shown};
use crate::schema;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LineItems {
    pub slots: Vec<Slot>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slot {
    pub id: String,
    /// What may fill it, as far as it was revealed. None revealed: nothing may (the SDK reads that as "anything").
    pub acceptable_items: Vec<Item>,
    pub quantity: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    pub id: String,
    pub title: Option<String>,
}

impl Item {
    fn parse(claims: Members<'_>) -> Result<Self, Rejection> {
        Ok(Self { id: schema::text(claims, "id")?, title: schema::optional_text(claims, "title")? })
    }

    fn claims(&self) -> Object {
        let mut claims = Object::from_iter([("id".to_owned(), self.id.as_str().into())]);
        if let Some(title) = &self.title {
            claims.insert("title".to_owned(), title.as_str().into());
        }
        claims
    }
}

impl Slot {
    fn parse(claims: Members<'_>) -> Result<Self, Rejection> {
        let quantity = schema::count(claims, "quantity")?;
        if quantity == 0 || quantity > UNITS_MAX {
            return Err(schema::refused("quantity", format!("quantity lies in 1..={UNITS_MAX}; {quantity} came")));
        }
        let items = schema::objects(claims, "acceptable_items", LIST_ENTRIES_MAX)?;
        let acceptable_items = items.into_iter().map(Item::parse).collect::<Result<_, _>>()?;
        Ok(Self { id: schema::text(claims, "id")?, acceptable_items, quantity })
    }
}

impl LineItems {
    pub const TYPE: &'static str = "checkout.line_items";

    pub(super) fn parse(claims: Members<'_>) -> Result<Self, Rejection> {
        let slots = schema::objects(claims, "items", LINES_MAX)?;
        Ok(Self { slots: slots.into_iter().map(Slot::parse).collect::<Result<_, _>>()? })
    }

    pub(super) fn claims(&self) -> Object {
        let slots = self.slots.iter().map(|slot| {
            let items = crate::party::array_of(&slot.acceptable_items, Item::claims);
            Value::Object(Object::from_iter([
                ("id".to_owned(), slot.id.as_str().into()),
                ("acceptable_items".to_owned(), items),
                ("quantity".to_owned(), slot.quantity.into()),
            ]))
        });
        Object::from_iter([("items".to_owned(), Value::Array(slots.collect()))])
    }

    pub(super) fn evaluate(&self, cart: &Cart) -> Result<Finding, Rejection> {
        let mut units: BTreeMap<&str, u64> = BTreeMap::new();
        for line in &cart.lines {
            let of_item = units.entry(&line.item_id).or_default();
            *of_item = of_item.saturating_add(line.quantity);
        }
        let in_cart = units.values().fold(0_u64, |sum, count| sum.saturating_add(*count));
        let required = self.slots.iter().fold(0_u64, |sum, slot| sum.saturating_add(slot.quantity));
        let refused =
            |message: String| Rejection::new(Code::LineItemsNotSatisfied, message).at("checkout_jwt.line_items");
        if let Some((item, _)) = units.iter().find(|(item, _)| !self.slots.iter().any(|slot| slot.takes(item))) {
            return Err(refused(format!("each item fits a slot; {} fits none of {}", shown(item), self.slots.len())));
        }
        let filled = self.flow(&units);
        if in_cart != required || filled != required {
            return Err(refused(format!(
                "the slots take {required} units; the cart has {in_cart}, of which {filled} fit"
            )));
        }
        Ok(Finding::Holds(format!("{in_cart} units fill {} slots", self.slots.len())))
    }

    /// source -> each item (units in the cart) -> each slot that takes it -> sink (units required).
    fn flow(&self, units: &BTreeMap<&str, u64>) -> u64 {
        let source = 0;
        let sink = units.len().saturating_add(self.slots.len()).saturating_add(1);
        let mut network = Network::with_nodes(sink.saturating_add(1));
        for (index, (item, count)) in units.iter().enumerate() {
            let item_node = index.saturating_add(1);
            network.connect(source, item_node, *count);
            for (slot_index, _) in self.slots.iter().enumerate().filter(|(_, slot)| slot.takes(item)) {
                network.connect(item_node, units.len().saturating_add(slot_index).saturating_add(1), *count);
            }
        }
        for (slot_index, slot) in self.slots.iter().enumerate() {
            network.connect(units.len().saturating_add(slot_index).saturating_add(1), sink, slot.quantity);
        }
        network.max_flow(source, sink)
    }
}

impl Slot {
    fn takes(&self, item_id: &str) -> bool {
        self.acceptable_items.iter().any(|item| item.id == item_id)
    }
}
