//! `purser keys`: what an operator does with the sealed keys. No secret is ever printed.

use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use mandates::keys::LocalKey;
use serde_json::{Value, json};
use store::Schema;
use zeroize::Zeroizing;

use super::ring::{Key, draw};
use super::slot::{Material, Purpose};
use super::{KeyError, MasterKey, Ring, Slot};
use crate::assembly::is_known_to_all;
use crate::cli::{KeyPlace, KeysAction, KeysRewrap, LedgerScope};
use crate::config::Config;
use crate::operate::{master_key, ring};

/// The longest file that is read for a key.
const FILE_BYTES_MAX: u64 = 4_096;

pub async fn run(action: &KeysAction) -> Result<(), String> {
    let say = |error: KeyError| error.to_string();
    match action {
        KeysAction::List(scope) => list(scope).await,
        KeysAction::New(place) => {
            let (mut ring, slot, _) = open(place, Schema::Migrate).await?;
            ring.add(&slot, &*draw(&slot).map_err(say)?).await.map_err(say)?;
            tell(&ring, &slot)
        }
        KeysAction::Import(import) => {
            let (mut ring, slot, config) = open(&import.place, Schema::Migrate).await?;
            let secret = read(&import.file, &slot, &config)?;
            ring.add(&slot, &secret).await.map_err(say)?;
            tell(&ring, &slot)
        }
        KeysAction::Rotate(rotate) => {
            let (mut ring, slot, config) = open(&rotate.place, Schema::Refuse).await?;
            let secret = match &rotate.file {
                Some(file) => read(file, &slot, &config)?,
                None => draw(&slot).map_err(say)?,
            };
            ring.rotate(&slot, &secret).await.map_err(say)?;
            tell(&ring, &slot)?;
            println!("{}", after_rotation(&slot.purpose));
            Ok(())
        }
        KeysAction::Revoke(revoke) => {
            let (mut ring, slot, _) = open(&revoke.place, Schema::Refuse).await?;
            ring.revoke(&slot, &revoke.kid).await.map_err(say)?;
            println!("{} is revoked. Restart serve, or send it SIGHUP.", revoke.kid);
            Ok(())
        }
        KeysAction::Rewrap(args) => rewrap(args).await,
    }
}

/// The place must be one of the configuration: a key for nobody would only be mistaken for a key of somebody.
async fn open(place: &KeyPlace, schema: Schema) -> Result<(Ring, Slot, Config), String> {
    let config = Config::read(&place.config).map_err(|error| error.to_string())?;
    let slot = Slot::new(&place.tenant, place.purpose.parse()?);
    let slots = Slot::all(&config);
    if !slots.contains(&slot) {
        let expected = slots.iter().map(Slot::to_string).collect::<Vec<_>>().join(", ");
        return Err(KeyError::Unknown { expected, found: slot.to_string() }.to_string());
    }
    Ok((ring(&config, schema).await?, slot, config))
}

/// From a file or standard input. What it said is never repeated.
fn read(file: &Path, slot: &Slot, config: &Config) -> Result<Zeroizing<[u8; 32]>, String> {
    let mut text = Zeroizing::new(String::new());
    let source: Box<dyn Read> = if file == Path::new("-") {
        Box::new(std::io::stdin())
    } else {
        Box::new(std::fs::File::open(file).map_err(|error| format!("{}: {error}", file.display()))?)
    };
    let unreadable = |error: std::io::Error| format!("{}: {error}", file.display());
    source.take(FILE_BYTES_MAX).read_to_string(&mut text).map_err(unreadable)?;
    let secret = parse(&text, slot).map_err(|error| error.to_string())?;
    if !config.is_devnet() && is_known_to_all(&secret) {
        let error = KeyError::KnownToAll { slot: slot.clone(), chain_id: config.chain.chain_id };
        return Err(error.to_string());
    }
    Ok(secret)
}

fn parse(text: &str, slot: &Slot) -> Result<Zeroizing<[u8; 32]>, KeyError> {
    let malformed = |expected, found: String| KeyError::Malformed { slot: slot.clone(), expected, found };
    match slot.purpose.material() {
        Material::Mac => Err(KeyError::NotRotatable(slot.clone())),
        Material::P256 => {
            let expected = "a private P-256 JWK";
            let jwk = mandates::json::parse_object(text.trim().as_bytes());
            let jwk = jwk.map_err(|_| malformed(expected, "no JSON object came".to_owned()))?;
            let key = LocalKey::from_jwk(&jwk).map_err(|error| malformed(expected, error.code().to_owned()))?;
            key.expose_scalar().map(Zeroizing::new).map_err(|error| malformed(expected, error.code().to_owned()))
        }
        Material::Secp256k1 | Material::Ed25519 | Material::Sealing | Material::Shared => {
            let text = text.trim();
            let expected = "64 hexadecimal digits";
            let digits = text.strip_prefix("0x").unwrap_or(text);
            let bytes = hex::decode(digits).ok().map(Zeroizing::new);
            let bytes = bytes.and_then(|bytes| <[u8; 32]>::try_from(bytes.as_slice()).ok()).map(Zeroizing::new);
            bytes.ok_or_else(|| malformed(expected, format!("{} characters came", text.chars().count())))
        }
    }
}

fn tell(ring: &Ring, slot: &Slot) -> Result<(), String> {
    println!("{}", line(ring.active(slot).map_err(|error| error.to_string())?));
    Ok(())
}

