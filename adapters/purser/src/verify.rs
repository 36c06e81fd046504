//! `purser verify`: a token, a conformance file or an evidence file, offline. Exit 0 valid, 1 invalid, 2 usage.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use engine::evidence::{EvidenceFile, check, not_proved};
use engine::ports::TrustSource as _;
use mandates::clock::Clock;
use mandates::constraint::OpenCheckout;
use mandates::json::Object;
use mandates::keys::KeySet;
use mandates::status;
use mandates::trust::Roots;
use mandates::verify::{Context, Expected, ExpectedFamily, Lists, Nonces, Published, Purchase, Revoked, Usage, verify};
use serde::Deserialize;
use serde_json::Value;
use x402::network::{Asset, AssetTable, TransferMethod};

use crate::checkpoint::{self, AsJson};
use crate::fetch::{Fetcher, Loopback, Reach};
use crate::trust::file::TrustFile;
use crate::vectors;

/// How old a leaf may be, and how far clocks may be apart.
const LEAF_AGE_SECONDS_MAX: u32 = 300;
const SKEW_SECONDS: u32 = 60;
/// Longest file that is read.
const FILE_BYTES_MAX: u64 = 64 * 1024 * 1024;

#[derive(Debug, Args)]
pub struct VerifyArgs {
    /// The presented chain, or `-` for standard input.
    pub token: Option<String>,
    /// The roots to trust: a trust file, or a JWK set that is trusted for everything.
    #[arg(long, value_name = "FILE")]
    pub trust: Option<PathBuf>,
    /// Keys that the trust file names by a URL may be on this machine, and there by http: for development.
    #[arg(long, requires = "trust")]
    pub loopback: bool,
    /// The audience that the leaf must name.
    #[arg(long, value_name = "AUD")]
    pub aud: Option<String>,
    /// The nonce that the leaf must carry.
    #[arg(long, value_name = "NONCE")]
    pub nonce: Option<String>,
    /// Unix seconds; now where nothing is said.
    #[arg(long, value_name = "T")]
    pub at: Option<i64>,
    /// The status list that a credential of the chain names, as it was fetched (`statuslist+jwt`); several times for
    /// several. Without one the verdict says that the status was not looked up.
    #[arg(long, value_name = "FILE", requires = "token")]
    pub status: Vec<PathBuf>,
    /// JSON with `checkout_jwt` and `merchant_jwks`, or `transaction_id`.
    #[arg(long, value_name = "FILE")]
    pub context: Option<PathBuf>,
    /// Run a conformance file, or all of a folder, a line a case.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["token", "evidence"])]
    pub vectors: Option<PathBuf>,
    /// Check an evidence file.
    #[arg(long, value_name = "FILE", conflicts_with = "token")]
    pub evidence: Option<PathBuf>,
    /// Check a proof that a record is in a journal, or, with --checkpoint, that a journal goes on from there.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["token", "evidence", "vectors"], requires = "log_key")]
    pub proof: Option<PathBuf>,
    /// The key of the journal, as `purser ledger checkpoint --key` prints it.
    #[arg(long, value_name = "NAME+ID+KEY")]
    pub log_key: Option<String>,
    /// The earlier checkpoint.
    #[arg(long, value_name = "FILE", requires = "proof")]
    pub checkpoint: Option<PathBuf>,
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct ContextFile {
    #[serde(default)]
    checkout_jwt: Option<String>,
    #[serde(default)]
    merchant_jwks: Option<mandates::json::Object>,
    #[serde(default)]
    transaction_id: Option<String>,
}

/// What the command comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Judged {
    Valid,
    Invalid,
}

