//! Checks 1 to 18: is this a chain of signatures from a trusted root to this very presentation?

use std::sync::Arc;

use super::memory::{Content, Delegated, Delegation, Remembered, RootMemory};
use super::presentation::Presentation;
use super::report::Report;
use super::standing::Standing;
use super::{Context, Expected};
use crate::chain::{self, MandateId, Position, Previous};
use crate::clock;
use crate::digest::{HashAlgorithm, Hashed};
use crate::json::{Json, Members};
use crate::keys::PublicKey;
use crate::mandate::Vct;
use crate::rejection::{Code, Rejection};
use crate::sd_jwt::{Delegate, RawSdJwt, Resolved, SdJwt};
use crate::status::Place;
use crate::trust::{Candidate, Named, Scope};

/// One mandate of an authenticated chain, its claims not yet judged.
#[derive(Debug)]
pub(super) struct Link {
    pub segment: usize,
    pub identity: MandateId,
    /// The segment in which it lies.
    pub resolved: Arc<Resolved>,
    mandate: Delegate,
    /// The key in its `cnf`, where it has one.
    pub holder: Option<PublicKey>,
}

impl Link {
    pub fn claims(&self) -> Members<'_> {
        self.resolved.mandate(&self.mandate)
    }
}

pub(super) struct Credential {
    pub links: Vec<Link>,
    pub presentation: Option<Presentation>,
    /// The key that signed the last segment.
    pub signer: PublicKey,
    pub signed_by: SignedBy,
    /// What the segments say outside of their mandates about where their status is.
    pub standings: Vec<Standing>,
}

/// Who signed the root: what each trusted root with this key is trusted for, and who it says that it is.
pub(super) struct SignedBy {
    pub scopes: Vec<Scope>,
    pub issuer: Option<String>,
}

pub(super) fn authenticate(
    presented: &str,
    context: &Context<'_>,
    memory: Option<&RootMemory>,
    report: &mut Report,
) -> Result<Credential, Rejection> {
    let Envelope { root: raw, opened, hops } = open_envelope(presented, memory, report)?;
    let stands_alone = hops.is_empty();
    let mut root = read_root(Presented { raw: &raw, opened, memory }, stands_alone, context, report)?;
    let mut links: Vec<Link> = root.link.take().into_iter().collect();
    let mut standings: Vec<(usize, Result<Place, Rejection>)> =
        root.place.take().map(|place| (0, place)).into_iter().collect();
    let Root { mut presentation, mut signer, mut holder, signed_by, algorithm, signed, .. } = root;
    let mut previous = Previous { segment: raw, algorithm, signed };
    let last = hops.len();
    for (index, (raw, hop)) in hops.into_iter().enumerate() {
        let segment = index.saturating_add(1);
        let position = if segment == last { last_position(&hop, context) } else { Position::Middle };
        let read =
            read_hop(Hop { hop, previous: &previous, segment, position, holder: holder.as_ref() }, context, report)?;
        previous = Previous { segment: raw, algorithm: read.link.resolved.algorithm, signed: Some(read.signed) };
        links.push(read.link);
        standings.extend(read.place.map(|place| (segment, place)));
        signer = read.signer;
        holder = read.holder;
        presentation = Some(read.presentation);
    }
    let standing = |(segment, place)| {
        let (scopes, issuer) = (signed_by.scopes.clone(), signed_by.issuer.clone());
        Standing { segment, place, scopes, issuer }
    };
    let standings = standings.into_iter().map(standing).collect();
    Ok(Credential { links, presentation, signer, signed_by, standings })
}

/// A chain that is looked at on its own may end with what was handed on and not closed yet: then its last hop is one of the
/// middle. A closed mandate ends as a leaf, whatever its type claims.
fn last_position(hop: &SdJwt<'_>, context: &Context<'_>) -> Position {
    let is_open = || {
        let resolved = hop.resolve().ok()?;
        let (_, claims) = chain::single_delegate(&resolved).ok()?;
        Vct::of(claims).ok().filter(|vct| vct.is_open())
    };
    let is_handed_on = context.expected == Expected::OnItsOwn && is_open().is_some();
    if is_handed_on { Position::Middle } else { Position::Leaf }
}

