//! What a tenant is configured with. One tenant is one legal entity; nothing here is shared between two.

use std::collections::BTreeMap;
use std::num::{NonZeroU32, NonZeroUsize};
use std::sync::Arc;
use std::time::Duration;

use alloy_primitives::Address;
use ledger::budget::Caps;
use ledger::id::{PayeeId, PrincipalId, TenantId, TenantSecret};
use ledger::journal::SaltKey;
use ledger::money::Amount;
use ledger::origin::Build;
use mandates::keys::{KeySet, PublicKey};
use mandates::party::Merchant;
use policy::Policy;
use x402::chain::Relayer;
use x402::network::Network;

use crate::carriers::Carriers;
use crate::checkout::ShopRole;
use crate::error::EngineError;
use crate::lifecycle::Upkeep;
use crate::ports::{ChannelSigner, HoldSigner, MandateSigner, SignError, TrustSource, WalletSigner};
use crate::rate::Peg;
use crate::vault::{AcpPayee, Vault};

pub struct Tenant {
    pub id: TenantId,
    pub secret: TenantSecret,
    /// Salts this tenant's journal leaves; with it the leaves of one spend can be shown.
    pub salt: SaltKey,
    /// This tenant's issuer, inside `iss`.
    pub issuer: String,
    /// Below which its status lists are published.
    pub status_url: String,
    /// The trusted surface's key: root of every mandate that this tenant issues.
    pub provider: Arc<dyn MandateSigner>,
    pub receipts: Arc<dyn MandateSigner>,
    /// Roots whose mandates are accepted here.
    pub roots: Arc<KeySet>,
    /// Whose mandates are verified here for others, the own roots among them; the own alone where there is none. Paid under
    /// are the own only, and what people signed here with credentials of these.
    pub trust: Option<Arc<dyn TrustSource>>,
    /// What this tenant's receipts verify with, those of former keys too.
    pub receipt_keys: KeySet,
    /// What an approval takes.
    pub approval: ApprovalRule,
    /// With which credentials people may sign their mandates themselves; with none where nothing is said.
    pub user_credentials: Option<UserCredentials>,
    /// What is done with payments that a mandate allows; where there is none they are paid.
    pub policy: Option<Arc<Policy>>,
    pub people: BTreeMap<PrincipalId, Person>,
    pub agents: BTreeMap<PrincipalId, Agent>,
    pub merchants: BTreeMap<PrincipalId, MerchantRole>,
    pub payees: Payees,
    pub verifiers: Verifiers,
    pub wallet: Option<Arc<dyn WalletSigner>>,
    pub take_back: TakeBack,
    pub pegs: Vec<Peg>,
    /// The currency in which people give budgets here.
    pub currency: String,
    /// What the whole tenant may spend, in units of authority.
    pub caps: Caps,
    pub limits: Limits,
    pub seller: Option<Seller>,
    pub facilitator: Option<FacilitatorRole>,
    /// Whose relayers carry cancellations of what the wallet signed; nobody's where there is none.
    pub cancelled_by: Option<TenantId>,
    /// Whose checkouts are spoken to by ACP and UCP.
    pub shop: Option<ShopRole>,
    pub vault: Option<Vault>,
}

/// How the wallet gets its own money back out of an escrow whose other side does nothing. The escrows take that from the payer
/// alone, so it is a transaction of the wallet's own, and its account pays the gas.
#[derive(Clone, Default)]
pub struct TakeBack {
    /// One for each key of the wallet's that is not revoked, with a bound on what a transaction costs.
    pub senders: Vec<Arc<dyn Relayer>>,
    /// Whether what is held past its deadline is taken back without being asked for.
    pub is_automatic: bool,
}

/// With what a person approves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ApprovalRule {
    /// A token of theirs is enough, and a passkey is taken.
    #[default]
    Token,
    /// Their passkey signs exactly what they were shown.
    Passkey,
}

/// What a person's wallet is asked for (OpenID4VP 1.0, section 6). Who may issue it says the trust file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserCredentials {
    /// The name of the credential in the query.
    pub id: String,
    /// The types that will do.
    pub vct_values: Vec<String>,
    /// What is to be disclosed of it: paths of member names.
    pub claims: Vec<Vec<String>>,
}

/// A human who answers for agents.
pub struct Person {
    /// What all of this person's mandates may spend together, in units of authority.
    pub caps: Caps,
    pub duty: Duty,
}

/// What a person does here beside answering for agents of their own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Duty {
    /// Nothing: sees what is theirs, and answers for it.
    #[default]
    Approver,
    /// Sees everything of the tenant, and changes nothing: is asked nothing, and stops nothing.
    Auditor,
    /// Sees everything of the tenant, and stops and lifts as an operator does.
    Operator,
}

