//! A policy as people write it, in TOML. Strict: a member that nobody knows is a rule that nobody keeps.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::str::FromStr;

use ledger::id::{Digest, PayeeId, PrincipalId};
use ledger::window::Hours;
use mandates::canonical::canonical;
use mandates::currency::Currency;
use rust_decimal::Decimal;
use serde_json::json;
use toml::Spanned;

use crate::check;
use crate::written::{Written, WrittenAmount, WrittenHours, WrittenRule, WrittenWhen};
use crate::{Finding, Look, Overdue, Policy, Rail, Range, Rate, Rule, Verb, When};

/// Of the document; it is read at every start.
const DOCUMENT_BYTES_MAX: usize = 256 * 1024;
const RULES_MAX: usize = 256;
const FORMAT: u32 = 1;
const NAME_CHARS_MAX: usize = 64;
/// Longest time that somebody has to answer, and that a review stays open: a week, and a year.
const TTL_SECONDS_MAX: u32 = 7 * 24 * 3_600;
const REVIEW_SECONDS_MAX: u32 = 366 * 24 * 3_600;
/// Fraction digits of an amount beyond those of its currency: prices are often below a cent.
const EXTRA_DIGITS: u32 = 6;

impl Policy {
    /// The document, or everything that is wrong with it.
    pub fn read(text: &str) -> Result<Self, Vec<Finding>> {
        let mut reading = Reading { text, findings: Vec::new() };
        if text.len() > DOCUMENT_BYTES_MAX {
            let message = format!("at most {DOCUMENT_BYTES_MAX} bytes were expected, {} are there", text.len());
            return Err(vec![Finding { line: 1, code: "policy_too_long", message }]);
        }
        let written: Written = match toml::from_str(text) {
            Ok(written) => written,
            Err(error) => {
                let at = error.span().map_or(0, |span| span.start);
                reading.find(at, "policy_unreadable", error.message().to_owned());
                return Err(reading.findings);
            }
        };
        reading.head(&written);
        let categories = reading.categories(&written.categories);
        let mut rules = Vec::with_capacity(written.rules.len());
        for rule in &written.rules {
            let read = reading.rule(rule);
            let line = reading.line(rule.name.span().start);
            check::rule(&mut reading.findings, line, &read, &categories);
            rules.push((line, read));
        }
        check::rules(&mut reading.findings, &rules, &categories);
        let ladder = written.autonomy.map(|written| reading.ladder(written));
        if !reading.findings.is_empty() {
            reading.findings.sort_by_key(|finding| finding.line);
            return Err(reading.findings);
        }
        let rules: Vec<Rule> = rules.into_iter().map(|(_, rule)| rule).collect();
        let version = written.version.into_inner();
        let mut value =
            json!({ "purser_policy": FORMAT, "version": version, "categories": categories, "rules": rules });
        // What is not there is not in the digest: that of a document of before there were ladders stays.
        if let Some(ladder) = &ladder {
            value["autonomy"] = json!(ladder);
        }
        let canonical = canonical(&value)
            .map_err(|refused| vec![Finding { line: 1, code: "policy_unreadable", message: refused.to_string() }])?;
        let digest = Digest::of(canonical.as_bytes());
        Ok(Self { version, categories, rules, ladder, canonical, digest })
    }
}

pub(crate) struct Reading<'a> {
    text: &'a str,
    pub findings: Vec<Finding>,
}

