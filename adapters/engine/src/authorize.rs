//! The join: a 402 met under a mandate becomes a signed payment, or a refusal.
//!
//! 1. Freeze one offer.
//! 2. Find out who is paid, and what it costs in the budget's currency.
//! 3. Close the mandate over it and verify the whole chain, as anyone would.
//! 4. Hold and commit: limit on every ancestor, claims of key, authorization and closed mandate, books and journal, in one
//!    unit.
//! 5. Sign exactly that.
//!
//! A retry with the same key finds the spend and signs the same bytes again.

mod allowance;
mod channel;
mod channels;
mod deposit;
mod outcome;
mod reclaim;
mod sign_in;
mod terms;
mod withdraw;

use std::time::Duration;

use ledger::command::{Command, Hold};
use ledger::id::{BudgetId, CallerKind, Digest, IdempotencyKey, Micros, SpendId};
use ledger::rejection::Rejection;
use ledger::spend::{Spend, SpendState};
use ledger::transfer::Money;
use mandates::base64url;
use mandates::cart;
use mandates::digest::HashAlgorithm;
use mandates::mandate::{Family, Mandate};
use mandates::verify::{Facts, Purchase};
use serde_json::{Map, Value};
use x402::exact::{self, Transfer};
use x402::identifier;
use x402::permit2;
use x402::select::Offer;
use x402::wire::{PaymentPayload, PaymentRequired, write_header};

use crate::attest::check_offer;
use crate::book;
use crate::closing::{Addressee, cart_identity};
use crate::consent::{CartDemand, agent_of, forbidden};
use crate::error::EngineError;
use crate::evidence::Bundle;
use crate::rate::Peg;
use crate::ruling::{Reservation, UNSET};
use crate::tenant::Tenant;
use crate::{Engine, Identity};
use allowance::{Taken, payer_of};
pub use channels::{AskBack, OwnChannel};
pub use reclaim::OwnHold;
pub use sign_in::SignedIn;
pub(crate) use terms::check_obligations;
use terms::{Draft, merchant_keys, nonce_of, place, price, recipient, request_digest};

/// What a 402 declares beside its offers.
type Extensions = Map<String, Value>;

/// The name of this operation in purchase identities; changing it would change every nonce.
const OPERATION: &str = "payments";
/// Between two looks whether a channel is free.
const CHANNEL_PAUSE: Duration = Duration::from_millis(25);
/// What must be left of a mandate's life for a payment under it to be worth signing.
const MARGIN_SECONDS: u64 = 10;

/// `POST /v1/payments`.
#[derive(Clone, Debug)]
pub struct PaymentRequest {
    pub mandate: BudgetId,
    pub required: PaymentRequired,
    pub method: String,
    /// Where the 402 was met; its origin must be that of the resource that the 402 names, where that has one.
    pub url: Option<String>,
    pub key: IdempotencyKey,
    /// The merchant's signed checkout.
    pub cart: Option<String>,
    /// The caller knows that this purchase is under way as that spend, and means a second one.
    pub again_after: Option<SpendId>,
}

/// A payment and, while it may be presented, its signature.
#[derive(Clone, Debug)]
pub struct Payment {
    pub spend: Spend,
    pub payload: PaymentPayload,
    /// The value of `PAYMENT-SIGNATURE`.
    pub header: String,
}

impl Engine {
    pub async fn authorize(&self, identity: &Identity, request: PaymentRequest) -> Result<Payment, EngineError> {
        if identity.caller.kind != CallerKind::Agent {
            return Err(forbidden("an agent", identity));
        }
        let tenant = self.tenant(&identity.tenant)?;
        let offers = self.freeze(&tenant, &request)?;
        let spend = SpendId::derive(&tenant.secret, &identity.caller.principal, OPERATION, &request.key);
        if let Some(known) = self.store.spend(&identity.tenant, spend).await? {
            return self.resume(identity, &tenant, (&request, offers), known).await;
        }
        self.check_quota(identity, &tenant.limits).await?;
        let declared = request.required.extensions.as_ref();
        let taken = self.payable(&tenant, offers, declared).await?;
        let digest = request_digest(&request, &taken.0, &place(&request, &taken.0)?);
        let held = self.held_in_turn(identity, &tenant, (&request, &taken), (spend, digest)).await;
        let held = held.inspect_err(|error| self.count_refusal(identity, &tenant.limits, error))?;
        let committed = self.commit(identity, held).await?;
        self.sign(identity, &tenant, &taken.0, committed, declared).await
    }

