//! The payer's side: what a seller asks to be signed is read, and taken only where nothing in it can mean anything but who
//! comes back for what was paid there.
//!
//! The text is another's and the signature is ours. So host and resource are those that were paid, the chain is the one that
//! it was paid on, the sentence is one of a list, the time is short, and each part is of an alphabet that adds no line. It is
//! signed as EIP-191 says, whose first byte no transaction and no typed data begins with.

use alloy_primitives::{Address, B256, keccak256};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::{CHALLENGE_SECONDS, CLOCK_SKEW_SECONDS, EXTENSION, STATEMENT, Signed, TYPE, VERSION, domain, moment};
use crate::exact::{EvmSignature, KeyError, SignatureError, WalletKey};
use crate::limit::URL_BYTES_MAX;
use crate::network::Network;
use crate::reason::Reason;
use crate::refusal::Refusal;
use crate::wire::{WireError, write_header};

/// The longest that a text may say that it is good for.
pub const LIFE_SECONDS_MAX: i64 = 3_600;
/// EIP-4361: at least eight letters and digits.
const NONCE_MIN: usize = 8;
const NONCE_MAX: usize = 128;
const MOMENT_BYTES_MAX: usize = 40;
const CHAINS_MAX: usize = 100;

/// Whether a 402 says that its payers may come back.
pub fn is_declared(extensions: Option<&Map<String, Value>>) -> bool {
    declared(extensions).is_some()
}

fn declared(extensions: Option<&Map<String, Value>>) -> Option<&Value> {
    extensions?.get(EXTENSION).filter(|entry| entry.is_object())
}

/// What was paid, as the book and the 402 of now agree on it.
#[derive(Clone, Copy, Debug)]
pub struct Paid<'a> {
    /// The resource, as the seller advertises it.
    pub resource_url: &'a str,
    pub network: Network,
    /// Sentences that a text may have beside our own and none.
    pub statements: &'a [String],
}

