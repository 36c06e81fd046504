//! What processes left behind of what is held.

use ledger::id::TenantId;
use ledger::settlement::{Role, Settlement, SettlementState};
use x402::chain::At;

use super::hold::Hold;
use super::signer;
use crate::book::service;
use crate::error::EngineError;
use crate::ports::Relayed;
use crate::sell::SELLER;
use crate::sell::goods::Stage;
use crate::tenant::Seller;
use crate::{Engine, Identity};

/// How long after the end of what was signed an answer may still come at least and at most, in seconds: as long as a payment
/// lives, where that lies between. Later all of it goes back.
const WORK_SECONDS: (i64, i64) = (5, 60);

impl Engine {
    /// Sees to what is held and in nobody's hands: what is decided is asked for again, and what nobody works for any more goes
    /// back. How many were seen to.
    pub async fn sweep_holds(&self, tenant: &TenantId) -> Result<u32, EngineError> {
        let seller = self.seller(tenant)?;
        if seller.holds.is_none() {
            return Ok(0);
        }
        let identity = service(tenant, SELLER)?;
        let is_due = |sale: &Settlement| {
            let is_own = sale.key.role == Role::Seller && sale.key.authorization.is_held();
            is_own && sale.state == SettlementState::Submitted && !self.desk.has(tenant, &sale.key)
        };
        let mut seen_to = 0_u32;
        for (_, sale) in self.open_settlements_that(tenant, None, usize::MAX, is_due).await? {
            let Some(hand) = self.desk.take(tenant, &sale.key) else { continue };
            match self.see_to(&identity, &seller, &sale).await {
                Ok(done) => seen_to = seen_to.saturating_add(u32::from(done)),
                Err(error) => tracing::warn!(%tenant, code = error.code(), "what is held is not seen to: {error}"),
            }
            drop(hand);
        }
        Ok(seen_to)
    }

    async fn see_to(&self, identity: &Identity, seller: &Seller, sale: &Settlement) -> Result<bool, EngineError> {
        let Some((held, document)) = self.held_sale(&identity.tenant, sale).await? else { return Ok(false) };
        let (hold, now) = (Hold::of(&held.payment)?, self.clock.now().seconds());
        let (least, most) = WORK_SECONDS;
        let lives = i64::try_from(held.payment.requirements.max_timeout_seconds).unwrap_or(most);
        let work_ends = sale.valid_before.saturating_add(lives.clamp(least, most));
        let request = match held.stage {
            Stage::Holding | Stage::Working if now < work_ends => return Ok(false),
            Stage::Holding | Stage::Working => {
                self.decide_void(identity, &sale.key, &held.payment, Some(document)).await?
            }
            // Nothing is captured any more; all of it can still be given back.
            Stage::Capturing if now >= hold.info.authorization_expiry.saturating_to::<i64>() => {
                Some(hold.void(signer(seller)?)?)
            }
            Stage::Capturing | Stage::Voiding => held.request,
        };
        let state = self.chain.escrowed(hold.payment(), At::Latest).await?;
        if let Some(request) = request.filter(|_| !state.capturable.is_zero())
            && let Relayed::Silence(why) = self.ask_operator(seller, &held.payment, request).await
        {
            tracing::warn!(payer = sale.key.authorization.payer, "what is held is not seen to: {why}");
        }
        self.look_for_sale(identity, sale).await.map(|state| !state.is_open())
    }
}
