//! A step up that the ladder of a policy proposes, in a person's language: from the question's document alone.

use engine::autonomy::{PromotionQuestion, PromotionTerms};
use maud::{Markup, html};
use serde_json::Value;

use super::super::texts::{Texts, fill};
use super::facts::moment;

pub(super) fn title(texts: &Texts, question: &PromotionQuestion) -> String {
    let PromotionTerms { agent, payee_id, to, .. } = &question.promotion;
    fill(texts.promotion.question, &[agent.as_str(), payee_id.as_str(), to])
}

pub(super) fn facts(texts: &Texts, question: &PromotionQuestion) -> Markup {
    let (own, terms) = (&texts.promotion, &question.promotion);
    html! {
        p { (own.lead) }
        dl .facts {
            dt { (texts.agent) } dd { strong { (terms.agent) } }
            dt { (texts.payment.payee) } dd { (terms.payee_id) }
            dt { (own.from) } dd { (terms.from) }
            dt { (own.to) } dd { strong { (terms.to) } }
            dt { (own.what) } dd lang="en" { (what(&terms.what)) }
            dt { (own.clean) } dd { (question.clean) }
            dt { (own.complaints) } dd { (terms.complaints) }
            dt { (texts.until) } dd { (moment(texts, question.answer_by)) }
        }
        p .quiet { (own.falls) }
    }
}

/// The verb, and up to how much.
fn what(rule: &Value) -> Markup {
    let verb = rule["verb"].as_str().unwrap_or_default().replace('_', " ");
    let amounts = rule["when"]["amounts"].as_object();
    html! {
        (verb)
        @for (currency, range) in amounts.into_iter().flatten() {
            @if let Some(above) = range["above"].as_str() { ", above " (above) " " (currency) }
            @if let Some(up_to) = range["up_to"].as_str() { ", up to " (up_to) " " (currency) }
        }
    }
}

pub(super) fn who(texts: &Texts, question: &PromotionQuestion) -> Markup {
    let (own, terms) = (&texts.promotion, &question.promotion);
    html! {
        dt { (texts.agent_build) }
        dd { @match terms.agent_build { Some(build) => code { (build) }, None => (texts.no_build) } }
        dt { (texts.mandate) } dd { code { (terms.mandate) } }
        dt { (own.ladder) } dd { code { (terms.ladder) } }
    }
}
