//! The certificates that the proxy shows to programs: a local authority, and a leaf for each host on the fly.
//!
//! Its key is drawn on this machine, never leaves the folder and is readable for this user alone, because whoever has it
//! can be any host for every program that trusts the certificate. So the certificate lives three months, says in its
//! name what it is, signs no further authority and serves servers alone. Names are not constrained: a program may pay
//! anywhere.

use std::collections::HashMap;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use ledger::id::Digest;
use pki_types::pem::PemObject as _;
use pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};
use time::{Duration, OffsetDateTime};
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::aws_lc_rs::default_provider;
use x509_cert::Certificate;
use x509_cert::der::Decode as _;

use crate::dev::home::Home;

const AUTHORITY_LIFE: Duration = Duration::days(90);
/// Drawn anew at a start when less is left.
const AUTHORITY_LEFT_MIN: Duration = Duration::days(30);
const LEAF_LIFE: Duration = Duration::days(2);
/// Made anew when it is older.
const LEAF_AGE_MAX: Duration = Duration::days(1);
/// Clocks of programs in containers may be behind ours.
const BACKDATED: Duration = Duration::hours(1);
/// Hosts whose leaves are kept.
const LEAVES_MAX: usize = 256;
/// Key and certificate, for the proxy alone.
const SECRET: &str = "authority.pem";
/// The certificate, for programs.
pub const CERTIFICATE: &str = "ca.pem";

struct Leaf {
    made_at: OffsetDateTime,
    config: Arc<ServerConfig>,
}

pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: CertificateDer<'static>,
    /// One for all leaves: they are all this process.
    leaf_key: KeyPair,
    leaves: Mutex<HashMap<String, Leaf>>,
}

impl Authority {
    /// The authority of this folder; drawn where there is none, or where its certificate ends soon.
    pub fn open(home: &Home, now: OffsetDateTime) -> Result<Self, String> {
        let path = home.file(SECRET);
        let kept = match std::fs::read_to_string(&path) {
            Ok(text) => {
                check_private(&path)?;
                Some(read(&text).map_err(|why| format!("{}: {why}", path.display()))?)
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
            Err(error) => return Err(format!("{}: {error}", path.display())),
        };
        let (key, certificate) = match kept {
            Some((key, certificate, ends)) if ends > now + AUTHORITY_LEFT_MIN => (key, certificate),
            _ => {
                let (key, certificate) = draw(now).map_err(|error| error.to_string())?;
                let text = format!("{}{}", key.serialize_pem(), pem(&certificate));
                home.write(SECRET, text.as_bytes())?;
                (key, certificate)
            }
        };
        home.write(CERTIFICATE, pem(&certificate).as_bytes())?;
        let leaf_key = KeyPair::generate().map_err(|error| error.to_string())?;
        let issuer = Issuer::new(parameters(&key), key);
        Ok(Self { issuer, certificate, leaf_key, leaves: Mutex::default() })
    }

    /// What a program that asks for this host is shown.
    pub fn server(&self, host: &str, now: OffsetDateTime) -> Result<Arc<ServerConfig>, String> {
        let mut leaves = self.leaves.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(leaf) = leaves.get(host).filter(|leaf| leaf.made_at + LEAF_AGE_MAX > now) {
            return Ok(leaf.config.clone());
        }
        let config = Arc::new(self.make(host, now)?);
        if leaves.len() >= LEAVES_MAX {
            leaves.clear();
        }
        leaves.insert(host.to_owned(), Leaf { made_at: now, config: config.clone() });
        Ok(config)
    }

    fn make(&self, host: &str, now: OffsetDateTime) -> Result<ServerConfig, String> {
        let said = |error: &dyn std::fmt::Display| format!("no certificate for {host}: {error}");
        // An address in brackets is an address all the same.
        let name = host.trim_start_matches('[').trim_end_matches(']');
        let mut leaf = CertificateParams::new([name.to_owned()]).map_err(|error| said(&error))?;
        leaf.distinguished_name = rcgen::DistinguishedName::new();
        leaf.distinguished_name.push(DnType::CommonName, "Purser proxy, standing for a host");
        (leaf.not_before, leaf.not_after) = (now - BACKDATED, now + LEAF_LIFE);
        leaf.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        leaf.use_authority_key_identifier_extension = true;
        let leaf = leaf.signed_by(&self.leaf_key, &self.issuer).map_err(|error| said(&error))?;
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(self.leaf_key.serialize_der()));
        let server = ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| said(&error))?
            .with_no_client_auth();
        let chain = vec![leaf.der().clone(), self.certificate.clone()];
        let mut server = server.with_single_cert(chain, key).map_err(|error| said(&error))?;
        server.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(server)
    }
}

/// The name follows from the key, so that an authority that is drawn anew is another one by name too.
fn parameters(key: &KeyPair) -> CertificateParams {
    let mut parameters = CertificateParams::default();
    let digest = Digest::of(key.public_key_raw()).to_string();
    let name = format!("Purser proxy of this machine, {}", digest.get(..8).unwrap_or_default());
    parameters.distinguished_name = rcgen::DistinguishedName::new();
    parameters.distinguished_name.push(DnType::CommonName, name);
    parameters.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    parameters
}

fn draw(now: OffsetDateTime) -> Result<(KeyPair, CertificateDer<'static>), rcgen::Error> {
    let key = KeyPair::generate()?;
    let mut parameters = parameters(&key);
    (parameters.not_before, parameters.not_after) = (now - BACKDATED, now + AUTHORITY_LIFE);
    let certificate = parameters.self_signed(&key)?.der().clone();
    Ok((key, certificate))
}

fn read(text: &str) -> Result<(KeyPair, CertificateDer<'static>, OffsetDateTime), String> {
    // The parsers' messages could repeat what they read.
    let key = KeyPair::from_pem(text).map_err(|_| "no private key stands in it".to_owned())?;
    let certificate =
        CertificateDer::from_pem_slice(text.as_bytes()).map_err(|_| "no certificate stands in it".to_owned())?;
    let read = Certificate::from_der(&certificate).map_err(|error| format!("its certificate: {error}"))?;
    let spki = read.tbs_certificate.subject_public_key_info.subject_public_key.raw_bytes();
    if spki != key.public_key_raw() {
        return Err("key and certificate do not belong together; remove the file to have both drawn anew".into());
    }
    let ends = read.tbs_certificate.validity.not_after.to_unix_duration();
    Ok((key, certificate, OffsetDateTime::UNIX_EPOCH + ends))
}

fn check_private(path: &Path) -> Result<(), String> {
    let shown = path.display();
    let mode = std::fs::metadata(path).map_err(|error| format!("{shown}: {error}"))?.permissions().mode() & 0o777;
    if mode & 0o077 == 0 {
        return Ok(());
    }
    Err(format!("{shown}: mode 600 was expected, {mode:o} was found; others may have read the key: remove it"))
}

fn pem(certificate: &CertificateDer<'_>) -> String {
    use base64::Engine as _;
    let text = base64::engine::general_purpose::STANDARD.encode(certificate);
    let mut pem = String::from("-----BEGIN CERTIFICATE-----\n");
    for line in text.as_bytes().chunks(64) {
        pem.push_str(&String::from_utf8_lossy(line));
        pem.push('\n');
    }
    pem + "-----END CERTIFICATE-----\n"
}

/// What a program is told to trust.
pub fn certificate_file(home: &Home) -> PathBuf {
    home.file(CERTIFICATE)
}

#[cfg(test)]
mod tests;
