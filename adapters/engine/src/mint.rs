//! Signing mandates: open ones for a person's approval, closed ones for one payment. What is signed is verified before
//! anybody gets it.

use std::sync::Arc;

use ledger::id::BudgetId;
use mandates::chain::Position;
use mandates::clock::Clock;
use mandates::constraint::{
    AgentRecurrence, AllowedMerchants, AllowedPayees, AmountRange, Budget, Constraint, Frequency, OpenCheckout, Written,
};
use mandates::currency::Currency;
use mandates::issue::{self, Addressed, HopTerms, RootTerms, Salt};
use mandates::mandate::{Family, Mandate, Open, Vct};
use mandates::narrowing;
use mandates::openid4vp;
use mandates::party::Merchant;
use mandates::trust::Roots;
use mandates::verify::{
    Context, Expected, ExpectedFamily, Facts, Nonces, Purchase, Revoked, Usage, Verdict, verify_remembering,
};
use sha2::{Digest as _, Sha256};

use crate::Engine;
use crate::closing::Addressee;
use crate::consent::{IntentDocument, MandateView, agent_of};
use crate::delegate::restated;
use crate::error::EngineError;
use crate::ports::MandateSigner;
use crate::rate::{authority_from_major, authority_to_minor_up};
use crate::standing::Vouched;
use crate::tenant::Tenant;

/// How old a leaf may be when it is presented.
pub const LEAF_AGE_SECONDS_MAX: u32 = 300;

/// A wallet's clock may be so much ahead of ours. What we sign ourselves is held to our own.
pub(crate) const WALLET_SKEW_SECONDS: u32 = 5;

/// The two open mandates of one approval.
pub struct Minted {
    pub payment: String,
    pub checkout: String,
    /// Of the payment mandate: it carries the budget.
    pub identity: BudgetId,
}

/// Under what a chain of ours is judged.
pub(crate) struct Rooted {
    pub trusted: Arc<dyn Roots>,
    /// Whether its root is a user's credential, which others issued.
    pub is_credential: bool,
}

impl Rooted {
    pub const fn skew_seconds(&self) -> u32 {
        if self.is_credential { WALLET_SKEW_SECONDS } else { 0 }
    }
}

impl Engine {
    /// One root over both open mandates, as a wallet hands them to an agent; each verifier gets its own part.
    /// `asked` is the record that put the question. What hangs under a mandate is narrower than that one (`mandates::narrowing`).
    pub(crate) async fn mint(
        &self,
        tenant: &Tenant,
        document: &IntentDocument,
        asked: u64,
        above: Option<&MandateView>,
    ) -> Result<Minted, EngineError> {
        let mandates = self.open_mandates(tenant, document, above).await?;
        let key_id = tenant.provider.public().key_id();
        let terms = RootTerms {
            key_id: &key_id,
            issuer: &tenant.issuer,
            issued_at_seconds: document.issued_at,
            addressed: Addressed::ToNobody,
            status: Some(&self.status_place(tenant, asked)),
        };
        let unsigned = issue::root(&terms, &mandates, &mut self.salts()?)?;
        let root = tenant.provider.sign(unsigned).await?;
        let payment = issue::present_only(&root, Vct::OpenPayment)?;
        let checkout = issue::present_only(&root, Vct::OpenCheckout)?;
        self.minted(tenant, payment, checkout).await
    }

