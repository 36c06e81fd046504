//! The policy of a tenant, in a file of its own.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use policy::{Finding, Policy};
use serde::{Deserialize, Serialize};

use super::TenantConfig;

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PolicyConfig {
    pub file: PathBuf,
}

/// The file's text, or why there is none.
pub fn text(path: &Path) -> Result<String, String> {
    std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))
}

/// Every finding in a line of its own, behind the file's name.
pub fn told(path: &Path, findings: &[Finding]) -> String {
    let lines = findings.iter().map(|finding| format!("{}: {finding}", path.display()));
    lines.collect::<Vec<_>>().join("\n")
}

impl TenantConfig {
    /// What the file says, where each person that it names is one of the tenant's.
    pub fn read_policy(&self) -> Result<Option<Arc<Policy>>, String> {
        let Some(PolicyConfig { file }) = &self.policy else { return Ok(None) };
        let policy = Policy::read(&text(file)?).map_err(|findings| told(file, &findings))?;
        self.check_approvers(&policy)?;
        Ok(Some(Arc::new(policy)))
    }

    /// Whoever is nobody's would leave a question without an answer for ever.
    pub fn check_approvers(&self, policy: &Policy) -> Result<(), String> {
        let is_person = |name: &str| self.people.iter().any(|person| person.id == name);
        match policy.approvers().into_iter().find(|name| !is_person(name.as_str())) {
            Some(name) => {
                Err(format!("policy: approvers: a person of tenant {} was expected, {name} is none", self.id))
            }
            None => Ok(()),
        }
    }
}
