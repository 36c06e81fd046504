//! What a merchant sells: products, ways to send them, a tax, codes.

use std::collections::BTreeMap;

use mandates::currency::Currency;
use mandates::party::Merchant;
use serde::{Deserialize, Serialize};

use super::price::AMOUNT_MAX;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shop {
    /// As carts and receipts name it.
    pub merchant: Merchant,
    pub currency: Currency,
    pub products: BTreeMap<String, Product>,
    pub rates: Vec<Rate>,
    pub discounts: Vec<Discount>,
    /// Of what is bought, after discounts, in hundredths of a percent.
    pub tax_basis_points: u32,
    /// How long a session is open.
    pub session_seconds: i64,
    /// How long one that was bought is kept.
    pub kept_seconds: i64,
    /// How many that were not bought one caller (ACP) or one address (UCP) may have lying here.
    pub sessions_max: u64,
    /// Terms, privacy, …: UCP's type of a link, and its address.
    pub links: Vec<(String, String)>,
    /// Where the shop is reached, without a slash at its end.
    pub url: String,
    /// Whose tokens for cards it takes.
    pub cards: Option<Cards>,
}

/// No answer to a key outlives the session that it is about.
const KEPT_SECONDS_MIN: i64 = crate::store::ANSWER_SECONDS;
/// Ten years.
const KEPT_SECONDS_MAX: i64 = 3_650 * 24 * 3_600;

/// A vault that agents leave cards in (ACP, delegate payment), and that this shop redeems tokens of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cards {
    /// What the vault calls the shop: `allowance.merchant_id`.
    pub merchant_id: String,
    /// The vault's base address.
    pub psp: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Product {
    pub title: String,
    /// In minor units.
    pub price: u64,
    /// How many there are; without end where nothing is said.
    pub stock: Option<u64>,
    /// Whether it has to be sent somewhere.
    pub ships: bool,
    pub image_url: Option<String>,
}

/// A way to send what ships.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rate {
    pub id: String,
    pub title: String,
    /// In minor units.
    pub price: u64,
    /// ISO 3166-1 alpha-2. Anywhere where nothing is said, unless the same service has a rate for the country.
    pub country: Option<String>,
    /// Rates of one service are alternatives by country.
    pub service: String,
    /// Free from this subtotal on.
    pub free_from: Option<u64>,
    /// Free where one of these is bought.
    pub free_for: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Discount {
    pub code: String,
    pub title: String,
    pub off: Off,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Off {
    /// Of what is left after the codes before it, 1 to 100; what remains is rounded down.
    Percent(u8),
    /// In minor units, never more than is left.
    Amount(u64),
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {expected} was expected, {found} is there")]
pub struct ShopError {
    pub field: String,
    pub expected: String,
    pub found: String,
}

impl Shop {
    /// What a configuration could get wrong.
    pub fn check(&self) -> Result<(), ShopError> {
        let wrong = |field: String, expected: &str, found: String| {
            Err(ShopError { field, expected: expected.to_owned(), found })
        };
        let prices = self.products.iter().map(|(id, product)| (format!("products.{id}"), product.price));
        let prices = prices.chain(self.rates.iter().map(|rate| (format!("rates.{}", rate.id), rate.price)));
        for (field, price) in prices {
            if price > AMOUNT_MAX {
                return wrong(field, &format!("a price of at most {AMOUNT_MAX}"), price.to_string());
            }
        }
        if self.products.is_empty() {
            return wrong("products".into(), "one product or more", "none".into());
        }
        if self.rates.is_empty()
            && let Some((id, _)) = self.products.iter().find(|(_, product)| product.ships)
        {
            return wrong(format!("products.{id}"), "a rate by which it is sent", "none".into());
        }
        for (at, rate) in self.rates.iter().enumerate() {
            if self.rates.iter().take(at).any(|other| other.id == rate.id) {
                return wrong("rates.id".into(), "an id of its own", rate.id.clone());
            }
        }
        for discount in &self.discounts {
            if let Off::Percent(percent) = discount.off
                && !(1..=100).contains(&percent)
            {
                return wrong(format!("discounts.{}", discount.code), "1 to 100 percent", percent.to_string());
            }
        }
        if self.tax_basis_points > 10_000 {
            return wrong("tax_basis_points".into(), "0 to 10000", self.tax_basis_points.to_string());
        }
        if !(60..=30 * 24 * 3_600).contains(&self.session_seconds) {
            return wrong("session_seconds".into(), "60 to 2592000", self.session_seconds.to_string());
        }
        if !(KEPT_SECONDS_MIN..=KEPT_SECONDS_MAX).contains(&self.kept_seconds) {
            let expected = format!("{KEPT_SECONDS_MIN} to {KEPT_SECONDS_MAX}");
            return wrong("kept_seconds".into(), &expected, self.kept_seconds.to_string());
        }
        if self.sessions_max == 0 {
            return wrong("sessions_max".into(), "1 or more", "0".into());
        }
        Ok(())
    }

    /// The ways to a country, in the shop's order: of each service the country's own rate, or the one for anywhere.
    pub fn rates_to(&self, country: &str) -> impl Iterator<Item = &Rate> {
        self.rates.iter().filter(move |rate| match &rate.country {
            Some(own) => own.eq_ignore_ascii_case(country),
            None => !self.rates.iter().any(|other| {
                other.service == rate.service
                    && other.country.as_ref().is_some_and(|own| own.eq_ignore_ascii_case(country))
            }),
        })
    }
}
