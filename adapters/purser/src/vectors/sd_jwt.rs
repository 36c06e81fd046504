//! One SD-JWT test case of the reference implementation. What running it means here: our issuer conceals `user_claims`
//! as `!sd` marks them and signs; everything shown, our verifier reads back the whole of `user_claims`; the holder shows
//! what `holder_disclosed_claims` says, with key binding and in the JSON serialization where the case asks for it; and
//! our verifier reads exactly `expect_verified_user_claims`. Six times: with each hash, without and with decoys.

use std::collections::BTreeMap;
use std::path::Path;

use mandates::clock::Clock;
use mandates::credential::{self, Context, Credential, KeyBinding};
use mandates::digest::HashAlgorithm;
use mandates::disclosure::{self, Choice, Concealed, Element, Marked, Member, Terms, Visibility};
use mandates::json::Object;
use mandates::jws::Unsigned;
use mandates::key_binding::{self, Presentation};
use mandates::keys::{KeySet, LocalKey};
use mandates::rejection::Rejection;
use mandates::serialization;
use mandates::verify::Expected;
use serde_json::Value;

use super::Line;
use super::yaml::{Content, Mark, Node};
use crate::verify;

/// The file beside the cases that holds keys, names and times.
pub(super) const SETTINGS: &str = "settings";
const TYPE: &str = "testcase+sd-jwt";
const DECOYS: usize = 3;
/// Where the settings name no keys: fixed ones, which guard nothing.
const ISSUER_SEED: [u8; 32] = [7; 32];
const HOLDER_SEED: [u8; 32] = [8; 32];
const IAT_SECONDS: i64 = 1_683_000_000;

/// A case, ready to run.
struct Case {
    claims: Vec<Member>,
    choice: Choice,
    expected: Object,
    key_binding: Bound,
    form: Form,
    extra_header: Object,
    issuer_keys: Vec<LocalKey>,
    holder_key: LocalKey,
    issuer: String,
    verifier: String,
    nonce: String,
    issued_at_seconds: i64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Bound {
    ByHolder,
    No,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    Compact,
    Json,
}

pub(super) fn run(file: &Path) -> Result<Line, String> {
    let name = file.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
    let settings = ["yml", "yaml"].map(|end| file.with_file_name(SETTINGS).with_extension(end));
    let settings = settings.iter().find(|path| path.is_file()).map(|path| parse(path)).transpose()?;
    let case = Case::read(&parse(file)?, settings.as_ref());
    let case = case.map_err(|why| format!("{} is no SD-JWT test case: {why}", file.display()))?;
    Ok(Line::valid(&name, case.run_all()))
}

fn parse(file: &Path) -> Result<Node, String> {
    let unreadable = |why: String| format!("{} cannot be read: {why}", file.display());
    let text = String::from_utf8(verify::read(file)?).map_err(|error| unreadable(error.to_string()))?;
    Node::parse(&text).map_err(unreadable)
}

impl Case {
    fn read(node: &Node, settings: Option<&Node>) -> Result<Self, String> {
        let needed = |name: &str| node.get(name).ok_or_else(|| format!("it has no {name}"));
        let Marked::Object(claims) = marked(needed("user_claims")?) else {
            return Err("user_claims is no mapping".to_owned());
        };
        // The reference replaces settings at their top level.
        let overriding = node.get("settings_override");
        let setting = |name: &str| {
            overriding.and_then(|node| node.get(name)).or_else(|| settings.and_then(|node| node.get(name)))
        };
        let keys = setting("key_settings");
        let named = |name: &str| setting("identifiers").and_then(|node| node.get(name)).and_then(Node::text);
        let flag = |name: &str| node.get(name).map(Node::value) == Some(Value::Bool(true));
        Ok(Self {
            claims,
            choice: choice(needed("holder_disclosed_claims")?),
            expected: needed("expect_verified_user_claims")?.object().ok_or("what is expected is no mapping")?,
            key_binding: if flag("key_binding") { Bound::ByHolder } else { Bound::No },
            form: match node.get("serialization_format").and_then(Node::text) {
                None | Some("compact") => Form::Compact,
                Some("json") => Form::Json,
                Some(other) => return Err(format!("serialization_format is compact or json; {other} came")),
            },
            extra_header: node.get("extra_header_parameters").and_then(Node::object).unwrap_or_default(),
            issuer_keys: issuer_keys(keys)?,
            holder_key: match keys.and_then(|keys| keys.get("holder_key")) {
                None => LocalKey::from_random(&HOLDER_SEED).map_err(said)?,
                Some(jwk) => key(jwk)?,
            },
            issuer: named("issuer").unwrap_or("https://issuer.example").to_owned(),
            verifier: named("verifier").unwrap_or("https://verifier.example").to_owned(),
            nonce: setting("key_binding_nonce").and_then(Node::text).unwrap_or("1234567890").to_owned(),
            issued_at_seconds: setting("iat").and_then(|node| node.value().as_i64()).unwrap_or(IAT_SECONDS),
        })
    }

