//! The members of a document, before anybody looks at what they say.

use std::collections::BTreeMap;

use serde::Deserialize;
use toml::Spanned;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Written {
    pub purser_policy: Spanned<u32>,
    pub version: Spanned<String>,
    #[serde(default)]
    pub categories: BTreeMap<Spanned<String>, Vec<String>>,
    #[serde(default)]
    pub rules: Vec<WrittenRule>,
    pub autonomy: Option<Spanned<WrittenLadder>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct WrittenLadder {
    pub on_drift: Option<Spanned<String>>,
    pub levels: Vec<WrittenLevel>,
}

/// A rule without conditions but an amount.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct WrittenLevel {
    pub name: Spanned<String>,
    pub verb: Spanned<String>,
    pub after: Option<Spanned<u32>>,
    pub amounts: Option<Spanned<Vec<WrittenAmount>>>,
    pub sample: Option<Spanned<String>>,
    pub sample_seconds: Option<Spanned<u32>>,
    pub overdue: Option<Spanned<String>>,
    pub ttl_seconds: Option<Spanned<u32>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct WrittenRule {
    pub name: Spanned<String>,
    pub verb: Spanned<String>,
    pub sample: Option<Spanned<String>>,
    pub sample_seconds: Option<Spanned<u32>>,
    pub review_seconds: Option<Spanned<u32>>,
    pub overdue: Option<Spanned<String>>,
    pub approvers: Option<Spanned<Vec<String>>>,
    pub k: Option<Spanned<u16>>,
    pub ttl_seconds: Option<Spanned<u32>>,
    #[serde(default)]
    pub when: WrittenWhen,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct WrittenWhen {
    pub rails: Option<Spanned<Vec<String>>>,
    pub amounts: Option<Spanned<Vec<WrittenAmount>>>,
    pub payees: Option<Spanned<Vec<String>>>,
    pub categories: Option<Spanned<Vec<String>>>,
    pub agents: Option<Spanned<Vec<String>>>,
    pub builds: Option<Spanned<Vec<String>>>,
    pub mandates: Option<Spanned<Vec<String>>>,
    pub hours: Option<Spanned<WrittenHours>>,
    pub first_payment: Option<bool>,
    pub reversible: Option<bool>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct WrittenAmount {
    pub currency: String,
    pub above: Option<String>,
    pub up_to: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct WrittenHours {
    pub zone: String,
    pub from: String,
    pub to: String,
    pub days: Option<Vec<String>>,
}
