//! The one door to a hold: a payment under the tenant's policy, whichever rail it goes.
//!
//! 1. What is about to be signed becomes facts; nothing that an agent says is among them.
//! 2. The policy judges. Without one everything goes on as the mandate allows.
//! 3. What is denied ends here. What has to be asked for becomes a question to each approver ([`question`]), and the
//!    payment ends here with `pending_approval`; the same payment comes through when they have allowed it, once.
//! 4. Digest, version and rules are written into the evidence, whose digest the hold's record carries.
//! 5. What somebody is to look at later is put into their queue by the hold itself ([`crate::review`]).
//!
//! A payment that is in the book was judged when it was held: its retries are not judged again.

pub mod asked;
pub mod question;
pub mod simulate;
pub mod standing;

use ledger::account::Account;
use ledger::command::{Command, Hold, Request};
use ledger::id::{BudgetId, DecisionId, Digest, Micros, PayeeId, PrincipalId, TenantId};
use ledger::spend::Spend;
use ledger::store::{Document, Work};
use policy::{Facts, Judgement, Look, Overdue, Policy, Verdict};
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

use self::standing::Stood;
use crate::autonomy::Stood as StoodOnLadder;
use crate::consent::{MandateView, to_document};
use crate::error::EngineError;
use crate::evidence::{Bundle, Rail};
use crate::rate::authority_to_major;
use crate::review;
use crate::ruling::question::PaymentTerms;
use crate::tenant::Tenant;
use crate::{Engine, Identity};

/// What the canonical form of a policy is kept as, beside the payments that it judged.
const POLICY: &str = "policy";
/// In the place of a digest that [`Engine::reserve`] sets.
pub(crate) const UNSET: Digest = Digest([0; 32]);
const SAMPLE_TAG: &str = "purser/policy-sample/1";

/// How a policy judged a payment, in its evidence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ruled {
    pub version: String,
    /// SHA-256 of its canonical form, which is a document of the book.
    pub digest: Digest,
    /// The verb that decided.
    pub verb: String,
    /// Whose it was; none where no rule fired.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// Every rule that fired.
    pub fired: Vec<String>,
    pub first_payment: bool,
    /// Whether it is one of those that are looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sampled: Option<bool>,
    /// Until when somebody is to look at it, in Unix seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub review_until: Option<i64>,
    /// What becomes of it where nobody does.
    #[serde(default, skip_serializing_if = "Overdue::is_notify")]
    pub overdue: Overdue,
    /// Where its agent stood on the ladder, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stood: Option<StoodOnLadder>,
    /// By which approval beforehand it passed, where the policy had asked otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub standing: Option<standing::Stood>,
    /// Who allowed this very payment.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub approvals: Vec<Approved>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Approved {
    pub decision: DecisionId,
    pub approver: PrincipalId,
    /// The document that they were shown.
    pub question: Digest,
}

/// A payment before it is held.
pub(crate) struct Reservation<'a> {
    pub tenant: &'a Tenant,
    pub view: &'a MandateView,
    /// Its `evidence` is set here.
    pub hold: Hold,
    pub bundle: Bundle,
    /// What becomes durable beside the evidence.
    pub documents: Vec<Document>,
}

impl Ruled {
    fn new(policy: &Policy, judged: Judgement, first_payment: bool) -> Self {
        Self {
            version: policy.version.clone(),
            digest: policy.digest(),
            verb: judged.verb.to_owned(),
            rule: judged.decided_by,
            fired: judged.fired,
            first_payment,
            sampled: None,
            review_until: None,
            overdue: Overdue::Notify,
            stood: None,
            standing: None,
            approvals: Vec::new(),
        }
    }

    fn put(&mut self, look: Look, now: Micros) {
        self.review_until = Some(now.seconds().saturating_add(look.seconds.into()));
        self.overdue = look.overdue;
    }
}

impl Engine {
    /// Holds what the policy lets through. Returns what is held, and the evidence as it was written down first.
    pub(crate) async fn reserve(
        &self,
        identity: &Identity,
        mut reservation: Reservation<'_>,
    ) -> Result<(Spend, Bundle), EngineError> {
        reservation.bundle.policy = self.rule(identity, &reservation).await?;
        if let Some((review, document)) = review::put(&reservation)? {
            reservation.hold.review = Some(review);
            reservation.documents.push(document);
        }
        let Reservation { tenant, mut hold, bundle, mut documents, .. } = reservation;
        let document = to_document("spend-evidence", &bundle)?;
        let evidence = document.digest();
        hold.evidence = evidence;
        documents.push(document);
        if let Some(policy) = &tenant.policy {
            documents.push(Document { kind: POLICY.into(), bytes: policy.canonical().as_bytes().to_vec() });
        }
        // Held and committed in one unit. A vault token is committed when its merchant redeems it.
        let then = match bundle.rail {
            Rail::X402(_) | Rail::Mandate(_) => Some(Command::Commit { spend: hold.spend }),
            Rail::Vault(_) => None,
        };
        let request = Request { caller: identity.caller.clone(), command: Command::Hold(Box::new(hold)) };
        let answer = self.store.run(&identity.tenant, Work { request, documents, then }).await?;
        let held = answer.spend.ok_or_else(|| EngineError::Broken("a hold without a spend".into()))?;
        // Another call with this key came first: what it wrote down is what is signed.
        let bundle = if held.evidence == evidence { bundle } else { self.bundle(identity, &held).await? };
        Ok((held, bundle))
    }

