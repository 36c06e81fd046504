//! SD-JWT (RFC 9901) without key binding: what AP2 chains are made of. Parsing is section 4, resolving is section 7.1.

mod resolve;

use crate::base64url;
use crate::digest::{HashAlgorithm, Hashed};
use crate::json::{Json, Members, Place, Tree};
use crate::jws::{Jws, RawJws};
use crate::rejection::{Code, Rejection, shown};
use resolve::Resolver;

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

    /// `sd_hash` by SHA-256, where what is signed was hashed already.
    pub(crate) fn sd_hash_behind(&self, signed: Hashed) -> String {
        let behind = self.text.get(self.jwt.signing_input().len()..).unwrap_or_default();
        signed.followed_by(&[behind, "~"])
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
        let mut bytes = Vec::with_capacity(self.text.len());
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
        let (payload, tree) = (self.jwt.payload, self.jwt.tree);
        let mut resolver = Resolver::new(tree, &self.disclosures, algorithm)?;
        resolver.resolve(payload)?;
        let Resolver { mut tree, withheld, delegates, .. } = resolver;
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

    /// The digest of a delegate as the signed payload spells it; `None` for one that stands there in the clear.
    pub fn digest(&self, delegate: &Delegate) -> Option<&str> {
        delegate.digest.and_then(|digest| self.tree.at(digest).as_str())
    }

    /// The members of a delegate that is an object.
    pub(crate) fn mandate(&self, delegate: &Delegate) -> Members<'_> {
        self.tree.members(delegate.value)
    }
}

/// One disclosed element of `delegate_payload`.
#[derive(Clone, Copy, Debug)]
pub struct Delegate {
    digest: Option<Place>,
    value: Place,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Withheld {
    /// An element of the array at this path.
    Element(Vec<String>),
    /// A member of the object at this path.
    Member(Vec<String>),
}

pub(crate) fn reserved(name: &str) -> Rejection {
    let message = format!("a claim is not called `_sd`, `_sd_alg` or `...`; {} came", shown(name));
    Rejection::new(Code::ReservedClaimName, message).at(name)
}