    fn run_all(&self) -> Result<(), String> {
        for algorithm in [HashAlgorithm::Sha256, HashAlgorithm::Sha384, HashAlgorithm::Sha512] {
            for decoys in [0, DECOYS] {
                let why = |why: String| format!("{why} ({}, {decoys} decoys)", algorithm.name());
                self.run(&Terms { algorithm, decoys }).map_err(why)?;
            }
        }
        Ok(())
    }

    fn run(&self, terms: &Terms) -> Result<(), String> {
        let mut claims = self.claims.clone();
        claims.push(always("iss", self.issuer.as_str().into()));
        let mut around = Object::from_iter([("iss".to_owned(), Value::from(self.issuer.as_str()))]);
        if self.key_binding == Bound::ByHolder {
            let jwk = Value::Object(self.holder_key.public().to_jwk());
            let cnf = Value::Object(Object::from_iter([("jwk".to_owned(), jwk)]));
            around.insert("cnf".to_owned(), cnf.clone());
            claims.push(always("cnf", cnf));
        }
        let mut salts = Salts::default();
        let concealed = disclosure::conceal(&claims, terms, &mut || salts.draw()).map_err(said)?;
        let (first, others) = self.issue(&concealed)?;
        let whole = self.verify(&first, KeyBinding::NotAsked)?;
        let user_claims = Marked::Object(self.claims.clone());
        compare("all claims", &whole.resolved.claims().to_object(), &joined(plain(&user_claims), &around))?;
        let presented = self.present(&first)?;
        let (presented, others) = self.carry(presented, others)?;
        let credential = self.verify(&presented, self.wanted_binding())?;
        compare(
            "the verified claims",
            &credential.resolved.claims().to_object(),
            &joined(self.expected.clone(), &around),
        )?;
        let mut header = self.header();
        if self.form == Form::Compact {
            header.extend(self.extra_header.clone());
            compare("the header", &credential.header, &header)?;
        }
        for other in others {
            // Nothing is shown with it: its signature over the same payload is what is checked.
            drop(self.verify(&format!("{other}~"), KeyBinding::NotAsked)?);
        }
        Ok(())
    }

    fn header(&self) -> Object {
        Object::from_iter([("alg".to_owned(), "ES256".into()), ("typ".to_owned(), TYPE.into())])
    }

    /// The compact SD-JWT by the first key, and the JWT of each further one over the same payload.
    fn issue(&self, concealed: &Concealed) -> Result<(String, Vec<String>), String> {
        let mut tokens = Vec::new();
        for key in &self.issuer_keys {
            let mut header = self.header();
            if key.public().to_jwk().contains_key("kid") {
                header.insert("kid".to_owned(), key.key_id().as_str().into());
            }
            header.extend(self.extra_header.clone());
            tokens.push(sign(concealed.unsigned(&header), key)?);
        }
        let mut tokens = tokens.into_iter();
        let first = tokens.next().ok_or("a case has an issuer key; this one has none")?;
        let jwt = |token: String| token.split('~').next().unwrap_or_default().to_owned();
        Ok((first, tokens.map(jwt).collect()))
    }

    fn present(&self, issued: &str) -> Result<String, String> {
        let presented = disclosure::present(issued, &self.choice).map_err(said)?;
        if self.key_binding == Bound::No {
            return Ok(presented);
        }
        let terms =
            Presentation { audience: &self.verifier, nonce: &self.nonce, issued_at_seconds: self.issued_at_seconds };
        sign(key_binding::unsigned(&presented, &terms, &Object::new()).map_err(said)?, &self.holder_key)
    }

    /// Through the JSON serialization and back, where the case asks for it.
    fn carry(&self, presented: String, others: Vec<String>) -> Result<(String, Vec<String>), String> {
        if self.form == Form::Compact {
            return Ok((presented, others));
        }
        let json = match others.as_slice() {
            [] => serialization::flattened(&presented),
            others => serialization::general(&presented, others),
        };
        let text = Value::Object(json.map_err(said)?).to_string();
        let compact = serialization::read(text.as_bytes()).map_err(said)?;
        if (&compact.presented, &compact.others) != (&presented, &others) {
            return Err("another token out of the JSON serialization".to_owned());
        }
        Ok((compact.presented, compact.others))
    }

