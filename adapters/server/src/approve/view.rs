//! The pages as HTML. Every value is escaped by the templates; nothing is inline.

pub(crate) mod facts;
mod payment;
mod promotion;
mod standing;

use engine::consent::answer::Standing;
use engine::consent::{Approval, Question};
use engine::ruling::standing::propose::StandingWish;
use maud::{DOCTYPE, Markup, html};

use self::facts::{allowed, moment, who};
use super::asset;
use super::door::Visitor;
use super::texts::{Texts, fill};
use crate::problem::Problem;

fn layout(visitor: &Visitor, title: &str, body: Markup) -> Markup {
    let texts = visitor.texts;
    html! {
        (DOCTYPE)
        html lang=(texts.language) {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title) " · Purser" }
                link rel="icon" href=(asset::icon());
                link rel="stylesheet" href=(asset::style());
                script src=(asset::script()) defer {}
            }
            body {
                a .skip href="#content" { (texts.skip) }
                header .bar {
                    a .brand href="/approve" { img src=(asset::icon()) alt="" width="24" height="24"; "Purser" }
                    @if let Some(identity) = &visitor.identity {
                        a href="/console" { (texts.console.title) }
                        form .who method="post" action="/approve/sign-out" {
                            input type="hidden" name="csrf" value=(visitor.csrf);
                            span { (texts.signed_in_as) " " strong { (identity.caller.principal) } }
                            button .link type="submit" { (texts.sign_out) }
                        }
                    }
                }
                main #content tabindex="-1" { (body) }
            }
        }
    }
}

/// Where a script says what became of a step.
fn told(texts: &Texts) -> Markup {
    html! {
        p .told role="status" data-told data-working=(texts.working) data-cancelled=(texts.cancelled)
            data-unsupported=(texts.unsupported) data-unreachable=(texts.unreachable) {}
        noscript { p .note { (texts.needs_script) } }
    }
}

pub(super) fn sign_in(visitor: &Visitor) -> Markup {
    let texts = visitor.texts;
    let body = html! {
        h1 { (texts.sign_in) }
        p { (texts.sign_in_lead) }
        @if visitor.can_sign {
            form data-passkey="sign-in" action="/approve/sign-in" {
                button .answer type="submit" { (texts.sign_in_button) }
                (told(texts))
            }
            p { a href="/approve/register" { (texts.have_code) } }
        } @else {
            p .note { (texts.no_address) }
        }
    };
    layout(visitor, texts.sign_in, body)
}

pub(super) fn register(visitor: &Visitor) -> Markup {
    let texts = visitor.texts;
    let body = html! {
        h1 { (texts.register) }
        p { (texts.register_lead) }
        @if visitor.can_sign {
            form data-passkey="register" action="/approve/register" {
                label for="code" { (texts.code) }
                input #code name="code" type="text" required maxlength="64" autocomplete="off" autocapitalize="none"
                    spellcheck="false";
                button .answer type="submit" { (texts.register_button) }
                (told(texts))
            }
        } @else {
            p .note { (texts.no_address) }
        }
    };
    layout(visitor, texts.register, body)
}

pub(super) fn list(visitor: &Visitor, waiting: &[Approval]) -> Markup {
    let texts = visitor.texts;
    let body = html! {
        h1 { (texts.waiting) }
        @if waiting.is_empty() {
            p .empty { (texts.nothing_waits) }
            p { a href="/approve" { (texts.look_again) } }
        } @else {
            ul .cards {
                @for approval in waiting {
                    li {
                        a href={ "/approve/" (approval.decision.id) } { (title(texts, &approval.document)) }
                        p .quiet { (fill(texts.answer_by, &[&moment(texts, approval.decision.expires_at.seconds())])) }
                    }
                }
            }
        }
    };
    layout(visitor, texts.waiting, body)
}

