//! Extension `sign-in-with-x` (`specs/extensions/sign-in-with-x.md`): whoever paid for a resource comes back without paying,
//! by a signature over a text that the seller made (CAIP-122; on EVM the text of EIP-4361, signed as EIP-191 says).
//!
//! A signature says who somebody is and nothing else. What is signed must be the very text that was asked for: nothing of
//! it is the client's to choose, so there is no statement to mislead, no line to smuggle in and no time to stretch. What the
//! address has paid for, and that a text is answered once, the books say.
//!
//! Here is the seller's side; what a payer of ours signs for a seller elsewhere is in [`invitation`].

use alloy_primitives::{Address, B256, Bytes, keccak256};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::exact::EvmSignature;
use crate::limit::{SIGNATURE_BYTES_MAX, URL_BYTES_MAX};
use crate::network::Network;
use crate::reason::Reason;
use crate::refusal::Refusal;
use crate::value;
use crate::wire::read_header;

pub mod invitation;

/// The name of the extension.
pub const EXTENSION: &str = "sign-in-with-x";
/// Client to server: base64 of JSON. Lower case, as `http::HeaderName` wants it.
pub const SIGN_IN_WITH_X: &str = "sign-in-with-x";
/// How long a text may be answered, from when it was made ("recent", in the specification).
pub const CHALLENGE_SECONDS: i64 = 300;
/// How far the clocks of a seller's replicas may be apart.
const CLOCK_SKEW_SECONDS: i64 = 5;
/// The version of CAIP-122.
const VERSION: &str = "1";
const STATEMENT: &str = "Sign in to what this address has paid for.";
const TYPE: &str = "eip191";

/// What a seller asks to be signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Challenge {
    /// Host, and port where it is not the scheme's own: of the configured origin, never of the request.
    pub domain: String,
    /// The resource, as it is advertised.
    pub uri: String,
    /// 32 hexadecimal digits, and never the same twice.
    pub nonce: String,
    /// Unix seconds.
    pub issued_at: i64,
}

impl Challenge {
    /// What a 402 declares, for payers on these networks (CAIP-2). `None` where the time cannot be written.
    pub fn declaration<'a>(&self, networks: impl Iterator<Item = &'a str>) -> Option<Value> {
        let chains: Vec<Value> = networks.map(|network| json!({ "chainId": network, "type": TYPE })).collect();
        Some(json!({
            "info": {
                "domain": self.domain, "uri": self.uri, "version": VERSION, "nonce": self.nonce,
                "issuedAt": moment(self.issued_at)?, "expirationTime": self.expiration()?,
                "statement": STATEMENT, "resources": [self.uri],
            },
            "supportedChains": chains,
            "schema": schema(),
        }))
    }

    fn expiration(&self) -> Option<String> {
        moment(self.issued_at.checked_add(CHALLENGE_SECONDS)?)
    }
}

fn schema() -> Value {
    let required = ["domain", "address", "uri", "version", "chainId", "type", "nonce", "issuedAt", "signature"];
    let properties: serde_json::Map<String, Value> =
        required.iter().map(|name| ((*name).to_owned(), json!({ "type": "string" }))).collect();
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object", "properties": properties, "required": required,
    })
}

/// RFC 3339 in UTC with milliseconds, as the specification writes it.
fn moment(seconds: i64) -> Option<String> {
    Timestamp::from_second(seconds).ok().map(|moment| format!("{moment:.3}"))
}

/// The content of the header. Python-like peers write `null` for what is not there.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Signed {
    domain: String,
    address: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    statement: Option<String>,
    uri: String,
    version: String,
    chain_id: String,
    #[serde(rename = "type")]
    kind: String,
    nonce: String,
    issued_at: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    expiration_time: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    not_before: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    request_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    resources: Option<Vec<String>>,
    signature: String,
}

/// A signed answer to a challenge: read, and not believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proof {
    /// As the answer says; whether it was asked is for whoever made the nonce to say.
    pub challenge: Challenge,
    pub network: Network,
    pub address: Address,
    /// As it stands in the text.
    address_text: String,
    pub signature: Bytes,
}

/// Where somebody signs in, of the seller's own configuration.
#[derive(Clone, Copy, Debug)]
pub struct Door<'a> {
    pub domain: &'a str,
    pub uri: &'a str,
}

