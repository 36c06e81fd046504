//! SD-JWT at large: what is concealed comes back as far as it is shown, in each form; what is broken does not.

use std::collections::BTreeMap;

use mandates::base64url;
use mandates::clock::Clock;
use mandates::credential::{self, Context, KeyBinding};
use mandates::digest::HashAlgorithm;
use mandates::disclosure::{self, Choice, Element, Marked, Member, Terms, Visibility};
use mandates::json::Object;
use mandates::key_binding::{self, Presentation};
use mandates::keys::LocalKey;
use mandates::rejection::Code;
use mandates::sd_jwt::SdJwt;
use mandates::serialization;
use mandates::verify::Expected;
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::cast::{AUDIENCE, NONCE, NOW, agent, keys, provider, signed, stranger};

const TYPE: &str = "dc+sd-jwt";
const SHA256: Terms = Terms { algorithm: HashAlgorithm::Sha256, decoys: 0 };

fn salts() -> impl FnMut() -> [u8; 16] {
    let mut count = 0_u128;
    move || {
        count += 1;
        count.to_be_bytes()
    }
}

fn selective(name: &str, value: Marked) -> Member {
    Member { name: name.to_owned(), value, visibility: Visibility::Selective }
}

fn always(name: &str, value: Marked) -> Member {
    Member { visibility: Visibility::Always, ..selective(name, value) }
}

fn element(value: Marked, visibility: Visibility) -> Element {
    Element { value, visibility }
}

fn plain(value: Value) -> Marked {
    Marked::Plain(value)
}

/// `{iss, cnf, name (sd), address (sd): {city (sd), zip}, nations: [DE (sd), [US (sd), CA], FR (sd)]}`
fn claims() -> Vec<Member> {
    let nations = Marked::Array(vec![
        element(plain(json!("DE")), Visibility::Selective),
        element(
            Marked::Array(vec![
                element(plain(json!("US")), Visibility::Selective),
                element(plain(json!("CA")), Visibility::Always),
            ]),
            Visibility::Always,
        ),
        element(plain(json!("FR")), Visibility::Selective),
    ]);
    let address = Marked::Object(vec![selective("city", plain(json!("Bonn"))), always("zip", plain(json!("53111")))]);
    vec![
        always("iss", plain(json!("https://issuer.example"))),
        always("cnf", plain(json!({"jwk": agent().public().to_jwk()}))),
        selective("name", plain(json!("Ada"))),
        selective("address", address),
        always("nations", nations),
    ]
}

fn header() -> Object {
    Object::from_iter([("alg".to_owned(), json!("ES256")), ("typ".to_owned(), json!(TYPE))])
}

fn issued(claims: &[Member], terms: &Terms) -> String {
    signed(disclosure::conceal(claims, terms, &mut salts()).unwrap().unsigned(&header()), &provider())
}

fn required() -> KeyBinding<'static> {
    KeyBinding::Required(key_binding::Terms {
        clock: Clock { now_seconds: NOW, skew_seconds: 0 },
        expected: Expected::Exactly { audience: AUDIENCE, nonce: NONCE },
        age_seconds_max: 60,
    })
}

fn judge(token: &str, key_binding: KeyBinding<'_>) -> Result<Object, Code> {
    let issuers = keys(&provider());
    let clock = Clock { now_seconds: NOW, skew_seconds: 0 };
    let context = Context { clock, issuers: &issuers, types: &[TYPE], key_binding };
    credential::verify(token, &context)
        .map(|credential| credential.resolved.claims().to_object())
        .map_err(|refused| refused.code)
}

fn bound(presented: &str, key: &LocalKey) -> String {
    let terms = Presentation { audience: AUDIENCE, nonce: NONCE, issued_at_seconds: NOW - 1 };
    signed(key_binding::unsigned(presented, &terms, &Object::new()).unwrap(), key)
}

fn members(choices: &[(&str, Choice)]) -> Choice {
    let choices = choices.iter().map(|(name, choice)| ((*name).to_owned(), choice.clone()));
    Choice::Members(choices.collect::<BTreeMap<_, _>>())
}

