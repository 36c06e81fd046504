//! What the policy said of a payment: the edition by version and digest, the rules that fired, and what became of it.

use engine::ruling::Ruled;
use maud::{Markup, html};

use super::Seated;

/// Nothing is left out: what does not fire is in the document that the digest names, and in the evidence file.
pub(super) fn trace(seated: &Seated, ruled: Option<&Ruled>) -> Markup {
    let texts = seated.texts().review;
    let yes_or_no = |is: bool| if is { texts.yes } else { texts.no };
    html! {
        h3 { (texts.policy) }
        @match ruled {
            None => { p { (texts.no_policy) } },
            Some(ruled) => {
                dl .facts data-policy {
                    dt { (texts.verb) } dd lang="en" { (ruled.verb.replace('_', " ")) }
                    dt { (texts.decided_by) }
                    dd { @match &ruled.rule { Some(rule) => { code { (rule) } }, None => { (texts.no_rule) } } }
                    @if !ruled.fired.is_empty() {
                        dt { (texts.fired) } dd { ol { @for rule in &ruled.fired { li { code { (rule) } } } } }
                    }
                    dt { (texts.version) } dd { code { (ruled.version) } }
                    dt { (texts.digest) } dd { code { (ruled.digest) } }
                    dt { (texts.first) } dd { (yes_or_no(ruled.first_payment)) }
                    @if let Some(stood) = &ruled.stood {
                        dt { (texts.stood) } dd { code { (stood.level) } @if stood.has_drifted { " · " (texts.drifted) } }
                    }
                    @if let Some(sampled) = ruled.sampled { dt { (texts.sampled) } dd { (yes_or_no(sampled)) } }
                    @if let Some(stood) = &ruled.standing {
                        dt { (seated.visitor.texts.standing.allowed_by) }
                        dd data-standing {
                            (stood.approver) " · "
                            a href={ "/console/mandates/" (stood.mandate) } { code { (super::view::short(stood.mandate)) } }
                        }
                    }
                    @if !ruled.approvals.is_empty() {
                        dt { (texts.allowed_by) }
                        dd { ul { @for approved in &ruled.approvals {
                            li { (approved.approver) " · " code { (super::view::short(approved.decision)) } }
                        } } }
                    }
                }
            },
        }
    }
}
