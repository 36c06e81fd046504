//! The evidence of a spend: one file with everything that was signed, decided, seen and written, that verifies offline.

mod allowed;
mod check;

use ledger::decision::Decision;
use ledger::effects::Operation;
use ledger::id::{BudgetId, DecisionId, Digest, PrincipalId, SpendId};
use ledger::money::Amount;
use ledger::spend::{Spend, SpendState};
use ledger::store::JournalEntry;
use mandates::base64url;
use mandates::json::Object;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use x402::permit2::pledge::Pledge;
use x402::select::{HoldLimits, Offer, Wallet, screen};
use x402::wire::{PaymentPayload, PaymentRequired};

pub use self::allowed::Allowed;
pub use self::check::{Finding, check, not_proved};
use crate::closing::Addressee;
use crate::consent::MandateRecord;
use crate::error::EngineError;
use crate::rate::Peg;
use crate::ruling::Ruled;
use crate::tenant::Tenant;
use crate::token::Delegator;
use crate::vault;
use crate::{Engine, Identity};

pub const BUNDLE_TYPE: &str = "purser.spend-evidence/1";
pub const FILE_TYPE: &str = "purser.evidence/1";

/// What was known when the money was held; its digest stands in the journal.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Bundle {
    pub r#type: String,
    pub request: Digest,
    pub mandate: BudgetId,
    pub decision: DecisionId,
    pub agent: PrincipalId,
    /// Through whose hands the mandate came, from the agent that asked the person on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub line: Vec<Delegator>,
    /// The closed payment mandate with its whole chain.
    pub chain: String,
    pub audience: String,
    pub cart: Option<String>,
    pub merchant_keys: Option<Vec<Object>>,
    pub rail: Rail,
    pub payee: Object,
    /// Units of authority debited, in `currency`.
    pub authority: Amount,
    pub currency: String,
    pub rate: Option<Peg>,
    /// The verifier's checks at that time, each as it reported it.
    pub checks: Vec<String>,
    /// What the tenant's policy said; none where there was no policy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<Ruled>,
}

/// What was asked for and agreed to, as its rail has it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rail {
    X402(Offered),
    Mandate(Presented),
    Vault(Box<vault::Allowed>),
}

/// The 402, and which of its offers was taken.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Offered {
    pub payment_required: PaymentRequired,
    pub method: String,
    pub offer: Digest,
    /// What is signed beside it so that Permit2 may move the token, where it may not yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pledge: Option<Pledge>,
}

/// What was closed for whom.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Presented {
    pub verifier: Addressee,
    /// The merchant, where it got the checkout mandate.
    pub merchant: Option<Addressee>,
    /// The members of the closed payment mandate.
    pub payment: Object,
    /// What the verifier's receipts verified with then: a JWK set.
    pub keys: Object,
}

/// A journal record, openable: salt and bytes give the leaf.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Record {
    pub seq: u64,
    /// Base64url of the canonical bytes.
    pub bytes: String,
    /// Hexadecimal.
    pub salt: String,
    pub leaf: Digest,
}

/// The file. `bundle` and `decision` are the stored texts themselves: their digests are what was recorded.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct EvidenceFile {
    pub r#type: String,
    pub tenant: String,
    pub spend: SpendId,
    pub state: String,
    pub transaction: Option<String>,
    pub bundle: String,
    pub decision: String,
    /// Where a passkey signed the decision: the stored text of that, and the record of the answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approval: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answered: Option<Record>,
    /// The policy that judged it, in its canonical form, and who allowed this very payment where it had asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allowed: Vec<Allowed>,
    pub payload: Option<PaymentPayload>,
    /// What was given to the verifier of the payment mandate, and what they answered: the stored texts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub papers: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub receipt: Option<String>,
    /// What they answered afterwards, where it was the opposite.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub contradiction: Option<String>,
    /// The seller's signed receipt as it came with its answer, and what was found of it then: the stored text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sellers_receipt: Option<String>,
    pub records: Vec<Record>,
    pub journal_entries: u64,
    pub journal_root: Digest,
    /// The keys under which the mandate's root verifies, as the issuer states them. A verifier brings its own.
    pub issuer_keys: Object,
}

impl Bundle {
    /// Written before there were two rails it has the members of the 402 among its own.
    pub fn parse(text: &str) -> Result<Self, serde_json::Error> {
        let mut bundle: Object = serde_json::from_str(text)?;
        if !bundle.contains_key("rail") {
            let members = ["payment_required", "method", "offer"].into_iter();
            let offered: Object =
                members.filter_map(|name| bundle.remove(name).map(|value| (name.to_owned(), value))).collect();
            let rail = Object::from_iter([("x402".to_owned(), offered.into())]);
            bundle.insert("rail".to_owned(), rail.into());
        }
        serde_json::from_value(bundle.into())
    }
}

impl Engine {
    pub(crate) async fn bundle(&self, identity: &Identity, spend: &Spend) -> Result<Bundle, EngineError> {
        let text = self.document_text(identity, spend.evidence).await?;
        Bundle::parse(&text).map_err(|error| EngineError::Broken(format!("evidence cannot be read: {error}")))
    }

    pub(crate) async fn document_text(&self, identity: &Identity, digest: Digest) -> Result<String, EngineError> {
        let document = self.store.document(&identity.tenant, digest).await?;
        let document = document.ok_or(EngineError::Erased { what: "the evidence", digest })?;
        String::from_utf8(document.bytes).map_err(|_| EngineError::Broken(format!("document {digest} is no text")))
    }

