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

    /// The segment as presented, without its final `~`.
    pub fn text(&self) -> &'a str {
        self.text
    }

    /// `sd_hash` and `issuer_jwt_hash` by the algorithm that the segment itself names.
    pub(crate) fn sd_hash_by(&self, algorithm: HashAlgorithm) -> String {
        algorithm.digest_parts(&[self.text, "~"])
    }

    pub(crate) fn issuer_jwt_hash_by(&self, algorithm: HashAlgorithm) -> String {
        algorithm.digest_text(self.jwt.text())
    }

    /// The JWT alone.
    pub(crate) fn jwt(&self) -> RawJws<'a> {
        self.jwt
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
        Ok(self.algorithm()?.digest_parts(&[self.text, "~"]))
    }

    /// `issuer_jwt_hash`: over `header.payload.signature` alone.
    pub fn issuer_jwt_hash(&self) -> Result<String, Rejection> {
        Ok(self.algorithm()?.digest_text(self.jwt.text()))
    }

    /// Puts every disclosure in its place (RFC 9901 section 7.1, steps 3 to 5).
    pub fn resolve(&self) -> Result<Resolved, Rejection> {
        self.clone().into_resolved()
    }

    /// The same without a copy: verification is done with the segment then.
    pub(crate) fn into_resolved(self) -> Result<Resolved, Rejection> {
        let algorithm = self.algorithm()?;
        let mut resolver = Resolver::default();
        for disclosure in self.disclosures {
            let text = disclosure.text;
            if resolver.by_digest.insert(algorithm.digest_text(text), Some(disclosure)).is_some() {
                let message = format!("a disclosure is presented once; {} is there twice", shown(text));
                return Err(Rejection::new(Code::DuplicateDisclosure, message));
            }
        }
        let mut claims = self.jwt.payload;
        resolver.object(&mut claims, None)?;
        let unreferenced = resolver.by_digest.iter().find_map(|(digest, left)| Some((digest, left.as_ref()?)));
        if let Some((digest, disclosure)) = unreferenced {
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

/// Works in place: what was disclosed is moved to where its digest stood.
#[derive(Default)]
struct Resolver<'a> {
    /// `None` once it was put in its place.
    by_digest: BTreeMap<String, Option<Disclosure<'a>>>,
    /// Digests with no disclosure here.
    unknown: BTreeSet<String>,
    withheld: Vec<Withheld>,
    delegates: Vec<Option<String>>,
}

/// Where a value stands. Kept on the stack: it is spelled out only where something is withheld.
#[derive(Clone, Copy)]
struct Path<'a> {
    above: Option<&'a Self>,
    step: Step<'a>,
    depth: usize,
}

#[derive(Clone, Copy)]
enum Step<'a> {
    Member(&'a str),
    Element(usize),
}

fn place(path: Option<&Path<'_>>) -> Vec<String> {
    let mut steps: Vec<String> = std::iter::successors(path, |path| path.above)
        .map(|path| match path.step {
            Step::Member(name) => name.to_owned(),
            Step::Element(index) => index.to_string(),
        })
        .collect();
    steps.reverse();
    steps
}

impl<'a> Resolver<'a> {
    fn inside(&mut self, step: Step<'_>, value: &mut Value, above: Option<&Path<'_>>) -> Result<(), Rejection> {
        let depth = above.map_or(0, |path| path.depth).saturating_add(1);
        if depth > DEPTH_MAX {
            let message = format!("claims nest at most {DEPTH_MAX} levels; disclosures in place, level {depth} came");
            return Err(Rejection::new(Code::TooDeep, message));
        }
        let path = Path { above, step, depth };
        match value {
            Value::Object(object) => self.object(object, Some(&path)),
            Value::Array(array) => self.array(array, &path),
            _ => Ok(()),
        }
    }

    fn object(&mut self, object: &mut Object, path: Option<&Path<'_>>) -> Result<(), Rejection> {
        for (name, value) in object.iter_mut().filter(|(name, _)| *name != "_sd") {
            if name == "..." {
                return Err(reserved(name));
            }
            self.inside(Step::Member(name), value, path)?;
        }
        let digests = match object.remove("_sd") {
            None => return Ok(()),
            Some(Value::Array(digests)) => digests,
            Some(other) => return Err(malformed_digest(&format!("_sd is an array of digests; {} came", kind(&other)))),
        };
        for digest in digests {
            let (_, Some(disclosure)) = self.look_up(digest)? else {
                self.withheld.push(Withheld::Member(place(path)));
                continue;
            };
            let Disclosure { name: Some(name), mut value, .. } = disclosure else {
                return Err(wrong_kind("three elements in an object", "two"));
            };
            if matches!(name.as_str(), "_sd" | "..." | "_sd_alg") {
                return Err(reserved(&name));
            }
            self.inside(Step::Member(&name), &mut value, path)?;
            if object.contains_key(&name) {
                let message = format!("a disclosed claim is new in its object; {} is already there", shown(&name));
                return Err(Rejection::new(Code::ClaimOverwritten, message).at(name));
            }
            object.insert(name, value);
        }
        Ok(())
    }

    fn array(&mut self, array: &mut Vec<Value>, path: &Path<'_>) -> Result<(), Rejection> {
        let is_delegates = path.depth == 1 && matches!(path.step, Step::Member("delegate_payload"));
        let elements = std::mem::take(array);
        array.reserve(elements.len());
        for (index, mut element) in elements.into_iter().enumerate() {
            let step = Step::Element(index);
            let digest = match &mut element {
                Value::Object(object) if object.len() == 1 => object.remove("..."),
                _ => None,
            };
            let Some(digest) = digest else {
                self.inside(step, &mut element, Some(path))?;
                array.push(element);
                if is_delegates {
                    self.delegates.push(None);
                }
                continue;
            };
            let (digest, Some(disclosure)) = self.look_up(digest)? else {
                self.withheld.push(Withheld::Element(place(Some(path))));
                continue;
            };
            let Disclosure { name: None, mut value, .. } = disclosure else {
                return Err(wrong_kind("two elements in an array", "three"));
            };
            self.inside(step, &mut value, Some(path))?;
            array.push(value);
            if is_delegates {
                self.delegates.push(Some(digest));
            }
        }
        Ok(())
    }

    /// The digest, and its disclosure where one was presented; nothing has asked for either before.
    fn look_up(&mut self, digest: Value) -> Result<(String, Option<Disclosure<'a>>), Rejection> {
        let Value::String(digest) = digest else {
            return Err(malformed_digest(&format!("a digest is a string; {} came", kind(&digest))));
        };
        let reused = |digest: &str| {
            let message = format!("a digest occurs once in a token; {} occurs twice", shown(digest));
            Err(Rejection::new(Code::DigestReused, message))
        };
        match self.by_digest.get_mut(&digest) {
            Some(left) => match left.take() {
                Some(disclosure) => Ok((digest, Some(disclosure))),
                None => reused(&digest),
            },
            None if self.unknown.insert(digest.clone()) => Ok((digest, None)),
            None => reused(&digest),
        }
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
