//! The W3C Payment Request shapes that AP2 v0.1 uses, with its snake_case names. Amounts are JSON numbers of major
//! units, read exactly.

use rust_decimal::Decimal;

use crate::clock;
use crate::currency::Currency;
use crate::json::{Json, Members, Object};
use crate::limits::{LINES_MAX, LIST_ENTRIES_MAX};
use crate::rejection::{Rejection, shown};
use crate::schema;

/// `{currency, value}`. `120`, `120.0` and `1.2e2` are one value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CurrencyAmount {
    pub currency: Currency,
    pub value: Decimal,
}

impl CurrencyAmount {
    fn parse(claims: Members<'_>) -> Result<Self, Rejection> {
        let currency = Currency::read(claims)?;
        let wrong = |came: String| schema::refused("value", format!("value is an exact JSON number; {came} came"));
        let value = match claims.get("value") {
            Some(Json::Number(number)) => clock::decimal(number).ok_or_else(|| wrong(shown(number)))?.normalize(),
            other => return Err(wrong(other.map_or("nothing", Json::kind).to_owned())),
        };
        Ok(Self { currency, value })
    }
}

impl std::fmt::Display for CurrencyAmount {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.value, self.currency)
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PaymentItem {
    pub label: String,
    /// Below zero for a discount.
    pub amount: CurrencyAmount,
    /// 30 where nothing is said.
    pub refund_period_days: u64,
}

const REFUND_PERIOD_DAYS: u64 = 30;

impl PaymentItem {
    pub(super) fn parse(claims: Members<'_>) -> Result<Self, Rejection> {
        schema::flag(claims, "pending")?;
        let refund_period_days = match claims.get("refund_period") {
            None => REFUND_PERIOD_DAYS,
            Some(_) => schema::count(claims, "refund_period")?,
        };
        Ok(Self {
            label: label(claims, "label")?,
            amount: CurrencyAmount::parse(schema::object(claims, "amount")?)?,
            refund_period_days,
        })
    }

    /// A total is zero or more (W3C Payment Request, constructor, step on `total`).
    pub(super) fn parse_total(claims: Members<'_>) -> Result<Self, Rejection> {
        let item = Self::parse(claims)?;
        if item.amount.value.is_sign_negative() && !item.amount.value.is_zero() {
            return Err(schema::refused("total", format!("a total is 0 or more; {} came", item.amount)));
        }
        Ok(item)
    }

    fn parse_list(claims: Members<'_>, field: &str) -> Result<Vec<Self>, Rejection> {
        schema::objects(claims, field, LINES_MAX)?.into_iter().map(Self::parse).collect()
    }
}

/// A price of its own for one payment method.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Modifier {
    pub supported_methods: String,
    pub total: Option<PaymentItem>,
}

/// What a merchant asks for. Only the members that a decision hangs on are kept apart; all were checked for their type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PaymentRequest {
    /// `details.id`, the order.
    pub id: String,
    /// Payment methods, at least one.
    pub methods: Vec<String>,
    pub display_items: Vec<PaymentItem>,
    pub modifiers: Vec<Modifier>,
    pub total: PaymentItem,
}

impl PaymentRequest {
    pub(super) fn parse(claims: Members<'_>) -> Result<Self, Rejection> {
        let mut methods = Vec::new();
        for method in schema::objects(claims, "method_data", LIST_ENTRIES_MAX)? {
            schema::optional_object(method, "data")?;
            methods.push(schema::text(method, "supported_methods")?);
        }
        if methods.is_empty() {
            return Err(schema::refused("method_data", "method_data names a payment method; it is empty".to_owned()));
        }
        let details = schema::object(claims, "details")?;
        if details.contains_key("shipping_options") {
            schema::objects(details, "shipping_options", LIST_ENTRIES_MAX)?
                .into_iter()
                .try_for_each(shipping_option)?;
        }
        let modifiers = match details.contains_key("modifiers") {
            false => Vec::new(),
            true => {
                let modifiers = schema::objects(details, "modifiers", LIST_ENTRIES_MAX)?;
                modifiers.into_iter().map(Modifier::parse).collect::<Result<_, _>>()?
            }
        };
        schema::optional_object(claims, "options")?.map_or(Ok(()), options)?;
        schema::optional_object(claims, "shipping_address")?.map_or(Ok(()), contact_address)?;
        Ok(Self {
            id: schema::text(details, "id")?,
            methods,
            display_items: PaymentItem::parse_list(details, "display_items")?,
            modifiers,
            total: PaymentItem::parse_total(schema::object(details, "total")?)?,
        })
    }