    pub async fn evidence(&self, identity: &Identity, id: SpendId) -> Result<EvidenceFile, EngineError> {
        let spend = self.own_spend(identity, id).await?;
        let tenant = self.tenant(&identity.tenant)?;
        let bundle_text = self.document_text(identity, spend.evidence).await?;
        let bundle = self.bundle(identity, &spend).await?;
        let decision = self.store.decision(&identity.tenant, bundle.decision).await?;
        let decision = decision.ok_or_else(|| EngineError::Broken("a mandate without its decision".into()))?;
        let payload = match (&bundle.rail, spend.state) {
            (_, SpendState::Held | SpendState::Voided | SpendState::Expired)
            | (Rail::Mandate(_) | Rail::Vault(_), _) => None,
            (Rail::X402(offered), _) => Some(self.payload_again(identity, &tenant, offered, &spend).await?),
        };
        let papers = self.text_named(identity, id, &[Operation::Submit]).await?;
        let receipt =
            self.text_named(identity, id, &[Operation::Settle, Operation::Release, Operation::Answer]).await?;
        let contradiction = self.text_named(identity, id, &[Operation::Misspend]).await?;
        let sellers_receipt = self.text_named(identity, id, &[Operation::Attest]).await?;
        let found = self.store.records_of_spend(&identity.tenant, id).await?;
        let records = found.into_iter().map(|(entry, _)| opened(&tenant, entry)).collect();
        let root = self.root_record(identity, &decision).await?;
        let (approval, answered) = self.approval_of(identity, &tenant, root.as_ref()).await?;
        let (policy, allowed) = match &bundle.policy {
            Some(ruled) => (
                Some(self.document_text(identity, ruled.digest).await?),
                self.allowed(identity, &tenant, ruled, spend.hold.seq).await?,
            ),
            None => (None, Vec::new()),
        };
        let (journal_entries, journal_root) = self.store.head(&identity.tenant).await?;
        Ok(EvidenceFile {
            r#type: FILE_TYPE.into(),
            tenant: identity.tenant.to_string(),
            spend: id,
            state: spend.state.to_string(),
            transaction: spend.transaction.as_ref().map(ToString::to_string),
            bundle: bundle_text,
            decision: self.document_text(identity, decision.subject).await?,
            approval,
            answered,
            policy,
            allowed,
            payload,
            papers,
            receipt,
            contradiction,
            sellers_receipt,
            records,
            journal_entries,
            journal_root,
            issuer_keys: issuer_keys(&tenant, root.as_ref()),
        })
    }

    /// What the decision opened.
    async fn root_record(
        &self,
        identity: &Identity,
        decision: &Decision,
    ) -> Result<Option<MandateRecord>, EngineError> {
        let Some(opened_by_it) = decision.opened else { return Ok(None) };
        let budget = self.store.budget(&identity.tenant, opened_by_it).await?;
        let Some(document) = budget.and_then(|budget| budget.document) else { return Ok(None) };
        let record = serde_json::from_str(&self.document_text(identity, document).await?);
        record.map(Some).map_err(|error| EngineError::Broken(format!("a mandate cannot be read: {error}")))
    }

    /// What a passkey signed of it, and the record of the answer; nothing where a token was enough.
    async fn approval_of(
        &self,
        identity: &Identity,
        tenant: &Tenant,
        root: Option<&MandateRecord>,
    ) -> Result<(Option<String>, Option<Record>), EngineError> {
        let Some(record) = root else { return Ok((None, None)) };
        let Some(approval) = record.approval else { return Ok((None, None)) };
        let text = self.document_text(identity, approval).await?;
        let answered = match record.answered {
            Some(seq) => self.store.records(&identity.tenant, seq, 1).await?.into_iter().next(),
            None => None,
        };
        Ok((Some(text), answered.map(|(entry, _)| opened(tenant, entry))))
    }

    async fn text_named(
        &self,
        identity: &Identity,
        spend: SpendId,
        operations: &[Operation],
    ) -> Result<Option<String>, EngineError> {
        match self.reference(identity, spend, operations).await? {
            Some(digest) => Ok(Some(self.document_text(identity, digest).await?)),
            None => Ok(None),
        }
    }

    async fn payload_again(
        &self,
        identity: &Identity,
        tenant: &Tenant,
        offered: &Offered,
        spend: &Spend,
    ) -> Result<PaymentPayload, EngineError> {
        self.presentable(identity, tenant, &self.offer_taken(offered)?, spend).await
    }

    /// Which of the offers of a 402 was taken, whatever the wallet would take now.
    pub(crate) fn offer_taken(&self, offered: &Offered) -> Result<Offer, EngineError> {
        let wallet = Wallet::new(&self.assets).with_holds(HoldLimits::ANY).with_channels(u64::MAX);
        let screened = screen(&offered.payment_required, &offered.method, wallet)?;
        let offer = screened.offers.into_iter().find(|offer| Digest(offer.digest()) == offered.offer);
        offer.ok_or_else(|| EngineError::Broken("the offer of a spend is not in its 402".into()))
    }
}

/// Ours, and of the credential that a wallet signed with.
fn issuer_keys(tenant: &Tenant, root: Option<&MandateRecord>) -> Object {
    let mut jwks = tenant.roots.to_jwks();
    let theirs = root.and_then(|record| record.issuer_key.clone());
    if let (Some(Value::Array(keys)), Some(key)) = (jwks.get_mut("keys"), theirs) {
        // A kid names one key of a set, and ours come first.
        if keys.iter().all(|known| known.get("kid") != key.get("kid")) {
            keys.push(Value::Object(key));
        }
    }
    jwks
}

/// A record with the salt that opens its leaf.
fn opened(tenant: &Tenant, entry: JournalEntry) -> Record {
    Record {
        seq: entry.seq,
        bytes: base64url::encode(&entry.bytes),
        salt: hex::encode(tenant.salt.salt(entry.seq)),
        leaf: entry.leaf,
    }
}
