//! Files that others could read or that do not fit, and certificates that a strict verifier takes.

use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::*;

fn home() -> (tempfile::TempDir, Home) {
    let folder = tempfile::tempdir().unwrap();
    let home = Home::open(Some(folder.path())).unwrap();
    (folder, home)
}

fn now() -> OffsetDateTime {
    OffsetDateTime::now_utc()
}

fn certificate(home: &Home) -> String {
    std::fs::read_to_string(certificate_file(home)).unwrap()
}

/// Whether a client that trusts the file of this folder takes what it is shown for this name.
async fn agree(home: &Home, authority: &Authority, asked: &str, name: &str) -> Result<(), String> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(certificate(home).as_bytes()).unwrap()).unwrap();
    let client = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let (near, far) = tokio::io::duplex(64 * 1024);
    let server = TlsAcceptor::from(authority.server(asked, now())?);
    let served = tokio::spawn(async move { server.accept(far).await.map(drop) });
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let connected = TlsConnector::from(Arc::new(client)).connect(name, near).await;
    let _ = served.await;
    connected.map(drop).map_err(|error| error.to_string())
}

#[tokio::test]
async fn a_leaf_is_for_its_host_alone_and_the_same_for_a_day() {
    let (_folder, home) = home();
    let authority = Authority::open(&home, now()).unwrap();
    for (asked, name) in
        [("shop.example", "evil.example"), ("shop.example", "a.shop.example"), ("127.0.0.1", "127.0.0.2")]
    {
        assert!(agree(&home, &authority, asked, name).await.is_err(), "{asked} for {name}");
    }
    for (asked, name) in [("shop.example", "shop.example"), ("127.0.0.1", "127.0.0.1"), ("[::1]", "::1")] {
        agree(&home, &authority, asked, name).await.unwrap();
    }
    let first = authority.server("shop.example", now()).unwrap();
    assert!(Arc::ptr_eq(&first, &authority.server("shop.example", now() + Duration::hours(23)).unwrap()));
    assert!(!Arc::ptr_eq(&first, &authority.server("shop.example", now() + Duration::hours(25)).unwrap()));
    for number in 0..LEAVES_MAX * 2 {
        authority.server(&format!("{number}.example"), now()).unwrap();
    }
    assert!(authority.leaves.lock().unwrap().len() <= LEAVES_MAX);
}

#[test]
fn what_others_may_have_read_or_what_does_not_fit_is_not_used() {
    let (_folder, home) = home();
    Authority::open(&home, now()).unwrap();
    let path = home.file(SECRET);
    let whole = std::fs::read_to_string(&path).unwrap();
    let (key, own) = whole.split_once("-----BEGIN CERTIFICATE").unwrap();
    let (_other_folder, other) = self::home();
    Authority::open(&other, now()).unwrap();
    let foreign = std::fs::read_to_string(other.file(SECRET)).unwrap();
    let (_, foreign) = foreign.split_once("-----BEGIN CERTIFICATE").unwrap();
    let broken = [
        String::new(),
        "junk".into(),
        key.to_owned(),
        format!("-----BEGIN CERTIFICATE{own}"),
        format!("{key}-----BEGIN CERTIFICATE{foreign}"),
    ];
    for text in broken {
        std::fs::write(&path, text).unwrap();
        assert!(Authority::open(&home, now()).is_err());
    }
    std::fs::write(&path, &whole).unwrap();
    for mode in [0o644, 0o640, 0o606] {
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        let why = Authority::open(&home, now()).err().unwrap();
        assert!(why.contains(&format!("{mode:o}")), "{why}");
    }
}

#[test]
fn the_authority_is_kept_until_it_ends_soon() {
    let (_folder, home) = home();
    Authority::open(&home, now()).unwrap();
    let first = certificate(&home);
    assert_eq!(std::fs::metadata(home.file(SECRET)).unwrap().permissions().mode() & 0o777, 0o600);
    Authority::open(&home, now() + Duration::days(59)).unwrap();
    assert_eq!(certificate(&home), first);
    Authority::open(&home, now() + Duration::days(61)).unwrap();
    assert_ne!(certificate(&home), first);
}