    /// Out of a channel one payment at a time is made: the next one waits for a while.
    async fn held_in_turn(
        &self,
        identity: &Identity,
        tenant: &Tenant,
        (request, taken): (&PaymentRequest, &Taken),
        named: (SpendId, Digest),
    ) -> Result<Spend, EngineError> {
        let deadline = tokio::time::Instant::now() + Duration::from_millis(tenant.limits.settle_wait_millis);
        let (mut mandate, mut is_screened) = (request.mandate, false);
        loop {
            let draft = self.draft(identity, tenant, request, taken, named, mandate).await;
            if draft.is_ok() && !std::mem::replace(&mut is_screened, true) {
                self.screen_offer(tenant, &taken.0).await?;
            }
            let held = match draft {
                Ok(draft) => self.hold(identity, &draft).await,
                Err(error) => Err(error),
            };
            match held {
                // A payment like it was allowed beforehand, under a mandate that hangs under the one that is named.
                Err(EngineError::StandingMandate { mandate: under, .. }) if mandate == request.mandate => {
                    mandate = under;
                }
                Err(EngineError::Book(Rejection::ChannelBusy { .. })) if tokio::time::Instant::now() < deadline => {
                    tokio::time::sleep(CHANNEL_PAUSE).await;
                }
                other => return other,
            }
        }
    }

