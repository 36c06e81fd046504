//! The use cases: issue, verify, authorize, capture, revoke, approve, sell, facilitate, reconcile.
//!
//! The promise: a payment is signed only after its mandate was verified, its budget reserved on the leaf and every
//! ancestor, and its authorization claimed, all in one durable unit; and it is posted or released only by what the
//! chain shows. Each use case sequences the ports and holds no rule: rules are in `mandates`, `x402` and `ledger`.
//!
//! Read in this order: [`tenant`] (what is configured), [`ports`], [`authorize`] (the join), [`closing`] (the same for verifiers other than us), [`vault`] (the same for merchants who redeem a token), [`reconcile`] (what
//! became of it), [`follow`] (and whether it stays), [`sell`] and [`facilitate`] (the other two roles), [`checkout`] (a merchant's checkouts), [`order`] (what is sold once), [`consent`] (how a mandate comes to be), [`ruling`] (what the tenant's policy says of a payment under it), [`review`] (who looks at it afterwards), [`autonomy`] (how far its agent has come), [`approver`] (who sits before its page), [`oversight`] (what they may see), [`console`] (and look through), [`delegate`] (how it is handed on).
//!
//! What it never does: no HTTP, no SQL, no JSON-RPC, no key material. It names no web framework, database or chain
//! library.

mod accept;
pub mod approver;
pub mod attest;
pub mod audit;
pub mod authorize;
pub mod autonomy;
mod book;
pub mod carriers;
pub mod cart;
pub mod checkout;
pub mod closing;
pub mod consent;
pub mod console;
pub mod delegate;
mod desk;
mod ending;
pub mod error;
pub mod evidence;
pub mod facilitate;
pub mod follow;
pub mod lifecycle;
pub mod limits;
mod mandate;
mod mint;
mod named;
mod nodes;
pub mod order;
pub mod oversight;
pub mod ports;
mod quota;
pub mod rails;
pub mod rate;
pub mod reconcile;
pub mod recurrence;
pub mod refund;
pub mod restore;
pub mod review;
pub mod ruling;
pub mod screening;
pub mod sell;
mod standing;
pub mod status;
pub mod stop;
pub mod subject;
pub mod tenant;
mod token;
pub mod vault;
pub mod verify;
mod wallets;

use std::collections::BTreeMap;
use std::num::NonZeroU64;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, OnceLock, PoisonError, RwLock};

use alloy_primitives::Address;
use commerce::store::Sessions;
use ledger::id::{Caller, TenantId};
use ledger::store::Store;
use mandates::verify::RootMemory;
use x402::chain::Chain;
use x402::network::{AssetTable, Network};

use crate::approver::Pages;
pub use crate::book::service;
use crate::checkout::Tokens;
use crate::console::Console;
use crate::desk::Desk;
use crate::error::EngineError;
use crate::ports::{Clock, DidDocuments, Entropy, Outside, StatusLists};
use crate::quota::Quotas;
use crate::screening::Screening;
use crate::status::Lists;
use crate::tenant::Tenant;

/// Who calls, and in whose book.
#[derive(Clone, Debug)]
pub struct Identity {
    pub tenant: TenantId,
    pub caller: Caller,
}

type Tenants = BTreeMap<TenantId, Arc<Tenant>>;

/// The ports, and the tenants that they serve. Holds no state that a crash could lose.
pub struct Engine {
    pub store: Arc<dyn Store>,
    pub chain: Arc<dyn Chain>,
    pub network: Network,
    pub assets: AssetTable,
    pub clock: Arc<dyn Clock>,
    pub entropy: Arc<dyn Entropy>,
    /// Set by a service that keeps a note of its books elsewhere.
    pub outside: OnceLock<Arc<dyn Outside>>,
    /// Set by a service that looks up the status of mandates that others issued.
    pub status_lists: OnceLock<Arc<dyn StatusLists>>,
    /// Set by a service that reads what sellers publish.
    pub did_documents: OnceLock<Arc<dyn DidDocuments>>,
    /// Set by a service that screens payments.
    pub screening: OnceLock<Arc<dyn Screening>>,
    /// Set by a service that has a shop.
    pub sessions: OnceLock<Arc<dyn Sessions>>,
    /// Set by a service whose shop takes tokens of payment handlers.
    pub checkout_tokens: OnceLock<Arc<dyn Tokens>>,
    /// Set by a service that shows people pages.
    pub pages: OnceLock<Pages>,
    /// Set by a service that shows people its books.
    pub console: OnceLock<Console>,
    /// Roots that were verified before.
    remembered: RootMemory,
    tenants: RwLock<Tenants>,
    confirmations: NonZeroU64,
    wallet_factories: Vec<Address>,
    taken_back: AtomicU64,
    desk: Desk,
    quotas: Quotas,
    lists: Lists,
    busy: vault::Busy,
    hurry: tokio::sync::Notify,
}

impl Engine {
    pub fn new(
        store: Arc<dyn Store>,
        chain: Arc<dyn Chain>,
        network: Network,
        assets: AssetTable,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
        tenants: Vec<Tenant>,
    ) -> Self {
        let tenants = RwLock::new(by_id(tenants));
        let outside = OnceLock::new();
        Self {
            store,
            chain,
            network,
            assets,
            clock,
            entropy,
            outside,
            status_lists: OnceLock::new(),
            did_documents: OnceLock::new(),
            screening: OnceLock::new(),
            sessions: OnceLock::new(),
            checkout_tokens: OnceLock::new(),
            pages: OnceLock::new(),
            console: OnceLock::new(),
            remembered: RootMemory::default(),
            tenants,
            confirmations: NonZeroU64::MIN,
            wallet_factories: Vec::new(),
            taken_back: AtomicU64::new(0),
            desk: Desk::default(),
            quotas: Quotas::default(),
            lists: Lists::default(),
            busy: vault::Busy::default(),
            hurry: tokio::sync::Notify::new(),
        }
    }

    /// In how many blocks a settlement must be before it is posted, its own counted; one where nothing is said.
    pub fn confirmed_by(self, confirmations: NonZeroU64) -> Self {
        Self { confirmations, ..self }
    }

    /// Which contracts may be called to make a payer's wallet (ERC-6492); none where nothing is said.
    pub fn making_wallets_by(self, wallet_factories: Vec<Address>) -> Self {
        Self { wallet_factories, ..self }
    }

    /// As it is configured now. Who holds it keeps it as it was, to the end of what they do.
    pub fn tenant(&self, id: &TenantId) -> Result<Arc<Tenant>, EngineError> {
        let tenants = self.tenants.read().unwrap_or_else(PoisonError::into_inner);
        tenants.get(id).cloned().ok_or_else(|| EngineError::NotFound { what: "tenant", id: id.to_string() })
    }

    pub fn tenants(&self) -> Vec<Arc<Tenant>> {
        self.tenants.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    /// Takes up another configuration; what is under way ends under the one that it began with.
    pub fn replace_tenants(&self, tenants: Vec<Tenant>) {
        *self.tenants.write().unwrap_or_else(PoisonError::into_inner) = by_id(tenants);
    }

    fn now_seconds(&self) -> u64 {
        u64::try_from(self.clock.now().seconds()).unwrap_or(0)
    }
}

fn by_id(tenants: Vec<Tenant>) -> Tenants {
    tenants.into_iter().map(|tenant| (tenant.id.clone(), Arc::new(tenant))).collect()
}
