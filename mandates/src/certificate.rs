//! X.509 paths: from the certificate chain that a root brings (`x5c`, RFC 7515 section 4.1.6) up to an anchor of ours
//! (RFC 5280 section 6.1).
//!
//! webpki, the library of rustls, checks signatures, validity, CA flags, path lengths, name constraints and critical
//! extensions. It was made for TLS: it looks for a path among certificates in any order, passes key usage over, and asks
//! nothing of an anchor but its name and key. What is asked beyond that is here: the order of the chain (RFC 7515), key
//! usage (RFC 5280 section 6.1.4 (n)), and the anchor's own certificate held to what it says (RFC 5937 section 3).
//!
//! Stricter than RFC 5280 where that fails closed: a CA's own certificate signs no mandate; a directory name under a
//! constraint on directory names is refused whatever the constraint is (webpki does not compare them); certificate
//! policies that are marked critical are refused as unknown. No revocation list is read: certificates of issuers are
//! short-lived or taken out of the trust file. Extended key usage is not looked at: no purpose is registered for
//! credentials, and issuers name their own.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use pki_types::pem::PemObject as _;
use pki_types::{CertificateDer, SignatureVerificationAlgorithm, TrustAnchor, UnixTime};
use webpki::aws_lc_rs as algorithms;
use webpki::{EndEntityCert, Error, KeyPurposeIdIter};
use x509_cert::Certificate;
use x509_cert::der::Decode as _;
use x509_cert::der::asn1::ObjectIdentifier;
use x509_cert::ext::pkix::{BasicConstraints, KeyUsage};

use crate::json::Json;
use crate::keys::PublicKey;
use crate::limits::{ANCHORS_MAX, CERTIFICATE_BYTES_MAX, CERTIFICATES_MAX};
use crate::rejection::{Code, Rejection, shown};

/// How a certificate may be signed. What signs the token itself is ES256 alone.
const ALGORITHMS: &[&dyn SignatureVerificationAlgorithm] = &[
    algorithms::ECDSA_P256_SHA256,
    algorithms::ECDSA_P256_SHA384,
    algorithms::ECDSA_P384_SHA256,
    algorithms::ECDSA_P384_SHA384,
    algorithms::ECDSA_P521_SHA512,
    algorithms::ED25519,
    algorithms::RSA_PKCS1_2048_8192_SHA256,
    algorithms::RSA_PKCS1_2048_8192_SHA384,
    algorithms::RSA_PKCS1_2048_8192_SHA512,
    algorithms::RSA_PSS_2048_8192_SHA256_LEGACY_KEY,
    algorithms::RSA_PSS_2048_8192_SHA384_LEGACY_KEY,
    algorithms::RSA_PSS_2048_8192_SHA512_LEGACY_KEY,
];

/// Extensions of an anchor that are understood: key usage, subject alternative name, basic constraints, name constraints,
/// extended key usage. Another one that is critical could forbid what we would allow.
const UNDERSTOOD: [&str; 5] = ["2.5.29.15", "2.5.29.17", "2.5.29.19", "2.5.29.30", "2.5.29.37"];

/// Certificates that somebody trusts to end a path. Never an empty trust: where there is none, every path is refused.
#[derive(Clone, Debug, Default)]
pub struct Anchors(Vec<Anchor>);

#[derive(Clone, Debug)]
struct Anchor {
    der: CertificateDer<'static>,
    /// Name, key and name constraints.
    trusted: TrustAnchor<'static>,
    facts: Certified,
}

/// What is read of one certificate beside webpki.
#[derive(Clone, Debug)]
struct Certified {
    certificate: Certificate,
    usage: Option<KeyUsage>,
    constraints: Option<BasicConstraints>,
}

impl Certified {
    fn read(der: &[u8]) -> Result<Self, Rejection> {
        if der.len() > CERTIFICATE_BYTES_MAX {
            let message = format!("a certificate has at most {CERTIFICATE_BYTES_MAX} bytes; one of {} came", der.len());
            return Err(malformed(message));
        }
        let unread = |error| malformed(format!("an X.509 certificate in DER was expected; {error} came"));
        let certificate = Certificate::from_der(der).map_err(unread)?;
        // A second extension of the same kind is an error of both.
        let usage = certificate.tbs_certificate.get::<KeyUsage>().map_err(unread)?.map(|(_, usage)| usage);
        let constraints = certificate.tbs_certificate.get::<BasicConstraints>().map_err(unread)?;
        Ok(Self { usage, constraints: constraints.map(|(_, constraints)| constraints), certificate })
    }

