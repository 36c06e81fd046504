//! A session that a vault token pays (ACP, delegate payment): the merchant redeems it in the vault of this service, for this
//! session, its total and nothing else. The order's name is the key, so whoever comes with the same again goes on.

use commerce::acp_checkout::CARD_HANDLER_ID;
use commerce::checkout::Status;
use ledger::id::{PrincipalId, TenantId};
use ledger::money::Amount;

use super::Shopping;
use super::complete::{Outcome, merchant};
use super::document::Document;
use crate::Engine;
use crate::error::EngineError;
use crate::vault::{ProcessorAnswer, Redemption, Taken, VaultError};

impl Shopping<'_> {
    pub(super) fn takes_cards(&self, handler: &str) -> bool {
        self.role.shop.cards.is_some() && handler == CARD_HANDLER_ID
    }
}

impl Engine {
    /// What an open checkout of a merchant's shop comes to, in minor units, and its currency.
    pub(crate) async fn checkout_total(
        &self,
        shop: &TenantId,
        merchant: &PrincipalId,
        id: &str,
    ) -> Result<Option<(u64, String)>, EngineError> {
        let tenant = self.tenant(shop)?;
        let is_its = tenant.shop.as_ref().is_some_and(|role| role.merchant == *merchant);
        let Some(sessions) = self.sessions.get().filter(|_| is_its) else { return Ok(None) };
        let Some(kept) = sessions.session(shop, id).await? else { return Ok(None) };
        let session = Document::read(&kept.document)?.session.at(self.clock.now().seconds());
        let is_open = session.status == Status::ReadyForPayment;
        Ok(is_open.then_some((session.totals.total, session.currency)))
    }

    pub(super) async fn paid_by_card(
        &self,
        shopping: &Shopping<'_>,
        document: &Document,
        order: &str,
        token: &str,
    ) -> Result<Outcome, EngineError> {
        let (session, amount) = (&document.session, Amount::new(document.session.totals.total.into()));
        let redemption =
            Redemption { token, amount, currency: &session.currency, checkout_session_id: &session.id, key: order };
        let error = match self.redeem(&merchant(shopping), &redemption).await {
            Ok(redeemed) => {
                return match redeemed.answer.map(|kept| kept.processor) {
                    Some(ProcessorAnswer::Done { .. }) => Ok(Outcome::Paid(None)),
                    Some(ProcessorAnswer::Declined { code, .. }) => {
                        Ok(Outcome::Declined(format!("The payment processor declined: {code}.")))
                    }
                    None => Err(EngineError::OutcomeUnknown("the payment processor did not answer".into())),
                };
            }
            Err(error) => error,
        };
        match &error {
            EngineError::Vault(VaultError::InFlight | VaultError::Busy) => Err(error),
            // What was taken for this session, by whichever token and under whichever key, is the truth of it.
            EngineError::Vault(_) | EngineError::Book(_) => {
                match self.taken_for(&merchant(shopping), &session.id).await? {
                    Taken::Captured(captured) if captured.covers(session)? => Ok(Outcome::Paid(None)),
                    Taken::UnderWay => Err(EngineError::OutcomeUnknown(error.to_string())),
                    Taken::Captured(_) | Taken::Nothing => Ok(Outcome::Declined(error.to_string())),
                }
            }
            _ => Err(error),
        }
    }
}
