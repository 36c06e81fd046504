//! The trust file: who may be root for what, and whose access tokens say who calls. TOML or JSON, every member named here.
//!
//! ```toml
//! [[roots]]
//! name = "bank"                            # in refusals and logs
//! for = ["payment"]                        # or "payment.open", "payment.closed", "checkout", "checkout.open", …
//! iss = ["https://bank.example"]           # what `iss` of its roots must be; anything where nothing is said
//! jwks_url = "https://bank.example/jwks"   # one of jwks, jwks_file, jwks_url, anchors, anchors_file, did
//! pins = ["Xq…"]                           # RFC 7638 thumbprints that alone are believed of what is published
//!
//! [[roots]]
//! name = "wallet"
//! for = ["payment", "checkout"]
//! anchors_file = "wallet-cas.pem"          # beside this file; x5c paths end here
//!
//! [[callers]]
//! issuer = "https://idp.example"           # its access tokens may say who calls
//! kinds = ["agent"]                        # user, agent, merchant, operator; all where nothing is said
//!
//! [[callers]]
//! issuer = "spiffe://bank.example"         # a SPIFFE trust domain: its JWT-SVIDs may
//! bundle_url = "https://bank.example/b"    # one of bundle, bundle_file, bundle_url
//! ```
//!
//! What a root is trusted for is the outermost mandate of a chain: who may be root of an open payment mandate says with it
//! what its holder may close. A root in two entries may do what either says.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use figment::Figment;
use figment::providers::{Format, Toml};
use identity::callers::Bundle;
use identity::svid;
use ledger::id::CallerKind;
use mandates::certificate::Anchors;
use mandates::did::Did;
use mandates::json::{self, Object};
use mandates::keys::KeySet;
use mandates::limits::ROOTS_MAX;
use mandates::mandate::{Family, Vct};
use mandates::trust::{RootKeys, Scope};
use serde::Deserialize;

use super::{Entry, Place, Published, Source, TrustList};
use crate::fetch::{Fetcher, Reach};