#[test]
fn names_and_depths_that_would_mislead_are_not_issued() {
    let code = |claims: &[Member]| disclosure::conceal(claims, &SHA256, &mut salts()).map_err(|refused| refused.code);
    for name in ["_sd", "...", "_sd_alg"] {
        assert_eq!(code(&[always(name, plain(json!(1)))]), Err(Code::ReservedClaimName), "{name}");
        assert_eq!(code(&[selective(name, plain(json!(1)))]), Err(Code::ReservedClaimName), "{name}");
        assert_eq!(code(&[selective("a", plain(json!([{"b": {name: 1}}])))]), Err(Code::ReservedClaimName), "{name}");
    }
    assert_eq!(code(&[selective("a", plain(json!(1))), always("a", plain(json!(1)))]), Err(Code::DuplicateJsonKey));
    let many = (0..1025).map(|n| selective(&n.to_string(), plain(json!(n)))).collect::<Vec<_>>();
    assert_eq!(code(&many), Err(Code::TooManyDisclosures));
    let deep = (0..40).fold(plain(json!(1)), |inner, _| Marked::Array(vec![element(inner, Visibility::Selective)]));
    assert_eq!(code(&[always("a", deep)]), Err(Code::TooDeep));
    let decoys = Terms { decoys: 65, ..SHA256 };
    let refused = disclosure::conceal(&claims(), &decoys, &mut salts());
    assert_eq!(refused.unwrap_err().code, Code::TooManyDisclosures);
}

#[test]
fn a_holder_shows_what_is_chosen() {
    for algorithm in [HashAlgorithm::Sha256, HashAlgorithm::Sha384, HashAlgorithm::Sha512] {
        for decoys in [0, 1, 7] {
            let token = issued(&claims(), &Terms { algorithm, decoys });
            let all = judge(&token, KeyBinding::NotAsked).unwrap();
            assert_eq!(all["address"], json!({"city": "Bonn", "zip": "53111"}));
            assert_eq!(all["nations"], json!(["DE", ["US", "CA"], "FR"]));
            let shown = |choice: &Choice| {
                let presented = disclosure::present(&token, choice).unwrap();
                judge(&presented, KeyBinding::NotAsked).unwrap()
            };
            let nothing = shown(&Choice::Withhold);
            assert_eq!((nothing.get("name"), &nothing["nations"]), (None, &json!([["CA"]])));
            let some = shown(&members(&[
                ("address", Choice::Show),
                (
                    "nations",
                    Choice::Elements(vec![Choice::Withhold, Choice::Elements(vec![Choice::Show]), Choice::Show]),
                ),
            ]));
            assert_eq!((some.get("name"), &some["address"]), (None, &json!({"zip": "53111"})));
            assert_eq!(some["nations"], json!([["US", "CA"], "FR"]));
            let deep = shown(&members(&[("address", members(&[("city", Choice::Show)]))]));
            assert_eq!(deep["address"], json!({"city": "Bonn", "zip": "53111"}));
        }
    }
}

#[test]
fn what_is_withheld_stands_nowhere_in_the_token() {
    let presented = disclosure::present(&issued(&claims(), &SHA256), &Choice::Withhold).unwrap();
    assert_eq!(presented.matches('~').count(), 1);
    let payload = presented.split('.').nth(1).and_then(mandates::base64url::decode).unwrap();
    let payload = String::from_utf8(payload).unwrap();
    for hidden in ["Ada", "name", "address", "Bonn", "DE", "US", "FR"] {
        assert!(!payload.contains(&format!("\"{hidden}\"")), "{hidden}: {payload}");
    }
}