struct Envelope<'a> {
    root: RawSdJwt<'a>,
    /// Decoded, unless the very same bytes are remembered.
    opened: Opened<'a>,
    hops: Vec<(RawSdJwt<'a>, SdJwt<'a>)>,
}

enum Opened<'a> {
    Decoded(SdJwt<'a>),
    Remembered(Arc<Remembered>),
}

fn open_envelope<'a>(
    presented: &'a str,
    memory: Option<&RootMemory>,
    report: &mut Report,
) -> Result<Envelope<'a>, Rejection> {
    let mut raw = report.record("envelope", None, chain::split(presented))?.into_iter();
    report.segment_count = raw.len();
    let Some(root) = raw.next() else {
        return Err(Rejection::new(Code::MalformedJwt, "a chain has a root; this one has no segment"));
    };
    // The root first: what is wrong with an earlier segment is told first.
    let decode = || {
        let opened = match memory.and_then(|memory| memory.find(root.text())) {
            Some(remembered) => Opened::Remembered(remembered),
            None => Opened::Decoded(root.decode()?),
        };
        let hops = raw.map(|raw| raw.decode().map(|hop| (raw, hop))).collect::<Result<Vec<_>, _>>()?;
        Ok((opened, hops))
    };
    let (opened, hops) = report.record("encoding", None, decode())?;
    let first = match &opened {
        Opened::Decoded(root) => root.jwt.check_header(),
        Opened::Remembered(_) => Ok(()),
    };
    let headers = first.and_then(|()| hops.iter().try_for_each(|(_, hop)| hop.jwt.check_header()));
    report.record("headers", None, headers)?;
    Ok(Envelope { root, opened, hops })
}

struct Root {
    /// `None` for a user credential, whose mandates start in the next segment.
    link: Option<Link>,
    holder: Option<PublicKey>,
    signer: PublicKey,
    presentation: Option<Presentation>,
    signed_by: SignedBy,
    algorithm: HashAlgorithm,
    /// What was signed, where its signature was verified just now.
    signed: Option<Hashed>,
    place: Option<Result<Place, Rejection>>,
}

struct Presented<'a> {
    raw: &'a RawSdJwt<'a>,
    opened: Opened<'a>,
    memory: Option<&'a RootMemory>,
}

fn read_root(
    root: Presented<'_>,
    stands_alone: bool,
    context: &Context<'_>,
    report: &mut Report,
) -> Result<Root, Rejection> {
    let at = Some(0);
    let (content, signer, scopes, hashed) = match root.opened {
        Opened::Decoded(decoded) => {
            report.record("root_type", at, chain::check_root_type(&decoded))?;
            let named = Named::by(&decoded.jwt, context.clock.now_seconds);
            let candidates = report.record("root_key", at, context.trusted.candidates(&named))?;
            let hashed = decoded.jwt.hashed();
            let signed = who_signed(candidates, |key| decoded.jwt.verify_hash(&hashed, key));
            let (signer, scopes) = report.record("root_signature", at, signed)?;
            let content = Arc::new(report.record("root_disclosures", at, Content::of(decoded))?);
            if let Some(memory) = root.memory {
                memory.keep(root.raw.text(), &signer, &content);
            }
            (content, signer, scopes, Some(hashed))
        }
        Opened::Remembered(remembered) => {
            // The same bytes passed this before; whose key it is now is asked again.
            report.record("root_type", at, Ok(()))?;
            let content = &remembered.content;
            let named = Named {
                kid: content.kid.clone(),
                x5c: content.x5c.as_ref().map(Json::from),
                now_seconds: context.clock.now_seconds,
            };
            let candidates = report.record("root_key", at, context.trusted.candidates(&named))?;
            let signed = who_signed(candidates, |key| {
                if *key == remembered.signer { Ok(()) } else { root.raw.jwt().decode()?.verify(key) }
            });
            let (signer, scopes) = report.record("root_signature", at, signed)?;
            report.record("root_disclosures", at, Ok(()))?;
            (Arc::clone(content), signer, scopes, None)
        }
    };
    let presentation = if stands_alone { read_lone_root(content.resolved.claims(), context, report)? } else { None };
    let kind = report.record("root_delegate_payload", at, RootKind::of(&content, stands_alone))?;
    let claims = content.resolved.claims();
    let times = context.clock.check(claims, "the root").and_then(|()| match &kind {
        RootKind::Provider(mandate) => {
            context.clock.check(content.resolved.mandate(&mandate.delegate), "the root's mandate")
        }
        RootKind::UserCredential => Ok(()),
    });
    report.record("root_times", at, times)?;
    let holder = report.record("root_confirmation_key", at, kind.holder(&content, stands_alone))?;
    let issuer = claims.get("iss").and_then(Json::as_str).map(str::to_owned);
    let algorithm = content.resolved.algorithm;
    let link = match kind {
        RootKind::UserCredential => None,
        RootKind::Provider(Delegated { identity, delegate: mandate }) => {
            let resolved = Arc::clone(&content.resolved);
            Some(Link { segment: 0, identity, resolved, mandate, holder: holder.clone() })
        }
    };
    let place = Place::of(claims).transpose();
    let signed_by = SignedBy { scopes, issuer };
    Ok(Root { link, holder, signer, presentation, signed_by, algorithm, signed: hashed, place })
}

