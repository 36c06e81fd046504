//! Money that goes back from whoever was paid to whoever paid. x402 has no message for it: whoever hears of the transaction
//! names it, and the chain says what it moved. What comes back to our wallet and what our seller gives back are read alike.

use alloy_primitives::{Address, U256};
use ledger::claim::LogPlace;
use ledger::command::{Command, Refund};
use ledger::effects::{Fact, Operation};
use ledger::id::{CallerKind, SpendId};
use ledger::rejection::Rejection;
use ledger::settlement::{Settlement, SettlementState};
use ledger::spend::{Observation, Rail, Spend};
use ledger::store::Answer;
use x402::auth_capture::HeldKind;
use x402::chain::{ChainError, Receipt, TransferLog};
use x402::settlement::{ClaimKey, Expected};

use crate::book::{self, service};
use crate::consent::forbidden;
use crate::error::EngineError;
use crate::follow::Blocks;
use crate::sell::{SELLER, sale_key};
use crate::{Engine, Identity};

/// Transfers of one transaction, of which so many are refunds of one payment.
struct Back {
    among: Vec<Refund>,
    count: usize,
}

/// A transaction that somebody says gave money back.
struct Named {
    receipt: Receipt,
    /// The last final block, read before.
    finalized: u64,
}

impl Engine {
    /// Posts every transfer of the transaction from the payee of a payment back to the wallet that paid it, and what the escrow
    /// says that it gave back of it. A transfer is one refund of one payment, whoever names it and however often.
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
        let named = self.named_transaction(transaction).await?;
        let expected = book::expected_of_spend(&spend)?;
        let settled_at = self.settled_at(identity, &spend).await?;
        // The escrow says itself which payment it gives back.
        let of_escrow = self.given_back_by_escrow(&spend, &expected, &named.receipt).await?;
        let found = named.back(&expected, settled_at, of_escrow)?;
        let command = |refund| Command::Refund { spend: id, refund };
        let posted = self.post_refunds(identity, found, command).await?;
        posted.spend.ok_or_else(|| EngineError::Broken("a refund without a payment".into()))
    }

    /// A sale of this tenant's, for its merchant and for an operator.
    pub async fn sale(&self, identity: &Identity, payment: &ClaimKey) -> Result<Settlement, EngineError> {
        let tenant = self.tenant(&identity.tenant)?;
        let caller = &identity.caller;
        let merchant = tenant.merchants.get(&caller.principal).filter(|_| caller.kind == CallerKind::Merchant);
        let seller = tenant.seller.as_ref().map(|seller| seller.payee.as_str());
        let is_its = merchant.is_some_and(|role| seller == Some(role.merchant.id.as_str()));
        if !(is_its || matches!(caller.kind, CallerKind::Operator | CallerKind::Service)) {
            return Err(forbidden("the merchant who sold it, or an operator,", identity));
        }
        let found = self.store.settlement(&identity.tenant, &sale_key(payment)?).await?;
        found.ok_or_else(|| EngineError::NotFound { what: "sale", id: payment.to_string() })
    }

    /// Posts every transfer of the transaction from where a sale was paid to, back to whoever paid it. A transfer gives back one
    /// sale, whoever names it and however often.
    pub async fn refund_sale(
        &self,
        identity: &Identity,
        payment: &ClaimKey,
        transaction: &str,
    ) -> Result<Settlement, EngineError> {
        let mut sale = self.sale(identity, payment).await?;
        if sale.young.is_some() {
            self.follow_settlement(&service(&identity.tenant, SELLER)?, &sale, &mut Blocks::default()).await?;
            sale = self.sale(identity, payment).await?;
        }
        let named = self.named_transaction(transaction).await?;
        let expected = book::expected(&sale.key.authorization, &sale.pay_to, sale.money.amount, sale.valid_before)?;
        let found = named.back(&expected, self.paid_at(&sale).await?, Vec::new())?;
        let (key, finalized) = (&sale.key, named.finalized);
        let command = |refund| Command::GiveBack { settlement: key.clone(), refund, finalized };
        let posted = self.post_refunds(identity, found, command).await?;
        posted.settlement.ok_or_else(|| EngineError::Broken("a refund without a sale".into()))
    }

    async fn named_transaction(&self, transaction: &str) -> Result<Named, EngineError> {
        let wrong = || EngineError::invalid("transaction", "0x and 64 hexadecimal digits", transaction);
        let hash = transaction.parse().map_err(|_| wrong())?;
        let finalized = self.finalized().await?;
        let receipt = self.chain.receipt(hash).await?;
        let receipt = receipt.ok_or_else(|| EngineError::NotFound { what: "transaction", id: format!("{hash:#x}") })?;
        if !receipt.success {
            return Err(EngineError::invalid("transaction", "one that succeeded", "one that reverted"));
        }
        Ok(Named { receipt, finalized })
    }

    /// What is another payment's already, in one transaction with this one's, is passed over.
    async fn post_refunds(
        &self,
        identity: &Identity,
        found: Vec<Back>,
        command: impl Fn(Refund) -> Command,
    ) -> Result<Answer, EngineError> {
        let (mut after, mut refused) = (None, None);
        for Back { among, count } in found {
            let mut left = count;
            for refund in among {
                if left == 0 {
                    break;
                }
                match self.run(identity, command(refund), Vec::new()).await {
                    Ok(answer) => {
                        left = left.saturating_sub(1);
                        after = Some(answer);
                    }
                    Err(EngineError::Book(
                        rejection @ (Rejection::RefundClaimed { .. }
                        | Rejection::RefundExceedsPayment { .. }
                        | Rejection::RefundExceedsSale { .. }),
                    )) => refused = Some(EngineError::Book(rejection)),
                    Err(error) => return Err(error),
                }
            }
        }
        let nothing =
            || EngineError::Broken("a transaction that gives back nothing was taken for one that does".into());
        after.ok_or_else(|| refused.unwrap_or_else(nothing))
    }

    async fn settled_at(&self, identity: &Identity, spend: &Spend) -> Result<Option<u64>, EngineError> {
        let records = self.store.records_of_spend(&identity.tenant, spend.id).await?;
        let says_where = |operation| matches!(operation, Operation::Settle | Operation::Finalise);
        let settled = records.iter().rev().find(|(_, effects)| says_where(effects.operation));
        Ok(settled.and_then(|(_, effects)| match &effects.fact {
            Some(Fact::Seen(seen)) => Some(seen.block_number),
            _ => None,
        }))
    }

    /// The block that a sale was paid in; `None` of one that is not paid, or for which nothing was charged.
    async fn paid_at(&self, sale: &Settlement) -> Result<Option<u64>, EngineError> {
        let is_paid = matches!(sale.state, SettlementState::Settled | SettlementState::Undelivered);
        let paid = sale.transaction.as_ref().filter(|_| is_paid).and_then(book::transaction);
        let Some(hash) = paid else { return Ok(None) };
        let gone = || ChainError::Unavailable(format!("the receipt of {hash}, which paid this sale, is not there"));
        Ok(Some(self.chain.receipt(hash).await?.ok_or_else(gone)?.block.number))
    }

    /// How much the escrow of `auth-capture` says that it gave back of this very payment in the transaction, log by log.
    async fn given_back_by_escrow(
        &self,
        spend: &Spend,
        expected: &Expected,
        receipt: &Receipt,
    ) -> Result<Vec<U256>, EngineError> {
        let key = expected.key;
        if !spend.authorization.is_escrowed() {
            return Ok(Vec::new());
        }
        let used = self.chain.find_authorization(key.token, key.payer, key.nonce, spend.since_block).await?;
        let Some(used) = used else { return Ok(Vec::new()) };
        let Some(held) = self.chain.held(key, &used).await? else { return Ok(Vec::new()) };
        let of_this = held.logs.iter().filter(|log| log.kind == HeldKind::Refunded);
        let of_this =
            of_this.filter(|log| (log.transaction, log.block.hash) == (receipt.transaction, receipt.block.hash));
        Ok(of_this.map(|log| log.amount).collect())
    }
}

