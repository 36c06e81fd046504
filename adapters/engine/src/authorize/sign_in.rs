//! A 402 whose seller lets whoever paid come back (x402, `sign-in-with-x`), met for something that this wallet has paid: it is
//! answered with who we are instead of a second payment.
//!
//! The text is the seller's and the key is the one that pays, so a stranger gets nothing: there must be a settled payment of
//! the same agent for the same person, for exactly this resource at exactly these terms. What is signed is written down first,
//! in the unit that looks at the stops.

use ledger::command::Command;
use ledger::id::{BudgetId, CallerKind, Digest, PrincipalId, SpendId, TenantId};
use ledger::rejection::Rejection;
use ledger::spend::{Spend, SpendState};
use ledger::store::Document;
use x402::reason::Reason;
use x402::refusal::Refusal;
use x402::select::Offer;
use x402::sign_in::invitation::{Invitation, Paid, is_declared};

use super::terms::place;
use super::{OPERATION, PaymentRequest};
use crate::consent::{fiat, forbidden};
use crate::error::EngineError;
use crate::tenant::Tenant;
use crate::{Engine, Identity, book};

/// Payments of a person that are looked through for the one, from the newest on: so many at a time, so many times.
const LOOK: u32 = 250;
const LOOKS_MAX: usize = 8;

/// Who comes back, and for what.
#[derive(Clone, Debug)]
pub struct SignedIn {
    /// What was paid.
    pub spend: Spend,
    /// The value of `SIGN-IN-WITH-X`.
    pub header: String,
    /// What was signed.
    pub text: String,
}

impl Engine {
    pub async fn come_back(&self, identity: &Identity, request: PaymentRequest) -> Result<SignedIn, EngineError> {
        if identity.caller.kind != CallerKind::Agent {
            return Err(forbidden("an agent", identity));
        }
        let tenant = self.tenant(&identity.tenant)?;
        let allowed = tenant.limits.sign_in.as_ref().ok_or(EngineError::NotConfigured("wallet that signs in"))?;
        let wallet = tenant.wallet.as_ref().ok_or(EngineError::NotConfigured("wallet"))?;
        let extensions = request.required.extensions.as_ref();
        if !is_declared(extensions) {
            return Err(EngineError::invalid("payment_required", "a 402 that declares sign-in-with-x", "none"));
        }
        let offers = self.met_at_its_place(&tenant, &request)?;
        self.check_new(identity, &tenant, &request).await?;
        let view = self.mandate(identity, request.mandate).await?;
        if view.record.agent != identity.caller.principal {
            return Err(forbidden(view.record.agent.as_str(), identity));
        }
        let person = BudgetId::of_person(&tenant.id, &view.record.user, &fiat(&view.record.currency)?);
        let found = self.paid_before(&tenant.id, person, (&identity.caller.principal, &offers)).await?;
        let (spend, offer) = found.ok_or_else(|| unpaid(&request))?;
        let paid =
            Paid { resource_url: offer.resource_url(), network: offer.network(), statements: &allowed.statements };
        let invitation = Invitation::read(extensions, paid, self.clock.now().seconds())?;
        self.screen_offer(&tenant, offer).await?;
        let payer = book::expected_of_spend(&spend)?.key.payer;
        let text = invitation.text(payer);
        let document = Document { kind: "sign-in".to_owned(), bytes: text.clone().into_bytes() };
        let command = Command::SignIn { spend: spend.id, under: request.mandate, document: document.digest() };
        let answer = self.run(identity, command, vec![document]).await?;
        let spend = answer.spend.ok_or_else(|| EngineError::Broken("a sign-in without a spend".into()))?;
        let header = wallet.sign_in(&spend, &invitation).await?;
        tracing::info!(tenant = %tenant.id, spend = %spend.id, payee = %spend.payee, "signed in as who paid");
        Ok(SignedIn { spend, header, text })
    }

    /// What the 402 offers, where it was met at the origin that it speaks for. A tool has no resource that anybody signs
    /// in to; a cart or another purchase that is meant is bought.
    fn met_at_its_place(&self, tenant: &Tenant, request: &PaymentRequest) -> Result<Vec<Offer>, EngineError> {
        let expected = "none, where somebody comes back for what was paid";
        if let Some(after) = request.again_after {
            return Err(EngineError::invalid("again_after", expected, after.to_string()));
        }
        if request.cart.is_some() {
            return Err(EngineError::invalid("cart", expected, "a cart"));
        }
        if request.url.is_none() {
            return Err(EngineError::invalid("url", "where the 402 was met", "nothing"));
        }
        let offers = self.freeze(tenant, request)?;
        for offer in &offers {
            if place(request, offer)?.is_met {
                return Err(EngineError::invalid("resource.url", "an http or https URL", offer.resource_url()));
            }
        }
        Ok(offers)
    }

    /// A key that bought something shows that payment again.
    async fn check_new(
        &self,
        identity: &Identity,
        tenant: &Tenant,
        request: &PaymentRequest,
    ) -> Result<(), EngineError> {
        let spend = SpendId::derive(&tenant.secret, &identity.caller.principal, OPERATION, &request.key);
        match self.store.spend(&identity.tenant, spend).await? {
            Some(known) => {
                let (expected, found) = ("one that nothing was bought under".to_owned(), known.state.to_string());
                Err(EngineError::Book(Rejection::SpendStateWrong { spend, expected, found }))
            }
            None => Ok(()),
        }
    }

    /// The newest payment of this agent for this person, for one of these very offers, that is settled and was not given back.
    async fn paid_before<'a>(
        &self,
        tenant: &TenantId,
        person: BudgetId,
        (agent, offers): (&PrincipalId, &'a [Offer]),
    ) -> Result<Option<(Spend, &'a Offer)>, EngineError> {
        let named: Vec<(Digest, &Offer)> = offers.iter().map(|offer| (Digest(offer.digest()), offer)).collect();
        let (mut end, _) = self.store.head(tenant).await?;
        for _ in 0..LOOKS_MAX {
            let page = self.store.spends_of(tenant, person, 0..end, LOOK).await?;
            let Some(last) = page.last() else { return Ok(None) };
            end = last.hold.seq;
            for spend in page.into_iter().filter(is_paid) {
                let Some((_, offer)) = named.iter().find(|(purchase, _)| *purchase == spend.purchase) else { continue };
                let leaf = self.store.budget(tenant, spend.budget).await?;
                if leaf.is_some_and(|leaf| leaf.holder == *agent) {
                    return Ok(Some((spend, offer)));
                }
            }
        }
        Ok(None)
    }
}

fn is_paid(spend: &Spend) -> bool {
    spend.state == SpendState::Settled && spend.refunded < spend.money.amount && !spend.authorization.is_drawn()
}

fn unpaid(request: &PaymentRequest) -> EngineError {
    let found = request.required.resource.url.chars().take(200).collect::<String>();
    let expected = "a resource that was paid for under these terms, settled and not given back";
    EngineError::Payment(Refusal::new(Reason::SignInUnpaid, "resource.url", expected, found))
}
