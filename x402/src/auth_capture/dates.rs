//! The deadlines of an offer: counted anew in each 402, and held to when the payment comes back.
//!
//! Nothing is remembered between the two: a deadline that this seller could have given, not too long ago, is one that it gave.

use serde_json::json;

use crate::limit::CLOCK_SKEW_SECONDS;
use crate::wire::PaymentRequirements;

const CAPTURE: &str = "captureDeadline";
const REFUND: &str = "refundDeadline";

/// The offer of this moment: what is held is captured within `capture_seconds` of it or goes back. Nothing is refunded
/// afterwards, so both deadlines are one.
pub fn dated(offer: &PaymentRequirements, now: u64, capture_seconds: u64) -> PaymentRequirements {
    until(offer, now.saturating_add(capture_seconds))
}

/// The offer as it was when this seller gave it to whoever accepted it; `None` where it gave none like that yet. Whether it is
/// too late for it is for the check of the payment, which knows whether it came before.
pub fn dated_as(
    offer: &PaymentRequirements,
    accepted: &PaymentRequirements,
    now: u64,
    capture_seconds: u64,
) -> Option<PaymentRequirements> {
    let until_then = accepted.extra_field(CAPTURE)?.as_u64()?;
    let given = until_then.checked_sub(capture_seconds)?;
    (given <= now.saturating_add(CLOCK_SKEW_SECONDS)).then(|| until(offer, until_then))
}

/// For a catalogue: the deadlines are those of the 402.
pub fn undated(offer: &PaymentRequirements) -> PaymentRequirements {
    let mut offer = offer.clone();
    if let Some(extra) = offer.extra.as_mut().filter(|_| offer.scheme == super::SCHEME) {
        extra.remove(CAPTURE);
        extra.remove(REFUND);
    }
    offer
}

fn until(offer: &PaymentRequirements, deadline: u64) -> PaymentRequirements {
    let mut offer = offer.clone();
    let extra = offer.extra.get_or_insert_default();
    extra.insert(CAPTURE.to_owned(), json!(deadline));
    extra.insert(REFUND.to_owned(), json!(deadline));
    offer
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;

    const NOW: u64 = 1_800_000_000;

    fn offer() -> PaymentRequirements {
        PaymentRequirements { scheme: super::super::SCHEME.into(), max_timeout_seconds: 60, ..fixture::requirements() }
    }

    #[test]
    fn only_deadlines_that_were_given_are_held_to() {
        let given = dated(&offer(), NOW, 600);
        assert_eq!(dated_as(&offer(), &given, NOW + 9_999, 600), Some(given.clone()), "asked about once more");
        assert_eq!(dated_as(&offer(), &given, NOW, 600), Some(given.clone()));
        assert_eq!(dated_as(&offer(), &given, NOW - CLOCK_SKEW_SECONDS - 1, 600), None, "given in the future");
        assert_eq!(dated_as(&offer(), &offer(), NOW, 600), None, "none");
        for odd in [json!("1800000600"), json!(-1), json!(1.5), json!(599), json!(u64::MAX)] {
            let mut accepted = given.clone();
            accepted.extra.as_mut().unwrap().insert(CAPTURE.to_owned(), odd.clone());
            assert_eq!(dated_as(&offer(), &accepted, NOW, 600), None, "{odd}");
        }
        let mut other = given.clone();
        other.extra.as_mut().unwrap().insert(REFUND.to_owned(), json!(NOW + 9_999));
        assert_eq!(dated_as(&offer(), &other, NOW, 600), Some(given.clone()), "ours, not the copy's");
        assert_eq!(undated(&given).extra, offer().extra);
    }
}
