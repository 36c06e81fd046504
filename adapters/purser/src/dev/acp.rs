//! What a dev service adds for ACP: a vault, an acquirer to charge cards, two merchants that redeem tokens, and a mandate
//! large enough for the specification's examples.

use ledger::id::CallerKind;
use serde_json::{Value, json};

use super::{DevService, TOKEN_SECONDS};
use crate::acquirer::simulator::{Running, Simulator};
use crate::acquirer::{DEVNET_SECRET, secret};
use crate::config::{AcpConfig, Config, MerchantConfig, PayeeConfig, VaultConfig};
use crate::service::{mint_under, minter};
use crate::world::{AGENT, HOME, MERCHANT, SHOP};

/// A second merchant, by the names that examples of the specification have for one.
const OTHER: &str = "acme";
const OTHER_IDS: [&str; 4] = ["acme", "acme_store", "acme_corp", "merchant_12345"];

/// The acquirer that is named, or one in this process; and who is paid through it. None on a chain that is not the devnet.
pub(super) async fn prepare(
    config: &mut Config,
    acquirer: Option<&str>,
    home: &super::Home,
) -> Result<Option<Running>, String> {
    if !config.is_devnet() {
        return Ok(None);
    }
    let running = match acquirer {
        Some(_) => None,
        None => Some(Simulator::open(&secret(None)?, Some(&home.file("acquirer.log")))?.start().await?),
    };
    let url = acquirer.map(str::to_owned).or_else(|| running.as_ref().map(|running| running.url.clone()));
    with_vault(config, &url.unwrap_or_default());
    Ok(running)
}

/// The demo's configuration with a vault that charges through this acquirer.
pub fn with_vault(config: &mut Config, acquirer: &str) {
    let redeemed_by = |principal: &str| format!("{SHOP}:{principal}");
    for tenant in &mut config.tenants {
        if tenant.id == SHOP {
            let name = "Acme Store".to_owned();
            let merchant_id = OTHER.to_owned();
            let (id, website, jwk, issuer) = (merchant_id.clone(), None, None, None);
            tenant.merchants.push(MerchantConfig { id, merchant_id, name, website, jwk, issuer });
        }
        if tenant.id != HOME {
            continue;
        }
        tenant.vault = Some(VaultConfig::at(acquirer));
        for payee in tenant.payees.iter_mut().filter(|payee| payee.id == SHOP) {
            let ids = vec![SHOP.to_owned(), MERCHANT.to_owned()];
            let (redeemed_by, receives_cards, orders_secret_file) = (redeemed_by(MERCHANT), false, None);
            payee.acp = Some(AcpConfig { ids, redeemed_by, receives_cards, orders_secret_file });
        }
        tenant.payees.push(PayeeConfig {
            id: OTHER.into(),
            merchant_id: OTHER.into(),
            name: "Acme Store".into(),
            website: None,
            origins: Vec::new(),
            pay_to: Default::default(),
            keys: Vec::new(),
            acp: Some(AcpConfig {
                ids: OTHER_IDS.map(str::to_owned).to_vec(),
                redeemed_by: redeemed_by(OTHER),
                receives_cards: true,
                orders_secret_file: None,
            }),
        });
    }
}

impl DevService {
    /// Nothing where there is no vault. The token names the mandate that is spent from where a request names none.
    pub(super) async fn acp(&mut self, user: &str, agent: &str) -> Result<Value, String> {
        let Some(vault) = self.config.tenant(HOME).and_then(|tenant| tenant.vault.clone()) else {
            return Ok(Value::Null);
        };
        let mandate = self.standing_acp_mandate(user, agent).await?;
        let token = self.acp_token(&mandate)?;
        let url = self.url();
        Ok(json!({
            "url": url,
            "token": token,
            "mandate": mandate,
            "verify_url": format!("{url}/v1/vault/verify"),
            "capture_url": format!("{url}/v1/vault/capture"),
            "void_url": format!("{url}/v1/vault/void"),
            "refund_url": format!("{url}/v1/vault/refund"),
            "merchant_id": SHOP,
            "merchant_token": self.token(SHOP, MERCHANT, CallerKind::Merchant)?,
            "other_merchant_id": OTHER_IDS[1],
            "other_merchant_token": self.token(SHOP, OTHER, CallerKind::Merchant)?,
            "acquirer": { "url": vault.acquirer, "secret": DEVNET_SECRET, "cards_url": format!("{}/v1/cards", vault.acquirer) },
        }))
    }

    /// Where cards are charged, where that is in this process.
    pub fn acquirer_url(&self) -> Option<&str> {
        self.acquirer.as_ref().map(|acquirer| acquirer.url.as_str())
    }

    /// The agent's token, naming the mandate that is meant where a request names none.
    pub fn acp_token(&self, mandate: &str) -> Result<String, String> {
        mint_under(&minter(&self.config, &self.ring)?, HOME, AGENT, CallerKind::Agent, TOKEN_SECONDS, mandate)
    }
}
