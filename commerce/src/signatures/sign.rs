//! A message of ours that lacks only its signature.

use super::base::Message;
use super::fields::{Bare, InnerList, Item, Parameters};
use super::finding::Finding;

/// Sign [`Unsigned::base`] wherever the key lives, then [`Unsigned::finish`]. No token is ever signed by this: a base begins
/// with a quote, which no JWS does.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct Unsigned {
    label: &'static str,
    covered: String,
    base: String,
}

impl Unsigned {
    pub fn over(
        message: &Message<'_>,
        label: &'static str,
        components: &[&str],
        parameters: Parameters,
    ) -> Result<Self, Finding> {
        let named = |name: &&str| Item { bare: Bare::Text((*name).to_owned()), parameters: Parameters::new() };
        let covered = InnerList { items: components.iter().map(named).collect(), parameters };
        Ok(Self { label, base: message.base(&covered)?, covered: covered.written() })
    }

    pub fn base(&self) -> &[u8] {
        self.base.as_bytes()
    }

    /// The values of `Signature-Input` and `Signature`.
    pub fn finish(self, signature: &[u8]) -> (String, String) {
        let signature = Bare::Bytes(signature.to_vec()).written();
        (format!("{}={}", self.label, self.covered), format!("{}={signature}", self.label))
    }
}
