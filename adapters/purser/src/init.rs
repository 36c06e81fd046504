//! `purser init`: a configuration that runs, with a comment at every line that somebody may want to change.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use x402::exact::WalletKey;
use x402::network::{AssetTable, Network, TransferMethod};

use crate::cli::InitArgs;
use crate::keys::MasterKey;

/// A network that `init` knows the facts of.
struct Known {
    name: &'static str,
    chain_id: u64,
    rpc_url: &'static str,
    is_real_money: bool,
}

/// Public endpoints change; the comment in the file says to put one's own.
const KNOWN: [Known; 3] = [
    Known { name: "devnet", chain_id: 31_337, rpc_url: "http://127.0.0.1:8545", is_real_money: false },
    Known { name: "base-sepolia", chain_id: 84_532, rpc_url: "https://sepolia.base.org", is_real_money: false },
    Known { name: "base", chain_id: 8_453, rpc_url: "https://mainnet.base.org", is_real_money: true },
];

pub fn run(args: &InitArgs) -> Result<(), String> {
    let known = KNOWN.iter().find(|known| known.name == args.network);
    let known = known.ok_or_else(|| {
        let names = KNOWN.map(|known| known.name).join(", ");
        format!("the network is one of {names}; `{}` was given", args.network)
    })?;
    let folder = std::path::absolute(&args.dir).map_err(|error| error.to_string())?;
    std::fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let (config, key) = (folder.join("purser.toml"), folder.join("master.key"));
    for file in [&config, &key] {
        if file.exists() {
            return Err(format!("{} is there already; nothing was changed", file.display()));
        }
    }
    let master = MasterKey::random().map_err(|error| error.to_string())?;
    let text = text(args, known, &folder, &master)?;
    write(&key, &format!("{}\n", master.to_hex()), 0o600)?;
    write(&config, &text, 0o644)?;
    println!("{}", config.display());
    println!("{}  (keep a copy: losing it loses every key below it, wallets too)", key.display());
    println!("next: purser migrate --config {0} && purser doctor --config {0}", config.display());
    Ok(())
}

fn write(path: &Path, text: &str, mode: u32) -> Result<(), String> {
    let file = std::fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(path);
    file.and_then(|mut file| file.write_all(text.as_bytes())).map_err(|error| format!("{}: {error}", path.display()))
}

/// The token of a network: from the trusted table, on the devnet its own.
fn asset(known: &Known) -> Result<(String, String), String> {
    if known.chain_id == 31_337 {
        let address = chain::token::ADDRESS.to_string();
        let row = format!(
            "\n# The devnet's token. Its scale is trusted because it stands here.\n[[chain.assets]]\naddress = \"{address}\"\n\
             name = \"{}\"\nversion = \"{}\"\ndecimals = {}\n",
            chain::token::NAME,
            chain::token::VERSION,
            chain::token::DECIMALS,
        );
        return Ok((address, row));
    }
    let network = Network::new(known.chain_id).ok_or("no such network")?;
    let table = AssetTable::trusted();
    let found = table.iter().find(|asset| asset.network == network && asset.transfer == TransferMethod::Eip3009);
    let asset = found.ok_or_else(|| format!("no token of {} is in the trusted table", known.name))?;
    Ok((asset.address.to_string(), String::new()))
}

fn text(args: &InitArgs, known: &Known, folder: &Path, master: &MasterKey) -> Result<String, String> {
    let (asset, row) = asset(known)?;
    let till = master.secp256k1("till", "main").map_err(|error| error.to_string())?;
    let till = WalletKey::from_bytes(&till).map_err(|error| error.to_string())?.address();
    let rpc_url = args.rpc_url.as_deref().unwrap_or(known.rpc_url);
    let chain_id = known.chain_id;
    let asset_id = format!("eip155:{chain_id}/erc20:{}", asset.to_ascii_lowercase());
    let allow = if known.is_real_money { "# allow_mainnet = true   # real money" } else { "# allow_mainnet = false" };
    Ok(format!(
        r#"# Purser's configuration. Every line with a `#` before a name is a default or an offer.

listen = "{listen}"
# public_url = "https://purser.example"     # how others reach it; put TLS in front of it
database = "{folder}/purser.sqlite"
master_key_file = "{folder}/master.key"      # or PURSER_MASTER_KEY in the environment
# bearer = "reading"                          # what unbound tokens are good for
# sweep_millis = 1000                         # how often what is open is held against the chain

[chain]
rpc_url = "{rpc_url}"                         # put your own node or provider here
# fallback_rpc_urls = ["https://…"]          # asked where the first gives no answer
chain_id = {chain_id}
{allow}
{row}
# One legal entity: one book, one journal. Repeat the block for another.
[[tenants]]
id = "main"
currency = "USD"
cap = "1000"                                  # over everything, major units
payment_seconds = 60                          # how long a signed payment lives; the money is held until then

# Without a rate nothing is bought across assets. Take the comment away if you answer for it:
# a token is a dollar here because this line says so.
# [[tenants.pegs]]
# base = "{asset_id}"
# quote = "iso4217:USD"
# rate = "1"

# People who decide, agents who ask, merchants who sign carts: `purser principal add` writes them.
[[tenants.people]]
id = "user"
cap = "500"

# Who gets paid, where you know it. A 402 that contradicts a record is refused; who stands in none is pinned by the
# first payment.
# [[tenants.payees]]
# id = "shop"
# merchant_id = "shop"
# name = "A shop"
# origins = ["https://shop.example"]
# pay_to = {{ "eip155:{chain_id}" = ["0x…"] }}

# This tenant pays: its key is derived from the master key, or read from the variable that `env` names.
[tenants.wallet]
# env = "WALLET_KEY"

# This tenant sells.
[tenants.sell]
payee = "main"
pay_to = "{till}"                             # derived from the master key; put an address of yours
asset = "{asset}"
facilitator = "local:main"                    # or the URL of an x402 facilitator
[[tenants.sell.routes]]
path = "/paid/hello"
amount = "10000"                              # atomic units
description = "a greeting that costs something"
body = "hello, and thank you"

# This tenant carries payments to the chain, and pays their gas.
[tenants.facilitate]
payees = ["{till}"]                           # for these addresses only
[tenants.facilitate.relayer]
# env = "RELAYER_KEY"
"#,
        listen = args.listen,
        folder = folder.display(),
    ))
}
