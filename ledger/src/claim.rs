//! Claims: first come, for ever. A claim is never changed and never removed.

use crate::codec::{Canon, DecodeError, Reader, canon_struct, encode};
use crate::id::{BudgetId, Digest, IdempotencyKey, PrincipalId, RailReference, SpendId};
use crate::rejection::RejectionCode;
use crate::settlement::Role;
use crate::spend::Authorization;

/// What can be claimed once in a tenant.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ClaimKey {
    /// One caller's key for one operation.
    Idempotency { principal: PrincipalId, operation: String, key: IdempotencyKey },
    /// One authorization, on the wallet's side. Sellers' and facilitators' claims are `Settlement`s, which have a life.
    Authorization(Authorization),
    /// One closed mandate: the identity of its open mandate and the nonce it was closed for.
    Leaf { mandate: BudgetId, nonce: String },
    /// Whom an origin is paid through, from the first payment on.
    Payee { origin: String, network: String },
    /// The purchase of the same thing that deliberately comes after this one: one does.
    Follows(SpendId),
    /// One transfer on the rail that gave money back.
    Refund(LogPlace),
    /// A payment that the rail shows, of an authorization whose spend says that nothing was ever signed.
    Recovered(Authorization),
    /// A merchant's cart, whichever rail pays it and under whichever mandate: its first purchase, and where that came to
    /// nothing or another one was meant, its next.
    Cart { cart: Digest, number: u8 },
    /// A payer's own name for what is bought from us or carried by us, and which of the authorizations under it.
    Named { role: Role, payer: String, name: String, number: u8 },
    /// A text that a payer of ours signed to come back for what they paid for.
    SignedIn { payer: String, nonce: String },
    /// The one signed receipt of its payee that is kept of a payment.
    Attested(SpendId),
    /// One transfer on the rail by which we gave money back.
    GivenBack(LogPlace),
}

/// A log of a transaction.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LogPlace {
    /// CAIP-2.
    pub network: String,
    pub transaction: RailReference,
    /// Among the transaction's transfers.
    pub number: u32,
}
canon_struct!(LogPlace { network, transaction, number });

impl ClaimKey {
    /// A seller's name for what is sold once.
    pub fn order(seller: &PrincipalId, key: &IdempotencyKey) -> Self {
        Self::Idempotency { principal: seller.clone(), operation: "sell".to_owned(), key: key.clone() }
    }

    pub const fn scope(&self) -> &'static str {
        match self {
            Self::Idempotency { .. } => "idempotency",
            Self::Authorization(_) => "authorization",
            Self::Leaf { .. } => "leaf",
            Self::Payee { .. } => "payee",
            Self::Follows(_) => "follows",
            Self::Refund(_) => "refund",
            Self::Recovered(_) => "recovered",
            Self::Cart { .. } => "cart",
            Self::Named { .. } => "named",
            Self::SignedIn { .. } => "signed_in",
            Self::Attested(_) => "attested",
            Self::GivenBack(_) => "given_back",
        }
    }

    /// What the stores index: fixed width, no personal data.
    pub fn digest(&self) -> Digest {
        Digest::of_parts("purser/claim/1", &[&encode(self)])
    }
}

