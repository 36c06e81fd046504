//! Where all parts meet: from a configuration and a master key to an engine.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use alloy_primitives::B256;
use chain::relayer::{FeeCaps, LocalRelayer};
use chain::rpc::RpcChain;
use engine::Engine;
use engine::ports::Facilitator;
use engine::rate::authority_from_major;
use engine::tenant::{
    Agent, AllowedPayees, FacilitatorRole, Limits, MerchantRole, Payee, Payees, Person, Seller, Tenant,
};
use ledger::id::{TenantId, TenantSecret};
use ledger::journal::SaltKey;
use ledger::money::Amount;
use mandates::keys::{KeySet, PublicKey};
use mandates::party::Merchant;
use store::{Options, Schema, SqliteStore};
use x402::network::{Asset, AssetTable, Network, TransferMethod};

use crate::config::{ChainConfig, Config, ConfigError, KeyConfig, MerchantConfig, PayeeConfig, TenantConfig};
use crate::keys::{LocalSigner, LocalWallet, MasterKey, OsEntropy, WallClock};

#[derive(Debug, thiserror::Error)]
pub enum AssemblyError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Key(#[from] crate::keys::KeyError),
    #[error("the store: {0}")]
    Store(#[from] ledger::store::StoreError),
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

/// Every tenant's journal salts.
pub fn salts(config: &Config, master: &MasterKey) -> Result<HashMap<TenantId, SaltKey>, AssemblyError> {
    let salt =
        |tenant: &TenantConfig| Ok((tenant_id(tenant)?, SaltKey::new(master.derive("journal-salt", &tenant.id, 0)?)));
    config.tenants.iter().map(salt).collect()
}

pub async fn open_store(config: &Config, master: &MasterKey, schema: Schema) -> Result<SqliteStore, AssemblyError> {
    Ok(SqliteStore::open(&config.database, salts(config, master)?, Options::new(schema)).await?)
}

pub fn engine(
    config: &Config,
    master: &MasterKey,
    store: SqliteStore,
    rpc: RpcChain,
    facilitators: FacilitatorMaker<'_>,
) -> Result<Engine, AssemblyError> {
    let tenants = config.tenants.iter().map(|tenant| assemble(config, tenant, master, &rpc, facilitators));
    let tenants = tenants.collect::<Result<Vec<_>, _>>()?;
    let (network, assets) = (network(&config.chain)?, assets(&config.chain)?);
    let (clock, entropy) = (Arc::new(WallClock), Arc::new(OsEntropy));
    Ok(Engine::new(Arc::new(store), Arc::new(rpc), network, assets, clock, entropy, tenants))
}

fn assemble(
    config: &Config,
    tenant: &TenantConfig,
    master: &MasterKey,
    rpc: &RpcChain,
    facilitators: FacilitatorMaker<'_>,
) -> Result<Tenant, AssemblyError> {
    let wrong = |why: String| AssemblyError::Tenant { tenant: tenant.id.clone(), why };
    let provider = master.es256("provider", &tenant.id)?;
    let roots = KeySet::new([provider.public().clone()]).map_err(|error| wrong(error.to_string()))?;
    let cap = |text: &Option<String>| -> Result<Option<Amount>, AssemblyError> {
        let parsed = text.as_ref().map(|text| authority_from_major(text, &tenant.currency)).transpose();
        parsed.map_err(|error| wrong(error.to_string()))
    };
    let mut limits = Limits::default();
    limits.payment_seconds = tenant.payment_seconds.unwrap_or(limits.payment_seconds);
    limits.hold_seconds = tenant.hold_seconds.unwrap_or(limits.hold_seconds);
    let people = tenant.people.iter().map(|person| Ok((principal(&person.id)?, Person { cap: cap(&person.cap)? })));
    let wallet = match &tenant.wallet {
        Some(key) => Some(Arc::new(LocalWallet::new(&secp256k1(key, master, "wallet", &tenant.id)?)?) as _),
        None => None,
    };
    Ok(Tenant {
        id: tenant_id(tenant)?,
        secret: TenantSecret::new(master.derive("tenant-secret", &tenant.id, 0)?),
        salt: SaltKey::new(master.derive("journal-salt", &tenant.id, 0)?),
        issuer: issuer(config, &tenant.id),
        provider: Arc::new(LocalSigner(provider)),
        receipts: Arc::new(LocalSigner(master.es256("receipts", &tenant.id)?)),
        roots,
        people: people.collect::<Result<_, AssemblyError>>()?,
        agents: agents(tenant, master)?,
        merchants: merchants(tenant, master)?,
        payees: Payees::new(tenant.payees.iter().map(payee).collect::<Result<_, _>>()?),
        wallet,
        pegs: tenant.pegs.clone(),
        currency: tenant.currency.clone(),
        cap: cap(&tenant.cap)?,
        limits,
        seller: seller(tenant, facilitators)?,
        facilitator: facilitator(tenant, master, rpc)?,
    })
}

/// This tenant's issuer URL.
pub fn issuer(config: &Config, tenant: &str) -> String {
    format!("{}/tenants/{tenant}", config.public_url())
}

fn agents(
    tenant: &TenantConfig,
    master: &MasterKey,
) -> Result<BTreeMap<ledger::id::PrincipalId, Agent>, AssemblyError> {
    let agent = |agent: &crate::config::AgentConfig| {
        let key = master.es256("agent", &format!("{}/{}", tenant.id, agent.id))?;
        let signer = Arc::new(LocalSigner(key));
        Ok((principal(&agent.id)?, Agent { signer, sponsor: principal(&agent.sponsor)? }))
    };
    tenant.agents.iter().map(agent).collect()
}

/// The key that a merchant of this service signs carts with.
pub fn merchant_key(
    tenant: &str,
    merchant: &str,
    master: &MasterKey,
) -> Result<mandates::keys::LocalKey, AssemblyError> {
    Ok(master.es256("merchant", &format!("{tenant}/{merchant}"))?)
}

fn merchants(
    tenant: &TenantConfig,
    master: &MasterKey,
) -> Result<BTreeMap<ledger::id::PrincipalId, MerchantRole>, AssemblyError> {
    let role = |config: &MerchantConfig| {
        let signer = Arc::new(LocalSigner(merchant_key(&tenant.id, &config.id, master)?));
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
    })
}

fn seller(tenant: &TenantConfig, facilitators: FacilitatorMaker<'_>) -> Result<Option<Seller>, AssemblyError> {
    let Some(sell) = &tenant.sell else { return Ok(None) };
    let payee = sell.payee.parse().map_err(|_| value("sell.payee", "printable ASCII without spaces", &sell.payee))?;
    Ok(Some(Seller { facilitator: facilitators(&sell.facilitator)?, payee }))
}

fn facilitator(
    tenant: &TenantConfig,
    master: &MasterKey,
    rpc: &RpcChain,
) -> Result<Option<FacilitatorRole>, AssemblyError> {
    let Some(config) = &tenant.facilitate else { return Ok(None) };
    let key = B256::from(secp256k1(&config.relayer, master, "relayer", &tenant.id)?);
    let relayer = LocalRelayer::new(rpc.clone(), &key, FeeCaps::default());
    let relayer =
        relayer.map_err(|error| AssemblyError::Tenant { tenant: tenant.id.clone(), why: error.to_string() })?;
    let listed = config.payees.iter().map(|address| address.to_ascii_lowercase()).collect();
    let payees = if config.anyone { AllowedPayees::Anyone } else { AllowedPayees::Listed(listed) };
    Ok(Some(FacilitatorRole { relayer: Arc::new(relayer), payees }))
}

/// Keys that everybody knows sign for nobody's money.
pub fn refuse_test_keys(config: &Config, master: &MasterKey) -> Result<(), AssemblyError> {
    if config.is_devnet() {
        return Ok(());
    }
    for tenant in &config.tenants {
        let relayer = tenant.facilitate.as_ref().map(|facilitate| &facilitate.relayer);
        for (purpose, key) in [("wallet", tenant.wallet.as_ref()), ("relayer", relayer)] {
            let Some(key) = key else { continue };
            let bytes = secp256k1(key, master, purpose, &tenant.id)?;
            if chain::accounts::ACCOUNTS.iter().any(|known| known.private_key.0 == bytes) {
                let (purpose, tenant) = (purpose.to_owned(), tenant.id.clone());
                return Err(ConfigError::TestKey { purpose, tenant, chain_id: config.chain.chain_id }.into());
            }
        }
    }
    Ok(())
}

/// From the named variable, or derived.
pub fn secp256k1(key: &KeyConfig, master: &MasterKey, purpose: &str, tenant: &str) -> Result<[u8; 32], AssemblyError> {
    let Some(name) = &key.env else { return Ok(master.secp256k1(purpose, tenant)?) };
    let text = std::env::var(name).map_err(|_| value(purpose, "a private key in that variable", name))?;
    let bytes = hex::decode(text.trim().trim_start_matches("0x")).ok().and_then(|bytes| bytes.try_into().ok());
    // The value itself is never repeated.
    bytes.ok_or_else(|| value(purpose, "64 hexadecimal digits in that variable", name))
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