    fn subject(&self) -> String {
        shown(&self.certificate.tbs_certificate.subject.to_string())
    }

    fn issuer(&self) -> String {
        shown(&self.certificate.tbs_certificate.issuer.to_string())
    }

    fn was_named_by(&self, issuer: &Self) -> bool {
        self.certificate.tbs_certificate.issuer == issuer.certificate.tbs_certificate.subject
    }

    /// Where key usage is stated it must allow what the key does here; where it is not, RFC 5280 asks nothing.
    fn may_sign_certificates(&self) -> bool {
        self.usage.is_none_or(|usage| usage.key_cert_sign())
    }

    fn check_times(&self, now: u64) -> Result<(), Rejection> {
        let validity = &self.certificate.tbs_certificate.validity;
        let (from, to) = (validity.not_before.to_unix_duration(), validity.not_after.to_unix_duration());
        if now < from.as_secs() {
            return Err(not_yet_valid(now, from.as_secs()));
        }
        if now > to.as_secs() { Err(expired(now, to.as_secs())) } else { Ok(()) }
    }
}

impl Anchors {
    /// Certificates as text (RFC 7468), one after another. Other sections are refused: a key has no place here.
    pub fn from_pem(text: &str) -> Result<Self, Rejection> {
        let sections = text.matches("-----BEGIN ").count();
        let certificates: Result<Vec<_>, _> =
            CertificateDer::pem_slice_iter(text.as_bytes()).take(ANCHORS_MAX.saturating_add(1)).collect();
        let certificates = certificates.map_err(|error| malformed(format!("PEM was expected; {error} came")))?;
        if certificates.len() <= ANCHORS_MAX && certificates.len() != sections {
            let message = format!("anchors are certificates; {} of {sections} PEM sections are", certificates.len());
            return Err(malformed(message));
        }
        Self::from_certificates(certificates)
    }

    /// Certificates in DER.
    pub fn from_der(certificates: impl IntoIterator<Item = Vec<u8>>) -> Result<Self, Rejection> {
        Self::from_certificates(certificates.into_iter().map(CertificateDer::from))
    }

    fn from_certificates(certificates: impl IntoIterator<Item = CertificateDer<'static>>) -> Result<Self, Rejection> {
        let mut anchors = Vec::new();
        for certificate in certificates {
            if anchors.len() >= ANCHORS_MAX {
                return Err(malformed(format!("at most {ANCHORS_MAX} anchors are taken; more came")));
            }
            anchors.push(Anchor::read(certificate)?);
        }
        if anchors.is_empty() {
            return Err(Rejection::new(Code::X5cNoAnchor, "a path ends at an anchor, so one is needed; none came"));
        }
        Ok(Self(anchors))
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The key of the first certificate of an `x5c` header, once its path to an anchor holds at this second.
    ///
    /// The chain is in order, each certificate issued by the next; the anchor itself may be there or not, and what comes
    /// behind it is not needed and not checked beyond its name.
    pub fn key_of<'t>(&self, x5c: impl Into<Json<'t>>, now_seconds: i64) -> Result<PublicKey, Rejection> {
        if self.is_empty() {
            let message = "an x5c chain ends at an anchor of the verifier; it has none";
            return Err(Rejection::new(Code::X5cNoAnchor, message).at("x5c"));
        }
        let chain = Chain::decode(x5c.into())?;
        let now = u64::try_from(now_seconds);
        let now = now.map_err(|_| malformed(format!("certificates are valid after 1970; it is {now_seconds}")))?;
        let chain = chain.up_to(&self.0);
        let mut best: Option<Rejection> = None;
        for anchor in &self.0 {
            match chain.check(anchor, now) {
                Ok(()) => return chain.key(),
                // That an anchor is another one says least.
                Err(refused) if best.as_ref().is_none_or(|best| best.code == Code::X5cUntrusted) => {
                    best = Some(refused);
                }
                Err(_) => {}
            }
        }
        Err(best.unwrap_or_else(|| chain.untrusted()).at("x5c"))
    }
}