/// An agent whose key is held here. It never sees it.
pub struct Agent {
    /// What new mandates name.
    pub signer: Arc<dyn MandateSigner>,
    /// Former keys: they close the mandates that name them.
    pub retired: Vec<Arc<dyn MandateSigner>>,
    /// The human who answers for it.
    pub sponsor: PrincipalId,
    /// What its software is registered as.
    pub build: Option<Build>,
    /// Of the mandates that it asks for, where it says none.
    pub cost_centre: Option<String>,
    pub upkeep: Upkeep,
}

const COST_CENTRE_CHARS_MAX: usize = 64;

impl Agent {
    /// The key that a mandate names, by its RFC 7638 thumbprint.
    pub fn holding(&self, thumbprint: &str) -> Result<&dyn MandateSigner, SignError> {
        let mut held = std::iter::once(&self.signer).chain(&self.retired);
        let found = held.find(|signer| signer.public().thumbprint() == thumbprint);
        found.map(AsRef::as_ref).ok_or_else(|| SignError::NoKey(thumbprint.to_owned()))
    }
}

/// One line of a table, and not an empty one.
pub fn check_cost_centre(name: &str) -> Result<(), EngineError> {
    let length = name.chars().count();
    if name.trim().is_empty() || length > COST_CENTRE_CHARS_MAX || name.chars().any(char::is_control) {
        let expected =
            format!("1 to {COST_CENTRE_CHARS_MAX} characters, not all of them blank, none a control character");
        return Err(EngineError::invalid("cost_centre", expected, format!("{length} characters: {name:?}")));
    }
    Ok(())
}

/// A principal that signs carts.
pub struct MerchantRole {
    pub signer: Arc<dyn MandateSigner>,
    pub merchant: Merchant,
}

#[derive(Clone, Debug)]
pub struct Limits {
    /// How long a hold waits for its signature.
    pub hold_seconds: i64,
    /// The longest life of a signed payment; the money stays held until then.
    pub payment_seconds: u64,
    /// The longest life of a mandate that is closed for somebody else; the money stays held until then.
    pub closing_seconds: i64,
    /// How long a question to a human stands.
    pub decision_seconds: i64,
    /// How many are put to one of them within an hour; any number where nothing is said.
    pub prompts_per_hour: Option<u32>,
    /// How many payments of one agent may be open at once.
    pub open_payments: u32,
    /// How many refusals that the journal keeps an agent may cause at once; one a second comes back.
    pub refusals_burst: u32,
    /// How many mandates an agent may hand on at once; one a minute comes back.
    pub delegations_burst: u32,
    /// How long a call waits for a settlement before it answers that it is pending.
    pub settle_wait_millis: u64,
    /// How long the wallet lets money be held in an escrow (x402, `auth-capture`), and at what fee in basis points.
    pub held_seconds_max: u64,
    pub held_fee_bps_max: u16,
    pub ceilings: Ceilings,
    /// Where the wallet pays out of channels.
    pub channels: Option<WalletChannels>,
    /// Where the wallet says who it is, to come back for what it paid (x402, `sign-in-with-x`).
    pub sign_in: Option<SignIns>,
}

/// Under which texts of sellers the wallet puts its name.
#[derive(Clone, Debug, Default)]
pub struct SignIns {
    /// Sentences that a text may have beside our own and none.
    pub statements: Vec<String>,
}

/// How much a wallet puts into channels (x402, `batch-settlement`), of each token in its atomic units.
#[derive(Clone, Debug)]
pub struct WalletChannels {
    /// Bound in one of them, at most.
    pub bound_max: Amount,
    /// Bound in all of them.
    pub total_max: Amount,
    /// Prices that are put in at once, as far as there is room.
    pub deposit_prices: NonZeroU32,
    /// The longest that it waits for money that its payee does not give back.
    pub withdraw_delay_seconds_max: u64,
    /// Taken before other offers of the same 402, and not only where there is no other.
    pub preferred: bool,
}

/// What lies at keys that are open in memory, at most; watched, not enforced: nobody can be kept from sending more.
#[derive(Clone, Debug, Default)]
pub struct Ceilings {
    /// Of a token, at the wallet.
    pub wallet: Option<(Address, Amount)>,
    /// Of the chain's own coin, at the relayer.
    pub relayer_gwei: Option<u64>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            hold_seconds: 60,
            payment_seconds: 60,
            closing_seconds: 300,
            decision_seconds: 900,
            prompts_per_hour: None,
            open_payments: 10_000,
            refusals_burst: 200,
            delegations_burst: 100,
            settle_wait_millis: 5_000,
            held_seconds_max: 86_400,
            held_fee_bps_max: 0,
            ceilings: Ceilings::default(),
            channels: None,
            sign_in: Some(SignIns::default()),
        }
    }
}

