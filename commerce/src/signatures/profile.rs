//! What protocols ask of a signature.

use super::base::{Message, Subject};
use super::{CONTENT_DIGEST, SIGNATURE_AGENT};

/// A protocol's rules for the signatures that it knows.
#[derive(Clone, Copy, Debug)]
pub struct Profile {
    pub name: &'static str,
    /// Signatures with another `tag` are others' and passed over; with none here, all are looked at.
    pub tags: &'static [&'static str],
    /// Components that must be covered, each where the message has what it is of.
    pub(super) components: &'static [(&'static str, When)],
    /// Parameters that must be there.
    pub(super) parameters: &'static [&'static str],
    /// `keyid` is the key's RFC 7638 thumbprint.
    pub(super) keyid_is_thumbprint: bool,
    /// The most seconds from `created` to `expires`.
    pub(super) lifetime_max: Option<i64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum When {
    Always,
    /// Where the message has a query.
    Query,
    /// Where the message has a body.
    Body,
    /// Where the method changes something.
    Write,
    /// Where the message has this field.
    Field,
}

/// The tag of Web Bot Auth, which a signature of UCP may have too: then it has that protocol's parameters (`signatures.md`,
/// "WBA Interop").
pub(super) const WEB_BOT_AUTH_TAG: &str = "web-bot-auth";
/// How long a signature of Web Bot Auth may be good, in seconds: the draft says a day at most.
const DAY: i64 = 24 * 3_600;

/// UCP's requests (Universal-Commerce-Protocol/ucp at fdcf8934, `signatures.md`, "REST Request Signing"). Replay is kept out
/// by the `Idempotency-Key` that is covered.
pub const UCP_REQUEST: Profile = Profile {
    name: "ucp_request",
    tags: &[],
    components: &[
        ("@method", When::Always),
        ("@authority", When::Always),
        ("@path", When::Always),
        ("@query", When::Query),
        ("ucp-agent", When::Field),
        (SIGNATURE_AGENT, When::Field),
        ("idempotency-key", When::Write),
        ("idempotency-key", When::Field),
        (CONTENT_DIGEST, When::Body),
        ("content-type", When::Body),
    ],
    parameters: &["keyid"],
    keyid_is_thumbprint: false,
    lifetime_max: None,
};

/// UCP's answers (the same, "REST Response Verification").
pub const UCP_RESPONSE: Profile = Profile {
    name: "ucp_response",
    components: &[("@status", When::Always), (CONTENT_DIGEST, When::Body), ("content-type", When::Body)],
    ..UCP_REQUEST
};

/// Web Bot Auth (draft-meunier-webbotauth-httpsig-protocol-00, section 4.2).
pub const WEB_BOT_AUTH: Profile = Profile {
    name: "web_bot_auth",
    tags: &[WEB_BOT_AUTH_TAG],
    components: &[("@authority", When::Always), (SIGNATURE_AGENT, When::Field)],
    parameters: &["keyid", "created", "expires"],
    keyid_is_thumbprint: true,
    lifetime_max: Some(DAY),
};

/// The first layer of Visa's Trusted Agent Protocol: that an agent on record looks around or pays. Its specification names
/// the parameters, and eight minutes.
pub const TRUSTED_AGENT: Profile = Profile {
    name: "trusted_agent",
    tags: &["agent-browser-auth", "agent-payer-auth"],
    components: &[("@authority", When::Always), ("@path", When::Always)],
    parameters: &["keyid", "created", "expires", "nonce", "alg"],
    keyid_is_thumbprint: false,
    lifetime_max: Some(8 * 60),
};

impl Profile {
    /// The components that a signature of this message must cover.
    pub(super) fn required<'a>(&'a self, message: &'a Message<'_>) -> impl Iterator<Item = &'static str> + 'a {
        let holds = |name: &str, when: When| match (when, message.subject) {
            (When::Always, _) => true,
            (When::Query, Subject::Request { query, .. }) => query.is_some(),
            (When::Write, Subject::Request { method, .. }) => !matches!(method, "GET" | "HEAD" | "OPTIONS"),
            (When::Query | When::Write, Subject::Response { .. }) => false,
            (When::Body, _) => !message.body.is_empty(),
            (When::Field, _) => message.has(name),
        };
        self.components.iter().filter(move |(name, when)| holds(name, *when)).map(|(name, _)| *name)
    }
}
