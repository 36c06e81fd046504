//! What every page of the console has: its frame, and the parts that several of them show.

use engine::limits::LimitState;
use engine::tenant::Duty;
use ledger::budget::{Budget, BudgetState};
use ledger::id::Micros;
use ledger::spend::{Rail, SpendState};
use maud::{DOCTYPE, Markup, html};
use x402::network::AssetTable;

use super::Seated;
use super::figures::{amount, bar};
use crate::approve::asset;
use crate::approve::texts::console::ConsoleTexts;
use crate::approve::texts::fill;
use crate::approve::view::facts::moment;
use crate::problem::Problem;

/// Where somebody is, for the way marked in the list of pages.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    Overview,
    Spends,
    Mandates,
    Stops,
    Ledger,
    Charts,
    Approvals,
    Reviews,
}

impl Place {
    const ALL: [Self; 8] = [
        Self::Overview,
        Self::Spends,
        Self::Mandates,
        Self::Approvals,
        Self::Reviews,
        Self::Charts,
        Self::Ledger,
        Self::Stops,
    ];

    const fn path(self) -> &'static str {
        match self {
            Self::Overview => "/console",
            Self::Spends => "/console/spends",
            Self::Mandates => "/console/mandates",
            Self::Stops => "/console/stops",
            Self::Ledger => "/console/ledger",
            Self::Charts => "/console/charts",
            Self::Approvals => "/console/approvals",
            Self::Reviews => "/console/reviews",
        }
    }

    const fn name(self, texts: &ConsoleTexts) -> &'static str {
        match self {
            Self::Overview => texts.overview,
            Self::Spends => texts.spends,
            Self::Mandates => texts.mandates,
            Self::Stops => texts.stops,
            Self::Ledger => texts.ledger,
            Self::Charts => texts.charts,
            Self::Approvals => texts.approvals,
            Self::Reviews => texts.review.title,
        }
    }
}

impl Seated {
    pub(super) fn texts(&self) -> &'static ConsoleTexts {
        self.visitor.texts.console
    }

    pub(super) fn when(&self, at: Micros) -> Markup {
        html! { time { (self.moment(at)) } }
    }

    pub(super) fn moment(&self, at: Micros) -> String {
        moment(self.visitor.texts, at.seconds())
    }
}

pub(super) fn layout(seated: &Seated, place: Option<Place>, title: &str, body: Markup) -> Markup {
    let (texts, common, caller) = (seated.texts(), seated.visitor.texts, &seated.seat.own().caller);
    // The whole tenant's books are not for whoever sees a part of it.
    let places = Place::ALL.into_iter().filter(|place| seated.seat.sees_all() || *place != Place::Ledger);
    let duty = match seated.seat.duty {
        Duty::Approver => None,
        Duty::Auditor => Some(texts.auditor),
        Duty::Operator => Some(texts.operator),
    };
    html! {
        (DOCTYPE)
        html lang=(common.language) {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title) " · Purser" }
                link rel="icon" href=(asset::icon());
                link rel="stylesheet" href=(asset::style());
                link rel="stylesheet" href=(asset::console_style());
                script src=(asset::console_script()) defer {}
            }
            body .console {
                a .skip href="#content" { (common.skip) }
                header .bar {
                    a .brand href="/console" { img src=(asset::icon()) alt="" width="24" height="24"; "Purser" }
                    form .who method="post" action="/approve/sign-out" {
                        input type="hidden" name="csrf" value=(seated.visitor.csrf);
                        span {
                            (common.signed_in_as) " " strong { (caller.principal) }
                            @if let Some(duty) = duty { " (" (duty) ")" }
                        }
                        button .link type="submit" { (common.sign_out) }
                    }
                }
                nav .places aria-label=(texts.title) {
                    @for one in places {
                        a href=(one.path()) aria-current=[(place == Some(one)).then_some("page")] { (one.name(texts)) }
                    }
                }
                main #content tabindex="-1" { h1 { (title) } (body) }
            }
        }
    }
}

pub(super) fn problem(seated: &Seated, problem: &Problem) -> Markup {
    let texts = seated.texts();
    let lead = match problem.status.as_u16() {
        400 => texts.wrong_query,
        401 | 403 => texts.not_allowed,
        404 | 410 => texts.not_there,
        409 | 422 => texts.not_done,
        _ => texts.not_now,
    };
    let body = html! {
        section {
            p role="alert" { (lead) }
            p .quiet lang="en" { (problem.detail) }
            p .quiet { code { (problem.code) } }
            p { a href="/console" { (texts.back) } }
        }
    };
    layout(seated, None, seated.visitor.texts.failed, body)
}

