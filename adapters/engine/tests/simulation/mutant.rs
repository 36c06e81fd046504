//! Deliberate bugs. Each is a store, a node or a database that does one thing wrong; the rules themselves stay as they are.
//! The suite is worth what it finds: every one of these must be caught.

use ledger::account::{Account, Side};
use ledger::budget::{Budget, BudgetMove, BudgetState, BudgetStep};
use ledger::command::{Command, ReleaseProof, Request};
use ledger::effects::{Effects, Operation};
use ledger::gate::Scope;
use ledger::id::SpendId;
use ledger::spend::{Observation, SpendState, UnusedProof};
use ledger::transfer::{Layer, Transfer, TransferCode};
use ledger::window::WindowMove;
use x402::chain::Block;

use super::tables::{Tables, spend_of};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutant {
    /// A hold debits the mandate and none of its ancestors.
    SkipAncestors,
    /// A hold reads no caps above the mandate.
    ForgetAncestorCaps,
    /// A hold is counted in the period after its own.
    WrongPeriod,
    /// The credit side of a settlement is not posted.
    DropSide,
    /// A settlement is posted twice.
    PostTwice,
    /// A settlement is written without its leg.
    DropLeg,
    /// A proved release gives back half of what was issued.
    HalfRelease,
    /// A release leaves the number of payments as it was.
    KeepCount,
    /// The void of a hold is written twice into its record.
    ResolveTwice,
    /// The hold does not look at the claims.
    AcceptKeyAgain,
    /// A refusal is not kept under its key.
    KeepNoRefusal,
    /// The claim of a refund is not looked at.
    RefundTwice,
    /// A refund is posted with twice its amount.
    RefundMore,
    /// Two payments have one nonce.
    SameNonce,
    /// The gates are not read again before the signature.
    ForgetGateAtCommit,
    /// The gates are not read before a hold.
    ForgetGateAtHold,
    /// The gates of builds are not read.
    ForgetBuild,
    /// The gates of issuers are not read.
    ForgetIssuer,
    /// The gate of an issuer is not read when somebody decides.
    ForgetIssuerOfDecision,
    /// A hold does not know when the mandate was last used.
    ForgetUse,
    /// A revoked or suspended mandate passes for an active one.
    ForgetRevocation,
    /// The word of a counterparty settles a payment.
    BelieveReport,
    /// The word of a counterparty that it failed releases a payment.
    ReleaseOnReport,
    /// What nobody can say anything about is taken as failed.
    UnknownIsFailed,
    /// The head of the chain passes for final.
    IgnoreFinality,
    /// A consumed nonce passes for a payment.
    TrustState,
    /// A node without the logs of a consumed nonce passes for one that says "unused".
    DenyUse,
    /// A commitment is answered before it is written, and lost.
    AnswerBeforeCommit,
    /// An old record is changed, and the tree computed anew.
    RewriteRecord,
    /// A figure of a budget is changed in its row.
    RewriteRow,
    /// A spend is taken back to an earlier state in its row.
    RewriteSpend,
    /// A record takes the time of the clock, also where it went back.
    ClockGoesBack,
    /// A leg is posted to a wallet of another book.
    CrossBooks,
    /// What is settled is never looked at again.
    NeverLookAgain,
    /// What the chain took back is given back, without a proof that it can never come.
    ReleaseTakenBack,
    /// An event of a record is not written.
    LoseEvent,
}

