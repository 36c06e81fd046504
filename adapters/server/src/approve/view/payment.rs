//! One payment that the policy wants to be allowed, in a person's language: from the question's document alone.

use engine::ruling::question::{PaymentQuestion, PaymentTerms};
use maud::{Markup, html};

use super::super::texts::{Texts, fill};
use super::facts::moment;

pub(super) fn title(texts: &Texts, question: &PaymentQuestion) -> String {
    let PaymentTerms { agent, amount, currency, .. } = &question.payment;
    fill(texts.payment.question, &[agent.as_str(), &format!("{amount} {currency}"), payee(&question.payment)])
}

pub(super) fn facts(texts: &Texts, question: &PaymentQuestion) -> Markup {
    let (own, terms) = (&texts.payment, &question.payment);
    let first = if terms.first_payment { own.first } else { own.known };
    let approvers = terms.approvers.iter().map(ledger::id::PrincipalId::as_str).collect::<Vec<_>>().join(", ");
    html! {
        dl .facts {
            dt { (own.amount) } dd .amount { (terms.amount) " " (terms.currency) }
            dt { (own.payee) }
            dd {
                strong { (payee(terms)) } " (" (terms.payee_id) ")"
                @if let Some(website) = text(terms, "website") { " " span .quiet { (website) } }
                p .quiet { (first) }
            }
            dt { (own.way) } dd { (rail_text(texts, &terms.rail)) }
            dt { (own.why) }
            dd { @match &terms.policy.rule {
                Some(rule) => (fill(own.rule, &[rule, &terms.policy.version])),
                None => (fill(own.no_rule, &[&terms.policy.version])),
            } }
            dt { (own.asked) }
            dd { (fill(own.quorum, &[&terms.needed.to_string(), &terms.approvers.len().to_string(), &approvers])) }
            dt { (texts.until) } dd { (moment(texts, question.use_by)) }
        }
    }
}

pub(super) fn rail_text(texts: &Texts, rail: &str) -> &'static str {
    let [x402, ap2, acp] = texts.payment.rails;
    match rail {
        "x402" => x402,
        "acp" => acp,
        _ => ap2,
    }
}

/// What the rail says that it is for: whoever is to be paid wrote it.
pub(super) fn words(texts: &Texts, question: &PaymentQuestion) -> Markup {
    let Some(resource) = &question.payment.resource else { return html! {} };
    html! {
        section .quote aria-labelledby="words" {
            h2 #words { (texts.payment.words) }
            p .warning { (texts.payment.words_warning) }
            blockquote dir="auto" { (resource) }
        }
    }
}

pub(super) fn who(texts: &Texts, question: &PaymentQuestion) -> Markup {
    let (own, terms) = (&texts.payment, &question.payment);
    html! {
        dt { (texts.agent_key) } dd { code { (terms.agent_key) } }
        dt { (texts.agent_build) }
        dd { @match terms.agent_build { Some(build) => code { (build) }, None => (texts.no_build) } }
        dt { (texts.mandate) } dd { code { (terms.mandate) } }
        dt { (own.moves) } dd { code { (terms.moves.amount) " " (terms.moves.asset) } }
        dt { (own.pay_to) } dd { code { (terms.pay_to) } }
        @for key in &terms.payee_keys { dt { (own.payee) ", " (texts.on_record) } dd { code { (key) } } }
        @if let Some(cart) = terms.cart { dt { (texts.cart) } dd { code { (cart) } } }
        dt { (own.policy) } dd { code { (terms.policy.digest) } }
    }
}

fn payee(terms: &PaymentTerms) -> &str {
    text(terms, "name").unwrap_or(&terms.payee_id)
}

fn text<'a>(terms: &'a PaymentTerms, name: &str) -> Option<&'a str> {
    terms.payee.get(name).and_then(serde_json::Value::as_str)
}
