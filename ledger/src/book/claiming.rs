//! What a hold claims, once and for ever: its key, its authorization, its closed mandate, its place among purchases of the
//! same thing and of the same cart, and whom an origin is paid through.

use super::{Draft, Outcome, claimant};
use crate::claim::{Claim, ClaimKey, ClaimOutcome};
use crate::command::{Hold, Pin, Request};
use crate::id::Digest;
use crate::rejection::{Fault, Refusal, Rejection};
use crate::spend::{Spend, SpendState};
use crate::view::{Keys, PurchaseKey, View};

/// Purchases of one cart, those that came to nothing among them.
pub(super) const CART_PURCHASES_MAX: u8 = 32;

/// Every place that a purchase of this cart may have.
fn carts(cart: Digest) -> impl Iterator<Item = ClaimKey> {
    (0..CART_PURCHASES_MAX).map(move |number| ClaimKey::Cart { cart, number })
}

/// The claims of the cart, and then the spends that they name.
pub(super) fn wants_cart(view: &View, cart: Digest, keys: &mut Keys) {
    for key in carts(cart) {
        keys.claim(view, &key);
        if let Ok(Some(found)) = view.claims.find(&key.digest())
            && let ClaimOutcome::Spend(spend) = &found.claim.outcome
            && !view.spends.is_loaded(spend)
        {
            keys.spends.insert(*spend);
        }
    }
}

pub(super) fn idempotency(request: &Request, hold: &Hold) -> ClaimKey {
    ClaimKey::Idempotency {
        principal: request.caller.principal.clone(),
        operation: hold.operation.clone(),
        key: hold.key.clone(),
    }
}

pub(super) fn leaf(hold: &Hold) -> ClaimKey {
    ClaimKey::Leaf { mandate: hold.budget, nonce: hold.leaf_nonce.clone() }
}

pub(super) fn payee(pin: &Pin) -> ClaimKey {
    ClaimKey::Payee { origin: pin.origin.clone(), network: pin.network.clone() }
}

