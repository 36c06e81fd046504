//! What a command did: the journal record itself. Rows are written from it, the book can be rebuilt from it, and
//! its canonical bytes are what the tree hashes.

use crate::budget::{Budget, BudgetMove, BudgetState, Caps};
use crate::claim::Claim;
use crate::codec::{Canon, DecodeError, Reader, canon_names, canon_struct};
use crate::decision::Decision;
use crate::gate::Gate;
use crate::id::{BudgetId, Caller, Digest, Micros, RailReference};
use crate::settlement::Settlement;
use crate::spend::{Observation, Spend, TakenBack, UnusedProof};
use crate::transfer::Transfer;
use crate::window::WindowMove;

canon_names!(
    /// What happened, one name a command.
    Operation {
        Propose = 1 "propose",
        Decide = 2 "decide",
        OpenBudget = 3 "open_budget",
        ChangeBudget = 4 "change_budget",
        Hold = 5 "hold",
        Void = 6 "void",
        Expire = 7 "expire",
        Commit = 8 "commit",
        Submit = 9 "submit",
        Doubt = 10 "doubt",
        Settle = 11 "settle",
        Release = 12 "release",
        Misspend = 13 "misspend",
        Claim = 14 "claim",
        Abandon = 15 "abandon",
        Dispatch = 16 "dispatch",
        Receive = 17 "receive",
        Fail = 18 "fail",
        Fund = 19 "fund",
        /// A refusal that is kept under its key.
        Reject = 20 "reject",
        Gate = 21 "gate",
        ChangeCaps = 22 "change_caps",
        Refund = 23 "refund",
        Recover = 24 "recover",
        /// The chain took back the block that a payment was settled in.
        Unsettle = 25 "unsettle",
        Finalise = 26 "finalise",
        Unreceive = 27 "unreceive",
        Conclude = 28 "conclude",
        /// A mandate that was closed for us, and that we answer for.
        Accept = 29 "accept",
        /// Given before it is paid.
        Serve = 30 "serve",
        /// The answer to what is paid already.
        Deliver = 31 "deliver",
        /// Paid, and nothing was delivered.
        Undeliver = 32 "undeliver",
        WriteOff = 33 "write_off",
        /// A processor is about to be asked to capture what a vault token holds.
        Redeem = 34 "redeem",
        /// It captured nothing.
        Decline = 35 "decline",
        /// A human looked at a payment that went.
        Review = 36 "review",
        /// Nobody did in time.
        Overdue = 37 "overdue",
        /// A merchant says that it gives something back.
        Announce = 38 "announce",
        /// The payee of a channel says what it charged for a voucher.
        Answer = 39 "answer",
        /// What it did not charge of one can be claimed by no voucher any more.
        Cover = 40 "cover",
        /// The escrow gave back what lay in a channel.
        Withdraw = 41 "withdraw",
        /// The payer comes back for what was paid, by a signature that moves nothing.
        SignIn = 42 "sign_in",
        /// The payee's signed receipt is kept.
        Attest = 43 "attest",
        /// A seller gave something back.
        GiveBack = 44 "give_back",
    }
);

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BudgetStateChange {
    pub budget: BudgetId,
    pub to: BudgetState,
}
canon_struct!(BudgetStateChange { budget, to });

/// What a node allows from this record on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CapsChange {
    pub budget: BudgetId,
    pub caps: Caps,
}
canon_struct!(CapsChange { budget, caps });

/// Why something was taken as settled, released or failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fact {
    Seen(Observation),
    Unused(UnusedProof),
    Canceled(RailReference),
    Reverted(RailReference),
    /// A document or reference outside the book.
    Reference(Digest),
    TakenBack(TakenBack),
}

impl Canon for Fact {
    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Seen(observation) => {
                out.push(1);
                observation.write(out);
            }
            Self::Unused(proof) => {
                out.push(2);
                proof.write(out);
            }
            Self::Canceled(reference) => {
                out.push(3);
                reference.write(out);
            }
            Self::Reverted(reference) => {
                out.push(4);
                reference.write(out);
            }
            Self::Reference(digest) => {
                out.push(5);
                digest.write(out);
            }
            Self::TakenBack(proof) => {
                out.push(6);
                proof.write(out);
            }
        }
    }

    fn read(input: &mut Reader<'_>) -> Result<Self, DecodeError> {
        match u8::read(input)? {
            1 => Canon::read(input).map(Self::Seen),
            2 => Canon::read(input).map(Self::Unused),
            3 => Canon::read(input).map(Self::Canceled),
            4 => Canon::read(input).map(Self::Reverted),
            5 => Canon::read(input).map(Self::Reference),
            6 => Canon::read(input).map(Self::TakenBack),
            other => Err(DecodeError::Value { what: "a fact", found: other.to_string() }),
        }
    }
}

/// The first byte of a record. Decoders are kept for ever.
pub const RECORD_VERSION: u8 = 1;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Effects {
    pub seq: u64,
    pub at: Micros,
    pub caller: Caller,
    pub operation: Operation,
    pub claims: Vec<Claim>,
    pub opened: Vec<Budget>,
    pub states: Vec<BudgetStateChange>,
    pub caps: Vec<CapsChange>,
    pub moves: Vec<BudgetMove>,
    pub windows: Vec<WindowMove>,
    pub spend: Option<Spend>,
    pub settlement: Option<Settlement>,
    pub decision: Option<Decision>,
    pub gate: Option<Gate>,
    pub transfers: Vec<Transfer>,
    pub fact: Option<Fact>,
}

struct Body(Effects);

impl Effects {
    pub fn new(seq: u64, at: Micros, caller: Caller, operation: Operation) -> Self {
        Self {
            seq,
            at,
            caller,
            operation,
            claims: Vec::new(),
            opened: Vec::new(),
            states: Vec::new(),
            caps: Vec::new(),
            moves: Vec::new(),
            windows: Vec::new(),
            spend: None,
            settlement: None,
            decision: None,
            gate: None,
            transfers: Vec::new(),
            fact: None,
        }
    }

    /// The record's bytes: version, then the fields.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(512);
        out.push(RECORD_VERSION);
        self.write(&mut out);
        out
    }

    pub fn from_bytes(bytes: &[u8]) -> Result<Self, DecodeError> {
        crate::codec::decode::<Body>(bytes).map(|body| body.0)
    }
}

impl Canon for Body {
    fn write(&self, out: &mut Vec<u8>) {
        out.push(RECORD_VERSION);
        self.0.write(out);
    }
    fn read(input: &mut Reader<'_>) -> Result<Self, DecodeError> {
        match u8::read(input)? {
            RECORD_VERSION => Effects::read(input).map(Self),
            other => Err(DecodeError::Value { what: "a record version", found: other.to_string() }),
        }
    }
}

canon_struct!(Effects {
    seq,
    at,
    caller,
    operation,
    claims,
    opened,
    states,
    caps,
    moves,
    windows,
    spend,
    settlement,
    decision,
    gate,
    transfers,
    fact,
});