    /// What is signed for an approval, by whomever: the same document gives the same mandates.
    pub(crate) async fn open_mandates(
        &self,
        tenant: &Tenant,
        document: &IntentDocument,
        above: Option<&MandateView>,
    ) -> Result<[Mandate; 2], EngineError> {
        let holder = agent_of(tenant, &document.agent)?.holding(&document.agent_key)?.public().clone();
        let open = |vct, constraints: Vec<Written>| Open {
            vct,
            constraints,
            holder: holder.clone(),
            presets: mandates::json::Object::new(),
            issued_at_seconds: Some(document.issued_at),
            not_before_seconds: None,
            expires_at_seconds: Some(document.expires_at),
        };
        let constraints =
            [(Vct::OpenCheckout, checkout_constraints(document)), (Vct::OpenPayment, payment_constraints(document)?)];
        let Some(above) = above else {
            let written = |constraints: Vec<Constraint>| constraints.into_iter().map(Written::Known).collect();
            return Ok(constraints.map(|(vct, constraints)| Mandate::Open(open(vct, written(constraints)))));
        };
        let tokens = self.tokens(tenant, &above.record).await?;
        let parents = [self.look_at(tenant, &tokens.checkout).await?, self.look_at(tenant, &tokens.payment).await?];
        let narrowed = |((vct, constraints), facts): ((Vct, Vec<Constraint>), &Facts)| {
            let parent = facts.open.last().map(|open| &open.mandate);
            let parent = parent.ok_or_else(|| EngineError::Broken("a mandate without a mandate".into()))?;
            let mut child = open(vct, restated(constraints, &parent.constraints));
            child.presets = parent.presets.clone();
            child.not_before_seconds = parent.not_before_seconds;
            narrowing::check(&child, parent)?;
            Ok::<_, EngineError>(Mandate::Open(child))
        };
        let [checkout, payment] = constraints;
        let [above_checkout, above_payment] = &parents;
        Ok([narrowed((checkout, above_checkout))?, narrowed((payment, above_payment))?])
    }

    /// Nothing is opened on what was not verified as anyone would.
    pub(crate) async fn minted(
        &self,
        tenant: &Tenant,
        payment: String,
        checkout: String,
    ) -> Result<Minted, EngineError> {
        let facts = self.look_at(tenant, &payment).await?;
        self.look_at(tenant, &checkout).await?;
        let identity = facts.open.first().map(|open| BudgetId(*open.identity.as_bytes()));
        let identity = identity.ok_or_else(|| EngineError::Broken("an issued mandate has no identity".into()))?;
        Ok(Minted { payment, checkout, identity })
    }

    /// Ourselves for what we sign; the trust file for a user's credential, where this tenant takes them.
    pub(crate) async fn rooted(&self, tenant: &Tenant, chain: &str) -> Rooted {
        if let (Some(_), Some(source)) = (&tenant.user_credentials, &tenant.trust)
            && openid4vp::consent(chain).is_ok_and(|consent| consent.is_some())
        {
            return Rooted { trusted: source.roots_for(chain).await, is_credential: true };
        }
        Rooted { trusted: tenant.roots.clone(), is_credential: false }
    }

    pub(crate) async fn look_at(&self, tenant: &Tenant, token: &str) -> Result<Facts, EngineError> {
        let rooted = self.rooted(tenant, token).await;
        let context = self.on_its_own(rooted.trusted.as_ref(), rooted.skew_seconds());
        let verdict = verify_remembering(token, &context, &self.remembered);
        Ok(self.standing(tenant, verdict, &rooted).await.outcome?)
    }

