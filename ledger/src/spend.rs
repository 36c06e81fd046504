//! The life of a spend, from the wallet's side.

use std::fmt;

use crate::account::Account;
use crate::budget::Refunds;
use crate::codec::{canon_names, canon_struct};
use crate::id::{BudgetId, Digest, Micros, PayeeId, RailReference, SpendId};
use crate::money::{Amount, AssetId};
use crate::origin::{Build, Issuer};
use crate::transfer::{Money, TransferId};
use crate::window::WindowKey;

canon_names!(
    SpendState {
        /// Reserved; nothing is signed. May be voided, may expire.
        Held = 1 "held",
        Voided = 2 "voided",
        Expired = 3 "expired",
        /// About to be signed, or signed: an uncleared cheque. No expiry touches it. Of a vault token: a processor is
        /// asked, or about to be asked, to capture it.
        Committed = 4 "committed",
        /// Somebody says that it is on the chain, under this transaction; on the mandate rail: its verifier got it.
        Submitted = 5 "submitted",
        /// Nobody could say what became of it. Stays held until proved either way.
        Unknown = 6 "unknown",
        /// The chain shows the transfer, from us to the payee, of exactly this amount (of a charge: of what it came to, which
        /// the spend says from then on); on the mandate rail: its verifier's receipt says that it was paid; of a vault
        /// token: the payment processor says that it captured this.
        Settled = 7 "settled",
        /// Proved never to happen.
        Released = 8 "released",
        /// The nonce was consumed and the money did not go where it was signed for; on the mandate rail: its verifier says
        /// both that it was paid and that it was not. An incident.
        SpentOtherwise = 9 "spent_otherwise",
    }
);

impl SpendState {
    /// Money may still move.
    pub const fn is_open(self) -> bool {
        match self {
            Self::Held | Self::Committed | Self::Submitted | Self::Unknown => true,
            Self::Voided | Self::Expired | Self::Settled | Self::Released | Self::SpentOtherwise => false,
        }
    }

    /// A signature exists or may exist.
    pub const fn is_signed(self) -> bool {
        match self {
            Self::Committed | Self::Submitted | Self::Unknown => true,
            Self::Held | Self::Voided | Self::Expired | Self::Settled | Self::Released | Self::SpentOtherwise => false,
        }
    }
}

/// What names the one right to move money that is given away. Only one transfer can ever come of it: on a chain the EIP-3009
/// authorization, on the mandate rail the mandate that is closed for one verifier and one nonce of theirs.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Authorization {
    /// CAIP-2; [`MANDATE_NETWORK`] on the mandate rail, [`VAULT_NETWORK`] of a vault token. Where somebody else than the asset counts the nonces, a slash and
    /// who does stand behind it ([`PERMIT2`]): the same nonce in another space names another right. Of ours, where the
    /// payee says within what was signed how much it takes, [`UPTO`] stands behind that.
    pub network: String,
    pub asset: AssetId,
    /// Lower-case hexadecimal: an address, or a digest of the instrument.
    pub payer: String,
    pub nonce: [u8; 32],
}
canon_struct!(Authorization { network, asset, payer, nonce });

/// What stands in a network's place where the money moves outside of every chain that we see. No CAIP-2 namespace has this
/// name.
pub const MANDATE_NETWORK: &str = "ap2:payment";

/// The same where a payment processor moves it, on the word of whoever redeems a vault token (ACP, delegate payment). The
/// nonce is the token's hash.
pub const VAULT_NETWORK: &str = "acp:vault";

/// Behind the name of a chain: nonces that Permit2 counts. No CAIP-2 name has a slash.
pub const PERMIT2: &str = "permit2";

/// The same of a call of the escrow of channels (x402, `batch-settlement`): its nonce is our own name for the call, and what is
/// called stands behind it. The payer is the escrow.
pub const ESCROW_CALL: &str = "escrow";

/// Which calls of an escrow its payer alone can make, to get back what is its own.
pub const TAKING_BACK: [&str; 3] = ["withdraw", "finalize", "reclaim"];

/// The same of gas that a facilitator gives a payer: its nonce is our own name for it, and the asset is the chain's own.
pub const GAS_GRANT: &str = "gas";

/// The same of the right to use a nonce of the asset's up without a payment (EIP-3009, `cancelAuthorization`).
pub const CANCELLATION: &str = "cancel";

/// The same of a voucher for a channel: which channel it is of, and all that was charged there before it. What it pays lies in
/// the escrow already.
pub const VOUCHER: &str = "voucher";

