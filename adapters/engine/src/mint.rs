//! Signing mandates: open ones for a person's approval, closed ones for one payment. What is signed is verified before
//! anybody gets it.

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
use mandates::party::Merchant;
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
use crate::tenant::Tenant;

/// How old a leaf may be when it is presented.
pub const LEAF_AGE_SECONDS_MAX: u32 = 300;

/// The two open mandates of one approval.
pub struct Minted {
    pub payment: String,
    pub checkout: String,
    /// Of the payment mandate: it carries the budget.
    pub identity: BudgetId,
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
        let holder = agent_of(tenant, &document.agent)?.holding(&document.agent_key)?.public().clone();
        let written = |constraints: Vec<Constraint>| constraints.into_iter().map(Written::Known).collect();
        let open = |vct, constraints: Vec<Written>| Open {
            vct,
            constraints,
            holder: holder.clone(),
            presets: mandates::json::Object::new(),
            issued_at_seconds: Some(document.issued_at),
            not_before_seconds: None,
            expires_at_seconds: Some(document.expires_at),
        };
        let (checkout, payment) = (checkout_constraints(document), payment_constraints(document)?);
        let mandates = match above {
            None => [open(Vct::OpenCheckout, written(checkout)), open(Vct::OpenPayment, written(payment))],
            Some(above) => {
                let tokens = self.tokens(tenant, &above.record).await?;
                let narrowed = |vct, token: &str, constraints: Vec<Constraint>| {
                    let facts = self.look_at(tenant, token)?;
                    let parent = facts.open.last().map(|open| &open.mandate);
                    let parent = parent.ok_or_else(|| EngineError::Broken("a mandate without a mandate".into()))?;
                    let mut child = open(vct, restated(constraints, &parent.constraints));
                    child.presets = parent.presets.clone();
                    child.not_before_seconds = parent.not_before_seconds;
                    narrowing::check(&child, parent)?;
                    Ok::<_, EngineError>(child)
                };
                [
                    narrowed(Vct::OpenCheckout, &tokens.checkout, checkout)?,
                    narrowed(Vct::OpenPayment, &tokens.payment, payment)?,
                ]
            }
        };
        let mandates = mandates.map(Mandate::Open);
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
        let facts = self.look_at(tenant, &payment)?;
        self.look_at(tenant, &checkout)?;
        let identity = facts.open.first().map(|open| BudgetId(*open.identity.as_bytes()));
        let identity = identity.ok_or_else(|| EngineError::Broken("an issued mandate has no identity".into()))?;
        Ok(Minted { payment, checkout, identity })
    }

    pub(crate) fn look_at(&self, tenant: &Tenant, token: &str) -> Result<Facts, EngineError> {
        let context = Context {
            clock: self.mandate_clock(0),
            trusted: &tenant.roots,
            family: ExpectedFamily::Either,
            expected: Expected::OnItsOwn,
            leaf_age_seconds_max: LEAF_AGE_SECONDS_MAX,
            purchase: Purchase::OnItsOwn,
            open_checkout: OpenCheckout::Unknown,
            usage: Usage::Unknown,
            nonces: Nonces::LeftToState,
            revoked: Revoked::LeftToState,
        };
        Ok(verify_remembering(token, &context, &self.remembered).outcome?)
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
    pub(crate) fn judge(
        &self,
        tenant: &Tenant,
        chain: &str,
        family: Family,
        to: &Addressee,
        purchase: Purchase<'_>,
    ) -> Verdict {
        let Addressee { audience, nonce } = to;
        let context = Context {
            clock: self.mandate_clock(0),
            trusted: &tenant.roots,
            family: ExpectedFamily::Exactly(family),
            expected: Expected::Exactly { audience, nonce },
            leaf_age_seconds_max: LEAF_AGE_SECONDS_MAX,
            purchase,
            open_checkout: OpenCheckout::Unknown,
            usage: Usage::Unknown,
            nonces: Nonces::LeftToState,
            revoked: Revoked::LeftToState,
        };
        verify_remembering(chain, &context, &self.remembered)
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
