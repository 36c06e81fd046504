//! The JWS JSON serialization of an SD-JWT (RFC 9901 section 8, RFC 7515 section 7.2): flattened with one signature,
//! general with several over the same payload. Both are read into the compact form, which alone is verified: there is one
//! verifier, and what `sd_hash` covers is defined by the compact form.

use serde_json::Value;

use crate::json::{self, Object, kind};
use crate::jws::RawJws;
use crate::limits::{DISCLOSURES_MAX, SIGNATURES_MAX, TOKEN_BYTES_MAX};
use crate::rejection::{Code, Rejection, shown};

/// What a JSON serialization says, in the compact form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compact {
    /// `jwt~d1~…~dn~`, and the KB-JWT behind it where there is one: with the first signature.
    pub presented: String,
    /// The same payload under each further signature, as compact JWTs. Whether they must verify is the caller's policy;
    /// none of them is covered by the key binding.
    pub others: Vec<String>,
}

/// Reads either form. Duplicate members, unknown shapes and disclosures anywhere but beside the first signature are
/// refused.
pub fn read(json: &[u8]) -> Result<Compact, Rejection> {
    if json.len() > TOKEN_BYTES_MAX {
        let message = format!("a token has at most {TOKEN_BYTES_MAX} bytes; this one has {}", json.len());
        return Err(Rejection::new(Code::TokenTooLarge, message));
    }
    let object = json::parse_object(json)?;
    let payload = part(&object, "payload")?;
    let signatures: Vec<&Object> = match (object.get("signatures"), object.get("signature")) {
        (None, Some(_)) => vec![&object],
        (Some(Value::Array(entries)), None) if !entries.is_empty() && entries.len() <= SIGNATURES_MAX => entries
            .iter()
            .map(|entry| entry.as_object().ok_or_else(|| malformed("a signature", kind(entry))))
            .collect::<Result<_, _>>()?,
        (Some(Value::Array(entries)), None) => {
            return Err(malformed(&format!("1 to {SIGNATURES_MAX} signatures"), &entries.len().to_string()));
        }
        _ => return Err(malformed("either `signature` or an array `signatures`", "both, neither or another type")),
    };
    let mut jwts = Vec::with_capacity(signatures.len());
    for signature in &signatures {
        jwts.push(format!("{}.{payload}.{}", part(signature, "protected")?, part(signature, "signature")?));
    }
    let unprotected = signatures.iter().map(|signature| unprotected(signature)).collect::<Result<Vec<_>, _>>()?;
    let mut unprotected = unprotected.into_iter();
    let (disclosures, key_binding) = unprotected.next().unwrap_or_default();
    if unprotected.any(|(disclosures, key_binding)| disclosures.is_some() || key_binding.is_some()) {
        return Err(malformed("disclosures and kb_jwt beside the first signature only", "others"));
    }
    let mut jwts = jwts.into_iter();
    let first = jwts.next().unwrap_or_default();
    let mut presented = disclosures.unwrap_or_default().into_iter().fold(first + "~", |text, next| text + next + "~");
    presented.push_str(key_binding.unwrap_or_default());
    Ok(Compact { presented, others: jwts.collect() })
}

type Unprotected<'a> = (Option<Vec<&'a str>>, Option<&'a str>);

/// `disclosures` and `kb_jwt` of one signature's unprotected header. Any other member there is signed by nobody: it is
/// not looked at, but for one that the protected header has too (RFC 7515 section 7.2.1).
fn unprotected(signature: &Object) -> Result<Unprotected<'_>, Rejection> {
    let header = match signature.get("header") {
        None => return Ok((None, None)),
        Some(Value::Object(header)) => header,
        Some(other) => return Err(malformed("an object `header`", kind(other))),
    };
    let protected = crate::base64url::decode(part(signature, "protected")?).unwrap_or_default();
    let protected = json::parse_object(&protected)?;
    if let Some(name) = header.keys().find(|name| protected.contains_key(*name)) {
        return Err(malformed("a header member once, protected or not", &shown(name)));
    }
    let disclosures = match header.get("disclosures") {
        None => None,
        Some(Value::Array(entries)) if entries.len() <= DISCLOSURES_MAX => {
            let texts = entries.iter().map(|entry| text(entry, "a disclosure"));
            Some(texts.collect::<Result<Vec<_>, _>>()?)
        }
        Some(other) => return Err(malformed(&format!("an array of up to {DISCLOSURES_MAX} disclosures"), kind(other))),
    };
    Ok((disclosures, header.get("kb_jwt").map(|value| text(value, "a KB-JWT")).transpose()?))
}