impl Canon for ClaimKey {
    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Idempotency { principal, operation, key } => {
                out.push(1);
                principal.write(out);
                operation.write(out);
                key.write(out);
            }
            Self::Authorization(authorization) => {
                out.push(2);
                authorization.write(out);
            }
            Self::Leaf { mandate, nonce } => {
                out.push(3);
                mandate.write(out);
                nonce.write(out);
            }
            Self::Payee { origin, network } => {
                out.push(4);
                origin.write(out);
                network.write(out);
            }
            Self::Follows(spend) => {
                out.push(5);
                spend.write(out);
            }
            Self::Refund(place) => {
                out.push(6);
                place.write(out);
            }
            Self::Recovered(authorization) => {
                out.push(7);
                authorization.write(out);
            }
            Self::Cart { cart, number } => {
                out.push(8);
                cart.write(out);
                number.write(out);
            }
            Self::Named { role, payer, name, number } => {
                out.push(9);
                role.write(out);
                payer.write(out);
                name.write(out);
                number.write(out);
            }
            Self::SignedIn { payer, nonce } => {
                out.push(10);
                payer.write(out);
                nonce.write(out);
            }
            Self::Attested(spend) => {
                out.push(11);
                spend.write(out);
            }
            Self::GivenBack(place) => {
                out.push(12);
                place.write(out);
            }
        }
    }

    fn read(input: &mut Reader<'_>) -> Result<Self, DecodeError> {
        match u8::read(input)? {
            1 => Ok(Self::Idempotency {
                principal: Canon::read(input)?,
                operation: Canon::read(input)?,
                key: Canon::read(input)?,
            }),
            2 => Canon::read(input).map(Self::Authorization),
            3 => Ok(Self::Leaf { mandate: Canon::read(input)?, nonce: Canon::read(input)? }),
            4 => Ok(Self::Payee { origin: Canon::read(input)?, network: Canon::read(input)? }),
            5 => Canon::read(input).map(Self::Follows),
            6 => Canon::read(input).map(Self::Refund),
            7 => Canon::read(input).map(Self::Recovered),
            8 => Ok(Self::Cart { cart: Canon::read(input)?, number: Canon::read(input)? }),
            9 => Ok(Self::Named {
                role: Canon::read(input)?,
                payer: Canon::read(input)?,
                name: Canon::read(input)?,
                number: Canon::read(input)?,
            }),
            10 => Ok(Self::SignedIn { payer: Canon::read(input)?, nonce: Canon::read(input)? }),
            11 => Canon::read(input).map(Self::Attested),
            12 => Canon::read(input).map(Self::GivenBack),
            other => Err(DecodeError::Value { what: "a claim", found: other.to_string() }),
        }
    }
}

/// What the first claimant was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClaimOutcome {
    Spend(SpendId),
    /// The refusal's code, and its whole text by digest; the text itself lies in the store.
    Rejected {
        code: RejectionCode,
        text: Digest,
    },
    /// Found on the rail: by a book that had lost whoever claimed it, or as what a seller gave back.
    Seen(RailReference),
    /// The node that this key opened.
    Opened(BudgetId),
    /// The document that was given for it: a receipt; of a name, whose place it is.
    Accepted(Digest),
}

impl Canon for ClaimOutcome {
    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Spend(spend) => {
                out.push(1);
                spend.write(out);
            }
            Self::Rejected { code, text } => {
                out.push(2);
                code.write(out);
                text.write(out);
            }
            Self::Seen(transaction) => {
                out.push(3);
                transaction.write(out);
            }
            Self::Opened(budget) => {
                out.push(4);
                budget.write(out);
            }
            Self::Accepted(document) => {
                out.push(5);
                document.write(out);
            }
        }
    }

    fn read(input: &mut Reader<'_>) -> Result<Self, DecodeError> {
        match u8::read(input)? {
            1 => Canon::read(input).map(Self::Spend),
            2 => Ok(Self::Rejected { code: Canon::read(input)?, text: Canon::read(input)? }),
            3 => Canon::read(input).map(Self::Seen),
            4 => Canon::read(input).map(Self::Opened),
            5 => Canon::read(input).map(Self::Accepted),
            other => Err(DecodeError::Value { what: "an outcome", found: other.to_string() }),
        }
    }
}

/// As the journal has it: the key by digest only, so that nothing a caller chose stands in it in clear.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    pub key: Digest,
    /// Digest of what was asked under the key; another request under it is a conflict.
    pub request: Digest,
    pub outcome: ClaimOutcome,
}
canon_struct!(Claim { key, request, outcome });
