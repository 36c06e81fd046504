//! What a document allows, in a person's language.

use engine::consent::{CartDemand, IntentDocument};
use engine::limits::{DayText, HoursText, LimitText, PeriodText, RefundsText};
use ledger::recurrence::Frequency;
use maud::{Markup, html};
use time::OffsetDateTime;

use super::super::texts::{Texts, fill};

pub(super) fn allowed(texts: &Texts, document: &IntentDocument) -> Markup {
    let money = |amount: &str| format!("{amount} {}", document.currency);
    html! {
        dl .facts {
            dt { (texts.in_all) } dd .amount { (money(&document.total)) }
            dt { (texts.each_payment) }
            dd { @match &document.per_payment { Some(most) => (money(most)), None => (texts.each_payment_none) } }
            dt { (texts.payments) } dd { (payments(texts, document)) }
            dt { (texts.payees) }
            dd {
                @match &document.payees {
                    None => strong { (texts.anyone) },
                    Some(payees) => ul { @for payee in payees {
                        li {
                            strong { (payee.name) } " (" (payee.id) ")"
                            @if let Some(website) = &payee.website { " " span .quiet { (website) } }
                        }
                    } },
                }
            }
            dt { (texts.limits) }
            dd {
                @if document.limits.is_empty() { (texts.no_limits) } @else {
                    ul { @for limit in &document.limits { li { (limit_text(texts, limit, &document.currency)) } } }
                }
            }
            @if let Some(hours) = &document.hours { dt { (texts.hours) } dd { (hours_text(texts, hours)) } }
            dt { (texts.cart) }
            dd { @match document.cart {
                CartDemand::Required => (texts.cart_required),
                CartDemand::Optional => (texts.cart_optional),
            } }
            dt { (texts.refunds) }
            dd { @match document.refunds {
                RefundsText::Keep => (texts.refunds_keep),
                RefundsText::Restore => (texts.refunds_restore),
            } }
            dt { (texts.until) } dd { (moment(texts, document.expires_at)) }
            @if let Some(centre) = &document.cost_centre { dt { (texts.cost_centre) } dd { (centre) } }
        }
    }
}

/// Keys and builds, of the agent and of those on record.
pub(super) fn who(texts: &Texts, document: &IntentDocument) -> Markup {
    html! {
        dt { (texts.agent_key) } dd { code { (document.agent_key) } }
        dt { (texts.agent_build) }
        dd { @match document.agent_build { Some(build) => code { (build) }, None => (texts.no_build) } }
        @for record in &document.on_record {
            dt { (record.merchant) ", " (texts.on_record) }
            dd { @for line in record.keys.iter().chain(&record.pay_to) { code { (line) } " " } }
        }
    }
}

fn payments(texts: &Texts, document: &IntentDocument) -> String {
    let number = match document.payments {
        1 => texts.payments_once.to_owned(),
        most => fill(texts.payments_up_to, &[&most.to_string()]),
    };
    let [daily, weekly, biweekly, monthly, quarterly, annually] = texts.distances;
    let distance = match document.frequency.map(|text| text.0) {
        None | Some(Frequency::OnDemand) => return number,
        Some(Frequency::Daily) => daily,
        Some(Frequency::Weekly) => weekly,
        Some(Frequency::Biweekly) => biweekly,
        Some(Frequency::Monthly) => monthly,
        Some(Frequency::Quarterly) => quarterly,
        Some(Frequency::Annually) => annually,
    };
    format!("{number}, {}", fill(texts.every, &[distance]))
}

fn limit_text(texts: &Texts, limit: &LimitText, currency: &str) -> String {
    let [total, day, week, month, year] = texts.periods;
    let rolling = limit.seconds.map(|seconds| fill(texts.rolling, &[&seconds.to_string()])).unwrap_or_default();
    let period = match limit.period {
        PeriodText::Total => total,
        PeriodText::Day => day,
        PeriodText::Week => week,
        PeriodText::Month => month,
        PeriodText::Year => year,
        PeriodText::Rolling => rolling.as_str(),
    };
    let amount = limit.amount.as_ref().map(|amount| format!("{amount} {currency}"));
    let payments = limit.payments.map(|payments| fill(texts.payments_of, &[&payments.to_string()]));
    let most = amount.into_iter().chain(payments).collect::<Vec<_>>().join(", ");
    let zone = limit.zone.as_ref().map(|zone| format!(" ({zone})")).unwrap_or_default();
    let from = limit.from_day.map(|day| format!(" [{day}.]")).unwrap_or_default();
    let each = if limit.each_payee { format!(" {}", texts.each_payee) } else { String::new() };
    format!("{most} {period}{each}{zone}{from}")
}

fn hours_text(texts: &Texts, hours: &HoursText) -> String {
    let [mon, tue, wed, thu, fri, sat, sun] = texts.days;
    let name = |day: &DayText| match day {
        DayText::Mon => mon,
        DayText::Tue => tue,
        DayText::Wed => wed,
        DayText::Thu => thu,
        DayText::Fri => fri,
        DayText::Sat => sat,
        DayText::Sun => sun,
    };
    let between = fill(texts.between, &[&hours.from, &hours.to, &hours.zone]);
    match &hours.days {
        None => between,
        Some(days) => format!("{} {between}", days.iter().map(name).collect::<Vec<_>>().join(", ")),
    }
}

/// To the minute, in UTC: the one clock that the service and its people share.
pub(crate) fn moment(texts: &Texts, seconds: i64) -> String {
    let Ok(at) = OffsetDateTime::from_unix_timestamp(seconds) else { return seconds.to_string() };
    let month = texts.months.get(usize::from(u8::from(at.month()).saturating_sub(1))).copied().unwrap_or_default();
    let point = if texts.language == "de" { "." } else { "" };
    format!("{}{point} {month} {}, {:02}:{:02} UTC", at.day(), at.year(), at.hour(), at.minute())
}