/// Prints the verdict; `Err` is a usage fault in a sentence.
pub async fn run(args: &VerifyArgs) -> Result<Judged, String> {
    if let (Some(proof), Some(key)) = (&args.proof, &args.log_key) {
        let as_json = if args.json { AsJson::Yes } else { AsJson::No };
        return checkpoint::verify(proof, key, args.checkpoint.as_deref(), as_json);
    }
    match (&args.vectors, &args.evidence, &args.token) {
        (Some(file), ..) => vectors::run(file),
        (_, Some(file), _) => evidence(file, args).await,
        (_, _, Some(token)) => chain(token, args).await,
        _ => Err("a token, --vectors FILE, --evidence FILE or --proof FILE is needed".into()),
    }
}

async fn evidence(file: &Path, args: &VerifyArgs) -> Result<Judged, String> {
    let evidence: EvidenceFile = parse(file)?;
    let (trusted, own): (Arc<dyn Roots>, _) = match &args.trust {
        Some(path) => {
            let bundle: Value = serde_json::from_str(&evidence.bundle).unwrap_or_default();
            (roots(path, bundle["chain"].as_str().unwrap_or_default(), args).await?, false)
        }
        None => (Arc::new(KeySet::from_jwks(&evidence.issuer_keys).map_err(|error| error.to_string())?), true),
    };
    let findings = check(&evidence, trusted.as_ref(), &assets_of(&evidence));
    let holds = findings.iter().all(|finding| finding.holds);
    if args.json {
        let lines: Vec<Value> = findings
            .iter()
            .map(|finding| serde_json::json!({ "check": finding.check, "holds": finding.holds, "detail": finding.detail }))
            .collect();
        println!(
            "{}",
            serde_json::json!({ "valid": holds, "trust": if own { "the file's own keys" } else { "given" }, "checks": lines, "not_proved": not_proved(&evidence) })
        );
    } else {
        findings.iter().for_each(|finding| println!("{finding}"));
        not_proved(&evidence).iter().for_each(|left| println!("not proved {left}"));
        if own {
            println!(
                "note the mandate's root was checked with the keys that the file itself names; give --trust to use yours"
            );
        }
        println!("{}", if holds { "valid" } else { "INVALID" });
    }
    Ok(if holds { Judged::Valid } else { Judged::Invalid })
}

/// The built-in table, and where the payment is in a token that is not in it, that token with the domain that was
/// signed: offline there is no chain to ask, and the signature is checked over exactly this domain.
pub fn assets_of(evidence: &EvidenceFile) -> AssetTable {
    let mut table = AssetTable::trusted();
    if let Some(payload) = &evidence.payload
        && let Ok(terms) = x402::scheme::terms(&payload.accepted)
        && table.find(terms.network, terms.token).is_none()
    {
        let (name, version) = (terms.domain.name, terms.domain.version);
        let (network, address) = (terms.network, terms.token);
        // Scale plays no part in what is checked here; amounts are compared in atomic units.
        let row = Asset { network, address, name, version, decimals: 0, transfer: TransferMethod::Eip3009 };
        let _ = table.add(row);
    }
    table
}