impl Named {
    /// What it gave back of a payment: transfers from its payee, which come after it, and as many transfers to its payer as the
    /// escrow says that it made for it, each of the amount that it says. What can be taken back has not come back: so nothing
    /// that was given back to a budget is ever taken from it again.
    fn back(&self, expected: &Expected, paid_at: Option<u64>, of_escrow: Vec<U256>) -> Result<Vec<Back>, EngineError> {
        let (payee, payer, token) = (expected.to, expected.key.payer, expected.key.token);
        let block = self.receipt.block.number;
        let is_after = paid_at.is_none_or(|paid_at| block > paid_at);
        let network = expected.key.network.to_string();
        let plain = self.transfers(&network, |log| from_to(log, token, payer) && log.from == payee && is_after)?;
        let mut found = vec![Back { count: plain.len(), among: plain }];
        let mut amounts = of_escrow;
        amounts.sort_unstable();
        for same in amounts.chunk_by(|one, other| one == other) {
            let amount = same.first().copied().unwrap_or_default();
            let is_that = |log: &TransferLog| from_to(log, token, payer) && log.from != payee && log.value == amount;
            let among = self.transfers(&network, is_that)?;
            found.push(Back { among, count: same.len() });
        }
        found.retain(|back| !back.among.is_empty());
        if found.is_empty() {
            return Err(match paid_at.filter(|_| !is_after) {
                Some(paid_at) => {
                    let expected = format!("one after block {paid_at}, in which the payment settled");
                    EngineError::invalid("transaction", expected, format!("one of block {block}"))
                }
                None => {
                    let expected = format!("a transfer of {token:#x} from {payee:#x} to {payer:#x}");
                    EngineError::invalid("transaction", expected, "no such transfer")
                }
            });
        }
        if block > self.finalized {
            let (what, finalized) = (format!("transaction {:#x}", self.receipt.transaction), self.finalized);
            return Err(EngineError::Book(Rejection::NotFinal { what, block, finalized }));
        }
        Ok(found)
    }