pub(super) fn state(texts: &ConsoleTexts, state: SpendState) -> Markup {
    html! { span .state data-state=(state.as_str()) { (state_name(texts, state)) } }
}

pub(super) const fn state_name(texts: &ConsoleTexts, state: SpendState) -> &'static str {
    let [held, voided, expired, committed, submitted, unknown, settled, released, otherwise] = texts.states;
    match state {
        SpendState::Held => held,
        SpendState::Voided => voided,
        SpendState::Expired => expired,
        SpendState::Committed => committed,
        SpendState::Submitted => submitted,
        SpendState::Unknown => unknown,
        SpendState::Settled => settled,
        SpendState::Released => released,
        SpendState::SpentOtherwise => otherwise,
    }
}

/// What it means that a spend is in this state.
pub(super) const fn reason(texts: &ConsoleTexts, state: SpendState) -> &'static str {
    let [held, voided, expired, committed, submitted, unknown, settled, released, otherwise] = texts.reasons;
    match state {
        SpendState::Held => held,
        SpendState::Voided => voided,
        SpendState::Expired => expired,
        SpendState::Committed => committed,
        SpendState::Submitted => submitted,
        SpendState::Unknown => unknown,
        SpendState::Settled => settled,
        SpendState::Released => released,
        SpendState::SpentOtherwise => otherwise,
    }
}

pub(super) const fn rail_name(texts: &ConsoleTexts, rail: Rail) -> &'static str {
    let [chain, mandate, vault] = texts.rails;
    match rail {
        Rail::Chain => chain,
        Rail::Mandate => mandate,
        Rail::Vault => vault,
    }
}

/// How a mandate stands now: its state, or that its time is over.
pub(super) fn standing(texts: &ConsoleTexts, budget: &Budget, now: Micros) -> Markup {
    let [active, suspended, revoked, over] = texts.standings;
    let (name, text) = match budget.state {
        BudgetState::Suspended => ("suspended", suspended),
        BudgetState::Revoked => ("revoked", revoked),
        BudgetState::Active if budget.caps.expires_at.is_some_and(|end| now >= end) => ("over", over),
        BudgetState::Active => ("active", active),
    };
    html! { span .state data-state=(name) { (text) } }
}

/// Spent, held and left against the whole, and against each limit.
pub(super) fn figures(texts: &ConsoleTexts, assets: &AssetTable, budget: &Budget, limits: &[LimitState]) -> Markup {
    let money = |units| amount(assets, &budget.asset, units);
    let label = match budget.caps.total {
        Some(cap) => fill(texts.bar, &[&money(budget.posted), &money(budget.held), &money(cap)]),
        None => String::new(),
    };
    html! {
        (bar(budget, &label))
        dl .figures {
            div { dt { (texts.posted) } dd { (money(budget.posted)) } }
            div { dt { (texts.held) } dd { (money(budget.held)) } }
            div {
                dt { (texts.left) }
                dd { @match budget.available() { Some(left) => (money(left)), None => (texts.no_cap) } }
            }
            div {
                dt { (texts.cap) }
                dd { @match budget.caps.total { Some(cap) => (money(cap)), None => (texts.no_cap) } }
            }
            @if let Some(most) = budget.caps.occurrences {
                div { dt { (texts.payments) } dd { (fill(texts.of, &[&budget.count.to_string(), &most.to_string()])) } }
            }
        }
        @if !limits.is_empty() {
            ul .limits { @for state in limits { (limit(texts, assets, budget, state)) } }
        }
    }
}

fn limit(texts: &ConsoleTexts, assets: &AssetTable, budget: &Budget, state: &LimitState) -> Markup {
    let money = |units| amount(assets, &budget.asset, units);
    let used = state.used;
    html! {
        li {
            span lang="en" { (state.limit) } ": "
            @if let Some(most) = state.limit.amount {
                @match used {
                    Some((used, _)) => (fill(texts.of, &[&money(used), &money(most)])),
                    None => (fill(texts.at_most, &[&money(most)])),
                }
            }
            @if let Some(most) = state.limit.payments {
                @if state.limit.amount.is_some() { "; " }
                @match used {
                    Some((_, count)) => (fill(texts.payments_of, &[&count.to_string(), &most.to_string()])),
                    None => (fill(texts.at_most, &[&most.to_string()])),
                }
            }
        }
    }
}

/// The beginning of an id, enough to tell it from others.
pub(super) fn short(id: impl ToString) -> String {
    id.to_string().chars().take(12).collect()
}