/// The candidates whose signature it is: one key, which several roots may have.
fn who_signed(
    candidates: Vec<Candidate>,
    verify: impl Fn(&PublicKey) -> Result<(), Rejection>,
) -> Result<(PublicKey, Vec<Scope>), Rejection> {
    let (mut signed, mut refused) = (None::<(PublicKey, Vec<Scope>)>, None);
    for Candidate { key, scope } in candidates {
        match (&mut signed, verify(&key)) {
            (Some((_, scopes)), Ok(())) => scopes.push(scope),
            (None, Ok(())) => signed = Some((key, vec![scope])),
            (_, Err(other)) => refused = refused.or(Some(other)),
        }
    }
    let nobody = || Rejection::new(Code::UnknownKid, "a root is signed by a trusted key; no key came");
    signed.ok_or_else(|| refused.unwrap_or_else(nobody))
}

/// AP2's two trust models.
enum RootKind {
    /// A Trusted Agent Provider signs the mandate itself.
    Provider(Delegated),
    /// A credential of the user (top-level `cnf`) whose holder key signs the mandates.
    UserCredential,
}

impl RootKind {
    fn of(content: &Content, stands_alone: bool) -> Result<Self, Rejection> {
        match (content.resolved.claims().contains_key("cnf"), &content.delegation) {
            (true, Delegation::None) if stands_alone => {
                let message = "a mandate is delegated by a root; this user credential came with none behind it";
                Err(Rejection::new(Code::DelegatePayloadCount, message).at("delegate_payload"))
            }
            (true, Delegation::None) => Ok(Self::UserCredential),
            (true, Delegation::Of(_)) => {
                let message = "a root has either a top-level cnf or a delegate_payload; this one has both";
                Err(Rejection::new(Code::RootAmbiguous, message).at("cnf"))
            }
            (false, Delegation::None) => Err(chain::wrong_delegates("0")),
            (false, Delegation::Of(delegated)) => delegated.clone().map(Self::Provider),
        }
    }

    /// Whom the root empowers; a closed mandate that stands alone empowers nobody further.
    fn holder(&self, content: &Content, stands_alone: bool) -> Result<Option<PublicKey>, Rejection> {
        if let Self::Provider(mandate) = self
            && stands_alone
            && Vct::of(content.resolved.mandate(&mandate.delegate)).is_ok_and(|vct| !vct.is_open())
        {
            return refuse_cnf(content.resolved.mandate(&mandate.delegate));
        }
        content.holder.clone().map(Some)
    }
}

/// A root without hops carries no key binding; where the verifier asked for itself, the root must name it.
fn read_lone_root(
    claims: Members<'_>,
    context: &Context<'_>,
    report: &mut Report,
) -> Result<Option<Presentation>, Rejection> {
    let read = match context.expected {
        Expected::OnItsOwn => {
            let detail = "the mandate is looked at on its own".to_owned();
            report.note("root_claims", Some(0), super::CheckOutcome::NotAsked, detail);
            return Ok(Presentation::read(claims).ok());
        }
        Expected::Exactly { .. } => {
            Presentation::read(claims).and_then(|presentation| presentation.check(context).map(|()| presentation))
        }
    };
    report.record("root_claims", Some(0), read).map(Some)
}