const fn after_rotation(purpose: &Purpose) -> &'static str {
    match purpose {
        Purpose::Wallet => {
            "Restart serve, or send it SIGHUP. New payments come from the new address: move the old one's balance to it when `purser ledger \
             balances` shows nothing pending. What the old key signed stays valid until it ends, and a retry gives it again."
        }
        Purpose::Relayer | Purpose::FurtherRelayer(_) => {
            "Restart serve, or send it SIGHUP. Send gas to the new address. What the old one sent is still followed and sent again as it was."
        }
        Purpose::Channels => {
            "Restart serve, or send it SIGHUP. New channels name the new key; those that name the old one are still claimed and refunded with it."
        }
        Purpose::Holds => {
            "Restart serve, or send it SIGHUP. New demands name the new key; what is held under the old one is still captured and given back with it."
        }
        Purpose::Provider | Purpose::Receipts => {
            "Restart serve, or send it SIGHUP. What the old key signed is still taken until it ends; `purser keys revoke` ends that too."
        }
        Purpose::Agent(_) => {
            "Restart serve, or send it SIGHUP. Mandates that name the old key are still closed with it; new ones name the new."
        }
        Purpose::Merchant(_) => {
            "Restart serve or send it SIGHUP, and give the new public key to those who have the old one on record."
        }
        Purpose::Tokens => {
            "Restart serve, or send it SIGHUP. Tokens of the old key are refused from then on: callers get new ones."
        }
        Purpose::Journal => {
            "Give the key that `purser ledger checkpoint --key` prints to those who keep checkpoints; keep the old one for old ones."
        }
        Purpose::Vault => {
            "Restart serve, or send it SIGHUP. New cards are sealed with it; the old key opens those that it sealed, until it is revoked."
        }
        Purpose::Webhook(_) => {
            "Restart serve, or send it SIGHUP. Messages carry a signature of each secret: give the receiver the new one (`purser webhook secret`), then revoke the old one."
        }
        Purpose::Client(_) | Purpose::TenantSecret | Purpose::JournalSalt => "Restart serve, or send it SIGHUP.",
    }
}

fn line(key: &Key) -> String {
    let (slot, sealed) = (&key.slot, &key.sealed);
    let address = address(key).unwrap_or_else(|| "-".to_owned());
    format!("{} {} {} {} {address}", slot.tenant, slot.purpose, sealed.state.as_str(), sealed.kid)
}

fn address(key: &Key) -> Option<String> {
    match key.slot.purpose.material() {
        Material::Secp256k1 => key.wallet().ok().map(|key| key.address().to_string()),
        Material::P256 | Material::Ed25519 | Material::Mac | Material::Sealing | Material::Shared => None,
    }
}

async fn list(scope: &LedgerScope) -> Result<(), String> {
    let config = Config::read(&scope.config).map_err(|error| error.to_string())?;
    let ring = ring(&config, Schema::Refuse).await?;
    let keys = ring.keys().iter().filter(|key| scope.tenant.as_ref().is_none_or(|tenant| *tenant == key.slot.tenant));
    for key in keys {
        if scope.json {
            println!("{}", to_json(key));
        } else {
            println!("{}", line(key));
        }
    }
    Ok(())
}

/// A MAC key has no public half, and shows none.
fn to_json(key: &Key) -> Value {
    let (slot, sealed) = (&key.slot, &key.sealed);
    let jwk = match slot.purpose.material() {
        Material::P256 => key.p256().ok().map(|key| Value::Object(key.public().to_jwk())),
        Material::Secp256k1 | Material::Ed25519 | Material::Mac | Material::Sealing | Material::Shared => None,
    };
    json!({
        "tenant": slot.tenant, "purpose": slot.purpose.to_string(), "kid": sealed.kid, "state": sealed.state.as_str(),
        "created_at": sealed.created_at, "ended_at": sealed.ended_at, "master_key": sealed.master,
        "address": address(key), "jwk": jwk,
    })
}

async fn rewrap(args: &KeysRewrap) -> Result<(), String> {
    let config = Config::read(&args.config).map_err(|error| error.to_string())?;
    let (old, new) = (master_key(&config)?, new_master(&args.new_master_key_file)?);
    let count = Ring::rewrap(&config.database, &old, &new).await.map_err(|error| error.to_string())?;
    println!("{count} keys are sealed again, under master key {} instead of {}", new.id(), old.id());
    println!(
        "Now name {} in master_key_file, or put it into PURSER_MASTER_KEY; the old master key opens nothing here.",
        args.new_master_key_file.display()
    );
    println!("Backups from before are still under the old one: keep it as long as you keep them.");
    Ok(())
}

/// On the disk before anything is sealed with it.
fn new_master(file: &Path) -> Result<MasterKey, String> {
    let say = |error: &dyn std::fmt::Display| format!("{}: {error}", file.display());
    match std::fs::read_to_string(file) {
        Ok(text) => MasterKey::from_hex(&text).map_err(|error| say(&error)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let key = MasterKey::random().map_err(|error| say(&error))?;
            let mut open = std::fs::OpenOptions::new();
            let mut new = open.write(true).create_new(true).mode(0o600).open(file).map_err(|error| say(&error))?;
            let written = new.write_all(format!("{}\n", key.to_hex()).as_bytes()).and_then(|()| new.sync_all());
            written.map_err(|error| say(&error))?;
            // The name in its folder, too.
            let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
            std::fs::File::open(folder).and_then(|folder| folder.sync_all()).map_err(|error| say(&error))?;
            Ok(key)
        }
        Err(error) => Err(say(&error)),
    }
}
