//! The four lists: `payment.allowed_payees`, `payment.allowed_payment_instruments`, `payment.allowed_pisps`,
//! `checkout.allowed_merchants`. A holder may withhold entries (not of PISPs); only revealed ones count, and none revealed
//! allows nobody.

use serde_json::Value;

use super::Finding;
use crate::cart::Cart;
use crate::json::{Members, Object};
use crate::limits::LIST_ENTRIES_MAX;
use crate::party::{Instrument, Merchant, Pisp, array_of};
use crate::payment::ClosedPayment;
use crate::rejection::{Code, Rejection, shown};
use crate::schema;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AllowedPayees {
    pub allowed: Vec<Merchant>,
}

impl AllowedPayees {
    pub const TYPE: &'static str = "payment.allowed_payees";

    pub(super) fn parse(claims: Members<'_>) -> Result<Self, Rejection> {
        Ok(Self { allowed: entries(claims, Merchant::parse)? })
    }

    pub(super) fn claims(&self) -> Object {
        listed(array_of(&self.allowed, Merchant::claims))
    }

    pub(super) fn evaluate(&self, payment: &ClosedPayment) -> Result<Finding, Rejection> {
        if self.allowed.iter().any(|allowed| allowed.is(&payment.payee)) {
            return Ok(Finding::Holds(format!("{} is among {} payees", payment.payee, self.allowed.len())));
        }
        let message = format!("the payee is one of {}; {} came", names(&self.allowed), payment.payee);
        Err(Rejection::new(Code::PayeeNotAllowed, message).at("payee"))
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AllowedMerchants {
    pub allowed: Vec<Merchant>,
}

impl AllowedMerchants {
    pub const TYPE: &'static str = "checkout.allowed_merchants";

    pub(super) fn parse(claims: Members<'_>) -> Result<Self, Rejection> {
        Ok(Self { allowed: entries(claims, Merchant::parse)? })
    }

    pub(super) fn claims(&self) -> Object {
        listed(array_of(&self.allowed, Merchant::claims))
    }

    pub(super) fn evaluate(&self, cart: &Cart) -> Result<Finding, Rejection> {
        let Some(merchant) = &cart.merchant else {
            let message = format!("the checkout names one of {}; it names no merchant", names(&self.allowed));
            return Err(Rejection::new(Code::MerchantMissing, message).at("checkout_jwt.merchant"));
        };
        if self.allowed.iter().any(|allowed| allowed.is(merchant)) {
            return Ok(Finding::Holds(format!("{merchant} is among {} merchants", self.allowed.len())));
        }
        let message = format!("the merchant is one of {}; {merchant} came", names(&self.allowed));
        Err(Rejection::new(Code::MerchantNotAllowed, message).at("checkout_jwt.merchant"))
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AllowedInstruments {
    pub allowed: Vec<Instrument>,
}

impl AllowedInstruments {
    pub const TYPE: &'static str = "payment.allowed_payment_instruments";

    pub(super) fn parse(claims: Members<'_>) -> Result<Self, Rejection> {
        Ok(Self { allowed: entries(claims, Instrument::parse)? })
    }

    pub(super) fn claims(&self) -> Object {
        listed(array_of(&self.allowed, Instrument::claims))
    }

    pub(super) fn evaluate(&self, payment: &ClosedPayment) -> Result<Finding, Rejection> {
        let paid = &payment.payment_instrument;
        if self.allowed.iter().any(|allowed| paid.is_within(allowed)) {
            return Ok(Finding::Holds(format!("{} is among {} instruments", shown(&paid.id), self.allowed.len())));
        }
        let name = |instrument: &Instrument| format!("{} {}", shown(&instrument.kind), shown(&instrument.id));
        let message =
            format!("the instrument is one of {}; {} came", joined(self.allowed.iter().map(name)), name(paid));
        Err(Rejection::new(Code::InstrumentNotAllowed, message).at("payment_instrument"))
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AllowedPisps {
    pub allowed: Vec<Pisp>,
}

impl AllowedPisps {
    pub const TYPE: &'static str = "payment.allowed_pisps";

    pub(super) fn parse(claims: Members<'_>) -> Result<Self, Rejection> {
        Ok(Self { allowed: entries(claims, Pisp::parse)? })
    }

    pub(super) fn claims(&self) -> Object {
        listed(array_of(&self.allowed, Pisp::claims))
    }

    pub(super) fn evaluate(&self, payment: &ClosedPayment) -> Result<Finding, Rejection> {
        if let Some(pisp) = &payment.pisp
            && self.allowed.contains(pisp)
        {
            return Ok(Finding::Holds(format!("{} is among {} PISPs", shown(&pisp.legal_name), self.allowed.len())));
        }
        let allowed = joined(self.allowed.iter().map(|pisp| shown(&pisp.legal_name)));
        let came = payment.pisp.as_ref().map_or_else(|| "none".to_owned(), |pisp| shown(&pisp.legal_name));
        Err(Rejection::new(Code::PispNotAllowed, format!("the PISP is one of {allowed}; {came} came")).at("pisp"))
    }
}

fn entries<'t, T>(
    claims: Members<'t>,
    parse: impl Fn(Members<'t>) -> Result<T, Rejection>,
) -> Result<Vec<T>, Rejection> {
    schema::objects(claims, "allowed", LIST_ENTRIES_MAX)?.into_iter().map(parse).collect()
}

fn listed(allowed: Value) -> Object {
    Object::from_iter([("allowed".to_owned(), allowed)])
}

fn names(merchants: &[Merchant]) -> String {
    joined(merchants.iter().map(ToString::to_string))
}

/// The first few of a list: a message stays short whatever the mandate's length.
fn joined(mut entries: impl ExactSizeIterator<Item = String>) -> String {
    const SHOWN: usize = 4;
    let count = entries.len();
    let first: Vec<String> = entries.by_ref().take(SHOWN).collect();
    match count {
        0 => "none that was revealed".to_owned(),
        _ if count > SHOWN => format!("{} and {} more", first.join(", "), count.saturating_sub(SHOWN)),
        _ => first.join(", "),
    }
}
