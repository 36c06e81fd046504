//! SD-JWT (RFC 9901) without key binding: what AP2 chains are made of. Parsing is section 4, resolving is section 7.1.

use std::collections::BTreeSet;

use crate::base64url;
use crate::digest::HashAlgorithm;
use crate::json::{Json, Members, Place, Tree};
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
        let mut bytes = Vec::new();
        let mut jwt = self.jwt.decode_with(self.text.len(), &mut bytes)?;
        let parse = |text: &&'a str| Disclosure::parse(text, &mut jwt.tree, &mut bytes);
        let disclosures = self.disclosures.iter().map(parse).collect::<Result<_, _>>()?;
        Ok(SdJwt { text: self.text, jwt, disclosures })
    }
}

/// One disclosure: `[salt, value]` in arrays, `[salt, name, value]` in objects (RFC 9901 section 4.2). What it says lies in
/// the tree of its token.
#[derive(Clone, Debug)]
pub struct Disclosure<'a> {
    text: &'a str,
    name: Option<Place>,
    value: Place,
}

impl<'a> Disclosure<'a> {
    fn parse(text: &'a str, tree: &mut Tree, bytes: &mut Vec<u8>) -> Result<Self, Rejection> {
        let malformed = |came: String| {
            let message = format!("a disclosure is base64url of [salt, value] or [salt, name, value]; {came} came");
            Rejection::new(Code::MalformedDisclosure, message)
        };
        base64url::decode_into(text, bytes).ok_or_else(|| malformed(shown(text)))?;
        let array = tree.read(bytes)?;
        let Json::Array(elements) = tree.at(array) else { return Err(malformed("no array".to_owned())) };
        let mut parts = tree.inside(array).map(|place| (place, tree.at(place)));
        match (parts.next(), parts.next(), parts.next(), parts.next()) {
            (Some((_, Json::String(_))), Some((value, _)), None, None) => Ok(Self { text, name: None, value }),
            (Some((_, Json::String(_))), Some((name, Json::String(_))), Some((value, _)), None) => {
                Ok(Self { text, name: Some(name), value })
            }
            _ => Err(malformed(format!("an array of {} with other types or another length", elements.len()))),
        }
    }

    pub fn text(&self) -> &'a str {
        self.text
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

    /// The name of a disclosed member; `None` for an array element.
    pub fn name(&self, disclosure: &Disclosure<'_>) -> Option<&str> {
        disclosure.name.and_then(|name| self.jwt.tree.at(name).as_str())
    }

    pub fn value(&self, disclosure: &Disclosure<'_>) -> Json<'_> {
        self.jwt.tree.at(disclosure.value)
    }

    pub fn algorithm(&self) -> Result<HashAlgorithm, Rejection> {
        HashAlgorithm::of(self.jwt.payload())
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
        let by_digest = by_digest(&self.disclosures, algorithm)?;
        let (payload, tree) = (self.jwt.payload, self.jwt.tree);
        let mut resolver =
            Resolver { tree, by_digest, unknown: BTreeSet::new(), withheld: Vec::new(), delegates: Vec::new() };
        resolver.object(payload, None)?;
        let Resolver { mut tree, by_digest, withheld, delegates, .. } = resolver;
        let unreferenced = by_digest.iter().find_map(|(digest, left)| Some((digest, left.as_ref()?)));
        if let Some((digest, disclosure)) = unreferenced {
            let message =
                format!("each disclosure is referred to by a digest; {} ({digest}) is not", shown(disclosure.text));
            return Err(Rejection::new(Code::UnreferencedDisclosure, message));
        }
        tree.remove(payload, "_sd_alg");
        let delegates = match tree.remove(payload, "delegate_payload").map(|place| tree.at(place)) {
            None => None,
            Some(Json::Array(_)) => Some(delegates),
            Some(other) => {
                let message = format!("delegate_payload is an array; {} came", other.kind());
                return Err(Rejection::new(Code::DelegatePayloadCount, message).at("delegate_payload"));
            }
        };
        Ok(Resolved { tree, claims: payload, delegates, withheld, algorithm })
    }
}

type ByDigest<'a> = Vec<(String, Option<Disclosure<'a>>)>;

