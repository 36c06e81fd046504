//! `purser principal add`: registers somebody with a public key, in the configuration file, keeping its comments.

use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use ledger::id::CallerKind;
use ledger::origin::Build;
use mandates::json::Object;
use mandates::keys::{LocalKey, PublicKey};
use toml_edit::{ArrayOfTables, DocumentMut, InlineTable, Item, Table, Value};

use crate::cli::{PrincipalAdd, PrincipalKey};
use crate::config::Config;
use crate::dev::private_jwk;
use crate::keys::ring::draw;
use crate::keys::{Purpose, Slot};

/// Draws a key for a client: the private half into a file for its owner's eyes, the public half on standard output.
pub fn new_key(args: &PrincipalKey) -> Result<(), String> {
    let drawn = draw(&Slot::new("new", Purpose::Client("new".to_owned()))).map_err(|error| error.to_string())?;
    let key = LocalKey::from_random(&drawn).map_err(|error| error.to_string())?;
    let private = private_jwk(&key)?;
    let file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&args.file);
    let written = file.and_then(|mut file| std::io::Write::write_all(&mut file, private.to_string().as_bytes()));
    written.map_err(|error| format!("{}: {error}", args.file.display()))?;
    println!("{}", serde_json::Value::Object(key.public().to_jwk()));
    Ok(())
}

pub fn add(args: &PrincipalAdd) -> Result<(), String> {
    let config = Config::read(&args.config).map_err(|error| error.to_string())?;
    let tenant = config.tenant(&args.tenant).ok_or_else(|| format!("there is no tenant {}", args.tenant))?;
    let kind: CallerKind = args.kind.parse().map_err(|_| format!("{} is no kind", args.kind))?;
    crate::assembly::principal(&args.name).map_err(|error| error.to_string())?;
    if let Some(build) = &args.build
        && kind != CallerKind::Agent
    {
        return Err(format!("--build is for an agent; {} is to be a {kind} of {build}", args.name));
    }
    let is_known = crate::service::is_known(tenant, &args.name, kind);
    let states_nothing_else = args.jwk.is_none() && args.issuer.is_none() && args.sponsor.is_none();
    match &args.build {
        Some(build) if is_known && states_nothing_else => return change_build(args, build),
        Some(_) if args.jwk.is_none() && args.issuer.is_none() => {
            return Err(format!(
                "there is no agent {} whose build it could be; a new one needs --jwk or --issuer",
                args.name
            ));
        }
        _ if is_known && kind != CallerKind::User => {
            return Err(format!("tenant {} has {kind} {} already", args.tenant, args.name));
        }
        _ => {}
    }
    let jwk = args.jwk.as_deref().map(public_jwk).transpose()?;
    let mut row = Table::new();
    row["id"] = text(&args.name);
    match (kind, &args.sponsor) {
        (CallerKind::Agent, Some(sponsor)) if tenant.people.iter().any(|person| person.id == *sponsor) => {
            row["sponsor"] = text(sponsor);
        }
        (CallerKind::Agent, _) => return Err("an agent needs --sponsor, a person of its tenant".into()),
        (CallerKind::Merchant, _) => {
            row["merchant_id"] = text(&args.name);
            row["name"] = text(&args.name);
        }
        _ => {}
    }
    if let Some(cap) = &args.cap {
        row["cap"] = text(cap);
    }
    if let Some(jwk) = jwk {
        row["jwk"] = Item::Value(Value::InlineTable(jwk));
    }
    if let Some(issuer) = &args.issuer {
        crate::issuers::named(issuer)?;
        let mut table = InlineTable::new();
        table.insert("url", issuer.as_str().into());
        table.insert("subject", args.subject.as_deref().unwrap_or(&args.name).into());
        row["issuer"] = Item::Value(Value::InlineTable(table));
    }
    if let Some(build) = &args.build {
        row["build"] = text(&build.to_string());
    }
    let list = match kind {
        CallerKind::User => "people",
        CallerKind::Agent => "agents",
        CallerKind::Merchant => "merchants",
        CallerKind::Operator => "operators",
        CallerKind::Service => return Err("a part of the service is not registered".into()),
    };
    write(args, list, row)?;
    println!(
        "{kind} {} is registered; its client_id is {}:{}. A running serve takes it up within a second.",
        args.name, args.tenant, args.name
    );
    Ok(())
}

/// Another build is out of the stops of the former one from its next payment on; what is held stays in them.
fn change_build(args: &PrincipalAdd, build: &Build) -> Result<(), String> {
    let mut row = Table::new();
    row["id"] = text(&args.name);
    row["build"] = text(&build.to_string());
    write(args, "agents", row)?;
    println!("agent {} is of build {build} now. A running serve takes it up within a second.", args.name);
    Ok(())
}

fn write(args: &PrincipalAdd, list: &str, row: Table) -> Result<(), String> {
    edit(&args.config, &args.tenant, list, row)?;
    let read = Config::read(&args.config);
    read.map(drop).map_err(|error| format!("the file was changed and cannot be read any more: {error}"))
}

fn text(value: &str) -> Item {
    toml_edit::value(value)
}

/// The public members only: a private key does not belong into a configuration.
fn public_jwk(path: &Path) -> Result<InlineTable, String> {
    let bytes = std::fs::read(path).map_err(|error| format!("{}: {error}", path.display()))?;
    let mut jwk: Object = serde_json::from_slice(&bytes).map_err(|_| format!("{} is no JWK", path.display()))?;
    jwk.remove("d");
    let key = PublicKey::from_jwk(&jwk).map_err(|error| format!("{}: {error}", path.display()))?;
    let mut table = InlineTable::new();
    for (name, value) in key.to_jwk() {
        if let Some(value) = value.as_str() {
            table.insert(&name, value.into());
        }
    }
    Ok(table)
}

/// A person that is there already gets a key; anybody else gets a block of their own.
fn edit(path: &Path, tenant: &str, list: &str, row: Table) -> Result<(), String> {
    let unreadable = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
    let before = std::fs::read_to_string(path).map_err(|error| unreadable(&error))?;
    let mut document: DocumentMut = before.parse().map_err(|error: toml_edit::TomlError| unreadable(&error))?;
    let tenants = document["tenants"].as_array_of_tables_mut().ok_or("the file has no [[tenants]]")?;
    let block = tenants.iter_mut().find(|block| block.get("id").and_then(Item::as_str) == Some(tenant));
    let block = block.ok_or_else(|| format!("the file has no tenant {tenant}"))?;
    let entry = block.entry(list).or_insert_with(|| Item::ArrayOfTables(ArrayOfTables::new()));
    let rows = entry.as_array_of_tables_mut().ok_or_else(|| format!("{list} is no list of blocks"))?;
    let name = row.get("id").and_then(Item::as_str).map(str::to_owned);
    let known = rows.iter().position(|known| known.get("id").and_then(Item::as_str).map(str::to_owned) == name);
    match known.and_then(|at| rows.get_mut(at)) {
        Some(known) => {
            for (key, value) in row.iter() {
                known[key] = value.clone();
            }
        }
        None => rows.push(row),
    }
    // Beside it and renamed: a reader sees the old file or the new one.
    let beside = path.with_extension("toml.new");
    std::fs::write(&beside, document.to_string()).map_err(|error| unreadable(&error))?;
    std::fs::rename(&beside, path).map_err(|error| unreadable(&error))
}
