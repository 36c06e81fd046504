//! How people approve, and where; and what a token alone is good for.

use engine::tenant::{ApprovalRule, Duty};
use mandates::webauthn::RelyingParty;
use serde::{Deserialize, Serialize};
use url::{Host, Url};

use super::{Config, ConfigError};

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ApprovalConfig {
    /// A token of the person's is enough.
    #[default]
    Token,
    /// Their passkey signs exactly what they were shown.
    Passkey,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BearerConfig {
    #[default]
    Reading,
    Everything,
}

/// What a person does in the console.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RoleConfig {
    /// Sees what is theirs, and answers for it.
    #[default]
    Approver,
    /// Sees everything of the tenant, and changes nothing.
    Auditor,
    /// Sees everything of the tenant, and stops and lifts.
    Operator,
}

impl From<RoleConfig> for Duty {
    fn from(config: RoleConfig) -> Self {
        match config {
            RoleConfig::Approver => Self::Approver,
            RoleConfig::Auditor => Self::Auditor,
            RoleConfig::Operator => Self::Operator,
        }
    }
}

impl From<ApprovalConfig> for ApprovalRule {
    fn from(config: ApprovalConfig) -> Self {
        match config {
            ApprovalConfig::Token => Self::Token,
            ApprovalConfig::Passkey => Self::Passkey,
        }
    }
}

impl Config {
    /// Where browsers find the pages. A passkey is for a name: a number of this machine becomes `localhost`.
    pub fn page_url(&self) -> String {
        let public = self.public_url();
        let Ok(mut url) = Url::parse(&public) else { return public };
        if !is_this_machine(&url) || url.set_host(Some("localhost")).is_err() {
            return public;
        }
        url.as_str().trim_end_matches('/').to_owned()
    }

    /// Whom passkeys are for: a domain over https, or this machine. Nobody where the address is neither, or has a path.
    pub fn relying_party(&self) -> Option<RelyingParty> {
        let url = Url::parse(&self.page_url()).ok()?;
        let Some(Host::Domain(id)) = url.host() else { return None };
        let is_secure = url.scheme() == "https" || url.scheme() == "http" && id == "localhost";
        let is_bare = url.path() == "/" && url.query().is_none() && url.fragment().is_none();
        (is_secure && is_bare).then(|| RelyingParty { id: id.to_owned(), origin: url.origin().ascii_serialization() })
    }

    /// A passkey that is demanded can be had.
    pub(super) fn check_approval(&self) -> Result<(), ConfigError> {
        let demands = self.tenants.iter().any(|tenant| tenant.approval == ApprovalConfig::Passkey);
        if !demands || self.relying_party().is_some() {
            return Ok(());
        }
        let expected = "https and a domain without a path, or this machine (for approval = \"passkey\")".to_owned();
        Err(ConfigError::Value { field: "public_url".to_owned(), expected, found: self.public_url() })
    }
}

fn is_this_machine(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use figment::Figment;
    use figment::providers::{Format, Toml};

    use crate::config::Config;

    fn at(public_url: &str) -> Config {
        let text = format!(
            "listen = \"127.0.0.1:4020\"\npublic_url = \"{public_url}\"\ndatabase = \"x.sqlite\"\n\
             [chain]\nrpc_url = \"http://127.0.0.1:1\"\nchain_id = 31337\n"
        );
        Figment::new().merge(Toml::string(&text)).extract().unwrap()
    }

    #[test]
    fn passkeys_are_for_a_name_that_a_browser_trusts() {
        for none in [
            "http://pay.example",
            "https://203.0.113.7",
            "https://[2001:db8::1]",
            "http://192.168.0.2:4020",
            "https://pay.example/purser",
            "http://localhost.evil.example",
        ] {
            assert_eq!(at(none).relying_party(), None, "{none}");
        }
        for (url, id, origin) in [
            ("https://pay.example", "pay.example", "https://pay.example"),
            ("https://pay.example:8443", "pay.example", "https://pay.example:8443"),
            ("http://127.0.0.1:4020", "localhost", "http://localhost:4020"),
            ("http://[::1]:4020", "localhost", "http://localhost:4020"),
            ("http://localhost:4020", "localhost", "http://localhost:4020"),
        ] {
            let party = at(url).relying_party().unwrap();
            assert_eq!((party.id.as_str(), party.origin.as_str()), (id, origin));
            assert_eq!(at(url).page_url(), origin, "{url}");
        }
    }
}