/// In the order of their digests, to be searched.
fn by_digest<'a>(disclosures: &[Disclosure<'a>], algorithm: HashAlgorithm) -> Result<ByDigest<'a>, Rejection> {
    let named = |disclosure: &Disclosure<'a>| (algorithm.digest_text(disclosure.text), Some(disclosure.clone()));
    let mut by_digest: ByDigest<'_> = disclosures.iter().map(named).collect();
    by_digest.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
    let twice = by_digest.array_windows().find_map(|[(one, _), (other, left)]| (one == other).then_some(left.as_ref()?));
    match twice {
        None => Ok(by_digest),
        Some(disclosure) => {
            let message = format!("a disclosure is presented once; {} is there twice", shown(disclosure.text));
            Err(Rejection::new(Code::DuplicateDisclosure, message))
        }
    }
}

/// The claims behind an SD-JWT as far as they were disclosed.
#[derive(Clone, Debug)]
pub struct Resolved {
    tree: Tree,
    claims: Place,
    /// The disclosed elements of `delegate_payload`; `None` where the claim is absent.
    pub delegates: Option<Vec<Delegate>>,
    /// Where digests stand whose disclosure was not presented (or that are decoys: the two cannot be told apart).
    pub withheld: Vec<Withheld>,
    pub algorithm: HashAlgorithm,
}

impl Resolved {
    /// Without `_sd`, `_sd_alg` and `delegate_payload`.
    pub fn claims(&self) -> Members<'_> {
        self.tree.members(self.claims)
    }

    pub fn value(&self, delegate: &Delegate) -> Json<'_> {
        self.tree.at(delegate.value)
    }

    /// The members of a delegate that is an object.
    pub(crate) fn mandate(&self, delegate: &Delegate) -> Members<'_> {
        self.tree.members(delegate.value)
    }
}

/// One disclosed element of `delegate_payload`.
#[derive(Clone, Debug)]
pub struct Delegate {
    /// Its digest as the signed payload spells it; `None` for an element that stands there in the clear.
    pub digest: Option<String>,
    value: Place,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Withheld {
    /// An element of the array at this path.
    Element(Vec<String>),
    /// A member of the object at this path.
    Member(Vec<String>),
}

/// Works in place: what was disclosed is linked in where its digest stood.
struct Resolver<'a> {
    tree: Tree,
    /// `None` once it was put in its place.
    by_digest: ByDigest<'a>,
    /// Digests with no disclosure here.
    unknown: BTreeSet<String>,
    withheld: Vec<Withheld>,
    delegates: Vec<Delegate>,
}

/// Where a value stands. Kept on the stack: it is spelled out only where something is withheld.
#[derive(Clone, Copy)]
struct Path<'a> {
    above: Option<&'a Self>,
    step: Step,
    depth: usize,
}

#[derive(Clone, Copy)]
enum Step {
    Member(Place),
    Element(usize),
}

impl<'a> Resolver<'a> {
    fn place(&self, path: Option<&Path<'_>>) -> Vec<String> {
        let mut steps: Vec<String> = std::iter::successors(path, |path| path.above)
            .map(|path| match path.step {
                Step::Member(place) => self.tree.name(place).to_owned(),
                Step::Element(index) => index.to_string(),
            })
            .collect();
        steps.reverse();
        steps
    }

    fn inside(&mut self, step: Step, value: Place, above: Option<&Path<'_>>) -> Result<(), Rejection> {
        let depth = above.map_or(0, |path| path.depth).saturating_add(1);
        if depth > DEPTH_MAX {
            let message = format!("claims nest at most {DEPTH_MAX} levels; disclosures in place, level {depth} came");
            return Err(Rejection::new(Code::TooDeep, message));
        }
        let path = Path { above, step, depth };
        match self.tree.at(value) {
            Json::Object(_) => self.object(value, Some(&path)),
            Json::Array(_) => self.array(value, &path),
            _ => Ok(()),
        }
    }

