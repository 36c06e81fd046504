//! Where all parts meet: from a configuration and its keys to an engine.

mod cards;
mod purse;
mod selling;
mod times;

use std::collections::{BTreeMap, HashMap};
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use alloy_primitives::B256;
use chain::relayer::{FeeCaps, LocalRelayer};
use chain::rpc::RpcChain;
use engine::Engine;
use engine::approver::Pages;
use engine::console::Console;
use engine::lifecycle::Upkeep;
use engine::limits::{self, HoursText, LimitText, RefundsText};
use engine::ports::{Clock, Entropy, Facilitator, SignError, TrustSource};
use engine::rate::authority_from_major;
use engine::tenant::{
    Agent, AllowedPayees, FacilitatorRole, GasGrants, MerchantRole, OtherVerifiers, Payee, Payees, Person, Tenant,
    Verifier, Verifiers, check_cost_centre,
};
use ledger::budget::Caps;
use ledger::id::{Micros, TenantId, TenantSecret};
use ledger::journal::SaltKey;
use mandates::keys::{KeySet, PublicKey};
use mandates::party::Merchant;
use store::{Options, Schema, SqlStore};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use x402::chain::Relayer;
use x402::network::{Asset, AssetTable, Network, NetworkNames, TransferMethod};

use crate::config::{
    ChainConfig, Config, ConfigError, MerchantConfig, PayeeConfig, PersonConfig, TenantConfig, VerifierConfig,
};
use crate::fetch::Fetcher;
use crate::keys::{KeyError, Purpose, Ring, Slot, random_bytes};
use crate::notes::Notes;
use crate::published_keys::PublishedKeys;
use crate::screening::{Loopback, Screens};
use crate::status_lists::PublishedLists;
use crate::trust::file::TrustFile;

