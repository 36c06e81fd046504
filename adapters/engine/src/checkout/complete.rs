//! How a session is paid.
//!
//! 1. Verify what is presented, as far as that uses nothing up: the checkout mandate is closed over this very session, as
//!    we signed it last, for us and our nonce; the payment mandate over the same.
//! 2. Claim the session, durably, with the order's name in it. Nobody else completes it from here on.
//! 3. Accept the checkout mandate (the order), then the payment mandate (the money): each is used up in the book, and
//!    answered with a signed receipt. The same acceptance gets the same receipt, so a retry goes on.
//! 4. Complete the session with both receipts.
//!
//! What is refused in step 3 is over: the session is open again. What is not known stays claimed.

use commerce::checkout::{Order, Protocol, Status};
use commerce::store::Written;
use commerce::ucp::mandate::MandateError;
use ledger::id::{AuthMethod, Caller, CallerKind};
use mandates::jws::Jws;
use mandates::mandate::Family;
use mandates::rejection::Rejection;
use mandates::sd_jwt::SdJwt;
use mandates::verify::{Closed, Facts};

use super::document::{Document, Receipts, Signed};
use super::means::{Means, Presented, Redemption};
use super::{Refused, Reply, Shopping, reply};
use crate::error::EngineError;
use crate::ports::Relayed;
use crate::tenant::Tenant;
use crate::vault::VaultError;
use crate::verify::{Acceptance, VerifyRequest};
use crate::{Engine, Identity};

const AP2_HANDLER_ID: &str = "ap2";

/// What came of it: receipts where mandates paid.
pub(super) enum Outcome {
    Paid(Option<Receipts>),
    Declined(String),
}

impl Engine {
    pub(super) async fn complete_checkout(
        &self,
        shopping: &Shopping<'_>,
        id: &str,
        presented: &Presented,
        from: Option<i64>,
    ) -> Result<Option<Reply>, EngineError> {
        let (revision, document) = match self.loaded(shopping, id).await? {
            Ok(found) => found,
            Err(refused) => return self.turned_away(shopping, &refused, from).await,
        };
        let means = match self.looked_at(shopping, &document, presented).await? {
            Ok(means) => means,
            Err(refused) => return self.turned_away(shopping, &refused, from).await,
        };
        let (claimed, revision) = match document.session.status {
            Status::CompleteInProgress => (document.clone(), revision),
            _ => {
                let mut next = document.clone();
                let order = order(shopping, &document);
                next.session = match document.session.claimed(shopping.now, order) {
                    Ok(session) => session,
                    Err(refused) => return self.turned_away(shopping, &refused.into(), from).await,
                };
                next.claim = Some(means.claim(presented));
                let (write, key) = (next.write(revision, shopping)?, shopping.key_write(from, None));
                match shopping.sessions.write(&shopping.call.tenant, Some(write), key).await? {
                    Written::Done => (next, revision.saturating_add(1)),
                    Written::SessionMoved | Written::KeyTaken | Written::TooMany => return Ok(None),
                }
            }
        };
        // From the claim on the key is ours: taken at the claim, or before it by a request that was given up.
        let taken = if document.session.status == Status::CompleteInProgress { from } else { Some(shopping.now) };
        let outcome = match self.pay(shopping, &claimed, &means).await {
            Ok(outcome) => outcome,
            Err(error) => {
                self.let_go(shopping, taken).await;
                return match error {
                    // Whoever has the token in hand finds out what becomes of it; the same key is answered anew then.
                    EngineError::Vault(VaultError::InFlight | VaultError::Busy) => {
                        Ok(Some(reply::refused(shopping.call.protocol, &Refused::Busy)))
                    }
                    error => Err(error),
                };
            }
        };
        self.ended(shopping, claimed, revision, outcome, taken).await
    }

    async fn turned_away(
        &self,
        shopping: &Shopping<'_>,
        refused: &Refused,
        from: Option<i64>,
    ) -> Result<Option<Reply>, EngineError> {
        let reply = reply::refused(shopping.call.protocol, refused);
        match shopping.refusal_write(from, &reply) {
            Some(key) => {
                let written = shopping.sessions.write(&shopping.call.tenant, None, Some(key)).await?;
                Ok((written == Written::Done).then_some(reply))
            }
            None => Ok(Some(reply)),
        }
    }

