//! The answer of a person: by their token, or signed by their passkey over exactly what they were shown.

use ledger::budget::BudgetKind;
use ledger::command::{Command, OpenBudget};
use ledger::decision::{Answer, Decision, DecisionState};
use ledger::id::{CallerKind, DecisionId, Digest};
use ledger::rejection::Rejection;
use ledger::store::Document;
use mandates::json::Object;
use mandates::webauthn::{self, Assertion, Expected, PasskeyCode, PasskeyKey};

use super::signed::{SignedApproval, user_handle};
use super::wallet::Signed;
use super::{Approval, IntentDocument, MANDATE_TYPE, MandateRecord, Question, caps, fiat, forbidden, to_document};
use crate::error::EngineError;
use crate::tenant::ApprovalRule;
use crate::token::Token;
use crate::{Engine, Identity};

/// How a question stands for the person who looks at it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    Open,
    /// What it says of agent or payees is not so any more.
    Changed,
    Expired,
    /// Approved, and the process ended before the mandate was opened.
    Unopened,
    Approved,
    Denied,
}

/// What came with an answer.
#[derive(Default)]
struct Beside<'a> {
    /// The passkey's signature.
    signed: Option<Document>,
    /// The wallet's.
    presentation: Option<&'a Object>,
}

impl Engine {
    pub fn standing_of(&self, identity: &Identity, approval: &Approval) -> Result<Standing, EngineError> {
        let decision = &approval.decision;
        Ok(match decision.state {
            DecisionState::Denied => Standing::Denied,
            // Not a question.
            DecisionState::InReview | DecisionState::Confirmed | DecisionState::Disputed | DecisionState::Overdue => {
                return Err(EngineError::NotFound { what: "approval", id: decision.id.to_string() });
            }
            DecisionState::Approved if decision.opened.is_some() => Standing::Approved,
            // An approval of a payment opens nothing: the payment itself comes through.
            DecisionState::Approved if !approval.document.opens() => Standing::Approved,
            DecisionState::Approved => Standing::Unopened,
            DecisionState::Pending if self.clock.now() >= decision.expires_at => Standing::Expired,
            DecisionState::Pending => match approval.document.check_unchanged(&*self.tenant(&identity.tenant)?) {
                Ok(()) => Standing::Open,
                Err(EngineError::QuestionChanged { .. } | EngineError::NotFound { .. }) => Standing::Changed,
                Err(error) => return Err(error),
            },
        })
    }

    /// The answer of the person. What they saw is named by its digest; any other is refused. To refuse takes no passkey,
    /// whatever the tenant demands. With the wallet's answer to [`Engine::delegation`] it is the wallet that signs the mandate.
    pub async fn decide(
        &self,
        identity: &Identity,
        id: DecisionId,
        subject: Digest,
        answer: Answer,
        presentation: Option<&Object>,
    ) -> Result<Approval, EngineError> {
        if answer == Answer::Deny && presentation.is_some() {
            return Err(EngineError::invalid("presentation", "nothing beside a denial", "a wallet's"));
        }
        // Whoever may not decide at all hears that first.
        let is_person = identity.caller.kind == CallerKind::User;
        if is_person && answer == Answer::Approve && self.demands_passkey(identity, id).await? {
            return Err(EngineError::PasskeyRequired { tenant: identity.tenant.to_string() });
        }
        // Anybody else has nothing to present, and hears of the book that they decide nothing.
        let presentation = presentation.filter(|_| is_person);
        self.answer(identity, id, subject, answer, Beside { presentation, ..Beside::default() }).await
    }

    /// The tenant does for every question, the policy for some.
    async fn demands_passkey(&self, identity: &Identity, id: DecisionId) -> Result<bool, EngineError> {
        if self.tenant(&identity.tenant)?.approval == ApprovalRule::Passkey {
            return Ok(true);
        }
        match self.store.decision(&identity.tenant, id).await?.filter(|found| !found.state.is_review()) {
            Some(decision) => Ok(self.question(&identity.tenant, decision.subject).await?.demands_passkey()),
            None => Ok(false),
        }
    }

    /// An approval whose challenge was the digest of the document. The assertion is used up by it: the question is
    /// answered once, and the key's counter has moved.
    pub async fn approve_signed(
        &self,
        identity: &Identity,
        id: DecisionId,
        subject: Digest,
        given: &Assertion,
        presentation: Option<&Object>,
    ) -> Result<Approval, EngineError> {
        if identity.caller.kind != CallerKind::User {
            return Err(forbidden("a person", identity));
        }
        let pages = self.pages()?;
        let approval = self.approval(identity, id).await?;
        self.check_approvable(identity, &approval, subject)?;
        let party = pages.party()?;
        let found = pages.approvers.passkey(&given.credential).await?;
        let principal = &identity.caller.principal;
        let passkey = found.filter(|found| found.tenant == identity.tenant && found.principal == *principal);
        let passkey = passkey.ok_or_else(|| EngineError::PasskeyUnknown { principal: principal.to_string() })?;
        let key = PasskeyKey::from_cose(&passkey.key)?;
        let handle = user_handle(identity.tenant.as_str(), principal);
        let expected =
            Expected { party, challenge: subject.0, key: &key, sign_count: passkey.sign_count, user_handle: &handle.0 };
        let asserted = webauthn::assertion(&expected, given)?;
        if !pages.approvers.count(&passkey.credential, passkey.sign_count, asserted.sign_count()).await? {
            let detail = "an assertion that came once was expected, this one came twice".to_owned();
            return Err(webauthn::Refused { code: PasskeyCode::CountStale, detail }.into());
        }
        let signed = SignedApproval::new(id, party, &key, passkey.sign_count, given);
        let signed = to_document("approval", &signed)?;
        let beside = Beside { signed: Some(signed), presentation };
        self.answer(identity, id, subject, Answer::Approve, beside).await
    }