const FILE_BYTES_MAX: u64 = 1024 * 1024;

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrustFile {
    #[serde(default)]
    pub roots: Vec<RootEntry>,
    /// Issuers of access tokens; a principal that comes by another one is refused where this list stands.
    #[serde(default)]
    pub callers: Option<Vec<CallerEntry>>,
    /// Where the file lies: what it names lies beside it.
    #[serde(skip)]
    folder: PathBuf,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RootEntry {
    pub name: String,
    pub r#for: BTreeSet<String>,
    #[serde(default)]
    pub iss: Option<BTreeSet<String>>,
    #[serde(default)]
    pub jwks: Option<Object>,
    #[serde(default)]
    pub jwks_file: Option<PathBuf>,
    #[serde(default)]
    pub jwks_url: Option<String>,
    /// Certificates as PEM.
    #[serde(default)]
    pub anchors: Option<String>,
    #[serde(default)]
    pub anchors_file: Option<PathBuf>,
    #[serde(default)]
    pub did: Option<String>,
    #[serde(default)]
    pub pins: Option<BTreeSet<String>>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CallerEntry {
    /// As its tokens have it in `iss`; a slash at its end makes no difference.
    pub issuer: String,
    #[serde(default)]
    pub kinds: Option<BTreeSet<String>>,
    /// The keys of a trust domain (SPIFFE bundle format).
    #[serde(default)]
    pub bundle: Option<Object>,
    #[serde(default)]
    pub bundle_file: Option<PathBuf>,
    #[serde(default)]
    pub bundle_url: Option<String>,
}

impl CallerEntry {
    /// Where the keys of a trust domain are; nothing for an issuer that publishes its own.
    fn bundle(&self, folder: &Path) -> Result<Option<Bundle>, String> {
        let wrong = |why: String| format!("the bundle of {}: {why}", self.issuer);
        let is_domain = self.issuer.starts_with(svid::SCHEME);
        let object = match (&self.bundle, &self.bundle_file, &self.bundle_url) {
            (None, None, None) if !is_domain => return Ok(None),
            _ if !is_domain => return Err(wrong("only a trust domain (spiffe://…) has one".into())),
            (None, None, Some(url)) => {
                crate::issuers::check_url(url).map_err(wrong)?;
                return Ok(Some(Bundle::At(url.clone())));
            }
            (Some(object), None, None) => object.clone(),
            (None, Some(file), None) => json::parse_object(read_text(&folder.join(file))?.as_bytes())
                .map_err(|error| wrong(error.to_string()))?,
            _ => return Err(wrong("one of bundle, bundle_file and bundle_url was expected".into())),
        };
        crate::issuers::bundle(object).map(Bundle::Known).map(Some).map_err(wrong)
    }
}

impl TrustFile {
    pub fn read(path: &Path) -> Result<Self, String> {
        let text = read_text(path)?;
        let unreadable = |why: String| format!("the trust file {}: {why}", path.display());
        let mut file = Self::parse(&text).map_err(unreadable)?;
        file.folder = path.parent().map(Path::to_path_buf).unwrap_or_default();
        file.check().map_err(unreadable)?;
        Ok(file)
    }

    /// JSON where it begins with a brace, TOML otherwise.
    fn parse(text: &str) -> Result<Self, String> {
        if text.trim_start().starts_with('{') {
            let object = json::parse_object(text.as_bytes()).map_err(|error| error.to_string())?;
            return serde_json::from_value(object.into()).map_err(|error| error.to_string());
        }
        Figment::new().merge(Toml::string(text)).extract().map_err(|error| error.to_string())
    }

    fn check(&self) -> Result<(), String> {
        let mut names = BTreeSet::new();
        if self.roots.len() > ROOTS_MAX {
            return Err(format!("at most {ROOTS_MAX} roots are taken; {} are there", self.roots.len()));
        }
        if let Some(twice) = self.roots.iter().find(|root| !names.insert(&root.name)) {
            return Err(format!("roots have names of their own; `{}` is there twice", twice.name));
        }
        for caller in self.callers.iter().flatten() {
            crate::issuers::named(&caller.issuer)?;
            caller.bundle(&self.folder)?;
            for kind in caller.kinds.iter().flatten() {
                let kind: Result<CallerKind, _> = kind.parse();
                if !kind.is_ok_and(|kind| kind != CallerKind::Service) {
                    return Err(format!("kinds of {}: user, agent, merchant or operator was expected", caller.issuer));
                }
            }
        }
        Ok(())
    }

    /// The roots of this file.
    pub fn list(&self, fetcher: Fetcher) -> Result<TrustList, String> {
        let entry = |root: &RootEntry| {
            let wrong = |why: String| format!("root `{}` of the trust file: {why}", root.name);
            root.entry(&self.folder, fetcher.reach()).map_err(wrong)
        };
        let entries = self.roots.iter().map(entry).collect::<Result<Vec<_>, String>>()?;
        Ok(TrustList::new(entries, fetcher))
    }

    /// The bundles of the trust domains that may say who calls.
    pub fn bundles(&self) -> Result<BTreeMap<String, Bundle>, String> {
        let mut bundles = BTreeMap::new();
        for caller in self.callers.iter().flatten() {
            if let Some(bundle) = caller.bundle(&self.folder)? {
                bundles.insert(caller.issuer.clone(), bundle);
            }
        }
        Ok(bundles)
    }

    /// Whether tokens of this issuer may say that a principal of this kind calls.
    pub fn vouches(&self, issuer: &str, kind: CallerKind) -> bool {
        let Some(callers) = &self.callers else { return true };
        // One name for an issuer, as in stops: with a slash at its end or without.
        let Ok(named) = crate::issuers::named(issuer) else { return false };
        callers.iter().any(|caller| {
            crate::issuers::named(&caller.issuer).as_ref() == Ok(&named)
                && caller.kinds.as_ref().is_none_or(|kinds| kinds.contains(&kind.to_string()))
        })
    }
}

impl RootEntry {
    fn entry(&self, folder: &Path, reach: &Reach) -> Result<Entry, String> {
        if self.name.is_empty() || self.r#for.is_empty() {
            return Err("a root has a name, and something that it is root for".into());
        }
        if self.iss.as_ref().is_some_and(BTreeSet::is_empty) {
            return Err("iss names somebody, or is left out".into());
        }
        let mut mandates = BTreeSet::new();
        for text in &self.r#for {
            mandates.extend(covered(text)?);
        }
        let scope = Scope { mandates, issuers: self.iss.clone() };
        Ok(Entry { name: self.name.clone(), scope, source: self.source(folder, reach)? })
    }

    fn source(&self, folder: &Path, reach: &Reach) -> Result<Source, String> {
        let given = [
            self.jwks.is_some(),
            self.jwks_file.is_some(),
            self.jwks_url.is_some(),
            self.anchors.is_some(),
            self.anchors_file.is_some(),
            self.did.is_some(),
        ];
        let count = given.into_iter().filter(|is_given| *is_given).count();
        if count != 1 {
            return Err(format!("one of jwks, jwks_file, jwks_url, anchors, anchors_file and did; {count} are there"));
        }
        let known = |keys: Result<KeySet, mandates::rejection::Rejection>| {
            let keys = keys.map_err(|error| error.to_string())?;
            if keys.is_empty() {
                Err("it has no P-256 key".to_owned())
            } else {
                Ok(Source::Known(RootKeys::Set(Arc::new(keys))))
            }
        };
        let anchors = |text: &str| {
            let anchors = Anchors::from_pem(text).map_err(|error| error.to_string())?;
            Ok::<_, String>(Source::Known(RootKeys::Anchors(Arc::new(anchors))))
        };
        let published = |place| {
            let pins = self.pins.clone().unwrap_or_default();
            Source::Published(Arc::new(Published::new(place, pins)))
        };
        if self.pins.as_ref().is_some_and(|pins| pins.is_empty() || pins.iter().any(|pin| pin.len() != 43)) {
            return Err("pins are RFC 7638 thumbprints, 43 characters each".into());
        }
        let source = match self {
            Self { jwks: Some(jwks), .. } => known(KeySet::from_jwks(jwks))?,
            Self { jwks_file: Some(file), .. } => {
                let text = read_text(&folder.join(file))?;
                let object = json::parse_object(text.as_bytes()).map_err(|error| error.to_string())?;
                known(KeySet::from_jwks(&object))?
            }
            Self { jwks_url: Some(url), .. } => published(Place::Jwks(reach.check(url)?)),
            Self { anchors: Some(text), .. } => anchors(text)?,
            Self { anchors_file: Some(file), .. } => anchors(&read_text(&folder.join(file))?)?,
            Self { did: Some(text), .. } => {
                let did = Did::parse(text).map_err(|error| error.to_string())?;
                match (did.address(), did.own_keys().map_err(|error| error.to_string())?) {
                    (_, Some(keys)) => known(Ok(keys))?,
                    (Some(address), None) => {
                        let url = reach.check(address)?;
                        published(Place::Did(did, url))
                    }
                    (None, None) => return Err(format!("`{text}` has neither keys nor an address")),
                }
            }
            _ => return Err("it has no keys".into()),
        };
        match (&source, &self.pins) {
            (Source::Known(_), Some(_)) => Err("pins are for keys that are published: of jwks_url and did:web".into()),
            _ => Ok(source),
        }
    }
}

