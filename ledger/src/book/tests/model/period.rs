//! When two instants fall into one period, by the plainest arithmetic.

use crate::id::Micros;
use crate::window::{Period, ROLLING_PARTS};

/// A rolling window is counted by its parts, the oldest whole: at least the window itself, at most one part more.
#[derive(Clone, Copy)]
pub(super) enum Width {
    AsMuchAsMust,
    AsMuchAsMay,
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
