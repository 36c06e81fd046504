//! `purser shop`: buys from a shop that speaks the Agentic Commerce Protocol, under a mandate: the card is left in the
//! service's own vault, and the shop gets a token for it that is good for this session and no more than its total.
//!
//! A line of JSON to standard output says what was bought; everything else goes to standard error. Exit 0 only where the
//! shop took the order and the book does not say otherwise.

use std::path::{Path, PathBuf};

use async_trait::async_trait;
use clap::{Args, Subcommand};
use commerce::acp_buyer::{Consent, is_same_origin, minor};
use commerce::ucp::write::moment;
use mandates::currency::Currency;
use mandates::json::{self, Object};
use payer::shop::{Allowed, Errand, Ordered, Purse, Shopper, Standing, Wanted};
use reqwest::Method;
use serde_json::{Value, json};

use crate::client::{Client, ClientError, TIMEOUT};
use crate::credential::Credential;
use crate::fetch::{Loopback, Reach};
use crate::pay::service;

#[derive(Debug, Args)]
pub struct ShopArgs {
    #[command(subcommand)]
    pub action: ShopAction,
}

#[derive(Debug, Subcommand)]
pub enum ShopAction {
    /// Buy, under a mandate: at most for what is agreed on here, from this merchant, exactly these items.
    Buy(Box<ErrandArgs>),
    /// Cancel what the same words and the same key opened, where it was not bought.
    Cancel(Box<ErrandArgs>),
}

#[derive(Debug, Args)]
pub struct ErrandArgs {
    /// The shop, by any address of it.
    pub url: String,
    #[arg(long)]
    pub mandate: String,
    /// As the mandate's vault knows the merchant (`merchant_id`).
    #[arg(long)]
    pub merchant: String,
    /// What it may come to with everything, in major units of the mandate's currency, as 12.50.
    #[arg(long)]
    pub total: String,
    /// A product of the shop's, and how many: `ID` or `ID:QUANTITY`. May be repeated.
    #[arg(long = "item", value_name = "ID[:QUANTITY]", required = true)]
    pub items: Vec<String>,
    /// The card, as `payment_method` of ACP has it. Never on the command line.
    #[arg(long, value_name = "FILE")]
    pub card: PathBuf,
    /// The same key is one purchase, whenever it is tried again.
    #[arg(long)]
    pub idempotency_key: String,
    /// Further members of `CheckoutSessionCreateRequest`: `buyer`, `fulfillment_details`, `discounts`.
    #[arg(long, value_name = "FILE")]
    pub details: Option<PathBuf>,
    /// The way to send it, by the id that the shop gives it.
    #[arg(long)]
    pub option: Option<String>,
    /// JSON with the shop's `url` and the `token` to call it with (or `client_id` and `key`). Not needed for a shop of the
    /// service itself.
    #[arg(long, value_name = "FILE")]
    pub shop: Option<PathBuf>,
    /// The same for the service; without it, PURSER_URL and PURSER_TOKEN.
    #[arg(long, value_name = "FILE")]
    pub service: Option<PathBuf>,
}

/// Who pays: an agent with a mandate and a card, through the service's vault.
pub struct VaultPurse {
    pub service: Client,
    pub credential: Credential,
    /// What the shop is called with, where that is not the service itself.
    pub shop: Option<(Client, Credential)>,
    pub mandate: String,
    /// RFC 3339.
    pub mandate_ends_at: String,
    /// `payment_method`.
    pub card: Object,
}

#[async_trait]
impl Purse for VaultPurse {
    type Error = ClientError;

    async fn introduce(&self, method: &Method, url: &str) -> Result<Vec<(&'static str, String)>, ClientError> {
        match &self.shop {
            Some((client, credential)) => client.introduce(credential, method, url).await,
            None => self.service.introduce(&self.credential, method, url).await,
        }
    }

    async fn allow(&self, wanted: &Wanted, key: &str) -> Result<Allowed, ClientError> {
        let path = "/agentic_commerce/delegate_payment";
        // Nothing in it differs from one try to the next: it is what the key stands for.
        let body = json!({
            "payment_method": self.card,
            "allowance": {
                "reason": "one_time", "max_amount": wanted.amount, "currency": wanted.currency.to_ascii_lowercase(),
                "checkout_session_id": wanted.session, "merchant_id": wanted.merchant_id,
                "expires_at": wanted.expires_at.as_ref().unwrap_or(&self.mandate_ends_at),
            },
            "risk_signals": [], "metadata": { "mandate": self.mandate },
        });
        let given = self.service.call_as(&self.credential, Method::POST, path, Some(key), Some(body)).await?;
        let text = |value: &Value| value.as_str().map(str::to_owned);
        match (text(&given["id"]), text(&given["metadata"]["payment"])) {
            (Some(token), Some(payment)) => Ok(Allowed { token, payment }),
            _ => Err(unreadable(path, "a token and its payment were expected")),
        }
    }

    async fn look(&self, allowed: &Allowed) -> Result<Standing, ClientError> {
        let path = "/v1/vault/verify";
        let body = json!({ "token": allowed.token });
        let view = self.service.call_as(&self.credential, Method::POST, path, None, Some(body)).await?;
        let state = view["state"].as_str().ok_or_else(|| unreadable(path, "a state was expected"))?.to_owned();
        Ok(Standing { state, captured: view["captured"]["amount"].as_u64() })
    }
}

fn unreadable(path: &str, why: &str) -> ClientError {
    ClientError::Unreadable { url: path.to_owned(), why: why.to_owned() }
}