async fn chain(token: &str, args: &VerifyArgs) -> Result<Judged, String> {
    let presented = if token == "-" { read_stdin()? } else { token.to_owned() };
    let trust = args.trust.as_ref().ok_or("--trust FILE is needed: a chain is valid only under some root")?;
    let trusted = roots(trust, presented.trim(), args).await?;
    let context_file = match &args.context {
        Some(path) => parse::<ContextFile>(path)?,
        None => ContextFile::default(),
    };
    let merchant_keys = match &context_file.merchant_jwks {
        Some(jwks) => KeySet::from_jwks(jwks).map_err(|error| error.to_string())?,
        None => KeySet::new([]).map_err(|error| error.to_string())?,
    };
    let expected = match (&args.aud, &args.nonce) {
        (Some(audience), Some(nonce)) => Expected::Exactly { audience, nonce },
        (None, None) => Expected::OnItsOwn,
        _ => return Err("--aud and --nonce go together".into()),
    };
    let purchase = match (&context_file.checkout_jwt, &context_file.transaction_id) {
        (Some(checkout_jwt), None) => Purchase::Cart { checkout_jwt, merchant_keys: &merchant_keys },
        (None, Some(id)) => Purchase::TransactionId(id),
        (None, None) => Purchase::OnItsOwn,
        _ => return Err("the context has checkout_jwt or transaction_id, not both".into()),
    };
    let context = Context {
        clock: Clock { now_seconds: args.at.unwrap_or_else(now), skew_seconds: SKEW_SECONDS },
        trusted: trusted.as_ref(),
        family: ExpectedFamily::Either,
        expected,
        leaf_age_seconds_max: LEAF_AGE_SECONDS_MAX,
        purchase,
        open_checkout: OpenCheckout::Unknown,
        usage: Usage::Unknown,
        nonces: Nonces::LeftToState,
        revoked: Revoked::LeftToState,
    };
    let mut verdict = verify(presented.trim(), &context);
    if !args.status.is_empty() {
        verdict = verdict.held_to(&lists(&args.status)?, trusted.as_ref(), context.clock);
    }
    if args.json {
        println!("{}", verdict.to_json());
    } else {
        for check in &verdict.checks {
            println!("{}", check.to_json());
        }
        match verdict.rejection() {
            None => {
                if args.status.is_empty() && !verdict.status_places().is_empty() {
                    println!("note the status was not looked up; give --status with the list that the chain names");
                }
                println!("valid ({})", verdict.strength.as_str());
            }
            Some(rejection) => {
                println!("INVALID {} ({}): {rejection}", rejection.code(), rejection.ap2_error().as_str())
            }
        }
    }
    Ok(if verdict.is_valid() { Judged::Valid } else { Judged::Invalid })
}

/// Each list under the address that it says it is published at; whether that is so is judged with it.
fn lists(files: &[PathBuf]) -> Result<Lists, String> {
    let list = |file: &PathBuf| {
        let no_list = || format!("{} is no status list token (statuslist+jwt)", file.display());
        let token = String::from_utf8(read(file)?).map_err(|_| no_list())?.trim().to_owned();
        let address = status::address(&token).ok_or_else(no_list)?;
        Ok((address, Published::Token(token)))
    };
    files.iter().map(list).collect()
}

fn now() -> i64 {
    (store::wall_clock())().seconds()
}

/// The roots of a file, with the published keys that this chain needs. A JWK set is told by its `keys`.
async fn roots(path: &Path, presented: &str, args: &VerifyArgs) -> Result<Arc<dyn Roots>, String> {
    if let Ok(jwks) = parse::<Object>(path)
        && jwks.contains_key("keys")
    {
        let keys = KeySet::from_jwks(&jwks).map_err(|error| format!("{}: {error}", path.display()))?;
        return Ok(Arc::new(keys));
    }
    let loopback = if args.loopback { Loopback::Allowed } else { Loopback::Refused };
    let fetcher = Fetcher::new(Reach { loopback, ..Reach::default() })?;
    Ok(TrustFile::read(path)?.list(fetcher)?.roots_for(presented).await)
}

fn parse<T: serde::de::DeserializeOwned>(path: &Path) -> Result<T, String> {
    serde_json::from_slice(&read(path)?).map_err(|error| format!("{} cannot be read: {error}", path.display()))
}

pub(crate) fn read(path: &Path) -> Result<Vec<u8>, String> {
    let readable = |error: &dyn std::fmt::Display| format!("{} cannot be read: {error}", path.display());
    let size = std::fs::metadata(path).map_err(|error| readable(&error))?.len();
    if size > FILE_BYTES_MAX {
        return Err(format!("{} has {size} bytes; at most {FILE_BYTES_MAX} are read", path.display()));
    }
    std::fs::read(path).map_err(|error| readable(&error))
}

fn read_stdin() -> Result<String, String> {
    let mut text = String::new();
    let limit = u64::try_from(mandates::limits::TOKEN_BYTES_MAX).unwrap_or(u64::MAX).saturating_add(2);
    std::io::stdin().take(limit).read_to_string(&mut text).map_err(|error| error.to_string())?;
    Ok(text)
}
