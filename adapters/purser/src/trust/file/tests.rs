use std::io::Write as _;

use serde_json::json;

use super::*;
use crate::fetch::Loopback;

const KEY: &str = r#"{"keys":[{"kty":"EC","crv":"P-256","kid":"k1","x":"fyNYMN0976ci7xqiSdag3buk-ZCwgXU4kz9XNkBlNUI","y":"hW2ojTNfH7Jbi8--CJUo3OCbH3y5n91g-IMA9MLMbTU"}]}"#;
const DID_KEY: &str = "did:key:zDnaerDaTF5BXEavCrfRZEk316dpbLsfPDZ3WJ5hRTPFU2169";

/// What reading a file comes to, down to its list of roots.
fn read(text: &str) -> Result<(TrustFile, TrustList), String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("trust");
    std::fs::File::create(&path).unwrap().write_all(text.as_bytes()).unwrap();
    std::fs::write(folder.path().join("keys.json"), KEY).unwrap();
    std::fs::write(folder.path().join("empty.json"), r#"{"keys":[]}"#).unwrap();
    let file = TrustFile::read(&path)?;
    let list = file.list(Fetcher::new(Reach { loopback: Loopback::Refused, ..Reach::default() })?)?;
    Ok((file, list))
}

fn root(member: &str) -> String {
    format!("[[roots]]\nname = \"a\"\nfor = [\"payment\"]\n{member}\n")
}

#[test]
fn a_file_that_leaves_something_open_is_refused() {
    let keys = root(r#"jwks_file = "keys.json""#);
    for (text, why) in [
        (root(""), "0 are there"),
        (root("jwks_file = \"keys.json\"\njwks_url = \"https://a.example\""), "2 are there"),
        (root(r#"jwks_file = "missing.json""#), "missing.json"),
        (root(r#"jwks_file = "empty.json""#), "no P-256 key"),
        (root("jwks = { keys = [] }"), "no P-256 key"),
        (root("jwks = { key = [] }"), "array `keys`"),
        (root(r#"jwks_url = "http://a.example/jwks""#), "https"),
        (root(r#"jwks_url = "https://10.0.0.1/jwks""#), "public"),
        (root(r#"jwks_url = "http://127.0.0.1/jwks""#), "https"),
        (root(r#"anchors = """#), "anchor"),
        (root(r#"anchors = "-----BEGIN NONSENSE-----""#), "PEM"),
        (root(r#"did = "did:pkh:x""#), "did:key, did:jwk or did:web"),
        (root(r#"did = "did:web:127.0.0.1""#), "IP address"),
        (root(&format!("did = \"{DID_KEY}\"\npins = [\"{}\"]", "x".repeat(43))), "published"),
        (root("jwks_url = \"https://a.example\"\npins = [\"short\"]"), "43"),
        (root("jwks_url = \"https://a.example\"\npins = []"), "43"),
        (root("jwks_url = \"https://a.example\"\niss = []"), "iss"),
        (root("jwks_url = \"https://a.example\"\nissuer = \"x\""), "issuer"),
        (keys.replace("[\"payment\"]", "[]"), "root for"),
        (keys.replace("for = [\"payment\"]", ""), "for"),
        (keys.replace("\"payment\"", "\"everything\""), "payment or checkout"),
        (keys.replace("\"payment\"", "\"payment.shut\""), "open or closed"),
        (keys.replace("\"payment\"", "\"payment.open.1\""), "open or closed"),
        (keys.replace("name = \"a\"", "name = \"\""), "name"),
        (format!("{keys}{keys}"), "twice"),
        (format!("{keys}[[callers]]\nissuer = \"http://idp.example\""), "https"),
        (format!("{keys}[[callers]]\nissuer = \"https://idp.example\"\nkinds = [\"service\"]"), "operator"),
        (format!("{keys}[[callers]]\nissuer = \"https://idp.example\"\nkinds = [\"root\"]"), "operator"),
        (format!("{keys}[[people]]\nid = \"x\""), "people"),
        ("roots = 7".into(), "roots"),
        ("not a file".into(), "trust file"),
        (r#"{"roots":[],"roots":[]}"#.into(), "roots"),
        (r#"{"keys":[]}"#.into(), "keys"),
    ] {
        match read(&text) {
            Ok(_) => panic!("taken: {text}"),
            Err(refused) => assert!(refused.contains(why), "{why}: {refused}"),
        }
    }
    assert!(TrustFile::read(Path::new("/nowhere/trust.toml")).is_err());
}

#[test]
fn a_file_says_who_is_root_of_what_and_who_calls() {
    let (file, list) = read(&format!(
        "{}{}[[callers]]\nissuer = \"https://idp.example\"\nkinds = [\"agent\"]\n[[callers]]\nissuer = \"https://sso.example\"\n",
        root("jwks_file = \"keys.json\"\niss = [\"https://bank.example\"]"),
        root(&format!("did = \"{DID_KEY}\"")).replace("\"a\"", "\"b\"").replace("\"payment\"", "\"payment.open\", \"checkout\""),
    ))
    .unwrap();
    let [bank, agent] = list.entries.as_slice() else { panic!("two roots") };
    assert_eq!(bank.scope.mandates, [Vct::OpenPayment, Vct::ClosedPayment].into());
    assert_eq!(bank.scope.issuers, Some(["https://bank.example".to_owned()].into()));
    assert_eq!(agent.scope.mandates, [Vct::OpenPayment, Vct::OpenCheckout, Vct::ClosedCheckout].into());
    for (issuer, kind, is_vouched) in [
        ("https://idp.example", CallerKind::User, false),
        ("https://idp.example/realm", CallerKind::Agent, false),
        ("not an issuer", CallerKind::Agent, false),
        ("https://idp.example/", CallerKind::Agent, true),
        ("https://other.example", CallerKind::Agent, false),
        ("https://idp.example", CallerKind::Agent, true),
        ("https://sso.example", CallerKind::User, true),
    ] {
        assert_eq!(file.vouches(issuer, kind), is_vouched, "{issuer} {kind}");
    }
    let (open, _) = read(&root(r#"did = "did:web:shop.example""#)).unwrap();
    assert!(open.vouches("https://idp.example", CallerKind::User), "no list is no limit");
    let jwks: serde_json::Value = serde_json::from_str(KEY).unwrap();
    let as_json = json!({ "roots": [{ "name": "a", "for": ["checkout.closed"], "jwks": jwks }] });
    let (_, list) = read(&as_json.to_string()).unwrap();
    assert_eq!(list.entries[0].scope.mandates, [Vct::ClosedCheckout].into());
}
