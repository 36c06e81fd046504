//! Amounts as people read them, exact to the last digit, and bars that show parts of a whole.

use engine::consent::shown;
use engine::rate::to_decimal_text;
use ledger::budget::Budget;
use ledger::money::{Amount, AssetId};
use maud::{Markup, html};
use x402::network::AssetTable;

/// The chain's own coin (SLIP-44 60) counts in wei.
const ETHER_DIGITS: u32 = 18;

/// What a budget counts in, or what moved on a rail. Of an asset that nobody vouches for only the units are known.
pub(super) fn amount(assets: &AssetTable, asset: &AssetId, amount: Amount) -> String {
    if let Some(currency) = asset.currency() {
        return format!("{} {currency}", shown(amount, currency));
    }
    if let Some(known) = assets.find_id(asset) {
        let digits = u32::from(known.decimals);
        return format!("{} {}", to_decimal_text(amount, digits, digits.min(2)), known.name);
    }
    if asset.as_str().ends_with("/slip44:60") {
        return format!("{} ETH", to_decimal_text(amount, ETHER_DIGITS, 2));
    }
    format!("{amount} × {asset}")
}

/// How many thousandths of a whole; all of it where there is no whole.
pub(super) fn thousandths(part: Amount, whole: Amount) -> u128 {
    if whole.is_zero() {
        return 1_000;
    }
    let scaled = part.get().checked_mul(1_000).and_then(|scaled| scaled.checked_div(whole.get()));
    let coarse = || part.get().checked_div((whole.get() / 1_000).max(1));
    scaled.or_else(coarse).map_or(1_000, |found| found.min(1_000))
}

/// The same as a width: what is not nothing is seen.
fn width(part: Amount, whole: Amount) -> u128 {
    thousandths(part, whole).max(u128::from(!part.is_zero()) * 4)
}

/// Spent, then held, of a cap.
pub(super) fn bar(budget: &Budget, label: &str) -> Markup {
    let Some(cap) = budget.caps.total else { return html! {} };
    let (posted, used) = (width(budget.posted, cap), width(budget.used().unwrap_or(Amount::MAX), cap));
    html! {
        svg .bar-of viewBox="0 0 1000 10" preserveAspectRatio="none" role="img" aria-label=(label) {
            rect .left x="0" y="0" width="1000" height="10" {}
            rect .held x="0" y="0" width=(used) height="10" {}
            rect .posted x="0" y="0" width=(posted) height="10" {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_amount_keeps_every_digit() {
        let text = |asset: &str, units| amount(&AssetTable::trusted(), &asset.parse().unwrap(), Amount::new(units));
        assert_eq!(text("iso4217:USD", 1), "0.00000001 USD");
        assert_eq!(text("iso4217:USD", u128::MAX), "3402823669209384634633746074317.68211455 USD");
        assert_eq!(text("iso4217:JPY", 5_000_000), "5 JPY");
        assert_eq!(text("eip155:1/slip44:60", 1), "0.000000000000000001 ETH");
        let unknown = "eip155:1/erc20:0x0000000000000000000000000000000000000001";
        assert_eq!(text(unknown, 12_345), format!("12345 × {unknown}"), "nobody knows its digits");
    }

    #[test]
    fn a_bar_never_passes_its_whole() {
        for (part, whole, expected) in [
            (0, 0, 1_000),
            (1, 0, 1_000),
            (0, 1, 0),
            (1, 3, 333),
            (2, 1, 1_000),
            (u128::MAX, u128::MAX, 1_000),
            (u128::MAX / 2, u128::MAX, 500),
            (1, u128::MAX, 0),
        ] {
            assert_eq!(thousandths(Amount::new(part), Amount::new(whole)), expected, "{part} of {whole}");
        }
    }
}
