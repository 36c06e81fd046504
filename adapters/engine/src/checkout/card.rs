//! A session that a vault token pays (ACP, delegate payment): the merchant redeems it in the vault of this service, for this
//! session, its total and nothing else. The order's name is the key, so whoever comes with the same again goes on.

use commerce::acp_checkout::CARD_HANDLER_ID;
use ledger::money::Amount;
use ledger::spend::SpendState;

use super::Shopping;
use super::complete::{Outcome, merchant};
use super::document::Document;
use crate::Engine;
use crate::error::EngineError;
use crate::vault::{ProcessorAnswer, Redemption, VaultError};

impl Shopping<'_> {
    pub(super) fn takes_cards(&self, handler: &str) -> bool {
        self.role.shop.cards.is_some() && handler == CARD_HANDLER_ID
    }
}

impl Engine {
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
            EngineError::Vault(VaultError::InFlight) => Err(EngineError::OutcomeUnknown(error.to_string())),
            EngineError::Vault(_) => Ok(Outcome::Declined(error.to_string())),
            // What the book refused is over only where it says that nothing of the token is under way.
            EngineError::Book(_) => {
                let found = self.token_view(&merchant(shopping), token).await?;
                match found.view.spend.state {
                    SpendState::Held | SpendState::Voided | SpendState::Expired => {
                        Ok(Outcome::Declined(error.to_string()))
                    }
                    _ => Err(EngineError::OutcomeUnknown(error.to_string())),
                }
            }
            _ => Err(error),
        }
    }
}