#[test]
fn decoys_are_not_to_be_told_from_what_is_withheld() {
    let token = issued(&claims(), &Terms { decoys: 3, ..SHA256 });
    let payload = token.split('.').nth(1).and_then(mandates::base64url::decode).unwrap();
    let payload: Value = serde_json::from_slice(&payload).unwrap();
    let digests: Vec<&str> = payload["_sd"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    assert_eq!(digests.len(), 5);
    assert!(digests.is_sorted() && digests.iter().all(|digest| digest.len() == 43));
    assert_eq!(payload["nations"].as_array().unwrap().len(), 6);
}

#[test]
fn key_binding_holds_the_presentation_together() {
    let token = issued(&claims(), &SHA256);
    let presented = disclosure::present(&token, &members(&[("name", Choice::Show)])).unwrap();
    let whole = bound(&presented, &agent());
    assert_eq!(judge(&whole, required()).unwrap()["name"], json!("Ada"));
    assert_eq!(judge(&whole, KeyBinding::NotAsked), Err(Code::FinalTildeMissing));
    assert_eq!(judge(&presented, required()), Err(Code::KeyBindingMissing));
    assert_eq!(judge(&bound(&presented, &stranger()), required()), Err(Code::SignatureInvalid));
    let (jwt, rest) = whole.split_once('~').unwrap();
    let (_, binding) = rest.split_once('~').unwrap();
    assert_eq!(judge(&format!("{jwt}~{binding}"), required()), Err(Code::SdHashMismatch), "a claim withheld after");
    let more = token.rsplit('~').nth(1).unwrap();
    assert_eq!(judge(&format!("{presented}{more}~{binding}"), required()), Err(Code::SdHashMismatch), "one added");
    let terms = Presentation { audience: "another", nonce: NONCE, issued_at_seconds: NOW - 1 };
    let elsewhere = signed(key_binding::unsigned(&presented, &terms, &Object::new()).unwrap(), &agent());
    assert_eq!(judge(&elsewhere, required()), Err(Code::AudMismatch));
    let unheld = issued(&claims()[2..], &SHA256);
    let terms = Presentation { audience: AUDIENCE, nonce: NONCE, issued_at_seconds: NOW };
    assert_eq!(key_binding::unsigned(&unheld, &terms, &Object::new()).unwrap_err().code, Code::CnfMissing);
}

#[test]
fn the_json_forms_say_what_the_compact_one_says() {
    let concealed = disclosure::conceal(&claims(), &SHA256, &mut salts()).unwrap();
    let token = signed(concealed.unsigned(&header()), &provider());
    let other = signed(concealed.unsigned(&header()), &agent());
    let other = other.split('~').next().unwrap().to_owned();
    let presented = bound(&disclosure::present(&token, &members(&[("name", Choice::Show)])).unwrap(), &agent());
    let flattened = Value::Object(serialization::flattened(&presented).unwrap());
    let general = Value::Object(serialization::general(&presented, std::slice::from_ref(&other)).unwrap());
    for json in [&flattened, &general] {
        let compact = serialization::read(json.to_string().as_bytes()).unwrap();
        assert_eq!(compact.presented, presented);
        assert_eq!(judge(&compact.presented, required()).unwrap()["name"], json!("Ada"));
    }
    assert_eq!(serialization::read(general.to_string().as_bytes()).unwrap().others, [other]);
    assert_eq!(
        serialization::general(&presented, &[issued(&claims()[..1], &SHA256)]).unwrap_err().code,
        Code::MalformedJwt
    );
    let broken = |base: &Value, pointer: &str, value: Option<Value>| {
        let mut base = base.clone();
        let (parent, name) = pointer.rsplit_once('/').unwrap();
        let parent = base.pointer_mut(parent).unwrap().as_object_mut().unwrap();
        match value {
            None => parent.remove(name),
            Some(value) => parent.insert(name.to_owned(), value),
        };
        serialization::read(base.to_string().as_bytes()).map_err(|refused| refused.code)
    };
    for (base, pointer, value) in [
        (&flattened, "/payload", None),
        (&flattened, "/protected", None),
        (&flattened, "/signature", None),
        (&flattened, "/payload", Some(json!("a.b"))),
        (&flattened, "/payload", Some(json!("a~b"))),
        (&flattened, "/header", Some(json!([]))),
        (&flattened, "/header/disclosures", Some(json!("abc"))),
        (&flattened, "/header/disclosures", Some(json!([1]))),
        (&flattened, "/header/disclosures", Some(json!(["abc~def"]))),
        (&flattened, "/header/kb_jwt", Some(json!(""))),
        (&flattened, "/header/alg", Some(json!("ES256"))),
        (&flattened, "/signatures", Some(json!([]))),
        (&general, "/signatures", Some(json!([]))),
        (&general, "/signatures", Some(json!([1]))),
        (&general, "/signatures/1/header", Some(json!({"disclosures": []}))),
        (&general, "/signatures/1/header", Some(json!({"kb_jwt": "a.b.c"}))),
        (&general, "/signatures/0/protected", None),
    ] {
        assert_eq!(broken(base, pointer, value.clone()), Err(Code::MalformedJwt), "{pointer} {value:?}");
    }
    let twice = flattened.to_string().replacen('{', r#"{"payload":"e30","#, 1);
    assert_eq!(serialization::read(twice.as_bytes()).unwrap_err().code, Code::DuplicateJsonKey);
    let hidden = broken(&flattened, "/header/disclosures", Some(json!([]))).unwrap();
    assert_eq!(judge(&hidden.presented, required()), Err(Code::SdHashMismatch));
}

fn any_marked() -> impl Strategy<Value = Marked> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i32>().prop_map(Value::from),
        "[a-z~.\\PC]{0,8}".prop_map(Value::from),
    ];
    leaf.prop_map(Marked::Plain).prop_recursive(3, 24, 4, |inner| {
        let seen = prop_oneof![Just(Visibility::Always), Just(Visibility::Selective)];
        let element = (inner, seen);
        prop_oneof![
            prop::collection::vec(element.clone().prop_map(|(value, visibility)| Element { value, visibility }), 0..4)
                .prop_map(Marked::Array),
            prop::collection::btree_map("[a-e]{1,2}", element, 0..4).prop_map(|members| Marked::Object(
                members.into_iter().map(|(name, (value, visibility))| Member { name, value, visibility }).collect()
            )),
        ]
    })
}