impl Mutant {
    pub const ALL: [Self; 36] = [
        Self::SkipAncestors,
        Self::ForgetAncestorCaps,
        Self::WrongPeriod,
        Self::DropSide,
        Self::PostTwice,
        Self::DropLeg,
        Self::HalfRelease,
        Self::KeepCount,
        Self::ResolveTwice,
        Self::AcceptKeyAgain,
        Self::KeepNoRefusal,
        Self::RefundTwice,
        Self::RefundMore,
        Self::SameNonce,
        Self::ForgetGateAtCommit,
        Self::ForgetGateAtHold,
        Self::ForgetBuild,
        Self::ForgetIssuer,
        Self::ForgetIssuerOfDecision,
        Self::ForgetUse,
        Self::ForgetRevocation,
        Self::BelieveReport,
        Self::ReleaseOnReport,
        Self::UnknownIsFailed,
        Self::IgnoreFinality,
        Self::TrustState,
        Self::DenyUse,
        Self::AnswerBeforeCommit,
        Self::RewriteRecord,
        Self::RewriteRow,
        Self::RewriteSpend,
        Self::ClockGoesBack,
        Self::CrossBooks,
        Self::NeverLookAgain,
        Self::ReleaseTakenBack,
        Self::LoseEvent,
    ];

    pub fn sees_budget(mutant: Option<Self>, request: &Request, mut row: Budget) -> Budget {
        match (mutant, &request.command) {
            (Some(Self::ForgetAncestorCaps), Command::Hold(_)) if row.path.len() < 3 => {
                row.caps.total = None;
                row.is_over = false;
            }
            (Some(Self::ForgetRevocation), Command::Hold(_) | Command::Commit { .. }) => {
                row.state = BudgetState::Active;
            }
            (Some(Self::ForgetUse), Command::Hold(_)) => row.last_use = None,
            _ => {}
        }
        row
    }

    /// What a blinded command did not see it does not overwrite.
    pub fn writes_budget(mutant: Option<Self>, request: &Request, stored: Option<&Budget>, mut row: Budget) -> Budget {
        let blinded = matches!(mutant, Some(Self::ForgetAncestorCaps | Self::ForgetRevocation));
        let Some(stored) = stored.filter(|_| blinded) else { return row };
        if matches!(request.command, Command::Hold(_) | Command::Commit { .. }) {
            row.caps = stored.caps.clone();
            row.state = stored.state;
        }
        row
    }

    pub fn sees_spend(mutant: Option<Self>, request: &Request, _: SpendId) -> bool {
        !(mutant == Some(Self::AcceptKeyAgain) && matches!(request.command, Command::Hold(_)))
    }

    pub fn sees_claims(mutant: Option<Self>, request: &Request) -> bool {
        let blind = matches!(
            (mutant, &request.command),
            (Some(Self::AcceptKeyAgain), Command::Hold(_)) | (Some(Self::RefundTwice), Command::Refund { .. })
        );
        !blind
    }

    pub fn sees_gate(mutant: Option<Self>, request: &Request, scope: &Scope) -> bool {
        let blind = matches!(
            (mutant, &request.command, scope),
            (Some(Self::ForgetGateAtCommit), Command::Commit { .. }, _)
                | (Some(Self::ForgetGateAtHold), Command::Hold(_), _)
                | (Some(Self::ForgetBuild), Command::Hold(_) | Command::Commit { .. }, Scope::Build(_))
                | (Some(Self::ForgetIssuer), Command::Hold(_) | Command::Commit { .. }, Scope::Issuer(_))
                | (Some(Self::ForgetIssuerOfDecision), Command::Decide { .. } | Command::OpenBudget(_), _)
        );
        !blind
    }

    /// What is run instead of what was asked.
    pub fn command(mutant: Option<Self>, tables: &Tables, request: &Request, finalized: &Block) -> Request {
        let found = spend_of(&request.command).and_then(|id| tables.spends.get(&id));
        let (Some(mutant), Some(found)) = (mutant, found) else { return request.clone() };
        let proof = UnusedProof {
            finalized_number: finalized.number,
            finalized_hash: finalized.hash.0,
            finalized_timestamp: found.valid_before,
        };
        let command = match (mutant, &request.command) {
            (Self::ReleaseOnReport, Command::Submit { spend, .. })
            | (Self::UnknownIsFailed, Command::Doubt { spend }) => {
                Command::Release { spend: *spend, proof: ReleaseProof::Unused(proof) }
            }
            (Self::BelieveReport, Command::Submit { spend, transaction }) => {
                let seen = Observation {
                    transaction: transaction.clone(),
                    block_number: finalized.number,
                    block_hash: finalized.hash.0,
                    pay_to: found.pay_to.clone(),
                    amount: found.money.amount,
                };
                Command::Settle { spend: *spend, seen, finalized: finalized.number }
            }
            _ => return request.clone(),
        };
        Request { caller: request.caller.clone(), command }
    }

