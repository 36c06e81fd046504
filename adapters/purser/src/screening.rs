//! Screening as an operator sets it up: a file of addresses, a service that is asked, or both.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use engine::screening::{Barred, Movement, Screening};
use reqwest::redirect::Policy;
use serde::{Deserialize, Serialize};
use serde_json::json;

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScreeningConfig {
    /// Addresses that nothing is taken from and nothing goes to, one a line; `#` begins a remark. Read again when it changes.
    #[serde(default)]
    pub deny_list: Option<PathBuf>,
    /// Asked of every payment: POST {network, asset, payer, payee, amount}, answered {"decision": "allow"} or "deny". https, or
    /// this machine on the devnet.
    #[serde(default)]
    pub screening_url: Option<String>,
    /// Then it counts as not answered.
    #[serde(default = "timeout_millis")]
    pub timeout_millis: u64,
}

const fn timeout_millis() -> u64 {
    2_000
}

/// Bytes of an answer that is a word.
const ANSWER_BYTES_MAX: usize = 16 * 1024;
const LIST_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// Whether services of this machine may be asked without TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loopback {
    Allowed,
    Refused,
}

pub struct Screens {
    list: Option<DenyList>,
    hook: Option<Hook>,
}

impl Screens {
    /// A list that cannot be read now is an error now; later it bars everything.
    pub fn new(config: &ScreeningConfig, loopback: Loopback) -> Result<Self, String> {
        let list = config.deny_list.as_deref().map(DenyList::new);
        if let Some(list) = &list {
            list.bars("").map_err(|why| format!("screening.deny_list: {why}"))?;
        }
        let timeout = Duration::from_millis(config.timeout_millis.max(1));
        let hook = config.screening_url.as_deref().map(|url| Hook::new(url, timeout, loopback)).transpose()?;
        Ok(Self { list, hook })
    }
}

#[async_trait]
impl Screening for Screens {
    async fn screen(&self, movement: &Movement) -> Result<(), Barred> {
        if let Some(list) = &self.list {
            for (side, address) in [("payer", &movement.payer), ("payee", &movement.payee)] {
                if list.bars(address).map_err(Barred::Unavailable)? {
                    return Err(Barred::Denied(format!("the {side} {address} is on the deny list")));
                }
            }
        }
        match &self.hook {
            Some(hook) => hook.ask(movement).await,
            None => Ok(()),
        }
    }
}

/// What the file said, and as which file.
#[derive(Default)]
struct Listed {
    version: Option<(SystemTime, u64)>,
    addresses: BTreeSet<String>,
}

struct DenyList {
    path: PathBuf,
    listed: Mutex<Listed>,
}

impl DenyList {
    fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), listed: Mutex::default() }
    }

    fn bars(&self, address: &str) -> Result<bool, String> {
        let wrong = |why: String| format!("the deny list cannot be used: {why}");
        let found = std::fs::metadata(&self.path).and_then(|found| Ok((found.modified()?, found.len())));
        let version = found.map_err(|error| wrong(error.to_string()))?;
        if version.1 > LIST_BYTES_MAX {
            return Err(wrong(format!("at most {LIST_BYTES_MAX} bytes were expected, {} are there", version.1)));
        }
        let mut listed = self.listed.lock().unwrap_or_else(PoisonError::into_inner);
        if listed.version != Some(version) {
            let text = std::fs::read_to_string(&self.path).map_err(|error| wrong(error.to_string()))?;
            let addresses = read(&text).map_err(wrong)?;
            *listed = Listed { version: Some(version), addresses };
        }
        Ok(listed.addresses.contains(&address.to_ascii_lowercase()))
    }
}

/// A line that is no address is an error: whoever wrote it meant somebody.
fn read(text: &str) -> Result<BTreeSet<String>, String> {
    let mut addresses = BTreeSet::new();
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.split('#').next().unwrap_or_default().trim();
        if line.is_empty() {
            continue;
        }
        let address = line.to_ascii_lowercase();
        let digits = address.strip_prefix("0x").unwrap_or_default();
        if digits.len() != 40 || !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return Err(format!(
                "line {number}: an address was expected, {} characters are there",
                line.chars().count()
            ));
        }
        addresses.insert(address);
    }
    Ok(addresses)
}

struct Hook {
    url: url::Url,
    http: reqwest::Client,
}