/// The same of what goes into the escrow of x402's `auth-capture`: the asset counts the nonce, and the escrow says what became
/// of the money.
pub const HELD: &str = "held";

/// The same where it is captured as it comes in, so that nothing lies there.
pub const CHARGED: &str = "charged";

/// Behind who counts the nonce: what is signed is the most that may move.
pub const UPTO: &str = "upto";

/// Where what became of a payment shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rail {
    /// On the chain.
    Chain,
    /// In the receipt of whoever the payment mandate was closed for.
    Mandate,
    /// In the answer of the payment processor that was asked to capture it.
    Vault,
}

impl fmt::Display for Rail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Chain => "an authorization on a chain",
            Self::Mandate => "a mandate that is closed for its verifier",
            Self::Vault => "a vault token that its merchant redeems",
        })
    }
}

impl Authorization {
    pub fn rail(&self) -> Rail {
        match self.network.as_str() {
            MANDATE_NETWORK => Rail::Mandate,
            VAULT_NETWORK => Rail::Vault,
            _ => Rail::Chain,
        }
    }

    /// The name of the chain alone, whoever counts the nonces there.
    pub fn chain(&self) -> &str {
        self.network.split('/').next().unwrap_or(&self.network)
    }

    /// Who counts the nonces, where the asset itself does not.
    pub fn nonce_space(&self) -> Option<&str> {
        self.network.split('/').nth(1)
    }

    /// What stands behind who counts the nonces.
    pub fn nonce_kind(&self) -> Option<&str> {
        self.network.split('/').nth(2)
    }

    /// Whether the asset counts the nonce for a payment, so that its payer can use it up without one.
    pub fn can_be_cancelled(&self) -> bool {
        self.rail() == Rail::Chain && matches!(self.nonce_space(), None | Some(HELD | CHARGED))
    }

    /// Whether it cancels another one, and can move nothing.
    pub fn is_cancellation(&self) -> bool {
        self.nonce_space() == Some(CANCELLATION)
    }

    /// Whether it is a call by which the wallet takes back its own out of an escrow.
    pub fn takes_back(&self) -> bool {
        self.nonce_space() == Some(ESCROW_CALL) && self.nonce_kind().is_some_and(|kind| TAKING_BACK.contains(&kind))
    }

    /// Whether it is paid out of a channel, and by no transfer of its own.
    pub fn is_voucher(&self) -> bool {
        self.nonce_space() == Some(VOUCHER)
    }

    /// Whether it is held in an escrow before it pays.
    pub fn is_held(&self) -> bool {
        self.nonce_space() == Some(HELD)
    }

    /// Whether an escrow says what became of it, and not its own transfer.
    pub fn is_escrowed(&self) -> bool {
        matches!(self.nonce_space(), Some(HELD | CHARGED))
    }

    /// Whether it is a voucher of ours: paid out of money that lies in a channel already (see [`crate::channel`]).
    pub fn is_drawn(&self) -> bool {
        self.is_voucher() && self.is_at_most()
    }

    /// Whether less than what was signed may move: how much, the rail alone says.
    pub fn is_at_most(&self) -> bool {
        self.nonce_kind() == Some(UPTO)
    }

