//! SD-JWT (RFC 9901) without key binding: what AP2 chains are made of. Parsing is section 4, resolving is section 7.1.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::base64url;
use crate::digest::HashAlgorithm;
use crate::json::{self, Object, kind};
use crate::jws::{Jws, RawJws};
use crate::limits::DEPTH_MAX;
use crate::rejection::{Code, Rejection, shown};

/// `jwt~d1~…~dn`, its final `~` implied: the text of one segment, split but not decoded.
#[derive(Clone, Debug)]
pub struct RawSdJwt<'a> {
    text: &'a str,
    jwt: RawJws<'a>,
    disclosures: Vec<&'a str>,
}

impl<'a> RawSdJwt<'a> {
    /// `text` without its final `~`.
    pub fn split(text: &'a str) -> Result<Self, Rejection> {
        let mut parts = text.split('~');
        let jwt = RawJws::split(parts.next().unwrap_or_default())?;
        let disclosures: Vec<&str> = parts.collect();
        if disclosures.iter().any(|disclosure| disclosure.is_empty()) {
            let message = format!("each disclosure has characters; an empty one stands among {}", disclosures.len());
            return Err(Rejection::new(Code::EmptyDisclosure, message));
        }
        Ok(Self { text, jwt, disclosures })
    }

    pub fn disclosure_count(&self) -> usize {
        self.disclosures.len()
    }

    pub fn decode(&self) -> Result<SdJwt<'a>, Rejection> {
        let disclosures = self.disclosures.iter().map(|text| Disclosure::parse(text)).collect::<Result<_, _>>()?;
        Ok(SdJwt { text: self.text, jwt: self.jwt.decode()?, disclosures })
    }
}

/// One disclosure: `[salt, value]` in arrays, `[salt, name, value]` in objects (RFC 9901 section 4.2).
#[derive(Clone, Debug)]
pub struct Disclosure<'a> {
    text: &'a str,
    name: Option<String>,
    value: Value,
}

impl<'a> Disclosure<'a> {
    fn parse(text: &'a str) -> Result<Self, Rejection> {
        let malformed = |came: String| {
            let message = format!("a disclosure is base64url of [salt, value] or [salt, name, value]; {came} came");
            Rejection::new(Code::MalformedDisclosure, message)
        };
        let bytes = base64url::decode(text).ok_or_else(|| malformed(shown(text)))?;
        let Value::Array(elements) = json::parse(&bytes)? else { return Err(malformed("no array".to_owned())) };
        let count = elements.len();
        let mut elements = elements.into_iter();
        let parts = (elements.next(), elements.next(), elements.next(), elements.next());
        match parts {
            (Some(Value::String(_)), Some(value), None, None) => Ok(Self { text, name: None, value }),
            (Some(Value::String(_)), Some(Value::String(name)), Some(value), None) => {
                Ok(Self { text, name: Some(name), value })
            }
            _ => Err(malformed(format!("an array of {count} with other types or another length"))),
        }
    }

    pub fn text(&self) -> &'a str {
        self.text
    }

    /// The member's name; `None` for an array element.
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    pub fn value(&self) -> &Value {
        &self.value
    }
}

/// A decoded SD-JWT whose signature nobody has checked yet.
#[derive(Clone, Debug)]
pub struct SdJwt<'a> {
    text: &'a str,
    pub jwt: Jws<'a>,
    pub disclosures: Vec<Disclosure<'a>>,
}

impl<'a> SdJwt<'a> {
    /// A token of its own, with its final `~`. A key-binding JWT after it is not taken: AP2 never uses one, and one that
    /// nobody verifies is a hole.
    pub fn parse(token: &'a str) -> Result<Self, Rejection> {
        let Some(text) = token.strip_suffix('~') else {
            let message = "an SD-JWT ends with `~`; this one has something after its last `~`, or none";
            return Err(Rejection::new(Code::FinalTildeMissing, message));
        };
        RawSdJwt::split(text)?.decode()
    }