    fn object(&mut self, object: Place, path: Option<&Path<'_>>) -> Result<(), Rejection> {
        let (mut before, mut digests, mut member) = (None, None, self.tree.first(object));
        while self.tree.is_there(member) {
            let next = self.tree.next(member);
            match self.tree.name(member) {
                "_sd" => {
                    self.tree.link(object, before, next);
                    digests = Some(member);
                }
                "..." => return Err(reserved("...")),
                _ => {
                    self.inside(Step::Member(member), member, path)?;
                    before = Some(member);
                }
            }
            member = next;
        }
        let Some(digests) = digests else { return Ok(()) };
        let came = self.tree.at(digests);
        if came.as_array().is_none() {
            return Err(malformed_digest(&format!("_sd is an array of digests; {} came", came.kind())));
        }
        let mut digest = self.tree.first(digests);
        while self.tree.is_there(digest) {
            match self.look_up(digest)? {
                None => self.withheld.push(Withheld::Member(self.place(path))),
                Some(Disclosure { name: Some(name), value, .. }) => {
                    self.tree.rename(value, name);
                    let name = self.tree.name(value);
                    if matches!(name, "_sd" | "..." | "_sd_alg") {
                        return Err(reserved(name));
                    }
                    self.inside(Step::Member(value), value, path)?;
                    self.tree.link(object, before, value);
                    before = Some(value);
                }
                Some(_) => return Err(wrong_kind("three elements in an object", "two")),
            }
            digest = self.tree.next(digest);
        }
        match self.tree.name_twice(object) {
            None => Ok(()),
            Some(name) => {
                let message = format!("a disclosed claim is new in its object; {} is already there", shown(name));
                Err(Rejection::new(Code::ClaimOverwritten, message).at(name))
            }
        }
    }

    fn array(&mut self, array: Place, path: &Path<'_>) -> Result<(), Rejection> {
        let is_delegates = path.depth == 1
            && matches!(path.step, Step::Member(place) if self.tree.name(place) == "delegate_payload");
        let (mut before, mut element, mut index) = (None, self.tree.first(array), 0_usize);
        while self.tree.is_there(element) {
            let next = self.tree.next(element);
            let step = Step::Element(index);
            let (value, digest) = match self.digest_in(element) {
                None => (Some(element), None),
                Some(digest) => match self.look_up(digest)? {
                    None => {
                        self.withheld.push(Withheld::Element(self.place(Some(path))));
                        (None, None)
                    }
                    Some(Disclosure { name: None, value, .. }) => (Some(value), Some(digest)),
                    Some(_) => return Err(wrong_kind("two elements in an array", "three")),
                },
            };
            if let Some(value) = value {
                self.inside(step, value, Some(path))?;
                self.tree.link(array, before, value);
                before = Some(value);
                if is_delegates {
                    let digest = digest.and_then(|digest| self.tree.at(digest).as_str()).map(str::to_owned);
                    self.delegates.push(Delegate { digest, value });
                }
            }
            self.tree.link(array, before, next);
            (element, index) = (next, index.saturating_add(1));
        }
        Ok(())
    }

    /// The digest in `{"...": digest}`.
    fn digest_in(&self, element: Place) -> Option<Place> {
        let Json::Object(_) = self.tree.at(element) else { return None };
        let only = self.tree.first(element);
        let is_alone = self.tree.is_there(only) && !self.tree.is_there(self.tree.next(only));
        (is_alone && self.tree.name(only) == "...").then_some(only)
    }

    /// The disclosure of a digest, where one was presented; nothing has asked for either before.
    fn look_up(&mut self, digest: Place) -> Result<Option<Disclosure<'a>>, Rejection> {
        let digest = match self.tree.at(digest) {
            Json::String(digest) => digest,
            other => return Err(malformed_digest(&format!("a digest is a string; {} came", other.kind()))),
        };
        let known = self.by_digest.binary_search_by(|(known, _)| known.as_str().cmp(digest));
        let found = match known.ok().and_then(|index| self.by_digest.get_mut(index)) {
            Some((_, left)) => left.take().map(Some),
            None => self.unknown.insert(digest.to_owned()).then_some(None),
        };
        found.ok_or_else(|| {
            let message = format!("a digest occurs once in a token; {} occurs twice", shown(digest));
            Rejection::new(Code::DigestReused, message)
        })
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