impl Anchor {
    fn read(der: CertificateDer<'static>) -> Result<Self, Rejection> {
        let facts = Certified::read(&der)?;
        let extensions = facts.certificate.tbs_certificate.extensions.as_deref().unwrap_or_default();
        let understood = |id: &ObjectIdentifier| UNDERSTOOD.contains(&id.to_string().as_str());
        if let Some(unknown) = extensions.iter().find(|extension| extension.critical && !understood(&extension.extn_id))
        {
            let message = format!("critical extensions of an anchor are understood; {} is not", unknown.extn_id);
            return Err(Rejection::new(Code::X5cCriticalExtension, message));
        }
        let read = webpki::anchor_from_trusted_cert(&der).map(|anchor| anchor.to_owned());
        let trusted = read.map_err(|error| malformed(format!("an anchor is an X.509 certificate; {error} came")))?;
        Ok(Self { trusted, facts, der })
    }

    /// What the anchor's own certificate says about what may lie beneath it (RFC 5937 section 3).
    fn check(&self, intermediates: usize, now: u64) -> Result<(), Rejection> {
        self.facts.check_times(now)?;
        let is_ca = self.facts.constraints.as_ref().is_some_and(|constraints| constraints.ca);
        if !is_ca || !self.facts.may_sign_certificates() {
            let message = format!("an issuer is a CA that may sign certificates; {} is not", self.facts.subject());
            return Err(Rejection::new(Code::X5cIssuerNotCa, message));
        }
        let most = self.facts.constraints.as_ref().and_then(|constraints| constraints.path_len_constraint);
        if let Some(most) = most.map(usize::from).filter(|most| intermediates > *most) {
            let message = format!("{most} CAs may stand below {}; {intermediates} do", self.facts.subject());
            return Err(Rejection::new(Code::X5cPathTooLong, message));
        }
        Ok(())
    }
}

/// An `x5c` header, decoded and in order; nothing is verified yet.
struct Chain {
    certificates: Vec<CertificateDer<'static>>,
    facts: Vec<Certified>,
}

impl Chain {
    fn decode(x5c: Json<'_>) -> Result<Self, Rejection> {
        let Json::Array(entries) = x5c else {
            return Err(malformed(format!("x5c is an array of certificates; {} came", x5c.kind())));
        };
        if entries.is_empty() || entries.len() > CERTIFICATES_MAX {
            let message = format!("x5c has 1 to {CERTIFICATES_MAX} certificates; {} came", entries.len());
            return Err(malformed(message));
        }
        let mut chain = Self { certificates: Vec::new(), facts: Vec::new() };
        for entry in entries.iter() {
            // Standard base64 with its padding, not base64url (RFC 7515 section 4.1.6).
            let decoded = entry.as_str().and_then(|text| STANDARD.decode(text).ok());
            let der = decoded.ok_or_else(|| malformed("a certificate in x5c is base64 of DER; something else came"))?;
            chain.facts.push(Certified::read(&der)?);
            chain.certificates.push(CertificateDer::from(der));
        }
        for pair in chain.facts.windows(2) {
            if let [issued, issuer] = pair
                && !issued.was_named_by(issuer)
            {
                let (wanted, came) = (issued.issuer(), issuer.subject());
                let message = format!("each certificate of x5c is issued by the next; {wanted} was due, {came} came");
                return Err(Rejection::new(Code::X5cOrder, message).at("x5c"));
            }
        }
        Ok(chain)
    }

    /// Without the anchor, where the chain brings it. An anchor that itself signed the token stays: it is the leaf.
    fn up_to(mut self, anchors: &[Anchor]) -> Self {
        let is_anchor = |der: &CertificateDer<'_>| anchors.iter().any(|anchor| anchor.der == *der);
        if let Some(end) = self.certificates.iter().skip(1).position(is_anchor) {
            self.certificates.truncate(end.saturating_add(1));
            self.facts.truncate(end.saturating_add(1));
        }
        self
    }

    fn check(&self, anchor: &Anchor, now: u64) -> Result<(), Rejection> {
        let (Some((leaf, above)), Some((leaf_facts, above_facts))) =
            (self.certificates.split_first(), self.facts.split_first())
        else {
            return Err(malformed("x5c has a certificate; none came"));
        };
        let anchors = [anchor.trusted.clone()];
        let refused = |error: Error| self.refusal(error, now);
        let end_entity = EndEntityCert::try_from(leaf).map_err(refused)?;
        let time = UnixTime::since_unix_epoch(Duration::from_secs(now));
        let path =
            end_entity.verify_for_usage(ALGORITHMS, &anchors, above, time, AnyPurpose, None, None).map_err(refused)?;
        // webpki may have found its own way up; only the one that was presented counts.
        let mut used = 0_usize;
        for (found, presented) in path.intermediate_certificates().zip(above) {
            if found.der() != *presented {
                return Err(Rejection::new(Code::X5cOrder, "the path follows x5c; it leads past a certificate of it"));
            }
            used = used.saturating_add(1);
        }
        if *leaf != anchor.der {
            anchor.check(used, now)?;
        }
        if let Some(issuer) = above_facts.iter().take(used).find(|issuer| !issuer.may_sign_certificates()) {
            let message = format!("key usage of an issuer has keyCertSign; that of {} has not", issuer.subject());
            return Err(Rejection::new(Code::X5cKeyUsage, message));
        }
        if leaf_facts.usage.is_some_and(|usage| !usage.digital_signature()) {
            let leaf = leaf_facts.subject();
            let message = format!("key usage of who signs a mandate has digitalSignature; that of {leaf} has not");
            return Err(Rejection::new(Code::X5cKeyUsage, message));
        }
        Ok(())
    }