#[derive(Deserialize)]
struct Answer {
    decision: Decision,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Decision {
    Allow,
    Deny,
}

impl Hook {
    fn new(text: &str, timeout: Duration, loopback: Loopback) -> Result<Self, String> {
        let wrong = |why: &str| format!("screening.screening_url: {why}");
        let url = url::Url::parse(text).map_err(|_| wrong("a URL was expected"))?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err(wrong("a URL without user and password was expected"));
        }
        let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
        let is_local = host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
        match url.scheme() {
            "https" => {}
            "http" if is_local && loopback == Loopback::Allowed => {}
            other => {
                let expected = "https was expected, or http to this machine on the devnet";
                return Err(wrong(&format!("{expected}; {other} to {host} is there")));
            }
        }
        let mut builder = reqwest::Client::builder().redirect(Policy::none()).timeout(timeout);
        if is_local {
            builder = builder.no_proxy();
        }
        let http = builder.build().map_err(|error| error.without_url().to_string())?;
        Ok(Self { url, http })
    }

    async fn ask(&self, movement: &Movement) -> Result<(), Barred> {
        let silent = |why: String| Barred::Unavailable(format!("who screens payments gave no answer: {why}"));
        let Movement { network, asset, payer, payee, amount } = movement;
        let body = json!({ "network": network, "asset": asset, "payer": payer, "payee": payee, "amount": amount });
        let said = |error: reqwest::Error| silent(error.without_url().to_string());
        let mut response = self.http.post(self.url.clone()).json(&body).send().await.map_err(said)?;
        if response.status().as_u16() != 200 {
            return Err(silent(format!("200 was expected, {} came", response.status().as_u16())));
        }
        let mut bytes = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(said)? {
            if bytes.len() + chunk.len() > ANSWER_BYTES_MAX {
                return Err(silent(format!("at most {ANSWER_BYTES_MAX} bytes were expected")));
            }
            bytes.extend_from_slice(&chunk);
        }
        match serde_json::from_slice::<Answer>(&bytes) {
            Ok(Answer { decision: Decision::Allow }) => Ok(()),
            Ok(Answer { decision: Decision::Deny }) => {
                Err(Barred::Denied(format!("who screens payments denies one from {payer} to {payee}")))
            }
            Err(_) => Err(silent("\"allow\" or \"deny\" was expected as its decision".to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = "0x00000000000000000000000000000000000000aA";

    #[test]
    fn a_list_that_is_not_understood_bars_everything() {
        for wrong in
            ["0x12", "alice", ONE.trim_start_matches("0x"), &format!("{ONE}0"), &format!("{ONE} {ONE}"), "0xzz"]
        {
            assert!(read(&format!("# list\n{ONE}\n{wrong}\n")).is_err(), "{wrong}");
        }
        let listed = read(&format!("# nobody\n\n  {ONE}  # somebody\r\n")).unwrap();
        assert!(listed.contains(&ONE.to_ascii_lowercase()) && listed.len() == 1);
    }

    #[test]
    fn a_list_is_read_again_when_it_changes_and_bars_everything_when_it_is_gone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deny.txt");
        let config = |url: Option<&str>| ScreeningConfig {
            deny_list: Some(path.clone()),
            screening_url: url.map(str::to_owned),
            timeout_millis: 100,
        };
        assert!(Screens::new(&config(None), Loopback::Allowed).is_err(), "there is none");
        std::fs::write(&path, "").unwrap();
        let list = DenyList::new(&path);
        assert_eq!(list.bars(ONE), Ok(false));
        std::fs::write(&path, format!("{ONE}\n")).unwrap();
        assert_eq!(list.bars(&ONE.to_ascii_lowercase()), Ok(true));
        std::fs::write(&path, "no address, and longer\n").unwrap();
        assert!(list.bars(ONE).is_err() && list.bars("").is_err());
        std::fs::remove_file(&path).unwrap();
        assert!(list.bars(ONE).is_err());
        std::fs::write(&path, "").unwrap();
        for (url, loopback) in [
            ("http://screen.example/", Loopback::Allowed),
            ("http://127.0.0.1:1/", Loopback::Refused),
            ("ftp://127.0.0.1/", Loopback::Allowed),
            ("https://me:secret@screen.example/", Loopback::Allowed),
            ("screen", Loopback::Allowed),
        ] {
            let refused = Screens::new(&config(Some(url)), loopback).err().unwrap_or_default();
            assert!(refused.contains("screening_url") && !refused.contains("secret"), "{url}: {refused}");
        }
        assert!(Screens::new(&config(Some("https://screen.example/")), Loopback::Refused).is_ok());
        assert!(Screens::new(&config(Some("http://127.0.0.1:1/")), Loopback::Allowed).is_ok());
    }
}