    /// What is not known is worked on by whoever comes next, at once. Where this cannot be said, the lease runs out.
    async fn let_go(&self, shopping: &Shopping<'_>, taken: Option<i64>) {
        let Some(mut key) = shopping.key_write(taken, None) else { return };
        key.now.at = shopping.now.saturating_sub(super::LEASE_SECONDS);
        if let Err(error) = shopping.sessions.write(&shopping.call.tenant, None, Some(key)).await {
            tracing::warn!(tenant = %shopping.call.tenant, "the key of a checkout was not let go: {error}");
        }
    }

    /// Everything that can be said before anything is used up.
    async fn looked_at<'a>(
        &self,
        shopping: &Shopping<'_>,
        document: &'a Document,
        presented: &'a Presented,
    ) -> Result<Result<Means<'a>, Refused>, EngineError> {
        let session = document.session.at(shopping.now);
        let is_claimed = session.status == Status::CompleteInProgress;
        if is_claimed && !document.is_claimed_with(&presented.digest()) {
            return Ok(Err(Refused::Busy));
        }
        if !is_claimed && let Err(refused) = session.claimed(shopping.now, order(shopping, document)) {
            return Ok(Err(refused.into()));
        }
        let Some(signed) = document.signed.as_ref().filter(|_| document.is_locked()) else {
            return Ok(self.token_of(shopping, presented));
        };
        let required = |what: &str| Err(Refused::Mandate(MandateError::Required, format!("{what}; none came")));
        let Some(checkout) = presented.checkout_mandate.as_deref() else {
            return Ok(required("AP2 was negotiated for this checkout: ap2.checkout_mandate was expected"));
        };
        if presented.handler.as_deref() != Some(AP2_HANDLER_ID) {
            let came = presented.handler.as_deref().unwrap_or("none");
            let message = format!("an instrument of handler {AP2_HANDLER_ID} was expected, {came} came");
            return Ok(Err(Refused::Mandate(MandateError::Required, message)));
        }
        let Some(payment) = presented.token.as_deref() else {
            return Ok(required("a payment mandate as the instrument's token was expected"));
        };
        let means = Means::Mandates { checkout, payment, signed };
        if is_claimed {
            return Ok(Ok(means));
        }
        let looked = self.own_cart(shopping, document, signed, checkout).await?;
        if let Err(refused) = looked {
            return Ok(Err(refused));
        }
        for (mandate, family) in [(checkout, Family::Checkout), (payment, Family::Payment)] {
            let request = bound(document, signed, mandate, None);
            match self.verify(&merchant(shopping), request).await?.verdict.outcome {
                Ok(facts) if facts.family == family && facts.closed.is_some() => {}
                Ok(facts) => {
                    let message = format!(
                        "a closed {} mandate was expected, another of a {} came",
                        family.as_str(),
                        facts.family.as_str()
                    );
                    return Ok(Err(Refused::Mandate(MandateError::ScopeMismatch, message)));
                }
                Err(rejection) => return Ok(Err(of(&rejection))),
            }
        }
        Ok(Ok(means))
    }

    /// The mandate holds on its own, and what it is closed over is what we signed last of this session. A signature that
    /// is not ours and a checkout that is not this one are told apart.
    async fn own_cart(
        &self,
        shopping: &Shopping<'_>,
        document: &Document,
        signed: &Signed,
        mandate: &str,
    ) -> Result<Result<(), Refused>, EngineError> {
        let request = VerifyRequest { checkout_jwt: None, ..bound(document, signed, mandate, None) };
        let facts: Facts = match self.verify(&merchant(shopping), request).await?.verdict.outcome {
            Ok(facts) => facts,
            // Of a checkout that we did not sign anything may be wrong; that it is not ours is said first.
            Err(rejection) if MandateError::from(rejection.code) == MandateError::ScopeMismatch => {
                let foreign = embedded(mandate).and_then(|jwt| self.foreign(shopping, &jwt));
                return Ok(Err(foreign.unwrap_or_else(|| of(&rejection))));
            }
            Err(rejection) => return Ok(Err(of(&rejection))),
        };
        let Some(Closed::Checkout { mandate: closed, .. }) = facts.closed.map(|closed| closed.mandate) else {
            let message = "a closed checkout mandate was expected, another mandate came".to_owned();
            return Ok(Err(Refused::Mandate(MandateError::ScopeMismatch, message)));
        };
        if closed.checkout_jwt == signed.checkout_jwt {
            return Ok(Ok(()));
        }
        Ok(Err(self.foreign(shopping, &closed.checkout_jwt).unwrap_or_else(|| {
            let message = "the checkout as it was signed last was expected, the mandate is closed over another";
            Refused::Mandate(MandateError::ScopeMismatch, message.to_owned())
        })))
    }

    /// Why the signature under a checkout is not ours; nothing where it is.
    fn foreign(&self, shopping: &Shopping<'_>, checkout_jwt: &str) -> Option<Refused> {
        let own = Jws::parse(checkout_jwt).and_then(|jws| jws.verify(shopping.merchant.signer.public()));
        own.err().map(|refused| Refused::Mandate(MandateError::AuthorizationInvalid, refused.to_string()))
    }

    /// A handler's token, where the session is not one of mandates.
    fn token_of<'a>(&self, shopping: &Shopping<'_>, presented: &'a Presented) -> Result<Means<'a>, Refused> {
        let handler = presented.handler.as_deref().unwrap_or_default();
        let others = self.checkout_tokens.get().is_some_and(|tokens| tokens.knows(handler));
        let known = others || shopping.takes_cards(handler);
        let refused = |path: &str, message: String| {
            commerce::checkout::Refusal::new(commerce::checkout::Code::Invalid, path, message)
        };
        if !known {
            let shown: String = handler.chars().take(100).collect();
            let came = if handler.is_empty() { "none".to_owned() } else { format!("`{shown}`") };
            let message = format!("one of the handlers of this checkout was expected, {came} came");
            return Err(refused("$.handler_id", message).into());
        }
        match presented.token.as_deref() {
            Some(token) => Ok(Means::Token { handler, token }),
            None => Err(refused("$.credential.token", "a token was expected, none came".to_owned()).into()),
        }
    }

    async fn pay(
        &self,
        shopping: &Shopping<'_>,
        document: &Document,
        means: &Means<'_>,
    ) -> Result<Outcome, EngineError> {
        let order = document.session.order.as_ref();
        let order = &order.ok_or_else(|| EngineError::Broken("a claimed checkout without its order".into()))?.id;
        match means {
            Means::Token { handler, token } if shopping.takes_cards(handler) => {
                self.paid_by_card(shopping, document, order, token).await
            }
            Means::Token { handler, token } => {
                let (amount, currency) = (document.session.totals.total, document.session.currency.as_str());
                let session = &document.session.id;
                let redemption = Redemption { handler, token, session, order, amount, currency };
                let tokens = self.checkout_tokens.get().ok_or(EngineError::NotConfigured("payment handler"))?;
                match tokens.redeem(&redemption).await {
                    Relayed::Answer(Ok(())) => Ok(Outcome::Paid(None)),
                    Relayed::Answer(Err(why)) => Ok(Outcome::Declined(why)),
                    Relayed::Silence(why) => Err(EngineError::OutcomeUnknown(why)),
                }
            }
            Means::Mandates { checkout, payment, signed } => {
                let ordered = Acceptance::Order { order_id: order.clone() };
                let checkout = match self.accepted(shopping, document, signed, checkout, ordered).await? {
                    Ok(receipt) => receipt,
                    Err(why) => return Ok(Outcome::Declined(why)),
                };
                // The merchant takes the money on this mandate itself: there is no processor with names of its own.
                let paid = Acceptance::Payment {
                    payment_id: order.clone(),
                    psp_confirmation_id: order.clone(),
                    network_confirmation_id: order.clone(),
                };
                Ok(match self.accepted(shopping, document, signed, payment, paid).await? {
                    Ok(payment) => Outcome::Paid(Some(Receipts { checkout, payment })),
                    Err(why) => Outcome::Declined(why),
                })
            }
        }
    }

    /// The receipt, or why there is none and never will be one.
    async fn accepted(
        &self,
        shopping: &Shopping<'_>,
        document: &Document,
        signed: &Signed,
        mandate: &str,
        acceptance: Acceptance,
    ) -> Result<Result<String, String>, EngineError> {
        let request = bound(document, signed, mandate, Some(acceptance));
        let verified = match self.verify(&merchant(shopping), request).await {
            Ok(verified) => verified,
            Err(EngineError::Book(rejection)) => return Ok(Err(rejection.to_string())),
            Err(error) => return Err(error),
        };
        match (verified.verdict.outcome, verified.receipt) {
            (Ok(_), Some(receipt)) => Ok(Ok(receipt)),
            (Err(rejection), _) if rejection.retryable() => Err(EngineError::Mandate(rejection)),
            (Err(rejection), _) => Ok(Err(rejection.to_string())),
            (Ok(_), None) => Err(EngineError::Broken("an acceptance without its receipt".into())),
        }
    }

    async fn ended(
        &self,
        shopping: &Shopping<'_>,
        claimed: Document,
        revision: u64,
        outcome: Outcome,
        taken: Option<i64>,
    ) -> Result<Option<Reply>, EngineError> {
        let moved = |refused: commerce::checkout::Refusal| EngineError::Broken(refused.message);
        let (protocol, shop) = (shopping.call.protocol, &shopping.role.shop);
        let (next, status) = match outcome {
            Outcome::Paid(receipts) => {
                let session = claimed.session.paid(shopping.now).map_err(moved)?;
                (Document { session, receipts, ..claimed }, 200)
            }
            Outcome::Declined(why) => {
                let session = claimed.session.declined(shopping.now, why).map_err(moved)?;
                // ACP has a declined payment in a session that is ready again; UCP's reference answers 402.
                let status = if protocol == Protocol::Ucp { 402 } else { 200 };
                (Document { session, claim: None, ..claimed }, status)
            }
        };
        let next = self.signed(shopping, next).await?;
        let reply = reply::session(status, protocol, &next, shop);
        let key = shopping.key_write(taken, Some(&reply));
        let session = next.write(revision, shopping)?;
        let written = shopping.sessions.write(&shopping.call.tenant, Some(session), key).await?;
        // Somebody with the same went on with it meanwhile: it is looked at again.
        Ok((written == Written::Done).then_some(reply))
    }
}

