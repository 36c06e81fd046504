//! Disclosures into their places (RFC 9901 section 7.1, step 3).

use std::collections::BTreeSet;

use super::{Delegate, Disclosure, Withheld, reserved};
use crate::digest::HashAlgorithm;
use crate::json::{Json, Place, Tree};
use crate::limits::DEPTH_MAX;
use crate::rejection::{Code, Rejection, shown};

type ByDigest<'a> = Vec<(String, Option<Disclosure<'a>>)>;

/// Works in place: what was disclosed is linked in where its digest stood.
pub(super) struct Resolver<'a> {
    pub tree: Tree,
    /// `None` once it was put in its place.
    by_digest: ByDigest<'a>,
    /// Digests with no disclosure here.
    unknown: BTreeSet<String>,
    pub withheld: Vec<Withheld>,
    pub delegates: Vec<Delegate>,
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
    pub(super) fn new(tree: Tree, disclosures: &[Disclosure<'a>], algorithm: HashAlgorithm) -> Result<Self, Rejection> {
        let by_digest = by_digest(disclosures, algorithm)?;
        Ok(Self { tree, by_digest, unknown: BTreeSet::new(), withheld: Vec::new(), delegates: Vec::new() })
    }

    /// All of the payload; nothing is left over then.
    pub(super) fn resolve(&mut self, payload: Place) -> Result<(), Rejection> {
        self.object(payload, None)?;
        match self.by_digest.iter().find_map(|(digest, left)| Some((digest, left.as_ref()?))) {
            None => Ok(()),
            Some((digest, Disclosure { text, .. })) => {
                let message = format!("each disclosure is referred to by a digest; {} ({digest}) is not", shown(text));
                Err(Rejection::new(Code::UnreferencedDisclosure, message))
            }
        }
    }

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
        let is_delegates =
            path.depth == 1 && matches!(path.step, Step::Member(place) if self.tree.name(place) == "delegate_payload");
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

/// In the order of their digests, to be searched.
fn by_digest<'a>(disclosures: &[Disclosure<'a>], algorithm: HashAlgorithm) -> Result<ByDigest<'a>, Rejection> {
    let named = |disclosure: &Disclosure<'a>| (algorithm.digest_text(disclosure.text), Some(disclosure.clone()));
    let mut by_digest: ByDigest<'_> = disclosures.iter().map(named).collect();
    by_digest.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
    let twice =
        by_digest.array_windows().find_map(|[(one, _), (other, left)]| (one == other).then_some(left.as_ref()?));
    match twice {
        None => Ok(by_digest),
        Some(disclosure) => {
            let message = format!("a disclosure is presented once; {} is there twice", shown(disclosure.text));
            Err(Rejection::new(Code::DuplicateDisclosure, message))
        }
    }
}

fn malformed_digest(message: &str) -> Rejection {
    Rejection::new(Code::DigestMalformed, message)
}

fn wrong_kind(expected: &str, came: &str) -> Rejection {
    Rejection::new(Code::DisclosureWrongKind, format!("a disclosure has {expected}; one with {came} came"))
}
