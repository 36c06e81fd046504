//! What can be asked of a book.

mod claim;
mod mending;
mod proof;

pub use self::claim::{Accept, ClaimSettlement, Cover, Credit, Order};
pub use self::mending::{Recover, Refund};
pub use self::proof::{Covering, FailureProof, ReleaseProof};
use crate::budget::{BudgetKind, BudgetState, Caps};
use crate::decision::{Answer, Finding};
use crate::gate::{GateState, Scope};
use crate::id::{
    BudgetId, Caller, DecisionId, Digest, IdempotencyKey, Micros, PayeeId, PrincipalId, RailReference, SpendId,
};
use crate::money::{Amount, AssetId};
use crate::settlement::SettlementKey;
pub use crate::spend::Attempt;
use crate::spend::{Authorization, Observation, TakenBack};
use crate::transfer::Money;

/// A command and who asks.
#[derive(Clone, Debug)]
pub struct Request {
    pub caller: Caller,
    pub command: Command,
}

#[derive(Clone, Debug)]
pub enum Command {
    Propose(Propose),
    Decide {
        decision: DecisionId,
        subject: Digest,
        answer: Answer,
        /// What it was signed with, where it was: stored with it.
        evidence: Option<Digest>,
    },
    /// Somebody looked at a payment that went. The document says why they found so.
    Review {
        review: DecisionId,
        subject: Digest,
        spend: SpendId,
        finding: Finding,
        because: Digest,
    },
    /// Nobody looked at it in time; where the policy says so, its mandate waits from now on.
    Overdue {
        review: DecisionId,
        spend: SpendId,
        suspend: bool,
    },
    OpenBudget(OpenBudget),
    /// The holder of a mandate hands part of it on: a node under its own, once a key.
    Delegate(Box<Delegate>),
    ChangeBudget {
        budget: BudgetId,
        to: BudgetState,
    },
    /// Other caps for a node of the configuration; a mandate's are signed.
    ChangeCaps {
        budget: BudgetId,
        caps: Caps,
    },
    /// Stops what is within a scope, or lets it go on.
    Gate {
        scope: Scope,
        to: GateState,
    },
    /// Reserves: signature checked before, limit, claims and books in this unit.
    Hold(Box<Hold>),
    /// Gives a hold back; nothing is signed.
    Void {
        spend: SpendId,
    },
    /// The same, because its time is over.
    Expire {
        spend: SpendId,
    },
    /// The last thing before a signature.
    Commit {
        spend: SpendId,
    },
    /// Somebody reports a transaction. It is a hint, not a proof.
    Submit {
        spend: SpendId,
        transaction: RailReference,
    },
    /// The closed mandate, stored with it, is given to its verifier.
    Present {
        spend: SpendId,
        document: Digest,
    },
    /// Whoever it was closed for answered.
    Acknowledge {
        spend: SpendId,
        receipt: Acknowledgement,
    },
    /// An operator says in their place what became of it.
    Resolve {
        spend: SpendId,
        resolution: Acknowledgement,
    },
    /// A merchant redeems a vault token. The last thing before the processor is asked.
    Redeem {
        spend: SpendId,
        attempt: Attempt,
        /// What was bought, by whatever token: it is paid once.
        cart: Digest,
    },
    /// The processor captured it; the document is the receipt.
    Capture {
        spend: SpendId,
        attempt: Attempt,
        transaction: RailReference,
        document: Digest,
    },
    /// The processor captured nothing, and says so; the document is its answer. The token is as it was.
    Decline {
        spend: SpendId,
        attempt: Attempt,
        document: Digest,
    },
    /// It was never presented, and cannot be any more.
    Lapse {
        spend: SpendId,
    },
    /// Nobody can say what became of it.
    Doubt {
        spend: SpendId,
    },
    Settle {
        spend: SpendId,
        seen: Observation,
        /// The chain's last final block when it was seen.
        finalized: u64,
    },
    /// The block that it was settled in is not on the chain any more. It is held again, and goes its way from there.
    Unsettle {
        spend: SpendId,
        proof: TakenBack,
    },
    /// The block that it is in is final: nothing takes it back, and nobody needs to look again.
    Finalise {
        spend: SpendId,
        seen: Observation,
        finalized: u64,
    },
    Release {
        spend: SpendId,
        proof: ReleaseProof,
    },
    /// What the payee of a channel says that it charged for a voucher; the document is its answer.
    Answer {
        spend: SpendId,
        charged: Amount,
        document: Digest,
    },
    /// What was not charged of a voucher comes back: nothing that was signed lets it be claimed any more.
    Cover {
        spend: SpendId,
        by: Covering,
    },
    /// The escrow gave back what lay in the channel of this step, as a final block shows it.
    Withdraw {
        step: SpendId,
        refund: Refund,
        finalized: u64,
    },
    /// The nonce is consumed, and not by the payment that was signed.
    Misspend {
        spend: SpendId,
        transaction: RailReference,
    },
    /// The merchant of a vault token says how much it gives back in all; the document is what it said. Its word alone moves
    /// neither money nor budget.
    Announce {
        spend: SpendId,
        refunds: Amount,
        document: Digest,
    },
    /// What the payee says of it, signed: the document. Kept once, and moves nothing.
    Attest {
        spend: SpendId,
        document: Digest,
    },
    /// Whoever paid says who they are, to come back for what was paid (x402, `sign-in-with-x`): the document is the text that is
    /// signed next. It moves nothing, and is signed only where a payment would be: under this mandate, now.
    SignIn {
        spend: SpendId,
        under: BudgetId,
        document: Digest,
    },
    /// The payee gave something back, as the rail shows it.
    Refund {
        spend: SpendId,
        refund: Refund,
    },
    /// We gave something back of what was paid to us, as the rail shows it.
    GiveBack {
        settlement: SettlementKey,
        refund: Refund,
        /// The chain's last final block when it was seen.
        finalized: u64,
    },
    /// A payment of ours that the rail shows and a restored book does not know.
    Recover(Box<Recover>),
    /// A closed mandate that was presented to us is used up, and answered with a receipt.
    Accept(Box<Accept>),
    Claim(Box<ClaimSettlement>),
    /// Gives a claim back; nothing has left the process.
    Abandon {
        settlement: SettlementKey,
    },
    /// The document (signed transaction, or the answer to be given) is stored with it, before anything goes out.
    Dispatch {
        settlement: SettlementKey,
        document: Digest,
        transaction: Option<RailReference>,
        account_nonce: Option<u64>,
    },
    /// What was promised is given, before it is paid: the answer is stored with it, the sale is posted, its price is owed.
    Serve {
        settlement: SettlementKey,
        document: Digest,
        /// What is charged, where that is less than was promised; never nothing.
        charged: Option<Amount>,
    },
    /// The answer to what is paid already, which counts as given from here on. Where a document is named that it comes in
    /// the place of, only there: of all who mean to begin one work, one does.
    Deliver {
        settlement: SettlementKey,
        document: Digest,
        instead_of: Option<Digest>,
    },
    /// Whoever paid shows again who they are, with a text that is answered once: what was given is given once more.
    Revisit {
        settlement: SettlementKey,
        nonce: String,
    },
    /// Paid, and nothing was delivered: the document says why, and what with.
    Undeliver {
        settlement: SettlementKey,
        document: Digest,
    },
    /// An operator gives up what is owed, or says that it was made good elsewhere; the document says why.
    WriteOff {
        settlement: SettlementKey,
        document: Digest,
    },
    /// As `Dispatch`, where a seller charges less than was permitted. A charge of nothing is settled by it: no chain will
    /// ever show one. Of what is held the document stands `instead_of` the one that says so: of all that could be done with it,
    /// one is. Nothing charged is over there when all of it is back.
    Charge {
        settlement: SettlementKey,
        document: Digest,
        charged: Amount,
        instead_of: Option<Digest>,
    },
    Receive {
        settlement: SettlementKey,
        seen: Observation,
        finalized: u64,
        /// What carrying it cost, in the chain's own coin, and from which wallet. Booked with the final block.
        gas: Option<Gas>,
    },
    /// As `Receive`, by a seller who gives at once what is stored with it.
    HandOver {
        settlement: SettlementKey,
        seen: Observation,
        finalized: u64,
    },
    /// As `Unsettle`, for what we sold or carried.
    Unreceive {
        settlement: SettlementKey,
        proof: TakenBack,
    },
    /// As `Finalise`.
    Conclude {
        settlement: SettlementKey,
        seen: Observation,
        finalized: u64,
        gas: Option<Gas>,
    },
    Fail {
        settlement: SettlementKey,
        proof: FailureProof,
        gas: Option<Gas>,
    },
    /// Money brought into the book from outside, as the chain shows it.
    Fund {
        wallet: String,
        money: Money,
        reference: Digest,
    },
}

