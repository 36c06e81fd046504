//! The opening balance: what a wallet held on the chain before its book began.
//!
//! Posted once, when the book has no entry of that wallet yet. Money that comes later is for reconciliation to find.

use ledger::account::Account;
use ledger::command::{Command, Request};
use ledger::id::{AuthMethod, Caller, CallerKind, Digest};
use ledger::money::Amount;
use ledger::store::{Store, Work};
use ledger::transfer::Money;
use x402::chain::{At, Chain};

use crate::assembly::{assets, network, principal};
use crate::config::Config;
use crate::keys::{Purpose, Ring, Slot};

pub async fn post(config: &Config, ring: &Ring, store: &dyn Store, rpc: &dyn Chain) -> Result<(), String> {
    let say = |error: &dyn std::fmt::Display| error.to_string();
    let (table, network) = (assets(&config.chain), network(&config.chain));
    let (table, network) = (table.map_err(|error| say(&error))?, network.map_err(|error| say(&error))?);
    for tenant in &config.tenants {
        let mut held = Vec::new();
        if tenant.wallet.is_some() {
            let owner = ring.address(&Slot::new(&tenant.id, Purpose::Wallet)).map_err(|error| say(&error))?;
            for asset in table.iter().filter(|asset| asset.network == network) {
                held.push((owner, asset.id().map_err(|error| say(&error))?, Some(asset.address)));
            }
        }
        for purpose in tenant.facilitate.iter().flat_map(Purpose::relayers) {
            // What it pays gas with.
            let owner = ring.address(&Slot::new(&tenant.id, purpose)).map_err(|error| say(&error))?;
            let native =
                format!("{network}/slip44:60").parse().map_err(|_| "no name for the native asset".to_owned())?;
            held.push((owner, native, None));
        }
        let id = tenant.id.parse().map_err(|_| format!("`{}` is no tenant", tenant.id))?;
        let booked = store.balances(&id).await.map_err(|error| say(&error))?;
        for (owner, asset, token) in held {
            let wallet = format!("{network}:{owner:#x}");
            let account = Account::Wallet(wallet.clone());
            if booked.iter().any(|entry| entry.account == account && entry.asset == asset) {
                continue;
            }
            let block = rpc.block(At::Latest).await.map_err(|error| say(&error))?;
            let held = match token {
                Some(token) => rpc.balance_of(token, owner, At::Number(block.number)).await,
                None => rpc.native_balance(owner).await,
            };
            let held = held.map_err(|error| say(&error))?;
            let amount =
                u128::try_from(held).map(Amount::new).map_err(|_| format!("{held} leaves the range of an amount"))?;
            if amount.is_zero() {
                continue;
            }
            let money = Money { asset, amount };
            let command = Command::Fund { wallet, money, reference: Digest(block.hash.0) };
            let caller = Caller::new(
                principal("configuration").map_err(|error| say(&error))?,
                CallerKind::Service,
                AuthMethod::Internal,
            );
            let work = Work::new(Request { caller, command }, Vec::new());
            store.run(&id, work).await.map_err(|error| say(&error))?;
            tracing::info!(tenant = %tenant.id, %amount, block = block.number, "opening balance posted");
        }
    }
    Ok(())
}