impl Draft<'_> {
    /// The same key gets the same answer, for ever.
    pub(super) fn answer_of_key(&self, hold: &Hold) -> Result<Option<Outcome>, Refusal> {
        let key = idempotency(self.request, hold);
        let Some(found) = self.view.claims.find(&key.digest())? else { return Ok(None) };
        if found.claim.request != hold.request {
            return Err(Rejection::IdempotencyKeyReused { first: found.claim.request, found: hold.request }.into());
        }
        if let ClaimOutcome::Rejected { .. } = &found.claim.outcome {
            let kept = found.rejection.clone();
            return Err(kept.ok_or_else(|| Fault::NotLoaded("the text of a kept refusal".into()))?.into());
        }
        match self.view.spends.find(&hold.spend)?.map(|spend| spend.state) {
            Some(SpendState::Released | SpendState::Voided | SpendState::Expired) => {
                Err(Rejection::SpendReleased { spend: hold.spend }.into())
            }
            Some(_) => Ok(Some(Outcome::Known)),
            None => Err(Fault::Broken(format!("the key names spend {}, which is not there", hold.spend)).into()),
        }
    }

    /// First contact pins the address; a later change is not the agent's to accept.
    pub(super) fn check_payee(&self, hold: &Hold) -> Result<Option<Claim>, Refusal> {
        let Some(pin) = &hold.pin else { return Ok(None) };
        let key = payee(pin).digest();
        let found = Digest::of(hold.pay_to.as_bytes());
        match self.view.claims.find(&key)? {
            Some(known) if known.claim.request != found => {
                let (origin, expected) = (pin.origin.clone(), known.claim.request);
                Err(Rejection::PayeeChanged { origin, expected, found }.into())
            }
            Some(_) => Ok(None),
            None => Ok(Some(Claim { key, request: found, outcome: ClaimOutcome::Spend(hold.spend) })),
        }
    }

    /// Agents draw new keys when they retry: while a purchase is open, another one of the same thing must be meant.
    pub(super) fn check_open_purchase(&self, hold: &Hold) -> Result<(), Refusal> {
        let bought = self.bought(hold)?;
        let key = PurchaseKey { budget: hold.budget, purchase: hold.purchase };
        let open = self.view.open_purchases.find(&key)?;
        let first = open.and_then(|open| open.first().copied());
        let Some(named) = hold.again_after else {
            let standing = bought.iter().rev().find(|spend| stands(spend.state));
            if let Some(found) = standing.filter(|found| first != Some(found.id)) {
                return Err(Rejection::PurchaseUnresolved { spend: found.id, state: found.state.to_string() }.into());
            }
            let Some(first) = first else { return Ok(()) };
            let state = self.view.spends.find(&first).ok().flatten().map_or("open", |spend| spend.state.as_str());
            return Err(Rejection::PurchaseUnresolved { spend: first, state: state.to_owned() }.into());
        };
        let found = self.view.spends.find(&named)?.ok_or(Rejection::SpendUnknown { spend: named })?;
        let is_same_cart = bought.iter().any(|spend| spend.id == named);
        if !is_same_cart && (found.budget != hold.budget || found.purchase != hold.purchase) {
            return Err(Rejection::AgainAfterElsewhere { spend: named }.into());
        }
        // Of two that were meant as the same second purchase, one is.
        if let Some(follower) = self.view.claims.find(&ClaimKey::Follows(named).digest())? {
            let by = claimant(&follower.claim.outcome);
            return Err(Rejection::AgainAfterUsed { spend: named, by }.into());
        }
        let newest = bought.iter().rev().find(|spend| stands(spend.state)).map(|spend| spend.id);
        if let Some(expected) = newest.filter(|newest| *newest != named) {
            return Err(Rejection::AgainAfterMismatch { expected, found: named }.into());
        }
        match first {
            Some(_) if is_same_cart => Ok(()),
            Some(first) if open.is_some_and(|open| !open.contains(&named)) => {
                Err(Rejection::AgainAfterMismatch { expected: first, found: named }.into())
            }
            _ => Ok(()),
        }
    }

    /// The purchases of this cart so far, oldest first.
    fn bought(&self, hold: &Hold) -> Result<Vec<&Spend>, Refusal> {
        self.bought_by(hold.cart)
    }

    /// The same, and the place of the next one.
    pub(super) fn next_of_cart(&self, cart: Digest) -> Result<(Vec<&Spend>, ClaimKey), Refusal> {
        let bought = self.bought_by(Some(cart))?;
        let number =
            u8::try_from(bought.len()).map_err(|_| Fault::Broken("a cart of too many purchases".to_owned()))?;
        Ok((bought, ClaimKey::Cart { cart, number }))
    }

    fn bought_by(&self, cart: Option<Digest>) -> Result<Vec<&Spend>, Refusal> {
        let mut bought = Vec::new();
        for key in cart.into_iter().flat_map(carts) {
            let Some(found) = self.view.claims.find(&key.digest())? else { return Ok(bought) };
            let ClaimOutcome::Spend(spend) = &found.claim.outcome else {
                return Err(Fault::Broken(format!("a cart was bought by {}", claimant(&found.claim.outcome))).into());
            };
            let spend = self.view.spends.find(spend)?;
            bought.push(spend.ok_or_else(|| Fault::Broken("a cart names a spend that is not there".to_owned()))?);
        }
        match cart {
            Some(cart) => Err(Rejection::CartExhausted { cart, limit: CART_PURCHASES_MAX.into() }.into()),
            None => Ok(bought),
        }
    }

    pub(super) fn check_claims(&self, hold: &Hold) -> Result<(), Refusal> {
        if self.view.claims.find(&leaf(hold).digest())?.is_some() {
            return Err(Rejection::MandateConsumed { mandate: hold.budget }.into());
        }
        let authorization = ClaimKey::Authorization(hold.authorization.clone());
        if let Some(found) = self.view.claims.find(&authorization.digest())? {
            return Err(Rejection::AuthorizationClaimed { spend: claimant(&found.claim.outcome) }.into());
        }
        if let Some(found) = self.view.spends.find(&hold.spend)? {
            return Err(Fault::Broken(format!("spend {} is there without its key", found.id)).into());
        }
        Ok(())
    }

    pub(super) fn claims_of(&self, hold: &Hold) -> Result<Vec<Claim>, Fault> {
        let mut keys =
            vec![idempotency(self.request, hold), ClaimKey::Authorization(hold.authorization.clone()), leaf(hold)];
        keys.extend(hold.again_after.map(ClaimKey::Follows));
        for key in hold.cart.into_iter().flat_map(carts) {
            if self.view.claims.find(&key.digest())?.is_none() {
                keys.push(key);
                break;
            }
        }
        let claim = |key: &ClaimKey| Claim {
            key: key.digest(),
            request: hold.request,
            outcome: ClaimOutcome::Spend(hold.spend),
        };
        Ok(keys.iter().map(claim).collect())
    }
}

/// Something was bought by it, or may still be.
pub(super) const fn stands(state: SpendState) -> bool {
    match state {
        SpendState::Held
        | SpendState::Committed
        | SpendState::Submitted
        | SpendState::Unknown
        | SpendState::Settled
        | SpendState::SpentOtherwise => true,
        SpendState::Voided | SpendState::Expired | SpendState::Released => false,
    }
}
