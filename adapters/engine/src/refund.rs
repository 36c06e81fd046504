//! Money that a payee sends back. x402 has no message for it: whoever hears of the transaction names it, and the chain
//! says what it moved.

use alloy_primitives::{Address, U256};
use ledger::claim::LogPlace;
use ledger::command::{Command, Refund};
use ledger::effects::{Fact, Operation};
use ledger::id::{CallerKind, SpendId};
use ledger::rejection::Rejection;
use ledger::spend::{Observation, Rail, Spend};
use x402::chain::{Receipt, TransferLog};

use crate::book::{self, service};
use crate::consent::forbidden;
use crate::error::EngineError;
use crate::follow::Blocks;
use crate::{Engine, Identity};

impl Engine {
    /// Posts every transfer of the transaction from the payee of a payment back to the wallet that paid it. A transfer
    /// is one refund of one payment, whoever names it and however often.
    pub async fn refund(&self, identity: &Identity, id: SpendId, transaction: &str) -> Result<Spend, EngineError> {
        // It may give back what an agent may spend: nothing that an agent says about itself.
        if matches!(identity.caller.kind, CallerKind::Agent | CallerKind::Merchant) {
            return Err(forbidden("the person, or an operator,", identity));
        }
        let mut spend = self.own_spend(identity, id).await?;
        let found = spend.authorization.rail();
        if found != Rail::Chain {
            let (expected, found) = (Rail::Chain.to_string(), found.to_string());
            return Err(EngineError::Book(Rejection::RailMismatch { spend: id, expected, found }));
        }
        // It may be final since the last sweep.
        if spend.young.is_some() {
            self.follow_spend(&service(&identity.tenant, "reconciler")?, &spend, &mut Blocks::default()).await?;
            spend = self.own_spend(identity, id).await?;
        }
        let wrong = || EngineError::invalid("transaction", "0x and 64 hexadecimal digits", transaction);
        let hash = transaction.parse().map_err(|_| wrong())?;
        let finalized = self.finalized().await?;
        let receipt = self.chain.receipt(hash).await?;
        let receipt = receipt.ok_or_else(|| EngineError::NotFound { what: "transaction", id: format!("{hash:#x}") })?;
        if !receipt.success {
            return Err(EngineError::invalid("transaction", "one that succeeded", "one that reverted"));
        }
        let settled_at = self.settled_at(identity, &spend).await?;
        if settled_at.is_some_and(|block| receipt.block.number <= block) {
            let expected = format!("one after block {}, in which the payment settled", settled_at.unwrap_or(0));
            return Err(EngineError::invalid(
                "transaction",
                expected,
                format!("one of block {}", receipt.block.number),
            ));
        }
        let mut after = None;
        let mut refused = None;
        let found = refunds(&spend, &receipt)?;
        // What can be taken back has not come back: so nothing that was given back to a budget is ever taken from it again.
        if !found.is_empty() && receipt.block.number > finalized {
            let (what, block) = (format!("transaction {hash:#x}"), receipt.block.number);
            return Err(EngineError::Book(Rejection::NotFinal { what, block, finalized }));
        }
        for (number, log) in found {
            let seen = Observation {
                transaction: book::reference(receipt.transaction)?,
                block_number: receipt.block.number,
                block_hash: receipt.block.hash.0,
                pay_to: book::text(log.to),
                amount: book::amount(log.value)?,
            };
            let (network, transaction) = (spend.authorization.chain().to_owned(), seen.transaction.clone());
            let refund = Refund { place: LogPlace { network, transaction, number }, seen };
            match self.run(identity, Command::Refund { spend: id, refund }, Vec::new()).await {
                Ok(answer) => after = answer.spend,
                // The refund of another payment to the same payee, in one transaction with this one's.
                Err(
                    error @ EngineError::Book(Rejection::RefundClaimed { .. } | Rejection::RefundExceedsPayment { .. }),
                ) => refused = Some(error),
                Err(error) => return Err(error),
            }
        }
        match (after, refused) {
            (Some(spend), _) => Ok(spend),
            (None, Some(error)) => Err(error),
            (None, None) => {
                let expected = format!("{} from {} to {}", spend.money.asset, spend.pay_to, spend.authorization.payer);
                Err(EngineError::invalid("transaction", format!("a transfer of {expected}"), "no such transfer"))
            }
        }
    }
}

impl Engine {
    async fn settled_at(&self, identity: &Identity, spend: &Spend) -> Result<Option<u64>, EngineError> {
        let records = self.store.records_of_spend(&identity.tenant, spend.id).await?;
        let says_where = |operation| matches!(operation, Operation::Settle | Operation::Finalise);
        let settled = records.iter().rev().find(|(_, effects)| says_where(effects.operation));
        Ok(settled.and_then(|(_, effects)| match &effects.fact {
            Some(Fact::Seen(seen)) => Some(seen.block_number),
            _ => None,
        }))
    }
}

/// With their places among the transfers of the transaction.
fn refunds(spend: &Spend, receipt: &Receipt) -> Result<Vec<(u32, TransferLog)>, EngineError> {
    let expected = book::expected_of_spend(spend)?;
    let (payee, payer, token): (Address, Address, Address) = (expected.to, expected.key.payer, expected.key.token);
    let is_back = |log: &TransferLog| {
        log.asset == token && log.from == payee && log.to == payer && log.value > U256::ZERO && payee != payer
    };
    Ok((0..).zip(receipt.transfers.iter().copied()).filter(|(_, log)| is_back(log)).collect())
}
