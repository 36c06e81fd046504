//! Selective disclosure of any claim (RFC 9901 section 4.2): the issuer's side, which conceals object members and array
//! elements at any depth, and the holder's, which picks what to show. Reading is in [`crate::sd_jwt`].
//!
//! Nothing here signs or draws: [`Concealed::unsigned`] gives the bytes to sign, and salts are the caller's, 128 fresh
//! random bits each (section 9.3).

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::base64url;
use crate::digest::HashAlgorithm;
use crate::issue::Salt;
use crate::json::{Entries, Json, Members, Object};
use crate::jws::Unsigned;
use crate::limits::{DECOYS_MAX, DEPTH_MAX, DISCLOSURES_MAX};
use crate::rejection::{Code, Rejection};
use crate::sd_jwt::{SdJwt, reserved};

/// Claims with a mark on what the holder may withhold. A plain value is shown whole wherever it is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Marked {
    Plain(Value),
    Object(Vec<Member>),
    Array(Vec<Element>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    pub name: String,
    pub value: Marked,
    pub visibility: Visibility,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Element {
    pub value: Marked,
    pub visibility: Visibility,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Visibility {
    /// In the clear, for everyone who sees what it stands in.
    Always,
    /// Behind a digest: the holder decides.
    Selective,
}

/// How claims are concealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    pub algorithm: HashAlgorithm,
    /// Decoy digests in every object and every array, so that nobody can count what is withheld (section 4.2.7).
    pub decoys: usize,
}

/// The payload to sign and the disclosures that belong to it, those inside another before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Concealed {
    pub payload: Object,
    pub disclosures: Vec<String>,
}

/// What a holder shows of one value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Choice {
    Withhold,
    /// The value itself, and nothing selective inside it.
    Show,
    /// The object, and of its members what is said; others are withheld.
    Members(BTreeMap<String, Choice>),
    /// The array, and of its elements what is said, by their place among those that the holder can see; others are
    /// withheld.
    Elements(Vec<Choice>),
}

impl Concealed {
    /// The compact SD-JWT with all of its disclosures, `jwt~d1~…~dn~`, lacking its signature.
    pub fn unsigned(&self, header: &Object) -> Unsigned {
        let tail = self.disclosures.iter().fold("~".to_owned(), |text, disclosure| text + disclosure + "~");
        Unsigned::new(header, &self.payload).between(String::new(), tail)
    }
}

/// Puts the marked claims behind digests.
pub fn conceal(claims: &[Member], terms: &Terms, salts: &mut dyn FnMut() -> Salt) -> Result<Concealed, Rejection> {
    if terms.decoys > DECOYS_MAX {
        let message = format!("an object has at most {DECOYS_MAX} decoys; {} came", terms.decoys);
        return Err(Rejection::new(Code::TooManyDisclosures, message));
    }
    let mut concealer = Concealer { terms: *terms, disclosures: Vec::new(), salts };
    let mut payload = concealer.object(claims, 0)?;
    payload.insert("_sd_alg".to_owned(), terms.algorithm.name().into());
    Ok(Concealed { payload, disclosures: concealer.disclosures })
}

struct Concealer<'a> {
    terms: Terms,
    disclosures: Vec<String>,
    salts: &'a mut dyn FnMut() -> Salt,
}

impl Concealer<'_> {
    fn value(&mut self, value: &Marked, depth: usize) -> Result<Value, Rejection> {
        if depth > DEPTH_MAX {
            return Err(too_deep(depth));
        }
        match value {
            Marked::Plain(plain) => check_plain(plain, depth).map(|()| plain.clone()),
            Marked::Object(members) => self.object(members, depth).map(Value::Object),
            Marked::Array(elements) => self.array(elements, depth).map(Value::Array),
        }
    }

    /// The digests are sorted, so that their order says nothing about the members' (section 4.2.4.1).
    fn object(&mut self, members: &[Member], depth: usize) -> Result<Object, Rejection> {
        let mut object = Object::new();
        let mut digests = Vec::new();
        let mut names = BTreeSet::new();
        for member in members {
            check_name(&member.name)?;
            if !names.insert(member.name.as_str()) {
                let message = format!("a claim occurs once in its object; `{}` occurs twice", member.name);
                return Err(Rejection::new(Code::DuplicateJsonKey, message).at(member.name.clone()));
            }
            let value = self.value(&member.value, depth.saturating_add(1))?;
            match member.visibility {
                Visibility::Always => drop(object.insert(member.name.clone(), value)),
                Visibility::Selective => digests.push(self.disclose(vec![member.name.as_str().into(), value])?),
            }
        }
        digests.extend((0..self.terms.decoys).map(|_| self.decoy().0));
        digests.sort_unstable();
        if !digests.is_empty() {
            object.insert("_sd".to_owned(), digests.into());
        }
        Ok(object)
    }

    /// A decoy stands where its own salt says, not at the end where it would be known for one.
    fn array(&mut self, elements: &[Element], depth: usize) -> Result<Vec<Value>, Rejection> {
        let mut array = Vec::with_capacity(elements.len());
        for element in elements {
            let value = self.value(&element.value, depth.saturating_add(1))?;
            array.push(match element.visibility {
                Visibility::Always => value,
                Visibility::Selective => placeholder(self.disclose(vec![value])?),
            });
        }
        for _ in 0..self.terms.decoys {
            let (digest, place) = self.decoy();
            let at = place.checked_rem(array.len().saturating_add(1)).unwrap_or_default();
            array.insert(at, placeholder(digest));
        }
        Ok(array)
    }

    fn disclose(&mut self, rest: Vec<Value>) -> Result<String, Rejection> {
        if self.disclosures.len() >= DISCLOSURES_MAX {
            let message = format!("a token has at most {DISCLOSURES_MAX} disclosures; more came");
            return Err(Rejection::new(Code::TooManyDisclosures, message));
        }
        let salt = Value::from(base64url::encode(&(self.salts)()));
        let parts: Vec<Value> = std::iter::once(salt).chain(rest).collect();
        let text = base64url::encode(Value::Array(parts).to_string().as_bytes());
        let digest = self.terms.algorithm.digest_text(&text);
        self.disclosures.push(text);
        Ok(digest)
    }

    /// The hash of a random text that nobody ever sees, and a place for it.
    fn decoy(&mut self) -> (String, usize) {
        let salt = (self.salts)();
        let place = salt.iter().fold(0_usize, |sum, byte| sum.wrapping_mul(31).wrapping_add(usize::from(*byte)));
        (self.terms.algorithm.digest_text(&base64url::encode(&salt)), place)
    }
}