    async fn rule(&self, identity: &Identity, it: &Reservation<'_>) -> Result<Option<Ruled>, EngineError> {
        let Reservation { tenant, hold, bundle, .. } = it;
        let Some(policy) = &tenant.policy else { return Ok(None) };
        let now = self.clock.now();
        let is_first = !self.has_signed_to(&tenant.id, &hold.payee).await?;
        let climb = self.climb(identity, it).await?;
        let facts = Facts {
            rail: rail_of(&bundle.rail),
            currency: &bundle.currency,
            amount: major(bundle)?,
            payee: &hold.payee,
            agent: &bundle.agent,
            build: identity.caller.build,
            mandates: &mandates_of(bundle),
            at: now,
            is_first,
            is_vouched: hold.pin.is_none() || !is_first,
            standing: climb.as_ref().map(|climb| climb.standing).unwrap_or_default(),
        };
        let judged = policy.judge(&facts).map_err(|fault| EngineError::Broken(fault.to_string()))?;
        let verdict = judged.verdict.clone();
        let mut ruled = Ruled::new(policy, judged, is_first);
        if let Some(climb) = &climb {
            ruled.stood = Some(climb.stood());
            // No payment waits for it, or fails with it.
            if let Err(error) = self.propose_step(climb).await {
                tracing::info!(spend = %hold.spend, code = error.code(), "no step is proposed: {error}");
            }
        }
        match verdict {
            Verdict::Allow => {}
            Verdict::Sample(rate, look) => {
                let is_taken = rate.takes(&tenant.secret.seal(SAMPLE_TAG, &hold.spend.0));
                ruled.sampled = Some(is_taken);
                if is_taken {
                    ruled.put(look, now);
                }
            }
            Verdict::Review(look) => ruled.put(look, now),
            Verdict::Ask(asking) => {
                let terms = PaymentTerms::new(it, &ruled, &asking, identity.caller.build)?;
                match self.standing_for(tenant, &terms).await? {
                    Some(stood) if stood.mandate == terms.mandate => ruled.standing = Some(stood),
                    Some(Stood { mandate, .. }) => {
                        return Err(EngineError::StandingMandate { mandate, found: terms.mandate });
                    }
                    None => ruled.approvals = self.allowed_by(identity, tenant, &terms, &asking).await?,
                }
            }
            Verdict::Deny => {
                let rule = ruled.rule.unwrap_or_default();
                tracing::info!(spend = %hold.spend, %rule, policy = %ruled.digest, "the policy denies a payment");
                return Err(EngineError::PolicyDenied { rule, version: ruled.version, digest: ruled.digest });
            }
        }
        Ok(Some(ruled))
    }

    /// Whether anything was ever signed for this payee, or captured: a cheque is drawn on what is owed to it.
    async fn has_signed_to(&self, tenant: &TenantId, payee: &PayeeId) -> Result<bool, EngineError> {
        let account = Account::Payable(payee.clone());
        // In the order of their names: those of one name stand behind its name without an asset.
        let mut after = (account.to_string(), String::new());
        loop {
            let page = self.store.balances_after(tenant, Some(&after), 16).await?;
            let own: Vec<_> = page.iter().take_while(|row| row.account == account).collect();
            if own.iter().any(|row| !row.balance.debit_posted.is_zero() || !row.balance.credit_posted.is_zero()) {
                return Ok(true);
            }
            match page.last() {
                Some(last) if own.len() == page.len() => after = (last.account.to_string(), last.asset.to_string()),
                _ => return Ok(false),
            }
        }
    }
}

pub(crate) const fn rail_of(rail: &Rail) -> policy::Rail {
    match rail {
        Rail::X402(_) => policy::Rail::X402,
        Rail::Mandate(_) => policy::Rail::Ap2,
        Rail::Vault(_) => policy::Rail::Acp,
    }
}

/// The mandate that is paid under, then those that it was handed on from.
pub(crate) fn mandates_of(bundle: &Bundle) -> Vec<BudgetId> {
    std::iter::once(bundle.mandate).chain(bundle.line.iter().map(|by| by.mandate)).collect()
}

/// What is debited, exact, in major units.
pub(crate) fn major(bundle: &Bundle) -> Result<Decimal, EngineError> {
    let text = authority_to_major(bundle.authority, &bundle.currency)?;
    let overflow = |_| EngineError::Rate(crate::rate::RateError::Overflow(bundle.authority));
    Decimal::from_str_exact(&text).map_err(overflow)
}
