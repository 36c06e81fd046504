//! What the documents beside the journal say of a payment: whose expense it is, and what of it is tax. The journal has
//! their digests only, so a person who was erased takes them along; then nothing is said.

use std::collections::BTreeMap;

use engine::consent::MandateRecord;
use engine::evidence::Bundle;
use engine::rate::{exponent, to_decimal_text};
use ledger::id::{BudgetId, Digest};
use ledger::money::Amount;
use ledger::spend::Spend;
use ledger::store::Store as _;
use mandates::cart::Cart;

use super::{Book, ExportError};

/// Of one payment. Empty where nothing is known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Papers {
    pub cost_centre: Option<String>,
    pub tax: Option<Tax>,
}

/// As the merchant wrote it into the cart that was bought; nobody checked its rate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tax {
    pub currency: String,
    /// Of all lines, in major units.
    pub total: String,
    /// Label and amount in major units.
    pub lines: Vec<(String, String)>,
}

impl Tax {
    /// Nothing where the cart names no tax, or its currency has no known exponent, or the sum is no amount.
    fn of(cart: &Cart) -> Option<Self> {
        let currency = cart.currency.as_str().to_owned();
        let digits = exponent(&currency).ok()?;
        let taxes = cart.taxes();
        let mut sum = Amount::ZERO;
        for line in &taxes {
            sum = sum.checked_add(line.amount)?;
        }
        let major = |amount: Amount| to_decimal_text(amount, digits, digits);
        let lines: Vec<_> = taxes.into_iter().map(|line| (line.label, major(line.amount))).collect();
        (!lines.is_empty()).then(|| Self { currency, total: major(sum), lines })
    }

    pub fn taken_back(&self) -> Self {
        let less = |amount: &String| format!("-{amount}");
        let lines = self.lines.iter().map(|(label, amount)| (label.clone(), less(amount)));
        Self { currency: self.currency.clone(), total: less(&self.total), lines: lines.collect() }
    }

    /// In one cell or one value: `VAT 19% 1.90; City tax 0.10`.
    pub fn lines_text(&self) -> String {
        let lines: Vec<String> = self.lines.iter().map(|(label, amount)| format!("{label} {amount}")).collect();
        lines.join("; ")
    }
}

/// Reads them, and remembers the cost centres of mandates.
#[derive(Default)]
pub struct Reader {
    cost_centres: BTreeMap<BudgetId, Option<String>>,
}

impl Reader {
    pub(super) async fn of(&mut self, book: &Book, spend: &Spend) -> Result<Papers, ExportError> {
        let cart = text(book, spend.evidence).await?.and_then(|text| Bundle::parse(&text).ok()?.cart);
        let tax = cart.and_then(|jwt| Tax::of(&Cart::parse(&jwt).ok()?));
        Ok(Papers { cost_centre: self.cost_centre(book, spend.budget).await?, tax })
    }

    async fn cost_centre(&mut self, book: &Book, mandate: BudgetId) -> Result<Option<String>, ExportError> {
        if let Some(known) = self.cost_centres.get(&mandate) {
            return Ok(known.clone());
        }
        let document = book.store.budget(&book.tenant, mandate).await?.and_then(|budget| budget.document);
        let record = match document {
            Some(digest) => text(book, digest).await?,
            None => None,
        };
        let found = record.and_then(|text| serde_json::from_str::<MandateRecord>(&text).ok()?.cost_centre);
        self.cost_centres.insert(mandate, found.clone());
        Ok(found)
    }
}

async fn text(book: &Book, digest: Digest) -> Result<Option<String>, ExportError> {
    let document = book.store.document(&book.tenant, digest).await?;
    Ok(document.and_then(|document| String::from_utf8(document.bytes).ok()))
}

#[cfg(test)]
mod tests {
    use mandates::base64url;
    use serde_json::{Value, json};

    use super::*;

    fn tax(currency: &str, totals: Value) -> Option<Tax> {
        let claims = json!({
            "id": "c1", "status": "ready_for_complete", "currency": currency, "links": [], "totals": totals,
            "line_items": [{ "id": "l1", "quantity": 1, "totals": [], "item": { "id": "i1", "title": "x", "price": 1 } }],
        });
        let part = |value: &Value| base64url::encode(value.to_string().as_bytes());
        let jwt = format!("{}.{}.{}", part(&json!({ "alg": "ES256" })), part(&claims), base64url::encode(&[1; 64]));
        Tax::of(&Cart::parse(&jwt).expect("a cart"))
    }

    #[test]
    fn tax_is_what_the_cart_calls_so_and_nothing_else() {
        let total = json!({ "type": "total", "amount": 1_190 });
        let vat = json!({ "type": "tax", "display_text": "VAT 19%", "amount": 190 });
        for none in [
            json!([total]),
            json!([total, { "type": "fee", "display_text": "tax", "amount": 1 }]),
            json!([total, { "type": "tax", "amount": -190 }]),
            json!([total, { "type": "tax", "amount": "190" }]),
            json!([total, { "type": "tax", "amount": 1.5 }]),
            json!([total, { "type": "tax" }]),
        ] {
            assert_eq!(tax("EUR", none.clone()), None, "{none}");
        }
        assert_eq!(tax("XXX", json!([total, vat])), None, "a currency without digits");
        let found = tax("EUR", json!([total, vat, { "type": "tax", "amount": 5 }])).expect("tax");
        assert_eq!((found.total.as_str(), found.lines_text().as_str()), ("1.95", "VAT 19% 1.90; tax 0.05"));
        let back = found.taken_back();
        assert_eq!((back.total.as_str(), back.lines_text().as_str()), ("-1.95", "VAT 19% -1.90; tax -0.05"));
        assert_eq!(tax("JPY", json!([total, vat])).expect("tax").total, "190");
        assert_eq!(tax("EUR", json!([total, { "type": "tax", "amount": 0 }])).expect("tax").total, "0.00");
    }
}
