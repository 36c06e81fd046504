//! `purser init`: a configuration that runs, with a comment at every line that somebody may want to change.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use x402::exact::WalletKey;
use x402::network::{AssetTable, Network, TransferMethod};

use crate::cli::InitArgs;
use crate::keys::ring::draw;
use crate::keys::{MasterKey, Purpose, Slot};

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
    let (config, key, till) = (folder.join("purser.toml"), folder.join("master.key"), folder.join("till.key"));
    for file in [&config, &key, &till] {
        if file.exists() {
            return Err(format!("{} is there already; nothing was changed", file.display()));
        }
    }
    let master = MasterKey::random().map_err(|error| error.to_string())?;
    let drawn = draw(&Slot::new("main", Purpose::Wallet)).map_err(|error| error.to_string())?;
    let address = WalletKey::from_bytes(&drawn).map_err(|error| error.to_string())?.address();
    let text = text(args, known, &folder, &address.to_string())?;
    write(&key, &format!("{}\n", master.to_hex()), 0o600)?;
    write(&till, &format!("0x{}\n", hex::encode(drawn.as_slice())), 0o600)?;
    write(&config, &text, 0o644)?;
    println!("{}", config.display());
    println!("{}  (keep a copy: losing it loses every key in the database, wallets too)", key.display());
    println!("{}  (what {address} is paid can be spent with it; the service never reads it)", till.display());
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

fn text(args: &InitArgs, known: &Known, folder: &Path, till: &str) -> Result<String, String> {
    let (asset, row) = asset(known)?;
    let rpc_url = args.rpc_url.as_deref().unwrap_or(known.rpc_url);
    let chain_id = known.chain_id;
    let asset_id = format!("eip155:{chain_id}/erc20:{}", asset.to_ascii_lowercase());
    let allow = if known.is_real_money { "# allow_mainnet = true   # real money" } else { "# allow_mainnet = false" };
    let places = [
        ("{listen}", args.listen.to_string()),
        ("{folder}", folder.display().to_string()),
        ("{rpc_url}", rpc_url.to_owned()),
        ("{chain_id}", chain_id.to_string()),
        ("{allow}", allow.to_owned()),
        ("{approval}", if chain_id == 31_337 { "token" } else { "passkey" }.to_owned()),
        ("{row}", row),
        ("{asset_id}", asset_id),
        ("{asset}", asset),
        ("{till}", till.to_owned()),
    ];
    let template = include_str!("init/purser.toml").to_owned();
    Ok(places.iter().fold(template, |text, (place, value)| text.replace(place, value)))
}