    fn wanted_binding(&self) -> KeyBinding<'_> {
        let (audience, nonce) = (self.verifier.as_str(), self.nonce.as_str());
        let terms = key_binding::Terms {
            clock: self.clock(),
            expected: Expected::Exactly { audience, nonce },
            age_seconds_max: 60,
        };
        if self.key_binding == Bound::ByHolder { KeyBinding::Required(terms) } else { KeyBinding::NotAsked }
    }

    fn clock(&self) -> Clock {
        Clock { now_seconds: self.issued_at_seconds, skew_seconds: 0 }
    }

    fn verify(&self, presented: &str, key_binding: KeyBinding<'_>) -> Result<Credential, String> {
        let issuers = KeySet::new(self.issuer_keys.iter().map(|key| key.public().clone())).map_err(said)?;
        let context = Context { clock: self.clock(), issuers: &issuers, types: &[TYPE], key_binding };
        credential::verify(presented, &context).map_err(said)
    }
}

/// Salts of a test case need not be secret, only different.
#[derive(Default)]
struct Salts(u128);

impl Salts {
    fn draw(&mut self) -> [u8; 16] {
        self.0 = self.0.wrapping_add(1);
        self.0.to_be_bytes()
    }
}

fn said(refused: Rejection) -> String {
    format!("invalid {}: {}", refused.code(), refused.message)
}

fn sign(unsigned: Unsigned, key: &LocalKey) -> Result<String, String> {
    let signature = key.sign(unsigned.signing_input()).map_err(said)?;
    Ok(unsigned.finish(signature))
}

fn compare(what: &str, came: &Object, wanted: &Object) -> Result<(), String> {
    if came == wanted {
        return Ok(());
    }
    let (came, wanted) = (Value::Object(came.clone()), Value::Object(wanted.clone()));
    Err(format!("others: {what} are {wanted}; {came} came"))
}

fn joined(mut claims: Object, more: &Object) -> Object {
    claims.extend(more.clone());
    claims
}

fn always(name: &str, value: Value) -> Member {
    Member { name: name.to_owned(), value: Marked::Plain(value), visibility: Visibility::Always }
}

fn issuer_keys(keys: Option<&Node>) -> Result<Vec<LocalKey>, String> {
    match keys.and_then(|keys| keys.get("issuer_keys")).map(|node| &node.content) {
        None => Ok(vec![LocalKey::from_random(&ISSUER_SEED).map_err(said)?]),
        Some(Content::Sequence(keys)) => keys.iter().map(key).collect(),
        Some(_) => Err("issuer_keys is no sequence".to_owned()),
    }
}

fn key(jwk: &Node) -> Result<LocalKey, String> {
    LocalKey::from_jwk(&jwk.object().ok_or("a key is a mapping; something else came")?).map_err(said)
}

fn visibility(mark: Mark) -> Visibility {
    match mark {
        Mark::None => Visibility::Always,
        Mark::Selective => Visibility::Selective,
    }
}

/// On a member the mark stands on the key, in a sequence on the element.
fn marked(node: &Node) -> Marked {
    match &node.content {
        Content::Scalar(value, _) => Marked::Plain(value.clone()),
        Content::Sequence(entries) => {
            let elements =
                entries.iter().map(|entry| Element { value: marked(entry), visibility: visibility(entry.mark) });
            Marked::Array(elements.collect())
        }
        Content::Mapping(members) => {
            let members = members.iter().map(|(key, value)| Member {
                name: key.text().unwrap_or_default().to_owned(),
                value: marked(value),
                visibility: visibility(key.mark),
            });
            Marked::Object(members.collect())
        }
    }
}

fn plain(marked: &Marked) -> Object {
    match plain_value(marked) {
        Value::Object(object) => object,
        _ => Object::new(),
    }
}

fn plain_value(marked: &Marked) -> Value {
    match marked {
        Marked::Plain(value) => value.clone(),
        Marked::Array(elements) => elements.iter().map(|element| plain_value(&element.value)).collect(),
        Marked::Object(members) => {
            Value::Object(members.iter().map(|member| (member.name.clone(), plain_value(&member.value))).collect())
        }
    }
}

/// `True`, or anything that the reference takes for it, shows a value; a mapping or a sequence shows it and goes on inside.
fn choice(node: &Node) -> Choice {
    match &node.content {
        Content::Scalar(Value::Null | Value::Bool(false), _) => Choice::Withhold,
        Content::Scalar(..) => Choice::Show,
        Content::Sequence(entries) => Choice::Elements(entries.iter().map(choice).collect()),
        Content::Mapping(members) => {
            let members = members.iter().map(|(key, value)| (key.text().unwrap_or_default().to_owned(), choice(value)));
            Choice::Members(members.collect::<BTreeMap<_, _>>())
        }
    }
}
