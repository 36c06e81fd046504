//! With which credentials people may sign their mandates themselves.

use engine::tenant::UserCredentials;
use serde::{Deserialize, Serialize};

use super::{Config, ConfigError, TenantConfig};

const VALUES_MAX: usize = 16;
const CHARS_MAX: usize = 256;

/// `[tenants.user_credentials]`: what a wallet is asked for. Who may issue it says the tenant's trust file.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UserCredentialsConfig {
    /// The name of the credential in the query: letters, digits, `_` and `-` (OpenID4VP 1.0, section 6.1).
    #[serde(default = "user_credential")]
    pub id: String,
    /// The types that will do (`vct`).
    pub vct_values: Vec<String>,
    /// What the wallet is to disclose of it: paths of member names.
    #[serde(default)]
    pub claims: Vec<Vec<String>>,
}

fn user_credential() -> String {
    "user_credential".into()
}

impl UserCredentialsConfig {
    /// The same, where it can be meant.
    pub(crate) fn read(&self, config: &Config, tenant: &TenantConfig) -> Result<UserCredentials, ConfigError> {
        let wrong = |field: &str, expected: String, found: String| ConfigError::Value {
            field: format!("user_credentials{field}"),
            expected,
            found,
        };
        if tenant.trust.is_none() {
            let expected = "a trust file beside it, which says who issues them".to_owned();
            return Err(wrong("", expected, "none".into()));
        }
        if config.relying_party().is_none() {
            let expected = "https and a domain without a path as public_url, or this machine".to_owned();
            return Err(wrong("", expected, config.public_url()));
        }
        let is_name = |letter: u8| letter.is_ascii_alphanumeric() || letter == b'_' || letter == b'-';
        if !is_text(&self.id) || !self.id.bytes().all(is_name) {
            return Err(wrong(".id", "letters, digits, _ and -".into(), self.id.clone()));
        }
        let lists = |texts: &[String]| !texts.is_empty() && texts.len() <= VALUES_MAX && texts.iter().all(is_text);
        if !lists(&self.vct_values) {
            let expected = format!("1 to {VALUES_MAX} types of credentials");
            return Err(wrong(".vct_values", expected, format!("{:?}", self.vct_values)));
        }
        if self.claims.len() > VALUES_MAX || !self.claims.iter().all(|path| lists(path)) {
            let expected = format!("at most {VALUES_MAX} paths of member names, as [[\"card_last_four\"]]");
            return Err(wrong(".claims", expected, format!("{:?}", self.claims)));
        }
        let (id, vct_values, claims) = (self.id.clone(), self.vct_values.clone(), self.claims.clone());
        Ok(UserCredentials { id, vct_values, claims })
    }
}

fn is_text(text: impl AsRef<str>) -> bool {
    let text = text.as_ref();
    !text.is_empty() && text.len() <= CHARS_MAX && !text.chars().any(char::is_control)
}
