//! A posted transfer with everything that its record says about it.

use std::collections::BTreeMap;

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use ledger::account::Net;
use ledger::effects::{Effects, Fact};
use ledger::id::{Micros, PayeeId, TenantId};
use ledger::transfer::{Layer, Transfer, TransferCode};

use super::ExportError;
use super::names::Commodity;
use super::papers::{Papers, Tax};
use crate::config::TenantConfig;

/// The legal names of a tenant's registered payees.
pub struct PayeeNames(BTreeMap<String, String>);

impl PayeeNames {
    pub fn of(tenant: &TenantConfig) -> Self {
        Self(tenant.payees.iter().map(|payee| (payee.id.clone(), payee.name.clone())).collect())
    }

    pub fn find(&self, payee: &PayeeId) -> Option<&str> {
        self.0.get(payee.as_str()).map(String::as_str)
    }

    /// The registered name, or the id of somebody who is not registered (any more).
    pub fn shown<'a>(&'a self, payee: &'a PayeeId) -> &'a str {
        self.find(payee).unwrap_or(payee.as_str())
    }
}

pub fn instant(at: Micros) -> Result<Timestamp, ExportError> {
    Timestamp::from_microsecond(at.0).map_err(|_| ExportError::Calendar(at.0))
}

/// The day in Greenwich.
pub fn utc_date(at: Micros) -> Result<Date, ExportError> {
    Ok(instant(at)?.to_zoned_datetime(TimeZone::UTC).date())
}

/// One transaction of two legs.
pub struct Entry<'a> {
    pub tenant: &'a TenantId,
    pub effects: &'a Effects,
    pub leg: usize,
    pub transfer: &'a Transfer,
    pub at: Timestamp,
    pub date: Date,
    pub payee_name: Option<&'a str>,
    pub papers: &'a Papers,
    pub debit: &'a str,
    pub credit: &'a str,
    pub commodity: &'a Commodity,
}

/// The transfers of a record that moved money, with their places in it. A pending one is a promise and a void one takes a
/// promise back: neither is money, so neither is in an export.
pub fn posted(effects: &Effects) -> impl Iterator<Item = (usize, &Transfer)> {
    effects.transfers.iter().enumerate().filter(|(_, transfer)| transfer.layer == Layer::Posted)
}

/// Whom a record's purchase or sale names as the one who is paid.
pub fn payee(effects: &Effects) -> Option<&PayeeId> {
    let spend = effects.spend.as_ref().map(|spend| &spend.payee);
    spend.or_else(|| effects.settlement.as_ref().map(|settlement| &settlement.payee))
}

impl Entry<'_> {
    pub fn payee(&self) -> Option<&str> {
        payee(self.effects).map(PayeeId::as_str)
    }

    pub fn pay_to(&self) -> Option<&str> {
        let spend = self.effects.spend.as_ref().map(|spend| &spend.pay_to);
        spend.or_else(|| self.effects.settlement.as_ref().map(|settlement| &settlement.pay_to)).map(String::as_str)
    }

    pub fn network(&self) -> Option<&str> {
        let spend = self.effects.spend.as_ref().map(|spend| &spend.authorization);
        let found = spend.or_else(|| self.effects.settlement.as_ref().map(|settlement| &settlement.key.authorization));
        found.map(|authorization| authorization.chain())
    }

    pub fn spend(&self) -> Option<String> {
        self.effects.spend.as_ref().map(|spend| spend.id.to_string())
    }

    pub fn mandate(&self) -> Option<String> {
        self.effects.spend.as_ref().map(|spend| spend.budget.to_string())
    }

    pub fn rate(&self) -> Option<String> {
        self.effects.spend.as_ref().and_then(|spend| spend.rate).map(|rate| rate.to_string())
    }

    /// The rail's transaction: the one that was seen, before one that somebody only reported.
    pub fn reference(&self) -> Option<&str> {
        let fact = match &self.effects.fact {
            Some(Fact::Seen(seen)) => Some(&seen.transaction),
            Some(Fact::Canceled(reference) | Fact::Reverted(reference)) => Some(reference),
            Some(Fact::TakenBack(proof)) => Some(&proof.transaction),
            Some(Fact::Unused(_) | Fact::Reference(_)) | None => None,
        };
        let spend = || self.effects.spend.as_ref().and_then(|spend| spend.transaction.as_ref());
        let settlement = || self.effects.settlement.as_ref().and_then(|settlement| settlement.transaction.as_ref());
        fact.or_else(spend).or_else(settlement).map(|reference| reference.as_str())
    }

    /// On the one leg that pays, so that whoever adds up has each tax once; less where a payment was taken back.
    pub fn tax(&self) -> Option<Tax> {
        match self.transfer.code {
            TransferCode::Settle => self.papers.tax.clone(),
            TransferCode::Unsettle => self.papers.tax.as_ref().map(Tax::taken_back),
            _ => None,
        }
    }

    pub fn is_gas(&self) -> bool {
        self.transfer.code == TransferCode::Gas
    }

    pub fn amount(&self) -> String {
        self.commodity.scale.text(self.transfer.amount)
    }

    /// What was done, and why money was written.
    pub fn narration(&self) -> String {
        format!("{}: {}", self.effects.operation, self.transfer.code)
    }

    /// Beside date, payee, narration and legs; what is not there is left out.
    pub fn facts(&self) -> Vec<(&'static str, String)> {
        let (caller, tax) = (&self.effects.caller, self.tax());
        let owned = |text: Option<&str>| text.map(str::to_owned);
        let facts = [
            ("seq", Some(self.effects.seq.to_string())),
            ("leg", Some(self.leg.to_string())),
            ("at", Some(self.at.to_string())),
            ("operation", Some(self.effects.operation.to_string())),
            ("code", Some(self.transfer.code.to_string())),
            ("spend", self.spend()),
            ("mandate", self.mandate()),
            ("payee-id", owned(self.payee())),
            ("pay-to", owned(self.pay_to())),
            ("reference", owned(self.reference())),
            ("network", owned(self.network())),
            ("rate", self.rate()),
            ("cost-centre", self.papers.cost_centre.clone()),
            ("tax", tax.as_ref().map(|tax| format!("{} {}", tax.total, tax.currency))),
            ("tax-lines", tax.as_ref().map(Tax::lines_text)),
            ("caller", Some(format!("{}/{}", caller.kind, caller.principal))),
        ];
        facts.into_iter().filter_map(|(name, value)| value.map(|value| (name, value))).collect()
    }
}

/// What one account has of one asset; debits are above zero.
pub struct Standing<'a> {
    pub account: &'a str,
    pub commodity: &'a Commodity,
    pub net: Net,
}

impl Standing<'_> {
    pub fn amount(&self) -> String {
        match self.net {
            Net::Positive(amount) => self.commodity.scale.text(amount),
            Net::Negative(amount) => format!("-{}", self.commodity.scale.text(amount)),
        }
    }
}