struct Hop<'a, 'p> {
    hop: SdJwt<'p>,
    previous: &'a Previous<'p>,
    segment: usize,
    position: Position,
    holder: Option<&'a PublicKey>,
}

struct ReadHop {
    link: Link,
    holder: Option<PublicKey>,
    signer: PublicKey,
    signed: Hashed,
    presentation: Presentation,
    place: Option<Result<Place, Rejection>>,
}

fn read_hop(hop: Hop<'_, '_>, context: &Context<'_>, report: &mut Report) -> Result<ReadHop, Rejection> {
    let Hop { hop, previous, segment, position, holder } = hop;
    let at = Some(segment);
    report.record("hop_type", at, chain::check_hop_type(&hop, position))?;
    let hashed = hop.jwt.hashed();
    let signer = report.record("hop_signature", at, check_signature(&hop, &hashed, holder))?;
    report.record("hop_binding", at, chain::check_binding(&hop, previous, position))?;
    let signed = hop.jwt.signing_input();
    let resolved = report.record("hop_disclosures", at, hop.into_resolved())?;
    let presentation = Presentation::read(resolved.claims()).and_then(|presentation| {
        if position == Position::Leaf {
            presentation.check(context)?;
        }
        Ok(presentation)
    });
    let presentation = match presentation {
        // All three are there; that nobody compared them must not read as if somebody had.
        Ok(read) if position == Position::Leaf && context.expected == Expected::OnItsOwn => {
            let detail = "whom the presentation is for was not asked".to_owned();
            report.note("hop_claims", at, super::CheckOutcome::NotAsked, detail);
            read
        }
        other => report.record("hop_claims", at, other)?,
    };
    let delegate = chain::single_delegate(&resolved).and_then(|found| {
        if resolved.claims().contains_key("cnf") {
            let message = "cnf lies inside the delegate payload; one came outside it";
            return Err(Rejection::new(Code::CnfMisplaced, message).at("cnf"));
        }
        Ok(found)
    });
    let (delegate, claims) = report.record("hop_delegate_payload", at, delegate)?;
    let holder = match position {
        Position::Middle => chain::confirmation_key(claims).map(Some),
        Position::Leaf => refuse_cnf(claims),
    };
    let holder = report.record("hop_confirmation_key", at, holder)?;
    report.record("hop_times", at, check_times(resolved.claims(), claims, position, context))?;
    let Delegated { identity, delegate: mandate } = Delegated::of(signed, &resolved, delegate);
    let place = Place::of(resolved.claims()).transpose();
    let link = Link { segment, identity, resolved: Arc::new(resolved), mandate, holder: holder.clone() };
    Ok(ReadHop { link, holder, signer, signed: hashed, presentation, place })
}

fn check_signature(hop: &SdJwt<'_>, hashed: &Hashed, holder: Option<&PublicKey>) -> Result<PublicKey, Rejection> {
    let holder = holder.ok_or_else(|| {
        Rejection::new(Code::CnfMissing, "the segment before delegates to a key; it delegates to none").at("cnf")
    })?;
    hop.jwt.verify_hash(hashed, holder)?;
    Ok(holder.clone())
}

fn refuse_cnf(claims: Members<'_>) -> Result<Option<PublicKey>, Rejection> {
    if claims.contains_key("cnf") {
        let message = "a closed mandate delegates to nobody; a cnf came";
        return Err(Rejection::new(Code::LeafHasCnf, message).at("cnf"));
    }
    Ok(None)
}

fn check_times(
    outer: Members<'_>,
    mandate: Members<'_>,
    position: Position,
    context: &Context<'_>,
) -> Result<(), Rejection> {
    context.clock.check(outer, "the hop")?;
    context.clock.check(mandate, "the hop's mandate")?;
    if position == Position::Leaf
        && let Some(issued_at) = clock::numeric_date(outer, "iat")?
    {
        let oldest = i64::from(context.leaf_age_seconds_max);
        let oldest = context.clock.earliest().checked_sub(oldest.into()).unwrap_or_default();
        if issued_at < oldest {
            let max = context.leaf_age_seconds_max;
            let message =
                format!("the leaf is at most {max} s old, so signed at {oldest} or later; it says {issued_at}");
            return Err(Rejection::new(Code::LeafStale, message).at("iat"));
        }
    }
    Ok(())
}