/// A text that may be signed for what was paid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invitation {
    domain: String,
    uri: String,
    statement: Option<String>,
    network: Network,
    nonce: String,
    issued_at: String,
    expiration_time: String,
    resources: Option<Vec<String>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Declared {
    info: Info,
    supported_chains: Vec<Chain>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Info {
    domain: String,
    uri: String,
    version: String,
    nonce: String,
    issued_at: String,
    #[serde(default)]
    expiration_time: Option<String>,
    #[serde(default)]
    statement: Option<String>,
    #[serde(default)]
    not_before: Option<String>,
    #[serde(default)]
    request_id: Option<String>,
    #[serde(default)]
    resources: Option<Vec<String>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Chain {
    chain_id: String,
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    signature_scheme: Option<String>,
}

impl Invitation {
    /// What the 402 declares, for what was paid, at `now` (Unix seconds). A text without an end is given one.
    pub fn read(extensions: Option<&Map<String, Value>>, paid: Paid<'_>, now: i64) -> Result<Self, Refusal> {
        let unreadable = |found: &dyn std::fmt::Display| {
            Refusal::new(Reason::SignInText, EXTENSION, "info and supportedChains of the extension", found)
        };
        let entry = declared(extensions).ok_or_else(|| unreadable(&"no such extension"))?;
        let Declared { info, supported_chains } = Declared::deserialize(entry).map_err(|error| unreadable(&error))?;
        check_place(&info, paid.resource_url)?;
        check_rest(&info, paid.statements)?;
        check_chain(&supported_chains, paid.network)?;
        let expiration_time = end(&info, now)?;
        let Info { domain, uri, nonce, issued_at, statement, resources, .. } = info;
        let network = paid.network;
        Ok(Self { domain, uri, statement, network, nonce, issued_at, expiration_time, resources })
    }

    pub const fn network(&self) -> Network {
        self.network
    }

    /// EIP-4361, for this account.
    pub fn text(&self, address: Address) -> String {
        let Self { domain, uri, nonce, issued_at, expiration_time, .. } = self;
        let statement = self.statement.as_ref().map_or_else(String::new, |statement| format!("{statement}\n"));
        let resources = self.resources.iter().flatten().map(|uri| format!("\n- {uri}")).collect::<String>();
        let resources = if resources.is_empty() { resources } else { format!("\nResources:{resources}") };
        let chain = self.network.chain_id();
        format!(
            "{domain} wants you to sign in with your Ethereum account:\n{address}\n\n{statement}\nURI: {uri}\n\
             Version: {VERSION}\nChain ID: {chain}\nNonce: {nonce}\nIssued At: {issued_at}\n\
             Expiration Time: {expiration_time}{resources}"
        )
    }

    /// What is signed (EIP-191, version `E`).
    pub fn digest(&self, address: Address) -> B256 {
        let text = self.text(address);
        keccak256(format!("\u{19}Ethereum Signed Message:\n{}{text}", text.len()))
    }

    /// The value of the header, signed.
    pub fn sign(&self, key: &WalletKey) -> Result<String, InvitationError> {
        self.signed(key.address(), key.sign(self.digest(key.address()))?)
    }

    /// The same with a signature made elsewhere, which must be the account's under this text.
    pub fn signed(&self, address: Address, signature: EvmSignature) -> Result<String, InvitationError> {
        let found = signature.recover(self.digest(address))?;
        if found != address {
            return Err(InvitationError::Signer { expected: address, found });
        }
        Ok(write_header(&Signed {
            domain: self.domain.clone(),
            address: address.to_string(),
            statement: self.statement.clone(),
            uri: self.uri.clone(),
            version: VERSION.to_owned(),
            chain_id: self.network.to_string(),
            kind: TYPE.to_owned(),
            nonce: self.nonce.clone(),
            issued_at: self.issued_at.clone(),
            expiration_time: Some(self.expiration_time.clone()),
            not_before: None,
            request_id: None,
            resources: self.resources.clone(),
            signature: signature.to_text(),
        })?)
    }
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvitationError {
    #[error("signature: expected one by {expected}, found one by {found}")]
    Signer { expected: Address, found: Address },
    #[error(transparent)]
    Key(#[from] KeyError),
    #[error(transparent)]
    Signature(#[from] SignatureError),
    #[error(transparent)]
    Wire(#[from] WireError),
}

/// Of the very resource that was paid for, which is the one address that it names.
fn check_place(info: &Info, resource_url: &str) -> Result<(), Refusal> {
    let is_plain = resource_url.len() <= URL_BYTES_MAX && resource_url.bytes().all(|byte| byte.is_ascii_graphic());
    let host = domain(resource_url).filter(|_| is_plain);
    let host = host.ok_or_else(|| {
        Refusal::new(Reason::SignInUri, "resource.url", "an http or https URL in ASCII", resource_url)
    })?;
    if info.domain != host {
        return Err(Refusal::new(Reason::SignInDomain, "domain", host, &info.domain));
    }
    if info.uri != resource_url {
        return Err(Refusal::new(Reason::SignInUri, "uri", resource_url, &info.uri));
    }
    match &info.resources {
        Some(all) if all.as_slice() != [resource_url] => {
            Err(Refusal::new(Reason::SignInText, "resources", resource_url, all.join(", ")))
        }
        _ => Ok(()),
    }
}

fn check_rest(info: &Info, statements: &[String]) -> Result<(), Refusal> {
    let other = |field, expected: &str, found: &str| Err(Refusal::new(Reason::SignInText, field, expected, found));
    if info.version != VERSION {
        return other("version", VERSION, &info.version);
    }
    if let Some(said) = &info.statement
        && said != STATEMENT
        && !statements.contains(said)
    {
        return other("statement", "none, ours, or one of `sign_in_statements` of the wallet", said);
    }
    for (field, found) in [("notBefore", &info.not_before), ("requestId", &info.request_id)] {
        if let Some(found) = found {
            return other(field, "none", found);
        }
    }
    let nonce = &info.nonce;
    let is_nonce = (NONCE_MIN..=NONCE_MAX).contains(&nonce.len()) && nonce.bytes().all(|it| it.is_ascii_alphanumeric());
    if !is_nonce {
        let expected = format!("{NONCE_MIN} to {NONCE_MAX} letters and digits");
        return Err(Refusal::new(Reason::SignInNonce, "nonce", expected, nonce));
    }
    Ok(())
}

fn check_chain(chains: &[Chain], network: Network) -> Result<(), Refusal> {
    let network = network.to_string();
    let is_it = |chain: &Chain| {
        chain.chain_id == network && chain.kind == TYPE && chain.signature_scheme.as_deref().is_none_or(|it| it == TYPE)
    };
    if chains.iter().take(CHAINS_MAX).any(is_it) {
        return Ok(());
    }
    let found = chains.iter().take(3).map(|chain| format!("{} by {}", chain.chain_id, chain.kind));
    let found = found.collect::<Vec<_>>().join(", ");
    Err(Refusal::new(Reason::SignInChain, "supportedChains", format!("{network} by {TYPE}"), found))
}

/// When the text ends: as it says, or as long after it was made as ours do. Made now, and good for a short while.
fn end(info: &Info, now: i64) -> Result<String, Refusal> {
    let issued = seconds("issuedAt", Reason::SignInIssuedAt, &info.issued_at)?;
    if issued > now.saturating_add(CLOCK_SKEW_SECONDS) {
        return Err(Refusal::new(Reason::SignInEarly, "issuedAt", format!("at most {now}"), issued));
    }
    let fresh_until = issued.saturating_add(CHALLENGE_SECONDS);
    if now >= fresh_until {
        return Err(Refusal::new(
            Reason::SignInExpired,
            "issuedAt",
            format!("after {}", now.saturating_sub(CHALLENGE_SECONDS)),
            issued,
        ));
    }
    let Some(said) = &info.expiration_time else {
        let wrong = || Refusal::new(Reason::SignInIssuedAt, "issuedAt", "a moment", issued);
        return moment(fresh_until).ok_or_else(wrong);
    };
    let until = seconds("expirationTime", Reason::SignInExpired, said)?;
    let latest = issued.saturating_add(LIFE_SECONDS_MAX);
    if until <= now || until > latest {
        let expected = format!("after {now}, and at most {latest}");
        return Err(Refusal::new(Reason::SignInExpired, "expirationTime", expected, until));
    }
    Ok(said.clone())
}

/// RFC 3339; of its alphabet alone, because it stands in the text as it came.
fn seconds(field: &'static str, reason: Reason, text: &str) -> Result<i64, Refusal> {
    let is_plain = text.len() <= MOMENT_BYTES_MAX
        && text.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'T' | b'Z' | b':' | b'.' | b'+' | b'-'));
    let moment = Some(text).filter(|_| is_plain).and_then(|text| text.parse::<Timestamp>().ok());
    moment.map(Timestamp::as_second).ok_or_else(|| Refusal::new(reason, field, "a moment as RFC 3339 writes it", text))
}

#[cfg(test)]
mod tests;
