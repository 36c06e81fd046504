//! Bars as SVG. Each says in words what it shows, and stands beside a table with the exact figures.

use ledger::money::Amount;
use maud::{Markup, html};

use super::figures::thousandths;

/// One bar of a chart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Bar {
    pub name: String,
    pub amount: Amount,
}

const HEIGHT: usize = 160;
const SLOT: usize = 20;
const ROW: usize = 26;

fn largest(bars: &[Bar]) -> Amount {
    bars.iter().map(|bar| bar.amount).max().unwrap_or(Amount::ZERO)
}

fn length(bar: &Bar, largest: Amount, whole: usize) -> usize {
    if largest.is_zero() {
        return 0;
    }
    let share = usize::try_from(thousandths(bar.amount, largest)).unwrap_or(1_000);
    // What is not nothing is seen.
    (share * whole / 1_000).max(usize::from(!bar.amount.is_zero()) * 2)
}

/// Over time, from left to right.
pub(super) fn columns(bars: &[Bar], title: &str, id: &str) -> Markup {
    let (width, most) = (bars.len() * SLOT, largest(bars));
    html! {
        svg .chart viewBox=(format!("0 0 {width} {HEIGHT}")) role="img" aria-labelledby=(id) preserveAspectRatio="none" {
            title id=(id) { (title) }
            @for (at, bar) in bars.iter().enumerate() {
                @let height = length(bar, most, HEIGHT);
                rect x=(at * SLOT + 3) y=(HEIGHT - height) width=(SLOT - 6) height=(height) { title { (bar.name) } }
            }
        }
    }
}

/// One below another, the largest first.
pub(super) fn rows(bars: &[Bar], title: &str, id: &str) -> Markup {
    let (height, most) = (bars.len() * ROW, largest(bars));
    html! {
        svg .chart .rows viewBox=(format!("0 0 400 {height}")) role="img" aria-labelledby=(id) preserveAspectRatio="none" {
            title id=(id) { (title) }
            @for (at, bar) in bars.iter().enumerate() {
                rect x="0" y=(at * ROW + 4) width=(length(bar, most, 400)) height=(ROW - 8) { title { (bar.name) } }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bars(amounts: &[u128]) -> Vec<Bar> {
        amounts.iter().map(|units| Bar { name: format!("<{units}>"), amount: Amount::new(*units) }).collect()
    }

    #[test]
    fn bars_stay_within_their_chart_and_nothing_is_markup() {
        for amounts in [&[][..], &[0], &[0, 0], &[1], &[u128::MAX, 1], &[u128::MAX, u128::MAX]] {
            let bars = bars(amounts);
            for bar in &bars {
                assert!(length(bar, largest(&bars), HEIGHT) <= HEIGHT);
                assert_eq!(length(bar, largest(&bars), HEIGHT) == 0, bar.amount.is_zero());
            }
            let text = columns(&bars, "<b>", "x").into_string() + &rows(&bars, "<b>", "y").into_string();
            assert!(!text.contains("<b>") && !text.contains("NaN") && !text.contains("style="), "{text}");
        }
    }
}
