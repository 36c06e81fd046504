//! What a payer lets be held, what is signed of it, and what the escrow has of it.

use std::num::NonZeroU64;
use std::time::Duration;

use alloy_primitives::{Address, B256};
use ledger::money::Amount;
use ledger::settlement::Settlement;
use serde_json::{Map, Value};
use tokio::time::Instant;
use x402::auth_capture::{self, Capture, ESCROW, PaymentInfo};
use x402::chain::At;
use x402::exact::{Terms, Transfer};
use x402::network::Network;
use x402::settlement::is_consumed;
use x402::value;
use x402::wire::SettleResponse;

use super::is_refused;
use crate::book;
use crate::error::EngineError;
use crate::ports::{HoldSigner, Relayed};
use crate::sell::goods::Payment;
use crate::{Engine, Identity};

/// The longest pause between two looks at the escrow.
const LOOK_AGAIN: Duration = Duration::from_millis(250);

/// What the payer signed, and whose signature takes of it.
pub(super) struct Hold {
    pub network: Network,
    pub authorizer: Address,
    pub amount: Amount,
    pub info: PaymentInfo,
    salt_nonce: B256,
}

impl Hold {
    pub fn of(payment: &Payment) -> Result<Self, EngineError> {
        let terms = auth_capture::terms(&payment.requirements)?;
        let broken = || EngineError::Broken("a held payment without its terms".into());
        let Terms { network, amount, transfer: Transfer::Escrow(escrow), .. } = terms else { return Err(broken()) };
        let escrowed = auth_capture::read_payment(&payment.payload, &terms)?;
        let salt_nonce = payment.payload.payload.get("saltNonce").and_then(Value::as_str);
        let salt_nonce = salt_nonce.and_then(|text| value::bytes32(text).ok()).ok_or_else(broken)?;
        Ok(Self { network, authorizer: escrow.receiver_authorizer, amount, info: escrowed.info, salt_nonce })
    }

    pub fn payment(&self) -> B256 {
        self.info.hash(self.network, ESCROW)
    }

    /// `charged` of it is captured and the rest goes back; of nothing all of it does.
    pub fn request(&self, signer: &dyn HoldSigner, charged: Amount) -> Result<Map<String, Value>, EngineError> {
        if charged.is_zero() {
            return self.void(signer);
        }
        let capture = Capture {
            amount: charged,
            fee_bps: self.info.min_fee_bps,
            fee_receiver: self.info.fee_receiver,
            expected_capturable: self.amount,
            expected_refundable: Amount::ZERO,
        };
        let signature = signer.sign_capture(self.authorizer, self.network, &self.info, &capture)?;
        let rest = match charged == self.amount {
            true => None,
            false => Some(signer.sign_void(self.authorizer, self.network, &self.info)?),
        };
        Ok(auth_capture::capture_payload(&self.info, self.salt_nonce, &capture, &signature, rest.as_ref()))
    }

    pub fn void(&self, signer: &dyn HoldSigner) -> Result<Map<String, Value>, EngineError> {
        let signature = signer.sign_void(self.authorizer, self.network, &self.info)?;
        Ok(auth_capture::void_payload(&self.info, self.salt_nonce, &signature))
    }
}

/// What the escrow has of a payment that is to be held.
pub(super) enum Seen {
    Held,
    NotYet,
    /// It was there, and something was done with it.
    Gone,
}

impl Engine {
    /// As many blocks deep as whoever sells wants.
    pub(super) async fn held_state(&self, hold: &Hold, confirmations: NonZeroU64) -> Result<Seen, EngineError> {
        let payment = hold.payment();
        let latest = self.chain.escrowed(payment, At::Latest).await?;
        if latest.collected && latest.capturable != hold.amount {
            return Ok(Seen::Gone);
        }
        let depth = confirmations.max(self.confirmations).get().saturating_sub(1);
        let deep = if depth == 0 || !latest.collected {
            latest
        } else {
            let head = self.chain.block(At::Latest).await?.number;
            self.chain.escrowed(payment, At::Number(head.saturating_sub(depth))).await?
        };
        Ok(if deep.collected && deep.capturable == hold.amount { Seen::Held } else { Seen::NotYet })
    }

    pub(super) async fn await_hold(
        &self,
        identity: &Identity,
        hold: &Hold,
        confirmations: NonZeroU64,
        relayed: Option<&Relayed<SettleResponse>>,
    ) -> Result<Seen, EngineError> {
        let patience = match relayed {
            Some(Relayed::Answer(response)) if is_refused(response) => Duration::ZERO,
            _ => self.settle_wait(&identity.tenant)?,
        };
        let deadline = Instant::now() + patience;
        let mut pause = Duration::from_millis(5);
        loop {
            let seen = self.held_state(hold, confirmations).await?;
            if !matches!(seen, Seen::NotYet) || Instant::now() + pause > deadline {
                return Ok(seen);
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LOOK_AGAIN);
        }
    }

    pub(super) async fn is_used(&self, sale: &Settlement) -> Result<bool, EngineError> {
        let expected = book::expected(&sale.key.authorization, &sale.pay_to, sale.money.amount, sale.valid_before)?;
        Ok(is_consumed(self.chain.as_ref(), expected.key, At::Latest).await?)
    }
}