#[derive(Clone, Debug)]
pub struct Propose {
    pub decision: DecisionId,
    pub subject: Digest,
    pub approver: PrincipalId,
    pub expires_at: Micros,
}

#[derive(Clone, Debug)]
pub struct OpenBudget {
    pub id: BudgetId,
    pub parent: Option<BudgetId>,
    pub kind: BudgetKind,
    pub holder: PrincipalId,
    pub asset: AssetId,
    pub caps: Caps,
    /// Required for a mandate.
    pub decision: Option<DecisionId>,
    pub document: Option<Digest>,
}

#[derive(Clone, Debug)]
pub struct Delegate {
    pub operation: String,
    pub key: IdempotencyKey,
    /// Digest of all that was asked under the key.
    pub request: Digest,
    /// A mandate under a mandate; its decision is its parent's, which is not used up.
    pub open: OpenBudget,
}

#[derive(Clone, Debug)]
pub struct Hold {
    pub spend: SpendId,
    pub operation: String,
    pub key: IdempotencyKey,
    /// Digest of all that was asked under the key.
    pub request: Digest,
    pub budget: BudgetId,
    /// The nonce of the closed mandate; consumed with this hold.
    pub leaf_nonce: String,
    /// What is debited from the budgets, in their asset.
    pub authority: Money,
    /// What moves on the rail.
    pub money: Money,
    pub rate: Option<Digest>,
    pub payee: PayeeId,
    pub pay_to: String,
    /// Who is paid at this origin, remembered from the first payment on; `None` where a registry says it.
    pub pin: Option<Pin>,
    pub purchase: Digest,
    /// What the merchant signed of its cart, where there is one: the purchase itself, on every rail.
    pub cart: Option<Digest>,
    pub authorization: Authorization,
    pub valid_before: i64,
    /// The chain's last final block before anything was signed: a search for the authorization starts here.
    pub since_block: u64,
    pub expires_at: Micros,
    /// The caller knows that the same purchase is under way as this spend, and means another one.
    pub again_after: Option<SpendId>,
    pub evidence: Digest,
    /// Who is to look at it, and until when: in the queue from the moment that it is held.
    pub review: Option<Propose>,
}

/// A payment receipt, or what an operator says instead of one, stored with it.
#[derive(Clone, Debug)]
pub struct Acknowledgement {
    pub document: Digest,
    /// What names the receipt on its rail.
    pub transaction: RailReference,
    pub answer: Answered,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answered {
    Paid,
    NotPaid,
}

#[derive(Clone, Debug)]
pub struct Gas {
    pub wallet: String,
    pub money: Money,
}

/// First contact: whom an origin asked to be paid.
#[derive(Clone, Debug)]
pub struct Pin {
    /// Scheme, host and port.
    pub origin: String,
    /// CAIP-2.
    pub network: String,
}