    /// The same right, of which less may be taken.
    #[must_use]
    pub fn at_most(self) -> Self {
        if self.is_at_most() { self } else { Self { network: format!("{}/{UPTO}", self.network), ..self } }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spend {
    pub id: SpendId,
    pub state: SpendState,
    /// The block that it was settled in, while the chain may still take that back: it is looked at again until it is final.
    pub young: Option<BlockRef>,
    /// What the merchant of a vault token announced that it gives back, as far as it has not come: it is looked at until it
    /// has.
    pub announced: Option<Announced>,
    /// The leaf that authorises it.
    pub budget: BudgetId,
    /// The windows of the instant at which it was held, of every node of the path: whatever becomes of it moves these.
    pub windows: Vec<WindowKey>,
    /// In the budget's asset; this is what is debited.
    pub authority: Amount,
    /// What moves. Of a charge the most that may, until it is settled.
    pub money: Money,
    /// The recorded rate between the two, where the assets differ.
    pub rate: Option<Digest>,
    pub payee: PayeeId,
    /// Lower-case address on the rail.
    pub pay_to: String,
    /// Digest of resource and terms: what was bought, from whom, for how much.
    pub purchase: Digest,
    pub authorization: Authorization,
    /// Unix seconds; after it, at a finalized block, an unused nonce proves that nothing moved.
    pub valid_before: i64,
    /// The chain's last final block before anything was signed: a younger one may be taken back, and the payment come
    /// into a block in its place.
    pub since_block: u64,
    /// When a hold lapses by itself. Means nothing once committed.
    pub expires_at: Micros,
    /// The pending transfer of the hold.
    pub hold: TransferId,
    /// The rail's reference: reported while submitted, observed once settled. Of a vault token: which capture is under
    /// way, then what the processor calls it.
    pub transaction: Option<RailReference>,
    /// What the payee gave back so far, of `money`.
    pub refunded: Amount,
    /// The software of the agent that reserved it, as it was registered then.
    pub build: Option<Build>,
    /// The outside issuer that the agent came by.
    pub issuer: Option<Issuer>,
    /// The documents of this spend (chain, cart, offer, signed payload), by digest of the bundle.
    pub evidence: Digest,
}
canon_struct!(Spend {
    id;
    state with young and announced;
    budget,
    windows,
    authority,
    money,
    rate,
    payee,
    pay_to,
    purchase,
    authorization,
    valid_before,
    since_block,
    expires_at,
    hold,
    transaction,
    refunded,
    build,
    issuer,
    evidence,
});

impl Spend {
    /// Money may still move, or its settlement may still be taken back: somebody has to look at it again. Or something is
    /// announced that has not come.
    pub const fn is_unfinished(&self) -> bool {
        self.may_change() || self.announced.is_some()
    }

    /// Without what is only announced.
    pub const fn may_change(&self) -> bool {
        self.state.is_open() || self.young.is_some()
    }

    /// How much of `authority` this much of `money` is; what is not a whole unit stays spent.
    pub fn authority_of(&self, refunded: Amount) -> Amount {
        let share = self.authority.checked_ratio_down(refunded.get(), self.money.amount.get());
        share.unwrap_or(Amount::ZERO)
    }

    /// What stays posted at a node.
    pub fn posted_at(&self, refunds: Refunds) -> Option<Amount> {
        match refunds {
            Refunds::Keep => Some(self.authority),
            Refunds::Restore => self.authority.checked_sub(self.authority_of(self.refunded)),
        }
    }

    /// Where the money that it moves lies.
    pub fn wallet(&self) -> Account {
        let address = format!("{}:{}", self.authorization.chain(), self.authorization.payer);
        if !self.authorization.is_drawn() {
            return Account::Wallet(address);
        }
        Account::channel(&self.authorization)
    }
}

/// A refund in the merchant's words alone: a promise in the books (`pending`), and neither money nor budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Announced {
    /// The pending transfer.
    pub transfer: TransferId,
    /// Of `money`: what was announced, less what came.
    pub amount: Amount,
    /// Since when something was outstanding.
    pub since: Micros,
}
canon_struct!(Announced { transfer, amount, since });

/// What a merchant asks to be captured of a vault token, stored with it. One is under way at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attempt {
    pub document: Digest,
    pub amount: Amount,
}

/// A block, by number and hash: a number alone survives no reorganisation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockRef {
    pub number: u64,
    pub hash: [u8; 32],
}
canon_struct!(BlockRef { number, hash });

impl fmt::Display for BlockRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (0x{})", self.number, hex::encode(self.hash))
    }
}

/// What was seen on the rail. Amount and recipient come from the settled artifact, never from a presented field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Observation {
    pub transaction: RailReference,
    pub block_number: u64,
    pub block_hash: [u8; 32],
    pub pay_to: String,
    pub amount: Amount,
}
canon_struct!(Observation { transaction, block_number, block_hash, pay_to, amount });

impl Observation {
    pub const fn block(&self) -> BlockRef {
        BlockRef { number: self.block_number, hash: self.block_hash }
    }

    /// Its block, while that may be taken back: where it lies behind the chain's last final block.
    pub const fn young(&self, finalized: u64) -> Option<BlockRef> {
        if self.block_number > finalized { Some(self.block()) } else { None }
    }
}

/// What shows that a settlement was taken back: another block stands where the one stood in which it was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TakenBack {
    /// As it was booked.
    pub transaction: RailReference,
    pub block: BlockRef,
    /// The hash of the block of that number as the chain is now.
    pub instead: [u8; 32],
}
canon_struct!(TakenBack { transaction, block, instead });

/// The one proof that releases a signed payment: its nonce unused at a finalized block at or past `valid_before`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnusedProof {
    pub finalized_number: u64,
    pub finalized_hash: [u8; 32],
    /// Unix seconds.
    pub finalized_timestamp: i64,
}
canon_struct!(UnusedProof { finalized_number, finalized_hash, finalized_timestamp });