/// What remains of a value where nothing selective is shown.
fn open_part(marked: &Marked) -> Value {
    let is_open = |visibility: Visibility| visibility == Visibility::Always;
    match marked {
        Marked::Plain(value) => value.clone(),
        Marked::Array(entries) => {
            entries.iter().filter(|entry| is_open(entry.visibility)).map(|entry| open_part(&entry.value)).collect()
        }
        Marked::Object(members) => Value::Object(
            members
                .iter()
                .filter(|member| is_open(member.visibility))
                .map(|member| (member.name.clone(), open_part(&member.value)))
                .collect(),
        ),
    }
}

fn whole(marked: &Marked) -> Value {
    match marked {
        Marked::Plain(value) => value.clone(),
        Marked::Array(entries) => entries.iter().map(|entry| whole(&entry.value)).collect(),
        Marked::Object(members) => {
            Value::Object(members.iter().map(|member| (member.name.clone(), whole(&member.value))).collect())
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn everything_comes_back_and_nothing_selective_without_its_disclosure(value in any_marked(), decoys in 0_usize..3) {
        let claims = [always("root", value.clone())];
        let token = issued(&claims, &Terms { decoys, ..SHA256 });
        prop_assert_eq!(&judge(&token, KeyBinding::NotAsked).unwrap()["root"], &whole(&value));
        let nothing = disclosure::present(&token, &Choice::Withhold).unwrap();
        prop_assert_eq!(&judge(&nothing, KeyBinding::NotAsked).unwrap()["root"], &open_part(&value));
    }
}

/// What is behind a digest may not change what stands in the clear, nor what another disclosure says.
#[test]
fn a_disclosed_claim_is_new_in_its_object() {
    let part = |json: &str| base64url::encode(json.as_bytes());
    let resolved = |claims: &str, disclosed: &[&str]| {
        let disclosed: Vec<String> = disclosed.iter().map(|json| part(json)).collect();
        let digests: Vec<String> = disclosed.iter().map(|text| HashAlgorithm::Sha256.digest_text(text)).collect();
        let payload = claims.replace("SD", &json!(digests).to_string());
        let token = format!("{}.{}.~{}~", part(r#"{"alg":"ES256"}"#), part(&payload), disclosed.join("~"));
        let resolved = SdJwt::parse(&token).unwrap().resolve();
        resolved.map(|resolved| Value::Object(resolved.claims().to_object())).map_err(|refused| refused.code)
    };
    let (one, other) = (r#"["s","b",1]"#, r#"["t","b",2]"#);
    for (claims, disclosed) in [
        (r#"{"b":0,"_sd":SD}"#, &[one][..]),
        (r#"{"_sd":SD,"z":0,"b":null}"#, &[one]),
        (r#"{"_sd":SD}"#, &[one, other]),
        (r#"{"in":{"a":1,"_sd":SD,"b":0}}"#, &[one]),
        (r#"{"in":[{"_sd":SD}]}"#, &[one, other]),
    ] {
        assert_eq!(resolved(claims, disclosed), Err(Code::ClaimOverwritten), "{claims}");
    }
    assert_eq!(resolved(r#"{"in":{"_sd":SD},"b":0}"#, &[one]), Ok(json!({ "in": { "b": 1 }, "b": 0 })));
}