    async fn draft<'a>(
        &self,
        identity: &Identity,
        tenant: &'a Tenant,
        request: &'a PaymentRequest,
        (offer, pledge): &'a Taken,
        (spend, digest): (SpendId, Digest),
        mandate: BudgetId,
    ) -> Result<Draft<'a>, EngineError> {
        let view = self.mandate(identity, mandate).await?;
        if view.record.agent != identity.caller.principal {
            return Err(forbidden(view.record.agent.as_str(), identity));
        }
        let recipient = recipient(tenant, offer, place(request, offer)?)?;
        if request.cart.is_none() && view.record.cart == CartDemand::Required {
            return Err(EngineError::CartRequired);
        }
        let (declared, now) = (request.required.extensions.as_ref(), self.now_seconds());
        let published = self.published_for(declared, offer).await;
        let vouched = check_offer(declared, offer, (recipient.record, published.as_ref()), now)?;
        let (authority, rate) = price(tenant, &view, offer)?;
        let payer = payer_of(tenant)?;
        let valid_before = self.valid_before(tenant, &view, offer)?;
        let nonce = match offer.transfer() {
            Transfer::Eip3009 | Transfer::Escrow(_) => exact::nonce(view.budget.id.0, spend.0),
            Transfer::Channel { .. } => self.next_step(tenant, offer, payer).await?,
            Transfer::Permit2 | Transfer::Upto { .. } => permit2::nonce(view.budget.id.0, spend.0),
        };
        let links = self.links(&tenant.id, &view).await?;
        Ok(Draft {
            tenant,
            request,
            digest,
            spend,
            offer,
            view,
            links,
            recipient,
            vouched,
            authority,
            rate,
            payer,
            pledge: *pledge,
            nonce,
            valid_before,
        })
    }

    async fn hold(&self, identity: &Identity, draft: &Draft<'_>) -> Result<Spend, EngineError> {
        let (chain, facts, checks) = self.close_over(draft).await?;
        check_obligations(&facts, &draft.links, draft.spend)?;
        let bundle = draft.bundle(chain, checks);
        let offer = draft.offer;
        let lapses = self.clock.now().seconds().saturating_add(draft.tenant.limits.hold_seconds);
        let hold = Hold {
            spend: draft.spend,
            operation: OPERATION.into(),
            key: draft.request.key.clone(),
            request: draft.digest,
            budget: draft.view.budget.id,
            leaf_nonce: draft.spend.to_string(),
            authority: draft.authority.clone(),
            money: Money { asset: offer.asset().clone(), amount: offer.amount() },
            rate: draft.rate.as_ref().map(Peg::digest),
            payee: draft.recipient.id.clone(),
            pay_to: book::text(offer.pay_to()),
            pin: draft.recipient.pin.clone(),
            purchase: Digest(offer.digest()),
            cart: draft.request.cart.as_deref().map(cart_identity).transpose()?,
            authorization: draft.authorization()?,
            valid_before: i64::try_from(draft.valid_before).unwrap_or(i64::MAX),
            since_block: self.finalized_lately().await?,
            expires_at: Micros::from_seconds(lapses),
            again_after: draft.request.again_after,
            evidence: UNSET,
            review: None,
        };
        let (tenant, view) = (draft.tenant, &draft.view);
        let it = Reservation { tenant, view, hold, bundle, documents: Vec::new() };
        Ok(self.reserve(identity, it).await?.0)
    }

    /// The agent's key closes its mandate over this very offer; then the whole chain is verified as anyone would.
    async fn close_over(&self, draft: &Draft<'_>) -> Result<(String, Facts, Vec<String>), EngineError> {
        let keys = merchant_keys(draft)?;
        let (transaction_id, purchase) = match &draft.request.cart {
            Some(jwt) => {
                let purchase = Purchase::Cart { checkout_jwt: jwt, merchant_keys: &keys };
                (cart::hash(jwt, HashAlgorithm::Sha256), Some(purchase))
            }
            None => (base64url::encode(&draft.offer.digest()), None),
        };
        let purchase = purchase.unwrap_or(Purchase::TransactionId(&transaction_id));
        let payment = draft.closed(transaction_id.clone())?;
        let agent = agent_of(draft.tenant, &draft.view.record.agent)?;
        let own = Addressee { audience: draft.tenant.issuer.clone(), nonce: draft.spend.to_string() };
        let signer = agent.holding(&draft.view.record.agent_key)?;
        let record = &draft.view.record;
        let open = self.token(draft.tenant, record, &record.payment).await?;
        let chain = self.close(signer, &open, Mandate::Payment(payment), &own).await?;
        let verdict = self.judge(draft.tenant, &chain, Family::Payment, &own, purchase).await;
        let checks =
            verdict.checks.iter().map(|check| check.to_json().to_string()).chain(draft.vouched.clone()).collect();
        Ok((chain, verdict.outcome?, checks))
    }

    pub(crate) async fn commit(&self, identity: &Identity, held: Spend) -> Result<Spend, EngineError> {
        if held.state != SpendState::Held {
            return Ok(held);
        }
        match self.run(identity, Command::Commit { spend: held.id }, Vec::new()).await {
            Ok(answer) => answer.spend.ok_or_else(|| EngineError::Broken("a commitment without a spend".into())),
            // Stopped between hold and signature: nothing is signed, so nothing stays held.
            Err(EngineError::Book(rejection)) => {
                if let Err(error) = self.run(identity, Command::Void { spend: held.id }, Vec::new()).await {
                    tracing::warn!(spend = %held.id, code = error.code(), "a hold is left to lapse: {error}");
                }
                Err(EngineError::Book(rejection))
            }
            Err(error) => Err(error),
        }
    }

    /// Deterministic: the same spend has the same bytes, whenever it is asked for.
    async fn sign(
        &self,
        identity: &Identity,
        tenant: &Tenant,
        offer: &Offer,
        spend: Spend,
        declared: Option<&Extensions>,
    ) -> Result<Payment, EngineError> {
        let mut payload = self.presentable(identity, tenant, offer, &spend).await?;
        // Of the purchase, as the nonce is: whoever signs the same again names it the same.
        let name = Digest::of_parts("purser/payment-name/1", &[&spend.id.0]);
        let mut extensions = self.pledged(identity, tenant, (&spend, offer), declared).await?;
        extensions.extend(identifier::echo(declared, &format!("purser_{name}")));
        payload.extensions = Some(extensions).filter(|extensions| !extensions.is_empty());
        let header = write_header(&payload)?;
        Ok(Payment { spend, payload, header })
    }

    /// What a payment presents, without what its seller declares beside.
    pub(crate) async fn presentable(
        &self,
        identity: &Identity,
        tenant: &Tenant,
        offer: &Offer,
        spend: &Spend,
    ) -> Result<PaymentPayload, EngineError> {
        if spend.authorization.is_drawn() {
            return self.sign_drawn(identity, tenant, offer, spend).await;
        }
        let wallet = tenant.wallet.as_ref().ok_or(EngineError::NotConfigured("wallet"))?;
        let expected = book::expected_of_spend(spend)?;
        let nonce = nonce_of(offer, spend);
        let unsigned = offer.authorize(expected.key.payer, nonce, 0, expected.valid_before)?;
        Ok(wallet.sign(spend, &unsigned).await?)
    }

    /// The key is known: the same answer, or that it was another request, or that it ended without a payment.
    async fn resume(
        &self,
        identity: &Identity,
        tenant: &Tenant,
        (request, offers): (&PaymentRequest, Vec<Offer>),
        spend: Spend,
    ) -> Result<Payment, EngineError> {
        // Which offer was taken then: what the wallet could pay may be another one now.
        let taken = self.bundle(identity, &spend).await?.request;
        let (mut digest, mut offer) = (None, None);
        for found in offers {
            let found_digest = request_digest(request, &found, &place(request, &found)?);
            if found_digest == taken || digest.is_none() {
                (digest, offer) = (Some(found_digest), Some(found));
            }
            if found_digest == taken {
                break;
            }
        }
        let missing = || EngineError::Broken("a 402 without an offer".into());
        let (digest, offer) = digest.zip(offer).ok_or_else(missing)?;
        self.known(identity, &spend, digest).await?;
        let committed = self.commit(identity, spend).await?;
        self.sign(identity, tenant, &offer, committed, request.required.extensions.as_ref()).await
    }

    /// What was written down under a key that is known: of this very request, and not ended without a payment.
    pub(crate) async fn known(
        &self,
        identity: &Identity,
        spend: &Spend,
        digest: Digest,
    ) -> Result<Bundle, EngineError> {
        let bundle = self.bundle(identity, spend).await?;
        if bundle.request != digest {
            let rejection = Rejection::IdempotencyKeyReused { first: bundle.request, found: digest };
            return Err(EngineError::Book(rejection));
        }
        let tenant = self.tenant(&identity.tenant)?;
        if spend.state.is_signed() && self.is_called_back(&tenant, spend).await? {
            let (expected, found) = ("one that is not cancelled".to_owned(), "being cancelled".to_owned());
            return Err(EngineError::Book(Rejection::SpendStateWrong { spend: spend.id, expected, found }));
        }
        match spend.state {
            SpendState::Voided | SpendState::Expired | SpendState::Released => {
                Err(EngineError::Book(Rejection::SpendReleased { spend: spend.id }))
            }
            _ => Ok(bundle),
        }
    }

    /// Gives up a payment that is held and not signed.
    pub async fn void(&self, identity: &Identity, id: SpendId) -> Result<Spend, EngineError> {
        self.own_spend(identity, id).await?;
        let answer = self.run(identity, Command::Void { spend: id }, Vec::new()).await?;
        answer.spend.ok_or_else(|| EngineError::Broken("a void without a spend".into()))
    }

    /// A spend under a mandate that concerns the caller.
    pub async fn own_spend(&self, identity: &Identity, id: SpendId) -> Result<Spend, EngineError> {
        let missing = || EngineError::NotFound { what: "payment", id: id.to_string() };
        let spend = self.spend(identity, id).await?;
        self.mandate(identity, spend.budget).await.map_err(|error| match error {
            EngineError::NotFound { .. } => missing(),
            other => other,
        })?;
        Ok(spend)
    }
}