/// One base64url part. A `.` or `~` inside would be another part of the compact form.
fn part<'a>(object: &'a Object, name: &str) -> Result<&'a str, Rejection> {
    let value = object.get(name).ok_or_else(|| malformed(&format!("`{name}`"), "nothing"))?;
    match text(value, name)? {
        text if text.contains('.') => Err(malformed(&format!("`{name}` in base64url"), &shown(text))),
        text => Ok(text),
    }
}

fn text<'a>(value: &'a Value, what: &str) -> Result<&'a str, Rejection> {
    match value {
        Value::String(text) if !text.is_empty() && !text.contains('~') => Ok(text),
        other => Err(malformed(&format!("{what} as a text without `~`"), kind(other))),
    }
}

fn malformed(wanted: &str, came: &str) -> Rejection {
    let message = format!("the JSON serialization of an SD-JWT has {wanted}; {came} came");
    Rejection::new(Code::MalformedJwt, message)
}

/// The flattened form of a presentation with one signature.
pub fn flattened(presented: &str) -> Result<Object, Rejection> {
    let (payload, mut entry) = first_entry(presented)?;
    entry.insert("payload".to_owned(), payload.into());
    Ok(entry)
}

/// The general form: `others` are compact JWTs of further signers over the same payload.
pub fn general(presented: &str, others: &[String]) -> Result<Object, Rejection> {
    let (payload, first) = first_entry(presented)?;
    let mut signatures = vec![Value::Object(first)];
    for jwt in others {
        let (protected, own, signature) = parts(jwt)?;
        if own != payload {
            return Err(malformed("one payload under all signatures", "another"));
        }
        signatures.push(Value::Object(entry_of(protected, signature)));
    }
    if signatures.len() > SIGNATURES_MAX {
        return Err(malformed(&format!("1 to {SIGNATURES_MAX} signatures"), &signatures.len().to_string()));
    }
    Ok(Object::from_iter([
        ("payload".to_owned(), Value::from(payload)),
        ("signatures".to_owned(), Value::Array(signatures)),
    ]))
}

fn first_entry(presented: &str) -> Result<(&str, Object), Rejection> {
    let mut texts = presented.split('~');
    let (protected, payload, signature) = parts(texts.next().unwrap_or_default())?;
    let mut texts: Vec<&str> = texts.collect();
    let key_binding = texts.pop().ok_or_else(|| malformed("a `~`", "none"))?;
    let mut header = Object::from_iter([("disclosures".to_owned(), Value::from(texts))]);
    if !key_binding.is_empty() {
        header.insert("kb_jwt".to_owned(), key_binding.into());
    }
    let mut entry = entry_of(protected, signature);
    entry.insert("header".to_owned(), header.into());
    Ok((payload, entry))
}

fn entry_of(protected: &str, signature: &str) -> Object {
    Object::from_iter([
        ("protected".to_owned(), Value::from(protected)),
        ("signature".to_owned(), Value::from(signature)),
    ])
}

fn parts(jwt: &str) -> Result<(&str, &str, &str), Rejection> {
    RawJws::split(jwt)?;
    let wrong = || malformed("a compact JWT", "another text");
    let (protected, rest) = jwt.split_once('.').ok_or_else(wrong)?;
    let (payload, signature) = rest.split_once('.').ok_or_else(wrong)?;
    Ok((protected, payload, signature))
}