pub(crate) fn title(texts: &Texts, question: &Question) -> String {
    match question {
        Question::Intent(document) if document.standing.is_some() => standing::title(texts, document),
        Question::Intent(document) => {
            let amount = format!("{} {}", document.total, document.currency);
            fill(texts.question, &[document.agent.as_str(), &amount])
        }
        Question::Payment(question) => payment::title(texts, question),
        Question::Promotion(question) => promotion::title(texts, question),
    }
}

/// Words of others: apart from what is allowed, and marked.
fn words(texts: &Texts, question: &Question) -> Markup {
    let document = match question {
        // The person asked it themselves.
        Question::Intent(document) if document.standing.is_some() => return html! {},
        Question::Intent(document) => document,
        Question::Payment(question) => return payment::words(texts, question),
        // The service asks, in nobody's words.
        Question::Promotion(_) => return html! {},
    };
    html! {
        section .quote aria-labelledby="words" {
            h2 #words { (texts.their_words) }
            p .warning { (texts.their_words_warning) }
            blockquote dir="auto" {
                @if document.quoted_from_agent.is_empty() { (texts.no_words) } @else { (document.quoted_from_agent) }
            }
        }
    }
}

/// What a person may do beside saying yes or no.
#[derive(Clone, Copy)]
pub(super) struct Offers<'a> {
    /// Allow payments like it, where that can be.
    pub standing: Option<&'a StandingWish>,
    /// Have their wallet sign the mandate.
    pub wallet: bool,
}

pub(super) fn question(visitor: &Visitor, approval: &Approval, standing: Standing, offers: Offers<'_>) -> Markup {
    let texts = visitor.texts;
    let (document, decision) = (&approval.document, &approval.decision);
    let title = title(texts, document);
    let is_open = matches!(standing, Standing::Open | Standing::Unopened);
    let body = html! {
        (outcome(texts, approval, standing))
        h1 { (title) }
        section aria-labelledby="allowed" {
            h2 #allowed { @if is_open { (texts.what_you_allow) } @else { (texts.what_was_asked) } }
            @match document {
                Question::Intent(document) => {
                    (allowed(texts, document))
                    @if let Some(terms) = &document.standing { (standing::facts(texts, terms)) }
                },
                Question::Payment(question) => (payment::facts(texts, question)),
                Question::Promotion(question) => (promotion::facts(texts, question)),
            }
        }
        (words(texts, document))
        @if is_open {
            (answers(visitor, approval, standing, offers))
        }
        @if let (Question::Payment(question), Some(wish)) = (document, offers.standing) {
            (standing::offer(visitor, approval, wish, &question.payment.currency))
        }
        details {
            summary { (texts.technical) }
            dl .facts {
                dt { (texts.agent) } dd { (agent(approval)) }
                @match document {
                    Question::Intent(document) => {
                        (who(texts, document))
                        @if let Some(terms) = &document.standing { (standing::who(texts, terms)) }
                    },
                    Question::Payment(question) => (payment::who(texts, question)),
                    Question::Promotion(question) => (promotion::who(texts, question)),
                }
                dt { (texts.digest) } dd { code { (decision.subject) } p .quiet { (texts.digest_hint) } }
                dt { (texts.decision) } dd { code { (decision.id) } }
            }
        }
        p { a href="/approve" { (texts.all_waiting) } }
    };
    layout(visitor, &title, body)
}

/// Whose spending it is about, whoever put the question.
fn agent(approval: &Approval) -> &ledger::id::PrincipalId {
    match &approval.document {
        Question::Intent(document) => &document.agent,
        Question::Payment(question) => &question.payment.agent,
        Question::Promotion(question) => &question.promotion.agent,
    }
}