/// The mandates that a word of `for` covers.
fn covered(text: &str) -> Result<Vec<Vct>, String> {
    let (family, state) = text.split_once('.').map_or((text, None), |(family, state)| (family, Some(state)));
    let family = match family {
        "payment" => Family::Payment,
        "checkout" => Family::Checkout,
        _ => {
            return Err(format!(
                "for: payment or checkout, with .open or .closed or neither, was expected; `{text}` came"
            ));
        }
    };
    let is_meant = |vct: &Vct| match state {
        None => true,
        Some("open") => vct.is_open(),
        Some("closed") => !vct.is_open(),
        Some(_) => false,
    };
    let found: Vec<Vct> = Vct::ALL.into_iter().filter(|vct| vct.family() == family && is_meant(vct)).collect();
    if found.is_empty() {
        Err(format!("for: open or closed was expected behind the dot; `{text}` came"))
    } else {
        Ok(found)
    }
}

fn read_text(path: &Path) -> Result<String, String> {
    let unreadable = |error: std::io::Error| format!("{}: {error}", path.display());
    let size = std::fs::metadata(path).map_err(unreadable)?.len();
    if size > FILE_BYTES_MAX {
        return Err(format!("{} has {size} bytes; at most {FILE_BYTES_MAX} are read", path.display()));
    }
    std::fs::read_to_string(path).map_err(unreadable)
}

#[cfg(test)]
mod tests;