    /// Before anything of a key is used up: whether it could be approved at all.
    pub fn check_approvable(
        &self,
        identity: &Identity,
        approval: &Approval,
        subject: Digest,
    ) -> Result<(), EngineError> {
        let decision = &approval.decision;
        if decision.approver != identity.caller.principal {
            let (expected, found) = (decision.approver.to_string(), identity.caller.principal.to_string());
            return Err(EngineError::Book(Rejection::NotYourDecision { expected, found }));
        }
        if decision.subject != subject {
            let (expected, found) = (decision.subject, subject);
            return Err(EngineError::Book(Rejection::DecisionSubjectWrong { expected, found }));
        }
        // An approval whose mandate was not opened is given again: the process ended in between.
        let is_over = decision.state == DecisionState::Denied || decision.opened.is_some();
        if is_over || !approval.document.opens() && decision.state != DecisionState::Pending {
            let (expected, found) = (DecisionState::Pending.to_string(), decision.state.to_string());
            return Err(EngineError::Book(Rejection::DecisionStateWrong { decision: decision.id, expected, found }));
        }
        if decision.state != DecisionState::Pending {
            return Ok(());
        }
        let now = self.clock.now();
        if now >= decision.expires_at {
            let (expires_at, now) = (decision.expires_at.seconds(), now.seconds());
            return Err(EngineError::Book(Rejection::DecisionExpired { decision: decision.id, expires_at, now }));
        }
        approval.document.check_unchanged(&*self.tenant(&identity.tenant)?)
    }

    async fn answer(
        &self,
        identity: &Identity,
        id: DecisionId,
        subject: Digest,
        answer: Answer,
        beside: Beside<'_>,
    ) -> Result<Approval, EngineError> {
        self.check_acts(identity)?;
        if answer == Answer::Approve
            && let Some(asked) = self.store.decision(&identity.tenant, id).await?
            && asked.state == DecisionState::Pending
            && asked.subject == subject
        {
            let question = self.question(&identity.tenant, subject).await?;
            question.check_unchanged(&*self.tenant(&identity.tenant)?)?;
        }
        let by_wallet = match beside.presentation {
            Some(presentation) => Some(self.signed_by_wallet(identity, id, subject, presentation).await?),
            None => None,
        };
        let signed = beside.signed;
        let evidence = signed.as_ref().map(Document::digest);
        let command = Command::Decide { decision: id, subject, answer, evidence };
        let answered = self.run(identity, command, signed.iter().cloned().collect()).await?;
        let decision = answered.decision.ok_or_else(|| EngineError::Broken("an answer without a row".into()))?;
        if decision.state == DecisionState::Approved
            && decision.opened.is_none()
            && let Question::Intent(document) = self.question(&identity.tenant, decision.subject).await?
        {
            let signed = signed.map(|signed| (signed, answered.seq));
            self.open_mandate(identity, &document, &decision, signed, by_wallet).await?;
        }
        let found = self.store.decision(&identity.tenant, id).await?;
        self.show(identity, found.unwrap_or(decision)).await
    }

    /// Signs both mandates, unless the wallet has, and opens the node; the approval is used up in the same unit.
    async fn open_mandate(
        &self,
        identity: &Identity,
        document: &IntentDocument,
        decision: &Decision,
        signed: Option<(Document, Option<u64>)>,
        by_wallet: Option<Signed>,
    ) -> Result<(), EngineError> {
        let tenant = self.tenant(&identity.tenant)?;
        let tenant = tenant.as_ref();
        let (parent, above) = match &document.standing {
            None => (self.open_person(tenant, &document.user, &document.currency).await?, None),
            Some(standing) => (standing.under, Some(self.mandate(identity, standing.under).await?)),
        };
        let Signed { minted, issuer_key } = match by_wallet {
            Some(signed) => signed,
            None => {
                let minted = self.mint(tenant, document, decision.asked, above.as_ref()).await?;
                Signed { minted, issuer_key: None }
            }
        };
        let record = MandateRecord {
            r#type: MANDATE_TYPE.into(),
            decision: document.decision,
            user: document.user.clone(),
            agent: document.agent.clone(),
            agent_key: document.agent_key.clone(),
            currency: document.currency.clone(),
            cart: document.cart,
            payment: Token::Signed(minted.payment),
            checkout: Token::Signed(minted.checkout),
            expires_at: document.expires_at,
            line: Vec::new(),
            cost_centre: document.cost_centre.clone(),
            approval: signed.as_ref().map(|(signed, _)| signed.digest()),
            answered: signed.as_ref().and_then(|(_, answered)| *answered),
            issuer_key,
        };
        let stored = to_document("mandate", &record)?;
        let open = OpenBudget {
            id: minted.identity,
            parent: Some(parent),
            kind: BudgetKind::Mandate,
            holder: document.agent.clone(),
            asset: fiat(&document.currency)?,
            caps: caps(document)?,
            decision: Some(document.decision),
            document: Some(stored.digest()),
        };
        let documents = signed.map(|(signed, _)| signed).into_iter().chain([stored]).collect();
        match self.run(identity, Command::OpenBudget(open), documents).await {
            // Answered twice at once: the other one has opened it.
            Err(EngineError::Book(Rejection::ApprovalRequired { .. })) | Ok(_) => {}
            Err(error) => return Err(error),
        }
        match &document.standing {
            Some(standing) => self.answer_beside(identity, standing).await,
            None => Ok(()),
        }
    }
}
