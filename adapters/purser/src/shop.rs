//! A tenant's shop from its configuration, and the profiles of platforms that buy there.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use commerce::checkout::{Cards, Discount, Product, Rate, Shop};
use engine::checkout::ShopRole;
use mandates::currency::Currency;
use mandates::json::Object;
use mandates::party::Merchant;
use server::checkout::sandbox::Sandbox;
use server::checkout::{NoProfile, Profiles, Setup};

use crate::assembly::AssemblyError;
use crate::config::{Config, ShopConfig, TenantConfig};
use crate::fetch::{Fetcher, Reach};

/// The shop of a tenant that has one.
pub fn role(config: &Config, tenant: &TenantConfig) -> Result<Option<ShopRole>, AssemblyError> {
    let Some(shop) = &tenant.shop else { return Ok(None) };
    let wrong = |why: String| AssemblyError::Tenant { tenant: tenant.id.clone(), why: format!("shop.{why}") };
    let merchant = tenant.merchants.iter().find(|merchant| merchant.id == shop.merchant);
    let merchant = merchant.ok_or_else(|| {
        wrong(format!("merchant: one of the tenant's merchants was expected, {} is there", shop.merchant))
    })?;
    let principal = merchant.id.parse().map_err(|_| wrong(format!("merchant: {} is no principal", merchant.id)))?;
    let party =
        Merchant { id: merchant.merchant_id.clone(), name: merchant.name.clone(), website: merchant.website.clone() };
    let currency = Currency::new(&tenant.currency).map_err(|error| wrong(format!("currency: {error}")))?;
    let mut shop = catalogue(shop, party, currency, config.public_url()).map_err(wrong)?;
    shop.cards = cards(config, &format!("{}:{}", tenant.id, merchant.id));
    shop.check().map_err(|error| wrong(error.to_string()))?;
    Ok(Some(ShopRole { shop, merchant: principal }))
}

/// The vault of this service whose tokens the merchant redeems, where there is one.
fn cards(config: &Config, redeemer: &str) -> Option<Cards> {
    let vaults = config.tenants.iter().filter(|tenant| tenant.vault.is_some());
    let mut payees = vaults.flat_map(|tenant| &tenant.payees);
    payees.find_map(|payee| {
        let acp = payee.acp.as_ref().filter(|acp| acp.redeemed_by == redeemer)?;
        let merchant_id = acp.ids.first().unwrap_or(&payee.merchant_id).clone();
        Some(Cards { merchant_id, psp: config.public_url() })
    })
}

fn catalogue(config: &ShopConfig, merchant: Merchant, currency: Currency, url: String) -> Result<Shop, String> {
    let mut products = BTreeMap::new();
    for product in &config.products {
        let (title, image_url) = (product.title.clone(), product.image_url.clone());
        let (price, stock, ships) = (product.price, product.stock, product.ships);
        let known = products.insert(product.id.clone(), Product { title, price, stock, ships, image_url });
        if known.is_some() {
            return Err(format!("products: an id of its own was expected, {} is there twice", product.id));
        }
    }
    let rate = |rate: &crate::config::RateOfShop| Rate {
        id: rate.id.clone(),
        title: rate.title.clone(),
        price: rate.price,
        country: rate.country.clone(),
        service: rate.service.clone(),
        free_from: rate.free_from,
        free_for: rate.free_for.clone(),
    };
    let code = |code: &crate::config::CodeConfig| Discount {
        code: code.code.clone(),
        title: code.title.clone(),
        off: code.off,
    };
    Ok(Shop {
        merchant,
        currency,
        products,
        rates: config.rates.iter().map(rate).collect(),
        discounts: config.discounts.iter().map(code).collect(),
        tax_basis_points: config.tax_basis_points,
        session_seconds: config.session_seconds,
        kept_seconds: config.kept_seconds,
        sessions_max: config.sessions_max,
        links: config.links.iter().map(|(kind, url)| (kind.clone(), url.clone())).collect(),
        url,
        cards: None,
    })
}

/// The one shop that this service's routes are of.
pub(crate) fn setup(config: &Config) -> Result<Option<Setup>, String> {
    let mut shops = config.tenants.iter().filter(|tenant| tenant.shop.is_some());
    let Some(tenant) = shops.next() else { return Ok(None) };
    if let Some(other) = shops.next() {
        return Err(format!("one tenant has the shop's routes; {} and {} were given", tenant.id, other.id));
    }
    let id = tenant.id.parse().map_err(|_| format!("`{}` is no tenant", tenant.id))?;
    // Anybody names these addresses, so the operator's own network is not among them.
    let reach = Reach { internal_hosts: BTreeSet::new(), ..config.reach() };
    let profiles = Arc::new(PublishedProfiles::new(Fetcher::new(reach)?));
    let secret = tenant.shop.as_ref().and_then(|shop| shop.sandbox_secret.clone());
    let signed_only = tenant.shop.as_ref().is_some_and(|shop| shop.signed_requests_only);
    Ok(Some(Setup { tenant: id, profiles, signed_only, sandbox: secret.map(Sandbox::new) }))
}

/// Profiles that are kept at once.
const KEPT_MAX: usize = 256;
/// What UCP asks publishers to allow for at least.
const KEPT: Duration = Duration::from_secs(60);
/// How long an address that gave none is left alone.
const PAUSE: Duration = Duration::from_secs(5);

type Found = Result<Object, NoProfile>;

/// Fetched as everything of others is (`fetch`), and kept for a minute: whoever names many addresses costs us one call
/// each, whoever names one costs us one a minute.
struct PublishedProfiles {
    fetcher: Fetcher,
    kept: Mutex<BTreeMap<String, (Found, Instant)>>,
}

impl PublishedProfiles {
    fn new(fetcher: Fetcher) -> Self {
        Self { fetcher, kept: Mutex::default() }
    }

    fn keep(&self, url: &str, found: &Found) {
        let now = Instant::now();
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.retain(|_, (_, until)| now < *until);
        if kept.len() < KEPT_MAX {
            let until = now + if found.is_ok() { KEPT } else { PAUSE };
            kept.insert(url.to_owned(), (found.clone(), until));
        }
    }
}

#[async_trait]
impl Profiles for PublishedProfiles {
    async fn profile(&self, url: &str) -> Found {
        let address = self.fetcher.reach().check(url).map_err(NoProfile::Url)?;
        let known = self.kept.lock().unwrap_or_else(PoisonError::into_inner).get(url).cloned();
        if let Some((found, until)) = known
            && Instant::now() < until
        {
            return found;
        }
        let found = self.fetcher.object(&address).await.map_err(NoProfile::Unreachable);
        self.keep(url, &found);
        found
    }
}
