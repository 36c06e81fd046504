//! Every limit of this crate, in one place.

/// One payment header, still in base64. Proxies refuse far less than this (2 to 8 KiB); nothing honest is larger.
pub const HEADER_BYTES_MAX: usize = 32 * 1024;

/// One JSON message (a facilitator request or answer).
pub const MESSAGE_BYTES_MAX: usize = 64 * 1024;

/// Entries of `accepts[]`.
pub const OFFERS_MAX: usize = 32;

/// What version 1 calls a network.
pub const NETWORK_NAME_BYTES_MAX: usize = 64;

/// The address of a resource, as advertised.
pub const URL_BYTES_MAX: usize = 2048;

/// An HTTP method.
pub const METHOD_BYTES_MAX: usize = 32;

/// The name or the version in an EIP-712 domain.
pub const DOMAIN_TEXT_BYTES_MAX: usize = 128;

/// A signature in bytes; an EOA's has 65, an ERC-6492 wrapper carries a whole deployment.
pub const SIGNATURE_BYTES_MAX: usize = 8 * 1024;

/// A payer's transaction that approves Permit2: some 180 bytes.
pub const APPROVAL_BYTES_MAX: usize = 512;

/// Gas that such a transaction may ask for. Official clients ask for 70,000.
pub const APPROVAL_GAS_MAX: u64 = 150_000;

/// How much of a foreign text an error repeats.
pub const ECHO_CHARS_MAX: usize = 96;

/// The longest `maxTimeoutSeconds` that a wallet signs unless its owner says otherwise. Money stays held until then.
pub const WALLET_TIMEOUT_SECONDS_MAX: u64 = 3600;

/// How far a payer's clock may run ahead of ours before `validBefore` counts as unbounded.
pub const CLOCK_SKEW_SECONDS: u64 = 60;

/// What must be left of an authorization's life for a settlement to be worth trying (the official SDKs' margin).
pub const SETTLEMENT_MARGIN_SECONDS: u64 = 6;