pub async fn run(args: &ShopArgs) -> Result<bool, String> {
    match &args.action {
        ShopAction::Buy(args) => {
            let (shopper, errand) = prepared(args).await?;
            let ordered = shopper.buy(&errand).await.map_err(|error| error.to_string())?;
            told(&ordered, &errand);
            Ok(true)
        }
        ShopAction::Cancel(args) => {
            let (shopper, errand) = prepared(args).await?;
            let session = shopper.cancel(&errand).await.map_err(|error| error.to_string())?;
            println!("{}", json!({ "session": session, "status": "canceled" }));
            Ok(true)
        }
    }
}

async fn prepared(args: &ErrandArgs) -> Result<(Shopper<VaultPurse>, Errand), String> {
    let say = |error: &dyn std::fmt::Display| error.to_string();
    // Whoever reads along would have the credential.
    Reach { loopback: Loopback::Allowed, ..Reach::default() }.check(&args.url)?;
    let service = service(args.service.as_deref())?;
    let (client, credential) = (Client::new(&service.url).map_err(|error| say(&error))?, service.credential()?);
    let shop = shop(args, &service.url)?;
    let path = format!("/v1/mandates/{}", args.mandate);
    let view = client.call_as(&credential, Method::GET, &path, None, None).await.map_err(|error| say(&error))?;
    let currency = view["currency"].as_str().ok_or("the service says no currency of the mandate")?;
    let currency = Currency::new(currency).map_err(|error| say(&error))?;
    let mandate_ends_at = view["expires_at"].as_i64().ok_or("the service does not say when the mandate ends")?;
    let consent = Consent {
        merchant_id: args.merchant.clone(),
        total_max: minor(&currency, &args.total).map_err(|error| say(&error))?,
        currency,
        items: items(&args.items)?,
        vault: service.url.clone(),
    };
    let details =
        args.details.as_deref().map_or_else(|| Ok(Object::new()), |path| object(path, "a request's members"))?;
    let errand = Errand {
        shop: args.url.clone(),
        consent,
        details,
        option: args.option.clone(),
        key: args.idempotency_key.clone(),
    };
    let card = object(&args.card, "a payment_method")?;
    let purse = VaultPurse {
        service: client,
        credential,
        shop,
        mandate: args.mandate.clone(),
        mandate_ends_at: moment(mandate_ends_at),
        card,
    };
    Ok((Shopper::new(purse, TIMEOUT)?, errand))
}

/// The service's own credential goes to the service's own origin, and to no shop elsewhere.
fn shop(args: &ErrandArgs, service_url: &str) -> Result<Option<(Client, Credential)>, String> {
    let Some(file) = &args.shop else {
        return match is_same_origin(&args.url, service_url) {
            true => Ok(None),
            false => Err(format!("shop_credential_missing: {} is not at {service_url}: give --shop FILE", args.url)),
        };
    };
    let shop = service(Some(file))?;
    if !is_same_origin(&args.url, &shop.url) {
        let file = file.display();
        return Err(format!("shop_elsewhere: {file} is for {}, and {} was given", shop.url, args.url));
    }
    Ok(Some((Client::new(&shop.url).map_err(|error| error.to_string())?, shop.credential()?)))
}

/// The texts of these files are not repeated: a card's number is among them.
fn object(path: &Path, what: &str) -> Result<Object, String> {
    let bytes = std::fs::read(path).map_err(|error| format!("{}: {error}", path.display()))?;
    let bytes = zeroize::Zeroizing::new(bytes);
    json::parse_object(&bytes).map_err(|_| format!("{}: {what} as one JSON object was expected", path.display()))
}

fn items(texts: &[String]) -> Result<std::collections::BTreeMap<String, u64>, String> {
    let mut items = std::collections::BTreeMap::new();
    for text in texts {
        let number = |text: &str| text.parse::<u64>().ok().filter(|number| *number > 0);
        // An id may have a colon of its own.
        let (id, quantity) = match text.rsplit_once(':') {
            Some((id, digits)) if digits.bytes().all(|byte| byte.is_ascii_digit()) => (id, number(digits)),
            _ => (text.as_str(), Some(1)),
        };
        let quantity = quantity.filter(|_| !id.is_empty());
        let quantity =
            quantity.ok_or_else(|| format!("ID or ID:QUANTITY of one or more was expected; `{text}` was given"))?;
        let sum: &mut u64 = items.entry(id.to_owned()).or_default();
        *sum = sum.checked_add(quantity).ok_or_else(|| format!("`{text}`: that many are not counted"))?;
    }
    Ok(items)
}

fn told(ordered: &Ordered, errand: &Errand) {
    let Standing { state, captured } = &ordered.standing;
    match captured {
        Some(amount) => eprintln!("the shop took {amount} minor units of {}", ordered.currency),
        None => eprintln!(
            "the shop took the order and no money yet: it may take {} minor units of {} at most",
            ordered.total, ordered.currency
        ),
    }
    let line = json!({
        "order": ordered.order, "session": ordered.session, "merchant": errand.consent.merchant_id,
        "total": ordered.total, "currency": ordered.currency,
        "payment": { "id": ordered.payment, "state": state, "captured": captured },
    });
    println!("{line}");
}

#[cfg(test)]
mod tests {
    use super::items;

    #[test]
    fn what_is_no_number_of_a_product_is_refused() {
        let of = |texts: &[&str]| items(&texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>());
        let most = format!("a:{}", u64::MAX);
        for wrong in [&[""][..], &[":2"], &["a:0"], &["a:"], &["a:99999999999999999999"], &[&most, "a"]] {
            assert!(of(wrong).is_err(), "{wrong:?}");
        }
        let found = of(&["a", "a:2", "urn:b", "urn:c:3"]).unwrap();
        assert_eq!(found, [("a".to_owned(), 3), ("urn:b".to_owned(), 1), ("urn:c".to_owned(), 3)].into());
    }
}