pub(super) fn order_id(tenant: &Tenant, session: &str) -> String {
    let sealed = tenant.secret.seal("purser/order/1", session.as_bytes());
    format!("order_{}", sealed.to_string().chars().take(32).collect::<String>())
}

/// Named from the session, and not to be told from its name.
fn order(shopping: &Shopping<'_>, document: &Document) -> Order {
    let id = order_id(shopping.tenant, &document.session.id);
    Order { url: format!("{}/orders/{id}", shopping.role.shop.url), id }
}

pub(super) fn merchant(shopping: &Shopping<'_>) -> Identity {
    let caller = Caller::new(shopping.role.merchant.clone(), CallerKind::Merchant, AuthMethod::Internal);
    Identity { tenant: shopping.call.tenant.clone(), caller }
}

/// Bound to us, to the session's nonce and to what we signed.
fn bound(document: &Document, signed: &Signed, mandate: &str, accept: Option<Acceptance>) -> VerifyRequest {
    VerifyRequest {
        presented: mandate.to_owned(),
        audience: Some(signed.audience.clone()),
        nonce: Some(document.nonce.clone()),
        checkout_jwt: Some(signed.checkout_jwt.clone()),
        transaction_id: None,
        merchant_jwks: None,
        trust: None,
        accept,
    }
}

/// The checkout that a mandate shows, whatever the mandate is worth.
fn embedded(mandate: &str) -> Option<String> {
    let leaf = mandate.rsplit("~~").next()?;
    let resolved = SdJwt::parse(leaf).ok()?.resolve().ok()?;
    let mut delegates = resolved.delegates.iter().flatten();
    let shown = delegates.find_map(|delegate| resolved.value(delegate).get("checkout_jwt"))?;
    shown.as_str().map(str::to_owned)
}

fn of(rejection: &Rejection) -> Refused {
    Refused::Mandate(rejection.code.into(), format!("{}: {rejection}", rejection.code()))
}