impl Proof {
    /// Reads the header. All that a client could choose beside its account and chain is refused where it is not what every
    /// challenge of ours says.
    pub fn read(header: &[u8]) -> Result<Self, Refusal> {
        let unreadable = |found: &dyn std::fmt::Display| {
            Refusal::new(Reason::SignInHeader, SIGN_IN_WITH_X, "base64 of a JSON object with the signed text", found)
        };
        let signed: Signed = read_header(header).map_err(|error| unreadable(&error))?;
        let other = |field, expected: &str, found: &str| Refusal::new(Reason::SignInText, field, expected, found);
        if signed.version != VERSION {
            return Err(other("version", VERSION, &signed.version));
        }
        if signed.kind != TYPE {
            return Err(Refusal::new(Reason::SignInChain, "type", TYPE, &signed.kind));
        }
        if signed.statement.as_deref() != Some(STATEMENT) {
            return Err(other("statement", STATEMENT, signed.statement.as_deref().unwrap_or("none")));
        }
        for (field, found) in [("notBefore", &signed.not_before), ("requestId", &signed.request_id)] {
            if let Some(found) = found {
                return Err(other(field, "none", found));
            }
        }
        if signed.resources.as_deref() != Some(std::slice::from_ref(&signed.uri)) {
            return Err(other("resources", &signed.uri, &signed.resources.unwrap_or_default().join(", ")));
        }
        let is_nonce = signed.nonce.len() == 32 && signed.nonce.bytes().all(|byte| byte.is_ascii_hexdigit());
        if !is_nonce {
            return Err(Refusal::new(Reason::SignInNonce, "nonce", "32 hexadecimal digits", &signed.nonce));
        }
        if signed.uri.len() > URL_BYTES_MAX || signed.uri.chars().any(char::is_control) {
            return Err(Refusal::new(Reason::SignInUri, "uri", "the address of a resource", &signed.uri));
        }
        let issued_at = issued(&signed)?;
        let network = signed
            .chain_id
            .parse()
            .map_err(|_| Refusal::new(Reason::SignInChain, "chainId", "eip155 and a number", &signed.chain_id))?;
        let address = value::address(&signed.address)
            .map_err(|error| Refusal::new(Reason::SignInHeader, "address", error, &signed.address))?;
        let signature = value::bytes(&signed.signature, SIGNATURE_BYTES_MAX)
            .map_err(|error| Refusal::new(Reason::SignInSignature, "signature", error, &signed.signature))?;
        let Signed { domain, uri, nonce, address: address_text, .. } = signed;
        let challenge = Challenge { domain, uri, nonce, issued_at };
        Ok(Self { challenge, network, address, address_text, signature: signature.into() })
    }

    /// For this door, at `now` (Unix seconds).
    pub fn check(&self, door: Door<'_>, now: i64) -> Result<(), Refusal> {
        let Challenge { domain, uri, issued_at, .. } = &self.challenge;
        if domain != door.domain {
            return Err(Refusal::new(Reason::SignInDomain, "domain", door.domain, domain));
        }
        if uri != door.uri {
            return Err(Refusal::new(Reason::SignInUri, "uri", door.uri, uri));
        }
        let latest = now.saturating_add(CLOCK_SKEW_SECONDS);
        if *issued_at > latest {
            let expected = format!("at most {latest}");
            return Err(Refusal::new(Reason::SignInEarly, "issuedAt", expected, issued_at));
        }
        let until = issued_at.saturating_add(CHALLENGE_SECONDS);
        if now >= until {
            return Err(Refusal::new(Reason::SignInExpired, "expirationTime", format!("after {now}"), until));
        }
        Ok(())
    }

    /// What is signed (EIP-191 over the text of EIP-4361).
    pub fn digest(&self) -> Result<B256, Refusal> {
        let text = self.text()?;
        let prefixed = format!("\u{19}Ethereum Signed Message:\n{}{text}", text.len());
        Ok(keccak256(prefixed))
    }

    fn text(&self) -> Result<String, Refusal> {
        let Challenge { domain, uri, nonce, issued_at } = &self.challenge;
        let (issued, expiration) = moment(*issued_at)
            .zip(self.challenge.expiration())
            .ok_or_else(|| Refusal::new(Reason::SignInIssuedAt, "issuedAt", "a moment", issued_at))?;
        let (address, chain) = (&self.address_text, self.network.chain_id());
        Ok(format!(
            "{domain} wants you to sign in with your Ethereum account:\n{address}\n\n{STATEMENT}\n\nURI: {uri}\n\
             Version: {VERSION}\nChain ID: {chain}\nNonce: {nonce}\nIssued At: {issued}\nExpiration Time: {expiration}\n\
             Resources:\n- {uri}"
        ))
    }

    /// Whether the key of the address signed. A contract may have, where it did not.
    pub fn is_by_key(&self) -> Result<bool, Refusal> {
        let digest = self.digest()?;
        let signature = EvmSignature::new(&self.signature);
        Ok(signature.and_then(|signature| signature.recover(digest)).is_ok_and(|signer| signer == self.address))
    }

    pub fn not_signed(&self) -> Refusal {
        let expected = format!("a signature of {} under the text that was asked for", self.address);
        Refusal::new(Reason::SignInSignature, "signature", expected, &self.signature)
    }
}

/// The host of a resource, as browsers and the official clients compare it: with its port where that is not the scheme's.
pub fn domain(url: &str) -> Option<&str> {
    let (rest, usual) = match url.strip_prefix("https://") {
        Some(rest) => (rest, ":443"),
        None => (url.strip_prefix("http://")?, ":80"),
    };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host = authority.strip_suffix(usual).unwrap_or(authority);
    let port = host.rsplit_once(':').filter(|(_, port)| !port.ends_with(']')).map_or("", |(_, port)| port);
    let is_host = !host.is_empty() && !host.contains('@') && port.bytes().all(|byte| byte.is_ascii_digit());
    is_host.then_some(host)
}

/// When the text was made: in the one spelling that is ours, with the one end that it has.
fn issued(signed: &Signed) -> Result<i64, Refusal> {
    let expected = "a moment of ours, in UTC with milliseconds";
    let wrong = || Refusal::new(Reason::SignInIssuedAt, "issuedAt", expected, &signed.issued_at);
    let moment_of: Timestamp = signed.issued_at.parse().map_err(|_| wrong())?;
    let seconds = moment_of.as_second();
    if moment(seconds).as_ref() != Some(&signed.issued_at) {
        return Err(wrong());
    }
    let end = seconds.checked_add(CHALLENGE_SECONDS).and_then(moment);
    if end.is_none() || signed.expiration_time != end {
        let found = signed.expiration_time.as_deref().unwrap_or("none");
        let end = end.unwrap_or_default();
        return Err(Refusal::new(Reason::SignInExpired, "expirationTime", end, found));
    }
    Ok(seconds)
}

#[cfg(test)]
mod tests;
