//! "Allow payments like this for a while": the offer beside a question about one payment, and the question that comes of it.

use engine::consent::{Approval, IntentDocument};
use engine::ruling::standing::StandingTerms;
use engine::ruling::standing::propose::StandingWish;
use maud::{Markup, html};

use super::super::door::Visitor;
use super::super::texts::{Texts, fill};
use super::payment::rail_text;

pub(super) fn title(texts: &Texts, document: &IntentDocument) -> String {
    let total = format!("{} {}", document.total, document.currency);
    fill(texts.standing.question, &[document.agent.as_str(), payee(document), &total])
}

/// Folded away, and filled with what the payment and its mandate suggest; it leads to a page of its own that is signed.
pub(super) fn offer(visitor: &Visitor, approval: &Approval, wish: &StandingWish, currency: &str) -> Markup {
    let (own, decision) = (visitor.texts.standing, &approval.decision);
    let field = |name: &str, label: String, value: &str, mode: &str| {
        html! {
            label for=(name) { (label) }
            input id=(name) name=(name) type="text" required maxlength="20" autocomplete="off" inputmode=(mode)
                value=(value);
        }
    };
    html! {
        details data-standing {
            summary { (own.offer) }
            p .quiet { (own.offer_lead) }
            form method="post" action={ "/approve/" (decision.id) "/standing" } {
                input type="hidden" name="csrf" value=(visitor.csrf);
                input type="hidden" name="digest" value=(decision.subject);
                (field("per_payment", fill(own.each, &[currency]), &wish.per_payment, "decimal"))
                (field("total", fill(own.in_all, &[currency]), &wish.total, "decimal"))
                (field("days", own.days.to_owned(), &wish.days.to_string(), "numeric"))
                button .answer type="submit" { (own.show) }
            }
        }
    }
}

/// Beside the terms of the mandate itself.
pub(super) fn facts(texts: &Texts, standing: &StandingTerms) -> Markup {
    let own = texts.standing;
    let version = standing.policy.version.as_str();
    html! {
        dl .facts {
            dt { (own.passes) }
            dd {
                @match &standing.policy.rule {
                    Some(rule) => (fill(own.rule, &[rule, version])),
                    None => (fill(own.no_rule, &[version])),
                }
                p .quiet { (own.also) }
            }
            dt { (texts.payment.way) } dd { (rail_text(texts, &standing.rail)) }
            dt { (own.under) }
            dd { a href={ "/console/mandates/" (standing.under) } { code { (standing.under) } } }
        }
        p .quiet { (own.ends) }
    }
}

pub(super) fn who(texts: &Texts, standing: &StandingTerms) -> Markup {
    html! {
        dt { (texts.payment.moves) } dd { code { (standing.asset) } }
        dt { (texts.payment.pay_to) } dd { code { (standing.pay_to) } }
        @for key in &standing.payee_keys { dt { (texts.payment.payee) ", " (texts.on_record) } dd { code { (key) } } }
        dt { (texts.payment.policy) } dd { code { (standing.policy.digest) } }
    }
}

fn payee(document: &IntentDocument) -> &str {
    document.payees.iter().flatten().next().map_or("", |payee| &payee.name)
}
