//! How far apart the payments under a mandate lie (AP2 v0.2, `payment.agent_recurrence`): as people write it, as the book
//! takes it (`ledger::recurrence`), and how long a mandate lives that is used again and again.

use ledger::recurrence::Frequency;
use serde::{Deserialize, Serialize};

use crate::error::{EngineError, shortened};

/// The longest life of an open mandate: AP2 recommends short ones.
const MANDATE_SECONDS_MAX: u64 = 30 * 24 * 3_600;
/// Of one whose payments lie apart, which is worth nothing before the second is due: three years.
const RECURRING_SECONDS_MAX: u64 = 1_096 * 24 * 3_600;

/// `DAILY`, `WEEKLY`, `BIWEEKLY`, `MONTHLY`, `QUARTERLY` or `ANNUALLY`; `ON_DEMAND` is what nothing says too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct FrequencyText(pub Frequency);

impl TryFrom<String> for FrequencyText {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let names = || Frequency::ALL.iter().map(|known| known.as_str()).collect::<Vec<_>>().join(", ");
        text.parse().map(Self).map_err(|_| format!("one of {} was expected, {} came", names(), shortened(&text)))
    }
}

impl From<FrequencyText> for String {
    fn from(text: FrequencyText) -> Self {
        text.0.to_string()
    }
}

/// What the book holds of it: a distance, or nothing.
pub(crate) fn distance(text: Option<FrequencyText>) -> Option<Frequency> {
    text.map(|text| text.0).filter(|frequency| *frequency != Frequency::OnDemand)
}

/// A distance is between payments, of which there are two or more.
pub(crate) fn check(frequency: Option<FrequencyText>, payments: u64) -> Result<(), EngineError> {
    match frequency {
        Some(_) if payments < 2 => {
            Err(EngineError::invalid("frequency", "payments of 2 or more beside it", payments.to_string()))
        }
        _ => Ok(()),
    }
}

/// How long a mandate of this distance may live.
pub(crate) fn check_life(seconds: u64, distance: Option<Frequency>) -> Result<(), EngineError> {
    let longest = distance.map_or(MANDATE_SECONDS_MAX, |_| RECURRING_SECONDS_MAX);
    if (1..=longest).contains(&seconds) {
        return Ok(());
    }
    Err(EngineError::invalid("expires_in_seconds", format!("1 to {longest}"), seconds.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_meant_is_refused() {
        for text in [r#""daily""#, r#""HOURLY""#, r#""""#, "7", "null", r#"["DAILY"]"#] {
            assert!(serde_json::from_str::<FrequencyText>(text).is_err(), "{text}");
        }
        for payments in [0, 1] {
            assert!(check(Some(FrequencyText(Frequency::OnDemand)), payments).is_err());
            assert!(check(Some(FrequencyText(Frequency::Daily)), payments).is_err());
        }
        for (seconds, distance) in [
            (0, None),
            (MANDATE_SECONDS_MAX + 1, None),
            (0, Some(Frequency::Annually)),
            (RECURRING_SECONDS_MAX + 1, Some(Frequency::Annually)),
            (u64::MAX, Some(Frequency::Daily)),
        ] {
            assert!(check_life(seconds, distance).is_err(), "{seconds} {distance:?}");
        }
    }

    #[test]
    fn what_is_meant_is_read_and_written() {
        for frequency in Frequency::ALL {
            let text = serde_json::to_string(&FrequencyText(*frequency)).unwrap();
            assert_eq!(text, format!("\"{frequency}\""));
            assert_eq!(serde_json::from_str::<FrequencyText>(&text).unwrap().0, *frequency);
        }
        assert_eq!(distance(Some(FrequencyText(Frequency::OnDemand))), None, "a distance of nothing is none");
        assert_eq!(distance(Some(FrequencyText(Frequency::Weekly))), Some(Frequency::Weekly));
        assert!(check(None, 1).is_ok() && check(Some(FrequencyText(Frequency::Weekly)), 2).is_ok());
        assert!(check_life(MANDATE_SECONDS_MAX, None).is_ok());
        assert!(check_life(RECURRING_SECONDS_MAX, Some(Frequency::Annually)).is_ok());
    }
}