    /// With their places among the transfers of the transaction.
    fn transfers(&self, network: &str, is_back: impl Fn(&TransferLog) -> bool) -> Result<Vec<Refund>, EngineError> {
        let (receipt, transaction) = (&self.receipt, book::reference(self.receipt.transaction)?);
        let found = (0..).zip(&receipt.transfers).filter(|(_, log)| is_back(log));
        let refunds = found.map(|(number, log)| {
            let place = LogPlace { network: network.to_owned(), transaction: transaction.clone(), number };
            let (block_number, block_hash) = (receipt.block.number, receipt.block.hash.0);
            let (pay_to, amount) = (book::text(log.to), book::amount(log.value)?);
            let seen = Observation { transaction: transaction.clone(), block_number, block_hash, pay_to, amount };
            Ok(Refund { place, seen })
        });
        refunds.collect()
    }
}

fn from_to(log: &TransferLog, token: Address, payer: Address) -> bool {
    log.asset == token && log.to == payer && log.from != payer && log.value > U256::ZERO
}

#[cfg(test)]
mod tests {
    use alloy_primitives::B256;
    use x402::chain::Block;
    use x402::network::Network;
    use x402::settlement::{Charge, NonceSpace};

    use super::*;

    const TOKEN: Address = Address::repeat_byte(1);
    const PAYER: Address = Address::repeat_byte(2);
    const PAYEE: Address = Address::repeat_byte(3);
    const STORE: Address = Address::repeat_byte(4);
    const ELSEWHERE: Address = Address::repeat_byte(5);
    const PAID_AT: u64 = 10;

    fn expected() -> Expected {
        let (space, network) = (NonceSpace::Held, Network::new(8453).unwrap());
        let key = ClaimKey { space, network, token: TOKEN, payer: PAYER, nonce: B256::ZERO };
        Expected { key, to: PAYEE, value: U256::from(100), charge: Charge::Whole, valid_before: 9 }
    }

    fn log(asset: Address, from: Address, to: Address, value: u64) -> TransferLog {
        TransferLog { asset, from, to, value: U256::from(value) }
    }