    /// What is written instead of what was decided.
    pub fn effects(self, effects: &mut Effects) {
        match (self, effects.operation) {
            (Self::SkipAncestors, Operation::Hold) => effects.moves.truncate(1),
            (Self::WrongPeriod, Operation::Hold) => {
                effects.windows.iter_mut().for_each(|step| step.key.place += 1);
                let keys = effects.windows.iter().map(|step| step.key.clone()).collect();
                effects.spend.iter_mut().for_each(|spend| spend.windows = Vec::clone(&keys));
            }
            (Self::DropLeg, Operation::Settle) => effects.transfers.clear(),
            (Self::HalfRelease, Operation::Release) => effects.transfers.truncate(1),
            (Self::ResolveTwice, Operation::Void | Operation::Expire) => {
                effects.transfers.extend(effects.transfers.clone());
            }
            (Self::ClockGoesBack, Operation::Commit) => effects.at = effects.at.plus_micros(-20_000_000),
            (Self::RefundMore, Operation::Refund) => {
                let double = |leg: &mut Transfer| leg.amount = leg.amount.checked_add(leg.amount).unwrap();
                effects.transfers.iter_mut().for_each(double);
            }
            (Self::SameNonce, Operation::Hold) => {
                effects.spend.iter_mut().for_each(|spend| spend.authorization.nonce = [1; 32]);
            }
            (Self::NeverLookAgain, Operation::Settle) => effects.spend.iter_mut().for_each(|spend| spend.young = None),
            (Self::ReleaseTakenBack, Operation::Unsettle) => release(effects),
            (Self::CrossBooks, Operation::Settle) => {
                let other = Account::Wallet(format!("eip155:31337:0x{}", "9".repeat(40)));
                effects.transfers.iter_mut().for_each(|leg| leg.credit = other.clone());
            }
            _ => {}
        }
    }

    pub fn sides(mutant: Option<Self>, effects: &Effects, leg: &Transfer) -> Vec<(Side, Account)> {
        let both = vec![(Side::Debit, leg.debit.clone()), (Side::Credit, leg.credit.clone())];
        match mutant {
            Some(Self::DropSide) if effects.operation == Operation::Settle => both[..1].to_vec(),
            Some(Self::PostTwice) if effects.operation == Operation::Settle && leg.layer == Layer::Posted => {
                [both.clone(), both].concat()
            }
            _ => both,
        }
    }
}

/// All that a release does, behind what was taken back.
fn release(effects: &mut Effects) {
    let Some(spend) = &mut effects.spend else { return };
    spend.state = SpendState::Released;
    let (payable, expense) = (Account::Payable(spend.payee.clone()), Account::Spend(spend.budget));
    let back = effects.moves.iter().map(|step| BudgetMove { step: BudgetStep::Release, ..*step }).collect::<Vec<_>>();
    effects.moves.extend(back);
    let windows = effects.windows.iter().map(|step| WindowMove { step: BudgetStep::Release, ..step.clone() });
    let windows = windows.collect::<Vec<_>>();
    effects.windows.extend(windows);
    let Some(leg) = effects.transfers.first().cloned() else { return };
    let (debit, credit) = (Account::Issued, payable.clone());
    effects.transfers.push(Transfer { code: TransferCode::Unissue, debit, credit, ..leg.clone() });
    effects.transfers.push(Transfer { code: TransferCode::Release, debit: payable, credit: expense, ..leg });
}