    /// The segment as presented, with its final `~`.
    pub fn presented(&self) -> String {
        format!("{}~", self.text)
    }

    pub fn algorithm(&self) -> Result<HashAlgorithm, Rejection> {
        HashAlgorithm::of(&self.jwt.payload)
    }

    /// `sd_hash`: over the whole segment as presented.
    pub fn sd_hash(&self) -> Result<String, Rejection> {
        Ok(self.algorithm()?.digest_text(&self.presented()))
    }

    /// `issuer_jwt_hash`: over `header.payload.signature` alone.
    pub fn issuer_jwt_hash(&self) -> Result<String, Rejection> {
        Ok(self.algorithm()?.digest_text(self.jwt.text()))
    }

    /// Puts every disclosure in its place (RFC 9901 section 7.1, steps 3 to 5).
    pub fn resolve(&self) -> Result<Resolved, Rejection> {
        let algorithm = self.algorithm()?;
        let mut by_digest = BTreeMap::new();
        for disclosure in &self.disclosures {
            if by_digest.insert(algorithm.digest_text(disclosure.text), disclosure).is_some() {
                let message = format!("a disclosure is presented once; {} is there twice", shown(disclosure.text));
                return Err(Rejection::new(Code::DuplicateDisclosure, message));
            }
        }
        let mut resolver = Resolver {
            by_digest,
            seen: BTreeSet::new(),
            path: Vec::new(),
            withheld: Vec::new(),
            delegates: Vec::new(),
        };
        let mut claims = resolver.object(&self.jwt.payload)?;
        if let Some((digest, disclosure)) =
            resolver.by_digest.iter().find(|(digest, _)| !resolver.seen.contains(*digest))
        {
            let message =
                format!("each disclosure is referred to by a digest; {} ({digest}) is not", shown(disclosure.text));
            return Err(Rejection::new(Code::UnreferencedDisclosure, message));
        }
        claims.remove("_sd_alg");
        let delegates = match claims.remove("delegate_payload") {
            None => None,
            Some(Value::Array(elements)) => {
                let delegates = elements.into_iter().zip(resolver.delegates);
                Some(delegates.map(|(value, digest)| Delegate { digest, value }).collect())
            }
            Some(other) => {
                let message = format!("delegate_payload is an array; {} came", kind(&other));
                return Err(Rejection::new(Code::DelegatePayloadCount, message).at("delegate_payload"));
            }
        };
        Ok(Resolved { claims, delegates, withheld: resolver.withheld, algorithm })
    }
}

/// The claims behind an SD-JWT as far as they were disclosed.
#[derive(Clone, Debug)]
pub struct Resolved {
    /// Without `_sd`, `_sd_alg` and `delegate_payload`.
    pub claims: Object,
    /// The disclosed elements of `delegate_payload`; `None` where the claim is absent.
    pub delegates: Option<Vec<Delegate>>,
    /// Where digests stand whose disclosure was not presented (or that are decoys: the two cannot be told apart).
    pub withheld: Vec<Withheld>,
    pub algorithm: HashAlgorithm,
}

/// One disclosed element of `delegate_payload`.
#[derive(Clone, Debug)]
pub struct Delegate {
    /// Its digest as the signed payload spells it; `None` for an element that stands there in the clear.
    pub digest: Option<String>,
    pub value: Value,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Withheld {
    /// An element of the array at this path.
    Element(Vec<String>),
    /// A member of the object at this path.
    Member(Vec<String>),
}

struct Resolver<'a> {
    by_digest: BTreeMap<String, &'a Disclosure<'a>>,
    seen: BTreeSet<String>,
    path: Vec<String>,
    withheld: Vec<Withheld>,
    delegates: Vec<Option<String>>,
}

