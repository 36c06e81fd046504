//! Every limit of the crate, in one place. No source gives figures (AP2, the delegate draft and RFC 9901 are silent), so
//! each is far above honest use and low enough that a hostile token costs milliseconds, not memory.

/// One presented chain or receipt. 512 disclosures of 500 bytes plus a signed checkout stay below it.
pub const TOKEN_BYTES_MAX: usize = 512 * 1024;
/// Segments of one chain: a root and fifteen delegations.
pub const SEGMENTS_MAX: usize = 16;
/// How often a mandate is handed on from one agent to the next. Each hop is one more signature to verify and one more budget
/// to debit for every payment under it.
pub const DELEGATIONS_MAX: usize = 4;
/// Disclosures of a whole chain.
pub const DISCLOSURES_MAX: usize = 1024;
/// Decoy digests of one object or array that is issued.
pub const DECOYS_MAX: usize = 64;
/// Signatures of one general JSON serialization.
pub const SIGNATURES_MAX: usize = 16;
/// Nesting of arrays and objects, counted again after disclosures are put in place.
pub const DEPTH_MAX: usize = 32;
/// Characters of one JSON number; 2^128 has 39 digits.
pub const NUMBER_CHARS_MAX: usize = 64;
/// Constraints of one open mandate.
pub const CONSTRAINTS_MAX: usize = 64;
/// Entries of one list inside a constraint (payees, items, instruments).
pub const LIST_ENTRIES_MAX: usize = 512;
/// Lines of one checkout, and slots of one `checkout.line_items`.
pub const LINES_MAX: usize = 256;
/// Units of all lines of one checkout.
pub const UNITS_MAX: u64 = 1_000_000_000;
/// Bytes of one status list when it is inflated: four million mandates of two bits.
pub const STATUS_BYTES_MAX: usize = 1024 * 1024;
/// Status lists that one chain may name.
pub const STATUS_LISTS_MAX: usize = 4;
/// How long a status list may be shown again without asking for it, whatever its `ttl`; and where it has none.
pub const STATUS_KEPT_SECONDS_MAX: u32 = 3_600;
pub const STATUS_TTL_SECONDS: u32 = 60;
/// How old a status list may be that does not say when it ends.
pub const STATUS_AGE_SECONDS_MAX: u32 = 24 * 3_600;
/// Bytes of one text that means something to us (ids, names, currencies, aud, nonce).
pub const TEXT_BYTES_MAX: usize = 4096;
/// Roots that one verifier remembers, and the bytes of them as presented; what is kept of one takes some five times that.
pub const ROOTS_REMEMBERED_MAX: usize = 4096;
pub const ROOTS_REMEMBERED_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Keys of one key set.
pub const KEYS_MAX: usize = 1024;
/// Certificates of one `x5c` chain: webpki follows six CAs between leaf and anchor.
pub const CERTIFICATES_MAX: usize = 8;
/// Bytes of one certificate.
pub const CERTIFICATE_BYTES_MAX: usize = 16 * 1024;
/// Certificates that one root of a trust list may end at.
pub const ANCHORS_MAX: usize = 64;
/// Bytes of one DID; a `did:jwk` carries a whole key.
pub const DID_BYTES_MAX: usize = 2048;
/// Roots of one trust list.
pub const ROOTS_MAX: usize = 64;
/// Characters of a counterparty's value that a message repeats.
pub const SHOWN_CHARS_MAX: usize = 96;
