//! Our own wallet, where its owner lets it put money into channels.

use alloy_primitives::Address;
use purser::client::{ClientError, Fetched};
use purser::config::WalletChannelsConfig;
use purser::credential::Credential;
use purser::pay::{Bought, Purchase, buy};
use purser::world::{HOME, wallet_address};
use serde_json::{Value, json};

use super::process::{run, stdout};
use super::text;
use super::world::World;

/// What lets it pay out of channels: so much in one, twice as much in all.
pub fn channels(bound_max: u128) -> WalletChannelsConfig {
    let settings = json!({ "bound_max": bound_max.to_string(), "total_max": (2 * bound_max).to_string() });
    serde_json::from_value(settings).unwrap()
}

/// Before the service is started again.
pub fn with_channels(world: &mut World, channels: WalletChannelsConfig) {
    let home = world.config.tenants.iter_mut().find(|tenant| tenant.id == HOME).unwrap();
    home.wallet.as_mut().unwrap().channels = Some(channels);
    std::fs::write(world.config_file(), toml::to_string(&world.config).unwrap()).unwrap();
}

pub fn address(world: &World) -> Address {
    wallet_address(HOME, &world.ring).unwrap()
}

/// Fetches and pays, as `purser pay` does.
pub async fn fetch(world: &World, url: &str, mandate: &str, key: &str) -> Result<Bought, ClientError> {
    let purchase = Purchase {
        url: url.to_owned(),
        method: "GET".to_owned(),
        mandate: mandate.to_owned(),
        key: key.to_owned(),
        cart: None,
    };
    buy(&world.client, &Credential::bearer(&world.agent), &purchase, &|_| {}).await
}

/// The same, where it comes to something.
pub async fn bought(world: &World, url: &str, mandate: &str, key: &str) -> (Fetched, Value) {
    let bought = fetch(world, url, mandate, key).await.unwrap_or_else(|error| panic!("{url} under {key}: {error}"));
    let fetched = Fetched { status: bought.fetched.status, headers: bought.fetched.headers, body: bought.fetched.body };
    (fetched, bought.payment.expect("a payment"))
}

/// `purser channels …`: whether it says that all is done, and each line that it wrote.
pub fn own_channels(world: &World, arguments: &[&str]) -> (bool, Vec<Value>, String) {
    let file = world.config_file().display().to_string();
    let command = [&["channels"], arguments, &["--config", &file, "--json"]].concat();
    let output = run(&command, &world.env());
    let lines = stdout(&output).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    (output.status.success(), lines, String::from_utf8_lossy(&output.stderr).into_owned())
}

/// A figure of a mandate, in units of authority.
pub fn units(figures: &Value, name: &str) -> u128 {
    text(&figures[name], "units").parse().unwrap()
}

/// What the tenant's books say, once the service is stopped; and that they verify.
pub fn booked(world: &World) -> Vec<(String, String)> {
    let file = world.config_file().display().to_string();
    let verified = run(&["ledger", "verify", "--config", &file], &world.env());
    assert!(verified.status.success(), "{}", stdout(&verified));
    let balances = stdout(&run(&["ledger", "balances", "--config", &file, "--json"], &world.env()));
    let mut lines = balances.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let home = lines.find(|line| line["tenant"] == HOME).expect("a line of the wallet's");
    assert_eq!(home["balanced"], true, "{home}");
    let accounts = home["accounts"].as_array().unwrap().iter();
    accounts.map(|entry| (text(entry, "account").to_owned(), text(entry, "balance").to_owned())).collect()
}

/// Of the accounts that begin so, the only one's.
pub fn balance_of(accounts: &[(String, String)], begins: &str) -> String {
    let mut found = accounts.iter().filter(|(account, _)| account.starts_with(begins));
    let (first, second) = (found.next(), found.next());
    assert!(second.is_none(), "one {begins} in {accounts:?}");
    first.map_or_else(|| "0".to_owned(), |(_, balance)| balance.clone())
}