impl<'a> Resolver<'a> {
    fn value(&mut self, value: &Value) -> Result<Value, Rejection> {
        if self.path.len() > DEPTH_MAX {
            let message =
                format!("claims nest at most {DEPTH_MAX} levels; disclosures in place, level {} came", self.path.len());
            return Err(Rejection::new(Code::TooDeep, message));
        }
        match value {
            Value::Object(object) => self.object(object).map(Value::Object),
            Value::Array(array) => self.array(array).map(Value::Array),
            plain => Ok(plain.clone()),
        }
    }

    fn object(&mut self, object: &Object) -> Result<Object, Rejection> {
        let mut out = Object::new();
        for (name, value) in object.iter().filter(|(name, _)| *name != "_sd") {
            if name == "..." {
                return Err(reserved(name));
            }
            out.insert(name.clone(), self.inside(name, value)?);
        }
        let digests = match object.get("_sd") {
            None => return Ok(out),
            Some(Value::Array(digests)) => digests,
            Some(other) => return Err(malformed_digest(&format!("_sd is an array of digests; {} came", kind(other)))),
        };
        for digest in digests {
            let Some(disclosure) = self.look_up(digest)? else {
                self.withheld.push(Withheld::Member(self.path.clone()));
                continue;
            };
            let Some(name) = &disclosure.name else { return Err(wrong_kind("three elements in an object", "two")) };
            if matches!(name.as_str(), "_sd" | "..." | "_sd_alg") {
                return Err(reserved(name));
            }
            let value = self.inside(name, &disclosure.value)?;
            if out.insert(name.clone(), value).is_some() {
                let message = format!("a disclosed claim is new in its object; {} is already there", shown(name));
                return Err(Rejection::new(Code::ClaimOverwritten, message).at(name.clone()));
            }
        }
        Ok(out)
    }

    fn array(&mut self, array: &[Value]) -> Result<Vec<Value>, Rejection> {
        let is_delegates = matches!(self.path.as_slice(), [name] if name == "delegate_payload");
        let mut out = Vec::with_capacity(array.len());
        for (index, element) in array.iter().enumerate() {
            let digest = match element {
                Value::Object(object) if object.len() == 1 => object.get("..."),
                _ => None,
            };
            let step = index.to_string();
            let Some(digest) = digest else {
                out.push(self.inside(&step, element)?);
                if is_delegates {
                    self.delegates.push(None);
                }
                continue;
            };
            let Some(disclosure) = self.look_up(digest)? else {
                self.withheld.push(Withheld::Element(self.path.clone()));
                continue;
            };
            if disclosure.name.is_some() {
                return Err(wrong_kind("two elements in an array", "three"));
            }
            out.push(self.inside(&step, &disclosure.value)?);
            if is_delegates {
                self.delegates.push(digest.as_str().map(str::to_owned));
            }
        }
        Ok(out)
    }

    fn inside(&mut self, step: &str, value: &Value) -> Result<Value, Rejection> {
        self.path.push(step.to_owned());
        let resolved = self.value(value);
        self.path.pop();
        resolved
    }

    fn look_up(&mut self, digest: &Value) -> Result<Option<&'a Disclosure<'a>>, Rejection> {
        let Value::String(digest) = digest else {
            return Err(malformed_digest(&format!("a digest is a string; {} came", kind(digest))));
        };
        if !self.seen.insert(digest.clone()) {
            let message = format!("a digest occurs once in a token; {} occurs twice", shown(digest));
            return Err(Rejection::new(Code::DigestReused, message));
        }
        Ok(self.by_digest.get(digest).copied())
    }
}

pub(crate) fn reserved(name: &str) -> Rejection {
    let message = format!("a claim is not called `_sd`, `_sd_alg` or `...`; {} came", shown(name));
    Rejection::new(Code::ReservedClaimName, message).at(name)
}

fn malformed_digest(message: &str) -> Rejection {
    Rejection::new(Code::DigestMalformed, message)
}

fn wrong_kind(expected: &str, came: &str) -> Rejection {
    Rejection::new(Code::DisclosureWrongKind, format!("a disclosure has {expected}; one with {came} came"))
}