    fn named(number: u64, finalized: u64, transfers: &[TransferLog]) -> Named {
        let receipt = Receipt {
            transaction: B256::repeat_byte(7),
            block: Block { number, hash: B256::repeat_byte(8), timestamp: 1 },
            sender: ELSEWHERE,
            success: true,
            gas_used: 1,
            effective_gas_price: 1,
            transfers: transfers.to_vec(),
            used: Vec::new(),
            channels: Vec::new(),
            escrow: Vec::new(),
        };
        Named { receipt, finalized }
    }

    /// Number and amount of each that may be one, and how many of them are.
    type Found = (Vec<(u32, u128)>, usize);

    fn back(named: &Named, of_escrow: &[u64]) -> Result<Vec<Found>, &'static str> {
        let of_escrow = of_escrow.iter().map(|amount| U256::from(*amount)).collect();
        let found = named.back(&expected(), Some(PAID_AT), of_escrow).map_err(|error| error.code())?;
        let each = |back: Back| {
            let among = back.among.iter().map(|refund| (refund.place.number, refund.seen.amount.get())).collect();
            (among, back.count)
        };
        Ok(found.into_iter().map(each).collect())
    }

    #[test]
    fn what_is_no_transfer_from_the_payee_to_the_payer_gives_nothing_back() {
        for (transfers, what) in [
            (&[][..], "nothing"),
            (&[log(ELSEWHERE, PAYEE, PAYER, 5)], "another token"),
            (&[log(TOKEN, PAYEE, ELSEWHERE, 5)], "another payer"),
            (&[log(TOKEN, ELSEWHERE, PAYER, 5)], "another payee"),
            (&[log(TOKEN, PAYER, PAYEE, 5)], "the other way"),
            (&[log(TOKEN, PAYER, PAYER, 5)], "to itself"),
            (&[log(TOKEN, PAYEE, PAYER, 0)], "of nothing"),
        ] {
            assert_eq!(back(&named(11, 20, transfers), &[]), Err("invalid_request"), "{what}");
        }
        let good = [log(TOKEN, PAYEE, PAYER, 5)];
        for (number, finalized, code) in
            [(10, 20, "invalid_request"), (9, 20, "invalid_request"), (11, 10, "not_final"), (21, 20, "not_final")]
        {
            assert_eq!(back(&named(number, finalized, &good), &[]), Err(code), "block {number} of {finalized}");
        }
        let among =
            [log(TOKEN, STORE, PAYER, 7), good[0], log(ELSEWHERE, PAYEE, PAYER, 5), log(TOKEN, PAYEE, PAYER, 6)];
        assert_eq!(back(&named(11, 11, &among), &[]), Ok(vec![(vec![(1, 5), (3, 6)], 2)]), "each, at its place");
    }

    /// As many as it says, each of what it says; a transfer that it says nothing of is none of its refunds.
    #[test]
    fn the_escrow_gave_back_what_it_says_and_the_token_shows() {
        let store = |value| log(TOKEN, STORE, PAYER, value);
        for (transfers, said, what) in [
            (&[store(5)][..], &[][..], "nothing is said"),
            (&[store(5)], &[6], "another amount"),
            (&[log(TOKEN, STORE, ELSEWHERE, 5)], &[5], "to somebody else"),
            (&[log(ELSEWHERE, STORE, PAYER, 5)], &[5], "of another token"),
            (&[], &[5], "and nothing moved"),
        ] {
            assert_eq!(back(&named(11, 20, transfers), said), Err("invalid_request"), "{what}");
        }
        let two = [store(5), store(6), store(5), log(TOKEN, PAYEE, PAYER, 5)];
        let plain = (vec![(3, 5)], 1);
        let said = back(&named(11, 20, &two), &[5]).unwrap();
        assert_eq!(said, [plain.clone(), (vec![(0, 5), (2, 5)], 1)], "one of both: the other is another payment's");
        let said = back(&named(11, 20, &two), &[6, 5, 5]).unwrap();
        assert_eq!(said, [plain, (vec![(0, 5), (2, 5)], 2), (vec![(1, 6)], 1)]);
        // In the block of the capture itself only the escrow can say which came first.
        assert_eq!(back(&named(PAID_AT, 20, &two), &[6]), Ok(vec![(vec![(1, 6)], 1)]));
        assert_eq!(back(&named(21, 20, &two), &[6]), Err("not_final"));
    }
}
