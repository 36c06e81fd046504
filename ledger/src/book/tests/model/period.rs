//! When two instants fall into one period, by the plainest arithmetic.

use super::{Life, Model};
use crate::id::{BudgetId, Micros};
use crate::window::{Period, ROLLING_PARTS};

/// A rolling window is counted by its parts, the oldest whole: at least the window itself, at most one part more.
#[derive(Clone, Copy)]
pub(super) enum Width {
    AsMuchAsMust,
    AsMuchAsMay,
}

impl Model {
    /// No stream has another frequency than a day's.
    pub(super) fn recurs_too_soon(&self, id: BudgetId, now: Micros) -> bool {
        let is_near = |then: Micros| now.seconds() - then.seconds() < 86_400;
        let recurs = self.nodes[&id].caps.frequency.is_some();
        recurs && self.under(id).any(|bought| bought.life != Life::Gone && is_near(bought.at))
    }
}

pub(super) fn in_one_period(period: &Period, then: Micros, now: Micros, width: Width) -> bool {
    match period {
        Period::Never => true,
        // Eight hours behind, all winter.
        Period::Day(_) => (then.seconds() - 28_800).div_euclid(86_400) == (now.seconds() - 28_800).div_euclid(86_400),
        Period::Rolling(seconds) => {
            let window = i64::from(*seconds) * 1_000_000;
            let more = match width {
                Width::AsMuchAsMust => 0,
                Width::AsMuchAsMay => window / i64::from(ROLLING_PARTS),
            };
            now.0 - then.0 < window + more
        }
        other => panic!("no stream has {other}"),
    }
}