fn placeholder(digest: String) -> Value {
    Object::from_iter([("...".to_owned(), digest.into())]).into()
}

fn check_name(name: &str) -> Result<(), Rejection> {
    if matches!(name, "_sd" | "..." | "_sd_alg") { Err(reserved(name)) } else { Ok(()) }
}

/// A plain value may not look like a digest's place either.
fn check_plain(value: &Value, depth: usize) -> Result<(), Rejection> {
    if depth > DEPTH_MAX {
        return Err(too_deep(depth));
    }
    let deeper = depth.saturating_add(1);
    match value {
        Value::Object(members) => {
            members.iter().try_for_each(|(name, member)| check_name(name).and_then(|()| check_plain(member, deeper)))
        }
        Value::Array(entries) => entries.iter().try_for_each(|entry| check_plain(entry, deeper)),
        _ => Ok(()),
    }
}

fn too_deep(depth: usize) -> Rejection {
    Rejection::new(Code::TooDeep, format!("claims nest at most {DEPTH_MAX} levels; level {depth} came"))
}

/// The SD-JWT (`jwt~d1~…~dn~`, no KB-JWT) with only the chosen disclosures, in the order in which they came.
pub fn present(issued: &str, choice: &Choice) -> Result<String, Rejection> {
    let sd_jwt = SdJwt::parse(issued)?;
    // A holder shows nothing out of a token that a verifier would refuse whole.
    sd_jwt.resolve()?;
    let algorithm = sd_jwt.algorithm()?;
    let disclosures = sd_jwt.disclosures.iter();
    let by_digest = disclosures.map(|disclosure| (algorithm.digest_text(disclosure.text()), disclosure)).collect();
    let mut picker = Picker { sd_jwt: &sd_jwt, by_digest, kept: BTreeSet::new() };
    picker.object(sd_jwt.jwt.payload(), choice);
    let kept = sd_jwt.disclosures.iter().map(|disclosure| disclosure.text()).filter(|text| picker.kept.contains(text));
    Ok(kept.fold(format!("{}~", sd_jwt.jwt.text()), |text, disclosure| text + disclosure + "~"))
}

struct Picker<'a> {
    sd_jwt: &'a SdJwt<'a>,
    by_digest: BTreeMap<String, &'a crate::sd_jwt::Disclosure<'a>>,
    kept: BTreeSet<&'a str>,
}

impl<'a> Picker<'a> {
    fn value(&mut self, value: Json<'a>, choice: &Choice) {
        match value {
            Json::Object(object) => self.object(object, choice),
            Json::Array(array) => self.array(array, choice),
            _ => {}
        }
    }

    fn object(&mut self, object: Members<'a>, choice: &Choice) {
        let Choice::Members(choices) = choice else { return };
        for (name, value) in object.iter().filter(|(name, _)| *name != "_sd") {
            if let Some(choice) = choices.get(name) {
                self.value(value, choice);
            }
        }
        let digests = object.get("_sd").and_then(Json::as_array);
        for digest in digests.into_iter().flat_map(Entries::iter) {
            let Some(disclosure) = self.find(digest) else { continue };
            if let Some(choice) = self.sd_jwt.name(disclosure).and_then(|name| choices.get(name)) {
                self.show(disclosure, choice);
            }
        }
    }

    fn array(&mut self, array: Entries<'a>, choice: &Choice) {
        let Choice::Elements(choices) = choice else { return };
        let mut choices = choices.iter();
        for element in array.iter() {
            let digest = match element {
                Json::Object(object) if object.iter().nth(1).is_none() => object.get("..."),
                _ => None,
            };
            match digest.map(|digest| self.find(digest)) {
                // A decoy has no place.
                Some(None) => {}
                Some(Some(disclosure)) => choices.next().into_iter().for_each(|choice| self.show(disclosure, choice)),
                None => choices.next().into_iter().for_each(|choice| self.value(element, choice)),
            }
        }
    }

    fn find(&self, digest: Json<'_>) -> Option<&'a crate::sd_jwt::Disclosure<'a>> {
        digest.as_str().and_then(|digest| self.by_digest.get(digest)).copied()
    }

    fn show(&mut self, disclosure: &'a crate::sd_jwt::Disclosure<'a>, choice: &Choice) {
        if *choice != Choice::Withhold {
            self.kept.insert(disclosure.text());
            self.value(self.sd_jwt.value(disclosure), choice);
        }
    }
}