impl Reading<'_> {
    pub(crate) fn line(&self, at: usize) -> usize {
        let before = self.text.as_bytes().get(..at).unwrap_or_default();
        before.iter().filter(|byte| **byte == b'\n').count().saturating_add(1)
    }

    pub(crate) fn find(&mut self, at: usize, code: &'static str, message: String) {
        let line = self.line(at);
        self.findings.push(Finding { line, code, message });
    }

    fn head(&mut self, written: &Written) {
        let format = *written.purser_policy.get_ref();
        if format != FORMAT {
            let message = format!("purser_policy = {FORMAT} was expected, {format} is there");
            self.find(written.purser_policy.span().start, "policy_format_unknown", message);
        }
        let version = written.version.get_ref();
        let is_plain = version.bytes().all(|byte| matches!(byte, b'!'..=b'~'));
        if version.is_empty() || version.len() > NAME_CHARS_MAX || !is_plain {
            let message = format!("1 to {NAME_CHARS_MAX} letters without spaces were expected, {version:?} is there");
            self.find(written.version.span().start, "policy_version_malformed", message);
        }
        if written.rules.is_empty() {
            self.find(0, "policy_empty", "one rule or more was expected, none is there".into());
        }
        if written.rules.len() > RULES_MAX {
            let message = format!("at most {RULES_MAX} rules were expected, {} are there", written.rules.len());
            self.find(0, "policy_too_long", message);
        }
    }

    fn categories(&mut self, written: &BTreeMap<Spanned<String>, Vec<String>>) -> BTreeMap<String, BTreeSet<String>> {
        let mut read = BTreeMap::new();
        for (name, payees) in written {
            let at = name.span().start;
            self.name(at, name.get_ref());
            read.insert(
                name.get_ref().clone(),
                self.set::<PayeeId>(at, "categories", payees).iter().map(text).collect(),
            );
        }
        read
    }

    pub(crate) fn rule(&mut self, rule: &WrittenRule) -> Rule {
        self.name(rule.name.span().start, rule.name.get_ref());
        let verb = self.verb(rule);
        let when = self.when(&rule.when);
        Rule { name: rule.name.get_ref().clone(), verb, when }
    }

    fn name(&mut self, at: usize, name: &str) {
        let fits = |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit() || "_-".contains(letter);
        if name.is_empty() || name.len() > NAME_CHARS_MAX || !name.chars().all(fits) {
            let expected = format!("1 to {NAME_CHARS_MAX} small letters, digits, `_` and `-`");
            self.find(at, "name_malformed", format!("{expected} were expected, {name:?} is there"));
        }
    }

    /// The verb with what belongs to it; what belongs to another is without effect, so it is refused.
    fn verb(&mut self, rule: &WrittenRule) -> Verb {
        let (at, verb) = (rule.verb.span().start, rule.verb.get_ref().as_str());
        let idle = [
            (rule.sample.as_ref().map(Spanned::span), "sample", ["allow", ""]),
            (rule.sample_seconds.as_ref().map(Spanned::span), "sample_seconds", ["allow", ""]),
            (rule.review_seconds.as_ref().map(Spanned::span), "review_seconds", ["allow", ""]),
            (rule.overdue.as_ref().map(Spanned::span), "overdue", ["allow", ""]),
            (rule.approvers.as_ref().map(Spanned::span), "approvers", ["require_approval", ""]),
            (rule.k.as_ref().map(Spanned::span), "k", ["require_approval", ""]),
            (rule.ttl_seconds.as_ref().map(Spanned::span), "ttl_seconds", ["require_approval", "step_up"]),
        ];
        for (span, name, verbs) in idle {
            if let Some(span) = span.filter(|_| !verbs.contains(&verb)) {
                let message = format!("{name} belongs to {}, the verb is {verb}", verbs.join(" ").trim());
                self.find(span.start, "member_without_effect", message);
            }
        }
        self.looked_at(rule);
        match (verb, &rule.sample, &rule.review_seconds) {
            ("allow", Some(sample), Some(_)) => {
                let message = "sample or review_seconds was expected, both are there".to_owned();
                self.find(sample.span().start, "member_without_effect", message);
                Verb::Allow
            }
            ("allow", Some(sample), None) => {
                let look = self.look(rule, &rule.sample_seconds, "sample_seconds");
                Verb::AllowSample { per_million: self.rate(sample), look }
            }
            ("allow", None, Some(_)) => {
                Verb::AllowReview { look: self.look(rule, &rule.review_seconds, "review_seconds") }
            }
            ("allow", None, None) => Verb::Allow,
            ("step_up", ..) => Verb::StepUp { ttl_seconds: self.ttl(at, rule) },
            ("require_approval", ..) => self.quorum(at, rule),
            ("deny", ..) => Verb::Deny,
            (other, ..) => {
                let expected = "allow, require_approval, step_up or deny";
                self.find(at, "verb_unknown", format!("{expected} was expected, {other:?} is there"));
                Verb::Deny
            }
        }
    }

    /// What says how somebody looks is without effect where nobody looks.
    fn looked_at(&mut self, rule: &WrittenRule) {
        if let Some(seconds) = rule.sample_seconds.as_ref().filter(|_| rule.sample.is_none()) {
            let message = "sample_seconds belongs to sample, which is not there".to_owned();
            self.find(seconds.span().start, "member_without_effect", message);
        }
        let nobody_looks = rule.sample.is_none() && rule.review_seconds.is_none();
        if let Some(overdue) = rule.overdue.as_ref().filter(|_| nobody_looks && rule.verb.get_ref() == "allow") {
            let message = "overdue belongs to sample or review_seconds, neither is there".to_owned();
            self.find(overdue.span().start, "member_without_effect", message);
        }
    }

    fn look(&mut self, rule: &WrittenRule, seconds: &Option<Spanned<u32>>, name: &str) -> Look {
        let usual = Look::SAMPLED;
        let read = seconds.as_ref().map(|seconds| self.seconds(seconds, name, REVIEW_SECONDS_MAX));
        let overdue = rule.overdue.as_ref().map(|written| match written.get_ref().as_str() {
            "notify" => Overdue::Notify,
            "suspend" => Overdue::Suspend,
            other => {
                let message = format!("overdue: notify or suspend was expected, {other:?} is there");
                self.find(written.span().start, "overdue_unknown", message);
                Overdue::Suspend
            }
        });
        Look { seconds: read.unwrap_or(usual.seconds), overdue: overdue.unwrap_or(usual.overdue) }
    }

    fn ttl(&mut self, at: usize, rule: &WrittenRule) -> u32 {
        match &rule.ttl_seconds {
            Some(seconds) => self.seconds(seconds, "ttl_seconds", TTL_SECONDS_MAX),
            None => {
                self.find(at, "ttl_missing", "ttl_seconds was expected beside the verb, nothing is there".into());
                0
            }
        }
    }

    fn seconds(&mut self, seconds: &Spanned<u32>, name: &str, most: u32) -> u32 {
        let found = *seconds.get_ref();
        if found == 0 || found > most {
            let message = format!("{name}: 1 to {most} seconds were expected, {found} are there");
            self.find(seconds.span().start, "seconds_out_of_range", message);
        }
        found
    }

    fn quorum(&mut self, at: usize, rule: &WrittenRule) -> Verb {
        let ttl_seconds = self.ttl(at, rule);
        let approvers: BTreeSet<PrincipalId> = rule.approvers.as_ref().map_or_else(BTreeSet::new, |named| {
            self.set::<PrincipalId>(named.span().start, "approvers", named.get_ref())
        });
        let n = if rule.approvers.is_some() { approvers.len() } else { 1 };
        let (place, k) = rule.k.as_ref().map_or((at, None), |k| (k.span().start, Some(*k.get_ref())));
        if k.is_none() && n > 1 {
            self.find(at, "quorum_missing", format!("k of {n} approvers was expected, nothing is there"));
        }
        let k = k.unwrap_or(1);
        if k == 0 || usize::from(k) > n {
            self.find(place, "quorum_impossible", format!("k: 1 to {n} approvers were expected, {k} are there"));
        }
        Verb::RequireApproval { approvers, k, ttl_seconds }
    }

    fn rate(&mut self, sample: &Spanned<String>) -> Rate {
        let text = sample.get_ref();
        let million = Decimal::from(Rate::ALL);
        let rate = plain_decimal(text).and_then(|rate| rate.checked_mul(million)).map(|rate| rate.normalize());
        let rate = rate.filter(|rate| rate.scale() == 0 && *rate > Decimal::ZERO && *rate <= million);
        let rate = rate.and_then(|rate| u32::try_from(rate.mantissa()).ok());
        rate.map(Rate).unwrap_or_else(|| {
            let message = format!("a share such as \"0.05\", above 0 and up to 1, was expected, {text:?} is there");
            self.find(sample.span().start, "sample_malformed", message);
            Rate(0)
        })
    }

    fn when(&mut self, when: &WrittenWhen) -> When {
        When {
            rails: when.rails.as_ref().map(|rails| self.set::<Rail>(rails.span().start, "rails", rails.get_ref())),
            amounts: when.amounts.as_ref().map(|amounts| self.amounts(amounts)),
            payees: self.names::<PayeeId>("payees", &when.payees),
            categories: self.names::<String>("categories", &when.categories),
            agents: self.names::<PrincipalId>("agents", &when.agents),
            builds: when.builds.as_ref().map(|named| self.set(named.span().start, "builds", named.get_ref())),
            mandates: when.mandates.as_ref().map(|named| self.set(named.span().start, "mandates", named.get_ref())),
            hours: when.hours.as_ref().and_then(|hours| self.hours(hours)),
            first_payment: when.first_payment,
            reversible: when.reversible,
        }
    }

    fn names<T: FromStr + Ord + Display>(
        &mut self,
        name: &str,
        named: &Option<Spanned<Vec<String>>>,
    ) -> Option<BTreeSet<String>> {
        let named = named.as_ref()?;
        Some(self.set::<T>(named.span().start, name, named.get_ref()).iter().map(text).collect())
    }

    /// Each of its kind, each once, one at least: an empty list is about nothing.
    fn set<T: FromStr + Ord>(&mut self, at: usize, name: &str, texts: &[String]) -> BTreeSet<T> {
        let mut read = BTreeSet::new();
        if texts.is_empty() {
            self.find(at, "list_empty", format!("{name}: one or more were expected, none is there"));
        }
        for text in texts {
            let Ok(value) = text.parse() else {
                self.find(at, "value_malformed", format!("{name}: {text:?} is not one"));
                continue;
            };
            if !read.insert(value) {
                self.find(at, "value_twice", format!("{name}: each once was expected, {text:?} is there twice"));
            }
        }
        read
    }

    fn amounts(&mut self, written: &Spanned<Vec<WrittenAmount>>) -> BTreeMap<String, Range> {
        let at = written.span().start;
        let mut read = BTreeMap::new();
        if written.get_ref().is_empty() {
            self.find(at, "list_empty", "amounts: one or more were expected, none is there".into());
        }
        for WrittenAmount { currency, above, up_to } in written.get_ref() {
            let Some(exponent) = Currency::new(currency).ok().and_then(|known| known.exponent()) else {
                let message =
                    format!("a currency whose ISO 4217 exponent is known was expected, {currency:?} is there");
                self.find(at, "currency_without_exponent", message);
                continue;
            };
            let mut bound = |text: &Option<String>| {
                let text = text.as_ref()?;
                let most = exponent.saturating_add(EXTRA_DIGITS);
                let read = plain_decimal(text).filter(|amount| amount.scale() <= most);
                if read.is_none() {
                    let message =
                        format!("a decimal of at most {most} fraction digits was expected, {text:?} is there");
                    self.find(at, "amount_malformed", message);
                }
                read
            };
            let range = Range { above: bound(above), up_to: bound(up_to) };
            if (above.is_none() && up_to.is_none()) || range.is_empty() {
                let message =
                    format!("{currency}: amounts above `above` and up to `up_to` were expected, there are none");
                self.find(at, "amount_range_empty", message);
            }
            if read.insert(currency.clone(), range).is_some() {
                self.find(at, "currencies_overlap", format!("one range of {currency} was expected, two are there"));
            }
        }
        read
    }

    fn hours(&mut self, written: &Spanned<WrittenHours>) -> Option<Hours> {
        let WrittenHours { zone, from, to, days } = written.get_ref();
        let mut mask = 0_u8;
        for day in days.iter().flatten() {
            let names = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
            let bit = (0_u8..).zip(names).find(|(_, name)| name == day).map(|(bit, _)| 1_u8 << bit);
            mask |= bit.unwrap_or(0);
            if bit.is_none() {
                self.find(written.span().start, "value_malformed", format!("hours.days: {day:?} is not one"));
            }
        }
        let hours = zone.parse().ok().zip(minutes(from)).zip(minutes(to)).map(|((zone, from), to)| {
            let days = if days.is_none() { 0x7f } else { mask };
            Hours { zone, days, from, to }
        });
        let hours = hours.filter(|hours| hours.check().is_ok());
        if hours.is_none() {
            let expected = "a time zone of the IANA database and two times as HH:MM on one day or more";
            let message = format!("{expected} were expected, {from}-{to} ({zone}) is there");
            self.find(written.span().start, "hours_malformed", message);
        }
        hours
    }
}

fn text<T: Display>(value: &T) -> String {
    value.to_string()
}

/// `HH:MM`, up to 24:00.
fn minutes(text: &str) -> Option<u16> {
    let digits = |part: &str| {
        let two = part.len() == 2 && part.bytes().all(|byte| byte.is_ascii_digit());
        two.then(|| part.parse::<u16>().ok()).flatten()
    };
    let (hour, minute) = text.split_once(':')?;
    let (hour, minute) = (digits(hour)?, digits(minute)?);
    let all = hour.checked_mul(60)?.checked_add(minute)?;
    (hour <= 24 && minute <= 59 && all <= 24 * 60).then_some(all)
}

/// Digits, and a point between two of them; no sign, no exponent, no zero before another digit.
fn plain_decimal(text: &str) -> Option<Decimal> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    let is_plain = digits(whole) && digits(fraction) && (whole == "0" || !whole.starts_with('0'));
    if is_plain && text.len() <= 28 { Decimal::from_str_exact(text).ok() } else { None }
}

impl FromStr for Rail {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        Self::ALL.into_iter().find(|rail| rail.as_str() == text).ok_or(())
    }
}
