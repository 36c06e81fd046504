//! What the pages say. One file a language; a text that one of them lacks does not compile.

pub(crate) mod console;
mod de;
mod en;
pub(crate) mod review;
pub(crate) mod standing;

use self::console::ConsoleTexts;
use self::review::PromotionTexts;
use self::standing::StandingTexts;

/// Every text. `{}` stands for what a sentence is about, in the order of the doc.
pub(crate) struct Texts {
    /// BCP 47.
    pub language: &'static str,
    pub skip: &'static str,
    pub waiting: &'static str,
    pub nothing_waits: &'static str,
    pub look_again: &'static str,
    pub signed_in_as: &'static str,
    pub sign_out: &'static str,
    pub sign_in: &'static str,
    pub sign_in_lead: &'static str,
    pub sign_in_button: &'static str,
    pub have_code: &'static str,
    pub register: &'static str,
    pub register_lead: &'static str,
    pub code: &'static str,
    pub register_button: &'static str,
    pub no_address: &'static str,
    pub needs_script: &'static str,
    pub working: &'static str,
    pub cancelled: &'static str,
    pub unsupported: &'static str,
    pub unreachable: &'static str,
    /// Agent, amount.
    pub question: &'static str,
    pub what_you_allow: &'static str,
    pub what_was_asked: &'static str,
    pub in_all: &'static str,
    pub each_payment: &'static str,
    pub each_payment_none: &'static str,
    pub payments: &'static str,
    pub payments_once: &'static str,
    /// Number.
    pub payments_up_to: &'static str,
    /// Distance.
    pub every: &'static str,
    pub payees: &'static str,
    pub anyone: &'static str,
    pub limits: &'static str,
    pub no_limits: &'static str,
    pub hours: &'static str,
    pub cart: &'static str,
    pub cart_required: &'static str,
    pub cart_optional: &'static str,
    pub until: &'static str,
    pub refunds: &'static str,
    pub refunds_keep: &'static str,
    pub refunds_restore: &'static str,
    pub cost_centre: &'static str,
    pub agent: &'static str,
    pub agent_key: &'static str,
    pub agent_build: &'static str,
    pub no_build: &'static str,
    pub on_record: &'static str,
    pub their_words: &'static str,
    pub their_words_warning: &'static str,
    pub no_words: &'static str,
    pub your_answer: &'static str,
    /// Time.
    pub answer_by: &'static str,
    pub deny: &'static str,
    pub allow: &'static str,
    pub allow_hint: &'static str,
    pub wallet: &'static str,
    pub wallet_hint: &'static str,
    pub technical: &'static str,
    pub digest: &'static str,
    pub digest_hint: &'static str,
    pub decision: &'static str,
    pub approved: &'static str,
    pub approved_lead: &'static str,
    pub mandate: &'static str,
    pub unopened: &'static str,
    pub denied: &'static str,
    pub denied_lead: &'static str,
    pub expired: &'static str,
    pub expired_lead: &'static str,
    pub changed: &'static str,
    pub changed_lead: &'static str,
    pub not_yours: &'static str,
    pub not_yours_lead: &'static str,
    pub failed: &'static str,
    pub once_more: &'static str,
    pub all_waiting: &'static str,
    /// In all, a day, a week, a month, a year.
    pub periods: [&'static str; 5],
    /// Seconds.
    pub rolling: &'static str,
    pub each_payee: &'static str,
    /// Number.
    pub payments_of: &'static str,
    /// Daily, weekly, every two weeks, monthly, quarterly, yearly.
    pub distances: [&'static str; 6],
    /// Monday first.
    pub days: [&'static str; 7],
    /// From, to, zone.
    pub between: &'static str,
    pub months: [&'static str; 12],
    pub payment: PaymentTexts,
    pub promotion: &'static PromotionTexts,
    pub standing: &'static StandingTexts,
    pub console: &'static ConsoleTexts,
    codes: &'static [(&'static str, &'static str)],
    any_code: &'static str,
}

/// Of the question about one payment.
pub(crate) struct PaymentTexts {
    /// Agent, amount, payee.
    pub question: &'static str,
    pub amount: &'static str,
    pub payee: &'static str,
    pub first: &'static str,
    pub known: &'static str,
    pub way: &'static str,
    /// x402, AP2, ACP.
    pub rails: [&'static str; 3],
    pub why: &'static str,
    /// Rule, policy.
    pub rule: &'static str,
    /// Policy.
    pub no_rule: &'static str,
    pub asked: &'static str,
    /// How many, of how many, who.
    pub quorum: &'static str,
    pub words: &'static str,
    pub words_warning: &'static str,
    pub moves: &'static str,
    pub pay_to: &'static str,
    pub policy: &'static str,
    pub approved_lead: &'static str,
    pub changed_lead: &'static str,
}

impl Texts {
    /// The sentence for a person about a refusal.
    pub fn of_code(&self, code: &str) -> &'static str {
        self.codes.iter().find(|(known, _)| *known == code).map_or(self.any_code, |(_, text)| text)
    }
}

const ALL: [&Texts; 2] = [&en::TEXTS, &de::TEXTS];

/// The first language of ours that is wanted most (RFC 9110 section 12.5.4); English where none is.
pub(super) fn of(accept_language: Option<&str>) -> &'static Texts {
    let mut best: Option<(u32, &'static Texts)> = None;
    for item in accept_language.unwrap_or_default().split(',').take(32) {
        let mut parts = item.split(';').map(str::trim);
        let range = parts.next().unwrap_or_default().to_ascii_lowercase();
        let weight = parts.find_map(|part| part.strip_prefix("q=")).map_or(1_000, weight);
        let primary = range.split('-').next().unwrap_or_default();
        let Some(texts) = ALL.into_iter().find(|texts| texts.language == primary) else { continue };
        if weight > best.map_or(0, |(weight, _)| weight) {
            best = Some((weight, texts));
        }
    }
    best.map_or(&en::TEXTS, |(_, texts)| texts)
}

/// Thousandths; zero for what is no weight.
fn weight(text: &str) -> u32 {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = format!("{fraction:0<3}");
    match (whole.parse::<u32>(), digits.get(..3).and_then(|digits| digits.parse::<u32>().ok())) {
        (Ok(whole @ (0 | 1)), Some(fraction)) => (whole * 1_000 + fraction).min(1_000),
        _ => 0,
    }
}

/// Puts what a sentence is about into it.
pub(crate) fn fill(text: &str, values: &[&str]) -> String {
    let mut parts = text.split("{}");
    let mut filled = parts.next().unwrap_or_default().to_owned();
    for (at, part) in parts.enumerate() {
        filled.push_str(values.get(at).copied().unwrap_or_default());
        filled.push_str(part);
    }
    filled
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_language_that_is_wanted_most_is_taken() {
        for (header, language) in [
            ("", "en"),
            ("fr", "en"),
            ("de;q=0", "en"),
            ("de;q=x", "en"),
            ("*", "en"),
            ("deutsch", "en"),
            ("fr,de;q=0.5,en;q=0.9", "en"),
            ("en;q=0.899,de;q=0.9", "de"),
            ("de", "de"),
            ("de-AT,en;q=0.5", "de"),
            ("fr, DE;q=0.2", "de"),
        ] {
            assert_eq!(of(Some(header)).language, language, "{header}");
        }
        assert_eq!(of(None).language, "en");
    }

    #[test]
    fn every_language_says_every_refusal() {
        let codes = |texts: &Texts| texts.codes.iter().map(|(code, _)| *code).collect::<Vec<_>>();
        assert_eq!(codes(&de::TEXTS), codes(&en::TEXTS));
        for code in mandates::webauthn::PasskeyCode::ALL {
            assert!(codes(&en::TEXTS).contains(&code.as_str()), "{}", code.as_str());
        }
        for code in codes(&en::TEXTS) {
            assert_ne!(crate::errors::type_of(code), "about:blank", "{code}");
        }
    }

    #[test]
    fn a_sentence_takes_its_values_in_order() {
        assert_eq!(fill("{} and {}", &["<a>", "{}"]), "<a> and {}");
        assert_eq!(fill("none", &["a"]), "none");
        assert_eq!(fill("{}{}", &["a"]), "a");
    }
}