#[derive(Clone)]
pub struct Seller {
    pub carriers: Arc<Carriers>,
    pub payee: PayeeId,
    /// Where something is sold for vouchers.
    pub channels: Option<Channels>,
    /// Where something is sold for money that is held.
    pub holds: Option<Arc<dyn HoldSigner>>,
}

/// How a seller keeps channels (x402, `batch-settlement`).
#[derive(Clone)]
pub struct Channels {
    pub signer: Arc<dyn ChannelSigner>,
    /// Vouchers of a channel are claimed once they are good for so much more than was claimed …
    pub claim_above: Amount,
    /// … or so many seconds after the first of them, or at once where their payer has asked for its money.
    pub claim_after_seconds: i64,
}

#[derive(Clone)]
pub struct FacilitatorRole {
    pub relayer: Arc<dyn Relayer>,
    /// More accounts that do the same, each with transaction nonces of its own: one that is stuck holds up nobody else.
    pub others: Vec<Arc<dyn Relayer>>,
    /// When a settlement that is in no block is sent again at a higher fee, and again.
    pub raise_after: Duration,
    /// How many settlements go in one transaction at most, where several wait for the same relayer; one switches it off.
    pub batch_max: NonZeroUsize,
    /// The longest `maxTimeoutSeconds` that is taken: so long at most does a claim stay open where nothing comes of it.
    pub timeout_seconds_max: u64,
    pub grants: GasGrants,
    /// Accounts that relayed before it: what they sent may still be mined, and costs their gas.
    pub former: Vec<Address>,
    pub payees: AllowedPayees,
}

impl FacilitatorRole {
    pub fn relayers(&self) -> impl Iterator<Item = &Arc<dyn Relayer>> {
        std::iter::once(&self.relayer).chain(&self.others)
    }

    /// Which of its accounts sent a transaction: a node may say anything of that.
    pub fn sender(&self, said: Address) -> Address {
        let mut ours = self.relayers().map(|relayer| relayer.address()).chain(self.former.iter().copied());
        ours.find(|ours| *ours == said).unwrap_or_else(|| self.relayer.address())
    }
}

/// Gas for payers who signed an approval of Permit2 and cannot pay for it (x402, `erc20ApprovalGasSponsoring`). Whoever gets it
/// may use it for something else, so each is bounded, and how many there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GasGrants {
    /// Wei at once, at most.
    pub wei_max: u128,
    /// How many a payer gets, ever.
    pub each_payer: u32,
    /// How many are given in a day (UTC).
    pub each_day: u32,
}

/// Whose payments a facilitator carries. An open relay pays gas for anyone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AllowedPayees {
    /// In `dev`, on the embedded chain, only.
    Anyone,
    /// Lower-case addresses.
    Listed(Vec<String>),
}

/// Who may be given payment mandates, and what their receipts are signed with: credential providers, networks, payment
/// processors. Payees are their own where nobody else is named.
#[derive(Clone, Debug)]
pub struct Verifiers {
    pub on_record: Vec<Verifier>,
    pub others: OtherVerifiers,
}

#[derive(Clone, Debug)]
pub struct Verifier {
    /// Their `aud`.
    pub audience: String,
    pub keys: KeySet,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OtherVerifiers {
    Refused,
    /// On the devnet only: any verifier is given mandates, and the payee's receipt counts for theirs.
    AnsweredByPayee,
}

impl Verifiers {
    pub fn find(&self, audience: &str) -> Option<&Verifier> {
        self.on_record.iter().find(|verifier| verifier.audience == audience)
    }
}

/// The registry that joins what each rail calls a payee.
#[derive(Clone, Debug, Default)]
pub struct Payees(Vec<Payee>);

#[derive(Clone, Debug)]
pub struct Payee {
    pub id: PayeeId,
    pub merchant: Merchant,
    /// Scheme, host and port of its resources.
    pub origins: Vec<String>,
    /// Lower-case addresses by network.
    pub pay_to: BTreeMap<Network, Vec<String>>,
    /// What it signs carts with.
    pub keys: Vec<PublicKey>,
    pub acp: AcpPayee,
}

impl Payees {
    pub fn new(payees: Vec<Payee>) -> Self {
        Self(payees)
    }

    pub fn all(&self) -> impl Iterator<Item = &Payee> {
        self.0.iter()
    }

    pub fn at_origin(&self, origin: &str) -> Option<&Payee> {
        self.0.iter().find(|payee| payee.origins.iter().any(|known| known == origin))
    }

    /// Whose address this is. An address on record vouches for its owner wherever it is asked for.
    pub fn paid_at(&self, network: Network, pay_to: &str) -> Option<&Payee> {
        self.0.iter().find(|payee| {
            payee.pay_to.get(&network).is_some_and(|addresses| addresses.iter().any(|known| known == pay_to))
        })
    }

    pub fn merchant(&self, id: &str) -> Option<&Payee> {
        self.0.iter().find(|payee| payee.merchant.id == id)
    }
}
