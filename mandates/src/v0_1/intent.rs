//! The `IntentMandate` of AP2 v0.1: what a person wants, in their words. The type has no signature of its own, so who
//! signed it, and whether anybody did, is the caller's knowledge and part of the context.

use serde_json::Value;

use super::{check_expiry, required_instant};
use crate::canonical::without_nulls;
use crate::clock::Clock;
use crate::json::{self, Object};
use crate::limits::LIST_ENTRIES_MAX;
use crate::party::Instant;
use crate::rejection::{Code, Rejection};
use crate::schema;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IntentMandate {
    /// Whether the person must see the cart; true where nothing is said.
    pub user_cart_confirmation_required: bool,
    pub natural_language_description: String,
    /// `None`: any suitable merchant.
    pub merchants: Option<Vec<String>>,
    /// `None`: any.
    pub skus: Option<Vec<String>>,
    /// False where nothing is said.
    pub requires_refundability: bool,
    pub intent_expiry: Instant,
    /// Every other member, as it came.
    pub others: Object,
}

/// Whether the caller knows the intent to be signed by its person.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UserSigned {
    Yes,
    No,
    /// Nobody said: the rule that hangs on it is not applied.
    NotSaid,
}

#[derive(Clone, Copy, Debug)]
pub struct Context {
    pub clock: Clock,
    pub user_signed: UserSigned,
}

const MEMBERS: [&str; 6] = [
    "user_cart_confirmation_required",
    "natural_language_description",
    "merchants",
    "skus",
    "requires_refundability",
    "intent_expiry",
];

impl IntentMandate {
    /// Reads one JSON object strictly: duplicate keys, wrong types and missing members are refused.
    pub fn parse(json: &[u8]) -> Result<Self, Rejection> {
        Self::read(&json::parse_object(json)?)
    }

    pub(crate) fn read(claims: &Object) -> Result<Self, Rejection> {
        let claims = without_nulls(claims);
        let mut others = claims.clone();
        others.retain(|name, _| !MEMBERS.contains(&name.as_str()));
        Ok(Self {
            user_cart_confirmation_required: schema::flag(&claims, "user_cart_confirmation_required")?.unwrap_or(true),
            natural_language_description: schema::text(&claims, "natural_language_description")?,
            merchants: schema::optional_texts(&claims, "merchants", LIST_ENTRIES_MAX)?,
            skus: schema::optional_texts(&claims, "skus", LIST_ENTRIES_MAX)?,
            requires_refundability: schema::flag(&claims, "requires_refundability")?.unwrap_or(false),
            intent_expiry: required_instant(&claims, "intent_expiry")?,
            others,
        })
    }

    /// The object to send; every member of the type is written, so that no reader needs a default.
    pub fn claims(&self) -> Object {
        let mut claims = self.others.clone();
        let mut say = |name: &str, value: Value| claims.insert(name.to_owned(), value);
        say("user_cart_confirmation_required", self.user_cart_confirmation_required.into());
        say("natural_language_description", self.natural_language_description.as_str().into());
        say("requires_refundability", self.requires_refundability.into());
        say("intent_expiry", self.intent_expiry.as_str().into());
        for (name, list) in [("merchants", &self.merchants), ("skus", &self.skus)] {
            if let Some(list) = list {
                say(name, list.clone().into());
            }
        }
        claims
    }

    /// Not expired; and an intent that its person did not sign must ask for the cart to be confirmed (the type's own
    /// rule).
    pub fn verify(&self, context: &Context) -> Result<(), Rejection> {
        check_expiry(&self.intent_expiry, &context.clock, "intent_expiry", Code::IntentExpired)?;
        if context.user_signed == UserSigned::No && !self.user_cart_confirmation_required {
            let message =
                "an intent that its person did not sign has user_cart_confirmation_required true; it is false";
            return Err(Rejection::new(Code::CartConfirmationRequired, message).at("user_cart_confirmation_required"));
        }
        Ok(())
    }
}
