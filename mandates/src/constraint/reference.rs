//! `payment.reference`: the order's chain holds the open checkout mandate with this hash.

use super::{Finding, OpenCheckout};
use crate::json::{Members, Object};
use crate::rejection::{Code, Rejection, shown};
use crate::schema;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reference {
    pub conditional_transaction_id: String,
}

impl Reference {
    pub const TYPE: &'static str = "payment.reference";

    pub(super) fn parse(claims: Members<'_>) -> Result<Self, Rejection> {
        Ok(Self { conditional_transaction_id: schema::text(claims, "conditional_transaction_id")? })
    }

    pub(super) fn claims(&self) -> Object {
        let id = self.conditional_transaction_id.as_str();
        Object::from_iter([("conditional_transaction_id".to_owned(), id.into())])
    }

    pub(super) fn evaluate(&self, open_checkout: &OpenCheckout) -> Result<Finding, Rejection> {
        let wanted = shown(&self.conditional_transaction_id);
        match open_checkout {
            OpenCheckout::Unknown => {
                let message = format!("the open checkout mandate {wanted} was expected beside the payment; none came");
                Err(Rejection::new(Code::OpenCheckoutHashUnknown, message).at("conditional_transaction_id"))
            }
            OpenCheckout::Hashes(hashes) if hashes.contains(&self.conditional_transaction_id) => {
                Ok(Finding::Holds(format!("the open checkout mandate is {wanted}")))
            }
            OpenCheckout::Hashes(hashes) => {
                let came = hashes.iter().take(2).map(|hash| shown(hash)).collect::<Vec<_>>().join(" or ");
                let message = format!("the open checkout mandate is {wanted}; {came} came");
                Err(Rejection::new(Code::ReferenceMismatch, message).at("conditional_transaction_id"))
            }
        }
    }
}