#[derive(Debug, thiserror::Error)]
pub enum AssemblyError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Key(#[from] KeyError),
    #[error("the store: {0}")]
    Store(#[from] ledger::store::StoreError),
    #[error("what is asked elsewhere: {0}")]
    Fetcher(String),
    #[error("tenant {tenant}: {why}")]
    Tenant { tenant: String, why: String },
}

/// Makes the facilitator that a seller settles through, from its configuration text.
pub type FacilitatorMaker<'a> = &'a dyn Fn(&str) -> Result<Arc<dyn Facilitator>, AssemblyError>;

pub fn network(config: &ChainConfig) -> Result<Network, AssemblyError> {
    let wrong = || value("chain.chain_id", "a chain id above zero", config.chain_id.to_string());
    Network::new(config.chain_id).ok_or_else(wrong)
}

/// The built-in table and what the operator added to it.
pub fn assets(config: &ChainConfig) -> Result<AssetTable, AssemblyError> {
    let network = network(config)?;
    let mut table = AssetTable::trusted();
    for asset in &config.assets {
        let address = asset.address.parse().map_err(|_| value("chain.assets.address", "an address", &asset.address))?;
        let (name, version, decimals) = (asset.name.clone(), asset.version.clone(), asset.decimals);
        let row = Asset { network, address, name, version, decimals, transfer: TransferMethod::Eip3009 };
        table.add(row).map_err(|error| value("chain.assets", "a row that can be added", error.to_string()))?;
    }
    Ok(table)
}

/// What x402 version 1 calls networks: as everybody does, and this chain as the operator says.
pub fn names(config: &ChainConfig) -> Result<NetworkNames, AssemblyError> {
    let mut names = NetworkNames::trusted();
    if let Some(name) = &config.v1_name {
        let added = names.add(name, network(config)?);
        added.map_err(|error| value("chain.v1_name", "a name that can be added", error.to_string()))?;
    }
    Ok(names)
}

/// Every tenant's journal salts.
pub fn salts(config: &Config, ring: &Ring) -> Result<HashMap<TenantId, SaltKey>, AssemblyError> {
    let salt = |tenant: &TenantConfig| {
        let secret = ring.secret(&Slot::new(&tenant.id, Purpose::JournalSalt))?;
        Ok((tenant_id(tenant)?, SaltKey::new(secret)))
    };
    config.tenants.iter().map(salt).collect()
}

pub async fn open_store(config: &Config, ring: &Ring, schema: Schema) -> Result<SqlStore, AssemblyError> {
    Ok(SqlStore::open(config.database.clone(), salts(config, ring)?, Options::new(schema)).await?)
}

pub fn engine(
    config: &Config,
    ring: &Ring,
    store: SqlStore,
    rpc: RpcChain,
    facilitators: FacilitatorMaker<'_>,
) -> Result<Engine, AssemblyError> {
    let tenants = tenants(config, ring, &rpc, facilitators)?;
    let (network, assets) = (network(&config.chain)?, assets(&config.chain)?);
    // One time for what is judged before the book and in it.
    let (clock, entropy) = (Arc::new(BookClock(store.clock())), Arc::new(OsEntropy));
    let sessions = Arc::new(store.clone());
    let pages = Pages { approvers: Arc::new(store.clone()), party: config.relying_party() };
    let console = Console::new(Arc::new(store.clone()), Arc::new(Notes::new(config, ring)?));
    let engine = Engine::new(Arc::new(store), Arc::new(rpc), network, assets, clock, entropy, tenants);
    let _ = engine.sessions.set(sessions);
    let _ = engine.pages.set(pages);
    let _ = engine.console.set(console);
    let fetcher = Fetcher::new(config.reach()).map_err(AssemblyError::Fetcher)?;
    let _ = engine.status_lists.set(Arc::new(PublishedLists::new(fetcher.clone())));
    let _ = engine.did_documents.set(Arc::new(PublishedKeys::new(fetcher)));
    if let Some(screening) = &config.screening {
        let loopback = if config.is_devnet() { Loopback::Allowed } else { Loopback::Refused };
        let _ = engine.screening.set(Arc::new(Screens::new(screening, loopback).map_err(AssemblyError::Fetcher)?));
    }
    let factories = config.chain.wallet_factories.iter().map(|text| {
        x402::value::address(text).map_err(|error| value("chain.wallet_factories", &error.to_string(), text))
    });
    let factories = factories.collect::<Result<_, _>>()?;
    Ok(engine.confirmed_by(config.chain.confirmations).making_wallets_by(factories))
}

pub fn tenants(
    config: &Config,
    ring: &Ring,
    rpc: &RpcChain,
    facilitators: FacilitatorMaker<'_>,
) -> Result<Vec<Tenant>, AssemblyError> {
    config.tenants.iter().map(|tenant| assemble(config, tenant, ring, rpc, facilitators)).collect()
}

fn assemble(
    config: &Config,
    tenant: &TenantConfig,
    ring: &Ring,
    rpc: &RpcChain,
    facilitators: FacilitatorMaker<'_>,
) -> Result<Tenant, AssemblyError> {
    let wrong = |why: String| AssemblyError::Tenant { tenant: tenant.id.clone(), why };
    let slot = |purpose| Slot::new(&tenant.id, purpose);
    let set = |purpose| -> Result<KeySet, AssemblyError> {
        KeySet::new(ring.publics(&slot(purpose))?).map_err(|error| wrong(error.to_string()))
    };
    let caps = |cap: &Option<String>, texts: &[LimitText], hours: &Option<HoursText>, refunds: RefundsText| {
        let total = cap.as_ref().map(|text| authority_from_major(text, &tenant.currency)).transpose();
        let total = total.map_err(|error| wrong(error.to_string()))?;
        let limits = limits::read(texts, &tenant.currency).map_err(|error| wrong(error.to_string()))?;
        let hours = hours.as_ref().map(HoursText::read).transpose().map_err(|error| wrong(error.to_string()))?;
        Ok::<_, AssemblyError>(Caps { total, limits, hours, refunds: refunds.into(), ..Caps::default() })
    };
    let times = times::of(tenant)?;
    let person = |person: &PersonConfig| {
        let caps = caps(&person.cap, &person.limits, &person.hours, person.refunds)?;
        Ok((principal(&person.id)?, Person { caps, duty: person.role.into() }))
    };
    let people = tenant.people.iter().map(person);
    let wallet = match &tenant.wallet {
        Some(_) => Some(Arc::new(purse::wallet(ring, &slot(Purpose::Wallet))?) as _),
        None => None,
    };
    Ok(Tenant {
        id: tenant_id(tenant)?,
        secret: TenantSecret::new(ring.secret(&slot(Purpose::TenantSecret))?),
        salt: SaltKey::new(ring.secret(&slot(Purpose::JournalSalt))?),
        issuer: issuer(config, &tenant.id),
        status_url: format!("{}/status", config.public_url()),
        provider: ring.signer(&slot(Purpose::Provider))?,
        receipts: ring.signer(&slot(Purpose::Receipts))?,
        trust: trust(config, tenant, set(Purpose::Provider)?)?,
        roots: Arc::new(set(Purpose::Provider)?),
        receipt_keys: set(Purpose::Receipts)?,
        approval: tenant.approval.into(),
        user_credentials: tenant.user_credentials.as_ref().map(|asked| asked.read(config, tenant)).transpose()?,
        policy: tenant.read_policy().map_err(wrong)?,
        people: people.collect::<Result<_, AssemblyError>>()?,
        agents: agents(tenant, ring)?,
        merchants: merchants(tenant, ring)?,
        payees: Payees::new(tenant.payees.iter().map(payee).collect::<Result<_, _>>()?),
        verifiers: verifiers(tenant)?,
        wallet,
        take_back: purse::take_back(tenant, ring, rpc)?,
        pegs: tenant.pegs.clone(),
        currency: tenant.currency.clone(),
        caps: caps(&tenant.cap, &tenant.limits, &tenant.hours, tenant.refunds)?,
        limits: times,
        seller: selling::seller(tenant, ring, facilitators)?,
        facilitator: facilitator(tenant, ring, rpc)?,
        cancelled_by: canceller(config, tenant)?,
        shop: crate::shop::role(config, tenant)?,
        vault: cards::vault(config, tenant, ring)?,
    })
}

/// The roots of a tenant's trust file, and its own.
fn trust(config: &Config, tenant: &TenantConfig, own: KeySet) -> Result<Option<Arc<dyn TrustSource>>, AssemblyError> {
    let Some(path) = &tenant.trust else { return Ok(None) };
    let list = || TrustFile::read(path)?.list(Fetcher::new(config.reach())?);
    let list = list().map_err(|why| AssemblyError::Tenant { tenant: tenant.id.clone(), why })?;
    Ok(Some(Arc::new(list.and_own(own))))
}

/// Whose relayers carry cancellations of what this tenant's wallet signed.
fn canceller(config: &Config, tenant: &TenantConfig) -> Result<Option<ledger::id::TenantId>, AssemblyError> {
    let named = tenant.wallet.as_ref().and_then(|wallet| wallet.cancelled_by.as_ref());
    let Some(named) = named else {
        return Ok(if tenant.facilitate.is_some() { Some(tenant_id(tenant)?) } else { None });
    };
    let carrier = config.tenant(named).filter(|carrier| carrier.facilitate.is_some());
    let missing = || value("wallet.cancelled_by", "a tenant with [tenants.facilitate]", named);
    Ok(Some(tenant_id(carrier.ok_or_else(missing)?)?))
}

/// This tenant's issuer URL.
pub fn issuer(config: &Config, tenant: &str) -> String {
    format!("{}/tenants/{tenant}", config.public_url())
}

fn agents(tenant: &TenantConfig, ring: &Ring) -> Result<BTreeMap<ledger::id::PrincipalId, Agent>, AssemblyError> {
    let agent = |agent: &crate::config::AgentConfig| {
        let slot = Slot::new(&tenant.id, Purpose::Agent(agent.id.clone()));
        let (signer, retired) = (ring.signer(&slot)?, ring.retired_signers(&slot)?);
        let (cost_centre, upkeep) = (agent.cost_centre.clone(), upkeep(agent)?);
        let refused =
            |error| AssemblyError::Tenant { tenant: tenant.id.clone(), why: format!("agent {}: {error}", agent.id) };
        cost_centre.as_deref().map_or(Ok(()), check_cost_centre).map_err(refused)?;
        Ok((
            principal(&agent.id)?,
            Agent { signer, retired, sponsor: principal(&agent.sponsor)?, build: agent.build, cost_centre, upkeep },
        ))
    };
    tenant.agents.iter().map(agent).collect()
}

fn upkeep(agent: &crate::config::AgentConfig) -> Result<Upkeep, AssemblyError> {
    let day = |text: &String| {
        let begins = OffsetDateTime::parse(&format!("{text}T00:00:00Z"), &Rfc3339);
        let begins = begins.map_err(|_| value("agents.review_by", "a day as 2027-01-31", text))?;
        Ok::<_, AssemblyError>(Micros::from_seconds(begins.unix_timestamp()))
    };
    let review_by = agent.review_by.as_ref().map(day).transpose()?;
    Ok(Upkeep { review_by, dormant_after_days: agent.dormant_after_days })
}

fn merchants(
    tenant: &TenantConfig,
    ring: &Ring,
) -> Result<BTreeMap<ledger::id::PrincipalId, MerchantRole>, AssemblyError> {
    let role = |config: &MerchantConfig| {
        let signer = ring.signer(&Slot::new(&tenant.id, Purpose::Merchant(config.id.clone())))?;
        let (id, name, website) = (config.merchant_id.clone(), config.name.clone(), config.website.clone());
        Ok((principal(&config.id)?, MerchantRole { signer, merchant: Merchant { id, name, website } }))
    };
    tenant.merchants.iter().map(role).collect()
}

fn payee(config: &PayeeConfig) -> Result<Payee, AssemblyError> {
    let mut pay_to = BTreeMap::new();
    for (network, addresses) in &config.pay_to {
        let network: Network = network.parse().map_err(|_| value("payees.pay_to", "a CAIP-2 network", network))?;
        pay_to.insert(network, addresses.iter().map(|address| address.to_ascii_lowercase()).collect());
    }
    let keys = config
        .keys
        .iter()
        .map(|key| PublicKey::from_jwk(key).map_err(|error| value("payees.keys", "a P-256 JWK", error.to_string())));
    let (id, name, website) = (config.merchant_id.clone(), config.name.clone(), config.website.clone());
    Ok(Payee {
        id: config.id.parse().map_err(|_| value("payees.id", "printable ASCII without spaces", &config.id))?,
        merchant: Merchant { id, name, website },
        origins: config.origins.clone(),
        pay_to,
        keys: keys.collect::<Result<_, _>>()?,
        acp: cards::acp(config)?,
    })
}

fn verifiers(tenant: &TenantConfig) -> Result<Verifiers, AssemblyError> {
    let verifier = |config: &VerifierConfig| {
        let keys = config.keys.iter().map(PublicKey::from_jwk).collect::<Result<Vec<_>, _>>().and_then(KeySet::new);
        let keys = keys.map_err(|error| value("verifiers.keys", "P-256 JWKs", error.to_string()))?;
        Ok::<_, AssemblyError>(Verifier { audience: config.audience.clone(), keys })
    };
    let on_record = tenant.verifiers.iter().map(verifier).collect::<Result<_, _>>()?;
    let others = if tenant.any_verifier { OtherVerifiers::AnsweredByPayee } else { OtherVerifiers::Refused };
    Ok(Verifiers { on_record, others })
}

fn facilitator(tenant: &TenantConfig, ring: &Ring, rpc: &RpcChain) -> Result<Option<FacilitatorRole>, AssemblyError> {
    let Some(config) = &tenant.facilitate else { return Ok(None) };
    let slots: Vec<_> = Purpose::relayers(config).map(|purpose| Slot::new(&tenant.id, purpose)).collect();
    let made = slots.iter().map(|slot| {
        let key = B256::from(ring.secret(slot)?);
        let relayer = LocalRelayer::new(rpc.clone(), &key, FeeCaps::default());
        let broken = |why| AssemblyError::Tenant { tenant: tenant.id.clone(), why };
        Ok(Arc::new(relayer.map_err(|error| broken(error.to_string()))?) as Arc<dyn Relayer>)
    });
    let relayers = made.collect::<Result<Vec<_>, AssemblyError>>()?;
    let (relayer, others) = relayers.split_first().ok_or_else(|| value("facilitate.signers", "one or more", "none"))?;
    let (relayer, others) = (relayer.clone(), others.to_vec());
    let listed = config.payees.iter().map(|address| address.to_ascii_lowercase()).collect();
    let payees = if config.anyone { AllowedPayees::Anyone } else { AllowedPayees::Listed(listed) };
    let former = slots.iter().flat_map(|slot| ring.retired(slot)).map(|key| Ok(key.wallet()?.address()));
    let former = former.collect::<Result<_, KeyError>>()?;
    let raise_after = Duration::from_secs(config.raise_seconds.get().into());
    let (batch_max, timeout_seconds_max) = (config.batch_max.get(), config.timeout_seconds_max);
    let most = usize::try_from(batch_max).ok().and_then(NonZeroUsize::new).filter(|most| most.get() <= BATCH_MAX);
    let most = most.ok_or_else(|| value("facilitate.batch_max", &format!("1 to {BATCH_MAX}"), batch_max.to_string()));
    let grants = GasGrants {
        wei_max: config.gas_grant_wei.into(),
        each_payer: config.gas_grants_payer,
        each_day: config.gas_grants_day,
    };
    let batch_max = most?;
    Ok(Some(FacilitatorRole { relayer, others, raise_after, batch_max, timeout_seconds_max, grants, former, payees }))
}

/// Settlements in one transaction: a node is asked about each payer in one batch of calls, and takes a hundred.
const BATCH_MAX: usize = 64;

/// Keys that everybody knows sign for nobody's money.
pub fn refuse_test_keys(config: &Config, ring: &Ring) -> Result<(), KeyError> {
    let open = ring.keys().iter().filter(|key| !config.is_devnet() && is_known_to_all(key.secret()));
    match open.map(|key| key.slot.clone()).next() {
        Some(slot) => Err(KeyError::KnownToAll { slot, chain_id: config.chain.chain_id }),
        None => Ok(()),
    }
}

pub fn is_known_to_all(secret: &[u8; 32]) -> bool {
    chain::accounts::ACCOUNTS.iter().any(|known| known.private_key.0 == *secret)
}

fn tenant_id(tenant: &TenantConfig) -> Result<TenantId, AssemblyError> {
    tenant.id.parse().map_err(|_| value("tenants.id", "printable ASCII without spaces", &tenant.id))
}

pub fn principal(text: &str) -> Result<ledger::id::PrincipalId, AssemblyError> {
    text.parse().map_err(|_| value("a principal", "printable ASCII without spaces", text))
}

fn value(field: &str, expected: &str, found: impl Into<String>) -> AssemblyError {
    let (field, expected) = (field.to_owned(), expected.to_owned());
    AssemblyError::Config(ConfigError::Value { field, expected, found: found.into() })
}

struct BookClock(store::Clock);

impl Clock for BookClock {
    fn now(&self) -> Micros {
        (self.0)()
    }
}

pub struct OsEntropy;

impl Entropy for OsEntropy {
    fn bytes(&self) -> Result<[u8; 32], SignError> {
        random_bytes().map_err(|error| SignError::Unavailable(error.to_string()))
    }
}