/// Both of the same size, the cautious one first, neither chosen beforehand.
fn answers(visitor: &Visitor, approval: &Approval, standing: Standing, offers: Offers<'_>) -> Markup {
    let (texts, decision) = (visitor.texts, &approval.decision);
    html! {
        section aria-labelledby="answer" {
            h2 #answer { (texts.your_answer) }
            @if standing == Standing::Open {
                p .quiet { (fill(texts.answer_by, &[&moment(texts, decision.expires_at.seconds())])) }
            }
            div .answers {
                @if standing == Standing::Open {
                    form method="post" action={ "/approve/" (decision.id) "/deny" } {
                        input type="hidden" name="csrf" value=(visitor.csrf);
                        input type="hidden" name="digest" value=(decision.subject);
                        button .answer type="submit" { (texts.deny) }
                    }
                }
                form data-passkey="approve" action={ "/approve/" (decision.id) } {
                    input type="hidden" name="csrf" value=(visitor.csrf);
                    input type="hidden" name="digest" value=(decision.subject);
                    button .answer type="submit" aria-describedby="allow-hint" { (texts.allow) }
                }
            }
            p #allow-hint .quiet { (texts.allow_hint) }
            @if offers.wallet {
                // Shown by the script where the browser can ask a wallet.
                form data-passkey="wallet" action={ "/approve/" (decision.id) } hidden {
                    input type="hidden" name="csrf" value=(visitor.csrf);
                    input type="hidden" name="digest" value=(decision.subject);
                    button .answer type="submit" aria-describedby="wallet-hint" { (texts.wallet) }
                    p #wallet-hint .quiet { (texts.wallet_hint) }
                }
            }
            @if !visitor.can_sign { p .note { (texts.no_address) } }
            (told(texts))
        }
    }
}

fn outcome(texts: &Texts, approval: &Approval, standing: Standing) -> Markup {
    let (approved_lead, changed_lead) = match &approval.document {
        Question::Intent(document) if document.standing.is_some() => {
            (texts.standing.approved_lead, texts.standing.changed_lead)
        }
        Question::Intent(_) => (texts.approved_lead, texts.changed_lead),
        Question::Payment(_) => (texts.payment.approved_lead, texts.payment.changed_lead),
        Question::Promotion(_) => (texts.promotion.approved_lead, texts.promotion.changed_lead),
    };
    let (kind, headline, lead) = match standing {
        Standing::Open => return html! {},
        Standing::Unopened => ("changed", texts.approved, texts.unopened),
        Standing::Approved => ("approved", texts.approved, approved_lead),
        Standing::Denied => ("denied", texts.denied, texts.denied_lead),
        Standing::Expired => ("expired", texts.expired, texts.expired_lead),
        Standing::Changed => ("changed", texts.changed, changed_lead),
    };
    html! {
        div .outcome data-outcome=(kind) role="status" {
            p .headline { (headline) }
            p { (lead) }
            @if let Some(mandate) = approval.decision.opened {
                p .quiet { (texts.mandate) " " code { (mandate) } }
                p { a href={ "/console/mandates/" (mandate) } { (texts.standing.see) } }
            }
        }
    }
}

pub(super) fn not_yours(visitor: &Visitor) -> Markup {
    let texts = visitor.texts;
    let body = html! {
        h1 { (texts.not_yours) }
        p { (texts.not_yours_lead) }
        p { a href="/approve" { (texts.all_waiting) } }
    };
    layout(visitor, texts.not_yours, body)
}

pub(super) fn failed(visitor: &Visitor, problem: &Problem) -> Markup {
    let texts = visitor.texts;
    let body = html! {
        h1 { (texts.failed) }
        p role="alert" { (texts.of_code(&problem.code)) }
        p .quiet { code { (problem.code) } }
        p { a href="/approve" { (texts.all_waiting) } }
    };
    layout(visitor, texts.failed, body)
}

/// Asks for itself, as a page of ours: then the browser sends along who is signed in.
pub(super) fn once_more(visitor: &Visitor, path: &str) -> Markup {
    let texts = visitor.texts;
    html! {
        (DOCTYPE)
        html lang=(texts.language) {
            head {
                meta charset="utf-8";
                meta http-equiv="refresh" content={ "0; url=" (path) };
                title { "Purser" }
            }
            body { a href=(path) { (texts.once_more) } }
        }
    }
}
