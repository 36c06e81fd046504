//! The shop of a dev service: the catalogue of UCP's own conformance suite (Universal-Commerce-Protocol/conformance,
//! `test_data/flower_shop`, Apache-2.0: ids, titles, prices, stock, rates and codes), what ACP's examples buy, and things
//! that need not be sent.

use std::collections::BTreeMap;

use commerce::checkout::Off;
use mandates::json::Object;
use mandates::keys::KeySet;
use serde_json::{Value, json};

use super::{DevService, Home};
use crate::config::{CodeConfig, Config, ProductConfig, RateOfShop, ShopConfig, thirty_days, two_thousand};
use crate::keys::random_bytes;
use crate::world::MERCHANT;

/// In ACP's examples, for 300.
const OF_EXAMPLES: [&str; 3] = ["item_123", "item_456", "item_789"];

pub(crate) fn catalogue() -> ShopConfig {
    let product = |id: &str, title: &str, price, stock, ships| ProductConfig {
        id: id.into(),
        title: title.into(),
        price,
        stock,
        ships,
        image_url: None,
    };
    let rate = |id: &str, title: &str, price, service: &str, country: Option<&str>| RateOfShop {
        id: id.into(),
        title: title.into(),
        price,
        service: service.into(),
        country: country.map(str::to_owned),
        free_from: (service == "standard").then_some(10_000),
        free_for: if service == "standard" { vec!["bouquet_roses".into()] } else { Vec::new() },
    };
    let code = |code: &str, title: &str, off| CodeConfig { code: code.into(), title: title.into(), off };
    let mut products = vec![
        product("bouquet_roses", "Bouquet of Red Roses", 3_500, Some(1_000), true),
        product("pot_ceramic", "Ceramic Pot", 1_500, Some(2_000), true),
        product("bouquet_sunflowers", "Sunflower Bundle", 2_500, Some(500), true),
        product("bouquet_tulips", "Spring Tulips", 3_000, Some(1_500), true),
        product("orchid_white", "White Orchid", 4_500, Some(800), true),
        product("gardenias", "Gardenias", 2_000, Some(0), true),
        product("gift_card", "Gift Card", 100, None, false),
        product("wallpaper", "Wallpaper", 50, None, false),
    ];
    products.extend(OF_EXAMPLES.map(|id| product(id, "Vintage Denim Jacket", 300, Some(1_000), false)));
    ShopConfig {
        merchant: MERCHANT.into(),
        products,
        rates: vec![
            rate("std-ship", "Standard Shipping", 500, "standard", None),
            rate("exp-ship-us", "Express Shipping (US)", 1_500, "express", Some("US")),
            rate("exp-ship-intl", "International Express", 2_500, "express", None),
        ],
        discounts: vec![
            code("10OFF", "10% Off", Off::Percent(10)),
            code("WELCOME20", "20% Off", Off::Percent(20)),
            code("FIXED500", "$5.00 Off", Off::Amount(500)),
        ],
        tax_basis_points: 0,
        session_seconds: 3_600,
        kept_seconds: thirty_days(),
        sessions_max: two_thousand(),
        signed_requests_only: false,
        sandbox_secret: None,
        links: BTreeMap::from([("terms_of_service".to_owned(), "https://shop.example/terms".to_owned())]),
    }
}

/// The shop takes mandates of this service's people, as a shop elsewhere would, by a trust file; and play money.
pub(super) fn furnish(config: &mut Config, home: &Home, roots: &KeySet, others: &[Object]) -> Result<(), String> {
    let of = |name: &str, jwks: Value| json!({ "name": name, "for": ["payment", "checkout"], "jwks": jwks });
    let mut entries = vec![of("home", Value::Object(roots.to_jwks()))];
    if !others.is_empty() {
        entries.push(of("others", json!({ "keys": others })));
    }
    let file = home.write("shop-trust.json", json!({ "roots": entries }).to_string().as_bytes())?;
    for tenant in &mut config.tenants {
        let Some(shop) = &mut tenant.shop else { continue };
        shop.sandbox_secret = Some(hex::encode(random_bytes().map_err(|error| error.to_string())?));
        tenant.trust = Some(file.clone());
    }
    Ok(())
}

/// How many checkouts one caller or address may have in it.
pub(super) fn limit(config: &mut Config, sessions_max: Option<u64>, signed_only: bool) {
    for shop in config.tenants.iter_mut().filter_map(|tenant| tenant.shop.as_mut()) {
        shop.sessions_max = sessions_max.unwrap_or(shop.sessions_max);
        shop.signed_requests_only = signed_only;
    }
}

impl DevService {
    /// Where UCP's conformance suite is pointed at, with what it asks for on its command line; and the shop's own face.
    pub(super) fn ucp(&self) -> Result<Value, String> {
        let item = |id: &str, title: &str| json!({ "id": id, "title": title });
        let input = json!({
            "currency": "USD",
            "items": [{ "id": "bouquet_roses", "title": "Red Rose", "price": 3_500 }],
            "out_of_stock_item": item("gardenias", "Gardenias"),
            "non_existent_item": item("pink_wumpus", "Pink Wumpus"),
        });
        let file = self.home.write("conformance_input.json", input.to_string().as_bytes())?;
        let shops = self.config.tenants.iter().filter_map(|tenant| tenant.shop.as_ref());
        let secret = shops.filter_map(|shop| shop.sandbox_secret.as_deref()).next();
        Ok(json!({ "url": format!("{}{}", self.url(), server::checkout::sandbox::PATH), "config": file,
            "simulation_secret": secret, "shop_url": self.url() }))
    }
}
