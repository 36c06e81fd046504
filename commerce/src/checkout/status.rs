//! The eleven statuses of a session (ACP 2026-04-17, `CheckoutSessionBase.status`) and the one table of how it moves. The
//! specification has the names and no table; this is ours. UCP has six names for the same.

use serde::{Deserialize, Serialize};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    Incomplete,
    /// The name of `incomplete` before 2026-01-30. Read, never entered.
    NotReadyForPayment,
    RequiresEscalation,
    AuthenticationRequired,
    ReadyForPayment,
    PendingApproval,
    CompleteInProgress,
    Completed,
    Canceled,
    /// The name of `complete_in_progress` before 2026-01-30. Read, never entered.
    InProgress,
    Expired,
}

/// What happens to a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Event {
    /// Priced again, and something is missing or wrong.
    Lacking,
    /// Priced again, and nothing is missing.
    Ready,
    /// A person has to go on in the shop itself.
    Escalated,
    /// The issuer of the card wants to ask its holder.
    Challenged,
    /// Somebody at the shop has to say yes.
    Referred,
    /// Somebody completes it: from here on nobody else does.
    Claimed,
    /// What was presented does not pay for it.
    Declined,
    Paid,
    Canceled,
    /// Its time is over.
    TimedOut,
}

impl Status {
    pub const ALL: [Self; 11] = [
        Self::Incomplete,
        Self::NotReadyForPayment,
        Self::RequiresEscalation,
        Self::AuthenticationRequired,
        Self::ReadyForPayment,
        Self::PendingApproval,
        Self::CompleteInProgress,
        Self::Completed,
        Self::Canceled,
        Self::InProgress,
        Self::Expired,
    ];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Incomplete => "incomplete",
            Self::NotReadyForPayment => "not_ready_for_payment",
            Self::RequiresEscalation => "requires_escalation",
            Self::AuthenticationRequired => "authentication_required",
            Self::ReadyForPayment => "ready_for_payment",
            Self::PendingApproval => "pending_approval",
            Self::CompleteInProgress => "complete_in_progress",
            Self::Completed => "completed",
            Self::Canceled => "canceled",
            Self::InProgress => "in_progress",
            Self::Expired => "expired",
        }
    }

    /// Nothing ever moves it again.
    pub const fn is_final(self) -> bool {
        matches!(self, Self::Completed | Self::Canceled | Self::Expired)
    }

    /// Whether its contents may be changed: not while somebody pays for them, and not afterwards.
    pub const fn is_open(self) -> bool {
        matches!(
            self,
            Self::Incomplete
                | Self::NotReadyForPayment
                | Self::ReadyForPayment
                | Self::RequiresEscalation
                | Self::AuthenticationRequired
        )
    }

    /// The table. Nothing where the event does not happen to such a session.
    ///
    /// A session that is being paid for is neither cancelled nor timed out: what was presented may have been taken, and
    /// unknown is not failed.
    pub const fn after(self, event: Event) -> Option<Self> {
        use Event as E;
        match (self, event) {
            (status, E::Lacking | E::Ready | E::Escalated | E::Canceled | E::TimedOut) if status.is_open() => {
                Some(match event {
                    E::Lacking => Self::Incomplete,
                    E::Ready => Self::ReadyForPayment,
                    E::Escalated => Self::RequiresEscalation,
                    E::Canceled => Self::Canceled,
                    _ => Self::Expired,
                })
            }
            (Self::ReadyForPayment, E::Challenged) => Some(Self::AuthenticationRequired),
            (Self::ReadyForPayment, E::Referred) => Some(Self::PendingApproval),
            (Self::ReadyForPayment | Self::AuthenticationRequired | Self::PendingApproval, E::Claimed) => {
                Some(Self::CompleteInProgress)
            }
            (Self::AuthenticationRequired | Self::PendingApproval, E::Declined) => Some(Self::ReadyForPayment),
            (Self::PendingApproval, E::Canceled) => Some(Self::Canceled),
            (Self::PendingApproval, E::TimedOut) => Some(Self::Expired),
            (Self::CompleteInProgress | Self::InProgress, E::Declined) => Some(Self::ReadyForPayment),
            (Self::CompleteInProgress | Self::InProgress, E::Paid) => Some(Self::Completed),
            _ => None,
        }
    }

    /// What UCP 2026-04-08 calls it.
    pub const fn ucp(self) -> &'static str {
        match self {
            Self::Incomplete | Self::NotReadyForPayment => "incomplete",
            Self::RequiresEscalation | Self::AuthenticationRequired | Self::PendingApproval => "requires_escalation",
            Self::ReadyForPayment => "ready_for_complete",
            Self::CompleteInProgress | Self::InProgress => "complete_in_progress",
            Self::Completed => "completed",
            // UCP has no word for it: `canceled` is "invalid or expired" there.
            Self::Canceled | Self::Expired => "canceled",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVENTS: [Event; 10] = [
        Event::Lacking,
        Event::Ready,
        Event::Escalated,
        Event::Challenged,
        Event::Referred,
        Event::Claimed,
        Event::Declined,
        Event::Paid,
        Event::Canceled,
        Event::TimedOut,
    ];

    /// The table written out: a row a status, a column an event in the order above; a dash where nothing happens.
    const TABLE: [(Status, &str); 11] = {
        use Status as S;
        [
            (S::Incomplete, "incomplete ready_for_payment requires_escalation - - - - - canceled expired"),
            (S::NotReadyForPayment, "incomplete ready_for_payment requires_escalation - - - - - canceled expired"),
            (S::RequiresEscalation, "incomplete ready_for_payment requires_escalation - - - - - canceled expired"),
            (
                S::AuthenticationRequired,
                "incomplete ready_for_payment requires_escalation - - complete_in_progress ready_for_payment - canceled expired",
            ),
            (
                S::ReadyForPayment,
                "incomplete ready_for_payment requires_escalation authentication_required pending_approval complete_in_progress - - canceled expired",
            ),
            (S::PendingApproval, "- - - - - complete_in_progress ready_for_payment - canceled expired"),
            (S::CompleteInProgress, "- - - - - - ready_for_payment completed - -"),
            (S::Completed, "- - - - - - - - - -"),
            (S::Canceled, "- - - - - - - - - -"),
            (S::InProgress, "- - - - - - ready_for_payment completed - -"),
            (S::Expired, "- - - - - - - - - -"),
        ]
    };

    #[test]
    fn every_status_moves_as_its_row_says_and_no_other_way() {
        assert_eq!(TABLE.map(|(status, _)| status), Status::ALL);
        for (status, row) in TABLE {
            let row: Vec<&str> = row.split(' ').collect();
            assert_eq!(row.len(), EVENTS.len(), "{status:?}");
            for (event, expected) in EVENTS.into_iter().zip(row) {
                let found = status.after(event).map_or("-", Status::as_str);
                assert_eq!(found, expected, "{status:?} {event:?}");
            }
        }
    }

    #[test]
    fn what_is_final_stays_and_only_what_was_claimed_is_ever_paid() {
        for status in Status::ALL {
            for event in EVENTS {
                let next = status.after(event);
                assert!(!status.is_final() || next.is_none(), "{status:?} {event:?}");
                if next == Some(Status::Completed) {
                    assert_eq!((event, status.ucp()), (Event::Paid, "complete_in_progress"));
                }
                assert_ne!(next, Some(Status::InProgress));
                assert_ne!(next, Some(Status::NotReadyForPayment));
            }
        }
    }

    #[test]
    fn names_are_those_of_the_specifications() {
        for status in Status::ALL {
            assert_eq!(serde_json::to_value(status).ok(), Some(status.as_str().into()));
        }
        let six = [
            "incomplete",
            "requires_escalation",
            "ready_for_complete",
            "complete_in_progress",
            "completed",
            "canceled",
        ];
        assert!(Status::ALL.iter().all(|status| six.contains(&status.ucp())));
    }
}