    /// What is due by one method: the last modifier's total for it where there is one, else the total.
    pub fn total_for(&self, method: &str) -> &PaymentItem {
        let of_method = self.modifiers.iter().rev().filter(|modifier| modifier.supported_methods == method);
        of_method.filter_map(|modifier| modifier.total.as_ref()).next().unwrap_or(&self.total)
    }
}

impl Modifier {
    fn parse(claims: Members<'_>) -> Result<Self, Rejection> {
        schema::optional_object(claims, "data")?;
        if claims.contains_key("additional_display_items") {
            PaymentItem::parse_list(claims, "additional_display_items")?;
        }
        let total = schema::optional_object(claims, "total")?.map(PaymentItem::parse_total).transpose()?;
        Ok(Self { supported_methods: schema::text(claims, "supported_methods")?, total })
    }
}

/// What the payer chose.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PaymentResponse {
    pub request_id: String,
    pub method_name: String,
    /// The method's own members (a token, an x402 payload), as they came.
    pub details: Object,
}

impl PaymentResponse {
    pub(super) fn parse(claims: Members<'_>) -> Result<Self, Rejection> {
        schema::optional_object(claims, "shipping_address")?.map_or(Ok(()), contact_address)?;
        schema::optional_object(claims, "shipping_option")?.map_or(Ok(()), shipping_option)?;
        for field in ["payer_name", "payer_email", "payer_phone"] {
            schema::prose(claims, field)?;
        }
        Ok(Self {
            request_id: schema::text(claims, "request_id")?,
            method_name: schema::text(claims, "method_name")?,
            details: schema::optional_object(claims, "details")?.map(Members::to_object).unwrap_or_default(),
        })
    }
}

fn label(claims: Members<'_>, field: &str) -> Result<String, Rejection> {
    match schema::prose(claims, field)? {
        Some(label) => Ok(label),
        None => schema::text(claims, field),
    }
}

fn shipping_option(claims: Members<'_>) -> Result<(), Rejection> {
    schema::text(claims, "id")?;
    label(claims, "label")?;
    schema::flag(claims, "selected")?;
    CurrencyAmount::parse(schema::object(claims, "amount")?).map(|_| ())
}

fn options(claims: Members<'_>) -> Result<(), Rejection> {
    for field in ["request_payer_name", "request_payer_email", "request_payer_phone", "request_shipping"] {
        schema::flag(claims, field)?;
    }
    schema::optional_text(claims, "shipping_type").map(|_| ())
}

/// W3C Contact Picker: every member is optional.
fn contact_address(claims: Members<'_>) -> Result<(), Rejection> {
    const TEXTS: [&str; 9] = [
        "city",
        "country",
        "dependent_locality",
        "organization",
        "phone_number",
        "postal_code",
        "recipient",
        "region",
        "sorting_code",
    ];
    TEXTS.into_iter().try_for_each(|field| schema::prose(claims, field).map(|_| ()))?;
    if !claims.contains_key("address_line") {
        return Ok(());
    }
    schema::list(claims, "address_line", LIST_ENTRIES_MAX)?.iter().try_for_each(|line| match line {
        Json::String(_) => Ok(()),
        other => Err(schema::refused("address_line", format!("a line is a string; {} came", other.kind()))),
    })
}
