//! What a question rests upon that the configuration says, and whether it says so still.

use mandates::json::Object;
use serde::{Deserialize, Serialize};

use super::{IntentDocument, MerchantText, agent_of};
use crate::error::EngineError;
use crate::ruling::standing;
use crate::tenant::Tenant;

/// What the registry has of a payee that a question names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PayeeOnRecord {
    pub merchant: String,
    /// RFC 7638 thumbprints of the keys that it signs carts with.
    pub keys: Vec<String>,
    /// `network:address`.
    pub pay_to: Vec<String>,
}

/// Of those named, the ones on record; in the order of the question.
pub(crate) fn on_record(tenant: &Tenant, named: Option<&[MerchantText]>) -> Vec<PayeeOnRecord> {
    let known = named.unwrap_or_default().iter().filter_map(|named| tenant.payees.merchant(&named.id));
    let record = known.map(|payee| {
        let mut keys: Vec<String> = payee.keys.iter().map(mandates::keys::PublicKey::thumbprint).collect();
        let by_network = payee.pay_to.iter();
        let mut pay_to: Vec<String> = by_network
            .flat_map(|(network, addresses)| addresses.iter().map(move |address| format!("{network}:{address}")))
            .collect();
        keys.sort_unstable();
        pay_to.sort_unstable();
        PayeeOnRecord { merchant: payee.merchant.id.clone(), keys, pay_to }
    });
    record.collect()
}

/// Whether what the document says of agent and payees is what is known of them now. Where it is not, the person would
/// sign something else than what would come of it: it is asked again.
pub fn check_unchanged(tenant: &Tenant, document: &IntentDocument) -> Result<(), EngineError> {
    if document.answer_by.is_none() {
        // Of before these things stood in it.
        return Ok(());
    }
    let shown = |what: &Object| serde_json::Value::from(what.clone()).to_string();
    let build = agent_of(tenant, &document.agent)?.build;
    if build != document.agent_build {
        let text =
            |build: &Option<ledger::origin::Build>| build.map_or_else(|| "none".into(), |build| build.to_string());
        let (expected, found) = (text(&document.agent_build), text(&build));
        return Err(EngineError::QuestionChanged { what: "the agent's build", expected, found });
    }
    let now = on_record(tenant, document.payees.as_deref());
    if now != document.on_record {
        let text = |records: &[PayeeOnRecord]| {
            let entry = |record: &PayeeOnRecord| {
                (record.merchant.clone(), format!("{} {}", record.keys.join(" "), record.pay_to.join(" ")).into())
            };
            shown(&records.iter().map(entry).collect())
        };
        let (expected, found) = (text(&document.on_record), text(&now));
        return Err(EngineError::QuestionChanged { what: "the record of a payee", expected, found });
    }
    match &document.standing {
        Some(standing) => standing::check_unchanged(tenant, document, standing),
        None => Ok(()),
    }
}