    pub(crate) fn on_its_own<'a>(&self, trusted: &'a dyn Roots, skew_seconds: u32) -> Context<'a> {
        Context {
            clock: self.mandate_clock(skew_seconds),
            trusted,
            family: ExpectedFamily::Either,
            expected: Expected::OnItsOwn,
            leaf_age_seconds_max: LEAF_AGE_SECONDS_MAX,
            purchase: Purchase::OnItsOwn,
            open_checkout: OpenCheckout::Unknown,
            usage: Usage::Unknown,
            nonces: Nonces::LeftToState,
            revoked: Revoked::LeftToState,
        }
    }

    /// Whether what others issued still stands, where they publish it; of our own mandates the book says that.
    async fn standing(&self, tenant: &Tenant, verdict: Verdict, rooted: &Rooted) -> Verdict {
        if !rooted.is_credential {
            return verdict;
        }
        let clock = self.mandate_clock(rooted.skew_seconds());
        self.held_to_status(tenant, verdict, rooted.trusted.as_ref(), Vouched::ByOperator, clock).await
    }

    /// The agent's signature under an open mandate, for one audience and nonce.
    pub(crate) async fn close(
        &self,
        agent: &dyn MandateSigner,
        open: &str,
        closed: Mandate,
        to: &Addressee,
    ) -> Result<String, EngineError> {
        let Addressee { audience, nonce } = to;
        let terms =
            HopTerms { position: Position::Leaf, audience, nonce, issued_at_seconds: self.clock.now().seconds() };
        let unsigned = issue::hop(open, &terms, &[closed], &mut self.salts()?)?;
        Ok(agent.sign(unsigned).await?)
    }

    /// Bound to audience, nonce and purchase; what needs state comes back as obligations for the book.
    pub(crate) async fn judge(
        &self,
        tenant: &Tenant,
        chain: &str,
        family: Family,
        to: &Addressee,
        purchase: Purchase<'_>,
    ) -> Verdict {
        let Addressee { audience, nonce } = to;
        let rooted = self.rooted(tenant, chain).await;
        let context = Context {
            clock: self.mandate_clock(rooted.skew_seconds()),
            trusted: rooted.trusted.as_ref(),
            family: ExpectedFamily::Exactly(family),
            expected: Expected::Exactly { audience, nonce },
            leaf_age_seconds_max: LEAF_AGE_SECONDS_MAX,
            purchase,
            open_checkout: OpenCheckout::Unknown,
            usage: Usage::Unknown,
            nonces: Nonces::LeftToState,
            revoked: Revoked::LeftToState,
        };
        let verdict = verify_remembering(chain, &context, &self.remembered);
        self.standing(tenant, verdict, &rooted).await
    }

    pub(crate) fn mandate_clock(&self, skew_seconds: u32) -> Clock {
        Clock { now_seconds: self.clock.now().seconds(), skew_seconds }
    }

    /// 128 bits each, all drawn from one fresh seed of 256.
    pub(crate) fn salts(&self) -> Result<impl FnMut() -> Salt + use<>, EngineError> {
        let seed = self.entropy.bytes()?;
        let mut count = 0_u64;
        Ok(move || {
            count = count.wrapping_add(1);
            let mut hash = Sha256::new();
            hash.update(seed);
            hash.update(count.to_be_bytes());
            let block: [u8; 32] = hash.finalize().into();
            let mut salt = [0; 16];
            salt.copy_from_slice(&block[..16]);
            salt
        })
    }
}

pub(crate) fn payment_constraints(document: &IntentDocument) -> Result<Vec<Constraint>, EngineError> {
    let currency = Currency::new(&document.currency)?;
    let limit = document.per_payment.as_ref().unwrap_or(&document.total);
    let limit = authority_from_major(limit, &document.currency)?;
    let max = authority_to_minor_up(limit, &document.currency)?;
    let total = document.total.parse();
    let total = total.map_err(|_| EngineError::invalid("total", "a decimal", document.total.clone()))?;
    let mut constraints = vec![
        Constraint::AmountRange(AmountRange { currency: currency.clone(), max, min: None }),
        Constraint::Budget(Budget { max: total, currency }),
    ];
    if document.payments > 1 {
        let frequency = document.frequency.map_or(Frequency::OnDemand, |text| text.0);
        let max_occurrences = Some(document.payments);
        constraints.push(Constraint::AgentRecurrence(AgentRecurrence { frequency, max_occurrences }));
    }
    if let Some(allowed) = merchants(document) {
        constraints.push(Constraint::AllowedPayees(AllowedPayees { allowed }));
    }
    Ok(constraints)
}

pub(crate) fn checkout_constraints(document: &IntentDocument) -> Vec<Constraint> {
    merchants(document).map(|allowed| Constraint::AllowedMerchants(AllowedMerchants { allowed })).into_iter().collect()
}

fn merchants(document: &IntentDocument) -> Option<Vec<Merchant>> {
    document.payees.as_ref().map(|payees| payees.iter().map(Merchant::from).collect())
}
