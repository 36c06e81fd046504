//! Every limit of this crate, in one place. Those of a route are fields of [`Limits`].

use std::time::Duration;

use x402::limit::HEADER_BYTES_MAX;

/// A stored answer, whole. Beyond it only the receipt is kept.
pub const STORED_BODY_BYTES_MAX: usize = 64 * 1024;

/// How long to wait between two looks at a payment that another request is serving: doubled from the first to the last.
pub const LOOK_AGAIN_MIN: Duration = Duration::from_millis(20);
pub const LOOK_AGAIN_MAX: Duration = Duration::from_millis(500);

/// What a client is told to wait before it presents the same payment again.
pub const RETRY_AFTER_SECONDS: u32 = 2;

/// The limits of one priced route.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// The payment header, in base64; more is 431.
    pub header_bytes_max: usize,
    /// The body of a paid request, which is digested before the claim; more is 413.
    pub body_bytes_max: usize,
    /// The handler's answer, which is held back until it is settled.
    pub answer_bytes_max: usize,
    /// A handler that takes longer is stopped, and its payer is not charged.
    pub handler_time_max: Duration,
    /// How long a second presentation of a payment waits for the first one's answer.
    pub patience: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            header_bytes_max: HEADER_BYTES_MAX,
            body_bytes_max: 1024 * 1024,
            answer_bytes_max: 16 * 1024 * 1024,
            handler_time_max: Duration::from_secs(60),
            patience: Duration::from_secs(10),
        }
    }
}
