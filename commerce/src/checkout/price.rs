//! From lines to a total. One pass, whole numbers, and exactly one total by construction.

use serde::{Deserialize, Serialize};

use super::session::{Applied, Line};
use super::shop::{Discount, Off, Rate, Shop};
use super::{Code, Refusal};

/// The largest amount: what every reader of JSON can still count exactly (RFC 8785 section 3.2.2.3, 2^53 - 1).
pub const AMOUNT_MAX: u64 = 9_007_199_254_740_991;

/// In minor units. `total = subtotal - discount + fulfilment + tax`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    pub subtotal: u64,
    pub discount: u64,
    /// Nothing while no way to send it was chosen.
    pub fulfilment: Option<u64>,
    /// Nothing where the shop has no tax.
    pub tax: Option<u64>,
    pub total: u64,
}

fn too_much() -> Refusal {
    let message = format!("a checkout comes to at most {AMOUNT_MAX} minor units; this one comes to more");
    Refusal::new(Code::TooMuch, "$.line_items", message)
}

fn bounded(amount: Option<u64>) -> Result<u64, Refusal> {
    amount.filter(|amount| *amount <= AMOUNT_MAX).ok_or_else(too_much)
}

pub fn line_amount(line: &Line) -> Result<u64, Refusal> {
    bounded(line.price.checked_mul(line.quantity))
}

pub fn subtotal(lines: &[Line]) -> Result<u64, Refusal> {
    lines.iter().try_fold(0_u64, |sum, line| bounded(sum.checked_add(line_amount(line)?)))
}

/// One after another, in the order in which they were given.
pub fn apply(subtotal: u64, discounts: &[&Discount]) -> (u64, Vec<Applied>) {
    let mut left = subtotal;
    let mut applied = Vec::new();
    for discount in discounts {
        let off = match discount.off {
            Off::Amount(amount) => amount.min(left),
            Off::Percent(percent) => {
                let kept = u128::from(left) * u128::from(100_u8.saturating_sub(percent)) / 100;
                left.saturating_sub(u64::try_from(kept).unwrap_or(left))
            }
        };
        left = left.saturating_sub(off);
        applied.push(Applied { code: discount.code.clone(), title: discount.title.clone(), amount: off });
    }
    (subtotal.saturating_sub(left), applied)
}

/// What a way to send it costs for these lines.
pub fn fulfilment(rate: &Rate, subtotal: u64, lines: &[Line]) -> u64 {
    let is_free = rate.free_from.is_some_and(|from| subtotal >= from)
        || lines.iter().any(|line| rate.free_for.contains(&line.product));
    if is_free { 0 } else { rate.price }
}

/// Half a unit is rounded up.
fn tax(shop: &Shop, taxed: u64) -> Result<Option<u64>, Refusal> {
    if shop.tax_basis_points == 0 {
        return Ok(None);
    }
    let tax = (u128::from(taxed) * u128::from(shop.tax_basis_points) + 5_000) / 10_000;
    bounded(u64::try_from(tax).ok()).map(Some)
}

pub fn totals(shop: &Shop, subtotal: u64, discount: u64, fulfilment: Option<u64>) -> Result<Totals, Refusal> {
    let taxed = subtotal.checked_sub(discount).ok_or_else(too_much)?;
    let tax = tax(shop, taxed)?;
    let total = [fulfilment, tax].into_iter().flatten().try_fold(taxed, u64::checked_add);
    Ok(Totals { subtotal, discount, fulfilment, tax, total: bounded(total)? })
}

#[cfg(test)]
mod tests {
    use super::super::session::tests::shop;
    use super::*;

    fn line(price: u64, quantity: u64) -> Line {
        Line { id: "l".into(), product: "p".into(), title: "P".into(), price, quantity, ships: false }
    }

    #[test]
    fn what_cannot_be_counted_is_refused() {
        for lines in [
            vec![line(u64::MAX, 1)],
            vec![line(AMOUNT_MAX + 1, 1)],
            vec![line(u64::MAX, u64::MAX)],
            vec![line(2, AMOUNT_MAX)],
            vec![line(AMOUNT_MAX, 1), line(1, 1)],
            vec![line(u64::MAX / 2, 1), line(u64::MAX / 2, 1), line(2, 1)],
        ] {
            assert_eq!(subtotal(&lines).map_err(|refused| refused.code), Err(Code::TooMuch), "{lines:?}");
        }
        let shop = shop();
        assert!(totals(&shop, AMOUNT_MAX, 0, Some(1)).is_err());
        assert!(totals(&shop, 10, 11, None).is_err(), "nobody is paid for buying");
        assert_eq!(subtotal(&[line(AMOUNT_MAX, 1)]), Ok(AMOUNT_MAX));
    }

    #[test]
    fn every_part_is_in_the_total_once() {
        let mut shop = shop();
        for (basis_points, subtotal, discount, fulfilment, tax, total) in [
            (0, 300, 0, None, None, 300),
            (1_000, 300, 0, Some(100), Some(30), 430),
            (1_000, 300, 300, Some(100), Some(0), 100),
            (1, 4_999, 0, None, Some(0), 4_999),
            (1, 5_000, 0, None, Some(1), 5_001),
            (10_000, 7, 0, None, Some(7), 14),
        ] {
            shop.tax_basis_points = basis_points;
            let found = totals(&shop, subtotal, discount, fulfilment);
            assert_eq!(found, Ok(Totals { subtotal, discount, fulfilment, tax, total }));
        }
    }

    #[test]
    fn codes_take_off_what_is_left_and_never_more() {
        let of = |off| Discount { code: "C".into(), title: "C".into(), off };
        let (ten, twenty, five) = (of(Off::Percent(10)), of(Off::Percent(20)), of(Off::Amount(500)));
        let (all, much) = (of(Off::Percent(100)), of(Off::Amount(u64::MAX)));
        for (codes, expected) in [
            (vec![], 0),
            (vec![&ten], 350),
            (vec![&ten, &twenty], 980),
            (vec![&five], 500),
            (vec![&much], 3_500),
            (vec![&all, &five, &ten], 3_500),
        ] {
            let (off, applied) = apply(3_500, &codes);
            assert_eq!(off, expected, "{codes:?}");
            assert_eq!(applied.iter().map(|applied| applied.amount).sum::<u64>(), expected);
        }
    }
}