    fn key(&self) -> Result<PublicKey, Rejection> {
        let leaf = self.certificates.first().ok_or_else(|| malformed("x5c has a certificate; none came"))?;
        let leaf = EndEntityCert::try_from(leaf).map_err(|error| malformed(format!("a certificate; {error} came")))?;
        PublicKey::from_spki(&leaf.subject_public_key_info()).map_err(|refused| refused.at("x5c"))
    }

    fn untrusted(&self) -> Rejection {
        let came = self.facts.last().map_or_else(|| "nothing".to_owned(), Certified::issuer);
        Rejection::new(Code::X5cUntrusted, format!("a path ends at an anchor of the verifier; this one ends at {came}"))
    }

    /// webpki's refusals as ours.
    fn refusal(&self, error: Error, now: u64) -> Rejection {
        let leaf = || self.facts.first().map_or_else(String::new, Certified::subject);
        let (code, message) = match error {
            Error::UnknownIssuer => return self.untrusted(),
            Error::CertExpired { not_after, .. } => return expired(now, not_after.as_secs()),
            Error::CertNotValidYet { not_before, .. } => return not_yet_valid(now, not_before.as_secs()),
            Error::CaUsedAsEndEntity => {
                (Code::X5cLeafIsCa, format!("a mandate is signed with a certificate of its own; {} is a CA's", leaf()))
            }
            Error::EndEntityUsedAsCa => {
                (Code::X5cIssuerNotCa, format!("an issuer is a CA; one above {} is not", leaf()))
            }
            Error::PathLenConstraintViolated | Error::MaximumPathDepthExceeded => {
                let came = self.certificates.len();
                (
                    Code::X5cPathTooLong,
                    format!("every CA allows what stands below it; {came} certificates are too many"),
                )
            }
            Error::NameConstraintViolation => (
                Code::X5cNameConstraint,
                format!("names lie within what the CAs above may name; {} or a name above does not", leaf()),
            ),
            Error::UnsupportedCriticalExtension => (
                Code::X5cCriticalExtension,
                format!("critical extensions are understood; the path of {} has one that is not", leaf()),
            ),
            Error::InvalidSignatureForPublicKey => (
                Code::X5cSignatureInvalid,
                format!("each certificate verifies with the key above it; one of the path of {} does not", leaf()),
            ),
            Error::UnsupportedSignatureAlgorithmContext(_)
            | Error::UnsupportedSignatureAlgorithmForPublicKeyContext(_)
            | Error::SignatureAlgorithmMismatch => (
                Code::X5cAlgorithm,
                format!("certificates are signed with ECDSA, RSA or Ed25519 as their issuer's key is; {error} came"),
            ),
            other => return malformed(format!("certificates as RFC 5280 has them were expected; {other} came")),
        };
        Rejection::new(code, message)
    }
}

/// No purpose is registered for what signs credentials, so none is asked for.
struct AnyPurpose;

impl webpki::ExtendedKeyUsageValidator for AnyPurpose {
    fn validate(&self, _: KeyPurposeIdIter<'_, '_>) -> Result<(), Error> {
        Ok(())
    }
}

fn malformed(message: impl Into<String>) -> Rejection {
    Rejection::new(Code::X5cMalformed, message).at("x5c")
}

fn expired(now: u64, not_after: u64) -> Rejection {
    Rejection::new(Code::X5cExpired, format!("a certificate is good until {not_after}; it is {now}"))
}

fn not_yet_valid(now: u64, not_before: u64) -> Rejection {
    Rejection::new(Code::X5cNotYetValid, format!("a certificate is good from {not_before} on; it is {now}"))
}
