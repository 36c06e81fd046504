//! Why what an authenticator gave is refused.

use std::fmt;

macro_rules! codes {
    ($($name:ident = $text:literal,)*) => {
        /// Stable: names are only ever added.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum PasskeyCode { $($name,)* }

        impl PasskeyCode {
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }
        }
    };
}

codes! {
    Malformed = "passkey_malformed",
    TypeWrong = "passkey_type_wrong",
    ChallengeMismatch = "passkey_challenge_mismatch",
    OriginMismatch = "passkey_origin_mismatch",
    CrossOrigin = "passkey_cross_origin",
    RpIdMismatch = "passkey_rp_id_mismatch",
    UserAbsent = "passkey_user_absent",
    UserUnverified = "passkey_user_unverified",
    BackupFlagsWrong = "passkey_backup_flags_wrong",
    KeyUnsupported = "passkey_key_unsupported",
    SignatureInvalid = "passkey_signature_invalid",
    CountStale = "passkey_count_stale",
    UserMismatch = "passkey_user_mismatch",
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    pub code: PasskeyCode,
    pub detail: String,
}

impl Refused {
    pub(crate) fn new(code: PasskeyCode, detail: impl Into<String>) -> Self {
        Self { code, detail: detail.into() }
    }

    pub(crate) fn malformed(detail: impl Into<String>) -> Self {
        Self::new(PasskeyCode::Malformed, detail)
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.detail)
    }
}

impl std::error::Error for Refused {}
